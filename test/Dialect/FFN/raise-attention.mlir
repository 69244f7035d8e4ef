// RUN: ffn-opt %s --ffn-raise --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func.func @plain
func.func @plain(%q: tensor<2x8x?x16xf32>, %k: tensor<2x8x?x16xf32>, %v: tensor<2x8x?x16xf32>, %m: tensor<1x1x?x?xf32>) -> tensor<2x8x?x16xf32> {
  %s = ffn.weight dense<4.0> : tensor<f32>
  // CHECK-NOT: onnx.node
  // CHECK: %[[Y:.*]] = ffn.attention %arg0, %arg1, %arg2 mask %arg3 : tensor<1x1x?x?xf32> scale 2.500000e-01 : tensor
  // CHECK: return %[[Y]]
  %t = onnx.node "Transpose" v13 (%k) {perm = array<i64: 0, 1, 3, 2>} : (tensor<2x8x?x16xf32>) -> tensor<2x8x16x?xf32>
  %p = onnx.node "MatMul" v13 (%q, %t) : (tensor<2x8x?x16xf32>, tensor<2x8x16x?xf32>) -> tensor<2x8x?x?xf32>
  %d = onnx.node "Div" v14 (%p, %s) : (tensor<2x8x?x?xf32>, tensor<f32>) -> tensor<2x8x?x?xf32>
  %a = onnx.node "Add" v14 (%d, %m) : (tensor<2x8x?x?xf32>, tensor<1x1x?x?xf32>) -> tensor<2x8x?x?xf32>
  %w = onnx.node "Softmax" v13 (%a) {axis = -1 : si64} : (tensor<2x8x?x?xf32>) -> tensor<2x8x?x?xf32>
  %y = onnx.node "MatMul" v13 (%w, %v) : (tensor<2x8x?x?xf32>, tensor<2x8x?x16xf32>) -> tensor<2x8x?x16xf32>
  return %y : tensor<2x8x?x16xf32>
}

// -----

// The scale on both sides, computed from the size; the key from [B, T, H, D];
// a guard against rows that see nothing.
// CHECK-LABEL: func.func @sdpa
func.func @sdpa(%q: tensor<2x8x5x16xf32>, %k: tensor<2x7x8x16xf32>, %v: tensor<2x8x7x16xf32>) -> tensor<2x8x5x16xf32> {
  %i3 = ffn.weight dense<3> : tensor<i64>
  %one = ffn.weight dense<1.0> : tensor<f32>
  %zero = ffn.weight dense<0.0> : tensor<f32>
  %shape = onnx.node "Shape" v13 (%q) : (tensor<2x8x5x16xf32>) -> tensor<4xi64>
  %n = onnx.node "Gather" v13 (%shape, %i3) {axis = 0 : si64} : (tensor<4xi64>, tensor<i64>) -> tensor<i64>
  %f = onnx.node "Cast" v13 (%n) {to = 1 : si64} : (tensor<i64>) -> tensor<f32>
  %r = onnx.node "Sqrt" v13 (%f) : (tensor<f32>) -> tensor<f32>
  %i = onnx.node "Div" v14 (%one, %r) : (tensor<f32>, tensor<f32>) -> tensor<f32>
  %s = onnx.node "Sqrt" v13 (%i) : (tensor<f32>) -> tensor<f32>
  // CHECK: %[[K:.*]] = onnx.node "Transpose" v13 (%arg1) {perm = array<i64: 0, 2, 1, 3>} : (tensor<2x7x8x16xf32>) -> tensor<2x8x7x16xf32>
  // CHECK: ffn.attention %arg0, %[[K]], %arg2 scale 2.500000e-01 :
  %t = onnx.node "Transpose" v13 (%k) {perm = array<i64: 0, 2, 3, 1>} : (tensor<2x7x8x16xf32>) -> tensor<2x8x16x7xf32>
  %qs = onnx.node "Mul" v14 (%q, %s) : (tensor<2x8x5x16xf32>, tensor<f32>) -> tensor<2x8x5x16xf32>
  %ks = onnx.node "Mul" v14 (%t, %s) : (tensor<2x8x16x7xf32>, tensor<f32>) -> tensor<2x8x16x7xf32>
  %p = onnx.node "MatMul" v13 (%qs, %ks) : (tensor<2x8x5x16xf32>, tensor<2x8x16x7xf32>) -> tensor<2x8x5x7xf32>
  %w = onnx.node "Softmax" v13 (%p) {axis = -1 : si64} : (tensor<2x8x5x7xf32>) -> tensor<2x8x5x7xf32>
  %nan = onnx.node "IsNaN" v13 (%w) : (tensor<2x8x5x7xf32>) -> tensor<2x8x5x7xi1>
  %g = onnx.node "Where" v16 (%nan, %zero, %w) : (tensor<2x8x5x7xi1>, tensor<f32>, tensor<2x8x5x7xf32>) -> tensor<2x8x5x7xf32>
  %y = onnx.node "MatMul" v13 (%g, %v) : (tensor<2x8x5x7xf32>, tensor<2x8x7x16xf32>) -> tensor<2x8x5x16xf32>
  return %y : tensor<2x8x5x16xf32>
}

