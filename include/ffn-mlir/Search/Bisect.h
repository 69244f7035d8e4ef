//===- Bisect.h - The first sublayer that differs ---------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SEARCH_BISECT_H
#define FFN_MLIR_SEARCH_BISECT_H

#include "ffn-mlir/Driver/EvalData.h"
#include "ffn-mlir/Search/StagedModel.h"
#include "llvm/Support/JSON.h"

namespace mlir::ffn {

struct BisectResult {
  struct Probe {
    std::string sublayer;
    /// Relative L2 distance of the hidden states behind it.
    double distance;
  };
  /// In the order they were made; each is one partial run of both models.
  std::vector<Probe> probes;
  /// Sublayers that both models have.
  unsigned sublayers = 0;
  /// The sublayer behind which the distance is beyond the tolerance, while it
  /// is within it behind the one before; none where it is within it behind the
  /// last.
  std::optional<unsigned> first;
  std::string name;
  double distance = 0;
  /// The same of this sublayer of the candidate on the hidden state of the
  /// reference: its own part of the distance.
  double alone = 0;
  /// Sublayers of the reference between the one before and this one that the
  /// candidate does not have.
  std::vector<std::string> removedBefore;
  /// Of the outputs of floats, the largest.
  double outputDistance = 0;
  /// Partial runs over all samples; at most ceil(log2 sublayers) + 2.
  unsigned runs = 0;

  llvm::json::Object toJSON() const;
};

/// Runs both models once to the end, then parts of them: each probe begins
/// behind a sublayer that is known to be within the tolerance and halves the
/// rest; the last run is of one sublayer alone. Where the distance does not
/// grow steadily the first sublayer found need not be the only one. `samples`
/// has inputs of both models for each sample. Fails where the models share no
/// sublayer or differ in the shape of a hidden state (FFN-R400).
llvm::Expected<BisectResult>
bisectSublayers(StagedModel &reference, StagedModel &candidate,
                std::vector<std::vector<HostTensor>> referenceSamples,
                std::vector<std::vector<HostTensor>> candidateSamples,
                double tolerance,
                llvm::function_ref<void(const BisectResult::Probe &)> progress);

/// The same for two model modules that are not raised yet, which it raises and
/// compiles, without optimisation: six partial runs over a few samples take
/// less time than that would. Fails after a message.
llvm::Expected<BisectResult>
bisectModules(ModuleOp reference, ModuleOp candidate, const EvalData &data,
              double tolerance, StagedModelOptions options,
              llvm::function_ref<void(const BisectResult::Probe &)> progress);

} // namespace mlir::ffn

#endif // FFN_MLIR_SEARCH_BISECT_H
