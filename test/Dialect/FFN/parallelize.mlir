// RUN: ffn-opt %s --ffn-parallelize="keep-last=false" --verify-diagnostics | FileCheck %s
// RUN: ffn-opt %s --ffn-parallelize=max-length=1 -o %t.after
// RUN: ffn-opt %s -o %t.before
// RUN: cmp %t.before %t.after

// Bodies keep their order, and read one input; an extra result keeps its place.
// CHECK-LABEL: func.func @run(
// CHECK: %[[S:.*]]:2 = ffn.sublayer [#ffn.addend<ffn "a">, #ffn.addend<ffn "b">](%arg0)
// CHECK: ^bb0(%[[X:.*]]: tensor<?x4xf32>):
// CHECK: %[[F:.*]] = ffn.feed_forward relu %[[X]]
// CHECK: %[[N:.*]] = ffn.norm rms %[[X]]
// CHECK: %[[G:.*]] = ffn.feed_forward silu %[[N]]
// CHECK: ffn.yield %[[F]], %[[G]], %[[N]]
// CHECK: return %[[S]]#0, %[[S]]#1
func.func @run(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %u = ffn.weight dense<1.0> : tensor<8x4xf32>
  %d = ffn.weight dense<2.0> : tensor<4x8xf32>
  // expected-remark@+1 {{parallelized 'a', 'b'}}
  %a = ffn.sublayer [#ffn.addend<ffn "a">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %f = ffn.feed_forward relu %h up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  %b:2 = ffn.sublayer [#ffn.addend<ffn "b">] (%a) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  ^bb0(%h: tensor<?x4xf32>):
    %n = ffn.norm rms %h eps 1.0e-5 : tensor<?x4xf32>
    %f = ffn.feed_forward silu %n up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %f, %n : tensor<?x4xf32>, tensor<?x4xf32>
  }
  return %b#0, %b#1 : tensor<?x4xf32>, tensor<?x4xf32>
}
