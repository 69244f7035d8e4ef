//===- RaiseFeedForward.cpp - Two linears around an activation ------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "RaiseDetail.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::raise;
using onnx::NodeOp;

static constexpr llvm::StringLiteral networkName = "feed-forward network";

namespace {
/// Columns [begin, begin + size) of the result of a linear.
struct LinearPart {
  LinearOp linear;
  int64_t begin = 0, size = 0;
  Operation *selector = nullptr; // the Split or Slice; null for all columns

  bool isWhole() const { return !selector; }
};
} // namespace

static int64_t lastDim(Value value) {
  auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() > 0 ? type.getShape().back()
                                    : ShapedType::kDynamic;
}

/// Whether `axis` is the last one of `value`.
static bool isLastAxis(int64_t axis, Value value) {
  auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
  return axis == -1 || (type && axis == type.getRank() - 1);
}

static std::optional<LinearPart> matchPart(Value value) {
  if (auto linear = value.getDefiningOp<LinearOp>())
    return LinearPart{linear, 0, lastDim(value), nullptr};
  auto node = value.getDefiningOp<NodeOp>();
  auto linear = node && node.getInput(0)
                    ? node.getInput(0).getDefiningOp<LinearOp>()
                    : LinearOp();
  int64_t size = lastDim(value);
  if (!linear || ShapedType::isDynamic(size))
    return std::nullopt;
  int64_t whole = lastDim(linear.getResult());
  if (node.is("Split")) {
    if (!isLastAxis(node.getInt("axis", 0), linear.getResult()))
      return std::nullopt;
    int64_t begin = 0;
    for (Value result : node.getResults()) {
      if (result == value)
        break;
      if (ShapedType::isDynamic(lastDim(result)))
        return std::nullopt;
      begin += lastDim(result);
    }
    if (begin + size > whole)
      return std::nullopt;
    return LinearPart{linear, begin, size, node};
  }
  if (!node.is("Slice"))
    return std::nullopt;
  auto list = [&](unsigned input,
                  StringRef name) -> std::optional<SmallVector<int64_t>> {
    if (auto attr = node.getInts(name))
      return llvm::to_vector(*attr);
    return node.getInput(input) ? getIntConstants(node.getInput(input))
                                : std::nullopt;
  };
  auto starts = list(1, "starts"), ends = list(2, "ends"),
       axes = list(3, "axes");
  if (!starts || !ends || !axes || starts->size() != 1 || ends->size() != 1 ||
      axes->size() != 1 || !isLastAxis((*axes)[0], linear.getResult()))
    return std::nullopt;
  if (node.getInput(4)) {
    auto steps = getIntConstants(node.getInput(4));
    if (!steps || steps->size() != 1 || (*steps)[0] != 1)
      return std::nullopt;
  }
  auto clamp = [&](int64_t i) {
    return std::clamp<int64_t>(i < 0 ? i + whole : i, 0, whole);
  };
  int64_t begin = clamp((*starts)[0]);
  if (clamp((*ends)[0]) - begin != size)
    return std::nullopt;
  return LinearPart{linear, begin, size, node};
}

/// Where a weight comes from that is not constant: through nodes that only move
/// and convert elements.
static std::string explainWeight(Value weight) {
  while (auto node = weight.getDefiningOp<NodeOp>()) {
    if (!llvm::is_contained({"Transpose", "Cast", "Reshape", "Identity",
                             "Squeeze", "Unsqueeze"},
                            node.getOp()) ||
        !node.getInput(0))
      return describe(weight) + " computes it";
    weight = node.getInput(0);
  }
  return "it comes from " + describe(weight);
}

