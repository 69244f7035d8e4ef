// RUN: ffn-opt %s --ffn-materialize-weights | FileCheck %s

// CHECK-LABEL: func.func @layouts
func.func @layouts(%x: tensor<?x3xf32>) -> (tensor<?x2xf32>, tensor<?x2xf32>) {
  %w = ffn.weight dense<[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]> : tensor<3x2xf32>
  %s = ffn.weight dense<[2.0, 3.0, 0.5]> : tensor<3xf32>
  // CHECK: %[[T:.*]] = ffn.weight dense<{{\[\[}}1.000000e+00, 3.000000e+00, 5.000000e+00], [2.000000e+00, 4.000000e+00, 6.000000e+00]]> : tensor<2x3xf32>
  %t = ffn.transpose %w : tensor<3x2xf32>
  // CHECK: %[[S:.*]] = ffn.weight dense<{{\[\[}}2.000000e+00, 9.000000e+00, 2.500000e+00], [4.000000e+00, 1.200000e+01, 3.000000e+00]]> : tensor<2x3xf32>
  // CHECK-NOT: ffn.scale_cols
  // CHECK-NOT: ffn.transpose
  %c = ffn.scale_cols %t, %s : tensor<2x3xf32>, tensor<3xf32>
  // CHECK: ffn.linear %{{.*}}, %[[T]]
  %a = ffn.linear %x, %t : tensor<?x3xf32>, tensor<2x3xf32> -> tensor<?x2xf32>
  // CHECK: ffn.linear %{{.*}}, %[[S]]
  %b = ffn.linear %x, %c : tensor<?x3xf32>, tensor<2x3xf32> -> tensor<?x2xf32>
  return %a, %b : tensor<?x2xf32>, tensor<?x2xf32>
}

// A module without expressions stays as it is.
// CHECK-LABEL: func.func @neutral
// CHECK-NEXT: %[[W:.*]] = ffn.weight dense<1.000000e+00> : tensor<2x3xf32>
// CHECK-NEXT: %[[Y:.*]] = ffn.linear %{{.*}}, %[[W]]
// CHECK-NEXT: return %[[Y]]
func.func @neutral(%x: tensor<?x3xf32>) -> tensor<?x2xf32> {
  %w = ffn.weight dense<1.0> : tensor<2x3xf32>
  %y = ffn.linear %x, %w : tensor<?x3xf32>, tensor<2x3xf32> -> tensor<?x2xf32>
  return %y : tensor<?x2xf32>
}

// A weight that only fed an expression does not stay beside its result.
// CHECK-LABEL: func.func @sources
// CHECK-NEXT: %[[W:.*]] = ffn.weight dense<{{.*}}> : tensor<3x2xf32>
// CHECK-NEXT: ffn.linear %{{.*}}, %[[W]]
func.func @sources(%x: tensor<?x2xf32>) -> tensor<?x3xf32> {
  %a = ffn.weight dense<1.0> : tensor<1x2xf32>
  %b = ffn.weight dense<2.0> : tensor<2x2xf32>
  %w = ffn.concat_rows %a, %b : tensor<1x2xf32>, tensor<2x2xf32>
  %y = ffn.linear %x, %w : tensor<?x2xf32>, tensor<3x2xf32> -> tensor<?x3xf32>
  return %y : tensor<?x3xf32>
}
