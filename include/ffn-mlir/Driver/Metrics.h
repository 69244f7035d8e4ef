//===- Metrics.h - Quality figures from logits ------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DRIVER_METRICS_H
#define FFN_MLIR_DRIVER_METRICS_H

#include "llvm/ADT/ArrayRef.h"
#include <cstdint>
#include <vector>

namespace mlir::ffn {

/// Negative log likelihood in nats of class `target` under softmax(logits),
/// in float64. NaN when the target is outside the logits.
double negativeLogLikelihood(llvm::ArrayRef<float> logits, int64_t target);

/// Index of the greatest logit; the lowest index among equals; -1 if a NaN is
/// among them or there are none.
int64_t argmax(llvm::ArrayRef<float> logits);

/// KL(softmax(p) || softmax(q)) in nats.
double klDivergence(llvm::ArrayRef<float> p, llvm::ArrayRef<float> q);

/// Sum over samples with a confidence interval of the mean.
struct Mean {
  uint64_t count = 0;
  double sum = 0, sumOfSquares = 0;
  void add(double value) {
    ++count;
    sum += value;
    sumOfSquares += value * value;
  }
  double value() const { return count ? sum / count : 0; }
  /// Half-width of the 95 % interval of the mean, samples taken as independent.
  double halfWidth() const;
};

/// Differences of two outputs of one shape, accumulated over calls.
class OutputComparison {
public:
  /// `rowSize` is the last dimension: the classes of a row of logits.
  void add(llvm::ArrayRef<float> reference, llvm::ArrayRef<float> candidate,
           size_t rowSize, bool distributions);

  uint64_t count = 0, nonFinite = 0;
  double maxAbs = 0, maxReference = 0;
  double relativeL2() const;
  double cosine() const;
  /// max|a - b| / max|a|, the e(y) of the tolerance for whole models.
  double relativeMax() const {
    return maxReference > 0 ? maxAbs / maxReference : maxAbs;
  }
  Mean kl;
  uint64_t rows = 0, sameTop = 0;
  /// The given quantile (0 to 1) of the KL divergence over rows.
  double klQuantile(double q) const;

private:
  double differenceSquares = 0, referenceSquares = 0, candidateSquares = 0,
         product = 0;
  std::vector<double> klValues;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_DRIVER_METRICS_H
