//===- LowerHelpers.cpp - Building blocks of lowerings --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/LowerHelpers.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/SmallBitVector.h"

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Sizes
//===----------------------------------------------------------------------===//

std::optional<int64_t> mlir::ffn::positiveAxis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank)
    return std::nullopt;
  return axis < 0 ? axis + rank : axis;
}

Value mlir::ffn::constantIndex(LowerScope &scope, int64_t value) {
  return arith::ConstantIndexOp::create(scope.builder, scope.loc, value);
}

Value mlir::ffn::sizeValue(LowerScope &scope, OpFoldResult size) {
  return getValueOrCreateConstantIndexOp(scope.builder, scope.loc, size);
}

OpFoldResult mlir::ffn::staticSize(LowerScope &scope, int64_t value) {
  return scope.builder.getIndexAttr(value);
}

OpFoldResult mlir::ffn::addSizes(LowerScope &scope, OpFoldResult a,
                                 OpFoldResult b) {
  std::optional<int64_t> ca = getConstantIntValue(a),
                         cb = getConstantIntValue(b);
  if (ca && cb)
    return staticSize(scope, *ca + *cb);
  if (ca && *ca == 0)
    return b;
  if (cb && *cb == 0)
    return a;
  return arith::AddIOp::create(scope.builder, scope.loc, sizeValue(scope, a),
                               sizeValue(scope, b))
      .getResult();
}

OpFoldResult mlir::ffn::subSizes(LowerScope &scope, OpFoldResult a,
                                 OpFoldResult b) {
  std::optional<int64_t> ca = getConstantIntValue(a),
                         cb = getConstantIntValue(b);
  if (ca && cb)
    return staticSize(scope, *ca - *cb);
  if (cb && *cb == 0)
    return a;
  return arith::SubIOp::create(scope.builder, scope.loc, sizeValue(scope, a),
                               sizeValue(scope, b))
      .getResult();
}

OpFoldResult mlir::ffn::mulSizes(LowerScope &scope, OpFoldResult a,
                                 OpFoldResult b) {
  std::optional<int64_t> ca = getConstantIntValue(a),
                         cb = getConstantIntValue(b);
  int64_t product;
  if (ca && cb && !__builtin_mul_overflow(*ca, *cb, &product))
    return staticSize(scope, product);
  if (ca && *ca == 1)
    return b;
  if (cb && *cb == 1)
    return a;
  return arith::MulIOp::create(scope.builder, scope.loc, sizeValue(scope, a),
                               sizeValue(scope, b))
      .getResult();
}

