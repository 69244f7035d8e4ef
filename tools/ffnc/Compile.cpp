//===- Compile.cpp - ffnc compile -----------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Pipelines/Compile.h"
#include "Native.h"
#include "ffn-mlir/Export/Exporter.h"
#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/Pipelines/ParsePipeline.h"
#include "ffn-mlir/Search/GateModules.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "ffn-mlir/Target/CPU/Kernels.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/Support/Chrono.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::ffn::driver;
namespace cl = llvm::cl;

static int compile();
static Verb verb("compile",
                 "compiles a model to a native library, or rewrites it",
                 compile, R"(
EXAMPLES:
  ffnc compile model.onnx -o model.so
  ffnc compile model.onnx -o model --emit=exe --cpu=avx2
  ffnc compile model.onnx -o pruned.so \
      --pass-pipeline='builtin.module(ffn-raise,ffn-prune-sublayers{only=model.layers.3.mlp})'
  ffnc compile model.onnx -o rewritten.onnx --pass-pipeline='builtin.module(ffn-raise)'

The output appears under its name when it is complete, and not at all after an
error. The names of sublayers are those of 'ffnc inspect'.

Where passes of --pass-pipeline approximate (--gate=auto), both models are timed
in turns on this machine before anything is written. One that is slower beyond
doubt is not written: the original is, with a warning that has both times; with
--require nothing is (exit code 6), with --force it is all the same.
)");
static JSONOption asJson(verb);
static cl::opt<std::string> model(cl::Positional, cl::Required,
                                  cl::desc("model.onnx|model.mlir"),
                                  cl::sub(verb.command));
static cl::opt<std::string> output("o", cl::Required,
                                   cl::desc("output file (required)"),
                                   cl::value_desc("file"),
                                   cl::sub(verb.command));
static cl::opt<std::string>
    emit("emit",
         cl::desc("so, exe, obj, llvm, linalg or onnx; default: onnx for an "
                  "output file *.onnx, else so"),
         cl::value_desc("kind"), cl::sub(verb.command));
static cl::opt<std::string> pipelineText(
    "pass-pipeline",
    cl::desc("passes, as ffn-opt takes them; native code: run in place of "
             "builtin.module(ffn-raise)"),
    cl::value_desc("builtin.module(...)"), cl::sub(verb.command));
static cl::opt<std::string> precision(
    "precision", cl::init("f32"),
    cl::desc("of the weights of products, after the passes: f32, bf16, int8 or "
             "int4, then name=type for weights that differ, such as "
             "int4,layers.0.*=f32,head=int8 (default: f32, as they are)"),
    cl::value_desc("type[,name=type...]"), cl::sub(verb.command));
static cl::opt<std::string> activations(
    "activations", cl::init("int8"),
    cl::desc("f32 or int8: what inputs of products with int8 and int4 weights "
             "are rounded to, row by row (default: int8)"),
    cl::value_desc("type"), cl::sub(verb.command));
static cl::opt<bool> lastTokenLogits(
    "last-token-logits",
    cl::desc("a language model gives the logits of the last position only, "
             "which is what writing a text needs"),
    cl::sub(verb.command));
static cl::opt<bool> externalData("external-data",
                                  cl::desc("onnx: weights in a file of their "
                                           "own"),
                                  cl::sub(verb.command));
static cl::opt<std::string>
    cpu("cpu", cl::init("native"),
        cl::desc("native, avx2, avx2_vnni, avx512 or avx512_vnni (default: "
                 "native)"),
        cl::sub(verb.command));
static cl::opt<bool> noKernels("no-kernels",
                               cl::desc("plain loops for every operation"),
                               cl::sub(verb.command));
static cl::opt<unsigned> optLevel("opt-level", cl::init(3),
                                  cl::desc("0 to 3, of LLVM (default: 3)"),
                                  cl::sub(verb.command));
static cl::opt<uint64_t> maxEmbedded(
    "max-embedded-weights", cl::init(uint64_t(1) << 30),
    cl::desc("bytes of weights beyond which they lie in a file beside the "
             "library (default: 2^30)"),
    cl::sub(verb.command));
static cl::opt<std::string> weightsDir("weights-dir",
                                       cl::desc("folder of the weights of an "
                                                ".mlir model (default: that of "
                                                "the model)"),
                                       cl::sub(verb.command));
static cl::opt<bool> remarks("remarks",
                             cl::desc("print what the passes did, and why not "
                                      "where they did nothing"),
                             cl::sub(verb.command));
static cl::opt<std::string>
    gate("gate", cl::init("auto"),
         cl::desc("measure that the rewritten model is not slower: auto (after "
                  "passes that approximate), on or off (default: auto)"),
         cl::value_desc("when"), cl::sub(verb.command));
