//===- Decompose.cpp - Back to standard onnx nodes ------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "DecomposeWeights.h"
#include "Decomposer.h"
#include "NodeUtils.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNAdaptive.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNProbes.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "mlir/IR/PatternMatch.h"
#include <limits>

using namespace mlir;
using namespace mlir::ffn;
using onnx::NodeOp;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNDECOMPOSE
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

static RankedTensorType ranked(Value value) {
  return llvm::cast<RankedTensorType>(value.getType());
}

/// The name that an op took over from its node, for the node it becomes.
static onnx::NameHints nameFrom(Location loc) {
  onnx::NameHints names;
  if (auto name = llvm::dyn_cast<NameLoc>(loc))
    names.node = name.getName().str();
  return names;
}

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

Value Decomposer::node(Location loc, StringRef op, Type type, ValueRange inputs,
                       ArrayRef<NamedAttribute> attrs) {
  return NodeOp::create(rewriter, loc, "", op, getSinceVersion(op, opset), type,
                        inputs, attrs, 0, nameFrom(loc))
      .getResult(0);
}

Value Decomposer::transposed(Value weight) {
  Value &result = transposes[weight];
  if (!result) {
    OpBuilder::InsertionGuard guard(rewriter);
    rewriter.setInsertionPointAfterValue(weight);
    result = rewriter.createOrFold<TransposeOp>(weight.getLoc(), weight);
  }
  return result;
}

Value Decomposer::floatScalar(Location loc, Type elementType, double value) {
  auto type = RankedTensorType::get({}, elementType);
  DenseElementsAttr attr = DenseElementsAttr::get(
      type, llvm::cast<Attribute>(rewriter.getFloatAttr(elementType, value)));
  return WeightOp::create(rewriter, loc, type, llvm::cast<TypedAttr>(attr));
}

Value Decomposer::ints(Location loc, ArrayRef<int64_t> values) {
  auto type = RankedTensorType::get({static_cast<int64_t>(values.size())},
                                    rewriter.getI64Type());
  DenseElementsAttr attr = DenseElementsAttr::get(type, values);
  return WeightOp::create(rewriter, loc, type, llvm::cast<TypedAttr>(attr));
}

Value Decomposer::intScalar(Location loc, int64_t value) {
  auto type = RankedTensorType::get({}, rewriter.getI64Type());
  DenseElementsAttr attr = DenseElementsAttr::get(type, ArrayRef(value));
  return WeightOp::create(rewriter, loc, type, llvm::cast<TypedAttr>(attr));
}

Value Decomposer::unsqueeze(Location loc, Value value, int64_t axis) {
  SmallVector<int64_t> shape(ranked(value).getShape());
  shape.insert(shape.begin() + axis, 1);
  Type type = ranked(value).clone(shape);
  if (opset < 13)
    return node(loc, "Unsqueeze", type, value,
                intsAttr(rewriter, "axes", axis));
  return node(loc, "Unsqueeze", type, {value, ints(loc, axis)});
}

Value Decomposer::cast(Location loc, Value value, Type elementType) {
  // TensorProto.DataType numbers.
  int64_t to = elementType.isInteger(64) ? 7
               : elementType.isF16()     ? 10
               : elementType.isF64()     ? 11
               : elementType.isBF16()    ? 16
                                         : 1;
  return node(loc, "Cast", ranked(value).clone(elementType), value,
              intAttr(rewriter, "to", to));
}

RankedTensorType mlir::ffn::withLastDim(RankedTensorType type, int64_t size) {
  SmallVector<int64_t> shape(type.getShape());
  shape.back() = size;
  return type.clone(shape);
}

//===----------------------------------------------------------------------===//
// Ops
//===----------------------------------------------------------------------===//

