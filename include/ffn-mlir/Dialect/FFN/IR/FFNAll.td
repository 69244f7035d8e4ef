//===- FFNAll.td - The whole dialect, for its reference ----*- tablegen -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

include "ffn-mlir/Dialect/FFN/IR/FFNAdaptive.td"
include "ffn-mlir/Dialect/FFN/IR/FFNExpertOps.td"
