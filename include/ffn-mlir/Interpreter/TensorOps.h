//===- TensorOps.h - Shared pieces of evaluation ----------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_INTERPRETER_TENSOROPS_H
#define FFN_MLIR_INTERPRETER_TENSOROPS_H

#include "ffn-mlir/Interpreter/Interpreter.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include <limits>

namespace mlir::ffn {

//===----------------------------------------------------------------------===//
// Indexing
//===----------------------------------------------------------------------===//

/// Row-major strides in elements.
SmallVector<int64_t> rowMajorStrides(ArrayRef<int64_t> shape);
/// Strides that read a tensor of `from` as if broadcast to `to` (0 along
/// broadcast dims); `from` must broadcast to `to`.
SmallVector<int64_t> broadcastStrides(ArrayRef<int64_t> from,
                                      ArrayRef<int64_t> to);
/// Product of dims [begin, end).
int64_t productOf(ArrayRef<int64_t> shape, int64_t begin, int64_t end);

/// Walks a shape in row-major order and keeps the offset under other strides.
class StridedWalk {
public:
  StridedWalk(ArrayRef<int64_t> shape, ArrayRef<int64_t> strides,
              int64_t start = 0)
      : shape(shape), strides(strides), index(shape.size(), 0), offset(start) {}
  int64_t getOffset() const { return offset; }
  ArrayRef<int64_t> getIndex() const { return index; }
  void next() {
    for (size_t d = shape.size(); d-- > 0;) {
      offset += strides[d];
      if (++index[d] < shape[d])
        return;
      offset -= strides[d] * shape[d];
      index[d] = 0;
    }
  }

private:
  SmallVector<int64_t> shape, strides, index;
  int64_t offset;
};

/// dst[i] = src[index(i)] for all i in ascending order, whatever the storage;
/// a negative index leaves the element.
template <typename IndexFn>
void gatherElements(const EvalTensor &src, EvalTensor &dst, IndexFn index) {
  auto run = [&](auto in, auto out) {
    for (size_t i = 0; i < out.size(); ++i)
      if (int64_t from = index(static_cast<int64_t>(i)); from >= 0)
        out[i] = in[from];
  };
  if (dst.isFloat())
    run(src.floats(), dst.mutableFloats());
  else if (dst.isString())
    run(src.strings(), dst.mutableStrings());
  else
    run(src.ints(), dst.mutableInts());
}

/// Copies `count` elements from `src` at `from` to `dst` at `to`.
void copyElements(const EvalTensor &src, int64_t from, EvalTensor &dst,
                  int64_t to, int64_t count);
/// Sets all elements of `dst` to element `i` of `src` (same storage class).
void fillWith(EvalTensor &dst, const EvalTensor &src, int64_t i = 0);

//===----------------------------------------------------------------------===//
// Whole tensors. Errors are reported at `op`.
//===----------------------------------------------------------------------===//

FailureOr<EvalTensor> concatTensors(Operation *op, EvalState &state,
                                    ArrayRef<EvalTensor> tensors, int64_t axis);
/// Elements [start, start + size) along `axis`, which must be in range.
FailureOr<EvalTensor> sliceAlongAxis(Operation *op, EvalState &state,
                                     const EvalTensor &tensor, int64_t axis,
                                     int64_t start, int64_t size);
/// `perm` must be a permutation of the axes.
FailureOr<EvalTensor> transposeTensor(Operation *op, EvalState &state,
                                      const EvalTensor &tensor,
                                      ArrayRef<int64_t> perm);
/// An error unless `tensor` broadcasts to `shape` in one direction.
FailureOr<EvalTensor> broadcastTensor(Operation *op, EvalState &state,
                                      const EvalTensor &tensor,
                                      ArrayRef<int64_t> shape);

/// Numbers converted to another element type. Floats are rounded where the
/// target cannot hold every value of the declared source type; float to integer
/// truncates. Strings are an error.
FailureOr<EvalTensor> castTensor(Operation *op, EvalState &state,
                                 const EvalTensor &tensor, Type elementType,
                                 Overflow overflow = Overflow::Saturate);

/// NumPy's matmul on floating tensors of rank 1 or more.
FailureOr<EvalTensor> matmulTensors(Operation *op, EvalState &state,
                                    const EvalTensor &a, const EvalTensor &b);
/// x W^T (+ bias): x is [..., in], W is [out, in], bias [out] or null.
FailureOr<EvalTensor> linearTensors(Operation *op, EvalState &state,
                                    const EvalTensor &x, const EvalTensor &w,
                                    const EvalTensor &bias);

/// Softmax of each row of `width` elements in place; a row of -inf alone
/// becomes NaN, as exp(-inf - -inf) is. `sink` is one more logit of each row.
void softmaxRows(MutableArrayRef<double> values, int64_t width,
                 std::optional<double> sink = std::nullopt);

/// One value of an activation.
double geluErf(double x);
double geluTanh(double x);
double sigmoid(double x);

/// `fn` of each element of a floating tensor.
template <typename Fn>
FailureOr<EvalTensor> mapFloats(Operation *op, EvalState &state,
                                const EvalTensor &x, Fn fn) {
  FailureOr<EvalTensor> result =
      state.allocate(op, x.getElementType(), x.getShape());
  if (failed(result))
    return failure();
  MutableArrayRef<double> out = result->mutableFloats();
  ArrayRef<double> in = x.floats();
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = fn(in[i]);
  return result;
}

/// `fn` of broadcast pairs of elements of two floating tensors.
template <typename Fn>
FailureOr<EvalTensor> zipFloats(Operation *op, EvalState &state,
                                const EvalTensor &a, const EvalTensor &b,
                                ArrayRef<int64_t> shape, Type elementType,
                                Fn fn) {
  FailureOr<EvalTensor> result = state.allocate(op, elementType, shape);
  if (failed(result))
    return failure();
  MutableArrayRef<double> out = result->mutableFloats();
  ArrayRef<double> x = a.floats(), y = b.floats();
  if (a.getShape() == shape && b.getShape() == shape) {
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = fn(x[i], y[i]);
    return result;
  }
  StridedWalk aWalk(shape, broadcastStrides(a.getShape(), shape));
  StridedWalk bWalk(shape, broadcastStrides(b.getShape(), shape));
  for (double &value : out) {
    value = fn(x[aWalk.getOffset()], y[bWalk.getOffset()]);
    aWalk.next();
    bWalk.next();
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

/// softmax(scale * q k^T + bias) v with what the dialects differ in.
struct AttentionOptions {
  double scale = 1;
  /// Scores s become softcap * tanh(s / softcap); 0: they do not.
  double softcap = 0;
  /// Query s sees keys up to s + causalOffset; unset: all.
  std::optional<int64_t> causalOffset;
  /// What is added to a score that `visible` or the causal rule hides.
  double hiddenBias = -std::numeric_limits<double>::infinity();
  /// A row whose scores are all -inf gives zeros instead of NaN.
  bool emptyRowsAreZero = true;
  /// One logit for each query head that takes part in the softmax but has no
  /// value; empty: none.
  SmallVector<double> sinks;
};

/// q [B, H, S, D], k [B, G, T, D], v [B, G, T, E] with G dividing H, all
/// floating; `bias` [broadcasts to B, H, S, T] is added, may be null.
/// `visible` tells which keys are seen; may be null. The result is
/// [B, H, S, E]; `stage` (0 none, 1 scaled scores, 2 after softcap, 3 after
/// bias, 4 after softmax) selects what is copied to `scores` [B, H, S, T].
FailureOr<EvalTensor>
attend(Operation *op, EvalState &state, const EvalTensor &q,
       const EvalTensor &k, const EvalTensor &v, const EvalTensor &bias,
       const AttentionOptions &options,
       llvm::function_ref<bool(int64_t b, int64_t h, int64_t s, int64_t t)>
           visible = nullptr,
       int stage = 0, EvalTensor *scores = nullptr);

/// [B, S, heads * D] as [B, heads, S, D]; an error if heads does not divide.
FailureOr<EvalTensor> splitHeads(Operation *op, EvalState &state,
                                 const EvalTensor &x, int64_t heads);
/// [B, N, S, D] as [B, S, N * D].
FailureOr<EvalTensor> mergeHeads(Operation *op, EvalState &state,
                                 const EvalTensor &x);
/// Rotates the first `width` entries of each head of x [B, N, S, D] by the
/// angles in row `row(b, s)` of the caches, whose last dim is width / 2.
LogicalResult
rotateHeads(Operation *op, EvalTensor &x, int64_t width, bool interleaved,
            const EvalTensor &cos, const EvalTensor &sin,
            llvm::function_ref<int64_t(int64_t b, int64_t s)> row);

//===----------------------------------------------------------------------===//
// Normalisation
//===----------------------------------------------------------------------===//

struct NormOptions {
  double eps = 0;
  /// Root mean square only: no mean is subtracted.
  bool rms = false;
  /// eps is added to the root and not under it.
  bool outerEps = false;
};

/// Normalises rows of `width` elements. `scale` and `bias` may be null; they
/// are indexed modulo their count within a row. `means` and `inverses`, if
/// given, get one value a row.
FailureOr<EvalTensor>
normalizeRows(Operation *op, EvalState &state, const EvalTensor &x,
              int64_t width, const EvalTensor &scale, const EvalTensor &bias,
              const NormOptions &options, EvalTensor *means = nullptr,
              EvalTensor *inverses = nullptr);

} // namespace mlir::ffn

#endif // FFN_MLIR_INTERPRETER_TENSOROPS_H
