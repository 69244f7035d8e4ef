//===- SelectSublayers.cpp - A search as a pass runs it -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/SelectSublayers.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

static FailureOr<LayerSearchOptions> parseOptions(ModuleOp module,
                                                  const SelectOptions &given) {
  auto refuse = [&](const llvm::Twine &what) {
    return module.emitError(what + " [FFN-P111]");
  };
  LayerSearchOptions options;
  std::optional<LayerMethod> method = parseLayerMethod(given.method);
  if (!method)
    return refuse("method '" + given.method +
                  "' is none of finercut, block-influence, random, evopress");
  options.method = *method;
  std::optional<LogitMetric> metric = parseLogitMetric(given.metric);
  if (!metric)
    return refuse("metric '" + given.metric +
                  "' is none of js, js-reverse, angular, norm, kl");
  options.metric = *metric;
  for (const std::string &name : given.kinds) {
    std::optional<SublayerKind> kind = symbolizeSublayerKind(name);
    if (!kind)
      return refuse("'" + name + "' is no kind of sublayer");
    options.kinds.push_back(*kind);
  }
  if (!(given.ratio >= 0 && given.ratio <= 1))
    return refuse("ratio is not between 0 and 1");
  if (!(given.protect >= 0 && given.protect <= 1))
    return refuse("protect is not between 0 and 1");
  if (given.calibration.data.empty())
    return refuse("method '" + given.method +
                  "' needs calibration data: calib=FILE, a text, token lists "
                  "(.json), a folder of them, or an .npz archive of inputs");
  options.protect = given.protect;
  options.seed = given.calibration.seed;
  options.maxEvaluations = given.maxEvaluations;
  return options;
}

/// The logits: the result of that name, else the first of floats.
static std::optional<unsigned> findOutput(ArrayRef<Artefact::Value> outputs) {
  for (auto [i, value] : llvm::enumerate(outputs))
    if (value.name == "logits")
      return i;
  for (auto [i, value] : llvm::enumerate(outputs))
    if ((value.dtype.code == 2 || value.dtype.code == 4) &&
        !value.shape.empty())
      return i;
  return std::nullopt;
}

static std::string formatNumber(StringRef before, double number) {
  std::string text = before.str();
  llvm::raw_string_ostream(text) << llvm::format("%.6g", number);
  return text;
}

static std::string formatScore(double score) {
  return std::isnan(score) ? "" : formatNumber(", score ", score);
}

FailureOr<SmallVector<std::string>>
mlir::ffn::selectSublayers(ModuleOp module, const SelectOptions &given) {
  FailureOr<LayerSearchOptions> options = parseOptions(module, given);
  if (failed(options))
    return failure();
  SmallVector<SublayerOp> ops;
  if (auto main = module.lookupSymbol<func::FuncOp>("main");
      main && !main.isExternal())
    llvm::append_range(ops, main.getBody().front().getOps<SublayerOp>());
  unsigned candidates = llvm::count_if(ops, [&](SublayerOp op) {
    return options->kinds.empty() ||
           llvm::is_contained(options->kinds, op.getAddend(0).getKind());
  });
  options->count =
      given.count
          ? given.count
          : static_cast<unsigned>(std::floor(given.ratio * candidates + 0.5));
  if (options->count == 0)
    return SmallVector<std::string>();
  ModelSignature signature = getModelSignature(module);
  std::optional<unsigned> output = findOutput(signature.outputs);
  if (!output)
    return module.emitError("the model has no output of floats to compare "
                            "[FFN-P111]");
  options->output = *output;
  auto samples =
      loadCalibration(signature.inputs, signature.outputs, given.calibration);
  if (!samples)
    return module.emitError(llvm::toString(samples.takeError()));
  StagedModelOptions compiling;
  compiling.cpu = given.cpu;
  std::unique_ptr<StagedModel> model = StagedModel::compile(module, compiling);
  if (!model)
    return failure();
  unsigned step = 0;
  bool shown = llvm::errs().is_displayed();
  auto nameOf = [&](unsigned i) {
    return llvm::join(model->getSublayers()[i].names, " + ");
  };
  auto progress = [&](const LayerStep &made) {
    ++step;
    if (shown)
      llvm::errs() << given.method << ": " << step
                   << (options->method == LayerMethod::FinerCut
                           ? " of " + std::to_string(options->count)
                           : std::string())
                   << formatScore(made.score) << '\n';
  };
  auto found = searchLayers(*model, std::move(*samples), *options, progress);
  if (!found)
    return module.emitError(llvm::toString(found.takeError()));
  SmallVector<std::string> names;
  llvm::BitVector removed(ops.size());
  for (auto [i, made] : llvm::enumerate(found->steps)) {
    removed.set(made.sublayer);
    ops[made.sublayer].emitRemark(given.method)
        << ": '" << nameOf(made.sublayer) << "' is number "
        << static_cast<unsigned>(i + 1) << " of " << options->count << " to go"
        << formatScore(made.score);
    llvm::append_range(names, model->getSublayers()[made.sublayer].names);
  }
  for (auto [i, op] : llvm::enumerate(ops)) {
    if (removed.test(i))
      continue;
    const StagedSublayer &sublayer = model->getSublayers()[i];
    std::string why = "others matter less";
    if (!sublayer.fixed.empty())
      why = sublayer.fixed;
    else if (!options->kinds.empty() &&
             !llvm::is_contained(options->kinds, sublayer.kind))
      why = "its kind is not among those asked for";
    else if (found->kept.test(i))
      why = "early blocks are protected; protect=0 opens them";
    op.emitRemark(given.method) << ": '" << nameOf(i) << "' stays: " << why;
  }
  module.emitRemark(given.method)
      << ": " << options->count << " of " << candidates
      << " sublayers go, distance from the original (" << given.metric << ") "
      << formatNumber("", found->distance) << ", " << found->evaluations
      << " evaluations";
  return names;
}
