//===- Compile.h - A model to a native artefact -----------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_PIPELINES_COMPILE_H
#define FFN_MLIR_PIPELINES_COMPILE_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Support/LLVM.h"
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace mlir::ffn {

enum class EmitKind {
  SharedLibrary, // the artefact
  Executable,    // the same with a main that takes .npy files
  Object,        // code and weights in one object, without the runtime
  LLVMIR,        // optimised LLVM IR as text
  Linalg         // linalg on tensors, as text
};

/// "so", "exe", "obj", "llvm", "linalg"; none for anything else.
std::optional<EmitKind> parseEmitKind(StringRef name);

struct CompileOptions {
  EmitKind emit = EmitKind::SharedLibrary;
  /// "native", "avx2" or "avx512".
  std::string cpu = "native";
  unsigned optLevel = 3;
  /// Off: every operation is lowered as plain loops.
  bool useKernels = true;
  /// Weights beyond this lie in a file beside the artefact.
  uint64_t maxEmbeddedWeights = uint64_t(1) << 30;
  /// Threads of the packer; 0: one for each core.
  unsigned threads = 0;
};

/// The dialects that `compileModule` loads into the context. A pass that
/// compiles names them as its own.
void registerCompileDialects(DialectRegistry &registry);

/// Compiles @main of a model module (onnx.node, ffn ops, ffn.weight), which is
/// left as it is, to `path`. The file appears under its name only when it is
/// complete. Two compiles of the same model give the same bytes. Fails after
/// coded diagnostics; nothing is written then.
///
/// Linking resets every llvm::cl option of the process to its default: a tool
/// that needs its flags afterwards copies them before.
LogicalResult compileModule(ModuleOp module, const CompileOptions &options,
                            StringRef path);

/// Puts a copy of `made`, a library without a file of weights that
/// `compileModule` has made of `module`, where it would have written: whole or
/// not at all, and with the same errors.
LogicalResult adoptArtefact(ModuleOp module, StringRef made,
                            const CompileOptions &options, StringRef path);

} // namespace mlir::ffn

#endif // FFN_MLIR_PIPELINES_COMPILE_H
