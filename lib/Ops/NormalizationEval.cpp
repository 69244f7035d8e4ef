//===- NormalizationEval.cpp - Normalisations -----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/TensorOps.h"
#include "ffn-mlir/Ops/OpTable.h"
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace mlir::ffn;

/// Scale or bias as rows of the normalised part; it may need broadcasting.
static FailureOr<EvalTensor> widen(EvalContext &ctx, const EvalTensor &factor,
                                   ArrayRef<int64_t> normalized) {
  if (factor.isNull() || factor.getShape() == normalized)
    return factor;
  return broadcastTensor(ctx.node, ctx.state, factor, normalized);
}

template <bool rms> static LogicalResult evalLayerNorm(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0), scale = ctx.requireFloat(1);
  if (failed(x) || failed(scale))
    return failure();
  EvalTensor bias = rms ? EvalTensor() : ctx.input(2);
  int64_t rank = x->getRank();
  FailureOr<int64_t> axis = ctx.normalizeAxis(ctx.getInt("axis", -1), rank);
  if (failed(axis))
    return failure();
  ArrayRef<int64_t> normalized = x->getShape().drop_front(*axis);
  FailureOr<EvalTensor> result = failure();
  NormOptions options;
  options.eps = ctx.getFloat("epsilon", 1e-5f);
  options.rms = rms;
  SmallVector<int64_t> statistics(x->getShape());
  for (int64_t d = *axis; d < rank; ++d)
    statistics[d] = 1;
  FailureOr<EvalTensor> means = ctx.allocate(ctx.f32(), statistics);
  FailureOr<EvalTensor> inverses = ctx.allocate(ctx.f32(), statistics);
  if (failed(means) || failed(inverses))
    return failure();
  if (scale->getRank() > static_cast<int64_t>(normalized.size())) {
    // A scale that differs between rows: normalise, then multiply.
    result = normalizeRows(ctx.node, ctx.state, *x,
                           productOf(x->getShape(), *axis, rank), EvalTensor(),
                           EvalTensor(), options, &*means, &*inverses);
    FailureOr<EvalTensor> s =
        broadcastTensor(ctx.node, ctx.state, *scale, x->getShape());
    FailureOr<EvalTensor> b =
        bias.isNull()
            ? FailureOr<EvalTensor>(EvalTensor())
            : broadcastTensor(ctx.node, ctx.state, bias, x->getShape());
    if (failed(result) || failed(s) || failed(b))
      return failure();
    MutableArrayRef<double> out = result->mutableFloats();
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = out[i] * s->floats()[i] + (b->isNull() ? 0 : b->floats()[i]);
  } else {
    FailureOr<EvalTensor> s = widen(ctx, *scale, normalized);
    FailureOr<EvalTensor> b = widen(ctx, bias, normalized);
    if (failed(s) || failed(b))
      return failure();
    result = normalizeRows(ctx.node, ctx.state, *x,
                           productOf(x->getShape(), *axis, rank), *s, *b,
                           options, &*means, &*inverses);
  }
  if (failed(result))
    return failure();
  ctx.setOutput(0, result->retyped(scale->getElementType()));
  // SimplifiedLayerNormalization has no mean output.
  if (rms) {
    ctx.setOutput(1, *inverses);
  } else {
    ctx.setOutput(1, *means);
    ctx.setOutput(2, *inverses);
  }
  return success();
}

/// Per-channel factors of the inputs from `first` on, each of C elements.
static FailureOr<SmallVector<EvalTensor>> channelInputs(EvalContext &ctx,
                                                        unsigned first,
                                                        unsigned count,
                                                        int64_t channels) {
  SmallVector<EvalTensor> factors;
  for (unsigned i = first; i < first + count; ++i) {
    FailureOr<EvalTensor> factor = ctx.requireFloat(i);
    if (failed(factor))
      return failure();
    if (factor->getNumElements() != channels)
      return ctx.error("input " + Twine(i) + " must have " + Twine(channels) +
                       " elements");
    factors.push_back(*factor);
  }
  return factors;
}

