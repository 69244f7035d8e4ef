//===- LowerMath.cpp - Building blocks of numeric lowerings ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/LowerHelpers.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

static bool isNarrow(Type type) { return type.isF16() || type.isBF16(); }

Value mlir::ffn::computeWide(OpBuilder &builder, Location loc, Value x,
                             llvm::function_ref<Value(Value)> fn) {
  Type type = x.getType();
  if (!isNarrow(type))
    return fn(x);
  Value wide = arith::ExtFOp::create(builder, loc, builder.getF32Type(), x);
  return arith::TruncFOp::create(builder, loc, type, fn(wide));
}

static Value floatToInt(OpBuilder &b, Location loc, Value value, IntegerType to,
                        bool isUnsigned) {
  auto from = llvm::cast<FloatType>(value.getType());
  if (isNarrow(from)) {
    value = arith::ExtFOp::create(b, loc, b.getF32Type(), value);
    from = b.getF32Type();
  }
  unsigned width = to.getWidth();
  // Bounds are powers of two, so they are exact in every float type.
  double high = std::ldexp(1.0, isUnsigned ? width : width - 1);
  double low = isUnsigned ? 0.0 : -high;
  APInt most =
      isUnsigned ? APInt::getMaxValue(width) : APInt::getSignedMaxValue(width);
  APInt least =
      isUnsigned ? APInt::getMinValue(width) : APInt::getSignedMinValue(width);
  auto constant = [&](const APInt &v) {
    return arith::ConstantOp::create(b, loc, b.getIntegerAttr(to, v));
  };
  auto compare = [&](arith::CmpFPredicate p, Value l, Value r) {
    return arith::CmpFOp::create(b, loc, p, l, r);
  };
  Value tooHigh =
      compare(arith::CmpFPredicate::OGE, value, constantOf(b, loc, from, high));
  Value tooLow =
      compare(arith::CmpFPredicate::OLE, value, constantOf(b, loc, from, low));
  Value isNaN = compare(arith::CmpFPredicate::UNO, value, value);
  // Keep the conversion itself in range: beyond it the result is poison.
  Value any = arith::OrIOp::create(
      b, loc, arith::OrIOp::create(b, loc, tooHigh, tooLow), isNaN);
  Value safe = arith::SelectOp::create(b, loc, any,
                                       constantOf(b, loc, from, 0.0), value);
  Value result = isUnsigned ? Value(arith::FPToUIOp::create(b, loc, to, safe))
                            : Value(arith::FPToSIOp::create(b, loc, to, safe));
  result = arith::SelectOp::create(b, loc, tooHigh, constant(most), result);
  return arith::SelectOp::create(b, loc, tooLow, constant(least), result);
}

