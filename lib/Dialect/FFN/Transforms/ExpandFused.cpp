//===- ExpandFused.cpp - Fused nodes of ONNX Runtime as their parts -------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// ONNX Runtime's optimizer writes an attention block as one node of
// com.microsoft. Its parts are what raising, kernels and every pass know. A
// node in a form that has no such parts is left to be carried.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "RaiseDetail.h"
#include "ffn-mlir/Ops/OpTable.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSwitch.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::raise;
using onnx::NodeOp;

/// Comparisons of integers, negative axes and Range are all there from here on.
static constexpr int64_t kOldestOpset = 11;

namespace {
/// Rewrites one node. Every function leaves the IR alone until it has seen that
/// the whole node can be expanded.
class Expander {
public:
  /// `known` has the shapes of values that took the place of others.
  Expander(IRRewriter &rewriter, NodeOp node, int64_t opset,
           const SymbolicShapeAnalysis &shapes,
           llvm::DenseMap<Value, SymValue> &known)
      : rewriter(rewriter), node(node), opset(opset), shapes(shapes),
        known(known) {}

  bool run();

private:
  struct Heads {
    Value query, key, value;
  };

  RankedTensorType typeOf(Value value) {
    return llvm::cast<RankedTensorType>(value.getType());
  }
  /// Input `i` if it is a floating tensor of that rank, else null.
  Value floats(unsigned i, int64_t rank);
  bool isUsed(unsigned result) {
    return result < node.getNumResults() && !node.getResult(result).use_empty();
  }
  SymValue getShape(Value value) const {
    auto found = known.find(value);
    return found == known.end() ? shapes.lookup(value) : found->second;
  }
  /// Whether a result may take this type.
  bool fits(unsigned result, RankedTensorType type);

  Location locationOfPart(StringRef part);
  Value make(StringRef op, Type type, ValueRange inputs,
             ArrayRef<NamedAttribute> attrs = {});
  Value constant(DenseElementsAttr value);
  Value ints(ArrayRef<int64_t> values);
  Value scalar(int64_t value);
  Value unsqueeze(Value value, int64_t axis);
  Value transposed(Value value, ArrayRef<int64_t> perm);
  Value columns(Value value, int64_t begin, int64_t size);
  Value splitHeads(Value rows, int64_t heads);
  Value mergeHeads(Value heads);
  Value pick(Value packed, int64_t axis, int64_t index);
  Value cast(Value value, Type element);
  Value arange(Value source, int64_t dim);
  Value append(Value past, Value fresh);
  Value add(Value a, Value b);
  Value biased(Value rows, Value bias, int64_t begin);

  bool isMaskKnown(Value mask, Value rows, RankedTensorType keys);
  Value paddingMask(Value mask, Value key, Type element);
  void finishAttention(Heads heads, Value mask, Value bias);
  void replace(unsigned result, Value value);

  bool expandAttention();
  bool expandMultiHead();
  bool expandEmbedding();
  bool expandGemmFastGelu();

  IRRewriter &rewriter;
  NodeOp node;
  int64_t opset;
  const SymbolicShapeAnalysis &shapes;
  llvm::DenseMap<Value, SymValue> &known;
  /// Parts made so far, by operator.
  llvm::StringMap<unsigned> partCounts;
};
} // namespace

Value Expander::floats(unsigned i, int64_t rank) {
  Value value = node.getInput(i);
  RankedTensorType type = value ? floatTensor(value) : RankedTensorType();
  return type && type.getRank() == rank ? value : Value();
}

bool Expander::fits(unsigned result, RankedTensorType type) {
  if (!isUsed(result))
    return true;
  auto declared =
      llvm::dyn_cast<RankedTensorType>(node.getResult(result).getType());
  return !declared || (declared.getElementType() == type.getElementType() &&
                       succeeded(verifyCompatibleShape(declared, type)));
}

//===----------------------------------------------------------------------===//
// Parts
//===----------------------------------------------------------------------===//

/// Location of a part: under the name of the node, and one that no other part
/// has, since what is raised from it takes it over and names in a file differ.
Location Expander::locationOfPart(StringRef part) {
  auto name = llvm::dyn_cast<NameLoc>(locationOf(node));
  if (!name)
    return node.getLoc();
  unsigned count = partCounts[part]++;
  std::string label = (name.getName().getValue() + "/" + part).str();
  if (count > 0)
    label += "_" + std::to_string(count);
  return NameLoc::get(rewriter.getStringAttr(label), node.getLoc());
}

