//===- SymbolicShapes.cpp - Shapes of all values --------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Constants.h"
#include "StructureShapes.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Ops/OpTable.h"
#include "ffn-mlir/Ops/ShapeHelpers.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include <deque>

using namespace mlir;
using namespace mlir::ffn;

static constexpr StringLiteral kDimsAttr = "ffn.dims";
/// The names of `ffn.dims` as the file has them, where a size took the place of
/// one; an export writes these.
static constexpr StringLiteral kFileDimsAttr = "onnx.dims";
static constexpr StringLiteral kFreshPrefix = "_d";

//===----------------------------------------------------------------------===//
// Storage
//===----------------------------------------------------------------------===//

struct SymbolicShapeAnalysis::Impl {
  /// Elements keep their address while others are added.
  std::deque<SymValue> storage;
  DenseMap<Value, SymValue *> values;

  static const SymValue &unknown() {
    static const SymValue value;
    return value;
  }
  const SymValue &lookup(Value value) const {
    auto it = values.find(value);
    return it == values.end() ? unknown() : *it->second;
  }
  void set(Value value, SymValue sym) {
    SymValue *&slot = values[value];
    if (!slot) {
      storage.emplace_back();
      slot = &storage.back();
    }
    *slot = std::move(sym);
  }
};

SymbolicShapeAnalysis::SymbolicShapeAnalysis()
    : impl(std::make_unique<Impl>()) {}
SymbolicShapeAnalysis::~SymbolicShapeAnalysis() = default;
SymbolicShapeAnalysis::SymbolicShapeAnalysis(SymbolicShapeAnalysis &&) =
    default;
SymbolicShapeAnalysis &
SymbolicShapeAnalysis::operator=(SymbolicShapeAnalysis &&) = default;

const SymValue &SymbolicShapeAnalysis::lookup(Value value) const {
  return impl->lookup(value);
}

bool SymbolicShapeAnalysis::isFreshSymbol(StringRef name) {
  return name.consume_front(kFreshPrefix) && !name.empty() &&
         llvm::all_of(name, llvm::isDigit);
}

//===----------------------------------------------------------------------===//
// The walk
//===----------------------------------------------------------------------===//

namespace {
class Walker {
public:
  using Impl = SymbolicShapeAnalysis::Impl;
  Walker(Impl &impl, bool refine) : impl(impl), refine(refine) {}

  LogicalResult run(Operation *root);

  Impl &impl;
  unsigned regionDepth = 0;

  DimExpr fresh() {
    std::string name;
    do {
      name = (kFreshPrefix + Twine(nextFresh++)).str();
    } while (entryNames.contains(name));
    return DimExpr::symbol(name);
  }
  LogicalResult runRegion(Region &region, ArrayRef<SymValue> arguments,
                          Operation *owner);
  /// Checks `computed` against the type of `value` and the limits, and stores
  /// it. `what` names the value in messages.
  LogicalResult commit(Value value, SymValue computed, const Twine &what,
                       function_ref<InFlightDiagnostic()> emitError);
  LogicalResult unify(onnx::NodeOp node, const DimExpr &a, const DimExpr &b);
  /// True the first time: a function may be walked more than once.
  bool mayWarn(Operation *op) { return warned.insert(op).second; }

private:
  LogicalResult runFunction(func::FuncOp function);
  LogicalResult walkFunction(func::FuncOp function);
  LogicalResult runBlock(Block &block);
  LogicalResult visit(Operation *op);
  LogicalResult visitNode(onnx::NodeOp node);
  LogicalResult seedArguments(func::FuncOp function);
  DimExpr applyFixed(const DimExpr &dim);
  void refineSignature(func::FuncOp function);
  LogicalResult checkReturn(func::FuncOp function);
  void refineTypes(func::FuncOp function);
  bool isRefinable(func::FuncOp function);

