//===- Collect.cpp - Running calibration data through a model -------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// The model is cut at its sublayers, and one stage after the other is compiled,
// run on all samples and forgotten. What a later stage reads is kept in memory
// up to a bound and in files beyond it. From time to time everything that is
// finished goes to disk, and a run that was killed begins again there.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Profile/Collect.h"
#include "Checkpoint.h"
#include "StageStatistics.h"
#include "ffn-mlir/Pipelines/Compile.h"
#include "ffn-mlir/Pipelines/ParsePipeline.h"
#include "ffn-mlir/Profile/Profile.h"
#include "ffn-mlir/Search/StagedModel.h"
#include "ffn-mlir/Support/Sha256.h"
#include "ffn-mlir/Target/CPU/Kernels.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/FileSystem.h"
#include <chrono>
#include <fstream>
#include <malloc.h>
#include <unistd.h>

using namespace mlir;
using namespace mlir::ffn;
using llvm::Error;
namespace json = llvm::json;

/// Memory of the compiler for a stage, without the weights of the stage.
static constexpr uint64_t kCompilerMemory = uint64_t(64) << 20;
/// Left free below a limit, for what is not counted.
static constexpr uint64_t kSlack = uint64_t(8) << 20;
/// Bytes of values between stages, and as many of finished statistics, that
/// memory holds; below a limit a share of it.
static constexpr uint64_t kHeldMemory = uint64_t(256) << 20;
static constexpr uint64_t kHeldShare = 32;

namespace {
struct Memory {
  uint64_t resident = 0, peak = 0;
};

/// Number of a value that later stages read, and the result that it is.
using StoredResult = std::pair<unsigned, unsigned>;

/// Adds its lifetime to a sum of seconds.
class Stopwatch {
public:
  explicit Stopwatch(double &sum)
      : sum(sum), begin(std::chrono::steady_clock::now()) {}
  ~Stopwatch() {
    sum +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
            .count();
  }

private:
  double &sum;
  std::chrono::steady_clock::time_point begin;
};

class Collector {
public:
  Collector(ModuleOp module, CalibrationSet &set, const CollectOptions &options,
            CollectReport &report)
      : module(module), set(set), options(options), report(report) {}
  CollectStatus run();

private:
  CollectStatus fail(const llvm::Twine &what) {
    module.emitError(what);
    return CollectStatus::Failed;
  }
  CollectStatus fail(Error error) {
    return fail(llvm::toString(std::move(error)));
  }
  CollectStatus refuseMemory(uint64_t needed, const llvm::Twine &what);
  LogicalResult prepare();
  json::Object makeHeader();
  json::Object makeFingerprint();
  CollectStatus runStage(unsigned index);
  std::unique_ptr<Artefact> compile(ModuleOp stage, StringRef name);
  CollectStatus measure(unsigned index, Artefact &artefact,
                        StageStatistics &statistics,
                        ArrayRef<StoredResult> stored);
  CollectStatus propagate(unsigned index);
  Error gather(ArrayRef<unsigned> numbers, size_t sample,
               std::vector<HostTensor> &storage,
               SmallVectorImpl<HostTensor *> &inputs);
  /// Takes the tensors out of `results`.
  Error store(ArrayRef<StoredResult> stored,
              MutableArrayRef<HostTensor> results);
  Error writeShard(StringRef name, ArrayRef<SafetensorsSource> tensors,
                   Checkpoint::Group &record);
  Error writePendingShard();
  bool isGroupFull() const;
  Error commit();
  /// Commits what was finished before stage `index`, which was not.
  Error abandon(unsigned index);
  Error writeOutput();
  /// Numbers of the outputs of a stage that something behind it reads.
  SmallVector<unsigned> getRead(unsigned index);

  ModuleOp module;
  CalibrationSet &set;
  const CollectOptions &options;
  CollectReport &report;
  std::string level, modelHash;
  OwningOpRef<ModuleOp> instrumented;
  std::vector<ProbedLayer> layers;
  StagedModule stages, plain;
  SmallVector<std::string> outputNames;
  llvm::DenseMap<unsigned, unsigned> lastReader, argumentOf;
  std::unique_ptr<Checkpoint> checkpoint;
  json::Object header;
  uint64_t heldLimit = kHeldMemory;

