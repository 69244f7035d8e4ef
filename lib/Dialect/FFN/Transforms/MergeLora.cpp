//===- MergeLora.cpp - Low-rank adapters become part of their weight ------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "RaiseDetail.h"
#include "WeightForms.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Support/CandidateLog.h"

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNMERGELORA
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

namespace {
/// `add = base(x) + factor * b(a(x))`.
struct Adapter {
  LinearOp base, a, b;
  /// Values between them and the sum, which go with them.
  SmallVector<Value> inner;
  double factor = 1;
};

struct MergeLora : mlir::ffn::impl::FFNMergeLoraBase<MergeLora> {
  using FFNMergeLoraBase::FFNMergeLoraBase;

  void runOnOperation() override {
    SmallVector<onnx::NodeOp> sums;
    log.clear();
    getOperation().walk([&](onnx::NodeOp node) {
      if (node.is("Add") && node.getInput(0) && node.getInput(1))
        sums.push_back(node);
    });
    for (onnx::NodeOp sum : sums)
      for (unsigned i : {0u, 1u})
        if (auto adapter = match(sum.getInput(i), sum.getInput(1 - i))) {
          log.add(sum, sum, "adapter of " + keyOf(*adapter));
          std::string why = findObstacle(*adapter);
          if (why.empty())
            merge(sum, *adapter);
          else
            log.kept(sum, sum)
                << "adapter of " << keyOf(*adapter) << " not merged: " << why;
          break;
        }
    log.finish();
  }

private:
  CandidateLog log{"ffn-merge-lora", NumericalClass::Exact};

  static std::string keyOf(const Adapter &adapter) {
    StringRef key = getWeightKey(LinearOp(adapter.base).getWeight());
    return key.empty() ? "a weight" : "weight '" + key.str() + "'";
  }

  /// Takes constant factors off a value.
  static Value stripFactors(Value value, Adapter &adapter) {
    for (unsigned depth = 0; depth < 4; ++depth) {
      auto node = value.getDefiningOp<onnx::NodeOp>();
      if (!node || (!node.is("Mul") && !node.is("Div")) || !node.getInput(0) ||
          !node.getInput(1))
        return value;
      unsigned operand = 0;
      std::optional<double> factor = raise::getScalarConstant(node.getInput(1));
      if (!factor && node.is("Mul")) {
        operand = 1;
        factor = raise::getScalarConstant(node.getInput(0));
      }
      // A constant of a higher rank would add dimensions.
      if (!factor ||
          node.getResult(0).getType() != node.getInput(operand).getType())
        return value;
      adapter.factor =
          node.is("Div") ? adapter.factor / *factor : adapter.factor * *factor;
      adapter.inner.push_back(value);
      value = node.getInput(operand);
    }
    return value;
  }

  static std::optional<Adapter> match(Value base, Value delta) {
    Adapter adapter;
    adapter.base = base.getDefiningOp<LinearOp>();
    if (!adapter.base || base == delta)
      return std::nullopt;
    Value value = stripFactors(delta, adapter);
    adapter.b = value.getDefiningOp<LinearOp>();
    if (!adapter.b)
      return std::nullopt;
    adapter.inner.push_back(value);
    value = stripFactors(adapter.b.getInput(), adapter);
    adapter.a = value.getDefiningOp<LinearOp>();
    if (!adapter.a || adapter.a.getInput() != adapter.base.getInput())
      return std::nullopt;
    adapter.inner.push_back(value);
    return adapter;
  }

  std::string findObstacle(Adapter &adapter) {
    Type element = getElementTypeOrSelf(adapter.base.getWeight());
    for (LinearOp linear : {adapter.base, adapter.a, adapter.b}) {
      for (Value weight : linear.getWeightOperands()) {
        if (!isWeightExpression(weight))
          return "a weight is not constant";
        if (!llvm::isa<FloatType>(element))
          return "its elements are no floats";
        if (getElementTypeOrSelf(weight) != element)
          return "its weights differ in type";
      }
      if (linear.getWeight().getDefiningOp<DequantizeOp>())
        return "a weight is quantized; run ffn-quantize afterwards";
    }
    if (adapter.base.getResult().getType() != adapter.b.getResult().getType())
      return "their results differ in type";
    for (Value value : adapter.inner)
      if (!value.hasOneUse())
        return "a value inside of it is read elsewhere";
    if (!adapter.base.getResult().hasOneUse())
      return "the result without it is read elsewhere";
    if (adapter.b.getBias() && adapter.factor != 1)
      return "it scales a bias";
    if (Operation *reader =
            findOtherReader(adapter.base.getWeight(),
                            [&](Operation *op) { return op == adapter.base; }))
      return "the weight is also read by " +
             reader->getName().getStringRef().str();
    if (!widen && getStoredType(adapter.base.getWeight()) != element) {
      std::string stored, wide;
      llvm::raw_string_ostream(stored)
          << getStoredType(adapter.base.getWeight());
      llvm::raw_string_ostream(wide) << element;
      return "the sum would not be in " + stored +
             ", the type of that weight; with widen=true it is kept in " + wide;
    }
    return {};
  }

  void merge(onnx::NodeOp sum, Adapter &adapter) {
    IRRewriter rewriter(&getContext());
    LinearOp base = adapter.base;
    SmallVector<Value> weights;
    for (LinearOp linear : {adapter.base, adapter.a, adapter.b})
      llvm::append_range(weights, linear.getWeightOperands());
    rewriter.setInsertionPoint(getExpressionAnchor(sum, weights));
    Location loc = base.getLoc();
    Value b = adapter.b.getWeight(), a = adapter.a.getWeight();
    if (adapter.factor != 1) {
      auto type = llvm::cast<RankedTensorType>(b.getType());
      auto vector =
          RankedTensorType::get({type.getDimSize(0)}, type.getElementType());
      Value scale = createSplat(rewriter, loc, vector, adapter.factor);
      b = ScaleRowsOp::create(rewriter, loc, type, b, scale);
    }
    Value weight = ffn::AddOp::create(rewriter, loc, base.getWeight(),
                                      LowRankOp::create(rewriter, loc, b, a));
    Value bias = base.getBias();
    if (Value more = adapter.b.getBias())
      bias = bias ? ffn::AddOp::create(rewriter, loc, bias, more).getResult()
                  : more;
    if (Value inner = adapter.a.getBias())
      bias = MatVecOp::create(rewriter, loc, b, inner, bias);
    rewriter.setInsertionPoint(sum);
    auto merged = LinearOp::create(rewriter, loc, base.getResult().getType(),
                                   base.getInput(), weight, bias);
    log.rewritten(sum, merged)
        << "adapter of rank "
        << llvm::cast<RankedTensorType>(a.getType()).getDimSize(0)
        << " merged into " << keyOf(adapter);
    rewriter.replaceOp(sum, merged.getResult());
    SmallVector<Operation *> dead{base};
    for (Value value : adapter.inner)
      dead.push_back(value.getDefiningOp());
    eraseDead(rewriter, dead);
  }
};
} // namespace
