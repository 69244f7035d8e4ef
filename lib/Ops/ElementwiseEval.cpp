//===- ElementwiseEval.cpp - Unary operators and activations --------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/TensorOps.h"
#include "ffn-mlir/Ops/OpTable.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Functions of one float
//===----------------------------------------------------------------------===//

namespace {
#define UNARY(NAME, EXPRESSION)                                                \
  struct NAME##Fn {                                                            \
    static double apply(double x) { return EXPRESSION; }                       \
  };
UNARY(Floor, std::floor(x))
UNARY(Ceil, std::ceil(x))
UNARY(Round, std::nearbyint(x)) // half to even
UNARY(Sqrt, std::sqrt(x))
UNARY(Reciprocal, 1 / x)
UNARY(Exp, std::exp(x))
UNARY(Log, std::log(x))
UNARY(Sin, std::sin(x))
UNARY(Cos, std::cos(x))
UNARY(Tan, std::tan(x))
UNARY(Asin, std::asin(x))
UNARY(Acos, std::acos(x))
UNARY(Atan, std::atan(x))
UNARY(Sinh, std::sinh(x))
UNARY(Cosh, std::cosh(x))
UNARY(Asinh, std::asinh(x))
UNARY(Acosh, std::acosh(x))
UNARY(Atanh, std::atanh(x))
UNARY(Erf, std::erf(x))
UNARY(Sigmoid, sigmoid(x))
UNARY(Tanh, std::tanh(x))
UNARY(Softsign, x / (1 + std::fabs(x)))
UNARY(Softplus, x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)))
UNARY(HardSwish,
      x *std::fmax(0.0, std::fmin(1.0, x / 6 + 0.5)) + (std::isnan(x) ? x : 0))
UNARY(Mish, x *std::tanh(x > 0 ? x + std::log1p(std::exp(-x))
                               : std::log1p(std::exp(x))))
#undef UNARY
} // namespace

template <typename Fn> static LogicalResult evalUnary(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0);
  if (failed(x))
    return failure();
  FailureOr<EvalTensor> y = mapFloats(ctx.node, ctx.state, *x, Fn::apply);
  if (failed(y))
    return failure();
  ctx.setOutput(0, *y);
  return success();
}

/// `fn` of each element of a floating input 0.
template <typename Fn> static LogicalResult mapInput(EvalContext &ctx, Fn fn) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0);
  if (failed(x))
    return failure();
  FailureOr<EvalTensor> y = mapFloats(ctx.node, ctx.state, *x, fn);
  if (failed(y))
    return failure();
  ctx.setOutput(0, *y);
  return success();
}

/// Of a number of any type; integers wrap.
template <typename FloatFn, typename IntFn>
static LogicalResult mapNumber(EvalContext &ctx, FloatFn floatFn, IntFn intFn) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  if (x->isFloat())
    return mapInput(ctx, floatFn);
  if (!x->isInteger())
    return ctx.error("input 0 must be of numbers");
  FailureOr<EvalTensor> y = ctx.allocate(x->getElementType(), x->getShape());
  if (failed(y))
    return failure();
  MutableArrayRef<int64_t> out = y->mutableInts();
  bool isUnsigned = x->isUnsigned();
  for (size_t i = 0; i < out.size(); ++i)
    out[i] =
        wrapToIntType(x->getElementType(), intFn(x->ints()[i], isUnsigned));
  ctx.setOutput(0, *y);
  return success();
}

static LogicalResult evalAbs(EvalContext &ctx) {
  return mapNumber(
      ctx, [](double x) { return std::fabs(x); },
      [](int64_t x, bool isUnsigned) {
        return x < 0 && !isUnsigned
                   ? static_cast<int64_t>(0 - static_cast<uint64_t>(x))
                   : x;
      });
}

static LogicalResult evalNeg(EvalContext &ctx) {
  return mapNumber(
      ctx, [](double x) { return -x; },
      [](int64_t x, bool) {
        return static_cast<int64_t>(0 - static_cast<uint64_t>(x));
      });
}

static LogicalResult evalSign(EvalContext &ctx) {
  return mapNumber(
      ctx,
      [](double x) {
        return std::isnan(x) ? x : static_cast<double>((x > 0) - (x < 0));
      },
      [](int64_t x, bool isUnsigned) -> int64_t {
        return isUnsigned ? x != 0 : (x > 0) - (x < 0);
      });
}

static LogicalResult evalRelu(EvalContext &ctx) {
  // NaN stays NaN; -0 becomes 0 as max(x, 0) gives it.
  return mapNumber(
      ctx, [](double x) { return x <= 0 ? 0.0 : x; },
      [](int64_t x, bool) { return std::max<int64_t>(x, 0); });
}

