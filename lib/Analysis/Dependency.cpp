//===- Dependency.cpp - The dependency matrix -----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/Dependency.h"
#include "Detail.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::analysis;

/// The parts that are left out, and their names.
static std::vector<std::pair<std::string, DependencyPart>>
listParts(const StagedModel &model, StringRef kind) {
  std::vector<std::pair<std::string, DependencyPart>> parts;
  for (auto [i, sublayer] : llvm::enumerate(model.getSublayers())) {
    unsigned index = i;
    if (kind == "block") {
      bool begins =
          i == 0 || model.getSublayers()[i - 1].block != sublayer.block;
      if (begins)
        parts.push_back({"block " + std::to_string(sublayer.block), {}});
      parts.back().second.push_back(index);
      continue;
    }
    std::string sublayerKind =
        stringifySublayerKind(sublayer.kinds.front()).str();
    if (kind == "all" || kind == sublayerKind)
      parts.push_back({getName(sublayer), {index}});
  }
  return parts;
}

Result analysis::analyzeDependency(ModuleOp module, ModuleOp, Options options) {
  if (failed(listNetworks(module)))
    return failure();
  if (!llvm::is_contained({"ffn", "attention", "all", "block"}, options.parts))
    return module.emitError("--parts=" + options.parts +
                            ": expected ffn, attention, all or block "
                            "[FFN-A105]");
  FailureOr<Samples> samples = loadSamples(module, options);
  if (failed(samples))
    return failure();
  std::unique_ptr<StagedModel> model = compileStages(module, options);
  if (!model)
    return failure();
  auto parts = listParts(*model, options.parts);
  SmallVector<DependencyPart> indices;
  json::Array names, matrix;
  for (auto &[name, part] : parts) {
    names.push_back(name);
    indices.push_back(part);
  }
  json::Object data = samples->describe(options);
  options.progress("running the model without each of " + Twine(parts.size()) +
                   " parts");
  auto found =
      measureDependency(*model, indices, std::move(samples->set.samples));
  if (!found)
    return refuse(module, found.takeError());
  for (unsigned i = 0; i < parts.size(); ++i) {
    json::Array row;
    for (unsigned j = 0; j < parts.size(); ++j) {
      double value = found->at(i, j);
      row.push_back(std::isnan(value) ? json::Value(nullptr)
                                      : json::Value(value));
    }
    matrix.push_back(std::move(row));
  }
  return json::Object{{"analysis", "dependency"},
                      {"parts", options.parts},
                      {"calibration", std::move(data)},
                      {"names", std::move(names)},
                      {"matrix", std::move(matrix)}};
}

View analysis::showDependency(const json::Object &result) {
  View view;
  view.title = "Dependency, " + describeData(result);
  view.text = {
      "Row i, column j: 1 - cos of what part j adds to the residual with and "
      "without the earlier part i, mean over tokens; 0 where j does not "
      "notice, "
      "1 where it turns by a right angle.",
      "Neighbours that hardly notice one another may read the same input: "
      "candidates of ffn-parallelize."};
  std::vector<std::string> names;
  if (const json::Array *list = result.getArray("names"))
    for (const json::Value &name : *list)
      names.push_back(name.getAsString().value_or("").str());
  Chart map{Chart::Kind::HeatMap,
            "Dependency of parts",
            "1 - cos",
            "column: what is looked at; row: what is left out",
            names,
            {}};
  Table table{
      "",
      {"left out", "of the next part", "largest", "<of", "mean of later"},
      {}};
  const json::Array *matrix = result.getArray("matrix");
  for (size_t i = 0; matrix && i < matrix->size() && i < names.size(); ++i) {
    Series series{names[i], {}};
    if (const json::Array *row = (*matrix)[i].getAsArray())
      for (const json::Value &value : *row)
        series.values.push_back(value.getAsNumber().value_or(kNaN));
    series.values.resize(names.size(), kNaN);
    double largest = kNaN, sum = 0;
    std::string where;
    for (size_t j = i + 1; j < names.size(); ++j) {
      sum += series.values[j];
      if (!(series.values[j] <= largest)) {
        largest = series.values[j];
        where = names[j];
      }
    }
    if (i + 1 < names.size())
      table.rows.push_back({names[i], formatNumber(series.values[i + 1]),
                            formatNumber(largest), where,
                            formatNumber(sum / (names.size() - i - 1))});
    map.series.push_back(std::move(series));
  }
  view.tables.push_back(std::move(table));
  view.charts.push_back(std::move(map));
  return view;
}
