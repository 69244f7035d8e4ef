//===- Compile.cpp - Python binding of the native compiler ----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Pipelines/Compile.h"
#include "Binding.h"
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;
using namespace mlir;

std::mutex &getCompileMutex() {
  static std::mutex one;
  return one;
}

static DiagnosticList compileModule(Module &module, const std::string &path,
                                    const std::string &emit,
                                    const std::string &cpu, unsigned optLevel,
                                    bool kernels, uint64_t maxEmbeddedWeights) {
  ffn::CompileOptions options;
  std::optional<ffn::EmitKind> kind = ffn::parseEmitKind(emit);
  if (!kind)
    throw CompilerError("emit: expected so, exe, obj, llvm or linalg, not '" +
                        emit + "'");
  options.emit = *kind;
  options.cpu = cpu;
  options.optLevel = optLevel;
  options.useKernels = kernels;
  options.maxEmbeddedWeights = maxEmbeddedWeights;
  ffn::DiagnosticPrinter collector(module.context.get(), "", nullptr);
  LogicalResult result = success();
  {
    nb::gil_scoped_release release;
    std::lock_guard<std::mutex> lock(getCompileMutex());
    result = ffn::compileModule(*module.op, options, path);
  }
  if (failed(result))
    raise(collector, path + ": the model cannot be compiled");
  return listDiagnostics(collector);
}

void bindCompiler(nb::module_ &m) {
  m.def("compile", &compileModule, nb::arg("module"), nb::arg("path"),
        nb::arg("emit"), nb::arg("cpu"), nb::arg("opt_level"),
        nb::arg("kernels"), nb::arg("max_embedded_weights"));
}
