//===- AttentionEval.cpp - Attention and RotaryEmbedding ------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/TensorOps.h"
#include "ffn-mlir/Ops/OpTable.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

/// `past` and `x`, both [B, N, S, D], along S; `x` alone without a past.
static FailureOr<EvalTensor> appendTo(EvalContext &ctx, const EvalTensor &past,
                                      const EvalTensor &x) {
  if (past.isNull())
    return x;
  if (past.getRank() != 4 || x.getRank() != 4)
    return ctx.error("past of shape " + shapeText(past.getShape()) +
                     " does not fit");
  return concatTensors(ctx.node, ctx.state, {past, x}, 2);
}

/// A mask as what is added to scores, widened along keys with -inf.
static FailureOr<EvalTensor> toBias(EvalContext &ctx, const EvalTensor &mask,
                                    int64_t keys, Type type) {
  double hidden = -std::numeric_limits<double>::infinity();
  EvalTensor bias = mask;
  if (mask.isInteger()) {
    bias = mask.toFloat(type);
    // Booleans select, other integers are added.
    if (mask.isBool())
      for (double &x : bias.mutableFloats())
        x = x != 0 ? 0 : hidden;
  } else if (!mask.isFloat()) {
    return ctx.error("the mask must be boolean or floating");
  }
  if (bias.getRank() < 1 || bias.getDim(-1) >= keys)
    return bias;
  // A last dim of 1 that broadcasts is told from a short one by the number of
  // keys alone; the specification pads.
  SmallVector<int64_t> rest(bias.getShape());
  rest.back() = keys - rest.back();
  FailureOr<EvalTensor> padding = ctx.allocate(bias.getElementType(), rest);
  if (failed(padding))
    return failure();
  fillWith(*padding, EvalTensor::scalar(bias.getElementType(), hidden));
  return concatTensors(ctx.node, ctx.state, {bias, *padding},
                       bias.getRank() - 1);
}

static LogicalResult evalAttention(EvalContext &ctx) {
  FailureOr<EvalTensor> q = ctx.requireFloat(0), k = ctx.requireFloat(1),
                        v = ctx.requireFloat(2);
  if (failed(q) || failed(k) || failed(v))
    return failure();
  bool flat = q->getRank() == 3;
  if (flat) {
    q = splitHeads(ctx.node, ctx.state, *q, ctx.getInt("q_num_heads", 0));
    k = splitHeads(ctx.node, ctx.state, *k, ctx.getInt("kv_num_heads", 0));
    v = splitHeads(ctx.node, ctx.state, *v, ctx.getInt("kv_num_heads", 0));
    if (failed(q) || failed(k) || failed(v))
      return failure();
  }
  EvalTensor pastKey = ctx.input(4), pastValue = ctx.input(5);
  EvalTensor lengths = ctx.input(6);
  k = appendTo(ctx, pastKey, *k);
  v = appendTo(ctx, pastValue, *v);
  if (failed(k) || failed(v))
    return failure();
  if (q->getRank() != 4 || k->getRank() != 4 || v->getRank() != 4)
    return ctx.error("query, key and value must be of rank 3 or 4");
  int64_t length = q->getDim(2), keys = k->getDim(2);
  if (!lengths.isNull() &&
      (!lengths.isInteger() || lengths.getNumElements() != q->getDim(0)))
    return ctx.error("nonpad_kv_seqlen must have one entry a batch entry");

  AttentionOptions options;
  double scale = ctx.getFloat("scale", 0);
  options.scale = ctx.hasAttr("scale")
                      ? scale
                      : 1 / std::sqrt(static_cast<double>(q->getDim(3)));
  options.softcap = ctx.getFloat("softcap", 0);
  EvalTensor bias = ctx.input(3);
  if (!bias.isNull()) {
    FailureOr<EvalTensor> added = toBias(ctx, bias, keys, q->getElementType());
    if (failed(added))
      return failure();
    bias = *added;
  }
  bool causal = ctx.getInt("is_causal", 0) != 0;
  int64_t left = ctx.getInt("left_window_size", -1);
  int64_t right = ctx.getInt("right_window_size", -1);
  int64_t past = pastKey.isNull() ? 0 : pastKey.getDim(2);
  auto visible = [&](int64_t b, int64_t, int64_t s, int64_t t) {
    int64_t offset = past;
    if (pastKey.isNull() && !lengths.isNull())
      offset = lengths.ints()[b] - length;
    int64_t position = s + offset;
    if (!lengths.isNull() && t >= lengths.ints()[b])
      return false;
    if (causal && t > position)
      return false;
    if (left >= 0 && position - t > left)
      return false;
    return right < 0 || t - position <= right;
  };
  int64_t mode = ctx.getInt("qk_matmul_output_mode", 0);
  EvalTensor scores;
  FailureOr<EvalTensor> result =
      attend(ctx.node, ctx.state, *q, *k, *v, bias, options, visible,
             static_cast<int>(mode) + 1, ctx.hasOutput(3) ? &scores : nullptr);
  if (failed(result))
    return failure();
  if (flat)
    result = mergeHeads(ctx.node, ctx.state, *result);
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  ctx.setOutput(1, *k);
  ctx.setOutput(2, *v);
  if (!scores.isNull())
    ctx.setOutput(3, scores);
  return success();
}

