//===- RowsTest.cpp - Norm, softmax and functions against float64 ---------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "KernelJit.h"
#include "TestData.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "gtest/gtest.h"
#include <functional>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;
using namespace ffn_test;

namespace {
const double u = 0x1p-24;

/// Runs a kernel of rows with several shares of threads, checks that they
/// agree and that nothing else is written.
std::vector<float> runRows(KernelJit &jit, const std::vector<float> &x,
                           std::vector<std::vector<float>> vectors, int64_t m,
                           int64_t width) {
  std::vector<float> first;
  for (int64_t threads : {1, 2, 5}) {
    int64_t stride = width + 5;
    std::vector<float> in(m * stride + 1, NAN), y(m * stride + 16, 777.0f);
    for (int64_t i = 0; i < m; ++i)
      std::copy_n(&x[i * width], width, &in[i * stride + 1]);
    Buffer xBuffer(in.data(), {m, width}, {stride, 1}, 1);
    Buffer yBuffer(y.data(), {m, width}, {stride, 1});
    std::vector<Buffer> extra;
    for (auto &vector : vectors)
      extra.emplace_back(vector.data(), std::vector<int64_t>{width});
    std::vector<Buffer *> buffers{&xBuffer};
    for (Buffer &buffer : extra)
      buffers.push_back(&buffer);
    buffers.push_back(&yBuffer);
    int64_t tasks = jit.countTasks(buffers);
    for (int64_t i = threads; i-- > 0;)
      jit.run(buffers, tasks * i / threads, tasks * (i + 1) / threads);
    std::vector<float> result(m * width);
    for (int64_t i = 0; i < m; ++i) {
      std::copy_n(&y[i * stride], width, &result[i * width]);
      for (int64_t j = width; j < stride; ++j)
        EXPECT_EQ(y[i * stride + j], 777.0f) << "wrote beyond row " << i;
    }
    if (threads == 1)
      first = result;
    EXPECT_TRUE(sameBits(first, result)) << threads << " threads";
  }
  return first;
}
} // namespace

TEST(Norm, AllForms) {
  MLIRContext &ctx = getContext();
  Builder b(&ctx);
  for (int64_t width : {1, 3, 16, 31, 64, 100}) {
    for (int form = 0; form < 6; ++form) {
      bool layer = form & 1, scaled = form >= 2, biased = form >= 4,
           outer = form == 0 || form == 3;
      Random random(width * 10 + form);
      const double eps = 1e-3;
      std::vector<std::vector<float>> vectors;
      if (scaled)
        vectors.push_back(random.floats(width, 1));
      if (biased)
        vectors.push_back(random.floats(width, 1));
      std::vector<std::vector<float>> results;
      const int64_t m = 9;
      std::vector<float> x = random.floats(m * width, 3);
      for (CpuTarget target : getHostLevels()) {
        KernelJit jit;
        ASSERT_TRUE(jit.compileKernel(
            ctx, NormAttr::get(&ctx, target.level,
                               layer ? NormKind::Layer : NormKind::Rms, width,
                               b.getF64FloatAttr(eps), outer, scaled, biased)));
        results.push_back(runRows(jit, x, vectors, m, width));
        EXPECT_TRUE(runRows(jit, {}, vectors, 0, width).empty());
      }
      for (const auto &y : results) {
        EXPECT_TRUE(sameBits(y, results[0])) << "levels disagree";
        for (int64_t i = 0; i < m; ++i) {
          double mean = 0, square = 0, largest = 0;
          for (int64_t j = 0; layer && j < width; ++j)
            mean += x[i * width + j] / double(width);
          for (int64_t j = 0; j < width; ++j) {
            double d = x[i * width + j] - mean;
            square += d * d / width;
            largest = std::max(largest, std::fabs(double(x[i * width + j])));
          }
          double root =
              outer ? std::sqrt(square) + eps : std::sqrt(square + eps);
          for (int64_t j = 0; j < width; ++j) {
            double value = (x[i * width + j] - mean) / root;
            double factor = scaled ? vectors[0][j] : 1;
            double shift = biased ? vectors[1][j] : 0;
            // The mean is off by up to n u max|x|, the root by half of that
            // of the sum.
            double bound =
                ((width + 8) * u * (largest / root + std::fabs(value))) *
                    std::fabs(factor) +
                2 * u * std::fabs(shift) + 1e-7;
            value = value * factor + shift;
            EXPECT_NEAR(y[i * width + j], value, bound)
                << "width " << width << " form " << form;
          }
        }
      }
    }
  }
}

