//===- SymmetricEigenTest.cpp - Known spectra -----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Analysis/SymmetricEigen.h"
#include "ffn-mlir/Driver/HostTensor.h"
#include "gtest/gtest.h"
#include <cmath>

using namespace mlir::ffn;

static std::vector<double> drawMatrix(size_t rows, size_t columns,
                                      uint64_t seed) {
  SeededRandom random(seed);
  std::vector<double> matrix(rows * columns);
  for (double &value : matrix)
    value = random.normal();
  return matrix;
}

/// Q D Q^T with Q a product of reflectors.
static std::vector<double> makeSymmetric(std::vector<double> spectrum,
                                         uint64_t seed) {
  size_t n = spectrum.size();
  std::vector<double> matrix(n * n, 0.0);
  for (size_t i = 0; i < n; ++i)
    matrix[i * n + i] = spectrum[i];
  for (unsigned turn = 0; turn < 3; ++turn) {
    std::vector<double> v = drawMatrix(1, n, seed + turn);
    double squares = 0;
    for (double x : v)
      squares += x * x;
    // Both sides, by one reflector.
    for (bool byRow : {true, false})
      for (size_t i = 0; i < n; ++i) {
        auto at = [&](size_t j) -> double & {
          return byRow ? matrix[i * n + j] : matrix[j * n + i];
        };
        double product = 0;
        for (size_t j = 0; j < n; ++j)
          product += at(j) * v[j];
        for (size_t j = 0; j < n; ++j)
          at(j) -= 2 * product / squares * v[j];
      }
  }
  return matrix;
}

TEST(SymmetricEigenTest, EmptyAndSingle) {
  std::vector<double> none, one = {-3};
  EXPECT_TRUE(computeEigenvalues(none, 0)->empty());
  EXPECT_EQ(*computeEigenvalues(one, 1), std::vector<double>{-3});
}

TEST(SymmetricEigenTest, SpectraThatWerePlanted) {
  for (size_t n : {2, 3, 5, 17, 64, 101}) {
    std::vector<double> spectrum;
    for (size_t i = 0; i < n; ++i)
      // Signs, a repeated value, zeros and eight decades.
      spectrum.push_back(i % 5 == 0 ? 0
                         : i % 5 == 1
                             ? 7
                             : std::pow(10, -8. * i / n) * (i % 2 ? 1 : -1));
    std::vector<double> matrix = makeSymmetric(spectrum, n);
    auto found = computeEigenvalues(matrix, n);
    ASSERT_TRUE(found);
    std::sort(spectrum.begin(), spectrum.end(), std::greater<double>());
    for (size_t i = 0; i < n; ++i)
      EXPECT_NEAR((*found)[i], spectrum[i], 7 * n * 1e-15) << n << ' ' << i;
  }
}

TEST(SymmetricEigenTest, DiagonalAndZeroMatricesAreExact) {
  std::vector<double> diagonal(25, 0.0);
  for (unsigned i = 0; i < 5; ++i)
    diagonal[i * 6] = i;
  EXPECT_EQ(*computeEigenvalues(diagonal, 5),
            (std::vector<double>{4, 3, 2, 1, 0}));
  std::vector<double> zero(49, 0.0);
  EXPECT_EQ(*computeEigenvalues(zero, 7), std::vector<double>(7, 0.0));
}

TEST(SymmetricEigenTest, HugeAndTinyElements) {
  for (double scale : {1e150, 1e-150}) {
    std::vector<double> matrix = {2 * scale, scale, scale, 2 * scale};
    auto found = computeEigenvalues(matrix, 2);
    ASSERT_TRUE(found);
    EXPECT_NEAR((*found)[0] / scale, 3, 1e-14);
    EXPECT_NEAR((*found)[1] / scale, 1, 1e-14);
  }
}

/// Most values are noise around zero, as in a covariance of fewer samples than
/// channels.
TEST(SymmetricEigenTest, SingularMatrices) {
  for (size_t rank : {1, 20, 150}) {
    constexpr size_t n = 200;
    std::vector<double> half = drawMatrix(rank, n, rank);
    std::vector<double> matrix(n * n, 0.0);
    for (size_t k = 0; k < rank; ++k)
      for (size_t i = 0; i < n; ++i)
        for (size_t j = 0; j < n; ++j)
          matrix[i * n + j] += half[k * n + i] * half[k * n + j];
    auto found = computeEigenvalues(matrix, n);
    ASSERT_TRUE(found) << rank;
    EXPECT_GT((*found)[rank - 1], 1e-3);
    for (size_t i = rank; i < n; ++i)
      EXPECT_LT(std::abs((*found)[i]), n * 1e-15 * (*found)[0]) << rank;
  }
}

TEST(SymmetricEigenTest, NumbersThatAreNoneAreRefused) {
  std::vector<double> matrix = {1, NAN, NAN, 1};
  EXPECT_FALSE(computeEigenvalues(matrix, 2));
  matrix = {INFINITY, 0, 0, 1};
  EXPECT_FALSE(computeEigenvalues(matrix, 2));
}

TEST(SymmetricEigenTest, GramOfEitherSideHasTheSameSpectrum) {
  std::vector<double> a = drawMatrix(7, 19, 3), transposed(7 * 19);
  for (unsigned i = 0; i < 7; ++i)
    for (unsigned j = 0; j < 19; ++j)
      transposed[j * 7 + i] = a[i * 19 + j];
  std::vector<double> wide = computeSmallerGram(a, 7, 19),
                      tall = computeSmallerGram(transposed, 19, 7);
  ASSERT_EQ(wide.size(), 49u);
  for (unsigned i = 0; i < 49; ++i)
    EXPECT_NEAR(wide[i], tall[i], 1e-13);
  double trace = 0, squares = 0;
  for (double x : a)
    squares += x * x;
  auto values = computeEigenvalues(wide, 7);
  ASSERT_TRUE(values);
  for (double value : *values)
    trace += value;
  EXPECT_NEAR(trace, squares, 1e-12);
}

TEST(SymmetricEigenTest, FactorOfSingularMatrix) {
  // Of rank 4 and order 9.
  std::vector<double> half = drawMatrix(9, 4, 5);
  std::vector<double> matrix(81, 0.0);
  for (unsigned i = 0; i < 9; ++i)
    for (unsigned j = 0; j < 9; ++j)
      for (unsigned k = 0; k < 4; ++k)
        matrix[i * 9 + j] += half[i * 4 + k] * half[j * 4 + k];
  std::vector<double> lower = factorSemidefinite(matrix, 9);
  for (unsigned i = 0; i < 9; ++i)
    for (unsigned j = 0; j < 9; ++j) {
      double product = 0;
      for (unsigned k = 0; k < 9; ++k)
        product += lower[i * 9 + k] * lower[j * 9 + k];
      EXPECT_NEAR(product, matrix[i * 9 + j], 1e-12);
      if (j > i)
        EXPECT_EQ(lower[i * 9 + j], 0);
    }
}
