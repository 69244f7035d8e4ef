//===- FFNLower.cpp - Compute operations as plain linalg ------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// What the kernels of a target do not serve. Structure is right here, speed is
// not the point.
//
//===----------------------------------------------------------------------===//

#include "ModelLowering.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNAdaptive.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNProbes.h"
#include "ffn-mlir/Support/WeightEval.h"
#include "ffn-mlir/Target/CPU/DenseWeight.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>
#include <limits>

using namespace mlir;
using namespace mlir::ffn;

/// An activation of one element, in f32 for narrow types.
static Value activate(OpBuilder &b, Location loc, Activation activation,
                      Value x) {
  Type type = x.getType();
  auto constant = [&](double v) { return constantOf(b, loc, type, v); };
  auto mul = [&](Value l, Value r) -> Value {
    return arith::MulFOp::create(b, loc, l, r);
  };
  auto add = [&](Value l, Value r) -> Value {
    return arith::AddFOp::create(b, loc, l, r);
  };
  auto sigmoid = [&](Value v) -> Value {
    Value e = math::ExpOp::create(b, loc, arith::NegFOp::create(b, loc, v));
    return arith::DivFOp::create(b, loc, constant(1), add(constant(1), e));
  };
  switch (activation) {
  case Activation::Identity:
    return x;
  case Activation::Relu:
    return arith::MaximumFOp::create(b, loc, x, constant(0));
  case Activation::GeluErf: {
    Value e = math::ErfOp::create(b, loc, mul(x, constant(std::sqrt(0.5))));
    return mul(mul(constant(0.5), x), add(constant(1), e));
  }
  case Activation::GeluTanh: {
    Value cube = mul(mul(x, x), x);
    Value inner = mul(constant(std::sqrt(2 / M_PI)),
                      add(x, mul(constant(0.044715), cube)));
    Value t = math::TanhOp::create(b, loc, inner);
    return mul(mul(constant(0.5), x), add(constant(1), t));
  }
  case Activation::GeluSigmoid:
    return mul(x, sigmoid(mul(constant(1.702), x)));
  case Activation::Silu:
    return mul(x, sigmoid(x));
  case Activation::Sigmoid:
    return sigmoid(x);
  case Activation::Tanh:
    return math::TanhOp::create(b, loc, x);
  case Activation::SquaredRelu: {
    Value r = arith::MaximumFOp::create(b, loc, x, constant(0));
    return mul(r, r);
  }
  }
  return x;
}

/// The hidden layer of operations that have one.
template <typename Op>
static Value lowerHidden(LowerScope &scope, Op op, Value x, Value up,
                         Value gate, Value upBias, Value gateBias) {
  Value hidden = linear(scope, x, up, upBias);
  Activation activation = op.getActivation();
  auto apply = [&](OpBuilder &b, Location loc, Value v) {
    return computeWide(b, loc, v, [&](Value wide) {
      return activate(b, loc, activation, wide);
    });
  };
  if (!gate)
    return elementwise(scope, hidden, elementOf(hidden),
                       [&](OpBuilder &b, Location loc, ValueRange args) {
                         return apply(b, loc, args[0]);
                       });
  Value gated = linear(scope, x, gate, gateBias);
  return elementwise(scope, {gated, hidden}, elementOf(hidden),
                     [&](OpBuilder &b, Location loc, ValueRange args) -> Value {
                       return arith::MulFOp::create(
                           b, loc, apply(b, loc, args[0]), args[1]);
                     });
}

static Value lowerFeedForward(LowerScope &scope, FeedForwardOp op,
                              ArrayRef<Value> operands) {
  unsigned next = 0;
  auto take = [&](bool present) {
    return present ? operands[next++] : Value();
  };
  Value x = take(true), up = take(true), gate = take(op.isGated());
  Value down = take(true);
  Value upBias = take(static_cast<bool>(op.getUpBias()));
  Value gateBias = take(static_cast<bool>(op.getGateBias()));
  Value downBias = take(static_cast<bool>(op.getDownBias()));
  Value hidden = lowerHidden(scope, op, x, up, gate, upBias, gateBias);
  return linear(scope, hidden, down, downBias);
}