// -----

// Key heads shared by repetition: the repetition is in the meaning.
// CHECK-LABEL: func.func @grouped
func.func @grouped(%q: tensor<2x8x5x16xf32>, %k: tensor<2x4x7x16xf32>, %v: tensor<2x4x7x16xf32>, %es: tensor<5xi64>, %rs: tensor<4xi64>) -> tensor<2x8x5x16xf32> {
  %ax = ffn.weight dense<2> : tensor<1xi64>
  // CHECK-NOT: Expand
  // CHECK: ffn.attention %arg0, %arg1, %arg2 scale 1.000000e+00 : tensor<2x8x5x16xf32>, tensor<2x4x7x16xf32>, tensor<2x4x7x16xf32> -> tensor<2x8x5x16xf32>
  %k1 = onnx.node "Unsqueeze" v13 (%k, %ax) : (tensor<2x4x7x16xf32>, tensor<1xi64>) -> tensor<2x4x1x7x16xf32>
  %k2 = onnx.node "Expand" v13 (%k1, %es) : (tensor<2x4x1x7x16xf32>, tensor<5xi64>) -> tensor<2x4x2x7x16xf32>
  %k3 = onnx.node "Reshape" v14 (%k2, %rs) : (tensor<2x4x2x7x16xf32>, tensor<4xi64>) -> tensor<2x8x7x16xf32>
  %v1 = onnx.node "Unsqueeze" v13 (%v, %ax) : (tensor<2x4x7x16xf32>, tensor<1xi64>) -> tensor<2x4x1x7x16xf32>
  %v2 = onnx.node "Expand" v13 (%v1, %es) : (tensor<2x4x1x7x16xf32>, tensor<5xi64>) -> tensor<2x4x2x7x16xf32>
  %v3 = onnx.node "Reshape" v14 (%v2, %rs) : (tensor<2x4x2x7x16xf32>, tensor<4xi64>) -> tensor<2x8x7x16xf32>
  %t = onnx.node "Transpose" v13 (%k3) {perm = array<i64: 0, 1, 3, 2>} : (tensor<2x8x7x16xf32>) -> tensor<2x8x16x7xf32>
  %p = onnx.node "MatMul" v13 (%q, %t) : (tensor<2x8x5x16xf32>, tensor<2x8x16x7xf32>) -> tensor<2x8x5x7xf32>
  %w = onnx.node "Softmax" v13 (%p) {axis = 3 : si64} : (tensor<2x8x5x7xf32>) -> tensor<2x8x5x7xf32>
  %y = onnx.node "MatMul" v13 (%w, %v3) : (tensor<2x8x5x7xf32>, tensor<2x8x7x16xf32>) -> tensor<2x8x5x16xf32>
  return %y : tensor<2x8x5x16xf32>
}

