//===- Reshape.cpp - Shapes of operators that rearrange dims --------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/ShapeHelpers.h"
#include "llvm/ADT/SmallBitVector.h"

using namespace mlir;
using namespace mlir::ffn;

/// Output 0 with the elements of input 0 in their order.
static LogicalResult setRearranged(ShapeContext &ctx,
                                   std::optional<Dims> dims) {
  SymValue result(Type(), std::move(dims));
  if (result.dims)
    result.contents = ctx.input(0).contents;
  ctx.setOutput(0, std::move(result));
  return success();
}

//===----------------------------------------------------------------------===//
// Reshape, Flatten
//===----------------------------------------------------------------------===//

/// True where the shape operand comes out of other nodes. That it does not fit
/// is then seen at run time, as other tools see it, if the node is ever
/// reached.
static bool isShapeComputed(ShapeContext &ctx) {
  Value shape = ctx.numInputs() > 1 ? ctx.node.getInput(1) : Value();
  auto node = shape ? shape.getDefiningOp<onnx::NodeOp>() : onnx::NodeOp();
  return node && node.getOp() != "Constant";
}

/// The dims that a shape operand asks for. `copyZero`: 0 takes the input's dim.
static FailureOr<Dims> getReshaped(ShapeContext &ctx, ArrayRef<DimExpr> wanted,
                                   bool copyZero) {
  const SymValue &input = ctx.input(0);
  Dims result;
  std::optional<size_t> inferred; // the -1
  SmallVector<size_t> unknown;
  for (auto [i, size] : llvm::enumerate(wanted)) {
    std::optional<int64_t> constant = size.getConstant();
    if (constant == -1) {
      if (inferred)
        return ctx.error("I502", "the shape has -1 more than once");
      inferred = i;
      result.push_back(DimExpr());
    } else if (constant && *constant < -1) {
      return ctx.error("I502", "the shape has a size of " + Twine(*constant));
    } else if (constant == 0 && copyZero) {
      if (input.dims && i >= input.dims->size())
        return ctx.error("I502", "the shape copies dimension " + Twine(i) +
                                     " of an input of " + Twine(input.rank()) +
                                     " dimensions");
      result.push_back(input.dims ? (*input.dims)[i] : DimExpr());
    } else {
      // What may be negative may be a computed -1.
      result.push_back(size.isNonNegative() ? size : DimExpr());
    }
    if (constant != -1 && !result.back().isKnown())
      unknown.push_back(i);
  }
  if (!input.dims)
    return result;
  // One size that is not known follows from the number of elements.
  std::optional<size_t> missing = inferred;
  if (!inferred && unknown.size() == 1)
    missing = unknown.front();
  if (inferred && !unknown.empty())
    return result;
  DimExpr total = product(*input.dims);
  if (!missing) {
    std::optional<int64_t> have = total.getConstant(),
                           want = product(result).getConstant();
    if (have && want && *have != *want && !isShapeComputed(ctx))
      return ctx.error("I504",
                       "input of shape " + Twine(toString(*input.dims)) +
                           " does not fit the shape " + toString(result));
    return result;
  }
  DimExpr others(1);
  for (auto [i, size] : llvm::enumerate(result))
    if (i != *missing)
      others = others * size;
  if (others.isConstant(0))
    return result;
  std::optional<int64_t> have = total.getConstant(),
                         rest = others.getConstant();
  if (have && rest && *have % *rest != 0) {
    if (isShapeComputed(ctx))
      return result;
    return ctx.error("I504", "input of shape " + Twine(toString(*input.dims)) +
                                 " does not fit the shape " + toString(wanted));
  }
  result[*missing] = total.floorDiv(others);
  return result;
}

static LogicalResult reshapeTo(ShapeContext &ctx, const Dims &wanted,
                               bool copyZero) {
  if (wanted.size() > static_cast<size_t>(kMaxRank))
    return ctx.error("I202", "the shape has " + Twine(wanted.size()) +
                                 " dimensions, the limit is " +
                                 Twine(kMaxRank));
  FailureOr<Dims> dims = getReshaped(ctx, wanted, copyZero);
  if (failed(dims))
    return failure();
  return setRearranged(ctx, std::move(*dims));
}

/// The number of elements of a vector, if constant and a legal rank; I202
/// above the limit.
static FailureOr<std::optional<int64_t>> getVectorLength(ShapeContext &ctx,
                                                         unsigned i) {
  const SymValue &value = ctx.input(i);
  if (!value.dims)
    return std::optional<int64_t>();
  if (value.rank() != 1)
    return ctx.error("I504", "input " + Twine(i) + " is no vector");
  std::optional<int64_t> length = value.dims->front().getConstant();
  if (length && *length > kMaxRank)
    return ctx.error("I202", "the shape has " + Twine(*length) +
                                 " dimensions, the limit is " +
                                 Twine(kMaxRank));
  return length;
}

static LogicalResult shapeReshapeByAttr(ShapeContext &ctx) {
  std::optional<ArrayRef<int64_t>> shape = ctx.node.getInts("shape");
  if (!shape)
    return success();
  return reshapeTo(ctx, Dims(shape->begin(), shape->end()), true);
}

