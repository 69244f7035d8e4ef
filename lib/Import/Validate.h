//===- Validate.h - Parts of Phase A ----------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_IMPORT_VALIDATE_H
#define FFN_MLIR_LIB_IMPORT_VALIDATE_H

#include "NameMap.h"
#include "ffn-mlir/Import/PhaseA.h"
#include <memory>

namespace mlir::ffn {

using llvm::ArrayRef;
using llvm::FailureOr;
using llvm::function_ref;
using llvm::LogicalResult;
using llvm::StringRef;
using llvm::Twine;

/// Lists of nodes with names of their own: the main graph, a subgraph or the
/// body of a function.
struct Body {
  ArrayRef<proto::NodeProto> nodes;
  /// The graph, or null for a function.
  const proto::GraphProto *graph = nullptr;
  const proto::FunctionProto *function = nullptr;
  const void *key() const {
    return graph ? static_cast<const void *>(graph) : function;
  }
};

/// State of the checks of one model.
struct PhaseA {
  PhaseA(const ModelFile &file, CheckedModel &result, CodedErrors &errors)
      : file(file), model(file.getModel()), options(file.getOptions()),
        limits(options.limits), result(result), errors(errors) {
    result.file = &file;
  }

  LogicalResult run();

  // ValidateModel.cpp
  void checkVersions();
  void readOpsets(ArrayRef<proto::OperatorSetIdProto> imports,
                  const Twine &where, OpsetMap &opsets);
  /// An operator needs its domain imported; habit (b) is handled here.
  void checkDomain(const proto::NodeProto &node, const Body &body,
                   function_ref<std::string()> where);
  void collectFunctions();
  void checkFunctionGraph();
  void checkName(StringRef name, const char *what,
                 function_ref<std::string()> where);
  /// A habit of exporters: a warning, or an error under --strict.
  void habit(StringRef code, const Twine &where, const Twine &what);

  // ValidateTypes.cpp
  /// `needed`: nothing else can tell the type, as for inputs of the model.
  void checkType(const proto::TypeProto *type, bool needed,
                 function_ref<std::string()> where);
  /// `functionAttributes`: what references may name, null outside of functions.
  void checkAttributes(ArrayRef<proto::AttributeProto> attributes,
                       const NameSet *functionAttributes,
                       function_ref<std::string()> where);

  // ValidateGraph.cpp
  /// Checks names, attributes, tensors and order of a body and of all graphs
  /// in it. `outer`: a graph whose values the body sees, too.
  void checkBody(const Body &body, const std::string &path,
                 const proto::GraphProto *outer = nullptr);

  // ValidateOrder.cpp
  /// Sorts the nodes of a body that are out of order; `dependencies[i]` are
  /// the nodes that node i needs. An error if there is a cycle.
  void sortNodes(const Body &body, const std::string &path,
                 ArrayRef<std::vector<uint32_t>> dependencies);

  const ModelFile &file;
  const proto::ModelProto &model;
  const ReadOptions &options;
  const ImportLimits &limits;
  CheckedModel &result;
  CodedErrors &errors;
  /// Calls of local functions, by caller; the main graph is null.
  llvm::DenseMap<const proto::FunctionProto *,
                 std::vector<const proto::FunctionProto *>>
      calls;
  /// Nodes in the body of a caller, subgraphs included.
  llvm::DenseMap<const proto::FunctionProto *, uint64_t> nodeCounts;
  uint64_t totalNodes = 0;
  /// A limit was passed: what follows would be noise.
  bool stopped = false;
  llvm::StringMap<bool> warnedDomains;
};

/// Key of a function in `CheckedModel::functions`.
std::string functionKey(StringRef domain, StringRef name, StringRef overload);
/// "domain:name" for messages.
std::string describeFunction(const proto::FunctionProto &function);
/// True if an operator of the default domain takes strings in some version.
bool takesStrings(StringRef op);

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_IMPORT_VALIDATE_H
