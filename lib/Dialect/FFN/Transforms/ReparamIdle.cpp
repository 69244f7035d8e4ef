//===- ReparamIdle.cpp - Channels without activation become a linear ------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "RaiseDetail.h"
#include "WeightForms.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/NeuronView.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Support/CandidateLog.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;
using onnx::NodeOp;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNREPARAMIDLE
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

namespace {
/// A BatchNormalization of the last dimension: `alpha * x + kappa`.
struct Affine {
  SmallVector<double> alpha, kappa;
  Value input;
  SmallVector<Operation *> ops;
};

/// Two linears around an activation that only some channels pass.
struct Match {
  LinearOp up, down;
  Activation activation = Activation::Identity;
  /// Channels of up in the order of the columns of down.
  SmallVector<int64_t> channels;
  /// By column of down.
  SmallVector<bool> active;
  std::optional<Affine> before, after;
  /// What goes with the pattern.
  llvm::SmallSetVector<Operation *, 16> ops;
};

int64_t lastDim(Value value) {
  auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() > 0 ? type.getShape().back()
                                    : ShapedType::kDynamic;
}

struct ReparamIdle : mlir::ffn::impl::FFNReparamIdleBase<ReparamIdle> {
  using FFNReparamIdleBase::FFNReparamIdleBase;

  void runOnOperation() override {
    SmallVector<LinearOp> linears;
    getOperation().walk([&](LinearOp op) { linears.push_back(op); });
    log.clear();
    for (LinearOp down : linears) {
      Match found;
      std::string why;
      if (match(down, found, why))
        why = findObstacle(found);
      else if (why.empty())
        continue;
      log.add(down, down);
      if (why.empty())
        fold(found);
      else
        log.kept(down, down) << "idle channels not folded: " << why;
    }
    log.finish();
  }

private:
  CandidateLog log{"ffn-reparam-idle", NumericalClass::Exact};

  //===--- Matching -------------------------------------------------------===//

  static std::optional<SmallVector<double>> readConstant(Value value,
                                                         int64_t size) {
    auto type = value ? llvm::dyn_cast<RankedTensorType>(value.getType())
                      : RankedTensorType();
    if (!type || !type.hasStaticShape() || type.getNumElements() != size ||
        !isWeightExpression(value))
      return std::nullopt;
    FailureOr<SmallVector<double>> values = readVector(value);
    if (failed(values))
      return std::nullopt;
    return std::move(*values);
  }

  /// `value` itself where nothing of the kind stands before it. A batch norm
  /// works on dimension 1: the last one of rows, or between two transpositions.
  static std::optional<Affine> matchAffine(Value value, std::string &why) {
    Affine affine;
    auto swap = [&](Value turned) -> Value {
      auto node = raise::definedBy(turned, "Transpose");
      auto perm = node ? node.getInts("perm") : std::nullopt;
      if (!perm || *perm != ArrayRef<int64_t>{0, 2, 1})
        return {};
      affine.ops.push_back(node);
      return node.getInput(0);
    };
    auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
    bool turned = type && type.getRank() == 3;
    Value result = turned ? swap(value) : value;
    auto norm =
        result ? raise::definedBy(result, "BatchNormalization") : NodeOp();
    if (!norm || !norm.getInput(0))
      return std::nullopt;
    int64_t width = lastDim(value);
    if (!type || (type.getRank() != 2 && !turned) ||
        norm.getInt("training_mode", 0) != 0) {
      why = "the batch norm beside it is not one of constant statistics over "
            "the last dimension";
      return std::nullopt;
    }
    std::optional<SmallVector<double>> parameters[4];
    for (unsigned i = 0; i < 4; ++i) {
      parameters[i] = readConstant(norm.getInput(i + 1), width);
      if (!parameters[i]) {
        why = "a parameter of the batch norm beside it is not constant";
        return std::nullopt;
      }
    }
    affine.ops.push_back(norm);
    affine.input = turned ? swap(norm.getInput(0)) : norm.getInput(0);
    if (!affine.input) {
      why = "the batch norm beside it is not between two transpositions";
      return std::nullopt;
    }
    double epsilon = norm.getFloat("epsilon", 1e-5f);
    for (int64_t i = 0; i < width; ++i) {
      double alpha =
          (*parameters[0])[i] / std::sqrt((*parameters[3])[i] + epsilon);
      affine.alpha.push_back(alpha);
      affine.kappa.push_back((*parameters[1])[i] - (*parameters[2])[i] * alpha);
    }
    return affine;
  }

