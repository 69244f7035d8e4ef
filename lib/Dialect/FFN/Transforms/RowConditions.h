//===- RowConditions.h - What rows may leave out ----------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// What the passes of adaptive depth have in common: conditions on rows (the
// positions of a text), made of onnx nodes, and the part of a sublayer that a
// condition leaves out.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_ROWCONDITIONS_H
#define FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_ROWCONDITIONS_H

#include "NodeUtils.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNAdaptive.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::ffn {

/// @main of one block; null for any other module.
func::FuncOp getMainOfOneBlock(ModuleOp module);

/// The type of one `element` for each row of `tensor`.
RankedTensorType getRowType(Value tensor, Type element);

/// Nodes on conditions, booleans of the rows of one hidden state, made at the
/// insertion point of a builder.
class RowConditions {
public:
  RowConditions(ModuleOp module, OpBuilder &builder)
      : module(module), opset(getDefaultOpset(module)), builder(builder),
        loc(builder.getUnknownLoc()) {}

  Value node(StringRef op, Type type, ValueRange inputs,
             ArrayRef<NamedAttribute> attrs = {});
  /// Numbers of rows that are above a threshold; no NaN is.
  Value above(Value numbers, double threshold);
  Value both(Value a, Value b);
  /// `b` where `a` is null.
  Value either(Value a, Value b);
  Value negate(Value a);
  /// Whether integers of rows are equal.
  Value equal(Value a, Value b);
  Value intScalar(int64_t value);
  /// A condition on calls or positions as one on the rows of `hidden`.
  Value expandToRows(Value condition, Value hidden);

  /// Which rows of `hidden` may leave something out: with `decodeOnly` those of
  /// calls with one position, and none of the first `warmup` positions of a
  /// text, counted from the state that the call continues. Null where all may;
  /// fails after a diagnostic (FFN-P161) where positions are not known or the
  /// opset lacks the nodes.
  FailureOr<Value> findOpen(Value hidden, bool decodeOnly, unsigned warmup,
                            func::FuncOp main);

  /// Adds the condition, 1 or 0, to the sum (null: nothing yet) over rows.
  Value count(Value sum, Value condition);

private:
  Value sizeOf(Value tensor, int64_t axis);
  ModuleOp module;
  int64_t opset;
  OpBuilder &builder;
  Location loc;
};

/// Makes rows with `skip` leave out what only the one addend of a sublayer
/// needs; its extra results (keys and values) are made of all rows. Null where
/// an extra result needs the addend, or there are several addends: nothing
/// changes then.
SkipOp leaveOutAddend(SublayerOp sublayer, Value skip);
/// Why `leaveOutAddend` gives null; empty where it does not.
StringRef findObstacle(SublayerOp sublayer);

/// Adds a result of @main.
void appendResult(func::FuncOp main, Value value, StringRef name);

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_ROWCONDITIONS_H