TEST(Softmax, Rows) {
  MLIRContext &ctx = getContext();
  std::vector<std::vector<float>> all;
  for (CpuTarget target : getHostLevels()) {
    KernelJit jit;
    ASSERT_TRUE(jit.compileKernel(ctx, SoftmaxAttr::get(&ctx, target.level)));
    std::vector<float> outputs;
    for (int64_t width : {1, 2, 15, 16, 17, 33, 200}) {
      Random random(width);
      const int64_t m = 6;
      std::vector<float> x = random.floats(m * width, 20);
      // A row with a hidden entry, and one that would overflow.
      x[width] = -INFINITY;
      for (int64_t j = 0; j < width; ++j)
        x[2 * width + j] += 1e4f;
      if (width == 1)
        x[width] = 0;
      std::vector<float> y = runRows(jit, x, {}, m, width);
      outputs.insert(outputs.end(), y.begin(), y.end());
      for (int64_t i = 0; i < m; ++i) {
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < width; ++j)
          top = std::max(top, double(x[i * width + j]));
        for (int64_t j = 0; j < width; ++j)
          sum += std::exp(x[i * width + j] - top);
        for (int64_t j = 0; j < width; ++j) {
          double value = std::exp(x[i * width + j] - top) / sum;
          // The difference is exact to an ulp of itself.
          double bound = value * u * (width + 8 + 2 * 40) + 1e-44;
          EXPECT_NEAR(y[i * width + j], value, bound) << "width " << width;
        }
      }
    }
    all.push_back(outputs);
  }
  for (const auto &outputs : all)
    EXPECT_TRUE(sameBits(outputs, all[0]));
}

namespace {
/// y[i] = f(x[i]) as a function of the module, in vectors of 16 or scalars.
bool compileMap(KernelJit &jit, CpuTarget target, bool vector,
                std::function<Value(OpBuilder &, Location, Value)> f) {
  MLIRContext &ctx = getContext();
  Location loc = UnknownLoc::get(&ctx);
  OwningOpRef<ModuleOp> module = ModuleOp::create(loc);
  ImplicitLocOpBuilder b(loc, OpBuilder::atBlockEnd(module->getBody()));
  auto type = MemRefType::get({ShapedType::kDynamic}, b.getF32Type());
  auto func =
      func::FuncOp::create(b, "map", b.getFunctionType({type, type}, {}));
  func->setAttr(LLVM::LLVMDialect::getEmitCWrapperAttrName(), b.getUnitAttr());
  b.setInsertionPointToStart(func.addEntryBlock());
  Value x = func.getArgument(0), y = func.getArgument(1);
  Value zero = arith::ConstantIndexOp::create(b, 0);
  Value step = arith::ConstantIndexOp::create(b, vector ? 16 : 1);
  auto loop = scf::ForOp::create(b, zero, memref::DimOp::create(b, x, 0), step);
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    SmallVector<Value> at{loop.getInductionVar()};
    if (vector) {
      Value v = vector::LoadOp::create(b, VectorType::get({16}, b.getF32Type()),
                                       x, at);
      vector::StoreOp::create(b, f(b, loc, v), y, at);
    } else {
      Value v = memref::LoadOp::create(b, x, at);
      memref::StoreOp::create(b, f(b, loc, v), y, at);
    }
  }
  func::ReturnOp::create(b);
  return jit.compile(*module, target);
}

std::vector<float> runMap(KernelJit &jit, std::vector<float> x) {
  std::vector<float> y(x.size());
  Buffer xBuffer(x.data(), {int64_t(x.size())});
  Buffer yBuffer(y.data(), {int64_t(y.size())});
  jit.call({&xBuffer, &yBuffer}, "map");
  return y;
}

