//===- KernelJit.h - Running kernels inside a test --------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_TEST_UNIT_TARGET_KERNELJIT_H
#define FFN_MLIR_TEST_UNIT_TARGET_KERNELJIT_H

#include "ffn-mlir/Target/CPU/Kernels.h"
#include "ffn-mlir/Target/CPU/Packing.h"
#include "mlir/IR/OwningOpRef.h"
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace llvm::orc {
class LLJIT;
} // namespace llvm::orc

namespace ffn_test {

/// A memref descriptor of any rank, as the C interface of MLIR passes it.
struct Buffer {
  std::vector<int64_t> words;
  Buffer(void *data, std::vector<int64_t> sizes, std::vector<int64_t> strides,
         int64_t offset = 0);
  /// Contiguous.
  Buffer(void *data, std::vector<int64_t> sizes);
  void *get() { return words.data(); }
};

/// Machine code of a module for one level, in this process.
class KernelJit {
public:
  KernelJit();
  ~KernelJit();

  /// Lowers a bufferized module; functions with `llvm.emit_c_interface` can
  /// then be called. False after a message.
  bool compile(mlir::ModuleOp module, mlir::ffn::cpu::CpuTarget target);
  /// Emits and compiles one kernel.
  bool compileKernel(mlir::MLIRContext &ctx, mlir::Attribute key);

  /// Calls the C interface of `name` (of the kernel, if empty).
  void call(std::vector<Buffer *> buffers, const std::string &name);
  /// Runs the kernel on the range of tasks.
  void run(std::vector<Buffer *> buffers, int64_t begin, int64_t end);
  /// Number of tasks for these operands.
  int64_t countTasks(std::vector<Buffer *> buffers);

private:
  std::unique_ptr<llvm::orc::LLJIT> jit;
  std::string kernel;
  void *kernelAddress = nullptr, *countAddress = nullptr;
  void *lookup(const std::string &name);
};

/// The levels that this machine can run; those that differ in products of
/// bytes alone only if asked for.
std::vector<mlir::ffn::cpu::CpuTarget> getHostLevels(bool forBytes = false);

/// A context with everything registered.
mlir::MLIRContext &getContext();

/// Worker threads that ffn_parallel_for of the tests pretends to have, and the
/// order in which it runs their shares.
extern int64_t jitThreads;

} // namespace ffn_test

#endif // FFN_MLIR_TEST_UNIT_TARGET_KERNELJIT_H
