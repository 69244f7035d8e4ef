//===- NodeUtils.h - Making onnx nodes in passes ----------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_NODEUTILS_H
#define FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_NODEUTILS_H

#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/PatternMatch.h"

namespace mlir::ffn {

/// Opset of the default domain that the model imports (`onnx.model` on the
/// module); 17 for a module that was not imported.
int64_t getDefaultOpset(ModuleOp module);

/// Since-version of a default-domain operator under `opset`; 1 when the
/// operator does not exist there.
int64_t getSinceVersion(StringRef op, int64_t opset);

/// INT attribute, as `onnx.node` spells it.
NamedAttribute intAttr(Builder &builder, StringRef name, int64_t value);
/// INTS attribute.
NamedAttribute intsAttr(Builder &builder, StringRef name,
                        ArrayRef<int64_t> values);
/// FLOAT attribute.
NamedAttribute floatAttr(Builder &builder, StringRef name, double value);

/// Whether a node may go once nobody uses its results: no subgraphs, no random
/// numbers, a domain whose operators have no effect.
bool isErasableNode(Operation *op);

/// Erases those of `ops` that have no uses and no effect, and what only fed
/// them: nodes, weights and weight expressions.
void eraseDead(RewriterBase &rewriter, ArrayRef<Operation *> ops);

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_NODEUTILS_H
