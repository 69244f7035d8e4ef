//===- Npy.cpp - NumPy array files ----------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/Npy.h"
#include "ffn-mlir/Support/SafeFile.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MathExtras.h"
#include <algorithm>
#include <cstring>
#include <optional>

using namespace llvm;
using namespace mlir::ffn;

static constexpr size_t kMaxHeader = 4096;
static constexpr size_t kMaxRank = 32;
static constexpr char kMagic[] = "\x93NUMPY";

std::string NpyArray::getTypeName() const {
  return std::string(1, kind) + std::to_string(itemSize);
}

//===----------------------------------------------------------------------===//
// Header
//===----------------------------------------------------------------------===//

namespace {
struct Header {
  std::string descr;
  bool fortranOrder = false;
  SmallVector<int64_t> shape;
};

/// The grammar of the header: a dict of three known keys.
class HeaderParser {
public:
  explicit HeaderParser(StringRef text) : rest(text) {}

  std::optional<Header> parse() {
    Header header;
    bool hasDescr = false, hasOrder = false, hasShape = false;
    if (!take('{'))
      return std::nullopt;
    while (!take('}')) {
      std::optional<StringRef> key = string();
      if (!key || !take(':'))
        return std::nullopt;
      if (*key == "descr" && !hasDescr) {
        std::optional<StringRef> value = string();
        if (!value)
          return std::nullopt;
        header.descr = value->str();
        hasDescr = true;
      } else if (*key == "fortran_order" && !hasOrder) {
        if (word("True"))
          header.fortranOrder = true;
        else if (!word("False"))
          return std::nullopt;
        hasOrder = true;
      } else if (*key == "shape" && !hasShape) {
        if (!tuple(header.shape))
          return std::nullopt;
        hasShape = true;
      } else {
        return std::nullopt;
      }
      if (!take(',')) {
        if (!take('}'))
          return std::nullopt;
        break;
      }
    }
    space();
    if (!rest.empty() || !hasDescr || !hasOrder || !hasShape)
      return std::nullopt;
    return header;
  }

private:
  void space() { rest = rest.ltrim(" \n"); }
  bool take(char c) {
    space();
    return rest.consume_front(StringRef(&c, 1));
  }
  bool word(StringRef text) {
    space();
    return rest.consume_front(text);
  }
  std::optional<StringRef> string() {
    space();
    if (rest.empty() || (rest[0] != '\'' && rest[0] != '"'))
      return std::nullopt;
    size_t end = rest.find(rest[0], 1);
    if (end == StringRef::npos)
      return std::nullopt;
    StringRef value = rest.slice(1, end);
    rest = rest.drop_front(end + 1);
    if (value.contains('\\'))
      return std::nullopt;
    return value;
  }
  bool tuple(SmallVectorImpl<int64_t> &dims) {
    if (!take('('))
      return false;
    while (!take(')')) {
      space();
      StringRef digits = rest.take_while(isDigit);
      int64_t dim = 0;
      if (digits.empty() || digits.getAsInteger(10, dim) ||
          dims.size() == kMaxRank)
        return false;
      rest = rest.drop_front(digits.size());
      dims.push_back(dim);
      if (take(','))
        continue;
      // (3) is a number and not a tuple.
      return dims.size() > 1 && take(')');
    }
    return true;
  }

  StringRef rest;
};
} // namespace

/// Kind, size and byte order of "<f4" and the like.
static bool parseDescr(StringRef descr, NpyArray &array, bool &swapped) {
  if (descr.size() != 3)
    return false;
  char order = descr[0], kind = descr[1], size = descr[2];
  unsigned bytes = size - '0';
  if (!StringRef("<>|=").contains(order) || !StringRef("biuf").contains(kind) ||
      !StringRef("1248").contains(size))
    return false;
  if ((kind == 'b' && bytes != 1) || (kind == 'f' && bytes == 1) ||
      (order == '|' && bytes != 1))
    return false;
  array.kind = kind;
  array.itemSize = bytes;
  swapped = order == '>' && bytes > 1;
  return true;
}

