//===- Slicing.cpp - Shapes of Concat, Split, Slice and Pad ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/ShapeHelpers.h"
#include "llvm/ADT/SmallBitVector.h"

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Concat
//===----------------------------------------------------------------------===//

/// Vectors: contents one after the other, unknown elements for an input whose
/// length alone is known.
static std::optional<Dims> concatContents(ShapeContext &ctx) {
  Dims contents;
  for (unsigned i = 0; i < ctx.numInputs(); ++i) {
    const SymValue &input = ctx.input(i);
    int64_t count = 0;
    if (input.rank() != 1 || !isFoldable(input.dims, count) ||
        contents.size() + count > static_cast<size_t>(kMaxContents))
      return std::nullopt;
    if (input.contents)
      llvm::append_range(contents, *input.contents);
    else
      contents.append(count, DimExpr());
  }
  return contents;
}

static LogicalResult shapeConcat(ShapeContext &ctx) {
  // Some rank must be known to judge the axis; the dims need all of them.
  int64_t rank = -1;
  bool complete = true;
  for (unsigned i = 0; i < ctx.numInputs(); ++i) {
    const SymValue &input = ctx.input(i);
    if (!input.dims) {
      complete = false;
      continue;
    }
    if (rank >= 0 && input.rank() != rank)
      return ctx.error("I504", "input " + Twine(i) + " has " +
                                   Twine(input.rank()) +
                                   " dimensions, others have " + Twine(rank));
    rank = input.rank();
  }
  if (rank < 0)
    return success();
  // Before opset 4 the axis has a default.
  FailureOr<int64_t> axis =
      normalizeAxis(ctx, ctx.node.getInt("axis", 1), rank);
  if (failed(axis))
    return failure();
  Dims dims = unknownDims(rank);
  DimExpr sum(0);
  for (unsigned i = 0; i < ctx.numInputs(); ++i) {
    const SymValue &input = ctx.input(i);
    if (!input.dims)
      continue;
    for (int64_t d = 0; d < rank; ++d) {
      const DimExpr &dim = (*input.dims)[d];
      if (d == *axis) {
        sum = sum + dim;
        continue;
      }
      if (failed(requireEqual(ctx, dims[d], dim,
                              "dimension " + Twine(d) + " of the inputs")))
        return failure();
      dims[d] = meet(dims[d], dim);
    }
  }
  dims[*axis] = complete ? sum : DimExpr();
  SymValue result(Type(), std::move(dims));
  if (rank == 1 && complete)
    result.contents = concatContents(ctx);
  ctx.setOutput(0, std::move(result));
  return success();
}

static LogicalResult shapeConcatTraining(ShapeContext &ctx) {
  setOutput(ctx, 1, Dims{DimExpr(ctx.numInputs())});
  return shapeConcat(ctx);
}

//===----------------------------------------------------------------------===//
// Split
//===----------------------------------------------------------------------===//

/// Sizes along the axis; `size` is the axis of the input.
static FailureOr<Dims> getSplitSizes(ShapeContext &ctx, const DimExpr &size) {
  int64_t count = ctx.numOutputs();
  if (count == 0)
    return Dims();
  std::optional<Dims> given;
  if (std::optional<ArrayRef<int64_t>> attr = ctx.node.getInts("split"))
    given = Dims(attr->begin(), attr->end());
  else if (ctx.hasInput(1)) {
    if (!ctx.input(1).contents)
      return Dims();
    given = ctx.input(1).contents;
  }
  if (given) {
    DimExpr sum(0);
    for (const DimExpr &part : *given) {
      if (part.getConstant().value_or(0) < 0)
        return ctx.error("I502",
                         "a split size is " + Twine(*part.getConstant()));
      sum = sum + part;
    }
    if (static_cast<int64_t>(given->size()) != count)
      return ctx.error("I504", Twine(given->size()) + " split sizes for " +
                                   Twine(count) + " outputs");
    if (failed(requireEqual(ctx, sum, size, "sum of the split sizes")))
      return failure();
    return *given;
  }
  if (ctx.node.getNodeAttr("num_outputs")) {
    int64_t parts = ctx.node.getInt("num_outputs", 0);
    if (parts != count)
      return ctx.error("I502", "num_outputs is " + Twine(parts) +
                                   ", the node has " + Twine(count) +
                                   " outputs");
    // All alike but the last, which takes what is left.
    DimExpr part = size.ceilDiv(parts);
    if (std::optional<int64_t> constant = size.getConstant())
      if (part.getConstant().value_or(0) * (parts - 1) > *constant)
        return ctx.error("I504", "size " + Twine(*constant) +
                                     " cannot be split into " + Twine(parts) +
                                     " parts");
    Dims sizes(count, part);
    if (size.floorDiv(parts) * parts != size)
      sizes.back() = size - part * (parts - 1);
    return sizes;
  }
  std::optional<int64_t> constant = size.getConstant();
  if (constant && *constant % count != 0)
    return ctx.error("I504", "size " + Twine(*constant) +
                                 " is no multiple of " + Twine(count) +
                                 " outputs");
  return Dims(count, size.floorDiv(count));
}

