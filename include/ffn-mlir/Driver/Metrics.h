//===- Metrics.h - Quality figures from logits ------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// All sums are float64. Values that are not finite are never left out of a
// figure: they make it infinite or NaN, and are counted.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DRIVER_METRICS_H
#define FFN_MLIR_DRIVER_METRICS_H

#include "ffn-mlir/Driver/HostTensor.h"
#include "llvm/ADT/ArrayRef.h"
#include <cstdint>
#include <vector>

namespace mlir::ffn {

/// log(softmax(logits)), shifted by the maximum.
void logSoftmax(llvm::ArrayRef<float> logits, std::vector<double> &result);
void logSoftmax(llvm::ArrayRef<double> logits, std::vector<double> &result);

/// Negative log likelihood in nats of class `target` under softmax(logits).
/// NaN when the target is outside the logits.
double negativeLogLikelihood(llvm::ArrayRef<float> logits, int64_t target);
double negativeLogLikelihood(llvm::ArrayRef<double> logits, int64_t target);

/// Index of the greatest logit; the lowest index among equals; -1 if a NaN is
/// among them or there are none.
int64_t argmax(llvm::ArrayRef<float> logits);
int64_t argmax(llvm::ArrayRef<double> logits);

/// KL(softmax(p) || softmax(q)) in nats, of two rows of one length.
double klDivergence(llvm::ArrayRef<float> p, llvm::ArrayRef<float> q);
double klDivergence(llvm::ArrayRef<double> p, llvm::ArrayRef<double> q);

/// The elements as float64, converted into `memory` where they are not.
llvm::ArrayRef<double> toDoubles(const HostTensor &tensor,
                                 std::vector<double> &memory);

/// A mean over rows that come in samples: sum of all values / number of rows.
/// Rows of one sample depend on one another (tokens of a text), so the interval
/// takes the samples as the independent units: the linearised variance of a
/// ratio of two sums over samples, times the normal quantile.
class SampledMean {
public:
  /// `sum` over the `rows` rows of a sample; a sample without rows adds
  /// nothing.
  void add(double sum, uint64_t rows);
  uint64_t getRows() const { return rows; }
  size_t getSamples() const { return sums.size(); }
  /// NaN where there are no rows.
  double value() const;
  /// Half-width of the 95 % interval; NaN below two samples.
  double halfWidth() const;

private:
  std::vector<std::pair<double, uint64_t>> sums;
  double total = 0;
  uint64_t rows = 0;
};

struct TensorBounds {
  /// A relative error is |a - b| / max(|a|, floor * rms), with the root mean
  /// square of the reference's finite elements in the same call.
  double floor = 0.01;
  /// Elements with a larger relative error are beyond the bound.
  double bound = 0.01;
};

/// Differences of tensors, accumulated over calls.
class TensorComparison {
public:
  explicit TensorComparison(TensorBounds bounds = {}) : bounds(bounds) {}
  /// Both of one length.
  void add(llvm::ArrayRef<double> reference, llvm::ArrayRef<double> candidate);

  uint64_t count = 0;
  /// Elements that are NaN or infinite on one side, or differently on both; any
  /// makes the figures below infinite (the cosine NaN).
  uint64_t unequalNonFinite = 0;
  /// Elements that are the same infinity, or NaN, on both sides; these are in
  /// no sum.
  uint64_t equalNonFinite = 0;
  double maxAbs() const;
  /// max|a - b| / max|a|: e(y), the tolerance of whole models.
  double relativeMax() const;
  /// The largest relative error with floor.
  double maxRelative() const;
  /// Part of the elements whose relative error is beyond the bound.
  double shareBeyond() const;
  /// |a - b| / |a|, over all elements.
  double relativeL2() const;
  double cosine() const;

private:
  TensorBounds bounds;
  uint64_t beyond = 0;
  double largest = 0, largestReference = 0, largestRelative = 0;
  double differenceSquares = 0, referenceSquares = 0, candidateSquares = 0,
         product = 0;
};

/// Rows of logits as distributions, a sample a call.
class LogitComparison {
public:
  /// Rows of `classes` logits, both of one length. `targets` has the right
  /// class of each row, -1 where there is none; or is empty.
  void add(llvm::ArrayRef<double> reference, llvm::ArrayRef<double> candidate,
           size_t classes, llvm::ArrayRef<int64_t> targets);

  /// KL(reference || candidate) in nats, and whether the greatest logits agree.
  SampledMean kl, sameTop;
  /// Over rows with a target: negative log likelihood in nats, candidate less
  /// reference, and whether the greatest logit is the target.
  SampledMean referenceLoss, candidateLoss, lossDifference, referenceRight,
      candidateRight;
  /// Rows whose divergence is NaN; then the mean and all quantiles are.
  uint64_t undefinedRows = 0;
  /// The smallest divergence that at least the part `q` of the rows does not
  /// exceed; 1: the largest.
  double klQuantile(double q) const;

private:
  std::vector<double> divergences;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_DRIVER_METRICS_H
