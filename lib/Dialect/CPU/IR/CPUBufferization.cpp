//===- CPUBufferization.cpp - Kernel calls on buffers ---------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/CPU/IR/CPU.h"
#include "mlir/Dialect/Bufferization/IR/BufferizableOpInterface.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Bufferization/IR/DstBufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;
using namespace mlir::bufferization;

/// Whether every value of type `from` is one of type `to`.
static bool isInstance(MemRefType from, MemRefType to) {
  SmallVector<int64_t> fromStrides, toStrides;
  int64_t fromOffset, toOffset;
  if (failed(from.getStridesAndOffset(fromStrides, fromOffset)) ||
      failed(to.getStridesAndOffset(toStrides, toOffset)))
    return false;
  auto fits = [](int64_t have, int64_t want) {
    return ShapedType::isDynamic(want) || have == want;
  };
  for (int64_t i = 0, e = to.getRank(); i != e; ++i)
    if (!fits(from.getDimSize(i), to.getDimSize(i)) ||
        (from.getDimSize(i) != 1 && !fits(fromStrides[i], toStrides[i])))
      return false;
  return fits(fromOffset, toOffset);
}

/// A fresh buffer that is an instance of `type`, shaped like `like`.
static FailureOr<Value> allocateLike(RewriterBase &rewriter, Location loc,
                                     const BufferizationOptions &options,
                                     Value like, MemRefType type) {
  SmallVector<int64_t> strides;
  int64_t offset;
  if (failed(type.getStridesAndOffset(strides, offset)))
    return failure();
  auto from = llvm::cast<MemRefType>(like.getType());
  SmallVector<int64_t> shape(from.getShape());
  SmallVector<Value> sizes;
  for (int64_t i = 0, e = from.getRank(); i != e; ++i)
    if (from.isDynamicDim(i))
      sizes.push_back(memref::DimOp::create(rewriter, loc, like, i));
  // Padded rows: allocate the stride, use the width.
  bool padded = from.getRank() == 2 && !ShapedType::isDynamic(strides[0]) &&
                strides[0] != shape[1];
  if (padded)
    shape[1] = strides[0];
  FailureOr<Value> buffer = options.createAlloc(
      rewriter, loc, MemRefType::get(shape, from.getElementType()), sizes);
  if (failed(buffer) || !padded)
    return buffer;
  SmallVector<OpFoldResult> zero(2, rewriter.getIndexAttr(0)),
      one(2, rewriter.getIndexAttr(1)),
      size = memref::getMixedSizes(rewriter, loc, like);
  return memref::SubViewOp::create(rewriter, loc, *buffer, zero, size, one)
      .getResult();
}

namespace {
struct KernelCallModel
    : public DstBufferizableOpInterfaceExternalModel<KernelCallModel,
                                                     KernelCallOp> {
  bool bufferizesToMemoryRead(Operation *op, OpOperand &operand,
                              const AnalysisState &) const {
    return !cast<KernelCallOp>(op).isDpsInit(&operand);
  }

  LogicalResult bufferize(Operation *op, RewriterBase &rewriter,
                          const BufferizationOptions &options,
                          BufferizationState &state) const {
    auto call = cast<KernelCallOp>(op);
    Location loc = op->getLoc();
    OpBuilder::InsertionGuard guard(rewriter);
    rewriter.setInsertionPoint(op);
    SmallVector<MemRefType> types = getKernelArgumentTypes(call.getKernel());
    unsigned numInputs = call.getInputs().size();
    SmallVector<Value> operands, originals(call->getNumOperands());
    for (OpOperand &operand : op->getOpOperands()) {
      unsigned i = operand.getOperandNumber();
      Value value = operand.get();
      if (!llvm::isa<TensorType>(value.getType())) {
        operands.push_back(value);
        continue;
      }
      FailureOr<Value> buffer = getBuffer(rewriter, value, options, state);
      if (failed(buffer))
        return failure();
      auto type = llvm::dyn_cast<MemRefType>(buffer->getType());
      if (!type)
        return op->emitOpError("needs ranked buffers");
      if (!isInstance(type, types[i])) {
        originals[i] = *buffer;
        buffer = allocateLike(rewriter, loc, options, *buffer, types[i]);
        if (failed(buffer))
          return failure();
        if (i < numInputs)
          memref::CopyOp::create(rewriter, loc, originals[i], *buffer);
      }
      operands.push_back(*buffer);
    }
    ArrayRef<Value> all(operands);
    KernelCallOp::create(rewriter, loc, TypeRange(), call.getKernel(),
                         all.take_front(numInputs), all.drop_front(numInputs));
    SmallVector<Value> results;
    for (unsigned i = numInputs, e = operands.size(); i != e; ++i) {
      Value result = operands[i];
      if (originals[i]) {
        memref::CopyOp::create(rewriter, loc, result, originals[i]);
        result = originals[i];
      }
      if (llvm::isa<TensorType>(op->getOperand(i).getType()))
        results.push_back(result);
    }
    replaceOpWithBufferizedValues(rewriter, op, results);
    return success();
  }
};
} // namespace

void cpu::registerBufferizableOpInterface(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *ctx, CPUDialect *) {
    KernelCallOp::attachInterface<KernelCallModel>(*ctx);
    ctx->loadDialect<memref::MemRefDialect, BufferizationDialect>();
  });
}
