//===- Quality.cpp - What a rewrite did to a model's outputs --------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/Quality.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>
#include <set>

using namespace mlir::ffn;
using llvm::Error;
using llvm::Expected;
using llvm::json::Object;
using LayerStatus = QualityReport::LayerStatus;

//===----------------------------------------------------------------------===//
// Pairs
//===----------------------------------------------------------------------===//

std::vector<std::pair<LayerStatus, size_t>> mlir::ffn::matchSublayers(
    llvm::ArrayRef<llvm::SmallVector<std::string>> reference,
    llvm::ArrayRef<llvm::SmallVector<std::string>> candidate) {
  std::map<std::string, size_t> byName;
  for (auto [i, names] : llvm::enumerate(candidate))
    for (llvm::StringRef name : names) {
      byName[name.str()] = i;
      // ffn-merge-parallel joins the names of what it merges.
      llvm::SmallVector<llvm::StringRef> parts;
      name.split(parts, '+');
      for (llvm::StringRef part : parts)
        byName.try_emplace(part.str(), i);
    }
  std::vector<std::pair<LayerStatus, size_t>> result;
  // The last sublayer of the reference that has a part in each.
  std::map<size_t, size_t> last;
  for (auto [i, names] : llvm::enumerate(reference)) {
    std::pair<LayerStatus, size_t> match{LayerStatus::Removed, 0};
    for (const std::string &name : names)
      if (auto found = byName.find(name); found != byName.end())
        match = {LayerStatus::Compared, std::max(match.second, found->second)};
    if (match.first == LayerStatus::Compared)
      last[match.second] = i;
    result.push_back(match);
  }
  for (auto [i, match] : llvm::enumerate(result))
    if (match.first == LayerStatus::Compared && last[match.second] != i)
      match.first = LayerStatus::Merged;
  return result;
}

namespace {
/// Outputs of the two models that belong together.
struct Pairs {
  std::vector<std::pair<size_t, size_t>> outputs;
  /// By number of the layer; none where it is not compared.
  std::vector<std::optional<std::pair<size_t, size_t>>> layers;
};
} // namespace

static Pairs pairOutputs(const Artefact &reference, const Artefact &candidate,
                         TensorBounds bounds, QualityReport &report) {
  Pairs pairs;
  llvm::SmallVector<size_t> hidden[2];
  std::vector<llvm::SmallVector<std::string>> names[2];
  for (int side : {0, 1})
    for (auto [i, value] :
         llvm::enumerate((side ? candidate : reference).getOutputs())) {
      llvm::StringRef name = value.name;
      if (name.consume_front(kHiddenPrefix)) {
        hidden[side].push_back(i);
        llvm::SmallVector<std::string> parts;
        llvm::SmallVector<llvm::StringRef> split;
        name.split(split, " + ");
        for (llvm::StringRef part : split)
          parts.push_back(part.str());
        names[side].push_back(std::move(parts));
      } else if (!side) {
        if (candidate.findOutput(value.name) < 0)
          report.onlyInReference.push_back(value.name);
      } else if (int64_t other = reference.findOutput(value.name); other >= 0) {
        pairs.outputs.push_back({other, i});
        report.outputs.push_back({value.name, true, TensorComparison(bounds)});
      } else {
        report.onlyInCandidate.push_back(value.name);
      }
    }
  if (hidden[0].empty() || hidden[1].empty())
    return pairs;
  for (auto [i, match] : llvm::enumerate(matchSublayers(names[0], names[1]))) {
    report.layers.push_back({llvm::join(names[0][i], " + "), match.first,
                             TensorComparison(bounds)});
    pairs.layers.emplace_back();
    if (match.first == LayerStatus::Compared)
      pairs.layers.back() = {hidden[0][i], hidden[1][match.second]};
  }
  return pairs;
}

//===----------------------------------------------------------------------===//
// Running
//===----------------------------------------------------------------------===//

