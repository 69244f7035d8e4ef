//===- Binding.h - Shared by the files of the extension ---------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_PYTHON_BINDING_H
#define FFN_MLIR_PYTHON_BINDING_H

#include <exception>
#include <nanobind/nanobind.h>
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

/// Compiled models: loading, signature, sessions.
void bindRuntime(nanobind::module_ &m);

#endif // FFN_MLIR_PYTHON_BINDING_H
