//===- ConvEval.cpp - Convolutions and pooling ----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/Kernels.h"
#include "ffn-mlir/Interpreter/TensorOps.h"
#include "ffn-mlir/Ops/OpTable.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Windows
//===----------------------------------------------------------------------===//

namespace {
/// A sliding window over the spatial dims of [N, C, ...].
struct Window {
  SmallVector<int64_t> input, kernel, strides, dilations, before, after, output;

  int64_t rank() const { return input.size(); }
  int64_t reach(int64_t d) const { return (kernel[d] - 1) * dilations[d] + 1; }
  int64_t inputSize() const { return productOf(input, 0, rank()); }
  int64_t outputSize() const { return productOf(output, 0, rank()); }
  int64_t kernelSize() const { return productOf(kernel, 0, rank()); }

  /// Offset within the input plane of kernel position `k` at output position
  /// `o`; -1 in the padding.
  int64_t source(ArrayRef<int64_t> o, ArrayRef<int64_t> k) const {
    int64_t offset = 0;
    for (int64_t d = 0; d < rank(); ++d) {
      int64_t i = o[d] * strides[d] - before[d] + k[d] * dilations[d];
      if (i < 0 || i >= input[d])
        return -1;
      offset = offset * input[d] + i;
    }
    return offset;
  }
  /// Whether it lies within the declared padding of the input.
  bool inPadding(ArrayRef<int64_t> o, ArrayRef<int64_t> k) const {
    for (int64_t d = 0; d < rank(); ++d) {
      int64_t i = o[d] * strides[d] - before[d] + k[d] * dilations[d];
      if (i >= input[d] + after[d])
        return false;
    }
    return true;
  }
};
} // namespace

/// Calls `fn(output position, kernel position, offset or -1)` for all pairs.
template <typename Fn> static void forEachTap(const Window &window, Fn fn) {
  SmallVector<int64_t> zeros(window.rank(), 0);
  StridedWalk out(window.output, zeros);
  for (int64_t o = 0, n = window.outputSize(); o < n; ++o) {
    StridedWalk kernel(window.kernel, zeros);
    for (int64_t k = 0, e = window.kernelSize(); k < e; ++k) {
      fn(o, k, window.source(out.getIndex(), kernel.getIndex()), out.getIndex(),
         kernel.getIndex());
      kernel.next();
    }
    out.next();
  }
}

/// Reads the attributes and computes padding and output dims.
static FailureOr<Window> getWindow(EvalContext &ctx, ArrayRef<int64_t> shape,
                                   ArrayRef<int64_t> kernel, bool ceilMode) {
  Window window;
  if (shape.size() < 3)
    return ctx.error("needs an input [N, C, ...]");
  window.input.assign(shape.begin() + 2, shape.end());
  int64_t rank = window.rank();
  auto list = [&](StringRef name, size_t size, int64_t otherwise) {
    auto given = ctx.getInts(name);
    return given && !given->empty() ? *given
                                    : SmallVector<int64_t>(size, otherwise);
  };
  window.kernel.assign(kernel.begin(), kernel.end());
  window.strides = list("strides", rank, 1);
  window.dilations = list("dilations", rank, 1);
  SmallVector<int64_t> pads = list("pads", 2 * rank, 0);
  auto small = [](int64_t low) {
    return [low](int64_t x) { return x < low || x > (int64_t(1) << 30); };
  };
  if (static_cast<int64_t>(window.kernel.size()) != rank ||
      static_cast<int64_t>(window.strides.size()) != rank ||
      static_cast<int64_t>(window.dilations.size()) != rank ||
      static_cast<int64_t>(pads.size()) != 2 * rank ||
      llvm::any_of(window.kernel, small(1)) ||
      llvm::any_of(window.strides, small(1)) ||
      llvm::any_of(window.dilations, small(1)) || llvm::any_of(pads, small(0)))
    return ctx.error("kernel, strides, dilations or pads do not fit " +
                     Twine(rank) + " spatial dims");
  StringRef mode = ctx.getString("auto_pad", "NOTSET");
  for (int64_t d = 0; d < rank; ++d) {
    int64_t size = window.input[d], stride = window.strides[d];
    int64_t low = pads[d], high = pads[d + rank], out = 0;
    if (mode == "SAME_UPPER" || mode == "SAME_LOWER") {
      out = (size + stride - 1) / stride;
      int64_t total =
          std::max<int64_t>(0, (out - 1) * stride + window.reach(d) - size);
      low = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
      high = total - low;
    } else {
      if (mode == "VALID")
        low = high = 0;
      int64_t room = size + low + high - window.reach(d);
      out = room < 0 ? 0 : room / stride + 1;
      if (ceilMode && room >= 0 && room % stride != 0 &&
          // The last window must start inside the input or the padding before.
          out * stride < size + low)
        ++out;
    }
    window.before.push_back(low);
    window.after.push_back(high);
    window.output.push_back(out);
  }
  return window;
}

