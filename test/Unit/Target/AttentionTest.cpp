//===- AttentionTest.cpp - Attention against float64 ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "KernelJit.h"
#include "TestData.h"
#include "gtest/gtest.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;
using namespace ffn_test;

namespace {
struct AttentionCase {
  int64_t d, e, heads, group;
  bool causal = false;
  MaskKind mask = MaskKind::None;
  /// Bits: query, key, value, result are [B, S, H, D].
  int seqFirst = 0;
};

struct Tensor4 {
  std::vector<float> data;
  std::vector<int64_t> sizes, strides; // in the order b, h, s, d
  float &at(int64_t b, int64_t h, int64_t s, int64_t d) {
    return data[b * strides[0] + h * strides[1] + s * strides[2] + d];
  }
};

/// A tensor in one of the two orders, with a gap after each row.
Tensor4 makeTensor(Random &random, int64_t b, int64_t h, int64_t s, int64_t d,
                   bool seqFirst) {
  Tensor4 t;
  int64_t row = d + 3;
  t.sizes = {b, h, s, d};
  t.strides = seqFirst ? std::vector<int64_t>{h * s * row, row, h * row, 1}
                       : std::vector<int64_t>{h * s * row, s * row, row, 1};
  t.data = random.floats(b * h * s * row + 1, 1);
  return t;
}

Buffer bufferOf(Tensor4 &t, bool seqFirst) {
  std::vector<int64_t> sizes = t.sizes, strides = t.strides;
  if (seqFirst) {
    std::swap(sizes[1], sizes[2]);
    std::swap(strides[1], strides[2]);
  }
  return Buffer(t.data.data(), sizes, strides);
}

class AttentionFixture {
public:
  AttentionCase c;
  KernelJit jit;
  double scale;

  bool build(const AttentionCase &attentionCase, Level level) {
    c = attentionCase;
    MLIRContext &ctx = getContext();
    scale = 1 / std::sqrt(double(c.d));
    return jit.compileKernel(
        ctx, AttentionAttr::get(&ctx, level, c.d, c.e, c.group,
                                Builder(&ctx).getF64FloatAttr(scale), c.causal,
                                c.mask, c.seqFirst & 1, c.seqFirst & 2,
                                c.seqFirst & 4, c.seqFirst & 8));
  }

  struct Mask {
    std::vector<float> added;
    std::vector<uint8_t> kept;
    std::vector<int64_t> sizes;
    size_t index(int64_t b, int64_t h, int64_t s, int64_t t) const {
      int64_t at[4] = {b, h, s, t}, i = 0;
      for (int k = 0; k < 4; ++k)
        i = i * sizes[k] + (sizes[k] == 1 ? 0 : at[k]);
      return i;
    }
  };

  Tensor4 run(Tensor4 &q, Tensor4 &k, Tensor4 &v, Mask &mask, int64_t threads) {
    int64_t batch = q.sizes[0], rows = q.sizes[2];
    Random random(1);
    Tensor4 y = makeTensor(random, batch, c.heads, rows, c.e, c.seqFirst & 8);
    std::fill(y.data.begin(), y.data.end(), 55.0f);
    Buffer qb = bufferOf(q, c.seqFirst & 1), kb = bufferOf(k, c.seqFirst & 2),
           vb = bufferOf(v, c.seqFirst & 4), yb = bufferOf(y, c.seqFirst & 8);
    Buffer mb(c.mask == MaskKind::Additive ? (void *)mask.added.data()
                                           : (void *)mask.kept.data(),
              mask.sizes);
    std::vector<Buffer *> buffers{&qb, &kb, &vb};
    if (c.mask != MaskKind::None)
      buffers.push_back(&mb);
    buffers.push_back(&yb);
    int64_t tasks = jit.countTasks(buffers);
    for (int64_t i = threads; i-- > 0;)
      jit.run(buffers, tasks * i / threads, tasks * (i + 1) / threads);
    return y;
  }

