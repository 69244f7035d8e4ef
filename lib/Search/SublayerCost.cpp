//===- SublayerCost.cpp - What leaving out a sublayer saves ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/SublayerCost.h"
#include "ffn-mlir/Dialect/FFN/IR/WeightCount.h"

using namespace mlir;
using namespace mlir::ffn;

SublayerCosts mlir::ffn::countParameters(Operation *function,
                                         ArrayRef<SublayerOp> sublayers) {
  WeightCount whole;
  whole.addFrom(function);
  SublayerCosts costs;
  costs.total = whole.parameters;
  for (SublayerOp sublayer : sublayers) {
    WeightCount rest;
    rest.addFrom(function, [&](Operation *op) { return op == sublayer; });
    costs.each.push_back(whole.parameters - rest.parameters);
  }
  return costs;
}

static double sumFlops(Operation *root) {
  double sum = 0;
  root->walk([&](ComputeOpInterface op) { sum += op.getFlopsPerToken(); });
  return sum;
}

SublayerCosts mlir::ffn::countFlops(Operation *function,
                                    ArrayRef<SublayerOp> sublayers) {
  SublayerCosts costs;
  costs.total = sumFlops(function);
  for (SublayerOp sublayer : sublayers)
    costs.each.push_back(sumFlops(sublayer));
  return costs;
}