// -----

// Masking by Where with the least number is the same as adding it.
// CHECK-LABEL: func.func @where
func.func @where(%q: tensor<2x8x5x16xf32>, %k: tensor<2x8x16x7xf32>, %v: tensor<2x8x7x16xf32>, %c: tensor<1x1x5x7xi1>) -> tensor<2x8x5x16xf32> {
  %least = ffn.weight dense<-3.40282347E+38> : tensor<f32>
  // CHECK: %[[K:.*]] = onnx.node "Transpose" v13 (%arg1) {perm = array<i64: 0, 1, 3, 2>}
  // CHECK: %[[Z:.*]] = ffn.weight dense<0.0
  // CHECK: %[[M:.*]] = onnx.node "Where" v16 (%arg3, %[[Z]], %{{.*}}) : (tensor<1x1x5x7xi1>, tensor<f32>, tensor<f32>) -> tensor<1x1x5x7xf32>
  // CHECK: ffn.attention %arg0, %[[K]], %arg2 mask %[[M]]
  %p = onnx.node "MatMul" v13 (%q, %k) : (tensor<2x8x5x16xf32>, tensor<2x8x16x7xf32>) -> tensor<2x8x5x7xf32>
  %a = onnx.node "Where" v16 (%c, %p, %least) : (tensor<1x1x5x7xi1>, tensor<2x8x5x7xf32>, tensor<f32>) -> tensor<2x8x5x7xf32>
  %w = onnx.node "Softmax" v13 (%a) {axis = -1 : si64} : (tensor<2x8x5x7xf32>) -> tensor<2x8x5x7xf32>
  %y = onnx.node "MatMul" v13 (%w, %v) : (tensor<2x8x5x7xf32>, tensor<2x8x7x16xf32>) -> tensor<2x8x5x16xf32>
  return %y : tensor<2x8x5x16xf32>
}

// -----

// CHECK-LABEL: func.func @operator
func.func @operator(%q: tensor<2x8x5x16xf32>, %k: tensor<2x2x5x16xf32>, %v: tensor<2x2x5x16xf32>) -> tensor<2x8x5x16xf32> {
  // CHECK: ffn.attention %arg0, %arg1, %arg2 scale 2.500000e-01 causal
  %y = onnx.node "Attention" v23 (%q, %k, %v) {is_causal = 1 : si64} : (tensor<2x8x5x16xf32>, tensor<2x2x5x16xf32>, tensor<2x2x5x16xf32>) -> tensor<2x8x5x16xf32>
  return %y : tensor<2x8x5x16xf32>
}

// -----

// A mask that only lowers the scores is another function.
// CHECK-LABEL: func.func @weak_mask
func.func @weak_mask(%q: tensor<2x8x5x16xf32>, %k: tensor<2x8x16x7xf32>, %v: tensor<2x8x7x16xf32>, %c: tensor<1x1x5x7xi1>) -> tensor<2x8x5x16xf32> {
  %low = ffn.weight dense<-10000.0> : tensor<f32>
  // CHECK-NOT: ffn.attention
  %p = onnx.node "MatMul" v13 (%q, %k) : (tensor<2x8x5x16xf32>, tensor<2x8x16x7xf32>) -> tensor<2x8x5x7xf32>
  %a = onnx.node "Where" v16 (%c, %p, %low) : (tensor<1x1x5x7xi1>, tensor<2x8x5x7xf32>, tensor<f32>) -> tensor<2x8x5x7xf32>
  %w = onnx.node "Softmax" v13 (%a) {axis = -1 : si64} : (tensor<2x8x5x7xf32>) -> tensor<2x8x5x7xf32>
  // expected-remark@+1 {{near miss: attention at node (MatMul): the softmax is not of q k^T, scaled and masked}}
  %y = onnx.node "MatMul" v13 (%w, %v) : (tensor<2x8x5x7xf32>, tensor<2x8x7x16xf32>) -> tensor<2x8x5x16xf32>
  return %y : tensor<2x8x5x16xf32>
}

