//===- ffn-translate.cpp - ONNX in and out --------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Exit codes: 0 done, 1 a coded diagnostic, 2 wrong use. stdout carries the
// result only and stays empty on failure.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Export/Exporter.h"
#include "ffn-mlir/Export/SaveModule.h"
#include "ffn-mlir/Import/ImportFlags.h"
#include "ffn-mlir/InitAll.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "ffn-mlir/Support/StandardStreams.h"
#include "ffn-mlir/Support/TemporaryFolder.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/Path.h"

using namespace mlir;
namespace cl = llvm::cl;

enum class Action { Import, Export, Both };

static int wrongUse(const llvm::Twine &what) {
  llvm::errs() << "ffn-translate: " << what << "; see --help\n";
  return 2;
}

int main(int argc, char **argv) {
  ffn::guardStandardStreams();
  llvm::InitLLVM init(argc, argv);
  ffn::exitOnBrokenPipe();
  ffn::installInterruptHandlers();
  cl::OptionCategory category("Translation options");
  cl::opt<std::string> input(cl::Positional, cl::desc("model.onnx|model.mlir"),
                             cl::Required, cl::cat(category));
  cl::opt<std::string> output(
      "o", cl::desc("Output file; stdout for MLIR text if missing"),
      cl::value_desc("file"), cl::cat(category));
  cl::opt<Action> action(
      cl::desc("What to do, one of:"), cl::cat(category),
      cl::values(
          clEnumValN(Action::Import, "import-onnx", "Read ONNX, write MLIR"),
          clEnumValN(Action::Export, "export-onnx", "Read MLIR, write ONNX"),
          clEnumValN(Action::Both, "onnx-to-onnx",
                     "Read ONNX, write ONNX: what import and export keep")));
  cl::opt<bool> bytecode("emit-bytecode", cl::cat(category),
                         cl::desc("Write MLIR as bytecode"));
  cl::opt<std::string> weightsOut(
      "weights-out", cl::value_desc("file"), cl::cat(category),
      cl::desc("File for derived weights (default: <output>.weights)"));
  cl::opt<std::string> weightsDir(
      "weights-dir", cl::value_desc("folder"), cl::cat(category),
      cl::desc("Folder that weight files of MLIR input are relative to "
               "(default: that of the input)"));
  cl::opt<uint64_t> threshold(
      "external-data-threshold", cl::value_desc("bytes"), cl::cat(category),
      cl::init(ffn::ExportOptions().externalDataThreshold),
      cl::desc(
          "Weights above this size in all go to <output>.data; 0: always"));
  ffn::registerImportFlags();
  cl::HideUnrelatedOptions({&category, &ffn::getImportFlagCategory()});
  if (!cl::ParseCommandLineOptions(
          argc, argv, "Translates between ONNX and MLIR\n", &llvm::errs()))
    return 2;
  if (!action.getNumOccurrences())
    return wrongUse("needs --import-onnx, --export-onnx or --onnx-to-onnx");
  bool writesText = action == Action::Import && !bytecode;
  if (!writesText && (output.empty() || output == "-"))
    return wrongUse("binary output needs -o <file>");

  DialectRegistry registry;
  ffn::registerAllDialects(registry);
  MLIRContext context(registry);
  context.printOpOnDiagnostic(false);
  ffn::DiagnosticPrinter printer(&context, llvm::sys::path::filename(input),
                                 &llvm::errs());
  ffn::ImportOptions importOptions = ffn::getImportOptionsFromFlags();
  OwningOpRef<ModuleOp> module =
      action == Action::Export
          ? ffn::loadModule(input, &context, importOptions, weightsDir)
          : ffn::importONNX(input, &context, importOptions);
  if (!module)
    return 1;
  if (action == Action::Import) {
    ffn::SaveOptions options;
    options.bytecode = bytecode;
    options.weightsOut = weightsOut;
    return failed(ffn::saveModule(
        *module, output.empty() ? std::string("-") : output, options));
  }
  ffn::ExportOptions options;
  options.externalDataThreshold = threshold;
  options.inferShapes = importOptions.inferShapes;
  return failed(ffn::exportONNX(*module, output, options));
}
