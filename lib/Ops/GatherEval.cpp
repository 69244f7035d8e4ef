//===- GatherEval.cpp - Operators that index ------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/TensorOps.h"
#include "ffn-mlir/Ops/OpTable.h"
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

using namespace mlir;
using namespace mlir::ffn;

/// `index` in [-size, size) to [0, size), or an error.
static FailureOr<int64_t> checkIndex(EvalContext &ctx, int64_t index,
                                     int64_t size) {
  if (index < -size || index >= size)
    return ctx.error("index " + Twine(index) +
                         " is out of range for an axis "
                         "of " +
                         Twine(size),
                     "E103");
  return index < 0 ? index + size : index;
}

static LogicalResult evalGather(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0), indices = ctx.requireInt(1);
  if (failed(x) || failed(indices))
    return failure();
  FailureOr<int64_t> axis =
      ctx.normalizeAxis(ctx.getInt("axis", 0), x->getRank());
  if (failed(axis))
    return failure();
  int64_t size = x->getDim(*axis);
  SmallVector<int64_t> positions;
  for (int64_t index : indices->ints()) {
    FailureOr<int64_t> position = checkIndex(ctx, index, size);
    if (failed(position))
      return failure();
    positions.push_back(*position);
  }
  SmallVector<int64_t> shape(x->getShape().take_front(*axis));
  shape.append(indices->getShape().begin(), indices->getShape().end());
  shape.append(x->getShape().begin() + *axis + 1, x->getShape().end());
  FailureOr<EvalTensor> result = ctx.allocate(x->getElementType(), shape);
  if (failed(result))
    return failure();
  if (result->getNumElements() != 0) {
    int64_t outer = productOf(x->getShape(), 0, *axis);
    int64_t inner = productOf(x->getShape(), *axis + 1, x->getRank());
    int64_t to = 0;
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t position : positions) {
        copyElements(*x, (o * size + position) * inner, *result, to, inner);
        to += inner;
      }
  }
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalGatherElements(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0), indices = ctx.requireInt(1);
  if (failed(x) || failed(indices))
    return failure();
  FailureOr<int64_t> axis =
      ctx.normalizeAxis(ctx.getInt("axis", 0), x->getRank());
  if (failed(axis))
    return failure();
  bool fits = x->getRank() == indices->getRank();
  for (int64_t d = 0; fits && d < x->getRank(); ++d)
    fits = d == *axis || indices->getDim(d) <= x->getDim(d);
  if (!fits)
    return ctx.error("indices " + shapeText(indices->getShape()) +
                     " do not fit " + shapeText(x->getShape()));
  FailureOr<EvalTensor> result =
      ctx.allocate(x->getElementType(), indices->getShape());
  if (failed(result))
    return failure();
  SmallVector<int64_t> strides = rowMajorStrides(x->getShape());
  SmallVector<int64_t> others(strides);
  others[*axis] = 0;
  StridedWalk walk(indices->getShape(), others);
  for (auto [i, index] : llvm::enumerate(indices->ints())) {
    FailureOr<int64_t> at = checkIndex(ctx, index, x->getDim(*axis));
    if (failed(at))
      return failure();
    copyElements(*x, walk.getOffset() + *at * strides[*axis], *result, i, 1);
    walk.next();
  }
  ctx.setOutput(0, *result);
  return success();
}

/// Offsets of the slices that index tuples (last dim of `indices`) name.
static FailureOr<std::vector<int64_t>> tupleOffsets(EvalContext &ctx,
                                                    const EvalTensor &x,
                                                    const EvalTensor &indices,
                                                    int64_t batchDims) {
  int64_t width = indices.getDim(-1);
  SmallVector<int64_t> strides = rowMajorStrides(x.getShape());
  int64_t tuples = productOf(indices.getShape(), 0, indices.getRank() - 1);
  int64_t batches = productOf(x.getShape(), 0, batchDims);
  int64_t perBatch = batches ? tuples / batches : 0;
  int64_t batchSize = productOf(x.getShape(), batchDims, x.getRank());
  std::vector<int64_t> offsets;
  offsets.reserve(tuples);
  for (int64_t i = 0; i < tuples; ++i) {
    int64_t offset = perBatch ? i / perBatch * batchSize : 0;
    for (int64_t j = 0; j < width; ++j) {
      FailureOr<int64_t> at = checkIndex(ctx, indices.ints()[i * width + j],
                                         x.getDim(batchDims + j));
      if (failed(at))
        return failure();
      offset += *at * strides[batchDims + j];
    }
    offsets.push_back(offset);
  }
  return offsets;
}

