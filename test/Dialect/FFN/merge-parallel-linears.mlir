// RUN: ffn-opt %s --ffn-merge-parallel=linears --split-input-file --verify-diagnostics | FileCheck %s
// Off, which is the default, nothing changes, to the byte.
// RUN: ffn-opt %s --ffn-merge-parallel --split-input-file -o %t.after
// RUN: ffn-opt %s --split-input-file -o %t.before
// RUN: cmp %t.before %t.after

// Weights stay in the type they are stored in; a bias that is missing is zeros.
// CHECK-LABEL: func.func @three(
// CHECK-DAG: %[[Q:.*]] = ffn.weight dense<1.000000e+00> : tensor<8x4xf16>
// CHECK-DAG: %[[K:.*]] = ffn.weight dense<2.000000e+00> : tensor<2x4xf16>
// CHECK-DAG: %[[V:.*]] = ffn.weight dense<3.000000e+00> : tensor<3x4xf16>
// CHECK: %[[C:.*]] = ffn.concat_rows %[[Q]], %[[K]], %[[V]] : tensor<8x4xf16>, tensor<2x4xf16>, tensor<3x4xf16>
// CHECK: %[[W:.*]] = ffn.cast %[[C]] : tensor<13x4xf16> to tensor<13x4xf32>
// CHECK: %[[Z:.*]] = ffn.weight dense<0.000000e+00> : tensor<8xf32>
// CHECK: %[[B:.*]] = ffn.concat_rows %[[Z]]
// CHECK: %[[N:.*]] = ffn.weight dense<[8, 2, 3]> : tensor<3xi64>
// CHECK: %[[L:.*]] = ffn.linear %arg0, %[[W]] bias %[[B]]
// CHECK: %[[S:.*]]:3 = onnx.node "Split" v13 (%[[L]], %[[N]]) {{.*}}axis{{.*}}2
// CHECK: return %[[S]]#0, %[[S]]#1, %[[S]]#2
func.func @three(%x: tensor<?x?x4xf32>) -> (tensor<?x?x8xf32>, tensor<?x?x2xf32>, tensor<?x?x3xf32>) {
  %q = ffn.weight dense<1.0> : tensor<8x4xf16>
  %k = ffn.weight dense<2.0> : tensor<2x4xf16>
  %v = ffn.weight dense<3.0> : tensor<3x4xf16>
  %b = ffn.weight dense<4.0> : tensor<2xf32>
  %c = ffn.weight dense<5.0> : tensor<3xf32>
  %qf = ffn.cast %q : tensor<8x4xf16> to tensor<8x4xf32>
  %kf = ffn.cast %k : tensor<2x4xf16> to tensor<2x4xf32>
  %vf = ffn.cast %v : tensor<3x4xf16> to tensor<3x4xf32>
  // expected-remark@+1 {{merged 3 linears into one of width 13}}
  %0 = ffn.linear %x, %qf : tensor<?x?x4xf32>, tensor<8x4xf32> -> tensor<?x?x8xf32>
  %1 = ffn.linear %x, %kf bias %b : tensor<2xf32> : tensor<?x?x4xf32>, tensor<2x4xf32> -> tensor<?x?x2xf32>
  %2 = ffn.linear %x, %vf bias %c : tensor<3xf32> : tensor<?x?x4xf32>, tensor<3x4xf32> -> tensor<?x?x3xf32>
  return %0, %1, %2 : tensor<?x?x8xf32>, tensor<?x?x2xf32>, tensor<?x?x3xf32>
}

// -----

// Those that cannot join the first may join each other.
// CHECK-LABEL: func.func @rest(
// CHECK: ffn.linear
// CHECK: ffn.concat_rows %{{.*}} : tensor<2x4xf16>, tensor<2x4xf16>
// CHECK: ffn.linear
// CHECK-NOT: ffn.linear
func.func @rest(%x: tensor<?x4xf32>) -> (tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xf32>) {
  %q = ffn.weight dense<1.0> : tensor<2x4xf32>
  %k = ffn.weight dense<2.0> : tensor<2x4xf16>
  %v = ffn.weight dense<3.0> : tensor<2x4xf16>
  %kf = ffn.cast %k : tensor<2x4xf16> to tensor<2x4xf32>
  %vf = ffn.cast %v : tensor<2x4xf16> to tensor<2x4xf32>
  // expected-remark@+1 {{linear not merged with another that reads the same value: their weights differ in type}}
  %0 = ffn.linear %x, %q : tensor<?x4xf32>, tensor<2x4xf32> -> tensor<?x2xf32>
  // expected-remark@+1 {{merged 2 linears into one of width 4}}
  %1 = ffn.linear %x, %kf : tensor<?x4xf32>, tensor<2x4xf32> -> tensor<?x2xf32>
  %2 = ffn.linear %x, %vf : tensor<?x4xf32>, tensor<2x4xf32> -> tensor<?x2xf32>
  return %0, %1, %2 : tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xf32>
}

// -----

// A table that is read elsewhere stays one.
// CHECK-LABEL: func.func @tied(
// CHECK-NOT: ffn.concat_rows
// CHECK: return
func.func @tied(%x: tensor<?x4xf32>, %i: tensor<?xi64>) -> (tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x4xf32>) {
  %q = ffn.weight dense<1.0> : tensor<2x4xf32>
  %k = ffn.weight dense<2.0> : tensor<2x4xf32>
  // expected-remark@+1 {{linear not merged with another that reads the same value: a weight is also read by ffn.embedding}}
  %0 = ffn.linear %x, %q : tensor<?x4xf32>, tensor<2x4xf32> -> tensor<?x2xf32>
  // expected-remark@+1 {{linear not merged with another that reads the same value: a weight is also read by ffn.embedding}}
  %1 = ffn.linear %x, %k : tensor<?x4xf32>, tensor<2x4xf32> -> tensor<?x2xf32>
  %e = ffn.embedding %i, %k : tensor<?xi64>, tensor<2x4xf32> -> tensor<?x4xf32>
  return %0, %1, %e : tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @late(
// CHECK-NOT: ffn.concat_rows
// CHECK: return
func.func @late(%x: tensor<?x4xf32>, %w: tensor<2x4xf32>) -> (tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xf32>) {
  %q = ffn.weight dense<1.0> : tensor<2x4xf32>
  // expected-remark@+1 {{linear not merged with another that reads the same value: a weight is defined behind the first of them}}
  %0 = ffn.linear %x, %q : tensor<?x4xf32>, tensor<2x4xf32> -> tensor<?x2xf32>
  %k = ffn.weight dense<2.0> : tensor<2x4xf32>
  // expected-remark@+1 {{linear not merged with another that reads the same value: a weight is defined behind the first of them}}
  %1 = ffn.linear %x, %k : tensor<?x4xf32>, tensor<2x4xf32> -> tensor<?x2xf32>
  // expected-remark@+1 {{linear not merged with another that reads the same value: a weight is not constant}}
  %2 = ffn.linear %x, %w : tensor<?x4xf32>, tensor<2x4xf32> -> tensor<?x2xf32>
  return %0, %1, %2 : tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xf32>
}
