//===- ShapeLower.cpp - Lowering of operators that move elements ----------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Ops/LowerHelpers.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::ffn;

/// Axes given as an attribute or, in newer versions, as an input; all
/// normalised to `rank`. None where they are not constant or not valid.
static std::optional<SmallVector<int64_t>>
axesOf(LowerContext &ctx, unsigned input, int64_t rank) {
  SmallVector<int64_t> axes;
  if (std::optional<ArrayRef<int64_t>> attr = ctx.node.getInts("axes"))
    axes.assign(attr->begin(), attr->end());
  else if (std::optional<SmallVector<int64_t>> values = ctx.constantInts(input))
    axes = *values;
  else
    return std::nullopt;
  for (int64_t &axis : axes) {
    std::optional<int64_t> positive = positiveAxis(axis, rank);
    if (!positive)
      return std::nullopt;
    axis = *positive;
  }
  return axes;
}

//===----------------------------------------------------------------------===//
// Shape
//===----------------------------------------------------------------------===//

static LogicalResult lowerShape(LowerContext &ctx) {
  Sizes sizes = ctx.sizes(ctx.input(0));
  int64_t rank = sizes.size();
  auto clamp = [&](int64_t at) {
    return std::clamp<int64_t>(at < 0 ? at + rank : at, 0, rank);
  };
  int64_t start = clamp(ctx.node.getInt("start", 0));
  int64_t end = clamp(ctx.node.getInt("end", rank));
  Sizes part;
  for (int64_t i = start; i < end; ++i)
    part.push_back(sizes[i]);
  Type i64 = ctx.builder.getI64Type();
  ctx.results[0] = part.empty() ? emptyTensor(ctx, {staticSize(ctx, 0)}, i64)
                                : sizesTensor(ctx, part, i64, false);
  return success();
}

static LogicalResult lowerSize(LowerContext &ctx) {
  OpFoldResult count = productOf(ctx, ctx.sizes(ctx.input(0)));
  ctx.results[0] = sizesTensor(ctx, {count}, ctx.builder.getI64Type(), true);
  return success();
}

/// Number of elements; unknown where a dimension is.
static DimExpr multiplyDims(const SymValue &value) {
  if (!value.hasRank())
    return {};
  DimExpr product = 1;
  for (const DimExpr &dim : *value.dims)
    product = product * dim;
  return product;
}

/// Sizes of the result of a Reshape from the requested ones: 0 keeps a dim
/// (unless allowzero), -1 takes the rest.
static std::optional<Sizes> reshapeSizes(LowerContext &ctx) {
  if (std::optional<Sizes> known = ctx.outputSizes(0)) {
    // A size that was divided is right only where nothing remains.
    DimExpr before = multiplyDims(ctx.symInput(0));
    if (!before.isKnown() || before != multiplyDims(ctx.symOutput(0)))
      ctx.check(equalIndex(ctx, productOf(ctx, ctx.sizes(ctx.input(0))),
                           productOf(ctx, *known)),
                LowerScope::CheckKind::Shape);
    return known;
  }
  std::optional<Sizes> wanted = ctx.intList(1);
  if (!wanted)
    return std::nullopt;
  OpBuilder &b = ctx.builder;
  Location loc = ctx.loc;
  Sizes from = ctx.sizes(ctx.input(0));
  bool allowZero = ctx.node.getInt("allowzero", 0) != 0;
  auto equals = [&](Value v, int64_t c) -> Value {
    return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, v,
                                 constantIndex(ctx, c));
  };
  // Two steps: copied dims first, then the product without the -1.
  OpFoldResult rest = staticSize(ctx, 1);
  Sizes sizes;
  for (auto [i, size] : llvm::enumerate(*wanted)) {
    OpFoldResult value = size;
    if (!allowZero && i < from.size()) {
      if (isConstantIntValue(size, 0))
        value = from[i];
      else if (llvm::isa<Value>(size))
        value = arith::SelectOp::create(b, loc, equals(sizeValue(ctx, size), 0),
                                        sizeValue(ctx, from[i]),
                                        sizeValue(ctx, size))
                    .getResult();
    }
    sizes.push_back(value);
    if (isConstantIntValue(value, -1))
      continue;
    OpFoldResult factor = value;
    if (auto v = llvm::dyn_cast_if_present<Value>(value))
      factor = arith::SelectOp::create(b, loc, equals(v, -1),
                                       constantIndex(ctx, 1), v)
                   .getResult();
    rest = mulSizes(ctx, rest, factor);
  }
  OpFoldResult total = productOf(ctx, from);
  Value divisor = sizeValue(ctx, rest);
  divisor = arith::SelectOp::create(b, loc, equals(divisor, 0),
                                    constantIndex(ctx, 1), divisor);
  Value inferred =
      arith::DivSIOp::create(b, loc, sizeValue(ctx, total), divisor);
  OpFoldResult product = staticSize(ctx, 1);
  for (OpFoldResult &size : sizes) {
    if (isConstantIntValue(size, -1))
      size = inferred;
    else if (auto v = llvm::dyn_cast_if_present<Value>(size))
      size = arith::SelectOp::create(b, loc, equals(v, -1), inferred, v)
                 .getResult();
    product = mulSizes(ctx, product, size);
  }
  Value same =
      arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq,
                            sizeValue(ctx, product), sizeValue(ctx, total));
  ctx.check(same, LowerScope::CheckKind::Shape);
  return sizes;
}

