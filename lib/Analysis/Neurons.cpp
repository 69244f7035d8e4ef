//===- Neurons.cpp - When neurons fire ------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Detail.h"
#include "TokenNames.h"
#include "ffn-mlir/Profile/Instrument.h"
#include "ffn-mlir/Profile/Statistics.h"
#include "llvm/ADT/StringMap.h"
#include <cmath>
#include <map>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::analysis;

/// A neuron is a detector of n-grams where so many of them, at most, cover this
/// part of its firings, of which there must be some, and where it fires at this
/// part of their occurrences: one that fires behind a certain token only is no
/// detector of the second token.
static constexpr unsigned kMaxGrams = 5, kMinFirings = 10, kLongestGram = 3;
static constexpr double kCovered = 0.95, kPrecision = 0.5;
/// And positional where its firing and the position share so many nats.
static constexpr double kInformation = 0.05;
/// Ranges of positions that are told apart, at most.
static constexpr size_t kRanges = 32;
static constexpr StringLiteral kGramNames[] = {"token", "bigram", "trigram"};

namespace {
/// A network, the result of @main that is its hidden vector, and when its
/// neurons fire.
struct Network {
  std::string name;
  int64_t width;
  bool isRelu;
  unsigned result;
  double threshold = 0;
  /// For each sample a bit for each token, neuron by neuron, in whole words.
  std::vector<std::vector<uint64_t>> bits;
};

/// The tokens of all samples one after the other.
struct TokenTable {
  std::vector<size_t> rows;
  size_t total = 0;
  /// Range of positions of each token, and how many there are.
  std::vector<unsigned> range;
  size_t ranges = 0;
  /// For each length an index for each token of the n-gram that ends there, and
  /// the n-grams; empty where samples are no tokens.
  std::vector<unsigned> gramOf[kLongestGram];
  std::vector<SmallVector<int64_t, 3>> grams[kLongestGram];
  std::vector<unsigned> occurrences[kLongestGram];
};

/// What is known of one neuron.
struct Firing {
  std::vector<size_t> tokens;
  /// Length of the n-grams that it detects; 0: none.
  unsigned gramLength = 0;
  SmallVector<unsigned, 5> grams;
  double information = 0;
};
} // namespace

/// Calls `visit` with the hidden vectors of every network and sample; samples
/// run at the same time.
static llvm::Error forEachHidden(
    StagedModel &model, std::vector<std::vector<HostTensor>> &samples,
    ArrayRef<Network> networks,
    llvm::function_ref<void(size_t, size_t, const TokenRows &)> visit) {
  llvm::BitVector none(model.getSublayers().size());
  return forEachOnWorkers(
      model.getNumWorkers(), samples.size(),
      [&](size_t sample, unsigned worker) -> llvm::Error {
        std::vector<HostTensor> inputs(samples[sample].size());
        for (auto [copy, tensor] : llvm::zip_equal(inputs, samples[sample])) {
          if (llvm::Error error =
                  copy.reset(tensor.getDtype(), tensor.getShape()))
            return error;
          std::copy_n(tensor.data(), tensor.getNumBytes(), copy.data());
        }
        StagedModel::State state = model.begin(std::move(inputs));
        if (llvm::Error error = model.run(state, none, 0, worker))
          return error;
        for (size_t i = 0; i < networks.size(); ++i)
          visit(sample, i,
                TokenRows(*model.getResult(state, networks[i].result)));
        return llvm::Error::success();
      });
}

static double getElement(const TokenRows &rows, size_t i) {
  return rows.floats() ? rows.floats()[i] : rows.doubles()[i];
}

static TokenTable makeTable(ArrayRef<size_t> rows, const CalibrationSet &set) {
  TokenTable table;
  table.rows.assign(rows.begin(), rows.end());
  size_t longest = 0;
  for (size_t count : rows) {
    table.total += count;
    longest = std::max(longest, count);
  }
  table.ranges = std::min(longest, kRanges);
  for (size_t count : rows)
    for (size_t position = 0; position < count; ++position)
      table.range.push_back(position * table.ranges / longest);
  bool areTokens = set.tokens.size() == rows.size();
  for (size_t i = 0; areTokens && i < rows.size(); ++i)
    areTokens = set.tokens[i].size() == rows[i];
  if (!areTokens)
    return table;
  for (unsigned n = 1; n <= kLongestGram; ++n) {
    std::map<SmallVector<int64_t, 3>, unsigned> known;
    for (const std::vector<int64_t> &ids : set.tokens)
      for (size_t at = 0; at < ids.size(); ++at) {
        // Shorter at the beginning, where there is nothing before.
        SmallVector<int64_t, 3> gram;
        for (size_t k = at + 1 - std::min<size_t>(n, at + 1); k <= at; ++k)
          gram.push_back(ids[k]);
        auto [entry, isNew] =
            known.try_emplace(gram, table.grams[n - 1].size());
        if (isNew)
          table.grams[n - 1].push_back(gram);
        table.gramOf[n - 1].push_back(entry->second);
      }
    table.occurrences[n - 1].assign(known.size(), 0);
    for (unsigned gram : table.gramOf[n - 1])
      ++table.occurrences[n - 1][gram];
  }
  return table;
}

