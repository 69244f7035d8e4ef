//===- Compile.cpp - A model to a native artefact -------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Pipelines/Compile.h"
#include "ffn-mlir/Conversion/ModelToLinalg.h"
#include "ffn-mlir/Dialect/CPU/IR/CPU.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/InitAll.h"
#include "ffn-mlir/Support/OutputPath.h"
#include "ffn-mlir/Support/TemporaryFolder.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "ffn-mlir/Target/CPU/Codegen.h"
#include "ffn-mlir/Target/CPU/DenseWeight.h"
#include "ffn-mlir/Target/CPU/Kernels.h"
#include "ffn-mlir/Target/CPU/Packing.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Bufferization/Transforms/OneShotAnalysis.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/Bufferization/Transforms/Transforms.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/GlobalVariable.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;
using namespace mlir::ffn;

std::optional<EmitKind> mlir::ffn::parseEmitKind(StringRef name) {
  return llvm::StringSwitch<std::optional<EmitKind>>(name)
      .Case("so", EmitKind::SharedLibrary)
      .Case("exe", EmitKind::Executable)
      .Case("obj", EmitKind::Object)
      .Case("llvm", EmitKind::LLVMIR)
      .Case("linalg", EmitKind::Linalg)
      .Default(std::nullopt);
}

namespace {
class Compiler {
public:
  Compiler(ModuleOp source, const CompileOptions &options, StringRef path)
      : source(source), options(options), // The linker takes what begins with a
                                          // minus for an option.
        output((path.starts_with("-") ? "./" + path : path).str()),
        path(output) {}
  LogicalResult run();
  LogicalResult adopt(StringRef made);

private:
  LogicalResult fail(const llvm::Twine &what) {
    return source.emitError(what) << " [FFN-C301]";
  }
  LogicalResult createFolder();
  LogicalResult writeWeights();
  void bindWeights();
  LogicalResult runPasses(PassManager &passes);
  LogicalResult bufferize(cpu::Level level);
  void embedDescriptor(llvm::Module &code);
  LogicalResult writeText(StringRef text);
  LogicalResult link(ArrayRef<char> object);
  LogicalResult publish(StringRef from, StringRef to);

  ModuleOp source;
  const CompileOptions options;
  const std::string output;
  StringRef path;
  TemporaryFolder folder; // beside the output
  std::unique_ptr<LoweredModel> model;
  cpu::PackedImage image;
  bool beside = false;
};
} // namespace

LogicalResult Compiler::createFolder() {
  // A rename would put the artefact in the place of a device or a pipe.
  llvm::sys::fs::file_status status;
  if (!llvm::sys::fs::status(path, status) &&
      !llvm::sys::fs::is_regular_file(status))
    return source.emitError("cannot write '")
           << path << "': it is there and not a regular file [FFN-O101]";
  if (failed(checkOutputPath(source, path)) ||
      failed(checkOutputPath(source, (path + ".weights").str())))
    return failure();
  if (std::error_code code = folder.createBeside(path))
    return fail("cannot write beside '" + path + "': " + code.message());
  return success();
}

/// Streams the packed weights into an object file or the file that will lie
/// beside the artefact.
LogicalResult Compiler::writeWeights() {
  if (failed(image.collect(*model->module)))
    return failure();
  uint64_t size = image.getSize();
  ModelDescriptor &descriptor = model->descriptor;
  descriptor.weightBytes = size;
  beside = size > options.maxEmbeddedWeights;
  if (beside)
    descriptor.weightsFile =
        (llvm::sys::path::filename(path) + ".weights").str();
  WeightsObject object(folder.file("weights.o"), beside ? 0 : size);
  if (!object.isOpen())
    return fail("cannot write weights: " + llvm::Twine(object.error));
  std::error_code code;
  std::optional<llvm::raw_fd_ostream> file;
  if (beside)
    file.emplace(folder.file("weights"), code);
  if (code)
    return fail("cannot write weights: " + code.message());
  uint32_t checksum = 0;
  auto sink = [&](ArrayRef<char> bytes) -> LogicalResult {
    checksum = crc32c(bytes, checksum);
    if (!beside)
      return object.write(bytes);
    file->write(bytes.data(), bytes.size());
    return failure(file->has_error());
  };
  auto evaluate = [](Value expression, SmallVectorImpl<char> &bytes) {
    FailureOr<DenseWeight> weight = evaluateWeight(expression);
    if (failed(weight))
      return failure();
    bytes.assign(weight->bytes().begin(), weight->bytes().end());
    return success();
  };
  LogicalResult written = image.write(evaluate, sink, options.threads);
  if (file) {
    file->close();
    if (file->has_error()) {
      std::string text = file->error().message();
      file->clear_error();
      return fail("cannot write weights: " + text);
    }
  }
  if (failed(written)) {
    if (!object.error.empty())
      return fail("cannot write weights: " + llvm::Twine(object.error));
    return failure();
  }
  if (failed(object.finish()))
    return fail("cannot write weights: " + llvm::Twine(object.error));
  descriptor.weightsChecksum = checksum;
  return success();
}

