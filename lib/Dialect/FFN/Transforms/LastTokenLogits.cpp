//===- LastTokenLogits.cpp - Logits of the last position only -------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNLASTTOKENLOGITS
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

/// The value whose positions the op treats one by one; null for any other op.
static Value getPositionwiseInput(Operation *op) {
  if (llvm::isa_and_nonnull<LinearOp, NormOp>(op))
    return op->getOperand(0);
  auto node = llvm::dyn_cast_if_present<onnx::NodeOp>(op);
  if (node && (node.is("Cast") || node.is("Identity")))
    return node.getInput(0);
  return {};
}

static bool isFloatTensor(Value value) {
  auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() == 3 &&
         llvm::isa<FloatType>(type.getElementType());
}

namespace {
struct LastTokenLogits
    : mlir::ffn::impl::FFNLastTokenLogitsBase<LastTokenLogits> {
  using FFNLastTokenLogitsBase::FFNLastTokenLogitsBase;

  void runOnOperation() override {
    auto main = getOperation().lookupSymbol<func::FuncOp>("main");
    if (!main || main.isExternal() || !llvm::hasSingleElement(main.getBody()))
      return refuse(getOperation(), "the module has no function @main");
    auto ret =
        llvm::cast<func::ReturnOp>(main.getBody().front().getTerminator());
    // Named so, else the first that may be: as tools find logits.
    std::optional<unsigned> index;
    for (unsigned i = 0; i < ret.getNumOperands(); ++i) {
      auto name = main.getResultAttrOfType<StringAttr>(i, "onnx.name");
      bool isNamed = name && name.getValue() == "logits";
      bool isCache = name && name.getValue().starts_with("present");
      if (!isFloatTensor(ret.getOperand(i)) || isCache || (index && !isNamed))
        continue;
      index = i;
      if (isNamed)
        break;
    }
    if (!index)
      return refuse(main, "no output has logits [batch, sequence, vocabulary]");
    Value logits = ret.getOperand(*index);
    SmallVector<Operation *> chain;
    Value hidden = logits;
    while (Value input = getPositionwiseInput(hidden.getDefiningOp())) {
      if (!hidden.hasOneUse() || !isFloatTensor(input))
        break;
      chain.push_back(hidden.getDefiningOp());
      hidden = input;
    }
    if (llvm::none_of(chain, llvm::IsaPred<LinearOp>))
      return refuse(main, "the logits are not a linear of hidden states, or "
                          "these are used elsewhere, too");
    auto type = llvm::cast<RankedTensorType>(logits.getType());
    // Neutral where there is one position only.
    if (type.getDimSize(1) == 1)
      return;

    OpBuilder builder(chain.back());
    Location loc = chain.back()->getLoc();
    auto indexType = RankedTensorType::get({1}, builder.getI64Type());
    Value last = WeightOp::create(
        builder, loc, indexType,
        llvm::cast<TypedAttr>(llvm::cast<Attribute>(
            DenseElementsAttr::get(indexType, ArrayRef<int64_t>{-1}))));
    auto onePosition = [](Type type) {
      auto ranked = llvm::cast<RankedTensorType>(type);
      SmallVector<int64_t> shape(ranked.getShape());
      shape[1] = 1;
      return ranked.clone(shape);
    };
    auto gather = onnx::NodeOp::create(
        builder, loc, "", "Gather",
        getSinceVersion("Gather", getDefaultOpset(getOperation())),
        TypeRange{onePosition(hidden.getType())}, ValueRange{hidden, last},
        ArrayRef<NamedAttribute>{intAttr(builder, "axis", 1)}, 0,
        onnx::NameHints());
    for (OpOperand &operand : chain.back()->getOpOperands())
      if (operand.get() == hidden)
        operand.set(gather.getResult(0));
    for (Operation *op : chain)
      op->getResult(0).setType(onePosition(op->getResult(0).getType()));
    SmallVector<Type> results(ret.getOperandTypes());
    main.setType(builder.getFunctionType(main.getArgumentTypes(), results));
    if (auto dims = main.getResultAttrOfType<ArrayAttr>(*index, "ffn.dims");
        dims && dims.size() == 3) {
      SmallVector<Attribute> sizes(dims.begin(), dims.end());
      sizes[1] = builder.getI64IntegerAttr(1);
      main.setResultAttr(*index, "ffn.dims", builder.getArrayAttr(sizes));
    }
  }

  void refuse(Operation *op, const Twine &why) {
    if (!required) {
      op->emitRemark("logits of all positions kept: ") << why;
      return;
    }
    op->emitError("cannot give the logits of the last token only: ")
        << why << " [FFN-P106]";
    signalPassFailure();
  }
};
} // namespace
