//===- MetricsTest.cpp ----------------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/Metrics.h"
#include "gtest/gtest.h"
#include <cmath>

using namespace mlir::ffn;
using Doubles = std::vector<double>;

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

TEST(Metrics, DivergenceOfImpossibleClasses) {
  double p[2] = {0, -INFINITY}, q[2] = {0, 0}, nan[2] = {0, NAN};
  EXPECT_NEAR(klDivergence(p, q), std::log(2.0), 1e-15);
  EXPECT_EQ(klDivergence(q, p), INFINITY);
  EXPECT_TRUE(std::isnan(klDivergence(nan, q)));
  EXPECT_TRUE(std::isnan(klDivergence(q, nan)));
  double top[2] = {INFINITY, 0};
  EXPECT_TRUE(std::isnan(klDivergence(top, q)));
}

TEST(Metrics, ArgmaxTakesTheLowestAndRefusesNaN) {
  float tie[3] = {1, 3, 3}, nan[2] = {0, NAN};
  EXPECT_EQ(argmax(tie), 1);
  EXPECT_EQ(argmax(nan), -1);
  EXPECT_EQ(argmax(llvm::ArrayRef<float>()), -1);
}

TEST(Metrics, TensorsOfKnownDifference) {
  TensorComparison same;
  Doubles a{1, -2, 3, 0};
  same.add(a, a);
  EXPECT_EQ(same.relativeL2(), 0);
  EXPECT_EQ(same.maxRelative(), 0);
  EXPECT_NEAR(same.cosine(), 1, 1e-15);
  // The root mean square is sqrt(14 / 4), the floor half of it.
  TensorComparison different({/*floor=*/0.5, /*bound=*/0.2});
  Doubles b{1, -2, 3.5, 0.25};
  different.add(a, b);
  EXPECT_EQ(different.maxAbs(), 0.5);
  EXPECT_NEAR(different.relativeMax(), 0.5 / 3, 1e-15);
  EXPECT_NEAR(different.relativeL2(), std::sqrt(0.3125 / 14), 1e-15);
  EXPECT_NEAR(different.maxRelative(), 0.25 / (0.5 * std::sqrt(3.5)), 1e-15);
  EXPECT_EQ(different.shareBeyond(), 0.25);
  EXPECT_NEAR(different.cosine(), 15.5 / std::sqrt(14 * 17.3125), 1e-15);
}

TEST(Metrics, ADifferenceFromZeroIsInfinitelyFar) {
  TensorComparison zero;
  zero.add(Doubles{0, 0}, Doubles{0, 1e-30});
  EXPECT_EQ(zero.relativeL2(), INFINITY);
  EXPECT_EQ(zero.maxRelative(), INFINITY);
  EXPECT_EQ(zero.cosine(), 0);
}

TEST(Metrics, ValuesThatAreNotFiniteAreNeverLeftOut) {
  TensorComparison equal;
  equal.add(Doubles{INFINITY, NAN, 1}, Doubles{INFINITY, NAN, 1});
  EXPECT_EQ(equal.equalNonFinite, 2u);
  EXPECT_EQ(equal.relativeL2(), 0);
  for (double wrong : {double(NAN), -double(INFINITY), 1.0}) {
    TensorComparison unequal;
    unequal.add(Doubles{INFINITY, 1}, Doubles{wrong, 1});
    EXPECT_EQ(unequal.unequalNonFinite, 1u);
    EXPECT_EQ(unequal.relativeL2(), INFINITY);
    EXPECT_EQ(unequal.maxAbs(), INFINITY);
    EXPECT_TRUE(std::isnan(unequal.cosine()));
    EXPECT_EQ(unequal.shareBeyond(), 0.5);
  }
  LogitComparison logits;
  logits.add(Doubles{0, 0, 0, 1}, Doubles{0, 0, 0, NAN}, 2, {});
  EXPECT_EQ(logits.undefinedRows, 1u);
  EXPECT_TRUE(std::isnan(logits.kl.value()));
  EXPECT_TRUE(std::isnan(logits.klQuantile(0.5)));
  EXPECT_EQ(logits.sameTop.value(), 0.5);
  LogitComparison both;
  both.add(Doubles{NAN, 0}, Doubles{NAN, 0}, 2, {});
  EXPECT_EQ(both.sameTop.value(), 0);
}

TEST(Metrics, MeanOverSamples) {
  SampledMean mean;
  EXPECT_TRUE(std::isnan(mean.value()));
  for (double x : {1.0, 2.0, 3.0, 4.0})
    mean.add(x, 1);
  EXPECT_NEAR(mean.value(), 2.5, 1e-12);
  EXPECT_NEAR(mean.halfWidth(), 1.959963984540054 * std::sqrt(5.0 / 3 / 4),
              1e-12);
  // Samples of different sizes: (3 + 1) / (2 + 4), residuals 5/3 and -5/3.
  SampledMean ratio;
  ratio.add(3, 2);
  EXPECT_TRUE(std::isnan(ratio.halfWidth()));
  ratio.add(1, 4);
  ratio.add(0, 0);
  EXPECT_EQ(ratio.getSamples(), 2u);
  EXPECT_NEAR(ratio.value(), 4.0 / 6, 1e-15);
  EXPECT_NEAR(ratio.halfWidth(),
              1.959963984540054 * std::sqrt(2.0 * 50 / 9) / 6, 1e-12);
}

TEST(Metrics, RowsWithAndWithoutTarget) {
  LogitComparison logits;
  Doubles p{0, std::log(3.0), 0, 0}, q{0, 0, std::log(3.0), 0};
  logits.add(p, q, 2, {1, -1});
  EXPECT_EQ(logits.kl.getRows(), 2u);
  EXPECT_EQ(logits.referenceLoss.getRows(), 1u);
  EXPECT_NEAR(logits.referenceLoss.value(), std::log(4.0 / 3), 1e-15);
  EXPECT_NEAR(logits.candidateLoss.value(), std::log(2.0), 1e-15);
  EXPECT_NEAR(logits.lossDifference.value(), std::log(1.5), 1e-15);
  EXPECT_EQ(logits.referenceRight.value(), 1);
  EXPECT_EQ(logits.candidateRight.value(), 0);
  EXPECT_EQ(logits.sameTop.value(), 0.5);
  // 3/4 log(3/2) + 1/4 log(1/2), and 1/2 log(2/3) + 1/2 log(2).
  double first = 0.75 * std::log(1.5) - 0.25 * std::log(2.0),
         second = 0.5 * std::log(4.0 / 3);
  EXPECT_NEAR(logits.kl.value(), (first + second) / 2, 1e-15);
  EXPECT_NEAR(logits.klQuantile(0), std::min(first, second), 1e-15);
  EXPECT_NEAR(logits.klQuantile(0.5), std::min(first, second), 1e-15);
  EXPECT_NEAR(logits.klQuantile(0.999), std::max(first, second), 1e-15);
}
