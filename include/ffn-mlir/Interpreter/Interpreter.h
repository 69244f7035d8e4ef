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
// Diagnostics: E101 no meaning known, E102 operands contradict the operator,
// E103 a value is out of range, E104 a limit was reached, E105 wrong inputs.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_INTERPRETER_INTERPRETER_H
#define FFN_MLIR_INTERPRETER_INTERPRETER_H

#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "ffn-mlir/Interpreter/EvalTensor.h"
#include "mlir/IR/BuiltinOps.h"
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace mlir::ffn {

/// Values of the SSA values in scope.
class EvalState {
public:
  virtual ~EvalState() = default;
  /// The value, or one of kind None when there is none (after a diagnostic).
  virtual const EvalValue &get(Value value) = 0;
  virtual void set(Value value, EvalValue v) = 0;
  /// The attribute that a `#onnx.ref` stands for in the running function; any
  /// other attribute as it is. Null: the caller gave none.
  virtual Attribute resolve(Attribute attr) = 0;
  /// A zero-filled tensor, checked against the limit of live elements; an
  /// error at `op` otherwise.
  virtual FailureOr<EvalTensor> allocate(Operation *op, Type elementType,
                                         ArrayRef<int64_t> shape) = 0;
  /// Checks that `elements` more could be allocated, for intermediate data.
  virtual LogicalResult reserve(Operation *op, uint64_t elements) = 0;
};

/// A diagnostic at `op` that names the node: "<node>: <what> [FFN-<code>]".
/// Always failure.
LogicalResult evalError(Operation *op, llvm::StringRef code,
                        const llvm::Twine &what);
/// "[2, 3]".
std::string shapeText(ArrayRef<int64_t> shape);

/// Handed to the evaluation function of an ONNX operator.
class EvalContext {
public:
  onnx::NodeOp node;
  EvalState &state;
  EvalContext(onnx::NodeOp node, EvalState &state) : node(node), state(state) {}

  unsigned numInputs() { return node.getInputs().size(); }
  unsigned numOutputs() { return node.getOutputs().size(); }
  /// Since-version of the node's operator.
  int64_t version() { return node.getVersion(); }
  bool hasInput(unsigned i) { return static_cast<bool>(node.getInput(i)); }
  bool hasOutput(unsigned i);
  /// Tensor of input i; a null tensor where absent.
  EvalTensor input(unsigned i);
  /// Any value of input i; kind None where absent.
  EvalValue inputValue(unsigned i);
  /// Tensor of input i, which must be there; an error otherwise.
  FailureOr<EvalTensor> require(unsigned i);
  /// The same, floating or converted from integers / integer only.
  FailureOr<EvalTensor> requireFloat(unsigned i);
  FailureOr<EvalTensor> requireInt(unsigned i);
  /// Elements of the integer input i; none where absent.
  FailureOr<std::optional<SmallVector<int64_t>>> optionalInts(unsigned i);
  /// The one element of input i, or `otherwise` where absent.
  FailureOr<int64_t> intScalar(unsigned i, int64_t otherwise);
  FailureOr<double> floatScalar(unsigned i, double otherwise);

  /// Ignored for outputs the node does not have or leaves out.
  void setOutput(unsigned i, EvalTensor tensor);
  void setOutputValue(unsigned i, EvalValue value);
  /// Element type of output i as declared, or `otherwise` when unknown.
  Type outputElementType(unsigned i, Type otherwise);

  /// Node attributes with references resolved; the default when absent.
  Attribute attr(StringRef name);
  bool hasAttr(StringRef name) { return static_cast<bool>(attr(name)); }
  int64_t getInt(StringRef name, int64_t otherwise);
  double getFloat(StringRef name, double otherwise);
  StringRef getString(StringRef name, StringRef otherwise);
  std::optional<SmallVector<int64_t>> getInts(StringRef name);
  std::optional<SmallVector<double>> getFloats(StringRef name);
  std::optional<SmallVector<std::string>> getStrings(StringRef name);

  FailureOr<EvalTensor> allocate(Type elementType, ArrayRef<int64_t> shape) {
    return state.allocate(node, elementType, shape);
  }
  /// E102 unless another code is given.
  LogicalResult error(const llvm::Twine &what, StringRef code = "E102");
  /// Axis in [-rank, rank) to [0, rank).
  FailureOr<int64_t> normalizeAxis(int64_t axis, int64_t rank);
  FailureOr<SmallVector<int64_t>> normalizeAxes(ArrayRef<int64_t> axes,
                                                int64_t rank);
  /// Shape of an elementwise operation by the multidirectional rule.
  FailureOr<SmallVector<int64_t>> broadcast(ArrayRef<int64_t> a,
                                            ArrayRef<int64_t> b);

  Type f32() { return Float32Type::get(node.getContext()); }
  Type i64() { return IntegerType::get(node.getContext(), 64); }
  Type i32() { return IntegerType::get(node.getContext(), 32); }
  Type i1() { return IntegerType::get(node.getContext(), 1); }
};

struct InterpreterOptions {
  /// Most elements of all live tensors.
  uint64_t maxElements = uint64_t(1) << 31;
  uint64_t maxLoopIterations = 1 << 20;
  /// Regions and calls inside one another.
  uint64_t maxDepth = 10000;
  /// Operations evaluated in all.
  uint64_t maxOperations = uint64_t(1) << 32;
  /// Called after each op of the entry function and its sublayers, for
  /// per-sublayer comparisons; may be null. Operands and results of the op
  /// can still be read, and results changed.
  std::function<void(Operation *, EvalState &)> observer;
  /// Calls the observer for the ops of subgraphs and local functions too.
  bool observeAll = false;
};

/// Runs `function` (default @main) of the module on `inputs`, one for each
/// argument. Diagnostics name the failing op.
FailureOr<std::vector<EvalValue>>
interpret(ModuleOp module, ArrayRef<EvalValue> inputs,
          const InterpreterOptions &options = {}, StringRef function = "main");

/// The tensor of a constant: a span (read through the WeightStore) or dense
/// elements, strings included. `user` locates file and diagnostics.
FailureOr<EvalTensor> evaluateConstant(Operation *user, Attribute value);

/// True when every op of the function (and what it calls) has a meaning here;
/// `firstUnknown` is set to one that has none.
bool canInterpret(ModuleOp module, Operation **firstUnknown = nullptr,
                  StringRef function = "main");

/// Attaches EvaluableOpInterface to the ops of the ffn dialect.
void registerFFNEvaluation(DialectRegistry &registry);

} // namespace mlir::ffn

#endif // FFN_MLIR_INTERPRETER_INTERPRETER_H
