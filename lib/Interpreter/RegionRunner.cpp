//===- RegionRunner.cpp - Control flow, calls and sublayers ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "RegionRunner.h"
#include "ScanRunner.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNAdaptive.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

namespace {
/// A call of a model-local function or of a func.func.
class CallRunner : public RegionRunner {
public:
  CallRunner(Operation *op, Region &body, DictionaryAttr attributes,
             EvalState &state)
      : op(op), body(body), attributes(attributes), state(state) {}

  LogicalResult step(MutableArrayRef<EvalValue> results, Next &next) override {
    if (!called) {
      called = true;
      unsigned formals = body.empty() ? 0 : body.front().getNumArguments();
      if (op->getNumOperands() > formals)
        return evalError(op, "E102", "calls with too many inputs");
      // Inputs at the end may be left out.
      for (unsigned i = 0; i < formals; ++i)
        next.arguments.push_back(i < op->getNumOperands()
                                     ? state.get(op->getOperand(i))
                                     : EvalValue());
      next.region = &body;
      next.newScope = true;
      next.attributes = attributes;
      return success();
    }
    if (results.size() < op->getNumResults())
      return evalError(op, "E102", "the callee gives too few results");
    for (OpResult result : op->getResults())
      state.set(result, std::move(results[result.getResultNumber()]));
    return success();
  }

private:
  Operation *op;
  Region &body;
  DictionaryAttr attributes;
  EvalState &state;
  bool called = false;
};

class IfRunner : public RegionRunner {
public:
  IfRunner(onnx::NodeOp node, EvalState &state) : node(node), state(state) {}

  LogicalResult step(MutableArrayRef<EvalValue> results, Next &next) override {
    if (!entered) {
      entered = true;
      EvalContext ctx(node, state);
      FailureOr<EvalTensor> condition = ctx.requireInt(0);
      if (failed(condition))
        return failure();
      if (condition->getNumElements() != 1)
        return ctx.error("the condition must be one boolean");
      next.region =
          getGraph(node, condition->ints()[0] ? "then_branch" : "else_branch");
      return next.region ? success() : ctx.error("a branch is missing");
    }
    if (results.size() != node->getNumResults())
      return evalError(node, "E102",
                       "the branch gives another count of values");
    for (OpResult result : node->getResults())
      state.set(result, std::move(results[result.getResultNumber()]));
    return success();
  }

private:
  onnx::NodeOp node;
  EvalState &state;
  bool entered = false;
};

/// hidden = residual + addend 0 + addend 1 ...; then the extra results.
class SublayerRunner : public RegionRunner {
public:
  SublayerRunner(SublayerOp op, EvalState &state) : op(op), state(state) {}

  LogicalResult step(MutableArrayRef<EvalValue> results, Next &next) override {
    if (!entered) {
      entered = true;
      next.region = &op.getBody();
      next.arguments.push_back(state.get(op.getResidual()));
      return success();
    }
    EvalValue hidden = state.get(op.getResidual());
    unsigned addends = op.getNumAddends();
    if (!hidden.isTensor() ||
        results.size() < op->getNumResults() - 1 + addends)
      return evalError(op, "E102", "the residual or an addend has no value");
    for (EvalValue &addend : results.take_front(addends)) {
      if (!addend.isTensor() ||
          addend.tensor.getShape() != hidden.tensor.getShape() ||
          addend.tensor.isFloat() != hidden.tensor.isFloat())
        return evalError(op, "E102",
                         "an addend is not of the residual's shape " +
                             shapeText(hidden.tensor.getShape()));
      if (hidden.tensor.isFloat()) {
        MutableArrayRef<double> sum = hidden.tensor.mutableFloats();
        for (auto [x, y] : llvm::zip(sum, addend.tensor.floats()))
          x += y;
      } else {
        MutableArrayRef<int64_t> sum = hidden.tensor.mutableInts();
        Type type = hidden.tensor.getElementType();
        for (auto [x, y] : llvm::zip(sum, addend.tensor.ints()))
          x = wrapToIntType(type,
                            static_cast<int64_t>(static_cast<uint64_t>(x) +
                                                 static_cast<uint64_t>(y)));
      }
    }
    state.set(op.getHidden(), std::move(hidden));
    for (auto [result, value] :
         llvm::zip(op.getExtras(), results.drop_front(addends)))
      state.set(result, std::move(value));
    return success();
  }

private:
  SublayerOp op;
  EvalState &state;
  bool entered = false;
};

/// The rows of the body, but for those that are left out.
class SkipRunner : public RegionRunner {
public:
  SkipRunner(SkipOp op, EvalState &state) : op(op), state(state) {}