static LogicalResult evalBatchNorm(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0);
  if (failed(x))
    return failure();
  if (ctx.getInt("training_mode", 0) != 0 ||
      (ctx.version() < 7 && ctx.getInt("is_test", 0) == 0))
    return ctx.error("training mode is not evaluated", "E101");
  if (x->getRank() < 1)
    return ctx.error("needs a batch");
  int64_t channels = x->getRank() > 1 ? x->getDim(1) : 1;
  FailureOr<SmallVector<EvalTensor>> factors =
      channelInputs(ctx, 1, 4, channels);
  FailureOr<EvalTensor> result =
      ctx.allocate(x->getElementType(), x->getShape());
  if (failed(factors) || failed(result))
    return failure();
  int64_t inner =
      x->getRank() > 2 ? productOf(x->getShape(), 2, x->getRank()) : 1;
  double eps = ctx.getFloat("epsilon", 1e-5f);
  MutableArrayRef<double> out = result->mutableFloats();
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t c = static_cast<int64_t>(i) / inner % channels;
    out[i] = (x->floats()[i] - (*factors)[2].floats()[c]) /
                 std::sqrt((*factors)[3].floats()[c] + eps) *
                 (*factors)[0].floats()[c] +
             (*factors)[1].floats()[c];
  }
  ctx.setOutput(0, *result);
  return success();
}

/// InstanceNormalization is a group for each channel.
template <bool instance> static LogicalResult evalGroupNorm(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0), scale = ctx.requireFloat(1),
                        bias = ctx.requireFloat(2);
  if (failed(x) || failed(scale) || failed(bias))
    return failure();
  if (x->getRank() < 2)
    return ctx.error("needs channels");
  int64_t channels = x->getDim(1);
  int64_t groups = instance ? channels : ctx.getInt("num_groups", 0);
  if (groups < 1 || channels % groups != 0)
    return ctx.error(Twine(groups) + " groups do not divide " +
                     Twine(channels) + " channels");
  // Version 18 of GroupNormalization has one scale a group.
  int64_t perScale =
      scale->getNumElements() == channels ? 1 : channels / groups;
  if (scale->getNumElements() * perScale != channels ||
      bias->getShape() != scale->getShape())
    return ctx.error("scale and bias do not fit");
  int64_t inner = productOf(x->getShape(), 2, x->getRank());
  NormOptions options;
  options.eps = ctx.getFloat("epsilon", 1e-5f);
  FailureOr<EvalTensor> result =
      normalizeRows(ctx.node, ctx.state, *x, channels / groups * inner,
                    EvalTensor(), EvalTensor(), options);
  if (failed(result))
    return failure();
  MutableArrayRef<double> out = result->mutableFloats();
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t c = static_cast<int64_t>(i) / inner % channels / perScale;
    out[i] = out[i] * scale->floats()[c] + bias->floats()[c];
  }
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalMeanVarianceNorm(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0);
  if (failed(x))
    return failure();
  FailureOr<SmallVector<int64_t>> axes = ctx.normalizeAxes(
      ctx.getInts("axes").value_or(SmallVector<int64_t>{0, 2, 3}),
      x->getRank());
  if (failed(axes))
    return failure();
  // Move the reduced axes behind, normalise rows, move back.
  SmallVector<int64_t> perm, back(x->getRank());
  for (int64_t d = 0; d < x->getRank(); ++d)
    if (!llvm::is_contained(*axes, d))
      perm.push_back(d);
  int64_t kept = perm.size();
  for (int64_t d = 0; d < x->getRank(); ++d)
    if (llvm::is_contained(*axes, d))
      perm.push_back(d);
  for (auto [i, d] : llvm::enumerate(perm))
    back[d] = i;
  FailureOr<EvalTensor> moved = transposeTensor(ctx.node, ctx.state, *x, perm);
  if (failed(moved))
    return failure();
  NormOptions options;
  options.eps = 1e-9;
  options.outerEps = true;
  FailureOr<EvalTensor> rows =
      normalizeRows(ctx.node, ctx.state, *moved,
                    productOf(moved->getShape(), kept, moved->getRank()),
                    EvalTensor(), EvalTensor(), options);
  if (failed(rows))
    return failure();
  FailureOr<EvalTensor> result =
      transposeTensor(ctx.node, ctx.state, *rows, back);
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalLRN(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0);
  if (failed(x))
    return failure();
  int64_t size = ctx.getInt("size", 0);
  if (x->getRank() < 2 || size < 1)
    return ctx.error("needs channels and a positive size");
  double alpha = ctx.getFloat("alpha", 1e-4f),
         beta = ctx.getFloat("beta", 0.75), offset = ctx.getFloat("bias", 1);
  int64_t channels = x->getDim(1);
  int64_t inner = productOf(x->getShape(), 2, x->getRank());
  FailureOr<EvalTensor> result =
      ctx.allocate(x->getElementType(), x->getShape());
  if (failed(result))
    return failure();
  MutableArrayRef<double> out = result->mutableFloats();
  for (int64_t i = 0; i < x->getNumElements(); ++i) {
    int64_t c = i / inner % channels;
    int64_t low = std::max<int64_t>(0, c - (size - 1) / 2);
    int64_t high = std::min(channels - 1, c + size / 2);
    double sum = 0;
    for (int64_t j = low; j <= high; ++j) {
      double v = x->floats()[i + (j - c) * inner];
      sum += v * v;
    }
    out[i] = x->floats()[i] /
             std::pow(offset + alpha / static_cast<double>(size) * sum, beta);
  }
  ctx.setOutput(0, *result);
  return success();
}

