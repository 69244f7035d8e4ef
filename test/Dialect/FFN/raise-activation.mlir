// RUN: ffn-opt %s --ffn-raise --split-input-file --verify-diagnostics | FileCheck %s

// Each spelling of an activation between two linears is one network. Every
// exporter writes its own: factors in any order, powers or products, constants
// on either side.

// CHECK-LABEL: func.func @relu(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward relu %arg0 up
func.func @relu(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Relu" v14 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @tanh(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward tanh %arg0 up
func.func @tanh(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Tanh" v13 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @sigmoid(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward sigmoid %arg0 up
func.func @sigmoid(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Sigmoid" v13 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @squared_relu(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward squared_relu %arg0 up
func.func @squared_relu(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %r = onnx.node "Relu" v14 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Mul" v14 (%r, %r) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @squared_relu_pow(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward squared_relu %arg0 up
func.func @squared_relu_pow(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %two = ffn.weight dense<2.0> : tensor<f32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %r = onnx.node "Relu" v14 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Pow" v15 (%r, %two) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @silu(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward silu %arg0 up
func.func @silu(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %s = onnx.node "Sigmoid" v13 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Mul" v14 (%u, %s) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @silu_swapped(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward silu %arg0 up
func.func @silu_swapped(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %s = onnx.node "Sigmoid" v13 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Mul" v14 (%s, %u) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @silu_exp(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward silu %arg0 up
func.func @silu_exp(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %one = ffn.weight dense<1.0> : tensor<f32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %m = onnx.node "Neg" v13 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %e = onnx.node "Exp" v13 (%m) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %p = onnx.node "Add" v14 (%one, %e) : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Div" v14 (%u, %p) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @quick_gelu(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward gelu_sigmoid %arg0 up
func.func @quick_gelu(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %q = ffn.weight dense<1.702> : tensor<f32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %m = onnx.node "Mul" v14 (%q, %u) : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %s = onnx.node "Sigmoid" v13 (%m) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Mul" v14 (%u, %s) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @gelu_op(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward gelu_erf %arg0 up
func.func @gelu_op(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Gelu" v20 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @gelu_op_tanh(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward gelu_tanh %arg0 up
func.func @gelu_op_tanh(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Gelu" v20 (%u) {approximate = "tanh"} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @gelu_contrib(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward gelu_erf %arg0 up
func.func @gelu_contrib(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "com.microsoft::Gelu" v1 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @fast_gelu(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward gelu_tanh %arg0 up
func.func @fast_gelu(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "com.microsoft::FastGelu" v1 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @quick_gelu_contrib(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward gelu_sigmoid %arg0 up
func.func @quick_gelu_contrib(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "com.microsoft::QuickGelu" v1 (%u) {alpha = 1.702 : f32} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @erf_torch(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward gelu_erf %arg0 up
func.func @erf_torch(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %half = ffn.weight dense<0.5> : tensor<f32>
  %one = ffn.weight dense<1.0> : tensor<f32>
  %sqrt2 = ffn.weight dense<1.41421354> : tensor<f32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %d = onnx.node "Div" v14 (%u, %sqrt2) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %e = onnx.node "Erf" v13 (%d) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %p = onnx.node "Add" v14 (%e, %one) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %m = onnx.node "Mul" v14 (%u, %p) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Mul" v14 (%m, %half) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @erf_half_first(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward gelu_erf %arg0 up
func.func @erf_half_first(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %half = ffn.weight dense<0.5> : tensor<f32>
  %one = ffn.weight dense<1.0> : tensor<f32>
  %rsqrt2 = ffn.weight dense<0.707106769> : tensor<f32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %h = onnx.node "Mul" v14 (%half, %u) : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %d = onnx.node "Mul" v14 (%u, %rsqrt2) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %e = onnx.node "Erf" v13 (%d) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %p = onnx.node "Add" v14 (%one, %e) : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Mul" v14 (%h, %p) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @erf_half_on_sum(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward gelu_erf %arg0 up
func.func @erf_half_on_sum(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %half = ffn.weight dense<0.5> : tensor<f32>
  %one = ffn.weight dense<1.0> : tensor<f32>
  %sqrt2 = ffn.weight dense<1.41421354> : tensor<f32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %d = onnx.node "Div" v14 (%u, %sqrt2) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %e = onnx.node "Erf" v13 (%d) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %p = onnx.node "Add" v14 (%e, %one) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %m = onnx.node "Mul" v14 (%p, %half) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %a = onnx.node "Mul" v14 (%m, %u) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @erf_distributed(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward gelu_erf %arg0 up
func.func @erf_distributed(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %half = ffn.weight dense<0.5> : tensor<f32>
  %sqrt2 = ffn.weight dense<1.41421354> : tensor<f32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %d = onnx.node "Div" v14 (%u, %sqrt2) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %e = onnx.node "Erf" v13 (%d) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %he = onnx.node "Mul" v14 (%e, %half) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %p = onnx.node "Add" v14 (%he, %half) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %a = onnx.node "Mul" v14 (%u, %p) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @erf_div_two(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward gelu_erf %arg0 up
func.func @erf_div_two(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %one = ffn.weight dense<1.0> : tensor<f32>
  %sqrt2 = ffn.weight dense<1.41421354> : tensor<f32>
  %two = ffn.weight dense<2.0> : tensor<f32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %d = onnx.node "Div" v14 (%u, %sqrt2) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %e = onnx.node "Erf" v13 (%d) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %p = onnx.node "Add" v14 (%e, %one) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %m = onnx.node "Mul" v14 (%u, %p) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Div" v14 (%m, %two) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @tanh_pow(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward gelu_tanh %arg0 up
func.func @tanh_pow(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %c = ffn.weight dense<0.044715> : tensor<f32>
  %half = ffn.weight dense<0.5> : tensor<f32>
  %k = ffn.weight dense<0.797884583> : tensor<f32>
  %one = ffn.weight dense<1.0> : tensor<f32>
  %three = ffn.weight dense<3.0> : tensor<f32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %x3 = onnx.node "Pow" v15 (%u, %three) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %cx = onnx.node "Mul" v14 (%x3, %c) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %su = onnx.node "Add" v14 (%u, %cx) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %ks = onnx.node "Mul" v14 (%su, %k) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %t = onnx.node "Tanh" v13 (%ks) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %p = onnx.node "Add" v14 (%t, %one) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %h = onnx.node "Mul" v14 (%u, %half) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %a = onnx.node "Mul" v14 (%h, %p) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @tanh_products(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward gelu_tanh %arg0 up
func.func @tanh_products(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %c = ffn.weight dense<0.044715> : tensor<f32>
  %half = ffn.weight dense<0.5> : tensor<f32>
  %k = ffn.weight dense<0.797884583> : tensor<f32>
  %one = ffn.weight dense<1.0> : tensor<f32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %x2 = onnx.node "Mul" v14 (%u, %u) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %x3 = onnx.node "Mul" v14 (%u, %x2) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %cx = onnx.node "Mul" v14 (%c, %x3) : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %su = onnx.node "Add" v14 (%cx, %u) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %ks = onnx.node "Mul" v14 (%k, %su) : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %t = onnx.node "Tanh" v13 (%ks) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %p = onnx.node "Add" v14 (%one, %t) : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %h = onnx.node "Mul" v14 (%half, %u) : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Mul" v14 (%p, %h) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @tanh_factored(
// CHECK-NOT: onnx.node
// CHECK: ffn.feed_forward gelu_tanh %arg0 up
func.func @tanh_factored(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w1 = ffn.weight dense<1.0> : tensor<4x8xf32>
  %w2 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %c = ffn.weight dense<0.044715> : tensor<f32>
  %half = ffn.weight dense<0.5> : tensor<f32>
  %k = ffn.weight dense<0.797884583> : tensor<f32>
  %one = ffn.weight dense<1.0> : tensor<f32>
  %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %kx = onnx.node "Mul" v14 (%u, %k) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %cx = onnx.node "Mul" v14 (%u, %c) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %cx2 = onnx.node "Mul" v14 (%cx, %u) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %p1 = onnx.node "Add" v14 (%one, %cx2) : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %ks = onnx.node "Mul" v14 (%kx, %p1) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %t = onnx.node "Tanh" v13 (%ks) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %p = onnx.node "Add" v14 (%t, %one) : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %m = onnx.node "Mul" v14 (%u, %p) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Mul" v14 (%half, %m) : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
