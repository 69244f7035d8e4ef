//===- ffn-opt.cpp - Pass driver ------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// mlir-opt for our dialects that reads ONNX too. A model is imported in a
// context of its own and handed to the pass driver as bytecode in memory, which
// is cheap because weights stay in their files. The context of the driver
// shares the WeightStore of the import, so that what was checked is what is
// read, and derived weights are not lost on the way.
//
// Exit codes: 0 done, 1 a diagnostic, 2 wrong use, 4 a pass broke its bound
// (--ffn-check-passes).
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Export/SaveModule.h"
#include "ffn-mlir/Import/ImportFlags.h"
#include "ffn-mlir/InitAll.h"
#include "ffn-mlir/Interpreter/CheckPasses.h"
#include "ffn-mlir/Pipelines/ParsePipeline.h"
#include "ffn-mlir/Support/CommandLine.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "ffn-mlir/Support/StandardStreams.h"
#include "ffn-mlir/Support/TemporaryFolder.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "mlir/Bytecode/BytecodeWriter.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Support/FileUtilities.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;
namespace cl = llvm::cl;

namespace {
/// Runs after all passes: names the files of the weights for the output.
struct SaveWeightsPass
    : public PassWrapper<SaveWeightsPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(SaveWeightsPass)

  SaveWeightsPass(std::string output, ffn::SaveOptions options)
      : output(std::move(output)), options(std::move(options)) {}
  StringRef getArgument() const override { return "ffn-save-weights"; }
  StringRef getDescription() const override {
    return "Writes derived weights and names the weight files";
  }
  void runOnOperation() override {
    if (failed(ffn::prepareToSave(getOperation(), output, options)))
      signalPassFailure();
  }

  std::string output;
  ffn::SaveOptions options;
};

/// Gives every context of the driver one WeightStore.
struct ShareWeights : public DialectExtension<ShareWeights, ffn::FFNDialect> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ShareWeights)

  ShareWeights(std::shared_ptr<ffn::WeightStore> store)
      : store(std::move(store)) {}
  void apply(MLIRContext *, ffn::FFNDialect *dialect) const override {
    dialect->setWeightStore(store);
  }

  std::shared_ptr<ffn::WeightStore> store;
};
} // namespace

/// Imports `input` and returns the module as bytecode; null after diagnostics.
static std::unique_ptr<llvm::MemoryBuffer>
importAsBytecode(StringRef input, DialectRegistry &registry,
                 std::shared_ptr<ffn::WeightStore> &store) {
  MLIRContext context(registry);
  context.printOpOnDiagnostic(false);
  ffn::DiagnosticPrinter printer(&context, llvm::sys::path::filename(input),
                                 &llvm::errs());
  OwningOpRef<ModuleOp> module =
      ffn::importONNX(input, &context, ffn::getImportOptionsFromFlags());
  if (!module)
    return nullptr;
  store = context.getOrLoadDialect<ffn::FFNDialect>()->shareWeightStore();
  std::string bytes;
  llvm::raw_string_ostream os(bytes);
  if (failed(writeBytecodeToFile(*module, os)))
    return nullptr;
  return llvm::MemoryBuffer::getMemBufferCopy(os.str(), input);
}

/// The text of --pass-pipeline, an option of MLIR's driver.
static StringRef getPipelineText() {
  auto &options = cl::getRegisteredOptions();
  auto found = options.find("pass-pipeline");
  return found == options.end()
             ? StringRef()
             : StringRef(static_cast<cl::opt<std::string> *>(found->second)
                             ->getValue());
}

/// Adds the passes of the command line. A wrong one is told with code and
/// caret, as by the other tools.
static LogicalResult addPasses(const MlirOptMainConfig &config,
                               PassManager &pm) {
  StringRef text = getPipelineText();
  if (!text.empty() && failed(ffn::parsePipeline(text)))
    return failure();
  std::string message;
  ScopedDiagnosticHandler collect(pm.getContext(), [&](Diagnostic &diagnostic) {
    if (message.empty())
      message = StringRef(diagnostic.str()).split('\n').first.trim().str();
  });
  if (succeeded(config.setupPassPipeline(pm)))
    return success();
  llvm::errs() << "pipeline: error: " << message << " [FFN-P100]\n";
  return failure();
}

/// What the driver does not do with a module in text or bytecode: checks its
/// nodes as the importer does, and finds size and path of the @derived file
/// that it may bring along.
static LogicalResult checkParsed(llvm::MemoryBufferRef buffer,
                                 DialectRegistry &registry,
                                 ffn::WeightStore &store) {
  StringRef text = buffer.getBuffer();
  if (!text.contains("onnx") && !text.contains("derived"))
    return success();
  MLIRContext context(registry);
  context.allowUnregisteredDialects();
  context.printOpOnDiagnostic(false);
  auto sources = std::make_shared<llvm::SourceMgr>();
  sources->AddNewSourceBuffer(llvm::MemoryBuffer::getMemBuffer(buffer, false),
                              llvm::SMLoc());
  OwningOpRef<ModuleOp> module;
  {
    // The driver parses again and says what is wrong.
    ScopedDiagnosticHandler silence(&context, [](Diagnostic &) {});
    module = parseSourceFile<ModuleOp>(sources, ParserConfig(&context));
  }
  if (!module)
    return success();
  auto derived = module->lookupSymbol<ffn::FileOp>(ffn::kDerivedFile);
  if (derived && derived.getSize())
    store.adoptDerived(derived.getPath(), *derived.getSize());
  SourceMgrDiagnosticHandler printer(*sources, &context);
  return ffn::verifyParsedModule(*module, ffn::getImportOptionsFromFlags());
}