  /// What was finished since the last commit.
  struct Pending {
    Checkpoint::Group record;
    /// What the tensors may refer to.
    std::vector<StatisticPass> passes;
    std::vector<SafetensorsSource> tensors;
    uint64_t bytes = 0;
  } pending;
  std::chrono::steady_clock::time_point lastCommit;
};
} // namespace

static Memory readMemory() {
  Memory memory;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    StringRef text = line;
    uint64_t *value = text.consume_front("VmRSS:")   ? &memory.resident
                      : text.consume_front("VmHWM:") ? &memory.peak
                                                     : nullptr;
    if (value && !text.trim().consumeInteger(10, *value))
      *value <<= 10;
  }
  return memory;
}

static std::string formatBytes(uint64_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB";
}

CollectStatus Collector::refuseMemory(uint64_t needed,
                                      const llvm::Twine &what) {
  module.emitError("--max-memory of ")
      << formatBytes(options.maxMemory) << " cannot be kept: " << what.str()
      << " needs " << formatBytes(needed) << " [FFN-M101]";
  return CollectStatus::MemoryLimit;
}

//===----------------------------------------------------------------------===//
// Preparation
//===----------------------------------------------------------------------===//

LogicalResult Collector::prepare() {
  FailureOr<cpu::CpuTarget> target = cpu::CpuTarget::parse(options.cpu);
  if (failed(target))
    return module.emitError("unknown CPU level '")
           << options.cpu << "', or this machine lacks it: use native, avx2 or "
           << "avx512 [FFN-C303]";
  level = target->getName().str();
  FailureOr<std::string> hash = hashModel(module);
  if (failed(hash))
    return failure();
  modelHash = *hash;
  instrumented = module.clone();
  auto probed = instrument(*instrumented, options.request);
  if (failed(probed))
    return failure();
  layers = std::move(*probed);
  FailureOr<StagedModule> cut = cutIntoStages(*instrumented);
  if (failed(cut))
    return failure();
  stages = std::move(*cut);
  if (!options.rewrite.empty()) {
    FailureOr<StagedModule> original = cutIntoStages(module);
    if (failed(original))
      return failure();
    plain = std::move(*original);
    bool same = plain.stages.size() == stages.stages.size();
    for (size_t i = 0; same && i < stages.stages.size(); ++i)
      same = plain.stages[i].inputs == stages.stages[i].inputs &&
             plain.stages[i].outputs == stages.stages[i].outputs;
    if (!same)
      return module.emitError("a defect of ffn-mlir, please report it: probes "
                              "change where the model is cut [FFN-C199]");
  }
  for (auto [i, stage] : llvm::enumerate(stages.stages))
    for (unsigned number : stage.inputs)
      lastReader[number] = i;
  for (auto [i, number] : llvm::enumerate(stages.arguments))
    argumentOf[number] = i;
  for (const Artefact::Value &value : getModelSignature(module).outputs)
    outputNames.push_back(value.name);
  return success();
}

/// Nothing in it depends on time, place, threads or memory.
json::Object Collector::makeHeader() {
  json::Array hashes, sources;
  for (const std::string &hash : set.hashes)
    hashes.push_back(hash);
  for (const CalibrationSet::Source &source : set.sources)
    sources.push_back(
        json::Object{{"name", json::fixUTF8(source.name)},
                     {"bytes", static_cast<int64_t>(source.bytes)},
                     {"sha256", source.sha256}});
  const CalibrationOptions &data = options.calibration;
  return json::Object{
      {"format", kProfileFormat},
      {"producer", "ffn-mlir 0.1.0"},
      {"model_sha256", modelHash},
      {"level", level},
      {"opt_level", static_cast<int64_t>(options.optLevel)},
      {"seed", static_cast<int64_t>(data.seed)},
      {"samples", static_cast<int64_t>(set.samples.size())},
      {"length", static_cast<int64_t>(data.length)},
      {"hold_out", static_cast<int64_t>(data.holdOut)},
      {"available", static_cast<int64_t>(set.available)},
      {"calibration", json::Object{{"sources", std::move(sources)},
                                   {"hashes", std::move(hashes)}}},
      {"request", options.request.toJSON()},
      {"prefix", options.rewrite.empty() ? "original" : "rewritten"},
      {"rewrite", options.rewrite},
      {"layers", layersToJSON(layers)}};
}

static std::string print(json::Value value) {
  std::string text;
  llvm::raw_string_ostream(text) << value;
  return text;
}

