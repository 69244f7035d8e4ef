//===- BinaryEval.cpp - Operators of broadcast operands -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/TensorOps.h"
#include "ffn-mlir/Ops/OpTable.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

namespace {
/// Two operands of one kind and the shape of their result.
struct Operands {
  EvalTensor a, b;
  SmallVector<int64_t> shape;
};
} // namespace

static FailureOr<Operands> getOperands(EvalContext &ctx) {
  FailureOr<EvalTensor> a = ctx.require(0), b = ctx.require(1);
  if (failed(a) || failed(b))
    return failure();
  if (a->isFloat() != b->isFloat() || a->isString() != b->isString())
    return ctx.error("the operands are not of one kind");
  Operands operands{*a, *b, {}};
  if (ctx.getInt("broadcast", 0) != 0 && b->getRank() < a->getRank()) {
    // Before version 7: b lines up with a at `axis`, by default at the end.
    FailureOr<int64_t> axis = ctx.normalizeAxis(
        ctx.getInt("axis", a->getRank() - b->getRank()), a->getRank());
    if (failed(axis))
      return failure();
    SmallVector<int64_t> shape(b->getShape());
    while (*axis + static_cast<int64_t>(shape.size()) < a->getRank())
      shape.push_back(1);
    operands.b = b->reshaped(shape);
  }
  FailureOr<SmallVector<int64_t>> shape =
      ctx.broadcast(operands.a.getShape(), operands.b.getShape());
  if (failed(shape))
    return failure();
  operands.shape = *shape;
  return operands;
}

