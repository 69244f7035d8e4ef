//===- Fusion.h - The pipeline ffn-fusion -----------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_PIPELINES_FUSION_H
#define FFN_MLIR_PIPELINES_FUSION_H

namespace mlir::ffn {

/// Registers `ffn-fusion` (FFN Fusion, arXiv 2503.18908): `ffn-parallelize`
/// with the same options, then `ffn-fold-norm` and `ffn-merge-parallel`, which
/// make one wide network of those that read the same input. Approximate as
/// `ffn-parallelize` is; `round` as in `ffn-fold-norm`.
void registerFusionPipeline();

} // namespace mlir::ffn

#endif // FFN_MLIR_PIPELINES_FUSION_H
