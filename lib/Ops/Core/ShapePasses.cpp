//===- ShapePasses.cpp - ffn-infer-shapes and its test passes -------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/OpTable.h"
#include "ffn-mlir/Ops/Passes.h"
#include "ffn-mlir/Ops/ShapeHelpers.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;
using namespace mlir::ffn;

namespace {
/// What: runs symbolic shape analysis over every function and refines types.
/// Before: nodes of any type. After: every type states all static knowledge.
/// Fails on contradictions between declared and computed shapes. Exact.
struct InferShapesPass
    : public PassWrapper<InferShapesPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(InferShapesPass)

  StringRef getArgument() const final { return "ffn-infer-shapes"; }
  StringRef getDescription() const final {
    return "Write into the types what symbolic shape analysis finds";
  }
  void runOnOperation() final {
    if (failed(SymbolicShapeAnalysis::run(getOperation(), /*refine=*/true)))
      signalPassFailure();
  }
};

/// Prints dims and contents of every value as remarks; for tests.
struct PrintShapesPass
    : public PassWrapper<PrintShapesPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(PrintShapesPass)

  StringRef getArgument() const final { return "ffn-print-shapes"; }
  StringRef getDescription() const final {
    return "Print the symbolic shape of every value as a remark";
  }
  void runOnOperation() final {
    FailureOr<SymbolicShapeAnalysis> analysis =
        SymbolicShapeAnalysis::run(getOperation(), /*refine=*/false);
    if (failed(analysis))
      return signalPassFailure();
    getOperation().walk<WalkOrder::PreOrder>([&](Operation *op) {
      if (isa<ModuleOp, onnx::AbsentOp>(op))
        return;
      for (Region &region : op->getRegions())
        for (BlockArgument argument : region.getArguments())
          print(op, "argument " + std::to_string(argument.getArgNumber()),
                analysis->lookup(argument));
      auto node = dyn_cast<onnx::NodeOp>(op);
      for (OpResult result : op->getResults()) {
        unsigned i = result.getResultNumber();
        StringRef name =
            node ? node.getProperties().names.output(i) : StringRef();
        if (isa<NoneType>(result.getType()))
          continue;
        print(op,
              name.empty() ? "result " + std::to_string(i)
                           : "'" + name.str() + "'",
              analysis->lookup(result));
      }
    });
    markAllAnalysesPreserved();
  }

  static void print(Operation *op, StringRef name, const SymValue &value) {
    InFlightDiagnostic remark = op->emitRemark() << name << ": ";
    if (value.otherType) {
      remark << value.otherType;
      return;
    }
    if (value.elementType)
      remark << value.elementType;
    else
      remark << "?";
    remark << " " << (value.dims ? toString(*value.dims) : "unranked");
    if (value.contents)
      remark << " = " << toString(*value.contents);
  }
};

/// The importer's checks on a module given as text; for tests.
struct VerifyONNXPass
    : public PassWrapper<VerifyONNXPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(VerifyONNXPass)

  VerifyONNXPass() = default;
  VerifyONNXPass(const VerifyONNXPass &other) : PassWrapper(other) {}

  StringRef getArgument() const final { return "ffn-verify-onnx"; }
  StringRef getDescription() const final {
    return "Run the checks that the importer runs on every model";
  }
  Option<bool> strict{*this, "strict",
                      llvm::cl::desc("Exporters' habits are errors"),
                      llvm::cl::init(false)};
  void runOnOperation() final {
    VerifyOptions options;
    options.strict = strict;
    if (failed(verifyONNXModel(getOperation(), options)))
      signalPassFailure();
  }
};
} // namespace

std::unique_ptr<Pass> ffn::createInferShapesPass() {
  return std::make_unique<InferShapesPass>();
}

void ffn::registerShapePasses() {
  registerPass([] { return createInferShapesPass(); });
  PassRegistration<PrintShapesPass>();
  PassRegistration<VerifyONNXPass>();
}
