//===- Quality.h - What a rewrite did to a model's outputs ------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DRIVER_QUALITY_H
#define FFN_MLIR_DRIVER_QUALITY_H

#include "ffn-mlir/Driver/EvalData.h"
#include "ffn-mlir/Driver/Metrics.h"

namespace mlir::ffn {

/// The hidden state after a sublayer as an output is named "hidden:" and the
/// names of its addends, joined by " + " (the pass ffn-expose-hidden).
inline constexpr llvm::StringLiteral kHiddenPrefix = "hidden:";

struct QualityReport {
  struct Output {
    std::string name;
    bool sameShape = true;
    TensorComparison tensor;
  };
  enum class LayerStatus {
    Compared,
    /// The candidate has no sublayer of this name.
    Removed,
    /// The candidate computes it together with a later one, behind which they
    /// are compared.
    Merged
  };
  struct Layer {
    std::string name;
    LayerStatus status;
    TensorComparison tensor;
  };

  bool text = false;
  uint64_t samples = 0, bytes = 0, characters = 0;
  /// Outputs that both have, in the order of the candidate.
  std::vector<Output> outputs;
  std::vector<std::string> onlyInReference, onlyInCandidate;
  /// Sublayers of the reference in order; empty where one of the models does
  /// not show its hidden states.
  std::vector<Layer> layers;
  std::string logitsName;
  std::optional<LogitComparison> logits;

  llvm::json::Object toJSON() const;
  void print(llvm::raw_ostream &os) const;
};

/// Runs both models on all samples. Only what is summed is kept of a sample,
/// and eight bytes for each row of logits. For text, rows of logits that are
/// not scored are left out of `logits`, and are in `outputs`. Fails where the
/// models do not fit the data or one another (FFN-D..., FFN-R400).
llvm::Expected<QualityReport>
compareOnData(Artefact &reference, Artefact &candidate, const EvalData &data,
              TensorBounds bounds, llvm::function_ref<void(size_t)> progress);

/// Pairs sublayers by the names of their addends: for each of the reference
/// the index of the candidate's sublayer behind which they are compared, and
/// how. A sublayer that became part of a later one is compared behind its last
/// part.
std::vector<std::pair<QualityReport::LayerStatus, size_t>>
matchSublayers(llvm::ArrayRef<llvm::SmallVector<std::string>> reference,
               llvm::ArrayRef<llvm::SmallVector<std::string>> candidate);

/// A figure that a user may limit.
struct QualityMetric {
  /// "kl"; the flag is --max-kl, or --min-top1 where less is worse.
  llvm::StringLiteral name, help;
  bool isMinimum;
  /// One of them is null.
  double (*ofModel)(const LogitComparison &logits);
  double (*ofTensor)(const TensorComparison &tensor);
  /// Of hidden states, not of outputs.
  bool ofLayers;
};
llvm::ArrayRef<QualityMetric> getQualityMetrics();

/// What is beyond a limit.
struct QualityViolation {
  llvm::StringRef metric;
  /// Output or sublayer.
  std::string where;
  double value, limit;
};

llvm::json::Array toJSON(llvm::ArrayRef<QualityViolation> violations);

/// A figure that is NaN is beyond every limit. Fails where a limited figure
/// does not exist (FFN-R400).
llvm::Expected<std::vector<QualityViolation>>
findViolations(const QualityReport &report,
               const std::map<std::string, double> &limits);

} // namespace mlir::ffn

#endif // FFN_MLIR_DRIVER_QUALITY_H
