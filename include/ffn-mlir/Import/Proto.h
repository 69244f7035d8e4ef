//===- Proto.h - The ONNX messages as plain structs -------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// What the wire reader makes of a model file. Strings point into the file,
// lists into an arena; both are owned by `ModelFile` (Import/Wire.h) and live
// as long as it does. Payloads of tensors are not read: a tensor knows where
// in the file they lie. Nothing here has been checked beyond being well-formed
// protobuf; Import/PhaseA.h does that.
//
// Schema: onnx-ml.proto of IR version 14. A field that is missing in the file
// has the value given here. Enumerations are kept as the numbers in the file.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_IMPORT_PROTO_H
#define FFN_MLIR_IMPORT_PROTO_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include <cstdint>

namespace mlir::ffn::proto {

using llvm::ArrayRef;
using llvm::StringRef;

struct GraphProto;
struct TypeProto;
struct TensorProto;
struct SparseTensorProto;

/// TensorProto.DataType.
enum class DataType : int32_t {
  Undefined = 0,
  Float = 1,
  UInt8 = 2,
  Int8 = 3,
  UInt16 = 4,
  Int16 = 5,
  Int32 = 6,
  Int64 = 7,
  String = 8,
  Bool = 9,
  Float16 = 10,
  Double = 11,
  UInt32 = 12,
  UInt64 = 13,
  Complex64 = 14,
  Complex128 = 15,
  BFloat16 = 16,
  Float8E4M3FN = 17,
  Float8E4M3FNUZ = 18,
  Float8E5M2 = 19,
  Float8E5M2FNUZ = 20,
  UInt4 = 21,
  Int4 = 22,
  Float4E2M1 = 23,
  Float8E8M0 = 24,
  UInt2 = 25,
  Int2 = 26,
  Float6E2M3 = 27,
  Float6E3M2 = 28,
};
inline constexpr int32_t kMaxDataType = 28;

/// True for 1 .. kMaxDataType (UNDEFINED is not a type of anything).
bool isKnownDataType(int32_t type);
/// "float32", "uint4", "string"; "data type 99" has no name: "unknown".
StringRef getDataTypeName(int32_t type);
/// Bits of one element in packed form (bool: 8); 0 for strings, undefined and
/// unknown numbers.
unsigned getBitWidth(int32_t type);

/// A range of bytes of the model file.
struct FileRange {
  uint64_t offset = 0;
  uint64_t size = 0;
};

struct StringStringEntryProto {
  StringRef key, value;
};

/// What few messages have. `unknown` are fields that the schema above does not
/// know (or that we do not model: device configurations), each as its bytes in
/// the file, tag included, in file order: written back by simple copying.
struct RareFields {
  StringRef docString;
  ArrayRef<StringStringEntryProto> metadata;
  ArrayRef<StringRef> unknown;
  StringRef overload;    // NodeProto
  StringRef refAttrName; // AttributeProto
  StringRef denotation;  // TypeProto
};

/// Base of the messages that can have rare fields.
struct MessageBase {
  const RareFields *rare = nullptr;
  /// Position of the message in the model file, without tag and length.
  uint64_t offset = 0;