static cl::opt<bool> require("require",
                             cl::desc("a slower model is an error, and so is "
                                      "one that cannot be measured"),
                             cl::sub(verb.command));
static cl::opt<bool> force("force", cl::desc("write a slower model too"),
                           cl::sub(verb.command));
static cl::opt<unsigned> gateBatch("gate-batch", cl::init(1),
                                   cl::desc("rows at which it is measured "
                                            "(default: 1)"),
                                   cl::sub(verb.command));
static cl::opt<unsigned> gateLength("gate-length", cl::init(128),
                                    cl::desc("tokens, or other sizes that are "
                                             "not static (default: 128)"),
                                    cl::sub(verb.command));
static cl::opt<unsigned> gateThreads("gate-threads", cl::init(0),
                                     cl::desc("threads (default: all CPUs)"),
                                     cl::sub(verb.command));
static cl::opt<bool> strict("strict",
                            cl::desc("refuse exporters' habits that are "
                                     "otherwise accepted with a warning"),
                            cl::sub(verb.command));

/// What stands between any raised module and ONNX.
static constexpr llvm::StringLiteral kToONNX =
    "builtin.module(ffn-decompose,ffn-materialize-weights)";
/// What a model goes through before it becomes native code.
static constexpr llvm::StringLiteral kToNative = "builtin.module(ffn-raise)";

static LogicalResult runPipeline(ModuleOp module, llvm::StringRef text) {
  FailureOr<OpPassManager> parsed = ffn::parsePipeline(text);
  if (failed(parsed))
    return failure();
  PassManager manager(module.getContext(), parsed->getOpAnchorName());
  static_cast<OpPassManager &>(manager) = *parsed;
  return manager.run(module);
}

/// The passes that --precision asks for. A name that comes later wins; what
/// has a name of its own is left out by all others.
static std::vector<std::string> planPrecision(std::string &wrong) {
  llvm::SmallVector<llvm::StringRef> entries;
  llvm::StringRef(precision).split(entries, ',');
  std::vector<std::string> steps;
  std::string except;
  for (size_t i = entries.size(); i-- > 0;) {
    llvm::StringRef entry = entries[i];
    auto [name, type] = entry.split('=');
    bool isNamed = i != 0 || entry.contains('=');
    if (!isNamed)
      std::swap(name, type);
    if (isNamed && (!entry.contains('=') || name.empty() ||
                    name.find_first_of(" {}") != llvm::StringRef::npos))
      wrong = "expected name=type in place of '" + entry.str() + "'";
    else if (!llvm::is_contained({"f32", "bf16", "int8", "int4"}, type))
      wrong =
          "expected f32, bf16, int8 or int4 in place of '" + type.str() + "'";
    if (!wrong.empty())
      return {};
    std::string options = "type=" + type.str();
    if (type == "int8" || type == "int4")
      options += " activations=" + activations;
    if (isNamed)
      // A tied embedding has other readers; naming the head asks for a copy.
      options += " only=" + name.str() + (name == "head" ? " shared" : "");
    if (!except.empty())
      options += " except=" + except;
    if (isNamed)
      except += (except.empty() ? "" : ",") + name.str();
    if (type != "f32")
      steps.push_back("builtin.module(ffn-quantize{" + options + "})");
  }
  return steps;
}

static int emitONNX(ModuleOp module) {
  if (failed(runPipeline(module, kToONNX)))
    return Diagnosed;
  ffn::ExportOptions options;
  if (externalData)
    options.externalDataThreshold = 0;
  return succeeded(ffn::exportONNX(module, output, options)) ? Done : Diagnosed;
}

static ffn::CompileOptions getCompileOptions() {
  ffn::CompileOptions options;
  options.cpu = cpu;
  options.optLevel = optLevel;
  options.useKernels = !noKernels;
  options.maxEmbeddedWeights = maxEmbedded;
  return options;
}

static int emitNative(ModuleOp module, ffn::EmitKind kind) {
  ffn::CompileOptions options = getCompileOptions();
  options.emit = kind;
  return succeeded(ffn::compileModule(module, options, output)) ? Done
                                                                : Diagnosed;
}

namespace {
/// What the latency gate found and what came of it.
struct GateResult {
  int code = Done;
  bool applied = true;
  /// The output is one of the files that were measured.
  bool written = false;
  std::optional<ffn::LatencyVerdict> verdict;
  /// Why nothing was measured; empty where it was.
  std::string skipped;

  llvm::json::Object toJSON() const {
    llvm::json::Object result =
        verdict ? verdict->toJSON() : llvm::json::Object();
    result["measured"] = verdict.has_value();
    result["applied"] = applied;
    result["output_is_measured"] = written;
    if (!skipped.empty())
      result["skipped"] = llvm::json::fixUTF8(skipped);
    return result;
  }
};
} // namespace

