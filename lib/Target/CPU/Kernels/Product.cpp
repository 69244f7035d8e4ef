//===- Product.cpp - Batched product of two computed matrices -------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A task is a block of rows times one panel of columns of one batch entry. It
// packs a block of the panel's depth into a buffer that stays in L1, runs the
// register tiles of the matrix product with constant weights over it, and
// leaves the sums in y until the next block goes on with them. Each element is
// one chain of fused multiply-adds over ascending k, however rows, columns and
// tasks are cut.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

/// Depth of the packed block: 24 KiB at three registers of 16.
static constexpr int64_t kDepth = 128;
/// Most rows of a task; both tiles divide it.
static constexpr int64_t kRowBlock = 96;

static int64_t getMaxVectors(int64_t lanes) { return lanes == 16 ? 3 : 2; }
static int64_t getTileRows(int64_t lanes) { return lanes == 16 ? 8 : 6; }

ProductTasks::ProductTasks(KernelBuilder &kb, ProductAttr key,
                           ValueRange operands) {
  int64_t lanes = CpuTarget{key.getLevel()}.getLanes();
  Value y = operands.back();
  for (int64_t i = 0; i + 1 < key.getRank(); ++i)
    if (i != key.getRowLoop()) {
      batchDims.push_back(i);
      batchSizes.push_back(kb.dim(y, i));
    }
  rows = kb.dim(y, key.getRowLoop());
  columns = kb.dim(y, key.getColumnLoop());
  for (auto [i, loop] : llvm::enumerate(key.getB().asArrayRef()))
    if (loop == key.getSumLoop())
      depth = kb.dim(operands[1], i);
  // Blocks of about equal height, so that the last one is no scrap.
  int64_t tile = getTileRows(lanes);
  Value parts = kb.max(kb.ceilDivU(rows, kRowBlock), kb.idx(1));
  Value height = kb.divU(kb.sub(kb.add(rows, parts), kb.idx(1)), parts);
  blockRows = kb.max(kb.mul(kb.ceilDivU(height, tile), tile), kb.idx(tile));
  blocks = kb.divU(kb.sub(kb.add(rows, blockRows), kb.idx(1)), blockRows);
  vectors = kb.ceilDivU(columns, lanes);
  panels = kb.ceilDivU(vectors, getMaxVectors(lanes));
  count = kb.mul(blocks, panels);
  for (Value size : batchSizes)
    count = kb.mul(count, size);
  work = kb.mul(kb.mul(kb.min(rows, blockRows), depth),
                getMaxVectors(lanes) * lanes);
}

namespace {
class ProductEmitter {
public:
  ProductEmitter(KernelBuilder &kb, ProductAttr key, func::FuncOp func)
      : kb(kb), b(kb.b), key(key), lanes(kb.lanes),
        maxVectors(getMaxVectors(lanes)), tileRows(getTileRows(lanes)),
        a(func.getArgument(0)), w(func.getArgument(1)), y(func.getArgument(2)),
        begin(func.getArgument(3)), end(func.getArgument(4)),
        tasks(kb, key, ValueRange{a, w, y}) {}

  void emit() {
    packed = kb.stackBuffer({kDepth, maxVectors * lanes});
    zero = kb.constant(0.0);
    kb.loop(begin, end, 1, [&](Value task) {
      Value rest = kb.divU(task, tasks.panels);
      Value panel = kb.sub(task, kb.mul(rest, tasks.panels));
      Value next = kb.divU(rest, tasks.blocks);
      row0 = kb.mul(kb.sub(rest, kb.mul(next, tasks.blocks)), tasks.blockRows);
      rows = kb.min(kb.sub(tasks.rows, row0), tasks.blockRows);
      position.assign(key.getRank() + 1, Value());
      for (size_t i = tasks.batchDims.size(); i-- > 0;) {
        position[tasks.batchDims[i]] = kb.remU(next, tasks.batchSizes[i]);
        next = kb.divU(next, tasks.batchSizes[i]);
      }
      Value first = kb.divU(kb.mul(tasks.vectors, panel), tasks.panels);
      Value last =
          kb.divU(kb.mul(tasks.vectors, kb.add(panel, 1)), tasks.panels);
      Value width = kb.sub(last, first);
      column0 = kb.mul(first, lanes);
      columns = kb.min(kb.sub(tasks.columns, column0), kb.mul(width, lanes));
      // An empty sum has a block too: it writes zeros.
      Value blocksEnd = kb.max(tasks.depth, kb.idx(1));
      kb.loop(kb.idx(0), blocksEnd, kDepth, [&](Value k) {
        k0 = k;
        depth = kb.min(kb.sub(tasks.depth, k0), kb.idx(kDepth));
        pack();
        for (int64_t vectors = 1; vectors <= maxVectors; ++vectors)
          kb.ifThen(kb.cmp(arith::CmpIPredicate::eq, width, kb.idx(vectors)),
                    [&] { emitRows(vectors); });
      });
    });
  }

private:
  KernelBuilder &kb;
  ImplicitLocOpBuilder &b;
  ProductAttr key;
  int64_t lanes, maxVectors, tileRows;
  Value a, w, y, begin, end;
  ProductTasks tasks;
  Value packed, zero;
  // Of the task; `position` has the batch loops.
  SmallVector<Value> position;
  Value row0, rows, column0, columns;
  // Of the block of depth.
  Value k0, depth;

