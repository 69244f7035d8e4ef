//===- Engine.cpp - Runs functions on values ------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "RegionRunner.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Interpreter/Interpreter.h"
#include "ffn-mlir/Ops/OpTable.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseSet.h"

using namespace mlir;
using namespace mlir::ffn;

RegionRunner::~RegionRunner() = default;

namespace {
/// For each operation of a block, the values of that block that nothing reads
/// after it.
using LastUses = std::vector<SmallVector<Value, 2>>;

/// Values of one activation of a function.
struct Scope {
  llvm::DenseMap<Value, EvalValue> values;
  DictionaryAttr attributes;
};

struct Frame {
  Block *block = nullptr;
  Block::iterator next;
  size_t index = 0;
  std::shared_ptr<Scope> scope;
  /// Of the operation in the frame below that this block belongs to; null for
  /// the entry.
  std::unique_ptr<RegionRunner> runner;
  /// Part of the entry function or of a sublayer in it.
  bool observed = false;
};

class Engine : public EvalState {
public:
  Engine(ModuleOp module, const InterpreterOptions &options)
      : options(options), functions(collectFunctions(module)),
        meter(std::make_shared<EvalMeter>()) {}

  FailureOr<std::vector<EvalValue>> run(func::FuncOp function,
                                        ArrayRef<EvalValue> inputs);

  const EvalValue &get(Value value) override;
  void set(Value value, EvalValue v) override {
    stack.back().scope->values[value] = std::move(v);
  }
  Attribute resolve(Attribute attr) override;
  FailureOr<EvalTensor> allocate(Operation *op, Type elementType,
                                 ArrayRef<int64_t> shape) override;
  LogicalResult reserve(Operation *op, uint64_t elements) override;

private:
  LogicalResult enter(Operation *owner, Frame frame, RegionRunner::Next next);
  LogicalResult runOp(Operation *op);
  /// Checks, shows and frees after `op` of the top frame.
  LogicalResult finishOp(Operation *op);
  LogicalResult leaveBlock(Operation *terminator);
  LogicalResult checkResult(Operation *op, OpResult result);
  const LastUses &lastUses(Block *block);

  const InterpreterOptions &options;
  FunctionMap functions;
  std::shared_ptr<EvalMeter> meter;
  std::vector<Frame> stack;
  llvm::DenseMap<Block *, LastUses> liveness;
  std::vector<EvalValue> returned;
  EvalValue nothing;
  bool lazyFailed = false;
};
} // namespace

//===----------------------------------------------------------------------===//
// State
//===----------------------------------------------------------------------===//

const EvalValue &Engine::get(Value value) {
  Scope &scope = *stack.back().scope;
  auto found = scope.values.find(value);
  if (found != scope.values.end())
    return found->second;
  // Weights stand at the head of the function; reading them on first use keeps
  // only those in memory that are between first and last use.
  if (auto weight = value.getDefiningOp<WeightOp>()) {
    FailureOr<EvalTensor> tensor = evaluateConstant(weight, weight.getValue());
    if (succeeded(tensor) &&
        succeeded(reserve(weight, tensor->getNumElements())))
      return scope.values[value] = EvalValue(*tensor);
    lazyFailed = true;
    return nothing;
  }
  return nothing;
}

Attribute Engine::resolve(Attribute attr) {
  auto ref = llvm::dyn_cast_if_present<onnx::RefAttr>(attr);
  if (!ref)
    return attr;
  DictionaryAttr bound = stack.back().scope->attributes;
  return bound ? bound.get(ref.getName()) : Attribute();
}

LogicalResult Engine::reserve(Operation *op, uint64_t elements) {
  uint64_t live = meter->live;
  if (live <= options.maxElements && elements <= options.maxElements - live)
    return success();
  return evalError(op, "E104",
                   "needs " + Twine(elements) + " more elements beside " +
                       Twine(live) + " live ones, the limit is " +
                       Twine(options.maxElements));
}

