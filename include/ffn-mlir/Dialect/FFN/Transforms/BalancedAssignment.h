//===- BalancedAssignment.h - Groups of a given size ------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_FFN_TRANSFORMS_BALANCEDASSIGNMENT_H
#define FFN_MLIR_DIALECT_FFN_TRANSFORMS_BALANCEDASSIGNMENT_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"
#include <cstdint>

namespace mlir::ffn {

/// Puts each of `items` items into one of `groups` groups of exactly
/// `capacity` items at the least total cost; `items` is their product. `costs`
/// has the costs of an item, one for each group, item after item: numbers of at
/// most 2^40 in magnitude. The result names the group of each item.
///
/// This is the transportation problem, solved exactly: items start in their
/// cheapest group (of equal ones the first), then surplus moves along shortest
/// paths between groups. Memory is that of the costs, time about
/// items * groups * (log items + groups^2).
llvm::SmallVector<uint32_t, 0> assignBalanced(llvm::ArrayRef<int64_t> costs,
                                              size_t groups, size_t capacity);

} // namespace mlir::ffn

#endif // FFN_MLIR_DIALECT_FFN_TRANSFORMS_BALANCEDASSIGNMENT_H
