//===- LocalFunctions.cpp - Functions of a model --------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/LocalFunctions.h"
#include "ffn-mlir/Dialect/ONNX/IR/Origin.h"
#include "ffn-mlir/Ops/OpTable.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::ffn;
using onnx::NodeOp;

static std::string functionKey(StringRef domain, StringRef name,
                               StringRef overload) {
  return (Twine(domain == "ai.onnx" ? "" : domain) + "::" + name + ":" +
          overload)
      .str();
}

FunctionMap mlir::ffn::collectFunctions(ModuleOp module) {
  FunctionMap functions;
  for (auto function : module.getOps<onnx::FunctionOp>())
    functions.try_emplace(functionKey(function.getDomain(), function.getName(),
                                      function.getOverload()),
                          function);
  return functions;
}

onnx::FunctionOp mlir::ffn::lookupFunction(const FunctionMap &functions,
                                           NodeOp node) {
  if (functions.empty())
    return {};
  auto overload = node->getAttrOfType<StringAttr>("onnx.overload");
  return functions.lookup(functionKey(node.getDomain(), node.getOp(),
                                      overload ? overload.getValue() : ""));
}

//===----------------------------------------------------------------------===//
// Expansion
//===----------------------------------------------------------------------===//

namespace {
class Inliner {
public:
  explicit Inliner(ModuleOp module)
      : module(module), builder(module.getContext()),
        functions(collectFunctions(module)) {}

  LogicalResult run();

private:
  /// Nodes of an expanded function, and the longest chain of calls that
  /// starts with one of it.
  struct Extent {
    uint64_t nodes = 0;
    unsigned depth = 1;
  };

  FailureOr<Extent> measure(NodeOp call, unsigned depth);
  LogicalResult expand(NodeOp node, onnx::FunctionOp function);
  LogicalResult bind(NodeOp node, DictionaryAttr bound);
  std::string makePrefix(NodeOp call);
  void importOpsets();
  static InFlightDiagnostic error(NodeOp node) {
    return node->emitError() << node.describe() << ": ";
  }

  ModuleOp module;
  OpBuilder builder;
  FunctionMap functions;
  /// Calls that are left, the last one first.
  SmallVector<NodeOp> calls;
  llvm::DenseMap<Operation *, Extent> extents;
  /// Prefixes given, with the number of the last one made of it.
  llvm::StringMap<unsigned> prefixes;
};
} // namespace

static SmallVector<std::string *> getNames(onnx::NameHints &names) {
  SmallVector<std::string *> result{&names.node};
  for (std::string &output : names.outputs)
    result.push_back(&output);
  return result;
}

/// Location of a node of an expanded call: of the place of the call, under the
/// names of both.
static Location getInlinedLocation(NodeOp node, NodeOp call, StringRef prefix) {
  auto name = dyn_cast<NameLoc>(node.getLoc());
  auto label =
      StringAttr::get(node.getContext(), prefix + "/" +
                                             (name ? name.getName().getValue()
                                                   : StringRef(node.getOp())));
  auto place = dyn_cast<NameLoc>(call.getLoc());
  auto origin =
      place ? dyn_cast<FusedLocWith<DictionaryAttr>>(place.getChildLoc())
            : FusedLocWith<DictionaryAttr>();
  if (auto index = origin ? origin.getMetadata().getAs<IntegerAttr>("index")
                          : IntegerAttr())
    return onnx::getNodeLocation(label, index.getInt(),
                                 node.getQualifiedName());
  return NameLoc::get(label, call.getLoc());
}

/// Attributes that a body sees: those of the call, else the defaults.
static DictionaryAttr getBound(onnx::FunctionOp function, NodeOp node) {
  NamedAttrList bound(function.getDefaults());
  for (NamedAttribute attr : node.getAttrs())
    bound.set(attr.getName(), attr.getValue());
  return bound.getDictionary(node.getContext());
}

