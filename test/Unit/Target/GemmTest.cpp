//===- GemmTest.cpp - Matrix products against float64 ---------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "KernelJit.h"
#include "TestData.h"
#include "gtest/gtest.h"
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;
using namespace ffn_test;

namespace {
struct GemmCase {
  int64_t n, k;
  Activation activation = Activation::Identity;
  bool gated = false, residual = false, bias = true;
  char element = 'f'; // f32, 'b'f16, 'h'alf
  int64_t padding = 0;
  int64_t bits = 0, group = 0; // of codes in place of elements
  bool int8Rows = false;       // rounds x to 8 bits
};

/// One kernel with its weights, and its float64 meaning.
class GemmFixture {
public:
  GemmCase c;
  GemmAttr key;
  KernelJit jit;
  std::vector<std::vector<float>> weights, biases;
  AlignedBytes packed;
  bool unitScales = false; // codes are the weights themselves

  /// With `same`, its weights and biases.
  bool build(const GemmCase &gemmCase, Level level,
             const GemmFixture *same = nullptr) {
    c = gemmCase;
    MLIRContext &ctx = getContext();
    Builder b(&ctx);
    Type element = c.bits             ? Type(b.getIntegerType(c.bits))
                   : c.element == 'f' ? Type(b.getF32Type())
                   : c.element == 'b' ? Type(b.getBF16Type())
                                      : Type(b.getF16Type());
    int64_t stride = c.k;
    if (c.int8Rows)
      stride = QuantizeAttr::get(&ctx, level, c.k, c.group).getWords();
    key = GemmAttr::get(&ctx, level, c.n, c.k, stride + c.padding, element,
                        c.activation, c.gated, c.residual, c.group, c.int8Rows);
    Random random(c.n * 1000 + c.k);
    double scale = 1 / std::sqrt(double(std::max<int64_t>(c.k, 1)));
    for (int i = 0; i < (c.gated ? 2 : 1); ++i) {
      weights.push_back(random.floats(c.n * c.k, scale));
      for (float &w : weights.back())
        w = roundTo(w, c.element);
      if (c.bias)
        biases.push_back(random.floats(c.n, 1));
    }
    if (same) {
      weights = same->weights;
      biases = same->biases;
    }
    PanelsAttr panels = key.getPanels();
    packed.resize(panels.getTotalBytes());
    SmallVector<MatrixView> w, v, s;
    std::vector<std::vector<char>> codes;
    std::vector<std::vector<float>> scales;
    int64_t groups = panels.getNumGroups(),
            limit = 1 << (c.bits ? c.bits - 1 : 0);
    for (auto &data : weights) {
      if (!c.bits) {
        w.push_back({reinterpret_cast<const char *>(data.data()),
                     b.getF32Type(), c.n, c.k, c.k * 4, 4});
        continue;
      }
      scales.push_back(random.floats(c.n * groups, scale));
      if (unitScales)
        std::fill(scales.back().begin(), scales.back().end(), 1.0f);
      codes.emplace_back(c.n * c.k);
      for (int64_t i = 0; i < c.n * c.k; ++i) {
        int64_t code = std::lround(data[i] * limit * 2 / scale) % limit;
        // Both ends of the range.
        code = i % 5 == 0 ? -limit : i % 5 == 1 ? limit - 1 : code;
        codes.back()[i] = static_cast<char>(code);
        data[i] = static_cast<float>(code) *
                  scales.back()[i / c.k * groups + i % c.k / c.group];
      }
    }
    for (auto &list : codes)
      w.push_back({list.data(), b.getI8Type(), c.n, c.k, c.k, 1});
    for (auto &list : scales)
      s.push_back({reinterpret_cast<const char *>(list.data()), b.getF32Type(),
                   c.n, groups, groups * 4, 4});
    for (auto &data : biases)
      v.push_back({reinterpret_cast<const char *>(data.data()), b.getF32Type(),
                   c.n, 1, 4, 4});
    packPanels(panels, w, v, 0, panels.getNumPanels(),
               {packed.data(), packed.size()}, s);
    return jit.compileKernel(ctx, key);
  }

  QuantizedRows quantize(const std::vector<float> &x, int64_t m) const {
    return QuantizedRows(key.getQuantize(), x.data(), m, c.k);
  }

