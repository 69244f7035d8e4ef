//===- Importer.cpp - ONNX file to IR -------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ImporterInternal.h"
#include "ffn-mlir/Dialect/ONNX/IR/Origin.h"
#include "ffn-mlir/Ops/OpTable.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "mlir/IR/Verifier.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace mlir::ffn;

ModelImporter::ModelImporter(const CheckedModel &checked, MLIRContext *ctx,
                             CodedErrors &errors)
    : checked(checked), file(checked.getFile()), model(checked.getModel()),
      ctx(ctx), builder(ctx), errors(errors),
      unknownType(onnx::UnknownType::get(ctx)) {}

Value ModelImporter::Scope::lookup(StringRef name) const {
  for (const Scope *scope = this; scope; scope = scope->parent)
    if (Value value = scope->values.lookup(name))
      return value;
  return {};
}

Location ModelImporter::getLocation(StringRef name, const Twine &otherwise) {
  return NameLoc::get(name.empty() ? builder.getStringAttr(otherwise)
                                   : builder.getStringAttr(name));
}

Value ModelImporter::getAbsent() {
  if (!absent) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(entry);
    absent = onnx::AbsentOp::create(builder, module->getLoc(),
                                    builder.getNoneType());
  }
  return absent;
}

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

LogicalResult ModelImporter::importNode(const proto::NodeProto &node,
                                        uint64_t index, Scope &scope,
                                        StringRef where) {
  // The text is needed only when something is wrong.
  auto place = [&] { return describeNode(where, index, node); };
  StringRef domain = normalizeDomain(node.domain);
  auto opset = scope.opsets->find(domain);
  int64_t version = opset == scope.opsets->end() ? 1 : opset->second;
  if (!checked.lookupFunction(node))
    if (const Schema *schema = lookupSchema(domain, node.opType, version))
      version = schema->sinceVersion;

  SmallVector<Value> inputs;
  for (StringRef name : node.input) {
    Value value = name.empty() ? getAbsent() : scope.lookup(name);
    if (!value)
      return errors.error("I302", place(),
                          "uses " + quoteName(name) + " before it is defined");
    inputs.push_back(value);
  }
  onnx::NameHints names;
  names.node = node.name.str();
  names.comments = getComments(node);
  SmallVector<Type> types;
  for (StringRef name : node.output) {
    types.push_back(name.empty() ? builder.getNoneType()
                                 : getDeclaredType(scope, name));
    names.outputs.push_back(name.str());
  }
  SmallVector<const proto::GraphProto *> graphs;
  std::string attributePlace = node.attribute.empty() ? "" : place();
  FailureOr<DictionaryAttr> attrs =
      importAttributes(node.attribute, attributePlace, graphs);
  if (failed(attrs))
    return failure();

  StringRef label = !node.name.empty()     ? node.name
                    : !node.output.empty() ? node.output.front()
                                           : StringRef();
  auto op = onnx::NodeOp::create(builder, builder.getUnknownLoc(), domain,
                                 node.opType, std::max<int64_t>(version, 1),
                                 types, inputs, attrs->getValue(),
                                 graphs.size(), std::move(names));
  op->setLoc(onnx::getNodeLocation(
      builder.getStringAttr(label.empty() ? node.opType + " " + Twine(index)
                                          : Twine(label)),
      index, op.getQualifiedName()));
  if (!node.getUnknown().empty())
    op->setAttr("onnx.unknown", getUnknown(node.getUnknown()));
  if (!node.getOverload().empty())
    op->setAttr("onnx.overload", builder.getStringAttr(node.getOverload()));
  for (auto [i, name] : llvm::enumerate(node.output))
    if (!name.empty() &&
        !scope.values.try_emplace(name, op->getResult(i)).second)
      return errors.error("I301", place(),
                          "defines " + quoteName(name) + " again");
  OpBuilder::InsertionGuard guard(builder);
  for (auto [i, graph] : llvm::enumerate(graphs))
    if (failed(importSubgraph(*graph, op.getGraphs()[i], scope, place())))
      return failure();
  return success();
}

LogicalResult ModelImporter::importNodes(ArrayRef<proto::NodeProto> nodes,
                                         ArrayRef<uint32_t> order, Scope &scope,
                                         StringRef where) {
  for (uint64_t i = 0; i < nodes.size(); ++i) {
    uint64_t index = order.empty() ? i : order[i];
    if (failed(importNode(nodes[index], index, scope, where)))
      return failure();
  }
  return success();
}

