//===- GemmFloat.h - Products of f32 rows -----------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_TARGET_CPU_KERNELS_GEMMFLOAT_H
#define FFN_MLIR_LIB_TARGET_CPU_KERNELS_GEMMFLOAT_H

#include "GemmEmitter.h"

namespace mlir::ffn::cpu {

/// Each output element is one chain of fused multiply-adds over ascending k
/// that starts at the bias, in every tile: no cut of rows or tasks can change a
/// bit. Where one scale serves a whole row of codes, the chain is over the
/// codes, and scale and bias come last.
class FloatGemmEmitter : public GemmEmitter {
public:
  FloatGemmEmitter(KernelBuilder &kb, GemmAttr key, func::FuncOp func);

protected:
  /// For kernels with other operands and tasks of `rowBlock` rows. With
  /// `accumulates`, emitSums adds `depth` depths to what `scratch` has, and
  /// finishes nothing.
  FloatGemmEmitter(KernelBuilder &kb, GemmAttr key, int64_t rowBlock,
                   int64_t depth, bool accumulates);

  void emitSums() override;
  void emitTile(int64_t count, Value row, Value k0, Value k1,
                Prefetch prefetch) override;
  Value getDepthOffset(Value k) override;
  SmallVector<Value> complete(Value row, ArrayRef<Value> sums) override;
  /// Fills the first `rows` rows of `scratch` with what sums start at.
  void startScratch();

private:
  void allocate();
  void emitBlocks(int64_t block);
  void widen(Value k0, Value k1);
  SmallVector<Value> loadStart();
  SmallVector<Value> loadWide(Value k);
  Value getRowOffset(Value k);
  SmallVector<Value> loadScales(Value group);
  SmallVector<Value> loadRow(Value k, int64_t u, ArrayRef<Value> scales);
  Value loadWeights(Value index);

  /// Whether weights are not f32 in memory.
  bool narrow;
  bool accumulates = false;
  int64_t unroll;
  /// Widened weights, and the depth of the first ones while tiles read them.
  Value wideBuffer, wideStart;
  Value weightView;
};

} // namespace mlir::ffn::cpu

#endif // FFN_MLIR_LIB_TARGET_CPU_KERNELS_GEMMFLOAT_H
