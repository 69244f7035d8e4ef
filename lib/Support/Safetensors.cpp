//===- Safetensors.cpp - The safetensors container ------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/Safetensors.h"
#include "ffn-mlir/Support/SafeFile.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/ConvertUTF.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MathExtras.h"
#include <algorithm>
#include <cstring>
#include <tuple>

using namespace llvm;
using namespace mlir::ffn;

static constexpr uint64_t kMaxHeader = 100'000'000;
static constexpr size_t kMaxRank = 32;
static constexpr StringLiteral kMetadata = "__metadata__";

unsigned mlir::ffn::getSafetensorsItemSize(StringRef dtype) {
  return StringSwitch<unsigned>(dtype)
      .Cases({"BOOL", "U8", "I8"}, 1)
      .Cases({"U16", "I16", "F16", "BF16"}, 2)
      .Cases({"U32", "I32", "F32"}, 4)
      .Cases({"U64", "I64", "F64"}, 8)
      .Default(0);
}

//===----------------------------------------------------------------------===//
// Header
//===----------------------------------------------------------------------===//

namespace {
/// The grammar of the header: an object of tensor descriptions and one object
/// of strings. Linear, and nothing nests deeper than it says here.
class HeaderReader {
public:
  explicit HeaderReader(StringRef text) : rest(text) {}

  /// What is wrong with the text; empty if nothing is.
  std::string read(std::vector<SafetensorsEntry> &entries,
                   std::map<std::string, std::string> &metadata) {
    StringMap<bool> names;
    bool ok = object([&](std::string name) {
      if (!names.try_emplace(name, true).second)
        return refuse(quoteName(name) + " is there twice");
      if (name == kMetadata)
        return object([&](std::string key) {
          std::optional<std::string> value = string();
          return value && (metadata.emplace(key, *value).second ||
                           refuse("metadata " + quoteName(key) + " twice"));
        });
      SafetensorsEntry entry;
      entry.name = std::move(name);
      if (!tensor(entry))
        return refuse("tensor " + quoteName(entry.name) +
                      ": no plain description");
      entries.push_back(std::move(entry));
      return true;
    });
    skip();
    if (!ok || !rest.empty())
      return problem.empty()
                 ? "the header is not the JSON of a safetensors file"
                 : problem;
    return {};
  }

private:
  bool refuse(const Twine &what) {
    if (problem.empty())
      problem = what.str();
    return false;
  }
  void skip() { rest = rest.ltrim(" \t\r\n"); }
  bool take(char c) {
    skip();
    return rest.consume_front(StringRef(&c, 1));
  }

  bool object(function_ref<bool(std::string)> member) {
    if (!take('{'))
      return false;
    if (take('}'))
      return true;
    do {
      std::optional<std::string> key = string();
      if (!key || !take(':') || !member(std::move(*key)))
        return false;
    } while (take(','));
    return take('}');
  }

  bool tensor(SafetensorsEntry &entry) {
    bool dtype = false, shape = false, offsets = false;
    SmallVector<uint64_t, 4> numbers;
    bool ok = object([&](std::string key) {
      if (key == "dtype" && !std::exchange(dtype, true)) {
        std::optional<std::string> value = string();
        entry.dtype = value.value_or("");
        return value.has_value();
      }
      numbers.clear();
      if (key == "shape" && !std::exchange(shape, true)) {
        if (!list(numbers, kMaxRank))
          return false;
        for (uint64_t size : numbers) {
          if (size > static_cast<uint64_t>(INT64_MAX))
            return false;
          entry.shape.push_back(static_cast<int64_t>(size));
        }
        return true;
      }
      if (key == "data_offsets" && !std::exchange(offsets, true)) {
        if (!list(numbers, 2) || numbers.size() != 2 || numbers[1] < numbers[0])
          return false;
        entry.offset = numbers[0];
        entry.size = numbers[1] - numbers[0];
        return true;
      }
      return false;
    });
    return ok && dtype && shape && offsets;
  }

  bool list(SmallVectorImpl<uint64_t> &numbers, size_t limit) {
    if (!take('['))
      return false;
    if (take(']'))
      return true;
    do {
      skip();
      StringRef digits = rest.take_while(isDigit);
      uint64_t number;
      if (numbers.size() == limit || digits.getAsInteger(10, number))
        return false;
      rest = rest.drop_front(digits.size());
      numbers.push_back(number);
    } while (take(','));
    return take(']');
  }

  std::optional<std::string> string() {
    if (!take('"'))
      return std::nullopt;
    std::string out;
    while (true) {
      size_t at = rest.find_first_of("\"\\");
      if (at == StringRef::npos)
        return std::nullopt;
      StringRef plain = rest.take_front(at);
      if (any_of(plain.bytes(), [](uint8_t byte) { return byte < 0x20; }))
        return std::nullopt;
      out += plain;
      char end = rest[at];
      rest = rest.drop_front(at + 1);
      if (end == '"')
        return out;
      if (rest.empty() || !escape(out))
        return std::nullopt;
    }
  }

