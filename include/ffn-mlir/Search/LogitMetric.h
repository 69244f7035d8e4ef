//===- LogitMetric.h - How good or how far logits are -----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SEARCH_LOGITMETRIC_H
#define FFN_MLIR_SEARCH_LOGITMETRIC_H

#include "ffn-mlir/Driver/HostTensor.h"
#include <optional>

namespace mlir::ffn {

/// A figure that is smaller for better logits.
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
  KL,
  /// Negative log likelihood of the target in nats, mean over rows that have
  /// one; exp of it is the perplexity.
  NLL,
  /// Share of the rows with a target whose greatest logit is another class.
  Error
};
/// "js", "js-reverse", "angular", "norm", "kl", "nll", "error".
std::optional<LogitMetric> parseLogitMetric(llvm::StringRef name);
/// NLL and Error look at targets and not at reference logits.
bool needsTargets(LogitMetric metric);

/// A mean in two parts, so that those of several samples add up to the mean
/// over all.
struct WeightedSum {
  double sum = 0, weight = 0;
  double mean() const { return weight > 0 ? sum / weight : 0; }
};

/// Distance of two outputs of one shape [sequences, ..., classes] by a metric
/// that needs no targets.
WeightedSum measureLogits(LogitMetric metric, const HostTensor &reference,
                          const HostTensor &candidate);
/// The output [..., classes] against a class for each of its rows; rows beyond
/// the targets, and rows whose target is negative, do not count. A target that
/// is no class makes the figure NaN.
WeightedSum measureTargets(LogitMetric metric, const HostTensor &candidate,
                           llvm::ArrayRef<int64_t> targets);

} // namespace mlir::ffn

#endif // FFN_MLIR_SEARCH_LOGITMETRIC_H
