//===- Sparsity.cpp - How small most hidden values are --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Detail.h"
#include "llvm/ADT/bit.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::analysis;

/// Bins of the histogram of |x|: exponent and six bits of the mantissa.
static constexpr int64_t kBins = 16384;

/// The smallest value of a bin.
static double getLower(int64_t bin) {
  return llvm::bit_cast<float>(static_cast<uint32_t>(bin) << 17);
}

/// Figures of a histogram. Within a bin, whose values differ by 1.6 % at most,
/// the middle stands for all.
static json::Object describeHistogram(ArrayRef<int64_t> bins) {
  double count = 0, energy = 0, sum = 0;
  std::vector<double> middles(bins.size(), 0.0);
  for (auto [i, number] : llvm::enumerate(bins)) {
    if (number == 0)
      continue;
    // Bin 0 holds zero, and what float32 hardly tells from it.
    middles[i] = i == 0 ? 0 : (getLower(i) + getLower(i + 1)) / 2;
    count += number;
    sum += number * middles[i];
    energy += number * middles[i] * middles[i];
  }
  json::Object row;
  if (!(count > 0))
    return row;
  double rms = std::sqrt(energy / count), tiny = 0;
  for (auto [i, number] : llvm::enumerate(bins))
    if (number && middles[i] <= 0.01 * rms)
      tiny += number;
  row["zero"] = bins[0] / count;
  row["near_zero"] = tiny / count;
  row["rms"] = rms;
  row["mean_magnitude"] = sum / count;
  // What thresholds for a share of zeros are, and what part of the energy
  // lies below them.
  json::Array list;
  double below = 0, lost = 0;
  size_t bin = 0;
  for (int percent = 10; percent <= 90; percent += 10) {
    for (; bin < bins.size() && below < percent / 100. * count * (1 - 1e-12);
         ++bin) {
      below += bins[bin];
      lost += bins[bin] * middles[bin] * middles[bin];
    }
    list.push_back(json::Object{{"share", percent / 100.},
                                {"threshold", bin ? getLower(bin) : 0},
                                {"energy", energy > 0 ? lost / energy : 0}});
  }
  row["thresholds"] = std::move(list);
  return row;
}

Result analysis::analyzeSparsity(ModuleOp module, ModuleOp, Options options) {
  if (failed(listNetworks(module)))
    return failure();
  FailureOr<std::unique_ptr<Profile>> profile =
      getProfile(module, options, "hidden,histogram");
  if (failed(profile))
    return failure();
  json::Array rows;
  for (const ProbedLayer &layer : (*profile)->getLayers())
    for (const ProbedLayer::Network &network : layer.networks) {
      int64_t m = network.hiddenWidth;
      auto histogram =
          (*profile)->get<int64_t>(layer, network.hidden, "histogram", {kBins});
      if (!histogram)
        return refuse(module, histogram.takeError());
      auto squares =
          (*profile)->get<double>(layer, network.hidden, "second_moment", {m});
      if (!squares)
        return refuse(module, squares.takeError());
      json::Object row = describeHistogram(*histogram);
      std::string name = getNetworkName(layer.names.front(), network.index);
      row["sublayer"] = name;
      row["m"] = m;
      row["activation"] = network.activation;
      std::vector<double> channels(squares->begin(), squares->end());
      llvm::sort(channels, std::greater<double>());
      double total = 0, top = 0;
      for (auto [i, value] : llvm::enumerate(channels)) {
        total += value;
        if (static_cast<int64_t>(i) < std::max<int64_t>(1, m / 10))
          top += value;
      }
      row["top_10_percent_of_neurons"] = total > 0 ? top / total : 0;
      rows.push_back(std::move(row));
    }
  return json::Object{{"analysis", "sparsity"},
                      {"calibration", analysis::describe(**profile)},
                      {"networks", std::move(rows)}};
}

View analysis::showSparsity(const json::Object &result) {
  View view;
  view.title = "Sparsity of hidden values, " + describeData(result);
  view.text = {
      "Of |h| over all neurons and tokens of a network: exact zeros, values "
      "below 1 % of the root mean square, and the part of the energy (sum of "
      "h^2) that is lost where the smallest 50 % or 90 % become zero. Largest "
      "tenth: part of the energy in the tenth of the neurons with most of it.",
      "Much of a network can be skipped where 50 % or more cost little energy: "
      "activation sparsity. Energy in few neurons: prune the others."};
  std::vector<const json::Object *> rows = getObjects(result, "networks");
  Table table{"",
              {"sublayer", "<activation", "m", "zero", "near zero", "rms",
               "lost at 50 %", "lost at 90 %", "largest tenth"},
              {}};
  Chart lines{Chart::Kind::Lines,
              "Energy lost where the smallest values become zero",
              "% of the energy",
              "% of the values",
              {},
              {}};
  for (const json::Object *row : rows) {
    Series series{getText(*row, "sublayer"), {}};
    std::vector<std::string> shares;
    for (const json::Object *entry : getObjects(*row, "thresholds")) {
      series.values.push_back(100 * getNumber(*entry, "energy"));
      shares.push_back(
          formatNumber(std::round(100 * getNumber(*entry, "share"))));
    }
    if (shares.size() > lines.categories.size())
      lines.categories = shares;
    auto at = [&](size_t i) {
      return i < series.values.size() ? series.values[i] / 100 : kNaN;
    };
    table.rows.push_back(
        {getText(*row, "sublayer"), getText(*row, "activation"),
         formatNumber(getNumber(*row, "m")),
         formatPercent(getNumber(*row, "zero")),
         formatPercent(getNumber(*row, "near_zero")),
         formatNumber(getNumber(*row, "rms")), formatPercent(at(4)),
         formatPercent(at(8)),
         formatPercent(getNumber(*row, "top_10_percent_of_neurons"))});
    lines.series.push_back(std::move(series));
  }
  view.tables.push_back(std::move(table));
  view.charts = {
      std::move(lines),
      {Chart::Kind::Bars,
       "Small values",
       "% of the values",
       "",
       getTexts(rows, "sublayer"),
       {makeSeries("zero", rows, "zero", 100),
        makeSeries("below 1 % of the rms", rows, "near_zero", 100)}}};
  return view;
}
