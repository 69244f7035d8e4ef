//===- WireWriter.h - Writes protobuf and output files ----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// The writer keeps field headers and small values in memory. Payloads are
// callbacks that run when the message is written, so weights pass through a
// buffer of one chunk and are never in memory at once.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_EXPORT_WIREWRITER_H
#define FFN_MLIR_EXPORT_WIREWRITER_H

#include "ffn-mlir/Support/CodedError.h"
#include "ffn-mlir/Support/TemporaryFolder.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace mlir::ffn {

class SafeFile;

/// Takes the next bytes of a payload; failure stops the producer.
using ByteSink =
    llvm::function_ref<llvm::LogicalResult(llvm::ArrayRef<uint8_t>)>;
/// Produces a payload of a size that was announced before, in chunks of any
/// size. Must produce the same bytes each time it is called. A failure must
/// have been diagnosed by the producer.
using PayloadProducer = std::function<llvm::LogicalResult(ByteSink)>;

/// A file that appears under its name only when it is complete: written to a
/// temporary file in the same folder, synced, then renamed. Destroyed without
/// `commit`, or interrupted, it leaves nothing behind.
class OutputFile {
public:
  OutputFile() = default;
  ~OutputFile();
  OutputFile(const OutputFile &) = delete;
  OutputFile &operator=(const OutputFile &) = delete;

  /// Errors are FFN-O101 with the system's text.
  llvm::LogicalResult create(llvm::StringRef path, CodedErrors &errors);
  llvm::LogicalResult write(llvm::ArrayRef<uint8_t> bytes);
  /// Zero bytes up to the next multiple of `alignment`.
  llvm::LogicalResult alignTo(uint64_t alignment);
  /// Bytes written so far.
  uint64_t tell() const { return position; }
  llvm::LogicalResult commit();
  void discard();

private:
  llvm::LogicalResult fail(llvm::StringRef action, int error);
  llvm::LogicalResult flush();

  std::string path;
  TemporaryPath temporary;
  int fd = -1;
  uint64_t position = 0;
  std::vector<uint8_t> buffer;
  CodedErrors *errors = nullptr;
  bool failed = false;
};

/// Builds one protobuf message.
///
///   WireWriter w;
///   w.writeInt(1, irVersion);
///   { auto graph = w.message(7); w.writeString(2, "main"); ... }
///   w.writeTo(file);
class WireWriter {
public:
  /// Ends the message when destroyed.
  class Scope {
  public:
    explicit Scope(WireWriter &writer) : writer(&writer) {}
    Scope(Scope &&other) : writer(other.writer) { other.writer = nullptr; }
    ~Scope() {
      if (writer)
        writer->endMessage();
    }

  private:
    WireWriter *writer;
  };

  /// Varint fields: int32, int64, enum, bool. Negative values take ten bytes,
  /// as protobuf demands.
  void writeInt(uint32_t field, int64_t value);
  void writeUInt(uint32_t field, uint64_t value);
  void writeFloat(uint32_t field, float value);
  void writeDouble(uint32_t field, double value);
  void writeString(uint32_t field, llvm::StringRef value);
  void writeBytes(uint32_t field, llvm::ArrayRef<uint8_t> value);
  /// The same, skipped if empty.
  void writeStringIfSet(uint32_t field, llvm::StringRef value);
  /// Repeated numbers, packed or one by one (proto2 default: one by one).
  /// Nothing is written for an empty list.
  void writePackedInts(uint32_t field, llvm::ArrayRef<int64_t> values);
  void writeRepeatedInts(uint32_t field, llvm::ArrayRef<int64_t> values);
  void writePackedFloats(uint32_t field, llvm::ArrayRef<float> values);
  void writeRepeatedFloats(uint32_t field, llvm::ArrayRef<float> values);
  /// Whole fields, tags included, as `RareFields::unknown` keeps them.
  void writeRaw(llvm::ArrayRef<uint8_t> fields);
  void writeRaw(llvm::StringRef fields);
  /// A bytes field of `size` bytes that `producer` makes while writing.
  void writePayload(uint32_t field, uint64_t size, PayloadProducer producer);

  /// A StringStringEntryProto.
  void writeEntry(uint32_t field, llvm::StringRef key, llvm::StringRef value);

  void beginMessage(uint32_t field);
  void endMessage();
  [[nodiscard]] Scope message(uint32_t field) {
    beginMessage(field);
    return Scope(*this);
  }

  /// Bytes of the whole message, payloads included.
  uint64_t getSize() const { return logicalSize; }
  /// Bytes of it that are in memory.
  uint64_t getBufferedSize() const { return buffer.size(); }

  /// Writes the message, running the producers. Failure if one of them or
  /// `sink` fails, or one makes another number of bytes than announced (an
  /// error FFN-O102 in `errors`).
  llvm::LogicalResult writeTo(ByteSink sink, CodedErrors &errors) const;
  llvm::LogicalResult writeTo(OutputFile &file, CodedErrors &errors) const;
  llvm::LogicalResult writeTo(llvm::raw_ostream &os, CodedErrors &errors) const;

private:
  /// Something that belongs at `position` of the buffer but is not in it: the
  /// length of a message, known only at its end, or a payload.
  struct Insertion {
    uint64_t position;
    /// Value of the length, or bytes of the payload.
    uint64_t size;
    /// Index of the producer, -1 for a length.
    int64_t producer;
  };
  struct Open {
    uint64_t insertion, logicalStart;
  };
  void tag(uint32_t field, unsigned wireType);
  void varint(uint64_t value);
  void append(const void *bytes, uint64_t size);

  std::vector<uint8_t> buffer;
  std::vector<Insertion> insertions;
  std::vector<PayloadProducer> producers;
  std::vector<Open> open;
  uint64_t logicalSize = 0;
};

/// The file beside a model that external data goes to.
class ExternalDataWriter {
public:
  /// A range of the file.
  struct Range {
    uint64_t offset = 0, size = 0;
  };
  llvm::LogicalResult create(llvm::StringRef path, CodedErrors &errors) {
    return file.create(path, errors);
  }
  /// Appends a payload at the next multiple of `alignment` (ONNX recommends
  /// 4096 for mapping, 64 suffices for reading).
  llvm::FailureOr<Range> append(uint64_t size, const PayloadProducer &producer,
                                CodedErrors &errors, uint64_t alignment = 64);
  llvm::LogicalResult commit() { return file.commit(); }
  void discard() { file.discard(); }
  uint64_t getSize() const { return file.tell(); }

private:
  OutputFile file;
};

/// Producer of a range of a file, in chunks of 1 MiB.
PayloadProducer makeFileProducer(std::shared_ptr<SafeFile> file,
                                 uint64_t offset, uint64_t size,
                                 CodedErrors &errors);
/// Producer of bytes that it owns.
PayloadProducer makeBytesProducer(std::vector<uint8_t> bytes);

} // namespace mlir::ffn

#endif // FFN_MLIR_EXPORT_WIREWRITER_H
