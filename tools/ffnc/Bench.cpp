//===- Bench.cpp - ffnc bench ---------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Native.h"
#include "ffn-mlir/Driver/Decode.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir::ffn;
using namespace mlir::ffn::driver;
namespace cl = llvm::cl;

static int bench();
static Verb verb("bench", "measures the time of runs", bench, R"(
EXAMPLES:
  ffnc bench pycode-lm-kv.so --prompt-tokens 128 --decode-tokens 64
  ffnc bench dense.so pruned.so --threads 2
  ffnc bench kwt1.so --dim batch=8 --repeat 50 --threads 1 --json

A language model is measured in reading a text (prefill) and, where it keeps
keys and values, in writing token by token (decode). --dim measures plain runs
on random inputs instead. Two models take turns on the same inputs; the ratio is
the time of the second over that of the first, the median over turns. Whether
they compute the same is what `ffnc compare` says. The spread is the distance of
the quartiles as a part of the median. Times are wall clock: milliseconds in
text, seconds in JSON. --profile runs once more and says how long each kernel
of the model took.
)");
static NativeOptions options(verb);
static cl::opt<std::string> second(cl::Positional, cl::desc("[B.so|B.onnx]"),
                                   cl::sub(verb.command));
static JSONOption asJson(verb);
static cl::list<std::string>
    dims("dim",
         cl::desc("size of a symbolic dimension: measure plain "
                  "runs (default: none)"),
         cl::value_desc("name=size"), cl::sub(verb.command));
static cl::opt<unsigned>
    promptTokens("prompt-tokens", cl::init(128),
                 cl::desc("tokens of the text (default: 128)"),
                 cl::sub(verb.command));
static cl::opt<unsigned> decodeTokens("decode-tokens", cl::init(32),
                                      cl::desc("tokens to write (default: 32)"),
                                      cl::sub(verb.command));
static cl::opt<unsigned> batch("batch", cl::init(1),
                               cl::desc("texts at once (default: 1)"),
                               cl::sub(verb.command));
static cl::opt<unsigned> repeat("repeat", cl::init(10),
                                cl::desc("measured runs (default: 10)"),
                                cl::sub(verb.command));
static cl::opt<unsigned> warmup("warmup", cl::init(2),
                                cl::desc("runs before them (default: 2)"),
                                cl::sub(verb.command));

static cl::opt<bool> profile("profile",
                             cl::desc("time of each kernel, in runs of their "
                                      "own after the measured ones"),
                             cl::sub(verb.command));

namespace {
/// Kernels of some runs, per run; what no kernel took is named so.
struct Profile {
  std::vector<Artefact::KernelTime> kernels;
  double seconds = 0; // of a run
  unsigned runs = 0;

  /// Calls `run` `count` times with the clock of the kernels on.
  llvm::Error measure(Artefact &artefact, unsigned count,
                      llvm::function_ref<llvm::Error()> run) {
    if (llvm::Error error = artefact.setProfiling(true))
      return error;
    double begin = now();
    for (runs = 0; runs < count; ++runs)
      if (llvm::Error error = run())
        return error;
    seconds = (now() - begin) / count;
    kernels = artefact.getKernelTimes();
    double rest = seconds;
    for (Artefact::KernelTime &kernel : kernels)
      rest -= kernel.seconds /= count;
    kernels.push_back({"between kernels", 0, rest > 0 ? rest : 0});
    return artefact.setProfiling(false);
  }

  llvm::json::Array toJSON() const {
    llvm::json::Array list;
    for (const Artefact::KernelTime &kernel : kernels)
      list.push_back(llvm::json::Object{
          {"kernel", kernel.name},
          {"seconds", kernel.seconds},
          {"launches", static_cast<double>(kernel.launches) / runs}});
    return list;
  }

  void print(llvm::StringRef what) const {
    llvm::outs() << what
                 << llvm::format(", %.4g ms:\n     ms  share launches\n",
                                 1e3 * seconds);
    for (const Artefact::KernelTime &kernel : kernels)
      llvm::outs() << llvm::format("%7.3f %5.1f%% %8.4g  ",
                                   1e3 * kernel.seconds,
                                   100 * kernel.seconds / seconds,
                                   static_cast<double>(kernel.launches) / runs)
                   << kernel.name << '\n';
  }
};

/// What is timed of a model, with the unit of its rate.
struct Part {
  llvm::StringRef name, title, unit, profileName, profileTitle;
  /// Units in a run.
  double count;
};

/// A model and the times of its turns.
struct Subject {
  std::unique_ptr<Artefact> artefact;
  std::optional<LanguageModel> language;
  /// Of plain runs.
  std::vector<HostTensor> inputs, outputs;
  /// By part: all runs, and the median of each turn.
  Timing runs[2], turns[2];
  /// By part, with --profile.
  Profile profiles[2];
};

/// The ids of a turn.
struct Text {
  std::vector<int64_t> prompt;
  std::vector<std::vector<int64_t>> written;
};
} // namespace

