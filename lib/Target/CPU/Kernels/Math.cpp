//===- Math.cpp - Functions as polynomials --------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// No step depends on the width of the vector, so that an element has the same
// bits wherever it stands in its row. Conversions to integer go through the
// bits of a sum with 1.5 * 2^23, because LLVM's conversion of NaN is poison.
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Math/IR/Math.h"
#include "ffn-mlir/Target/CPU/Kernels.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

namespace {
/// Arithmetic on f32, scalar or vector, as the operand is.
struct Emitter {
  ImplicitLocOpBuilder b;
  Type type, intType;

  Emitter(OpBuilder &builder, Location loc, Value like)
      : b(loc, builder), type(like.getType()) {
    intType = b.getI32Type();
    if (auto vector = llvm::dyn_cast<VectorType>(type))
      intType = vector.clone(intType);
  }

  Value constant(float value) {
    return constantOf(type, b.getF32FloatAttr(value));
  }
  Value integer(int32_t value) {
    return constantOf(intType, b.getI32IntegerAttr(value));
  }
  Value constantOf(Type like, TypedAttr value) {
    if (auto vector = llvm::dyn_cast<VectorType>(like))
      value = DenseElementsAttr::get(vector, value);
    return arith::ConstantOp::create(b, value);
  }
  Value fma(Value x, Value y, Value z) {
    return math::FmaOp::create(b, x, y, z);
  }
  Value fma(Value x, Value y, float z) { return fma(x, y, constant(z)); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, x, y); }
  Value mul(Value x, float y) { return mul(x, constant(y)); }
  Value add(Value x, Value y) { return arith::AddFOp::create(b, x, y); }
  Value sub(Value x, Value y) { return arith::SubFOp::create(b, x, y); }
  Value div(Value x, Value y) { return arith::DivFOp::create(b, x, y); }
  Value neg(Value x) { return arith::NegFOp::create(b, x); }
  Value abs(Value x) { return math::AbsFOp::create(b, x); }
  Value copySign(Value x, Value sign) {
    return math::CopySignOp::create(b, x, sign);
  }
  Value select(arith::CmpFPredicate predicate, Value x, Value y, Value yes,
               Value no) {
    Value condition = arith::CmpFOp::create(b, predicate, x, y);
    return arith::SelectOp::create(b, condition, yes, no);
  }
  Value bits(Value x) { return arith::BitcastOp::create(b, intType, x); }

  /// 2^n for n in [-126, 127], an integer.
  Value powerOfTwo(Value n) {
    Value biased = arith::AddIOp::create(b, n, integer(127));
    Value shifted = arith::ShLIOp::create(b, biased, integer(23));
    return arith::BitcastOp::create(b, type, shifted);
  }

  Value exp(Value x) {
    // NaN compares false and stays itself through both clamps. At the upper
    // one the result overflows, at the lower one it rounds to zero.
    Value high = constant(89.0f), low = constant(-104.0f);
    x = select(arith::CmpFPredicate::OGT, x, high, high, x);
    x = select(arith::CmpFPredicate::OLT, x, low, low, x);
    Value magic = constant(12582912.0f);
    Value shifted = fma(x, constant(1.44269504f), magic);
    Value n = sub(shifted, magic);
    Value r = fma(n, constant(-0.693359375f), x);
    r = fma(n, constant(2.12194440e-4f), r);
    Value p = constant(1.9875691500e-4f);
    p = fma(p, r, 1.3981999507e-3f);
    p = fma(p, r, 8.3334519073e-3f);
    p = fma(p, r, 4.1665795894e-2f);
    p = fma(p, r, 1.6666665459e-1f);
    p = fma(p, r, 5.0000001201e-1f);
    p = fma(p, mul(r, r), r);
    p = add(p, constant(1.0f));
    // Two factors: 2^n itself leaves the normal range at both ends.
    Value i = arith::SubIOp::create(b, bits(shifted), bits(magic));
    Value half = arith::ShRSIOp::create(b, i, integer(1));
    Value rest = arith::SubIOp::create(b, i, half);
    return mul(mul(p, powerOfTwo(half)), powerOfTwo(rest));
  }

  Value tanh(Value x) {
    Value t = abs(x), s = mul(x, x);
    Value p = constant(-5.70498872745e-3f);
    p = fma(p, s, 2.06390887954e-2f);
    p = fma(p, s, -5.37397155531e-2f);
    p = fma(p, s, 1.33314422036e-1f);
    p = fma(p, s, -3.33332819422e-1f);
    Value small = fma(mul(p, s), x, x);
    Value e = exp(add(t, t));
    Value large =
        sub(constant(1.0f), div(constant(2.0f), add(e, constant(1.0f))));
    return select(arith::CmpFPredicate::OLT, t, constant(0.625f), small,
                  copySign(large, x));
  }