FailureOr<EvalTensor> Engine::allocate(Operation *op, Type elementType,
                                       ArrayRef<int64_t> shape) {
  if (!elementType || !(elementType.isIntOrIndexOrFloat() ||
                        llvm::isa<onnx::StringType>(elementType)))
    return evalError(op, "E101", "the element type is not evaluated");
  std::optional<int64_t> count = countElements(shape);
  if (!count)
    return evalError(op, "E102",
                     "a result of shape " + shapeText(shape) + " has no size");
  if (failed(reserve(op, *count)))
    return failure();
  return EvalTensor(elementType, shape, meter);
}

//===----------------------------------------------------------------------===//
// Running
//===----------------------------------------------------------------------===//

const LastUses &Engine::lastUses(Block *block) {
  auto [entry, inserted] = liveness.try_emplace(block);
  LastUses &uses = entry->second;
  if (!inserted)
    return uses;
  llvm::DenseSet<Value> seen;
  SmallVector<Operation *> ops;
  for (Operation &op : *block)
    ops.push_back(&op);
  uses.resize(ops.size());
  for (size_t i = ops.size(); i-- > 0;) {
    auto note = [&](Value value) {
      if (value.getParentBlock() == block && seen.insert(value).second)
        uses[i].push_back(value);
    };
    for (OpResult result : ops[i]->getResults())
      note(result);
    if (ops[i]->getNumRegions() == 0)
      llvm::for_each(ops[i]->getOperands(), note);
    else
      ops[i]->walk([&](Operation *inner) {
        llvm::for_each(inner->getOperands(), note);
      });
  }
  return uses;
}

LogicalResult Engine::enter(Operation *owner, Frame frame,
                            RegionRunner::Next next) {
  if (stack.size() >= options.maxDepth)
    return evalError(owner, "E104",
                     "regions and calls are nested deeper than " +
                         Twine(options.maxDepth));
  if (!next.region->hasOneBlock())
    return evalError(owner, "E101", "only regions of one block can be run");
  Block &block = next.region->front();
  if (block.empty() || !block.back().hasTrait<OpTrait::IsTerminator>())
    return evalError(owner, "E102", "a region without a terminator");
  if (block.getNumArguments() != next.arguments.size())
    return evalError(owner, "E102",
                     "a region of " + Twine(block.getNumArguments()) +
                         " arguments is given " + Twine(next.arguments.size()));
  if (next.newScope) {
    frame.scope = std::make_shared<Scope>();
    frame.scope->attributes = next.attributes;
  }
  frame.block = &block;
  frame.next = block.begin();
  frame.index = 0;
  for (auto [argument, value] : llvm::zip(block.getArguments(), next.arguments))
    frame.scope->values[argument] = std::move(value);
  stack.push_back(std::move(frame));
  return success();
}

LogicalResult Engine::checkResult(Operation *op, OpResult result) {
  auto found = stack.back().scope->values.find(result);
  bool missing = found == stack.back().scope->values.end();
  if (missing || found->second.kind == EvalValue::None) {
    if (result.use_empty() || llvm::isa<NoneType>(result.getType()))
      return success();
    if (auto node = llvm::dyn_cast<onnx::NodeOp>(op); node && !missing)
      return success();
    return evalError(op, "E102",
                     "gives no value for result " +
                         Twine(result.getResultNumber()));
  }
  auto type = llvm::dyn_cast<RankedTensorType>(result.getType());
  if (!type)
    return success();
  if (found->second.kind != EvalValue::Tensor)
    return evalError(op, "E102", "a result declared a tensor is none");
  const EvalTensor &tensor = found->second.tensor;
  bool fits = type.getElementType() == tensor.getElementType();
  // Shapes that files declare for nodes are often wrong; the computed one is
  // what every runtime goes on with.
  if (!llvm::isa<onnx::NodeOp>(op)) {
    fits &= type.getRank() == tensor.getRank();
    for (int64_t i = 0; fits && i < tensor.getRank(); ++i)
      fits = type.isDynamicDim(i) || type.getDimSize(i) == tensor.getDim(i);
  }
  if (fits)
    return success();
  std::string text;
  llvm::raw_string_ostream(text)
      << "result " << result.getResultNumber() << " is declared " << type
      << ", computed " << shapeText(tensor.getShape()) << " of "
      << tensor.getElementType();
  return evalError(op, "E102", text);
}

