//===- StructureShapes.h - Shapes of all that is no node --------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_OPS_CORE_STRUCTURESHAPES_H
#define FFN_MLIR_LIB_OPS_CORE_STRUCTURESHAPES_H

#include "ffn-mlir/Ops/OpTable.h"

namespace mlir::ffn {

/// Shapes of the results of an operation of the ffn dialect or of an upstream
/// dialect that carries sizes; others are left to their declared types. Bodies
/// are analysed through `runBody`.
LogicalResult computeStructureShapes(
    Operation *op, function_ref<const SymValue &(Value)> lookup,
    function_ref<LogicalResult(Region &, ArrayRef<SymValue>)> runBody,
    MutableArrayRef<SymValue> results);

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_OPS_CORE_STRUCTURESHAPES_H
