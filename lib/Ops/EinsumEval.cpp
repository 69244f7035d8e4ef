//===- EinsumEval.cpp - Einsum --------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/TensorOps.h"
#include "ffn-mlir/Ops/EinsumEquation.h"
#include "ffn-mlir/Ops/OpTable.h"
#include <map>

using namespace mlir;
using namespace mlir::ffn;

using Labels = EinsumLabels;

namespace {
/// An equation over tensors of known ranks.
struct Equation {
  SmallVector<Labels> inputs;
  Labels output;
  std::map<int, int64_t> sizes;
};
} // namespace

static FailureOr<Equation> parseEquation(EvalContext &ctx,
                                         ArrayRef<EvalTensor> tensors) {
  auto malformed = [&]() -> FailureOr<Equation> {
    return ctx.error("the equation does not fit the inputs");
  };
  std::string why;
  std::optional<EinsumEquation> parsed =
      EinsumEquation::parse(ctx.getString("equation", ""), why);
  if (!parsed)
    return ctx.error(why);
  if (parsed->inputs.size() != tensors.size())
    return malformed();
  Equation equation;
  int64_t widest = 0;
  for (auto [term, tensor] : llvm::zip(parsed->inputs, tensors)) {
    std::optional<int64_t> hidden = term.getHidden(tensor.getRank());
    if (!hidden)
      return malformed();
    widest = std::max(widest, *hidden);
    Labels labels = term.getLabels(*hidden);
    for (auto [label, dim] : llvm::zip(labels, tensor.getShape())) {
      auto [entry, isNew] = equation.sizes.try_emplace(label, dim);
      if (entry->second == 1 && label < 0)
        entry->second = dim;
      if (entry->second != dim && (label >= 0 || dim != 1))
        return malformed();
    }
    equation.inputs.push_back(std::move(labels));
  }
  equation.output = parsed->output.getLabels(widest);
  return equation;
}

/// The tensor with its dims permuted, summed and broadcast to `labels`, which
/// may repeat none; a label that it lacks has size 1.
static FailureOr<EvalTensor> align(EvalContext &ctx, const Equation &equation,
                                   const EvalTensor &tensor, const Labels &own,
                                   const Labels &labels) {
  SmallVector<int64_t> strides = rowMajorStrides(tensor.getShape());
  SmallVector<int64_t> shape, kept, summedShape, summedStrides;
  std::map<int, int64_t> step;
  for (auto [i, label] : llvm::enumerate(own))
    if (tensor.getDim(i) != 1 || equation.sizes.at(label) == 1)
      step[label] += strides[i]; // A repeated label walks the diagonal.
    else
      step.try_emplace(label, 0);
  for (int label : labels) {
    bool present = step.count(label) != 0;
    shape.push_back(present ? equation.sizes.at(label) : 1);
    kept.push_back(present ? step[label] : 0);
  }
  for (auto [label, stride] : step)
    if (!llvm::is_contained(labels, label)) {
      summedShape.push_back(equation.sizes.at(label));
      summedStrides.push_back(stride);
    }
  FailureOr<EvalTensor> result = ctx.allocate(tensor.getElementType(), shape);
  if (failed(result))
    return failure();
  int64_t terms = productOf(summedShape, 0, summedShape.size());
  StridedWalk walk(shape, kept);
  for (double &value : result->mutableFloats()) {
    StridedWalk inner(summedShape, summedStrides, walk.getOffset());
    for (int64_t i = 0; i < terms; ++i) {
      value += tensor.floats()[inner.getOffset()];
      inner.next();
    }
    walk.next();
  }
  return result;
}

static int64_t sizeOf(const Equation &equation, const Labels &labels) {
  int64_t size = 1;
  for (int label : labels)
    size *= equation.sizes.at(label);
  return size;
}