LogicalResult Engine::finishOp(Operation *op) {
  if (lazyFailed)
    return failure();
  for (OpResult result : op->getResults())
    if (!llvm::isa<WeightOp>(op) && failed(checkResult(op, result)))
      return failure();
  Frame &frame = stack.back();
  if (options.observer && (frame.observed || options.observeAll))
    options.observer(op, *this);
  for (Value value : lastUses(frame.block)[frame.index])
    frame.scope->values.erase(value);
  ++frame.next;
  ++frame.index;
  return success();
}

LogicalResult Engine::leaveBlock(Operation *terminator) {
  SmallVector<EvalValue> results;
  for (Value operand : terminator->getOperands())
    results.push_back(get(operand));
  if (lazyFailed)
    return failure();
  Frame frame = std::move(stack.back());
  // The values of the block may be set again by the next iteration; dropping
  // them now keeps one iteration in memory.
  for (const SmallVector<Value, 2> &dying : lastUses(frame.block))
    for (Value value : dying)
      frame.scope->values.erase(value);
  if (stack.size() == 1) {
    returned.assign(results.begin(), results.end());
    stack.clear();
    return success();
  }
  stack.pop_back();
  Operation *owner = &*stack.back().next;
  RegionRunner::Next next;
  if (failed(frame.runner->step(results, next)))
    return failure();
  if (!next.region)
    return finishOp(owner);
  frame.scope = stack.back().scope;
  return enter(owner, std::move(frame), std::move(next));
}

LogicalResult Engine::runOp(Operation *op) {
  if (op->hasTrait<OpTrait::IsTerminator>())
    return leaveBlock(op);
  if (std::unique_ptr<RegionRunner> runner =
          makeRegionRunner(op, *this, functions, options)) {
    RegionRunner::Next next;
    if (failed(runner->step({}, next)))
      return failure();
    if (!next.region)
      return finishOp(op);
    Frame frame;
    frame.runner = std::move(runner);
    frame.scope = stack.back().scope;
    frame.observed = stack.back().observed && llvm::isa<SublayerOp>(op);
    return enter(op, std::move(frame), std::move(next));
  }
  if (auto node = llvm::dyn_cast<onnx::NodeOp>(op)) {
    EvalFn eval = OpTable::get().lookup(node).eval;
    if (!eval)
      return evalError(op, "E101",
                       "the reference interpreter does not know the operator "
                       "at version " +
                           Twine(node.getVersion()));
    EvalContext context(node, *this);
    if (failed(eval(context)))
      return failure();
  } else if (auto evaluable = llvm::dyn_cast<EvaluableOpInterface>(op)) {
    if (failed(evaluable.evaluate(*this)))
      return failure();
  } else if (llvm::isa<onnx::AbsentOp>(op)) {
    set(op->getResult(0), EvalValue());
  } else if (!llvm::isa<WeightOp>(op)) {
    return evalError(op, "E101",
                     "the reference interpreter does not know this operation");
  }
  return finishOp(op);
}

FailureOr<std::vector<EvalValue>> Engine::run(func::FuncOp function,
                                              ArrayRef<EvalValue> inputs) {
  RegionRunner::Next next;
  next.region = &function.getBody();
  next.newScope = true;
  next.arguments.assign(inputs.begin(), inputs.end());
  Frame frame;
  frame.observed = true;
  if (failed(enter(function, std::move(frame), std::move(next))))
    return failure();
  for (uint64_t done = 0; !stack.empty(); ++done) {
    Operation *op = &*stack.back().next;
    if (done >= options.maxOperations)
      return evalError(op, "E104",
                       "more than " + Twine(options.maxOperations) +
                           " operations");
    if (failed(runOp(op)))
      return failure();
  }
  return std::move(returned);
}

