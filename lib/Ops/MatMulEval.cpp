//===- MatMulEval.cpp - Products of matrices ------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/Kernels.h"
#include "ffn-mlir/Interpreter/TensorOps.h"
#include "ffn-mlir/Ops/OpTable.h"
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace mlir::ffn;

/// The last two axes exchanged.
static FailureOr<EvalTensor> swapLast(EvalContext &ctx, const EvalTensor &x) {
  SmallVector<int64_t> perm(x.getRank());
  std::iota(perm.begin(), perm.end(), 0);
  std::swap(perm[x.getRank() - 1], perm[x.getRank() - 2]);
  return transposeTensor(ctx.node, ctx.state, x, perm);
}

/// Integer operands are multiplied as integers, so that they wrap exactly.
static FailureOr<EvalTensor> matmulInts(EvalContext &ctx, const EvalTensor &a,
                                        const EvalTensor &b, Type type) {
  SmallVector<int64_t> as(a.getShape()), bs(b.getShape());
  if (as.empty() || bs.empty())
    return ctx.error("needs vectors or matrices");
  bool aVector = as.size() == 1, bVector = bs.size() == 1;
  if (aVector)
    as.insert(as.begin(), 1);
  if (bVector)
    bs.push_back(1);
  int64_t m = as[as.size() - 2], k = as.back(), n = bs.back();
  FailureOr<SmallVector<int64_t>> batch =
      ctx.broadcast(ArrayRef(as).drop_back(2), ArrayRef(bs).drop_back(2));
  if (failed(batch))
    return failure();
  if (bs[bs.size() - 2] != k)
    return ctx.error("cannot multiply " + shapeText(a.getShape()) + " by " +
                     shapeText(b.getShape()));
  SmallVector<int64_t> shape(*batch);
  if (!aVector)
    shape.push_back(m);
  if (!bVector)
    shape.push_back(n);
  FailureOr<EvalTensor> result = ctx.allocate(type, shape);
  if (failed(result) || result->getNumElements() == 0)
    return result;
  MutableArrayRef<int64_t> out = result->mutableInts();
  StridedWalk aWalk(*batch,
                    broadcastStrides(ArrayRef(as).drop_back(2), *batch));
  StridedWalk bWalk(*batch,
                    broadcastStrides(ArrayRef(bs).drop_back(2), *batch));
  for (int64_t i = 0, e = productOf(*batch, 0, batch->size()); i < e; ++i) {
    const int64_t *x = a.ints().data() + aWalk.getOffset() * m * k;
    const int64_t *y = b.ints().data() + bWalk.getOffset() * k * n;
    for (int64_t r = 0; r < m; ++r)
      for (int64_t c = 0; c < n; ++c) {
        uint64_t sum = 0;
        for (int64_t j = 0; j < k; ++j)
          sum += static_cast<uint64_t>(x[r * k + j]) *
                 static_cast<uint64_t>(y[j * n + c]);
        out[(i * m + r) * n + c] =
            wrapToIntType(type, static_cast<int64_t>(sum));
      }
    aWalk.next();
    bWalk.next();
  }
  return result;
}

