//===- TensorData.cpp - Where the elements of a tensor are ----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Import/TensorData.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"
#include <cstring>

using namespace llvm;
using namespace mlir::ffn::proto;

namespace mlir::ffn {

/// Files with a checksum are hashed at import up to this size.
static constexpr uint64_t kEagerChecksum = 16 << 20;
static constexpr uint64_t kChunk = 1 << 20;

static std::string showDims(ArrayRef<int64_t> dims) {
  std::string text = "[";
  for (auto [i, d] : enumerate(dims.take_front(8)))
    text += (i ? "," : "") + std::to_string(d);
  return text + (dims.size() > 8 ? ",...]" : "]");
}

static std::string showType(const TensorProto &t) {
  return showDims(t.dims) + " " + getDataTypeName(t.dataType).str();
}

LogicalResult getTensorSize(int32_t dataType, ArrayRef<int64_t> dims,
                            const ImportLimits &limits, const Twine &where,
                            uint64_t &numElements, uint64_t &byteSize,
                            CodedErrors &errors) {
  if (!isKnownDataType(dataType))
    return errors.error("I207", where,
                        "data type " + Twine(dataType) + " is not known");
  if (dims.size() > limits.maxRank)
    return errors.error("I202", where,
                        "rank " + Twine(dims.size()) +
                            " is more than the limit " + Twine(limits.maxRank),
                        {"the limit can be set by --max-rank"});
  uint64_t product = 1;
  bool empty = false, overflow = false;
  for (auto [i, dim] : enumerate(dims)) {
    if (dim < 0)
      return errors.error("I202", where,
                          "dimension " + Twine(i) + " is " + Twine(dim));
    if (dim == 0)
      empty = true;
    else
      overflow |= __builtin_mul_overflow(product, uint64_t(dim), &product);
  }
  // A string element needs at least the two bytes of its field.
  unsigned bits = getBitWidth(dataType);
  uint64_t totalBits;
  overflow |=
      __builtin_mul_overflow(product, uint64_t(bits ? bits : 16), &totalBits);
  if (overflow)
    return errors.error("I201", where,
                        "dims " + showDims(dims) + " overflow the byte size");
  uint64_t bytes = empty ? 0 : divideCeil(totalBits, 8);
  if (bytes > limits.maxTensorBytes)
    return errors.error("I201", where,
                        "shape " + showDims(dims) + " " +
                            getDataTypeName(dataType) + " needs " +
                            Twine(bytes) + " bytes, more than the limit " +
                            Twine(limits.maxTensorBytes),
                        {"the limit can be set by --max-tensor-bytes"});
  numElements = empty ? 0 : product;
  byteSize = bits ? bytes : 0;
  return success();
}

namespace {

const char *fieldName(uint8_t field) {
  switch (field) {
  case PF_Raw:
    return "raw_data";
  case PF_Float:
    return "float_data";
  case PF_Int32:
    return "int32_data";
  case PF_String:
    return "string_data";
  case PF_Int64:
    return "int64_data";
  case PF_Double:
    return "double_data";
  default:
    return "uint64_data";
  }
}

/// Number of the field in TensorProto.
uint32_t fieldNumber(uint8_t field) {
  switch (field) {
  case PF_Raw:
    return 9;
  case PF_Float:
    return 4;
  case PF_Int32:
    return 5;
  case PF_String:
    return 6;
  case PF_Int64:
    return 7;
  case PF_Double:
    return 10;
  default:
    return 11;
  }
}

/// The typed field that holds elements of this type.
uint8_t ownedField(DataType type) {
  switch (type) {
  case DataType::Float:
  case DataType::Complex64:
    return PF_Float;
  case DataType::Double:
  case DataType::Complex128:
    return PF_Double;
  case DataType::Int64:
    return PF_Int64;
  case DataType::UInt32:
  case DataType::UInt64:
    return PF_UInt64;
  case DataType::String:
    return PF_String;
  default:
    return PF_Int32;
  }
}

/// Inclusive range of one entry of a varint field, for elements of `type`.
struct EntryRange {
  int64_t low;
  uint64_t high;
};
EntryRange entryRange(DataType type) {
  switch (type) {
  case DataType::Bool:
    return {0, 1};
  case DataType::Int8:
    return {INT8_MIN, INT8_MAX};
  case DataType::Int16:
    return {INT16_MIN, INT16_MAX};
  case DataType::Int32:
    return {INT32_MIN, INT32_MAX};
  case DataType::UInt16:
  case DataType::Float16:
  case DataType::BFloat16:
    return {0, UINT16_MAX};
  case DataType::UInt32:
    return {0, UINT32_MAX};
  case DataType::Float6E2M3:
  case DataType::Float6E3M2:
    return {0, 63};
  default:
    // Bytes: uint8, the 8-bit floats and packed pairs and quadruples.
    return {0, UINT8_MAX};
  }
}

/// Work on one tensor; `data` is null when it is only checked.
class Resolver {
public:
  Resolver(const ModelFile &model, const TensorProto &tensor,
           const Twine &where, TensorData *data, CodedErrors &errors)
      : model(model), tensor(tensor), where(where), data(data), errors(errors) {
  }

