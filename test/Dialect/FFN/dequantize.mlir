// RUN: ffn-opt %s --ffn-materialize-weights --split-input-file --verify-diagnostics | FileCheck %s

// The last group is shorter.
// CHECK-LABEL: func.func @groups(
// CHECK: ffn.weight dense<{{\[\[}}5.000000e-01, -1.000000e+00, 6.000000e+00]]> : tensor<1x3xf32>
func.func @groups(%x: tensor<?x3xf32>) -> tensor<?x1xf32> {
  %c = ffn.weight dense<[[1, -2, 3]]> : tensor<1x3xi8>
  %s = ffn.weight dense<[[0.5, 2.0]]> : tensor<1x2xf32>
  %w = ffn.dequantize %c, %s bits 4 group 2 : tensor<1x3xi8>, tensor<1x2xf32>
  %y = ffn.linear %x, %w : tensor<?x3xf32>, tensor<1x3xf32> -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

// -----

func.func @range(%x: tensor<?x2xf32>) -> tensor<?x1xf32> {
  %c = ffn.weight dense<[[-8, 8]]> : tensor<1x2xi8>
  %s = ffn.weight dense<0.5> : tensor<1x1xf32>
  // expected-error@+1 {{code 8 does not fit 4 bits [FFN-W115]}}
  %w = ffn.dequantize %c, %s bits 4 group 2 : tensor<1x2xi8>, tensor<1x1xf32>
  %y = ffn.linear %x, %w : tensor<?x2xf32>, tensor<1x2xf32> -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

// -----

func.func @scales(%c: tensor<2x3xi8>, %s: tensor<2x1xf32>) {
  // expected-error@+1 {{groups of 2 of 'tensor<2x3xi8>' have other scales than 'tensor<2x1xf32>'}}
  %w = ffn.dequantize %c, %s bits 4 group 2 : tensor<2x3xi8>, tensor<2x1xf32>
  return
}
