//===- RaiseAttention.cpp - Scaled dot-product attention ------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "RaiseDetail.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::raise;
using onnx::NodeOp;

static constexpr llvm::StringLiteral attentionName = "attention";

namespace {
/// Scores below this vanish next to any other under the softmax, in f32 and
/// f64 alike, so that adding them is the same as writing them.
constexpr double vanishing = -1e30;

/// `softmax(scale * q k^T + mask)` as found.
struct Scores {
  NodeOp product;
  double scale = 1;
  Value mask;   // added; null if none
  NodeOp where; // the Where that writes `fill`; then mask is null
  bool fillWhenTrue = false;
  OpSet ops;
};
} // namespace

static bool isProduct(NodeOp node) {
  return node && (node.is("MatMul") || node.is("com.microsoft", "FusedMatMul"));
}

static bool matchScores(Value value, bool maskAllowed, unsigned depth,
                        Scores &scores) {
  auto node = value ? value.getDefiningOp<NodeOp>() : NodeOp();
  if (!node || depth > 6)
    return false;
  if (isProduct(node)) {
    scores.product = node;
    scores.ops.insert(node);
    return true;
  }
  if (!node.getDomain().empty())
    return false;
  auto descend = [&](Value next, bool mask) {
    Scores attempt = scores;
    attempt.ops.insert(node);
    if (!matchScores(next, mask, depth + 1, attempt))
      return false;
    scores = attempt;
    return true;
  };
  if (node.is("Mul") || node.is("Div")) {
    for (unsigned i : {0u, 1u}) {
      auto factor = getScalarConstant(node.getInput(1 - i));
      if (!factor || *factor == 0 || (node.is("Div") && i == 1))
        continue;
      // A mask below this node would be scaled too.
      if (!descend(node.getInput(i), /*mask=*/false))
        return false;
      scores.scale *= node.is("Div") ? 1 / *factor : *factor;
      return true;
    }
    return false;
  }
  if (!maskAllowed)
    return false;
  if (node.is("Add")) {
    for (unsigned i : {0u, 1u})
      if (descend(node.getInput(i), /*mask=*/false)) {
        scores.mask = node.getInput(1 - i);
        return true;
      }
    return false;
  }
  if (node.is("Where"))
    for (unsigned i : {1u, 2u}) {
      auto fill = getScalarConstant(node.getInput(i));
      if (fill && *fill <= vanishing &&
          descend(node.getInput(3 - i), /*mask=*/false)) {
        scores.where = node;
        scores.fillWhenTrue = i == 1;
        return true;
      }
    }
  return false;
}

/// Strips multiplications by one constant; the factor goes to `scale`.
static Value stripScale(Value value, double &scale) {
  for (unsigned depth = 0; depth < 3; ++depth) {
    NodeOp mul = definedBy(value, "Mul"), div = definedBy(value, "Div");
    NodeOp node = mul ? mul : div;
    if (!node)
      return value;
    bool found = false;
    for (unsigned i : {0u, 1u}) {
      auto factor = getScalarConstant(node.getInput(1 - i));
      if (!factor || *factor == 0 || (div && i == 1) || !node.getInput(i) ||
          node.getInput(i).getType() != value.getType())
        continue;
      scale *= div ? 1 / *factor : *factor;
      value = node.getInput(i);
      found = true;
      break;
    }
    if (!found)
      return value;
  }
  return value;
}

Value Raiser::stripRepeatedHeads(Value value) {
  // [B, G, T, D] -> [B, G, 1, T, D] -> [B, G, n, T, D] -> [B, G * n, T, D]
  NodeOp reshape = definedBy(value, "Reshape");
  NodeOp expand = reshape ? definedBy(reshape.getInput(0), "Expand") : NodeOp();
  NodeOp unsqueeze =
      expand ? definedBy(expand.getInput(0), "Unsqueeze") : NodeOp();
  Value source = unsqueeze ? unsqueeze.getInput(0) : Value();
  RankedTensorType from = floatTensor(source), to = floatTensor(value),
                   wide = expand ? floatTensor(expand.getResult(0))
                                 : RankedTensorType();
  if (!from || !to || !wide || from.getRank() != 4 || to.getRank() != 4 ||
      wide.getRank() != 5)
    return {};
  std::optional<SmallVector<int64_t>> axes;
  if (auto attr = unsqueeze.getInts("axes"))
    axes = llvm::to_vector(*attr);
  else if (unsqueeze.getInput(1))
    axes = getIntConstants(unsqueeze.getInput(1));
  if (!axes || axes->size() != 1 || ((*axes)[0] != 2 && (*axes)[0] != -3))
    return {};
  int64_t groups = from.getDimSize(1), heads = to.getDimSize(1),
          repeat = wide.getDimSize(2);
  if (ShapedType::isDynamic(groups) || ShapedType::isDynamic(heads) ||
      ShapedType::isDynamic(repeat) || wide.getDimSize(1) != groups ||
      groups * repeat != heads || from.getDimSize(3) != to.getDimSize(3) ||
      ShapedType::isDynamic(to.getDimSize(3)))
    return {};
  // Batch and keys must not be widened by the Expand.
  if (!haveSameDim(source, 0, value, 0) || !haveSameDim(source, 2, value, 2))
    return {};
  return source;
}

