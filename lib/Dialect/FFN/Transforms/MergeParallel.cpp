//===- MergeParallel.cpp - Parallel networks become a wide one ------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "WeightForms.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/NeuronView.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Support/CandidateLog.h"
#include "mlir/IR/Dominance.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNMERGEPARALLEL
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

namespace {
/// A network that is an addend and nothing else.
struct Addend {
  unsigned index;
  FeedForwardOp network;
};

/// Why a network cannot join those of the group; empty if it can.
std::string findDifference(ArrayRef<Addend> group, FeedForwardOp b) {
  FeedForwardOp a = group.front().network;
  if (a.getActivation() != b.getActivation())
    return ("activations " + stringifyActivation(a.getActivation()) + " and " +
            stringifyActivation(b.getActivation()) + " differ")
        .str();
  if (a.getType() != b.getType())
    return "their results differ in type";
  for (FeedForwardOp network : {a, b})
    if (std::string why = findViewObstacle(network); !why.empty())
      return why;
  SmallVector<NeuronView> views;
  for (const Addend &addend : group)
    views.push_back(NeuronView::of(addend.network));
  views.push_back(NeuronView::of(b));
  if (std::string why = findConcatObstacle(views); !why.empty())
    return why;
  if (a.getDownBias() && b.getDownBias() &&
      a.getDownBias().getType() != b.getDownBias().getType())
    return "their biases differ in type";
  if (a.getInput() == b.getInput())
    return {};
  auto first = a.getInput().getDefiningOp<NormOp>(),
       second = b.getInput().getDefiningOp<NormOp>();
  if (!first || !second || first.getInput() != second.getInput())
    return "they read different values";
  if (first.getKind() != second.getKind() ||
      first.getEps() != second.getEps() ||
      first.getOuterEps() != second.getOuterEps())
    return "the norms before them differ in kind or eps";
  if (first.getScale() != second.getScale() ||
      first.getBias() != second.getBias())
    return "the norms before them have different parameters; ffn-fold-norm "
           "moves these into the weights";
  return {};
}

struct MergeParallel : mlir::ffn::impl::FFNMergeParallelBase<MergeParallel> {
  using FFNMergeParallelBase::FFNMergeParallelBase;

  void runOnOperation() override {
    log.clear();
    merged.clear();
    getOperation().walk([&](SublayerOp sublayer) { mergeNetworks(sublayer); });
    if (linears)
      mergeAllLinears();
    log.finish();
  }

private:
  int64_t opset = 0;
  CandidateLog log{"ffn-merge-parallel", NumericalClass::Exact};
  /// Networks that merging made.
  llvm::SmallPtrSet<Operation *, 8> merged;

  //===--------------------------------------------------------------------===//
  // Linears
  //===--------------------------------------------------------------------===//

  void mergeAllLinears() {
    opset = getDefaultOpset(getOperation());
    // Groups, in the order of their first linear.
    llvm::MapVector<std::pair<Block *, Value>, SmallVector<LinearOp>> groups;
    getOperation().walk([&](LinearOp linear) {
      groups[{linear->getBlock(), linear.getInput()}].push_back(linear);
    });
    for (auto &[key, group] : groups)
      if (group.size() > 1)
        mergeLinears(group);
  }

  /// Why the second linear cannot be rows of the first; empty if it can.
  std::string findObstacle(LinearOp first, LinearOp other) {
    for (LinearOp linear : {first, other}) {
      for (Value weight : linear.getWeightOperands())
        if (!isWeightExpression(weight))
          return "a weight is not constant";
      if (Operation *reader = findOtherReader(
              linear.getWeight(), [&](Operation *op) { return op == linear; }))
        return "a weight is also read by " +
               reader->getName().getStringRef().str();
    }
    if (getStoredType(first.getWeight()) != getStoredType(other.getWeight()))
      return "their weights differ in type";
    if (std::string why =
            findConcatRowsObstacle({first.getWeight(), other.getWeight()});
        !why.empty())
      return why;
    for (LinearOp linear : {first, other})
      if (linear.getBias() && getElementTypeOrSelf(linear.getBias()) !=
                                  getElementTypeOrSelf(first.getResult()))
        return "a bias differs in type from the results";
    if (!first.getResult().getType().hasRank())
      return "the rank of their results is not known";
    DominanceInfo &dominance = getAnalysis<DominanceInfo>();
    for (Value weight : other.getWeightOperands())
      if (!dominance.properlyDominates(weight, first))
        return "a weight is defined behind the first of them";
    return {};
  }

