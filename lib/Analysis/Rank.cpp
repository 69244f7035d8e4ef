//===- Rank.cpp - Singular values of weights ------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Detail.h"
#include "ffn-mlir/Analysis/SymmetricEigen.h"
#include "ffn-mlir/Support/WeightEval.h"
#include <cmath>
#include <map>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::analysis;

/// Points of a spectrum in a result.
static constexpr size_t kPoints = 21;

namespace {
/// A matrix of a sublayer.
struct Matrix {
  std::string role;
  Value weight;
  /// Number of the linear or the network of the sublayer, and which inputs of
  /// it are multiplied.
  unsigned index;
  enum { Linear, NetworkInput, NetworkHidden } place;
};
} // namespace

static std::vector<Matrix> listMatrices(SublayerOp sublayer) {
  std::vector<Matrix> list;
  unsigned linears = 0, networks = 0;
  for (Operation &op : sublayer.getBody().front()) {
    if (auto linear = llvm::dyn_cast<LinearOp>(op)) {
      list.push_back({"linear" + std::to_string(linears), linear.getWeight(),
                      linears, Matrix::Linear});
      ++linears;
    }
    auto network = llvm::dyn_cast<FeedForwardOp>(op);
    if (!network)
      continue;
    std::string suffix = networks ? std::to_string(networks) : "";
    list.push_back(
        {"up" + suffix, network.getUp(), networks, Matrix::NetworkInput});
    if (network.getGate())
      list.push_back(
          {"gate" + suffix, network.getGate(), networks, Matrix::NetworkInput});
    list.push_back(
        {"down" + suffix, network.getDown(), networks, Matrix::NetworkHidden});
    ++networks;
  }
  llvm::erase_if(
      list, [](Matrix &entry) { return !isWeightExpression(entry.weight); });
  return list;
}

/// The number of largest elements of `energies` that hold the part `share` of
/// the sum.
static int64_t countEnergy(ArrayRef<double> energies, double share) {
  double total = 0, sum = 0;
  for (double energy : energies)
    total += energy;
  for (auto [i, energy] : llvm::enumerate(energies)) {
    if (sum >= share * total)
      return i;
    sum += energy;
  }
  return energies.size();
}

/// Figures of the eigenvalues of a Gram matrix, largest first.
static json::Object describeSpectrum(std::vector<double> energies) {
  double sumSigma = 0, sumSquares = 0, sumFourth = 0;
  std::vector<double> sigmas;
  for (double &energy : energies) {
    energy = std::max(energy, 0.0);
    sigmas.push_back(std::sqrt(energy));
    sumSigma += sigmas.back();
    sumSquares += energy;
    sumFourth += energy * energy;
  }
  double entropy = 0, largest = sigmas.empty() ? 0 : sigmas.front();
  for (double sigma : sigmas)
    if (sigma > 0)
      entropy -= sigma / sumSigma * std::log(sigma / sumSigma);
  std::vector<double> relative;
  for (double sigma : sigmas)
    relative.push_back(largest > 0 ? sigma / largest : 0);
  return json::Object{
      {"largest", largest},
      {"stable_rank", largest > 0 ? sumSquares / (largest * largest) : 0},
      {"effective_rank", largest > 0 ? std::exp(entropy) : 0},
      {"participation",
       sumFourth > 0 ? sumSquares * sumSquares / sumFourth : 0},
      {"rank_90", countEnergy(energies, 0.9)},
      {"rank_99", countEnergy(energies, 0.99)},
      {"spectrum", pickEvenly(relative, kPoints)}};
}

/// Spectrum of A L where L L^T is the Gram matrix of the inputs.
static std::optional<std::vector<double>>
weightByInputs(ArrayRef<double> matrix, size_t rows, size_t columns,
               ArrayRef<double> gram) {
  std::vector<double> lower = factorSemidefinite(gram, columns);
  std::vector<double> product(rows * columns, 0.0);
  for (size_t i = 0; i < rows; ++i)
    for (size_t k = 0; k < columns; ++k) {
      double factor = matrix[i * columns + k];
      for (size_t j = 0; j <= k; ++j)
        product[i * columns + j] += factor * lower[k * columns + j];
    }
  size_t n = std::min(rows, columns);
  std::vector<double> small = computeSmallerGram(product, rows, columns);
  return computeEigenvalues(small, n);
}

