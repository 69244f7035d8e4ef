//===- Attention.cpp - Scaled dot-product attention -----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A task is one head of one batch entry and a block of query rows. Softmax
// runs online over blocks of keys, which always start at key 0, so that a row
// has the same bits in any block of rows.
//
// Many rows: lanes are query rows. Queries are transposed once for the task;
// scores and probabilities are stored key by key, so that maximum and sum need
// no horizontal step. One row (decode): lanes are elements of the head.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "llvm/ADT/Sequence.h"
#include <limits>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

namespace {
/// Keys whose scores are held at a time.
constexpr int64_t kKeyBlock = 64;

class AttentionEmitter {
public:
  AttentionEmitter(KernelBuilder &kb, AttentionAttr key, func::FuncOp func)
      : kb(kb), b(kb.b), key(key), lanes(kb.lanes),
        rowBlock(getAttentionRowBlock(key.getLevel())),
        headSize(key.getHeadSize()), valueSize(key.getValueSize()),
        valueVectors((valueSize + lanes - 1) / lanes) {
    ArrayRef<BlockArgument> args = func.getArguments();
    q = args[0];
    k = args[1];
    v = args[2];
    bool masked = key.getMask() != MaskKind::None;
    if (masked)
      mask = args[3];
    y = args[masked ? 4 : 3];
    begin = args[args.size() - 2];
    end = args[args.size() - 1];
  }

  void emit() {
    queries = kb.stackBuffer({headSize + lanes, rowBlock});
    scores = kb.stackBuffer({kKeyBlock, rowBlock});
    sums = kb.stackBuffer({rowBlock, valueVectors * lanes});
    factors = kb.stackBuffer({rowBlock});
    if (mask)
      biases = kb.stackBuffer({kKeyBlock, rowBlock});
    zero = kb.constant(0.0);
    lowest = kb.constant(-std::numeric_limits<double>::infinity());

    heads = kb.dim(q, key.getQuerySeqFirst() ? 2 : 1);
    numRows = kb.dim(q, key.getQuerySeqFirst() ? 1 : 2);
    numKeys = kb.dim(k, key.getKeySeqFirst() ? 1 : 2);
    Value blocks = kb.ceilDivU(numRows, rowBlock);
    kb.loop(begin, end, 1, [&](Value task) {
      Value batchHead = kb.divU(task, blocks);
      row0 = kb.mul(kb.sub(task, kb.mul(batchHead, blocks)), kb.idx(rowBlock));
      batch = kb.divU(batchHead, heads);
      head = kb.sub(batchHead, kb.mul(batch, heads));
      keyHead = kb.divU(head, key.getGroup());
      rows = kb.min(kb.sub(numRows, row0), kb.idx(rowBlock));
      if (mask)
        prepareMask();
      kb.ifThen(
          kb.cmp(arith::CmpIPredicate::eq, numRows, kb.idx(1)),
          [&] { emitOneRow(); }, [&] { emitManyRows(); });
    });
  }

private:
  KernelBuilder &kb;
  ImplicitLocOpBuilder &b;
  AttentionAttr key;
  int64_t lanes, rowBlock, headSize, valueSize, valueVectors;
  Value q, k, v, mask, y, begin, end;
  // Buffers: queries [head][row], scores and biases [key][row], sums
  // [row][value], factors [row].
  Value queries, scores, sums, factors, biases, zero, lowest;
  Value heads, numRows, numKeys;
  // Of the task.
  Value row0, batch, head, keyHead, rows;
  Value maskBatch, maskHead, maskRowStep, maskKeyStep;

  static SmallVector<Value> order(bool seqFirst, Value batch, Value head,
                                  Value seq, Value element) {
    if (seqFirst)
      return {batch, seq, head, element};
    return {batch, head, seq, element};
  }
  SmallVector<Value> queryAt(Value row, Value d) {
    return order(key.getQuerySeqFirst(), batch, head, kb.add(row0, row), d);
  }
  SmallVector<Value> keyAt(Value t, Value d) {
    return order(key.getKeySeqFirst(), batch, keyHead, t, d);
  }
  SmallVector<Value> valueAt(Value t, Value e) {
    return order(key.getValueSeqFirst(), batch, keyHead, t, e);
  }
  SmallVector<Value> resultAt(Value row, Value e) {
    return order(key.getResultSeqFirst(), batch, head, kb.add(row0, row), e);
  }

