//===- BalancedAssignment.cpp - Groups of a given size --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Successive shortest paths on the graph of the groups: the arc from a to b is
// as long as the cheapest move of an item from a to b, which a heap for each
// pair knows. Heaps keep items that have left since; those are dropped when
// they come to the top.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/Transforms/BalancedAssignment.h"
#include "ffn-mlir/Support/Assert.h"
#include <limits>
#include <queue>
#include <vector>

using namespace mlir::ffn;

namespace {
class Transport {
public:
  Transport(llvm::ArrayRef<int64_t> costs, size_t groups, size_t capacity)
      : costs(costs), groups(groups), capacity(capacity),
        heaps(groups * groups), load(groups, 0),
        assigned(costs.size() / groups, 0) {}

  llvm::SmallVector<uint32_t, 0> run() {
    for (size_t item = 0; item < assigned.size(); ++item) {
      size_t best = 0;
      for (size_t group = 1; group < groups; ++group)
        if (cost(item, group) < cost(item, best))
          best = group;
      enter(item, best);
    }
    while (relieve())
      ;
    return std::move(assigned);
  }

private:
  static constexpr int64_t kFar = std::numeric_limits<int64_t>::max() / 4;
  /// Cost of the move, then the item: of equal moves the first item.
  using Move = std::pair<int64_t, uint32_t>;
  using Heap = std::priority_queue<Move, std::vector<Move>, std::greater<Move>>;

  int64_t cost(size_t item, size_t group) const {
    return costs[item * groups + group];
  }

  void enter(size_t item, size_t group) {
    assigned[item] = group;
    ++load[group];
    for (size_t to = 0; to < groups; ++to)
      if (to != group)
        heaps[group * groups + to].push(
            {cost(item, to) - cost(item, group), item});
  }

  /// The cheapest item to move; null where the group is empty.
  const Move *findMove(size_t from, size_t to) {
    Heap &heap = heaps[from * groups + to];
    while (!heap.empty() && assigned[heap.top().second] != from)
      heap.pop();
    return heap.empty() ? nullptr : &heap.top();
  }

  /// Moves one item out of the groups that have too many, along the shortest
  /// path to one that has too few. False where none has too many.
  bool relieve() {
    std::vector<int64_t> distance(groups, kFar);
    std::vector<size_t> previous(groups, groups);
    bool surplus = false;
    for (size_t group = 0; group < groups; ++group)
      if (load[group] > capacity) {
        distance[group] = 0;
        surplus = true;
      }
    if (!surplus)
      return false;
    // Arcs may be negative, cycles are not: the assignment is the cheapest of
    // its loads.
    for (size_t round = 0; round < groups; ++round) {
      bool changed = false;
      for (size_t from = 0; from < groups; ++from) {
        if (distance[from] == kFar)
          continue;
        for (size_t to = 0; to < groups; ++to) {
          const Move *move = from == to ? nullptr : findMove(from, to);
          if (!move || distance[from] + move->first >= distance[to])
            continue;
          distance[to] = distance[from] + move->first;
          previous[to] = from;
          changed = true;
        }
      }
      if (!changed)
        break;
    }
    size_t sink = groups;
    for (size_t group = 0; group < groups; ++group)
      if (load[group] < capacity &&
          (sink == groups || distance[group] < distance[sink]))
        sink = group;
    FFN_ASSERT(sink < groups && distance[sink] < kFar,
               "some group has room, and every group can be reached");
    // The moves are chosen before any is made.
    std::vector<std::pair<uint32_t, size_t>> moves;
    for (size_t to = sink; previous[to] != groups; to = previous[to])
      moves.push_back({findMove(previous[to], to)->second, to});
    for (auto [item, to] : moves) {
      --load[assigned[item]];
      enter(item, to);
    }
    return true;
  }

  llvm::ArrayRef<int64_t> costs;
  size_t groups, capacity;
  std::vector<Heap> heaps;
  std::vector<size_t> load;
  llvm::SmallVector<uint32_t, 0> assigned;
};
} // namespace

llvm::SmallVector<uint32_t, 0>
mlir::ffn::assignBalanced(llvm::ArrayRef<int64_t> costs, size_t groups,
                          size_t capacity) {
  FFN_ASSERT(groups > 0 && costs.size() == groups * groups * capacity,
             "as many items as places");
  return Transport(costs, groups, capacity).run();
}
