//===- ContribAttentionEval.cpp - Attention of com.microsoft --------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/TensorOps.h"
#include "ffn-mlir/Ops/OpTable.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

/// What the padding mask, the causal rule and the attention bias add to scores
/// [B, N, S, T]: null if nothing is added.
static FailureOr<EvalTensor> totalBias(EvalContext &ctx, EvalTensor mask,
                                       const EvalTensor &added, Type type,
                                       ArrayRef<int64_t> scoreShape,
                                       bool causal) {
  int64_t batch = scoreShape[0], length = scoreShape[2], keys = scoreShape[3];
  int64_t past = keys - length;
  causal &= length > 1;
  // One column for several keys says the same of each and has no effect.
  if (!mask.isNull() && mask.getRank() == 2 && mask.getDim(1) == 1 && keys != 1)
    mask = EvalTensor();
  if (mask.isNull() && added.isNull() && !causal)
    return EvalTensor();
  double filter = ctx.getFloat("mask_filter_value", -10000);
  FailureOr<EvalTensor> result = ctx.allocate(type, scoreShape);
  if (failed(result))
    return failure();
  MutableArrayRef<double> out = result->mutableFloats();
  if (!added.isNull()) {
    if (!added.isFloat())
      return ctx.error("the attention bias must be floating");
    FailureOr<EvalTensor> wide =
        broadcastTensor(ctx.node, ctx.state, added, scoreShape);
    if (failed(wide))
      return failure();
    llvm::copy(wide->floats(), out.begin());
  }
  if (!mask.isNull() && !mask.isInteger())
    return ctx.error("the mask must be of integers");
  int64_t rank = mask.isNull() ? 0 : mask.getRank();
  int64_t count = mask.isNull() ? 0 : mask.getNumElements();
  bool known = mask.isNull() ||
               (rank == 1 && (count == batch || count == 2 * batch ||
                              count == 3 * batch + 2)) ||
               (rank == 2 && count == batch * keys) ||
               (rank == 3 && count == batch * length * keys) ||
               (rank == 4 && mask.getDim(0) == batch && mask.getDim(1) == 1 &&
                mask.getDim(2) >= keys && mask.getDim(3) >= keys);
  if (!known)
    return ctx.error("a mask of shape " + shapeText(mask.getShape()) +
                         " is not evaluated",
                     "E101");
  auto hidden = [&](int64_t b, int64_t s, int64_t t) {
    switch (rank) {
    case 1:
      // Key lengths, and with twice as many entries the first key as well.
      return t >= mask.ints()[b] ||
             (count == 2 * batch && t < mask.ints()[batch + b]);
    case 2:
      return mask.ints()[b * keys + t] <= 0;
    case 3:
      return mask.ints()[(b * length + s) * keys + t] <= 0;
    case 4: // A square of the longest sequence, indexed by positions.
      return mask.ints()[(b * mask.getDim(2) + past + s) * mask.getDim(3) +
                         t] <= 0;
    default:
      return false;
    }
  };
  double lowest = std::numeric_limits<float>::lowest();
  for (int64_t i = 0; i < result->getNumElements(); ++i) {
    int64_t t = i % keys, s = i / keys % length,
            b = i / keys / length / scoreShape[1];
    // The causal rule overwrites the padding mask.
    if (causal && t > past + s)
      out[i] += lowest;
    else if (hidden(b, s, t))
      out[i] += filter;
  }
  return result;
}

/// Columns [start, start + size) of the last dim plus bias entries from
/// `start` on, as heads.
static FailureOr<EvalTensor> takeHeads(EvalContext &ctx, const EvalTensor &x,
                                       int64_t start, int64_t size,
                                       int64_t heads) {
  FailureOr<EvalTensor> part =
      sliceAlongAxis(ctx.node, ctx.state, x, x.getRank() - 1, start, size);
  if (failed(part))
    return failure();
  return splitHeads(ctx.node, ctx.state, *part, heads);
}

static LogicalResult addBias(EvalContext &ctx, EvalTensor &x,
                             const EvalTensor &bias, int64_t start) {
  if (bias.isNull())
    return success();
  int64_t width = x.getDim(-1);
  if (!bias.isFloat() || bias.getNumElements() < start + width)
    return ctx.error("the bias does not fit");
  MutableArrayRef<double> values = x.mutableFloats();
  for (size_t i = 0; i < values.size(); ++i)
    values[i] += bias.floats()[start + i % width];
  return success();
}

