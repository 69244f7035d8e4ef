//===- Analyze.cpp - ffnc analyze -----------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Interrupt.h"
#include "Native.h"
#include "ffn-mlir/Analysis/Analysis.h"
#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "ffn-mlir/Support/DurableFile.h"
#include "ffn-mlir/Support/TemporaryFolder.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::ffn::driver;
using llvm::StringRef;
namespace cl = llvm::cl;

/// What is computed, in which units, is also in docs/reference/analyze.md.
static constexpr StringRef kHelp = R"(
ANALYSES:
  cost              parameters, weight bytes, FLOPs and bytes a token of every
                    sublayer, in a call of --batch sequences of --length tokens
  rank              singular values of every matrix: rank, effective and stable
                    rank, directions that hold 90 % and 99 %; with --calib or
                    --profile (probe gram) also weighted by the inputs
  spectral          hard and soft rank of the hidden vectors' covariance, by m
                    [data, or --profile with hidden,hidden-gram]
  sparsity          shares of small hidden values, energy lost by zeroing them
                    [data, or --profile with hidden,histogram]
  neurons           dead, always firing, token, bigram, trigram and positional
                    neurons; fires above --threshold x root mean square [data]
  isotropy          mean cosine of pairs of tokens before and after sublayers,
                    and the norm of what they add [data]
  sensitivity       KL divergence (nats), angle (radians) and, for language
                    models, increase of the loss (nats) without each sublayer
                    and without each block [data]
  dependency        1 - cos of the contribution of each part with and without an
                    earlier one; --parts [data]
  vocab-projection  --top tokens that the --top neurons with the longest columns
                    promote and suppress, by network
  diff              relative L2 and cosine of the weights of two checkpoints;
                    with --calib also of their hidden states

Data are given with --calib: text, .json lists of token ids, .npz rows.

EXAMPLES:
  ffnc analyze cost model.onnx --length 1
  ffnc analyze rank model.onnx --svg rank.svg
  ffnc analyze neurons model.onnx --calib train.txt --samples 32 --json
  ffnc analyze dependency model.onnx --calib train.txt --parts block
  ffnc analyze diff base.onnx tuned.onnx --calib train.txt
)";

static int analyze();
static Verb verb("analyze",
                 "says which compression may pay, and why: cost, sensitivity, "
                 "neurons, spectra and others",
                 analyze, kHelp);
static cl::opt<std::string> name(cl::Positional, cl::Required,
                                 cl::desc("analysis"), cl::sub(verb.command));
static cl::opt<std::string> model(cl::Positional, cl::Required,
                                  cl::desc("model.onnx|model.mlir"),
                                  cl::sub(verb.command));
static cl::opt<std::string> second(cl::Positional,
                                   cl::desc("[second.onnx|second.mlir]"),
                                   cl::sub(verb.command));
static JSONOption asJson(verb);
static cl::opt<std::string> svg("svg",
                                cl::desc("also draw the result into this file "
                                         "(default: none)"),
                                cl::value_desc("file.svg"),
                                cl::sub(verb.command));
static cl::opt<std::string>
    calib("calib",
          cl::desc("data to run the model on: text, tokens, arrays "
                   "(default: none; analyses marked [data] need it)"),
          cl::value_desc("file|folder"), cl::sub(verb.command));
static cl::opt<std::string>
    profile("profile",
            cl::desc("what 'ffnc profile' has measured, in place of --calib "
                     "(rank, spectral, sparsity)"),
            cl::value_desc("file"), cl::sub(verb.command));
static cl::opt<std::string>
    tokenizer("tokenizer",
              cl::desc("tokenizer in JSON form (default: a token is a byte)"),
              cl::value_desc("file"), cl::sub(verb.command));
static cl::opt<unsigned> samples("samples", cl::init(8),
                                 cl::desc("windows or rows (default: 8)"),
                                 cl::value_desc("count"),
                                 cl::sub(verb.command));
static cl::opt<unsigned> length(
    "length", cl::init(128),
    cl::desc("tokens of a window; of a sequence for cost (default: 128)"),
    cl::value_desc("count"), cl::sub(verb.command));
static cl::opt<unsigned> batch("batch", cl::init(1),
                               cl::desc("cost: sequences of a call "
                                        "(default: 1)"),
                               cl::value_desc("count"), cl::sub(verb.command));
static cl::opt<uint64_t> seed("seed", cl::init(0),
                              cl::desc("which windows are drawn (default: 0)"),
                              cl::value_desc("number"), cl::sub(verb.command));
static cl::opt<std::string>
    parts("parts", cl::init("ffn"),
          cl::desc("dependency: ffn, attention, all or block (default: ffn)"),
          cl::value_desc("kind"), cl::sub(verb.command));
static cl::opt<unsigned>
    top("top", cl::init(10),
        cl::desc("neurons and tokens that are listed (default: 10)"),
        cl::value_desc("count"), cl::sub(verb.command));