/// Whether two shapes cannot hold equally many elements: where what they do not
/// share is known on both sides.
static bool haveOtherCounts(Sizes from, Sizes to) {
  auto isZero = [](OpFoldResult size) { return isConstantIntValue(size, 0); };
  if (llvm::any_of(from, isZero) && llvm::any_of(to, isZero))
    return false;
  for (auto it = from.begin(); it != from.end();) {
    auto same = llvm::find(to, *it);
    if (same == to.end()) {
      ++it;
      continue;
    }
    to.erase(same);
    it = from.erase(it);
  }
  auto count = [](ArrayRef<OpFoldResult> sizes) -> std::optional<int64_t> {
    int64_t product = 1;
    for (OpFoldResult size : sizes) {
      std::optional<int64_t> known = getConstantIntValue(size);
      if (!known || llvm::MulOverflow(product, *known, product))
        return std::nullopt;
    }
    return product;
  };
  std::optional<int64_t> a = count(from), b = count(to);
  return a && b && *a != *b;
}

static LogicalResult lowerReshape(LowerContext &ctx) {
  if (ctx.node.getVersion() < 5)
    return ctx.unsupported("its shape is an attribute of an old version");
  std::optional<Sizes> sizes = reshapeSizes(ctx);
  if (!sizes)
    return ctx.unsupported("the rank of its result is not known");
  if (haveOtherCounts(ctx.sizes(ctx.input(0)), *sizes))
    return ctx.unsupported("its result cannot have as many elements as its "
                           "input");
  ctx.results[0] = reshapeTo(ctx, ctx.input(0), *sizes);
  return success();
}

static LogicalResult lowerFlatten(LowerContext &ctx) {
  Sizes from = ctx.sizes(ctx.input(0));
  int64_t rank = from.size(), axis = ctx.node.getInt("axis", 1);
  if (axis < 0)
    axis += rank;
  if (axis < 0 || axis > rank)
    return ctx.unsupported("its axis is out of range");
  OpFoldResult head = productOf(ctx, ArrayRef(from).take_front(axis));
  OpFoldResult tail = productOf(ctx, ArrayRef(from).drop_front(axis));
  ctx.results[0] = reshapeTo(ctx, ctx.input(0), {head, tail});
  return success();
}

static LogicalResult lowerSqueeze(LowerContext &ctx) {
  Sizes from = ctx.sizes(ctx.input(0)), sizes;
  SmallVector<int64_t> axes;
  if (ctx.input(1) || ctx.node.getInts("axes")) {
    std::optional<SmallVector<int64_t>> given = axesOf(ctx, 1, from.size());
    if (!given)
      return ctx.unsupported("its axes are not constant");
    axes = *given;
  } else {
    for (auto [i, size] : llvm::enumerate(from)) {
      if (isConstantIntValue(size, 1))
        axes.push_back(i);
      else if (llvm::isa<Value>(size))
        return ctx.unsupported("without axes all sizes must be static");
    }
  }
  for (auto [i, size] : llvm::enumerate(from)) {
    if (!llvm::is_contained(axes, i)) {
      sizes.push_back(size);
      continue;
    }
    if (isConstantIntValue(size, 1))
      continue;
    Value one =
        arith::CmpIOp::create(ctx.builder, ctx.loc, arith::CmpIPredicate::eq,
                              sizeValue(ctx, size), constantIndex(ctx, 1));
    ctx.check(one, LowerScope::CheckKind::Shape);
  }
  ctx.results[0] = reshapeTo(ctx, ctx.input(0), sizes);
  return success();
}

