//===- ExporterProto.cpp - Tensors, types and attributes ------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ExporterInternal.h"
#include "ffn-mlir/Import/Proto.h"
#include "ffn-mlir/Support/WeightStore.h"

using namespace mlir;
using namespace mlir::ffn;
using proto::AttributeKind;

/// Smaller tensors stay in the model: shape inference of readers needs them.
static constexpr uint64_t kMinExternalBytes = 1024;
static constexpr uint64_t kChunk = 1 << 20;

//===----------------------------------------------------------------------===//
// What carries no meaning
//===----------------------------------------------------------------------===//

void ModelExporter::writePairs(uint32_t fieldNumber, Attribute pairs) {
  auto list = dyn_cast_if_present<ArrayAttr>(pairs);
  if (!list)
    return;
  for (Attribute entry : list) {
    auto pair = dyn_cast<ArrayAttr>(entry);
    if (!pair || pair.size() != 2)
      continue;
    auto key = dyn_cast<StringAttr>(pair[0]);
    auto value = dyn_cast<StringAttr>(pair[1]);
    if (key && value)
      writer.writeEntry(fieldNumber, key, value);
  }
}

void ModelExporter::writeRareFields(DictionaryAttr attrs, StringRef prefix,
                                    uint32_t doc, uint32_t metadata) {
  if (!attrs)
    return;
  auto find = [&](StringRef name) { return attrs.get((prefix + name).str()); };
  if (auto text = dyn_cast_if_present<StringAttr>(find("doc_string")))
    writer.writeString(doc, text);
  writePairs(metadata, find("metadata"));
  if (auto bytes = dyn_cast_if_present<StringAttr>(find("unknown")))
    writer.writeRaw(bytes.getValue());
}

void ModelExporter::writeQuantization(ArrayAttr annotations) {
  if (!annotations)
    return;
  for (Attribute entry : annotations) {
    auto pair = dyn_cast<ArrayAttr>(entry);
    auto name =
        pair && pair.size() == 2 ? dyn_cast<StringAttr>(pair[0]) : StringAttr();
    if (!name)
      continue;
    auto scope = writer.message(field::GraphQuantization);
    writer.writeString(1, name);
    writePairs(2, pair[1]);
  }
}

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

SmallVector<std::string> ModelExporter::getDimNames(Type type, Value value,
                                                    DictionaryAttr info) {
  SmallVector<std::string> names;
  Type outer = type;
  for (bool isWrapper = true; isWrapper;) {
    if (auto sequence = dyn_cast<onnx::SeqType>(type))
      type = sequence.getElement();
    else if (auto optional = dyn_cast<onnx::OptionalType>(type))
      type = optional.getElement();
    else if (auto map = dyn_cast<onnx::MapType>(type))
      type = map.getValue();
    else if (auto sparse = dyn_cast<onnx::SparseType>(type))
      type = sparse.getDense();
    else
      isWrapper = false;
  }
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor || tensor.hasStaticShape())
    return names;
  names.resize(tensor.getRank());
  auto declared = info ? info.getAs<ArrayAttr>("ffn.dims") : ArrayAttr();
  const SymValue *known =
      shapes && value && type == outer ? &shapes->lookup(value) : nullptr;
  if (known && known->rank() != tensor.getRank())
    known = nullptr;
  for (int64_t i = 0; i < tensor.getRank(); ++i) {
    if (declared && static_cast<int64_t>(declared.size()) == tensor.getRank())
      if (auto text = dyn_cast<StringAttr>(declared[i]))
        names[i] = text.getValue().str();
    if (!names[i].empty() || !known)
      continue;
    const DimExpr &dim = (*known->dims)[i];
    bool isFresh = !dim.isKnown();
    dim.forEachSymbol([&](StringRef symbol) {
      isFresh |= SymbolicShapeAnalysis::isFreshSymbol(symbol);
    });
    if (!isFresh)
      names[i] = dim.str();
  }
  return names;
}