/// Why `value` is no linear, for a remark.
static std::string explainSource(Value value) {
  if (auto linear = value.getDefiningOp<LinearOp>())
    return describe(linear.getOperation());
  auto node = value.getDefiningOp<NodeOp>();
  if (!node)
    return "the activation reads " + describe(value) + ", not a linear";
  StringRef op = node.getOp();
  if (op == "MatMul" || op == "Gemm" || op == "FusedMatMul") {
    Value weight = node.getInput(1);
    if (weight && definedBy(weight, "DequantizeLinear"))
      return "the weight of " + describe(node.getOperation()) + " is quantised";
    if (weight && !isConstant(weight))
      return "the weight of " + describe(node.getOperation()) +
             " is not constant: " + explainWeight(weight);
    return describe(node.getOperation()) +
           " is not a product of rows with a matrix";
  }
  if (op == "Add")
    return "what " + describe(node.getOperation()) +
           " adds is not a constant vector of the hidden width";
  if (op == "Cast")
    return describe(node.getOperation()) +
           " changes the element type inside it";
  return "the activation reads " + describe(node.getOperation()) +
         ", not a linear";
}

bool Raiser::raiseFeedForward(LinearOp down, std::string &why) {
  Value hidden = down.getInput();
  OpSet pattern;
  pattern.insert(down);

  LinearPart up, gate;
  Activation activation = Activation::Identity;
  bool gated = false;
  if (auto match = matchActivation(hidden, why)) {
    auto part = matchPart(match->input);
    if (!part || !part->isWhole()) {
      why = explainSource(match->input);
      return false;
    }
    activation = match->kind;
    up = *part;
    pattern.insert_range(match->ops);
  } else {
    if (NodeOp cast = definedBy(hidden, "Cast"))
      why =
          describe(cast.getOperation()) + " changes the element type inside it";
    if (NodeOp reshape = definedBy(hidden, "Reshape"))
      why = describe(reshape.getOperation()) +
            " changes the shape of the hidden values";
    NodeOp mul = definedBy(hidden, "Mul");
    if (!mul || !mul.getInput(0) || !mul.getInput(1))
      return false;
    bool found = false;
    for (unsigned i : {0u, 1u}) {
      std::string gateWhy;
      auto match = matchActivation(mul.getInput(i), gateWhy);
      if (why.empty())
        why = gateWhy;
      auto gatePart = match ? matchPart(match->input) : std::nullopt;
      auto upPart = matchPart(mul.getInput(1 - i));
      if (!gatePart || !upPart) {
        if (match && !gatePart && why.empty())
          why = explainSource(match->input);
        else if (match && !upPart && why.empty())
          why = explainSource(mul.getInput(1 - i));
        continue;
      }
      activation = match->kind;
      gate = *gatePart;
      up = *upPart;
      pattern.insert(mul);
      pattern.insert_range(match->ops);
      found = true;
      break;
    }
    if (!found) {
      // A product of two linears has no activation.
      auto a = matchPart(mul.getInput(0)), b = matchPart(mul.getInput(1));
      if (!a || !b || mul.getInput(0) == mul.getInput(1))
        return false;
      gate = *a;
      up = *b;
      pattern.insert(mul);
    }
    gated = true;
    if (gate.linear.getInput() != up.linear.getInput()) {
      why = "gate and up read different values";
      return false;
    }
    if (gate.isWhole() != up.isWhole() || gate.size != up.size) {
      why = "gate and up differ in width";
      return false;
    }
    if (!gate.isWhole() &&
        (gate.linear != up.linear || gate.begin == up.begin)) {
      why = "gate and up are not two parts of one linear";
      return false;
    }
  }
  for (const LinearPart &part : {up, gate}) {
    if (!part.linear)
      continue;
    if (part.selector)
      pattern.insert(part.selector);
    pattern.insert(part.linear);
  }
  for (Operation *op : pattern)
    if (op->getBlock() != down->getBlock()) {
      why = describe(op) + " is in another graph";
      return false;
    }
  if (Operation *user = findOutsideUse(pattern)) {
    why = "a hidden value is also used by " + describe(user);
    return false;
  }

  auto weightOf = [&](const LinearPart &part, Value weight) {
    if (!weight || part.isWhole())
      return weight;
    return getGatherRows(weight, part.begin, part.size);
  };
  Value upWeight = weightOf(up, up.linear.getWeight()),
        upBias = weightOf(up, up.linear.getBias()), gateWeight, gateBias;
  if (gated) {
    gateWeight = weightOf(gate, gate.linear.getWeight());
    gateBias = weightOf(gate, gate.linear.getBias());
  }
  // The names of all its linears name the sublayer, and come back when it is
  // decomposed.
  SmallVector<Location> locations{up.linear.getLoc()};
  if (gated && gate.linear != up.linear)
    locations.push_back(gate.linear.getLoc());
  locations.push_back(down.getLoc());
  rewriter.setInsertionPoint(down);
  auto network = FeedForwardOp::create(
      rewriter, rewriter.getFusedLoc(locations), down.getResult().getType(),
      up.linear.getInput(), upWeight, gateWeight, down.getWeight(), upBias,
      gateBias, down.getBias(), activation);
  rewriter.replaceOp(down, network.getResult());
  // The pattern is closed, so its ops die from the last to the first.
  SmallVector<Operation *> rest(pattern.begin() + 1, pattern.end());
  for (bool progress = true; progress;) {
    progress = false;
    for (Operation *&op : rest)
      if (op && op->use_empty()) {
        rewriter.eraseOp(op);
        op = nullptr;
        progress = true;
      }
  }
  return true;
}

