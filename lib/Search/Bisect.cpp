//===- Bisect.cpp - The first sublayer that differs -----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/Bisect.h"
#include "ffn-mlir/Driver/Quality.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace mlir::ffn;
using llvm::Error;
using llvm::Expected;
using Probe = BisectResult::Probe;
using State = StagedModel::State;

llvm::json::Object BisectResult::toJSON() const {
  llvm::json::Array list, gone;
  for (const Probe &probe : probes)
    list.push_back(
        llvm::json::Object{{"sublayer", llvm::json::fixUTF8(probe.sublayer)},
                           {"relative_l2", probe.distance}});
  for (const std::string &removed : removedBefore)
    gone.push_back(llvm::json::fixUTF8(removed));
  llvm::json::Object result{{"probes", std::move(list)},
                            {"sublayers", static_cast<int64_t>(sublayers)},
                            {"runs", static_cast<int64_t>(runs)},
                            {"output_relative_l2", outputDistance},
                            {"first", nullptr}};
  if (first) {
    result["first"] = llvm::json::fixUTF8(name);
    result["relative_l2"] = distance;
    result["alone_relative_l2"] = alone;
    result["removed_before"] = std::move(gone);
  }
  return result;
}

namespace {
class Bisector {
public:
  Bisector(StagedModel &reference, StagedModel &candidate)
      : models{&reference, &candidate} {}

  Error begin(std::vector<std::vector<HostTensor>> referenceSamples,
              std::vector<std::vector<HostTensor>> candidateSamples);
  Error search(double tolerance,
               llvm::function_ref<void(const Probe &)> progress);
  BisectResult result;

private:
  /// Sublayers that are compared with one another.
  struct Pair {
    unsigned sublayer[2];
    std::string name;
    std::vector<std::string> removedBefore;
  };
  using Samples = std::vector<State>;

  /// Runs both models from behind pair `from` (-1: the start) to behind pair
  /// `to`; past the end where `to` is the last and `whole` is set.
  Error run(Samples (&states)[2], int from, unsigned to, bool whole);
  Expected<double> measure(const Samples (&states)[2], unsigned pair);
  Error measureOutputs(const Samples (&states)[2]);
  Expected<double> runAlone(const Samples (&known)[2], int before,
                            const Samples (&states)[2], unsigned pair);
  unsigned stageBehind(int side, int pair) const {
    if (pair < 0)
      return 0;
    unsigned sublayer = pairs[pair].sublayer[side];
    return models[side]->getSublayers()[sublayer].stage + 1;
  }

  StagedModel *models[2];
  std::vector<Pair> pairs;
  Samples start[2];
};
} // namespace

Error Bisector::begin(std::vector<std::vector<HostTensor>> referenceSamples,
                      std::vector<std::vector<HostTensor>> candidateSamples) {
  std::vector<SmallVector<std::string>> names[2];
  for (int side : {0, 1})
    for (const StagedSublayer &sublayer : models[side]->getSublayers())
      names[side].push_back(sublayer.names);
  std::vector<std::string> removed;
  for (auto [i, match] : llvm::enumerate(matchSublayers(names[0], names[1]))) {
    std::string name = llvm::join(names[0][i], " + ");
    if (match.first == QualityReport::LayerStatus::Removed)
      removed.push_back(name);
    // Sublayers in another order are passed over.
    if (match.first != QualityReport::LayerStatus::Compared ||
        (!pairs.empty() && pairs.back().sublayer[1] >= match.second))
      continue;
    pairs.push_back(
        {{static_cast<unsigned>(i), static_cast<unsigned>(match.second)},
         name,
         std::move(removed)});
    removed.clear();
  }
  result.sublayers = pairs.size();
  if (pairs.empty())
    return driverError("the models have no sublayer of one name [FFN-R400]");
  for (std::vector<HostTensor> &sample : referenceSamples)
    start[0].push_back(models[0]->begin(std::move(sample)));
  for (std::vector<HostTensor> &sample : candidateSamples)
    start[1].push_back(models[1]->begin(std::move(sample)));
  return Error::success();
}

