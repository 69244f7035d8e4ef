//===- Elementwise.cpp - Shapes of elementwise operators ------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/ShapeHelpers.h"

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Contents
//===----------------------------------------------------------------------===//

namespace {
using Unary = DimExpr (*)(const DimExpr &);
using Binary = DimExpr (*)(const DimExpr &, const DimExpr &, bool isFloat);

/// Flat index into an operand of `dims` for each element of the result.
class BroadcastIndex {
public:
  BroadcastIndex(ArrayRef<DimExpr> result, ArrayRef<DimExpr> dims) {
    int64_t stride = 1;
    strides.resize(result.size(), 0);
    for (size_t i = 0; i < result.size(); ++i) {
      size_t r = result.size() - 1 - i;
      sizes.insert(sizes.begin(), result[r].getConstant().value_or(1));
      if (i >= dims.size())
        continue;
      int64_t size = dims[dims.size() - 1 - i].getConstant().value_or(1);
      strides[r] = size == 1 ? 0 : stride;
      stride *= size;
    }
  }
  size_t operator()(int64_t flat) const {
    int64_t index = 0;
    for (size_t i = sizes.size(); i-- > 0;) {
      index += (flat % sizes[i]) * strides[i];
      flat /= sizes[i];
    }
    return index;
  }

private:
  SmallVector<int64_t> sizes, strides;
};
} // namespace

/// Broadcasts all given inputs and folds their contents elementwise.
template <typename Combine>
static LogicalResult shapeFolded(ShapeContext &ctx, ArrayRef<unsigned> inputs,
                                 Combine combine) {
  FailureOr<std::optional<Dims>> dims = broadcastInputs(ctx, inputs);
  if (failed(dims))
    return failure();
  SymValue result(Type(), *dims);
  int64_t count = 0;
  bool follow = isFoldable(*dims, count);
  for (unsigned i : inputs)
    follow &= ctx.input(i).contents.has_value();
  if (follow) {
    SmallVector<BroadcastIndex> indices;
    for (unsigned i : inputs)
      indices.emplace_back(**dims, *ctx.input(i).dims);
    result.contents.emplace();
    SmallVector<DimExpr> elements;
    for (int64_t flat = 0; flat < count; ++flat) {
      elements.clear();
      for (auto [k, i] : llvm::enumerate(inputs)) {
        const Dims &contents = *ctx.input(i).contents;
        size_t at = indices[k](flat);
        elements.push_back(at < contents.size() ? contents[at] : DimExpr());
      }
      result.contents->push_back(combine(elements));
    }
  }
  ctx.setOutput(0, std::move(result));
  return success();
}

static SmallVector<unsigned> presentInputs(ShapeContext &ctx) {
  SmallVector<unsigned> inputs;
  for (unsigned i = 0; i < ctx.numInputs(); ++i)
    if (ctx.hasInput(i))
      inputs.push_back(i);
  return inputs;
}

static bool isFloatInput(ShapeContext &ctx) {
  return isa_and_present<FloatType>(ctx.input(0).elementType);
}

template <Binary fn> static LogicalResult shapeBinary(ShapeContext &ctx) {
  if (ctx.numInputs() < 2)
    return ctx.error("I503", "needs two inputs");
  bool isFloat = isFloatInput(ctx);
  return shapeFolded(ctx, {0, 1}, [=](ArrayRef<DimExpr> v) {
    return fn(v[0], v[1], isFloat);
  });
}

template <Binary fn> static LogicalResult shapeVariadic(ShapeContext &ctx) {
  bool isFloat = isFloatInput(ctx);
  return shapeFolded(ctx, presentInputs(ctx), [=](ArrayRef<DimExpr> v) {
    DimExpr result = v.empty() ? DimExpr() : v.front();
    for (const DimExpr &next : v.drop_front(v.empty() ? 0 : 1))
      result = fn(result, next, isFloat);
    return result;
  });
}

template <Unary fn> static LogicalResult shapeUnary(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  SymValue result(Type(), input.dims);
  if (input.contents) {
    result.contents.emplace();
    for (const DimExpr &element : *input.contents)
      result.contents->push_back(fn(element));
  }
  ctx.setOutput(0, std::move(result));
  return success();
}