Value Decomposer::lower(NormOp op) {
  Location loc = op.getLoc(), inner = rewriter.getUnknownLoc();
  RankedTensorType type = ranked(op.getInput());
  Type element = type.getElementType();
  double eps = op.getEps().convertToDouble();
  if (op.getKind() == NormKind::Layer && !op.getOuterEps() && opset >= 17) {
    Value scale = op.getScale();
    if (!scale) {
      auto vector = RankedTensorType::get({type.getShape().back()}, element);
      DenseElementsAttr ones = DenseElementsAttr::get(
          vector, llvm::cast<Attribute>(rewriter.getFloatAttr(element, 1.0)));
      scale = WeightOp::create(rewriter, inner, vector,
                               llvm::cast<TypedAttr>(ones));
    }
    SmallVector<Value> inputs{op.getInput(), scale};
    if (op.getBias())
      inputs.push_back(op.getBias());
    return node(
        loc, "LayerNormalization", type, inputs,
        {intAttr(rewriter, "axis", -1), floatAttr(rewriter, "epsilon", eps)});
  }

  // Statistics are in f32 or wider.
  bool narrow = element.getIntOrFloatBitWidth() < 32;
  auto widen = [&](Value value) {
    return narrow && value ? cast(inner, value, rewriter.getF32Type()) : value;
  };
  Value x = widen(op.getInput());
  RankedTensorType wide = ranked(x), column = withLastDim(wide, 1);
  element = wide.getElementType();
  auto mean = [&](Value value) {
    SmallVector<NamedAttribute> attrs{intAttr(rewriter, "keepdims", 1)};
    SmallVector<Value> inputs{value};
    if (opset >= 18)
      inputs.push_back(ints(inner, -1));
    else
      attrs.push_back(intsAttr(rewriter, "axes", -1));
    return node(inner, "ReduceMean", column, inputs, attrs);
  };
  if (op.getKind() == NormKind::Layer)
    x = node(inner, "Sub", wide, {x, mean(x)});
  Value root = mean(node(inner, "Mul", wide, {x, x}));
  Value epsilon = floatScalar(inner, element, eps);
  if (!op.getOuterEps())
    root = node(inner, "Add", column, {root, epsilon});
  root = node(inner, "Sqrt", column, root);
  if (op.getOuterEps())
    root = node(inner, "Add", column, {root, epsilon});
  bool plain = !op.getScale() && !op.getBias() && !narrow;
  Value result = node(plain ? loc : inner, "Div", wide, {x, root});
  if (op.getScale())
    result = node(op.getBias() || narrow ? inner : loc, "Mul", wide,
                  {result, widen(op.getScale())});
  if (op.getBias())
    result =
        node(narrow ? inner : loc, "Add", wide, {result, widen(op.getBias())});
  return narrow ? cast(loc, result, type.getElementType()) : result;
}

Value Decomposer::linear(Location loc, Value input, Value weight, Value bias,
                         Type type) {
  Value product = node(loc, "MatMul", type, {input, transposed(weight)});
  return bias ? node(rewriter.getUnknownLoc(), "Add", type, {product, bias})
              : product;
}

Value Decomposer::lower(LinearOp op) {
  return linear(op.getLoc(), op.getInput(), op.getWeight(), op.getBias(),
                op.getType());
}

Value Decomposer::activate(Location loc, Activation kind, Value x) {
  Type type = x.getType();
  Type element = ranked(x).getElementType();
  auto scalar = [&](double value) { return floatScalar(loc, element, value); };
  auto binary = [&](StringRef op, Value a, Value b) {
    return node(loc, op, type, {a, b});
  };
  auto unary = [&](StringRef op, Value a) { return node(loc, op, type, a); };
  switch (kind) {
  case Activation::Identity:
    return x;
  case Activation::Relu:
    return unary("Relu", x);
  case Activation::Sigmoid:
    return unary("Sigmoid", x);
  case Activation::Tanh:
    return unary("Tanh", x);
  case Activation::SquaredRelu: {
    Value relu = unary("Relu", x);
    return binary("Mul", relu, relu);
  }
  case Activation::Silu:
    return binary("Mul", x, unary("Sigmoid", x));
  case Activation::GeluSigmoid:
    return binary("Mul", x, unary("Sigmoid", binary("Mul", x, scalar(1.702))));
  case Activation::GeluErf: {
    if (opset >= 20)
      return unary("Gelu", x);
    Value erf = unary("Erf", binary("Div", x, scalar(1.4142135623730951)));
    Value sum = binary("Add", erf, scalar(1.0));
    return binary("Mul", binary("Mul", x, sum), scalar(0.5));
  }
  case Activation::GeluTanh: {
    if (opset >= 20)
      return node(
          loc, "Gelu", type, x,
          rewriter.getNamedAttr("approximate", rewriter.getStringAttr("tanh")));
    Value cube = binary("Mul", binary("Mul", x, x), x);
    Value sum = binary("Add", x, binary("Mul", cube, scalar(0.044715)));
    Value tanh = unary("Tanh", binary("Mul", sum, scalar(0.7978845608028654)));
    return binary("Mul", binary("Mul", x, scalar(0.5)),
                  binary("Add", tanh, scalar(1.0)));
  }
  }
  return x;
}

