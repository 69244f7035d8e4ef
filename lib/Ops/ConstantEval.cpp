//===- ConstantEval.cpp - Constants, casts and generators -----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/TensorOps.h"
#include "ffn-mlir/Ops/OpTable.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Constants
//===----------------------------------------------------------------------===//

/// Sparse attribute as a dense tensor.
static FailureOr<EvalTensor> densify(EvalContext &ctx, onnx::SparseAttr attr) {
  FailureOr<EvalTensor> values = evaluateConstant(ctx.node, attr.getValues());
  FailureOr<EvalTensor> indices = evaluateConstant(ctx.node, attr.getIndices());
  if (failed(values) || failed(indices))
    return failure();
  ArrayRef<int64_t> dims = attr.getDims().asArrayRef();
  FailureOr<EvalTensor> result = ctx.allocate(values->getElementType(), dims);
  if (failed(result))
    return failure();
  int64_t count = values->getNumElements();
  bool linear = indices->getRank() == 1;
  int64_t width = linear ? 1 : static_cast<int64_t>(dims.size());
  if (!indices->isInteger() || indices->getNumElements() != count * width)
    return ctx.error("sparse indices do not fit the values");
  SmallVector<int64_t> strides = rowMajorStrides(dims);
  for (int64_t i = 0; i < count; ++i) {
    int64_t at = linear ? indices->ints()[i] : 0;
    bool inside = at >= 0 && at < result->getNumElements();
    for (int64_t d = 0; !linear && d < width; ++d) {
      int64_t index = indices->ints()[i * width + d];
      inside &= index >= 0 && index < dims[d];
      at += inside ? index * strides[d] : 0;
    }
    if (!inside)
      return ctx.error("a sparse index is out of range", "E103");
    copyElements(*values, i, *result, at, 1);
  }
  return result;
}

static LogicalResult evalConstant(EvalContext &ctx) {
  if (auto sparse = llvm::dyn_cast_if_present<onnx::SparseAttr>(
          ctx.attr("sparse_value"))) {
    FailureOr<EvalTensor> dense = densify(ctx, sparse);
    if (failed(dense))
      return failure();
    ctx.setOutput(0, *dense);
    return success();
  }
  if (Attribute value = ctx.attr("value")) {
    FailureOr<EvalTensor> tensor = evaluateConstant(ctx.node, value);
    if (failed(tensor))
      return failure();
    ctx.setOutput(0, *tensor);
    return success();
  }
  MLIRContext *context = ctx.node.getContext();
  if (ctx.hasAttr("value_float")) {
    ctx.setOutput(
        0, EvalTensor::scalar(ctx.f32(), ctx.getFloat("value_float", 0)));
  } else if (ctx.hasAttr("value_int")) {
    ctx.setOutput(0,
                  EvalTensor::scalarInt(ctx.i64(), ctx.getInt("value_int", 0)));
  } else if (auto ints = ctx.getInts("value_ints")) {
    ctx.setOutput(0, EvalTensor::vector(ctx.i64(), *ints));
  } else if (auto floats = ctx.getFloats("value_floats")) {
    EvalTensor tensor(ctx.f32(), {static_cast<int64_t>(floats->size())});
    llvm::copy(*floats, tensor.mutableFloats().begin());
    ctx.setOutput(0, tensor);
  } else if (auto strings = ctx.getStrings("value_strings")) {
    EvalTensor tensor(onnx::StringType::get(context),
                      {static_cast<int64_t>(strings->size())});
    llvm::copy(*strings, tensor.mutableStrings().begin());
    ctx.setOutput(0, tensor);
  } else if (ctx.hasAttr("value_string")) {
    EvalTensor tensor(onnx::StringType::get(context), {});
    tensor.mutableStrings()[0] = ctx.getString("value_string", "").str();
    ctx.setOutput(0, tensor);
  } else {
    return ctx.error("has no value");
  }
  return success();
}

static LogicalResult evalConstantOfShape(EvalContext &ctx) {
  FailureOr<EvalTensor> shape = ctx.requireInt(0);
  if (failed(shape))
    return failure();
  EvalTensor value = EvalTensor::scalar(ctx.f32(), 0);
  if (Attribute attr = ctx.attr("value")) {
    FailureOr<EvalTensor> given = evaluateConstant(ctx.node, attr);
    if (failed(given))
      return failure();
    if (given->getNumElements() != 1)
      return ctx.error("the value must be one element");
    value = *given;
  }
  FailureOr<EvalTensor> result =
      ctx.allocate(value.getElementType(), shape->ints());
  if (failed(result))
    return failure();
  fillWith(*result, value);
  ctx.setOutput(0, *result);
  return success();
}

//===----------------------------------------------------------------------===//
// Cast
//===----------------------------------------------------------------------===//

