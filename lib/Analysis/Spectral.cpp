//===- Spectral.cpp - Directions of hidden vectors ------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Detail.h"
#include "ffn-mlir/Analysis/SymmetricEigen.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::analysis;

static constexpr size_t kPoints = 21;
/// Eigenvalues below this part of the largest are rounding.
static constexpr double kClamp = 1e-12;

/// Figures of the eigenvalues of a covariance, largest first.
static json::Object describeCovariance(std::vector<double> values) {
  double m = values.size(), sum = 0, squares = 0;
  for (double &value : values) {
    value = std::max(value, kClamp * std::max(0.0, values.front()));
    sum += value;
    squares += value * value;
  }
  json::Object row{{"m", static_cast<int64_t>(values.size())},
                   {"variance", sum}};
  if (!(sum > 0)) {
    for (const char *key :
         {"hard_rank", "soft_rank", "hard_utilisation", "soft_utilisation",
          "sui", "top_1", "top_10_percent"})
      row[key] = 0;
    return row;
  }
  double entropy = 0;
  for (double value : values)
    entropy -= value / sum * std::log(value / sum);
  double hard = sum * sum / squares, soft = std::exp(entropy);
  row["hard_rank"] = hard;
  row["soft_rank"] = soft;
  row["hard_utilisation"] = hard / m;
  row["soft_utilisation"] = soft / m;
  row["sui"] = 2 / (m / hard + m / soft);
  double top = 0;
  for (size_t i = 0; i < std::max<size_t>(1, values.size() / 10); ++i)
    top += values[i];
  row["top_1"] = values.front() / sum;
  row["top_10_percent"] = top / sum;
  double cumulative = 0;
  std::vector<double> shares;
  for (double value : values)
    shares.push_back((cumulative += value) / sum);
  row["cumulative"] = pickEvenly(shares, kPoints);
  return row;
}

Result analysis::analyzeSpectral(ModuleOp module, ModuleOp, Options options) {
  if (failed(listNetworks(module)))
    return failure();
  FailureOr<std::unique_ptr<Profile>> profile =
      getProfile(module, options, "hidden,hidden-gram");
  if (failed(profile))
    return failure();
  json::Array rows;
  for (const ProbedLayer &layer : (*profile)->getLayers())
    for (const ProbedLayer::Network &network : layer.networks) {
      std::string name = getNetworkName(layer.names.front(), network.index);
      options.progress("eigenvalues of " + name);
      int64_t m = network.hiddenWidth;
      auto gram =
          (*profile)->get<double>(layer, network.hidden, "gram", {m, m});
      if (!gram)
        return refuse(module, gram.takeError());
      auto mean = (*profile)->get<double>(layer, network.hidden, "mean", {m});
      if (!mean)
        return refuse(module, mean.takeError());
      double tokens = (*profile)->getNumTokens();
      std::vector<double> covariance(gram->begin(), gram->end());
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < m; ++j)
          covariance[i * m + j] =
              covariance[i * m + j] / tokens - (*mean)[i] * (*mean)[j];
      auto values = computeEigenvalues(covariance, m);
      if (!values)
        return module.emitError("the profile of '" + name +
                                "' holds numbers that are not finite "
                                "[FFN-A106]");
      json::Object row = describeCovariance(std::move(*values));
      row["sublayer"] = name;
      rows.push_back(std::move(row));
    }
  return json::Object{{"analysis", "spectral"},
                      {"calibration", analysis::describe(**profile)},
                      {"networks", std::move(rows)}};
}

View analysis::showSpectral(const json::Object &result) {
  View view;
  view.title = "Directions of hidden vectors, " + describeData(result);
  view.text = {
      "Of the eigenvalues of the covariance of each network's hidden vector: "
      "hard rank (sum squared by the sum of squares), soft rank (exp of the "
      "entropy), both by m, and their harmonic mean (SUI); the part of the "
      "variance in the largest and in the largest tenth.",
      "Hard and soft rank far below m: pruning neurons or low rank may pay. "
      "Fewer tokens than m bound all of them."};
  std::vector<const json::Object *> rows = getObjects(result, "networks");
  Table table{"",
              {"sublayer", "m", "hard rank", "soft rank", "hard/m", "soft/m",
               "SUI", "largest", "largest tenth"},
              {}};
  Chart lines{Chart::Kind::Lines,
              "Variance in the largest directions",
              "% of the variance",
              "% of the directions",
              {},
              {}};
  size_t points = 0;
  for (const json::Object *row : rows) {
    table.rows.push_back({getText(*row, "sublayer"),
                          formatNumber(getNumber(*row, "m")),
                          formatNumber(getNumber(*row, "hard_rank")),
                          formatNumber(getNumber(*row, "soft_rank")),
                          formatPercent(getNumber(*row, "hard_utilisation")),
                          formatPercent(getNumber(*row, "soft_utilisation")),
                          formatPercent(getNumber(*row, "sui")),
                          formatPercent(getNumber(*row, "top_1")),
                          formatPercent(getNumber(*row, "top_10_percent"))});
    Series series{getText(*row, "sublayer"), getNumbers(*row, "cumulative")};
    for (double &value : series.values)
      value *= 100;
    points = std::max(points, series.values.size());
    lines.series.push_back(std::move(series));
  }
  for (size_t i = 0; i < points; ++i)
    lines.categories.push_back(
        formatNumber(std::round(100. * i / std::max<size_t>(1, points - 1))));
  view.tables.push_back(std::move(table));
  view.charts = {{Chart::Kind::Bars,
                  "Utilisation of the hidden layer",
                  "% of m",
                  "",
                  getTexts(rows, "sublayer"),
                  {makeSeries("hard rank", rows, "hard_utilisation", 100),
                   makeSeries("soft rank", rows, "soft_utilisation", 100)}},
                 std::move(lines)};
  return view;
}
