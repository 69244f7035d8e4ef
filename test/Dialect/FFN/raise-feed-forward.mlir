// RUN: ffn-opt %s --ffn-raise --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func.func @biases
func.func @biases(%x: tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %b1 = ffn.weight dense<2.0> : tensor<8xf32>
  %w2 = ffn.weight dense<3.0> : tensor<8x4xf32>
  %b2 = ffn.weight dense<4.0> : tensor<4xf32>
  // CHECK-DAG: %[[B1:.*]] = ffn.weight dense<2.0{{.*}} : tensor<8xf32>
  // CHECK-DAG: %[[B2:.*]] = ffn.weight dense<4.0{{.*}} : tensor<4xf32>
  // CHECK: ffn.feed_forward relu %arg0 up %{{.*}} down %{{.*}} up_bias %[[B1]] down_bias %[[B2]]
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x?x4xf32>, tensor<4x8xf32>) -> tensor<?x?x8xf32>
  %c = onnx.node "Add" v14 (%b1, %u) : (tensor<8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %a = onnx.node "Relu" v14 (%c) : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %d:2 = onnx.node "Dropout" v13 (%a) : (tensor<?x?x8xf32>) -> (tensor<?x?x8xf32>, none)
  %f = onnx.node "MatMul" v13 (%d#0, %w2) : (tensor<?x?x8xf32>, tensor<8x4xf32>) -> tensor<?x?x4xf32>
  %y = onnx.node "Add" v14 (%f, %b2) : (tensor<?x?x4xf32>, tensor<4xf32>) -> tensor<?x?x4xf32>
  return %y : tensor<?x?x4xf32>
}

// -----

// The bias of a BiasGelu is the linear's.
// CHECK-LABEL: func.func @bias_gelu
func.func @bias_gelu(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %b1 = ffn.weight dense<2.0> : tensor<8xf32>
  %w2 = ffn.weight dense<3.0> : tensor<8x4xf32>
  // CHECK: ffn.feed_forward gelu_erf %arg0 up %{{.*}} down %{{.*}} up_bias %{{[0-9]*}} :
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "com.microsoft::BiasGelu" v1 (%u, %b1) : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @gated
func.func @gated(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %wg = ffn.weight dense<1.0> : tensor<4x8xf32>
  %wu = ffn.weight dense<2.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<3.0> : tensor<8x4xf32>
  // CHECK-DAG: %[[G:.*]] = ffn.weight dense<1.0
  // CHECK-DAG: %[[U:.*]] = ffn.weight dense<2.0
  // CHECK-DAG: %[[GT:.*]] = ffn.transpose %[[G]]
  // CHECK-DAG: %[[UT:.*]] = ffn.transpose %[[U]]
  // CHECK: ffn.feed_forward silu %arg0 up %[[UT]] gate %[[GT]] down
  %g = onnx.node "MatMul" v13 (%x, %wg) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %s = onnx.node "Sigmoid" v13 (%g) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Mul" v14 (%g, %s) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %u = onnx.node "MatMul" v13 (%x, %wu) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %m = onnx.node "Mul" v14 (%u, %a) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%m, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  // A gate of its own activation, and none.
  // CHECK: ffn.feed_forward identity %arg0 up %[[UT]] gate %[[GT]] down
  %g2 = onnx.node "MatMul" v13 (%x, %wg) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %u2 = onnx.node "MatMul" v13 (%x, %wu) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %m2 = onnx.node "Mul" v14 (%g2, %u2) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %z = onnx.node "MatMul" v13 (%m2, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y, %z : tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// Gate and up in one product, split: rows of one weight.
// CHECK-LABEL: func.func @split
func.func @split(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w = ffn.weight dense<1.0> : tensor<4x16xf32>
  %b = ffn.weight dense<2.0> : tensor<16xf32>
  %w2 = ffn.weight dense<3.0> : tensor<8x4xf32>
  // CHECK-DAG: %[[T:.*]] = ffn.transpose %{{.*}} : tensor<4x16xf32>
  // CHECK-DAG: %[[LO:.*]] = ffn.weight dense<[0, 1, 2, 3, 4, 5, 6, 7]> : tensor<8xi32>
  // CHECK-DAG: %[[HI:.*]] = ffn.weight dense<[8, 9, 10, 11, 12, 13, 14, 15]> : tensor<8xi32>
  // CHECK-DAG: %[[U:.*]] = ffn.gather_rows %[[T]][%[[HI]]]
  // CHECK-DAG: %[[G:.*]] = ffn.gather_rows %[[T]][%[[LO]]]
  // CHECK: ffn.feed_forward gelu_erf %arg0 up %[[U]] gate %[[G]] down %{{.*}} up_bias %{{.*}} gate_bias
  %p = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x4xf32>, tensor<4x16xf32>) -> tensor<?x16xf32>
  %c = onnx.node "Add" v14 (%p, %b) : (tensor<?x16xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %s:2 = onnx.node "Split" v13 (%c) {axis = -1 : si64} : (tensor<?x16xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  %a = onnx.node "Gelu" v20 (%s#0) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %m = onnx.node "Mul" v14 (%a, %s#1) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%m, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @slices
func.func @slices(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w = ffn.weight dense<1.0> : tensor<4x16xf32>
  %w2 = ffn.weight dense<3.0> : tensor<8x4xf32>
  %i0 = ffn.weight dense<0> : tensor<1xi64>
  %i8 = ffn.weight dense<8> : tensor<1xi64>
  %end = ffn.weight dense<9223372036854775807> : tensor<1xi64>
  %ax = ffn.weight dense<-1> : tensor<1xi64>
  // CHECK-DAG: %[[LO:.*]] = ffn.weight dense<[0, 1
  // CHECK-DAG: %[[HI:.*]] = ffn.weight dense<[8, 9
  // CHECK-DAG: %[[U:.*]] = ffn.gather_rows %{{.*}}[%[[LO]]]
  // CHECK-DAG: %[[G:.*]] = ffn.gather_rows %{{.*}}[%[[HI]]]
  // CHECK: ffn.feed_forward sigmoid %arg0 up %[[U]] gate %[[G]]
  %p = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x4xf32>, tensor<4x16xf32>) -> tensor<?x16xf32>
  %lo = onnx.node "Slice" v13 (%p, %i0, %i8, %ax) : (tensor<?x16xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x8xf32>
  %hi = onnx.node "Slice" v13 (%p, %i8, %end, %ax) : (tensor<?x16xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x8xf32>
  %a = onnx.node "Sigmoid" v13 (%hi) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %m = onnx.node "Mul" v14 (%lo, %a) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%m, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// In a branch, with weights of the graph around it.
// CHECK-LABEL: func.func @branch
func.func @branch(%c: tensor<i1>, %x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<3.0> : tensor<8x4xf32>
  // CHECK: onnx.node "If"
  %y = onnx.node "If" v16 (%c) {then_branch = #onnx.graph<0, "t">, else_branch = #onnx.graph<1, "e">} : (tensor<i1>) -> tensor<?x4xf32> {
    // CHECK: ffn.sublayer [#ffn.addend<ffn "layers.0.mlp">](%arg1)
    // CHECK: ffn.feed_forward relu %{{.*}} up
    %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
    %a = onnx.node "Relu" v14 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
    %f = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
    %s = onnx.node "Add" v14 (%x, %f) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    onnx.yield %s : tensor<?x4xf32>
  } {
    onnx.yield %x : tensor<?x4xf32>
  }
  return %y : tensor<?x4xf32>
}
