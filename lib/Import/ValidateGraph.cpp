//===- ValidateGraph.cpp - Phase A: names and values of graphs ------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// One walk over a body and the graphs nested in it, with a stack of its own.
// A scope first learns all names that it defines, so that a use of a later
// value is told apart from a use of no value; then its nodes are visited in
// file order, and nested graphs where they occur.
//
//===----------------------------------------------------------------------===//

#include "Validate.h"
#include "ffn-mlir/Import/TensorData.h"
#include "llvm/ADT/STLExtras.h"

using namespace llvm;
using namespace mlir::ffn::proto;

namespace mlir::ffn {

namespace {

struct Definition {
  enum Kind : uint32_t { Input, Initializer, Node, Outer };
  Kind kind;
  uint32_t index;
  /// An initializer of strings.
  bool isString = false;
};

/// A graph whose nodes are being visited.
struct Scope {
  Body body;
  std::string path;
  NameMap<Definition> names;
  /// The node being visited, and the next nested graph of it.
  uint32_t node = 0;
  bool nodeEntered = false;
  std::vector<const GraphProto *> nested;
  std::vector<std::string> nestedPaths;
  size_t nextNested = 0;
  /// Nodes of this scope that graphs nested in a node refer to.
  std::vector<std::pair<uint32_t, uint32_t>> captures;
  bool outOfOrder = false;
  bool undefined = false;
};

/// The walk over one body.
class BodyWalk {
public:
  explicit BodyWalk(PhaseA &phase, const FunctionProto *function)
      : phase(phase), errors(phase.errors), function(function) {
    if (!function)
      return;
    for (StringRef name : function->attribute)
      attributes.insert(name);
    for (const AttributeProto &a : function->attributeProto)
      attributes.insert(a.name);
  }

  void run(const Body &body, const std::string &path, const GraphProto *outer);

private:
  void enter(const Body &body, std::string path);
  void define(Scope &scope, StringRef name, Definition definition);
  void defineInitializers(Scope &scope);
  void visitNode(Scope &scope);
  void use(Scope &scope, StringRef name, uint64_t operand);
  void leave(Scope &scope);
  std::string atNode(const Scope &scope) const {
    return describeNode(scope.path, scope.node, scope.body.nodes[scope.node]);
  }
  std::string describe(const Definition &d) const;

