//===- RaiseValues.cpp - What ffn-raise asks of values --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "RaiseDetail.h"
#include "ffn-mlir/Support/CodedError.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "mlir/IR/Builders.h"
#include <cmath>
#include <limits>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::raise;
using onnx::NodeOp;

//===----------------------------------------------------------------------===//
// Types and definitions
//===----------------------------------------------------------------------===//

NodeOp raise::definedBy(Value value, StringRef op) {
  auto node = value ? value.getDefiningOp<NodeOp>() : NodeOp();
  return node && node.is(op) ? node : NodeOp();
}

RankedTensorType raise::floatTensor(Value value) {
  auto type = value ? llvm::dyn_cast<RankedTensorType>(value.getType())
                    : RankedTensorType();
  return type && llvm::isa<FloatType>(type.getElementType())
             ? type
             : RankedTensorType();
}

std::string raise::describe(Operation *op) {
  if (auto node = llvm::dyn_cast<NodeOp>(op))
    return node.describe();
  std::string text = op->getName().stripDialect().str();
  // The location of a terminator is that of its graph.
  if (op->hasTrait<OpTrait::IsTerminator>())
    return text;
  Location loc = op->getLoc();
  if (auto fused = llvm::dyn_cast<FusedLoc>(loc);
      fused && !fused.getLocations().empty())
    loc = fused.getLocations().back();
  if (auto name = llvm::dyn_cast<NameLoc>(loc)) {
    llvm::raw_string_ostream os(text);
    os << " '";
    os.write_escaped(name.getName().getValue().take_front(80));
    os << '\'';
  }
  return text;
}

Location raise::locationOf(NodeOp node) {
  const onnx::NameHints &hints = node.getProperties().names;
  Location loc = node.getLoc();
  if (hints.node.empty() || llvm::isa<NameLoc>(loc))
    return loc;
  return NameLoc::get(StringAttr::get(node.getContext(), hints.node), loc);
}

std::string raise::describe(Value value) {
  if (Operation *op = value.getDefiningOp())
    return describe(op);
  auto argument = llvm::cast<BlockArgument>(value);
  if (auto function =
          llvm::dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp()))
    if (auto name = function.getArgAttrOfType<StringAttr>(
            argument.getArgNumber(), "onnx.name"))
      return "input " + quoteName(name.getValue());
  return "an argument";
}

Operation *raise::findOutsideUse(const OpSet &ops) {
  for (Operation *op : llvm::drop_begin(ops))
    for (Operation *user : op->getUsers())
      if (!ops.contains(user))
        return user;
  return nullptr;
}

//===----------------------------------------------------------------------===//
// Small constants
//===----------------------------------------------------------------------===//

namespace {
constexpr int64_t maxSmallElements = 64;
constexpr unsigned maxSmallNodes = 48;

/// Evaluates constant arithmetic on small tensors. A size that the types do
/// not fix is a NaN, so that the fixed ones beside it can still be used.
class SmallEvaluator {
public:
  std::optional<SmallConstant> evaluate(Value value);

private:
  unsigned budget = maxSmallNodes;

  std::optional<SmallConstant> evaluateNode(NodeOp node, Value value);
  std::optional<SmallConstant> evaluateAttr(Operation *user, Attribute attr);
  std::optional<SmallConstant> evaluateShape(NodeOp node);
  std::optional<SmallConstant> evaluateGather(NodeOp node);
  std::optional<SmallConstant> evaluateSlice(NodeOp node);
  std::optional<SmallConstant> evaluateConcat(NodeOp node);
  std::optional<SmallConstant> evaluateElementwise(NodeOp node, bool integer);
};
} // namespace

static double decodeElement(Type type, const APInt &bits) {
  if (auto floating = llvm::dyn_cast<FloatType>(type)) {
    APFloat value(floating.getFloatSemantics(), bits);
    bool lossy = false;
    value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lossy);
    return value.convertToDouble();
  }
  if (bits.getBitWidth() == 1 || type.isUnsignedInteger())
    return bits.roundToDouble(/*isSigned=*/false);
  return bits.roundToDouble(/*isSigned=*/true);
}

