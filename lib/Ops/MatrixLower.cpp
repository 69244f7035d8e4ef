//===- MatrixLower.cpp - Lowering of matrix products ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/LowerHelpers.h"

using namespace mlir;
using namespace mlir::ffn;

static Value scaled(LowerContext &ctx, Value x, double factor) {
  if (factor == 1)
    return x;
  Type type = elementOf(x);
  return elementwise(ctx, x, type,
                     [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                       Value f = constantOf(b, loc, type, factor);
                       if (llvm::isa<IntegerType>(type))
                         return arith::MulIOp::create(b, loc, a[0], f);
                       return arith::MulFOp::create(b, loc, a[0], f);
                     });
}

static Value swapLast(LowerContext &ctx, Value x) {
  int64_t rank = rankOf(x);
  SmallVector<int64_t> perm = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  if (rank > 1)
    std::swap(perm[rank - 1], perm[rank - 2]);
  return transposeTo(ctx, x, perm);
}

static FailureOr<Value> product(LowerContext &ctx, Value a, Value w) {
  // A vector is a row on the left and a column on the right; the extra dim
  // goes again afterwards.
  bool row = rankOf(a) == 1, column = rankOf(w) == 1;
  if (row)
    a = unsqueeze(ctx, a, 0);
  if (column)
    w = unsqueeze(ctx, w, 1);
  FailureOr<Value> result = matmul(ctx, a, w);
  if (failed(result) || (!row && !column))
    return result;
  Sizes sizes = ctx.sizes(*result);
  if (column)
    sizes.pop_back();
  if (row)
    sizes.erase(column ? sizes.end() - 1 : sizes.end() - 2);
  return reshapeTo(ctx, *result, sizes);
}

static LogicalResult lowerMatMul(LowerContext &ctx) {
  Value a = ctx.input(0), w = ctx.input(1);
  if (rankOf(a) == 0 || rankOf(w) == 0)
    return ctx.unsupported("an input is a scalar");
  if (ctx.node.getInt("transA", 0) != 0)
    a = swapLast(ctx, a);
  if (ctx.node.getInt("transB", 0) != 0)
    w = swapLast(ctx, w);
  if (ctx.node.getInt("transBatchA", 0) != 0 ||
      ctx.node.getInt("transBatchB", 0) != 0)
    return ctx.unsupported("transposed batch dims");
  FailureOr<Value> result = product(ctx, a, w);
  if (failed(result))
    return ctx.unsupported("the shapes of its inputs do not match");
  ctx.results[0] = scaled(ctx, *result, ctx.node.getFloat("alpha", 1));
  return success();
}

static LogicalResult lowerGemm(LowerContext &ctx) {
  Value a = ctx.input(0), w = ctx.input(1), c = ctx.input(2);
  if (rankOf(a) != 2 || rankOf(w) != 2)
    return ctx.unsupported("an input is not a matrix");
  if (ctx.node.getInt("transA", 0) != 0)
    a = swapLast(ctx, a);
  if (ctx.node.getInt("transB", 0) != 0)
    w = swapLast(ctx, w);
  FailureOr<Value> result = matmul(ctx, a, w);
  if (failed(result))
    return ctx.unsupported("the shapes of its inputs do not match");
  Value y = scaled(ctx, *result, ctx.node.getFloat("alpha", 1));
  if (c && ctx.node.getFloat("beta", 1) != 0) {
    c = scaled(ctx, c, ctx.node.getFloat("beta", 1));
    Type type = elementOf(y);
    y = elementwise(ctx, {y, c}, type,
                    [&](OpBuilder &b, Location loc, ValueRange v) -> Value {
                      if (llvm::isa<IntegerType>(type))
                        return arith::AddIOp::create(b, loc, v[0], v[1]);
                      return arith::AddFOp::create(b, loc, v[0], v[1]);
                    });
    if (!y)
      return ctx.unsupported("its bias does not broadcast");
  }
  ctx.results[0] = y;
  return success();
}

FFN_REGISTER_OPS(MatrixLower) {
  table.addLower("", "MatMul", 1, lowerMatMul);
  table.addLower("", "Gemm", 7, lowerGemm);
  table.addLower("com.microsoft", "FusedMatMul", 1, lowerMatMul);
}
