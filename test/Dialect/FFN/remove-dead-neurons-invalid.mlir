// RUN: not ffn-opt %s --ffn-remove-dead-neurons=multiple=0 2>&1 | FileCheck %s
// CHECK: multiple is less than 1 [FFN-P131]

// Nothing here can be removed, and nothing changes, to the byte.
// RUN: ffn-opt %s --ffn-remove-dead-neurons --split-input-file --verify-diagnostics -o %t.after
// RUN: ffn-opt %s --split-input-file -o %t.before
// RUN: cmp %t.before %t.after

func.func @reasons(%x: tensor<?x4xf32>, %w: tensor<2x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %u = ffn.weight dense<[[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 1.0, 1.0]]> : tensor<2x4xf32>
  %d = ffn.weight dense<2.0> : tensor<4x2xf32>
  %b = ffn.weight dense<[-9.0, -4.0]> : tensor<2xf32>
  %c = ffn.weight dense<9.0> : tensor<2xf32>
  %n = ffn.norm rms %x eps 1.0e-5 : tensor<?x4xf32>
  // expected-remark@+1 {{no neuron removed: no norm bounds its input, and none is idle or comes twice}}
  %0 = ffn.feed_forward relu %x up %u down %d up_bias %b : (tensor<?x4xf32>, tensor<2x4xf32>, tensor<4x2xf32>, tensor<2xf32>) -> tensor<?x4xf32>
  // expected-remark@+1 {{no neuron removed: no bound makes silu zero, and none is idle or comes twice}}
  %1 = ffn.feed_forward silu %n up %u down %d up_bias %b : (tensor<?x4xf32>, tensor<2x4xf32>, tensor<4x2xf32>, tensor<2xf32>) -> tensor<?x4xf32>
  // expected-remark@+1 {{no neuron removed: a weight is not constant}}
  %2 = ffn.feed_forward relu %n up %w down %d up_bias %b : (tensor<?x4xf32>, tensor<2x4xf32>, tensor<4x2xf32>, tensor<2xf32>) -> tensor<?x4xf32>
  // expected-remark@+1 {{no neuron removed: each of 2 can fire and differs from the others; 2 that are always on stay, because a linear path would be larger}}
  %3 = ffn.feed_forward relu %n up %u down %d up_bias %c : (tensor<?x4xf32>, tensor<2x4xf32>, tensor<4x2xf32>, tensor<2xf32>) -> tensor<?x4xf32>
  return %0, %1, %2, %3 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// Sums need more bits than the weight is stored in, and groups stay whole.
func.func @kept(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %u = ffn.weight dense<1.0> : tensor<2x4xf32>
  %h = ffn.weight dense<2.0> : tensor<4x2xf16>
  %d = ffn.cast %h : tensor<4x2xf16> to tensor<4x2xf32>
  // expected-remark@+1 {{no neuron removed: no norm bounds its input, and none is idle or comes twice; 1 duplicates stay: its down is stored in fewer bits than sums need}}
  %0 = ffn.feed_forward relu %x up %u down %d : (tensor<?x4xf32>, tensor<2x4xf32>, tensor<4x2xf32>) -> tensor<?x4xf32>
  %v = ffn.weight dense<[[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]]> : tensor<4x4xf32>
  %c = ffn.weight dense<1> : tensor<4x4xi8>
  %s = ffn.weight dense<1.0> : tensor<4x2xf32>
  %q = ffn.dequantize %c, %s bits 8 group 2 : tensor<4x4xi8>, tensor<4x2xf32>
  // expected-remark@+1 {{no neuron removed: columns of down share scales in groups of 2; take whole groups, or run ffn-quantize afterwards}}
  %1 = ffn.feed_forward relu %x up %v down %q : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return %0, %1 : tensor<?x4xf32>, tensor<?x4xf32>
}