  bool escape(std::string &out) {
    char kind = rest.front();
    rest = rest.drop_front();
    static constexpr StringLiteral kinds = "\"\\/bfnrt";
    static constexpr StringLiteral meanings = "\"\\/\b\f\n\r\t";
    if (size_t at = kinds.find(kind); at != StringRef::npos) {
      out += meanings[at];
      return true;
    }
    uint32_t code;
    if (kind != 'u' || !hexQuad(code))
      return false;
    if (code >= 0xd800 && code < 0xdc00) {
      uint32_t low;
      if (!rest.consume_front("\\u") || !hexQuad(low) || low < 0xdc00 ||
          low > 0xdfff)
        return false;
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
      return false;
    }
    char buffer[4], *end = buffer;
    if (!ConvertCodePointToUTF8(code, end))
      return false;
    out.append(buffer, end);
    return true;
  }

  bool hexQuad(uint32_t &code) {
    StringRef digits = rest.take_front(4);
    rest = rest.drop_front(digits.size());
    return digits.size() == 4 && all_of(digits, isHexDigit) &&
           !digits.getAsInteger(16, code);
  }

  StringRef rest;
  std::string problem;
};
} // namespace

static Error bad(StringRef where, const Twine &what) {
  return createStringError(inconvertibleErrorCode(),
                           where + ": " + what + " [FFN-D103]");
}

static Error fromCoded(StringRef where, const CodedErrors &errors) {
  return createStringError(inconvertibleErrorCode(),
                           where + ": " + errors.get().front().getMessage());
}

/// `begin` is where the bytes of tensors begin.
Error SafetensorsFile::checkLayout(uint64_t begin) {
  llvm::sort(entries, [](const SafetensorsEntry &a, const SafetensorsEntry &b) {
    return std::tie(a.offset, a.size, a.name) <
           std::tie(b.offset, b.size, b.name);
  });
  uint64_t end = 0;
  for (auto [i, entry] : llvm::enumerate(entries)) {
    std::string name = "tensor " + quoteName(entry.name);
    uint64_t bytes = getSafetensorsItemSize(entry.dtype);
    if (!bytes)
      return bad(where,
                 name + ": dtype " + quoteName(entry.dtype) + " is not known");
    bool empty = false;
    for (int64_t size : entry.shape) {
      empty |= size == 0;
      // Zeros do not excuse an overflow of the other dims.
      if (size != 0 &&
          __builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes))
        return bad(where, name + ": the shape overflows the byte size");
    }
    if (empty)
      bytes = 0;
    if (entry.size != bytes)
      return bad(where, name + ": offsets [" + Twine(entry.offset) + ", " +
                            Twine(entry.offset + entry.size) +
                            ") but shape needs " + Twine(bytes) + " bytes");
    if (entry.offset != end)
      return bad(where,
                 name + (entry.offset < end ? ": overlaps the tensor before it"
                                            : ": a hole is in front of it"));
    end = entry.offset + entry.size;
    entry.offset += begin;
    index[entry.name] = i;
  }
  if (end != file->getSize() - begin)
    return bad(where, "tensors end at " + Twine(end) + " of " +
                          Twine(file->getSize() - begin) + " bytes");
  return Error::success();
}

Error SafetensorsFile::readHeader() {
  CodedErrors errors;
  if (file->getSize() < 8)
    return bad(where, "not a safetensors file");
  uint8_t prefix[8];
  if (failed(file->read(0, prefix, errors)))
    return fromCoded(where, errors);
  uint64_t length = support::endian::read64le(prefix);
  if (length > file->getSize() - 8)
    return bad(where, "a header of " + Twine(length) + " bytes is beyond the " +
                          Twine(file->getSize()) + " of the file");
  if (length > kMaxHeader)
    return bad(where, "the header has " + Twine(length) +
                          " bytes, the limit is " + Twine(kMaxHeader));
  std::vector<uint8_t> storage;
  FailureOr<ArrayRef<uint8_t>> text =
      file->viewOrRead(8, length, storage, errors);
  if (failed(text))
    return fromCoded(where, errors);
  StringRef header(reinterpret_cast<const char *>(text->data()), text->size());
  if (!json::isUTF8(header))
    return bad(where, "the header is not UTF-8");
  if (std::string problem = HeaderReader(header).read(entries, metadata);
      !problem.empty())
    return bad(where, problem);
  return checkLayout(8 + length);
}

