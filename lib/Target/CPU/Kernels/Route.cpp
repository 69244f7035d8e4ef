//===- Route.cpp - Choosing experts ---------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// One task: choosing is a few hundred operations for a row, whose products take
// a thousand times as long, and lists in the order of rows need no others.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

namespace {
class RouteEmitter {
public:
  RouteEmitter(KernelBuilder &kb, RouteAttr key, func::FuncOp func)
      : kb(kb), b(kb.b), key(key), i32(b.getI32Type()) {
    auto next = func.getArguments().begin();
    scores = *next++;
    if (key.getSelection())
      selection = *next++;
    chosen = *next++;
    order = flatten(*next++);
    starts = *next++;
    if (key.getScaled())
      weights = *next++;
    begin = *next++;
    end = *next++;
    int64_t experts = key.getExperts();
    values = kb.stackBuffer({experts});
    if (key.getSelection())
      keys = kb.stackBuffer({experts});
    taken = stackInts(experts);
    places = stackInts(key.getGroups());
  }

  void emit() {
    kb.loop(begin, end, 1, [&](Value) {
      Value m = kb.dim(scores, 0);
      kb.loop(kb.idx(0), kb.idx(key.getGroups()), 1,
              [&](Value group) { put(kb.idx(0), places, group); });
      kb.loop(kb.idx(0), m, 1, [&](Value row) {
        emitValues(row);
        emitChoice(row);
      });
      emitPlaces(m);
      emitLists(m);
    });
  }

private:
  KernelBuilder &kb;
  ImplicitLocOpBuilder &b;
  RouteAttr key;
  Type i32;
  Value scores, selection, chosen, order, starts, weights, begin, end;
  /// Of one row: gate values, what they are ranked by, and whether an expert is
  /// taken.
  Value values, keys, taken;
  /// Of each group: first its entries, then where the next one goes.
  Value places;

  Value stackInts(int64_t size) {
    return memref::AllocaOp::create(b, MemRefType::get({size}, i32),
                                    b.getI64IntegerAttr(64));
  }
  /// The rows of a contiguous matrix as one list.
  Value flatten(Value matrix) {
    auto type = llvm::cast<MemRefType>(matrix.getType());
    Value size = kb.mul(kb.dim(matrix, 0), type.getDimSize(1));
    Value offset =
        memref::ExtractStridedMetadataOp::create(b, matrix).getOffset();
    auto flat = MemRefType::get(
        {ShapedType::kDynamic}, type.getElementType(),
        StridedLayoutAttr::get(b.getContext(), ShapedType::kDynamic, {1}));
    return memref::ReinterpretCastOp::create(
        b, flat, matrix, OpFoldResult(offset), ArrayRef<OpFoldResult>{size},
        ArrayRef<OpFoldResult>{b.getIndexAttr(1)});
  }
  Value get(Value memref, ValueRange at) {
    Value value = memref::LoadOp::create(b, memref, at);
    return arith::IndexCastOp::create(b, b.getIndexType(), value);
  }
  void put(Value value, Value memref, ValueRange at) {
    value = arith::IndexCastOp::create(b, i32, value);
    memref::StoreOp::create(b, value, memref, at);
  }
  Value load(Value memref, ValueRange at) {
    return memref::LoadOp::create(b, memref, at);
  }
  void store(Value value, Value memref, ValueRange at) {
    memref::StoreOp::create(b, value, memref, at);
  }
  void forEachExpert(llvm::function_ref<void(Value)> body) {
    kb.loop(kb.idx(0), kb.idx(key.getExperts()), 1, body);
  }

  /// Gate values of a row, and what it ranks experts by.
  void emitValues(Value row) {
    // An order that gating keeps is that of the scores.
    bool gates = key.getWeighted() || key.getSelection();
    Gating gating = gates ? key.getGating() : Gating::Identity;
    forEachExpert([&](Value expert) {
      Value score = load(scores, {row, expert});
      if (key.getMagnitude())
        score = math::AbsFOp::create(b, score);
      if (gating == Gating::Sigmoid)
        score = buildActivation(b, b.getLoc(), Activation::Sigmoid, score);
      store(score, values, expert);
    });
    if (gating == Gating::Softmax)
      emitSoftmax();
    if (!key.getSelection())
      return;
    forEachExpert([&](Value expert) {
      store(kb.fadd(load(values, expert), load(selection, expert)), keys,
            expert);
    });
  }

  void emitSoftmax() {
    auto fold = [&](Value init, llvm::function_ref<Value(Value, Value)> step) {
      return kb.loop(kb.idx(0), kb.idx(key.getExperts()), 1, {init},
                     [&](Value expert, ValueRange carried) {
                       return SmallVector<Value>{step(expert, carried[0])};
                     })[0];
    };
    Value top = fold(load(values, kb.idx(0)), [&](Value expert, Value top) {
      return kb.fmax(top, load(values, expert));
    });
    Value sum = fold(kb.scalar(0.0), [&](Value expert, Value sum) {
      Value value = buildExp(b, b.getLoc(), kb.fsub(load(values, expert), top));
      store(value, values, expert);
      return kb.fadd(sum, value);
    });
    forEachExpert([&](Value expert) {
      store(kb.fdiv(load(values, expert), sum), values, expert);
    });
  }

