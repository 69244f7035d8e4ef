//===- DenseWeight.cpp - Bytes of weight expressions ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Target/CPU/DenseWeight.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Support/WeightEval.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/Support/MathExtras.h"
#include <cstring>

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

static unsigned elementBytes(Type type) {
  if (type.isInteger(1))
    return 1;
  return type.isIntOrFloat() ? type.getIntOrFloatBitWidth() / 8 : 0;
}

double DenseWeight::getDouble(int64_t i) const {
  Type element = type.getElementType();
  const char *p = bytes().data() + i * elementBytes(element);
  if (element.isF32()) {
    float value;
    std::memcpy(&value, p, sizeof(value));
    return value;
  }
  if (element.isF64()) {
    double value;
    std::memcpy(&value, p, sizeof(value));
    return value;
  }
  if (auto floating = llvm::dyn_cast<FloatType>(element)) {
    uint64_t raw = 0;
    std::memcpy(&raw, p, elementBytes(element));
    llvm::APFloat value(floating.getFloatSemantics(),
                        llvm::APInt(floating.getWidth(), raw));
    bool lossy;
    value.convert(llvm::APFloat::IEEEdouble(),
                  llvm::APFloat::rmNearestTiesToEven, &lossy);
    return value.convertToDouble();
  }
  return static_cast<double>(getInt(i));
}

int64_t DenseWeight::getInt(int64_t i) const {
  Type element = type.getElementType();
  unsigned width = elementBytes(element);
  uint64_t raw = 0;
  std::memcpy(&raw, bytes().data() + i * width, width);
  if (width == 8 || element.isUnsignedInteger() || element.isInteger(1))
    return static_cast<int64_t>(raw);
  return llvm::SignExtend64(raw, width * 8);
}

//===----------------------------------------------------------------------===//
// Expressions
//===----------------------------------------------------------------------===//

void mlir::ffn::dropWeight(Value expression) {
  SmallVector<Value> worklist{expression};
  while (!worklist.empty()) {
    Operation *op = worklist.pop_back_val().getDefiningOp();
    if (auto weight = llvm::dyn_cast_if_present<WeightOp>(op)) {
      if (auto span = llvm::dyn_cast<SpanAttr>(weight.getValue()))
        WeightStore::get(op->getContext()).drop(op, span);
    } else if (auto expr = llvm::dyn_cast_if_present<WeightExprInterface>(op)) {
      worklist.append(expr.getWeightSources());
    }
  }
}

static FailureOr<DenseWeight> readLeaf(WeightOp weight, DenseWeight result) {
  Operation *op = weight;
  auto span = llvm::dyn_cast<SpanAttr>(weight.getValue());
  if (!span) {
    SmallVector<char> bytes;
    if (failed(readWeightBytes(op, weight.getValue(), bytes)))
      return failure();
    result.owned.assign(bytes.begin(), bytes.end());
    return std::move(result);
  }
  FailureOr<uint64_t> size = getPackedByteSize(result.type);
  if (failed(size) || span.getSize() != *size)
    return weight.emitError("weight '")
           << span.getKey().getValue() << "': span of " << span.getSize()
           << " bytes does not fit type " << result.type << " [FFN-W105]";
  FailureOr<ArrayRef<char>> view =
      WeightStore::get(op->getContext()).map(op, span);
  if (failed(view))
    return failure();
  result.view = *view;
  return std::move(result);
}

FailureOr<DenseWeight> mlir::ffn::evaluateWeight(Value expression) {
  auto type = llvm::dyn_cast<RankedTensorType>(expression.getType());
  if (!type || !isWeightExpression(expression)) {
    emitError(expression.getLoc(),
              "weight expression has no dense form here [FFN-W106]");
    return failure();
  }
  DenseWeight result;
  result.type = type;
  if (auto weight = expression.getDefiningOp<WeightOp>())
    return readLeaf(weight, std::move(result));
  SmallVector<char> bytes;
  if (failed(WeightEvaluator().readAll(expression, bytes)))
    return failure();
  result.owned.assign(bytes.begin(), bytes.end());
  return std::move(result);
}
