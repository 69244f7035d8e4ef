//===- NodeContext.h - What the lowering of a node is given -----*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_CONVERSION_NODECONTEXT_H
#define FFN_MLIR_LIB_CONVERSION_NODECONTEXT_H

#include "ModelLowering.h"
#include "ffn-mlir/Support/WeightEval.h"
#include "ffn-mlir/Target/CPU/DenseWeight.h"

namespace mlir::ffn {

/// The context of one onnx.node of the model that is being lowered.
class NodeContext : public LowerContext {
public:
  ModelScope &model;
  SymbolicShapeAnalysis &analysis;
  SymValue nothing;

  NodeContext(onnx::NodeOp node, ModelScope &model,
              SymbolicShapeAnalysis &analysis)
      : LowerContext(node, model.builder), model(model), analysis(analysis) {}

  SmallVector<OpFoldResult> sizes(Value tensor) override {
    return model.sizes(loc, tensor);
  }
  void setSizes(Value tensor, ArrayRef<OpFoldResult> sizes) override {
    model.known[tensor] = SmallVector<OpFoldResult>(sizes);
  }
  OpFoldResult materialize(const DimExpr &expr) override {
    return model.sizeBuilder->get(builder, expr);
  }
  void check(Value condition, CheckKind kind) override {
    model.check(loc, condition, kind, node);
  }

  const SymValue &symInput(unsigned i) override {
    Value value = node.getInput(i);
    return value ? analysis.lookup(value) : nothing;
  }
  const SymValue &symOutput(unsigned i) override {
    return i < node.getNumResults() ? analysis.lookup(node.getResult(i))
                                    : nothing;
  }

  std::optional<SmallVector<int64_t>> constantInts(unsigned i) override {
    const SymValue &value = symInput(i);
    if (value.contents) {
      SmallVector<int64_t> result;
      for (const DimExpr &expr : *value.contents) {
        std::optional<int64_t> constant = expr.getConstant();
        if (!constant)
          return std::nullopt;
        result.push_back(*constant);
      }
      return result;
    }
    Value source = node.getInput(i);
    auto type = source ? llvm::dyn_cast<RankedTensorType>(source.getType())
                       : RankedTensorType();
    if (!type || !type.getElementType().isInteger() ||
        !isWeightExpression(source) || type.getNumElements() > 1024)
      return std::nullopt;
    FailureOr<DenseWeight> weight = evaluateWeight(source);
    if (failed(weight))
      return std::nullopt;
    SmallVector<int64_t> result;
    for (int64_t k = 0; k < type.getNumElements(); ++k)
      result.push_back(weight->getInt(k));
    return result;
  }

  std::optional<SmallVector<double>> constantFloats(unsigned i) override {
    Value source = node.getInput(i);
    auto type = source ? llvm::dyn_cast<RankedTensorType>(source.getType())
                       : RankedTensorType();
    if (!type || !isWeightExpression(source) || type.getNumElements() > 1024)
      return std::nullopt;
    FailureOr<DenseWeight> weight = evaluateWeight(source);
    if (failed(weight))
      return std::nullopt;
    SmallVector<double> result;
    for (int64_t k = 0; k < type.getNumElements(); ++k)
      result.push_back(weight->getDouble(k));
    return result;
  }

  std::optional<SmallVector<OpFoldResult>> intList(unsigned i) override {
    SmallVector<OpFoldResult> result;
    if (const SymValue &value = symInput(i); value.contents) {
      for (const DimExpr &expr : *value.contents)
        if (OpFoldResult size = materialize(expr))
          result.push_back(size);
      if (result.size() == value.contents->size())
        return result;
      result.clear();
    }
    if (std::optional<SmallVector<int64_t>> constants = constantInts(i)) {
      for (int64_t constant : *constants)
        result.push_back(builder.getIndexAttr(constant));
      return result;
    }
    Value tensor = input(i);
    if (!tensor || rankOf(tensor) > 1)
      return std::nullopt;
    Sizes length = sizes(tensor);
    std::optional<int64_t> count =
        length.empty() ? 1 : getConstantIntValue(length[0]);
    if (!count || *count > 64)
      return std::nullopt;
    for (int64_t k = 0; k < *count; ++k) {
      SmallVector<Value> at;
      if (!length.empty())
        at.push_back(constantIndex(*this, k));
      Value element = tensor::ExtractOp::create(builder, loc, tensor, at);
      result.push_back(arith::IndexCastOp::create(
                           builder, loc, builder.getIndexType(), element)
                           .getResult());
    }
    return result;
  }

  std::optional<SmallVector<OpFoldResult>> outputSizes(unsigned i) override {
    const SymValue &value = symOutput(i);
    if (!value.hasRank())
      return std::nullopt;
    SmallVector<OpFoldResult> result;
    for (const DimExpr &dim : *value.dims) {
      OpFoldResult size = materialize(dim);
      if (!size)
        return std::nullopt;
      result.push_back(size);
    }
    return result;
  }
};

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_CONVERSION_NODECONTEXT_H