  bool refine;
  /// Whether the types of the function may change.
  bool mayRefine = false;
  uint64_t nextFresh = 0;
  llvm::StringSet<> entryNames;
  /// Symbols in the sizes of the arguments, unnamed ones too; none of a
  /// function whose arguments have to stay as they are.
  llvm::StringSet<> fixable;
  /// Symbols that can have one size only, and the node that says so.
  struct FixedSize {
    int64_t size;
    onnx::NodeOp node;
  };
  llvm::StringMap<FixedSize> fixed;
  DenseSet<Operation *> warned;
  /// Operators that are functions of the module: "domain::name".
  llvm::StringSet<> localFunctions;
};

/// What the shape function of one node sees.
class NodeContext : public ShapeContext {
public:
  NodeContext(onnx::NodeOp op, Walker &walker) : walker(walker) {
    node = op;
    outputs.resize(op.getNumResults());
  }
  const SymValue &input(unsigned i) override {
    Value value = node.getInput(i);
    return value ? walker.impl.lookup(value) : Walker::Impl::unknown();
  }
  void setOutput(unsigned i, SymValue value) override {
    if (i < outputs.size())
      outputs[i] = std::move(value);
  }
  DimExpr freshSymbol() override { return walker.fresh(); }
  LogicalResult unify(const DimExpr &a, const DimExpr &b) override {
    return walker.unify(node, a, b);
  }
  const SymValue &valueOf(Value value) override {
    return walker.impl.lookup(value);
  }
  LogicalResult runRegion(Region &region,
                          ArrayRef<SymValue> arguments) override {
    return walker.runRegion(region, arguments, node);
  }
  unsigned depth() override { return walker.regionDepth; }

  SmallVector<SymValue, 2> outputs;

private:
  Walker &walker;
};
} // namespace

//===----------------------------------------------------------------------===//
// Committing a value
//===----------------------------------------------------------------------===//

/// A symbol of this analysis or an opaque term: something the file's author
/// may know better.
static bool isWeak(const DimExpr &dim) {
  if (!dim.isKnown())
    return true;
  for (const auto &term : dim.terms())
    for (const auto &factor : term.first)
      if (dim.getOpaque(factor.first) ||
          SymbolicShapeAnalysis::isFreshSymbol(factor.first))
        return true;
  return false;
}

/// Bytes of the constant dims of a type; zero dims do not excuse the others.
/// Failure on overflow of the limit.
static LogicalResult checkSize(Type elementType, ArrayRef<DimExpr> dims) {
  uint64_t bits = elementType && elementType.isIntOrFloat()
                      ? elementType.getIntOrFloatBitWidth()
                      : 8;
  if (isa_and_present<ComplexType>(elementType))
    bits = 128;
  for (const DimExpr &dim : dims) {
    int64_t size = dim.getConstant().value_or(1);
    if (size > 0 &&
        __builtin_mul_overflow(bits, static_cast<uint64_t>(size), &bits))
      return failure();
  }
  return success(bits / 8 <= kMaxTensorBytes);
}

LogicalResult Walker::commit(Value value, SymValue computed, const Twine &what,
                             function_ref<InFlightDiagnostic()> emitError) {
  SymValue declared = getTypeValue(value.getType());
  if (declared.elementType && computed.elementType &&
      declared.elementType != computed.elementType)
    return emitError() << what << " is declared with elements of type "
                       << declared.elementType << ", computed with "
                       << computed.elementType << " [FFN-I504]";
  if (!computed.elementType)
    computed.elementType = declared.elementType;
  if (declared.otherType && !computed.otherType)
    computed.otherType = declared.otherType;
  if (computed.otherType) {
    computed.dims.reset();
    computed.contents.reset();
    computed.elementType = {};
    impl.set(value, std::move(computed));
    return success();
  }
  if (declared.dims && computed.dims &&
      declared.dims->size() != computed.dims->size())
    return emitError() << what << " is declared with " << declared.rank()
                       << " dimensions, computed " << toString(*computed.dims)
                       << " [FFN-I504]";
  if (!computed.dims)
    computed.dims = declared.dims;
  if (!computed.dims) {
    impl.set(value, std::move(computed));
    return success();
  }
  if (computed.rank() > kMaxRank)
    return emitError() << what << " has " << computed.rank()
                       << " dimensions, the limit is " << kMaxRank
                       << " [FFN-I202]";
  for (int64_t i = 0; i < computed.rank(); ++i) {
    DimExpr &dim = (*computed.dims)[i];
    std::optional<int64_t> constant = dim.getConstant();
    if (constant && *constant < 0)
      return emitError() << what << " has dimension " << i << " of size "
                         << *constant << " [FFN-I202]";
    if (declared.dims) {
      std::optional<int64_t> size = (*declared.dims)[i].getConstant();
      if (size && constant && *size != *constant)
        return emitError() << what << " is declared "
                           << toString(*declared.dims) << ", computed "
                           << toString(*computed.dims) << " [FFN-I504]";
      if (size && isWeak(dim))
        dim = DimExpr(*size);
    }
    if (!dim.isKnown())
      dim = fresh();
  }
  if (failed(checkSize(computed.elementType, *computed.dims)))
    return emitError() << what << " has shape " << toString(*computed.dims)
                       << ", which is more than 2^40 bytes [FFN-I201]";
  // Contents must match the dims, or somebody indexes beyond them.
  int64_t count = 0;
  if (computed.contents &&
      (!isFoldable(computed.dims, count) ||
       static_cast<size_t>(count) != computed.contents->size()))
    computed.contents.reset();
  impl.set(value, std::move(computed));
  return success();
}

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

