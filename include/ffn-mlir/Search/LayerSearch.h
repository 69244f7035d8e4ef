//===- LayerSearch.h - Which sublayers a model can do without ---*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SEARCH_LAYERSEARCH_H
#define FFN_MLIR_SEARCH_LAYERSEARCH_H

#include "ffn-mlir/Search/StagedModel.h"

namespace mlir::ffn {

/// How far logits moved.
enum class LogitMetric {
  /// Jensen-Shannon: (KL(p | M) + KL(q | M)) / 2, M = (p + q) / 2, in nats,
  /// mean over rows.
  JS,
  /// (KL(M | p) + KL(M | q)) / 2, mean over all elements: what FinerCut's
  /// published program computes.
  JSReverse,
  /// Angle between rows in radians, mean over rows.
  Angular,
  /// Frobenius norm of the difference of a sequence, mean over sequences.
  Norm,
  /// KL(p | q) in nats, mean over rows.
  KL
};
/// "js", "js-reverse", "angular", "norm", "kl".
std::optional<LogitMetric> parseLogitMetric(llvm::StringRef name);

/// Distance of two outputs of one shape [sequences, ..., classes].
double measureLogits(LogitMetric metric, const HostTensor &reference,
                     const HostTensor &candidate);

enum class LayerMethod {
  /// FinerCut (arXiv 2405.18218): greedy, against the original logits.
  FinerCut,
  /// ShortGPT (arXiv 2403.03853): 1 - cos(input, output), of each sublayer.
  BlockInfluence,
  /// A seeded draw, to compare with.
  Random,
  /// EvoPress (arXiv 2410.14649): elitist evolution at a fixed budget.
  EvoPress
};
/// "finercut", "block-influence", "random", "evopress".
std::optional<LayerMethod> parseLayerMethod(llvm::StringRef name);

struct LayerSearchOptions {
  LayerMethod method = LayerMethod::FinerCut;
  LogitMetric metric = LogitMetric::JS;
  /// Number of sublayers to leave out.
  unsigned count = 0;
  /// Kinds that may be left out; empty: all.
  SmallVector<SublayerKind> kinds;
  /// FinerCut: of n candidates, those of the first floor(n x / 2) + 1 blocks
  /// are kept until floor(n x) + 1 are gone. 0: none is protected.
  double protect = 0.4;
  /// Random, EvoPress.
  uint64_t seed = 0;
  /// EvoPress: evaluations on all samples at most; 0: generations as published.
  unsigned maxEvaluations = 0;
  /// Index of the output that is compared.
  unsigned output = 0;
};

struct LayerStep {
  unsigned sublayer;
  /// Of the model without this and all earlier ones; for block influence the
  /// influence. NaN where the method gives none.
  double score;
};

struct LayerSearchResult {
  /// In the order of removal.
  std::vector<LayerStep> steps;
  /// Distance of the final model from the original.
  double distance = 0;
  /// Runs of a sample through the model, parts counted as whole.
  uint64_t evaluations = 0;
  /// Candidates that FinerCut protected in the end.
  llvm::BitVector kept;
};

/// Chooses sublayers on the given samples, which are taken. `progress` hears of
/// each step as it is made. The result depends on nothing but its arguments: of
/// equal scores the first sublayer wins. Fails where there are fewer candidates
/// than `count` (FFN-P112).
llvm::Expected<LayerSearchResult>
searchLayers(StagedModel &model, std::vector<std::vector<HostTensor>> samples,
             const LayerSearchOptions &options,
             llvm::function_ref<void(const LayerStep &)> progress);

} // namespace mlir::ffn

#endif // FFN_MLIR_SEARCH_LAYERSEARCH_H