/// Both domains: the default one has position ids last.
template <bool contrib>
static LogicalResult evalRotaryEmbedding(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0);
  FailureOr<EvalTensor> cos = ctx.requireFloat(contrib ? 2 : 1);
  FailureOr<EvalTensor> sin = ctx.requireFloat(contrib ? 3 : 2);
  if (failed(x) || failed(cos) || failed(sin))
    return failure();
  EvalTensor ids = ctx.input(contrib ? 1 : 3);
  if (!ids.isNull() && !ids.isInteger())
    return ctx.error("position ids must be integers");
  int64_t width = ctx.getInt("rotary_embedding_dim", 0);
  int64_t heads = ctx.getInt("num_heads", 0);
  bool flat = x->getRank() == 3;
  if (contrib && flat && heads == 0 && cos->getRank() == 2 &&
      cos->getDim(1) > 0)
    heads = x->getDim(2) / (2 * cos->getDim(1));
  FailureOr<EvalTensor> split =
      flat ? splitHeads(ctx.node, ctx.state, *x, heads) : x;
  if (failed(split))
    return failure();
  if (split->getRank() != 4)
    return ctx.error("the input must be of rank 3 or 4");
  int64_t length = split->getDim(2);
  bool offsetOnly = contrib && ids.getNumElements() == 1 && ids.getRank() == 1;
  int64_t wanted = split->getDim(0) * length;
  if (!ids.isNull() && !offsetOnly && ids.getNumElements() != wanted)
    return ctx.error("position ids " + shapeText(ids.getShape()) +
                     " do not fit");
  LogicalResult done = rotateHeads(
      ctx.node, *split, width ? width : split->getDim(3),
      ctx.getInt("interleaved", 0) != 0, *cos, *sin, [&](int64_t b, int64_t s) {
        if (ids.isNull())
          return b * length + s;
        return offsetOnly ? ids.ints()[0] + s : ids.ints()[b * length + s];
      });
  if (failed(done))
    return failure();
  double scale = contrib ? ctx.getFloat("scale", 1) : 1;
  if (scale != 1)
    for (double &v : split->mutableFloats())
      v *= scale;
  FailureOr<EvalTensor> result =
      flat ? mergeHeads(ctx.node, ctx.state, *split) : split;
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

FFN_REGISTER_OPS(AttentionEval) {
  table.addEval("", "Attention", 1, evalAttention);
  table.addEval("", "RotaryEmbedding", 1, evalRotaryEmbedding<false>);
  table.addEval("com.microsoft", "RotaryEmbedding", 1,
                evalRotaryEmbedding<true>);
}
