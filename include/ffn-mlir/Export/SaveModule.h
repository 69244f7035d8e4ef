//===- SaveModule.h - Modules with weights to disk --------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_EXPORT_SAVEMODULE_H
#define FFN_MLIR_EXPORT_SAVEMODULE_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringRef.h"
#include <string>

namespace mlir::ffn {

struct SaveOptions {
  /// --weights-out: file for the derived weights; empty: `<path>.weights`.
  std::string weightsOut;
  bool bytecode = false;
  /// Leave paths relative to the base folder of the context's WeightStore.
  bool keepPaths = false;
};

/// Derived weights up to this size become `dense<>` where the output is stdout
/// and no file was named for them.
inline constexpr uint64_t kStdoutWeightLimit = 64 << 10;

/// Makes `module` ready to be written to `path` ("-" is stdout): paths of
/// `ffn.file` ops become relative to its folder, derived weights that were
/// made since loading are written to a file of their own, named in @derived.
/// For stdout without `weightsOut` they become inline, or are an error
/// (FFN-W106) beyond `kStdoutWeightLimit`. The module is for writing only
/// afterwards: its paths no longer fit the context's WeightStore.
LogicalResult prepareToSave(ModuleOp module, llvm::StringRef path,
                            const SaveOptions &options);

/// Writes `module`, which stays as it is, as text or bytecode; a file appears
/// only when it is complete.
LogicalResult saveModule(ModuleOp module, llvm::StringRef path,
                         const SaveOptions &options = {});

} // namespace mlir::ffn

#endif // FFN_MLIR_EXPORT_SAVEMODULE_H
