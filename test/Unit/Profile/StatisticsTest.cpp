//===- StatisticsTest.cpp - Sums over the rows of activations -------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Profile/Statistics.h"
#include "gtest/gtest.h"
#include <cmath>
#include <numeric>
#include <optional>

using namespace mlir::ffn;

namespace {
HostTensor makeTensor(int64_t rows, int64_t width, uint64_t seed,
                      ffn_dtype dtype = {2, 32, 1}) {
  HostTensor tensor;
  EXPECT_FALSE(bool(tensor.reset(dtype, {rows, width})));
  tensor.fillRandom(seed, 2);
  return tensor;
}

/// Adds the samples, the parts of each in descending order if `backwards`.
void addAll(Statistic &statistic, llvm::ArrayRef<const HostTensor *> first,
            llvm::ArrayRef<const HostTensor *> second = {},
            bool backwards = false) {
  for (size_t i = 0; i < first.size(); ++i) {
    TokenRows x(*first[i]);
    std::optional<TokenRows> y;
    llvm::SmallVector<const TokenRows *> rows{&x};
    if (!second.empty()) {
      y.emplace(*second[i]);
      rows.push_back(&*y);
    }
    unsigned parts = statistic.getNumParts();
    for (unsigned part = 0; part < parts; ++part)
      ASSERT_FALSE(
          bool(statistic.add(backwards ? parts - 1 - part : part, rows)));
    statistic.endSample();
  }
}

using Tensors = std::map<std::string, std::vector<char>>;
Tensors finish(Statistic &statistic) {
  std::vector<SafetensorsSource> sources;
  EXPECT_FALSE(bool(statistic.finish(sources)));
  Tensors tensors;
  for (const SafetensorsSource &source : sources) {
    std::vector<char> &bytes = tensors[source.name];
    EXPECT_FALSE(bool(source.write([&](llvm::ArrayRef<char> part) {
      bytes.insert(bytes.end(), part.begin(), part.end());
      return llvm::Error::success();
    })));
    size_t size = getSafetensorsItemSize(source.dtype);
    for (int64_t dim : source.shape)
      size *= dim;
    EXPECT_EQ(bytes.size(), size) << source.name;
  }
  return tensors;
}

template <typename T>
llvm::ArrayRef<T> get(const Tensors &tensors, const std::string &name) {
  const std::vector<char> &bytes = tensors.at("/" + name);
  return {reinterpret_cast<const T *>(bytes.data()), bytes.size() / sizeof(T)};
}

constexpr ffn_dtype kTypes[] = {{2, 32, 1}, {2, 64, 1}, {2, 16, 1}, {4, 16, 1}};
} // namespace

TEST(Statistics, MomentsAreTheSumsInTokenOrder) {
  for (ffn_dtype dtype : kTypes)
    for (int64_t width : {1, 7, 255, 256, 257, 513}) {
      HostTensor a = makeTensor(5, width, 1, dtype),
                 b = makeTensor(3, width, 2, dtype),
                 none = makeTensor(0, width, 3, dtype);
      const HostTensor *samples[] = {&none, &a, &b};
      MomentOptions options{true, false, 0.25};
      auto statistic = makeMoments(width, options);
      addAll(*statistic, samples, {}, /*backwards=*/width == 513);
      Tensors tensors = finish(*statistic);
      EXPECT_EQ(get<int64_t>(tensors, "count")[0], 8);
      for (int64_t c = 0; c < width; ++c) {
        double sum = 0, square = 0, absolute = 0, norms = 0;
        int64_t fired = 0;
        std::vector<double> values;
        for (const HostTensor *sample : samples) {
          double within = 0;
          for (int64_t r = 0; r < sample->getShape()[0]; ++r) {
            double v = sample->getDouble(r * width + c);
            values.push_back(v);
            sum += v;
            square += v * v;
            within += v * v;
            absolute += std::fabs(v);
            fired += v > 0.25;
          }
          norms += std::sqrt(within);
        }
        // The order of the sums is part of what they are.
        EXPECT_EQ(get<double>(tensors, "sum")[c], sum);
        EXPECT_EQ(get<double>(tensors, "sum_sq")[c], square);
        EXPECT_EQ(get<double>(tensors, "abs_sum")[c], absolute);
        EXPECT_EQ(get<int64_t>(tensors, "fired")[c], fired);
        EXPECT_EQ(get<double>(tensors, "mean")[c], sum / 8);
        EXPECT_EQ(get<double>(tensors, "second_moment")[c], square / 8);
        EXPECT_NEAR(get<double>(tensors, "sample_norm")[c], norms / 3, 1e-12);
        double variance = 0;
        for (double v : values)
          variance += (v - sum / 8) * (v - sum / 8) / 8;
        EXPECT_NEAR(get<double>(tensors, "variance")[c], variance, 1e-13);
      }
    }
}

