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
  ffnc bench kwt1.so --dim batch=8 --repeat 50 --threads 1 --json

A language model is measured in reading a text (prefill) and, where it keeps
keys and values, in writing token by token (decode). --dim measures plain runs
on random inputs instead. The spread is the distance of the quartiles as a part
of the median. Times are wall clock: milliseconds in text, seconds in JSON.
)");
static NativeOptions options(verb);
static JSONOption asJson(verb);
static cl::list<std::string> dims("dim",
                                  cl::desc("size of a symbolic dimension"),
                                  cl::value_desc("name=size"),
                                  cl::sub(verb.command));
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

static llvm::json::Object toJSON(const Timing &timing, double perSecond,
                                 llvm::StringRef unit) {
  return llvm::json::Object{
      {"median_seconds", timing.median()},
      {"min_seconds", timing.minimum()},
      {"spread", timing.spread()},
      {"runs", static_cast<int64_t>(timing.seconds.size())},
      {unit.str(), perSecond}};
}

static void print(llvm::StringRef what, const Timing &timing, double perSecond,
                  llvm::StringRef unit) {
  llvm::outs() << what
               << llvm::format(": median %.4g ms, min %.4g ms, spread %.1f %%",
                               1e3 * timing.median(), 1e3 * timing.minimum(),
                               100 * timing.spread())
               << llvm::format(", %.1f ", perSecond) << unit << "/s\n";
}

static double rate(double count, const Timing &timing) {
  return timing.median() > 0 ? count / timing.median() : 0;
}

static int benchPlain(Artefact &artefact, const DimSizes &sizes) {
  size_t count = artefact.getInputs().size();
  std::vector<HostTensor> inputs(count), outputs;
  llvm::SmallVector<bool> given(count, false);
  if (llvm::Error error = fillInputs(artefact, sizes, 0, 2, given, inputs))
    return fail(std::move(error));
  Timing timing;
  for (unsigned i = 0; i < warmup + repeat; ++i) {
    double begin = now();
    if (llvm::Error error = artefact.run(inputs, outputs))
      return fail(std::move(error));
    if (i >= warmup)
      timing.seconds.push_back(now() - begin);
  }
  if (asJson) {
    llvm::json::Object at;
    for (auto &[name, size] : sizes)
      at[name] = size;
    printJSON(llvm::json::Object{
        {"run", toJSON(timing, rate(1, timing), "runs_per_second")},
        {"dims", std::move(at)},
        {"session_bytes", static_cast<int64_t>(artefact.getSessionMemory())}});
    return Done;
  }
  print("run", timing, rate(1, timing), "runs");
  return Done;
}

static int benchText(Artefact &artefact, LanguageModel &language) {
  uint64_t bound =
      language.getVocabularySize() > 0 ? language.getVocabularySize() : 2;
  SeededRandom random(0);
  auto draw = [&](size_t count) {
    std::vector<int64_t> ids(count);
    for (int64_t &id : ids)
      id = random.next() % bound;
    return ids;
  };
  std::vector<int64_t> prompt = draw(size_t(promptTokens) * batch);
  Timing prefill, decode;
  for (unsigned i = 0; i < warmup + repeat; ++i) {
    if (llvm::Error error = language.reset())
      return fail(std::move(error));
    double begin = now();
    if (llvm::Error error = language.feed(prompt))
      return fail(std::move(error));
    if (i >= warmup)
      prefill.seconds.push_back(now() - begin);
    if (!language.hasCache())
      continue;
    for (unsigned step = 0; step < decodeTokens; ++step) {
      std::vector<int64_t> ids = draw(batch);
      begin = now();
      if (llvm::Error error = language.feed(ids))
        return fail(std::move(error));
      if (i >= warmup)
        decode.seconds.push_back(now() - begin);
    }
  }
  double read = rate(double(promptTokens) * batch, prefill),
         written = rate(batch, decode);
  if (asJson) {
    llvm::json::Object result{
        {"prefill", toJSON(prefill, read, "tokens_per_second")},
        {"prompt_tokens", static_cast<int64_t>(promptTokens)},
        {"batch", static_cast<int64_t>(batch)},
        {"session_bytes", static_cast<int64_t>(artefact.getSessionMemory())}};
    if (!decode.seconds.empty()) {
      result["decode"] = toJSON(decode, written, "tokens_per_second");
      result["decode_tokens"] = static_cast<int64_t>(decodeTokens);
    }
    printJSON(std::move(result));
    return Done;
  }
  print("prefill of " + std::to_string(promptTokens), prefill, read, "tokens");
  if (!decode.seconds.empty())
    print("decode, a step", decode, written, "tokens");
  return Done;
}

static int bench() {
  installInterruptHandlers();
  auto sizes = parseDims(dims);
  if (!sizes)
    return fail(sizes.takeError(), Usage);
  if (!repeat || !batch || !promptTokens)
    return fail("--repeat, --batch and --prompt-tokens are at least 1", Usage);
  std::unique_ptr<Artefact> artefact =
      openNative(options.model, options.threads);
  if (!artefact)
    return Diagnosed;
  if (sizes->empty()) {
    auto language = LanguageModel::create(*artefact, batch);
    if (language)
      return benchText(*artefact, *language);
    llvm::consumeError(language.takeError());
  }
  return benchPlain(*artefact, *sizes);
}
