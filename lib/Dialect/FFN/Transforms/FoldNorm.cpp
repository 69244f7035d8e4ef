//===- FoldNorm.cpp - Norm parameters move into the linears ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "WeightForms.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Support/CandidateLog.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNFOLDNORM
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

namespace {
struct FoldNorm : mlir::ffn::impl::FFNFoldNormBase<FoldNorm> {
  using FFNFoldNormBase::FFNFoldNormBase;

  void runOnOperation() override {
    SmallVector<NormOp> norms;
    log.clear();
    getOperation().walk([&](NormOp norm) {
      if (!norm.getScale() && !norm.getBias())
        return;
      norms.push_back(norm);
      log.add(norm, norm);
    });
    for (NormOp norm : norms) {
      std::string why = findObstacle(norm);
      Plan plan;
      if (why.empty()) {
        FailureOr<std::string> rounding = findRounding(norm, plan);
        if (failed(rounding))
          return signalPassFailure();
        why = *rounding;
      }
      if (why.empty())
        fold(norm, plan);
      else
        log.kept(norm, norm) << "norm not folded: " << why;
    }
    log.finish();
  }

private:
  CandidateLog log{"ffn-fold-norm", NumericalClass::Exact};

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
        if (matrix->get().getDefiningOp<DequantizeOp>())
          return "a weight behind it is quantized; run ffn-quantize afterwards";
        if (shared)
          continue;
        if (Operation *reader = findOtherReader(
                matrix->get(), llvm::IsaPred<LinearOp, FeedForwardOp>))
          return "a weight behind it is also read by " +
                 reader->getName().getStringRef().str() +
                 "; with shared=true a scaled copy is made";
      }
      folded = true;
    }
    return folded ? "" : "no linear reads it";
  }

  /// How the parameters of a norm enter the weights.
  struct Plan {
    /// A scale of ones and a shift of zeros leave without a trace.
    bool scales = true, shifts = true;
    /// Weights whose products are kept in the type of the computation, which
    /// is wider than the one they are stored in.
    llvm::SmallSetVector<Value, 4> widened;
    /// Weights whose products are rounded to the type that they are stored in.
    llvm::SmallSetVector<Value, 4> rounded;
    uint64_t moreBytes = 0;
  };

  /// Why the products would lose bits that the norm keeps, or empty. In f32
  /// and f64 they are rounded once, as the norm rounds; a narrow weight must
  /// hold them exactly, or else grows, which `widen` allows.
  FailureOr<std::string> findRounding(NormOp norm, Plan &plan) {
    llvm::SmallSetVector<Value, 4> matrices;
    for (OpOperand &use : norm.getResult().getUses())
      if (llvm::isa<LinearOp, FeedForwardOp>(use.getOwner()))
        for (OpOperand *matrix : getMatrices(use))
          matrices.insert(matrix->get());
    Type element =
        llvm::cast<ShapedType>(norm.getInput().getType()).getElementType();
    bool narrow = element.getIntOrFloatBitWidth() < 32;
    auto isStored = [&](Value matrix) {
      return getStoredType(matrix).getIntOrFloatBitWidth() >= 32;
    };
    if (!narrow && llvm::all_of(matrices, isStored))
      return std::string();
    if (Value shift = norm.getBias()) {
      FailureOr<SmallVector<double>> values = readVector(shift);
      if (failed(values))
        return failure();
      plan.shifts = llvm::any_of(*values, [](double v) { return v != 0; });
      if (plan.shifts && narrow)
        return "its shift makes biases that " + nameOf(element) +
               " does not hold";
    }
    Value scale = norm.getScale();
    if (!scale)
      return std::string();
    FailureOr<SmallVector<double>> values = readVector(scale);
    if (failed(values))
      return failure();
    plan.scales = llvm::any_of(*values, [](double v) { return v != 1; });
    if (!plan.scales)
      return std::string();
    std::string why;
    for (Value matrix : matrices) {
      if (isStored(matrix))
        continue;
      FailureOr<bool> exact = isExactScale(matrix, *values);
      if (failed(exact))
        return failure();
      if (*exact)
        continue;
      if (round) {
        plan.rounded.insert(matrix);
        continue;
      }
      Type stored = getStoredType(matrix);
      if (why.empty())
        why = "products of its scale and " + keyOf(matrix) + " are not in " +
              nameOf(stored) + ", the type of that weight";
      plan.widened.insert(matrix);
      plan.moreBytes +=
          llvm::cast<ShapedType>(matrix.getType()).getNumElements() *
          (element.getIntOrFloatBitWidth() - stored.getIntOrFloatBitWidth()) /
          8;
    }
    if (why.empty() || narrow)
      return why;
    if (widen)
      return std::string();
    return why + "; with widen=true they are kept in " + nameOf(element) +
           ", " + std::to_string(plan.moreBytes) + " bytes more";
  }

  static std::string nameOf(Type type) {
    std::string name;
    llvm::raw_string_ostream(name) << type;
    return name;
  }

  static std::string keyOf(Value weight) {
    StringRef key = getWeightKey(weight);
    return key.empty() ? "a weight" : ("weight '" + key + "'").str();
  }

  void fold(NormOp norm, const Plan &plan) {
    IRRewriter rewriter(&getContext());
    Value parameters[] = {norm.getScale(), norm.getBias()};
    Value scale = plan.scales ? parameters[0] : Value(),
          shift = plan.shifts ? parameters[1] : Value();
    auto scaleWeight = [&](Value weight, Value scale) -> Value {
      if (!scale || !plan.rounded.contains(weight))
        return scale ? createScaled(rewriter, weight, scale,
                                    plan.widened.contains(weight))
                     : weight;
      // One rounding, of the exact products.
      Type element = getElementTypeOrSelf(weight);
      Value wide = createScaled(rewriter, weight, scale, /*widened=*/true);
      return createCast(
          rewriter, createCast(rewriter, wide, getStoredType(weight)), element);
    };
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
        Value weight = scaleWeight(linear.getWeight(), scale);
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
      Value up = scaleWeight(network.getUp(), scale);
      folded += network.isGated() ? 2 : 1;
      Value gate = network.getGate(), gateBias = network.getGateBias();
      if (gate) {
        gateBias = shiftBias(rewriter, gate, shift, gateBias);
        gate = scaleWeight(gate, scale);
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
    InFlightDiagnostic remark = log.rewritten(norm, norm);
    remark << "norm folded into " << folded
           << (folded == 1 ? " weight" : " weights");
    if (!plan.rounded.empty())
      remark << ", products rounded to " << getStoredType(plan.rounded.front());
    if (plan.moreBytes)
      remark << ", " << plan.moreBytes << " bytes more";
    remark.report();
    rewriter.modifyOpInPlace(norm, [&] {
      norm.getScaleMutable().clear();
      norm.getBiasMutable().clear();
    });
    for (Value vector : parameters)
      if (vector && vector.getDefiningOp())
        eraseDead(rewriter, vector.getDefiningOp());
  }

  static Operation *getAnchor(Operation *user) {
    SmallVector<Value> weights =
        llvm::cast<ComputeOpInterface>(user).getWeightOperands();
    for (Value operand : user->getOperands())
      if (auto norm = operand.getDefiningOp<NormOp>())
        llvm::append_range(weights, norm.getWeightOperands());
    return getExpressionAnchor(user, weights);
  }

  /// The columns of the weight times the scale, in the type it is stored in
  /// unless it is to be widened.
  static Value createScaled(OpBuilder &builder, Value weight, Value scale,
                            bool widened) {
    Type element = llvm::cast<ShapedType>(weight.getType()).getElementType();
    Type stored = getStoredType(weight);
    if (widened || stored == element)
      return ScaleColsOp::create(builder, weight.getLoc(), weight.getType(),
                                 weight, scale);
    Value source = createStored(builder, weight);
    Value factor = getStoredType(scale) == stored
                       ? createStored(builder, scale)
                       : createCast(builder, scale, stored);
    Value scaled = ScaleColsOp::create(builder, weight.getLoc(),
                                       source.getType(), source, factor);
    return createCast(builder, scaled, element);
  }

  static Value shiftBias(OpBuilder &builder, Value weight, Value shift,
                         Value bias) {
    if (!shift)
      return bias;
    return MatVecOp::create(builder, weight.getLoc(), weight, shift, bias);
  }
};
} // namespace
