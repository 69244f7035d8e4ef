//===- LatencyGateTest.cpp ------------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/LatencyGate.h"
#include "gtest/gtest.h"
#include <random>

using namespace mlir::ffn;

static LatencyWorkload fromRatios(std::vector<double> ratios,
                                  size_t known = 0) {
  LatencyWorkload workload;
  for (double ratio : ratios) {
    workload.original.seconds.push_back(2);
    workload.rewritten.seconds.push_back(2 * ratio);
  }
  workload.summarize(known);
  return workload;
}

TEST(LatencyGate, IntervalFromOrderStatistics) {
  // Of 11 pairs: floor(11 / 2 - 1.96 sqrt(11) / 2) = 2 are cut off on a side.
  LatencyWorkload workload = fromRatios(
      {1.10, 0.90, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.08, 1.09});
  EXPECT_DOUBLE_EQ(workload.ratio.middle, 1.05);
  EXPECT_DOUBLE_EQ(workload.ratio.low, 1.02);
  EXPECT_DOUBLE_EQ(workload.ratio.high, 1.08);
  EXPECT_FALSE(workload.isDecided(0.02));
  // The fastest run of the rewritten model is faster.
  EXPECT_FALSE(workload.seemsSlower(0.01));
}

TEST(LatencyGate, OneOutlierDecidesNothing) {
  std::vector<double> ratios(11, 1.0);
  ratios[4] = 100;
  LatencyWorkload workload = fromRatios(ratios);
  EXPECT_FALSE(workload.seemsSlower(0.02));
  EXPECT_TRUE(workload.isDecided(0.02));
}

TEST(LatencyGate, SlowerIsSaidTwice) {
  EXPECT_TRUE(fromRatios(std::vector<double>(11, 1.5)).seemsSlower(0.02));
  EXPECT_FALSE(fromRatios(std::vector<double>(11, 1.5)).isSlower(0.02));
  EXPECT_TRUE(fromRatios(std::vector<double>(22, 1.5), 11).isSlower(0.02));
  std::vector<double> passing(22, 1.0);
  std::fill_n(passing.begin(), 20, 1.5);
  EXPECT_TRUE(fromRatios(passing, 4).ratio.low > 1.02);
  EXPECT_FALSE(fromRatios(passing, 18).isSlower(0.02));
}

TEST(LatencyGate, AWorkloadThatIsSlowerIsEnough) {
  LatencyVerdict verdict;
  verdict.workloads = {fromRatios(std::vector<double>(22, 0.5), 11),
                       fromRatios(std::vector<double>(22, 1.01), 11)};
  EXPECT_FALSE(verdict.isSlower());
  verdict.workloads.push_back(fromRatios(std::vector<double>(22, 1.5), 11));
  EXPECT_TRUE(verdict.isSlower());
  LatencyWorkload none;
  none.summarize(0);
  EXPECT_FALSE(none.isSlower(0));
}

namespace {
/// Two models of known speed on a machine where other work comes and goes: for
/// some time every run is slowed down by a drawn factor, single runs stall.
struct NoisyMachine {
  double ratio, busy, stalls;
  std::mt19937 random;
  double time = 0, until = 0, load = 1;

  double draw() { return std::uniform_real_distribution<>(0, 1)(random); }
  double run(bool isRewritten) {
    if (time > until) {
      load = draw() < busy ? 1 + 2 * draw() : 1;
      until = time + 0.2 * draw();
    }
    double seconds = 0.01 * (isRewritten ? ratio : 1) * load;
    seconds *= 1 + 0.05 * draw() + (draw() < stalls ? 5 * draw() : 0);
    time += seconds;
    return seconds;
  }
};

struct Tally {
  unsigned slower = 0, fewest = ~0u, most = 0;
};
} // namespace

static Tally judge(double ratio, double busy, double stalls,
                   LatencyGateOptions options = {}) {
  Tally tally;
  for (unsigned seed = 0; seed < 500; ++seed) {
    NoisyMachine machine{ratio, busy, stalls, std::mt19937(seed)};
    auto verdict = measureInTurns(
        {"run"}, options,
        [&](unsigned side, llvm::MutableArrayRef<double> times) {
          times[0] = machine.run(side == 1);
          return llvm::Error::success();
        },
        [&] { return machine.time; });
    EXPECT_TRUE(static_cast<bool>(verdict));
    unsigned turns = verdict->workloads[0].original.seconds.size();
    EXPECT_EQ(turns, verdict->workloads[0].rewritten.seconds.size());
    tally.slower += verdict->isSlower();
    tally.fewest = std::min(tally.fewest, turns);
    tally.most = std::max(tally.most, turns);
    // A refusal takes a second look.
    EXPECT_TRUE(!verdict->isSlower() || turns >= 22);
  }
  EXPECT_LE(tally.most, 88u);
  return tally;
}

TEST(LatencyGate, NoiseDoesNotRefuseWhatIsFaster) {
  for (double busy : {0.0, 0.5, 0.9})
    for (double stalls : {0.0, 0.3, 0.6})
      EXPECT_EQ(judge(0.9, busy, stalls).slower, 0u) << busy << " " << stalls;
}

TEST(LatencyGate, NoiseSeldomRefusesWhatIsEquallyFast) {
  for (double busy : {0.0, 0.5, 0.9})
    for (double stalls : {0.0, 0.3, 0.6})
      EXPECT_LE(judge(1, busy, stalls).slower, 5u) << busy << " " << stalls;
}

TEST(LatencyGate, WhatIsSlowerIsRefusedAllTheSame) {
  Tally quiet = judge(1.1, 0, 0);
  EXPECT_EQ(quiet.slower, 500u);
  EXPECT_EQ(quiet.most, 22u);
  EXPECT_GE(judge(1.3, 0.5, 0.3).slower, 450u);
}

TEST(LatencyGate, TurnsAreLimited) {
  // On a noisy machine a small difference takes more of them.
  Tally noisy = judge(1.02, 0.9, 0.6);
  EXPECT_GT(noisy.most, 22u);
  // A look after the time is the last one, but for the second one of what seems
  // slower.
  LatencyGateOptions options;
  options.maxSeconds = 0;
  EXPECT_EQ(judge(1.02, 0.9, 0, options).fewest, 11u);
  Tally slow = judge(1.5, 0, 0, options);
  EXPECT_EQ(slow.fewest, 22u);
  EXPECT_EQ(slow.slower, 500u);
}

TEST(LatencyGate, AnErrorOfARunIsReturned) {
  auto verdict =
      measureInTurns({"run"}, {}, [](unsigned, llvm::MutableArrayRef<double>) {
        return llvm::createStringError("broken");
      });
  EXPECT_EQ(llvm::toString(verdict.takeError()), "broken");
}

TEST(LatencyGate, TimesOfRuns) {
  Timing timing;
  EXPECT_EQ(timing.median(), 0);
  timing.seconds = {4, 1, 2, 3, 5};
  EXPECT_EQ(timing.median(), 3);
  EXPECT_EQ(timing.minimum(), 1);
  EXPECT_DOUBLE_EQ(timing.spread(), 2.0 / 3);
}
