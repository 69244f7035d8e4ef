//===- Profile.cpp - ffnc profile -----------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Profile/Profile.h"
#include "Interrupt.h"
#include "Native.h"
#include "ffn-mlir/Driver/LatencyGate.h"
#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/Pipelines/ParsePipeline.h"
#include "ffn-mlir/Profile/Collect.h"
#include "ffn-mlir/Search/StagedModel.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "ffn-mlir/Target/CPU/Kernels.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::ffn::driver;
namespace cl = llvm::cl;
using llvm::StringRef;

static int profile();
static Verb verb("profile",
                 "runs calibration data through a model and writes what its "
                 "layers do with them",
                 profile, R"(
EXAMPLES:
  ffnc profile model.onnx --calib train.txt -o p.safetensors
  ffnc profile model.onnx --calib stories.json --tokenizer tok512.json \
      --samples 128 --length 512 --for='ffn-carve-moe{topk=10}' -o p.safetensors
  ffnc profile model.onnx --calib inputs.npz --probes=moments,gram \
      --max-memory=2GiB -o p.safetensors
  ffnc profile --show p.safetensors

DATA: text (documents stand between <|endoftext|>), .json lists of token-id
lists, raw ids (.u16, .u32, .bin), .npy; .npz and .safetensors with the model's
inputs by name, one sample a row; or a folder of files of one sort.

What is finished lies in FILE.parts. The same command goes on behind it after an
interruption and writes the same bytes.
)");
static cl::opt<std::string> model(cl::Positional,
                                  cl::desc("model.onnx|model.mlir"),
                                  cl::sub(verb.command));
static cl::opt<std::string> show("show", cl::desc("print what is in a profile"),
                                 cl::value_desc("file"), cl::sub(verb.command));
static cl::opt<std::string> calib("calib",
                                  cl::desc("calibration data (required without "
                                           "--show)"),
                                  cl::value_desc("file|folder"),
                                  cl::sub(verb.command));
static cl::opt<std::string>
    output("o",
           cl::desc("profile to write (required without "
                    "--show)"),
           cl::value_desc("file"), cl::sub(verb.command));
static cl::list<std::string>
    passes("for",
           cl::desc("measure what this pass reads with these options; may be "
                    "repeated (default: none)"),
           cl::value_desc("PASS{...}"), cl::sub(verb.command));
static cl::opt<std::string>
    probes("probes",
           cl::desc("measure these: moments, hidden, influence (the default), "
                    "gram, hidden-gram, histogram, topk{k=10}, "
                    "cmoe-topk{k=10}, cofire{group=8}, cross, cross-hidden, "
                    "raw, logits"),
           cl::value_desc("names"), cl::sub(verb.command));
static cl::opt<std::string>
    tokenizer("tokenizer",
              cl::desc("tokenizer in JSON form (default: a token is a byte)"),
              cl::value_desc("file"), cl::sub(verb.command));
static cl::opt<unsigned> samples("samples", cl::init(10),
                                 cl::desc("samples to draw (default: 10)"),
                                 cl::value_desc("count"),
                                 cl::sub(verb.command));
static cl::opt<unsigned> length("length", cl::init(256),
                                cl::desc("tokens of a sample (default: 256)"),
                                cl::value_desc("count"), cl::sub(verb.command));
static cl::opt<uint64_t> seed("seed", cl::init(0),
                              cl::desc("which samples are drawn (default: 0)"),
                              cl::value_desc("number"), cl::sub(verb.command));
static cl::opt<unsigned>
    holdOut("holdout", cl::init(0),
            cl::desc("draw so many further samples and leave them out "
                     "(default: 0)"),
            cl::value_desc("count"), cl::sub(verb.command));
static cl::opt<std::string>
    evaluation("eval",
               cl::desc("data that results will be measured on: refused where "
                        "a calibration sample is among them (default: none)"),
               cl::value_desc("file|folder"), cl::sub(verb.command));
static cl::opt<std::string>
    maxMemory("max-memory",
              cl::desc("memory that may be resident, as 800MiB or 2GiB "
                       "(default: no limit)"),
              cl::value_desc("size"), cl::sub(verb.command));
static cl::opt<std::string>
    prefix("prefix", cl::init("original"),
           cl::desc("measure each layer behind the original layers before it, "
                    "or behind rewritten ones (default: original)"),
           cl::value_desc("original|rewritten"), cl::sub(verb.command));
static cl::opt<std::string> pipelineText(
    "pass-pipeline",
    cl::desc("with --prefix=rewritten: passes that rewrite each layer after it "
             "was measured; %p is the file with its statistics"),
    cl::value_desc("builtin.module(...)"), cl::sub(verb.command));
static ThreadsOption threads(verb);
static cl::opt<std::string>
    cpu("cpu", cl::init("native"),
        cl::desc("native, avx2, avx2_vnni, avx512 or avx512_vnni (default: "
                 "native)"),
        cl::sub(verb.command));