  /// Vector `c` of a row of `size` elements; zero beyond the row.
  Value loadPart(Value memref, ValueRange at, int64_t c, int64_t size) {
    int64_t rest = size - c * lanes;
    if (rest >= lanes)
      return kb.load(memref, at);
    return kb.maskedLoad(memref, at, kb.mask(rest), zero);
  }
  Value loadScalar(Value memref, ValueRange at) {
    return memref::LoadOp::create(b, memref, at);
  }
  void storeScalar(Value value, Value memref, ValueRange at) {
    memref::StoreOp::create(b, value, memref, at);
  }
  Value exp(Value x) { return buildExp(b, b.getLoc(), x); }
  /// The maximum to subtract: 0 where nothing has been seen.
  Value safe(Value greatest) {
    Value none = arith::CmpFOp::create(
        b, arith::CmpFPredicate::OEQ, greatest,
        llvm::isa<VectorType>(greatest.getType())
            ? lowest
            : kb.scalar(-std::numeric_limits<double>::infinity()));
    return kb.select(
        none, llvm::isa<VectorType>(greatest.getType()) ? zero : kb.scalar(0.0),
        greatest);
  }
  Value fold(Value vector, llvm::function_ref<Value(Value, Value)> combine) {
    for (int64_t half = lanes / 2; half >= 1; half /= 2) {
      auto low = llvm::to_vector(llvm::seq<int64_t>(0, half));
      auto high = llvm::to_vector(llvm::seq<int64_t>(half, 2 * half));
      vector = combine(vector::ShuffleOp::create(b, vector, vector, low),
                       vector::ShuffleOp::create(b, vector, vector, high));
    }
    return vector::ExtractOp::create(b, vector, ArrayRef<int64_t>{0});
  }

  //===--------------------------------------------------------------------===//
  // Mask
  //===--------------------------------------------------------------------===//

  /// A dimension of size 1 is broadcast: its index is multiplied by 0.
  Value stepOf(int64_t i) {
    Value one = kb.cmp(arith::CmpIPredicate::eq, kb.dim(mask, i), kb.idx(1));
    return kb.select(one, kb.idx(0), kb.idx(1));
  }
  void prepareMask() {
    maskBatch = kb.mul(batch, stepOf(0));
    maskHead = kb.mul(head, stepOf(1));
    maskRowStep = stepOf(2);
    maskKeyStep = stepOf(3);
  }
  /// What is added to the score of `row` (of the task) and key `t`.
  Value maskOf(Value row, Value t) {
    Value value = loadScalar(mask, {maskBatch, maskHead,
                                    kb.mul(kb.add(row0, row), maskRowStep),
                                    kb.mul(t, maskKeyStep)});
    if (key.getMask() == MaskKind::Additive)
      return value;
    return kb.select(value, kb.scalar(0.0),
                     kb.scalar(-std::numeric_limits<double>::infinity()));
  }
  /// Fills `biases` for `count` keys from `t0`.
  void loadMask(Value t0, Value count) {
    kb.ifThen(
        kb.cmp(arith::CmpIPredicate::eq, maskRowStep, kb.idx(0)),
        [&] {
          kb.loop(kb.idx(0), count, 1, [&](Value t) {
            Value value = kb.splat(maskOf(kb.idx(0), kb.add(t0, t)));
            for (int64_t j = 0; j < rowBlock; j += lanes)
              kb.store(value, biases, {t, kb.idx(j)});
          });
        },
        [&] {
          kb.loop(kb.idx(0), rows, 1, [&](Value row) {
            kb.loop(kb.idx(0), count, 1, [&](Value t) {
              storeScalar(maskOf(row, kb.add(t0, t)), biases, {t, row});
            });
          });
        });
  }

  //===--------------------------------------------------------------------===//
  // Many rows
  //===--------------------------------------------------------------------===//

