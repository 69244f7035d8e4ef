//===- Products.cpp - Sums of products of channels ------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Gram matrices, cross products and co-firing are one loop nest: tiles of
// 4 x 16 sums in registers over a block of tokens. Each sum takes its tokens in
// ascending order, whatever the tile it is in.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Profile/Statistics.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"
#include <algorithm>
#include <cmath>

using namespace mlir::ffn;
using llvm::ArrayRef;
using llvm::Error;

static constexpr size_t kTileRows = 4, kTileColumns = 16, kBlock = 64,
                        kPartRows = 64;

namespace {
typedef double Vector __attribute__((vector_size(64), aligned(8)));

/// Tokens of a block, packed for the tiles: columns of one tile stand together.
struct Packed {
  std::vector<double> values;
  size_t tileWidth = 0, tokens = 0;

  void pack(const TokenRows &rows, size_t token, size_t count, size_t begin,
            size_t end, size_t width) {
    tileWidth = width;
    tokens = count;
    size_t tiles = llvm::divideCeil(end - begin, width);
    values.assign(tiles * width * count, 0);
    for (size_t tile = 0; tile < tiles; ++tile)
      for (size_t t = 0; t < count; ++t) {
        size_t first = begin + tile * width;
        size_t n = std::min(width, end - first);
        double *to = &values[(tile * count + t) * width];
        size_t from = (token + t) * rows.getWidth() + first;
        for (size_t c = 0; c < n; ++c)
          to[c] = rows.floats() ? rows.floats()[from + c]
                                : rows.doubles()[from + c];
      }
  }
  const double *tile(size_t i) const { return &values[i * tokens * tileWidth]; }
};
} // namespace

/// sums[4][16] += x y^T over `tokens`.
__attribute__((always_inline)) static inline void
accumulateTile(const double *x, const double *y, size_t tokens, double *sums) {
#pragma clang fp contract(off)
  Vector acc[kTileRows][2];
  for (size_t i = 0; i < kTileRows; ++i)
    for (size_t j = 0; j < 2; ++j)
      __builtin_memcpy(&acc[i][j], sums + i * kTileColumns + j * 8, 64);
  for (size_t t = 0; t < tokens; ++t) {
    Vector b[2];
    __builtin_memcpy(b, y + t * kTileColumns, 128);
    for (size_t i = 0; i < kTileRows; ++i) {
      double a = x[t * kTileRows + i];
      acc[i][0] += a * b[0];
      acc[i][1] += a * b[1];
    }
  }
  for (size_t i = 0; i < kTileRows; ++i)
    for (size_t j = 0; j < 2; ++j)
      __builtin_memcpy(sums + i * kTileColumns + j * 8, &acc[i][j], 64);
}

using TileFunction = void (*)(const double *, const double *, size_t, double *);

static void tileBase(const double *x, const double *y, size_t n, double *s) {
  accumulateTile(x, y, n, s);
}
#if defined(__x86_64__)
__attribute__((target("avx2"))) static void
tileAvx2(const double *x, const double *y, size_t n, double *s) {
  accumulateTile(x, y, n, s);
}
__attribute__((target("avx512f"))) static void
tileAvx512(const double *x, const double *y, size_t n, double *s) {
  accumulateTile(x, y, n, s);
}
#endif

static TileFunction chooseTile() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f"))
    return tileAvx512;
  if (__builtin_cpu_supports("avx2"))
    return tileAvx2;
#endif
  return tileBase;
}

namespace {
class Products : public Statistic {
public:
  /// Sums [begin, end) x [0, columns). `group`: tokens after which a sum is
  /// clamped to 1 and begins anew; 0: never.
  Products(std::string name, size_t begin, size_t end, size_t columns,
           bool symmetric, size_t group)
      : name(std::move(name)), begin(begin), end(end), columns(columns),
        symmetric(symmetric), group(group), sums((end - begin) * columns) {}

  uint64_t getBytes() const override {
    // What the parts of a block pack comes on top, for a few threads.
    return sums.size() * sizeof(double) +
           8 * kBlock * (columns + kPartRows) * sizeof(double);
  }
  unsigned getNumParts() const override {
    return llvm::divideCeil(end - begin, kPartRows);
  }