/// Mutual information of firing and range of positions in nats, less the
/// (ranges - 1) / 2N by which N tokens overestimate it.
static double measureInformation(const TokenTable &table,
                                 ArrayRef<size_t> fired,
                                 ArrayRef<double> sizes) {
  double total = table.total, rate = fired.size() / total;
  if (table.ranges < 2 || rate == 0 || rate == 1)
    return 0;
  std::vector<double> counts(table.ranges, 0.0);
  for (size_t token : fired)
    ++counts[table.range[token]];
  double sum = 0;
  unsigned used = 0;
  for (auto [count, size] : llvm::zip_equal(counts, sizes)) {
    if (size == 0)
      continue;
    ++used;
    double p = count / size;
    if (p > 0)
      sum += size / total * p * std::log(p / rate);
    if (p < 1)
      sum += size / total * (1 - p) * std::log((1 - p) / (1 - rate));
  }
  return std::max(0.0, sum - (used - 1) / (2 * total));
}

/// The smallest n whose n-grams explain the firings.
static void findGrams(const TokenTable &table, Firing &firing,
                      std::vector<unsigned> (&counts)[kLongestGram]) {
  if (firing.tokens.size() < kMinFirings)
    return;
  for (unsigned n = 1; n <= kLongestGram; ++n) {
    if (table.gramOf[n - 1].empty())
      return;
    std::vector<unsigned> &count = counts[n - 1];
    SmallVector<unsigned, 32> seen;
    for (size_t token : firing.tokens)
      if (count[table.gramOf[n - 1][token]]++ == 0)
        seen.push_back(table.gramOf[n - 1][token]);
    llvm::sort(seen, [&](unsigned a, unsigned b) {
      return std::pair(count[b], a) < std::pair(count[a], b);
    });
    size_t covered = 0, used = 0, occurrences = 0;
    while (used < seen.size() && covered < kCovered * firing.tokens.size()) {
      covered += count[seen[used]];
      occurrences += table.occurrences[n - 1][seen[used++]];
    }
    for (unsigned gram : seen)
      count[gram] = 0;
    if (used <= kMaxGrams && covered >= kPrecision * occurrences) {
      firing.gramLength = n;
      firing.grams.assign(seen.begin(), seen.begin() + used);
      return;
    }
  }
}

static json::Object describeNetwork(const Network &network,
                                    const TokenTable &table,
                                    const TokenNames &names, unsigned top) {
  constexpr size_t kFrequencies = 20;
  std::vector<double> sizes(table.ranges, 0.0);
  for (unsigned range : table.range)
    ++sizes[range];
  std::vector<unsigned> counts[kLongestGram];
  for (unsigned n = 0; n < kLongestGram; ++n)
    counts[n].assign(table.grams[n].size(), 0);
  uint64_t dead = 0, always = 0, positional = 0, fired = 0;
  uint64_t detectors[kLongestGram] = {};
  std::vector<int64_t> frequencies(kFrequencies);
  json::Array deadList, alwaysList;
  std::vector<std::pair<double, json::Object>> detectorList, positionalList;
  for (int64_t neuron = 0; neuron < network.width; ++neuron) {
    Firing firing;
    size_t first = 0;
    for (auto [sample, rows] : llvm::enumerate(table.rows)) {
      size_t words = (rows + 63) / 64;
      const uint64_t *bits = network.bits[sample].data() + neuron * words;
      for (size_t row = 0; row < rows; ++row)
        if (bits[row / 64] >> (row % 64) & 1)
          firing.tokens.push_back(first + row);
      first += rows;
    }
    size_t count = firing.tokens.size();
    fired += count;
    if (table.total)
      ++frequencies[std::min(kFrequencies - 1,
                             count * kFrequencies / table.total)];
    if (count == 0) {
      if (dead++ < top)
        deadList.push_back(neuron);
      continue;
    }
    if (count == table.total) {
      if (always++ < top)
        alwaysList.push_back(neuron);
      continue;
    }
    findGrams(table, firing, counts);
    if (firing.gramLength) {
      ++detectors[firing.gramLength - 1];
      json::Array grams;
      for (unsigned gram : firing.grams)
        grams.push_back(names.join(table.grams[firing.gramLength - 1][gram]));
      detectorList.push_back(
          {count, json::Object{{"neuron", neuron},
                               {"kind", kGramNames[firing.gramLength - 1]},
                               {"firings", static_cast<int64_t>(count)},
                               {"ngrams", std::move(grams)}}});
    }
    double information = measureInformation(table, firing.tokens, sizes);
    if (information >= kInformation) {
      ++positional;
      positionalList.push_back(
          {information, json::Object{{"neuron", neuron},
                                     {"firings", static_cast<int64_t>(count)},
                                     {"information", information}}});
    }
  }
  auto take = [&](auto &list) {
    // Of equal ones the first neuron.
    llvm::sort(list, [](const auto &a, const auto &b) {
      return std::pair(-a.first, getNumber(a.second, "neuron")) <
             std::pair(-b.first, getNumber(b.second, "neuron"));
    });
    json::Array array;
    for (auto &entry : list)
      if (array.size() < top)
        array.push_back(std::move(entry.second));
    return array;
  };
  json::Object row{
      {"sublayer", network.name},
      {"m", network.width},
      {"fires_above", network.threshold},
      {"firing_rate", static_cast<double>(fired) /
                          std::max<double>(1, network.width * table.total)},
      {"dead", dead},
      {"always", always},
      {"positional", positional},
      {"dead_neurons", std::move(deadList)},
      {"always_neurons", std::move(alwaysList)},
      {"positional_neurons", take(positionalList)},
      {"detectors", take(detectorList)},
      {"frequencies", json::Array(frequencies)}};
  for (unsigned n = 0; n < kLongestGram; ++n)
    row[kGramNames[n]] = detectors[n];
  return row;
}