NodeOp Raiser::createHeadsNode(Location loc, StringRef op, Type type,
                               Value value) {
  if (opset < 13)
    return createNode(loc, op, type, value, intsAttr(rewriter, "axes", {1}));
  Value axes = WeightOp::create(
      rewriter, loc,
      llvm::cast<TypedAttr>(llvm::cast<Attribute>(DenseElementsAttr::get(
          RankedTensorType::get({1}, rewriter.getI64Type()),
          ArrayRef<int64_t>{1}))));
  return createNode(loc, op, type, {value, axes});
}

Value Raiser::insertHeads(Location loc, Value value) {
  auto type = llvm::cast<RankedTensorType>(value.getType());
  SmallVector<int64_t> shape(type.getShape());
  shape.insert(shape.begin() + 1, 1);
  return createHeadsNode(loc, "Unsqueeze", type.clone(shape), value)
      .getResult(0);
}

bool Raiser::raiseAttentionCore(NodeOp matmul) {
  Value probabilities = matmul.getInput(0), value = matmul.getInput(1);
  OpSet pattern;
  pattern.insert(matmul);
  // Where(IsNaN(p), 0, p): a row that sees nothing is zero.
  if (NodeOp guard = definedBy(probabilities, "Where")) {
    NodeOp isNaN = definedBy(guard.getInput(0), "IsNaN");
    if (!isNaN || isNaN.getInput(0) != guard.getInput(2) ||
        getScalarConstant(guard.getInput(1)) != 0.0)
      return false;
    pattern.insert(guard);
    pattern.insert(isNaN);
    probabilities = guard.getInput(2);
  }
  NodeOp softmax = definedBy(probabilities, "Softmax");
  if (!softmax || !value)
    return false;
  pattern.insert(softmax);
  auto miss = [&](const Twine &why) {
    nearMiss(matmul, attentionName, why);
    return false;
  };
  RankedTensorType probabilityType = floatTensor(probabilities),
                   valueType = floatTensor(value),
                   result = floatTensor(matmul.getResult(0));
  if (!probabilityType || !valueType || !result)
    return miss("a type is not known");
  int64_t axis = softmax.getInt("axis", softmax.getVersion() < 13 ? 1 : -1);
  if (axis != -1 && axis != probabilityType.getRank() - 1)
    return miss("the softmax is not over the keys");

  Scores scores;
  if (!matchScores(softmax.getInput(0), /*maskAllowed=*/true, 0, scores))
    return miss("the softmax is not of q k^T, scaled and masked");
  NodeOp product = scores.product;
  RankedTensorType productType = floatTensor(product.getResult(0));
  // Without heads, or with heads folded into the batch, there are three dims.
  int64_t rank = probabilityType.getRank();
  if ((rank != 3 && rank != 4) || valueType.getRank() != rank ||
      result.getRank() != rank || !productType || productType.getRank() != rank)
    return miss("query, key and value are not of rank 3 or 4");
  if (productType != probabilityType)
    return miss("the mask changes the shape of the scores");
  if (scores.mask &&
      (!floatTensor(scores.mask) || floatTensor(scores.mask).getRank() > rank ||
       floatTensor(scores.mask).getElementType() !=
           productType.getElementType()))
    return miss("the type of the mask does not fit the scores");
  if (scores.where) {
    auto condition =
        llvm::dyn_cast<RankedTensorType>(scores.where.getInputs()[0].getType());
    RankedTensorType fill =
        floatTensor(scores.where.getInput(scores.fillWhenTrue ? 1 : 2));
    if (!condition || condition.getRank() > rank || !fill ||
        fill.getRank() > condition.getRank())
      return miss("the type of the mask does not fit the scores");
  }
  for (Operation *op : scores.ops)
    pattern.insert(op);
  for (Operation *op : pattern)
    if (op->getBlock() != matmul->getBlock())
      return miss(describe(op) + " is in another graph");
  if (Operation *user = findOutsideUse(pattern))
    return miss("its scores or probabilities are also used by " +
                describe(user));

  double scale = scores.scale;
  bool keyIsPlain = false;
  if (product.getDomain() == "com.microsoft") {
    if (product.getInt("transA", 0) || product.getInt("transBatchA", 0) ||
        product.getInt("transBatchB", 0))
      return miss("its product is transposed");
    keyIsPlain = product.getInt("transB", 0);
    scale *= product.getFloat("alpha", 1.0f);
  }
  Value query = stripScale(product.getInput(0), scale);
  Value key = stripScale(product.getInput(1), scale);
  RankedTensorType queryType = floatTensor(query), keyType = floatTensor(key);
  if (!queryType || queryType.getRank() != rank || !keyType ||
      keyType.getRank() != rank)
    return miss("query and key are not of one rank");
  int64_t heads = rank == 3 ? 1 : queryType.getDimSize(1);
  if (ShapedType::isDynamic(heads) || heads < 1)
    return miss("the number of heads is not static");

  // The key as [.., T, D]: through the transposition that made it [.., D, T].
  std::optional<SmallVector<int64_t>> newPerm;
  if (!keyIsPlain) {
    NodeOp transpose = definedBy(key, "Transpose");
    auto perm = transpose ? transpose.getInts("perm") : std::nullopt;
    SmallVector<int64_t> swapped = llvm::to_vector(llvm::seq<int64_t>(rank));
    std::swap(swapped[rank - 1], swapped[rank - 2]);
    if (perm && *perm == ArrayRef<int64_t>(swapped)) {
      key = transpose.getInput(0);
    } else if (perm && *perm == ArrayRef<int64_t>{0, 2, 3, 1}) {
      key = transpose.getInput(0);
      newPerm = SmallVector<int64_t>{0, 2, 1, 3};
    } else {
      newPerm = swapped;
    }
  }
  keyType = floatTensor(key);
  if (!keyType || keyType.getRank() != rank)
    return miss("query and key are not of one rank");
  SmallVector<int64_t> keyShape(keyType.getShape());
  if (newPerm)
    for (int64_t i = 0; i < rank; ++i)
      keyShape[i] = keyType.getDimSize((*newPerm)[i]);
  else if (Value groupedKey = stripRepeatedHeads(key))
    if (Value groupedValue = stripRepeatedHeads(value);
        groupedValue && floatTensor(groupedKey).getDimSize(1) ==
                            floatTensor(groupedValue).getDimSize(1)) {
      key = groupedKey;
      value = groupedValue;
      keyShape = llvm::to_vector(floatTensor(key).getShape());
      valueType = floatTensor(value);
    }
  int64_t groups = rank == 3 ? 1 : keyShape[1];
  if (ShapedType::isDynamic(groups) || groups < 1 || heads % groups != 0)
    return miss("the number of key heads is not static or does not divide the "
                "number of heads");
  int64_t size = queryType.getShape().back();
  if ((rank == 4 &&
       (valueType.getDimSize(1) != groups || result.getDimSize(1) != heads)) ||
      size != keyShape.back() || ShapedType::isDynamic(size) ||
      result.getShape().back() != valueType.getShape().back() ||
      queryType.getElementType() != valueType.getElementType() ||
      keyType.getElementType() != valueType.getElementType() ||
      result.getElementType() != valueType.getElementType())
    return miss("the shapes of query, key, value and result do not fit");
  // MatMul broadcasts batches, attention does not.
  if (!haveSameDim(query, 0, key, 0))
    return miss("the batches of query and key may differ");
  if (!haveSameDim(query, 0, value, 0))
    return miss("the batches of query and value may differ");

  rewriter.setInsertionPoint(matmul);
  Location loc = locationOf(matmul);
  if (newPerm)
    key = createNode(loc, "Transpose",
                     RankedTensorType::get(keyShape, keyType.getElementType()),
                     key, intsAttr(rewriter, "perm", *newPerm))
              .getResult(0);
  Value mask = scores.mask;
  if (NodeOp where = scores.where) {
    // The mask is a tensor of its own: zero where scores are kept.
    Value fill = where.getInput(scores.fillWhenTrue ? 1 : 2);
    Value zero = WeightOp::create(
        rewriter, loc,
        llvm::cast<TypedAttr>(llvm::cast<Attribute>(DenseElementsAttr::get(
            RankedTensorType::get({}, productType.getElementType()),
            rewriter.getFloatAttr(productType.getElementType(), 0.0)))));
    Value condition = where.getInput(0);
    mask = createNode(loc, "Where",
                      llvm::cast<RankedTensorType>(condition.getType())
                          .clone(productType.getElementType()),
                      scores.fillWhenTrue ? ValueRange{condition, fill, zero}
                                          : ValueRange{condition, zero, fill})
               .getResult(0);
  }
  if (rank == 3) {
    query = insertHeads(loc, query);
    key = insertHeads(loc, key);
    value = insertHeads(loc, value);
    if (mask && llvm::cast<RankedTensorType>(mask.getType()).getRank() == 3)
      mask = insertHeads(loc, mask);
    SmallVector<int64_t> shape(result.getShape());
    shape.insert(shape.begin() + 1, 1);
    auto attention = AttentionOp::create(
        rewriter, loc, result.clone(shape), query, key, value, mask,
        llvm::APFloat(scale), /*causal=*/false);
    replace(matmul,
            createHeadsNode(loc, "Squeeze", result, attention.getResult())
                .getResults());
    return true;
  }
  auto attention =
      AttentionOp::create(rewriter, loc, result, query, key, value, mask,
                          llvm::APFloat(scale), /*causal=*/false);
  replace(matmul, attention.getResult());
  return true;
}