  Error add(unsigned part, ArrayRef<const TokenRows *> rows) override {
    static const TileFunction tile = chooseTile();
    const TokenRows &x = *rows[0], &y = *rows.back();
    size_t first = begin + part * kPartRows;
    size_t last = std::min(end, first + kPartRows);
    // Below the diagonal is what stands above it.
    size_t firstColumn = symmetric ? first / kTileColumns * kTileColumns : 0;
    Packed left, right;
    size_t step = group ? group : kBlock;
    for (size_t token = 0; token < x.getNumRows(); token += step) {
      size_t count = std::min(step, x.getNumRows() - token);
      left.pack(x, token, count, first, last, kTileRows);
      right.pack(y, token, count, firstColumn, columns, kTileColumns);
      for (size_t j = firstColumn; j < columns; j += kTileColumns)
        for (size_t i = first; i < last; i += kTileRows)
          addTile(tile, left.tile((i - first) / kTileRows),
                  right.tile((j - firstColumn) / kTileColumns), count, i, last,
                  j);
    }
    return Error::success();
  }

  Error finish(std::vector<SafetensorsSource> &tensors) override {
    if (symmetric)
      for (size_t i = begin; i < end; ++i)
        for (size_t j = begin; j < i; ++j)
          sums[(i - begin) * columns + j] = sums[(j - begin) * columns + i];
    if (!llvm::all_of(sums, [](double value) { return std::isfinite(value); }))
      return driverError(prefix + ": activations are not finite numbers on "
                                  "these samples [FFN-D212]");
    tensors.push_back(SafetensorsSource::ofVector(
        prefix + "/" + name, "F64",
        {static_cast<int64_t>(end - begin), static_cast<int64_t>(columns)},
        std::move(sums)));
    return Error::success();
  }

private:
  void addTile(TileFunction tile, const double *x, const double *y,
               size_t count, size_t row, size_t lastRow, size_t column) {
    alignas(64) double buffer[kTileRows * kTileColumns] = {};
    size_t m = std::min(kTileRows, lastRow - row);
    size_t n = std::min(kTileColumns, columns - column);
    double *to = &sums[(row - begin) * columns + column];
    if (!group)
      for (size_t i = 0; i < m; ++i)
        std::copy_n(to + i * columns, n, buffer + i * kTileColumns);
    tile(x, y, count, buffer);
    for (size_t i = 0; i < m; ++i)
      for (size_t j = 0; j < n; ++j) {
        double value = buffer[i * kTileColumns + j];
        double &sum = to[i * columns + j];
        sum = group ? sum + std::min(1.0, value) : value;
      }
  }

  std::string name;
  size_t begin, end, columns;
  bool symmetric;
  size_t group;
  std::vector<double> sums;
};
} // namespace

/// Rows [begin, end) of a tensor of `rows`.
static std::string nameOfPart(std::string name, size_t rows, size_t begin,
                              size_t end) {
  return begin == 0 && end == rows ? name : name + "." + std::to_string(begin);
}

std::unique_ptr<Statistic> mlir::ffn::makeGram(size_t width, size_t begin,
                                               size_t end) {
  return std::make_unique<Products>(nameOfPart("gram", width, begin, end),
                                    begin, end, width, end - begin == width,
                                    /*group=*/0);
}

std::unique_ptr<Statistic> mlir::ffn::makeCross(std::string name, size_t rows,
                                                size_t columns, size_t begin,
                                                size_t end) {
  return std::make_unique<Products>(
      nameOfPart(std::move(name), rows, begin, end), begin, end, columns,
      /*symmetric=*/false, /*group=*/0);
}

std::unique_ptr<Statistic> mlir::ffn::makeCoFiring(size_t width, size_t group,
                                                   size_t begin, size_t end) {
  return std::make_unique<Products>(nameOfPart("cofire", width, begin, end),
                                    begin, end, width, end - begin == width,
                                    std::max<size_t>(group, 1));
}
