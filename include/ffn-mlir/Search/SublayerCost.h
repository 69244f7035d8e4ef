//===- SublayerCost.h - What leaving out a sublayer saves -------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SEARCH_SUBLAYERCOST_H
#define FFN_MLIR_SEARCH_SUBLAYERCOST_H

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include <vector>

namespace mlir::ffn {

struct SublayerCosts {
  /// Of each sublayer, and of the whole model.
  std::vector<double> each;
  double total = 0;
};

/// Parameters that only one sublayer reads; what it shares with others is no
/// saving of its own. The total has every parameter of `function` once.
SublayerCosts countParameters(Operation *function,
                              ArrayRef<SublayerOp> sublayers);
/// Floating-point operations for one token.
SublayerCosts countFlops(Operation *function, ArrayRef<SublayerOp> sublayers);

} // namespace mlir::ffn

#endif // FFN_MLIR_SEARCH_SUBLAYERCOST_H