std::optional<SmallConstant> SmallEvaluator::evaluateAttr(Operation *user,
                                                          Attribute attr) {
  auto typed = llvm::dyn_cast_if_present<TypedAttr>(attr);
  auto type = typed ? llvm::dyn_cast<RankedTensorType>(typed.getType())
                    : RankedTensorType();
  if (!type || !type.hasStaticShape() ||
      type.getNumElements() > maxSmallElements ||
      !type.getElementType().isIntOrFloat())
    return std::nullopt;
  unsigned width = type.getElementType().getIntOrFloatBitWidth();
  if (width > 64 || (width != 1 && width % 8))
    return std::nullopt;
  SmallVector<char> bytes;
  if (failed(readWeightBytes(user, typed, bytes)))
    return std::nullopt;
  SmallConstant result{llvm::to_vector(type.getShape()), {}};
  unsigned step = std::max(width / 8, 1u);
  for (int64_t i = 0; i < type.getNumElements(); ++i) {
    uint64_t word = 0;
    for (unsigned b = 0; b < step; ++b)
      word |= uint64_t(static_cast<unsigned char>(bytes[i * step + b]))
              << (8 * b);
    result.values.push_back(decodeElement(
        type.getElementType(),
        APInt(width, word, /*isSigned=*/false, /*implicitTrunc=*/true)));
  }
  return result;
}

std::optional<SmallConstant> SmallEvaluator::evaluateShape(NodeOp node) {
  auto type = node.getInput(0)
                  ? llvm::dyn_cast<RankedTensorType>(node.getInput(0).getType())
                  : RankedTensorType();
  if (!type || type.getRank() > maxSmallElements)
    return std::nullopt;
  int64_t rank = type.getRank();
  auto clamp = [&](int64_t i) {
    return std::clamp<int64_t>(i < 0 ? i + rank : i, 0, rank);
  };
  int64_t begin = clamp(node.getInt("start", 0)),
          end = clamp(node.getInt("end", rank));
  SmallConstant result;
  for (int64_t i = begin; i < end; ++i)
    result.values.push_back(type.isDynamicDim(i)
                                ? std::numeric_limits<double>::quiet_NaN()
                                : static_cast<double>(type.getDimSize(i)));
  result.shape = {static_cast<int64_t>(result.values.size())};
  return result;
}

std::optional<SmallConstant> SmallEvaluator::evaluateGather(NodeOp node) {
  auto data = evaluate(node.getInput(0)), index = evaluate(node.getInput(1));
  if (!data || !index || data->shape.size() != 1 || node.getInt("axis", 0) != 0)
    return std::nullopt;
  SmallConstant result{index->shape, {}};
  auto count = static_cast<double>(data->values.size());
  for (double i : index->values) {
    if (!(i >= -count && i < count))
      return std::nullopt;
    result.values.push_back(
        data->values[static_cast<size_t>(i < 0 ? i + count : i)]);
  }
  return result;
}

std::optional<SmallConstant> SmallEvaluator::evaluateSlice(NodeOp node) {
  auto data = evaluate(node.getInput(0));
  auto bound = [&](unsigned input, StringRef name) -> std::optional<double> {
    if (auto list = node.getInts(name); list && list->size() == 1)
      return static_cast<double>(list->front());
    auto value = node.getInput(input) ? evaluate(node.getInput(input))
                                      : std::optional<SmallConstant>();
    return value && value->values.size() == 1 && !std::isnan(value->values[0])
               ? std::optional<double>(value->values[0])
               : std::nullopt;
  };
  auto begin = bound(1, "starts"), end = bound(2, "ends");
  if (!data || data->shape.size() != 1 || !begin || !end ||
      (node.getInput(4) && bound(4, "steps") != 1.0))
    return std::nullopt;
  auto count = static_cast<double>(data->values.size());
  auto clamp = [&](double i) {
    return static_cast<size_t>(std::clamp(i < 0 ? i + count : i, 0.0, count));
  };
  SmallConstant result;
  for (size_t i = clamp(*begin); i < clamp(*end); ++i)
    result.values.push_back(data->values[i]);
  result.shape = {static_cast<int64_t>(result.values.size())};
  return result;
}

