//===- OutlineLoops.cpp - Linalg on memrefs to parallel functions ---------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// One function for each distinct loop nest, shared by all layers of a model,
// so that the size of the code does not grow with depth. Its arguments are
// noalias, which is what the loop vectoriser of LLVM needs.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/CPU/IR/CPU.h"
#include "ffn-mlir/Target/CPU/Codegen.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

/// Elements of work that are worth handing to another thread.
static constexpr int64_t kGrainElements = 16384;

namespace {

/// One loop nest on its way to a function.
class Outliner {
public:
  Outliner(linalg::LinalgOp op, OpBuilder &builder)
      : op(op), builder(builder), loc(op.getLoc()) {}

  /// Fails where the op is of a form that is left alone.
  LogicalResult analyze();
  /// The function, not yet named, with the number of its own arguments before
  /// begin and end.
  func::FuncOp build(OpBuilder &moduleBuilder);
  void call(StringRef callee);

private:
  struct Group {
    SmallVector<int64_t, 2> dims; // loops of the op, merged into one
    bool reduction;
  };

  void groupLoops();
  bool canMerge(int64_t first, int64_t second);
  Value bound(ArrayRef<int64_t> dims);
  void emitBody(OpBuilder &b, ValueRange position);
  Value access(OpBuilder &b, Value memref, AffineMap map, ValueRange position);
  SmallVector<Value> indicesFor(OpBuilder &b, AffineMap map, Value memref,
                                ValueRange position);
  void buildLoops(OpBuilder &b, ArrayRef<unsigned> order,
                  SmallVectorImpl<Value> &position);
  void buildReduction(OpBuilder &b, ArrayRef<unsigned> loops,
                      SmallVectorImpl<Value> &position);
  SmallVector<Value> runBody(OpBuilder &b, ValueRange position,
                             ValueRange accumulators);
  bool innerIsParallel();
  bool isAlone(Value memref);

  linalg::LinalgOp op;
  OpBuilder &builder;
  Location loc;
  SmallVector<Group> groups;
  SmallVector<AffineMap> maps;
  bool usesIndex = false;
  /// Values the body uses: passed on, or made again where constant.
  llvm::SetVector<Value> captured, constants;
  /// What the call passes before the bounds: operands and captured values,
  /// each once.
  llvm::SetVector<Value> arguments;
  SmallVector<OpFoldResult> extents; // of each loop of the op
  // In the function:
  IRMapping mapping;
  SmallVector<Value> memrefs, groupBounds;
  SmallVector<Value> dynamicBounds;
  unsigned numOuter = 0;
};

} // namespace

static bool isContiguous(Value value) {
  auto type = llvm::dyn_cast<MemRefType>(value.getType());
  return type && type.getLayout().isIdentity();
}

LogicalResult Outliner::analyze() {
  if (!op.hasPureBufferSemantics())
    return failure();
  maps = op.getIndexingMapsArray();
  for (AffineMap map : maps)
    if (!map.isProjectedPermutation(/*allowZeroInResults=*/true))
      return failure();
  for (utils::IteratorType type : op.getIteratorTypesArray())
    if (type != utils::IteratorType::parallel &&
        type != utils::IteratorType::reduction)
      return failure();
  Region &region = op->getRegion(0);
  region.walk([&](linalg::IndexOp) { usesIndex = true; });
  llvm::SetVector<Value> used;
  getUsedValuesDefinedAbove(region, used);
  for (Value value : used) {
    Operation *def = value.getDefiningOp();
    bool constant = def && def->hasTrait<OpTrait::ConstantLike>() &&
                    def->getNumRegions() == 0;
    (constant ? constants : captured).insert(value);
  }
  arguments.insert(op->operand_begin(), op->operand_end());
  arguments.insert(captured.begin(), captured.end());
  builder.setInsertionPoint(op);
  for (Range range : op.createLoopRanges(builder, loc))
    extents.push_back(range.size);
  groupLoops();
  return success();
}

/// Two neighbouring loops are one if every operand either walks both in one
/// contiguous step or uses neither.
bool Outliner::canMerge(int64_t first, int64_t second) {
  SmallVector<utils::IteratorType> types = op.getIteratorTypesArray();
  if (usesIndex || types[first] != types[second])
    return false;
  for (auto [operand, map] : llvm::zip(op->getOpOperands(), maps)) {
    std::optional<unsigned> a, b;
    for (auto [i, expr] : llvm::enumerate(map.getResults()))
      if (auto dim = llvm::dyn_cast<AffineDimExpr>(expr)) {
        if (dim.getPosition() == first)
          a = i;
        if (dim.getPosition() == second)
          b = i;
      }
    if (!a && !b)
      continue;
    if (!a || !b || *b != *a + 1 || !isContiguous(operand.get()))
      return false;
  }
  return true;
}

