//===- VocabProjection.cpp - Tokens that neurons promote ------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Detail.h"
#include "TokenNames.h"
#include "ffn-mlir/Driver/Decode.h"
#include "ffn-mlir/Support/WeightEval.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::analysis;

namespace {
/// Column j of a down projection, times the scale of the final norm.
struct Neuron {
  int64_t index;
  double norm;
  std::vector<double> direction;
  /// r = E direction, a score for each token.
  std::vector<double> scores;
};
struct Network {
  std::string name;
  std::vector<Neuron> neurons;
};
} // namespace

/// The linear that makes the logits: [vocabulary, d].
static LinearOp findHead(ModuleOp module, const ModelSignature &signature) {
  auto language = LanguageSignature::find(signature.inputs, signature.outputs);
  if (!language) {
    llvm::consumeError(language.takeError());
    return nullptr;
  }
  auto main = module.lookupSymbol<func::FuncOp>("main");
  LinearOp head;
  for (auto linear : main.getBody().front().getOps<LinearOp>()) {
    auto type = llvm::cast<RankedTensorType>(linear.getWeight().getType());
    if (isWeightExpression(linear.getWeight()) &&
        (language->vocabulary < 0 ||
         type.getDimSize(0) == language->vocabulary))
      head = linear;
  }
  return head;
}

/// The `top` neurons with the longest columns.
static FailureOr<Network> selectNeurons(FeedForwardOp op, std::string name,
                                        ArrayRef<double> scale, unsigned top) {
  FailureOr<std::vector<double>> down = readMatrix(op.getDown());
  if (failed(down))
    return failure();
  size_t m = op.getHiddenWidth(), d = scale.size();
  std::vector<double> norms(m, 0.0);
  for (size_t i = 0; i < d; ++i)
    for (size_t j = 0; j < m; ++j)
      norms[j] += (*down)[i * m + j] * (*down)[i * m + j];
  std::vector<size_t> order(m);
  std::iota(order.begin(), order.end(), 0);
  llvm::sort(order, [&](size_t a, size_t b) {
    return std::pair(norms[b], a) < std::pair(norms[a], b);
  });
  order.resize(std::min<size_t>(m, top));
  Network network{std::move(name), {}};
  for (size_t j : order) {
    Neuron neuron{static_cast<int64_t>(j), std::sqrt(norms[j]), {}, {}};
    for (size_t i = 0; i < d; ++i)
      neuron.direction.push_back((*down)[i * m + j] * scale[i]);
    network.neurons.push_back(std::move(neuron));
  }
  return network;
}

static json::Object describeNeuron(const Neuron &neuron,
                                   const TokenNames &names, unsigned top) {
  std::vector<size_t> order(neuron.scores.size());
  std::iota(order.begin(), order.end(), 0);
  llvm::sort(order, [&](size_t a, size_t b) {
    return std::pair(neuron.scores[b], a) < std::pair(neuron.scores[a], b);
  });
  double mean = 0, squares = 0, count = order.size();
  for (double score : neuron.scores)
    mean += score / count;
  for (double score : neuron.scores)
    squares += (score - mean) * (score - mean);
  double deviation = std::sqrt(squares / count);
  auto list = [&](bool fromEnd) {
    json::Array tokens;
    for (size_t i = 0; i < std::min<size_t>(top, order.size()); ++i) {
      size_t id = order[fromEnd ? order.size() - 1 - i : i];
      tokens.push_back(json::Object{{"id", static_cast<int64_t>(id)},
                                    {"text", names.get(id)},
                                    {"score", neuron.scores[id]}});
    }
    return tokens;
  };
  return json::Object{
      {"neuron", neuron.index},
      {"norm", neuron.norm},
      {"peak",
       deviation > 0 ? (neuron.scores[order.front()] - mean) / deviation : 0},
      {"promoted", list(false)},
      {"suppressed", list(true)}};
}

