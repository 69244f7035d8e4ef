//===- ElementwiseLower.cpp - Lowering of elementwise operators -----------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/LowerHelpers.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

namespace {
/// Short forms for bodies of loops.
struct Expr {
  OpBuilder &b;
  Location loc;
  Value constant(Type type, double v) const {
    return constantOf(b, loc, type, v);
  }
  Value add(Value l, Value r) const {
    if (llvm::isa<FloatType>(l.getType()))
      return arith::AddFOp::create(b, loc, l, r);
    return arith::AddIOp::create(b, loc, l, r);
  }
  Value sub(Value l, Value r) const {
    if (llvm::isa<FloatType>(l.getType()))
      return arith::SubFOp::create(b, loc, l, r);
    return arith::SubIOp::create(b, loc, l, r);
  }
  Value mul(Value l, Value r) const {
    if (llvm::isa<FloatType>(l.getType()))
      return arith::MulFOp::create(b, loc, l, r);
    return arith::MulIOp::create(b, loc, l, r);
  }
  Value divf(Value l, Value r) const {
    return arith::DivFOp::create(b, loc, l, r);
  }
  Value neg(Value x) const { return arith::NegFOp::create(b, loc, x); }
  Value exp(Value x) const { return math::ExpOp::create(b, loc, x); }
  Value select(Value c, Value l, Value r) const {
    return arith::SelectOp::create(b, loc, c, l, r);
  }
  Value cmpf(arith::CmpFPredicate p, Value l, Value r) const {
    return arith::CmpFOp::create(b, loc, p, l, r);
  }
  Value cmpi(arith::CmpIPredicate p, Value l, Value r) const {
    return arith::CmpIOp::create(b, loc, p, l, r);
  }
  Value sigmoid(Value x) const {
    Value one = constant(x.getType(), 1);
    return divf(one, add(one, exp(neg(x))));
  }
  Value maximum(Value l, Value r, bool isUnsigned) const {
    if (llvm::isa<FloatType>(l.getType()))
      return arith::MaximumFOp::create(b, loc, l, r);
    if (isUnsigned)
      return arith::MaxUIOp::create(b, loc, l, r);
    return arith::MaxSIOp::create(b, loc, l, r);
  }
  Value minimum(Value l, Value r, bool isUnsigned) const {
    if (llvm::isa<FloatType>(l.getType()))
      return arith::MinimumFOp::create(b, loc, l, r);
    if (isUnsigned)
      return arith::MinUIOp::create(b, loc, l, r);
    return arith::MinSIOp::create(b, loc, l, r);
  }
};
} // namespace

static LogicalResult finish(LowerContext &ctx, Value result) {
  if (!result)
    return ctx.unsupported("the shapes of its inputs do not broadcast");
  ctx.results[0] = result;
  return success();
}

static bool isBool(LowerContext &ctx, unsigned i) {
  Value value = ctx.node.getInput(i);
  auto type =
      value ? llvm::dyn_cast<ShapedType>(value.getType()) : ShapedType();
  return type && type.getElementType().isInteger(1);
}

//===----------------------------------------------------------------------===//
// One operand
//===----------------------------------------------------------------------===//

using UnaryBody = Value (*)(Expr e, Value x, LowerContext &ctx);

/// A function of one floating-point operand, computed in at least f32.
template <UnaryBody body> static LogicalResult unary(LowerContext &ctx) {
  Value x = ctx.input(0);
  if (!x || !llvm::isa<FloatType>(elementOf(x)))
    return ctx.unsupported("only floating-point inputs are supported");
  return finish(ctx,
                elementwise(ctx, x, elementOf(x),
                            [&](OpBuilder &b, Location loc, ValueRange a) {
                              return computeWide(b, loc, a[0], [&](Value w) {
                                return body({b, loc}, w, ctx);
                              });
                            }));
}

template <typename Op> static Value mathOp(Expr e, Value x, LowerContext &) {
  return Op::create(e.b, e.loc, x);
}