/// Before version 6, `to` is the name of the type.
static int64_t dataTypeByName(StringRef name) {
  static const std::pair<StringRef, int64_t> names[] = {
      {"FLOAT", 1},  {"UINT8", 2},    {"INT8", 3},    {"UINT16", 4},
      {"INT16", 5},  {"INT32", 6},    {"INT64", 7},   {"STRING", 8},
      {"BOOL", 9},   {"FLOAT16", 10}, {"DOUBLE", 11}, {"UINT32", 12},
      {"UINT64", 13}};
  for (auto [known, number] : names)
    if (known == name)
      return number;
  return 0;
}

static std::string numberText(const EvalTensor &x, int64_t i) {
  if (x.isBool())
    return x.ints()[i] ? "1" : "0";
  if (x.isUnsigned())
    return std::to_string(static_cast<uint64_t>(x.ints()[i]));
  if (x.isInteger())
    return std::to_string(x.ints()[i]);
  double value = x.floats()[i];
  if (std::isnan(value))
    return "NaN";
  if (std::isinf(value))
    return value > 0 ? "INF" : "-INF";
  char buffer[64];
  bool isDouble = x.getElementType().isF64();
  std::snprintf(buffer, sizeof(buffer), isDouble ? "%.17g" : "%.8g", value);
  return buffer;
}

static FailureOr<EvalTensor> castStrings(EvalContext &ctx, const EvalTensor &x,
                                         Type type) {
  FailureOr<EvalTensor> result = ctx.allocate(type, x.getShape());
  if (failed(result))
    return failure();
  if (result->isString()) {
    for (int64_t i = 0; i < x.getNumElements(); ++i)
      result->mutableStrings()[i] = numberText(x, i);
    return result;
  }
  for (int64_t i = 0; i < x.getNumElements(); ++i) {
    StringRef text = StringRef(x.strings()[i]).trim();
    double value = 0;
    std::string lower = text.lower();
    StringRef magnitude = StringRef(lower).trim("+-");
    bool negative = text.starts_with("-");
    if (magnitude == "nan")
      value = std::numeric_limits<double>::quiet_NaN();
    else if (magnitude == "inf" || magnitude == "infinity")
      value = negative ? -std::numeric_limits<double>::infinity()
                       : std::numeric_limits<double>::infinity();
    else if (int64_t whole;
             result->isInteger() && !text.ltrim('+').getAsInteger(10, whole)) {
      result->mutableInts()[i] = wrapToIntType(type, whole);
      continue;
    } else if (text.getAsDouble(value)) {
      return ctx.error("element " + Twine(i) + " is no number", "E103");
    }
    if (auto floating = llvm::dyn_cast<FloatType>(type))
      result->mutableFloats()[i] =
          roundToFloatType(floating, value, Overflow::ToInfinity);
    else
      result->mutableInts()[i] = floatToIntType(type, value);
  }
  return result;
}

static LogicalResult castTo(EvalContext &ctx, Type type) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  FailureOr<EvalTensor> result = failure();
  if (x->isString() != llvm::isa<onnx::StringType>(type))
    result = castStrings(ctx, *x, type);
  else
    result = castTensor(ctx.node, ctx.state, *x, type,
                        ctx.getInt("saturate", 1) != 0 ? Overflow::Saturate
                                                       : Overflow::ToInfinity);
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalCast(EvalContext &ctx) {
  int64_t number = ctx.getInt("to", 0);
  if (ctx.version() < 6 && number == 0)
    number = dataTypeByName(ctx.getString("to", ""));
  Type type = getONNXElementType(ctx.node.getContext(), number);
  if (!type)
    return ctx.error("data type " + Twine(number) + " is not known");
  return castTo(ctx, type);
}

static LogicalResult evalCastLike(EvalContext &ctx) {
  FailureOr<EvalTensor> like = ctx.require(1);
  if (failed(like))
    return failure();
  return castTo(ctx, like->getElementType());
}

static LogicalResult evalBitCast(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  Type type = getONNXElementType(ctx.node.getContext(), ctx.getInt("to", 0));
  SmallVector<char> bytes;
  if (!type || failed(x->toBytes(bytes)))
    return ctx.error("the types have no bytes");
  FailureOr<EvalTensor> result =
      EvalTensor::fromBytes(type, x->getShape(), bytes);
  if (failed(result))
    return ctx.error("the types differ in width");
  ctx.setOutput(0, *result);
  return success();
}

//===----------------------------------------------------------------------===//
// Generators
//===----------------------------------------------------------------------===//

