//===- InsertEarlyExit.cpp - Leave the stack once the class is clear ------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "RowConditions.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Support/CandidateLog.h"
#include "mlir/IR/IRMapping.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNINSERTEARLYEXIT
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

/// The value whose rows the op treats one by one; null for any other op.
static Value getRowwiseInput(Operation *op) {
  if (llvm::isa_and_nonnull<LinearOp, NormOp>(op))
    return op->getOperand(0);
  auto node = llvm::dyn_cast_if_present<onnx::NodeOp>(op);
  return node && (node.is("Cast") || node.is("Identity")) ? node.getInput(0)
                                                          : Value();
}

static bool isWeight(Value value) {
  return llvm::isa_and_nonnull<WeightExprInterface>(value.getDefiningOp());
}

namespace {
/// From the state behind the last sublayer to the logits.
struct Head {
  Value hidden, logits;
  unsigned result = 0;
  SmallVector<Operation *> ops; // in program order
};

struct InsertEarlyExit
    : mlir::ffn::impl::FFNInsertEarlyExitBase<InsertEarlyExit> {
  using FFNInsertEarlyExitBase::FFNInsertEarlyExitBase;

  void runOnOperation() override {
    if (failed(checkOptions()))
      return signalPassFailure();
    func::FuncOp main = getMainOfOneBlock(getOperation());
    if (!main || threshold == 0)
      return;
    log.clear();
    SmallVector<SublayerOp> sublayers(
        main.getBody().front().getOps<SublayerOp>());
    for (SublayerOp sublayer : sublayers)
      log.add(sublayer, sublayer, sublayer.getAddend(0).getName().getValue());
    Head head;
    std::string obstacle = findHead(main, sublayers, head);
    if (!obstacle.empty()) {
      for (SublayerOp sublayer : sublayers)
        log.kept(sublayer, sublayer) << obstacle;
      return log.finish();
    }
    if (failed(insert(main, sublayers, head)))
      return signalPassFailure();
    log.finish();
  }

private:
  CandidateLog log{"ffn-insert-early-exit", NumericalClass::Approximate};

  LogicalResult checkOptions() {
    StringRef problem;
    if (prefill != "run" && prefill != "decide")
      problem = "prefill is run or decide";
    else if (!(threshold >= 0) || !std::isfinite(threshold))
      problem = "threshold is a positive number, or 0 for none";
    else if (step == 0)
      problem = "step is at least 1";
    if (problem.empty())
      return success();
    return getOperation().emitError(problem) << " [FFN-P160]";
  }

  /// Why tokens cannot leave; empty where they can.
  static std::string findHead(func::FuncOp main,
                              MutableArrayRef<SublayerOp> sublayers,
                              Head &head) {
    Operation *ret = main.getBody().front().getTerminator();
    std::optional<unsigned> index;
    for (unsigned i = 0; i < ret->getNumOperands(); ++i) {
      auto name = main.getResultAttrOfType<StringAttr>(i, "onnx.name");
      bool isNamed = name && name.getValue() == "logits";
      auto type =
          llvm::dyn_cast<RankedTensorType>(ret->getOperand(i).getType());
      bool fits = type && type.getRank() >= 2 &&
                  llvm::isa<FloatType>(type.getElementType()) &&
                  ret->getOperand(i).getDefiningOp() &&
                  !llvm::isa<SublayerOp>(ret->getOperand(i).getDefiningOp());
      if (fits && (isNamed || !index))
        index = i;
      if (fits && isNamed)
        break;
    }
    if (!index)
      return "the model has no logits";
    head.result = *index;
    head.logits = head.hidden = ret->getOperand(*index);
    bool any = false;
    while (Value input = getRowwiseInput(head.hidden.getDefiningOp())) {
      any |= llvm::isa<LinearOp>(head.hidden.getDefiningOp());
      head.ops.push_back(head.hidden.getDefiningOp());
      head.hidden = input;
    }
    std::reverse(head.ops.begin(), head.ops.end());
    if (!any || sublayers.empty() ||
        head.hidden != sublayers.back().getHidden())
      return "the logits are not a linear of the state behind the last "
             "sublayer";
    auto type = llvm::cast<RankedTensorType>(head.logits.getType());
    auto state = llvm::dyn_cast<RankedTensorType>(head.hidden.getType());
    if (!state || state.getRank() != type.getRank() ||
        type.isDynamicDim(type.getRank() - 1))
      return "the logits have another rank than the state, or no static width";
    // Every state is the residual of the next sublayer, and nothing else reads
    // the head's values.
    for (auto [before, after] :
         llvm::zip(sublayers.drop_back(), sublayers.drop_front()))
      if (after.getResidual() != before.getHidden())
        return "sublayers do not follow one another: a state changes between "
               "them";
    for (SublayerOp sublayer : sublayers)
      if (StringRef obstacle = findObstacle(sublayer); !obstacle.empty())
        return ("sublayer '" + sublayer.getAddend(0).getName().getValue() +
                "' cannot be left: " + obstacle)
            .str();
    for (Operation *op : head.ops) {
      if (op->getResult(0) != head.logits && !op->getResult(0).hasOneUse())
        return "values between the last state and the logits are read by "
               "others";
      for (Value weight : op->getOperands().drop_front())
        if (!isWeight(weight))
          return "the head has weights that are computed at run time";
    }
    return "";
  }

  /// Weights that the head reads may stand in front of it only.
  static void hoistWeights(Value weight, Operation *point) {
    Operation *op = weight.getDefiningOp();
    if (!op || op->getBlock() != point->getBlock() ||
        op->isBeforeInBlock(point))
      return;
    for (Value source : op->getOperands())
      hoistWeights(source, point);
    op->moveBefore(point);
  }

  /// The head on another state, at the builder. Only the one on the last state
  /// has the names of the original.
  static Value cloneHead(OpBuilder &builder, const Head &head, Value state) {
    IRMapping mapping;
    mapping.map(head.hidden, state);
    Value logits;
    for (Operation *op : head.ops) {
      Operation *copy = builder.clone(*op, mapping);
      logits = copy->getResult(0);
      if (state == head.hidden)
        continue;
      copy->setLoc(builder.getUnknownLoc());
      if (auto node = llvm::dyn_cast<onnx::NodeOp>(copy))
        node.getProperties().names = {};
    }
    return logits;
  }

  /// The head on a state, for rows that are not left out.
  static Value makeLogits(OpBuilder &builder, const Head &head, Value state,
                          Value skip, Value otherwise) {
    if (!skip)
      return cloneHead(builder, head, state);
    auto region = SkipOp::create(builder, head.logits.getLoc(),
                                 head.logits.getType(), skip, otherwise);
    OpBuilder::InsertionGuard guard(builder);
    builder.createBlock(&region.getBody());
    Value logits = cloneHead(builder, head, state);
    SkipYieldOp::create(builder, head.logits.getLoc(), logits);
    return region.getResult();
  }

  LogicalResult insert(func::FuncOp main, MutableArrayRef<SublayerOp> sublayers,
                       const Head &head) {
    // A layer begins wherever a kind comes again.
    SmallVector<unsigned> layerOf;
    unsigned layer = 0;
    llvm::SmallDenseSet<unsigned> kinds;
    for (SublayerOp sublayer : sublayers) {
      auto kind = static_cast<unsigned>(sublayer.getAddend(0).getKind());
      if (!kinds.insert(kind).second) {
        kinds.clear();
        kinds.insert(kind);
        ++layer;
      }
      layerOf.push_back(layer);
    }
    unsigned layers = layer + 1;
    unsigned begin = from ? unsigned(from) : std::max(1u, layers / 2);

    for (Operation *op : head.ops)
      for (Value weight : op->getOperands().drop_front())
        hoistWeights(weight, sublayers.front());
    OpBuilder builder(sublayers.front());
    RowConditions conditions(getOperation(), builder);
    FailureOr<Value> open = conditions.findOpen(sublayers.front().getResidual(),
                                                prefill == "run", warmup, main);
    if (failed(open))
      return failure();
    Value closed = *open ? conditions.negate(*open) : Value();
    Type integer = builder.getI64Type();
    Value gone, logits, best, left;
    for (auto [i, sublayer] : llvm::enumerate(sublayers)) {
      builder.setInsertionPoint(sublayer);
      if (gone) {
        leaveOutAddend(sublayer, gone);
        left = conditions.count(left, gone);
        log.rewritten(sublayer, sublayer)
            << "left out for tokens that leave behind an earlier layer";
      } else {
        log.kept(sublayer, sublayer) << "no token has left in front of it";
      }
      bool ends = i + 1 == sublayers.size() || layerOf[i + 1] != layerOf[i];
      unsigned done = layerOf[i] + 1;
      if (!ends || done < begin || done == layers || (done - begin) % step != 0)
        continue;
      builder.setInsertionPointAfter(sublayer);
      // Neither who has left nor who may not is asked.
      Value state = sublayer.getHidden(), idle = gone;
      if (closed)
        idle = gone ? conditions.either(gone, closed)
                    : conditions.expandToRows(closed, state);
      logits = makeLogits(builder, head, state, idle, logits);
      Value now = conditions.node("ArgMax", getRowType(logits, integer), logits,
                                  {intAttr(builder, "axis", rankOf(logits) - 1),
                                   intAttr(builder, "keepdims", 0)});
      if (best) {
        Type element =
            llvm::cast<ShapedType>(logits.getType()).getElementType();
        Value lead = RowMarginOp::create(builder, builder.getUnknownLoc(),
                                         getRowType(logits, element), logits);
        Value found = conditions.both(conditions.equal(now, best),
                                      conditions.above(lead, threshold));
        gone = conditions.either(gone, conditions.both(found, *open));
      }
      best = now;
    }
    if (!gone)
      return success();
    builder.setInsertionPoint(head.ops.back());
    Value result = makeLogits(builder, head, head.hidden, gone, logits);
    Value(head.logits).replaceAllUsesWith(result);
    for (Operation *op : llvm::reverse(head.ops))
      op->erase();
    if (count)
      appendResult(main, left, "left_out");
    return success();
  }

  static int64_t rankOf(Value value) {
    return llvm::cast<RankedTensorType>(value.getType()).getRank();
  }
};
} // namespace
