//===- NeuronView.cpp - A network as a list of hidden units ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/Transforms/NeuronView.h"
#include "WeightForms.h"
#include "ffn-mlir/Support/Assert.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "llvm/ADT/BitVector.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::ffn;

/// Expressions nest deeper only in hostile input; below this they are gathered
/// from as they are.
static constexpr unsigned kMaxDepth = 64;

static RankedTensorType typeOf(Value value) {
  return llvm::cast<RankedTensorType>(value.getType());
}

static bool isIdentity(ArrayRef<int64_t> indices, int64_t size) {
  if (static_cast<int64_t>(indices.size()) != size)
    return false;
  for (auto [i, index] : llvm::enumerate(indices))
    if (index != static_cast<int64_t>(i))
      return false;
  return true;
}

//===----------------------------------------------------------------------===//
// Gathering
//===----------------------------------------------------------------------===//

namespace {
/// Gathers by one list of indices, which becomes a weight when the first
/// expression needs it.
class Gatherer {
public:
  Gatherer(OpBuilder &builder, ArrayRef<int64_t> indices)
      : builder(builder), indices(indices) {}

  Value rows(Value weight, unsigned depth = 0);
  Value columns(Value matrix, unsigned depth = 0);

private:
  Value getIndices(Location loc);
  /// Rows of stacked weights as stacked rows, if they come in that order.
  Value rowsOfConcat(ConcatRowsOp concat, unsigned depth);
  Value rowsOfGather(GatherRowsOp gather, unsigned depth);
  Value columnsOfCodes(DequantizeOp dequantize, unsigned depth);

  OpBuilder &builder;
  ArrayRef<int64_t> indices;
  Value indexWeight;
};
} // namespace

Value Gatherer::getIndices(Location loc) {
  if (indexWeight)
    return indexWeight;
  SmallVector<int32_t> narrow(indices);
  auto type = RankedTensorType::get({static_cast<int64_t>(narrow.size())},
                                    builder.getI32Type());
  TypedAttr attr =
      makeWeightAttr(builder.getContext(), "neurons", type,
                     ArrayRef<char>(reinterpret_cast<char *>(narrow.data()),
                                    narrow.size() * sizeof(int32_t)));
  // Without room in the scratch file the indices are kept in the module.
  if (!attr)
    attr = llvm::cast<TypedAttr>(llvm::cast<Attribute>(
        DenseElementsAttr::get(type, ArrayRef<int32_t>(narrow))));
  return indexWeight = WeightOp::create(builder, loc, type, attr);
}

/// A splat of another shape; null if the weight is none.
static Value createSplat(OpBuilder &builder, Value weight,
                         ArrayRef<int64_t> shape) {
  auto op = weight.getDefiningOp<WeightOp>();
  auto dense = op ? llvm::dyn_cast<DenseElementsAttr>(op.getValue())
                  : DenseElementsAttr();
  if (!dense || !dense.isSplat())
    return {};
  auto type = RankedTensorType::get(shape, typeOf(weight).getElementType());
  return WeightOp::create(
      builder, weight.getLoc(), type,
      llvm::cast<TypedAttr>(llvm::cast<Attribute>(dense.resizeSplat(type))));
}

Value Gatherer::rowsOfConcat(ConcatRowsOp concat, unsigned depth) {
  SmallVector<std::pair<Value, SmallVector<int64_t>>> parts;
  int64_t begin = 0;
  auto next = indices.begin();
  for (Value source : concat.getSources()) {
    int64_t end = begin + typeOf(source).getDimSize(0);
    SmallVector<int64_t> rows;
    for (; next != indices.end() && *next >= begin && *next < end; ++next)
      rows.push_back(*next - begin);
    if (!rows.empty())
      parts.push_back({source, std::move(rows)});
    begin = end;
  }
  if (next != indices.end())
    return {};
  SmallVector<Value> values;
  for (auto &[source, rows] : parts)
    values.push_back(Gatherer(builder, rows).rows(source, depth + 1));
  return values.size() == 1
             ? values.front()
             : ConcatRowsOp::create(builder, concat.getLoc(), values);
}

