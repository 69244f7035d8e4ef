//===- HostTensor.cpp - Owned tensors for compiled models -----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/HostTensor.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>
#include <cstring>

using namespace mlir::ffn;
using llvm::APFloat;
using llvm::APInt;
using llvm::Error;

Error mlir::ffn::driverError(const llvm::Twine &what) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), what);
}

std::string mlir::ffn::dtypeName(ffn_dtype dtype) {
  std::string bits = std::to_string(dtype.bits);
  switch (dtype.code) {
  case 0:
    return "int" + bits;
  case 1:
    return "uint" + bits;
  case 2:
    return "float" + bits;
  case 4:
    return "bfloat" + bits;
  case 6:
    return "bool";
  default:
    return "type" + std::to_string(dtype.code) + "." + bits;
  }
}

std::string mlir::ffn::shapeName(llvm::ArrayRef<int64_t> shape) {
  std::string text = "[";
  for (auto [i, dim] : llvm::enumerate(shape))
    text += (i ? ", " : "") + std::to_string(dim);
  return text + "]";
}

static bool isKnown(ffn_dtype dtype) {
  if (dtype.lanes != 1)
    return false;
  switch (dtype.code) {
  case 0:
  case 1:
    return dtype.bits == 8 || dtype.bits == 16 || dtype.bits == 32 ||
           dtype.bits == 64;
  case 2:
    return dtype.bits == 16 || dtype.bits == 32 || dtype.bits == 64;
  case 4:
    return dtype.bits == 16;
  case 6:
    return dtype.bits == 8;
  default:
    return false;
  }
}

Error HostTensor::reset(ffn_dtype newDtype, llvm::ArrayRef<int64_t> newShape) {
  if (!isKnown(newDtype))
    return driverError("dtype " + dtypeName(newDtype) +
                       " has no form in memory here [FFN-R401]");
  size_t elements = 1, bytes;
  for (int64_t dim : newShape)
    if (dim < 0 ||
        __builtin_mul_overflow(elements, static_cast<size_t>(dim), &elements))
      return driverError("the size of shape " + shapeName(newShape) +
                         " overflows [FFN-R404]");
  if (__builtin_mul_overflow(elements, size_t(newDtype.bits / 8), &bytes) ||
      bytes > (size_t(1) << 62))
    return driverError("the size of shape " + shapeName(newShape) +
                       " overflows [FFN-R404]");
  if (bytes > capacity || !buffer) {
    // Keys and values grow by one token a step: leave room for some.
    size_t wanted = (bytes + bytes / 4 + 64) / 64 * 64;
    buffer.reset();
    capacity = 0;
    buffer.reset(static_cast<char *>(std::aligned_alloc(64, wanted)));
    if (!buffer)
      return driverError("no memory for a tensor of shape " +
                         shapeName(newShape) + " [FFN-R501]");
    capacity = wanted;
  }
  count = elements;
  dtype = newDtype;
  shape.assign(newShape.begin(), newShape.end());
  return Error::success();
}

