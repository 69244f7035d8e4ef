//===- Premerge.cpp - Factors of a matrix become the matrix ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "WeightForms.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Support/CandidateLog.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNPREMERGE
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

namespace {
struct Premerge : mlir::ffn::impl::FFNPremergeBase<Premerge> {
  using FFNPremergeBase::FFNPremergeBase;

  void runOnOperation() override {
    if (!(maxRatio >= 0)) {
      getOperation().emitError("max-ratio is negative [FFN-P133]");
      return signalPassFailure();
    }
    if (maxRatio == 0)
      return;
    SmallVector<LinearOp> linears;
    log.clear();
    getOperation().walk([&](LinearOp op) {
      if (!op.getInput().getDefiningOp<LinearOp>())
        return;
      linears.push_back(op);
      log.add(op, op);
    });
    // In program order, so that of three factors the first two become one.
    for (LinearOp outer : linears) {
      auto inner = outer.getInput().getDefiningOp<LinearOp>();
      std::string why = findObstacle(inner, outer);
      if (why.empty())
        merge(inner, outer);
      else
        log.kept(outer, outer)
            << "linear not merged with the one before it: " << why;
    }
    log.finish();
  }

private:
  CandidateLog log{"ffn-premerge", NumericalClass::Exact};

  static int64_t countBits(Value weight) {
    return llvm::cast<RankedTensorType>(weight.getType()).getNumElements() *
           getStoredType(weight).getIntOrFloatBitWidth();
  }

  std::string findObstacle(LinearOp inner, LinearOp outer) {
    Value a = inner.getWeight(), b = outer.getWeight();
    Type element = getElementTypeOrSelf(b);
    for (LinearOp linear : {inner, outer}) {
      for (Value weight : linear.getWeightOperands()) {
        if (!isWeightExpression(weight))
          return "a weight is not constant";
        if (!llvm::isa<FloatType>(element))
          return "its elements are no floats";
        if (getElementTypeOrSelf(weight) != element)
          return "their weights differ in type";
      }
      if (linear.getWeight().getDefiningOp<DequantizeOp>())
        return "a weight is quantized; run ffn-quantize afterwards";
    }
    if (!inner.getResult().hasOneUse())
      return "the value between them is read elsewhere";
    double product =
        double(llvm::cast<RankedTensorType>(b.getType()).getDimSize(0)) *
        llvm::cast<RankedTensorType>(a.getType()).getDimSize(1) *
        element.getIntOrFloatBitWidth();
    double ratio = product / std::max<double>(countBits(a) + countBits(b), 1);
    if (ratio <= maxRatio)
      return {};
    std::string text;
    llvm::raw_string_ostream(text)
        << "their product has " << llvm::format("%.3g", ratio)
        << " times the bytes; max-ratio allows "
        << llvm::format("%.3g", +maxRatio);
    return text;
  }

  void merge(LinearOp inner, LinearOp outer) {
    IRRewriter rewriter(&getContext());
    SmallVector<Value> weights = inner.getWeightOperands();
    llvm::append_range(weights, outer.getWeightOperands());
    rewriter.setInsertionPoint(getExpressionAnchor(outer, weights));
    Location loc = outer.getLoc();
    Value weight =
        LowRankOp::create(rewriter, loc, outer.getWeight(), inner.getWeight());
    Value bias = outer.getBias();
    if (inner.getBias())
      bias = MatVecOp::create(rewriter, loc, outer.getWeight(), inner.getBias(),
                              bias);
    auto type = llvm::cast<RankedTensorType>(weight.getType());
    log.rewritten(outer, outer)
        << "merged with the linear before it into one of " << type.getDimSize(0)
        << "x" << type.getDimSize(1);
    rewriter.modifyOpInPlace(outer, [&] {
      outer.getInputMutable().assign(inner.getInput());
      outer.getWeightMutable().assign(weight);
      outer.getBiasMutable().assign(bias ? ValueRange(bias) : ValueRange());
    });
    eraseDead(rewriter, inner.getOperation());
  }
};
} // namespace
