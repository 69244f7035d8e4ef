//===- Attention.cpp - Scaled dot-product attention -----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/Kernels.h"
#include "ffn-mlir/Interpreter/TensorOps.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

FailureOr<EvalTensor> mlir::ffn::attend(
    Operation *op, EvalState &state, const EvalTensor &q, const EvalTensor &k,
    const EvalTensor &v, const EvalTensor &bias,
    const AttentionOptions &options,
    llvm::function_ref<bool(int64_t, int64_t, int64_t, int64_t)> visible,
    int stage, EvalTensor *scores) {
  auto mismatch = [&] {
    return evalError(op, "E102",
                     "query " + shapeText(q.getShape()) + ", key " +
                         shapeText(k.getShape()) + " and value " +
                         shapeText(v.getShape()) + " do not fit");
  };
  for (const EvalTensor *tensor : {&q, &k, &v})
    if (!tensor->isFloat() || tensor->getRank() != 4)
      return mismatch();
  int64_t batch = q.getDim(0), heads = q.getDim(1), length = q.getDim(2),
          width = q.getDim(3);
  int64_t groups = k.getDim(1), keys = k.getDim(2), valueWidth = v.getDim(3);
  if (k.getDim(0) != batch || v.getDim(0) != batch || k.getDim(3) != width ||
      v.getDim(1) != groups || v.getDim(2) != keys || groups < 1 ||
      heads % groups != 0)
    return mismatch();
  if (!options.sinks.empty() &&
      static_cast<int64_t>(options.sinks.size()) != heads)
    return evalError(op, "E102", "needs one sink for each query head");
  FailureOr<EvalTensor> result = state.allocate(
      op, q.getElementType(), {batch, heads, length, valueWidth});
  if (failed(result) || failed(state.reserve(op, length * keys)))
    return failure();
  SmallVector<int64_t> scoreShape{batch, heads, length, keys};
  SmallVector<int64_t> biasStrides(4, 0);
  if (!bias.isNull()) {
    bool fits = bias.isFloat() && bias.getRank() <= 4;
    for (int64_t i = 1; fits && i <= bias.getRank(); ++i)
      fits = bias.getDim(-i) == 1 || bias.getDim(-i) == scoreShape[4 - i];
    if (!fits)
      return evalError(op, "E102",
                       "a mask of shape " + shapeText(bias.getShape()) +
                           " does not broadcast to scores of " +
                           shapeText(scoreShape));
    biasStrides = broadcastStrides(bias.getShape(), scoreShape);
  }
  if (scores) {
    FailureOr<EvalTensor> all =
        state.allocate(op, q.getElementType(), scoreShape);
    if (failed(all))
      return failure();
    *scores = *all;
  }

  std::vector<double> matrix(length * keys);
  auto keep = [&](int at, int64_t head) {
    if (scores && stage == at)
      llvm::copy(matrix,
                 scores->mutableFloats().begin() + head * length * keys);
  };
  MutableArrayRef<double> out = result->mutableFloats();
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < heads; ++h) {
      int64_t head = b * heads + h, group = b * groups + h / (heads / groups);
      llvm::fill(matrix, 0.0);
      multiply(length, keys, width,
               {q.floats().data() + head * length * width, width, 1},
               {k.floats().data() + group * keys * width, 1, width},
               matrix.data(), keys);
      for (double &x : matrix)
        x *= options.scale;
      keep(1, head);
      if (options.softcap != 0)
        for (double &x : matrix)
          x = options.softcap * std::tanh(x / options.softcap);
      keep(2, head);
      for (int64_t s = 0; s < length; ++s)
        for (int64_t t = 0; t < keys; ++t) {
          double &x = matrix[s * keys + t];
          if (!bias.isNull())
            x += bias.floats()[b * biasStrides[0] + h * biasStrides[1] +
                               s * biasStrides[2] + t * biasStrides[3]];
          if ((options.causalOffset && t > s + *options.causalOffset) ||
              (visible && !visible(b, h, s, t)))
            x += options.hiddenBias;
        }
      keep(3, head);
      if (keys > 0)
        softmaxRows(matrix, keys,
                    options.sinks.empty() ? std::nullopt
                                          : std::optional(options.sinks[h]));
      if (options.emptyRowsAreZero)
        for (int64_t s = 0; s < length; ++s) {
          MutableArrayRef<double> row(matrix.data() + s * keys, keys);
          // Only -inf minus -inf makes a whole row NaN without a NaN input.
          bool hidden = !row.empty();
          for (int64_t t = 0; hidden && t < keys; ++t)
            hidden = (options.causalOffset && t > s + *options.causalOffset) ||
                     (visible && !visible(b, h, s, t)) ||
                     (!bias.isNull() &&
                      bias.floats()[b * biasStrides[0] + h * biasStrides[1] +
                                    s * biasStrides[2] + t * biasStrides[3]] ==
                          -std::numeric_limits<double>::infinity());
          if (hidden && std::isinf(options.hiddenBias))
            llvm::fill(row, 0.0);
        }
      keep(4, head);
      multiply(length, valueWidth, keys, {matrix.data(), keys, 1},
               {v.floats().data() + group * keys * valueWidth, valueWidth, 1},
               out.data() + head * length * valueWidth, valueWidth);
    }
  return result;
}

