//===- SymmetricEigen.h - Spectra of symmetric matrices ---------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_ANALYSIS_SYMMETRICEIGEN_H
#define FFN_MLIR_ANALYSIS_SYMMETRICEIGEN_H

#include "llvm/ADT/ArrayRef.h"
#include <optional>
#include <vector>

namespace mlir::ffn {

/// The eigenvalues of a symmetric matrix of order n, row-major, largest first:
/// Householder's reduction to tridiagonal form, then implicit QL steps. The
/// error of each is a small multiple of n eps times the largest magnitude.
/// `matrix` is overwritten. None where an element is not finite. Takes about
/// 8/3 n^3 operations and n^2 doubles.
std::optional<std::vector<double>>
computeEigenvalues(llvm::MutableArrayRef<double> matrix, size_t n);

/// The Gram matrix of the smaller side of `matrix` [rows, columns], row-major:
/// A A^T of order `rows` where rows <= columns, else A^T A. Its eigenvalues are
/// the squares of the singular values of A, with an absolute error of eps times
/// the largest of them: singular values below 1e-8 of the largest are noise.
std::vector<double> computeSmallerGram(llvm::ArrayRef<double> matrix,
                                       size_t rows, size_t columns);

/// Lower triangular L, row-major and full, with L L^T = `matrix`, which is
/// symmetric and positive semidefinite up to rounding: columns of pivots that
/// are zero within n eps of the largest diagonal element are zero.
std::vector<double> factorSemidefinite(llvm::ArrayRef<double> matrix, size_t n);

} // namespace mlir::ffn

#endif // FFN_MLIR_ANALYSIS_SYMMETRICEIGEN_H