static LogicalResult evalGatherND(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0), indices = ctx.requireInt(1);
  if (failed(x) || failed(indices))
    return failure();
  int64_t batch = ctx.getInt("batch_dims", 0);
  bool fits = batch >= 0 && indices->getRank() > batch &&
              x->getRank() >= batch && x->getRank() >= 1 &&
              indices->getDim(-1) <= x->getRank() - batch;
  for (int64_t d = 0; fits && d < batch; ++d)
    fits = x->getDim(d) == indices->getDim(d);
  if (!fits)
    return ctx.error("indices " + shapeText(indices->getShape()) +
                     " do not fit " + shapeText(x->getShape()));
  SmallVector<int64_t> shape(indices->getShape().drop_back());
  ArrayRef<int64_t> slice =
      x->getShape().drop_front(batch + indices->getDim(-1));
  shape.append(slice.begin(), slice.end());
  FailureOr<EvalTensor> result = ctx.allocate(x->getElementType(), shape);
  if (failed(result))
    return failure();
  if (result->getNumElements() != 0) {
    FailureOr<std::vector<int64_t>> offsets =
        tupleOffsets(ctx, *x, *indices, batch);
    if (failed(offsets))
      return failure();
    int64_t size = productOf(slice, 0, slice.size());
    for (auto [i, offset] : llvm::enumerate(*offsets))
      copyElements(*x, offset, *result, i * size, size);
  }
  ctx.setOutput(0, *result);
  return success();
}

//===----------------------------------------------------------------------===//
// Scatter
//===----------------------------------------------------------------------===//

namespace {
enum class Update { Assign, Add, Mul, Max, Min };
} // namespace

static FailureOr<Update> getUpdate(EvalContext &ctx) {
  StringRef name = ctx.getString("reduction", "none");
  if (name == "none")
    return Update::Assign;
  if (name == "add")
    return Update::Add;
  if (name == "mul")
    return Update::Mul;
  if (name == "max")
    return Update::Max;
  if (name == "min")
    return Update::Min;
  return ctx.error("reduction '" + name + "' is not known");
}

/// Element `to` of `data` takes element `from` of `updates`.
static void updateElement(Update kind, EvalTensor &data, int64_t to,
                          const EvalTensor &updates, int64_t from) {
  if (kind == Update::Assign || data.isString())
    return copyElements(updates, from, data, to, 1);
  if (data.isFloat()) {
    double &x = data.mutableFloats()[to], y = updates.floats()[from];
    bool nan = std::isnan(x) || std::isnan(y);
    if (kind == Update::Add)
      x += y;
    else if (kind == Update::Mul)
      x *= y;
    else if (nan)
      x = x + y;
    else
      x = kind == Update::Max ? std::max(x, y) : std::min(x, y);
    return;
  }
  int64_t &x = data.mutableInts()[to], y = updates.ints()[from];
  bool less = data.isUnsigned()
                  ? static_cast<uint64_t>(x) < static_cast<uint64_t>(y)
                  : x < y;
  if (kind == Update::Add)
    x = static_cast<int64_t>(static_cast<uint64_t>(x) +
                             static_cast<uint64_t>(y));
  else if (kind == Update::Mul)
    x = static_cast<int64_t>(static_cast<uint64_t>(x) *
                             static_cast<uint64_t>(y));
  else if ((kind == Update::Max) == less)
    x = y;
  x = wrapToIntType(data.getElementType(), x);
}

