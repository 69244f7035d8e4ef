//===- LowerToLLVM.cpp - Buffers and kernels to the LLVM dialect ----------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Conversion/ModelToLinalg.h"
#include "ffn-mlir/Dialect/CPU/IR/CPU.h"
#include "ffn-mlir/Target/CPU/Codegen.h"
#include "mlir/Conversion/AffineToStandard/AffineToStandard.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVM.h"
#include "mlir/Conversion/LLVMCommon/ConversionTarget.h"
#include "mlir/Conversion/LLVMCommon/Pattern.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/MathToLibm/MathToLibm.h"
#include "mlir/Conversion/MemRefToLLVM/MemRefToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/UBToLLVM/UBToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/Transforms/BufferViewFlowOpInterfaceImpl.h"
#include "mlir/Dialect/Arith/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Linalg/Transforms/SubsetInsertionOpInterfaceImpl.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Tensor/IR/TensorInferTypeOpInterfaceImpl.h"
#include "mlir/Dialect/Tensor/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Tensor/Transforms/SubsetInsertionOpInterfaceImpl.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Dialect/Vector/Transforms/LoweringPatterns.h"
#include "mlir/Dialect/Vector/Transforms/VectorRewritePatterns.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

namespace {
struct ApproximateMathPass
    : public PassWrapper<ApproximateMathPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ApproximateMathPass)
  StringRef getArgument() const final { return "ffn-cpu-approximate-math"; }
  StringRef getDescription() const final {
    return "Polynomials for math ops that have no instruction, and bf16 "
           "conversions as integer arithmetic";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, math::MathDialect,
                    vector::VectorDialect>();
  }
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    populateMathToPolynomialPatterns(patterns);
    arith::populateCeilFloorDivExpandOpsPatterns(patterns);
    // Without AVX512-BF16 LLVM would call a compiler library for these.
    arith::populateExpandBFloat16Patterns(patterns);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

/// Upstream's expansion of memref.expand_shape knows one dynamic size in a
/// group; the op says all of them.
struct ExpandShapeToCast : OpRewritePattern<memref::ExpandShapeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(memref::ExpandShapeOp op,
                                PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto metadata =
        memref::ExtractStridedMetadataOp::create(rewriter, loc, op.getSrc());
    auto type = llvm::cast<MemRefType>(op.getType());
    SmallVector<OpFoldResult> sizes = op.getMixedOutputShape();
    SmallVector<OpFoldResult> strides(type.getRank(), rewriter.getIndexAttr(1));
    SmallVector<OpFoldResult> from = metadata.getConstifiedMixedStrides();
    auto product = [&](OpFoldResult a, OpFoldResult b) -> OpFoldResult {
      std::optional<int64_t> ca = getConstantIntValue(a),
                             cb = getConstantIntValue(b);
      if (ca && cb)
        return rewriter.getIndexAttr(*ca * *cb);
      return arith::MulIOp::create(
                 rewriter, loc,
                 getValueOrCreateConstantIndexOp(rewriter, loc, a),
                 getValueOrCreateConstantIndexOp(rewriter, loc, b))
          .getResult();
    };
    for (auto [i, group] : llvm::enumerate(op.getReassociationIndices())) {
      OpFoldResult stride = from[i];
      for (int64_t dim : llvm::reverse(group)) {
        strides[dim] = stride;
        if (dim != group.front())
          stride = product(stride, sizes[dim]);
      }
    }
    if (op.getReassociationIndices().empty())
      for (OpFoldResult &size : sizes)
        size = rewriter.getIndexAttr(1);
    // The declared layout decides which strides are static.
    SmallVector<int64_t> declared;
    int64_t offset;
    if (failed(type.getStridesAndOffset(declared, offset)))
      return failure();
    for (auto [stride, known] : llvm::zip(strides, declared))
      if (!ShapedType::isDynamic(known))
        stride = rewriter.getIndexAttr(known);
      else if (getConstantIntValue(stride))
        stride = getValueOrCreateConstantIndexOp(rewriter, loc, stride);
    for (auto [size, known] : llvm::zip(sizes, type.getShape()))
      if (ShapedType::isDynamic(known) && getConstantIntValue(size))
        size = getValueOrCreateConstantIndexOp(rewriter, loc, size);
    OpFoldResult start = metadata.getConstifiedMixedOffset();
    if (!ShapedType::isDynamic(offset))
      start = rewriter.getIndexAttr(offset);
    else if (getConstantIntValue(start))
      start = getValueOrCreateConstantIndexOp(rewriter, loc, start);
    rewriter.replaceOpWithNewOp<memref::ReinterpretCastOp>(
        op, type, metadata.getBaseBuffer(), start, sizes, strides);
    return success();
  }
};