static LogicalResult lowerUnsqueeze(LowerContext &ctx) {
  int64_t rank = rankOf(ctx.input(0)), count = 0;
  if (std::optional<ArrayRef<int64_t>> attr = ctx.node.getInts("axes"))
    count = attr->size();
  else if (std::optional<SmallVector<int64_t>> values = ctx.constantInts(1))
    count = values->size();
  std::optional<SmallVector<int64_t>> axes = axesOf(ctx, 1, rank + count);
  if (!axes)
    return ctx.unsupported("its axes are not constant");
  ctx.results[0] = unsqueeze(ctx, ctx.input(0), *axes);
  return success();
}

static LogicalResult lowerTranspose(LowerContext &ctx) {
  int64_t rank = rankOf(ctx.input(0));
  SmallVector<int64_t> perm;
  if (std::optional<ArrayRef<int64_t>> attr = ctx.node.getInts("perm"))
    perm.assign(attr->begin(), attr->end());
  else
    for (int64_t i = rank - 1; i >= 0; --i)
      perm.push_back(i);
  SmallVector<bool> seen(rank, false);
  for (int64_t p : perm) {
    if (p < 0 || p >= rank || seen[p])
      return ctx.unsupported("perm is not a permutation");
    seen[p] = true;
  }
  if (static_cast<int64_t>(perm.size()) != rank)
    return ctx.unsupported("perm is not a permutation");
  ctx.results[0] = transposeTo(ctx, ctx.input(0), perm);
  return success();
}

//===----------------------------------------------------------------------===//
// Parts
//===----------------------------------------------------------------------===//

static LogicalResult lowerConcat(LowerContext &ctx) {
  int64_t rank = rankOf(ctx.input(0));
  std::optional<int64_t> axis = positiveAxis(ctx.node.getInt("axis", 0), rank);
  if (!axis)
    return ctx.unsupported("its axis is out of range");
  OpBuilder &b = ctx.builder;
  Sizes sizes = ctx.sizes(ctx.input(0));
  OpFoldResult total = staticSize(ctx, 0);
  for (Value input : ctx.inputs) {
    Sizes own = ctx.sizes(input);
    for (int64_t i = 0; i < rank; ++i)
      if (i != *axis && own[i] != sizes[i]) {
        if (getConstantIntValue(own[i]) && getConstantIntValue(sizes[i]))
          return ctx.unsupported("its inputs differ in shape");
        Value same = arith::CmpIOp::create(b, ctx.loc, arith::CmpIPredicate::eq,
                                           sizeValue(ctx, own[i]),
                                           sizeValue(ctx, sizes[i]));
        ctx.check(same, LowerScope::CheckKind::Shape);
        if (getConstantIntValue(own[i]))
          sizes[i] = own[i];
      }
    total = addSizes(ctx, total, own[*axis]);
  }
  if (std::optional<Sizes> known = ctx.outputSizes(0))
    total = (*known)[*axis];
  sizes[*axis] = total;
  Value result = emptyTensor(ctx, sizes, elementOf(ctx.input(0)));
  Sizes offsets(rank, staticSize(ctx, 0)), strides(rank, staticSize(ctx, 1));
  for (Value input : ctx.inputs) {
    input = refineType(ctx, input);
    Sizes own = ctx.sizes(input), part = sizes;
    part[*axis] = own[*axis];
    // Nothing to insert, perhaps at an offset that is the end.
    if (llvm::any_of(part, [](OpFoldResult size) {
          return isConstantIntValue(size, 0);
        }))
      continue;
    // The slice's static sizes must be those of the inserted type.
    SmallVector<int64_t> shape;
    for (OpFoldResult size : part)
      shape.push_back(getConstantIntValue(size).value_or(ShapedType::kDynamic));
    auto type = RankedTensorType::get(shape, elementOf(input));
    if (type != input.getType())
      input = tensor::CastOp::create(b, ctx.loc, type, input);
    result = tensor::InsertSliceOp::create(b, ctx.loc, input, result, offsets,
                                           part, strides);
    ctx.setSizes(result, sizes);
    offsets[*axis] = addSizes(ctx, offsets[*axis], own[*axis]);
  }
  ctx.results[0] = result;
  return success();
}

