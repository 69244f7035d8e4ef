//===- KernelBuilder.h - Shorthand for emitting kernels ---------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_TARGET_CPU_KERNELS_KERNELBUILDER_H
#define FFN_MLIR_LIB_TARGET_CPU_KERNELS_KERNELBUILDER_H

#include "ffn-mlir/Target/CPU/Kernels.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::ffn::cpu {

/// Emits index arithmetic (folded where constant), loops and f32 vectors of
/// one register.
class KernelBuilder {
public:
  KernelBuilder(ImplicitLocOpBuilder &b, int64_t lanes)
      : b(b), lanes(lanes), f32(b.getF32Type()),
        vecType(VectorType::get({lanes}, f32)) {}

  ImplicitLocOpBuilder &b;
  const int64_t lanes;
  const Type f32;
  const VectorType vecType;

  // Index arithmetic.
  Value idx(int64_t value) { return arith::ConstantIndexOp::create(b, value); }
  Value add(Value x, Value y) { return b.createOrFold<arith::AddIOp>(x, y); }
  Value add(Value x, int64_t y) { return y ? add(x, idx(y)) : x; }
  Value sub(Value x, Value y) { return b.createOrFold<arith::SubIOp>(x, y); }
  Value mul(Value x, Value y) { return b.createOrFold<arith::MulIOp>(x, y); }
  Value mul(Value x, int64_t y) { return mul(x, idx(y)); }
  Value divU(Value x, int64_t y) {
    return b.createOrFold<arith::DivUIOp>(x, idx(y));
  }
  Value remU(Value x, Value y) { return b.createOrFold<arith::RemUIOp>(x, y); }
  Value divU(Value x, Value y) { return b.createOrFold<arith::DivUIOp>(x, y); }
  Value remU(Value x, int64_t y) {
    return b.createOrFold<arith::RemUIOp>(x, idx(y));
  }
  Value ceilDivU(Value x, int64_t y) { return divU(add(x, y - 1), y); }
  Value min(Value x, Value y) { return b.createOrFold<arith::MinSIOp>(x, y); }
  Value max(Value x, Value y) { return b.createOrFold<arith::MaxSIOp>(x, y); }
  Value cmp(arith::CmpIPredicate predicate, Value x, Value y) {
    return arith::CmpIOp::create(b, predicate, x, y);
  }
  Value select(Value c, Value x, Value y) {
    return arith::SelectOp::create(b, c, x, y);
  }
  Value dim(Value memref, int64_t i) {
    return memref::DimOp::create(b, memref, i);
  }

  // Vectors of one register.
  Value constant(double value) {
    return arith::ConstantOp::create(
        b, DenseElementsAttr::get(
               vecType, b.getF32FloatAttr(static_cast<float>(value))));
  }
  Value scalar(double value) {
    return arith::ConstantOp::create(
        b, b.getF32FloatAttr(static_cast<float>(value)));
  }
  Value splat(Value x) { return vector::BroadcastOp::create(b, vecType, x); }
  Value fma(Value x, Value y, Value z) {
    return math::FmaOp::create(b, x, y, z);
  }
  Value fadd(Value x, Value y) { return arith::AddFOp::create(b, x, y); }
  Value fsub(Value x, Value y) { return arith::SubFOp::create(b, x, y); }
  Value fmul(Value x, Value y) { return arith::MulFOp::create(b, x, y); }
  Value fdiv(Value x, Value y) { return arith::DivFOp::create(b, x, y); }
  /// The greater one; NaN if either is.
  Value fmax(Value x, Value y) { return arith::MaximumFOp::create(b, x, y); }

  Value load(Value memref, ValueRange indices) {
    return vector::LoadOp::create(b, vecType, memref, indices);
  }
  void store(Value value, Value memref, ValueRange indices) {
    vector::StoreOp::create(b, value, memref, indices);
  }
  /// Mask of the first `count` lanes (any value is allowed).
  Value mask(Value count) {
    return vector::CreateMaskOp::create(
        b, VectorType::get({lanes}, b.getI1Type()), ValueRange{count});
  }
  Value mask(int64_t count) {
    return vector::ConstantMaskOp::create(
        b, VectorType::get({lanes}, b.getI1Type()),
        b.getDenseI64ArrayAttr({count}));
  }
  Value maskedLoad(Value memref, ValueRange indices, Value mask,
                   Value otherwise) {
    return vector::MaskedLoadOp::create(b, vecType, memref, indices, mask,
                                        otherwise);
  }
  void maskedStore(Value value, Value memref, ValueRange indices, Value mask) {
    vector::MaskedStoreOp::create(b, memref, indices, mask, value);
  }