  /// Merges those that agree; one that agrees with none says what keeps it
  /// from joining the first, or the first what keeps the next from joining.
  void mergeLinears(SmallVector<LinearOp> linears) {
    llvm::SmallDenseMap<Operation *, std::string> obstacles;
    for (LinearOp linear : linears)
      log.add(linear, linear);
    while (!linears.empty()) {
      SmallVector<LinearOp> group{linears.front()}, rest;
      for (LinearOp linear : llvm::drop_begin(linears)) {
        std::string why = findObstacle(group.front(), linear);
        if (why.empty()) {
          group.push_back(linear);
          continue;
        }
        obstacles.try_emplace(group.front(), why);
        obstacles.try_emplace(linear, why);
        rest.push_back(linear);
      }
      if (group.size() > 1)
        mergeGroup(group);
      else
        log.kept(group.front(), group.front())
            << "linear not merged with another that reads the same value: "
            << obstacles.lookup(group.front());
      linears = std::move(rest);
    }
  }

  void mergeGroup(MutableArrayRef<LinearOp> group) {
    IRRewriter rewriter(&getContext());
    LinearOp first = group.front();
    Location loc = first.getLoc();
    auto type = llvm::cast<RankedTensorType>(first.getResult().getType());
    SmallVector<Value> weights, biases, all;
    SmallVector<Type> types;
    SmallVector<int64_t> widths;
    for (LinearOp linear : group) {
      weights.push_back(linear.getWeight());
      llvm::append_range(all, linear.getWeightOperands());
      types.push_back(linear.getResult().getType());
      widths.push_back(
          llvm::cast<ShapedType>(linear.getWeight().getType()).getDimSize(0));
    }
    rewriter.setInsertionPoint(getExpressionAnchor(first, all));
    Value weight = createConcatRows(rewriter, loc, weights), bias;
    if (llvm::any_of(group, [](LinearOp op) { return op.getBias(); })) {
      for (auto [linear, width] : llvm::zip(group, widths))
        biases.push_back(linear.getBias()
                             ? linear.getBias()
                             : createSplat(rewriter, linear.getLoc(),
                                           RankedTensorType::get(
                                               {width}, type.getElementType()),
                                           0));
      bias = createConcatRows(rewriter, loc, biases);
    }
    auto indexType = RankedTensorType::get(
        {static_cast<int64_t>(widths.size())}, rewriter.getI64Type());
    Value parts;
    SmallVector<NamedAttribute> attrs{
        intAttr(rewriter, "axis", type.getRank() - 1)};
    // From opset 13 on the sizes are an input.
    if (getSinceVersion("Split", opset) >= 13)
      parts = WeightOp::create(
          rewriter, loc, indexType,
          llvm::cast<TypedAttr>(llvm::cast<Attribute>(
              DenseElementsAttr::get(indexType, ArrayRef<int64_t>(widths)))));
    else
      attrs.push_back(intsAttr(rewriter, "split", widths));
    rewriter.setInsertionPoint(first);
    SmallVector<int64_t> shape(type.getShape());
    shape.back() = llvm::sum_of(widths);
    auto wide = LinearOp::create(
        rewriter, loc, RankedTensorType::get(shape, type.getElementType()),
        first.getInput(), weight, bias);
    SmallVector<Value> inputs{wide.getResult()};
    if (parts)
      inputs.push_back(parts);
    auto split = onnx::NodeOp::create(rewriter, loc, "", "Split",
                                      getSinceVersion("Split", opset), types,
                                      inputs, attrs, 0, onnx::NameHints());
    SmallVector<const void *> subjects;
    for (LinearOp linear : group)
      subjects.push_back(linear);
    log.rewritten(subjects, wide)
        << "merged " << group.size() << " linears into one of width "
        << shape.back();
    for (auto [linear, result] : llvm::zip(group, split.getResults())) {
      rewriter.replaceAllUsesWith(linear.getResult(), result);
      eraseDead(rewriter, linear.getOperation());
    }
  }

  //===--------------------------------------------------------------------===//
  // Networks
  //===--------------------------------------------------------------------===//

  void mergeNetworks(SublayerOp sublayer) {
    // Reasons by network; those merged answer at once.
    llvm::MapVector<Operation *, std::string> obstacles;
    mergeIn(sublayer, obstacles);
    for (auto &[network, why] : obstacles)
      if (log.isOpen(network))
        log.kept(network, network) << why;
  }