//===----------------------------------------------------------------------===//
// Meanings on integers
//===----------------------------------------------------------------------===//

static DimExpr add(const DimExpr &a, const DimExpr &b, bool) { return a + b; }
static DimExpr sub(const DimExpr &a, const DimExpr &b, bool) { return a - b; }
static DimExpr mul(const DimExpr &a, const DimExpr &b, bool) { return a * b; }
static DimExpr maxOf(const DimExpr &a, const DimExpr &b, bool) {
  return DimExpr::max(a, b);
}
static DimExpr minOf(const DimExpr &a, const DimExpr &b, bool) {
  return DimExpr::min(a, b);
}

static DimExpr divide(const DimExpr &a, const DimExpr &b, bool isFloat) {
  DimExpr quotient = a.floorDiv(b);
  if (quotient * b == a)
    return quotient;
  if (isFloat) // not a whole number
    return {};
  // Integer division truncates; floor is the same where nothing is negative.
  if (a.isNonNegative() && b.isNonNegative())
    return quotient;
  std::optional<int64_t> x = a.getConstant(), y = b.getConstant();
  if (x && y && *y != 0 && !(*x == INT64_MIN && *y == -1))
    return DimExpr(*x / *y);
  return {};
}

static DimExpr modulo(const DimExpr &a, const DimExpr &b, bool isFloat) {
  if (isFloat)
    return {};
  return a - a.floorDiv(b) * b;
}
/// fmod = 1: the sign of the dividend.
static DimExpr truncatedModulo(const DimExpr &a, const DimExpr &b, bool) {
  if (a.isNonNegative() && b.isNonNegative())
    return modulo(a, b, false);
  return {};
}

static DimExpr power(const DimExpr &a, const DimExpr &b, bool) {
  std::optional<int64_t> exponent = b.getConstant();
  if (!exponent || *exponent < 0 || *exponent > 62)
    return {};
  DimExpr result(1);
  for (int64_t i = 0; i < *exponent; ++i)
    result = result * a;
  return result;
}

/// 1, 0 or unknown.
static DimExpr truth(bool isTrue, bool isFalse) {
  return isTrue ? DimExpr(1) : isFalse ? DimExpr(0) : DimExpr();
}
static bool isAtLeast(const DimExpr &a, const DimExpr &b) {
  return (a - b).isNonNegative();
}
static bool isAbove(const DimExpr &a, const DimExpr &b) {
  return (a - b - 1).isNonNegative();
}
static DimExpr equal(const DimExpr &a, const DimExpr &b, bool) {
  return truth(a == b, isAbove(a, b) || isAbove(b, a));
}
static DimExpr greater(const DimExpr &a, const DimExpr &b, bool) {
  return truth(isAbove(a, b), isAtLeast(b, a));
}
static DimExpr greaterOrEqual(const DimExpr &a, const DimExpr &b, bool) {
  return truth(isAtLeast(a, b), isAbove(b, a));
}
static DimExpr less(const DimExpr &a, const DimExpr &b, bool isFloat) {
  return greater(b, a, isFloat);
}
static DimExpr lessOrEqual(const DimExpr &a, const DimExpr &b, bool isFloat) {
  return greaterOrEqual(b, a, isFloat);
}
static DimExpr logicalAnd(const DimExpr &a, const DimExpr &b, bool) {
  return truth(a.isConstant(1) && b.isConstant(1),
               a.isConstant(0) || b.isConstant(0));
}
static DimExpr logicalOr(const DimExpr &a, const DimExpr &b, bool) {
  return truth(a.isConstant(1) || b.isConstant(1),
               a.isConstant(0) && b.isConstant(0));
}

static DimExpr identity(const DimExpr &a) { return a; }
static DimExpr negate(const DimExpr &a) { return DimExpr(0) - a; }
static DimExpr absolute(const DimExpr &a) {
  return a.isNonNegative()           ? a
         : negate(a).isNonNegative() ? negate(a)
                                     : DimExpr();
}
static DimExpr relu(const DimExpr &a) { return DimExpr::max(a, 0); }
static DimExpr logicalNot(const DimExpr &a) {
  return truth(a.isConstant(0), a.isConstant(1));
}

//===----------------------------------------------------------------------===//
// Operators with rules of their own
//===----------------------------------------------------------------------===//