static Value lowerHidden(LowerScope &scope, HiddenOp op,
                         ArrayRef<Value> operands) {
  unsigned next = 0;
  auto take = [&](bool present) {
    return present ? operands[next++] : Value();
  };
  Value x = take(true), up = take(true), gate = take(op.isGated());
  Value upBias = take(static_cast<bool>(op.getUpBias()));
  Value gateBias = take(static_cast<bool>(op.getGateBias()));
  return lowerHidden(scope, op, x, up, gate, upBias, gateBias);
}

void mlir::ffn::checkAttentionSizes(LowerScope &scope,
                                    ArrayRef<SmallVector<OpFoldResult>> sizes) {
  ArrayRef<OpFoldResult> q = sizes[0], k = sizes[1], v = sizes[2];
  auto check = [&](Value holds) {
    scope.check(holds, LowerScope::CheckKind::Shape);
  };
  std::pair<OpFoldResult, OpFoldResult> pairs[] = {
      {q[0], k[0]}, {q[0], v[0]}, {k[1], v[1]}, {k[2], v[2]}, {q[3], k[3]}};
  for (auto [a, b] : pairs)
    if (a != b)
      check(equalIndex(scope, a, b));
  if (sizes.size() < 4)
    return;
  OpFoldResult scores[] = {q[0], q[1], q[2], k[2]};
  for (auto [size, full] :
       llvm::zip(llvm::reverse(sizes[3]), llvm::reverse(scores)))
    if (size != full && !isConstantIntValue(size, 1))
      check(arith::OrIOp::create(
          scope.builder, scope.loc, equalIndex(scope, size, full),
          equalIndex(scope, size, staticSize(scope, 1))));
}

static FailureOr<Value> lowerAttention(LowerScope &scope, AttentionOp op,
                                       ArrayRef<Value> operands) {
  OpBuilder &b = scope.builder;
  Value q = operands[0], k = operands[1], v = operands[2];
  Value mask = operands.size() > 3 ? operands[3] : Value();
  Sizes sq = scope.sizes(q), sk = scope.sizes(k), sv = scope.sizes(v);
  SmallVector<Sizes> all{sq, sk, sv};
  if (mask)
    all.push_back(scope.sizes(mask));
  checkAttentionSizes(scope, all);
  int64_t heads = *getConstantIntValue(sq[1]);
  int64_t groups = *getConstantIntValue(sk[1]);
  OpFoldResult group = staticSize(scope, groups);
  OpFoldResult share = staticSize(scope, heads / groups);
  OpFoldResult one = staticSize(scope, 1);
  // [B, G, H/G, S, D] against [B, G, 1, D, T].
  Value qg = reshapeTo(scope, q, {sq[0], group, share, sq[2], sq[3]});
  Value kt = transposeTo(scope, k, {0, 1, 3, 2});
  kt = reshapeTo(scope, kt, {sk[0], group, one, sk[3], sk[2]});
  FailureOr<Value> scores = matmul(scope, qg, kt);
  if (failed(scores))
    return failure();
  Value s = reshapeTo(scope, *scores, {sq[0], sq[1], sq[2], sk[2]});
  Type type = elementOf(s);
  double scale = op.getScale().convertToDouble();
  double lowest = -std::numeric_limits<double>::infinity();
  SmallVector<Value> terms{s};
  if (mask)
    terms.push_back(mask);
  bool boolean = mask && llvm::isa<IntegerType>(elementOf(mask));
  bool causal = op.getCausal();
  // Keys that a causal row sees: up to s + T - S.
  Value offset = arith::SubIOp::create(b, scope.loc, sizeValue(scope, sk[2]),
                                       sizeValue(scope, sq[2]));
  s = elementwise(
      scope, terms, type,
      [&](OpBuilder &b, Location loc, ValueRange args) -> Value {
        Value value = arith::MulFOp::create(b, loc, args[0],
                                            constantOf(b, loc, type, scale));
        Value hidden = constantOf(b, loc, type, lowest);
        if (boolean)
          value = arith::SelectOp::create(b, loc, toCondition(b, loc, args[1]),
                                          value, hidden);
        else if (mask)
          value = arith::AddFOp::create(
              b, loc, value, castElement(b, loc, args[1], type, false, false));
        if (causal) {
          Value row = linalg::IndexOp::create(b, loc, 2);
          Value column = linalg::IndexOp::create(b, loc, 3);
          Value last = arith::AddIOp::create(b, loc, row, offset);
          Value sees = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sle,
                                             column, last);
          value = arith::SelectOp::create(b, loc, sees, value, hidden);
        }
        return value;
      });
  if (!s)
    return failure();
  Value p = softmaxLast(scope, s, /*log=*/false);
  // A row that sees nothing is zero: its softmax is NaN, its maximum -inf.
  if (mask || causal) {
    Value low = constantOf(b, scope.loc, type, lowest);
    Value max = reduce(scope, s, 3, true, low, nullptr,
                       [](OpBuilder &b, Location loc, Value e, Value m) {
                         return arith::MaximumFOp::create(b, loc, m, e);
                       });
    p = elementwise(scope, {p, max}, type,
                    [&](OpBuilder &b, Location loc, ValueRange args) -> Value {
                      Value nothing = arith::CmpFOp::create(
                          b, loc, arith::CmpFPredicate::OEQ, args[1],
                          constantOf(b, loc, type, lowest));
                      return arith::SelectOp::create(
                          b, loc, nothing, zeroOf(b, loc, type), args[0]);
                    });
  }
  p = reshapeTo(scope, p, {sq[0], group, share, sq[2], sk[2]});
  Value vg = reshapeTo(scope, v, {sv[0], group, one, sv[2], sv[3]});
  FailureOr<Value> out = matmul(scope, p, vg);
  if (failed(out))
    return failure();
  return reshapeTo(scope, *out, {sq[0], sq[1], sq[2], sv[3]});
}

