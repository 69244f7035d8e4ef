//===- Saturation.cpp - Where networks have become idle -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/Saturation.h"
#include "ffn-mlir/Search/LogitMetric.h"
#include "ffn-mlir/Search/SelectSublayers.h"
#include "ffn-mlir/Search/StagedModel.h"
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace mlir::ffn;
using llvm::Error;

/// Shares of the largest one that are tried.
static constexpr double kTried[] = {1, 0.75, 0.5, 0.35, 0.25, 0.15, 0.08, 0.04};

namespace {
/// Rows of one sample and their cosines at the networks of the region.
struct Rows {
  size_t count = 0, length = 1;
  /// [row * networks + network]
  std::vector<float> cosines;
};

/// Where one row is in the region.
class RowState {
public:
  explicit RowState(const SaturationRule &rule) : rule(&rule) {}
  /// Whether the next network is left out.
  bool isLeftOut() const { return remaining > 0; }
  /// Goes past the network, which changed the row by `cosine` if it ran.
  void advance(bool open, float cosine, float threshold) {
    if (remaining > 0)
      --remaining;
    else if (open && cosine > threshold)
      remaining = rule->run ? rule->run : std::numeric_limits<size_t>::max();
  }

private:
  const SaturationRule *rule;
  size_t remaining = 0;
};

class Calibration {
public:
  Calibration(ModuleOp module, const SaturationRule &rule,
              const SaturationOptions &options)
      : module(module), rule(rule), options(options) {}

  FailureOr<SaturationFigures> run();

private:
  LogicalResult load();
  Error measureOriginal();
  Error measure(double threshold, SaturationFigures::Point &point);
  Error runSample(size_t sample, float threshold, unsigned worker,
                  size_t &leftOut, WeightedSum &divergence);
  Rows readRows(const StagedModel::State &state, unsigned network) const;
  double predict(float threshold) const;
  bool isOpen(const Rows &rows, size_t row) const {
    return row % rows.length >= rule.warmup;
  }

  ModuleOp module;
  const SaturationRule &rule;
  const SaturationOptions &options;
  std::unique_ptr<StagedModel> model;
  std::vector<std::vector<HostTensor>> samples;
  unsigned output = 0;
  std::vector<StagedModel::State> original;
  std::vector<Rows> rows;
};
} // namespace

static float getCosine(const HostTensor &a, const HostTensor &b, size_t row,
                       size_t width) {
  double product = 0, squaresA = 0, squaresB = 0;
  for (size_t i = row * width, e = i + width; i < e; ++i) {
    double x = a.getDouble(i), y = b.getDouble(i);
    product += x * y;
    squaresA += x * x;
    squaresB += y * y;
  }
  return std::min(1.0, product / (std::sqrt(squaresA) * std::sqrt(squaresB)));
}

LogicalResult Calibration::load() {
  ModelSignature signature = getModelSignature(module);
  std::optional<unsigned> found = findLogits(signature.outputs);
  if (!found)
    return module.emitError(
        "the model has no output of floats to compare [FFN-P111]");
  output = *found;
  auto loaded =
      loadCalibration(signature.inputs, signature.outputs, options.calibration);
  if (!loaded)
    return module.emitError(llvm::toString(loaded.takeError()));
  samples = std::move(*loaded);
  if (samples.empty())
    return module.emitError("calibration needs one sample or more [FFN-P111]");
  StagedModelOptions compiling;
  compiling.cpu = options.cpu;
  compiling.workers = options.threads;
  model = StagedModel::compile(module, compiling);
  return success(model != nullptr);
}

Error Calibration::measureOriginal() {
  for (std::vector<HostTensor> &sample : samples)
    original.push_back(model->begin(std::move(sample)));
  rows.resize(original.size());
  llvm::BitVector none(model->getSublayers().size());
  return forEachOnWorkers(
      model->getNumWorkers(), original.size(),
      [&](size_t i, unsigned worker) -> Error {
        StagedModel::State &state = original[i];
        if (Error error = model->run(state, none, 0, worker))
          return error;
        if (!model->getResult(state, output))
          return driverError("the result that is measured is a constant "
                             "[FFN-P111]");
        size_t networks = rule.networks.size();
        for (auto [n, network] : llvm::enumerate(rule.networks)) {
          const HostTensor &before = *model->getResidual(state, network),
                           &after = *model->getHidden(state, network);
          ArrayRef<int64_t> shape = after.getShape();
          size_t width = shape.back();
          if (n == 0) {
            rows[i].count = width ? after.getNumElements() / width : 0;
            rows[i].length = shape[shape.size() - 2];
            rows[i].cosines.resize(rows[i].count * networks);
          }
          for (size_t row = 0; row < rows[i].count; ++row)
            rows[i].cosines[row * networks + n] =
                getCosine(before, after, row, width);
        }
        return Error::success();
      });
}

