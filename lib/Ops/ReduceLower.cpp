//===- ReduceLower.cpp - Lowering of reductions and normalisations --------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/LowerHelpers.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include <limits>

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Reduce*
//===----------------------------------------------------------------------===//

static Value wideOf(OpBuilder &b, Location loc, Value v) {
  Type type = v.getType();
  if (type.isF16() || type.isBF16())
    return arith::ExtFOp::create(b, loc, b.getF32Type(), v);
  return v;
}

static Value limitOf(OpBuilder &b, Location loc, Type type, bool highest,
                     bool isUnsigned) {
  if (llvm::isa<FloatType>(type)) {
    double inf = std::numeric_limits<double>::infinity();
    return constantOf(b, loc, type, highest ? inf : -inf);
  }
  unsigned width = type.getIntOrFloatBitWidth();
  APInt value = isUnsigned ? (highest ? APInt::getMaxValue(width)
                                      : APInt::getMinValue(width))
                           : (highest ? APInt::getSignedMaxValue(width)
                                      : APInt::getSignedMinValue(width));
  return arith::ConstantOp::create(b, loc, b.getIntegerAttr(type, value));
}

static LogicalResult lowerReduce(LowerContext &ctx) {
  StringRef op = ctx.node.getOp();
  Value x = ctx.input(0);
  OpBuilder &b = ctx.builder;
  int64_t rank = rankOf(x);
  SmallVector<int64_t> axes;
  bool given = false;
  if (std::optional<ArrayRef<int64_t>> attr = ctx.node.getInts("axes")) {
    axes.assign(attr->begin(), attr->end());
    given = !axes.empty();
  } else if (ctx.input(1)) {
    std::optional<SmallVector<int64_t>> values = ctx.constantInts(1);
    if (!values)
      return ctx.unsupported("its axes are not constant");
    axes = *values;
    given = !axes.empty();
  }
  if (!given && ctx.node.getInt("noop_with_empty_axes", 0) == 0) {
    axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  } else if (!given) {
    // No axis is reduced, but what is done to each element still is; of one
    // element the other operators, LogSumExp too, are the element.
    if (op != "ReduceSumSquare" && op != "ReduceL1" && op != "ReduceL2" &&
        op != "ReduceLogSum") {
      ctx.results[0] = x;
      return success();
    }
    axes.clear();
  }
  for (int64_t &axis : axes) {
    std::optional<int64_t> positive = positiveAxis(axis, rank);
    if (!positive)
      return ctx.unsupported("its axis is out of range");
    axis = *positive;
  }
  bool keep = ctx.node.getInt("keepdims", 1) != 0;
  bool isUnsigned = ctx.isUnsigned(0);
  Type type = elementOf(x);
  bool isFloat = llvm::isa<FloatType>(type);
  bool isMax = op == "ReduceMax", isMin = op == "ReduceMin",
       isProd = op == "ReduceProd";
  Type wide = type.isF16() || type.isBF16() ? Type(b.getF32Type()) : type;
  if (!isMax && !isMin && !isProd)
    wide = sumType(ctx, x, axes);
  if (!isFloat && (op == "ReduceLogSum" || op == "ReduceLogSumExp" ||
                   op == "ReduceL2" || op == "ReduceMean"))
    return ctx.unsupported("only floating-point inputs are supported");

  Value max;
  if (op == "ReduceLogSumExp") {
    max = reduce(ctx, x, axes, true, limitOf(b, ctx.loc, type, false, false),
                 nullptr, [](OpBuilder &b, Location loc, Value e, Value m) {
                   return arith::MaximumFOp::create(b, loc, m, e);
                 });
    // Infinities are not subtracted from themselves.
    max = elementwise(
        ctx, max, type, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
          Value isInfinite =
              arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OEQ,
                                    math::AbsFOp::create(b, loc, a[0]),
                                    limitOf(b, loc, type, true, false));
          return arith::SelectOp::create(b, loc, isInfinite,
                                         zeroOf(b, loc, type), a[0]);
        });
    x = elementwise(ctx, {x, max}, type,
                    [](OpBuilder &b, Location loc, ValueRange a) {
                      return arith::SubFOp::create(b, loc, a[0], a[1]);
                    });
  }
  Value init = isMax    ? limitOf(b, ctx.loc, wide, false, isUnsigned)
               : isMin  ? limitOf(b, ctx.loc, wide, true, isUnsigned)
               : isProd ? constantOf(b, ctx.loc, wide, 1)
                        : zeroOf(b, ctx.loc, wide);
  auto prepare = [&](OpBuilder &b, Location loc, Value e) -> Value {
    // exp in f32 at most: only the sum needs the longer type.
    if (op == "ReduceLogSumExp")
      e = math::ExpOp::create(b, loc, wideOf(b, loc, e));
    if (e.getType() != wide)
      e = arith::ExtFOp::create(b, loc, wide, e);
    if (op == "ReduceSumSquare" || op == "ReduceL2")
      return isFloat ? Value(arith::MulFOp::create(b, loc, e, e))
                     : Value(arith::MulIOp::create(b, loc, e, e));
    if (op == "ReduceL1") {
      if (isFloat)
        return math::AbsFOp::create(b, loc, e);
      return isUnsigned ? e : Value(math::AbsIOp::create(b, loc, e));
    }
    return e;
  };
  auto combine = [&](OpBuilder &b, Location loc, Value e, Value a) -> Value {
    if (isMax)
      return isFloat      ? Value(arith::MaximumFOp::create(b, loc, a, e))
             : isUnsigned ? Value(arith::MaxUIOp::create(b, loc, a, e))
                          : Value(arith::MaxSIOp::create(b, loc, a, e));
    if (isMin)
      return isFloat      ? Value(arith::MinimumFOp::create(b, loc, a, e))
             : isUnsigned ? Value(arith::MinUIOp::create(b, loc, a, e))
                          : Value(arith::MinSIOp::create(b, loc, a, e));
    if (isProd)
      return isFloat ? Value(arith::MulFOp::create(b, loc, a, e))
                     : Value(arith::MulIOp::create(b, loc, a, e));
    return isFloat ? Value(arith::AddFOp::create(b, loc, a, e))
                   : Value(arith::AddIOp::create(b, loc, a, e));
  };
  Value result = reduce(ctx, x, axes, keep, init, prepare, combine);
  bool after = op == "ReduceMean" || op == "ReduceL2" || op == "ReduceLogSum" ||
               op == "ReduceLogSumExp" || wide != type;
  if (after) {
    Value count;
    if (op == "ReduceMean") {
      Sizes sizes = ctx.sizes(x), reduced;
      for (int64_t axis : axes)
        reduced.push_back(sizes[axis]);
      Value n = arith::IndexCastOp::create(
          b, ctx.loc, b.getI64Type(), sizeValue(ctx, productOf(ctx, reduced)));
      count = arith::SIToFPOp::create(b, ctx.loc, wide, n);
    }
    SmallVector<Value> operands{result};
    if (max) {
      Value m = max;
      if (!keep) {
        Sizes sizes = ctx.sizes(result);
        m = reshapeTo(ctx, max, sizes);
      }
      operands.push_back(m);
    }
    result = elementwise(
        ctx, operands, type,
        [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
          Value v = a[0];
          if (op == "ReduceMean")
            v = arith::DivFOp::create(b, loc, v, count);
          if (op == "ReduceL2")
            v = math::SqrtOp::create(b, loc, v);
          // The long type was for the sum alone.
          if (wide != type && wide.isF64())
            v = arith::TruncFOp::create(b, loc, b.getF32Type(), v);
          if (op == "ReduceLogSum" || op == "ReduceLogSumExp")
            v = math::LogOp::create(b, loc, v);
          if (max)
            v = arith::AddFOp::create(b, loc, v, wideOf(b, loc, a[1]));
          return v.getType() == type
                     ? v
                     : Value(arith::TruncFOp::create(b, loc, type, v));
        });
  }
  ctx.results[0] = result;
  return success();
}