static LogicalResult shapeSplit(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  if (!input.dims)
    return success();
  FailureOr<int64_t> axis =
      normalizeAxis(ctx, ctx.node.getInt("axis", 0), input.rank());
  if (failed(axis))
    return failure();
  FailureOr<Dims> sizes = getSplitSizes(ctx, (*input.dims)[*axis]);
  if (failed(sizes))
    return failure();
  std::optional<int64_t> position = 0;
  for (unsigned i = 0; i < ctx.numOutputs(); ++i) {
    SymValue result(Type(), *input.dims);
    DimExpr size = i < sizes->size() ? (*sizes)[i] : DimExpr();
    (*result.dims)[*axis] = size;
    std::optional<int64_t> length = size.getConstant();
    if (input.contents && input.rank() == 1 && position && length &&
        *position + *length <= static_cast<int64_t>(input.contents->size()))
      result.contents =
          Dims(ArrayRef<DimExpr>(*input.contents).slice(*position, *length));
    if (!length)
      position.reset();
    else if (position)
      *position = std::min(*position + *length, kMaxContents + 1);
    ctx.setOutput(i, std::move(result));
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Slice
//===----------------------------------------------------------------------===//

namespace {
/// One sliced axis.
struct Range {
  DimExpr length;
  /// Set when the elements are known to be start, start + step, ...
  std::optional<int64_t> start;
  int64_t step = 1;
};
} // namespace

/// Ends at or beyond this mean "to the end" even of a symbolic size.
static constexpr int64_t kEndless = INT32_MAX;

static Range sliceConstant(int64_t size, int64_t start, int64_t end,
                           int64_t step) {
  Range result;
  result.length = DimExpr(0);
  result.step = step;
  if (size == 0)
    return result;
  // Negative positions count from the end; those before the front become -1.
  auto normalize = [&](int64_t v) {
    return v >= 0 ? v : v < -size ? -1 : v + size;
  };
  if (step > 0) {
    start = std::clamp<int64_t>(normalize(start), 0, size);
    end = std::clamp<int64_t>(normalize(end), 0, size);
  } else {
    start = std::clamp<int64_t>(normalize(start), 0, size - 1);
    end = std::clamp<int64_t>(normalize(end), -1, size - 1);
  }
  int64_t distance = step > 0 ? end - start : start - end;
  uint64_t stride =
      step > 0 ? static_cast<uint64_t>(step) : -static_cast<uint64_t>(step);
  if (distance > 0)
    result.length = DimExpr(static_cast<int64_t>(
        (static_cast<uint64_t>(distance) - 1) / stride + 1));
  result.start = start;
  return result;
}

/// Position clamped to [0, size]; unknown when its sign is not known.
static DimExpr clampPosition(const DimExpr &position, const DimExpr &size) {
  if (std::optional<int64_t> constant = position.getConstant()) {
    if (*constant >= kEndless)
      return size;
    if (*constant < 0)
      return *constant <= -kEndless ? DimExpr(0)
                                    : DimExpr::max(size + *constant, 0);
    return DimExpr::min(position, size);
  }
  if (position.isNonNegative())
    return DimExpr::min(position, size);
  // A negative symbolic position, such as -seq.
  if ((DimExpr(0) - position - 1).isNonNegative())
    return DimExpr::max(size + position, 0);
  return {};
}

/// Elements of a range of `length` with a step, which may be negative.
static DimExpr countSteps(const DimExpr &length, int64_t step) {
  if (step >= kEndless || step <= -kEndless)
    return DimExpr::min(length, 1);
  step = std::abs(step);
  return step == 1 ? length : length.ceilDiv(step);
}

/// One more than the position of a bound of a backward range, in [least, size],
/// where `least` is 1 for the start and 0 for the end; at most `size` even if
/// that is 0. Unknown when the sign of the position is not known.
static DimExpr clampBackward(const DimExpr &position, const DimExpr &size,
                             int64_t least) {
  std::optional<int64_t> constant = position.getConstant();
  bool isNegative =
      constant ? *constant < 0 : (DimExpr(0) - position - 1).isNonNegative();
  if (!isNegative) {
    if (constant && *constant >= kEndless)
      return size;
    return constant || position.isNonNegative()
               ? DimExpr::min(position + 1, size)
               : DimExpr();
  }
  if (constant == -1)
    return size;
  DimExpr fromFront = constant && *constant <= -kEndless
                          ? DimExpr(least)
                          : DimExpr::max(size + position + 1, least);
  // Only the least of the start may be beyond the size.
  return least ? DimExpr::min(fromFront, size) : fromFront;
}

/// Elements from `start` down to, and without, `end`.
static DimExpr spanBackward(const DimExpr &size, const DimExpr &start,
                            const DimExpr &end) {
  DimExpr from = clampBackward(start, size, 1),
          to = clampBackward(end, size, 0);
  std::optional<int64_t> last = end.getConstant();
  if (to.isConstant(0))
    return from;
  if (from == size && last && *last >= 0 && *last < kEndless)
    return DimExpr::max(size - (*last + 1), 0); // d - min(e + 1, d)
  if (from == size && last && *last < 0)
    return DimExpr::min(DimExpr(-(*last + 1)), size); // d - max(d - c, 0)
  return DimExpr::max(from - to, 0);
}

static DimExpr sliceSymbolic(const DimExpr &size, const DimExpr &start,
                             const DimExpr &end, int64_t step) {
  std::optional<int64_t> first = start.getConstant(), last = end.getConstant();
  if (step < 0)
    return countSteps(spanBackward(size, start, end), step);
  DimExpr from = clampPosition(start, size), to = clampPosition(end, size);
  DimExpr length;
  if (to == size && first && *first >= 0) // d - min(s, d)
    length = DimExpr::max(size - *first, 0);
  else if (to == size && first && *first > -kEndless) // d - max(d - c, 0)
    length = DimExpr::min(DimExpr(0) - *first, size);
  else if (first && last && *first < 0 && *last < 0 && *first > -kEndless) {
    // Both from the end: exact only when the front is not reached.
    if (!(size + *first).isNonNegative())
      length = DimExpr::max(to - from, 0);
    else
      length = DimExpr::max(DimExpr(*last) - *first, 0);
  } else
    length = DimExpr::max(to - from, 0);
  return countSteps(length, step);
}

/// Slices the axes of input 0.
static LogicalResult sliceAxes(ShapeContext &ctx, const Dims &starts,
                               const Dims &ends,
                               std::optional<SmallVector<int64_t>> axes,
                               const std::optional<Dims> &steps) {
  const SymValue &input = ctx.input(0);
  int64_t rank = input.rank();
  if (starts.size() != ends.size() || (axes && axes->size() != starts.size()) ||
      (steps && steps->size() != starts.size()))
    return ctx.error("I504", "starts, ends, axes and steps differ in length");
  if (starts.size() > static_cast<size_t>(rank))
    return ctx.error("I504", Twine(starts.size()) + " slices for " +
                                 Twine(rank) + " dimensions");
  Dims dims = *input.dims;
  llvm::SmallBitVector seen(rank);
  std::optional<Range> vectorRange;
  for (size_t i = 0; i < starts.size(); ++i) {
    FailureOr<int64_t> axis =
        normalizeAxis(ctx, axes ? (*axes)[i] : static_cast<int64_t>(i), rank);
    if (failed(axis))
      return failure();
    if (seen.test(*axis))
      return ctx.error("I502", "axis " + Twine(*axis) + " is sliced twice");
    seen.set(*axis);
    std::optional<int64_t> step =
        steps ? (*steps)[i].getConstant() : std::optional<int64_t>(1);
    if (step == 0)
      return ctx.error("I502", "a step is 0");
    DimExpr size = dims[*axis];
    std::optional<int64_t> constant = size.getConstant(),
                           start = starts[i].getConstant(),
                           end = ends[i].getConstant();
    Range range;
    if (step && constant && start && end)
      range = sliceConstant(*constant, *start, *end, *step);
    else if (step)
      range.length = sliceSymbolic(size, starts[i], ends[i], *step);
    dims[*axis] = range.length;
    vectorRange = range;
  }
  SymValue result(Type(), std::move(dims));
  if (rank == 1 && input.contents) {
    if (!vectorRange) {
      result.contents = input.contents;
    } else if (vectorRange->start && vectorRange->length.getConstant()) {
      result.contents.emplace();
      int64_t at = *vectorRange->start;
      int64_t count = *vectorRange->length.getConstant();
      for (int64_t k = 0; k < count; ++k) {
        if (at < 0 || at >= static_cast<int64_t>(input.contents->size()))
          break;
        result.contents->push_back((*input.contents)[at]);
        // A step may be anything; the last one is not taken.
        if (k + 1 < count)
          at += vectorRange->step;
      }
    }
  }
  ctx.setOutput(0, std::move(result));
  return success();
}

static LogicalResult shapeSliceByAttr(ShapeContext &ctx) {
  std::optional<ArrayRef<int64_t>> starts = ctx.node.getInts("starts"),
                                   ends = ctx.node.getInts("ends"),
                                   axes = ctx.node.getInts("axes");
  if (!starts || !ends || !ctx.input(0).dims)
    return success();
  std::optional<SmallVector<int64_t>> axesList;
  if (axes)
    axesList.emplace(axes->begin(), axes->end());
  return sliceAxes(ctx, Dims(starts->begin(), starts->end()),
                   Dims(ends->begin(), ends->end()), axesList, std::nullopt);
}

/// Contents of vector input i; unknown elements when only the length is known.
static std::optional<Dims> getVector(ShapeContext &ctx, unsigned i) {
  const SymValue &value = ctx.input(i);
  int64_t count = 0;
  if (value.contents)
    return value.contents;
  if (value.rank() == 1 && isFoldable(value.dims, count))
    return Dims(count);
  return std::nullopt;
}

static LogicalResult shapeSlice(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  if (!input.dims)
    return success();
  std::optional<Dims> starts = getVector(ctx, 1), ends = getVector(ctx, 2);
  std::optional<SmallVector<int64_t>> axes;
  bool known = starts && ends;
  if (ctx.hasInput(3)) {
    axes = ctx.constantInts(3);
    known &= axes.has_value();
  }
  std::optional<Dims> steps;
  if (ctx.hasInput(4)) {
    steps = getVector(ctx, 4);
    known &= steps.has_value();
  }
  if (known)
    return sliceAxes(ctx, *starts, *ends, axes, steps);
  setOutput(ctx, 0, unknownDims(input.rank()));
  return success();
}

//===----------------------------------------------------------------------===//
// Pad
//===----------------------------------------------------------------------===//

static LogicalResult padAxes(ShapeContext &ctx, std::optional<Dims> pads,
                             const SmallVector<int64_t> &axes) {
  const SymValue &input = ctx.input(0);
  Dims dims = *input.dims;
  if (pads && pads->size() != 2 * axes.size())
    return ctx.error("I504", Twine(pads->size()) + " pads for " +
                                 Twine(axes.size()) + " axes");
  for (auto [i, axis] : llvm::enumerate(axes)) {
    dims[axis] =
        pads ? dims[axis] + (*pads)[i] + (*pads)[i + axes.size()] : DimExpr();
    if (dims[axis].getConstant().value_or(0) < 0)
      return ctx.error("I502", "pads cut more than there is from dimension " +
                                   Twine(axis));
    if (!dims[axis].isNonNegative())
      dims[axis] = DimExpr();
  }
  setOutput(ctx, 0, std::move(dims));
  return success();
}

static SmallVector<int64_t> getAllAxes(int64_t rank) {
  return llvm::to_vector(llvm::seq<int64_t>(0, rank));
}

static LogicalResult shapePadByAttr(ShapeContext &ctx) {
  if (!ctx.input(0).dims)
    return success();
  std::optional<ArrayRef<int64_t>> pads = ctx.node.getInts("pads");
  if (!pads)
    pads = ctx.node.getInts("paddings");
  std::optional<Dims> list;
  if (pads)
    list.emplace(pads->begin(), pads->end());
  return padAxes(ctx, list, getAllAxes(ctx.input(0).rank()));
}

static LogicalResult shapePad(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  if (!input.dims)
    return success();
  FailureOr<Axes> axes = getAxes(ctx, 3, "", input.rank());
  if (failed(axes))
    return failure();
  if (!axes->known) {
    setOutput(ctx, 0, unknownDims(input.rank()));
    return success();
  }
  return padAxes(ctx, ctx.input(1).contents,
                 axes->axes ? *axes->axes : getAllAxes(input.rank()));
}

FFN_REGISTER_OPS(Slicing) {
  table.addShape("", "Concat", 1, shapeConcat);
  table.addShape("com.microsoft", "ConcatTraining", 1, shapeConcatTraining);
  table.addShape("", "Split", 1, shapeSplit);
  table.addShape("", "Slice", 1, shapeSliceByAttr);
  table.addShape("", "Slice", 10, shapeSlice);
  table.addShape("", "Pad", 1, shapePadByAttr);
  table.addShape("", "Pad", 11, shapePad);
  table.addShape("com.microsoft", "Pad", 1, shapePad);
}