OpFoldResult mlir::ffn::productOf(LowerScope &scope,
                                  ArrayRef<OpFoldResult> sizes) {
  OpFoldResult product = staticSize(scope, 1);
  for (OpFoldResult size : sizes)
    product = mulSizes(scope, product, size);
  return product;
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

Value mlir::ffn::constantOf(OpBuilder &builder, Location loc, Type element,
                            double value) {
  if (auto floating = llvm::dyn_cast<FloatType>(element))
    return arith::ConstantOp::create(builder, loc,
                                     builder.getFloatAttr(floating, value));
  return arith::ConstantOp::create(
      builder, loc,
      builder.getIntegerAttr(element, static_cast<int64_t>(value)));
}

Value mlir::ffn::zeroOf(OpBuilder &builder, Location loc, Type element) {
  return constantOf(builder, loc, element, 0.0);
}

Value mlir::ffn::emptyTensor(LowerScope &scope, ArrayRef<OpFoldResult> sizes,
                             Type element) {
  Value result =
      tensor::EmptyOp::create(scope.builder, scope.loc, sizes, element);
  scope.setSizes(result, sizes);
  return result;
}

Value mlir::ffn::filledTensor(LowerScope &scope, ArrayRef<OpFoldResult> sizes,
                              Value element) {
  Value empty = emptyTensor(scope, sizes, element.getType());
  Value result = linalg::FillOp::create(scope.builder, scope.loc,
                                        ValueRange{element}, ValueRange{empty})
                     .getResult(0);
  scope.setSizes(result, sizes);
  return result;
}

Value mlir::ffn::constantTensor(LowerScope &scope, ArrayRef<int64_t> values,
                                Type element, ArrayRef<int64_t> shape) {
  SmallVector<Attribute> attrs;
  for (int64_t value : values)
    attrs.push_back(scope.builder.getIntegerAttr(element, value));
  auto type = RankedTensorType::get(shape, element);
  return arith::ConstantOp::create(scope.builder, scope.loc,
                                   DenseElementsAttr::get(type, attrs));
}

Value mlir::ffn::sizesTensor(LowerScope &scope, ArrayRef<OpFoldResult> values,
                             Type element, bool scalar) {
  OpBuilder &b = scope.builder;
  SmallVector<int64_t> shape;
  if (!scalar)
    shape.push_back(values.size());
  SmallVector<int64_t> constants;
  for (OpFoldResult value : values)
    if (std::optional<int64_t> constant = getConstantIntValue(value))
      constants.push_back(*constant);
  if (constants.size() == values.size())
    return constantTensor(scope, constants, element, shape);
  SmallVector<Value> elements;
  for (OpFoldResult value : values)
    elements.push_back(arith::IndexCastOp::create(b, scope.loc, element,
                                                  sizeValue(scope, value)));
  return tensor::FromElementsOp::create(
      b, scope.loc, RankedTensorType::get(shape, element), elements);
}

Value mlir::ffn::refineType(LowerScope &scope, Value tensor) {
  RankedTensorType type = tensorType(tensor);
  SmallVector<int64_t> shape(type.getShape());
  Sizes sizes = scope.sizes(tensor);
  for (auto [dim, size] : llvm::zip(shape, sizes))
    if (std::optional<int64_t> constant = getConstantIntValue(size))
      if (ShapedType::isDynamic(dim))
        dim = *constant;
  if (llvm::equal(shape, type.getShape()))
    return tensor;
  Value cast = tensor::CastOp::create(
      scope.builder, scope.loc,
      RankedTensorType::get(shape, type.getElementType()), tensor);
  scope.setSizes(cast, sizes);
  return cast;
}

//===----------------------------------------------------------------------===//
// Broadcasting
//===----------------------------------------------------------------------===//

Value mlir::ffn::equalIndex(LowerScope &scope, OpFoldResult a, OpFoldResult b) {
  return arith::CmpIOp::create(scope.builder, scope.loc,
                               arith::CmpIPredicate::eq, sizeValue(scope, a),
                               sizeValue(scope, b));
}

FailureOr<Sizes> mlir::ffn::broadcastSizes(LowerScope &scope,
                                           ArrayRef<Sizes> operandSizes) {
  size_t rank = 0;
  for (const Sizes &sizes : operandSizes)
    rank = std::max(rank, sizes.size());
  Sizes result;
  for (size_t i = 0; i < rank; ++i) {
    SmallVector<OpFoldResult, 4> candidates;
    for (const Sizes &sizes : operandSizes) {
      if (i + sizes.size() < rank)
        continue;
      OpFoldResult size = sizes[i + sizes.size() - rank];
      if (!isConstantIntValue(size, 1) && !llvm::is_contained(candidates, size))
        candidates.push_back(size);
    }
    if (candidates.empty()) {
      result.push_back(staticSize(scope, 1));
      continue;
    }
    OpFoldResult chosen = candidates[0];
    for (OpFoldResult candidate : ArrayRef(candidates).drop_front()) {
      std::optional<int64_t> c = getConstantIntValue(candidate),
                             r = getConstantIntValue(chosen);
      if (c && r) {
        if (*c != *r)
          return failure();
        continue;
      }
      // A static size other than 1 is what the result has; between two
      // computed sizes the one that is not 1 wins.
      if (c)
        chosen = candidate;
      else if (!r)
        chosen = arith::SelectOp::create(
                     scope.builder, scope.loc,
                     equalIndex(scope, chosen, staticSize(scope, 1)),
                     sizeValue(scope, candidate), sizeValue(scope, chosen))
                     .getResult();
    }
    if (candidates.size() > 1)
      for (OpFoldResult candidate : candidates) {
        if (candidate == chosen)
          continue;
        Value ok = arith::OrIOp::create(
            scope.builder, scope.loc, equalIndex(scope, candidate, chosen),
            equalIndex(scope, candidate, staticSize(scope, 1)));
        scope.check(ok, LowerScope::CheckKind::Shape);
      }
    result.push_back(chosen);
  }
  return result;
}

Value mlir::ffn::broadcastOperand(LowerScope &scope, Value tensor,
                                  ArrayRef<OpFoldResult> sizes) {
  tensor = refineType(scope, tensor);
  Sizes own = scope.sizes(tensor);
  size_t lead = sizes.size() - own.size();
  bool undecided = false;
  for (auto [i, size] : llvm::enumerate(own))
    undecided |= !isConstantIntValue(size, 1) && size != sizes[lead + i];
  if (undecided) {
    // Some dim may be 1 or the full size: only the run knows.
    OpBuilder &b = scope.builder;
    SmallVector<Value> isOne;
    Value one = constantIndex(scope, 1);
    for (OpFoldResult size : own)
      isOne.push_back(arith::CmpIOp::create(
          b, scope.loc, arith::CmpIPredicate::eq, sizeValue(scope, size), one));
    Value zero = constantIndex(scope, 0);
    Sizes target(sizes.drop_front(lead));
    for (auto [size, mine] : llvm::zip(target, own))
      if (isConstantIntValue(mine, 1))
        size = mine;
    Value source = tensor;
    tensor = generate(
        scope, target, elementOf(source),
        [&](OpBuilder &b, Location loc, ValueRange indices) {
          SmallVector<Value> at;
          for (auto [index, flag] : llvm::zip(indices, isOne))
            at.push_back(arith::SelectOp::create(b, loc, flag, zero, index));
          return tensor::ExtractOp::create(b, loc, source, at);
        });
  }
  return tensor;
}

Value mlir::ffn::toCondition(OpBuilder &builder, Location loc, Value stored) {
  if (stored.getType().isInteger(1))
    return stored;
  Value zero = zeroOf(builder, loc, stored.getType());
  return arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ne, stored,
                               zero);
}

