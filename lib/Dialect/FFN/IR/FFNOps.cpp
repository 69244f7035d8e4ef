//===- FFNOps.cpp - Structure and compute operations ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFNProbes.h"
#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::ffn;

#define GET_OP_CLASSES
#include "ffn-mlir/Dialect/FFN/IR/FFNOps.cpp.inc"

//===----------------------------------------------------------------------===//
// SublayerOp
//===----------------------------------------------------------------------===//

OperandRange SublayerOp::getYieldedAddends() {
  return getBody().front().getTerminator()->getOperands().take_front(
      getNumAddends());
}

OperandRange SublayerOp::getYieldedExtras() {
  return getBody().front().getTerminator()->getOperands().drop_front(
      getNumAddends());
}

void SublayerOp::getAsmBlockArgumentNames(Region &region,
                                          OpAsmSetValueNameFn setName) {
  if (!region.empty() && region.getNumArguments() == 1)
    setName(region.getArgument(0), "x");
}

LogicalResult SublayerOp::verify() {
  if (getAddends().empty())
    return emitOpError("needs at least one addend");
  Block &block = getBody().front();
  if (block.getNumArguments() != 1 ||
      block.getArgument(0).getType() != getResidual().getType())
    return emitOpError("body takes the residual as its one argument");
  if (getHidden().getType() != getResidual().getType())
    return emitOpError("hidden result must have the residual's type");
  auto yield = llvm::dyn_cast_if_present<YieldOp>(
      block.empty() ? nullptr : &block.back());
  if (!yield)
    return emitOpError("body must end with ffn.yield");
  if (yield.getNumOperands() != getAddends().size() + getExtras().size())
    return emitOpError("yields ")
           << yield.getNumOperands() << " values for " << getAddends().size()
           << " addends and " << getExtras().size() << " extra results";
  for (Value addend : getYieldedAddends())
    if (addend.getType() != getResidual().getType())
      return emitOpError("addend of type ")
             << addend.getType() << " differs from the residual's type";
  for (auto [value, result] : llvm::zip(getYieldedExtras(), getExtras()))
    if (value.getType() != result.getType())
      return emitOpError("extra result of type ")
             << result.getType() << " is yielded as " << value.getType();
  if (ArrayAttr state = getStateAttr())
    for (auto pair : state.getAsRange<StatePairAttr>())
      if (pair.getExtra() >= getExtras().size())
        return emitOpError("state pair names extra result ")
               << pair.getExtra() << " of " << getExtras().size();
  return success();
}

//===----------------------------------------------------------------------===//
// Compute operations
//===----------------------------------------------------------------------===//

static RankedTensorType ranked(Value value) {
  return value ? llvm::dyn_cast<RankedTensorType>(value.getType())
               : RankedTensorType();
}

static int64_t lastDim(Value value) {
  RankedTensorType type = ranked(value);
  return type && type.getRank() > 0 ? type.getShape().back()
                                    : ShapedType::kDynamic;
}

static LogicalResult checkVector(Operation *op, Value value, StringRef name,
                                 int64_t size) {
  if (!value)
    return success();
  RankedTensorType type = ranked(value);
  if (type.getRank() != 1 ||
      (!ShapedType::isDynamic(size) && type.getDimSize(0) != size))
    return op->emitOpError() << name << " must be a vector of " << size
                             << " elements, is " << type;
  return success();
}

static LogicalResult checkMatrix(Operation *op, Value value, StringRef name,
                                 int64_t rows, int64_t cols) {
  if (!value)
    return success();
  RankedTensorType type = ranked(value);
  bool ok = type.getRank() == 2 &&
            (ShapedType::isDynamic(rows) || type.getDimSize(0) == rows) &&
            (ShapedType::isDynamic(cols) || type.getDimSize(1) == cols);
  if (!ok) {
    InFlightDiagnostic diag = op->emitOpError()
                              << name << " must be of shape [";
    auto dim = [&](int64_t d) {
      if (ShapedType::isDynamic(d))
        diag << "?";
      else
        diag << d;
    };
    dim(rows);
    diag << ", ";
    dim(cols);
    diag << "], is " << type;
    return diag;
  }
  return success();
}

static uint64_t elementCount(Value value) {
  RankedTensorType type = ranked(value);
  return type && type.hasStaticShape()
             ? static_cast<uint64_t>(type.getNumElements())
             : 0;
}

LogicalResult NormOp::verify() {
  int64_t width = lastDim(getInput());
  if (failed(checkVector(*this, getScale(), "scale", width)) ||
      failed(checkVector(*this, getBias(), "bias", width)))
    return failure();
  if (!(getEps().convertToDouble() >= 0))
    return emitOpError("eps must not be negative");
  return success();
}

uint64_t NormOp::getFlopsPerToken() {
  int64_t width = lastDim(getInput());
  return ShapedType::isDynamic(width) ? 0 : 5 * width;
}

SmallVector<Value> NormOp::getWeightOperands() {
  SmallVector<Value> weights;
  for (Value value : {getScale(), getBias()})
    if (value)
      weights.push_back(value);
  return weights;
}

LogicalResult LinearOp::verify() {
  if (failed(checkMatrix(*this, getWeight(), "weight", lastDim(getResult()),
                         lastDim(getInput()))))
    return failure();
  return checkVector(*this, getBias(), "bias",
                     ranked(getWeight()).getDimSize(0));
}