  LogicalResult run();

private:
  LogicalResult external();
  LogicalResult raw();
  LogicalResult typed(uint8_t field);
  LogicalResult floats(ArrayRef<uint8_t> message, uint8_t field);
  LogicalResult varints(ArrayRef<uint8_t> message, uint8_t field);
  LogicalResult strings(ArrayRef<uint8_t> message);
  LogicalResult wrongCount(uint8_t field, uint64_t has, uint64_t needs);
  LogicalResult span(std::shared_ptr<SafeFile> file, StringRef location,
                     uint64_t offset);
  LogicalResult checkBools(SafeFile &file, uint64_t offset);
  DataType type() const { return static_cast<DataType>(tensor.dataType); }
  LogicalResult error(StringRef code, const Twine &what) {
    return errors.error(code, where, what);
  }

  const ModelFile &model;
  const TensorProto &tensor;
  const Twine &where;
  TensorData *data;
  CodedErrors &errors;
  uint64_t numElements = 0, byteSize = 0;
};

/// Strict decimal: digits only, no sign, no overflow.
bool parseDecimal(StringRef text, uint64_t &value) {
  return !text.empty() && all_of(text, isDigit) &&
         !text.getAsInteger(10, value);
}

LogicalResult Resolver::span(std::shared_ptr<SafeFile> file, StringRef location,
                             uint64_t offset) {
  if (type() == DataType::Bool && failed(checkBools(*file, offset)))
    return failure();
  if (data) {
    data->kind = TensorData::Kind::Span;
    data->file = std::move(file);
    data->location = location;
    data->offset = offset;
  }
  return success();
}

LogicalResult Resolver::checkBools(SafeFile &file, uint64_t offset) {
  std::vector<uint8_t> storage;
  for (uint64_t done = 0; done < byteSize; done += kChunk) {
    uint64_t n = std::min(kChunk, byteSize - done);
    FailureOr<ArrayRef<uint8_t>> bytes =
        file.viewOrRead(offset + done, n, storage, errors);
    if (failed(bytes))
      return failure();
    for (auto [i, byte] : enumerate(*bytes))
      if (byte > 1)
        return error("I205", "value " + Twine(unsigned(byte)) + " at index " +
                                 Twine(done + i) + " is not a bool");
  }
  return success();
}

LogicalResult Resolver::external() {
  if (tensor.payloadFields & ~PF_Raw ||
      (tensor.payloadFields && tensor.payload.size))
    return error("I204", "external data and a payload in the file are set");
  if (type() == DataType::String)
    return error("I207", "string tensors have no external data");
  std::optional<StringRef> location, offsetText, lengthText, checksum;
  for (const StringStringEntryProto &entry : tensor.externalData) {
    std::optional<StringRef> *slot =
        StringSwitch<std::optional<StringRef> *>(entry.key)
            .Case("location", &location)
            .Case("offset", &offsetText)
            .Case("length", &lengthText)
            .Case("checksum", &checksum)
            .Default(nullptr);
    if (!slot) {
      errors.warning("I107", where,
                     "external data key \"" + escapeName(entry.key) +
                         "\" is ignored");
      continue;
    }
    if (*slot)
      return error("I107",
                   "external data key \"" + entry.key + "\" given twice");
    *slot = entry.value;
  }
  if (!location)
    return error("I101", "external data has no location");
  uint64_t offset = 0, length = byteSize;
  if (offsetText && !parseDecimal(*offsetText, offset))
    return error("I106", "external data offset \"" + escapeName(*offsetText) +
                             "\" is not a decimal number of bytes");
  if (lengthText && !parseDecimal(*lengthText, length))
    return error("I106", "external data length \"" + escapeName(*lengthText) +
                             "\" is not a decimal number of bytes");
  // The location first: what it may name matters more than its size.
  std::shared_ptr<SafeFile> file =
      model.getExternalFiles().get(*location, where.str(), errors);
  if (!file)
    return failure();
  if (length != byteSize)
    return error("I106", "external data has length " + Twine(length) +
                             ", shape " + showType(tensor) + " needs " +
                             Twine(byteSize));
  if (offset > file->getSize() || byteSize > file->getSize() - offset)
    return error("I106", "external data range: " + Twine(byteSize) +
                             " bytes at " + Twine(offset) +
                             " are beyond the file's " +
                             Twine(file->getSize()) + " bytes");
  if (checksum) {
    uint64_t eager =
        model.getOptions().verifyChecksums ? UINT64_MAX : kEagerChecksum;
    if (failed(file->requireSha1(*checksum, eager, where.str(), errors)))
      return failure();
  }
  return span(std::move(file), *location, offset);
}

LogicalResult Resolver::raw() {
  if (type() == DataType::String)
    return error("I204", "raw_data cannot hold strings");
  if (!tensor.payloadIsOneChunk)
    return error("I204", "raw_data is given twice");
  uint64_t has = tensor.payload.size;
  if (has != byteSize) {
    if (getBitWidth(tensor.dataType) < 8)
      return error("I206", getDataTypeName(tensor.dataType) + " tensor of " +
                               Twine(numElements) + " elements needs " +
                               Twine(byteSize) + " bytes, has " + Twine(has));
    return error("I203", "raw_data has " + Twine(has) + " bytes, shape " +
                             showType(tensor) + " needs " + Twine(byteSize));
  }
  return span(model.getSharedFile(), "", tensor.payload.offset);
}

LogicalResult Resolver::wrongCount(uint8_t field, uint64_t has,
                                   uint64_t needs) {
  if (field == PF_Int32 && getBitWidth(tensor.dataType) < 6)
    return error("I206", getDataTypeName(tensor.dataType) + " tensor of " +
                             Twine(numElements) + " elements needs " +
                             Twine(needs) + " bytes, has " + Twine(has));
  return error("I203", Twine(fieldName(field)) + " has " + Twine(has) +
                           " values, shape " + showType(tensor) + " needs " +
                           Twine(needs));
}

LogicalResult Resolver::floats(ArrayRef<uint8_t> message, uint8_t field) {
  uint64_t width = field == PF_Float ? 4 : 8;
  uint64_t has = 0;
  for (FieldCursor c(message.begin(), message.end()); c.next();)
    if (c.number == fieldNumber(field))
      has += c.type == WireType::Bytes ? c.bytes.size() : width;
  uint64_t complex =
      type() == DataType::Complex64 || type() == DataType::Complex128 ? 2 : 1;
  if (has != byteSize || has % width)
    return wrongCount(field, has / width, numElements * complex);
  if (!data)
    return success();
  data->bytes.resize(byteSize);
  uint8_t *out = data->bytes.data(), *end = out + byteSize;
  for (FieldCursor c(message.begin(), message.end()); c.next();) {
    if (c.number != fieldNumber(field))
      continue;
    uint8_t one[8];
    support::endian::write64le(one, c.value);
    ArrayRef<uint8_t> bytes =
        c.type == WireType::Bytes ? c.bytes : ArrayRef<uint8_t>(one, width);
    if (bytes.size() > static_cast<size_t>(end - out))
      break; // the file changed meanwhile; the check at the end says so
    if (!bytes.empty())
      std::memcpy(out, bytes.data(), bytes.size());
    out += bytes.size();
  }
  return success();
}

LogicalResult Resolver::varints(ArrayRef<uint8_t> message, uint8_t field) {
  unsigned bits = getBitWidth(tensor.dataType);
  // Types below six bits are packed by the writer of the file, the others
  // stand one to an entry.
  uint64_t needs = bits < 6 ? byteSize : numElements;
  uint64_t has = 0;
  for (FieldCursor c(message.begin(), message.end()); c.next();) {
    if (c.number != fieldNumber(field))
      continue;
    if (c.type == WireType::Bytes)
      has += count_if(c.bytes, [](uint8_t b) { return b < 0x80; });
    else
      ++has;
  }
  if (has != needs)
    return wrongCount(field, has, needs);
  if (data)
    data->bytes.assign(byteSize, 0);

  EntryRange range = entryRange(type());
  bool anyValue = type() == DataType::Int64 || type() == DataType::UInt64;
  uint64_t index = 0;
  auto put = [&](uint64_t value) -> LogicalResult {
    if (index == needs)
      return failure(); // changed meanwhile
    if (!anyValue) {
      auto asSigned = static_cast<int64_t>(value);
      // int32_data is signed on the wire whatever the type of the tensor.
      bool negative = asSigned < 0 && field == PF_Int32;
      bool good = negative ? asSigned >= range.low : value <= range.high;
      if (!good) {
        std::string shown =
            negative ? std::to_string(asSigned) : std::to_string(value);
        StringRef unit = bits < 6 ? "byte of packed " : "";
        return error("I205", "value " + shown + " at index " + Twine(index) +
                                 " is not a " + unit +
                                 getDataTypeName(tensor.dataType));
      }
    }
    if (data) {
      uint8_t *out = data->bytes.data();
      if (bits == 6) {
        uint64_t bit = index * 6;
        out[bit / 8] |= static_cast<uint8_t>(value << (bit % 8));
        if (bit % 8 > 2)
          out[bit / 8 + 1] |= static_cast<uint8_t>(value >> (8 - bit % 8));
      } else {
        unsigned width = std::max(bits / 8, 1u);
        uint8_t little[8];
        support::endian::write64le(little, value);
        std::memcpy(out + index * width, little, width);
      }
    }
    ++index;
    return success();
  };
  for (FieldCursor c(message.begin(), message.end()); c.next();) {
    if (c.number != fieldNumber(field))
      continue;
    if (c.type != WireType::Bytes) {
      if (failed(put(c.value)))
        return failure();
      continue;
    }
    const uint8_t *p = c.bytes.begin();
    while (p != c.bytes.end()) {
      uint64_t value;
      if (!readVarint(p, c.bytes.end(), value))
        return errors.error(
            "I001", where,
            "not a valid ONNX protobuf: " + Twine(fieldName(field)) +
                " has no complete number (at byte " +
                Twine(tensor.offset + (p - message.begin())) + " of " +
                Twine(model.getFile().getSize()) + ")");
      if (failed(put(value)))
        return failure();
    }
  }
  // Spare bits of the last byte are ours to clear.
  if (data && bits < 8 && numElements * bits % 8 != 0 && !data->bytes.empty())
    data->bytes.back() &=
        static_cast<uint8_t>((1u << (numElements * bits % 8)) - 1);
  return success();
}

LogicalResult Resolver::strings(ArrayRef<uint8_t> message) {
  uint64_t has = 0;
  for (FieldCursor c(message.begin(), message.end()); c.next();)
    has += c.number == fieldNumber(PF_String);
  if (has != numElements)
    return wrongCount(PF_String, has, numElements);
  if (!data)
    return success();
  data->strings.reserve(has);
  for (FieldCursor c(message.begin(), message.end()); c.next();)
    if (c.number == fieldNumber(PF_String))
      data->strings.emplace_back(reinterpret_cast<const char *>(c.bytes.data()),
                                 c.bytes.size());
  return success();
}

LogicalResult Resolver::typed(uint8_t field) {
  SafeFile &file = model.getFile();
  bool isFloat = field == PF_Float || field == PF_Double;
  // No byte needs to be read for these.
  if (isFloat && tensor.payloadIsOneChunk && tensor.payload.size == byteSize)
    return span(model.getSharedFile(), "", tensor.payload.offset);
  if (failed(file.ensure(tensor.offset, tensor.size, errors)))
    return failure();
  ArrayRef<uint8_t> message(file.getBase() + tensor.offset, tensor.size);
  if (isFloat)
    return floats(message, field);
  if (field == PF_String)
    return strings(message);
  return varints(message, field);
}

LogicalResult Resolver::run() {
  if (failed(getTensorSize(tensor.dataType, tensor.dims,
                           model.getOptions().limits, where, numElements,
                           byteSize, errors)))
    return failure();
  if (data) {
    data->kind = type() == DataType::String ? TensorData::Kind::Strings
                                            : TensorData::Kind::Bytes;
    data->numElements = numElements;
    data->byteSize = byteSize;
  }
  if (tensor.hasSegment)
    return error("I204", "the tensor is a segment of one, which is not "
                         "supported");
  if (tensor.dataLocation == 1)
    return external();
  if (tensor.dataLocation != 0)
    return error("I204", "data location " + Twine(tensor.dataLocation) +
                             " is not known");
  if (!tensor.externalData.empty())
    errors.warning("I204", where,
                   "external_data is ignored, as data_location is not "
                   "EXTERNAL");
  uint8_t fields = tensor.payloadFields;
  if (popcount(fields) > 1) {
    uint8_t first = fields & -fields, rest = fields & ~first;
    return error("I204", "both " + Twine(fieldName(first)) + " and " +
                             fieldName(rest & -rest) + " are set");
  }
  if (!fields) {
    if (!numElements)
      return success();
    return error("I203", "there are no data, shape " + showType(tensor) +
                             " needs " +
                             (byteSize ? Twine(byteSize) + " bytes"
                                       : Twine(numElements) + " strings"));
  }
  if (fields == PF_Raw)
    return raw();
  if (uint8_t owned = ownedField(type()); fields != owned)
    return error("I204", Twine(fieldName(fields)) + " is set, " +
                             getDataTypeName(tensor.dataType) +
                             " elements belong into " + fieldName(owned) +
                             " or raw_data");
  return typed(fields);
}

} // namespace

LogicalResult resolveTensor(const ModelFile &model, const TensorProto &tensor,
                            const Twine &where, TensorData &data,
                            CodedErrors &errors) {
  data = TensorData();
  return Resolver(model, tensor, where, &data, errors).run();
}

LogicalResult checkTensor(const ModelFile &model, const TensorProto &tensor,
                          const Twine &where, CodedErrors &errors) {
  return Resolver(model, tensor, where, nullptr, errors).run();
}

LogicalResult readTensor(const ModelFile &model, const TensorProto &tensor,
                         const Twine &where, std::vector<uint8_t> &bytes,
                         CodedErrors &errors) {
  TensorData data;
  if (failed(resolveTensor(model, tensor, where, data, errors)))
    return failure();
  switch (data.kind) {
  case TensorData::Kind::Strings:
    return errors.error("I207", where,
                        "a string tensor stands where numbers are needed");
  case TensorData::Kind::Bytes:
    bytes = std::move(data.bytes);
    return success();
  case TensorData::Kind::Span:
    bytes.resize(data.byteSize);
    return data.file->read(data.offset, bytes, errors);
  }
  return failure();
}

/// Calls `take` with runs of the packed bytes of a tensor, whole elements.
static LogicalResult
forEachChunk(TensorData &data,
             function_ref<LogicalResult(ArrayRef<uint8_t>)> take,
             CodedErrors &errors) {
  if (data.kind == TensorData::Kind::Bytes)
    return take(data.bytes);
  std::vector<uint8_t> storage;
  for (uint64_t done = 0; done < data.byteSize; done += kChunk) {
    uint64_t n = std::min(kChunk, data.byteSize - done);
    FailureOr<ArrayRef<uint8_t>> bytes =
        data.file->viewOrRead(data.offset + done, n, storage, errors);
    if (failed(bytes) || failed(take(*bytes)))
      return failure();
  }
  return success();
}

/// Checks a sparse tensor and calls `visit` with the linear index of each
/// value, in ascending order.
static LogicalResult
walkSparse(const ModelFile &model, const SparseTensorProto &sparse,
           const Twine &where, uint64_t &denseElements, uint64_t &denseBytes,
           function_ref<void(uint64_t)> visit, CodedErrors &errors) {
  auto error = [&](const Twine &what) {
    return errors.error("I208", where, what);
  };
  if (!sparse.values || !sparse.indices)
    return error("a sparse tensor needs values and indices");
  const TensorProto &values = *sparse.values, &indices = *sparse.indices;
  if (failed(checkTensor(model, values, where + ", values", errors)))
    return failure();
  if (failed(getTensorSize(values.dataType, sparse.dims,
                           model.getOptions().limits, where, denseElements,
                           denseBytes, errors)))
    return failure();
  if (sparse.dims.empty())
    return error("a sparse tensor has rank 0");
  if (values.dims.size() != 1)
    return error("the values have rank " + Twine(values.dims.size()) +
                 ", 1 is needed");
  if (static_cast<DataType>(indices.dataType) != DataType::Int64)
    return error("the indices are " + getDataTypeName(indices.dataType) +
                 ", int64 is needed");
  TensorData found;
  if (failed(resolveTensor(model, indices, where + ", indices", found, errors)))
    return failure();
  uint64_t rank = sparse.dims.size(), count = values.dims[0];
  bool linear = indices.dims.size() == 1;
  if (indices.dims.empty() || indices.dims.size() > 2 ||
      static_cast<uint64_t>(indices.dims[0]) != count ||
      (!linear && static_cast<uint64_t>(indices.dims[1]) != rank))
    return error("the indices have shape " + showDims(indices.dims) + ", [" +
                 Twine(count) + "] or [" + Twine(count) + "," + Twine(rank) +
                 "] is needed");
  if (count > denseElements)
    return error(Twine(count) + " values do not fit " + showDims(sparse.dims));

  std::optional<uint64_t> previous;
  uint64_t current = 0, axis = 0;
  auto take = [&](ArrayRef<uint8_t> bytes) -> LogicalResult {
    for (; bytes.size() >= 8; bytes = bytes.drop_front(8)) {
      auto index =
          static_cast<int64_t>(support::endian::read64le(bytes.data()));
      uint64_t bound = linear ? denseElements : sparse.dims[axis];
      if (index < 0 || static_cast<uint64_t>(index) >= bound)
        return error("sparse index " + Twine(index) + " is outside " +
                     showDims(sparse.dims));
      // Stays below denseElements, which did not overflow.
      current = linear ? index : current * bound + index;
      if (!linear && ++axis < rank)
        continue;
      if (previous && current <= *previous)
        return error("the sparse indices are not ascending and unique");
      visit(current);
      previous = current;
      current = axis = 0;
    }
    return success();
  };
  return forEachChunk(found, take, errors);
}

LogicalResult checkSparse(const ModelFile &model,
                          const SparseTensorProto &sparse, const Twine &where,
                          CodedErrors &errors) {
  uint64_t elements, bytes;
  return walkSparse(
      model, sparse, where, elements, bytes, [](uint64_t) {}, errors);
}

LogicalResult densifySparse(const ModelFile &model,
                            const SparseTensorProto &sparse, const Twine &where,
                            std::vector<uint8_t> &bytes, CodedErrors &errors) {
  uint64_t elements, denseBytes;
  std::vector<uint64_t> places;
  if (failed(walkSparse(
          model, sparse, where, elements, denseBytes,
          [&](uint64_t index) { places.push_back(index); }, errors)))
    return failure();
  const ImportLimits &limits = model.getOptions().limits;
  if (denseBytes > limits.maxFoldBytes)
    return errors.error("I201", where,
                        "the dense form of the sparse tensor needs " +
                            Twine(denseBytes) + " bytes, more than the limit " +
                            Twine(limits.maxFoldBytes),
                        {"the limit can be set by --max-fold-bytes"});
  unsigned bits = getBitWidth(sparse.values->dataType);
  if (bits < 8)
    return errors.error("I207", where,
                        "sparse tensors of " +
                            getDataTypeName(sparse.values->dataType) +
                            " are not supported");
  std::vector<uint8_t> values;
  if (failed(readTensor(model, *sparse.values, where + ", values", values,
                        errors)))
    return failure();
  uint64_t width = bits / 8;
  bytes.assign(denseBytes, 0);
  for (auto [i, place] : enumerate(places))
    if ((i + 1) * width <= values.size())
      std::memcpy(bytes.data() + place * width, values.data() + i * width,
                  width);
  return success();
}

LogicalResult readIntegers(const ModelFile &model, const TensorProto &tensor,
                           const Twine &where, std::vector<int64_t> &values,
                           CodedErrors &errors) {
  bool isSigned = false;
  switch (static_cast<DataType>(tensor.dataType)) {
  case DataType::Int8:
  case DataType::Int16:
  case DataType::Int32:
  case DataType::Int64:
    isSigned = true;
    break;
  case DataType::UInt8:
  case DataType::UInt16:
  case DataType::UInt32:
  case DataType::UInt64:
  case DataType::Bool:
    break;
  default:
    return errors.error("I207", where,
                        "elements are " + getDataTypeName(tensor.dataType) +
                            ", integers are needed");
  }
  std::vector<uint8_t> bytes;
  if (failed(readTensor(model, tensor, where, bytes, errors)))
    return failure();
  unsigned bits = getBitWidth(tensor.dataType), width = bits / 8;
  values.clear();
  values.reserve(bytes.size() / width);
  for (uint64_t at = 0; at + width <= bytes.size(); at += width) {
    uint8_t little[8] = {};
    std::memcpy(little, bytes.data() + at, width);
    uint64_t value = support::endian::read64le(little);
    values.push_back(isSigned ? SignExtend64(value, bits)
                              : static_cast<int64_t>(value));
  }
  return success();
}

} // namespace mlir::ffn