static LogicalResult shapeMod(ShapeContext &ctx) {
  return ctx.getInt("fmod") != 0 ? shapeBinary<truncatedModulo>(ctx)
                                 : shapeBinary<modulo>(ctx);
}

static LogicalResult shapeWhere(ShapeContext &ctx) {
  if (ctx.numInputs() < 3)
    return ctx.error("I503", "needs three inputs");
  return shapeFolded(ctx, {0, 1, 2}, [](ArrayRef<DimExpr> v) {
    if (v[0].isConstant(1) || v[1] == v[2])
      return v[1];
    return v[0].isConstant(0) ? v[2] : DimExpr();
  });
}

/// Whether the element survives a cast to `type`.
static DimExpr castElement(const DimExpr &element, Type type) {
  std::optional<int64_t> value = element.getConstant();
  auto integer = dyn_cast<IntegerType>(type);
  if (!integer)
    return isa<FloatType>(type) ? element : DimExpr();
  if (integer.getWidth() == 1)
    return value ? DimExpr(*value != 0)
                 : truth((element - 1).isNonNegative(), false);
  if (!value)
    return integer.getWidth() >= 32 ? element : DimExpr();
  if (integer.isUnsigned() ? !llvm::isUIntN(std::min(63u, integer.getWidth()),
                                            static_cast<uint64_t>(*value))
                           : !llvm::isIntN(integer.getWidth(), *value))
    return {};
  return element;
}

static LogicalResult castTo(ShapeContext &ctx, Type type) {
  const SymValue &input = ctx.input(0);
  SymValue result(type, input.dims);
  if (type && input.contents) {
    result.contents.emplace();
    for (const DimExpr &element : *input.contents)
      result.contents->push_back(castElement(element, type));
  }
  ctx.setOutput(0, std::move(result));
  return success();
}

/// Before version 6 the type is a name.
static LogicalResult shapeCastByName(ShapeContext &ctx) {
  static constexpr StringLiteral names[] = {
      "",      "FLOAT",  "UINT8", "INT8",    "UINT16", "INT16",  "INT32",
      "INT64", "STRING", "BOOL",  "FLOAT16", "DOUBLE", "UINT32", "UINT64",
  };
  StringRef name = ctx.node.getString("to", "");
  for (auto [number, known] : llvm::enumerate(names))
    if (number != 0 && name == known)
      return castTo(ctx, getONNXElementType(ctx.node.getContext(),
                                            static_cast<int>(number)));
  return ctx.error("I502", "attribute 'to' names no element type");
}

static LogicalResult shapeCast(ShapeContext &ctx) {
  FailureOr<Type> type = getTypeAttr(ctx, "to");
  if (failed(type))
    return failure();
  return castTo(ctx, *type);
}

static LogicalResult shapeCastLike(ShapeContext &ctx) {
  return castTo(ctx, ctx.input(1).elementType);
}

/// Same shape, another bit width only of equal size.
static LogicalResult shapeBitCast(ShapeContext &ctx) {
  FailureOr<Type> type = getTypeAttr(ctx, "to");
  if (failed(type))
    return failure();
  setOutput(ctx, 0, ctx.input(0).dims, *type);
  return success();
}

static LogicalResult shapeClip(ShapeContext &ctx) {
  const SymValue &input = ctx.input(0);
  for (unsigned i : {1u, 2u}) {
    const SymValue &bound = ctx.input(i);
    if (!bound.dims || bound.dims->empty())
      continue;
    // Exporters write vectors of one element too.
    if (bound.rank() > 1)
      return ctx.error("I504", "bound " + Twine(i) + " is no scalar but has " +
                                   Twine(bound.rank()) + " dimensions");
    if (failed(
            requireSame(ctx, bound.dims->front(), 1,
                        "elements of bound " + Twine(i) + " and of a scalar")))
      return failure();
  }
  SymValue result(Type(), input.dims);
  auto bound = [&](unsigned i, bool &known) -> std::optional<DimExpr> {
    if (!ctx.hasInput(i))
      return std::nullopt;
    const SymValue &value = ctx.input(i);
    known = value.contents && value.contents->size() == 1;
    return known ? std::optional<DimExpr>(value.contents->front())
                 : std::nullopt;
  };
  bool knownMin = true, knownMax = true;
  std::optional<DimExpr> low = bound(1, knownMin), high = bound(2, knownMax);
  bool hasOldBounds =
      ctx.node.getNodeAttr("min") || ctx.node.getNodeAttr("max");
  if (input.contents && knownMin && knownMax && !hasOldBounds) {
    result.contents.emplace();
    for (DimExpr element : *input.contents) {
      if (low)
        element = DimExpr::max(element, *low);
      if (high)
        element = DimExpr::min(element, *high);
      result.contents->push_back(element);
    }
  }
  ctx.setOutput(0, std::move(result));
  return success();
}

