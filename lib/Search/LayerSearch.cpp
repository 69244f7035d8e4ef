//===- LayerSearch.cpp - Which sublayers a model can do without -----------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/LayerSearch.h"
#include "llvm/ADT/StringSwitch.h"
#include <atomic>
#include <cmath>
#include <limits>

using namespace mlir;
using namespace mlir::ffn;
using llvm::BitVector;
using llvm::Error;
using llvm::Expected;

std::optional<LayerMethod> mlir::ffn::parseLayerMethod(StringRef name) {
  return llvm::StringSwitch<std::optional<LayerMethod>>(name)
      .Case("finercut", LayerMethod::FinerCut)
      .Case("block-influence", LayerMethod::BlockInfluence)
      .Case("random", LayerMethod::Random)
      .Case("evopress", LayerMethod::EvoPress)
      .Default(std::nullopt);
}

namespace {
class Searcher {
public:
  Searcher(StagedModel &model, const LayerSearchOptions &options)
      : model(model), options(options) {}

  Error begin(std::vector<std::vector<HostTensor>> tensors);
  Error runFinerCut(llvm::function_ref<void(const LayerStep &)> progress);
  Error runBlockInfluence();
  void runRandom();
  Error runEvoPress(llvm::function_ref<void(const LayerStep &)> progress);
  Error finish();
  LayerSearchResult result;

private:
  /// Mean distance of the model without `mask` from the original over the first
  /// `count` samples, from the states before `stage` on.
  Expected<double> measure(const BitVector &mask, unsigned stage, size_t count,
                           const std::vector<StagedModel::State> &from,
                           unsigned worker);
  /// The same for several masks at once, from the original states.
  Expected<std::vector<double>> measureAll(ArrayRef<BitVector> masks,
                                           size_t count);
  BitVector mutate(const BitVector &parent, SeededRandom &random) const;
  unsigned firstStage(const BitVector &mask) const {
    int first = mask.find_first();
    return first < 0 ? 0 : model.getSublayers()[first].stage;
  }
  BitVector none() const { return BitVector(model.getSublayers().size()); }

  StagedModel &model;
  const LayerSearchOptions &options;
  std::vector<StagedModel::State> original;
  SmallVector<unsigned> candidates;
  BitVector removed;
  std::atomic<uint64_t> evaluations = 0;
};
} // namespace

Error Searcher::begin(std::vector<std::vector<HostTensor>> tensors) {
  for (auto [i, sublayer] : llvm::enumerate(model.getSublayers()))
    if (sublayer.fixed.empty() &&
        (options.kinds.empty() ||
         llvm::is_contained(options.kinds, sublayer.kind)))
      candidates.push_back(i);
  if (options.count > candidates.size())
    return driverError("to leave out " + llvm::Twine(options.count) +
                       " sublayers of " + llvm::Twine(candidates.size()) +
                       " that may be left out [FFN-P112]");
  removed = none();
  result.kept = none();
  for (std::vector<HostTensor> &sample : tensors)
    original.push_back(model.begin(std::move(sample)));
  evaluations += original.size();
  return forEachOnWorkers(model.getNumWorkers(), original.size(),
                          [&](size_t i, unsigned worker) {
                            return model.run(original[i], none(), 0, worker);
                          });
}

Expected<double> Searcher::measure(const BitVector &mask, unsigned stage,
                                   size_t count,
                                   const std::vector<StagedModel::State> &from,
                                   unsigned worker) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    StagedModel::State state = from[i];
    if (Error error = model.run(state, mask, stage, worker))
      return std::move(error);
    sum += measureLogits(options.metric,
                         *model.getResult(original[i], options.output),
                         *model.getResult(state, options.output));
  }
  evaluations += count;
  return sum / count;
}