/// Distance in units of the last place of the exact value.
double ulps(float got, double exact) {
  if (std::isnan(exact) || std::isnan(got))
    return std::isnan(exact) && std::isnan(got) ? 0 : INFINITY;
  float nearest = static_cast<float>(exact);
  if (std::isinf(nearest) || std::isinf(got))
    return nearest == got ? 0 : INFINITY;
  double unit =
      std::max(std::ldexp(1.0, std::ilogb(nearest == 0 ? 1e-45 : nearest) - 23),
               0x1p-149);
  return std::fabs(got - exact) / unit;
}
} // namespace

/// All exponents with their edges, and a stratified sample of fractions:
/// 2^22 inputs for each function.
TEST(Math, UlpBounds) {
  std::vector<float> x;
  for (uint64_t bits = 0; bits < (uint64_t(1) << 32); bits += 1021) {
    uint32_t word = static_cast<uint32_t>(bits);
    float value;
    std::memcpy(&value, &word, 4);
    x.push_back(value);
  }
  for (uint32_t exponent = 0; exponent < 256; ++exponent)
    for (uint32_t fraction : {0u, 1u, 0x7fffffu})
      for (uint32_t sign : {0u, 1u}) {
        uint32_t word = sign << 31 | exponent << 23 | fraction;
        float value;
        std::memcpy(&value, &word, 4);
        x.push_back(value);
      }
  for (float value : {88.72283f, 88.72284f, -87.33655f, -103.97208f, -103.98f,
                      0.927734375f, 0.625f, -0.625f, 1.25f, -1.3120f})
    x.push_back(value);
  x.resize((x.size() + 15) / 16 * 16);

  struct Function {
    const char *name;
    std::function<Value(OpBuilder &, Location, Value)> build;
    double (*exact)(double);
    double bound;
    /// Where exp is denormal, as a part of a product that is not.
    double absolute = 0;
  };
  auto activation = [](Activation kind) {
    return [kind](OpBuilder &b, Location loc, Value x) {
      return buildActivation(b, loc, kind, x);
    };
  };
  const Function functions[] = {
      {"exp", buildExp, [](double v) { return std::exp(v); }, 1.5},
      {"erf", buildErf, [](double v) { return std::erf(v); }, 2},
      {"tanh", buildTanh, [](double v) { return std::tanh(v); }, 2},
      {"sigmoid", activation(Activation::Sigmoid),
       [](double v) { return activate(Activation::Sigmoid, v); }, 3},
      {"silu", activation(Activation::Silu),
       [](double v) { return activate(Activation::Silu, v); }, 3, 0x1p-141},
  };
  for (CpuTarget target : getHostLevels())
    for (const Function &function : functions) {
      KernelJit jit;
      ASSERT_TRUE(compileMap(jit, target, true, function.build));
      std::vector<float> y = runMap(jit, x);
      double worst = 0;
      float where = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        double exact = function.exact(x[i]), distance = ulps(y[i], exact);
        if (std::fabs(y[i] - exact) <= function.absolute)
          continue;
        if (!(distance <= worst)) {
          worst = distance;
          where = x[i];
        }
      }
      RecordProperty(function.name, std::to_string(worst));
      EXPECT_LE(worst, function.bound) << function.name << " at " << where
                                       << " on " << target.getName().str();
      // A scalar gives the same bits.
      KernelJit scalar;
      ASSERT_TRUE(compileMap(scalar, target, false, function.build));
      std::vector<float> few(x.end() - 4096, x.end());
      std::vector<float> a = runMap(scalar, few);
      std::vector<float> tail(y.end() - 4096, y.end());
      for (size_t i = 0; i < few.size(); ++i)
        EXPECT_TRUE(std::memcmp(&a[i], &tail[i], 4) == 0 ||
                    (std::isnan(a[i]) && std::isnan(tail[i])))
            << function.name << " of " << few[i];
    }
}