  /// y for `m` rows, running the tasks in `threads` shares.
  std::vector<float> run(const std::vector<float> &x,
                         const std::vector<float> &residual, int64_t m,
                         int64_t threads) {
    if (c.int8Rows)
      return run(quantize(x, m), residual, m, threads);
    std::vector<float> padded;
    const float *data = x.data();
    if (c.padding) {
      padded.assign(m * (c.k + c.padding), NAN);
      for (int64_t i = 0; i < m; ++i)
        std::copy_n(&x[i * c.k], c.k, &padded[i * (c.k + c.padding)]);
      data = padded.data();
    }
    Buffer xBuffer(const_cast<float *>(data), {m, c.k}, {c.k + c.padding, 1});
    return run(xBuffer, residual, m, threads);
  }
  std::vector<float> run(const QuantizedRows &rows,
                         const std::vector<float> &residual, int64_t m,
                         int64_t threads) {
    Buffer buffer(const_cast<int32_t *>(rows.words.data()),
                  {m, rows.key.getWords()});
    return run(buffer, residual, m, threads);
  }
  std::vector<float> run(Buffer &xBuffer, const std::vector<float> &residual,
                         int64_t m, int64_t threads) {
    // A canary after the end and between rows of a wider buffer.
    int64_t stride = c.n + 3;
    std::vector<float> y(m * stride + 8, 12345.0f);
    Buffer wBuffer(packed.data(), {int64_t(packed.size())});
    Buffer rBuffer(const_cast<float *>(residual.data()), {m, c.n});
    Buffer yBuffer(y.data(), {m, c.n}, {stride, 1});
    std::vector<Buffer *> buffers{&xBuffer, &wBuffer};
    if (c.residual)
      buffers.push_back(&rBuffer);
    buffers.push_back(&yBuffer);
    int64_t tasks = jit.countTasks(buffers);
    for (int64_t i = threads; i-- > 0;)
      jit.run(buffers, tasks * i / threads, tasks * (i + 1) / threads);
    std::vector<float> result(m * c.n);
    for (int64_t i = 0; i < m; ++i) {
      std::copy_n(&y[i * stride], c.n, &result[i * c.n]);
      for (int64_t j = c.n; j < stride; ++j)
        EXPECT_EQ(y[i * stride + j], 12345.0f) << "wrote beyond row " << i;
    }
    for (int64_t j = 0; j < 8; ++j)
      EXPECT_EQ(y[m * stride + j], 12345.0f) << "wrote beyond the end";
    return result;
  }

  /// Element (row, column) in float64 and a bound of the error of any order
  /// of k in f32.
  void reference(const std::vector<float> &x,
                 const std::vector<float> &residual, int64_t row,
                 int64_t column, double &value, double &bound) {
    double sum[2], error[2];
    const double u = 0x1p-24, gamma = (c.k + 2) * u / (1 - (c.k + 2) * u);
    for (int i = 0; i < (c.gated ? 2 : 1); ++i) {
      sum[i] = c.bias ? biases[i][column] : 0;
      double magnitude = std::fabs(sum[i]);
      for (int64_t k = 0; k < c.k; ++k) {
        double term = double(x[row * c.k + k]) * weights[i][column * c.k + k];
        sum[i] += term;
        magnitude += std::fabs(term);
      }
      error[i] = gamma * magnitude + 1e-40;
    }
    value = activate(c.activation, sum[0]);
    // No activation of the set is steeper than 1.13, squared_relu apart.
    double slope = c.activation == Activation::SquaredRelu
                       ? 2 * std::fabs(sum[0]) + 1e-3
                   : c.activation == Activation::Identity ? 1.0
                                                          : 1.13;
    bound = slope * error[0] + 6 * u * std::fabs(value);
    if (c.gated) {
      bound = bound * std::fabs(sum[1]) + (std::fabs(value) + bound) * error[1];
      value *= sum[1];
      bound += u * std::fabs(value);
    }
    if (c.residual) {
      value += residual[row * c.n + column];
      bound +=
          2 * u * (std::fabs(value) + std::fabs(residual[row * c.n + column]));
    }
  }

