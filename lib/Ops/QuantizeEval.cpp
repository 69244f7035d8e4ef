//===- QuantizeEval.cpp - Codes and scales --------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A quotient that lies near a tie decides a code, so quotients are rounded to
// the precision that runtimes divide in before they become codes.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/TensorOps.h"
#include "ffn-mlir/Ops/OpTable.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

namespace {
/// Where the scale and zero point of an element are: one for all, one for each
/// index of an axis, or one for each block along it.
class Granularity {
public:
  static FailureOr<Granularity> get(EvalContext &ctx, const EvalTensor &x,
                                    const EvalTensor &scale,
                                    int64_t defaultAxis) {
    Granularity result;
    if (scale.getNumElements() == 1 && scale.getRank() <= 1)
      return result;
    FailureOr<int64_t> axis =
        ctx.normalizeAxis(ctx.getInt("axis", defaultAxis), x.getRank());
    if (failed(axis))
      return failure();
    int64_t block = ctx.getInt("block_size", 0);
    result.inner = productOf(x.getShape(), *axis + 1, x.getRank());
    result.length = x.getDim(*axis);
    bool fits;
    if (block > 0) {
      result.block = block;
      result.blocks = (result.length + block - 1) / block;
      fits = scale.getRank() == x.getRank();
      for (int64_t d = 0; fits && d < x.getRank(); ++d)
        fits = scale.getDim(d) == (d == *axis ? result.blocks : x.getDim(d));
    } else {
      fits = scale.getRank() == 1 && scale.getDim(0) == result.length;
    }
    if (!fits)
      return ctx.error("a scale of shape " + shapeText(scale.getShape()) +
                       " does not fit " + shapeText(x.getShape()));
    return result;
  }

  int64_t at(int64_t i) const {
    if (length == 0)
      return 0;
    int64_t position = i / inner % length;
    if (block == 0)
      return position;
    return (i / inner / length * blocks + position / block) * inner + i % inner;
  }

private:
  int64_t inner = 1, length = 0, block = 0, blocks = 0;
};
} // namespace

static LogicalResult evalQuantizeLinear(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0), scale = ctx.requireFloat(1);
  if (failed(x) || failed(scale))
    return failure();
  if (x->isString())
    return ctx.error("needs numbers");
  EvalTensor zero = ctx.input(2);
  MLIRContext *context = ctx.node.getContext();
  Type type = IntegerType::get(context, 8, IntegerType::Unsigned);
  if (int64_t number = ctx.getInt("output_dtype", 0))
    type = getONNXElementType(context, static_cast<int>(number));
  if (!zero.isNull())
    type = zero.getElementType();
  if (!type || llvm::isa<onnx::StringType>(type))
    return ctx.error("the code type is not known");
  FailureOr<Granularity> granularity = Granularity::get(ctx, *x, *scale, 1);
  if (failed(granularity))
    return failure();
  if (!zero.isNull() && zero.getNumElements() != scale->getNumElements())
    return ctx.error("scale and zero point differ in shape");
  auto precision = llvm::dyn_cast_if_present<FloatType>(getONNXElementType(
      context, static_cast<int>(ctx.getInt("precision", 0))));
  bool asDouble = scale->getElementType().isF64();
  auto quotient = [&](int64_t i) {
    double q = x->asDouble(i) / scale->floats()[granularity->at(i)];
    if (precision)
      return roundToFloatType(precision, q);
    return asDouble ? q : static_cast<double>(static_cast<float>(q));
  };
  FailureOr<EvalTensor> result = ctx.allocate(type, x->getShape());
  if (failed(result))
    return failure();
  if (auto floating = llvm::dyn_cast<FloatType>(type)) {
    Overflow overflow = ctx.getInt("saturate", 1) != 0 ? Overflow::Saturate
                                                       : Overflow::ToInfinity;
    MutableArrayRef<double> out = result->mutableFloats();
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = roundToFloatType(floating, quotient(i), overflow);
    ctx.setOutput(0, *result);
    return success();
  }
  auto [least, greatest] = intTypeRange(type);
  MutableArrayRef<int64_t> out = result->mutableInts();
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t z = zero.isNull() ? 0 : zero.ints()[granularity->at(i)];
    double q = std::nearbyint(quotient(i));
    // NaN becomes the zero point, infinities saturate.
    double code = (std::isnan(q) ? 0 : q) + static_cast<double>(z);
    out[i] = static_cast<int64_t>(std::clamp(code, static_cast<double>(least),
                                             static_cast<double>(greatest)));
  }
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalDequantizeLinear(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0), scale = ctx.requireFloat(1);
  if (failed(x) || failed(scale))
    return failure();
  EvalTensor zero = ctx.input(2);
  FailureOr<Granularity> granularity = Granularity::get(ctx, *x, *scale, 1);
  if (failed(granularity))
    return failure();
  if (x->isString() || zero.isString() ||
      (!zero.isNull() && zero.getNumElements() != scale->getNumElements()))
    return ctx.error("scale and zero point differ in shape");
  Type type = scale->getElementType();
  if (int64_t number = ctx.getInt("output_dtype", 0))
    type = getONNXElementType(ctx.node.getContext(), static_cast<int>(number));
  if (!llvm::isa_and_present<FloatType>(type))
    return ctx.error("the result must be floating");
  FailureOr<EvalTensor> result = ctx.allocate(type, x->getShape());
  if (failed(result))
    return failure();
  MutableArrayRef<double> out = result->mutableFloats();
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t at = granularity->at(i);
    double z = zero.isNull() ? 0 : zero.asDouble(at);
    out[i] = (x->asDouble(i) - z) * scale->floats()[at];
  }
  ctx.setOutput(0, *result);
  return success();
}

/// The specification fixes every step in float32.
static LogicalResult evalDynamicQuantizeLinear(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0);
  if (failed(x))
    return failure();
  float low = 0, high = 0;
  for (double v : x->floats()) {
    low = std::fmin(low, static_cast<float>(v));
    high = std::fmax(high, static_cast<float>(v));
  }
  float scale = high == low ? 1.0f : (high - low) / 255.0f;
  float zero = std::nearbyint(std::fmax(0.0f, std::fmin(255.0f, -low / scale)));
  Type u8 = IntegerType::get(ctx.node.getContext(), 8, IntegerType::Unsigned);
  FailureOr<EvalTensor> result = ctx.allocate(u8, x->getShape());
  if (failed(result))
    return failure();
  MutableArrayRef<int64_t> out = result->mutableInts();
  for (size_t i = 0; i < out.size(); ++i) {
    float q = std::nearbyint(static_cast<float>(x->floats()[i]) / scale) + zero;
    out[i] = static_cast<int64_t>(
        std::isnan(q) ? zero : std::fmax(0.0f, std::fmin(255.0f, q)));
  }
  ctx.setOutput(0, *result);
  ctx.setOutput(1, EvalTensor::scalar(x->getElementType(), scale));
  ctx.setOutput(2, EvalTensor::scalarInt(u8, static_cast<int64_t>(zero)));
  return success();
}

FFN_REGISTER_OPS(QuantizeEval) {
  for (StringRef domain : {"", "com.microsoft"}) {
    table.addEval(domain, "QuantizeLinear", 1, evalQuantizeLinear);
    table.addEval(domain, "DequantizeLinear", 1, evalDequantizeLinear);
  }
  table.addEval("", "DynamicQuantizeLinear", 1, evalDynamicQuantizeLinear);
}