static bool sameKind(const EvalTensor &a, const EvalTensor &b) {
  return a.isFloat() == b.isFloat() && a.isString() == b.isString();
}

static LogicalResult evalScatterElements(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0), indices = ctx.requireInt(1),
                        updates = ctx.require(2);
  FailureOr<Update> kind = getUpdate(ctx);
  if (failed(x) || failed(indices) || failed(updates) || failed(kind))
    return failure();
  FailureOr<int64_t> axis =
      ctx.normalizeAxis(ctx.getInt("axis", 0), x->getRank());
  if (failed(axis))
    return failure();
  bool fits = x->getRank() == indices->getRank() && sameKind(*x, *updates) &&
              indices->getShape() == updates->getShape();
  for (int64_t d = 0; fits && d < x->getRank(); ++d)
    fits = d == *axis || indices->getDim(d) <= x->getDim(d);
  if (!fits)
    return ctx.error("indices " + shapeText(indices->getShape()) +
                     " and updates " + shapeText(updates->getShape()) +
                     " do not fit " + shapeText(x->getShape()));
  if (failed(ctx.state.reserve(ctx.node, x->getNumElements())))
    return failure();
  EvalTensor result = *x;
  SmallVector<int64_t> strides = rowMajorStrides(x->getShape());
  SmallVector<int64_t> others(strides);
  others[*axis] = 0;
  StridedWalk walk(indices->getShape(), others);
  for (auto [i, index] : llvm::enumerate(indices->ints())) {
    FailureOr<int64_t> at = checkIndex(ctx, index, x->getDim(*axis));
    if (failed(at))
      return failure();
    updateElement(*kind, result, walk.getOffset() + *at * strides[*axis],
                  *updates, i);
    walk.next();
  }
  ctx.setOutput(0, result);
  return success();
}

static LogicalResult evalScatterND(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0), indices = ctx.requireInt(1),
                        updates = ctx.require(2);
  FailureOr<Update> kind = getUpdate(ctx);
  if (failed(x) || failed(indices) || failed(updates) || failed(kind))
    return failure();
  bool fits = indices->getRank() >= 1 && sameKind(*x, *updates) &&
              indices->getDim(-1) <= x->getRank();
  SmallVector<int64_t> shape;
  if (fits) {
    shape.assign(indices->getShape().begin(), indices->getShape().end() - 1);
    ArrayRef<int64_t> slice = x->getShape().drop_front(indices->getDim(-1));
    shape.append(slice.begin(), slice.end());
    fits = updates->getShape() == ArrayRef(shape);
  }
  if (!fits)
    return ctx.error("indices " + shapeText(indices->getShape()) +
                     " and updates " + shapeText(updates->getShape()) +
                     " do not fit " + shapeText(x->getShape()));
  if (failed(ctx.state.reserve(ctx.node, x->getNumElements())))
    return failure();
  EvalTensor result = *x;
  int64_t size = productOf(x->getShape(), indices->getDim(-1), x->getRank());
  FailureOr<std::vector<int64_t>> offsets = tupleOffsets(ctx, *x, *indices, 0);
  if (failed(offsets))
    return failure();
  for (auto [i, offset] : llvm::enumerate(*offsets))
    for (int64_t j = 0; j < size; ++j)
      updateElement(*kind, result, offset + j, *updates, i * size + j);
  ctx.setOutput(0, result);
  return success();
}

