//===- PackPanels.cpp - Matrices into panels ------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/Assert.h"
#include "ffn-mlir/Target/CPU/Packing.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/bit.h"
#include <algorithm>
#include <cstring>

using namespace mlir;
using namespace mlir::ffn::cpu;

namespace {
// Storage types; a tag tells the two 16-bit formats apart.
struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};

float toFloat(float x) { return x; }
float toFloat(BF16 x) { return llvm::bit_cast<float>(uint32_t(x.bits) << 16); }
float toFloat(F16 x) {
  uint32_t sign = uint32_t(x.bits & 0x8000) << 16;
  uint32_t exponent = (x.bits >> 10) & 31, fraction = x.bits & 0x3ff;
  if (exponent == 31)
    return llvm::bit_cast<float>(sign | 0x7f800000 | (fraction << 13));
  if (exponent != 0)
    return llvm::bit_cast<float>(sign | ((exponent + 112) << 23) |
                                 (fraction << 13));
  float tiny = static_cast<float>(fraction) * 0x1p-24f;
  return llvm::bit_cast<float>(sign | llvm::bit_cast<uint32_t>(tiny));
}

/// Rounds in one step, to nearest even, through APFloat: narrowing is rare
/// (a weight that a pass has stored wider than it is packed).
uint16_t narrow(llvm::APFloat value, const llvm::fltSemantics &semantics) {
  bool losesInfo;
  value.convert(semantics, llvm::APFloat::rmNearestTiesToEven, &losesInfo);
  return static_cast<uint16_t>(value.bitcastToAPInt().getZExtValue());
}

template <typename To, typename From> To convert(From x) {
  if constexpr (std::is_same_v<To, From>)
    return x;
  else if constexpr (std::is_same_v<To, float>) {
    if constexpr (std::is_same_v<From, double>)
      return static_cast<float>(x);
    else
      return toFloat(x);
  } else {
    const llvm::fltSemantics &semantics = std::is_same_v<To, BF16>
                                              ? llvm::APFloat::BFloat()
                                              : llvm::APFloat::IEEEhalf();
    if constexpr (std::is_same_v<From, double>)
      return To{narrow(llvm::APFloat(x), semantics)};
    else
      return To{narrow(llvm::APFloat(toFloat(x)), semantics)};
  }
}

/// Elements (first row.., all columns) of `view` to `out`, which holds element
/// (row, column) at `column * outStride + row - firstRow`; rows that the view
/// lacks are left alone.
template <typename From, typename To>
void copyBlock(const MatrixView &view, int64_t firstRow, int64_t numRows,
               To *out, int64_t outStride) {
  numRows = std::min(numRows, view.rows - firstRow);
  const char *base = view.data + firstRow * view.rowBytes;
  auto get = [&](int64_t row, int64_t column) {
    From value;
    std::memcpy(&value, base + row * view.rowBytes + column * view.columnBytes,
                sizeof(From));
    return convert<To>(value);
  };
  if (view.rowBytes < view.columnBytes) {
    for (int64_t column = 0; column < view.columns; ++column)
      for (int64_t row = 0; row < numRows; ++row)
        out[column * outStride + row] = get(row, column);
    return;
  }
  // Blocks of columns keep the lines of `out` in the nearest cache.
  constexpr int64_t block = 64;
  for (int64_t start = 0; start < view.columns; start += block) {
    int64_t end = std::min(start + block, view.columns);
    for (int64_t row = 0; row < numRows; ++row)
      for (int64_t column = start; column < end; ++column)
        out[column * outStride + row] = get(row, column);
  }
}

template <typename To>
void copyAny(const MatrixView &view, int64_t firstRow, int64_t numRows, To *out,
             int64_t outStride) {
  Type type = view.elementType;
  if (type.isF32())
    copyBlock<float>(view, firstRow, numRows, out, outStride);
  else if (type.isF64())
    copyBlock<double>(view, firstRow, numRows, out, outStride);
  else if (type.isBF16())
    copyBlock<BF16>(view, firstRow, numRows, out, outStride);
  else if (type.isF16())
    copyBlock<F16>(view, firstRow, numRows, out, outStride);
  else
    FFN_ASSERT(false, "the verifier of ffn_cpu.pack admits floats only");
}