struct ExpandShapesPass
    : public PassWrapper<ExpandShapesPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ExpandShapesPass)
  StringRef getArgument() const final { return "ffn-cpu-expand-shapes"; }
  StringRef getDescription() const final {
    return "Replace memref.expand_shape, any number of its sizes dynamic, by "
           "arithmetic on strides";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, memref::MemRefDialect>();
  }
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<ExpandShapeToCast>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

struct ConvertToLLVMPass
    : public PassWrapper<ConvertToLLVMPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ConvertToLLVMPass)
  StringRef getArgument() const final { return "ffn-cpu-convert-to-llvm"; }
  StringRef getDescription() const final {
    return "Convert control flow, memrefs, vectors and launches to the LLVM "
           "dialect";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<LLVM::LLVMDialect, vector::VectorDialect>();
  }
  void runOnOperation() override {
    ModuleOp module = getOperation();
    MLIRContext *ctx = &getContext();
    LowerToLLVMOptions options(ctx);
    LLVMTypeConverter converter(ctx, options);
    RewritePatternSet patterns(ctx);
    arith::populateArithToLLVMConversionPatterns(converter, patterns);
    populateFuncToLLVMConversionPatterns(converter, patterns);
    populateFinalizeMemRefToLLVMConversionPatterns(converter, patterns);
    cf::populateControlFlowToLLVMConversionPatterns(converter, patterns);
    // Instructions before calls of the C library: fma, floor, sqrt.
    populateMathToLLVMConversionPatterns(converter, patterns,
                                         /*approximateLog1p=*/false,
                                         /*benefit=*/2);
    populateMathToLibmConversionPatterns(patterns);
    vector::populateVectorMaskMaterializationPatterns(
        patterns, /*force32BitVectorIndices=*/false);
    vector::populateVectorStepLoweringPatterns(patterns);
    vector::populateVectorMaskOpLoweringPatterns(patterns);
    populateVectorToLLVMConversionPatterns(converter, patterns);
    ub::populateUBToLLVMConversionPatterns(converter, patterns);
    populateLaunchToLLVMPatterns(converter, patterns);
    LLVMConversionTarget target(*ctx);
    target.addLegalOp<ModuleOp>();
    if (failed(applyFullConversion(module, target, std::move(patterns))))
      return signalPassFailure();
    // One function is seen from outside; the rest may be inlined or dropped.
    for (auto function : module.getOps<LLVM::LLVMFuncOp>()) {
      if (function.isExternal())
        continue;
      if (function.getName() != kModelEntry) {
        function.setLinkage(LLVM::Linkage::Internal);
        function.setDsoLocal(true);
      }
      function.setSymVisibility("public");
    }
  }
};
} // namespace

std::unique_ptr<Pass> mlir::ffn::cpu::createApproximateMathPass() {
  return std::make_unique<ApproximateMathPass>();
}

std::unique_ptr<Pass> mlir::ffn::cpu::createConvertToLLVMPass() {
  return std::make_unique<ConvertToLLVMPass>();
}

void mlir::ffn::cpu::buildLowerToLLVMPipeline(OpPassManager &pm) {
  pm.addPass(createOutlineLoopsPass());
  pm.addPass(createEmitKernelsPass());
  pm.addPass(createCSEPass());
  pm.addPass(createPlanMemoryPass());
  pm.addPass(createApproximateMathPass());
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(std::make_unique<ExpandShapesPass>());
  pm.addPass(memref::createExpandStridedMetadataPass());
  pm.addPass(createLowerAffinePass());
  pm.addPass(createCSEPass());
  pm.addPass(createConvertToLLVMPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
}

void mlir::ffn::cpu::registerCodegenPasses() {
  registerPass([] { return createFuseElementwisePass(); });
  registerPass([] { return createOutlineLoopsPass(); });
  registerPass([] { return createPlanMemoryPass(); });
  registerPass([] { return createApproximateMathPass(); });
  registerPass([]() -> std::unique_ptr<Pass> {
    return std::make_unique<ExpandShapesPass>();
  });
  registerPass([] { return createConvertToLLVMPass(); });
  PassPipelineRegistration<>(
      "ffn-cpu-lower-to-llvm",
      "From linalg and kernel calls on memrefs to the LLVM dialect",
      [](OpPassManager &pm) { buildLowerToLLVMPipeline(pm); });
}

void mlir::ffn::cpu::registerCodegenInterfaces(DialectRegistry &registry) {
  registry
      .insert<affine::AffineDialect, cf::ControlFlowDialect, ub::UBDialect>();
  arith::registerBufferizableOpInterfaceExternalModels(registry);
  arith::registerBufferViewFlowOpInterfaceExternalModels(registry);
  linalg::registerBufferizableOpInterfaceExternalModels(registry);
  linalg::registerSubsetOpInterfaceExternalModels(registry);
  scf::registerBufferizableOpInterfaceExternalModels(registry);
  tensor::registerBufferizableOpInterfaceExternalModels(registry);
  tensor::registerSubsetOpInterfaceExternalModels(registry);
  tensor::registerInferTypeOpInterfaceExternalModels(registry);
}
