//===- RaiseActivation.cpp - Activation functions -------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// GELU is written in many ways: factors in any order, division or
// multiplication by constants, powers or products. The matcher does not list
// them. It flattens the outer product, takes the sum that holds the Erf or
// Tanh, and reads the argument of that as a polynomial in the input.
//
//===----------------------------------------------------------------------===//

#include "RaiseDetail.h"
#include <array>
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::raise;
using onnx::NodeOp;

namespace {
constexpr double sqrt2 = 1.41421356237309504880;
constexpr double sqrt2OverPi = 0.79788456080286535588;

/// Coefficients of 1, x, x^2, x^3.
using Polynomial = std::array<double, 4>;

/// Reads `value` as a polynomial of degree at most 3 in `x`; nodes on the way
/// go to `ops`.
std::optional<Polynomial> readPolynomial(Value value, Value x, OpSet &ops,
                                         unsigned &budget) {
  if (value == x)
    return Polynomial{0, 1, 0, 0};
  if (budget == 0)
    return std::nullopt;
  --budget;
  if (auto constant = getScalarConstant(value))
    return Polynomial{*constant, 0, 0, 0};
  auto node = value ? value.getDefiningOp<NodeOp>() : NodeOp();
  if (!node || !node.getDomain().empty())
    return std::nullopt;
  StringRef op = node.getOp();
  auto operand = [&](unsigned i) {
    return readPolynomial(node.getInput(i), x, ops, budget);
  };
  auto multiply = [](const Polynomial &a,
                     const Polynomial &b) -> std::optional<Polynomial> {
    Polynomial c{};
    for (unsigned i = 0; i < 4; ++i)
      for (unsigned j = 0; j < 4; ++j) {
        if (a[i] == 0 || b[j] == 0)
          continue;
        if (i + j > 3)
          return std::nullopt;
        c[i + j] += a[i] * b[j];
      }
    return c;
  };
  std::optional<Polynomial> result;
  if (op == "Neg") {
    if ((result = operand(0)))
      for (double &c : *result)
        c = -c;
  } else if (op == "Add" || op == "Sub") {
    auto a = operand(0), b = operand(1);
    if (a && b) {
      result = *a;
      for (unsigned i = 0; i < 4; ++i)
        (*result)[i] += op == "Add" ? (*b)[i] : -(*b)[i];
    }
  } else if (op == "Mul") {
    auto a = operand(0), b = operand(1);
    if (a && b)
      result = multiply(*a, *b);
  } else if (op == "Div") {
    auto a = operand(0);
    auto divisor = getScalarConstant(node.getInput(1));
    if (a && divisor && *divisor != 0) {
      result = *a;
      for (double &c : *result)
        c /= *divisor;
    }
  } else if (op == "Pow") {
    auto a = operand(0);
    auto power = getScalarConstant(node.getInput(1));
    if (a && (power == 2.0 || power == 3.0)) {
      result = multiply(*a, *a);
      if (result && power == 3.0)
        result = multiply(*result, *a);
    }
  }
  if (result)
    ops.insert(node);
  return result;
}

/// A product as its factors that are not constants, and the product of those
/// that are.
struct Product {
  double coefficient = 1;
  SmallVector<Value> factors;
};

void flattenProduct(Value value, unsigned depth, Product &product, OpSet &ops) {
  NodeOp mul = definedBy(value, "Mul"), div = definedBy(value, "Div");
  if (depth < 4 && mul) {
    ops.insert(mul);
    for (unsigned i : {0u, 1u}) {
      if (auto constant = getScalarConstant(mul.getInput(i)))
        product.coefficient *= *constant;
      else if (mul.getInput(i))
        flattenProduct(mul.getInput(i), depth + 1, product, ops);
    }
    return;
  }
  if (depth < 4 && div)
    if (auto divisor = getScalarConstant(div.getInput(1));
        divisor && *divisor != 0 && div.getInput(0)) {
      ops.insert(div);
      product.coefficient /= *divisor;
      flattenProduct(div.getInput(0), depth + 1, product, ops);
      return;
    }
  product.factors.push_back(value);
}

/// `value = offset + factor * f(argument)` with f one of Erf, Tanh, Sigmoid.
struct AffineOfFunction {
  double offset = 0, factor = 1;
  NodeOp function;
  OpSet ops;
};

std::optional<AffineOfFunction> matchAffine(Value value) {
  AffineOfFunction result;
  for (unsigned steps = 0; steps < 4; ++steps) {
    auto node = value ? value.getDefiningOp<NodeOp>() : NodeOp();
    if (!node || !node.getDomain().empty())
      return std::nullopt;
    result.ops.insert(node);
    StringRef op = node.getOp();
    if (op == "Erf" || op == "Tanh" || op == "Sigmoid") {
      result.function = node;
      return result;
    }
    if (op != "Add" && op != "Mul" && op != "Div")
      return std::nullopt;
    bool found = false;
    for (unsigned i : {0u, 1u}) {
      auto constant = getScalarConstant(node.getInput(1 - i));
      if (!constant || (op == "Div" && (i != 0 || *constant == 0)))
        continue;
      if (op == "Add")
        result.offset += result.factor * *constant;
      else
        result.factor *= op == "Mul" ? *constant : 1 / *constant;
      value = node.getInput(i);
      found = true;
      break;
    }
    if (!found)
      return std::nullopt;
  }
  return std::nullopt;
}

std::string formatNumber(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

/// The activation that `x * coefficient * affine` is, if any.
std::optional<Activation> classifyProduct(Value x, double coefficient,
                                          AffineOfFunction &affine, Type type,
                                          OpSet &ops, std::string &why) {
  unsigned budget = 16;
  OpSet inner;
  auto argument = readPolynomial(affine.function.getInput(0), x, inner, budget);
  if (!argument)
    return std::nullopt;
  const Polynomial &p = *argument;
  double offset = coefficient * affine.offset,
         factor = coefficient * affine.factor;
  auto accept = [&](Activation kind) {
    ops.insert_range(affine.ops);
    ops.insert_range(inner);
    return kind;
  };
  bool linearArgument = p[0] == 0 && p[2] == 0 && p[3] == 0;
  if (affine.function.is("Sigmoid")) {
    if (offset != 0 || !isClose(factor, 1, type) || !linearArgument) {
      why = "a product with a sigmoid that is not x * sigmoid(c x)";
      return std::nullopt;
    }
    if (isClose(p[1], 1, type))
      return accept(Activation::Silu);
    if (isClose(p[1], 1.702, type))
      return accept(Activation::GeluSigmoid);
    why =
        "x * sigmoid(c x) with c = " + formatNumber(p[1]) + ", not 1 or 1.702";
    return std::nullopt;
  }
  if (!isClose(offset, 0.5, type) || !isClose(factor, 0.5, type)) {
    why = "GELU with factors " + formatNumber(offset) + " and " +
          formatNumber(factor) + ", not 0.5";
    return std::nullopt;
  }
  if (affine.function.is("Erf")) {
    if (linearArgument && isClose(p[1], 1 / sqrt2, type))
      return accept(Activation::GeluErf);
    why = "GELU with erf(" + formatNumber(p[1]) + " x), not erf(x / sqrt(2))";
    return std::nullopt;
  }
  if (p[0] == 0 && p[2] == 0 && isClose(p[1], sqrt2OverPi, type) &&
      isClose(p[3], sqrt2OverPi * 0.044715, type))
    return accept(Activation::GeluTanh);
  why = "GELU with tanh(" + formatNumber(p[1]) + " x + " + formatNumber(p[3]) +
        " x^3), not sqrt(2 / pi) (x + 0.044715 x^3)";
  return std::nullopt;
}

std::optional<ActivationMatch> matchNamed(NodeOp node, std::string &why) {
  StringRef op = node.getOp();
  ActivationMatch match{Activation::Identity, node.getInput(0), {}};
  match.ops.insert(node);
  if (!match.input)
    return std::nullopt;
  if (node.getDomain().empty()) {
    if (op == "Relu")
      match.kind = Activation::Relu;
    else if (op == "Tanh")
      match.kind = Activation::Tanh;
    else if (op == "Sigmoid")
      match.kind = Activation::Sigmoid;
    else if (op == "Gelu") {
      StringRef approximate = node.getString("approximate", "none");
      if (approximate != "none" && approximate != "tanh")
        return std::nullopt;
      match.kind =
          approximate == "tanh" ? Activation::GeluTanh : Activation::GeluErf;
    } else if (op == "Swish" && node.getFloat("alpha", 1.0f) == 1.0f)
      match.kind = Activation::Silu;
    else
      return std::nullopt;
    return match;
  }
  if (node.getDomain() != "com.microsoft" || node.getInput(1))
    return std::nullopt;
  if (op == "Gelu") {
    match.kind = Activation::GeluErf;
  } else if (op == "FastGelu") {
    match.kind = Activation::GeluTanh;
  } else if (op == "QuickGelu") {
    float alpha = node.getFloat("alpha", 1.702f);
    if (alpha != 1.0f && alpha != 1.702f) {
      why = "QuickGelu with alpha " + formatNumber(alpha) + ", not 1 or 1.702";
      return std::nullopt;
    }
    match.kind = alpha == 1.0f ? Activation::Silu : Activation::GeluSigmoid;
  } else {
    return std::nullopt;
  }
  return match;
}

/// relu(x) * relu(x) or relu(x) ^ 2.
std::optional<ActivationMatch> matchSquaredRelu(NodeOp node) {
  NodeOp relu = definedBy(node.getInput(0), "Relu");
  if (!relu || !relu.getInput(0))
    return std::nullopt;
  bool square = (node.is("Mul") && node.getInput(0) == node.getInput(1)) ||
                (node.is("Pow") && getScalarConstant(node.getInput(1)) == 2.0);
  if (!square)
    return std::nullopt;
  ActivationMatch match{Activation::SquaredRelu, relu.getInput(0), {}};
  match.ops.insert(node);
  match.ops.insert(relu);
  return match;
}

/// x / (1 + exp(-x)).
std::optional<ActivationMatch> matchExpSilu(NodeOp node) {
  if (!node.is("Div"))
    return std::nullopt;
  NodeOp add = definedBy(node.getInput(1), "Add");
  if (!add)
    return std::nullopt;
  for (unsigned i : {0u, 1u}) {
    NodeOp exp = definedBy(add.getInput(i), "Exp");
    NodeOp neg = exp ? definedBy(exp.getInput(0), "Neg") : NodeOp();
    if (!neg || neg.getInput(0) != node.getInput(0) ||
        getScalarConstant(add.getInput(1 - i)) != 1.0)
      continue;
    ActivationMatch match{Activation::Silu, node.getInput(0), {}};
    for (Operation *op : {node.getOperation(), add.getOperation(),
                          exp.getOperation(), neg.getOperation()})
      match.ops.insert(op);
    return match;
  }
  return std::nullopt;
}
} // namespace

std::optional<ActivationMatch> raise::matchActivation(Value value,
                                                      std::string &why) {
  auto node = value ? value.getDefiningOp<NodeOp>() : NodeOp();
  RankedTensorType type = floatTensor(value);
  if (!node || !type)
    return std::nullopt;
  if (auto match = matchSquaredRelu(node))
    return match;
  if (auto match = matchExpSilu(node))
    return match;
  if (auto match = matchNamed(node, why))
    return match;
  if (!node.is("Mul") && !node.is("Div"))
    return std::nullopt;

  Product product;
  OpSet outer;
  flattenProduct(value, 0, product, outer);
  if (product.factors.size() != 2)
    return std::nullopt;
  for (unsigned i : {0u, 1u}) {
    auto affine = matchAffine(product.factors[i]);
    if (!affine)
      continue;
    Value x = product.factors[1 - i];
    ActivationMatch match{Activation::Identity, x, outer};
    auto kind = classifyProduct(x, product.coefficient, *affine,
                                type.getElementType(), match.ops, why);
    if (!kind || x.getType() != value.getType())
      continue;
    match.kind = *kind;
    return match;
  }
  return std::nullopt;
}
