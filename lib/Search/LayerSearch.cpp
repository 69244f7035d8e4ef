//===- LayerSearch.cpp - Which sublayers a model can do without -----------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/LayerSearch.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/FormatVariadic.h"
#include <cmath>
#include <limits>
#include <numeric>

using namespace mlir;
using namespace mlir::ffn;
using llvm::BitVector;
using llvm::Error;
using llvm::Expected;

std::optional<LayerMethod> mlir::ffn::parseLayerMethod(StringRef name) {
  return llvm::StringSwitch<std::optional<LayerMethod>>(name)
      .Case("finercut", LayerMethod::FinerCut)
      .Case("block-influence", LayerMethod::BlockInfluence)
      .Case("2ssp", LayerMethod::TwoStage)
      .Case("random", LayerMethod::Random)
      .Case("evopress", LayerMethod::EvoPress)
      .Default(std::nullopt);
}

SmallVector<unsigned>
mlir::ffn::listCandidates(ArrayRef<StagedSublayer> sublayers,
                          ArrayRef<SublayerKind> kinds) {
  SmallVector<unsigned> candidates;
  for (auto [i, sublayer] : llvm::enumerate(sublayers))
    if (sublayer.fixed.empty() &&
        (kinds.empty() || llvm::all_of(sublayer.kinds, [&](SublayerKind kind) {
           return llvm::is_contained(kinds, kind);
         })))
      candidates.push_back(i);
  return candidates;
}

namespace {
using Progress = llvm::function_ref<void(const LayerStep &)>;

class Searcher {
public:
  /// Without an evaluator nothing can be measured.
  Searcher(Evaluator *evaluator, ArrayRef<StagedSublayer> sublayers,
           const LayerSearchOptions &options)
      : evaluator(evaluator), sublayers(sublayers), options(options),
        removed(sublayers.size()) {
    result.kept.resize(sublayers.size());
    candidates = listCandidates(sublayers, options.kinds);
  }

  Error begin();
  /// Round by round the candidate without which the figure is least.
  Error runGreedy(LogitMetric metric, ArrayRef<size_t> samples, double protect,
                  Progress progress);
  Error runBlockInfluence(
      llvm::function_ref<Expected<double>(unsigned, unsigned)> measure);
  void runRandom();
  Error runEvoPress(Progress progress);
  Error finish();
  /// Between the residual before sublayer `first` and that behind `last`.
  Expected<double> measureInfluence(unsigned first, unsigned last) const;
  LayerSearchResult result;

private:
  static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

  double cost(unsigned sublayer) const {
    return options.costs.empty() ? 1 : options.costs[sublayer];
  }
  double cost(const BitVector &mask) const {
    double sum = 0;
    for (unsigned sublayer : mask.set_bits())
      sum += cost(sublayer);
    return sum;
  }
  bool isEnough(const BitVector &mask) const {
    return cost(mask) >= options.budget;
  }
  void remove(unsigned sublayer, double score) {
    removed.set(sublayer);
    result.steps.push_back({sublayer, score});
  }
  SmallVector<unsigned> draw(SeededRandom &random) const;
  std::optional<BitVector> mutate(const BitVector &parent,
                                  SeededRandom &random) const;
  SmallVector<size_t> drawSamples(size_t count, SeededRandom &random) const;

  Evaluator *evaluator;
  ArrayRef<StagedSublayer> sublayers;
  const LayerSearchOptions &options;
  SmallVector<unsigned> candidates;
  BitVector removed;
};
} // namespace

Error Searcher::begin() {
  BitVector all(sublayers.size());
  for (unsigned sublayer : candidates)
    all.set(sublayer);
  if (isEnough(all))
    return Error::success();
  if (options.costs.empty())
    return driverError("to leave out " +
                       llvm::Twine(static_cast<uint64_t>(options.budget)) +
                       " sublayers of " + llvm::Twine(candidates.size()) +
                       " that may be left out [FFN-P112]");
  return driverError(llvm::formatv("the sublayers that may be left out save "
                                   "{0}, the budget is {1} [FFN-P112]",
                                   cost(all), options.budget));
}

Error Searcher::runGreedy(LogitMetric metric, ArrayRef<size_t> samples,
                          double protect, Progress progress) {
  unsigned n = candidates.size();
  unsigned guarded = protect > 0 ? std::floor(n * protect / 2) + 1 : 0;
  unsigned readmit = std::floor(n * protect) + 1;
  auto isGuarded = [&](unsigned sublayer) {
    return removed.count() < readmit && sublayers[sublayer].block < guarded;
  };
  while (!isEnough(removed)) {
    SmallVector<unsigned> open;
    for (unsigned sublayer : candidates)
      if (!removed.test(sublayer) && !isGuarded(sublayer))
        open.push_back(sublayer);
    if (open.empty()) {
      // A budget beyond what is unprotected says that the rest may go.
      guarded = 0;
      continue;
    }
    std::vector<BitVector> masks(open.size(), removed);
    for (auto [mask, sublayer] : llvm::zip_equal(masks, open))
      mask.set(sublayer);
    auto scores = evaluator->measure(masks, metric, samples);
    if (!scores)
      return scores.takeError();
    size_t best = llvm::min_element(*scores) - scores->begin();
    remove(open[best], (*scores)[best]);
    progress(result.steps.back());
    if (Error error = evaluator->setBase(removed))
      return error;
  }
  for (unsigned sublayer : candidates)
    if (!removed.test(sublayer) && isGuarded(sublayer))
      result.kept.set(sublayer);
  return Error::success();
}