  void emitManyRows() {
    Value scale = kb.scalar(key.getScale().getValueAsDouble());
    auto clear = [&](Value memref, Value count) {
      kb.loop(kb.idx(0), count, 1, [&](Value i) {
        for (int64_t j = 0; j < rowBlock; j += lanes)
          kb.store(zero, memref, {i, kb.idx(j)});
      });
    };
    // Lanes without a row compute on the last row, without its biases.
    if (biases)
      kb.ifThen(kb.cmp(arith::CmpIPredicate::slt, rows, kb.idx(rowBlock)),
                [&] { clear(biases, kb.idx(kKeyBlock)); });
    loadQueries(kb.splat(scale));
    kb.loop(kb.idx(0), kb.idx(rowBlock), 1, [&](Value row) {
      for (int64_t c = 0; c < valueVectors; ++c)
        kb.store(zero, sums, {row, kb.idx(c * lanes)});
    });

    Value lastKey = numKeys;
    if (key.getCausal()) {
      // One past the last key that the last row sees.
      lastKey = kb.sub(kb.add(kb.add(row0, rows), numKeys), numRows);
      lastKey = kb.max(kb.min(lastKey, numKeys), kb.idx(0));
    }
    SmallVector<Value> state =
        kb.loop(kb.idx(0), lastKey, kKeyBlock, {lowest, lowest, zero, zero},
                [&](Value t0, ValueRange carried) {
                  Value count = kb.min(kb.sub(lastKey, t0), kb.idx(kKeyBlock));
                  emitScores(t0, count);
                  if (mask)
                    loadMask(t0, count);
                  SmallVector<Value> next =
                      emitSoftmaxBlock(t0, count, carried);
                  emitValues(t0, count);
                  return next;
                });
    for (int64_t j = 0; j < 2; ++j)
      kb.store(state[2 + j], factors, ValueRange{kb.idx(j * lanes)});
    kb.loop(kb.idx(0), rows, 1, [&](Value row) {
      finishRow(row, loadScalar(factors, ValueRange{row}));
    });
  }

  /// queries[d][row] = scale * query[row][d], in squares of one register.
  void loadQueries(Value scale) {
    Value lastRow = kb.sub(rows, kb.idx(1));
    int64_t headVectors = (headSize + lanes - 1) / lanes;
    kb.loop(kb.idx(0), rows, lanes, [&](Value row) {
      for (int64_t c = 0; c < headVectors; ++c) {
        SmallVector<Value> square;
        for (int64_t i = 0; i < lanes; ++i) {
          Value own = kb.min(kb.add(row, i), lastRow);
          Value part =
              loadPart(q, queryAt(own, kb.idx(c * lanes)), c, headSize);
          square.push_back(kb.fmul(part, scale));
        }
        kb.transpose(square);
        for (int64_t i = 0; i < lanes; ++i)
          kb.store(square[i], queries, {kb.idx(c * lanes + i), row});
      }
    });
    // A second register of rows that does not exist.
    kb.ifThen(kb.cmp(arith::CmpIPredicate::sle, rows, kb.idx(lanes)), [&] {
      kb.loop(kb.idx(0), kb.idx(headSize), 1,
              [&](Value d) { kb.store(zero, queries, {d, kb.idx(lanes)}); });
    });
  }

  /// scores[t][row] = sum over d of key[t0 + t][d] * queries[d][row].
  void emitScores(Value t0, Value count) {
    int64_t tile = lanes == 16 ? 8 : 4;
    auto emitTile = [&](int64_t size, Value t) {
      // One chain over ascending d, however it is unrolled.
      auto steps = [&](int64_t from, int64_t to, int64_t unroll,
                       ArrayRef<Value> init) {
        return kb.loop(kb.idx(from), kb.idx(to), unroll, init,
                       [&](Value d0, ValueRange carried) {
                         SmallVector<Value> next(carried);
                         for (int64_t u = 0; u < unroll; ++u) {
                           Value d = kb.add(d0, u), part[2];
                           for (int64_t j = 0; j < 2; ++j)
                             part[j] = kb.load(queries, {d, kb.idx(j * lanes)});
                           for (int64_t i = 0; i < size; ++i) {
                             Value element = kb.splat(loadScalar(
                                 k, keyAt(kb.add(t0, kb.add(t, i)), d)));
                             for (int64_t j = 0; j < 2; ++j)
                               next[2 * i + j] =
                                   kb.fma(element, part[j], next[2 * i + j]);
                           }
                         }
                         return next;
                       });
      };
      constexpr int64_t unroll = 8;
      int64_t whole = headSize / unroll * unroll;
      SmallVector<Value> dots(2 * size, zero);
      dots = steps(0, whole, unroll, dots);
      if (whole < headSize)
        dots = steps(whole, headSize, 1, dots);
      for (int64_t i = 0; i < size; ++i)
        for (int64_t j = 0; j < 2; ++j)
          kb.store(dots[2 * i + j], scores, {kb.add(t, i), kb.idx(j * lanes)});
    };
    Value whole = kb.mul(kb.divU(count, tile), tile);
    kb.loop(kb.idx(0), whole, tile, [&](Value t) { emitTile(tile, t); });
    kb.loop(whole, count, 1, [&](Value t) { emitTile(1, t); });
  }