void ModelExporter::writeType(uint32_t fieldNumber, Type type,
                              ArrayRef<std::string> dims, DictionaryAttr info,
                              bool isOuter) {
  auto message = writer.message(fieldNumber);
  if (auto sequence = dyn_cast<onnx::SeqType>(type)) {
    auto inner = writer.message(4);
    writeType(1, sequence.getElement(), dims, info, /*isOuter=*/false);
  } else if (auto optional = dyn_cast<onnx::OptionalType>(type)) {
    auto inner = writer.message(9);
    writeType(1, optional.getElement(), dims, info, /*isOuter=*/false);
  } else if (auto map = dyn_cast<onnx::MapType>(type)) {
    auto inner = writer.message(5);
    writer.writeInt(1, getONNXTypeNumber(map.getKey()));
    writeType(2, map.getValue(), dims, info, /*isOuter=*/false);
  } else {
    auto sparse = dyn_cast<onnx::SparseType>(type);
    auto tensor = dyn_cast<TensorType>(sparse ? sparse.getDense() : type);
    if (tensor) {
      auto inner = writer.message(sparse ? 8 : 1);
      writer.writeInt(1, getONNXTypeNumber(tensor.getElementType()));
      if (tensor.hasRank()) {
        auto denotations =
            info ? info.getAs<ArrayAttr>("onnx.dim_denotations") : ArrayAttr();
        auto inFile = info ? info.getAs<ArrayAttr>("onnx.dims") : ArrayAttr();
        auto shape = writer.message(2);
        for (auto [i, size] : llvm::enumerate(tensor.getShape())) {
          auto dim = writer.message(1);
          // A name whose size weights fix is a name in the file still.
          auto name = inFile && inFile.size() == tensor.getShape().size()
                          ? dyn_cast<StringAttr>(inFile[i])
                          : StringAttr();
          if (name && ShapedType::isStatic(size))
            writer.writeStringIfSet(2, name.getValue());
          else if (ShapedType::isStatic(size))
            writer.writeInt(1, size);
          else if (i < dims.size() && !dims[i].empty())
            writer.writeString(2, dims[i]);
          if (denotations && i < denotations.size())
            if (auto text = dyn_cast<StringAttr>(denotations[i]))
              writer.writeStringIfSet(3, text);
        }
      }
    } else if (auto opaque =
                   info ? info.getAs<ArrayAttr>("onnx.opaque") : ArrayAttr()) {
      auto inner = writer.message(7);
      for (auto [i, part] : llvm::enumerate(opaque))
        if (auto text = dyn_cast<StringAttr>(part); text && i < 2)
          writer.writeStringIfSet(i + 1, text);
    }
  }
  if (info && isOuter)
    if (auto text = info.getAs<StringAttr>("onnx.denotation"))
      writer.writeString(6, text);
}

