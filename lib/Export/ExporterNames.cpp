//===- ExporterNames.cpp - Names and versions -----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ExporterInternal.h"
#include "mlir/Transforms/RegionUtils.h"

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

bool NameScope::isTaken(StringRef name) const {
  for (const NameScope *scope = this; scope; scope = scope->parent)
    if (scope->taken.contains(name))
      return true;
  return false;
}

std::string NameScope::claim(StringRef name) {
  std::string base = name.empty() ? "v" : name.str(), result = base;
  if (name.empty() || isTaken(base)) {
    unsigned &number = next[base];
    do
      result = base + "_" + std::to_string(number++);
    while (isTaken(result));
  }
  taken.insert(result);
  return result;
}

bool NameScope::claimHiding(StringRef name, const llvm::StringSet<> &needed) {
  return !name.empty() && !needed.contains(name) && taken.insert(name).second;
}

DictionaryAttr ModelExporter::getEntry(ArrayAttr list, unsigned i) {
  return list && i < list.size() ? dyn_cast<DictionaryAttr>(list[i])
                                 : DictionaryAttr();
}

/// `onnx.name` of entry i.
static StringRef getGivenName(ArrayAttr list, unsigned i) {
  DictionaryAttr entry = ModelExporter::getEntry(list, i);
  auto name = entry ? entry.getAs<StringAttr>("onnx.name") : StringAttr();
  return name ? name.getValue() : StringRef();
}

StringRef ModelExporter::getHint(Value value) {
  auto result = dyn_cast<OpResult>(value);
  if (!result)
    return {};
  Operation *op = result.getOwner();
  if (auto node = dyn_cast<onnx::NodeOp>(op))
    return node.getProperties().names.output(result.getResultNumber());
  auto weight = dyn_cast<WeightOp>(op);
  if (!weight)
    return {};
  if (auto span = dyn_cast<SpanAttr>(weight.getValue()))
    return span.getKey().getValue();
  auto name = weight->getAttrOfType<StringAttr>("onnx.name");
  return name ? name.getValue() : StringRef("constant");
}

void ModelExporter::nameValues(Block &block, Scope &scope, ArrayAttr args,
                               ArrayAttr results) {
  // Lists that no longer fit (a pass changed the signature) say nothing.
  Operation *terminator = block.getTerminator();
  if (args && args.size() != block.getNumArguments())
    args = {};
  if (results && results.size() != terminator->getNumOperands())
    results = {};
  // An input of a subgraph may hide an outer name, as some operators demand
  // certain names, but not one that the subgraph uses.
  llvm::StringSet<> captured;
  if (scope.kind == ScopeKind::Subgraph) {
    llvm::SetVector<Value> values;
    getUsedValuesDefinedAbove(*block.getParent(), values);
    for (Value value : values)
      if (auto it = names.find(value); it != names.end())
        captured.insert(it->second);
  }
  for (BlockArgument arg : block.getArguments()) {
    StringRef given = getGivenName(args, arg.getArgNumber());
    names[arg] = scope.names.claimHiding(given, captured)
                     ? given.str()
                     : scope.names.claim(given.empty() ? "input" : given);
  }
  for (auto [i, value] : llvm::enumerate(terminator->getOperands())) {
    StringRef given = getGivenName(results, i);
    bool isLocal = value.getParentBlock() == &block;
    auto named = names.find(value);
    // Also where one value is several outputs of one name, as in the bodies of
    // some loops.
    if (isLocal && named != names.end() && named->second == given) {
      scope.outputs.push_back(given.str());
      continue;
    }
    StringRef hint = getHint(value);
    // A weight keeps its own name; under another one it needs a copy.
    bool takesName = isLocal && named == names.end() &&
                     (value.getDefiningOp<onnx::NodeOp>() ||
                      (value.getDefiningOp<WeightOp>() && hint == given));
    if (given.empty())
      given = takesName && !hint.empty() ? hint : StringRef("output");
    std::string name = scope.names.claim(given);
    if (takesName)
      names[value] = name;
    else
      scope.copies.emplace_back(value, name);
    scope.outputs.push_back(std::move(name));
  }
  for (Operation &op : block) {
    if (!isa<onnx::NodeOp, WeightOp>(op))
      continue;
    for (Value value : op.getResults())
      if (!isa<NoneType>(value.getType()) && !names.contains(value))
        names[value] = scope.names.claim(getHint(value));
  }
}

