//===- Kernels.h - Kernels of the CPU target --------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// What the CPU pipeline asks of the kernels, in the order it asks:
//
//  1. assignKernels: ffn.linear, ffn.feed_forward, ffn.norm and ffn.attention
//     become ffn_cpu.kernel_call on tensors with ffn_cpu.pack requests.
//  2. PackedImage (Packing.h): lays the requested weights out in one image,
//     replaces the requests by ffn_cpu.packed_weight, streams the bytes.
//  3. One-shot bufferization (registerBufferizableOpInterface of the dialect).
//  4. emitKernels: one private func.func for each distinct key, calls become
//     ffn_cpu.launch.
//  5. populateLaunchToLLVMPatterns next to the other patterns to LLVM.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_TARGET_CPU_KERNELS_H
#define FFN_MLIR_TARGET_CPU_KERNELS_H

#include "ffn-mlir/Dialect/CPU/IR/CPU.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"
#include <string>

namespace mlir {
class LLVMTypeConverter;
class RewritePatternSet;
} // namespace mlir

namespace mlir::ffn::cpu {

//===----------------------------------------------------------------------===//
// Target
//===----------------------------------------------------------------------===//

/// What code is generated for. Levels are told apart by feature bits alone,
/// never by the name of a processor.
struct CpuTarget {
  Level level = Level::Avx2;

  /// `native` or the name of a level; failure for anything else, and for
  /// `native` on a machine below AVX2 with FMA.
  static FailureOr<CpuTarget> parse(StringRef name);
  /// The highest level of this machine, of which the environment variable
  /// FFN_CPU_FEATURES may show a part; failure where there is none.
  static FailureOr<CpuTarget> host();
  /// What `parse` knows: "native, avx2, ... or avx512_vnni".
  static std::string getChoices();

  /// "avx2", "avx2_vnni", "avx512", "avx512_vnni".
  StringRef getName() const { return stringifyLevel(level); }
  /// For TargetMachine, with the processor name "x86-64":
  /// "+avx2,+fma,+f16c,...".
  std::string getFeatures() const;
  /// Features of the level that this machine lacks, comma-separated; empty if
  /// it can run the level.
  std::string getMissingOnHost() const;
  /// f32 elements of a vector register.
  int64_t getLanes() const { return cpu::getLanes(level); }
};

//===----------------------------------------------------------------------===//
// Assignment: ffn ops on tensors to kernel calls
//===----------------------------------------------------------------------===//

/// Adds the patterns that turn ffn.linear, ffn.feed_forward, ffn.moe, ffn.norm,
/// ffn.attention into kernel calls. An op they do not serve (element types,
/// dynamic width) is left for the plain lowering.
void populateAssignKernelsPatterns(RewritePatternSet &patterns, Level level);

/// Whether there are kernels for the experts: f32 tokens, floating weights that
/// are constant.
bool canServeExperts(MoEOp op);

/// `ffn-cpu-assign-kernels{level=...}`; any operation that holds
/// functions.
std::unique_ptr<Pass> createAssignKernelsPass(Level level = Level::Avx2);

/// `ffn-cpu-assign-products{level=...}`: contractions of two f32
/// tensors (linalg.generic that adds products to a fill of 0) become calls of
/// the product kernel, which reads transposed operands where they are.
std::unique_ptr<Pass> createAssignProductsPass(Level level = Level::Avx2);

//===----------------------------------------------------------------------===//
// Emission: kernel calls on memrefs to functions
//===----------------------------------------------------------------------===//

/// Emits the kernel of `key` (a GemmAttr, GroupedAttr, RouteAttr, QuantizeAttr,
/// NormAttr, SoftmaxAttr, AttentionAttr or ProductAttr) as a private function
/// at scf + vector + memref level: arguments as the key's description has them,
/// then `begin`, `end` of the range of tasks. The function is complete: nothing
/// needs to run on it before the lowering to LLVM, math ops included.
func::FuncOp emitKernel(OpBuilder &builder, Location loc, Attribute key,
                        StringRef name);

/// The level that a key names.
Level getKernelLevel(Attribute key);

/// Name of the function of a key, made of its parameters.
std::string getKernelName(Attribute key);

/// Number of tasks of a call, and how many of them are worth one thread.
struct TaskCount {
  Value tasks, grain;
};
TaskCount buildTaskCount(OpBuilder &builder, Location loc, Attribute key,
                         ValueRange operands);

/// `ffn-cpu-emit-kernels` on a bufferized module.
std::unique_ptr<Pass> createEmitKernelsPass();

/// Lowers ffn_cpu.launch to
///   ffn_parallel_for(void (*body)(void *args, int64_t begin, int64_t end),
///                    void *args, int64_t tasks, int64_t grain)
/// with one body function for each kernel. Arguments are expanded as func
/// does by default (memref descriptors), so func must not be lowered with
/// bare pointers.
void populateLaunchToLLVMPatterns(const LLVMTypeConverter &converter,
                                  RewritePatternSet &patterns);

/// Name of the runtime function that launches call.
inline constexpr llvm::StringLiteral kParallelFor = "ffn_parallel_for";
/// Name of the runtime function that is told what append kernels wrote.
inline constexpr llvm::StringLiteral kCountAppended = "ffn_rt_appended";
/// What the name of a body function has behind that of its kernel.
inline constexpr llvm::StringLiteral kLaunchBodySuffix = "_tasks";

//===----------------------------------------------------------------------===//
// Mathematics
//===----------------------------------------------------------------------===//

/// exp, erf and tanh of an f32 value or vector of f32 as polynomials in
/// arith: at most 3 ulp, NaN and infinities exact, the same bits for a scalar
/// and for each element of a vector.
Value buildExp(OpBuilder &builder, Location loc, Value x);
Value buildErf(OpBuilder &builder, Location loc, Value x);
Value buildTanh(OpBuilder &builder, Location loc, Value x);
/// The activation of a feed-forward network, in terms of the above.
Value buildActivation(OpBuilder &builder, Location loc, Activation activation,
                      Value x);

/// Rewrites math.exp, math.erf, math.tanh on f32 into the same sequences, so
/// that plain loops and kernels agree.
void populateMathToPolynomialPatterns(RewritePatternSet &patterns);

/// Registers the passes above.
void registerKernelPasses();

} // namespace mlir::ffn::cpu

#endif // FFN_MLIR_TARGET_CPU_KERNELS_H