/// Views of the image become views of the last argument of the entry function.
void Compiler::bindWeights() {
  image.replaceRequests();
  auto entry = model->module->lookupSymbol<func::FuncOp>(kModelEntry);
  OpBuilder builder(entry.getContext());
  builder.setInsertionPointToStart(&entry.getBody().front());
  Location loc = entry.getLoc();
  int64_t index =
      model->descriptor.inputs.size() + model->descriptor.outputs.size();
  Value pointer =
      descriptorWord(builder, loc, entry.getArgument(0), index, 1,
                     LLVM::LLVMPointerType::get(entry.getContext()));
  auto bytes = MemRefType::get({ShapedType::kDynamic}, builder.getI8Type());
  Value base = wrapPointer(
      builder, loc, pointer, bytes,
      {builder.getIndexAttr(static_cast<int64_t>(image.getSize()))});
  SmallVector<cpu::PackedWeightOp> views;
  entry.walk([&](cpu::PackedWeightOp op) { views.push_back(op); });
  for (cpu::PackedWeightOp op : views) {
    builder.setInsertionPoint(op);
    Value offset =
        arith::ConstantIndexOp::create(builder, op.getLoc(), op.getOffset());
    Value view = memref::ViewOp::create(builder, op.getLoc(),
                                        llvm::cast<MemRefType>(op.getType()),
                                        base, offset, ValueRange{});
    op.replaceAllUsesWith(view);
    op.erase();
  }
  // Weight expressions have served.
  SmallVector<Operation *> dead;
  entry.walk([&](WeightExprInterface op) { dead.push_back(op); });
  for (Operation *op : llvm::reverse(dead))
    if (op->use_empty())
      op->erase();
  for (FileOp file :
       llvm::make_early_inc_range(model->module->getOps<FileOp>()))
    file.erase();
}

/// What a model may contain was judged when it was lowered: an error of a pass
/// after that is a defect of ours, told once.
LogicalResult Compiler::runPasses(PassManager &passes) {
  std::string first;
  LogicalResult result = success();
  {
    ScopedDiagnosticHandler handler(
        source.getContext(), [&](Diagnostic &diagnostic) {
          if (diagnostic.getSeverity() == DiagnosticSeverity::Error &&
              first.empty())
            first = diagnostic.str();
          return success();
        });
    result = passes.run(*model->module);
  }
  if (failed(result))
    return source.emitError("a defect of ffn-mlir, please report it: ")
           << first << " [FFN-C199]";
  return success();
}

LogicalResult Compiler::bufferize(cpu::Level level) {
  MLIRContext *ctx = source.getContext();
  PassManager tensors(ctx);
  tensors.addPass(createCSEPass());
  if (options.useKernels)
    tensors.addPass(cpu::createAssignProductsPass(level));
  tensors.addPass(cpu::createFuseElementwisePass());
  tensors.addPass(createCSEPass());
  tensors.addPass(createCanonicalizerPass());
  tensors.addPass(bufferization::createEmptyTensorEliminationPass());
  if (failed(runPasses(tensors)))
    return failure();
  bufferization::OneShotBufferizationOptions oneShot;
  oneShot.bufferizeFunctionBoundaries = false;
  oneShot.bufferAlignment = 64;
  oneShot.allowReturnAllocsFromLoops = true;
  bufferization::BufferizationState state;
  if (failed(
          bufferization::runOneShotBufferize(*model->module, oneShot, state)))
    return source.emitError("cannot assign buffers [FFN-C199]");
  PassManager buffers(ctx);
  buffers.addPass(createCSEPass());
  buffers.addPass(createCanonicalizerPass());
  buffers.addPass(createCSEPass());
  cpu::buildLowerToLLVMPipeline(buffers);
  return runPasses(buffers);
}

