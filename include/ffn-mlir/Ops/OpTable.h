//===- OpTable.h - Meaning of ONNX operators --------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// One table keyed by (domain, operator, since-version). Arity, attribute kinds
// and defaults come from the schema data (`Schema`), generated from the onnx
// package; what an operator does (shape, lowering, evaluation, effect) comes
// from one file for each op family in lib/Ops, found by CMake.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_OPS_OPTABLE_H
#define FFN_MLIR_OPS_OPTABLE_H

#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "ffn-mlir/Support/DimExpr.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Support/LLVM.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace mlir::ffn {

class ShapeContext;
class EvalContext;
class LowerContext;

//===----------------------------------------------------------------------===//
// Schema: data only, all operators of the onnx package and com.microsoft
//===----------------------------------------------------------------------===//

/// ONNX AttributeProto.AttributeType numbers.
enum class AttrKind : uint8_t {
  Undefined = 0,
  Float,
  Int,
  String,
  Tensor,
  Graph,
  Floats,
  Ints,
  Strings,
  Tensors,
  Graphs,
  SparseTensor,
  SparseTensors,
  TypeProto,
  TypeProtos
};

struct AttrSchema {
  llvm::StringRef name;
  AttrKind kind;
  bool required;
  /// Textual default: an integer, a float, a string; empty list "[]"; or "".
  llvm::StringRef defaultValue;
  bool hasDefault;
};

/// One formal input or output.
struct ParamSchema {
  /// A type variable ("T": all with this name agree) or one type, spelt
  /// "tensor(int64)".
  llvm::StringRef type;
  /// Bit n: tensors of TensorProto type n; bits 40 to 43: sequences, optionals,
  /// maps, sparse tensors.
  uint64_t allowed;
  bool optional;
  bool repeated; // the last one of a variadic list
  bool mixed;    // repeated, but types need not agree
};

/// Effect class of an operator: `Random` ops draw numbers, `Impure` has side
/// effects or unknown meaning.
enum class OpEffect : uint8_t { Pure, Random, Impure };

struct Schema {
  llvm::StringRef domain;
  llvm::StringRef name;
  int sinceVersion;
  int minInputs, maxInputs; // maxInputs == INT_MAX: variadic
  int minOutputs, maxOutputs;
  bool deprecated;
  /// Of ONNX Runtime, but written by exporters into the default domain.
  bool habit;
  OpEffect effect;
  llvm::ArrayRef<AttrSchema> attrs; // sorted by name
  llvm::ArrayRef<ParamSchema> inputs;
  llvm::ArrayRef<ParamSchema> outputs;

  const AttrSchema *findAttr(llvm::StringRef name) const;
  /// Formal parameter of actual input or output i; null beyond the list.
  const ParamSchema *getInput(unsigned i) const { return get(inputs, i); }
  const ParamSchema *getOutput(unsigned i) const { return get(outputs, i); }

private:
  static const ParamSchema *get(llvm::ArrayRef<ParamSchema> list, unsigned i) {
    if (i < list.size())
      return &list[i];
    return !list.empty() && list.back().repeated ? &list.back() : nullptr;
  }
};

/// Element type of TensorProto type number `number`, null for none of ours.
Type getONNXElementType(MLIRContext *ctx, int number);
/// TensorProto type number of an element type; 0 for none of ONNX.
int getONNXTypeNumber(Type elementType);

/// The schema in force for an operator under opset `opset` of `domain`: the
/// greatest since-version not above it; null when there is none. The domain
/// "ai.onnx" is "".
const Schema *lookupSchema(llvm::StringRef domain, llvm::StringRef name,
                           int opset);
/// True when some version of the operator exists in the domain.
bool isKnownOperator(llvm::StringRef domain, llvm::StringRef name);
/// Newest opset of a domain in the data; 0 for an unknown domain.
int getNewestOpset(llvm::StringRef domain);
/// All schemas, sorted by (domain, name, since-version).
llvm::ArrayRef<Schema> getAllSchemas();

//===----------------------------------------------------------------------===//
// Behaviour
//===----------------------------------------------------------------------===//

