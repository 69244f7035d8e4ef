//===- Analysis.cpp - What the analyses share -----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Analysis/Analysis.h"
#include "Detail.h"
#include "ffn-mlir/Interpreter/EvalTensor.h"
#include "ffn-mlir/Profile/Collect.h"
#include "ffn-mlir/Target/CPU/DenseWeight.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/Support/Path.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::analysis;

static constexpr Analysis kAnalyses[] = {
    {"cost",
     "parameters, bytes and FLOPs of every sublayer at --batch x "
     "--length",
     false, false, analyzeCost, showCost},
    {"dependency",
     "how far a part's contribution turns when an earlier one is "
     "left out (--parts)",
     true, false, analyzeDependency, showDependency},
    {"diff",
     "how far two checkpoints are apart, weights and, with --calib, "
     "hidden states",
     false, true, analyzeDiff, showDiff},
    {"isotropy",
     "how alike the tokens of a text are before and after every "
     "sublayer",
     true, false, analyzeIsotropy, showIsotropy},
    {"neurons",
     "dead, always firing, token, n-gram and positional neurons "
     "(--threshold)",
     true, false, analyzeNeurons, showNeurons},
    {"rank",
     "singular values of every matrix, with --calib or --profile also "
     "weighted by inputs",
     false, false, analyzeRank, showRank},
    {"sensitivity",
     "what leaving out each sublayer and each block does to the "
     "output",
     true, false, analyzeSensitivity, showSensitivity},
    {"sparsity",
     "how small most hidden values are, and what zeroing the "
     "smallest costs",
     true, false, analyzeSparsity, showSparsity},
    {"spectral",
     "how many directions the hidden vectors of every network "
     "span",
     true, false, analyzeSpectral, showSpectral},
    {"vocab-projection",
     "the tokens that the strongest neurons promote and "
     "suppress (--top)",
     false, false, analyzeVocabProjection, showVocabProjection}};

ArrayRef<Analysis> mlir::ffn::getAnalyses() { return kAnalyses; }

const Analysis *mlir::ffn::findAnalysis(StringRef name) {
  for (const Analysis &analysis : kAnalyses)
    if (analysis.name == name)
      return &analysis;
  return nullptr;
}

//===----------------------------------------------------------------------===//
// Models
//===----------------------------------------------------------------------===//

std::vector<NamedSublayer> analysis::listSublayers(ModuleOp module) {
  std::vector<NamedSublayer> list;
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main || main.isExternal())
    return list;
  main.walk([&](SublayerOp op) {
    NamedSublayer &entry = list.emplace_back();
    entry.op = op;
    for (unsigned i = 0; i < op.getNumAddends(); ++i)
      entry.name += (i ? " + " : "") +
                    json::fixUTF8(op.getAddend(i).getName().getValue());
    entry.kind = stringifySublayerKind(op.getAddend(0).getKind()).str();
    op.walk([&](FeedForwardOp ff) { entry.networks.push_back(ff); });
  });
  return list;
}

std::string analysis::getName(const StagedSublayer &sublayer) {
  std::string name;
  for (const std::string &part : sublayer.names)
    name += (name.empty() ? "" : " + ") + json::fixUTF8(part);
  return name;
}

std::string analysis::getNetworkName(StringRef sublayer, unsigned index) {
  std::string name = json::fixUTF8(sublayer);
  return index ? name + ", network " + std::to_string(index) : name;
}

SmallVector<Operation *> analysis::listOutside(ModuleOp module) {
  SmallVector<Operation *> ops;
  auto main = module.lookupSymbol<func::FuncOp>("main");
  for (Operation &op : main.getBody().front())
    if (!llvm::isa<SublayerOp, WeightExprInterface>(op))
      ops.push_back(&op);
  return ops;
}

FailureOr<std::vector<NamedSublayer>> analysis::listNetworks(ModuleOp module) {
  std::vector<NamedSublayer> list = listSublayers(module);
  if (llvm::any_of(list, [](const NamedSublayer &entry) {
        return !entry.networks.empty();
      }))
    return list;
  return module.emitError("the model has no feed-forward network that "
                          "ffn-raise finds; 'ffnc inspect' says what was "
                          "almost one [FFN-A101]");
}

