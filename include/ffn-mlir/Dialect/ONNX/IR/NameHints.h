//===- NameHints.h - Names that no comparison sees --------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_ONNX_IR_NAMEHINTS_H
#define FFN_MLIR_DIALECT_ONNX_IR_NAMEHINTS_H

#include "mlir/Bytecode/BytecodeImplementation.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/OperationSupport.h"
#include "llvm/ADT/SmallVector.h"
#include <string>

namespace mlir::onnx {

/// The node's name and the names of its outputs, as the file gives them. They
/// are written back on export but carry no meaning: all hints are equal, so
/// that two nodes that differ only in names are one to CSE.
struct NameHints {
  std::string node;
  llvm::SmallVector<std::string, 1> outputs;
  /// What else the file says without meaning anything, null if nothing:
  /// doc_string, metadata, and by attribute: attr_docs, tensor_names, tensors
  /// (all that tensors say, where it is more than one name), types.
  DictionaryAttr comments;

  bool operator==(const NameHints &) const { return true; }
  bool operator!=(const NameHints &) const { return false; }
  bool empty() const { return node.empty() && outputs.empty() && !comments; }
  llvm::StringRef output(unsigned i) const {
    return i < outputs.size() ? llvm::StringRef(outputs[i]) : llvm::StringRef();
  }
};

Attribute convertToAttribute(MLIRContext *ctx, const NameHints &names);
LogicalResult
convertFromAttribute(NameHints &names, Attribute attr,
                     llvm::function_ref<InFlightDiagnostic()> emitError);
LogicalResult readFromMlirBytecode(DialectBytecodeReader &reader,
                                   NameHints &names);
void writeToMlirBytecode(DialectBytecodeWriter &writer, const NameHints &names);

} // namespace mlir::onnx

#endif // FFN_MLIR_DIALECT_ONNX_IR_NAMEHINTS_H