/// Whether `value` may be given to an argument of type `type`.
static bool fitsArgument(Type type, const EvalValue &value) {
  auto tensor = llvm::dyn_cast<RankedTensorType>(type);
  if (!tensor)
    return true;
  if (!value.isTensor() ||
      value.tensor.getElementType() != tensor.getElementType() ||
      value.tensor.getRank() != tensor.getRank())
    return false;
  for (int64_t i = 0; i < tensor.getRank(); ++i)
    if (!tensor.isDynamicDim(i) &&
        tensor.getDimSize(i) != value.tensor.getDim(i))
      return false;
  return true;
}

FailureOr<std::vector<EvalValue>>
mlir::ffn::interpret(ModuleOp module, ArrayRef<EvalValue> inputs,
                     const InterpreterOptions &options, StringRef name) {
  auto function = llvm::dyn_cast_if_present<func::FuncOp>(
      SymbolTable::lookupSymbolIn(module, name));
  if (!function || function.isExternal()) {
    module.emitError("has no function @") << name << " to run [FFN-E105]";
    return failure();
  }
  if (function.getNumArguments() != inputs.size()) {
    function.emitError("takes ")
        << function.getNumArguments() << " inputs, given are " << inputs.size()
        << " [FFN-E105]";
    return failure();
  }
  for (auto [i, type] : llvm::enumerate(function.getArgumentTypes()))
    if (!fitsArgument(type, inputs[i])) {
      InFlightDiagnostic diag = function.emitError("input ")
                                << i << " is declared " << type << ", given ";
      if (inputs[i].isTensor())
        diag << shapeText(inputs[i].tensor.getShape()) << " of "
             << inputs[i].tensor.getElementType();
      else
        diag << "is no tensor";
      diag << " [FFN-E105]";
      return failure();
    }
  return Engine(module, options).run(function, inputs);
}

bool mlir::ffn::canInterpret(ModuleOp module, Operation **firstUnknown,
                             StringRef name) {
  FunctionMap functions = collectFunctions(module);
  auto known = [&](Operation *op) {
    if (op->hasTrait<OpTrait::IsTerminator>() || hasRegionRunner(op, functions))
      return true;
    if (auto node = llvm::dyn_cast<onnx::NodeOp>(op))
      return OpTable::get().lookup(node).eval != nullptr;
    return llvm::isa<onnx::AbsentOp, WeightOp, EvaluableOpInterface>(op);
  };
  auto function = llvm::dyn_cast_if_present<func::FuncOp>(
      SymbolTable::lookupSymbolIn(module, name));
  if (!function || function.isExternal()) {
    if (firstUnknown)
      *firstUnknown = module;
    return false;
  }
  SmallVector<Operation *> pending{function};
  llvm::DenseSet<Operation *> visited{function.getOperation()};
  while (!pending.empty()) {
    Operation *root = pending.pop_back_val();
    WalkResult result = root->walk([&](Operation *op) {
      if (op == root)
        return WalkResult::advance();
      if (!known(op)) {
        if (firstUnknown)
          *firstUnknown = op;
        return WalkResult::interrupt();
      }
      Operation *callee = nullptr;
      if (auto node = llvm::dyn_cast<onnx::NodeOp>(op))
        callee = lookupFunction(functions, node);
      else if (auto call = llvm::dyn_cast<func::CallOp>(op))
        callee = SymbolTable::lookupSymbolIn(module, call.getCallee());
      if (callee && visited.insert(callee).second)
        pending.push_back(callee);
      return WalkResult::advance();
    });
    if (result.wasInterrupted())
      return false;
  }
  return true;
}
