// RUN: ffn-opt %s --ffn-raise --split-input-file --verify-diagnostics | FileCheck %s

// The residual is the operand that the other is computed from, on either side;
// the norm is inside; the name is that of the weights' module.
// CHECK-LABEL: func.func @pre_norm
func.func @pre_norm(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %s = ffn.weight dense<1.0> : tensor<4xf32>
  %w1 = ffn.weight #ffn.span<"model.layers.3.mlp.fc1.weight" in @model, 0, 128> : tensor<4x8xf32>
  %w2 = ffn.weight #ffn.span<"model.layers.3.mlp.fc2.weight" in @model, 128, 128> : tensor<8x4xf32>
  // CHECK: %[[Y:.*]] = ffn.sublayer [#ffn.addend<ffn "model.layers.3.mlp">](%arg0) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  // CHECK-NEXT: ^bb0(%[[X:.*]]: tensor<?x4xf32>):
  // CHECK-NEXT: %[[N:.*]] = ffn.norm rms %[[X]] scale
  // CHECK-NEXT: %[[F:.*]] = ffn.feed_forward relu %[[N]] up
  // CHECK-NEXT: ffn.yield %[[F]]
  // CHECK: return %[[Y]]
  %n = onnx.node "SimplifiedLayerNormalization" v1 (%x, %s) : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %u = onnx.node "MatMul" v13 (%n, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Relu" v14 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %f = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %y = onnx.node "Add" v14 (%f, %x) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
ffn.file @model "model.bin" {size = 256 : i64}

// -----

// Names of nodes where the weights have none; the same name again gets the kind.
// CHECK-LABEL: func.func @names
func.func @names(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<2.0> : tensor<8x4xf32>
  // CHECK: ffn.sublayer [#ffn.addend<ffn "layers.0.mlp">](%arg0)
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["/layers.0/mlp/fc1/MatMul", "u"]
  %a = onnx.node "Relu" v14 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32> names ["/layers.0/mlp/act/Relu", "a"]
  %f = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["/layers.0/mlp/fc2/MatMul", "f"]
  %y = onnx.node "Add" v14 (%x, %f) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: ffn.sublayer [#ffn.addend<ffn "layers.0.mlp.1">]
  %u1 = onnx.node "MatMul" v13 (%y, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["/layers.0/mlp/fc1/MatMul_1", "u1"]
  %a1 = onnx.node "Relu" v14 (%u1) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %f1 = onnx.node "MatMul" v13 (%a1, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["/layers.0/mlp/fc2/MatMul_1", "f1"]
  %z = onnx.node "Add" v14 (%y, %f1) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %z : tensor<?x4xf32>
}

// -----

// Attention with a cache: the present results are extras, paired with the
// past arguments. Names are counted where nothing is named.
// CHECK-LABEL: func.func @cache
// CHECK-SAME: %[[PK:[a-z0-9]*]]: tensor<1x2x?x4xf32>, %[[PV:[a-z0-9]*]]: tensor<1x2x?x4xf32>
func.func @cache(%x: tensor<1x?x8xf32>, %pk: tensor<1x2x?x4xf32>, %pv: tensor<1x2x?x4xf32>, %rs: tensor<4xi64>, %os: tensor<3xi64>) -> (tensor<1x?x8xf32>, tensor<1x2x?x4xf32>, tensor<1x2x?x4xf32>) {
  %wq = ffn.weight dense<1.0> : tensor<8x8xf32>
  %w1 = ffn.weight dense<1.0> : tensor<8x16xf32>
  %w2 = ffn.weight dense<2.0> : tensor<16x8xf32>
  // CHECK: %[[H:.*]]:3 = ffn.sublayer [#ffn.addend<attention "layers.0.attn">] state [#ffn.state<1 -> 0>, #ffn.state<2 -> 1>](%arg0)
  // CHECK-SAME: (tensor<1x?x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x2x?x4xf32>, tensor<1x2x?x4xf32>)
  // CHECK: ffn.attention
  // CHECK: ffn.yield %{{.*}}, %{{.*}}, %{{.*}} : tensor<1x?x8xf32>, tensor<1x2x?x4xf32>, tensor<1x2x?x4xf32>
  // CHECK: %[[Y:.*]] = ffn.sublayer [#ffn.addend<ffn "layers.0.mlp">](%[[H]]#0)
  // CHECK: return %[[Y]], %[[H]]#1, %[[H]]#2
  %q0 = onnx.node "MatMul" v13 (%x, %wq) : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %q1 = onnx.node "Reshape" v14 (%q0, %rs) : (tensor<1x?x8xf32>, tensor<4xi64>) -> tensor<1x?x2x4xf32>
  %q = onnx.node "Transpose" v13 (%q1) {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x?x2x4xf32>) -> tensor<1x2x?x4xf32>
  %k = onnx.node "Concat" v13 (%pk, %q) {axis = 2 : si64} : (tensor<1x2x?x4xf32>, tensor<1x2x?x4xf32>) -> tensor<1x2x?x4xf32>
  %v = onnx.node "Concat" v13 (%pv, %q) {axis = 2 : si64} : (tensor<1x2x?x4xf32>, tensor<1x2x?x4xf32>) -> tensor<1x2x?x4xf32>
  %t = onnx.node "Transpose" v13 (%k) {perm = array<i64: 0, 1, 3, 2>} : (tensor<1x2x?x4xf32>) -> tensor<1x2x4x?xf32>
  %p = onnx.node "MatMul" v13 (%q, %t) : (tensor<1x2x?x4xf32>, tensor<1x2x4x?xf32>) -> tensor<1x2x?x?xf32>
  %w = onnx.node "Softmax" v13 (%p) {axis = -1 : si64} : (tensor<1x2x?x?xf32>) -> tensor<1x2x?x?xf32>
  %c = onnx.node "MatMul" v13 (%w, %v) : (tensor<1x2x?x?xf32>, tensor<1x2x?x4xf32>) -> tensor<1x2x?x4xf32>
  %c1 = onnx.node "Transpose" v13 (%c) {perm = array<i64: 0, 2, 1, 3>} : (tensor<1x2x?x4xf32>) -> tensor<1x?x2x4xf32>
  %c2 = onnx.node "Reshape" v14 (%c1, %os) : (tensor<1x?x2x4xf32>, tensor<3xi64>) -> tensor<1x?x8xf32>
  %o = onnx.node "MatMul" v13 (%c2, %wq) : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %h = onnx.node "Add" v14 (%x, %o) : (tensor<1x?x8xf32>, tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %u = onnx.node "MatMul" v13 (%h, %w1) : (tensor<1x?x8xf32>, tensor<8x16xf32>) -> tensor<1x?x16xf32>
  %a = onnx.node "Relu" v14 (%u) : (tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %f = onnx.node "MatMul" v13 (%a, %w2) : (tensor<1x?x16xf32>, tensor<16x8xf32>) -> tensor<1x?x8xf32>
  %y = onnx.node "Add" v14 (%h, %f) : (tensor<1x?x8xf32>, tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  return %y, %k, %v : tensor<1x?x8xf32>, tensor<1x2x?x4xf32>, tensor<1x2x?x4xf32>
}

// -----

// Two networks beside one another, one norm: one sublayer of two addends, also
// where the addends are summed first.
// CHECK-LABEL: func.func @parallel
func.func @parallel(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %s = ffn.weight dense<1.0> : tensor<4xf32>
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<2.0> : tensor<8x4xf32>
  // CHECK: ffn.sublayer [#ffn.addend<ffn "layers.0.mlp">, #ffn.addend<ffn "layers.1.mlp">](%arg0)
  // CHECK: %[[N:.*]] = ffn.norm rms
  // CHECK: %[[A:.*]] = ffn.feed_forward relu %[[N]]
  // CHECK: %[[B:.*]] = ffn.feed_forward silu %[[N]]
  // CHECK: ffn.yield %[[A]], %[[B]]
  %n = onnx.node "SimplifiedLayerNormalization" v1 (%x, %s) : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %u = onnx.node "MatMul" v13 (%n, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Relu" v14 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %f = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %u1 = onnx.node "MatMul" v13 (%n, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %a1 = onnx.node "Swish" v24 (%u1) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %g = onnx.node "MatMul" v13 (%a1, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %fg = onnx.node "Add" v14 (%f, %g) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %y = onnx.node "Add" v14 (%fg, %x) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// Sizes come from the residual, outside; a value of the body that others use
// is an extra result, and its users move behind the sublayer.
// CHECK-LABEL: func.func @extra
func.func @extra(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %s = ffn.weight dense<1.0> : tensor<4xf32>
  %w = ffn.weight dense<1.0> : tensor<4x4xf32>
  // CHECK: %[[SH:.*]] = onnx.node "Shape" v13 (%arg0)
  // CHECK: %[[Y:.*]]:2 = ffn.sublayer [#ffn.addend<other "layers.0.body">](%arg0) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  // CHECK: %[[L:.*]] = ffn.linear
  // CHECK: onnx.node "Reshape" v14 (%{{.*}}, %[[SH]])
  // CHECK: ffn.yield %{{.*}}, %[[L]]
  // CHECK: %[[Z:.*]] = onnx.node "Neg" v13 (%[[Y]]#1)
  // CHECK: return %[[Y]]#0, %[[Z]]
  %n = onnx.node "LayerNormalization" v17 (%x, %s) {axis = -1 : si64} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %sh = onnx.node "Shape" v13 (%n) : (tensor<?x4xf32>) -> tensor<2xi64>
  %l = onnx.node "MatMul" v13 (%n, %w) : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %z = onnx.node "Neg" v13 (%l) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %t = onnx.node "Tanh" v13 (%l) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %r = onnx.node "Reshape" v14 (%t, %sh) : (tensor<?x4xf32>, tensor<2xi64>) -> tensor<?x4xf32>
  %y = onnx.node "Add" v14 (%x, %r) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y, %z : tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// No sublayers: embeddings that are added, a polynomial, a broadcast sum.
// CHECK-LABEL: func.func @none
// CHECK-NOT: ffn.sublayer
func.func @none(%x: tensor<?x4xf32>, %p: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %c = ffn.weight dense<0.5> : tensor<f32>
  %a = onnx.node "Add" v14 (%x, %p) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %q = onnx.node "Mul" v14 (%x, %x) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %b = onnx.node "Add" v14 (%x, %q) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %a, %b : tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @broadcast
// CHECK-NOT: ffn.sublayer
func.func @broadcast(%x: tensor<?x4xf32>) -> tensor<?x?x4xf32> {
  %w = ffn.weight dense<1.0> : tensor<4x4xf32>
  %i = ffn.weight dense<0> : tensor<1xi64>
  %l = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %u = onnx.node "Unsqueeze" v13 (%l, %i) : (tensor<?x4xf32>, tensor<1xi64>) -> tensor<1x?x4xf32>
  // expected-remark@+1 {{near miss: residual sublayer at node (Add): the types of the residual, the addends and the sum differ}}
  %y = onnx.node "Add" v14 (%x, %u) : (tensor<?x4xf32>, tensor<1x?x4xf32>) -> tensor<?x?x4xf32>
  return %y : tensor<?x?x4xf32>
}
