//===- Generate.cpp - ffnc generate ---------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Native.h"
#include "ffn-mlir/Driver/Decode.h"
#include "ffn-mlir/Driver/Tokenizer.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir::ffn;
using namespace mlir::ffn::driver;
namespace cl = llvm::cl;

static int generate();
static Verb verb("generate", "continues a text by a language model", generate,
                 R"(
EXAMPLES:
  ffnc generate pycode-lm-kv.so --bos 0 --prompt 'def main():' --max-tokens 200
  ffnc generate stories260K.onnx --tokenizer tok512.json \
      --prompt 'Once upon a time' --temperature 0.8 --top-k 40 --seed 1

Without --tokenizer a token is a byte. Temperature 0 takes the greatest logit.
)");
static NativeOptions options(verb);
static TokenOptions tokens(verb);
static JSONOption asJson(verb);
static cl::opt<std::string> prompt("prompt",
                                   cl::desc("text to continue (default: none; "
                                            "--bos starts one)"),
                                   cl::sub(verb.command));
static cl::opt<std::string>
    promptFile("prompt-file", cl::desc("file with the text (default: none)"),
               cl::value_desc("file"), cl::sub(verb.command));
static cl::opt<uint64_t>
    maxTokens("max-tokens", cl::init(128),
              cl::desc("most tokens to add (default: 128)"),
              cl::sub(verb.command));
static cl::opt<double>
    temperature("temperature", cl::init(0),
                cl::desc("of the distribution; 0, the default: no "
                         "randomness"),
                cl::sub(verb.command));
static cl::opt<uint64_t>
    topK("top-k", cl::init(0),
         cl::desc("draw from so many tokens (default: all)"),
         cl::sub(verb.command));
static cl::opt<uint64_t> seed("seed", cl::init(0),
                              cl::desc("of the random numbers (default: 0)"),
                              cl::sub(verb.command));
static cl::opt<bool> ignoreEnd("ignore-end",
                               cl::desc("go on after an end of text"),
                               cl::sub(verb.command));

static int generate() {
  handleInterrupts();
  if (!(temperature >= 0))
    return fail("--temperature is zero or above", Usage);
  if (prompt.getNumOccurrences() && promptFile.getNumOccurrences())
    return fail("--prompt and --prompt-file exclude each other", Usage);
  auto loaded = tokens.load();
  if (!loaded)
    return fail(loaded.takeError());
  Tokenizer tokenizer = std::move(*loaded);
  int64_t bos = tokens.bos;
  std::string text = prompt;
  if (!promptFile.empty()) {
    auto buffer = llvm::MemoryBuffer::getFile(promptFile);
    if (!buffer)
      return fail(promptFile + ": " + buffer.getError().message() +
                  " [FFN-D203]");
    text = (*buffer)->getBuffer().str();
  }
  std::vector<int64_t> ids = tokenizer.encode(text);
  llvm::SmallVector<int64_t> stop;
  if (tokenizer.getBos() < 0 && bos >= 0)
    ids.insert(ids.begin(), bos);
  if (!ignoreEnd)
    for (int64_t id : {tokenizer.getBos(), tokenizer.getEos(), bos})
      if (id >= 0)
        stop.push_back(id);
  if (ids.empty())
    return fail("the text has no token: give --prompt or --bos", Usage);

  // Only the last logits are looked at.
  std::unique_ptr<Artefact> artefact =
      openNative(options.model, options.threads,
                 "builtin.module(ffn-raise,"
                 "ffn-last-token-logits{required=false})");
  if (!artefact)
    return Diagnosed;
  auto language = LanguageModel::create(*artefact);
  if (!language)
    return fail(language.takeError());
  if (int64_t size = language->getVocabularySize(); size >= 0)
    for (int64_t id : ids)
      if (id >= size)
        return fail((id == bos ? "--bos " : "the prompt's token ") +
                        llvm::Twine(id) +
                        " is outside of the model's vocabulary of " +
                        llvm::Twine(size) + " [FFN-D206]",
                    Usage);
  // Not before the model has read it: after an error there is no output.
  bool shown = asJson;
  auto showPrompt = [&] {
    if (!std::exchange(shown, true))
      llvm::outs() << text;
  };
  auto result =
      generateTokens(*language, ids, maxTokens, {temperature, topK, seed}, stop,
                     [&](int64_t id) {
                       if (asJson)
                         return true;
                       showPrompt();
                       llvm::outs() << tokenizer.piece(id);
                       llvm::outs().flush();
                       return !llvm::outs().has_error();
                     });
  if (!result) {
    if (!asJson && shown)
      llvm::outs() << '\n';
    return fail(result.takeError());
  }
  double prefill =
      result->prefillSeconds > 0 ? ids.size() / result->prefillSeconds : 0;
  double decode = result->decodeSeconds > 0
                      ? result->decodeSteps / result->decodeSeconds
                      : 0;
  if (asJson) {
    std::string continuation = tokenizer.decode(result->ids);
    // JSON holds Unicode only; the ids have all.
    printJSON(llvm::json::Object{{"prompt_ids", llvm::json::Array(ids)},
                                 {"ids", llvm::json::Array(result->ids)},
                                 {"text", llvm::json::fixUTF8(continuation)},
                                 {"cache", language->hasCache()},
                                 {"prefill_tokens_per_second", prefill},
                                 {"decode_tokens_per_second", decode}});
    return Done;
  }
  showPrompt();
  llvm::outs() << '\n';
  llvm::outs().flush();
  llvm::errs() << llvm::format(
      "%zu tokens read at %.1f/s, %zu written at %.1f/s%s\n", ids.size(),
      prefill, result->ids.size(), decode,
      language->hasCache() ? "" : " (no cache: each step reads all again)");
  return Done;
}
