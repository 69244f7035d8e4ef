//===- CarveMoE.cpp - Experts carved out of a dense network ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// CMoE (arXiv 2502.04416). A mark (t, j) says that neuron j is among the K
// strongest of token t; a row of marks is all that is known of a neuron. Marks
// are compared as bits: distances to initial centroids, which are rows of marks
// themselves, count differing bits, and those to means of w rows are integers
// once multiplied by w.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "WeightForms.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNExperts.h"
#include "ffn-mlir/Dialect/FFN/Transforms/BalancedAssignment.h"
#include "ffn-mlir/Dialect/FFN/Transforms/NeuronView.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Profile/Profile.h"
#include "ffn-mlir/Support/CandidateLog.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>
#include <random>

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNCARVEMOE
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

namespace {
/// SxAyEz: of z experts x are merged into a shared one, y of the others run.
struct Config {
  int64_t shared = 0, active = 0, experts = 0;

  /// False where the text is none, or asks for experts that there are not.
  bool parse(StringRef text) {
    return text.consume_front("S") && !text.consumeInteger(10, shared) &&
           text.consume_front("A") && !text.consumeInteger(10, active) &&
           text.consume_front("E") && !text.consumeInteger(10, experts) &&
           text.empty() && shared >= 0 && active >= 1 && experts >= 1 &&
           experts <= 4096 && shared <= experts && active <= experts - shared;
  }
  int64_t getRouted() const { return experts - shared; }
};

/// Rows of bits, one for each neuron; padding neurons have none set.
class Marks {
public:
  Marks(ArrayRef<uint8_t> bits, size_t neurons, size_t padded)
      : stride(llvm::divideCeil(neurons ? bits.size() / neurons : 0, 8)),
        words(padded * stride, 0) {
    size_t bytes = neurons ? bits.size() / neurons : 0;
    for (size_t j = 0; j < neurons; ++j)
      std::memcpy(&words[j * stride], bits.data() + j * bytes, bytes);
  }

  ArrayRef<uint64_t> row(size_t neuron) const {
    return ArrayRef(words).slice(neuron * stride, stride);
  }
  /// Tokens that the neuron is marked in.
  int64_t getRate(size_t neuron) const {
    int64_t rate = 0;
    for (uint64_t word : row(neuron))
      rate += llvm::popcount(word);
    return rate;
  }
  /// L1 distance of two rows.
  int64_t getDistance(size_t a, size_t b) const {
    int64_t distance = 0;
    for (auto [x, y] : llvm::zip_equal(row(a), row(b)))
      distance += llvm::popcount(x ^ y);
    return distance;
  }
  /// Calls `visit` with each token that the neuron is marked in.
  template <typename Fn> void forEachToken(size_t neuron, Fn visit) const {
    for (auto [i, word] : llvm::enumerate(row(neuron)))
      for (uint64_t rest = word; rest; rest &= rest - 1)
        visit(i * 64 + llvm::countr_zero(rest));
  }
  size_t getNumTokens() const { return stride * 64; }

private:
  size_t stride;
  std::vector<uint64_t> words;
};

/// Which neurons a network's experts have.
struct Partition {
  SmallVector<int64_t> shared;
  SmallVector<SmallVector<int64_t>> experts;
  /// The neuron of each expert that stands for it.
  SmallVector<int64_t> representatives;
};
} // namespace

/// The member with the least L1 distance to the mean of all members' marks, of
/// equal ones the first. With c marks of the members at a token, a member's
/// distance times their number w is c where it has no mark, w - c where it has.
static int64_t findRepresentative(const Marks &marks,
                                  ArrayRef<int64_t> members) {
  std::vector<int64_t> counts(marks.getNumTokens(), 0);
  for (int64_t j : members)
    marks.forEachToken(j, [&](size_t token) { ++counts[token]; });
  int64_t width = members.size(), best = members.front(),
          least = std::numeric_limits<int64_t>::max();
  for (int64_t j : members) {
    // Without the sum of c over all tokens, which is the same for all.
    int64_t distance = 0;
    marks.forEachToken(
        j, [&](size_t token) { distance += width - 2 * counts[token]; });
    if (distance < least) {
      least = distance;
      best = j;
    }
  }
  return best;
}

