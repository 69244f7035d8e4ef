//===- CompareData.cpp - ffnc compare --data ------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "CompareData.h"
#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/Search/Bisect.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::driver;
namespace cl = llvm::cl;

/// Puts hidden states among the outputs.
static constexpr llvm::StringLiteral kInstrumented =
    "builtin.module(ffn-raise,ffn-expose-hidden)";

DataOptions::DataOptions(Verb &verb)
    : data("data",
           cl::desc("text, token lists (.json), a folder of them, or an "
                    "archive of inputs: compare on these"),
           cl::value_desc("file"), cl::sub(verb.command)),
      tokens(verb),
      window("window", cl::init(512),
             cl::desc("tokens that a model reads at once (default: 512)"),
             cl::sub(verb.command)),
      stride("stride", cl::init(0),
             cl::desc("tokens from window to window (default: the window)"),
             cl::sub(verb.command)),
      wholeFile("whole-file", cl::desc("the file is one text, as it is"),
                cl::sub(verb.command)),
      maxDocuments("max-documents", cl::init(0),
                   cl::desc("use the first so many (default: all)"),
                   cl::sub(verb.command)),
      samples("samples", cl::init(0),
              cl::desc("use so many windows or batches, spread evenly "
                       "(default: all)"),
              cl::sub(verb.command)),
      labels("labels", cl::init("label"),
             cl::desc("array of the right classes (default: label)"),
             cl::value_desc("name"), cl::sub(verb.command)),
      batch("batch", cl::init(32),
            cl::desc("rows of an archive at once (default: 32)"),
            cl::sub(verb.command)),
      floor("floor", cl::init(0.01),
            cl::desc("relative errors are by at least this part of the root "
                     "mean square of A (default: 0.01)"),
            cl::sub(verb.command)),
      bound("bound", cl::init(0.01),
            cl::desc("relative error beyond which an element is counted "
                     "(default: 0.01)"),
            cl::sub(verb.command)),
      layers("layers", cl::desc("also the hidden states behind each sublayer"),
             cl::sub(verb.command)),
      bisect("bisect", cl::init(-1),
             cl::desc("name the first sublayer behind which the relative L2 "
                      "distance is beyond this; two model files "
                      "(default: none is searched)"),
             cl::value_desc("tolerance"), cl::sub(verb.command)) {
  for (const QualityMetric &metric : getQualityMetrics())
    flags.push_back({(metric.isMinimum ? "min-" : "max-") + metric.name.str(),
                     llvm::StringRef(metric.help).str() + " (default: none)"});
  for (auto &[name, help] : flags)
    limits.push_back(std::make_unique<cl::opt<double>>(
        llvm::StringRef(name), cl::desc(help), cl::init(std::nan("")),
        cl::value_desc("number"), cl::sub(verb.command)));
}

EvalOptions DataOptions::getEvalOptions() const {
  EvalOptions options;
  options.data = data;
  options.tokenizer = tokens.tokenizer;
  options.bos = tokens.bos;
  options.window = window;
  options.stride = stride;
  options.wholeFile = wholeFile;
  options.maxDocuments = maxDocuments;
  options.maxSamples = samples;
  options.labels = labels;
  options.batch = batch;
  return options;
}

std::map<std::string, double> DataOptions::getLimits() const {
  std::map<std::string, double> found;
  for (auto [metric, limit] : llvm::zip_equal(getQualityMetrics(), limits))
    if (limit->getNumOccurrences())
      found[metric.name.str()] = *limit;
  return found;
}

std::string DataOptions::check() const {
  bool any = layers || bisect.getNumOccurrences() || samples || wholeFile ||
             !getLimits().empty();
  if (!given())
    return any ? "--layers, --bisect, --samples, --whole-file and limits of "
                 "figures need --data"
               : "";
  if (!window || !batch || stride > window)
    return "--window and --batch are at least 1, --stride is at most the "
           "window";
  for (double value : {double(floor), double(bound)})
    if (!(value >= 0))
      return "--floor and --bound are zero or above";
  for (auto &[name, limit] : getLimits())
    if (std::isnan(limit))
      return "a limit of " + name + " that is no number";
  if (bisect.getNumOccurrences() && !(bisect >= 0))
    return "--bisect is zero or above";
  if (bisect.getNumOccurrences() && (layers || !getLimits().empty()))
    return "--bisect stands alone: without --layers and limits";
  return "";
}

