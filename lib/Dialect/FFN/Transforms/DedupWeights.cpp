//===- DedupWeights.cpp - Equal bytes are one weight ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Support/CandidateLog.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "mlir/IR/Dominance.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/SHA256.h"
#include <array>
#include <map>
#include <vector>

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNDEDUPWEIGHTS
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

namespace {
constexpr uint64_t blockBytes = 1 << 20;

/// Calls `visit` with the bytes of a weight, block by block.
LogicalResult forEachBlock(WeightOp op,
                           function_ref<void(ArrayRef<char>)> visit) {
  auto span = llvm::dyn_cast<SpanAttr>(op.getValue());
  if (!span) {
    SmallVector<char> bytes;
    if (failed(readWeightBytes(op, op.getValue(), bytes)))
      return failure();
    visit(bytes);
    return success();
  }
  WeightStore &store = WeightStore::get(op.getContext());
  std::vector<char> buffer(std::min(blockBytes, span.getSize()));
  for (uint64_t done = 0; done < span.getSize(); done += buffer.size()) {
    uint64_t size = std::min<uint64_t>(buffer.size(), span.getSize() - done);
    MutableArrayRef<char> block(buffer.data(), size);
    if (failed(store.read(op, span, done, block)))
      return failure();
    visit(block);
  }
  return success();
}

using Digest = std::array<uint8_t, 32>;

FailureOr<Digest> hashWeight(WeightOp op) {
  llvm::SHA256 hash;
  LogicalResult read = forEachBlock(op, [&](ArrayRef<char> bytes) {
    hash.update(ArrayRef(reinterpret_cast<const uint8_t *>(bytes.data()),
                         bytes.size()));
  });
  if (failed(read))
    return failure();
  return hash.final();
}

struct DedupWeights : mlir::ffn::impl::FFNDedupWeightsBase<DedupWeights> {
  void runOnOperation() override {
    // Only weights of one type and size can be equal, so only those that have
    // a fellow are read.
    llvm::MapVector<Type, SmallVector<WeightOp>> byType;
    log.clear();
    getOperation().walk([&](WeightOp op) {
      byType[op.getType()].push_back(op);
      log.add(op, op, "weight " + keyOf(op));
    });
    DominanceInfo dominance(getOperation());
    for (auto &[type, weights] : byType) {
      if (weights.size() < 2) {
        keep(weights.front(), "no other has its type and shape");
        continue;
      }
      std::map<Digest, SmallVector<WeightOp>> byDigest;
      llvm::MapVector<Attribute, SmallVector<WeightOp>> byAttr;
      for (WeightOp op : weights)
        byAttr[op.getValue()].push_back(op);
      if (byAttr.size() == 1) {
        merge(weights, dominance);
        continue;
      }
      for (auto &[attr, same] : byAttr) {
        FailureOr<Digest> digest = hashWeight(same.front());
        if (failed(digest))
          return signalPassFailure();
        byDigest[*digest].append(same);
      }
      // In the order of first occurrence, whatever the digests are.
      llvm::DenseMap<Operation *, SmallVector<WeightOp> *> groups;
      for (auto &[digest, same] : byDigest)
        for (WeightOp op : same)
          groups[op] = &same;
      for (WeightOp op : weights) {
        SmallVector<WeightOp> *group = groups.lookup(op);
        if (group && group->size() > 1) {
          llvm::sort(*group, [&](WeightOp a, WeightOp b) {
            return llvm::find(weights, a) < llvm::find(weights, b);
          });
          merge(*group, dominance);
          group->clear();
        } else if (group && group->size() == 1) {
          keep(op, "no other of its type has its bytes");
        }
      }
    }
    log.finish();
  }

private:
  CandidateLog log{"ffn-dedup-weights", NumericalClass::Exact};

  static std::string keyOf(WeightOp weight) {
    auto span = llvm::dyn_cast<SpanAttr>(weight.getValue());
    return span ? "'" + span.getKey().getValue().str() + "'" : "inline";
  }

  void keep(WeightOp op, StringRef why) {
    log.kept(op, op) << "weight " << keyOf(op) << " stays: " << why;
  }

  void merge(ArrayRef<WeightOp> weights, DominanceInfo &dominance) {
    SmallVector<WeightOp> kept;
    for (WeightOp op : weights) {
      auto first = llvm::find_if(kept, [&](WeightOp other) {
        return dominance.properlyDominates(other.getOperation(),
                                           op.getOperation());
      });
      if (first == kept.end()) {
        keep(op, kept.empty() ? "it is the first of those with its bytes"
                              : "none with its bytes is defined before it");
        kept.push_back(op);
        continue;
      }
      FailureOr<uint64_t> size =
          getPackedByteSize(llvm::cast<ShapedType>(op.getType()));
      bool isCopy = op.getValue() != first->getValue();
      log.rewritten(op, op)
          << "weight " << keyOf(op) << " has the bytes of " << keyOf(*first)
          << ": " << (succeeded(size) && isCopy ? *size : 0) << " bytes less";
      op.getResult().replaceAllUsesWith(first->getResult());
      op.erase();
    }
  }
};
} // namespace
