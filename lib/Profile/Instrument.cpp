//===- Instrument.cpp - Probes in a model ---------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Profile/Instrument.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNProbes.h"
#include "ffn-mlir/Support/WeightEval.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "ffn-mlir/Target/CPU/DenseWeight.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/PatternMatch.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

namespace {
/// Instruments the operations of one block.
class LayerInstrumenter {
public:
  LayerInstrumenter(const ProbeRequest &request, ProbedLayer &layer)
      : request(request), layer(layer) {}

  LogicalResult run(Block &block);

private:
  bool wants(std::initializer_list<Probe> probes) {
    return llvm::any_of(probes,
                        [&](Probe p) { return request.probes.count(p); });
  }
  /// The site of `value`, which is observed under the name `site` unless it is
  /// already; `before` is where an observation may stand.
  std::string observe(OpBuilder &builder, Location loc, Value value,
                      StringRef site, bool wanted);
  void addLinear(LinearOp op);
  LogicalResult addNetwork(FeedForwardOp op);
  FailureOr<Value> normaliseRows(OpBuilder &builder, FeedForwardOp op,
                                 Value weight);

  const ProbeRequest &request;
  ProbedLayer &layer;
  /// Name of a value, and whether it is observed.
  llvm::DenseMap<Value, std::pair<std::string, bool>> sites;
};
} // namespace

static bool isFloatTensor(Value value) {
  auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() >= 1 &&
         llvm::isa<FloatType>(type.getElementType());
}

std::string LayerInstrumenter::observe(OpBuilder &builder, Location loc,
                                       Value value, StringRef site,
                                       bool wanted) {
  auto &[name, observed] = sites[value];
  if (name.empty())
    name = site.str();
  if (wanted && !std::exchange(observed, true))
    ObserveOp::create(builder, loc, layer.getSite(name), value);
  return name;
}

void LayerInstrumenter::addLinear(LinearOp op) {
  if (!isFloatTensor(op.getInput()))
    return;
  auto type = llvm::cast<RankedTensorType>(op.getWeight().getType());
  ProbedLayer::Linear linear;
  linear.index = layer.linears.size();
  linear.width = type.getDimSize(1);
  linear.out = type.getDimSize(0);
  if (isWeightExpression(op.getWeight()))
    linear.weight = getWeightKey(op.getWeight()).str();
  OpBuilder builder(op);
  linear.site = observe(builder, op.getLoc(), op.getInput(),
                        "linear" + std::to_string(linear.index) + ".input",
                        wants({Probe::Moments, Probe::Gram, Probe::Histogram}));
  layer.linears.push_back(std::move(linear));
}

/// Rows of length 1 / sqrt(d): the product with x / rms(x) is that of
/// normalised vectors.
FailureOr<Value> LayerInstrumenter::normaliseRows(OpBuilder &builder,
                                                  FeedForwardOp op,
                                                  Value weight) {
  FailureOr<DenseWeight> dense = evaluateWeight(weight);
  if (failed(dense))
    return failure();
  int64_t rows = dense->type.getDimSize(0), width = dense->type.getDimSize(1);
  auto element = dense->type.getElementType();
  SmallVector<APFloat> scales;
  for (int64_t i = 0; i < rows; ++i) {
    double squares = 0;
    for (int64_t j = 0; j < width; ++j) {
      double value = dense->getDouble(i * width + j);
      squares += value * value;
    }
    APFloat scale(1 / (std::max(std::sqrt(squares), 1e-12) *
                       std::sqrt(static_cast<double>(width))));
    bool lost;
    scale.convert(llvm::cast<FloatType>(element).getFloatSemantics(),
                  APFloat::rmNearestTiesToEven, &lost);
    scales.push_back(scale);
  }
  dropWeight(weight);
  auto type = RankedTensorType::get({rows}, element);
  auto attr = DenseElementsAttr::get(type, scales);
  // Rows of one length have one scale, of which the bytes stand once.
  TypedAttr value =
      attr.isSplat()
          ? llvm::cast<TypedAttr>(llvm::cast<Attribute>(attr))
          : makeWeightAttr(builder.getContext(),
                           (getWeightKey(weight) + ".row_scale").str(), type,
                           attr.getRawData());
  if (!value)
    return failure();
  Value scale = WeightOp::create(builder, op.getLoc(), type, value);
  return Value(ScaleRowsOp::create(builder, op.getLoc(), weight.getType(),
                                   weight, scale));
}