/// Name of the call, its first output or its function, of which no other call
/// has one: names of nodes have to differ in a file.
std::string Inliner::makePrefix(NodeOp call) {
  const onnx::NameHints &names = call.getProperties().names;
  std::string base = !names.node.empty()        ? names.node
                     : !names.output(0).empty() ? names.output(0).str()
                                                : call.getOp().str();
  std::string prefix = base;
  while (!prefixes.try_emplace(prefix, 0).second)
    prefix = base + "_" + std::to_string(++prefixes[base]);
  return prefix;
}

/// Gives the node the values of the attributes that it refers to; one that the
/// call leaves out is left out too.
LogicalResult Inliner::bind(NodeOp node, DictionaryAttr bound) {
  NamedAttrList attrs;
  for (NamedAttribute attr : node.getAttrs()) {
    auto ref = dyn_cast<onnx::RefAttr>(attr.getValue());
    Attribute value = ref ? bound.get(ref.getName()) : attr.getValue();
    if (!value)
      continue;
    // A subgraph is a region of the call, which goes.
    if (ref && isa<onnx::GraphAttr>(value))
      return error(node) << "attribute '" << attr.getName().getValue()
                         << "' is a subgraph that the call of a local function "
                            "gives, which cannot be expanded [FFN-C101]";
    attrs.set(attr.getName(), value);
  }
  node.setAttrsAttr(attrs.getDictionary(node.getContext()));
  return success();
}

/// What a call expands to; `depth` is the length of the chain that ends with
/// it. A cycle ends at the limit of the chain.
FailureOr<Inliner::Extent> Inliner::measure(NodeOp call, unsigned depth) {
  onnx::FunctionOp function = lookupFunction(functions, call);
  auto known = extents.find(function);
  unsigned below = known == extents.end() ? 1 : known->second.depth;
  if (depth + below - 1 > kMaxCallDepth)
    return error(call) << "calls of local functions are nested more than "
                       << kMaxCallDepth << " deep [FFN-I303]";
  if (known != extents.end())
    return known->second;
  Extent extent;
  WalkResult result = function.walk<WalkOrder::PreOrder>([&](NodeOp node) {
    ++extent.nodes;
    if (!lookupFunction(functions, node))
      return WalkResult::advance();
    FailureOr<Extent> inner = measure(node, depth + 1);
    if (failed(inner))
      return WalkResult::interrupt();
    extent.nodes = llvm::SaturatingAdd(extent.nodes, inner->nodes);
    extent.depth = std::max(extent.depth, inner->depth + 1);
    return WalkResult::advance();
  });
  if (result.wasInterrupted())
    return failure();
  return extents[function] = extent;
}

