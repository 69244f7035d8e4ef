//===- ProductTest.cpp - Products of computed matrices --------------------===//
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
/// A tensor whose dimensions are the loops named, with a gap after each row of
/// its last dimension.
struct Operand {
  std::vector<int64_t> loops, sizes, strides;
  std::vector<float> data;

  Operand(std::vector<int64_t> loopsOf, const std::vector<int64_t> &extents,
          Random &random)
      : loops(std::move(loopsOf)) {
    for (int64_t loop : loops)
      sizes.push_back(loop < 0 ? 1 : extents[loop]);
    strides.assign(loops.size(), 1);
    int64_t step = 1;
    for (size_t i = loops.size(); i-- > 0;) {
      strides[i] = step;
      step *= sizes[i] + (i + 1 == loops.size() ? 3 : 0);
    }
    data = random.floats(step + 16, 1);
  }
  int64_t offset(const std::vector<int64_t> &at) const {
    int64_t result = 0;
    for (size_t i = 0; i < loops.size(); ++i)
      if (loops[i] >= 0)
        result += at[loops[i]] * strides[i];
    return result;
  }
  Buffer buffer() { return Buffer(data.data(), sizes, strides); }
};

struct Form {
  const char *name;
  std::vector<int64_t> a, b;
  int64_t rank;
};

/// `extents` are those of y's dimensions and the sum. The kernel promises one
/// chain of fused multiply-adds, so the bits are known.
void check(KernelJit &jit, const Form &form,
           const std::vector<int64_t> &extents) {
  Random random(form.rank + extents.back());
  Operand a(form.a, extents, random), b(form.b, extents, random);
  std::vector<int64_t> loops(form.rank);
  for (int64_t i = 0; i < form.rank; ++i)
    loops[i] = i;
  for (int64_t threads : {1, 3}) {
    Operand y(loops, extents, random);
    std::fill(y.data.begin(), y.data.end(), 321.0f);
    Buffer ab = a.buffer(), bb = b.buffer(), yb = y.buffer();
    std::vector<Buffer *> buffers{&ab, &bb, &yb};
    int64_t tasks = jit.countTasks(buffers);
    for (int64_t i = threads; i-- > 0;)
      jit.run(buffers, tasks * i / threads, tasks * (i + 1) / threads);
    int64_t count = 1, wrong = 0, written = 0;
    for (int64_t i = 0; i < form.rank; ++i)
      count *= extents[i];
    for (int64_t flat = 0; flat < count; ++flat) {
      std::vector<int64_t> at(form.rank + 1);
      int64_t rest = flat;
      for (int64_t i = form.rank; i-- > 0; rest /= extents[i])
        at[i] = rest % extents[i];
      float sum = 0;
      for (int64_t &k = at.back(); k < extents.back(); ++k)
        sum = std::fma(a.data[a.offset(at)], b.data[b.offset(at)], sum);
      wrong += std::memcmp(&sum, &y.data[y.offset(at)], 4) != 0;
      y.data[y.offset(at)] = 321.0f;
    }
    for (float value : y.data)
      written += value != 321.0f;
    EXPECT_EQ(wrong, 0) << form.name << " " << testing::PrintToString(extents);
    EXPECT_EQ(written, 0) << form.name << ": wrote beside y";
  }
}

const Form kForms[] = {
    {"plain", {0, 2}, {2, 1}, 2},
    {"transposed b", {0, 2}, {1, 2}, 2},
    {"transposed a", {2, 0}, {2, 1}, 2},
    {"both", {2, 0}, {1, 2}, 2},
};
} // namespace

TEST(Product, Boundaries) {
  MLIRContext &ctx = getContext();
  Builder b(&ctx);
  for (CpuTarget target : getHostLevels())
    for (const Form &form : kForms) {
      KernelJit jit;
      ASSERT_TRUE(jit.compileKernel(
          ctx, ProductAttr::get(&ctx, target.level, form.rank,
                                b.getDenseI64ArrayAttr(form.a),
                                b.getDenseI64ArrayAttr(form.b))));
      // Around the tile, the block of rows, the registers and panels, the
      // block of depth; empty; primes.
      for (int64_t m : {0, 1, 5, 6, 7, 8, 9, 95, 97, 193})
        for (int64_t n : {0, 1, 7, 8, 9, 15, 17, 31, 47, 48, 49, 64, 101})
          for (int64_t k : {0, 1, 3, 16, 17, 127, 128, 129})
            if (m * n * k < 300000 || k == 129)
              check(jit, form, {m, n, k});
      check(jit, form, {13, 53, 521});
    }
}

TEST(Product, BatchesAndBroadcasts) {
  MLIRContext &ctx = getContext();
  Builder b(&ctx);
  const Form forms[] = {
      {"batch", {0, 1, 3}, {0, 3, 2}, 3},
      {"one b for all", {0, 1, 3}, {3, 2}, 3},
      {"one a for all", {1, 3}, {0, 2, 3}, 3},
      {"dimensions of 1", {0, -1, 2, 4}, {-1, 1, 4, 3}, 4},
      {"heads inside", {0, 2, 1, 4}, {0, 3, 1, 4}, 4},
      {"two loops of rows", {0, 1, 3}, {2, 3}, 3},
      {"deep", {0, 1, 2, 3, 5}, {2, 0, 1, 5, 4}, 5},
  };
  for (CpuTarget target : getHostLevels())
    for (const Form &form : forms) {
      KernelJit jit;
      ASSERT_TRUE(jit.compileKernel(
          ctx, ProductAttr::get(&ctx, target.level, form.rank,
                                b.getDenseI64ArrayAttr(form.a),
                                b.getDenseI64ArrayAttr(form.b))));
      for (int64_t batch : {0, 1, 3})
        for (int64_t size : {1, 7, 17})
          for (int64_t depth : {1, 33}) {
            std::vector<int64_t> extents(form.rank, batch);
            extents[form.rank - 2] = size;
            extents[form.rank - 1] = size + 2;
            extents.push_back(depth);
            check(jit, form, extents);
          }
    }
}