//===----------------------------------------------------------------------===//
// Softmax
//===----------------------------------------------------------------------===//

static LogicalResult lowerSoftmax(LowerContext &ctx) {
  Value x = ctx.input(0);
  bool log = ctx.node.getOp() == "LogSoftmax";
  bool old = ctx.node.getVersion() < 13;
  int64_t rank = rankOf(x);
  std::optional<int64_t> axis =
      positiveAxis(ctx.node.getInt("axis", old ? 1 : -1), rank);
  if (!axis || !llvm::isa<FloatType>(elementOf(x)))
    return ctx.unsupported("its axis is out of range");
  Sizes sizes = ctx.sizes(x);
  if (old && *axis != rank - 1) {
    // Before opset 13 the trailing dims are one.
    OpFoldResult head = productOf(ctx, ArrayRef(sizes).take_front(*axis));
    OpFoldResult tail = productOf(ctx, ArrayRef(sizes).drop_front(*axis));
    Value flat = reshapeTo(ctx, x, {head, tail});
    ctx.results[0] = reshapeTo(ctx, softmaxLast(ctx, flat, log), sizes);
    return success();
  }
  if (*axis == rank - 1) {
    ctx.results[0] = softmaxLast(ctx, x, log);
    return success();
  }
  SmallVector<int64_t> perm = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  std::swap(perm[*axis], perm.back());
  Value y = softmaxLast(ctx, transposeTo(ctx, x, perm), log);
  ctx.results[0] = transposeTo(ctx, y, perm);
  return success();
}

