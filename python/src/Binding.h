//===- Binding.h - Shared by the files of the extension ---------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_PYTHON_BINDING_H
#define FFN_MLIR_PYTHON_BINDING_H

#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "ffn-mlir/Support/Npy.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include <exception>
#include <memory>
#include <mutex>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <string>
#include <utility>
#include <vector>

/// Severity and text of each message, as the Python side takes them.
using DiagnosticList = std::vector<std::pair<std::string, std::string>>;

/// Becomes ffn_mlir.Error on the Python side.
struct CompilerError : std::exception {
  DiagnosticList diagnostics;
  std::string text;

  CompilerError() = default;
  /// A failure of which `message` is the only diagnostic.
  explicit CompilerError(std::string message) : text(std::move(message)) {
    diagnostics.emplace_back("error", text);
  }
  const char *what() const noexcept override { return text.c_str(); }
};

/// A module and the context it lives in.
struct Module {
  std::shared_ptr<mlir::MLIRContext> context;
  mlir::OwningOpRef<mlir::ModuleOp> op;
};

/// Throws the first error that was collected, or `otherwise`.
[[noreturn]] void raise(const mlir::ffn::DiagnosticPrinter &collector,
                        const std::string &otherwise,
                        llvm::StringRef code = {});

/// Names come out of a file and need not be UTF-8.
inline nanobind::object toText(const std::string &bytes) {
  nanobind::object text = nanobind::steal(PyUnicode_DecodeUTF8(
      bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "backslashreplace"));
  if (!text.is_valid())
    nanobind::raise_python_error();
  return text;
}

DiagnosticList listDiagnostics(const mlir::ffn::DiagnosticPrinter &collector);

using HostArray =
    nanobind::ndarray<nanobind::ro, nanobind::c_contig, nanobind::device::cpu>;
/// A copy; `where` names the array in the error.
mlir::ffn::NpyArray toArray(const HostArray &source, const std::string &where);
/// A new NumPy array.
nanobind::object fromArray(const mlir::ffn::NpyArray &array);

/// Linking in the process uses state of the process: one at a time.
std::mutex &getCompileMutex();

/// Comparisons of compiled models on data.
void bindComparison(nanobind::module_ &m);
/// Native code.
void bindCompiler(nanobind::module_ &m);
/// The float64 reference interpreter.
void bindInterpreter(nanobind::module_ &m);
/// Profiles: making and reading them.
void bindProfile(nanobind::module_ &m);
/// Models without some of their sublayers.
void bindSearch(nanobind::module_ &m);
/// Compiled models: loading, signature, sessions.
void bindRuntime(nanobind::module_ &m);

#endif // FFN_MLIR_PYTHON_BINDING_H