  LogicalResult step(MutableArrayRef<EvalValue> results, Next &next) override {
    const EvalValue &skip = state.get(op.getSkip());
    if (!skip.isTensor())
      return evalError(op, "E102", "the condition has no value");
    // Without a row that runs only the body knows the size of a row; it is
    // the one that gives the result then, if there is no other.
    bool all = llvm::all_of(skip.tensor.ints(), [](int64_t s) { return s; });
    if (!entered && !(all && op.getOtherwise())) {
      entered = true;
      next.region = &op.getBody();
      return success();
    }
    EvalValue otherwise;
    if (op.getOtherwise()) {
      otherwise = state.get(op.getOtherwise());
      if (!otherwise.isTensor())
        return evalError(op, "E102", "the other rows have no value");
    }
    if (results.empty()) {
      state.set(op.getResult(), std::move(otherwise));
      return success();
    }
    if (!results[0].isTensor() || !results[0].tensor.isFloat())
      return evalError(op, "E102", "the body gives no floats");
    EvalTensor rows = results[0].tensor;
    ArrayRef<int64_t> shape = rows.getShape();
    if (shape.empty() || shape.drop_back() != skip.tensor.getShape() ||
        (otherwise.isTensor() && otherwise.tensor.getShape() != shape))
      return evalError(op, "E102",
                       "rows of shape " + shapeText(shape) +
                           " do not fit a condition of shape " +
                           shapeText(skip.tensor.getShape()));
    MutableArrayRef<double> out = rows.mutableFloats();
    for (auto [i, value] : llvm::enumerate(out))
      if (skip.tensor.ints()[i / shape.back()])
        value = otherwise.isTensor() ? otherwise.tensor.floats()[i] : -0.0;
    state.set(op.getResult(), EvalValue(std::move(rows)));
    return success();
  }

private:
  SkipOp op;
  EvalState &state;
  bool entered = false;
};
} // namespace

//===----------------------------------------------------------------------===//
// Choice
//===----------------------------------------------------------------------===//

/// The attributes a local function sees: those of the call, resolved in the
/// caller, else its defaults.
static DictionaryAttr bindAttributes(onnx::FunctionOp function,
                                     onnx::NodeOp node, EvalState &state) {
  NamedAttrList bound;
  for (NamedAttribute attr : node.getAttrs())
    if (Attribute value = state.resolve(attr.getValue()))
      bound.set(attr.getName(), value);
  for (NamedAttribute attr : function.getDefaults())
    if (!bound.get(attr.getName()))
      bound.set(attr.getName(), attr.getValue());
  return bound.getDictionary(node.getContext());
}

Region *mlir::ffn::getGraph(onnx::NodeOp node, StringRef name) {
  auto graph =
      llvm::dyn_cast_if_present<onnx::GraphAttr>(node.getNodeAttr(name));
  if (!graph || graph.getRegion() >= node.getGraphs().size())
    return nullptr;
  return &node.getGraphs()[graph.getRegion()];
}

static bool isControlFlow(onnx::NodeOp node) {
  return node.getDomain().empty() &&
         (node.getOp() == "If" || node.getOp() == "Loop" ||
          node.getOp() == "Scan" || node.getOp() == "SequenceMap");
}

bool mlir::ffn::hasRegionRunner(Operation *op, const FunctionMap &functions) {
  if (auto node = llvm::dyn_cast<onnx::NodeOp>(op))
    return isControlFlow(node) || lookupFunction(functions, node);
  return llvm::isa<SublayerOp, SkipOp, func::CallOp>(op);
}

std::unique_ptr<RegionRunner>
mlir::ffn::makeRegionRunner(Operation *op, EvalState &state,
                            const FunctionMap &functions,
                            const InterpreterOptions &options) {
  if (auto sublayer = llvm::dyn_cast<SublayerOp>(op))
    return std::make_unique<SublayerRunner>(sublayer, state);
  if (auto skip = llvm::dyn_cast<SkipOp>(op))
    return std::make_unique<SkipRunner>(skip, state);
  if (auto call = llvm::dyn_cast<func::CallOp>(op)) {
    auto callee = llvm::dyn_cast_if_present<func::FuncOp>(
        SymbolTable::lookupNearestSymbolFrom(call, call.getCalleeAttr()));
    if (!callee || callee.isExternal())
      return nullptr;
    return std::make_unique<CallRunner>(op, callee.getBody(), DictionaryAttr(),
                                        state);
  }
  auto node = llvm::dyn_cast<onnx::NodeOp>(op);
  if (!node)
    return nullptr;
  if (onnx::FunctionOp function = lookupFunction(functions, node))
    return std::make_unique<CallRunner>(
        op, function.getBody(), bindAttributes(function, node, state), state);
  if (!isControlFlow(node))
    return nullptr;
  if (node.getOp() == "If")
    return std::make_unique<IfRunner>(node, state);
  return makeIterationRunner(node, state, options);
}
