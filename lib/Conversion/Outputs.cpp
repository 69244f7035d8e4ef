//===- Outputs.cpp - Where the outputs of a model are made ----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Outputs lie in the caller's memory, and are made there: a copy of the logits
// or of the keys and values of a long text costs as much as a layer.
//
//===----------------------------------------------------------------------===//

#include "ModelLowering.h"
#include "NodeContext.h"
#include "ffn-mlir/Conversion/ModelToLinalg.h"
#include "ffn-mlir/Dialect/CPU/IR/CPU.h"

using namespace mlir;
using namespace mlir::ffn;

bool mlir::ffn::hasKnownContents(const SymbolicShapeAnalysis &analysis,
                                 onnx::NodeOp node) {
  return node.getNumResults() > 0 &&
         llvm::all_of(node.getResults(), [&](Value result) {
           return analysis.lookup(result).contents.has_value();
         });
}

void mlir::ffn::findAppends(
    func::FuncOp main, const SymbolicShapeAnalysis &analysis,
    llvm::MapVector<Operation *, DescriptorAppend> &appends) {
  Operation *terminator = main.getBody().front().getTerminator();
  for (auto [output, operand] : llvm::enumerate(terminator->getOperands())) {
    Value value = operand;
    // Sublayers hand caches out of their bodies.
    while (auto sublayer = value.getDefiningOp<SublayerOp>()) {
      unsigned number = llvm::cast<OpResult>(value).getResultNumber();
      if (number == 0)
        break;
      value = sublayer.getYieldedExtras()[number - 1];
    }
    auto node = value.getDefiningOp<onnx::NodeOp>();
    auto argument = node && node.is("Concat") && node.getInputs().size() == 2
                        ? llvm::dyn_cast<BlockArgument>(node.getInputs()[0])
                        : BlockArgument();
    if (!argument || argument.getOwner() != &main.getBody().front() ||
        appends.contains(node))
      continue;
    RankedTensorType past = convertTensorType(argument.getType()),
                     fresh = convertTensorType(node.getInputs()[1].getType());
    std::optional<int64_t> axis =
        past ? positiveAxis(node.getInt("axis", 0), past.getRank())
             : std::nullopt;
    if (!axis || *axis + 1 >= past.getRank() || !fresh ||
        fresh.getRank() != past.getRank() || !past.getElementType().isF32() ||
        !fresh.getElementType().isF32())
      continue;
    bool readElsewhere = llvm::any_of(argument.getUses(), [&](OpOperand &use) {
      auto user = llvm::dyn_cast<onnx::NodeOp>(use.getOwner());
      return use.getOwner() != node.getOperation()
                 ? !user || !hasKnownContents(analysis, user)
                 : use.getOperandNumber() != 0;
    });
    if (readElsewhere)
      continue;
    appends[node] = {argument.getArgNumber(), static_cast<uint32_t>(output),
                     static_cast<uint32_t>(*axis)};
  }
}

LogicalResult mlir::ffn::lowerAppend(NodeContext &context,
                                     const DescriptorAppend &pair,
                                     cpu::Level level) {
  OpBuilder &builder = context.builder;
  Value past = context.input(0), fresh = context.input(1);
  Sizes sizes = context.sizes(past), added = context.sizes(fresh);
  int64_t rank = rankOf(past);
  for (int64_t i = 0; i < rank; ++i)
    if (i != pair.axis && sizes[i] != added[i]) {
      if (getConstantIntValue(sizes[i]) && getConstantIntValue(added[i]))
        return context.unsupported("its inputs differ in shape");
      context.check(equalIndex(context, sizes[i], added[i]),
                    LowerScope::CheckKind::Shape);
      if (getConstantIntValue(added[i]))
        sizes[i] = added[i];
    }
  std::optional<Sizes> known = context.outputSizes(0);
  sizes[pair.axis] =
      known ? (*known)[pair.axis]
            : addSizes(context, sizes[pair.axis], added[pair.axis]);
  // Heads are read where the projection left them.
  bool swapped = false;
  Value source = fresh;
  while (auto cast = source.getDefiningOp<tensor::CastOp>())
    source = cast.getSource();
  if (auto transpose = source.getDefiningOp<linalg::TransposeOp>();
      transpose &&
      transpose.getPermutation() == ArrayRef<int64_t>{0, 2, 1, 3}) {
    swapped = true;
    fresh = transpose.getInput();
  }
  Value out = emptyTensor(context, sizes, builder.getF32Type());
  auto key = cpu::AppendAttr::get(builder.getContext(), level, rank, pair.axis,
                                  swapped);
  context.results[0] =
      cpu::KernelCallOp::create(builder, context.loc, out.getType(), key,
                                ValueRange{past, fresh}, out)
          .getResult(0);
  context.setSizes(context.results[0], sizes);
  return success();
}

Value mlir::ffn::stripViews(LowerScope &scope, Value tensor,
                            SmallVectorImpl<OpFoldResult> &sizes) {
  while (true) {
    if (auto cast = tensor.getDefiningOp<tensor::CastOp>()) {
      tensor = cast.getSource();
      continue;
    }
    auto expand = tensor.getDefiningOp<tensor::ExpandShapeOp>();
    if (!expand)
      return tensor;
    SmallVector<OpFoldResult> merged;
    for (const ReassociationIndices &group : expand.getReassociationIndices())
      merged.push_back(
          productOf(scope, ArrayRef(sizes).slice(group.front(), group.size())));
    sizes.assign(merged);
    tensor = expand.getSrc();
  }
}
