//===- ffn-test-opt.cpp - Pass driver with passes for tests ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// ffn-opt with passes that no user should run.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/InitAll.h"
#include "ffn-mlir/Interpreter/CheckPasses.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Support/FileUtilities.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;

namespace {
/// Broken on purpose: makes the first float weight that is inline a little
/// larger.
struct TestBreakWeights
    : public PassWrapper<TestBreakWeights, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(TestBreakWeights)

  TestBreakWeights() = default;
  TestBreakWeights(const TestBreakWeights &other) : PassWrapper(other) {}
  StringRef getArgument() const override { return "test-ffn-break-weights"; }
  StringRef getDescription() const override {
    return "Multiplies the first inline weight by 1 + amount";
  }

  void runOnOperation() override {
    getOperation().walk([&](ffn::WeightOp op) {
      auto values = llvm::dyn_cast<DenseElementsAttr>(op.getValue());
      if (!values || !llvm::isa<FloatType>(values.getElementType()))
        return WalkResult::advance();
      SmallVector<APFloat> changed;
      for (APFloat value : values.getValues<APFloat>()) {
        APFloat factor(1 + amount);
        bool lossy;
        factor.convert(value.getSemantics(), APFloat::rmNearestTiesToEven,
                       &lossy);
        changed.push_back(value * factor);
      }
      op.setValueAttr(llvm::cast<TypedAttr>(llvm::cast<Attribute>(
          DenseElementsAttr::get(values.getType(), changed))));
      return WalkResult::interrupt();
    });
  }

  Option<double> amount{*this, "amount", llvm::cl::desc("relative change"),
                        llvm::cl::init(1e-3)};
};

/// Broken on purpose: drops the last result of @main.
struct TestDropResult
    : public PassWrapper<TestDropResult, OperationPass<func::FuncOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(TestDropResult)

  StringRef getArgument() const override { return "test-ffn-drop-result"; }
  StringRef getDescription() const override {
    return "Removes the last result of a function";
  }
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.getNumResults() == 0)
      return;
    llvm::BitVector last(function.getNumResults());
    last.set(function.getNumResults() - 1);
    function.walk(
        [](func::ReturnOp op) { op->eraseOperand(op->getNumOperands() - 1); });
    (void)function.eraseResults(last);
  }
};
} // namespace

int main(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  DialectRegistry registry;
  ffn::registerAllDialects(registry);
  ffn::registerAllPasses();
  PassRegistration<TestBreakWeights>();
  PassRegistration<TestDropResult>();
  ffn::registerCheckPassesFlags();
  auto [input, output] = registerAndParseCLIOptions(
      argc, argv, "ffn-opt with passes for tests\n", registry);
  MlirOptMainConfig config = MlirOptMainConfig::createFromCLOptions();
  MlirOptMainConfig flags = config;
  config.setPassPipelineSetupFn([&](PassManager &pm) {
    if (failed(flags.setupPassPipeline(pm)))
      return failure();
    ffn::addPassChecksFromFlags(pm);
    return success();
  });
  std::string error;
  auto buffer = openInputFile(input, &error);
  auto out = openOutputFile(output, &error);
  if (!buffer || !out) {
    llvm::errs() << error << "\n";
    return 1;
  }
  if (failed(MlirOptMain(out->os(), std::move(buffer), registry, config)))
    return 1;
  out->keep();
  return 0;
}
