//===- GateModules.h - Latency of a rewritten module ------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SEARCH_GATEMODULES_H
#define FFN_MLIR_SEARCH_GATEMODULES_H

#include "ffn-mlir/Driver/LatencyGate.h"
#include "ffn-mlir/Pipelines/Compile.h"
#include "mlir/IR/BuiltinOps.h"

namespace mlir::ffn {

/// Told the verdict and the files that were measured, the original and the
/// rewritten one, while they are there.
using GateFilesFunction = std::function<void(const LatencyVerdict &verdict,
                                             const std::string (&files)[2])>;

/// Compiles both modules as `compiling` says, into a folder that is gone
/// afterwards, and measures them in turns on `threads` threads (0: as many as
/// CPUs). Fails where one does not compile, after diagnostics, or does not run.
llvm::Expected<LatencyVerdict>
gateModules(ModuleOp original, ModuleOp rewritten,
            const CompileOptions &compiling, unsigned threads,
            const LatencyGateOptions &options, GateFilesFunction keep = {});

} // namespace mlir::ffn

#endif // FFN_MLIR_SEARCH_GATEMODULES_H
