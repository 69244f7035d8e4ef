//===- GemmDot.cpp - Products of rows of int8 -----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Weights are stored as code + zero point, unsigned, because the instructions
// multiply unsigned by signed bytes. With the codes c of the row,
//
//   sum w c = sum (w + zero) c - zero * sum c,
//
// so that sums start at -zero times the sum of the codes, which the row brings
// along. Sums of a group are exact in i32 in any order: wrapping in between
// cancels. Sources of the layout: the VNNI and dot-product chapters of Intel's
// optimization manual.
//
//===----------------------------------------------------------------------===//

#include "GemmEmitter.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

namespace {
class DotGemmEmitter : public GemmEmitter {
public:
  DotGemmEmitter(KernelBuilder &kb, GemmAttr key, func::FuncOp func)
      : GemmEmitter(kb, key, func), rowType(key.getQuantize()),
        intType(VectorType::get({kb.lanes}, b.getI32Type())),
        byteType(VectorType::get({4 * kb.lanes}, b.getI8Type())),
        halfType(VectorType::get({2 * kb.lanes}, b.getI16Type())) {
    if (!singleGroup || key.getGated() ||
        key.getActivation() != Activation::Identity)
      scratch = kb.stackBuffer({rowBlock, width});
  }

private:
  QuantizeAttr rowType;
  VectorType intType, byteType, halfType;
  Value codeView;

  void emitSums() override {
    codeView = memref::ViewOp::create(
        b, MemRefType::get({panels.getPanelBytes()}, b.getI8Type()), weight,
        getPanelStart(), ValueRange());
    emitTiles(kb.idx(0), kb.idx(key.getK()), getStep());
    if (scratch)
      finishScratch();
  }

  /// Depths of a row of bytes of the panel.
  int64_t getStep() const { return panels.getRowStep(); }

  /// Byte of row `step` of bytes, in `group`, from the start of the panel.
  Value getStepOffset(Value step, Value group) {
    Value scales = kb.mul(kb.add(group, 1), panels.getScaleBytes());
    return kb.add(kb.add(kb.mul(step, panels.getRowBytes(getStep())), scales),
                  panels.getBiasBytes());
  }
  Value getDepthOffset(Value k) override {
    return getStepOffset(kb.divU(k, getStep()),
                         singleGroup ? kb.idx(0)
                                     : kb.divU(k, panels.getGroup()));
  }

  Value splat(Value i32) {
    return vector::BroadcastOp::create(b, intType, i32);
  }
  Value loadWord(Value row, Value word) {
    return memref::LoadOp::create(b, x, ValueRange{row, word});
  }
  Value constantOf(VectorType type, int64_t value) {
    return arith::ConstantOp::create(
        b, DenseElementsAttr::get(
               type, b.getIntegerAttr(type.getElementType(), value)));
  }
  Value bitcast(VectorType type, Value value) {
    return vector::BitCastOp::create(b, type, value);
  }
  Value call(StringRef name, VectorType type, ValueRange operands) {
    return LLVM::CallIntrinsicOp::create(b, type, b.getStringAttr(name),
                                         operands)
        .getResult(0);
  }

  /// Unsigned bytes of weights, as the product takes them.
  SmallVector<Value> splitWeights(Value bytes) {
    if (hasVnni(key.getLevel()))
      return {bytes};
    // Even and odd bytes as numbers of 16 bits; the instruction that takes
    // bytes would saturate.
    Value halves = bitcast(halfType, bytes);
    return {arith::AndIOp::create(b, halves, constantOf(halfType, 255)),
            arith::ShRUIOp::create(b, halves, constantOf(halfType, 8))};
  }
  /// A word of codes of a row, for all columns.
  SmallVector<Value> splitCodes(Value word) {
    Value spread = splat(word);
    if (hasVnni(key.getLevel()))
      return {bitcast(byteType, spread)};
    Value halves = bitcast(halfType, spread), eight = constantOf(halfType, 8);
    return {arith::ShRSIOp::create(b, arith::ShLIOp::create(b, halves, eight),
                                   eight),
            arith::ShRSIOp::create(b, halves, eight)};
  }
  Value dot(Value sum, ArrayRef<Value> weights, ArrayRef<Value> codes) {
    bool wide = kb.lanes == 16;
    if (hasVnni(key.getLevel()))
      return call(wide ? "llvm.x86.avx512.vpdpbusd.512"
                       : "llvm.x86.avx512.vpdpbusd.256",
                  intType, {sum, weights[0], codes[0]});
    for (auto [weight, code] : llvm::zip_equal(weights, codes))
      sum = arith::AddIOp::create(
          b, sum,
          call(wide ? "llvm.x86.avx512.pmaddw.d.512" : "llvm.x86.avx2.pmadd.wd",
               intType, {weight, code}));
    return sum;
  }