/// The Gram matrix of the inputs of a matrix; empty where the profile has none.
static ArrayRef<double> findGram(const Profile &profile, StringRef name,
                                 const Matrix &matrix, int64_t width) {
  const ProbedLayer *layer = profile.findLayer(name);
  if (!layer)
    return {};
  std::string site;
  if (matrix.place == Matrix::Linear) {
    if (matrix.index < layer->linears.size())
      site = layer->linears[matrix.index].site;
  } else if (matrix.index < layer->networks.size()) {
    const ProbedLayer::Network &network = layer->networks[matrix.index];
    site =
        matrix.place == Matrix::NetworkInput ? network.input : network.hidden;
  }
  if (site.empty() || !profile.has(*layer, site, "gram"))
    return {};
  auto gram = profile.get<double>(*layer, site, "gram", {width, width});
  if (gram)
    return *gram;
  llvm::consumeError(gram.takeError());
  return {};
}

Result analysis::analyzeRank(ModuleOp module, ModuleOp, Options options) {
  FailureOr<std::vector<NamedSublayer>> sublayers = listNetworks(module);
  if (failed(sublayers))
    return failure();
  std::unique_ptr<Profile> profile;
  if (!options.profile.empty() || !options.calibration.data.empty()) {
    FailureOr<std::unique_ptr<Profile>> made =
        getProfile(module, options, "gram");
    if (failed(made))
      return failure();
    profile = std::move(*made);
  }
  json::Array matrices;
  for (auto [i, entry] : llvm::enumerate(*sublayers)) {
    options.progress("singular values of " + entry.name + ", " + Twine(i + 1) +
                     "/" + Twine(sublayers->size()));
    for (const Matrix &matrix : listMatrices(entry.op)) {
      FailureOr<std::vector<double>> values = readMatrix(matrix.weight);
      if (failed(values))
        return failure();
      auto type = llvm::cast<RankedTensorType>(matrix.weight.getType());
      size_t rows = type.getDimSize(0), columns = type.getDimSize(1),
             n = std::min(rows, columns);
      std::vector<double> gram = computeSmallerGram(*values, rows, columns);
      auto energies = computeEigenvalues(gram, n);
      if (!energies)
        return module.emitError("singular values of '" + entry.name + "', " +
                                matrix.role +
                                ": numbers beyond float64 [FFN-A106]");
      // Products of f32 factors have noise of this size.
      double noise = std::max(rows, columns) * 0x1p-23 *
                     std::sqrt(std::max(0.0, energies->front()));
      int64_t rank = llvm::count_if(
          *energies, [&](double energy) { return energy > noise * noise; });
      json::Object row = describeSpectrum(std::move(*energies));
      row["sublayer"] = entry.name;
      row["kind"] = entry.kind;
      row["role"] = matrix.role;
      row["weight"] = json::fixUTF8(getWeightKey(matrix.weight));
      row["rows"] = static_cast<int64_t>(rows);
      row["columns"] = static_cast<int64_t>(columns);
      row["rank"] = rank;
      row["break_even"] =
          static_cast<int64_t>(rows * columns / (rows + columns));
      if (profile) {
        ArrayRef<double> inputs =
            findGram(*profile, entry.op.getAddend(0).getName().getValue(),
                     matrix, columns);
        std::optional<std::vector<double>> weighted;
        if (!inputs.empty())
          weighted = weightByInputs(*values, rows, columns, inputs);
        if (weighted)
          row["input_weighted"] = describeSpectrum(std::move(*weighted));
      }
      matrices.push_back(std::move(row));
    }
  }
  json::Object result{{"analysis", "rank"}, {"matrices", std::move(matrices)}};
  if (profile)
    result["calibration"] = analysis::describe(*profile);
  return result;
}

