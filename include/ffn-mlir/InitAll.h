//===- InitAll.h - Registration of everything -------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_INITALL_H
#define FFN_MLIR_INITALL_H

#include "mlir/IR/DialectRegistry.h"

namespace mlir::ffn {

/// All dialects (ours and the upstream ones that the pipelines use) with their
/// interfaces; installs the op table's hooks when the onnx dialect loads.
void registerAllDialects(DialectRegistry &registry);
/// All passes and pipelines of ours, and the upstream ones worth having.
void registerAllPasses();

} // namespace mlir::ffn

#endif // FFN_MLIR_INITALL_H
