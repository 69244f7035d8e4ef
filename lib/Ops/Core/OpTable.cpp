//===- OpTable.cpp - Registration and lookup of operator behaviour --------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/OpTable.h"
#include "llvm/ADT/StringMap.h"
#include <map>

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define OPS(stem) void registerOps_##stem(OpTable &table);
#include "ffn-mlir/Ops/AllOps.inc"
#undef OPS
} // namespace mlir::ffn

namespace {
/// Facets by since-version. Few versions an operator, so ordered maps do.
struct Entry {
  std::map<int, ShapeFn> shape;
  std::map<int, EvalFn> eval;
  std::map<int, LowerFn> lower;
};
} // namespace

struct OpTable::Impl {
  llvm::StringMap<Entry> entries;

  Entry &get(StringRef domain, StringRef name) {
    return entries[(domain + "::" + name).str()];
  }
};

OpTable::OpTable() : impl(std::make_unique<Impl>()) {}
OpTable::~OpTable() = default;

const OpTable &OpTable::get() {
  static const OpTable *table = [] {
    auto *built = new OpTable();
#define OPS(stem) registerOps_##stem(*built);
#include "ffn-mlir/Ops/AllOps.inc"
#undef OPS
    return built;
  }();
  return *table;
}

template <typename Fn>
static Fn getInForce(const std::map<int, Fn> &facets, int version) {
  auto it = facets.upper_bound(version);
  return it == facets.begin() ? nullptr : std::prev(it)->second;
}

OpBehaviour OpTable::lookup(StringRef domain, StringRef name,
                            int version) const {
  if (domain == "ai.onnx")
    domain = "";
  auto it = impl->entries.find((domain + "::" + name).str());
  if (it == impl->entries.end())
    return {};
  const Entry &entry = it->second;
  return {getInForce(entry.shape, version), getInForce(entry.eval, version),
          getInForce(entry.lower, version)};
}

OpBehaviour OpTable::lookup(onnx::NodeOp node) const {
  return lookup(node.getDomain(), node.getOp(),
                static_cast<int>(std::min<uint64_t>(
                    node.getVersion(), std::numeric_limits<int>::max())));
}

void OpTable::addShape(StringRef domain, StringRef name, int since,
                       ShapeFn fn) {
  impl->get(domain, name).shape[since] = fn;
}

void OpTable::addEval(StringRef domain, StringRef name, int since, EvalFn fn) {
  impl->get(domain, name).eval[since] = fn;
}

void OpTable::addLower(StringRef domain, StringRef name, int since,
                       LowerFn fn) {
  impl->get(domain, name).lower[since] = fn;
}