/// Steps 2 to 5 of CMoE.
static Partition partitionByMarks(const Marks &marks, size_t neurons,
                                  const Config &config) {
  size_t width = neurons / config.experts;
  std::vector<int64_t> rates(neurons);
  SmallVector<int64_t> order(neurons);
  for (size_t j = 0; j < neurons; ++j) {
    rates[j] = marks.getRate(j);
    order[j] = j;
  }
  llvm::sort(order, [&](int64_t a, int64_t b) {
    return rates[a] != rates[b] ? rates[a] > rates[b] : a < b;
  });
  Partition partition;
  partition.shared.assign(order.begin(), order.begin() + config.shared * width);
  llvm::sort(partition.shared);
  SmallVector<int64_t> routed(order.begin() + config.shared * width,
                              order.end());
  size_t groups = config.getRouted();
  SmallVector<int64_t> centroids(routed.begin(), routed.begin() + groups);
  llvm::sort(routed);
  SmallVector<int64_t, 0> costs;
  costs.reserve(routed.size() * groups);
  for (int64_t j : routed)
    for (int64_t centroid : centroids)
      costs.push_back(marks.getDistance(j, centroid));
  SmallVector<uint32_t, 0> labels = assignBalanced(costs, groups, width);
  partition.experts.resize(groups);
  for (auto [j, label] : llvm::zip_equal(routed, labels))
    partition.experts[label].push_back(j);
  return partition;
}

/// The same sizes without a reason for the place of a neuron.
static Partition partitionAtRandom(size_t neurons, const Config &config,
                                   uint64_t seed) {
  size_t width = neurons / config.experts;
  SmallVector<int64_t> order(neurons);
  for (size_t j = 0; j < neurons; ++j)
    order[j] = j;
  // Not std::shuffle, whose order differs between libraries.
  std::mt19937_64 generator(seed);
  for (size_t j = neurons; j > 1; --j)
    std::swap(order[j - 1], order[generator() % j]);
  Partition partition;
  partition.shared.assign(order.begin(), order.begin() + config.shared * width);
  llvm::sort(partition.shared);
  for (auto next = order.begin() + config.shared * width; next != order.end();
       next += width) {
    partition.experts.emplace_back(next, next + width);
    llvm::sort(partition.experts.back());
  }
  return partition;
}

namespace {
struct CarveMoE : mlir::ffn::impl::FFNCarveMoEBase<CarveMoE> {
  using FFNCarveMoEBase::FFNCarveMoEBase;

  void runOnOperation() override {
    if (failed(readOptions()))
      return signalPassFailure();
    SmallVector<FeedForwardOp> networks;
    log.clear();
    getOperation().walk([&](FeedForwardOp op) {
      networks.push_back(op);
      log.add(op, op);
    });
    // Before any is rewritten: the profile counts those of a sublayer.
    SmallVector<unsigned> places;
    for (FeedForwardOp op : networks)
      places.push_back(findPlace(op));
    for (auto [op, place] : llvm::zip_equal(networks, places))
      if (failed(carve(op, place)))
        return signalPassFailure();
    log.finish();
  }

private:
  CandidateLog log{"ffn-carve-moe", NumericalClass::Approximate};
  Config sizes;
  std::shared_ptr<Profile> measured;

  LogicalResult refuse(const Twine &why) {
    return getOperation().emitError(why + " [FFN-P134]");
  }

  LogicalResult readOptions() {
    sizes = {};
    if (!sizes.parse(config))
      return refuse("config '" + config +
                    "' is not SxAyEz with y from 1 to z - x, as in S2A2E16");
    if (partition != "cmoe" && partition != "random")
      return refuse("partition '" + partition + "' is neither cmoe nor random");
    if (profile.empty())
      return refuse("needs profile=FILE, which 'ffnc profile MODEL "
                    "--for=ffn-carve-moe -o FILE' makes");
    llvm::Expected<std::unique_ptr<Profile>> file = Profile::open(profile);
    if (!file)
      return getOperation().emitError(llvm::toString(file.takeError()));
    measured = std::move(*file);
    return measured->checkModel(getOperation());
  }

