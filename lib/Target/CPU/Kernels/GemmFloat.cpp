//===- GemmFloat.cpp - Products of f32 rows -------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "GemmFloat.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

/// Depth beyond which a panel no longer stays in L2 from tile to tile.
constexpr int64_t kMaxDepth = 1536;
constexpr int64_t kDepthBlock = 1024;
/// Depth of a block of weights that are widened once for many rows: a part of
/// L1.
constexpr int64_t kWideDepth = 64;

FloatGemmEmitter::FloatGemmEmitter(KernelBuilder &kb, GemmAttr key,
                                   func::FuncOp func)
    : GemmEmitter(kb, key, func), narrow(!key.getElement().isF32()) {
  allocate();
}

FloatGemmEmitter::FloatGemmEmitter(KernelBuilder &kb, GemmAttr key,
                                   int64_t rowBlock, int64_t depth,
                                   bool accumulates)
    : GemmEmitter(kb, key), narrow(!key.getElement().isF32()),
      accumulates(accumulates) {
  this->rowBlock = rowBlock;
  this->depth = depth;
  allocate();
}

void FloatGemmEmitter::allocate() {
  unroll = depth % 4 == 0 ? 4 : depth % 2 == 0 ? 2 : 1;
  if (accumulates || narrow || depth > kMaxDepth || key.getGated() ||
      key.getActivation() != Activation::Identity)
    scratch = kb.stackBuffer({rowBlock, width});
  if (narrow)
    wideBuffer = kb.stackBuffer({kWideDepth, width});
}

void FloatGemmEmitter::emitSums() {
  Type element = panels.isQuantized() ? b.getI8Type() : key.getElement();
  int64_t bytes = panels.getNumGroups() * panels.getScaleBytes() +
                  panels.getRowBytes(depth);
  int64_t elements = bytes * 8 / element.getIntOrFloatBitWidth();
  weightView = memref::ViewOp::create(
      b, MemRefType::get({elements}, element), weight,
      kb.add(getPanelStart(), getWeightsOffset()), ValueRange());
  int64_t block = depth > kMaxDepth ? kDepthBlock : kMaxDepth;
  if (!narrow) {
    emitBlocks(block);
  } else {
    // Few rows are over before widened weights would have paid.
    kb.ifThen(
        kb.cmp(arith::CmpIPredicate::slt, rows, kb.idx(2 * getTileRows(key))),
        [&] { emitBlocks(block); },
        [&] {
          wideStart = kb.idx(0);
          emitBlocks(kWideDepth);
          wideStart = {};
        });
  }
  if (scratch && !accumulates)
    finishScratch();
}

/// All sums, over blocks of so many depths.
void FloatGemmEmitter::emitBlocks(int64_t block) {
  depthBlocks = std::max<int64_t>(1, llvm::divideCeil(depth, block));
  Value end = kb.idx(depth);
  auto emitBlock = [&](Value k0, Value k1) {
    if (wideStart)
      widen(k0, k1);
    emitTiles(k0, k1, unroll);
  };
  if (depthBlocks == 1)
    return emitBlock(kb.idx(0), end);
  if (!accumulates)
    startScratch();
  kb.loop(kb.idx(0), end, block,
          [&](Value k0) { emitBlock(k0, kb.min(kb.add(k0, block), end)); });
}

void FloatGemmEmitter::startScratch() {
  kb.loop(kb.idx(0), rows, 1, [&](Value row) {
    for (auto [j, start] : llvm::enumerate(loadStart()))
      kb.store(start, scratch, {row, kb.idx(j * kb.lanes)});
  });
}

/// Fills the buffer with the weights of depths [k0, k1).
void FloatGemmEmitter::widen(Value k0, Value k1) {
  kb.loop(k0, k1, unroll, [&](Value k) {
    SmallVector<Value> scales;
    if (panels.isQuantized() && !singleGroup)
      scales = loadScales(kb.divU(k, panels.getGroup()));
    for (int64_t u = 0; u < unroll; ++u)
      for (auto [j, value] : llvm::enumerate(loadRow(k, u, scales)))
        kb.store(value, wideBuffer,
                 {kb.add(kb.sub(k, k0), u), kb.idx(j * kb.lanes)});
  });
  wideStart = k0;
}

/// What the sums of a row start at.
SmallVector<Value> FloatGemmEmitter::loadStart() {
  if (singleGroup)
    return SmallVector<Value>(vectors, kb.constant(0.0));
  return loadVectors(kb.idx(0));
}

