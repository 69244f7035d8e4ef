//===- FFNEval.cpp - Meaning of the ffn dialect ---------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// ffn.sublayer has a region and is run by the engine; ffn.weight is read on
// its first use.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFNAdaptive.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNExperts.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNProbes.h"
#include "ffn-mlir/Interpreter/TensorOps.h"
#include <cmath>
#include <limits>
#include <optional>

using namespace mlir;
using namespace mlir::ffn;

/// The tensor of an operand, or an error at `op`.
static FailureOr<EvalTensor> operand(Operation *op, EvalState &state,
                                     Value value) {
  const EvalValue &v = state.get(value);
  if (!v.isTensor())
    return evalError(op, "E102", "an operand has no value");
  return v.tensor;
}

/// The tensor of an optional operand; null where absent.
static FailureOr<EvalTensor> optional(Operation *op, EvalState &state,
                                      Value value) {
  return value ? operand(op, state, value)
               : FailureOr<EvalTensor>(EvalTensor());
}

static LogicalResult give(Operation *op, EvalState &state,
                          FailureOr<EvalTensor> result) {
  if (failed(result))
    return failure();
  // A weight expression keeps its declared type whatever its source's is.
  Type declared =
      llvm::cast<ShapedType>(op->getResult(0).getType()).getElementType();
  state.set(op->getResult(0), result->retyped(declared));
  return success();
}

double activate(Activation kind, double x) {
  switch (kind) {
  case Activation::Identity:
    return x;
  case Activation::Relu:
    return x < 0 ? 0 : x; // NaN stays NaN
  case Activation::GeluErf:
    return geluErf(x);
  case Activation::GeluTanh:
    return geluTanh(x);
  case Activation::GeluSigmoid:
    return x * sigmoid(1.702 * x);
  case Activation::Silu:
    return x * sigmoid(x);
  case Activation::Sigmoid:
    return sigmoid(x);
  case Activation::Tanh:
    return std::tanh(x);
  case Activation::SquaredRelu:
    return x < 0 ? 0 : x * x;
  }
  return x;
}

namespace {
//===----------------------------------------------------------------------===//
// Compute
//===----------------------------------------------------------------------===//

struct NormEval : public EvaluableOpInterface::ExternalModel<NormEval, NormOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    auto norm = llvm::cast<NormOp>(op);
    FailureOr<EvalTensor> x = operand(op, state, norm.getInput());
    FailureOr<EvalTensor> scale = optional(op, state, norm.getScale());
    FailureOr<EvalTensor> bias = optional(op, state, norm.getBias());
    if (failed(x) || failed(scale) || failed(bias))
      return failure();
    if (!x->isFloat() || x->getRank() < 1)
      return evalError(op, "E102", "normalises floating vectors only");
    NormOptions options;
    options.eps = norm.getEps().convertToDouble();
    options.rms = norm.getKind() == NormKind::Rms;
    options.outerEps = norm.getOuterEps();
    return give(
        op, state,
        normalizeRows(op, state, *x, x->getDim(-1), *scale, *bias, options));
  }
};

struct LinearEval
    : public EvaluableOpInterface::ExternalModel<LinearEval, LinearOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    auto linear = llvm::cast<LinearOp>(op);
    FailureOr<EvalTensor> x = operand(op, state, linear.getInput());
    FailureOr<EvalTensor> w = operand(op, state, linear.getWeight());
    FailureOr<EvalTensor> bias = optional(op, state, linear.getBias());
    if (failed(x) || failed(w) || failed(bias))
      return failure();
    return give(op, state, linearTensors(op, state, *x, *w, *bias));
  }
};

