//===- WeightEval.h - Bytes of weight expressions ---------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A weight expression is a dense tensor of its declared type. This class
// computes its bytes in blocks, so that neither the expression nor the weights
// it is made of need to be in memory. Products and sums are computed in f64
// and rounded once, to the declared type; expressions that only move elements
// keep their bits.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_WEIGHTEVAL_H
#define FFN_MLIR_SUPPORT_WEIGHTEVAL_H

#include "mlir/IR/BuiltinAttributeInterfaces.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallVector.h"

namespace mlir::ffn {

/// Whether the value is an `ffn.weight` or an expression over such values, all
/// of element types whose bytes can be computed.
bool isWeightExpression(Value value);

/// A name for what the expression is made of: the key of its first span.
StringRef getWeightKey(Value value);

/// Not thread-safe; one for each thread.
class WeightEvaluator {
public:
  WeightEvaluator() = default;

  /// Packed bytes of elements [begin, begin + count) in row-major order;
  /// `bytes` has exactly their size. Fails after a diagnostic.
  LogicalResult read(Value value, int64_t begin, int64_t count,
                     MutableArrayRef<char> bytes);

  /// All bytes.
  LogicalResult readAll(Value value, SmallVectorImpl<char> &bytes);

  /// The value of an `ffn.weight` that is this expression: the attribute of a
  /// weight itself, else bytes that are inline when small and a span of
  /// @derived otherwise. Remembered by value: an expression that is used twice
  /// is computed once.
  FailureOr<TypedAttr> materialize(Value value, StringRef key = {});

private:
  llvm::DenseMap<Value, TypedAttr> materialized;
  llvm::DenseMap<Value, SmallVector<double, 0>> vectors;
  unsigned depth = 0;

  LogicalResult readImpl(Value value, int64_t begin, int64_t count,
                         MutableArrayRef<char> bytes);
  /// Columns [first, first + count) of a matrix, one after the other.
  LogicalResult readColumns(Value matrix, int64_t first, int64_t count,
                            MutableArrayRef<char> bytes);
  /// All elements as doubles; kept, for vectors that each block needs.
  FailureOr<ArrayRef<double>> readDoubles(Value value);
  LogicalResult readDoubles(Value value, int64_t begin, int64_t count,
                            SmallVectorImpl<double> &values);
  LogicalResult writeDoubles(Operation *op, Type elementType,
                             ArrayRef<double> values,
                             MutableArrayRef<char> bytes);
};

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_WEIGHTEVAL_H
