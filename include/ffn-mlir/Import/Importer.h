//===- Importer.h - ONNX file to IR -----------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_IMPORT_IMPORTER_H
#define FFN_MLIR_IMPORT_IMPORTER_H

#include "ffn-mlir/Import/ReadOptions.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace mlir::ffn {

/// Limits and policies of the reader, and what is done after it.
struct ImportOptions : ReadOptions {
  /// Shape inference right after import, which checks declared types too.
  bool inferShapes = true;
};

/// Reads an ONNX file into a module with one function @main of onnx.node and
/// ffn.weight ops and, for local functions, onnx.function ops. No weight byte
/// is read, except constants of at most 64 bytes. Null after coded diagnostics
/// at the context. The files stay open in the context's WeightStore, whose
/// base folder becomes that of the model.
///
/// Module attribute `onnx.model` holds what belongs to the file as a whole:
/// ir_version, opset_imports (dictionary, "ai.onnx" is the default domain),
/// graph_name and, where present, producer_name, producer_version, domain,
/// model_version, doc_string, metadata, unknown, graph_doc_string,
/// graph_metadata, graph_unknown, quantization, inputs (names of all graph
/// inputs, if some are initializers).
OwningOpRef<ModuleOp> importONNX(llvm::StringRef path, MLIRContext *ctx,
                                 const ImportOptions &options = {});

/// The same for bytes in memory, which must outlive the context. `name` stands
/// for the path; external data is looked for in its folder.
OwningOpRef<ModuleOp> importONNXBytes(llvm::ArrayRef<uint8_t> bytes,
                                      llvm::StringRef name, MLIRContext *ctx,
                                      const ImportOptions &options = {});

/// Dense elements of packed little-endian bytes of any element type; null
/// where the type has no dense form or the size is wrong.
DenseElementsAttr makeDenseElements(RankedTensorType type,
                                    llvm::ArrayRef<uint8_t> bytes);

enum class ModelFormat { ONNX, Text, Bytecode };

/// By content: bytecode has its magic number; text is valid UTF-8 without
/// control characters in its first bytes; all else is ONNX.
ModelFormat detectModelFormat(llvm::ArrayRef<uint8_t> head);

/// The importer's checks of nodes (codes I401 to I505) on a module that a
/// person may have written or edited; nothing is changed. Habits of exporters
/// are accepted in silence, or errors where `options.strict`.
llvm::LogicalResult verifyParsedModule(ModuleOp module,
                                       const ImportOptions &options = {});

/// Reads .onnx, .mlir or .mlirbc by content; nodes of all of them pass the same
/// checks. `weightsDir` overrides the folder that `ffn.file` paths of .mlir and
/// .mlirbc are relative to.
OwningOpRef<ModuleOp> loadModule(llvm::StringRef path, MLIRContext *ctx,
                                 const ImportOptions &options = {},
                                 llvm::StringRef weightsDir = {});

/// Rewrites the relative paths of `ffn.file` ops that resolve against `from`
/// so that they resolve against `to`: for a module that is about to be written
/// into another folder. Empty stands for the current folder.
void rebaseFilePaths(ModuleOp module, llvm::StringRef from, llvm::StringRef to);

/// Relative path of folder `to` as seen from folder `from`; empty if they are
/// the same. Both may be relative to the current folder, which is "".
std::string getRelativePath(llvm::StringRef from, llvm::StringRef to);

/// Version of `domain` ("" is ai.onnx) that the model of `op` imports; 0 if it
/// does not import it.
int64_t getImportedOpset(Operation *op, llvm::StringRef domain);

} // namespace mlir::ffn

#endif // FFN_MLIR_IMPORT_IMPORTER_H