WeightRows::WeightRows(Value weight) : weight(weight) {
  auto type = llvm::cast<RankedTensorType>(weight.getType());
  width = type.getRank() ? type.getShape().back() : 1;
  rows = width ? type.getNumElements() / width : 0;
}

LogicalResult WeightRows::next(std::vector<double> &row) {
  constexpr int64_t kBlockElements = 1 << 20;
  row.clear();
  if (done == rows)
    return success();
  if (done == first + static_cast<int64_t>(block.size()) / width) {
    int64_t count =
        std::min(rows - done, std::max<int64_t>(1, kBlockElements / width));
    Type element = getElementTypeOrSelf(weight.getType());
    SmallVector<char, 0> bytes;
    bytes.resize_for_overwrite(count * width *
                               ((element.getIntOrFloatBitWidth() + 7) / 8));
    if (failed(evaluator.read(weight, done * width, count * width, bytes)))
      return failure();
    FailureOr<EvalTensor> tensor =
        EvalTensor::fromBytes(element, {count * width}, bytes);
    if (failed(tensor)) {
      emitError(weight.getLoc(), "weight of type ")
          << weight.getType() << " has no numeric form [FFN-W111]";
      return failure();
    }
    block.resize(count * width);
    for (auto [i, value] : llvm::enumerate(block)) {
      value = tensor->asDouble(i);
      if (!std::isfinite(value)) {
        emitError(weight.getLoc(), "weight '")
            << getWeightKey(weight)
            << "' holds a number that is not finite [FFN-A106]";
        return failure();
      }
    }
    first = done;
    if (done + count == rows)
      dropWeight(weight);
  }
  auto begin = block.begin() + (done - first) * width;
  row.assign(begin, begin + width);
  ++done;
  return success();
}

LogicalResult
analysis::forEachRow(Value weight,
                     llvm::function_ref<void(ArrayRef<double>)> visit) {
  WeightRows rows(weight);
  std::vector<double> row;
  while (succeeded(rows.next(row))) {
    if (row.empty())
      return success();
    visit(row);
  }
  return failure();
}

FailureOr<std::vector<double>> analysis::readMatrix(Value weight) {
  std::vector<double> values;
  if (failed(forEachRow(weight, [&](ArrayRef<double> row) {
        values.insert(values.end(), row.begin(), row.end());
      })))
    return failure();
  return values;
}

//===----------------------------------------------------------------------===//
// Data
//===----------------------------------------------------------------------===//

LogicalResult analysis::refuse(ModuleOp module, llvm::Error error) {
  return module.emitError(llvm::toString(std::move(error)));
}

FailureOr<Samples> analysis::loadSamples(ModuleOp module,
                                         const AnalysisOptions &options) {
  if (options.calibration.data.empty())
    return module.emitError("this analysis runs the model: it needs "
                            "calibration data, --calib=FILE [FFN-A102]");
  Samples samples;
  samples.signature = getModelSignature(module);
  auto set = loadCalibrationSet(samples.signature.inputs,
                                samples.signature.outputs, options.calibration);
  if (!set)
    return refuse(module, set.takeError());
  samples.set = std::move(*set);
  return samples;
}

json::Object Samples::describe(const AnalysisOptions &options) const {
  int64_t tokens = 0;
  for (const std::vector<int64_t> &ids : set.tokens)
    tokens += ids.size();
  json::Object object{{"name", json::fixUTF8(llvm::sys::path::filename(
                                   options.calibration.data))},
                      {"samples", static_cast<int64_t>(set.samples.size())},
                      {"seed", static_cast<int64_t>(options.calibration.seed)}};
  if (tokens)
    object["tokens"] = tokens;
  return object;
}

std::unique_ptr<StagedModel>
analysis::compileStages(ModuleOp module, const AnalysisOptions &options) {
  StagedModelOptions staged;
  staged.cpu = options.cpu;
  staged.workers = options.threads;
  options.progress("compiling");
  return StagedModel::compile(module, staged);
}

