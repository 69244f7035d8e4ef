//===- Inspect.cpp - ffnc inspect -----------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/Inspect.h"
#include "Verb.h"
#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::ffn::driver;
namespace cl = llvm::cl;

static int inspect();
static Verb verb("inspect",
                 "lists the sublayers and FFNs of a model, their sizes, and "
                 "what is almost an FFN and why not",
                 inspect);
static cl::opt<std::string> model(cl::Positional, cl::Required,
                                  cl::desc("model.onnx|model.mlir"),
                                  cl::sub(verb.command));
static cl::opt<bool> asJson("json", cl::desc("JSON instead of a table"),
                            cl::sub(verb.command));
static cl::opt<bool> strict("strict",
                            cl::desc("refuse exporters' habits that are "
                                     "otherwise accepted with a warning"),
                            cl::sub(verb.command));

static int inspect() {
  std::unique_ptr<MLIRContext> context = makeContext();
  ffn::DiagnosticPrinter printer(context.get(), model, &llvm::errs(),
                                 /*showRemarks=*/false);
  ffn::ImportOptions options;
  options.strict = strict;
  OwningOpRef<ModuleOp> module = ffn::loadModule(model, context.get(), options);
  if (!module)
    return Diagnosed;
  llvm::json::Value result = ffn::inspectModule(*module);
  if (result.getAsNull())
    return Diagnosed;
  if (asJson)
    llvm::outs() << llvm::formatv("{0:2}\n", result);
  else
    ffn::printInspection(result, llvm::outs());
  return Done;
}
