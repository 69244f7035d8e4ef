//===- Interpreter.h - Float64 reference meaning ----------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// The oracle. Floating values are computed and stored in float64 whatever
// their declared type; they are rounded to a narrow declared type only where
// the operation is a cast (so fp16 models are compared with exact arithmetic,
// not with another rounding order). Integers wrap at their declared width.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_INTERPRETER_INTERPRETER_H
#define FFN_MLIR_INTERPRETER_INTERPRETER_H

#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/Support/LLVM.h"
#include <memory>
#include <string>
#include <vector>

namespace mlir::ffn {

/// A dense tensor value; cheap to copy (storage is shared, copied on write).
class EvalTensor {
public:
  EvalTensor() = default;
  /// Zero-filled; element type decides the storage. Element count and bytes
  /// must have been checked by the caller (see EvalContext::allocate).
  EvalTensor(Type elementType, ArrayRef<int64_t> shape);

  bool isNull() const { return !storage; }
  Type getElementType() const { return elementType; }
  ArrayRef<int64_t> getShape() const { return shape; }
  int64_t getRank() const { return shape.size(); }
  int64_t getDim(int64_t i) const { return shape[i < 0 ? i + getRank() : i]; }
  int64_t getNumElements() const { return count; }
  bool isFloat() const; // f16, bf16, f32, f64, f8..., stored as double
  bool isInteger()
      const; // any width, bool, index; stored as int64 (ui64 as its bits)
  bool isString() const;

  ArrayRef<double> floats() const;
  ArrayRef<int64_t> ints() const;
  ArrayRef<std::string> strings() const;
  MutableArrayRef<double> mutableFloats();
  MutableArrayRef<int64_t> mutableInts();
  MutableArrayRef<std::string> mutableStrings();
  /// Element as double, from either storage.
  double asDouble(int64_t i) const;

  /// The same elements under another shape of equal count.
  EvalTensor reshaped(ArrayRef<int64_t> newShape) const;

  /// From and to packed little-endian bytes of the element type (writing
  /// rounds to nearest even, integers are taken modulo their width).
  static FailureOr<EvalTensor>
  fromBytes(Type elementType, ArrayRef<int64_t> shape, ArrayRef<char> bytes);
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
};

/// Values of the SSA values in scope; also runs regions.
class EvalState {
public:
  virtual ~EvalState() = default;
  virtual const EvalValue &get(Value value) = 0;
  virtual void set(Value value, EvalValue v) = 0;
  /// Runs a region with the given block arguments; `results` are the operands
  /// of its terminator.
  virtual LogicalResult runRegion(Region &region, ArrayRef<EvalValue> arguments,
                                  SmallVectorImpl<EvalValue> &results) = 0;
};

/// Handed to the evaluation function of an ONNX operator.
class EvalContext {
public:
  onnx::NodeOp node;
  EvalState &state;
  EvalContext(onnx::NodeOp node, EvalState &state) : node(node), state(state) {}

  bool hasInput(unsigned i) { return static_cast<bool>(node.getInput(i)); }
  /// Tensor of input i; a null tensor where absent.
  EvalTensor input(unsigned i);
  void setOutput(unsigned i, EvalTensor tensor);
  /// Element type of output i as declared, or `otherwise` when unknown.
  Type outputElementType(unsigned i, Type otherwise);
  /// Checks the count against the memory limit before allocating.
  FailureOr<EvalTensor> allocate(Type elementType, ArrayRef<int64_t> shape);
  LogicalResult error(const llvm::Twine &what);
};

struct InterpreterOptions {
  /// Most elements of all live tensors.
  uint64_t maxElements = uint64_t(1) << 31;
  uint64_t maxLoopIterations = 1 << 20;
  /// Called after each op of the entry function and its sublayers, for
  /// per-sublayer comparisons; may be null.
  std::function<void(Operation *, EvalState &)> observer;
};

/// Runs `function` (default @main) of the module on `inputs`, one for each
/// argument. Diagnostics name the failing op.
FailureOr<std::vector<EvalValue>>
interpret(ModuleOp module, ArrayRef<EvalValue> inputs,
          const InterpreterOptions &options = {}, StringRef function = "main");

/// Attaches EvaluableOpInterface to the ops of the ffn dialect.
void registerFFNEvaluation(DialectRegistry &registry);

} // namespace mlir::ffn

#endif // FFN_MLIR_INTERPRETER_INTERPRETER_H
