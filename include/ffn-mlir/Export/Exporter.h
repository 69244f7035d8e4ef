//===- Exporter.h - IR to ONNX file -----------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_EXPORT_EXPORTER_H
#define FFN_MLIR_EXPORT_EXPORTER_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringRef.h"

namespace mlir::ffn {

struct ExportOptions {
  /// Weights above this many bytes in all go to `<output>.data`; 0 means
  /// always.
  uint64_t externalDataThreshold = 1500ull << 20;
};

/// Writes the module as an ONNX file (temporary in the same folder, renamed).
/// ffn ops must have been decomposed (`ffn-decompose`); weight expressions are
/// materialised while streaming. Fails after a coded diagnostic (FFN-E...),
/// leaving no file.
LogicalResult exportONNX(ModuleOp module, llvm::StringRef path,
                         const ExportOptions &options = {});

} // namespace mlir::ffn

#endif // FFN_MLIR_EXPORT_EXPORTER_H