  /// Where(mask, a(z), z), either way round.
  static bool matchWhere(NodeOp where, Match &found, std::string &why) {
    for (bool onTrue : {true, false}) {
      Value passed = where.getInput(onTrue ? 1 : 2),
            idle = where.getInput(onTrue ? 2 : 1);
      std::string ignored;
      auto activation =
          passed ? raise::matchActivation(passed, ignored) : std::nullopt;
      if (!activation || activation->input != idle)
        continue;
      found.up = idle.getDefiningOp<LinearOp>();
      if (!found.up) {
        why = "no linear stands before the mask";
        return false;
      }
      int64_t width = lastDim(idle);
      auto mask = readConstant(where.getInput(0), width);
      auto type = llvm::cast<RankedTensorType>(where.getInput(0).getType());
      if (!mask || type.getShape().back() != width) {
        why = "the mask is not constant, or not one of channels";
        return false;
      }
      for (int64_t i = 0; i < width; ++i) {
        found.channels.push_back(i);
        found.active.push_back(((*mask)[i] != 0) == onTrue);
      }
      found.activation = activation->kind;
      found.ops.insert(where);
      found.ops.insert_range(activation->ops);
      return true;
    }
    return false;
  }

  /// Concat of parts of a Split, of which some pass the activation.
  static bool matchConcat(NodeOp concat, Match &found, std::string &why) {
    auto type = llvm::dyn_cast<RankedTensorType>(concat.getResult(0).getType());
    int64_t axis = concat.getInt("axis", 0);
    if (!type || (axis != -1 && axis != type.getRank() - 1))
      return false;
    NodeOp split;
    bool some = false;
    found.ops.insert(concat);
    for (Value part : concat.getInputs()) {
      std::string ignored;
      auto activation = raise::matchActivation(part, ignored);
      if (activation) {
        if (some && activation->kind != found.activation) {
          why = "parts have different activations";
          return false;
        }
        found.activation = activation->kind;
        some = true;
        found.ops.insert_range(activation->ops);
        part = activation->input;
      }
      NodeOp source = raise::definedBy(part, "Split");
      if (!source || (split && source != split))
        return false;
      split = source;
      int64_t begin = 0;
      for (Value result : split.getResults()) {
        if (ShapedType::isDynamic(lastDim(result)))
          return false;
        if (result == part)
          break;
        begin += lastDim(result);
      }
      for (int64_t i = 0; i < lastDim(part); ++i) {
        found.channels.push_back(begin + i);
        found.active.push_back(activation.has_value());
      }
    }
    if (!some || !split || !split.getInput(0))
      return false;
    int64_t along = split.getInt("axis", 0);
    found.up = split.getInput(0).getDefiningOp<LinearOp>();
    if (!found.up || (along != -1 && along != type.getRank() - 1)) {
      why = "no linear stands before the split of channels";
      return false;
    }
    found.ops.insert(split);
    return true;
  }

  bool match(LinearOp down, Match &found, std::string &why) {
    found.down = down;
    Value hidden = down.getInput();
    std::string batch;
    found.after = matchAffine(hidden, batch);
    if (found.after)
      hidden = found.after->input;
    auto node = hidden.getDefiningOp<NodeOp>();
    bool matched =
        node && ((node.is("Where") && matchWhere(node, found, why)) ||
                 (node.is("Concat") && matchConcat(node, found, why)));
    if (!matched)
      return false;
    if (found.after)
      found.ops.insert(found.after->ops.begin(), found.after->ops.end());
    std::string ignored;
    found.before = matchAffine(found.up.getInput(), ignored);
    if (found.before && llvm::any_of(found.before->ops, [](Operation *op) {
          return !op->hasOneUse();
        }))
      // Others read the normalised value; it may stay.
      found.before.reset();
    if (found.before)
      found.ops.insert(found.before->ops.begin(), found.before->ops.end());
    found.ops.insert(found.up);
    return true;
  }

