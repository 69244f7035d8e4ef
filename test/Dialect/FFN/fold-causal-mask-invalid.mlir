// RUN: ffn-opt %s --ffn-fold-causal-mask --split-input-file --verify-diagnostics | FileCheck %s

// Masks that are near to a causal one and are kept.

// CHECK-LABEL: func.func @early
func.func @early(%q: tensor<2x4x5x16xf32>, %k: tensor<2x4x8x16xf32>, %given: tensor<5x8xf32>) -> tensor<2x4x5x16xf32> {
  %0 = ffn.weight dense<0> : tensor<i64>
  %1 = ffn.weight dense<1> : tensor<i64>
  %2 = ffn.weight dense<2> : tensor<i64>
  %7 = ffn.weight dense<7> : tensor<i64>
  %8 = ffn.weight dense<8> : tensor<i64>
  %axis = ffn.weight dense<1> : tensor<1xi64>
  %little = ffn.weight dense<-100.0> : tensor<f32>
  %least = ffn.weight dense<-3.4028234663852886e+38> : tensor<f32>
  %zero = ffn.weight dense<0.0> : tensor<f32>
  %p = onnx.node "Range" v11 (%2, %7, %1) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<5xi64>
  %r = onnx.node "Range" v11 (%0, %8, %1) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<8xi64>
  %c = onnx.node "Unsqueeze" v13 (%p, %axis) : (tensor<5xi64>, tensor<1xi64>) -> tensor<5x1xi64>
  %g = onnx.node "Greater" v13 (%r, %c) : (tensor<8xi64>, tensor<5x1xi64>) -> tensor<5x8xi1>
  %e = onnx.node "GreaterOrEqual" v16 (%r, %c) : (tensor<8xi64>, tensor<5x1xi64>) -> tensor<5x8xi1>
  // Positions start one too early.
  %m = onnx.node "Where" v16 (%g, %least, %zero) : (tensor<5x8xi1>, tensor<f32>, tensor<f32>) -> tensor<5x8xf32>
  // CHECK: ffn.attention {{.*}} mask
  // expected-remark@+1 {{mask kept}}
  %y0 = ffn.attention %q, %k, %k mask %m : tensor<5x8xf32> scale 0.25 : tensor<2x4x5x16xf32>, tensor<2x4x8x16xf32>, tensor<2x4x8x16xf32> -> tensor<2x4x5x16xf32>
  // What it adds leaves something of a score.
  %w = onnx.node "Where" v16 (%e, %little, %zero) : (tensor<5x8xi1>, tensor<f32>, tensor<f32>) -> tensor<5x8xf32>
  // CHECK: ffn.attention {{.*}} mask
  // expected-remark@+1 {{mask kept}}
  %y1 = ffn.attention %q, %k, %k mask %w : tensor<5x8xf32> scale 0.25 : tensor<2x4x5x16xf32>, tensor<2x4x8x16xf32>, tensor<2x4x8x16xf32> -> tensor<2x4x5x16xf32>
  // A boolean mask that keeps the future.
  // CHECK: ffn.attention {{.*}} mask
  // expected-remark@+1 {{mask kept}}
  %y2 = ffn.attention %q, %k, %k mask %g : tensor<5x8xi1> scale 0.25 : tensor<2x4x5x16xf32>, tensor<2x4x8x16xf32>, tensor<2x4x8x16xf32> -> tensor<2x4x5x16xf32>
  // CHECK: ffn.attention {{.*}} mask
  // expected-remark@+1 {{mask kept}}
  %y3 = ffn.attention %q, %k, %k mask %given : tensor<5x8xf32> scale 0.25 : tensor<2x4x5x16xf32>, tensor<2x4x8x16xf32>, tensor<2x4x8x16xf32> -> tensor<2x4x5x16xf32>
  %s = onnx.node "Sum" v13 (%y0, %y1, %y2, %y3) : (tensor<2x4x5x16xf32>, tensor<2x4x5x16xf32>, tensor<2x4x5x16xf32>, tensor<2x4x5x16xf32>) -> tensor<2x4x5x16xf32>
  return %s : tensor<2x4x5x16xf32>
}

// -----

// More queries than keys: the first ones see nothing, where an added mask is
// not the same as none.
// CHECK-LABEL: func.func @more_queries
func.func @more_queries(%q: tensor<2x4x5x16xf32>, %k: tensor<2x4x3x16xf32>) -> tensor<2x4x5x16xf32> {
  %m2 = ffn.weight dense<-2> : tensor<i64>
  %0 = ffn.weight dense<0> : tensor<i64>
  %1 = ffn.weight dense<1> : tensor<i64>
  %3 = ffn.weight dense<3> : tensor<i64>
  %axis = ffn.weight dense<1> : tensor<1xi64>
  %p = onnx.node "Range" v11 (%m2, %3, %1) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<5xi64>
  %r = onnx.node "Range" v11 (%0, %3, %1) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<3xi64>
  %c = onnx.node "Unsqueeze" v13 (%p, %axis) : (tensor<5xi64>, tensor<1xi64>) -> tensor<5x1xi64>
  %l = onnx.node "LessOrEqual" v16 (%r, %c) : (tensor<3xi64>, tensor<5x1xi64>) -> tensor<5x3xi1>
  // CHECK: ffn.attention {{.*}} mask
  // expected-remark@+1 {{mask kept}}
  %y = ffn.attention %q, %k, %k mask %l : tensor<5x3xi1> scale 0.25 : tensor<2x4x5x16xf32>, tensor<2x4x3x16xf32>, tensor<2x4x3x16xf32> -> tensor<2x4x5x16xf32>
  return %y : tensor<2x4x5x16xf32>
}
