//===- Experts.h - Networks of experts in other forms -----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_FFN_TRANSFORMS_EXPERTS_H
#define FFN_MLIR_DIALECT_FFN_TRANSFORMS_EXPERTS_H

#include "ffn-mlir/Dialect/FFN/IR/FFNExperts.h"
#include "mlir/IR/BuiltinOps.h"

namespace mlir::ffn {

/// Writes each `ffn.moe` as nodes that compute all experts, as `ffn-decompose`
/// does, but for those that `keeps` holds for. Fails after a diagnostic
/// (FFN-E202, FFN-E203).
LogicalResult decomposeExperts(ModuleOp module,
                               function_ref<bool(MoEOp)> keeps);

} // namespace mlir::ffn

#endif // FFN_MLIR_DIALECT_FFN_TRANSFORMS_EXPERTS_H