json::Object Collector::makeFingerprint() {
  json::Object data = *header.getObject("calibration");
  return json::Object{
      {"version", print(json::Array{header["producer"], header["format"]})},
      {"model", modelHash},
      {"calibration", Sha256::hex(print(std::move(data)))},
      {"seed", header["seed"]},
      {"options",
       print(json::Array{header["request"], header["prefix"], header["rewrite"],
                         header["level"], header["opt_level"], header["length"],
                         header["hold_out"]})}};
}

SmallVector<unsigned> Collector::getRead(unsigned index) {
  SmallVector<unsigned> read;
  for (unsigned number : stages.stages[index].outputs) {
    auto last = lastReader.find(number);
    if (last != lastReader.end() && last->second > index)
      read.push_back(number);
  }
  return read;
}

//===----------------------------------------------------------------------===//
// Stages
//===----------------------------------------------------------------------===//

/// Leaves those results of @main that `kept` names by their place.
static void keepResults(ModuleOp stage, ArrayRef<unsigned> kept) {
  auto main = stage.lookupSymbol<func::FuncOp>("main");
  Operation *terminator = main.getBody().front().getTerminator();
  llvm::BitVector gone(terminator->getNumOperands(), true);
  for (unsigned i : kept)
    gone.reset(i);
  terminator->eraseOperands(gone);
  (void)main.eraseResults(gone);
}

std::unique_ptr<Artefact> Collector::compile(ModuleOp stage, StringRef name) {
  Stopwatch watch(report.compileSeconds);
  std::string path = checkpoint->getPath(name);
  CompileOptions compiling;
  compiling.cpu = options.cpu;
  compiling.threads = options.threads;
  compiling.optLevel = options.optLevel;
  if (failed(compileModule(stage, compiling, path)))
    return nullptr;
  auto artefact = Artefact::load(path, options.threads);
  // What is loaded stays mapped.
  llvm::sys::fs::remove(path);
  llvm::sys::fs::remove(path + ".weights");
  malloc_trim(0);
  if (artefact)
    return std::move(*artefact);
  fail(artefact.takeError());
  return nullptr;
}

Error Collector::gather(ArrayRef<unsigned> numbers, size_t sample,
                        std::vector<HostTensor> &storage,
                        SmallVectorImpl<HostTensor *> &inputs) {
  storage.resize(numbers.size());
  inputs.clear();
  for (auto [number, tensor] : llvm::zip_equal(numbers, storage)) {
    auto argument = argumentOf.find(number);
    if (argument != argumentOf.end()) {
      inputs.push_back(&set.samples[sample][argument->second]);
      continue;
    }
    StoredValue *value = checkpoint->find(number);
    if (!value)
      return driverError("'" + options.output +
                         ".parts' lacks a value that is needed; --restart "
                         "begins anew [FFN-J103]");
    Stopwatch watch(report.storeSeconds);
    llvm::Expected<HostTensor *> read = value->read(sample, tensor);
    if (!read)
      return read.takeError();
    inputs.push_back(*read);
  }
  return Error::success();
}

Error Collector::store(ArrayRef<StoredResult> stored,
                       MutableArrayRef<HostTensor> results) {
  Stopwatch watch(report.storeSeconds);
  for (auto [number, result] : stored)
    if (Error error =
            checkpoint->append(number, std::move(results[result]), heldLimit))
      return error;
  return Error::success();
}