Value mlir::ffn::castElement(OpBuilder &b, Location loc, Value value, Type to,
                             bool fromUnsigned, bool toUnsigned) {
  Type from = value.getType();
  if (from == to)
    return value;
  auto fromFloat = llvm::dyn_cast<FloatType>(from),
       toFloat = llvm::dyn_cast<FloatType>(to);
  if (fromFloat && toFloat) {
    if (toFloat.getWidth() > fromFloat.getWidth())
      return arith::ExtFOp::create(b, loc, to, value);
    if (toFloat.getWidth() < fromFloat.getWidth()) {
      // Double to bf16 in one rounding is not what hardware offers; the
      // reference rounds through f32 too.
      if (isNarrow(to) && fromFloat.isF64())
        value = arith::TruncFOp::create(b, loc, b.getF32Type(), value);
      return arith::TruncFOp::create(b, loc, to, value);
    }
    Value wide = arith::ExtFOp::create(b, loc, b.getF32Type(), value);
    return arith::TruncFOp::create(b, loc, to, wide);
  }
  if (fromFloat)
    return floatToInt(b, loc, value, llvm::cast<IntegerType>(to), toUnsigned);
  if (toFloat) {
    Type target = isNarrow(to) ? Type(b.getF32Type()) : to;
    Value result = fromUnsigned || from.isInteger(1)
                       ? Value(arith::UIToFPOp::create(b, loc, target, value))
                       : Value(arith::SIToFPOp::create(b, loc, target, value));
    return target == to ? result
                        : Value(arith::TruncFOp::create(b, loc, to, result));
  }
  if (to.getIntOrFloatBitWidth() < from.getIntOrFloatBitWidth())
    return arith::TruncIOp::create(b, loc, to, value);
  if (fromUnsigned || from.isInteger(1))
    return arith::ExtUIOp::create(b, loc, to, value);
  return arith::ExtSIOp::create(b, loc, to, value);
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

/// The tensor in f32 where it is narrower.
static Value widen(LowerScope &scope, Value tensor) {
  Type type = elementOf(tensor);
  if (!isNarrow(type))
    return tensor;
  Type wide = scope.builder.getF32Type();
  return elementwise(scope, tensor, wide,
                     [&](OpBuilder &b, Location loc, ValueRange args) -> Value {
                       return arith::ExtFOp::create(b, loc, wide, args[0]);
                     });
}

static Value narrow(LowerScope &scope, Value tensor, Type type) {
  if (elementOf(tensor) == type)
    return tensor;
  return elementwise(scope, tensor, type,
                     [&](OpBuilder &b, Location loc, ValueRange args) -> Value {
                       return arith::TruncFOp::create(b, loc, type, args[0]);
                     });
}

/// Sums in at least the type of the input, which is f32 or f64.
static Value sumOver(
    LowerScope &scope, Value input, ArrayRef<int64_t> dims, bool keepDims,
    llvm::function_ref<Value(OpBuilder &, Location, Value)> prepare = nullptr) {
  Type type = elementOf(input), wide = sumType(scope, input, dims);
  auto extended = [&](OpBuilder &b, Location loc, Value element) -> Value {
    if (wide != type)
      element = arith::ExtFOp::create(b, loc, wide, element);
    return prepare ? prepare(b, loc, element) : element;
  };
  Value zero = zeroOf(scope.builder, scope.loc, wide);
  Value sum = reduce(scope, input, dims, keepDims, zero, extended,
                     [](OpBuilder &b, Location loc, Value element, Value sum) {
                       return arith::AddFOp::create(b, loc, sum, element);
                     });
  return narrow(scope, sum, type);
}

Value mlir::ffn::softmaxLast(LowerScope &scope, Value input, bool log) {
  Type type = elementOf(input);
  Value x = widen(scope, input);
  Type wide = elementOf(x);
  OpBuilder &b = scope.builder;
  int64_t last = rankOf(x) - 1;
  Value low =
      constantOf(b, scope.loc, wide, -std::numeric_limits<double>::infinity());
  Value max = reduce(scope, x, last, true, low, nullptr,
                     [](OpBuilder &b, Location loc, Value e, Value m) {
                       return arith::MaximumFOp::create(b, loc, m, e);
                     });
  Value shifted = elementwise(
      scope, {x, max}, wide, [](OpBuilder &b, Location loc, ValueRange args) {
        return arith::SubFOp::create(b, loc, args[0], args[1]);
      });
  Value exps = elementwise(scope, shifted, wide,
                           [](OpBuilder &b, Location loc, ValueRange args) {
                             return math::ExpOp::create(b, loc, args[0]);
                           });
  Value sum = sumOver(scope, exps, last, true);
  Value result =
      log ? elementwise(scope, {shifted, sum}, wide,
                        [](OpBuilder &b, Location loc, ValueRange args) {
                          Value l = math::LogOp::create(b, loc, args[1]);
                          return arith::SubFOp::create(b, loc, args[0], l);
                        })
          : elementwise(scope, {exps, sum}, wide,
                        [](OpBuilder &b, Location loc, ValueRange args) {
                          return arith::DivFOp::create(b, loc, args[0],
                                                       args[1]);
                        });
  return narrow(scope, result, type);
}

NormResult mlir::ffn::normalize(LowerScope &scope, Value input, int64_t axis,
                                Value scale, Value bias, double eps, bool rms,
                                bool outerEps) {
  OpBuilder &b = scope.builder;
  Type type = elementOf(input);
  Value x = widen(scope, input);
  Type wide = elementOf(x);
  SmallVector<int64_t> dims;
  Sizes sizes = scope.sizes(x), reduced;
  for (int64_t i = axis; i < rankOf(x); ++i) {
    dims.push_back(i);
    reduced.push_back(sizes[i]);
  }
  // Parameters have the normalised shape or broadcast to it, never beyond it.
  for (Value parameter : {scale, bias})
    if (parameter)
      for (auto [own, size] : llvm::zip(llvm::reverse(scope.sizes(parameter)),
                                        llvm::reverse(sizes)))
        if (own != size && !isConstantIntValue(own, 1))
          scope.check(arith::OrIOp::create(
                          b, scope.loc, equalIndex(scope, own, size),
                          equalIndex(scope, own, staticSize(scope, 1))),
                      LowerScope::CheckKind::Shape);
  Value count = sizeValue(scope, productOf(scope, reduced));
  Value countInt =
      arith::IndexCastOp::create(b, scope.loc, b.getI64Type(), count);
  Value divisor = arith::SIToFPOp::create(b, scope.loc, wide, countInt);
  NormResult result;
  Value centred = x;
  if (!rms) {
    Value sum = sumOver(scope, x, dims, true);
    result.mean = elementwise(
        scope, sum, wide, [&](OpBuilder &b, Location loc, ValueRange args) {
          return arith::DivFOp::create(b, loc, args[0], divisor);
        });
    centred =
        elementwise(scope, {x, result.mean}, wide,
                    [](OpBuilder &b, Location loc, ValueRange args) {
                      return arith::SubFOp::create(b, loc, args[0], args[1]);
                    });
  }
  Value squares = sumOver(scope, centred, dims, true,
                          [](OpBuilder &b, Location loc, Value e) -> Value {
                            return arith::MulFOp::create(b, loc, e, e);
                          });
  result.inverse =
      elementwise(scope, squares, wide,
                  [&](OpBuilder &b, Location loc, ValueRange args) -> Value {
                    Value mean =
                        arith::DivFOp::create(b, loc, args[0], divisor);
                    Value epsilon = constantOf(b, loc, wide, eps);
                    Value one = constantOf(b, loc, wide, 1.0);
                    Value root;
                    if (outerEps)
                      root = arith::AddFOp::create(
                          b, loc, math::SqrtOp::create(b, loc, mean), epsilon);
                    else
                      root = math::SqrtOp::create(
                          b, loc, arith::AddFOp::create(b, loc, mean, epsilon));
                    return arith::DivFOp::create(b, loc, one, root);
                  });
  SmallVector<Value> operands{centred, result.inverse};
  if (scale)
    operands.push_back(widen(scope, scale));
  if (bias)
    operands.push_back(widen(scope, bias));
  result.output =
      elementwise(scope, operands, wide,
                  [&](OpBuilder &b, Location loc, ValueRange args) -> Value {
                    Value y = arith::MulFOp::create(b, loc, args[0], args[1]);
                    if (scale)
                      y = arith::MulFOp::create(b, loc, y, args[2]);
                    if (bias)
                      y = arith::AddFOp::create(b, loc, y, args.back());
                    return y;
                  });
  if (result.output)
    result.output = narrow(scope, result.output, type);
  return result;
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

Value mlir::ffn::contract(LowerScope &scope, Value a, Value w,
                          ArrayRef<AffineMap> maps,
                          ArrayRef<OpFoldResult> sizes,
                          ArrayRef<utils::IteratorType> iterators) {
  OpBuilder &b = scope.builder;
  Type type = elementOf(a);
  Type wide = isNarrow(type) ? Type(b.getF32Type()) : type;
  Value init = filledTensor(scope, sizes, zeroOf(b, scope.loc, wide));
  auto generic = linalg::GenericOp::create(
      b, scope.loc, init.getType(), ValueRange{a, w}, ValueRange{init}, maps,
      iterators, [&](OpBuilder &b, Location loc, ValueRange args) {
        Value l = args[0], r = args[1], sum;
        if (llvm::isa<IntegerType>(type)) {
          sum = arith::AddIOp::create(b, loc, args[2],
                                      arith::MulIOp::create(b, loc, l, r));
        } else {
          if (wide != type) {
            l = arith::ExtFOp::create(b, loc, wide, l);
            r = arith::ExtFOp::create(b, loc, wide, r);
          }
          sum = math::FmaOp::create(b, loc, l, r, args[2]);
        }
        linalg::YieldOp::create(b, loc, sum);
      });
  scope.setSizes(generic.getResult(0), sizes);
  if (llvm::isa<IntegerType>(type))
    return generic.getResult(0);
  return narrow(scope, generic.getResult(0), type);
}

FailureOr<Value> mlir::ffn::matmul(LowerScope &scope, Value a, Value w) {
  MLIRContext *ctx = scope.builder.getContext();
  a = refineType(scope, a);
  w = refineType(scope, w);
  Sizes sa = scope.sizes(a), sw = scope.sizes(w);
  if (sa.size() < 2 || sw.size() < 2)
    return failure();
  if (sa.back() != sw[sw.size() - 2]) {
    std::optional<int64_t> ka = getConstantIntValue(sa.back()),
                           kw = getConstantIntValue(sw[sw.size() - 2]);
    if (ka && kw)
      return failure();
    scope.check(equalIndex(scope, sa.back(), sw[sw.size() - 2]),
                LowerScope::CheckKind::Shape);
  }
  FailureOr<Sizes> batch =
      broadcastSizes(scope, {Sizes(ArrayRef(sa).drop_back(2)),
                             Sizes(ArrayRef(sw).drop_back(2))});
  if (failed(batch))
    return failure();
  auto prepare = [&](Value tensor, ArrayRef<OpFoldResult> own) {
    Sizes target(ArrayRef(*batch).take_back(own.size() - 2));
    llvm::append_range(target, own.take_back(2));
    return broadcastOperand(scope, tensor, target);
  };
  a = prepare(a, sa);
  w = prepare(w, sw);
  int64_t nb = batch->size();
  auto d = [&](int64_t i) { return getAffineDimExpr(i, ctx); };
  auto mapOf = [&](Value tensor, AffineExpr row, AffineExpr column) {
    SmallVector<AffineExpr> exprs;
    RankedTensorType type = tensorType(tensor);
    int64_t lead = nb - (type.getRank() - 2);
    for (int64_t i = 0; i < type.getRank() - 2; ++i)
      exprs.push_back(type.getDimSize(i) == 1 &&
                              !isConstantIntValue((*batch)[lead + i], 1)
                          ? getAffineConstantExpr(0, ctx)
                          : d(lead + i));
    exprs.push_back(row);
    exprs.push_back(column);
    return AffineMap::get(nb + 3, 0, exprs, ctx);
  };
  Sizes sizes = *batch;
  sizes.push_back(sa[sa.size() - 2]);
  sizes.push_back(sw.back());
  SmallVector<AffineExpr> out;
  for (int64_t i = 0; i < nb + 2; ++i)
    out.push_back(d(i));
  AffineMap maps[] = {mapOf(a, d(nb), d(nb + 2)),
                      mapOf(w, d(nb + 2), d(nb + 1)),
                      AffineMap::get(nb + 3, 0, out, ctx)};
  SmallVector<utils::IteratorType> iterators(nb + 2,
                                             utils::IteratorType::parallel);
  iterators.push_back(utils::IteratorType::reduction);
  return contract(scope, a, w, maps, sizes, iterators);
}

Value mlir::ffn::linear(LowerScope &scope, Value x, Value weight, Value bias) {
  MLIRContext *ctx = scope.builder.getContext();
  x = refineType(scope, x);
  Sizes sizes = scope.sizes(x), own = scope.sizes(weight);
  int64_t lead = sizes.size() - 1;
  if (sizes.back() != own[1])
    scope.check(equalIndex(scope, sizes.back(), own[1]),
                LowerScope::CheckKind::Shape);
  sizes.back() = own[0];
  auto d = [&](int64_t i) { return getAffineDimExpr(i, ctx); };
  SmallVector<AffineExpr> in, out;
  for (int64_t i = 0; i < lead; ++i) {
    in.push_back(d(i));
    out.push_back(d(i));
  }
  in.push_back(d(lead + 1));
  out.push_back(d(lead));
  AffineMap maps[] = {AffineMap::get(lead + 2, 0, in, ctx),
                      AffineMap::get(lead + 2, 0, {d(lead), d(lead + 1)}, ctx),
                      AffineMap::get(lead + 2, 0, out, ctx)};
  SmallVector<utils::IteratorType> iterators(lead + 1,
                                             utils::IteratorType::parallel);
  iterators.push_back(utils::IteratorType::reduction);
  if (elementOf(weight) != elementOf(x))
    weight = elementwise(scope, weight, elementOf(x),
                         [&](OpBuilder &b, Location loc, ValueRange args) {
                           return castElement(b, loc, args[0], elementOf(x),
                                              false, false);
                         });
  Value y = contract(scope, x, weight, maps, sizes, iterators);
  if (!bias)
    return y;
  return elementwise(scope, {y, bias}, elementOf(y),
                     [&](OpBuilder &b, Location loc, ValueRange args) -> Value {
                       Value add = castElement(b, loc, args[1], elementOf(y),
                                               false, false);
                       return arith::AddFOp::create(b, loc, args[0], add);
                     });
}

//===----------------------------------------------------------------------===//
// Gather
//===----------------------------------------------------------------------===//

/// Ends the run unless -size <= index < size for all indices.
static void checkIndices(LowerScope &scope, Value indices, OpFoldResult size) {
  OpBuilder &b = scope.builder;
  Value limit = arith::IndexCastOp::create(b, scope.loc, b.getI64Type(),
                                           sizeValue(scope, size));
  SmallVector<int64_t> dims =
      llvm::to_vector(llvm::seq<int64_t>(0, rankOf(indices)));
  Value yes = arith::ConstantOp::create(b, scope.loc, b.getI8IntegerAttr(1));
  Value inRange = reduce(
      scope, indices, dims, false, yes,
      [&](OpBuilder &b, Location loc, Value index) -> Value {
        index = castElement(b, loc, index, b.getI64Type(), false, false);
        Value zero = arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(0));
        Value low = arith::SubIOp::create(b, loc, zero, limit);
        Value above = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sge,
                                            index, low);
        Value below = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt,
                                            index, limit);
        return fromCondition(b, loc,
                             arith::AndIOp::create(b, loc, above, below));
      },
      [](OpBuilder &b, Location loc, Value e, Value all) {
        return arith::AndIOp::create(b, loc, all, e);
      });
  Value flag = tensor::ExtractOp::create(b, scope.loc, inRange, ValueRange{});
  scope.check(toCondition(b, scope.loc, flag), LowerScope::CheckKind::Index);
}