void Outliner::groupLoops() {
  SmallVector<utils::IteratorType> types = op.getIteratorTypesArray();
  for (int64_t i = 0, n = types.size(); i < n; ++i) {
    bool reduction = types[i] == utils::IteratorType::reduction;
    if (!groups.empty() && canMerge(groups.back().dims.back(), i))
      groups.back().dims.push_back(i);
    else
      groups.push_back({{i}, reduction});
  }
  // Parallel loops outside, in order, then reductions.
  std::stable_partition(groups.begin(), groups.end(),
                        [](const Group &g) { return !g.reduction; });
}

/// Number of iterations of merged loops, as a value at the call.
Value Outliner::bound(ArrayRef<int64_t> dims) {
  OpFoldResult product = builder.getIndexAttr(1);
  for (int64_t dim : dims) {
    std::optional<int64_t> a = getConstantIntValue(product),
                           b = getConstantIntValue(extents[dim]);
    if (a && b)
      product = builder.getIndexAttr(*a * *b);
    else if (a == 1)
      product = extents[dim];
    else
      product = arith::MulIOp::create(
                    builder, loc,
                    getValueOrCreateConstantIndexOp(builder, loc, product),
                    getValueOrCreateConstantIndexOp(builder, loc, extents[dim]))
                    .getResult();
  }
  return getValueOrCreateConstantIndexOp(builder, loc, product);
}

/// Whether the last parallel loop should be the innermost one although there
/// are reductions: all operands walk it with unit stride or not at all.
bool Outliner::innerIsParallel() {
  int64_t dim = -1;
  for (const Group &group : groups)
    if (!group.reduction)
      dim = group.dims.back();
  if (dim < 0)
    return false;
  bool anyInput = false;
  for (auto [i, operand, map] : llvm::enumerate(op->getOpOperands(), maps)) {
    auto results = map.getResults();
    for (auto [k, expr] : llvm::enumerate(results))
      if (auto d = llvm::dyn_cast<AffineDimExpr>(expr))
        if (d.getPosition() == dim) {
          if (k + 1 != results.size())
            return false;
          anyInput |= op.isDpsInput(&operand);
        }
  }
  return anyInput;
}

SmallVector<Value> Outliner::indicesFor(OpBuilder &b, AffineMap map,
                                        Value memref, ValueRange position) {
  // A merged group is one dim of the collapsed operand.
  SmallVector<Value> indices;
  llvm::DenseMap<int64_t, unsigned> groupOf;
  for (auto [g, group] : llvm::enumerate(groups))
    for (int64_t dim : group.dims)
      groupOf[dim] = g;
  std::optional<unsigned> last;
  for (AffineExpr expr : map.getResults()) {
    auto dim = llvm::dyn_cast<AffineDimExpr>(expr);
    if (!dim) {
      indices.push_back(arith::ConstantIndexOp::create(b, loc, 0));
      last.reset();
      continue;
    }
    unsigned g = groupOf[dim.getPosition()];
    if (last == g && groups[g].dims.size() > 1)
      continue;
    indices.push_back(position[g]);
    last = g;
  }
  return indices;
}

/// The region's operations at one position of the loops; results are what it
/// yields.
SmallVector<Value> Outliner::runBody(OpBuilder &b, ValueRange position,
                                     ValueRange accumulators) {
  Block &body = op->getRegion(0).front();
  IRMapping local = mapping;
  unsigned numInputs = op.getNumDpsInputs();
  for (BlockArgument arg : body.getArguments()) {
    unsigned i = arg.getArgNumber();
    if (i >= numInputs && !accumulators.empty()) {
      local.map(arg, accumulators[i - numInputs]);
      continue;
    }
    if (arg.use_empty())
      continue;
    Value memref = memrefs[i];
    if (!llvm::isa<MemRefType>(memref.getType())) {
      local.map(arg, memref);
      continue;
    }
    local.map(arg,
              memref::LoadOp::create(b, loc, memref,
                                     indicesFor(b, maps[i], memref, position)));
  }
  for (Operation &inner : body.without_terminator()) {
    if (auto index = llvm::dyn_cast<linalg::IndexOp>(inner)) {
      for (auto [g, group] : llvm::enumerate(groups))
        if (group.dims.front() == static_cast<int64_t>(index.getDim()))
          local.map(index.getResult(), position[g]);
      continue;
    }
    Operation *copy = b.clone(inner, local);
    // Constant and index ops nested in regions of the clone.
    copy->walk([&](linalg::IndexOp index) {
      for (auto [g, group] : llvm::enumerate(groups))
        if (group.dims.front() == static_cast<int64_t>(index.getDim()))
          index.replaceAllUsesWith(position[g]);
      index.erase();
    });
  }
  SmallVector<Value> results;
  for (Value yielded : body.getTerminator()->getOperands())
    results.push_back(local.lookupOrDefault(yielded));
  return results;
}

