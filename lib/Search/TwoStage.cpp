//===- TwoStage.cpp - The first stage of 2SSP -----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/TwoStage.h"
#include "ffn-mlir/Dialect/FFN/Transforms/NeuronView.h"
#include "ffn-mlir/Pipelines/Compile.h"
#include "ffn-mlir/Search/StagedModel.h"
#include "ffn-mlir/Search/SublayerCost.h"
#include "ffn-mlir/Support/TemporaryFolder.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/Sequence.h"
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace mlir::ffn;

std::optional<TwoStagePlan> mlir::ffn::planTwoStage(unsigned layers,
                                                    double attention,
                                                    double network,
                                                    double sparsity) {
  constexpr double kBalance = 1.5;
  TwoStagePlan plan;
  if (layers == 0 || attention <= 0 || network <= 0 || sparsity <= 0)
    return plan;
  plan.attentions =
      std::round(layers * std::pow(sparsity, network / attention / kBalance));
  double each =
      sparsity * (attention + network) - plan.attentions * attention / layers;
  plan.kept = 1 - each / network;
  if (plan.kept < 0 || plan.kept > 1)
    return std::nullopt;
  return plan;
}

namespace {
/// Neurons of one network that one result of the probe has.
struct Probe {
  unsigned network;
  int64_t begin;
};

/// A module that computes what the neurons of networks hand to down.
class ProbeBuilder {
public:
  ProbeBuilder(ModuleOp module) : module(module.clone()) {
    main = this->module->lookupSymbol<func::FuncOp>("main");
  }
  OwningOpRef<ModuleOp> build(SmallVector<Probe> &probes);

private:
  Value copyInput(OpBuilder &builder, SublayerOp sublayer, Value input);
  Value makeIdentity(OpBuilder &builder, Location loc, int64_t size,
                     Type elementType);

  OwningOpRef<ModuleOp> module;
  func::FuncOp main;
};
} // namespace

static bool isKind(SublayerOp sublayer, SublayerKind kind) {
  return sublayer.getNumAddends() == 1 &&
         sublayer.getAddend(0).getKind() == kind;
}

static SmallVector<FeedForwardOp> listNetworks(func::FuncOp main) {
  SmallVector<FeedForwardOp> networks;
  for (SublayerOp sublayer : main.getBody().front().getOps<SublayerOp>())
    if (isKind(sublayer, SublayerKind::Ffn))
      llvm::append_range(networks,
                         sublayer.getBody().front().getOps<FeedForwardOp>());
  return networks;
}

/// The operations of the body behind `input`, before the sublayer.
Value ProbeBuilder::copyInput(OpBuilder &builder, SublayerOp sublayer,
                              Value input) {
  Block &body = sublayer.getBody().front();
  llvm::SmallPtrSet<Operation *, 16> wanted;
  SmallVector<Value> worklist{input};
  while (!worklist.empty()) {
    Operation *op = worklist.pop_back_val().getDefiningOp();
    if (op)
      op = body.findAncestorOpInBlock(*op);
    if (!op || !wanted.insert(op).second)
      continue;
    op->walk([&](Operation *inner) {
      llvm::append_range(worklist, inner->getOperands());
    });
  }
  IRMapping mapping;
  mapping.map(sublayer.getBodyArgument(), sublayer.getResidual());
  for (Operation &op : body)
    if (wanted.contains(&op))
      builder.clone(op, mapping);
  return mapping.lookupOrDefault(input);
}

Value ProbeBuilder::makeIdentity(OpBuilder &builder, Location loc, int64_t size,
                                 Type elementType) {
  auto type = RankedTensorType::get({size, size}, builder.getF32Type());
  std::vector<float> values(size * size);
  for (int64_t i = 0; i < size; ++i)
    values[i * size + i] = 1;
  Value weight = WeightOp::create(
      builder, loc, DenseElementsAttr::get(type, ArrayRef<float>(values)));
  if (elementType == type.getElementType())
    return weight;
  return CastOp::create(builder, loc, type.clone(elementType), weight);
}

OwningOpRef<ModuleOp> ProbeBuilder::build(SmallVector<Probe> &probes) {
  // Small pieces keep the identity that stands for down small.
  constexpr int64_t kNeurons = 256;
  SmallVector<Value> results;
  for (auto [index, network] : llvm::enumerate(listNetworks(main))) {
    auto sublayer = llvm::cast<SublayerOp>(network->getParentOp());
    if (!findViewObstacle(network).empty())
      continue;
    OpBuilder builder(sublayer);
    Value input = copyInput(builder, sublayer, network.getInput());
    auto type = llvm::dyn_cast<RankedTensorType>(input.getType());
    if (!type)
      continue;
    NeuronView view = NeuronView::of(network);
    setNeuronInsertionPoint(builder, network, view);
    Location loc = network.getLoc();
    int64_t count = view.getNumNeurons();
    for (int64_t begin = 0; begin < count; begin += kNeurons) {
      int64_t size = std::min(kNeurons, count - begin);
      auto rows = llvm::to_vector(llvm::seq(begin, begin + size));
      auto gather = [&](Value weight) {
        return weight ? createGatherRows(builder, weight, rows) : weight;
      };
      setNeuronInsertionPoint(builder, network, view);
      NeuronView part{gather(view.up), gather(view.gate), Value(),
                      gather(view.upBias), gather(view.gateBias)};
      part.down = makeIdentity(builder, loc, size, type.getElementType());
      builder.setInsertionPoint(sublayer);
      SmallVector<int64_t> shape(type.getShape());
      shape.back() = size;
      results.push_back(createNetwork(
          builder, loc, RankedTensorType::get(shape, type.getElementType()),
          input, part, Value(), network.getActivation()));
      probes.push_back({static_cast<unsigned>(index), begin});
    }
  }
  Operation *terminator = main.getBody().front().getTerminator();
  terminator->setOperands(results);
  MLIRContext *ctx = main.getContext();
  main.setType(FunctionType::get(ctx, main.getArgumentTypes(),
                                 TypeRange(ValueRange(results))));
  SmallVector<Attribute> attrs;
  for (unsigned i = 0; i < results.size(); ++i)
    attrs.push_back(DictionaryAttr::get(
        ctx, NamedAttribute(StringAttr::get(ctx, "onnx.name"),
                            StringAttr::get(ctx, "hidden" + llvm::Twine(i)))));
  main.setResAttrsAttr(ArrayAttr::get(ctx, attrs));
  return std::move(module);
}

