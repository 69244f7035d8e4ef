//===- ReduceEval.cpp - Operators along axes ------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/TensorOps.h"
#include "ffn-mlir/Ops/OpTable.h"
#include <algorithm>
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace mlir::ffn;

static LogicalResult give(EvalContext &ctx, FailureOr<EvalTensor> result) {
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

namespace {
enum class Reduction {
  Sum,
  Mean,
  Prod,
  Max,
  Min,
  SumSquare,
  L1,
  L2,
  LogSum,
  LogSumExp
};
} // namespace

static double reduceFloats(Reduction kind, ArrayRef<double> values) {
  double inf = std::numeric_limits<double>::infinity();
  double sum = 0;
  switch (kind) {
  case Reduction::Sum:
  case Reduction::Mean:
  case Reduction::LogSum:
    for (double v : values)
      sum += v;
    if (kind == Reduction::Mean)
      return sum / static_cast<double>(values.size());
    return kind == Reduction::LogSum ? std::log(sum) : sum;
  case Reduction::Prod:
    sum = 1;
    for (double v : values)
      sum *= v;
    return sum;
  case Reduction::Max:
  case Reduction::Min: {
    double best = kind == Reduction::Max ? -inf : inf;
    for (double v : values) {
      if (std::isnan(v))
        return v;
      best = kind == Reduction::Max ? std::max(best, v) : std::min(best, v);
    }
    return best;
  }
  case Reduction::SumSquare:
  case Reduction::L2:
    for (double v : values)
      sum += v * v;
    return kind == Reduction::L2 ? std::sqrt(sum) : sum;
  case Reduction::L1:
    for (double v : values)
      sum += std::fabs(v);
    return sum;
  case Reduction::LogSumExp: {
    double largest = -inf;
    for (double v : values)
      largest = std::isnan(v) ? v : std::max(largest, v);
    if (std::isinf(largest) || std::isnan(largest))
      return largest;
    for (double v : values)
      sum += std::exp(v - largest);
    return std::log(sum) + largest;
  }
  }
  return sum;
}

static int64_t reduceInts(Reduction kind, ArrayRef<int64_t> values, Type type) {
  bool isUnsigned = type.isUnsignedInteger() || type.isInteger(1);
  uint64_t sum = 0;
  auto magnitude = [&](int64_t v) {
    return v < 0 && !isUnsigned ? 0 - static_cast<uint64_t>(v)
                                : static_cast<uint64_t>(v);
  };
  switch (kind) {
  case Reduction::Prod:
    sum = 1;
    for (int64_t v : values)
      sum *= static_cast<uint64_t>(v);
    break;
  case Reduction::Max:
  case Reduction::Min: {
    auto [least, greatest] = intTypeRange(type);
    int64_t best = kind == Reduction::Max ? least : greatest;
    for (int64_t v : values) {
      bool less = isUnsigned
                      ? static_cast<uint64_t>(v) < static_cast<uint64_t>(best)
                      : v < best;
      if (kind == Reduction::Max ? !less : less)
        best = v;
    }
    return best;
  }
  case Reduction::SumSquare:
    for (int64_t v : values)
      sum += static_cast<uint64_t>(v) * static_cast<uint64_t>(v);
    break;
  case Reduction::L1:
    for (int64_t v : values)
      sum += magnitude(v);
    break;
  case Reduction::Sum:
    for (int64_t v : values)
      sum += static_cast<uint64_t>(v);
    break;
  case Reduction::Mean:
    for (int64_t v : values)
      sum += static_cast<uint64_t>(v);
    if (values.empty())
      return 0;
    return static_cast<int64_t>(sum) / static_cast<int64_t>(values.size());
  case Reduction::L2:
  case Reduction::LogSum:
  case Reduction::LogSumExp: {
    SmallVector<double> floats;
    for (int64_t v : values)
      floats.push_back(isUnsigned
                           ? static_cast<double>(static_cast<uint64_t>(v))
                           : static_cast<double>(v));
    return floatToIntType(type, reduceFloats(kind, floats));
  }
  }
  return wrapToIntType(type, static_cast<int64_t>(sum));
}

template <Reduction kind> static LogicalResult evalReduce(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  if (x->isString())
    return ctx.error("reduces numbers only");
  std::optional<SmallVector<int64_t>> wanted = ctx.getInts("axes");
  if (ctx.hasInput(1)) {
    auto given = ctx.optionalInts(1);
    if (failed(given))
      return failure();
    wanted = *given;
  }
  bool keep = ctx.getInt("keepdims", 1) != 0;
  int64_t rank = x->getRank();
  SmallVector<int64_t> axes(rank);
  std::iota(axes.begin(), axes.end(), 0);
  if (wanted && !wanted->empty()) {
    FailureOr<SmallVector<int64_t>> normalized =
        ctx.normalizeAxes(*wanted, rank);
    if (failed(normalized))
      return failure();
    axes = *normalized;
  } else if (ctx.getInt("noop_with_empty_axes", 0) != 0) {
    // No axis is reduced, but what is done to each element still is.
    axes.clear();
  }
  SmallVector<bool> reduced(rank, false);
  for (int64_t axis : axes)
    reduced[axis] = true;
  SmallVector<int64_t> shape, outer, inner, outerStrides, innerStrides;
  SmallVector<int64_t> strides = rowMajorStrides(x->getShape());
  for (int64_t d = 0; d < rank; ++d) {
    (reduced[d] ? inner : outer).push_back(x->getDim(d));
    (reduced[d] ? innerStrides : outerStrides).push_back(strides[d]);
    if (!reduced[d] || keep)
      shape.push_back(reduced[d] ? 1 : x->getDim(d));
  }
  FailureOr<EvalTensor> result = ctx.allocate(x->getElementType(), shape);
  if (failed(result))
    return failure();
  int64_t count = productOf(inner, 0, inner.size());
  StridedWalk outerWalk(outer, outerStrides);
  SmallVector<double> floats(x->isFloat() ? count : 0);
  SmallVector<int64_t> ints(x->isFloat() ? 0 : count);
  for (int64_t i = 0; i < result->getNumElements(); ++i) {
    StridedWalk walk(inner, innerStrides, outerWalk.getOffset());
    for (int64_t j = 0; j < count; ++j) {
      if (x->isFloat())
        floats[j] = x->floats()[walk.getOffset()];
      else
        ints[j] = x->ints()[walk.getOffset()];
      walk.next();
    }
    if (x->isFloat())
      result->mutableFloats()[i] = reduceFloats(kind, floats);
    else
      result->mutableInts()[i] = reduceInts(kind, ints, x->getElementType());
    outerWalk.next();
  }
  ctx.setOutput(0, *result);
  return success();
}

//===----------------------------------------------------------------------===//
// Lines: what works on each line along one axis
//===----------------------------------------------------------------------===//

namespace {
/// A tensor seen as [outer, length, inner] around an axis.
struct Lines {
  int64_t outer, length, inner;
  Lines(ArrayRef<int64_t> shape, int64_t axis)
      : outer(productOf(shape, 0, axis)), length(shape[axis]),
        inner(productOf(shape, axis + 1, shape.size())) {}
  int64_t at(int64_t o, int64_t i, int64_t n) const {
    return (o * length + i) * inner + n;
  }
};
} // namespace

template <bool isMax> static LogicalResult evalArg(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  FailureOr<int64_t> axis =
      ctx.normalizeAxis(ctx.getInt("axis", 0), x->getRank());
  if (failed(axis))
    return failure();
  bool last = ctx.getInt("select_last_index", 0) != 0;
  Lines lines(x->getShape(), *axis);
  if (x->isString() || (lines.length == 0 && lines.outer * lines.inner != 0))
    return ctx.error("nothing to choose from");
  SmallVector<int64_t> shape(x->getShape());
  if (ctx.getInt("keepdims", 1) != 0)
    shape[*axis] = 1;
  else
    shape.erase(shape.begin() + *axis);
  FailureOr<EvalTensor> result = ctx.allocate(ctx.i64(), shape);
  if (failed(result))
    return failure();
  auto better = [&](int64_t a, int64_t b) {
    if (x->isFloat()) {
      double p = x->floats()[a], q = x->floats()[b];
      return isMax ? p > q : p < q;
    }
    int64_t p = x->ints()[a], q = x->ints()[b];
    if (x->isUnsigned())
      return isMax ? static_cast<uint64_t>(p) > static_cast<uint64_t>(q)
                   : static_cast<uint64_t>(p) < static_cast<uint64_t>(q);
    return isMax ? p > q : p < q;
  };
  for (int64_t o = 0; o < lines.outer; ++o)
    for (int64_t n = 0; n < lines.inner; ++n) {
      int64_t best = 0;
      for (int64_t i = 1; i < lines.length; ++i) {
        int64_t a = lines.at(o, i, n), b = lines.at(o, best, n);
        if (last ? !better(b, a) : better(a, b))
          best = i;
      }
      result->mutableInts()[o * lines.inner + n] = best;
    }
  ctx.setOutput(0, *result);
  return success();
}

namespace {
enum class SoftmaxKind { Softmax, LogSoftmax, Hardmax };
} // namespace

template <SoftmaxKind kind> static LogicalResult evalSoftmax(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0);
  if (failed(x))
    return failure();
  bool flat = ctx.version() < 13;
  if (x->getRank() == 0)
    return ctx.error("needs an axis");
  int64_t given = ctx.getInt("axis", flat ? 1 : -1);
  FailureOr<int64_t> axis = flat && given == x->getRank()
                                ? given
                                : ctx.normalizeAxis(given, x->getRank());
  if (failed(axis))
    return failure();
  FailureOr<EvalTensor> result =
      ctx.allocate(x->getElementType(), x->getShape());
  if (failed(result) || x->getNumElements() == 0)
    return give(ctx, result);
  // Before version 13 everything from the axis on is one row.
  SmallVector<int64_t> shape(x->getShape());
  if (flat)
    shape = {productOf(shape, 0, *axis), productOf(shape, *axis, shape.size())};
  Lines lines(shape, flat ? 1 : *axis);
  SmallVector<double> row(lines.length);
  MutableArrayRef<double> out = result->mutableFloats();
  for (int64_t o = 0; o < lines.outer; ++o)
    for (int64_t n = 0; n < lines.inner; ++n) {
      for (int64_t i = 0; i < lines.length; ++i)
        row[i] = x->floats()[lines.at(o, i, n)];
      if (kind == SoftmaxKind::Softmax) {
        softmaxRows(row, lines.length);
      } else if (kind == SoftmaxKind::LogSoftmax) {
        double total = reduceFloats(Reduction::LogSumExp, row);
        for (double &v : row)
          v -= total;
      } else {
        auto best = std::max_element(row.begin(), row.end()) - row.begin();
        llvm::fill(row, 0.0);
        row[best] = 1;
      }
      for (int64_t i = 0; i < lines.length; ++i)
        out[lines.at(o, i, n)] = row[i];
    }
  ctx.setOutput(0, *result);
  return success();
}

