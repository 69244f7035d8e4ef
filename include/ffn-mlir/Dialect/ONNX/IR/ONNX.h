//===- ONNX.h - The onnx carrier dialect ------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_ONNX_IR_ONNX_H
#define FFN_MLIR_DIALECT_ONNX_IR_ONNX_H

#include "ffn-mlir/Dialect/ONNX/IR/NameHints.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "ffn-mlir/Dialect/ONNX/IR/ONNXDialect.h.inc"

#define GET_TYPEDEF_CLASSES
#include "ffn-mlir/Dialect/ONNX/IR/ONNXTypes.h.inc"

#define GET_ATTRDEF_CLASSES
#include "ffn-mlir/Dialect/ONNX/IR/ONNXAttrs.h.inc"

#define GET_OP_CLASSES
#include "ffn-mlir/Dialect/ONNX/IR/ONNXOps.h.inc"

#endif // FFN_MLIR_DIALECT_ONNX_IR_ONNX_H
