//===- LatencyGateTest.cpp ------------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/LatencyGate.h"
#include "gtest/gtest.h"

using namespace mlir::ffn;

static LatencyWorkload fromRatios(std::vector<double> ratios) {
  LatencyWorkload workload;
  for (double ratio : ratios) {
    workload.original.seconds.push_back(2);
    workload.rewritten.seconds.push_back(2 * ratio);
  }
  workload.summarize();
  return workload;
}

TEST(LatencyGate, IntervalFromOrderStatistics) {
  // Of 11 pairs: floor(11 / 2 - 1.96 sqrt(11) / 2) = 2 are cut off on a side.
  LatencyWorkload workload = fromRatios(
      {1.10, 0.90, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.08, 1.09});
  EXPECT_DOUBLE_EQ(workload.ratio, 1.05);
  EXPECT_DOUBLE_EQ(workload.low, 1.02);
  EXPECT_DOUBLE_EQ(workload.high, 1.08);
  EXPECT_FALSE(workload.isDecided(0.02));
  EXPECT_TRUE(workload.isSlower(0.01));
}

TEST(LatencyGate, OneOutlierDecidesNothing) {
  std::vector<double> ratios(11, 1.0);
  ratios[4] = 100;
  LatencyWorkload workload = fromRatios(ratios);
  EXPECT_FALSE(workload.isSlower(0.02));
  EXPECT_TRUE(workload.isDecided(0.02));
}

TEST(LatencyGate, AWorkloadThatIsSlowerIsEnough) {
  LatencyVerdict verdict;
  verdict.workloads = {fromRatios(std::vector<double>(11, 0.5)),
                       fromRatios(std::vector<double>(11, 1.01))};
  EXPECT_FALSE(verdict.isSlower());
  verdict.workloads.push_back(fromRatios(std::vector<double>(11, 1.5)));
  EXPECT_TRUE(verdict.isSlower());
  LatencyWorkload none;
  none.summarize();
  EXPECT_FALSE(none.isSlower(0));
}

TEST(LatencyGate, TimesOfRuns) {
  Timing timing;
  EXPECT_EQ(timing.median(), 0);
  timing.seconds = {4, 1, 2, 3, 5};
  EXPECT_EQ(timing.median(), 3);
  EXPECT_EQ(timing.minimum(), 1);
  EXPECT_DOUBLE_EQ(timing.spread(), 2.0 / 3);
}
