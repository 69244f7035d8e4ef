//===- Generators.cpp - Shapes of operators that make values --------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Core/Constants.h"
#include "ffn-mlir/Ops/ShapeHelpers.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Constant
//===----------------------------------------------------------------------===//

static LogicalResult shapeConstant(ShapeContext &ctx) {
  MLIRContext *mlir = ctx.node.getContext();
  unsigned numValues = 0;
  for (NamedAttribute named : ctx.node.getAttrs()) {
    StringRef name = named.getName();
    Attribute attr = named.getValue();
    if (!name.starts_with("value") && name != "sparse_value")
      continue;
    ++numValues;
    SymValue result;
    if (name == "value") {
      result = getConstantValue(ctx.node, attr);
    } else if (auto integer = dyn_cast<IntegerAttr>(attr)) {
      result = SymValue(IntegerType::get(mlir, 64), Dims());
      result.contents = Dims{DimExpr(ctx.node.getInt(name, 0))};
    } else if (auto list = dyn_cast<DenseI64ArrayAttr>(attr)) {
      result = SymValue(IntegerType::get(mlir, 64),
                        Dims{DimExpr(static_cast<int64_t>(list.size()))});
      if (list.size() <= kMaxContents)
        result.contents =
            Dims(list.asArrayRef().begin(), list.asArrayRef().end());
    } else if (auto number = dyn_cast<FloatAttr>(attr)) {
      result = SymValue(Float32Type::get(mlir), Dims());
      double value = number.getValueAsDouble();
      if (std::fabs(value) < 1e15 && value == std::trunc(value))
        result.contents = Dims{DimExpr(static_cast<int64_t>(value))};
    } else if (auto list = dyn_cast<DenseF32ArrayAttr>(attr)) {
      result = SymValue(Float32Type::get(mlir),
                        Dims{DimExpr(static_cast<int64_t>(list.size()))});
    } else if (isa<StringAttr>(attr)) {
      result = SymValue(onnx::StringType::get(mlir), Dims());
    } else if (auto list = dyn_cast<onnx::StringsAttr>(attr)) {
      result = SymValue(
          onnx::StringType::get(mlir),
          Dims{DimExpr(static_cast<int64_t>(list.getValues().size()))});
    } else if (auto sparse = dyn_cast<onnx::SparseAttr>(attr)) {
      auto typed = dyn_cast<TypedAttr>(sparse.getValues());
      if (typed)
        result.elementType = getTypeValue(typed.getType()).elementType;
      result.dims = Dims(sparse.getDims().asArrayRef().begin(),
                         sparse.getDims().asArrayRef().end());
    }
    ctx.setOutput(0, std::move(result));
  }
  if (numValues > 1)
    return ctx.error("I502", "has more than one value");
  return success();
}

//===----------------------------------------------------------------------===//
// Shape, Size, ConstantOfShape, Range
//===----------------------------------------------------------------------===//

static LogicalResult shapeShape(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  SymValue result(IntegerType::get(ctx.node.getContext(), 64), unknownDims(1));
  if (input.dims) {
    int64_t rank = input.rank();
    auto clampTo = [&](int64_t at) {
      return std::clamp<int64_t>(at < -rank ? 0
                                 : at < 0   ? at + rank
                                            : at,
                                 0, rank);
    };
    int64_t start = clampTo(ctx.node.getInt("start", 0));
    int64_t end = clampTo(ctx.node.getInt("end", rank));
    result.contents =
        Dims(ArrayRef<DimExpr>(*input.dims)
                 .slice(start, std::max<int64_t>(end - start, 0)));
    result.dims = Dims{DimExpr(static_cast<int64_t>(result.contents->size()))};
  }
  ctx.setOutput(0, std::move(result));
  return success();
}

static LogicalResult shapeSize(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  SymValue result(IntegerType::get(ctx.node.getContext(), 64), Dims());
  if (input.dims)
    result.contents = Dims{product(*input.dims)};
  ctx.setOutput(0, std::move(result));
  return success();
}

