//===- StagedModelTest.cpp - Leaving out is removing ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/StagedModel.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/InitAll.h"
#include "ffn-mlir/Pipelines/Compile.h"
#include "ffn-mlir/Search/LayerSearch.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "gtest/gtest.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

namespace {
class StagedModelTest : public testing::TestWithParam<const char *> {
protected:
  void SetUp() override {
    if (StringRef(GetParam()) == "avx512" && !__builtin_cpu_supports("avx512f"))
      GTEST_SKIP() << "this machine has no AVX-512";
    DialectRegistry registry;
    registerAllDialects(registry);
    context.appendDialectRegistry(registry);
    module = importONNX(FFN_SOURCE_DIR "/examples/pycode-lm/pycode-lm.onnx",
                        &context, {});
    ASSERT_TRUE(module);
    ASSERT_TRUE(succeeded(apply(*module, createFFNRaise())));
    ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("staged", folder));
  }
  void TearDown() override {
    if (!folder.empty())
      llvm::sys::fs::remove_directories(folder);
  }

  LogicalResult apply(ModuleOp module, std::unique_ptr<Pass> pass) {
    ScopedDiagnosticHandler quiet(&context,
                                  [](Diagnostic &) { return success(); });
    PassManager manager(&context);
    manager.addPass(std::move(pass));
    return manager.run(module);
  }

  std::vector<HostTensor> sample() {
    std::vector<HostTensor> tensors(1);
    EXPECT_FALSE(bool(
        tensors[0].reset(getModelSignature(*module).inputs[0].dtype, {2, 37})));
    tensors[0].fillRandom(7, 256);
    return tensors;
  }

  /// Logits of the compiled model without the named sublayers.
  std::vector<char> runRemoved(ArrayRef<std::string> names,
                               std::vector<HostTensor> tensors) {
    OwningOpRef<ModuleOp> copy = module->clone();
    FFNPruneSublayersOptions options;
    options.only.assign(names.begin(), names.end());
    EXPECT_TRUE(succeeded(apply(*copy, createFFNPruneSublayers(options))));
    llvm::SmallString<128> path = folder;
    llvm::sys::path::append(path, "removed.so");
    CompileOptions compiling;
    compiling.cpu = GetParam();
    EXPECT_TRUE(succeeded(compileModule(*copy, compiling, path)));
    auto artefact = Artefact::load(path, 2);
    EXPECT_TRUE(bool(artefact));
    std::vector<HostTensor> results;
    EXPECT_FALSE(bool((*artefact)->run(tensors, results)));
    return {results[0].data(), results[0].data() + results[0].getNumBytes()};
  }

  static std::vector<char> bytes(const HostTensor *tensor) {
    return {tensor->data(), tensor->data() + tensor->getNumBytes()};
  }

  MLIRContext context;
  OwningOpRef<ModuleOp> module;
  llvm::SmallString<128> folder;
};
} // namespace

TEST_P(StagedModelTest, MaskedEqualsDeletedAndRestartEqualsFullRun) {
  StagedModelOptions options;
  options.cpu = GetParam();
  options.workers = 1;
  std::unique_ptr<StagedModel> model = StagedModel::compile(*module, options);
  ASSERT_TRUE(model);
  auto sublayers = model->getSublayers();
  ASSERT_EQ(sublayers.size(), 16u);
  EXPECT_EQ(sublayers[5].block, 2u);
  llvm::BitVector none(16);
  StagedModel::State plain = model->begin(sample());
  ASSERT_FALSE(bool(model->run(plain, none, 0, 0)));
  EXPECT_EQ(bytes(model->getResult(plain, 0)), runRemoved({}, sample()));
  const std::vector<std::vector<unsigned>> cases = {{0}, {15}, {3, 4, 10}};
  for (const std::vector<unsigned> &removed : cases) {
    llvm::BitVector mask(16);
    std::vector<std::string> names;
    for (unsigned i : removed) {
      mask.set(i);
      names.insert(names.end(), sublayers[i].names.begin(),
                   sublayers[i].names.end());
    }
    StagedModel::State full = model->begin(sample());
    ASSERT_FALSE(bool(model->run(full, mask, 0, 0)));
    StagedModel::State restarted = plain;
    unsigned first = sublayers[mask.find_first()].stage;
    ASSERT_FALSE(bool(model->run(restarted, mask, first, 0)));
    std::vector<char> masked = bytes(model->getResult(full, 0));
    EXPECT_EQ(masked, bytes(model->getResult(restarted, 0)));
    EXPECT_EQ(masked, runRemoved(names, sample()));
    EXPECT_NE(masked, bytes(model->getResult(plain, 0)));
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, StagedModelTest,
                         testing::Values("avx2", "avx512"));

static HostTensor makeLogits(ArrayRef<float> values) {
  HostTensor tensor;
  EXPECT_FALSE(bool(tensor.reset({2, 32, 1}, {1, 2, 3})));
  llvm::copy(values, tensor.as<float>().begin());
  return tensor;
}

TEST(LogitMetric, KnownValues) {
  // Rows (0, 0, -inf) against (0, -inf, -inf): p = (1/2, 1/2, 0), q = (1, 0,
  // 0), so M = (3/4, 1/4, 0); the other row is equal.
  float minus = -INFINITY;
  HostTensor p = makeLogits({0, 0, minus, 1, 2, 3}),
             q = makeLogits({0, minus, minus, 1, 2, 3});
  double klP = 0.5 * std::log(0.5 / 0.75) + 0.5 * std::log(0.5 / 0.25);
  double klQ = std::log(1 / 0.75);
  EXPECT_NEAR(measureLogits(LogitMetric::JS, p, q).mean(), (klP + klQ) / 4,
              1e-12);
  EXPECT_NEAR(measureLogits(LogitMetric::KL, q, p).mean(), std::log(2.0) / 2,
              1e-12);
  HostTensor a = makeLogits({1, 0, 0, 1, 2, 3}),
             b = makeLogits({0, 2, 0, 1, 2, 3});
  EXPECT_NEAR(measureLogits(LogitMetric::Angular, a, b).mean(),
              std::acos(0.0) / 2, 1e-7);
  EXPECT_NEAR(measureLogits(LogitMetric::Norm, a, b).mean(), std::sqrt(5.0),
              1e-12);
  for (LogitMetric metric : {LogitMetric::JS, LogitMetric::JSReverse,
                             LogitMetric::Norm, LogitMetric::KL})
    EXPECT_NEAR(measureLogits(metric, a, a).mean(), 0, 1e-15);
  // The reverse form is symmetric and averaged over all six elements.
  double reverse = 0, pa[3], pb[3], za = std::exp(1.0) + 2,
         zb = std::exp(2.0) + 2;
  for (int i = 0; i < 3; ++i) {
    pa[i] = std::exp(i == 0 ? 1.0 : 0.0) / za;
    pb[i] = std::exp(i == 1 ? 2.0 : 0.0) / zb;
    double m = (pa[i] + pb[i]) / 2;
    reverse += m * (std::log(m / pa[i]) + std::log(m / pb[i])) / 2;
  }
  EXPECT_NEAR(measureLogits(LogitMetric::JSReverse, a, b).mean(), reverse / 6,
              1e-12);
}
