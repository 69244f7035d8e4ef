//===- Raise.cpp - Structure out of onnx nodes ----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "RaiseDetail.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Ops/LocalFunctions.h"
#include "mlir/IR/Diagnostics.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::raise;
using onnx::NodeOp;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNRAISE
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

//===----------------------------------------------------------------------===//
// Helpers
//===----------------------------------------------------------------------===//

Raiser::Raiser(ModuleOp module, bool remarks)
    : module(module), ctx(module.getContext()), remarks(remarks),
      opset(getDefaultOpset(module)), listener(*this),
      rewriter(ctx, &listener) {
  module.walk([&](SublayerOp sublayer) {
    for (unsigned i = 0; i < sublayer.getNumAddends(); ++i)
      names.insert(sublayer.getAddend(i).getName().getValue());
  });
}

void Raiser::forEachNode(Block &block, function_ref<void(NodeOp)> visit) {
  SmallVector<Operation *> nodes;
  for (auto node : block.getOps<NodeOp>())
    nodes.push_back(node);
  listener.erased.clear();
  for (Operation *op : nodes)
    if (!listener.erased.contains(op))
      visit(llvm::cast<NodeOp>(op));
}

void Raiser::nearMiss(Operation *op, StringRef what, const Twine &why) {
  if (!remarks || !reported.insert({op, what}).second)
    return;
  // The operation can be a near miss of several things.
  auto subject = reinterpret_cast<const void *>(uintptr_t(reported.size()));
  log.add(subject, op, what + " at " + describe(op));
  log.kept(subject, op) << "near miss: " << what << " at " << describe(op)
                        << ": " << why.str();
}

void Raiser::eraseIfDead(ArrayRef<Operation *> ops) {
  SmallVector<Operation *> worklist(ops);
  llvm::SmallPtrSet<Operation *, 16> gone;
  while (!worklist.empty()) {
    Operation *op = worklist.pop_back_val();
    // Constants stay until the end: expressions are remembered by value.
    if (gone.contains(op) || !op->use_empty() || !isErasableNode(op) ||
        llvm::cast<NodeOp>(op).is("Constant") ||
        (op->getNumResults() == 1 && isConstant(op->getResult(0))))
      continue;
    for (Value operand : op->getOperands())
      if (Operation *def = operand.getDefiningOp();
          def && def->getBlock() == op->getBlock())
        worklist.push_back(def);
    gone.insert(op);
    rewriter.eraseOp(op);
  }
}

void Raiser::replace(Operation *op, ValueRange values) {
  SmallVector<Operation *> operands;
  for (Value operand : op->getOperands())
    if (Operation *def = operand.getDefiningOp())
      operands.push_back(def);
  rewriter.replaceOp(op, values);
  eraseIfDead(operands);
}

NodeOp Raiser::createNode(Location loc, StringRef op, Type result,
                          ValueRange inputs, ArrayRef<NamedAttribute> attrs) {
  return NodeOp::create(rewriter, loc, "", op, getSinceVersion(op, opset),
                        result, inputs, attrs);
}

//===----------------------------------------------------------------------===//
// No-ops
//===----------------------------------------------------------------------===//

/// The value that a node passes on unchanged, or null.
static Value getPassedValue(NodeOp node) {
  Value input = node.getInput(0);
  if (!input || node.getNumResults() == 0 ||
      node.getResult(0).getType() != input.getType())
    return {};
  if (node.is("Identity"))
    return input;
  if (node.is("Cast")) {
    // Equal tensor types mean equal element types; an unknown type does not.
    return llvm::isa<TensorType>(input.getType()) ? input : Value();
  }
  if (node.is("Dropout")) {
    for (Value mask : llvm::drop_begin(node.getResults()))
      if (!mask.use_empty())
        return {};
    if (node.getVersion() < 7 && node.getInt("is_test", 0) == 0)
      return {};
    if (!node.getInput(2))
      return input;
    return getScalarConstant(node.getInput(2)) == 0.0 ? input : Value();
  }
  return {};
}