Expected<QualityReport>
mlir::ffn::compareOnData(Artefact &reference, Artefact &candidate,
                         const EvalData &data, TensorBounds bounds,
                         llvm::function_ref<void(size_t)> progress) {
  Artefact *models[2] = {&reference, &candidate};
  EvalBinding bindings[2];
  for (int side : {0, 1}) {
    auto binding =
        data.bind(models[side]->getInputs(), models[side]->getOutputs());
    if (!binding)
      return binding.takeError();
    bindings[side] = std::move(*binding);
  }
  QualityReport report;
  report.text = data.isText();
  report.samples = data.size();
  report.bytes = data.getBytes();
  report.characters = data.getCharacters();
  Pairs pairs = pairOutputs(reference, candidate, bounds, report);
  if (bindings[0].logits >= 0 && bindings[1].logits >= 0) {
    report.logits.emplace();
    report.logitsName = bindings[1].logitsName;
  } else if (pairs.outputs.empty()) {
    return driverError("the models have no output of one name [FFN-R400]");
  }
  std::vector<HostTensor> inputs, results[2];
  std::vector<double> memory[2];
  auto views = [&](size_t a, size_t b) {
    return std::pair(toDoubles(results[0][a], memory[0]),
                     toDoubles(results[1][b], memory[1]));
  };
  for (size_t i = 0; i < data.size(); ++i) {
    for (int side : {0, 1}) {
      if (Error error = data.fill(bindings[side], i, inputs))
        return std::move(error);
      if (Error error = models[side]->run(inputs, results[side]))
        return std::move(error);
    }
    for (auto [pair, output] : llvm::zip_equal(pairs.outputs, report.outputs)) {
      output.sameShape &= results[0][pair.first].getShape() ==
                          results[1][pair.second].getShape();
      if (!output.sameShape)
        continue;
      auto [a, b] = views(pair.first, pair.second);
      output.tensor.add(a, b);
    }
    for (auto [pair, layer] : llvm::zip_equal(pairs.layers, report.layers)) {
      if (!pair)
        continue;
      auto [a, b] = views(pair->first, pair->second);
      if (a.size() != b.size())
        return driverError(
            "the hidden states behind '" + layer.name + "' have shapes " +
            shapeName(results[0][pair->first].getShape()) + " and " +
            shapeName(results[1][pair->second].getShape()) + " [FFN-R400]");
      layer.tensor.add(a, b);
    }
    if (report.logits) {
      const HostTensor *logits[2];
      for (int side : {0, 1}) {
        logits[side] = &results[side][bindings[side].logits];
        if (Error error = data.checkRows(i, *logits[side]))
          return std::move(error);
      }
      if (logits[0]->getShape() != logits[1]->getShape())
        return driverError("the logits have shapes " +
                           shapeName(logits[0]->getShape()) + " and " +
                           shapeName(logits[1]->getShape()) + " [FFN-R400]");
      auto [a, b] = views(bindings[0].logits, bindings[1].logits);
      size_t classes = logits[0]->getShape().back(),
             first = data.getFirstScored(i);
      std::vector<int64_t> targets = data.getTargets(i);
      for (int64_t target : targets)
        if (target >= static_cast<int64_t>(classes))
          return driverError("class " + llvm::Twine(target) +
                             " is outside of the " + llvm::Twine(classes) +
                             " of the logits [FFN-D207]");
      report.logits->add(a.drop_front(first * classes),
                         b.drop_front(first * classes), classes,
                         llvm::ArrayRef<int64_t>(targets).drop_front(
                             std::min(first, targets.size())));
    }
    progress(i + 1);
  }
  return std::move(report);
}

//===----------------------------------------------------------------------===//
// Figures
//===----------------------------------------------------------------------===//

static double lossRatio(const LogitComparison &logits) {
  return std::exp(logits.lossDifference.value());
}