void FloatGemmEmitter::emitTile(int64_t count, Value row, Value k0, Value k1,
                                Prefetch prefetch) {
  SmallVector<Value> init, taskRows, xRows, scratchRows;
  for (int64_t i = 0; i < count; ++i) {
    taskRows.push_back(kb.add(row, i));
    xRows.push_back(getInputRow(taskRows.back()));
    scratchRows.push_back(getScratchRow(taskRows.back()));
  }
  for (int64_t i = 0; i < count; ++i) {
    if (depthBlocks == 1 && !accumulates) {
      llvm::append_range(init, loadStart());
      continue;
    }
    for (int64_t j = 0; j < vectors; ++j)
      init.push_back(kb.load(scratch, {scratchRows[i], kb.idx(j * kb.lanes)}));
  }
  auto sumDepths = [&](Value from, Value to, ValueRange init,
                       ArrayRef<Value> scales) {
    return kb.loop(
        from, to, unroll, init,
        [&](Value k, ValueRange carried) -> SmallVector<Value> {
          SmallVector<Value> next(carried);
          for (int64_t u = 0; u < unroll; ++u) {
            prefetch(k, u);
            Value ku = kb.add(k, u);
            emitTileStep(
                kb, count, wideStart ? loadWide(ku) : loadRow(k, u, scales),
                [&](int64_t i) -> Value {
                  return memref::LoadOp::create(b, x, ValueRange{xRows[i], ku});
                },
                next);
          }
          return next;
        });
  };
  SmallVector<Value> sums;
  if (!panels.isQuantized() || singleGroup || wideStart) {
    sums = sumDepths(k0, k1, init, {});
  } else {
    // Blocks of depths end where groups do.
    Value first = kb.divU(k0, panels.getGroup()),
          last = kb.ceilDivU(k1, panels.getGroup());
    sums = kb.loop(first, last, 1, init,
                   [&](Value group, ValueRange carried) -> SmallVector<Value> {
                     Value from = kb.mul(group, panels.getGroup());
                     return sumDepths(
                         from, kb.min(kb.add(from, panels.getGroup()), k1),
                         carried, loadScales(group));
                   });
  }
  for (int64_t i = 0; i < count; ++i) {
    ArrayRef<Value> values = ArrayRef<Value>(sums).slice(i * vectors, vectors);
    if (!scratch) {
      finish(taskRows[i], values);
      continue;
    }
    for (int64_t j = 0; j < vectors; ++j)
      kb.store(values[j], scratch, {scratchRows[i], kb.idx(j * kb.lanes)});
  }
}

/// Row `k` of the widened block.
SmallVector<Value> FloatGemmEmitter::loadWide(Value k) {
  SmallVector<Value> columns;
  for (int64_t j = 0; j < vectors; ++j)
    columns.push_back(
        kb.load(wideBuffer, {kb.sub(k, wideStart), kb.idx(j * kb.lanes)}));
  return columns;
}

/// Byte of the weights of row `k` (an even one where rows share bytes), from
/// the first one.
Value FloatGemmEmitter::getRowOffset(Value k) {
  Value rows = kb.divU(kb.mul(k, panels.getRowBytes(2)), 2);
  if (!panels.isQuantized())
    return rows;
  if (singleGroup)
    return kb.add(rows, panels.getScaleBytes());
  Value groups = kb.add(kb.divU(k, panels.getGroup()), 1);
  return kb.add(rows, kb.mul(groups, panels.getScaleBytes()));
}
Value FloatGemmEmitter::getDepthOffset(Value k) {
  return kb.add(getRowOffset(k), getWeightsOffset());
}

SmallVector<Value> FloatGemmEmitter::loadScales(Value group) {
  return loadVectors(
      kb.add(kb.mul(group, panels.getGroupBytes()), panels.getBiasBytes()));
}

/// Row `k + u` of the panel, one register for each vector.
SmallVector<Value> FloatGemmEmitter::loadRow(Value k, int64_t u,
                                             ArrayRef<Value> scales) {
  SmallVector<Value> columns;
  if (!panels.isQuantized()) {
    Value start = kb.mul(kb.add(k, u), width);
    for (int64_t j = 0; j < vectors; ++j)
      columns.push_back(loadWeights(kb.add(start, j * kb.lanes)));
    return columns;
  }
  bool paired = panels.getElementBits() == 4;
  Value start = kb.add(getRowOffset(k), paired ? u / 2 * width : u * width);
  auto wide = VectorType::get({kb.lanes}, b.getI32Type());
  auto shift = [&](int64_t bits) -> Value {
    return arith::ConstantOp::create(
        b, DenseElementsAttr::get(wide, b.getI32IntegerAttr(bits)));
  };
  for (int64_t j = 0; j < vectors; ++j) {
    Value codes = vector::LoadOp::create(
        b, VectorType::get({kb.lanes}, b.getI8Type()), weightView,
        ValueRange{kb.add(start, j * kb.lanes)});
    codes = arith::ExtSIOp::create(b, wide, codes);
    if (paired && u % 2 == 0)
      codes = arith::ShLIOp::create(b, codes, shift(28));
    if (paired)
      codes = arith::ShRSIOp::create(b, codes, shift(u % 2 == 0 ? 28 : 4));
    Value value = arith::SIToFPOp::create(b, kb.vecType, codes);
    columns.push_back(singleGroup ? value : kb.fmul(value, scales[j]));
  }
  return columns;
}

Value FloatGemmEmitter::loadWeights(Value index) {
  if (key.getElement().isF32())
    return kb.load(weightView, ValueRange{index});
  Value narrow =
      vector::LoadOp::create(b, VectorType::get({kb.lanes}, key.getElement()),
                             weightView, ValueRange{index});
  return arith::ExtFOp::create(b, kb.vecType, narrow);
}

SmallVector<Value> FloatGemmEmitter::complete(Value row, ArrayRef<Value> sums) {
  SmallVector<Value> result(sums);
  if (!singleGroup)
    return result;
  SmallVector<Value> biases = loadVectors(kb.idx(0)),
                     scales = loadScales(kb.idx(0));
  for (int64_t j = 0; j < vectors; ++j)
    result[j] = kb.fma(sums[j], scales[j], biases[j]);
  return result;
}
void cpu::emitFloatGemm(KernelBuilder &kb, GemmAttr key, func::FuncOp func) {
  FloatGemmEmitter(kb, key, func).emit();
}