FailureOr<Value> mlir::ffn::lowerComputeOp(LowerScope &scope, Operation *op,
                                           ArrayRef<Value> operands) {
  FailureOr<Value> result =
      llvm::TypeSwitch<Operation *, FailureOr<Value>>(op)
          .Case([&](NormOp norm) -> FailureOr<Value> {
            unsigned next = 1;
            Value weight = norm.getScale() ? operands[next++] : Value();
            Value bias = norm.getBias() ? operands[next++] : Value();
            return normalize(scope, operands[0], rankOf(operands[0]) - 1,
                             weight, bias, norm.getEps().convertToDouble(),
                             norm.getKind() == NormKind::Rms,
                             norm.getOuterEps())
                .output;
          })
          .Case([&](LinearOp) -> FailureOr<Value> {
            return linear(scope, operands[0], operands[1],
                          operands.size() > 2 ? operands[2] : Value());
          })
          .Case([&](FeedForwardOp ffn) -> FailureOr<Value> {
            return lowerFeedForward(scope, ffn, operands);
          })
          .Case([&](HiddenOp hidden) -> FailureOr<Value> {
            return lowerHidden(scope, hidden, operands);
          })
          .Case([&](AttentionOp attention) {
            return lowerAttention(scope, attention, operands);
          })
          .Case([&](EmbeddingOp) -> FailureOr<Value> {
            return gatherRows(scope, operands[1], operands[0], 0);
          })
          .Case([&](RowCosineOp) -> FailureOr<Value> {
            return lowerRowCosine(scope, operands[0], operands[1]);
          })
          .Case([&](RowMarginOp) -> FailureOr<Value> {
            return lowerRowMargin(scope, operands[0]);
          })
          .Default([](Operation *) -> FailureOr<Value> { return failure(); });
  if (failed(result) || !*result)
    return op->emitError("operation '")
           << op->getName() << "' cannot be compiled with these operands "
           << "[FFN-C101]";
  return result;
}

//===----------------------------------------------------------------------===//
// Weights that kernels can serve
//===----------------------------------------------------------------------===//

static RankedTensorType rankedStatic(Value value) {
  auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
  return type && type.hasStaticShape() ? type : RankedTensorType();
}

