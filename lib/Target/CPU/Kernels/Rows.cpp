//===- Rows.cpp - Norm and softmax of rows --------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Sums run in 16 partial sums, lane l taking elements l, l + 16, ..., which
// are then folded in halves; levels with narrower registers use several of
// them for the 16 lanes, so that all levels agree to the bit.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "llvm/ADT/Sequence.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

namespace {
/// Visits a row in vectors of 16: whole ones in a loop, the rest masked.
class RowBuilder : public KernelBuilder {
public:
  RowBuilder(ImplicitLocOpBuilder &b, Value width)
      : KernelBuilder(b, 16), width(width),
        whole(mul(divU(width, lanes), lanes)), rest(sub(width, whole)) {}

  const Value width, whole, rest;

  /// The body gets the column, the mask (null if whole) and the carried value.
  using Step = llvm::function_ref<Value(Value, Value, Value)>;
  Value reduce(Value init, Step step) {
    Value sum = loop(
        idx(0), whole, lanes, {init}, [&](Value column, ValueRange carried) {
          return SmallVector<Value>{step(column, Value(), carried[0])};
        })[0];
    auto tail = scf::IfOp::create(b, TypeRange{vecType}, hasRest(),
                                  /*withElseRegion=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(tail.thenBlock());
    scf::YieldOp::create(b, step(whole, mask(rest), sum));
    b.setInsertionPointToStart(tail.elseBlock());
    scf::YieldOp::create(b, sum);
    return tail.getResult(0);
  }
  void each(llvm::function_ref<void(Value, Value)> step) {
    loop(idx(0), whole, lanes, [&](Value column) { step(column, Value()); });
    ifThen(hasRest(), [&] { step(whole, mask(rest)); });
  }

  /// Elements beyond the row are `otherwise`.
  Value get(Value memref, ValueRange indices, Value mask, Value otherwise) {
    return mask ? maskedLoad(memref, indices, mask, otherwise)
                : load(memref, indices);
  }
  void put(Value value, Value memref, ValueRange indices, Value mask) {
    if (mask)
      maskedStore(value, memref, indices, mask);
    else
      store(value, memref, indices);
  }

  /// Folds the lanes in halves to a scalar.
  Value fold(Value vector, llvm::function_ref<Value(Value, Value)> combine) {
    for (int64_t half = lanes / 2; half >= 1; half /= 2) {
      SmallVector<int64_t> low = llvm::to_vector(llvm::seq<int64_t>(0, half));
      SmallVector<int64_t> high =
          llvm::to_vector(llvm::seq<int64_t>(half, 2 * half));
      vector = combine(vector::ShuffleOp::create(b, vector, vector, low),
                       vector::ShuffleOp::create(b, vector, vector, high));
    }
    return vector::ExtractOp::create(b, vector, ArrayRef<int64_t>{0});
  }
  Value foldSum(Value vector) {
    return fold(vector, [&](Value x, Value y) { return fadd(x, y); });
  }

private:
  Value hasRest() { return cmp(arith::CmpIPredicate::ne, rest, idx(0)); }
};
} // namespace

/// Runs `body` for each row of the tasks [begin, end).
static void emitRowLoop(KernelBuilder &kb, func::FuncOp func, Value rows,
                        llvm::function_ref<void(Value)> body) {
  ArrayRef<BlockArgument> args = func.getArguments();
  Value first = kb.mul(args[args.size() - 2], kNormRowBlock);
  Value last = kb.min(kb.mul(args[args.size() - 1], kNormRowBlock), rows);
  kb.loop(first, last, 1, body);
}

void cpu::emitNorm(KernelBuilder &outer, NormAttr key, func::FuncOp func) {
  RowBuilder kb(outer.b, outer.idx(key.getWidth()));
  unsigned next = 0;
  Value x = func.getArgument(next++);
  Value scale = key.getScale() ? Value(func.getArgument(next++)) : Value();
  Value bias = key.getBias() ? Value(func.getArgument(next++)) : Value();
  Value y = func.getArgument(next++);
  bool layer = key.getKind() == NormKind::Layer;
  Value zero = kb.constant(0.0);
  Value count = kb.scalar(static_cast<double>(key.getWidth()));
  Value eps = kb.scalar(key.getEps().getValueAsDouble());

  emitRowLoop(kb, func, kb.dim(x, 0), [&](Value row) {
    Value mean;
    if (layer) {
      Value sum = kb.reduce(zero, [&](Value column, Value mask, Value sum) {
        return kb.fadd(sum, kb.get(x, {row, column}, mask, zero));
      });
      mean = kb.splat(kb.fdiv(kb.foldSum(sum), count));
    }
    Value squares = kb.reduce(zero, [&](Value column, Value mask, Value sum) {
      // Beyond the row stands the mean: the difference is zero.
      Value value = kb.get(x, {row, column}, mask, layer ? mean : zero);
      if (layer)
        value = kb.fsub(value, mean);
      return kb.fma(value, value, sum);
    });
    Value variance = kb.fdiv(kb.foldSum(squares), count);
    Value root =
        key.getOuterEps()
            ? kb.fadd(math::SqrtOp::create(kb.b, variance), eps)
            : Value(math::SqrtOp::create(kb.b, kb.fadd(variance, eps)));
    Value inverse = kb.splat(kb.fdiv(kb.scalar(1.0), root));
    kb.each([&](Value column, Value mask) {
      Value value = kb.get(x, {row, column}, mask, zero);
      if (layer)
        value = kb.fsub(value, mean);
      value = kb.fmul(value, inverse);
      Value factor = scale ? kb.get(scale, {column}, mask, zero) : Value();
      Value shift = bias ? kb.get(bias, {column}, mask, zero) : Value();
      if (factor && shift)
        value = kb.fma(value, factor, shift);
      else if (factor)
        value = kb.fmul(value, factor);
      else if (shift)
        value = kb.fadd(value, shift);
      kb.put(value, y, {row, column}, mask);
    });
  });
}

void cpu::emitSoftmax(KernelBuilder &outer, SoftmaxAttr key,
                      func::FuncOp func) {
  Value x = func.getArgument(0), y = func.getArgument(1);
  RowBuilder kb(outer.b, outer.dim(x, 1));
  Value zero = kb.constant(0.0);
  Value lowest = kb.constant(-std::numeric_limits<double>::infinity());
  emitRowLoop(kb, func, kb.dim(x, 0), [&](Value row) {
    Value greatest =
        kb.reduce(lowest, [&](Value column, Value mask, Value greatest) {
          return kb.fmax(greatest, kb.get(x, {row, column}, mask, lowest));
        });
    Value top = kb.splat(
        kb.fold(greatest, [&](Value a, Value b) { return kb.fmax(a, b); }));
    Value sum = kb.reduce(zero, [&](Value column, Value mask, Value sum) {
      Value value = kb.get(x, {row, column}, mask, lowest);
      value = buildExp(kb.b, kb.b.getLoc(), kb.fsub(value, top));
      kb.put(value, y, {row, column}, mask);
      if (mask)
        value = kb.select(mask, value, zero);
      return kb.fadd(sum, value);
    });
    Value total = kb.splat(kb.foldSum(sum));
    kb.each([&](Value column, Value mask) {
      Value value = kb.get(y, {row, column}, mask, zero);
      kb.put(kb.fdiv(value, total), y, {row, column}, mask);
    });
  });
}