//===----------------------------------------------------------------------===//
// Near misses
//===----------------------------------------------------------------------===//

static bool isActivationName(StringRef op) {
  return llvm::StringSwitch<bool>(op)
      .Cases({"Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu"}, true)
      .Cases({"ThresholdedRelu", "HardSigmoid", "HardSwish", "Mish"}, true)
      .Cases({"Softplus", "Softsign", "Gelu", "Erf", "Tanh", "Sigmoid"}, true)
      .Cases({"Swish", "FastGelu", "QuickGelu", "BiasGelu", "Clip"}, true)
      .Default(false);
}

/// Nodes that a search for the linear behind an activation passes.
static bool isElementwiseName(StringRef op) {
  return isActivationName(op) ||
         llvm::StringSwitch<bool>(op)
             .Cases({"Add", "Sub", "Mul", "Div", "Pow", "Neg", "Exp"}, true)
             .Cases({"Cast", "Where", "Min", "Max", "Reshape", "Split"}, true)
             .Default(false);
}

/// The activation node between `value` and a product before it, if there is
/// one.
static NodeOp findActivation(Value value) {
  NodeOp activation;
  bool product = false;
  SmallVector<Value> worklist{value};
  llvm::SmallPtrSet<Operation *, 16> seen;
  while (!worklist.empty() && seen.size() < 24) {
    Operation *op = worklist.pop_back_val().getDefiningOp();
    if (!op || !seen.insert(op).second)
      continue;
    auto node = llvm::dyn_cast<NodeOp>(op);
    if (llvm::isa<LinearOp>(op) ||
        (node && (node.is("MatMul") || node.is("Gemm")))) {
      product = true;
      continue;
    }
    if (!node || !isElementwiseName(node.getOp()))
      continue;
    if (!activation && isActivationName(node.getOp()))
      activation = node;
    for (Value input : node.getInputs())
      worklist.push_back(input);
  }
  return product ? activation : NodeOp();
}

void Raiser::explainMissedFeedForward(Operation *down, Value hidden,
                                      std::string why) {
  NodeOp activation = findActivation(hidden);
  if (!activation)
    return;
  if (why.empty())
    why = describe(activation) +
          " is not an activation between two linears that is known";
  nearMiss(down, networkName, why);
}

void Raiser::raiseFeedForwards(Block &block) {
  SmallVector<LinearOp> linears(block.getOps<LinearOp>());
  listener.erased.clear();
  SmallVector<std::pair<LinearOp, std::string>> missed;
  for (LinearOp linear : linears) {
    if (listener.erased.contains(linear))
      continue;
    std::string why;
    if (!raiseFeedForward(linear, why))
      missed.push_back({linear, why});
  }
  if (!remarks)
    return;
  for (auto &[linear, why] : missed)
    if (!listener.erased.contains(linear))
      explainMissedFeedForward(linear, linear.getInput(), why);
  // A second product whose weight is no constant, or not a matrix.
  forEachNode(block, [&](NodeOp node) {
    if ((!node.is("MatMul") && !node.is("Gemm")) || !node.getInput(0) ||
        !node.getInput(1))
      return;
    std::string why = explainSource(node.getResult(0));
    explainMissedFeedForward(node, node.getInput(0), why);
  });
}
