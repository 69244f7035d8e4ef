//===- WeightCount.cpp - Parameters behind operations ---------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/WeightCount.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Support/WeightStore.h"

using namespace mlir;
using namespace mlir::ffn;

void WeightCount::addFrom(Operation *root,
                          llvm::function_ref<bool(Operation *)> skip) {
  root->walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (skip && skip(op))
      return WalkResult::skip();
    // A weight counts where it is read, not where it is defined.
    if (!llvm::isa<WeightExprInterface>(op))
      for (Value operand : op->getOperands())
        add(operand);
    return WalkResult::advance();
  });
}

void WeightCount::add(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op || !seen.insert(op).second)
    return;
  if (auto weight = llvm::dyn_cast<WeightOp>(op)) {
    auto type = llvm::cast<RankedTensorType>(weight.getType());
    if (!attributes.insert(weight.getValueAttr()).second)
      return;
    FailureOr<uint64_t> size = getPackedByteSize(type);
    parameters += type.getNumElements();
    bytes += succeeded(size) ? *size : 0;
    return;
  }
  if (llvm::isa<WeightExprInterface>(op))
    for (Value source : op->getOperands())
      add(source);
}