static cl::opt<unsigned>
    optLevel("opt-level", cl::init(3),
             cl::desc("0 to 3, of LLVM: less is compiled faster and runs "
                      "slower, good for few samples (default: 3)"),
             cl::sub(verb.command));
static cl::opt<double> commitSeconds(
    "commit-seconds", cl::init(10),
    cl::desc("work that a crash may lose beyond the sublayer at hand: what is "
             "finished goes to disk that often (default: 10)"),
    cl::value_desc("seconds"), cl::sub(verb.command));
static cl::opt<bool> restart("restart",
                             cl::desc("begin anew, whatever another run left"),
                             cl::sub(verb.command));
static cl::opt<std::string>
    progressKind("progress", cl::init("auto"),
                 cl::desc("auto (lines on a terminal), text, json or none "
                          "(default: auto)"),
                 cl::value_desc("kind"), cl::sub(verb.command));
static JSONOption asJson(verb);

static int showProfile() {
  auto opened = ffn::Profile::open(show);
  if (!opened)
    return fail(opened.takeError());
  if (!asJson) {
    (*opened)->print(llvm::outs());
    return Done;
  }
  llvm::json::Object result = (*opened)->getHeader();
  llvm::json::Array tensors;
  for (const ffn::SafetensorsEntry &entry : (*opened)->getFile().getEntries()) {
    llvm::json::Array shape;
    for (int64_t dim : entry.shape)
      shape.push_back(dim);
    tensors.push_back(
        llvm::json::Object{{"name", llvm::json::fixUTF8(entry.name)},
                           {"dtype", entry.dtype},
                           {"shape", std::move(shape)}});
  }
  result["tensors"] = std::move(tensors);
  printJSON(std::move(result));
  return Done;
}

