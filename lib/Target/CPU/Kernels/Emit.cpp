//===- Emit.cpp - From kernel calls to functions --------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

//===----------------------------------------------------------------------===//
// Keys
//===----------------------------------------------------------------------===//

Level cpu::getKernelLevel(Attribute key) {
  return llvm::TypeSwitch<Attribute, Level>(key)
      .Case<GemmAttr, GroupedAttr, RouteAttr, QuantizeAttr, NormAttr,
            SoftmaxAttr, AttentionAttr, ProductAttr, AppendAttr>(
          [](auto attr) { return attr.getLevel(); })
      .Default([](Attribute) { return Level::Avx2; });
}

std::string cpu::getKernelName(Attribute key) {
  // "#ffn_cpu.gemm<level = avx2, n = 7, ...>" -> "gemm_level_avx2_n_7...":
  // what the key says and nothing else, so that equal keys of two modules
  // have equal names.
  std::string text;
  llvm::raw_string_ostream os(text);
  key.print(os);
  StringRef rest = os.str();
  rest.consume_front("#ffn_cpu.");
  std::string name = "ffn_";
  for (char c : rest) {
    bool isWord = llvm::isAlnum(c);
    if (isWord || c == '.' || c == '-' || c == '+')
      name += c == '.' ? 'p' : c == '-' ? 'm' : c == '+' ? 'e' : c;
    else if (name.back() != '_')
      name += '_';
  }
  while (name.back() == '_')
    name.pop_back();
  return name;
}

/// Fewest multiply-adds that are worth another thread.
static constexpr int64_t kWorthOfThread = 50000;

TaskCount cpu::buildTaskCount(OpBuilder &builder, Location loc, Attribute key,
                              ValueRange operands) {
  ImplicitLocOpBuilder b(loc, builder);
  KernelBuilder kb(b, 16);
  auto grainOf = [&](Value work) {
    // work is per task, at least 1.
    return kb.divU(kb.add(kb.idx(kWorthOfThread - 1), work), work);
  };
  return llvm::TypeSwitch<Attribute, TaskCount>(key)
      .Case([&](GemmAttr gemm) {
        int64_t block = getGemmRowBlock(gemm);
        PanelsAttr panels = gemm.getPanels();
        Value rows = kb.dim(operands[0], 0);
        Value tasks = kb.mul(kb.ceilDivU(rows, block), panels.getNumPanels());
        Value height = kb.max(kb.min(rows, kb.idx(block)), kb.idx(1));
        Value work = kb.mul(height, std::max<int64_t>(gemm.getK(), 1) *
                                        panels.getWidth());
        return TaskCount{tasks, grainOf(work)};
      })
      .Case([&](GroupedAttr grouped) {
        TaskCount count = buildGroupedTaskCount(kb, grouped, operands);
        return TaskCount{count.tasks, grainOf(count.grain)};
      })
      .Case([&](RouteAttr) { return TaskCount{kb.idx(1), kb.idx(1)}; })
      .Case([&](ProductAttr product) {
        ProductTasks tasks(kb, product, operands);
        return TaskCount{tasks.count, grainOf(kb.max(tasks.work, kb.idx(1)))};
      })
      .Case([&](AppendAttr append) {
        Value tasks = kb.idx(1), work = kb.idx(1);
        for (int64_t i = 0; i < append.getRank(); ++i) {
          Value &product = i < append.getAxis() ? tasks : work;
          product = kb.mul(product, kb.dim(operands[2], i));
        }
        return TaskCount{tasks, grainOf(kb.max(work, kb.idx(1)))};
      })
      .Case<QuantizeAttr, NormAttr, SoftmaxAttr>([&](auto) {
        Value rows = kb.dim(operands[0], 0);
        Value width = kb.max(kb.dim(operands[0], 1), kb.idx(1));
        return TaskCount{kb.ceilDivU(rows, kNormRowBlock),
                         grainOf(kb.mul(width, kNormRowBlock))};
      })
      .Case([&](AttentionAttr attention) {
        bool first = attention.getQuerySeqFirst();
        Value heads = kb.dim(operands[0], first ? 2 : 1);
        Value rows = kb.dim(operands[0], first ? 1 : 2);
        Value keys = kb.dim(operands[1], attention.getKeySeqFirst() ? 1 : 2);
        int64_t block = getAttentionRowBlock(attention.getLevel());
        Value blocks = kb.ceilDivU(rows, block);
        Value work =
            kb.mul(kb.mul(kb.max(keys, kb.idx(1)),
                          attention.getHeadSize() + attention.getValueSize()),
                   kb.max(kb.min(rows, kb.idx(block)), kb.idx(1)));
        return TaskCount{kb.mul(kb.mul(kb.dim(operands[0], 0), heads), blocks),
                         grainOf(work)};
      })
      .Default([&](Attribute) { return TaskCount{kb.idx(0), kb.idx(1)}; });
}

