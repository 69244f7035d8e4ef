//===- TensorOps.cpp - Shared pieces of evaluation ------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/TensorOps.h"
#include "FloatRounding.h"
#include "ffn-mlir/Interpreter/Kernels.h"
#include "llvm/ADT/APFloat.h"
#include <cmath>
#include <limits>

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Indexing
//===----------------------------------------------------------------------===//

SmallVector<int64_t> mlir::ffn::rowMajorStrides(ArrayRef<int64_t> shape) {
  SmallVector<int64_t> strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;)
    strides[d - 1] = strides[d] * shape[d];
  return strides;
}

SmallVector<int64_t> mlir::ffn::broadcastStrides(ArrayRef<int64_t> from,
                                                 ArrayRef<int64_t> to) {
  SmallVector<int64_t> own = rowMajorStrides(from);
  SmallVector<int64_t> strides(to.size(), 0);
  for (size_t i = 1; i <= from.size() && i <= to.size(); ++i)
    if (from[from.size() - i] != 1)
      strides[to.size() - i] = own[from.size() - i];
  return strides;
}

int64_t mlir::ffn::productOf(ArrayRef<int64_t> shape, int64_t begin,
                             int64_t end) {
  int64_t product = 1;
  for (int64_t d = begin; d < end; ++d)
    product *= shape[d];
  return product;
}

void mlir::ffn::copyElements(const EvalTensor &src, int64_t from,
                             EvalTensor &dst, int64_t to, int64_t count) {
  if (dst.isFloat())
    llvm::copy(src.floats().slice(from, count),
               dst.mutableFloats().begin() + to);
  else if (dst.isString())
    llvm::copy(src.strings().slice(from, count),
               dst.mutableStrings().begin() + to);
  else
    llvm::copy(src.ints().slice(from, count), dst.mutableInts().begin() + to);
}

void mlir::ffn::fillWith(EvalTensor &dst, const EvalTensor &src, int64_t i) {
  if (dst.isFloat())
    llvm::fill(dst.mutableFloats(), src.floats()[i]);
  else if (dst.isString())
    llvm::fill(dst.mutableStrings(), src.strings()[i]);
  else
    llvm::fill(dst.mutableInts(), src.ints()[i]);
}

//===----------------------------------------------------------------------===//
// Whole tensors
//===----------------------------------------------------------------------===//

FailureOr<EvalTensor> mlir::ffn::concatTensors(Operation *op, EvalState &state,
                                               ArrayRef<EvalTensor> tensors,
                                               int64_t axis) {
  if (tensors.empty())
    return evalError(op, "E102", "nothing to concatenate");
  SmallVector<int64_t> shape(tensors[0].getShape());
  shape[axis] = 0;
  for (const EvalTensor &tensor : tensors) {
    bool fits = tensor.getRank() == static_cast<int64_t>(shape.size()) &&
                tensor.isFloat() == tensors[0].isFloat() &&
                tensor.isString() == tensors[0].isString();
    for (int64_t d = 0; fits && d < tensor.getRank(); ++d)
      fits = d == axis || tensor.getDim(d) == shape[d];
    if (!fits)
      return evalError(op, "E102",
                       "shape " + shapeText(tensor.getShape()) +
                           " cannot be concatenated to " +
                           shapeText(tensors[0].getShape()) + " along axis " +
                           Twine(axis));
    if (llvm::AddOverflow(shape[axis], tensor.getDim(axis), shape[axis]))
      return evalError(op, "E102", "the concatenated size overflows");
  }
  FailureOr<EvalTensor> result =
      state.allocate(op, tensors[0].getElementType(), shape);
  if (failed(result) || result->getNumElements() == 0)
    return result;
  int64_t outer = productOf(shape, 0, axis);
  int64_t inner = productOf(shape, axis + 1, shape.size());
  int64_t to = 0;
  for (int64_t i = 0; i < outer; ++i)
    for (const EvalTensor &tensor : tensors) {
      int64_t count = tensor.getDim(axis) * inner;
      copyElements(tensor, i * count, *result, to, count);
      to += count;
    }
  return result;
}

