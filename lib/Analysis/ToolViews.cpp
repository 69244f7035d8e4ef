//===- ToolViews.cpp - What other tools print -----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Detail.h"
#include "ffn-mlir/Analysis/Report.h"

using namespace mlir::ffn;
using llvm::StringRef;
using namespace mlir::ffn::analysis;

namespace {
enum Order : unsigned { Decisions, Quality, Latency, Analyses };
} // namespace

/// "1.23 (1.20 to 1.26)" of `key` and `key`_95.
static std::string formatInterval(const json::Object &object, StringRef key) {
  std::string text = formatNumber(getNumber(object, key));
  std::vector<double> range = getNumbers(object, (key + "_95").str());
  if (range.size() == 2 && range[0] == range[0] && range[1] == range[1])
    text +=
        " (" + formatNumber(range[0]) + " to " + formatNumber(range[1]) + ")";
  return text;
}

//===----------------------------------------------------------------------===//
// ffnc compile --json
//===----------------------------------------------------------------------===//

static std::string formatMilliseconds(double seconds) {
  return formatNumber(1e3 * seconds) + " ms";
}

static View showCompile(const json::Object &result) {
  View view;
  view.title = "Decisions: " + getText(result, "output");
  view.text = {"What the passes did with every candidate, and why not, in "
               "their order."};
  view.text.push_back(formatScaled(getNumber(result, "bytes"), "B") +
                      " written in " +
                      formatNumber(getNumber(result, "seconds")) + " s.");
  Table table{"", {"candidate", "<pass", "<done", "<class", "<remark"}, {}};
  size_t rewritten = 0;
  std::vector<const json::Object *> candidates =
      getObjects(result, "candidates");
  for (const json::Object *entry : candidates) {
    bool done = entry->getBoolean("rewritten").value_or(false);
    rewritten += done;
    table.rows.push_back({getText(*entry, "candidate"), getText(*entry, "pass"),
                          done ? "yes" : "no", getText(*entry, "class"),
                          getText(*entry, "text")});
  }
  // What was done, first; the order of the passes else.
  std::vector<std::vector<std::string>> kept;
  llvm::erase_if(table.rows, [&](auto &row) {
    bool done = row[2] == "yes";
    if (!done)
      kept.push_back(row);
    return !done;
  });
  llvm::append_range(table.rows, kept);
  view.text.push_back(std::to_string(rewritten) + " of " +
                      std::to_string(candidates.size()) +
                      " candidates were rewritten.");
  if (!table.rows.empty())
    view.tables.push_back(std::move(table));
  const json::Object &gate = getObject(result, "gate");
  std::vector<const json::Object *> workloads = getObjects(gate, "workloads");
  if (workloads.empty())
    return view;
  Table times{"Latency against the original, " +
                  formatNumber(getNumber(gate, "batch")) + " x " +
                  formatNumber(getNumber(gate, "length")) + " tokens",
              {"workload", "original", "rewritten", "ratio (95 %)", "<verdict"},
              {}};
  for (const json::Object *entry : workloads) {
    auto median = [&](StringRef side) {
      return formatMilliseconds(
          getNumber(getObject(*entry, side), "median_seconds"));
    };
    times.rows.push_back({getText(*entry, "workload"), median("original"),
                          median("rewritten"), formatInterval(*entry, "ratio"),
                          entry->getBoolean("slower").value_or(false)
                              ? "slower"
                              : "not slower"});
  }
  view.tables.push_back(std::move(times));
  return view;
}

//===----------------------------------------------------------------------===//
// ffnc compare --data --json
//===----------------------------------------------------------------------===//