/// Activations of the hidden layer, as `ffn.hidden` defines them.
template <typename Op>
FailureOr<EvalTensor> evaluateHidden(Op ffn, EvalState &state) {
  Operation *op = ffn;
  FailureOr<EvalTensor> x = operand(op, state, ffn.getInput());
  FailureOr<EvalTensor> up = operand(op, state, ffn.getUp());
  FailureOr<EvalTensor> gate = optional(op, state, ffn.getGate());
  FailureOr<EvalTensor> upBias = optional(op, state, ffn.getUpBias());
  FailureOr<EvalTensor> gateBias = optional(op, state, ffn.getGateBias());
  if (failed(x) || failed(up) || failed(gate) || failed(upBias) ||
      failed(gateBias))
    return failure();
  FailureOr<EvalTensor> hidden = linearTensors(op, state, *x, *up, *upBias);
  if (failed(hidden))
    return failure();
  MutableArrayRef<double> h = hidden->mutableFloats();
  Activation kind = ffn.getActivation();
  if (gate->isNull()) {
    for (double &v : h)
      v = activate(kind, v);
    return hidden;
  }
  FailureOr<EvalTensor> gated = linearTensors(op, state, *x, *gate, *gateBias);
  if (failed(gated))
    return failure();
  if (gated->getShape() != hidden->getShape())
    return evalError(op, "E102", "gate and up differ in width");
  for (auto [v, g] : llvm::zip(h, gated->floats()))
    v = activate(kind, g) * v;
  return hidden;
}

struct FeedForwardEval
    : public EvaluableOpInterface::ExternalModel<FeedForwardEval,
                                                 FeedForwardOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    auto ffn = llvm::cast<FeedForwardOp>(op);
    FailureOr<EvalTensor> hidden = evaluateHidden(ffn, state);
    FailureOr<EvalTensor> down = operand(op, state, ffn.getDown());
    FailureOr<EvalTensor> bias = optional(op, state, ffn.getDownBias());
    if (failed(hidden) || failed(down) || failed(bias))
      return failure();
    return give(op, state, linearTensors(op, state, *hidden, *down, *bias));
  }
};

/// Scores of the experts, as `ffn.moe` defines them.
FailureOr<EvalTensor> evaluateScores(MoEOp moe, EvalState &state) {
  Operation *op = moe;
  FailureOr<EvalTensor> x = operand(op, state, moe.getInput());
  FailureOr<EvalTensor> router = operand(op, state, moe.getRouter());
  FailureOr<EvalTensor> bias = optional(op, state, moe.getRouterBias());
  FailureOr<EvalTensor> gate = optional(op, state, moe.getRouterGate());
  FailureOr<EvalTensor> gateBias = optional(op, state, moe.getRouterGateBias());
  if (failed(x) || failed(router) || failed(bias) || failed(gate) ||
      failed(gateBias))
    return failure();
  FailureOr<EvalTensor> scores = linearTensors(op, state, *x, *router, *bias);
  if (failed(scores) || moe.getRouterKind() == RouterKind::Linear)
    return scores;
  Activation kind = moe.getActivation();
  if (gate->isNull()) {
    for (double &s : scores->mutableFloats())
      s = std::abs(activate(kind, s));
    return scores;
  }
  FailureOr<EvalTensor> gated = linearTensors(op, state, *x, *gate, *gateBias);
  if (failed(gated))
    return failure();
  for (auto [s, g] : llvm::zip_equal(scores->mutableFloats(), gated->floats()))
    s = std::abs(activate(kind, g) * s);
  return scores;
}

/// The weight of each expert for one token; none for those that are not chosen.
SmallVector<std::optional<double>>
weighExperts(MoEOp moe, ArrayRef<double> scores, ArrayRef<double> bias) {
  size_t count = scores.size();
  SmallVector<double> values(scores);
  if (moe.getGating() == Gating::Sigmoid)
    for (double &value : values)
      value = sigmoid(value);
  if (moe.getGating() == Gating::Softmax) {
    double top = *llvm::max_element(scores), sum = 0;
    for (double &value : values)
      sum += value = std::exp(value - top);
    for (double &value : values)
      value /= sum;
  }
  SmallVector<double> keys(bias.empty() ? scores : ArrayRef(values));
  for (auto [key, shift] : llvm::zip(keys, bias))
    key += shift;
  SmallVector<std::optional<double>> weights(count);
  double sum = 0;
  for (uint64_t slot = 0; slot < moe.getTopK(); ++slot) {
    std::optional<size_t> best;
    for (size_t e = 0; e < count; ++e)
      if (!weights[e] && (!best || keys[e] > keys[*best]))
        best = e;
    weights[*best] = values[*best];
    sum += values[*best];
  }
  double factor = moe.getScale().convertToDouble();
  for (std::optional<double> &weight : weights)
    if (weight)
      weight = factor * (!moe.getWeighted()   ? 1
                         : moe.getNormalize() ? *weight / sum
                                              : *weight);
  return weights;
}