static LogicalResult shapeReshape(ShapeContext &ctx) {
  FailureOr<std::optional<int64_t>> length = getVectorLength(ctx, 1);
  if (failed(length))
    return failure();
  bool copyZero = ctx.node.getInt("allowzero", 0) == 0;
  if (ctx.input(1).contents)
    return reshapeTo(ctx, *ctx.input(1).contents, copyZero);
  if (*length)
    return reshapeTo(ctx, unknownDims(**length), copyZero);
  return success();
}

static LogicalResult shapeFlatten(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  if (!input.dims)
    return setRearranged(ctx, unknownDims(2));
  int64_t axis = ctx.node.getInt("axis", 1), rank = input.rank();
  if (axis < -rank || axis > rank)
    return ctx.error("I502", "axis " + Twine(axis) + " is out of range for " +
                                 Twine(rank) + " dimensions");
  if (axis < 0)
    axis += rank;
  ArrayRef<DimExpr> dims = *input.dims;
  return setRearranged(ctx, Dims{product(dims.take_front(axis)),
                                 product(dims.drop_front(axis))});
}

//===----------------------------------------------------------------------===//
// Squeeze, Unsqueeze, Transpose
//===----------------------------------------------------------------------===//

static LogicalResult shapeSqueeze(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  FailureOr<Axes> axes = getAxes(ctx, 1, "axes", input.rank());
  if (failed(axes))
    return failure();
  if (!input.dims || !axes->known)
    return success();
  Dims result;
  llvm::SmallBitVector drop(input.rank());
  if (axes->axes) {
    for (int64_t axis : *axes->axes) {
      drop.set(axis);
      if (failed(requireEqual(ctx, (*input.dims)[axis], 1,
                              "squeezed dimension " + Twine(axis))))
        return failure();
    }
  } else {
    for (auto [i, dim] : llvm::enumerate(*input.dims)) {
      if (!dim.getConstant()) // may be 1 at run time
        return success();
      drop[i] = dim.isConstant(1);
    }
  }
  for (auto [i, dim] : llvm::enumerate(*input.dims))
    if (!drop.test(i))
      result.push_back(dim);
  return setRearranged(ctx, std::move(result));
}

static LogicalResult shapeUnsqueeze(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  if (!input.dims)
    return success();
  int64_t count = -1;
  if (ctx.hasInput(1)) {
    if (std::optional<SmallVector<int64_t>> axes = ctx.constantInts(1))
      count = axes->size();
    else if (ctx.input(1).rank() == 1)
      count = ctx.input(1).dims->front().getConstant().value_or(-1);
    else if (ctx.input(1).rank() == 0)
      count = 1;
  } else if (std::optional<ArrayRef<int64_t>> axes = ctx.node.getInts("axes")) {
    count = axes->size();
  }
  if (count < 0)
    return success();
  if (count > kMaxRank)
    return ctx.error("I202", Twine(count) + " axes are more than the limit");
  int64_t rank = input.rank() + count;
  FailureOr<Axes> axes = getAxes(ctx, 1, "axes", rank);
  if (failed(axes))
    return failure();
  if (!axes->known || !axes->axes)
    return setRearranged(ctx, unknownDims(rank));
  llvm::SmallBitVector isNew(rank);
  for (int64_t axis : *axes->axes)
    isNew.set(axis);
  Dims result;
  const DimExpr *next = input.dims->begin();
  for (int64_t i = 0; i < rank; ++i)
    result.push_back(isNew.test(i) ? DimExpr(1) : *next++);
  return setRearranged(ctx, std::move(result));
}

static LogicalResult shapeTranspose(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  std::optional<ArrayRef<int64_t>> perm = ctx.node.getInts("perm");
  if (perm) {
    int64_t rank = input.dims ? input.rank() : perm->size();
    llvm::SmallBitVector seen(std::min<int64_t>(rank, kMaxRank));
    bool good = static_cast<int64_t>(perm->size()) == rank;
    for (int64_t axis : *perm) {
      good = good && axis >= 0 && axis < static_cast<int64_t>(seen.size()) &&
             !seen.test(axis);
      if (!good)
        break;
      seen.set(axis);
    }
    if (!good) {
      std::string text;
      llvm::raw_string_ostream os(text);
      llvm::interleaveComma(perm->take_front(kMaxRank), os);
      return ctx.error("I502", "perm [" + Twine(text) +
                                   "] is not a permutation of " + Twine(rank) +
                                   " axes");
    }
  }
  if (!input.dims) {
    if (perm)
      setOutput(ctx, 0, unknownDims(perm->size()));
    return success();
  }
  Dims result;
  for (int64_t i = 0; i < input.rank(); ++i)
    result.push_back((*input.dims)[perm ? (*perm)[i] : input.rank() - 1 - i]);
  if (input.rank() <= 1)
    return setRearranged(ctx, std::move(result));
  setOutput(ctx, 0, std::move(result));
  return success();
}

//===----------------------------------------------------------------------===//
// Expand, Tile
//===----------------------------------------------------------------------===//