/// Composes the two index vectors, if the inner one is in the module.
Value Gatherer::rowsOfGather(GatherRowsOp gather, unsigned depth) {
  auto inner = gather.getIndices().getDefiningOp<WeightOp>();
  auto dense = inner ? llvm::dyn_cast<DenseElementsAttr>(inner.getValue())
                     : DenseElementsAttr();
  if (!dense || !dense.getElementType().isInteger(32))
    return {};
  auto values = dense.getValues<int32_t>();
  int64_t sourceRows = typeOf(gather.getSource()).getDimSize(0);
  SmallVector<int64_t> composed;
  for (int64_t index : indices) {
    int64_t row = values[index];
    if (row < 0 || row >= sourceRows)
      return {};
    composed.push_back(row);
  }
  return Gatherer(builder, composed).rows(gather.getSource(), depth + 1);
}

Value Gatherer::rows(Value weight, unsigned depth) {
  RankedTensorType type = typeOf(weight);
  if (isIdentity(indices, type.getDimSize(0)))
    return weight;
  Location loc = weight.getLoc();
  SmallVector<int64_t> shape(type.getShape());
  shape.front() = indices.size();
  if (Value splat = createSplat(builder, weight, shape))
    return splat;
  Operation *op = weight.getDefiningOp();
  if (op && depth < kMaxDepth) {
    auto inner = [&](Value value) { return rows(value, depth + 1); };
    if (auto cast = llvm::dyn_cast<CastOp>(op))
      return CastOp::create(builder, loc,
                            RankedTensorType::get(shape, type.getElementType()),
                            inner(cast.getSource()));
    if (auto add = llvm::dyn_cast<ffn::AddOp>(op))
      return ffn::AddOp::create(builder, loc, inner(add.getLhs()),
                                inner(add.getRhs()));
    if (auto scale = llvm::dyn_cast<ScaleRowsOp>(op)) {
      Value source = inner(scale.getSource());
      return ScaleRowsOp::create(builder, loc, source.getType(), source,
                                 inner(scale.getScale()));
    }
    if (auto scale = llvm::dyn_cast<ScaleColsOp>(op)) {
      Value source = inner(scale.getSource());
      return ScaleColsOp::create(builder, loc, source.getType(), source,
                                 scale.getScale());
    }
    if (auto product = llvm::dyn_cast<MatVecOp>(op)) {
      Value bias = product.getBias() ? inner(product.getBias()) : Value();
      return MatVecOp::create(builder, loc, inner(product.getMatrix()),
                              product.getVector(), bias);
    }
    if (auto product = llvm::dyn_cast<LowRankOp>(op))
      return LowRankOp::create(builder, loc, inner(product.getB()),
                               product.getA());
    if (auto codes = llvm::dyn_cast<DequantizeOp>(op))
      return DequantizeOp::create(builder, loc, inner(codes.getCodes()),
                                  inner(codes.getScales()), codes.getBits(),
                                  codes.getGroup());
    if (auto transpose = llvm::dyn_cast<TransposeOp>(op);
        transpose && !transpose.getSource().getDefiningOp<WeightOp>())
      return builder.createOrFold<TransposeOp>(
          loc, columns(transpose.getSource(), depth + 1));
    if (auto concat = llvm::dyn_cast<ConcatRowsOp>(op))
      if (Value stacked = rowsOfConcat(concat, depth))
        return stacked;
    if (auto gather = llvm::dyn_cast<GatherRowsOp>(op))
      if (Value composed = rowsOfGather(gather, depth))
        return composed;
  }
  return GatherRowsOp::create(builder, loc, weight, getIndices(loc));
}

/// The group of the source that each group of the selected columns takes its
/// scale from; nothing if a group would need two.
static std::optional<SmallVector<int64_t>> findGroups(ArrayRef<int64_t> columns,
                                                      int64_t group) {
  SmallVector<int64_t> groups;
  for (auto [i, column] : llvm::enumerate(columns)) {
    if (i % group == 0)
      groups.push_back(column / group);
    else if (column / group != groups.back())
      return std::nullopt;
  }
  return groups;
}

Value Gatherer::columnsOfCodes(DequantizeOp op, unsigned depth) {
  int64_t width = typeOf(op.getCodes()).getDimSize(1), group = op.getGroup();
  Value codes = columns(op.getCodes(), depth + 1), scales = op.getScales();
  if (group >= width) {
    // One scale for the whole row, whatever is left of it.
    group = indices.size();
  } else {
    SmallVector<int64_t> groups = *findGroups(indices, group);
    scales = Gatherer(builder, groups).columns(scales, depth + 1);
  }
  return DequantizeOp::create(builder, op.getLoc(), codes, scales, op.getBits(),
                              group);
}