Value Expander::make(StringRef op, Type type, ValueRange inputs,
                     ArrayRef<NamedAttribute> attrs) {
  return NodeOp::create(rewriter, locationOfPart(op), "", op,
                        getSinceVersion(op, opset), type, inputs, attrs)
      .getResult(0);
}

Value Expander::constant(DenseElementsAttr value) {
  return WeightOp::create(rewriter, node.getLoc(), value.getType(),
                          llvm::cast<TypedAttr>(value));
}

Value Expander::ints(ArrayRef<int64_t> values) {
  auto type = RankedTensorType::get({static_cast<int64_t>(values.size())},
                                    rewriter.getI64Type());
  return constant(DenseElementsAttr::get(type, values));
}

Value Expander::scalar(int64_t value) {
  auto type = RankedTensorType::get({}, rewriter.getI64Type());
  return constant(DenseElementsAttr::get(type, ArrayRef(value)));
}

Value Expander::unsqueeze(Value value, int64_t axis) {
  SmallVector<int64_t> shape(typeOf(value).getShape());
  shape.insert(shape.begin() + axis, 1);
  Type type = typeOf(value).clone(shape);
  if (opset < 13)
    return make("Unsqueeze", type, value, intsAttr(rewriter, "axes", axis));
  return make("Unsqueeze", type, {value, ints(axis)});
}

Value Expander::transposed(Value value, ArrayRef<int64_t> perm) {
  SmallVector<int64_t> shape;
  for (int64_t dim : perm)
    shape.push_back(typeOf(value).getDimSize(dim));
  return make("Transpose", typeOf(value).clone(shape), value,
              intsAttr(rewriter, "perm", perm));
}

/// Columns [begin, begin + size) of the last dimension.
Value Expander::columns(Value value, int64_t begin, int64_t size) {
  SmallVector<int64_t> shape(typeOf(value).getShape());
  shape.back() = size;
  return make("Slice", typeOf(value).clone(shape),
              {value, ints(begin), ints(begin + size),
               ints(typeOf(value).getRank() - 1)});
}

/// [B, S, N * D] as [B, N, S, D].
Value Expander::splitHeads(Value rows, int64_t heads) {
  ArrayRef<int64_t> shape = typeOf(rows).getShape();
  int64_t size = shape[2] / heads;
  Value split =
      make("Reshape", typeOf(rows).clone({shape[0], shape[1], heads, size}),
           {rows, ints({0, 0, heads, size})});
  return transposed(split, {0, 2, 1, 3});
}

Value Expander::mergeHeads(Value heads) {
  Value swapped = transposed(heads, {0, 2, 1, 3});
  ArrayRef<int64_t> shape = typeOf(swapped).getShape();
  int64_t width = shape[2] * shape[3];
  return make("Reshape", typeOf(swapped).clone({shape[0], shape[1], width}),
              {swapped, ints({0, 0, width})});
}

/// Part `index` of a dimension, which goes.
Value Expander::pick(Value packed, int64_t axis, int64_t index) {
  SmallVector<int64_t> shape(typeOf(packed).getShape());
  shape.erase(shape.begin() + axis);
  return make("Gather", typeOf(packed).clone(shape), {packed, scalar(index)},
              intAttr(rewriter, "axis", axis));
}

Value Expander::cast(Value value, Type element) {
  if (typeOf(value).getElementType() == element)
    return value;
  // TensorProto.DataType numbers.
  int64_t to = element.isInteger(32) ? 6 : 7;
  return make("Cast", typeOf(value).clone(element), value,
              intAttr(rewriter, "to", to));
}

/// 0, 1, ... below the size of a dimension, in i64.
Value Expander::arange(Value source, int64_t dim) {
  Type i64 = rewriter.getI64Type();
  Value shape = make(
      "Shape", RankedTensorType::get({typeOf(source).getRank()}, i64), source);
  Value size = make("Gather", RankedTensorType::get({}, i64),
                    {shape, scalar(dim)}, intAttr(rewriter, "axis", 0));
  return make("Range",
              RankedTensorType::get({typeOf(source).getDimSize(dim)}, i64),
              {scalar(0), size, scalar(1)});
}