Result analysis::analyzeNeurons(ModuleOp module, ModuleOp, Options options) {
  if (failed(listNetworks(module)))
    return failure();
  if (!(options.threshold >= 0))
    return module.emitError("--threshold is at least 0 [FFN-A105]");
  FailureOr<Samples> samples = loadSamples(module, options);
  if (failed(samples))
    return failure();
  auto names = TokenNames::load(samples->signature, options);
  if (!names)
    return refuse(module, names.takeError());
  ProbeRequest request;
  request.probes = {Probe::Hidden};
  OwningOpRef<ModuleOp> probed = module.clone();
  auto layers = instrument(*probed, request);
  if (failed(layers))
    return failure();
  SmallVector<std::string> sites = exposeProbes(*probed);
  llvm::StringMap<unsigned> results;
  for (auto [i, site] : llvm::enumerate(sites))
    results[site] = samples->signature.outputs.size() + i;
  std::vector<Network> networks;
  for (const ProbedLayer &layer : *layers)
    for (const ProbedLayer::Network &found : layer.networks) {
      auto result = results.find(layer.getSite(found.hidden));
      if (result == results.end())
        continue;
      Network &network = networks.emplace_back();
      network.name = getNetworkName(layer.names.front(), found.index);
      network.width = found.hiddenWidth;
      network.isRelu = !found.gated && (found.activation == "relu" ||
                                        found.activation == "squared_relu");
      network.result = result->second;
    }
  std::unique_ptr<StagedModel> model = compileStages(*probed, options);
  if (!model)
    return failure();

  // What is large is said by the root mean square, of a run of its own.
  std::vector<std::vector<HostTensor>> &inputs = samples->set.samples;
  std::vector<size_t> rows(inputs.size());
  bool isComplete = true;
  std::vector<std::vector<double>> squares(
      networks.size(), std::vector<double>(inputs.size(), 0.0));
  options.progress("running " + Twine(inputs.size()) + " samples");
  if (llvm::Error error =
          forEachHidden(*model, inputs, networks,
                        [&](size_t sample, size_t i, const TokenRows &hidden) {
                          if (i == 0)
                            rows[sample] = hidden.getNumRows();
                          size_t count =
                              hidden.getNumRows() * hidden.getWidth();
                          for (size_t k = 0; k < count; ++k) {
                            double value = getElement(hidden, k);
                            squares[i][sample] += value * value;
                          }
                        }))
    return refuse(module, std::move(error));
  TokenTable table = makeTable(rows, samples->set);
  for (auto [network, sums] : llvm::zip_equal(networks, squares)) {
    double sum = 0;
    for (double value : sums)
      sum += value;
    if (!std::isfinite(sum))
      return module.emitError("hidden values of '" + network.name +
                              "' are not finite [FFN-D212]");
    if (!network.isRelu)
      network.threshold =
          options.threshold *
          std::sqrt(sum / std::max<double>(1, table.total * network.width));
    network.bits.resize(inputs.size());
  }
  options.progress("running them again for the firings");
  if (llvm::Error error = forEachHidden(
          *model, inputs, networks,
          [&](size_t sample, size_t i, const TokenRows &hidden) {
            Network &network = networks[i];
            size_t m = hidden.getWidth(), words = (rows[sample] + 63) / 64;
            // Networks may see other tokens than the first one; none does yet.
            if (hidden.getNumRows() != rows[sample] ||
                m != static_cast<size_t>(network.width)) {
              isComplete = false;
              return;
            }
            std::vector<uint64_t> &bits = network.bits[sample];
            bits.assign(words * m, 0);
            for (size_t row = 0; row < rows[sample]; ++row)
              for (size_t j = 0; j < m; ++j) {
                double value = getElement(hidden, row * m + j);
                if ((network.isRelu ? value : std::abs(value)) >
                    network.threshold)
                  bits[j * words + row / 64] |= uint64_t(1) << (row % 64);
              }
          }))
    return refuse(module, std::move(error));
  if (!isComplete)
    return module.emitError("the networks of the model do not see the same "
                            "tokens [FFN-D208]");
  json::Array list;
  for (const Network &network : networks) {
    options.progress("firings of " + network.name);
    list.push_back(describeNetwork(network, table, *names, options.top));
  }
  json::Object data = samples->describe(options);
  data["tokens"] = static_cast<int64_t>(table.total);
  return json::Object{{"analysis", "neurons"},
                      {"calibration", std::move(data)},
                      {"threshold", options.threshold},
                      {"has_ngrams", !table.gramOf[0].empty()},
                      {"networks", std::move(list)}};
}

