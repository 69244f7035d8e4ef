//===- ValidateOrder.cpp - Phase A: order of nodes ------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Validate.h"
#include "llvm/ADT/STLExtras.h"
#include <queue>

using namespace llvm;
using namespace mlir::ffn::proto;

namespace mlir::ffn {

/// The nodes of one cycle, each needed by the next. `rest` marks the nodes
/// that could not be sorted; each of them needs at least one other.
static std::vector<uint32_t>
findCycle(ArrayRef<std::vector<uint32_t>> dependencies,
          const std::vector<bool> &rest) {
  uint32_t at = llvm::find(rest, true) - rest.begin();
  std::vector<uint32_t> path;
  DenseMap<uint32_t, size_t> position;
  while (position.try_emplace(at, path.size()).second) {
    path.push_back(at);
    // Exists, or the node would have been sorted.
    at = *find_if(dependencies[at], [&](uint32_t d) { return rest[d]; });
  }
  path.erase(path.begin(), path.begin() + position[at]);
  std::reverse(path.begin(), path.end());
  std::rotate(path.begin(), min_element(path), path.end());
  return path;
}

/// Some value that `user` takes from `maker`, for messages.
static StringRef linkName(const NodeProto &maker) {
  for (StringRef name : maker.output)
    if (!name.empty())
      return name;
  return maker.name;
}

void PhaseA::sortNodes(const Body &body, const std::string &path,
                       ArrayRef<std::vector<uint32_t>> dependencies) {
  size_t n = body.nodes.size();
  std::vector<std::vector<uint32_t>> users(n);
  std::vector<uint32_t> missing(n, 0);
  std::optional<std::pair<uint32_t, uint32_t>> first;
  for (uint32_t user = 0; user < n; ++user)
    for (uint32_t maker : dependencies[user]) {
      users[maker].push_back(user);
      ++missing[user];
      if (maker >= user && !first)
        first.emplace(user, maker);
    }
  // The smallest index first keeps what is in order where it is.
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> ready;
  for (uint32_t i = 0; i < n; ++i)
    if (!missing[i])
      ready.push(i);
  std::vector<uint32_t> order;
  order.reserve(n);
  while (!ready.empty()) {
    uint32_t node = ready.top();
    ready.pop();
    order.push_back(node);
    for (uint32_t user : users[node])
      if (--missing[user] == 0)
        ready.push(user);
  }
  if (!first)
    return;
  auto [user, maker] = *first;
  std::string use = "uses value " + quoteName(linkName(body.nodes[maker])) +
                    " of node " + std::to_string(maker) +
                    " before it is defined";
  std::string where = describeNode(path, user, body.nodes[user]);
  if (order.size() == n) {
    if (options.strict)
      (void)errors.error("I302", where, use,
                         {"nodes out of order are sorted without --strict"});
    else
      errors.warning("I302", where, use + "; the nodes were sorted");
    result.orders[body.key()] = std::move(order);
    return;
  }
  std::vector<bool> rest(n, true);
  for (uint32_t node : order)
    rest[node] = false;
  std::vector<uint32_t> cycle = findCycle(dependencies, rest);
  std::string text;
  for (auto [i, node] : enumerate(cycle)) {
    if (i == 8) {
      text += "... -> ";
      break;
    }
    text += quoteName(linkName(body.nodes[node])) + " -> ";
  }
  text += quoteName(linkName(body.nodes[cycle.front()]));
  // The message is about the cycle: the first misplaced use may be harmless.
  (void)errors.error(
      "I302", describeNode(path, cycle.front(), body.nodes[cycle.front()]),
      "needs its own result (cycle " + text + ")");
}

} // namespace mlir::ffn