  PhaseA &phase;
  CodedErrors &errors;
  const FunctionProto *function;
  NameSet attributes;
  std::vector<std::unique_ptr<Scope>> scopes;
  std::vector<const FunctionProto *> callees;
  uint64_t nodeCount = 0;
};

std::string BodyWalk::describe(const Definition &d) const {
  switch (d.kind) {
  case Definition::Input:
    return "input " + std::to_string(d.index);
  case Definition::Initializer:
    return "initializer " + std::to_string(d.index);
  case Definition::Node:
    return "node " + std::to_string(d.index);
  case Definition::Outer:
    return "the main graph";
  }
  return "";
}

void BodyWalk::define(Scope &scope, StringRef name, Definition definition) {
  auto where = [&] { return scope.path; };
  phase.checkName(name, "value name", where);
  if (name.empty()) {
    (void)errors.error("I301", where(),
                       describe(definition) + " has an empty name");
    return;
  }
  auto [it, added] = scope.names.try_emplace(name, definition);
  if (!added) {
    Definition &old = it->second;
    // Up to IR version 3 every initializer is listed as an input, too; the
    // initializer is its default value.
    if (old.kind == Definition::Input &&
        definition.kind == Definition::Initializer) {
      old = definition;
      return;
    }
    (void)errors.error("I301", where(),
                       "value " + quoteName(name) + " is defined by " +
                           describe(old) + " and by " + describe(definition));
    return;
  }
  for (size_t i = 0; i + 1 < scopes.size(); ++i) {
    auto outer = scopes[i]->names.find(name);
    if (outer == scopes[i]->names.end())
      continue;
    std::string what = "value " + quoteName(name) + " of " +
                       describe(definition) +
                       " hides the value of the same name that " +
                       describe(outer->second) + " of an outer graph defines";
    // Decoders nested in BeamSearch and the like do it with inputs.
    if (definition.kind == Definition::Node)
      (void)errors.error("I301", where(), what);
    else
      phase.habit("I301", where(), what);
    return;
  }
}

void BodyWalk::defineInitializers(Scope &scope) {
  const GraphProto &g = *scope.body.graph;
  for (auto [i, tensor] : enumerate(g.initializer)) {
    define(scope, tensor.name,
           {Definition::Initializer, static_cast<uint32_t>(i),
            tensor.dataType == static_cast<int32_t>(DataType::String)});
    (void)checkTensor(phase.file, tensor,
                      scope.path + ", initializer " + Twine(i) + " " +
                          quoteName(tensor.name),
                      errors);
    if (errors.isFull())
      return;
  }
  for (auto [i, sparse] : enumerate(g.sparseInitializer)) {
    StringRef name = sparse.values ? sparse.values->name : StringRef();
    define(scope, name,
           {Definition::Initializer,
            static_cast<uint32_t>(g.initializer.size() + i)});
    (void)checkSparse(phase.file, sparse,
                      scope.path + ", sparse initializer " + Twine(i) + " " +
                          quoteName(name),
                      errors);
    if (errors.isFull())
      return;
  }
}

void BodyWalk::enter(const Body &body, std::string path) {
  scopes.push_back(std::make_unique<Scope>());
  Scope &scope = *scopes.back();
  scope.body = body;
  scope.path = std::move(path);
  auto where = [&] { return scope.path; };

  nodeCount += body.nodes.size();
  phase.totalNodes += body.nodes.size();
  if (phase.totalNodes > phase.limits.maxNodes) {
    (void)errors.error("I303", where(),
                       "the model has more than " +
                           Twine(phase.limits.maxNodes) + " nodes",
                       {"the limit can be set by --max-nodes"});
    phase.stopped = true;
    return;
  }

  size_t expected = body.nodes.size();
  if (const GraphProto *g = body.graph)
    expected += g->input.size() + g->initializer.size();
  scope.names.reserve(expected);

  if (const GraphProto *g = body.graph) {
    phase.checkName(g->name, "graph name", where);
    bool isMain = g == phase.model.graph;
    for (auto [i, v] : enumerate(g->input)) {
      uint32_t index = i;
      define(scope, v.name, {Definition::Input, index});
      phase.checkType(v.type, isMain, [&, &v = v] {
        return scope.path + ", input " + std::to_string(index) + " " +
               quoteName(v.name);
      });
    }
    defineInitializers(scope);
    for (auto [list, kind] : {std::pair(g->output, "output"),
                              std::pair(g->valueInfo, "value_info")})
      for (auto [i, v] : enumerate(list)) {
        uint64_t index = i;
        phase.checkType(v.type, /*needed=*/false, [&, &v = v, kind = kind] {
          return scope.path + ", " + kind + " " + std::to_string(index) + " " +
                 quoteName(v.name);
        });
      }
    if (g->output.empty())
      (void)errors.error("I301", where(), "the graph has no outputs");
  } else {
    const FunctionProto &f = *body.function;
    for (auto [i, name] : enumerate(f.input))
      define(scope, name, {Definition::Input, static_cast<uint32_t>(i)});
    NameSet seen;
    for (StringRef name : f.attribute) {
      phase.checkName(name, "attribute name", where);
      if (name.empty() || !seen.insert(name).second)
        (void)errors.error("I501", where(),
                           "attribute " + quoteName(name) +
                               " of the function is empty or given twice");
    }
    // Defaults are checked as attributes of a node outside of functions.
    phase.checkAttributes(f.attributeProto, nullptr, where);
    for (const AttributeProto &a : f.attributeProto) {
      if (!seen.insert(a.name).second)
        (void)errors.error("I501", where(),
                           "attribute " + quoteName(a.name) +
                               " of the function is given twice");
      // A graph would be a body in a body of no node.
      if (!a.getAnyGraphs().empty())
        (void)errors.error("I501", where(),
                           "the default of attribute " + quoteName(a.name) +
                               " is a graph");
    }
    for (auto [i, v] : enumerate(f.valueInfo)) {
      uint64_t index = i;
      phase.checkType(v.type, /*needed=*/false, [&, &v = v] {
        return scope.path + ", value_info " + std::to_string(index) + " " +
               quoteName(v.name);
      });
    }
  }
  for (auto [i, node] : enumerate(body.nodes)) {
    for (StringRef name : node.output)
      if (!name.empty())
        define(scope, name, {Definition::Node, static_cast<uint32_t>(i)});
    if (errors.isFull())
      return;
  }
}

void BodyWalk::use(Scope &scope, StringRef name, uint64_t operand) {
  for (size_t depth = scopes.size(); depth-- > 0;) {
    Scope &holder = *scopes[depth];
    auto it = holder.names.find(name);
    if (it == holder.names.end())
      continue;
    const Definition &d = it->second;
    const NodeProto *user = scope.node < scope.body.nodes.size()
                                ? &scope.body.nodes[scope.node]
                                : nullptr;
    if (d.isString && user && normalizeDomain(user->domain).empty() &&
        !takesStrings(user->opType) && !phase.result.lookupFunction(*user))
      (void)errors.error("I207", atNode(scope) + ", input " + Twine(operand),
                         quoteName(name) +
                             " is a string tensor, which the operator does "
                             "not take");
    if (d.kind != Definition::Node)
      return;
    if (&holder != &scope)
      holder.captures.emplace_back(holder.node, d.index);
    if (d.index >= holder.node)
      holder.outOfOrder = true;
    return;
  }
  scope.undefined = true;
  phase.checkName(name, "value name", [&] { return scope.path; });
  (void)errors.error("I302", atNode(scope) + ", input " + Twine(operand),
                     "value " + quoteName(name) + " is not defined");
}

void BodyWalk::visitNode(Scope &scope) {
  const NodeProto &node = scope.body.nodes[scope.node];
  auto where = [&] { return atNode(scope); };
  phase.checkName(node.name, "node name", where);
  phase.checkName(node.opType, "operator name", where);
  phase.checkName(node.domain, "domain", where);
  if (node.opType.empty())
    (void)errors.error("I301", where(), "the node has no operator");
  phase.checkDomain(node, {{}, nullptr, function}, where);
  phase.checkAttributes(node.attribute, function ? &attributes : nullptr,
                        where);
  for (auto [i, name] : enumerate(node.input))
    if (!name.empty())
      use(scope, name, i);

  if (const FunctionProto *callee = phase.result.lookupFunction(node)) {
    callees.push_back(callee);
    if (node.input.size() > callee->input.size() ||
        node.output.size() > callee->output.size())
      (void)errors.error(
          "I503", where(),
          "function " + describeFunction(*callee) + " has " +
              Twine(callee->input.size()) + " inputs and " +
              Twine(callee->output.size()) + " outputs, the node has " +
              Twine(node.input.size()) + " and " + Twine(node.output.size()));
  }
  scope.nested.clear();
  scope.nestedPaths.clear();
  scope.nextNested = 0;
  for (const AttributeProto &a : node.attribute)
    for (auto [i, g] : enumerate(a.getAnyGraphs())) {
      scope.nested.push_back(&g);
      scope.nestedPaths.push_back(where() + ", attribute " + quoteName(a.name));
    }
}

void BodyWalk::leave(Scope &scope) {
  // Past the last node: all of them are visible.
  scope.node = scope.body.nodes.size();
  auto produced = [&](StringRef name, uint64_t index) {
    for (size_t depth = scopes.size(); depth-- > 0;) {
      Scope &holder = *scopes[depth];
      auto it = holder.names.find(name);
      if (it == holder.names.end())
        continue;
      // A nested graph may return a value of an outer one.
      if (&holder != &scope && it->second.kind == Definition::Node) {
        holder.captures.emplace_back(holder.node, it->second.index);
        holder.outOfOrder |= it->second.index >= holder.node;
      }
      return;
    }
    scope.undefined = true;
    (void)errors.error("I302", scope.path + ", output " + Twine(index),
                       name.empty()
                           ? std::string("the output has no name")
                           : "value " + quoteName(name) + " is not defined");
  };
  if (const GraphProto *g = scope.body.graph)
    for (auto [i, v] : enumerate(g->output))
      produced(v.name, i);
  else
    for (auto [i, name] : enumerate(scope.body.function->output))
      produced(name, i);

  if (!scope.outOfOrder || scope.undefined)
    return;
  std::vector<std::vector<uint32_t>> dependencies(scope.body.nodes.size());
  for (auto [i, node] : enumerate(scope.body.nodes))
    for (StringRef name : node.input) {
      auto it = scope.names.find(name);
      if (it != scope.names.end() && it->second.kind == Definition::Node)
        dependencies[i].push_back(it->second.index);
    }
  for (auto [user, used] : scope.captures)
    dependencies[user].push_back(used);
  phase.sortNodes(scope.body, scope.path, dependencies);
}

void BodyWalk::run(const Body &body, const std::string &path,
                   const GraphProto *outer) {
  if (outer) {
    // Training graphs see the values of the main graph, in any order.
    scopes.push_back(std::make_unique<Scope>());
    Scope &scope = *scopes.back();
    auto add = [&](StringRef name) {
      scope.names.try_emplace(name, Definition{Definition::Outer, 0});
    };
    for (const ValueInfoProto &v : outer->input)
      add(v.name);
    for (const TensorProto &t : outer->initializer)
      add(t.name);
    for (const SparseTensorProto &s : outer->sparseInitializer)
      if (s.values)
        add(s.values->name);
    for (const NodeProto &n : outer->node)
      for (StringRef name : n.output)
        add(name);
  }
  size_t base = scopes.size();
  enter(body, path);
  while (scopes.size() > base && !errors.isFull() && !phase.stopped) {
    Scope &scope = *scopes.back();
    if (scope.node >= scope.body.nodes.size()) {
      leave(scope);
      scopes.pop_back();
      continue;
    }
    if (!scope.nodeEntered) {
      scope.nodeEntered = true;
      visitNode(scope);
    }
    if (scope.nextNested < scope.nested.size()) {
      const GraphProto &g = *scope.nested[scope.nextNested];
      std::string nestedPath = scope.nestedPaths[scope.nextNested];
      ++scope.nextNested;
      uint64_t depth = scopes.size() - base;
      if (depth > phase.limits.maxSubgraphDepth) {
        (void)errors.error("I304", scope.path,
                           "graphs are nested " + Twine(depth) +
                               " deep, limit " +
                               Twine(phase.limits.maxSubgraphDepth),
                           {"the limit can be set by --max-subgraph-depth"});
        continue;
      }
      enter({g.node, &g, nullptr}, describeGraph(nestedPath, g));
      continue;
    }
    scope.nodeEntered = false;
    ++scope.node;
  }
  phase.calls[function].insert(phase.calls[function].end(), callees.begin(),
                               callees.end());
  phase.nodeCounts[function] += nodeCount;
}

} // namespace

void PhaseA::checkBody(const Body &body, const std::string &path,
                       const GraphProto *outer) {
  BodyWalk(*this, body.function).run(body, path, outer);
}

} // namespace mlir::ffn