Value mlir::ffn::fromCondition(OpBuilder &builder, Location loc,
                               Value condition) {
  return arith::ExtUIOp::create(builder, loc, builder.getI8Type(), condition);
}

Value mlir::ffn::elementwise(LowerScope &scope, ValueRange operands,
                             Type resultElement, ElementFn fn) {
  OpBuilder &b = scope.builder;
  SmallVector<Sizes> operandSizes;
  for (Value operand : operands)
    operandSizes.push_back(scope.sizes(operand));
  FailureOr<Sizes> sizes = broadcastSizes(scope, operandSizes);
  if (failed(sizes))
    return {};
  SmallVector<Value> ins;
  SmallVector<AffineMap> maps;
  int64_t rank = sizes->size();
  for (Value operand : operands) {
    ins.push_back(broadcastOperand(scope, operand, *sizes));
    // A dim of the loop that is 1 itself is no broadcast.
    SmallVector<AffineExpr> exprs;
    RankedTensorType type = tensorType(ins.back());
    int64_t lead = rank - type.getRank();
    for (auto [i, dim] : llvm::enumerate(type.getShape()))
      exprs.push_back(dim == 1 && !isConstantIntValue((*sizes)[lead + i], 1)
                          ? getAffineConstantExpr(0, b.getContext())
                          : getAffineDimExpr(lead + i, b.getContext()));
    maps.push_back(AffineMap::get(rank, 0, exprs, b.getContext()));
  }
  Value empty = emptyTensor(scope, *sizes, resultElement);
  maps.push_back(b.getMultiDimIdentityMap(rank));
  SmallVector<utils::IteratorType> iterators(rank,
                                             utils::IteratorType::parallel);
  auto generic = linalg::GenericOp::create(
      b, scope.loc, empty.getType(), ins, ValueRange{empty}, maps, iterators,
      [&](OpBuilder &b, Location loc, ValueRange args) {
        Value result = fn(b, loc, args.drop_back());
        if (result.getType().isInteger(1) && !resultElement.isInteger(1))
          result = fromCondition(b, loc, result);
        linalg::YieldOp::create(b, loc, result);
      });
  scope.setSizes(generic.getResult(0), *sizes);
  return generic.getResult(0);
}

