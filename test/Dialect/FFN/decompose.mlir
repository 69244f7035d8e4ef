// RUN: ffn-opt %s --ffn-decompose --split-input-file | FileCheck %s
// RUN: ffn-opt %s --ffn-decompose --ffn-raise=remarks=false --split-input-file | FileCheck %s --check-prefix=AGAIN

module attributes {onnx.model = {opset_imports = {ai.onnx = 17 : i64}}} {
  // CHECK-LABEL: func.func @block
  // CHECK-SAME: (%[[X:.*]]: tensor<?x?x4xf32>)
  // AGAIN-LABEL: func.func @block
  func.func @block(%x: tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
    %s = ffn.weight dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
    %up = ffn.weight dense<1.0> : tensor<8x4xf32>
    %gate = ffn.weight dense<2.0> : tensor<8x4xf32>
    %down = ffn.weight dense<3.0> : tensor<4x8xf32>
    %b = ffn.weight dense<4.0> : tensor<4xf32>
    // CHECK-DAG: %[[UP:.*]] = ffn.weight dense<1.0{{.*}} : tensor<8x4xf32>
    // CHECK-DAG: %[[UT:.*]] = ffn.transpose %[[UP]]
    // CHECK-DAG: %[[GATE:.*]] = ffn.weight dense<2.0{{.*}} : tensor<8x4xf32>
    // CHECK-DAG: %[[GT:.*]] = ffn.transpose %[[GATE]]
    // CHECK: %[[Q:.*]] = onnx.node "Mul" v14 (%[[X]], %[[X]])
    // CHECK: %[[M:.*]] = onnx.node "ReduceMean" v13 (%[[Q]]) {axes = array<i64: -1>, keepdims = 1 : si64} : (tensor<?x?x4xf32>) -> tensor<?x?x1xf32>
    // CHECK: %[[E:.*]] = onnx.node "Add" v14 (%[[M]],
    // CHECK: %[[R:.*]] = onnx.node "Sqrt" v13 (%[[E]])
    // CHECK: %[[D:.*]] = onnx.node "Div" v14 (%[[X]], %[[R]])
    // CHECK: %[[N:.*]] = onnx.node "Mul" v14 (%[[D]],
    // CHECK: %[[U:.*]] = onnx.node "MatMul" v13 (%[[N]], %[[UT]])
    // CHECK: %[[G:.*]] = onnx.node "MatMul" v13 (%[[N]], %[[GT]])
    // CHECK: %[[SG:.*]] = onnx.node "Sigmoid" v13 (%[[G]])
    // CHECK: %[[A:.*]] = onnx.node "Mul" v14 (%[[G]], %[[SG]])
    // CHECK: %[[H:.*]] = onnx.node "Mul" v14 (%[[A]], %[[U]])
    // CHECK: %[[P:.*]] = onnx.node "MatMul" v13 (%[[H]],
    // CHECK: %[[F:.*]] = onnx.node "Add" v14 (%[[P]],
    // CHECK: %[[Y:.*]] = onnx.node "Add" v14 (%[[X]], %[[F]])
    // CHECK: return %[[Y]]
    // AGAIN: ffn.sublayer [#ffn.addend<ffn "layers.0.mlp">](%arg0)
    // AGAIN: ffn.norm rms %{{.*}} scale %{{.*}} eps 9.99{{.*}}E-6 :
    // AGAIN: ffn.feed_forward silu %{{.*}} up %{{.*}} gate %{{.*}} down %{{.*}} down_bias
    // AGAIN-NOT: onnx.node
    %y = ffn.sublayer [#ffn.addend<ffn "layers.0.mlp">] (%x) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
    ^bb0(%h: tensor<?x?x4xf32>):
      %n = ffn.norm rms %h scale %s : tensor<4xf32> eps 1.0e-5 : tensor<?x?x4xf32>
      %f = ffn.feed_forward silu %n up %up gate %gate down %down down_bias %b : (tensor<?x?x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4xf32>) -> tensor<?x?x4xf32>
      ffn.yield %f : tensor<?x?x4xf32>
    }
    return %y : tensor<?x?x4xf32>
  }
}

// -----

// A layer norm is one node from opset 17 on; before, and for narrow types, it
// is spelled out with statistics in f32.
module attributes {onnx.model = {opset_imports = {ai.onnx = 13 : i64}}} {
  // CHECK-LABEL: func.func @narrow
  // AGAIN-LABEL: func.func @narrow
  func.func @narrow(%x: tensor<?x4xf16>, %z: tensor<?x4xf32>) -> (tensor<?x4xf16>, tensor<?x4xf32>) {
    %s = ffn.weight dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf16>
    // CHECK: onnx.node "Cast" v13 (%arg0) {to = 1 : si64} : (tensor<?x4xf16>) -> tensor<?x4xf32>
    // CHECK-NOT: LayerNormalization
    // CHECK: onnx.node "Cast" v13 ({{.*}}) {to = 10 : si64} : (tensor<?x4xf32>) -> tensor<?x4xf16>
    %y = ffn.norm layer %x scale %s : tensor<4xf16> eps 1.0e-5 : tensor<?x4xf16>
    // CHECK: "Sqrt"
    // CHECK: "Add"
    // CHECK: "Div"
    // AGAIN: ffn.norm rms %arg1 eps 9.99{{.*}}E-6 outer
    %w = ffn.norm rms %z eps 1.0e-5 outer : tensor<?x4xf32>
    return %y, %w : tensor<?x4xf16>, tensor<?x4xf32>
  }
}

