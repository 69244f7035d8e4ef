//===- RaiseLinear.cpp - Products with constant matrices ------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "RaiseDetail.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::raise;
using onnx::NodeOp;

static constexpr llvm::StringLiteral linearName = "linear";

/// Activations with a bias of their own become an addition and the activation
/// alone, so that the bias joins the linear before it.
void Raiser::expandBiasActivation(NodeOp node) {
  Value input = node.getInput(0), bias = node.getInput(1);
  RankedTensorType type = floatTensor(input);
  if (!input || !bias || !type || type != node.getResult(0).getType() ||
      type.getRank() == 0 || !isVectorConstant(bias, type.getShape().back()))
    return;
  rewriter.setInsertionPoint(node);
  Value sum =
      createNode(node.getLoc(), "Add", type, {input, bias}).getResult(0);
  auto activation = NodeOp::create(
      rewriter, node.getLoc(), "com.microsoft",
      node.getOp() == "BiasGelu" ? "Gelu" : node.getOp(), node.getVersion(),
      type, sum, {}, 0, node.getProperties().names);
  replace(node, activation.getResults());
}

/// A matrix as `[out, in]`: whether the operand is one, and its sizes.
static RankedTensorType matrixType(Value value) {
  RankedTensorType type = floatTensor(value);
  return type && type.getRank() == 2 && type.hasStaticShape()
             ? type
             : RankedTensorType();
}

bool Raiser::raiseMatMul(NodeOp node) {
  bool fused = node.is("com.microsoft", "FusedMatMul");
  Value input = node.getInput(0), weight = node.getInput(1);
  RankedTensorType type = floatTensor(input), matrix = matrixType(weight),
                   result = floatTensor(node.getResult(0));
  if (!type || !matrix || !isConstant(weight))
    return false;
  if (fused && (node.getInt("transA", 0) || node.getInt("transBatchA", 0) ||
                node.getInt("transBatchB", 0))) {
    nearMiss(node, linearName, "its input is transposed");
    return false;
  }
  bool transposed = fused && node.getInt("transB", 0);
  int64_t in = matrix.getDimSize(transposed ? 1 : 0),
          out = matrix.getDimSize(transposed ? 0 : 1);
  // A product with one column is an outer product, such as positions times
  // frequencies.
  if (type.getRank() < 2 || in < 2)
    return false;
  if (!result || result.getRank() != type.getRank() ||
      type.getShape().back() != in || result.getShape().back() != out ||
      type.getElementType() != matrix.getElementType() ||
      result.getElementType() != matrix.getElementType()) {
    nearMiss(node, linearName,
             "the types of its input, weight and result do not fit");
    return false;
  }
  Value expression = getWeight(weight);
  if (!transposed)
    expression = getTranspose(expression);
  if (fused)
    expression = getScaled(expression, node.getFloat("alpha", 1.0f));
  rewriter.setInsertionPoint(node);
  auto linear = LinearOp::create(rewriter, locationOf(node), result, input,
                                 expression, Value());
  replace(node, linear.getResult());
  // TensorFlow adds the bias behind the reshapes.
  if (!absorbBias(linear))
    absorbReshapes(linear);
  return true;
}

bool Raiser::raiseGemm(NodeOp node) {
  Value input = node.getInput(0), weight = node.getInput(1),
        bias = node.getInput(2);
  RankedTensorType type = floatTensor(input), matrix = matrixType(weight),
                   result = floatTensor(node.getResult(0));
  if (!type || !matrix || !isConstant(weight))
    return false;
  if (node.getInt("transA", 0)) {
    nearMiss(node, linearName, "its input is transposed");
    return false;
  }
  bool transposed = node.getInt("transB", 0);
  int64_t in = matrix.getDimSize(transposed ? 1 : 0),
          out = matrix.getDimSize(transposed ? 0 : 1);
  if (type.getRank() != 2 || !result || result.getRank() != 2 ||
      type.getShape().back() != in || result.getShape().back() != out ||
      type.getElementType() != matrix.getElementType() ||
      result.getElementType() != matrix.getElementType()) {
    nearMiss(node, linearName,
             "the types of its input, weight and result do not fit");
    return false;
  }
  if (bias && (!isVectorConstant(bias, out, /*orScalar=*/true) ||
               floatTensor(bias).getElementType() != matrix.getElementType())) {
    nearMiss(node, linearName, "its C is not a constant vector of the columns");
    return false;
  }
  Value expression = getWeight(weight);
  if (!transposed)
    expression = getTranspose(expression);
  expression = getScaled(expression, node.getFloat("alpha", 1.0f));
  Value vector;
  if (bias)
    vector = getScaled(getVector(bias, out), node.getFloat("beta", 1.0f));
  rewriter.setInsertionPoint(node);
  auto linear = LinearOp::create(rewriter, locationOf(node), result, input,
                                 expression, vector);
  replace(node, linear.getResult());
  if (vector || !absorbBias(linear))
    absorbReshapes(linear);
  return true;
}