FailureOr<EvalTensor> mlir::ffn::sliceAlongAxis(Operation *op, EvalState &state,
                                                const EvalTensor &tensor,
                                                int64_t axis, int64_t start,
                                                int64_t size) {
  SmallVector<int64_t> shape(tensor.getShape());
  int64_t full = shape[axis];
  shape[axis] = size;
  FailureOr<EvalTensor> result =
      state.allocate(op, tensor.getElementType(), shape);
  if (failed(result) || result->getNumElements() == 0)
    return result;
  int64_t outer = productOf(shape, 0, axis);
  int64_t inner = productOf(shape, axis + 1, shape.size());
  for (int64_t i = 0; i < outer; ++i)
    copyElements(tensor, (i * full + start) * inner, *result, i * size * inner,
                 size * inner);
  return result;
}

FailureOr<EvalTensor> mlir::ffn::transposeTensor(Operation *op,
                                                 EvalState &state,
                                                 const EvalTensor &tensor,
                                                 ArrayRef<int64_t> perm) {
  SmallVector<int64_t> own = rowMajorStrides(tensor.getShape());
  SmallVector<int64_t> shape, strides;
  for (int64_t axis : perm) {
    shape.push_back(tensor.getDim(axis));
    strides.push_back(own[axis]);
  }
  FailureOr<EvalTensor> result =
      state.allocate(op, tensor.getElementType(), shape);
  if (failed(result))
    return failure();
  StridedWalk walk(shape, strides);
  gatherElements(tensor, *result, [&](int64_t) {
    int64_t offset = walk.getOffset();
    walk.next();
    return offset;
  });
  return result;
}

FailureOr<EvalTensor> mlir::ffn::broadcastTensor(Operation *op,
                                                 EvalState &state,
                                                 const EvalTensor &tensor,
                                                 ArrayRef<int64_t> shape) {
  if (tensor.getShape() == shape)
    return tensor;
  ArrayRef<int64_t> from = tensor.getShape();
  bool fits = from.size() <= shape.size();
  for (size_t i = 1; fits && i <= from.size(); ++i)
    fits = from[from.size() - i] == 1 ||
           from[from.size() - i] == shape[shape.size() - i];
  if (!fits)
    return evalError(op, "E102",
                     "shape " + shapeText(from) + " does not broadcast to " +
                         shapeText(shape));
  FailureOr<EvalTensor> result =
      state.allocate(op, tensor.getElementType(), shape);
  if (failed(result))
    return failure();
  StridedWalk walk(shape, broadcastStrides(from, shape));
  gatherElements(tensor, *result, [&](int64_t) {
    int64_t offset = walk.getOffset();
    walk.next();
    return offset;
  });
  return result;
}

FailureOr<EvalTensor> mlir::ffn::castTensor(Operation *op, EvalState &state,
                                            const EvalTensor &tensor,
                                            Type elementType,
                                            Overflow overflow) {
  Type from = tensor.getElementType();
  if (tensor.isNull() || from == elementType)
    return tensor;
  FailureOr<EvalTensor> result =
      state.allocate(op, elementType, tensor.getShape());
  if (failed(result))
    return failure();
  if (tensor.isString() || result->isString())
    return evalError(op, "E101", "strings are not converted here");
  int64_t count = tensor.getNumElements();
  auto target = llvm::dyn_cast<FloatType>(elementType);
  if (!target) {
    MutableArrayRef<int64_t> out = result->mutableInts();
    if (tensor.isFloat())
      for (int64_t i = 0; i < count; ++i)
        out[i] = floatToIntType(elementType, tensor.floats()[i]);
    else
      for (int64_t i = 0; i < count; ++i)
        out[i] = wrapToIntType(elementType, tensor.ints()[i]);
    return result;
  }
  auto source = llvm::dyn_cast<FloatType>(from);
  FloatFormat format = getFloatFormat(target);
  bool exact =
      !format.supported || target.isF64() ||
      (source && llvm::APFloat::isRepresentableBy(source.getFloatSemantics(),
                                                  target.getFloatSemantics()));
  // Only the types below 16 bits saturate.
  if (format.bits > 8)
    overflow = Overflow::ToInfinity;
  MutableArrayRef<double> out = result->mutableFloats();
  for (int64_t i = 0; i < count; ++i) {
    double value = tensor.asDouble(i);
    out[i] = exact            ? value
             : target.isF32() ? static_cast<float>(value)
                              : roundToFormat(format, value, overflow);
  }
  return result;
}

