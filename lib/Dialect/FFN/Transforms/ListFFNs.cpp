//===- ListFFNs.cpp - What the networks of a model are --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNLISTFFNS
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

/// The norm behind a value, through casts and nodes that keep the elements.
static NormOp findNorm(Value value) {
  for (unsigned depth = 0; depth < 4; ++depth) {
    if (auto norm = value.getDefiningOp<NormOp>())
      return norm;
    auto node = value.getDefiningOp<onnx::NodeOp>();
    if (!node || (!node.is("Cast") && !node.is("Reshape")) || !node.getInput(0))
      break;
    value = node.getInput(0);
  }
  return {};
}

/// The norm that alone reads the sublayer's result.
static NormOp findPostNorm(SublayerOp sublayer) {
  if (!sublayer.getHidden().hasOneUse())
    return {};
  return llvm::dyn_cast<NormOp>(*sublayer.getHidden().user_begin());
}

static void listNetwork(FeedForwardOp network) {
  auto sublayer = network->getParentOfType<SublayerOp>();
  NormOp norm = findNorm(network.getInput());
  std::string name, form = "none";
  if (sublayer) {
    name = sublayer.getAddend(0).getName().str();
    for (unsigned i = 0; i < sublayer.getNumAddends(); ++i)
      if (sublayer.getAddend(i).getKind() == SublayerKind::Ffn ||
          sublayer.getAddend(i).getKind() == SublayerKind::Moe) {
        // The addend that the network feeds, where there are several.
        if (sublayer.getYieldedAddends()[i] == network.getResult() ||
            form == "none")
          name = sublayer.getAddend(i).getName().str();
      }
    bool pre = norm && norm->getParentOp() == sublayer;
    // The first norm of the next block also reads the result alone.
    NormOp post = pre ? NormOp() : findPostNorm(sublayer);
    if (post)
      norm = post;
    form = sublayer.getNumAddends() > 1 ? "parallel-" : "";
    form += pre ? "pre" : post ? "post" : "plain";
  }
  InFlightDiagnostic remark = network.emitRemark("ffn '");
  remark << name << "': " << (network.isGated() ? "gated " : "plain ")
         << stringifyActivation(network.getActivation())
         << " d=" << network.getInputWidth()
         << " m=" << network.getHiddenWidth() << " bias=";
  std::string biases;
  for (auto [value, label] :
       {std::pair<Value, StringRef>(network.getUpBias(), "up"),
        {network.getGateBias(), "gate"},
        {network.getDownBias(), "down"}})
    if (value)
      biases += (biases.empty() ? "" : "+") + label.str();
  remark << (biases.empty() ? "none" : biases) << " norm="
         << (norm ? stringifyNormKind(norm.getKind()) : StringRef("none"))
         << " residual=" << form;
}

namespace {
struct ListFFNs : mlir::ffn::impl::FFNListFFNsBase<ListFFNs> {
  void runOnOperation() override {
    getOperation().walk<WalkOrder::PreOrder>([](Operation *op) {
      if (auto network = llvm::dyn_cast<FeedForwardOp>(op)) {
        listNetwork(network);
        return;
      }
      auto sublayer = llvm::dyn_cast<SublayerOp>(op);
      if (!sublayer)
        return;
      for (unsigned i = 0; i < sublayer.getNumAddends(); ++i) {
        AddendAttr addend = sublayer.getAddend(i);
        if (addend.getKind() != SublayerKind::Ffn)
          sublayer.emitRemark() << stringifySublayerKind(addend.getKind())
                                << " '" << addend.getName().getValue() << "'";
      }
    });
    markAllAnalysesPreserved();
  }
};
} // namespace