void Outliner::emitBody(OpBuilder &b, ValueRange position) {
  SmallVector<Value> results = runBody(b, position, {});
  unsigned numInputs = op.getNumDpsInputs();
  for (auto [i, value] : llvm::enumerate(results)) {
    Value memref = memrefs[numInputs + i];
    memref::StoreOp::create(
        b, loc, value, memref,
        indicesFor(b, maps[numInputs + i], memref, position));
  }
}

/// Reductions carry their accumulators in registers.
void Outliner::buildReduction(OpBuilder &b, ArrayRef<unsigned> loops,
                              SmallVectorImpl<Value> &position) {
  unsigned numInputs = op.getNumDpsInputs();
  SmallVector<Value> carried;
  for (unsigned i = 0; i < op.getNumDpsInits(); ++i) {
    Value memref = memrefs[numInputs + i];
    carried.push_back(memref::LoadOp::create(
        b, loc, memref, indicesFor(b, maps[numInputs + i], memref, position)));
  }
  std::function<SmallVector<Value>(OpBuilder &, unsigned, ValueRange)> nest =
      [&](OpBuilder &b, unsigned depth,
          ValueRange values) -> SmallVector<Value> {
    if (depth == loops.size())
      return runBody(b, position, values);
    Value zero = arith::ConstantIndexOp::create(b, loc, 0);
    Value one = arith::ConstantIndexOp::create(b, loc, 1);
    auto loop = scf::ForOp::create(
        b, loc, zero, groupBounds[loops[depth]], one, values,
        [&](OpBuilder &b, Location loc, Value index, ValueRange inner) {
          position[loops[depth]] = index;
          scf::YieldOp::create(b, loc, nest(b, depth + 1, inner));
        });
    return SmallVector<Value>(loop.getResults());
  };
  SmallVector<Value> results = nest(b, 0, carried);
  for (auto [i, value] : llvm::enumerate(results)) {
    Value memref = memrefs[numInputs + i];
    memref::StoreOp::create(
        b, loc, value, memref,
        indicesFor(b, maps[numInputs + i], memref, position));
  }
}

void Outliner::buildLoops(OpBuilder &b, ArrayRef<unsigned> order,
                          SmallVectorImpl<Value> &position) {
  if (order.empty()) {
    emitBody(b, position);
    return;
  }
  bool onlyReductions =
      llvm::all_of(order, [&](unsigned g) { return groups[g].reduction; });
  if (onlyReductions) {
    buildReduction(b, order, position);
    return;
  }
  Value zero = arith::ConstantIndexOp::create(b, loc, 0);
  Value one = arith::ConstantIndexOp::create(b, loc, 1);
  scf::ForOp::create(b, loc, zero, groupBounds[order.front()], one,
                     ValueRange{},
                     [&](OpBuilder &b, Location loc, Value index, ValueRange) {
                       position[order.front()] = index;
                       buildLoops(b, order.drop_front(), position);
                       scf::YieldOp::create(b, loc);
                     });
}

/// The buffer that a view looks into.
static Value rootOf(Value memref) {
  while (auto view = memref.getDefiningOp<ViewLikeOpInterface>())
    memref = view.getViewSource();
  return memref;
}

/// Whether no other argument that is written, or none at all if this one is,
/// may share memory with `memref`.
bool Outliner::isAlone(Value memref) {
  auto isWritten = [&](Value value) {
    return llvm::is_contained(op.getDpsInits(), value);
  };
  Value root = rootOf(memref);
  // Loop-carried buffers may be any.
  auto isOpaque = [](Value value) {
    Operation *def = value.getDefiningOp();
    return !def || llvm::isa<scf::ForOp, scf::IfOp, arith::SelectOp>(def);
  };
  for (Value other : arguments) {
    if (other == memref || !llvm::isa<MemRefType>(other.getType()) ||
        (!isWritten(memref) && !isWritten(other)))
      continue;
    Value otherRoot = rootOf(other);
    if (otherRoot == root || isOpaque(root) || isOpaque(otherRoot))
      return false;
  }
  return true;
}