/// Whether a pass has rewritten something in a way that is more than a
/// re-association of sums.
static bool hasApproximated(const ffn::DiagnosticPrinter &printer) {
  return llvm::any_of(
      printer.getCollected(), [](const ffn::CollectedDiagnostic &entry) {
        return llvm::any_of(
            entry.candidates, [](const ffn::CandidateEntry &candidate) {
              return candidate.rewritten && candidate.approximate;
            });
      });
}

/// Measures `rewritten` against `original`, which becomes what would be written
/// without the rewrite. `mayFail`: a model that has no native code is passed.
/// `writes`: a library is wanted, and the one that was measured becomes it.
static GateResult runGate(ModuleOp original, ModuleOp rewritten, bool mayFail,
                          bool writes) {
  GateResult result;
  ffn::LatencyGateOptions options;
  options.batch = gateBatch;
  options.length = gateLength;
  ffn::CompileOptions compiling = getCompileOptions();
  bool isSilent = true;
  auto keep = [&](const ffn::LatencyVerdict &verdict,
                  const std::string(&files)[2]) {
    bool isSlower = verdict.isSlower();
    const std::string &file = files[!isSlower || force];
    // A library names the file of its weights after itself.
    if ((isSlower && require && !force) ||
        llvm::sys::fs::exists(file + ".weights"))
      return;
    progress("writing " + output);
    // That a file cannot be written is no matter of measuring.
    isSilent = false;
    if (succeeded(ffn::adoptArtefact(rewritten, file, compiling, output)))
      result.written = true;
    else
      result.code = Diagnosed;
  };
  progress("measuring the rewritten model against the original");
  auto verdict = [&]() -> llvm::Expected<ffn::LatencyVerdict> {
    std::unique_ptr<ScopedDiagnosticHandler> silence;
    if (mayFail)
      silence = std::make_unique<ScopedDiagnosticHandler>(
          original.getContext(),
          [&](Diagnostic &) { return success(isSilent); });
    return ffn::gateModules(original, rewritten, compiling, gateThreads,
                            options,
                            writes ? ffn::GateFilesFunction(keep) : nullptr);
  }();
  if (!verdict) {
    result.skipped = llvm::toString(verdict.takeError());
    if (!mayFail)
      result.code = fail(result.skipped);
    else
      llvm::errs() << "warning: the latency was not measured: "
                   << result.skipped << '\n';
    return result;
  }
  result.verdict = std::move(*verdict);
  std::string figures = result.verdict->describe();
  if (!result.verdict->isSlower()) {
    rewritten.emitRemark("the rewritten model is not slower: ") << figures;
    return result;
  }
  rewritten.emitRemark("the rewritten model is slower: ") << figures;
  if (require && !force) {
    result.code = fail("the rewritten model is slower: " + figures +
                           "; --force writes it [FFN-O201]",
                       Slower);
    return result;
  }
  result.applied = force;
  llvm::errs() << "warning: the rewritten model is slower: " << figures
               << (force ? "; --force writes it"
                         : "; the original is written instead, --force writes "
                           "the rewritten one")
               << " [FFN-O201]\n";
  return result;
}

/// What was written, for --json.
static int report(llvm::StringRef file, llvm::StringRef kind,
                  llvm::sys::TimePoint<> begin,
                  llvm::ArrayRef<ffn::CollectedDiagnostic> diagnostics,
                  const std::optional<GateResult> &gated) {
  double seconds =
      std::chrono::duration<double>(std::chrono::system_clock::now() - begin)
          .count();
  llvm::json::Object result{{"output", llvm::json::fixUTF8(file)},
                            {"emit", kind},
                            {"seconds", seconds}};
  llvm::json::Array said, candidates;
  for (const ffn::CollectedDiagnostic &entry : diagnostics) {
    if (entry.severity == DiagnosticSeverity::Remark)
      said.push_back(llvm::json::fixUTF8(entry.message));
    for (const ffn::CandidateEntry &candidate : entry.candidates) {
      llvm::json::Object answer = candidate.toJSON();
      answer["text"] = llvm::json::fixUTF8(entry.message);
      candidates.push_back(std::move(answer));
    }
  }
  result["remarks"] = std::move(said);
  result["candidates"] = std::move(candidates);
  if (gated)
    result["gate"] = gated->toJSON();
  llvm::sys::fs::file_status status;
  if (!llvm::sys::fs::status(file, status))
    result["bytes"] = static_cast<int64_t>(status.getSize());
  // A file of that name may be left of another model; clocks of file systems
  // are coarse.
  std::string weights = (file + (kind == "onnx" ? ".data" : ".weights")).str();
  if (!llvm::sys::fs::status(weights, status) &&
      status.getLastModificationTime() >
          begin - std::chrono::milliseconds(20)) {
    result["weights_file"] = llvm::json::fixUTF8(weights);
    result["weights_bytes"] = static_cast<int64_t>(status.getSize());
  }
  printJSON(std::move(result));
  return Done;
}