Value mlir::ffn::gatherRows(LowerScope &scope, Value data, Value indices,
                            int64_t axis) {
  Sizes dataSizes = scope.sizes(data), indexSizes = scope.sizes(indices);
  OpFoldResult limit = dataSizes[axis];
  checkIndices(scope, indices, limit);
  Sizes sizes(ArrayRef(dataSizes).take_front(axis));
  llvm::append_range(sizes, indexSizes);
  llvm::append_range(sizes, ArrayRef(dataSizes).drop_front(axis + 1));
  int64_t indexRank = indexSizes.size();
  Value limitValue = sizeValue(scope, limit);
  return generate(
      scope, sizes, elementOf(data),
      [&](OpBuilder &b, Location loc, ValueRange at) -> Value {
        Value index = tensor::ExtractOp::create(b, loc, indices,
                                                at.slice(axis, indexRank));
        Value row = arith::IndexCastOp::create(b, loc, b.getIndexType(), index);
        Value zero = arith::ConstantIndexOp::create(b, loc, 0);
        Value negative =
            arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, row, zero);
        Value wrapped = arith::AddIOp::create(b, loc, row, limitValue);
        row = arith::SelectOp::create(b, loc, negative, wrapped, row);
        SmallVector<Value> from(at.take_front(axis));
        from.push_back(row);
        llvm::append_range(from, at.drop_front(axis + indexRank));
        return tensor::ExtractOp::create(b, loc, data, from);
      });
}