static Value reciprocal(Expr e, Value x, LowerContext &) {
  return e.divf(e.constant(x.getType(), 1), x);
}
static Value sigmoid(Expr e, Value x, LowerContext &) { return e.sigmoid(x); }
static Value leakyRelu(Expr e, Value x, LowerContext &ctx) {
  Value zero = e.constant(x.getType(), 0);
  Value alpha = e.constant(x.getType(), ctx.node.getFloat("alpha", 0.01f));
  return e.select(e.cmpf(arith::CmpFPredicate::OLT, x, zero), e.mul(x, alpha),
                  x);
}
static Value eluOf(Expr e, Value x, double alpha, double gamma) {
  Type t = x.getType();
  Value zero = e.constant(t, 0);
  Value low = e.mul(e.constant(t, alpha), e.sub(e.exp(x), e.constant(t, 1)));
  Value y = e.select(e.cmpf(arith::CmpFPredicate::OLT, x, zero), low, x);
  return gamma == 1 ? y : e.mul(e.constant(t, gamma), y);
}
static Value elu(Expr e, Value x, LowerContext &ctx) {
  return eluOf(e, x, ctx.node.getFloat("alpha", 1), 1);
}
static Value selu(Expr e, Value x, LowerContext &ctx) {
  return eluOf(e, x, ctx.node.getFloat("alpha", 1.67326319217681884765625f),
               ctx.node.getFloat("gamma", 1.05070102214813232421875f));
}
static Value celu(Expr e, Value x, LowerContext &ctx) {
  Type t = x.getType();
  double alpha = ctx.node.getFloat("alpha", 1);
  Value zero = e.constant(t, 0), a = e.constant(t, alpha);
  Value low = e.mul(a, e.sub(e.exp(e.divf(x, a)), e.constant(t, 1)));
  return e.select(e.cmpf(arith::CmpFPredicate::OLT, x, zero), low, x);
}
static Value softplus(Expr e, Value x, LowerContext &) {
  // max(x, 0) + log1p(exp(-|x|)) does not overflow.
  Type t = x.getType();
  Value magnitude = math::AbsFOp::create(e.b, e.loc, x);
  Value tail = math::Log1pOp::create(e.b, e.loc, e.exp(e.neg(magnitude)));
  return e.add(e.maximum(x, e.constant(t, 0), false), tail);
}
static Value softsign(Expr e, Value x, LowerContext &) {
  Value magnitude = math::AbsFOp::create(e.b, e.loc, x);
  return e.divf(x, e.add(e.constant(x.getType(), 1), magnitude));
}
static Value clampUnit(Expr e, Value x) {
  Type t = x.getType();
  return e.minimum(e.maximum(x, e.constant(t, 0), false), e.constant(t, 1),
                   false);
}
static Value hardSigmoid(Expr e, Value x, LowerContext &ctx) {
  Type t = x.getType();
  Value alpha = e.constant(t, ctx.node.getFloat("alpha", 0.2f));
  Value beta = e.constant(t, ctx.node.getFloat("beta", 0.5f));
  return clampUnit(e, e.add(e.mul(alpha, x), beta));
}
static Value hardSwish(Expr e, Value x, LowerContext &) {
  Type t = x.getType();
  return e.mul(x, clampUnit(e, e.add(e.mul(e.constant(t, 1.0 / 6), x),
                                     e.constant(t, 0.5))));
}
static Value mish(Expr e, Value x, LowerContext &ctx) {
  return e.mul(x, math::TanhOp::create(e.b, e.loc, softplus(e, x, ctx)));
}
static Value geluErf(Expr e, Value x) {
  Type t = x.getType();
  Value erf =
      math::ErfOp::create(e.b, e.loc, e.mul(x, e.constant(t, std::sqrt(0.5))));
  return e.mul(e.mul(e.constant(t, 0.5), x), e.add(e.constant(t, 1), erf));
}
static Value geluTanh(Expr e, Value x) {
  Type t = x.getType();
  Value cube = e.mul(e.mul(x, x), x);
  Value inner = e.mul(e.constant(t, std::sqrt(2 / M_PI)),
                      e.add(x, e.mul(e.constant(t, 0.044715), cube)));
  Value tanh = math::TanhOp::create(e.b, e.loc, inner);
  return e.mul(e.mul(e.constant(t, 0.5), x), e.add(e.constant(t, 1), tanh));
}
static Value gelu(Expr e, Value x, LowerContext &ctx) {
  return ctx.node.getString("approximate", "none") == "tanh" ? geluTanh(e, x)
                                                             : geluErf(e, x);
}
static Value quickGelu(Expr e, Value x, LowerContext &ctx) {
  Value alpha = e.constant(x.getType(), ctx.node.getFloat("alpha", 1.702f));
  return e.mul(x, e.sigmoid(e.mul(alpha, x)));
}
static Value swish(Expr e, Value x, LowerContext &ctx) {
  Value alpha = e.constant(x.getType(), ctx.node.getFloat("alpha", 1));
  return e.mul(x, e.sigmoid(e.mul(alpha, x)));
}
static Value thresholdedRelu(Expr e, Value x, LowerContext &ctx) {
  Type t = x.getType();
  Value alpha = e.constant(t, ctx.node.getFloat("alpha", 1));
  return e.select(e.cmpf(arith::CmpFPredicate::OGT, x, alpha), x,
                  e.constant(t, 0));
}

