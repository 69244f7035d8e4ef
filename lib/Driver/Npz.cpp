//===- Npz.cpp - NumPy archives -------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/Npz.h"
#include "ffn-mlir/Driver/HostTensor.h"
#include "ffn-mlir/Support/SafeFile.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Endian.h"
#include <zlib.h>

using namespace mlir::ffn;
using llvm::ArrayRef;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;

namespace {
constexpr size_t kEndSize = 22, kEntrySize = 46, kLocalSize = 30;
/// Deflate makes at most 1032 bytes of one.
constexpr uint64_t kMaxRatio = 1032;
/// What no honest file needs: an array of more bytes, or one of more than
/// `kSmall` bytes that shrinks by more than `kSuspicious`. A small mask of ones
/// does shrink so far.
constexpr uint64_t kMaxSize = uint64_t(1) << 30, kSmall = uint64_t(64) << 20,
                   kSuspicious = 200;
constexpr uint32_t kMaxMembers = 4096;

uint32_t read32(ArrayRef<uint8_t> bytes, size_t at) {
  return llvm::support::endian::read32le(bytes.data() + at);
}
uint32_t read16(ArrayRef<uint8_t> bytes, size_t at) {
  return llvm::support::endian::read16le(bytes.data() + at);
}

/// Reads one archive; every read is checked against its bytes.
class Reader {
public:
  Reader(ArrayRef<uint8_t> bytes, StringRef where)
      : bytes(bytes), where(where) {}
  Expected<std::map<std::string, NpyArray>> read();

private:
  Error bad(const llvm::Twine &what) {
    return driverError(where + ": " + what + " [FFN-D102]");
  }
  bool holds(uint64_t at, uint64_t size) const {
    return at <= bytes.size() && size <= bytes.size() - at;
  }
  Expected<std::vector<uint8_t>> contents(size_t entry,
                                          const std::string &name);

  ArrayRef<uint8_t> bytes;
  StringRef where;
};
} // namespace

Expected<std::map<std::string, NpyArray>> Reader::read() {
  // The end record stands before a comment of up to 65535 bytes.
  size_t end = std::string::npos;
  if (bytes.size() >= kEndSize) {
    size_t last = bytes.size() - kEndSize;
    size_t lowest = last > 65535 ? last - 65535 : 0;
    for (size_t at = last + 1; at-- > lowest;)
      if (read32(bytes, at) == 0x06054b50) {
        end = at;
        break;
      }
  }
  if (end == std::string::npos)
    return bad("not a .npz file");
  uint32_t count = read16(bytes, end + 10);
  if (count > kMaxMembers)
    return bad("the archive has " + llvm::Twine(count) +
               " members, the limit is " + llvm::Twine(kMaxMembers));
  uint64_t at = read32(bytes, end + 16);
  std::map<std::string, NpyArray> arrays;
  for (uint32_t i = 0; i < count; ++i) {
    if (!holds(at, kEntrySize) || read32(bytes, at) != 0x02014b50)
      return bad("the directory of the archive is damaged");
    size_t nameSize = read16(bytes, at + 28);
    uint64_t entrySize =
        kEntrySize + nameSize + read16(bytes, at + 30) + read16(bytes, at + 32);
    if (!holds(at, entrySize))
      return bad("the directory of the archive is damaged");
    std::string name(
        reinterpret_cast<const char *>(bytes.data() + at + kEntrySize),
        nameSize);
    Expected<std::vector<uint8_t>> data = contents(at, name);
    if (!data)
      return data.takeError();
    CodedErrors errors;
    llvm::FailureOr<NpyArray> array = parseNpy(*data, quoteName(name), errors);
    if (failed(array))
      return driverError(where + ": " + errors.get().front().getMessage());
    StringRef stem = name;
    stem.consume_back(".npy");
    if (!arrays.emplace(stem.str(), std::move(*array)).second)
      return bad(quoteName(name) + " is there twice");
    at += entrySize;
  }
  return arrays;
}