/// Elements of column-major `data` in row-major order.
static std::vector<char> toRowMajor(ArrayRef<char> data, unsigned size,
                                    ArrayRef<int64_t> shape) {
  std::vector<char> result(data.size());
  SmallVector<int64_t> index(shape.size(), 0), strides(shape.size(), size);
  for (size_t d = 1; d < shape.size(); ++d)
    strides[d] = strides[d - 1] * shape[d - 1];
  int64_t from = 0;
  for (size_t to = 0; to < result.size(); to += size) {
    std::memcpy(result.data() + to, data.data() + from, size);
    for (size_t d = shape.size(); d-- > 0;) {
      from += strides[d];
      if (++index[d] < shape[d])
        break;
      from -= strides[d] * shape[d];
      index[d] = 0;
    }
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

FailureOr<NpyArray> mlir::ffn::parseNpy(ArrayRef<uint8_t> bytes,
                                        StringRef where, CodedErrors &errors) {
  auto fail = [&](const Twine &what) {
    return errors.error("D101", where, what);
  };
  StringRef text(reinterpret_cast<const char *>(bytes.data()), bytes.size());
  if (!text.consume_front(StringRef(kMagic, 6)))
    return fail("not a .npy file");
  if (text.size() < 2)
    return fail("the file ends within its header");
  unsigned major = static_cast<unsigned char>(text[0]);
  if (major < 1 || major > 3 || text[1] != 0)
    return fail("format version " + Twine(major) + "." +
                Twine(static_cast<unsigned char>(text[1])) + " is not known");
  text = text.drop_front(2);
  size_t width = major == 1 ? 2 : 4, length = 0;
  if (text.size() < width)
    return fail("the file ends within its header");
  for (size_t i = 0; i < width; ++i)
    length |= static_cast<size_t>(static_cast<unsigned char>(text[i]))
              << (8 * i);
  text = text.drop_front(width);
  if (length > kMaxHeader)
    return fail("the header has " + Twine(length) + " bytes, the limit is " +
                Twine(kMaxHeader));
  if (length > text.size())
    return fail("the file ends within its header");
  std::optional<Header> header = HeaderParser(text.take_front(length)).parse();
  if (!header)
    return fail("header is not a plain array description");
  text = text.drop_front(length);

  NpyArray array;
  bool swapped = false;
  if (!parseDescr(header->descr, array, swapped))
    return fail("element type " + quoteName(header->descr) +
                " is not a plain number type");
  // Zeros do not excuse an overflow of the other dims.
  uint64_t size = array.itemSize;
  bool empty = false;
  for (int64_t dim : header->shape) {
    empty |= dim == 0;
    if (dim != 0 &&
        __builtin_mul_overflow(size, static_cast<uint64_t>(dim), &size))
      return fail("the shape overflows the byte size");
  }
  if (empty)
    size = 0;
  if (size != text.size())
    return fail("the shape needs " + Twine(size) + " bytes, the file has " +
                Twine(text.size()));
  array.shape = header->shape;
  array.data.assign(text.begin(), text.end());
  if (swapped)
    for (size_t i = 0; i < array.data.size(); i += array.itemSize)
      std::reverse(array.data.begin() + i,
                   array.data.begin() + i + array.itemSize);
  if (array.kind == 'b')
    for (char value : array.data)
      if (value != 0 && value != 1)
        return fail("a boolean is neither 0 nor 1");
  if (header->fortranOrder && array.shape.size() > 1 && !array.data.empty())
    array.data = toRowMajor(array.data, array.itemSize, array.shape);
  return array;
}

FailureOr<NpyArray> mlir::ffn::readNpy(StringRef path, CodedErrors &errors) {
  std::shared_ptr<SafeFile> file = SafeFile::open(path, FilePolicy(), errors);
  if (!file)
    return failure();
  std::vector<uint8_t> storage;
  FailureOr<ArrayRef<uint8_t>> bytes =
      file->viewOrRead(0, file->getSize(), storage, errors);
  if (failed(bytes))
    return failure();
  FailureOr<NpyArray> array = parseNpy(*bytes, "", errors);
  if (failed(array) || failed(file->checkUnchanged(errors)))
    return failure();
  return array;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

std::string mlir::ffn::encodeNpy(const NpyArray &array) {
  std::string header;
  raw_string_ostream os(header);
  os << "{'descr': '" << (array.itemSize == 1 ? '|' : '<')
     << array.getTypeName() << "', 'fortran_order': False, 'shape': (";
  for (int64_t dim : array.shape)
    os << dim << ", ";
  // A tuple of one keeps its comma, longer ones need none.
  if (array.shape.size() == 1)
    header.pop_back();
  else if (array.shape.size() > 1)
    header.resize(header.size() - 2);
  header += "), }";
  size_t prefix = 10;
  header.append(alignTo(prefix + header.size() + 1, 64) - prefix -
                    header.size() - 1,
                ' ');
  header += '\n';
  std::string file(kMagic, 6);
  file += '\x01';
  file += '\0';
  file += static_cast<char>(header.size() & 0xff);
  file += static_cast<char>(header.size() >> 8);
  file += header;
  file.append(array.data.begin(), array.data.end());
  return file;
}

LogicalResult mlir::ffn::writeNpy(StringRef path, const NpyArray &array,
                                  std::string &error) {
  // A rename would put the array in the place of a device or a pipe.
  sys::fs::file_status status;
  if (!sys::fs::status(path, status) && !sys::fs::is_regular_file(status)) {
    error = "it is there and not a regular file";
    return failure();
  }
  Expected<sys::fs::TempFile> temp =
      sys::fs::TempFile::create(path + ".tmp-%%%%%%");
  if (!temp) {
    error = toString(temp.takeError());
    return failure();
  }
  bool bad;
  {
    raw_fd_ostream os(temp->FD, /*shouldClose=*/false);
    os << encodeNpy(array);
    os.flush();
    bad = os.has_error();
    if (bad)
      error = os.error().message();
    os.clear_error();
  }
  if (bad) {
    consumeError(temp->discard());
    return failure();
  }
  if (Error e = temp->keep(path)) {
    error = toString(std::move(e));
    return failure();
  }
  return success();
}
