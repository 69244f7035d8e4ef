//===- DecomposeAdaptive.cpp - Branches over rows as standard nodes -------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Decomposer.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNAdaptive.h"

using namespace mlir;
using namespace mlir::ffn;
using onnx::NodeOp;

static RankedTensorType ranked(Value value) {
  return llvm::cast<RankedTensorType>(value.getType());
}

/// A reduction of the last dimension, which goes.
Value Decomposer::reduceLast(Location loc, StringRef op, Value value) {
  SmallVector<NamedAttribute> attrs{intAttr(rewriter, "keepdims", 0)};
  SmallVector<Value> inputs{value};
  // Axes became an input of ReduceSum first.
  if (opset >= (op == "ReduceSum" ? 13 : 18))
    inputs.push_back(ints(loc, -1));
  else
    attrs.push_back(intsAttr(rewriter, "axes", -1));
  RankedTensorType type = ranked(value);
  return node(loc, op, type.clone(type.getShape().drop_back()), inputs, attrs);
}

Value Decomposer::lower(RowCosineOp op) {
  Location loc = rewriter.getUnknownLoc();
  Type narrow = ranked(op.getLhs()).getElementType();
  bool isNarrow = narrow.getIntOrFloatBitWidth() < 32;
  auto widen = [&](Value value) {
    return isNarrow ? cast(loc, value, rewriter.getF32Type()) : value;
  };
  Value a = widen(op.getLhs()), b = widen(op.getRhs());
  auto sum = [&](Value x, Value y) {
    return reduceLast(loc, "ReduceSum", node(loc, "Mul", x.getType(), {x, y}));
  };
  Value product = sum(a, b);
  auto type = ranked(product);
  Value norms = node(
      loc, "Mul", type,
      {node(loc, "Sqrt", type, sum(a, a)), node(loc, "Sqrt", type, sum(b, b))});
  Value cosine = node(loc, "Div", type, {product, norms});
  Value one = floatScalar(loc, type.getElementType(), 1.0);
  Value beyond =
      node(loc, "Greater", type.clone(rewriter.getI1Type()), {cosine, one});
  cosine =
      node(isNarrow ? loc : op.getLoc(), "Where", type, {beyond, one, cosine});
  return isNarrow ? cast(op.getLoc(), cosine, narrow) : cosine;
}

Value Decomposer::lower(RowMarginOp op) {
  Location loc = rewriter.getUnknownLoc();
  RankedTensorType type = ranked(op.getInput());
  Value share =
      node(loc, "Softmax", type, op.getInput(),
           intAttr(rewriter, "axis", opset < 13 ? type.getRank() - 1 : -1));
  if (type.getShape().back() == 1)
    return reduceLast(op.getLoc(), "ReduceMax", share);
  RankedTensorType leaders = withLastDim(type, 2);
  auto top = NodeOp::create(
      rewriter, loc, "", "TopK", getSinceVersion("TopK", opset),
      TypeRange{leaders, leaders.clone(rewriter.getI64Type())},
      ValueRange{share, ints(loc, 2)}, intAttr(rewriter, "axis", -1));
  Value first = reduceLast(loc, "ReduceMax", top.getResult(0)),
        second = reduceLast(loc, "ReduceMin", top.getResult(0));
  return node(op.getLoc(), "Sub", op.getType(), {first, second});
}

/// If any row runs: the body, and of it the rows that do.
void Decomposer::lower(SkipOp op) {
  Location loc = rewriter.getUnknownLoc();
  RankedTensorType flags = ranked(op.getSkip());
  auto type = llvm::cast<RankedTensorType>(op.getType());
  Type element = type.getElementType();
  Value runs = node(loc, "Not", flags, op.getSkip());
  runs = cast(loc, runs, rewriter.getI64Type());
  auto scalar = RankedTensorType::get({}, rewriter.getI64Type());
  runs = node(loc, "ReduceSum", scalar, runs, intAttr(rewriter, "keepdims", 0));
  runs = node(loc, "Greater", scalar.clone(rewriter.getI1Type()),
              {runs, intScalar(loc, 0)});
  auto graph = [&](unsigned i, StringRef name) {
    return rewriter.getNamedAttr(
        name, onnx::GraphAttr::get(rewriter.getContext(), i,
                                   rewriter.getStringAttr(name)));
  };
  // Without a name: the node that it was made of is in the branch.
  auto branch = NodeOp::create(
      rewriter, loc, "", "If", getSinceVersion("If", opset), TypeRange{type},
      runs, {graph(1, "else_branch"), graph(0, "then_branch")},
      /*numGraphs=*/2);
  auto yield = [&](Value value) {
    onnx::YieldOp::create(rewriter, loc, value);
  };
  Value body = op.getYielded(), otherwise = op.getOtherwise(),
        skip = op.getSkip();
  Block *then = rewriter.createBlock(&branch.getGraphs()[0]);
  Operation *terminator = op.getBody().front().getTerminator();
  rewriter.inlineBlockBefore(&op.getBody().front(), then, then->end());
  rewriter.eraseOp(terminator);
  rewriter.setInsertionPointToEnd(then);
  skip = unsqueeze(loc, skip, flags.getRank());
  yield(node(
      loc, "Where", type,
      {skip, otherwise ? otherwise : floatScalar(loc, element, -0.0), body}));
  rewriter.createBlock(&branch.getGraphs()[1]);
  if (otherwise) {
    yield(node(loc, "Identity", type, otherwise));
  } else {
    auto sizes = [&](int64_t rank) {
      return RankedTensorType::get({rank}, rewriter.getI64Type());
    };
    Value shape = node(loc, "Shape", sizes(flags.getRank()), op.getSkip());
    shape = node(loc, "Concat", sizes(type.getRank()),
                 {shape, ints(loc, type.getShape().back())},
                 intAttr(rewriter, "axis", 0));
    yield(node(loc, "Expand", type, {floatScalar(loc, element, -0.0), shape}));
  }
  rewriter.setInsertionPointAfter(branch);
  rewriter.replaceOp(op, branch.getResults());
}