static constexpr QualityMetric kMetrics[] = {
    {"kl", "limit: mean divergence of the logits in nats", false,
     [](const LogitComparison &l) { return l.kl.value(); }, nullptr, false},
    {"kl-999", "limit: 99.9 % quantile of the divergence", false,
     [](const LogitComparison &l) { return l.klQuantile(0.999); }, nullptr,
     false},
    {"kl-largest", "limit: largest divergence", false,
     [](const LogitComparison &l) { return l.klQuantile(1); }, nullptr, false},
    {"top1", "limit: part of the rows whose greatest logit is the same", true,
     [](const LogitComparison &l) { return l.sameTop.value(); }, nullptr,
     false},
    {"ppl-ratio", "limit: perplexity of B by that of A", false, lossRatio,
     nullptr, false},
    {"accuracy", "limit: part of the rows that B gets right", true,
     [](const LogitComparison &l) { return l.candidateRight.value(); }, nullptr,
     false},
    {"rel-l2", "limit: relative L2 distance of each output", false, nullptr,
     [](const TensorComparison &t) { return t.relativeL2(); }, false},
    {"abs", "limit: largest difference in each output", false, nullptr,
     [](const TensorComparison &t) { return t.maxAbs(); }, false},
    {"rel", "limit: largest relative difference in each output, with floor",
     false, nullptr, [](const TensorComparison &t) { return t.maxRelative(); },
     false},
    {"beyond", "limit: part of the elements beyond the bound, each output",
     false, nullptr, [](const TensorComparison &t) { return t.shareBeyond(); },
     false},
    {"cosine", "limit: cosine of each output", true, nullptr,
     [](const TensorComparison &t) { return t.cosine(); }, false},
    {"layer-rel-l2", "limit: relative L2 distance behind each sublayer", false,
     nullptr, [](const TensorComparison &t) { return t.relativeL2(); }, true},
};

llvm::ArrayRef<QualityMetric> mlir::ffn::getQualityMetrics() {
  return kMetrics;
}

Expected<std::vector<QualityViolation>>
mlir::ffn::findViolations(const QualityReport &report,
                          const std::map<std::string, double> &limits) {
  std::vector<QualityViolation> found;
  for (auto &[name, limit] : limits) {
    const QualityMetric *metric = llvm::find_if(
        kMetrics, [&](const QualityMetric &m) { return m.name == name; });
    if (metric == std::end(kMetrics))
      return driverError("'" + name + "' is no metric [FFN-R400]");
    bool exists = false;
    auto check = [&](const std::string &where, double value) {
      exists = true;
      if (metric->isMinimum ? !(value >= limit) : !(value <= limit))
        found.push_back({metric->name, where, value, limit});
    };
    if (metric->ofModel && report.logits &&
        (report.logits->candidateLoss.getRows() ||
         !llvm::is_contained({"ppl-ratio", "accuracy"}, name)))
      check(report.logitsName, metric->ofModel(*report.logits));
    if (metric->ofTensor && !metric->ofLayers)
      for (const QualityReport::Output &output : report.outputs)
        check(output.name, output.sameShape ? metric->ofTensor(output.tensor)
                                            : std::nan(""));
    if (metric->ofLayers)
      for (const QualityReport::Layer &layer : report.layers)
        if (layer.status == LayerStatus::Compared)
          check(layer.name, metric->ofTensor(layer.tensor));
    if (!exists)
      return driverError("a limit of " + name + ", but the comparison has no " +
                         (metric->ofLayers ? "hidden states behind sublayers"
                          : metric->ofModel && report.logits
                              ? "right classes"
                              : "output 'logits' of rows of classes") +
                         " [FFN-R400]");
  }
  return std::move(found);
}

llvm::json::Array
mlir::ffn::toJSON(llvm::ArrayRef<QualityViolation> violations) {
  llvm::json::Array list;
  for (const QualityViolation &violation : violations)
    list.push_back(Object{{"metric", violation.metric},
                          {"where", llvm::json::fixUTF8(violation.where)},
                          {"value", violation.value},
                          {"limit", violation.limit}});
  return list;
}

//===----------------------------------------------------------------------===//
// Reports
//===----------------------------------------------------------------------===//