int DataOptions::bisectModels(llvm::StringRef first, llvm::StringRef second,
                              bool asJson) {
  double tolerance = bisect;
  for (llvm::StringRef path : {first, second})
    if (isArtefact(path))
      return fail(path + ": a compiled library cannot be run in parts; "
                         "--bisect needs the .onnx or .mlir file [FFN-R400]");
  auto samples = EvalData::load(getEvalOptions());
  if (!samples)
    return fail(samples.takeError());
  std::string names[2] = {first.str(), second.str()};
  std::unique_ptr<MLIRContext> contexts[2];
  std::unique_ptr<DiagnosticPrinter> printers[2];
  OwningOpRef<ModuleOp> modules[2];
  for (int side : {0, 1}) {
    contexts[side] = makeContext();
    printers[side] = std::make_unique<DiagnosticPrinter>(
        contexts[side].get(), names[side], &llvm::errs(),
        /*showRemarks=*/false);
    progress("reading " + names[side]);
    modules[side] =
        loadModule(names[side], contexts[side].get(), getImportOptions());
    if (!modules[side])
      return Diagnosed;
  }
  progress("compiling both in parts");
  auto found =
      bisectModules(*modules[0], *modules[1], *samples, tolerance, {},
                    [](const BisectResult::Probe &probe) {
                      progress(llvm::Twine("behind '") + probe.sublayer +
                               "': " + std::to_string(probe.distance));
                    });
  if (!found)
    return fail(found.takeError());
  bool within = !found->first && found->outputDistance <= tolerance;
  if (asJson) {
    llvm::json::Object result = found->toJSON();
    result["tolerance"] = tolerance;
    result["equal"] = within;
    printJSON(std::move(result));
    return within ? Done : Unequal;
  }
  for (const BisectResult::Probe &probe : found->probes)
    llvm::outs() << llvm::format("%-10.4g ", probe.distance)
                 << (probe.distance <= tolerance ? "within  " : "beyond  ")
                 << probe.sublayer << '\n';
  llvm::outs() << found->runs << " partial runs over " << found->sublayers
               << " sublayers\n";
  if (found->first) {
    llvm::outs() << "first beyond: " << found->name
                 << llvm::format(", relative L2 %.4g, alone %.4g\n",
                                 found->distance, found->alone);
    for (const std::string &name : found->removedBefore)
      llvm::outs() << "removed in B before it: " << name << '\n';
  } else {
    llvm::outs() << "within behind every probed sublayer; outputs "
                 << llvm::format("%.4g", found->outputDistance)
                 << (within ? "\n" : ": beyond, by what follows the last\n");
  }
  return within ? Done : Unequal;
}

int DataOptions::run(llvm::StringRef first, llvm::StringRef second,
                     unsigned threads, bool asJson) {
  if (bisect.getNumOccurrences())
    return bisectModels(first, second, asJson);
  auto samples = EvalData::load(getEvalOptions());
  if (!samples)
    return fail(samples.takeError());
  std::unique_ptr<Artefact> models[2];
  llvm::StringRef paths[2] = {first, second};
  for (int side : {0, 1}) {
    models[side] = openNative(paths[side], threads,
                              layers ? llvm::StringRef(kInstrumented) : "");
    if (!models[side])
      return Diagnosed;
    bool shows = llvm::any_of(
        models[side]->getOutputs(), [](const Artefact::Value &value) {
          return llvm::StringRef(value.name).starts_with(kHiddenPrefix);
        });
    if (layers && !shows)
      return fail(paths[side] +
                  ": shows no hidden states; give the model file, or compile "
                  "it with --pass-pipeline='" +
                  kInstrumented + "' [FFN-R400]");
  }
  double shown = now();
  auto report = compareOnData(
      *models[0], *models[1], *samples, {floor, bound}, [&](size_t done) {
        if (now() - shown < 5)
          return;
        shown = now();
        progress(llvm::Twine(done) + "/" + llvm::Twine(samples->size()) +
                 " samples");
      });
  if (!report)
    return fail(report.takeError());
  auto violations = findViolations(*report, getLimits());
  if (!violations)
    return fail(violations.takeError());
  if (asJson) {
    llvm::json::Object result = report->toJSON();
    result["violations"] = toJSON(*violations);
    result["equal"] = violations->empty();
    printJSON(std::move(result));
  } else {
    report->print(llvm::outs());
  }
  for (const QualityViolation &violation : *violations)
    llvm::errs() << "error: " << violation.metric << " of '" << violation.where
                 << "' is " << llvm::format("%.6g", violation.value)
                 << ", the limit is " << llvm::format("%.6g", violation.limit)
                 << " [FFN-R410]\n";
  return violations->empty() ? Done : Unequal;
}