/// 1 - cos of the rows of two tensors of one shape, summed over rows.
static WeightedSum sumInfluence(const HostTensor &before,
                                const HostTensor &after) {
  WeightedSum sum;
  size_t width = before.getShape().empty() ? 0 : before.getShape().back();
  size_t rows = width ? before.getNumElements() / width : 0;
  for (size_t row = 0; row < rows; ++row) {
    double product = 0, a = 0, b = 0;
    for (size_t i = row * width; i < (row + 1) * width; ++i) {
      double x = before.getDouble(i), y = after.getDouble(i);
      product += x * y;
      a += x * x;
      b += y * y;
    }
    sum.sum += 1 - (a > 0 && b > 0 ? product / std::sqrt(a * b) : 0);
  }
  sum.weight = rows;
  return sum;
}

Expected<double> Searcher::measureInfluence(unsigned first,
                                            unsigned last) const {
  StagedModel &model = evaluator->getModel();
  WeightedSum total;
  for (size_t i = 0; i < evaluator->getNumSamples(); ++i) {
    const StagedModel::State &state = evaluator->getOriginal(i);
    const HostTensor *before = model.getResidual(state, first),
                     *after = model.getHidden(state, last);
    if (before->getShape() != after->getShape())
      return driverError("the residual changes its shape between '" +
                         sublayers[first].names.front() + "' and '" +
                         sublayers[last].names.back() + "' [FFN-P111]");
    WeightedSum part = sumInfluence(*before, *after);
    total.sum += part.sum;
    total.weight += part.weight;
  }
  return total.mean();
}

Error Searcher::runBlockInfluence(
    llvm::function_ref<Expected<double>(unsigned, unsigned)> measure) {
  // Candidates that go together, each group with its influence.
  std::vector<std::pair<double, SmallVector<unsigned>>> groups;
  for (unsigned sublayer : candidates) {
    if (options.wholeBlocks && !groups.empty() &&
        sublayers[groups.back().second.front()].block ==
            sublayers[sublayer].block)
      groups.back().second.push_back(sublayer);
    else
      groups.push_back({0, {sublayer}});
  }
  for (auto &[influence, group] : groups) {
    auto measured = measure(group.front(), group.back());
    if (!measured)
      return measured.takeError();
    influence = *measured;
  }
  llvm::sort(groups, [](const auto &a, const auto &b) {
    return std::pair(a.first, a.second.front()) <
           std::pair(b.first, b.second.front());
  });
  for (const auto &[influence, group] : groups) {
    if (isEnough(removed))
      break;
    BitVector with = removed;
    for (unsigned sublayer : group)
      with.set(sublayer);
    if (options.wholeBlocks && cost(with) > options.budget)
      continue;
    for (unsigned sublayer : group)
      remove(sublayer, influence);
  }
  return Error::success();
}

/// Candidates in random order until the budget is met.
SmallVector<unsigned> Searcher::draw(SeededRandom &random) const {
  SmallVector<unsigned> order = candidates, chosen;
  BitVector mask = evaluator->none();
  for (size_t i = 0; !isEnough(mask); ++i) {
    std::swap(order[i], order[i + random.next() % (order.size() - i)]);
    mask.set(order[i]);
    chosen.push_back(order[i]);
  }
  return chosen;
}

void Searcher::runRandom() {
  SeededRandom random(options.seed);
  for (unsigned sublayer : draw(random))
    remove(sublayer, kNone);
}

/// Swaps min(U{1..3}, U{1..3}) pairs of a removed and a kept sublayer of one
/// kind, so that a number of sublayers and its split over kinds stay. None
/// where nothing can be swapped or the result saves less than the budget.
std::optional<BitVector> Searcher::mutate(const BitVector &parent,
                                          SeededRandom &random) const {
  BitVector child = parent;
  unsigned swaps = 1 + std::min(random.next() % 3, random.next() % 3);
  for (unsigned s = 0; s < swaps; ++s) {
    SmallVector<std::pair<unsigned, unsigned>> pairs;
    for (unsigned out : candidates)
      for (unsigned in : candidates)
        if (child.test(out) && !child.test(in) &&
            sublayers[out].kinds == sublayers[in].kinds)
          pairs.push_back({out, in});
    if (pairs.empty())
      break;
    auto [out, in] = pairs[random.next() % pairs.size()];
    child.reset(out);
    child.set(in);
  }
  if (child == parent || !isEnough(child))
    return std::nullopt;
  return child;
}

