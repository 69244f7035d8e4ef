//===- TwoStageTest.cpp - How 2SSP shares a sparsity ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/TwoStage.h"
#include "gtest/gtest.h"

using namespace mlir::ffn;

TEST(TwoStage, SharesTheSparsity) {
  // 32 (1/4)^(4/3) = 5.04; 0.25 (1 + 2) - 5 / 32 of 2 go from each network.
  auto plan = planTwoStage(32, 1, 2, 0.25);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->attentions, 5u);
  EXPECT_DOUBLE_EQ(plan->kept, 1 - 0.59375 / 2);
  plan = planTwoStage(32, 1, 2, 0);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->attentions, 0u);
  EXPECT_EQ(plan->kept, 1);
  // Large attentions: 8 0.1^(1/15) = 6.9, seven of them are more than a tenth.
  EXPECT_FALSE(planTwoStage(8, 10, 1, 0.1));
  EXPECT_TRUE(planTwoStage(8, 1, 1, 1));
}