FailureOr<EvalTensor> mlir::ffn::splitHeads(Operation *op, EvalState &state,
                                            const EvalTensor &x,
                                            int64_t heads) {
  if (x.getRank() != 3 || heads < 1 || x.getDim(2) % heads != 0)
    return evalError(op, "E102",
                     "cannot split " + shapeText(x.getShape()) + " into " +
                         Twine(heads) + " heads");
  EvalTensor parts =
      x.reshaped({x.getDim(0), x.getDim(1), heads, x.getDim(2) / heads});
  return transposeTensor(op, state, parts, {0, 2, 1, 3});
}

FailureOr<EvalTensor> mlir::ffn::mergeHeads(Operation *op, EvalState &state,
                                            const EvalTensor &x) {
  FailureOr<EvalTensor> moved = transposeTensor(op, state, x, {0, 2, 1, 3});
  if (failed(moved))
    return failure();
  return moved->reshaped({x.getDim(0), x.getDim(2), x.getDim(1) * x.getDim(3)});
}

LogicalResult
mlir::ffn::rotateHeads(Operation *op, EvalTensor &x, int64_t width,
                       bool interleaved, const EvalTensor &cos,
                       const EvalTensor &sin,
                       llvm::function_ref<int64_t(int64_t, int64_t)> row) {
  int64_t half = width / 2;
  if (x.getRank() != 4 || !x.isFloat() || width < 2 || width % 2 != 0 ||
      width > x.getDim(3) || cos.getRank() < 1 || cos.getDim(-1) != half ||
      !cos.isFloat() || !sin.isFloat() || sin.getShape() != cos.getShape())
    return evalError(op, "E102",
                     "caches " + shapeText(cos.getShape()) + " and " +
                         shapeText(sin.getShape()) + " do not rotate " +
                         Twine(width) + " entries of " +
                         shapeText(x.getShape()));
  int64_t rows = cos.getNumElements() / half;
  MutableArrayRef<double> values = x.mutableFloats();
  for (int64_t b = 0; b < x.getDim(0); ++b)
    for (int64_t s = 0; s < x.getDim(2); ++s) {
      int64_t at = row(b, s);
      if (at < 0 || at >= rows)
        return evalError(op, "E103",
                         "position " + Twine(at) +
                             " is outside of a cache of " + Twine(rows) +
                             " rows");
      ArrayRef<double> c = cos.floats().slice(at * half, half);
      ArrayRef<double> d = sin.floats().slice(at * half, half);
      for (int64_t n = 0; n < x.getDim(1); ++n) {
        double *head = values.data() +
                       ((b * x.getDim(1) + n) * x.getDim(2) + s) * x.getDim(3);
        for (int64_t i = 0; i < half; ++i) {
          double &real = head[interleaved ? 2 * i : i];
          double &imaginary = head[interleaved ? 2 * i + 1 : half + i];
          double r = real, m = imaginary;
          real = c[i] * r - d[i] * m;
          imaginary = d[i] * r + c[i] * m;
        }
      }
    }
  return success();
}