/// Transpose, Cast, Reshape, Identity of a weight become expressions.
static Value foldWeightNode(OpBuilder &builder, onnx::NodeOp node) {
  if (node.getNumOperands() == 0 || node.getNumResults() != 1 ||
      !isWeightExpression(node.getOperand(0)))
    return {};
  Value weight = node.getOperand(0);
  RankedTensorType from = rankedStatic(weight),
                   to = rankedStatic(node.getResult(0));
  if (!from || !to)
    return {};
  auto isNumber = [](Type type) {
    return type.isF16() || type.isBF16() || type.isF32();
  };
  if (!isNumber(from.getElementType()) || !isNumber(to.getElementType()))
    return {};
  if (node.is("Identity") && from == to)
    return weight;
  if (node.is("Transpose") && from.getRank() == 2) {
    std::optional<ArrayRef<int64_t>> perm = node.getInts("perm");
    if (!perm || (perm->size() == 2 && (*perm)[0] == 1 && (*perm)[1] == 0))
      return TransposeOp::create(builder, node.getLoc(), weight);
    return {};
  }
  if (node.is("Cast") && from.getShape() == to.getShape())
    return from == to
               ? weight
               : Value(CastOp::create(builder, node.getLoc(), to, weight));
  bool reshapes = node.is("Reshape") || node.is("Squeeze") ||
                  node.is("Unsqueeze") || node.is("Flatten");
  if (reshapes && from.getElementType() == to.getElementType() &&
      from.getNumElements() == to.getNumElements())
    return from == to
               ? weight
               : Value(ReshapeOp::create(builder, node.getLoc(), to, weight));
  return {};
}

/// x W with a constant matrix is an ffn.linear of its transpose.
static Value foldMatMul(OpBuilder &builder, onnx::NodeOp node) {
  if (node.getNumResults() != 1)
    return {};
  auto result = llvm::dyn_cast<RankedTensorType>(node.getResult(0).getType());
  if (!result || result.getRank() < 1)
    return {};
  auto matrix = [&](unsigned i) {
    Value value = node.getInput(i);
    RankedTensorType type = value && isWeightExpression(value)
                                ? rankedStatic(value)
                                : RankedTensorType();
    return type && type.getRank() == 2 ? value : Value();
  };
  Value x = node.getInput(0), weight = matrix(1), bias;
  auto input =
      x ? llvm::dyn_cast<RankedTensorType>(x.getType()) : RankedTensorType();
  if (!weight || !input || isWeightExpression(x) || input.getRank() < 2 ||
      input.getElementType() != rankedStatic(weight).getElementType() ||
      !llvm::isa<FloatType>(input.getElementType()))
    return {};
  bool stored = false; // as [out, in]
  if (node.is("Gemm")) {
    if (node.getFloat("alpha", 1) != 1 || node.getInt("transA", 0) != 0)
      return {};
    stored = node.getInt("transB", 0) != 0;
    if (Value c = node.getInput(2)) {
      RankedTensorType type = rankedStatic(c);
      if (node.getFloat("beta", 1) != 1 || !isWeightExpression(c) || !type ||
          type.getRank() != 1 || type.getDimSize(0) != result.getShape().back())
        return {};
      bias = c;
    }
  } else if (!node.is("MatMul")) {
    return {};
  }
  if (!stored)
    weight = TransposeOp::create(builder, node.getLoc(), weight);
  RankedTensorType type = rankedStatic(weight);
  if (type.getDimSize(0) != result.getShape().back() ||
      (!ShapedType::isDynamic(input.getShape().back()) &&
       input.getShape().back() != type.getDimSize(1)))
    return {};
  return LinearOp::create(builder, node.getLoc(), result, x, weight, bias);
}

void mlir::ffn::exposeWeights(Operation *root) {
  SmallVector<onnx::NodeOp> nodes;
  root->walk([&](onnx::NodeOp node) { nodes.push_back(node); });
  OpBuilder builder(root->getContext());
  for (onnx::NodeOp node : nodes) {
    builder.setInsertionPoint(node);
    Value value = foldWeightNode(builder, node);
    if (!value)
      value = foldMatMul(builder, node);
    if (!value)
      continue;
    node.getResult(0).replaceAllUsesWith(value);
    node.erase();
  }
}
