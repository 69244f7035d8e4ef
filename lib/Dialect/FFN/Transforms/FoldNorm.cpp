//===- FoldNorm.cpp - Norm parameters move into the linears ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Support/WeightEval.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNFOLDNORM
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

/// Whether something other than a linear reads the bytes of the weight, so
/// that a scaled copy would have to stand beside it.
static Operation *findOtherReader(Value weight) {
  SmallVector<Value> worklist{weight};
  llvm::SmallPtrSet<Operation *, 8> seen;
  // Up to the weights themselves, then down to all that read them.
  SmallVector<Value> sources;
  while (!worklist.empty()) {
    Operation *op = worklist.pop_back_val().getDefiningOp();
    if (!op || !seen.insert(op).second)
      continue;
    if (llvm::isa<WeightOp>(op))
      sources.push_back(op->getResult(0));
    else if (auto expression = llvm::dyn_cast<WeightExprInterface>(op))
      worklist.append(expression.getWeightSources());
  }
  llvm::SmallPtrSet<Operation *, 8> visited;
  while (!sources.empty())
    for (Operation *user : sources.pop_back_val().getUsers()) {
      if (!visited.insert(user).second)
        continue;
      if (llvm::isa<WeightExprInterface>(user))
        sources.push_back(user->getResult(0));
      else if (!llvm::isa<LinearOp, FeedForwardOp>(user))
        return user;
    }
  return nullptr;
}

namespace {
struct FoldNorm : mlir::ffn::impl::FFNFoldNormBase<FoldNorm> {
  using FFNFoldNormBase::FFNFoldNormBase;

  void runOnOperation() override {
    SmallVector<NormOp> norms;
    getOperation().walk([&](NormOp norm) {
      if (norm.getScale() || norm.getBias())
        norms.push_back(norm);
    });
    for (NormOp norm : norms) {
      std::string why = findObstacle(norm);
      if (why.empty())
        fold(norm);
      else
        norm.emitRemark("norm not folded: ") << why;
    }
  }

private:
  /// The matrices that read the normalised value, as operands.
  static SmallVector<OpOperand *> getMatrices(OpOperand &use) {
    if (auto linear = llvm::dyn_cast<LinearOp>(use.getOwner()))
      return {&linear.getWeightMutable()};
    auto network = llvm::cast<FeedForwardOp>(use.getOwner());
    SmallVector<OpOperand *> matrices{&network.getUpMutable()};
    for (OpOperand &gate : network.getGateMutable())
      matrices.push_back(&gate);
    return matrices;
  }

  std::string findObstacle(NormOp norm) {
    Type element =
        llvm::cast<ShapedType>(norm.getInput().getType()).getElementType();
    for (Value vector : {norm.getScale(), norm.getBias()})
      if (vector && !isWeightExpression(vector))
        return "its parameters are not constant";
    for (Value vector : {norm.getScale(), norm.getBias()})
      if (vector &&
          llvm::cast<ShapedType>(vector.getType()).getElementType() != element)
        return "its parameters differ in type from its input";
    bool folded = false;
    for (OpOperand &use : norm.getResult().getUses()) {
      Operation *user = use.getOwner();
      bool input = (llvm::isa<LinearOp>(user) &&
                    use.getOperandNumber() == llvm::cast<LinearOp>(user)
                                                  .getInputMutable()
                                                  .getOperandNumber()) ||
                   (llvm::isa<FeedForwardOp>(user) &&
                    use.getOperandNumber() == llvm::cast<FeedForwardOp>(user)
                                                  .getInputMutable()
                                                  .getOperandNumber());
      if (auto node = llvm::dyn_cast<onnx::NodeOp>(user);
          node && (node.is("Shape") || node.is("Size")))
        continue;
      if (!input) {
        auto node = llvm::dyn_cast<onnx::NodeOp>(user);
        return "its result is also read by " +
               (node ? node.describe() : user->getName().getStringRef().str());
      }
      for (OpOperand *matrix : getMatrices(use)) {
        if (llvm::cast<ShapedType>(matrix->get().getType()).getElementType() !=
            element)
          return "a weight differs in type from the norm";
        if (!isWeightExpression(matrix->get()))
          return "a weight behind it is not constant";
        if (shared)
          continue;
        if (Operation *reader = findOtherReader(matrix->get()))
          return "a weight behind it is also read by " +
                 reader->getName().getStringRef().str() +
                 "; with shared=true a scaled copy is made";
      }
      folded = true;
    }
    return folded ? "" : "no linear reads it";
  }