  /// Adds one row of bytes of the panel to the sums: four depths, or eight.
  void emitStep(int64_t count, ArrayRef<Value> xRows, Value step, Value group,
                MutableArrayRef<Value> sums) {
    Value offset = getStepOffset(step, group);
    SmallVector<Value> bytes;
    for (int64_t j = 0; j < vectors; ++j)
      bytes.push_back(vector::LoadOp::create(
          b, byteType, codeView, ValueRange{kb.add(offset, j * 4 * kb.lanes)}));
    bool paired = panels.getElementBits() == 4;
    Value word = kb.mul(step, paired ? 2 : 1);
    for (int64_t half = 0; half < (paired ? 2 : 1); ++half) {
      SmallVector<SmallVector<Value>> weights;
      for (Value value : bytes) {
        if (paired && half == 1)
          value = bitcast(byteType,
                          arith::ShRUIOp::create(b, bitcast(halfType, value),
                                                 constantOf(halfType, 4)));
        if (paired)
          value = arith::AndIOp::create(b, value, constantOf(byteType, 15));
        weights.push_back(splitWeights(value));
      }
      for (int64_t i = 0; i < count; ++i) {
        SmallVector<Value> codes =
            splitCodes(loadWord(xRows[i], kb.add(word, half)));
        for (int64_t j = 0; j < vectors; ++j) {
          Value &sum = sums[i * vectors + j];
          sum = dot(sum, weights[j], codes);
        }
      }
    }
  }

  /// Exact sums of products of codes over depths of one group.
  SmallVector<Value> sumGroup(int64_t count, ArrayRef<Value> xRows, Value group,
                              Value from, Value to, Prefetch prefetch) {
    SmallVector<Value> init;
    Value zero = arith::ConstantOp::create(
        b, b.getI32IntegerAttr(-panels.getZeroPoint()));
    for (int64_t i = 0; i < count; ++i) {
      Value sum = loadWord(xRows[i], kb.add(group, rowType.getSumWord()));
      init.append(vectors, splat(arith::MulIOp::create(b, sum, zero)));
    }
    return kb.loop(kb.divU(from, getStep()), kb.ceilDivU(to, getStep()), 1,
                   init,
                   [&](Value step, ValueRange carried) -> SmallVector<Value> {
                     SmallVector<Value> next(carried);
                     prefetch(kb.mul(step, getStep()), 0);
                     emitStep(count, xRows, step, group, next);
                     return next;
                   });
  }

  void emitTile(int64_t count, Value row, Value k0, Value k1,
                Prefetch prefetch) override {
    SmallVector<Value> xRows, scratchRows;
    for (int64_t i = 0; i < count; ++i) {
      scratchRows.push_back(kb.add(row, i));
      xRows.push_back(kb.add(row0, scratchRows.back()));
    }
    auto at = [&](int64_t i, int64_t j) -> SmallVector<Value> {
      return {scratchRows[i], kb.idx(j * kb.lanes)};
    };
    auto toFloat = [&](Value sum) -> Value {
      return arith::SIToFPOp::create(b, kb.vecType, sum);
    };
    if (singleGroup) {
      SmallVector<Value> sums =
          sumGroup(count, xRows, kb.idx(0), k0, k1, prefetch);
      for (int64_t i = 0; i < count; ++i) {
        SmallVector<Value> values;
        for (int64_t j = 0; j < vectors; ++j)
          values.push_back(toFloat(sums[i * vectors + j]));
        if (!scratch) {
          finish(scratchRows[i], values);
          continue;
        }
        for (int64_t j = 0; j < vectors; ++j)
          kb.store(values[j], scratch, at(i, j));
      }
      return;
    }
    // The sums of groups take all registers; their totals wait in memory.
    for (int64_t i = 0; i < count; ++i)
      for (int64_t j = 0; j < vectors; ++j)
        kb.store(kb.constant(0.0), scratch, at(i, j));
    kb.loop(kb.idx(0), kb.idx(panels.getNumGroups()), 1, [&](Value group) {
      Value from = kb.mul(group, panels.getGroup());
      SmallVector<Value> sums =
          sumGroup(count, xRows, group, from,
                   kb.min(kb.add(from, panels.getGroup()), k1), prefetch);
      SmallVector<Value> scales = loadScales(group);
      for (int64_t i = 0; i < count; ++i)
        for (int64_t j = 0; j < vectors; ++j)
          kb.store(kb.fma(toFloat(sums[i * vectors + j]), scales[j],
                          kb.load(scratch, at(i, j))),
                   scratch, at(i, j));
    });
  }

  SmallVector<Value> loadScales(Value group) {
    return loadVectors(
        kb.add(kb.mul(group, panels.getGroupBytes()), panels.getBiasBytes()));
  }

  SmallVector<Value> complete(Value row, ArrayRef<Value> sums) override {
    Value bits = loadWord(kb.add(row0, row), kb.idx(rowType.getScaleWord()));
    Value scale = kb.splat(arith::BitcastOp::create(b, kb.f32, bits));
    SmallVector<Value> biases = loadVectors(kb.idx(0)), scales, result;
    if (singleGroup)
      scales = loadScales(kb.idx(0));
    for (int64_t j = 0; j < vectors; ++j)
      result.push_back(kb.fma(
          sums[j], singleGroup ? kb.fmul(scales[j], scale) : scale, biases[j]));
    return result;
  }
};
} // namespace

void cpu::emitDotGemm(KernelBuilder &kb, GemmAttr key, func::FuncOp func) {
  DotGemmEmitter(kb, key, func).emit();
}