/// Relu, Abs, Neg and Sign take integers too.
static LogicalResult lowerSimple(LowerContext &ctx) {
  Value x = ctx.input(0);
  StringRef op = ctx.node.getOp();
  bool isUnsigned = ctx.isUnsigned(0);
  return finish(
      ctx,
      elementwise(
          ctx, x, elementOf(x),
          [&](OpBuilder &b, Location loc, ValueRange args) -> Value {
            Expr e{b, loc};
            Value v = args[0];
            Type t = v.getType();
            bool isFloat = llvm::isa<FloatType>(t);
            Value zero = e.constant(t, 0);
            if (op == "Relu")
              return isUnsigned ? v : e.maximum(v, zero, false);
            if (op == "Neg")
              return isFloat ? e.neg(v) : e.sub(zero, v);
            if (op == "Abs") {
              if (isFloat)
                return math::AbsFOp::create(b, loc, v);
              if (isUnsigned)
                return v;
              Value negative = e.cmpi(arith::CmpIPredicate::slt, v, zero);
              return e.select(negative, e.sub(zero, v), v);
            }
            // Sign; that of NaN is NaN as in the reference.
            Value one = e.constant(t, 1);
            if (!isFloat) {
              Value positive = isUnsigned
                                   ? e.cmpi(arith::CmpIPredicate::ne, v, zero)
                                   : e.cmpi(arith::CmpIPredicate::sgt, v, zero);
              Value negative =
                  isUnsigned
                      ? zero
                      : e.select(e.cmpi(arith::CmpIPredicate::slt, v, zero),
                                 e.constant(t, -1), zero);
              return e.select(positive, one, negative);
            }
            Value above = e.cmpf(arith::CmpFPredicate::OGT, v, zero);
            Value below = e.cmpf(arith::CmpFPredicate::OLT, v, zero);
            Value equal = e.cmpf(arith::CmpFPredicate::OEQ, v, zero);
            Value rest = e.select(equal, zero, v);
            rest = e.select(below, e.constant(t, -1), rest);
            return e.select(above, one, rest);
          }));
}

static LogicalResult lowerIdentity(LowerContext &ctx) {
  ctx.results[0] = ctx.input(0);
  return success();
}

/// At inference a dropout is the identity and its mask all true.
static LogicalResult lowerDropout(LowerContext &ctx) {
  std::optional<SmallVector<int64_t>> training = ctx.constantInts(2);
  if ((ctx.input(2) &&
       (!training || training->empty() || training->front() != 0)) ||
      (ctx.node.getVersion() < 7 && ctx.node.getInt("is_test", 0) == 0))
    return ctx.unsupported("training mode");
  ctx.results[0] = ctx.input(0);
  if (ctx.node.getNumResults() > 1 && ctx.isUsed(1)) {
    Value yes = arith::ConstantOp::create(ctx.builder, ctx.loc,
                                          ctx.builder.getI8IntegerAttr(1));
    ctx.results[1] = filledTensor(ctx, ctx.sizes(ctx.input(0)), yes);
  }
  return success();
}