LogicalResult ModelImporter::importInitializers(const proto::GraphProto &graph,
                                                Scope &scope,
                                                const Twine &where) {
  auto define = [&](StringRef name, Value value) -> LogicalResult {
    if (scope.values.try_emplace(name, value).second)
      return success();
    return errors.error("I301", where,
                        "value " + quoteName(name) + " is defined twice");
  };
  /// Tensors that no ffn.weight can hold are marked Constant nodes.
  auto addConstant = [&](StringRef name, StringRef attribute, Attribute value,
                         Type type) {
    auto opset = scope.opsets->find("");
    const Schema *schema = lookupSchema(
        "", "Constant", opset == scope.opsets->end() ? 1 : opset->second);
    onnx::NameHints names;
    names.outputs.push_back(name.str());
    auto op = onnx::NodeOp::create(
        builder, getLocation(name, "initializer"), "", "Constant",
        schema ? schema->sinceVersion : 1, type, ValueRange(),
        builder.getNamedAttr(attribute, value), 0, std::move(names));
    op->setAttr("onnx.initializer", builder.getUnitAttr());
    return define(name, op->getResult(0));
  };
  for (const proto::TensorProto &tensor : graph.initializer) {
    std::string place =
        (where + ", initializer " + quoteName(tensor.name)).str();
    FailureOr<TypedAttr> value =
        importTensor(tensor, kInlineConstantBytes, place);
    if (failed(value))
      return failure();
    if (isa<DenseStringElementsAttr>(*value)) {
      if (failed(addConstant(tensor.name, "value", *value, value->getType())))
        return failure();
      continue;
    }
    auto weight = WeightOp::create(
        builder, getLocation(tensor.name, "initializer"), *value);
    NamedAttrList extra;
    addRareFields(tensor, "onnx.", extra);
    // A span has the name itself.
    if (!isa<SpanAttr>(*value))
      extra.set("onnx.name", builder.getStringAttr(tensor.name));
    weight->setDiscardableAttrs(extra.getDictionary(ctx));
    if (failed(define(tensor.name, weight)))
      return failure();
  }
  for (const proto::SparseTensorProto &sparse : graph.sparseInitializer) {
    StringRef name = sparse.values ? sparse.values->name : StringRef();
    std::string place =
        (where + ", sparse initializer " + quoteName(name)).str();
    FailureOr<Attribute> value = importSparseAttr(sparse, place);
    if (failed(value))
      return failure();
    FailureOr<RankedTensorType> type = getTensorType(*sparse.values, place);
    if (failed(type))
      return failure();
    if (failed(addConstant(
            name, "sparse_value", *value,
            RankedTensorType::get(sparse.dims, type->getElementType()))))
      return failure();
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Graphs and functions
//===----------------------------------------------------------------------===//

/// The types that a graph declares for its values.
template <typename ScopeT>
static void declare(const proto::GraphProto &graph, ScopeT &scope) {
  for (const proto::ValueInfoProto &info : graph.valueInfo)
    scope.declared.try_emplace(info.name, info.type);
  for (const proto::ValueInfoProto &info : graph.output)
    scope.declared.try_emplace(info.name, info.type);
}

LogicalResult ModelImporter::collectOutputs(const proto::GraphProto &graph,
                                            const Scope &scope,
                                            const Twine &where,
                                            SmallVectorImpl<Value> &values) {
  for (const proto::ValueInfoProto &info : graph.output) {
    Value value = scope.lookup(info.name);
    if (!value)
      return errors.error(
          "I301", where, "output " + quoteName(info.name) + " is not produced");
    values.push_back(value);
  }
  return success();
}

LogicalResult ModelImporter::importSubgraph(const proto::GraphProto &graph,
                                            Region &region, const Scope &parent,
                                            const Twine &where) {
  std::string place = describeGraph(where.str(), graph);
  Scope scope;
  scope.parent = &parent;
  scope.opsets = parent.opsets;
  declare(graph, scope);
  Block *block = builder.createBlock(&region);
  SmallVector<Attribute> args, results;
  for (const proto::ValueInfoProto &info : graph.input) {
    Value value = block->addArgument(importType(info.type),
                                     getLocation(info.name, "input"));
    if (!scope.values.try_emplace(info.name, value).second)
      return errors.error("I301", place,
                          "input " + quoteName(info.name) + " is given twice");
    args.push_back(getValueInfo(info));
  }
  for (const proto::ValueInfoProto &info : graph.output)
    results.push_back(getValueInfo(info));
  SmallVector<Value> values;
  if (failed(importInitializers(graph, scope, place)) ||
      failed(
          importNodes(graph.node, checked.getNodeOrder(graph), scope, place)) ||
      failed(collectOutputs(graph, scope, place, values)))
    return failure();
  auto yield = onnx::YieldOp::create(builder, module->getLoc(), values);
  // What an operation on a region cannot say: names of its arguments and
  // results, and what the file remarks on the graph.
  NamedAttrList extra;
  if (!args.empty())
    extra.set("onnx.args", builder.getArrayAttr(args));
  if (!results.empty())
    extra.set("onnx.results", builder.getArrayAttr(results));
  addRareFields(graph, "onnx.", extra);
  if (!graph.quantizationAnnotation.empty())
    extra.set("onnx.quantization",
              getQuantization(graph.quantizationAnnotation));
  yield->setDiscardableAttrs(extra.getDictionary(ctx));
  return success();
}

LogicalResult
ModelImporter::importFunction(const proto::FunctionProto &function) {
  std::string place = "function " + quoteName(function.name);
  SmallVector<const proto::GraphProto *> graphs;
  FailureOr<DictionaryAttr> defaults =
      importAttributes(function.attributeProto, place, graphs);
  if (failed(defaults))
    return failure();
  if (!graphs.empty())
    return errors.error("I501", place, "a graph cannot be a default value");
  NamedAttrList opsets;
  for (const auto &entry : checked.getOpsets(function))
    opsets.set(entry.getKey().empty() ? "ai.onnx" : entry.getKey(),
               builder.getI64IntegerAttr(entry.getValue()));

  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToEnd(module->getBody());
  auto op = onnx::FunctionOp::create(
      builder, getLocation(function.name, "function"),
      builder.getStringAttr(function.name),
      builder.getStringAttr(normalizeDomain(function.domain)),
      builder.getStringAttr(function.getOverload()), opsets.getDictionary(ctx),
      builder.getStrArrayAttr(function.attribute), *defaults);
  NamedAttrList functionExtra;
  addRareFields(function, "onnx.", functionExtra);
  NamedAttrList comments;
  addAttributeComments(function.attributeProto, comments);
  if (!comments.empty())
    functionExtra.set("onnx.comments", comments.getDictionary(ctx));
  for (NamedAttribute attr : functionExtra)
    op->setAttr(attr.getName(), attr.getValue());

  entry = builder.createBlock(&op.getBody());
  absent = {};
  Scope scope;
  scope.opsets = &checked.getOpsets(function);
  for (const proto::ValueInfoProto &info : function.valueInfo)
    scope.declared.try_emplace(info.name, info.type);
  auto named = [&](StringRef name) -> Attribute {
    NamedAttrList attrs;
    attrs.set("onnx.name", builder.getStringAttr(name));
    auto declared = scope.declared.find(name);
    if (declared != scope.declared.end() && declared->second)
      addTypeInfo(*declared->second, attrs);
    return attrs.getDictionary(ctx);
  };
  SmallVector<Attribute> args, results;
  for (StringRef name : function.input) {
    Value value = entry->addArgument(getDeclaredType(scope, name),
                                     getLocation(name, "input"));
    if (!scope.values.try_emplace(name, value).second)
      return errors.error("I301", place,
                          "input " + quoteName(name) + " is given twice");
    args.push_back(named(name));
  }
  if (failed(importNodes(function.node, checked.getNodeOrder(function), scope,
                         place)))
    return failure();
  SmallVector<Value> values;
  for (StringRef name : function.output) {
    Value value = scope.lookup(name);
    if (!value)
      return errors.error("I301", place,
                          "output " + quoteName(name) + " is not produced");
    values.push_back(value);
    results.push_back(named(name));
  }
  auto yield = onnx::YieldOp::create(builder, module->getLoc(), values);
  NamedAttrList extra;
  if (!args.empty())
    extra.set("onnx.args", builder.getArrayAttr(args));
  if (!results.empty())
    extra.set("onnx.results", builder.getArrayAttr(results));
  yield->setDiscardableAttrs(extra.getDictionary(ctx));
  return success();
}

LogicalResult ModelImporter::importMain() {
  const proto::GraphProto &graph = *model.graph;
  std::string place = describeGraph("", graph);
  Scope scope;
  scope.opsets = &checked.getOpsets();
  declare(graph, scope);

  llvm::DenseSet<StringRef> initialized;
  for (const proto::TensorProto &tensor : graph.initializer)
    initialized.insert(tensor.name);
  for (const proto::SparseTensorProto &sparse : graph.sparseInitializer)
    if (sparse.values)
      initialized.insert(sparse.values->name);

  builder.setInsertionPointToEnd(module->getBody());
  auto func = func::FuncOp::create(builder, getLocation(graph.name, "main"),
                                   "main", builder.getFunctionType({}, {}));
  entry = func.addEntryBlock();
  absent = {};
  builder.setInsertionPointToEnd(entry);
  SmallVector<Attribute> args, results;
  std::vector<std::string> defaults;
  for (const proto::ValueInfoProto &info : graph.input) {
    // An input with an initializer is a constant here; the name stays in
    // `onnx.model`, so that export lists it again.
    if (initialized.contains(info.name)) {
      defaults.push_back(quoteName(info.name));
      continue;
    }
    Value value = entry->addArgument(importType(info.type),
                                     getLocation(info.name, "input"));
    if (!scope.values.try_emplace(info.name, value).second)
      return errors.error("I301", place,
                          "input " + quoteName(info.name) + " is given twice");
    args.push_back(getValueInfo(info));
  }
  // Before version 4 every initializer had to be listed, and was a constant.
  if (model.irVersion >= 4 && !defaults.empty()) {
    size_t count = defaults.size();
    defaults.resize(std::min<size_t>(count, 3));
    errors.warning("I305", place,
                   llvm::join(defaults, ", ") +
                       (count > 3 ? ", ... (" + std::to_string(count) + ")"
                                  : std::string()) +
                       ": inputs with a default value are constants here",
                   {"callers cannot give other values; to have an input take "
                    "its initializer out of the file"});
  }
  for (const proto::ValueInfoProto &info : graph.output)
    results.push_back(getValueInfo(info));
  SmallVector<Value> values;
  if (failed(importInitializers(graph, scope, place)) ||
      failed(
          importNodes(graph.node, checked.getNodeOrder(graph), scope, place)) ||
      failed(collectOutputs(graph, scope, place, values)))
    return failure();
  func::ReturnOp::create(builder, module->getLoc(), values);
  func.setFunctionType(builder.getFunctionType(entry->getArgumentTypes(),
                                               ValueRange(values).getTypes()));
  func.setArgAttrsAttr(builder.getArrayAttr(args));
  func.setResAttrsAttr(builder.getArrayAttr(results));
  return success();
}

//===----------------------------------------------------------------------===//
// Model
//===----------------------------------------------------------------------===//

void ModelImporter::setModelAttribute() {
  const proto::GraphProto &graph = *model.graph;
  NamedAttrList attrs;
  auto setText = [&](StringRef name, StringRef text) {
    if (!text.empty())
      attrs.set(name, builder.getStringAttr(text));
  };
  attrs.set("ir_version", builder.getI64IntegerAttr(model.irVersion));
  NamedAttrList opsets;
  for (const auto &entry : checked.getOpsets())
    opsets.set(entry.getKey().empty() ? "ai.onnx" : entry.getKey(),
               builder.getI64IntegerAttr(entry.getValue()));
  attrs.set("opset_imports", opsets.getDictionary(ctx));
  setText("producer_name", model.producerName);
  setText("producer_version", model.producerVersion);
  setText("domain", model.domain);
  if (model.hasModelVersion)
    attrs.set("model_version", builder.getI64IntegerAttr(model.modelVersion));
  addRareFields(model, "", attrs);
  attrs.set("graph_name", builder.getStringAttr(graph.name));
  addRareFields(graph, "graph_", attrs);
  if (!graph.quantizationAnnotation.empty())
    attrs.set("quantization", getQuantization(graph.quantizationAnnotation));

  auto func = module->lookupSymbol<func::FuncOp>("main");
  if (func.getNumArguments() != graph.input.size()) {
    SmallVector<StringRef> names;
    for (const proto::ValueInfoProto &info : graph.input)
      names.push_back(info.name);
    attrs.set("inputs", builder.getStrArrayAttr(names));
  }
  (*module)->setAttr("onnx.model", attrs.getDictionary(ctx));
}

void ModelImporter::addFileOps() {
  builder.setInsertionPointToStart(module->getBody());
  WeightStore &store = WeightStore::get(ctx);
  StringRef modelPath = file.getFile().getPath();
  StringRef folder = llvm::sys::path::parent_path(modelPath);
  StringRef name = llvm::sys::path::filename(modelPath);
  store.setBaseDirectory(folder);
  auto add = [&](StringRef symbol, StringRef path,
                 std::shared_ptr<SafeFile> safe) {
    FileOp::create(builder, module->getLoc(), builder.getStringAttr(symbol),
                   builder.getStringAttr(path),
                   builder.getI64IntegerAttr(safe->getSize()), StringAttr());
    store.registerFile(path, std::move(safe));
  };
  add("model", name, file.getSharedFile());
  for (auto &[location, safe] : externalFiles)
    add(fileSymbols.find(location)->second.getValue(), location, safe);
  FileOp::create(builder, module->getLoc(), builder.getStringAttr(kDerivedFile),
                 builder.getStringAttr((name + ".weights").str()),
                 IntegerAttr(), StringAttr());
}

OwningOpRef<ModuleOp> ModelImporter::run() {
  StringRef name = llvm::sys::path::filename(file.getFile().getPath());
  module = ModuleOp::create(getLocation(name, "model"));
  if (!model.trainingInfo.empty()) {
    if (file.getOptions().strict) {
      (void)errors.error("I003", "model", "training info is not supported");
      return {};
    }
    errors.warning("I003", "model", "training info is dropped");
  }
  if (failed(importMain()))
    return {};
  for (const proto::FunctionProto &function : model.functions)
    if (failed(importFunction(function)))
      return {};
  setModelAttribute();
  addFileOps();
  return std::move(module);
}

//===----------------------------------------------------------------------===//
// Entry points
//===----------------------------------------------------------------------===//

static OwningOpRef<ModuleOp> importChecked(std::unique_ptr<ModelFile> file,
                                           StringRef path, MLIRContext *ctx,
                                           const ImportOptions &options,
                                           CodedErrors &errors) {
  ctx->loadDialect<onnx::ONNXDialect, FFNDialect, func::FuncDialect>();
  Location loc = NameLoc::get(StringAttr::get(
      ctx, path.empty() ? "model" : llvm::sys::path::filename(path)));
  OwningOpRef<ModuleOp> module;
  if (file)
    if (std::unique_ptr<CheckedModel> checked = checkModel(*file, errors)) {
      module = ModelImporter(*checked, ctx, errors).run();
      if (failed(file->checkUnchanged(errors)))
        module = {};
    }
  if (failed(emitCodedErrors(loc, errors)) || !module)
    return {};
  file.reset();
  if (failed(verify(*module))) {
    emitError(loc) << "import made invalid IR; this is a defect of ffn-mlir "
                      "[FFN-I901]";
    return {};
  }
  VerifyOptions verifyOptions;
  verifyOptions.strict = options.strict;
  verifyOptions.inferShapes = options.inferShapes;
  if (failed(verifyONNXModel(*module, verifyOptions)))
    return {};
  return module;
}

OwningOpRef<ModuleOp> mlir::ffn::importONNX(StringRef path, MLIRContext *ctx,
                                            const ImportOptions &options) {
  CodedErrors errors;
  std::unique_ptr<ModelFile> file = ModelFile::read(path, options, errors);
  return importChecked(std::move(file), path, ctx, options, errors);
}

OwningOpRef<ModuleOp> mlir::ffn::importONNXBytes(ArrayRef<uint8_t> bytes,
                                                 StringRef name,
                                                 MLIRContext *ctx,
                                                 const ImportOptions &options) {
  CodedErrors errors;
  std::unique_ptr<ModelFile> file =
      ModelFile::parse(bytes, name, options, errors);
  return importChecked(std::move(file), name, ctx, options, errors);
}

int64_t mlir::ffn::getImportedOpset(Operation *op, StringRef domain) {
  for (; op; op = op->getParentOp()) {
    DictionaryAttr opsets;
    if (auto function = dyn_cast<onnx::FunctionOp>(op))
      opsets = function.getOpsets();
    else if (auto model = op->getAttrOfType<DictionaryAttr>("onnx.model"))
      opsets = model.getAs<DictionaryAttr>("opset_imports");
    if (!opsets)
      continue;
    auto version =
        opsets.getAs<IntegerAttr>(domain.empty() ? "ai.onnx" : domain);
    return version ? version.getInt() : 0;
  }
  return 0;
}
