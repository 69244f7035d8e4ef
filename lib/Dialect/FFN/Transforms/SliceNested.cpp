//===- SliceNested.cpp - A nested model at one of its widths --------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/NeuronView.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Support/CandidateLog.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringMap.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNSLICENESTED
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

namespace {
struct SliceNested : mlir::ffn::impl::FFNSliceNestedBase<SliceNested> {
  using FFNSliceNestedBase::FFNSliceNestedBase;

  void runOnOperation() override {
    SmallVector<std::pair<FeedForwardOp, std::string>> networks;
    getOperation().walk(
        [&](FeedForwardOp op) { networks.push_back({op, findName(op)}); });
    if (failed(readOptions(networks)))
      return signalPassFailure();
    if (named.empty() && width == 0 && share == 1)
      return;
    log.clear();
    for (auto &[op, name] : networks)
      log.add(op, op, name);
    for (auto &[op, name] : networks)
      if (failed(slice(op, name)))
        return signalPassFailure();
    log.finish();
  }

private:
  CandidateLog log{"ffn-slice-nested", NumericalClass::Exact};
  llvm::StringMap<int64_t> named;

  /// Name of the addend that the network computes; empty if it has none.
  static std::string findName(FeedForwardOp op) {
    auto sublayer = op->getParentOfType<SublayerOp>();
    if (!sublayer)
      return {};
    for (auto [i, value] : llvm::enumerate(sublayer.getYieldedAddends()))
      if (sublayer.getNumAddends() == 1 || value == op.getResult())
        return sublayer.getAddend(i).getName().str();
    return {};
  }

  InFlightDiagnostic refuse(const llvm::Twine &why) {
    return getOperation().emitError(why + " [FFN-P132]");
  }

  LogicalResult
  readOptions(ArrayRef<std::pair<FeedForwardOp, std::string>> networks) {
    if (width < 0)
      return refuse("width is negative");
    if (!(share > 0 && share <= 1))
      return refuse("share is not above 0 and at most 1");
    for (StringRef text : widths) {
      auto [name, number] = text.rsplit('=');
      int64_t value;
      if (number.getAsInteger(10, value) || value < 1)
        return refuse("'" + text + "' is not NAME=WIDTH");
      bool known = llvm::any_of(
          networks, [&](const auto &entry) { return entry.second == name; });
      if (!known) {
        InFlightDiagnostic diag =
            getOperation().emitError("no network is named '")
            << name << "' [FFN-P102]";
        std::string names;
        for (const auto &[op, other] : networks)
          if (!other.empty())
            names += (names.empty() ? "" : ", ") + other;
        diag.attachNote() << (names.empty()
                                  ? "no network is part of a sublayer: run "
                                    "ffn-raise first"
                                  : "known: " + names);
        return failure();
      }
      if (!named.try_emplace(name, value).second)
        return refuse("'" + name + "' is given twice");
    }
    return success();
  }

  LogicalResult slice(FeedForwardOp op, StringRef name) {
    int64_t whole = op.getHiddenWidth(), wanted = whole;
    std::string called = name.empty() ? "" : "'" + name.str() + "' ";
    if (auto found = named.find(name); found != named.end()) {
      wanted = found->second;
      if (wanted > whole)
        return op.emitError("network ")
               << called << "has " << whole << " neurons, not " << wanted
               << " [FFN-P132]";
    } else if (width > 0) {
      wanted = width;
    } else {
      wanted = std::max<int64_t>(
          1, static_cast<int64_t>(std::floor(whole * share + 0.5)));
    }
    auto stay = [&](const llvm::Twine &why) {
      log.kept(op, op) << "network " << called << "keeps its " << whole
                       << " neurons: " << why;
      return success();
    };
    if (wanted >= whole)
      return stay("that is not more than asked for");
    if (std::string why = findViewObstacle(op); !why.empty())
      return stay(why);
    NeuronView view = NeuronView::of(op);
    if (std::string why = findSelectObstacle(
            view, llvm::to_vector(llvm::seq<int64_t>(0, wanted)));
        !why.empty())
      return stay(why);
    IRRewriter rewriter(&getContext());
    setNeuronInsertionPoint(rewriter, op, view);
    SmallVector<Operation *> old;
    for (Value weight : view.getWeights())
      if (Operation *def = weight.getDefiningOp())
        old.push_back(def);
    NeuronView prefix = sliceNeurons(rewriter, view, 0, wanted);
    rewriter.modifyOpInPlace(op, [&] { setNeurons(op, prefix); });
    log.rewritten(op, op) << "network " << called << "cut from " << whole
                          << " to its first " << wanted << " neurons";
    eraseDead(rewriter, old);
    return success();
  }
};
} // namespace