  void fold(NormOp norm) {
    IRRewriter rewriter(&getContext());
    Value scale = norm.getScale(), shift = norm.getBias();
    unsigned folded = 0;
    // A changed operand list moves the uses, so the users are listed first.
    llvm::SmallSetVector<Operation *, 4> users(norm.getResult().user_begin(),
                                               norm.getResult().user_end());
    for (Operation *user : users) {
      if (!llvm::isa<LinearOp, FeedForwardOp>(user))
        continue;
      rewriter.setInsertionPoint(getAnchor(user));
      if (auto linear = llvm::dyn_cast<LinearOp>(user)) {
        Value bias =
            shiftBias(rewriter, linear.getWeight(), shift, linear.getBias());
        Value weight = scaleWeight(rewriter, linear.getWeight(), scale);
        ++folded;
        rewriter.modifyOpInPlace(linear, [&] {
          linear.getWeightMutable().assign(weight);
          linear.getBiasMutable().assign(bias ? ValueRange(bias)
                                              : ValueRange());
        });
        continue;
      }
      auto network = llvm::cast<FeedForwardOp>(user);
      Value upBias =
          shiftBias(rewriter, network.getUp(), shift, network.getUpBias());
      Value up = scaleWeight(rewriter, network.getUp(), scale);
      folded += network.isGated() ? 2 : 1;
      Value gate = network.getGate(), gateBias = network.getGateBias();
      if (gate) {
        gateBias = shiftBias(rewriter, gate, shift, gateBias);
        gate = scaleWeight(rewriter, gate, scale);
      }
      rewriter.modifyOpInPlace(network, [&] {
        network.getUpMutable().assign(up);
        if (upBias)
          network.getUpBiasMutable().assign(upBias);
        if (gate)
          network.getGateMutable().assign(gate);
        if (gateBias)
          network.getGateBiasMutable().assign(gateBias);
      });
    }
    norm.emitRemark("norm folded into ")
        << folded << (folded == 1 ? " weight" : " weights");
    rewriter.modifyOpInPlace(norm, [&] {
      norm.getScaleMutable().clear();
      norm.getBiasMutable().clear();
    });
    for (Value vector : {scale, shift})
      if (vector && vector.getDefiningOp())
        eraseDead(rewriter, vector.getDefiningOp());
  }

  /// Expressions stand outside of sublayers, whose bodies capture them, unless
  /// what they are made of is inside.
  static Operation *getAnchor(Operation *user) {
    Operation *anchor = user;
    while (auto sublayer = anchor->getParentOfType<SublayerOp>()) {
      SmallVector<Value> weights =
          llvm::cast<ComputeOpInterface>(user).getWeightOperands();
      for (Value operand : user->getOperands())
        if (auto norm = operand.getDefiningOp<NormOp>())
          llvm::append_range(weights, norm.getWeightOperands());
      for (Value weight : weights)
        if (sublayer->isAncestor(weight.getParentBlock()->getParentOp()))
          return anchor;
      anchor = sublayer;
    }
    return anchor;
  }

  static Value scaleWeight(OpBuilder &builder, Value weight, Value scale) {
    if (!scale)
      return weight;
    return ScaleColsOp::create(builder, weight.getLoc(), weight.getType(),
                               weight, scale);
  }

  static Value shiftBias(OpBuilder &builder, Value weight, Value shift,
                         Value bias) {
    if (!shift)
      return bias;
    return MatVecOp::create(builder, weight.getLoc(), weight, shift, bias);
  }
};
} // namespace
