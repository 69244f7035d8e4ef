//===- Constants.cpp - Elements of small constants ------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Constants.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "mlir/IR/Diagnostics.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

static DimExpr toDim(const APInt &value, bool isUnsigned) {
  if (isUnsigned ? value.getActiveBits() > 63 : value.getSignificantBits() > 64)
    return {};
  return DimExpr(isUnsigned ? static_cast<int64_t>(value.getZExtValue())
                            : value.getSExtValue());
}

std::optional<ConstantElements> ffn::readSmallConstant(Operation *user,
                                                       Attribute value) {
  auto typed = dyn_cast_if_present<TypedAttr>(value);
  auto type =
      typed ? dyn_cast<RankedTensorType>(typed.getType()) : RankedTensorType();
  if (!type || !type.hasStaticShape())
    return std::nullopt;
  Type element = type.getElementType();
  auto integer = dyn_cast<IntegerType>(element);
  bool isFloat =
      isa<Float16Type, BFloat16Type, Float32Type, Float64Type>(element);
  if (!isFloat && (!integer || integer.getWidth() > 64))
    return std::nullopt;
  int64_t count = 1;
  for (int64_t dim : type.getShape())
    if (__builtin_mul_overflow(count, dim, &count) || count > kMaxContents)
      return std::nullopt;

  ConstantElements result;
  result.isFloat = isFloat;
  // i1 is unsigned: true is 1.
  bool isUnsigned =
      integer && (integer.isUnsigned() || integer.getWidth() == 1);
  auto take = [&](const APInt &bits) {
    if (isFloat)
      result.floats.push_back(
          APFloat(cast<FloatType>(element).getFloatSemantics(), bits)
              .convertToDouble());
    else
      result.ints.push_back(toDim(bits, isUnsigned));
  };
  if (auto dense = dyn_cast<DenseElementsAttr>(value)) {
    if (isFloat)
      for (const APFloat &v : dense.getValues<APFloat>())
        take(v.bitcastToAPInt());
    else
      for (const APInt &v : dense.getValues<APInt>())
        take(v);
    return result;
  }
  auto span = dyn_cast<SpanAttr>(value);
  unsigned width = element.getIntOrFloatBitWidth();
  if (!span || (width < 8 && width != 1))
    return std::nullopt;
  SmallVector<char> bytes;
  {
    ScopedDiagnosticHandler silence(user->getContext(),
                                    [](Diagnostic &) { return success(); });
    if (failed(readWeightBytes(user, span, bytes)))
      return std::nullopt;
  }
  unsigned step = width == 1 ? 1 : width / 8;
  if (bytes.size() != static_cast<size_t>(count) * step)
    return std::nullopt;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t word = 0;
    for (unsigned b = 0; b < step; ++b)
      word |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[i * step + b]))
              << (8 * b);
    if (width == 1)
      word = word != 0;
    take(APInt(width, word, /*isSigned=*/false, /*implicitTrunc=*/true));
  }
  return result;
}

SymValue ffn::getTypeValue(Type type) {
  SymValue result;
  if (auto tensor = dyn_cast<TensorType>(type)) {
    result.elementType = tensor.getElementType();
    if (tensor.hasRank()) {
      result.dims.emplace();
      for (int64_t dim : tensor.getShape())
        result.dims->push_back(ShapedType::isDynamic(dim) ? DimExpr()
                                                          : DimExpr(dim));
    }
    return result;
  }
  if (type.isIntOrIndexOrFloat()) {
    // Scalars of upstream dialects carry shape arithmetic like rank 0 tensors.
    result.elementType = type;
    result.dims.emplace();
  } else if (!isa<NoneType, onnx::UnknownType>(type)) {
    result.otherType = type;
  }
  return result;
}

SymValue ffn::getConstantValue(Operation *user, Attribute value) {
  auto typed = dyn_cast_if_present<TypedAttr>(value);
  SymValue result = typed ? getTypeValue(typed.getType()) : SymValue();
  std::optional<ConstantElements> elements = readSmallConstant(user, value);
  if (!elements)
    return result;
  if (!elements->isFloat) {
    result.contents.emplace(elements->ints);
    return result;
  }
  // Shapes computed in floating point have whole values far below 2^53.
  result.contents.emplace();
  for (double v : elements->floats) {
    if (!(std::fabs(v) < 9007199254740992.0) || v != std::trunc(v)) {
      result.contents.reset();
      break;
    }
    result.contents->push_back(DimExpr(static_cast<int64_t>(v)));
  }
  return result;
}

Attribute ffn::getConstantAttr(Value value) {
  Operation *def = value ? value.getDefiningOp() : nullptr;
  if (auto weight = dyn_cast_if_present<WeightOp>(def))
    return weight.getValueAttr();
  auto node = dyn_cast_if_present<onnx::NodeOp>(def);
  if (node && node.is("Constant"))
    return node.getNodeAttr("value");
  return {};
}