/// The second output, a mask, has the shape of the first.
static LogicalResult shapeDropout(ShapeContext &ctx) {
  SymValue value = ctx.input(0);
  value.elementType = {};
  ctx.setOutput(0, value);
  setOutput(ctx, 1, ctx.input(0).dims);
  return success();
}

/// Before opset 7 an attribute allowed the second operand to lie anywhere in
/// the first; the result has the shape of the first.
static LogicalResult shapeOldBinary(ShapeContext &ctx) {
  return shapeLikeFirstInput(ctx);
}

FFN_REGISTER_OPS(Elementwise) {
  auto addAll = [&](StringRef name, ShapeFn fn) {
    table.addShape("", name, 1, fn);
  };
  for (StringRef name :
       {"Acos",      "Acosh",      "Asin",  "Asinh",     "Atan",
        "Atanh",     "BitwiseNot", "Celu",  "Cos",       "Cosh",
        "Elu",       "Erf",        "Exp",   "Gelu",      "HardSigmoid",
        "HardSwish", "IsInf",      "IsNaN", "LeakyRelu", "Log",
        "Mish",      "Reciprocal", "Selu",  "Shrink",    "Sigmoid",
        "Sign",      "Sin",        "Sinh",  "Softplus",  "Softsign",
        "Sqrt",      "Swish",      "Tan",   "Tanh",      "ThresholdedRelu",
        "PRelu"})
    addAll(name, shapeLikeFirstInput);
  addAll("Identity", shapeUnary<identity>);
  addAll("Floor", shapeUnary<identity>);
  addAll("Ceil", shapeUnary<identity>);
  addAll("Round", shapeUnary<identity>);
  addAll("Neg", shapeUnary<negate>);
  addAll("Abs", shapeUnary<absolute>);
  addAll("Relu", shapeUnary<relu>);
  addAll("Not", shapeUnary<logicalNot>);
  addAll("Clip", shapeClip);
  addAll("Dropout", shapeDropout);
  addAll("Cast", shapeCastByName);
  table.addShape("", "Cast", 6, shapeCast);
  addAll("CastLike", shapeCastLike);
  addAll("BitCast", shapeBitCast);
  addAll("Where", shapeWhere);
  addAll("Max", shapeVariadic<maxOf>);
  addAll("Min", shapeVariadic<minOf>);
  addAll("Sum", shapeVariadic<add>);
  addAll("Mean", shapeBroadcast);
  for (StringRef name : {"Add", "Sub", "Mul", "Div", "Pow", "Equal", "Greater",
                         "Less", "And", "Or", "Xor"})
    addAll(name, shapeOldBinary);
  table.addShape("", "Add", 7, shapeBinary<add>);
  table.addShape("", "Sub", 7, shapeBinary<sub>);
  table.addShape("", "Mul", 7, shapeBinary<mul>);
  table.addShape("", "Div", 7, shapeBinary<divide>);
  table.addShape("", "Pow", 7, shapeBinary<power>);
  table.addShape("", "Equal", 7, shapeBinary<equal>);
  table.addShape("", "Greater", 7, shapeBinary<greater>);
  table.addShape("", "Less", 7, shapeBinary<less>);
  table.addShape("", "And", 7, shapeBinary<logicalAnd>);
  table.addShape("", "Or", 7, shapeBinary<logicalOr>);
  table.addShape("", "Xor", 7, shapeBroadcast);
  addAll("GreaterOrEqual", shapeBinary<greaterOrEqual>);
  addAll("LessOrEqual", shapeBinary<lessOrEqual>);
  addAll("Mod", shapeMod);
  for (StringRef name : {"BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"})
    addAll(name, shapeBroadcast);
}