Value mlir::ffn::generate(LowerScope &scope, ArrayRef<OpFoldResult> sizes,
                          Type element, IndexFn fn) {
  OpBuilder &b = scope.builder;
  int64_t rank = sizes.size();
  Value empty = emptyTensor(scope, sizes, element);
  SmallVector<utils::IteratorType> iterators(rank,
                                             utils::IteratorType::parallel);
  auto generic = linalg::GenericOp::create(
      b, scope.loc, empty.getType(), ValueRange{}, ValueRange{empty},
      b.getMultiDimIdentityMap(rank), iterators,
      [&](OpBuilder &b, Location loc, ValueRange) {
        SmallVector<Value> indices;
        for (int64_t i = 0; i < rank; ++i)
          indices.push_back(linalg::IndexOp::create(b, loc, i));
        Value result = fn(b, loc, indices);
        if (result.getType().isInteger(1) && !element.isInteger(1))
          result = fromCondition(b, loc, result);
        linalg::YieldOp::create(b, loc, result);
      });
  scope.setSizes(generic.getResult(0), sizes);
  return generic.getResult(0);
}

Value mlir::ffn::reduce(
    LowerScope &scope, Value input, ArrayRef<int64_t> dims, bool keepDims,
    Value init, llvm::function_ref<Value(OpBuilder &, Location, Value)> prepare,
    llvm::function_ref<Value(OpBuilder &, Location, Value, Value)> combine) {
  OpBuilder &b = scope.builder;
  MLIRContext *ctx = b.getContext();
  input = refineType(scope, input);
  Sizes inputSizes = scope.sizes(input);
  int64_t rank = inputSizes.size();
  llvm::SmallBitVector reduced(rank);
  for (int64_t dim : dims)
    reduced.set(dim);
  Sizes outSizes;
  SmallVector<AffineExpr> exprs;
  SmallVector<utils::IteratorType> iterators;
  for (int64_t i = 0; i < rank; ++i) {
    iterators.push_back(reduced[i] ? utils::IteratorType::reduction
                                   : utils::IteratorType::parallel);
    if (!reduced[i]) {
      outSizes.push_back(inputSizes[i]);
      exprs.push_back(getAffineDimExpr(i, ctx));
    } else if (keepDims) {
      outSizes.push_back(staticSize(scope, 1));
      exprs.push_back(getAffineConstantExpr(0, ctx));
    }
  }
  Value out = filledTensor(scope, outSizes, init);
  AffineMap maps[] = {b.getMultiDimIdentityMap(rank),
                      AffineMap::get(rank, 0, exprs, ctx)};
  auto generic = linalg::GenericOp::create(
      b, scope.loc, out.getType(), ValueRange{input}, ValueRange{out}, maps,
      iterators, [&](OpBuilder &b, Location loc, ValueRange args) {
        Value element = prepare ? prepare(b, loc, args[0]) : args[0];
        linalg::YieldOp::create(b, loc, combine(b, loc, element, args[1]));
      });
  scope.setSizes(generic.getResult(0), outSizes);
  return generic.getResult(0);
}

Type mlir::ffn::sumType(LowerScope &scope, Value input,
                        ArrayRef<int64_t> dims) {
  constexpr int64_t maxChain = 256;
  Type type = elementOf(input);
  if (!llvm::isa<FloatType>(type) || type.isF64())
    return type;
  Sizes sizes = scope.sizes(input);
  int64_t count = 1;
  for (int64_t dim : dims) {
    std::optional<int64_t> size = getConstantIntValue(sizes[dim]);
    if (!size || *size > maxChain || (count *= *size) > maxChain)
      return scope.builder.getF64Type();
  }
  return scope.builder.getF32Type();
}

//===----------------------------------------------------------------------===//
// Shape
//===----------------------------------------------------------------------===//

namespace {
/// A product of sizes: a constant and values with multiplicity.
struct SizeProduct {
  int64_t constant = 1;
  SmallVector<Value, 4> values;

  void times(OpFoldResult size) {
    if (std::optional<int64_t> c = getConstantIntValue(size)) {
      constant *= *c;
      return;
    }
    Value value = llvm::cast<Value>(size);
    values.push_back(value);
  }
  bool operator==(const SizeProduct &other) const {
    if (constant != other.constant || values.size() != other.values.size())
      return false;
    SmallVector<void *, 4> a, b;
    for (Value v : values)
      a.push_back(v.getAsOpaquePointer());
    for (Value v : other.values)
      b.push_back(v.getAsOpaquePointer());
    llvm::sort(a);
    llvm::sort(b);
    return a == b;
  }
};

struct ReshapeGroup {
  SmallVector<int64_t, 2> from, to;
};
} // namespace