struct MoEEval : public EvaluableOpInterface::ExternalModel<MoEEval, MoEOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    auto moe = llvm::cast<MoEOp>(op);
    FailureOr<EvalTensor> hidden = evaluateHidden(moe, state);
    FailureOr<EvalTensor> scores = evaluateScores(moe, state);
    FailureOr<EvalTensor> selection =
        optional(op, state, moe.getSelectionBias());
    FailureOr<EvalTensor> down = operand(op, state, moe.getDown());
    FailureOr<EvalTensor> bias = optional(op, state, moe.getDownBias());
    if (failed(hidden) || failed(scores) || failed(selection) || failed(down) ||
        failed(bias))
      return failure();
    size_t experts = moe.getExperts(), shared = moe.getShared(),
           width = moe.getExpertWidth(), m = moe.getHiddenWidth();
    MutableArrayRef<double> h = hidden->mutableFloats();
    ArrayRef<double> all = scores->floats(), shift;
    if (!selection->isNull())
      shift = selection->floats();
    for (size_t token = 0; token * experts < all.size(); ++token) {
      auto weights =
          weighExperts(moe, all.slice(token * experts, experts), shift);
      for (size_t e = 0; e < experts; ++e)
        for (double &value : h.slice(token * m + shared + e * width, width))
          value = weights[e] ? value * *weights[e] : 0;
    }
    return give(op, state, linearTensors(op, state, *hidden, *down, *bias));
  }
};

struct HiddenEval
    : public EvaluableOpInterface::ExternalModel<HiddenEval, HiddenOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    return give(op, state, evaluateHidden(llvm::cast<HiddenOp>(op), state));
  }
};

struct ObserveEval
    : public EvaluableOpInterface::ExternalModel<ObserveEval, ObserveOp> {
  LogicalResult evaluate(Operation *, EvalState &) const { return success(); }
};

struct AttentionEval
    : public EvaluableOpInterface::ExternalModel<AttentionEval, AttentionOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    auto attention = llvm::cast<AttentionOp>(op);
    FailureOr<EvalTensor> q = operand(op, state, attention.getQuery());
    FailureOr<EvalTensor> k = operand(op, state, attention.getKey());
    FailureOr<EvalTensor> v = operand(op, state, attention.getValue());
    FailureOr<EvalTensor> mask = optional(op, state, attention.getMask());
    if (failed(q) || failed(k) || failed(v) || failed(mask))
      return failure();
    EvalTensor bias = *mask;
    if (!bias.isNull() && bias.isInteger()) {
      // true keeps the key, false hides it.
      EvalTensor added = bias.toFloat(q->getElementType());
      for (double &x : added.mutableFloats())
        x = x != 0 ? 0 : -std::numeric_limits<double>::infinity();
      bias = added;
    }
    AttentionOptions options;
    options.scale = attention.getScale().convertToDouble();
    if (attention.getCausal() && k->getRank() == 4 && q->getRank() == 4)
      options.causalOffset = k->getDim(2) - q->getDim(2);
    return give(op, state, attend(op, state, *q, *k, *v, bias, options));
  }
};

struct EmbeddingEval
    : public EvaluableOpInterface::ExternalModel<EmbeddingEval, EmbeddingOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    auto embedding = llvm::cast<EmbeddingOp>(op);
    FailureOr<EvalTensor> ids = operand(op, state, embedding.getIds());
    FailureOr<EvalTensor> table = operand(op, state, embedding.getTable());
    if (failed(ids) || failed(table))
      return failure();
    if (!ids->isInteger() || table->getRank() != 2)
      return evalError(op, "E102", "needs integer ids and a matrix");
    int64_t rows = table->getDim(0), width = table->getDim(1);
    SmallVector<int64_t> shape(ids->getShape());
    shape.push_back(width);
    FailureOr<EvalTensor> result =
        state.allocate(op, table->getElementType(), shape);
    if (failed(result))
      return failure();
    for (auto [i, id] : llvm::enumerate(ids->ints())) {
      if (id < -rows || id >= rows)
        return evalError(op, "E103",
                         "id " + Twine(id) + " is outside of a table of " +
                             Twine(rows) + " rows");
      copyElements(*table, (id < 0 ? id + rows : id) * width, *result,
                   i * width, width);
    }
    return give(op, state, result);
  }
};

