//===- WeightCount.h - Parameters behind operations -------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_FFN_IR_WEIGHTCOUNT_H
#define FFN_MLIR_DIALECT_FFN_IR_WEIGHTCOUNT_H

#include "mlir/IR/Operation.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallPtrSet.h"

namespace mlir::ffn {

/// Weights reachable from some operations, each counted once: spans with equal
/// bytes are one weight even as two operations.
class WeightCount {
public:
  /// Adds what `root` and the operations inside read, except what lies in an
  /// operation that `skip` names.
  void addFrom(Operation *root,
               llvm::function_ref<bool(Operation *)> skip = nullptr);

  uint64_t parameters = 0, bytes = 0;

private:
  void add(Value value);
  llvm::SmallPtrSet<Operation *, 32> seen;
  llvm::SmallPtrSet<Attribute, 32> attributes;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_DIALECT_FFN_IR_WEIGHTCOUNT_H