/// Sets result shapes and contents from those of the operands; emits a coded
/// diagnostic on a contradiction. Null: results stay as declared.
using ShapeFn = LogicalResult (*)(ShapeContext &);
/// Float64 meaning.
using EvalFn = LogicalResult (*)(EvalContext &);
/// Replacement by upstream dialects on tensors.
using LowerFn = LogicalResult (*)(LowerContext &);

/// Facets of an operator; a facet registered for since-version v holds for
/// later versions until another registration replaces it. Facets of one
/// operator may be registered by different files.
struct OpBehaviour {
  ShapeFn shape = nullptr;
  EvalFn eval = nullptr;
  LowerFn lower = nullptr;
};

class OpTable {
public:
  /// The table with all families registered; built once, immutable after.
  static const OpTable &get();

  /// Behaviour in force at `version`, each facet looked up on its own.
  OpBehaviour lookup(llvm::StringRef domain, llvm::StringRef name,
                     int version) const;
  OpBehaviour lookup(onnx::NodeOp node) const;

  void addShape(llvm::StringRef domain, llvm::StringRef name, int since,
                ShapeFn fn);
  void addEval(llvm::StringRef domain, llvm::StringRef name, int since,
               EvalFn fn);
  void addLower(llvm::StringRef domain, llvm::StringRef name, int since,
                LowerFn fn);

  OpTable();
  ~OpTable();

private:
  struct Impl;
  std::unique_ptr<Impl> impl;
};

// lib/Ops/<Family>.cpp and its siblings <Family>Eval.cpp, <Family>Lower.cpp
// each define one function `void registerOps_<Stem>(OpTable &)` by
//   FFN_REGISTER_OPS(<Stem>) { table.addShape("", "Softmax", 13, fn); ... }
// CMake writes the list of stems, so a new file needs no edit elsewhere. Files
// that are no families live in lib/Ops/Core.
#define FFN_REGISTER_OPS(stem)                                                 \
  namespace mlir::ffn {                                                        \
  void registerOps_##stem(OpTable &table);                                     \
  }                                                                            \
  void mlir::ffn::registerOps_##stem(::mlir::ffn::OpTable &table)

/// Installs the effect hook in the onnx dialect of the context.
void installONNXHooks(MLIRContext *ctx);
/// Makes `installONNXHooks` part of loading the onnx dialect.
void registerONNXHooks(DialectRegistry &registry);

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

/// Most elements of a tensor whose contents the analysis follows.
inline constexpr int64_t kMaxContents = 1024;
/// Limits on every declared or inferred type (trust contract of the importer).
inline constexpr int64_t kMaxRank = 32;
inline constexpr uint64_t kMaxTensorBytes = uint64_t(1) << 40;

/// What is known of a value: element type, dims, and for small tensors (at most
/// kMaxContents elements) the contents, row-major, which carry shape
/// arithmetic. Contents are integers: booleans are 0 and 1, floating tensors
/// have contents only where all elements are integers; an element may be
/// unknown on its own.
struct SymValue {
  Type elementType;                         // null: unknown
  std::optional<SmallVector<DimExpr>> dims; // none: unknown rank
  std::optional<SmallVector<DimExpr>> contents;
  Type otherType; // sequence, optional ...: as is

  SymValue() = default;
  SymValue(Type elementType, std::optional<SmallVector<DimExpr>> dims)
      : elementType(elementType), dims(std::move(dims)) {}

  bool hasRank() const { return dims.has_value(); }
  int64_t rank() const {
    return dims ? static_cast<int64_t>(dims->size()) : -1;
  }
  /// Contents, if all of them are constants.
  std::optional<SmallVector<int64_t>> constants() const;
};

/// Handed to a shape function. It must set or leave every output; an output
/// without element type gets the one that the schema gives it (that of the
/// inputs with the same type variable, or its only type); unknown dims become
/// fresh symbols.
class ShapeContext {
public:
  virtual ~ShapeContext() = default;
  onnx::NodeOp node;