static LogicalResult lowerIsNaN(LowerContext &ctx) {
  Value x = ctx.input(0);
  bool inf = ctx.node.getOp() == "IsInf";
  bool positive = ctx.node.getInt("detect_positive", 1) != 0;
  bool negative = ctx.node.getInt("detect_negative", 1) != 0;
  return finish(
      ctx,
      elementwise(
          ctx, x, ctx.builder.getI8Type(),
          [&](OpBuilder &b, Location loc, ValueRange args) -> Value {
            Expr e{b, loc};
            Value v = args[0];
            if (!inf)
              return e.cmpf(arith::CmpFPredicate::UNO, v, v);
            double infinity = std::numeric_limits<double>::infinity();
            Value no = arith::ConstantOp::create(b, loc, b.getBoolAttr(false));
            Value up = positive ? e.cmpf(arith::CmpFPredicate::OEQ, v,
                                         e.constant(v.getType(), infinity))
                                : no;
            Value down = negative ? e.cmpf(arith::CmpFPredicate::OEQ, v,
                                           e.constant(v.getType(), -infinity))
                                  : no;
            return arith::OrIOp::create(b, loc, up, down);
          }));
}

//===----------------------------------------------------------------------===//
// Two operands
//===----------------------------------------------------------------------===//

static Value divideInt(Expr e, Value l, Value r, bool isUnsigned,
                       bool remainder) {
  Type t = l.getType();
  Value zero = e.constant(t, 0), one = e.constant(t, 1);
  // Division by zero and the one overflow must not trap.
  Value bad = e.cmpi(arith::CmpIPredicate::eq, r, zero);
  if (isUnsigned) {
    Value safe = e.select(bad, one, r);
    if (remainder)
      return arith::RemUIOp::create(e.b, e.loc, l, safe);
    return e.select(bad, zero, arith::DivUIOp::create(e.b, e.loc, l, safe));
  }
  Value minusOne = e.constant(t, -1);
  Value isMinusOne = e.cmpi(arith::CmpIPredicate::eq, r, minusOne);
  Value any = arith::OrIOp::create(e.b, e.loc, bad, isMinusOne);
  Value safe = e.select(any, one, r);
  if (remainder)
    return e.select(any, zero, arith::RemSIOp::create(e.b, e.loc, l, safe));
  Value quotient = arith::DivSIOp::create(e.b, e.loc, l, safe);
  quotient = e.select(isMinusOne, e.sub(zero, l), quotient);
  return e.select(bad, zero, quotient);
}

static Value modulo(Expr e, Value l, Value r, bool isUnsigned, bool fmod) {
  if (llvm::isa<FloatType>(l.getType())) {
    Value m = arith::RemFOp::create(e.b, e.loc, l, r);
    if (fmod)
      return m;
    // A zero has the sign of the divisor; so has every other remainder.
    using P = arith::CmpFPredicate;
    Value zero = e.constant(l.getType(), 0);
    Value rNegative = e.cmpf(P::OLT, r, zero);
    Value differ =
        arith::XOrIOp::create(e.b, e.loc, e.cmpf(P::OLT, m, zero), rNegative);
    Value signedZero = e.select(rNegative, e.constant(l.getType(), -0.0), zero);
    return e.select(e.cmpf(P::OEQ, m, zero), signedZero,
                    e.select(differ, e.add(m, r), m));
  }
  Value m = divideInt(e, l, r, isUnsigned, /*remainder=*/true);
  if (isUnsigned || fmod)
    return m;
  // Sign of the divisor, as Python does.
  Value zero = e.constant(l.getType(), 0);
  Value nonZero = e.cmpi(arith::CmpIPredicate::ne, m, zero);
  Value mNegative = e.cmpi(arith::CmpIPredicate::slt, m, zero);
  Value rNegative = e.cmpi(arith::CmpIPredicate::slt, r, zero);
  Value differ = arith::XOrIOp::create(e.b, e.loc, mNegative, rNegative);
  Value fix = arith::AndIOp::create(e.b, e.loc, nonZero, differ);
  return e.select(fix, e.add(m, r), m);
}

