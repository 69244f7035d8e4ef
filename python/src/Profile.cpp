//===- Profile.cpp - Python binding of profiles ---------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Profile/Profile.h"
#include "Binding.h"
#include "ffn-mlir/Profile/Collect.h"
#include "ffn-mlir/Search/StagedModel.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;
using namespace mlir;
using namespace mlir::ffn;

namespace {

[[noreturn]] void throwError(llvm::Error error) {
  throw CompilerError(llvm::toString(std::move(error)));
}

template <typename T> T check(llvm::Expected<T> value) {
  if (!value)
    throwError(value.takeError());
  return std::move(*value);
}

std::string print(const llvm::json::Value &value) {
  std::string text;
  llvm::raw_string_ostream(text) << value;
  return text;
}

/// Samples as dicts of arrays.
CalibrationSet takeSamples(const ModelSignature &signature,
                           const nb::list &samples) {
  std::vector<std::map<std::string, NpyArray>> arrays;
  for (size_t k = 0; k < samples.size(); ++k) {
    std::string where = "sample " + std::to_string(k);
    nb::dict dict;
    if (!nb::try_cast(samples[k], dict))
      throw CompilerError(where + " is no dict of arrays by name of the input "
                                  "[FFN-D208]");
    arrays.emplace_back();
    for (auto [key, value] : dict) {
      std::string name;
      HostArray array;
      if (!nb::try_cast(key, name) || !nb::try_cast(value, array))
        throw CompilerError(where + ": '" + nb::str(key).c_str() +
                            "' is no row-major array of numbers [FFN-D208]");
      arrays.back().emplace(name, toArray(array, where));
    }
  }
  return check(makeCalibrationSet(signature.inputs, arrays));
}

struct ProfileArguments {
  std::string data, tokenizer, evaluation, output, probes, rewrite, cpu;
  std::vector<std::string> passes;
  unsigned samples, length, holdOut, threads, optLevel;
  uint64_t seed, maxMemory;
  bool restart;
};

std::string collect(Module &module, const nb::object &samples,
                    const ProfileArguments &given, const nb::object &progress) {
  DiagnosticPrinter collector(module.context.get(), "", nullptr);
  CollectOptions options;
  options.request = getDefaultProbes();
  if (!given.probes.empty() || !given.passes.empty())
    options.request = {};
  auto merge = [&](const ProbeRequest &request) {
    if (llvm::Error error = options.request.merge(request))
      throwError(std::move(error));
  };
  if (!given.probes.empty())
    merge(check(parseProbes(given.probes)));
  for (const std::string &text : given.passes)
    merge(check(parseProbesFor(text)));
  options.output = given.output;
  options.cpu = given.cpu;
  options.optLevel = given.optLevel;
  options.threads = given.threads;
  options.maxMemory = given.maxMemory;
  options.rewrite = given.rewrite;
  options.restart = given.restart;
  options.calibration = {given.data,   given.tokenizer, given.samples,
                         given.length, given.seed,      given.holdOut};
  OwningOpRef<ModuleOp> copy = module.op->clone();
  PassManager manager(module.context.get(), ModuleOp::getOperationName());
  if (failed(parsePassPipeline("ffn-raise", manager)) ||
      failed(manager.run(*copy)))
    raise(collector, "the model cannot be raised");
  ModelSignature signature = getModelSignature(*copy);
  CalibrationSet set;
  nb::list list;
  if (nb::try_cast(samples, list))
    set = takeSamples(signature, list);
  else
    set = check(loadCalibrationSet(signature.inputs, signature.outputs,
                                   options.calibration));
  if (!given.evaluation.empty()) {
    CalibrationOptions other = options.calibration;
    other.data = given.evaluation;
    if (llvm::Error error =
            checkDisjoint(set, signature.inputs, signature.outputs, other))
      throwError(std::move(error));
  }
  bool threw = false;
  options.onProgress = [&](const CollectOptions::Progress &made) {
    nb::gil_scoped_acquire acquire;
    if (progress.is_none() || threw)
      return;
    PyObject *result =
        PyObject_CallFunction(progress.ptr(), "IIsd", made.done, made.total,
                              made.layer.c_str(), made.secondsLeft);
    threw = result == nullptr;
    Py_XDECREF(result);
  };
  options.isCancelled = [&] {
    nb::gil_scoped_acquire acquire;
    threw |= PyErr_CheckSignals() != 0;
    return threw;
  };
  CollectReport made;
  CollectStatus status;
  {
    nb::gil_scoped_release release;
    std::lock_guard<std::mutex> lock(getCompileMutex());
    status = collectProfile(*copy, set, options, made);
  }
  if (threw || PyErr_Occurred())
    nb::raise_python_error();
  if (status != CollectStatus::Done)
    raise(collector, given.output + ": the profile cannot be made");
  return print(llvm::json::Object{
      {"output", llvm::json::fixUTF8(given.output)},
      {"samples", static_cast<int64_t>(made.samples)},
      {"tokens", static_cast<int64_t>(made.tokens)},
      {"bytes", static_cast<int64_t>(made.bytes)},
      {"stages", made.stages},
      {"resumed_stages", made.resumed},
      {"compile_seconds", made.compileSeconds},
      {"run_seconds", made.runSeconds},
      {"add_seconds", made.addSeconds},
      {"store_seconds", made.storeSeconds},
      {"peak_memory", static_cast<int64_t>(made.peakMemory)}});
}

/// An open profile.
struct OpenProfile {
  std::unique_ptr<Profile> profile;
  explicit OpenProfile(const std::string &path)
      : profile(check(Profile::open(path))) {}