/// The element type, or the whole type, that the schema gives an output.
static void deriveType(NodeContext &ctx, const Schema &schema, unsigned i) {
  SymValue &output = ctx.outputs[i];
  const ParamSchema *param = schema.getOutput(i);
  if (output.elementType || output.otherType || !param || param->mixed)
    return;
  if (llvm::isPowerOf2_64(param->allowed)) {
    output.elementType =
        getONNXElementType(ctx.node.getContext(),
                           static_cast<int>(llvm::countr_zero(param->allowed)));
    return;
  }
  for (unsigned j = 0; j < ctx.numInputs(); ++j) {
    const ParamSchema *formal = schema.getInput(j);
    if (!formal || formal->mixed || formal->type != param->type)
      continue;
    const SymValue &input = ctx.input(j);
    if (!input.elementType && !input.otherType)
      continue;
    output.elementType = input.elementType;
    output.otherType = input.otherType;
    return;
  }
}

/// True inside a branch of If, which may be one that never runs.
static bool isConditional(onnx::NodeOp node) {
  for (auto parent = node->getParentOfType<onnx::NodeOp>(); parent;
       parent = parent->getParentOfType<onnx::NodeOp>())
    if (parent.is("If"))
      return true;
  return false;
}

/// Runs a shape function on a node that may never run: shapes that do not fit
/// are a warning there, and the outputs stay as they are declared.
static LogicalResult runLeniently(NodeContext &ctx, ShapeFn shape,
                                  bool mayWarn) {
  constexpr StringLiteral code = "[FFN-I504]";
  SmallVector<std::string> errors;
  bool isMismatch = true;
  LogicalResult result = success();
  {
    ScopedDiagnosticHandler handler(
        ctx.node.getContext(), [&](Diagnostic &diagnostic) {
          if (diagnostic.getSeverity() != DiagnosticSeverity::Error)
            return failure();
          errors.push_back(diagnostic.str());
          isMismatch &= StringRef(errors.back()).ends_with(code);
          return success();
        });
    result = shape(ctx);
  }
  if (succeeded(result))
    return success();
  for (StringRef error : errors) {
    if (!isMismatch) {
      ctx.node->emitError(error);
      continue;
    }
    error.consume_back(code);
    if (mayWarn)
      ctx.node->emitWarning(error) << "in a branch of If [FFN-I504W]";
  }
  if (!isMismatch)
    return failure();
  for (SymValue &output : ctx.outputs)
    output = {};
  return success();
}

LogicalResult Walker::visitNode(onnx::NodeOp node) {
  NodeContext ctx(node, *this);
  // An attribute of an enclosing function has no value yet.
  bool isTemplate = llvm::any_of(node.getAttrs(), [](NamedAttribute attr) {
    return isa<onnx::RefAttr>(attr.getValue());
  });
  bool isCall =
      !localFunctions.empty() &&
      localFunctions.contains((node.getDomain() + "::" + node.getOp()).str());
  if (!isTemplate && !isCall) {
    if (ShapeFn shape = OpTable::get().lookup(node).shape) {
      if (failed(isConditional(node) ? runLeniently(ctx, shape, mayWarn(node))
                                     : shape(ctx)))
        return failure();
    } else {
      for (Region &region : node.getGraphs())
        if (failed(runRegion(region, {}, node)))
          return failure();
    }
    if (const Schema *schema =
            lookupSchema(node.getDomain(), node.getOp(), node.getVersion()))
      for (unsigned i = 0; i < ctx.outputs.size(); ++i)
        deriveType(ctx, *schema, i);
  } else {
    for (Region &region : node.getGraphs())
      if (failed(runRegion(region, {}, node)))
        return failure();
  }
  for (auto [i, result] : llvm::enumerate(node.getResults())) {
    if (isa<NoneType>(result.getType()))
      continue;
    if (failed(commit(
            result, std::move(ctx.outputs[i]), "output " + Twine(i),
            [&] { return node->emitError() << node.describe() << ": "; })))
      return failure();
  }
  return success();
}

