//===- BalancedAssignmentTest.cpp - Groups of a given size ----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/Transforms/BalancedAssignment.h"
#include "gtest/gtest.h"
#include <algorithm>
#include <random>
#include <vector>

using namespace mlir::ffn;

namespace {
int64_t totalCost(llvm::ArrayRef<int64_t> costs, size_t groups,
                  llvm::ArrayRef<uint32_t> assigned) {
  int64_t total = 0;
  for (size_t item = 0; item < assigned.size(); ++item)
    total += costs[item * groups + assigned[item]];
  return total;
}

/// The least cost over all assignments, by trying them.
int64_t findLeastCost(llvm::ArrayRef<int64_t> costs, size_t groups,
                      size_t capacity) {
  std::vector<uint32_t> labels;
  for (size_t group = 0; group < groups; ++group)
    labels.insert(labels.end(), capacity, group);
  int64_t least = totalCost(costs, groups, labels);
  while (std::next_permutation(labels.begin(), labels.end()))
    least = std::min(least, totalCost(costs, groups, labels));
  return least;
}

std::vector<int64_t> draw(size_t groups, size_t capacity, int64_t largest,
                          unsigned seed) {
  std::mt19937_64 generator(seed);
  std::vector<int64_t> costs(groups * groups * capacity);
  for (int64_t &cost : costs)
    cost = static_cast<int64_t>(generator() % (2 * largest + 1)) - largest;
  return costs;
}

TEST(BalancedAssignment, IsTheCheapest) {
  unsigned seed = 0;
  for (auto [groups, capacity] : {std::pair<size_t, size_t>(1, 4),
                                  {2, 1},
                                  {2, 4},
                                  {3, 2},
                                  {3, 3},
                                  {4, 2},
                                  {5, 1}})
    // Few different costs make ties, and many negative arcs.
    for (int64_t largest : {0, 1, 3, 1000})
      for (int round = 0; round < 20; ++round) {
        std::vector<int64_t> costs = draw(groups, capacity, largest, seed++);
        auto assigned = assignBalanced(costs, groups, capacity);
        ASSERT_EQ(assigned.size(), groups * capacity);
        for (size_t group = 0; group < groups; ++group)
          EXPECT_EQ(size_t(std::count(assigned.begin(), assigned.end(), group)),
                    capacity);
        EXPECT_EQ(totalCost(costs, groups, assigned),
                  findLeastCost(costs, groups, capacity));
      }
}

/// Everything wants the same group: each move but those of one group is needed.
TEST(BalancedAssignment, MovesWhatIsTooMuch) {
  size_t groups = 6, capacity = 300;
  std::vector<int64_t> costs(groups * groups * capacity);
  for (size_t item = 0; item < groups * capacity; ++item)
    for (size_t group = 0; group < groups; ++group)
      costs[item * groups + group] =
          static_cast<int64_t>(group * 1000 + item * group % 7);
  auto assigned = assignBalanced(costs, groups, capacity);
  for (size_t group = 0; group < groups; ++group)
    EXPECT_EQ(size_t(std::count(assigned.begin(), assigned.end(), group)),
              capacity);
}

TEST(BalancedAssignment, OfNothing) {
  EXPECT_TRUE(assignBalanced({}, 3, 0).empty());
}
} // namespace