Expected<std::unique_ptr<SafetensorsFile>>
SafetensorsFile::open(StringRef path) {
  CodedErrors errors;
  std::unique_ptr<SafetensorsFile> result(new SafetensorsFile);
  result->where = path.str();
  result->file = SafeFile::open(path, FilePolicy(), errors);
  if (!result->file)
    return fromCoded(path, errors);
  if (Error error = result->readHeader())
    return std::move(error);
  return std::move(result);
}

Expected<std::unique_ptr<SafetensorsFile>>
SafetensorsFile::fromMemory(ArrayRef<uint8_t> bytes, StringRef where) {
  std::unique_ptr<SafetensorsFile> result(new SafetensorsFile);
  result->where = where.str();
  result->file = SafeFile::fromMemory(where, bytes);
  if (Error error = result->readHeader())
    return std::move(error);
  return std::move(result);
}

SafetensorsFile::~SafetensorsFile() = default;

const SafetensorsEntry *SafetensorsFile::find(StringRef name) const {
  auto found = index.find(name);
  return found == index.end() ? nullptr : &entries[found->second];
}

Error SafetensorsFile::read(const SafetensorsEntry &entry, uint64_t begin,
                            MutableArrayRef<char> buffer) {
  CodedErrors errors;
  if (begin > entry.size || buffer.size() > entry.size - begin)
    return bad(where,
               "tensor " + quoteName(entry.name) + ": read beyond its end");
  MutableArrayRef<uint8_t> out(reinterpret_cast<uint8_t *>(buffer.data()),
                               buffer.size());
  if (failed(file->read(entry.offset + begin, out, errors)))
    return fromCoded(where, errors);
  return Error::success();
}

ArrayRef<char> SafetensorsFile::view(const SafetensorsEntry &entry) {
  std::optional<ArrayRef<uint8_t>> bytes = file->view(entry.offset, entry.size);
  if (!bytes)
    return {};
  return {reinterpret_cast<const char *>(bytes->data()), bytes->size()};
}

void SafetensorsFile::drop(const SafetensorsEntry &entry, uint64_t begin,
                           uint64_t size) {
  file->drop(entry.offset + begin, size);
}

Expected<NpyArray> SafetensorsFile::readArray(const SafetensorsEntry &entry) {
  NpyArray array;
  array.shape.assign(entry.shape.begin(), entry.shape.end());
  array.itemSize = getSafetensorsItemSize(entry.dtype);
  StringRef dtype = entry.dtype;
  array.kind = dtype == "BOOL"          ? 'b'
               : dtype.starts_with("I") ? 'i'
               : dtype.starts_with("U") ? 'u'
                                        : 'f';
  array.data.resize(entry.size);
  if (Error error = read(entry, 0, array.data))
    return std::move(error);
  CodedErrors errors;
  if (failed(file->checkUnchanged(errors)))
    return fromCoded(where, errors);
  if (dtype == "BOOL" &&
      any_of(array.data, [](char value) { return value != 0 && value != 1; }))
    return bad(where, "tensor " + quoteName(entry.name) +
                          ": a boolean is neither 0 nor 1");
  if (dtype == "BF16") {
    std::vector<char> wide(array.data.size() * 2, 0);
    for (size_t i = 0; i < array.data.size(); i += 2)
      std::memcpy(&wide[2 * i + 2], &array.data[i], 2);
    array.data = std::move(wide);
    array.itemSize = 4;
  }
  return array;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

Error mlir::ffn::writeSafetensors(
    ArrayRef<SafetensorsSource> tensors,
    const std::map<std::string, std::string> &metadata,
    SafetensorsSource::Sink sink) {
  std::string header;
  {
    raw_string_ostream os(header);
    json::OStream out(os);
    out.object([&] {
      if (!metadata.empty())
        out.attributeObject(kMetadata, [&] {
          for (auto &[key, value] : metadata)
            out.attribute(key, value);
        });
      uint64_t offset = 0;
      for (const SafetensorsSource &tensor : tensors) {
        uint64_t size = getSafetensorsItemSize(tensor.dtype);
        for (int64_t dim : tensor.shape)
          size *= static_cast<uint64_t>(dim);
        out.attributeObject(tensor.name, [&] {
          out.attribute("dtype", tensor.dtype);
          out.attributeArray("shape", [&] {
            for (int64_t dim : tensor.shape)
              out.value(dim);
          });
          out.attributeArray("data_offsets", [&] {
            out.value(static_cast<int64_t>(offset));
            out.value(static_cast<int64_t>(offset + size));
          });
        });
        offset += size;
      }
    });
  }
  header.append(alignTo(header.size(), 64) + 56 - header.size(), ' ');
  char prefix[8];
  support::endian::write64le(prefix, header.size());
  if (Error error = sink(prefix))
    return error;
  if (Error error = sink(header))
    return error;
  for (const SafetensorsSource &tensor : tensors)
    if (Error error = tensor.write(sink))
      return error;
  return Error::success();
}
