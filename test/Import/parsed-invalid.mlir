// What the importer refuses in an ONNX file is refused in text and bytecode too,
// by every tool and before any pass or output.
// RUN: split-file %s %t
// RUN: not ffn-opt %t/operator.mlir 2>&1 | FileCheck %s --check-prefix=OPERATOR --implicit-check-not=func.func
// RUN: not ffn-opt %t/arity.mlir --pass-pipeline='builtin.module(ffn-raise)' 2>&1 | FileCheck %s --check-prefix=ARITY --implicit-check-not=func.func
// RUN: not ffn-opt %t/attribute.mlir 2>&1 | FileCheck %s --check-prefix=ATTRIBUTE --implicit-check-not=func.func
// RUN: not ffn-opt %t/shape.mlir 2>&1 | FileCheck %s --check-prefix=SHAPE --implicit-check-not=func.func
// RUN: ffn-opt %t/shape.mlir --no-shape-inference -o %t/unchecked
// RUN: not ffnc compile %t/arity.mlir -o %t/out.so 2>&1 | FileCheck %s --check-prefix=ARITY
// RUN: not ffnc inspect %t/attribute.mlir 2>&1 | FileCheck %s --check-prefix=ATTRIBUTE
// RUN: not ffn-translate --export-onnx %t/operator.mlir -o %t/out.onnx 2>&1 | FileCheck %s --check-prefix=OPERATOR
// RUN: not ffn-interpret %t/shape.mlir 2>&1 | FileCheck %s --check-prefix=SHAPE
// RUN: not ls %t/out.so %t/out.onnx
// Bytecode that nobody checked: of a tool without the check.
// RUN: ffn-test-opt %t/arity.mlir --emit-bytecode -o %t/arity.mlirbc
// RUN: not ffn-opt %t/arity.mlirbc 2>&1 | FileCheck %s --check-prefix=ARITY
// A habit is told at the import, not again for each text; --strict refuses it.
// RUN: ffn-opt %t/habit.mlir 2>&1 -o %t/out.mlir | count 0
// RUN: not ffn-opt %t/habit.mlir --strict 2>&1 | FileCheck %s --check-prefix=STRICT
// Types stay as they are written, even where more is known.
// RUN: ffn-opt %t/wide.mlir | FileCheck %s --check-prefix=WIDE

//--- operator.mlir
// OPERATOR: error: node 'n' (Bogus): is no operator of the domain ai.onnx [FFN-I401]
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = onnx.node "Bogus" v1 (%x) : (tensor<4xf32>) -> tensor<4xf32> names ["n"]
  return %y : tensor<4xf32>
}

//--- arity.mlir
// ARITY: error: node 'n' (MatMul): {{.*}} [FFN-I503]
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = onnx.node "MatMul" v13 (%x) : (tensor<4xf32>) -> tensor<4xf32> names ["n"]
  return %y : tensor<4xf32>
}

//--- attribute.mlir
// ATTRIBUTE: error: node 'n' (Softmax): {{.*}} [FFN-I501]
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = onnx.node "Softmax" v13 (%x) {axis = "last"} : (tensor<4xf32>) -> tensor<4xf32> names ["n"]
  return %y : tensor<4xf32>
}

//--- shape.mlir
// SHAPE: error: {{.*}} [FFN-I504]
func.func @main(%x: tensor<4xf32>) -> tensor<5xf32> {
  %y = onnx.node "Relu" v14 (%x) : (tensor<4xf32>) -> tensor<5xf32> names ["n"]
  return %y : tensor<5xf32>
}

//--- habit.mlir
// STRICT: error: node 'n' (SimplifiedLayerNormalization): {{.*}} [FFN-I401]
func.func @main(%x: tensor<2x4xf32>, %s: tensor<4xf32>) -> tensor<2x4xf32> {
  %y = onnx.node "SimplifiedLayerNormalization" v17 (%x, %s) : (tensor<2x4xf32>, tensor<4xf32>) -> tensor<2x4xf32> names ["n"]
  return %y : tensor<2x4xf32>
}

//--- wide.mlir
// WIDE: onnx.node "Relu" v14 (%{{.*}}) : (tensor<4xf32>) -> tensor<?xf32>
func.func @main(%x: tensor<4xf32>) -> tensor<?xf32> {
  %y = onnx.node "Relu" v14 (%x) : (tensor<4xf32>) -> tensor<?xf32>
  return %y : tensor<?xf32>
}
