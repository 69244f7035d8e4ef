//===- Exporter.cpp - IR to ONNX file -------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ExporterInternal.h"
#include "ffn-mlir/Import/ReadOptions.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "ffn-mlir/Support/OutputPath.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "llvm/Support/FileSystem.h"

using namespace mlir;
using namespace mlir::ffn;

ModelExporter::ModelExporter(ModuleOp module, StringRef path,
                             const ExportOptions &options)
    : module(module), path(path.str()), options(options),
      ctx(module.getContext()),
      model(module->getAttrOfType<DictionaryAttr>("onnx.model")) {
  if (!model)
    model = DictionaryAttr::get(ctx);
}

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

LogicalResult ModelExporter::writeNode(onnx::NodeOp node, const Scope &scope,
                                       uint32_t fieldNumber) {
  auto message = writer.message(fieldNumber);
  for (Value input : node.getInputs()) {
    if (isa<NoneType>(input.getType())) {
      writer.writeString(1, "");
      continue;
    }
    auto it = names.find(input);
    if (it == names.end())
      return node->emitError()
             << node.describe() << ": an input of type " << input.getType()
             << " comes from '"
             << (input.getDefiningOp()
                     ? input.getDefiningOp()->getName().getStringRef()
                     : StringRef("a block argument"))
             << "', which has no ONNX form [FFN-E201]";
    writer.writeString(1, it->second);
  }
  for (Value output : node.getOutputs())
    writer.writeString(2, names.lookup(output));
  const onnx::NameHints &hints = node.getProperties().names;
  writer.writeStringIfSet(3, hints.node);
  writer.writeString(4, node.getOp());
  for (NamedAttribute attr : node.getAttrs())
    if (failed(writeAttribute(node, attr.getName(), attr.getValue(), scope, 5)))
      return failure();
  writeRareFields(hints.comments, "", 6, 9);
  writer.writeStringIfSet(7, node.getDomain());
  if (auto overload = node->getAttrOfType<StringAttr>("onnx.overload"))
    writer.writeStringIfSet(8, overload);
  if (auto bytes = node->getAttrOfType<StringAttr>("onnx.unknown"))
    writer.writeRaw(bytes.getValue());
  return success();
}

/// A marked Constant: an initializer that no ffn.weight can hold.
static bool isInitializer(onnx::NodeOp node) {
  return node->hasAttr("onnx.initializer") && node.is("Constant") &&
         node.getInputs().empty() && node.getNumResults() == 1 &&
         node.getAttrs().size() == 1;
}

/// Weights that only make up others do not appear in the file.
static bool isWritten(Operation *weight) {
  return weight->use_empty() ||
         llvm::any_of(weight->getUsers(), [](Operation *user) {
           return !isa<WeightExprInterface>(user);
         });
}

LogicalResult ModelExporter::writeNodes(Block &block, Scope &scope,
                                        uint32_t fieldNumber) {
  bool isFunction = scope.kind == ScopeKind::Function;
  for (Operation &op : block) {
    if (auto node = dyn_cast<onnx::NodeOp>(op)) {
      if (!isFunction && isInitializer(node))
        continue;
      if (failed(writeNode(node, scope, fieldNumber)))
        return failure();
    } else if (auto weight = dyn_cast<WeightOp>(op)) {
      // A function has no initializers.
      if (!isFunction || !isWritten(weight))
        continue;
      auto message = writer.message(fieldNumber);
      writer.writeString(2, names.lookup(weight));
      writer.writeString(4, "Constant");
      auto attribute = writer.message(5);
      writer.writeString(1, "value");
      writer.writeInt(20, 4);
      if (failed(writeTensor(weight, weight.getValue(), "", 5)))
        return failure();
    } else if (isa<WeightExprInterface>(op)) {
      if (!isWritten(&op))
        continue;
      return op.emitError("weight expression '")
             << op.getName()
             << "' must be computed first; run --ffn-materialize-weights "
                "[FFN-E201]";
    } else if (!isa<onnx::AbsentOp>(op) &&
               !op.hasTrait<OpTrait::IsTerminator>()) {
      InFlightDiagnostic error = op.emitError("operation '")
                                 << op.getName() << "' has no ONNX form";
      if (isa_and_present<FFNDialect>(op.getDialect()))
        error << "; run --ffn-decompose";
      return error << " [FFN-E201]";
    }
  }
  for (auto &[value, name] : scope.copies) {
    auto message = writer.message(fieldNumber);
    auto source = names.find(value);
    if (source == names.end())
      return emitError(value.getLoc())
             << "output '" << name << "' has no ONNX form [FFN-E201]";
    writer.writeString(1, source->second);
    writer.writeString(2, name);
    writer.writeString(4, "Identity");
  }
  return success();
}

