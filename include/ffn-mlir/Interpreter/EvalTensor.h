//===- EvalTensor.h - Tensors of the reference interpreter ------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_INTERPRETER_EVALTENSOR_H
#define FFN_MLIR_INTERPRETER_EVALTENSOR_H

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/Support/LLVM.h"
#include <memory>
#include <string>
#include <vector>

namespace mlir::ffn {

/// Counts the elements of live tensors, so that a run can be bounded.
struct EvalMeter {
  uint64_t live = 0;
  uint64_t peak = 0;
};

/// A dense tensor value; cheap to copy (storage is shared, copied on write).
/// Elements of every float type are doubles, integers of every width and
/// booleans are int64 (ui64 as its bits), strings are strings.
class EvalTensor {
public:
  EvalTensor() = default;
  /// Zero-filled; the element type decides the storage. The element count
  /// must have been checked by the caller (see EvalState::allocate). `meter`
  /// must outlive nothing: it is shared with the storage.
  EvalTensor(Type elementType, ArrayRef<int64_t> shape,
             std::shared_ptr<EvalMeter> meter = nullptr);

  static EvalTensor scalar(Type elementType, double value);
  static EvalTensor scalarInt(Type elementType, int64_t value);
  static EvalTensor vector(Type elementType, ArrayRef<int64_t> values);

  bool isNull() const { return !storage; }
  Type getElementType() const { return elementType; }
  ArrayRef<int64_t> getShape() const { return shape; }
  int64_t getRank() const { return shape.size(); }
  /// Negative i counts from the end; i must be in range.
  int64_t getDim(int64_t i) const { return shape[i < 0 ? i + getRank() : i]; }
  int64_t getNumElements() const { return count; }
  bool isFloat() const;
  bool isInteger() const;
  bool isUnsigned() const;
  bool isBool() const;
  bool isString() const;

  /// Empty where the tensor has the other storage.
  ArrayRef<double> floats() const;
  ArrayRef<int64_t> ints() const;
  ArrayRef<std::string> strings() const;
  MutableArrayRef<double> mutableFloats();
  MutableArrayRef<int64_t> mutableInts();
  MutableArrayRef<std::string> mutableStrings();
  /// Element as double, from either numeric storage; ui64 is read unsigned.
  double asDouble(int64_t i) const;
  /// The elements as doubles: a copy for integers, shared for floats.
  EvalTensor toFloat(Type floatType) const;

  /// The same elements under another shape of equal count.
  EvalTensor reshaped(ArrayRef<int64_t> newShape) const;
  /// The same elements declared as another type of the same storage class.
  EvalTensor retyped(Type newElementType) const;

  /// From packed little-endian bytes of the element type. Fails if the byte
  /// count is not that of the shape or the type has no byte form.
  static FailureOr<EvalTensor>
  fromBytes(Type elementType, ArrayRef<int64_t> shape, ArrayRef<char> bytes);
  /// Writing rounds to nearest even, integers are taken modulo their width;
  /// fp8 and fp4 saturate.
  LogicalResult toBytes(SmallVectorImpl<char> &bytes) const;

private:
  struct Storage;
  Type elementType;
  SmallVector<int64_t, 4> shape;
  int64_t count = 0;
  std::shared_ptr<Storage> storage;
  Storage &writable();
};

/// Any run-time value: tensor, sequence, optional (empty or one element), none.
struct EvalValue {
  enum Kind { None, Tensor, Sequence, Optional } kind = None;
  EvalTensor tensor;
  std::vector<EvalValue> elements;

  EvalValue() = default;
  EvalValue(EvalTensor t) : kind(Tensor), tensor(std::move(t)) {}
  bool isTensor() const { return kind == Tensor && !tensor.isNull(); }
};

//===----------------------------------------------------------------------===//
// Numbers
//===----------------------------------------------------------------------===//

/// What a value beyond the finite range of a float type becomes.
enum class Overflow {
  Saturate,  // largest finite value, also for an infinity
  ToInfinity // infinity where the type has one, else NaN
};

/// `value` rounded to the nearest value of `type`, ties to even. NaN becomes
/// the largest value in a type without NaN.
double roundToFloatType(FloatType type, double value,
                        Overflow overflow = Overflow::ToInfinity);

/// `value` modulo the width of the integer type, sign- or zero-extended; for
/// i1 whether it is not zero.
int64_t wrapToIntType(Type type, int64_t value);

/// `value` truncated to an integer of `type`: modulo its width while the
/// magnitude fits 64 bits, else (and for NaN) the least int64, as x86 does.
int64_t floatToIntType(Type type, double value);

/// Least and greatest value of an integer type (ui64: as unsigned bits).
std::pair<int64_t, int64_t> intTypeRange(Type type);

/// Product of dims; none on a negative dim or overflow.
std::optional<int64_t> countElements(ArrayRef<int64_t> shape);

/// Width of an integer type with `index` as 64.
unsigned intTypeWidth(Type type);

} // namespace mlir::ffn

#endif // FFN_MLIR_INTERPRETER_EVALTENSOR_H