Result analysis::analyzeVocabProjection(ModuleOp module, ModuleOp,
                                        Options options) {
  FailureOr<std::vector<NamedSublayer>> sublayers = listNetworks(module);
  if (failed(sublayers))
    return failure();
  ModelSignature signature = getModelSignature(module);
  LinearOp head = findHead(module, signature);
  if (!head)
    return module.emitError("no linear behind the sublayers makes logits over "
                            "a vocabulary: the model is no language model, or "
                            "'ffnc inspect' says why its head was not found "
                            "[FFN-A103]");
  if (!options.top)
    return module.emitError("--top is at least 1 [FFN-A105]");
  auto names = TokenNames::load(signature, options);
  if (!names)
    return refuse(module, names.takeError());
  auto type = llvm::cast<RankedTensorType>(head.getWeight().getType());
  int64_t vocabulary = type.getDimSize(0), d = type.getDimSize(1);
  std::vector<double> scale(d, 1.0);
  if (auto norm = head.getInput().getDefiningOp<NormOp>())
    if (norm.getScale() && isWeightExpression(norm.getScale())) {
      FailureOr<std::vector<double>> values = readMatrix(norm.getScale());
      if (failed(values))
        return failure();
      scale = std::move(*values);
    }
  std::vector<Network> networks;
  for (NamedSublayer &entry : *sublayers)
    for (auto [k, op] : llvm::enumerate(entry.networks)) {
      auto down = llvm::cast<RankedTensorType>(op.getDown().getType());
      if (down.getDimSize(0) != d || !isWeightExpression(op.getDown()))
        continue;
      std::string name = getNetworkName(entry.name, k);
      options.progress("columns of " + name);
      FailureOr<Network> network =
          selectNeurons(op, std::move(name), scale, options.top);
      if (failed(network))
        return failure();
      networks.push_back(std::move(*network));
    }
  options.progress("scores of " + Twine(vocabulary) + " tokens");
  // One pass over the vocabulary for all neurons.
  if (failed(forEachRow(head.getWeight(), [&](ArrayRef<double> row) {
        for (Network &network : networks)
          for (Neuron &neuron : network.neurons) {
            double sum = 0;
            for (auto [a, b] : llvm::zip_equal(row, neuron.direction))
              sum += a * b;
            neuron.scores.push_back(sum);
          }
      })))
    return failure();
  json::Array list;
  for (const Network &network : networks) {
    json::Array neurons;
    double peaks = 0;
    for (const Neuron &neuron : network.neurons) {
      json::Object entry = describeNeuron(neuron, *names, options.top);
      peaks += getNumber(entry, "peak") / network.neurons.size();
      neurons.push_back(std::move(entry));
    }
    list.push_back(json::Object{{"sublayer", network.name},
                                {"mean_peak", peaks},
                                {"neurons", std::move(neurons)}});
  }
  return json::Object{{"analysis", "vocab-projection"},
                      {"vocabulary", vocabulary},
                      {"networks", std::move(list)}};
}

View analysis::showVocabProjection(const json::Object &result) {
  View view;
  view.title = "Tokens that neurons promote, vocabulary of " +
               formatNumber(getNumber(result, "vocabulary"));
  view.text = {
      "Scores r = E diag(gamma) w of the columns w of each down projection "
      "with the largest norms: what one unit of the neuron adds to the logits, "
      "before the final norm's division. Peak: the largest score above the "
      "mean, in standard deviations over the vocabulary.",
      "Peaks that grow towards the end: late networks write words, early ones "
      "write features; networks with sharp words may allow early exit."};
  std::vector<const json::Object *> rows = getObjects(result, "networks");
  Table table{
      "",
      {"sublayer", "neuron", "norm", "peak", "<promotes", "<suppresses"},
      {}};
  auto join = [](const json::Object &neuron, StringRef key) {
    std::string text;
    for (const json::Object *token : getObjects(neuron, key)) {
      if (text.size() > 40)
        break;
      text += (text.empty() ? "" : " ") + getText(*token, "text");
    }
    return text;
  };
  for (const json::Object *row : rows) {
    size_t shown = 0;
    for (const json::Object *neuron : getObjects(*row, "neurons")) {
      if (shown++ == 4)
        break;
      table.rows.push_back({getText(*row, "sublayer"),
                            formatNumber(getNumber(*neuron, "neuron")),
                            formatNumber(getNumber(*neuron, "norm")),
                            formatNumber(getNumber(*neuron, "peak")),
                            join(*neuron, "promoted"),
                            join(*neuron, "suppressed")});
    }
  }
  view.tables.push_back(std::move(table));
  view.charts.push_back({Chart::Kind::Bars,
                         "How sharply the strongest neurons point at tokens",
                         "largest score, standard deviations",
                         "",
                         getTexts(rows, "sublayer"),
                         {makeSeries("peak", rows, "mean_peak")}});
  return view;
}
