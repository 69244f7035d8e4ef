//===- ImporterInternal.h - Turns checked messages into IR ------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_IMPORT_IMPORTERINTERNAL_H
#define FFN_MLIR_LIB_IMPORT_IMPORTERINTERNAL_H

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/Import/PhaseA.h"
#include "ffn-mlir/Import/TensorData.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"

namespace mlir::ffn {

/// Constants up to this many bytes (axes, shapes, scalars) are inline, so that
/// the text shows them; larger ones stay in the file.
inline constexpr uint64_t kInlineConstantBytes = 64;

/// Builds the module of one model that passed Phase A.
class ModelImporter {
public:
  ModelImporter(const CheckedModel &checked, MLIRContext *ctx,
                CodedErrors &errors);

  OwningOpRef<ModuleOp> run();

private:
  /// Values and declared types by name; a subgraph sees those around it.
  struct Scope {
    const Scope *parent = nullptr;
    const OpsetMap *opsets = nullptr;
    llvm::DenseMap<StringRef, Value> values;
    llvm::DenseMap<StringRef, const proto::TypeProto *> declared;

    Value lookup(StringRef name) const;
  };

  // Importer.cpp
  LogicalResult importMain();
  LogicalResult importFunction(const proto::FunctionProto &function);
  LogicalResult importSubgraph(const proto::GraphProto &graph, Region &region,
                               const Scope &parent, const Twine &where);
  LogicalResult importInitializers(const proto::GraphProto &graph, Scope &scope,
                                   const Twine &where);
  LogicalResult importNodes(ArrayRef<proto::NodeProto> nodes,
                            ArrayRef<uint32_t> order, Scope &scope,
                            StringRef where);
  LogicalResult importNode(const proto::NodeProto &node, uint64_t index,
                           Scope &scope, StringRef where);
  LogicalResult collectOutputs(const proto::GraphProto &graph,
                               const Scope &scope, const Twine &where,
                               SmallVectorImpl<Value> &values);
  /// The one `onnx.absent` of the current function.
  Value getAbsent();
  Location getLocation(StringRef name, const Twine &otherwise);
  FlatSymbolRefAttr getFileSymbol(const TensorData &data);
  void addFileOps();
  void setModelAttribute();

  // ImporterAttributes.cpp
  /// A span where the bytes lie in a file and are more than `inlineLimit`, else
  /// dense elements or a derived span; string elements for a string tensor.
  FailureOr<TypedAttr> importTensor(const proto::TensorProto &tensor,
                                    uint64_t inlineLimit, const Twine &where);
  FailureOr<Attribute> importTensorAttr(const proto::TensorProto &tensor,
                                        const Twine &where);
  FailureOr<Attribute> importSparseAttr(const proto::SparseTensorProto &sparse,
                                        const Twine &where);
  /// `graphs` collects the subgraphs in the order of the node's regions.
  FailureOr<Attribute>
  importAttribute(const proto::AttributeProto &attribute, const Twine &where,
                  SmallVectorImpl<const proto::GraphProto *> &graphs);
  FailureOr<DictionaryAttr>
  importAttributes(ArrayRef<proto::AttributeProto> attributes,
                   const Twine &where,
                   SmallVectorImpl<const proto::GraphProto *> &graphs);
  Attribute getStringPairs(ArrayRef<proto::StringStringEntryProto> entries);
  Attribute getUnknown(ArrayRef<StringRef> fields);
  Attribute getQuantization(ArrayRef<proto::TensorAnnotation> annotations);
  DictionaryAttr getComments(const proto::NodeProto &node);
  /// What attributes say without meaning anything: doc strings, names of
  /// tensors, names of sizes in types.
  void addAttributeComments(ArrayRef<proto::AttributeProto> attributes,
                            NamedAttrList &comments);
  /// doc_string, metadata and unknown fields of a message, as attributes whose
  /// names start with `prefix`.
  void addRareFields(const proto::MessageBase &message, StringRef prefix,
                     NamedAttrList &attrs);

  // ImporterTypes.cpp
  /// `!onnx.unknown` for a null or empty type.
  Type importType(const proto::TypeProto *type);
  /// Type of a value by the declaration in its scope, if there is one.
  Type getDeclaredType(const Scope &scope, StringRef name);
  /// Names of sizes and denotations of a type, which MLIR types cannot hold.
  void addTypeInfo(const proto::TypeProto &type, NamedAttrList &attrs);
  /// Name, dims and what else a ValueInfoProto says, as attributes of an
  /// argument or result.
  DictionaryAttr getValueInfo(const proto::ValueInfoProto &info);
  FailureOr<RankedTensorType> getTensorType(const proto::TensorProto &tensor,
                                            const Twine &where);

  const CheckedModel &checked;
  const ModelFile &file;
  const proto::ModelProto &model;
  MLIRContext *ctx;
  OpBuilder builder;
  CodedErrors &errors;
  Type unknownType;
  OwningOpRef<ModuleOp> module;
  /// Entry block of the function under construction and its absent value.
  Block *entry = nullptr;
  Value absent;
  /// Symbols of external files by location, and the files in order of use.
  llvm::DenseMap<StringRef, FlatSymbolRefAttr> fileSymbols;
  std::vector<std::pair<StringRef, std::shared_ptr<SafeFile>>> externalFiles;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_IMPORT_IMPORTERINTERNAL_H
