//===- Packing.h - Weights in the layout of the kernels ---------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_TARGET_CPU_PACKING_H
#define FFN_MLIR_TARGET_CPU_PACKING_H

#include "ffn-mlir/Dialect/CPU/IR/CPU.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include <deque>

namespace mlir::ffn::cpu {

/// A matrix in memory: element (row, column) of `elementType` (f16, bf16, f32,
/// f64, or i8 for codes, little-endian, any alignment) at `data + row *
/// rowBytes + column * columnBytes`. A transposed matrix is the same bytes with
/// the two strides exchanged.
struct MatrixView {
  const char *data = nullptr;
  Type elementType;
  int64_t rows = 0, columns = 0;
  int64_t rowBytes = 0, columnBytes = 0;
};

/// Writes panels [first, last) of `layout` to `out`, which holds just them.
/// `weights` are one matrix `[n, k]`, or gate and up; `biases` none or as
/// many columns `[n, 1]`. Values are converted to the element type of the
/// layout, round to nearest even. For a quantized layout the weights are codes
/// that fit it, and `scales` their `[n, groups]`.
void packPanels(PanelsAttr layout, ArrayRef<MatrixView> weights,
                ArrayRef<MatrixView> biases, int64_t first, int64_t last,
                MutableArrayRef<char> out, ArrayRef<MatrixView> scales = {});

/// All packed weights of a module, one after the other at multiples of 64
/// bytes. Equal requests share their bytes.
class PackedImage {
public:
  /// Called with consecutive pieces of the image; failure stops the packing.
  using Sink = llvm::function_ref<LogicalResult(ArrayRef<char>)>;

  /// Bytes of a weight expression that is not a plain weight behind
  /// transposes and reshapes, row-major in its type.
  using Evaluate =
      llvm::function_ref<LogicalResult(Value, SmallVectorImpl<char> &)>;

  /// Collects the ffn_cpu.pack ops of `module` in program order.
  LogicalResult collect(ModuleOp module);
  /// Bytes of the whole image.
  uint64_t getSize() const { return size; }
  /// Evaluates, packs (with `threads` threads, 0: one for each core) and hands
  /// the image to the sink in order; memory stays within a few panels of one
  /// weight, apart from expressions that must be evaluated.
  LogicalResult write(Evaluate evaluate, Sink sink, unsigned threads = 0);
  /// Replaces the requests by ffn_cpu.packed_weight; call after `write`.
  void replaceRequests();

private:
  struct Entry {
    PackOp op;
    uint64_t offset, bytes;
  };
  std::deque<Entry> entries;
  /// Offset of each request, shared entries included.
  SmallVector<std::pair<PackOp, uint64_t>> requests;
  uint64_t size = 0;

  LogicalResult writeEntry(const Entry &entry, Evaluate evaluate, Sink sink,
                           unsigned threads);
};

} // namespace mlir::ffn::cpu

#endif // FFN_MLIR_TARGET_CPU_PACKING_H