/// Raise fused the locations of the linears: up, gate, down.
static SmallVector<Location> getLinearLocations(Operation *op) {
  Location inner = UnknownLoc::get(op->getContext());
  if (auto fused = llvm::dyn_cast<FusedLoc>(op->getLoc())) {
    ArrayRef<Location> parts = fused.getLocations();
    if (parts.size() >= 2)
      return {parts.front(), parts.size() > 2 ? parts[1] : inner, parts.back()};
  }
  return {inner, inner, op->getLoc()};
}

template <typename Op> Value Decomposer::hidden(Op op) {
  Location inner = rewriter.getUnknownLoc();
  SmallVector<Location> locations = getLinearLocations(op);
  RankedTensorType type =
      withLastDim(ranked(op.getInput()), op.getHiddenWidth());
  Value up =
      linear(locations[0], op.getInput(), op.getUp(), op.getUpBias(), type);
  if (!op.isGated())
    return activate(inner, op.getActivation(), up);
  Value gate =
      linear(locations[1], op.getInput(), op.getGate(), op.getGateBias(), type);
  return node(inner, "Mul", type,
              {activate(inner, op.getActivation(), gate), up});
}

template Value Decomposer::hidden(MoEOp op);

Value Decomposer::lower(FeedForwardOp op) {
  return linear(getLinearLocations(op)[2], hidden(op), op.getDown(),
                op.getDownBias(), op.getType());
}

Value Decomposer::repeatHeads(Location loc, Value value, int64_t heads) {
  RankedTensorType type = ranked(value);
  ArrayRef<int64_t> shape = type.getShape();
  int64_t groups = shape[1];
  if (groups == heads)
    return value;
  Value wide = unsqueeze(loc, value, 2);
  auto expanded =
      type.clone({shape[0], groups, heads / groups, shape[2], shape[3]});
  wide = node(loc, "Expand", expanded,
              {wide, ints(loc, {1, 1, heads / groups, 1, 1})});
  return node(loc, "Reshape", type.clone({shape[0], heads, shape[2], shape[3]}),
              {wide, ints(loc, {0, heads, -1, shape[3]})});
}

Value Decomposer::maskedScores(AttentionOp op, Value scores,
                               bool &maySeeNothing) {
  Location loc = rewriter.getUnknownLoc();
  Type type = scores.getType();
  Type element = ranked(scores).getElementType();
  Type boolean = rewriter.getI1Type();
  Value zero = floatScalar(loc, element, 0.0);
  Value nothing =
      floatScalar(loc, element, -std::numeric_limits<double>::infinity());
  if (Value mask = op.getMask()) {
    if (ranked(mask).getElementType() == boolean) {
      mask = node(loc, "Where", ranked(mask).clone(element),
                  {mask, zero, nothing});
      maySeeNothing = true;
    }
    scores = node(loc, "Add", type, {scores, mask});
  }
  if (!op.getCausal())
    return scores;
  // Query s is key s + T - S.
  auto integer = RankedTensorType::get({}, rewriter.getI64Type());
  auto length = [&](Value value) {
    Value shape = node(
        loc, "Shape", RankedTensorType::get({4}, rewriter.getI64Type()), value);
    return node(loc, "Gather", integer, {shape, intScalar(loc, 2)},
                intAttr(rewriter, "axis", 0));
  };
  Value queries = length(op.getQuery()), keys = length(op.getKey());
  Value one = intScalar(loc, 1);
  auto range = [&](Value begin, int64_t size) {
    return node(loc, "Range",
                RankedTensorType::get({size}, rewriter.getI64Type()),
                {begin, keys, one});
  };
  int64_t s = ranked(op.getQuery()).getDimSize(2),
          t = ranked(op.getKey()).getDimSize(2);
  Value rows =
      unsqueeze(loc, range(node(loc, "Sub", integer, {keys, queries}), s), 1);
  Value columns = range(intScalar(loc, 0), t);
  auto maskType = RankedTensorType::get({s, t}, boolean);
  Value future = node(loc, "Greater", maskType, {columns, rows});
  Value mask =
      node(loc, "Where", maskType.clone(element), {future, nothing, zero});
  if (ShapedType::isDynamic(s) || s != t)
    maySeeNothing = true;
  return node(loc, "Add", type, {scores, mask});
}

