//===- TestData.h - Numbers for the tests of kernels ------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_TEST_UNIT_TARGET_TESTDATA_H
#define FFN_MLIR_TEST_UNIT_TARGET_TESTDATA_H

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "llvm/ADT/APFloat.h"
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace ffn_test {

/// Uniform in [-scale, scale].
class Random {
public:
  explicit Random(uint64_t seed) : state(seed * 2654435761u + 1) {}
  double next() {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return double(state >> 11) / double(1ull << 52) - 1;
  }
  std::vector<float> floats(int64_t count, double scale) {
    std::vector<float> result(count);
    for (float &x : result)
      x = static_cast<float>(scale * next());
    return result;
  }

private:
  uint64_t state;
};

/// Bytes that start on a cache line.
class AlignedBytes {
public:
  void resize(size_t size) {
    bytes = size;
    storage.assign(size + 64, 0);
  }
  char *data() {
    auto address = reinterpret_cast<uintptr_t>(storage.data());
    return reinterpret_cast<char *>((address + 63) / 64 * 64);
  }
  size_t size() const { return bytes; }

private:
  size_t bytes = 0;
  std::vector<char> storage;
};

/// The value of f32 ('f'), bf16 ('b') or f16 ('h') nearest to x.
inline float roundTo(float x, char element) {
  if (element == 'f')
    return x;
  llvm::APFloat value(x);
  bool lossy;
  value.convert(element == 'b' ? llvm::APFloat::BFloat()
                               : llvm::APFloat::IEEEhalf(),
                llvm::APFloat::rmNearestTiesToEven, &lossy);
  value.convert(llvm::APFloat::IEEEsingle(), llvm::APFloat::rmNearestTiesToEven,
                &lossy);
  return value.convertToFloat();
}

inline bool sameBits(const std::vector<float> &x, const std::vector<float> &y) {
  return x.size() == y.size() &&
         (x.empty() || std::memcmp(x.data(), y.data(), x.size() * 4) == 0);
}

/// The meaning of an activation in float64.
inline double activate(mlir::ffn::Activation activation, double x) {
  using mlir::ffn::Activation;
  auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  switch (activation) {
  case Activation::Identity:
    return x;
  case Activation::Relu:
    return x > 0 ? x : 0;
  case Activation::GeluErf:
    return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  case Activation::GeluTanh:
    return 0.5 * x *
           (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  case Activation::GeluSigmoid:
    return x * sigmoid(1.702 * x);
  case Activation::Silu:
    return x * sigmoid(x);
  case Activation::Sigmoid:
    return sigmoid(x);
  case Activation::Tanh:
    return std::tanh(x);
  case Activation::SquaredRelu:
    return x > 0 ? x * x : 0;
  }
  return NAN;
}

} // namespace ffn_test

#endif // FFN_MLIR_TEST_UNIT_TARGET_TESTDATA_H