static double scaleOf(EvalContext &ctx, const EvalTensor &q) {
  double scale = ctx.getFloat("scale", 0);
  return scale != 0 ? scale : 1 / std::sqrt(static_cast<double>(q.getDim(3)));
}

static LogicalResult evalContribAttention(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0), w = ctx.requireFloat(1);
  if (failed(x) || failed(w))
    return failure();
  if (ctx.getInt("do_rotary", 0) != 0 ||
      ctx.getInt("past_present_share_buffer", 0) != 0)
    return ctx.error("do_rotary and shared buffers are not evaluated", "E101");
  if (x->getRank() != 3 || w->getRank() != 2)
    return ctx.error("needs an input of rank 3 and a weight matrix");
  int64_t heads = ctx.getInt("num_heads", 0);
  SmallVector<int64_t> sizes(3, w->getDim(1) / 3);
  if (auto given = ctx.getInts("qkv_hidden_sizes"); given && !given->empty())
    sizes = *given;
  if (sizes.size() != 3 || heads < 1 ||
      llvm::any_of(
          sizes, [&](int64_t s) { return s < 0 || s % heads; }) ||
      sizes[0] + sizes[1] + sizes[2] != w->getDim(1))
    return ctx.error("the hidden sizes do not fit the weight");
  FailureOr<EvalTensor> projected = matmulTensors(ctx.node, ctx.state, *x, *w);
  if (failed(projected) || failed(addBias(ctx, *projected, ctx.input(2), 0)))
    return failure();
  FailureOr<EvalTensor> q = takeHeads(ctx, *projected, 0, sizes[0], heads);
  FailureOr<EvalTensor> k =
      takeHeads(ctx, *projected, sizes[0], sizes[1], heads);
  FailureOr<EvalTensor> v =
      takeHeads(ctx, *projected, sizes[0] + sizes[1], sizes[2], heads);
  if (failed(q) || failed(k) || failed(v))
    return failure();
  EvalTensor past = ctx.input(4);
  if (!past.isNull()) {
    if (past.getRank() != 5 || past.getDim(0) != 2)
      return ctx.error("past must be [2, B, N, P, H]");
    SmallVector<int64_t> shape(past.getShape().drop_front());
    FailureOr<EvalTensor> pastK =
        sliceAlongAxis(ctx.node, ctx.state, past, 0, 0, 1);
    FailureOr<EvalTensor> pastV =
        sliceAlongAxis(ctx.node, ctx.state, past, 0, 1, 1);
    if (failed(pastK) || failed(pastV))
      return failure();
    k = concatTensors(ctx.node, ctx.state, {pastK->reshaped(shape), *k}, 2);
    v = concatTensors(ctx.node, ctx.state, {pastV->reshaped(shape), *v}, 2);
    if (failed(k) || failed(v))
      return failure();
  }
  FailureOr<EvalTensor> bias =
      totalBias(ctx, ctx.input(3), ctx.input(5), x->getElementType(),
                {q->getDim(0), heads, q->getDim(2), k->getDim(2)},
                ctx.getInt("unidirectional", 0) != 0);
  if (failed(bias))
    return failure();
  AttentionOptions options;
  options.scale = scaleOf(ctx, *q);
  options.emptyRowsAreZero = false;
  FailureOr<EvalTensor> result =
      attend(ctx.node, ctx.state, *q, *k, *v, *bias, options);
  if (failed(result))
    return failure();
  result = mergeHeads(ctx.node, ctx.state, *result);
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  if (ctx.hasOutput(1)) {
    SmallVector<int64_t> shape(k->getShape());
    shape.insert(shape.begin(), 1);
    if (k->getShape() != v->getShape())
      return ctx.error("a present of different key and value sizes");
    FailureOr<EvalTensor> present = concatTensors(
        ctx.node, ctx.state, {k->reshaped(shape), v->reshaped(shape)}, 0);
    if (failed(present))
      return failure();
    ctx.setOutput(1, *present);
  }
  return success();
}

/// Part `i` of `parts` of [B, S, N, parts, H] as [B, N, S, H].
static FailureOr<EvalTensor> unpack(EvalContext &ctx, const EvalTensor &x,
                                    int64_t i, int64_t parts) {
  if (x.getDim(3) != parts)
    return ctx.error("packed heads of shape " + shapeText(x.getShape()) +
                     " do not hold " + Twine(parts) + " parts");
  FailureOr<EvalTensor> part = sliceAlongAxis(ctx.node, ctx.state, x, 3, i, 1);
  if (failed(part))
    return failure();
  return transposeTensor(
      ctx.node, ctx.state,
      part->reshaped({x.getDim(0), x.getDim(1), x.getDim(2), x.getDim(4)}),
      {0, 2, 1, 3});
}