//===----------------------------------------------------------------------===//
// Convolution
//===----------------------------------------------------------------------===//

/// Cross-correlation of floating tensors; bias may be null.
static FailureOr<EvalTensor> convolve(EvalContext &ctx, const EvalTensor &x,
                                      const EvalTensor &w,
                                      const EvalTensor &bias) {
  if (x.getRank() < 3 || w.getRank() != x.getRank())
    return ctx.error("input " + shapeText(x.getShape()) + " and weight " +
                     shapeText(w.getShape()) + " do not fit");
  int64_t groups = ctx.getInt("group", 1), maps = w.getDim(0);
  int64_t channels = x.getDim(1);
  if (groups < 1 || maps % groups != 0 || channels % groups != 0 ||
      w.getDim(1) != channels / groups ||
      (!bias.isNull() && bias.getNumElements() != maps))
    return ctx.error("input " + shapeText(x.getShape()) + " and weight " +
                     shapeText(w.getShape()) + " do not fit " + Twine(groups) +
                     " groups");
  FailureOr<Window> window =
      getWindow(ctx, x.getShape(), w.getShape().drop_front(2), false);
  if (failed(window))
    return failure();
  SmallVector<int64_t> shape{x.getDim(0), maps};
  shape.append(window->output);
  FailureOr<EvalTensor> result = ctx.allocate(x.getElementType(), shape);
  if (failed(result) || result->getNumElements() == 0)
    return result;
  int64_t outSize = window->outputSize(), inSize = window->inputSize(),
          taps = window->kernelSize(), depth = channels / groups * taps;
  std::optional<int64_t> columnCount = countElements({depth, outSize});
  if (!columnCount || failed(ctx.state.reserve(ctx.node, *columnCount)))
    return failure();
  std::vector<double> columns(*columnCount);
  MutableArrayRef<double> out = result->mutableFloats();
  int64_t rows = maps / groups;
  for (int64_t n = 0; n < x.getDim(0); ++n)
    for (int64_t g = 0; g < groups; ++g) {
      const double *planes =
          x.floats().data() + (n * channels + g * (channels / groups)) * inSize;
      forEachTap(*window, [&](int64_t o, int64_t k, int64_t at, auto, auto) {
        for (int64_t c = 0; c < channels / groups; ++c)
          columns[(c * taps + k) * outSize + o] =
              at < 0 ? 0 : planes[c * inSize + at];
      });
      multiply(rows, outSize, depth,
               {w.floats().data() + g * rows * depth, depth, 1},
               {columns.data(), outSize, 1},
               out.data() + (n * maps + g * rows) * outSize, outSize);
    }
  if (!bias.isNull())
    for (size_t i = 0; i < out.size(); ++i)
      out[i] += bias.floats()[i / outSize % maps];
  return result;
}

static LogicalResult evalConv(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0), w = ctx.requireFloat(1);
  if (failed(x) || failed(w))
    return failure();
  FailureOr<EvalTensor> result = convolve(ctx, *x, *w, ctx.input(2));
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

/// Integers as floats minus a zero point of one element or one a map.
static FailureOr<EvalTensor> centred(EvalContext &ctx, const EvalTensor &x,
                                     const EvalTensor &zero) {
  EvalTensor result = x.toFloat(Float64Type::get(ctx.node.getContext()));
  if (zero.isNull())
    return result;
  int64_t count = zero.getNumElements();
  if (!zero.isInteger() ||
      (count != 1 && (x.getRank() < 1 || x.getDim(0) != count)))
    return ctx.error("a zero point does not fit");
  MutableArrayRef<double> out = result.mutableFloats();
  for (size_t i = 0; i < out.size(); ++i)
    out[i] -= zero.asDouble(count == 1 ? 0 : i / (out.size() / count));
  return result;
}