  /// erf(x) where |x| is up to 0.93.
  Value erfSmall(Value x) {
    Value s = mul(x, x);
    Value p = constant(-5.96761703e-4f);
    p = fma(p, s, 4.99119423e-3f);
    p = fma(p, s, -2.67681349e-2f);
    p = fma(p, s, 1.12819925e-1f);
    p = fma(p, s, -3.76125336e-1f);
    p = fma(p, s, 1.28379166e-1f);
    return fma(p, x, x);
  }
  /// erfc(t) where t is above 0.92.
  Value erfcLarge(Value t) {
    Value s = mul(t, t);
    Value p = fma(constant(-1.72853470e-5f), t, 3.83197126e-4f);
    Value u = fma(constant(-3.88396438e-3f), t, 2.42546219e-2f);
    p = fma(p, s, u);
    p = fma(p, t, -1.06777877e-1f);
    p = fma(p, t, -6.34846687e-1f);
    p = fma(p, t, -1.28717512e-1f);
    return exp(fma(p, t, neg(t)));
  }
  static constexpr float kErfSplit = 0.927734375f;

  Value erf(Value x) {
    Value t = abs(x);
    Value large = copySign(sub(constant(1.0f), erfcLarge(t)), x);
    return select(arith::CmpFPredicate::OGT, t, constant(kErfSplit), large,
                  erfSmall(x));
  }

  /// x Phi(x). The tail of Phi is taken from erfc, not from 1 - erf, which
  /// would leave no correct digit there.
  Value geluErf(Value x) {
    Value scaled = mul(x, 0.707106781f);
    Value t = abs(scaled);
    Value one = constant(1.0f), half = constant(0.5f);
    Value complement = select(arith::CmpFPredicate::OGT, t, constant(kErfSplit),
                              erfcLarge(t), sub(one, erfSmall(t)));
    Value tail = mul(complement, half);
    Value phi = select(arith::CmpFPredicate::OLT, x, constant(0.0f), tail,
                       sub(one, tail));
    return mul(x, phi);
  }

  Value sigmoid(Value x) { return gated(constant(1.0f), x); }
  /// x sigmoid(y), from exp(-|y|), which cannot overflow.
  Value gated(Value x, Value y) {
    Value e = exp(neg(abs(y)));
    Value top =
        select(arith::CmpFPredicate::OLT, y, constant(0.0f), mul(x, e), x);
    return div(top, add(constant(1.0f), e));
  }

  Value activation(Activation kind, Value x) {
    switch (kind) {
    case Activation::Identity:
      return x;
    case Activation::Relu:
      return arith::MaximumFOp::create(b, x, constant(0.0f));
    case Activation::SquaredRelu: {
      Value y = arith::MaximumFOp::create(b, x, constant(0.0f));
      return mul(y, y);
    }
    case Activation::GeluErf:
      return geluErf(x);
    case Activation::GeluTanh: {
      // 0.5 (1 + tanh(u)) = sigmoid(2 u)
      Value cubic = fma(mul(mul(x, x), 0.0713548163f), x, mul(x, 1.59576912f));
      return gated(x, cubic);
    }
    case Activation::GeluSigmoid:
      return gated(x, mul(x, 1.702f));
    case Activation::Silu:
      return gated(x, x);
    case Activation::Sigmoid:
      return sigmoid(x);
    case Activation::Tanh:
      return tanh(x);
    }
    return x;
  }
};

/// math op on f32 or a vector of f32 -> the sequence above.
template <typename Op, Value (*build)(OpBuilder &, Location, Value)>
struct ToPolynomial : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;
  LogicalResult matchAndRewrite(Op op,
                                PatternRewriter &rewriter) const override {
    if (!getElementTypeOrSelf(op.getType()).isF32() ||
        !llvm::isa<FloatType, VectorType>(op.getType()))
      return failure();
    rewriter.replaceOp(op, build(rewriter, op.getLoc(), op.getOperand()));
    return success();
  }
};
} // namespace

Value cpu::buildExp(OpBuilder &builder, Location loc, Value x) {
  return Emitter(builder, loc, x).exp(x);
}
Value cpu::buildErf(OpBuilder &builder, Location loc, Value x) {
  return Emitter(builder, loc, x).erf(x);
}
Value cpu::buildTanh(OpBuilder &builder, Location loc, Value x) {
  return Emitter(builder, loc, x).tanh(x);
}
Value cpu::buildActivation(OpBuilder &builder, Location loc,
                           Activation activation, Value x) {
  return Emitter(builder, loc, x).activation(activation, x);
}

void cpu::populateMathToPolynomialPatterns(RewritePatternSet &patterns) {
  patterns.add<ToPolynomial<math::ExpOp, buildExp>,
               ToPolynomial<math::ErfOp, buildErf>,
               ToPolynomial<math::TanhOp, buildTanh>>(patterns.getContext());
}