LogicalResult Inliner::expand(NodeOp node, onnx::FunctionOp function) {
  Block &body = function.getBody().front();
  auto yield = dyn_cast<onnx::YieldOp>(body.back());
  if (!yield || node.getInputs().size() > body.getNumArguments() ||
      node.getNumResults() > yield.getNumOperands())
    return error(node) << "calls a function of " << body.getNumArguments()
                       << " inputs and " << (yield ? yield.getNumOperands() : 0)
                       << " outputs with " << node.getInputs().size() << " and "
                       << node.getNumResults() << " [FFN-I503]";
  DictionaryAttr bound = getBound(function, node);
  builder.setInsertionPoint(node);
  IRMapping mapping;
  Value absent;
  for (auto [i, argument] : llvm::enumerate(body.getArguments())) {
    Value value = i < node.getInputs().size() ? node.getInputs()[i] : Value();
    if (!value) {
      if (!absent)
        absent = onnx::AbsentOp::create(builder, node.getLoc(),
                                        builder.getNoneType());
      value = absent;
    }
    mapping.map(argument, value);
  }

  const onnx::NameHints &callNames = node.getProperties().names;
  std::string prefix = makePrefix(node);
  SmallVector<NodeOp> inner;
  for (Operation &op : body.without_terminator()) {
    Operation *copy = builder.clone(op, mapping);
    WalkResult result = copy->walk<WalkOrder::PreOrder>([&](NodeOp cloned) {
      if (failed(bind(cloned, bound)))
        return WalkResult::interrupt();
      onnx::NameHints &names = cloned.getProperties().names;
      for (std::string *name : getNames(names))
        if (!name->empty())
          *name = prefix + "/" + *name;
      cloned->setLoc(getInlinedLocation(cloned, node, prefix));
      if (lookupFunction(functions, cloned))
        inner.push_back(cloned);
      return WalkResult::advance();
    });
    if (result.wasInterrupted())
      return failure();
  }

  for (auto [i, result] : llvm::enumerate(node.getResults())) {
    Value value = mapping.lookupOrDefault(yield.getOperand(i));
    if (yield.getOperand(i).getDefiningOp<NodeOp>()) {
      // The name and the type that the caller knows it by.
      auto copy = cast<OpResult>(value);
      onnx::NameHints &names =
          cast<NodeOp>(copy.getOwner()).getProperties().names;
      if (StringRef name = callNames.output(i); !name.empty()) {
        if (names.outputs.size() <= copy.getResultNumber())
          names.outputs.resize(copy.getResultNumber() + 1);
        names.outputs[copy.getResultNumber()] = name.str();
      }
      if (!isa<RankedTensorType>(value.getType()) &&
          !isa<NoneType>(result.getType()))
        value.setType(result.getType());
    }
    result.replaceAllUsesWith(value);
  }
  node.erase();
  // The first call is taken first.
  calls.append(inner.rbegin(), inner.rend());
  return success();
}

/// Operator sets that only functions import become those of the model, which
/// may be written again.
void Inliner::importOpsets() {
  auto model = module->getAttrOfType<DictionaryAttr>("onnx.model");
  auto imports =
      model ? model.getAs<DictionaryAttr>("opset_imports") : DictionaryAttr();
  if (!imports)
    return;
  NamedAttrList opsets(imports);
  for (auto &entry : functions)
    for (NamedAttribute opset : entry.getValue().getOpsets())
      if (!opsets.get(opset.getName()))
        opsets.set(opset.getName(), opset.getValue());
  NamedAttrList attrs(model);
  attrs.set("opset_imports", opsets.getDictionary(module.getContext()));
  module->setAttr("onnx.model", attrs.getDictionary(module.getContext()));
}

LogicalResult Inliner::run() {
  if (functions.empty())
    return success();
  uint64_t numNodes = 0;
  for (auto function : module.getOps<func::FuncOp>()) {
    SmallVector<NodeOp> found;
    WalkResult result = function.walk<WalkOrder::PreOrder>([&](NodeOp node) {
      ++numNodes;
      if (!lookupFunction(functions, node))
        return WalkResult::advance();
      FailureOr<Extent> extent = measure(node, 1);
      if (failed(extent))
        return WalkResult::interrupt();
      numNodes = llvm::SaturatingAdd(numNodes, extent->nodes);
      if (numNodes > kMaxExpandedNodes) {
        error(node) << "expansion of the local functions makes more than "
                    << kMaxExpandedNodes << " nodes [FFN-I303]";
        return WalkResult::interrupt();
      }
      found.push_back(node);
      return WalkResult::advance();
    });
    if (result.wasInterrupted())
      return failure();
    calls.append(found.rbegin(), found.rend());
    while (!calls.empty()) {
      NodeOp call = calls.pop_back_val();
      if (failed(expand(call, lookupFunction(functions, call))))
        return failure();
    }
    if (function.isExternal())
      continue;
    if (auto ret = dyn_cast<func::ReturnOp>(function.getBody().back().back()))
      function.setFunctionType(FunctionType::get(
          function.getContext(), function.getBody().getArgumentTypes(),
          llvm::to_vector(ret.getOperandTypes())));
  }
  importOpsets();
  for (auto &entry : functions)
    entry.getValue().erase();
  return SymbolicShapeAnalysis::run(module, /*refine=*/true);
}

LogicalResult mlir::ffn::inlineLocalFunctions(ModuleOp module) {
  return Inliner(module).run();
}