CollectStatus Collector::measure(unsigned index, Artefact &artefact,
                                 StageStatistics &statistics,
                                 ArrayRef<StoredResult> stored) {
  const Stage &stage = stages.stages[index];
  std::vector<HostTensor> storage, results;
  SmallVector<HostTensor *> inputs;
  std::string name = "stage" + std::to_string(index);
  auto runSample = [&](size_t sample) -> Error {
    if (Error error = gather(stage.inputs, sample, storage, inputs))
      return error;
    Stopwatch watch(report.runSeconds);
    return artefact.run(inputs, results);
  };
  uint64_t limit = UINT64_MAX;
  if (options.maxMemory) {
    // What the program itself takes shows after the longest sample.
    size_t longest = 0;
    auto sizeOf = [&](size_t sample) {
      size_t bytes = 0;
      for (const HostTensor &tensor : set.samples[sample])
        bytes += tensor.getNumBytes();
      return bytes;
    };
    for (size_t k = 1; k < set.samples.size(); ++k)
      if (sizeOf(k) > sizeOf(longest))
        longest = k;
    if (Error error = runSample(longest))
      return fail(std::move(error));
    Memory memory = readMemory();
    uint64_t used = memory.resident + kSlack + heldLimit -
                    std::min(heldLimit, checkpoint->getHeldBytes());
    if (memory.peak > options.maxMemory || used > options.maxMemory)
      return refuseMemory(std::max(memory.peak, used),
                          "running " + statistics.getLayer());
    limit = options.maxMemory - used;
  }
  uint64_t smallest = 0;
  if (!statistics.split(limit, set.samples.size(), smallest))
    return refuseMemory(options.maxMemory - limit + smallest,
                        "a statistic of " + statistics.getLayer());
  unsigned numPasses = statistics.getNumPasses();
  std::vector<std::string> parts;
  auto take = [&](std::vector<SafetensorsSource> tensors) {
    for (SafetensorsSource &tensor : tensors) {
      uint64_t bytes = getSafetensorsItemSize(tensor.dtype);
      for (int64_t dim : tensor.shape)
        bytes *= dim;
      pending.bytes += bytes;
      pending.tensors.push_back(std::move(tensor));
    }
  };
  for (unsigned pass = 0; pass < std::max(numPasses, 1u); ++pass) {
    StatisticPass work = statistics.begin(pass, checkpoint->getPath(name));
    for (size_t sample = 0; sample < set.samples.size(); ++sample) {
      if (options.isCancelled && options.isCancelled())
        return CollectStatus::Cancelled;
      if (Error error = runSample(sample))
        return fail(std::move(error));
      {
        Stopwatch watch(report.addSeconds);
        if (Error error = work.add(inputs, results, options.threads))
          return fail(std::move(error));
      }
      if (pass == 0)
        if (Error error = store(stored, results))
          return fail(std::move(error));
    }
    pending.record.tokens =
        std::max(pending.record.tokens, work.getNumTokens());
    Stopwatch watch(report.storeSeconds);
    auto tensors = work.finish();
    if (!tensors)
      return fail(tensors.takeError());
    if (numPasses <= 1) {
      take(std::move(*tensors));
      pending.passes.push_back(std::move(work));
      break;
    }
    std::string part = name + ".part" + std::to_string(pass);
    parts.push_back(checkpoint->getPath(part));
    Checkpoint::Group unused;
    if (Error error = writeShard(part, *tensors, unused))
      return fail(std::move(error));
  }
  if (parts.empty())
    return CollectStatus::Done;
  Stopwatch watch(report.storeSeconds);
  auto merged = mergeTensors(parts);
  if (!merged)
    return fail(merged.takeError());
  take(std::move(*merged));
  // What is open can be read for as long as it is.
  for (const std::string &part : parts)
    llvm::sys::fs::remove(part);
  return CollectStatus::Done;
}

Error Collector::writeShard(StringRef name, ArrayRef<SafetensorsSource> tensors,
                            Checkpoint::Group &record) {
  json::Object described = header;
  described["tokens"] = static_cast<int64_t>(record.tokens);
  std::vector<SafetensorsSource> ordered(tensors.begin(), tensors.end());
  orderTensors(ordered);
  Error error = writeFileDurably(
      checkpoint->getPath(name), "shard",
      [&](function_ref<Error(ArrayRef<char>)> sink) -> Error {
        ChecksumSink sum(sink);
        auto through = [&](ArrayRef<char> bytes) { return sum(bytes); };
        if (Error error = writeSafetensors(
                ordered, {{kProfileKey.str(), print(std::move(described))}},
                through))
          return error;
        record.checksum = sum.checksum;
        return Error::success();
      });
  record.shard = name.str();
  return error;
}

Error Collector::writePendingShard() {
  if (pending.tensors.empty() || !pending.record.shard.empty())
    return Error::success();
  return writeShard("stage" + std::to_string(checkpoint->getNumStages()) +
                        ".safetensors",
                    pending.tensors, pending.record);
}

bool Collector::isGroupFull() const {
  std::chrono::duration<double> since =
      std::chrono::steady_clock::now() - lastCommit;
  return !options.rewrite.empty() || pending.bytes > heldLimit ||
         since.count() >= options.commitSeconds;
}

Error Collector::commit() {
  Stopwatch watch(report.storeSeconds);
  if (Error error = writePendingShard())
    return error;
  Error error = checkpoint->commit(std::move(pending.record));
  pending = Pending();
  lastCommit = std::chrono::steady_clock::now();
  return error;
}