  std::string header() const {
    return print(llvm::json::Object(profile->getHeader()));
  }
  nb::list names() const {
    nb::list list;
    for (const SafetensorsEntry &entry : profile->getFile().getEntries())
      list.append(toText(entry.name));
    return list;
  }
  nb::object array(const std::string &name) const {
    SafetensorsFile &file = const_cast<SafetensorsFile &>(profile->getFile());
    const SafetensorsEntry *entry = file.find(name);
    if (!entry)
      throw CompilerError("the profile has no '" + name + "' [FFN-D105]");
    return fromArray(check(file.readArray(*entry)));
  }
  void checkModel(Module &module) const {
    DiagnosticPrinter collector(module.context.get(), "", nullptr);
    if (failed(profile->checkModel(*module.op)))
      raise(collector, "the profile was made of another model");
  }
};

} // namespace

void bindProfile(nb::module_ &m) {
  m.def(
      "profile",
      [](Module &module, const nb::object &samples, const std::string &data,
         const std::string &tokenizer, const std::string &evaluation,
         const std::string &output, const std::string &probes,
         const std::vector<std::string> &passes, const std::string &rewrite,
         const std::string &cpu, unsigned count, unsigned length,
         unsigned holdOut, unsigned threads, uint64_t seed, uint64_t maxMemory,
         bool restart, unsigned optLevel, const nb::object &progress) {
        return collect(module, samples,
                       {data, tokenizer, evaluation, output, probes, rewrite,
                        cpu, passes, count, length, holdOut, threads, optLevel,
                        seed, maxMemory, restart},
                       progress);
      },
      nb::arg("module"), nb::arg("samples").none(), nb::arg("data"),
      nb::arg("tokenizer"), nb::arg("evaluation"), nb::arg("output"),
      nb::arg("probes"), nb::arg("passes"), nb::arg("rewrite"), nb::arg("cpu"),
      nb::arg("count"), nb::arg("length"), nb::arg("holdout"),
      nb::arg("threads"), nb::arg("seed"), nb::arg("max_memory"),
      nb::arg("restart"), nb::arg("opt_level"), nb::arg("progress").none());
  nb::class_<OpenProfile>(m, "Profile")
      .def(nb::init<const std::string &>(), nb::arg("path"))
      .def("header", &OpenProfile::header)
      .def("names", &OpenProfile::names)
      .def("array", &OpenProfile::array, nb::arg("name"))
      .def("check_model", &OpenProfile::checkModel, nb::arg("module"));
}