namespace {
struct Heads {
  EvalTensor q, k, v;
};
} // namespace

/// Query, key and value of MultiHeadAttention as [B, N, S, H], bias added.
static FailureOr<Heads> gatherHeads(EvalContext &ctx, int64_t heads) {
  FailureOr<EvalTensor> query = ctx.requireFloat(0);
  if (failed(query))
    return failure();
  EvalTensor key = ctx.input(1), value = ctx.input(2), bias = ctx.input(3);
  FailureOr<EvalTensor> q = failure(), k = failure(), v = failure();
  auto fromRows = [&](EvalTensor x, int64_t start) -> FailureOr<EvalTensor> {
    if (failed(addBias(ctx, x, bias, start)))
      return failure();
    return splitHeads(ctx.node, ctx.state, x, heads);
  };
  if (key.isNull()) {
    if (query->getRank() != 5)
      return ctx.error("a query without a key must be packed");
    q = unpack(ctx, *query, 0, 3);
    k = unpack(ctx, *query, 1, 3);
    v = unpack(ctx, *query, 2, 3);
    if (failed(q) || failed(k) || failed(v))
      return failure();
    if (!bias.isNull()) {
      int64_t start = 0;
      for (FailureOr<EvalTensor> *x : {&q, &k, &v}) {
        FailureOr<EvalTensor> rows = mergeHeads(ctx.node, ctx.state, **x);
        if (failed(rows))
          return failure();
        int64_t width = rows->getDim(-1);
        *x = fromRows(*rows, start);
        if (failed(*x))
          return failure();
        start += width;
      }
    }
    return Heads{*q, *k, *v};
  }
  if (query->getRank() != 3)
    return ctx.error("the query must be of rank 3");
  int64_t width = query->getDim(2);
  q = fromRows(*query, 0);
  if (key.getRank() == 5) {
    k = unpack(ctx, key, 0, 2);
    v = unpack(ctx, key, 1, 2);
  } else if (key.getRank() == 4) {
    k = key;
    v = value;
  } else if (key.getRank() == 3 && value.getRank() == 3) {
    k = fromRows(key, width);
    v = fromRows(value, width + key.getDim(2));
  } else {
    return ctx.error("key " + shapeText(key.getShape()) + " and value " +
                     shapeText(value.getShape()) + " are of no known form");
  }
  if (failed(q) || failed(k) || failed(v))
    return failure();
  return Heads{*q, *k, *v};
}

/// Puts past rows before those of `x`, the key (input 6) or the value (input
/// 7). With a past length (input 8) the past is a buffer and `x` is written
/// into it; rows beyond are not seen.
static LogicalResult appendPast(EvalContext &ctx, unsigned input, EvalTensor &x,
                                EvalTensor &present) {
  EvalTensor past = ctx.input(input);
  present = x;
  if (past.isNull() || ctx.input(13 - input).isNull())
    return success();
  if (past.getRank() != 4 || x.getRank() != 4)
    return ctx.error("the past must be of rank 4");
  if (!ctx.hasInput(8)) {
    FailureOr<EvalTensor> all =
        concatTensors(ctx.node, ctx.state, {past, x}, 2);
    if (failed(all))
      return failure();
    x = present = *all;
    return success();
  }
  FailureOr<int64_t> length = ctx.intScalar(8, 0);
  EvalTensor beams = ctx.input(9);
  if (failed(length))
    return failure();
  if (!beams.isNull() && beams.getRank() == 3 && beams.getDim(1) != 1)
    return ctx.error("several beams are not evaluated", "E101");
  int64_t count = x.getDim(2), room = past.getDim(2);
  if (past.getDim(0) != x.getDim(0) || past.getDim(1) != x.getDim(1) ||
      past.getDim(3) != x.getDim(3))
    return ctx.error("past of shape " + shapeText(past.getShape()) +
                     " does not fit");
  if (*length < 0 || count > room || *length > room - count)
    return ctx.error("the past length is out of range", "E103");
  present = past;
  int64_t width = x.getDim(3);
  for (int64_t head = 0; head < x.getDim(0) * x.getDim(1); ++head)
    copyElements(x, head * count * width, present,
                 (head * room + *length) * width, count * width);
  FailureOr<EvalTensor> seen =
      sliceAlongAxis(ctx.node, ctx.state, present, 2, 0, *length + count);
  if (failed(seen))
    return failure();
  x = *seen;
  return success();
}