TEST(Statistics, ConstantChannelsHaveNoVariance) {
  HostTensor tensor = makeTensor(1000, 3, 0);
  for (size_t i = 0; i < 3000; ++i)
    tensor.setDouble(i, i % 3 == 2 ? i : 0.1f);
  auto statistic = makeMoments(3, {true});
  addAll(*statistic, {&tensor});
  Tensors tensors = finish(*statistic);
  EXPECT_EQ(get<double>(tensors, "variance")[0], 0);
  EXPECT_EQ(get<double>(tensors, "variance")[1], 0);
  EXPECT_GT(get<double>(tensors, "variance")[2], 0);
}

TEST(Statistics, ProductsAreExactAtEveryEdge) {
  for (int64_t width : {1, 3, 16, 17, 63, 64, 65, 130})
    for (int64_t rows : {0, 1, 63, 64, 65, 130}) {
      HostTensor x = makeTensor(rows, width, 5), y = makeTensor(rows, 5, 6);
      auto gram = makeGram(width, 0, width);
      addAll(*gram, {&x}, {}, /*backwards=*/true);
      auto cross = makeCross("cross", width, 5, 0, width);
      addAll(*cross, {&x}, {&y});
      Tensors g = finish(*gram), c = finish(*cross);
      auto naive = [&](const HostTensor &with, int64_t i, int64_t j) {
        double sum = 0;
        for (int64_t r = 0; r < rows; ++r)
          sum += x.getDouble(r * width + i) *
                 with.getDouble(r * with.getShape()[1] + j);
        return sum;
      };
      for (int64_t i = 0; i < width; ++i) {
        for (int64_t j = 0; j < width; ++j)
          ASSERT_EQ(get<double>(g, "gram")[i * width + j], naive(x, i, j));
        for (int64_t j = 0; j < 5; ++j)
          ASSERT_EQ(get<double>(c, "cross")[i * 5 + j], naive(y, i, j));
      }
      // Rows made apart have the same bits.
      if (width < 65)
        continue;
      auto head = makeGram(width, 0, 64), tail = makeGram(width, 64, width);
      addAll(*head, {&x});
      addAll(*tail, {&x});
      std::vector<char> bytes = finish(*head).at("/gram.0");
      std::vector<char> rest = finish(*tail).at("/gram.64");
      bytes.insert(bytes.end(), rest.begin(), rest.end());
      EXPECT_EQ(bytes, g.at("/gram"));
    }
}

TEST(Statistics, CoFiringIsClampedPerGroup) {
  constexpr int64_t width = 19, group = 8;
  HostTensor a = makeTensor(21, width, 8), b = makeTensor(8, width, 9);
  auto statistic = makeCoFiring(width, group, 0, width);
  addAll(*statistic, {&a, &b});
  Tensors tensors = finish(*statistic);
  bool clamped = false, below = false;
  for (int64_t i = 0; i < width; ++i)
    for (int64_t j = 0; j < width; ++j) {
      double total = 0;
      for (const HostTensor *x : {&a, &b})
        for (int64_t begin = 0; begin < x->getShape()[0]; begin += group) {
          double sum = 0;
          for (int64_t r = begin; r < std::min(begin + group, x->getShape()[0]);
               ++r)
            sum += x->getDouble(r * width + i) * x->getDouble(r * width + j);
          clamped |= sum > 1;
          below |= sum < 1;
          total += std::min(1.0, sum);
        }
      EXPECT_EQ(get<double>(tensors, "cofire")[i * width + j], total);
    }
  EXPECT_TRUE(clamped && below);
}

