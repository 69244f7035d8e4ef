//===- Passes.h - Passes over shapes ----------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_OPS_PASSES_H
#define FFN_MLIR_OPS_PASSES_H

#include "mlir/Pass/Pass.h"

namespace mlir::ffn {

/// `ffn-infer-shapes`: writes into the types what symbolic shape analysis
/// finds.
std::unique_ptr<Pass> createInferShapesPass();

/// Registers `ffn-infer-shapes` and, for tests, `ffn-print-shapes` and
/// `ffn-verify-onnx`.
void registerShapePasses();

} // namespace mlir::ffn

#endif // FFN_MLIR_OPS_PASSES_H