  void check(int64_t m) {
    Random random(m + 17);
    std::vector<float> x = random.floats(m * c.k, 1);
    std::vector<float> residual = random.floats(m * c.n, 1);
    std::vector<float> y = run(x, residual, m, 1);
    std::vector<float> read = x; // what the product sees
    if (c.int8Rows) {
      QuantizedRows rows = quantize(x, m);
      for (int64_t i = 0; i < m * c.k; ++i)
        read[i] = rows.getScale(i / c.k) * rows.getCode(i / c.k, i % c.k);
    }
    int bad = 0;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < c.n && bad < 3; ++j) {
        double value, bound;
        reference(read, residual, i, j, value, bound);
        if (!(std::fabs(y[i * c.n + j] - value) <= bound)) {
          ++bad;
          ADD_FAILURE() << "n " << c.n << " k " << c.k << " m " << m << " at "
                        << i << "," << j << ": " << y[i * c.n + j]
                        << " instead of " << value << " +- " << bound;
        }
      }
    // Threads change no bit.
    for (int64_t threads : {2, 3, 7})
      EXPECT_TRUE(sameBits(y, run(x, residual, m, threads)))
          << "m " << m << ", " << threads << " threads";
    // Neither does it matter in which batch a row is.
    if (m < 2)
      return;
    int64_t cut = m / 2 + (m > 16 ? 3 : 0);
    auto part = [](const std::vector<float> &v, int64_t from, int64_t to) {
      return std::vector<float>(v.begin() + from, v.begin() + to);
    };
    std::vector<float> first =
        run(part(x, 0, cut * c.k), part(residual, 0, cut * c.n), cut, 1);
    std::vector<float> second =
        run(part(x, cut * c.k, m * c.k), part(residual, cut * c.n, m * c.n),
            m - cut, 1);
    first.insert(first.end(), second.begin(), second.end());
    EXPECT_TRUE(sameBits(y, first)) << "m " << m << " cut at " << cut;
  }
};

const int64_t kRows[] = {0, 1,  2,  3,  4,  5,  7,   8,
                         9, 12, 15, 16, 17, 33, 127, 131};
} // namespace

TEST(Gemm, BoundaryShapes) {
  const std::pair<int64_t, int64_t> shapes[] = {
      {1, 1},  {48, 8},  {47, 7},  {49, 13},  {16, 64}, {17, 31},
      {33, 2}, {97, 97}, {96, 48}, {15, 100}, {5, 0},   {8, 3}};
  for (CpuTarget target : getHostLevels())
    for (auto [n, k] : shapes) {
      GemmFixture gemm;
      ASSERT_TRUE(gemm.build({n, k}, target.level));
      for (int64_t m : kRows)
        gemm.check(m);
    }
}

TEST(Gemm, Epilogues) {
  for (CpuTarget target : getHostLevels())
    for (Activation activation :
         {Activation::Relu, Activation::GeluErf, Activation::GeluTanh,
          Activation::GeluSigmoid, Activation::Silu, Activation::Sigmoid,
          Activation::Tanh, Activation::SquaredRelu}) {
      GemmFixture gemm;
      GemmCase c{53, 24};
      c.activation = activation;
      c.residual = activation == Activation::Relu;
      ASSERT_TRUE(gemm.build(c, target.level));
      for (int64_t m : {1, 3, 13, 130})
        gemm.check(m);
    }
}

TEST(Gemm, GatedResidualAndNoBias) {
  for (CpuTarget target : getHostLevels())
    for (auto [n, k] :
         {std::pair<int64_t, int64_t>{1, 5}, {16, 16}, {37, 30}, {64, 33}}) {
      for (bool bias : {false, true}) {
        GemmFixture gemm;
        GemmCase c{n, k};
        c.activation = Activation::Silu;
        c.gated = true;
        c.bias = bias;
        c.residual = bias;
        ASSERT_TRUE(gemm.build(c, target.level));
        for (int64_t m : kRows)
          gemm.check(m);
      }
      GemmFixture plain;
      GemmCase c{n, k};
      c.bias = false;
      c.residual = true;
      c.padding = 16;
      ASSERT_TRUE(plain.build(c, target.level));
      for (int64_t m : kRows)
        plain.check(m);
    }
}

TEST(Gemm, NarrowWeights) {
  // Many rows read widened blocks of 64 depths, few rows the weights.
  for (CpuTarget target : getHostLevels())
    for (char element : {'b', 'h'})
      for (bool gated : {false, true})
        for (int64_t k : {35, 131}) {
          GemmFixture gemm;
          GemmCase c{61, k};
          c.element = element;
          c.gated = gated;
          ASSERT_TRUE(gemm.build(c, target.level));
          for (int64_t m : {1, 6, 29})
            gemm.check(m);
        }
}

