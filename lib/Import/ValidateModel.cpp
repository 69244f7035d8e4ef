//===- ValidateModel.cpp - Phase A: versions, domains, functions ----------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Validate.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/ConvertUTF.h"
#include "llvm/Support/MathExtras.h"

using namespace llvm;
using namespace mlir::ffn::proto;

namespace mlir::ffn {

StringRef normalizeDomain(StringRef domain) {
  return domain == "ai.onnx" ? StringRef() : domain;
}

static std::string showDomain(StringRef domain) {
  return domain.empty() ? std::string("ai.onnx") : escapeName(domain);
}

/// Newest version of the domains that ONNX itself defines; 0 for others,
/// whose versions are their own business.
static int64_t newestVersion(StringRef domain) {
  return StringSwitch<int64_t>(domain)
      .Case("", kNewestOpset)
      .Case("ai.onnx.ml", 5)
      .Case("ai.onnx.training", 1)
      .Case("ai.onnx.preview.training", 1)
      .Case("ai.onnx.preview", 1)
      .Default(0);
}

/// Domains that exporters and optimizers use without an import.
static bool isHabitualDomain(StringRef domain) {
  return StringSwitch<bool>(domain)
      .Cases({"com.microsoft", "com.microsoft.nchwc",
              "com.microsoft.experimental", "com.ms.internal.nhwc"},
             true)
      .Cases({"com.microsoft.mlfeaturizers", "com.microsoft.extensions",
              "ai.onnx.contrib", "org.pytorch.aten"},
             true)
      .Cases({"ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training"},
             true)
      .Default(false);
}

std::string functionKey(StringRef domain, StringRef name, StringRef overload) {
  std::string key = normalizeDomain(domain).str();
  key += '\0';
  key += name;
  key += '\0';
  key += overload;
  return key;
}

std::string describeFunction(const FunctionProto &f) {
  std::string text = escapeName(f.domain) + ":" + escapeName(f.name);
  if (!f.getOverload().empty())
    text += ":" + escapeName(f.getOverload());
  return text;
}

std::string describeNode(StringRef graphPath, uint64_t index,
                         const NodeProto &node) {
  std::string text = graphPath.str();
  if (!text.empty())
    text += ", ";
  text += "node " + std::to_string(index);
  if (!node.name.empty())
    text += " " + quoteName(node.name);
  return text + " (" + escapeName(node.opType) + ")";
}

std::string describeGraph(StringRef parent, const GraphProto &graph) {
  std::string text = parent.str();
  if (!text.empty())
    text += ", ";
  text += "graph";
  if (!graph.name.empty())
    text += " " + quoteName(graph.name);
  return text;
}

const OpsetMap &CheckedModel::getOpsets(const FunctionProto &function) const {
  auto it = functionOpsets.find(&function);
  return it == functionOpsets.end() ? opsets : it->second;
}

const FunctionProto *CheckedModel::lookupFunction(const NodeProto &node) const {
  if (functions.empty())
    return nullptr;
  return functions.lookup(
      functionKey(node.domain, node.opType, node.getOverload()));
}

void PhaseA::habit(StringRef code, const Twine &where, const Twine &what) {
  if (options.strict)
    (void)errors.error(code, where, what,
                       {"accepted with a warning without --strict"});
  else
    errors.warning(code, where, what);
}

void PhaseA::checkName(StringRef name, const char *what,
                       function_ref<std::string()> where) {
  if (all_of(name, [](char c) { return c > 0; }) &&
      name.size() <= limits.maxNameBytes)
    return;
  if (name.size() > limits.maxNameBytes) {
    (void)errors.error("I301", where(),
                       Twine(what) + " has " + Twine(name.size()) +
                           " bytes, limit " + Twine(limits.maxNameBytes),
                       {"the limit can be set by --max-name-bytes"});
    return;
  }
  if (name.contains('\0')) {
    (void)errors.error("I301", where(),
                       Twine(what) + " " + quoteName(name) +
                           " contains a NUL byte");
    return;
  }
  auto *begin = reinterpret_cast<const UTF8 *>(name.begin());
  if (!isLegalUTF8String(&begin, reinterpret_cast<const UTF8 *>(name.end())))
    (void)errors.error("I301", where(),
                       Twine(what) + " " + quoteName(name) +
                           " is not valid UTF-8");
}

void PhaseA::readOpsets(ArrayRef<OperatorSetIdProto> imports,
                        const Twine &where, OpsetMap &opsets) {
  for (const OperatorSetIdProto &import : imports) {
    StringRef domain = normalizeDomain(import.domain);
    std::string shown = showDomain(domain);
    checkName(import.domain, "domain", [&] { return where.str(); });
    // Said once, here: not again for each node of the domain.
    auto refuse = [&](const Twine &what) {
      (void)errors.error("I401", where, what);
      warnedDomains.try_emplace(domain, true);
    };
    if (!import.hasVersion || import.version < 1) {
      refuse("opset " + Twine(import.version) + " of domain \"" + shown +
             "\" is not a version");
      continue;
    }
    int64_t newest = newestVersion(domain);
    if (newest && import.version > newest) {
      refuse("opset " + Twine(import.version) + " of domain \"" + shown +
             "\" is newer than " + Twine(newest) + ", the newest supported");
      continue;
    }
    auto [it, added] = opsets.try_emplace(domain, import.version);
    if (!added && it->second != import.version)
      refuse("domain \"" + shown + "\" is imported as opset " +
             Twine(it->second) + " and as " + Twine(import.version));
  }
}

void PhaseA::checkVersions() {
  if (!model.hasIrVersion)
    (void)errors.error("I402", "", "the IR version is not set");
  else if (model.irVersion < 1)
    (void)errors.error("I402", "",
                       "IR version " + Twine(model.irVersion) +
                           " is not a version");
  else if (model.irVersion > kNewestIrVersion)
    (void)errors.error("I402", "",
                       "IR version " + Twine(model.irVersion) +
                           " is newer than " + Twine(kNewestIrVersion));
  readOpsets(model.opsetImport, "", result.opsets);
  if (model.opsetImport.empty()) {
    (void)errors.error("I401", "", "the model imports no opset");
    warnedDomains.try_emplace("", true);
  }
}

void PhaseA::checkDomain(const NodeProto &node, const Body &body,
                         function_ref<std::string()> where) {
  StringRef domain = normalizeDomain(node.domain);
  OpsetMap &opsets =
      body.function ? result.functionOpsets[body.function] : result.opsets;
  if (opsets.contains(domain))
    return;
  // Functions of the model are known without an opset.
  if (result.lookupFunction(node))
    return;
  std::string shown = showDomain(domain);
  // A function without imports takes the versions of the model.
  if (body.function && result.opsets.contains(domain)) {
    if (warnedDomains
            .try_emplace(
                (describeFunction(*body.function) + "/" + domain).str(), true)
            .second)
      habit("I401", where(),
            "domain \"" + shown +
                "\" is not imported by the function; the model's version is "
                "taken");
    opsets[domain] = result.opsets[domain];
    return;
  }
  if (!domain.empty() && isHabitualDomain(domain)) {
    habit("I401", where(),
          "domain \"" + shown +
              "\" is used without an opset import; version 1 is taken");
    opsets[domain] = 1;
    if (!body.function)
      result.assumedDomains.push_back(domain);
    return;
  }
  if (warnedDomains.try_emplace(domain, true).second)
    (void)errors.error("I401", where(),
                       "domain \"" + shown +
                           "\" is used without an opset import");
}

void PhaseA::collectFunctions() {
  if (model.functions.size() > limits.maxFunctions) {
    stopped = true;
    (void)errors.error("I303", "",
                       "the model has " + Twine(model.functions.size()) +
                           " local functions, limit " +
                           Twine(limits.maxFunctions),
                       {"the limit can be set by --max-functions"});
    return;
  }
  for (auto [index, function] : enumerate(model.functions)) {
    const FunctionProto &f = function;
    auto where = [&, i = index] { return "function " + std::to_string(i); };
    checkName(f.name, "function name", where);
    checkName(f.domain, "function domain", where);
    checkName(f.getOverload(), "function overload", where);
    if (f.name.empty()) {
      (void)errors.error("I301", where(), "the function has no name");
      continue;
    }
    std::string key = functionKey(f.domain, f.name, f.getOverload());
    if (!result.functions.try_emplace(key, &f).second)
      (void)errors.error("I301", where(),
                         "function " + describeFunction(f) +
                             " is defined twice");
  }
}

/// All callees of all functions are followed, whoever calls them: a cycle
/// that nothing uses would still end whoever expands functions.
void PhaseA::checkFunctionGraph() {
  enum class State : uint8_t { New, Open, Done };
  struct Info {
    State state = State::New;
    uint64_t nodes = 0; // after expansion
    uint64_t depth = 0; // of calls below it
  };
  DenseMap<const FunctionProto *, Info> infos;
  struct Frame {
    const FunctionProto *function;
    size_t next;
  };
  SmallVector<Frame> stack;
  auto enter = [&](const FunctionProto *f) {
    infos[f].state = State::Open;
    stack.push_back({f, 0});
  };
  auto reportCycle = [&](const FunctionProto *again) {
    std::string text;
    bool on = false;
    size_t shown = 0;
    for (const Frame &frame : stack) {
      on |= frame.function == again;
      if (on && ++shown <= 8)
        text += describeFunction(*frame.function) + " -> ";
    }
    if (shown > 8)
      text += "... -> ";
    (void)errors.error("I303", "",
                       "function cycle " + text + describeFunction(*again));
  };
  // The main graph comes last, so that all functions are known then.
  std::vector<const FunctionProto *> roots;
  for (const FunctionProto &f : model.functions)
    roots.push_back(&f);
  roots.push_back(nullptr);
  for (const FunctionProto *root : roots) {
    if (infos[root].state != State::New)
      continue;
    enter(root);
    while (!stack.empty()) {
      Frame &top = stack.back();
      const FunctionProto *f = top.function;
      auto it = calls.find(f);
      ArrayRef<const FunctionProto *> callees;
      if (it != calls.end())
        callees = it->second;
      if (top.next < callees.size()) {
        const FunctionProto *callee = callees[top.next++];
        State state = infos[callee].state;
        if (state == State::New) {
          enter(callee);
        } else if (state == State::Open) {
          reportCycle(callee);
          return;
        }
        continue;
      }
      uint64_t nodes = nodeCounts.lookup(f), depth = 0;
      for (const FunctionProto *callee : callees) {
        const Info &info = infos[callee];
        nodes = SaturatingAdd(nodes, info.nodes);
        depth = std::max(depth, info.depth + 1);
      }
      Info &own = infos[f];
      own.state = State::Done;
      own.nodes = nodes;
      own.depth = depth;
      if (f)
        result.functionOrder.push_back(f);
      std::string name = f ? "function " + describeFunction(*f) : std::string();
      if (depth > limits.maxCallDepth) {
        (void)errors.error("I303", name,
                           "calls of local functions are nested " +
                               Twine(depth) + " deep, limit " +
                               Twine(limits.maxCallDepth),
                           {"the limit can be set by --max-call-depth"});
        return;
      }
      // Functions alone may be large as long as nobody expands them.
      if (!f && nodes > limits.maxNodes) {
        (void)errors.error(
            "I303", "",
            "expansion of the local functions makes " +
                (nodes == UINT64_MAX ? Twine("too many") : Twine(nodes)) +
                " nodes, limit " + Twine(limits.maxNodes),
            {"the limit can be set by --max-nodes"});
        return;
      }
      if (!f)
        result.expandedNodes = nodes;
      stack.pop_back();
    }
  }
}

LogicalResult PhaseA::run() {
  if (!model.graph)
    return errors.error("I001", "", "the model has no graph");
  checkVersions();
  collectFunctions();
  if (stopped)
    return failure();
  checkBody({model.graph->node, model.graph, nullptr},
            describeGraph("", *model.graph));
  for (const FunctionProto &f : model.functions) {
    if (errors.isFull() || stopped)
      return failure();
    readOpsets(f.opsetImport, "function " + describeFunction(f),
               result.functionOpsets[&f]);
    checkBody({f.node, nullptr, &f}, "function " + describeFunction(f));
  }
  for (auto [i, info] : enumerate(model.trainingInfo)) {
    std::string path = "training info " + std::to_string(i);
    for (const GraphProto *g : {info.initialization, info.algorithm})
      if (g && !stopped)
        checkBody({g->node, g, nullptr}, describeGraph(path, *g), model.graph);
  }
  if (!stopped)
    checkFunctionGraph();
  return success(!errors.hasErrors());
}

std::unique_ptr<CheckedModel> checkModel(const ModelFile &file,
                                         CodedErrors &errors) {
  auto result = std::make_unique<CheckedModel>();
  if (failed(PhaseA(file, *result, errors).run()))
    return nullptr;
  return result;
}

} // namespace mlir::ffn
