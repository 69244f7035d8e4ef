//===- SymmetricEigen.cpp - Spectra of symmetric matrices -----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Analysis/SymmetricEigen.h"
#include <algorithm>
#include <cmath>
#include <limits>

using namespace mlir::ffn;

/// Reduces the matrix to diagonal `d` and subdiagonal `e` (n - 1 elements).
static void reduceToTridiagonal(double *a, size_t n, std::vector<double> &d,
                                std::vector<double> &e) {
  d.resize(n);
  e.assign(n, 0.0);
  std::vector<double> v(n), p(n);
  for (size_t k = 0; k + 1 < n; ++k) {
    d[k] = a[k * n + k];
    // Scaled, so that squares neither overflow nor vanish.
    double scale = 0;
    for (size_t i = k + 1; i < n; ++i)
      scale = std::max(scale, std::abs(a[k * n + i]));
    if (scale == 0)
      continue;
    double squares = 0;
    for (size_t i = k + 1; i < n; ++i) {
      v[i] = a[k * n + i] / scale;
      squares += v[i] * v[i];
    }
    double norm = std::sqrt(squares), head = v[k + 1];
    double beta = head > 0 ? -norm : norm;
    e[k] = beta * scale;
    v[k + 1] = head - beta;
    // v^T v of the reflector I - (2 / v^T v) v v^T.
    double length = squares - 2 * beta * head + beta * beta;
    if (length == 0)
      continue;
    double factor = 2 / length, inner = 0;
    for (size_t i = k + 1; i < n; ++i) {
      const double *row = a + i * n;
      double sum = 0;
      for (size_t j = k + 1; j < n; ++j)
        sum += row[j] * v[j];
      p[i] = factor * sum;
      inner += p[i] * v[i];
    }
    for (size_t i = k + 1; i < n; ++i)
      p[i] -= factor / 2 * inner * v[i];
    for (size_t i = k + 1; i < n; ++i) {
      double *row = a + i * n;
      double vi = v[i], pi = p[i];
      for (size_t j = k + 1; j < n; ++j)
        row[j] -= vi * p[j] + pi * v[j];
    }
  }
  if (n)
    d[n - 1] = a[n * n - 1];
}

/// Implicit QL steps with Wilkinson's shift on a tridiagonal matrix. False
/// where a value does not converge.
static bool iterate(std::vector<double> &d, std::vector<double> &e) {
  constexpr unsigned kMaxSteps = 60;
  size_t n = d.size();
  // What is dropped moves no eigenvalue by more; a bound by the neighbours
  // alone never holds among values that are all noise.
  double norm = 0;
  for (size_t i = 0; i < n; ++i)
    norm = std::max(norm, std::abs(d[i]) + std::abs(e[i]));
  double tiny = std::numeric_limits<double>::epsilon() * norm;
  for (size_t low = 0; low < n; ++low) {
    for (unsigned step = 0;; ++step) {
      size_t high = low;
      while (high + 1 < n && std::abs(e[high]) > tiny)
        ++high;
      if (high == low)
        break;
      if (step == kMaxSteps)
        return false;
      double half = (d[low + 1] - d[low]) / (2 * e[low]);
      double root = std::hypot(half, 1.0);
      double g =
          d[high] - d[low] + e[low] / (half + (half >= 0 ? root : -root));
      double sine = 1, cosine = 1, shift = 0;
      bool deflated = false;
      for (size_t i = high; i-- > low;) {
        double f = sine * e[i], b = cosine * e[i];
        double radius = std::hypot(f, g);
        e[i + 1] = radius;
        if (radius == 0) {
          d[i + 1] -= shift;
          e[high] = 0;
          deflated = true;
          break;
        }
        sine = f / radius;
        cosine = g / radius;
        g = d[i + 1] - shift;
        double r = (d[i] - g) * sine + 2 * cosine * b;
        shift = sine * r;
        d[i + 1] = g + shift;
        g = cosine * r - b;
      }
      if (deflated)
        continue;
      d[low] -= shift;
      e[low] = g;
      e[high] = 0;
    }
  }
  return true;
}

std::optional<std::vector<double>>
mlir::ffn::computeEigenvalues(llvm::MutableArrayRef<double> matrix, size_t n) {
  for (double value : matrix)
    if (!std::isfinite(value))
      return std::nullopt;
  std::vector<double> d, e;
  reduceToTridiagonal(matrix.data(), n, d, e);
  if (!iterate(d, e))
    return std::nullopt;
  std::sort(d.begin(), d.end(), std::greater<double>());
  return d;
}

std::vector<double> mlir::ffn::computeSmallerGram(llvm::ArrayRef<double> matrix,
                                                  size_t rows, size_t columns) {
  size_t n = std::min(rows, columns);
  std::vector<double> gram(n * n, 0.0);
  if (rows <= columns) {
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j <= i; ++j) {
        const double *a = matrix.data() + i * columns,
                     *b = matrix.data() + j * columns;
        // Four sums: one alone would wait for itself.
        double sums[4] = {};
        size_t k = 0;
        for (; k + 4 <= columns; k += 4)
          for (unsigned lane = 0; lane < 4; ++lane)
            sums[lane] += a[k + lane] * b[k + lane];
        for (; k < columns; ++k)
          sums[0] += a[k] * b[k];
        gram[i * n + j] = gram[j * n + i] =
            (sums[0] + sums[1]) + (sums[2] + sums[3]);
      }
    return gram;
  }
  for (size_t row = 0; row < rows; ++row) {
    const double *a = matrix.data() + row * columns;
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j <= i; ++j)
        gram[i * n + j] += a[i] * a[j];
  }
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < i; ++j)
      gram[j * n + i] = gram[i * n + j];
  return gram;
}

std::vector<double> mlir::ffn::factorSemidefinite(llvm::ArrayRef<double> matrix,
                                                  size_t n) {
  std::vector<double> lower(matrix.begin(), matrix.end());
  double largest = 0;
  for (size_t i = 0; i < n; ++i)
    largest = std::max(largest, lower[i * n + i]);
  double tiny = n * std::numeric_limits<double>::epsilon() * largest;
  for (size_t j = 0; j < n; ++j) {
    double *rowJ = lower.data() + j * n;
    double pivot = rowJ[j];
    for (size_t k = 0; k < j; ++k)
      pivot -= rowJ[k] * rowJ[k];
    double root = pivot > tiny ? std::sqrt(pivot) : 0;
    rowJ[j] = root;
    for (size_t i = j + 1; i < n; ++i) {
      double *rowI = lower.data() + i * n;
      double sum = rowI[j];
      for (size_t k = 0; k < j; ++k)
        sum -= rowI[k] * rowJ[k];
      rowI[j] = root > 0 ? sum / root : 0;
      rowJ[i] = 0;
    }
  }
  return lower;
}