Expected<std::vector<uint8_t>> Reader::contents(size_t entry,
                                                const std::string &name) {
  uint32_t flags = read16(bytes, entry + 8), method = read16(bytes, entry + 10);
  uint32_t crc = read32(bytes, entry + 16);
  uint64_t packed = read32(bytes, entry + 20), size = read32(bytes, entry + 24),
           local = read32(bytes, entry + 42);
  if (flags & 1)
    return bad(quoteName(name) + " is encrypted");
  if (packed == UINT32_MAX || size == UINT32_MAX || local == UINT32_MAX)
    return bad(quoteName(name) + " is 4 GiB or larger");
  if (!holds(local, kLocalSize) || read32(bytes, local) != 0x04034b50)
    return bad(quoteName(name) + " has no header");
  // Sizes may stand behind the data, or be the signs of the 64-bit form.
  auto differs = [&](size_t inLocal, size_t inEntry) {
    uint32_t value = read32(bytes, local + inLocal);
    return value != read32(bytes, entry + inEntry) && value != UINT32_MAX;
  };
  bool sizesFollow = flags & 8;
  if (read16(bytes, local + 6) != flags || read16(bytes, local + 8) != method ||
      read16(bytes, local + 26) != name.size() ||
      !holds(local + kLocalSize, name.size()) ||
      StringRef(reinterpret_cast<const char *>(bytes.data()) + local +
                    kLocalSize,
                name.size()) != name ||
      (!sizesFollow && (differs(14, 16) || differs(18, 20) || differs(22, 24))))
    return bad(quoteName(name) + ": its header is not what the directory says");
  uint64_t begin = local + kLocalSize + read16(bytes, local + 26) +
                   read16(bytes, local + 28);
  if (!holds(begin, packed))
    return bad(quoteName(name) + " ends beyond the file");
  ArrayRef<uint8_t> source = bytes.slice(begin, packed);
  if (size > kMaxSize)
    return bad("member " + quoteName(name) + " inflates beyond 1 GiB");
  std::vector<uint8_t> data;
  if (method == 0) {
    if (packed != size)
      return bad(quoteName(name) + " has two sizes");
    data.assign(source.begin(), source.end());
  } else if (method == 8) {
    if (size > packed * kMaxRatio + 64)
      return bad(quoteName(name) + " cannot be as large as it says");
    if (size > kSmall && size / kSuspicious > packed)
      return bad("member " + quoteName(name) + " inflates more than " +
                 llvm::Twine(kSuspicious) + "-fold");
    data.resize(size);
    z_stream stream{};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
      return bad("no memory to inflate " + quoteName(name));
    stream.next_in = const_cast<uint8_t *>(source.data());
    stream.avail_in = static_cast<uInt>(packed);
    stream.next_out = data.data();
    stream.avail_out = static_cast<uInt>(size);
    int status = inflate(&stream, Z_FINISH);
    bool complete = status == Z_STREAM_END && stream.total_out == size;
    inflateEnd(&stream);
    if (!complete)
      return bad(quoteName(name) + " does not inflate to its size");
  } else {
    return bad(quoteName(name) + " is compressed by method " +
               llvm::Twine(method) + "; 0 and 8 are known");
  }
  if (crc32(0, data.data(), static_cast<uInt>(data.size())) != crc)
    return bad(quoteName(name) + " differs from its checksum");
  return data;
}

Expected<std::map<std::string, NpyArray>>
mlir::ffn::parseNpz(ArrayRef<uint8_t> bytes, StringRef where) {
  return Reader(bytes, where).read();
}

Expected<std::map<std::string, NpyArray>> mlir::ffn::readNpz(StringRef path) {
  CodedErrors errors;
  auto first = [&] {
    return driverError(path + ": " + errors.get().front().getMessage());
  };
  std::shared_ptr<SafeFile> file = SafeFile::open(path, FilePolicy(), errors);
  if (!file)
    return first();
  std::vector<uint8_t> storage;
  llvm::FailureOr<ArrayRef<uint8_t>> bytes =
      file->viewOrRead(0, file->getSize(), storage, errors);
  if (failed(bytes))
    return first();
  Expected<std::map<std::string, NpyArray>> arrays = parseNpz(*bytes, path);
  if (arrays && failed(file->checkUnchanged(errors)))
    return first();
  return arrays;
}