static LogicalResult lowerArith(LowerContext &ctx) {
  StringRef op = ctx.node.getOp();
  bool isUnsigned = ctx.isUnsigned(0);
  bool fmod = ctx.node.getInt("fmod", 0) != 0;
  Type type = elementOf(ctx.input(0));
  if (elementOf(ctx.input(1)) != type)
    return ctx.unsupported("its inputs differ in element type");
  return finish(
      ctx, elementwise(ctx, ctx.inputs, type,
                       [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                         Expr e{b, loc};
                         if (op == "Add")
                           return e.add(a[0], a[1]);
                         if (op == "Sub")
                           return e.sub(a[0], a[1]);
                         if (op == "Mul")
                           return e.mul(a[0], a[1]);
                         if (op == "Mod")
                           return modulo(e, a[0], a[1], isUnsigned, fmod);
                         if (llvm::isa<FloatType>(type))
                           return e.divf(a[0], a[1]);
                         return divideInt(e, a[0], a[1], isUnsigned, false);
                       }));
}

static Value power(Expr e, Value x, Value y, std::optional<double> constant) {
  Type t = x.getType();
  if (constant == 2.0)
    return e.mul(x, x);
  if (constant == 3.0)
    return e.mul(e.mul(x, x), x);
  if (constant == 1.0)
    return x;
  if (constant == 0.0)
    return e.constant(t, 1);
  if (constant == -1.0)
    return e.divf(e.constant(t, 1), x);
  // pow(-inf, 0.5) is +inf and pow(-0, 0.5) is +0, unlike the square root;
  // the absolute value covers both: |sqrt(x)| of other negatives is NaN.
  if (constant == 0.5) {
    Value root = math::SqrtOp::create(e.b, e.loc, x);
    Value low = e.constant(t, -std::numeric_limits<double>::infinity());
    Value isLow = e.cmpf(arith::CmpFPredicate::OEQ, x, low);
    Value high = e.constant(t, std::numeric_limits<double>::infinity());
    return e.select(isLow, high, math::AbsFOp::create(e.b, e.loc, root));
  }
  return math::PowFOp::create(e.b, e.loc, x, y);
}

static LogicalResult lowerPow(LowerContext &ctx) {
  Type type = elementOf(ctx.input(0));
  Type exponentType = elementOf(ctx.input(1));
  bool exponentUnsigned = ctx.isUnsigned(1), baseUnsigned = ctx.isUnsigned(0);
  std::optional<double> constant;
  if (auto values = ctx.constantFloats(1))
    if (!values->empty() && llvm::all_equal(*values))
      constant = values->front();
  return finish(
      ctx, elementwise(ctx, ctx.inputs, type,
                       [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                         Expr e{b, loc};
                         // Integers go through float64, exact up to 2^53.
                         Type wide = llvm::isa<FloatType>(type)
                                         ? (type.isF64() || exponentType.isF64()
                                                ? Type(b.getF64Type())
                                                : Type(b.getF32Type()))
                                         : Type(b.getF64Type());
                         Value x = castElement(b, loc, a[0], wide, baseUnsigned,
                                               false);
                         Value y = castElement(b, loc, a[1], wide,
                                               exponentUnsigned, false);
                         return castElement(b, loc, power(e, x, y, constant),
                                            type, false, baseUnsigned);
                       }));
}

static LogicalResult lowerCompare(LowerContext &ctx) {
  StringRef op = ctx.node.getOp();
  bool isUnsigned = ctx.isUnsigned(0);
  Type type = elementOf(ctx.input(0));
  if (elementOf(ctx.input(1)) != type)
    return ctx.unsupported("its inputs differ in element type");
  return finish(
      ctx, elementwise(ctx, ctx.inputs, ctx.builder.getI8Type(),
                       [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                         Expr e{b, loc};
                         using F = arith::CmpFPredicate;
                         using I = arith::CmpIPredicate;
                         if (llvm::isa<FloatType>(type)) {
                           F p = op == "Equal"         ? F::OEQ
                                 : op == "Less"        ? F::OLT
                                 : op == "LessOrEqual" ? F::OLE
                                 : op == "Greater"     ? F::OGT
                                                       : F::OGE;
                           return e.cmpf(p, a[0], a[1]);
                         }
                         I p = op == "Equal"  ? I::eq
                               : op == "Less" ? (isUnsigned ? I::ult : I::slt)
                               : op == "LessOrEqual"
                                   ? (isUnsigned ? I::ule : I::sle)
                               : op == "Greater"
                                   ? (isUnsigned ? I::ugt : I::sgt)
                                   : (isUnsigned ? I::uge : I::sge);
                         return e.cmpi(p, a[0], a[1]);
                       }));
}

