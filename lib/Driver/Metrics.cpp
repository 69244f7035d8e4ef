//===- Metrics.cpp - Quality figures from logits --------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/Metrics.h"
#include "ffn-mlir/Support/Assert.h"
#include <algorithm>
#include <cmath>
#include <limits>

using namespace mlir::ffn;
using llvm::ArrayRef;

static constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
static constexpr double kInfinity = std::numeric_limits<double>::infinity();

//===----------------------------------------------------------------------===//
// One row
//===----------------------------------------------------------------------===//

/// log(sum(exp(logits))), shifted by the maximum.
template <typename T> static double logSumExp(ArrayRef<T> logits) {
  double shift = -kInfinity;
  for (T x : logits) {
    if (std::isnan(x))
      return kNaN;
    shift = std::max<double>(shift, x);
  }
  if (!std::isfinite(shift))
    return shift;
  double sum = 0;
  for (T x : logits)
    sum += std::exp(x - shift);
  return shift + std::log(sum);
}

template <typename T>
static void logSoftmaxOf(ArrayRef<T> logits, std::vector<double> &result) {
  double norm = logSumExp(logits);
  result.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    result[i] = logits[i] - norm;
}

template <typename T> static double lossOf(ArrayRef<T> logits, int64_t target) {
  if (target < 0 || static_cast<size_t>(target) >= logits.size())
    return kNaN;
  return logSumExp(logits) - logits[target];
}

template <typename T> static int64_t argmaxOf(ArrayRef<T> logits) {
  int64_t best = -1;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]))
      return -1;
    if (best < 0 || logits[i] > logits[best])
      best = i;
  }
  return best;
}

template <typename T> static double klOf(ArrayRef<T> p, ArrayRef<T> q) {
  double normP = logSumExp(p), normQ = logSumExp(q), sum = 0;
  for (size_t i = 0, n = std::min(p.size(), q.size()); i < n; ++i) {
    double logP = p[i] - normP;
    double weight = std::exp(logP);
    // A class of probability zero adds nothing, whatever q says of it.
    if (weight > 0 || std::isnan(weight))
      sum += weight * (logP - (q[i] - normQ));
  }
  return sum;
}

void mlir::ffn::logSoftmax(ArrayRef<float> logits, std::vector<double> &out) {
  logSoftmaxOf(logits, out);
}
void mlir::ffn::logSoftmax(ArrayRef<double> logits, std::vector<double> &out) {
  logSoftmaxOf(logits, out);
}
double mlir::ffn::negativeLogLikelihood(ArrayRef<float> logits, int64_t t) {
  return lossOf(logits, t);
}
double mlir::ffn::negativeLogLikelihood(ArrayRef<double> logits, int64_t t) {
  return lossOf(logits, t);
}
int64_t mlir::ffn::argmax(ArrayRef<float> logits) { return argmaxOf(logits); }
int64_t mlir::ffn::argmax(ArrayRef<double> logits) { return argmaxOf(logits); }
double mlir::ffn::klDivergence(ArrayRef<float> p, ArrayRef<float> q) {
  return klOf(p, q);
}
double mlir::ffn::klDivergence(ArrayRef<double> p, ArrayRef<double> q) {
  return klOf(p, q);
}

ArrayRef<double> mlir::ffn::toDoubles(const HostTensor &tensor,
                                      std::vector<double> &memory) {
  ffn_dtype dtype = tensor.getDtype();
  if (dtype.code == 2 && dtype.bits == 64)
    return tensor.as<double>();
  if (dtype.code == 2 && dtype.bits == 32) {
    ArrayRef<float> values = tensor.as<float>();
    memory.assign(values.begin(), values.end());
    return memory;
  }
  memory.resize(tensor.getNumElements());
  for (size_t i = 0; i < memory.size(); ++i)
    memory[i] = tensor.getDouble(i);
  return memory;
}

//===----------------------------------------------------------------------===//
// Means
//===----------------------------------------------------------------------===//

void SampledMean::add(double sum, uint64_t count) {
  if (!count)
    return;
  sums.push_back({sum, count});
  total += sum;
  rows += count;
}

double SampledMean::value() const { return rows ? total / rows : kNaN; }