static Value extractSlice(LowerScope &scope, Value tensor,
                          ArrayRef<OpFoldResult> offsets,
                          ArrayRef<OpFoldResult> sizes,
                          ArrayRef<OpFoldResult> strides) {
  // The offset of an empty slice may be the end, which slices do not allow.
  auto isZero = [](OpFoldResult size) { return isConstantIntValue(size, 0); };
  if (llvm::any_of(sizes, isZero) ||
      llvm::is_contained(tensorType(tensor).getShape(), 0))
    return emptyTensor(scope, sizes, elementOf(tensor));
  Value result = tensor::ExtractSliceOp::create(
      scope.builder, scope.loc, tensor, offsets, sizes, strides);
  scope.setSizes(result, sizes);
  return result;
}

static LogicalResult lowerSplit(LowerContext &ctx) {
  Value input = refineType(ctx, ctx.input(0));
  Sizes from = ctx.sizes(input);
  int64_t rank = from.size();
  std::optional<int64_t> axis = positiveAxis(ctx.node.getInt("axis", 0), rank);
  if (!axis)
    return ctx.unsupported("its axis is out of range");
  unsigned count = ctx.node.getNumResults();
  Sizes parts;
  if (std::optional<ArrayRef<int64_t>> attr = ctx.node.getInts("split")) {
    for (int64_t part : *attr)
      parts.push_back(staticSize(ctx, part));
  } else if (ctx.input(1)) {
    std::optional<Sizes> given = ctx.intList(1);
    if (!given)
      return ctx.unsupported("its split sizes are not known");
    parts = *given;
  } else if (std::optional<int64_t> size = getConstantIntValue(from[*axis])) {
    int64_t each = (*size + count - 1) / count;
    for (unsigned i = 0; i < count; ++i)
      parts.push_back(staticSize(
          ctx, std::max<int64_t>(0, std::min(each, *size - each * i))));
  } else {
    for (unsigned i = 0; i < count; ++i) {
      std::optional<Sizes> sizes = ctx.outputSizes(i);
      if (!sizes)
        return ctx.unsupported("the size of the split axis is not known");
      parts.push_back((*sizes)[*axis]);
    }
  }
  if (parts.size() != count)
    return ctx.unsupported("its split sizes do not match its outputs");
  OpFoldResult total = staticSize(ctx, 0);
  for (OpFoldResult part : parts)
    total = addSizes(ctx, total, part);
  if (total != from[*axis]) {
    Value same = arith::CmpIOp::create(
        ctx.builder, ctx.loc, arith::CmpIPredicate::eq, sizeValue(ctx, total),
        sizeValue(ctx, from[*axis]));
    ctx.check(same, LowerScope::CheckKind::Shape);
  }
  // A negative part would let the sum fit and others reach beyond the tensor.
  for (OpFoldResult part : parts)
    if (auto size = llvm::dyn_cast<Value>(part))
      ctx.check(arith::CmpIOp::create(ctx.builder, ctx.loc,
                                      arith::CmpIPredicate::sge, size,
                                      constantIndex(ctx, 0)),
                LowerScope::CheckKind::Shape);
  Sizes offsets(rank, staticSize(ctx, 0)), strides(rank, staticSize(ctx, 1));
  for (unsigned i = 0; i < count; ++i) {
    Sizes sizes = from;
    sizes[*axis] = parts[i];
    ctx.results[i] = extractSlice(ctx, input, offsets, sizes, strides);
    offsets[*axis] = addSizes(ctx, offsets[*axis], parts[i]);
  }
  return success();
}

/// One bound of a slice: negative counts from the end, then clamped.
static Value clampBound(LowerContext &ctx, OpFoldResult bound, Value size,
                        int64_t low, int64_t highOffset) {
  OpBuilder &b = ctx.builder;
  Value zero = constantIndex(ctx, 0), v = sizeValue(ctx, bound);
  Value negative =
      arith::CmpIOp::create(b, ctx.loc, arith::CmpIPredicate::slt, v, zero);
  // INT64_MIN + size does not wrap, INT64_MAX is not touched.
  Value wrapped = arith::AddIOp::create(b, ctx.loc, v, size);
  v = arith::SelectOp::create(b, ctx.loc, negative, wrapped, v);
  v = arith::MaxSIOp::create(b, ctx.loc, v, constantIndex(ctx, low));
  Value high =
      highOffset ? Value(arith::AddIOp::create(b, ctx.loc, size,
                                               constantIndex(ctx, highOffset)))
                 : size;
  return arith::MinSIOp::create(b, ctx.loc, v, high);
}