  unsigned numInputs() { return node.getInputs().size(); }
  unsigned numOutputs() { return node.getOutputs().size(); }
  /// Absent inputs and inputs beyond the list give an empty SymValue.
  virtual const SymValue &input(unsigned i) = 0;
  bool hasInput(unsigned i) { return static_cast<bool>(node.getInput(i)); }
  /// Ignored for outputs the node does not have.
  virtual void setOutput(unsigned i, SymValue value) = 0;
  /// A size nobody can know before run time (NonZero, Unique).
  virtual DimExpr freshSymbol() = 0;
  /// States that the node fails at run time unless the two sizes are equal: a
  /// size of an input of the function that must be a constant is that constant
  /// from then on. Nodes in subgraphs, which may never run, state nothing. I504
  /// when another node asked for another constant.
  virtual LogicalResult unify(const DimExpr &a, const DimExpr &b) = 0;
  /// Analysed value of any SSA value (for subgraph ops).
  virtual const SymValue &valueOf(Value value) = 0;
  /// Analyses a subgraph of the node with these block arguments; afterwards
  /// `valueOf` answers for its values. May be called again with others.
  virtual LogicalResult runRegion(Region &region,
                                  ArrayRef<SymValue> arguments) = 0;
  /// Number of subgraphs around the node.
  virtual unsigned depth() = 0;

  /// Contents of input i, if all of them are constants.
  std::optional<SmallVector<int64_t>> constantInts(unsigned i) {
    return input(i).constants();
  }
  /// Values of a floating or integer constant of at most kMaxContents elements
  /// (read from the weight, never computed).
  std::optional<SmallVector<double>> constantFloats(unsigned i);
  /// Node attribute, else the default that the schema states.
  int64_t getInt(llvm::StringRef name);

  /// Coded error at the node: "<where>: <what> [FFN-Ixxx]". `code` is "I502".
  LogicalResult error(llvm::StringRef code, const llvm::Twine &what);
};

/// Broadcast by the multidirectional rule. Unknown where undecidable: for two
/// different symbols the result is fresh. Errors are I504.
FailureOr<SmallVector<DimExpr>>
broadcastDims(ShapeContext &ctx, ArrayRef<DimExpr> a, ArrayRef<DimExpr> b);
/// Axis in [-rank, rank) to [0, rank); I502 beyond it.
FailureOr<int64_t> normalizeAxis(ShapeContext &ctx, int64_t axis, int64_t rank);

/// Shape of every value of `func`, seeded by `ffn.dims` of its arguments.
/// Recomputed by whoever needs it; nothing of it is stored in the IR.
///
/// Every dim of a ranked value is a known expression: what cannot be computed
/// is a symbol of its own, `_d<n>`. A declared static dim is checked against a
/// computed constant (I504). Where the computed one is a polynomial of entry
/// symbols, it wins over a declared static dim, since a declaration is never
/// trusted; where it is unknown (data-dependent), the declaration stands and a
/// lowering has to check it at run time.
class SymbolicShapeAnalysis {
public:
  /// Runs over the operation (func or module). With `refine`, types in the IR
  /// are updated with what was found (unknown types become ranked, `?` become
  /// static), in functions that hold onnx and ffn operations only and that
  /// nobody calls: others tie types together. A dim of an argument becomes
  /// static, in its type and in `ffn.dims`, where nodes that always run leave
  /// it only one size (`ShapeContext::unify`); argument types stay otherwise.
  /// Fails after a diagnostic on a contradiction.
  static FailureOr<SymbolicShapeAnalysis> run(Operation *root, bool refine);

  /// Unknown value when nothing is known.
  const SymValue &lookup(Value value) const;
  /// True for the name of a symbol that stands for an unknown size.
  static bool isFreshSymbol(llvm::StringRef name);

  SymbolicShapeAnalysis();
  ~SymbolicShapeAnalysis();
  SymbolicShapeAnalysis(SymbolicShapeAnalysis &&);
  SymbolicShapeAnalysis &operator=(SymbolicShapeAnalysis &&);

  struct Impl;

private:
  std::unique_ptr<Impl> impl;
};

//===----------------------------------------------------------------------===//
// Checks of a model (phase B of the trust contract)
//===----------------------------------------------------------------------===//

