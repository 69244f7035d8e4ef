//===- MatMul.cpp - Shapes of matrix products -----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/EinsumEquation.h"
#include "ffn-mlir/Ops/ShapeHelpers.h"
#include <map>

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// MatMul
//===----------------------------------------------------------------------===//

/// numpy's rule: vectors become matrices for the product, leading dims
/// broadcast. None when a rank is unknown.
static FailureOr<std::optional<Dims>> multiply(ShapeContext &ctx,
                                               std::optional<Dims> left,
                                               std::optional<Dims> right) {
  if (!left || !right)
    return std::optional<Dims>();
  if (left->empty() || right->empty())
    return ctx.error("I504", "a scalar is no operand of a matrix product");
  bool leftVector = left->size() == 1, rightVector = right->size() == 1;
  if (leftVector)
    left->insert(left->begin(), DimExpr(1));
  if (rightVector)
    right->push_back(DimExpr(1));
  ArrayRef<DimExpr> a = *left, b = *right;
  if (failed(requireSame(ctx, a.back(), b[b.size() - 2],
                         "inner dimensions of the product")))
    return failure();
  FailureOr<Dims> dims = broadcastDims(ctx, a.drop_back(2), b.drop_back(2));
  if (failed(dims))
    return failure();
  if (!leftVector)
    dims->push_back(a[a.size() - 2]);
  if (!rightVector)
    dims->push_back(b.back());
  return std::optional<Dims>(std::move(*dims));
}

static LogicalResult multiplyInputs(ShapeContext &ctx, unsigned left,
                                    unsigned right, Type type = {}) {
  FailureOr<std::optional<Dims>> dims =
      multiply(ctx, ctx.input(left).dims, ctx.input(right).dims);
  if (failed(dims))
    return failure();
  setOutput(ctx, 0, std::move(*dims), type);
  return success();
}

static LogicalResult shapeMatMul(ShapeContext &ctx) {
  return multiplyInputs(ctx, 0, 1);
}

static LogicalResult shapeQLinearMatMul(ShapeContext &ctx) {
  return multiplyInputs(ctx, 0, 3, ctx.input(7).elementType);
}

/// The last two dims of an operand exchanged, or its first two batch dims
/// moved, as the attributes of FusedMatMul ask.
static std::optional<Dims> arrange(std::optional<Dims> dims, bool transpose,
                                   bool transposeBatch) {
  if (!dims || dims->size() < 2)
    return dims;
  // Batch dims transposed: [d0, d1 ... dn-2, dn-1] to [d1 ... dn-2, d0, dn-1].
  if (transposeBatch && dims->size() > 2)
    std::rotate(dims->begin(), dims->begin() + 1, dims->end() - 1);
  if (transpose)
    std::swap((*dims)[dims->size() - 1], (*dims)[dims->size() - 2]);
  return dims;
}

static LogicalResult shapeFusedMatMul(ShapeContext &ctx) {
  auto flag = [&](StringRef name) { return ctx.node.getInt(name, 0) != 0; };
  FailureOr<std::optional<Dims>> dims = multiply(
      ctx, arrange(ctx.input(0).dims, flag("transA"), flag("transBatchA")),
      arrange(ctx.input(1).dims, flag("transB"), flag("transBatchB")));
  if (failed(dims))
    return failure();
  setOutput(ctx, 0, std::move(*dims));
  return success();
}

//===----------------------------------------------------------------------===//
// Gemm
//===----------------------------------------------------------------------===//

static LogicalResult multiplyMatrices(ShapeContext &ctx, unsigned right,
                                      int addend, Type type = {}) {
  if (failed(requireRank(ctx, 0, 2)) || failed(requireRank(ctx, right, 2)))
    return failure();
  auto get = [&](unsigned i, StringRef transpose) {
    Dims dims = ctx.input(i).dims ? *ctx.input(i).dims : unknownDims(2);
    if (ctx.node.getInt(transpose, 0) != 0)
      std::swap(dims[0], dims[1]);
    return dims;
  };
  Dims a = get(0, "transA"), b = get(right, "transB");
  if (failed(requireSame(ctx, a[1], b[0], "inner dimensions of the product")))
    return failure();
  Dims result{a[0], b[1]};
  // The addend broadcasts to the result and never enlarges it.
  if (addend >= 0 && ctx.input(addend).dims) {
    const Dims &c = *ctx.input(addend).dims;
    if (c.size() > 2)
      return ctx.error("I504",
                       "the addend has " + Twine(c.size()) + " dimensions");
    for (auto [i, dim] : llvm::enumerate(llvm::reverse(c)))
      if (failed(
              requireBroadcastTo(ctx, dim, result[1 - i],
                                 "dimension of the addend and of the product")))
        return failure();
  }
  setOutput(ctx, 0, std::move(result), type);
  return success();
}

static LogicalResult shapeGemm(ShapeContext &ctx) {
  return multiplyMatrices(ctx, 1, 2);
}
static LogicalResult shapeQGemm(ShapeContext &ctx) {
  // With a scale of the output the result is quantized like its zero point.
  Type type = ctx.hasInput(7) && ctx.hasInput(8)
                  ? ctx.input(8).elementType
                  : Type(Float32Type::get(ctx.node.getContext()));
  return multiplyMatrices(ctx, 3, 6, type);
}

//===----------------------------------------------------------------------===//
// Einsum
//===----------------------------------------------------------------------===//