Value Gatherer::columns(Value matrix, unsigned depth) {
  RankedTensorType type = typeOf(matrix);
  if (isIdentity(indices, type.getDimSize(1)))
    return matrix;
  Location loc = matrix.getLoc();
  int64_t shape[] = {type.getDimSize(0), static_cast<int64_t>(indices.size())};
  if (Value splat = createSplat(builder, matrix, shape))
    return splat;
  Operation *op = matrix.getDefiningOp();
  if (op && depth < kMaxDepth) {
    auto inner = [&](Value value) { return columns(value, depth + 1); };
    if (auto cast = llvm::dyn_cast<CastOp>(op))
      return CastOp::create(builder, loc,
                            RankedTensorType::get(shape, type.getElementType()),
                            inner(cast.getSource()));
    if (auto add = llvm::dyn_cast<ffn::AddOp>(op))
      return ffn::AddOp::create(builder, loc, inner(add.getLhs()),
                                inner(add.getRhs()));
    if (auto scale = llvm::dyn_cast<ScaleRowsOp>(op)) {
      Value source = inner(scale.getSource());
      return ScaleRowsOp::create(builder, loc, source.getType(), source,
                                 scale.getScale());
    }
    if (auto scale = llvm::dyn_cast<ScaleColsOp>(op)) {
      Value source = inner(scale.getSource());
      return ScaleColsOp::create(builder, loc, source.getType(), source,
                                 rows(scale.getScale(), depth + 1));
    }
    if (auto product = llvm::dyn_cast<LowRankOp>(op))
      return LowRankOp::create(builder, loc, product.getB(),
                               inner(product.getA()));
    if (auto codes = llvm::dyn_cast<DequantizeOp>(op))
      return columnsOfCodes(codes, depth);
    if (auto concat = llvm::dyn_cast<ConcatRowsOp>(op))
      return ConcatRowsOp::create(
          builder, loc, llvm::map_to_vector(concat.getSources(), inner));
    if (auto transpose = llvm::dyn_cast<TransposeOp>(op))
      return builder.createOrFold<TransposeOp>(
          loc, rows(transpose.getSource(), depth + 1));
  }
  Value turned = builder.createOrFold<TransposeOp>(loc, matrix);
  return TransposeOp::create(
      builder, loc,
      GatherRowsOp::create(builder, loc, turned, getIndices(loc)));
}

Value mlir::ffn::createGatherRows(OpBuilder &builder, Value weight,
                                  ArrayRef<int64_t> rows) {
  return Gatherer(builder, rows).rows(weight);
}

Value mlir::ffn::createGatherCols(OpBuilder &builder, Value matrix,
                                  ArrayRef<int64_t> columns) {
  return Gatherer(builder, columns).columns(matrix);
}

/// The quantized weights that columns of the matrix would be taken from, as
/// `Gatherer::columns` comes by them.
static std::string findColumnsObstacle(Value matrix, ArrayRef<int64_t> columns,
                                       unsigned depth) {
  Operation *op = matrix.getDefiningOp();
  if (!op || depth >= kMaxDepth ||
      isIdentity(columns, typeOf(matrix).getDimSize(1)))
    return {};
  if (auto codes = llvm::dyn_cast<DequantizeOp>(op)) {
    int64_t group = codes.getGroup();
    if (codes.getBits() <= 4 && columns.size() % 2 != 0)
      return "codes of " + std::to_string(codes.getBits()) +
             " bits come in pairs; take an even number of neurons, or run "
             "ffn-quantize afterwards";
    if (group < typeOf(matrix).getDimSize(1) && !findGroups(columns, group))
      return "columns of down share scales in groups of " +
             std::to_string(group) +
             "; take whole groups, or run ffn-quantize afterwards";
    return {};
  }
  if (llvm::isa<CastOp, ffn::AddOp, ScaleRowsOp, ScaleColsOp, ConcatRowsOp>(op))
    for (Value source : op->getOperands())
      if (typeOf(source).getRank() == 2)
        if (std::string why = findColumnsObstacle(source, columns, depth + 1);
            !why.empty())
          return why;
  if (auto product = llvm::dyn_cast<LowRankOp>(op))
    return findColumnsObstacle(product.getA(), columns, depth + 1);
  return {};
}

std::string mlir::ffn::findGatherColsObstacle(Value matrix,
                                              ArrayRef<int64_t> columns) {
  return findColumnsObstacle(matrix, columns, 0);
}

//===----------------------------------------------------------------------===//
// Views
//===----------------------------------------------------------------------===//

NeuronView NeuronView::of(FeedForwardOp network) {
  return {network.getUp(), network.getGate(), network.getDown(),
          network.getUpBias(), network.getGateBias()};
}

