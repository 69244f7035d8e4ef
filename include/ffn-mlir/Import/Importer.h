//===- Importer.h - ONNX file to IR -----------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_IMPORT_IMPORTER_H
#define FFN_MLIR_IMPORT_IMPORTER_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/StringRef.h"
#include <string>

namespace mlir::ffn {

struct ImportOptions {
  bool strict = false;
  bool allowSymlinks = false;
  bool noSymlinks = false;
  bool allowHardlinks = false;
  bool useMmap = true;
  bool verifyChecksums = true;
  /// Shape inference right after import (phase B checks declared types).
  bool inferShapes = true;
  std::string externalDataRoot;
};

/// Reads an ONNX file into a module with one function @main of onnx.node,
/// ffn.weight and, for local functions, onnx.function ops. No weight byte is
/// read. Null after coded diagnostics (design: trust contract of the importer).
OwningOpRef<ModuleOp> importONNX(llvm::StringRef path, MLIRContext *ctx,
                                 const ImportOptions &options = {});

/// Reads .onnx, .mlir or .mlirbc by content.
OwningOpRef<ModuleOp> loadModule(llvm::StringRef path, MLIRContext *ctx,
                                 const ImportOptions &options = {});

} // namespace mlir::ffn

#endif // FFN_MLIR_IMPORT_IMPORTER_H