FailureOr<EvalTensor> mlir::ffn::matmulTensors(Operation *op, EvalState &state,
                                               const EvalTensor &a,
                                               const EvalTensor &b) {
  auto mismatch = [&] {
    return evalError(op, "E102",
                     "cannot multiply " + shapeText(a.getShape()) + " by " +
                         shapeText(b.getShape()));
  };
  if (a.getRank() < 1 || b.getRank() < 1)
    return mismatch();
  SmallVector<int64_t> as(a.getShape()), bs(b.getShape());
  bool aVector = as.size() == 1, bVector = bs.size() == 1;
  if (aVector)
    as.insert(as.begin(), 1);
  if (bVector)
    bs.push_back(1);
  int64_t m = as[as.size() - 2], k = as.back(), n = bs.back();
  if (bs[bs.size() - 2] != k)
    return mismatch();
  ArrayRef<int64_t> aBatch = ArrayRef(as).drop_back(2);
  ArrayRef<int64_t> bBatch = ArrayRef(bs).drop_back(2);
  SmallVector<int64_t> batch(std::max(aBatch.size(), bBatch.size()));
  for (size_t i = 1; i <= batch.size(); ++i) {
    int64_t x = i <= aBatch.size() ? aBatch[aBatch.size() - i] : 1;
    int64_t y = i <= bBatch.size() ? bBatch[bBatch.size() - i] : 1;
    if (x != y && x != 1 && y != 1)
      return mismatch();
    batch[batch.size() - i] = x == 1 ? y : x;
  }
  SmallVector<int64_t> shape(batch);
  if (!aVector)
    shape.push_back(m);
  if (!bVector)
    shape.push_back(n);
  FailureOr<EvalTensor> result = state.allocate(op, a.getElementType(), shape);
  if (failed(result) || result->getNumElements() == 0)
    return result;
  double *out = result->mutableFloats().data();
  const double *aData = a.floats().data(), *bData = b.floats().data();
  // One weight for all batches: one product with more rows.
  if (bBatch.empty() || productOf(bBatch, 0, bBatch.size()) == 1) {
    multiply(productOf(batch, 0, batch.size()) * m, n, k, {aData, k, 1},
             {bData, n, 1}, out, n);
    return result;
  }
  StridedWalk aWalk(batch, broadcastStrides(aBatch, batch));
  StridedWalk bWalk(batch, broadcastStrides(bBatch, batch));
  for (int64_t i = 0, e = productOf(batch, 0, batch.size()); i < e; ++i) {
    multiply(m, n, k, {aData + aWalk.getOffset() * m * k, k, 1},
             {bData + bWalk.getOffset() * k * n, n, 1}, out + i * m * n, n);
    aWalk.next();
    bWalk.next();
  }
  return result;
}

FailureOr<EvalTensor> mlir::ffn::linearTensors(Operation *op, EvalState &state,
                                               const EvalTensor &x,
                                               const EvalTensor &w,
                                               const EvalTensor &bias) {
  if (x.isNull() || w.isNull() || !x.isFloat() || !w.isFloat() ||
      w.getRank() != 2 || x.getRank() < 1 || x.getDim(-1) != w.getDim(1))
    return evalError(op, "E102",
                     "cannot apply a weight of shape " +
                         shapeText(w.getShape()) + " to " +
                         shapeText(x.getShape()));
  int64_t n = w.getDim(0), k = w.getDim(1);
  if (!bias.isNull() && (!bias.isFloat() || bias.getNumElements() != n))
    return evalError(op, "E102",
                     "the bias " + shapeText(bias.getShape()) +
                         " does not have " + Twine(n) + " elements");
  SmallVector<int64_t> shape(x.getShape());
  shape.back() = n;
  FailureOr<EvalTensor> result = state.allocate(op, x.getElementType(), shape);
  if (failed(result) || result->getNumElements() == 0)
    return result;
  MutableArrayRef<double> out = result->mutableFloats();
  int64_t rows = productOf(shape, 0, shape.size() - 1);
  multiply(rows, n, k, {x.floats().data(), k, 1}, {w.floats().data(), 1, k},
           out.data(), n);
  if (!bias.isNull())
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < n; ++j)
        out[i * n + j] += bias.floats()[j];
  return result;
}