  /// Transposes as many registers as they have lanes: perfect shuffles of rows
  /// that are half the square apart, log2 times.
  void transpose(SmallVectorImpl<Value> &square) {
    SmallVector<int64_t> low, high;
    for (int64_t i = 0; i < lanes / 2; ++i) {
      low.append({i, i + lanes});
      high.append({i + lanes / 2, i + lanes / 2 + lanes});
    }
    for (int64_t round = 1; round < lanes; round *= 2) {
      SmallVector<Value> next;
      for (int64_t i = 0; i < lanes / 2; ++i) {
        Value x = square[i], z = square[i + lanes / 2];
        next.push_back(vector::ShuffleOp::create(b, x, z, low));
        next.push_back(vector::ShuffleOp::create(b, x, z, high));
      }
      square = next;
    }
  }

  // Loops; the body gets the induction variable and the carried values and
  // returns the next ones.
  using Body = llvm::function_ref<SmallVector<Value>(Value, ValueRange)>;
  SmallVector<Value> loop(Value from, Value to, int64_t step, ValueRange init,
                          Body body) {
    auto forOp = scf::ForOp::create(b, from, to, idx(step), init);
    // With no carried value the builder has already made the terminator.
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(forOp.getBody());
    SmallVector<Value> next =
        body(forOp.getInductionVar(), forOp.getRegionIterArgs());
    if (!init.empty())
      scf::YieldOp::create(b, next);
    return forOp.getResults();
  }
  void loop(Value from, Value to, int64_t step,
            llvm::function_ref<void(Value)> body) {
    loop(from, to, step, {}, [&](Value i, ValueRange) -> SmallVector<Value> {
      body(i);
      return {};
    });
  }
  void ifThen(Value condition, llvm::function_ref<void()> then,
              llvm::function_ref<void()> otherwise = {}) {
    auto ifOp = scf::IfOp::create(b, condition, static_cast<bool>(otherwise));
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(ifOp.thenBlock());
    then();
    if (otherwise) {
      b.setInsertionPointToStart(ifOp.elseBlock());
      otherwise();
    }
  }

  /// A stack buffer of f32, aligned to a cache line.
  Value stackBuffer(ArrayRef<int64_t> shape) {
    return memref::AllocaOp::create(b, MemRefType::get(shape, f32),
                                    b.getI64IntegerAttr(64));
  }
};

// The kernels, one file each. The function is empty: its arguments are those
// of getKernelArgumentTypes, then begin and end.
void emitGemm(KernelBuilder &kb, GemmAttr key, func::FuncOp func);
void emitGrouped(KernelBuilder &kb, GroupedAttr key, func::FuncOp func);
void emitRoute(KernelBuilder &kb, RouteAttr key, func::FuncOp func);
void emitQuantize(KernelBuilder &kb, QuantizeAttr key, func::FuncOp func);
void emitNorm(KernelBuilder &kb, NormAttr key, func::FuncOp func);
void emitSoftmax(KernelBuilder &kb, SoftmaxAttr key, func::FuncOp func);
void emitAttention(KernelBuilder &kb, AttentionAttr key, func::FuncOp func);
void emitProduct(KernelBuilder &kb, ProductAttr key, func::FuncOp func);
void emitAppend(KernelBuilder &kb, AppendAttr key, func::FuncOp func);

/// Whether two buffers that begin at their base share it.
Value buildStartsAtSameAddress(KernelBuilder &kb, Value a, Value b);

/// A step of a register tile: `count` scalars of x, at `depth`, times one
/// vector for each of `columns`, added to `sums` (row by row).
void emitTileStep(KernelBuilder &kb, int64_t count, ArrayRef<Value> columns,
                  llvm::function_ref<Value(int64_t)> loadElement,
                  MutableArrayRef<Value> sums);

/// How a product is cut into tasks: batch, blocks of rows, panels of columns.
/// Widths differ by one register at most.
struct ProductTasks {
  ProductTasks(KernelBuilder &kb, ProductAttr key, ValueRange operands);
  Value rows, columns, depth;
  Value blocks, blockRows;        // of rows
  Value vectors, panels;          // registers of columns, panels of them
  SmallVector<int64_t> batchDims; // of y
  SmallVector<Value> batchSizes;
  Value count, work; // tasks, multiply-adds of one
};

/// Tasks of a grouped product, and the multiply-adds of one in place of the
/// grain. Reads the lists.
TaskCount buildGroupedTaskCount(KernelBuilder &kb, GroupedAttr key,
                                ValueRange operands);

/// Rows of one task.
int64_t getGemmRowBlock(GemmAttr key);
inline constexpr int64_t kNormRowBlock = 4;
/// Query rows of one task of attention: two registers.
inline int64_t getAttentionRowBlock(Level level) {
  return 2 * CpuTarget{level}.getLanes();
}

} // namespace mlir::ffn::cpu

#endif // FFN_MLIR_LIB_TARGET_CPU_KERNELS_KERNELBUILDER_H
