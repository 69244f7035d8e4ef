//===- Compile.cpp - ffnc compile -----------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Verb.h"
#include "ffn-mlir/Export/Exporter.h"
#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::ffn::driver;
namespace cl = llvm::cl;

static int compile();
static Verb verb("compile", "rewrites a model by a pass pipeline", compile);
static cl::opt<std::string> model(cl::Positional, cl::Required,
                                  cl::desc("model.onnx|model.mlir"),
                                  cl::sub(verb.command));
static cl::opt<std::string> output("o", cl::Required, cl::desc("output file"),
                                   cl::value_desc("file"),
                                   cl::sub(verb.command));
static cl::opt<std::string> emit("emit", cl::init("onnx"),
                                 cl::desc("what to write: onnx"),
                                 cl::value_desc("kind"), cl::sub(verb.command));
static cl::opt<std::string>
    pipelineText("pass-pipeline", cl::desc("passes, as ffn-opt takes them"),
                 cl::value_desc("builtin.module(...)"), cl::sub(verb.command));
static cl::opt<bool> externalData("external-data",
                                  cl::desc("weights in a file of their own"),
                                  cl::sub(verb.command));

/// What stands between any raised module and ONNX.
static constexpr llvm::StringLiteral kToONNX =
    "builtin.module(ffn-decompose,ffn-materialize-weights)";

static LogicalResult runPipeline(ModuleOp module, llvm::StringRef text) {
  FailureOr<OpPassManager> parsed = parsePassPipeline(text, llvm::errs());
  if (failed(parsed))
    return failure();
  PassManager manager(module.getContext(), parsed->getOpAnchorName());
  static_cast<OpPassManager &>(manager) = *parsed;
  return manager.run(module);
}

static int compile() {
  if (emit != "onnx")
    return fail("--emit=" + emit + " is not available; --emit=onnx is", Usage);
  // A pipeline that does not parse is an error of the command line.
  if (!pipelineText.empty() &&
      failed(parsePassPipeline(pipelineText, llvm::errs())))
    return Usage;
  std::unique_ptr<MLIRContext> context = makeContext();
  ffn::DiagnosticPrinter printer(context.get(), model, &llvm::errs(),
                                 /*showRemarks=*/false);
  OwningOpRef<ModuleOp> module = ffn::loadModule(model, context.get(), {});
  if (!module)
    return Diagnosed;
  if (!pipelineText.empty() && failed(runPipeline(*module, pipelineText)))
    return Diagnosed;
  if (failed(runPipeline(*module, kToONNX)))
    return Diagnosed;
  ffn::ExportOptions options;
  if (externalData)
    options.externalDataThreshold = 0;
  return succeeded(ffn::exportONNX(*module, output, options)) ? Done
                                                              : Diagnosed;
}
