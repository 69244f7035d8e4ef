//===- ShapeHelpers.cpp - What shape functions share ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/ShapeHelpers.h"
#include "Constants.h"
#include "llvm/ADT/SmallBitVector.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// SymValue and ShapeContext
//===----------------------------------------------------------------------===//

std::optional<SmallVector<int64_t>> SymValue::constants() const {
  if (!contents)
    return std::nullopt;
  SmallVector<int64_t> result;
  for (const DimExpr &element : *contents) {
    std::optional<int64_t> value = element.getConstant();
    if (!value)
      return std::nullopt;
    result.push_back(*value);
  }
  return result;
}

std::optional<SmallVector<double>> ShapeContext::constantFloats(unsigned i) {
  Attribute value = getConstantAttr(node.getInput(i));
  std::optional<ConstantElements> elements =
      value ? readSmallConstant(node, value) : std::nullopt;
  if (!elements) {
    if (std::optional<SmallVector<int64_t>> ints = constantInts(i))
      return SmallVector<double>(ints->begin(), ints->end());
    return std::nullopt;
  }
  if (elements->isFloat)
    return elements->floats;
  SmallVector<double> result;
  for (const DimExpr &element : elements->ints) {
    if (!element.getConstant())
      return std::nullopt;
    result.push_back(static_cast<double>(*element.getConstant()));
  }
  return result;
}

int64_t ShapeContext::getInt(StringRef name) {
  int64_t otherwise = 0;
  if (!node.getNodeAttr(name))
    if (const Schema *schema =
            lookupSchema(node.getDomain(), node.getOp(), node.getVersion()))
      if (const AttrSchema *attr = schema->findAttr(name))
        if (attr->defaultValue.getAsInteger(10, otherwise))
          otherwise = 0;
  return node.getInt(name, otherwise);
}

LogicalResult ShapeContext::error(StringRef code, const Twine &what) {
  return node->emitError() << node.describe() << ": " << what << " [FFN-"
                           << code << "]";
}

//===----------------------------------------------------------------------===//
// Sizes
//===----------------------------------------------------------------------===//

std::string ffn::toString(ArrayRef<DimExpr> dims) {
  std::string text = "[";
  for (const DimExpr &dim : dims) {
    if (text.size() > 1)
      text += ", ";
    text += dim.str();
  }
  if (text.size() > 240)
    text = text.substr(0, 240) + "...";
  return text + "]";
}

DimExpr ffn::product(ArrayRef<DimExpr> dims) {
  DimExpr result(1);
  for (const DimExpr &dim : dims)
    result = result * dim;
  return result;
}

std::optional<int64_t> ffn::constantProduct(ArrayRef<DimExpr> dims) {
  int64_t result = 1;
  for (const DimExpr &dim : dims) {
    std::optional<int64_t> value = dim.getConstant();
    if (!value || __builtin_mul_overflow(result, *value, &result))
      return std::nullopt;
  }
  return result;
}

Dims ffn::unknownDims(int64_t count) {
  return Dims(std::clamp<int64_t>(count, 0, kMaxRank + 1));
}

DimExpr ffn::meet(const DimExpr &a, const DimExpr &b) {
  if (!a.isKnown() || (!a.getConstant() && b.getConstant()))
    return b;
  return a;
}

bool ffn::isFoldable(const std::optional<Dims> &dims, int64_t &count) {
  if (!dims)
    return false;
  std::optional<int64_t> value = constantProduct(*dims);
  if (!value || *value < 0 || *value > kMaxContents)
    return false;
  count = *value;
  return true;
}

//===----------------------------------------------------------------------===//
// Checks
//===----------------------------------------------------------------------===//

LogicalResult ffn::requireMinRank(ShapeContext &ctx, unsigned i, int64_t rank) {
  const SymValue &value = ctx.input(i);
  if (!value.hasRank() || value.rank() >= rank)
    return success();
  return ctx.error("I504", "input " + Twine(i) + " needs at least " +
                               Twine(rank) + " dimensions, has " +
                               Twine(value.rank()));
}

LogicalResult ffn::requireRank(ShapeContext &ctx, unsigned i, int64_t rank) {
  const SymValue &value = ctx.input(i);
  if (!value.hasRank() || value.rank() == rank)
    return success();
  return ctx.error("I504", "input " + Twine(i) + " needs " + Twine(rank) +
                               " dimensions, has " + Twine(value.rank()));
}

LogicalResult ffn::requireEqual(ShapeContext &ctx, const DimExpr &a,
                                const DimExpr &b, const Twine &what) {
  std::optional<int64_t> x = a.getConstant(), y = b.getConstant();
  if (!x || !y || *x == *y)
    return success();
  return ctx.error("I504",
                   what + ": " + Twine(*x) + " and " + Twine(*y) + " differ");
}

LogicalResult ffn::requireSame(ShapeContext &ctx, const DimExpr &a,
                               const DimExpr &b, const Twine &what) {
  return failure(failed(requireEqual(ctx, a, b, what)) ||
                 failed(ctx.unify(a, b)));
}

LogicalResult ffn::requireBroadcastTo(ShapeContext &ctx, const DimExpr &part,
                                      const DimExpr &whole, const Twine &what) {
  if (part.isConstant(1))
    return success();
  // A part that is not known yet may turn out to be 1.
  return part.getConstant() ? requireSame(ctx, part, whole, what)
                            : requireEqual(ctx, part, whole, what);
}

FailureOr<int64_t> ffn::normalizeAxis(ShapeContext &ctx, int64_t axis,
                                      int64_t rank) {
  if (axis < -rank || axis >= rank)
    return ctx.error("I502", "axis " + Twine(axis) + " is out of range for " +
                                 Twine(rank) + " dimensions");
  return axis < 0 ? axis + rank : axis;
}

