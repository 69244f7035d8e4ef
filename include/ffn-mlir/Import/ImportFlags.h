//===- ImportFlags.h - Command-line flags of the importer -------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_IMPORT_IMPORTFLAGS_H
#define FFN_MLIR_IMPORT_IMPORTFLAGS_H

#include "ffn-mlir/Import/Importer.h"

namespace llvm::cl {
class OptionCategory;
} // namespace llvm::cl

namespace mlir::ffn {

/// Registers one flag for each limit and policy (`--strict`, `--no-mmap`,
/// `--max-rank=N` ...). Call before parsing the command line.
void registerImportFlags();
/// Their category, for `--help`.
llvm::cl::OptionCategory &getImportFlagCategory();
/// What the flags say; the defaults if they were not registered.
ImportOptions getImportOptionsFromFlags();

} // namespace mlir::ffn

#endif // FFN_MLIR_IMPORT_IMPORTFLAGS_H
