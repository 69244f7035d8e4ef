// RUN: ffn-opt %s --ffn-raise --split-input-file --verify-diagnostics | FileCheck %s

// The operator.
// CHECK-LABEL: func.func @layer_norm_op
func.func @layer_norm_op(%x: tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
  %s = ffn.weight dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %b = ffn.weight dense<0.5> : tensor<4xf32>
  // CHECK-NEXT: %[[S:.*]] = ffn.weight dense<[1.0
  // CHECK-NEXT: %[[B:.*]] = ffn.weight dense<5.0
  // CHECK-NEXT: %[[N:.*]] = ffn.norm layer %{{.*}} scale %[[S]] : tensor<4xf32> bias %[[B]] : tensor<4xf32> eps 0.001{{[0-9]*}} :
  // CHECK-NEXT: return %[[N]]
  %y = onnx.node "LayerNormalization" v17 (%x, %s, %b) {axis = -1 : si64, epsilon = 1.0e-3 : f32} : (tensor<?x?x4xf32>, tensor<4xf32>, tensor<4xf32>) -> tensor<?x?x4xf32>
  return %y : tensor<?x?x4xf32>
}

// -----

// x - mean, squared by Pow, divided; scale and shift in either order.
// CHECK-LABEL: func.func @layer_norm_torch
func.func @layer_norm_torch(%x: tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
  %s = ffn.weight dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %b = ffn.weight dense<0.5> : tensor<1x1x4xf32>
  %two = onnx.node "Constant" v13 () {value = dense<2.0> : tensor<f32>} : () -> tensor<f32>
  %eps = ffn.weight dense<1.0e-3> : tensor<f32>
  %m = onnx.node "ReduceMean" v13 (%x) {axes = array<i64: -1>} : (tensor<?x?x4xf32>) -> tensor<?x?x1xf32>
  %c = onnx.node "Sub" v14 (%x, %m) : (tensor<?x?x4xf32>, tensor<?x?x1xf32>) -> tensor<?x?x4xf32>
  %q = onnx.node "Pow" v15 (%c, %two) : (tensor<?x?x4xf32>, tensor<f32>) -> tensor<?x?x4xf32>
  %v = onnx.node "ReduceMean" v13 (%q) {axes = array<i64: 2>, keepdims = 1 : si64} : (tensor<?x?x4xf32>) -> tensor<?x?x1xf32>
  %e = onnx.node "Add" v14 (%eps, %v) : (tensor<f32>, tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %r = onnx.node "Sqrt" v13 (%e) : (tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %d = onnx.node "Div" v14 (%c, %r) : (tensor<?x?x4xf32>, tensor<?x?x1xf32>) -> tensor<?x?x4xf32>
  %t = onnx.node "Mul" v14 (%s, %d) : (tensor<4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  // CHECK: %[[B:.*]] = ffn.reshape %{{.*}} : tensor<1x1x4xf32> to tensor<4xf32>
  // CHECK: %[[N:.*]] = ffn.norm layer %{{.*}} scale %{{.*}} : tensor<4xf32> bias %[[B]] : tensor<4xf32> eps 0.001{{[0-9]*}} : tensor<?x?x4xf32>
  // CHECK-NEXT: return %[[N]]
  %y = onnx.node "Add" v14 (%t, %b) : (tensor<?x?x4xf32>, tensor<1x1x4xf32>) -> tensor<?x?x4xf32>
  return %y : tensor<?x?x4xf32>
}

// -----

// The form of Keras: x * s + (shift - mean * s), s = scale / deviation.
// CHECK-LABEL: func.func @layer_norm_folded
func.func @layer_norm_folded(%x: tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
  %s = ffn.weight dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %b = ffn.weight dense<0.5> : tensor<4xf32>
  %eps = ffn.weight dense<1.0e-3> : tensor<1xf32>
  %m = onnx.node "ReduceMean" v13 (%x) {axes = array<i64: 2>} : (tensor<?x?x4xf32>) -> tensor<?x?x1xf32>
  %c = onnx.node "Sub" v14 (%x, %m) : (tensor<?x?x4xf32>, tensor<?x?x1xf32>) -> tensor<?x?x4xf32>
  %q = onnx.node "Mul" v14 (%c, %c) : (tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  %v = onnx.node "ReduceMean" v13 (%q) {axes = array<i64: 2>} : (tensor<?x?x4xf32>) -> tensor<?x?x1xf32>
  %e = onnx.node "Add" v14 (%v, %eps) : (tensor<?x?x1xf32>, tensor<1xf32>) -> tensor<?x?x1xf32>
  %r = onnx.node "Sqrt" v13 (%e) : (tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %i = onnx.node "Reciprocal" v13 (%r) : (tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %f = onnx.node "Mul" v14 (%i, %s) : (tensor<?x?x1xf32>, tensor<4xf32>) -> tensor<?x?x4xf32>
  %xf = onnx.node "Mul" v14 (%x, %f) : (tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  %mf = onnx.node "Mul" v14 (%m, %f) : (tensor<?x?x1xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  %sh = onnx.node "Sub" v14 (%b, %mf) : (tensor<4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  // CHECK-NOT: onnx.node
  // CHECK: %[[N:.*]] = ffn.norm layer %{{.*}} scale %{{.*}} bias %{{.*}} eps
  // CHECK-NEXT: return %[[N]]
  %y = onnx.node "Add" v14 (%xf, %sh) : (tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  return %y : tensor<?x?x4xf32>
}

// -----

// CHECK-LABEL: func.func @rms_reciprocal
func.func @rms_reciprocal(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %s = ffn.weight dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %two = ffn.weight dense<2.0> : tensor<f32>
  %one = ffn.weight dense<1.0> : tensor<f32>
  %eps = ffn.weight dense<1.0e-3> : tensor<f32>
  %axes = ffn.weight dense<-1> : tensor<1xi64>
  %x1 = onnx.node "Cast" v13 (%x) {to = 1 : si64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %q = onnx.node "Pow" v15 (%x1, %two) : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  %v = onnx.node "ReduceMean" v18 (%q, %axes) {keepdims = 1 : si64} : (tensor<?x4xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %e = onnx.node "Add" v14 (%v, %eps) : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %r = onnx.node "Sqrt" v13 (%e) : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %i = onnx.node "Div" v14 (%one, %r) : (tensor<f32>, tensor<?x1xf32>) -> tensor<?x1xf32>
  %n = onnx.node "Mul" v14 (%x1, %i) : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  // CHECK-NOT: onnx.node
  // CHECK: ffn.norm rms %arg0 scale %{{.*}} : tensor<4xf32> eps
  %y = onnx.node "Mul" v14 (%s, %n) : (tensor<4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// The power -1/2, eps outside of the root, no scale.
// CHECK-LABEL: func.func @rms_variants
func.func @rms_variants(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %p = ffn.weight dense<-0.5> : tensor<f32>
  %eps = ffn.weight dense<1.0e-3> : tensor<f32>
  %q = onnx.node "Mul" v14 (%x, %x) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %v = onnx.node "ReduceMean" v13 (%q) {axes = array<i64: -1>} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %e = onnx.node "Add" v14 (%v, %eps) : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %i = onnx.node "Pow" v15 (%e, %p) : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  // CHECK: %[[A:.*]] = ffn.norm rms %arg0 eps 0.001{{[0-9]*}} : tensor<?x4xf32>
  %a = onnx.node "Mul" v14 (%i, %x) : (tensor<?x1xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %q2 = onnx.node "Mul" v14 (%x, %x) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %v2 = onnx.node "ReduceMean" v13 (%q2) {axes = array<i64: -1>} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %r2 = onnx.node "Sqrt" v13 (%v2) : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %e2 = onnx.node "Add" v14 (%r2, %eps) : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  // CHECK: %[[B:.*]] = ffn.norm rms %arg0 eps 0.001{{[0-9]*}} outer : tensor<?x4xf32>
  %b = onnx.node "Div" v14 (%x, %e2) : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  // CHECK: return %[[A]], %[[B]]
  return %a, %b : tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// Its fourth result is the residual; the bias belongs to the linear before.
// CHECK-LABEL: func.func @skip_layer_norm
func.func @skip_layer_norm(%h: tensor<?x?x4xf32>, %x: tensor<?x?x4xf32>) -> (tensor<?x?x4xf32>, tensor<?x?x4xf32>) {
  %none = onnx.absent
  %w = ffn.weight dense<2.0> : tensor<4x4xf32>
  %s = ffn.weight dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %b = ffn.weight dense<0.5> : tensor<4xf32>
  %c = ffn.weight dense<0.25> : tensor<4xf32>
  // CHECK: %[[L:.*]] = ffn.linear %arg1, %{{.*}} bias %{{.*}} : tensor<4xf32>
  // CHECK: %[[SUM:.*]] = onnx.node "Add" v14 (%[[L]], %arg0)
  // CHECK: %[[N:.*]] = ffn.norm layer %[[SUM]] scale %{{.*}} bias %{{.*}} eps 9.99{{.*}}E-6
  // CHECK: return %[[N]], %[[SUM]]
  %l = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x?x4xf32>, tensor<4x4xf32>) -> tensor<?x?x4xf32>
  %y:4 = onnx.node "com.microsoft::SkipLayerNormalization" v1 (%l, %h, %s, %b, %c) {epsilon = 1.0e-5 : f32} : (tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) -> (tensor<?x?x4xf32>, none, none, tensor<?x?x4xf32>)
  return %y#0, %y#3 : tensor<?x?x4xf32>, tensor<?x?x4xf32>
}

// -----

// CHECK-LABEL: func.func @simplified
func.func @simplified(%x: tensor<?x4xf16>) -> (tensor<?x4xf16>, tensor<?x4xf16>) {
  %s = ffn.weight dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf16>
  // CHECK-COUNT-2: ffn.norm rms %arg0 scale %{{.*}} : tensor<4xf16> eps 9.99{{.*}}E-6 : tensor<?x4xf16>
  %y = onnx.node "SimplifiedLayerNormalization" v1 (%x, %s) : (tensor<?x4xf16>, tensor<4xf16>) -> tensor<?x4xf16>
  %z = onnx.node "RMSNormalization" v23 (%x, %s) {axis = 1 : si64} : (tensor<?x4xf16>, tensor<4xf16>) -> tensor<?x4xf16>
  return %y, %z : tensor<?x4xf16>, tensor<?x4xf16>
}

// -----

// CHECK-LABEL: func.func @two_dimensions
func.func @two_dimensions(%x: tensor<?x3x4xf32>) -> tensor<?x3x4xf32> {
  %s = ffn.weight dense<1.0> : tensor<3x4xf32>
  // CHECK-NOT: ffn.norm
  // expected-remark@+1 {{near miss: norm at node 'ln' (LayerNormalization): normalises from axis 1, not over the last dimension alone}}
  %y = onnx.node "LayerNormalization" v17 (%x, %s) {axis = 1 : si64} : (tensor<?x3x4xf32>, tensor<3x4xf32>) -> tensor<?x3x4xf32> names ["ln", "y"]
  return %y : tensor<?x3x4xf32>
}

// -----

// CHECK-LABEL: func.func @wrong_axis
func.func @wrong_axis(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %eps = ffn.weight dense<1.0e-3> : tensor<f32>
  %q = onnx.node "Mul" v14 (%x, %x) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %v = onnx.node "ReduceMean" v13 (%q) {axes = array<i64: 0>} : (tensor<?x4xf32>) -> tensor<1x4xf32>
  %e = onnx.node "Add" v14 (%v, %eps) : (tensor<1x4xf32>, tensor<f32>) -> tensor<1x4xf32>
  %r = onnx.node "Sqrt" v13 (%e) : (tensor<1x4xf32>) -> tensor<1x4xf32>
  // CHECK-NOT: ffn.norm
  // expected-remark@+1 {{near miss: norm at node 'd' (Div): the mean is not over the last dimension}}
  %y = onnx.node "Div" v14 (%x, %r) : (tensor<?x4xf32>, tensor<1x4xf32>) -> tensor<?x4xf32> names ["d", "y"]
  return %y : tensor<?x4xf32>
}

// -----

// A value inside the pattern is a result of the model.
// CHECK-LABEL: func.func @deviation_used
func.func @deviation_used(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x1xf32>) {
  %eps = ffn.weight dense<1.0e-3> : tensor<f32>
  %q = onnx.node "Mul" v14 (%x, %x) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %v = onnx.node "ReduceMean" v13 (%q) {axes = array<i64: 1>} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %e = onnx.node "Add" v14 (%v, %eps) : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %r = onnx.node "Sqrt" v13 (%e) : (tensor<?x1xf32>) -> tensor<?x1xf32>
  // CHECK-NOT: ffn.norm
  // expected-remark@+1 {{near miss: norm at node 'd' (Div): a value inside it is also used by return}}
  %y = onnx.node "Div" v14 (%x, %r) : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32> names ["d", "y"]
  return %y, %r : tensor<?x4xf32>, tensor<?x1xf32>
}

// -----

// Not the deviation of what is divided.
// CHECK-LABEL: func.func @other_value
func.func @other_value(%x: tensor<?x4xf32>, %z: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %eps = ffn.weight dense<1.0e-3> : tensor<f32>
  %q = onnx.node "Mul" v14 (%x, %x) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %v = onnx.node "ReduceMean" v13 (%q) {axes = array<i64: 1>} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %e = onnx.node "Add" v14 (%v, %eps) : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %r = onnx.node "Sqrt" v13 (%e) : (tensor<?x1xf32>) -> tensor<?x1xf32>
  // CHECK-NOT: ffn.norm
  // expected-remark@+1 {{the deviation is not that of the value it divides}}
  %y = onnx.node "Div" v14 (%z, %r) : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