/// `count` different samples; empty, which means all, where there are no more.
SmallVector<size_t> Searcher::drawSamples(size_t count,
                                          SeededRandom &random) const {
  SmallVector<size_t> order(evaluator->getNumSamples());
  if (count >= order.size())
    return {};
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = 0; i < count; ++i)
    std::swap(order[i], order[i + random.next() % (order.size() - i)]);
  order.resize(count);
  llvm::sort(order);
  return order;
}

Error Searcher::runEvoPress(Progress progress) {
  constexpr unsigned kInitial = 64, kOffspring = 32, kSurvivors = 2;
  SeededRandom random(options.seed);
  // The first selection sees a sixteenth of the tokens, the second all.
  size_t samples = evaluator->getNumSamples(),
         part = std::max<size_t>(1, samples / 16);
  uint64_t limit =
      options.maxEvaluations
          ? evaluator->getNumEvaluations() + options.maxEvaluations * samples
          : std::numeric_limits<uint64_t>::max();
  auto add = [](std::vector<BitVector> &list, const BitVector &mask) {
    if (!llvm::is_contained(list, mask))
      list.push_back(mask);
  };
  // Different sets may be fewer than are asked for: tries are bounded.
  auto collect = [&](unsigned count,
                     llvm::function_ref<std::optional<BitVector>()> make) {
    constexpr unsigned kTries = 8;
    std::vector<BitVector> list;
    for (unsigned i = 0; i < kTries * count && list.size() < count; ++i)
      if (std::optional<BitVector> mask = make())
        add(list, *mask);
    return list;
  };
  std::vector<BitVector> population = collect(kInitial, [&] {
    BitVector mask = evaluator->none();
    for (unsigned sublayer : draw(random))
      mask.set(sublayer);
    return std::optional<BitVector>(mask);
  });
  auto initial =
      evaluator->measure(population, options.metric, drawSamples(part, random));
  if (!initial)
    return initial.takeError();
  removed = population[llvm::min_element(*initial) - initial->begin()];
  auto best = evaluator->measure(removed, options.metric);
  if (!best)
    return best.takeError();
  double score = best->front();
  unsigned k = removed.count(), n = candidates.size();
  unsigned generations = std::ceil(k * (n - k) / 1.5);
  for (unsigned g = 0;
       g < generations && evaluator->getNumEvaluations() < limit; ++g) {
    std::vector<BitVector> children =
        collect(kOffspring, [&] { return mutate(removed, random); });
    if (children.empty())
      break;
    auto first =
        evaluator->measure(children, options.metric, drawSamples(part, random));
    if (!first)
      return first.takeError();
    std::vector<size_t> ranking(children.size());
    std::iota(ranking.begin(), ranking.end(), 0);
    llvm::sort(ranking, [&](size_t a, size_t b) {
      return std::pair((*first)[a], a) < std::pair((*first)[b], b);
    });
    std::vector<BitVector> survivors;
    for (size_t index : ArrayRef(ranking).take_front(kSurvivors))
      survivors.push_back(children[index]);
    auto second = evaluator->measure(survivors, options.metric);
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
    result.steps.push_back({sublayer, kNone});
  return Error::success();
}

Error Searcher::finish() {
  auto scores = evaluator->measure(removed, options.metric);
  if (!scores)
    return scores.takeError();
  result.distance = scores->front();
  return evaluator->setBase(evaluator->none());
}

Expected<LayerSearchResult>
mlir::ffn::searchLayers(Evaluator &evaluator, const LayerSearchOptions &options,
                        Progress progress) {
  evaluator.forget();
  uint64_t before = evaluator.getNumEvaluations();
  Searcher searcher(&evaluator, evaluator.getModel().getSublayers(), options);
  if (Error error = searcher.begin())
    return std::move(error);
  Error error = Error::success();
  switch (options.method) {
  case LayerMethod::FinerCut:
    error = searcher.runGreedy(options.metric, {}, options.protect, progress);
    break;
  case LayerMethod::TwoStage:
    error = searcher.runGreedy(LogitMetric::NLL, {0}, /*protect=*/0, progress);
    break;
  case LayerMethod::BlockInfluence:
    error = searcher.runBlockInfluence([&](unsigned first, unsigned last) {
      return searcher.measureInfluence(first, last);
    });
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
  searcher.result.evaluations = evaluator.getNumEvaluations() - before;
  return std::move(searcher.result);
}

Expected<LayerSearchResult>
mlir::ffn::searchInfluence(ArrayRef<StagedSublayer> sublayers,
                           ArrayRef<double> influence,
                           const LayerSearchOptions &options) {
  Searcher searcher(nullptr, sublayers, options);
  if (Error error = searcher.begin())
    return std::move(error);
  if (Error error = searcher.runBlockInfluence([&](unsigned first, unsigned) {
        return Expected<double>(influence[first]);
      }))
    return std::move(error);
  searcher.result.distance = std::numeric_limits<double>::quiet_NaN();
  return std::move(searcher.result);
}
