//===- ModelToLinalg.cpp - A model as linalg on tensors -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Conversion/ModelToLinalg.h"
#include "NodeContext.h"
#include "OutputErrors.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNAdaptive.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNProbes.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Experts.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Ops/LocalFunctions.h"
#include "ffn-mlir/Support/CodedError.h"
#include "ffn-mlir/Support/WeightEval.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "ffn-mlir/Target/CPU/DenseWeight.h"
#include "ffn-mlir/Target/CPU/Kernels.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace mlir::ffn;

/// Constants up to this many bytes are part of the code.
static constexpr uint64_t kInlineConstantBytes = 64;

namespace {
class ModelLowering {
public:
  ModelLowering(ModuleOp model, const LowerOptions &options)
      : options(options), ctx(model.getContext()), builder(ctx), scope(builder),
        source(model.clone()) {}

  std::unique_ptr<LoweredModel> run();

private:
  LogicalResult prepareSource();
  LogicalResult nameDims();
  LogicalResult findLowerings();
  LogicalResult readSignature();
  void buildEntry();
  Value argumentBuffer(int64_t index, MemRefType type,
                       ArrayRef<OpFoldResult> sizes);
  Value cacheBuffer(int64_t index, MemRefType type,
                    ArrayRef<OpFoldResult> sizes);
  LogicalResult lowerBlock(Block &block);
  LogicalResult lowerNode(onnx::NodeOp node);
  LogicalResult lowerSublayer(SublayerOp sublayer);
  LogicalResult lowerSkipOp(SkipOp skip);
  LogicalResult lowerReturn(func::ReturnOp op);
  LogicalResult checkStaticSizes(Operation *op, Value tensor,
                                 RankedTensorType wanted);
  LogicalResult cloneOther(Operation *op);
  /// Lowered form of a value of the source.
  FailureOr<Value> get(Value value);
  FailureOr<Value> getWeight(Value expression);
  FailureOr<Value> copyWeight(Value expression);
  void define(Value value, Value lowered);
  LocatedScope at(Location loc) { return LocatedScope(scope, loc); }

  LowerOptions options;
  MLIRContext *ctx;
  OpBuilder builder;
  ModelScope scope;
  OwningOpRef<ModuleOp> source;
  func::FuncOp sourceMain, entry;
  std::optional<SymbolicShapeAnalysis> analysis;
  std::unique_ptr<LoweredModel> lowered;
  Operation *anchor = nullptr;
  SmallVector<Type> outputElements;
  /// Concatenations that make an output out of an input and what follows it.
  llvm::MapVector<Operation *, DescriptorAppend> appends;
  llvm::DenseSet<int64_t> cacheArguments; // inputs, then outputs
  llvm::DenseMap<Value, Value> values, weightCopies;
};
} // namespace

/// Gives every dynamic dim of the inputs a name, and a fresh one where the
/// given name is an expression over sizes that no input has.
LogicalResult ModelLowering::nameDims() {
  llvm::StringSet<> bare;
  auto dimsOf = [&](unsigned i) {
    return sourceMain.getArgAttrOfType<ArrayAttr>(i, "ffn.dims");
  };
  auto textAt = [&](unsigned i, unsigned d) -> DimExpr {
    ArrayAttr dims = dimsOf(i);
    if (!dims || d >= dims.size())
      return {};
    // Dims without a name have nothing to do with each other.
    if (auto text = llvm::dyn_cast<StringAttr>(dims[d]); text && !text.empty())
      return DimExpr::parse(text.getValue());
    return {};
  };
  auto forEachDynamic = [&](auto fn) {
    for (auto [i, type] : llvm::enumerate(sourceMain.getArgumentTypes()))
      if (auto ranked = llvm::dyn_cast<RankedTensorType>(type))
        for (int64_t d = 0; d < ranked.getRank(); ++d)
          if (ranked.isDynamicDim(d))
            fn(i, d);
  };
  forEachDynamic([&](unsigned i, unsigned d) {
    if (std::optional<std::string> symbol = textAt(i, d).getSymbol())
      bare.insert(*symbol);
  });
  for (unsigned i = 0; i < sourceMain.getNumArguments(); ++i) {
    auto ranked =
        llvm::dyn_cast<RankedTensorType>(sourceMain.getArgumentTypes()[i]);
    if (!ranked)
      continue;
    SmallVector<Attribute> dims;
    for (int64_t d = 0; d < ranked.getRank(); ++d) {
      if (!ranked.isDynamicDim(d)) {
        dims.push_back(builder.getI64IntegerAttr(ranked.getDimSize(d)));
        continue;
      }
      DimExpr expr = textAt(i, d);
      bool solvable = expr.isKnown() && !expr.getConstant();
      if (solvable)
        expr.forEachSymbol(
            [&](StringRef name) { solvable &= bare.contains(name); });
      std::string name =
          solvable ? expr.str()
                   : "input" + std::to_string(i) + "_dim" + std::to_string(d);
      dims.push_back(builder.getStringAttr(name));
    }
    sourceMain.setArgAttr(i, "ffn.dims", builder.getArrayAttr(dims));
  }
  return success();
}