std::optional<SmallConstant> SmallEvaluator::evaluateConcat(NodeOp node) {
  SmallConstant result;
  for (Value input : node.getInputs()) {
    auto part = evaluate(input);
    if (!part || part->shape.size() != 1)
      return std::nullopt;
    result.values.append(part->values);
    if (result.values.size() > maxSmallElements)
      return std::nullopt;
  }
  result.shape = {static_cast<int64_t>(result.values.size())};
  return result;
}

std::optional<SmallConstant> SmallEvaluator::evaluateElementwise(NodeOp node,
                                                                 bool integer) {
  StringRef op = node.getOp();
  auto a = evaluate(node.getInput(0));
  if (!a)
    return std::nullopt;
  if (op == "Sqrt" || op == "Neg" || op == "Reciprocal") {
    for (double &v : a->values)
      v = op == "Sqrt" ? std::sqrt(v) : op == "Neg" ? -v : 1.0 / v;
    return a;
  }
  if (op != "Add" && op != "Sub" && op != "Mul" && op != "Div" && op != "Pow")
    return std::nullopt;
  auto b = evaluate(node.getInput(1));
  if (!b || (a->values.size() != b->values.size() && a->values.size() != 1 &&
             b->values.size() != 1))
    return std::nullopt;
  SmallConstant result{
      a->values.size() >= b->values.size() ? a->shape : b->shape, {}};
  size_t count = std::max(a->values.size(), b->values.size());
  if (a->values.empty() || b->values.empty())
    return std::nullopt;
  for (size_t i = 0; i < count; ++i) {
    double x = a->values[a->values.size() == 1 ? 0 : i];
    double y = b->values[b->values.size() == 1 ? 0 : i];
    double z = op == "Add"   ? x + y
               : op == "Sub" ? x - y
               : op == "Mul" ? x * y
               : op == "Div" ? x / y
                             : std::pow(x, y);
    result.values.push_back(integer && op == "Div" ? std::trunc(z) : z);
  }
  return result;
}

std::optional<SmallConstant> SmallEvaluator::evaluateNode(NodeOp node,
                                                          Value value) {
  if (!node.getDomain().empty())
    return std::nullopt;
  StringRef op = node.getOp();
  if (op == "Constant") {
    for (StringRef name : {"value_float", "value_int"})
      if (Attribute attr = node.getNodeAttr(name)) {
        if (auto f = llvm::dyn_cast<FloatAttr>(attr))
          return SmallConstant{{}, {f.getValueAsDouble()}};
        return SmallConstant{
            {}, {static_cast<double>(node.getInt("value_int", 0))}};
      }
    SmallConstant list;
    if (auto ints = node.getInts("value_ints")) {
      if (ints->size() > maxSmallElements)
        return std::nullopt;
      list.values.assign(ints->begin(), ints->end());
    } else if (auto floats = llvm::dyn_cast_if_present<DenseF32ArrayAttr>(
                   node.getNodeAttr("value_floats"))) {
      if (floats.size() > maxSmallElements)
        return std::nullopt;
      list.values.assign(floats.asArrayRef().begin(),
                         floats.asArrayRef().end());
    } else {
      return evaluateAttr(node, node.getNodeAttr("value"));
    }
    list.shape = {static_cast<int64_t>(list.values.size())};
    return list;
  }
  if (op == "Shape")
    return evaluateShape(node);
  if (op == "Gather")
    return evaluateGather(node);
  if (op == "Slice")
    return evaluateSlice(node);
  if (op == "Concat")
    return evaluateConcat(node);
  if (op == "Identity" || op == "Cast" || op == "Reshape" ||
      op == "Unsqueeze" || op == "Squeeze") {
    auto result = evaluate(node.getInput(0));
    auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
    if (!result)
      return std::nullopt;
    if (type && type.hasStaticShape() &&
        type.getNumElements() == static_cast<int64_t>(result->values.size()))
      result->shape = llvm::to_vector(type.getShape());
    else if (op == "Squeeze" && result->values.size() == 1)
      result->shape = {};
    else if (op == "Unsqueeze" && result->shape.empty())
      result->shape = {1};
    if (op == "Cast" && node.getInt("to", 1) != 1 &&
        node.getInt("to", 1) != 10 && node.getInt("to", 1) != 11 &&
        node.getInt("to", 1) != 16)
      for (double &v : result->values)
        v = std::trunc(v);
    return result;
  }
  auto type = llvm::dyn_cast<TensorType>(value.getType());
  bool integer = !type || !llvm::isa<FloatType>(type.getElementType());
  return evaluateElementwise(node, integer);
}

