//===- Inspect.h - What a model is made of ----------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DRIVER_INSPECT_H
#define FFN_MLIR_DRIVER_INSPECT_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/JSON.h"

namespace mlir::ffn {

/// Raises `module` (`ffn-raise`) and describes it:
///   inputs, outputs   name, dtype, dims
///   sublayers         name, kind, and for FFNs kind, activation, d, m, bias
///   totals            parameters, bytes, flops_per_token, nodes left as
///   onnx.node near_misses       what was almost an FFN, and why it is not one
/// Parameters count each weight once, bytes as stored, FLOPs two per
/// multiply-add. Null after a diagnostic.
llvm::json::Value inspectModule(ModuleOp module);

/// The same as a table for people.
void printInspection(const llvm::json::Value &inspection,
                     llvm::raw_ostream &os);

} // namespace mlir::ffn

#endif // FFN_MLIR_DRIVER_INSPECT_H