  /// Turns scores into probabilities relative to the greatest score so far,
  /// leaves in `factors` what older sums are multiplied by. Carried: greatest
  /// and total, two vectors each.
  SmallVector<Value> emitSoftmaxBlock(Value t0, Value count,
                                      ValueRange carried) {
    SmallVector<Value> seen, visible;
    Value number;
    if (key.getCausal()) {
      // Lane i sees key t where t + S - T - row0 <= i.
      number = kb.sub(kb.sub(kb.add(t0, numRows), numKeys), row0);
      for (int64_t j = 0; j < 2; ++j) {
        SmallVector<int32_t> lane;
        for (int64_t i = 0; i < lanes; ++i)
          lane.push_back(j * lanes + i);
        visible.push_back(arith::ConstantOp::create(
            b, DenseElementsAttr::get(VectorType::get({lanes}, b.getI32Type()),
                                      ArrayRef<int32_t>(lane))));
      }
    }
    SmallVector<Value> greatest =
        kb.loop(kb.idx(0), count, 1, ValueRange{carried[0], carried[1]},
                [&](Value t, ValueRange greatest) {
                  SmallVector<Value> next;
                  Value least;
                  if (key.getCausal()) {
                    // Far from the diagonal the number need not fit 32 bits.
                    Value clamped =
                        kb.max(kb.min(kb.add(number, t), kb.idx(1 << 20)),
                               kb.idx(-(1 << 20)));
                    Value narrow =
                        arith::IndexCastOp::create(b, b.getI32Type(), clamped);
                    least = vector::BroadcastOp::create(
                        b, VectorType::get({lanes}, b.getI32Type()), narrow);
                  }
                  for (int64_t j = 0; j < 2; ++j) {
                    SmallVector<Value> at{t, kb.idx(j * lanes)};
                    Value score = kb.load(scores, at);
                    if (mask)
                      score = kb.fadd(score, kb.load(biases, at));
                    if (key.getCausal())
                      score = kb.select(
                          kb.cmp(arith::CmpIPredicate::sle, least, visible[j]),
                          score, lowest);
                    if (mask || key.getCausal())
                      kb.store(score, scores, at);
                    next.push_back(kb.fmax(greatest[j], score));
                  }
                  return next;
                });
    SmallVector<Value> top, total;
    for (int64_t j = 0; j < 2; ++j) {
      top.push_back(safe(greatest[j]));
      Value factor = exp(kb.fsub(carried[j], top[j]));
      kb.store(factor, factors, ValueRange{kb.idx(j * lanes)});
      total.push_back(kb.fmul(carried[2 + j], factor));
    }
    total = kb.loop(kb.idx(0), count, 1, total, [&](Value t, ValueRange total) {
      SmallVector<Value> next;
      for (int64_t j = 0; j < 2; ++j) {
        SmallVector<Value> at{t, kb.idx(j * lanes)};
        Value p = exp(kb.fsub(kb.load(scores, at), top[j]));
        kb.store(p, scores, at);
        next.push_back(kb.fadd(total[j], p));
      }
      return next;
    });
    return {greatest[0], greatest[1], total[0], total[1]};
  }