LogicalResult ModelLowering::prepareSource() {
  if (failed(inlineLocalFunctions(*source)))
    return failure();
  sourceMain = source->lookupSymbol<func::FuncOp>("main");
  if (!sourceMain || sourceMain.isExternal() ||
      !llvm::hasSingleElement(sourceMain.getBody()))
    return source->emitError("module has no function @main with one block "
                             "[FFN-C100]");
  for (auto [i, type] : llvm::enumerate(sourceMain.getArgumentTypes()))
    if (!convertTensorType(type))
      return sourceMain.emitError("input ")
             << i << " of type " << type
             << " cannot be compiled: only ranked tensors of bool, integers, "
                "f16, bf16, f32 and f64 can [FFN-C102]";
  if (failed(nameDims()))
    return failure();
  auto graph = llvm::dyn_cast<NameLoc>(sourceMain.getLoc());
  scope.graph =
      "graph " + quoteName(graph ? graph.getName().getValue() : "main");
  // Equal weights become one value, so that they are packed once.
  PassManager pm(ctx);
  pm.addPass(createCSEPass());
  if (options.kernels)
    pm.addPass(createFFNFoldCausalMask());
  if (failed(pm.run(*source)))
    return failure();
  if (failed(SymbolicShapeAnalysis::run(*source, /*refine=*/true)))
    return failure();
  if (failed(decomposeExperts(*source, [&](MoEOp op) {
        return options.kernels && cpu::canServeExperts(op);
      })))
    return failure();
  exposeWeights(sourceMain);
  sinkResiduals(sourceMain);
  if (options.kernels) {
    RewritePatternSet patterns(ctx);
    cpu::populateAssignKernelsPatterns(patterns, *options.kernels);
    if (failed(applyPatternsGreedily(*source, std::move(patterns))))
      return source->emitError("kernel assignment does not end [FFN-C199]");
  }
  PassManager cleanup(ctx);
  cleanup.addPass(createCSEPass());
  if (failed(cleanup.run(*source)))
    return failure();
  FailureOr<SymbolicShapeAnalysis> result =
      SymbolicShapeAnalysis::run(*source, /*refine=*/true);
  if (failed(result))
    return failure();
  analysis.emplace(std::move(*result));
  return success();
}

/// Judged before anything else, since the sizes behind an operator that is not
/// known are not known either.
LogicalResult ModelLowering::findLowerings() {
  WalkResult result = sourceMain.walk([&](onnx::NodeOp node) {
    if (OpTable::get().lookup(node).lower || hasKnownContents(*analysis, node))
      return WalkResult::advance();
    (void)reportUnsupported(node, node.getNumRegions()
                                      ? "operators with subgraphs have no "
                                        "lowering"
                                      : "this operator has no lowering");
    return WalkResult::interrupt();
  });
  return failure(result.wasInterrupted());
}

/// Whether a dim or an element of the value is made of the symbol.
static bool mentions(const SymValue &value, StringRef symbol) {
  bool found = false;
  for (const auto *list : {&value.dims, &value.contents})
    if (*list)
      for (const DimExpr &expr : **list)
        expr.forEachSymbol([&](StringRef name) { found |= name == symbol; });
  return found;
}

