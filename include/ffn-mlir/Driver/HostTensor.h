//===- HostTensor.h - Owned tensors for compiled models ---------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DRIVER_HOSTTENSOR_H
#define FFN_MLIR_DRIVER_HOSTTENSOR_H

#define FFN_NO_LOADER
#include "ffn-mlir-c/Runtime.h"
#undef FFN_NO_LOADER
#include "ffn-mlir/Support/Npy.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Error.h"
#include <cstdlib>
#include <memory>
#include <string>

namespace mlir::ffn {

/// An error with the text `what` and nothing else.
llvm::Error driverError(const llvm::Twine &what);

/// "float32", "int64", "bool", "bfloat16".
std::string dtypeName(ffn_dtype dtype);
/// "[2, 3]".
std::string shapeName(llvm::ArrayRef<int64_t> shape);

/// A row-major tensor in memory of its own, as the C ABI takes it.
class HostTensor {
public:
  /// Takes `shape`; elements are unspecified. Memory that is there and large
  /// enough is used again. Fails where the size overflows or memory runs out.
  llvm::Error reset(ffn_dtype dtype, llvm::ArrayRef<int64_t> shape);

  ffn_dtype getDtype() const { return dtype; }
  llvm::ArrayRef<int64_t> getShape() const { return shape; }
  size_t getNumElements() const { return count; }
  size_t getNumBytes() const { return count * (dtype.bits / 8); }
  char *data() { return buffer.get(); }
  const char *data() const { return buffer.get(); }
  template <typename T> llvm::MutableArrayRef<T> as() {
    return {reinterpret_cast<T *>(buffer.get()), count};
  }
  template <typename T> llvm::ArrayRef<T> as() const {
    return {reinterpret_cast<const T *>(buffer.get()), count};
  }

  bool isFloat() const { return dtype.code == 2 || dtype.code == 4; }
  /// Element as a number; integers beyond 2^53 are rounded.
  double getDouble(size_t i) const;
  int64_t getInt(size_t i) const;
  /// Rounds to the nearest value of a float type; integers are cut off.
  void setDouble(size_t i, double value);
  void setInt(size_t i, int64_t value);

  /// The elements of `array` in `dtype`: floats of any width go to any float
  /// type, integers must be in range, everything else is refused. `where` names
  /// the array in the error (FFN-D101).
  llvm::Error assign(const NpyArray &array, ffn_dtype dtype,
                     llvm::StringRef where);
  /// bfloat16 becomes float32, which NumPy has.
  NpyArray toNpy() const;
  /// Floats of the standard normal distribution, integers 0 to `intBound` - 1.
  /// The same seed gives the same elements everywhere.
  void fillRandom(uint64_t seed, int64_t intBound);

  /// The view is valid until the tensor changes.
  ffn_tensor view();

private:
  struct Free {
    void operator()(char *pointer) const { std::free(pointer); }
  };
  std::unique_ptr<char, Free> buffer;
  size_t capacity = 0, count = 0;
  ffn_dtype dtype = {2, 32, 1};
  llvm::SmallVector<int64_t, 4> shape;
};

/// A source of numbers that is the same on every machine.
class SeededRandom {
public:
  explicit SeededRandom(uint64_t seed) : state(seed) {}
  uint64_t next();
  /// In [0, 1).
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  double normal();

private:
  uint64_t state;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_DRIVER_HOSTTENSOR_H
