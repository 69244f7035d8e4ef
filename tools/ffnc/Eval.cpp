//===- Eval.cpp - ffnc eval -----------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Native.h"
#include "ffn-mlir/Driver/EvalData.h"
#include "ffn-mlir/Driver/Metrics.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>

using namespace mlir::ffn;
using namespace mlir::ffn::driver;
namespace cl = llvm::cl;

static int eval();
static Verb verb("eval", "measures a model on a text or on labelled data", eval,
                 R"(
EXAMPLES:
  ffnc eval stories260K.so stories.txt --tokenizer tok512.json --window 512
  ffnc eval pycode-lm.so heldout.txt --whole-file --bos 0 --window 1024 --stride 512
  ffnc eval kwt1.so kwt1_eval_dev.npz --labels label

Text: perplexity, bits per character and byte. Documents stand between
<|endoftext|> unless --whole-file; a .json file holds lists of token ids. With a
stride equal to the window every window begins anew after BOS; with a smaller
one windows overlap and each scores the tokens that none before it has scored.
Labelled data: an archive with the model's inputs by name and integer labels;
accuracy of the greatest output.
)");
static NativeOptions options(verb);
static cl::opt<std::string> dataFile(cl::Positional, cl::Required,
                                     cl::desc("text|tokens.json|data.npz"),
                                     cl::sub(verb.command));
static TokenOptions tokens(verb);
static JSONOption asJson(verb);
static cl::opt<unsigned>
    window("window", cl::init(512),
           cl::desc("tokens that the model reads at once (default: "
                    "512)"),
           cl::sub(verb.command));
static cl::opt<unsigned>
    stride("stride", cl::init(0),
           cl::desc("tokens from window to window (default: "
                    "the window)"),
           cl::sub(verb.command));
static cl::opt<bool> wholeFile("whole-file",
                               cl::desc("the file is one text, as it is"),
                               cl::sub(verb.command));
static cl::opt<uint64_t>
    maxDocuments("max-documents", cl::init(0),
                 cl::desc("use the first so many (default: all)"),
                 cl::sub(verb.command));
static cl::opt<std::string>
    labels("labels", cl::init("label"),
           cl::desc("array of the labels (default: label)"),
           cl::value_desc("name"), cl::sub(verb.command));
static cl::opt<unsigned> batch("batch", cl::init(32),
                               cl::desc("labelled rows at once (default: 32)"),
                               cl::sub(verb.command));

static EvalOptions getOptions() {
  EvalOptions result;
  result.data = dataFile;
  result.tokenizer = tokens.tokenizer;
  result.bos = tokens.bos;
  result.window = window;
  result.stride = stride;
  result.wholeFile = wholeFile;
  result.maxDocuments = maxDocuments;
  result.labels = labels;
  result.batch = batch;
  return result;
}

/// Runs all samples; `loss` is over scored rows in nats.
static llvm::Error measure(Artefact &artefact, const EvalData &data,
                           SampledMean &loss, SampledMean &right) {
  auto binding = data.bind(artefact.getInputs(), artefact.getOutputs());
  if (!binding)
    return binding.takeError();
  std::vector<HostTensor> inputs, outputs;
  std::vector<double> memory;
  double shown = now();
  for (size_t i = 0; i < data.size(); ++i) {
    if (llvm::Error error = data.fill(*binding, i, inputs))
      return error;
    if (llvm::Error error = artefact.run(inputs, outputs))
      return error;
    const HostTensor &logits = outputs[binding->logits];
    if (llvm::Error error = data.checkRows(i, logits))
      return error;
    llvm::ArrayRef<double> values = toDoubles(logits, memory);
    size_t classes = logits.getShape().back();
    std::vector<int64_t> targets = data.getTargets(i);
    double sum = 0, hits = 0;
    uint64_t rows = 0;
    for (auto [row, target] : llvm::enumerate(targets)) {
      if (data.isText() && target < 0)
        continue;
      llvm::ArrayRef<double> scores = values.slice(row * classes, classes);
      double nll = negativeLogLikelihood(scores, target);
      if (data.isText() && std::isnan(nll))
        return driverError("token " + llvm::Twine(target) +
                           " is outside of the vocabulary, or the model's "
                           "logits are no numbers [FFN-D207]");
      sum += nll;
      hits += argmax(scores) == target;
      ++rows;
    }
    loss.add(sum, rows);
    right.add(hits, rows);
    if (now() - shown > 5) {
      shown = now();
      progress(llvm::Twine(i + 1) + "/" + llvm::Twine(data.size()) +
               (data.isText() ? " windows" : " batches"));
    }
  }
  return llvm::Error::success();
}

static int reportText(const EvalData &data, const SampledMean &loss,
                      double seconds) {
  double perToken = loss.value(), width = loss.halfWidth();
  double bits = perToken / std::log(2.0);
  double tokenCount = loss.getRows();
  if (asJson) {
    llvm::json::Object result{
        {"tokens", static_cast<int64_t>(loss.getRows())},
        {"documents", static_cast<int64_t>(data.getNumDocuments())},
        {"windows", static_cast<int64_t>(data.size())},
        {"nll_per_token", perToken},
        {"nll_per_token_95", width},
        {"perplexity", std::exp(perToken)},
        {"bits_per_token", bits},
        {"seconds", seconds}};
    if (data.getCharacters())
      result["bits_per_character"] = bits * tokenCount / data.getCharacters();
    if (data.getBytes())
      result["bits_per_byte"] = bits * tokenCount / data.getBytes();
    printJSON(std::move(result));
    return Done;
  }
  llvm::outs() << llvm::format("perplexity %.4f", std::exp(perToken));
  if (width == width)
    llvm::outs() << llvm::format(" (%.4f to %.4f)", std::exp(perToken - width),
                                 std::exp(perToken + width));
  llvm::outs() << llvm::format(" over %.0f tokens", tokenCount);
  if (data.getBytes())
    llvm::outs() << llvm::format(", %.4f bits per character, %.4f per byte",
                                 bits * tokenCount / data.getCharacters(),
                                 bits * tokenCount / data.getBytes());
  llvm::outs() << llvm::format(", %.1f s\n", seconds);
  return Done;
}

static int reportLabels(const SampledMean &right, double seconds) {
  double accuracy = right.value(), count = right.getRows();
  if (asJson)
    printJSON(llvm::json::Object{
        {"accuracy", accuracy},
        {"right", static_cast<int64_t>(std::llround(accuracy * count))},
        {"rows", static_cast<int64_t>(right.getRows())},
        {"seconds", seconds}});
  else
    llvm::outs() << llvm::format("accuracy %.2f %% (%.0f of %.0f), %.1f s\n",
                                 100 * accuracy, accuracy * count, count,
                                 seconds);
  return Done;
}

static int eval() {
  handleInterrupts();
  if (!window || !batch)
    return fail("--window and --batch are at least 1", Usage);
  if (stride > window)
    return fail("--stride is larger than --window", Usage);
  std::unique_ptr<Artefact> artefact =
      openNative(options.model, options.threads);
  if (!artefact)
    return Diagnosed;
  auto data = EvalData::load(getOptions());
  if (!data)
    return fail(data.takeError());
  if (!data->hasTargets())
    return fail(dataFile + ": no array '" + labels +
                "'; --labels names it [FFN-D208]");
  SampledMean loss, right;
  double begin = now();
  if (llvm::Error error = measure(*artefact, *data, loss, right))
    return fail(std::move(error));
  double seconds = now() - begin;
  return data->isText() ? reportText(*data, loss, seconds)
                        : reportLabels(right, seconds);
}
