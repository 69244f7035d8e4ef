//===- SelectSublayers.cpp - A search as a pass runs it -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/SelectSublayers.h"
#include "ffn-mlir/Driver/Decode.h"
#include "ffn-mlir/Profile/Profile.h"
#include "ffn-mlir/Search/SublayerCost.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

std::optional<unsigned>
mlir::ffn::findLogits(ArrayRef<Artefact::Value> outputs) {
  for (auto [i, value] : llvm::enumerate(outputs))
    if (value.name == "logits")
      return i;
  for (auto [i, value] : llvm::enumerate(outputs))
    if ((value.dtype.code == 2 || value.dtype.code == 4) &&
        !value.shape.empty())
      return i;
  return std::nullopt;
}

std::vector<std::vector<int64_t>>
mlir::ffn::listNextTokens(const ModelSignature &signature,
                          ArrayRef<std::vector<HostTensor>> samples) {
  auto language = LanguageSignature::find(signature.inputs, signature.outputs);
  if (!language) {
    llvm::consumeError(language.takeError());
    return {};
  }
  std::vector<std::vector<int64_t>> targets;
  for (const std::vector<HostTensor> &sample : samples) {
    const HostTensor &ids = sample[language->ids];
    size_t length = ids.getShape().back();
    std::vector<int64_t> &next = targets.emplace_back();
    for (size_t i = 0; i < ids.getNumElements(); ++i)
      next.push_back((i + 1) % length ? ids.getInt(i + 1) : -1);
  }
  return targets;
}

static std::string formatNumber(StringRef before, double number) {
  std::string text = before.str();
  llvm::raw_string_ostream(text) << llvm::format("%.6g", number);
  return text;
}

static std::string formatScore(double score) {
  return std::isnan(score) ? "" : formatNumber(", score ", score);
}

namespace {
class Selection {
public:
  Selection(ModuleOp module, const SelectOptions &given)
      : module(module), given(given) {}

  LogicalResult parse();
  FailureOr<SmallVector<std::string>>
  run(llvm::function_ref<std::string(SublayerOp)> whyFixed);
  FailureOr<SmallVector<std::string>>
  runFromProfile(llvm::function_ref<std::string(SublayerOp)> whyFixed);

private:
  InFlightDiagnostic refuse(const llvm::Twine &what) {
    return module.emitError(what + " [FFN-P111]");
  }
  LogicalResult loadSamples();
  /// A budget of latency takes an evaluator.
  LogicalResult setBudget(Evaluator *evaluator, size_t candidates);
  FailureOr<std::vector<double>>
  readInfluence(ArrayRef<StagedSublayer> sublayers);
  std::string explain(const LayerSearchResult &found,
                      const StagedSublayer &sublayer, unsigned i) const;
  void keep(SublayerOp op, const Twine &why);
  SmallVector<std::string> report(ArrayRef<StagedSublayer> sublayers,
                                  const LayerSearchResult &found,
                                  size_t candidates);

  ModuleOp module;
  const SelectOptions &given;
  LayerSearchOptions options;
  std::string metric;
  SmallVector<SublayerOp> ops;
  std::vector<std::vector<HostTensor>> samples;
  std::vector<std::vector<int64_t>> targets;
  unsigned output = 0;
};
} // namespace

static std::string nameOf(SublayerOp op) {
  std::string name;
  for (unsigned i = 0; i < op.getNumAddends(); ++i)
    name += (i ? " + " : "") + op.getAddend(i).getName().str();
  return name;
}

LogicalResult Selection::parse() {
  std::optional<LayerMethod> method = parseLayerMethod(given.method);
  if (!method)
    return refuse(
        "method '" + given.method +
        "' is none of finercut, block-influence, 2ssp, random, evopress");
  options.method = *method;
  metric = given.metric;
  if (metric.empty())
    metric = *method == LayerMethod::EvoPress ? "kl" : "js";
  std::optional<LogitMetric> parsed = parseLogitMetric(metric);
  if (!parsed)
    return refuse("metric '" + metric +
                  "' is none of js, js-reverse, angular, norm, kl, nll, error");
  options.metric = *parsed;
  for (const std::string &name : given.kinds) {
    std::optional<SublayerKind> kind = symbolizeSublayerKind(name);
    if (!kind)
      return refuse("'" + name + "' is no kind of sublayer");
    options.kinds.push_back(*kind);
  }
  unsigned budgets = given.count != 0;
  for (auto [name, value] : {std::pair("ratio", given.ratio),
                             {"parameters", given.parameters},
                             {"flops", given.flops},
                             {"latency", given.latency}}) {
    if (!(value >= 0 && value <= 1))
      return refuse(llvm::Twine(name) + " is not between 0 and 1");
    budgets += value != 0;
  }
  if (budgets > 1)
    return refuse("more than one of count, ratio, parameters, flops and "
                  "latency is given");
  if (!(given.protect >= 0 && given.protect <= 1))
    return refuse("protect is not between 0 and 1");
  if (given.wholeBlocks && *method != LayerMethod::BlockInfluence)
    return refuse("whole-blocks goes with method=block-influence");
  if (!given.profile.empty()) {
    if (*method != LayerMethod::BlockInfluence || given.wholeBlocks ||
        given.latency > 0)
      return refuse("profile goes with method=block-influence, without "
                    "whole-blocks and latency, which need calib");
    if (!given.calibration.data.empty())
      return refuse("calib and profile exclude each other");
  }
  if (given.calibration.data.empty() && given.profile.empty())
    return refuse("method '" + given.method +
                  "' needs calibration data: calib=FILE, a text, token lists "
                  "(.json), a folder of them, or an .npz archive of inputs");
  // Its second stage; the first is no choice of sublayers.
  if (*method == LayerMethod::TwoStage && options.kinds.empty())
    options.kinds.push_back(SublayerKind::Attention);
  options.protect = given.protect;
  options.wholeBlocks = given.wholeBlocks;
  options.seed = given.calibration.seed;
  options.maxEvaluations = given.maxEvaluations;
  if (auto main = module.lookupSymbol<func::FuncOp>("main");
      main && !main.isExternal())
    llvm::append_range(ops, main.getBody().front().getOps<SublayerOp>());
  return success();
}

