//===- VerifyModel.cpp - Phase B: checks of nodes on IR -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Ops/OpTable.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringSet.h"
#include <climits>

using namespace mlir;
using namespace mlir::ffn;

namespace {
class NodeVerifier {
public:
  NodeVerifier(const VerifyOptions &options) : options(options) {}
  LogicalResult verify(ModuleOp module);

private:
  LogicalResult verifyNode(onnx::NodeOp node);
  LogicalResult verifyOperator(onnx::NodeOp node, const Schema *&schema);
  LogicalResult verifyArity(onnx::NodeOp node, const Schema &schema);
  LogicalResult verifyAttributes(onnx::NodeOp node, const Schema &schema);
  LogicalResult verifyTypes(onnx::NodeOp node, const Schema &schema);

  LogicalResult error(onnx::NodeOp node, StringRef code, const Twine &what) {
    return node->emitError()
           << node.describe() << ": " << what << " [FFN-" << code << "]";
  }
  void warn(onnx::NodeOp node, StringRef code, const Twine &what) {
    // Each habit is told once an operator, and not for every node.
    if (warned.insert((code + node.getQualifiedName()).str()).second)
      node->emitWarning() << node.describe() << ": " << what << " [FFN-" << code
                          << "W]";
  }
  int typeNumber(Type type) {
    auto [it, inserted] = numbers.try_emplace(type, 0);
    if (inserted)
      it->second = getONNXTypeNumber(type);
    return it->second;
  }
  uint64_t typeBit(Type type);

  VerifyOptions options;
  llvm::StringSet<> functions;
  llvm::StringSet<> warned;
  DenseMap<Type, int> numbers;
};
} // namespace

//===----------------------------------------------------------------------===//
// Operator and arity
//===----------------------------------------------------------------------===//

/// Escaped and cut, for messages.
static std::string quote(StringRef name) {
  std::string text = "'";
  llvm::raw_string_ostream os(text);
  os.write_escaped(name.take_front(80));
  return text + "'";
}

LogicalResult NodeVerifier::verifyOperator(onnx::NodeOp node,
                                           const Schema *&schema) {
  int64_t version = std::min<int64_t>(node.getVersion(), INT_MAX);
  schema =
      lookupSchema(node.getDomain(), node.getOp(), static_cast<int>(version));
  if (schema && schema->deprecated)
    return error(node, "I401",
                 "the operator was removed from its domain in version " +
                     Twine(schema->sinceVersion));
  if (schema && schema->habit) {
    if (options.strict)
      return error(node, "I401",
                   "is no operator of opset " + Twine(version) +
                       " of the default domain");
    warn(node, "I401",
         "is no operator of the default domain at this opset; taken as the "
         "operator of ONNX Runtime");
  }
  if (schema)
    return success();
  if (isKnownOperator(node.getDomain(), node.getOp()))
    return error(node, "I401",
                 "the operator is newer than opset " + Twine(version) +
                     " that the model imports");
  // Other domains may hold anything; the default one is closed.
  if (node.getDomain().empty() || node.getDomain() == "ai.onnx")
    return error(node, "I401", "is no operator of the domain ai.onnx");
  return success();
}

static std::string describeArity(int min, int max, StringRef noun) {
  std::string text = std::to_string(min);
  if (max == INT_MAX)
    text += " or more";
  else if (max != min)
    text += (max == min + 1 ? " or " : " to ") + std::to_string(max);
  return text + " " + noun.str() + (max == 1 ? "" : "s");
}