std::optional<SmallConstant> SmallEvaluator::evaluate(Value value) {
  if (!value || budget == 0)
    return std::nullopt;
  --budget;
  if (auto weight = value.getDefiningOp<WeightOp>())
    return evaluateAttr(weight, weight.getValue());
  if (auto node = value.getDefiningOp<NodeOp>())
    return evaluateNode(node, value);
  return std::nullopt;
}

std::optional<SmallConstant> raise::getSmallConstant(Value value) {
  return SmallEvaluator().evaluate(value);
}

std::optional<double> raise::getScalarConstant(Value value) {
  auto constant = getSmallConstant(value);
  if (!constant || constant->values.size() != 1 ||
      std::isnan(constant->values[0]))
    return std::nullopt;
  return constant->values[0];
}

std::optional<SmallVector<int64_t>> raise::getIntConstants(Value value) {
  auto constant = getSmallConstant(value);
  if (!constant)
    return std::nullopt;
  SmallVector<int64_t> ints;
  for (double v : constant->values) {
    if (std::isnan(v))
      return std::nullopt;
    // INT64_MAX, the usual "to the end", has no double.
    ints.push_back(v >= 9.2e18    ? std::numeric_limits<int64_t>::max()
                   : v <= -9.2e18 ? std::numeric_limits<int64_t>::min()
                                  : static_cast<int64_t>(v));
  }
  return ints;
}

