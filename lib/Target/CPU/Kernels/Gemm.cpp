//===- Gemm.cpp - Matrix product with packed weights ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A task is a block of rows times one panel of columns. Its rows are cut into
// register tiles of the most rows that fit, then of powers of two. Each output
// element is one chain of fused multiply-adds over ascending k that starts at
// the bias, in every tile: no cut of rows or tasks can change a bit. Where one
// scale serves a whole row of codes, the chain is over the codes, and scale and
// bias come last.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

/// Rows of the largest tile: as many as leave registers for one row of the
/// panel and one broadcast.
static int64_t getTileRows(GemmAttr key) {
  PanelsAttr panels = key.getPanels();
  // Codes take registers for their scales, too.
  if (key.getLevel() == Level::Avx2)
    return panels.isQuantized() ? 4 : 6;
  if (panels.getElementBits() == 4 && panels.getVectors() == 3)
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

namespace {
/// Depth beyond which a panel no longer stays in L2 from tile to tile.
constexpr int64_t kMaxDepth = 1536;
constexpr int64_t kDepthBlock = 1024;

class GemmEmitter {
public:
  GemmEmitter(KernelBuilder &kb, GemmAttr key, func::FuncOp func)
      : kb(kb), b(kb.b), key(key), panels(key.getPanels()),
        width(panels.getWidth()), vectors(panels.getVectors()),
        outVectors(key.getGated() ? vectors / 2 : vectors),
        rowBlock(getGemmRowBlock(key)) {
    ArrayRef<BlockArgument> args = func.getArguments();
    x = args[0];
    weight = args[1];
    if (key.getResidual())
      residual = args[2];
    y = args[key.getResidual() ? 3 : 2];
    begin = args[args.size() - 2];
    end = args[args.size() - 1];
    depthBlocks = key.getK() > kMaxDepth
                      ? (key.getK() + kDepthBlock - 1) / kDepthBlock
                      : 1;
    useScratch = depthBlocks > 1 || key.getGated() ||
                 key.getActivation() != Activation::Identity;
    unroll = key.getK() % 4 == 0 ? 4 : key.getK() % 2 == 0 ? 2 : 1;
    singleGroup = panels.isQuantized() && panels.getGroup() >= key.getK();
  }

  void emit() {
    if (useScratch)
      scratch = kb.stackBuffer({rowBlock, width});
    Value m = kb.dim(x, 0);
    int64_t numPanels = panels.getNumPanels();
    kb.loop(begin, end, 1, [&](Value task) {
      Value block = kb.divU(task, numPanels);
      panel = kb.sub(task, kb.mul(block, numPanels));
      row0 = kb.mul(block, rowBlock);
      rows = kb.min(kb.sub(m, row0), kb.idx(rowBlock));
      emitTask();
    });
  }

private:
  KernelBuilder &kb;
  ImplicitLocOpBuilder &b;
  GemmAttr key;
  PanelsAttr panels;
  int64_t width, vectors, outVectors, rowBlock, depthBlocks, unroll;
  bool useScratch, singleGroup;
  Value x, weight, residual, y, begin, end, scratch;
  // Of the task.
  Value panel, row0, rows, biasView, weightView, nextPanel;

  void emitTask() {
    Value offset = kb.mul(panel, panels.getPanelBytes());
    biasView = memref::ViewOp::create(b, MemRefType::get({width}, kb.f32),
                                      weight, offset, ValueRange());
    Type element = panels.isQuantized() ? b.getI8Type() : key.getElement();
    int64_t elements = panels.isQuantized()
                           ? panels.getNumGroups() * panels.getScaleBytes() +
                                 panels.getRowBytes(key.getK())
                           : key.getK() * width;
    weightView = memref::ViewOp::create(
        b, MemRefType::get({elements}, element), weight,
        kb.add(offset, panels.getBiasBytes()), ValueRange());
    // The last panel prefetches itself.
    nextPanel = kb.min(kb.add(offset, panels.getPanelBytes()),
                       kb.idx(panels.getTotalBytes() - panels.getPanelBytes()));
    if (depthBlocks == 1) {
      emitTiles(kb.idx(0), kb.idx(key.getK()));
    } else {
      kb.loop(kb.idx(0), rows, 1, [&](Value row) {
        for (int64_t j = 0; j < vectors; ++j)
          kb.store(loadStart(j), scratch, {row, kb.idx(j * kb.lanes)});
      });
      kb.loop(kb.idx(0), kb.idx(key.getK()), kDepthBlock, [&](Value k0) {
        emitTiles(k0, kb.min(kb.add(k0, kDepthBlock), kb.idx(key.getK())));
      });
    }
    if (useScratch)
      kb.loop(kb.idx(0), rows, 1, [&](Value row) {
        SmallVector<Value> values;
        for (int64_t j = 0; j < vectors; ++j)
          values.push_back(kb.load(scratch, {row, kb.idx(j * kb.lanes)}));
        finish(row, values);
      });
  }

  Value loadBias(int64_t j) {
    return kb.load(biasView, ValueRange{kb.idx(j * kb.lanes)});
  }

  /// What the sum of a column starts at.
  Value loadStart(int64_t j) {
    return singleGroup ? kb.constant(0.0) : loadBias(j);
  }

  /// All tiles of the task over the depths [k0, k1).
  void emitTiles(Value k0, Value k1) {
    int64_t tile = getTileRows(key);
    Value tiles = kb.divU(rows, tile), tiled = kb.mul(tiles, tile);
    // Each tile asks for its share of the next panel.
    int64_t steps = std::max<int64_t>(
        1, std::min(key.getK(), depthBlocks > 1 ? kDepthBlock : key.getK()) /
               unroll);
    Value share = kb.divU(kb.idx(panels.getPanelBytes() / depthBlocks / steps),
                          kb.max(tiles, kb.idx(1)));
    Value depthStart = kb.divU(kb.mul(k0, panels.getRowBytes(2)), 2);
    kb.loop(kb.idx(0), tiled, tile, [&](Value row) {
      Value number = kb.divU(row, tile);
      Value start = kb.add(kb.add(nextPanel, depthStart),
                           kb.mul(kb.mul(number, share), steps));
      emitTile(tile, row, k0, k1, [&](Value k, int64_t u) {
        if (u != 0)
          return;
        Value step = kb.divU(kb.sub(k, k0), unroll);
        prefetch(kb.add(start, kb.mul(step, share)));
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
          if (panels.isQuantized()) {
            if (u != 0)
              return;
            Value offset = getRowOffset(k);
            for (int64_t line = 0; line < panels.getRowBytes(unroll);
                 line += 64)
              prefetchAhead(kb.add(offset, distance + line));
            return;
          }
          int64_t bytes = panels.getRowBytes(1);
          if (bytes < 64 && u % (64 / bytes) != 0)
            return;
          Value offset = kb.mul(kb.add(k, u), bytes);
          for (int64_t line = 0; line < std::max<int64_t>(bytes, 64);
               line += 64)
            prefetchAhead(kb.add(offset, distance + line));
        });
      });
      row = kb.add(row, has);
    }
  }

  void prefetch(Value offset) {
    memref::PrefetchOp::create(b, weight, ValueRange{offset},
                               /*isWrite=*/false, /*localityHint=*/2,
                               /*isDataCache=*/true);
  }
  void prefetchAhead(Value offset) {
    Value panelStart = kb.mul(panel, panels.getPanelBytes());
    memref::PrefetchOp::create(
        b, weight,
        ValueRange{kb.add(panelStart, kb.add(offset, panels.getBiasBytes()))},
        /*isWrite=*/false, /*localityHint=*/3, /*isDataCache=*/true);
  }

  /// `count` rows from `row` (of the task) times the panel, depths [k0, k1).
  void emitTile(int64_t count, Value row, Value k0, Value k1,
                llvm::function_ref<void(Value, int64_t)> emitPrefetch) {
    SmallVector<Value> init, xRows, scratchRows;
    for (int64_t i = 0; i < count; ++i) {
      scratchRows.push_back(kb.add(row, i));
      xRows.push_back(kb.add(row0, scratchRows.back()));
    }
    for (int64_t i = 0; i < count; ++i)
      for (int64_t j = 0; j < vectors; ++j)
        init.push_back(
            depthBlocks > 1
                ? kb.load(scratch, {scratchRows[i], kb.idx(j * kb.lanes)})
                : loadStart(j));
    auto sumDepths = [&](Value from, Value to, ValueRange init,
                         ArrayRef<Value> scales) {
      return kb.loop(from, to, unroll, init,
                     [&](Value k, ValueRange carried) -> SmallVector<Value> {
                       SmallVector<Value> next(carried);
                       for (int64_t u = 0; u < unroll; ++u) {
                         emitPrefetch(k, u);
                         Value ku = kb.add(k, u);
                         emitTileStep(
                             kb, count, loadRow(k, u, scales),
                             [&](int64_t i) -> Value {
                               return memref::LoadOp::create(
                                   b, x, ValueRange{xRows[i], ku});
                             },
                             next);
                       }
                       return next;
                     });
    };
    SmallVector<Value> sums;
    if (!panels.isQuantized()) {
      sums = sumDepths(k0, k1, init, {});
    } else if (singleGroup) {
      sums = sumDepths(k0, k1, init, {});
    } else {
      // Blocks of depths end where groups do.
      Value first = kb.divU(k0, panels.getGroup()),
            last = kb.ceilDivU(k1, panels.getGroup());
      sums = kb.loop(
          first, last, 1, init,
          [&](Value group, ValueRange carried) -> SmallVector<Value> {
            Value from = kb.mul(group, panels.getGroup());
            return sumDepths(from, kb.min(kb.add(from, panels.getGroup()), k1),
                             carried, loadScales(group));
          });
    }
    for (int64_t i = 0; i < count; ++i) {
      ArrayRef<Value> values =
          ArrayRef<Value>(sums).slice(i * vectors, vectors);
      if (!useScratch) {
        finish(scratchRows[i], values);
        continue;
      }
      for (int64_t j = 0; j < vectors; ++j)
        kb.store(values[j], scratch, {scratchRows[i], kb.idx(j * kb.lanes)});
    }
  }

  /// Byte of the first scale of a group, from the start of the weights.
  Value getScaleOffset(Value group) {
    return kb.mul(group, panels.getScaleBytes() +
                             panels.getRowBytes(panels.getGroup()));
  }

  /// Byte of the codes of row `k`, an even one where rows share bytes.
  Value getRowOffset(Value k) {
    Value rows = kb.divU(kb.mul(k, panels.getRowBytes(2)), 2);
    if (singleGroup)
      return kb.add(rows, panels.getScaleBytes());
    Value groups = kb.add(kb.divU(k, panels.getGroup()), 1);
    return kb.add(rows, kb.mul(groups, panels.getScaleBytes()));
  }

  SmallVector<Value> loadScales(Value group) {
    Value start = kb.add(kb.mul(panel, panels.getPanelBytes()),
                         kb.add(getScaleOffset(group), panels.getBiasBytes()));
    Value view = memref::ViewOp::create(b, MemRefType::get({width}, kb.f32),
                                        weight, start, ValueRange());
    SmallVector<Value> scales;
    for (int64_t j = 0; j < vectors; ++j)
      scales.push_back(kb.load(view, ValueRange{kb.idx(j * kb.lanes)}));
    return scales;
  }

  /// Row `k + u` of the panel, one register for each vector.
  SmallVector<Value> loadRow(Value k, int64_t u, ArrayRef<Value> scales) {
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

  Value loadWeights(Value index) {
    if (key.getElement().isF32())
      return kb.load(weightView, ValueRange{index});
    Value narrow =
        vector::LoadOp::create(b, VectorType::get({kb.lanes}, key.getElement()),
                               weightView, ValueRange{index});
    return arith::ExtFOp::create(b, kb.vecType, narrow);
  }

  /// Activation, gate, residual and store of one row of the panel.
  void finish(Value row, ArrayRef<Value> sums) {
    SmallVector<Value> values, complete(sums);
    if (singleGroup)
      for (auto [j, scale] : llvm::enumerate(loadScales(kb.idx(0))))
        complete[j] = kb.fma(sums[j], scale, loadBias(j));
    for (int64_t j = 0; j < outVectors; ++j) {
      Value value =
          buildActivation(b, b.getLoc(), key.getActivation(), complete[j]);
      if (key.getGated())
        value = kb.fmul(value, complete[outVectors + j]);
      values.push_back(value);
    }
    Value yRow = kb.add(row0, row);
    Value column = kb.mul(panel, panels.getColumns());
    auto storeFull = [&](int64_t j) {
      Value at = kb.add(column, j * kb.lanes);
      Value value = values[j];
      if (residual)
        value = kb.fadd(kb.load(residual, {yRow, at}), value);
      kb.store(value, y, {yRow, at});
    };
    int64_t last =
        key.getN() - (panels.getNumPanels() - 1) * panels.getColumns();
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
              kb.maskedLoad(residual, {yRow, at}, mask, kb.constant(0.0)),
              value);
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
};
} // namespace

void cpu::emitGemm(KernelBuilder &kb, GemmAttr key, func::FuncOp func) {
  GemmEmitter(kb, key, func).emit();
}