static FailureOr<int64_t> axisInput(EvalContext &ctx, const EvalTensor &x) {
  FailureOr<int64_t> axis = ctx.intScalar(1, 0);
  if (failed(axis))
    return failure();
  return ctx.normalizeAxis(*axis, x.getRank());
}

/// CumSum and CumProd.
template <bool isSum> static LogicalResult evalCumulative(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  FailureOr<int64_t> axis = axisInput(ctx, *x);
  if (failed(axis))
    return failure();
  bool exclusive = ctx.getInt("exclusive", 0) != 0;
  bool reverse = ctx.getInt("reverse", 0) != 0;
  FailureOr<EvalTensor> result =
      ctx.allocate(x->getElementType(), x->getShape());
  if (failed(result))
    return failure();
  Lines lines(x->getShape(), *axis);
  auto run = [&](auto in, auto out, auto combine, auto start) {
    for (int64_t o = 0; o < lines.outer; ++o)
      for (int64_t n = 0; n < lines.inner; ++n) {
        auto sum = start;
        for (int64_t j = 0; j < lines.length; ++j) {
          int64_t at = lines.at(o, reverse ? lines.length - 1 - j : j, n);
          auto next = combine(sum, in[at]);
          out[at] = exclusive ? sum : next;
          sum = next;
        }
      }
  };
  if (x->isFloat())
    run(
        x->floats(), result->mutableFloats(),
        [](double a, double b) { return isSum ? a + b : a * b; },
        isSum ? 0.0 : 1.0);
  else
    run(
        x->ints(), result->mutableInts(),
        [&](int64_t a, int64_t b) {
          auto p = static_cast<uint64_t>(a), q = static_cast<uint64_t>(b);
          return wrapToIntType(x->getElementType(),
                               static_cast<int64_t>(isSum ? p + q : p * q));
        },
        static_cast<int64_t>(isSum ? 0 : 1));
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalTopK(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  FailureOr<int64_t> k = ctx.version() >= 10
                             ? ctx.intScalar(1, 0)
                             : FailureOr<int64_t>(ctx.getInt("k", 0));
  FailureOr<int64_t> axis =
      ctx.normalizeAxis(ctx.getInt("axis", -1), x->getRank());
  if (failed(k) || failed(axis))
    return failure();
  Lines lines(x->getShape(), *axis);
  if (*k < 0 || *k > lines.length || x->isString())
    return ctx.error("k is " + Twine(*k) + " for a dimension of " +
                         Twine(lines.length),
                     "E103");
  bool largest = ctx.getInt("largest", 1) != 0;
  SmallVector<int64_t> shape(x->getShape());
  shape[*axis] = *k;
  FailureOr<EvalTensor> values = ctx.allocate(x->getElementType(), shape);
  FailureOr<EvalTensor> indices = ctx.allocate(ctx.i64(), shape);
  if (failed(values) || failed(indices))
    return failure();
  auto less = [&](int64_t a, int64_t b) {
    if (x->isFloat())
      return x->floats()[a] < x->floats()[b];
    if (x->isUnsigned())
      return static_cast<uint64_t>(x->ints()[a]) <
             static_cast<uint64_t>(x->ints()[b]);
    return x->ints()[a] < x->ints()[b];
  };
  std::vector<int64_t> order(lines.length);
  for (int64_t o = 0; o < lines.outer; ++o)
    for (int64_t n = 0; n < lines.inner; ++n) {
      std::iota(order.begin(), order.end(), 0);
      // Of equal elements the lower index comes first.
      llvm::sort(order, [&](int64_t i, int64_t j) {
        int64_t a = lines.at(o, i, n), b = lines.at(o, j, n);
        if (largest ? less(b, a) : less(a, b))
          return true;
        return !(largest ? less(a, b) : less(b, a)) && i < j;
      });
      for (int64_t i = 0; i < *k; ++i) {
        int64_t to = (o * *k + i) * lines.inner + n;
        copyElements(*x, lines.at(o, order[i], n), *values, to, 1);
        indices->mutableInts()[to] = order[i];
      }
    }
  ctx.setOutput(0, *values);
  ctx.setOutput(1, *indices);
  return success();
}

static LogicalResult evalLpNormalization(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0);
  if (failed(x))
    return failure();
  FailureOr<int64_t> axis =
      ctx.normalizeAxis(ctx.getInt("axis", -1), x->getRank());
  FailureOr<EvalTensor> result =
      ctx.allocate(x->getElementType(), x->getShape());
  if (failed(axis) || failed(result))
    return failure();
  Reduction kind = ctx.getInt("p", 2) == 1 ? Reduction::L1 : Reduction::L2;
  Lines lines(x->getShape(), *axis);
  SmallVector<double> row(lines.length);
  for (int64_t o = 0; o < lines.outer; ++o)
    for (int64_t n = 0; n < lines.inner; ++n) {
      for (int64_t i = 0; i < lines.length; ++i)
        row[i] = x->floats()[lines.at(o, i, n)];
      double norm = reduceFloats(kind, row);
      for (int64_t i = 0; i < lines.length; ++i)
        result->mutableFloats()[lines.at(o, i, n)] =
            norm == 0 ? 0 : row[i] / norm;
    }
  ctx.setOutput(0, *result);
  return success();
}

