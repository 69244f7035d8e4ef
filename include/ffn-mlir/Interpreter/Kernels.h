//===- Kernels.h - Products of float64 matrices -----------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_INTERPRETER_KERNELS_H
#define FFN_MLIR_INTERPRETER_KERNELS_H

#include <cstdint>

namespace mlir::ffn {

/// A matrix in memory; strides in elements.
struct MatrixView {
  const double *data;
  int64_t rowStride, colStride;
};

/// C[m, n] += A[m, k] B[k, n]; C is row-major with row stride `ldc`. Sums run
/// over ascending k; the same bits on every machine.
void multiply(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b,
              double *c, int64_t ldc);

} // namespace mlir::ffn

#endif // FFN_MLIR_INTERPRETER_KERNELS_H
