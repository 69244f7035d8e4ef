//===- PlanMemory.cpp - Static plan of intermediate buffers ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Sizes are polynomials of the entry symbols, so their order is not known and
// a first fit by address has no meaning at compile time. Buffers get slots
// instead: one that died gives its slot to a later one, first to one of the
// same symbolic size, else to one that differs by a constant factor. A slot is
// as large as the largest buffer in it, and one request to the runtime asks
// for all of them.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Conversion/ModelToLinalg.h"
#include "ffn-mlir/Target/CPU/Codegen.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/Transforms/BufferViewFlowAnalysis.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

/// A run may not ask for more; keeps products within 64 bits.
static constexpr double kMaxBytes = 70368744177664.0; // 2^46

namespace {
/// Product of sizes: `factor` bytes times dynamic values in canonical order.
struct SymbolicSize {
  int64_t factor = 1;
  SmallVector<Value, 4> values;

  bool sameValues(const SymbolicSize &other) const {
    return values == other.values;
  }
};

struct Slot {
  SymbolicSize size;
  unsigned freeAfter; // index of the operation that last uses it
  Value offset;
};

struct Buffer {
  memref::AllocOp alloc;
  SymbolicSize size;
  unsigned begin, end; // operations of the entry block
  unsigned slot = 0;
};

struct PlanMemoryPass
    : public PassWrapper<PlanMemoryPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(PlanMemoryPass)
  StringRef getArgument() const final { return "ffn-cpu-plan-memory"; }
  StringRef getDescription() const final {
    return "Give intermediate buffers of the entry function parts of one block";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, func::FuncDialect, LLVM::LLVMDialect,
                    memref::MemRefDialect>();
  }
  void runOnOperation() override;

private:
  void declareRuntime(ModuleOp module);
  LogicalResult plan(func::FuncOp function);
  bool hoistable(Value value, Operation *point, unsigned depth);
  Value hoist(Value value, OpBuilder &builder, IRMapping &mapping);
  std::optional<SymbolicSize> sizeOf(memref::AllocOp alloc);
  Value bytesOf(OpBuilder &b, Location loc, const SymbolicSize &size,
                Value &approximate);
  Value allocate(OpBuilder &b, Location loc, Value bytes, Value approximate);
  Value baseMemref(OpBuilder &b, Location loc, Value pointer);
  void replace(memref::AllocOp alloc, OpBuilder &b, Value base, Value offset);
};
} // namespace

void PlanMemoryPass::declareRuntime(ModuleOp module) {
  OpBuilder b = OpBuilder::atBlockBegin(module.getBody());
  auto ptr = LLVM::LLVMPointerType::get(&getContext());
  if (!module.lookupSymbol("ffn_rt_alloc"))
    func::FuncOp::create(b, module.getLoc(), "ffn_rt_alloc",
                         b.getFunctionType(b.getI64Type(), ptr))
        .setPrivate();
  if (!module.lookupSymbol("ffn_rt_free"))
    func::FuncOp::create(b, module.getLoc(), "ffn_rt_free",
                         b.getFunctionType(ptr, {}))
        .setPrivate();
}

/// Whether the value can be computed before `point`.
bool PlanMemoryPass::hoistable(Value value, Operation *point, unsigned depth) {
  Operation *def = value.getDefiningOp();
  if (!def)
    return llvm::cast<BlockArgument>(value).getOwner() == point->getBlock();
  if (def->getBlock() == point->getBlock() && def->isBeforeInBlock(point))
    return true;
  if (depth == 0 || !isPure(def) || def->getNumRegions() != 0 ||
      llvm::isa<memref::DimOp>(def))
    return false;
  return llvm::all_of(def->getOperands(), [&](Value operand) {
    return hoistable(operand, point, depth - 1);
  });
}

Value PlanMemoryPass::hoist(Value value, OpBuilder &builder,
                            IRMapping &mapping) {
  if (Value known = mapping.lookupOrNull(value))
    return known;
  Operation *def = value.getDefiningOp();
  Operation *point = &*builder.getInsertionPoint();
  if (!def ||
      (def->getBlock() == point->getBlock() && def->isBeforeInBlock(point)))
    return value;
  for (Value operand : def->getOperands())
    mapping.map(operand, hoist(operand, builder, mapping));
  return builder.clone(*def, mapping)
      ->getResult(llvm::cast<OpResult>(value).getResultNumber());
}

