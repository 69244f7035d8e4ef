//===- RaiseNorm.cpp - Norms, as operators and spelled out ----------------===//
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

static constexpr llvm::StringLiteral normName = "norm";

/// The normalised value before scale and shift.
struct Raiser::NormCore {
  NormKind kind = NormKind::Layer;
  Value input;
  double eps = 0;
  bool outerEps = false;
  Value scale, bias; // null: absent
  Operation *root = nullptr;
};

//===----------------------------------------------------------------------===//
// Operators
//===----------------------------------------------------------------------===//

/// Whether the norm is over the last dimension alone; says why not.
static bool checkAxis(NodeOp node, RankedTensorType type, std::string &why) {
  int64_t axis = node.getInt("axis", -1);
  if (axis == -1 || axis == type.getRank() - 1)
    return true;
  why = "normalises from axis " + std::to_string(axis) +
        ", not over the last dimension alone";
  return false;
}

static double readEps(NodeOp node, double otherwise) {
  if (auto attr =
          llvm::dyn_cast_if_present<FloatAttr>(node.getNodeAttr("epsilon")))
    return attr.getValueAsDouble();
  return otherwise;
}

/// The schema's default, 1e-5 in f32.
static double defaultEps() { return static_cast<double>(1e-5f); }

void Raiser::raiseNormOp(NodeOp node, NormKind kind) {
  Value input = node.getInput(0), scale = node.getInput(1),
        bias = kind == NormKind::Layer ? node.getInput(2) : Value();
  RankedTensorType type = floatTensor(input);
  if (!type || type.getRank() == 0)
    return nearMiss(node, normName, "the type of its input is not known");
  std::string why;
  if (!checkAxis(node, type, why))
    return nearMiss(node, normName, why);
  if (node.getInputs().size() > 2 && kind == NormKind::Rms && node.getInput(2))
    return nearMiss(node, normName, "an RMS norm with a shift");
  for (Value extra : llvm::drop_begin(node.getResults()))
    if (!extra.use_empty())
      return nearMiss(node, normName, "its mean or deviation is used");
  int64_t width = type.getShape().back();
  for (Value vector : {scale, bias})
    if (vector && !isVectorConstant(vector, width))
      return nearMiss(node, normName,
                      "scale or shift is not a constant vector of the last "
                      "dimension");
  if (node.getResult(0).getType() != type ||
      (scale && floatTensor(scale).getElementType() != type.getElementType()))
    return nearMiss(node, normName, "input, scale and result differ in type");
  Value scaleVector = scale ? getVector(scale, width) : Value();
  Value biasVector = bias ? getVector(bias, width) : Value();
  rewriter.setInsertionPoint(node);
  Value norm = NormOp::create(rewriter, locationOf(node), type, input,
                              scaleVector, biasVector, kind,
                              llvm::APFloat(readEps(node, defaultEps())),
                              /*outer_eps=*/false);
  rewriter.replaceAllUsesWith(node.getResult(0), norm);
  eraseIfDead(node.getOperation());
}

void Raiser::raiseSkipNorm(NodeOp node, NormKind kind) {
  // (input, skip, gamma, beta, bias) or, for RMS, (input, skip, gamma, bias)
  // -> (output, mean, deviation, input + skip + bias)
  bool layer = kind == NormKind::Layer;
  Value input = node.getInput(0), skip = node.getInput(1),
        gamma = node.getInput(2), beta = layer ? node.getInput(3) : Value(),
        bias = node.getInput(layer ? 4 : 3);
  RankedTensorType type = floatTensor(input);
  if (!type || !skip || skip.getType() != type || !gamma ||
      node.getResult(0).getType() != type)
    return nearMiss(node, normName, "input, skip and result differ in type");
  int64_t width = type.getShape().empty() ? 0 : type.getShape().back();
  for (Value vector : {gamma, beta, bias})
    if (vector && !isVectorConstant(vector, width))
      return nearMiss(node, normName,
                      "scale, shift or bias is not a constant vector of the "
                      "last dimension");
  for (unsigned i : {1u, 2u})
    if (node.getNumResults() > i && !node.getResult(i).use_empty())
      return nearMiss(node, normName, "its mean or deviation is used");
  if (node.getNumResults() > 3 && !node.getResult(3).use_empty() &&
      node.getResult(3).getType() != type)
    return nearMiss(node, normName, "its sum and input differ in type");

  Value scaleVector = getVector(gamma, width);
  Value shiftVector = beta ? getVector(beta, width) : Value();
  rewriter.setInsertionPoint(node);
  // The optimizer that made the node took the bias from the linear before it.
  if (bias) {
    bool toSkip = definedBy(skip, "MatMul") && !definedBy(input, "MatMul");
    Value &linear = toSkip ? skip : input;
    linear =
        createNode(node.getLoc(), "Add", type, {linear, bias}).getResult(0);
  }
  Value sum =
      createNode(node.getLoc(), "Add", type, {input, skip}).getResult(0);
  Value norm =
      NormOp::create(rewriter, locationOf(node), type, sum, scaleVector,
                     shiftVector, kind, llvm::APFloat(readEps(node, 1e-12f)),
                     /*outer_eps=*/false);
  rewriter.replaceAllUsesWith(node.getResult(0), norm);
  if (node.getNumResults() > 3 && node.getResult(3).getType() == type)
    rewriter.replaceAllUsesWith(node.getResult(3), sum);
  eraseIfDead(node.getOperation());
}