/// Sums of products of 8-bit codes are exact in float64.
static LogicalResult evalConvInteger(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireInt(0), w = ctx.requireInt(1);
  if (failed(x) || failed(w))
    return failure();
  x = centred(ctx, *x, ctx.input(2));
  w = centred(ctx, *w, ctx.input(3));
  if (failed(x) || failed(w))
    return failure();
  FailureOr<EvalTensor> result = convolve(ctx, *x, *w, EvalTensor());
  if (failed(result))
    return failure();
  result = castTensor(ctx.node, ctx.state, *result, ctx.i32());
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalQLinearConv(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireInt(0), xScale = ctx.requireFloat(1),
                        w = ctx.requireInt(3), wScale = ctx.requireFloat(4),
                        yScale = ctx.requireFloat(6), yZero = ctx.requireInt(7);
  if (failed(x) || failed(xScale) || failed(w) || failed(wScale) ||
      failed(yScale) || failed(yZero))
    return failure();
  x = centred(ctx, *x, ctx.input(2));
  w = centred(ctx, *w, ctx.input(5));
  if (failed(x) || failed(w))
    return failure();
  EvalTensor bias = ctx.input(8);
  if (!bias.isNull())
    bias = bias.toFloat(x->getElementType());
  FailureOr<EvalTensor> sum = convolve(ctx, *x, *w, bias);
  if (failed(sum))
    return failure();
  int64_t maps = w->getDim(0);
  int64_t scales = wScale->getNumElements();
  if (xScale->getNumElements() != 1 || yScale->getNumElements() != 1 ||
      yZero->getNumElements() != 1 || (scales != 1 && scales != maps))
    return ctx.error("a scale or zero point does not fit");
  Type type = yZero->getElementType();
  auto [least, greatest] = intTypeRange(type);
  FailureOr<EvalTensor> result = ctx.allocate(type, sum->getShape());
  if (failed(result))
    return failure();
  int64_t plane = productOf(sum->getShape(), 2, sum->getRank());
  MutableArrayRef<int64_t> out = result->mutableInts();
  for (size_t i = 0; i < out.size(); ++i) {
    double ws = wScale->floats()[scales == 1 ? 0 : i / plane % maps];
    auto factor = static_cast<float>(
        static_cast<float>(xScale->floats()[0] * ws) / yScale->floats()[0]);
    double y = std::nearbyint(static_cast<float>(sum->floats()[i] * factor)) +
               yZero->asDouble(0);
    out[i] = static_cast<int64_t>(std::clamp(y, static_cast<double>(least),
                                             static_cast<double>(greatest)));
  }
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalConvTranspose(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0), w = ctx.requireFloat(1);
  if (failed(x) || failed(w))
    return failure();
  EvalTensor bias = ctx.input(2);
  int64_t groups = ctx.getInt("group", 1);
  if (x->getRank() < 3 || w->getRank() != x->getRank() || groups < 1 ||
      x->getDim(1) != w->getDim(0) || x->getDim(1) % groups != 0)
    return ctx.error("input " + shapeText(x->getShape()) + " and weight " +
                     shapeText(w->getShape()) + " do not fit");
  int64_t rank = x->getRank() - 2, perGroup = w->getDim(1),
          maps = perGroup * groups, channels = x->getDim(1);
  // The window of the convolution whose gradient this is: its output is x.
  FailureOr<Window> window =
      getWindow(ctx, x->getShape(), w->getShape().drop_front(2), false);
  if (failed(window))
    return failure();
  auto listed = [&](StringRef name) {
    return ctx.getInts(name).value_or(SmallVector<int64_t>());
  };
  SmallVector<int64_t> extra = listed("output_padding");
  SmallVector<int64_t> wanted = listed("output_shape"), pads = listed("pads");
  extra.resize(rank, 0);
  pads.resize(2 * rank, 0);
  StringRef mode = ctx.getString("auto_pad", "NOTSET");
  bool same = mode == "SAME_UPPER" || mode == "SAME_LOWER";
  SmallVector<int64_t> output;
  for (int64_t d = 0; d < rank; ++d) {
    int64_t full = (x->getDim(d + 2) - 1) * window->strides[d] +
                   window->reach(d) + extra[d];
    int64_t low = pads[d], size = full - pads[d] - pads[d + rank];
    if (!wanted.empty() || same) {
      size = wanted.empty() ? x->getDim(d + 2) * window->strides[d]
             : static_cast<int64_t>(wanted.size()) == rank
                 ? wanted[d]
                 : wanted[wanted.size() - rank + d];
      int64_t total = std::max<int64_t>(0, full - size);
      low = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
    }
    if (size < 0)
      return ctx.error("the pads are wider than the result");
    output.push_back(size);
    window->before[d] = low;
  }
  window->output.assign(x->getShape().begin() + 2, x->getShape().end());
  window->input = output;
  SmallVector<int64_t> shape{x->getDim(0), maps};
  shape.append(output);
  FailureOr<EvalTensor> result = ctx.allocate(x->getElementType(), shape);
  if (failed(result) || result->getNumElements() == 0)
    return failure();
  int64_t inSize = window->outputSize(), outSize = window->inputSize(),
          taps = window->kernelSize(), depth = channels / groups;
  std::optional<int64_t> columnCount = countElements({perGroup, taps, inSize});
  if (!columnCount || failed(ctx.state.reserve(ctx.node, *columnCount)))
    return failure();
  MutableArrayRef<double> out = result->mutableFloats();
  for (int64_t n = 0; n < x->getDim(0); ++n)
    for (int64_t g = 0; g < groups; ++g) {
      std::vector<double> columns(*columnCount, 0.0);
      multiply(
          perGroup * taps, inSize, depth,
          {w->floats().data() + g * depth * perGroup * taps, 1,
           perGroup * taps},
          {x->floats().data() + (n * channels + g * depth) * inSize, inSize, 1},
          columns.data(), inSize);
      double *planes = out.data() + (n * maps + g * perGroup) * outSize;
      forEachTap(*window, [&](int64_t o, int64_t k, int64_t at, auto, auto) {
        for (int64_t c = 0; at >= 0 && c < perGroup; ++c)
          planes[c * outSize + at] += columns[(c * taps + k) * inSize + o];
      });
    }
  if (!bias.isNull()) {
    if (bias.getNumElements() != maps)
      return ctx.error("the bias does not fit");
    for (size_t i = 0; i < out.size(); ++i)
      out[i] += bias.floats()[i / outSize % maps];
  }
  ctx.setOutput(0, *result);
  return success();
}

//===----------------------------------------------------------------------===//
// Pooling
//===----------------------------------------------------------------------===//

static LogicalResult evalMaxPool(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  if (failed(x))
    return failure();
  if (x->isString())
    return ctx.error("needs numbers");
  FailureOr<Window> window =
      getWindow(ctx, x->getShape(),
                ctx.getInts("kernel_shape").value_or(SmallVector<int64_t>()),
                ctx.getInt("ceil_mode", 0) != 0);
  if (failed(window))
    return failure();
  SmallVector<int64_t> shape(x->getShape().take_front(2));
  shape.append(window->output);
  FailureOr<EvalTensor> result = ctx.allocate(x->getElementType(), shape);
  FailureOr<EvalTensor> indices = ctx.allocate(ctx.i64(), shape);
  if (failed(result) || failed(indices))
    return failure();
  int64_t inSize = window->inputSize(), outSize = window->outputSize();
  // Column-major indices count the spatial dims from the first one.
  bool columnMajor = ctx.getInt("storage_order", 0) == 1;
  SmallVector<int64_t> rowStrides = rowMajorStrides(window->input);
  auto reorder = [&](int64_t at) {
    if (!columnMajor)
      return at;
    int64_t index = 0, stride = 1;
    for (int64_t d = 0; d < window->rank(); ++d) {
      index += at / rowStrides[d] % window->input[d] * stride;
      stride *= window->input[d];
    }
    return index;
  };
  SmallVector<int64_t> best(outSize);
  for (int64_t plane = 0, n = shape[0] * shape[1]; plane < n; ++plane) {
    llvm::fill(best, -1);
    forEachTap(*window, [&](int64_t o, int64_t, int64_t at, auto, auto) {
      if (at < 0)
        return;
      int64_t a = plane * inSize + at, b = plane * inSize + best[o];
      if (best[o] < 0 || (x->isFloat() ? x->floats()[a] > x->floats()[b] ||
                                             std::isnan(x->floats()[a])
                                       : x->asDouble(a) > x->asDouble(b)))
        best[o] = at;
    });
    for (int64_t o = 0; o < outSize; ++o) {
      int64_t to = plane * outSize + o;
      if (best[o] >= 0)
        copyElements(*x, plane * inSize + best[o], *result, to, 1);
      else if (x->isFloat())
        result->mutableFloats()[to] = -std::numeric_limits<double>::infinity();
      indices->mutableInts()[to] =
          best[o] < 0 ? -1 : plane * inSize + reorder(best[o]);
    }
  }
  ctx.setOutput(0, *result);
  ctx.setOutput(1, *indices);
  return success();
}

/// AveragePool and, with `p` not 0, LpPool.
static LogicalResult poolSums(EvalContext &ctx, double p) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0);
  if (failed(x))
    return failure();
  FailureOr<Window> window =
      getWindow(ctx, x->getShape(),
                ctx.getInts("kernel_shape").value_or(SmallVector<int64_t>()),
                ctx.getInt("ceil_mode", 0) != 0);
  if (failed(window))
    return failure();
  SmallVector<int64_t> shape(x->getShape().take_front(2));
  shape.append(window->output);
  FailureOr<EvalTensor> result = ctx.allocate(x->getElementType(), shape);
  if (failed(result))
    return failure();
  bool countPad = ctx.getInt("count_include_pad", 0) != 0;
  int64_t inSize = window->inputSize(), outSize = window->outputSize();
  SmallVector<int64_t> counts(outSize);
  MutableArrayRef<double> out = result->mutableFloats();
  for (int64_t plane = 0, n = shape[0] * shape[1]; plane < n; ++plane) {
    llvm::fill(counts, 0);
    forEachTap(*window, [&](int64_t o, int64_t, int64_t at,
                            ArrayRef<int64_t> position,
                            ArrayRef<int64_t> kernel) {
      if (at < 0) {
        counts[o] += countPad && window->inPadding(position, kernel);
        return;
      }
      ++counts[o];
      double v = x->floats()[plane * inSize + at];
      out[plane * outSize + o] += p == 0 ? v : std::pow(std::fabs(v), p);
    });
    for (int64_t o = 0; o < outSize; ++o) {
      double &value = out[plane * outSize + o];
      value = p == 0 ? value / static_cast<double>(counts[o])
                     : std::pow(value, 1 / p);
    }
  }
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalAveragePool(EvalContext &ctx) {
  return poolSums(ctx, 0);
}