static LogicalResult shapeExpand(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  FailureOr<std::optional<int64_t>> length = getVectorLength(ctx, 1);
  if (failed(length))
    return failure();
  Dims wanted;
  if (ctx.input(1).contents)
    wanted = *ctx.input(1).contents;
  else if (*length)
    wanted = unknownDims(**length);
  else
    return success();
  for (DimExpr &size : wanted) {
    if (size.getConstant().value_or(0) < 0)
      return ctx.error("I502",
                       "the shape has a size of " + Twine(*size.getConstant()));
    if (!size.isNonNegative())
      size = DimExpr();
  }
  if (!input.dims)
    return success();
  FailureOr<Dims> dims = broadcastDims(ctx, *input.dims, wanted);
  if (failed(dims))
    return failure();
  SymValue result(Type(), std::move(*dims));
  int64_t count = 0;
  if (input.contents && input.contents->size() == 1 &&
      isFoldable(result.dims, count))
    result.contents = Dims(count, input.contents->front());
  else if (input.contents && *input.dims == *result.dims)
    result.contents = input.contents;
  ctx.setOutput(0, std::move(result));
  return success();
}

static LogicalResult shapeTile(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0), &repeats = ctx.input(1);
  if (!input.dims)
    return success();
  if (repeats.contents &&
      repeats.contents->size() != static_cast<size_t>(input.rank()))
    return ctx.error("I504", Twine(repeats.contents->size()) + " repeats for " +
                                 Twine(input.rank()) + " dimensions");
  Dims result = unknownDims(input.rank());
  if (repeats.contents)
    for (auto [i, count] : llvm::enumerate(*repeats.contents)) {
      if (count.getConstant().value_or(0) < 0)
        return ctx.error("I502", "a repeat is " + Twine(*count.getConstant()));
      if (count.isNonNegative())
        result[i] = (*input.dims)[i] * count;
    }
  SymValue value(Type(), std::move(result));
  int64_t count = 0;
  if (input.contents && input.rank() == 1 && !input.contents->empty() &&
      isFoldable(value.dims, count)) {
    value.contents.emplace();
    for (int64_t i = 0; i < count; ++i)
      value.contents->push_back((*input.contents)[i % input.contents->size()]);
  }
  ctx.setOutput(0, std::move(value));
  return success();
}

/// Before opset 6: inputs `tiles` and `axis`.
static LogicalResult shapeOldTile(ShapeContext &ctx) {
  if (ctx.input(0).dims)
    setOutput(ctx, 0, unknownDims(ctx.input(0).rank()));
  return success();
}

//===----------------------------------------------------------------------===//
// DepthToSpace, SpaceToDepth
//===----------------------------------------------------------------------===//

static LogicalResult shapeDepthSpace(ShapeContext &ctx, bool toSpace) {
  int64_t block = ctx.node.getInt("blocksize", 0);
  if (block < 1 || block > INT32_MAX)
    return ctx.error("I502", "blocksize is " + Twine(block));
  if (failed(requireRank(ctx, 0, 4)))
    return failure();
  if (!ctx.input(0).dims)
    return success();
  Dims dims = *ctx.input(0).dims;
  DimExpr square = DimExpr(block) * DimExpr(block);
  auto divide = [&](DimExpr &dim, const DimExpr &by) -> LogicalResult {
    std::optional<int64_t> size = dim.getConstant();
    if (size && by.getConstant() && *size % *by.getConstant() != 0)
      return ctx.error("I504", "size " + Twine(*size) + " is no multiple of " +
                                   Twine(*by.getConstant()));
    dim = dim.floorDiv(by);
    return success();
  };
  if (toSpace) {
    if (failed(divide(dims[1], square)))
      return failure();
    dims[2] = dims[2] * block;
    dims[3] = dims[3] * block;
  } else {
    if (failed(divide(dims[2], block)) || failed(divide(dims[3], block)))
      return failure();
    dims[1] = dims[1] * square;
  }
  setOutput(ctx, 0, std::move(dims));
  return success();
}

static LogicalResult shapeDepthToSpace(ShapeContext &ctx) {
  return shapeDepthSpace(ctx, true);
}
static LogicalResult shapeSpaceToDepth(ShapeContext &ctx) {
  return shapeDepthSpace(ctx, false);
}

FFN_REGISTER_OPS(Reshape) {
  table.addShape("", "Reshape", 1, shapeReshapeByAttr);
  table.addShape("", "Reshape", 5, shapeReshape);
  table.addShape("", "Flatten", 1, shapeFlatten);
  table.addShape("", "Squeeze", 1, shapeSqueeze);
  table.addShape("", "Unsqueeze", 1, shapeUnsqueeze);
  table.addShape("", "Transpose", 1, shapeTranspose);
  table.addShape("", "Expand", 8, shapeExpand);
  table.addShape("", "Tile", 1, shapeOldTile);
  table.addShape("", "Tile", 6, shapeTile);
  table.addShape("", "DepthToSpace", 1, shapeDepthToSpace);
  table.addShape("", "SpaceToDepth", 1, shapeSpaceToDepth);
}
