//===- AdaptiveLower.cpp - Branches over rows and their conditions --------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ModelLowering.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNAdaptive.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/PatternMatch.h"
#include "llvm/ADT/Sequence.h"
#include <limits>

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Conditions
//===----------------------------------------------------------------------===//

using RowFn = llvm::function_ref<void(OpBuilder &, Location, ValueRange args,
                                      SmallVectorImpl<Value> &results)>;

/// Walks the last dimension of tensors of one shape (or of their rows: those
/// of one rank less) with as many accumulators as `inits`.
static SmallVector<Value> reduceRows(LowerScope &scope, ValueRange inputs,
                                     ValueRange inits, RowFn fn) {
  OpBuilder &b = scope.builder;
  Sizes sizes = scope.sizes(inputs.front());
  int64_t rank = sizes.size();
  AffineMap whole = b.getMultiDimIdentityMap(rank),
            rows = whole.getMajorSubMap(rank - 1);
  Sizes rowSizes = sizes;
  rowSizes.pop_back();
  SmallVector<AffineMap> maps;
  for (Value input : inputs)
    maps.push_back(rankOf(input) == rank ? whole : rows);
  SmallVector<Value> outputs;
  for (Value init : inits) {
    outputs.push_back(filledTensor(scope, rowSizes, init));
    maps.push_back(rows);
  }
  SmallVector<utils::IteratorType> iterators(rank,
                                             utils::IteratorType::parallel);
  iterators.back() = utils::IteratorType::reduction;
  auto op = linalg::GenericOp::create(
      b, scope.loc, TypeRange(outputs), inputs, outputs, maps, iterators,
      [&](OpBuilder &b, Location loc, ValueRange args) {
        SmallVector<Value> results;
        fn(b, loc, args, results);
        linalg::YieldOp::create(b, loc, results);
      });
  for (Value result : op.getResults())
    scope.setSizes(result, rowSizes);
  return SmallVector<Value>(op.getResults());
}

static Value extend(OpBuilder &b, Location loc, Value x, Type type) {
  return x.getType() == type ? x : arith::ExtFOp::create(b, loc, type, x);
}
static Value narrowTo(OpBuilder &b, Location loc, Value x, Type type) {
  return x.getType() == type ? x : arith::TruncFOp::create(b, loc, type, x);
}

Value mlir::ffn::lowerRowCosine(LowerScope &scope, Value lhs, Value rhs) {
  Type type = elementOf(lhs);
  for (auto [a, b] : llvm::zip(scope.sizes(lhs), scope.sizes(rhs)))
    if (a != b)
      scope.check(equalIndex(scope, a, b), LowerScope::CheckKind::Shape);
  Type wide = sumType(scope, lhs, rankOf(lhs) - 1);
  Value zero = zeroOf(scope.builder, scope.loc, wide);
  SmallVector<Value> sums = reduceRows(
      scope, {lhs, rhs}, {zero, zero, zero},
      [&](OpBuilder &b, Location loc, ValueRange args,
          SmallVectorImpl<Value> &results) {
        Value x = extend(b, loc, args[0], wide),
              y = extend(b, loc, args[1], wide);
        std::pair<Value, Value> factors[] = {{x, y}, {x, x}, {y, y}};
        for (auto [i, pair] : llvm::enumerate(factors))
          results.push_back(arith::AddFOp::create(
              b, loc, args[2 + i],
              arith::MulFOp::create(b, loc, pair.first, pair.second)));
      });
  return elementwise(
      scope, sums, type, [&](OpBuilder &b, Location loc, ValueRange args) {
        Value norms =
            arith::MulFOp::create(b, loc, math::SqrtOp::create(b, loc, args[1]),
                                  math::SqrtOp::create(b, loc, args[2]));
        Value cosine = arith::DivFOp::create(b, loc, args[0], norms);
        // Rounding takes equal rows beyond 1.
        cosine = arith::MinimumFOp::create(b, loc, cosine,
                                           constantOf(b, loc, wide, 1));
        return narrowTo(b, loc, cosine, type);
      });
}