FailureOr<Axes> ffn::getAxes(ShapeContext &ctx, int inputIndex,
                             StringRef attribute, int64_t rank) {
  Axes result;
  SmallVector<int64_t> raw;
  if (inputIndex >= 0 && ctx.hasInput(inputIndex)) {
    std::optional<SmallVector<int64_t>> constants =
        ctx.constantInts(inputIndex);
    if (!constants) {
      result.known = false;
      return result;
    }
    raw = std::move(*constants);
  } else if (std::optional<ArrayRef<int64_t>> list =
                 attribute.empty() ? std::nullopt
                                   : ctx.node.getInts(attribute)) {
    raw.assign(list->begin(), list->end());
  } else {
    return result;
  }
  if (rank < 0) {
    result.known = false;
    return result;
  }
  llvm::SmallBitVector seen(rank);
  result.axes.emplace();
  for (int64_t axis : raw) {
    FailureOr<int64_t> normalized = normalizeAxis(ctx, axis, rank);
    if (failed(normalized))
      return failure();
    if (seen.test(*normalized))
      return ctx.error("I502", "axis " + Twine(axis) + " is given twice");
    seen.set(*normalized);
    result.axes->push_back(*normalized);
  }
  return result;
}

FailureOr<Type> ffn::getTypeAttr(ShapeContext &ctx, StringRef name) {
  if (!ctx.node.getNodeAttr(name))
    return Type();
  int64_t number = ctx.node.getInt(name, 0);
  Type type = number > 0 && number < 100
                  ? getONNXElementType(ctx.node.getContext(), number)
                  : Type();
  if (!type)
    return ctx.error("I502", "attribute '" + name + "' is " + Twine(number) +
                                 ", which is no element type");
  return type;
}

//===----------------------------------------------------------------------===//
// Broadcast
//===----------------------------------------------------------------------===//

/// The size that two sizes broadcast to if they do: the larger one, or 0 where
/// the smaller one is.
static DimExpr eitherOf(const DimExpr &a, const DimExpr &b) {
  return DimExpr::max(a, b) * DimExpr::min(DimExpr(1), DimExpr::min(a, b));
}

/// Whether `whole` is what `part` and other sizes broadcast to.
static bool isBroadcastOf(const DimExpr &whole, const DimExpr &part) {
  for (const auto &term : whole.terms())
    for (const auto &factor : term.first) {
      const DimExpr::Opaque *opaque = whole.getOpaque(factor.first);
      if (!opaque || opaque->kind != DimExpr::Opaque::Max)
        continue;
      const DimExpr &a = opaque->operands[0], &b = opaque->operands[1];
      if (whole == eitherOf(a, b))
        return a == part || b == part || isBroadcastOf(a, part) ||
               isBroadcastOf(b, part);
    }
  return false;
}

static DimExpr broadcastDim(const DimExpr &a, const DimExpr &b) {
  if (a.isConstant(1))
    return b;
  if (b.isConstant(1) || a == b)
    return a;
  // A size other than 1 decides, whatever the other one is.
  if (a.getConstant())
    return a;
  if (b.getConstant())
    return b;
  // Equal at run time, or one of them is 1.
  if (isBroadcastOf(a, b))
    return a;
  return isBroadcastOf(b, a) ? b : eitherOf(a, b);
}

FailureOr<SmallVector<DimExpr>> ffn::broadcastDims(ShapeContext &ctx,
                                                   ArrayRef<DimExpr> a,
                                                   ArrayRef<DimExpr> b) {
  if (a.size() < b.size())
    std::swap(a, b);
  SmallVector<DimExpr> result(a.begin(), a.end());
  size_t offset = a.size() - b.size();
  for (auto [i, dim] : llvm::enumerate(b)) {
    DimExpr &other = result[offset + i];
    std::optional<int64_t> x = other.getConstant(), y = dim.getConstant();
    if (x && y && *x != *y && *x != 1 && *y != 1)
      return ctx.error("I504", "shapes " + Twine(toString(a)) + " and " +
                                   toString(b) + " do not broadcast");
    other = broadcastDim(other, dim);
  }
  return result;
}

FailureOr<std::optional<Dims>> ffn::broadcastInputs(ShapeContext &ctx,
                                                    ArrayRef<unsigned> inputs) {
  Dims result;
  for (unsigned i : inputs) {
    const SymValue &value = ctx.input(i);
    if (!value.hasRank())
      return std::optional<Dims>();
    FailureOr<Dims> merged = broadcastDims(ctx, result, *value.dims);
    if (failed(merged))
      return failure();
    result = std::move(*merged);
  }
  return std::optional<Dims>(std::move(result));
}

LogicalResult ffn::shapeBroadcast(ShapeContext &ctx) {
  SmallVector<unsigned> all;
  for (unsigned i = 0; i < ctx.numInputs(); ++i)
    if (ctx.hasInput(i))
      all.push_back(i);
  FailureOr<std::optional<Dims>> dims = broadcastInputs(ctx, all);
  if (failed(dims))
    return failure();
  setOutput(ctx, 0, std::move(*dims));
  return success();
}

LogicalResult ffn::shapeLikeFirstInput(ShapeContext &ctx) {
  setOutput(ctx, 0, ctx.input(0).dims);
  return success();
}

void ffn::setOutput(ShapeContext &ctx, unsigned i, std::optional<Dims> dims,
                    Type elementType) {
  ctx.setOutput(i, SymValue(elementType, std::move(dims)));
}