// -----

// CHECK-LABEL: func.func @probabilities_used
func.func @probabilities_used(%q: tensor<2x8x5x16xf32>, %k: tensor<2x8x16x7xf32>, %v: tensor<2x8x7x16xf32>) -> (tensor<2x8x5x16xf32>, tensor<2x8x5x7xf32>) {
  // CHECK-NOT: ffn.attention
  %p = onnx.node "MatMul" v13 (%q, %k) : (tensor<2x8x5x16xf32>, tensor<2x8x16x7xf32>) -> tensor<2x8x5x7xf32>
  %w = onnx.node "Softmax" v13 (%p) {axis = -1 : si64} : (tensor<2x8x5x7xf32>) -> tensor<2x8x5x7xf32>
  // expected-remark@+1 {{its scores or probabilities are also used by return}}
  %y = onnx.node "MatMul" v13 (%w, %v) : (tensor<2x8x5x7xf32>, tensor<2x8x7x16xf32>) -> tensor<2x8x5x16xf32>
  return %y, %w : tensor<2x8x5x16xf32>, tensor<2x8x5x7xf32>
}

// -----

// CHECK-LABEL: func.func @over_heads
func.func @over_heads(%q: tensor<2x8x5x16xf32>, %k: tensor<2x8x16x7xf32>, %v: tensor<2x8x7x16xf32>) -> tensor<2x8x5x16xf32> {
  // CHECK-NOT: ffn.attention
  %p = onnx.node "MatMul" v13 (%q, %k) : (tensor<2x8x5x16xf32>, tensor<2x8x16x7xf32>) -> tensor<2x8x5x7xf32>
  %w = onnx.node "Softmax" v13 (%p) {axis = 1 : si64} : (tensor<2x8x5x7xf32>) -> tensor<2x8x5x7xf32>
  // expected-remark@+1 {{the softmax is not over the keys}}
  %y = onnx.node "MatMul" v13 (%w, %v) : (tensor<2x8x5x7xf32>, tensor<2x8x7x16xf32>) -> tensor<2x8x5x16xf32>
  return %y : tensor<2x8x5x16xf32>
}

// -----

// CHECK-LABEL: func.func @causal_with_past
func.func @causal_with_past(%q: tensor<2x8x5x16xf32>, %k: tensor<2x8x7x16xf32>, %v: tensor<2x8x7x16xf32>) -> tensor<2x8x5x16xf32> {
  // CHECK-NOT: ffn.attention
  // expected-remark@+1 {{it is causal and may have more keys than queries}}
  %y = onnx.node "Attention" v23 (%q, %k, %v) {is_causal = 1 : si64} : (tensor<2x8x5x16xf32>, tensor<2x8x7x16xf32>, tensor<2x8x7x16xf32>) -> tensor<2x8x5x16xf32>
  return %y : tensor<2x8x5x16xf32>
}

// -----

