//===- LatencyGate.cpp - Is a rewritten model slower? ---------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/LatencyGate.h"
#include "ffn-mlir/Driver/Decode.h"
#include "ffn-mlir/Support/DimExpr.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <chrono>
#include <cmath>

using namespace mlir::ffn;
using llvm::Error;
using llvm::Expected;

//===----------------------------------------------------------------------===//
// Times
//===----------------------------------------------------------------------===//

double mlir::ffn::now() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

static double quantile(std::vector<double> values, double q) {
  if (values.empty())
    return 0;
  llvm::sort(values);
  double at = q * (values.size() - 1);
  size_t low = static_cast<size_t>(at);
  size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - low) * (values[high] - values[low]);
}
double Timing::median() const { return quantile(seconds, 0.5); }
double Timing::minimum() const { return quantile(seconds, 0); }
double Timing::spread() const {
  double middle = median();
  return middle > 0
             ? (quantile(seconds, 0.75) - quantile(seconds, 0.25)) / middle
             : 0;
}

RatioInterval mlir::ffn::estimateRatio(llvm::ArrayRef<double> original,
                                       llvm::ArrayRef<double> rewritten) {
  std::vector<double> ratios;
  for (auto [a, b] : llvm::zip_equal(original, rewritten))
    ratios.push_back(a > 0 ? b / a : 1);
  RatioInterval found;
  if (ratios.empty())
    return found;
  found.middle = quantile(ratios, 0.5);
  llvm::sort(ratios);
  // The number of ratios below the median is binomial with p = 1/2.
  double n = ratios.size();
  size_t rank = static_cast<size_t>(
      std::max(0.0, std::floor(n / 2 - 1.96 * std::sqrt(n) / 2)));
  found.low = ratios[rank];
  found.high = ratios[ratios.size() - 1 - rank];
  return found;
}

void LatencyWorkload::summarize(size_t known) {
  known = std::min(known, original.seconds.size());
  auto since = [&](const Timing &timing, size_t first) {
    return llvm::ArrayRef<double>(timing.seconds).drop_front(first);
  };
  ratio = estimateRatio(since(original, 0), since(rewritten, 0));
  fresh = known == 0
              ? RatioInterval()
              : estimateRatio(since(original, known), since(rewritten, known));
}

bool LatencyWorkload::seemsSlower(double slack) const {
  return ratio.low > 1 + slack &&
         rewritten.minimum() > (1 + slack) * original.minimum();
}

bool LatencyWorkload::isSlower(double slack) const {
  return seemsSlower(slack) && fresh.low > 1 + slack;
}

//===----------------------------------------------------------------------===//
// Verdict
//===----------------------------------------------------------------------===//

bool LatencyVerdict::isSlower() const {
  return llvm::any_of(workloads, [&](const LatencyWorkload &workload) {
    return workload.isSlower(options.slack);
  });
}

std::string LatencyVerdict::describe() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  for (const LatencyWorkload &workload : workloads)
    os << (text.empty() ? "" : "; ") << workload.name
       << llvm::format(" at %lld x %lld: ", (long long)options.batch,
                       (long long)options.length)
       << llvm::format(
              "%.4g ms, original %.4g ms, ratio %.3f (%.3f to %.3f) in %zu "
              "turns, spread %.0f %% and %.0f %%",
              1e3 * workload.rewritten.median(),
              1e3 * workload.original.median(), workload.ratio.middle,
              workload.ratio.low, workload.ratio.high,
              workload.original.seconds.size(),
              100 * workload.rewritten.spread(),
              100 * workload.original.spread());
  return text;
}

llvm::json::Object LatencyVerdict::toJSON() const {
  llvm::json::Array list;
  for (const LatencyWorkload &workload : workloads) {
    llvm::json::Object entry{
        {"workload", workload.name},
        {"pairs", static_cast<int64_t>(workload.original.seconds.size())},
        {"ratio", workload.ratio.middle},
        {"ratio_95",
         llvm::json::Array{workload.ratio.low, workload.ratio.high}},
        {"slower", workload.isSlower(options.slack)},
        {"decided", workload.isDecided(options.slack)}};
    for (auto [key, timing] : {std::pair("original", &workload.original),
                               std::pair("rewritten", &workload.rewritten)})
      entry[key] = llvm::json::Object{{"median_seconds", timing->median()},
                                      {"min_seconds", timing->minimum()},
                                      {"spread", timing->spread()}};
    list.push_back(std::move(entry));
  }
  return llvm::json::Object{{"batch", options.batch},
                            {"length", options.length},
                            {"slack", options.slack},
                            {"slower", isSlower()},
                            {"workloads", std::move(list)}};
}

//===----------------------------------------------------------------------===//
// Measuring
//===----------------------------------------------------------------------===//

namespace {
/// One model and what it is run on.
class Runner {
public:
  static Expected<Runner> create(Artefact &artefact,
                                 const LatencyGateOptions &options);
  bool isLanguage() const { return language.has_value(); }
  bool hasCache() const { return language && language->hasCache(); }
  /// Seconds of a run or prefill, and of one step behind it.
  Error run(double &whole, double &step);

private:
  static constexpr unsigned kSteps = 4;