Value Decomposer::lower(AttentionOp op) {
  Location loc = rewriter.getUnknownLoc();
  RankedTensorType q = ranked(op.getQuery());
  int64_t heads = q.getDimSize(1);
  Value key = repeatHeads(loc, op.getKey(), heads),
        value = repeatHeads(loc, op.getValue(), heads);
  RankedTensorType k = ranked(key);
  ArrayRef<int64_t> shape = k.getShape();
  key =
      node(loc, "Transpose", k.clone({shape[0], shape[1], shape[3], shape[2]}),
           key, intsAttr(rewriter, "perm", {0, 1, 3, 2}));
  auto type = q.clone({q.getDimSize(0), heads, q.getDimSize(2), shape[2]});
  Value scores = node(loc, "MatMul", type, {op.getQuery(), key});
  double scale = op.getScale().convertToDouble();
  if (scale != 1.0)
    scores = node(loc, "Mul", type,
                  {scores, floatScalar(loc, q.getElementType(), scale)});
  bool maySeeNothing = false;
  scores = maskedScores(op, scores, maySeeNothing);
  Value weights = node(loc, "Softmax", type, scores,
                       intAttr(rewriter, "axis", opset < 13 ? 3 : -1));
  if (maySeeNothing) {
    Value isNaN = node(loc, "IsNaN", type.clone(rewriter.getI1Type()), weights);
    weights = node(loc, "Where", type,
                   {isNaN, floatScalar(loc, q.getElementType(), 0.0), weights});
  }
  return node(op.getLoc(), "MatMul", op.getType(), {weights, value});
}

Value Decomposer::lower(EmbeddingOp op) {
  return node(op.getLoc(), "Gather", op.getType(), {op.getTable(), op.getIds()},
              intAttr(rewriter, "axis", 0));
}

void Decomposer::lower(SublayerOp op) {
  auto yield = llvm::cast<YieldOp>(op.getBody().front().getTerminator());
  SmallVector<Value> yielded(yield.getOperands());
  Value residual = op.getResidual();
  // Values that the block argument stands for.
  for (Value &value : yielded)
    if (value == op.getBodyArgument())
      value = residual;
  unsigned numAddends = op.getNumAddends();
  rewriter.eraseOp(yield);
  rewriter.inlineBlockBefore(&op.getBody().front(), op, residual);
  rewriter.setInsertionPoint(op);
  Value hidden = residual;
  for (unsigned i = 0; i < numAddends; ++i)
    hidden = node(i + 1 == numAddends ? op.getLoc() : rewriter.getUnknownLoc(),
                  "Add", residual.getType(), {hidden, yielded[i]});
  SmallVector<Value> results{hidden};
  results.append(yielded.begin() + numAddends, yielded.end());
  rewriter.replaceOp(op, results);
}