/// The dims that vector input i asks for; none when even their number is not
/// known.
static FailureOr<std::optional<Dims>> getWantedDims(ShapeContext &ctx,
                                                    unsigned i) {
  const SymValue &shape = ctx.input(i);
  if (!shape.dims)
    return std::optional<Dims>();
  if (shape.rank() > 1)
    return ctx.error("I504", "input " + Twine(i) + " is no vector");
  std::optional<int64_t> length = shape.rank() == 1
                                      ? shape.dims->front().getConstant()
                                      : std::optional<int64_t>(1);
  if (!length)
    return std::optional<Dims>();
  if (*length > kMaxRank)
    return ctx.error("I202", "the shape has " + Twine(*length) +
                                 " dimensions, the limit is " +
                                 Twine(kMaxRank));
  Dims dims = shape.contents ? *shape.contents : unknownDims(*length);
  for (DimExpr &dim : dims) {
    if (dim.getConstant().value_or(0) < 0)
      return ctx.error("I502",
                       "the shape has a size of " + Twine(*dim.getConstant()));
    if (!dim.isNonNegative())
      dim = DimExpr();
  }
  return std::optional<Dims>(std::move(dims));
}

static LogicalResult shapeConstantOfShape(ShapeContext &ctx) {
  FailureOr<std::optional<Dims>> dims = getWantedDims(ctx, 0);
  if (failed(dims))
    return failure();
  SymValue value =
      ctx.node.getNodeAttr("value")
          ? getConstantValue(ctx.node, ctx.node.getNodeAttr("value"))
          : SymValue();
  if (value.contents && value.contents->size() != 1)
    return ctx.error("I502", "the value has " + Twine(value.contents->size()) +
                                 " elements");
  SymValue result(value.elementType, std::move(*dims));
  if (!ctx.node.getNodeAttr("value")) {
    result.elementType = Float32Type::get(ctx.node.getContext());
    value.contents = Dims{DimExpr(0)};
  }
  int64_t count = 0;
  if (value.contents && isFoldable(result.dims, count))
    result.contents = Dims(count, value.contents->front());
  ctx.setOutput(0, std::move(result));
  return success();
}

static LogicalResult shapeRange(ShapeContext &ctx) {
  SymValue result(ctx.input(0).elementType, unknownDims(1));
  DimExpr bounds[3];
  bool whole = true;
  for (unsigned i = 0; i < 3; ++i) {
    const SymValue &input = ctx.input(i);
    if (input.contents && input.contents->size() == 1)
      bounds[i] = input.contents->front();
    whole &= bounds[i].isKnown();
  }
  if (bounds[2].isConstant(0))
    return ctx.error("I502", "the step is 0");
  std::optional<int64_t> start = bounds[0].getConstant(),
                         limit = bounds[1].getConstant(),
                         step = bounds[2].getConstant();
  if (start && limit && step) {
    // (limit - start) / step, rounded up, of numbers of any size.
    __int128 distance = static_cast<__int128>(*limit) - *start;
    __int128 count =
        *step > 0 ? (distance + *step - 1) / *step
                  : (-distance - *step - 1) / -static_cast<__int128>(*step);
    if ((*step > 0) != (distance > 0))
      count = 0;
    if (count > INT64_MAX)
      return ctx.error("I201", "the range has more than 2^63 elements");
    result.dims = Dims{DimExpr(static_cast<int64_t>(count))};
    if (count <= kMaxContents) {
      result.contents.emplace();
      for (int64_t i = 0; i < static_cast<int64_t>(count); ++i)
        result.contents->push_back(DimExpr(*start) + DimExpr(*step) * i);
    }
  } else if (whole && step) {
    DimExpr distance =
        *step > 0 ? bounds[1] - bounds[0] : bounds[0] - bounds[1];
    if (*step != INT64_MIN)
      result.dims =
          Dims{DimExpr::max(distance.ceilDiv(*step > 0 ? *step : -*step), 0)};
  } else {
    std::optional<SmallVector<double>> a = ctx.constantFloats(0),
                                       b = ctx.constantFloats(1),
                                       c = ctx.constantFloats(2);
    if (a && b && c && a->size() == 1 && b->size() == 1 && c->size() == 1) {
      double count = std::ceil((b->front() - a->front()) / c->front());
      if (std::isnan(count))
        return ctx.error("I502", "the range has no number of elements");
      if (count > 9e18)
        return ctx.error("I201", "the range has more than 2^63 elements");
      result.dims = Dims{DimExpr(static_cast<int64_t>(std::max(count, 0.0)))};
    }
  }
  ctx.setOutput(0, std::move(result));
  return success();
}