LogicalResult Selection::loadSamples() {
  ModelSignature signature = getModelSignature(module);
  std::optional<unsigned> found = findLogits(signature.outputs);
  if (!found)
    return refuse("the model has no output of floats to compare");
  output = *found;
  auto loaded =
      loadCalibration(signature.inputs, signature.outputs, given.calibration);
  if (!loaded)
    return module.emitError(llvm::toString(loaded.takeError()));
  samples = std::move(*loaded);
  targets = listNextTokens(signature, samples);
  if (targets.empty() &&
      (options.method == LayerMethod::TwoStage || needsTargets(options.metric)))
    return refuse("method 2ssp and metrics nll and error need a language "
                  "model, whose next tokens are in the samples");
  return success();
}

LogicalResult Selection::setBudget(Evaluator *evaluator, size_t candidates) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  auto take = [&](SublayerCosts costs, double share) {
    options.costs = std::move(costs.each);
    options.budget = share * costs.total;
    return success();
  };
  if (given.parameters > 0)
    return take(countParameters(main, ops), given.parameters);
  if (given.flops > 0)
    return take(countFlops(main, ops), given.flops);
  if (given.latency > 0) {
    auto seconds = evaluator->measureSeconds();
    if (!seconds)
      return module.emitError(llvm::toString(seconds.takeError()));
    SublayerCosts costs;
    costs.total = seconds->back();
    seconds->pop_back();
    costs.each = std::move(*seconds);
    return take(std::move(costs), given.latency);
  }
  options.budget =
      given.count ? given.count : std::floor(given.ratio * candidates + 0.5);
  return success();
}

/// Why a sublayer that the search left in stays.
std::string Selection::explain(const LayerSearchResult &found,
                               const StagedSublayer &sublayer,
                               unsigned i) const {
  if (!sublayer.fixed.empty())
    return sublayer.fixed;
  if (!options.kinds.empty() &&
      !llvm::all_of(sublayer.kinds, [&](SublayerKind kind) {
        return llvm::is_contained(options.kinds, kind);
      }))
    return "its kind is not among those asked for";
  if (found.kept.test(i))
    return "early blocks are protected; protect=0 opens them";
  if (found.steps.empty())
    return "the budget is nothing";
  return "others matter less";
}

void Selection::keep(SublayerOp op, const Twine &why) {
  SmallVector<const void *> subjects;
  for (unsigned addend = 0; addend < op.getNumAddends(); ++addend)
    subjects.push_back(getAddendOperand(op, addend));
  given.log->kept(subjects, op)
      << given.method << ": '" << nameOf(op) << "' stays: " << why;
}

SmallVector<std::string> Selection::report(ArrayRef<StagedSublayer> sublayers,
                                           const LayerSearchResult &found,
                                           size_t candidates) {
  SmallVector<std::string> names;
  llvm::BitVector removed(ops.size());
  double saved = 0;
  for (auto [i, made] : llvm::enumerate(found.steps)) {
    removed.set(made.sublayer);
    saved += options.costs.empty() ? 1 : options.costs[made.sublayer];
    ops[made.sublayer].emitRemark(given.method)
        << ": '" << nameOf(ops[made.sublayer]) << "' is number "
        << static_cast<unsigned>(i + 1) << " of "
        << static_cast<unsigned>(found.steps.size()) << " to go"
        << formatScore(made.score);
    llvm::append_range(names, sublayers[made.sublayer].names);
  }
  for (auto [i, op] : llvm::enumerate(ops))
    if (!removed.test(i))
      keep(op, explain(found, sublayers[i], i));
  InFlightDiagnostic summary = module.emitRemark(given.method);
  summary << ": " << static_cast<unsigned>(found.steps.size()) << " of "
          << static_cast<unsigned>(candidates) << " sublayers go";
  if (std::isnan(found.distance))
    summary << ", by the influence that '" << given.profile << "' has";
  else
    summary << ", distance from the original (" << metric << ") "
            << formatNumber("", found.distance) << ", " << found.evaluations
            << " evaluations";
  if (!options.costs.empty())
    summary << formatNumber("; saves ", saved)
            << formatNumber(" of a budget of ", options.budget);
  return names;
}