/// True if a linear with bias took the place of `linear`, which may be gone.
bool Raiser::absorbBias(LinearOp linear) {
  if (linear.getBias() || !linear.getResult().hasOneUse())
    return false;
  auto add = llvm::dyn_cast<NodeOp>(*linear.getResult().user_begin());
  auto type = llvm::cast<RankedTensorType>(linear.getResult().getType());
  if (!add || !add.is("Add") || add->getBlock() != linear->getBlock() ||
      add.getInputs().size() != 2 || add.getResult(0).getType() != type)
    return false;
  Value other = add.getInput(add.getInput(0) == linear.getResult() ? 1 : 0);
  int64_t out = type.getShape().back();
  if (!other || !floatTensor(other) ||
      !isVectorConstant(other, out, /*orScalar=*/true) ||
      floatTensor(other).getElementType() != type.getElementType())
    return false;
  Value bias = getVector(other, out);
  rewriter.setInsertionPoint(add);
  auto biased = LinearOp::create(rewriter, linear.getLoc(), type,
                                 linear.getInput(), linear.getWeight(), bias);
  replace(add, biased.getResult());
  if (linear->use_empty())
    rewriter.eraseOp(linear);
  // The reshapes around it see the sum.
  absorbReshapes(biased);
  return true;
}

/// Whether two types agree in all dims but the last, or in all but one of
/// them: then the last one agrees too because the element counts do.
static bool sameLeadingDims(RankedTensorType a, RankedTensorType b) {
  if (a.getRank() != b.getRank())
    return false;
  unsigned unknown = 0;
  for (int64_t i = 0; i + 1 < a.getRank(); ++i) {
    if (a.isDynamicDim(i) || b.isDynamicDim(i))
      ++unknown;
    else if (a.getDimSize(i) != b.getDimSize(i))
      return false;
  }
  return unknown <= 1;
}

void Raiser::absorbReshapes(LinearOp linear) {
  // reshape(linear(reshape(x, [-1, in])), [..., out]) is linear(x): a linear
  // looks at rows alone.
  NodeOp before = definedBy(linear.getInput(), "Reshape");
  if (!before || !linear.getResult().hasOneUse())
    return;
  auto after = llvm::dyn_cast<NodeOp>(*linear.getResult().user_begin());
  if (!after || !after.is("Reshape") ||
      after->getBlock() != linear->getBlock() ||
      after.getInput(0) != linear.getResult())
    return;
  RankedTensorType outer = floatTensor(before.getInput(0)),
                   inner = floatTensor(before.getResult(0)),
                   result = floatTensor(after.getResult(0));
  if (!outer || !inner || !result || outer.getRank() < 1 ||
      inner.getRank() < 1 ||
      outer.getShape().back() != inner.getShape().back() ||
      ShapedType::isDynamic(outer.getShape().back()) || result.getRank() < 1 ||
      result.getShape().back() !=
          llvm::cast<RankedTensorType>(linear.getResult().getType())
              .getShape()
              .back())
    return;
  if (!haveSameLeadingDims(before.getInput(0), after.getResult(0)) &&
      !sameLeadingDims(outer, result))
    return nearMiss(after, linearName,
                    "it is not known that the reshape restores the shape "
                    "before the product");
  rewriter.setInsertionPoint(after);
  auto whole =
      LinearOp::create(rewriter, linear.getLoc(), result, before.getInput(0),
                       linear.getWeight(), linear.getBias());
  replace(after, whole.getResult());
  if (linear->use_empty()) {
    rewriter.eraseOp(linear);
    eraseIfDead(before.getOperation());
  }
  absorbBias(whole);
}

void Raiser::raiseLinears(Block &block) {
  forEachNode(block, [&](NodeOp node) {
    if (node.is("com.microsoft", "BiasGelu") ||
        node.is("com.microsoft", "FastGelu"))
      expandBiasActivation(node);
  });
  forEachNode(block, [&](NodeOp node) {
    if (node.is("MatMul") || node.is("com.microsoft", "FusedMatMul"))
      raiseMatMul(node);
    else if (node.is("Gemm"))
      raiseGemm(node);
  });
}