/// TensorScatter: writes `update` into a KV cache at `write_indices`.
static LogicalResult evalTensorScatter(EvalContext &ctx) {
  FailureOr<EvalTensor> past = ctx.require(0), update = ctx.require(1);
  auto starts = ctx.optionalInts(2);
  if (failed(past) || failed(update) || failed(starts))
    return failure();
  int64_t rank = past->getRank();
  FailureOr<int64_t> axis = ctx.normalizeAxis(ctx.getInt("axis", -2), rank);
  if (failed(axis))
    return failure();
  bool fits =
      update->getRank() == rank && *axis > 0 && sameKind(*past, *update);
  for (int64_t d = 0; fits && d < rank; ++d)
    fits = d == *axis || update->getDim(d) == past->getDim(d);
  if (!fits ||
      (*starts && static_cast<int64_t>((*starts)->size()) != past->getDim(0)))
    return ctx.error("update " + shapeText(update->getShape()) +
                     " does not fit " + shapeText(past->getShape()));
  bool circular = ctx.getString("mode", "linear") == "circular";
  int64_t length = past->getDim(*axis), count = update->getDim(*axis);
  EvalTensor result = *past;
  SmallVector<int64_t> strides = rowMajorStrides(past->getShape());
  SmallVector<int64_t> others(strides);
  others[*axis] = 0;
  StridedWalk walk(update->getShape(), others);
  for (int64_t i = 0; i < update->getNumElements(); ++i) {
    int64_t start = *starts ? (**starts)[walk.getIndex()[0]] : 0;
    if (start < 0 || (circular ? start >= length : start > length - count))
      return ctx.error("write index " + Twine(start) + " is out of range",
                       "E103");
    int64_t at = start + walk.getIndex()[*axis];
    if (circular)
      at %= length;
    copyElements(*update, i, result, walk.getOffset() + at * strides[*axis], 1);
    walk.next();
  }
  ctx.setOutput(0, result);
  return success();
}

//===----------------------------------------------------------------------===//
// Selection
//===----------------------------------------------------------------------===//

