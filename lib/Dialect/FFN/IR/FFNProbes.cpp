//===- FFNProbes.cpp - Operations of instrumented models ------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFNProbes.h"
#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::ffn;

#define GET_OP_CLASSES
#include "ffn-mlir/Dialect/FFN/IR/FFNProbeOps.cpp.inc"