//===----------------------------------------------------------------------===//
// Spelled out
//===----------------------------------------------------------------------===//

namespace {
/// Parts of `1 / sqrt(mean(square) + eps)`.
struct Deviation {
  Value square; // what the mean is taken of
  NodeOp mean;
  double eps = 0;
  bool outerEps = false;
  OpSet ops;
};
} // namespace

/// Whether a ReduceMean is over the last dimension and keeps it.
static bool isLastMean(NodeOp mean, std::string &why) {
  auto type = mean.getInput(0)
                  ? llvm::dyn_cast<RankedTensorType>(mean.getInput(0).getType())
                  : RankedTensorType();
  if (!type) {
    why = "the rank of its input is not known";
    return false;
  }
  std::optional<SmallVector<int64_t>> axes;
  if (auto attr = mean.getInts("axes"))
    axes = llvm::to_vector(*attr);
  else if (mean.getInput(1))
    axes = getIntConstants(mean.getInput(1));
  if (!axes || axes->size() != 1 ||
      ((*axes)[0] != -1 && (*axes)[0] != type.getRank() - 1)) {
    why = "the mean is not over the last dimension";
    return false;
  }
  if (mean.getInt("keepdims", 1) == 0) {
    why = "the mean does not keep its dimension";
    return false;
  }
  return true;
}

/// `value = x * x` or `x ^ 2`; the x.
static Value matchSquare(Value value, OpSet &ops) {
  if (NodeOp mul = definedBy(value, "Mul");
      mul && mul.getInput(0) == mul.getInput(1)) {
    ops.insert(mul);
    return mul.getInput(0);
  }
  if (NodeOp pow = definedBy(value, "Pow");
      pow && getScalarConstant(pow.getInput(1)) == 2.0) {
    ops.insert(pow);
    return pow.getInput(0);
  }
  return {};
}

/// `sum = value + constant`, in either order.
static Value matchAddConstant(Value sum, double &constant, OpSet &ops) {
  NodeOp add = definedBy(sum, "Add");
  if (!add)
    return {};
  for (unsigned i : {0u, 1u})
    if (auto value = getScalarConstant(add.getInput(1 - i))) {
      constant = *value;
      ops.insert(add);
      return add.getInput(i);
    }
  return {};
}

/// `value = sqrt(mean(square) + eps)` and its variants.
static bool matchDeviation(Value value, Deviation &dev) {
  double eps = 0;
  if (NodeOp add = definedBy(value, "Add")) {
    Value root = matchAddConstant(value, eps, dev.ops);
    if (!root || !definedBy(root, "Sqrt"))
      return false;
    dev.outerEps = true;
    value = root;
  }
  Value squared;
  if (NodeOp sqrt = definedBy(value, "Sqrt")) {
    dev.ops.insert(sqrt);
    squared = sqrt.getInput(0);
  } else if (NodeOp pow = definedBy(value, "Pow");
             pow && getScalarConstant(pow.getInput(1)) == 0.5) {
    dev.ops.insert(pow);
    squared = pow.getInput(0);
  } else {
    return false;
  }
  if (!dev.outerEps)
    if (Value inner = matchAddConstant(squared, eps, dev.ops))
      squared = inner;
  dev.eps = eps;
  dev.mean = definedBy(squared, "ReduceMean");
  if (!dev.mean)
    return false;
  dev.ops.insert(dev.mean);
  dev.square = matchSquare(dev.mean.getInput(0), dev.ops);
  return true;
}