Error Bisector::run(Samples (&states)[2], int from, unsigned to, bool whole) {
  ++result.runs;
  for (int side : {0, 1}) {
    unsigned end = whole ? models[side]->getNumStages() : stageBehind(side, to);
    if (Error error = forEachOnWorkers(
            models[side]->getNumWorkers(), states[side].size(),
            [&](size_t i, unsigned worker) -> Error {
              for (unsigned stage = stageBehind(side, from); stage < end;
                   ++stage)
                if (Error error = models[side]->runStage(
                        states[side][i], stage, /*leaveOut=*/false, worker))
                  return error;
              return Error::success();
            }))
      return error;
  }
  return Error::success();
}

static Expected<double>
distanceOf(size_t count, const std::string &where,
           llvm::function_ref<
               std::pair<const HostTensor *, const HostTensor *>(size_t)>
               get) {
  TensorComparison comparison;
  std::vector<double> memory[2];
  for (size_t i = 0; i < count; ++i) {
    auto [a, b] = get(i);
    if (a->getShape() != b->getShape())
      return driverError(where + ": shapes " + shapeName(a->getShape()) +
                         " and " + shapeName(b->getShape()) + " [FFN-R400]");
    comparison.add(toDoubles(*a, memory[0]), toDoubles(*b, memory[1]));
  }
  return comparison.relativeL2();
}

Expected<double> Bisector::measure(const Samples (&states)[2], unsigned pair) {
  return distanceOf(
      states[0].size(), "behind '" + pairs[pair].name + "'", [&](size_t i) {
        return std::pair(
            models[0]->getHidden(states[0][i], pairs[pair].sublayer[0]),
            models[1]->getHidden(states[1][i], pairs[pair].sublayer[1]));
      });
}

Error Bisector::measureOutputs(const Samples (&states)[2]) {
  for (unsigned a = 0; a < models[0]->getNumResults(); ++a)
    for (unsigned b = 0; b < models[1]->getNumResults(); ++b) {
      const std::string &name = models[0]->getResultName(a);
      if (name.empty() || name != models[1]->getResultName(b) ||
          !models[0]->getResult(states[0][0], a) ||
          !models[1]->getResult(states[1][0], b))
        continue;
      Expected<double> distance =
          distanceOf(states[0].size(), "output '" + name + "'", [&](size_t i) {
            return std::pair(models[0]->getResult(states[0][i], a),
                             models[1]->getResult(states[1][i], b));
          });
      if (!distance)
        return distance.takeError();
      // NaN is no maximum.
      if (!(*distance <= result.outputDistance))
        result.outputDistance = *distance;
    }
  return Error::success();
}

Expected<double> Bisector::runAlone(const Samples (&known)[2], int before,
                                    const Samples (&states)[2], unsigned pair) {
  Samples mixed[2] = {states[0], known[1]};
  if (before >= 0)
    for (auto [state, source] : llvm::zip_equal(mixed[1], known[0]))
      models[1]->setHidden(state, pairs[before].sublayer[1], source, *models[0],
                           pairs[before].sublayer[0]);
  // Only the candidate has something to run: the reference is behind the pair.
  ++result.runs;
  if (Error error = forEachOnWorkers(
          models[1]->getNumWorkers(), mixed[1].size(),
          [&](size_t i, unsigned worker) -> Error {
            for (unsigned stage = stageBehind(1, before);
                 stage < stageBehind(1, pair); ++stage)
              if (Error error = models[1]->runStage(mixed[1][i], stage,
                                                    /*leaveOut=*/false, worker))
                return error;
            return Error::success();
          }))
    return std::move(error);
  return measure(mixed, pair);
}

