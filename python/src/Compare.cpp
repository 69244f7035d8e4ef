//===- Compare.cpp - Python binding of comparisons on data ----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Binding.h"
#include "ffn-mlir/Driver/Quality.h"
#include "ffn-mlir/Search/Bisect.h"
#include "ffn-mlir/Support/Json.h"
#include <map>
#include <mutex>
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>

namespace nb = nanobind;
using namespace mlir;

namespace {
template <typename T> T check(llvm::Expected<T> value) {
  if (value)
    return std::move(*value);
  throw CompilerError(llvm::toString(value.takeError()));
}

std::string print(llvm::json::Object object) {
  return ffn::printFiniteJSON(llvm::json::Value(std::move(object)));
}

std::string compareOnData(const ffn::EvalOptions &options,
                          const std::string &first, const std::string &second,
                          unsigned threads, double floor, double bound,
                          const std::map<std::string, double> &limits) {
  nb::gil_scoped_release release;
  ffn::EvalData data = check(ffn::EvalData::load(options));
  auto a = check(ffn::Artefact::load(first, threads));
  auto b = check(ffn::Artefact::load(second, threads));
  ffn::QualityReport report =
      check(ffn::compareOnData(*a, *b, data, {floor, bound}, [](size_t) {}));
  auto violations = check(ffn::findViolations(report, limits));
  llvm::json::Object result = report.toJSON();
  result["violations"] = ffn::toJSON(violations);
  result["equal"] = violations.empty();
  return print(std::move(result));
}

std::string bisect(const ffn::EvalOptions &options, Module &first,
                   Module &second, double tolerance, unsigned threads) {
  ffn::DiagnosticPrinter collectors[2] = {{first.context.get(), "", nullptr},
                                          {second.context.get(), "", nullptr}};
  std::string text, error;
  {
    nb::gil_scoped_release release;
    ffn::EvalData data = check(ffn::EvalData::load(options));
    // Both are raised, which must not be seen.
    OwningOpRef<ModuleOp> modules[2] = {first.op->clone(), second.op->clone()};
    std::lock_guard<std::mutex> lock(getCompileMutex());
    ffn::StagedModelOptions staged;
    staged.workers = threads;
    auto found = ffn::bisectModules(*modules[0], *modules[1], data, tolerance,
                                    staged, [](const auto &) {});
    if (found)
      text = print(found->toJSON());
    else
      error = llvm::toString(found.takeError());
  }
  for (ffn::DiagnosticPrinter &collector : collectors)
    if (!error.empty() && collector.getNumErrors())
      raise(collector, error);
  if (!error.empty())
    throw CompilerError(error);
  return text;
}
} // namespace

void bindComparison(nb::module_ &m) {
  nb::class_<ffn::EvalOptions>(m, "EvalOptions")
      .def(nb::init<>())
      .def_rw("data", &ffn::EvalOptions::data)
      .def_rw("tokenizer", &ffn::EvalOptions::tokenizer)
      .def_rw("bos", &ffn::EvalOptions::bos)
      .def_rw("window", &ffn::EvalOptions::window)
      .def_rw("stride", &ffn::EvalOptions::stride)
      .def_rw("whole_file", &ffn::EvalOptions::wholeFile)
      .def_rw("max_documents", &ffn::EvalOptions::maxDocuments)
      .def_rw("max_samples", &ffn::EvalOptions::maxSamples)
      .def_rw("labels", &ffn::EvalOptions::labels)
      .def_rw("batch", &ffn::EvalOptions::batch);
  m.def("compare_on_data", &compareOnData, nb::arg("options"), nb::arg("first"),
        nb::arg("second"), nb::arg("threads"), nb::arg("floor"),
        nb::arg("bound"), nb::arg("limits"));
  m.def("bisect", &bisect, nb::arg("options"), nb::arg("first"),
        nb::arg("second"), nb::arg("tolerance"), nb::arg("threads"));
}
