// RUN: ffn-opt %s --ffn-remove-dead-neurons --split-input-file --verify-diagnostics | FileCheck %s
// RUN: ffn-opt %s --ffn-remove-dead-neurons=multiple=2 --split-input-file 2>/dev/null | FileCheck %s --check-prefix=EVEN
// RUN: ffn-opt %s --ffn-remove-dead-neurons="dead=false zero=false duplicates=false linear=false" --split-input-file -o %t.after
// RUN: ffn-opt %s --split-input-file -o %t.before
// RUN: cmp %t.before %t.after

// Rows have length 2 and scale 1, so neurons reach 4: the one with bias -5
// never fires, that with -4 may.
// CHECK-LABEL: func.func @bound(
// CHECK: %[[I:.*]] = ffn.weight dense<[0, 2]> : tensor<2xi32>
// CHECK: %[[U:.*]] = ffn.gather_rows %{{.*}}[%[[I]]]
// CHECK: ffn.feed_forward relu %{{.*}} up %[[U]] down %{{.*}} up_bias %{{.*}} : (tensor<?x4xf32>, tensor<2x4xf32>, tensor<4x2xf32>, tensor<2xf32>)
// EVEN-LABEL: func.func @bound(
// EVEN: tensor<2x4xf32>, tensor<4x2xf32>
func.func @bound(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %u = ffn.weight dense<[[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 1.0, 1.0], [1.0, 1.0, -1.0, 1.0]]> : tensor<3x4xf32>
  %d = ffn.weight dense<2.0> : tensor<4x3xf32>
  %b = ffn.weight dense<[-4.0, -5.0, 0.0]> : tensor<3xf32>
  %n = ffn.norm rms %x eps 1.0e-5 : tensor<?x4xf32>
  // expected-remark@+1 {{removed 1 of 3 neurons: 1 that no input makes fire}}
  %y = ffn.feed_forward relu %n up %u down %d up_bias %b : (tensor<?x4xf32>, tensor<3x4xf32>, tensor<4x3xf32>, tensor<3xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// Equal neurons: one stays, with the columns of all. A constant one becomes a
// part of the bias.
// CHECK-LABEL: func.func @equal(
// CHECK: ffn.matvec
// CHECK: ffn.add %{{.*}}, %{{.*}} : tensor<4x1xf32>
// CHECK: ffn.feed_forward silu %{{.*}} down_bias
// EVEN-LABEL: func.func @equal(
func.func @equal(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %u = ffn.weight dense<[[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]> : tensor<3x4xf32>
  %d = ffn.weight dense<2.0> : tensor<4x3xf32>
  %b = ffn.weight dense<1.0> : tensor<3xf32>
  // expected-remark@+1 {{removed 2 of 3 neurons: 1 constant, 1 duplicates}}
  %y = ffn.feed_forward silu %x up %u down %d up_bias %b : (tensor<?x4xf32>, tensor<3x4xf32>, tensor<4x3xf32>, tensor<3xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// All neurons are on: nothing but a linear is left.
// CHECK-LABEL: func.func @linear(
// CHECK: %[[W:.*]] = ffn.low_rank
// CHECK: %[[L:.*]] = ffn.linear %{{.*}}, %[[W]] bias
// CHECK-NOT: ffn.feed_forward
// CHECK: return %[[L]]
func.func @linear(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {
  %u = ffn.weight dense<[[1.0, 1.0], [1.0, -1.0], [2.0, 1.0]]> : tensor<3x2xf32>
  %d = ffn.weight dense<2.0> : tensor<2x3xf32>
  %b = ffn.weight dense<9.0> : tensor<3xf32>
  %n = ffn.norm rms %x eps 1.0e-5 : tensor<?x2xf32>
  // expected-remark@+1 {{removed 3 of 3 neurons: 3 always on, now a linear path}}
  %y = ffn.feed_forward relu %n up %u down %d up_bias %b : (tensor<?x2xf32>, tensor<3x2xf32>, tensor<2x3xf32>, tensor<3xf32>) -> tensor<?x2xf32>
  return %y : tensor<?x2xf32>
}