/// Longer than any axis of a tensor in memory.
static constexpr int64_t kLongestStep = int64_t(1) << 48;

static LogicalResult lowerSlice(LowerContext &ctx) {
  Value input = refineType(ctx, ctx.input(0));
  Sizes from = ctx.sizes(input);
  int64_t rank = from.size();
  Sizes starts, ends, steps;
  SmallVector<int64_t> axes;
  if (ctx.node.getVersion() < 10) {
    for (auto [name, list] :
         {std::pair<StringRef, Sizes *>("starts", &starts), {"ends", &ends}}) {
      std::optional<ArrayRef<int64_t>> attr = ctx.node.getInts(name);
      if (!attr)
        return ctx.unsupported("its bounds are missing");
      for (int64_t v : *attr)
        list->push_back(staticSize(ctx, v));
    }
    if (std::optional<ArrayRef<int64_t>> attr = ctx.node.getInts("axes"))
      axes.assign(attr->begin(), attr->end());
  } else {
    std::optional<Sizes> s = ctx.intList(1), e = ctx.intList(2);
    if (!s || !e)
      return ctx.unsupported("the number of its bounds is not known");
    starts = *s;
    ends = *e;
    if (ctx.input(3)) {
      std::optional<SmallVector<int64_t>> given = ctx.constantInts(3);
      if (!given)
        return ctx.unsupported("its axes are not constant");
      axes = *given;
    }
    if (ctx.input(4)) {
      std::optional<Sizes> given = ctx.intList(4);
      if (!given)
        return ctx.unsupported("its steps are not known");
      steps = *given;
    }
  }
  if (axes.empty())
    for (size_t i = 0; i < starts.size(); ++i)
      axes.push_back(i);
  if (ends.size() != starts.size() || axes.size() != starts.size() ||
      (!steps.empty() && steps.size() != starts.size()))
    return ctx.unsupported("starts, ends, axes and steps differ in length");
  Sizes offsets(rank, staticSize(ctx, 0)), strides(rank, staticSize(ctx, 1));
  Sizes sizes = from;
  std::optional<Sizes> known = ctx.outputSizes(0);
  bool isGathered = false;
  OpBuilder &b = ctx.builder;
  for (size_t i = 0; i < starts.size(); ++i) {
    std::optional<int64_t> axis = positiveAxis(axes[i], rank);
    std::optional<int64_t> step =
        steps.empty() ? 1 : getConstantIntValue(steps[i]);
    if (!axis || !step || *step == 0)
      return ctx.unsupported("its axes or steps are not valid constants");
    // No axis is that long: the same elements, and nothing overflows.
    step = std::clamp<int64_t>(*step, -kLongestStep, kLongestStep);
    isGathered |= *step < 0 || *step == kLongestStep;
    std::optional<int64_t> cs = getConstantIntValue(starts[i]),
                           ce = getConstantIntValue(ends[i]),
                           cn = getConstantIntValue(from[*axis]);
    // The common case of a constant prefix [0, end) or suffix is folded by
    // hand, so that static shapes stay static.
    if (cs && ce && cn) {
      int64_t n = *cn, s = *cs, e = *ce;
      s = s < 0 ? s + n : s;
      e = e < 0 ? e + n : e;
      int64_t count;
      if (*step > 0) {
        s = std::clamp<int64_t>(s, 0, n);
        e = std::clamp<int64_t>(e, 0, n);
        count = e > s ? (e - s - 1) / *step + 1 : 0;
      } else {
        s = std::min(std::max<int64_t>(s, 0), n - 1);
        e = std::clamp<int64_t>(e, -1, n - 1);
        count = s > e ? (s - e - 1) / -*step + 1 : 0;
      }
      offsets[*axis] = staticSize(ctx, count ? s : 0);
      sizes[*axis] = staticSize(ctx, count);
      strides[*axis] = staticSize(ctx, *step);
      continue;
    }
    Value n = sizeValue(ctx, from[*axis]);
    bool forward = *step > 0;
    Value s = clampBound(ctx, starts[i], n, 0, forward ? 0 : -1);
    Value e = clampBound(ctx, ends[i], n, forward ? 0 : -1, forward ? 0 : -1);
    // INT64_MIN as an end is "before the first element".
    Value length = forward ? arith::SubIOp::create(b, ctx.loc, e, s)
                           : arith::SubIOp::create(b, ctx.loc, s, e);
    Value zero = constantIndex(ctx, 0);
    length = arith::MaxSIOp::create(b, ctx.loc, length, zero);
    int64_t magnitude = forward ? *step : -*step;
    if (magnitude != 1)
      length = arith::CeilDivSIOp::create(b, ctx.loc, length,
                                          constantIndex(ctx, magnitude));
    OpFoldResult size = length;
    if (known && llvm::isa<Value>((*known)[*axis]))
      size = (*known)[*axis];
    else if (known)
      size = (*known)[*axis];
    // A part that starts at a constant 0 keeps the offset constant.
    offsets[*axis] = cs == 0 && forward ? staticSize(ctx, 0) : OpFoldResult(s);
    sizes[*axis] = size;
    strides[*axis] = staticSize(ctx, *step);
  }
  if (!isGathered) {
    ctx.results[0] = extractSlice(ctx, input, offsets, sizes, strides);
    return success();
  }
  // Negative strides are no slice of upstream's, and long ones overflow when
  // they are multiplied by the size of a row: read element by element.
  ctx.results[0] =
      generate(ctx, sizes, elementOf(input),
               [&](OpBuilder &b, Location loc, ValueRange at) -> Value {
                 SmallVector<Value> from;
                 for (auto [i, index] : llvm::enumerate(at)) {
                   Value scaled = arith::MulIOp::create(
                       b, loc, index,
                       getValueOrCreateConstantIndexOp(b, loc, strides[i]));
                   from.push_back(arith::AddIOp::create(
                       b, loc, scaled,
                       getValueOrCreateConstantIndexOp(b, loc, offsets[i])));
                 }
                 return tensor::ExtractOp::create(b, loc, input, from);
               });
  return success();
}

