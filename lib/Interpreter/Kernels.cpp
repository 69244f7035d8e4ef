//===- Kernels.cpp - Products of float64 matrices -------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Each element of the result is summed in ascending k by separate multiply and
// add, so vector width does not change a bit. The wrappers below differ only
// in the instructions the compiler may use.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/Kernels.h"
#include <algorithm>
#include <cstring>
#include <vector>

using namespace mlir::ffn;

namespace {
constexpr int64_t kRows = 4, kCols = 8, kDepth = 256;
} // namespace

/// C tile += A panel [depth][kRows] times B panel [depth][kCols].
__attribute__((always_inline)) static inline void
tileBody(int64_t depth, const double *a, const double *b, double *tile) {
  double sums[kRows * kCols];
  std::memcpy(sums, tile, sizeof(sums));
  for (int64_t k = 0; k < depth; ++k)
    for (int64_t i = 0; i < kRows; ++i)
      for (int64_t j = 0; j < kCols; ++j)
        sums[i * kCols + j] += a[k * kRows + i] * b[k * kCols + j];
  std::memcpy(tile, sums, sizeof(sums));
}

using TileFn = void (*)(int64_t, const double *, const double *, double *);

static void tileGeneric(int64_t depth, const double *a, const double *b,
                        double *tile) {
  tileBody(depth, a, b, tile);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void
tileAvx2(int64_t depth, const double *a, const double *b, double *tile) {
  tileBody(depth, a, b, tile);
}
#endif

static TileFn chooseTile() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2"))
    return tileAvx2;
#endif
  return tileGeneric;
}

/// Rows [0, rows) and depth [0, depth) of `view`, in panels of `width` rows,
/// each panel [depth][width], the last one padded with zeros.
static void pack(MatrixView view, int64_t rows, int64_t depth, int64_t width,
                 std::vector<double> &out) {
  int64_t panels = (rows + width - 1) / width;
  out.assign(panels * depth * width, 0.0);
  for (int64_t row = 0; row < rows; ++row) {
    double *panel = out.data() + (row / width) * depth * width + row % width;
    const double *from = view.data + row * view.rowStride;
    for (int64_t k = 0; k < depth; ++k)
      panel[k * width] = from[k * view.colStride];
  }
}

void mlir::ffn::multiply(int64_t m, int64_t n, int64_t k, MatrixView a,
                         MatrixView b, double *c, int64_t ldc) {
  static const TileFn tileFn = chooseTile();
  std::vector<double> aPanels, bPanels;
  // The columns of B are packed like the rows of A.
  MatrixView bColumns{b.data, b.colStride, b.rowStride};
  constexpr int64_t kColBlock = 512;
  for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
    int64_t depth = std::min(kDepth, k - k0);
    pack({a.data + k0 * a.colStride, a.rowStride, a.colStride}, m, depth, kRows,
         aPanels);
    for (int64_t n0 = 0; n0 < n; n0 += kColBlock) {
      int64_t cols = std::min(kColBlock, n - n0);
      pack({bColumns.data + n0 * bColumns.rowStride + k0 * bColumns.colStride,
            bColumns.rowStride, bColumns.colStride},
           cols, depth, kCols, bPanels);
      for (int64_t j0 = 0; j0 < cols; j0 += kCols) {
        int64_t width = std::min(kCols, cols - j0);
        for (int64_t i0 = 0; i0 < m; i0 += kRows) {
          int64_t height = std::min(kRows, m - i0);
          double tile[kRows * kCols] = {};
          for (int64_t i = 0; i < height; ++i)
            std::copy_n(c + (i0 + i) * ldc + n0 + j0, width, tile + i * kCols);
          tileFn(depth, aPanels.data() + i0 * depth,
                 bPanels.data() + j0 * depth, tile);
          for (int64_t i = 0; i < height; ++i)
            std::copy_n(tile + i * kCols, width, c + (i0 + i) * ldc + n0 + j0);
        }
      }
    }
  }
}