//===----------------------------------------------------------------------===//
// com.microsoft
//===----------------------------------------------------------------------===//

/// input + skip (+ bias), normalised; the sum is output 3.
template <bool rms> static LogicalResult evalSkipNorm(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0), skip = ctx.requireFloat(1),
                        gamma = ctx.requireFloat(2);
  if (failed(x) || failed(skip) || failed(gamma))
    return failure();
  EvalTensor beta = rms ? EvalTensor() : ctx.input(3);
  EvalTensor bias = ctx.input(rms ? 3 : 4);
  if (x->getRank() < 1)
    return ctx.error("needs rows");
  FailureOr<EvalTensor> wide =
      broadcastTensor(ctx.node, ctx.state, *skip, x->getShape());
  if (failed(wide))
    return failure();
  int64_t width = x->getDim(-1);
  if (!bias.isNull() && (!bias.isFloat() || bias.getNumElements() != width))
    return ctx.error("the bias does not fit");
  EvalTensor sum = *x;
  MutableArrayRef<double> values = sum.mutableFloats();
  for (size_t i = 0; i < values.size(); ++i)
    values[i] +=
        wide->floats()[i] + (bias.isNull() ? 0 : bias.floats()[i % width]);
  NormOptions options;
  options.eps = ctx.getFloat("epsilon", 1e-12f);
  options.rms = rms;
  SmallVector<int64_t> statistics(x->getShape());
  statistics.back() = 1;
  FailureOr<EvalTensor> means = ctx.allocate(ctx.f32(), statistics);
  FailureOr<EvalTensor> inverses = ctx.allocate(ctx.f32(), statistics);
  if (failed(means) || failed(inverses))
    return failure();
  FailureOr<EvalTensor> result =
      normalizeRows(ctx.node, ctx.state, sum, width, *gamma, beta, options,
                    &*means, &*inverses);
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  ctx.setOutput(1, *means);
  ctx.setOutput(2, *inverses);
  ctx.setOutput(3, sum);
  return success();
}