static LogicalResult lowerLogic(LowerContext &ctx) {
  StringRef op = ctx.node.getOp();
  return finish(
      ctx, elementwise(ctx, ctx.inputs, ctx.builder.getI8Type(),
                       [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                         Value l = toCondition(b, loc, a[0]);
                         if (op == "Not") {
                           Value yes = arith::ConstantOp::create(
                               b, loc, b.getBoolAttr(true));
                           return arith::XOrIOp::create(b, loc, l, yes);
                         }
                         Value r = toCondition(b, loc, a[1]);
                         if (op == "And")
                           return arith::AndIOp::create(b, loc, l, r);
                         if (op == "Or")
                           return arith::OrIOp::create(b, loc, l, r);
                         return arith::XOrIOp::create(b, loc, l, r);
                       }));
}

static LogicalResult lowerBitwise(LowerContext &ctx) {
  StringRef op = ctx.node.getOp();
  bool left = ctx.node.getString("direction", "") == "LEFT";
  bool isUnsigned = ctx.isUnsigned(0);
  Type type = elementOf(ctx.input(0));
  return finish(
      ctx, elementwise(
               ctx, ctx.inputs, type,
               [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                 Expr e{b, loc};
                 if (op == "BitwiseNot")
                   return arith::XOrIOp::create(b, loc, a[0],
                                                e.constant(type, -1));
                 if (op == "BitwiseAnd")
                   return arith::AndIOp::create(b, loc, a[0], a[1]);
                 if (op == "BitwiseOr")
                   return arith::OrIOp::create(b, loc, a[0], a[1]);
                 if (op == "BitwiseXor")
                   return arith::XOrIOp::create(b, loc, a[0], a[1]);
                 // A shift by the width or more, or by a negative number,
                 // leaves copies of the sign (or zero), not poison.
                 unsigned bits = type.getIntOrFloatBitWidth();
                 Value width = e.constant(type, bits);
                 Value fits = e.cmpi(arith::CmpIPredicate::ult, a[1], width);
                 Value zero = e.constant(type, 0);
                 if (!left && !isUnsigned)
                   return arith::ShRSIOp::create(
                       b, loc, a[0],
                       e.select(fits, a[1], e.constant(type, bits - 1)));
                 Value amount = e.select(fits, a[1], zero);
                 Value shifted =
                     left ? Value(arith::ShLIOp::create(b, loc, a[0], amount))
                          : Value(arith::ShRUIOp::create(b, loc, a[0], amount));
                 return e.select(fits, shifted, zero);
               }));
}

//===----------------------------------------------------------------------===//
// Many operands
//===----------------------------------------------------------------------===//

static LogicalResult lowerVariadic(LowerContext &ctx) {
  StringRef op = ctx.node.getOp();
  bool isUnsigned = ctx.isUnsigned(0);
  Type type = elementOf(ctx.input(0));
  // Two at a time: broadcasting is associative, and so is the reference.
  Value result = ctx.input(0);
  for (size_t i = 1; i < ctx.inputs.size() && result; ++i)
    result =
        elementwise(ctx, {result, ctx.inputs[i]}, type,
                    [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                      Expr e{b, loc};
                      if (op == "Max")
                        return e.maximum(a[0], a[1], isUnsigned);
                      if (op == "Min")
                        return e.minimum(a[0], a[1], isUnsigned);
                      return e.add(a[0], a[1]);
                    });
  if (result && op == "Mean") {
    double count = ctx.inputs.size();
    result = elementwise(ctx, result, type,
                         [&](OpBuilder &b, Location loc, ValueRange a) {
                           Expr e{b, loc};
                           return e.divf(a[0], e.constant(type, count));
                         });
  }
  return finish(ctx, result);
}