  /// sums[row] = sums[row] * factors[row] + sum over t of scores[t][row] *
  /// value[t0 + t].
  void emitValues(Value t0, Value count) {
    int64_t chunk = std::min<int64_t>(valueVectors, lanes == 16 ? 4 : 2);
    int64_t tile = lanes == 16 && chunk <= 3 ? 8 : 4;
    kb.loop(kb.idx(0), rows, tile, [&](Value row) {
      for (int64_t c0 = 0; c0 < valueVectors; c0 += chunk) {
        int64_t width = std::min(chunk, valueVectors - c0);
        SmallVector<Value> init;
        for (int64_t i = 0; i < tile; ++i) {
          Value r = kb.add(row, i);
          Value factor = kb.splat(loadScalar(factors, ValueRange{r}));
          for (int64_t c = c0; c < c0 + width; ++c)
            init.push_back(
                kb.fmul(kb.load(sums, {r, kb.idx(c * lanes)}), factor));
        }
        auto steps = [&](Value from, Value to, int64_t unroll,
                         ArrayRef<Value> init) {
          return kb.loop(
              from, to, unroll, init, [&](Value first, ValueRange carried) {
                SmallVector<Value> next(carried);
                for (int64_t u = 0; u < unroll; ++u) {
                  Value t = kb.add(first, u);
                  SmallVector<Value> parts;
                  for (int64_t c = c0; c < c0 + width; ++c)
                    parts.push_back(
                        loadPart(v, valueAt(kb.add(t0, t), kb.idx(c * lanes)),
                                 c, valueSize));
                  for (int64_t i = 0; i < tile; ++i) {
                    Value p = kb.splat(loadScalar(scores, {t, kb.add(row, i)}));
                    for (int64_t c = 0; c < width; ++c)
                      next[i * width + c] =
                          kb.fma(p, parts[c], next[i * width + c]);
                  }
                }
                return next;
              });
        };
        constexpr int64_t unroll = 4;
        Value whole = kb.mul(kb.divU(count, unroll), unroll);
        SmallVector<Value> next = steps(kb.idx(0), whole, unroll, init);
        next = steps(whole, count, 1, next);
        for (int64_t i = 0; i < tile; ++i)
          for (int64_t c = 0; c < width; ++c)
            kb.store(next[i * width + c], sums,
                     {kb.add(row, i), kb.idx((c0 + c) * lanes)});
      }
    });
  }

  /// result[row] = sums[row] / total; zero where nothing was seen.
  void finishRow(Value row, Value total) {
    Value nothing = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, total,
                                          kb.scalar(0.0));
    Value inverse = kb.splat(kb.fdiv(kb.scalar(1.0), total));
    for (int64_t c = 0; c < valueVectors; ++c) {
      Value value = kb.fmul(kb.load(sums, {row, kb.idx(c * lanes)}), inverse);
      value = kb.select(nothing, zero, value);
      SmallVector<Value> at = resultAt(row, kb.idx(c * lanes));
      int64_t rest = valueSize - c * lanes;
      if (rest >= lanes)
        kb.store(value, y, at);
      else
        kb.maskedStore(value, y, at, kb.mask(rest));
    }
  }

  //===--------------------------------------------------------------------===//
  // One row
  //===--------------------------------------------------------------------===//

  /// The buffers of many rows serve here as flat vectors.
  Value flat(Value memref, int64_t size) {
    return memref::ReinterpretCastOp::create(
        b, MemRefType::get({size}, kb.f32), memref, /*offset=*/0,
        ArrayRef<int64_t>{size}, ArrayRef<int64_t>{1});
  }

