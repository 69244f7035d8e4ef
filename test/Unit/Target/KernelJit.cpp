//===- KernelJit.cpp - Running kernels inside a test ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "KernelJit.h"
#include "ffn-mlir/InitAll.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/All.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/DialectConversion.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"

using namespace mlir;
using namespace mlir::ffn::cpu;

namespace ffn_test {

int64_t jitThreads = 1;

Buffer::Buffer(void *data, std::vector<int64_t> sizes,
               std::vector<int64_t> strides, int64_t offset) {
  words.assign(2, reinterpret_cast<int64_t>(data));
  words.push_back(offset);
  words.insert(words.end(), sizes.begin(), sizes.end());
  words.insert(words.end(), strides.begin(), strides.end());
}

static std::vector<int64_t> rowMajor(const std::vector<int64_t> &sizes) {
  std::vector<int64_t> strides(sizes.size(), 1);
  for (size_t i = sizes.size(); i-- > 1;)
    strides[i - 1] = strides[i] * sizes[i];
  return strides;
}

Buffer::Buffer(void *data, std::vector<int64_t> sizes)
    : Buffer(data, sizes, rowMajor(sizes)) {}

/// The contract of the runtime, without threads: shares in reverse order, so
/// that a dependence between tasks would be seen.
static void parallelFor(void (*body)(void *, int64_t, int64_t), void *args,
                        int64_t tasks, int64_t grain) {
  if (grain < 1)
    abort();
  for (int64_t i = jitThreads; i-- > 0;)
    if (tasks * i / jitThreads < tasks * (i + 1) / jitThreads)
      body(args, tasks * i / jitThreads, tasks * (i + 1) / jitThreads);
}

MLIRContext &getContext() {
  static MLIRContext *ctx = [] {
    DialectRegistry registry;
    ffn::registerAllDialects(registry);
    registerAllToLLVMIRTranslations(registry);
    auto *ctx = new MLIRContext(registry);
    ctx->loadAllAvailableDialects();
    return ctx;
  }();
  return *ctx;
}

std::vector<CpuTarget> getHostLevels(bool forBytes) {
  std::vector<CpuTarget> levels;
  for (Level level :
       {Level::Avx2, Level::Avx2Vnni, Level::Avx512, Level::Avx512Vnni})
    if ((forBytes || !hasVnni(level)) &&
        CpuTarget{level}.getMissingOnHost().empty())
      levels.push_back(CpuTarget{level});
  return levels;
}

namespace {
/// convert-to-llvm for launches, next to the other conversions.
struct LowerLaunchPass : PassWrapper<LowerLaunchPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(LowerLaunchPass)
  void runOnOperation() override {
    LLVMTypeConverter converter(&getContext());
    RewritePatternSet patterns(&getContext());
    populateLaunchToLLVMPatterns(converter, patterns);
    ConversionTarget target(getContext());
    target.markUnknownOpDynamicallyLegal([](Operation *) { return true; });
    target.addIllegalOp<LaunchOp>();
    if (failed(applyPartialConversion(getOperation(), target,
                                      std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace

KernelJit::KernelJit() = default;
KernelJit::~KernelJit() = default;

bool KernelJit::compile(ModuleOp module, CpuTarget target) {
  PassManager pm(module.getContext());
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(std::make_unique<LowerLaunchPass>());
  pm.addPass(memref::createExpandStridedMetadataPass());
  pm.addPass(createLowerAffinePass());
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createConvertMathToLLVMPass());
  pm.addPass(createFinalizeMemRefToLLVMConversionPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createConvertFuncToLLVMPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  if (failed(pm.run(module)))
    return false;

  static bool initialised = [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    return true;
  }();
  (void)initialised;
  auto llvmCtx = std::make_unique<llvm::LLVMContext>();
  std::unique_ptr<llvm::Module> code =
      translateModuleToLLVMIR(module, *llvmCtx);
  if (!code)
    return false;

  llvm::orc::JITTargetMachineBuilder builder(
      llvm::Triple("x86_64-unknown-linux-gnu"));
  builder.setCPU("x86-64");
  llvm::SmallVector<llvm::StringRef> features;
  std::string all = target.getFeatures();
  llvm::StringRef(all).split(features, ',');
  builder.addFeatures(
      std::vector<std::string>(features.begin(), features.end()));
  builder.setCodeGenOptLevel(llvm::CodeGenOptLevel::Aggressive);
  auto machine = builder.createTargetMachine();
  if (!machine) {
    llvm::errs() << llvm::toString(machine.takeError()) << "\n";
    return false;
  }
  code->setDataLayout((*machine)->createDataLayout());
  code->setTargetTriple(llvm::Triple("x86_64-unknown-linux-gnu"));
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder passes(machine->get());
  passes.registerModuleAnalyses(modules);
  passes.registerCGSCCAnalyses(components);
  passes.registerFunctionAnalyses(functions);
  passes.registerLoopAnalyses(loops);
  passes.crossRegisterProxies(loops, functions, components, modules);
  passes.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3)
      .run(*code, modules);
  if (const char *path = getenv("FFN_DUMP_KERNEL")) {
    std::error_code error;
    llvm::raw_fd_ostream os(path, error);
    code->print(os, nullptr);
  }

  auto created =
      llvm::orc::LLJITBuilder().setJITTargetMachineBuilder(builder).create();
  if (!created) {
    llvm::errs() << llvm::toString(created.takeError()) << "\n";
    return false;
  }
  jit = std::move(*created);
  llvm::orc::SymbolMap symbols;
  symbols[jit->mangleAndIntern(kParallelFor)] = {
      llvm::orc::ExecutorAddr::fromPtr(&parallelFor),
      llvm::JITSymbolFlags::Exported};
  llvm::cantFail(
      jit->getMainJITDylib().define(llvm::orc::absoluteSymbols(symbols)));
  if (auto error = jit->addIRModule(
          llvm::orc::ThreadSafeModule(std::move(code), std::move(llvmCtx)))) {
    llvm::errs() << llvm::toString(std::move(error)) << "\n";
    return false;
  }
  return true;
}

bool KernelJit::compileKernel(MLIRContext &ctx, Attribute key) {
  Location loc = UnknownLoc::get(&ctx);
  OwningOpRef<ModuleOp> module = ModuleOp::create(loc);
  OpBuilder builder = OpBuilder::atBlockEnd(module->getBody());
  kernel = getKernelName(key);
  func::FuncOp func = emitKernel(builder, loc, key, kernel);
  func.setPublic();
  StringRef cInterface = LLVM::LLVMDialect::getEmitCWrapperAttrName();
  func->setAttr(cInterface, builder.getUnitAttr());

  // count(operands..., out: memref<2xindex>)
  SmallVector<Type> types(func.getArgumentTypes().drop_back(2));
  types.push_back(MemRefType::get({2}, builder.getIndexType()));
  auto count = func::FuncOp::create(builder, loc, "count",
                                    builder.getFunctionType(types, {}));
  count->setAttr(cInterface, builder.getUnitAttr());
  ImplicitLocOpBuilder b(loc, builder);
  b.setInsertionPointToStart(count.addEntryBlock());
  auto args = count.getArguments();
  TaskCount tasks = buildTaskCount(b, loc, key, args.drop_back(1));
  Value counts[] = {tasks.tasks, tasks.grain};
  for (auto [i, value] : llvm::enumerate(counts))
    memref::StoreOp::create(
        b, value, args.back(),
        ValueRange{arith::ConstantIndexOp::create(b, i).getResult()});
  func::ReturnOp::create(b);
  Level level = getKernelLevel(key);
  if (failed(module->verify()) || !compile(*module, CpuTarget{level}))
    return false;
  kernelAddress = lookup("_mlir_ciface_" + kernel);
  countAddress = lookup("_mlir_ciface_count");
  return kernelAddress && countAddress;
}

void *KernelJit::lookup(const std::string &name) {
  auto address = jit->lookup(name);
  if (!address) {
    llvm::errs() << llvm::toString(address.takeError()) << "\n";
    return nullptr;
  }
  return address->toPtr<void *>();
}

static void invoke(void *f, const std::vector<Buffer *> &b, int64_t begin,
                   int64_t end) {
  switch (b.size()) {
  case 2:
    return reinterpret_cast<void (*)(void *, void *, int64_t, int64_t)>(f)(
        b[0]->get(), b[1]->get(), begin, end);
  case 3:
    return reinterpret_cast<void (*)(void *, void *, void *, int64_t, int64_t)>(
        f)(b[0]->get(), b[1]->get(), b[2]->get(), begin, end);
  case 4:
    return reinterpret_cast<void (*)(void *, void *, void *, void *, int64_t,
                                     int64_t)>(f)(
        b[0]->get(), b[1]->get(), b[2]->get(), b[3]->get(), begin, end);
  case 5:
    return reinterpret_cast<void (*)(void *, void *, void *, void *, void *,
                                     int64_t, int64_t)>(f)(
        b[0]->get(), b[1]->get(), b[2]->get(), b[3]->get(), b[4]->get(), begin,
        end);
  case 6:
    return reinterpret_cast<void (*)(void *, void *, void *, void *, void *,
                                     void *, int64_t, int64_t)>(f)(
        b[0]->get(), b[1]->get(), b[2]->get(), b[3]->get(), b[4]->get(),
        b[5]->get(), begin, end);
  default:
    abort();
  }
}

void KernelJit::call(std::vector<Buffer *> buffers, const std::string &name) {
  void *address = lookup("_mlir_ciface_" + name);
  if (!address)
    abort();
  // Two integers more than the function takes do no harm.
  invoke(address, buffers, 0, 0);
}

void KernelJit::run(std::vector<Buffer *> buffers, int64_t begin, int64_t end) {
  invoke(kernelAddress, buffers, begin, end);
}

int64_t KernelJit::countTasks(std::vector<Buffer *> buffers) {
  int64_t result[2] = {-1, -1};
  Buffer out(result, {2});
  buffers.push_back(&out);
  invoke(countAddress, buffers, 0, 0);
  if (result[1] < 1)
    abort();
  return result[0];
}

} // namespace ffn_test
