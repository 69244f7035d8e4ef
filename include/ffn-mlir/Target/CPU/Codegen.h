//===- Codegen.h - From tensors to an object file ---------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_TARGET_CPU_CODEGEN_H
#define FFN_MLIR_TARGET_CPU_CODEGEN_H

#include "ffn-mlir/Target/CPU/Kernels.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"
#include "llvm/ADT/SmallVector.h"
#include <memory>
#include <string>
#include <vector>

namespace llvm {
class LLVMContext;
class Module;
} // namespace llvm

namespace mlir::ffn::cpu {

/// `ffn-fuse-elementwise`: fuses elementwise producers into their only user
/// where nothing costly is computed more often than before.
std::unique_ptr<Pass> createFuseElementwisePass();

/// `ffn-cpu-outline-loops`: every linalg op on memrefs becomes a call
/// (ffn_cpu.launch) of a function that computes a range of its rows; equal
/// functions are shared. Each result element is computed by one thread in a
/// fixed order, so the number of threads does not change bits.
std::unique_ptr<Pass> createOutlineLoopsPass();

/// `ffn-cpu-plan-memory`: memref.alloc of the entry function becomes a part of
/// one block that the runtime gives; buffers whose lives do not meet share
/// bytes.
std::unique_ptr<Pass> createPlanMemoryPass();

/// Adds the passes from bufferized linalg and kernel calls to the LLVM dialect.
void buildLowerToLLVMPipeline(OpPassManager &pm);

/// `ffn-cpu-convert-to-llvm`: the last step of that pipeline.
std::unique_ptr<Pass> createConvertToLLVMPass();

/// Polynomials in place of math ops that have no instruction: exp, erf and tanh
/// as in the kernels, log, sin, cos and the rest in at least f32 accuracy.
/// What stays is a call of the C library.
std::unique_ptr<Pass> createApproximateMathPass();

struct ObjectOptions {
  CpuTarget target;
  unsigned optLevel = 3;
};

/// Translates a module of the LLVM dialect, optimises it for the target and
/// returns it; null after a diagnostic.
std::unique_ptr<llvm::Module> translateToLLVM(ModuleOp module,
                                              llvm::LLVMContext &context,
                                              const ObjectOptions &options);
/// Object code of the module; failure after a diagnostic at `module`.
LogicalResult emitObject(ModuleOp module, llvm::Module &code,
                         const ObjectOptions &options,
                         SmallVectorImpl<char> &object);

void registerCodegenPasses();
/// Bufferization and other interfaces of upstream dialects that the pipeline
/// needs; part of registerAllDialects.
void registerCodegenInterfaces(DialectRegistry &registry);

} // namespace mlir::ffn::cpu

namespace mlir::ffn {

/// Writes an ELF object with the one read-only section that the weights of an
/// artefact are, page-aligned, without holding it in memory.
class WeightsObject {
public:
  /// `path` is created; `size` bytes of weights will be written.
  WeightsObject(StringRef path, uint64_t size);
  ~WeightsObject();
  bool isOpen() const { return fd >= 0; }
  LogicalResult write(ArrayRef<char> bytes);
  /// True once all bytes are on disk.
  LogicalResult finish();
  std::string error;

private:
  LogicalResult put(const void *data, size_t size);
  int fd = -1;
  uint64_t size, written = 0;
};

struct LinkOptions {
  /// Objects and archives in order; archives are linked whole.
  std::vector<std::string> objects, archives;
  /// Exported symbols; everything else is hidden.
  std::vector<std::string> exports;
  std::string output;
  bool executable = false;
  /// One object of all objects, symbols left open; `exports` is ignored.
  bool relocatable = false;
};

/// Links with lld inside this process; `error` has its text on failure. Needs
/// the run-time C library only, no compiler and no start files.
LogicalResult linkArtefact(const LinkOptions &options, std::string &error);

/// Folder of the library that this code is part of: the runtime archive lies
/// beside it.
std::string getLibraryFolder();

} // namespace mlir::ffn

#endif // FFN_MLIR_TARGET_CPU_CODEGEN_H