struct VerifyOptions {
  /// Exporters' habits are errors instead of warnings.
  bool strict = false;
  /// Run shape inference and write the types into the IR.
  bool inferShapes = true;
};

/// Checks every node of a freshly imported module: operator against opset
/// (I401), arity (I503), attributes (I501), shapes and attribute values (I502,
/// I504, I505), sizes (I201, I202), element types (I207). Nodes that call an
/// `onnx.function` of the module are not judged. For an operator that exists
/// only in later opsets the importer gives the node the opset's own version.
LogicalResult verifyONNXModel(ModuleOp module,
                              const VerifyOptions &options = {});

//===----------------------------------------------------------------------===//
// Lowering
//===----------------------------------------------------------------------===//

/// What a lowering builds with. Values are of the lowered form: every tensor
/// is ranked, integers are signless, bool is stored as i8 with values 0 and 1
/// (the ABI's byte).
///
/// Sizes are `OpFoldResult`s: an index attribute where static, else an SSA
/// value. Sizes with equal symbolic expressions are one SSA value, so equality
/// of sizes is equality of `OpFoldResult`s.
class LowerScope {
public:
  OpBuilder &builder;
  Location loc;

  LowerScope(OpBuilder &builder, Location loc) : builder(builder), loc(loc) {}
  virtual ~LowerScope() = default;
  /// Sizes of a tensor of the lowered function.
  virtual SmallVector<OpFoldResult> sizes(Value tensor) = 0;
  /// States the sizes of a tensor that the lowering made.
  virtual void setSizes(Value tensor, ArrayRef<OpFoldResult> sizes) = 0;
  /// Value of a symbolic size; null where a symbol is not known yet.
  virtual OpFoldResult materialize(const DimExpr &expr) = 0;
  /// Ends the run with FFN_E_INDEX or FFN_E_SHAPE unless `condition` (i1)
  /// holds; what follows in the function relies on it.
  enum class CheckKind { Index, Shape };
  virtual void check(Value condition, CheckKind kind) = 0;
};

/// Handed to the lowering function of an ONNX operator.
class LowerContext : public LowerScope {
public:
  onnx::NodeOp node;
  SmallVector<Value> inputs; // null where absent
  SmallVector<Value>
      results; // to be filled, one for each output; null where unused

  LowerContext(onnx::NodeOp node, OpBuilder &builder)
      : LowerScope(builder, node.getLoc()), node(node) {}
  Value input(unsigned i) { return i < inputs.size() ? inputs[i] : Value(); }
  bool isUsed(unsigned output) {
    return output < node.getNumResults() && !node.getResult(output).use_empty();
  }
  /// Converted type of output i: ranked, signless; dynamic dims are `?`. Null
  /// where the type of the output is not known.
  RankedTensorType resultType(unsigned i);
  /// Element type of output i, converted; null where not known.
  Type resultElementType(unsigned i);

  /// What the shape analysis knows of input and output i.
  virtual const SymValue &symInput(unsigned i) = 0;
  virtual const SymValue &symOutput(unsigned i) = 0;
  /// Contents of a constant integer input, e.g. axes; none if not constant.
  virtual std::optional<SmallVector<int64_t>> constantInts(unsigned input) = 0;
  /// The elements of an integer input of rank <= 1 and static length as sizes,
  /// constant or computed; none where the length is unknown.
  virtual std::optional<SmallVector<OpFoldResult>> intList(unsigned input) = 0;
  /// Sizes of output i where the shape analysis knows all of them.
  virtual std::optional<SmallVector<OpFoldResult>> outputSizes(unsigned i) = 0;
  /// The bytes of input i where it is a small constant, as one double each.
  virtual std::optional<SmallVector<double>> constantFloats(unsigned input) = 0;

  /// Whether the node's input i holds unsigned integers.
  bool isUnsigned(unsigned i);
  /// Coded error "cannot be compiled" [FFN-C101]: names node, op, domain,
  /// version, shapes and the remedy.
  LogicalResult unsupported(const llvm::Twine &why);
};

} // namespace mlir::ffn

#endif // FFN_MLIR_OPS_OPTABLE_H