/// Rows of a cache before new ones, both [B, N, rows, D].
Value Expander::append(Value past, Value fresh) {
  SmallVector<int64_t> shape(typeOf(fresh).getShape());
  bool known = !typeOf(past).isDynamicDim(2) && !typeOf(fresh).isDynamicDim(2);
  shape[2] =
      known ? typeOf(past).getDimSize(2) + shape[2] : ShapedType::kDynamic;
  return make("Concat", typeOf(fresh).clone(shape), {past, fresh},
              intAttr(rewriter, "axis", 2));
}

/// Sum of two tensors of one rank, broadcast to each other.
Value Expander::add(Value a, Value b) {
  SmallVector<int64_t> shape;
  for (auto [x, y] :
       llvm::zip_equal(typeOf(a).getShape(), typeOf(b).getShape()))
    shape.push_back(x == 1 || (y != 1 && ShapedType::isDynamic(x)) ? y : x);
  return make("Add", typeOf(a).clone(shape), {a, b});
}

/// Rows plus the entries of the vector from `begin` on; without one, the rows.
Value Expander::biased(Value rows, Value bias, int64_t begin) {
  if (!bias)
    return rows;
  int64_t width = typeOf(rows).getShape().back();
  Value part = bias;
  if (bias.getDefiningOp<WeightOp>() && typeOf(bias).getDimSize(0) != width) {
    SmallVector<int32_t> indices;
    for (int64_t i = 0; i < width; ++i)
      indices.push_back(static_cast<int32_t>(begin + i));
    part = GatherRowsOp::create(
        rewriter, node.getLoc(), bias,
        constant(DenseElementsAttr::get(
            RankedTensorType::get({width}, rewriter.getI32Type()),
            ArrayRef(indices))));
  } else if (typeOf(bias).getDimSize(0) != width) {
    part = columns(bias, begin, width);
  }
  return make("Add", rows.getType(), {rows, part});
}

