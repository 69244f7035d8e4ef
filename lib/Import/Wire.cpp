//===- Wire.cpp - Reads an ONNX protobuf file -----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Each message is walked twice: first its field headers are counted, so that
// every list gets its exact memory, then it is filled. Nested messages are
// skipped by their length in the first walk, so each header of the file is
// read twice, whatever the nesting.
//
// A mapped file can change between the walks. All filling is bounded by what
// was counted; a difference is reported as a changed file.
//
//===----------------------------------------------------------------------===//

#include "WireInternal.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"
#include <cstring>

using namespace llvm;
using namespace mlir::ffn::proto;

namespace mlir::ffn {

bool readVarint(const uint8_t *&pos, const uint8_t *end, uint64_t &value) {
  uint64_t result = 0;
  const uint8_t *p = pos;
  for (unsigned shift = 0; shift < 70; shift += 7) {
    if (p == end)
      return false;
    uint8_t byte = *p++;
    // The tenth byte has room for one bit.
    if (shift == 63 && byte > 1)
      return false;
    result |= uint64_t(byte & 0x7f) << shift;
    if (!(byte & 0x80)) {
      value = result;
      pos = p;
      return true;
    }
  }
  return false;
}

bool FieldCursor::next() {
  if (bad || pos == end)
    return false;
  bad = true;
  uint64_t key;
  if (!readVarint(pos, end, key) || key >> 32 || !(key >> 3))
    return false;
  number = static_cast<uint32_t>(key >> 3);
  type = static_cast<WireType>(key & 7);
  switch (type) {
  case WireType::Varint:
    if (!readVarint(pos, end, value))
      return false;
    break;
  case WireType::Fixed64:
  case WireType::Fixed32: {
    size_t n = type == WireType::Fixed64 ? 8 : 4;
    if (static_cast<size_t>(end - pos) < n)
      return false;
    value = 0;
    std::memcpy(&value, pos, n);
    pos += n;
    break;
  }
  case WireType::Bytes: {
    uint64_t length;
    if (!readVarint(pos, end, length) ||
        length > static_cast<uint64_t>(end - pos))
      return false;
    bytes = ArrayRef<uint8_t>(pos, length);
    pos += length;
    break;
  }
  default:
    return false;
  }
  bad = false;
  return true;
}

namespace wire {
namespace {

/// Header of one field and where its content lies.
struct Header {
  uint32_t number;
  WireType type;
  uint64_t start;   // of the tag
  uint64_t content; // first byte after tag (and length)
  uint64_t size;    // of the content
  uint64_t value;   // Varint, Fixed32, Fixed64
};

class Reader final : public RareSource {
public:
  Reader(SafeFile &file, BumpPtrAllocator &arena, const ImportLimits &limits,
         CodedErrors &errors)
      : file(file), arena(arena), limits(limits), errors(errors),
        fileSize(file.getSize()) {
    budget = limits.maxParseMemory + 2 * fileSize;
    if (file.isMapped())
      readyEnd = fileSize;
  }

  ModelProto *run();
  uint64_t getUsed() const { return used; }
  RareFields &rare(MessageBase &message) override;

private:
  struct Frame {
    const MessageInfo *info;
    Msg kind;
    void *message;
    uint64_t pos, end;
    size_t slots;
  };
  /// Progress in the list of one repeated field.
  struct Slot {
    char *data = nullptr;
    uint64_t next = 0, count = 0;
  };

  LogicalResult malformed(uint64_t at, const Twine &reason);
  LogicalResult changed();
  void *allocate(uint64_t count, uint32_t size, uint32_t align);
  bool ready(uint64_t offset, uint64_t length) {
    if (offset >= readyBegin && offset + length <= readyEnd)
      return true;
    return fetch(offset, length);
  }
  bool fetch(uint64_t offset, uint64_t length);
  LogicalResult readHeader(const Frame &frame, uint64_t pos, Header &header);
  StringRef text(const Header &h) {
    return StringRef(reinterpret_cast<const char *>(file.getBase()) + h.content,
                     h.size);
  }
  LogicalResult push(Msg kind, void *message, uint64_t begin, uint64_t end);
  LogicalResult count(Frame &frame);
  LogicalResult countField(Frame &frame, const FieldInfo &field,
                           const Header &header, Slot &slot);
  LogicalResult fill(size_t depth);
  LogicalResult fillField(size_t depth, const FieldInfo &field,
                          const Header &header, Slot &slot);
  bool checkWireType(const FieldInfo &field, WireType type) const;
  void notePayload(TensorProto &tensor, uint8_t bit, const Header &header);

