//===- Norm.cpp - Shapes of normalisations --------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/ShapeHelpers.h"

using namespace mlir;
using namespace mlir::ffn;

/// I504 unless vector input i broadcasts to dims from `axis` on.
static LogicalResult checkScale(ShapeContext &ctx, unsigned i, int64_t axis) {
  const SymValue &input = ctx.input(0), &scale = ctx.input(i);
  if (!input.dims || !scale.dims)
    return success();
  ArrayRef<DimExpr> tail = ArrayRef<DimExpr>(*input.dims).drop_front(axis);
  if (scale.rank() > input.rank())
    return ctx.error("I504", "input " + Twine(i) + " has " +
                                 Twine(scale.rank()) +
                                 " dimensions, the normalised one has " +
                                 Twine(input.rank()));
  for (auto [a, b] : llvm::zip(llvm::reverse(*scale.dims), llvm::reverse(tail)))
    if (failed(requireBroadcastTo(ctx, a, b,
                                  "dimension of input " + Twine(i) +
                                      " and of the normalised input")))
      return failure();
  return success();
}

/// Statistics have the shape of the input with normalised dims of one.
static LogicalResult shapeAxisNorm(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  Type statistics;
  int64_t stash = ctx.node.getInt("stash_type", 1);
  if (ctx.numOutputs() > 1 && stash > 0 && stash < 100)
    statistics = getONNXElementType(ctx.node.getContext(), stash);
  if (!input.dims)
    return shapeLikeFirstInput(ctx);
  FailureOr<int64_t> axis =
      normalizeAxis(ctx, ctx.node.getInt("axis", -1), input.rank());
  if (failed(axis) || failed(checkScale(ctx, 1, *axis)) ||
      (ctx.hasInput(2) && failed(checkScale(ctx, 2, *axis))))
    return failure();
  setOutput(ctx, 0, input.dims);
  Dims reduced = *input.dims;
  for (int64_t i = *axis; i < input.rank(); ++i)
    reduced[i] = DimExpr(1);
  setOutput(ctx, 1, reduced, statistics);
  setOutput(ctx, 2, reduced, statistics);
  return success();
}

/// Channels are dimension 1; inputs from 1 to `last` hold one value each.
static LogicalResult checkChannels(ShapeContext &ctx, unsigned last) {
  const SymValue &input = ctx.input(0);
  if (failed(requireMinRank(ctx, 0, 2)))
    return failure();
  for (unsigned i = 1; i <= last; ++i) {
    if (failed(requireRank(ctx, i, 1)))
      return failure();
    if (input.dims && ctx.input(i).dims &&
        failed(requireSame(ctx, (*input.dims)[1], ctx.input(i).dims->front(),
                           "channels of input 0 and of input " + Twine(i))))
      return failure();
  }
  return success();
}

static LogicalResult shapeBatchNorm(ShapeContext &ctx) {
  // The oldest version with `consumed_inputs` also normalised vectors.
  if (ctx.input(0).rank() != 1 && failed(checkChannels(ctx, 4)))
    return failure();
  for (unsigned i = 1; i < ctx.numOutputs(); ++i)
    setOutput(ctx, i, ctx.input(i < 3 ? 2 + i : 1).dims);
  return shapeLikeFirstInput(ctx);
}

static LogicalResult shapeInstanceNorm(ShapeContext &ctx) {
  if (failed(checkChannels(ctx, 2)))
    return failure();
  return shapeLikeFirstInput(ctx);
}

static LogicalResult shapeGroupNorm(ShapeContext &ctx) {
  if (failed(requireMinRank(ctx, 0, 2)))
    return failure();
  int64_t groups = ctx.node.getInt("num_groups", 1);
  if (groups < 1)
    return ctx.error("I502", "num_groups is " + Twine(groups));
  const SymValue &input = ctx.input(0);
  if (input.dims) {
    std::optional<int64_t> channels = (*input.dims)[1].getConstant();
    if (channels && *channels % groups != 0)
      return ctx.error("I502", Twine(*channels) + " channels in " +
                                   Twine(groups) + " groups");
  }
  return shapeLikeFirstInput(ctx);
}

//===----------------------------------------------------------------------===//
// com.microsoft
//===----------------------------------------------------------------------===//

/// (input, skip, gamma, ...) -> output, mean, inv_std_var, input_skip_bias_sum.
static LogicalResult shapeSkipNorm(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  if (failed(requireMinRank(ctx, 0, 2)))
    return failure();
  setOutput(ctx, 0, input.dims);
  setOutput(ctx, 3, input.dims, input.elementType);
  if (!input.dims)
    return success();
  // The skip may leave out the batch or have a batch of one.
  const SymValue &skip = ctx.input(1);
  if (skip.dims && skip.rank() > 0 &&
      failed(requireEqual(ctx, input.dims->back(), skip.dims->back(),
                          "hidden sizes of input and skip")))
    return failure();
  for (unsigned i = 2; i < 4; ++i)
    if (ctx.hasInput(i) && ctx.input(i).rank() == 1 &&
        failed(checkScale(ctx, i, input.rank() - 1)))
      return failure();
  Dims reduced = *input.dims;
  reduced.back() = DimExpr(1);
  setOutput(ctx, 1, reduced);
  setOutput(ctx, 2, reduced);
  return success();
}

/// (ids, segments, word table, position table, segment table, gamma, beta,
/// mask, position ids) -> output, mask_index, embedding_sum.
static LogicalResult shapeEmbedNorm(ShapeContext &ctx) {
  const SymValue &ids = ctx.input(0);
  if (failed(requireRank(ctx, 0, 2)) || failed(requireRank(ctx, 2, 2)))
    return failure();
  Dims dims = ids.dims ? *ids.dims : unknownDims(2);
  Type i32 = IntegerType::get(ctx.node.getContext(), 32);
  setOutput(ctx, 1, Dims{dims[0]}, i32);
  dims.push_back(ctx.input(2).dims ? ctx.input(2).dims->back() : DimExpr());
  setOutput(ctx, 0, dims);
  setOutput(ctx, 2, dims);
  return success();
}

/// Channels last unless told otherwise; shapes stay.
static LogicalResult shapeSkipGroupNorm(ShapeContext &ctx) {
  setOutput(ctx, 1, ctx.input(0).dims);
  return shapeLikeFirstInput(ctx);
}

FFN_REGISTER_OPS(Norm) {
  StringRef ms = "com.microsoft";
  table.addShape("", "LayerNormalization", 1, shapeAxisNorm);
  table.addShape("", "SimplifiedLayerNormalization", 1, shapeAxisNorm);
  table.addShape("", "RMSNormalization", 23, shapeAxisNorm);
  table.addShape("", "BatchNormalization", 1, shapeBatchNorm);
  table.addShape("", "InstanceNormalization", 1, shapeInstanceNorm);
  table.addShape("", "GroupNormalization", 18, shapeGroupNorm);
  table.addShape("", "MeanVarianceNormalization", 9, shapeLikeFirstInput);
  table.addShape("", "LRN", 1, shapeLikeFirstInput);
  table.addShape("", "SkipSimplifiedLayerNormalization", 1, shapeSkipNorm);
  table.addShape(ms, "SkipSimplifiedLayerNormalization", 1, shapeSkipNorm);
  table.addShape(ms, "SkipLayerNormalization", 1, shapeSkipNorm);
  table.addShape(ms, "EmbedLayerNormalization", 1, shapeEmbedNorm);
  table.addShape(ms, "GroupNorm", 1, shapeLikeFirstInput);
  table.addShape(ms, "SkipGroupNorm", 1, shapeSkipGroupNorm);
}