static llvm::json::Object toJSON(const Timing &timing, const Part &part) {
  return llvm::json::Object{
      {"median_seconds", timing.median()},
      {"min_seconds", timing.minimum()},
      {"spread", timing.spread()},
      {"runs", static_cast<int64_t>(timing.seconds.size())},
      {(part.unit + "_per_second").str(),
       timing.median() > 0 ? part.count / timing.median() : 0}};
}

static void print(const Timing &timing, const Part &part) {
  llvm::outs() << part.title
               << llvm::format(": median %.4g ms, min %.4g ms, spread %.1f %%",
                               1e3 * timing.median(), 1e3 * timing.minimum(),
                               100 * timing.spread())
               << llvm::format(", %.1f ", timing.median() > 0
                                              ? part.count / timing.median()
                                              : 0)
               << part.unit << "/s\n";
}

/// Runs `body` and adds its time to `timing`.
static llvm::Error timed(Timing &timing,
                         llvm::function_ref<llvm::Error()> body) {
  double begin = now();
  if (llvm::Error error = body())
    return error;
  timing.seconds.push_back(now() - begin);
  return llvm::Error::success();
}

/// One turn of a model; times are added where it is not a warm-up.
static llvm::Error takeTurn(Subject &subject, const Text &text, bool counts) {
  Timing times[2];
  if (!subject.language) {
    if (llvm::Error error = timed(times[0], [&] {
          return subject.artefact->run(subject.inputs, subject.outputs);
        }))
      return error;
  } else {
    LanguageModel &language = *subject.language;
    if (llvm::Error error = language.reset())
      return error;
    if (llvm::Error error =
            timed(times[0], [&] { return language.feed(text.prompt); }))
      return error;
    if (language.hasCache())
      for (const std::vector<int64_t> &ids : text.written)
        if (llvm::Error error =
                timed(times[1], [&] { return language.feed(ids); }))
          return error;
  }
  if (!counts)
    return llvm::Error::success();
  for (auto [all, turns, one] : llvm::zip(subject.runs, subject.turns, times)) {
    llvm::append_range(all.seconds, one.seconds);
    if (!one.seconds.empty())
      turns.seconds.push_back(one.median());
  }
  return llvm::Error::success();
}

/// The clocks of the kernels, in runs that nothing else is measured of.
static llvm::Error profileKernels(Subject &subject, const Text &text) {
  Artefact &artefact = *subject.artefact;
  if (!subject.language)
    return subject.profiles[0].measure(artefact, repeat, [&] {
      return artefact.run(subject.inputs, subject.outputs);
    });
  LanguageModel &language = *subject.language;
  if (llvm::Error error =
          subject.profiles[0].measure(artefact, repeat, [&]() -> llvm::Error {
            if (llvm::Error error = language.reset())
              return error;
            return language.feed(text.prompt);
          }))
    return error;
  if (!language.hasCache() || text.written.empty())
    return llvm::Error::success();
  auto next = text.written.begin();
  return subject.profiles[1].measure(artefact, text.written.size(),
                                     [&] { return language.feed(*next++); });
}

/// Ids that every model of `subjects` takes.
static Text drawText(llvm::MutableArrayRef<Subject> subjects) {
  uint64_t bound = UINT64_MAX;
  for (Subject &subject : subjects) {
    int64_t size = subject.language->getVocabularySize();
    bound = std::min<uint64_t>(bound, size > 0 ? size : 2);
  }
  SeededRandom random(0);
  auto draw = [&](size_t count) {
    std::vector<int64_t> ids(count);
    for (int64_t &id : ids)
      id = random.next() % bound;
    return ids;
  };
  Text text;
  text.prompt = draw(size_t(promptTokens) * batch);
  for (unsigned step = 0; step < decodeTokens; ++step)
    text.written.push_back(draw(batch));
  return text;
}

/// The median over turns of the time of the second model over the first's.
static double ratioOf(const Timing &first, const Timing &second) {
  Timing ratios;
  for (auto [a, b] : llvm::zip(first.seconds, second.seconds))
    ratios.seconds.push_back(a > 0 ? b / a : 0);
  return ratios.median();
}

static llvm::json::Object report(const Subject &subject,
                                 llvm::ArrayRef<Part> parts) {
  llvm::json::Object found;
  for (auto [part, runs] : llvm::zip(parts, subject.runs))
    if (!runs.seconds.empty())
      found[part.name] = toJSON(runs, part);
  found["session_bytes"] =
      static_cast<int64_t>(subject.artefact->getSessionMemory());
  if (subject.language && subject.language->hasCache()) {
    found["cache_in_place"] = subject.language->appendsInPlace();
    found["cache_bytes_of_a_step"] =
        static_cast<int64_t>(subject.artefact->getAppendedBytes());
  }
  for (auto [part, kernels] : llvm::zip(parts, subject.profiles))
    if (kernels.runs)
      found[part.profileName] = kernels.toJSON();
  return found;
}

