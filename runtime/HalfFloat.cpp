//===- HalfFloat.cpp - What a compiler library has for 16-bit floats ------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// LLVM calls these for arithmetic on bf16 and f16 where the CPU level has no
// instruction; no compiler library is linked. The ABI passes both types in the
// low 16 bits of an SSE register, as it does the float whose bits they are
// here: compilers without the types build this file too.
//
//===----------------------------------------------------------------------===//

#include <stdint.h>
#include <string.h>

namespace {
template <typename To, typename From> To bitsOf(From from) {
  To to = 0;
  memcpy(&to, &from, sizeof(To) < sizeof(From) ? sizeof(To) : sizeof(From));
  return to;
}

/// The low 16 bits of the register.
float fromHalf(uint16_t bits) { return bitsOf<float>(uint32_t(bits)); }

/// Rounds a float64 to nearest even, in one step, to a format of 16 bits with
/// `exponentBits` and `fractionBits`.
uint16_t roundTo(double value, int exponentBits, int fractionBits) {
  uint64_t bits = bitsOf<uint64_t>(value);
  auto sign = uint16_t(bits >> 48 & 0x8000);
  auto infinity = uint16_t(((1 << exponentBits) - 1) << fractionBits);
  int exponent = int(bits >> 52 & 0x7ff);
  uint64_t fraction = bits & ((uint64_t(1) << 52) - 1);
  if (exponent == 0x7ff) {
    if (!fraction)
      return uint16_t(sign | infinity);
    // A quiet NaN with what fits of the payload.
    return uint16_t(sign | infinity | 1 << (fractionBits - 1) |
                    fraction >> (52 - fractionBits));
  }
  // Subnormal float64 is far below half the least subnormal.
  if (exponent == 0)
    return sign;
  fraction |= uint64_t(1) << 52;
  int biased = exponent - 1023 + (1 << (exponentBits - 1)) - 1;
  int shift = 52 - fractionBits;
  if (biased < 1) {
    shift += 1 - biased;
    biased = 1;
    if (shift > 54)
      return sign;
  }
  uint64_t kept = fraction >> shift;
  uint64_t rest = fraction & ((uint64_t(1) << shift) - 1);
  uint64_t half = uint64_t(1) << (shift - 1);
  kept += rest > half || (rest == half && (kept & 1));
  // A carry moves into the exponent, as the formats are made for.
  uint64_t result = (uint64_t(biased - 1) << fractionBits) + kept;
  return uint16_t(sign | (result >= infinity ? infinity : result));
}
} // namespace

extern "C" {
float __truncsfbf2(float value) { return fromHalf(roundTo(value, 8, 7)); }
float __truncdfbf2(double value) { return fromHalf(roundTo(value, 8, 7)); }
float __truncsfhf2(float value) { return fromHalf(roundTo(value, 5, 10)); }
float __truncdfhf2(double value) { return fromHalf(roundTo(value, 5, 10)); }

float __extendhfsf2(float half) {
  uint32_t bits = bitsOf<uint32_t>(half) & 0xffff;
  uint32_t sign = (bits & 0x8000) << 16, rest = bits & 0x7fff;
  if (rest >= 0x7c00) // infinity and NaN, made quiet
    return bitsOf<float>(sign | 0x7f800000 | (rest & 0x3ff) << 13 |
                         (rest > 0x7c00 ? 0x400000 : 0));
  if (rest < 0x400) { // subnormal: a multiple of 2^-24
    float magnitude = float(rest) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  return bitsOf<float>(sign | ((rest << 13) + ((127 - 15) << 23)));
}
}