/// Codes keep the bound of the dequantized weight, and its bits in groups.
TEST(Gemm, Codes) {
  struct Shape {
    int64_t n, k, bits, group;
  };
  const Shape shapes[] = {
      {1, 1, 8, 1},       {47, 7, 8, 7},      {50, 64, 8, 32},
      {61, 70, 8, 64},    {33, 2, 4, 2},      {48, 32, 4, 32},
      {97, 94, 4, 64},    {20, 130, 4, 128},  {50, 2050, 8, 2050},
      {50, 2050, 4, 128}, {17, 1100, 4, 1024}};
  for (CpuTarget target : getHostLevels())
    for (bool gated : {false, true})
      for (const Shape &shape : shapes) {
        GemmCase c{shape.n, shape.k};
        c.bits = shape.bits;
        c.group = shape.group;
        c.gated = gated;
        c.residual = !gated;
        GemmFixture gemm, wide;
        ASSERT_TRUE(gemm.build(c, target.level));
        c.bits = c.group = 0;
        ASSERT_TRUE(wide.build(c, target.level, &gemm));
        for (int64_t m : {0, 1, 3, 6, 13, 131}) {
          gemm.check(m);
          if (shape.group == shape.k)
            continue;
          Random random(m + 5);
          std::vector<float> x = random.floats(m * c.k, 1),
                             residual = random.floats(m * c.n, 1);
          EXPECT_TRUE(sameBits(gemm.run(x, residual, m, 2),
                               wide.run(x, residual, m, 1)))
              << "n " << c.n << " k " << c.k << " m " << m;
        }
      }
}

/// Rows of 8 bits times codes: the bound of the rounded operands, and the same
/// bits on all levels.
TEST(Gemm, Int8Rows) {
  struct Shape {
    int64_t n, k, bits, group;
  };
  const Shape shapes[] = {
      {1, 1, 8, 1},     {47, 7, 8, 7},       {48, 64, 8, 64},
      {49, 97, 8, 97},  {16, 31, 8, 31},     {100, 70, 8, 32},
      {33, 2, 4, 2},    {50, 94, 4, 94},     {48, 64, 4, 32},
      {97, 130, 4, 64}, {20, 2050, 8, 2050}, {17, 1100, 4, 128}};
  for (const Shape &shape : shapes)
    for (bool gated : {false, true}) {
      std::vector<float> first;
      for (CpuTarget target : getHostLevels(/*forBytes=*/true)) {
        GemmCase c{shape.n, shape.k};
        c.bits = shape.bits;
        c.group = shape.group;
        c.gated = gated;
        c.residual = !gated;
        c.int8Rows = true;
        if (gated)
          c.activation = Activation::Relu;
        GemmFixture gemm;
        ASSERT_TRUE(gemm.build(c, target.level));
        for (int64_t m : {0, 1, 3, 13, 131})
          gemm.check(m);
        Random random(11);
        std::vector<float> x = random.floats(13 * c.k, 1),
                           residual = random.floats(13 * c.n, 1),
                           y = gemm.run(x, residual, 13, 1);
        if (first.empty())
          first = y;
        EXPECT_TRUE(sameBits(first, y))
            << target.getName().str() << " n " << c.n << " k " << c.k;
      }
    }
}

/// Sums of products of codes are those of int64, at the ends of the ranges,
/// where instructions that saturate would show.
TEST(Gemm, IntegerSums) {
  struct Shape {
    int64_t n, k, bits, group;
  };
  const Shape shapes[] = {{1, 1, 8, 1},     {16, 4, 8, 4},    {17, 5, 8, 5},
                          {48, 63, 8, 63},  {49, 61, 8, 61},  {95, 97, 8, 32},
                          {48, 8, 4, 8},    {47, 62, 4, 62},  {97, 98, 4, 32},
                          {31, 200, 4, 64}, {50, 998, 8, 998}};
  for (CpuTarget target : getHostLevels(/*forBytes=*/true))
    for (const Shape &shape : shapes) {
      GemmCase c{shape.n, shape.k};
      c.bits = shape.bits;
      c.group = shape.group;
      c.bias = false;
      c.int8Rows = true;
      GemmFixture gemm;
      gemm.unitScales = true;
      ASSERT_TRUE(gemm.build(c, target.level));
      for (int64_t m : {1, 2, 7, 8, 9, 12, 13, 49}) {
        QuantizedRows rows(gemm.key.getQuantize(), m);
        Random random(m);
        for (int64_t i = 0; i < m; ++i) {
          std::vector<int8_t> codes(c.k);
          for (int8_t &code : codes) {
            double value = 2 * random.next();
            code = static_cast<int8_t>(
                std::lround(127 * std::clamp(value, -1.0, 1.0)));
          }
          if (i < 2)
            std::fill(codes.begin(), codes.end(), i ? 127 : -127);
          rows.setRow(i, codes, 1.0f);
        }
        std::vector<float> none, y = gemm.run(rows, none, m, 1);
        int64_t wrong = 0;
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < c.n; ++j) {
            int64_t sum = 0;
            for (int64_t k = 0; k < c.k; ++k)
              sum += int64_t(rows.getCode(i, k)) *
                     int64_t(gemm.weights[0][j * c.k + k]);
            ASSERT_LT(std::abs(sum), 1 << 24);
            wrong += y[i * c.n + j] != static_cast<float>(sum);
          }
        EXPECT_EQ(wrong, 0) << target.getName().str() << " n " << c.n << " k "
                            << c.k << " bits " << c.bits << " m " << m;
      }
    }
}