void mlir::ffn::softmaxRows(MutableArrayRef<double> values, int64_t width,
                            std::optional<double> sink) {
  for (size_t begin = 0; begin < values.size(); begin += width) {
    MutableArrayRef<double> row = values.slice(begin, width);
    double largest = sink.value_or(-std::numeric_limits<double>::infinity());
    for (double x : row)
      largest = std::isnan(x) ? x : std::max(largest, x);
    double sum = sink ? std::exp(*sink - largest) : 0;
    for (double &x : row) {
      x = std::exp(x - largest);
      sum += x;
    }
    for (double &x : row)
      x /= sum;
  }
}

double mlir::ffn::geluErf(double x) {
  return 0.5 * x * (1 + std::erf(x * 0.70710678118654752440));
}

double mlir::ffn::geluTanh(double x) {
  return 0.5 * x *
         (1 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}

double mlir::ffn::sigmoid(double x) {
  if (x >= 0)
    return 1 / (1 + std::exp(-x));
  double e = std::exp(x);
  return e / (1 + e);
}

FailureOr<EvalTensor>
mlir::ffn::normalizeRows(Operation *op, EvalState &state, const EvalTensor &x,
                         int64_t width, const EvalTensor &scale,
                         const EvalTensor &bias, const NormOptions &options,
                         EvalTensor *means, EvalTensor *inverses) {
  FailureOr<EvalTensor> result =
      state.allocate(op, x.getElementType(), x.getShape());
  if (failed(result))
    return failure();
  if (result->getNumElements() == 0) {
    // Rows of nothing have no mean.
    for (EvalTensor *statistic : {means, inverses})
      if (statistic)
        llvm::fill(statistic->mutableFloats(),
                   std::numeric_limits<double>::quiet_NaN());
    return result;
  }
  ArrayRef<double> in = x.floats();
  MutableArrayRef<double> out = result->mutableFloats();
  for (const EvalTensor *factor : {&scale, &bias})
    if (!factor->isNull() &&
        (!factor->isFloat() || factor->getNumElements() == 0 ||
         width % factor->getNumElements() != 0))
      return evalError(op, "E102",
                       "scale or bias " + shapeText(factor->getShape()) +
                           " does not fit rows of " + Twine(width));
  int64_t rows = x.getNumElements() / width;
  for (int64_t r = 0; r < rows; ++r) {
    ArrayRef<double> row = in.slice(r * width, width);
    double mean = 0;
    if (!options.rms) {
      for (double v : row)
        mean += v;
      mean /= static_cast<double>(width);
    }
    double variance = 0;
    for (double v : row)
      variance += (v - mean) * (v - mean);
    variance /= static_cast<double>(width);
    double inverse = options.outerEps ? 1 / (std::sqrt(variance) + options.eps)
                                      : 1 / std::sqrt(variance + options.eps);
    for (int64_t j = 0; j < width; ++j) {
      double v = (row[j] - mean) * inverse;
      if (!scale.isNull())
        v *= scale.floats()[j % scale.getNumElements()];
      if (!bias.isNull())
        v += bias.floats()[j % bias.getNumElements()];
      out[r * width + j] = v;
    }
    if (means)
      means->mutableFloats()[r] = mean;
    if (inverses)
      inverses->mutableFloats()[r] = inverse;
  }
  return result;
}