FailureOr<std::unique_ptr<Profile>>
analysis::getProfile(ModuleOp module, const AnalysisOptions &options,
                     StringRef probes) {
  std::string path = options.profile;
  if (path.empty()) {
    FailureOr<Samples> samples = loadSamples(module, options);
    if (failed(samples))
      return failure();
    auto request = parseProbes(probes);
    if (!request)
      return refuse(module, request.takeError());
    CollectOptions collect;
    collect.request = std::move(*request);
    collect.calibration = options.calibration;
    collect.cpu = options.cpu;
    collect.threads = options.threads;
    collect.restart = true;
    llvm::SmallString<128> file(options.folder);
    llvm::sys::path::append(file, "profile.safetensors");
    path = collect.output = file.str().str();
    collect.onProgress = [&](const CollectOptions::Progress &made) {
      options.progress("running " + made.layer + ", " + Twine(made.done) + "/" +
                       Twine(made.total));
    };
    CollectReport report;
    if (collectProfile(module, samples->set, collect, report) !=
        CollectStatus::Done)
      return failure();
  }
  auto profile = Profile::open(path);
  if (!profile)
    return refuse(module, profile.takeError());
  if (failed((*profile)->checkModel(module)))
    return failure();
  return std::move(*profile);
}

json::Object analysis::describe(const Profile &profile) {
  json::Object object{
      {"samples", static_cast<int64_t>(profile.getNumSamples())},
      {"tokens", static_cast<int64_t>(profile.getNumTokens())},
      {"seed", static_cast<int64_t>(profile.getSeed())}};
  std::string names;
  for (const json::Object *source :
       getObjects(getObject(profile.getHeader(), "calibration"), "sources"))
    names += (names.empty() ? "" : ", ") + getText(*source, "name");
  object["name"] = names;
  return object;
}

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

json::Array analysis::pickEvenly(ArrayRef<double> values, size_t count) {
  json::Array picked;
  if (values.size() <= count || count < 2) {
    for (double value : values)
      picked.push_back(value);
    return picked;
  }
  for (size_t i = 0; i < count; ++i)
    picked.push_back(
        values[(i * (values.size() - 1) + (count - 1) / 2) / (count - 1)]);
  return picked;
}

double analysis::getNumber(const json::Object &object, StringRef key) {
  return object.getNumber(key).value_or(kNaN);
}

std::string analysis::getText(const json::Object &object, StringRef key) {
  return object.getString(key).value_or("").str();
}

const json::Object &analysis::getObject(const json::Object &object,
                                        StringRef key) {
  static const json::Object none;
  const json::Object *found = object.getObject(key);
  return found ? *found : none;
}

std::vector<const json::Object *>
analysis::getObjects(const json::Object &object, StringRef key) {
  std::vector<const json::Object *> list;
  if (const json::Array *array = object.getArray(key))
    for (const json::Value &value : *array)
      if (const json::Object *entry = value.getAsObject())
        list.push_back(entry);
  return list;
}

std::vector<double> analysis::getNumbers(const json::Object &object,
                                         StringRef key) {
  std::vector<double> list;
  if (const json::Array *array = object.getArray(key))
    for (const json::Value &value : *array)
      list.push_back(value.getAsNumber().value_or(kNaN));
  return list;
}

std::string analysis::describeData(const json::Object &result) {
  const json::Object &data = getObject(result, "calibration");
  std::string text = formatNumber(getNumber(data, "samples")) + " samples";
  if (data.get("tokens"))
    text += " with " + formatNumber(getNumber(data, "tokens")) + " tokens";
  return text + " of " + getText(data, "name");
}

Series analysis::makeSeries(StringRef name,
                            ArrayRef<const json::Object *> objects,
                            StringRef key, double factor) {
  Series series;
  series.name = name.str();
  for (const json::Object *object : objects)
    series.values.push_back(getNumber(*object, key) * factor);
  return series;
}

std::vector<std::string>
analysis::getTexts(ArrayRef<const json::Object *> objects, StringRef key) {
  std::vector<std::string> texts;
  for (const json::Object *object : objects)
    texts.push_back(getText(*object, key));
  return texts;
}

std::string analysis::formatPercent(double share) {
  if (std::isnan(share))
    return "-";
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%.1f %%", 100 * share);
  return text;
}