static Object tensorJSON(const TensorComparison &tensor) {
  return Object{
      {"elements", static_cast<int64_t>(tensor.count)},
      {"relative_l2", tensor.relativeL2()},
      {"cosine", tensor.cosine()},
      {"max_abs", tensor.maxAbs()},
      {"max_rel", tensor.maxRelative()},
      {"beyond", tensor.shareBeyond()},
      {"unequal_non_finite", static_cast<int64_t>(tensor.unequalNonFinite)},
      {"equal_non_finite", static_cast<int64_t>(tensor.equalNonFinite)}};
}

static llvm::json::Array interval(double low, double high) {
  return llvm::json::Array{low, high};
}

static void addMean(Object &object, llvm::StringRef name,
                    const SampledMean &mean) {
  double value = mean.value(), width = mean.halfWidth();
  object[name] = value;
  object[(name + "_95").str()] = interval(value - width, value + width);
}

/// Of one model; only what a text or labelled data has.
static Object lossJSON(const QualityReport &report, const SampledMean &loss,
                       const SampledMean &right) {
  Object object;
  if (!report.text) {
    addMean(object, "accuracy", right);
    return object;
  }
  double nll = loss.value(), width = loss.halfWidth();
  addMean(object, "nll_per_token", loss);
  object["perplexity"] = std::exp(nll);
  object["perplexity_95"] =
      interval(std::exp(nll - width), std::exp(nll + width));
  if (report.bytes) {
    double scale = loss.getRows() / (std::log(2.0) * report.bytes);
    object["bits_per_byte"] = nll * scale;
    object["bits_per_byte_95"] =
        interval((nll - width) * scale, (nll + width) * scale);
  }
  return object;
}

static llvm::StringRef statusName(LayerStatus status) {
  switch (status) {
  case LayerStatus::Compared:
    return "compared";
  case LayerStatus::Removed:
    return "removed";
  case LayerStatus::Merged:
    return "merged";
  }
  return "";
}

Object QualityReport::toJSON() const {
  Object result{{"samples", static_cast<int64_t>(samples)},
                {"interval", "95 %, analytic: normal, samples independent"}};
  llvm::json::Array list;
  for (const Output &output : outputs) {
    Object entry = output.sameShape ? tensorJSON(output.tensor) : Object();
    entry["output"] = llvm::json::fixUTF8(output.name);
    entry["same_shape"] = output.sameShape;
    list.push_back(std::move(entry));
  }
  result["outputs"] = std::move(list);
  for (auto [key, names] : {std::pair("only_in_a", &onlyInReference),
                            std::pair("only_in_b", &onlyInCandidate)}) {
    llvm::json::Array array;
    for (const std::string &name : *names)
      array.push_back(llvm::json::fixUTF8(name));
    result[key] = std::move(array);
  }
  llvm::json::Array rows;
  for (const Layer &layer : layers) {
    Object entry = layer.status == LayerStatus::Compared
                       ? tensorJSON(layer.tensor)
                       : Object();
    entry["sublayer"] = llvm::json::fixUTF8(layer.name);
    entry["status"] = statusName(layer.status);
    rows.push_back(std::move(entry));
  }
  result["layers"] = std::move(rows);
  if (!logits)
    return result;
  Object figures{
      {"output", llvm::json::fixUTF8(logitsName)},
      {"rows", static_cast<int64_t>(logits->kl.getRows())},
      {"kl_999", logits->klQuantile(0.999)},
      {"kl_max", logits->klQuantile(1)},
      {"undefined_rows", static_cast<int64_t>(logits->undefinedRows)}};
  addMean(figures, "kl", logits->kl);
  addMean(figures, "top1", logits->sameTop);
  if (logits->referenceLoss.getRows()) {
    figures["scored_rows"] =
        static_cast<int64_t>(logits->referenceLoss.getRows());
    figures["a"] =
        lossJSON(*this, logits->referenceLoss, logits->referenceRight);
    figures["b"] =
        lossJSON(*this, logits->candidateLoss, logits->candidateRight);
    double difference = logits->lossDifference.value(),
           width = logits->lossDifference.halfWidth();
    figures["perplexity_ratio"] = std::exp(difference);
    figures["perplexity_ratio_95"] =
        interval(std::exp(difference - width), std::exp(difference + width));
  }
  result["logits"] = std::move(figures);
  return result;
}