//===----------------------------------------------------------------------===//
// Weight expressions
//===----------------------------------------------------------------------===//

struct GatherRowsEval
    : public EvaluableOpInterface::ExternalModel<GatherRowsEval, GatherRowsOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    auto gather = llvm::cast<GatherRowsOp>(op);
    FailureOr<EvalTensor> source = operand(op, state, gather.getSource());
    FailureOr<EvalTensor> indices = operand(op, state, gather.getIndices());
    if (failed(source) || failed(indices))
      return failure();
    if (source->getRank() < 1)
      return evalError(op, "E102", "the source has no rows");
    SmallVector<int64_t> shape(source->getShape());
    int64_t rows = shape[0], width = productOf(shape, 1, shape.size());
    shape[0] = indices->getNumElements();
    FailureOr<EvalTensor> result =
        state.allocate(op, source->getElementType(), shape);
    if (failed(result))
      return failure();
    for (auto [i, row] : llvm::enumerate(indices->ints())) {
      if (row < 0 || row >= rows)
        return evalError(op, "E103",
                         "row " + Twine(row) + " is outside of " + Twine(rows) +
                             " rows");
      copyElements(*source, row * width, *result, i * width, width);
    }
    return give(op, state, result);
  }
};

struct ConcatRowsEval
    : public EvaluableOpInterface::ExternalModel<ConcatRowsEval, ConcatRowsOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    SmallVector<EvalTensor> sources;
    for (Value value : op->getOperands()) {
      FailureOr<EvalTensor> source = operand(op, state, value);
      if (failed(source))
        return failure();
      sources.push_back(*source);
    }
    return give(op, state, concatTensors(op, state, sources, 0));
  }
};

struct TransposeEval
    : public EvaluableOpInterface::ExternalModel<TransposeEval, TransposeOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    FailureOr<EvalTensor> source = operand(op, state, op->getOperand(0));
    if (failed(source))
      return failure();
    if (source->getRank() != 2)
      return evalError(op, "E102", "transposes matrices only");
    return give(op, state, transposeTensor(op, state, *source, {1, 0}));
  }
};

struct ReshapeEval
    : public EvaluableOpInterface::ExternalModel<ReshapeEval, ReshapeOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    FailureOr<EvalTensor> source = operand(op, state, op->getOperand(0));
    if (failed(source))
      return failure();
    ArrayRef<int64_t> shape =
        llvm::cast<ShapedType>(op->getResult(0).getType()).getShape();
    if (countElements(shape) != source->getNumElements())
      return evalError(op, "E102", "the element count changes");
    return give(op, state, source->reshaped(shape));
  }
};

struct CastEval : public EvaluableOpInterface::ExternalModel<CastEval, CastOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    FailureOr<EvalTensor> source = operand(op, state, op->getOperand(0));
    if (failed(source))
      return failure();
    Type type =
        llvm::cast<ShapedType>(op->getResult(0).getType()).getElementType();
    return give(op, state, castTensor(op, state, *source, type));
  }
};

/// Element (i, j) of a matrix times entry i or j of a vector.
static LogicalResult scale(Operation *op, EvalState &state, bool byRow) {
  FailureOr<EvalTensor> source = operand(op, state, op->getOperand(0));
  FailureOr<EvalTensor> vector = operand(op, state, op->getOperand(1));
  if (failed(source) || failed(vector))
    return failure();
  if (source->getRank() != 2 || !source->isFloat() || !vector->isFloat() ||
      vector->getNumElements() != source->getDim(byRow ? 0 : 1))
    return evalError(op, "E102", "the scale does not fit the matrix");
  FailureOr<EvalTensor> result =
      state.allocate(op, source->getElementType(), source->getShape());
  if (failed(result))
    return failure();
  int64_t width = source->getDim(1);
  MutableArrayRef<double> out = result->mutableFloats();
  for (size_t i = 0; i < out.size(); ++i)
    out[i] =
        source->floats()[i] * vector->floats()[byRow ? i / width : i % width];
  return give(op, state, result);
}

