// RUN: ffn-opt %s --ffn-fold-norm=shared | FileCheck %s

// CHECK-LABEL: func.func @tied(
// CHECK: %[[U:.*]] = ffn.weight dense<1.000000e+00> : tensor<8x4xf32>
// CHECK: %[[S:.*]] = ffn.scale_cols %[[U]]
// CHECK: ffn.linear %{{.*}}, %[[S]]
// CHECK: ffn.embedding %{{.*}}, %[[U]]
func.func @tied(%x: tensor<?x4xf32>, %i: tensor<?xi64>) -> (tensor<?x8xf32>, tensor<?x4xf32>) {
  %g = ffn.weight dense<2.0> : tensor<4xf32>
  %u = ffn.weight dense<1.0> : tensor<8x4xf32>
  %n = ffn.norm rms %x scale %g : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
  %a = ffn.linear %n, %u : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  %e = ffn.embedding %i, %u : tensor<?xi64>, tensor<8x4xf32> -> tensor<?x4xf32>
  return %a, %e : tensor<?x8xf32>, tensor<?x4xf32>
}