static LogicalResult evalLpPool(EvalContext &ctx) {
  return poolSums(ctx, static_cast<double>(ctx.getInt("p", 2)));
}

namespace {
enum class Global { Average, Max, Lp };
} // namespace

template <Global kind> static LogicalResult evalGlobalPool(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.requireFloat(0);
  if (failed(x))
    return failure();
  if (x->getRank() < 2)
    return ctx.error("needs an input [N, C, ...]");
  SmallVector<int64_t> shape(x->getRank(), 1);
  shape[0] = x->getDim(0);
  shape[1] = x->getDim(1);
  FailureOr<EvalTensor> result = ctx.allocate(x->getElementType(), shape);
  if (failed(result))
    return failure();
  int64_t size = productOf(x->getShape(), 2, x->getRank());
  double p = static_cast<double>(ctx.getInt("p", 2));
  MutableArrayRef<double> out = result->mutableFloats();
  for (size_t i = 0; i < out.size(); ++i) {
    double value =
        kind == Global::Max ? -std::numeric_limits<double>::infinity() : 0;
    for (double v : x->floats().slice(i * size, size)) {
      if (kind == Global::Max)
        value = std::isnan(v) || v > value ? v : value;
      else
        value += kind == Global::Lp ? std::pow(std::fabs(v), p) : v;
    }
    if (kind == Global::Average)
      value /= static_cast<double>(size);
    out[i] = kind == Global::Lp ? std::pow(value, 1 / p) : value;
  }
  ctx.setOutput(0, *result);
  return success();
}

FFN_REGISTER_OPS(ConvEval) {
  table.addEval("", "Conv", 1, evalConv);
  table.addEval("", "ConvInteger", 1, evalConvInteger);
  table.addEval("", "QLinearConv", 1, evalQLinearConv);
  table.addEval("", "ConvTranspose", 1, evalConvTranspose);
  table.addEval("", "MaxPool", 1, evalMaxPool);
  table.addEval("", "AveragePool", 1, evalAveragePool);
  table.addEval("", "LpPool", 1, evalLpPool);
  table.addEval("", "GlobalAveragePool", 1, evalGlobalPool<Global::Average>);
  table.addEval("", "GlobalMaxPool", 1, evalGlobalPool<Global::Max>);
  table.addEval("", "GlobalLpPool", 1, evalGlobalPool<Global::Lp>);
}