static LogicalResult evalMultiHeadAttention(EvalContext &ctx) {
  int64_t heads = ctx.getInt("num_heads", 0);
  if (heads < 1)
    return ctx.error("num_heads must be positive");
  FailureOr<Heads> qkv = gatherHeads(ctx, heads);
  if (failed(qkv))
    return failure();
  auto [q, k, v] = *qkv;
  EvalTensor presentKey, presentValue;
  if (failed(appendPast(ctx, 6, k, presentKey)) ||
      failed(appendPast(ctx, 7, v, presentValue)))
    return failure();
  if (q.getRank() != 4 || k.getRank() != 4)
    return ctx.error("query or key do not fit");
  FailureOr<EvalTensor> bias =
      totalBias(ctx, ctx.input(4), ctx.input(5), q.getElementType(),
                {q.getDim(0), heads, q.getDim(2), k.getDim(2)},
                ctx.getInt("unidirectional", 0) != 0);
  if (failed(bias))
    return failure();
  AttentionOptions options;
  options.scale = scaleOf(ctx, q);
  options.emptyRowsAreZero = false;
  EvalTensor scores;
  FailureOr<EvalTensor> result =
      attend(ctx.node, ctx.state, q, k, v, *bias, options, nullptr, 3,
             ctx.hasOutput(3) ? &scores : nullptr);
  if (failed(result))
    return failure();
  result = mergeHeads(ctx.node, ctx.state, *result);
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  ctx.setOutput(1, presentKey);
  ctx.setOutput(2, presentValue);
  if (!scores.isNull())
    ctx.setOutput(3, scores);
  return success();
}

//===----------------------------------------------------------------------===//
// GroupQueryAttention
//===----------------------------------------------------------------------===//

/// The cache after this step: for each batch entry the first `starts[b]` past
/// rows, then the new ones; zeros behind them.
static FailureOr<EvalTensor>
updateCache(EvalContext &ctx, const EvalTensor &past, const EvalTensor &fresh,
            ArrayRef<int64_t> starts, int64_t length) {
  int64_t batch = fresh.getDim(0), groups = fresh.getDim(1),
          count = fresh.getDim(2), width = fresh.getDim(3);
  int64_t pastLength = past.isNull() ? 0 : past.getDim(2);
  if (!past.isNull() && (past.getDim(0) != batch || past.getDim(1) != groups ||
                         past.getDim(3) != width))
    return ctx.error("past of shape " + shapeText(past.getShape()) +
                     " does not fit");
  FailureOr<EvalTensor> cache =
      ctx.allocate(fresh.getElementType(), {batch, groups, length, width});
  if (failed(cache))
    return failure();
  for (int64_t b = 0; b < batch; ++b) {
    if (starts[b] < 0 || starts[b] > pastLength || count > length - starts[b])
      return ctx.error("a sequence length is out of range", "E103");
    for (int64_t g = 0; g < groups; ++g) {
      int64_t line = b * groups + g;
      if (starts[b] > 0)
        copyElements(past, line * pastLength * width, *cache,
                     line * length * width, starts[b] * width);
      copyElements(fresh, line * count * width, *cache,
                   (line * length + starts[b]) * width, count * width);
    }
  }
  return cache;
}

