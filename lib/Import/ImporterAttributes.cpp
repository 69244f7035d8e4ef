//===- ImporterAttributes.cpp - Attributes of nodes, and tensors ----------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ImporterInternal.h"
#include "ffn-mlir/Support/WeightStore.h"

using namespace mlir;
using namespace mlir::ffn;
using proto::AttributeKind;

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

DenseElementsAttr mlir::ffn::makeDenseElements(RankedTensorType type,
                                               ArrayRef<uint8_t> bytes) {
  FailureOr<uint64_t> size = getPackedByteSize(type);
  if (failed(size) || *size != bytes.size())
    return {};
  Type element = type.getElementType();
  if (bytes.empty())
    return DenseElementsAttr::get(type, ArrayRef<Attribute>());
  if (element.isInteger(1)) {
    SmallVector<bool> values;
    for (uint8_t byte : bytes)
      values.push_back(byte != 0);
    return DenseElementsAttr::get(type, values);
  }
  unsigned bits = element.isIntOrFloat() ? element.getIntOrFloatBitWidth() : 64;
  if (bits % 8 == 0)
    return DenseElementsAttr::getFromRawBuffer(
        type, ArrayRef<char>(reinterpret_cast<const char *>(bytes.data()),
                             bytes.size()));
  SmallVector<APInt> values;
  uint64_t position = 0;
  for (int64_t i = 0, n = type.getNumElements(); i < n; ++i) {
    uint64_t value = 0;
    for (unsigned bit = 0; bit < bits; ++bit, ++position)
      value |= uint64_t((bytes[position / 8] >> (position % 8)) & 1) << bit;
    values.emplace_back(bits, value);
  }
  auto floatType = dyn_cast<FloatType>(element);
  if (!floatType)
    return DenseElementsAttr::get(type, values);
  SmallVector<APFloat> floats;
  for (const APInt &value : values)
    floats.emplace_back(floatType.getFloatSemantics(), value);
  return DenseElementsAttr::get(type, floats);
}

FlatSymbolRefAttr ModelImporter::getFileSymbol(const TensorData &data) {
  if (data.location.empty())
    return FlatSymbolRefAttr::get(ctx, "model");
  auto [it, isNew] = fileSymbols.try_emplace(data.location);
  if (isNew) {
    // No symbol is made from a name of the file.
    it->second = FlatSymbolRefAttr::get(
        ctx, ("data" + Twine(externalFiles.size())).str());
    externalFiles.emplace_back(data.location, data.file);
  }
  return it->second;
}

FailureOr<TypedAttr>
ModelImporter::importTensor(const proto::TensorProto &tensor,
                            uint64_t inlineLimit, const Twine &where) {
  FailureOr<RankedTensorType> type = getTensorType(tensor, where);
  TensorData data;
  if (failed(type) || failed(resolveTensor(file, tensor, where, data, errors)))
    return failure();
  if (data.kind == TensorData::Kind::Strings)
    return TypedAttr(DenseStringElementsAttr::get(*type, data.strings));
  bool isSpan = data.kind == TensorData::Kind::Span;
  if (isSpan && data.byteSize > inlineLimit)
    return TypedAttr(SpanAttr::get(ctx, getFileSymbol(data), data.offset,
                                   data.byteSize,
                                   builder.getStringAttr(tensor.name), *type));
  ArrayRef<uint8_t> bytes = data.bytes;
  std::vector<uint8_t> storage;
  if (isSpan) {
    FailureOr<ArrayRef<uint8_t>> read =
        data.file->viewOrRead(data.offset, data.byteSize, storage, errors);
    if (failed(read))
      return failure();
    bytes = *read;
  }
  if (bytes.size() <= kInlineWeightLimit)
    if (DenseElementsAttr dense = makeDenseElements(*type, bytes))
      return TypedAttr(dense);
  SpanAttr span = WeightStore::get(ctx).appendDerived(
      tensor.name, *type,
      ArrayRef<char>(reinterpret_cast<const char *>(bytes.data()),
                     bytes.size()));
  if (!span)
    return errors.error("W104", where, "cannot be stored as derived weight");
  return TypedAttr(span);
}

FailureOr<Attribute>
ModelImporter::importTensorAttr(const proto::TensorProto &tensor,
                                const Twine &where) {
  FailureOr<TypedAttr> value = importTensor(tensor, kInlineWeightLimit, where);
  if (failed(value))
    return failure();
  return Attribute(*value);
}

