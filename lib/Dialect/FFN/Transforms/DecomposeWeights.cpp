//===- DecomposeWeights.cpp - Weights in their stored type as nodes -------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Nodes read dense tensors. An expression that only moves and widens a narrow
// weight, or that multiplies codes by scales, would grow when it is computed;
// it is written as a node that does the same at run time.
//
//===----------------------------------------------------------------------===//

#include "DecomposeWeights.h"
#include "NodeUtils.h"
#include "WeightForms.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"

using namespace mlir;
using namespace mlir::ffn;
using onnx::NodeOp;

namespace {
class WeightWriter {
public:
  WeightWriter(ModuleOp module, int64_t opset)
      : opset(opset), builder(module.getContext()) {}

  /// The value as a node over what is stored; null where it is computed.
  Value write(Value weight);

private:
  int64_t opset;
  OpBuilder builder;

  Value node(StringRef op, Location loc, Type type, ValueRange inputs,
             ArrayRef<NamedAttribute> attrs) {
    return NodeOp::create(builder, loc, "", op, getSinceVersion(op, opset),
                          type, inputs, attrs)
        .getResult(0);
  }
  Value reshaped(Value weight, ArrayRef<int64_t> shape) {
    auto type = llvm::cast<RankedTensorType>(weight.getType()).clone(shape);
    return builder.createOrFold<ReshapeOp>(weight.getLoc(), type, weight);
  }
  Value writeCodes(Value weight, DequantizeOp op, bool isTransposed);
};
} // namespace

/// `weight` is the value of `op` or its transposition.
Value WeightWriter::writeCodes(Value weight, DequantizeOp op,
                               bool isTransposed) {
  constexpr int64_t sinceAxis = 13, sinceBlocks = 21;
  Location loc = weight.getLoc();
  auto type = llvm::cast<RankedTensorType>(op.getType());
  int64_t n = type.getDimSize(0), k = type.getDimSize(1);
  int64_t group = op.getGroup();
  bool wholeRows = group >= k;
  if (opset < sinceAxis ||
      (!wholeRows && opset < sinceBlocks && k % group != 0)) {
    op->emitRemark("written as floats: opset ")
        << opset << " has no form of codes "
        << (wholeRows ? "" : "in groups that do not divide the row ")
        << "(the first is " << (wholeRows ? sinceAxis : sinceBlocks) << ")";
    return {};
  }
  Value codes = op.getCodes(), scales = op.getScales();
  auto transposed = [&](Value value) {
    return builder.createOrFold<TransposeOp>(loc, value);
  };
  if (wholeRows || opset >= sinceBlocks) {
    // Axis of the rows for whole rows, of the groups otherwise.
    int64_t axis = wholeRows == isTransposed ? 1 : 0;
    SmallVector<NamedAttribute> attrs{intAttr(builder, "axis", axis)};
    if (wholeRows)
      scales = reshaped(scales, {n});
    else
      attrs.push_back(intAttr(builder, "block_size", group));
    if (isTransposed)
      codes = transposed(codes);
    if (isTransposed && !wholeRows)
      scales = transposed(scales);
    return node("DequantizeLinear", loc, weight.getType(), {codes, scales},
                attrs);
  }
  // Every group is a row of a taller matrix.
  int64_t rows = n * (k / group);
  Value result =
      node("DequantizeLinear", loc, type.clone({rows, group}),
           {reshaped(codes, {rows, group}), reshaped(scales, {rows})},
           {intAttr(builder, "axis", 0)});
  auto shapeType = RankedTensorType::get({2}, builder.getI64Type());
  Value shape = WeightOp::create(
      builder, loc, shapeType,
      DenseElementsAttr::get(shapeType, ArrayRef<int64_t>{n, k}));
  result = node("Reshape", loc, type, {result, shape}, {});
  if (isTransposed)
    result = node("Transpose", loc, weight.getType(), result,
                  intsAttr(builder, "perm", {1, 0}));
  return result;
}

Value WeightWriter::write(Value weight) {
  builder.setInsertionPointAfterValue(weight);
  if (auto codes = weight.getDefiningOp<DequantizeOp>())
    return writeCodes(weight, codes, /*isTransposed=*/false);
  if (auto transpose = weight.getDefiningOp<TransposeOp>())
    if (auto codes = transpose.getSource().getDefiningOp<DequantizeOp>())
      return writeCodes(weight, codes, /*isTransposed=*/true);
  auto type = llvm::dyn_cast<RankedTensorType>(weight.getType());
  if (!type || getStoredType(weight) == type.getElementType())
    return {};
  // TensorProto.DataType numbers.
  int64_t to = type.getElementType().isF64() ? 11 : 1;
  return node("Cast", weight.getLoc(), type, createStored(builder, weight),
              intAttr(builder, "to", to));
}

void mlir::ffn::writeStoredWeights(ModuleOp module, int64_t opset) {
  // Roots first: what they are rewritten to leaves their sources to them.
  SmallVector<Value> escaping;
  auto isExpression = [](Operation *op) {
    return llvm::isa<WeightExprInterface>(op);
  };
  module.walk([&](WeightExprInterface op) {
    if (!llvm::isa<WeightOp>(op.getOperation()) &&
        !llvm::all_of(op->getUsers(), isExpression))
      escaping.push_back(op->getResult(0));
  });
  WeightWriter writer(module, opset);
  SmallVector<Operation *> replaced;
  for (Value weight : escaping)
    if (Value written = writer.write(weight)) {
      weight.replaceUsesWithIf(written, [&](OpOperand &use) {
        return !isExpression(use.getOwner());
      });
      replaced.push_back(weight.getDefiningOp());
    }
  IRRewriter rewriter(module.getContext());
  eraseDead(rewriter, replaced);
}
