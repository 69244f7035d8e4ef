//===- ffn-translate.cpp - ONNX in and out --------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Import/ImportFlags.h"
#include "ffn-mlir/InitAll.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/Path.h"

using namespace mlir;
namespace cl = llvm::cl;

int main(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  ffn::registerImportFlags();
  static cl::opt<std::string> input(cl::Positional, cl::desc("<model>"),
                                    cl::Required);
  static cl::opt<bool> importFlag("import-onnx", cl::desc("ONNX to MLIR"));
  if (!cl::ParseCommandLineOptions(argc, argv, "ffn-mlir translator\n",
                                   &llvm::errs()))
    return 2;
  DialectRegistry registry;
  ffn::registerAllDialects(registry);
  MLIRContext context(registry);
  context.printOpOnDiagnostic(false);
  ffn::DiagnosticPrinter printer(&context, llvm::sys::path::filename(input),
                                 &llvm::errs());
  OwningOpRef<ModuleOp> module =
      ffn::loadModule(input, &context, ffn::getImportOptionsFromFlags());
  if (!module)
    return 1;
  module->print(llvm::outs());
  llvm::outs() << "\n";
  return 0;
}
