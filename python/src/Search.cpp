//===- Search.cpp - Python binding of the evaluator and its searches ------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Binding.h"
#include "ffn-mlir/Search/LayerSearch.h"
#include "ffn-mlir/Search/SelectSublayers.h"
#include "llvm/ADT/STLExtras.h"
#include <mutex>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;
using namespace mlir;
using namespace mlir::ffn;

namespace {

using Mask = std::vector<unsigned>;

void check(llvm::Error error) {
  if (error)
    throw CompilerError(llvm::toString(std::move(error)));
}

template <typename T> T take(llvm::Expected<T> value) {
  if (!value)
    throw CompilerError(llvm::toString(value.takeError()));
  return std::move(*value);
}

/// A compiled model in pieces and the samples that variants are measured on.
/// One call at a time.
class Search {
public:
  Search(Module &module, const nb::list &samples, const std::string &cpu,
         unsigned threads) {
    ModelSignature signature = getModelSignature(*module.op);
    std::optional<unsigned> output = findLogits(signature.outputs);
    if (!output)
      throw CompilerError("the model has no output of floats to measure "
                          "[FFN-P111]");
    this->output = *output;
    std::vector<std::vector<HostTensor>> tensors;
    for (size_t i = 0; i < samples.size(); ++i)
      tensors.push_back(
          readSample(signature.inputs, nb::cast<nb::list>(samples[i]), i));
    std::vector<std::vector<int64_t>> targets =
        listNextTokens(signature, tensors);
    DiagnosticPrinter collector(module.context.get(), "", nullptr);
    StagedModelOptions options{cpu, threads};
    {
      nb::gil_scoped_release release;
      std::lock_guard<std::mutex> lock(getCompileMutex());
      model = StagedModel::compile(*module.op, options);
    }
    if (!model)
      raise(collector, "the model cannot be compiled");
    nb::gil_scoped_release release;
    evaluator = take(Evaluator::create(*model, std::move(tensors), *output));
    if (!targets.empty())
      evaluator->setTargets(std::move(targets));
  }

  void setTargets(std::vector<std::vector<int64_t>> given) {
    if (given.size() != evaluator->getNumSamples())
      throw CompilerError("targets for " + std::to_string(given.size()) +
                          " samples given, there are " +
                          std::to_string(evaluator->getNumSamples()) +
                          " [FFN-P111]");
    evaluator->setTargets(std::move(given));
  }

  nb::list getSublayers() const {
    nb::list list;
    for (const StagedSublayer &sublayer : model->getSublayers()) {
      nb::list names, kinds;
      for (const std::string &name : sublayer.names)
        names.append(toText(name));
      for (SublayerKind kind : sublayer.kinds)
        kinds.append(toText(stringifySublayerKind(kind).str()));
      list.append(nb::make_tuple(nb::tuple(names), nb::tuple(kinds),
                                 sublayer.block, toText(sublayer.fixed)));
    }
    return list;
  }

  std::vector<double> measure(const std::vector<Mask> &masks,
                              const std::string &metric) {
    LogitMetric parsed = parseMetric(metric);
    std::vector<llvm::BitVector> bits;
    for (const Mask &mask : masks)
      bits.push_back(toBits(mask));
    nb::gil_scoped_release release;
    return take(evaluator->measure(bits, parsed));
  }

  /// The logits of a sample without some sublayers, from the shared values on
  /// or from the beginning.
  nb::object run(size_t sample, const Mask &mask, bool restart) {
    if (sample >= evaluator->getNumSamples())
      throw CompilerError("there is no sample " + std::to_string(sample) +
                          " [FFN-P111]");
    llvm::BitVector bits = toBits(mask);
    StagedModel::State state = evaluator->getOriginal(sample);
    int first = bits.find_first();
    unsigned stage =
        !restart    ? 0
        : first < 0 ? model->getNumStages()
                    : model->getSublayers()[static_cast<unsigned>(first)].stage;
    {
      nb::gil_scoped_release release;
      check(model->run(state, bits, stage, 0));
    }
    return fromArray(model->getResult(state, output)->toNpy());
  }

