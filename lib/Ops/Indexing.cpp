//===- Indexing.cpp - Shapes of operators that take or find indices -------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/ShapeHelpers.h"

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Gather
//===----------------------------------------------------------------------===//

/// I505 when a constant index into integers that are known here, which are
/// sizes as a rule, is outside [-size, size). Into other data it fails at run
/// time, if the node is ever reached.
static LogicalResult checkIndices(ShapeContext &ctx, const SymValue &data,
                                  const SymValue &indices,
                                  const DimExpr &size) {
  std::optional<int64_t> limit = size.getConstant();
  if (!limit || !indices.contents || !data.contents ||
      isa_and_nonnull<FloatType>(data.elementType))
    return success();
  for (const DimExpr &index : *indices.contents) {
    std::optional<int64_t> at = index.getConstant();
    if (at && (*at >= *limit || *at < -*limit))
      return ctx.error("I505", "index " + Twine(*at) +
                                   " is out of range for an axis of " +
                                   Twine(*limit));
  }
  return success();
}

static LogicalResult shapeGather(ShapeContext &ctx) {
  const SymValue &data = ctx.input(0), &indices = ctx.input(1);
  if (!data.dims)
    return success();
  FailureOr<int64_t> axis =
      normalizeAxis(ctx, ctx.node.getInt("axis", 0), data.rank());
  if (failed(axis) ||
      failed(checkIndices(ctx, data, indices, (*data.dims)[*axis])))
    return failure();
  if (!indices.dims)
    return success();
  ArrayRef<DimExpr> dims = *data.dims;
  Dims result(dims.take_front(*axis));
  llvm::append_range(result, *indices.dims);
  llvm::append_range(result, dims.drop_front(*axis + 1));
  SymValue value(Type(), std::move(result));
  std::optional<SmallVector<int64_t>> at = indices.constants();
  if (data.contents && data.rank() == 1 && at) {
    int64_t size = data.contents->size();
    value.contents.emplace();
    for (int64_t index : *at) {
      if (index < -size || index >= size) {
        value.contents.reset();
        break;
      }
      value.contents->push_back(
          (*data.contents)[index < 0 ? index + size : index]);
    }
  }
  ctx.setOutput(0, std::move(value));
  return success();
}

static LogicalResult shapeGatherElements(ShapeContext &ctx) {
  const SymValue &data = ctx.input(0), &indices = ctx.input(1);
  if (data.dims) {
    FailureOr<int64_t> axis =
        normalizeAxis(ctx, ctx.node.getInt("axis", 0), data.rank());
    if (failed(axis) ||
        failed(checkIndices(ctx, data, indices, (*data.dims)[*axis])))
      return failure();
    if (failed(requireRank(ctx, 1, data.rank())))
      return failure();
  }
  setOutput(ctx, 0, indices.dims);
  return success();
}

static LogicalResult shapeGatherND(ShapeContext &ctx) {
  const SymValue &data = ctx.input(0), &indices = ctx.input(1);
  int64_t batch = ctx.node.getInt("batch_dims", 0);
  if (batch < 0)
    return ctx.error("I502", "batch_dims is " + Twine(batch));
  if (!data.dims || !indices.dims)
    return success();
  if (batch >= std::min(data.rank(), indices.rank()))
    return ctx.error("I502", "batch_dims " + Twine(batch) +
                                 " is out of range for " + Twine(data.rank()) +
                                 " and " + Twine(indices.rank()) +
                                 " dimensions");
  std::optional<int64_t> depth = indices.dims->back().getConstant();
  if (!depth)
    return success();
  if (*depth < 1 || *depth > data.rank() - batch)
    return ctx.error("I504", "indices address " + Twine(*depth) +
                                 " dimensions of " +
                                 Twine(data.rank() - batch));
  Dims result(ArrayRef<DimExpr>(*indices.dims).drop_back());
  llvm::append_range(result,
                     ArrayRef<DimExpr>(*data.dims).drop_front(batch + *depth));
  setOutput(ctx, 0, std::move(result));
  return success();
}

//===----------------------------------------------------------------------===//
// Scatter: the result is like the data
//===----------------------------------------------------------------------===//

static LogicalResult shapeScatter(ShapeContext &ctx) {
  const SymValue &data = ctx.input(0);
  if (data.dims) {
    FailureOr<int64_t> axis =
        normalizeAxis(ctx, ctx.node.getInt("axis", 0), data.rank());
    if (failed(axis) ||
        failed(checkIndices(ctx, data, ctx.input(1), (*data.dims)[*axis])) ||
        failed(requireRank(ctx, 1, data.rank())) ||
        failed(requireRank(ctx, 2, data.rank())))
      return failure();
  }
  return shapeLikeFirstInput(ctx);
}

