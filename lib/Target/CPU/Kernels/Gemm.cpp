//===- Gemm.cpp - Matrix product with packed weights ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "GemmEmitter.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

int64_t cpu::getTileRows(GemmAttr key) {
  PanelsAttr panels = key.getPanels();
  bool wide = getLanes(key.getLevel()) == 16;
  if (key.getInt8Rows()) {
    // Without the instruction, halves of the bytes take registers, too.
    if (!hasVnni(key.getLevel()))
      return !wide ? 4 : panels.getVectors() == 3 ? 6 : 8;
    return !wide ? 4 : panels.getVectors() == 3 ? 8 : 12;
  }
  if (!wide)
    return 6;
  return panels.getVectors() == 3 ? 8 : 12;
}

int64_t cpu::getGemmRowBlock(GemmAttr key) {
  int64_t tile = getTileRows(key);
  // About 128 rows keep their part of x in L2 while the panels stream by; an
  // output of few panels needs shorter blocks to give every thread some.
  int64_t rows = key.getPanels().getNumPanels() >= 8 ? 128 : 48;
  return rows / tile * tile;
}

void cpu::emitTileStep(KernelBuilder &kb, int64_t count,
                       ArrayRef<Value> columns,
                       llvm::function_ref<Value(int64_t)> loadElement,
                       MutableArrayRef<Value> sums) {
  for (int64_t i = 0; i < count; ++i) {
    Value spread = kb.splat(loadElement(i));
    for (auto [j, column] : llvm::enumerate(columns)) {
      Value &sum = sums[i * columns.size() + j];
      sum = kb.fma(spread, column, sum);
    }
  }
}

void cpu::emitGemm(KernelBuilder &kb, GemmAttr key, func::FuncOp func) {
  if (key.getInt8Rows())
    return emitDotGemm(kb, key, func);
  emitFloatGemm(kb, key, func);
}

GemmEmitter::GemmEmitter(KernelBuilder &kb, GemmAttr key)
    : kb(kb), b(kb.b), key(key), panels(key.getPanels()),
      width(panels.getWidth()), vectors(panels.getVectors()),
      outVectors(key.getGated() ? vectors / 2 : vectors),
      rowBlock(getGemmRowBlock(key)), depth(key.getK()),
      singleGroup(panels.isQuantized() && panels.getGroup() >= key.getK()) {}

GemmEmitter::GemmEmitter(KernelBuilder &kb, GemmAttr key, func::FuncOp func)
    : GemmEmitter(kb, key) {
  ArrayRef<BlockArgument> args = func.getArguments();
  x = args[0];
  weight = args[1];
  if (key.getResidual())
    residual = args[2];
  y = args[key.getResidual() ? 3 : 2];
  begin = args[args.size() - 2];
  end = args[args.size() - 1];
}

void GemmEmitter::emit() {
  Value m = kb.dim(x, 0);
  int64_t numPanels = panels.getNumPanels();
  kb.loop(begin, end, 1, [&](Value task) {
    Value block = kb.divU(task, numPanels);
    panel = kb.sub(task, kb.mul(block, numPanels));
    row0 = kb.mul(block, rowBlock);
    rows = kb.min(kb.sub(m, row0), kb.idx(rowBlock));
    // The last panel prefetches itself.
    nextPanel = kb.min(kb.add(getPanelStart(), panels.getPanelBytes()),
                       kb.idx(panels.getTotalBytes() - panels.getPanelBytes()));
    emitSums();
  });
}

SmallVector<Value> GemmEmitter::loadVectors(Value offset) {
  Value view =
      memref::ViewOp::create(b, MemRefType::get({width}, kb.f32), weight,
                             kb.add(getPanelStart(), offset), ValueRange());
  SmallVector<Value> result;
  for (int64_t j = 0; j < vectors; ++j)
    result.push_back(kb.load(view, ValueRange{kb.idx(j * kb.lanes)}));
  return result;
}

void GemmEmitter::prefetch(Value offset, int64_t locality) {
  memref::PrefetchOp::create(b, weight, ValueRange{offset}, /*isWrite=*/false,
                             locality, /*isDataCache=*/true);
}

