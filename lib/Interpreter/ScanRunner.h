//===- ScanRunner.h - Loop, Scan and SequenceMap ----------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_INTERPRETER_SCANRUNNER_H
#define FFN_MLIR_LIB_INTERPRETER_SCANRUNNER_H

#include "RegionRunner.h"

namespace mlir::ffn {

/// The region that the GRAPH attribute `name` of the node names, or null.
Region *getGraph(onnx::NodeOp node, StringRef name);

/// The runner of an ONNX operator that runs its body several times.
std::unique_ptr<RegionRunner>
makeIterationRunner(onnx::NodeOp node, EvalState &state,
                    const InterpreterOptions &options);

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_INTERPRETER_SCANRUNNER_H
