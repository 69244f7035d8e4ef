//===- LocalFunctions.h - Functions of a model ------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_OPS_LOCALFUNCTIONS_H
#define FFN_MLIR_OPS_LOCALFUNCTIONS_H

#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"

namespace mlir::ffn {

/// Local functions of a model by "domain::name:overload".
using FunctionMap = llvm::StringMap<onnx::FunctionOp>;
FunctionMap collectFunctions(ModuleOp module);
/// The local function that a node calls, or null.
onnx::FunctionOp lookupFunction(const FunctionMap &functions,
                                onnx::NodeOp node);

/// Limits of the trust contract for the expansion of local functions.
inline constexpr unsigned kMaxCallDepth = 100;
inline constexpr uint64_t kMaxExpandedNodes = 1000000;

/// Replaces every call of a local function by the nodes of its body, with the
/// attributes of the call, else the defaults of the function, for its formal
/// attributes, then erases the functions and infers shapes. Nodes are named
/// "<call>/<node>". A module without functions is left as it is.
///
/// Errors, at the node that calls: I303 for calls nested more than
/// kMaxCallDepth deep (a cycle is) or more than kMaxExpandedNodes nodes, I503
/// for more inputs or outputs than the function has, C101 for a subgraph given
/// as attribute.
LogicalResult inlineLocalFunctions(ModuleOp module);

} // namespace mlir::ffn

#endif // FFN_MLIR_OPS_LOCALFUNCTIONS_H
