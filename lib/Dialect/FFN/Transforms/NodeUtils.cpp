//===- NodeUtils.cpp - Making onnx nodes in passes ------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Ops/OpTable.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace mlir;
using namespace mlir::ffn;

int64_t mlir::ffn::getDefaultOpset(ModuleOp module) {
  constexpr int64_t otherwise = 17;
  auto model = module->getAttrOfType<DictionaryAttr>("onnx.model");
  if (!model)
    return otherwise;
  auto imports =
      llvm::dyn_cast_if_present<DictionaryAttr>(model.get("opset_imports"));
  if (!imports)
    return otherwise;
  for (StringRef domain : {"", "ai.onnx"})
    if (auto version =
            llvm::dyn_cast_if_present<IntegerAttr>(imports.get(domain)))
      return version.getValue().getSExtValue();
  return otherwise;
}

int64_t mlir::ffn::getSinceVersion(StringRef op, int64_t opset) {
  const Schema *schema = lookupSchema("", op, opset);
  return schema ? schema->sinceVersion : 1;
}

NamedAttribute mlir::ffn::intAttr(Builder &builder, StringRef name,
                                  int64_t value) {
  auto type = builder.getIntegerType(64, /*isSigned=*/true);
  return builder.getNamedAttr(
      name, IntegerAttr::get(type, APInt(64, value, /*isSigned=*/true)));
}

NamedAttribute mlir::ffn::intsAttr(Builder &builder, StringRef name,
                                   ArrayRef<int64_t> values) {
  return builder.getNamedAttr(name, builder.getDenseI64ArrayAttr(values));
}

NamedAttribute mlir::ffn::floatAttr(Builder &builder, StringRef name,
                                    double value) {
  return builder.getNamedAttr(
      name, builder.getF32FloatAttr(static_cast<float>(value)));
}

bool mlir::ffn::isErasableNode(Operation *op) {
  auto node = llvm::dyn_cast<onnx::NodeOp>(op);
  if (!node || node.getNumRegions() != 0)
    return false;
  if (node.getDomain() == "com.microsoft")
    return true;
  return node.getDomain().empty() && !node.getOp().starts_with("Random") &&
         node.getOp() != "Bernoulli" && node.getOp() != "Multinomial";
}

void mlir::ffn::eraseDead(RewriterBase &rewriter, ArrayRef<Operation *> ops) {
  SmallVector<Operation *> worklist(ops);
  llvm::SmallPtrSet<Operation *, 16> gone;
  while (!worklist.empty()) {
    Operation *op = worklist.pop_back_val();
    if (gone.contains(op) || !op->use_empty() ||
        (!isErasableNode(op) &&
         !llvm::isa<WeightOp, WeightExprInterface, ComputeOpInterface,
                    onnx::AbsentOp>(op)))
      continue;
    for (Value operand : op->getOperands())
      if (Operation *def = operand.getDefiningOp())
        worklist.push_back(def);
    gone.insert(op);
    rewriter.eraseOp(op);
  }
}
