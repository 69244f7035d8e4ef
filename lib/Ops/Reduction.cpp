//===- Reduction.cpp - Shapes of reductions and of scans along an axis ----===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/ShapeHelpers.h"
#include "llvm/ADT/SmallBitVector.h"

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

/// All elements of a vector combined, for shape arithmetic.
static std::optional<Dims> foldReduction(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  if (!input.contents || input.rank() != 1)
    return std::nullopt;
  StringRef name = ctx.node.getOp();
  const Dims &contents = *input.contents;
  if (name == "ReduceProd")
    return Dims{product(contents)};
  if (name == "ReduceSum") {
    DimExpr sum(0);
    for (const DimExpr &element : contents)
      sum = sum + element;
    return Dims{sum};
  }
  if ((name == "ReduceMax" || name == "ReduceMin") && !contents.empty()) {
    DimExpr result = contents.front();
    for (const DimExpr &element : contents)
      result = name == "ReduceMax" ? DimExpr::max(result, element)
                                   : DimExpr::min(result, element);
    return Dims{result};
  }
  return std::nullopt;
}

static LogicalResult shapeReduce(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  FailureOr<Axes> axes = getAxes(ctx, 1, "axes", input.rank());
  if (failed(axes))
    return failure();
  bool keep = ctx.node.getInt("keepdims", 1) != 0;
  bool isEmpty = axes->known && (!axes->axes || axes->axes->empty());
  if (isEmpty && ctx.node.getInt("noop_with_empty_axes", 0) != 0)
    return shapeLikeFirstInput(ctx);
  if (!axes->known) {
    // The number of axes alone gives the rank only when they are kept.
    if (input.dims && keep)
      setOutput(ctx, 0, unknownDims(input.rank()));
    return success();
  }
  if (!input.dims) {
    if (isEmpty && !keep)
      setOutput(ctx, 0, Dims());
    return success();
  }
  llvm::SmallBitVector reduced(input.rank(), isEmpty);
  if (!isEmpty)
    for (int64_t axis : *axes->axes)
      reduced.set(axis);
  Dims result;
  for (auto [i, dim] : llvm::enumerate(*input.dims)) {
    if (!reduced.test(i))
      result.push_back(dim);
    else if (keep)
      result.push_back(DimExpr(1));
  }
  SymValue value(Type(), std::move(result));
  if (reduced.all())
    value.contents = foldReduction(ctx);
  ctx.setOutput(0, std::move(value));
  return success();
}

static LogicalResult shapeArgExtremum(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  Type type = IntegerType::get(ctx.node.getContext(), 64);
  if (!input.dims) {
    ctx.setOutput(0, SymValue(type, std::nullopt));
    return success();
  }
  FailureOr<int64_t> axis =
      normalizeAxis(ctx, ctx.node.getInt("axis", 0), input.rank());
  if (failed(axis))
    return failure();
  Dims dims = *input.dims;
  if (ctx.node.getInt("keepdims", 1) != 0)
    dims[*axis] = DimExpr(1);
  else
    dims.erase(dims.begin() + *axis);
  setOutput(ctx, 0, std::move(dims), type);
  return success();
}

//===----------------------------------------------------------------------===//
// Along an axis, shape kept
//===----------------------------------------------------------------------===//

/// Before opset 13 the axis is the first of the flattened part.
static LogicalResult shapeSoftmax(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  if (input.dims && (input.rank() > 0 || ctx.node.getNodeAttr("axis"))) {
    int64_t axis = ctx.getInt("axis");
    bool flattens = ctx.node.getVersion() < 13 && axis == input.rank();
    if (!flattens && failed(normalizeAxis(ctx, axis, input.rank())))
      return failure();
  }
  return shapeLikeFirstInput(ctx);
}

static LogicalResult shapeCumulative(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  SymValue result(Type(), input.dims);
  std::optional<SmallVector<int64_t>> axis = ctx.constantInts(1);
  if (axis && axis->size() == 1 && input.dims) {
    FailureOr<int64_t> at = normalizeAxis(ctx, axis->front(), input.rank());
    if (failed(at))
      return failure();
    bool plain = ctx.node.getInt("exclusive", 0) == 0 &&
                 ctx.node.getInt("reverse", 0) == 0;
    if (plain && input.contents && input.rank() == 1 &&
        ctx.node.getOp() == "CumSum") {
      DimExpr sum(0);
      result.contents.emplace();
      for (const DimExpr &element : *input.contents)
        result.contents->push_back(sum = sum + element);
    }
  }
  ctx.setOutput(0, std::move(result));
  return success();
}

static LogicalResult shapeLpNormalization(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  if (input.dims &&
      failed(normalizeAxis(ctx, ctx.node.getInt("axis", -1), input.rank())))
    return failure();
  return shapeLikeFirstInput(ctx);
}

//===----------------------------------------------------------------------===//
// Losses
//===----------------------------------------------------------------------===//

/// Scalar, or the shape of the labels without reduction.
static void setLoss(ShapeContext &ctx) {
  bool none = ctx.node.getString("reduction", "mean") == "none";
  setOutput(ctx, 0, none ? ctx.input(1).dims : std::optional<Dims>(Dims()));
}

static LogicalResult shapeCrossEntropy(ShapeContext &ctx) {
  if (failed(requireMinRank(ctx, 0, 2)))
    return failure();
  setLoss(ctx);
  setOutput(ctx, 1, ctx.input(0).dims);
  return success();
}

static LogicalResult shapeNegativeLogLikelihood(ShapeContext &ctx) {
  if (failed(requireMinRank(ctx, 0, 2)))
    return failure();
  setLoss(ctx);
  return success();
}

FFN_REGISTER_OPS(Reduction) {
  for (StringRef name :
       {"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
        "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
        "ReduceSumSquare"})
    table.addShape("", name, 1, shapeReduce);
  table.addShape("", "ArgMax", 1, shapeArgExtremum);
  table.addShape("", "ArgMin", 1, shapeArgExtremum);
  table.addShape("", "Softmax", 1, shapeSoftmax);
  table.addShape("", "LogSoftmax", 1, shapeSoftmax);
  table.addShape("", "Hardmax", 1, shapeSoftmax);
  table.addShape("", "CumSum", 11, shapeCumulative);
  table.addShape("", "CumProd", 26, shapeCumulative);
  table.addShape("", "LpNormalization", 1, shapeLpNormalization);
  table.addShape("", "SoftmaxCrossEntropyLoss", 12, shapeCrossEntropy);
  table.addShape("", "NegativeLogLikelihoodLoss", 12,
                 shapeNegativeLogLikelihood);
}