View analysis::showNeurons(const json::Object &result) {
  View view;
  view.title = "Neurons, " + describeData(result);
  view.text = {
      "A neuron fires where |h| is above " +
          formatNumber(getNumber(result, "threshold")) +
          " of its network's root mean square (ReLU without gate: h above 0). "
          "Dead: never. Token, bigram, trigram: at most 5 of them cover 95 % "
          "of 10 firings or more, and half of their occurrences make it fire. "
          "Positional: firing and position share 0.05 "
          "nats or more.",
      "Dead neurons may go (ffn-remove-dead-neurons proves where it is safe); "
      "low rates promise activation sparsity."};
  if (!result.getBoolean("has_ngrams").value_or(true))
    view.text.push_back("The data are no tokens: n-grams were not looked for.");
  std::vector<const json::Object *> rows = getObjects(result, "networks");
  Table table{"",
              {"sublayer", "m", "firing rate", "dead", "always", "token",
               "bigram", "trigram", "positional"},
              {}};
  Table detectors{
      "Detectors", {"sublayer", "neuron", "firings", "<n-grams"}, {}};
  Chart chart{Chart::Kind::Bars,          "Kinds of neurons",
              "% of the neurons",         "",
              getTexts(rows, "sublayer"), {}};
  Chart rates{Chart::Kind::Lines,
              "How often neurons fire",
              "% of the neurons",
              "% of the tokens (from)",
              {},
              {}};
  for (unsigned i = 0; i < 20; ++i)
    rates.categories.push_back(std::to_string(5 * i));
  for (const json::Object *row : rows) {
    std::vector<std::string> cells = {
        getText(*row, "sublayer"), formatNumber(getNumber(*row, "m")),
        formatPercent(getNumber(*row, "firing_rate"))};
    for (const char *key :
         {"dead", "always", "token", "bigram", "trigram", "positional"})
      cells.push_back(formatNumber(getNumber(*row, key)));
    table.rows.push_back(std::move(cells));
    Series series{getText(*row, "sublayer"), getNumbers(*row, "frequencies")};
    for (double &value : series.values)
      value *= 100 / getNumber(*row, "m");
    rates.series.push_back(std::move(series));
    size_t shown = 0;
    for (const json::Object *entry : getObjects(*row, "detectors")) {
      if (shown++ == 3)
        break;
      std::string grams;
      if (const json::Array *list = entry->getArray("ngrams"))
        for (const json::Value &gram : *list)
          grams += (grams.empty() ? "" : "  ") +
                   gram.getAsString().value_or("").str();
      detectors.rows.push_back(
          {getText(*row, "sublayer"), formatNumber(getNumber(*entry, "neuron")),
           formatNumber(getNumber(*entry, "firings")), grams});
    }
  }
  for (const char *key :
       {"dead", "always", "token", "bigram", "trigram", "positional"}) {
    Series series = makeSeries(key, rows, key, 100);
    for (auto [value, row] : llvm::zip_equal(series.values, rows))
      value /= getNumber(*row, "m");
    chart.series.push_back(std::move(series));
  }
  view.tables.push_back(std::move(table));
  if (!detectors.rows.empty())
    view.tables.push_back(std::move(detectors));
  view.charts = {std::move(chart), std::move(rates)};
  return view;
}