void Raiser::removeNoOps(Block &block) {
  forEachNode(block, [&](NodeOp node) {
    if (!node.getDomain().empty())
      return;
    if (Value input = getPassedValue(node)) {
      rewriter.replaceAllUsesWith(node.getResult(0), input);
      rewriter.eraseOp(node);
      return;
    }
    // An elementwise or normalising node keeps the shape, so the size of its
    // result is that of its input, which outlives the pattern.
    if (node.is("Shape"))
      while (auto source = node.getInputs()[0].getDefiningOp<NodeOp>()) {
        bool keepsShape = source.is("LayerNormalization") ||
                          source.is("Relu") || source.is("Sigmoid") ||
                          source.is("Tanh") || source.is("Softmax") ||
                          source.is("Cast");
        if (!keepsShape || source.getResult(0) != node.getInputs()[0] ||
            !source.getInput(0))
          break;
        node->setOperand(0, source.getInput(0));
      }
  });
}

//===----------------------------------------------------------------------===//
// Driver
//===----------------------------------------------------------------------===//

void Raiser::runOnBlock(Block &block) {
  removeNoOps(block);
  raiseNorms(block);
  raiseLinears(block);
  raiseEmbeddings(block);
  raiseFeedForwards(block);
  raiseAttention(block);
  raiseSublayers(block);
}

void Raiser::run(func::FuncOp func) {
  recordShapes(func);
  // Inner blocks first: what a branch computes is settled when its node is
  // looked at.
  SmallVector<Block *> blocks;
  func.walk<WalkOrder::PostOrder>([&](Operation *op) {
    if (llvm::isa<SublayerOp>(op))
      return;
    for (Region &region : op->getRegions())
      for (Block &block : region)
        if (!op->getParentOfType<onnx::FunctionOp>())
          blocks.push_back(&block);
  });
  for (Block *block : blocks)
    runOnBlock(*block);

  // Constants and expressions that only fed what was replaced.
  for (Block *block : blocks)
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(*block))) {
      auto node = llvm::dyn_cast<NodeOp>(op);
      bool constant =
          llvm::isa<WeightOp, WeightExprInterface>(op) ||
          (node && isErasableNode(node) && node.getNumResults() == 1 &&
           (node.is("Constant") || isConstant(node.getResult(0))));
      if (constant && op.use_empty())
        rewriter.eraseOp(&op);
    }
  expressions.clear();
}

void Raiser::raiseEmbeddings(Block &block) {
  forEachNode(block, [&](NodeOp node) {
    if (!node.is("Gather") || node.getInt("axis", 0) != 0 ||
        node.getInputs().size() != 2)
      return;
    Value table = node.getInput(0), ids = node.getInput(1);
    RankedTensorType type = floatTensor(table),
                     result = floatTensor(node.getResult(0));
    auto idType = ids ? llvm::dyn_cast<RankedTensorType>(ids.getType())
                      : RankedTensorType();
    if (!type || type.getRank() != 2 || !isConstant(table) || !idType ||
        !idType.getElementType().isSignlessInteger() || getSmallConstant(ids) ||
        !result || result.getElementType() != type.getElementType() ||
        result.getRank() != idType.getRank() + 1 ||
        result.getShape().back() != type.getDimSize(1))
      return;
    Value weight = getWeight(table);
    rewriter.setInsertionPoint(node);
    replace(node,
            EmbeddingOp::create(rewriter, locationOf(node), result, ids, weight)
                .getResult());
  });
}

//===----------------------------------------------------------------------===//
// Pass
//===----------------------------------------------------------------------===//

namespace {
struct Raise : mlir::ffn::impl::FFNRaiseBase<Raise> {
  using FFNRaiseBase::FFNRaiseBase;

  void runOnOperation() override {
    // A weight that cannot be read is reported where it is read.
    bool sawError = false;
    {
      ScopedDiagnosticHandler handler(&getContext(), [&](Diagnostic &diag) {
        sawError |= diag.getSeverity() == DiagnosticSeverity::Error;
        return failure();
      });
      // Networks stand in local functions where an exporter makes one of each
      // layer.
      if (failed(inlineLocalFunctions(getOperation())) ||
          failed(expandFusedNodes(getOperation())))
        return signalPassFailure();
      Raiser raiser(getOperation(), remarks);
      for (auto func : getOperation().getOps<func::FuncOp>())
        if (!func.isExternal())
          raiser.run(func);
    }
    if (sawError)
      signalPassFailure();
  }
};
} // namespace
