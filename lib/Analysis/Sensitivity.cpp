//===- Sensitivity.cpp - What leaving out sublayers does ------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Detail.h"
#include "ffn-mlir/Search/Evaluator.h"
#include "ffn-mlir/Search/SelectSublayers.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::analysis;

Result analysis::analyzeSensitivity(ModuleOp module, ModuleOp,
                                    Options options) {
  if (failed(listNetworks(module)))
    return failure();
  FailureOr<Samples> samples = loadSamples(module, options);
  if (failed(samples))
    return failure();
  std::optional<unsigned> output = findLogits(samples->signature.outputs);
  if (!output)
    return module.emitError("no output of the model is a tensor of floats, "
                            "whose change could be measured [FFN-A103]");
  std::unique_ptr<StagedModel> model = compileStages(module, options);
  if (!model)
    return failure();
  json::Object data = samples->describe(options);
  auto targets = listNextTokens(samples->signature, samples->set.samples);
  auto evaluator =
      Evaluator::create(*model, std::move(samples->set.samples), *output);
  if (!evaluator)
    return refuse(module, evaluator.takeError());
  bool isLanguage = !targets.empty();
  if (isLanguage)
    (*evaluator)->setTargets(std::move(targets));

  // Every sublayer that can go, then every block of several, then nothing.
  ArrayRef<StagedSublayer> sublayers = model->getSublayers();
  std::vector<llvm::BitVector> masks;
  json::Array rows;
  auto add = [&](const llvm::BitVector &mask, const std::string &name,
                 StringRef kind) {
    masks.push_back(mask);
    rows.push_back(json::Object{{"name", name}, {"kind", kind}});
  };
  for (auto [i, sublayer] : llvm::enumerate(sublayers)) {
    if (!sublayer.fixed.empty())
      continue;
    std::string name = getName(sublayer);
    llvm::BitVector mask = (*evaluator)->none();
    mask.set(i);
    add(mask, name, stringifySublayerKind(sublayer.kinds.front()));
  }
  for (size_t begin = 0, end; begin < sublayers.size(); begin = end) {
    llvm::BitVector mask = (*evaluator)->none();
    for (end = begin; end < sublayers.size() &&
                      sublayers[end].block == sublayers[begin].block;
         ++end)
      if (sublayers[end].fixed.empty())
        mask.set(end);
    if (mask.count() > 1)
      add(mask, "block " + std::to_string(sublayers[begin].block), "block");
  }
  masks.push_back((*evaluator)->none());

  auto measure = [&](LogitMetric metric, StringRef key,
                     bool asDifference) -> LogicalResult {
    options.progress("running the model without each of " + Twine(rows.size()) +
                     " parts: " + key);
    auto figures = (*evaluator)->measure(masks, metric);
    if (!figures)
      return refuse(module, figures.takeError());
    double whole = figures->back();
    for (auto [i, row] : llvm::enumerate(rows)) {
      double value = (*figures)[i] - (asDifference ? whole : 0);
      (*row.getAsObject())[key] =
          std::isfinite(value) ? json::Value(value) : json::Value(nullptr);
    }
    return success();
  };
  if (failed(measure(LogitMetric::KL, "kl", false)) ||
      failed(measure(LogitMetric::Angular, "angle", false)) ||
      (isLanguage && failed(measure(LogitMetric::NLL, "nll_increase", true))))
    return failure();
  return json::Object{{"analysis", "sensitivity"},
                      {"calibration", std::move(data)},
                      {"output", json::fixUTF8(model->getResultName(*output))},
                      {"parts", std::move(rows)}};
}

View analysis::showSensitivity(const json::Object &result) {
  View view;
  view.title = "Sensitivity, " + describeData(result);
  view.text = {
      "The output '" + getText(result, "output") +
          "' of the model without one part against the whole model: KL "
          "divergence of its rows as distributions in nats, angle between rows "
          "in radians, means over rows; for language models also the increase "
          "of the negative log likelihood of the next token in nats.",
      "Parts with small figures are the first candidates of "
      "ffn-prune-sublayers. The figures of several parts do not add up."};
  std::vector<const json::Object *> rows = getObjects(result, "parts");
  Table table{"", {"left out", "<kind", "KL", "angle", "NLL increase"}, {}};
  for (const json::Object *row : rows)
    table.rows.push_back({getText(*row, "name"), getText(*row, "kind"),
                          formatNumber(getNumber(*row, "kl")),
                          formatNumber(getNumber(*row, "angle")),
                          formatNumber(getNumber(*row, "nll_increase"))});
  view.tables.push_back(std::move(table));
  std::vector<const json::Object *> singles, blocks;
  for (const json::Object *row : rows)
    (getText(*row, "kind") == "block" ? blocks : singles).push_back(row);
  view.charts.push_back({Chart::Kind::Bars,
                         "One sublayer left out",
                         "KL divergence, nats",
                         "",
                         getTexts(singles, "name"),
                         {makeSeries("KL", singles, "kl")}});
  if (!blocks.empty())
    view.charts.push_back({Chart::Kind::Bars,
                           "One block left out",
                           "KL divergence, nats",
                           "",
                           getTexts(blocks, "name"),
                           {makeSeries("KL", blocks, "kl")}});
  return view;
}
