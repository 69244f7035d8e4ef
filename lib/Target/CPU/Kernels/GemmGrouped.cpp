//===- GemmGrouped.cpp - Products with the neurons that rows pass ---------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// The tiles are those of dense products; their rows come from lists. One row or
// many take the same code: what no row passes has an empty list, so that its
// weights are never touched.
//
//===----------------------------------------------------------------------===//

#include "GemmFloat.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

namespace {
/// A number of the lists.
Value loadIndex(KernelBuilder &kb, Value memref, ValueRange at) {
  Value value = memref::LoadOp::create(kb.b, memref, at);
  return arith::IndexCastOp::create(kb.b, kb.b.getIndexType(), value);
}

/// A matrix whose rows lie without gaps, as rows of `width` (0: as a list).
Value reshapeRows(KernelBuilder &kb, Value matrix, int64_t width) {
  ImplicitLocOpBuilder &b = kb.b;
  auto type = llvm::cast<MemRefType>(matrix.getType());
  int64_t columns = type.getDimSize(1), step = std::max<int64_t>(width, 1);
  Value rows = kb.mul(kb.dim(matrix, 0), columns / step);
  Value offset =
      memref::ExtractStridedMetadataOp::create(b, matrix).getOffset();
  SmallVector<int64_t> shape{ShapedType::kDynamic}, strides{step};
  SmallVector<OpFoldResult> sizes{rows}, steps{b.getIndexAttr(step)};
  if (width) {
    shape.push_back(width);
    strides.push_back(1);
    sizes.push_back(b.getIndexAttr(width));
    steps.push_back(b.getIndexAttr(1));
  }
  auto to = MemRefType::get(
      shape, type.getElementType(),
      StridedLayoutAttr::get(b.getContext(), ShapedType::kDynamic, strides));
  return memref::ReinterpretCastOp::create(b, to, matrix, OpFoldResult(offset),
                                           sizes, steps);
}

/// Blocks of rows, each through all groups: starts has one row for each, and
/// one more.
Value getNumBlocks(KernelBuilder &kb, Value rows) {
  return kb.ceilDivU(rows, RouteAttr::kRowBlock);
}

/// A task is a panel of a group times some of the rows of its list.
class ColumnsEmitter : public FloatGemmEmitter {
public:
  ColumnsEmitter(KernelBuilder &kb, GroupedAttr key, func::FuncOp func)
      : FloatGemmEmitter(kb, key.getProduct(),
                         getGemmRowBlock(key.getProduct()),
                         key.getProduct().getK(), /*accumulates=*/false),
        grouped(key) {
    auto next = func.getArguments().begin();
    x = *next++;
    weight = *next++;
    order = reshapeRows(kb, *next++, 0);
    starts = *next++;
    if (key.getWeighted())
      weights = reshapeRows(kb, *next++, 0);
    y = reshapeRows(kb, *next++, key.getWidth());
    begin = *next++;
    end = *next++;
  }

  void emit() override {
    int64_t perGroup = grouped.getWidth() / panels.getColumns();
    Value blocks = getNumBlocks(kb, kb.dim(x, 0));
    kb.loop(begin, end, 1, [&](Value task) {
      Value unit = kb.divU(task, perGroup);
      panelOfGroup = kb.sub(task, kb.mul(unit, perGroup));
      // Units are the parts of the lists, group after group.
      auto found = kb.loop(
          kb.idx(0), kb.idx(grouped.getGroups()), 1,
          {unit, kb.idx(0), kb.idx(0)},
          [&](Value group, ValueRange carried) -> SmallVector<Value> {
            Value parts =
                kb.ceilDivU(kb.sub(loadIndex(kb, starts, {blocks, group}),
                                   loadIndex(kb, starts, {kb.idx(0), group})),
                            rowBlock);
            // Unsigned: what is past is large.
            Value here = kb.cmp(arith::CmpIPredicate::ult, carried[0], parts);
            return {kb.sub(carried[0], parts),
                    kb.select(here, group, carried[1]),
                    kb.select(here, carried[0], carried[2])};
          });
      Value group = found[1];
      row0 = kb.add(loadIndex(kb, starts, {kb.idx(0), group}),
                    kb.mul(found[2], rowBlock));
      rows = kb.min(kb.sub(loadIndex(kb, starts, {blocks, group}), row0),
                    kb.idx(rowBlock));
      panel = kb.add(kb.mul(group, perGroup), panelOfGroup);
      nextPanel =
          kb.min(kb.add(getPanelStart(), panels.getPanelBytes()),
                 kb.idx(panels.getTotalBytes() - panels.getPanelBytes()));
      emitSums();
    });
  }

private:
  GroupedAttr grouped;
  Value order, starts, weights, panelOfGroup;

