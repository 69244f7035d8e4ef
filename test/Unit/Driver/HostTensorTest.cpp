//===- HostTensorTest.cpp - Owned tensors and sampling --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/HostTensor.h"
#include "ffn-mlir/Driver/Decode.h"
#include "ffn-mlir/Driver/TokenData.h"
#include "gtest/gtest.h"
#include <cmath>
#include <cstring>

using namespace mlir::ffn;

namespace {
std::string text(llvm::Error error) {
  return error ? llvm::toString(std::move(error)) : "";
}

template <typename T> NpyArray array(char kind, std::vector<T> values) {
  NpyArray result;
  result.kind = kind;
  result.itemSize = sizeof(T);
  result.shape = {static_cast<int64_t>(values.size())};
  result.data.resize(values.size() * sizeof(T));
  std::memcpy(result.data.data(), values.data(), result.data.size());
  return result;
}
} // namespace

TEST(HostTensor, RefusesSizesThatOverflow) {
  HostTensor tensor;
  EXPECT_NE(text(tensor.reset({2, 32, 1}, {INT64_MAX, 3})).find("R404"),
            std::string::npos);
  EXPECT_NE(text(tensor.reset({2, 32, 1}, {-1})).find("R404"),
            std::string::npos);
  EXPECT_NE(text(tensor.reset({2, 64, 1}, {int64_t(1) << 60})).find("R404"),
            std::string::npos);
  EXPECT_NE(text(tensor.reset({2, 4, 1}, {1})).find("R401"), std::string::npos);
  EXPECT_EQ(text(tensor.reset({2, 32, 1}, {0, INT64_MAX})), "");
  EXPECT_EQ(tensor.getNumBytes(), 0u);
  EXPECT_NE(tensor.data(), nullptr);
}

TEST(HostTensor, KeepsItsMemory) {
  HostTensor tensor;
  ASSERT_EQ(text(tensor.reset({2, 32, 1}, {100})), "");
  char *before = tensor.data();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(before) % 64, 0u);
  ASSERT_EQ(text(tensor.reset({0, 64, 1}, {5, 10})), "");
  EXPECT_EQ(tensor.data(), before);
  EXPECT_EQ(tensor.view().ndim, 2);
}

TEST(HostTensor, ConvertsNumbersThatFit) {
  HostTensor tensor;
  EXPECT_EQ(text(tensor.assign(array<double>('f', {0.1, 1e300, -2}), {2, 32, 1},
                               "x")),
            "");
  EXPECT_EQ(tensor.as<float>()[0], 0.1f);
  EXPECT_TRUE(std::isinf(tensor.as<float>()[1]));
  // 0x3c00 is 1 in half precision; 1 + 2^-8 is a tie in bfloat16.
  EXPECT_EQ(text(tensor.assign(array<uint16_t>('f', {0x3c00, 0xc000}),
                               {2, 32, 1}, "x")),
            "");
  EXPECT_EQ(tensor.as<float>()[0], 1);
  EXPECT_EQ(tensor.as<float>()[1], -2);
  EXPECT_EQ(
      text(tensor.assign(array<float>('f', {1 + 0x1p-8f}), {4, 16, 1}, "x")),
      "");
  EXPECT_EQ(tensor.as<uint16_t>()[0], 0x3f80);
  EXPECT_EQ(
      text(tensor.assign(array<int64_t>('i', {-128, 127}), {0, 8, 1}, "x")),
      "");
  EXPECT_EQ(tensor.getInt(0), -128);
  EXPECT_EQ(tensor.getDouble(1), 127);
  EXPECT_EQ(
      text(tensor.assign(array<uint64_t>('u', {UINT64_MAX}), {1, 64, 1}, "x")),
      "");
  EXPECT_EQ(tensor.getDouble(0), 0x1p64);
}

TEST(HostTensor, RefusesNumbersThatDoNotFit) {
  HostTensor tensor;
  auto refused = [&](const NpyArray &from, ffn_dtype to) {
    return text(tensor.assign(from, to, "x")).find("x: ") == 0;
  };
  EXPECT_TRUE(refused(array<int64_t>('i', {128}), {0, 8, 1}));
  EXPECT_TRUE(refused(array<int64_t>('i', {-129}), {0, 8, 1}));
  EXPECT_TRUE(refused(array<int64_t>('i', {-1}), {1, 64, 1}));
  EXPECT_TRUE(refused(array<int64_t>('i', {256}), {1, 8, 1}));
  EXPECT_TRUE(refused(array<uint64_t>('u', {UINT64_MAX}), {0, 64, 1}));
  EXPECT_TRUE(refused(array<int64_t>('i', {1}), {2, 32, 1}));
  EXPECT_TRUE(refused(array<float>('f', {1}), {0, 64, 1}));
  EXPECT_TRUE(refused(array<uint8_t>('b', {1}), {1, 8, 1}));
}

TEST(HostTensor, RandomNumbersAreTheSameEverywhere) {
  HostTensor tensor;
  ASSERT_EQ(text(tensor.reset({0, 64, 1}, {3})), "");
  tensor.fillRandom(0, 1000);
  // SplitMix64 of seed 0: 0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, ...
  EXPECT_EQ(tensor.getInt(0), int64_t(0xe220a8397b1dcdafu % 1000));
  EXPECT_EQ(tensor.getInt(1), int64_t(0x6e789e6aa1b965f4u % 1000));
}

TEST(Sampler, GreedyTakesTheLowestOfEquals) {
  Sampler sampler({});
  EXPECT_EQ(sampler.next({1, 3, 3, 2}), 1);
  EXPECT_EQ(sampler.next({1, NAN}), -1);
}

TEST(Sampler, DrawsByProbability) {
  Sampler sampler({1, 0, 7});
  std::vector<int> counts(3);
  std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  for (int i = 0; i < 20000; ++i)
    ++counts[sampler.next(logits)];
  // Five standard deviations are 355.
  EXPECT_NEAR(counts[0], 4000, 300);
  EXPECT_NEAR(counts[1], 10000, 360);
  EXPECT_NEAR(counts[2], 6000, 330);
}

TEST(Sampler, TopKLeavesTheRestOut) {
  Sampler sampler({5, 2, 3});
  std::vector<int> counts(4);
  for (int i = 0; i < 1000; ++i)
    ++counts[sampler.next({0.1f, 0.3f, 0.3f, 0.2f})];
  EXPECT_EQ(counts[0] + counts[3], 0);
  EXPECT_GT(counts[1], 400);
  EXPECT_GT(counts[2], 400);
}

TEST(SlidingWindows, ScoreEachTokenOnce) {
  for (size_t size : {2u, 3u, 9u, 10u, 30u})
    for (size_t length : {1u, 4u, 9u})
      for (size_t stride = 1; stride <= length; ++stride) {
        TokenData data;
        data.documents.emplace_back();
        for (size_t i = 0; i < size; ++i)
          data.documents[0].push_back(i);
        std::vector<int64_t> scored;
        for (const TokenWindow &window :
             makeSlidingWindows(data, length, stride)) {
          EXPECT_LE(window.ids.size(), length + 1);
          for (size_t k = window.firstScored; k + 1 < window.ids.size(); ++k)
            scored.push_back(window.ids[k + 1]);
        }
        ASSERT_EQ(scored.size(), size - 1);
        for (size_t i = 0; i + 1 < size; ++i)
          EXPECT_EQ(scored[i], int64_t(i + 1));
      }
}
