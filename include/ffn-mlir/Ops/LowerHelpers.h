//===- LowerHelpers.h - Building blocks of lowerings ------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_OPS_LOWERHELPERS_H
#define FFN_MLIR_OPS_LOWERHELPERS_H

#include "ffn-mlir/Ops/OpTable.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace mlir::ffn {

using Sizes = SmallVector<OpFoldResult>;
/// Makes the result element from operand elements as they are stored (bools are
/// i8, see toCondition); an i1 result is stored as bool.
using ElementFn =
    llvm::function_ref<Value(OpBuilder &, Location, ValueRange elements)>;

inline RankedTensorType tensorType(Value value) {
  return value ? llvm::dyn_cast<RankedTensorType>(value.getType())
               : RankedTensorType();
}
inline int64_t rankOf(Value value) { return tensorType(value).getRank(); }
inline Type elementOf(Value value) {
  return tensorType(value).getElementType();
}
/// Axis counted from the end made positive; none when out of range.
std::optional<int64_t> positiveAxis(int64_t axis, int64_t rank);

Value constantIndex(LowerScope &scope, int64_t value);
Value sizeValue(LowerScope &scope, OpFoldResult size);
OpFoldResult staticSize(LowerScope &scope, int64_t value);
/// Folded where both are constant, or one is neutral.
OpFoldResult addSizes(LowerScope &scope, OpFoldResult a, OpFoldResult b);
OpFoldResult subSizes(LowerScope &scope, OpFoldResult a, OpFoldResult b);
OpFoldResult mulSizes(LowerScope &scope, OpFoldResult a, OpFoldResult b);
OpFoldResult productOf(LowerScope &scope, ArrayRef<OpFoldResult> sizes);

/// Number of an element type: 0 for integers.
Value zeroOf(OpBuilder &builder, Location loc, Type element);
Value constantOf(OpBuilder &builder, Location loc, Type element, double value);

/// tensor.empty of the sizes.
Value emptyTensor(LowerScope &scope, ArrayRef<OpFoldResult> sizes,
                  Type element);
Value filledTensor(LowerScope &scope, ArrayRef<OpFoldResult> sizes,
                   Value element);
/// A constant tensor of index or integer values.
Value constantTensor(LowerScope &scope, ArrayRef<int64_t> values, Type element,
                     ArrayRef<int64_t> shape);
/// A tensor made of computed sizes: rank 1, or rank 0 if `scalar`.
Value sizesTensor(LowerScope &scope, ArrayRef<OpFoldResult> values,
                  Type element, bool scalar);

/// Whether two sizes are equal (i1).
Value equalIndex(LowerScope &scope, OpFoldResult a, OpFoldResult b);
/// Casts dims that are known to be static to static.
Value refineType(LowerScope &scope, Value tensor);

/// Sizes that operands broadcast to. Where it cannot be known that two sizes
/// agree, a run-time check is made.
FailureOr<Sizes> broadcastSizes(LowerScope &scope,
                                ArrayRef<Sizes> operandSizes);
/// The tensor, of the rank of `sizes` and with each dim equal to the size or
/// statically 1, ready to be read under a broadcasting map.
Value broadcastOperand(LowerScope &scope, Value tensor,
                       ArrayRef<OpFoldResult> sizes);

/// Applies `fn` to all elements of the operands, broadcast to each other.
Value elementwise(LowerScope &scope, ValueRange operands, Type resultElement,
                  ElementFn fn);

/// Reads operands at positions that `fn` computes: a parallel loop over
/// `sizes` whose body gets the iteration indices.
using IndexFn =
    llvm::function_ref<Value(OpBuilder &, Location, ValueRange indices)>;
Value generate(LowerScope &scope, ArrayRef<OpFoldResult> sizes, Type element,
               IndexFn fn);

/// Reduces `dims` of the input by `combine(element, accumulator)`, starting
/// from `init`. `prepare` maps an input element to an element of the
/// accumulator's type; null: as is. Reduced dims are kept as 1 if `keepDims`.
Value reduce(
    LowerScope &scope, Value input, ArrayRef<int64_t> dims, bool keepDims,
    Value init, llvm::function_ref<Value(OpBuilder &, Location, Value)> prepare,
    llvm::function_ref<Value(OpBuilder &, Location, Value, Value)> combine);

/// Type to sum floats of the input over `dims` in: f32 for up to 256 elements
/// known at compile time, f64 beyond, where a chain of f32 sums would stall.
Type sumType(LowerScope &scope, Value input, ArrayRef<int64_t> dims);

/// The same elements in row-major order under other sizes; the products must
/// agree at run time.
Value reshapeTo(LowerScope &scope, Value tensor, ArrayRef<OpFoldResult> sizes);
Value transposeTo(LowerScope &scope, Value tensor, ArrayRef<int64_t> perm);
/// The tensor with a dim of size 1 inserted before each of `axes` of the
/// result.
Value unsqueeze(LowerScope &scope, Value tensor, ArrayRef<int64_t> axes);

/// Bool storage to i1 and back.
Value toCondition(OpBuilder &builder, Location loc, Value stored);
Value fromCondition(OpBuilder &builder, Location loc, Value condition);

/// Numeric conversion of an element; `toBool`, `fromUnsigned`, `toUnsigned`
/// say what the bits mean. Floats beyond an integer's range saturate, NaN
/// becomes 0.
Value castElement(OpBuilder &builder, Location loc, Value value, Type to,
                  bool fromUnsigned, bool toUnsigned);

/// `fn` in f32 for f16 and bf16 elements, else in the element's own type.
Value computeWide(OpBuilder &builder, Location loc, Value x,
                  llvm::function_ref<Value(Value)> fn);

/// softmax over the last dim of a rank-n tensor; log of it if `log`.
Value softmaxLast(LowerScope &scope, Value input, bool log);
/// Sums of products under the maps of a, w and the result, whose sizes are
/// given; narrow floats are accumulated in f32.
Value contract(LowerScope &scope, Value a, Value w, ArrayRef<AffineMap> maps,
               ArrayRef<OpFoldResult> sizes,
               ArrayRef<utils::IteratorType> iterators);
/// Batched a[..., m, k] x b[..., k, n] with broadcasting of leading dims.
FailureOr<Value> matmul(LowerScope &scope, Value a, Value b);
/// x W^T + b with W [out, in] over the last dim of x.
Value linear(LowerScope &scope, Value x, Value weight, Value bias);
/// Layer or RMS normalisation over the trailing dims from `axis`.
struct NormResult {
  Value output, mean, inverse;
};
NormResult normalize(LowerScope &scope, Value input, int64_t axis, Value scale,
                     Value bias, double eps, bool rms, bool outerEps);
/// Rows of `data` along `axis`; negative indices count from the end. Indices
/// out of range end the run.
Value gatherRows(LowerScope &scope, Value data, Value indices, int64_t axis);

} // namespace mlir::ffn

#endif // FFN_MLIR_OPS_LOWERHELPERS_H