struct ScaleRowsEval
    : public EvaluableOpInterface::ExternalModel<ScaleRowsEval, ScaleRowsOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    return scale(op, state, /*byRow=*/true);
  }
};

struct ScaleColsEval
    : public EvaluableOpInterface::ExternalModel<ScaleColsEval, ScaleColsOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    return scale(op, state, /*byRow=*/false);
  }
};

struct MatVecEval
    : public EvaluableOpInterface::ExternalModel<MatVecEval, MatVecOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    auto matvec = llvm::cast<MatVecOp>(op);
    FailureOr<EvalTensor> matrix = operand(op, state, matvec.getMatrix());
    FailureOr<EvalTensor> vector = operand(op, state, matvec.getVector());
    FailureOr<EvalTensor> bias = optional(op, state, matvec.getBias());
    if (failed(matrix) || failed(vector) || failed(bias))
      return failure();
    return give(op, state, linearTensors(op, state, *vector, *matrix, *bias));
  }
};

struct AddEval : public EvaluableOpInterface::ExternalModel<AddEval, AddOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    FailureOr<EvalTensor> lhs = operand(op, state, op->getOperand(0));
    FailureOr<EvalTensor> rhs = operand(op, state, op->getOperand(1));
    if (failed(lhs) || failed(rhs))
      return failure();
    if (!lhs->isFloat() || !rhs->isFloat() ||
        lhs->getShape() != rhs->getShape())
      return evalError(op, "E102", "adds floating weights of one shape only");
    return give(op, state,
                zipFloats(op, state, *lhs, *rhs, lhs->getShape(),
                          lhs->getElementType(),
                          [](double x, double y) { return x + y; }));
  }
};

struct LowRankEval
    : public EvaluableOpInterface::ExternalModel<LowRankEval, LowRankOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    FailureOr<EvalTensor> b = operand(op, state, op->getOperand(0));
    FailureOr<EvalTensor> a = operand(op, state, op->getOperand(1));
    if (failed(b) || failed(a))
      return failure();
    if (!b->isFloat() || !a->isFloat())
      return evalError(op, "E102", "the factors must be floating");
    return give(op, state, matmulTensors(op, state, *b, *a));
  }
};

struct DequantizeEval
    : public EvaluableOpInterface::ExternalModel<DequantizeEval, DequantizeOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    auto dequantize = llvm::cast<DequantizeOp>(op);
    FailureOr<EvalTensor> codes = operand(op, state, dequantize.getCodes());
    FailureOr<EvalTensor> scales = operand(op, state, dequantize.getScales());
    if (failed(codes) || failed(scales))
      return failure();
    int64_t group = dequantize.getGroup();
    int64_t limit = int64_t(1) << (dequantize.getBits() - 1);
    if (codes->getRank() != 2 || scales->getRank() != 2 ||
        !codes->isInteger() || !scales->isFloat() ||
        scales->getDim(0) != codes->getDim(0) ||
        scales->getDim(1) !=
            static_cast<int64_t>(llvm::divideCeil(codes->getDim(1), group)))
      return evalError(op, "E102", "the scales do not fit the codes");
    FailureOr<EvalTensor> result =
        state.allocate(op, scales->getElementType(), codes->getShape());
    if (failed(result))
      return failure();
    int64_t width = codes->getDim(1), groups = scales->getDim(1);
    MutableArrayRef<double> out = result->mutableFloats();
    for (int64_t i = 0, e = out.size(); i < e; ++i) {
      double code = codes->asDouble(i);
      if (code < -limit || code >= limit)
        return evalError(op, "E102", "a code does not fit its bits");
      out[i] = code * scales->floats()[i / width * groups + i % width / group];
    }
    return give(op, state, result);
  }
};

//===----------------------------------------------------------------------===//
// Conditions
//===----------------------------------------------------------------------===//