LogicalResult Walker::runRegion(Region &region, ArrayRef<SymValue> arguments,
                                Operation *owner) {
  if (region.empty())
    return success();
  for (auto [i, argument] : llvm::enumerate(region.getArguments())) {
    SymValue seed = i < arguments.size() ? arguments[i] : SymValue();
    if (failed(commit(argument, std::move(seed),
                      "argument " + Twine(i) + " of a subgraph",
                      [&] { return owner->emitError(); })))
      return failure();
  }
  ++regionDepth;
  LogicalResult result = success();
  for (Block &block : region)
    if (failed(result = runBlock(block)))
      break;
  --regionDepth;
  return result;
}

LogicalResult Walker::visit(Operation *op) {
  if (auto node = dyn_cast<onnx::NodeOp>(op))
    return visitNode(node);
  if (isa<onnx::AbsentOp>(op))
    return success();
  SmallVector<SymValue, 2> results(op->getNumResults());
  auto lookup = [&](Value value) -> const SymValue & {
    return impl.lookup(value);
  };
  auto runBody = [&](Region &region, ArrayRef<SymValue> arguments) {
    return runRegion(region, arguments, op);
  };
  if (failed(computeStructureShapes(op, lookup, runBody, results)))
    return failure();
  for (auto [i, result] : llvm::enumerate(op->getResults()))
    if (failed(commit(result, std::move(results[i]), "result " + Twine(i),
                      [&] { return op->emitError(); })))
      return failure();
  return success();
}

LogicalResult Walker::runBlock(Block &block) {
  for (Operation &op : block)
    if (failed(visit(&op)))
      return failure();
  return success();
}

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

/// Entry i of a `ffn.dims` attribute; unknown when there is none.
static DimExpr getNamedDim(ArrayAttr names, size_t i) {
  if (!names || i >= names.size())
    return {};
  if (auto integer = dyn_cast<IntegerAttr>(names[i]))
    return integer.getValue().getSignificantBits() <= 64 &&
                   integer.getValue().getSExtValue() >= 0
               ? DimExpr(integer.getValue().getSExtValue())
               : DimExpr();
  if (auto text = dyn_cast<StringAttr>(names[i])) {
    if (text.empty())
      return {};
    DimExpr expr = DimExpr::parse(text.getValue());
    return expr.getConstant().value_or(0) < 0 ? DimExpr() : expr;
  }
  return {};
}

LogicalResult Walker::unify(onnx::NodeOp node, const DimExpr &a,
                            const DimExpr &b) {
  if (regionDepth > 0)
    return success();
  std::optional<int64_t> size = a.getConstant();
  std::optional<std::string> symbol = b.getSymbol();
  if (!size || !symbol) {
    size = b.getConstant();
    symbol = a.getSymbol();
  }
  if (!size || !symbol || !fixable.contains(*symbol))
    return success();
  auto [it, isNew] = fixed.try_emplace(*symbol, FixedSize{*size, node});
  FixedSize &known = it->second;
  if (isNew || known.size == *size)
    return success();
  return node->emitError() << node.describe() << ": size '" << *symbol
                           << "' has to be " << *size << " here, and "
                           << known.size << " at " << known.node.describe()
                           << " [FFN-I504]";
}

DimExpr Walker::applyFixed(const DimExpr &dim) {
  if (fixed.empty())
    return dim;
  return dim.substitute([&](StringRef name) -> std::optional<DimExpr> {
    auto it = fixed.find(name);
    if (it == fixed.end())
      return std::nullopt;
    return DimExpr(it->second.size);
  });
}

