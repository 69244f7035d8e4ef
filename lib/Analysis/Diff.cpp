//===- Diff.cpp - Two checkpoints of one model ----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Detail.h"
#include "ffn-mlir/Driver/Metrics.h"
#include "ffn-mlir/Support/WeightEval.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <cmath>
#include <map>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::analysis;

namespace {
/// Sums over pairs of elements.
struct Drift {
  double difference = 0, first = 0, second = 0, product = 0, largest = 0;
  uint64_t elements = 0, changed = 0;

  void add(ArrayRef<double> a, ArrayRef<double> b) {
    for (auto [x, y] : llvm::zip_equal(a, b)) {
      double delta = y - x;
      difference += delta * delta;
      first += x * x;
      second += y * y;
      product += x * y;
      largest = std::max(largest, std::abs(delta));
      changed += delta != 0;
    }
    elements += a.size();
  }
  void add(const Drift &other) {
    difference += other.difference;
    first += other.first;
    second += other.second;
    product += other.product;
    largest = std::max(largest, other.largest);
    elements += other.elements;
    changed += other.changed;
  }
  json::Object toJSON() const {
    auto number = [](double value) {
      return std::isfinite(value) ? json::Value(value) : json::Value(nullptr);
    };
    return json::Object{
        {"elements", elements},
        {"changed", elements ? static_cast<double>(changed) / elements : 0},
        {"relative_l2", difference == 0
                            ? json::Value(0)
                            : number(std::sqrt(difference / first))},
        {"cosine", difference == 0
                       ? json::Value(1)
                       : number(product / std::sqrt(first * second))},
        {"max_abs", largest}};
  }
};
} // namespace

static SmallVector<Value> listWeights(ArrayRef<Operation *> roots) {
  SmallVector<Value> weights;
  for (Operation *root : roots)
    root->walk([&](ComputeOpInterface op) {
      for (Value weight : op.getWeightOperands())
        if (isWeightExpression(weight) && !llvm::is_contained(weights, weight))
          weights.push_back(weight);
    });
  return weights;
}

/// Compares the weights of two parts of the models, in the order of their use.
static LogicalResult compareWeights(ModuleOp module, const std::string &name,
                                    ArrayRef<Operation *> a,
                                    ArrayRef<Operation *> b, Drift &total,
                                    json::Array &rows) {
  SmallVector<Value> first = listWeights(a), second = listWeights(b);
  if (first.size() != second.size())
    return module.emitError("'" + name + "' has ")
           << first.size() << " weights in the first model and "
           << second.size()
           << " in the second: they are no checkpoints of one model "
              "[FFN-A104]";
  for (auto [x, y] : llvm::zip_equal(first, second)) {
    auto typeX = llvm::cast<RankedTensorType>(x.getType());
    auto typeY = llvm::cast<RankedTensorType>(y.getType());
    if (typeX.getShape() != typeY.getShape())
      return module.emitError("'" + name + "', weight '" +
                              getWeightKey(x).str() + "' is ")
             << typeX << " in the first model and " << typeY
             << " in the second: they are no checkpoints of one model "
                "[FFN-A104]";
    Drift drift;
    WeightRows other(y);
    std::vector<double> row;
    LogicalResult same = success();
    if (failed(forEachRow(x,
                          [&](ArrayRef<double> values) {
                            if (failed(same))
                              return;
                            same = other.next(row);
                            if (succeeded(same))
                              drift.add(values, row);
                          })) ||
        failed(same))
      return failure();
    total.add(drift);
    json::Object entry = drift.toJSON();
    entry["sublayer"] = name;
    entry["weight"] = json::fixUTF8(getWeightKey(x));
    rows.push_back(std::move(entry));
  }
  return success();
}