  Value getEntry(Value row) { return loadIndex(kb, order, kb.add(row0, row)); }
  Value getInputRow(Value row) override {
    return kb.divU(getEntry(row), grouped.getActive());
  }
  Value getOutputRow(Value row) override { return getEntry(row); }
  Value getOutputColumn() override {
    return kb.mul(panelOfGroup, panels.getColumns());
  }
  Value adjust(Value entry, Value value) override {
    if (!weights)
      return value;
    return kb.fmul(value, kb.splat(memref::LoadOp::create(b, weights, entry)));
  }
};

/// A task is a panel times a block of rows, through one group after the other.
class DepthEmitter : public FloatGemmEmitter {
public:
  DepthEmitter(KernelBuilder &kb, GroupedAttr key, func::FuncOp func)
      : FloatGemmEmitter(kb, key.getProduct(), RouteAttr::kRowBlock,
                         key.getWidth(), /*accumulates=*/true),
        grouped(key) {
    auto next = func.getArguments().begin();
    x = reshapeRows(kb, *next++, key.getWidth());
    weight = *next++;
    order = reshapeRows(kb, *next++, 0);
    starts = *next++;
    if (key.getProduct().getResidual())
      residual = *next++;
    y = *next++;
    begin = *next++;
    end = *next++;
  }

  void emit() override {
    int64_t numPanels = panels.getNumPanels();
    Value m = kb.dim(y, 0);
    kb.loop(begin, end, 1, [&](Value task) {
      Value block = kb.divU(task, numPanels);
      panel = kb.sub(task, kb.mul(block, numPanels));
      row0 = kb.mul(block, rowBlock);
      Value all = kb.min(kb.sub(m, row0), kb.idx(rowBlock));
      rows = all;
      nextPanel =
          kb.min(kb.add(getPanelStart(), panels.getPanelBytes()),
                 kb.idx(panels.getTotalBytes() - panels.getPanelBytes()));
      startScratch();
      kb.loop(kb.idx(0), kb.idx(grouped.getGroups()), 1, [&](Value group) {
        list = loadIndex(kb, starts, {block, group});
        rows = kb.sub(loadIndex(kb, starts, {kb.add(block, 1), group}), list);
        groupOffset =
            kb.add(kb.mul(group, panels.getRowBytes(grouped.getWidth())),
                   panels.getBiasBytes());
        kb.ifThen(kb.cmp(arith::CmpIPredicate::ne, rows, kb.idx(0)),
                  [&] { emitSums(); });
      });
      rows = all;
      finishScratch();
    });
  }

private:
  GroupedAttr grouped;
  Value order, starts, list, groupOffset;

  Value getWeightsOffset() override { return groupOffset; }
  Value getInputRow(Value row) override {
    return loadIndex(kb, order, kb.add(list, row));
  }
  Value getScratchRow(Value row) override {
    return kb.sub(kb.divU(getInputRow(row), grouped.getActive()), row0);
  }
};
} // namespace

TaskCount cpu::buildGroupedTaskCount(KernelBuilder &kb, GroupedAttr key,
                                     ValueRange operands) {
  GemmAttr product = key.getProduct();
  PanelsAttr panels = product.getPanels();
  Value m = kb.dim(operands[0], 0), starts = operands[3];
  Value blocks = getNumBlocks(kb, m);
  // Multiply-adds of a task, from the rows that it has on average.
  auto workOf = [&](Value tasks, int64_t all) {
    Value entries = kb.mul(m, key.getActive() * all * panels.getColumns() *
                                  (product.getGated() ? 2 : 1));
    return kb.max(kb.divU(entries, kb.max(tasks, kb.idx(1))), kb.idx(1));
  };
  if (key.getByDepth()) {
    Value tasks = kb.mul(blocks, panels.getNumPanels());
    return {tasks, workOf(tasks, key.getWidth() * panels.getNumPanels())};
  }
  int64_t perGroup = key.getWidth() / panels.getColumns(),
          rowBlock = getGemmRowBlock(product);
  Value units =
      kb.loop(kb.idx(0), kb.idx(key.getGroups()), 1, {kb.idx(0)},
              [&](Value group, ValueRange carried) -> SmallVector<Value> {
                Value count = kb.sub(loadIndex(kb, starts, {blocks, group}),
                                     loadIndex(kb, starts, {kb.idx(0), group}));
                return {kb.add(carried[0], kb.ceilDivU(count, rowBlock))};
              })[0];
  Value tasks = kb.mul(units, perGroup);
  return {tasks, workOf(tasks, product.getK() * perGroup)};
}

void cpu::emitGrouped(KernelBuilder &kb, GroupedAttr key, func::FuncOp func) {
  if (key.getByDepth())
    DepthEmitter(kb, key, func).emit();
  else
    ColumnsEmitter(kb, key, func).emit();
}