void Expander::replace(unsigned result, Value value) {
  if (result >= node.getNumResults())
    return;
  // The name that the file knows the value by.
  StringRef name = node.getProperties().names.output(result);
  if (auto made = value.getDefiningOp<NodeOp>(); made && !name.empty()) {
    onnx::NameHints &names = made.getProperties().names;
    names.outputs.assign(1, name.str());
  }
  known[value] = getShape(node.getResult(result));
  rewriter.replaceAllUsesWith(node.getResult(result), value);
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

/// Whether a mask (null is one) is of a form that hides keys by length, by key
/// or by query and key. `rows` has the batch, `keys` the key as [B, N, T, D].
bool Expander::isMaskKnown(Value mask, Value rows, RankedTensorType keys) {
  if (!mask)
    return true;
  auto type = llvm::dyn_cast<RankedTensorType>(mask.getType());
  if (!type || !llvm::isa<IntegerType>(type.getElementType()) ||
      type.getElementType().isInteger(1))
    return false;
  if (type.getRank() == 1) {
    // One length for each entry of the batch; other forms have other counts.
    SymValue lengths = getShape(mask), batch = getShape(rows);
    return lengths.dims && batch.dims && lengths.dims->size() == 1 &&
           !batch.dims->empty() && (*lengths.dims)[0] == (*batch.dims)[0];
  }
  // One column for several keys says the same of each. ONNX Runtime takes that
  // as no mask, which rounds in another way than to hide all.
  if (type.getRank() == 2)
    return type.getDimSize(1) != 1 || keys.getDimSize(2) == 1;
  return type.getRank() == 3;
}

/// What the mask adds to scores, broadcasting to [B, N, S, T].
Value Expander::paddingMask(Value mask, Value key, Type element) {
  Type boolean = rewriter.getI1Type();
  auto number = [&](double value) {
    return constant(
        DenseElementsAttr::get(RankedTensorType::get({}, element),
                               rewriter.getFloatAttr(element, value)));
  };
  Value shown;
  if (typeOf(mask).getRank() == 1) {
    Value positions = arange(key, 2);
    Value lengths = unsqueeze(cast(mask, rewriter.getI64Type()), 1);
    auto type = RankedTensorType::get(
        {typeOf(mask).getDimSize(0), typeOf(positions).getDimSize(0)}, boolean);
    shown = make("Less", type, {positions, lengths});
  } else {
    Type integer = typeOf(mask).getElementType();
    Value zero = constant(DenseElementsAttr::get(
        RankedTensorType::get({}, integer), rewriter.getZeroAttr(integer)));
    shown = make("Greater", typeOf(mask).clone(boolean), {mask, zero});
  }
  Value added = make("Where", typeOf(shown).clone(element),
                     {shown, number(0),
                      number(node.getFloat("mask_filter_value", -10000.0f))});
  added = unsqueeze(added, 1);
  return typeOf(added).getRank() == 4 ? added : unsqueeze(added, 1);
}

void Expander::finishAttention(Heads heads, Value mask, Value bias) {
  RankedTensorType query = typeOf(heads.query);
  Type element = query.getElementType();
  Value added = mask ? paddingMask(mask, heads.key, element) : Value();
  if (bias)
    added = added ? add(added, bias) : bias;
  double scale = node.getFloat("scale", 0.0f);
  if (scale == 0)
    scale = 1.0 / std::sqrt(static_cast<double>(query.getDimSize(3)));
  SmallVector<int64_t> shape(query.getShape());
  shape[3] = typeOf(heads.value).getDimSize(3);
  Value result = AttentionOp::create(rewriter, locationOf(node),
                                     query.clone(shape), heads.query, heads.key,
                                     heads.value, added, llvm::APFloat(scale),
                                     node.getInt("unidirectional", 0) != 0);
  replace(0, mergeHeads(result));
}

/// Whether the bias of scores (null is one) can be added to a mask.
static bool isScoreBias(Value bias, Type element) {
  if (!bias)
    return true;
  RankedTensorType type = floatTensor(bias);
  return type && type.getRank() == 4 && type.getElementType() == element;
}

bool Expander::expandAttention() {
  Value rows = floats(0, 3), weight = floats(1, 2), bias = node.getInput(2),
        mask = node.getInput(3), past = node.getInput(4),
        scoreBias = node.getInput(5);
  int64_t heads = node.getInt("num_heads", 0);
  if (!rows || !weight || heads < 1 || node.getInput(6) ||
      node.getInt("do_rotary", 0) != 0 ||
      node.getInt("past_present_share_buffer", 0) != 0)
    return false;
  RankedTensorType type = typeOf(rows), matrix = typeOf(weight);
  Type element = type.getElementType();
  int64_t width = matrix.getDimSize(1);
  if (!matrix.hasStaticShape() || matrix.getElementType() != element ||
      (type.getDimSize(2) != matrix.getDimSize(0) && !type.isDynamicDim(2)))
    return false;
  SmallVector<int64_t> sizes(3, width / 3);
  if (auto given = node.getInts("qkv_hidden_sizes"); given && !given->empty())
    sizes.assign(given->begin(), given->end());
  if (sizes.size() != 3 ||
      llvm::any_of(sizes,
                   [&](int64_t size) {
                     return size < 1 || size > width || size % heads;
                   }) ||
      sizes[0] + sizes[1] + sizes[2] != width || sizes[0] != sizes[1])
    return false;
  if (bias && (!floats(2, 1) || typeOf(bias).getDimSize(0) != width ||
               typeOf(bias).getElementType() != element))
    return false;
  int64_t batch = type.getDimSize(0), length = type.getDimSize(1),
          total = length;
  if (past) {
    if (!floats(4, 5) || typeOf(past).getElementType() != element ||
        sizes[1] != sizes[2])
      return false;
    total = ShapedType::kDynamic;
    if (!type.isDynamicDim(1) && !typeOf(past).isDynamicDim(3))
      total = length + typeOf(past).getDimSize(3);
  }
  auto keys =
      RankedTensorType::get({batch, heads, total, sizes[1] / heads}, element);
  auto present = RankedTensorType::get(
      {2, batch, heads, total, sizes[1] / heads}, element);
  if (!isMaskKnown(mask, rows, keys) || !isScoreBias(scoreBias, element) ||
      (isUsed(1) && sizes[1] != sizes[2]) ||
      !fits(0, type.clone({batch, length, sizes[2]})) || !fits(1, present))
    return false;

  Value projected =
      make("MatMul", type.clone({batch, length, width}), {rows, weight});
  projected = biased(projected, bias, 0);
  Heads parts;
  parts.query = splitHeads(columns(projected, 0, sizes[0]), heads);
  parts.key = splitHeads(columns(projected, sizes[0], sizes[1]), heads);
  parts.value =
      splitHeads(columns(projected, sizes[0] + sizes[1], sizes[2]), heads);
  if (past) {
    parts.key = append(pick(past, 0, 0), parts.key);
    parts.value = append(pick(past, 0, 1), parts.value);
  }
  if (isUsed(1))
    replace(1, make("Concat", present,
                    {unsqueeze(parts.key, 0), unsqueeze(parts.value, 0)},
                    intAttr(rewriter, "axis", 0)));
  finishAttention(parts, mask, scoreBias);
  return true;
}

bool Expander::expandMultiHead() {
  Value query = node.getInput(0), key = node.getInput(1),
        value = node.getInput(2), bias = node.getInput(3),
        mask = node.getInput(4), scoreBias = node.getInput(5),
        pastKey = node.getInput(6), pastValue = node.getInput(7);
  int64_t heads = node.getInt("num_heads", 0);
  RankedTensorType q = query ? floatTensor(query) : RankedTensorType(),
                   k = key ? floatTensor(key) : RankedTensorType(),
                   v = value ? floatTensor(value) : RankedTensorType();
  bool packed = !key && q && q.getRank() == 5;
  bool packedKeys = key && k && k.getRank() == 5 && !value;
  bool isRows = k && v && k.getRank() == 3 && v.getRank() == 3;
  bool isHeads = k && v && k.getRank() == 4 && v.getRank() == 4;
  if (!q || heads < 1 || isUsed(3) || node.getInput(8) || node.getInput(9) ||
      (!packed && q.getRank() != 3) ||
      (!packed && !packedKeys && !isRows && !isHeads) ||
      (bias && (packed || packedKeys)) || (pastKey && !isRows) ||
      static_cast<bool>(pastKey) != static_cast<bool>(pastValue))
    return false;
  Type element = q.getElementType();
  // Sizes of a head of query (and key) and of the value.
  int64_t size, valueSize;
  int64_t batch = q.getDimSize(0), length = q.getDimSize(1), keys = length;
  if (packed) {
    size = valueSize = q.getDimSize(4);
    if (q.getDimSize(2) != heads || q.getDimSize(3) != 3)
      return false;
  } else {
    if (q.isDynamicDim(2) || q.getDimSize(2) % heads)
      return false;
    size = q.getDimSize(2) / heads;
    int64_t last = k.getRank() - 1;
    if (packedKeys) {
      valueSize = k.getDimSize(4);
      keys = k.getDimSize(1);
      if (k.getDimSize(2) != heads || k.getDimSize(3) != 2 ||
          k.getDimSize(4) != size)
        return false;
    } else if (isHeads) {
      valueSize = v.getDimSize(last);
      keys = k.getDimSize(2);
      if (k.getDimSize(1) != heads || v.getDimSize(1) != heads ||
          k.getDimSize(last) != size)
        return false;
    } else {
      keys = k.getDimSize(1);
      if (v.isDynamicDim(2) || v.getDimSize(2) % heads ||
          k.getDimSize(2) != size * heads)
        return false;
      valueSize = v.getDimSize(2) / heads;
    }
    if (k.getElementType() != element || (v && v.getElementType() != element))
      return false;
  }
  if (size < 1 || valueSize < 1)
    return false;
  int64_t projected = heads * (2 * size + valueSize);
  if (bias && (!floats(3, 1) || typeOf(bias).getElementType() != element ||
               typeOf(bias).getDimSize(0) != projected))
    return false;
  int64_t total = keys;
  if (pastKey) {
    if (!floats(6, 4) || !floats(7, 4) ||
        typeOf(pastKey).getElementType() != element ||
        typeOf(pastValue).getElementType() != element)
      return false;
    int64_t past = typeOf(pastKey).getDimSize(2);
    total = ShapedType::isDynamic(past) || ShapedType::isDynamic(keys)
                ? ShapedType::kDynamic
                : past + keys;
  }
  auto presentKey = q.clone({batch, heads, total, size});
  auto presentValue = q.clone({batch, heads, total, valueSize});
  if (!isMaskKnown(mask, query, presentKey) ||
      !isScoreBias(scoreBias, element) ||
      !fits(0, q.clone({batch, length, heads * valueSize})) ||
      !fits(1, presentKey) || !fits(2, presentValue))
    return false;

  Heads parts;
  auto unpack = [&](Value all, int64_t index) {
    return transposed(pick(all, 3, index), {0, 2, 1, 3});
  };
  if (packed) {
    parts = {unpack(query, 0), unpack(query, 1), unpack(query, 2)};
  } else {
    parts.query = splitHeads(biased(query, bias, 0), heads);
    if (packedKeys) {
      parts.key = unpack(key, 0);
      parts.value = unpack(key, 1);
    } else if (isHeads) {
      parts.key = key;
      parts.value = value;
    } else {
      parts.key = splitHeads(biased(key, bias, heads * size), heads);
      parts.value = splitHeads(biased(value, bias, 2 * heads * size), heads);
    }
  }
  if (pastKey) {
    parts.key = append(pastKey, parts.key);
    parts.value = append(pastValue, parts.value);
  }
  replace(1, parts.key);
  replace(2, parts.value);
  finishAttention(parts, mask, scoreBias);
  return true;
}

//===----------------------------------------------------------------------===//
// Embeddings and products
//===----------------------------------------------------------------------===//

bool Expander::expandEmbedding() {
  Value ids = node.getInput(0), segmentIds = node.getInput(1),
        words = floats(2, 2), positions = floats(3, 2),
        segments = node.getInput(4), scale = floats(5, 1), bias = floats(6, 1),
        mask = node.getInput(7), positionIds = node.getInput(8);
  auto isMatrix = [](Value value) {
    auto type = value ? llvm::dyn_cast<RankedTensorType>(value.getType())
                      : RankedTensorType();
    return type && type.getRank() == 2 &&
           llvm::isa<IntegerType>(type.getElementType());
  };
  bool hasSegments = segmentIds && segments;
  if (!isMatrix(ids) || !words || !positions || !scale || !bias ||
      (hasSegments && (!isMatrix(segmentIds) || !floats(4, 2))) ||
      (positionIds && !isMatrix(positionIds)) || (mask && !isMatrix(mask)) ||
      (isUsed(1) && !mask))
    return false;
  RankedTensorType table = typeOf(words);
  Type element = table.getElementType();
  int64_t width = table.getDimSize(1);
  SmallVector<Value> tables{words, positions};
  if (hasSegments)
    tables.push_back(segments);
  if (ShapedType::isDynamic(width) || llvm::any_of(tables, [&](Value value) {
        return typeOf(value).getElementType() != element ||
               typeOf(value).getDimSize(1) != width;
      }))
    return false;
  for (Value vector : {scale, bias})
    if (typeOf(vector) != RankedTensorType::get({width}, element))
      return false;
  int64_t batch = typeOf(ids).getDimSize(0), length = typeOf(ids).getDimSize(1);
  auto type = table.clone({batch, length, width});
  auto counts = RankedTensorType::get({batch}, rewriter.getI32Type());
  if (!fits(0, type) || !fits(1, counts) || !fits(2, type))
    return false;

  auto look = [&](Value from, Value at) {
    SmallVector<int64_t> shape(typeOf(at).getShape());
    shape.push_back(width);
    return make("Gather", table.clone(shape), {from, at},
                intAttr(rewriter, "axis", 0));
  };
  Value rows = look(positions, positionIds ? positionIds : arange(ids, 1));
  Value sum = make("Add", type, {look(words, ids), rows});
  if (hasSegments)
    sum = make("Add", type, {sum, look(segments, segmentIds)});
  Value norm = NormOp::create(
      rewriter, locationOf(node), type, sum, scale, bias, NormKind::Layer,
      llvm::APFloat(static_cast<double>(node.getFloat("epsilon", 1e-12f))),
      /*outer_eps=*/false);
  if (isUsed(1)) {
    Type integer = typeOf(mask).getElementType();
    Value one =
        constant(DenseElementsAttr::get(RankedTensorType::get({}, integer),
                                        rewriter.getIntegerAttr(integer, 1)));
    Value shown =
        make("Equal", typeOf(mask).clone(rewriter.getI1Type()), {mask, one});
    shown = make("Cast", typeOf(mask).clone(rewriter.getI32Type()), shown,
                 intAttr(rewriter, "to", 6));
    NamedAttribute drop = intAttr(rewriter, "keepdims", 0);
    replace(1, opset < 13 ? make("ReduceSum", counts, shown,
                                 {drop, intsAttr(rewriter, "axes", 1)})
                          : make("ReduceSum", counts, {shown, ints(1)}, drop));
  }
  replace(2, sum);
  replace(0, norm);
  return true;
}

bool Expander::expandGemmFastGelu() {
  Value weight = floats(1, 2), bias = node.getInput(2);
  RankedTensorType type =
      node.getInput(0) ? floatTensor(node.getInput(0)) : RankedTensorType();
  if (!type || !weight || type.getRank() < 1 ||
      typeOf(weight).getElementType() != type.getElementType())
    return false;
  SmallVector<int64_t> shape(type.getShape());
  shape.back() = typeOf(weight).getDimSize(1);
  RankedTensorType result = type.clone(shape);
  if (!fits(0, result))
    return false;
  SmallVector<Value> inputs{make("MatMul", result, {node.getInput(0), weight})};
  if (bias)
    inputs.push_back(bias);
  replace(0, NodeOp::create(rewriter, node.getLoc(), "com.microsoft",
                            "FastGelu", 1, result, inputs)
                 .getResult(0));
  return true;
}

bool Expander::run() {
  rewriter.setInsertionPoint(node);
  using Expansion = bool (Expander::*)();
  auto expansion =
      llvm::StringSwitch<Expansion>(node.getOp())
          .Case("Attention", &Expander::expandAttention)
          .Case("MultiHeadAttention", &Expander::expandMultiHead)
          .Case("EmbedLayerNormalization", &Expander::expandEmbedding)
          .Case("GemmFastGelu", &Expander::expandGemmFastGelu)
          .Default(nullptr);
  return expansion && (this->*expansion)();
}

LogicalResult raise::expandFusedNodes(ModuleOp module) {
  int64_t opset = getDefaultOpset(module);
  SmallVector<NodeOp> nodes;
  module.walk([&](NodeOp node) {
    if (node.getDomain() == "com.microsoft" &&
        !node->getParentOfType<onnx::FunctionOp>())
      nodes.push_back(node);
  });
  if (nodes.empty() || opset < kOldestOpset)
    return success();
  FailureOr<SymbolicShapeAnalysis> shapes =
      SymbolicShapeAnalysis::run(module, /*refine=*/true);
  if (failed(shapes))
    return failure();
  SmallVector<std::pair<func::FuncOp, OwningOpRef<func::FuncOp>>> originals;
  for (auto function : module.getOps<func::FuncOp>())
    if (!function.isExternal())
      originals.emplace_back(function, function.clone());

  IRRewriter rewriter(module.getContext());
  llvm::DenseMap<Value, SymValue> known;
  bool changed = false;
  for (NodeOp node : nodes)
    if (Expander(rewriter, node, opset, *shapes, known).run()) {
      rewriter.eraseOp(node);
      changed = true;
    }
  if (!changed)
    return success();
  for (auto &[function, original] : originals)
    if (auto ret =
            llvm::dyn_cast<func::ReturnOp>(function.getBody().back().back()))
      function.setFunctionType(FunctionType::get(
          function.getContext(), function.getBody().getArgumentTypes(),
          llvm::to_vector(ret.getOperandTypes())));

  // Shapes that a file declares behind a fused node are seen to be wrong only
  // now. That is no reason to refuse a model that can be carried.
  std::string conflict;
  {
    ScopedDiagnosticHandler collect(
        module.getContext(), [&](Diagnostic &diagnostic) {
          if (diagnostic.getSeverity() != DiagnosticSeverity::Error)
            return failure();
          if (conflict.empty())
            conflict = diagnostic.str();
          return success();
        });
    if (succeeded(SymbolicShapeAnalysis::run(module, /*refine=*/true)))
      return success();
  }
  for (auto &[function, original] : originals) {
    function.getBody().takeBody(original->getBody());
    function.setFunctionType(original->getFunctionType());
  }
  module.emitWarning() << "fused nodes are kept as they are: " << conflict;
  return success();
}