//===----------------------------------------------------------------------===//
// EyeLike and random numbers
//===----------------------------------------------------------------------===//

static LogicalResult shapeLikeWithType(ShapeContext &ctx) {
  FailureOr<Type> type = getTypeAttr(ctx, "dtype");
  if (failed(type))
    return failure();
  setOutput(ctx, 0, ctx.input(0).dims,
            *type ? *type : ctx.input(0).elementType);
  return success();
}

static LogicalResult shapeEyeLike(ShapeContext &ctx) {
  if (failed(requireRank(ctx, 0, 2)))
    return failure();
  return shapeLikeWithType(ctx);
}

static LogicalResult shapeRandom(ShapeContext &ctx) {
  FailureOr<Type> type = getTypeAttr(ctx, "dtype");
  if (failed(type))
    return failure();
  std::optional<ArrayRef<int64_t>> shape = ctx.node.getInts("shape");
  if (!shape)
    return success();
  if (shape->size() > static_cast<size_t>(kMaxRank))
    return ctx.error("I202",
                     "the shape has " + Twine(shape->size()) + " dimensions");
  for (int64_t size : *shape)
    if (size < 0)
      return ctx.error("I502", "the shape has a size of " + Twine(size));
  setOutput(ctx, 0, Dims(shape->begin(), shape->end()),
            *type ? *type : Float32Type::get(ctx.node.getContext()));
  return success();
}

static LogicalResult shapeMultinomial(ShapeContext &ctx) {
  if (failed(requireRank(ctx, 0, 2)))
    return failure();
  FailureOr<Type> type = getTypeAttr(ctx, "dtype");
  if (failed(type))
    return failure();
  int64_t count = ctx.node.getInt("sample_size", 1);
  if (count < 0)
    return ctx.error("I502", "sample_size is " + Twine(count));
  const SymValue &input = ctx.input(0);
  setOutput(ctx, 0,
            Dims{input.dims ? input.dims->front() : DimExpr(), DimExpr(count)},
            *type ? *type : IntegerType::get(ctx.node.getContext(), 32));
  return success();
}

/// Windows of `size` samples.
static LogicalResult shapeWindow(ShapeContext &ctx) {
  FailureOr<Type> type = getTypeAttr(ctx, "output_datatype");
  if (failed(type))
    return failure();
  const SymValue &size = ctx.input(0);
  DimExpr length;
  if (size.contents && size.contents->size() == 1 &&
      size.contents->front().isNonNegative())
    length = size.contents->front();
  setOutput(ctx, 0, Dims{length},
            *type ? *type : Float32Type::get(ctx.node.getContext()));
  return success();
}

FFN_REGISTER_OPS(Generators) {
  table.addShape("", "Constant", 1, shapeConstant);
  table.addShape("", "Shape", 1, shapeShape);
  table.addShape("", "Size", 1, shapeSize);
  table.addShape("", "ConstantOfShape", 9, shapeConstantOfShape);
  table.addShape("", "Range", 11, shapeRange);
  table.addShape("com.microsoft", "Range", 1, shapeRange);
  table.addShape("", "EyeLike", 9, shapeEyeLike);
  table.addShape("", "Bernoulli", 15, shapeLikeWithType);
  table.addShape("", "RandomNormal", 1, shapeRandom);
  table.addShape("", "RandomUniform", 1, shapeRandom);
  table.addShape("", "RandomNormalLike", 1, shapeLikeWithType);
  table.addShape("", "RandomUniformLike", 1, shapeLikeWithType);
  table.addShape("", "Multinomial", 7, shapeMultinomial);
  for (StringRef name : {"BlackmanWindow", "HannWindow", "HammingWindow"})
    table.addShape("", name, 17, shapeWindow);
}