View analysis::showRank(const json::Object &result) {
  View view;
  view.title = "Singular values of weights";
  view.text = {
      "Rank: singular values above f32 noise. Effective rank: exp of the "
      "entropy of the singular values; stable rank: their energy by that of "
      "the largest. 90 % and 99 %: so many hold that part of the energy.",
      "Two factors of rank r have fewer parameters than the matrix below the "
      "break-even rank: where 99 % lies below it, a low-rank form saves."};
  bool weighted = result.get("calibration") != nullptr;
  if (weighted)
    view.text.push_back("Columns with 'in' weigh directions by the inputs of " +
                        describeData(result) +
                        ": what a low-rank form would lose of the outputs.");
  std::vector<const json::Object *> rows = getObjects(result, "matrices");
  Table table{"",
              {"sublayer", "<matrix", "shape", "rank", "effective", "stable",
               "90 %", "99 %", "break-even"},
              {}};
  if (weighted)
    table.columns.insert(table.columns.end(), {"in 90 %", "in 99 %"});
  for (const json::Object *row : rows) {
    std::vector<std::string> cells = {
        getText(*row, "sublayer"), getText(*row, "role"),
        formatNumber(getNumber(*row, "rows")) + "x" +
            formatNumber(getNumber(*row, "columns")),
        formatNumber(getNumber(*row, "rank"))};
    for (const char *key :
         {"effective_rank", "stable_rank", "rank_90", "rank_99", "break_even"})
      cells.push_back(formatNumber(getNumber(*row, key)));
    if (weighted)
      for (const char *key : {"rank_90", "rank_99"})
        cells.push_back(
            formatNumber(getNumber(getObject(*row, "input_weighted"), key)));
    table.rows.push_back(std::move(cells));
  }
  view.tables.push_back(std::move(table));

  // One group of bars a sublayer, one bar a role; and spectra, averaged over
  // the sublayers.
  std::vector<std::string> sublayers;
  std::map<std::string, std::map<std::string, double>> shares;
  std::map<std::string, std::pair<std::vector<double>, unsigned>> spectra;
  for (const json::Object *row : rows) {
    std::string name = getText(*row, "sublayer"), role = getText(*row, "role");
    bool isLinear = StringRef(role).starts_with("linear");
    if (isLinear)
      role = getText(*row, "kind") + ", linears";
    else if (sublayers.empty() || sublayers.back() != name)
      sublayers.push_back(name);
    double side = std::min(getNumber(*row, "rows"), getNumber(*row, "columns"));
    if (!isLinear)
      shares[role][name] = 100 * getNumber(*row, "rank_99") / side;
    std::vector<double> spectrum = getNumbers(*row, "spectrum");
    auto &[sums, count] = spectra[role];
    if (count == 0)
      sums.assign(spectrum.size(), 0.0);
    if (spectrum.size() != sums.size())
      continue;
    for (auto [sum, value] : llvm::zip(sums, spectrum))
      sum += value;
    ++count;
  }
  Chart lines{Chart::Kind::Lines,
              "Singular values, mean over the sublayers",
              "singular value by the largest",
              "% of the singular values",
              {},
              {}};
  size_t points = 0;
  for (auto &[role, entry] : spectra) {
    Series series{role, entry.first};
    for (double &value : series.values)
      value /= entry.second;
    points = std::max(points, series.values.size());
    lines.series.push_back(std::move(series));
  }
  for (size_t i = 0; i < points; ++i)
    lines.categories.push_back(
        formatNumber(std::round(100. * i / std::max<size_t>(1, points - 1))));
  Chart bars{Chart::Kind::Bars,
             "Directions that hold 99 % of a matrix",
             "% of the smaller side",
             "",
             sublayers,
             {}};
  for (auto &[role, byName] : shares) {
    Series series{role, {}};
    for (const std::string &name : sublayers)
      series.values.push_back(byName.count(name) ? byName[name] : kNaN);
    bars.series.push_back(std::move(series));
  }
  view.charts = {std::move(bars), std::move(lines)};
  return view;
}