  /// The experts of a row, and their weights.
  void emitChoice(Value row) {
    Value none = kb.idx(0), one = kb.idx(1), ranked = keys ? keys : values;
    forEachExpert([&](Value expert) { put(none, taken, expert); });
    kb.loop(kb.idx(0), kb.idx(key.getTopK()), 1, [&](Value) {
      // The first one that is left, unless a later one beats it; what is not a
      // number beats nothing.
      Value nobody = kb.idx(key.getExperts());
      auto best = kb.loop(
          kb.idx(0), kb.idx(key.getExperts()), 1, {nobody, kb.scalar(0.0)},
          [&](Value expert, ValueRange carried) -> SmallVector<Value> {
            Value value = load(ranked, expert);
            Value left =
                kb.cmp(arith::CmpIPredicate::eq, get(taken, expert), none);
            Value isFirst =
                kb.cmp(arith::CmpIPredicate::eq, carried[0], nobody);
            Value beats = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT,
                                                value, carried[1]);
            Value better = arith::AndIOp::create(
                b, left, arith::OrIOp::create(b, isFirst, beats));
            return {kb.select(better, expert, carried[0]),
                    kb.select(better, value, carried[1])};
          });
      put(one, taken, best[0]);
    });
    Value factor;
    if (weights)
      factor = emitFactor();
    kb.loop(kb.idx(0), kb.idx(key.getExperts()), 1, {none},
            [&](Value expert, ValueRange carried) -> SmallVector<Value> {
              Value slot = carried[0], isTaken = get(taken, expert);
              kb.ifThen(kb.cmp(arith::CmpIPredicate::ne, isTaken, none), [&] {
                put(expert, chosen, {row, slot});
                Value group = kb.add(expert, key.getAlways());
                put(kb.add(get(places, group), 1), places, group);
                if (!weights)
                  return;
                Value weight = factor;
                if (key.getWeighted())
                  weight = kb.fmul(factor, load(values, expert));
                store(weight, weights, {row, kb.add(slot, key.getAlways())});
              });
              return {kb.add(slot, isTaken)};
            });
    if (weights)
      kb.loop(kb.idx(0), kb.idx(key.getAlways()), 1,
              [&](Value slot) { store(kb.scalar(1.0), weights, {row, slot}); });
  }

  /// What the gate values of the chosen experts of the row are multiplied by.
  Value emitFactor() {
    double scale = key.getScale() ? key.getScale().getValueAsDouble() : 1.0;
    if (!key.getNormalize())
      return kb.scalar(scale);
    Value sum = kb.loop(
        kb.idx(0), kb.idx(key.getExperts()), 1, {kb.scalar(0.0)},
        [&](Value expert, ValueRange carried) -> SmallVector<Value> {
          Value isTaken =
              kb.cmp(arith::CmpIPredicate::ne, get(taken, expert), kb.idx(0));
          return {kb.fadd(carried[0], kb.select(isTaken, load(values, expert),
                                                kb.scalar(0.0)))};
        })[0];
    return kb.fdiv(kb.scalar(scale), sum);
  }

  /// Counts become places: where the list of each group begins.
  void emitPlaces(Value m) {
    kb.loop(kb.idx(0), kb.idx(key.getAlways()), 1,
            [&](Value group) { put(m, places, group); });
    kb.loop(kb.idx(0), kb.idx(key.getGroups()), 1, {kb.idx(0)},
            [&](Value group, ValueRange carried) -> SmallVector<Value> {
              Value count = get(places, group);
              put(carried[0], places, group);
              return {kb.add(carried[0], count)};
            });
  }

  void emitLists(Value m) {
    auto copyPlaces = [&](Value block) {
      kb.loop(kb.idx(0), kb.idx(key.getGroups()), 1, [&](Value group) {
        put(get(places, group), starts, {block, group});
      });
    };
    kb.loop(kb.idx(0), m, 1, [&](Value row) {
      Value inBlock = kb.remU(row, RouteAttr::kRowBlock);
      kb.ifThen(kb.cmp(arith::CmpIPredicate::eq, inBlock, kb.idx(0)),
                [&] { copyPlaces(kb.divU(row, RouteAttr::kRowBlock)); });
      Value entry = kb.mul(row, key.getActive());
      auto append = [&](Value group, Value slot) {
        Value place = get(places, group);
        put(kb.add(entry, slot), order, place);
        put(kb.add(place, 1), places, group);
      };
      kb.loop(kb.idx(0), kb.idx(key.getAlways()), 1,
              [&](Value slot) { append(slot, slot); });
      kb.loop(kb.idx(0), kb.idx(key.getTopK()), 1, [&](Value slot) {
        append(kb.add(get(chosen, {row, slot}), key.getAlways()),
               kb.add(slot, key.getAlways()));
      });
    });
    copyPlaces(kb.ceilDivU(m, RouteAttr::kRowBlock));
  }
};
} // namespace

void cpu::emitRoute(KernelBuilder &kb, RouteAttr key, func::FuncOp func) {
  RouteEmitter(kb, key, func).emit();
}