std::optional<SymbolicSize> PlanMemoryPass::sizeOf(memref::AllocOp alloc) {
  MemRefType type = alloc.getType();
  if (!type.getLayout().isIdentity() || type.getMemorySpace() ||
      !alloc.getSymbolOperands().empty())
    return std::nullopt;
  SymbolicSize size;
  Type element = type.getElementType();
  size.factor = element.isIndex() ? 8
                : element.isIntOrFloat()
                    ? std::max<int64_t>(1, element.getIntOrFloatBitWidth() / 8)
                    : 0;
  if (size.factor == 0)
    return std::nullopt;
  for (int64_t dim : type.getShape())
    if (!ShapedType::isDynamic(dim) &&
        (__builtin_mul_overflow(size.factor, dim, &size.factor) ||
         size.factor > (int64_t(1) << 46)))
      return std::nullopt;
  size.values.assign(alloc.getDynamicSizes().begin(),
                     alloc.getDynamicSizes().end());
  return size;
}

/// Bytes of a slot, a multiple of 64, and the same in floating point: that one
/// cannot overflow.
Value PlanMemoryPass::bytesOf(OpBuilder &b, Location loc,
                              const SymbolicSize &size, Value &approximate) {
  Value bytes = arith::ConstantIndexOp::create(b, loc, size.factor);
  approximate = arith::ConstantOp::create(
      b, loc, b.getF64FloatAttr(static_cast<double>(size.factor)));
  for (Value value : size.values) {
    bytes = arith::MulIOp::create(b, loc, bytes, value);
    Value integer = arith::IndexCastOp::create(b, loc, b.getI64Type(), value);
    Value number = arith::SIToFPOp::create(b, loc, b.getF64Type(), integer);
    approximate = arith::MulFOp::create(b, loc, approximate, number);
  }
  Value pad = arith::ConstantIndexOp::create(b, loc, 63);
  Value mask = arith::ConstantIndexOp::create(b, loc, -64);
  bytes = arith::AddIOp::create(b, loc, bytes, pad);
  return arith::AndIOp::create(b, loc, bytes, mask);
}

Value PlanMemoryPass::allocate(OpBuilder &b, Location loc, Value bytes,
                               Value approximate) {
  Value limit = arith::ConstantOp::create(b, loc, b.getF64FloatAttr(kMaxBytes));
  Value fits = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT,
                                     approximate, limit);
  Value words = arith::IndexCastOp::create(b, loc, b.getI64Type(), bytes);
  Value refused = arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(-1));
  words = arith::SelectOp::create(b, loc, fits, words, refused);
  return func::CallOp::create(
             b, loc, "ffn_rt_alloc",
             TypeRange{LLVM::LLVMPointerType::get(&getContext())},
             ValueRange{words})
      .getResult(0);
}

Value PlanMemoryPass::baseMemref(OpBuilder &b, Location loc, Value pointer) {
  auto type = MemRefType::get({ShapedType::kDynamic}, b.getI8Type());
  return wrapPointer(b, loc, pointer, type,
                     {b.getIndexAttr(static_cast<int64_t>(kMaxBytes))});
}

void PlanMemoryPass::replace(memref::AllocOp alloc, OpBuilder &b, Value base,
                             Value offset) {
  b.setInsertionPoint(alloc);
  Value view = memref::ViewOp::create(b, alloc.getLoc(), alloc.getType(), base,
                                      offset, alloc.getDynamicSizes());
  alloc.replaceAllUsesWith(view);
  alloc.erase();
}

