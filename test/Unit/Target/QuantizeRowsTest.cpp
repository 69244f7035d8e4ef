//===- QuantizeRowsTest.cpp - Rows rounded to 8 bits ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "KernelJit.h"
#include "TestData.h"
#include "gtest/gtest.h"
#include <limits>

using namespace mlir;
using namespace mlir::ffn::cpu;
using namespace ffn_test;

namespace {
constexpr int32_t kUntouched = 0x5a5a5a5a;

/// Rows of the kernel, whose tasks run in `threads` shares.
std::vector<int32_t> run(KernelJit &jit, QuantizeAttr key,
                         std::vector<float> &x, int64_t rows, int64_t stride,
                         int64_t threads) {
  std::vector<int32_t> q(rows * key.getWords() + 16, kUntouched);
  Buffer in(x.data(), {rows, key.getWidth()}, {stride, 1});
  Buffer out(q.data(), {rows, key.getWords()});
  std::vector<Buffer *> buffers{&in, &out};
  int64_t tasks = jit.countTasks(buffers);
  for (int64_t i = threads; i-- > 0;)
    jit.run(buffers, tasks * i / threads, tasks * (i + 1) / threads);
  for (size_t i = rows * key.getWords(); i < q.size(); ++i)
    EXPECT_EQ(q[i], kUntouched) << "wrote beyond the end";
  q.resize(rows * key.getWords());
  return q;
}

/// What a product reads of a row: words of codes, scale and sums.
void expectEqualRows(QuantizeAttr key, const std::vector<int32_t> &got,
                     const std::vector<int32_t> &want) {
  int64_t used = key.getSumWord() + key.getNumGroups(), wrong = 0;
  for (size_t i = 0; i < want.size(); ++i)
    wrong += int64_t(i % key.getWords()) < used && got[i] != want[i];
  EXPECT_EQ(wrong, 0) << "width " << key.getWidth() << " group "
                      << key.getGroup();
}
} // namespace

TEST(QuantizeRows, Codes) {
  const std::pair<int64_t, int64_t> shapes[] = {
      {1, 1},    {7, 7},    {16, 16},   {17, 17},  {64, 16},
      {100, 32}, {130, 64}, {130, 130}, {96, 128}, {768, 768}};
  for (CpuTarget target : getHostLevels())
    for (auto [width, group] : shapes) {
      auto key = QuantizeAttr::get(&getContext(), target.level, width, group);
      KernelJit jit;
      ASSERT_TRUE(jit.compileKernel(getContext(), key));
      for (int64_t rows : {0, 1, 4, 5, 11}) {
        int64_t stride = width + 3;
        std::vector<float> x = Random(rows + width).floats(rows * stride, 3.0);
        if (rows > 4) {
          std::fill_n(&x[stride], width, 0.0f);
          // Denormal, and with ties: 63.5 and 64.5 steps of the scale.
          for (int64_t k = 0; k < width; ++k) {
            x[2 * stride + k] *= 1e-39f;
            x[3 * stride + k] = k ? (k % 2 ? 63.5f : 64.5f) : -127.0f;
          }
        }
        QuantizedRows want(key, x.data(), rows, stride);
        for (int64_t threads : {1, 2, 3, 7})
          expectEqualRows(key, run(jit, key, x, rows, stride, threads),
                          want.words);
      }
    }
}

/// A row with a value that is not finite spoils its own scale and no other.
TEST(QuantizeRows, SpecialValues) {
  for (CpuTarget target : getHostLevels())
    for (float special : {std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
      auto key = QuantizeAttr::get(&getContext(), target.level, 40, 16);
      KernelJit jit;
      ASSERT_TRUE(jit.compileKernel(getContext(), key));
      std::vector<float> x = Random(1).floats(3 * 40, 1);
      std::vector<int32_t> clean = run(jit, key, x, 3, 40, 1);
      x[40 + 33] = special;
      std::vector<int32_t> q = run(jit, key, x, 3, 40, 1);
      float scale;
      std::memcpy(&scale, &q[key.getWords() + key.getScaleWord()], 4);
      EXPECT_FALSE(std::isfinite(scale));
      for (int64_t row : {0, 2})
        expectEqualRows(key,
                        {q.begin() + row * key.getWords(),
                         q.begin() + (row + 1) * key.getWords()},
                        {clean.begin() + row * key.getWords(),
                         clean.begin() + (row + 1) * key.getWords()});
    }
}