LogicalResult ModelLowering::readSignature() {
  ModelDescriptor &descriptor = lowered->descriptor;
  llvm::StringSet<> seen;
  auto nameOf = [](DictionaryAttr attrs, StringRef prefix, unsigned i) {
    auto name = attrs ? attrs.getAs<StringAttr>("onnx.name") : StringAttr();
    return name ? name.str() : (prefix + llvm::Twine(i)).str();
  };
  for (BlockArgument arg : sourceMain.getArguments()) {
    unsigned i = arg.getArgNumber();
    DescriptorValue port;
    port.name = nameOf(sourceMain.getArgAttrDict(i), "input", i);
    auto type = llvm::cast<RankedTensorType>(arg.getType());
    std::optional<DescriptorType> element =
        getDescriptorType(type.getElementType());
    if (!element)
      return sourceMain.emitError("input ")
             << i << " of type " << type << " cannot be compiled [FFN-C102]";
    port.type = *element;
    auto dims = sourceMain.getArgAttrOfType<ArrayAttr>(i, "ffn.dims");
    for (auto [d, size] : llvm::enumerate(type.getShape())) {
      DimExpr expr = ShapedType::isDynamic(size)
                         ? DimExpr::parse(llvm::cast<StringAttr>(dims[d]))
                         : DimExpr(size);
      if (std::optional<std::string> symbol = expr.getSymbol())
        if (seen.insert(*symbol).second)
          descriptor.symbols.push_back({*symbol, i, static_cast<uint32_t>(d)});
      port.dims.push_back(expr);
    }
    descriptor.inputs.push_back(std::move(port));
  }
  Operation *terminator = sourceMain.getBody().front().getTerminator();
  OutputErrors errors{sourceMain, scope, *analysis};
  for (auto [i, value] : llvm::enumerate(terminator->getOperands())) {
    DescriptorValue port;
    port.name = nameOf(sourceMain.getResultAttrDict(i), "output", i);
    const SymValue &known = analysis->lookup(value);
    auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
    Type element = type ? type.getElementType() : known.elementType;
    std::optional<DescriptorType> described;
    if (element && convertElementType(element))
      described = getDescriptorType(element);
    if (!described && element)
      return errors.reportType(i, port.name, element);
    if (!described)
      return errors.reportLate(
          i, port.name, "its element type",
          [](const SymValue &v) { return !v.elementType; });
    if (known.hasRank())
      port.dims.assign(known.dims->begin(), known.dims->end());
    else
      return errors.reportLate(i, port.name, "its rank",
                               [](const SymValue &v) { return !v.hasRank(); });
    for (auto [d, dim] : llvm::enumerate(port.dims)) {
      std::optional<std::string> missing;
      dim.forEachSymbol([&](StringRef name) {
        if (!seen.contains(name))
          missing = name.str();
      });
      if (missing)
        return errors.reportLate(
            i, port.name, "the size of its dimension " + Twine(d),
            [&](const SymValue &v) { return mentions(v, *missing); });
    }
    port.type = *described;
    descriptor.outputs.push_back(std::move(port));
    outputElements.push_back(convertElementType(element));
  }
  return checkRuntimeLimits(sourceMain, descriptor);
}

/// The buffer of an argument whose rows may lie apart.
Value ModelLowering::cacheBuffer(int64_t index, MemRefType type,
                                 ArrayRef<OpFoldResult> sizes) {
  Location loc = entry.getLoc();
  int64_t rank = type.getRank();
  SmallVector<int64_t> layout(rank, ShapedType::kDynamic);
  layout.back() = 1;
  type = MemRefType::get(type.getShape(), type.getElementType(),
                         StridedLayoutAttr::get(ctx, 0, layout));
  SmallVector<Value> strides;
  for (int64_t d = 0; d < rank; ++d)
    strides.push_back(descriptorWord(builder, loc, entry.getArgument(0), index,
                                     3 + rank + d, builder.getI64Type()));
  Value pointer = descriptorWord(builder, loc, entry.getArgument(0), index, 1,
                                 LLVM::LLVMPointerType::get(ctx));
  return wrapPointer(builder, loc, pointer, type, sizes, strides);
}

Value ModelLowering::argumentBuffer(int64_t index, MemRefType type,
                                    ArrayRef<OpFoldResult> sizes) {
  if (cacheArguments.contains(index))
    return cacheBuffer(index, type, sizes);
  Value pointer = descriptorWord(builder, entry.getLoc(), entry.getArgument(0),
                                 index, 1, LLVM::LLVMPointerType::get(ctx));
  return wrapPointer(builder, entry.getLoc(), pointer, type, sizes);
}