FailureOr<SmallVector<std::string>>
Selection::run(llvm::function_ref<std::string(SublayerOp)> whyFixed) {
  if (!given.count && !given.ratio && !given.parameters && !given.flops &&
      !given.latency) {
    for (SublayerOp op : ops)
      keep(op, "the budget is nothing");
    return SmallVector<std::string>();
  }
  if (!given.profile.empty())
    return runFromProfile(whyFixed);
  if (failed(loadSamples()))
    return failure();
  StagedModelOptions compiling;
  compiling.cpu = given.cpu;
  compiling.workers = given.threads;
  std::unique_ptr<StagedModel> model = StagedModel::compile(module, compiling);
  if (!model)
    return failure();
  for (auto [i, op] : llvm::enumerate(ops))
    if (model->getSublayers()[i].fixed.empty())
      model->fix(i, whyFixed(op));
  size_t candidates =
      listCandidates(model->getSublayers(), options.kinds).size();
  auto evaluator = Evaluator::create(*model, std::move(samples), output);
  if (!evaluator)
    return module.emitError(llvm::toString(evaluator.takeError()));
  if (!targets.empty())
    (*evaluator)->setTargets(std::move(targets));
  if (failed(setBudget(evaluator->get(), candidates)))
    return failure();
  unsigned step = 0;
  bool shown = llvm::errs().is_displayed();
  auto progress = [&](const LayerStep &made) {
    ++step;
    if (shown)
      llvm::errs() << given.method << ": " << step
                   << (options.method == LayerMethod::FinerCut &&
                               options.costs.empty()
                           ? formatNumber(" of ", options.budget)
                           : std::string())
                   << formatScore(made.score) << '\n';
  };
  auto found = searchLayers(**evaluator, options, progress);
  if (!found)
    return module.emitError(llvm::toString(found.takeError()));
  return report(model->getSublayers(), *found, candidates);
}

/// ShortGPT's figure, the mean over tokens of 1 - cos, of each sublayer. The
/// profile has the mean over the tokens that have a direction; the others have
/// turned by 1.
FailureOr<std::vector<double>>
Selection::readInfluence(ArrayRef<StagedSublayer> sublayers) {
  auto profile = Profile::open(given.profile);
  if (!profile)
    return module.emitError(llvm::toString(profile.takeError()));
  if (failed((*profile)->checkModel(module)))
    return failure();
  if ((*profile)->isSequential())
    return refuse("'" + given.profile +
                  "' has measured layers behind rewritten ones; "
                  "block-influence takes those of the original");
  auto tokens = static_cast<double>((*profile)->getNumTokens());
  std::vector<double> influence;
  for (const StagedSublayer &sublayer : sublayers) {
    const ProbedLayer *layer = (*profile)->findLayer(sublayer.names.front());
    if (!layer || layer->names != sublayer.names)
      return module.emitError("'")
             << given.profile << "' has no sublayer '"
             << llvm::join(sublayer.names, " + ") << "' [FFN-D105]";
    auto cosine = (*profile)->get<double>(*layer, "", "cosine", {1});
    if (!cosine)
      return module.emitError(llvm::toString(cosine.takeError()));
    auto measured = (*profile)->get<int64_t>(*layer, "", "measured", {1});
    if (!measured)
      return module.emitError(llvm::toString(measured.takeError()));
    influence.push_back(
        tokens > 0 ? 1 - cosine->front() * measured->front() / tokens : 0);
  }
  return influence;
}

FailureOr<SmallVector<std::string>> Selection::runFromProfile(
    llvm::function_ref<std::string(SublayerOp)> whyFixed) {
  FailureOr<StagedModule> cut = cutIntoStages(module);
  if (failed(cut))
    return failure();
  for (auto [op, sublayer] : llvm::zip_equal(ops, cut->sublayers))
    if (sublayer.fixed.empty())
      sublayer.fixed = whyFixed(op);
  size_t candidates = listCandidates(cut->sublayers, options.kinds).size();
  if (failed(setBudget(nullptr, candidates)))
    return failure();
  FailureOr<std::vector<double>> influence = readInfluence(cut->sublayers);
  if (failed(influence))
    return failure();
  auto found = searchInfluence(cut->sublayers, *influence, options);
  if (!found)
    return module.emitError(llvm::toString(found.takeError()));
  return report(cut->sublayers, *found, candidates);
}

FailureOr<SmallVector<std::string>> mlir::ffn::selectSublayers(
    ModuleOp module, const SelectOptions &given,
    llvm::function_ref<std::string(SublayerOp)> whyFixed) {
  Selection selection(module, given);
  if (failed(selection.parse()))
    return failure();
  return selection.run(whyFixed);
}
