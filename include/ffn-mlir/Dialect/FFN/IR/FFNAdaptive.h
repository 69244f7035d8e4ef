//===- FFNAdaptive.h - Operations of adaptive depth -------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// ffn.skip and what its conditions are made of, which only what makes them and
// what runs them need to know.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_FFN_IR_FFNADAPTIVE_H
#define FFN_MLIR_DIALECT_FFN_IR_FFNADAPTIVE_H

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"

#define GET_OP_CLASSES
#include "ffn-mlir/Dialect/FFN/IR/FFNAdaptiveOps.h.inc"

#endif // FFN_MLIR_DIALECT_FFN_IR_FFNADAPTIVE_H
