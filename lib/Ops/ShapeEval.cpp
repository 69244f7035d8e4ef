//===- ShapeEval.cpp - Operators that move elements -----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/TensorOps.h"
#include "ffn-mlir/Ops/OpTable.h"
#include <algorithm>
#include <numeric>

using namespace mlir;
using namespace mlir::ffn;

/// The integers of input i (newer versions) or of an attribute (older ones).
static FailureOr<std::optional<SmallVector<int64_t>>>
intsOf(EvalContext &ctx, unsigned i, StringRef name) {
  if (ctx.hasInput(i))
    return ctx.optionalInts(i);
  return ctx.getInts(name);
}

static LogicalResult give(EvalContext &ctx, FailureOr<EvalTensor> result) {
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalShape(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  int64_t rank = x->getRank();
  auto clamp = [&](int64_t i) {
    return std::clamp<int64_t>(i < 0 ? i + rank : i, 0, rank);
  };
  int64_t start = clamp(ctx.getInt("start", 0));
  int64_t end = clamp(ctx.getInt("end", rank));
  ctx.setOutput(
      0, EvalTensor::vector(
             ctx.i64(),
             x->getShape().slice(start, std::max<int64_t>(0, end - start))));
  return success();
}

static LogicalResult evalSize(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  ctx.setOutput(0, EvalTensor::scalarInt(ctx.i64(), x->getNumElements()));
  return success();
}

static LogicalResult evalReshape(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  auto wanted = intsOf(ctx, 1, "shape");
  if (failed(x) || failed(wanted))
    return failure();
  if (!*wanted)
    return ctx.error("no shape is given");
  SmallVector<int64_t> shape = **wanted;
  bool allowZero = ctx.getInt("allowzero", 0) != 0;
  std::optional<size_t> inferred;
  for (auto [i, dim] : llvm::enumerate(shape)) {
    if (dim == 0 && !allowZero) {
      if (static_cast<int64_t>(i) >= x->getRank())
        return ctx.error("dimension " + Twine(i) + " of " +
                         shapeText(x->getShape()) + " cannot be copied");
      dim = x->getDim(i);
    } else if (dim == -1) {
      if (inferred)
        return ctx.error("two dimensions are -1");
      inferred = i;
    }
  }
  if (inferred) {
    shape[*inferred] = 1;
    std::optional<int64_t> rest = countElements(shape);
    if (!rest || *rest == 0 || x->getNumElements() % *rest != 0)
      return ctx.error("cannot reshape " + shapeText(x->getShape()) + " to " +
                       shapeText(**wanted));
    shape[*inferred] = x->getNumElements() / *rest;
  }
  if (countElements(shape) != x->getNumElements())
    return ctx.error("cannot reshape " + shapeText(x->getShape()) + " to " +
                     shapeText(**wanted));
  ctx.setOutput(0, x->reshaped(shape));
  return success();
}

static LogicalResult evalFlatten(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  int64_t axis = ctx.getInt("axis", 1), rank = x->getRank();
  if (axis < -rank || axis > rank)
    return ctx.error("axis " + Twine(axis) + " is out of range", "E103");
  if (axis < 0)
    axis += rank;
  ctx.setOutput(0, x->reshaped({productOf(x->getShape(), 0, axis),
                                productOf(x->getShape(), axis, rank)}));
  return success();
}

static LogicalResult evalSqueeze(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  auto wanted = intsOf(ctx, 1, "axes");
  if (failed(x) || failed(wanted))
    return failure();
  SmallVector<bool> dropped(x->getRank(), false);
  if (*wanted) {
    FailureOr<SmallVector<int64_t>> axes =
        ctx.normalizeAxes(**wanted, x->getRank());
    if (failed(axes))
      return failure();
    for (int64_t axis : *axes) {
      if (x->getDim(axis) != 1)
        return ctx.error("dimension " + Twine(axis) + " is " +
                         Twine(x->getDim(axis)) + " and not 1");
      dropped[axis] = true;
    }
  } else {
    for (int64_t d = 0; d < x->getRank(); ++d)
      dropped[d] = x->getDim(d) == 1;
  }
  SmallVector<int64_t> shape;
  for (int64_t d = 0; d < x->getRank(); ++d)
    if (!dropped[d])
      shape.push_back(x->getDim(d));
  ctx.setOutput(0, x->reshaped(shape));
  return success();
}

static LogicalResult evalUnsqueeze(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  auto wanted = intsOf(ctx, 1, "axes");
  if (failed(x) || failed(wanted))
    return failure();
  if (!*wanted)
    return ctx.error("no axes are given");
  int64_t rank = x->getRank() + (*wanted)->size();
  FailureOr<SmallVector<int64_t>> axes = ctx.normalizeAxes(**wanted, rank);
  if (failed(axes))
    return failure();
  SmallVector<int64_t> shape;
  int64_t from = 0;
  for (int64_t d = 0; d < rank; ++d)
    shape.push_back(llvm::is_contained(*axes, d) ? 1 : x->getDim(from++));
  ctx.setOutput(0, x->reshaped(shape));
  return success();
}

static LogicalResult evalTranspose(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  int64_t rank = x->getRank();
  SmallVector<int64_t> perm(rank);
  std::iota(perm.rbegin(), perm.rend(), 0);
  if (auto given = ctx.getInts("perm")) {
    if (static_cast<int64_t>(given->size()) != rank)
      return ctx.error("perm has " + Twine(given->size()) + " axes for rank " +
                       Twine(rank));
    FailureOr<SmallVector<int64_t>> axes = ctx.normalizeAxes(*given, rank);
    if (failed(axes))
      return failure();
    perm = *axes;
  }
  return give(ctx, transposeTensor(ctx.node, ctx.state, *x, perm));
}

static LogicalResult evalConcat(EvalContext &ctx) {
  SmallVector<EvalTensor> tensors;
  for (unsigned i = 0; i < ctx.numInputs(); ++i) {
    FailureOr<EvalTensor> tensor = ctx.require(i);
    if (failed(tensor))
      return failure();
    tensors.push_back(*tensor);
  }
  if (tensors.empty())
    return ctx.error("nothing to concatenate");
  FailureOr<int64_t> axis =
      ctx.normalizeAxis(ctx.getInt("axis", 1), tensors[0].getRank());
  if (failed(axis))
    return failure();
  return give(ctx, concatTensors(ctx.node, ctx.state, tensors, *axis));
}

static LogicalResult evalSplit(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  auto sizes = intsOf(ctx, 1, "split");
  if (failed(x) || failed(sizes))
    return failure();
  FailureOr<int64_t> axis =
      ctx.normalizeAxis(ctx.getInt("axis", 0), x->getRank());
  if (failed(axis))
    return failure();
  int64_t length = x->getDim(*axis), parts = ctx.node->getNumResults();
  SmallVector<int64_t> split;
  if (*sizes) {
    split = **sizes;
  } else {
    int64_t chunk = (length + parts - 1) / parts;
    for (int64_t i = 0; i < parts; ++i)
      split.push_back(
          std::max<int64_t>(0, std::min(chunk, length - i * chunk)));
  }
  if (static_cast<int64_t>(split.size()) != parts)
    return ctx.error("splits into " + Twine(split.size()) + " parts, has " +
                     Twine(parts) + " outputs");
  int64_t start = 0;
  for (auto [i, size] : llvm::enumerate(split)) {
    if (size < 0 || size > length - start)
      return ctx.error("the parts do not fit a dimension of " + Twine(length),
                       "E103");
    FailureOr<EvalTensor> part =
        sliceAlongAxis(ctx.node, ctx.state, *x, *axis, start, size);
    if (failed(part))
      return failure();
    ctx.setOutput(i, *part);
    start += size;
  }
  if (start != length)
    return ctx.error("the parts do not fill a dimension of " + Twine(length));
  return success();
}

static LogicalResult evalSlice(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  auto starts = intsOf(ctx, 1, "starts"), ends = intsOf(ctx, 2, "ends");
  auto axes = intsOf(ctx, 3, "axes"), steps = intsOf(ctx, 4, "steps");
  if (failed(x) || failed(starts) || failed(ends) || failed(axes) ||
      failed(steps))
    return failure();
  if (!*starts || !*ends || (*starts)->size() != (*ends)->size())
    return ctx.error("starts and ends must be of one length");
  size_t count = (*starts)->size();
  SmallVector<int64_t> wanted(count);
  std::iota(wanted.begin(), wanted.end(), 0);
  if (*axes)
    wanted = **axes;
  SmallVector<int64_t> step = *steps ? **steps : SmallVector<int64_t>(count, 1);
  if (wanted.size() != count || step.size() != count)
    return ctx.error("starts, axes and steps must be of one length");
  int64_t rank = x->getRank();
  FailureOr<SmallVector<int64_t>> normalized = ctx.normalizeAxes(wanted, rank);
  if (failed(normalized))
    return failure();
  SmallVector<int64_t> shape(x->getShape()), strides = rowMajorStrides(shape);
  int64_t offset = 0;
  for (size_t i = 0; i < count; ++i) {
    int64_t axis = (*normalized)[i], dim = x->getDim(axis), by = step[i];
    if (by == 0)
      return ctx.error("a step is 0");
    auto clamp = [&](int64_t value, int64_t low, int64_t high) {
      if (value < 0)
        value = value < -dim ? low : value + dim;
      return std::clamp(value, low, high);
    };
    int64_t start = by > 0 ? clamp((**starts)[i], 0, dim)
                           : clamp((**starts)[i], dim > 0 ? 0 : -1, dim - 1);
    int64_t end =
        by > 0 ? clamp((**ends)[i], 0, dim)
               : ((**ends)[i] < -dim ? -1 : clamp((**ends)[i], -1, dim - 1));
    // Written so that the least int64 as a step cannot overflow.
    int64_t size = 0;
    if (by > 0 && end > start)
      size = (end - start - 1) / by + 1;
    else if (by < 0 && start > end)
      size = static_cast<int64_t>(static_cast<uint64_t>(start - end - 1) /
                                  (0 - static_cast<uint64_t>(by))) +
             1;
    offset += start * strides[axis];
    if (size > 1)
      strides[axis] *= by;
    shape[axis] = size;
  }
  FailureOr<EvalTensor> result = ctx.allocate(x->getElementType(), shape);
  if (failed(result))
    return failure();
  StridedWalk walk(shape, strides, offset);
  gatherElements(*x, *result, [&](int64_t) {
    int64_t at = walk.getOffset();
    walk.next();
    return at;
  });
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalExpand(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0), shape = ctx.requireInt(1);
  if (failed(x) || failed(shape))
    return failure();
  FailureOr<SmallVector<int64_t>> target =
      ctx.broadcast(x->getShape(), shape->ints());
  if (failed(target))
    return failure();
  return give(ctx, broadcastTensor(ctx.node, ctx.state, *x, *target));
}

static LogicalResult evalTile(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0), repeats = ctx.requireInt(1);
  if (failed(x) || failed(repeats))
    return failure();
  if (repeats->getNumElements() != x->getRank())
    return ctx.error("repeats must have one entry a dimension");
  SmallVector<int64_t> shape;
  for (auto [dim, times] : llvm::zip(x->getShape(), repeats->ints())) {
    int64_t size = 0;
    if (times < 0 || llvm::MulOverflow(dim, times, size))
      return ctx.error("repeat " + Twine(times) + " is out of range", "E103");
    shape.push_back(size);
  }
  FailureOr<EvalTensor> result = ctx.allocate(x->getElementType(), shape);
  if (failed(result))
    return failure();
  SmallVector<int64_t> strides = rowMajorStrides(x->getShape());
  StridedWalk walk(shape, SmallVector<int64_t>(shape.size(), 0));
  gatherElements(*x, *result, [&](int64_t) {
    int64_t at = 0;
    for (auto [d, i] : llvm::enumerate(walk.getIndex()))
      at += i % x->getDim(d) * strides[d];
    walk.next();
    return at;
  });
  ctx.setOutput(0, *result);
  return success();
}