/// Hidden states behind the sublayers of both models on the same data.
static LogicalResult compareHidden(ModuleOp module, ModuleOp other,
                                   Options options,
                                   std::map<std::string, json::Object *> &rows,
                                   json::Object &result) {
  std::unique_ptr<StagedModel> models[2];
  std::vector<std::vector<HostTensor>> samples[2];
  std::map<std::string, unsigned> places[2];
  for (int side : {0, 1}) {
    FailureOr<Samples> loaded = loadSamples(side ? other : module, options);
    if (failed(loaded) ||
        !(models[side] = compileStages(side ? other : module, options)))
      return failure();
    if (side == 0)
      result["calibration"] = loaded->describe(options);
    samples[side] = std::move(loaded->set.samples);
    for (auto [i, sublayer] : llvm::enumerate(models[side]->getSublayers()))
      places[side][getName(sublayer)] = i;
  }
  std::map<std::string, TensorComparison> comparisons;
  for (size_t sample = 0; sample < samples[0].size(); ++sample) {
    options.progress("running sample " + Twine(sample + 1) + "/" +
                     Twine(samples[0].size()));
    StagedModel::State states[2];
    for (int side : {0, 1}) {
      states[side] = models[side]->begin(std::move(samples[side][sample]));
      llvm::BitVector none(models[side]->getSublayers().size());
      if (llvm::Error error = models[side]->run(states[side], none, 0, 0))
        return refuse(module, std::move(error));
    }
    std::vector<double> memory[2];
    for (auto &[name, row] : rows) {
      const HostTensor &a = *models[0]->getHidden(states[0], places[0][name]),
                       &b = *models[1]->getHidden(states[1], places[1][name]);
      if (a.getShape() != b.getShape())
        return module.emitError("'" + name + "': hidden states of shapes ")
               << shapeName(a.getShape()) << " and " << shapeName(b.getShape())
               << " [FFN-A104]";
      comparisons[name].add(toDoubles(a, memory[0]), toDoubles(b, memory[1]));
    }
  }
  for (auto &[name, row] : rows) {
    (*row)["hidden_relative_l2"] = comparisons[name].relativeL2();
    (*row)["hidden_cosine"] = comparisons[name].cosine();
  }
  return success();
}

Result analysis::analyzeDiff(ModuleOp module, ModuleOp other, Options options) {
  FailureOr<std::vector<NamedSublayer>> first = listNetworks(module),
                                        second = listNetworks(other);
  if (failed(first) || failed(second))
    return failure();
  std::map<std::string, NamedSublayer *> byName;
  for (NamedSublayer &entry : *second)
    byName[entry.name] = &entry;
  json::Array weights, sublayers, onlyFirst, onlySecond;
  std::map<std::string, Drift> kinds;
  Drift total;
  auto add = [&](const std::string &name, const std::string &kind,
                 ArrayRef<Operation *> a,
                 ArrayRef<Operation *> b) -> FailureOr<json::Object> {
    options.progress("weights of " + name);
    Drift drift;
    if (failed(compareWeights(module, name, a, b, drift, weights)))
      return failure();
    kinds[kind].add(drift);
    total.add(drift);
    json::Object row = drift.toJSON();
    row["name"] = name;
    row["kind"] = kind;
    return row;
  };
  for (NamedSublayer &entry : *first) {
    auto found = byName.find(entry.name);
    if (found == byName.end()) {
      onlyFirst.push_back(entry.name);
      continue;
    }
    FailureOr<json::Object> row =
        add(entry.name, entry.kind, {entry.op}, {found->second->op});
    if (failed(row))
      return failure();
    sublayers.push_back(std::move(*row));
    byName.erase(found);
  }
  for (NamedSublayer &entry : *second)
    if (byName.count(entry.name))
      onlySecond.push_back(entry.name);
  if (sublayers.empty())
    return module.emitError("the models have no sublayer of one name: they are "
                            "no checkpoints of one model [FFN-A104]");
  FailureOr<json::Object> outside =
      add("(outside)", "outside", listOutside(module), listOutside(other));
  if (failed(outside))
    return failure();
  json::Object result{{"analysis", "diff"}};
  if (!options.calibration.data.empty()) {
    std::map<std::string, json::Object *> rows;
    for (json::Value &row : sublayers)
      rows[getText(*row.getAsObject(), "name")] = row.getAsObject();
    if (failed(compareHidden(module, other, options, rows, result)))
      return failure();
  }
  sublayers.push_back(std::move(*outside));
  json::Array byKind;
  for (auto &[kind, drift] : kinds) {
    json::Object row = drift.toJSON();
    row["kind"] = kind;
    byKind.push_back(std::move(row));
  }
  result["sublayers"] = std::move(sublayers);
  result["kinds"] = std::move(byKind);
  result["weights"] = std::move(weights);
  result["total"] = total.toJSON();
  result["only_in_a"] = std::move(onlyFirst);
  result["only_in_b"] = std::move(onlySecond);
  return result;
}

