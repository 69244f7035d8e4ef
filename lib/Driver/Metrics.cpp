//===- Metrics.cpp - Quality figures from logits --------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/Metrics.h"
#include <algorithm>
#include <cmath>
#include <limits>

using namespace mlir::ffn;
using llvm::ArrayRef;

/// log(sum(exp(logits))), shifted by the maximum.
static double logSumExp(ArrayRef<float> logits) {
  double shift = -std::numeric_limits<double>::infinity();
  for (float x : logits)
    shift = std::max<double>(shift, x);
  if (!std::isfinite(shift))
    return shift;
  double sum = 0;
  for (float x : logits)
    sum += std::exp(x - shift);
  return shift + std::log(sum);
}

double mlir::ffn::negativeLogLikelihood(ArrayRef<float> logits,
                                        int64_t target) {
  if (target < 0 || static_cast<size_t>(target) >= logits.size())
    return std::numeric_limits<double>::quiet_NaN();
  return logSumExp(logits) - logits[target];
}

int64_t mlir::ffn::argmax(ArrayRef<float> logits) {
  int64_t best = -1;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]))
      return -1;
    if (best < 0 || logits[i] > logits[best])
      best = i;
  }
  return best;
}

double mlir::ffn::klDivergence(ArrayRef<float> p, ArrayRef<float> q) {
  double normP = logSumExp(p), normQ = logSumExp(q), sum = 0;
  for (size_t i = 0, n = std::min(p.size(), q.size()); i < n; ++i) {
    double logP = p[i] - normP;
    double weight = std::exp(logP);
    // A class of probability zero adds nothing, whatever q says of it.
    if (weight > 0)
      sum += weight * (logP - (q[i] - normQ));
  }
  return sum;
}

double Mean::halfWidth() const {
  if (count < 2)
    return 0;
  double mean = value();
  double variance =
      std::max(0.0, (sumOfSquares - count * mean * mean) / (count - 1));
  return 1.959963984540054 * std::sqrt(variance / count);
}

void OutputComparison::add(ArrayRef<float> reference, ArrayRef<float> candidate,
                           size_t rowSize, bool distributions) {
  size_t n = std::min(reference.size(), candidate.size());
  for (size_t i = 0; i < n; ++i) {
    double a = reference[i], b = candidate[i];
    ++count;
    if (!std::isfinite(a) || !std::isfinite(b)) {
      // Equal infinities and a NaN on both sides agree.
      if (!(a == b || (std::isnan(a) && std::isnan(b))))
        ++nonFinite;
      continue;
    }
    maxAbs = std::max(maxAbs, std::fabs(a - b));
    maxReference = std::max(maxReference, std::fabs(a));
    differenceSquares += (a - b) * (a - b);
    referenceSquares += a * a;
    candidateSquares += b * b;
    product += a * b;
  }
  if (!distributions || rowSize == 0)
    return;
  for (size_t begin = 0; begin + rowSize <= n; begin += rowSize) {
    ArrayRef<float> p = reference.slice(begin, rowSize),
                    q = candidate.slice(begin, rowSize);
    double divergence = klDivergence(p, q);
    kl.add(divergence);
    klValues.push_back(divergence);
    ++rows;
    sameTop += argmax(p) == argmax(q);
  }
}

double OutputComparison::relativeL2() const {
  if (referenceSquares == 0)
    return std::sqrt(differenceSquares);
  return std::sqrt(differenceSquares / referenceSquares);
}

double OutputComparison::cosine() const {
  double norm = std::sqrt(referenceSquares) * std::sqrt(candidateSquares);
  return norm > 0 ? product / norm
                  : (referenceSquares == candidateSquares ? 1.0 : 0.0);
}

double OutputComparison::klQuantile(double q) const {
  if (klValues.empty())
    return 0;
  std::vector<double> sorted = klValues;
  size_t k = std::min<size_t>(
      sorted.size() - 1,
      static_cast<size_t>(std::ceil(q * sorted.size())) - (q > 0 ? 1 : 0));
  std::nth_element(sorted.begin(), sorted.begin() + k, sorted.end());
  return sorted[k];
}