func::FuncOp Outliner::build(OpBuilder &moduleBuilder) {
  unsigned numParallel = llvm::count_if(
      groups, [](const Group &group) { return !group.reduction; });
  // The range of the function walks all parallel loops but the innermost; a
  // single one is the range itself.
  numOuter = numParallel > 1 ? numParallel - 1 : numParallel;
  SmallVector<Type> types;
  for (Value argument : arguments)
    types.push_back(argument.getType());
  // Bounds that are not constant follow.
  SmallVector<std::optional<int64_t>> knownBounds;
  for (const Group &group : groups) {
    Value value = bound(group.dims);
    std::optional<int64_t> constant = getConstantIntValue(value);
    knownBounds.push_back(constant);
    if (!constant) {
      dynamicBounds.push_back(value);
      types.push_back(builder.getIndexType());
    }
  }
  types.push_back(builder.getIndexType());
  types.push_back(builder.getIndexType());
  auto function = func::FuncOp::create(
      moduleBuilder, loc, "loop", moduleBuilder.getFunctionType(types, {}));
  function.setPrivate();
  Block *entry = function.addEntryBlock();
  OpBuilder b = OpBuilder::atBlockBegin(entry);
  llvm::DenseMap<Value, Value> argumentOf;
  for (auto [i, value] : llvm::enumerate(arguments)) {
    argumentOf[value] = entry->getArgument(i);
    if (llvm::isa<MemRefType>(value.getType()) && isAlone(value))
      function.setArgAttr(i, LLVM::LLVMDialect::getNoAliasAttrName(),
                          builder.getUnitAttr());
  }
  unsigned next = arguments.size();
  for (auto [operand, map] : llvm::zip(op->getOperands(), maps)) {
    Value arg = argumentOf[operand];
    auto type = llvm::dyn_cast<MemRefType>(operand.getType());
    if (type) {
      // Merged loops walk merged dims.
      SmallVector<ReassociationIndices> reassociation;
      bool merges = false;
      llvm::DenseMap<int64_t, unsigned> groupOf;
      for (auto [g, group] : llvm::enumerate(groups))
        for (int64_t dim : group.dims)
          groupOf[dim] = g;
      std::optional<unsigned> last;
      for (auto [k, expr] : llvm::enumerate(map.getResults())) {
        auto dim = llvm::dyn_cast<AffineDimExpr>(expr);
        std::optional<unsigned> g;
        if (dim)
          g = groupOf[dim.getPosition()];
        if (g && last == g && groups[*g].dims.size() > 1) {
          reassociation.back().push_back(k);
          merges = true;
        } else {
          reassociation.push_back({static_cast<int64_t>(k)});
        }
        last = g;
      }
      if (merges)
        arg = memref::CollapseShapeOp::create(b, loc, arg, reassociation);
    }
    memrefs.push_back(arg);
  }
  for (Value value : captured)
    mapping.map(value, argumentOf[value]);
  for (Value value : constants)
    mapping.map(value, b.clone(*value.getDefiningOp())->getResult(0));
  for (const std::optional<int64_t> &constant : knownBounds)
    groupBounds.push_back(
        constant ? Value(arith::ConstantIndexOp::create(b, loc, *constant))
                 : Value(entry->getArgument(next++)));
  Value begin = entry->getArgument(next), end = entry->getArgument(next + 1);

  SmallVector<unsigned> inner;
  for (unsigned g = numOuter; g < groups.size(); ++g)
    inner.push_back(g);
  // x += a * y runs along y; a sum runs along what it sums.
  if (numParallel > 1 && inner.size() > 1 && innerIsParallel())
    std::rotate(inner.begin(), inner.begin() + 1, inner.end());
  Value one = arith::ConstantIndexOp::create(b, loc, 1);
  scf::ForOp::create(
      b, loc, begin, end, one, ValueRange{},
      [&](OpBuilder &b, Location loc, Value index, ValueRange) {
        SmallVector<Value> position(groups.size());
        Value rest = index;
        for (unsigned g = numOuter; g-- > 0;) {
          if (g == 0) {
            position[g] = rest;
            break;
          }
          position[g] = arith::RemUIOp::create(b, loc, rest, groupBounds[g]);
          rest = arith::DivUIOp::create(b, loc, rest, groupBounds[g]);
        }
        if (numOuter == 0 && inner.empty())
          emitBody(b, position);
        else
          buildLoops(b, inner, position);
        scf::YieldOp::create(b, loc);
      });
  func::ReturnOp::create(b, loc);
  return function;
}