/// `value = 1 / deviation`.
static bool matchInverseDeviation(Value value, Deviation &dev) {
  if (NodeOp reciprocal = definedBy(value, "Reciprocal")) {
    dev.ops.insert(reciprocal);
    return matchDeviation(reciprocal.getInput(0), dev);
  }
  if (NodeOp div = definedBy(value, "Div");
      div && getScalarConstant(div.getInput(0)) == 1.0) {
    dev.ops.insert(div);
    return matchDeviation(div.getInput(1), dev);
  }
  if (NodeOp pow = definedBy(value, "Pow");
      pow && getScalarConstant(pow.getInput(1)) == -0.5) {
    dev.ops.insert(pow);
    Value squared = pow.getInput(0);
    if (Value inner = matchAddConstant(squared, dev.eps, dev.ops))
      squared = inner;
    dev.mean = definedBy(squared, "ReduceMean");
    if (!dev.mean)
      return false;
    dev.ops.insert(dev.mean);
    dev.square = matchSquare(dev.mean.getInput(0), dev.ops);
    return true;
  }
  return false;
}

/// `value = x - mean(x)`; the x.
static Value matchCentered(Value value, OpSet &ops, std::string &why) {
  NodeOp sub = definedBy(value, "Sub");
  if (!sub)
    return {};
  NodeOp mean = definedBy(sub.getInput(1), "ReduceMean");
  if (!mean || mean.getInput(0) != sub.getInput(0) || !isLastMean(mean, why))
    return {};
  ops.insert(sub);
  ops.insert(mean);
  return sub.getInput(0);
}

bool Raiser::createNorm(NormCore &core, OpSet &ops) {
  RankedTensorType type = floatTensor(core.input);
  int64_t width = type.getShape().back();
  Operation *root = core.root;

  // Scale, then shift, as long as nothing else sees the value between.
  auto extend = [&](StringRef op, Value &vector) {
    if (!root->hasOneUse())
      return;
    auto next = llvm::dyn_cast<NodeOp>(*root->user_begin());
    if (!next || !next.is(op) || next->getBlock() != root->getBlock() ||
        next.getInputs().size() != 2 || next.getResult(0).getType() != type)
      return;
    Value other = next.getInput(next.getInput(0) == root->getResult(0) ? 1 : 0);
    if (other && isVectorConstant(other, width) &&
        floatTensor(other).getElementType() == type.getElementType()) {
      vector = other;
      ops.insert(root);
      root = next;
    }
  };
  if (!core.scale && !core.bias)
    extend("Mul", core.scale);
  if (!core.bias && core.kind == NormKind::Layer)
    extend("Add", core.bias);

  OpSet pattern;
  pattern.insert(root);
  for (Operation *op : ops)
    pattern.insert(op);
  if (Operation *user = findOutsideUse(pattern)) {
    nearMiss(root, normName,
             "a value inside it is also used by " + describe(user));
    return false;
  }
  if (root->getResult(0).getType() != type) {
    nearMiss(root, normName, "its input and result differ in type");
    return false;
  }
  Value scale = core.scale ? getVector(core.scale, width) : Value();
  Value bias = core.bias ? getVector(core.bias, width) : Value();
  rewriter.setInsertionPoint(root);
  replace(root, NormOp::create(rewriter, locationOf(llvm::cast<NodeOp>(root)),
                               type, core.input, scale, bias, core.kind,
                               llvm::APFloat(core.eps), core.outerEps)
                    .getResult());
  return true;
}

