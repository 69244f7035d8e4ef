//===- DecomposeExperts.cpp - ffn.moe as standard nodes -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// All neurons are computed; those of experts that a token did not choose become
// zero. An expert is chosen if fewer than top_k experts come before it: have a
// larger score, or an equal one and a smaller index. That needs no TopK, whose
// order of equal values is not the same in all of its versions.
//
//===----------------------------------------------------------------------===//

#include "Decomposer.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Experts.h"

using namespace mlir;
using namespace mlir::ffn;

static RankedTensorType ranked(Value value) {
  return llvm::cast<RankedTensorType>(value.getType());
}

/// Sum over the last dimension, which stays as 1.
Value Decomposer::sumLast(Location loc, Value value) {
  SmallVector<NamedAttribute> attrs{intAttr(rewriter, "keepdims", 1)};
  SmallVector<Value> inputs{value};
  if (opset >= 13)
    inputs.push_back(ints(loc, -1));
  else
    attrs.push_back(intsAttr(rewriter, "axes", -1));
  return node(loc, "ReduceSum", withLastDim(ranked(value), 1), inputs, attrs);
}

Value Decomposer::scores(MoEOp op) {
  Location loc = rewriter.getUnknownLoc();
  RankedTensorType type =
      withLastDim(ranked(op.getInput()), op.getExpertsAttr().getInt());
  Value scores =
      linear(loc, op.getInput(), op.getRouter(), op.getRouterBias(), type);
  if (op.getRouterKind() == RouterKind::Linear)
    return scores;
  if (!op.getRouterGate()) {
    scores = activate(loc, op.getActivation(), scores);
  } else {
    Value gate = linear(loc, op.getInput(), op.getRouterGate(),
                        op.getRouterGateBias(), type);
    scores = node(loc, "Mul", type,
                  {activate(loc, op.getActivation(), gate), scores});
  }
  return node(loc, "Abs", type, scores);
}

/// Whether each expert is chosen, as i1.
Value Decomposer::isChosen(MoEOp op, Value keys) {
  Location loc = rewriter.getUnknownLoc();
  RankedTensorType type = ranked(keys);
  Type element = type.getElementType(), boolean = rewriter.getI1Type();
  int64_t rank = type.getRank(), experts = op.getExpertsAttr().getInt();
  Value one = unsqueeze(loc, keys, rank),
        other = unsqueeze(loc, keys, rank - 1);
  SmallVector<int64_t> shape(type.getShape());
  shape.push_back(experts);
  auto pairs = RankedTensorType::get(shape, element);
  auto count = [&](StringRef comparison) {
    return cast(loc, node(loc, comparison, pairs.clone(boolean), {other, one}),
                element);
  };
  // Element (e, f): whether f comes before e.
  SmallVector<APFloat> triangle;
  for (int64_t e = 0; e < experts; ++e)
    for (int64_t f = 0; f < experts; ++f)
      triangle.push_back(
          rewriter.getFloatAttr(element, f < e ? 1.0 : 0.0).getValue());
  auto square = RankedTensorType::get({experts, experts}, element);
  Value earlier = WeightOp::create(
      rewriter, loc, square,
      llvm::cast<TypedAttr>(DenseElementsAttr::get(square, triangle)));
  Value before = node(
      loc, "Add", pairs,
      {count("Greater"), node(loc, "Mul", pairs, {count("Equal"), earlier})});
  before =
      node(loc, "Reshape", type, {sumLast(loc, before), [&] {
                                    SmallVector<int64_t> sizes(rank - 1, 0);
                                    sizes.push_back(experts);
                                    return ints(loc, sizes);
                                  }()});
  double limit = static_cast<double>(op.getTopKAttr().getInt());
  return node(loc, "Less", type.clone(boolean),
              {before, floatScalar(loc, element, limit)});
}

Value Decomposer::lower(MoEOp op) {
  Location inner = rewriter.getUnknownLoc();
  RankedTensorType input = ranked(op.getInput());
  Type element = input.getElementType();
  int64_t rank = input.getRank(), experts = op.getExpertsAttr().getInt(),
          shared = op.getSharedAttr().getInt(), width = op.getExpertWidth(),
          m = op.getHiddenWidth();
  Value values = scores(op), keys = values;
  Type scoreType = values.getType();
  bool gates = op.getWeighted() || op.getSelectionBias();
  if (gates && op.getGating() == Gating::Sigmoid)
    values = node(inner, "Sigmoid", scoreType, values);
  if (gates && op.getGating() == Gating::Softmax)
    values = node(inner, "Softmax", scoreType, values,
                  intAttr(rewriter, "axis", opset < 13 ? rank - 1 : -1));
  if (op.getSelectionBias())
    keys = node(inner, "Add", scoreType, {values, op.getSelectionBias()});
  Value chosen = isChosen(op, keys);
  Value zero = floatScalar(inner, element, 0.0);

  Value all = hidden(op), always, routed = all;
  auto slice = [&](int64_t begin, int64_t end) {
    return node(
        inner, "Slice", withLastDim(input, end - begin),
        {all, ints(inner, begin), ints(inner, end), ints(inner, rank - 1)});
  };
  if (shared > 0) {
    always = slice(0, shared);
    routed = slice(shared, m);
  }
  SmallVector<int64_t> shape(input.getShape()), sizes(rank - 1, 0);
  shape.back() = experts;
  shape.push_back(width);
  auto grouped = RankedTensorType::get(shape, element);
  SmallVector<int64_t> split(sizes), joined(sizes);
  split.append({experts, width});
  joined.push_back(experts * width);
  routed = node(inner, "Reshape", grouped, {routed, ints(inner, split)});
  Value weights;
  if (op.getWeighted()) {
    weights = values;
    if (op.getNormalize()) {
      Value masked = node(inner, "Where", scoreType, {chosen, values, zero});
      weights = node(inner, "Div", scoreType, {values, sumLast(inner, masked)});
    }
  }
  if (double scale = op.getScale().convertToDouble(); scale != 1) {
    Value factor = floatScalar(inner, element, scale);
    weights =
        weights ? node(inner, "Mul", scoreType, {weights, factor}) : factor;
  }
  if (weights && ranked(weights).getRank() > 0)
    weights = unsqueeze(inner, weights, rank);
  if (weights)
    routed = node(inner, "Mul", grouped, {routed, weights});
  routed = node(inner, "Where", grouped,
                {unsqueeze(inner, chosen, rank), routed, zero});
  routed = node(inner, "Reshape", withLastDim(input, experts * width),
                {routed, ints(inner, joined)});
  if (always)
    routed = node(inner, "Concat", withLastDim(input, m), {always, routed},
                  intAttr(rewriter, "axis", rank - 1));
  return linear(op.getLoc(), routed, op.getDown(), op.getDownBias(),
                op.getType());
}

LogicalResult mlir::ffn::decomposeExperts(ModuleOp module,
                                          function_ref<bool(MoEOp)> keeps) {
  SmallVector<MoEOp> ops;
  module.walk([&](MoEOp op) {
    if (!keeps(op))
      ops.push_back(op);
  });
  Decomposer decomposer(module);
  for (MoEOp op : ops)
    if (failed(decomposer.check(op)) || failed(decomposer.decompose(op)))
      return failure();
  return success();
}