LogicalResult Walker::seedArguments(func::FuncOp function) {
  entryNames.clear();
  nextFresh = 0;
  unsigned count = function.getNumArguments();
  for (unsigned i = 0; i < count; ++i)
    if (auto names = function.getArgAttrOfType<ArrayAttr>(i, kDimsAttr))
      for (size_t d = 0; d < names.size(); ++d)
        getNamedDim(names, d).forEachSymbol(
            [&](StringRef name) { entryNames.insert(name); });
  for (unsigned i = 0; i < count; ++i) {
    BlockArgument argument = function.getArgument(i);
    auto names = function.getArgAttrOfType<ArrayAttr>(i, kDimsAttr);
    SymValue seed = getTypeValue(argument.getType());
    if (seed.dims)
      for (auto [d, dim] : llvm::enumerate(*seed.dims)) {
        if (!dim.isKnown())
          dim = getNamedDim(names, d);
        if (!dim.isKnown())
          dim = fresh();
        dim = applyFixed(dim);
        if (dim.getConstant().value_or(0) < 0)
          return function.emitError()
                 << "input " << i << " has dimension " << d << " of size "
                 << *dim.getConstant() << " [FFN-I202]";
        if (mayRefine)
          dim.forEachSymbol([&](StringRef name) { fixable.insert(name); });
      }
    impl.set(argument, std::move(seed));
  }
  return success();
}

LogicalResult Walker::checkReturn(func::FuncOp function) {
  auto ret = dyn_cast<func::ReturnOp>(function.getBody().front().back());
  if (!ret)
    return success();
  // Names of results are checked where they are integers; symbols unify.
  for (auto [i, operand] : llvm::enumerate(ret.getOperands())) {
    const SymValue &value = impl.lookup(operand);
    auto names = function.getResultAttrOfType<ArrayAttr>(i, kDimsAttr);
    if (!names || !value.dims)
      continue;
    if (names.size() != value.dims->size())
      return ret.emitError() << "output " << i << " is declared with "
                             << names.size() << " dimensions, computed "
                             << toString(*value.dims) << " [FFN-I504]";
    for (auto [d, dim] : llvm::enumerate(*value.dims)) {
      std::optional<int64_t> declared = getNamedDim(names, d).getConstant();
      std::optional<int64_t> computed = dim.getConstant();
      if (declared && computed && *declared != *computed)
        return ret.emitError()
               << "output " << i << " is declared with dimension " << d
               << " of size " << *declared << ", computed "
               << toString(*value.dims) << " [FFN-I504]";
    }
  }
  return success();
}

LogicalResult Walker::walkFunction(func::FuncOp function) {
  if (failed(seedArguments(function)))
    return failure();
  for (Block &block : function.getBody()) {
    if (!block.isEntryBlock())
      for (BlockArgument argument : block.getArguments())
        if (failed(commit(argument, {}, "block argument",
                          [&] { return function.emitError(); })))
          return failure();
    if (failed(runBlock(block)))
      return failure();
  }
  return checkReturn(function);
}

LogicalResult Walker::runFunction(func::FuncOp function) {
  if (function.isExternal())
    return success();
  // Callers hold the types of a function that they call.
  mayRefine =
      refine && isRefinable(function) &&
      SymbolTable::symbolKnownUseEmpty(function, function->getParentOp());
  fixed.clear();
  // Every walk but the last finds a size for one more symbol.
  size_t known;
  do {
    known = fixed.size();
    fixable.clear();
    if (failed(walkFunction(function)))
      return failure();
  } while (fixed.size() != known);
  if (mayRefine) {
    if (!fixed.empty())
      refineSignature(function);
    refineTypes(function);
  }
  return success();
}

LogicalResult Walker::run(Operation *root) {
  Operation *module = isa<ModuleOp>(root) ? root : root->getParentOp();
  if (auto top = dyn_cast_if_present<ModuleOp>(module))
    for (auto function : top.getOps<onnx::FunctionOp>())
      localFunctions.insert(
          (function.getDomain() + "::" + function.getName()).str());
  if (auto function = dyn_cast<func::FuncOp>(root))
    return runFunction(function);
  for (Region &region : root->getRegions())
    for (Operation &op : region.getOps()) {
      if (auto function = dyn_cast<func::FuncOp>(op))
        if (failed(runFunction(function)))
          return failure();
      // Bodies of local functions have no shapes of their own: they are
      // expanded where they are called.
    }
  return success();
}

//===----------------------------------------------------------------------===//
// Refinement
//===----------------------------------------------------------------------===//