static LogicalResult shapeScatterND(ShapeContext &ctx) {
  const SymValue &data = ctx.input(0), &indices = ctx.input(1);
  if (failed(requireMinRank(ctx, 0, 1)) || failed(requireMinRank(ctx, 1, 1)))
    return failure();
  if (data.dims && indices.dims) {
    std::optional<int64_t> depth = indices.dims->back().getConstant();
    if (depth && (*depth < 1 || *depth > data.rank()))
      return ctx.error("I504", "indices address " + Twine(*depth) +
                                   " dimensions of " + Twine(data.rank()));
    if (depth &&
        failed(requireRank(ctx, 2, indices.rank() - 1 + data.rank() - *depth)))
      return failure();
  }
  return shapeLikeFirstInput(ctx);
}

/// Writes an update into a cache along an axis.
static LogicalResult shapeTensorScatter(ShapeContext &ctx) {
  const SymValue &cache = ctx.input(0);
  if (cache.dims) {
    if (failed(requireRank(ctx, 1, cache.rank())) ||
        failed(normalizeAxis(ctx, ctx.getInt("axis"), cache.rank())))
      return failure();
  }
  return shapeLikeFirstInput(ctx);
}

//===----------------------------------------------------------------------===//
// Search: sizes that depend on data
//===----------------------------------------------------------------------===//

static LogicalResult shapeNonZero(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  SymValue result;
  result.elementType = IntegerType::get(ctx.node.getContext(), 64);
  std::optional<SmallVector<int64_t>> values = input.constants();
  // Exporters spell a range as the indices of a vector of ones.
  if (values && input.rank() == 1 && !llvm::is_contained(*values, 0)) {
    int64_t count = values->size();
    result.dims = Dims{DimExpr(1), DimExpr(count)};
    result.contents.emplace();
    for (int64_t i = 0; i < count; ++i)
      result.contents->push_back(DimExpr(i));
  } else {
    result.dims =
        Dims{input.dims ? DimExpr(input.rank()) : DimExpr(), ctx.freshSymbol()};
  }
  ctx.setOutput(0, std::move(result));
  return success();
}

static LogicalResult shapeCompress(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  if (failed(requireRank(ctx, 1, 1)))
    return failure();
  DimExpr count;
  if (std::optional<SmallVector<int64_t>> condition = ctx.constantInts(1))
    count = DimExpr(static_cast<int64_t>(
        llvm::count_if(*condition, [](int64_t v) { return v != 0; })));
  if (!ctx.node.getNodeAttr("axis")) {
    setOutput(ctx, 0, Dims{count});
    return success();
  }
  if (!input.dims)
    return success();
  FailureOr<int64_t> axis =
      normalizeAxis(ctx, ctx.node.getInt("axis", 0), input.rank());
  if (failed(axis))
    return failure();
  Dims dims = *input.dims;
  dims[*axis] = count;
  setOutput(ctx, 0, std::move(dims));
  return success();
}

static LogicalResult shapeUnique(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  DimExpr count = ctx.freshSymbol();
  for (unsigned i = 1; i < 4; ++i)
    setOutput(ctx, i, Dims{i == 2 ? DimExpr() : count});
  if (!ctx.node.getNodeAttr("axis")) {
    setOutput(ctx, 0, Dims{count});
    setOutput(ctx, 2, input.dims ? Dims{product(*input.dims)} : unknownDims(1));
    return success();
  }
  if (!input.dims)
    return success();
  FailureOr<int64_t> axis =
      normalizeAxis(ctx, ctx.node.getInt("axis", 0), input.rank());
  if (failed(axis))
    return failure();
  Dims dims = *input.dims;
  setOutput(ctx, 2, Dims{dims[*axis]});
  dims[*axis] = count;
  setOutput(ctx, 0, std::move(dims));
  return success();
}

static LogicalResult shapeTopK(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  if (!input.dims)
    return success();
  FailureOr<int64_t> axis =
      normalizeAxis(ctx, ctx.node.getInt("axis", -1), input.rank());
  if (failed(axis))
    return failure();
  DimExpr k;
  if (ctx.node.getNodeAttr("k"))
    k = DimExpr(ctx.node.getInt("k", 0));
  else if (ctx.input(1).contents && ctx.input(1).contents->size() == 1)
    k = ctx.input(1).contents->front();
  Dims dims = *input.dims;
  std::optional<int64_t> count = k.getConstant(),
                         size = dims[*axis].getConstant();
  if (count && (*count < 0 || (size && *count > *size)))
    return ctx.error(
        "I502",
        "k is " + Twine(*count) +
            (size ? ", the axis has " + std::to_string(*size) : std::string()));
  dims[*axis] = k.isNonNegative() ? k : DimExpr();
  setOutput(ctx, 0, dims);
  setOutput(ctx, 1, dims, IntegerType::get(ctx.node.getContext(), 64));
  return success();
}

