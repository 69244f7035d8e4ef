//===- Decomposer.h - The ffn dialect as standard nodes ---------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_DECOMPOSER_H
#define FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_DECOMPOSER_H

#include "NodeUtils.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNExperts.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNProbes.h"
#include "mlir/IR/PatternMatch.h"

namespace mlir::ffn {

class RowCosineOp;
class RowMarginOp;
class SkipOp;

/// The same tensor type with another last dimension.
RankedTensorType withLastDim(RankedTensorType type, int64_t size);

/// Writes the ops of one module as nodes of its opset.
class Decomposer {
public:
  explicit Decomposer(ModuleOp module)
      : opset(getDefaultOpset(module)), rewriter(module.getContext()) {}

  /// Refuses ops whose types are not ranked, or that need operators that the
  /// opset lacks.
  LogicalResult check(Operation *op) const;
  LogicalResult decompose(Operation *op);

private:
  int64_t opset;
  IRRewriter rewriter;
  llvm::DenseMap<Value, Value> transposes;

  Value node(Location loc, StringRef op, Type type, ValueRange inputs,
             ArrayRef<NamedAttribute> attrs = {});
  Value transposed(Value weight);
  Value floatScalar(Location loc, Type elementType, double value);
  Value ints(Location loc, ArrayRef<int64_t> values);
  Value intScalar(Location loc, int64_t value);
  Value unsqueeze(Location loc, Value value, int64_t axis);
  Value cast(Location loc, Value value, Type elementType);
  Value linear(Location loc, Value input, Value weight, Value bias, Type type);
  Value activate(Location loc, Activation kind, Value x);
  Value repeatHeads(Location loc, Value value, int64_t heads);
  Value maskedScores(AttentionOp op, Value scores, bool &maySeeNothing);
  Value sumLast(Location loc, Value value);

  Value lower(NormOp op);
  Value lower(LinearOp op);
  Value lower(FeedForwardOp op);
  template <typename Op> Value hidden(Op op);
  Value lower(AttentionOp op);
  Value lower(EmbeddingOp op);
  void lower(SublayerOp op);

  // Experts: all are computed, then masked.
  Value scores(MoEOp op);
  Value isChosen(MoEOp op, Value keys);
  Value lower(MoEOp op);

  // Adaptive depth.
  Value reduceLast(Location loc, StringRef op, Value value);
  Value lower(RowCosineOp op);
  Value lower(RowMarginOp op);
  void lower(SkipOp op);
};

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_DECOMPOSER_H