static LogicalResult shapeEinsum(ShapeContext &ctx) {
  std::string why;
  std::optional<EinsumEquation> equation =
      EinsumEquation::parse(ctx.node.getString("equation", ""), why);
  if (!equation)
    return ctx.error("I502", why);
  if (equation->inputs.size() != ctx.numInputs())
    return ctx.error("I502",
                     "the equation has " + Twine(equation->inputs.size()) +
                         " operands, the node " + Twine(ctx.numInputs()));
  std::map<char, DimExpr> sizes;
  std::optional<Dims> batch = Dims();
  bool hasEllipsis = false, rankUnknown = false;
  for (auto [i, term] : llvm::enumerate(equation->inputs)) {
    hasEllipsis |= term.ellipsis.has_value();
    for (char letter : term.letters)
      sizes.try_emplace(letter);
    const SymValue &input = ctx.input(i);
    if (!input.dims) {
      rankUnknown |= term.ellipsis.has_value();
      continue;
    }
    std::optional<int64_t> extra = term.getHidden(input.rank());
    if (!extra)
      return ctx.error("I504", "operand " + Twine(i) + " has " +
                                   Twine(input.rank()) +
                                   " dimensions, the equation names " +
                                   Twine(term.letters.size()));
    ArrayRef<DimExpr> dims = *input.dims;
    size_t split = term.ellipsis.value_or(term.letters.size());
    for (auto [k, letter] : llvm::enumerate(term.letters)) {
      const DimExpr &dim = dims[k < split ? k : k + *extra];
      DimExpr &size = sizes[letter];
      std::optional<int64_t> x = size.getConstant(), y = dim.getConstant();
      // A size of one broadcasts.
      if (x && y && *x != *y && *x != 1 && *y != 1)
        return ctx.error("I504", Twine("sizes of '") + Twine(letter) +
                                     "' differ: " + Twine(*x) + " and " +
                                     Twine(*y));
      size = !size.isKnown() || size.isConstant(1) ? dim
             : dim.isConstant(1)                   ? size
                                                   : meet(size, dim);
    }
    if (term.ellipsis && batch) {
      FailureOr<Dims> merged =
          broadcastDims(ctx, *batch, dims.slice(split, *extra));
      if (failed(merged))
        return failure();
      batch = std::move(*merged);
    }
  }
  if (rankUnknown)
    return success();
  const EinsumTerm &output = equation->output;
  Dims result;
  for (char letter : output.letters)
    result.push_back(sizes.at(letter));
  if (output.ellipsis && hasEllipsis)
    result.insert(result.begin() + *output.ellipsis, batch->begin(),
                  batch->end());
  setOutput(ctx, 0, std::move(result));
  return success();
}

//===----------------------------------------------------------------------===//
// Block-quantized weights
//===----------------------------------------------------------------------===//

/// Input dims with the last replaced by attribute N; the last must be K.
static LogicalResult multiplyByBlocks(ShapeContext &ctx) {
  int64_t n = ctx.node.getInt("N", 0), k = ctx.node.getInt("K", 0);
  if (n < 1 || k < 1)
    return ctx.error("I502", "K and N are " + Twine(k) + " and " + Twine(n));
  int64_t block = ctx.node.getInt("block_size", 0);
  if (ctx.node.getNodeAttr("block_size") && block < 1)
    return ctx.error("I502", "block_size is " + Twine(block));
  if (failed(requireMinRank(ctx, 0, 1)))
    return failure();
  if (!ctx.input(0).dims)
    return success();
  Dims dims = *ctx.input(0).dims;
  if (failed(requireSame(ctx, dims.back(), k, "last dimension and K")))
    return failure();
  dims.back() = DimExpr(n);
  setOutput(ctx, 0, std::move(dims));
  return success();
}

static LogicalResult shapeMatMulNBits(ShapeContext &ctx) {
  int64_t bits = ctx.node.getInt("bits", 4);
  if (bits < 2 || bits > 8)
    return ctx.error("I502", "bits is " + Twine(bits));
  return multiplyByBlocks(ctx);
}

/// transB is 1 unless said otherwise: the weight is [N, K].
static LogicalResult shapeMatMulBnb4(ShapeContext &ctx) {
  return multiplyByBlocks(ctx);
}

FFN_REGISTER_OPS(MatMul) {
  table.addShape("", "MatMul", 1, shapeMatMul);
  table.addShape("", "MatMulInteger", 10, shapeMatMul);
  table.addShape("", "QLinearMatMul", 10, shapeQLinearMatMul);
  table.addShape("", "Gemm", 1, shapeGemm);
  table.addShape("", "Einsum", 12, shapeEinsum);
  StringRef ms = "com.microsoft";
  table.addShape(ms, "MatMulInteger16", 1, shapeMatMul);
  table.addShape(ms, "MatMulIntegerToFloat", 1, shapeMatMul);
  table.addShape(ms, "DynamicQuantizeMatMul", 1, shapeMatMul);
  table.addShape(ms, "FusedMatMul", 1, shapeFusedMatMul);
  table.addShape(ms, "FusedMatMulActivation", 1, shapeFusedMatMul);
  table.addShape(ms, "TransposeMatMul", 1, shapeFusedMatMul);
  table.addShape(ms, "FusedGemm", 1, shapeGemm);
  table.addShape(ms, "QGemm", 1, shapeQGemm);
  table.addShape(ms, "GemmFastGelu", 1, shapeMatMul);
  table.addShape(ms, "MatMulNBits", 1, shapeMatMulNBits);
  table.addShape(ms, "MatMulBnb4", 1, shapeMatMulBnb4);
  for (StringRef name : {"Gelu", "QuickGelu", "FastGelu", "BiasGelu"})
    table.addShape(ms, name, 1, shapeLikeFirstInput);
}
