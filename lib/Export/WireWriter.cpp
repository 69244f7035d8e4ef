//===- WireWriter.cpp - Writes protobuf and output files ------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Export/WireWriter.h"
#include "ffn-mlir/Support/Assert.h"
#include "ffn-mlir/Support/SafeFile.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace llvm;

namespace mlir::ffn {

static constexpr uint64_t kChunk = 1 << 20;

//===----------------------------------------------------------------------===//
// OutputFile
//===----------------------------------------------------------------------===//

OutputFile::~OutputFile() { discard(); }

LogicalResult OutputFile::fail(StringRef action, int error) {
  failed = true;
  (void)errors->error("O101", "",
                      "file \"" + escapeName(path) + "\" cannot be " + action +
                          ": " + std::strerror(error));
  discard();
  return failure();
}

LogicalResult OutputFile::create(StringRef name, CodedErrors &sink) {
  discard();
  path = name.str();
  errors = &sink;
  failed = false;
  position = 0;
  if (name.empty() || name.contains('\0'))
    return fail("created", ENOENT);
  // What would fail at the rename should fail before hours of work.
  struct stat st;
  bool exists = stat(path.c_str(), &st) == 0;
  if (exists && S_ISDIR(st.st_mode))
    return fail("created", EISDIR);
  if (exists && !S_ISREG(st.st_mode)) {
    // /dev/stdout, /dev/null and pipes cannot be replaced, only written.
    fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    return fd >= 0 ? success() : fail("opened", errno);
  }
  // Not mkstemp: it ignores the user's mask, which cannot be asked for without
  // setting it for all threads.
  static std::atomic<unsigned> counter{0};
  mode_t mode = exists ? st.st_mode & 0777 : 0666;
  for (unsigned attempt = 0; attempt < 100 && fd < 0; ++attempt) {
    temporary.claim(path + "." + std::to_string(getpid()) + "-" +
                    std::to_string(counter++) + ".tmp");
    fd = ::open(temporary.get().c_str(),
                O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd >= 0)
      return success();
    int error = errno;
    temporary.release();
    if (error != EEXIST)
      return fail("created", error);
  }
  return fail("created", EEXIST);
}

static int writeAll(int fd, ArrayRef<uint8_t> bytes) {
  while (!bytes.empty()) {
    ssize_t n =
        ::write(fd, bytes.data(), std::min<size_t>(bytes.size(), 1u << 30));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return errno;
    if (n == 0)
      return ENOSPC;
    bytes = bytes.drop_front(static_cast<size_t>(n));
  }
  return 0;
}

LogicalResult OutputFile::flush() {
  int error = writeAll(fd, buffer);
  buffer.clear();
  return error ? fail("written", error) : success();
}

LogicalResult OutputFile::write(ArrayRef<uint8_t> bytes) {
  if (failed || fd < 0)
    return failure();
  position += bytes.size();
  if (buffer.size() + bytes.size() <= kChunk) {
    buffer.insert(buffer.end(), bytes.begin(), bytes.end());
    return success();
  }
  if (llvm::failed(flush()))
    return failure();
  if (bytes.size() < kChunk) {
    buffer.assign(bytes.begin(), bytes.end());
    return success();
  }
  int error = writeAll(fd, bytes);
  return error ? fail("written", error) : success();
}

LogicalResult OutputFile::alignTo(uint64_t alignment) {
  static const uint8_t zeros[4096] = {};
  uint64_t missing = llvm::alignTo(position, alignment) - position;
  while (missing) {
    uint64_t n = std::min<uint64_t>(missing, sizeof(zeros));
    if (llvm::failed(write(ArrayRef<uint8_t>(zeros, n))))
      return failure();
    missing -= n;
  }
  return success();
}

LogicalResult OutputFile::commit() {
  if (failed || fd < 0)
    return failure();
  if (llvm::failed(flush()))
    return failure();
  if (!temporary.empty()) {
    if (fsync(fd) != 0)
      return fail("written", errno);
    if (rename(temporary.get().c_str(), path.c_str()) != 0)
      return fail("renamed", errno);
    temporary.release();
  }
  // Some file systems report a full disk only here; the name is taken then,
  // but after fsync there is nothing left to write.
  int closing = close(fd);
  fd = -1;
  return closing == 0 ? success() : fail("written", errno);
}

void OutputFile::discard() {
  if (fd >= 0)
    close(fd);
  fd = -1;
  buffer.clear();
  temporary.remove();
}

//===----------------------------------------------------------------------===//
// WireWriter
//===----------------------------------------------------------------------===//

static unsigned encodeVarint(uint64_t value, uint8_t *out) {
  unsigned n = 0;
  while (value >= 0x80) {
    out[n++] = static_cast<uint8_t>(value) | 0x80;
    value >>= 7;
  }
  out[n++] = static_cast<uint8_t>(value);
  return n;
}

static unsigned varintSize(uint64_t value) {
  uint8_t scratch[10];
  return encodeVarint(value, scratch);
}

void WireWriter::append(const void *bytes, uint64_t size) {
  auto *begin = static_cast<const uint8_t *>(bytes);
  buffer.insert(buffer.end(), begin, begin + size);
  logicalSize += size;
}

void WireWriter::varint(uint64_t value) {
  uint8_t bytes[10];
  append(bytes, encodeVarint(value, bytes));
}

void WireWriter::tag(uint32_t field, unsigned wireType) {
  varint(uint64_t(field) << 3 | wireType);
}

void WireWriter::writeInt(uint32_t field, int64_t value) {
  writeUInt(field, static_cast<uint64_t>(value));
}

void WireWriter::writeUInt(uint32_t field, uint64_t value) {
  tag(field, 0);
  varint(value);
}

void WireWriter::writeFloat(uint32_t field, float value) {
  tag(field, 5);
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  uint8_t little[4];
  support::endian::write32le(little, bits);
  append(little, 4);
}

void WireWriter::writeDouble(uint32_t field, double value) {
  tag(field, 1);
  uint64_t bits;
  std::memcpy(&bits, &value, 8);
  uint8_t little[8];
  support::endian::write64le(little, bits);
  append(little, 8);
}

void WireWriter::writeBytes(uint32_t field, ArrayRef<uint8_t> value) {
  tag(field, 2);
  varint(value.size());
  append(value.data(), value.size());
}

void WireWriter::writeString(uint32_t field, StringRef value) {
  writeBytes(field, arrayRefFromStringRef(value));
}

void WireWriter::writeStringIfSet(uint32_t field, StringRef value) {
  if (!value.empty())
    writeString(field, value);
}

void WireWriter::writePackedInts(uint32_t field, ArrayRef<int64_t> values) {
  if (values.empty())
    return;
  uint64_t size = 0;
  for (int64_t v : values)
    size += varintSize(static_cast<uint64_t>(v));
  tag(field, 2);
  varint(size);
  for (int64_t v : values)
    varint(static_cast<uint64_t>(v));
}

void WireWriter::writeRepeatedInts(uint32_t field, ArrayRef<int64_t> values) {
  for (int64_t v : values)
    writeInt(field, v);
}

void WireWriter::writePackedFloats(uint32_t field, ArrayRef<float> values) {
  if (values.empty())
    return;
  tag(field, 2);
  varint(values.size() * 4);
  for (float v : values) {
    uint32_t bits;
    std::memcpy(&bits, &v, 4);
    uint8_t little[4];
    support::endian::write32le(little, bits);
    append(little, 4);
  }
}

void WireWriter::writeRepeatedFloats(uint32_t field, ArrayRef<float> values) {
  for (float v : values)
    writeFloat(field, v);
}

void WireWriter::writeRaw(ArrayRef<uint8_t> fields) {
  append(fields.data(), fields.size());
}

void WireWriter::writeRaw(StringRef fields) {
  append(fields.data(), fields.size());
}

void WireWriter::writePayload(uint32_t field, uint64_t size,
                              PayloadProducer producer) {
  tag(field, 2);
  varint(size);
  insertions.push_back(
      {buffer.size(), size, static_cast<int64_t>(producers.size())});
  producers.push_back(std::move(producer));
  logicalSize += size;
}

void WireWriter::writeEntry(uint32_t field, StringRef key, StringRef value) {
  beginMessage(field);
  writeString(1, key);
  writeString(2, value);
  endMessage();
}

void WireWriter::beginMessage(uint32_t field) {
  tag(field, 2);
  open.push_back({insertions.size(), logicalSize});
  insertions.push_back({buffer.size(), 0, -1});
}

void WireWriter::endMessage() {
  FFN_ASSERT(!open.empty(), "endMessage without beginMessage");
  if (open.empty())
    return;
  Open top = open.back();
  open.pop_back();
  uint64_t length = logicalSize - top.logicalStart;
  insertions[top.insertion].size = length;
  logicalSize += varintSize(length);
}

LogicalResult WireWriter::writeTo(ByteSink sink, CodedErrors &errors) const {
  FFN_ASSERT(open.empty(), "a message is still open");
  uint64_t done = 0;
  ArrayRef<uint8_t> all(buffer);
  for (const Insertion &insertion : insertions) {
    if (insertion.position > done &&
        failed(sink(all.slice(done, insertion.position - done))))
      return failure();
    done = insertion.position;
    if (insertion.producer < 0) {
      uint8_t bytes[10];
      unsigned n = encodeVarint(insertion.size, bytes);
      if (failed(sink(ArrayRef<uint8_t>(bytes, n))))
        return failure();
      continue;
    }
    uint64_t produced = 0;
    auto counting = [&](ArrayRef<uint8_t> bytes) -> LogicalResult {
      produced += bytes.size();
      if (produced > insertion.size)
        return failure();
      return sink(bytes);
    };
    LogicalResult result = producers[insertion.producer](counting);
    if (produced > insertion.size ||
        (succeeded(result) && produced < insertion.size))
      return errors.error("O102", "",
                          "a payload of " + Twine(insertion.size) +
                              " bytes was announced, " + Twine(produced) +
                              " were made");
    if (failed(result))
      return failure();
  }
  if (done < all.size())
    return sink(all.drop_front(done));
  return success();
}

LogicalResult WireWriter::writeTo(OutputFile &file, CodedErrors &errors) const {
  return writeTo([&](ArrayRef<uint8_t> bytes) { return file.write(bytes); },
                 errors);
}

LogicalResult WireWriter::writeTo(raw_ostream &os, CodedErrors &errors) const {
  return writeTo(
      [&](ArrayRef<uint8_t> bytes) {
        os << toStringRef(bytes);
        return success();
      },
      errors);
}

//===----------------------------------------------------------------------===//
// External data
//===----------------------------------------------------------------------===//

FailureOr<ExternalDataWriter::Range>
ExternalDataWriter::append(uint64_t size, const PayloadProducer &producer,
                           CodedErrors &errors, uint64_t alignment) {
  if (failed(file.alignTo(alignment)))
    return failure();
  Range range{file.tell(), size};
  uint64_t produced = 0;
  LogicalResult result = producer([&](ArrayRef<uint8_t> bytes) {
    produced += bytes.size();
    return produced <= size ? file.write(bytes) : failure();
  });
  if (produced > size || (succeeded(result) && produced < size))
    return errors.error("O102", "",
                        "a payload of " + Twine(size) +
                            " bytes was announced, " + Twine(produced) +
                            " were made");
  if (failed(result))
    return failure();
  return range;
}

PayloadProducer makeFileProducer(std::shared_ptr<SafeFile> file,
                                 uint64_t offset, uint64_t size,
                                 CodedErrors &errors) {
  return [file = std::move(file), offset, size,
          &errors](ByteSink sink) -> LogicalResult {
    std::vector<uint8_t> chunk;
    for (uint64_t done = 0; done < size; done += kChunk) {
      chunk.resize(std::min(kChunk, size - done));
      if (failed(file->read(offset + done, chunk, errors)) ||
          failed(sink(chunk)))
        return failure();
    }
    return success();
  };
}

PayloadProducer makeBytesProducer(std::vector<uint8_t> bytes) {
  return [bytes = std::move(bytes)](ByteSink sink) { return sink(bytes); };
}

} // namespace mlir::ffn
