// RUN: ffn-opt %s --ffn-merge-parallel --split-input-file --verify-diagnostics -o %t.after
// RUN: ffn-opt %s --split-input-file -o %t.before
// Nothing here can be merged, and nothing changes, to the byte.
// RUN: cmp %t.before %t.after

func.func @differ(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %u = ffn.weight dense<1.0> : tensor<8x4xf32>
  %d = ffn.weight dense<2.0> : tensor<4x8xf32>
  %y = ffn.sublayer [#ffn.addend<ffn "a">, #ffn.addend<ffn "b">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    // expected-remark@+1 {{network of addend 'a' not merged with 'b': activations relu and silu differ}}
    %a = ffn.feed_forward relu %h up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    // expected-remark@+1 {{network of addend 'b' not merged with 'a': activations relu and silu differ}}
    %b = ffn.feed_forward silu %h up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %a, %b : tensor<?x4xf32>, tensor<?x4xf32>
  }
  %z = ffn.sublayer [#ffn.addend<ffn "c">, #ffn.addend<ffn "d">] (%y) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %n = ffn.norm rms %h eps 1.0e-5 : tensor<?x4xf32>
    // expected-remark@+1 {{network of addend 'c' not merged with 'd': they read different values}}
    %a = ffn.feed_forward relu %h up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    // expected-remark@+1 {{network of addend 'd' not merged with 'c': they read different values}}
    %b = ffn.feed_forward relu %n up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %a, %b : tensor<?x4xf32>, tensor<?x4xf32>
  }
  return %z : tensor<?x4xf32>
}

// -----

func.func @gate(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %u = ffn.weight dense<1.0> : tensor<8x4xf32>
  %d = ffn.weight dense<2.0> : tensor<4x8xf32>
  %s = ffn.weight dense<1.0> : tensor<4xf32>
  %t = ffn.weight dense<3.0> : tensor<4xf32>
  %y = ffn.sublayer [#ffn.addend<ffn "a">, #ffn.addend<ffn "b">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    // expected-remark@+1 {{network of addend 'a' not merged with 'b': one is gated, the other is not}}
    %a = ffn.feed_forward relu %h up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    // expected-remark@+1 {{network of addend 'b' not merged with 'a': one is gated, the other is not}}
    %b = ffn.feed_forward relu %h up %u gate %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %a, %b : tensor<?x4xf32>, tensor<?x4xf32>
  }
  %z = ffn.sublayer [#ffn.addend<ffn "c">, #ffn.addend<ffn "d">] (%y) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %n0 = ffn.norm rms %h scale %s : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
    %n1 = ffn.norm rms %h scale %t : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
    // expected-remark@+1 {{network of addend 'c' not merged with 'd': the norms before them have different parameters}}
    %a = ffn.feed_forward relu %n0 up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    // expected-remark@+1 {{the norms before them have different parameters; ffn-fold-norm moves these into the weights}}
    %b = ffn.feed_forward relu %n1 up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %a, %b : tensor<?x4xf32>, tensor<?x4xf32>
  }
  return %z : tensor<?x4xf32>
}

// -----

func.func @used(%x: tensor<?x4xf32>, %u: tensor<8x4xf32>, %d: tensor<4x8xf32>) -> tensor<?x4xf32> {
  %y:2 = ffn.sublayer [#ffn.addend<ffn "a">, #ffn.addend<ffn "b">] (%x) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  ^bb0(%h: tensor<?x4xf32>):
    // expected-remark@+1 {{network of addend 'a' not merged: its result is used elsewhere}}
    %a = ffn.feed_forward relu %h up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    %b = ffn.feed_forward relu %h up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %a, %b, %a : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
  }
  return %y#0 : tensor<?x4xf32>
}

// -----

func.func @not_constant(%x: tensor<?x4xf32>, %u: tensor<8x4xf32>, %d: tensor<4x8xf32>) -> tensor<?x4xf32> {
  %y = ffn.sublayer [#ffn.addend<ffn "a">, #ffn.addend<ffn "b">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    // expected-remark@+1 {{network of addend 'a' not merged with 'b': a weight is not constant}}
    %a = ffn.feed_forward relu %h up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    // expected-remark@+1 {{network of addend 'b' not merged with 'a': a weight is not constant}}
    %b = ffn.feed_forward relu %h up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %a, %b : tensor<?x4xf32>, tensor<?x4xf32>
  }
  return %y : tensor<?x4xf32>
}

// -----

// Codes and scales join only where groups do.
func.func @quantized(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %c = ffn.weight dense<1> : tensor<8x4xi8>
  %s = ffn.weight dense<1.0> : tensor<8x1xf32>
  %e = ffn.weight dense<1> : tensor<4x8xi8>
  %t = ffn.weight dense<1.0> : tensor<4x2xf32>
  %w = ffn.weight dense<1.0> : tensor<8x4xf32>
  %v = ffn.weight dense<1.0> : tensor<4x8xf32>
  %c6 = ffn.weight dense<1> : tensor<6x4xi8>
  %s6 = ffn.weight dense<1.0> : tensor<6x1xf32>
  %e6 = ffn.weight dense<1> : tensor<4x6xi8>
  %u = ffn.dequantize %c, %s bits 8 group 4 : tensor<8x4xi8>, tensor<8x1xf32>
  %d = ffn.dequantize %e, %t bits 8 group 4 : tensor<4x8xi8>, tensor<4x2xf32>
  %u4 = ffn.dequantize %c, %s bits 4 group 4 : tensor<8x4xi8>, tensor<8x1xf32>
  %u6 = ffn.dequantize %c6, %s6 bits 8 group 4 : tensor<6x4xi8>, tensor<6x1xf32>
  %d6 = ffn.dequantize %e6, %t bits 8 group 4 : tensor<4x6xi8>, tensor<4x2xf32>
  %y = ffn.sublayer [#ffn.addend<ffn "a">, #ffn.addend<ffn "b">, #ffn.addend<ffn "c">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    // expected-remark@+1 {{network of addend 'a' not merged with 'b': one is quantized, the other is not}}
    %a = ffn.feed_forward relu %h up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    // expected-remark@+1 {{network of addend 'b' not merged with 'a': one is quantized, the other is not; run ffn-quantize afterwards}}
    %b = ffn.feed_forward relu %h up %w down %v : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    // expected-remark@+1 {{network of addend 'c' not merged with 'a': their weights are quantized in different ways; run ffn-quantize afterwards}}
    %c0 = ffn.feed_forward relu %h up %u4 down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %a, %b, %c0 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
  }
  %z = ffn.sublayer [#ffn.addend<ffn "d">, #ffn.addend<ffn "e">] (%y) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    // expected-remark@+1 {{network of addend 'd' not merged with 'e': columns of down share scales in groups of 4}}
    %a = ffn.feed_forward relu %h up %u6 down %d6 : (tensor<?x4xf32>, tensor<6x4xf32>, tensor<4x6xf32>) -> tensor<?x4xf32>
    // expected-remark@+1 {{network of addend 'e' not merged with 'd': columns of down share scales in groups of 4, which do not end with a network; run ffn-quantize afterwards}}
    %b = ffn.feed_forward relu %h up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %a, %b : tensor<?x4xf32>, tensor<?x4xf32>
  }
  return %z : tensor<?x4xf32>
}