//===----------------------------------------------------------------------===//
// Versions
//===----------------------------------------------------------------------===//

void ModelExporter::writeOpsets(const std::map<std::string, int64_t> &versions,
                                uint32_t fieldNumber) {
  for (const auto &[domain, version] : versions) {
    auto message = writer.message(fieldNumber);
    writer.writeString(1, domain);
    writer.writeInt(2, version);
  }
}

/// True if under opset `opset` the operator of `node` is the one it says.
static bool fitsOpset(onnx::NodeOp node, int64_t opset) {
  StringRef domain = node.getDomain();
  const Schema *schema = lookupSchema(domain, node.getOp(), opset);
  if (!schema)
    return !isKnownOperator(domain, node.getOp()) ||
           static_cast<int64_t>(node.getVersion()) == opset;
  return schema->sinceVersion == static_cast<int64_t>(node.getVersion());
}

LogicalResult ModelExporter::chooseOpset(StringRef domain, int64_t imported,
                                         ArrayRef<onnx::NodeOp> nodes,
                                         int64_t &version) {
  auto fits = [&](int64_t opset) {
    return llvm::all_of(
        nodes, [&](onnx::NodeOp node) { return fitsOpset(node, opset); });
  };
  version = imported;
  if (imported && fits(imported))
    return success();
  // Nodes that a pass made may need another version than the file imported.
  int64_t newest = getNewestOpset(domain), oldest = 1;
  for (onnx::NodeOp node : nodes)
    oldest = std::max<int64_t>(oldest, node.getVersion());
  if (!newest) {
    version = imported ? imported : oldest;
    return success();
  }
  for (version = std::max(oldest, imported); version <= newest; ++version)
    if (fits(version))
      return success();
  for (version = oldest; version < imported; ++version)
    if (fits(version))
      return success();
  onnx::NodeOp latest = nodes.front();
  for (onnx::NodeOp node : nodes)
    if (node.getVersion() > latest.getVersion())
      latest = node;
  for (onnx::NodeOp node : nodes)
    if (!fitsOpset(node, latest.getVersion()))
      return node->emitError()
             << node.describe() << " is of version " << node.getVersion()
             << ", which no opset has together with version "
             << latest.getVersion() << " of " << latest.describe()
             << " [FFN-E203]";
  return latest->emitError()
         << latest.describe() << ": version " << latest.getVersion()
         << " does not exist [FFN-E203]";
}

LogicalResult
ModelExporter::chooseOpsets(Region &body, DictionaryAttr imports,
                            std::map<std::string, int64_t> &versions) {
  if (imports)
    for (NamedAttribute entry : imports)
      if (auto version = dyn_cast<IntegerAttr>(entry.getValue()))
        versions[entry.getName() == "ai.onnx" ? "" : entry.getName().str()] =
            version.getInt();
  llvm::StringSet<> functions;
  for (auto function : module.getOps<onnx::FunctionOp>())
    functions.insert((function.getDomain() + "::" + function.getName()).str());
  // One node for each (domain, operator, version) is enough.
  llvm::StringSet<> seen;
  std::map<std::string, SmallVector<onnx::NodeOp>> nodes;
  body.walk([&](onnx::NodeOp node) {
    std::string key = (node.getDomain() + "::" + node.getOp()).str();
    std::string domain = node.getDomain().str();
    if (functions.contains(key)) {
      versions.try_emplace(domain, 1);
      return;
    }
    key += "::" + std::to_string(node.getVersion());
    if (seen.insert(key).second)
      nodes[domain].push_back(node);
  });
  for (auto &[domain, list] : nodes) {
    auto imported = versions.find(domain);
    int64_t version = 0;
    if (failed(chooseOpset(domain,
                           imported == versions.end() ? 0 : imported->second,
                           list, version)))
      return failure();
    versions[domain] = version;
  }
  if (versions.empty())
    versions[""] = getNewestOpset("");
  return success();
}