double SampledMean::halfWidth() const {
  double n = sums.size();
  if (n < 2)
    return kNaN;
  double mean = value(), squares = 0;
  for (auto [sum, count] : sums) {
    double residual = sum - mean * count;
    squares += residual * residual;
  }
  return 1.959963984540054 * std::sqrt(n / (n - 1) * squares) / rows;
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

void TensorComparison::add(ArrayRef<double> reference,
                           ArrayRef<double> candidate) {
  FFN_ASSERT(reference.size() == candidate.size(), "tensors of one shape");
  double squares = 0;
  uint64_t finite = 0;
  for (double a : reference)
    if (std::isfinite(a)) {
      squares += a * a;
      ++finite;
    }
  double least = finite ? bounds.floor * std::sqrt(squares / finite) : 0;
  count += reference.size();
  for (size_t i = 0; i < reference.size(); ++i) {
    double a = reference[i], b = candidate[i];
    if (!std::isfinite(a) || !std::isfinite(b)) {
      bool equal = a == b || (std::isnan(a) && std::isnan(b));
      ++(equal ? equalNonFinite : unequalNonFinite);
      beyond += !equal;
      continue;
    }
    double distance = std::fabs(a - b), scale = std::max(std::fabs(a), least);
    double relative = distance == 0 ? 0 : distance / scale;
    largest = std::max(largest, distance);
    largestReference = std::max(largestReference, std::fabs(a));
    largestRelative = std::max(largestRelative, relative);
    beyond += relative > bounds.bound;
    differenceSquares += distance * distance;
    candidateSquares += b * b;
    product += a * b;
  }
  referenceSquares += squares;
}

double TensorComparison::maxAbs() const {
  return unequalNonFinite ? kInfinity : largest;
}

double TensorComparison::relativeMax() const {
  return largestReference > 0 ? maxAbs() / largestReference : maxAbs();
}

double TensorComparison::maxRelative() const {
  return unequalNonFinite ? kInfinity : largestRelative;
}

double TensorComparison::shareBeyond() const {
  return count ? static_cast<double>(beyond) / count : 0;
}

double TensorComparison::relativeL2() const {
  if (unequalNonFinite)
    return kInfinity;
  if (differenceSquares == 0)
    return 0;
  return std::sqrt(differenceSquares / referenceSquares);
}

double TensorComparison::cosine() const {
  if (unequalNonFinite)
    return kNaN;
  double norm = std::sqrt(referenceSquares) * std::sqrt(candidateSquares);
  if (norm > 0)
    return product / norm;
  return referenceSquares == candidateSquares ? 1 : 0;
}

//===----------------------------------------------------------------------===//
// Distributions
//===----------------------------------------------------------------------===//

void LogitComparison::add(ArrayRef<double> reference,
                          ArrayRef<double> candidate, size_t classes,
                          ArrayRef<int64_t> targets) {
  FFN_ASSERT(classes && reference.size() == candidate.size(),
             "rows of one length");
  size_t rows = reference.size() / classes;
  FFN_ASSERT(targets.empty() || targets.size() == rows, "a target for a row");
  double divergence = 0, same = 0;
  double loss[2] = {0, 0}, difference = 0, right[2] = {0, 0};
  uint64_t scored = 0;
  for (size_t row = 0; row < rows; ++row) {
    ArrayRef<double> p = reference.slice(row * classes, classes),
                     q = candidate.slice(row * classes, classes);
    double kl = klDivergence(p, q);
    divergences.push_back(kl);
    undefinedRows += std::isnan(kl);
    divergence += kl;
    int64_t top[2] = {argmax(p), argmax(q)};
    same += top[0] >= 0 && top[0] == top[1];
    if (targets.empty() || targets[row] < 0)
      continue;
    ++scored;
    double both[2] = {negativeLogLikelihood(p, targets[row]),
                      negativeLogLikelihood(q, targets[row])};
    for (int side : {0, 1}) {
      loss[side] += both[side];
      right[side] += top[side] == targets[row];
    }
    difference += both[1] - both[0];
  }
  kl.add(divergence, rows);
  sameTop.add(same, rows);
  referenceLoss.add(loss[0], scored);
  candidateLoss.add(loss[1], scored);
  lossDifference.add(difference, scored);
  referenceRight.add(right[0], scored);
  candidateRight.add(right[1], scored);
}

double LogitComparison::klQuantile(double q) const {
  if (divergences.empty() || undefinedRows)
    return kNaN;
  std::vector<double> sorted = divergences;
  double rank = std::ceil(std::clamp(q, 0.0, 1.0) * sorted.size());
  size_t k = static_cast<size_t>(std::max(rank, 1.0)) - 1;
  std::nth_element(sorted.begin(), sorted.begin() + k, sorted.end());
  return sorted[k];
}