View analysis::showDiff(const json::Object &result) {
  View view;
  bool ran = result.get("calibration") != nullptr;
  view.title = "From one checkpoint to the other";
  view.text = {
      "Relative L2: norm of the change by the norm of the first checkpoint's "
      "weights. Changed: part of the elements that differ at all. Hidden: the "
      "same of the hidden state behind a sublayer, which sums up all changes "
      "before it.",
      "Where only some kinds of sublayers moved, only those need new profiles, "
      "quantization and tests."};
  if (ran)
    view.text.push_back("Hidden states on " + describeData(result) + ".");
  for (auto [key, where] :
       {std::pair("only_in_a", "first"), std::pair("only_in_b", "second")})
    if (const json::Array *names = result.getArray(key);
        names && !names->empty()) {
      std::string text;
      for (const json::Value &name : *names)
        text +=
            (text.empty() ? "" : ", ") + name.getAsString().value_or("").str();
      view.text.push_back(std::string("Only in the ") + where + ": " + text +
                          ".");
    }
  auto format = [](const json::Object &row) {
    return std::vector<std::string>{formatScaled(getNumber(row, "elements")),
                                    formatPercent(getNumber(row, "changed")),
                                    formatNumber(getNumber(row, "relative_l2")),
                                    formatNumber(getNumber(row, "cosine")),
                                    formatNumber(getNumber(row, "max_abs"))};
  };
  Table table{"",
              {"sublayer", "<kind", "elements", "changed", "relative L2",
               "cosine", "max abs"},
              {}};
  if (ran)
    table.columns.insert(table.columns.end(), {"hidden L2", "hidden cosine"});
  std::vector<const json::Object *> rows = getObjects(result, "sublayers");
  for (const json::Object *row : rows) {
    std::vector<std::string> cells = {getText(*row, "name"),
                                      getText(*row, "kind")};
    llvm::append_range(cells, format(*row));
    if (ran) {
      cells.push_back(formatNumber(getNumber(*row, "hidden_relative_l2")));
      cells.push_back(formatNumber(getNumber(*row, "hidden_cosine")));
    }
    table.rows.push_back(std::move(cells));
  }
  view.tables.push_back(std::move(table));
  Table kinds{
      "By kind",
      {"kind", "elements", "changed", "relative L2", "cosine", "max abs"},
      {}};
  for (const json::Object *row : getObjects(result, "kinds")) {
    std::vector<std::string> cells = {getText(*row, "kind")};
    llvm::append_range(cells, format(*row));
    kinds.rows.push_back(std::move(cells));
  }
  view.tables.push_back(std::move(kinds));
  view.charts.push_back({Chart::Kind::Bars,
                         "Drift of weights",
                         "relative L2",
                         "",
                         getTexts(rows, "name"),
                         {makeSeries("relative L2", rows, "relative_l2")}});
  if (ran)
    view.charts.push_back(
        {Chart::Kind::Bars,
         "Drift of hidden states",
         "relative L2",
         "",
         getTexts(rows, "name"),
         {makeSeries("relative L2", rows, "hidden_relative_l2")}});
  return view;
}
