//===- GateModules.cpp - Latency of a rewritten module --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/GateModules.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace mlir::ffn;

llvm::Expected<LatencyVerdict>
mlir::ffn::gateModules(ModuleOp original, ModuleOp rewritten,
                       const CompileOptions &compiling, unsigned threads,
                       const LatencyGateOptions &options,
                       GateFilesFunction keep) {
  llvm::SmallString<128> folder;
  if (std::error_code code =
          llvm::sys::fs::createUniqueDirectory("ffn-gate", folder))
    return driverError("no temporary folder: " + code.message() +
                       " [FFN-O101]");
  auto tell = [&](StringRef name) {
    if (compiling.onTemporaryFolder)
      compiling.onTemporaryFolder(name);
  };
  tell(folder);
  llvm::scope_exit cleanUp([&] {
    llvm::sys::fs::remove_directories(folder);
    tell("");
  });
  CompileOptions inner = compiling;
  inner.emit = EmitKind::SharedLibrary;
  // What it makes lies in the folder that is known already.
  inner.onTemporaryFolder = nullptr;
  ModuleOp modules[2] = {original, rewritten};
  std::unique_ptr<Artefact> artefacts[2];
  std::string paths[2];
  for (int side : {0, 1}) {
    llvm::SmallString<128> path = folder;
    llvm::sys::path::append(path, side ? "rewritten.so" : "original.so");
    if (failed(compileModule(modules[side], inner, path)))
      return driverError(side ? "the rewritten model has no native code to "
                                "measure [FFN-R400]"
                              : "the original model has no native code to "
                                "measure [FFN-R400]");
    paths[side] = path.str().str();
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
