//===- FFNExperts.h - Networks of experts -----------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// ffn.moe, which only what makes it and what compiles it need to know.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_FFN_IR_FFNEXPERTS_H
#define FFN_MLIR_DIALECT_FFN_IR_FFNEXPERTS_H

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"

#include "ffn-mlir/Dialect/FFN/IR/FFNExpertEnums.h.inc"

#define GET_OP_CLASSES
#include "ffn-mlir/Dialect/FFN/IR/FFNExpertOps.h.inc"

#endif // FFN_MLIR_DIALECT_FFN_IR_FFNEXPERTS_H
