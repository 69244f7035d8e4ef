//===- WeightForms.cpp - Weight expressions in passes ---------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "WeightForms.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Interpreter/EvalTensor.h"
#include "llvm/ADT/SmallPtrSet.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

/// Expressions nest deeper only in hostile input, which is read as it is.
static constexpr unsigned kMaxDepth = 64;

static Type elementOf(Value value) {
  return llvm::cast<ShapedType>(value.getType()).getElementType();
}

static bool isNarrow(Type type) { return type.isF16() || type.isBF16(); }

/// The narrow type of an expression that moves and widens, or null.
static Type getNarrowType(Value weight, unsigned depth = 0) {
  if (isNarrow(elementOf(weight)))
    return elementOf(weight);
  Operation *op = weight.getDefiningOp();
  if (!op || depth > kMaxDepth)
    return {};
  if (auto cast = llvm::dyn_cast<CastOp>(op))
    // To f32 or f64, whose values include those of the narrow types.
    return llvm::isa<FloatType>(elementOf(weight)) &&
                   elementOf(weight).getIntOrFloatBitWidth() >= 32
               ? getNarrowType(cast.getSource(), depth + 1)
               : Type();
  if (llvm::isa<TransposeOp, ReshapeOp, GatherRowsOp>(op))
    return getNarrowType(op->getOperand(0), depth + 1);
  if (auto concat = llvm::dyn_cast<ConcatRowsOp>(op)) {
    Type first = getNarrowType(concat.getSources().front(), depth + 1);
    for (Value source : concat.getSources().drop_front())
      if (!first || getNarrowType(source, depth + 1) != first)
        return {};
    return first;
  }
  return {};
}

Type mlir::ffn::getStoredType(Value weight) {
  Type narrow = getNarrowType(weight);
  return narrow ? narrow : elementOf(weight);
}

Value mlir::ffn::createStored(OpBuilder &builder, Value weight) {
  if (elementOf(weight) == getStoredType(weight))
    return weight;
  Operation *op = weight.getDefiningOp();
  if (auto concat = llvm::dyn_cast<ConcatRowsOp>(op)) {
    SmallVector<Value> sources;
    for (Value source : concat.getSources())
      sources.push_back(createStored(builder, source));
    return ConcatRowsOp::create(builder, weight.getLoc(), sources);
  }
  Value source = createStored(builder, op->getOperand(0));
  if (llvm::isa<CastOp>(op))
    return source;
  if (llvm::isa<TransposeOp>(op))
    return builder.createOrFold<TransposeOp>(weight.getLoc(), source);
  if (auto gather = llvm::dyn_cast<GatherRowsOp>(op))
    return GatherRowsOp::create(builder, weight.getLoc(), source,
                                gather.getIndices());
  auto type = llvm::cast<RankedTensorType>(weight.getType());
  return ReshapeOp::create(builder, weight.getLoc(),
                           type.clone(elementOf(source)), source);
}

Value mlir::ffn::createCast(OpBuilder &builder, Value weight,
                            Type elementType) {
  auto type = llvm::cast<RankedTensorType>(weight.getType());
  if (type.getElementType() == elementType)
    return weight;
  return CastOp::create(builder, weight.getLoc(), type.clone(elementType),
                        weight);
}

Value mlir::ffn::createSplat(OpBuilder &builder, Location loc,
                             RankedTensorType type, double value) {
  Type element = type.getElementType();
  Attribute number =
      llvm::isa<FloatType>(element)
          ? Attribute(builder.getFloatAttr(element, value))
          : Attribute(builder.getIntegerAttr(element, int64_t(value)));
  DenseElementsAttr attr = DenseElementsAttr::get(type, number);
  return WeightOp::create(builder, loc, type, llvm::cast<TypedAttr>(attr));
}

Value mlir::ffn::createVector(OpBuilder &builder, Location loc,
                              FloatType elementType, ArrayRef<double> values) {
  auto type =
      RankedTensorType::get({static_cast<int64_t>(values.size())}, elementType);
  SmallVector<APFloat> rounded;
  for (double value : values)
    rounded.push_back(
        llvm::cast<FloatAttr>(builder.getFloatAttr(elementType, value))
            .getValue());
  DenseElementsAttr attr = DenseElementsAttr::get(type, rounded);
  return WeightOp::create(builder, loc, type, llvm::cast<TypedAttr>(attr));
}

std::string mlir::ffn::findConcatRowsObstacle(ArrayRef<Value> weights) {
  auto first = weights.front().getDefiningOp<DequantizeOp>();
  for (Value weight : weights.drop_front()) {
    auto other = weight.getDefiningOp<DequantizeOp>();
    if (!first && !other)
      continue;
    if (!first || !other)
      return "one is quantized, the other is not; run ffn-quantize afterwards";
    if (first.getBits() != other.getBits() ||
        first.getGroup() != other.getGroup())
      return "their weights are quantized in different ways; run ffn-quantize "
             "afterwards";
  }
  return {};
}