  SmallVector<Value> at(ArrayRef<int64_t> loops, Value row, Value column,
                        Value k) {
    SmallVector<Value> indices;
    for (int64_t loop : loops)
      indices.push_back(loop < 0                      ? kb.idx(0)
                        : loop == key.getRowLoop()    ? row
                        : loop == key.getColumnLoop() ? column
                        : loop == key.getSumLoop()    ? k
                                                      : position[loop]);
    return indices;
  }
  SmallVector<Value> resultAt(Value row, Value column) {
    SmallVector<Value> indices(ArrayRef<Value>(position).drop_back());
    indices[key.getRowLoop()] = row;
    indices[key.getColumnLoop()] = column;
    return indices;
  }
  /// Lanes of vector `j` of the panel that are columns of y.
  Value maskOf(int64_t j) {
    return kb.mask(kb.sub(columns, kb.idx(j * lanes)));
  }

  //===--------------------------------------------------------------------===//
  // Packing
  //===--------------------------------------------------------------------===//

  void pack() {
    if (key.getB().asArrayRef().back() == key.getColumnLoop())
      packRows();
    else
      packColumns();
  }

  void packRows() {
    SmallVector<Value> masks;
    for (int64_t j = 0; j < maxVectors; ++j)
      masks.push_back(maskOf(j));
    kb.loop(kb.idx(0), depth, 1, [&](Value k) {
      for (int64_t j = 0; j < maxVectors; ++j) {
        Value part = kb.maskedLoad(
            w,
            at(key.getB(), Value(), kb.add(column0, j * lanes), kb.add(k0, k)),
            masks[j], zero);
        kb.store(part, packed, {k, kb.idx(j * lanes)});
      }
    });
  }

  /// Squares of one register by one register, transposed on the way.
  void packColumns() {
    Value lastColumn = kb.sub(tasks.columns, kb.idx(1));
    kb.loop(kb.idx(0), columns, lanes, [&](Value group) {
      kb.loop(kb.idx(0), depth, lanes, [&](Value k) {
        Value rest = kb.sub(depth, k);
        SmallVector<Value> square;
        for (int64_t i = 0; i < lanes; ++i) {
          Value own = kb.add(group, i), column = kb.add(column0, own);
          Value exists = kb.cmp(arith::CmpIPredicate::slt, own, columns);
          square.push_back(
              kb.maskedLoad(w,
                            at(key.getB(), Value(), kb.min(column, lastColumn),
                               kb.add(k0, k)),
                            kb.mask(kb.select(exists, rest, kb.idx(0))), zero));
        }
        kb.transpose(square);
        for (int64_t i = 0; i < lanes; ++i)
          kb.store(square[i], packed, {kb.add(k, i), group});
      });
    });
  }

  //===--------------------------------------------------------------------===//
  // Tiles
  //===--------------------------------------------------------------------===//

  void emitRows(int64_t vectors) {
    // The first block begins at zero and does not read y.
    Value isFirst = kb.cmp(arith::CmpIPredicate::eq, k0, kb.idx(0));
    SmallVector<Value> loads, stores;
    for (int64_t j = 0; j < vectors; ++j) {
      Value count = kb.sub(columns, kb.idx(j * lanes));
      stores.push_back(kb.mask(count));
      loads.push_back(kb.mask(kb.select(isFirst, kb.idx(0), count)));
    }
    Value tiled = kb.mul(kb.divU(rows, tileRows), tileRows);
    kb.loop(kb.idx(0), tiled, tileRows, [&](Value row) {
      emitTile(tileRows, vectors, row, loads, stores);
    });
    Value rest = kb.sub(rows, tiled), row = tiled;
    for (int64_t size = 4; size >= 1; size /= 2) {
      Value has = arith::AndIOp::create(b, rest, kb.idx(size));
      kb.ifThen(kb.cmp(arith::CmpIPredicate::ne, has, kb.idx(0)),
                [&] { emitTile(size, vectors, row, loads, stores); });
      row = kb.add(row, has);
    }
  }

  void emitTile(int64_t count, int64_t vectors, Value row,
                ArrayRef<Value> loads, ArrayRef<Value> stores) {
    SmallVector<Value> tileRow, sums;
    for (int64_t i = 0; i < count; ++i)
      tileRow.push_back(kb.add(row0, kb.add(row, i)));
    auto columnAt = [&](int64_t j) { return kb.add(column0, j * lanes); };
    for (int64_t i = 0; i < count; ++i)
      for (int64_t j = 0; j < vectors; ++j)
        sums.push_back(kb.maskedLoad(y, resultAt(tileRow[i], columnAt(j)),
                                     loads[j], zero));
    auto steps = [&](Value from, Value to, int64_t unroll) {
      sums = kb.loop(
          from, to, unroll, sums,
          [&](Value k, ValueRange carried) -> SmallVector<Value> {
            SmallVector<Value> next(carried);
            for (int64_t u = 0; u < unroll; ++u) {
              Value ku = kb.add(k, u), kx = kb.add(k0, ku);
              SmallVector<Value> parts;
              for (int64_t j = 0; j < vectors; ++j)
                parts.push_back(kb.load(packed, {ku, kb.idx(j * lanes)}));
              emitTileStep(
                  kb, count, parts,
                  [&](int64_t i) -> Value {
                    return memref::LoadOp::create(
                        b, a, at(key.getA(), tileRow[i], Value(), kx));
                  },
                  next);
            }
            return next;
          });
    };
    constexpr int64_t unroll = 4;
    Value whole = kb.mul(kb.divU(depth, unroll), unroll);
    steps(kb.idx(0), whole, unroll);
    steps(whole, depth, 1);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t j = 0; j < vectors; ++j)
        kb.maskedStore(sums[i * vectors + j], y,
                       resultAt(tileRow[i], columnAt(j)), stores[j]);
  }
};
} // namespace

void cpu::emitProduct(KernelBuilder &kb, ProductAttr key, func::FuncOp func) {
  ProductEmitter(kb, key, func).emit();
}