static LogicalResult evalCompress(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0), condition = ctx.requireInt(1);
  if (failed(x) || failed(condition))
    return failure();
  EvalTensor data = *x;
  int64_t axis = 0;
  if (ctx.hasAttr("axis")) {
    FailureOr<int64_t> given =
        ctx.normalizeAxis(ctx.getInt("axis", 0), x->getRank());
    if (failed(given))
      return failure();
    axis = *given;
  } else {
    data = x->reshaped({x->getNumElements()});
  }
  int64_t length = data.getDim(axis);
  if (condition->getRank() != 1 || condition->getNumElements() > length)
    return ctx.error("the condition is longer than the axis");
  SmallVector<int64_t> kept;
  for (auto [i, flag] : llvm::enumerate(condition->ints()))
    if (flag)
      kept.push_back(i);
  SmallVector<int64_t> shape(data.getShape());
  shape[axis] = kept.size();
  FailureOr<EvalTensor> result = ctx.allocate(data.getElementType(), shape);
  if (failed(result))
    return failure();
  int64_t outer = productOf(shape, 0, axis);
  int64_t inner = productOf(shape, axis + 1, shape.size());
  int64_t to = 0;
  for (int64_t o = 0; o < outer && inner > 0; ++o)
    for (int64_t i : kept) {
      copyElements(data, (o * length + i) * inner, *result, to, inner);
      to += inner;
    }
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalNonZero(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  if (x->isString())
    return ctx.error("needs numbers");
  SmallVector<int64_t> found;
  for (int64_t i = 0; i < x->getNumElements(); ++i)
    if (x->asDouble(i) != 0)
      found.push_back(i);
  // A scalar counts as a vector of one element.
  SmallVector<int64_t> shape(x->getShape());
  if (shape.empty())
    shape.push_back(1);
  int64_t rank = shape.size(), count = found.size();
  FailureOr<EvalTensor> result = ctx.allocate(ctx.i64(), {rank, count});
  if (failed(result))
    return failure();
  SmallVector<int64_t> strides = rowMajorStrides(shape);
  for (int64_t d = 0; d < rank; ++d)
    for (int64_t j = 0; j < count; ++j)
      result->mutableInts()[d * count + j] = found[j] / strides[d] % shape[d];
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalUnique(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  EvalTensor data = *x;
  int64_t axis = 0;
  if (ctx.hasAttr("axis")) {
    FailureOr<int64_t> given =
        ctx.normalizeAxis(ctx.getInt("axis", 0), x->getRank());
    if (failed(given))
      return failure();
    axis = *given;
  } else {
    data = x->reshaped({x->getNumElements()});
  }
  int64_t length = data.getDim(axis);
  int64_t outer = productOf(data.getShape(), 0, axis);
  int64_t inner = productOf(data.getShape(), axis + 1, data.getRank());
  auto at = [&](int64_t i, int64_t j) {
    return (j / inner * length + i) * inner + j % inner;
  };
  /// -1, 0 or 1 for slices i and k along the axis.
  auto compare = [&](int64_t i, int64_t k) {
    for (int64_t j = 0; j < outer * inner; ++j) {
      int64_t a = at(i, j), b = at(k, j);
      int order = 0;
      if (data.isString()) {
        int c = data.strings()[a].compare(data.strings()[b]);
        order = (c > 0) - (c < 0);
      } else if (data.isFloat()) {
        double p = data.floats()[a], q = data.floats()[b];
        order = (p > q) - (p < q);
      } else if (data.isUnsigned()) {
        auto p = static_cast<uint64_t>(data.ints()[a]);
        auto q = static_cast<uint64_t>(data.ints()[b]);
        order = (p > q) - (p < q);
      } else {
        order = (data.ints()[a] > data.ints()[b]) -
                (data.ints()[a] < data.ints()[b]);
      }
      if (order != 0)
        return order;
    }
    return 0;
  };
  std::vector<int64_t> order(length);
  std::iota(order.begin(), order.end(), 0);
  llvm::sort(order, [&](int64_t i, int64_t k) {
    int c = compare(i, k);
    return c != 0 ? c < 0 : i < k;
  });
  std::vector<int64_t> firsts, group(length);
  for (size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || compare(order[i - 1], order[i]) != 0)
      firsts.push_back(order[i]);
    group[order[i]] = firsts.size() - 1;
  }
  if (ctx.getInt("sorted", 1) == 0) {
    // Groups in the order of their first element.
    std::vector<int64_t> rank(firsts.size()), place(firsts.size());
    std::iota(rank.begin(), rank.end(), 0);
    llvm::sort(rank,
               [&](int64_t a, int64_t b) { return firsts[a] < firsts[b]; });
    for (size_t i = 0; i < rank.size(); ++i)
      place[rank[i]] = i;
    std::vector<int64_t> old = firsts;
    for (size_t i = 0; i < rank.size(); ++i)
      firsts[i] = old[rank[i]];
    for (int64_t &g : group)
      g = place[g];
  }
  std::vector<int64_t> counts(firsts.size(), 0);
  for (int64_t g : group)
    ++counts[g];
  SmallVector<int64_t> shape(data.getShape());
  int64_t unique = firsts.size();
  shape[axis] = unique;
  FailureOr<EvalTensor> result = ctx.allocate(data.getElementType(), shape);
  if (failed(result))
    return failure();
  for (int64_t j = 0; j < outer * inner; ++j)
    for (int64_t i = 0; i < unique; ++i)
      copyElements(data, at(firsts[i], j), *result,
                   (j / inner * unique + i) * inner + j % inner, 1);
  ctx.setOutput(0, *result);
  ctx.setOutput(1, EvalTensor::vector(ctx.i64(), firsts));
  ctx.setOutput(2, EvalTensor::vector(ctx.i64(), group));
  ctx.setOutput(3, EvalTensor::vector(ctx.i64(), counts));
  return success();
}

FFN_REGISTER_OPS(GatherEval) {
  table.addEval("", "Gather", 1, evalGather);
  table.addEval("", "GatherElements", 1, evalGatherElements);
  table.addEval("", "GatherND", 1, evalGatherND);
  table.addEval("", "Scatter", 1, evalScatterElements);
  table.addEval("", "ScatterElements", 1, evalScatterElements);
  table.addEval("", "ScatterND", 1, evalScatterND);
  table.addEval("", "TensorScatter", 1, evalTensorScatter);
  table.addEval("", "Compress", 1, evalCompress);
  table.addEval("", "NonZero", 1, evalNonZero);
  table.addEval("", "Unique", 1, evalUnique);
}
