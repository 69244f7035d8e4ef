// RUN: ffn-opt %s --ffn-fold-causal-mask --split-input-file | FileCheck %s
// RUN: ffn-opt %s --ffn-fold-causal-mask --split-input-file -o %t.once
// RUN: ffn-opt %t.once --ffn-fold-causal-mask --split-input-file -o %t.twice
// RUN: diff %t.once %t.twice

// Static sizes, as many queries as keys: key t is later than query s where
// t > s.
// CHECK-LABEL: func.func @later
func.func @later(%q: tensor<2x4x5x16xf32>, %k: tensor<2x4x5x16xf32>) -> tensor<2x4x5x16xf32> {
  %0 = ffn.weight dense<0> : tensor<i64>
  %1 = ffn.weight dense<1> : tensor<i64>
  %5 = ffn.weight dense<5> : tensor<i64>
  %axis = ffn.weight dense<1> : tensor<1xi64>
  %least = ffn.weight dense<-3.4028234663852886e+38> : tensor<f32>
  %zero = ffn.weight dense<0.0> : tensor<f32>
  %r = onnx.node "Range" v11 (%0, %5, %1) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<5xi64>
  %c = onnx.node "Unsqueeze" v13 (%r, %axis) : (tensor<5xi64>, tensor<1xi64>) -> tensor<5x1xi64>
  %g = onnx.node "Greater" v13 (%r, %c) : (tensor<5xi64>, tensor<5x1xi64>) -> tensor<5x5xi1>
  %m = onnx.node "Where" v16 (%g, %least, %zero) : (tensor<5x5xi1>, tensor<f32>, tensor<f32>) -> tensor<5x5xf32>
  // CHECK: ffn.attention %arg0, %arg1, %arg1 scale 2.500000e-01 causal
  %y = ffn.attention %q, %k, %k mask %m : tensor<5x5xf32> scale 0.25 : tensor<2x4x5x16xf32>, tensor<2x4x5x16xf32>, tensor<2x4x5x16xf32> -> tensor<2x4x5x16xf32>
  return %y : tensor<2x4x5x16xf32>
}

// -----

// Three keys of the past: positions start at 3. A boolean mask keeps where true,
// here through the negation of the comparison, and has dimensions around it.
// CHECK-LABEL: func.func @past
func.func @past(%q: tensor<2x4x5x16xf32>, %k: tensor<2x4x8x16xf32>) -> tensor<2x4x5x16xf32> {
  %0 = ffn.weight dense<0> : tensor<i64>
  %1 = ffn.weight dense<1> : tensor<i64>
  %3 = ffn.weight dense<3> : tensor<i64>
  %8 = ffn.weight dense<8> : tensor<i64>
  %axis = ffn.weight dense<1> : tensor<1xi64>
  %outer = ffn.weight dense<[0, 1]> : tensor<2xi64>
  %p = onnx.node "Range" v11 (%3, %8, %1) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<5xi64>
  %r = onnx.node "Range" v11 (%0, %8, %1) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<8xi64>
  %c = onnx.node "Unsqueeze" v13 (%p, %axis) : (tensor<5xi64>, tensor<1xi64>) -> tensor<5x1xi64>
  %g = onnx.node "Less" v13 (%c, %r) : (tensor<5x1xi64>, tensor<8xi64>) -> tensor<5x8xi1>
  %n = onnx.node "Not" v1 (%g) : (tensor<5x8xi1>) -> tensor<5x8xi1>
  %m = onnx.node "Unsqueeze" v13 (%n, %outer) : (tensor<5x8xi1>, tensor<2xi64>) -> tensor<1x1x5x8xi1>
  // CHECK: ffn.attention %arg0, %arg1, %arg1 scale 2.500000e-01 causal
  %y = ffn.attention %q, %k, %k mask %m : tensor<1x1x5x8xi1> scale 0.25 : tensor<2x4x5x16xf32>, tensor<2x4x8x16xf32>, tensor<2x4x8x16xf32> -> tensor<2x4x5x16xf32>
  // What is seen is written directly, too: t <= p + s.
  %l = onnx.node "LessOrEqual" v16 (%r, %c) : (tensor<8xi64>, tensor<5x1xi64>) -> tensor<5x8xi1>
  // CHECK: ffn.attention %arg0, %arg1, %arg1 scale 5.000000e-01 causal
  %z = ffn.attention %q, %k, %k mask %l : tensor<5x8xi1> scale 0.5 : tensor<2x4x5x16xf32>, tensor<2x4x8x16xf32>, tensor<2x4x8x16xf32> -> tensor<2x4x5x16xf32>
  %s = onnx.node "Add" v14 (%y, %z) : (tensor<2x4x5x16xf32>, tensor<2x4x5x16xf32>) -> tensor<2x4x5x16xf32>
  return %s : tensor<2x4x5x16xf32>
}
