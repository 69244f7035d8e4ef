//===- TestData.h - Numbers for the tests of kernels ------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_TEST_UNIT_TARGET_TESTDATA_H
#define FFN_MLIR_TEST_UNIT_TARGET_TESTDATA_H

#include "ffn-mlir/Dialect/CPU/IR/CPU.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "llvm/ADT/APFloat.h"
#include <algorithm>
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

/// Rows as the `quantize` kernel makes them: codes, scale, sums of groups.
class QuantizedRows {
public:
  QuantizedRows(mlir::ffn::cpu::QuantizeAttr key, const float *x, int64_t rows,
                int64_t stride)
      : key(key), words(rows * key.getWords(), 0) {
    int64_t width = key.getWidth();
    for (int64_t i = 0; i < rows; ++i) {
      float magnitude = 0x1p-100f;
      for (int64_t k = 0; k < width; ++k)
        magnitude = std::max(magnitude, std::fabs(x[i * stride + k]));
      std::vector<int8_t> codes(width);
      for (int64_t k = 0; k < width; ++k)
        codes[k] = static_cast<int8_t>(
            std::nearbyint(double(x[i * stride + k]) * (127.0f / magnitude)));
      setRow(i, codes, magnitude * float(1.0 / 127));
    }
  }
  QuantizedRows(mlir::ffn::cpu::QuantizeAttr key, int64_t rows)
      : key(key), words(rows * key.getWords(), 0) {}

  void setRow(int64_t row, const std::vector<int8_t> &codes, float scale) {
    int32_t *start = &words[row * key.getWords()];
    std::memcpy(start, codes.data(), codes.size());
    std::memcpy(start + key.getScaleWord(), &scale, 4);
    for (size_t k = 0; k < codes.size(); ++k)
      start[key.getSumWord() + k / key.getGroup()] += codes[k];
  }
  int8_t getCode(int64_t row, int64_t k) const {
    return reinterpret_cast<const int8_t *>(&words[row * key.getWords()])[k];
  }
  float getScale(int64_t row) const {
    float scale;
    std::memcpy(&scale, &words[row * key.getWords() + key.getScaleWord()], 4);
    return scale;
  }

  mlir::ffn::cpu::QuantizeAttr key;
  std::vector<int32_t> words;
};

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