/// Splits source and target dims into groups of provably equal products; one
/// group of everything where nothing finer is known.
static SmallVector<ReshapeGroup> groupDims(ArrayRef<OpFoldResult> from,
                                           ArrayRef<OpFoldResult> to) {
  SmallVector<ReshapeGroup> groups;
  size_t i = 0, j = 0;
  while (i < from.size() || j < to.size()) {
    // The smallest pair of prefixes with equal products.
    bool found = false;
    for (size_t total = 1; !found && total <= from.size() - i + to.size() - j;
         ++total)
      for (size_t a = 0; !found && a <= total; ++a) {
        size_t c = total - a;
        if (a > from.size() - i || c > to.size() - j)
          continue;
        SizeProduct left, right;
        for (size_t k = 0; k < a; ++k)
          left.times(from[i + k]);
        for (size_t k = 0; k < c; ++k)
          right.times(to[j + k]);
        bool last = a == from.size() - i && c == to.size() - j;
        if (!(left == right) && !last)
          continue;
        ReshapeGroup group;
        for (size_t k = 0; k < a; ++k)
          group.from.push_back(i++);
        for (size_t k = 0; k < c; ++k)
          group.to.push_back(j++);
        // A lone 1 joins its neighbour: reassociations have no empty groups.
        if (!groups.empty() && (group.from.empty() || group.to.empty())) {
          llvm::append_range(groups.back().from, group.from);
          llvm::append_range(groups.back().to, group.to);
        } else {
          groups.push_back(group);
        }
        found = true;
      }
  }
  if (groups.size() > 1 && (groups[0].from.empty() || groups[0].to.empty())) {
    ReshapeGroup merged = groups[0];
    llvm::append_range(merged.from, groups[1].from);
    llvm::append_range(merged.to, groups[1].to);
    groups[1] = merged;
    groups.erase(groups.begin());
  }
  return groups;
}

Value mlir::ffn::reshapeTo(LowerScope &scope, Value tensor,
                           ArrayRef<OpFoldResult> sizes) {
  OpBuilder &b = scope.builder;
  tensor = refineType(scope, tensor);
  Sizes from = scope.sizes(tensor);
  Type element = elementOf(tensor);
  auto shapeOf = [](ArrayRef<OpFoldResult> list) {
    SmallVector<int64_t> shape;
    for (OpFoldResult size : list)
      shape.push_back(getConstantIntValue(size).value_or(ShapedType::kDynamic));
    return shape;
  };
  SmallVector<int64_t> target = shapeOf(sizes);
  if (llvm::is_contained(target, 0)) {
    // Nothing is copied, and no groups of sizes need have equal products.
    Value result = tensor::EmptyOp::create(b, scope.loc, sizes, element);
    scope.setSizes(result, sizes);
    return result;
  }
  if (from.empty() || sizes.empty()) {
    // To or from a scalar: all sizes on the other side are 1.
    if (from.empty() && sizes.empty())
      return tensor;
    Sizes ones(from.empty() ? sizes.size() : from.size(), staticSize(scope, 1));
    SmallVector<ReassociationIndices> none;
    Value result;
    if (from.empty()) {
      result = tensor::ExpandShapeOp::create(
          b, scope.loc, RankedTensorType::get(shapeOf(ones), element), tensor,
          none, ones);
      scope.setSizes(result, ones);
      if (!llvm::equal(shapeOf(ones), target))
        result = tensor::CastOp::create(
            b, scope.loc, RankedTensorType::get(target, element), result);
    } else {
      auto unit = RankedTensorType::get(shapeOf(ones), element);
      if (tensor.getType() != unit)
        tensor = tensor::CastOp::create(b, scope.loc, unit, tensor);
      result = tensor::CollapseShapeOp::create(
          b, scope.loc, RankedTensorType::get({}, element), tensor, none);
    }
    scope.setSizes(result, sizes);
    return result;
  }
  SmallVector<ReshapeGroup> groups = groupDims(from, sizes);
  // Collapse each group of the source to one dim, then expand it.
  SmallVector<ReassociationIndices> collapse, expand;
  Sizes middle;
  bool collapses = false, expands = false;
  for (const ReshapeGroup &group : groups) {
    bool direct = group.from.size() == group.to.size() &&
                  llvm::all_of(llvm::zip(group.from, group.to), [&](auto pair) {
                    return from[std::get<0>(pair)] == sizes[std::get<1>(pair)];
                  });
    if (direct) {
      for (auto [f, t] : llvm::zip(group.from, group.to)) {
        collapse.push_back({f});
        expand.push_back({t});
        middle.push_back(from[f]);
      }
      continue;
    }
    collapse.emplace_back(group.from.begin(), group.from.end());
    expand.emplace_back(group.to.begin(), group.to.end());
    collapses |= group.from.size() > 1;
    expands |= group.to.size() > 1;
    if (group.from.size() == 1) {
      middle.push_back(from[group.from[0]]);
    } else if (group.to.size() == 1) {
      middle.push_back(sizes[group.to[0]]);
    } else {
      Sizes parts;
      for (int64_t f : group.from)
        parts.push_back(from[f]);
      middle.push_back(productOf(scope, parts));
    }
  }
  if (collapses) {
    // The verifier wants the static product exactly where all parts are
    // static, and dynamic otherwise.
    SmallVector<int64_t> shape;
    RankedTensorType type = tensorType(tensor);
    for (const ReassociationIndices &group : collapse) {
      int64_t size = 1;
      for (int64_t dim : group)
        size = size == ShapedType::kDynamic || type.isDynamicDim(dim)
                   ? ShapedType::kDynamic
                   : size * type.getDimSize(dim);
      shape.push_back(size);
    }
    tensor = tensor::CollapseShapeOp::create(
        b, scope.loc, RankedTensorType::get(shape, element), tensor, collapse);
    scope.setSizes(tensor, middle);
  }
  SmallVector<int64_t> shape(tensorType(tensor).getShape());
  if (expands) {
    // A dim that stays one may be static on one side only; and a group's size
    // must be static where all its parts are.
    for (auto [dim, group] : llvm::zip(shape, expand)) {
      int64_t size = 1;
      for (int64_t t : group)
        size = size == ShapedType::kDynamic || ShapedType::isDynamic(target[t])
                   ? ShapedType::kDynamic
                   : size * target[t];
      dim = size;
    }
    auto needed = RankedTensorType::get(shape, element);
    if (needed != tensor.getType())
      tensor = tensor::CastOp::create(b, scope.loc, needed, tensor);
    tensor = tensor::ExpandShapeOp::create(
        b, scope.loc, RankedTensorType::get(target, element), tensor, expand,
        sizes);
  } else if (!llvm::equal(shape, target)) {
    tensor = tensor::CastOp::create(
        b, scope.loc, RankedTensorType::get(target, element), tensor);
  }
  scope.setSizes(tensor, sizes);
  return tensor;
}