Error Searcher::runFinerCut(
    llvm::function_ref<void(const LayerStep &)> progress) {
  std::vector<StagedModel::State> current = original;
  double share = options.protect;
  unsigned n = candidates.size();
  unsigned guarded = share > 0 ? std::floor(n * share / 2) + 1 : 0;
  unsigned readmit = std::floor(n * share) + 1;
  auto isGuarded = [&](unsigned sublayer) {
    return removed.count() < readmit &&
           model.getSublayers()[sublayer].block < guarded;
  };
  while (removed.count() < options.count) {
    SmallVector<unsigned> open;
    for (unsigned sublayer : candidates)
      if (!removed.test(sublayer) && !isGuarded(sublayer))
        open.push_back(sublayer);
    if (open.empty()) {
      // A budget beyond what is unprotected says that the rest may go.
      guarded = 0;
      continue;
    }
    std::vector<double> scores(open.size());
    if (Error error = forEachOnWorkers(
            model.getNumWorkers(), open.size(),
            [&](size_t i, unsigned worker) -> Error {
              BitVector mask = removed;
              mask.set(open[i]);
              auto score = measure(mask, model.getSublayers()[open[i]].stage,
                                   current.size(), current, worker);
              if (!score)
                return score.takeError();
              // A model that gives no numbers is the worst.
              scores[i] = std::isnan(*score)
                              ? std::numeric_limits<double>::infinity()
                              : *score;
              return Error::success();
            }))
      return error;
    size_t best = llvm::min_element(scores) - scores.begin();
    removed.set(open[best]);
    result.steps.push_back({open[best], scores[best]});
    progress(result.steps.back());
    unsigned stage = model.getSublayers()[open[best]].stage;
    if (Error error = forEachOnWorkers(model.getNumWorkers(), current.size(),
                                       [&](size_t i, unsigned worker) {
                                         return model.run(current[i], removed,
                                                          stage, worker);
                                       }))
      return error;
  }
  for (unsigned sublayer : candidates)
    if (!removed.test(sublayer) && isGuarded(sublayer))
      result.kept.set(sublayer);
  return Error::success();
}

/// 1 - cos of rows of two tensors of one shape, mean over rows.
static double measureInfluence(const HostTensor &before,
                               const HostTensor &after) {
  size_t width = before.getShape().back();
  double sum = 0;
  size_t rows = width ? before.getNumElements() / width : 0;
  for (size_t row = 0; row < rows; ++row) {
    double product = 0, a = 0, b = 0;
    for (size_t i = row * width; i < (row + 1) * width; ++i) {
      double x = before.getDouble(i), y = after.getDouble(i);
      product += x * y;
      a += x * x;
      b += y * y;
    }
    sum += 1 - (a > 0 && b > 0 ? product / std::sqrt(a * b) : 0);
  }
  return rows ? sum / rows : 0;
}

Error Searcher::runBlockInfluence() {
  std::vector<LayerStep> steps;
  for (unsigned sublayer : candidates) {
    double sum = 0;
    for (const StagedModel::State &state : original)
      sum += measureInfluence(*model.getResidual(state, sublayer),
                              *model.getHidden(state, sublayer));
    steps.push_back({sublayer, sum / original.size()});
  }
  llvm::stable_sort(steps, [](const LayerStep &a, const LayerStep &b) {
    return a.score < b.score;
  });
  steps.resize(options.count);
  for (const LayerStep &step : steps)
    removed.set(step.sublayer);
  result.steps = std::move(steps);
  return Error::success();
}

void Searcher::runRandom() {
  SeededRandom random(options.seed);
  SmallVector<unsigned> order = candidates;
  for (size_t i = 0; i < options.count; ++i) {
    std::swap(order[i], order[i + random.next() % (order.size() - i)]);
    removed.set(order[i]);
    result.steps.push_back(
        {order[i], std::numeric_limits<double>::quiet_NaN()});
  }
}

/// Swaps min(U{1..3}, U{1..3}) pairs of a removed and a kept sublayer of one
/// kind, so that the budget and its split over kinds stay.
BitVector Searcher::mutate(const BitVector &parent,
                           SeededRandom &random) const {
  BitVector child = parent;
  unsigned swaps = 1 + std::min(random.next() % 3, random.next() % 3);
  for (unsigned s = 0; s < swaps; ++s) {
    SmallVector<std::pair<unsigned, unsigned>> pairs;
    for (unsigned out : candidates)
      for (unsigned in : candidates)
        if (child.test(out) && !child.test(in) &&
            model.getSublayers()[out].kind == model.getSublayers()[in].kind)
          pairs.push_back({out, in});
    if (pairs.empty())
      break;
    auto [out, in] = pairs[random.next() % pairs.size()];
    child.reset(out);
    child.set(in);
  }
  return child;
}