static LogicalResult evalEmbedLayerNorm(EvalContext &ctx) {
  FailureOr<EvalTensor> ids = ctx.requireInt(0), words = ctx.requireFloat(2),
                        positions = ctx.requireFloat(3);
  if (failed(ids) || failed(words) || failed(positions))
    return failure();
  EvalTensor segmentIds = ctx.input(1), segments = ctx.input(4);
  EvalTensor gamma = ctx.input(5), beta = ctx.input(6), mask = ctx.input(7),
             positionIds = ctx.input(8);
  if (ids->getRank() != 2 || words->getRank() != 2 || positions->getRank() != 2)
    return ctx.error("ids, word and position tables must be matrices");
  int64_t batch = ids->getDim(0), length = ids->getDim(1),
          width = words->getDim(1);
  bool hasSegments = !segmentIds.isNull() && !segments.isNull();
  bool fits =
      positions->getDim(1) == width &&
      (!hasSegments || (segments.getRank() == 2 &&
                        segments.getDim(1) == width && segmentIds.isInteger() &&
                        segmentIds.getNumElements() == batch * length)) &&
      (positionIds.isNull() ||
       (positionIds.isInteger() &&
        (positionIds.getNumElements() == batch * length ||
         positionIds.getNumElements() == length)));
  if (!fits)
    return ctx.error("the tables or ids do not fit");
  FailureOr<EvalTensor> sum =
      ctx.allocate(words->getElementType(), {batch, length, width});
  if (failed(sum))
    return failure();
  MutableArrayRef<double> out = sum->mutableFloats();
  auto add = [&](const EvalTensor &table, int64_t row, int64_t token) {
    if (row < 0 || row >= table.getDim(0))
      return ctx.error("id " + Twine(row) + " is outside of a table of " +
                           Twine(table.getDim(0)) + " rows",
                       "E103");
    for (int64_t j = 0; j < width; ++j)
      out[token * width + j] += table.floats()[row * width + j];
    return LogicalResult::success();
  };
  for (int64_t token = 0; token < batch * length; ++token) {
    int64_t position = token % length;
    if (!positionIds.isNull())
      position = positionIds.ints()[token % positionIds.getNumElements()];
    if (failed(add(*words, ids->ints()[token], token)) ||
        failed(add(*positions, position, token)) ||
        (hasSegments && failed(add(segments, segmentIds.ints()[token], token))))
      return failure();
  }
  NormOptions options;
  options.eps = ctx.getFloat("epsilon", 1e-12f);
  FailureOr<EvalTensor> result =
      normalizeRows(ctx.node, ctx.state, *sum, width, gamma, beta, options);
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  SmallVector<int64_t> counts(batch, 0);
  if (!mask.isNull()) {
    if (!mask.isInteger() || mask.getNumElements() != batch * length)
      return ctx.error("the mask does not fit");
    for (int64_t i = 0; i < batch * length; ++i)
      counts[i / length] += mask.ints()[i] == 1;
  }
  ctx.setOutput(1, EvalTensor::vector(ctx.i32(), counts));
  ctx.setOutput(2, *sum);
  return success();
}

/// x + bias through an activation; the bias may be absent.
template <double activation(double)>
static LogicalResult evalBiasActivation(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0);
  if (failed(x))
    return failure();
  EvalTensor bias = ctx.input(1);
  int64_t width = bias.isNull() ? 1 : bias.getNumElements();
  if (!bias.isNull() &&
      (!bias.isFloat() || x->getRank() < 1 || x->getDim(-1) != width))
    return ctx.error("the bias does not fit");
  FailureOr<EvalTensor> result =
      ctx.allocate(x->getElementType(), x->getShape());
  if (failed(result))
    return failure();
  MutableArrayRef<double> out = result->mutableFloats();
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = activation(x->floats()[i] +
                        (bias.isNull() ? 0 : bias.floats()[i % width]));
  ctx.setOutput(0, *result);
  return success();
}

FFN_REGISTER_OPS(NormalizationEval) {
  table.addEval("", "LayerNormalization", 1, evalLayerNorm<false>);
  table.addEval("", "SimplifiedLayerNormalization", 1, evalLayerNorm<true>);
  table.addEval("", "RMSNormalization", 1, evalLayerNorm<true>);
  table.addEval("", "BatchNormalization", 1, evalBatchNorm);
  table.addEval("", "InstanceNormalization", 1, evalGroupNorm<true>);
  table.addEval("", "GroupNormalization", 1, evalGroupNorm<false>);
  table.addEval("", "MeanVarianceNormalization", 1, evalMeanVarianceNorm);
  table.addEval("", "LRN", 1, evalLRN);
  for (StringRef domain : {"", "com.microsoft"}) {
    table.addEval(domain, "SkipLayerNormalization", 1, evalSkipNorm<false>);
    table.addEval(domain, "SkipSimplifiedLayerNormalization", 1,
                  evalSkipNorm<true>);
  }
  table.addEval("com.microsoft", "EmbedLayerNormalization", 1,
                evalEmbedLayerNorm);
  table.addEval("com.microsoft", "Gelu", 1, evalBiasActivation<geluErf>);
  table.addEval("com.microsoft", "BiasGelu", 1, evalBiasActivation<geluErf>);
  table.addEval("com.microsoft", "FastGelu", 1, evalBiasActivation<geluTanh>);
}