ffn_tensor HostTensor::view() {
  return {buffer.get(),
          {1, 0},
          static_cast<int32_t>(shape.size()),
          dtype,
          shape.data(),
          nullptr,
          0};
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

template <typename T> static T load(const char *data, size_t i) {
  T value;
  std::memcpy(&value, data + i * sizeof(T), sizeof(T));
  return value;
}
template <typename T> static void store(char *data, size_t i, T value) {
  std::memcpy(data + i * sizeof(T), &value, sizeof(T));
}

static const llvm::fltSemantics &halfSemantics(ffn_dtype dtype) {
  return dtype.code == 4 ? APFloat::BFloat() : APFloat::IEEEhalf();
}

static double loadDouble(const char *data, ffn_dtype dtype, size_t i) {
  if (dtype.bits == 64)
    return load<double>(data, i);
  if (dtype.bits == 32)
    return load<float>(data, i);
  APFloat value(halfSemantics(dtype), APInt(16, load<uint16_t>(data, i)));
  bool lost;
  value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
  return value.convertToDouble();
}

static int64_t loadInt(const char *data, ffn_dtype dtype, size_t i) {
  bool isSigned = dtype.code == 0;
  switch (dtype.bits) {
  case 8:
    return isSigned ? load<int8_t>(data, i) : load<uint8_t>(data, i);
  case 16:
    return isSigned ? load<int16_t>(data, i) : load<uint16_t>(data, i);
  case 32:
    return isSigned ? int64_t(load<int32_t>(data, i)) : load<uint32_t>(data, i);
  default:
    return load<int64_t>(data, i);
  }
}

double HostTensor::getDouble(size_t i) const {
  if (isFloat())
    return loadDouble(buffer.get(), dtype, i);
  int64_t value = loadInt(buffer.get(), dtype, i);
  if (dtype.code == 1)
    return static_cast<double>(static_cast<uint64_t>(value));
  return static_cast<double>(value);
}

int64_t HostTensor::getInt(size_t i) const {
  return isFloat() ? static_cast<int64_t>(getDouble(i))
                   : loadInt(buffer.get(), dtype, i);
}

void HostTensor::setInt(size_t i, int64_t value) {
  if (isFloat())
    return setDouble(i, static_cast<double>(value));
  switch (dtype.bits) {
  case 8:
    return store(buffer.get(), i, static_cast<uint8_t>(value));
  case 16:
    return store(buffer.get(), i, static_cast<uint16_t>(value));
  case 32:
    return store(buffer.get(), i, static_cast<uint32_t>(value));
  default:
    return store(buffer.get(), i, value);
  }
}

void HostTensor::setDouble(size_t i, double value) {
  if (!isFloat())
    return setInt(i, static_cast<int64_t>(value));
  if (dtype.bits == 64)
    return store(buffer.get(), i, value);
  if (dtype.bits == 32)
    return store(buffer.get(), i, static_cast<float>(value));
  APFloat rounded(value);
  bool lost;
  rounded.convert(halfSemantics(dtype), APFloat::rmNearestTiesToEven, &lost);
  store(buffer.get(), i,
        static_cast<uint16_t>(rounded.bitcastToAPInt().getZExtValue()));
}

//===----------------------------------------------------------------------===//
// Arrays
//===----------------------------------------------------------------------===//

static ffn_dtype dtypeOf(const NpyArray &array) {
  uint8_t code = array.kind == 'f'   ? 2
                 : array.kind == 'i' ? 0
                 : array.kind == 'u' ? 1
                                     : 6;
  return {code, static_cast<uint8_t>(8 * array.itemSize), 1};
}

/// Whether an integer of type `from` keeps its value in `to`.
static bool fits(int64_t value, ffn_dtype from, ffn_dtype to) {
  // Bits of a large unsigned number.
  if (from.code == 1 && value < 0)
    return to.code == 1 && to.bits == 64;
  if (to.code == 1)
    return value >= 0 && (to.bits == 64 || value >> to.bits == 0);
  if (to.bits == 64)
    return true;
  int64_t bound = int64_t(1) << (to.bits - 1);
  return value >= -bound && value < bound;
}

Error HostTensor::assign(const NpyArray &array, ffn_dtype wanted,
                         llvm::StringRef where) {
  ffn_dtype from = dtypeOf(array);
  auto refuse = [&](const llvm::Twine &what) {
    return driverError(where + ": " + what + " [FFN-D101]");
  };
  bool toFloat = wanted.code == 2 || wanted.code == 4;
  if (toFloat != (from.code == 2) || (wanted.code == 6) != (from.code == 6))
    return refuse("an array of " + array.getTypeName() +
                  " does not fit dtype " + dtypeName(wanted));
  if (Error error = reset(wanted, array.shape))
    return driverError(where + ": " + llvm::toString(std::move(error)));
  if (array.data.size() != count * array.itemSize)
    return refuse("the array has not as many bytes as its shape needs");
  if (from.code == wanted.code && from.bits == wanted.bits) {
    if (!array.data.empty())
      std::memcpy(buffer.get(), array.data.data(), array.data.size());
    return Error::success();
  }
  for (size_t i = 0; i < count; ++i) {
    if (toFloat) {
      setDouble(i, loadDouble(array.data.data(), from, i));
      continue;
    }
    int64_t value = loadInt(array.data.data(), from, i);
    if (!fits(value, from, wanted))
      return refuse("value " + llvm::Twine(value) + " is outside of dtype " +
                    dtypeName(wanted));
    setInt(i, value);
  }
  return Error::success();
}

NpyArray HostTensor::toNpy() const {
  NpyArray array;
  array.shape.assign(shape.begin(), shape.end());
  array.itemSize = dtype.bits / 8;
  array.kind = dtype.code == 0   ? 'i'
               : dtype.code == 1 ? 'u'
               : dtype.code == 6 ? 'b'
                                 : 'f';
  if (dtype.code != 4) {
    array.data.assign(buffer.get(), buffer.get() + getNumBytes());
    return array;
  }
  array.itemSize = 4;
  array.data.resize(count * 4);
  for (size_t i = 0; i < count; ++i)
    store(array.data.data(), i, static_cast<float>(getDouble(i)));
  return array;
}

//===----------------------------------------------------------------------===//
// Random numbers
//===----------------------------------------------------------------------===//

// SplitMix64 (Steele, Lea, Flood 2014).
uint64_t SeededRandom::next() {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

double SeededRandom::normal() {
  double u = 1 - uniform(), v = uniform();
  return std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v);
}

void HostTensor::fillRandom(uint64_t seed, int64_t intBound) {
  SeededRandom random(seed);
  uint64_t bound = static_cast<uint64_t>(std::max<int64_t>(intBound, 1));
  if (dtype.code == 6)
    bound = 2;
  for (size_t i = 0; i < count; ++i) {
    if (isFloat())
      setDouble(i, random.normal());
    else
      setInt(i, static_cast<int64_t>(random.next() % bound));
  }
}
