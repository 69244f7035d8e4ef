//===- FFN.h - The ffn dialect ----------------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_FFN_IR_FFN_H
#define FFN_MLIR_DIALECT_FFN_IR_FFN_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace mlir::ffn {
class WeightStore;
class EvalState;
} // namespace mlir::ffn

#include "ffn-mlir/Dialect/FFN/IR/FFNDialect.h.inc"
#include "ffn-mlir/Dialect/FFN/IR/FFNEnums.h.inc"
#include "ffn-mlir/Dialect/FFN/IR/FFNInterfaces.h.inc"

#define GET_ATTRDEF_CLASSES
#include "ffn-mlir/Dialect/FFN/IR/FFNAttrs.h.inc"

#define GET_OP_CLASSES
#include "ffn-mlir/Dialect/FFN/IR/FFNOps.h.inc"

#endif // FFN_MLIR_DIALECT_FFN_IR_FFN_H
