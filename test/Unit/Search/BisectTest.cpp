//===- BisectTest.cpp - A fault in every sublayer is found ----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/Bisect.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/InitAll.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/MathExtras.h"
#include "gtest/gtest.h"

using namespace mlir;
using namespace mlir::ffn;

/// One more argument "faults", one float for each sublayer, by which the first
/// addend is multiplied: a 1 leaves it as it is, to the bit.
static void plantFaults(ModuleOp module) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  OpBuilder builder(module.getContext());
  SmallVector<SublayerOp> sublayers(
      main.getBody().front().getOps<SublayerOp>());
  auto type = RankedTensorType::get({static_cast<int64_t>(sublayers.size())},
                                    builder.getF32Type());
  NamedAttribute name =
      builder.getNamedAttr("onnx.name", builder.getStringAttr("faults"));
  ASSERT_TRUE(succeeded(main.insertArgument(main.getNumArguments(), type,
                                            builder.getDictionaryAttr(name),
                                            module.getLoc())));
  Value faults = main.getArguments().back();
  for (auto [i, sublayer] : llvm::enumerate(sublayers)) {
    Operation *yield = sublayer.getBody().front().getTerminator();
    builder.setInsertionPoint(yield);
    Location loc = sublayer.getLoc();
    auto indexType = RankedTensorType::get({}, builder.getI64Type());
    Value index =
        WeightOp::create(builder, loc, indexType,
                         llvm::cast<TypedAttr>(llvm::cast<Attribute>(
                             DenseElementsAttr::get(indexType, int64_t(i)))));
    Value factor =
        onnx::NodeOp::create(
            builder, loc, "", "Gather", 13,
            TypeRange{RankedTensorType::get({}, builder.getF32Type())},
            ValueRange{faults, index}, ArrayRef<NamedAttribute>(), 0,
            onnx::NameHints())
            ->getResult(0);
    Value addend = yield->getOperand(0);
    yield->setOperand(0, onnx::NodeOp::create(builder, loc, "", "Mul", 14,
                                              TypeRange{addend.getType()},
                                              ValueRange{addend, factor},
                                              ArrayRef<NamedAttribute>(), 0,
                                              onnx::NameHints())
                             ->getResult(0));
  }
}

namespace {
class BisectTest : public testing::Test {
protected:
  void SetUp() override {
    DialectRegistry registry;
    registerAllDialects(registry);
    context.appendDialectRegistry(registry);
    module = importONNX(FFN_SOURCE_DIR "/examples/pycode-lm/pycode-lm.onnx",
                        &context, {});
    ASSERT_TRUE(module);
    ScopedDiagnosticHandler quiet(&context,
                                  [](Diagnostic &) { return success(); });
    PassManager manager(&context);
    manager.addPass(createFFNRaise());
    ASSERT_TRUE(succeeded(manager.run(*module)));
  }
  std::vector<HostTensor> sample() {
    std::vector<HostTensor> tensors(1);
    EXPECT_FALSE(bool(
        tensors[0].reset(getModelSignature(*module).inputs[0].dtype, {1, 9})));
    tensors[0].fillRandom(3, 256);
    return tensors;
  }
  std::vector<std::vector<HostTensor>> samples() {
    std::vector<std::vector<HostTensor>> list;
    list.push_back(sample());
    return list;
  }
  MLIRContext context;
  OwningOpRef<ModuleOp> module;
};
} // namespace

TEST_F(BisectTest, FindsAFaultInEverySublayer) {
  StagedModelOptions options;
  options.workers = 1;
  options.optLevel = 0;
  std::unique_ptr<StagedModel> original =
      StagedModel::compile(*module, options);
  OwningOpRef<ModuleOp> changed = module->clone();
  plantFaults(*changed);
  ASSERT_TRUE(succeeded(changed->verify()));
  std::unique_ptr<StagedModel> faulty = StagedModel::compile(*changed, options);
  ASSERT_TRUE(original && faulty);
  auto sublayers = original->getSublayers();
  unsigned count = sublayers.size();
  ASSERT_EQ(count, 16u);
  auto run = [&](int fault, double tolerance) {
    std::vector<std::vector<HostTensor>> list = samples();
    HostTensor &factors = list[0].emplace_back();
    EXPECT_FALSE(bool(factors.reset({2, 32, 1}, {count})));
    for (unsigned i = 0; i < count; ++i)
      factors.setDouble(i, int(i) == fault ? 1.5 : 1);
    auto found = bisectSublayers(*original, *faulty, samples(), std::move(list),
                                 tolerance, [](const BisectResult::Probe &) {});
    EXPECT_TRUE(bool(found)) << llvm::toString(found.takeError());
    return std::move(*found);
  };
  for (unsigned fault = 0; fault < count; ++fault) {
    BisectResult found = run(fault, 1e-4);
    ASSERT_TRUE(found.first) << fault;
    EXPECT_EQ(found.name, sublayers[fault].names.front());
    EXPECT_EQ(*found.first, fault);
    EXPECT_GT(found.distance, 1e-4);
    EXPECT_GT(found.alone, 1e-4);
    EXPECT_LE(found.runs, llvm::Log2_32_Ceil(count) + 2);
    EXPECT_EQ(found.probes.size() + 1, found.runs);
  }
  // Without a fault, one run says so.
  BisectResult none = run(-1, 0);
  EXPECT_FALSE(none.first);
  EXPECT_EQ(none.runs, 1u);
  EXPECT_EQ(none.outputDistance, 0);
}