static void printInterval(llvm::raw_ostream &os, double value, double low,
                          double high) {
  os << llvm::format("%.6g", value);
  if (low == low && high == high)
    os << llvm::format(" (%.6g to %.6g)", low, high);
}

static void printMean(llvm::raw_ostream &os, const SampledMean &mean) {
  double value = mean.value(), width = mean.halfWidth();
  printInterval(os, value, value - width, value + width);
}

static void printTensor(llvm::raw_ostream &os, const TensorComparison &tensor) {
  os << llvm::format("%-11.4g %-11.8f %-11.4g %-11.4g %-9.4g",
                     tensor.relativeL2(), tensor.cosine(), tensor.maxAbs(),
                     tensor.maxRelative(), tensor.shareBeyond());
  if (tensor.unequalNonFinite || tensor.equalNonFinite)
    os << "  NaN or infinite: "
       << tensor.unequalNonFinite + tensor.equalNonFinite << ", "
       << tensor.unequalNonFinite << " of them not in both";
}

void QualityReport::print(llvm::raw_ostream &os) const {
  if (logits) {
    os << logitsName << ": " << logits->kl.getRows() << " rows of " << samples
       << (samples == 1 ? " sample\n" : " samples\n")
       << "  KL(A | B) in nats  ";
    printMean(os, logits->kl);
    os << llvm::format(", 99.9 %% %.6g, largest %.6g",
                       logits->klQuantile(0.999), logits->klQuantile(1));
    if (logits->undefinedRows)
      os << ", " << logits->undefinedRows << " rows undefined";
    os << "\n  same top-1         ";
    printMean(os, logits->sameTop);
    os << '\n';
    bool scored = logits->referenceLoss.getRows();
    for (int side : {0, 1}) {
      if (!scored)
        break;
      const SampledMean &loss =
          side ? logits->candidateLoss : logits->referenceLoss;
      double nll = loss.value(), width = loss.halfWidth();
      if (!text) {
        os << (side ? "  accuracy of B      " : "  accuracy of A      ");
        printMean(os, side ? logits->candidateRight : logits->referenceRight);
        os << '\n';
        continue;
      }
      os << (side ? "  perplexity of B    " : "  perplexity of A    ");
      printInterval(os, std::exp(nll), std::exp(nll - width),
                    std::exp(nll + width));
      if (bytes) {
        double scale = loss.getRows() / (std::log(2.0) * bytes);
        os << ", bits per byte ";
        printInterval(os, nll * scale, (nll - width) * scale,
                      (nll + width) * scale);
      }
      os << '\n';
    }
    if (scored && text) {
      double difference = logits->lossDifference.value(),
             width = logits->lossDifference.halfWidth();
      os << "  perplexity B / A   ";
      printInterval(os, std::exp(difference), std::exp(difference - width),
                    std::exp(difference + width));
      os << '\n';
    }
  }
  static constexpr llvm::StringLiteral kHead =
      "relative L2 cosine      max |a-b|   max rel     beyond\n";
  os << kHead;
  for (const Output &output : outputs) {
    if (output.sameShape)
      printTensor(os, output.tensor);
    else
      os << "shapes differ";
    os << "  " << output.name << '\n';
  }
  for (const std::string &name : onlyInReference)
    os << "only in A: " << name << '\n';
  for (const std::string &name : onlyInCandidate)
    os << "only in B: " << name << '\n';
  if (layers.empty())
    return;
  os << "behind each sublayer\n" << kHead;
  for (const Layer &layer : layers) {
    if (layer.status == LayerStatus::Compared)
      printTensor(os, layer.tensor);
    else
      os << llvm::format("%-57s", statusName(layer.status).data());
    os << "  " << layer.name << '\n';
  }
}