int64_t NeuronView::getNumNeurons() const { return typeOf(up).getDimSize(0); }

SmallVector<Value> NeuronView::getWeights() const {
  SmallVector<Value> weights;
  for (Value value : {up, gate, down, upBias, gateBias})
    if (value)
      weights.push_back(value);
  return weights;
}

std::string mlir::ffn::findViewObstacle(FeedForwardOp network) {
  for (Value weight : network.getWeightOperands())
    if (!isWeightExpression(weight))
      return "a weight is not constant";
  return {};
}

std::string mlir::ffn::findSelectObstacle(const NeuronView &view,
                                          ArrayRef<int64_t> neurons) {
  if (neurons.empty())
    return "no neuron would be left";
  for (int64_t neuron : neurons)
    if (neuron < 0 || neuron >= view.getNumNeurons())
      return "there is no neuron " + std::to_string(neuron) + " of " +
             std::to_string(view.getNumNeurons());
  return findGatherColsObstacle(view.down, neurons);
}

std::string mlir::ffn::findPermuteObstacle(const NeuronView &view,
                                           ArrayRef<int64_t> permutation) {
  if (std::string why = findSelectObstacle(view, permutation); !why.empty())
    return why;
  llvm::BitVector seen(view.getNumNeurons());
  for (int64_t neuron : permutation)
    seen.set(neuron);
  if (!seen.all() ||
      static_cast<int64_t>(permutation.size()) != view.getNumNeurons())
    return "the indices are no permutation of the neurons";
  return {};
}

NeuronView mlir::ffn::selectNeurons(OpBuilder &builder, const NeuronView &view,
                                    ArrayRef<int64_t> neurons) {
  FFN_ASSERT(findSelectObstacle(view, neurons).empty(),
             "the caller asked findSelectObstacle");
  Gatherer gatherer(builder, neurons);
  NeuronView selected;
  selected.up = gatherer.rows(view.up);
  if (view.gate)
    selected.gate = gatherer.rows(view.gate);
  selected.down = gatherer.columns(view.down);
  if (view.upBias)
    selected.upBias = gatherer.rows(view.upBias);
  if (view.gateBias)
    selected.gateBias = gatherer.rows(view.gateBias);
  return selected;
}

NeuronView mlir::ffn::sliceNeurons(OpBuilder &builder, const NeuronView &view,
                                   int64_t begin, int64_t count) {
  return selectNeurons(builder, view,
                       llvm::to_vector(llvm::seq(begin, begin + count)));
}

SmallVector<NeuronView>
mlir::ffn::splitNeurons(OpBuilder &builder, const NeuronView &view,
                        ArrayRef<SmallVector<int64_t>> parts) {
  return llvm::map_to_vector(parts, [&](ArrayRef<int64_t> part) {
    return selectNeurons(builder, view, part);
  });
}

//===----------------------------------------------------------------------===//
// Concatenation
//===----------------------------------------------------------------------===//

/// The same for columns: a group of codes must begin with each matrix, and be
/// one that the joined rows can have too.
static std::string findConcatColumnsObstacle(ArrayRef<Value> matrices) {
  if (std::string why = findConcatRowsObstacle(matrices); !why.empty())
    return why;
  auto first = matrices.front().getDefiningOp<DequantizeOp>();
  if (!first || matrices.size() == 1)
    return {};
  int64_t group = first.getGroup();
  for (Value matrix : matrices.drop_back())
    if (typeOf(matrix).getDimSize(1) % group != 0 ||
        !llvm::isPowerOf2_64(group))
      return "columns of down share scales in groups of " +
             std::to_string(group) +
             ", which do not end with a network; run ffn-quantize afterwards";
  return {};
}

static std::string findTypeObstacle(ArrayRef<Value> matrices) {
  for (Value matrix : matrices)
    if (typeOf(matrix).getElementType() !=
        typeOf(matrices.front()).getElementType())
      return "their weights differ in type";
  return {};
}