static View showCompare(const json::Object &result) {
  View view;
  view.title = "Quality";
  view.text = {"Model B against model A on " +
               formatNumber(getNumber(result, "samples")) +
               " samples; in brackets 95 % intervals."};
  const json::Object &logits = getObject(result, "logits");
  if (!logits.empty()) {
    Table table{"Output '" + getText(logits, "output") + "'",
                {"figure", "A", "B", "A to B"},
                {}};
    table.rows.push_back(
        {"KL divergence, nats", "", "", formatInterval(logits, "kl")});
    table.rows.push_back({"KL divergence, 99.9 %", "", "",
                          formatNumber(getNumber(logits, "kl_999"))});
    table.rows.push_back(
        {"same largest logit", "", "", formatInterval(logits, "top1")});
    const json::Object &a = getObject(logits, "a"), &b = getObject(logits, "b");
    for (auto [key, name] : {std::pair("perplexity", "perplexity"),
                             std::pair("bits_per_byte", "bits per byte"),
                             std::pair("accuracy", "accuracy")})
      if (a.get(key))
        table.rows.push_back({name, formatInterval(a, key),
                              formatInterval(b, key),
                              StringRef(key) == "perplexity"
                                  ? formatInterval(logits, "perplexity_ratio")
                                  : ""});
    view.tables.push_back(std::move(table));
  }
  auto makeTable = [](std::string title, std::vector<const json::Object *> rows,
                      StringRef key) {
    Table table{
        std::move(title), {key.str(), "relative L2", "cosine", "max abs"}, {}};
    for (const json::Object *row : rows) {
      std::string status = getText(*row, "status");
      table.rows.push_back(
          {getText(*row, key) + (status.empty() || status == "compared"
                                     ? ""
                                     : " (" + status + ")"),
           formatNumber(getNumber(*row, "relative_l2")),
           formatNumber(getNumber(*row, "cosine")),
           formatNumber(getNumber(*row, "max_abs"))});
    }
    return table;
  };
  view.tables.push_back(
      makeTable("Outputs", getObjects(result, "outputs"), "output"));
  std::vector<const json::Object *> layers = getObjects(result, "layers");
  if (!layers.empty()) {
    view.tables.push_back(
        makeTable("Hidden states behind sublayers", layers, "sublayer"));
    view.charts.push_back({Chart::Kind::Bars,
                           "Hidden states behind sublayers, B against A",
                           "relative L2",
                           "",
                           getTexts(layers, "sublayer"),
                           {makeSeries("relative L2", layers, "relative_l2")}});
  }
  return view;
}

//===----------------------------------------------------------------------===//
// ffnc bench --json
//===----------------------------------------------------------------------===//

static constexpr llvm::StringLiteral kBenchParts[] = {"prefill", "decode",
                                                      "run"};

static bool isBench(const json::Object &result) {
  const json::Object &first =
      result.get("first") ? getObject(result, "first") : result;
  return llvm::any_of(kBenchParts, [&](StringRef part) {
    return getObject(first, part).get("median_seconds") != nullptr;
  });
}

static View showBench(const json::Object &result) {
  View view;
  view.title = "Latency";
  std::vector<std::pair<std::string, const json::Object *>> models;
  if (result.get("first")) {
    models = {{"A", &getObject(result, "first")},
              {"B", &getObject(result, "second")}};
    view.text = {"Medians of two models that took turns on one machine. Only "
                 "the ratio says something about another one."};
  } else {
    models = {{"time", &result}};
    view.text = {"Medians on one machine."};
  }
  if (result.get("prompt_tokens"))
    view.text.push_back("Prefill of " +
                        formatNumber(getNumber(result, "prompt_tokens")) +
                        " tokens, decode steps behind it, batch " +
                        formatNumber(getNumber(result, "batch")) + ".");
  Table table{"", {"what"}, {}};
  Chart chart{Chart::Kind::Bars, "Latency", "milliseconds, median", "", {}, {}};
  for (auto &[name, model] : models) {
    table.columns.push_back(name);
    chart.series.push_back({name, {}});
  }
  table.columns.push_back("B / A");
  for (StringRef part : kBenchParts) {
    if (!getObject(*models.front().second, part).get("median_seconds"))
      continue;
    std::vector<std::string> cells = {part.str()};
    chart.categories.push_back(part.str());
    for (auto [i, model] : llvm::enumerate(models)) {
      double seconds =
          getNumber(getObject(*model.second, part), "median_seconds");
      cells.push_back(formatMilliseconds(seconds));
      chart.series[i].values.push_back(1e3 * seconds);
    }
    cells.push_back(formatNumber(getNumber(getObject(result, "ratio"), part)));
    table.rows.push_back(std::move(cells));
  }
  view.tables.push_back(std::move(table));
  view.charts.push_back(std::move(chart));
  return view;
}

//===----------------------------------------------------------------------===//
// All
//===----------------------------------------------------------------------===//

std::optional<ReportPart> mlir::ffn::readReportPart(llvm::StringRef file,
                                                    const json::Value &value) {
  const json::Object *object = value.getAsObject();
  if (!object)
    return std::nullopt;
  ReportPart part{file.str(), {}, 0};
  if (std::optional<StringRef> name = object->getString("analysis")) {
    const Analysis *analysis = findAnalysis(*name);
    if (!analysis)
      return std::nullopt;
    part.view = analysis->show(*object);
    part.order = Analyses + (analysis - getAnalyses().data());
  } else if (object->getArray("candidates") && object->getString("emit")) {
    part.view = showCompile(*object);
    part.order = Decisions;
  } else if (object->getArray("outputs") && object->get("samples")) {
    part.view = showCompare(*object);
    part.order = Quality;
  } else if (isBench(*object)) {
    part.view = showBench(*object);
    part.order = Latency;
  } else {
    return std::nullopt;
  }
  return part;
}
