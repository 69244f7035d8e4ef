//===- FFNAdaptive.cpp - Operations of adaptive depth ---------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFNAdaptive.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace mlir::ffn;

#define GET_OP_CLASSES
#include "ffn-mlir/Dialect/FFN/IR/FFNAdaptiveOps.cpp.inc"

static RankedTensorType ranked(Value value) {
  return llvm::cast<RankedTensorType>(value.getType());
}

/// Whether `rows` may have one element for each row of `whole`.
static bool areRowsOf(RankedTensorType rows, RankedTensorType whole) {
  return whole.getRank() == rows.getRank() + 1 &&
         succeeded(verifyCompatibleShape(rows.getShape(),
                                         whole.getShape().drop_back()));
}

LogicalResult SkipOp::verify() {
  auto type = llvm::cast<RankedTensorType>(getType());
  if (!llvm::isa<FloatType>(type.getElementType()))
    return emitOpError("rows are floats, not ") << type.getElementType();
  if (!areRowsOf(ranked(getSkip()), type))
    return emitOpError("skip of type ")
           << getSkip().getType() << " has not one element for each row of "
           << type;
  Block &block = getBody().front();
  if (block.getNumArguments() != 0)
    return emitOpError("body takes no arguments");
  auto yield = llvm::dyn_cast_if_present<SkipYieldOp>(
      block.empty() ? nullptr : &block.back());
  if (!yield)
    return emitOpError("body must end with ffn.skip_yield");
  SmallVector<Value> sources{yield.getValue()};
  if (getOtherwise())
    sources.push_back(getOtherwise());
  for (Value source : sources)
    if (ranked(source).getElementType() != type.getElementType() ||
        failed(verifyCompatibleShape(source.getType(), type)))
      return emitOpError("rows of ")
             << source.getType() << " are none of " << type;
  return success();
}

/// Operations of a number for each row of `input`.
static LogicalResult verifyRows(Operation *op, Value input) {
  RankedTensorType type = ranked(input), result = ranked(op->getResult(0));
  if (!llvm::isa<FloatType>(type.getElementType()) ||
      result.getElementType() != type.getElementType())
    return op->emitOpError("takes and gives floats of one type");
  if (!areRowsOf(result, type))
    return op->emitOpError("result of type ")
           << result << " has not one element for each row of " << type;
  return success();
}

static uint64_t lastDim(Value value) {
  RankedTensorType type = ranked(value);
  return type.isDynamicDim(type.getRank() - 1) ? 0 : type.getShape().back();
}

LogicalResult RowCosineOp::verify() {
  if (failed(verifyCompatibleShape(getLhs().getType(), getRhs().getType())) ||
      ranked(getLhs()).getElementType() != ranked(getRhs()).getElementType())
    return emitOpError("compares rows of ")
           << getLhs().getType() << " with rows of " << getRhs().getType();
  return verifyRows(*this, getLhs());
}
uint64_t RowCosineOp::getFlopsPerToken() { return 6 * lastDim(getLhs()); }
SmallVector<Value> RowCosineOp::getWeightOperands() { return {}; }

LogicalResult RowMarginOp::verify() { return verifyRows(*this, getInput()); }
uint64_t RowMarginOp::getFlopsPerToken() { return 5 * lastDim(getInput()); }
SmallVector<Value> RowMarginOp::getWeightOperands() { return {}; }