//===----------------------------------------------------------------------===//
// Repetition
//===----------------------------------------------------------------------===//

static LogicalResult lowerExpand(LowerContext &ctx) {
  std::optional<Sizes> wanted = ctx.intList(1);
  if (!wanted)
    return ctx.unsupported("the rank of its result is not known");
  Value input = ctx.input(0);
  FailureOr<Sizes> sizes = broadcastSizes(ctx, {ctx.sizes(input), *wanted});
  if (failed(sizes))
    return ctx.unsupported("its shapes do not broadcast");
  if (std::optional<Sizes> known = ctx.outputSizes(0))
    sizes = *known;
  // Read by a broadcasting map, so that a consumer can fuse with it.
  Value operand = broadcastOperand(ctx, input, *sizes);
  RankedTensorType type = tensorType(operand);
  int64_t rank = sizes->size(), lead = rank - type.getRank();
  OpBuilder &b = ctx.builder;
  SmallVector<AffineExpr> exprs;
  for (auto [i, dim] : llvm::enumerate(type.getShape()))
    exprs.push_back(dim == 1 && !isConstantIntValue((*sizes)[lead + i], 1)
                        ? getAffineConstantExpr(0, b.getContext())
                        : getAffineDimExpr(lead + i, b.getContext()));
  Value empty = emptyTensor(ctx, *sizes, type.getElementType());
  AffineMap maps[] = {AffineMap::get(rank, 0, exprs, b.getContext()),
                      b.getMultiDimIdentityMap(rank)};
  SmallVector<utils::IteratorType> iterators(rank,
                                             utils::IteratorType::parallel);
  auto generic = linalg::GenericOp::create(
      b, ctx.loc, empty.getType(), ValueRange{operand}, ValueRange{empty}, maps,
      iterators, [](OpBuilder &b, Location loc, ValueRange args) {
        linalg::YieldOp::create(b, loc, args[0]);
      });
  ctx.setSizes(generic.getResult(0), *sizes);
  ctx.results[0] = generic.getResult(0);
  return success();
}

static LogicalResult lowerTile(LowerContext &ctx) {
  Value input = refineType(ctx, ctx.input(0));
  Sizes from = ctx.sizes(input), sizes;
  std::optional<Sizes> repeats = ctx.intList(1);
  if (!repeats || repeats->size() != from.size())
    return ctx.unsupported("its repeats are not known");
  for (auto [size, count] : llvm::zip(from, *repeats))
    sizes.push_back(mulSizes(ctx, size, count));
  if (std::optional<Sizes> known = ctx.outputSizes(0))
    sizes = *known;
  SmallVector<Value> extents;
  for (OpFoldResult size : from)
    extents.push_back(sizeValue(ctx, size));
  ctx.results[0] = generate(
      ctx, sizes, elementOf(input),
      [&](OpBuilder &b, Location loc, ValueRange at) -> Value {
        SmallVector<Value> source;
        for (auto [i, index] : llvm::enumerate(at))
          source.push_back(
              isConstantIntValue((*repeats)[i], 1)
                  ? Value(index)
                  : Value(arith::RemUIOp::create(b, loc, index, extents[i])));
        return tensor::ExtractOp::create(b, loc, input, source);
      });
  return success();
}

