// RUN: ffn-opt %s --ffn-prune-sublayers="only=a.mlp" --split-input-file --verify-diagnostics | FileCheck %s

// The residual takes the place of the sublayer; weights that only it read go.
// CHECK-LABEL: func.func @whole(
// CHECK-SAME: %[[X:[a-z0-9]*]]: tensor<?x4xf32>
// CHECK-NOT: dense<3.000000e+00>
// CHECK: %[[B:.*]] = ffn.sublayer [#ffn.addend<ffn "b.mlp">](%[[X]])
// CHECK: return %[[B]]
func.func @whole(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w = ffn.weight dense<3.0> : tensor<4x4xf32>
  %v = ffn.weight dense<2.0> : tensor<4x4xf32>
  // expected-remark@+1 {{removed 'a.mlp' (ffn)}}
  %a = ffn.sublayer [#ffn.addend<ffn "a.mlp">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %f = ffn.feed_forward relu %h up %w down %w : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  %b = ffn.sublayer [#ffn.addend<ffn "b.mlp">] (%a) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %f = ffn.feed_forward relu %h up %v down %v : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  return %b : tensor<?x4xf32>
}

// -----

// One addend of two goes; the other keeps its place and name.
// CHECK-LABEL: func.func @parallel(
// CHECK: ffn.sublayer [#ffn.addend<attention "a.attn">](%arg0)
// CHECK-NOT: ffn.feed_forward
// CHECK: %[[L:.*]] = ffn.linear
// CHECK-NEXT: ffn.yield %[[L]] : tensor<?x4xf32>
func.func @parallel(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w = ffn.weight dense<3.0> : tensor<4x4xf32>
  // expected-remark@+1 {{removed 'a.mlp' (ffn)}}
  %a = ffn.sublayer [#ffn.addend<ffn "a.mlp">, #ffn.addend<attention "a.attn">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %f = ffn.feed_forward relu %h up %w down %w : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    %l = ffn.linear %h, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
    ffn.yield %f, %l : tensor<?x4xf32>, tensor<?x4xf32>
  }
  return %a : tensor<?x4xf32>
}

// -----

// A state that only the removed addend computes leaves the signature; the
// states of others keep their arguments.
// CHECK-LABEL: func.func @state(
// CHECK-SAME: %[[X:[a-z0-9]*]]: tensor<?x4xf32>, %[[P:[a-z0-9]*]]: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>)
// CHECK: %[[B:.*]]:2 = ffn.sublayer [#ffn.addend<other "b">] state [#ffn.state<1 -> 0>](%[[X]])
// CHECK: return %[[B]]#0, %[[B]]#1
// expected-remark@+1 {{removed argument 1 'past.0' and result 1}}
func.func @state(%x: tensor<?x4xf32>, %p0: tensor<?x4xf32> {onnx.name = "past.0"}, %p1: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  // expected-remark@+1 {{removed 'a.mlp' (attention)}}
  %a:2 = ffn.sublayer [#ffn.addend<attention "a.mlp">] state [#ffn.state<1 -> 0>] (%x) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  ^bb0(%h: tensor<?x4xf32>):
    %n = onnx.node "Add" v14 (%h, %p0) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    ffn.yield %n, %n : tensor<?x4xf32>, tensor<?x4xf32>
  }
  %b:2 = ffn.sublayer [#ffn.addend<other "b">] state [#ffn.state<2 -> 0>] (%a#0) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  ^bb0(%h: tensor<?x4xf32>):
    %n = onnx.node "Add" v14 (%h, %p1) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    ffn.yield %n, %n : tensor<?x4xf32>, tensor<?x4xf32>
  }
  return %b#0, %a#1, %b#1 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// The norm of a post-norm sublayer stays unless with-norm is given.
// CHECK-LABEL: func.func @post_norm(
// CHECK: %[[N:.*]] = ffn.norm layer %arg0
// CHECK: return %[[N]]
func.func @post_norm(%x: tensor<?x4xf32>, %w: tensor<4x4xf32>) -> tensor<?x4xf32> {
  // expected-remark@+1 {{removed 'a.mlp' (ffn)}}
  %a = ffn.sublayer [#ffn.addend<ffn "a.mlp">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %f = ffn.feed_forward relu %h up %w down %w : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  %n = ffn.norm layer %a eps 1.0e-5 : tensor<?x4xf32>
  return %n : tensor<?x4xf32>
}