  nb::tuple search(const std::string &method, const std::string &metric,
                   unsigned count, const std::vector<std::string> &kinds,
                   double protect, bool wholeBlocks, uint64_t seed,
                   unsigned maxEvaluations) {
    LayerSearchOptions options;
    std::optional<LayerMethod> parsed = parseLayerMethod(method);
    if (!parsed)
      throw CompilerError("'" + method + "' is no method [FFN-P111]");
    options.method = *parsed;
    options.metric = parseMetric(metric);
    options.budget = count;
    for (const std::string &name : kinds) {
      std::optional<SublayerKind> kind = symbolizeSublayerKind(name);
      if (!kind)
        throw CompilerError("'" + name + "' is no kind of sublayer [FFN-P111]");
      options.kinds.push_back(*kind);
    }
    options.protect = protect;
    options.wholeBlocks = wholeBlocks;
    options.seed = seed;
    options.maxEvaluations = maxEvaluations;
    LayerSearchResult found = [&] {
      nb::gil_scoped_release release;
      return take(searchLayers(*evaluator, options, [](const LayerStep &) {}));
    }();
    nb::list steps;
    for (const LayerStep &step : found.steps)
      steps.append(nb::make_tuple(step.sublayer, step.score));
    return nb::make_tuple(steps, found.distance, found.evaluations);
  }

private:
  static std::vector<HostTensor>
  readSample(llvm::ArrayRef<Artefact::Value> inputs, const nb::list &arrays,
             size_t index) {
    std::string where = "sample " + std::to_string(index);
    if (arrays.size() != inputs.size())
      throw CompilerError(where + " has " + std::to_string(arrays.size()) +
                          " inputs, the model has " +
                          std::to_string(inputs.size()) + " [FFN-R400]");
    std::vector<HostTensor> tensors(inputs.size());
    for (auto [i, value] : llvm::enumerate(inputs)) {
      std::string name = where + ", input '" + value.name + "'";
      HostArray array;
      if (!nb::try_cast(arrays[i], array))
        throw CompilerError(name + " is no tensor [FFN-R400]");
      check(tensors[i].assign(toArray(array, name), value.dtype, name));
    }
    return tensors;
  }

  LogitMetric parseMetric(const std::string &name) const {
    std::optional<LogitMetric> metric = parseLogitMetric(name);
    if (!metric)
      throw CompilerError("'" + name + "' is no metric [FFN-P111]");
    return *metric;
  }

  llvm::BitVector toBits(const Mask &mask) const {
    llvm::BitVector bits = evaluator->none();
    for (unsigned i : mask) {
      if (i >= bits.size() || !model->getSublayers()[i].fixed.empty())
        throw CompilerError("sublayer " + std::to_string(i) +
                            " is none to leave out [FFN-P111]");
      bits.set(i);
    }
    return bits;
  }

  std::unique_ptr<StagedModel> model;
  std::unique_ptr<Evaluator> evaluator;
  unsigned output = 0;
};

} // namespace

void bindSearch(nb::module_ &m) {
  nb::class_<Search>(m, "Search")
      .def(
          nb::init<Module &, const nb::list &, const std::string &, unsigned>(),
          nb::arg("module"), nb::arg("samples"), nb::arg("cpu"),
          nb::arg("threads"))
      .def("set_targets", &Search::setTargets, nb::arg("targets"))
      .def("sublayers", &Search::getSublayers)
      .def("measure", &Search::measure, nb::arg("masks"), nb::arg("metric"))
      .def("run", &Search::run, nb::arg("sample"), nb::arg("mask"),
           nb::arg("restart"))
      .def("search", &Search::search, nb::arg("method"), nb::arg("metric"),
           nb::arg("count"), nb::arg("kinds"), nb::arg("protect"),
           nb::arg("whole_blocks"), nb::arg("seed"), nb::arg("evaluations"));
}
