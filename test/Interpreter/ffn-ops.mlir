// RUN: ffn-interpret %s --print | FileCheck %s

// Two rows [3, 4] and [0, 0] through every compute operation.
func.func @main() -> (tensor<2x2xf32>, tensor<2x2xf32>, tensor<2x3xf32>, tensor<2x2xf32>, tensor<2x2xf32>, tensor<1x2x2x1xf32>, tensor<3x2xf32>, tensor<2x2xf32>, tensor<2x3xf32>) {
  %x = ffn.weight dense<[[3.0, 4.0], [0.0, 0.0]]> : tensor<2x2xf32>
  %s = ffn.weight dense<[1.0, 2.0]> : tensor<2xf32>
  %b = ffn.weight dense<[0.0, 0.5]> : tensor<2xf32>
  // rms: 3 / sqrt(12.5), 2 * 4 / sqrt(12.5)
  // CHECK: 0 'result0' f32 [2, 2] : 0.848528137 2.2627417 0 0
  %rms = ffn.norm rms %x scale %s : tensor<2xf32> eps 1.0e-30 : tensor<2x2xf32>
  // CHECK: 1 'result1' f32 [2, 2] : -1 2.5 0 0.5
  %c = ffn.weight dense<[[3.0, 4.0], [1.0, 2.0]]> : tensor<2x2xf32>
  %layer = ffn.norm layer %x scale %s : tensor<2xf32> bias %b : tensor<2xf32> eps 1.0e-30 : tensor<2x2xf32>
  // CHECK: 2 'result2' f32 [2, 3] : 3 4 8 0 0 1
  %w = ffn.weight dense<[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]> : tensor<3x2xf32>
  %wb = ffn.weight dense<[0.0, 0.0, 1.0]> : tensor<3xf32>
  %linear = ffn.linear %x, %w bias %wb : tensor<3xf32> : tensor<2x2xf32>, tensor<3x2xf32> -> tensor<2x3xf32>
  // Gated by relu(gate(x)) = x: [9 + 1, 16].
  // CHECK: 3 'result3' f32 [2, 2] : 10 16 1 0
  %eye = ffn.weight dense<[[1.0, 0.0], [0.0, 1.0]]> : tensor<2x2xf32>
  %db = ffn.weight dense<[1.0, 0.0]> : tensor<2xf32>
  %gated = ffn.feed_forward relu %x up %eye gate %eye down %eye down_bias %db : (tensor<2x2xf32>, tensor<2x2xf32>, tensor<2x2xf32>, tensor<2x2xf32>, tensor<2xf32>) -> tensor<2x2xf32>
  // Two addends, then the residual once: x + (x + 1) + x.
  // CHECK: 4 'result4' f32 [2, 2] : 10 13 1 1
  %one = ffn.weight dense<1.0> : tensor<2xf32>
  %sub = ffn.sublayer [#ffn.addend<ffn "a">, #ffn.addend<other "b">] (%x) : (tensor<2x2xf32>) -> tensor<2x2xf32> {
  ^bb0(%r: tensor<2x2xf32>):
    %l = ffn.linear %r, %eye bias %one : tensor<2xf32> : tensor<2x2xf32>, tensor<2x2xf32> -> tensor<2x2xf32>
    ffn.yield %l, %r : tensor<2x2xf32>, tensor<2x2xf32>
  }
  // Two query heads share one key head; equal keys average the values, and
  // the first query sees the first key only.
  // CHECK: 5 'result5' f32 [1, 2, 2, 1] : 1 2 1 2
  %q = ffn.weight dense<1.0> : tensor<1x2x2x1xf32>
  %k = ffn.weight dense<1.0> : tensor<1x1x2x1xf32>
  %v = ffn.weight dense<[[[[1.0], [3.0]]]]> : tensor<1x1x2x1xf32>
  %att = ffn.attention %q, %k, %v scale 1.0 causal : tensor<1x2x2x1xf32>, tensor<1x1x2x1xf32>, tensor<1x1x2x1xf32> -> tensor<1x2x2x1xf32>
  // CHECK: 6 'result6' f32 [3, 2] : 0 0 3 4 0 0
  %ids = ffn.weight dense<[1, 0, -1]> : tensor<3xi64>
  %emb = ffn.embedding %ids, %x : tensor<3xi64>, tensor<2x2xf32> -> tensor<3x2xf32>
  // CHECK: 7 'result7' f32 [2, 2] : 3 8 0 0
  %cols = ffn.scale_cols %x, %s : tensor<2x2xf32>, tensor<2xf32>
  // relu([3, 4, 7]) * [3, 4, 8]; a probe passes by.
  // CHECK: 8 'result8' f32 [2, 3] : 9 16 56 0 0 0
  %hidden = ffn.hidden relu %x up %w gate %w up_bias %wb : (tensor<2x2xf32>, tensor<3x2xf32>, tensor<3x2xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  ffn.observe "mlp/ffn.hidden" %hidden : tensor<2x3xf32>
  return %rms, %layer, %linear, %gated, %sub, %att, %emb, %cols, %hidden : tensor<2x2xf32>, tensor<2x2xf32>, tensor<2x3xf32>, tensor<2x2xf32>, tensor<2x2xf32>, tensor<1x2x2x1xf32>, tensor<3x2xf32>, tensor<2x2xf32>, tensor<2x3xf32>
}