bool Walker::isRefinable(func::FuncOp function) {
  if (!function.getBody().hasOneBlock())
    return false;
  WalkResult result = function.walk([&](Operation *op) {
    Dialect *dialect = op->getDialect();
    if (isa<func::FuncOp, func::ReturnOp>(op) ||
        isa_and_present<onnx::ONNXDialect, FFNDialect>(dialect))
      return WalkResult::advance();
    return WalkResult::interrupt();
  });
  return !result.wasInterrupted();
}

/// The type that says what is known; null when the present one says as much.
static Type getRefinedType(Value value, const SymValue &sym) {
  Type type = value.getType();
  if (isa<NoneType>(type))
    return {};
  if (sym.otherType)
    return isa<onnx::UnknownType>(type) ? sym.otherType : Type();
  if (!sym.elementType || !TensorType::isValidElementType(sym.elementType))
    return {};
  if (!sym.dims)
    return isa<onnx::UnknownType>(type)
               ? UnrankedTensorType::get(sym.elementType)
               : Type();
  SmallVector<int64_t> shape;
  for (const DimExpr &dim : *sym.dims)
    shape.push_back(dim.getConstant().value_or(ShapedType::kDynamic));
  auto ranked = dyn_cast<RankedTensorType>(type);
  return RankedTensorType::get(shape, sym.elementType,
                               ranked ? ranked.getEncoding() : Attribute());
}

/// Writes the sizes that nodes fix into the types of the arguments and into
/// the names of the dims of arguments and results.
void Walker::refineSignature(func::FuncOp function) {
  Builder builder(function.getContext());
  auto getNames = [&](ArrayAttr names, Type type) {
    SmallVector<Attribute> result(names.begin(), names.end());
    auto tensor = dyn_cast<RankedTensorType>(type);
    for (auto [d, name] : llvm::enumerate(result)) {
      std::optional<int64_t> size =
          applyFixed(getNamedDim(names, d)).getConstant();
      if (tensor && static_cast<int64_t>(d) < tensor.getRank() &&
          !tensor.isDynamicDim(d))
        size = tensor.getDimSize(d);
      if (isa<StringAttr>(name) && size)
        name = builder.getI64IntegerAttr(*size);
    }
    return builder.getArrayAttr(result);
  };
  for (BlockArgument argument : function.getArguments()) {
    unsigned i = argument.getArgNumber();
    if (Type type = getRefinedType(argument, impl.lookup(argument)))
      argument.setType(type);
    auto names = function.getArgAttrOfType<ArrayAttr>(i, kDimsAttr);
    if (!names)
      continue;
    ArrayAttr sizes = getNames(names, argument.getType());
    if (sizes != names && !function.getArgAttr(i, kFileDimsAttr))
      function.setArgAttr(i, kFileDimsAttr, names);
    function.setArgAttr(i, kDimsAttr, sizes);
  }
  for (unsigned i = 0; i < function.getNumResults(); ++i) {
    auto names = function.getResultAttrOfType<ArrayAttr>(i, kDimsAttr);
    if (!names)
      continue;
    ArrayAttr sizes = getNames(names, function.getResultTypes()[i]);
    if (sizes != names && !function.getResultAttr(i, kFileDimsAttr))
      function.setResultAttr(i, kFileDimsAttr, names);
    function.setResultAttr(i, kDimsAttr, sizes);
  }
}

void Walker::refineTypes(func::FuncOp function) {
  auto refineValue = [&](Value value) {
    if (Type type = getRefinedType(value, impl.lookup(value)))
      value.setType(type);
  };
  for (Region &region : function->getRegions())
    region.walk([&](Operation *op) {
      // Weights and what is made of them have the types of their constants.
      if (isa<WeightExprInterface>(op))
        return;
      for (Value result : op->getResults())
        refineValue(result);
      for (Region &body : op->getRegions())
        for (BlockArgument argument : body.getArguments())
          refineValue(argument);
    });
  auto ret = dyn_cast<func::ReturnOp>(function.getBody().front().back());
  if (ret)
    function.setFunctionType(FunctionType::get(
        function.getContext(), function.getBody().getArgumentTypes(),
        llvm::to_vector(ret.getOperandTypes())));
}

FailureOr<SymbolicShapeAnalysis> SymbolicShapeAnalysis::run(Operation *root,
                                                            bool refine) {
  SymbolicShapeAnalysis analysis;
  if (failed(Walker(*analysis.impl, refine).run(root)))
    return failure();
  return std::move(analysis);
}