bool Raiser::raiseDecomposedNorm(NodeOp node) {
  // Division by the deviation, or multiplication by its inverse.
  NormCore core;
  core.root = node;
  Deviation dev;
  Value numerator;
  if (node.is("Div")) {
    if (!matchDeviation(node.getInput(1), dev))
      return false;
    numerator = node.getInput(0);
  } else {
    for (unsigned i : {0u, 1u}) {
      dev = {};
      if (matchInverseDeviation(node.getInput(i), dev)) {
        numerator = node.getInput(1 - i);
        break;
      }
    }
    if (!numerator)
      return false;
  }
  if (!numerator || !floatTensor(numerator) ||
      floatTensor(numerator).getRank() == 0)
    return false;
  // The mean of something other than a square is no norm at all.
  if (!dev.square)
    return false;
  std::string why;
  if (!isLastMean(dev.mean, why)) {
    nearMiss(node, normName, why);
    return false;
  }
  core.eps = dev.eps;
  core.outerEps = dev.outerEps;
  OpSet ops = dev.ops;
  OpSet centering;
  if (Value input = matchCentered(numerator, centering, why)) {
    OpSet second;
    if (dev.square != numerator &&
        matchCentered(dev.square, second, why) != input) {
      nearMiss(node, normName,
               "the deviation is not that of the value it divides");
      return false;
    }
    core.kind = NormKind::Layer;
    core.input = input;
    ops.insert_range(centering);
    ops.insert_range(second);
  } else {
    if (!why.empty()) {
      nearMiss(node, normName, why);
      return false;
    }
    // Parts of the folded form, which its last node matches.
    OpSet centered;
    Value whole = matchCentered(dev.square, centered, why);
    NodeOp mean = definedBy(numerator, "ReduceMean");
    if (isConstant(numerator) || (whole && whole == numerator) ||
        (whole && mean && mean.getInput(0) == whole))
      return false;
    if (dev.square != numerator) {
      nearMiss(node, normName,
               "the deviation is not that of the value it divides");
      return false;
    }
    core.kind = NormKind::Rms;
    core.input = numerator;
  }
  if (!(core.eps >= 0)) {
    nearMiss(node, normName, "eps is negative");
    return false;
  }
  return createNorm(core, ops);
}

bool Raiser::raiseFoldedLayerNorm(NodeOp node) {
  // x * s + (shift - mean * s) with s = scale / deviation.
  for (unsigned i : {0u, 1u}) {
    NodeOp mul = definedBy(node.getInput(i), "Mul"),
           sub = definedBy(node.getInput(1 - i), "Sub");
    NodeOp meanMul = sub ? definedBy(sub.getInput(1), "Mul") : NodeOp();
    if (!mul || !meanMul)
      continue;
    for (unsigned j : {0u, 1u})
      for (unsigned k : {0u, 1u}) {
        Value factor = mul.getInput(j), input = mul.getInput(1 - j);
        NodeOp mean = definedBy(meanMul.getInput(1 - k), "ReduceMean");
        if (!factor || factor != meanMul.getInput(k) || !mean ||
            mean.getInput(0) != input || !floatTensor(input) ||
            floatTensor(input).getRank() == 0)
          continue;
        NormCore core;
        core.kind = NormKind::Layer;
        core.input = input;
        core.root = node;
        core.bias = sub.getInput(0);
        int64_t width = floatTensor(input).getShape().back();
        if (!core.bias || !isVectorConstant(core.bias, width))
          continue;
        OpSet ops;
        ops.insert(mul);
        ops.insert(sub);
        ops.insert(meanMul);
        Value inverse = factor;
        Deviation dev;
        if (NodeOp scaled = definedBy(factor, "Mul"))
          for (unsigned s : {0u, 1u})
            if (scaled.getInput(s) &&
                isVectorConstant(scaled.getInput(s), width)) {
              core.scale = scaled.getInput(s);
              inverse = scaled.getInput(1 - s);
              ops.insert(scaled);
              break;
            }
        std::string why;
        OpSet centering;
        if (!matchInverseDeviation(inverse, dev) || !dev.square ||
            !isLastMean(dev.mean, why) ||
            matchCentered(dev.square, centering, why) != input ||
            !isLastMean(mean, why)) {
          if (!why.empty())
            nearMiss(node, normName, why);
          continue;
        }
        ops.insert(mean);
        ops.insert_range(centering);
        ops.insert_range(dev.ops);
        core.eps = dev.eps;
        core.outerEps = dev.outerEps;
        return createNorm(core, ops);
      }
  }
  return false;
}

void Raiser::raiseNorms(Block &block) {
  forEachNode(block, [&](NodeOp node) {
    StringRef op = node.getOp();
    bool known =
        node.getDomain().empty() || node.getDomain() == "com.microsoft";
    if (!known)
      return;
    if (op == "LayerNormalization")
      raiseNormOp(node, NormKind::Layer);
    else if (op == "SimplifiedLayerNormalization" || op == "RMSNormalization")
      raiseNormOp(node, NormKind::Rms);
    else if (op == "SkipLayerNormalization")
      raiseSkipNorm(node, NormKind::Layer);
    else if (op == "SkipSimplifiedLayerNormalization")
      raiseSkipNorm(node, NormKind::Rms);
    else if ((op == "Div" || op == "Mul") && node.getInputs().size() == 2)
      raiseDecomposedNorm(node);
    else if (op == "Add" && node.getInputs().size() == 2)
      raiseFoldedLayerNorm(node);
  });
}