/// A number for each row of `like`.
FailureOr<EvalTensor> allocateRows(Operation *op, EvalState &state,
                                   const EvalTensor &like) {
  if (!like.isFloat() || like.getRank() < 1)
    return evalError(op, "E102", "looks at rows of floats only");
  return state.allocate(op, like.getElementType(), like.getShape().drop_back());
}

struct RowCosineEval
    : public EvaluableOpInterface::ExternalModel<RowCosineEval, RowCosineOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    auto cosine = llvm::cast<RowCosineOp>(op);
    FailureOr<EvalTensor> a = operand(op, state, cosine.getLhs());
    FailureOr<EvalTensor> b = operand(op, state, cosine.getRhs());
    if (failed(a) || failed(b))
      return failure();
    if (a->getShape() != b->getShape() || !b->isFloat())
      return evalError(op, "E102", "the tensors differ in shape");
    FailureOr<EvalTensor> result = allocateRows(op, state, *a);
    if (failed(result))
      return failure();
    int64_t width = a->getDim(-1);
    for (auto [row, out] : llvm::enumerate(result->mutableFloats())) {
      double product = 0, squaresA = 0, squaresB = 0;
      for (int64_t i = row * width, e = i + width; i < e; ++i) {
        double x = a->floats()[i], y = b->floats()[i];
        product += x * y;
        squaresA += x * x;
        squaresB += y * y;
      }
      out = product / (std::sqrt(squaresA) * std::sqrt(squaresB));
    }
    return give(op, state, result);
  }
};

struct RowMarginEval
    : public EvaluableOpInterface::ExternalModel<RowMarginEval, RowMarginOp> {
  LogicalResult evaluate(Operation *op, EvalState &state) const {
    auto margin = llvm::cast<RowMarginOp>(op);
    FailureOr<EvalTensor> x = operand(op, state, margin.getInput());
    if (failed(x))
      return failure();
    FailureOr<EvalTensor> result = allocateRows(op, state, *x);
    if (failed(result))
      return failure();
    int64_t width = x->getDim(-1);
    for (auto [row, out] : llvm::enumerate(result->mutableFloats())) {
      ArrayRef<double> values = x->floats().slice(row * width, width);
      double low = -std::numeric_limits<double>::infinity();
      double first = low, second = low, sum = 0;
      for (double value : values) {
        second = std::max(second, std::min(first, value));
        first = std::max(first, value);
      }
      for (double value : values)
        sum += std::exp(value - first);
      out = (1 - std::exp(second - first)) / sum;
    }
    return give(op, state, result);
  }
};
} // namespace

void mlir::ffn::registerFFNEvaluation(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *ctx, FFNDialect *) {
    NormOp::attachInterface<NormEval>(*ctx);
    LinearOp::attachInterface<LinearEval>(*ctx);
    FeedForwardOp::attachInterface<FeedForwardEval>(*ctx);
    HiddenOp::attachInterface<HiddenEval>(*ctx);
    MoEOp::attachInterface<MoEEval>(*ctx);
    ObserveOp::attachInterface<ObserveEval>(*ctx);
    AttentionOp::attachInterface<AttentionEval>(*ctx);
    EmbeddingOp::attachInterface<EmbeddingEval>(*ctx);
    GatherRowsOp::attachInterface<GatherRowsEval>(*ctx);
    ConcatRowsOp::attachInterface<ConcatRowsEval>(*ctx);
    TransposeOp::attachInterface<TransposeEval>(*ctx);
    ReshapeOp::attachInterface<ReshapeEval>(*ctx);
    CastOp::attachInterface<CastEval>(*ctx);
    ScaleRowsOp::attachInterface<ScaleRowsEval>(*ctx);
    ScaleColsOp::attachInterface<ScaleColsEval>(*ctx);
    MatVecOp::attachInterface<MatVecEval>(*ctx);
    AddOp::attachInterface<AddEval>(*ctx);
    LowRankOp::attachInterface<LowRankEval>(*ctx);
    DequantizeOp::attachInterface<DequantizeEval>(*ctx);
    RowCosineOp::attachInterface<RowCosineEval>(*ctx);
    RowMarginOp::attachInterface<RowMarginEval>(*ctx);
  });
}
