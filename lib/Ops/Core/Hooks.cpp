//===- Hooks.cpp - Effects of ONNX nodes ----------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/OpTable.h"

using namespace mlir;
using namespace mlir::ffn;

/// True when nothing in the bodies of `node` has an effect. Bodies are nested
/// at most as deep as the importer's subgraph limit.
static bool areBodiesPure(onnx::NodeOp node) {
  for (Region &region : node.getGraphs())
    for (Operation &op : region.getOps())
      if (!isMemoryEffectFree(&op))
        return false;
  return true;
}

static void
getEffects(Operation *op,
           SmallVectorImpl<MemoryEffects::EffectInstance> &effects) {
  auto node = dyn_cast<onnx::NodeOp>(op);
  const Schema *schema =
      node ? lookupSchema(node.getDomain(), node.getOp(), node.getVersion())
           : nullptr;
  OpEffect effect = schema ? schema->effect : OpEffect::Impure;
  if (effect == OpEffect::Pure && !areBodiesPure(node))
    effect = OpEffect::Impure;
  switch (effect) {
  case OpEffect::Pure:
    return;
  case OpEffect::Random:
    // A fresh result: may be dropped when unused, never merged with an equal.
    for (OpResult result : op->getResults())
      effects.emplace_back(MemoryEffects::Allocate::get(), result);
    return;
  case OpEffect::Impure:
    effects.emplace_back(MemoryEffects::Read::get());
    effects.emplace_back(MemoryEffects::Write::get());
    return;
  }
}

void ffn::installONNXHooks(MLIRContext *ctx) {
  onnx::ONNXDialect::Hooks hooks;
  hooks.effects = getEffects;
  ctx->getOrLoadDialect<onnx::ONNXDialect>()->setHooks(hooks);
}

void ffn::registerONNXHooks(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *ctx, onnx::ONNXDialect *dialect) {
    installONNXHooks(ctx);
  });
}
