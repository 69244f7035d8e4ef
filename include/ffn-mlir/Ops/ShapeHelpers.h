//===- ShapeHelpers.h - What shape functions share --------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_OPS_SHAPEHELPERS_H
#define FFN_MLIR_OPS_SHAPEHELPERS_H

#include "ffn-mlir/Ops/OpTable.h"

namespace mlir::ffn {

using Dims = SmallVector<DimExpr>;

/// Output 0 is like input 0 (dims; element type by the schema).
LogicalResult shapeLikeFirstInput(ShapeContext &ctx);
/// All inputs broadcast into output 0.
LogicalResult shapeBroadcast(ShapeContext &ctx);
/// The broadcast of the dims of some inputs; none when a rank is unknown.
FailureOr<std::optional<Dims>> broadcastInputs(ShapeContext &ctx,
                                               ArrayRef<unsigned> inputs);

/// Sets output i; element type by the schema if null.
void setOutput(ShapeContext &ctx, unsigned i, std::optional<Dims> dims,
               Type elementType = {});

/// Product of dims; 1 for none.
DimExpr product(ArrayRef<DimExpr> dims);
/// Product of constant dims; none if one is not constant or on overflow.
std::optional<int64_t> constantProduct(ArrayRef<DimExpr> dims);
/// `count` unknown dims.
Dims unknownDims(int64_t count);

/// I503 unless the rank of input i is known to be at least / exactly `rank`;
/// success for an unknown rank.
LogicalResult requireMinRank(ShapeContext &ctx, unsigned i, int64_t rank);
LogicalResult requireRank(ShapeContext &ctx, unsigned i, int64_t rank);
/// I504 when two sizes are known to differ; `what` names them.
LogicalResult requireEqual(ShapeContext &ctx, const DimExpr &a,
                           const DimExpr &b, const Twine &what);
/// As `requireEqual`, for sizes of which none may be 1 instead (no broadcast)
/// and none is excused when a tensor is empty: one that is not known yet is the
/// other one.
LogicalResult requireSame(ShapeContext &ctx, const DimExpr &a, const DimExpr &b,
                          const Twine &what);
/// For a size `part` that broadcasts to `whole` and never enlarges it: I504
/// unless it may be 1 or equal.
LogicalResult requireBroadcastTo(ShapeContext &ctx, const DimExpr &part,
                                 const DimExpr &whole, const Twine &what);
/// The better known of two sizes that must agree.
DimExpr meet(const DimExpr &a, const DimExpr &b);

/// Axes of an operator: input `inputIndex` (unless negative) or the attribute.
/// Normalised to [0, rank), unique (I502). `known` is false when an input
/// holds them that is no constant; `axes` is none when there are none.
struct Axes {
  bool known = true;
  std::optional<SmallVector<int64_t>> axes;
};
FailureOr<Axes> getAxes(ShapeContext &ctx, int inputIndex, StringRef attribute,
                        int64_t rank);

/// Whether the contents of a value with these dims are small enough to follow.
bool isFoldable(const std::optional<Dims> &dims, int64_t &count);

/// An integer or a TensorProto type number attribute as element type; I502
/// when it is no type. Null without the attribute.
FailureOr<Type> getTypeAttr(ShapeContext &ctx, StringRef name);

/// Text of dims for messages: "[batch, 8]".
std::string toString(ArrayRef<DimExpr> dims);

} // namespace mlir::ffn

#endif // FFN_MLIR_OPS_SHAPEHELPERS_H