void Outliner::call(StringRef callee) {
  builder.setInsertionPoint(op);
  SmallVector<int64_t> outer, inner;
  for (auto [g, group] : llvm::enumerate(groups))
    llvm::append_range(g < numOuter ? outer : inner, group.dims);
  Value tasks = bound(outer), work = bound(inner);
  Value one = arith::ConstantIndexOp::create(builder, loc, 1);
  Value elements = arith::ConstantIndexOp::create(builder, loc, kGrainElements);
  Value grain = arith::DivSIOp::create(
      builder, loc, elements, arith::MaxSIOp::create(builder, loc, work, one));
  grain = arith::MaxSIOp::create(builder, loc, grain, one);
  SmallVector<Value> args(arguments.begin(), arguments.end());
  llvm::append_range(args, dynamicBounds);
  LaunchOp::create(builder, loc,
                   FlatSymbolRefAttr::get(builder.getContext(), callee), tasks,
                   grain, args);
  op->erase();
}

/// What profiles call the loop beside its number: the first node that it came
/// from, in letters of symbols.
static std::string findLabel(Location loc) {
  std::string label;
  loc->walk([&](Location part) {
    auto name = llvm::dyn_cast<NameLoc>(part);
    if (!name || name.getName().empty())
      return WalkResult::advance();
    for (char c : name.getName().getValue().take_back(48))
      label += llvm::isAlnum(c) ? c : '_';
    return WalkResult::interrupt();
  });
  return label;
}

namespace {
struct OutlineLoopsPass
    : public PassWrapper<OutlineLoopsPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(OutlineLoopsPass)
  StringRef getArgument() const final { return "ffn-cpu-outline-loops"; }
  StringRef getDescription() const final {
    return "Turn linalg ops on memrefs into launches of shared functions";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, CPUDialect, func::FuncDialect,
                    memref::MemRefDialect, scf::SCFDialect>();
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    OpBuilder builder(&getContext());
    SmallVector<Operation *> ops;
    module.walk([&](Operation *op) {
      if (llvm::isa<memref::CopyOp, linalg::LinalgOp>(op))
        ops.push_back(op);
    });
    for (Operation *op : ops)
      if (auto copy = llvm::dyn_cast<memref::CopyOp>(op))
        if (failed(outlineCopy(copy, builder)))
          return signalPassFailure();
    for (Operation *op : ops)
      if (!copies.contains(op))
        if (failed(outline(llvm::cast<linalg::LinalgOp>(op), builder)))
          return signalPassFailure();
    functions.clear();
    copies.clear();
  }

  LogicalResult outlineCopy(memref::CopyOp copy, OpBuilder &builder) {
    copies.insert(copy);
    auto type = llvm::cast<MemRefType>(copy.getTarget().getType());
    builder.setInsertionPoint(copy);
    AffineMap identity = builder.getMultiDimIdentityMap(type.getRank());
    SmallVector<utils::IteratorType> iterators(type.getRank(),
                                               utils::IteratorType::parallel);
    auto generic = linalg::GenericOp::create(
        builder, copy.getLoc(), ValueRange{copy.getSource()},
        ValueRange{copy.getTarget()}, ArrayRef<AffineMap>{identity, identity},
        iterators, [](OpBuilder &b, Location loc, ValueRange args) {
          linalg::YieldOp::create(b, loc, args[0]);
        });
    copy.erase();
    return outline(generic, builder);
  }

  LogicalResult outline(linalg::LinalgOp op, OpBuilder &builder) {
    Outliner outliner(op, builder);
    if (failed(outliner.analyze()))
      return op->emitError("loop of this form is not supported [FFN-C199]");
    OpBuilder moduleBuilder = OpBuilder::atBlockEnd(getOperation().getBody());
    func::FuncOp function = outliner.build(moduleBuilder);
    std::string text;
    llvm::raw_string_ostream os(text);
    function.print(os, OpPrintingFlags().useLocalScope());
    std::string name = "loop_" + std::to_string(functions.size());
    if (std::string label = findLabel(op.getLoc()); !label.empty())
      name += "_" + label;
    auto [it, isNew] = functions.try_emplace(text, name);
    if (isNew)
      function.setName(it->second);
    else
      function.erase();
    outliner.call(it->second);
    return success();
  }

  llvm::StringMap<std::string> functions;
  llvm::DenseSet<Operation *> copies;
};
} // namespace

std::unique_ptr<Pass> mlir::ffn::cpu::createOutlineLoopsPass() {
  return std::make_unique<OutlineLoopsPass>();
}
