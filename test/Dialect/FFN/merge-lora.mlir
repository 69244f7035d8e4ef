// RUN: ffn-opt %s --ffn-merge-lora --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func.func @scaled(
// CHECK: %[[S:.*]] = ffn.weight dense<2.000000e+00> : tensor<3xf32>
// CHECK: %[[B:.*]] = ffn.scale_rows %{{.*}}, %[[S]] : tensor<3x2xf32>
// CHECK: %[[P:.*]] = ffn.low_rank %[[B]], %{{.*}}
// CHECK: %[[W:.*]] = ffn.add %{{.*}}, %[[P]]
// CHECK: %[[C:.*]] = ffn.matvec %[[B]], %{{.*}} plus %{{.*}}
// CHECK: %[[L:.*]] = ffn.linear %arg0, %[[W]] bias %[[C]]
// CHECK-NOT: ffn.linear
// CHECK: return %[[L]]
func.func @scaled(%x: tensor<?x4xf32>) -> tensor<?x3xf32> {
  %w = ffn.weight dense<1.0> : tensor<3x4xf32>
  %c = ffn.weight dense<4.0> : tensor<3xf32>
  %a = ffn.weight dense<2.0> : tensor<2x4xf32>
  %i = ffn.weight dense<5.0> : tensor<2xf32>
  %b = ffn.weight dense<3.0> : tensor<3x2xf32>
  %f = ffn.weight dense<4.0> : tensor<f32>
  %g = ffn.weight dense<2.0> : tensor<1xf32>
  // expected-remark@+1 {{adapter of rank 2 merged into a weight}}
  %y = ffn.linear %x, %w bias %c : tensor<3xf32> : tensor<?x4xf32>, tensor<3x4xf32> -> tensor<?x3xf32>
  %p = ffn.linear %x, %a bias %i : tensor<2xf32> : tensor<?x4xf32>, tensor<2x4xf32> -> tensor<?x2xf32>
  %m = onnx.node "Mul" v14 (%f, %p) : (tensor<f32>, tensor<?x2xf32>) -> tensor<?x2xf32>
  %q = ffn.linear %m, %b : tensor<?x2xf32>, tensor<3x2xf32> -> tensor<?x3xf32>
  %r = onnx.node "Div" v14 (%q, %g) : (tensor<?x3xf32>, tensor<1xf32>) -> tensor<?x3xf32>
  %z = onnx.node "Add" v14 (%r, %y) : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  return %z : tensor<?x3xf32>
}