Value mlir::ffn::transposeTo(LowerScope &scope, Value tensor,
                             ArrayRef<int64_t> perm) {
  OpBuilder &b = scope.builder;
  if (llvm::equal(perm, llvm::seq<int64_t>(0, perm.size())))
    return tensor;
  tensor = refineType(scope, tensor);
  Sizes from = scope.sizes(tensor), sizes;
  SmallVector<AffineExpr> exprs(perm.size());
  for (auto [i, p] : llvm::enumerate(perm)) {
    sizes.push_back(from[p]);
    exprs[p] = getAffineDimExpr(i, b.getContext());
  }
  Value empty = emptyTensor(scope, sizes, elementOf(tensor));
  AffineMap maps[] = {AffineMap::get(perm.size(), 0, exprs, b.getContext()),
                      b.getMultiDimIdentityMap(perm.size())};
  SmallVector<utils::IteratorType> iterators(perm.size(),
                                             utils::IteratorType::parallel);
  auto generic = linalg::GenericOp::create(
      b, scope.loc, empty.getType(), ValueRange{tensor}, ValueRange{empty},
      maps, iterators, [](OpBuilder &b, Location loc, ValueRange args) {
        linalg::YieldOp::create(b, loc, args[0]);
      });
  scope.setSizes(generic.getResult(0), sizes);
  return generic.getResult(0);
}

Value mlir::ffn::unsqueeze(LowerScope &scope, Value tensor,
                           ArrayRef<int64_t> axes) {
  Sizes from = scope.sizes(tensor), sizes;
  auto it = from.begin();
  for (int64_t i = 0, n = from.size() + axes.size(); i < n; ++i)
    sizes.push_back(llvm::is_contained(axes, i) ? staticSize(scope, 1) : *it++);
  return reshapeTo(scope, tensor, sizes);
}