LogicalResult PlanMemoryPass::plan(func::FuncOp function) {
  Block &block = function.getBody().front();
  SmallVector<memref::AllocOp> allocs;
  function.walk([&](memref::AllocOp alloc) { allocs.push_back(alloc); });
  if (allocs.empty())
    return success();
  // Everything before the first operation with an effect is size arithmetic.
  Operation *point = nullptr;
  for (Operation &op : block)
    if (!isPure(&op) && !llvm::isa<LLVM::LoadOp>(op)) {
      point = &op;
      break;
    }
  BufferViewFlowAnalysis aliases(function);
  llvm::DenseMap<Operation *, unsigned> index;
  for (auto [i, op] : llvm::enumerate(block))
    index[&op] = i;

  auto lifeOf = [&](memref::AllocOp alloc, unsigned &begin, unsigned &end) {
    begin = end = index[block.findAncestorOpInBlock(*alloc)];
    bool escapes = false;
    for (Value alias : aliases.resolve(alloc)) {
      if (Operation *def = alias.getDefiningOp())
        end = std::max(end, index[block.findAncestorOpInBlock(*def)]);
      for (Operation *user : alias.getUsers()) {
        end = std::max(end, index[block.findAncestorOpInBlock(*user)]);
        // Of a branch, which runs once, there is one at a time.
        escapes |= user->hasTrait<OpTrait::IsTerminator>() &&
                   !llvm::isa<scf::IfOp>(user->getParentOp());
      }
    }
    return escapes;
  };

  SmallVector<Buffer> planned;
  SmallVector<std::pair<memref::AllocOp, unsigned>> others; // and last use
  IRMapping mapping;
  // By first use, not by address: two compiles must give the same bytes.
  llvm::DenseMap<Value, unsigned> order;
  OpBuilder builder(point);
  for (memref::AllocOp alloc : allocs) {
    unsigned begin, end;
    bool escapes = lifeOf(alloc, begin, end);
    bool nested = alloc->getBlock() != &block;
    std::optional<SymbolicSize> size = sizeOf(alloc);
    if (!size)
      return alloc.emitError("buffer of type ")
             << alloc.getType() << " cannot be planned [FFN-C199]";
    bool known = llvm::all_of(
        size->values, [&](Value value) { return hoistable(value, point, 64); });
    // A nested buffer that its loop carries on may be two at a time.
    if (!known || (nested && escapes)) {
      others.push_back({alloc, end});
      continue;
    }
    for (Value &value : size->values)
      value = hoist(value, builder, mapping);
    for (Value value : size->values)
      order.try_emplace(value, order.size());
    llvm::sort(size->values,
               [&](Value a, Value b) { return order[a] < order[b]; });
    planned.push_back({alloc, *size, begin, end});
  }

  // Hoisted sizes that are equal are one value.
  SmallVector<Slot> slots;
  for (Buffer &buffer : planned) {
    int best = -1;
    for (auto [i, slot] : llvm::enumerate(slots)) {
      if (slot.freeAfter >= buffer.begin || !slot.size.sameValues(buffer.size))
        continue;
      if (best < 0) {
        best = i;
        continue;
      }
      // The tightest that is large enough, else the largest.
      int64_t have = slot.size.factor, current = slots[best].size.factor,
              need = buffer.size.factor;
      bool better =
          current >= need ? have >= need && have < current : have > current;
      if (better)
        best = i;
    }
    if (best < 0) {
      best = slots.size();
      slots.push_back({buffer.size, 0, Value()});
    }
    Slot &slot = slots[best];
    slot.size.factor = std::max(slot.size.factor, buffer.size.factor);
    slot.freeAfter = buffer.end;
    buffer.slot = best;
  }
  Location loc = function.getLoc();
  if (!slots.empty()) {
    Value total = arith::ConstantIndexOp::create(builder, loc, 0);
    Value approximate =
        arith::ConstantOp::create(builder, loc, builder.getF64FloatAttr(0));
    for (Slot &slot : slots) {
      Value number;
      Value bytes = bytesOf(builder, loc, slot.size, number);
      slot.offset = total;
      total = arith::AddIOp::create(builder, loc, total, bytes);
      approximate = arith::AddFOp::create(builder, loc, approximate, number);
    }
    Value base =
        baseMemref(builder, loc, allocate(builder, loc, total, approximate));
    for (Buffer &buffer : planned)
      replace(buffer.alloc, builder, base, slots[buffer.slot].offset);
  }
  // Sizes that only the run knows.
  for (auto [alloc, end] : others) {
    builder.setInsertionPoint(alloc);
    std::optional<SymbolicSize> size = sizeOf(alloc);
    Value number;
    Value bytes = bytesOf(builder, alloc.getLoc(), *size, number);
    Value pointer = allocate(builder, alloc.getLoc(), bytes, number);
    Value base = baseMemref(builder, alloc.getLoc(), pointer);
    Value zero = arith::ConstantIndexOp::create(builder, alloc.getLoc(), 0);
    bool nested = alloc->getBlock() != &block;
    Operation *last = nullptr;
    for (auto &entry : index)
      if (entry.second == end)
        last = entry.first;
    replace(alloc, builder, base, zero);
    // What is allocated in a loop is free again after the run.
    if (nested || !last || last->hasTrait<OpTrait::IsTerminator>())
      continue;
    builder.setInsertionPointAfter(last);
    func::CallOp::create(builder, loc, "ffn_rt_free", TypeRange{},
                         ValueRange{pointer});
  }
  return success();
}

void PlanMemoryPass::runOnOperation() {
  ModuleOp module = getOperation();
  declareRuntime(module);
  for (auto function : module.getOps<func::FuncOp>())
    if (function.isPublic() && !function.isExternal())
      if (failed(plan(function)))
        return signalPassFailure();
}

std::unique_ptr<Pass> mlir::ffn::cpu::createPlanMemoryPass() {
  return std::make_unique<PlanMemoryPass>();
}
