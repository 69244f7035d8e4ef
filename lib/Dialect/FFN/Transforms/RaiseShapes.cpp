//===- RaiseShapes.cpp - Equal sizes --------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "RaiseDetail.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::raise;

bool Raiser::haveSameDim(Value a, unsigned dimA, Value b, unsigned dimB) {
  auto typeA = llvm::dyn_cast<RankedTensorType>(a.getType()),
       typeB = llvm::dyn_cast<RankedTensorType>(b.getType());
  if (!typeA || !typeB || dimA >= typeA.getRank() || dimB >= typeB.getRank())
    return false;
  if (!typeA.isDynamicDim(dimA) && !typeB.isDynamicDim(dimB))
    return typeA.getDimSize(dimA) == typeB.getDimSize(dimB);
  auto x = dims.find(a), y = dims.find(b);
  return x != dims.end() && y != dims.end() && dimA < x->second.size() &&
         dimB < y->second.size() && x->second[dimA] == y->second[dimB];
}

bool Raiser::haveSameLeadingDims(Value a, Value b) {
  auto typeA = llvm::dyn_cast<RankedTensorType>(a.getType()),
       typeB = llvm::dyn_cast<RankedTensorType>(b.getType());
  if (!typeA || !typeB || typeA.getRank() != typeB.getRank())
    return false;
  // With equal element counts of all but the last dimension, one that is not
  // known to agree agrees with the rest, unless that is empty.
  unsigned unknown = 0;
  for (int64_t i = 0; i + 1 < typeA.getRank(); ++i)
    if (!haveSameDim(a, i, b, i)) {
      if (!typeA.isDynamicDim(i) && !typeB.isDynamicDim(i))
        return false;
      ++unknown;
    }
  return unknown <= 1;
}

void Raiser::EraseListener::notifyOperationReplaced(Operation *op,
                                                    ValueRange replacement) {
  for (auto [result, value] : llvm::zip(op->getResults(), replacement)) {
    auto known = raiser.dims.find(result);
    if (known == raiser.dims.end() || raiser.dims.contains(value))
      continue;
    SmallVector<DimExpr> copy = known->second;
    raiser.dims[value] = std::move(copy);
  }
}

void Raiser::recordShapes(func::FuncOp func) {
  dims.clear();
  auto analysis = SymbolicShapeAnalysis::run(func, /*refine=*/false);
  if (failed(analysis))
    return;
  auto record = [&](Value value) {
    const SymValue &known = analysis->lookup(value);
    if (known.dims)
      dims[value] = llvm::to_vector(*known.dims);
  };
  func.walk([&](Operation *op) {
    for (Value result : op->getResults())
      record(result);
    for (Region &region : op->getRegions())
      for (Block &block : region)
        for (Value argument : block.getArguments())
          record(argument);
  });
}