func::FuncOp cpu::emitKernel(OpBuilder &builder, Location loc, Attribute key,
                             StringRef name) {
  ImplicitLocOpBuilder b(loc, builder);
  SmallVector<Type> types;
  for (MemRefType type : getKernelArgumentTypes(key))
    types.push_back(type);
  unsigned numOutputs = getNumKernelOutputs(key);
  unsigned firstOutput = types.size() - numOutputs;
  types.append(2, b.getIndexType());
  auto func = func::FuncOp::create(b, name, b.getFunctionType(types, {}));
  func.setPrivate();
  // An output overlaps nothing else; without this LLVM keeps loads behind
  // stores.
  for (unsigned i = 0; i < numOutputs; ++i)
    func.setArgAttr(firstOutput + i, LLVM::LLVMDialect::getNoAliasAttrName(),
                    b.getUnitAttr());
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(func.addEntryBlock());
  KernelBuilder kb(b, CpuTarget{getKernelLevel(key)}.getLanes());
  llvm::TypeSwitch<Attribute>(key)
      .Case([&](GemmAttr attr) { emitGemm(kb, attr, func); })
      .Case([&](GroupedAttr attr) { emitGrouped(kb, attr, func); })
      .Case([&](RouteAttr attr) { emitRoute(kb, attr, func); })
      .Case([&](QuantizeAttr attr) { emitQuantize(kb, attr, func); })
      .Case([&](NormAttr attr) { emitNorm(kb, attr, func); })
      .Case([&](SoftmaxAttr attr) { emitSoftmax(kb, attr, func); })
      .Case([&](AttentionAttr attr) { emitAttention(kb, attr, func); })
      .Case([&](ProductAttr attr) { emitProduct(kb, attr, func); })
      .Case([&](AppendAttr attr) { emitAppend(kb, attr, func); })
      .Default([](Attribute) {});
  func::ReturnOp::create(b);
  return func;
}

//===----------------------------------------------------------------------===//
// Pass
//===----------------------------------------------------------------------===//

namespace {
class EmitKernelsPass
    : public PassWrapper<EmitKernelsPass, OperationPass<ModuleOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(EmitKernelsPass)

  StringRef getArgument() const override { return "ffn-cpu-emit-kernels"; }
  StringRef getDescription() const override {
    return "Emit one function for each distinct kernel of a bufferized module "
           "and launch it at each call";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, CPUDialect, func::FuncDialect,
                    LLVM::LLVMDialect, math::MathDialect, memref::MemRefDialect,
                    scf::SCFDialect, vector::VectorDialect>();
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    SymbolTable symbols(module);
    llvm::DenseMap<Attribute, func::FuncOp> kernels;
    SmallVector<KernelCallOp> calls;
    module.walk([&](KernelCallOp call) { calls.push_back(call); });
    for (KernelCallOp call : calls)
      if (failed(replace(call, symbols, kernels)))
        return signalPassFailure();
  }

private:
  /// Tells the runtime how many bytes a call of the append kernel wrote.
  void countAppended(OpBuilder &builder, Location loc, SymbolTable &symbols,
                     ValueRange operands) {
    auto counter = symbols.lookup<func::FuncOp>(kCountAppended);
    if (!counter) {
      OpBuilder moduleBuilder = OpBuilder::atBlockBegin(
          llvm::cast<ModuleOp>(symbols.getOp()).getBody());
      counter = func::FuncOp::create(
          moduleBuilder, loc, kCountAppended,
          builder.getFunctionType(builder.getI64Type(), {}));
      counter.setPrivate();
      symbols.insert(counter);
    }
    ImplicitLocOpBuilder b(loc, builder);
    KernelBuilder kb(b, 16);
    Value sizes[2];
    for (int i = 0; i < 2; ++i) {
      sizes[i] = kb.idx(4);
      auto type = llvm::cast<MemRefType>(operands[i].getType());
      for (int64_t d = 0; d < type.getRank(); ++d)
        sizes[i] = kb.mul(sizes[i], kb.dim(operands[i], d));
    }
    Value copied =
        kb.select(buildStartsAtSameAddress(kb, operands[0], operands[2]),
                  kb.idx(0), sizes[0]);
    Value bytes =
        arith::IndexCastOp::create(b, b.getI64Type(), kb.add(copied, sizes[1]));
    func::CallOp::create(b, counter, ValueRange{bytes});
  }