Error Collector::abandon(unsigned index) {
  for (unsigned number : stages.stages[index].outputs)
    checkpoint->drop(number);
  return pending.record.stages ? commit() : Error::success();
}

/// Runs the rewritten stage, whose results are what later stages read.
CollectStatus Collector::propagate(unsigned index) {
  SmallVector<unsigned> read = getRead(index);
  if (read.empty())
    return CollectStatus::Done;
  Stage &stage = plain.stages[index];
  // Each of these stages is a group of its own.
  if (Error error = writePendingShard())
    return fail(std::move(error));
  std::string shard = checkpoint->getPath(pending.record.shard);
  StringRef text = options.rewrite;
  std::string pipeline;
  bool needsShard = text.contains("%p");
  for (auto [before, after] = text.split("%p");;
       std::tie(before, after) = after.split("%p")) {
    pipeline += before;
    if (after.empty() && !text.ends_with("%p"))
      break;
    pipeline += shard;
    if (after.empty())
      break;
  }
  if (!needsShard || !pending.record.shard.empty()) {
    FailureOr<OpPassManager> parsed = parsePipeline(pipeline);
    if (failed(parsed))
      return CollectStatus::Failed;
    PassManager manager(module.getContext(), parsed->getOpAnchorName());
    static_cast<OpPassManager &>(manager) = *parsed;
    if (failed(manager.run(*stage.module)))
      return CollectStatus::Failed;
  }
  SmallVector<unsigned> kept;
  SmallVector<StoredResult> stored;
  for (auto [i, number] : llvm::enumerate(stage.outputs))
    if (llvm::is_contained(read, number)) {
      stored.emplace_back(number, kept.size());
      kept.push_back(i);
    }
  keepResults(*stage.module, kept);
  std::unique_ptr<Artefact> artefact =
      compile(*stage.module, "rewritten" + std::to_string(index) + ".so");
  stage.module = nullptr;
  if (!artefact)
    return CollectStatus::Failed;
  std::vector<HostTensor> storage, results;
  SmallVector<HostTensor *> inputs;
  for (size_t sample = 0; sample < set.samples.size(); ++sample) {
    if (Error error = gather(stage.inputs, sample, storage, inputs))
      return fail(std::move(error));
    {
      Stopwatch watch(report.runSeconds);
      if (Error error = artefact->run(inputs, results))
        return fail(std::move(error));
    }
    if (Error error = store(stored, results))
      return fail(std::move(error));
  }
  return CollectStatus::Done;
}

CollectStatus Collector::runStage(unsigned index) {
  Stage &stage = stages.stages[index];
  bool rewrites = !options.rewrite.empty();
  auto wants = [&](Probe probe) {
    return options.request.probes.count(probe) != 0;
  };
  SmallVector<std::string> sites = exposeProbes(*stage.module);
  SmallVector<unsigned> read = getRead(index), kept;
  SmallVector<StoredResult> stored;
  const StagedSublayer *sublayer =
      stage.sublayer >= 0 ? &stages.sublayers[stage.sublayer] : nullptr;
  StageTaps taps;
  for (auto [i, number] : llvm::enumerate(stage.outputs)) {
    unsigned place = kept.size();
    bool isRead = llvm::is_contained(read, number) && !rewrites;
    bool isHidden =
        wants(Probe::Influence) && sublayer && sublayer->hidden == number;
    bool isResult = false;
    for (auto [k, result] : llvm::enumerate(stages.results))
      if (wants(Probe::Logits) && result == number) {
        taps.results.emplace_back(outputNames[k], place);
        isResult = true;
      }
    if (isRead)
      stored.emplace_back(number, place);
    if (isHidden)
      taps.hidden = place;
    if (isRead || isHidden || isResult)
      kept.push_back(i);
  }
  for (auto [i, site] : llvm::enumerate(sites)) {
    taps.sites.emplace_back(site, kept.size());
    kept.push_back(stage.outputs.size() + i);
  }
  if (sublayer)
    taps.residual =
        llvm::find(stage.inputs, sublayer->residual) - stage.inputs.begin();
  const ProbedLayer &layer = sublayer ? layers[stage.sublayer] : layers.back();
  StageStatistics statistics(layer, options.request, taps);
  if (!kept.empty()) {
    keepResults(*stage.module, kept);
    std::unique_ptr<Artefact> artefact =
        compile(*stage.module, "stage" + std::to_string(index) + ".so");
    if (!artefact)
      return CollectStatus::Failed;
    if (options.maxMemory && readMemory().peak > options.maxMemory)
      return refuseMemory(readMemory().peak,
                          "compiling " + statistics.getLayer());
    CollectStatus status = measure(index, *artefact, statistics, stored);
    if (status != CollectStatus::Done)
      return status;
  }
  stage.module = nullptr;
  if (rewrites) {
    CollectStatus status = propagate(index);
    if (status != CollectStatus::Done)
      return status;
  }
  for (auto [number, last] : lastReader)
    if (last <= index)
      checkpoint->drop(number);
  ++pending.record.stages;
  // Behind the last stage comes the output itself.
  if (index + 1 < stages.stages.size() && isGroupFull())
    if (Error error = commit())
      return fail(std::move(error));
  return CollectStatus::Done;
}

