//===- Eval.cpp - ffnc eval -----------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Native.h"
#include "ffn-mlir/Driver/Decode.h"
#include "ffn-mlir/Driver/Metrics.h"
#include "ffn-mlir/Driver/Npz.h"
#include "ffn-mlir/Driver/TokenData.h"
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

static int evalText(Artefact &artefact) {
  auto language = LanguageModel::create(artefact);
  if (!language)
    return fail(language.takeError());
  auto tokenizer = tokens.load();
  if (!tokenizer)
    return fail(tokenizer.takeError());
  auto data = wholeFile ? loadWholeFile(dataFile, *tokenizer)
                        : loadTokenData(dataFile, *tokenizer, maxDocuments);
  if (!data)
    return fail(data.takeError());
  int64_t first = tokenizer->getBos();
  if (first < 0 && tokens.bos >= 0) {
    first = tokens.bos;
    for (std::vector<int64_t> &ids : data->documents)
      ids.insert(ids.begin(), first);
  }
  unsigned step = stride ? stride : window;
  std::vector<TokenWindow> windows =
      step == window && first >= 0 ? makeWindows(*data, window, first)
                                   : makeSlidingWindows(*data, window, step);
  if (windows.empty())
    return fail(dataFile + ": holds no token to score [FFN-D204]");
  double total = 0, begin = now(), shown = begin;
  uint64_t scored = 0;
  for (auto [i, piece] : llvm::enumerate(windows)) {
    if (llvm::Error error = language->reset())
      return fail(std::move(error));
    llvm::ArrayRef<int64_t> ids = piece.ids;
    if (llvm::Error error = language->feed(ids.drop_back()))
      return fail(std::move(error));
    for (size_t k = piece.firstScored; k + 1 < ids.size(); ++k) {
      double nll = negativeLogLikelihood(language->logits(k), ids[k + 1]);
      if (std::isnan(nll))
        return fail("token " + llvm::Twine(ids[k + 1]) +
                    " is outside of the vocabulary, or the model's logits are "
                    "no numbers [FFN-D207]");
      total += nll;
      ++scored;
    }
    if (now() - shown > 5) {
      shown = now();
      progress(llvm::Twine(i + 1) + "/" + llvm::Twine(windows.size()) +
               " windows");
    }
  }
  double seconds = now() - begin, bits = total / std::log(2.0);
  double perToken = total / scored;
  if (asJson) {
    llvm::json::Object result{
        {"tokens", static_cast<int64_t>(scored)},
        {"documents", static_cast<int64_t>(data->documents.size())},
        {"windows", static_cast<int64_t>(windows.size())},
        {"nll_per_token", perToken},
        {"perplexity", std::exp(perToken)},
        {"bits_per_token", bits / scored},
        {"seconds", seconds}};
    if (data->characters)
      result["bits_per_character"] = bits / data->characters;
    if (data->bytes)
      result["bits_per_byte"] = bits / data->bytes;
    printJSON(std::move(result));
    return Done;
  }
  llvm::outs() << llvm::format("perplexity %.4f over %llu tokens",
                               std::exp(perToken), (unsigned long long)scored);
  if (data->bytes)
    llvm::outs() << llvm::format(", %.4f bits per character, %.4f per byte",
                                 bits / data->characters, bits / data->bytes);
  llvm::outs() << llvm::format(", %.1f s\n", seconds);
  return Done;
}

static int evalLabels(Artefact &artefact) {
  auto arrays = readNpz(dataFile);
  if (!arrays)
    return fail(arrays.takeError());
  auto refuse = [&](const llvm::Twine &what) {
    return fail(dataFile + ": " + what + " [FFN-D208]");
  };
  auto found = arrays->find(labels);
  HostTensor wanted;
  if (found == arrays->end())
    return refuse("no array '" + labels + "'; --labels names it");
  if (llvm::Error error = wanted.assign(found->second, {0, 64, 1}, labels))
    return fail(std::move(error));
  if (wanted.getShape().size() != 1)
    return refuse("labels of shape " + shapeName(wanted.getShape()) +
                  ", one number for each row is needed");
  size_t count = artefact.getInputs().size();
  std::vector<HostTensor> whole(count), part(count), outputs;
  int64_t rows = wanted.getShape()[0];
  for (auto [i, value] : llvm::enumerate(artefact.getInputs())) {
    auto it = arrays->find(value.name);
    if (it == arrays->end())
      return refuse("no array for input '" + value.name + "'");
    if (llvm::Error error =
            whole[i].assign(it->second, value.dtype, value.name))
      return fail(std::move(error));
    if (whole[i].getShape().empty() || whole[i].getShape()[0] != rows)
      return refuse("input '" + value.name + "' has shape " +
                    shapeName(whole[i].getShape()) + " for " +
                    llvm::Twine(rows) + " labels");
  }
  if (artefact.getOutputs().empty() ||
      artefact.getOutputs()[0].shape.size() != 2)
    return refuse("the first output is not [rows, classes]");
  uint64_t right = 0;
  double begin = now();
  for (int64_t at = 0; at < rows; at += batch) {
    int64_t size = std::min<int64_t>(batch, rows - at);
    for (size_t i = 0; i < count; ++i) {
      llvm::SmallVector<int64_t, 4> shape(whole[i].getShape());
      size_t rowBytes = whole[i].getNumBytes() / rows;
      shape[0] = size;
      if (llvm::Error error = part[i].reset(whole[i].getDtype(), shape))
        return fail(std::move(error));
      memcpy(part[i].data(), whole[i].data() + at * rowBytes, size * rowBytes);
    }
    if (llvm::Error error = artefact.run(part, outputs))
      return fail(std::move(error));
    const HostTensor &scores = outputs[0];
    if (scores.getShape()[0] != size)
      return refuse("the first output has not one row for each row");
    size_t classes = scores.getShape()[1];
    std::vector<float> row(classes);
    for (int64_t r = 0; r < size; ++r) {
      for (size_t c = 0; c < classes; ++c)
        row[c] = static_cast<float>(scores.getDouble(r * classes + c));
      right += argmax(row) == wanted.getInt(at + r);
    }
  }
  double seconds = now() - begin;
  double accuracy = rows ? double(right) / rows : 0;
  if (asJson)
    printJSON(llvm::json::Object{{"accuracy", accuracy},
                                 {"right", static_cast<int64_t>(right)},
                                 {"rows", rows},
                                 {"seconds", seconds}});
  else
    llvm::outs() << llvm::format("accuracy %.2f %% (%llu of %lld), %.1f s\n",
                                 100 * accuracy, (unsigned long long)right,
                                 (long long)rows, seconds);
  return Done;
}

static int eval() {
  installInterruptHandlers();
  if (!window || !batch)
    return fail("--window and --batch are at least 1", Usage);
  if (stride > window)
    return fail("--stride is larger than --window", Usage);
  std::unique_ptr<Artefact> artefact =
      openNative(options.model, options.threads);
  if (!artefact)
    return Diagnosed;
  if (llvm::StringRef(dataFile).ends_with(".npz"))
    return evalLabels(*artefact);
  return evalText(*artefact);
}
