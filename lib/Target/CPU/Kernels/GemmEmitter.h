//===- GemmEmitter.h - What all matrix products share -----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_TARGET_CPU_KERNELS_GEMMEMITTER_H
#define FFN_MLIR_LIB_TARGET_CPU_KERNELS_GEMMEMITTER_H

#include "KernelBuilder.h"

namespace mlir::ffn::cpu {

/// Cuts a product into tasks, tasks into register tiles, and finishes rows of
/// sums. What a sum is, is up to the derived class.
///
/// A task is a block of rows times one panel of columns. Its rows are cut into
/// register tiles of the most rows that fit, then of powers of two.
class GemmEmitter {
public:
  /// Takes the operands of the product from the arguments of `func`.
  GemmEmitter(KernelBuilder &kb, GemmAttr key, func::FuncOp func);
  virtual ~GemmEmitter() = default;
  virtual void emit();

protected:
  /// For kernels with other operands, which set `x`, `weight`, `residual`, `y`,
  /// `begin` and `end`.
  GemmEmitter(KernelBuilder &kb, GemmAttr key);

  /// Asks for memory that is needed later; called at each step of a tile with
  /// the depth and the step in the unrolled body.
  using Prefetch = llvm::function_ref<void(Value depth, int64_t step)>;

  /// All sums of the task; may call emitTiles.
  virtual void emitSums() = 0;
  /// Sums of `count` rows from `row` (of the task), depths [k0, k1).
  virtual void emitTile(int64_t count, Value row, Value k0, Value k1,
                        Prefetch prefetch) = 0;
  /// Byte of the weights of depth `k`, from the start of the panel.
  virtual Value getDepthOffset(Value k) = 0;
  /// Byte of the first weights that emitSums reads, from the start of the
  /// panel.
  virtual Value getWeightsOffset() { return kb.idx(panels.getBiasBytes()); }
  // Where row `row` of the task is found.
  virtual Value getInputRow(Value row) { return kb.add(row0, row); }
  virtual Value getScratchRow(Value row) { return row; }
  // Of a row of sums: where it belongs in y.
  virtual Value getOutputRow(Value row) { return kb.add(row0, row); }
  virtual Value getOutputColumn() { return kb.mul(panel, panels.getColumns()); }
  /// The value to store of the output row, after the gate.
  virtual Value adjust(Value outputRow, Value value) { return value; }
  /// The values before the activation, of the sums of one row.
  virtual SmallVector<Value> complete(Value row, ArrayRef<Value> sums) {
    return SmallVector<Value>(sums);
  }

  /// All tiles of the task over the depths [k0, k1), `step` at a time.
  void emitTiles(Value k0, Value k1, int64_t step);
  /// Activation, gate, residual and store of one row of the panel.
  void finish(Value row, ArrayRef<Value> sums);
  /// `finish` for each row of `scratch`.
  void finishScratch();
  /// A row of `width` f32 of the panel, one register for each vector.
  SmallVector<Value> loadVectors(Value offset);
  Value getPanelStart() { return kb.mul(panel, panels.getPanelBytes()); }

  KernelBuilder &kb;
  ImplicitLocOpBuilder &b;
  GemmAttr key;
  PanelsAttr panels;
  int64_t width, vectors, outVectors, rowBlock, depthBlocks = 1;
  /// Depths that emitSums adds up, `k` unless a panel is used in parts.
  int64_t depth;
  /// Whether one scale serves a whole row of codes.
  bool singleGroup;
  Value x, weight, residual, y, begin, end;
  /// Sums of the task, row by row; null where tiles finish their own.
  Value scratch;
  // Of the task.
  Value panel, row0, rows, nextPanel;

private:
  void prefetch(Value offset, int64_t locality);
};

/// Rows of the largest tile: as many as leave registers for one row of the
/// panel and one broadcast.
int64_t getTileRows(GemmAttr key);

/// Products of f32 rows, with weights of any type.
void emitFloatGemm(KernelBuilder &kb, GemmAttr key, func::FuncOp func);
/// Products of rows of int8 with codes.
void emitDotGemm(KernelBuilder &kb, GemmAttr key, func::FuncOp func);

} // namespace mlir::ffn::cpu

#endif // FFN_MLIR_LIB_TARGET_CPU_KERNELS_GEMMEMITTER_H
