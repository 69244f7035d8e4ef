//===- GateModules.cpp - Latency of a rewritten module --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/GateModules.h"
#include "ffn-mlir/Support/TemporaryFolder.h"

using namespace mlir;
using namespace mlir::ffn;

llvm::Expected<LatencyVerdict>
mlir::ffn::gateModules(ModuleOp original, ModuleOp rewritten,
                       const CompileOptions &compiling, unsigned threads,
                       const LatencyGateOptions &options,
                       GateFilesFunction keep) {
  TemporaryFolder folder;
  if (std::error_code code = folder.create("ffn-gate"))
    return driverError("no temporary folder: " + code.message() +
                       " [FFN-O101]");
  CompileOptions inner = compiling;
  inner.emit = EmitKind::SharedLibrary;
  ModuleOp modules[2] = {original, rewritten};
  std::unique_ptr<Artefact> artefacts[2];
  std::string paths[2];
  for (int side : {0, 1}) {
    std::string &path = paths[side] =
        folder.file(side ? "rewritten.so" : "original.so");
    if (failed(compileModule(modules[side], inner, path)))
      return driverError(side ? "the rewritten model has no native code to "
                                "measure [FFN-R400]"
                              : "the original model has no native code to "
                                "measure [FFN-R400]");
    auto artefact = Artefact::load(path, threads);
    if (!artefact)
      return artefact.takeError();
    artefacts[side] = std::move(*artefact);
  }
  auto verdict = compareLatency(*artefacts[0], *artefacts[1], options);
  if (verdict && keep)
    keep(*verdict, paths);
  return verdict;
}