static LogicalResult evalMatMul(EvalContext &ctx) {
  FailureOr<EvalTensor> a = ctx.require(0), b = ctx.require(1);
  if (failed(a) || failed(b))
    return failure();
  FailureOr<EvalTensor> result = failure();
  if (a->isFloat() && b->isFloat())
    result = matmulTensors(ctx.node, ctx.state, *a, *b);
  else if (a->isInteger() && b->isInteger())
    result = matmulInts(ctx, *a, *b, a->getElementType());
  else
    return ctx.error("the operands are not of one kind");
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

/// y = alpha a b + beta c, c broadcast to the product.
static LogicalResult evalGemm(EvalContext &ctx) {
  FailureOr<EvalTensor> a = ctx.require(0), b = ctx.require(1);
  if (failed(a) || failed(b))
    return failure();
  if (a->getRank() != 2 || b->getRank() != 2)
    return ctx.error("needs matrices");
  if (ctx.getInt("transA", 0) != 0)
    a = swapLast(ctx, *a);
  if (ctx.getInt("transB", 0) != 0)
    b = swapLast(ctx, *b);
  if (failed(a) || failed(b))
    return failure();
  Type type = a->getElementType(),
       f64 = Float64Type::get(ctx.node.getContext());
  bool isFloat = a->isFloat();
  FailureOr<EvalTensor> product =
      isFloat && b->isFloat() ? matmulTensors(ctx.node, ctx.state, *a, *b)
                              : matmulTensors(ctx.node, ctx.state,
                                              a->toFloat(f64), b->toFloat(f64));
  if (failed(product))
    return failure();
  double alpha = ctx.getFloat("alpha", 1), beta = ctx.getFloat("beta", 1);
  if (alpha != 1)
    for (double &x : product->mutableFloats())
      x *= alpha;
  EvalTensor c = ctx.input(2);
  if (!c.isNull() && beta != 0) {
    FailureOr<EvalTensor> wide = broadcastTensor(
        ctx.node, ctx.state, c.toFloat(f64), product->getShape());
    if (failed(wide))
      return failure();
    for (auto [x, y] : llvm::zip(product->mutableFloats(), wide->floats()))
      x += beta * y;
  }
  if (!isFloat)
    product = castTensor(ctx.node, ctx.state, product->retyped(f64), type);
  if (failed(product))
    return failure();
  ctx.setOutput(0, product->retyped(type));
  return success();
}

//===----------------------------------------------------------------------===//
// com.microsoft
//===----------------------------------------------------------------------===//

/// Moves the batch axes of [m, batch..., k] behind: [batch..., m, k].
static FailureOr<EvalTensor> batchFirst(EvalContext &ctx, const EvalTensor &x) {
  SmallVector<int64_t> perm;
  for (int64_t d = 1; d + 1 < x.getRank(); ++d)
    perm.push_back(d);
  perm.push_back(0);
  perm.push_back(x.getRank() - 1);
  return transposeTensor(ctx.node, ctx.state, x, perm);
}

static LogicalResult evalFusedMatMul(EvalContext &ctx) {
  FailureOr<EvalTensor> a = ctx.requireFloat(0), b = ctx.requireFloat(1);
  if (failed(a) || failed(b))
    return failure();
  if (a->getRank() >= 3 && ctx.getInt("transBatchA", 0) != 0)
    a = batchFirst(ctx, *a);
  if (succeeded(b) && b->getRank() >= 3 && ctx.getInt("transBatchB", 0) != 0)
    b = batchFirst(ctx, *b);
  if (succeeded(a) && a->getRank() >= 2 && ctx.getInt("transA", 0) != 0)
    a = swapLast(ctx, *a);
  if (succeeded(b) && b->getRank() >= 2 && ctx.getInt("transB", 0) != 0)
    b = swapLast(ctx, *b);
  if (failed(a) || failed(b))
    return failure();
  FailureOr<EvalTensor> result = matmulTensors(ctx.node, ctx.state, *a, *b);
  if (failed(result))
    return failure();
  double alpha = ctx.getFloat("alpha", 1);
  for (double &x : result->mutableFloats())
    x *= alpha;
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalGemmFastGelu(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0), w = ctx.requireFloat(1);
  if (failed(x) || failed(w))
    return failure();
  FailureOr<EvalTensor> result = matmulTensors(ctx.node, ctx.state, *x, *w);
  if (failed(result))
    return failure();
  EvalTensor bias = ctx.input(2);
  int64_t n = result->getRank() ? result->getDim(-1) : 0;
  if (!bias.isNull() && (!bias.isFloat() || bias.getNumElements() != n))
    return ctx.error("the bias does not fit");
  MutableArrayRef<double> out = result->mutableFloats();
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = geluTanh(out[i] + (bias.isNull() ? 0 : bias.floats()[i % n]));
  ctx.setOutput(0, *result);
  return success();
}

/// Code `i` of a row of `bits`-wide codes packed low bits first.
static int64_t codeAt(ArrayRef<int64_t> bytes, int64_t i, int64_t bits) {
  int64_t perByte = 8 / bits;
  return (bytes[i / perByte] >> (i % perByte * bits)) & ((1 << bits) - 1);
}

static LogicalResult evalMatMulNBits(EvalContext &ctx) {
  FailureOr<EvalTensor> a = ctx.requireFloat(0), codes = ctx.requireInt(1),
                        scales = ctx.requireFloat(2);
  if (failed(a) || failed(codes) || failed(scales))
    return failure();
  int64_t k = ctx.getInt("K", 0), n = ctx.getInt("N", 0);
  int64_t bits = ctx.getInt("bits", 4), block = ctx.getInt("block_size", 0);
  if (k < 1 || n < 1 || block < 1 || (bits != 2 && bits != 4 && bits != 8) ||
      k > (int64_t(1) << 32) || n > (int64_t(1) << 32) || block % 8 != 0)
    return ctx.error("K, N, bits or block_size is not supported", "E101");
  int64_t blocks = (k + block - 1) / block, blockBytes = block * bits / 8;
  if (codes->getNumElements() != n * blocks * blockBytes ||
      scales->getNumElements() != n * blocks)
    return ctx.error("codes " + shapeText(codes->getShape()) + " or scales " +
                     shapeText(scales->getShape()) +
                     " do not fit K = " + Twine(k) + ", N = " + Twine(n));
  EvalTensor zeros = ctx.input(3), groups = ctx.input(4), bias = ctx.input(5);
  int64_t zeroBytes = (blocks * bits + 7) / 8;
  if (!zeros.isNull() &&
      zeros.getNumElements() != n * (zeros.isFloat() ? blocks : zeroBytes))
    return ctx.error("zero points " + shapeText(zeros.getShape()) +
                     " do not fit");
  if (!groups.isNull() && (!groups.isInteger() || groups.getNumElements() < k ||
                           llvm::any_of(groups.ints(), [&](int64_t g) {
                             return g < 0 || g >= blocks;
                           })))
    return ctx.error("g_idx does not fit");
  FailureOr<EvalTensor> w = ctx.allocate(a->getElementType(), {n, k});
  if (failed(w))
    return failure();
  MutableArrayRef<double> out = w->mutableFloats();
  for (int64_t row = 0; row < n; ++row)
    for (int64_t j = 0; j < k; ++j) {
      int64_t b = groups.isNull() ? j / block : groups.ints()[j];
      double zero = static_cast<double>(int64_t(1) << (bits - 1));
      if (!zeros.isNull())
        zero = zeros.isFloat()
                   ? zeros.floats()[row * blocks + b]
                   : codeAt(zeros.ints().slice(row * zeroBytes, zeroBytes), b,
                            bits);
      int64_t at = j / block;
      int64_t code = codeAt(
          codes->ints().slice((row * blocks + at) * blockBytes, blockBytes),
          j % block, bits);
      out[row * k + j] = (static_cast<double>(code) - zero) *
                         scales->floats()[row * blocks + b];
    }
  FailureOr<EvalTensor> result =
      linearTensors(ctx.node, ctx.state, *a, *w, bias);
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

//===----------------------------------------------------------------------===//
// Integer products
//===----------------------------------------------------------------------===//

/// `x` minus its zero point, which is one element or one a row (column).
static FailureOr<EvalTensor> subtractZero(EvalContext &ctx, const EvalTensor &x,
                                          const EvalTensor &zero, bool perRow) {
  EvalTensor result = x.retyped(ctx.i64());
  if (zero.isNull())
    return result;
  int64_t count = zero.getNumElements(), rank = x.getRank();
  int64_t cols = rank ? x.getDim(-1) : 1;
  int64_t rows = rank > 1 ? x.getDim(-2) : 1;
  if (!zero.isInteger() || (count != 1 && count != (perRow ? rows : cols)))
    return ctx.error("a zero point of shape " + shapeText(zero.getShape()) +
                     " does not fit " + shapeText(x.getShape()));
  MutableArrayRef<int64_t> out = result.mutableInts();
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t line = perRow ? static_cast<int64_t>(i) / cols % rows
                          : static_cast<int64_t>(i) % cols;
    out[i] -= zero.ints()[count == 1 ? 0 : line];
  }
  return result;
}

static LogicalResult evalMatMulInteger(EvalContext &ctx) {
  FailureOr<EvalTensor> a = ctx.requireInt(0), b = ctx.requireInt(1);
  if (failed(a) || failed(b))
    return failure();
  a = subtractZero(ctx, *a, ctx.input(2), /*perRow=*/true);
  b = subtractZero(ctx, *b, ctx.input(3), /*perRow=*/false);
  if (failed(a) || failed(b))
    return failure();
  FailureOr<EvalTensor> result = matmulInts(ctx, *a, *b, ctx.i32());
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

/// Entry of a scale that is one number or one a row (column).
static double scaleAt(const EvalTensor &scale, int64_t line) {
  return scale.floats()[scale.getNumElements() == 1 ? 0 : line];
}

static LogicalResult evalQLinearMatMul(EvalContext &ctx) {
  FailureOr<EvalTensor> a = ctx.requireInt(0), aScale = ctx.requireFloat(1),
                        b = ctx.requireInt(3), bScale = ctx.requireFloat(4),
                        yScale = ctx.requireFloat(6), yZero = ctx.requireInt(7);
  if (failed(a) || failed(aScale) || failed(b) || failed(bScale) ||
      failed(yScale) || failed(yZero))
    return failure();
  a = subtractZero(ctx, *a, ctx.input(2), /*perRow=*/true);
  b = subtractZero(ctx, *b, ctx.input(5), /*perRow=*/false);
  if (failed(a) || failed(b))
    return failure();
  FailureOr<EvalTensor> product = matmulInts(ctx, *a, *b, ctx.i64());
  if (failed(product))
    return failure();
  int64_t rank = product->getRank();
  int64_t cols = rank ? product->getDim(-1) : 1;
  int64_t rows = rank > 1 ? product->getDim(-2) : 1;
  auto fits = [](const EvalTensor &x, int64_t lines) {
    return x.getNumElements() == 1 || x.getNumElements() == lines;
  };
  if (!fits(*aScale, rows) || !fits(*bScale, cols) || !fits(*yScale, rows) ||
      !fits(*yZero, rows))
    return ctx.error("a scale or zero point does not fit");
  Type type = yZero->getElementType();
  auto [least, greatest] = intTypeRange(type);
  FailureOr<EvalTensor> result = ctx.allocate(type, product->getShape());
  if (failed(result))
    return failure();
  MutableArrayRef<int64_t> out = result->mutableInts();
  for (int64_t i = 0; i < product->getNumElements(); ++i) {
    int64_t row = i / cols % rows;
    // Runtimes make one float of the three scales and round one product.
    auto factor = static_cast<float>(
        static_cast<float>(scaleAt(*aScale, row) * scaleAt(*bScale, i % cols)) /
        scaleAt(*yScale, row));
    double y = std::nearbyint(static_cast<float>(
                   static_cast<double>(product->ints()[i]) * factor)) +
               static_cast<double>(
                   yZero->ints()[yZero->getNumElements() == 1 ? 0 : row]);
    out[i] = static_cast<int64_t>(std::clamp(y, static_cast<double>(least),
                                             static_cast<double>(greatest)));
  }
  ctx.setOutput(0, *result);
  return success();
}

FFN_REGISTER_OPS(MatMulEval) {
  table.addEval("", "MatMul", 1, evalMatMul);
  table.addEval("", "Gemm", 1, evalGemm);
  table.addEval("", "MatMulInteger", 1, evalMatMulInteger);
  table.addEval("", "QLinearMatMul", 1, evalQLinearMatMul);
  table.addEval("com.microsoft", "FusedMatMul", 1, evalFusedMatMul);
  table.addEval("com.microsoft", "TransposeMatMul", 1, evalFusedMatMul);
  table.addEval("com.microsoft", "GemmFastGelu", 1, evalGemmFastGelu);
  table.addEval("com.microsoft", "MatMulNBits", 1, evalMatMulNBits);
}
