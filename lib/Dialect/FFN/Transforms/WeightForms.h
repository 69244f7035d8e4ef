//===- WeightForms.h - Weight expressions in passes -------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_WEIGHTFORMS_H
#define FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_WEIGHTFORMS_H

#include "ffn-mlir/Support/WeightEval.h"
#include "mlir/IR/Builders.h"
#include <string>

namespace mlir::ffn {

/// Element type that the bytes of the expression have: the narrow one of its
/// weights while the expression only moves and widens them, else its own.
/// Generated code keeps a weight in this type.
Type getStoredType(Value weight);

/// The expression in its stored type, with its widening casts taken off.
Value createStored(OpBuilder &builder, Value weight);

/// `weight`, cast to `elementType` unless it has that type.
Value createCast(OpBuilder &builder, Value weight, Type elementType);

/// Why weights of one element type cannot be stacked in the form that they are
/// kept in: codes whose groups or widths differ. Empty if they can.
std::string findConcatRowsObstacle(ArrayRef<Value> weights);

/// A weight whose elements are all `value`, rounded to the type
/// (floats or integers).
Value createSplat(OpBuilder &builder, Location loc, RankedTensorType type,
                  double value);

/// A vector of these values, rounded to nearest even.
Value createVector(OpBuilder &builder, Location loc, FloatType elementType,
                   ArrayRef<double> values);

/// Rows of all, kept in the type that they are stored in where it is one, and
/// as codes and scales where all are.
Value createConcatRows(OpBuilder &builder, Location loc,
                       ArrayRef<Value> weights);

/// Where expressions over `weights` that `user` will read belong: before the
/// outermost sublayer around it, whose body captures them, unless one of the
/// weights is inside.
Operation *getExpressionAnchor(Operation *user, ArrayRef<Value> weights);

/// An operation that reads bytes of the weight, through any expression, and
/// that `isKnown` does not hold for; null if there is none. A changed copy of
/// the weight would have to stand beside the one that it reads.
Operation *findOtherReader(Value weight,
                           function_ref<bool(Operation *)> isKnown);

/// The elements as doubles. Fails after a diagnostic.
FailureOr<SmallVector<double>> readVector(Value weight);

/// Calls `visit` with the rows of a matrix as doubles, in order; some of them
/// are in memory at a time. Fails after a diagnostic.
LogicalResult forEachRow(Value matrix,
                         function_ref<void(int64_t, ArrayRef<double>)> visit);

/// Whether all products of the columns of the matrix with `scale` are values
/// of the type that the matrix is stored in. Reads the matrix, in blocks, only
/// when the scale does not answer the question. Fails after a diagnostic.
FailureOr<bool> isExactScale(Value matrix, ArrayRef<double> scale);

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_WEIGHTFORMS_H