int main(int argc, char **argv) {
  ffn::guardStandardStreams();
  llvm::InitLLVM init(argc, argv);
  ffn::exitOnBrokenPipe();
  ffn::installInterruptHandlers();
  ffn::hideLibraryOptions();
  DialectRegistry registry;
  ffn::registerAllDialects(registry);
  ffn::registerAllPasses();

  cl::opt<std::string> input(cl::Positional, cl::desc("<input file>"),
                             cl::init("-"));
  cl::opt<std::string> output("o", cl::desc("Output filename"),
                              cl::value_desc("filename"), cl::init("-"));
  cl::opt<std::string> weightsOut(
      "weights-out", cl::value_desc("file"),
      cl::desc("File for derived weights (default: <output>.weights)"));
  cl::opt<std::string> weightsDir(
      "weights-dir", cl::value_desc("folder"),
      cl::desc("Folder that weight files of MLIR input are relative to "
               "(default: that of the input)"));
  ffn::registerImportFlags();
  ffn::registerCheckPassesFlags();
  std::string header =
      registerCLIOptions("ffn-mlir modular optimizer driver; reads .mlir, "
                         ".mlirbc and .onnx\n",
                         registry);
  if (!cl::ParseCommandLineOptions(argc, argv, header, &llvm::errs()))
    return 2;
  MlirOptMainConfig config = MlirOptMainConfig::createFromCLOptions();
  if (config.shouldShowDialects() || config.shouldListPasses())
    return failed(MlirOptMain(argc, argv, input, output, registry));

  std::string error;
  std::unique_ptr<llvm::MemoryBuffer> buffer = openInputFile(input, &error);
  if (!buffer) {
    llvm::errs() << llvm::sys::path::filename(input) << ": error: " << error
                 << " [FFN-I105]\n";
    return 1;
  }
  ArrayRef<uint8_t> head(
      reinterpret_cast<const uint8_t *>(buffer->getBufferStart()),
      std::min<size_t>(buffer->getBufferSize(), 1024));
  bool isONNX =
      input != "-" &&
      (!head.empty() || llvm::sys::path::extension(input) == ".onnx") &&
      ffn::detectModelFormat(head) == ffn::ModelFormat::ONNX;

  std::shared_ptr<ffn::WeightStore> store;
  if (isONNX) {
    buffer = importAsBytecode(input, registry, store);
    if (!buffer)
      return 1;
  } else {
    store = std::make_shared<ffn::WeightStore>();
    store->setBaseDirectory(!weightsDir.empty() ? StringRef(weightsDir)
                            : input == "-"
                                ? StringRef()
                                : llvm::sys::path::parent_path(input));
    if (failed(checkParsed(*buffer, registry, *store)))
      return 1;
  }
  registry.addExtension(TypeID::get<ShareWeights>(),
                        std::make_unique<ShareWeights>(store));

  ffn::SaveOptions saveOptions;
  saveOptions.weightsOut = weightsOut;
  // Text from a file to stdout keeps its paths, which fit where it came from.
  saveOptions.keepPaths = !isONNX && output == "-";
  MlirOptMainConfig userConfig = config;
  bool isWrongUse = false;
  config.setPassPipelineSetupFn([&](PassManager &pm) {
    isWrongUse = failed(addPasses(userConfig, pm));
    if (isWrongUse)
      return failure();
    ffn::addPassChecksFromFlags(pm);
    if (pm.getOpAnchorName() == ModuleOp::getOperationName())
      pm.addPass(std::make_unique<SaveWeightsPass>(output, saveOptions));
    return success();
  });
  std::unique_ptr<llvm::ToolOutputFile> out = openOutputFile(output, &error);
  if (!out) {
    llvm::errs() << output << ": error: " << error << " [FFN-O101]\n";
    return 1;
  }
  LogicalResult result =
      MlirOptMain(out->os(), std::move(buffer), registry, config);
  // Of stdout the guard tells.
  if (output != "-" && !ffn::finishStream(out->os(), error)) {
    llvm::errs() << output << ": error: cannot be written: " << error
                 << " [FFN-O101]\n";
    return 1;
  }
  if (failed(result))
    return isWrongUse ? 2 : ffn::hasBrokenPassBound() ? 4 : 1;
  out->keep();
  return 0;
}