void Raiser::raiseAttention(Block &block) {
  forEachNode(block, [&](NodeOp node) {
    if (node.is("MatMul"))
      raiseAttentionCore(node);
    else if (node.is("Attention"))
      raiseAttentionOp(node);
  });
}

void Raiser::raiseAttentionOp(NodeOp node) {
  Value query = node.getInput(0), key = node.getInput(1),
        value = node.getInput(2), mask = node.getInput(3);
  RankedTensorType q = floatTensor(query), k = floatTensor(key),
                   v = floatTensor(value),
                   result = floatTensor(node.getResult(0));
  auto miss = [&](const Twine &why) { nearMiss(node, attentionName, why); };
  if (!q || !k || !v || !result)
    return miss("a type is not known");
  for (unsigned i = 4; i < node.getInputs().size(); ++i)
    if (node.getInput(i))
      return miss("it has a cache or padding of its own");
  for (Value extra : llvm::drop_begin(node.getResults()))
    if (!extra.use_empty())
      return miss("its cache or scores are used");
  if (node.getFloat("softcap", 0.0f) != 0.0f)
    return miss("it caps the scores");
  if (node.getInt("left_window_size", -1) >= 0 ||
      node.getInt("right_window_size", -1) >= 0)
    return miss("it has a window");
  // Scores of f64 are kept in f64, all others in f32.
  int64_t precision = node.getInt("softmax_precision", 0);
  if (precision != 0 && precision != (q.getElementType().isF64() ? 11 : 1))
    return miss("its softmax has a precision of its own");
  if (q.getRank() != 4 || k.getRank() != 4 || v.getRank() != 4)
    return miss("query, key and value are not of rank 4");
  bool causal = node.getInt("is_causal", 0) != 0;
  // Its causal mask starts at the first key, ours ends at the last.
  if (causal && !haveSameDim(query, 2, key, 2))
    return miss("it is causal and may have more keys than queries");
  int64_t heads = q.getDimSize(1), groups = k.getDimSize(1),
          d = q.getDimSize(3);
  if (ShapedType::isDynamic(heads) || ShapedType::isDynamic(groups) ||
      groups < 1 || heads % groups || ShapedType::isDynamic(d) ||
      v.getDimSize(1) != groups || k.getDimSize(3) != d ||
      result.getDimSize(1) != heads ||
      result.getDimSize(3) != v.getDimSize(3) ||
      q.getElementType() != k.getElementType() ||
      q.getElementType() != v.getElementType() ||
      result.getElementType() != q.getElementType())
    return miss("the shapes of query, key, value and result do not fit");
  if (mask) {
    auto maskType = llvm::dyn_cast<RankedTensorType>(mask.getType());
    if (!maskType || maskType.getRank() > 4 ||
        (!maskType.getElementType().isInteger(1) &&
         maskType.getElementType() != q.getElementType()) ||
        (maskType.getRank() > 0 && !k.isDynamicDim(2) &&
         maskType.getShape().back() != 1 &&
         maskType.getShape().back() != k.getDimSize(2)))
      return miss("the type of the mask does not fit the scores");
  }
  double scale = 1.0 / std::sqrt(static_cast<double>(d));
  if (auto attr =
          llvm::dyn_cast_if_present<FloatAttr>(node.getNodeAttr("scale")))
    scale = attr.getValueAsDouble();
  rewriter.setInsertionPoint(node);
  Value attention =
      AttentionOp::create(rewriter, locationOf(node), result, query, key, value,
                          mask, llvm::APFloat(scale), causal);
  rewriter.replaceAllUsesWith(node.getResult(0), attention);
  eraseIfDead(node.getOperation());
}
