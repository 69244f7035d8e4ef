//===- ffn-opt.cpp - Pass driver ------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/InitAll.h"
#include "ffn-mlir/Interpreter/CheckPasses.h"
#include "mlir/Support/FileUtilities.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;

int main(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  DialectRegistry registry;
  ffn::registerAllDialects(registry);
  ffn::registerAllPasses();
  ffn::registerCheckPassesFlags();
  auto [input, output] = registerAndParseCLIOptions(
      argc, argv, "ffn-mlir modular optimizer driver\n", registry);
  MlirOptMainConfig config = MlirOptMainConfig::createFromCLOptions();
  if (config.shouldShowDialects() || config.shouldListPasses())
    return asMainReturnCode(MlirOptMain(argc, argv, input, output, registry));
  MlirOptMainConfig flags = config;
  config.setPassPipelineSetupFn([&](PassManager &pm) {
    if (failed(flags.setupPassPipeline(pm)))
      return failure();
    ffn::addPassChecksFromFlags(pm);
    return success();
  });
  std::string error;
  std::unique_ptr<llvm::MemoryBuffer> buffer = openInputFile(input, &error);
  std::unique_ptr<llvm::ToolOutputFile> out =
      buffer ? openOutputFile(output, &error) : nullptr;
  if (!out) {
    llvm::errs() << error << "\n";
    return 1;
  }
  if (failed(MlirOptMain(out->os(), std::move(buffer), registry, config)))
    return 1;
  out->keep();
  return 0;
}