static cl::opt<double>
    threshold("threshold", cl::init(0.1),
              cl::desc("neurons: fires above this part of the root mean square "
                       "(default: 0.1)"),
              cl::value_desc("part"), cl::sub(verb.command));
static cl::opt<std::string>
    cpu("cpu", cl::init("native"),
        cl::desc("native, avx2, avx2_vnni, avx512 or avx512_vnni "
                 "(default: native)"),
        cl::sub(verb.command));
static ThreadsOption threads(verb);

static ffn::AnalysisOptions getOptions() {
  ffn::AnalysisOptions options;
  options.calibration = {calib, tokenizer, samples, length, seed};
  options.profile = profile;
  options.batch = batch;
  options.length = length;
  options.parts = parts;
  options.top = top;
  options.threshold = threshold;
  options.cpu = cpu;
  options.threads = threads;
  options.progress = [](const llvm::Twine &text) { progress(text); };
  return options;
}

static int checkUsage(const ffn::Analysis *analysis) {
  if (!analysis) {
    std::string names;
    for (const ffn::Analysis &known : ffn::getAnalyses())
      names += (names.empty() ? "" : ", ") + known.name.str();
    return fail("'" + name + "' is no analysis: expected " + names, Usage);
  }
  if (analysis->needsOther && second.empty())
    return fail(name + " compares two models: name a second one", Usage);
  if (!analysis->needsOther && !second.empty())
    return fail(name + " takes one model", Usage);
  if (!calib.empty() && !profile.empty())
    return fail("--calib and --profile exclude one another", Usage);
  bool readsProfile =
      llvm::is_contained({"rank", "spectral", "sparsity"}, name);
  if (!profile.empty() && !readsProfile)
    return fail(name + " reads no profile; --calib=FILE gives it data", Usage);
  if (analysis->needsData && calib.empty() && profile.empty())
    return fail(name +
                    " runs the model: it needs calibration data, --calib=FILE "
                    "[FFN-A102]",
                Usage);
  if (!samples || !length || !batch || !top)
    return fail("--samples, --length, --batch and --top are at least 1", Usage);
  if (!(threshold >= 0))
    return fail("--threshold is at least 0", Usage);
  if (!llvm::is_contained({"ffn", "attention", "all", "block"}, parts))
    return fail("--parts=" + parts + ": expected ffn, attention, all or block",
                Usage);
  if (!llvm::is_contained({"native", "avx2", "avx512"}, cpu))
    return fail("--cpu=" + cpu + ": expected native, avx2 or avx512", Usage);
  for (StringRef path : {model.getValue(), second.getValue()})
    if (!path.empty() && isArtefact(path))
      return fail(path + " is compiled already; the model it was made of can "
                         "be analysed",
                  Usage);
  return Done;
}

namespace {
/// A model in a context of its own, raised.
struct LoadedModel {
  std::unique_ptr<MLIRContext> context;
  std::unique_ptr<ffn::DiagnosticPrinter> printer;
  OwningOpRef<ModuleOp> module;

  bool load(StringRef path) {
    progress("reading " + path);
    context = makeContext();
    printer = std::make_unique<ffn::DiagnosticPrinter>(
        context.get(), path, &llvm::errs(), /*showRemarks=*/false);
    module = ffn::loadModule(path, context.get(), getImportOptions());
    if (!module)
      return false;
    PassManager manager(context.get(), ModuleOp::getOperationName());
    return succeeded(parsePassPipeline("ffn-raise{remarks=false}", manager,
                                       llvm::errs())) &&
           succeeded(manager.run(*module));
  }
};
} // namespace

static int analyze() {
  const ffn::Analysis *analysis = ffn::findAnalysis(name);
  if (int code = checkUsage(analysis))
    return code;
  // Linking, of which running a model is made, sets flags back.
  ffn::AnalysisOptions options = getOptions();
  bool json = asJson;
  std::string first = model, other = second, picture = svg;
  handleInterrupts();
  ffn::TemporaryFolder folder;
  if (std::error_code code = folder.create("ffnc"))
    return fail("no temporary folder: " + code.message() + " [FFN-O101]");
  options.folder = folder.file("");
  LoadedModel loaded, loadedOther;
  if (!loaded.load(first) || (!other.empty() && !loadedOther.load(other)))
    return Diagnosed;
  FailureOr<llvm::json::Object> result =
      analysis->run(*loaded.module,
                    other.empty() ? ModuleOp() : *loadedOther.module, options);
  if (failed(result))
    return Diagnosed;
  (*result)["model"] =
      llvm::json::fixUTF8(first.substr(StringRef(first).rfind('/') + 1));
  ffn::View view = analysis->show(*result);
  if (!picture.empty()) {
    std::string drawn = ffn::drawCharts(view.charts);
    if (llvm::Error error =
            ffn::writeFileDurably(picture, "svg", [&](auto sink) {
              return sink({drawn.data(), drawn.size()});
            }))
      return fail(std::move(error));
  }
  if (json)
    printJSON(std::move(*result));
  else
    ffn::printView(view, llvm::outs());
  return Done;
}