/// Position in [0, size) that padding reads for position `i`, or -1.
static int64_t padSource(int64_t i, int64_t size, StringRef mode) {
  if (i >= 0 && i < size)
    return i;
  if (size <= 0)
    return -1;
  if (mode == "edge")
    return i < 0 ? 0 : size - 1;
  if (mode == "wrap")
    return ((i % size) + size) % size;
  if (mode == "reflect") {
    if (size == 1)
      return 0;
    int64_t period = 2 * (size - 1), at = ((i % period) + period) % period;
    return at < size ? at : period - at;
  }
  return -1;
}

static LogicalResult evalPad(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  auto pads = ctx.hasAttr("paddings") ? ctx.getInts("paddings")
                                      : intsOf(ctx, 1, "pads");
  auto wanted = ctx.optionalInts(3);
  if (failed(x) || failed(pads) || failed(wanted))
    return failure();
  int64_t rank = x->getRank();
  SmallVector<int64_t> axes(rank);
  std::iota(axes.begin(), axes.end(), 0);
  if (*wanted) {
    FailureOr<SmallVector<int64_t>> normalized =
        ctx.normalizeAxes(**wanted, rank);
    if (failed(normalized))
      return failure();
    axes = *normalized;
  }
  if (!*pads || (*pads)->size() != 2 * axes.size())
    return ctx.error("pads must have two entries an axis");
  StringRef mode = ctx.getString("mode", "constant");
  if (mode != "constant" && mode != "edge" && mode != "reflect" &&
      mode != "wrap")
    return ctx.error("mode '" + mode + "' is not known");
  SmallVector<int64_t> shape(x->getShape()), before(rank, 0);
  // Negative pads remove elements first; what is kept is padded.
  SmallVector<int64_t> cropped(rank, 0), kept(x->getShape());
  for (auto [i, axis] : llvm::enumerate(axes)) {
    int64_t low = (**pads)[i], high = (**pads)[i + axes.size()];
    before[axis] = std::max<int64_t>(low, 0);
    int64_t size = 0;
    if (llvm::AddOverflow(shape[axis], low, size) ||
        llvm::AddOverflow(size, high, size) || size < 0 ||
        low == std::numeric_limits<int64_t>::min())
      return ctx.error("pads of axis " + Twine(axis) + " are out of range",
                       "E103");
    shape[axis] = size;
    cropped[axis] = std::max<int64_t>(-low, 0);
    kept[axis] += std::min<int64_t>(low, 0) + std::min<int64_t>(high, 0);
  }
  FailureOr<EvalTensor> result = ctx.allocate(x->getElementType(), shape);
  if (failed(result))
    return failure();
  EvalTensor value = ctx.input(2);
  if (!value.isNull() &&
      (value.getNumElements() != 1 || value.isFloat() != x->isFloat() ||
       value.isString() != x->isString()))
    return ctx.error("the padding value must be one element of the type");
  if (value.isNull() && x->isFloat())
    value = EvalTensor::scalar(x->getElementType(), ctx.getFloat("value", 0));
  if (!value.isNull())
    fillWith(*result, value);
  SmallVector<int64_t> strides = rowMajorStrides(x->getShape());
  StridedWalk walk(shape, SmallVector<int64_t>(rank, 0));
  bool lost = false;
  gatherElements(*x, *result, [&](int64_t) -> int64_t {
    int64_t at = 0;
    for (int64_t d = 0; d < rank; ++d) {
      int64_t source = padSource(walk.getIndex()[d] - before[d], kept[d], mode);
      if (source < 0) {
        at = -1;
        lost |= mode != "constant";
        break;
      }
      at += (source + cropped[d]) * strides[d];
    }
    walk.next();
    return at;
  });
  if (lost)
    return ctx.error("mode '" + mode + "' needs an element to copy");
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalTrilu(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  FailureOr<int64_t> k = ctx.intScalar(1, 0);
  if (failed(x) || failed(k))
    return failure();
  if (x->getRank() < 2)
    return ctx.error("needs a matrix");
  bool upper = ctx.getInt("upper", 1) != 0;
  int64_t rows = x->getDim(-2), cols = x->getDim(-1);
  FailureOr<EvalTensor> result =
      ctx.allocate(x->getElementType(), x->getShape());
  if (failed(result))
    return failure();
  gatherElements(*x, *result, [&](int64_t i) {
    int64_t row = i / cols % rows, col = i % cols;
    // A huge k must not overflow: compare the difference of small numbers.
    bool kept = upper ? col - row >= *k : col - row <= *k;
    return kept ? i : -1;
  });
  ctx.setOutput(0, *result);
  return success();
}

/// DepthToSpace and SpaceToDepth are a reshape, a transpose and a reshape.
static LogicalResult moveBlocks(EvalContext &ctx, ArrayRef<int64_t> inner,
                                ArrayRef<int64_t> perm, ArrayRef<int64_t> outer,
                                const EvalTensor &x) {
  if (countElements(inner) != x.getNumElements())
    return ctx.error("the block size does not divide " +
                     shapeText(x.getShape()));
  FailureOr<EvalTensor> moved =
      transposeTensor(ctx.node, ctx.state, x.reshaped(inner), perm);
  if (failed(moved))
    return failure();
  ctx.setOutput(0, moved->reshaped(outer));
  return success();
}

static LogicalResult evalDepthToSpace(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  int64_t b = ctx.getInt("blocksize", 0);
  if (x->getRank() != 4 || b < 1 || b > (1 << 20) ||
      x->getDim(1) % (b * b) != 0)
    return ctx.error("needs [N, C, H, W] and a block size whose square "
                     "divides C");
  int64_t n = x->getDim(0), c = x->getDim(1) / (b * b), h = x->getDim(2),
          w = x->getDim(3);
  if (ctx.getString("mode", "DCR") == "CRD")
    return moveBlocks(ctx, {n, c, b, b, h, w}, {0, 1, 4, 2, 5, 3},
                      {n, c, h * b, w * b}, *x);
  return moveBlocks(ctx, {n, b, b, c, h, w}, {0, 3, 4, 1, 5, 2},
                    {n, c, h * b, w * b}, *x);
}

static LogicalResult evalSpaceToDepth(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  int64_t b = ctx.getInt("blocksize", 0);
  if (x->getRank() != 4 || b < 1 || b > (1 << 20) || x->getDim(2) % b != 0 ||
      x->getDim(3) % b != 0)
    return ctx.error("needs [N, C, H, W] and a block size that divides H and "
                     "W");
  int64_t n = x->getDim(0), c = x->getDim(1), h = x->getDim(2) / b,
          w = x->getDim(3) / b;
  return moveBlocks(ctx, {n, c, h, b, w, b}, {0, 3, 5, 1, 2, 4},
                    {n, c * b * b, h, w}, *x);
}

static LogicalResult evalReverseSequence(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0), lengths = ctx.requireInt(1);
  if (failed(x) || failed(lengths))
    return failure();
  FailureOr<int64_t> batch =
      ctx.normalizeAxis(ctx.getInt("batch_axis", 1), x->getRank());
  FailureOr<int64_t> time =
      ctx.normalizeAxis(ctx.getInt("time_axis", 0), x->getRank());
  if (failed(batch) || failed(time))
    return failure();
  if (*batch == *time || lengths->getNumElements() != x->getDim(*batch))
    return ctx.error("needs a length for each batch entry");
  for (int64_t length : lengths->ints())
    if (length < 0 || length > x->getDim(*time))
      return ctx.error("length " + Twine(length) + " is out of range", "E103");
  FailureOr<EvalTensor> result =
      ctx.allocate(x->getElementType(), x->getShape());
  if (failed(result))
    return failure();
  SmallVector<int64_t> strides = rowMajorStrides(x->getShape());
  StridedWalk walk(x->getShape(), strides);
  gatherElements(*x, *result, [&](int64_t i) {
    int64_t t = walk.getIndex()[*time];
    int64_t length = lengths->ints()[walk.getIndex()[*batch]];
    walk.next();
    return t < length ? i + (length - 1 - 2 * t) * strides[*time] : i;
  });
  ctx.setOutput(0, *result);
  return success();
}

FFN_REGISTER_OPS(ShapeEval) {
  table.addEval("", "Shape", 1, evalShape);
  table.addEval("", "Size", 1, evalSize);
  table.addEval("", "Reshape", 1, evalReshape);
  table.addEval("", "Flatten", 1, evalFlatten);
  table.addEval("", "Squeeze", 1, evalSqueeze);
  table.addEval("", "Unsqueeze", 1, evalUnsqueeze);
  table.addEval("", "Transpose", 1, evalTranspose);
  table.addEval("", "Concat", 1, evalConcat);
  table.addEval("", "Split", 1, evalSplit);
  table.addEval("", "Slice", 1, evalSlice);
  table.addEval("", "Expand", 1, evalExpand);
  table.addEval("", "Tile", 6, evalTile);
  table.addEval("", "Pad", 1, evalPad);
  table.addEval("", "Trilu", 1, evalTrilu);
  table.addEval("", "DepthToSpace", 1, evalDepthToSpace);
  table.addEval("", "SpaceToDepth", 1, evalSpaceToDepth);
  table.addEval("", "ReverseSequence", 1, evalReverseSequence);
}