Value mlir::ffn::lowerRowMargin(LowerScope &scope, Value input) {
  OpBuilder &b = scope.builder;
  Type type = elementOf(input);
  Type wide = type.isF16() || type.isBF16() ? Type(b.getF32Type()) : type;
  Value low =
      constantOf(b, scope.loc, wide, -std::numeric_limits<double>::infinity());
  SmallVector<Value> leaders = reduceRows(
      scope, input, {low, low},
      [&](OpBuilder &b, Location loc, ValueRange args,
          SmallVectorImpl<Value> &results) {
        Value x = extend(b, loc, args[0], wide);
        results.push_back(arith::MaximumFOp::create(b, loc, args[1], x));
        results.push_back(arith::MaximumFOp::create(
            b, loc, args[2], arith::MinimumFOp::create(b, loc, args[1], x)));
      });
  Value sum =
      reduceRows(scope, {input, leaders[0]},
                 zeroOf(b, scope.loc, sumType(scope, input, rankOf(input) - 1)),
                 [&](OpBuilder &b, Location loc, ValueRange args,
                     SmallVectorImpl<Value> &results) {
                   Value x = extend(b, loc, args[0], wide);
                   Value e = math::ExpOp::create(
                       b, loc, arith::SubFOp::create(b, loc, x, args[1]));
                   results.push_back(arith::AddFOp::create(
                       b, loc, args[2], extend(b, loc, e, args[2].getType())));
                 })[0];
  return elementwise(
      scope, {leaders[0], leaders[1], sum}, type,
      [&](OpBuilder &b, Location loc, ValueRange args) {
        Value e = math::ExpOp::create(
            b, loc, arith::SubFOp::create(b, loc, args[1], args[0]));
        Value lead =
            arith::SubFOp::create(b, loc, constantOf(b, loc, wide, 1), e);
        lead = arith::DivFOp::create(
            b, loc, extend(b, loc, lead, args[2].getType()), args[2]);
        return narrowTo(b, loc, lead, type);
      });
}

//===----------------------------------------------------------------------===//
// Branches
//===----------------------------------------------------------------------===//

FailureOr<Value>
mlir::ffn::lowerSkip(LocatedScope &scope, SkipOp op, Value skip,
                     Value otherwise,
                     llvm::function_ref<FailureOr<Value>()> lowerBody) {
  OpBuilder &b = scope.builder;
  Location loc = scope.loc;
  RankedTensorType type = convertTensorType(op.getType());
  Type element = type ? type.getElementType() : Type();
  if (!element || type.isDynamicDim(type.getRank() - 1))
    return op.emitError("rows of ")
           << op.getType() << " cannot be compiled: their width is not known "
           << "[FFN-C102]";
  Sizes sizes = scope.sizes(skip);
  sizes.push_back(b.getIndexAttr(type.getShape().back()));
  Type stored = elementOf(skip);
  Value one = arith::ConstantOp::create(b, loc, b.getIntegerAttr(stored, 1));
  Value all = reduce(scope, skip, llvm::to_vector(llvm::seq(rankOf(skip))),
                     /*keepDims=*/false, one, nullptr,
                     [](OpBuilder &b, Location loc, Value e, Value m) {
                       return arith::MinUIOp::create(b, loc, e, m);
                     });
  all = tensor::ExtractOp::create(b, loc, all, ValueRange());
  auto branch = scf::IfOp::create(b, loc, type, toCondition(b, loc, all),
                                  /*withElseRegion=*/true);
  auto yield = [&](Value value) {
    if (value.getType() != type)
      value = tensor::CastOp::create(b, loc, type, value);
    scf::YieldOp::create(b, loc, value);
  };
  auto neutral = [&](OpBuilder &b, Location loc) {
    return constantOf(b, loc, element, -0.0);
  };
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  yield(otherwise ? otherwise : filledTensor(scope, sizes, neutral(b, loc)));
  b.setInsertionPointToStart(branch.elseBlock());
  // Sizes that come to exist in here are not known behind it.
  auto late = scope.model.sizeBuilder->getLateSymbols();
  FailureOr<Value> body = lowerBody();
  scope.model.sizeBuilder->setLateSymbols(std::move(late));
  if (failed(body))
    return failure();
  for (Value rows : {*body, otherwise})
    if (rows)
      for (auto [size, wanted] : llvm::zip(scope.sizes(rows), sizes))
        if (size != wanted)
          scope.check(equalIndex(scope, size, wanted),
                      LowerScope::CheckKind::Shape);
  SmallVector<Value> operands{unsqueeze(scope, skip, rankOf(skip)), *body};
  if (otherwise)
    operands.push_back(otherwise);
  yield(elementwise(scope, operands, element,
                    [&](OpBuilder &b, Location loc, ValueRange args) -> Value {
                      return arith::SelectOp::create(
                          b, loc, toCondition(b, loc, args[0]),
                          otherwise ? args[2] : neutral(b, loc), args[1]);
                    }));
  Value result = branch.getResult(0);
  scope.setSizes(result, sizes);
  return result;
}

