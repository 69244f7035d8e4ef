//===- Inspect.cpp - ffnc inspect -----------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/Inspect.h"
#include "Native.h"
#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::ffn::driver;
namespace cl = llvm::cl;

static int inspect();
static Verb verb("inspect",
                 "lists the sublayers and FFNs of a model, their sizes, and "
                 "what is almost an FFN and why not; of a compiled model: what "
                 "it takes and needs",
                 inspect, R"(
EXAMPLES:
  ffnc inspect model.onnx --json
  ffnc inspect model.so
)");
static cl::opt<std::string> model(cl::Positional, cl::Required,
                                  cl::desc("model.onnx|model.mlir|model.so"),
                                  cl::sub(verb.command));
static JSONOption asJson(verb);
static cl::opt<bool> strict("strict",
                            cl::desc("refuse exporters' habits that are "
                                     "otherwise accepted with a warning"),
                            cl::sub(verb.command));

/// The signature and what else an artefact says of itself.
static int inspectArtefact() {
  std::unique_ptr<ffn::Artefact> artefact = openNative(model, /*threads=*/1);
  if (!artefact)
    return Diagnosed;
  if (asJson) {
    printJSON(artefact->toJSON());
    return Done;
  }
  const ffn::Artefact::Info &info = artefact->getInfo();
  auto &os = llvm::outs();
  for (const ffn::Artefact::Value &value : artefact->getInputs())
    os << "input     " << value.name << "  " << value.describe() << '\n';
  for (const ffn::Artefact::Value &value : artefact->getOutputs())
    os << "output    " << value.name << "  " << value.describe() << '\n';
  os << "level     " << info.level << "\nfeatures  " << info.features
     << "\nnumerics  " << info.numerics << "\nweights   " << info.weightBytes
     << " bytes\nproducer  " << info.producer << '\n';
  return Done;
}

static int inspect() {
  if (isArtefact(model))
    return inspectArtefact();
  std::unique_ptr<MLIRContext> context = makeContext();
  ffn::DiagnosticPrinter printer(context.get(), model, &llvm::errs(),
                                 /*showRemarks=*/false);
  ffn::ImportOptions options = getImportOptions();
  options.strict = strict;
  OwningOpRef<ModuleOp> module = ffn::loadModule(model, context.get(), options);
  if (!module)
    return Diagnosed;
  llvm::json::Value result = ffn::inspectModule(*module);
  if (result.getAsNull())
    return Diagnosed;
  if (asJson)
    printJSON(std::move(result));
  else
    ffn::printInspection(result, llvm::outs());
  return Done;
}
