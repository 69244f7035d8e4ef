// RUN: ffn-opt %s --ffn-raise --split-input-file --verify-diagnostics | FileCheck %s

// What looks like a feed-forward network and is none: not raised, and the
// reason is said.

// CHECK-LABEL: func.func @unknown_activation(
// CHECK-NOT: ffn.feed_forward
func.func @unknown_activation(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["fc1", "u"]
  %a = onnx.node "Elu" v6 (%u) {alpha = 1.0 : f32} : (tensor<?x8xf32>) -> tensor<?x8xf32> names ["elu", "a"]
  // expected-remark@+1 {{near miss: feed-forward network at linear 'fc2': node 'elu' (Elu) is not an activation between two linears that is known}}
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc2", "y"]
  return %y : tensor<?x4xf32>
}

// -----

// Rows that are put together in front of each product, as TensorFlow does.

// CHECK-LABEL: func.func @rows_are_put_together(
// CHECK-NOT: ffn.feed_forward
func.func @rows_are_put_together(%x: tensor<?x4xf32>, %s: tensor<3xi64>, %t: tensor<2xi64>) -> (tensor<?x4xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["fc1", "u"]
  %r = onnx.node "Reshape" v13 (%u, %s) : (tensor<?x8xf32>, tensor<3xi64>) -> tensor<?x?x8xf32>
  %a = onnx.node "Relu" v14 (%r) : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32> names ["relu", "a"]
  %b = onnx.node "Reshape" v13 (%a, %t) : (tensor<?x?x8xf32>, tensor<2xi64>) -> tensor<?x8xf32> names ["rows", "b"]
  // expected-remark@+1 {{near miss: feed-forward network at linear 'fc2': node 'rows' (Reshape) changes the shape of the hidden values}}
  %y = onnx.node "MatMul" v13 (%b, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc2", "y"]
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @wrong_erf(
// CHECK-NOT: ffn.feed_forward
func.func @wrong_erf(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %k = ffn.weight dense<1.5> : tensor<f32>
  %one = ffn.weight dense<1.0> : tensor<f32>
  %h = ffn.weight dense<0.5> : tensor<f32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["fc1", "u"]
  %d = onnx.node "Div" v14 (%u, %k) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %e = onnx.node "Erf" v13 (%d) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %p = onnx.node "Add" v14 (%e, %one) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %m = onnx.node "Mul" v14 (%u, %p) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Mul" v14 (%m, %h) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  // expected-remark@+1 {{near miss: feed-forward network at linear 'fc2': GELU with erf(0.666667 x), not erf(x / sqrt(2))}}
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc2", "y"]
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @wrong_swish(
// CHECK-NOT: ffn.feed_forward
func.func @wrong_swish(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %k = ffn.weight dense<1.5> : tensor<f32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["fc1", "u"]
  %d = onnx.node "Mul" v14 (%u, %k) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %e = onnx.node "Sigmoid" v13 (%d) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Mul" v14 (%u, %e) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  // expected-remark@+1 {{near miss: feed-forward network at linear 'fc2': x * sigmoid(c x) with c = 1.5, not 1 or 1.702}}
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc2", "y"]
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @wrong_factor(
// CHECK-NOT: ffn.feed_forward
func.func @wrong_factor(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %k = ffn.weight dense<1.41421354> : tensor<f32>
  %one = ffn.weight dense<1.0> : tensor<f32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["fc1", "u"]
  %d = onnx.node "Div" v14 (%u, %k) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %e = onnx.node "Erf" v13 (%d) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %p = onnx.node "Add" v14 (%e, %one) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %a = onnx.node "Mul" v14 (%u, %p) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  // expected-remark@+1 {{near miss: feed-forward network at linear 'fc2': GELU with factors 1 and 1, not 0.5}}
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc2", "y"]
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @hidden_used(
// CHECK-NOT: ffn.feed_forward
func.func @hidden_used(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x8xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["fc1", "u"]
  %a = onnx.node "Relu" v14 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // expected-remark@+1 {{near miss: feed-forward network at linear 'fc2': a hidden value is also used by return}}
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc2", "y"]
  return %y, %a : tensor<?x4xf32>, tensor<?x8xf32>
}

// -----

// CHECK-LABEL: func.func @preactivation_used(
// CHECK-NOT: ffn.feed_forward
func.func @preactivation_used(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x8xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["fc1", "u"]
  %a = onnx.node "Relu" v14 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // expected-remark@+1 {{near miss: feed-forward network at linear 'fc2': a hidden value is also used by node 'neg' (Neg)}}
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc2", "y"]
  %z = onnx.node "Neg" v13 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32> names ["neg", "z"]
  return %y, %z : tensor<?x4xf32>, tensor<?x8xf32>
}

// -----

// CHECK-LABEL: func.func @weight_is_input(
// CHECK-NOT: ffn.feed_forward
func.func @weight_is_input(%x: tensor<?x4xf32>, %w: tensor<4x8xf32> {onnx.name = "W 1"}) -> (tensor<?x4xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["fc1", "u"]
  %a = onnx.node "Relu" v14 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // expected-remark@+1 {{near miss: feed-forward network at linear 'fc2': the weight of node 'fc1' (MatMul) is not constant: it comes from input 'W 1'}}
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc2", "y"]
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @down_is_input(
// CHECK-NOT: ffn.feed_forward
func.func @down_is_input(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>) -> (tensor<?x4xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["fc1", "u"]
  %a = onnx.node "Relu" v14 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // expected-remark@+1 {{near miss: feed-forward network at node 'fc2' (MatMul): the weight of node 'fc2' (MatMul) is not constant: it comes from an argument}}
  %y = onnx.node "MatMul" v13 (%a, %w) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc2", "y"]
  return %y : tensor<?x4xf32>
}

// -----

// The graph of a training step reads its parameters, transposed, from outside;
// the other weight is made anew in every run.
// CHECK-LABEL: func.func @weights_of_training(
// CHECK-NOT: ffn.feed_forward
func.func @weights_of_training(%x: tensor<?x4xf32>, %w: tensor<4x8xf32> {onnx.name = "fc2.weight"}, %v: tensor<8x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %t = onnx.node "Transpose" v13 (%w) {perm = array<i64: 1, 0>} : (tensor<4x8xf32>) -> tensor<8x4xf32>
  %n = onnx.node "Neg" v13 (%v) : (tensor<8x4xf32>) -> tensor<8x4xf32> names ["minus", "n"]
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["fc1", "u"]
  %a = onnx.node "Relu" v14 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // expected-remark@+1 {{near miss: feed-forward network at node 'fc2' (MatMul): the weight of node 'fc2' (MatMul) is not constant: it comes from input 'fc2.weight'}}
  %y = onnx.node "MatMul" v13 (%a, %t) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc2", "y"]
  // expected-remark@+1 {{near miss: feed-forward network at node 'fc3' (MatMul): the weight of node 'fc3' (MatMul) is not constant: node 'minus' (Neg) computes it}}
  %z = onnx.node "MatMul" v13 (%a, %n) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc3", "z"]
  return %y, %z : tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @quantised(
// CHECK-NOT: ffn.feed_forward
func.func @quantised(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %q = ffn.weight dense<1> : tensor<4x8xi8>
  %s = ffn.weight dense<0.5> : tensor<f32>
  %dq = onnx.node "DequantizeLinear" v13 (%q, %s) : (tensor<4x8xi8>, tensor<f32>) -> tensor<4x8xf32>
  %u = onnx.node "MatMul" v13 (%x, %dq) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["fc1", "u"]
  %a = onnx.node "Relu" v14 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // expected-remark@+1 {{near miss: feed-forward network at linear 'fc2': the weight of node 'fc1' (MatMul) is quantised}}
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc2", "y"]
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @different_inputs(
// CHECK-NOT: ffn.feed_forward
func.func @different_inputs(%x: tensor<?x4xf32>, %z: tensor<?x4xf32>) -> (tensor<?x4xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %g = onnx.node "MatMul" v13 (%z, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %s = onnx.node "Sigmoid" v13 (%g) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["fc1", "u"]
  %a = onnx.node "Mul" v14 (%s, %u) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  // expected-remark@+1 {{near miss: feed-forward network at linear 'fc2': gate and up read different values}}
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc2", "y"]
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @cast_between(
// CHECK-NOT: ffn.feed_forward
func.func @cast_between(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["fc1", "u"]
  %c = onnx.node "Cast" v13 (%u) {to = 10 : si64} : (tensor<?x8xf32>) -> tensor<?x8xf16> names ["narrow", "c"]
  %r = onnx.node "Relu" v14 (%c) : (tensor<?x8xf16>) -> tensor<?x8xf16>
  %a = onnx.node "Cast" v13 (%r) {to = 1 : si64} : (tensor<?x8xf16>) -> tensor<?x8xf32> names ["wide", "a"]
  // expected-remark@+1 {{near miss: feed-forward network at linear 'fc2': node 'wide' (Cast) changes the element type inside it}}
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc2", "y"]
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @bias_along_rows(
// CHECK-NOT: ffn.feed_forward
func.func @bias_along_rows(%x: tensor<5x4xf32>) -> (tensor<5x4xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %b = ffn.weight dense<1.0> : tensor<5x8xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<5x4xf32>, tensor<4x8xf32>) -> tensor<5x8xf32> names ["fc1", "u"]
  %c = onnx.node "Add" v14 (%u, %b) : (tensor<5x8xf32>, tensor<5x8xf32>) -> tensor<5x8xf32> names ["add", "c"]
  %a = onnx.node "Relu" v14 (%c) : (tensor<5x8xf32>) -> tensor<5x8xf32>
  // expected-remark@+1 {{near miss: feed-forward network at linear 'fc2': what node 'add' (Add) adds is not a constant vector of the hidden width}}
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<5x8xf32>, tensor<8x4xf32>) -> tensor<5x4xf32> names ["fc2", "y"]
  return %y : tensor<5x4xf32>
}

// -----

// CHECK-LABEL: func.func @batched_weight(
// CHECK-NOT: ffn.feed_forward
func.func @batched_weight(%x: tensor<2x?x4xf32>) -> (tensor<2x?x4xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %w3 = ffn.weight dense<1.0> : tensor<2x4x8xf32>
  %u = onnx.node "MatMul" v13 (%x, %w3) : (tensor<2x?x4xf32>, tensor<2x4x8xf32>) -> tensor<2x?x8xf32> names ["fc1", "u"]
  %a = onnx.node "Relu" v14 (%u) : (tensor<2x?x8xf32>) -> tensor<2x?x8xf32>
  // expected-remark@+1 {{near miss: feed-forward network at linear 'fc2': node 'fc1' (MatMul) is not a product of rows with a matrix}}
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<2x?x8xf32>, tensor<8x4xf32>) -> tensor<2x?x4xf32> names ["fc2", "y"]
  return %y : tensor<2x?x4xf32>
}

// -----

// CHECK-LABEL: func.func @one_part(
// CHECK-NOT: ffn.feed_forward
func.func @one_part(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %w = ffn.weight dense<1.0> : tensor<4x16xf32>
  %l = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x4xf32>, tensor<4x16xf32>) -> tensor<?x16xf32>
  %s:2 = onnx.node "Split" v13 (%l) {axis = -1 : si64} : (tensor<?x16xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) names ["split", "s0", "s1"]
  %a = onnx.node "Relu" v14 (%s#0) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // expected-remark@+1 {{near miss: feed-forward network at linear 'fc2': the activation reads node 'split' (Split), not a linear}}
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc2", "y"]
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @unknown_type(
// CHECK-NOT: ffn.feed_forward
func.func @unknown_type(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>) {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "com.acme::Linear" v1 (%x) : (tensor<?x4xf32>) -> !onnx.unknown
  %m = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "PRelu" v16 (%m, %u) : (tensor<?x8xf32>, !onnx.unknown) -> tensor<?x8xf32> names ["prelu", "a"]
  // expected-remark@+1 {{near miss: feed-forward network at linear 'fc2': node 'prelu' (PRelu) is not an activation between two linears that is known}}
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> names ["fc2", "y"]
  return %y : tensor<?x4xf32>
}