  StringRef getDocString() const { return rare ? rare->docString : ""; }
  ArrayRef<StringStringEntryProto> getMetadata() const {
    return rare ? rare->metadata : ArrayRef<StringStringEntryProto>();
  }
  ArrayRef<StringRef> getUnknown() const {
    return rare ? rare->unknown : ArrayRef<StringRef>();
  }
};

/// The fields that can carry the elements of a tensor, as bits.
enum PayloadField : uint8_t {
  PF_Raw = 1,
  PF_Float = 2,
  PF_Int32 = 4,
  PF_String = 8,
  PF_Int64 = 16,
  PF_Double = 32,
  PF_UInt64 = 64,
};

struct TensorProto : MessageBase {
  StringRef name;
  ArrayRef<int64_t> dims;
  int32_t dataType = 0;
  /// 0: in this message, 1: in an external file.
  int32_t dataLocation = 0;
  /// Length of the message.
  uint64_t size = 0;
  /// Which payload fields occur in the message, even with no bytes.
  uint8_t payloadFields = 0;
  /// TensorProto.segment occurs (refused by Phase A).
  bool hasSegment = false;
  /// True if the one payload field is `raw_data`, or occurs once and packed:
  /// then `payload` has all its bytes. Otherwise the pieces must be collected
  /// from the message (Import/TensorData.h does).
  bool payloadIsOneChunk = false;
  FileRange payload;
  ArrayRef<StringStringEntryProto> externalData;
};

struct SparseTensorProto : MessageBase {
  const TensorProto *values = nullptr;
  const TensorProto *indices = nullptr;
  ArrayRef<int64_t> dims;
};

/// AttributeProto.AttributeType.
enum class AttributeKind : int32_t {
  Undefined = 0,
  Float = 1,
  Int = 2,
  String = 3,
  Tensor = 4,
  Graph = 5,
  Floats = 6,
  Ints = 7,
  Strings = 8,
  Tensors = 9,
  Graphs = 10,
  SparseTensor = 11,
  SparseTensors = 12,
  TypeProto = 13,
  TypeProtos = 14,
};
inline constexpr int32_t kMaxAttributeKind = 14;

/// "int", "list of floats"; for messages.
StringRef getAttributeKindName(AttributeKind kind);

/// A named attribute. After Phase A exactly the getter of `kind` is usable,
/// and the getters of single messages are not null unless the attribute is a
/// reference to a function's attribute. Getters of other kinds return a
/// default, so that they are safe on any input.
struct AttributeProto : MessageBase {
  StringRef name;
  /// `type` as in the file; if absent, the kind of the first value field.
  AttributeKind kind = AttributeKind::Undefined;
  bool hasType = false;
  /// Bit `1 << kind` for each value field that occurs in the message.
  uint16_t valueFields = 0;

  StringRef getRefAttrName() const { return rare ? rare->refAttrName : ""; }
  bool isReference() const { return !getRefAttrName().empty(); }

  float getFloat() const { return kindIs(AttributeKind::Float) ? f : 0.0f; }
  int64_t getInt() const { return kindIs(AttributeKind::Int) ? i : 0; }
  StringRef getString() const {
    return kindIs(AttributeKind::String)
               ? StringRef(static_cast<const char *>(data), count)
               : StringRef();
  }
  const TensorProto *getTensor() const {
    return single<TensorProto>(AttributeKind::Tensor);
  }
  const GraphProto *getGraph() const {
    return single<GraphProto>(AttributeKind::Graph);
  }
  const SparseTensorProto *getSparseTensor() const {
    return single<SparseTensorProto>(AttributeKind::SparseTensor);
  }
  const TypeProto *getTypeProto() const {
    return single<proto::TypeProto>(AttributeKind::TypeProto);
  }
  ArrayRef<float> getFloats() const {
    return list<float>(AttributeKind::Floats);
  }
  ArrayRef<int64_t> getInts() const {
    return list<int64_t>(AttributeKind::Ints);
  }
  ArrayRef<StringRef> getStrings() const {
    return list<StringRef>(AttributeKind::Strings);
  }
  ArrayRef<TensorProto> getTensors() const {
    return list<TensorProto>(AttributeKind::Tensors);
  }
  ArrayRef<GraphProto> getGraphs() const {
    return list<GraphProto>(AttributeKind::Graphs);
  }
  ArrayRef<SparseTensorProto> getSparseTensors() const {
    return list<SparseTensorProto>(AttributeKind::SparseTensors);
  }
  ArrayRef<TypeProto> getTypeProtos() const {
    return list<proto::TypeProto>(AttributeKind::TypeProtos);
  }
  /// The graphs of the attribute, one or many, of either kind.
  ArrayRef<GraphProto> getAnyGraphs() const {
    return kind == AttributeKind::Graph ? single_<GraphProto>(kind)
                                        : getGraphs();
  }
  /// The tensors of the attribute, one or many, of either kind.
  ArrayRef<TensorProto> getAnyTensors() const {
    return kind == AttributeKind::Tensor ? single_<TensorProto>(kind)
                                         : getTensors();
  }
  /// The sparse tensors of the attribute, one or many, of either kind.
  ArrayRef<SparseTensorProto> getAnySparseTensors() const {
    return kind == AttributeKind::SparseTensor
               ? single_<SparseTensorProto>(kind)
               : getSparseTensors();
  }