  Artefact *artefact = nullptr;
  std::optional<LanguageModel> language;
  int64_t batch = 1;
  std::vector<int64_t> prompt, next;
  std::vector<HostTensor> inputs, outputs;
};
} // namespace

Expected<Runner> Runner::create(Artefact &artefact,
                                const LatencyGateOptions &options) {
  Runner runner;
  runner.artefact = &artefact;
  runner.batch = options.batch;
  auto language = LanguageModel::create(artefact, options.batch);
  if (language) {
    uint64_t bound = std::max<int64_t>(language->getVocabularySize(), 2);
    SeededRandom random(0);
    for (int64_t i = 0; i < options.batch * options.length; ++i)
      runner.prompt.push_back(random.next() % bound);
    for (int64_t i = 0; i < options.batch; ++i)
      runner.next.push_back(random.next() % bound);
    runner.language = std::move(*language);
    return std::move(runner);
  }
  llvm::consumeError(language.takeError());
  DimSizes sizes;
  for (const Artefact::Value &value : artefact.getInputs())
    for (size_t d = 0; d < value.shape.size(); ++d)
      if (value.shape[d] < 0)
        DimExpr::parse(value.dimNames[d])
            .forEachSymbol([&](llvm::StringRef symbol) {
              sizes.try_emplace(symbol.str(),
                                d == 0 ? options.batch : options.length);
            });
  for (auto [i, value] : llvm::enumerate(artefact.getInputs())) {
    auto shape = value.resolve(sizes);
    if (!shape)
      return shape.takeError();
    HostTensor &tensor = runner.inputs.emplace_back();
    if (Error error = tensor.reset(value.dtype, *shape))
      return std::move(error);
    tensor.fillRandom(i, /*intBound=*/2);
  }
  return std::move(runner);
}

Error Runner::run(double &whole, double &step) {
  step = 0;
  if (!language) {
    double begin = now();
    Error error = artefact->run(inputs, outputs);
    whole = now() - begin;
    return error;
  }
  if (Error error = language->reset())
    return error;
  double begin = now();
  if (Error error = language->feed(prompt))
    return error;
  whole = now() - begin;
  if (!hasCache())
    return Error::success();
  begin = now();
  for (unsigned i = 0; i < kSteps; ++i)
    if (Error error = language->feed(next))
      return error;
  step = (now() - begin) / kSteps;
  return Error::success();
}

Expected<LatencyVerdict>
mlir::ffn::compareLatency(Artefact &original, Artefact &rewritten,
                          const LatencyGateOptions &options) {
  if (options.batch < 1 || options.length < 1)
    return driverError("latency is measured at a batch and length of 1 at "
                       "least [FFN-R400]");
  std::vector<Runner> runners;
  for (Artefact *artefact : {&original, &rewritten}) {
    auto runner = Runner::create(*artefact, options);
    if (!runner)
      return runner.takeError();
    runners.push_back(std::move(*runner));
  }
  bool texts = runners[0].isLanguage() && runners[1].isLanguage();
  bool caches = runners[0].hasCache() && runners[1].hasCache();
  std::vector<std::string> names = {texts ? "prefill" : "run"};
  if (caches)
    names.push_back("decode");
  return measureInTurns(
      names, options, [&](unsigned side, llvm::MutableArrayRef<double> times) {
        double whole, step;
        Error error = runners[side].run(whole, step);
        if (!error) {
          times.front() = whole;
          times.back() = caches ? step : whole;
        }
        return error;
      });
}

Expected<LatencyVerdict> mlir::ffn::measureInTurns(
    llvm::ArrayRef<std::string> names, const LatencyGateOptions &options,
    llvm::function_ref<Error(unsigned, llvm::MutableArrayRef<double>)> run,
    llvm::function_ref<double()> clock) {
  LatencyVerdict verdict;
  verdict.options = options;
  for (const std::string &name : names)
    verdict.workloads.emplace_back().name = name;
  double begin = clock();
  size_t next = std::max(options.minPairs, 1u), known = 0;
  // The first pairs warm up.
  constexpr int kWarmUp = 2;
  for (int pair = -kWarmUp;; ++pair) {
    llvm::SmallVector<double, 2> times[2];
    for (int turn : {0, 1}) {
      unsigned side = (pair & 1) ^ turn;
      times[side].resize(names.size());
      if (Error error = run(side, times[side]))
        return std::move(error);
    }
    if (pair < 0)
      continue;
    for (auto [i, workload] : llvm::enumerate(verdict.workloads)) {
      workload.original.seconds.push_back(times[0][i]);
      workload.rewritten.seconds.push_back(times[1][i]);
    }
    size_t done = pair + 1;
    if (done < next)
      continue;
    bool decided = true, suspected = false;
    for (LatencyWorkload &workload : verdict.workloads) {
      workload.summarize(known);
      decided &= workload.isDecided(options.slack);
      suspected |= workload.seemsSlower(options.slack);
    }
    // What seems slower at first is looked at again, however long that takes.
    bool isLate =
        clock() - begin > options.maxSeconds && !(suspected && known == 0);
    if (decided || verdict.isSlower() || isLate || done >= options.maxPairs)
      return std::move(verdict);
    known = done;
    next = std::min<size_t>(2 * done, options.maxPairs);
  }
}
