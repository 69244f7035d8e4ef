//===- DecomposeWeights.h - Stored weights as nodes -------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_DECOMPOSEWEIGHTS_H
#define FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_DECOMPOSEWEIGHTS_H

#include "mlir/IR/BuiltinOps.h"

namespace mlir::ffn {

/// Makes nodes of the weight expressions that nodes read and that would grow
/// if they were computed: `Cast` of what is stored in f16 or bf16,
/// `DequantizeLinear` of codes. Leaves a remark where the opset has no form.
void writeStoredWeights(ModuleOp module, int64_t opset);

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_DECOMPOSEWEIGHTS_H
