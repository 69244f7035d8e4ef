//===- WireTables.cpp - The ONNX schema for the wire reader ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// One line for each field of onnx-ml.proto (IR version 14) that has a place in
// Import/Proto.h. Fields that are missing here are kept as unknown bytes.
//
//===----------------------------------------------------------------------===//

#include "WireInternal.h"
#include <memory>

using namespace mlir::ffn::proto;

namespace mlir::ffn::wire {

namespace {

template <typename T> struct MemberTraits;
template <typename C, typename M> struct MemberTraits<M C::*> {
  using Class = C;
  using Type = M;
};
template <auto Member>
using ClassOf = typename MemberTraits<decltype(Member)>::Class;
template <auto Member>
using TypeOf = typename MemberTraits<decltype(Member)>::Type;

template <auto Member> auto &member(void *message) {
  return static_cast<ClassOf<Member> *>(message)->*Member;
}

template <auto Member>
void setString(RareSource &, void *m, const FieldValue &v) {
  member<Member>(m) = v.string;
}
template <auto Member> void setInt(RareSource &, void *m, const FieldValue &v) {
  member<Member>(m) = v.integer;
}
/// Numbers outside of int32 become one that no enumeration has.
int32_t narrow(int64_t value) {
  return value == static_cast<int32_t>(value) ? static_cast<int32_t>(value)
                                              : INT32_MIN;
}
template <auto Member>
void setInt32(RareSource &, void *m, const FieldValue &v) {
  member<Member>(m) = narrow(v.integer);
}
template <auto Member>
void setMessage(RareSource &, void *m, const FieldValue &v) {
  member<Member>(m) = static_cast<TypeOf<Member>>(v.data);
}
template <auto Member>
void setList(RareSource &, void *m, const FieldValue &v) {
  using List = TypeOf<Member>;
  member<Member>(m) =
      List(static_cast<typename List::const_pointer>(v.data), v.count);
}
template <typename T, auto Member>
void setRareString(RareSource &r, void *m, const FieldValue &v) {
  r.rare(*static_cast<T *>(m)).*Member = v.string;
}
template <typename T>
void setMetadata(RareSource &r, void *m, const FieldValue &v) {
  r.rare(*static_cast<T *>(m)).metadata = ArrayRef<StringStringEntryProto>(
      static_cast<const StringStringEntryProto *>(v.data), v.count);
}
template <TypeProto::Kind K>
void setKind(RareSource &, void *m, const FieldValue &) {
  static_cast<TypeProto *>(m)->kind = K;
}

/// Notes a value field; true if it is the one to keep.
bool claim(AttributeProto &a, AttributeKind kind) {
  a.valueFields |= 1u << static_cast<unsigned>(kind);
  if (a.storedKind == AttributeKind::Undefined)
    a.storedKind = kind;
  return a.storedKind == kind;
}
void setAttrFloat(RareSource &, void *m, const FieldValue &v) {
  auto &a = *static_cast<AttributeProto *>(m);
  if (claim(a, AttributeKind::Float))
    a.f = v.real;
}
void setAttrInt(RareSource &, void *m, const FieldValue &v) {
  auto &a = *static_cast<AttributeProto *>(m);
  if (claim(a, AttributeKind::Int))
    a.i = v.integer;
}
void setAttrString(RareSource &, void *m, const FieldValue &v) {
  auto &a = *static_cast<AttributeProto *>(m);
  if (claim(a, AttributeKind::String)) {
    a.data = v.string.data();
    a.count = v.string.size();
  }
}
template <AttributeKind K>
void setAttrData(RareSource &, void *m, const FieldValue &v) {
  auto &a = *static_cast<AttributeProto *>(m);
  if (claim(a, K)) {
    a.data = v.data;
    a.count = v.count;
  }
}
void setAttrType(RareSource &, void *m, const FieldValue &v) {
  auto &a = *static_cast<AttributeProto *>(m);
  a.hasType = true;
  a.kind = static_cast<AttributeKind>(narrow(v.integer));
}
void setShape(RareSource &, void *m, const FieldValue &) {
  static_cast<TypeProto *>(m)->hasShape = true;
}
void setDimValue(RareSource &, void *m, const FieldValue &v) {
  auto &d = *static_cast<DimensionProto *>(m);
  d.kind = DimensionProto::Kind::Value;
  d.value = v.integer;
  d.param = StringRef();
}
void setDimParam(RareSource &, void *m, const FieldValue &v) {
  auto &d = *static_cast<DimensionProto *>(m);
  d.kind = DimensionProto::Kind::Param;
  d.value = 0;
  d.param = v.string;
}
void setOpsetVersion(RareSource &, void *m, const FieldValue &v) {
  auto &o = *static_cast<OperatorSetIdProto *>(m);
  o.version = v.integer;
  o.hasVersion = true;
}
void setIrVersion(RareSource &, void *m, const FieldValue &v) {
  auto &o = *static_cast<ModelProto *>(m);
  o.irVersion = v.integer;
  o.hasIrVersion = true;
}
void setModelVersion(RareSource &, void *m, const FieldValue &v) {
  auto &o = *static_cast<ModelProto *>(m);
  o.modelVersion = v.integer;
  o.hasModelVersion = true;
}
void setSegment(RareSource &, void *m, const FieldValue &) {
  static_cast<TensorProto *>(m)->hasSegment = true;
}

using K = FieldKind;
using TK = TypeProto::Kind;
using AK = AttributeKind;

template <typename T> constexpr FieldInfo doc(uint32_t number) {
  return {number, K::String, "doc_string",
          setRareString<T, &RareFields::docString>};
}
template <typename T> constexpr FieldInfo metadata(uint32_t number) {
  return {number, K::Messages, "metadata_props", setMetadata<T>, Msg::Entry};
}

const FieldInfo kModel[] = {
    {1, K::Int, "ir_version", setIrVersion},
    {2, K::String, "producer_name", setString<&ModelProto::producerName>},
    {3, K::String, "producer_version", setString<&ModelProto::producerVersion>},
    {4, K::String, "domain", setString<&ModelProto::domain>},
    {5, K::Int, "model_version", setModelVersion},
    doc<ModelProto>(6),
    {7, K::Message, "graph", setMessage<&ModelProto::graph>, Msg::Graph},
    {8, K::Messages, "opset_import", setList<&ModelProto::opsetImport>,
     Msg::OpsetId},
    metadata<ModelProto>(14),
    {20, K::Messages, "training_info", setList<&ModelProto::trainingInfo>,
     Msg::Training},
    {25, K::Messages, "functions", setList<&ModelProto::functions>,
     Msg::Function},
};

const FieldInfo kGraph[] = {
    {1, K::Messages, "node", setList<&GraphProto::node>, Msg::Node},
    {2, K::String, "name", setString<&GraphProto::name>},
    {5, K::Messages, "initializer", setList<&GraphProto::initializer>,
     Msg::Tensor},
    doc<GraphProto>(10),
    {11, K::Messages, "input", setList<&GraphProto::input>, Msg::ValueInfo},
    {12, K::Messages, "output", setList<&GraphProto::output>, Msg::ValueInfo},
    {13, K::Messages, "value_info", setList<&GraphProto::valueInfo>,
     Msg::ValueInfo},
    {14, K::Messages, "quantization_annotation",
     setList<&GraphProto::quantizationAnnotation>, Msg::Annotation},
    {15, K::Messages, "sparse_initializer",
     setList<&GraphProto::sparseInitializer>, Msg::Sparse},
    metadata<GraphProto>(16),
};

const FieldInfo kNode[] = {
    {1, K::Strings, "input", setList<&NodeProto::input>},
    {2, K::Strings, "output", setList<&NodeProto::output>},
    {3, K::String, "name", setString<&NodeProto::name>},
    {4, K::String, "op_type", setString<&NodeProto::opType>},
    {5, K::Messages, "attribute", setList<&NodeProto::attribute>,
     Msg::Attribute},
    doc<NodeProto>(6),
    {7, K::String, "domain", setString<&NodeProto::domain>},
    {8, K::String, "overload", setRareString<NodeProto, &RareFields::overload>},
    metadata<NodeProto>(9),
};

const FieldInfo kAttribute[] = {
    {1, K::String, "name", setString<&AttributeProto::name>},
    {2, K::Float, "f", setAttrFloat},
    {3, K::Int, "i", setAttrInt},
    {4, K::String, "s", setAttrString},
    {5, K::Message, "t", setAttrData<AK::Tensor>, Msg::Tensor},
    {6, K::Message, "g", setAttrData<AK::Graph>, Msg::Graph},
    {7, K::Floats, "floats", setAttrData<AK::Floats>},
    {8, K::Ints, "ints", setAttrData<AK::Ints>},
    {9, K::Strings, "strings", setAttrData<AK::Strings>},
    {10, K::Messages, "tensors", setAttrData<AK::Tensors>, Msg::Tensor},
    {11, K::Messages, "graphs", setAttrData<AK::Graphs>, Msg::Graph},
    doc<AttributeProto>(13),
    {14, K::Message, "tp", setAttrData<AK::TypeProto>, Msg::Type},
    {15, K::Messages, "type_protos", setAttrData<AK::TypeProtos>, Msg::Type},
    {20, K::Int, "type", setAttrType},
    {21, K::String, "ref_attr_name",
     setRareString<AttributeProto, &RareFields::refAttrName>},
    {22, K::Message, "sparse_tensor", setAttrData<AK::SparseTensor>,
     Msg::Sparse},
    {23, K::Messages, "sparse_tensors", setAttrData<AK::SparseTensors>,
     Msg::Sparse},
};

constexpr FieldInfo payload(uint32_t number, const char *name, uint8_t bit) {
  return {number, K::Payload, name, nullptr, Msg::None, bit};
}
const FieldInfo kTensor[] = {
    {1, K::Ints, "dims", setList<&TensorProto::dims>},
    {2, K::Int, "data_type", setInt32<&TensorProto::dataType>},
    {3, K::String, "segment", setSegment},
    payload(4, "float_data", PF_Float),
    payload(5, "int32_data", PF_Int32),
    payload(6, "string_data", PF_String),
    payload(7, "int64_data", PF_Int64),
    {8, K::String, "name", setString<&TensorProto::name>},
    payload(9, "raw_data", PF_Raw),
    payload(10, "double_data", PF_Double),
    payload(11, "uint64_data", PF_UInt64),
    doc<TensorProto>(12),
    {13, K::Messages, "external_data", setList<&TensorProto::externalData>,
     Msg::Entry},
    {14, K::Int, "data_location", setInt32<&TensorProto::dataLocation>},
    metadata<TensorProto>(16),
};

const FieldInfo kSparse[] = {
    {1, K::Message, "values", setMessage<&SparseTensorProto::values>,
     Msg::Tensor},
    {2, K::Message, "indices", setMessage<&SparseTensorProto::indices>,
     Msg::Tensor},
    {3, K::Ints, "dims", setList<&SparseTensorProto::dims>},
};

const FieldInfo kValueInfo[] = {
    {1, K::String, "name", setString<&ValueInfoProto::name>},
    {2, K::Message, "type", setMessage<&ValueInfoProto::type>, Msg::Type},
    doc<ValueInfoProto>(3),
    metadata<ValueInfoProto>(4),
};

const FieldInfo kType[] = {
    {1, K::Inline, "tensor_type", setKind<TK::Tensor>, Msg::TypeTensor},
    {4, K::Inline, "sequence_type", setKind<TK::Sequence>, Msg::TypeSequence},
    {5, K::Inline, "map_type", setKind<TK::Map>, Msg::TypeMap},
    {6, K::String, "denotation",
     setRareString<TypeProto, &RareFields::denotation>},
    {7, K::Inline, "opaque_type", setKind<TK::Opaque>, Msg::TypeOpaque},
    {8, K::Inline, "sparse_tensor_type", setKind<TK::SparseTensor>,
     Msg::TypeSparse},
    {9, K::Inline, "optional_type", setKind<TK::Optional>, Msg::TypeOptional},
};
const FieldInfo kTypeTensor[] = {
    {1, K::Int, "elem_type", setInt32<&TypeProto::elemType>},
    {2, K::Inline, "shape", setShape, Msg::Shape},
};
const FieldInfo kTypeSequence[] = {
    {1, K::Message, "elem_type", setMessage<&TypeProto::element>, Msg::Type},
};
const FieldInfo kTypeMap[] = {
    {1, K::Int, "key_type", setInt32<&TypeProto::elemType>},
    {2, K::Message, "value_type", setMessage<&TypeProto::element>, Msg::Type},
};
const FieldInfo kTypeOpaque[] = {
    {1, K::String, "domain", setString<&TypeProto::opaqueDomain>},
    {2, K::String, "name", setString<&TypeProto::opaqueName>},
};
const FieldInfo kShape[] = {
    {1, K::Messages, "dim", setList<&TypeProto::shape>, Msg::Dimension},
};
const FieldInfo kDimension[] = {
    {1, K::Int, "dim_value", setDimValue},
    {2, K::String, "dim_param", setDimParam},
    {3, K::String, "denotation", setString<&DimensionProto::denotation>},
};

const FieldInfo kFunction[] = {
    {1, K::String, "name", setString<&FunctionProto::name>},
    {4, K::Strings, "input", setList<&FunctionProto::input>},
    {5, K::Strings, "output", setList<&FunctionProto::output>},
    {6, K::Strings, "attribute", setList<&FunctionProto::attribute>},
    {7, K::Messages, "node", setList<&FunctionProto::node>, Msg::Node},
    doc<FunctionProto>(8),
    {9, K::Messages, "opset_import", setList<&FunctionProto::opsetImport>,
     Msg::OpsetId},
    {10, K::String, "domain", setString<&FunctionProto::domain>},
    {11, K::Messages, "attribute_proto",
     setList<&FunctionProto::attributeProto>, Msg::Attribute},
    {12, K::Messages, "value_info", setList<&FunctionProto::valueInfo>,
     Msg::ValueInfo},
    {13, K::String, "overload",
     setRareString<FunctionProto, &RareFields::overload>},
    metadata<FunctionProto>(14),
};

const FieldInfo kOpsetId[] = {
    {1, K::String, "domain", setString<&OperatorSetIdProto::domain>},
    {2, K::Int, "version", setOpsetVersion},
};
const FieldInfo kEntry[] = {
    {1, K::String, "key", setString<&StringStringEntryProto::key>},
    {2, K::String, "value", setString<&StringStringEntryProto::value>},
};
const FieldInfo kAnnotation[] = {
    {1, K::String, "tensor_name", setString<&TensorAnnotation::tensorName>},
    {2, K::Messages, "quant_parameter_tensor_names",
     setList<&TensorAnnotation::quantParameterTensorNames>, Msg::Entry},
};
const FieldInfo kTraining[] = {
    {1, K::Message, "initialization",
     setMessage<&TrainingInfoProto::initialization>, Msg::Graph},
    {2, K::Message, "algorithm", setMessage<&TrainingInfoProto::algorithm>,
     Msg::Graph},
    {3, K::Messages, "initialization_binding",
     setList<&TrainingInfoProto::initializationBinding>, Msg::Entry},
    {4, K::Messages, "update_binding",
     setList<&TrainingInfoProto::updateBinding>, Msg::Entry},
};

template <typename T>
MessageInfo makeInfo(const char *name, ArrayRef<FieldInfo> fields) {
  MessageInfo info;
  info.name = name;
  info.fields = fields;
  info.byNumber.fill(-1);
  for (size_t i = 0; i < fields.size(); ++i)
    info.byNumber[fields[i].number] = static_cast<int8_t>(i);
  info.size = sizeof(T);
  info.align = alignof(T);
  info.construct = [](void *memory, uint64_t count) {
    std::uninitialized_value_construct_n(static_cast<T *>(memory), count);
  };
  if constexpr (std::is_base_of_v<MessageBase, T>)
    info.base = [](void *message) -> MessageBase * {
      return static_cast<T *>(message);
    };
  return info;
}

/// A part of a TypeProto: its fields go to the TypeProto, unknown ones too
/// would be written back at the wrong level and are dropped.
MessageInfo makePart(const char *name, ArrayRef<FieldInfo> fields) {
  MessageInfo info = makeInfo<TypeProto>(name, fields);
  info.base = nullptr;
  return info;
}

struct Tables {
  std::array<MessageInfo, kNumMessages> info;
  MessageInfo &operator[](Msg m) { return info[static_cast<unsigned>(m)]; }
  Tables() {
    Tables &t = *this;
    t[Msg::Model] = makeInfo<ModelProto>("ModelProto", kModel);
    t[Msg::Graph] = makeInfo<GraphProto>("GraphProto", kGraph);
    t[Msg::Node] = makeInfo<NodeProto>("NodeProto", kNode);
    t[Msg::Attribute] = makeInfo<AttributeProto>("AttributeProto", kAttribute);
    t[Msg::Tensor] = makeInfo<TensorProto>("TensorProto", kTensor);
    t[Msg::Sparse] = makeInfo<SparseTensorProto>("SparseTensorProto", kSparse);
    t[Msg::ValueInfo] = makeInfo<ValueInfoProto>("ValueInfoProto", kValueInfo);
    t[Msg::Type] = makeInfo<TypeProto>("TypeProto", kType);
    t[Msg::TypeTensor] = makePart("TypeProto.Tensor", kTypeTensor);
    t[Msg::TypeSparse] = makePart("TypeProto.SparseTensor", kTypeTensor);
    t[Msg::TypeSequence] = makePart("TypeProto.Sequence", kTypeSequence);
    t[Msg::TypeOptional] = makePart("TypeProto.Optional", kTypeSequence);
    t[Msg::TypeMap] = makePart("TypeProto.Map", kTypeMap);
    t[Msg::TypeOpaque] = makePart("TypeProto.Opaque", kTypeOpaque);
    t[Msg::Shape] = makePart("TensorShapeProto", kShape);
    t[Msg::Dimension] =
        makeInfo<DimensionProto>("TensorShapeProto.Dimension", kDimension);
    t[Msg::Function] = makeInfo<FunctionProto>("FunctionProto", kFunction);
    t[Msg::OpsetId] =
        makeInfo<OperatorSetIdProto>("OperatorSetIdProto", kOpsetId);
    t[Msg::Entry] =
        makeInfo<StringStringEntryProto>("StringStringEntryProto", kEntry);
    t[Msg::Annotation] =
        makeInfo<TensorAnnotation>("TensorAnnotation", kAnnotation);
    t[Msg::Training] =
        makeInfo<TrainingInfoProto>("TrainingInfoProto", kTraining);
  }
};

} // namespace

const MessageInfo &getMessageInfo(Msg message) {
  static const Tables tables;
  return tables.info[static_cast<unsigned>(message)];
}

} // namespace mlir::ffn::wire
