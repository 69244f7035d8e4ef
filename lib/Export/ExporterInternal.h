//===- ExporterInternal.h - Turns IR into messages --------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_EXPORT_EXPORTERINTERNAL_H
#define FFN_MLIR_LIB_EXPORT_EXPORTERINTERNAL_H

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "ffn-mlir/Export/Exporter.h"
#include "ffn-mlir/Export/WireWriter.h"
#include "ffn-mlir/Ops/OpTable.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Path.h"
#include <map>

namespace mlir::ffn {

/// Names of the values of a graph; a subgraph sees those around it.
class NameScope {
public:
  explicit NameScope(const NameScope *parent = nullptr) : parent(parent) {}

  /// Takes `name` if it is free here and around, else a numbered variant.
  /// An empty name starts as "v".
  std::string claim(StringRef name);
  bool isTaken(StringRef name) const;
  /// Takes `name` even if a scope around has it, unless it is among `needed`,
  /// taken here already, or empty.
  bool claimHiding(StringRef name, const llvm::StringSet<> &needed);

private:
  const NameScope *parent;
  llvm::StringSet<> taken;
  /// Next number to try for a name, so that many equal hints stay linear.
  llvm::StringMap<unsigned> next;
};

/// Field numbers of messages that are written in several places.
namespace field {
enum Graph : uint32_t {
  GraphNode = 1,
  GraphName = 2,
  GraphInitializer = 5,
  GraphDoc = 10,
  GraphInput = 11,
  GraphOutput = 12,
  GraphValueInfo = 13,
  GraphQuantization = 14,
  GraphSparseInitializer = 15,
  GraphMetadata = 16,
};
} // namespace field

class ModelExporter {
public:
  ModelExporter(ModuleOp module, StringRef path, const ExportOptions &options);

  LogicalResult run();
  /// Entry i of a list of argument or result attributes; null if none.
  static DictionaryAttr getEntry(ArrayAttr list, unsigned i);

private:
  /// What kind of list of nodes is being written.
  enum class ScopeKind { Main, Subgraph, Function };
  struct Scope {
    ScopeKind kind;
    NameScope names;
    /// Identity nodes that give a value its second name: (value, name).
    SmallVector<std::pair<Value, std::string>> copies;
    /// Names of the outputs.
    SmallVector<std::string> outputs;
    Scope(ScopeKind kind, const NameScope *parent)
        : kind(kind), names(parent) {}
  };

  // Exporter.cpp
  LogicalResult findMain();
  LogicalResult writeModel();
  LogicalResult writeMainGraph();
  LogicalResult writeFunction(onnx::FunctionOp function);
  LogicalResult writeSubgraph(Region &region, StringRef name,
                              const Scope &parent, uint32_t fieldNumber);
  LogicalResult writeNodes(Block &block, Scope &scope, uint32_t fieldNumber);
  LogicalResult writeNode(onnx::NodeOp node, const Scope &scope,
                          uint32_t fieldNumber);
  LogicalResult writeInitializers(Block &block, Scope &scope);
  void writeValueInfos(Block &block, const Scope &scope, uint32_t fieldNumber);

  // ExporterNames.cpp
  /// Names of all values of `block`; outputs first, since theirs are fixed.
  void nameValues(Block &block, Scope &scope, ArrayAttr args,
                  ArrayAttr results);
  /// The name that the value had in its file; empty if unknown.
  static StringRef getHint(Value value);
  /// The opsets to import for the nodes of `body`, starting from `imports`.
  LogicalResult chooseOpsets(Region &body, DictionaryAttr imports,
                             std::map<std::string, int64_t> &versions);
  LogicalResult chooseOpset(StringRef domain, int64_t imported,
                            ArrayRef<onnx::NodeOp> nodes, int64_t &version);
  void writeOpsets(const std::map<std::string, int64_t> &versions,
                   uint32_t fieldNumber);

  // ExporterProto.cpp
  /// Extra fields of a message by the attributes `prefix` + doc_string ...
  void writeRareFields(DictionaryAttr attrs, StringRef prefix, uint32_t doc,
                       uint32_t metadata);
  void writeQuantization(ArrayAttr annotations);
  void writePairs(uint32_t fieldNumber, Attribute pairs);
  /// `op` is the node, or the function whose default value this is.
  LogicalResult writeAttribute(Operation *op, StringRef name, Attribute value,
                               const Scope &scope, uint32_t fieldNumber);
  /// A TensorProto of a span or of dense elements.
  LogicalResult writeTensor(Operation *user, Attribute value, StringRef name,
                            uint32_t fieldNumber, DictionaryAttr rare = {});
  LogicalResult writeSparse(Operation *user, onnx::SparseAttr sparse,
                            StringRef name, uint32_t fieldNumber,
                            ArrayAttr infos = {}, unsigned first = 0);
  LogicalResult writePayload(Operation *user, TypedAttr value, uint64_t size);
  /// A ValueInfoProto; nothing but the name for an unknown type.
  void writeValueInfo(uint32_t fieldNumber, StringRef name, Type type,
                      Value value, DictionaryAttr info);
  void writeType(uint32_t fieldNumber, Type type, ArrayRef<std::string> dims,
                 DictionaryAttr info, bool isOuter = true);
  /// Names or sizes of the dims of a value as far as they are known.
  SmallVector<std::string> getDimNames(Type type, Value value,
                                       DictionaryAttr info);

  ModuleOp module;
  std::string path;
  const ExportOptions &options;
  MLIRContext *ctx;
  CodedErrors errors;
  DictionaryAttr model;
  func::FuncOp main;
  int64_t irVersion = 10;
  llvm::DenseMap<Value, std::string> names;
  std::optional<SymbolicShapeAnalysis> shapes;
  /// External data is in use; its file is filled while the model is built.
  bool isExternal = false;
  ExternalDataWriter externalData;
  std::string externalPath;
  WireWriter writer;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_EXPORT_EXPORTERINTERNAL_H