Error Bisector::search(double tolerance,
                       llvm::function_ref<void(const Probe &)> progress) {
  // `known` is within the tolerance behind pair `low`, `beyond` is not behind
  // pair `high`.
  int low = -1, high = pairs.size() - 1;
  Samples known[2] = {start[0], start[1]}, beyond[2];
  auto probe = [&](unsigned pair, Samples(&states)[2],
                   bool whole) -> Expected<bool> {
    if (Error error = run(states, low, pair, whole))
      return std::move(error);
    Expected<double> distance = measure(states, pair);
    if (!distance)
      return distance.takeError();
    result.probes.push_back({pairs[pair].name, *distance});
    progress(result.probes.back());
    return *distance <= tolerance;
  };
  beyond[0] = known[0];
  beyond[1] = known[1];
  Expected<bool> within = probe(high, beyond, /*whole=*/true);
  if (!within)
    return within.takeError();
  if (Error error = measureOutputs(beyond))
    return error;
  if (*within)
    return Error::success();
  result.distance = result.probes.back().distance;
  while (high - low > 1) {
    int middle = low + (high - low) / 2;
    Samples states[2] = {known[0], known[1]};
    within = probe(middle, states, /*whole=*/false);
    if (!within)
      return within.takeError();
    Samples *kept = *within ? known : beyond;
    (*within ? low : high) = middle;
    kept[0] = std::move(states[0]);
    kept[1] = std::move(states[1]);
    if (!*within)
      result.distance = result.probes.back().distance;
  }
  result.first = high;
  result.name = pairs[high].name;
  result.removedBefore = pairs[high].removedBefore;
  Expected<double> alone = runAlone(known, low, beyond, high);
  if (!alone)
    return alone.takeError();
  result.alone = *alone;
  return Error::success();
}

Expected<BisectResult> mlir::ffn::bisectSublayers(
    StagedModel &reference, StagedModel &candidate,
    std::vector<std::vector<HostTensor>> referenceSamples,
    std::vector<std::vector<HostTensor>> candidateSamples, double tolerance,
    llvm::function_ref<void(const Probe &)> progress) {
  Bisector bisector(reference, candidate);
  if (Error error = bisector.begin(std::move(referenceSamples),
                                   std::move(candidateSamples)))
    return std::move(error);
  if (Error error = bisector.search(tolerance, progress))
    return std::move(error);
  return std::move(bisector.result);
}

Expected<BisectResult>
mlir::ffn::bisectModules(ModuleOp reference, ModuleOp candidate,
                         const EvalData &data, double tolerance,
                         StagedModelOptions options,
                         llvm::function_ref<void(const Probe &)> progress) {
  ModuleOp modules[2] = {reference, candidate};
  std::unique_ptr<StagedModel> models[2];
  std::vector<std::vector<HostTensor>> samples[2];
  options.optLevel = 0;
  for (int side : {0, 1}) {
    auto pipeline = parsePassPipeline(
        "builtin.module(ffn-raise{remarks=false})", llvm::errs());
    if (failed(pipeline))
      return driverError("ffn-raise is no pass [FFN-I901]");
    PassManager manager(modules[side].getContext(),
                        pipeline->getOpAnchorName());
    static_cast<OpPassManager &>(manager) = std::move(*pipeline);
    if (failed(manager.run(modules[side])))
      return driverError(side ? "the second model cannot be raised [FFN-R400]"
                              : "the first model cannot be raised [FFN-R400]");
    ModelSignature signature = getModelSignature(modules[side]);
    auto binding = data.bind(signature.inputs, signature.outputs);
    if (!binding)
      return binding.takeError();
    for (size_t i = 0; i < data.size(); ++i) {
      samples[side].emplace_back();
      if (Error error = data.fill(*binding, i, samples[side].back()))
        return std::move(error);
    }
    models[side] = StagedModel::compile(modules[side], options);
    if (!models[side])
      return driverError(side ? "the second model cannot be cut at its "
                                "sublayers and compiled [FFN-R400]"
                              : "the first model cannot be cut at its "
                                "sublayers and compiled [FFN-R400]");
  }
  return bisectSublayers(*models[0], *models[1], std::move(samples[0]),
                         std::move(samples[1]), tolerance, progress);
}
