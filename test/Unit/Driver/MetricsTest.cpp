//===- MetricsTest.cpp ----------------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/Metrics.h"
#include "gtest/gtest.h"
#include <cmath>

using namespace mlir::ffn;

TEST(Metrics, LikelihoodOfKnownDistributions) {
  float even[4] = {7, 7, 7, 7};
  EXPECT_NEAR(negativeLogLikelihood(even, 2), std::log(4.0), 1e-12);
  float far[2] = {1000, 0};
  EXPECT_NEAR(negativeLogLikelihood(far, 1), 1000, 1e-9);
  EXPECT_TRUE(std::isnan(negativeLogLikelihood(even, 4)));
  EXPECT_TRUE(std::isnan(negativeLogLikelihood(even, -1)));
}

TEST(Metrics, DivergenceIsZeroOnlyForEqualDistributions) {
  float p[3] = {0, 1, 2}, shifted[3] = {5, 6, 7}, q[3] = {2, 1, 0};
  EXPECT_NEAR(klDivergence(p, shifted), 0, 1e-12);
  // Written out: p and q are mirror images with log ratios -2, 0, 2.
  double z = 1 + std::exp(1.0) + std::exp(2.0);
  EXPECT_NEAR(klDivergence(p, q), (2 * std::exp(2.0) - 2) / z, 1e-12);
}

TEST(Metrics, ArgmaxTakesTheLowestAndRefusesNaN) {
  float tie[3] = {1, 3, 3}, nan[2] = {0, NAN};
  EXPECT_EQ(argmax(tie), 1);
  EXPECT_EQ(argmax(nan), -1);
  EXPECT_EQ(argmax({}), -1);
}

TEST(Metrics, ComparisonCountsWhatDiffers) {
  OutputComparison same;
  float a[4] = {1, -2, 3, INFINITY};
  same.add(a, a, 2, false);
  EXPECT_EQ(same.relativeL2(), 0);
  EXPECT_EQ(same.nonFinite, 0u);
  EXPECT_NEAR(same.cosine(), 1, 1e-12);

  OutputComparison different;
  float b[4] = {1, -2, 3.5, 0};
  different.add(a, b, 2, true);
  EXPECT_EQ(different.nonFinite, 1u);
  EXPECT_NEAR(different.maxAbs, 0.5, 1e-12);
  EXPECT_NEAR(different.relativeMax(), 0.5 / 3, 1e-12);
  EXPECT_NEAR(different.relativeL2(), 0.5 / std::sqrt(14.0), 1e-12);
  EXPECT_EQ(different.rows, 2u);
  EXPECT_EQ(different.sameTop, 1u);
}

TEST(Metrics, IntervalOfAMean) {
  Mean mean;
  for (double x : {1.0, 2.0, 3.0, 4.0})
    mean.add(x);
  EXPECT_NEAR(mean.value(), 2.5, 1e-12);
  EXPECT_NEAR(mean.halfWidth(), 1.959963984540054 * std::sqrt(5.0 / 3 / 4),
              1e-9);
}