// Rank 3, no heads or heads in the batch: one head is put in and taken out.
// CHECK-LABEL: func.func @rank_three
func.func @rank_three(%q: tensor<?x5x16xf32> {ffn.dims = ["n", 5, 16]}, %k: tensor<?x7x16xf32> {ffn.dims = ["n", 7, 16]}, %v: tensor<?x7x4xf32> {ffn.dims = ["n", 7, 4]}, %m: tensor<?x1x7xf32> {ffn.dims = ["n", 1, 7]}) -> tensor<?x5x4xf32> {
  %s = ffn.weight dense<0.25> : tensor<f32>
  // CHECK: %[[AXIS:.*]] = ffn.weight dense<1> : tensor<1xi64>
  // CHECK-DAG: %[[Q:.*]] = onnx.node "Unsqueeze" v13 (%arg0, %{{.*}}) : (tensor<?x5x16xf32>, tensor<1xi64>) -> tensor<?x1x5x16xf32>
  // CHECK-DAG: %[[K:.*]] = onnx.node "Unsqueeze" v13 (%arg1, %{{.*}}) : (tensor<?x7x16xf32>, tensor<1xi64>) -> tensor<?x1x7x16xf32>
  // CHECK-DAG: %[[V:.*]] = onnx.node "Unsqueeze" v13 (%arg2, %{{.*}}) : (tensor<?x7x4xf32>, tensor<1xi64>) -> tensor<?x1x7x4xf32>
  // CHECK-DAG: %[[M:.*]] = onnx.node "Unsqueeze" v13 (%arg3, %{{.*}}) : (tensor<?x1x7xf32>, tensor<1xi64>) -> tensor<?x1x1x7xf32>
  // CHECK: %[[A:.*]] = ffn.attention %[[Q]], %[[K]], %[[V]] mask %[[M]] : tensor<?x1x1x7xf32> scale 2.500000e-01
  // CHECK: %[[Y:.*]] = onnx.node "Squeeze" v13 (%[[A]], %{{.*}}) : (tensor<?x1x5x4xf32>, tensor<1xi64>) -> tensor<?x5x4xf32>
  // CHECK: return %[[Y]]
  %t = onnx.node "Transpose" v13 (%k) {perm = array<i64: 0, 2, 1>} : (tensor<?x7x16xf32>) -> tensor<?x16x7xf32>
  %p = onnx.node "MatMul" v13 (%q, %t) : (tensor<?x5x16xf32>, tensor<?x16x7xf32>) -> tensor<?x5x7xf32>
  %d = onnx.node "Mul" v14 (%p, %s) : (tensor<?x5x7xf32>, tensor<f32>) -> tensor<?x5x7xf32>
  %a = onnx.node "Add" v14 (%d, %m) : (tensor<?x5x7xf32>, tensor<?x1x7xf32>) -> tensor<?x5x7xf32>
  %w = onnx.node "Softmax" v13 (%a) {axis = -1 : si64} : (tensor<?x5x7xf32>) -> tensor<?x5x7xf32>
  %y = onnx.node "MatMul" v13 (%w, %v) : (tensor<?x5x7xf32>, tensor<?x7x4xf32>) -> tensor<?x5x4xf32>
  return %y : tensor<?x5x4xf32>
}

// -----

// A vector mask stays as it is; before opset 13 axes are an attribute.
module attributes {onnx.model = {opset_imports = {ai.onnx = 12 : i64}}} {
  // CHECK-LABEL: func.func @rank_three_old
  func.func @rank_three_old(%q: tensor<2x5x16xf32>, %k: tensor<2x16x7xf32>, %v: tensor<2x7x4xf32>, %m: tensor<7xf32>) -> tensor<2x5x4xf32> {
    // CHECK: %[[K:.*]] = onnx.node "Transpose" v1 (%arg1) {perm = array<i64: 0, 2, 1>} : (tensor<2x16x7xf32>) -> tensor<2x7x16xf32>
    // CHECK: onnx.node "Unsqueeze" v11 (%[[K]]) {axes = array<i64: 1>}
    // CHECK: ffn.attention %{{.*}} mask %arg3 : tensor<7xf32> scale 1.0
    // CHECK: onnx.node "Squeeze" v11 (%{{.*}}) {axes = array<i64: 1>}
    %p = onnx.node "MatMul" v9 (%q, %k) : (tensor<2x5x16xf32>, tensor<2x16x7xf32>) -> tensor<2x5x7xf32>
    %a = onnx.node "Add" v7 (%p, %m) : (tensor<2x5x7xf32>, tensor<7xf32>) -> tensor<2x5x7xf32>
    %w = onnx.node "Softmax" v11 (%a) {axis = -1 : si64} : (tensor<2x5x7xf32>) -> tensor<2x5x7xf32>
    %y = onnx.node "MatMul" v9 (%w, %v) : (tensor<2x5x7xf32>, tensor<2x7x4xf32>) -> tensor<2x5x4xf32>
    return %y : tensor<2x5x4xf32>
  }
}