/// Contracts two terms as a batched matrix product over the labels that
/// neither `rest` nor the output needs.
static FailureOr<EvalTensor>
contract(EvalContext &ctx, const Equation &equation, const EvalTensor &a,
         const Labels &aLabels, const EvalTensor &b, const Labels &bLabels,
         const Labels &needed, Labels &labels) {
  Labels batch, rows, cols, summed;
  auto has = [](const Labels &list, int label) {
    return llvm::is_contained(list, label);
  };
  for (int label : aLabels) {
    if (has(batch, label) || has(rows, label) || has(summed, label))
      continue;
    if (!has(bLabels, label)) {
      if (has(needed, label))
        rows.push_back(label);
    } else if (has(needed, label)) {
      batch.push_back(label);
    } else {
      summed.push_back(label);
    }
  }
  for (int label : bLabels)
    if (!has(aLabels, label) && has(needed, label) && !has(cols, label))
      cols.push_back(label);
  auto join = [](const Labels &x, const Labels &y, const Labels &z) {
    Labels all(x);
    all.append(y);
    all.append(z);
    return all;
  };
  FailureOr<EvalTensor> left =
      align(ctx, equation, a, aLabels, join(batch, rows, summed));
  FailureOr<EvalTensor> right =
      align(ctx, equation, b, bLabels, join(batch, summed, cols));
  if (failed(left) || failed(right))
    return failure();
  int64_t n = sizeOf(equation, batch), m = sizeOf(equation, rows),
          k = sizeOf(equation, summed), c = sizeOf(equation, cols);
  FailureOr<EvalTensor> product =
      matmulTensors(ctx.node, ctx.state, left->reshaped({n, m, k}),
                    right->reshaped({n, k, c}));
  if (failed(product))
    return failure();
  labels = join(batch, rows, cols);
  SmallVector<int64_t> shape;
  for (int label : labels)
    shape.push_back(equation.sizes.at(label));
  return product->reshaped(shape);
}

static LogicalResult evalEinsum(EvalContext &ctx) {
  SmallVector<EvalTensor> tensors;
  Type type;
  Type f64 = Float64Type::get(ctx.node.getContext());
  for (unsigned i = 0; i < ctx.numInputs(); ++i) {
    FailureOr<EvalTensor> tensor = ctx.require(i);
    if (failed(tensor))
      return failure();
    if (tensor->isString())
      return ctx.error("needs numbers");
    if (!type)
      type = tensor->getElementType();
    tensors.push_back(tensor->toFloat(f64));
  }
  if (tensors.empty())
    return ctx.error("has no inputs");
  FailureOr<Equation> equation = parseEquation(ctx, tensors);
  if (failed(equation))
    return failure();
  EvalTensor value = tensors[0];
  Labels labels = equation->inputs[0];
  for (size_t i = 1; i < tensors.size(); ++i) {
    Labels needed(equation->output), next;
    for (size_t j = i + 1; j < tensors.size(); ++j)
      needed.append(equation->inputs[j]);
    // Dims that broadcast must have their full size before the product.
    auto widen = [&](EvalTensor &x, const Labels &own) -> LogicalResult {
      SmallVector<int64_t> shape;
      for (int label : own)
        shape.push_back(equation->sizes.at(label));
      FailureOr<EvalTensor> wide =
          broadcastTensor(ctx.node, ctx.state, x, shape);
      if (failed(wide))
        return failure();
      x = *wide;
      return success();
    };
    if (failed(widen(value, labels)) ||
        failed(widen(tensors[i], equation->inputs[i])))
      return failure();
    FailureOr<EvalTensor> product =
        contract(ctx, *equation, value, labels, tensors[i], equation->inputs[i],
                 needed, next);
    if (failed(product))
      return failure();
    value = *product;
    labels = next;
  }
  FailureOr<EvalTensor> result =
      align(ctx, *equation, value, labels, equation->output);
  if (failed(result))
    return failure();
  if (!llvm::isa<FloatType>(type))
    result = castTensor(ctx.node, ctx.state, *result, type);
  if (failed(result))
    return failure();
  ctx.setOutput(0, result->retyped(type));
  return success();
}

FFN_REGISTER_OPS(EinsumEval) { table.addEval("", "Einsum", 1, evalEinsum); }