Value mlir::ffn::createConcatRows(OpBuilder &builder, Location loc,
                                  ArrayRef<Value> weights) {
  if (auto first = weights.front().getDefiningOp<DequantizeOp>();
      first && findConcatRowsObstacle(weights).empty()) {
    SmallVector<Value> codes, scales;
    for (Value weight : weights) {
      auto op = weight.getDefiningOp<DequantizeOp>();
      codes.push_back(op.getCodes());
      scales.push_back(op.getScales());
    }
    return DequantizeOp::create(builder, loc,
                                ConcatRowsOp::create(builder, loc, codes),
                                ConcatRowsOp::create(builder, loc, scales),
                                first.getBits(), first.getGroup());
  }
  Type stored = getStoredType(weights.front());
  if (!llvm::all_of(weights, [&](Value weight) {
        return getStoredType(weight) == stored;
      }))
    return ConcatRowsOp::create(builder, loc, weights);
  SmallVector<Value> sources;
  for (Value weight : weights)
    sources.push_back(createStored(builder, weight));
  Value rows = ConcatRowsOp::create(builder, loc, sources);
  return createCast(builder, rows, elementOf(weights.front()));
}

Operation *mlir::ffn::getExpressionAnchor(Operation *user,
                                          ArrayRef<Value> weights) {
  Operation *anchor = user;
  while (auto sublayer = anchor->getParentOfType<SublayerOp>()) {
    for (Value weight : weights)
      if (sublayer->isAncestor(weight.getParentBlock()->getParentOp()))
        return anchor;
    anchor = sublayer;
  }
  return anchor;
}

Operation *mlir::ffn::findOtherReader(Value weight,
                                      function_ref<bool(Operation *)> isKnown) {
  SmallVector<Value> worklist{weight};
  llvm::SmallPtrSet<Operation *, 8> seen;
  // Up to the weights themselves, then down to all that read them.
  SmallVector<Value> sources;
  while (!worklist.empty()) {
    Operation *op = worklist.pop_back_val().getDefiningOp();
    if (!op || !seen.insert(op).second)
      continue;
    if (llvm::isa<WeightOp>(op))
      sources.push_back(op->getResult(0));
    else if (auto expression = llvm::dyn_cast<WeightExprInterface>(op))
      worklist.append(expression.getWeightSources());
  }
  llvm::SmallPtrSet<Operation *, 8> visited;
  while (!sources.empty())
    for (Operation *user : sources.pop_back_val().getUsers()) {
      if (!visited.insert(user).second)
        continue;
      if (llvm::isa<WeightExprInterface>(user))
        sources.push_back(user->getResult(0));
      else if (!isKnown(user))
        return user;
    }
  return nullptr;
}

/// Calls `visit` with the elements, some rows at a time, until it says no.
/// Returns whether it never did.
static FailureOr<bool> forEachBlock(Value weight,
                                    function_ref<bool(EvalTensor)> visit) {
  auto type = llvm::cast<RankedTensorType>(weight.getType());
  Type element = type.getElementType();
  int64_t size = llvm::divideCeil(element.getIntOrFloatBitWidth(), 8),
          total = type.getNumElements(),
          row = type.getRank() == 2 ? type.getDimSize(1) : 1;
  if (total == 0)
    return true;
  constexpr int64_t blockElements = 1 << 16;
  int64_t block = std::max<int64_t>(blockElements / row, 1) * row;
  WeightEvaluator evaluator;
  SmallVector<char, 0> bytes;
  for (int64_t begin = 0; begin < total; begin += block) {
    int64_t count = std::min(block, total - begin);
    bytes.resize_for_overwrite(count * size);
    if (failed(evaluator.read(weight, begin, count, bytes)))
      return failure();
    FailureOr<EvalTensor> tensor =
        EvalTensor::fromBytes(element, {count}, bytes);
    if (failed(tensor))
      return emitError(weight.getLoc(), "weight of type ")
             << type << " has no numeric form [FFN-W111]";
    if (!visit(*tensor))
      return false;
  }
  return true;
}

FailureOr<SmallVector<double>> mlir::ffn::readVector(Value weight) {
  SmallVector<double> values;
  FailureOr<bool> read = forEachBlock(weight, [&](const EvalTensor &block) {
    for (int64_t i = 0; i < block.getNumElements(); ++i)
      values.push_back(block.asDouble(i));
    return true;
  });
  if (failed(read))
    return failure();
  return values;
}

LogicalResult
mlir::ffn::forEachRow(Value matrix,
                      function_ref<void(int64_t, ArrayRef<double>)> visit) {
  int64_t columns =
              llvm::cast<RankedTensorType>(matrix.getType()).getDimSize(1),
          row = 0;
  SmallVector<double, 0> values(columns);
  FailureOr<bool> read = forEachBlock(matrix, [&](const EvalTensor &block) {
    for (int64_t at = 0; at < block.getNumElements(); at += columns) {
      for (int64_t i = 0; i < columns; ++i)
        values[i] = block.asDouble(at + i);
      visit(row++, values);
    }
    return true;
  });
  return failed(read) ? failure() : success();
}

FailureOr<bool> mlir::ffn::isExactScale(Value matrix, ArrayRef<double> scale) {
  auto stored = llvm::dyn_cast<FloatType>(getStoredType(matrix));
  if (!stored)
    return false;
  bool allOnes = true;
  for (double factor : scale) {
    int exponent;
    double fraction = std::abs(std::frexp(factor, &exponent));
    if (!(factor == 0 || fraction == 0.5) ||
        roundToFloatType(stored, factor) != factor)
      return false;
    allOnes &= factor == 1;
  }
  if (allOnes)
    return true;
  int64_t columns = scale.size();
  return forEachBlock(matrix, [&](const EvalTensor &block) {
    for (int64_t i = 0; i < block.getNumElements(); ++i) {
      double value = block.asDouble(i), product = value * scale[i % columns];
      if (std::isnan(value) || std::isinf(value) ||
          roundToFloatType(stored, product) != product)
        return false;
    }
    return true;
  });
}
