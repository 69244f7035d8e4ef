//===- MaterializeWeights.cpp - ffn-materialize-weights -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Support/WeightEval.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "mlir/IR/Builders.h"

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNMATERIALIZEWEIGHTS
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

using namespace mlir;
using namespace mlir::ffn;

namespace {
struct MaterializeWeights
    : public mlir::ffn::impl::FFNMaterializeWeightsBase<MaterializeWeights> {
  void runOnOperation() override {
    // In program order, so that @derived is laid out the same way each time.
    SmallVector<Operation *> expressions;
    getOperation().walk([&](Operation *op) {
      if (llvm::isa<WeightExprInterface>(op) && !llvm::isa<WeightOp>(op))
        expressions.push_back(op);
    });
    WeightEvaluator evaluator;
    for (Operation *op : expressions) {
      Value value = op->getResult(0);
      bool escapes = llvm::any_of(value.getUsers(), [](Operation *user) {
        return !llvm::isa<WeightExprInterface>(user);
      });
      if (!escapes)
        continue;
      FailureOr<TypedAttr> attr =
          evaluator.materialize(value, getWeightKey(value));
      if (failed(attr) || !*attr)
        return signalPassFailure();
      OpBuilder builder(op);
      Value weight =
          WeightOp::create(builder, op->getLoc(), value.getType(), *attr);
      value.replaceUsesWithIf(weight, [](OpOperand &use) {
        return !llvm::isa<WeightExprInterface>(use.getOwner());
      });
    }
    // What only fed them would be written beside them.
    IRRewriter rewriter(&getContext());
    eraseDead(rewriter, expressions);
  }
};
} // namespace