  /// Number of the network among those of its block.
  static unsigned findPlace(FeedForwardOp op) {
    unsigned place = 0;
    for (FeedForwardOp other : op->getBlock()->getOps<FeedForwardOp>()) {
      if (other == op)
        break;
      ++place;
    }
    return place;
  }

  LogicalResult stay(FeedForwardOp op, const Twine &why) {
    log.kept(op, op) << "network stays dense: " << why;
    return success();
  }

  LogicalResult carve(FeedForwardOp op, unsigned place) {
    int64_t neurons = op.getHiddenWidth();
    auto sublayer = op->getParentOfType<SublayerOp>();
    StringRef name = sublayer ? sublayer.getAddend(0).getName().getValue()
                              : StringRef(kMainLayer);
    if (sizes.active == sizes.getRouted())
      return stay(op, "with all experts on there is nothing to leave out");
    if (std::string why = findViewObstacle(op); !why.empty())
      return stay(op, why);
    Type element = getElementTypeOrSelf(op.getUp());
    if (!llvm::isa<FloatType>(element))
      return stay(op, "its elements are no floats");
    int64_t padded = llvm::alignTo(neurons, sizes.experts);
    if (padded != neurons && !pad)
      return stay(op, Twine(neurons) + " neurons are no multiple of " +
                          Twine(sizes.experts) +
                          " experts; 'pad' adds neurons of zeros");
    const ProbedLayer *layer = measured->findLayer(name);
    if (!layer || place >= layer->networks.size())
      return stay(op, "the profile has no network of '" + name +
                          "'; measure the raised model that is compressed");
    const ProbedLayer::Network &network = layer->networks[place];
    llvm::Expected<ArrayRef<uint8_t>> bits =
        measured->get<uint8_t>(*layer, network.hidden, "cmoe_topk");
    if (!bits)
      return op.emitError(llvm::toString(bits.takeError()));
    if (network.hiddenWidth != neurons || bits->empty() ||
        bits->size() % neurons != 0)
      return stay(op, "the profile is of a network of " +
                          Twine(network.hiddenWidth) + " neurons, not " +
                          Twine(neurons));
    Marks marks(*bits, neurons, padded);

    NeuronView view = NeuronView::of(op);
    IRRewriter rewriter(&getContext());
    setNeuronInsertionPoint(rewriter, op, view);
    if (padded != neurons) {
      NeuronView zeros = createZeroNeurons(rewriter, op, padded - neurons);
      if (std::string why = findConcatObstacle({view, zeros}); !why.empty()) {
        eraseDead(rewriter, getDefinitions(zeros));
        return stay(op, why);
      }
      view = concatNeurons(rewriter, op.getLoc(), {view, zeros});
    }
    Partition parts = partition == "random"
                          ? partitionAtRandom(padded, sizes, seed)
                          : partitionByMarks(marks, padded, sizes);
    for (ArrayRef<int64_t> members : parts.experts)
      parts.representatives.push_back(findRepresentative(marks, members));
    SmallVector<int64_t> order(parts.shared);
    for (ArrayRef<int64_t> members : parts.experts)
      llvm::append_range(order, members);
    if (std::string why = findPermuteObstacle(view, order); !why.empty()) {
      eraseDead(rewriter, getDefinitions(view));
      return stay(op, why);
    }
    return rewrite(rewriter, op, view, parts, order, padded - neurons);
  }

  static SmallVector<Operation *> getDefinitions(const NeuronView &view) {
    SmallVector<Operation *> definitions;
    for (Value weight : view.getWeights())
      if (Operation *definition = weight.getDefiningOp())
        definitions.push_back(definition);
    return definitions;
  }