static LogicalResult lowerWhere(LowerContext &ctx) {
  Type type = elementOf(ctx.input(1));
  return finish(
      ctx, elementwise(ctx, ctx.inputs, type,
                       [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                         return arith::SelectOp::create(
                             b, loc, toCondition(b, loc, a[0]), a[1], a[2]);
                       }));
}

static LogicalResult lowerClip(LowerContext &ctx) {
  Type type = elementOf(ctx.input(0));
  bool isUnsigned = ctx.isUnsigned(0);
  bool attrs = ctx.node.getVersion() < 11;
  Value low = attrs ? Value() : ctx.input(1),
        high = attrs ? Value() : ctx.input(2);
  SmallVector<Value> operands{ctx.input(0)};
  for (Value bound : {low, high})
    if (bound)
      operands.push_back(bound);
  return finish(
      ctx, elementwise(ctx, operands, type,
                       [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                         Expr e{b, loc};
                         Value v = a[0];
                         unsigned next = 1;
                         if (low)
                           v = e.maximum(v, a[next++], isUnsigned);
                         else if (attrs && ctx.node.getNodeAttr("min"))
                           v = e.maximum(
                               v, e.constant(type, ctx.node.getFloat("min", 0)),
                               isUnsigned);
                         if (high)
                           v = e.minimum(v, a[next++], isUnsigned);
                         else if (attrs && ctx.node.getNodeAttr("max"))
                           v = e.minimum(
                               v, e.constant(type, ctx.node.getFloat("max", 0)),
                               isUnsigned);
                         return v;
                       }));
}

static LogicalResult lowerPRelu(LowerContext &ctx) {
  Type type = elementOf(ctx.input(0));
  return finish(
      ctx, elementwise(ctx, ctx.inputs, type,
                       [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                         Expr e{b, loc};
                         Value zero = e.constant(type, 0);
                         Value negative =
                             llvm::isa<FloatType>(type)
                                 ? e.cmpf(arith::CmpFPredicate::OLT, a[0], zero)
                                 : e.cmpi(arith::CmpIPredicate::slt, a[0],
                                          zero);
                         return e.select(negative, e.mul(a[0], a[1]), a[0]);
                       }));
}

static LogicalResult lowerCast(LowerContext &ctx) {
  RankedTensorType result = ctx.resultType(0);
  if (!result)
    return ctx.unsupported("the target type has no native form");
  auto declared = llvm::dyn_cast<ShapedType>(ctx.node.getResult(0).getType());
  Type target =
      declared ? declared.getElementType() : ctx.symOutput(0).elementType;
  bool toBool = target.isInteger(1), toUnsigned = target.isUnsignedInteger();
  bool fromUnsigned = ctx.isUnsigned(0), fromBool = isBool(ctx, 0);
  if (elementOf(ctx.input(0)) == result.getElementType() &&
      toBool == fromBool) {
    ctx.results[0] = ctx.input(0);
    return success();
  }
  return finish(
      ctx, elementwise(ctx, ctx.input(0), result.getElementType(),
                       [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                         Expr e{b, loc};
                         if (!toBool)
                           return castElement(b, loc, a[0],
                                              result.getElementType(),
                                              fromUnsigned, toUnsigned);
                         Value zero = e.constant(a[0].getType(), 0);
                         if (llvm::isa<FloatType>(a[0].getType()))
                           return e.cmpf(arith::CmpFPredicate::UNE, a[0], zero);
                         return e.cmpi(arith::CmpIPredicate::ne, a[0], zero);
                       }));
}

//===----------------------------------------------------------------------===//
// com.microsoft
//===----------------------------------------------------------------------===//