  /// The same buffer with stride 1 where a dimension of one element has
  /// another, which nothing is read by: what a slice with steps leaves.
  static Value withUnitStrides(OpBuilder &builder, Location loc, Value buffer,
                               MemRefType wanted) {
    auto type = llvm::cast<MemRefType>(buffer.getType());
    SmallVector<int64_t> strides, wantedStrides;
    int64_t offset, wantedOffset;
    if (type.getRank() != wanted.getRank() ||
        failed(type.getStridesAndOffset(strides, offset)) ||
        failed(wanted.getStridesAndOffset(wantedStrides, wantedOffset)))
      return buffer;
    auto data = memref::ExtractStridedMetadataOp::create(builder, loc, buffer);
    SmallVector<OpFoldResult> sizes = data.getConstifiedMixedSizes(),
                              steps = data.getConstifiedMixedStrides();
    for (int64_t d = 0; d < type.getRank(); ++d)
      if (type.getDimSize(d) == 1 && wantedStrides[d] == 1) {
        strides[d] = 1;
        steps[d] = builder.getIndexAttr(1);
      }
    auto result = MemRefType::get(
        type.getShape(), type.getElementType(),
        StridedLayoutAttr::get(builder.getContext(), offset, strides),
        type.getMemorySpace());
    return memref::ReinterpretCastOp::create(
        builder, loc, result, data.getBaseBuffer(),
        data.getConstifiedMixedOffset(), sizes, steps);
  }

  LogicalResult replace(KernelCallOp call, SymbolTable &symbols,
                        llvm::DenseMap<Attribute, func::FuncOp> &kernels) {
    Attribute key = call.getKernel();
    SmallVector<MemRefType> types = getKernelArgumentTypes(key);
    OpBuilder builder(call);
    SmallVector<Value> operands;
    for (auto [operand, type] : llvm::zip_equal(call->getOperands(), types)) {
      auto from = llvm::dyn_cast<MemRefType>(operand.getType());
      if (from && !memref::CastOp::areCastCompatible(from, type)) {
        operand = withUnitStrides(builder, call.getLoc(), operand, type);
        from = llvm::cast<MemRefType>(operand.getType());
      }
      if (!from || !memref::CastOp::areCastCompatible(from, type))
        return call.emitOpError()
               << "needs a buffer of " << type << ", has " << operand.getType();
      operands.push_back(from == type
                             ? operand
                             : Value(memref::CastOp::create(
                                   builder, call.getLoc(), type, operand)));
    }
    func::FuncOp &kernel = kernels[key];
    if (!kernel) {
      OpBuilder moduleBuilder = OpBuilder::atBlockEnd(
          llvm::cast<ModuleOp>(symbols.getOp()).getBody());
      kernel = emitKernel(moduleBuilder, builder.getUnknownLoc(), key,
                          getKernelName(key));
      symbols.insert(kernel);
    }
    TaskCount count = buildTaskCount(builder, call.getLoc(), key, operands);
    LaunchOp::create(builder, call.getLoc(),
                     FlatSymbolRefAttr::get(kernel.getSymNameAttr()),
                     count.tasks, count.grain, operands);
    if (llvm::isa<AppendAttr>(key))
      countAppended(builder, call.getLoc(), symbols, operands);
    call.erase();
    return success();
  }
};
} // namespace

std::unique_ptr<Pass> cpu::createEmitKernelsPass() {
  return std::make_unique<EmitKernelsPass>();
}

void cpu::registerKernelPasses() {
  PassRegistration<EmitKernelsPass>();
  registerPass([] { return createAssignKernelsPass(); });
  registerPass([] { return createAssignProductsPass(); });
}
