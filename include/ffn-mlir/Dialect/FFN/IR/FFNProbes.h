//===- FFNProbes.h - Operations of instrumented models ----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// ffn.hidden and ffn.observe, which only what instruments a model and what
// compiles it need to know.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_FFN_IR_FFNPROBES_H
#define FFN_MLIR_DIALECT_FFN_IR_FFNPROBES_H

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"

#define GET_OP_CLASSES
#include "ffn-mlir/Dialect/FFN/IR/FFNProbeOps.h.inc"

#endif // FFN_MLIR_DIALECT_FFN_IR_FFNPROBES_H