std::string mlir::ffn::findConcatObstacle(ArrayRef<NeuronView> views) {
  SmallVector<Value> ups, gates, downs;
  for (const NeuronView &view : views) {
    if (static_cast<bool>(view.gate) != static_cast<bool>(views.front().gate))
      return "one is gated, the other is not";
    if (typeOf(view.up).getDimSize(1) !=
            typeOf(views.front().up).getDimSize(1) ||
        typeOf(view.down).getDimSize(0) !=
            typeOf(views.front().down).getDimSize(0))
      return "their inputs or results differ in width";
    ups.push_back(view.up);
    if (view.gate)
      gates.push_back(view.gate);
    downs.push_back(view.down);
    for (Value bias : {view.upBias, view.gateBias})
      if (bias && typeOf(bias).getElementType() !=
                      typeOf(views.front().up).getElementType())
        return "their biases differ in type";
  }
  for (ArrayRef<Value> matrices : {ArrayRef(ups), ArrayRef(gates)}) {
    if (matrices.empty())
      continue;
    if (std::string why = findTypeObstacle(matrices); !why.empty())
      return why;
    if (std::string why = findConcatRowsObstacle(matrices); !why.empty())
      return why;
  }
  std::string why = findTypeObstacle(downs);
  if (why.empty())
    why = findConcatColumnsObstacle(downs);
  return why;
}

static Value joinColumns(OpBuilder &builder, Location loc,
                         ArrayRef<Value> matrices) {
  auto join = [&](ArrayRef<Value> parts) -> Value {
    SmallVector<Value> turned;
    for (Value part : parts)
      turned.push_back(builder.createOrFold<TransposeOp>(part.getLoc(), part));
    return TransposeOp::create(builder, loc,
                               createConcatRows(builder, loc, turned));
  };
  auto first = matrices.front().getDefiningOp<DequantizeOp>();
  if (!first)
    return join(matrices);
  SmallVector<Value> codes, scales;
  for (Value matrix : matrices) {
    auto op = matrix.getDefiningOp<DequantizeOp>();
    codes.push_back(op.getCodes());
    scales.push_back(op.getScales());
  }
  return DequantizeOp::create(builder, loc, join(codes), join(scales),
                              first.getBits(), first.getGroup());
}

static Value joinBiases(OpBuilder &builder, Location loc,
                        ArrayRef<NeuronView> views, Value NeuronView::*bias) {
  if (llvm::none_of(views, [&](const NeuronView &view) {
        return static_cast<bool>(view.*bias);
      }))
    return {};
  SmallVector<Value> biases;
  for (const NeuronView &view : views) {
    if (view.*bias) {
      biases.push_back(view.*bias);
      continue;
    }
    auto type = RankedTensorType::get({view.getNumNeurons()},
                                      typeOf(view.up).getElementType());
    biases.push_back(createSplat(builder, loc, type, 0));
  }
  return createConcatRows(builder, loc, biases);
}

NeuronView mlir::ffn::concatNeurons(OpBuilder &builder, Location loc,
                                    ArrayRef<NeuronView> views) {
  FFN_ASSERT(findConcatObstacle(views).empty(),
             "the caller asked findConcatObstacle");
  if (views.size() == 1)
    return views.front();
  SmallVector<Value> ups, gates, downs;
  for (const NeuronView &view : views) {
    ups.push_back(view.up);
    if (view.gate)
      gates.push_back(view.gate);
    downs.push_back(view.down);
  }
  NeuronView joined;
  joined.up = createConcatRows(builder, loc, ups);
  if (!gates.empty())
    joined.gate = createConcatRows(builder, loc, gates);
  joined.down = joinColumns(builder, loc, downs);
  joined.upBias = joinBiases(builder, loc, views, &NeuronView::upBias);
  joined.gateBias = joinBiases(builder, loc, views, &NeuronView::gateBias);
  return joined;
}

void mlir::ffn::setNeuronInsertionPoint(OpBuilder &builder, Operation *user,
                                        ArrayRef<NeuronView> views) {
  SmallVector<Value> weights;
  for (const NeuronView &view : views)
    llvm::append_range(weights, view.getWeights());
  builder.setInsertionPoint(getExpressionAnchor(user, weights));
}

FeedForwardOp mlir::ffn::createNetwork(OpBuilder &builder, Location loc,
                                       Type type, Value input,
                                       const NeuronView &view, Value downBias,
                                       Activation activation) {
  return FeedForwardOp::create(builder, loc, type, input, view.up, view.gate,
                               view.down, view.upBias, view.gateBias, downBias,
                               activation);
}

void mlir::ffn::setNeurons(FeedForwardOp network, const NeuronView &view) {
  auto range = [](const Value &value) {
    return value ? ValueRange(value) : ValueRange();
  };
  network.getUpMutable().assign(view.up);
  network.getGateMutable().assign(range(view.gate));
  network.getDownMutable().assign(view.down);
  network.getUpBiasMutable().assign(range(view.upBias));
  network.getGateBiasMutable().assign(range(view.gateBias));
}