template <typename To>
void packTyped(PanelsAttr layout, ArrayRef<MatrixView> weights,
               ArrayRef<MatrixView> biases, int64_t first, int64_t last,
               char *out) {
  int64_t width = layout.getWidth(), columns = layout.getColumns();
  for (int64_t panel = first; panel < last; ++panel) {
    char *start = out + (panel - first) * layout.getPanelBytes();
    for (auto [i, bias] : llvm::enumerate(biases))
      copyAny(bias, panel * columns, columns,
              reinterpret_cast<float *>(start) + i * columns, width);
    for (auto [i, weight] : llvm::enumerate(weights))
      copyAny(weight, panel * columns, columns,
              reinterpret_cast<To *>(start + layout.getBiasBytes()) +
                  i * columns,
              width);
  }
}

void packCodes(PanelsAttr layout, ArrayRef<MatrixView> weights,
               ArrayRef<MatrixView> biases, ArrayRef<MatrixView> scales,
               int64_t first, int64_t last, char *out) {
  int64_t width = layout.getWidth(), columns = layout.getColumns(),
          group = layout.getGroup();
  bool paired = layout.getElementBits() == 4;
  int64_t groupBytes = layout.getGroupBytes();
  // Byte of depth k of its group in column 0, and which half of it.
  auto locate = [&](int64_t k, bool &high) -> int64_t {
    if (!layout.getQuads()) {
      high = paired && k % 2 == 1;
      return (paired ? k / 2 : k) * width;
    }
    int64_t step = layout.getRowStep();
    high = k % step >= 4;
    return k / step * width * 4 + k % 4;
  };
  int64_t columnBytes = layout.getQuads() ? 4 : 1;
  for (int64_t panel = first; panel < last; ++panel) {
    char *start = out + (panel - first) * layout.getPanelBytes();
    int64_t firstRow = panel * columns;
    for (auto [i, bias] : llvm::enumerate(biases))
      copyAny(bias, firstRow, columns,
              reinterpret_cast<float *>(start) + i * columns, width);
    start += layout.getBiasBytes();
    for (auto [i, scale] : llvm::enumerate(scales))
      // One row of scales for each group, `groupBytes` apart.
      for (int64_t g = 0; g < scale.columns; ++g) {
        MatrixView one = scale;
        one.data += g * scale.columnBytes;
        one.columns = 1;
        copyAny(one, firstRow, columns,
                reinterpret_cast<float *>(start + g * groupBytes) + i * columns,
                width);
      }
    for (auto [i, weight] : llvm::enumerate(weights))
      for (int64_t row = 0, e = std::min(columns, weight.rows - firstRow);
           row < e; ++row) {
        const char *from = weight.data + (firstRow + row) * weight.rowBytes;
        for (int64_t k = 0; k < weight.columns; ++k) {
          auto code = static_cast<uint8_t>(from[k * weight.columnBytes] +
                                           layout.getZeroPoint());
          bool high;
          char *base = start + k / group * groupBytes + layout.getScaleBytes();
          char &slot =
              base[locate(k % group, high) + (i * columns + row) * columnBytes];
          if (!paired)
            slot = static_cast<char>(code);
          else
            slot |= static_cast<char>((code & 15) << (high ? 4 : 0));
        }
      }
  }
}
} // namespace

void mlir::ffn::cpu::packPanels(PanelsAttr layout, ArrayRef<MatrixView> weights,
                                ArrayRef<MatrixView> biases, int64_t first,
                                int64_t last, MutableArrayRef<char> out,
                                ArrayRef<MatrixView> scales) {
  FFN_ASSERT(static_cast<int64_t>(out.size()) ==
                 (last - first) * layout.getPanelBytes(),
             "the buffer holds just the panels");
  std::memset(out.data(), 0, out.size());
  if (layout.isQuantized())
    packCodes(layout, weights, biases, scales, first, last, out.data());
  else if (layout.getElement().isF32())
    packTyped<float>(layout, weights, biases, first, last, out.data());
  else if (layout.getElement().isBF16())
    packTyped<BF16>(layout, weights, biases, first, last, out.data());
  else
    packTyped<F16>(layout, weights, biases, first, last, out.data());
}