// -----

module attributes {onnx.model = {opset_imports = {ai.onnx = 21 : i64}}} {
  // CHECK-LABEL: func.func @newer
  func.func @newer(%x: tensor<?x4xf32>, %ids: tensor<?xi64>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
    %up = ffn.weight dense<1.0> : tensor<8x4xf32>
    %down = ffn.weight dense<3.0> : tensor<4x8xf32>
    // CHECK: onnx.node "LayerNormalization" v17 (%arg0, %{{.*}}) {axis = -1 : si64, epsilon = 9.99{{.*}}E-6 : f32}
    %n = ffn.norm layer %x eps 1.0e-5 : tensor<?x4xf32>
    // CHECK: onnx.node "Gelu" v20 (%{{.*}}) {approximate = "tanh"}
    %f = ffn.feed_forward gelu_tanh %n up %up down %down : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    // CHECK: onnx.node "ReduceMean" v18 (%{{.*}}, %{{.*}}) {keepdims = 1 : si64}
    %r = ffn.norm rms %x eps 1.0e-5 : tensor<?x4xf32>
    // CHECK: onnx.node "Gather" v13 (%{{.*}}, %arg1) {axis = 0 : si64}
    %e = ffn.embedding %ids, %up : tensor<?xi64>, tensor<8x4xf32> -> tensor<?x4xf32>
    return %f, %r, %e : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
  }
}

// -----

// CHECK-LABEL: func.func @attention
// AGAIN-LABEL: func.func @attention
func.func @attention(%q: tensor<2x8x?x16xf32>, %k: tensor<2x4x?x16xf32>, %v: tensor<2x4x?x16xf32>, %m: tensor<?x?xf32>) -> (tensor<2x8x?x16xf32>, tensor<2x8x?x16xf32>) {
  // CHECK: %[[K1:.*]] = onnx.node "Unsqueeze" v13 (%arg1,
  // CHECK: %[[K2:.*]] = onnx.node "Expand" v13 (%[[K1]],
  // CHECK: %[[K3:.*]] = onnx.node "Reshape" v14 (%[[K2]],
  // CHECK: %[[KT:.*]] = onnx.node "Transpose" v13 (%[[K3]]) {perm = array<i64: 0, 1, 3, 2>}
  // CHECK: %[[S:.*]] = onnx.node "MatMul" v13 (%arg0, %[[KT]])
  // CHECK: %[[C:.*]] = onnx.node "Mul" v14 (%[[S]],
  // CHECK: %[[A:.*]] = onnx.node "Add" v14 (%[[C]], %arg3)
  // CHECK: onnx.node "Softmax" v13 (%[[A]]) {axis = -1 : si64}
  // CHECK-NOT: IsNaN
  // CHECK: onnx.node "MatMul"
  // The causal mask comes from the sizes, and a row that sees nothing is zero.
  // CHECK: onnx.node "Range"
  // CHECK: onnx.node "Greater"
  // CHECK: onnx.node "Where"
  // CHECK: onnx.node "Softmax"
  // CHECK: onnx.node "IsNaN"
  // CHECK: onnx.node "Where"
  // AGAIN: ffn.attention %arg0, %{{.*}}, %{{.*}} mask %arg3 : tensor<?x?xf32> scale 2.500000e-01
  %a = ffn.attention %q, %k, %v mask %m : tensor<?x?xf32> scale 0.25 : tensor<2x8x?x16xf32>, tensor<2x4x?x16xf32>, tensor<2x4x?x16xf32> -> tensor<2x8x?x16xf32>
  %b = ffn.attention %q, %k, %v scale 0.25 causal : tensor<2x8x?x16xf32>, tensor<2x4x?x16xf32>, tensor<2x4x?x16xf32> -> tensor<2x8x?x16xf32>
  return %a, %b : tensor<2x8x?x16xf32>, tensor<2x8x?x16xf32>
}

// -----

// Addends from left to right, extra results as they are.
// CHECK-LABEL: func.func @addends
// CHECK-SAME: (%[[X:.*]]: tensor<?x4xf32>, %[[Z:.*]]: tensor<?x4xf32>)
func.func @addends(%x: tensor<?x4xf32>, %z: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  // CHECK: %[[T:.*]] = onnx.node "Tanh" v13 (%[[X]])
  // CHECK: %[[A:.*]] = onnx.node "Add" v14 (%[[X]], %[[T]])
  // CHECK: %[[B:.*]] = onnx.node "Add" v14 (%[[A]], %[[Z]])
  // CHECK: return %[[B]], %[[T]]
  %y:2 = ffn.sublayer [#ffn.addend<other "a">, #ffn.addend<other "b">] (%x) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  ^bb0(%h: tensor<?x4xf32>):
    %t = onnx.node "Tanh" v13 (%h) : (tensor<?x4xf32>) -> tensor<?x4xf32>
    ffn.yield %t, %z, %t : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
  }
  return %y#0, %y#1 : tensor<?x4xf32>, tensor<?x4xf32>
}