  void emitOneRow() {
    int64_t headVectors = (headSize + lanes - 1) / lanes;
    Value query = flat(queries, headVectors * lanes);
    Value score = flat(scores, kKeyBlock);
    Value zeroIdx = kb.idx(0);
    Value scale = kb.splat(kb.scalar(key.getScale().getValueAsDouble()));
    for (int64_t c = 0; c < headVectors; ++c) {
      Value part =
          loadPart(q, queryAt(zeroIdx, kb.idx(c * lanes)), c, headSize);
      kb.store(kb.fmul(part, scale), query, ValueRange{kb.idx(c * lanes)});
    }
    for (int64_t c = 0; c < valueVectors; ++c)
      kb.store(zero, sums, {zeroIdx, kb.idx(c * lanes)});

    auto emitDots = [&](int64_t size, Value t0, Value t) {
      SmallVector<Value> dots(size, zero);
      for (int64_t c = 0; c < headVectors; ++c) {
        Value part = kb.load(query, ValueRange{kb.idx(c * lanes)});
        for (int64_t i = 0; i < size; ++i)
          dots[i] = kb.fma(
              loadPart(k, keyAt(kb.add(t0, kb.add(t, i)), kb.idx(c * lanes)), c,
                       headSize),
              part, dots[i]);
      }
      for (int64_t i = 0; i < size; ++i) {
        Value dot =
            fold(dots[i], [&](Value x, Value y) { return kb.fadd(x, y); });
        if (mask)
          dot = kb.fadd(dot, maskOf(zeroIdx, kb.add(t0, kb.add(t, i))));
        storeScalar(dot, score, ValueRange{kb.add(t, i)});
      }
    };

    Value none = kb.scalar(-std::numeric_limits<double>::infinity());
    SmallVector<Value> state = kb.loop(
        zeroIdx, numKeys, kKeyBlock, {none, kb.scalar(0.0)},
        [&](Value t0, ValueRange carried) -> SmallVector<Value> {
          Value count = kb.min(kb.sub(numKeys, t0), kb.idx(kKeyBlock));
          kb.ifThen(kb.cmp(arith::CmpIPredicate::slt, count, kb.idx(kKeyBlock)),
                    [&] {
                      for (int64_t j = 0; j < kKeyBlock; j += lanes)
                        kb.store(lowest, score, ValueRange{kb.idx(j)});
                    });
          constexpr int64_t tile = 4;
          Value whole = kb.mul(kb.divU(count, tile), tile);
          kb.loop(zeroIdx, whole, tile,
                  [&](Value t) { emitDots(tile, t0, t); });
          kb.loop(whole, count, 1, [&](Value t) { emitDots(1, t0, t); });

          SmallVector<Value> parts;
          Value greatest;
          for (int64_t j = 0; j < kKeyBlock; j += lanes) {
            parts.push_back(kb.load(score, ValueRange{kb.idx(j)}));
            greatest =
                greatest ? kb.fmax(greatest, parts.back()) : parts.back();
          }
          Value top = kb.fmax(carried[0], fold(greatest, [&](Value x, Value y) {
                                return kb.fmax(x, y);
                              }));
          Value base = safe(top), factor = exp(kb.fsub(carried[0], base));
          Value baseVector = kb.splat(base), total = zero;
          for (auto [j, part] : llvm::enumerate(parts)) {
            Value p = exp(kb.fsub(part, baseVector));
            kb.store(p, score, ValueRange{kb.idx(j * lanes)});
            total = kb.fadd(total, p);
          }
          Value sum = kb.fadd(
              kb.fmul(carried[1], factor),
              fold(total, [&](Value x, Value y) { return kb.fadd(x, y); }));
          emitOneRowValues(t0, count, factor, score);
          return {top, sum};
        });
    finishRow(zeroIdx, state[1]);
  }

  void emitOneRowValues(Value t0, Value count, Value factor, Value score) {
    constexpr int64_t chunk = 8;
    Value spread = kb.splat(factor), zeroIdx = kb.idx(0);
    for (int64_t c0 = 0; c0 < valueVectors; c0 += chunk) {
      int64_t width = std::min(chunk, valueVectors - c0);
      SmallVector<Value> init;
      for (int64_t c = c0; c < c0 + width; ++c)
        init.push_back(
            kb.fmul(kb.load(sums, {zeroIdx, kb.idx(c * lanes)}), spread));
      SmallVector<Value> next =
          kb.loop(zeroIdx, count, 1, init, [&](Value t, ValueRange carried) {
            SmallVector<Value> next(carried);
            Value p = kb.splat(loadScalar(score, ValueRange{t}));
            for (int64_t c = 0; c < width; ++c)
              next[c] = kb.fma(
                  p,
                  loadPart(v, valueAt(kb.add(t0, t), kb.idx((c0 + c) * lanes)),
                           c0 + c, valueSize),
                  next[c]);
            return next;
          });
      for (int64_t c = 0; c < width; ++c)
        kb.store(next[c], sums, {zeroIdx, kb.idx((c0 + c) * lanes)});
    }
  }
};
} // namespace

void cpu::emitAttention(KernelBuilder &kb, AttentionAttr key,
                        func::FuncOp func) {
  AttentionEmitter(kb, key, func).emit();
}
