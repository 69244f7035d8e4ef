// RUN: ffn-opt %s --ffn-premerge --verify-diagnostics | FileCheck %s
// RUN: ffn-opt %s --ffn-premerge=max-ratio=0 -o %t.after
// RUN: ffn-opt %s -o %t.before
// RUN: cmp %t.before %t.after

// Two factors become one; the thin pair behind it stays.
// CHECK: %[[W:.*]] = ffn.low_rank %{{.*}}, %{{.*}} : tensor<4x8xf32>, tensor<8x4xf32>
// CHECK: %[[B:.*]] = ffn.matvec %{{.*}}, %{{.*}} plus %{{.*}}
// CHECK: %[[Y:.*]] = ffn.linear %arg0, %[[W]] bias %[[B]]
// CHECK: %[[T:.*]] = onnx.node "Tanh" v13 (%[[Y]])
// CHECK: ffn.linear %[[T]], %{{.*}} -> tensor<?x1xf32>
// CHECK: ffn.linear %{{.*}} -> tensor<?x4xf32>
func.func @main(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %a = ffn.weight dense<1.0> : tensor<8x4xf32>
  %b = ffn.weight dense<2.0> : tensor<4x8xf32>
  %c = ffn.weight dense<3.0> : tensor<8xf32>
  %d = ffn.weight dense<4.0> : tensor<4xf32>
  %u = ffn.weight dense<1.0> : tensor<1x4xf32>
  %v = ffn.weight dense<2.0> : tensor<4x1xf32>
  %h = ffn.linear %x, %a bias %c : tensor<8xf32> : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  // expected-remark@+1 {{merged with the linear before it into one of 4x4}}
  %y = ffn.linear %h, %b bias %d : tensor<4xf32> : tensor<?x8xf32>, tensor<4x8xf32> -> tensor<?x4xf32>
  %t = onnx.node "Tanh" v13 (%y) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %r = ffn.linear %t, %u : tensor<?x4xf32>, tensor<1x4xf32> -> tensor<?x1xf32>
  // expected-remark@+1 {{linear not merged with the one before it: their product has 2 times the bytes; max-ratio allows 1}}
  %z = ffn.linear %r, %v : tensor<?x1xf32>, tensor<4x1xf32> -> tensor<?x4xf32>
  return %z : tensor<?x4xf32>
}