FailureOr<Attribute>
ModelImporter::importSparseAttr(const proto::SparseTensorProto &sparse,
                                const Twine &where) {
  if (!sparse.values || !sparse.indices)
    return errors.error("I208", where,
                        "sparse tensor without values or indices");
  FailureOr<Attribute> values = importTensorAttr(*sparse.values, where);
  FailureOr<Attribute> indices = importTensorAttr(*sparse.indices, where);
  if (failed(values) || failed(indices))
    return failure();
  return Attribute(onnx::SparseAttr::get(
      ctx, *values, *indices, builder.getDenseI64ArrayAttr(sparse.dims)));
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

FailureOr<Attribute> ModelImporter::importAttribute(
    const proto::AttributeProto &attribute, const Twine &where,
    SmallVectorImpl<const proto::GraphProto *> &graphs) {
  if (attribute.isReference())
    return Attribute(onnx::RefAttr::get(
        ctx, builder.getStringAttr(attribute.getRefAttrName()),
        static_cast<unsigned>(attribute.kind)));
  auto addGraph = [&](const proto::GraphProto &graph) -> Attribute {
    graphs.push_back(&graph);
    return onnx::GraphAttr::get(ctx, graphs.size() - 1,
                                builder.getStringAttr(graph.name));
  };
  SmallVector<Attribute> list;
  switch (attribute.kind) {
  case AttributeKind::Float:
    return Attribute(
        FloatAttr::get(builder.getF32Type(), APFloat(attribute.getFloat())));
  case AttributeKind::Int:
    return Attribute(
        IntegerAttr::get(builder.getIntegerType(64, /*isSigned=*/true),
                         APInt(64, attribute.getInt(), /*isSigned=*/true)));
  case AttributeKind::String:
    return Attribute(builder.getStringAttr(attribute.getString()));
  case AttributeKind::Floats:
    return Attribute(builder.getDenseF32ArrayAttr(attribute.getFloats()));
  case AttributeKind::Ints:
    return Attribute(builder.getDenseI64ArrayAttr(attribute.getInts()));
  case AttributeKind::Strings:
    return Attribute(onnx::StringsAttr::get(
        ctx, builder.getStrArrayAttr(attribute.getStrings())));
  case AttributeKind::Tensor:
    if (const proto::TensorProto *tensor = attribute.getTensor())
      return importTensorAttr(*tensor, where);
    break;
  case AttributeKind::Tensors:
    for (const proto::TensorProto &tensor : attribute.getTensors()) {
      FailureOr<Attribute> value = importTensorAttr(tensor, where);
      if (failed(value))
        return failure();
      list.push_back(*value);
    }
    return Attribute(onnx::TensorsAttr::get(ctx, builder.getArrayAttr(list)));
  case AttributeKind::Graph:
    if (const proto::GraphProto *graph = attribute.getGraph())
      return addGraph(*graph);
    break;
  case AttributeKind::Graphs:
    for (const proto::GraphProto &graph : attribute.getGraphs())
      list.push_back(addGraph(graph));
    return Attribute(onnx::GraphsAttr::get(ctx, builder.getArrayAttr(list)));
  case AttributeKind::SparseTensor:
    if (const proto::SparseTensorProto *sparse = attribute.getSparseTensor())
      return importSparseAttr(*sparse, where);
    break;
  case AttributeKind::SparseTensors:
    // The one kind that is a plain array.
    for (const proto::SparseTensorProto &sparse :
         attribute.getSparseTensors()) {
      FailureOr<Attribute> value = importSparseAttr(sparse, where);
      if (failed(value))
        return failure();
      list.push_back(*value);
    }
    return Attribute(builder.getArrayAttr(list));
  case AttributeKind::TypeProto:
    if (const proto::TypeProto *type = attribute.getTypeProto())
      return Attribute(TypeAttr::get(importType(type)));
    break;
  case AttributeKind::TypeProtos:
    for (const proto::TypeProto &type : attribute.getTypeProtos())
      list.push_back(TypeAttr::get(importType(&type)));
    return Attribute(onnx::TypesAttr::get(ctx, builder.getArrayAttr(list)));
  case AttributeKind::Undefined:
    break;
  }
  return errors.error("I501", where,
                      "attribute " + quoteName(attribute.name) +
                          " has no value");
}

FailureOr<DictionaryAttr> ModelImporter::importAttributes(
    ArrayRef<proto::AttributeProto> attributes, const Twine &where,
    SmallVectorImpl<const proto::GraphProto *> &graphs) {
  SmallVector<NamedAttribute> list;
  for (const proto::AttributeProto &attribute : attributes) {
    FailureOr<Attribute> value = importAttribute(attribute, where, graphs);
    if (failed(value))
      return failure();
    list.emplace_back(builder.getStringAttr(attribute.name), *value);
  }
  llvm::sort(list);
  // Phase A has seen to it; DictionaryAttr would accept duplicates silently.
  if (auto twice = DictionaryAttr::findDuplicate(list, /*isSorted=*/true))
    return errors.error("I501", where,
                        "attribute " + quoteName(twice->getName().getValue()) +
                            " is given twice");
  return DictionaryAttr::getWithSorted(ctx, list);
}

//===----------------------------------------------------------------------===//
// What carries no meaning
//===----------------------------------------------------------------------===//

Attribute
ModelImporter::getStringPairs(ArrayRef<proto::StringStringEntryProto> entries) {
  SmallVector<Attribute> list;
  for (const proto::StringStringEntryProto &entry : entries)
    list.push_back(builder.getStrArrayAttr({entry.key, entry.value}));
  return builder.getArrayAttr(list);
}

Attribute ModelImporter::getUnknown(ArrayRef<StringRef> fields) {
  std::string bytes;
  for (StringRef field : fields)
    bytes += field;
  return builder.getStringAttr(bytes);
}

Attribute
ModelImporter::getQuantization(ArrayRef<proto::TensorAnnotation> annotations) {
  SmallVector<Attribute> list;
  for (const proto::TensorAnnotation &annotation : annotations)
    list.push_back(builder.getArrayAttr(
        {builder.getStringAttr(annotation.tensorName),
         getStringPairs(annotation.quantParameterTensorNames)}));
  return builder.getArrayAttr(list);
}

void ModelImporter::addRareFields(const proto::MessageBase &message,
                                  StringRef prefix, NamedAttrList &attrs) {
  auto name = [&](StringRef field) { return (prefix + field).str(); };
  if (!message.getDocString().empty())
    attrs.set(name("doc_string"),
              builder.getStringAttr(message.getDocString()));
  if (!message.getMetadata().empty())
    attrs.set(name("metadata"), getStringPairs(message.getMetadata()));
  if (!message.getUnknown().empty())
    attrs.set(name("unknown"), getUnknown(message.getUnknown()));
}

void ModelImporter::addAttributeComments(
    ArrayRef<proto::AttributeProto> attributes, NamedAttrList &comments) {
  SmallVector<NamedAttribute> docs, names, tensors, types;
  for (const proto::AttributeProto &attribute : attributes) {
    StringAttr key = builder.getStringAttr(attribute.name);
    if (!attribute.getDocString().empty())
      docs.emplace_back(key, builder.getStringAttr(attribute.getDocString()));
    // One entry for each tensor, in the order in which export meets them.
    SmallVector<Attribute> list;
    bool isNamed = false, isRemarked = false;
    auto addTensor = [&](const proto::TensorProto *tensor) {
      NamedAttrList entry;
      if (tensor)
        addRareFields(*tensor, "onnx.", entry);
      isRemarked |= !entry.empty();
      if (tensor && !tensor->name.empty()) {
        isNamed = true;
        entry.set("onnx.name", builder.getStringAttr(tensor->name));
      }
      list.push_back(entry.getDictionary(ctx));
    };
    for (const proto::TensorProto &tensor : attribute.getAnyTensors())
      addTensor(&tensor);
    for (const proto::SparseTensorProto &sparse :
         attribute.getAnySparseTensors()) {
      addTensor(sparse.values);
      addTensor(sparse.indices);
    }
    if (isNamed && !isRemarked && attribute.getTensor())
      names.emplace_back(key,
                         builder.getStringAttr(attribute.getTensor()->name));
    else if (isNamed || isRemarked)
      tensors.emplace_back(key, builder.getArrayAttr(list));
    list.clear();
    bool isSaid = false;
    auto addType = [&](const proto::TypeProto &type) {
      NamedAttrList entry;
      addTypeInfo(type, entry);
      isSaid |= !entry.empty();
      list.push_back(entry.getDictionary(ctx));
    };
    if (const proto::TypeProto *type = attribute.getTypeProto())
      addType(*type);
    for (const proto::TypeProto &type : attribute.getTypeProtos())
      addType(type);
    if (isSaid)
      types.emplace_back(key, builder.getArrayAttr(list));
  }
  auto add = [&](StringRef name, ArrayRef<NamedAttribute> entries) {
    if (!entries.empty())
      comments.set(name, builder.getDictionaryAttr(entries));
  };
  add("attr_docs", docs);
  add("tensor_names", names);
  add("tensors", tensors);
  add("types", types);
}

DictionaryAttr ModelImporter::getComments(const proto::NodeProto &node) {
  NamedAttrList comments;
  addRareFields(node, "", comments);
  comments.erase("unknown");
  addAttributeComments(node.attribute, comments);
  return comments.empty() ? DictionaryAttr() : comments.getDictionary(ctx);
}