FFN_REGISTER_OPS(ReduceEval) {
  table.addEval("", "ReduceSum", 1, evalReduce<Reduction::Sum>);
  table.addEval("", "ReduceMean", 1, evalReduce<Reduction::Mean>);
  table.addEval("", "ReduceProd", 1, evalReduce<Reduction::Prod>);
  table.addEval("", "ReduceMax", 1, evalReduce<Reduction::Max>);
  table.addEval("", "ReduceMin", 1, evalReduce<Reduction::Min>);
  table.addEval("", "ReduceSumSquare", 1, evalReduce<Reduction::SumSquare>);
  table.addEval("", "ReduceL1", 1, evalReduce<Reduction::L1>);
  table.addEval("", "ReduceL2", 1, evalReduce<Reduction::L2>);
  table.addEval("", "ReduceLogSum", 1, evalReduce<Reduction::LogSum>);
  table.addEval("", "ReduceLogSumExp", 1, evalReduce<Reduction::LogSumExp>);
  table.addEval("", "ArgMax", 1, evalArg<true>);
  table.addEval("", "ArgMin", 1, evalArg<false>);
  table.addEval("", "Softmax", 1, evalSoftmax<SoftmaxKind::Softmax>);
  table.addEval("", "LogSoftmax", 1, evalSoftmax<SoftmaxKind::LogSoftmax>);
  table.addEval("", "Hardmax", 1, evalSoftmax<SoftmaxKind::Hardmax>);
  table.addEval("", "CumSum", 1, evalCumulative<true>);
  table.addEval("", "CumProd", 1, evalCumulative<false>);
  table.addEval("", "TopK", 1, evalTopK);
  table.addEval("", "LpNormalization", 1, evalLpNormalization);
}