  // Storage, filled by the reader: the value of the first value field in the
  // file. A second one is an error of Phase A.
  AttributeKind storedKind = AttributeKind::Undefined;
  union {
    int64_t i = 0;
    float f;
  };
  const void *data = nullptr;
  uint64_t count = 0;

private:
  bool kindIs(AttributeKind k) const { return kind == k && storedKind == k; }
  template <typename T> const T *single(AttributeKind k) const {
    return kindIs(k) ? static_cast<const T *>(data) : nullptr;
  }
  template <typename T> ArrayRef<T> list(AttributeKind k) const {
    return kindIs(k) ? ArrayRef<T>(static_cast<const T *>(data), count)
                     : ArrayRef<T>();
  }
  template <typename T> ArrayRef<T> single_(AttributeKind k) const;
};

/// One dimension of a declared shape.
struct DimensionProto {
  enum class Kind : uint8_t { Unset, Value, Param };
  Kind kind = Kind::Unset;
  int64_t value = 0;
  StringRef param;
  StringRef denotation;
};

struct TypeProto : MessageBase {
  enum class Kind : uint8_t {
    Unset,
    Tensor,
    SparseTensor,
    Sequence,
    Optional,
    Map,
    Opaque
  };
  Kind kind = Kind::Unset;
  /// Tensor and SparseTensor: a shape is given (rank 0 is a shape).
  bool hasShape = false;
  /// Tensor, SparseTensor: element type. Map: key type. A DataType number.
  int32_t elemType = 0;
  ArrayRef<DimensionProto> shape;
  /// Sequence, Optional: element. Map: value. Null if missing in the file.
  const TypeProto *element = nullptr;
  StringRef opaqueDomain, opaqueName;

  StringRef getDenotation() const { return rare ? rare->denotation : ""; }
};

struct ValueInfoProto : MessageBase {
  StringRef name;
  /// Null if the file gives no type.
  const TypeProto *type = nullptr;
};

struct NodeProto : MessageBase {
  ArrayRef<StringRef> input, output;
  StringRef name, opType;
  /// As in the file: "ai.onnx" and "" are the same domain.
  StringRef domain;
  ArrayRef<AttributeProto> attribute;

  StringRef getOverload() const { return rare ? rare->overload : ""; }
};

struct TensorAnnotation : MessageBase {
  StringRef tensorName;
  ArrayRef<StringStringEntryProto> quantParameterTensorNames;
};

struct GraphProto : MessageBase {
  StringRef name;
  ArrayRef<NodeProto> node;
  ArrayRef<TensorProto> initializer;
  ArrayRef<SparseTensorProto> sparseInitializer;
  ArrayRef<ValueInfoProto> input, output, valueInfo;
  ArrayRef<TensorAnnotation> quantizationAnnotation;
};

struct OperatorSetIdProto {
  StringRef domain;
  int64_t version = 0;
  bool hasVersion = false;
};

struct FunctionProto : MessageBase {
  StringRef name, domain;
  ArrayRef<StringRef> input, output;
  /// Names of attributes without default.
  ArrayRef<StringRef> attribute;
  /// Attributes with default.
  ArrayRef<AttributeProto> attributeProto;
  ArrayRef<NodeProto> node;
  ArrayRef<OperatorSetIdProto> opsetImport;
  ArrayRef<ValueInfoProto> valueInfo;

  StringRef getOverload() const { return rare ? rare->overload : ""; }
};

struct TrainingInfoProto : MessageBase {
  const GraphProto *initialization = nullptr;
  const GraphProto *algorithm = nullptr;
  ArrayRef<StringStringEntryProto> initializationBinding, updateBinding;
};

struct ModelProto : MessageBase {
  int64_t irVersion = 0;
  bool hasIrVersion = false;
  int64_t modelVersion = 0;
  bool hasModelVersion = false;
  StringRef producerName, producerVersion, domain;
  ArrayRef<OperatorSetIdProto> opsetImport;
  /// Null if missing (an error of Phase A).
  const GraphProto *graph = nullptr;
  ArrayRef<TrainingInfoProto> trainingInfo;
  ArrayRef<FunctionProto> functions;
};

template <typename T>
ArrayRef<T> AttributeProto::single_(AttributeKind k) const {
  const T *value = single<T>(k);
  return value ? ArrayRef<T>(value, 1) : ArrayRef<T>();
}

} // namespace mlir::ffn::proto

#endif // FFN_MLIR_IMPORT_PROTO_H
