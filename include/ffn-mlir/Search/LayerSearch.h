//===- LayerSearch.h - Which sublayers a model can do without ---*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SEARCH_LAYERSEARCH_H
#define FFN_MLIR_SEARCH_LAYERSEARCH_H

#include "ffn-mlir/Search/Evaluator.h"

namespace mlir::ffn {

enum class LayerMethod {
  /// FinerCut (arXiv 2405.18218): greedy, against the original logits.
  FinerCut,
  /// ShortGPT (arXiv 2403.03853): 1 - cos(input, output), of each sublayer or
  /// of whole blocks.
  BlockInfluence,
  /// The second stage of 2SSP (arXiv 2501.17771): greedy, by the likelihood of
  /// the first sample.
  TwoStage,
  /// A seeded draw, to compare with.
  Random,
  /// EvoPress (arXiv 2410.14649): elitist evolution at a fixed budget.
  EvoPress
};
/// "finercut", "block-influence", "2ssp", "random", "evopress".
std::optional<LayerMethod> parseLayerMethod(llvm::StringRef name);

struct LayerSearchOptions {
  LayerMethod method = LayerMethod::FinerCut;
  /// FinerCut and EvoPress choose by it; TwoStage by NLL, whatever it says.
  LogitMetric metric = LogitMetric::JS;
  /// Sublayers are left out until what they cost adds up to `budget`.
  double budget = 0;
  /// What leaving out each sublayer of the model saves; empty: one each, which
  /// makes the budget a number of sublayers.
  std::vector<double> costs;
  /// Kinds that may be left out; empty: all. A sublayer with several addends
  /// counts if all of their kinds are named.
  SmallVector<SublayerKind> kinds;
  /// FinerCut: of n candidates, those of the first floor(n x / 2) + 1 blocks
  /// are kept until floor(n x) + 1 are gone. 0: none is protected.
  double protect = 0.4;
  /// BlockInfluence: the candidates of a block go together or not at all, those
  /// of blocks that do not fit into what is left of the budget stay.
  bool wholeBlocks = false;
  /// Random, EvoPress.
  uint64_t seed = 0;
  /// EvoPress: evaluations on all samples at most; 0: generations as published.
  unsigned maxEvaluations = 0;
};

struct LayerStep {
  unsigned sublayer;
  /// Figure of the model without this and all earlier ones; for block influence
  /// the influence. NaN where the method gives none.
  double score;
};

struct LayerSearchResult {
  /// In the order of removal.
  std::vector<LayerStep> steps;
  /// Distance of the final model from the original by the metric; NaN where
  /// it was not measured.
  double distance = 0;
  /// Runs of a sample through the model, parts counted as whole.
  uint64_t evaluations = 0;
  /// Candidates that FinerCut protected in the end.
  llvm::BitVector kept;
};

/// Sublayers that the options admit.
SmallVector<unsigned> listCandidates(ArrayRef<StagedSublayer> sublayers,
                                     ArrayRef<SublayerKind> kinds);

/// Chooses sublayers on the samples of `evaluator`. `progress` hears of each
/// step as it is made. The result depends on nothing but the arguments: of
/// equal scores the first sublayer wins. Fails where all candidates together
/// do not cost as much as the budget (FFN-P112).
llvm::Expected<LayerSearchResult>
searchLayers(Evaluator &evaluator, const LayerSearchOptions &options,
             llvm::function_ref<void(const LayerStep &)> progress);

/// BlockInfluence, one by one, where the influence of every sublayer is known
/// already; nothing is run, and the distance of the final model is NaN.
llvm::Expected<LayerSearchResult>
searchInfluence(ArrayRef<StagedSublayer> sublayers, ArrayRef<double> influence,
                const LayerSearchOptions &options);

} // namespace mlir::ffn

#endif // FFN_MLIR_SEARCH_LAYERSEARCH_H
