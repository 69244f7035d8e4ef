//===- StagedModel.cpp - A compiled model with a run-time mask ------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/StagedModel.h"
#include "ffn-mlir/Pipelines/Compile.h"
#include "ffn-mlir/Support/TemporaryFolder.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Support/FileSystem.h"
#include <atomic>
#include <mutex>
#include <sched.h>
#include <thread>

using namespace mlir;
using namespace mlir::ffn;
using llvm::Error;

/// CPUs that the process may use.
static unsigned countCPUs() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

Error mlir::ffn::forEachOnWorkers(
    unsigned workers, size_t count,
    llvm::function_ref<Error(size_t, unsigned)> task) {
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  Error first = Error::success();
  auto work = [&](unsigned worker) {
    for (size_t i; (i = next.fetch_add(1)) < count;) {
      Error error = task(i, worker);
      if (!error)
        continue;
      next = count;
      std::lock_guard<std::mutex> lock(mutex);
      first = llvm::joinErrors(std::move(first), std::move(error));
      return;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned worker = 1; worker < std::min<size_t>(workers, count); ++worker)
    threads.emplace_back(work, worker);
  work(0);
  for (std::thread &thread : threads)
    thread.join();
  return first;
}

static Artefact::Value describe(func::FuncOp func, unsigned i, bool argument) {
  Artefact::Value value;
  DictionaryAttr attrs =
      argument ? func.getArgAttrDict(i) : func.getResultAttrDict(i);
  Type type = argument ? func.getArgumentTypes()[i] : func.getResultTypes()[i];
  if (auto name = attrs ? attrs.getAs<StringAttr>("onnx.name") : StringAttr())
    value.name = name.str();
  auto ranked = llvm::dyn_cast<RankedTensorType>(type);
  if (!ranked)
    return value;
  Type element = ranked.getElementType();
  value.dtype = {
      static_cast<uint8_t>(element.isBF16()              ? 4
                           : element.isFloat()           ? 2
                           : element.isInteger(1)        ? 6
                           : element.isUnsignedInteger() ? 1
                                                         : 0),
      static_cast<uint8_t>(element.isIntOrFloat()
                               ? std::max(8u, element.getIntOrFloatBitWidth())
                               : 0),
      1};
  auto dims = attrs ? attrs.getAs<ArrayAttr>("ffn.dims") : ArrayAttr();
  for (auto [d, size] : llvm::enumerate(ranked.getShape())) {
    value.shape.push_back(ShapedType::isDynamic(size) ? -1 : size);
    auto text = dims && d < dims.size() ? llvm::dyn_cast<StringAttr>(dims[d])
                                        : StringAttr();
    value.dimNames.push_back(text ? text.str() : "");
  }
  return value;
}

ModelSignature mlir::ffn::getModelSignature(ModuleOp module) {
  ModelSignature signature;
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main)
    return signature;
  for (unsigned i = 0; i < main.getNumArguments(); ++i)
    signature.inputs.push_back(describe(main, i, /*argument=*/true));
  for (unsigned i = 0; i < main.getNumResults(); ++i)
    signature.outputs.push_back(describe(main, i, /*argument=*/false));
  return signature;
}

std::unique_ptr<StagedModel>
StagedModel::compile(ModuleOp module, const StagedModelOptions &options) {
  FailureOr<StagedModule> cut = cutIntoStages(module);
  if (failed(cut))
    return nullptr;
  std::unique_ptr<StagedModel> model(new StagedModel());
  model->sublayers = std::move(cut->sublayers);
  model->arguments = std::move(cut->arguments);
  model->results = std::move(cut->results);
  model->numValues = cut->numValues;
  for (const Artefact::Value &value : getModelSignature(module).outputs)
    model->resultNames.push_back(value.name);
  TemporaryFolder folder;
  if (std::error_code code = folder.create("ffn-stages")) {
    module.emitError("no temporary folder: ")
        << code.message() << " [FFN-O101]";
    return nullptr;
  }
  unsigned workers = options.workers ? options.workers : countCPUs();
  model->sessions.resize(workers);
  CompileOptions compiling;
  compiling.cpu = options.cpu;
  compiling.optLevel = options.optLevel;
  for (auto [i, stage] : llvm::enumerate(cut->stages)) {
    std::string path = folder.file("stage" + std::to_string(i) + ".so");
    if (failed(compileModule(*stage.module, compiling, path)))
      return nullptr;
    for (auto &list : model->sessions) {
      auto artefact = Artefact::load(path, /*threads=*/1);
      if (!artefact) {
        module.emitError(llvm::toString(artefact.takeError()));
        return nullptr;
      }
      list.push_back(std::move(*artefact));
    }
    // What is loaded stays: nothing but the folder is left where the process
    // is killed.
    llvm::sys::fs::remove(path);
    model->pieces.push_back({stage.inputs, stage.outputs, stage.sublayer});
    stage.module = nullptr;
  }
  return model;
}

StagedModel::State StagedModel::begin(std::vector<HostTensor> tensors) const {
  State state;
  state.values.resize(numValues);
  for (auto [number, tensor] : llvm::zip_equal(arguments, tensors))
    state.values[number] = std::make_shared<HostTensor>(std::move(tensor));
  return state;
}

Error StagedModel::runStage(State &state, unsigned stage, bool leaveOut,
                            unsigned worker) {
  const Piece &piece = pieces[stage];
  if (leaveOut) {
    const StagedSublayer &sublayer = sublayers[piece.sublayer];
    for (unsigned number : piece.outputs)
      state.values[number] = nullptr;
    state.values[sublayer.hidden] = state.values[sublayer.residual];
    return Error::success();
  }
  SmallVector<HostTensor *> tensors;
  for (unsigned number : piece.inputs) {
    if (!state.values[number])
      return driverError("a value of a sublayer that is left out is read");
    tensors.push_back(state.values[number].get());
  }
  std::vector<HostTensor> made;
  if (Error error = sessions[worker][stage]->run(tensors, made))
    return error;
  for (auto [number, tensor] : llvm::zip_equal(piece.outputs, made))
    state.values[number] = std::make_shared<HostTensor>(std::move(tensor));
  return Error::success();
}

Error StagedModel::run(State &state, const llvm::BitVector &mask,
                       unsigned firstStage, unsigned worker) {
  for (unsigned stage = firstStage; stage < pieces.size(); ++stage) {
    int64_t sublayer = pieces[stage].sublayer;
    if (Error error = runStage(state, stage,
                               sublayer >= 0 && mask.test(sublayer), worker))
      return error;
  }
  return Error::success();
}

const HostTensor *StagedModel::getResult(const State &state, unsigned i) const {
  return results[i] ? state.values[*results[i]].get() : nullptr;
}

const HostTensor *StagedModel::getResidual(const State &state,
                                           unsigned i) const {
  return state.values[sublayers[i].residual].get();
}

const HostTensor *StagedModel::getHidden(const State &state, unsigned i) const {
  return state.values[sublayers[i].hidden].get();
}
