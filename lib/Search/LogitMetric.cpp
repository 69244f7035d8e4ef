//===- LogitMetric.cpp - How good or how far logits are -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/LogitMetric.h"
#include "ffn-mlir/Driver/Metrics.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include <cmath>
#include <limits>

using namespace mlir::ffn;
using llvm::ArrayRef;

std::optional<LogitMetric> mlir::ffn::parseLogitMetric(llvm::StringRef name) {
  return llvm::StringSwitch<std::optional<LogitMetric>>(name)
      .Case("js", LogitMetric::JS)
      .Case("js-reverse", LogitMetric::JSReverse)
      .Case("angular", LogitMetric::Angular)
      .Case("norm", LogitMetric::Norm)
      .Case("kl", LogitMetric::KL)
      .Case("nll", LogitMetric::NLL)
      .Case("error", LogitMetric::Error)
      .Default(std::nullopt);
}

bool mlir::ffn::needsTargets(LogitMetric metric) {
  return metric == LogitMetric::NLL || metric == LogitMetric::Error;
}

/// Sum over the classes of one row; terms of probability zero are zero.
static double jensenShannon(ArrayRef<double> p, ArrayRef<double> q,
                            bool reverse) {
  double sum = 0;
  for (auto [logP, logQ] : llvm::zip_equal(p, q)) {
    double a = std::exp(logP), b = std::exp(logQ), m = (a + b) / 2;
    if (!(m > 0)) {
      if (std::isnan(m))
        return m;
      continue;
    }
    double logM = std::log(m);
    if (reverse)
      sum += m * (logM - (logP + logQ) / 2);
    else
      sum +=
          ((a > 0 ? a * (logP - logM) : 0) + (b > 0 ? b * (logQ - logM) : 0)) /
          2;
  }
  return sum;
}

static double angle(ArrayRef<float> p, ArrayRef<float> q) {
  double product = 0, a = 0, b = 0;
  for (auto [x, y] : llvm::zip_equal(p, q)) {
    product += double(x) * y;
    a += double(x) * x;
    b += double(y) * y;
  }
  if (a == 0 || b == 0)
    return a == b ? 0 : std::acos(0.0);
  return std::acos(std::clamp(product / std::sqrt(a * b), -1.0, 1.0));
}

static std::vector<float> toFloats(const HostTensor &tensor) {
  std::vector<float> values(tensor.getNumElements());
  for (auto [i, value] : llvm::enumerate(values))
    value = static_cast<float>(tensor.getDouble(i));
  return values;
}

/// The elements as floats; `converted` holds them where they are others.
static ArrayRef<float> viewFloats(const HostTensor &tensor,
                                  std::vector<float> &converted) {
  if (tensor.getDtype().code == 2 && tensor.getDtype().bits == 32)
    return tensor.as<float>();
  converted = toFloats(tensor);
  return converted;
}

WeightedSum mlir::ffn::measureLogits(LogitMetric metric,
                                     const HostTensor &reference,
                                     const HostTensor &candidate) {
  std::vector<float> convertedP, convertedQ;
  ArrayRef<float> p = viewFloats(reference, convertedP),
                  q = viewFloats(candidate, convertedQ);
  ArrayRef<int64_t> shape = reference.getShape();
  WeightedSum result;
  if (p.empty() || p.size() != q.size() || shape.empty() ||
      needsTargets(metric))
    return result;
  if (metric == LogitMetric::Norm) {
    size_t size = p.size() / shape.front();
    for (size_t begin = 0; begin < p.size(); begin += size) {
      double squares = 0;
      for (size_t i = begin; i < begin + size; ++i)
        squares += (double(p[i]) - q[i]) * (double(p[i]) - q[i]);
      result.sum += std::sqrt(squares);
    }
    result.weight = shape.front();
    return result;
  }
  size_t classes = shape.back(), rows = p.size() / classes;
  std::vector<double> logP, logQ;
  for (size_t row = 0; row < rows; ++row) {
    ArrayRef<float> a = p.slice(row * classes, classes),
                    b = q.slice(row * classes, classes);
    // Nothing moved, whatever rounding makes of it.
    if (a == b)
      continue;
    if (metric == LogitMetric::Angular) {
      result.sum += angle(a, b);
    } else if (metric == LogitMetric::KL) {
      result.sum += klDivergence(a, b);
    } else {
      logSoftmax(a, logP);
      logSoftmax(b, logQ);
      result.sum += jensenShannon(logP, logQ, metric == LogitMetric::JSReverse);
    }
  }
  result.weight = metric == LogitMetric::JSReverse ? rows * classes : rows;
  return result;
}

WeightedSum mlir::ffn::measureTargets(LogitMetric metric,
                                      const HostTensor &candidate,
                                      ArrayRef<int64_t> targets) {
  std::vector<float> converted;
  ArrayRef<float> logits = viewFloats(candidate, converted);
  WeightedSum result;
  if (logits.empty() || candidate.getShape().empty())
    return result;
  size_t classes = candidate.getShape().back();
  targets = targets.take_front(logits.size() / classes);
  for (auto [row, target] : llvm::enumerate(targets)) {
    if (target < 0)
      continue;
    ArrayRef<float> values = logits.slice(row * classes, classes);
    double loss = negativeLogLikelihood(values, target);
    result.sum += metric == LogitMetric::NLL || std::isnan(loss)
                      ? loss
                      : argmax(values) != target;
    result.weight += 1;
  }
  return result;
}
