//===- EvalTensor.cpp - Tensors of the reference interpreter --------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/EvalTensor.h"
#include "FloatRounding.h"
#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "ffn-mlir/Support/Assert.h"
#include <cstring>

using namespace mlir;
using namespace mlir::ffn;

struct EvalTensor::Storage {
  std::vector<double> floats;
  std::vector<int64_t> ints;
  std::vector<std::string> strings;
  std::shared_ptr<EvalMeter> meter;
  uint64_t metered = 0;

  Storage() = default;
  Storage(const Storage &other)
      : floats(other.floats), ints(other.ints), strings(other.strings),
        meter(other.meter) {
    count(other.metered);
  }
  Storage &operator=(const Storage &) = delete;
  ~Storage() {
    if (meter)
      meter->live -= metered;
  }
  void count(uint64_t elements) {
    metered = elements;
    if (!meter)
      return;
    meter->live += elements;
    meter->peak = std::max(meter->peak, meter->live);
  }
};

std::optional<int64_t> mlir::ffn::countElements(ArrayRef<int64_t> shape) {
  // Zeros do not excuse an overflow of the other dims.
  int64_t product = 1;
  bool empty = false;
  for (int64_t dim : shape) {
    if (dim < 0)
      return std::nullopt;
    if (dim == 0)
      empty = true;
    else if (llvm::MulOverflow(product, dim, product))
      return std::nullopt;
  }
  return empty ? 0 : product;
}

EvalTensor::EvalTensor(Type elementType, ArrayRef<int64_t> dims,
                       std::shared_ptr<EvalMeter> meter)
    : elementType(elementType), shape(dims),
      count(countElements(dims).value_or(0)),
      storage(std::make_shared<Storage>()) {
  storage->meter = std::move(meter);
  storage->count(count);
  if (isFloat())
    storage->floats.resize(count);
  else if (isString())
    storage->strings.resize(count);
  else
    storage->ints.resize(count);
}

EvalTensor EvalTensor::scalar(Type elementType, double value) {
  EvalTensor tensor(elementType, {});
  if (tensor.isFloat())
    tensor.mutableFloats()[0] = value;
  else if (tensor.isInteger())
    tensor.mutableInts()[0] = floatToIntType(elementType, value);
  return tensor;
}

EvalTensor EvalTensor::scalarInt(Type elementType, int64_t value) {
  EvalTensor tensor(elementType, {});
  if (tensor.isInteger())
    tensor.mutableInts()[0] = value;
  else if (tensor.isFloat())
    tensor.mutableFloats()[0] = static_cast<double>(value);
  return tensor;
}

EvalTensor EvalTensor::vector(Type elementType, ArrayRef<int64_t> values) {
  EvalTensor tensor(elementType, {static_cast<int64_t>(values.size())});
  if (tensor.isInteger())
    llvm::copy(values, tensor.mutableInts().begin());
  return tensor;
}

bool EvalTensor::isFloat() const {
  return llvm::isa_and_present<FloatType>(elementType);
}
bool EvalTensor::isString() const {
  return llvm::isa_and_present<onnx::StringType>(elementType);
}
bool EvalTensor::isInteger() const {
  return elementType && !isFloat() && !isString();
}
bool EvalTensor::isUnsigned() const {
  return elementType && elementType.isUnsignedInteger();
}
bool EvalTensor::isBool() const {
  return elementType && elementType.isInteger(1);
}

ArrayRef<double> EvalTensor::floats() const {
  return storage ? ArrayRef<double>(storage->floats) : ArrayRef<double>();
}
ArrayRef<int64_t> EvalTensor::ints() const {
  return storage ? ArrayRef<int64_t>(storage->ints) : ArrayRef<int64_t>();
}
ArrayRef<std::string> EvalTensor::strings() const {
  return storage ? ArrayRef<std::string>(storage->strings)
                 : ArrayRef<std::string>();
}

EvalTensor::Storage &EvalTensor::writable() {
  FFN_ASSERT(storage, "a null tensor has no elements");
  if (storage.use_count() > 1)
    storage = std::make_shared<Storage>(*storage);
  return *storage;
}
MutableArrayRef<double> EvalTensor::mutableFloats() {
  return writable().floats;
}
MutableArrayRef<int64_t> EvalTensor::mutableInts() { return writable().ints; }
MutableArrayRef<std::string> EvalTensor::mutableStrings() {
  return writable().strings;
}

double EvalTensor::asDouble(int64_t i) const {
  if (isFloat())
    return storage->floats[i];
  int64_t value = storage->ints[i];
  return isUnsigned() ? static_cast<double>(static_cast<uint64_t>(value))
                      : static_cast<double>(value);
}

EvalTensor EvalTensor::toFloat(Type floatType) const {
  if (isNull() || isFloat())
    return retyped(floatType);
  EvalTensor result(floatType, shape, storage->meter);
  MutableArrayRef<double> out = result.mutableFloats();
  if (isInteger())
    for (int64_t i = 0; i < count; ++i)
      out[i] = asDouble(i);
  return result;
}

EvalTensor EvalTensor::reshaped(ArrayRef<int64_t> newShape) const {
  FFN_ASSERT(countElements(newShape) == count,
             "a reshape keeps the element count");
  EvalTensor result = *this;
  result.shape.assign(newShape.begin(), newShape.end());
  return result;
}