//===----------------------------------------------------------------------===//
// OneHot and others
//===----------------------------------------------------------------------===//

static LogicalResult shapeOneHot(ShapeContext &ctx) {
  const SymValue &indices = ctx.input(0), &depth = ctx.input(1);
  if (!indices.dims)
    return success();
  int64_t rank = indices.rank() + 1;
  FailureOr<int64_t> axis =
      normalizeAxis(ctx, ctx.node.getInt("axis", -1), rank);
  if (failed(axis))
    return failure();
  DimExpr size;
  if (depth.contents && depth.contents->size() == 1)
    size = depth.contents->front();
  if (size.getConstant().value_or(0) < 0)
    return ctx.error("I502", "depth is " + Twine(*size.getConstant()));
  Dims dims = *indices.dims;
  dims.insert(dims.begin() + *axis, size.isNonNegative() ? size : DimExpr());
  setOutput(ctx, 0, std::move(dims), ctx.input(2).elementType);
  return success();
}

/// Tensors with the shape of the first input and, above that, at least two
/// dimensions.
static LogicalResult shapeTrilu(ShapeContext &ctx) {
  if (failed(requireMinRank(ctx, 0, 2)))
    return failure();
  return shapeLikeFirstInput(ctx);
}

static LogicalResult shapeReverseSequence(ShapeContext &ctx) {
  if (failed(requireMinRank(ctx, 0, 2)))
    return failure();
  return shapeLikeFirstInput(ctx);
}

/// Rows of a quantized table; blocks of `block_size` codes share a scale.
static LogicalResult shapeGatherBlockQuantized(ShapeContext &ctx) {
  const SymValue &data = ctx.input(0), &indices = ctx.input(1),
                 &scales = ctx.input(2);
  if (!data.dims || !indices.dims)
    return success();
  FailureOr<int64_t> axis =
      normalizeAxis(ctx, ctx.getInt("gather_axis"), data.rank());
  FailureOr<int64_t> quantized =
      normalizeAxis(ctx, ctx.getInt("quantize_axis"), data.rank());
  if (failed(axis) || failed(quantized))
    return failure();
  Dims unpacked = *data.dims;
  // Codes of less than a byte in uint8 data lie packed along the last axis.
  int64_t bits = ctx.node.getInt("bits", 4);
  if (data.elementType && data.elementType.isUnsignedInteger(8)) {
    if (bits != 2 && bits != 4 && bits != 8)
      return ctx.error("I502", "bits is " + Twine(bits));
    if (bits != 8)
      unpacked.back() = unpacked.back() * (8 / bits);
  }
  Dims result(ArrayRef<DimExpr>(unpacked).take_front(*axis));
  llvm::append_range(result, *indices.dims);
  llvm::append_range(result, ArrayRef<DimExpr>(unpacked).drop_front(*axis + 1));
  setOutput(ctx, 0, std::move(result), scales.elementType);
  return success();
}

FFN_REGISTER_OPS(Indexing) {
  table.addShape("", "Gather", 1, shapeGather);
  table.addShape("", "GatherElements", 11, shapeGatherElements);
  table.addShape("", "GatherND", 11, shapeGatherND);
  table.addShape("com.microsoft", "GatherND", 1, shapeGatherND);
  table.addShape("com.microsoft", "GatherBlockQuantized", 1,
                 shapeGatherBlockQuantized);
  table.addShape("", "Scatter", 9, shapeScatter);
  table.addShape("", "ScatterElements", 11, shapeScatter);
  table.addShape("", "ScatterND", 11, shapeScatterND);
  table.addShape("", "TensorScatter", 24, shapeTensorScatter);
  table.addShape("", "NonZero", 9, shapeNonZero);
  table.addShape("", "Compress", 9, shapeCompress);
  table.addShape("", "Unique", 11, shapeUnique);
  table.addShape("", "TopK", 1, shapeTopK);
  table.addShape("", "OneHot", 9, shapeOneHot);
  table.addShape("", "Trilu", 14, shapeTrilu);
  table.addShape("com.microsoft", "Trilu", 1, shapeTrilu);
  table.addShape("", "ReverseSequence", 10, shapeReverseSequence);
}
