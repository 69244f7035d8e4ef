// RUN: ffn-opt %s --ffn-parallelize="mode=attention only=a.attn,a.mlp" 2>/dev/null | FileCheck %s --check-prefix=PAF
// RUN: ffn-opt %s --ffn-parallelize="mode=blocks window=2 only=a.attn,a.mlp,b.attn,b.mlp" 2>/dev/null | FileCheck %s --check-prefix=BLOCKS
// RUN: ffn-opt %s --ffn-parallelize="keep-last=false" --verify-diagnostics -o %t.after
// RUN: ffn-opt %s -o %t.before
// RUN: cmp %t.before %t.after

// States of attentions count on from those of the sublayers before.
// PAF-LABEL: func.func @states(
// PAF: %[[S:.*]]:2 = ffn.sublayer [#ffn.addend<attention "a.attn">, #ffn.addend<ffn "a.mlp">] state [#ffn.state<1 -> 0>](%arg0)
// PAF: ffn.linear %[[X:.*]], %
// PAF: ffn.feed_forward relu %[[X]]
// PAF: ffn.sublayer [#ffn.addend<attention "b.attn">] state [#ffn.state<2 -> 0>](%[[S]]#0)
// PAF: ffn.sublayer [#ffn.addend<ffn "b.mlp">]
// BLOCKS-LABEL: func.func @states(
// BLOCKS: %[[S:.*]]:3 = ffn.sublayer [#ffn.addend<attention "a.attn">, #ffn.addend<ffn "a.mlp">, #ffn.addend<attention "b.attn">, #ffn.addend<ffn "b.mlp">] state [#ffn.state<1 -> 0>, #ffn.state<2 -> 1>](%arg0)
// BLOCKS: ^bb0(%[[X:.*]]: tensor<?x4xf32>):
// BLOCKS: %[[A:.*]] = ffn.linear %[[X]],
// BLOCKS: %[[H:.*]] = onnx.node "Add" v14 (%[[X]], %[[A]])
// BLOCKS: %[[F:.*]] = ffn.feed_forward relu %[[H]]
// BLOCKS: %[[B:.*]] = ffn.linear %[[X]],
// BLOCKS: %[[I:.*]] = onnx.node "Add" v14 (%[[X]], %[[B]])
// BLOCKS: %[[G:.*]] = ffn.feed_forward relu %[[I]]
// BLOCKS: ffn.yield %[[A]], %[[F]], %[[B]], %[[G]], %{{.*}}, %{{.*}}
// BLOCKS: return %[[S]]#0, %[[S]]#1, %[[S]]#2
func.func @states(%x: tensor<?x4xf32>, %p: tensor<?x4xf32>, %q: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %w = ffn.weight dense<1.0> : tensor<4x4xf32>
  %0:2 = ffn.sublayer [#ffn.addend<attention "a.attn">] state [#ffn.state<1 -> 0>] (%x) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  ^bb0(%h: tensor<?x4xf32>):
    %l = ffn.linear %h, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
    %k = onnx.node "Add" v14 (%p, %l) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    ffn.yield %l, %k : tensor<?x4xf32>, tensor<?x4xf32>
  }
  // expected-remark@+1 {{'a.mlp' not parallelized: 'b.attn' follows it and is no network; ffn-prune-sublayers removes attentions that matter little}}
  %1 = ffn.sublayer [#ffn.addend<ffn "a.mlp">] (%0#0) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %f = ffn.feed_forward relu %h up %w down %w : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  %2:2 = ffn.sublayer [#ffn.addend<attention "b.attn">] state [#ffn.state<2 -> 0>] (%1) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  ^bb0(%h: tensor<?x4xf32>):
    %l = ffn.linear %h, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
    %k = onnx.node "Add" v14 (%q, %l) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    ffn.yield %l, %k : tensor<?x4xf32>, tensor<?x4xf32>
  }
  // expected-remark@+1 {{'b.mlp' not parallelized: no network follows it}}
  %3 = ffn.sublayer [#ffn.addend<ffn "b.mlp">] (%2#0) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %f = ffn.feed_forward relu %h up %w down %w : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  return %3, %0#1, %2#1 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}