  std::string findObstacle(Match &found) {
    Type element = getElementTypeOrSelf(found.down.getWeight());
    for (LinearOp linear : {found.up, found.down})
      for (Value weight : linear.getWeightOperands()) {
        if (!isWeightExpression(weight))
          return "a weight is not constant";
        if (!llvm::isa<FloatType>(element) ||
            getElementTypeOrSelf(weight) != element)
          return "its weights differ in type";
      }
    for (Operation *op : found.ops)
      for (Operation *user : op->getUsers())
        if (user != found.down && !found.ops.contains(user))
          return "a hidden value is also read by " +
                 (llvm::isa<NodeOp>(user)
                      ? llvm::cast<NodeOp>(user).describe()
                      : user->getName().getStringRef().str());
    int64_t idle = llvm::count(found.active, false);
    if (idle == 0)
      return "every channel passes the activation";
    auto bits = [](Value weight) {
      return int64_t(getStoredType(weight).getIntOrFloatBitWidth());
    };
    int64_t d = lastDim(found.up.getInput()),
            out = lastDim(found.down.getResult());
    Value up = found.up.getWeight(), down = found.down.getWeight();
    if (idle * (d * bits(up) + out * bits(down)) <=
        d * out * element.getIntOrFloatBitWidth())
      return std::to_string(idle) +
             " channels are smaller than the linear of " + std::to_string(out) +
             "x" + std::to_string(d) + " that they would become";
    for (bool wanted : {true, false})
      if (std::string why = findGatherColsObstacle(
              down, collect(found, wanted, /*columns=*/true));
          !why.empty())
        return why;
    return {};
  }

  //===--- Rewriting ------------------------------------------------------===//

  /// Columns of down, or the channels of up that feed them.
  static SmallVector<int64_t> collect(const Match &found, bool active,
                                      bool columns) {
    SmallVector<int64_t> list;
    for (auto [i, channel] : llvm::enumerate(found.channels))
      if (found.active[i] == active)
        list.push_back(columns ? static_cast<int64_t>(i) : channel);
    return list;
  }

  /// The linear behind an affine map: W (a x + k) + c.
  static void absorb(OpBuilder &builder, const Affine &affine, Value &weight,
                     Value &bias) {
    Location loc = weight.getLoc();
    auto element = llvm::cast<FloatType>(getElementTypeOrSelf(weight));
    bias = MatVecOp::create(builder, loc, weight,
                            createVector(builder, loc, element, affine.kappa),
                            bias);
    weight =
        ScaleColsOp::create(builder, loc, weight.getType(), weight,
                            createVector(builder, loc, element, affine.alpha));
  }

  void fold(Match &found) {
    IRRewriter rewriter(&getContext());
    LinearOp up = found.up, down = found.down;
    SmallVector<Value> weights = up.getWeightOperands();
    llvm::append_range(weights, down.getWeightOperands());
    rewriter.setInsertionPoint(getExpressionAnchor(down, weights));
    Location loc = down.getLoc();
    Value upWeight = up.getWeight(), upBias = up.getBias(),
          downWeight = down.getWeight(), downBias = down.getBias(),
          input = up.getInput();
    if (found.before) {
      absorb(rewriter, *found.before, upWeight, upBias);
      input = found.before->input;
    }
    if (found.after)
      absorb(rewriter, *found.after, downWeight, downBias);
    auto part = [&](bool active) {
      SmallVector<int64_t> rows = collect(found, active, /*columns=*/false),
                           columns = collect(found, active, /*columns=*/true);
      NeuronView view;
      view.up = createGatherRows(rewriter, upWeight, rows);
      if (upBias)
        view.upBias = createGatherRows(rewriter, upBias, rows);
      view.down = createGatherCols(rewriter, downWeight, columns);
      return view;
    };
    NeuronView idle = part(false), active;
    int64_t width = idle.getNumNeurons(), left = found.active.size() - width;
    if (left > 0)
      active = part(true);
    Value straight = LowRankOp::create(rewriter, loc, idle.down, idle.up);
    Value bias = left > 0 ? Value() : downBias;
    if (idle.upBias)
      bias = MatVecOp::create(rewriter, loc, idle.down, idle.upBias, bias);
    rewriter.setInsertionPoint(down);
    Type type = down.getResult().getType();
    Value result = LinearOp::create(rewriter, loc, type, input, straight, bias);
    if (left > 0) {
      Value network = createNetwork(rewriter, loc, type, input, active,
                                    downBias, found.activation);
      int64_t version = getSinceVersion("Add", getDefaultOpset(getOperation()));
      result =
          NodeOp::create(rewriter, loc, "", "Add", version, type,
                         ValueRange{network, result}, {}, 0, onnx::NameHints())
              .getResult(0);
    }
    log.rewritten(down, down)
        << "folded " << width << " idle channels of " << found.active.size()
        << " into a linear of " << lastDim(down.getResult()) << "x"
        << lastDim(input);
    rewriter.replaceOp(down, result);
    eraseDead(rewriter, found.ops.getArrayRef());
  }
};
} // namespace
