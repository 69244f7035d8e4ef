//===- LaunchToLLVM.cpp - Launches as calls of the runtime ----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// The arguments of a kernel are stored one after the other in a frame on the
// caller's stack; a body function for each kernel takes them out again and
// calls it with the range of tasks.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Target/CPU/Kernels.h"
#include "mlir/Conversion/ConvertToLLVM/ToLLVMInterface.h"
#include "mlir/Conversion/LLVMCommon/MemRefBuilder.h"
#include "mlir/Conversion/LLVMCommon/Pattern.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

namespace {
/// Declares or finds a function of the module.
LLVM::LLVMFuncOp getFunction(ConversionPatternRewriter &rewriter,
                             ModuleOp module, StringRef name,
                             LLVM::LLVMFunctionType type,
                             LLVM::Linkage linkage) {
  if (auto function = module.lookupSymbol<LLVM::LLVMFuncOp>(name))
    return function;
  OpBuilder::InsertionGuard guard(rewriter);
  rewriter.setInsertionPointToEnd(module.getBody());
  return LLVM::LLVMFuncOp::create(rewriter, module.getLoc(), name, type,
                                  linkage);
}

struct LaunchLowering : ConvertOpToLLVMPattern<LaunchOp> {
  using ConvertOpToLLVMPattern<LaunchOp>::ConvertOpToLLVMPattern;

  LogicalResult
  matchAndRewrite(LaunchOp op, OpAdaptor adaptor,
                  ConversionPatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto module = op->getParentOfType<ModuleOp>();
    auto function = op->getParentOfType<FunctionOpInterface>();
    if (!module || !function)
      return rewriter.notifyMatchFailure(op, "not in a function of a module");

    // The descriptors taken apart, as the kernel takes them.
    SmallVector<Value> fields;
    for (auto [original, converted] :
         llvm::zip_equal(op.getArguments(), adaptor.getArguments())) {
      if (auto memref = llvm::dyn_cast<MemRefType>(original.getType()))
        MemRefDescriptor::unpack(rewriter, loc, converted, memref, fields);
      else
        fields.push_back(converted);
    }
    SmallVector<Type> types =
        llvm::map_to_vector(fields, [](Value v) { return v.getType(); });
    Type pointer = LLVM::LLVMPointerType::get(rewriter.getContext());
    Type index = getIndexType();
    auto frameType =
        LLVM::LLVMStructType::getLiteral(rewriter.getContext(), types);

    // In the entry block: a launch in a loop must not grow the stack.
    Value frame;
    {
      OpBuilder::InsertionGuard guard(rewriter);
      Block &entry = function.getFunctionBody().front();
      rewriter.setInsertionPointToStart(&entry);
      Value one = LLVM::ConstantOp::create(rewriter, loc, index,
                                           rewriter.getIndexAttr(1));
      frame = LLVM::AllocaOp::create(rewriter, loc, pointer, frameType, one);
    }
    for (auto [i, field] : llvm::enumerate(fields)) {
      Value at = LLVM::GEPOp::create(
          rewriter, loc, pointer, frameType, frame,
          ArrayRef<LLVM::GEPArg>{0, static_cast<int32_t>(i)});
      LLVM::StoreOp::create(rewriter, loc, field, at);
    }

    LLVM::LLVMFuncOp body =
        getBody(rewriter, module, op.getCallee(), frameType, types);
    Type nothing = LLVM::LLVMVoidType::get(rewriter.getContext());
    LLVM::LLVMFuncOp parallelFor = getFunction(
        rewriter, module, kParallelFor,
        LLVM::LLVMFunctionType::get(nothing, {pointer, pointer, index, index}),
        LLVM::Linkage::External);
    Value address = LLVM::AddressOfOp::create(rewriter, loc, body);
    LLVM::CallOp::create(
        rewriter, loc, parallelFor,
        ValueRange{address, frame, adaptor.getTasks(), adaptor.getGrain()});
    rewriter.eraseOp(op);
    return success();
  }

  /// void body(void *frame, int64_t begin, int64_t end)
  LLVM::LLVMFuncOp getBody(ConversionPatternRewriter &rewriter, ModuleOp module,
                           StringRef callee, Type frameType,
                           ArrayRef<Type> types) const {
    std::string name = (callee + kLaunchBodySuffix).str();
    if (auto body = module.lookupSymbol<LLVM::LLVMFuncOp>(name))
      return body;
    Location loc = module.getLoc();
    Type pointer = LLVM::LLVMPointerType::get(rewriter.getContext());
    Type index = getIndexType();
    Type nothing = LLVM::LLVMVoidType::get(rewriter.getContext());
    LLVM::LLVMFuncOp body = getFunction(
        rewriter, module, name,
        LLVM::LLVMFunctionType::get(nothing, {pointer, index, index}),
        LLVM::Linkage::Internal);
    OpBuilder::InsertionGuard guard(rewriter);
    rewriter.setInsertionPointToStart(body.addEntryBlock(rewriter));
    SmallVector<Value> arguments;
    for (auto [i, type] : llvm::enumerate(types)) {
      Value at = LLVM::GEPOp::create(
          rewriter, loc, pointer, frameType, body.getArgument(0),
          ArrayRef<LLVM::GEPArg>{0, static_cast<int32_t>(i)});
      arguments.push_back(LLVM::LoadOp::create(rewriter, loc, type, at));
    }
    arguments.push_back(body.getArgument(1));
    arguments.push_back(body.getArgument(2));
    LLVM::CallOp::create(rewriter, loc, TypeRange(), callee, arguments);
    LLVM::ReturnOp::create(rewriter, loc, ValueRange());
    return body;
  }
};
} // namespace

void cpu::populateLaunchToLLVMPatterns(const LLVMTypeConverter &converter,
                                       RewritePatternSet &patterns) {
  patterns.add<LaunchLowering>(converter);
}
