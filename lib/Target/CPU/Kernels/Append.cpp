//===- Append.cpp - A cache that grows along an axis ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A task is one element of the dimensions before the axis, a head of a batch
// entry for instance. Keys and values of a text are appended to token by token:
// where the caller gives the memory of the old ones for the new ones too, what
// is there stays there.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

Value cpu::buildStartsAtSameAddress(KernelBuilder &kb, Value a, Value b) {
  auto base = [&](Value memref) -> Value {
    return memref::ExtractAlignedPointerAsIndexOp::create(kb.b, memref);
  };
  return kb.cmp(arith::CmpIPredicate::eq, base(a), base(b));
}

namespace {
class AppendEmitter {
public:
  AppendEmitter(KernelBuilder &kb, AppendAttr key, func::FuncOp func)
      : kb(kb), key(key), x(func.getArgument(0)), added(func.getArgument(1)),
        y(func.getArgument(2)), begin(func.getArgument(3)),
        end(func.getArgument(4)) {}

  void emit() {
    int64_t axis = key.getAxis();
    Value old = kb.dim(x, axis), zero = kb.idx(0);
    Value fresh = kb.sub(kb.dim(y, axis), old);
    Value copied = kb.select(buildStartsAtSameAddress(kb, x, y), zero, old);
    kb.loop(begin, end, 1, [&](Value task) {
      SmallVector<Value> at(key.getRank());
      for (int64_t i = axis; i-- > 0;) {
        at[i] = i ? kb.remU(task, kb.dim(y, i)) : task;
        task = i ? kb.divU(task, kb.dim(y, i)) : task;
      }
      kb.loop(zero, copied, 1, [&](Value row) {
        at[axis] = row;
        copyRows(axis + 1, at, x, at, y);
      });
      kb.loop(zero, fresh, 1, [&](Value row) {
        SmallVector<Value> from(at), to(at);
        from[axis] = row;
        to[axis] = kb.add(old, row);
        copyRows(axis + 1, from, added, to, y);
      });
    });
  }

private:
  KernelBuilder &kb;
  AppendAttr key;
  Value x, added, y, begin, end;

  /// Copies the dimensions from `dim` on.
  void copyRows(int64_t dim, SmallVector<Value> from, Value source,
                SmallVector<Value> to, Value target) {
    Value size = kb.dim(y, dim);
    if (dim + 1 < key.getRank()) {
      kb.loop(kb.idx(0), size, 1, [&](Value i) {
        from[dim] = to[dim] = i;
        copyRows(dim + 1, from, source, to, target);
      });
      return;
    }
    if (key.getSwapped() && source == added)
      std::swap(from[1], from[2]);
    Value whole = kb.mul(kb.divU(size, kb.lanes), kb.lanes);
    kb.loop(kb.idx(0), whole, kb.lanes, [&](Value column) {
      from[dim] = to[dim] = column;
      kb.store(kb.load(source, from), target, to);
    });
    Value rest = kb.sub(size, whole);
    kb.ifThen(kb.cmp(arith::CmpIPredicate::ne, rest, kb.idx(0)), [&] {
      from[dim] = to[dim] = whole;
      Value mask = kb.mask(rest);
      kb.maskedStore(kb.maskedLoad(source, from, mask, kb.constant(0.0)),
                     target, to, mask);
    });
  }
};
} // namespace

void cpu::emitAppend(KernelBuilder &kb, AppendAttr key, func::FuncOp func) {
  AppendEmitter(kb, key, func).emit();
}