Error Collector::writeOutput() {
  Stopwatch watch(report.storeSeconds);
  if (Error error = checkpoint->verifyShards())
    return error;
  std::vector<std::string> shards;
  report.tokens = pending.record.tokens;
  for (const Checkpoint::Group &group : checkpoint->getGroups()) {
    report.tokens = std::max(report.tokens, group.tokens);
    if (!group.shard.empty())
      shards.push_back(checkpoint->getPath(group.shard));
  }
  auto tensors = mergeTensors(shards);
  if (!tensors)
    return tensors.takeError();
  llvm::append_range(*tensors, pending.tensors);
  orderTensors(*tensors);
  header["tokens"] = static_cast<int64_t>(report.tokens);
  return writeFileDurably(
      options.output, "output", [&](function_ref<Error(ArrayRef<char>)> sink) {
        return writeSafetensors(
            *tensors, {{kProfileKey.str(), print(json::Object(header))}}, sink);
      });
}

CollectStatus Collector::run() {
  if (failed(prepare()))
    return CollectStatus::Failed;
  header = makeHeader();
  uint64_t resident = readMemory().resident;
  if (options.maxMemory && resident + kCompilerMemory > options.maxMemory)
    return refuseMemory(resident + kCompilerMemory,
                        "reading the model and compiling a stage of it");
  if (options.maxMemory)
    heldLimit = std::min(heldLimit, options.maxMemory / kHeldShare);
  {
    Stopwatch watch(report.storeSeconds);
    auto opened = Checkpoint::open(options.output + ".parts", makeFingerprint(),
                                   options.restart);
    if (!opened)
      return fail(opened.takeError());
    checkpoint = std::move(*opened);
  }
  report.samples = set.samples.size();
  report.stages = stages.stages.size();
  report.resumed = checkpoint->getNumStages();
  if (report.resumed > report.stages)
    return fail("'" + options.output +
                ".parts' has more stages than the model; --restart begins anew "
                "[FFN-J103]");
  double seconds = 0;
  lastCommit = std::chrono::steady_clock::now();
  for (unsigned i = report.resumed; i < report.stages; ++i) {
    {
      Stopwatch watch(seconds);
      CollectStatus status = runStage(i);
      report.peakMemory = readMemory().peak;
      if (status == CollectStatus::Cancelled ||
          status == CollectStatus::MemoryLimit)
        if (Error error = abandon(i))
          return fail(std::move(error));
      if (status != CollectStatus::Done)
        return status;
    }
    if (options.onProgress) {
      const Stage &stage = stages.stages[i];
      unsigned done = i + 1;
      options.onProgress(
          {done, report.stages,
           stage.sublayer >= 0 ? layers[stage.sublayer].names.front()
                               : kMainLayer.str(),
           seconds / (done - report.resumed) * (report.stages - done),
           report.peakMemory});
    }
  }
  if (Error error = writeOutput())
    return fail(std::move(error));
  {
    Stopwatch watch(report.storeSeconds);
    pending = Pending();
    checkpoint->remove();
  }
  llvm::sys::fs::file_status status;
  if (!llvm::sys::fs::status(options.output, status))
    report.bytes = status.getSize();
  report.peakMemory = readMemory().peak;
  return CollectStatus::Done;
}

CollectStatus mlir::ffn::collectProfile(ModuleOp module,
                                        CalibrationSet &samples,
                                        const CollectOptions &options,
                                        CollectReport &report) {
  return Collector(module, samples, options, report).run();
}
