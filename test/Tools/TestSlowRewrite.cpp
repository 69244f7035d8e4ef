//===- TestSlowRewrite.cpp - A rewrite that only costs time ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Linked with the verbs of ffnc into ffnc-test.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "ffn-mlir/Support/CandidateLog.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;
using namespace mlir::ffn;

namespace {
/// Computes every network several times, each on its input plus next to nothing
/// of the result before, so that no two are the same.
struct TestSlowRewrite
    : public PassWrapper<TestSlowRewrite, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(TestSlowRewrite)

  TestSlowRewrite() = default;
  TestSlowRewrite(const TestSlowRewrite &other) : PassWrapper(other) {}
  StringRef getArgument() const override { return "test-ffn-slow"; }
  StringRef getDescription() const override {
    return "Computes every network `times` times";
  }

  void runOnOperation() override {
    CandidateLog log("test-ffn-slow", NumericalClass::Approximate);
    SmallVector<FeedForwardOp> networks;
    getOperation().walk([&](FeedForwardOp op) {
      networks.push_back(op);
      log.add(op, op);
    });
    for (FeedForwardOp network : networks) {
      OpBuilder builder(network);
      builder.setInsertionPointAfter(network);
      Location loc = network.getLoc();
      auto type = llvm::cast<RankedTensorType>(network.getResult().getType());
      auto scalar = RankedTensorType::get({}, type.getElementType());
      Value little = WeightOp::create(
          builder, loc, scalar,
          llvm::cast<TypedAttr>(llvm::cast<Attribute>(DenseElementsAttr::get(
              scalar, builder.getFloatAttr(type.getElementType(), 1e-20)))));
      auto node = [&](StringRef op, Value a, Value b) {
        return onnx::NodeOp::create(
                   builder, loc, "", op, 14, TypeRange{type}, ValueRange{a, b},
                   ArrayRef<NamedAttribute>(), 0, onnx::NameHints())
            ->getResult(0);
      };
      SmallPtrSet<Operation *, 32> made;
      Value last = network.getResult();
      for (unsigned i = 1; i < times; ++i) {
        Value scaled = node("Mul", last, little);
        made.insert(scaled.getDefiningOp());
        Value input = node("Add", network.getInput(), scaled);
        auto copy = llvm::cast<FeedForwardOp>(builder.clone(*network));
        copy.getInputMutable().assign(input);
        last = copy.getResult();
      }
      network.getResult().replaceAllUsesExcept(last, made);
      log.rewritten(network, network) << "computed several times";
    }
    log.finish();
  }

  Option<unsigned> times{*this, "times", llvm::cl::desc("how often"),
                         llvm::cl::init(8)};
};

PassRegistration<TestSlowRewrite> registration;
} // namespace