void ModelLowering::buildEntry() {
  Location loc = UnknownLoc::get(ctx);
  lowered->module = ModuleOp::create(loc);
  builder.setInsertionPointToStart(lowered->module->getBody());
  for (FileOp file : source->getOps<FileOp>())
    builder.clone(*file);
  auto check = func::FuncOp::create(
      builder, loc, "ffn_rt_check",
      builder.getFunctionType({builder.getI1Type(), builder.getI32Type(),
                               LLVM::LLVMPointerType::get(ctx)},
                              {}));
  check.setPrivate();
  entry = func::FuncOp::create(
      builder, loc, kModelEntry,
      builder.getFunctionType({LLVM::LLVMPointerType::get(ctx)}, TypeRange{}));
  builder.setInsertionPointToStart(entry.addEntryBlock());
  SmallVector<Value> symbols;
  for (const DescriptorSymbol &symbol : lowered->descriptor.symbols)
    symbols.push_back(arith::IndexCastOp::create(
        builder, loc, builder.getIndexType(),
        descriptorWord(builder, loc, entry.getArgument(0), symbol.input,
                       3 + symbol.dim, builder.getI64Type())));
  // Sizes and weights are made before this operation, all else after it.
  anchor = arith::ConstantIndexOp::create(builder, loc, 0);
  scope.sizeBuilder.emplace(anchor);
  for (auto [symbol, value] : llvm::zip(lowered->descriptor.symbols, symbols))
    scope.sizeBuilder->defineEntrySymbol(symbol.name, value);
  for (BlockArgument arg : sourceMain.getArguments()) {
    RankedTensorType type = convertTensorType(arg.getType());
    SmallVector<OpFoldResult> sizes;
    for (const DimExpr &dim :
         lowered->descriptor.inputs[arg.getArgNumber()].dims)
      sizes.push_back(scope.sizeBuilder->get(builder, dim));
    auto memref = MemRefType::get(type.getShape(), type.getElementType());
    Value buffer = argumentBuffer(arg.getArgNumber(), memref, sizes);
    // Not writable: the caller's inputs stay as they are.
    Value tensor = bufferization::ToTensorOp::create(
        builder, loc, type, buffer, /*restrict=*/true, /*writable=*/false);
    scope.known[tensor] = sizes;
    values[arg] = tensor;
  }
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

/// The same expression over copies of the weights in the new module.
FailureOr<Value> ModelLowering::copyWeight(Value expression) {
  if (Value copy = weightCopies.lookup(expression))
    return copy;
  OpBuilder::InsertionGuard guard(builder);
  Operation *op = expression.getDefiningOp();
  IRMapping mapping;
  for (Value operand : op->getOperands()) {
    FailureOr<Value> copy = copyWeight(operand);
    if (failed(copy))
      return failure();
    mapping.map(operand, *copy);
  }
  builder.setInsertionPoint(anchor);
  Value result;
  auto type = llvm::cast<RankedTensorType>(expression.getType());
  RankedTensorType converted = convertTensorType(type);
  auto weight = llvm::dyn_cast<WeightOp>(op);
  if (weight && converted && converted != type) {
    TypedAttr value = weight.getValue();
    if (auto span = llvm::dyn_cast<SpanAttr>(value)) {
      value = SpanAttr::get(ctx, span.getFile(), span.getOffset(),
                            span.getSize(), span.getKey(), converted);
    } else {
      SmallVector<char> bytes;
      if (failed(readWeightBytes(op, value, bytes)))
        return failure();
      value = DenseElementsAttr::getFromRawBuffer(converted, bytes);
    }
    result = WeightOp::create(builder, op->getLoc(), converted, value);
  } else {
    result = builder.clone(*op, mapping)->getResult(0);
  }
  weightCopies[expression] = result;
  return result;
}

/// A weight as a tensor that any operation may read.
FailureOr<Value> ModelLowering::getWeight(Value expression) {
  if (Value value = values.lookup(expression))
    return value;
  Operation *op = expression.getDefiningOp();
  auto type = llvm::cast<RankedTensorType>(expression.getType());
  RankedTensorType converted = convertTensorType(type);
  if (!converted)
    return op->emitError("weight of type ")
           << type << " cannot be compiled [FFN-C102]";
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPoint(anchor);
  Value result;
  FailureOr<uint64_t> size = getPackedByteSize(converted);
  auto weight = llvm::dyn_cast<WeightOp>(op);
  bool splat = weight && llvm::isa<DenseElementsAttr>(weight.getValue()) &&
               llvm::cast<DenseElementsAttr>(weight.getValue()).isSplat() &&
               succeeded(size) && *size <= kInlineWeightLimit;
  if (succeeded(size) && (*size <= kInlineConstantBytes || splat)) {
    FailureOr<DenseWeight> dense = evaluateWeight(expression);
    if (failed(dense))
      return failure();
    result = arith::ConstantOp::create(
        builder, op->getLoc(),
        DenseElementsAttr::getFromRawBuffer(converted, dense->bytes()));
  } else {
    FailureOr<Value> copy = copyWeight(expression);
    if (failed(copy))
      return failure();
    auto memref =
        MemRefType::get(converted.getShape(), converted.getElementType());
    Value bytes =
        cpu::PackOp::create(builder, op->getLoc(), memref, cpu::PanelsAttr(),
                            ValueRange{*copy}, ValueRange{});
    result = bufferization::ToTensorOp::create(builder, op->getLoc(), converted,
                                               bytes, /*restrict=*/true,
                                               /*writable=*/false);
  }
  values[expression] = result;
  return result;
}

FailureOr<Value> ModelLowering::get(Value value) {
  if (isWeightExpression(value))
    return getWeight(value);
  if (Value result = values.lookup(value))
    return result;
  return emitError(value.getLoc(), "value of type ")
         << value.getType() << " cannot be compiled [FFN-C102]";
}

/// Checks that two sizes are equal, where possible before `op` runs, which
/// may write to memory of either size.
static void checkBefore(Operation *op, LowerScope &here, OpFoldResult size,
                        OpFoldResult known) {
  OpBuilder::InsertionGuard guard(here.builder);
  auto comesBefore = [&](OpFoldResult size) {
    auto value = llvm::dyn_cast_if_present<Value>(size);
    Operation *def = value ? value.getDefiningOp() : nullptr;
    return !def || def->getBlock() != op->getBlock() ||
           def->isBeforeInBlock(op);
  };
  if (op && comesBefore(size) && comesBefore(known))
    here.builder.setInsertionPoint(op);
  here.check(equalIndex(here, size, known), LowerScope::CheckKind::Shape);
}

/// Records the lowered form of a source value, under the type and the sizes
/// that the analysis knows.
void ModelLowering::define(Value value, Value result) {
  const SymValue &known = analysis->lookup(value);
  RankedTensorType type = tensorType(result);
  LocatedScope here = at(value.getLoc());
  SmallVector<OpFoldResult> sizes = here.sizes(result);
  if (known.hasRank() && known.rank() == type.getRank()) {
    for (auto [size, expr] : llvm::zip(sizes, *known.dims)) {
      if (OpFoldResult canonical = here.materialize(expr)) {
        // Of dims that must be equal the analysis names one, and so may the
        // lowering: what relies on the other must not run beyond it.
        if (size != canonical)
          checkBefore(result.getDefiningOp(), here, size, canonical);
        size = canonical;
      } else if (std::optional<std::string> symbol = expr.getSymbol())
        scope.sizeBuilder->defineLateSymbol(*symbol, size);
    }
  }
  here.setSizes(result, sizes);
  values[value] = refineType(here, result);
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

LogicalResult ModelLowering::lowerNode(onnx::NodeOp node) {
  NodeContext context(node, scope, *analysis);
  // Shape arithmetic: contents that the analysis knows need no operation.
  bool known = node.getNumResults() > 0;
  SmallVector<Value> made;
  for (Value result : node.getResults()) {
    const SymValue &value = analysis->lookup(result);
    Type element =
        value.elementType ? convertElementType(value.elementType) : Type();
    SmallVector<OpFoldResult> elements;
    if (value.contents && value.hasRank() && value.rank() <= 1 && element &&
        llvm::isa<IntegerType>(element))
      for (const DimExpr &expr : *value.contents)
        if (OpFoldResult size = context.materialize(expr))
          elements.push_back(size);
    known = value.contents && elements.size() == value.contents->size() &&
            !elements.empty() && known;
    if (!known)
      break;
    made.push_back(sizesTensor(context, elements, element, value.rank() == 0));
  }
  if (known) {
    for (auto [result, value] : llvm::zip(node.getResults(), made))
      define(result, value);
    return success();
  }
  OpBehaviour behaviour = OpTable::get().lookup(node);
  if (!behaviour.lower)
    return context.unsupported(node.getNumRegions()
                                   ? "operators with subgraphs have no lowering"
                                   : "this operator has no lowering");
  for (Value operand : node.getInputs()) {
    if (llvm::isa<NoneType>(operand.getType())) {
      context.inputs.push_back({});
      continue;
    }
    if (!convertTensorType(operand.getType()))
      return context.unsupported("an input is not a ranked tensor of bool, "
                                 "integers, f16, bf16, f32 or f64");
    FailureOr<Value> value = get(operand);
    if (failed(value))
      return failure();
    context.inputs.push_back(*value);
  }
  context.results.resize(node.getNumResults());
  auto append = appends.find(node);
  if (failed(append != appends.end()
                 ? lowerAppend(context, append->second, *options.kernels)
                 : behaviour.lower(context)))
    return failure();
  for (auto [result, value] : llvm::zip(node.getResults(), context.results)) {
    if (!value) {
      if (!result.use_empty())
        return context.unsupported("an optional output is used");
      continue;
    }
    RankedTensorType type = convertTensorType(result.getType());
    RankedTensorType got = tensorType(value);
    if (type && got &&
        (type.getElementType() != got.getElementType() ||
         type.getRank() != got.getRank()))
      return context.unsupported("its output is declared with another element "
                                 "type or rank than it has");
    define(result, value);
  }
  return success();
}

LogicalResult ModelLowering::lowerSublayer(SublayerOp sublayer) {
  FailureOr<Value> residual = get(sublayer.getResidual());
  if (failed(residual))
    return failure();
  values[sublayer.getBodyArgument()] = *residual;
  if (failed(lowerBlock(sublayer.getBody().front())))
    return failure();
  LocatedScope here = at(sublayer.getLoc());
  Value sum = *residual;
  for (Value addend : sublayer.getYieldedAddends()) {
    FailureOr<Value> value = get(addend);
    if (failed(value))
      return failure();
    sum = elementwise(here, {sum, *value}, elementOf(sum),
                      [](OpBuilder &b, Location loc, ValueRange args) {
                        return arith::AddFOp::create(b, loc, args[0], args[1]);
                      });
    if (!sum)
      return sublayer.emitError("addends differ in shape [FFN-I504]");
  }
  define(sublayer.getHidden(), sum);
  for (auto [result, yielded] :
       llvm::zip(sublayer.getExtras(), sublayer.getYieldedExtras())) {
    FailureOr<Value> value = get(yielded);
    if (failed(value))
      return failure();
    define(result, *value);
  }
  return success();
}

LogicalResult ModelLowering::lowerSkipOp(SkipOp skip) {
  FailureOr<Value> condition = get(skip.getSkip());
  FailureOr<Value> otherwise = Value();
  if (skip.getOtherwise())
    otherwise = get(skip.getOtherwise());
  if (failed(condition) || failed(otherwise))
    return failure();
  LocatedScope here = at(skip.getLoc());
  FailureOr<Value> result =
      lowerSkip(here, skip, *condition, *otherwise, [&]() -> FailureOr<Value> {
        if (failed(lowerBlock(skip.getBody().front())))
          return failure();
        return get(skip.getYielded());
      });
  if (failed(result))
    return failure();
  define(skip.getResult(), *result);
  return success();
}

/// A size that becomes static at `op`, the width of a weight for instance, is
/// compared at run time where only the run knows it: kernels rely on it.
LogicalResult ModelLowering::checkStaticSizes(Operation *op, Value tensor,
                                              RankedTensorType wanted) {
  LocatedScope here = at(op->getLoc());
  Sizes sizes = here.sizes(tensor);
  if (!wanted || wanted.getRank() != static_cast<int64_t>(sizes.size()))
    return op->emitError("operand has another rank than it was chosen for "
                         "[FFN-C199]");
  for (auto [size, want] : llvm::zip(sizes, wanted.getShape())) {
    std::optional<int64_t> known = getConstantIntValue(size);
    if (ShapedType::isDynamic(want) || known == want)
      continue;
    if (known)
      return op->emitError("operand of size ")
             << *known << " where " << want << " is needed [FFN-I504]";
    here.check(equalIndex(here, size, staticSize(here, want)),
               LowerScope::CheckKind::Shape);
  }
  return success();
}

/// Kernel calls and the index arithmetic around them are copied.
LogicalResult ModelLowering::cloneOther(Operation *op) {
  if (op->getNumRegions() != 0 ||
      !llvm::isa_and_present<arith::ArithDialect, tensor::TensorDialect,
                             cpu::CPUDialect>(op->getDialect()))
    return op->emitError("operation '")
           << op->getName() << "' cannot be compiled [FFN-C102]";
  LocatedScope here = at(op->getLoc());
  if (auto dim = llvm::dyn_cast<tensor::DimOp>(op)) {
    FailureOr<Value> tensor = get(dim.getSource());
    std::optional<int64_t> axis = dim.getConstantIndex();
    if (failed(tensor) || !axis || *axis >= rankOf(*tensor))
      return op->emitError("tensor.dim cannot be compiled [FFN-C102]");
    values[dim.getResult()] = sizeValue(here, here.sizes(*tensor)[*axis]);
    return success();
  }
  IRMapping mapping;
  for (Value operand : op->getOperands()) {
    if (mapping.contains(operand))
      continue;
    FailureOr<Value> value =
        llvm::isa<cpu::PackOp>(op) ? copyWeight(operand) : get(operand);
    if (failed(value))
      return failure();
    // Kernels keep the types they were chosen for.
    Value mapped = *value;
    auto wanted = llvm::dyn_cast<RankedTensorType>(operand.getType());
    if (wanted && !llvm::isa<cpu::PackOp>(op)) {
      RankedTensorType got = tensorType(mapped);
      if (got.getElementType() != wanted.getElementType() &&
          wanted.getElementType().isInteger(1))
        mapped = elementwise(here, mapped, wanted.getElementType(),
                             [](OpBuilder &b, Location loc, ValueRange args) {
                               return toCondition(b, loc, args[0]);
                             });
      if (mapped.getType() != wanted) {
        if (failed(checkStaticSizes(op, mapped, wanted)))
          return failure();
        Sizes sizes = here.sizes(mapped);
        mapped = tensor::CastOp::create(builder, op->getLoc(), wanted, mapped);
        here.setSizes(mapped, sizes);
      }
    }
    mapping.map(operand, mapped);
  }
  if (auto cast = llvm::dyn_cast<tensor::CastOp>(op))
    if (failed(
            checkStaticSizes(op, mapping.lookup(cast.getSource()),
                             llvm::dyn_cast<RankedTensorType>(cast.getType()))))
      return failure();
  if (auto call = llvm::dyn_cast<cpu::KernelCallOp>(op))
    if (auto key = llvm::dyn_cast<cpu::AttentionAttr>(call.getKernel())) {
      SmallVector<Sizes> sizes;
      for (Value input : call.getInputs())
        sizes.push_back(here.sizes(mapping.lookup(input)));
      bool seqFirst[] = {key.getQuerySeqFirst(), key.getKeySeqFirst(),
                         key.getValueSeqFirst()};
      for (auto [i, first] : llvm::enumerate(seqFirst))
        if (first)
          std::swap(sizes[i][1], sizes[i][2]);
      checkAttentionSizes(here, sizes);
    }
  OpBuilder::InsertionGuard guard(builder);
  if (llvm::isa<cpu::PackOp>(op))
    builder.setInsertionPoint(anchor);
  Operation *copy = builder.clone(*op, mapping);
  for (auto [result, value] : llvm::zip(op->getResults(), copy->getResults())) {
    values[result] = value;
    if (!llvm::isa<RankedTensorType>(value.getType()))
      continue;
    if (auto empty = llvm::dyn_cast<tensor::EmptyOp>(copy))
      here.setSizes(value, empty.getMixedSizes());
    else if (auto dps = llvm::dyn_cast<DestinationStyleOpInterface>(copy))
      here.setSizes(
          value,
          here.sizes(dps.getDpsInitOperand(
                            llvm::cast<OpResult>(value).getResultNumber())
                         ->get()));
    else if (auto expand = llvm::dyn_cast<tensor::ExpandShapeOp>(copy))
      here.setSizes(value, expand.getMixedOutputShape());
    define(result, value);
  }
  return success();
}

LogicalResult ModelLowering::lowerReturn(func::ReturnOp op) {
  Location loc = op.getLoc();
  LocatedScope here = at(loc);
  size_t inputs = lowered->descriptor.inputs.size();
  for (auto [i, operand] : llvm::enumerate(op.getOperands())) {
    FailureOr<Value> value = get(operand);
    if (failed(value))
      return failure();
    SmallVector<OpFoldResult> sizes;
    SmallVector<int64_t> shape;
    for (const DimExpr &dim : lowered->descriptor.outputs[i].dims)
      sizes.push_back(here.materialize(dim));
    Type element = elementOf(*value);
    if (outputElements[i] != element)
      return op.emitError("output ")
             << i << " was lowered to another element type [FFN-C199]";
    Value tensor = *value;
    if (!cacheArguments.contains(inputs + i)) {
      // The output is written in the form that its producer gives it: behind a
      // view it would be computed elsewhere and copied.
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPoint(anchor);
      tensor = stripViews(here, tensor, sizes);
    }
    for (OpFoldResult size : sizes)
      shape.push_back(getConstantIntValue(size).value_or(ShapedType::kDynamic));
    auto type = RankedTensorType::get(shape, element);
    if (tensor.getType() != type)
      tensor = tensor::CastOp::create(builder, loc, type, tensor);
    Value buffer;
    {
      // At the entry, so that results can be computed in place.
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPoint(anchor);
      buffer =
          argumentBuffer(inputs + i, MemRefType::get(shape, element), sizes);
    }
    bufferization::MaterializeInDestinationOp::create(
        builder, loc, TypeRange{}, tensor, buffer, /*restrict=*/true,
        /*writable=*/true);
  }
  func::ReturnOp::create(builder, loc);
  return success();
}

LogicalResult ModelLowering::lowerBlock(Block &block) {
  for (Operation &op : block) {
    if (auto node = llvm::dyn_cast<onnx::NodeOp>(op)) {
      if (failed(lowerNode(node)))
        return failure();
    } else if (llvm::isa<WeightExprInterface>(op) ||
               llvm::isa<onnx::AbsentOp, ObserveOp, YieldOp, SkipYieldOp>(op)) {
      continue;
    } else if (auto sublayer = llvm::dyn_cast<SublayerOp>(op)) {
      if (failed(lowerSublayer(sublayer)))
        return failure();
    } else if (auto skip = llvm::dyn_cast<SkipOp>(op)) {
      if (failed(lowerSkipOp(skip)))
        return failure();
    } else if (llvm::isa<ComputeOpInterface>(op)) {
      SmallVector<Value> operands;
      for (Value operand : op.getOperands()) {
        FailureOr<Value> value = get(operand);
        if (failed(value))
          return failure();
        operands.push_back(*value);
      }
      LocatedScope here = at(op.getLoc());
      FailureOr<Value> result = lowerComputeOp(here, &op, operands);
      if (failed(result))
        return failure();
      define(op.getResult(0), *result);
    } else if (auto ret = llvm::dyn_cast<func::ReturnOp>(op)) {
      if (failed(lowerReturn(ret)))
        return failure();
    } else if (failed(cloneOther(&op))) {
      return failure();
    }
  }
  return success();
}

std::unique_ptr<LoweredModel> ModelLowering::run() {
  if (failed(prepareSource()))
    return nullptr;
  lowered = std::make_unique<LoweredModel>();
  if (failed(findLowerings()) || failed(readSignature()))
    return nullptr;
  if (options.kernels)
    findAppends(sourceMain, *analysis, appends);
  for (auto &[node, pair] : appends) {
    lowered->descriptor.appends.push_back(pair);
    cacheArguments.insert(pair.input);
    cacheArguments.insert(lowered->descriptor.inputs.size() + pair.output);
  }
  buildEntry();
  if (failed(lowerBlock(sourceMain.getBody().front())))
    return nullptr;
  return std::move(lowered);
}

std::unique_ptr<LoweredModel>
mlir::ffn::lowerModelToLinalg(ModuleOp model, const LowerOptions &options) {
  return ModelLowering(model, options).run();
}