  static NeuronView createZeroNeurons(OpBuilder &builder, FeedForwardOp op,
                                      int64_t count) {
    auto zeros = [&](Value like, SmallVector<int64_t> shape) -> Value {
      if (!like)
        return {};
      auto type =
          RankedTensorType::get(shape, getElementTypeOrSelf(like.getType()));
      return createSplat(builder, op.getLoc(), type, 0);
    };
    int64_t width = op.getInputWidth(),
            out = llvm::cast<RankedTensorType>(op.getDown().getType())
                      .getDimSize(0);
    NeuronView view;
    view.up = zeros(op.getUp(), {count, width});
    view.gate = zeros(op.getGate(), {count, width});
    view.down = zeros(op.getDown(), {out, count});
    view.upBias = zeros(op.getUpBias(), {count});
    view.gateBias = zeros(op.getGateBias(), {count});
    return view;
  }

  /// Rows of the matrix, scaled to length one; null of null. A row of zeros
  /// stays one.
  FailureOr<Value> createUnitRows(OpBuilder &builder, Value matrix,
                                  ArrayRef<int64_t> rows) {
    if (!matrix)
      return Value();
    Value gathered = createGatherRows(builder, matrix, rows);
    SmallVector<double> scales;
    if (failed(forEachRow(gathered, [&](int64_t, ArrayRef<double> row) {
          double squares = 0;
          for (double value : row)
            squares += value * value;
          scales.push_back(squares > 0 ? 1 / std::sqrt(squares) : 0);
        })))
      return failure();
    auto element =
        llvm::cast<FloatType>(getElementTypeOrSelf(gathered.getType()));
    Value scale = createVector(builder, matrix.getLoc(), element, scales);
    return Value(ScaleRowsOp::create(builder, matrix.getLoc(),
                                     gathered.getType(), gathered, scale));
  }

  LogicalResult rewrite(IRRewriter &rewriter, FeedForwardOp op,
                        const NeuronView &view, const Partition &parts,
                        ArrayRef<int64_t> order, int64_t padding) {
    SmallVector<Operation *> old = getDefinitions(view);
    NeuronView carved = selectNeurons(rewriter, view, order);
    FailureOr<Value> router =
        createUnitRows(rewriter, view.up, parts.representatives);
    FailureOr<Value> routerGate =
        createUnitRows(rewriter, view.gate, parts.representatives);
    if (failed(router) || failed(routerGate))
      return failure();
    auto pick = [&](Value bias) {
      return bias ? createGatherRows(rewriter, bias, parts.representatives)
                  : Value();
    };
    Value routerBias = pick(view.upBias), routerGateBias = pick(view.gateBias);
    int64_t width = parts.experts.front().size();
    rewriter.setInsertionPoint(op);
    auto moe = MoEOp::create(
        rewriter, op.getLoc(), op.getType(), op.getInput(), carved.up,
        carved.gate, carved.down, carved.upBias, carved.gateBias,
        op.getDownBias(), *router, *routerGate, routerBias, routerGateBias,
        /*selection_bias=*/Value(), op.getActivation(), RouterKind::Neuron,
        Gating::Softmax, parts.shared.size(), parts.experts.size(),
        sizes.active, /*weighted=*/false, /*normalize=*/false, APFloat(1.0));
    InFlightDiagnostic remark = log.rewritten(op, op);
    remark << "network carved into " << parts.experts.size() << " experts of "
           << width << " neurons, of which a token uses " << sizes.active
           << ", and " << parts.shared.size()
           << " shared neurons: " << moe.getActiveWidth() << " of "
           << order.size() << " run";
    if (padding)
      remark << "; " << padding << " neurons of zeros fill up";
    remark.report();
    renameAddend(op);
    rewriter.replaceOp(op, moe.getResult());
    eraseDead(rewriter, old);
    return success();
  }

  /// The addend that the network makes is one of experts now.
  static void renameAddend(FeedForwardOp op) {
    auto sublayer = llvm::dyn_cast<SublayerOp>(op->getParentOp());
    if (!sublayer)
      return;
    SmallVector<Attribute> addends(sublayer.getAddends().begin(),
                                   sublayer.getAddends().end());
    for (auto [i, value] : llvm::enumerate(sublayer.getYieldedAddends()))
      if (value == op.getResult())
        addends[i] = AddendAttr::get(op.getContext(), SublayerKind::Moe,
                                     sublayer.getAddend(i).getName());
    sublayer.setAddendsAttr(ArrayAttr::get(op.getContext(), addends));
  }
};
} // namespace