static LogicalResult evalGroupQueryAttention(EvalContext &ctx) {
  FailureOr<EvalTensor> query = ctx.requireFloat(0),
                        lengths = ctx.requireInt(5);
  FailureOr<int64_t> total = ctx.intScalar(6, 0);
  if (failed(query) || failed(lengths) || failed(total))
    return failure();
  int64_t heads = ctx.getInt("num_heads", 0),
          groups = ctx.getInt("kv_num_heads", 0);
  if (query->getRank() != 3 || heads < 1 || groups < 1 || heads % groups != 0 ||
      lengths->getNumElements() != query->getDim(0))
    return ctx.error("the query, heads or sequence lengths do not fit");
  EvalTensor key = ctx.input(1), value = ctx.input(2), pastKey = ctx.input(3),
             pastValue = ctx.input(4);
  int64_t length = query->getDim(1);
  FailureOr<EvalTensor> q = failure(), k = failure(), v = failure();
  if (key.isNull()) {
    int64_t width = query->getDim(2) / (heads + 2 * groups);
    if (width * (heads + 2 * groups) != query->getDim(2))
      return ctx.error("a packed query does not fit the heads");
    q = takeHeads(ctx, *query, 0, heads * width, heads);
    k = takeHeads(ctx, *query, heads * width, groups * width, groups);
    v = takeHeads(ctx, *query, (heads + groups) * width, groups * width,
                  groups);
  } else {
    q = splitHeads(ctx.node, ctx.state, *query, heads);
    k = splitHeads(ctx.node, ctx.state, key, groups);
    v = splitHeads(ctx.node, ctx.state, value, groups);
  }
  if (failed(q) || failed(k) || failed(v))
    return failure();

  bool prompt = length == *total;
  SmallVector<int64_t> starts;
  for (int64_t last : lengths->ints())
    starts.push_back(prompt ? 0 : last + 1 - length);
  if (ctx.getInt("do_rotary", 0) != 0) {
    FailureOr<EvalTensor> cos = ctx.requireFloat(7), sin = ctx.requireFloat(8);
    EvalTensor ids = ctx.input(9);
    if (failed(cos) || failed(sin))
      return failure();
    if (!ids.isNull() &&
        (!ids.isInteger() || ids.getNumElements() != q->getDim(0) * length))
      return ctx.error("position ids do not fit");
    auto row = [&](int64_t b, int64_t s) {
      return ids.isNull() ? starts[b] + s : ids.ints()[b * length + s];
    };
    bool interleaved = ctx.getInt("rotary_interleaved", 0) != 0;
    if (cos->getRank() != 2)
      return ctx.error("the rotation caches must be matrices");
    if (failed(rotateHeads(ctx.node, *q, 2 * cos->getDim(1), interleaved, *cos,
                           *sin, row)) ||
        failed(rotateHeads(ctx.node, *k, 2 * cos->getDim(1), interleaved, *cos,
                           *sin, row)))
      return failure();
  }
  int64_t cacheLength =
      std::max(*total, pastKey.isNull() ? 0 : pastKey.getDim(2));
  k = updateCache(ctx, pastKey, *k, starts, cacheLength);
  v = updateCache(ctx, pastValue, *v, starts, cacheLength);
  if (failed(k) || failed(v))
    return failure();

  AttentionOptions options;
  options.scale = scaleOf(ctx, *q);
  options.softcap = ctx.getFloat("softcap", 0);
  EvalTensor sinks = ctx.input(11);
  if (!sinks.isNull())
    options.sinks.assign(sinks.floats().begin(), sinks.floats().end());
  else if (ctx.getInt("smooth_softmax", 0) != 0)
    options.sinks.assign(heads, 0.0);
  int64_t window = ctx.getInt("local_window_size", -1);
  EvalTensor bias = ctx.input(10);
  if (!bias.isNull() && bias.getRank() == 4 && bias.getDim(3) < cacheLength) {
    SmallVector<int64_t> rest(bias.getShape());
    rest[3] = cacheLength - rest[3];
    FailureOr<EvalTensor> padding = ctx.allocate(bias.getElementType(), rest);
    if (failed(padding))
      return failure();
    FailureOr<EvalTensor> wide =
        concatTensors(ctx.node, ctx.state, {bias, *padding}, 3);
    if (failed(wide))
      return failure();
    bias = *wide;
  }
  FailureOr<EvalTensor> result =
      attend(ctx.node, ctx.state, *q, *k, *v, bias, options,
             [&](int64_t b, int64_t, int64_t s, int64_t t) {
               int64_t position = starts[b] + s;
               return t <= position && (window <= 0 || position - t < window);
             });
  if (failed(result))
    return failure();
  result = mergeHeads(ctx.node, ctx.state, *result);
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  ctx.setOutput(1, *k);
  ctx.setOutput(2, *v);
  return success();
}

FFN_REGISTER_OPS(ContribAttentionEval) {
  table.addEval("com.microsoft", "Attention", 1, evalContribAttention);
  table.addEval("com.microsoft", "MultiHeadAttention", 1,
                evalMultiHeadAttention);
  table.addEval("com.microsoft", "GroupQueryAttention", 1,
                evalGroupQueryAttention);
}