  SafeFile &file;
  BumpPtrAllocator &arena;
  const ImportLimits &limits;
  CodedErrors &errors;
  uint64_t fileSize;
  /// Bytes known to be readable, so that most headers cost two comparisons.
  uint64_t readyBegin = 0, readyEnd = 0;
  uint64_t used = 0, budget = 0;
  SmallVector<Frame, 32> frames;
  SmallVector<Slot, 256> slots;
};

LogicalResult Reader::malformed(uint64_t at, const Twine &reason) {
  return errors.error("I001", "",
                      "not a valid ONNX protobuf: " + reason + " (at byte " +
                          Twine(at) + " of " + Twine(fileSize) + ")");
}

LogicalResult Reader::changed() {
  return errors.error("I104", "", "the model file changed while being read");
}

void *Reader::allocate(uint64_t count, uint32_t size, uint32_t align) {
  uint64_t bytes;
  if (__builtin_mul_overflow(count, uint64_t(size), &bytes) ||
      bytes > budget - used) {
    (void)errors.error(
        "I002", "",
        "the contents need more than " + Twine(budget) +
            " bytes of memory for a file of " + Twine(fileSize) + " bytes",
        {"the limit is twice the size of the file and --max-parse-memory"});
    return nullptr;
  }
  used += bytes;
  return arena.Allocate(bytes, Align(align));
}

RareFields &Reader::rare(MessageBase &message) {
  if (!message.rare) {
    // Not against the budget: a refusal here would need a way out of every
    // setter. The fields of one message are at most one of these, and the
    // message itself was counted.
    used = std::min(budget, used + sizeof(RareFields));
    message.rare = new (arena.Allocate<RareFields>()) RareFields();
  }
  return const_cast<RareFields &>(*message.rare);
}

bool Reader::fetch(uint64_t offset, uint64_t length) {
  // Files are read in blocks; asking for the rest of the block saves calls.
  uint64_t end = std::min(alignTo(offset + length, 65536), fileSize);
  if (failed(file.ensure(offset, end - offset, errors)))
    return false;
  if (offset < readyBegin || offset > readyEnd)
    readyBegin = offset;
  readyEnd = std::max(readyEnd, end);
  if (readyBegin == offset)
    readyEnd = end;
  return true;
}

LogicalResult Reader::readHeader(const Frame &frame, uint64_t pos,
                                 Header &header) {
  uint64_t left = frame.end - pos;
  // Looking ahead further than the header makes the next calls cheap when
  // the file is read piecewise.
  if (!ready(pos, std::min<uint64_t>(left, 20)))
    return failure();
  const uint8_t *base = file.getBase();
  const uint8_t *p = base + pos, *end = base + frame.end;
  header.start = pos;
  uint64_t key;
  if (LLVM_LIKELY(*p < 0x80)) {
    key = *p++;
  } else if (!readVarint(p, end, key)) {
    return malformed(pos, "a field of " + Twine(frame.info->name) +
                              " has no complete tag");
  }
  header.number = static_cast<uint32_t>(key >> 3);
  header.type = static_cast<WireType>(key & 7);
  if (key >> 32 || header.number == 0)
    return malformed(pos, "a field of " + Twine(frame.info->name) +
                              " has no valid number");
  header.value = 0;
  switch (header.type) {
  case WireType::Varint: {
    const uint8_t *begin = p;
    if (!readVarint(p, end, header.value))
      return malformed(pos, "field " + Twine(header.number) + " of " +
                                frame.info->name + " has no complete number");
    header.content = begin - base;
    header.size = p - begin;
    return success();
  }
  case WireType::Fixed64:
  case WireType::Fixed32: {
    header.content = p - base;
    header.size = header.type == WireType::Fixed64 ? 8 : 4;
    if (header.size > frame.end - header.content)
      return malformed(pos, "field " + Twine(header.number) + " of " +
                                frame.info->name + " has no complete number");
    std::memcpy(&header.value, p, header.size);
    return success();
  }
  case WireType::Bytes: {
    uint64_t length;
    if (!readVarint(p, end, length))
      return malformed(pos, "field " + Twine(header.number) + " of " +
                                frame.info->name + " has no complete length");
    header.content = p - base;
    header.size = length;
    if (length > frame.end - header.content)
      return malformed(
          pos, "field " + Twine(header.number) + " of " + frame.info->name +
                   " claims " + Twine(length) + " bytes where " +
                   Twine(frame.end - header.content) + " are left");
    return success();
  }
  default:
    return malformed(pos, "field " + Twine(header.number) + " of " +
                              frame.info->name + " has wire type " +
                              Twine(unsigned(key & 7)) +
                              ", which ONNX does not use");
  }
}

bool Reader::checkWireType(const FieldInfo &field, WireType type) const {
  switch (field.kind) {
  case FieldKind::Int:
    return type == WireType::Varint;
  case FieldKind::Float:
    return type == WireType::Fixed32;
  case FieldKind::Ints:
    return type == WireType::Varint || type == WireType::Bytes;
  case FieldKind::Floats:
    return type == WireType::Fixed32 || type == WireType::Bytes;
  case FieldKind::Payload:
    if (type == WireType::Bytes)
      return true;
    switch (field.payload) {
    case PF_Float:
      return type == WireType::Fixed32;
    case PF_Double:
      return type == WireType::Fixed64;
    case PF_Int32:
    case PF_Int64:
    case PF_UInt64:
      return type == WireType::Varint;
    default:
      return false;
    }
  default:
    return type == WireType::Bytes;
  }
}

LogicalResult Reader::push(Msg kind, void *message, uint64_t begin,
                           uint64_t end) {
  if (frames.size() > limits.maxMessageNesting)
    return errors.error("I304", "",
                        "messages are nested " + Twine(frames.size()) +
                            " deep, limit " + Twine(limits.maxMessageNesting) +
                            " (at byte " + Twine(begin) + " of " +
                            Twine(fileSize) + ")",
                        {"the limit can be set by --max-message-nesting"});
  const MessageInfo &info = getMessageInfo(kind);
  if (info.base)
    info.base(message)->offset = begin;
  if (kind == Msg::Tensor)
    static_cast<TensorProto *>(message)->size = end - begin;
  frames.push_back({&info, kind, message, begin, end, slots.size()});
  slots.resize(slots.size() + info.fields.size() + 1);
  return count(frames.back());
}

LogicalResult Reader::countField(Frame &frame, const FieldInfo &field,
                                 const Header &header, Slot &slot) {
  switch (field.kind) {
  case FieldKind::Message:
  case FieldKind::Inline:
    if (slot.count++)
      return malformed(header.start, Twine(frame.info->name) + " has two " +
                                         field.name + " fields");
    return success();
  case FieldKind::Strings:
  case FieldKind::Messages:
    ++slot.count;
    return success();
  case FieldKind::Ints:
    if (header.type == WireType::Varint) {
      ++slot.count;
      return success();
    }
    if (header.size) {
      if (!ready(header.content, header.size))
        return failure();
      const uint8_t *p = file.getBase() + header.content;
      uint64_t ends = 0;
      for (uint64_t i = 0; i < header.size; ++i)
        ends += p[i] < 0x80;
      slot.count += ends;
    }
    return success();
  case FieldKind::Floats:
    if (header.type == WireType::Fixed32) {
      ++slot.count;
      return success();
    }
    if (header.size % 4)
      return malformed(header.start, "field " + Twine(field.name) + " of " +
                                         frame.info->name +
                                         " is not a whole number of floats");
    slot.count += header.size / 4;
    return success();
  default:
    return success();
  }
}

LogicalResult Reader::count(Frame &frame) {
  Slot *own = slots.data() + frame.slots;
  const MessageInfo &info = *frame.info;
  Slot &unknown = own[info.fields.size()];
  unsigned alternatives = 0;
  for (uint64_t pos = frame.pos; pos < frame.end;) {
    Header header;
    if (failed(readHeader(frame, pos, header)))
      return failure();
    pos = header.content + header.size;
    int index = header.number < info.byNumber.size()
                    ? info.byNumber[header.number]
                    : -1;
    if (index < 0) {
      if (info.base && pos - header.start <= limits.maxUnknownFieldBytes)
        ++unknown.count;
      else
        errors.warning("I001", "",
                       "unknown field " + Twine(header.number) + " of " +
                           info.name + " at byte " + Twine(header.start) +
                           " (" + Twine(header.size) + " bytes) is dropped");
      continue;
    }
    const FieldInfo &field = info.fields[index];
    if (!checkWireType(field, header.type))
      return malformed(header.start, "field " + Twine(field.name) + " of " +
                                         info.name + " has wire type " +
                                         Twine(unsigned(header.type)));
    if (frame.kind == Msg::Type && field.kind == FieldKind::Inline &&
        ++alternatives > 1)
      return malformed(header.start, "a TypeProto is of two kinds");
    if (failed(countField(frame, field, header, own[index])))
      return failure();
  }

  for (auto [index, field] : enumerate(info.fields)) {
    Slot &slot = own[index];
    if (!slot.count)
      continue;
    FieldValue value;
    value.count = slot.count;
    switch (field.kind) {
    case FieldKind::Strings:
      value.data = allocate(slot.count, sizeof(StringRef), alignof(StringRef));
      if (value.data)
        std::uninitialized_value_construct_n(
            static_cast<StringRef *>(value.data), slot.count);
      break;
    case FieldKind::Ints:
      value.data = allocate(slot.count, sizeof(int64_t), alignof(int64_t));
      if (value.data)
        std::memset(value.data, 0, slot.count * sizeof(int64_t));
      break;
    case FieldKind::Floats:
      value.data = allocate(slot.count, sizeof(float), alignof(float));
      if (value.data)
        std::memset(value.data, 0, slot.count * sizeof(float));
      break;
    case FieldKind::Messages: {
      const MessageInfo &child = getMessageInfo(field.child);
      value.data = allocate(slot.count, child.size, child.align);
      if (value.data)
        child.construct(value.data, slot.count);
      break;
    }
    default:
      continue;
    }
    if (!value.data)
      return failure();
    slot.data = static_cast<char *>(value.data);
    field.set(*this, frame.message, value);
  }
  if (unknown.count) {
    void *data = allocate(unknown.count, sizeof(StringRef), alignof(StringRef));
    if (!data)
      return failure();
    std::uninitialized_value_construct_n(static_cast<StringRef *>(data),
                                         unknown.count);
    unknown.data = static_cast<char *>(data);
    rare(*info.base(frame.message)).unknown =
        ArrayRef<StringRef>(static_cast<StringRef *>(data), unknown.count);
  }
  return success();
}

void Reader::notePayload(TensorProto &tensor, uint8_t bit,
                         const Header &header) {
  // A packed list without elements is what protobuf writes for no list.
  if (header.type == WireType::Bytes && !header.size && bit != PF_Raw &&
      bit != PF_String)
    return;
  bool first = tensor.payloadFields == 0;
  tensor.payloadFields |= bit;
  tensor.payloadIsOneChunk =
      first && header.type == WireType::Bytes && bit != PF_String;
  if (first)
    tensor.payload = {header.content, header.size};
}

LogicalResult Reader::fillField(size_t depth, const FieldInfo &field,
                                const Header &header, Slot &slot) {
  void *message = frames[depth].message;
  FieldValue value;
  switch (field.kind) {
  case FieldKind::String:
    if (!ready(header.content, header.size))
      return failure();
    value.string = text(header);
    field.set(*this, message, value);
    return success();
  case FieldKind::Int:
    value.integer = static_cast<int64_t>(header.value);
    field.set(*this, message, value);
    return success();
  case FieldKind::Float: {
    uint32_t bits = static_cast<uint32_t>(header.value);
    std::memcpy(&value.real, &bits, sizeof(bits));
    field.set(*this, message, value);
    return success();
  }
  case FieldKind::Payload:
    notePayload(*static_cast<TensorProto *>(message), field.payload, header);
    return success();
  case FieldKind::Inline:
    field.set(*this, message, value);
    return push(field.child, message, header.content,
                header.content + header.size);
  case FieldKind::Message: {
    const MessageInfo &child = getMessageInfo(field.child);
    value.data = allocate(1, child.size, child.align);
    if (!value.data)
      return failure();
    value.count = 1;
    child.construct(value.data, 1);
    field.set(*this, message, value);
    return push(field.child, value.data, header.content,
                header.content + header.size);
  }
  case FieldKind::Messages: {
    if (slot.next == slot.count)
      return changed();
    const MessageInfo &child = getMessageInfo(field.child);
    return push(field.child, slot.data + slot.next++ * child.size,
                header.content, header.content + header.size);
  }
  case FieldKind::Strings:
    if (slot.next == slot.count)
      return changed();
    if (!ready(header.content, header.size))
      return failure();
    reinterpret_cast<StringRef *>(slot.data)[slot.next++] = text(header);
    return success();
  case FieldKind::Ints: {
    auto *out = reinterpret_cast<int64_t *>(slot.data);
    if (header.type == WireType::Varint) {
      if (slot.next == slot.count)
        return changed();
      out[slot.next++] = static_cast<int64_t>(header.value);
      return success();
    }
    if (!header.size)
      return success();
    if (!ready(header.content, header.size))
      return failure();
    const uint8_t *p = file.getBase() + header.content;
    for (const uint8_t *end = p + header.size; p != end;) {
      uint64_t number;
      if (!readVarint(p, end, number))
        return malformed(header.start, "field " + Twine(field.name) +
                                           " has no complete number");
      if (slot.next == slot.count)
        return changed();
      out[slot.next++] = static_cast<int64_t>(number);
    }
    return success();
  }
  case FieldKind::Floats: {
    uint64_t n = header.type == WireType::Fixed32 ? 1 : header.size / 4;
    if (!n)
      return success();
    if (n > slot.count - slot.next)
      return changed();
    if (!ready(header.content, n * 4))
      return failure();
    std::memcpy(slot.data + slot.next * 4, file.getBase() + header.content,
                n * 4);
    slot.next += n;
    return success();
  }
  }
  return failure();
}

LogicalResult Reader::fill(size_t depth) {
  // Runs until the message ends or a nested one was pushed.
  while (frames[depth].pos < frames[depth].end) {
    Frame &frame = frames[depth];
    const MessageInfo &info = *frame.info;
    Header header;
    if (failed(readHeader(frame, frame.pos, header)))
      return failure();
    frame.pos = header.content + header.size;
    int index = header.number < info.byNumber.size()
                    ? info.byNumber[header.number]
                    : -1;
    Slot *own = slots.data() + frame.slots;
    if (index < 0) {
      Slot &unknown = own[info.fields.size()];
      uint64_t length = frame.pos - header.start;
      if (!info.base || length > limits.maxUnknownFieldBytes)
        continue;
      if (unknown.next == unknown.count)
        return changed();
      if (!ready(header.start, length))
        return failure();
      reinterpret_cast<StringRef *>(unknown.data)[unknown.next++] = StringRef(
          reinterpret_cast<const char *>(file.getBase()) + header.start,
          length);
      continue;
    }
    const FieldInfo &field = info.fields[index];
    if (!checkWireType(field, header.type))
      return changed();
    if (failed(fillField(depth, field, header, own[index])))
      return failure();
    if (frames.size() > depth + 1)
      return success();
  }

  Frame &frame = frames[depth];
  if (frame.kind == Msg::Attribute) {
    auto &attribute = *static_cast<AttributeProto *>(frame.message);
    if (!attribute.hasType || attribute.kind == AttributeKind::Undefined)
      attribute.kind = attribute.storedKind;
  }
  slots.truncate(frame.slots);
  frames.pop_back();
  return success();
}

ModelProto *Reader::run() {
  auto *model = static_cast<ModelProto *>(allocate(1, sizeof(ModelProto), 16));
  if (!model)
    return nullptr;
  new (model) ModelProto();
  if (failed(push(Msg::Model, model, 0, fileSize)))
    return nullptr;
  while (!frames.empty())
    if (failed(fill(frames.size() - 1)))
      return nullptr;
  return model;
}

} // namespace
} // namespace wire

ModelFile::~ModelFile() = default;

std::unique_ptr<ModelFile> ModelFile::finish(std::shared_ptr<SafeFile> file,
                                             StringRef path,
                                             const ReadOptions &options,
                                             CodedErrors &errors) {
  if (file->getSize() > options.limits.maxProtobufBytes) {
    (void)errors.error(
        "I001", "",
        "the file has " + Twine(file->getSize()) +
            " bytes, more than the limit of a protobuf, " +
            Twine(options.limits.maxProtobufBytes),
        {"the limit can be set by --max-protobuf-bytes; larger weights belong "
         "into external data"});
    return nullptr;
  }
  if (file->getSize() == 0) {
    (void)errors.error("I001", "",
                       "not a valid ONNX protobuf: the file is empty (at byte "
                       "0 of 0)");
    return nullptr;
  }
  std::unique_ptr<ModelFile> result(new ModelFile());
  result->options = options;
  wire::Reader reader(*file, result->arena, options.limits, errors);
  result->model = reader.run();
  if (!result->model)
    return nullptr;
  result->memoryUse = reader.getUsed();
  result->externals =
      std::make_unique<ExternalFiles>(path, file.get(), options.files);
  result->file = std::move(file);
  return result;
}

std::unique_ptr<ModelFile> ModelFile::read(StringRef path,
                                           const ReadOptions &options,
                                           CodedErrors &errors) {
  std::shared_ptr<SafeFile> file = SafeFile::open(path, options.files, errors);
  return file ? finish(std::move(file), path, options, errors) : nullptr;
}

std::unique_ptr<ModelFile> ModelFile::parse(ArrayRef<uint8_t> bytes,
                                            StringRef name,
                                            const ReadOptions &options,
                                            CodedErrors &errors) {
  return finish(SafeFile::fromMemory(name, bytes), name, options, errors);
}

LogicalResult ModelFile::checkUnchanged(CodedErrors &errors) {
  LogicalResult own = file->checkUnchanged(errors);
  LogicalResult others = externals->checkUnchanged(errors);
  return success(succeeded(own) && succeeded(others));
}

} // namespace mlir::ffn