LogicalResult ModelExporter::writeInitializers(Block &block, Scope &scope) {
  for (Operation &op : block) {
    if (auto weight = dyn_cast<WeightOp>(op); weight && isWritten(&op)) {
      if (failed(writeTensor(weight, weight.getValue(), names.lookup(weight),
                             field::GraphInitializer,
                             op.getDiscardableAttrDictionary())))
        return failure();
    } else if (auto node = dyn_cast<onnx::NodeOp>(op);
               node && isInitializer(node)) {
      Attribute value = node.getAttrs().begin()->getValue();
      StringRef name = names[node->getResult(0)];
      LogicalResult result = success();
      if (auto sparse = dyn_cast<onnx::SparseAttr>(value))
        result = writeSparse(node, sparse, name, field::GraphSparseInitializer);
      else
        result = writeTensor(node, value, name, field::GraphInitializer);
      if (failed(result))
        return failure();
    }
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Graphs and functions
//===----------------------------------------------------------------------===//

void ModelExporter::writeValueInfos(Block &block, const Scope &scope,
                                    uint32_t fieldNumber) {
  llvm::StringSet<> outputs;
  for (const std::string &name : scope.outputs)
    outputs.insert(name);
  for (Operation &op : block) {
    auto node = dyn_cast<onnx::NodeOp>(op);
    if (!node || isInitializer(node))
      continue;
    for (Value value : node.getOutputs()) {
      Type type = value.getType();
      if (isa<NoneType, onnx::UnknownType>(type))
        continue;
      const std::string &name = names[value];
      if (!outputs.contains(name))
        writeValueInfo(fieldNumber, name, type, value, {});
    }
  }
}

LogicalResult ModelExporter::writeSubgraph(Region &region, StringRef name,
                                           const Scope &parent,
                                           uint32_t fieldNumber) {
  if (!region.hasOneBlock())
    return region.getParentOp()->emitError(
        "a subgraph must have one block [FFN-E201]");
  Block &block = region.front();
  Operation *yield = block.getTerminator();
  Scope scope(ScopeKind::Subgraph, &parent.names);
  auto args = yield->getAttrOfType<ArrayAttr>("onnx.args");
  auto results = yield->getAttrOfType<ArrayAttr>("onnx.results");
  nameValues(block, scope, args, results);

  auto graph = writer.message(fieldNumber);
  if (failed(writeNodes(block, scope, field::GraphNode)))
    return failure();
  writer.writeString(field::GraphName, name);
  if (failed(writeInitializers(block, scope)))
    return failure();
  for (BlockArgument arg : block.getArguments())
    writeValueInfo(field::GraphInput, names[arg], arg.getType(), arg,
                   getEntry(args, arg.getArgNumber()));
  for (auto [i, value] : llvm::enumerate(yield->getOperands()))
    writeValueInfo(field::GraphOutput, scope.outputs[i], value.getType(), value,
                   getEntry(results, i));
  writeValueInfos(block, scope, field::GraphValueInfo);
  DictionaryAttr extra = yield->getDiscardableAttrDictionary();
  writeQuantization(extra.getAs<ArrayAttr>("onnx.quantization"));
  writeRareFields(extra, "onnx.", field::GraphDoc, field::GraphMetadata);
  return success();
}

LogicalResult ModelExporter::writeFunction(onnx::FunctionOp function) {
  if (!function.getBody().hasOneBlock() ||
      !isa_and_present<onnx::YieldOp>(function.getBody().front().empty()
                                          ? nullptr
                                          : &function.getBody().front().back()))
    return function.emitError("function '")
           << function.getName()
           << "' must have one block that ends with onnx.yield [FFN-E200]";
  Block &block = function.getBody().front();
  Operation *yield = block.getTerminator();
  Scope scope(ScopeKind::Function, nullptr);
  auto args = yield->getAttrOfType<ArrayAttr>("onnx.args");
  auto results = yield->getAttrOfType<ArrayAttr>("onnx.results");
  nameValues(block, scope, args, results);

  std::map<std::string, int64_t> versions;
  if (failed(chooseOpsets(function.getBody(), function.getOpsets(), versions)))
    return failure();
  auto message = writer.message(25);
  writer.writeString(1, function.getName());
  for (BlockArgument arg : block.getArguments())
    writer.writeString(4, names[arg]);
  for (const std::string &name : scope.outputs)
    writer.writeString(5, name);
  for (Attribute formal : function.getFormals())
    if (auto text = dyn_cast<StringAttr>(formal))
      writer.writeString(6, text);
  if (failed(writeNodes(block, scope, 7)))
    return failure();
  writeOpsets(versions, 9);
  writer.writeString(10, function.getDomain());
  for (NamedAttribute attr : function.getDefaults())
    if (failed(writeAttribute(function, attr.getName(), attr.getValue(), scope,
                              11)))
      return failure();
  constexpr uint32_t valueInfo = 12;
  for (BlockArgument arg : block.getArguments())
    if (!isa<onnx::UnknownType, NoneType>(arg.getType()))
      writeValueInfo(valueInfo, names[arg], arg.getType(), arg,
                     getEntry(args, arg.getArgNumber()));
  for (auto [i, value] : llvm::enumerate(yield->getOperands()))
    if (!isa<BlockArgument>(value) &&
        !isa<onnx::UnknownType, NoneType>(value.getType()))
      writeValueInfo(valueInfo, scope.outputs[i], value.getType(), value,
                     getEntry(results, i));
  writeValueInfos(block, scope, valueInfo);
  writer.writeStringIfSet(13, function.getOverload());
  writeRareFields(function->getDiscardableAttrDictionary(), "onnx.", 8, 14);
  return success();
}

LogicalResult ModelExporter::writeMainGraph() {
  Block &block = main.getBody().front();
  Operation *ret = block.getTerminator();
  ArrayAttr args = main.getArgAttrsAttr(), results = main.getResAttrsAttr();
  Scope scope(ScopeKind::Main, nullptr);
  nameValues(block, scope, args, results);

  auto graph = writer.message(7);
  if (failed(writeNodes(block, scope, field::GraphNode)))
    return failure();
  auto name = model.getAs<StringAttr>("graph_name");
  writer.writeString(field::GraphName, name ? name.getValue() : "main");
  if (failed(writeInitializers(block, scope)))
    return failure();

  // Initializers that the file listed as inputs, in its order; before IR
  // version 4 all of them must be inputs.
  llvm::MapVector<StringRef, std::pair<Value, DictionaryAttr>> inputs;
  llvm::StringMap<Value> weights;
  for (Operation &op : block)
    if ((isa<WeightOp>(op) && isWritten(&op)) ||
        (isa<onnx::NodeOp>(op) && isInitializer(cast<onnx::NodeOp>(op))))
      weights[names[op.getResult(0)]] = op.getResult(0);
  llvm::StringMap<BlockArgument> arguments;
  for (BlockArgument arg : block.getArguments())
    arguments[names[arg]] = arg;
  auto addInput = [&](BlockArgument arg) {
    inputs.insert({names[arg], {arg, getEntry(args, arg.getArgNumber())}});
  };
  if (auto listed = model.getAs<ArrayAttr>("inputs"))
    for (Attribute entry : listed) {
      auto text = dyn_cast<StringAttr>(entry);
      if (!text)
        continue;
      if (auto arg = arguments.find(text); arg != arguments.end())
        addInput(arg->second);
      else if (auto weight = weights.find(text); weight != weights.end())
        inputs.insert({weight->first(), {weight->second, {}}});
    }
  for (BlockArgument arg : block.getArguments())
    addInput(arg);
  if (irVersion < 4)
    for (Operation &op : block)
      if (op.getNumResults() == 1 && weights.contains(names[op.getResult(0)]))
        inputs.insert({names[op.getResult(0)], {op.getResult(0), {}}});
  for (auto &[inputName, input] : inputs)
    writeValueInfo(field::GraphInput, inputName, input.first.getType(),
                   input.first, input.second);
  for (auto [i, value] : llvm::enumerate(ret->getOperands()))
    writeValueInfo(field::GraphOutput, scope.outputs[i], value.getType(), value,
                   getEntry(results, i));
  writeValueInfos(block, scope, field::GraphValueInfo);
  writeQuantization(model.getAs<ArrayAttr>("quantization"));
  writeRareFields(model, "graph_", field::GraphDoc, field::GraphMetadata);
  return success();
}

//===----------------------------------------------------------------------===//
// Model
//===----------------------------------------------------------------------===//

LogicalResult ModelExporter::findMain() {
  main = module.lookupSymbol<func::FuncOp>("main");
  if (!main) {
    for (auto function : module.getOps<func::FuncOp>()) {
      if (!function.isPublic())
        continue;
      if (main)
        return module.emitError("several functions and none of the name "
                                "'main' [FFN-E200]");
      main = function;
    }
  }
  if (!main)
    return module.emitError("there is no function to export [FFN-E200]");
  if (!main.getBody().hasOneBlock() ||
      !isa<func::ReturnOp>(main.getBody().front().back()))
    return main.emitError("function '")
           << main.getName()
           << "' must have one block that ends with func.return [FFN-E200]";
  return success();
}

LogicalResult ModelExporter::writeModel() {
  auto setText = [&](uint32_t number, StringRef key) {
    if (auto text = model.getAs<StringAttr>(key))
      writer.writeString(number, text);
  };
  if (auto version = model.getAs<IntegerAttr>("ir_version"))
    irVersion = version.getInt();
  writer.writeInt(1, irVersion);
  setText(2, "producer_name");
  setText(3, "producer_version");
  setText(4, "domain");
  if (auto version = model.getAs<IntegerAttr>("model_version"))
    writer.writeInt(5, version.getInt());
  if (failed(writeMainGraph()))
    return failure();
  std::map<std::string, int64_t> versions;
  if (failed(chooseOpsets(main.getBody(),
                          model.getAs<DictionaryAttr>("opset_imports"),
                          versions)))
    return failure();
  writeOpsets(versions, 8);
  for (auto function : module.getOps<onnx::FunctionOp>())
    if (failed(writeFunction(function)))
      return failure();
  writeRareFields(model, "", 6, 14);
  return success();
}

LogicalResult ModelExporter::run() {
  if (failed(findMain()))
    return failure();
  if (options.inferShapes) {
    FailureOr<SymbolicShapeAnalysis> analysis =
        SymbolicShapeAnalysis::run(module, /*refine=*/false);
    if (failed(analysis))
      return failure();
    shapes.emplace(std::move(*analysis));
  }
  uint64_t total = 0;
  module.walk([&](WeightOp weight) {
    if (FailureOr<uint64_t> size = getPackedByteSize(weight.getType());
        succeeded(size))
      total += *size;
  });
  auto report = [&](LogicalResult result) {
    if (failed(emitCodedErrors(module.getLoc(), errors)))
      return failure();
    return result;
  };
  isExternal = total > options.externalDataThreshold ||
               options.externalDataThreshold == 0;
  if (failed(checkOutputPath(module, path)))
    return failure();
  if (isExternal) {
    externalPath = path + ".data";
    if (failed(checkOutputPath(module, externalPath)))
      return failure();
    if (failed(externalData.create(externalPath, errors)))
      return report(failure());
  }
  if (failed(writeModel()))
    return report(failure());
  if (writer.getSize() > ImportLimits().maxProtobufBytes)
    return module.emitError("the model without external data takes ")
           << writer.getSize() << " bytes, protobuf allows "
           << ImportLimits().maxProtobufBytes << " [FFN-E205]";
  OutputFile file;
  if (failed(file.create(path, errors)) || failed(writer.writeTo(file, errors)))
    return report(failure());
  if (isExternal && failed(externalData.commit()))
    return report(failure());
  if (failed(file.commit())) {
    if (isExternal)
      llvm::sys::fs::remove(externalPath);
    return report(failure());
  }
  return success();
}

LogicalResult mlir::ffn::exportONNX(ModuleOp module, StringRef path,
                                    const ExportOptions &options) {
  return ModelExporter(module, path, options).run();
}