// -----

// One key for the whole batch, and batches that may differ.
// CHECK-LABEL: func.func @rank_three_misses
func.func @rank_three_misses(%q: tensor<2x5x16xf32>, %k: tensor<16x7xf32>, %v: tensor<2x7x4xf32>,
                             %j: tensor<?x16x7xf32>, %u: tensor<?x7x4xf32>) -> (tensor<2x5x4xf32>, tensor<?x5x4xf32>) {
  // CHECK-NOT: ffn.attention
  %p = onnx.node "MatMul" v13 (%q, %k) : (tensor<2x5x16xf32>, tensor<16x7xf32>) -> tensor<2x5x7xf32>
  %w = onnx.node "Softmax" v13 (%p) {axis = -1 : si64} : (tensor<2x5x7xf32>) -> tensor<2x5x7xf32>
  // expected-remark @below {{near miss: attention at node (MatMul): query and key are not of one rank}}
  %y = onnx.node "MatMul" v13 (%w, %v) : (tensor<2x5x7xf32>, tensor<2x7x4xf32>) -> tensor<2x5x4xf32>
  %r = onnx.node "MatMul" v13 (%q, %j) : (tensor<2x5x16xf32>, tensor<?x16x7xf32>) -> tensor<?x5x7xf32>
  %x = onnx.node "Softmax" v13 (%r) {axis = -1 : si64} : (tensor<?x5x7xf32>) -> tensor<?x5x7xf32>
  // expected-remark @below {{near miss: attention at node (MatMul): the batches of query and key may differ}}
  %z = onnx.node "MatMul" v13 (%x, %u) : (tensor<?x5x7xf32>, tensor<?x7x4xf32>) -> tensor<?x5x4xf32>
  return %y, %z : tensor<2x5x4xf32>, tensor<?x5x4xf32>
}

// -----

// MatMul broadcasts one key, or one value, over the batch.
// CHECK-LABEL: func.func @broadcast_batches
func.func @broadcast_batches(%q: tensor<?x2x5x16xf32>, %k: tensor<1x2x16x7xf32>, %v: tensor<?x2x7x4xf32>, %one: tensor<1x2x7x4xf32>,
                             %many: tensor<2x2x5x16xf32>, %keys: tensor<2x2x16x7xf32>) -> (tensor<?x2x5x4xf32>, tensor<2x2x5x4xf32>) {
  // CHECK-NOT: ffn.attention
  %p = onnx.node "MatMul" v13 (%q, %k) : (tensor<?x2x5x16xf32>, tensor<1x2x16x7xf32>) -> tensor<?x2x5x7xf32>
  %w = onnx.node "Softmax" v13 (%p) {axis = -1 : si64} : (tensor<?x2x5x7xf32>) -> tensor<?x2x5x7xf32>
  // expected-remark @below {{near miss: attention at node (MatMul): the batches of query and key may differ}}
  %y = onnx.node "MatMul" v13 (%w, %v) : (tensor<?x2x5x7xf32>, tensor<?x2x7x4xf32>) -> tensor<?x2x5x4xf32>
  %r = onnx.node "MatMul" v13 (%many, %keys) : (tensor<2x2x5x16xf32>, tensor<2x2x16x7xf32>) -> tensor<2x2x5x7xf32>
  %x = onnx.node "Softmax" v13 (%r) {axis = -1 : si64} : (tensor<2x2x5x7xf32>) -> tensor<2x2x5x7xf32>
  // expected-remark @below {{near miss: attention at node (MatMul): the batches of query and value may differ}}
  %z = onnx.node "MatMul" v13 (%x, %one) : (tensor<2x2x5x7xf32>, tensor<1x2x7x4xf32>) -> tensor<2x2x5x4xf32>
  return %y, %z : tensor<?x2x5x4xf32>, tensor<2x2x5x4xf32>
}