static void reportAll(llvm::ArrayRef<Subject> subjects,
                      llvm::ArrayRef<Part> parts, const DimSizes &sizes) {
  bool isText = subjects[0].language.has_value();
  if (asJson) {
    llvm::json::Object found;
    if (subjects.size() == 1) {
      found = report(subjects[0], parts);
    } else {
      llvm::json::Object ratios;
      for (auto [part, a, b] :
           llvm::zip(parts, subjects[0].turns, subjects[1].turns))
        if (!a.seconds.empty() && !b.seconds.empty())
          ratios[part.name] = ratioOf(a, b);
      found["first"] = report(subjects[0], parts);
      found["second"] = report(subjects[1], parts);
      found["ratio"] = std::move(ratios);
    }
    if (isText) {
      found["prompt_tokens"] = static_cast<int64_t>(promptTokens);
      found["decode_tokens"] = static_cast<int64_t>(decodeTokens);
      found["batch"] = static_cast<int64_t>(batch);
    } else {
      llvm::json::Object at;
      for (auto &[name, size] : sizes)
        at[name] = size;
      found["dims"] = std::move(at);
    }
    printJSON(std::move(found));
    return;
  }
  const llvm::StringRef names[] = {options.model.getValue(), second.getValue()};
  for (auto [subject, name] : llvm::zip(subjects, names)) {
    if (subjects.size() > 1)
      llvm::outs() << name << "\n";
    for (auto [part, runs] : llvm::zip(parts, subject.runs))
      if (!runs.seconds.empty())
        print(runs, part);
    for (auto [part, kernels] : llvm::zip(parts, subject.profiles))
      if (kernels.runs)
        kernels.print(part.profileTitle);
  }
  if (subjects.size() > 1)
    for (auto [part, a, b] :
         llvm::zip(parts, subjects[0].turns, subjects[1].turns))
      if (!a.seconds.empty() && !b.seconds.empty())
        llvm::outs() << part.title
                     << llvm::format(": ratio %.3f\n", ratioOf(a, b));
}

static int bench() {
  handleInterrupts();
  auto sizes = parseDims(dims);
  if (!sizes)
    return fail(sizes.takeError(), Usage);
  if (!repeat || !batch || !promptTokens)
    return fail("--repeat, --batch and --prompt-tokens are at least 1", Usage);
  llvm::SmallVector<Subject, 2> subjects;
  for (llvm::StringRef path : {options.model.getValue(), second.getValue()}) {
    if (path.empty())
      continue;
    Subject &subject = subjects.emplace_back();
    subject.artefact = openNative(path, options.threads);
    if (!subject.artefact)
      return Diagnosed;
  }
  llvm::SmallVector<const Artefact *> models;
  for (const Subject &subject : subjects)
    models.push_back(subject.artefact.get());
  if (llvm::Error error = checkDimNames(models, *sizes))
    return fail(std::move(error), Usage);
  bool isText = sizes->empty();
  for (Subject &subject : subjects) {
    if (!isText)
      break;
    auto language = LanguageModel::create(*subject.artefact, batch);
    isText = static_cast<bool>(language);
    if (!isText) {
      llvm::consumeError(language.takeError());
      continue;
    }
    subject.language.emplace(std::move(*language));
    if (llvm::Error error =
            subject.language->reserve(promptTokens + decodeTokens))
      return fail(std::move(error));
  }
  Text text;
  if (isText)
    text = drawText(subjects);
  for (Subject &subject : subjects) {
    if (isText)
      continue;
    subject.language.reset();
    size_t count = subject.artefact->getInputs().size();
    subject.inputs.resize(count);
    llvm::SmallVector<bool> given(count, false);
    if (llvm::Error error =
            fillInputs(*subject.artefact, *sizes, 0, 2, given, subject.inputs))
      return fail(std::move(error));
  }
  for (unsigned i = 0; i < warmup + repeat; ++i)
    for (Subject &subject : subjects)
      if (llvm::Error error = takeTurn(subject, text, i >= warmup))
        return fail(std::move(error));
  for (Subject &subject : subjects)
    if (profile)
      if (llvm::Error error = profileKernels(subject, text))
        return fail(std::move(error));
  if (isText) {
    std::string reading = "prefill of " + std::to_string(promptTokens);
    reportAll(subjects,
              {{"prefill", reading, "tokens", "prefill_profile",
                "kernels of a prefill", double(promptTokens) * batch},
               {"decode", "decode, a step", "tokens", "decode_profile",
                "kernels of a decode step", double(batch)}},
              *sizes);
  } else {
    reportAll(subjects,
              {{"run", "run", "runs", "profile", "kernels of a run", 1}},
              *sizes);
  }
  return Done;
}
