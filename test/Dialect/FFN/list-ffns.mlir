// RUN: ffn-opt %s --ffn-list-ffns --verify-diagnostics --split-input-file | FileCheck %s

// CHECK-LABEL: func.func @list
func.func @list(%x: tensor<?x4xf32>, %w1: tensor<8x4xf32>, %w2: tensor<4x8xf32>, %b: tensor<4xf32>) -> tensor<?x4xf32> {
  %a = ffn.sublayer [#ffn.addend<ffn "pre">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %n = ffn.norm rms %h eps 1.0e-5 : tensor<?x4xf32>
    // expected-remark@+1 {{ffn 'pre': gated silu d=4 m=8 bias=none norm=rms residual=pre}}
    %f = ffn.feed_forward silu %n up %w1 gate %w1 down %w2 : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  %p = ffn.sublayer [#ffn.addend<ffn "post">] (%a) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    // expected-remark@+1 {{ffn 'post': plain relu d=4 m=8 bias=down norm=layer residual=post}}
    %f = ffn.feed_forward relu %h up %w1 down %w2 down_bias %b : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4xf32>) -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  %n = ffn.norm layer %p eps 1.0e-5 : tensor<?x4xf32>
  // expected-remark@+1 {{attention 'par.attn'}}
  %q = ffn.sublayer [#ffn.addend<attention "par.attn">, #ffn.addend<ffn "par.mlp">] (%n) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    // expected-remark@+1 {{ffn 'par.mlp': plain relu d=4 m=8 bias=none norm=none residual=parallel-plain}}
    %f = ffn.feed_forward relu %h up %w1 down %w2 : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %h, %f : tensor<?x4xf32>, tensor<?x4xf32>
  }
  // expected-remark@+1 {{ffn '': plain relu d=4 m=8 bias=none norm=none residual=none}}
  %f = ffn.feed_forward relu %q up %w1 down %w2 : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  return %f : tensor<?x4xf32>
}
