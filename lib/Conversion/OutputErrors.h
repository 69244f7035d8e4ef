//===- OutputErrors.h - Why an output cannot be compiled --------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_CONVERSION_OUTPUTERRORS_H
#define FFN_MLIR_LIB_CONVERSION_OUTPUTERRORS_H

#include "ModelLowering.h"

namespace mlir::ffn {

/// Errors about outputs of a model, told at the node that is to blame.
struct OutputErrors {
  func::FuncOp main;
  const ModelScope &scope;
  const SymbolicShapeAnalysis &analysis;

  /// [FFN-C103] for output `i`, at the node from which on `isLate` holds, or
  /// [FFN-C101] where that node has no shape function. `what` is known too
  /// late: "its rank".
  LogicalResult reportLate(unsigned i, StringRef name, const Twine &what,
                           llvm::function_ref<bool(const SymValue &)> isLate);
  /// [FFN-C101] for output `i`, at the node that first makes its element type,
  /// which has no native form; [FFN-C102] where no node does.
  LogicalResult reportType(unsigned i, StringRef name, Type element);

private:
  Value getOutput(unsigned i) {
    return main.getBody().front().getTerminator()->getOperand(i);
  }
};

/// [FFN-C102] for a model with more symbolic dimensions, or an input or output
/// of higher rank, than the runtime takes.
LogicalResult checkRuntimeLimits(func::FuncOp main,
                                 const ModelDescriptor &descriptor);

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_CONVERSION_OUTPUTERRORS_H