/// What a pad adds and what it removes; one of both is zero.
static std::pair<OpFoldResult, OpFoldResult> splitPad(LowerContext &ctx,
                                                      OpFoldResult pad) {
  if (std::optional<int64_t> known = getConstantIntValue(pad))
    return {staticSize(ctx, std::max<int64_t>(*known, 0)),
            staticSize(ctx, std::max<int64_t>(-*known, 0))};
  OpBuilder &b = ctx.builder;
  Value zero = constantIndex(ctx, 0), value = sizeValue(ctx, pad);
  Value negated = arith::SubIOp::create(b, ctx.loc, zero, value);
  return {OpFoldResult(arith::MaxSIOp::create(b, ctx.loc, value, zero)),
          OpFoldResult(arith::MaxSIOp::create(b, ctx.loc, negated, zero))};
}

static LogicalResult lowerPad(LowerContext &ctx) {
  Value input = refineType(ctx, ctx.input(0));
  Sizes from = ctx.sizes(input);
  int64_t rank = from.size();
  StringRef mode = ctx.node.getString("mode", "constant");
  Sizes pads;
  if (std::optional<ArrayRef<int64_t>> attr = ctx.node.getInts("pads")) {
    for (int64_t v : *attr)
      pads.push_back(staticSize(ctx, v));
  } else if (std::optional<Sizes> given = ctx.intList(1)) {
    pads = *given;
  }
  SmallVector<int64_t> axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  if (ctx.input(3)) {
    std::optional<SmallVector<int64_t>> given = axesOf(ctx, 3, rank);
    if (!given)
      return ctx.unsupported("its axes are not constant");
    axes = *given;
  }
  if (pads.size() != 2 * axes.size())
    return ctx.unsupported("its pads are not known");
  if (mode != "constant" && mode != "edge" && mode != "reflect" &&
      mode != "wrap")
    return ctx.unsupported("mode '" + mode + "'");
  OpBuilder &b = ctx.builder;
  Type type = elementOf(input);
  Value fill = zeroOf(b, ctx.loc, type);
  if (ctx.input(2)) {
    Value scalar = reshapeTo(ctx, ctx.input(2), {});
    fill = tensor::ExtractOp::create(b, ctx.loc, scalar, ValueRange{});
  } else if (ctx.node.getVersion() < 11) {
    fill = constantOf(b, ctx.loc, type, ctx.node.getFloat("value", 0));
  }
  Sizes begin(rank, staticSize(ctx, 0)), sizes = from;
  // Negative pads remove elements first: [cropped, cropped + kept) is padded.
  Sizes cropped = begin, kept = from;
  for (auto [i, axis] : llvm::enumerate(axes)) {
    OpFoldResult low = pads[i], high = pads[axes.size() + i];
    sizes[axis] = addSizes(ctx, addSizes(ctx, sizes[axis], low), high);
    auto [added, removed] = splitPad(ctx, low);
    begin[axis] = added;
    cropped[axis] = removed;
    kept[axis] = subSizes(ctx, subSizes(ctx, kept[axis], removed),
                          splitPad(ctx, high).second);
    if (mode == "constant")
      continue;
    // Something must be left to copy unless nothing is wanted.
    std::optional<int64_t> size = getConstantIntValue(kept[axis]);
    if (size && *size > 0)
      continue;
    if (kept[axis] == from[axis] && sizes[axis] == from[axis])
      continue;
    Value zero = constantIndex(ctx, 0);
    Value some = arith::CmpIOp::create(b, ctx.loc, arith::CmpIPredicate::sgt,
                                       sizeValue(ctx, kept[axis]), zero);
    Value none = arith::CmpIOp::create(b, ctx.loc, arith::CmpIPredicate::eq,
                                       sizeValue(ctx, sizes[axis]), zero);
    ctx.check(arith::OrIOp::create(b, ctx.loc, some, none),
              LowerScope::CheckKind::Shape);
  }
  if (std::optional<Sizes> known = ctx.outputSizes(0))
    sizes = *known;
  SmallVector<Value> starts, offsets, extents;
  for (int64_t i = 0; i < rank; ++i) {
    starts.push_back(sizeValue(ctx, begin[i]));
    offsets.push_back(sizeValue(ctx, cropped[i]));
    extents.push_back(sizeValue(ctx, kept[i]));
  }
  ctx.results[0] = generate(
      ctx, sizes, type,
      [&](OpBuilder &b, Location loc, ValueRange at) -> Value {
        Value zero = arith::ConstantIndexOp::create(b, loc, 0);
        Value one = arith::ConstantIndexOp::create(b, loc, 1);
        SmallVector<Value> source;
        Value inside;
        for (auto [i, index] : llvm::enumerate(at)) {
          if (isConstantIntValue(begin[i], 0) &&
              isConstantIntValue(cropped[i], 0) && kept[i] == from[i] &&
              sizes[i] == from[i]) {
            source.push_back(index);
            continue;
          }
          Value p = arith::SubIOp::create(b, loc, index, starts[i]);
          Value last = arith::SubIOp::create(b, loc, extents[i], one);
          Value clamped = arith::MinSIOp::create(
              b, loc, arith::MaxSIOp::create(b, loc, p, zero), last);
          // An empty axis is never read, but its index must not be -1.
          clamped = arith::MaxSIOp::create(b, loc, clamped, zero);
          if (mode == "constant") {
            Value same = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq,
                                               p, clamped);
            Value below = arith::CmpIOp::create(
                b, loc, arith::CmpIPredicate::slt, p, extents[i]);
            same = arith::AndIOp::create(b, loc, same, below);
            inside =
                inside ? arith::AndIOp::create(b, loc, inside, same) : same;
          } else if (mode == "reflect") {
            // Mirrored at both ends, again and again: |p| modulo the period.
            Value absolute = arith::MaxSIOp::create(
                b, loc, p, arith::SubIOp::create(b, loc, zero, p));
            Value twice = arith::AddIOp::create(b, loc, last, last);
            absolute = arith::RemSIOp::create(
                b, loc, absolute, arith::MaxSIOp::create(b, loc, twice, one));
            Value mirrored = arith::SubIOp::create(b, loc, twice, absolute);
            Value beyond = arith::CmpIOp::create(
                b, loc, arith::CmpIPredicate::sgt, absolute, last);
            clamped =
                arith::SelectOp::create(b, loc, beyond, mirrored, absolute);
            clamped = arith::MaxSIOp::create(b, loc, clamped, zero);
          } else if (mode == "wrap") {
            Value n = arith::MaxSIOp::create(b, loc, extents[i], one);
            Value m = arith::RemSIOp::create(b, loc, p, n);
            Value negative = arith::CmpIOp::create(
                b, loc, arith::CmpIPredicate::slt, m, zero);
            clamped = arith::SelectOp::create(
                b, loc, negative, arith::AddIOp::create(b, loc, m, n), m);
          }
          source.push_back(arith::AddIOp::create(b, loc, clamped, offsets[i]));
        }
        if (!inside)
          return tensor::ExtractOp::create(b, loc, input, source);
        // An empty input has nothing to read: the branch keeps it unread.
        auto choose = scf::IfOp::create(
            b, loc, inside,
            [&](OpBuilder &b, Location loc) {
              Value v = tensor::ExtractOp::create(b, loc, input, source);
              scf::YieldOp::create(b, loc, v);
            },
            [&](OpBuilder &b, Location loc) {
              scf::YieldOp::create(b, loc, fill);
            });
        return choose.getResult(0);
      });
  return success();
}

FFN_REGISTER_OPS(ShapeLower) {
  auto add = [&](StringRef name, LowerFn fn) {
    table.addLower("", name, 1, fn);
  };
  add("Shape", lowerShape);
  add("Size", lowerSize);
  add("Reshape", lowerReshape);
  add("Flatten", lowerFlatten);
  add("Squeeze", lowerSqueeze);
  add("Unsqueeze", lowerUnsqueeze);
  add("Transpose", lowerTranspose);
  add("Concat", lowerConcat);
  add("Split", lowerSplit);
  add("Slice", lowerSlice);
  add("Expand", lowerExpand);
  table.addLower("", "Tile", 6, lowerTile);
  add("Pad", lowerPad);
}