static int compile() {
  handleInterrupts();
  llvm::sys::TimePoint<> begin = std::chrono::system_clock::now();
  std::string kindName = emit;
  if (kindName.empty())
    kindName = llvm::StringRef(output).ends_with(".onnx") ? "onnx" : "so";
  bool toONNX = kindName == "onnx";
  std::optional<ffn::EmitKind> kind = ffn::parseEmitKind(kindName);
  if (!kind && !toONNX)
    return fail("--emit=" + kindName +
                    ": expected so, exe, obj, llvm, linalg or onnx",
                Usage);
  if (!llvm::is_contained({"f32", "int8"}, activations))
    return fail("--activations=" + activations + ": expected f32 or int8",
                Usage);
  std::string wrong;
  std::vector<std::string> quantize = planPrecision(wrong);
  if (!wrong.empty())
    return fail("--precision=" + precision + ": " + wrong, Usage);
  if (cpu != "native" && failed(ffn::cpu::CpuTarget::parse(cpu)))
    return fail("--cpu=" + cpu + ": expected " +
                    ffn::cpu::CpuTarget::getChoices(),
                Usage);
  if (!weightsDir.empty() && !llvm::sys::fs::is_directory(weightsDir))
    return fail("--weights-dir=" + weightsDir + ": no such folder", Usage);
  if (!emit.empty() && toONNX != llvm::StringRef(output).ends_with(".onnx"))
    llvm::errs() << "warning: --emit=" << kindName << " writes '" << output
                 << "', whose name says otherwise\n";
  if (!llvm::is_contained({"auto", "on", "off"}, gate))
    return fail("--gate=" + gate + ": expected auto, on or off", Usage);
  if (require && (force || gate == "off"))
    return fail("--require excludes --force and --gate=off", Usage);
  if (!gateBatch || !gateLength)
    return fail("--gate-batch and --gate-length are at least 1", Usage);
  if (output == "-")
    return fail("-o -: a library is no text for stdout; name a file", Usage);
  if (optLevel > 3)
    return fail("--opt-level: expected 0 to 3", Usage);
  // A pipeline that does not parse is an error of the command line.
  if (!pipelineText.empty() && failed(ffn::parsePipeline(pipelineText)))
    return Usage;
  std::unique_ptr<MLIRContext> context = makeContext();
  std::string name = model;
  ffn::DiagnosticPrinter printer(context.get(), name, &llvm::errs(), remarks);
  ffn::ImportOptions import = getImportOptions();
  import.strict = strict;
  progress("reading " + name);
  OwningOpRef<ModuleOp> module =
      ffn::loadModule(name, context.get(), import, weightsDir);
  if (!module)
    return Diagnosed;
  std::string pipeline = pipelineText;
  bool rewrites = !pipeline.empty() || precision != "f32";
  if (pipeline.empty() && (!toONNX || precision != "f32"))
    pipeline = kToNative.str();
  OwningOpRef<ModuleOp> original;
  if (rewrites && gate != "off")
    original = module->clone();
  if (!pipeline.empty()) {
    progress("running " + pipeline);
    if (failed(runPipeline(*module, pipeline)))
      return getExitCode(printer);
  }
  constexpr llvm::StringLiteral lastLogits =
      "builtin.module(ffn-last-token-logits)";
  if (lastTokenLogits) {
    progress("running " + lastLogits);
    if (failed(runPipeline(*module, lastLogits)))
      return Diagnosed;
  }
  bool asked = gate == "on" || require;
  bool measures = original && (asked || hasApproximated(printer));
  for (const std::string &step : quantize) {
    progress("running " + step);
    if (failed(runPipeline(*module, step)))
      return getExitCode(printer);
  }
  std::optional<GateResult> gated;
  if (measures) {
    // Models that are compared have both been raised.
    OwningOpRef<ModuleOp> raised = original->clone();
    if (failed(
            runPipeline(*raised, "builtin.module(ffn-raise{remarks=false})")))
      return Diagnosed;
    if (lastTokenLogits && failed(runPipeline(*raised, lastLogits)))
      return Diagnosed;
    gated = runGate(*raised, *module, /*mayFail=*/!asked,
                    kind == ffn::EmitKind::SharedLibrary);
    if (gated->code != Done)
      return gated->code;
    if (!gated->applied)
      module =
          toONNX && !lastTokenLogits ? std::move(original) : std::move(raised);
  }
  int code = Done;
  if (!gated || !gated->written) {
    progress("writing " + output);
    code = toONNX ? emitONNX(*module) : emitNative(*module, *kind);
  }
  if (code == Done && asJson)
    return report(output, kindName, begin, printer.getCollected(), gated);
  return code;
}