TEST(Statistics, TopKTakesTheFirstOfEqualOnes) {
  HostTensor x = makeTensor(11, 6, 0);
  for (size_t i = 0; i < 66; ++i)
    x.setDouble(i, 0);
  // Token 0: all equal. Token 10: the magnitude counts.
  x.setDouble(60 + 4, -3);
  x.setDouble(60 + 2, 2);
  auto statistic = makeTopK("topk", 6, 2);
  addAll(*statistic, {&x});
  Tensors tensors = finish(*statistic);
  auto bits = get<uint8_t>(tensors, "topk");
  ASSERT_EQ(bits.size(), 12u);
  auto hit = [&](int64_t neuron, int64_t token) {
    return bits[neuron * 2 + token / 8] >> (token % 8) & 1;
  };
  EXPECT_TRUE(hit(0, 0) && hit(1, 0) && !hit(2, 0));
  EXPECT_TRUE(hit(4, 10) && hit(2, 10) && !hit(0, 10));
  unsigned count = 0;
  for (uint8_t byte : bits)
    count += __builtin_popcount(byte);
  EXPECT_EQ(count, 22u);
}

TEST(Statistics, HistogramBinsByExponentAndMantissa) {
  HostTensor x = makeTensor(1, 5, 0);
  const double values[] = {0.0, -1.0, 1.0, 1.01, 1.02};
  for (size_t i = 0; i < 5; ++i)
    x.setDouble(i, values[i]);
  auto statistic = makeHistogram();
  addAll(*statistic, {&x});
  Tensors tensors = finish(*statistic);
  auto counts = get<int64_t>(tensors, "histogram");
  EXPECT_EQ(counts[0], 1);
  // 1.0 is exponent 127; bins are 1/64 wide there.
  EXPECT_EQ(counts[127 << 6], 3);
  EXPECT_EQ(counts[(127 << 6) + 1], 1);
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), int64_t(0)), 5);
}

TEST(Statistics, InfluenceLeavesOutTokensWithoutResidual) {
  HostTensor in = makeTensor(3, 2, 0), out = makeTensor(3, 2, 0);
  const double before[] = {3, 4, 0, 0, 1, 0}, after[] = {3, 4, 1, 1, 1, 1};
  for (size_t i = 0; i < 6; ++i) {
    in.setDouble(i, before[i]);
    out.setDouble(i, after[i]);
  }
  auto statistic = makeInfluence();
  addAll(*statistic, {&in}, {&out});
  Tensors tensors = finish(*statistic);
  EXPECT_EQ(get<int64_t>(tensors, "measured")[0], 2);
  EXPECT_DOUBLE_EQ(get<double>(tensors, "norm_ratio")[0], 0.5);
  EXPECT_DOUBLE_EQ(get<double>(tensors, "cosine")[0], (1 + std::sqrt(0.5)) / 2);
}

TEST(Statistics, WhatIsNotFiniteIsAnError) {
  HostTensor x = makeTensor(2, 3, 1);
  x.setDouble(4, INFINITY);
  auto moments = makeMoments(3, {});
  auto gram = makeGram(3, 0, 3);
  for (Statistic *statistic : {moments.get(), gram.get()}) {
    addAll(*statistic, {&x});
    std::vector<SafetensorsSource> sources;
    llvm::Error error = statistic->finish(sources);
    ASSERT_TRUE(bool(error));
    EXPECT_NE(llvm::toString(std::move(error)).find("[FFN-D212]"),
              std::string::npos);
  }
}
