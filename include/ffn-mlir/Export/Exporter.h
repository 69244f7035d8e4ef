//===- Exporter.h - IR to ONNX file -----------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Codes of what cannot be written:
//   E200  there is no function to export, or it has no plain body
//   E201  an operation has no ONNX form
//   E202  a type or an attribute has no ONNX form
//   E203  no opset fits the versions of all nodes
//   E204  a weight cannot be written
//   E205  the file would exceed protobuf's 2 GiB
//   O101, O102  the output file (WireWriter.h)
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_EXPORT_EXPORTER_H
#define FFN_MLIR_EXPORT_EXPORTER_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringRef.h"

namespace mlir::ffn {

struct ExportOptions {
  /// Weights above this many bytes in all go to `<output>.data`; 0 means
  /// always. A tensor of less than 1 KiB stays in the model even then.
  uint64_t externalDataThreshold = 1500ull << 20;
  /// Compute shapes and write them as value_info. Fails where they
  /// contradict each other. Otherwise types are written as they stand.
  bool inferShapes = true;
};

/// Writes the module as an ONNX file (temporary in the same folder, renamed).
/// ffn ops must have been decomposed (`ffn-decompose`); weight expressions are
/// materialised while streaming. Fails after a coded diagnostic (FFN-E...),
/// leaving no file. The module is not changed.
LogicalResult exportONNX(ModuleOp module, llvm::StringRef path,
                         const ExportOptions &options = {});

} // namespace mlir::ffn

#endif // FFN_MLIR_EXPORT_EXPORTER_H
