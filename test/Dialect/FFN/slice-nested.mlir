// RUN: ffn-opt %s --ffn-slice-nested="share=0.5 widths=b.mlp=3" --verify-diagnostics | FileCheck %s
// RUN: ffn-opt %s --ffn-slice-nested=share=1.0 -o %t.after
// RUN: ffn-opt %s -o %t.before
// RUN: cmp %t.before %t.after

// CHECK-DAG: %[[U:.*]] = ffn.weight dense<1.000000e+00> : tensor<4x4xf32>
// CHECK-DAG: %[[D:.*]] = ffn.weight dense<2.000000e+00> : tensor<4x4xf32>
// CHECK: ffn.feed_forward relu %{{.*}} up %[[U]] down %[[D]]
// CHECK: ffn.feed_forward relu %{{.*}} : (tensor<?x4xf32>, tensor<3x4xf32>, tensor<4x3xf32>)
// CHECK: ffn.feed_forward relu %{{.*}} : (tensor<?x4xf32>, tensor<1x4xf32>, tensor<4x1xf32>)
func.func @main(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %u = ffn.weight dense<1.0> : tensor<8x4xf32>
  %d = ffn.weight dense<2.0> : tensor<4x8xf32>
  %v = ffn.weight dense<1.0> : tensor<1x4xf32>
  %e = ffn.weight dense<2.0> : tensor<4x1xf32>
  %a = ffn.sublayer [#ffn.addend<ffn "a.mlp">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    // expected-remark@+1 {{network 'a.mlp' cut from 8 to its first 4 neurons}}
    %f = ffn.feed_forward relu %h up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  %b = ffn.sublayer [#ffn.addend<ffn "b.mlp">] (%a) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    // expected-remark@+1 {{network 'b.mlp' cut from 8 to its first 3 neurons}}
    %f = ffn.feed_forward relu %h up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  // expected-remark@+1 {{network keeps its 1 neurons: that is not more than asked for}}
  %y = ffn.feed_forward relu %b up %v down %e : (tensor<?x4xf32>, tensor<1x4xf32>, tensor<4x1xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