/// "2GiB", "800MB", "123456"; 0 where the text is no size.
static uint64_t parseSize(StringRef text) {
  static constexpr std::pair<StringRef, uint64_t> units[] = {
      {"KiB", 1ull << 10},     {"MiB", 1ull << 20}, {"GiB", 1ull << 30},
      {"TiB", 1ull << 40},     {"KB", 1000ull},     {"MB", 1000'000ull},
      {"GB", 1000'000'000ull}, {"B", 1ull},         {"", 1ull}};
  double number;
  for (auto [unit, factor] : units)
    if (text.ends_with(unit) &&
        !text.drop_back(unit.size()).getAsDouble(number))
      return number > 0 && number < 1e18 / factor
                 ? static_cast<uint64_t>(number * factor)
                 : 0;
  return 0;
}

static llvm::Expected<ffn::ProbeRequest> readRequest() {
  if (passes.empty() && probes.empty())
    return ffn::getDefaultProbes();
  ffn::ProbeRequest request;
  auto add = [&](llvm::Expected<ffn::ProbeRequest> one) -> llvm::Error {
    return one ? request.merge(*one) : one.takeError();
  };
  if (!probes.empty())
    if (llvm::Error error = add(ffn::parseProbes(probes)))
      return std::move(error);
  for (const std::string &text : passes)
    if (llvm::Error error = add(ffn::parseProbesFor(text)))
      return std::move(error);
  return request;
}

/// Lines about finished stages, a second or more apart.
class ProgressLines {
public:
  explicit ProgressLines(StringRef kind)
      : json(kind == "json"),
        shown(json || kind == "text" ||
              (kind == "auto" && llvm::errs().is_displayed())) {}

  void operator()(const ffn::CollectOptions::Progress &made) {
    double time = ffn::now();
    if (!shown || (made.done < made.total && time - last < 1))
      return;
    last = time;
    if (json) {
      llvm::errs() << llvm::json::Value(llvm::json::Object{
                          {"done", made.done},
                          {"total", made.total},
                          {"layer", llvm::json::fixUTF8(made.layer)},
                          {"seconds_left", made.secondsLeft},
                          {"peak_memory",
                           static_cast<int64_t>(made.peakMemory)}})
                   << '\n';
      return;
    }
    llvm::errs() << made.done << '/' << made.total << ' ' << made.layer
                 << llvm::format(", %.0f s left, peak memory %llu MiB\n",
                                 made.secondsLeft,
                                 (unsigned long long)made.peakMemory >> 20);
  }

private:
  bool json, shown;
  double last = -1;
};

static LogicalResult runPipeline(ModuleOp module, StringRef text) {
  PassManager manager(module.getContext(), ModuleOp::getOperationName());
  return failure(failed(parsePassPipeline(text, manager, llvm::errs())) ||
                 failed(manager.run(module)));
}

static int checkUsage() {
  if (model.empty() || calib.empty() || output.empty())
    return fail("a model, --calib and -o are needed, or --show", Usage);
  if (cpu != "native" && failed(ffn::cpu::CpuTarget::parse(cpu)))
    return fail("--cpu=" + cpu + ": expected " +
                    ffn::cpu::CpuTarget::getChoices(),
                Usage);
  if (optLevel > 3)
    return fail("--opt-level: expected 0 to 3", Usage);
  if (!llvm::is_contained({"auto", "text", "json", "none"}, progressKind))
    return fail("--progress=" + progressKind +
                    ": expected auto, text, json or none",
                Usage);
  if (prefix != "original" && prefix != "rewritten")
    return fail("--prefix=" + prefix + ": expected original or rewritten",
                Usage);
  if ((prefix == "rewritten") != !pipelineText.empty())
    return fail("--prefix=rewritten and --pass-pipeline go together", Usage);
  if (!pipelineText.empty() && failed(ffn::parsePipeline(pipelineText)))
    return Usage;
  if (!maxMemory.empty() && !parseSize(maxMemory))
    return fail("--max-memory=" + maxMemory +
                    ": expected a size such as 800MiB or 2GiB",
                Usage);
  if (threads > 256)
    return fail("--threads: expected 1 to 256", Usage);
  if (!(commitSeconds >= 0))
    return fail("--commit-seconds is 0 at least", Usage);
  if (!samples || !length)
    return fail("--samples and --length are at least 1", Usage);
  if (isArtefact(model))
    return fail(model + " is compiled already; the model it was made of can be "
                        "profiled",
                Usage);
  return Done;
}

static int report(const std::string &file, const ffn::CollectReport &made,
                  bool json, const ffn::ProbeRequest &request) {
  double work = made.runSeconds + made.addSeconds + made.storeSeconds;
  if (json) {
    printJSON(llvm::json::Object{
        {"output", llvm::json::fixUTF8(file)},
        {"bytes", static_cast<int64_t>(made.bytes)},
        {"samples", static_cast<int64_t>(made.samples)},
        {"tokens", static_cast<int64_t>(made.tokens)},
        {"stages", made.stages},
        {"resumed_stages", made.resumed},
        {"request", request.toJSON()},
        {"compile_seconds", made.compileSeconds},
        {"run_seconds", made.runSeconds},
        {"add_seconds", made.addSeconds},
        {"store_seconds", made.storeSeconds},
        {"peak_memory", static_cast<int64_t>(made.peakMemory)}});
    return Done;
  }
  llvm::outs() << llvm::format(
      "%s: %llu samples, %llu tokens, %llu bytes; compiled in %.1f s, measured "
      "in %.1f s; peak memory %llu MiB\n",
      file.c_str(), (unsigned long long)made.samples,
      (unsigned long long)made.tokens, (unsigned long long)made.bytes,
      made.compileSeconds, work, (unsigned long long)made.peakMemory >> 20);
  return Done;
}

static int profile() {
  if (!show.empty())
    return showProfile();
  if (int code = checkUsage())
    return code;
  auto request = readRequest();
  if (!request)
    return fail(request.takeError());
  // Linking sets every flag back to its default.
  ffn::CollectOptions options;
  options.request = std::move(*request);
  options.output = output;
  options.cpu = cpu;
  options.optLevel = optLevel;
  options.threads = threads;
  options.maxMemory = maxMemory.empty() ? 0 : parseSize(maxMemory);
  options.rewrite = pipelineText;
  options.commitSeconds = commitSeconds;
  options.restart = restart;
  options.calibration = {calib, tokenizer, samples, length, seed, holdOut};
  ffn::CalibrationOptions other = options.calibration;
  other.data = evaluation;
  bool json = asJson;
  std::string name = model;
  ProgressLines lines(progressKind);
  options.onProgress = [&](const ffn::CollectOptions::Progress &made) {
    lines(made);
  };
  // What is finished stays: killing is all that an interrupt has to do.
  static std::string message;
  message = "\ninterrupted; the same command goes on with what " +
            options.output + ".parts holds\n";
  setInterruptMessage(message.c_str());
  handleInterrupts();
  std::unique_ptr<MLIRContext> context = makeContext();
  ffn::DiagnosticPrinter printer(context.get(), name, &llvm::errs(),
                                 /*showRemarks=*/false);
  OwningOpRef<ModuleOp> module =
      ffn::loadModule(name, context.get(), getImportOptions());
  if (!module || failed(runPipeline(*module, "ffn-raise")))
    return Diagnosed;
  ffn::ModelSignature signature = ffn::getModelSignature(*module);
  auto data = ffn::loadCalibrationSet(signature.inputs, signature.outputs,
                                      options.calibration);
  if (!data)
    return fail(data.takeError());
  if (!other.data.empty())
    if (llvm::Error error = ffn::checkDisjoint(*data, signature.inputs,
                                               signature.outputs, other))
      return fail(std::move(error));
  if (options.request.sequential && options.rewrite.empty())
    llvm::errs() << "note: the authors of this method measure each layer "
                    "behind rewritten ones; --prefix=rewritten does\n";
  ffn::CollectReport made;
  if (ffn::collectProfile(*module, *data, options, made) !=
      ffn::CollectStatus::Done)
    return getExitCode(printer);
  return report(options.output, made, json, options.request);
}