LogicalResult LayerInstrumenter::addNetwork(FeedForwardOp op) {
  if (!isFloatTensor(op.getInput()))
    return success();
  Location loc = op.getLoc();
  OpBuilder builder(op);
  ProbedLayer::Network network;
  network.index = layer.networks.size();
  network.width = op.getInputWidth();
  network.hiddenWidth = op.getHiddenWidth();
  network.outputWidth =
      llvm::cast<RankedTensorType>(op.getDown().getType()).getDimSize(0);
  network.activation = stringifyActivation(op.getActivation()).str();
  network.gated = op.isGated();
  std::string stem =
      "ffn" + (network.index ? std::to_string(network.index) : std::string());
  network.input = observe(builder, loc, op.getInput(), stem + ".input",
                          wants({Probe::Moments, Probe::Gram, Probe::Histogram,
                                 Probe::Cross, Probe::CrossHidden}));
  auto inputType = llvm::cast<RankedTensorType>(op.getInput().getType());
  SmallVector<int64_t> shape(inputType.getShape());
  shape.back() = network.hiddenWidth;
  Type hiddenType = inputType.clone(shape);
  if (wants({Probe::CMoETopK})) {
    FailureOr<Value> up = normaliseRows(builder, op, op.getUp()), gate;
    if (failed(up))
      return failure();
    if (op.isGated() && failed(gate = normaliseRows(builder, op, op.getGate())))
      return failure();
    Value x =
        NormOp::create(builder, loc, inputType, op.getInput(), Value(), Value(),
                       NormKindAttr::get(builder.getContext(), NormKind::Rms),
                       builder.getF64FloatAttr(1e-24), UnitAttr());
    Value marks = HiddenOp::create(
        builder, loc, hiddenType, x, *up, op.isGated() ? *gate : Value(),
        op.getUpBias(), op.getGateBias(), op.getActivation());
    network.normalised =
        observe(builder, loc, marks, stem + ".normalised", true);
  }
  network.hidden = stem + ".hidden";
  Value result = op.getResult();
  if (wants({Probe::Moments, Probe::Hidden, Probe::Gram, Probe::HiddenGram,
             Probe::Histogram, Probe::TopK, Probe::CoFire,
             Probe::CrossHidden})) {
    Value hidden = HiddenOp::create(builder, loc, hiddenType, op.getInput(),
                                    op.getUp(), op.getGate(), op.getUpBias(),
                                    op.getGateBias(), op.getActivation());
    observe(builder, loc, hidden, network.hidden, true);
    result = LinearOp::create(builder, loc, op.getType(), hidden, op.getDown(),
                              op.getDownBias());
    op.getResult().replaceAllUsesWith(result);
    op.erase();
  }
  if (wants({Probe::Cross})) {
    builder.setInsertionPointAfterValue(result);
    network.output = observe(builder, loc, result, stem + ".output", true);
  }
  layer.networks.push_back(std::move(network));
  return success();
}

LogicalResult LayerInstrumenter::run(Block &block) {
  // What instrumenting adds is none of the model's.
  SmallVector<Operation *> ops;
  for (Operation &op : block)
    if (llvm::isa<LinearOp, FeedForwardOp>(op))
      ops.push_back(&op);
  for (Operation *op : ops) {
    if (auto linear = llvm::dyn_cast<LinearOp>(op))
      addLinear(linear);
    else if (failed(addNetwork(llvm::cast<FeedForwardOp>(op))))
      return failure();
  }
  return success();
}

FailureOr<std::vector<ProbedLayer>>
mlir::ffn::instrument(ModuleOp module, const ProbeRequest &request) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main || main.isExternal() || !llvm::hasSingleElement(main.getBody()))
    return module.emitError("module has no function @main with one block "
                            "[FFN-P110]");
  std::vector<ProbedLayer> layers;
  auto add = [&](ProbedLayer layer, Block &block) {
    layers.push_back(std::move(layer));
    return LayerInstrumenter(request, layers.back()).run(block);
  };
  Block &body = main.getBody().front();
  SmallVector<SublayerOp> sublayers(body.getOps<SublayerOp>());
  for (SublayerOp sublayer : sublayers) {
    ProbedLayer layer;
    for (unsigned i = 0; i < sublayer.getNumAddends(); ++i)
      layer.names.push_back(sublayer.getAddend(i).getName().str());
    layer.kind = stringifySublayerKind(sublayer.getAddend(0).getKind()).str();
    if (failed(add(std::move(layer), sublayer.getBody().front())))
      return failure();
  }
  ProbedLayer outside;
  outside.names = {kMainLayer.str()};
  outside.kind = "none";
  if (failed(add(std::move(outside), body)))
    return failure();
  return layers;
}

SmallVector<std::string> mlir::ffn::exposeProbes(ModuleOp module) {
  SmallVector<std::string> sites;
  auto main = module.lookupSymbol<func::FuncOp>("main");
  Block &body = main.getBody().front();
  OpBuilder builder(module.getContext());
  SmallVector<Value> values;
  for (Operation &op : llvm::make_early_inc_range(body)) {
    if (auto probe = llvm::dyn_cast<ObserveOp>(op)) {
      sites.push_back(probe.getSite().str());
      values.push_back(probe.getValue());
      probe.erase();
      continue;
    }
    auto sublayer = llvm::dyn_cast<SublayerOp>(op);
    if (!sublayer)
      continue;
    SmallVector<ObserveOp> probes(
        sublayer.getBody().front().getOps<ObserveOp>());
    if (probes.empty())
      continue;
    Operation *yield = sublayer.getBody().front().getTerminator();
    SmallVector<Value> yielded(yield->getOperands());
    SmallVector<Type> types(sublayer->getResultTypes());
    for (ObserveOp probe : probes) {
      sites.push_back(probe.getSite().str());
      yielded.push_back(probe.getValue());
      types.push_back(probe.getValue().getType());
      probe.erase();
    }
    yield->setOperands(yielded);
    builder.setInsertionPoint(sublayer);
    auto wider = SublayerOp::create(
        builder, sublayer.getLoc(), types, sublayer.getResidual(),
        sublayer.getAddendsAttr(), sublayer.getStateAttr());
    wider.getBody().takeBody(sublayer.getBody());
    unsigned old = sublayer->getNumResults();
    sublayer->replaceAllUsesWith(wider->getResults().take_front(old));
    llvm::append_range(values, wider->getResults().drop_front(old));
    sublayer.erase();
  }
  Operation *terminator = body.getTerminator();
  SmallVector<Value> returned(terminator->getOperands());
  for (auto [site, value] : llvm::zip_equal(sites, values)) {
    auto name = builder.getNamedAttr("onnx.name", builder.getStringAttr(site));
    (void)main.insertResult(returned.size(), value.getType(),
                            builder.getDictionaryAttr(name));
    returned.push_back(value);
  }
  terminator->setOperands(returned);
  return sites;
}
