//===- Extension.cpp - Python binding of the C++ API ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Thin: every function is one call of the C++ API with its diagnostics
// collected. Documentation and types are in ffn_mlir/__init__.py.
//
//===----------------------------------------------------------------------===//

#include "Binding.h"
#include "ffn-mlir/Driver/Inspect.h"
#include "ffn-mlir/Export/Exporter.h"
#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/InitAll.h"
#include "ffn-mlir/Pipelines/ParsePipeline.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"

#include <memory>
#include <mutex>
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;
using namespace mlir;

namespace {

const char *severityName(DiagnosticSeverity severity) {
  switch (severity) {
  case DiagnosticSeverity::Error:
    return "error";
  case DiagnosticSeverity::Warning:
    return "warning";
  case DiagnosticSeverity::Remark:
    return "remark";
  case DiagnosticSeverity::Note:
    return "note";
  }
  return "error";
}

std::shared_ptr<MLIRContext> makeContext() {
  static std::once_flag once;
  std::call_once(once, [] { ffn::registerAllPasses(); });
  DialectRegistry registry;
  ffn::registerAllDialects(registry);
  auto context = std::make_shared<MLIRContext>(registry);
  context->loadAllAvailableDialects();
  return context;
}

Module loadModule(const std::string &path, bool strict, bool allowSymlinks,
                  bool allowHardlinks) {
  Module module;
  module.context = makeContext();
  ffn::DiagnosticPrinter collector(module.context.get(), "", nullptr);
  ffn::ImportOptions options;
  options.strict = strict;
  options.files.allowSymlinks = allowSymlinks;
  options.files.allowHardlinks = allowHardlinks;
  {
    nb::gil_scoped_release release;
    module.op = ffn::loadModule(path, module.context.get(), options);
  }
  if (!module.op)
    raise(collector, path + ": cannot be read");
  return module;
}

Module parseModule(const std::string &text) {
  Module module;
  module.context = makeContext();
  ffn::DiagnosticPrinter collector(module.context.get(), "", nullptr);
  module.op = parseSourceString<ModuleOp>(text, module.context.get());
  if (!module.op)
    raise(collector, "the text is not a module", "FFN-I108");
  if (failed(ffn::verifyParsedModule(*module.op)))
    raise(collector, "the text holds a node that no model may have");
  return module;
}

std::string printModule(Module &module) {
  std::string text;
  llvm::raw_string_ostream os(text);
  module.op->print(os);
  return text;
}

/// Parses `text`; throws CompilerError.
OpPassManager parsePipeline(const std::string &text) {
  std::string error;
  FailureOr<OpPassManager> parsed = ffn::parsePipeline(text, error);
  if (succeeded(parsed))
    return *parsed;
  throw CompilerError(error);
}

/// The pipeline text in its full form; throws with a caret under `text`.
std::string checkPipeline(const std::string &text) {
  std::shared_ptr<MLIRContext> context = makeContext();
  OpPassManager parsed = parsePipeline(text);
  std::string printed;
  llvm::raw_string_ostream out(printed);
  parsed.printAsTextualPipeline(out);
  return printed;
}

/// A module of its own in the same context.
Module cloneModule(Module &module) {
  Module copy;
  copy.context = module.context;
  copy.op = module.op->clone();
  return copy;
}

DiagnosticList runPipeline(Module &module, const std::string &text) {
  OpPassManager parsed = parsePipeline(text);
  ffn::DiagnosticPrinter collector(module.context.get(), "", nullptr);
  PassManager manager(module.context.get(), parsed.getOpAnchorName());
  static_cast<OpPassManager &>(manager) = parsed;
  LogicalResult result = success();
  {
    nb::gil_scoped_release release;
    result = manager.run(*module.op);
  }
  if (failed(result))
    raise(collector, "the pipeline failed");
  return listDiagnostics(collector);
}

std::string inspect(Module &module) {
  ffn::DiagnosticPrinter collector(module.context.get(), "", nullptr);
  // Inspection raises the module; the caller's stays as it is.
  OwningOpRef<ModuleOp> copy = module.op->clone();
  llvm::json::Value result = nullptr;
  {
    nb::gil_scoped_release release;
    result = ffn::inspectModule(*copy);
  }
  if (result.getAsNull())
    raise(collector, "the model cannot be inspected");
  std::string text;
  llvm::raw_string_ostream os(text);
  os << result;
  return text;
}

void exportModule(Module &module, const std::string &path, bool externalData) {
  ffn::DiagnosticPrinter collector(module.context.get(), "", nullptr);
  ffn::ExportOptions options;
  if (externalData)
    options.externalDataThreshold = 0;
  LogicalResult result = success();
  {
    nb::gil_scoped_release release;
    result = ffn::exportONNX(*module.op, path, options);
  }
  if (failed(result))
    raise(collector, path + ": cannot be written");
}

} // namespace

DiagnosticList listDiagnostics(const ffn::DiagnosticPrinter &collector) {
  DiagnosticList list;
  for (const ffn::CollectedDiagnostic &entry : collector.getCollected()) {
    list.emplace_back(severityName(entry.severity), entry.message);
    for (const std::string &note : entry.notes)
      list.emplace_back("note", note);
  }
  return list;
}

void raise(const ffn::DiagnosticPrinter &collector,
           const std::string &otherwise, llvm::StringRef code) {
  CompilerError error;
  error.diagnostics = listDiagnostics(collector);
  // The first error that has a code: errors of MLIR itself have none.
  for (auto &[severity, text] : error.diagnostics)
    if (severity == "error" &&
        (error.text.empty() ||
         (ffn::findCode(error.text).empty() && !ffn::findCode(text).empty())))
      error.text = text;
  if (error.text.empty())
    error.text = otherwise;
  if (!code.empty() && ffn::findCode(error.text).empty())
    error.text += (" [" + code + "]").str();
  throw error;
}

NB_MODULE(_ffn_mlir, m) {
  nb::class_<Module>(m, "Module")
      .def("__str__", &printModule)
      .def("clone", &cloneModule)
      .def("run", &runPipeline, nb::arg("pipeline"))
      .def("inspect", &inspect)
      .def("export_onnx", &exportModule, nb::arg("path"),
           nb::arg("external_data"));
  m.def("load", &loadModule, nb::arg("path"), nb::arg("strict"),
        nb::arg("allow_symlinks"), nb::arg("allow_hardlinks"));
  m.def("parse", &parseModule, nb::arg("text"));
  m.def("check_pipeline", &checkPipeline, nb::arg("text"));
  bindComparison(m);
  bindCompiler(m);
  bindInterpreter(m);
  bindProfile(m);
  bindRuntime(m);
  bindSearch(m);
  nb::register_exception_translator(
      [](const std::exception_ptr &pointer, void *) {
        try {
          std::rethrow_exception(pointer);
        } catch (const CompilerError &error) {
          nb::object type = nb::module_::import_("ffn_mlir").attr("Error");
          nb::object value = type(error.text, error.diagnostics);
          PyErr_SetObject(type.ptr(), value.ptr());
        }
      });
}
