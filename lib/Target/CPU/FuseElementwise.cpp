//===- FuseElementwise.cpp - Fusion of elementwise producers --------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Target/CPU/Codegen.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;

/// Whether the body only moves, converts or selects: computing it again costs
/// nothing that counts.
static bool isCheap(linalg::LinalgOp op) {
  for (Operation &inner : op->getRegion(0).front().without_terminator())
    if (!llvm::isa<arith::ExtFOp, arith::TruncFOp, arith::ExtUIOp,
                   arith::ExtSIOp, arith::TruncIOp, arith::CmpIOp,
                   arith::ConstantOp, arith::SelectOp, linalg::IndexOp>(inner))
      return false;
  return true;
}

/// Fused where the consumer visits each element of the producer once, or the
/// producer is cheap; never where another user would keep it alive.
static bool shouldFuse(OpOperand *operand) {
  auto producer = operand->get().getDefiningOp<linalg::LinalgOp>();
  auto consumer = llvm::dyn_cast<linalg::LinalgOp>(operand->getOwner());
  if (!producer || !consumer || !producer->hasOneUse())
    return false;
  // A body that branches is worth a loop of its own.
  for (Operation &inner : producer->getRegion(0).front())
    if (inner.getNumRegions() != 0)
      return false;
  AffineMap map = consumer.getMatchingIndexingMap(operand);
  bool once = map.isPermutation();
  return once || isCheap(producer);
}

namespace {
struct FuseElementwisePass
    : public PassWrapper<FuseElementwisePass, OperationPass<>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(FuseElementwisePass)
  StringRef getArgument() const final { return "ffn-fuse-elementwise"; }
  StringRef getDescription() const final {
    return "Fuse elementwise linalg ops into their only user where no costly "
           "element is computed twice";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<linalg::LinalgDialect, tensor::TensorDialect>();
  }
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    linalg::populateElementwiseOpsFusionPatterns(patterns, shouldFuse);
    linalg::GenericOp::getCanonicalizationPatterns(patterns, &getContext());
    linalg::FillOp::getCanonicalizationPatterns(patterns, &getContext());
    tensor::DimOp::getCanonicalizationPatterns(patterns, &getContext());
    tensor::CastOp::getCanonicalizationPatterns(patterns, &getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
  }
};
} // namespace

std::unique_ptr<Pass> mlir::ffn::cpu::createFuseElementwisePass() {
  return std::make_unique<FuseElementwisePass>();
}
