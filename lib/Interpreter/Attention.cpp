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
        softmaxRows(matrix, keys);
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
