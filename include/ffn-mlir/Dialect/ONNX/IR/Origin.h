//===- Origin.h - Which node of the file an operation was -------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_ONNX_IR_ORIGIN_H
#define FFN_MLIR_DIALECT_ONNX_IR_ORIGIN_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Location.h"
#include <string>

namespace mlir::onnx {

/// Where a node was made: its name, and inside of it its place in its graph and
/// its operator. Whatever becomes of the node, messages can name it.
Location getNodeLocation(StringAttr name, int64_t index, StringRef op);
/// "node 12 'fc1' (Gemm)" for a location that getNodeLocation made, or for one
/// fused of several the last of them; less where the location says less, and
/// empty where it has no name. Escaped; a name is cut at 80 characters.
std::string describeOrigin(Location loc);

} // namespace mlir::onnx

#endif // FFN_MLIR_DIALECT_ONNX_IR_ORIGIN_H
