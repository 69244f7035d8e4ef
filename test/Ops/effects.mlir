// RUN: ffn-opt %s --canonicalize --cse | FileCheck %s

// Pure operators merge and die; random ones die but never merge; operators of
// unknown meaning stay; a node with subgraphs is pure if its bodies are.

// CHECK-LABEL: @pure
func.func @pure(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  // CHECK-COUNT-1: "Relu"
  // CHECK-NOT: "Relu"
  // CHECK-NOT: "Sin"
  %0 = onnx.node "Relu" v14 (%x) : (tensor<4xf32>) -> tensor<4xf32> names ["a", "b"]
  %1 = onnx.node "Relu" v14 (%x) : (tensor<4xf32>) -> tensor<4xf32> names ["c", "d"]
  %2 = onnx.node "Sin" v7 (%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %0, %1 : tensor<4xf32>, tensor<4xf32>
}

// CHECK-LABEL: @random
func.func @random() -> (tensor<4xf32>, tensor<4xf32>) {
  // CHECK-COUNT-2: "RandomNormal"
  // CHECK-NOT: "RandomNormal"
  %0 = onnx.node "RandomNormal" v1 () {shape = array<i64: 4>} : () -> tensor<4xf32>
  %1 = onnx.node "RandomNormal" v1 () {shape = array<i64: 4>} : () -> tensor<4xf32>
  %2 = onnx.node "RandomNormal" v1 () {shape = array<i64: 4>} : () -> tensor<4xf32>
  return %0, %1 : tensor<4xf32>, tensor<4xf32>
}

// CHECK-LABEL: @unknown
func.func @unknown(%x: tensor<4xf32>) {
  // CHECK: "com.acme::Print"
  %0 = onnx.node "com.acme::Print" v1 (%x) : (tensor<4xf32>) -> tensor<4xf32>
  return
}

// CHECK-LABEL: @subgraphs
func.func @subgraphs(%c: tensor<i1>, %x: tensor<4xf32>) {
  // CHECK-NOT: "If" v16 (%{{.*}}) {{.*}} names ["dead"
  %0 = onnx.node "If" v16 (%c) {then_branch = #onnx.graph<0, "t">, else_branch = #onnx.graph<1, "e">}
       : (tensor<i1>) -> tensor<4xf32> names ["dead", "y"] {
    onnx.yield %x : tensor<4xf32>
  } {
    %r = onnx.node "Relu" v14 (%x) : (tensor<4xf32>) -> tensor<4xf32>
    onnx.yield %r : tensor<4xf32>
  }
  // CHECK: names ["alive", "z"]
  %1 = onnx.node "If" v16 (%c) {then_branch = #onnx.graph<0, "t">, else_branch = #onnx.graph<1, "e">}
       : (tensor<i1>) -> tensor<4xf32> names ["alive", "z"] {
    onnx.yield %x : tensor<4xf32>
  } {
    %r = onnx.node "com.acme::Print" v1 (%x) : (tensor<4xf32>) -> tensor<4xf32>
    onnx.yield %r : tensor<4xf32>
  }
  return
}