void Compiler::embedDescriptor(llvm::Module &code) {
  std::vector<uint8_t> bytes;
  std::string error;
  (void)model->descriptor.serialize(bytes, error);
  llvm::LLVMContext &ctx = code.getContext();
  auto add = [&](StringRef name, llvm::Constant *value) {
    auto *global = new llvm::GlobalVariable(
        code, value->getType(), /*isConstant=*/true,
        llvm::GlobalValue::ExternalLinkage, value, name);
    global->setVisibility(llvm::GlobalValue::HiddenVisibility);
    global->setAlignment(llvm::Align(8));
  };
  add("ffn_model_descriptor",
      llvm::ConstantDataArray::get(ctx, ArrayRef<uint8_t>(bytes)));
  add("ffn_model_descriptor_size",
      llvm::ConstantInt::get(llvm::Type::getInt64Ty(ctx), bytes.size()));

  // What profiles call the bodies of launches.
  auto *pointer = llvm::PointerType::get(ctx, 0);
  auto *entryType = llvm::StructType::get(pointer, pointer);
  SmallVector<llvm::Constant *> kernels;
  for (llvm::Function &function : code) {
    StringRef name = function.getName();
    if (function.isDeclaration() || !name.consume_back(cpu::kLaunchBodySuffix))
      continue;
    llvm::Constant *text = llvm::ConstantDataArray::getString(ctx, name);
    auto *label = new llvm::GlobalVariable(
        code, text->getType(), /*isConstant=*/true,
        llvm::GlobalValue::PrivateLinkage, text, "kernel_name");
    kernels.push_back(llvm::ConstantStruct::get(entryType, {&function, label}));
  }
  add("ffn_model_kernels",
      llvm::ConstantArray::get(llvm::ArrayType::get(entryType, kernels.size()),
                               kernels));
  add("ffn_model_num_kernels",
      llvm::ConstantInt::get(llvm::Type::getInt64Ty(ctx), kernels.size()));
}

LogicalResult Compiler::publish(StringRef from, StringRef to) {
  if (std::error_code code = llvm::sys::fs::rename(from, to))
    return fail("cannot write '" + to + "': " + code.message());
  return success();
}

LogicalResult Compiler::writeText(StringRef text) {
  std::string from = folder.file("output");
  std::error_code code;
  llvm::raw_fd_ostream os(from, code);
  if (!code) {
    os << text;
    os.close();
    code = os.error();
    os.clear_error();
  }
  if (code)
    return fail("cannot write '" + path + "': " + code.message());
  return publish(from, path);
}

LogicalResult Compiler::link(ArrayRef<char> object) {
  std::string kernels = folder.file("kernels.o");
  {
    std::error_code code;
    llvm::raw_fd_ostream os(kernels, code);
    if (!code) {
      os.write(object.data(), object.size());
      os.close();
      code = os.error();
      os.clear_error();
    }
    if (code)
      return fail("cannot write object code: " + code.message());
  }
  LinkOptions linking;
  linking.objects = {kernels, folder.file("weights.o")};
  linking.executable = options.emit == EmitKind::Executable;
  linking.relocatable = options.emit == EmitKind::Object;
  if (!linking.relocatable)
    linking.archives = {getLibraryFolder() + "/libffn_rt.a"};
  if (linking.executable)
    linking.archives.push_back(getLibraryFolder() + "/libffn_rt_main.a");
  else if (!linking.relocatable)
    linking.exports = {"ffn_get_api", "ffn_rt_pool_v1"};
  linking.output = folder.file("artefact");
  std::string error;
  if (failed(linkArtefact(linking, error)))
    return source.emitError("cannot link: ") << error << " [FFN-C302]";
  if (beside &&
      failed(publish(folder.file("weights"), (path + ".weights").str())))
    return failure();
  if (!beside)
    llvm::sys::fs::remove(path + ".weights");
  return publish(linking.output, path);
}