/// BiasGelu, FastGelu and BiasSplitGelu-like: an optional bias, then GELU.
template <bool tanh> static LogicalResult lowerBiasGelu(LowerContext &ctx) {
  SmallVector<Value> operands{ctx.input(0)};
  if (ctx.input(1))
    operands.push_back(ctx.input(1));
  return finish(ctx, elementwise(ctx, operands, elementOf(ctx.input(0)),
                                 [&](OpBuilder &b, Location loc, ValueRange a) {
                                   Expr e{b, loc};
                                   Value x = a.size() > 1 ? e.add(a[0], a[1])
                                                          : Value(a[0]);
                                   return computeWide(b, loc, x, [&](Value w) {
                                     return tanh ? geluTanh(e, w)
                                                 : geluErf(e, w);
                                   });
                                 }));
}

FFN_REGISTER_OPS(ElementwiseLower) {
  auto add = [&](StringRef name, LowerFn fn) {
    table.addLower("", name, 1, fn);
  };
  add("Sqrt", unary<mathOp<math::SqrtOp>>);
  add("Exp", unary<mathOp<math::ExpOp>>);
  add("Log", unary<mathOp<math::LogOp>>);
  add("Erf", unary<mathOp<math::ErfOp>>);
  add("Tanh", unary<mathOp<math::TanhOp>>);
  add("Sin", unary<mathOp<math::SinOp>>);
  add("Cos", unary<mathOp<math::CosOp>>);
  add("Tan", unary<mathOp<math::TanOp>>);
  add("Asin", unary<mathOp<math::AsinOp>>);
  add("Acos", unary<mathOp<math::AcosOp>>);
  add("Atan", unary<mathOp<math::AtanOp>>);
  add("Sinh", unary<mathOp<math::SinhOp>>);
  add("Cosh", unary<mathOp<math::CoshOp>>);
  add("Asinh", unary<mathOp<math::AsinhOp>>);
  add("Acosh", unary<mathOp<math::AcoshOp>>);
  add("Atanh", unary<mathOp<math::AtanhOp>>);
  add("Floor", unary<mathOp<math::FloorOp>>);
  add("Ceil", unary<mathOp<math::CeilOp>>);
  add("Round", unary<mathOp<math::RoundEvenOp>>);
  add("Reciprocal", unary<reciprocal>);
  add("Sigmoid", unary<sigmoid>);
  add("LeakyRelu", unary<leakyRelu>);
  add("Elu", unary<elu>);
  add("Selu", unary<selu>);
  add("Celu", unary<celu>);
  add("Softplus", unary<softplus>);
  add("Softsign", unary<softsign>);
  add("HardSigmoid", unary<hardSigmoid>);
  add("HardSwish", unary<hardSwish>);
  add("Mish", unary<mish>);
  add("Gelu", unary<gelu>);
  add("Swish", unary<swish>);
  add("ThresholdedRelu", unary<thresholdedRelu>);
  for (StringRef name : {"Relu", "Neg", "Abs", "Sign"})
    add(name, lowerSimple);
  add("Identity", lowerIdentity);
  add("Dropout", lowerDropout);
  add("IsNaN", lowerIsNaN);
  add("IsInf", lowerIsNaN);
  // Before opset 7 broadcasting was an attribute.
  for (StringRef name : {"Add", "Sub", "Mul", "Div", "Mod"})
    table.addLower("", name, name == "Mod" ? 10 : 7, lowerArith);
  table.addLower("", "Pow", 7, lowerPow);
  for (StringRef name :
       {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"})
    table.addLower("", name, 7, lowerCompare);
  for (StringRef name : {"And", "Or", "Xor"})
    table.addLower("", name, 7, lowerLogic);
  add("Not", lowerLogic);
  for (StringRef name :
       {"BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"})
    add(name, lowerBitwise);
  for (StringRef name : {"Max", "Min", "Sum", "Mean"})
    table.addLower("", name, 8, lowerVariadic);
  add("Where", lowerWhere);
  add("Clip", lowerClip);
  add("PRelu", lowerPRelu);
  add("Cast", lowerCast);
  add("CastLike", lowerCast);
  table.addLower("com.microsoft", "Gelu", 1, unary<gelu>);
  table.addLower("com.microsoft", "QuickGelu", 1, unary<quickGelu>);
  table.addLower("com.microsoft", "BiasGelu", 1, lowerBiasGelu<false>);
  table.addLower("com.microsoft", "FastGelu", 1, lowerBiasGelu<true>);
}