  /// `shape` chooses which dimensions of the mask are 1.
  void check(int64_t batch, int64_t rows, int64_t keys, int shape = 0,
             bool hideRow = false) {
    Random random(batch * 100 + rows * 10 + keys);
    Tensor4 q = makeTensor(random, batch, c.heads, rows, c.d, c.seqFirst & 1);
    Tensor4 k =
        makeTensor(random, batch, c.heads / c.group, keys, c.d, c.seqFirst & 2);
    Tensor4 v =
        makeTensor(random, batch, c.heads / c.group, keys, c.e, c.seqFirst & 4);
    for (float &x : q.data)
      x *= 4;
    Mask mask;
    mask.sizes = {shape & 1 ? 1 : batch, shape & 2 ? 1 : c.heads,
                  shape & 4 ? 1 : rows, shape & 8 ? 1 : keys};
    int64_t count =
        mask.sizes[0] * mask.sizes[1] * mask.sizes[2] * mask.sizes[3];
    mask.added = random.floats(count, 3);
    for (int64_t i = 0; i < count; ++i) {
      mask.kept.push_back(random.next() > -0.3);
      if (random.next() > 0.7)
        mask.added[i] = -INFINITY;
    }
    if (hideRow && !(shape & 12) && rows > 0)
      for (int64_t t = 0; t < keys; ++t) {
        mask.added[mask.index(0, 0, rows / 2, t)] = -INFINITY;
        mask.kept[mask.index(0, 0, rows / 2, t)] = 0;
      }
    Tensor4 y = run(q, k, v, mask, 1);
    for (int64_t threads : {2, 5})
      EXPECT_TRUE(sameBits(y.data, run(q, k, v, mask, threads).data));

    int bad = 0;
    std::vector<double> p(keys);
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t h = 0; h < c.heads; ++h)
        for (int64_t s = 0; s < rows; ++s) {
          double top = -INFINITY, total = 0, largest = 0;
          for (int64_t t = 0; t < keys; ++t) {
            double sum = 0, size = 0;
            for (int64_t d = 0; d < c.d; ++d) {
              double term =
                  double(q.at(b, h, s, d)) * k.at(b, h / c.group, t, d) * scale;
              sum += term;
              size += std::fabs(term);
            }
            if (c.mask == MaskKind::Additive) {
              sum += mask.added[mask.index(b, h, s, t)];
              size += std::fabs(sum);
            }
            if (c.mask == MaskKind::Boolean &&
                !mask.kept[mask.index(b, h, s, t)])
              sum = -INFINITY;
            if (c.causal && t > s + keys - rows)
              sum = -INFINITY;
            p[t] = sum;
            top = std::max(top, sum);
            if (!std::isinf(sum))
              largest = std::max(largest, size);
          }
          for (double &x : p) {
            x = std::isinf(top) ? 0 : std::exp(x - top);
            total += x;
          }
          for (int64_t e = 0; e < c.e; ++e) {
            double value = 0, size = 0;
            for (int64_t t = 0; t < keys; ++t) {
              double term =
                  total == 0 ? 0 : p[t] / total * v.at(b, h / c.group, t, e);
              value += term;
              size += std::fabs(term);
            }
            // Scores are off by (d + 3) u of their terms, which is relative
            // in the probabilities; then two sums over the keys.
            double bound =
                0x1p-24 * size * (2 * (c.d + 4) * largest + 2 * keys + 40) +
                1e-30;
            float got = y.at(b, h, s, e);
            if (!(std::fabs(got - value) <= bound) && bad++ < 3)
              ADD_FAILURE()
                  << "batch " << batch << " rows " << rows << " keys " << keys
                  << " at " << b << "," << h << "," << s << "," << e << ": "
                  << got << " instead of " << value << " +- " << bound;
            if (total == 0)
              EXPECT_EQ(got, 0.0f);
          }
          // The gap after the row is untouched.
          for (int64_t e = c.e; e < c.e + 3; ++e)
            EXPECT_EQ(y.at(b, h, s, e), 55.0f);
        }
    // A batch entry alone has the same bits.
    if (batch < 2 || mask.sizes[0] != 1)
      return;
    auto lastOf = [&](Tensor4 t) {
      t.data.erase(t.data.begin(), t.data.begin() + (batch - 1) * t.strides[0]);
      t.sizes[0] = 1;
      return t;
    };
    Tensor4 q1 = lastOf(q), k1 = lastOf(k), v1 = lastOf(v);
    EXPECT_TRUE(sameBits(run(q1, k1, v1, mask, 1).data, lastOf(y).data));
  }
};
} // namespace

TEST(Attention, Sizes) {
  for (CpuTarget target : getHostLevels())
    for (auto [d, e] : {std::pair<int64_t, int64_t>{8, 8},
                        {16, 32},
                        {33, 5},
                        {64, 64},
                        {80, 100}}) {
      AttentionFixture attention;
      ASSERT_TRUE(attention.build({d, e, 2, 1}, target.level));
      for (int64_t rows : {0, 1, 2, 7, 16, 33, 65})
        for (int64_t keys : {1, 3, 63, 64, 65, 130})
          attention.check(2, rows, keys, 1);
      attention.check(0, 3, 4);
      attention.check(1, 3, 0);
      attention.check(1, 1, 0);
    }
}

TEST(Attention, CausalAndGroups) {
  for (CpuTarget target : getHostLevels())
    for (int64_t group : {1, 2, 4}) {
      AttentionFixture attention;
      AttentionCase c{24, 24, 4, group};
      c.causal = true;
      ASSERT_TRUE(attention.build(c, target.level));
      for (int64_t rows : {1, 2, 7, 40, 70})
        for (int64_t past : {0, 1, 50, 70})
          attention.check(2, rows, rows + past, 1);
      // Fewer keys than rows: the first rows see nothing.
      attention.check(1, 40, 9);
    }
}

TEST(Attention, Masks) {
  for (CpuTarget target : getHostLevels())
    for (MaskKind kind : {MaskKind::Additive, MaskKind::Boolean})
      for (bool causal : {false, true}) {
        AttentionFixture attention;
        AttentionCase c{16, 16, 3, 1};
        c.mask = kind;
        c.causal = causal;
        ASSERT_TRUE(attention.build(c, target.level));
        for (int shape : {0, 1, 2, 3, 4, 7, 8, 15})
          for (int64_t rows : {1, 5, 37})
            attention.check(2, rows, rows + 30, shape, true);
      }
}

TEST(Attention, Orders) {
  for (CpuTarget target : getHostLevels())
    for (int seqFirst : {1, 2, 4, 8, 15}) {
      AttentionFixture attention;
      AttentionCase c{20, 12, 4, 2};
      c.seqFirst = seqFirst;
      c.causal = true;
      ASSERT_TRUE(attention.build(c, target.level));
      attention.check(2, 5, 9, 1);
      attention.check(2, 1, 9, 1);
    }
}
