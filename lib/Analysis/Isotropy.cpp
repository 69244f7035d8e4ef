//===- Isotropy.cpp - How alike tokens are --------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Detail.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::analysis;

namespace {
/// Means over samples (cosines of pairs) and over tokens (the rest).
struct Sums {
  double before = 0, after = 0, ratio = 0, cosine = 0;
  uint64_t samples = 0, tokens = 0;
};
} // namespace

/// Mean cosine of all pairs of rows that are not zero: of unit vectors u_t the
/// pairs sum to (|sum u_t|^2 - n) / 2. None below two rows.
static std::optional<double> measurePairs(const HostTensor &tensor) {
  size_t width = tensor.getShape().empty() ? 0 : tensor.getShape().back();
  if (width == 0)
    return std::nullopt;
  std::vector<double> sum(width, 0.0);
  double count = 0;
  for (size_t at = 0; at + width <= tensor.getNumElements(); at += width) {
    double squares = 0;
    for (size_t i = 0; i < width; ++i)
      squares += tensor.getDouble(at + i) * tensor.getDouble(at + i);
    if (!(squares > 0))
      continue;
    ++count;
    for (size_t i = 0; i < width; ++i)
      sum[i] += tensor.getDouble(at + i) / std::sqrt(squares);
  }
  if (count < 2)
    return std::nullopt;
  double squares = 0;
  for (double value : sum)
    squares += value * value;
  return (squares - count) / (count * (count - 1));
}

static void addTokens(const HostTensor &before, const HostTensor &after,
                      Sums &sums) {
  size_t width = before.getShape().empty() ? 0 : before.getShape().back();
  if (width == 0 || before.getNumElements() != after.getNumElements())
    return;
  for (size_t at = 0; at + width <= before.getNumElements(); at += width) {
    double in = 0, out = 0, product = 0;
    for (size_t i = 0; i < width; ++i) {
      double x = before.getDouble(at + i), y = after.getDouble(at + i) - x;
      in += x * x;
      out += y * y;
      product += x * y;
    }
    if (!(in > 0))
      continue;
    ++sums.tokens;
    sums.ratio += std::sqrt(out / in);
    if (out > 0)
      sums.cosine += product / std::sqrt(in * out);
  }
}

Result analysis::analyzeIsotropy(ModuleOp module, ModuleOp, Options options) {
  if (failed(listNetworks(module)))
    return failure();
  FailureOr<Samples> samples = loadSamples(module, options);
  if (failed(samples))
    return failure();
  std::unique_ptr<StagedModel> model = compileStages(module, options);
  if (!model)
    return failure();
  json::Object data = samples->describe(options);
  ArrayRef<StagedSublayer> sublayers = model->getSublayers();
  size_t count = samples->set.samples.size();
  // Each sample on its own: the sums are added in their order below.
  std::vector<std::vector<Sums>> measured(count,
                                          std::vector<Sums>(sublayers.size()));
  options.progress("running " + Twine(count) + " samples");
  llvm::Error error = forEachOnWorkers(
      model->getNumWorkers(), count,
      [&](size_t sample, unsigned worker) -> llvm::Error {
        StagedModel::State state =
            model->begin(std::move(samples->set.samples[sample]));
        llvm::BitVector none(sublayers.size());
        if (llvm::Error error = model->run(state, none, 0, worker))
          return error;
        for (unsigned i = 0; i < sublayers.size(); ++i) {
          Sums &sums = measured[sample][i];
          const HostTensor &before = *model->getResidual(state, i),
                           &after = *model->getHidden(state, i);
          addTokens(before, after, sums);
          auto pairsBefore = measurePairs(before),
               pairsAfter = measurePairs(after);
          if (!pairsBefore || !pairsAfter)
            continue;
          sums.before = *pairsBefore;
          sums.after = *pairsAfter;
          sums.samples = 1;
        }
        return llvm::Error::success();
      });
  if (error)
    return refuse(module, std::move(error));
  json::Array rows;
  for (auto [i, sublayer] : llvm::enumerate(sublayers)) {
    Sums total;
    for (const std::vector<Sums> &sample : measured) {
      total.before += sample[i].before;
      total.after += sample[i].after;
      total.samples += sample[i].samples;
      total.ratio += sample[i].ratio;
      total.cosine += sample[i].cosine;
      total.tokens += sample[i].tokens;
    }
    std::string name = getName(sublayer);
    double pairs = total.samples, tokens = total.tokens;
    auto mean = [](double sum, double n) {
      return n > 0 ? json::Value(sum / n) : json::Value(nullptr);
    };
    rows.push_back(
        json::Object{{"name", name},
                     {"kind", stringifySublayerKind(sublayer.kinds.front())},
                     {"cosine_before", mean(total.before, pairs)},
                     {"cosine_after", mean(total.after, pairs)},
                     {"norm_ratio", mean(total.ratio, tokens)},
                     {"cosine_to_input", mean(total.cosine, tokens)}});
  }
  return json::Object{{"analysis", "isotropy"},
                      {"calibration", std::move(data)},
                      {"sublayers", std::move(rows)}};
}

View analysis::showIsotropy(const json::Object &result) {
  View view;
  view.title = "Isotropy, " + describeData(result);
  view.text = {
      "Mean cosine of all pairs of tokens of a sample before and after each "
      "sublayer: 0 where they point everywhere, 1 where all are one direction. "
      "Norm ratio: length of what a sublayer adds by that of its input; cosine "
      "to input: how much of it only scales the residual. Means over tokens.",
      "Attention with a norm ratio far below 1 in front of an FFN hardly "
      "changes what the FFN reads: they may run in parallel."};
  std::vector<const json::Object *> rows = getObjects(result, "sublayers");
  Table table{
      "",
      {"sublayer", "<kind", "before", "after", "norm ratio", "cosine to input"},
      {}};
  std::vector<const json::Object *> networks;
  for (const json::Object *row : rows)
    table.rows.push_back({getText(*row, "name"), getText(*row, "kind"),
                          formatNumber(getNumber(*row, "cosine_before")),
                          formatNumber(getNumber(*row, "cosine_after")),
                          formatNumber(getNumber(*row, "norm_ratio")),
                          formatNumber(getNumber(*row, "cosine_to_input"))});
  view.tables.push_back(std::move(table));
  std::vector<std::string> names = getTexts(rows, "name");
  view.charts = {{Chart::Kind::Bars,
                  "Mean cosine of pairs of tokens",
                  "cosine (negative ones are drawn as 0)",
                  "",
                  names,
                  {makeSeries("before", rows, "cosine_before"),
                   makeSeries("after", rows, "cosine_after")}},
                 {Chart::Kind::Bars,
                  "What a sublayer adds",
                  "norm by that of its input",
                  "",
                  names,
                  {makeSeries("norm ratio", rows, "norm_ratio")}}};
  return view;
}
