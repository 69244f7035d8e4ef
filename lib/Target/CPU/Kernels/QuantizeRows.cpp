//===- QuantizeRows.cpp - Rows rounded to codes of 8 bits -----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

/// Magnitudes below this count as this: the inverse of the scale stays finite.
static constexpr double kLeastMagnitude = 0x1p-100;

void cpu::emitQuantize(KernelBuilder &outer, QuantizeAttr key,
                       func::FuncOp func) {
  // All levels take steps of 16, so that they agree to the bit.
  KernelBuilder kb(outer.b, 16);
  ImplicitLocOpBuilder &b = kb.b;
  ArrayRef<BlockArgument> args = func.getArguments();
  Value x = args[0], q = args[1];
  auto intType = VectorType::get({16}, b.getI32Type());
  int64_t width = key.getWidth();
  bool ragged = width % 16 != 0;
  Value zero = kb.constant(0.0), end = kb.idx(width);
  // Elements beyond the row are zeros.
  auto load = [&](Value row, Value column) -> Value {
    if (!ragged)
      return kb.load(x, {row, column});
    return kb.maskedLoad(x, {row, column}, kb.mask(kb.sub(end, column)), zero);
  };
  auto put = [&](Value i32, Value row, Value word) {
    memref::StoreOp::create(b, i32, q, ValueRange{row, word});
  };

  Value first = kb.mul(args[2], kNormRowBlock);
  Value last = kb.min(kb.mul(args[3], kNormRowBlock), kb.dim(x, 0));
  kb.loop(first, last, 1, [&](Value row) {
    Value greatest =
        kb.loop(kb.idx(0), end, 16, {zero},
                [&](Value column, ValueRange carried) -> SmallVector<Value> {
                  Value value = math::AbsFOp::create(b, load(row, column));
                  return {kb.fmax(carried[0], value)};
                })[0];
    Value magnitude = vector::ReductionOp::create(
        b, vector::CombiningKind::MAXIMUMF, greatest);
    magnitude = kb.fmax(magnitude, kb.scalar(kLeastMagnitude));
    Value scale = kb.fmul(magnitude, kb.scalar(1.0 / 127));
    Value inverse = kb.splat(kb.fdiv(kb.scalar(127), magnitude));
    // Adding 1.5 * 2^23 rounds to nearest even and leaves the integer in the
    // low bits; unlike a conversion it is defined for NaN, too.
    Value magic = kb.constant(12582912.0);
    Value magicBits = vector::BitCastOp::create(b, intType, magic);
    kb.loop(kb.idx(0), kb.idx(key.getNumGroups()), 1, [&](Value group) {
      Value from = kb.mul(group, key.getGroup());
      Value to = kb.min(kb.add(from, key.getGroup()), end);
      Value none = arith::ConstantOp::create(
          b, DenseElementsAttr::get(intType, b.getI32IntegerAttr(0)));
      Value sums = kb.loop(
          from, to, 16, {none},
          [&](Value column, ValueRange carried) -> SmallVector<Value> {
            Value rounded = kb.fma(load(row, column), inverse, magic);
            Value codes = arith::SubIOp::create(
                b, vector::BitCastOp::create(b, intType, rounded), magicBits);
            Value bytes = arith::TruncIOp::create(
                b, VectorType::get({16}, b.getI8Type()), codes);
            vector::StoreOp::create(
                b,
                vector::BitCastOp::create(
                    b, VectorType::get({4}, b.getI32Type()), bytes),
                q, ValueRange{row, kb.divU(column, 4)});
            return {arith::AddIOp::create(b, carried[0], codes)};
          })[0];
      Value sum =
          vector::ReductionOp::create(b, vector::CombiningKind::ADD, sums);
      put(sum, row, kb.add(group, key.getSumWord()));
    });
    put(arith::BitcastOp::create(b, b.getI32Type(), scale), row,
        kb.idx(key.getScaleWord()));
  });
}