LogicalResult NodeVerifier::verifyArity(onnx::NodeOp node,
                                        const Schema &schema) {
  // Absent values at the end count as left out.
  int inputs = node.getInputs().size(), outputs = node.getNumResults();
  while (inputs > 0 && !node.getInput(inputs - 1))
    --inputs;
  while (outputs > 0 && isa<NoneType>(node.getResult(outputs - 1).getType()))
    --outputs;
  auto check = [&](int count, int min, int max, StringRef noun) {
    if (count >= min && count <= max)
      return success();
    return LogicalResult(error(node, "I503",
                               "takes " + Twine(describeArity(min, max, noun)) +
                                   ", has " + Twine(count)));
  };
  if (failed(check(inputs, schema.minInputs, schema.maxInputs, "input")) ||
      failed(check(outputs, schema.minOutputs, schema.maxOutputs, "output")))
    return failure();
  int all = static_cast<int>(node.getInputs().size());
  for (int i = 0; i < all; ++i) {
    const ParamSchema *param = schema.getInput(i);
    // Behind the last input that is given, only a repeated one counts.
    if (param && !param->optional && (i < inputs || param->repeated) &&
        !node.getInput(i))
      return error(node, "I503",
                   "input " + Twine(i) + " is required and left out");
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

static AttrKind getKind(Attribute attr) {
  if (isa<FloatAttr>(attr))
    return AttrKind::Float;
  if (isa<IntegerAttr>(attr))
    return AttrKind::Int;
  if (isa<StringAttr>(attr))
    return AttrKind::String;
  if (isa<DenseF32ArrayAttr>(attr))
    return AttrKind::Floats;
  if (isa<DenseI64ArrayAttr>(attr))
    return AttrKind::Ints;
  if (isa<onnx::StringsAttr>(attr))
    return AttrKind::Strings;
  if (isa<onnx::GraphAttr>(attr))
    return AttrKind::Graph;
  if (isa<onnx::GraphsAttr>(attr))
    return AttrKind::Graphs;
  if (isa<onnx::TensorsAttr>(attr))
    return AttrKind::Tensors;
  if (isa<onnx::SparseAttr>(attr))
    return AttrKind::SparseTensor;
  if (isa<onnx::TypesAttr>(attr))
    return AttrKind::TypeProtos;
  if (isa<TypeAttr>(attr))
    return AttrKind::TypeProto;
  if (auto ref = dyn_cast<onnx::RefAttr>(attr))
    return ref.getKind() <= 14 ? static_cast<AttrKind>(ref.getKind())
                               : AttrKind::Undefined;
  if (isa<ElementsAttr, SpanAttr>(attr))
    return AttrKind::Tensor;
  return AttrKind::Undefined;
}

static StringRef describeKind(AttrKind kind) {
  static constexpr StringLiteral names[] = {
      "of no known kind", "a float", "an integer", "a string",
      "a tensor",         "a graph", "floats",     "integers",
      "strings",          "tensors", "graphs",     "a sparse tensor",
      "sparse tensors",   "a type",  "types"};
  auto index = static_cast<size_t>(kind);
  return names[index < std::size(names) ? index : 0];
}

LogicalResult NodeVerifier::verifyAttributes(onnx::NodeOp node,
                                             const Schema &schema) {
  for (NamedAttribute attr : node.getAttrs()) {
    const AttrSchema *expected = schema.findAttr(attr.getName());
    AttrKind kind = getKind(attr.getValue());
    if (!expected) {
      // Operators of ONNX Runtime grow attributes without a new version, and
      // its own LayerNormalization takes any (exporters misspell "epsilon").
      if (!node.getDomain().empty() || schema.habit) {
        warn(node, "I501",
             "attribute " + quote(attr.getName()) + " is not known");
        continue;
      }
      return error(node, "I501",
                   "attribute " + quote(attr.getName()) + " is not known");
    }
    if (kind != expected->kind)
      return error(node, "I501",
                   "attribute " + quote(attr.getName()) + " is " +
                       describeKind(kind) + ", " +
                       describeKind(expected->kind) + " is needed");
    if (isa<onnx::RefAttr>(attr.getValue()) &&
        !node->getParentOfType<onnx::FunctionOp>())
      return error(node, "I501",
                   "attribute " + quote(attr.getName()) +
                       " refers to a function's attribute outside a function");
  }
  for (const AttrSchema &attr : schema.attrs)
    if (attr.required && !node.getNodeAttr(attr.name))
      return error(node, "I501",
                   "attribute '" + attr.name + "' is required and missing");
  return success();
}

//===----------------------------------------------------------------------===//
// Element types
//===----------------------------------------------------------------------===//

/// The bit of the schema's masks for a type; 0 when nothing is known.
uint64_t NodeVerifier::typeBit(Type type) {
  if (auto tensor = dyn_cast<TensorType>(type)) {
    int number = typeNumber(tensor.getElementType());
    return number ? uint64_t(1) << number : uint64_t(1) << 63;
  }
  if (isa<onnx::SeqType>(type))
    return uint64_t(1) << 40;
  if (isa<onnx::OptionalType>(type))
    return uint64_t(1) << 41;
  if (isa<onnx::MapType>(type))
    return uint64_t(1) << 42;
  if (isa<onnx::SparseType>(type))
    return uint64_t(1) << 43;
  return 0;
}

LogicalResult NodeVerifier::verifyTypes(onnx::NodeOp node,
                                        const Schema &schema) {
  // Operators of ONNX Runtime grow types without a new version.
  if (!schema.domain.empty() || schema.habit)
    return success();
  for (auto [i, value] : llvm::enumerate(node.getInputs())) {
    const ParamSchema *param = schema.getInput(i);
    uint64_t bit = typeBit(value.getType());
    if (param && bit && !(param->allowed & bit)) {
      std::string text;
      llvm::raw_string_ostream(text) << value.getType();
      return error(node, "I207",
                   "input " + Twine(i) + " of type " + text +
                       " is not allowed");
    }
  }
  return success();
}

//===----------------------------------------------------------------------===//
// All
//===----------------------------------------------------------------------===//

LogicalResult NodeVerifier::verify(ModuleOp module) {
  for (auto function : module.getOps<onnx::FunctionOp>())
    functions.insert((function.getDomain() + "::" + function.getName()).str());
  auto forEachNode =
      [&](function_ref<LogicalResult(onnx::NodeOp, const Schema *)> visit) {
        WalkResult result =
            module.walk<WalkOrder::PreOrder>([&](onnx::NodeOp node) {
              if (functions.contains(
                      (node.getDomain() + "::" + node.getOp()).str()))
                return WalkResult::advance();
              const Schema *schema = nullptr;
              if (failed(verifyOperator(node, schema)) ||
                  failed(visit(node, schema)))
                return WalkResult::interrupt();
              return WalkResult::advance();
            });
        return failure(result.wasInterrupted());
      };
  if (failed(forEachNode([&](onnx::NodeOp node, const Schema *schema) {
        if (!schema)
          return success();
        return success(succeeded(verifyArity(node, *schema)) &&
                       succeeded(verifyAttributes(node, *schema)));
      })))
    return failure();
  if (options.inferShapes &&
      failed(SymbolicShapeAnalysis::run(module, /*refine=*/true)))
    return failure();
  return forEachNode([&](onnx::NodeOp node, const Schema *schema) {
    return schema ? verifyTypes(node, *schema) : success();
  });
}

LogicalResult ffn::verifyONNXModel(ModuleOp module,
                                   const VerifyOptions &options) {
  return NodeVerifier(options).verify(module);
}
