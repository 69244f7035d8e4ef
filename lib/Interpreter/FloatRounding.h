//===- FloatRounding.h - Values of narrow float types -----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_INTERPRETER_FLOATROUNDING_H
#define FFN_MLIR_LIB_INTERPRETER_FLOATROUNDING_H

#include "ffn-mlir/Interpreter/EvalTensor.h"

namespace llvm {
struct fltSemantics;
} // namespace llvm

namespace mlir::ffn {

/// The numbers that describe a binary float format.
struct FloatFormat {
  const llvm::fltSemantics *semantics = nullptr;
  unsigned bits = 0;
  int precision = 0;   // with the hidden bit
  int minExponent = 0; // of the least normal value
  double largest = 0;  // finite
  bool hasInf = false, hasNaN = false, hasSign = false, hasZero = false;
  bool hasNegativeZero = false;
  /// Every value is a double.
  bool supported = false;
};

FloatFormat getFloatFormat(FloatType type);
double roundToFormat(const FloatFormat &format, double value,
                     Overflow overflow);
double decodeFloat(const FloatFormat &format, uint64_t bits);
/// Bits of a value that `roundToFormat` returned.
uint64_t encodeFloat(const FloatFormat &format, double value);
/// All values of a format of at most 16 bits, by their bits.
ArrayRef<double> getDecodeTable(const FloatFormat &format);

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_INTERPRETER_FLOATROUNDING_H