LogicalResult Compiler::run() {
  if (path.empty())
    return fail("no output file given");
  FailureOr<cpu::CpuTarget> target = cpu::CpuTarget::parse(options.cpu);
  if (failed(target))
    return source.emitError("unknown CPU level '")
           << options.cpu << "', or this machine lacks it: use "
           << cpu::CpuTarget::getChoices() << " [FFN-C303]";
  LowerOptions lowering;
  if (options.useKernels)
    lowering.kernels = target->level;
  model = lowerModelToLinalg(source, lowering);
  if (!model)
    return failure();
  if (failed(createFolder()))
    return failure();
  if (options.emit == EmitKind::Linalg) {
    std::string text;
    llvm::raw_string_ostream os(text);
    model->module->print(os);
    return writeText(text + "\n");
  }
  if (failed(writeWeights()))
    return failure();
  bindWeights();
  ModelDescriptor &descriptor = model->descriptor;
  descriptor.producer = "ffn-mlir 0.1.0";
  descriptor.level = target->getName().str();
  SmallVector<StringRef> features;
  StringRef(target->getFeatures()).split(features, ',');
  std::string featureText = target->getFeatures();
  features.clear();
  StringRef(featureText).split(features, ',', -1, /*KeepEmpty=*/false);
  for (StringRef feature : features)
    descriptor.features.push_back(feature.ltrim('+').str());
  descriptor.numerics =
      "f32: every element is one fixed order of operations, whatever the "
      "threads and the batch; denormals honoured; exp, erf, tanh within 3 ulp";
  bool roundsRows = false;
  model->module->walk([&](cpu::KernelCallOp call) {
    roundsRows |= llvm::isa<cpu::QuantizeAttr>(call.getKernel());
  });
  if (roundsRows)
    descriptor.numerics += "; inputs of products with integer weights rounded "
                           "to 8 bits by rows, sums of codes exact";
  std::vector<uint8_t> bytes;
  std::string error;
  if (failed(descriptor.serialize(bytes, error)))
    return source.emitError(error) << " [FFN-C103]";
  if (failed(bufferize(target->level)))
    return failure();
  cpu::ObjectOptions emission{*target, options.optLevel};
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> code =
      cpu::translateToLLVM(*model->module, context, emission);
  if (!code)
    return failure();
  embedDescriptor(*code);
  if (options.emit == EmitKind::LLVMIR) {
    std::string text;
    llvm::raw_string_ostream os(text);
    code->print(os, nullptr);
    return writeText(text);
  }
  SmallVector<char> object;
  if (failed(cpu::emitObject(*model->module, *code, emission, object)))
    return failure();
  return link(object);
}

LogicalResult Compiler::adopt(StringRef made) {
  if (failed(createFolder()))
    return failure();
  std::string copy = folder.file("artefact");
  std::error_code code = llvm::sys::fs::copy_file(made, copy);
  if (!code)
    if (auto permissions = llvm::sys::fs::getPermissions(made))
      code = llvm::sys::fs::setPermissions(copy, *permissions);
  if (code)
    return fail("cannot write beside '" + path + "': " + code.message());
  llvm::sys::fs::remove(path + ".weights");
  return publish(copy, path);
}

void mlir::ffn::registerCompileDialects(DialectRegistry &registry) {
  registry.insert<affine::AffineDialect, arith::ArithDialect,
                  bufferization::BufferizationDialect, cf::ControlFlowDialect,
                  cpu::CPUDialect, func::FuncDialect, linalg::LinalgDialect,
                  LLVM::LLVMDialect, math::MathDialect, memref::MemRefDialect,
                  scf::SCFDialect, tensor::TensorDialect, ub::UBDialect,
                  vector::VectorDialect>();
}

LogicalResult mlir::ffn::compileModule(ModuleOp module,
                                       const CompileOptions &options,
                                       StringRef path) {
  DialectRegistry registry;
  registerCompileDialects(registry);
  MLIRContext *ctx = module.getContext();
  ctx->appendDialectRegistry(registry);
  for (StringRef name : registry.getDialectNames())
    ctx->getOrLoadDialect(name);
  return Compiler(module, options, path).run();
}

LogicalResult mlir::ffn::adoptArtefact(ModuleOp module, StringRef made,
                                       const CompileOptions &options,
                                       StringRef path) {
  return Compiler(module, options, path).adopt(made);
}