/// out[i] = fn(a, b) over broadcast integers; fn returns none for an error.
template <typename Fn>
static FailureOr<EvalTensor> zipInts(EvalContext &ctx, const Operands &operands,
                                     Type elementType, Fn fn) {
  FailureOr<EvalTensor> result = ctx.allocate(elementType, operands.shape);
  if (failed(result))
    return failure();
  ArrayRef<int64_t> shape = operands.shape;
  StridedWalk a(shape, broadcastStrides(operands.a.getShape(), shape));
  StridedWalk b(shape, broadcastStrides(operands.b.getShape(), shape));
  for (int64_t &value : result->mutableInts()) {
    std::optional<int64_t> v =
        fn(operands.a.ints()[a.getOffset()], operands.b.ints()[b.getOffset()]);
    if (!v)
      return ctx.error("division by zero", "E103");
    value = wrapToIntType(elementType, *v);
    a.next();
    b.next();
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

static bool lessInt(int64_t x, int64_t y, bool isUnsigned) {
  return isUnsigned ? static_cast<uint64_t>(x) < static_cast<uint64_t>(y)
                    : x < y;
}

namespace {
using MaybeInt = std::optional<int64_t>;

#define WRAPPING(NAME, OPERATOR)                                               \
  struct NAME {                                                                \
    static double apply(double x, double y) { return x OPERATOR y; }           \
    static MaybeInt apply(int64_t x, int64_t y, bool) {                        \
      return static_cast<int64_t>(static_cast<uint64_t>(x)                     \
                                      OPERATOR static_cast<uint64_t>(y));      \
    }                                                                          \
  };
WRAPPING(AddFn, +)
WRAPPING(SubFn, -)
WRAPPING(MulFn, *)
#undef WRAPPING

struct DivFn {
  static double apply(double x, double y) { return x / y; }
  static MaybeInt apply(int64_t x, int64_t y, bool isUnsigned) {
    if (y == 0)
      return std::nullopt;
    if (isUnsigned)
      return static_cast<int64_t>(static_cast<uint64_t>(x) /
                                  static_cast<uint64_t>(y));
    // The least integer by -1 wraps.
    return y == -1 ? static_cast<int64_t>(0 - static_cast<uint64_t>(x)) : x / y;
  }
};

struct MinFn {
  static double apply(double x, double y) {
    return std::isnan(x) ? x : std::isnan(y) ? y : std::min(x, y);
  }
  static MaybeInt apply(int64_t x, int64_t y, bool isUnsigned) {
    return lessInt(y, x, isUnsigned) ? y : x;
  }
};

struct MaxFn {
  static double apply(double x, double y) {
    return std::isnan(x) ? x : std::isnan(y) ? y : std::max(x, y);
  }
  static MaybeInt apply(int64_t x, int64_t y, bool isUnsigned) {
    return lessInt(x, y, isUnsigned) ? y : x;
  }
};
} // namespace

template <typename Fn>
static FailureOr<EvalTensor> applyBinary(EvalContext &ctx,
                                         const Operands &operands) {
  Type type = operands.a.getElementType();
  if (operands.a.isFloat())
    return zipFloats(ctx.node, ctx.state, operands.a, operands.b,
                     operands.shape, type,
                     [](double x, double y) { return Fn::apply(x, y); });
  if (!operands.a.isInteger())
    return ctx.error("the operands must be numbers");
  bool isUnsigned = operands.a.isUnsigned();
  return zipInts(ctx, operands, type, [=](int64_t x, int64_t y) {
    return Fn::apply(x, y, isUnsigned);
  });
}

template <typename Fn> static LogicalResult evalBinary(EvalContext &ctx) {
  FailureOr<Operands> operands = getOperands(ctx);
  if (failed(operands))
    return failure();
  FailureOr<EvalTensor> result = applyBinary<Fn>(ctx, *operands);
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

/// Sum, Max, Min: any number of inputs.
template <typename Fn> static FailureOr<EvalTensor> fold(EvalContext &ctx) {
  FailureOr<EvalTensor> result = ctx.require(0);
  for (unsigned i = 1; succeeded(result) && i < ctx.numInputs(); ++i) {
    FailureOr<EvalTensor> next = ctx.require(i);
    if (failed(next))
      return failure();
    FailureOr<SmallVector<int64_t>> shape =
        ctx.broadcast(result->getShape(), next->getShape());
    if (failed(shape))
      return failure();
    if (result->isFloat() != next->isFloat() || next->isString())
      return ctx.error("the operands are not of one kind");
    result = applyBinary<Fn>(ctx, {*result, *next, *shape});
  }
  return result;
}

template <typename Fn> static LogicalResult evalFold(EvalContext &ctx) {
  FailureOr<EvalTensor> result = fold<Fn>(ctx);
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalMean(EvalContext &ctx) {
  FailureOr<EvalTensor> sum = fold<AddFn>(ctx);
  if (failed(sum))
    return failure();
  for (double &x : sum->mutableFloats())
    x /= ctx.numInputs();
  ctx.setOutput(0, *sum);
  return success();
}

static LogicalResult evalMod(EvalContext &ctx) {
  FailureOr<Operands> operands = getOperands(ctx);
  if (failed(operands))
    return failure();
  bool truncated = ctx.getInt("fmod", 0) != 0;
  FailureOr<EvalTensor> result = failure();
  if (operands->a.isFloat()) {
    result = zipFloats(ctx.node, ctx.state, operands->a, operands->b,
                       operands->shape, operands->a.getElementType(),
                       [=](double x, double y) {
                         double rest = std::fmod(x, y);
                         if (truncated || std::isnan(rest))
                           return rest;
                         // The sign, of a zero too, follows the divisor.
                         if (rest == 0)
                           return std::copysign(0.0, y);
                         return (rest < 0) != (y < 0) ? rest + y : rest;
                       });
  } else {
    bool isUnsigned = operands->a.isUnsigned();
    result = zipInts(ctx, *operands, operands->a.getElementType(),
                     [=](int64_t x, int64_t y) -> MaybeInt {
                       if (y == 0)
                         return std::nullopt;
                       if (isUnsigned)
                         return static_cast<int64_t>(static_cast<uint64_t>(x) %
                                                     static_cast<uint64_t>(y));
                       int64_t rest = y == -1 ? 0 : x % y;
                       // The sign follows the divisor, as in Python.
                       if (!truncated && rest != 0 && (rest < 0) != (y < 0))
                         rest += y;
                       return rest;
                     });
  }
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

static int64_t powInt(int64_t base, int64_t exponent) {
  if (exponent < 0)
    return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
  uint64_t result = 1, factor = static_cast<uint64_t>(base);
  for (auto rest = static_cast<uint64_t>(exponent); rest; rest >>= 1) {
    if (rest & 1)
      result *= factor;
    factor *= factor;
  }
  return static_cast<int64_t>(result);
}

static LogicalResult evalPow(EvalContext &ctx) {
  FailureOr<EvalTensor> a = ctx.require(0), b = ctx.require(1);
  if (failed(a) || failed(b))
    return failure();
  if (a->isString() || b->isString())
    return ctx.error("the operands must be numbers");
  FailureOr<SmallVector<int64_t>> shape =
      ctx.broadcast(a->getShape(), b->getShape());
  if (failed(shape))
    return failure();
  FailureOr<EvalTensor> result = failure();
  if (a->isInteger() && b->isInteger()) {
    result =
        zipInts(ctx, {*a, *b, *shape}, a->getElementType(),
                [](int64_t x, int64_t y) { return MaybeInt(powInt(x, y)); });
  } else {
    Type f64 = Float64Type::get(ctx.node.getContext());
    result = zipFloats(ctx.node, ctx.state, a->toFloat(f64), b->toFloat(f64),
                       *shape, a->isFloat() ? a->getElementType() : f64,
                       [](double x, double y) { return std::pow(x, y); });
    if (succeeded(result) && a->isInteger())
      result = castTensor(ctx.node, ctx.state, *result, a->getElementType());
  }
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalPRelu(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0), slope = ctx.require(1);
  if (failed(x) || failed(slope))
    return failure();
  if (!x->isFloat() || !slope->isFloat())
    return ctx.error("the operands must be floating");
  FailureOr<EvalTensor> wide =
      broadcastTensor(ctx.node, ctx.state, *slope, x->getShape());
  if (failed(wide))
    return failure();
  FailureOr<EvalTensor> result = zipFloats(
      ctx.node, ctx.state, *x, *wide, x->getShape(), x->getElementType(),
      [](double v, double s) { return v < 0 ? s * v : v; });
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

//===----------------------------------------------------------------------===//
// Comparison and logic
//===----------------------------------------------------------------------===//

namespace {
#define COMPARE(NAME, OPERATOR)                                                \
  struct NAME {                                                                \
    template <typename T> static bool apply(const T &x, const T &y) {          \
      return x OPERATOR y;                                                     \
    }                                                                          \
  };
COMPARE(EqualFn, ==)
COMPARE(LessFn, <)
COMPARE(LessOrEqualFn, <=)
COMPARE(GreaterFn, >)
COMPARE(GreaterOrEqualFn, >=)
#undef COMPARE
} // namespace

template <typename Fn> static LogicalResult evalCompare(EvalContext &ctx) {
  FailureOr<Operands> operands = getOperands(ctx);
  if (failed(operands))
    return failure();
  FailureOr<EvalTensor> result = ctx.allocate(ctx.i1(), operands->shape);
  if (failed(result))
    return failure();
  ArrayRef<int64_t> shape = operands->shape;
  auto run = [&](auto x, auto y, auto test) {
    StridedWalk a(shape, broadcastStrides(operands->a.getShape(), shape));
    StridedWalk b(shape, broadcastStrides(operands->b.getShape(), shape));
    for (int64_t &value : result->mutableInts()) {
      value = test(x[a.getOffset()], y[b.getOffset()]);
      a.next();
      b.next();
    }
  };
  if (operands->a.isFloat())
    run(operands->a.floats(), operands->b.floats(), Fn::template apply<double>);
  else if (operands->a.isString())
    run(operands->a.strings(), operands->b.strings(),
        Fn::template apply<std::string>);
  else if (operands->a.isUnsigned())
    run(operands->a.ints(), operands->b.ints(), [](int64_t x, int64_t y) {
      return Fn::template apply<uint64_t>(static_cast<uint64_t>(x),
                                          static_cast<uint64_t>(y));
    });
  else
    run(operands->a.ints(), operands->b.ints(), Fn::template apply<int64_t>);
  ctx.setOutput(0, *result);
  return success();
}

namespace {
struct AndFn {
  static int64_t apply(int64_t x, int64_t y) { return x & y; }
};
struct OrFn {
  static int64_t apply(int64_t x, int64_t y) { return x | y; }
};
struct XorFn {
  static int64_t apply(int64_t x, int64_t y) { return x ^ y; }
};
} // namespace

/// Booleans are 0 and 1, so that logic is bitwise logic.
template <typename Fn> static LogicalResult evalLogic(EvalContext &ctx) {
  FailureOr<Operands> operands = getOperands(ctx);
  if (failed(operands))
    return failure();
  if (!operands->a.isInteger())
    return ctx.error("the operands must be integers");
  FailureOr<EvalTensor> result =
      zipInts(ctx, *operands, operands->a.getElementType(),
              [](int64_t x, int64_t y) { return MaybeInt(Fn::apply(x, y)); });
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalBitShift(EvalContext &ctx) {
  FailureOr<Operands> operands = getOperands(ctx);
  if (failed(operands))
    return failure();
  if (!operands->a.isInteger())
    return ctx.error("the operands must be integers");
  bool left = ctx.getString("direction", "") == "LEFT";
  unsigned width = intTypeWidth(operands->a.getElementType());
  bool isSigned = !operands->a.isUnsigned();
  FailureOr<EvalTensor> result = zipInts(
      ctx, *operands, operands->a.getElementType(),
      [=](int64_t x, int64_t y) -> MaybeInt {
        // Beyond the width, and for negative shifts, only the sign is left.
        if (static_cast<uint64_t>(y) >= width)
          return !left && isSigned && x < 0 ? -1 : 0;
        if (!left && isSigned)
          return x >> y;
        return static_cast<int64_t>(left ? static_cast<uint64_t>(x) << y
                                         : static_cast<uint64_t>(x) >> y);
      });
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalWhere(EvalContext &ctx) {
  FailureOr<EvalTensor> condition = ctx.requireInt(0);
  FailureOr<EvalTensor> x = ctx.require(1), y = ctx.require(2);
  if (failed(condition) || failed(x) || failed(y))
    return failure();
  if (x->isFloat() != y->isFloat() || x->isString() != y->isString())
    return ctx.error("the operands are not of one kind");
  FailureOr<SmallVector<int64_t>> both =
      ctx.broadcast(x->getShape(), y->getShape());
  if (failed(both))
    return failure();
  FailureOr<SmallVector<int64_t>> shape =
      ctx.broadcast(condition->getShape(), *both);
  if (failed(shape))
    return failure();
  FailureOr<EvalTensor> result = ctx.allocate(x->getElementType(), *shape);
  if (failed(result))
    return failure();
  auto select = [&](const EvalTensor &from, bool when) {
    StridedWalk test(*shape, broadcastStrides(condition->getShape(), *shape));
    StridedWalk value(*shape, broadcastStrides(from.getShape(), *shape));
    gatherElements(from, *result, [&](int64_t) {
      bool taken = (condition->ints()[test.getOffset()] != 0) == when;
      int64_t offset = taken ? value.getOffset() : -1;
      test.next();
      value.next();
      return offset;
    });
  };
  select(*x, true);
  select(*y, false);
  ctx.setOutput(0, *result);
  return success();
}

FFN_REGISTER_OPS(BinaryEval) {
  table.addEval("", "Add", 1, evalBinary<AddFn>);
  table.addEval("", "Sub", 1, evalBinary<SubFn>);
  table.addEval("", "Mul", 1, evalBinary<MulFn>);
  table.addEval("", "Div", 1, evalBinary<DivFn>);
  table.addEval("", "Sum", 1, evalFold<AddFn>);
  table.addEval("", "Min", 1, evalFold<MinFn>);
  table.addEval("", "Max", 1, evalFold<MaxFn>);
  table.addEval("", "Mean", 1, evalMean);
  table.addEval("", "Mod", 1, evalMod);
  table.addEval("", "Pow", 1, evalPow);
  table.addEval("", "PRelu", 1, evalPRelu);
  table.addEval("", "Equal", 1, evalCompare<EqualFn>);
  table.addEval("", "Less", 1, evalCompare<LessFn>);
  table.addEval("", "LessOrEqual", 1, evalCompare<LessOrEqualFn>);
  table.addEval("", "Greater", 1, evalCompare<GreaterFn>);
  table.addEval("", "GreaterOrEqual", 1, evalCompare<GreaterOrEqualFn>);
  table.addEval("", "And", 1, evalLogic<AndFn>);
  table.addEval("", "Or", 1, evalLogic<OrFn>);
  table.addEval("", "Xor", 1, evalLogic<XorFn>);
  table.addEval("", "BitwiseAnd", 1, evalLogic<AndFn>);
  table.addEval("", "BitwiseOr", 1, evalLogic<OrFn>);
  table.addEval("", "BitwiseXor", 1, evalLogic<XorFn>);
  table.addEval("", "BitShift", 1, evalBitShift);
  table.addEval("", "Where", 1, evalWhere);
}