uint64_t LinearOp::getFlopsPerToken() { return 2 * elementCount(getWeight()); }

SmallVector<Value> LinearOp::getWeightOperands() {
  SmallVector<Value> weights{getWeight()};
  if (getBias())
    weights.push_back(getBias());
  return weights;
}

int64_t FeedForwardOp::getHiddenWidth() {
  return ranked(getUp()).getDimSize(0);
}

int64_t FeedForwardOp::getInputWidth() { return ranked(getUp()).getDimSize(1); }

LogicalResult FeedForwardOp::verify() {
  if (ranked(getUp()).getRank() != 2)
    return emitOpError("up must be a matrix, is ") << getUp().getType();
  int64_t m = getHiddenWidth(), d = getInputWidth();
  if (failed(checkMatrix(*this, getUp(), "up", m, lastDim(getInput()))) ||
      failed(checkMatrix(*this, getGate(), "gate", m, d)) ||
      failed(checkMatrix(*this, getDown(), "down", lastDim(getResult()), m)) ||
      failed(checkVector(*this, getUpBias(), "up_bias", m)) ||
      failed(checkVector(*this, getGateBias(), "gate_bias", m)) ||
      failed(checkVector(*this, getDownBias(), "down_bias",
                         ranked(getDown()).getDimSize(0))))
    return failure();
  if (getGateBias() && !getGate())
    return emitOpError("has a gate_bias but no gate");
  return success();
}

uint64_t FeedForwardOp::getFlopsPerToken() {
  return 2 * (elementCount(getUp()) + elementCount(getGate()) +
              elementCount(getDown()));
}

SmallVector<Value> FeedForwardOp::getWeightOperands() {
  SmallVector<Value> weights;
  for (Value value : {getUp(), getGate(), getDown(), getUpBias(), getGateBias(),
                      getDownBias()})
    if (value)
      weights.push_back(value);
  return weights;
}

int64_t HiddenOp::getHiddenWidth() { return ranked(getUp()).getDimSize(0); }

int64_t HiddenOp::getInputWidth() { return ranked(getUp()).getDimSize(1); }

LogicalResult HiddenOp::verify() {
  if (ranked(getUp()).getRank() != 2)
    return emitOpError("up must be a matrix, is ") << getUp().getType();
  int64_t m = getHiddenWidth(), d = getInputWidth(), out = lastDim(getResult());
  if (failed(checkMatrix(*this, getUp(), "up", m, lastDim(getInput()))) ||
      failed(checkMatrix(*this, getGate(), "gate", m, d)) ||
      failed(checkVector(*this, getUpBias(), "up_bias", m)) ||
      failed(checkVector(*this, getGateBias(), "gate_bias", m)))
    return failure();
  if (!ShapedType::isDynamic(out) && out != m)
    return emitOpError("result has width ")
           << out << ", the hidden layer " << m;
  if (getGateBias() && !getGate())
    return emitOpError("has a gate_bias but no gate");
  return success();
}

uint64_t HiddenOp::getFlopsPerToken() {
  return 2 * (elementCount(getUp()) + elementCount(getGate()));
}

SmallVector<Value> HiddenOp::getWeightOperands() {
  SmallVector<Value> weights;
  for (Value value : {getUp(), getGate(), getUpBias(), getGateBias()})
    if (value)
      weights.push_back(value);
  return weights;
}

LogicalResult AttentionOp::verify() {
  RankedTensorType q = ranked(getQuery()), k = ranked(getKey()),
                   v = ranked(getValue()), r = ranked(getResult());
  if (!q || !k || !v || !r || q.getRank() != 4 || k.getRank() != 4 ||
      v.getRank() != 4 || r.getRank() != 4)
    return emitOpError("query, key, value and result must be of rank 4");
  int64_t heads = q.getDimSize(1), groups = k.getDimSize(1);
  if (ShapedType::isDynamic(heads) || ShapedType::isDynamic(groups) ||
      groups < 1 || heads % groups != 0)
    return emitOpError("needs static head counts, ")
           << groups << " key heads must divide " << heads << " query heads";
  if (q.getDimSize(3) != k.getDimSize(3) || v.getDimSize(1) != groups ||
      r.getDimSize(1) != heads || r.getDimSize(3) != v.getDimSize(3))
    return emitOpError("head sizes of query, key, value and result disagree");
  return success();
}

uint64_t AttentionOp::getFlopsPerToken() {
  // Grows with the number of keys, which the type may not know.
  RankedTensorType q = ranked(getQuery()), k = ranked(getKey());
  if (k.isDynamicDim(2) || q.isDynamicDim(3))
    return 0;
  return 4 * q.getDimSize(1) * q.getDimSize(3) * k.getDimSize(2);
}

SmallVector<Value> AttentionOp::getWeightOperands() { return {}; }

LogicalResult EmbeddingOp::verify() {
  RankedTensorType table = ranked(getTable());
  if (table.getRank() != 2 || lastDim(getResult()) != table.getDimSize(1))
    return emitOpError(
        "table must be [vocabulary, width] with the result's width");
  auto ids = ranked(getIds());
  if (ids && !ids.getElementType().isInteger())
    return emitOpError("ids must be integers");
  return success();
}

uint64_t EmbeddingOp::getFlopsPerToken() { return 0; }

SmallVector<Value> EmbeddingOp::getWeightOperands() { return {getTable()}; }
