//===- FloatRounding.cpp - Values of narrow types -------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "FloatRounding.h"
#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "llvm/ADT/APFloat.h"
#include <cmath>
#include <limits>
#include <mutex>

using namespace mlir;
using namespace mlir::ffn;

FloatFormat mlir::ffn::getFloatFormat(FloatType type) {
  const llvm::fltSemantics &semantics = type.getFloatSemantics();
  FloatFormat format;
  format.semantics = &semantics;
  format.bits = llvm::APFloat::semanticsSizeInBits(semantics);
  format.precision = llvm::APFloat::semanticsPrecision(semantics);
  format.minExponent = llvm::APFloat::semanticsMinExponent(semantics);
  format.hasInf = llvm::APFloat::semanticsHasInf(semantics);
  format.hasNaN = llvm::APFloat::semanticsHasNaN(semantics);
  format.hasSign = llvm::APFloat::semanticsHasSignedRepr(semantics);
  format.hasZero = llvm::APFloat::semanticsHasZero(semantics);
  format.hasNegativeZero =
      format.hasSign && format.hasZero &&
      llvm::APFloat::getZero(semantics, /*Negative=*/true).isNegZero();
  format.supported = format.bits <= 64 && format.precision <= 53;
  if (format.supported)
    format.largest = llvm::APFloat::getLargest(semantics).convertToDouble();
  return format;
}

double mlir::ffn::roundToFormat(const FloatFormat &format, double value,
                                Overflow overflow) {
  if (format.bits == 64)
    return value;
  bool saturate = overflow == Overflow::Saturate;
  if (std::isnan(value))
    return format.hasNaN ? value : format.largest;
  // A type without a sign (e8m0) knows only powers of two.
  if (!format.hasSign && !(value > 0))
    return value == 0 ? std::ldexp(1.0, format.minExponent)
                      : std::numeric_limits<double>::quiet_NaN();
  double rounded = value;
  if (!std::isinf(value) && value != 0) {
    int exponent = std::max(std::ilogb(value), format.minExponent);
    // Scaling by a power of two is exact, so the one rounding is nearbyint's.
    int shift = exponent - (format.precision - 1);
    rounded = std::ldexp(std::nearbyint(std::ldexp(value, -shift)), shift);
    if (!format.hasZero && rounded < std::ldexp(1.0, format.minExponent))
      rounded = std::ldexp(1.0, format.minExponent);
  }
  if (std::fabs(rounded) > format.largest) {
    if (saturate || (!format.hasInf && !format.hasNaN))
      rounded = std::copysign(format.largest, rounded);
    else if (format.hasInf)
      rounded = std::copysign(std::numeric_limits<double>::infinity(), rounded);
    else
      rounded = std::numeric_limits<double>::quiet_NaN();
  }
  if (rounded == 0 && !format.hasNegativeZero)
    rounded = 0;
  return rounded;
}

double mlir::ffn::roundToFloatType(FloatType type, double value,
                                   Overflow overflow) {
  if (type.isF64())
    return value;
  if (type.isF32() && overflow == Overflow::ToInfinity)
    return static_cast<float>(value);
  FloatFormat format = getFloatFormat(type);
  return format.supported ? roundToFormat(format, value, overflow) : value;
}

double mlir::ffn::decodeFloat(const FloatFormat &format, uint64_t bits) {
  llvm::APFloat value(*format.semantics, llvm::APInt(format.bits, bits));
  return value.convertToDouble();
}

uint64_t mlir::ffn::encodeFloat(const FloatFormat &format, double value) {
  if (std::isfinite(value) && format.hasSign) {
    // Already on the grid of the format: the fields can be written down.
    uint64_t sign =
        std::signbit(value) && (value != 0 || format.hasNegativeZero)
            ? uint64_t(1) << (format.bits - 1)
            : 0;
    double magnitude = std::fabs(value);
    if (magnitude == 0)
      return sign;
    int exponent = std::max(std::ilogb(magnitude), format.minExponent);
    auto mantissa = static_cast<uint64_t>(
        std::ldexp(magnitude, format.precision - 1 - exponent));
    uint64_t hidden = uint64_t(1) << (format.precision - 1);
    if (mantissa < hidden)
      return sign | mantissa;
    uint64_t field = exponent - format.minExponent + 1;
    return sign | (field << (format.precision - 1)) | (mantissa - hidden);
  }
  llvm::APFloat wide(value);
  bool losesInfo = false;
  wide.convert(*format.semantics, llvm::APFloat::rmNearestTiesToEven,
               &losesInfo);
  return wide.bitcastToAPInt().getZExtValue();
}

ArrayRef<double> mlir::ffn::getDecodeTable(const FloatFormat &format) {
  // One table a format for the life of the process; f16 has 512 KiB.
  static std::mutex mutex;
  static llvm::DenseMap<const llvm::fltSemantics *, std::vector<double>> tables;
  std::lock_guard<std::mutex> lock(mutex);
  std::vector<double> &table = tables[format.semantics];
  if (table.empty()) {
    table.resize(uint64_t(1) << format.bits);
    for (uint64_t bits = 0; bits < table.size(); ++bits)
      table[bits] = decodeFloat(format, bits);
  }
  return table;
}

//===----------------------------------------------------------------------===//
// Integers
//===----------------------------------------------------------------------===//

unsigned mlir::ffn::intTypeWidth(Type type) {
  auto integer = llvm::dyn_cast<IntegerType>(type);
  return integer ? integer.getWidth() : 64;
}

int64_t mlir::ffn::wrapToIntType(Type type, int64_t value) {
  auto integer = llvm::dyn_cast<IntegerType>(type);
  if (!integer || integer.getWidth() >= 64)
    return value;
  unsigned width = integer.getWidth();
  if (width == 1)
    return value != 0;
  uint64_t low = static_cast<uint64_t>(value) & ((uint64_t(1) << width) - 1);
  if (!integer.isUnsigned() && (low >> (width - 1)))
    low |= ~uint64_t(0) << width;
  return static_cast<int64_t>(low);
}

int64_t mlir::ffn::floatToIntType(Type type, double value) {
  if (type.isInteger(1))
    return value != 0;
  int64_t truncated = std::numeric_limits<int64_t>::min();
  if (value >= -0x1p63 && value < 0x1p63)
    truncated = static_cast<int64_t>(value);
  else if (type.isUnsignedInteger(64) && value >= 0x1p63 && value < 0x1p64)
    truncated = static_cast<int64_t>(static_cast<uint64_t>(value));
  return wrapToIntType(type, truncated);
}

std::pair<int64_t, int64_t> mlir::ffn::intTypeRange(Type type) {
  unsigned width = intTypeWidth(type);
  if (width == 1)
    return {0, 1};
  if (type.isUnsignedInteger())
    return {0, width >= 64 ? -1
                           : static_cast<int64_t>((uint64_t(1) << width) - 1)};
  if (width >= 64)
    return {std::numeric_limits<int64_t>::min(),
            std::numeric_limits<int64_t>::max()};
  int64_t half = int64_t(1) << (width - 1);
  return {-half, half - 1};
}