  void mergeIn(SublayerOp sublayer,
               llvm::MapVector<Operation *, std::string> &obstacles) {
    SmallVector<Addend> networks;
    auto quoted = [&](unsigned i) {
      return "'" + sublayer.getAddend(i).getName().getValue().str() + "'";
    };
    for (auto [i, value] : llvm::enumerate(sublayer.getYieldedAddends()))
      if (auto network = value.getDefiningOp<FeedForwardOp>()) {
        if (network->getBlock() != &sublayer.getBody().front())
          continue;
        if (!network.getResult().hasOneUse()) {
          log.add(network, network, "network of addend " + quoted(i));
          obstacles[network] = "network of addend " + quoted(i) +
                               " not merged: its result is used elsewhere";
          continue;
        }
        networks.push_back({static_cast<unsigned>(i), network});
      }
    // What was merged has had its answer.
    if (networks.size() > 1)
      for (Addend addend : networks)
        if (!merged.contains(addend.network))
          log.add(addend.network, addend.network,
                  "network of addend " + quoted(addend.index));
    // Groups of networks that agree with their first.
    while (networks.size() > 1) {
      SmallVector<Addend> group{networks.front()}, rest;
      for (Addend other : llvm::drop_begin(networks)) {
        std::string why = findDifference(group, other.network);
        if (why.empty()) {
          group.push_back(other);
          continue;
        }
        Addend first = group.front();
        obstacles.insert({first.network, "network of addend " +
                                             quoted(first.index) +
                                             " not merged with " +
                                             quoted(other.index) + ": " + why});
        obstacles.insert({other.network, "network of addend " +
                                             quoted(other.index) +
                                             " not merged with " +
                                             quoted(first.index) + ": " + why});
        rest.push_back(other);
      }
      if (group.size() > 1) {
        merge(sublayer, group);
        // Indices have moved: look again at what is left.
        return mergeIn(sublayer, obstacles);
      }
      networks = rest;
    }
  }

  void merge(SublayerOp sublayer, ArrayRef<Addend> group) {
    IRRewriter rewriter(&getContext());
    SmallVector<NeuronView> views;
    for (Addend addend : group)
      views.push_back(NeuronView::of(addend.network));
    FeedForwardOp first = group.front().network;
    Location loc = first.getLoc();
    setNeuronInsertionPoint(rewriter,
                            sublayer.getBody().front().getTerminator(), views);
    NeuronView joined = concatNeurons(rewriter, loc, views);
    Value downBias;
    for (Addend addend : group)
      if (Value bias = addend.network.getDownBias())
        downBias =
            downBias ? ffn::AddOp::create(rewriter, loc, downBias, bias) : bias;
    // Addends may stand in another order than their networks.
    rewriter.setInsertionPoint(sublayer.getBody().front().getTerminator());
    FeedForwardOp wide =
        createNetwork(rewriter, loc, first.getType(), first.getInput(), joined,
                      downBias, first.getActivation());

    // One addend in the place of the first, named after all.
    std::string name;
    SmallVector<Attribute> addends;
    SmallVector<Value> yielded;
    for (Addend addend : group)
      name += (name.empty() ? "" : "+") +
              sublayer.getAddend(addend.index).getName().str();
    Operation *yield = sublayer.getBody().front().getTerminator();
    for (unsigned i = 0; i < sublayer.getNumAddends(); ++i) {
      bool isMerged = llvm::any_of(
          group, [&](const Addend &addend) { return addend.index == i; });
      if (!isMerged) {
        addends.push_back(sublayer.getAddend(i));
        yielded.push_back(yield->getOperand(i));
      } else if (i == group.front().index) {
        addends.push_back(AddendAttr::get(&getContext(),
                                          sublayer.getAddend(i).getKind(),
                                          rewriter.getStringAttr(name)));
        yielded.push_back(wide);
      }
    }
    llvm::append_range(yielded, sublayer.getYieldedExtras());
    SmallVector<const void *> subjects;
    for (Addend addend : group)
      if (!merged.contains(addend.network))
        subjects.push_back(addend.network);
    merged.insert(wide);
    log.rewritten(subjects, wide)
        << "merged " << group.size() << " networks into '" << name
        << "' of width " << wide.getHiddenWidth();
    SmallVector<Operation *> dead;
    for (Addend addend : group)
      dead.push_back(addend.network);
    rewriter.modifyOpInPlace(yield, [&] { yield->setOperands(yielded); });
    rewriter.modifyOpInPlace(sublayer, [&] {
      sublayer.setAddendsAttr(rewriter.getArrayAttr(addends));
    });
    eraseDead(rewriter, dead);
  }
};
} // namespace
