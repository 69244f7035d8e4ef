//===- AttentionLower.cpp - Attention that was not raised -----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/LowerHelpers.h"

using namespace mlir;
using namespace mlir::ffn;

/// What raising to ffn.attention covers is compiled from there; the rest is
/// refused here, naming what stands in the way.
static LogicalResult lowerAttention(LowerContext &ctx) {
  for (StringRef name : {"left_window_size", "right_window_size"})
    if (ctx.node.getInt(name, -1) >= 0)
      return ctx.unsupported("attribute '" + name + "' has no lowering");
  if (ctx.node.getFloat("softcap", 0) != 0)
    return ctx.unsupported("attribute 'softcap' has no lowering");
  int64_t precision = ctx.node.getInt("softmax_precision", 0);
  if (precision != 0 && precision != (elementOf(ctx.input(0)).isF64() ? 11 : 1))
    return ctx.unsupported("attribute 'softmax_precision' asks for a type "
                           "that the softmax is not computed in");
  for (unsigned i = 4; i < ctx.inputs.size(); ++i)
    if (ctx.input(i))
      return ctx.unsupported("input " + Twine(i) + " has no lowering");
  for (unsigned i = 1; i < ctx.results.size(); ++i)
    if (ctx.isUsed(i))
      return ctx.unsupported("output " + Twine(i) + " has no lowering");
  return ctx.unsupported("this form of it has no lowering");
}

FFN_REGISTER_OPS(AttentionLower) {
  table.addLower("", "Attention", 23, lowerAttention);
}