void ModelExporter::writeValueInfo(uint32_t fieldNumber, StringRef name,
                                   Type type, Value value,
                                   DictionaryAttr info) {
  auto message = writer.message(fieldNumber);
  writer.writeString(1, name);
  bool isOpaque = info && info.contains("onnx.opaque");
  if (!isa<onnx::UnknownType, NoneType>(type) || isOpaque)
    writeType(2, type, getDimNames(type, value, info), info);
  writeRareFields(info, "onnx.", 3, 4);
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

LogicalResult ModelExporter::writePayload(Operation *user, TypedAttr value,
                                          uint64_t size) {
  constexpr uint32_t rawData = 9;
  auto span = dyn_cast<SpanAttr>(value);
  PayloadProducer producer;
  if (span) {
    WeightStore &store = WeightStore::get(ctx);
    producer = [user, span, &store](ByteSink sink) -> LogicalResult {
      std::vector<uint8_t> chunk;
      for (uint64_t done = 0; done < span.getSize(); done += kChunk) {
        chunk.resize(std::min<uint64_t>(kChunk, span.getSize() - done));
        MutableArrayRef<char> buffer(reinterpret_cast<char *>(chunk.data()),
                                     chunk.size());
        if (failed(store.read(user, span, done, buffer)) || failed(sink(chunk)))
          return failure();
      }
      store.drop(user, span);
      return success();
    };
  } else {
    SmallVector<char> bytes;
    if (failed(readWeightBytes(user, value, bytes)))
      return failure();
    producer =
        makeBytesProducer(std::vector<uint8_t>(bytes.begin(), bytes.end()));
  }
  if (!isExternal || size < kMinExternalBytes || !isa<WeightOp>(user)) {
    writer.writePayload(rawData, size, std::move(producer));
    return success();
  }
  FailureOr<ExternalDataWriter::Range> range =
      externalData.append(size, producer, errors);
  if (failed(range))
    return failure();
  writer.writeEntry(13, "location", llvm::sys::path::filename(externalPath));
  writer.writeEntry(13, "offset", std::to_string(range->offset));
  writer.writeEntry(13, "length", std::to_string(range->size));
  writer.writeInt(14, 1);
  return success();
}

LogicalResult ModelExporter::writeTensor(Operation *user, Attribute value,
                                         StringRef name, uint32_t fieldNumber,
                                         DictionaryAttr rare) {
  auto typed = dyn_cast<TypedAttr>(value);
  auto type =
      typed ? dyn_cast<RankedTensorType>(typed.getType()) : RankedTensorType();
  int number = type ? getONNXTypeNumber(type.getElementType()) : 0;
  if (!number || !type.hasStaticShape())
    return user->emitError("a tensor of type ")
           << (typed ? typed.getType() : Type(NoneType::get(ctx)))
           << " has no ONNX form [FFN-E202]";
  auto message = writer.message(fieldNumber);
  writer.writeRepeatedInts(1, type.getShape());
  writer.writeInt(2, number);
  writer.writeStringIfSet(8, name);
  writeRareFields(rare, "onnx.", 12, 16);
  if (auto strings = dyn_cast<DenseStringElementsAttr>(value)) {
    for (StringRef text : strings.getValues<StringRef>())
      writer.writeString(6, text);
    return success();
  }
  FailureOr<uint64_t> size = getPackedByteSize(type);
  auto span = dyn_cast<SpanAttr>(value);
  if (failed(size) || (span && span.getSize() != *size) ||
      (!span && !isa<DenseElementsAttr>(value)))
    return user->emitError("weight '")
           << name << "' has no bytes that fit its type " << type
           << " [FFN-E204]";
  return writePayload(user, typed, *size);
}

/// The name in an entry of the comment `tensors`.
static StringRef getTensorName(DictionaryAttr info) {
  auto name = info ? info.getAs<StringAttr>("onnx.name") : StringAttr();
  return name ? name.getValue() : StringRef();
}

LogicalResult ModelExporter::writeSparse(Operation *user,
                                         onnx::SparseAttr sparse,
                                         StringRef name, uint32_t fieldNumber,
                                         ArrayAttr infos, unsigned first) {
  auto message = writer.message(fieldNumber);
  DictionaryAttr values = getEntry(infos, first);
  DictionaryAttr indices = getEntry(infos, first + 1);
  if (failed(writeTensor(user, sparse.getValues(),
                         name.empty() ? getTensorName(values) : name, 1,
                         values)) ||
      failed(writeTensor(user, sparse.getIndices(), getTensorName(indices), 2,
                         indices)))
    return failure();
  writer.writeRepeatedInts(3, sparse.getDims().asArrayRef());
  return success();
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

/// Entry `key` of dictionary `dictionary` of `comments`, as text.
static StringRef getComment(DictionaryAttr comments, StringRef dictionary,
                            StringRef key) {
  auto entries =
      comments ? comments.getAs<DictionaryAttr>(dictionary) : DictionaryAttr();
  auto text = entries ? entries.getAs<StringAttr>(key) : StringAttr();
  return text ? text.getValue() : StringRef();
}

LogicalResult ModelExporter::writeAttribute(Operation *op, StringRef name,
                                            Attribute value, const Scope &scope,
                                            uint32_t fieldNumber) {
  auto node = dyn_cast<onnx::NodeOp>(op);
  DictionaryAttr comments =
      node ? node.getProperties().names.comments
           : op->getAttrOfType<DictionaryAttr>("onnx.comments");
  auto getList = [&](StringRef key) {
    auto entries =
        comments ? comments.getAs<DictionaryAttr>(key) : DictionaryAttr();
    return entries ? entries.getAs<ArrayAttr>(name) : ArrayAttr();
  };
  ArrayAttr tensorInfos = getList("tensors"), typeInfos = getList("types");
  auto message = writer.message(fieldNumber);
  writer.writeString(1, name);
  writer.writeStringIfSet(13, getComment(comments, "attr_docs", name));
  auto setKind = [&](AttributeKind kind) {
    writer.writeInt(20, static_cast<int64_t>(kind));
  };
  auto unknownForm = [&] {
    return op->emitError("attribute '")
           << name << "' of value " << value << " has no ONNX form [FFN-E202]";
  };
  auto writeInfoType = [&](uint32_t number, Type type, DictionaryAttr info) {
    writeType(number, type, getDimNames(type, {}, info), info);
  };
  auto writeGraph = [&](onnx::GraphAttr graph, uint32_t number) {
    if (!node || graph.getRegion() >= node.getGraphs().size())
      return failure();
    return writeSubgraph(node.getGraphs()[graph.getRegion()],
                         graph.getName().getValue(), scope, number);
  };

  if (auto ref = dyn_cast<onnx::RefAttr>(value)) {
    writer.writeInt(20, ref.getKind());
    writer.writeString(21, ref.getName());
  } else if (auto real = dyn_cast<FloatAttr>(value);
             real && real.getType().isF32()) {
    setKind(AttributeKind::Float);
    // By its bits: a conversion could quiet a NaN.
    uint32_t bits = real.getValue().bitcastToAPInt().getZExtValue();
    float number;
    std::memcpy(&number, &bits, sizeof(number));
    writer.writeFloat(2, number);
  } else if (auto integer = dyn_cast<IntegerAttr>(value);
             integer && integer.getValue().getSignificantBits() <= 64) {
    setKind(AttributeKind::Int);
    bool isBool = integer.getType().isInteger(1);
    writer.writeInt(3, isBool ? integer.getValue().getZExtValue()
                              : integer.getValue().getSExtValue());
  } else if (auto text = dyn_cast<StringAttr>(value)) {
    setKind(AttributeKind::String);
    writer.writeString(4, text);
  } else if (auto reals = dyn_cast<DenseF32ArrayAttr>(value)) {
    setKind(AttributeKind::Floats);
    writer.writeRepeatedFloats(7, reals);
  } else if (auto integers = dyn_cast<DenseI64ArrayAttr>(value)) {
    setKind(AttributeKind::Ints);
    writer.writeRepeatedInts(8, integers);
  } else if (auto strings = dyn_cast<onnx::StringsAttr>(value)) {
    setKind(AttributeKind::Strings);
    for (Attribute entry : strings.getValues()) {
      auto part = dyn_cast<StringAttr>(entry);
      if (!part)
        return unknownForm();
      writer.writeString(9, part);
    }
  } else if (isa<SpanAttr, ElementsAttr>(value)) {
    setKind(AttributeKind::Tensor);
    DictionaryAttr info = getEntry(tensorInfos, 0);
    return writeTensor(op, value,
                       info ? getTensorName(info)
                            : getComment(comments, "tensor_names", name),
                       5, info);
  } else if (auto tensors = dyn_cast<onnx::TensorsAttr>(value)) {
    setKind(AttributeKind::Tensors);
    for (auto [i, tensor] : llvm::enumerate(tensors.getValues())) {
      DictionaryAttr info = getEntry(tensorInfos, i);
      if (failed(writeTensor(op, tensor, getTensorName(info), 10, info)))
        return failure();
    }
  } else if (auto graph = dyn_cast<onnx::GraphAttr>(value)) {
    setKind(AttributeKind::Graph);
    return writeGraph(graph, 6);
  } else if (auto graphs = dyn_cast<onnx::GraphsAttr>(value)) {
    setKind(AttributeKind::Graphs);
    for (Attribute entry : graphs.getValues()) {
      auto part = dyn_cast<onnx::GraphAttr>(entry);
      if (!part)
        return unknownForm();
      if (failed(writeGraph(part, 11)))
        return failure();
    }
  } else if (auto sparse = dyn_cast<onnx::SparseAttr>(value)) {
    setKind(AttributeKind::SparseTensor);
    return writeSparse(op, sparse, "", 22, tensorInfos);
  } else if (auto list = dyn_cast<ArrayAttr>(value)) {
    setKind(AttributeKind::SparseTensors);
    for (auto [i, entry] : llvm::enumerate(list)) {
      auto part = dyn_cast<onnx::SparseAttr>(entry);
      if (!part)
        return unknownForm();
      if (failed(writeSparse(op, part, "", 23, tensorInfos, 2 * i)))
        return failure();
    }
  } else if (auto type = dyn_cast<TypeAttr>(value)) {
    setKind(AttributeKind::TypeProto);
    writeInfoType(14, type.getValue(), getEntry(typeInfos, 0));
  } else if (auto types = dyn_cast<onnx::TypesAttr>(value)) {
    setKind(AttributeKind::TypeProtos);
    for (auto [i, entry] : llvm::enumerate(types.getValues())) {
      auto part = dyn_cast<TypeAttr>(entry);
      if (!part)
        return unknownForm();
      writeInfoType(15, part.getValue(), getEntry(typeInfos, i));
    }
  } else {
    return unknownForm();
  }
  return success();
}