/// The share that would be left out if cosines stayed those of the original.
double Calibration::predict(float threshold) const {
  size_t networks = rule.networks.size(), leftOut = 0, total = 0;
  for (const Rows &sample : rows)
    for (size_t row = 0; row < sample.count; ++row) {
      RowState state(rule);
      for (size_t n = 0; n < networks; ++n) {
        leftOut += state.isLeftOut();
        state.advance(isOpen(sample, row), sample.cosines[row * networks + n],
                      threshold);
      }
      total += networks;
    }
  return total ? double(leftOut) / total : 0;
}

Error Calibration::runSample(size_t sample, float threshold, unsigned worker,
                             size_t &leftOut, WeightedSum &divergence) {
  StagedModel::State state = original[sample];
  const Rows &own = rows[sample];
  std::vector<RowState> states(own.count, RowState(rule));
  unsigned begin = model->getSublayers()[rule.networks.front()].stage;
  size_t next = 0;
  for (unsigned stage = begin; stage < model->getNumStages(); ++stage) {
    if (Error error = model->runStage(state, stage, /*leaveOut=*/false, worker))
      return error;
    if (next == rule.networks.size())
      continue;
    unsigned network = rule.networks[next];
    if (model->getSublayers()[network].stage != stage)
      continue;
    ++next;
    const HostTensor &before = *model->getResidual(state, network);
    HostTensor &after = *model->getFreshHidden(state, network);
    size_t width = after.getShape().back();
    size_t bytes = own.count ? after.getNumBytes() / own.count : 0;
    for (size_t row = 0; row < own.count; ++row) {
      float cosine = 0;
      if (states[row].isLeftOut()) {
        ++leftOut;
        std::memcpy(after.data() + row * bytes, before.data() + row * bytes,
                    bytes);
      } else {
        cosine = getCosine(before, after, row, width);
      }
      states[row].advance(isOpen(own, row), cosine, threshold);
    }
  }
  divergence = measureLogits(LogitMetric::KL,
                             *model->getResult(original[sample], output),
                             *model->getResult(state, output));
  return Error::success();
}

Error Calibration::measure(double threshold, SaturationFigures::Point &point) {
  std::vector<size_t> leftOut(original.size());
  std::vector<WeightedSum> divergences(original.size());
  if (Error error = forEachOnWorkers(model->getNumWorkers(), original.size(),
                                     [&](size_t i, unsigned worker) {
                                       return runSample(
                                           i, static_cast<float>(threshold),
                                           worker, leftOut[i], divergences[i]);
                                     }))
    return error;
  size_t total = 0, count = 0;
  WeightedSum sum;
  for (size_t i = 0; i < original.size(); ++i) {
    total += rows[i].count * rule.networks.size();
    count += leftOut[i];
    sum.sum += divergences[i].sum;
    sum.weight += divergences[i].weight;
  }
  point.threshold = threshold;
  point.share = total ? double(count) / total : 0;
  point.divergence = sum.mean();
  return Error::success();
}

FailureOr<SaturationFigures> Calibration::run() {
  if (failed(load()))
    return failure();
  SaturationFigures figures;
  auto run = [&]() -> Error {
    if (Error error = measureOriginal())
      return error;
    std::vector<float> sorted;
    for (const Rows &sample : rows)
      llvm::copy_if(sample.cosines, std::back_inserter(sorted),
                    [](float cosine) { return cosine == cosine; });
    llvm::sort(sorted);
    if (sorted.empty())
      return Error::success();
    figures.median = sorted[sorted.size() / 2];
    figures.high = sorted[std::min(sorted.size() - 1, sorted.size() * 9 / 10)];
    // A threshold is a cosine that was seen, so that it is the same on every
    // machine; below 0 there is none.
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    sorted.erase(sorted.begin(), llvm::upper_bound(sorted, 0.0f));
    std::vector<float> thresholds;
    double most = sorted.empty() ? 0 : predict(sorted.front());
    for (double part : kTried) {
      double wanted = std::min(options.share, most) * part;
      auto at = llvm::partition_point(
          sorted, [&](float t) { return predict(t) > wanted; });
      if (at != sorted.end() && !llvm::is_contained(thresholds, *at))
        thresholds.push_back(*at);
    }
    for (float threshold : thresholds) {
      SaturationFigures::Point point;
      if (Error error = measure(threshold, point))
        return error;
      figures.points.push_back(point);
    }
    llvm::stable_sort(figures.points, [](const auto &a, const auto &b) {
      return a.share < b.share;
    });
    for (auto [i, point] : llvm::enumerate(figures.points))
      if (point.share >= kLeastShare && point.share <= options.share &&
          point.divergence <= options.maxDivergence)
        figures.chosen = i;
    return Error::success();
  };
  if (Error error = run())
    return module.emitError(llvm::toString(std::move(error)));
  return figures;
}

FailureOr<SaturationFigures>
mlir::ffn::calibrateSaturation(ModuleOp module, const SaturationRule &rule,
                               const SaturationOptions &options) {
  return Calibration(module, rule, options).run();
}
