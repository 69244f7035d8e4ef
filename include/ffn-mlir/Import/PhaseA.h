//===- PhaseA.h - Checks of a model before any IR exists --------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Bytes, names, order and functions: all that can be judged on the messages
// alone. A model that passes can be turned into IR without meeting a duplicate
// name, an undefined value, a missing submessage, a cycle or a size that
// overflows. Attribute meaning, arity and shapes are judged later, on IR.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_IMPORT_PHASEA_H
#define FFN_MLIR_IMPORT_PHASEA_H

#include "ffn-mlir/Import/Wire.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

namespace mlir::ffn {

/// Domain to version; "ai.onnx" is "" here.
using OpsetMap = llvm::StringMap<int64_t>;

/// "" for "ai.onnx", else `domain`.
llvm::StringRef normalizeDomain(llvm::StringRef domain);

/// What Phase A found out and the importer needs.
class CheckedModel {
public:
  const ModelFile &getFile() const { return *file; }
  const proto::ModelProto &getModel() const { return file->getModel(); }

  /// Indices of the nodes in an order where every value is defined before it
  /// is used. Empty if the order of the file is one (the common case).
  llvm::ArrayRef<uint32_t> getNodeOrder(const proto::GraphProto &graph) const {
    return lookupOrder(&graph);
  }
  llvm::ArrayRef<uint32_t>
  getNodeOrder(const proto::FunctionProto &function) const {
    return lookupOrder(&function);
  }

  /// Versions of the domains of the model, with those domains added that
  /// nodes use without import (habit (b): version 1).
  const OpsetMap &getOpsets() const { return opsets; }
  /// Versions that hold inside a function.
  const OpsetMap &getOpsets(const proto::FunctionProto &function) const;
  /// Domains among `getOpsets` that no import names.
  llvm::ArrayRef<llvm::StringRef> getAssumedDomains() const {
    return assumedDomains;
  }

  /// The local function that `node` calls, or null.
  const proto::FunctionProto *
  lookupFunction(const proto::NodeProto &node) const;
  /// All local functions, callees before callers.
  llvm::ArrayRef<const proto::FunctionProto *> getFunctionOrder() const {
    return functionOrder;
  }
  /// Number of nodes of the main graph and its subgraphs after expansion of
  /// all functions.
  uint64_t getExpandedNodeCount() const { return expandedNodes; }

private:
  friend struct PhaseA;
  llvm::ArrayRef<uint32_t> lookupOrder(const void *scope) const {
    auto it = orders.find(scope);
    return it == orders.end() ? llvm::ArrayRef<uint32_t>()
                              : llvm::ArrayRef<uint32_t>(it->second);
  }

  const ModelFile *file = nullptr;
  llvm::DenseMap<const void *, std::vector<uint32_t>> orders;
  OpsetMap opsets;
  llvm::DenseMap<const proto::FunctionProto *, OpsetMap> functionOpsets;
  std::vector<llvm::StringRef> assumedDomains;
  llvm::StringMap<const proto::FunctionProto *> functions;
  std::vector<const proto::FunctionProto *> functionOrder;
  uint64_t expandedNodes = 0;
};

/// Runs all checks; null if there was an error. Warnings, and errors up to the
/// capacity of `errors`, are collected in the order of the file. `file` must
/// outlive the result.
std::unique_ptr<CheckedModel> checkModel(const ModelFile &file,
                                         CodedErrors &errors);

/// Where something is, for messages; text of trust.md's `<where>`.
/// "graph 'main', node 12 'fc1' (Gemm)"; unnamed things show their index only.
std::string describeNode(llvm::StringRef graphPath, uint64_t index,
                         const proto::NodeProto &node);
/// "graph 'main'" for the main graph; for a subgraph the node and attribute
/// that own it are part of `parent`.
std::string describeGraph(llvm::StringRef parent,
                          const proto::GraphProto &graph);

/// Typed access to the attributes of one node for checks of row 25. A getter
/// returns the value, or `fallback` if the attribute is absent; an attribute
/// of another kind is error I501 and sets `failed`.
class AttributeReader {
public:
  AttributeReader(llvm::ArrayRef<proto::AttributeProto> attributes,
                  std::string where, CodedErrors &errors)
      : attributes(attributes), where(std::move(where)), errors(errors) {}

  const proto::AttributeProto *find(llvm::StringRef name) const;
  bool has(llvm::StringRef name) const { return find(name) != nullptr; }
  int64_t getInt(llvm::StringRef name, int64_t fallback = 0);
  float getFloat(llvm::StringRef name, float fallback = 0);
  llvm::StringRef getString(llvm::StringRef name,
                            llvm::StringRef fallback = "");
  llvm::ArrayRef<int64_t> getInts(llvm::StringRef name,
                                  llvm::ArrayRef<int64_t> fallback = {});
  llvm::ArrayRef<float> getFloats(llvm::StringRef name);
  llvm::ArrayRef<llvm::StringRef> getStrings(llvm::StringRef name);
  const proto::TensorProto *getTensor(llvm::StringRef name);
  const proto::GraphProto *getGraph(llvm::StringRef name);
  bool failed() const { return bad; }

private:
  const proto::AttributeProto *get(llvm::StringRef name,
                                   proto::AttributeKind kind);

  llvm::ArrayRef<proto::AttributeProto> attributes;
  std::string where;
  CodedErrors &errors;
  bool bad = false;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_IMPORT_PHASEA_H