Expected<std::vector<double>> Searcher::measureAll(ArrayRef<BitVector> masks,
                                                   size_t count) {
  std::vector<double> scores(masks.size());
  Error error = forEachOnWorkers(
      model.getNumWorkers(), masks.size(),
      [&](size_t i, unsigned worker) -> Error {
        auto score =
            measure(masks[i], firstStage(masks[i]), count, original, worker);
        if (!score)
          return score.takeError();
        scores[i] = std::isnan(*score) ? std::numeric_limits<double>::infinity()
                                       : *score;
        return Error::success();
      });
  if (error)
    return std::move(error);
  return std::move(scores);
}

Error Searcher::runEvoPress(
    llvm::function_ref<void(const LayerStep &)> progress) {
  constexpr unsigned kOffspring = 32, kSurvivors = 2;
  SeededRandom random(options.seed);
  unsigned n = candidates.size(), k = options.count;
  SmallVector<unsigned> order = candidates;
  for (size_t i = 0; i < k; ++i) {
    std::swap(order[i], order[i + random.next() % (order.size() - i)]);
    removed.set(order[i]);
  }
  if (k == 0 || k == n)
    return Error::success();
  // The first selection sees a part of the samples, the second all.
  size_t part = std::max<size_t>(1, original.size() / 16);
  unsigned generations = std::ceil(k * (n - k) / 1.5);
  uint64_t limit =
      options.maxEvaluations
          ? evaluations + uint64_t(options.maxEvaluations) * original.size()
          : std::numeric_limits<uint64_t>::max();
  auto best = measureAll(removed, original.size());
  if (!best)
    return best.takeError();
  double score = best->front();
  for (unsigned g = 0; g < generations && evaluations < limit; ++g) {
    std::vector<BitVector> children;
    for (unsigned i = 0; i < kOffspring; ++i)
      children.push_back(mutate(removed, random));
    auto first = measureAll(children, part);
    if (!first)
      return first.takeError();
    std::vector<size_t> ranking(children.size());
    for (auto [i, index] : llvm::enumerate(ranking))
      index = i;
    llvm::stable_sort(
        ranking, [&](size_t a, size_t b) { return (*first)[a] < (*first)[b]; });
    std::vector<BitVector> survivors;
    for (size_t i = 0; i < kSurvivors; ++i)
      survivors.push_back(children[ranking[i]]);
    auto second = measureAll(survivors, original.size());
    if (!second)
      return second.takeError();
    size_t winner = llvm::min_element(*second) - second->begin();
    if ((*second)[winner] >= score)
      continue;
    score = (*second)[winner];
    removed = survivors[winner];
    progress({static_cast<unsigned>(removed.find_first()), score});
  }
  for (unsigned sublayer : removed.set_bits())
    result.steps.push_back(
        {sublayer, std::numeric_limits<double>::quiet_NaN()});
  return Error::success();
}

Error Searcher::finish() {
  auto scores = measureAll(removed, original.size());
  if (!scores)
    return scores.takeError();
  result.distance = scores->front();
  result.evaluations = evaluations;
  return Error::success();
}

Expected<LayerSearchResult>
mlir::ffn::searchLayers(StagedModel &model,
                        std::vector<std::vector<HostTensor>> samples,
                        const LayerSearchOptions &options,
                        llvm::function_ref<void(const LayerStep &)> progress) {
  Searcher searcher(model, options);
  if (Error error = searcher.begin(std::move(samples)))
    return std::move(error);
  Error error = Error::success();
  switch (options.method) {
  case LayerMethod::FinerCut:
    error = searcher.runFinerCut(progress);
    break;
  case LayerMethod::BlockInfluence:
    error = searcher.runBlockInfluence();
    break;
  case LayerMethod::Random:
    searcher.runRandom();
    break;
  case LayerMethod::EvoPress:
    error = searcher.runEvoPress(progress);
    break;
  }
  if (!error)
    error = searcher.finish();
  if (error)
    return std::move(error);
  return std::move(searcher.result);
}