LogicalResult Decomposer::decompose(Operation *op) {
  rewriter.setInsertionPoint(op);
  if (llvm::isa<ObserveOp>(op)) {
    rewriter.eraseOp(op);
    return success();
  }
  if (auto sublayer = llvm::dyn_cast<SublayerOp>(op)) {
    lower(sublayer);
    return success();
  }
  if (auto skip = llvm::dyn_cast<SkipOp>(op)) {
    lower(skip);
    return success();
  }
  Value result;
  if (auto norm = llvm::dyn_cast<NormOp>(op))
    result = lower(norm);
  else if (auto linear = llvm::dyn_cast<LinearOp>(op))
    result = lower(linear);
  else if (auto network = llvm::dyn_cast<FeedForwardOp>(op))
    result = lower(network);
  else if (auto layer = llvm::dyn_cast<HiddenOp>(op))
    result = hidden(layer);
  else if (auto moe = llvm::dyn_cast<MoEOp>(op))
    result = lower(moe);
  else if (auto attention = llvm::dyn_cast<AttentionOp>(op))
    result = lower(attention);
  else if (auto embedding = llvm::dyn_cast<EmbeddingOp>(op))
    result = lower(embedding);
  else if (auto cosine = llvm::dyn_cast<RowCosineOp>(op))
    result = lower(cosine);
  else if (auto margin = llvm::dyn_cast<RowMarginOp>(op))
    result = lower(margin);
  else
    return op->emitError("has no form in standard ONNX [FFN-E201]");
  rewriter.replaceOp(op, result);
  return success();
}

LogicalResult Decomposer::check(Operation *op) const {
  for (Type type :
       llvm::concat<const Type>(op->getOperandTypes(), op->getResultTypes()))
    if (auto tensor = llvm::dyn_cast<TensorType>(type);
        tensor && !tensor.hasRank() && !llvm::isa<SublayerOp>(op))
      return op->emitError("cannot be decomposed: the rank of ")
             << type << " is not known [FFN-E202]";
  auto needs = [&](int64_t version, const Twine &what) -> LogicalResult {
    if (opset >= version)
      return success();
    return op->emitError("cannot be decomposed: ")
           << what.str() << " needs opset " << version << ", the model has "
           << opset << " [FFN-E203]";
  };
  auto network = llvm::dyn_cast<FeedForwardOp>(op);
  auto layer = llvm::dyn_cast<HiddenOp>(op);
  if ((network && network.getActivation() == Activation::GeluErf) ||
      (layer && layer.getActivation() == Activation::GeluErf))
    return needs(9, "the exact GELU");
  if (auto attention = llvm::dyn_cast<AttentionOp>(op)) {
    if (attention.getCausal())
      return needs(11, "a causal mask");
    if (attention.getMask() || ranked(attention.getKey()).getDimSize(1) !=
                                   ranked(attention.getQuery()).getDimSize(1))
      return needs(9, "its mask or its shared heads");
  }
  if (llvm::isa<MoEOp>(op))
    return needs(11, "comparing scores");
  auto needsWidth = [&](Value rows) -> LogicalResult {
    if (!ShapedType::isDynamic(ranked(rows).getShape().back()))
      return success();
    return op->emitError("cannot be decomposed: the width of rows of ")
           << rows.getType() << " is not known [FFN-E202]";
  };
  if (auto skip = llvm::dyn_cast<SkipOp>(op))
    return failed(needsWidth(skip.getResult()))
               ? failure()
               : needs(9, "a choice between rows");
  if (llvm::isa<RowCosineOp>(op))
    return needs(9, "a choice between elements");
  if (auto margin = llvm::dyn_cast<RowMarginOp>(op))
    return failed(needsWidth(margin.getInput()))
               ? failure()
               : needs(11, "the two largest elements");
  return needs(7, "broadcasting");
}

namespace {
struct Decompose : mlir::ffn::impl::FFNDecomposeBase<Decompose> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    Decomposer decomposer(module);
    SmallVector<Operation *> ops;
    bool ok = true;
    module.walk<WalkOrder::PostOrder>([&](Operation *op) {
      if (!llvm::isa<SublayerOp, SkipOp, ObserveOp>(op) &&
          !llvm::isa<ComputeOpInterface>(op))
        return;
      ok &= succeeded(decomposer.check(op));
      ops.push_back(op);
    });
    if (!ok)
      return signalPassFailure();
    for (Operation *op : ops)
      if (failed(decomposer.decompose(op)))
        return signalPassFailure();
    writeStoredWeights(module, getDefaultOpset(module));
  }
};
} // namespace
