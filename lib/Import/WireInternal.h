//===- WireInternal.h - Tables that drive the wire reader -------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_IMPORT_WIREINTERNAL_H
#define FFN_MLIR_LIB_IMPORT_WIREINTERNAL_H

#include "ffn-mlir/Import/Wire.h"

namespace mlir::ffn::wire {

/// Messages of the schema. TypeTensor .. Shape are parts of a TypeProto that
/// are read into the TypeProto itself.
enum class Msg : uint8_t {
  Model,
  Graph,
  Node,
  Attribute,
  Tensor,
  Sparse,
  ValueInfo,
  Type,
  TypeTensor,
  TypeSparse,
  TypeSequence,
  TypeOptional,
  TypeMap,
  TypeOpaque,
  Shape,
  Dimension,
  Function,
  OpsetId,
  Entry,
  Annotation,
  Training,
  None,
};
inline constexpr unsigned kNumMessages = static_cast<unsigned>(Msg::None);

enum class FieldKind : uint8_t {
  String,
  Int,
  Float,
  /// A singular message in a struct of its own.
  Message,
  /// A singular message whose fields belong to the struct of the parent.
  Inline,
  Strings,
  Ints,
  Floats,
  Messages,
  /// A payload of a tensor: only its place is noted. `payload` is the bit.
  Payload,
};

/// What a field setter gets; only the members of its kind are set.
struct FieldValue {
  llvm::StringRef string;
  int64_t integer = 0;
  float real = 0;
  void *data = nullptr;
  uint64_t count = 0;
};

class RareSource {
public:
  virtual ~RareSource() = default;
  /// The rare fields of a message, made when first asked for.
  virtual proto::RareFields &rare(proto::MessageBase &message) = 0;
};

using FieldSetter = void (*)(RareSource &, void *message,
                             const FieldValue &value);

struct FieldInfo {
  uint32_t number;
  FieldKind kind;
  const char *name;
  FieldSetter set = nullptr;
  Msg child = Msg::None;
  uint8_t payload = 0;
};

struct MessageInfo {
  const char *name = nullptr;
  llvm::ArrayRef<FieldInfo> fields;
  /// Field number to index in `fields`, -1 for unknown ones.
  std::array<int8_t, 32> byNumber{};
  uint32_t size = 0, align = 0;
  void (*construct)(void *memory, uint64_t count) = nullptr;
  /// Null for messages that have no place for unknown fields and offsets.
  proto::MessageBase *(*base)(void *message) = nullptr;
};

const MessageInfo &getMessageInfo(Msg message);

} // namespace mlir::ffn::wire

#endif // FFN_MLIR_LIB_IMPORT_WIREINTERNAL_H