//===----------------------------------------------------------------------===//
// Residuals
//===----------------------------------------------------------------------===//

/// The one addend, where it is a computation that rows may leave out.
static SkipOp getSkippedAddend(SublayerOp op) {
  if (op.getNumAddends() != 1)
    return {};
  auto skip = op.getYieldedAddends()[0].getDefiningOp<SkipOp>();
  if (!skip || skip.getOtherwise() || !skip->hasOneUse() ||
      skip->getBlock() != &op.getBody().front())
    return {};
  Type type = op.getResidual().getType();
  return skip.getYielded().getType() == type && skip.getType() == type
             ? skip
             : SkipOp();
}

void mlir::ffn::sinkResiduals(Operation *root) {
  IRRewriter rewriter(root->getContext());
  SmallVector<SublayerOp> sublayers;
  root->walk([&](SublayerOp op) {
    if (getSkippedAddend(op))
      sublayers.push_back(op);
  });
  // The sublayer in a branch may have one that leaves out rows in turn.
  while (!sublayers.empty()) {
    SublayerOp op = sublayers.pop_back_val();
    SkipOp skip = getSkippedAddend(op);
    Value residual = op.getResidual();
    Operation *yield = op.getBody().front().getTerminator();
    rewriter.inlineBlockBefore(&op.getBody().front(), op, residual);
    SmallVector<Value> extras(yield->getOperands().drop_front());
    rewriter.eraseOp(yield);

    rewriter.setInsertionPoint(op);
    auto outer = SkipOp::create(rewriter, skip.getLoc(), skip.getType(),
                                skip.getSkip(), residual);
    rewriter.createBlock(&outer.getBody());
    auto inner = SublayerOp::create(rewriter, op.getLoc(),
                                    TypeRange{op.getHidden().getType()},
                                    residual, op.getAddends(), ArrayAttr());
    Block *body = rewriter.createBlock(&inner.getBody());
    body->addArgument(residual.getType(), op.getLoc());
    Operation *skipYield = skip.getBody().front().getTerminator();
    Value addend = skip.getYielded();
    rewriter.inlineBlockBefore(&skip.getBody().front(), body, body->end());
    rewriter.eraseOp(skipYield);
    rewriter.setInsertionPointToEnd(body);
    YieldOp::create(rewriter, op.getLoc(), addend);
    rewriter.setInsertionPointToEnd(&outer.getBody().front());
    SkipYieldOp::create(rewriter, op.getLoc(), inner.getHidden());

    SmallVector<Value> results{outer.getResult()};
    llvm::append_range(results, extras);
    rewriter.replaceOp(op, results);
    rewriter.eraseOp(skip);
    if (getSkippedAddend(inner))
      sublayers.push_back(inner);
  }
}
