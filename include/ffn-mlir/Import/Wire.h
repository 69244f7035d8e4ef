//===- Wire.h - Reads an ONNX protobuf file ---------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Our own reader of the protobuf wire format, since libprotobuf copies every
// payload and knows no position in the file. It uses an explicit stack, checks
// each length against the enclosing message, and never touches a payload.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_IMPORT_WIRE_H
#define FFN_MLIR_IMPORT_WIRE_H

#include "ffn-mlir/Import/Proto.h"
#include "ffn-mlir/Import/ReadOptions.h"
#include "ffn-mlir/Support/CodedError.h"
#include "ffn-mlir/Support/SafeFile.h"
#include "llvm/Support/Allocator.h"
#include <memory>

namespace mlir::ffn {

/// A parsed model with the file that its strings point into.
class ModelFile {
public:
  ~ModelFile();
  ModelFile(const ModelFile &) = delete;
  ModelFile &operator=(const ModelFile &) = delete;

  /// Opens and parses `path`. Null after an error: I001 not a protobuf, I002
  /// too much memory, I105 cannot be opened, I304 nested too deep. Warning
  /// I001W for each unknown field that was dropped for its size.
  static std::unique_ptr<ModelFile>
  read(llvm::StringRef path, const ReadOptions &options, CodedErrors &errors);
  /// Parses bytes in memory, which must outlive the result. `name` stands for
  /// the path: external data is looked for in its folder.
  static std::unique_ptr<ModelFile> parse(llvm::ArrayRef<uint8_t> bytes,
                                          llvm::StringRef name,
                                          const ReadOptions &options,
                                          CodedErrors &errors);

  const proto::ModelProto &getModel() const { return *model; }
  SafeFile &getFile() const { return *file; }
  const std::shared_ptr<SafeFile> &getSharedFile() const { return file; }
  /// Files named by external_data, opened on demand.
  ExternalFiles &getExternalFiles() const { return *externals; }
  const ReadOptions &getOptions() const { return options; }
  /// Bytes that the structs take.
  uint64_t getMemoryUse() const { return memoryUse; }

  /// To be called when all reading is done: I104 if the model or one of its
  /// external files changed meanwhile.
  llvm::LogicalResult checkUnchanged(CodedErrors &errors);

private:
  ModelFile() = default;
  static std::unique_ptr<ModelFile> finish(std::shared_ptr<SafeFile> file,
                                           llvm::StringRef path,
                                           const ReadOptions &options,
                                           CodedErrors &errors);

  std::shared_ptr<SafeFile> file;
  std::unique_ptr<ExternalFiles> externals;
  llvm::BumpPtrAllocator arena;
  proto::ModelProto *model = nullptr;
  ReadOptions options;
  uint64_t memoryUse = 0;
};

/// Wire types of protobuf.
enum class WireType : uint8_t {
  Varint = 0,
  Fixed64 = 1,
  Bytes = 2,
  StartGroup = 3,
  EndGroup = 4,
  Fixed32 = 5,
};

/// Steps through the fields of one message in memory, without descending.
/// For the few places that must look at wire bytes again: chunks of tensor
/// payloads, unknown fields.
class FieldCursor {
public:
  FieldCursor(const uint8_t *begin, const uint8_t *end)
      : pos(begin), end(end) {}

  /// The next field; false at the end and on malformed bytes (`failed`).
  bool next();
  bool failed() const { return bad; }

  uint32_t number = 0;
  WireType type = WireType::Varint;
  /// Value of Varint, Fixed32 and Fixed64 fields.
  uint64_t value = 0;
  /// Content of Bytes fields.
  llvm::ArrayRef<uint8_t> bytes;

private:
  const uint8_t *pos, *end;
  bool bad = false;
};

/// Reads one varint of at most ten bytes and moves `pos`; false on a
/// truncated or overlong one.
bool readVarint(const uint8_t *&pos, const uint8_t *end, uint64_t &value);

} // namespace mlir::ffn

#endif // FFN_MLIR_IMPORT_WIRE_H
