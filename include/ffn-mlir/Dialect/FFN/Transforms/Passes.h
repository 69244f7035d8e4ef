//===- Passes.h - Passes over the ffn dialect -------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_FFN_TRANSFORMS_PASSES_H
#define FFN_MLIR_DIALECT_FFN_TRANSFORMS_PASSES_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir::ffn {

/// Of `ffn.dequantize`, an i64: to how many bits a product with the weight may
/// round each row of its other factor. A permission, not a demand: what has no
/// integer arithmetic multiplies the rows as they are.
inline constexpr llvm::StringLiteral kInputBitsAttr = "ffn.input_bits";

#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"

} // namespace mlir::ffn

#endif // FFN_MLIR_DIALECT_FFN_TRANSFORMS_PASSES_H