//===----------------------------------------------------------------------===//
// Normalisation
//===----------------------------------------------------------------------===//

static LogicalResult finishNorm(LowerContext &ctx, const NormResult &result) {
  if (!result.output)
    return ctx.unsupported("its scale does not broadcast");
  ctx.results[0] = result.output;
  if (ctx.results.size() > 1)
    ctx.results[1] = result.mean;
  if (ctx.results.size() > 2)
    ctx.results[2] = result.inverse;
  return success();
}

static LogicalResult lowerLayerNorm(LowerContext &ctx) {
  std::optional<int64_t> axis =
      positiveAxis(ctx.node.getInt("axis", -1), rankOf(ctx.input(0)));
  if (!axis)
    return ctx.unsupported("its axis is out of range");
  return finishNorm(
      ctx, normalize(ctx, ctx.input(0), *axis, ctx.input(1), ctx.input(2),
                     ctx.node.getFloat("epsilon", 1e-5f), false, false));
}

/// RMSNormalization and SimplifiedLayerNormalization: no mean, no bias.
static LogicalResult lowerRmsNorm(LowerContext &ctx) {
  std::optional<int64_t> axis =
      positiveAxis(ctx.node.getInt("axis", -1), rankOf(ctx.input(0)));
  if (!axis)
    return ctx.unsupported("its axis is out of range");
  NormResult norm = normalize(ctx, ctx.input(0), *axis, ctx.input(1), Value(),
                              ctx.node.getFloat("epsilon", 1e-5f), true, false);
  if (!norm.output)
    return ctx.unsupported("its scale does not broadcast");
  ctx.results[0] = norm.output;
  if (ctx.results.size() > 1)
    ctx.results[1] = norm.inverse;
  return success();
}

/// Skip(Simplified)LayerNormalization: norm of input + skip (+ bias).
template <bool rms> static LogicalResult lowerSkipNorm(LowerContext &ctx) {
  unsigned biasAt = rms ? 3 : 4;
  Value scale = ctx.input(2), beta = rms ? Value() : ctx.input(3);
  Value sum = ctx.input(0);
  SmallVector<Value> addends{ctx.input(1)};
  if (ctx.input(biasAt))
    addends.push_back(ctx.input(biasAt));
  for (Value addend : addends) {
    sum = elementwise(ctx, {sum, addend}, elementOf(sum),
                      [](OpBuilder &b, Location loc, ValueRange a) {
                        return arith::AddFOp::create(b, loc, a[0], a[1]);
                      });
    if (!sum)
      return ctx.unsupported("its inputs do not broadcast");
  }
  NormResult norm = normalize(ctx, sum, rankOf(sum) - 1, scale, beta,
                              ctx.node.getFloat("epsilon", 1e-12f), rms, false);
  if (!norm.output)
    return ctx.unsupported("its scale does not broadcast");
  ctx.results[0] = norm.output;
  if (ctx.results.size() > 1)
    ctx.results[1] = norm.mean;
  if (ctx.results.size() > 2)
    ctx.results[2] = norm.inverse;
  if (ctx.results.size() > 3)
    ctx.results[3] = sum;
  return success();
}

FFN_REGISTER_OPS(ReduceLower) {
  for (StringRef name : {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin",
                         "ReduceProd", "ReduceSumSquare", "ReduceL1",
                         "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"})
    table.addLower("", name, 1, lowerReduce);
  table.addLower("", "Softmax", 1, lowerSoftmax);
  table.addLower("", "LogSoftmax", 1, lowerSoftmax);
  table.addLower("", "LayerNormalization", 1, lowerLayerNorm);
  table.addLower("", "RMSNormalization", 23, lowerRmsNorm);
  table.addLower("", "SimplifiedLayerNormalization", 1, lowerRmsNorm);
  for (StringRef domain : {"", "com.microsoft"}) {
    table.addLower(domain, "SkipLayerNormalization", 1, lowerSkipNorm<false>);
    table.addLower(domain, "SkipSimplifiedLayerNormalization", 1,
                   lowerSkipNorm<true>);
  }
  table.addLower("com.microsoft", "SimplifiedLayerNormalization", 1,
                 lowerRmsNorm);
}
