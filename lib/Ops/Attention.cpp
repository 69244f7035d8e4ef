//===- Attention.cpp - Shapes of attention --------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/ShapeHelpers.h"

using namespace mlir;
using namespace mlir::ffn;

/// Input i as [batch, heads, length, head size]; heads are folded into the
/// last of three dims and `headsAttr` counts them. None for an unknown rank.
static FailureOr<std::optional<Dims>> getHeads(ShapeContext &ctx, unsigned i,
                                               StringRef headsAttr) {
  const SymValue &input = ctx.input(i);
  if (!input.dims)
    return std::optional<Dims>();
  Dims dims = *input.dims;
  if (dims.size() == 4)
    return std::optional<Dims>(dims);
  if (dims.size() != 3)
    return ctx.error("I504", "input " + Twine(i) + " has " +
                                 Twine(dims.size()) +
                                 " dimensions, 3 or 4 are meant");
  int64_t heads = ctx.node.getInt(headsAttr, 0);
  if (heads < 1)
    return ctx.error("I502", "attribute '" + headsAttr + "' is " +
                                 Twine(heads) + ", but input " + Twine(i) +
                                 " of 3 dimensions needs it");
  if (std::optional<int64_t> width = dims[2].getConstant();
      width && *width % heads != 0)
    return ctx.error("I504", "input " + Twine(i) + ": " + Twine(*width) +
                                 " is no multiple of " + Twine(heads) +
                                 " heads");
  return std::optional<Dims>(
      Dims{dims[0], DimExpr(heads), dims[1], dims[2].floorDiv(heads)});
}

/// (Q, K, V, mask, past_key, past_value, ...) -> Y, present_key,
/// present_value, scores.
static LogicalResult shapeAttention(ShapeContext &ctx) {
  FailureOr<std::optional<Dims>> q = getHeads(ctx, 0, "q_num_heads"),
                                 k = getHeads(ctx, 1, "kv_num_heads"),
                                 v = getHeads(ctx, 2, "kv_num_heads");
  if (failed(q) || failed(k) || failed(v))
    return failure();
  if (*q && *k &&
      failed(requireSame(ctx, (**q)[3], (**k)[3], "head sizes of Q and K")))
    return failure();
  if (*k && *v &&
      failed(requireSame(ctx, (**k)[2], (**v)[2], "lengths of K and V")))
    return failure();
  if (*q && *v) {
    Dims y = **q;
    y[3] = (**v)[3];
    if (ctx.input(0).rank() == 3)
      y = Dims{y[0], y[2], y[1] * y[3]};
    setOutput(ctx, 0, std::move(y));
  }
  auto append = [&](std::optional<Dims> &dims, unsigned past) {
    if (!dims || !ctx.hasInput(past))
      return success();
    if (failed(requireRank(ctx, past, 4)))
      return failure();
    const SymValue &cache = ctx.input(past);
    (*dims)[2] = cache.dims ? (*dims)[2] + (*cache.dims)[2] : DimExpr();
    return success();
  };
  if (failed(append(*k, 4)) || failed(append(*v, 5)))
    return failure();
  setOutput(ctx, 1, *k);
  setOutput(ctx, 2, *v);
  if (*q && *k)
    setOutput(ctx, 3, Dims{(**q)[0], (**q)[1], (**q)[2], (**k)[2]});
  return success();
}

FFN_REGISTER_OPS(Attention) {
  table.addShape("", "Attention", 23, shapeAttention);
}
