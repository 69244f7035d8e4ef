//===- Evaluator.h - Variants of a model on the same samples ----*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// What every search rests on: a set of samples, the original model's values on
// them, and a figure for each of many sets of sublayers that are left out.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SEARCH_EVALUATOR_H
#define FFN_MLIR_SEARCH_EVALUATOR_H

#include "ffn-mlir/Search/LogitMetric.h"
#include "ffn-mlir/Search/StagedModel.h"
#include "llvm/ADT/DenseMap.h"
#include <map>

namespace mlir::ffn {

class Evaluator {
public:
  /// Runs the original model on every sample; the tensors are taken. `output`
  /// is the index of the result of @main that is measured. Fails where there
  /// is no sample, where the model does, or where that result is a constant
  /// (FFN-P111).
  static llvm::Expected<std::unique_ptr<Evaluator>>
  create(StagedModel &model, std::vector<std::vector<HostTensor>> samples,
         unsigned output);

  /// The class that each row of the output of each sample should have, for
  /// metrics that look at targets; see `measureTargets`.
  void setTargets(std::vector<std::vector<int64_t>> targets);
  bool hasTargets() const { return !targets.empty(); }

  /// The figure of the model without each of `masks` (one bit a sublayer) over
  /// the different samples `which` (all where empty); infinity where it is no
  /// number. What is measured is remembered and not run again.
  /// Runs of masks and samples are spread over the workers, and each restarts
  /// from the last value that it shares with one that is known. The figures are
  /// the same bits for any number of workers and any company of masks.
  llvm::Expected<std::vector<double>>
  measure(llvm::ArrayRef<llvm::BitVector> masks, LogitMetric metric,
          llvm::ArrayRef<size_t> which = {});

  /// Forgets figures, so that later runs count as if they were the first.
  void forget() { known.clear(); }

  /// Keeps the values of the model without `mask`, to restart from them.
  llvm::Error setBase(const llvm::BitVector &mask);

  /// Seconds that each sublayer takes on the first sample on one thread, the
  /// median of several runs, and, as the last element, the whole model.
  llvm::Expected<std::vector<double>> measureSeconds();

  StagedModel &getModel() const { return model; }
  size_t getNumSamples() const { return original.size(); }
  const StagedModel::State &getOriginal(size_t sample) const {
    return original[sample];
  }
  /// A set that leaves nothing out.
  llvm::BitVector none() const {
    return llvm::BitVector(model.getSublayers().size());
  }
  /// Runs of a sample through the model so far, parts counted as whole.
  uint64_t getNumEvaluations() const { return evaluations; }

private:
  Evaluator(StagedModel &model, unsigned output)
      : model(model), output(output), baseMask(none()) {}
  WeightedSum measureSample(size_t sample, const StagedModel::State &state,
                            LogitMetric metric) const;

  StagedModel &model;
  unsigned output;
  std::vector<StagedModel::State> original, base;
  llvm::BitVector baseMask;
  std::vector<std::vector<int64_t>> targets;
  /// A figure for each sample; none where it was not measured.
  std::map<LogitMetric, llvm::DenseMap<llvm::BitVector,
                                       std::vector<std::optional<WeightedSum>>>>
      known;
  uint64_t evaluations = 0;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_SEARCH_EVALUATOR_H