TEST(Gemm, DepthBlocks) {
  for (CpuTarget target : getHostLevels())
    for (bool gated : {false, true}) {
      GemmFixture gemm;
      GemmCase c{50, 2050};
      c.gated = gated;
      ASSERT_TRUE(gemm.build(c, target.level));
      for (int64_t m : {1, 8, 19, 130})
        gemm.check(m);
    }
}

/// NaN and infinity of x reach their own row and no other.
TEST(Gemm, SpecialValues) {
  for (CpuTarget target : getHostLevels()) {
    GemmFixture gemm;
    GemmCase c{20, 9};
    c.activation = Activation::Relu;
    ASSERT_TRUE(gemm.build(c, target.level));
    Random random(3);
    std::vector<float> x = random.floats(13 * 9, 1), none;
    std::vector<float> clean = gemm.run(x, none, 13, 1);
    x[4 * 9 + 2] = NAN;
    std::vector<float> y = gemm.run(x, none, 13, 1);
    for (int64_t i = 0; i < 13; ++i)
      for (int64_t j = 0; j < 20; ++j)
        if (i == 4)
          EXPECT_TRUE(std::isnan(y[i * 20 + j]));
        else
          EXPECT_EQ(y[i * 20 + j], clean[i * 20 + j]);
  }
}

/// All levels and both kinds of source give the same panels as a direct loop.
TEST(Packing, PanelsFromBothOrders) {
  MLIRContext &ctx = getContext();
  Builder b(&ctx);
  Random random(5);
  const int64_t n = 37, k = 70;
  std::vector<float> w = random.floats(n * k, 1), t(n * k), bias(n, 2.0f);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < k; ++j)
      t[j * n + i] = w[i * k + j];
  auto layout =
      PanelsAttr::get(&ctx, n, k, 8, 2, b.getF32Type(), /*gated=*/false,
                      /*group=*/0, /*quads=*/false);
  // An odd address: weights in files have any alignment.
  std::vector<char> shifted(n * k * 4 + 1);
  std::memcpy(shifted.data() + 1, w.data(), n * k * 4);
  MatrixView rowMajor{shifted.data() + 1, b.getF32Type(), n, k, k * 4, 4};
  MatrixView columnMajor{
      reinterpret_cast<char *>(t.data()), b.getF32Type(), n, k, 4, n * 4};
  MatrixView biasView{
      reinterpret_cast<char *>(bias.data()), b.getF32Type(), n, 1, 4, 4};
  std::vector<char> one(layout.getTotalBytes()), two(one.size());
  packPanels(layout, rowMajor, biasView, 0, layout.getNumPanels(), one);
  packPanels(layout, columnMajor, biasView, 0, layout.getNumPanels(), two);
  EXPECT_EQ(one, two);
  int64_t wrong = 0;
  for (int64_t panel = 0; panel < layout.getNumPanels(); ++panel)
    for (int64_t row = -1; row < k; ++row)
      for (int64_t column = 0; column < 16; ++column) {
        float value;
        std::memcpy(&value,
                    one.data() + panel * layout.getPanelBytes() +
                        ((row + 1) * 16 + column) * 4,
                    4);
        int64_t j = panel * 16 + column;
        wrong += value != (j >= n ? 0 : row < 0 ? 2.0f : w[j * k + row]);
      }
  EXPECT_EQ(wrong, 0);
  // A part is the part of the whole.
  std::vector<char> part(layout.getPanelBytes());
  packPanels(layout, rowMajor, biasView, 1, 2, part);
  EXPECT_EQ(0, std::memcmp(part.data(), one.data() + layout.getPanelBytes(),
                           part.size()));
}
