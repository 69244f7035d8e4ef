//===- Evaluator.cpp - Variants of a model on the same samples ------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/Evaluator.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>

using namespace mlir;
using namespace mlir::ffn;
using llvm::ArrayRef;
using llvm::BitVector;
using llvm::Error;
using llvm::Expected;

Expected<std::unique_ptr<Evaluator>>
Evaluator::create(StagedModel &model,
                  std::vector<std::vector<HostTensor>> samples,
                  unsigned output) {
  if (samples.empty())
    return driverError("an evaluation needs one sample or more [FFN-P111]");
  std::unique_ptr<Evaluator> result(new Evaluator(model, output));
  for (std::vector<HostTensor> &sample : samples)
    result->original.push_back(model.begin(std::move(sample)));
  std::vector<StagedModel::State> &states = result->original;
  if (Error error = forEachOnWorkers(
          model.getNumWorkers(), states.size(), [&](size_t i, unsigned worker) {
            return model.run(states[i], result->baseMask, 0, worker);
          }))
    return std::move(error);
  if (!model.getResult(states.front(), output))
    return driverError("the result that is measured is a constant [FFN-P111]");
  result->evaluations = states.size();
  result->base = states;
  return std::move(result);
}

void Evaluator::setTargets(std::vector<std::vector<int64_t>> given) {
  targets = std::move(given);
  targets.resize(original.size());
  forget();
}

WeightedSum Evaluator::measureSample(size_t sample,
                                     const StagedModel::State &state,
                                     LogitMetric metric) const {
  const HostTensor &logits = *model.getResult(state, output);
  if (needsTargets(metric))
    return measureTargets(metric, logits, targets[sample]);
  return measureLogits(metric, *model.getResult(original[sample], output),
                       logits);
}

/// The first sublayer that one of two sets leaves out and the other does not;
/// the number of sublayers for equal sets.
static unsigned findDifference(const BitVector &a, const BitVector &b) {
  BitVector different = a;
  different ^= b;
  int first = different.find_first();
  return first < 0 ? different.size() : first;
}

Expected<std::vector<double>> Evaluator::measure(ArrayRef<BitVector> masks,
                                                 LogitMetric metric,
                                                 ArrayRef<size_t> which) {
  if (needsTargets(metric) && targets.empty())
    return driverError("this metric needs targets [FFN-P111]");
  std::vector<size_t> all(original.size());
  std::iota(all.begin(), all.end(), 0);
  if (which.empty())
    which = all;
  // Neighbours in this order share as many of the first sublayers as can be.
  std::vector<size_t> order(masks.size());
  std::iota(order.begin(), order.end(), 0);
  llvm::sort(order, [&](size_t a, size_t b) {
    unsigned first = findDifference(masks[a], masks[b]);
    return first < masks[a].size() ? !masks[a].test(first) : a < b;
  });
  auto &figures = known[metric];
  for (const BitVector &mask : masks)
    figures.try_emplace(mask, original.size());
  // Nothing is added from here on: the slots stay where they are.
  std::vector<std::vector<std::optional<WeightedSum>> *> slots;
  for (const BitVector &mask : masks)
    slots.push_back(&figures.find(mask)->second);
  // Long runs of masks share most, several for each worker balance best.
  struct Task {
    size_t sample;
    SmallVector<size_t> masks;
  };
  std::vector<Task> tasks;
  constexpr size_t kTasksPerWorker = 4;
  size_t total = masks.size() * which.size();
  size_t length =
      std::max<size_t>(1, total / (kTasksPerWorker * model.getNumWorkers()));
  for (size_t sample : which) {
    llvm::DenseSet<void *> planned;
    bool begin = true;
    for (size_t i : order) {
      if ((*slots[i])[sample] || !planned.insert(slots[i]).second)
        continue;
      if (begin || tasks.back().masks.size() == length)
        tasks.push_back({sample, {}});
      tasks.back().masks.push_back(i);
      begin = false;
    }
    evaluations += planned.size();
  }
  auto runTask = [&](size_t index, unsigned worker) -> Error {
    const Task &task = tasks[index];
    StagedModel::State state = base[task.sample];
    const BitVector *previous = &baseMask;
    for (size_t i : task.masks) {
      const BitVector &mask = masks[i];
      unsigned first = findDifference(*previous, mask);
      if (unsigned fromBase = findDifference(baseMask, mask);
          fromBase > first) {
        state = base[task.sample];
        first = fromBase;
      }
      previous = &mask;
      if (first < mask.size())
        if (Error error = model.run(state, mask,
                                    model.getSublayers()[first].stage, worker))
          return error;
      (*slots[i])[task.sample] = measureSample(task.sample, state, metric);
    }
    return Error::success();
  };
  if (Error error =
          forEachOnWorkers(model.getNumWorkers(), tasks.size(), runTask))
    return std::move(error);
  std::vector<double> results;
  for (const auto *slot : slots) {
    WeightedSum sum;
    for (size_t sample : which) {
      sum.sum += (*slot)[sample]->sum;
      sum.weight += (*slot)[sample]->weight;
    }
    double figure = sum.mean();
    // A model that gives no numbers is the worst.
    results.push_back(
        std::isnan(figure) ? std::numeric_limits<double>::infinity() : figure);
  }
  return std::move(results);
}

Error Evaluator::setBase(const BitVector &mask) {
  unsigned first = findDifference(baseMask, mask);
  if (first == mask.size())
    return Error::success();
  baseMask = mask;
  if (mask.none()) {
    base = original;
    return Error::success();
  }
  evaluations += base.size();
  unsigned stage = model.getSublayers()[first].stage;
  return forEachOnWorkers(model.getNumWorkers(), base.size(),
                          [&](size_t i, unsigned worker) {
                            return model.run(base[i], mask, stage, worker);
                          });
}

Expected<std::vector<double>> Evaluator::measureSeconds() {
  constexpr unsigned kRuns = 9;
  size_t stages = model.getNumStages();
  std::vector<std::vector<double>> seconds(stages);
  for (unsigned run = 0; run < kRuns; ++run) {
    StagedModel::State state = original.front();
    for (size_t stage = 0; stage < stages; ++stage) {
      auto begin = std::chrono::steady_clock::now();
      if (Error error = model.runStage(state, stage, /*leaveOut=*/false, 0))
        return std::move(error);
      seconds[stage].push_back(std::chrono::duration<double>(
                                   std::chrono::steady_clock::now() - begin)
                                   .count());
    }
  }
  std::vector<double> result;
  double whole = 0;
  for (std::vector<double> &runs : seconds) {
    std::nth_element(runs.begin(), runs.begin() + kRuns / 2, runs.end());
    whole += runs[kRuns / 2];
  }
  for (const StagedSublayer &sublayer : model.getSublayers())
    result.push_back(seconds[sublayer.stage][kRuns / 2]);
  result.push_back(whole);
  return std::move(result);
}