/// Mean over samples of the norm over tokens of each neuron of each network;
/// empty for networks that cannot be taken apart.
static FailureOr<std::vector<std::vector<double>>>
measureNeurons(ModuleOp module, size_t networks,
               const TwoStageOptions &options) {
  ModelSignature signature = getModelSignature(module);
  auto samples =
      loadCalibration(signature.inputs, signature.outputs, options.calibration);
  if (!samples)
    return module.emitError(llvm::toString(samples.takeError()));
  std::vector<std::vector<double>> scores(networks);
  SmallVector<Probe> probes;
  OwningOpRef<ModuleOp> probe = ProbeBuilder(module).build(probes);
  if (probes.empty())
    return scores;
  TemporaryFolder folder;
  if (std::error_code code = folder.create("ffn-neurons"))
    return module.emitError("no temporary folder: ")
           << code.message() << " [FFN-O101]";
  std::string path = folder.file("probe.so");
  CompileOptions compiling;
  compiling.cpu = options.cpu;
  if (failed(compileModule(*probe, compiling, path)))
    return failure();
  auto artefact = Artefact::load(path, options.threads);
  if (!artefact)
    return module.emitError(llvm::toString(artefact.takeError()));
  std::vector<HostTensor> results;
  for (std::vector<HostTensor> &sample : *samples) {
    if (llvm::Error error = (*artefact)->run(sample, results))
      return module.emitError(llvm::toString(std::move(error)));
    for (auto [probe, result] : llvm::zip_equal(probes, results)) {
      size_t width = result.getShape().back();
      std::vector<double> &score = scores[probe.network];
      score.resize(std::max<size_t>(score.size(), probe.begin + width));
      std::vector<double> squares(width);
      for (size_t i = 0; i < result.getNumElements(); ++i) {
        double value = result.getDouble(i);
        squares[i % width] += value * value;
      }
      for (size_t j = 0; j < width; ++j)
        score[probe.begin + j] += std::sqrt(squares[j]) / samples->size();
    }
  }
  return scores;
}

/// The neurons with the greatest scores, in their order.
static SmallVector<int64_t> chooseNeurons(ArrayRef<double> scores,
                                          size_t count) {
  auto order = llvm::to_vector(llvm::seq<int64_t>(0, scores.size()));
  llvm::sort(order, [&](int64_t a, int64_t b) {
    return std::pair(-scores[a], a) < std::pair(-scores[b], b);
  });
  order.resize(count);
  llvm::sort(order);
  return order;
}

FailureOr<unsigned> mlir::ffn::pruneNeurons(ModuleOp module,
                                            const TwoStageOptions &options,
                                            CandidateLog &log) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main || main.isExternal())
    return module.emitError("module has no function @main [FFN-P110]");
  SmallVector<SublayerOp> sublayers(
      main.getBody().front().getOps<SublayerOp>());
  SmallVector<FeedForwardOp> networks = listNetworks(main);
  SublayerCosts costs = countParameters(main, sublayers);
  double attention = 0, network = 0;
  unsigned layers = 0;
  for (auto [sublayer, cost] : llvm::zip_equal(sublayers, costs.each)) {
    if (isKind(sublayer, SublayerKind::Attention)) {
      attention += cost;
      ++layers;
    } else if (isKind(sublayer, SublayerKind::Ffn)) {
      network += cost;
    }
  }
  if (layers == 0 || networks.empty())
    return module.emitError("2ssp needs attentions and networks in sublayers "
                            "of their own [FFN-P110]");
  std::optional<TwoStagePlan> plan = planTwoStage(
      layers, attention / layers, network / layers, options.sparsity);
  if (!plan)
    return module.emitError("2ssp cannot reach this ratio: its formula wants "
                            "more of attentions or of networks than there is "
                            "[FFN-P112]");
  auto scores = measureNeurons(module, networks.size(), options);
  if (failed(scores))
    return failure();
  for (auto [op, score] : llvm::zip_equal(networks, *scores)) {
    NeuronView view = NeuronView::of(op);
    int64_t count = view.getNumNeurons();
    auto kept = static_cast<int64_t>(std::round(count * plan->kept));
    if (kept == count)
      continue;
    log.add(op, op);
    std::string why = findViewObstacle(op);
    SmallVector<int64_t> neurons;
    if (why.empty() && score.empty())
      why = "its hidden values cannot be computed apart";
    if (why.empty()) {
      neurons = chooseNeurons(score, kept);
      why = findSelectObstacle(view, neurons);
    }
    if (!why.empty()) {
      log.kept(op, op) << "2ssp: all neurons stay: " << why;
      continue;
    }
    OpBuilder builder(op);
    setNeuronInsertionPoint(builder, op, view);
    setNeurons(op, selectNeurons(builder, view, neurons));
    log.rewritten(op, op) << "2ssp: " << count - kept << " of " << count
                          << " neurons removed";
  }
  return plan->attentions;
}