EvalTensor EvalTensor::retyped(Type newElementType) const {
  EvalTensor result = *this;
  result.elementType = newElementType;
  return result;
}

//===----------------------------------------------------------------------===//
// Bytes
//===----------------------------------------------------------------------===//

namespace {
/// How elements of a type lie in bytes.
struct ByteForm {
  unsigned bits = 0; // of one element in memory; 0: the type has none
  bool isSigned = false;
};
} // namespace

static ByteForm getByteForm(Type type) {
  if (type.isInteger(1))
    return {8, false};
  if (type.isIndex())
    return {64, true};
  if (auto integer = llvm::dyn_cast<IntegerType>(type)) {
    unsigned width = integer.getWidth();
    bool known = width == 2 || width == 4 || width == 8 || width == 16 ||
                 width == 32 || width == 64;
    return {known ? width : 0, !integer.isUnsigned()};
  }
  if (auto floating = llvm::dyn_cast<FloatType>(type)) {
    unsigned width = floating.getWidth();
    bool known =
        width == 4 || width == 8 || width == 16 || width == 32 || width == 64;
    return {known && getFloatFormat(floating).supported ? width : 0, false};
  }
  return {};
}

static std::optional<uint64_t> packedBytes(int64_t count, unsigned bits) {
  uint64_t total = count;
  if (__builtin_mul_overflow(total, uint64_t(bits), &total))
    return std::nullopt;
  return total / 8 + (total % 8 != 0);
}

/// Bits of element i of a packed array.
static uint64_t loadBits(const char *data, int64_t i, unsigned bits) {
  if (bits < 8) {
    uint64_t position = static_cast<uint64_t>(i) * bits;
    auto byte = static_cast<unsigned char>(data[position / 8]);
    return (byte >> (position % 8)) & ((1u << bits) - 1);
  }
  uint64_t value = 0;
  std::memcpy(&value, data + static_cast<uint64_t>(i) * (bits / 8), bits / 8);
  return value;
}

static void storeBits(char *data, int64_t i, unsigned bits, uint64_t value) {
  if (bits < 8) {
    uint64_t position = static_cast<uint64_t>(i) * bits;
    data[position / 8] |=
        static_cast<char>((value & ((1u << bits) - 1)) << (position % 8));
    return;
  }
  std::memcpy(data + static_cast<uint64_t>(i) * (bits / 8), &value, bits / 8);
}

FailureOr<EvalTensor> EvalTensor::fromBytes(Type elementType,
                                            ArrayRef<int64_t> shape,
                                            ArrayRef<char> bytes) {
  ByteForm form = getByteForm(elementType);
  std::optional<int64_t> elements = countElements(shape);
  if (form.bits == 0 || !elements ||
      packedBytes(*elements, form.bits) != bytes.size())
    return failure();
  int64_t n = *elements;
  EvalTensor result(elementType, shape);
  auto floating = llvm::dyn_cast<FloatType>(elementType);
  if (!floating) {
    MutableArrayRef<int64_t> out = result.mutableInts();
    for (int64_t i = 0; i < n; ++i)
      out[i] = wrapToIntType(elementType, static_cast<int64_t>(loadBits(
                                              bytes.data(), i, form.bits)));
    return result;
  }
  MutableArrayRef<double> out = result.mutableFloats();
  if (form.bits == 64) {
    if (n)
      std::memcpy(out.data(), bytes.data(), bytes.size());
  } else if (form.bits == 32) {
    for (int64_t i = 0; i < n; ++i) {
      float value;
      std::memcpy(&value, bytes.data() + 4 * i, 4);
      out[i] = value;
    }
  } else {
    ArrayRef<double> table = getDecodeTable(getFloatFormat(floating));
    for (int64_t i = 0; i < n; ++i)
      out[i] = table[loadBits(bytes.data(), i, form.bits)];
  }
  return result;
}

LogicalResult EvalTensor::toBytes(SmallVectorImpl<char> &bytes) const {
  ByteForm form = elementType ? getByteForm(elementType) : ByteForm();
  std::optional<uint64_t> size =
      form.bits ? packedBytes(count, form.bits) : std::nullopt;
  if (!size)
    return failure();
  bytes.assign(*size, 0);
  auto floating = llvm::dyn_cast<FloatType>(elementType);
  if (!floating) {
    ArrayRef<int64_t> in = ints();
    for (int64_t i = 0; i < count; ++i)
      storeBits(bytes.data(), i, form.bits,
                static_cast<uint64_t>(form.bits == 8 && isBool() ? in[i] != 0
                                                                 : in[i]));
    return success();
  }
  ArrayRef<double> in = floats();
  if (form.bits == 64) {
    if (count)
      std::memcpy(bytes.data(), in.data(), bytes.size());
    return success();
  }
  if (form.bits == 32) {
    for (int64_t i = 0; i < count; ++i) {
      auto value = static_cast<float>(in[i]);
      std::memcpy(bytes.data() + 4 * i, &value, 4);
    }
    return success();
  }
  FloatFormat format = getFloatFormat(floating);
  Overflow overflow =
      form.bits <= 8 ? Overflow::Saturate : Overflow::ToInfinity;
  for (int64_t i = 0; i < count; ++i)
    storeBits(bytes.data(), i, form.bits,
              encodeFloat(format, roundToFormat(format, in[i], overflow)));
  return success();
}