static LogicalResult evalLeakyRelu(EvalContext &ctx) {
  double alpha = ctx.getFloat("alpha", 0.01f);
  return mapInput(ctx, [=](double x) { return x < 0 ? alpha * x : x; });
}

static LogicalResult evalElu(EvalContext &ctx) {
  double alpha = ctx.getFloat("alpha", 1);
  return mapInput(ctx,
                  [=](double x) { return x < 0 ? alpha * std::expm1(x) : x; });
}

static LogicalResult evalSelu(EvalContext &ctx) {
  double alpha = ctx.getFloat("alpha", 1.67326319217681884765625);
  double gamma = ctx.getFloat("gamma", 1.05070102214813232421875);
  return mapInput(ctx, [=](double x) {
    return gamma * (x <= 0 ? alpha * std::expm1(x) : x);
  });
}

static LogicalResult evalCelu(EvalContext &ctx) {
  double alpha = ctx.getFloat("alpha", 1);
  return mapInput(
      ctx, [=](double x) { return x < 0 ? alpha * std::expm1(x / alpha) : x; });
}

static LogicalResult evalThresholdedRelu(EvalContext &ctx) {
  double alpha = ctx.getFloat("alpha", 1);
  return mapInput(ctx, [=](double x) { return x <= alpha ? 0.0 : x; });
}

static LogicalResult evalHardSigmoid(EvalContext &ctx) {
  double alpha = ctx.getFloat("alpha", 0.2f), beta = ctx.getFloat("beta", 0.5);
  return mapInput(ctx, [=](double x) {
    double y = alpha * x + beta;
    return y < 0 ? 0.0 : y > 1 ? 1.0 : y;
  });
}

static LogicalResult evalShrink(EvalContext &ctx) {
  double lambda = ctx.getFloat("lambd", 0.5), bias = ctx.getFloat("bias", 0);
  return mapNumber(
      ctx,
      [=](double x) {
        return x < -lambda ? x + bias : x > lambda ? x - bias : 0.0;
      },
      [=](int64_t x, bool) {
        double y = x < -lambda ? x + bias : x > lambda ? x - bias : 0.0;
        return static_cast<int64_t>(y);
      });
}

static LogicalResult evalGelu(EvalContext &ctx) {
  bool isTanh = ctx.getString("approximate", "none") == "tanh";
  return mapInput(ctx,
                  [=](double x) { return isTanh ? geluTanh(x) : geluErf(x); });
}

static LogicalResult evalSwish(EvalContext &ctx) {
  double alpha = ctx.getFloat("alpha", 1);
  return mapInput(ctx, [=](double x) { return x * sigmoid(alpha * x); });
}

static LogicalResult evalQuickGelu(EvalContext &ctx) {
  double alpha = ctx.getFloat("alpha", 1.702f);
  return mapInput(ctx, [=](double x) { return x * sigmoid(alpha * x); });
}

//===----------------------------------------------------------------------===//
// Tests and the rest
//===----------------------------------------------------------------------===//

template <typename Fn>
static LogicalResult testFloats(EvalContext &ctx, Fn fn) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0);
  if (failed(x))
    return failure();
  FailureOr<EvalTensor> y = ctx.allocate(ctx.i1(), x->getShape());
  if (failed(y))
    return failure();
  MutableArrayRef<int64_t> out = y->mutableInts();
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = fn(x->floats()[i]);
  ctx.setOutput(0, *y);
  return success();
}

static LogicalResult evalIsNaN(EvalContext &ctx) {
  return testFloats(ctx, [](double x) { return std::isnan(x); });
}

static LogicalResult evalIsInf(EvalContext &ctx) {
  bool positive = ctx.getInt("detect_positive", 1) != 0;
  bool negative = ctx.getInt("detect_negative", 1) != 0;
  return testFloats(ctx, [=](double x) {
    return std::isinf(x) && (x > 0 ? positive : negative);
  });
}

static LogicalResult evalNot(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireInt(0);
  if (failed(x))
    return failure();
  return mapNumber(
      ctx, [](double x) { return x; },
      [](int64_t x, bool) { return static_cast<int64_t>(x == 0); });
}

static LogicalResult evalBitwiseNot(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireInt(0);
  if (failed(x))
    return failure();
  return mapNumber(
      ctx, [](double x) { return x; }, [](int64_t x, bool) { return ~x; });
}

static LogicalResult evalIdentity(EvalContext &ctx) {
  ctx.setOutputValue(0, ctx.inputValue(0));
  return success();
}