static LogicalResult evalRange(EvalContext &ctx) {
  FailureOr<EvalTensor> start = ctx.require(0), limit = ctx.require(1),
                        delta = ctx.require(2);
  if (failed(start) || failed(limit) || failed(delta))
    return failure();
  for (const EvalTensor *x : {&*start, &*limit, &*delta})
    if (x->getNumElements() != 1 || x->isString() ||
        x->isFloat() != start->isFloat())
      return ctx.error("start, limit and delta must be numbers of one kind");
  double count = 0;
  if (start->isFloat()) {
    if (delta->floats()[0] == 0)
      return ctx.error("delta is 0", "E103");
    count = std::ceil((limit->floats()[0] - start->floats()[0]) /
                      delta->floats()[0]);
  } else {
    if (delta->ints()[0] == 0)
      return ctx.error("delta is 0", "E103");
    __int128 distance =
        static_cast<__int128>(limit->ints()[0]) - start->ints()[0];
    __int128 by = delta->ints()[0];
    __int128 steps =
        distance / by + (distance % by != 0 && (distance < 0) == (by < 0));
    count = static_cast<double>(steps);
  }
  if (!(count > 0))
    count = 0;
  if (count > 0x1p62)
    return ctx.error("the range is endless", "E104");
  FailureOr<EvalTensor> result =
      ctx.allocate(start->getElementType(), {static_cast<int64_t>(count)});
  if (failed(result))
    return failure();
  if (result->isFloat()) {
    MutableArrayRef<double> out = result->mutableFloats();
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = start->floats()[0] + static_cast<double>(i) * delta->floats()[0];
  } else {
    MutableArrayRef<int64_t> out = result->mutableInts();
    auto value = static_cast<uint64_t>(start->ints()[0]);
    for (int64_t &element : out) {
      element =
          wrapToIntType(start->getElementType(), static_cast<int64_t>(value));
      value += static_cast<uint64_t>(delta->ints()[0]);
    }
  }
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalEyeLike(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  if (x->getRank() != 2)
    return ctx.error("needs a matrix");
  int64_t number = ctx.getInt("dtype", 0), k = ctx.getInt("k", 0);
  Type type = number ? getONNXElementType(ctx.node.getContext(), number)
                     : x->getElementType();
  if (!type || llvm::isa<onnx::StringType>(type))
    return ctx.error("data type " + Twine(number) + " is not known");
  FailureOr<EvalTensor> result = ctx.allocate(type, x->getShape());
  if (failed(result))
    return failure();
  EvalTensor one = EvalTensor::scalarInt(type, 1);
  int64_t cols = x->getDim(1);
  for (int64_t row = 0; row < x->getDim(0); ++row)
    if (int64_t col = row; k > -row - 1 && k < cols - row)
      copyElements(one, 0, *result, row * cols + col + k, 1);
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalOneHot(EvalContext &ctx) {
  FailureOr<EvalTensor> indices = ctx.require(0), values = ctx.require(2);
  FailureOr<double> depthValue = ctx.floatScalar(1, 0);
  if (failed(indices) || failed(values) || failed(depthValue))
    return failure();
  if (values->getNumElements() != 2 || indices->isString())
    return ctx.error("values must be [off, on]");
  auto depth = static_cast<int64_t>(*depthValue);
  int64_t rank = indices->getRank() + 1;
  FailureOr<int64_t> axis = ctx.normalizeAxis(ctx.getInt("axis", -1), rank);
  if (failed(axis))
    return failure();
  if (depth < 0)
    return ctx.error("depth is negative", "E103");
  SmallVector<int64_t> shape(indices->getShape());
  shape.insert(shape.begin() + *axis, depth);
  FailureOr<EvalTensor> result = ctx.allocate(values->getElementType(), shape);
  if (failed(result))
    return failure();
  fillWith(*result, *values, 0);
  int64_t inner = productOf(shape, *axis + 1, rank);
  for (int64_t i = 0; i < indices->getNumElements(); ++i) {
    auto index = static_cast<int64_t>(indices->asDouble(i));
    if (index < -depth || index >= depth)
      continue;
    index += index < 0 ? depth : 0;
    int64_t at = (i / inner * depth + index) * inner + i % inner;
    copyElements(*values, 1, *result, at, 1);
  }
  ctx.setOutput(0, *result);
  return success();
}

FFN_REGISTER_OPS(ConstantEval) {
  table.addEval("", "Constant", 1, evalConstant);
  table.addEval("", "ConstantOfShape", 1, evalConstantOfShape);
  table.addEval("", "Cast", 1, evalCast);
  table.addEval("", "CastLike", 1, evalCastLike);
  table.addEval("", "BitCast", 1, evalBitCast);
  table.addEval("", "Range", 1, evalRange);
  table.addEval("", "EyeLike", 1, evalEyeLike);
  table.addEval("", "OneHot", 1, evalOneHot);
}