void GemmEmitter::emitTiles(Value k0, Value k1, int64_t step) {
  int64_t tile = getTileRows(key);
  Value tiles = kb.divU(rows, tile), tiled = kb.mul(tiles, tile);
  // Each tile asks for its share of the next panel.
  int64_t steps =
      std::max<int64_t>(1, llvm::divideCeil(depth, depthBlocks) / step);
  int64_t bytes =
      depth == key.getK() ? panels.getPanelBytes() : panels.getRowBytes(depth);
  Value share =
      kb.divU(kb.idx(bytes / depthBlocks / steps), kb.max(tiles, kb.idx(1)));
  Value depthStart = depthBlocks == 1
                         ? kb.idx(0)
                         : kb.divU(kb.mul(k0, panels.getRowBytes(2)), 2);
  kb.loop(kb.idx(0), tiled, tile, [&](Value row) {
    Value number = kb.divU(row, tile);
    Value start = kb.add(kb.add(nextPanel, depthStart),
                         kb.mul(kb.mul(number, share), steps));
    if (depth != key.getK())
      start = kb.add(start, getWeightsOffset());
    emitTile(tile, row, k0, k1, [&](Value k, int64_t u) {
      if (u != 0)
        return;
      Value at = kb.divU(kb.sub(k, k0), step);
      prefetch(kb.add(start, kb.mul(at, share)), /*locality=*/2);
    });
  });
  Value rest = kb.sub(rows, tiled), row = tiled;
  for (int64_t size = 8; size >= 1; size /= 2) {
    if (size >= tile)
      continue;
    Value has = arith::AndIOp::create(b, rest, kb.idx(size));
    kb.ifThen(kb.cmp(arith::CmpIPredicate::ne, has, kb.idx(0)), [&] {
      emitTile(size, row, k0, k1, [&](Value k, int64_t u) {
        // Few rows: the panel itself comes from afar. Scales are in the way
        // of codes, and few.
        constexpr int64_t distance = 2048;
        int64_t bytes = panels.getRowBytes(step);
        if (u != 0)
          return;
        Value offset =
            kb.add(kb.add(getPanelStart(), getDepthOffset(k)), distance);
        for (int64_t line = 0; line < bytes; line += 64)
          prefetch(kb.add(offset, line), /*locality=*/3);
      });
    });
    row = kb.add(row, has);
  }
}

void GemmEmitter::finishScratch() {
  kb.loop(kb.idx(0), rows, 1, [&](Value row) {
    SmallVector<Value> values;
    for (int64_t j = 0; j < vectors; ++j)
      values.push_back(kb.load(scratch, {row, kb.idx(j * kb.lanes)}));
    finish(row, values);
  });
}

void GemmEmitter::finish(Value row, ArrayRef<Value> sums) {
  SmallVector<Value> values, completed = complete(row, sums);
  for (int64_t j = 0; j < outVectors; ++j) {
    Value value =
        buildActivation(b, b.getLoc(), key.getActivation(), completed[j]);
    if (key.getGated())
      value = kb.fmul(value, completed[outVectors + j]);
    values.push_back(value);
  }
  Value yRow = getOutputRow(row);
  for (Value &value : values)
    value = adjust(yRow, value);
  Value column = getOutputColumn();
  auto storeFull = [&](int64_t j) {
    Value at = kb.add(column, j * kb.lanes);
    Value value = values[j];
    if (residual)
      value = kb.fadd(kb.load(residual, {yRow, at}), value);
    kb.store(value, y, {yRow, at});
  };
  int64_t last = key.getN() - (panels.getNumPanels() - 1) * panels.getColumns();
  auto storeAll = [&] {
    for (int64_t j = 0; j < outVectors; ++j)
      storeFull(j);
  };
  auto storeLast = [&] {
    for (int64_t j = 0; j < outVectors && j * kb.lanes < last; ++j) {
      if (last - j * kb.lanes >= kb.lanes) {
        storeFull(j);
        continue;
      }
      Value at = kb.add(column, j * kb.lanes);
      Value mask = kb.mask(last - j * kb.lanes), value = values[j];
      if (residual)
        value = kb.fadd(
            kb.maskedLoad(residual, {yRow, at}, mask, kb.constant(0.0)), value);
      kb.maskedStore(value, y, {yRow, at}, mask);
    }
  };
  if (last == panels.getColumns())
    return storeAll();
  if (panels.getNumPanels() == 1)
    return storeLast();
  kb.ifThen(kb.cmp(arith::CmpIPredicate::eq, panel,
                   kb.idx(panels.getNumPanels() - 1)),
            storeLast, storeAll);
}