static LogicalResult evalDropout(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0);
  if (failed(x))
    return failure();
  FailureOr<int64_t> training = ctx.intScalar(2, 0);
  FailureOr<double> ratio = ctx.floatScalar(1, 0.5);
  if (failed(training) || failed(ratio))
    return failure();
  bool oldTraining = ctx.version() < 7 && ctx.getInt("is_test", 0) == 0;
  if ((*training && *ratio != 0) || oldTraining)
    return ctx.error("training mode is random and has no reference value",
                     "E101");
  ctx.setOutput(0, *x);
  if (ctx.hasOutput(1)) {
    Type type = ctx.version() < 10 ? x->getElementType() : ctx.i1();
    FailureOr<EvalTensor> mask = ctx.allocate(type, x->getShape());
    if (failed(mask))
      return failure();
    fillWith(*mask, EvalTensor::scalarInt(type, 1));
    ctx.setOutput(1, *mask);
  }
  return success();
}

static LogicalResult evalClip(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  double inf = std::numeric_limits<double>::infinity();
  if (x->isFloat()) {
    double low = ctx.getFloat("min", -inf), high = ctx.getFloat("max", inf);
    if (ctx.version() >= 11) {
      FailureOr<double> a = ctx.floatScalar(1, -inf);
      FailureOr<double> b = ctx.floatScalar(2, inf);
      if (failed(a) || failed(b))
        return failure();
      low = *a, high = *b;
    }
    return mapInput(ctx, [=](double v) {
      // min(max(v, low), high): with low above high, high wins.
      double w = v < low ? low : v;
      return w > high ? high : w;
    });
  }
  auto [least, greatest] = intTypeRange(x->getElementType());
  FailureOr<int64_t> low = ctx.intScalar(1, least);
  FailureOr<int64_t> high = ctx.intScalar(2, greatest);
  if (failed(low) || failed(high))
    return failure();
  int64_t a = *low, b = *high;
  return mapNumber(
      ctx, [](double v) { return v; },
      [=](int64_t v, bool isUnsigned) {
        auto less = [=](int64_t p, int64_t q) {
          return isUnsigned
                     ? static_cast<uint64_t>(p) < static_cast<uint64_t>(q)
                     : p < q;
        };
        int64_t w = less(v, a) ? a : v;
        return less(b, w) ? b : w;
      });
}

FFN_REGISTER_OPS(ElementwiseEval) {
#define UNARY(NAME) table.addEval("", #NAME, 1, evalUnary<NAME##Fn>);
  UNARY(Floor)
  UNARY(Ceil)
  UNARY(Round)
  UNARY(Sqrt)
  UNARY(Reciprocal)
  UNARY(Exp)
  UNARY(Log)
  UNARY(Sin)
  UNARY(Cos)
  UNARY(Tan)
  UNARY(Asin)
  UNARY(Acos)
  UNARY(Atan)
  UNARY(Sinh)
  UNARY(Cosh)
  UNARY(Asinh)
  UNARY(Acosh)
  UNARY(Atanh)
  UNARY(Erf)
  UNARY(Sigmoid)
  UNARY(Tanh)
  UNARY(Softsign)
  UNARY(Softplus)
  UNARY(HardSwish)
  UNARY(Mish)
#undef UNARY
  table.addEval("", "Abs", 1, evalAbs);
  table.addEval("", "Neg", 1, evalNeg);
  table.addEval("", "Sign", 1, evalSign);
  table.addEval("", "Relu", 1, evalRelu);
  table.addEval("", "LeakyRelu", 1, evalLeakyRelu);
  table.addEval("", "Elu", 1, evalElu);
  table.addEval("", "Selu", 1, evalSelu);
  table.addEval("", "Celu", 1, evalCelu);
  table.addEval("", "ThresholdedRelu", 1, evalThresholdedRelu);
  table.addEval("", "HardSigmoid", 1, evalHardSigmoid);
  table.addEval("", "Shrink", 1, evalShrink);
  table.addEval("", "Gelu", 1, evalGelu);
  table.addEval("", "Swish", 1, evalSwish);
  table.addEval("com.microsoft", "QuickGelu", 1, evalQuickGelu);
  table.addEval("", "IsNaN", 1, evalIsNaN);
  table.addEval("", "IsInf", 1, evalIsInf);
  table.addEval("", "Not", 1, evalNot);
  table.addEval("", "BitwiseNot", 1, evalBitwiseNot);
  table.addEval("", "Identity", 1, evalIdentity);
  table.addEval("", "Dropout", 1, evalDropout);
  table.addEval("", "Clip", 1, evalClip);
}
