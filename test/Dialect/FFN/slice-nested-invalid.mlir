// RUN: not ffn-opt %s --ffn-slice-nested=widths=z=3 2>&1 | FileCheck %s --check-prefix=NAME
// RUN: not ffn-opt %s --ffn-slice-nested=widths=a=x 2>&1 | FileCheck %s --check-prefix=FORM
// RUN: not ffn-opt %s --ffn-slice-nested=widths=a=2,a=3 2>&1 | FileCheck %s --check-prefix=TWICE
// RUN: not ffn-opt %s --ffn-slice-nested=widths=a=9 2>&1 | FileCheck %s --check-prefix=WIDE
// RUN: not ffn-opt %s --ffn-slice-nested=share=0 2>&1 | FileCheck %s --check-prefix=SHARE
// RUN: not ffn-opt %s --ffn-slice-nested=width=-1 2>&1 | FileCheck %s --check-prefix=NEGATIVE
// NAME: no network is named 'z' [FFN-P102]
// NAME: note: known: a
// FORM: 'a=x' is not NAME=WIDTH [FFN-P132]
// TWICE: 'a' is given twice [FFN-P132]
// WIDE: network 'a' has 8 neurons, not 9 [FFN-P132]
// SHARE: share is not above 0 and at most 1 [FFN-P132]
// NEGATIVE: width is negative [FFN-P132]

// What cannot be cut stays as it is, to the byte.
// RUN: ffn-opt %s --ffn-slice-nested=width=3 --verify-diagnostics -o %t.after
// RUN: ffn-opt %s -o %t.before
// RUN: cmp %t.before %t.after
func.func @main(%x: tensor<?x4xf32>, %u: tensor<8x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %d = ffn.weight dense<2.0> : tensor<4x8xf32>
  %w = ffn.weight dense<1.0> : tensor<8x4xf32>
  %c = ffn.weight dense<1> : tensor<4x8xi8>
  %s = ffn.weight dense<1.0> : tensor<4x2xf32>
  %q = ffn.dequantize %c, %s bits 4 group 4 : tensor<4x8xi8>, tensor<4x2xf32>
  %a = ffn.sublayer [#ffn.addend<ffn "a">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    // expected-remark@+1 {{network 'a' keeps its 8 neurons: a weight is not constant}}
    %f = ffn.feed_forward relu %h up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  // expected-remark@+1 {{network keeps its 8 neurons: codes of 4 bits come in pairs; take an even number of neurons, or run ffn-quantize afterwards}}
  %y = ffn.feed_forward relu %a up %w down %q : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  return %a, %y : tensor<?x4xf32>, tensor<?x4xf32>
}
