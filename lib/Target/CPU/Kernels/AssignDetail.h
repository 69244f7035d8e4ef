//===- AssignDetail.h - From operations to kernel calls ---------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_TARGET_CPU_KERNELS_ASSIGNDETAIL_H
#define FFN_MLIR_LIB_TARGET_CPU_KERNELS_ASSIGNDETAIL_H

#include "ffn-mlir/Target/CPU/Kernels.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace mlir::ffn::cpu {

/// A tensor of any rank seen as rows of its last dimension, and back.
struct Rows {
  OpBuilder &builder;
  Location loc;
  Value original, matrix;

  Rows(OpBuilder &builder, Location loc, Value tensor)
      : builder(builder), loc(loc), original(tensor), matrix(tensor) {
    auto type = llvm::cast<RankedTensorType>(tensor.getType());
    int64_t rank = type.getRank(), width = type.getShape().back();
    if (rank == 2)
      return;
    if (rank == 1) {
      auto to = RankedTensorType::get({1, width}, type.getElementType());
      matrix = tensor::ExpandShapeOp::create(
          builder, loc, to, tensor, SmallVector<ReassociationIndices>{{0, 1}});
      return;
    }
    matrix = tensor::CollapseShapeOp::create(builder, loc, tensor,
                                             getReassociation());
  }

  SmallVector<ReassociationIndices> getReassociation() {
    int64_t rank = llvm::cast<RankedTensorType>(original.getType()).getRank();
    SmallVector<ReassociationIndices> groups(2);
    for (int64_t i = 0; i + 1 < rank; ++i)
      groups[0].push_back(i);
    groups[1].push_back(rank - 1);
    return groups;
  }

  /// An uninitialised matrix with these rows.
  Value empty(int64_t width) {
    auto type = llvm::cast<RankedTensorType>(matrix.getType());
    OpFoldResult rows =
        type.isDynamicDim(0)
            ? OpFoldResult(
                  tensor::DimOp::create(builder, loc, matrix, 0).getResult())
            : builder.getIndexAttr(type.getDimSize(0));
    return tensor::EmptyOp::create(
        builder, loc, ArrayRef<OpFoldResult>{rows, builder.getIndexAttr(width)},
        type.getElementType());
  }

  /// The matrix with the leading dimensions of the original.
  Value restore(Value result) {
    auto type = llvm::cast<RankedTensorType>(original.getType());
    int64_t rank = type.getRank();
    int64_t width =
        llvm::cast<RankedTensorType>(result.getType()).getDimSize(1);
    if (rank == 2)
      return result;
    if (rank == 1)
      return tensor::CollapseShapeOp::create(
          builder, loc, result, SmallVector<ReassociationIndices>{{0, 1}});
    SmallVector<OpFoldResult> sizes =
        tensor::getMixedSizes(builder, loc, original);
    sizes.back() = builder.getIndexAttr(width);
    SmallVector<int64_t> shape(type.getShape());
    shape.back() = width;
    return tensor::ExpandShapeOp::create(
        builder, loc, RankedTensorType::get(shape, type.getElementType()),
        result, getReassociation(), sizes);
  }
};

struct Projection {
  SmallVector<Value> weights, biases;
  Activation activation = Activation::Identity;
};

/// How the weights of a projection are kept.
struct Storage {
  Type element;
  int64_t group = 0; // of codes
  bool int8Rows = false;
};

/// Gate and up share panels, so they are kept alike.
Storage findStorage(ArrayRef<Value> weights);

/// A vector of zeros, for the missing one of two biases.
Value zeroVector(OpBuilder &builder, Location loc, int64_t size);

/// Whether kernels serve products of `x` with these weights.
bool canServe(Value x, ArrayRef<Value> weights);

/// A value whose last dimension is known from a weight, with that size in its
/// type.
Value withWidth(OpBuilder &builder, Location loc, Value x, int64_t width);

Value castTo(OpBuilder &builder, Location loc, Value value, Type type);

/// Calls the gemm kernel on a matrix; `residual` may be null.
Value buildGemm(Rows &rows, Level level, Value x, const Projection &projection,
                Value residual);

/// Calls the kernels of an op that `canServeExperts` holds for; `residual` may
/// be null.
Value assignExperts(OpBuilder &builder, MoEOp op, Level level, Value residual);

} // namespace mlir::ffn::cpu

#endif // FFN_MLIR_LIB_TARGET_CPU_KERNELS_ASSIGNDETAIL_H