bool raise::isClose(double value, double wanted, Type elementType) {
  double tolerance = elementType.isF64()    ? 1e-6
                     : elementType.isF32()  ? 2e-5
                     : elementType.isBF16() ? 1e-2
                     : elementType.isF16()  ? 2e-3
                                            : 1e-6;
  return std::abs(value - wanted) <= tolerance * std::abs(wanted);
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

static RankedTensorType staticFloatTensor(Value value) {
  RankedTensorType type = floatTensor(value);
  return type && type.hasStaticShape() ? type : RankedTensorType();
}

/// What a weight expression can say of a node that computes on constants.
enum class ConstantKind {
  None,
  Weight,
  Constant,
  Same,
  Cast,
  Transpose,
  Reshape,
  Add,
  Dequantize
};

/// Whether the node multiplies constant i8 codes of a matrix by f32 scales of
/// rows (of any layout), or of groups of equal size along the rows.
static bool isConstantDequantize(NodeOp node) {
  auto constantType = [&](unsigned i) -> RankedTensorType {
    Value input = node.getInput(i);
    if (!input || !llvm::isa_and_present<WeightOp>(input.getDefiningOp()))
      return {};
    return llvm::cast<RankedTensorType>(input.getType());
  };
  RankedTensorType codes = constantType(0), scales = constantType(1);
  if (!codes || !scales || codes.getRank() != 2 ||
      codes.getNumElements() == 0 ||
      !codes.getElementType().isSignlessInteger(8) ||
      !scales.getElementType().isF32())
    return false;
  if (Value zero = node.getInput(2)) {
    // Codes of the ffn dialect are symmetric.
    auto weight = zero.getDefiningOp<WeightOp>();
    auto dense = weight
                     ? llvm::dyn_cast<DenseIntElementsAttr>(weight.getValue())
                     : DenseIntElementsAttr();
    if (!dense || !llvm::all_of(dense.getValues<APInt>(),
                                [](const APInt &v) { return v.isZero(); }))
      return false;
  }
  int64_t axis = node.getInt("axis", 1), block = node.getInt("block_size", 0);
  if (axis < 0)
    axis += 2;
  if (axis < 0 || axis > 1)
    return false;
  if (block == 0)
    return scales.getRank() == 1 &&
           scales.getDimSize(0) == codes.getDimSize(axis);
  return scales.getRank() == 2 &&
         scales.getDimSize(1 - axis) == codes.getDimSize(1 - axis) &&
         scales.getDimSize(axis) ==
             llvm::divideCeilSigned(codes.getDimSize(axis), block);
}

static ConstantKind classify(Value value, unsigned depth) {
  RankedTensorType type = staticFloatTensor(value);
  if (!type || depth > 8)
    return ConstantKind::None;
  Operation *op = value.getDefiningOp();
  if (llvm::isa_and_present<WeightOp, WeightExprInterface>(op))
    return ConstantKind::Weight;
  auto node = llvm::dyn_cast_if_present<NodeOp>(op);
  if (!node || !node.getDomain().empty())
    return ConstantKind::None;
  StringRef name = node.getOp();
  if (name == "Constant")
    return llvm::isa_and_present<SpanAttr, DenseElementsAttr>(
               node.getNodeAttr("value")) &&
                   llvm::cast<TypedAttr>(node.getNodeAttr("value")).getType() ==
                       type
               ? ConstantKind::Constant
               : ConstantKind::None;
  if (name == "DequantizeLinear")
    return isConstantDequantize(node) ? ConstantKind::Dequantize
                                      : ConstantKind::None;
  auto constantInput = [&](unsigned i) {
    Value input = node.getInput(i);
    return input && classify(input, depth + 1) != ConstantKind::None;
  };
  if (!constantInput(0))
    return ConstantKind::None;
  auto source = llvm::cast<RankedTensorType>(node.getInput(0).getType());
  if (name == "Identity")
    return source == type ? ConstantKind::Same : ConstantKind::None;
  if (name == "Cast")
    return ConstantKind::Cast;
  if (name == "Reshape" || name == "Unsqueeze" || name == "Squeeze" ||
      name == "Flatten")
    return source.getNumElements() == type.getNumElements()
               ? ConstantKind::Reshape
               : ConstantKind::None;
  if (name == "Transpose") {
    auto perm = node.getInts("perm");
    if (type.getRank() == 1)
      return ConstantKind::Same;
    return type.getRank() == 2 && (!perm || *perm == ArrayRef<int64_t>{1, 0})
               ? ConstantKind::Transpose
               : ConstantKind::None;
  }
  if (name == "Add")
    return constantInput(1) && node.getInput(1).getType() == type &&
                   source == type
               ? ConstantKind::Add
               : ConstantKind::None;
  return ConstantKind::None;
}

bool raise::isConstant(Value value) {
  return value && classify(value, 0) != ConstantKind::None;
}

void Raiser::setInsertionAfterValue(Value value) {
  rewriter.setInsertionPointAfterValue(value);
}

Value Raiser::getWeight(Value value) {
  auto node = value.getDefiningOp<NodeOp>();
  switch (classify(value, 0)) {
  case ConstantKind::None:
    return {};
  case ConstantKind::Weight:
    return value;
  case ConstantKind::Constant: {
    Value &weight = expressions[{value.getAsOpaquePointer(), 0, Type()}];
    if (!weight) {
      setInsertionAfterValue(value);
      weight =
          WeightOp::create(rewriter, node.getLoc(), value.getType(),
                           llvm::cast<TypedAttr>(node.getNodeAttr("value")));
    }
    return weight;
  }
  case ConstantKind::Same:
    return getWeight(node.getInput(0));
  case ConstantKind::Cast:
    return getCast(getWeight(node.getInput(0)),
                   floatTensor(value).getElementType());
  case ConstantKind::Transpose:
    return getTranspose(getWeight(node.getInput(0)));
  case ConstantKind::Reshape:
    return getReshape(getWeight(node.getInput(0)),
                      floatTensor(value).getShape());
  case ConstantKind::Add:
    return getAdd(getWeight(node.getInput(0)), getWeight(node.getInput(1)));
  case ConstantKind::Dequantize:
    return getDequantized(node);
  }
  return {};
}

Value Raiser::getDequantized(NodeOp node) {
  Value &result =
      expressions[{node.getResult(0).getAsOpaquePointer(), 4, Type()}];
  if (result)
    return result;
  Value codes = node.getInput(0), scales = node.getInput(1);
  int64_t axis = node.getInt("axis", 1), block = node.getInt("block_size", 0);
  if (axis < 0)
    axis += 2;
  // Rows of codes are rows of the weight, or its columns.
  bool isTransposed = (block == 0) == (axis == 1);
  rewriter.setInsertionPoint(node);
  Location loc = node.getLoc();
  if (isTransposed) {
    codes = TransposeOp::create(rewriter, loc, codes);
    if (block != 0)
      scales = TransposeOp::create(rewriter, loc, scales);
  }
  auto type = llvm::cast<RankedTensorType>(codes.getType());
  if (block == 0)
    scales = ReshapeOp::create(
        rewriter, loc,
        RankedTensorType::get({type.getDimSize(0), 1}, rewriter.getF32Type()),
        scales);
  int64_t group =
      block == 0 ? type.getDimSize(1) : std::min(block, type.getDimSize(1));
  Value weight =
      DequantizeOp::create(rewriter, loc, codes, scales, /*bits=*/8, group);
  return result = isTransposed ? getTranspose(weight) : weight;
}

Value Raiser::getTranspose(Value weight) {
  if (auto inner = weight.getDefiningOp<TransposeOp>())
    return inner.getSource();
  Value &result = expressions[{weight.getAsOpaquePointer(), 1, Type()}];
  if (!result) {
    setInsertionAfterValue(weight);
    result = TransposeOp::create(rewriter, weight.getLoc(), weight);
  }
  return result;
}

/// Rows of codes with one scale each, put one behind the other as the groups
/// of longer rows; null where the weight or the type is something else.
static Value reshapeCodes(OpBuilder &builder, Value weight,
                          RankedTensorType type) {
  auto op = weight.getDefiningOp<DequantizeOp>();
  if (!op || type.getRank() != 2)
    return {};
  auto from = llvm::cast<RankedTensorType>(op.getType());
  int64_t group = from.getDimSize(1), n = type.getDimSize(0),
          k = type.getDimSize(1);
  if (static_cast<int64_t>(op.getGroup()) < group || k % group != 0)
    return {};
  auto as = [&](Value value, ArrayRef<int64_t> shape) -> Value {
    auto old = llvm::cast<RankedTensorType>(value.getType());
    return ReshapeOp::create(builder, weight.getLoc(), old.clone(shape), value);
  };
  return DequantizeOp::create(
      builder, weight.getLoc(), as(op.getCodes(), {n, k}),
      as(op.getScales(), {n, k / group}), op.getBits(), group);
}

Value Raiser::getReshape(Value weight, ArrayRef<int64_t> shape) {
  auto type = llvm::cast<RankedTensorType>(weight.getType()).clone(shape);
  if (weight.getType() == type)
    return weight;
  Value &result = expressions[{weight.getAsOpaquePointer(), 2, type}];
  if (!result) {
    setInsertionAfterValue(weight);
    result = reshapeCodes(rewriter, weight, type);
    if (!result)
      result = ReshapeOp::create(rewriter, weight.getLoc(), type, weight);
  }
  return result;
}

Value Raiser::getCast(Value weight, Type elementType) {
  auto type = llvm::cast<RankedTensorType>(weight.getType()).clone(elementType);
  if (weight.getType() == type)
    return weight;
  Value &result = expressions[{weight.getAsOpaquePointer(), 3, type}];
  if (!result) {
    setInsertionAfterValue(weight);
    result = ffn::CastOp::create(rewriter, weight.getLoc(), type, weight);
  }
  return result;
}

Value Raiser::getAdd(Value lhs, Value rhs) {
  // Either operand may be the later one, also in an inner block.
  Operation *a = lhs.getDefiningOp(), *b = rhs.getDefiningOp();
  bool lhsLater = !b || (a && (a->getBlock() == b->getBlock()
                                   ? b->isBeforeInBlock(a)
                                   : b->getParentOp()->isAncestor(a)));
  setInsertionAfterValue(lhsLater ? lhs : rhs);
  return ffn::AddOp::create(rewriter, lhs.getLoc(), lhs, rhs);
}

Value Raiser::createSplat(Type elementType, int64_t size, double value,
                          Operation *beside) {
  auto type = RankedTensorType::get({size}, elementType);
  auto attr = DenseElementsAttr::get(
      type, llvm::cast<Attribute>(rewriter.getFloatAttr(elementType, value)));
  OpBuilder::InsertionGuard guard(rewriter);
  rewriter.setInsertionPoint(beside);
  return WeightOp::create(rewriter, beside->getLoc(), type,
                          llvm::cast<TypedAttr>(attr));
}

Value Raiser::getGatherRows(Value weight, int64_t begin, int64_t size) {
  SmallVector<int32_t> rows;
  for (int64_t i = 0; i < size; ++i)
    rows.push_back(static_cast<int32_t>(begin + i));
  auto type = RankedTensorType::get({size}, rewriter.getI32Type());
  TypedAttr attr =
      makeWeightAttr(ctx, "rows", type,
                     ArrayRef<char>(reinterpret_cast<const char *>(rows.data()),
                                    rows.size() * sizeof(int32_t)));
  if (!attr)
    return {};
  setInsertionAfterValue(weight);
  Value indices = WeightOp::create(rewriter, weight.getLoc(), type, attr);
  return GatherRowsOp::create(rewriter, weight.getLoc(), weight, indices);
}

Value Raiser::getScaled(Value weight, double factor) {
  if (factor == 1.0)
    return weight;
  auto type = llvm::cast<RankedTensorType>(weight.getType());
  bool vector = type.getRank() == 1;
  if (vector)
    weight = getReshape(weight, {type.getDimSize(0), 1});
  setInsertionAfterValue(weight);
  Operation *beside = &*rewriter.getInsertionPoint();
  Value scale =
      createSplat(type.getElementType(), type.getDimSize(0), factor, beside);
  rewriter.setInsertionPointAfterValue(scale);
  weight = ScaleRowsOp::create(rewriter, weight.getLoc(), weight.getType(),
                               weight, scale);
  return vector ? getReshape(weight, type.getShape()) : weight;
}

bool Raiser::isVectorConstant(Value value, int64_t size, bool orScalar) {
  RankedTensorType type = staticFloatTensor(value);
  if (!type || !isConstant(value))
    return false;
  if (orScalar && type.getNumElements() == 1)
    return getScalarConstant(value).has_value();
  return type.getRank() >= 1 && type.getShape().back() == size &&
         type.getNumElements() == size;
}

Value Raiser::getVector(Value value, int64_t size) {
  auto type = llvm::cast<RankedTensorType>(value.getType());
  Value weight = getWeight(value);
  if (type.getNumElements() == 1 && size != 1) {
    setInsertionAfterValue(weight);
    return createSplat(type.getElementType(), size, *getScalarConstant(value),
                       &*rewriter.getInsertionPoint());
  }
  return getReshape(weight, {size});
}
