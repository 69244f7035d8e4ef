// RUN: ffn-opt %s --ffn-expose-hidden --split-input-file -o %t.after
// RUN: ffn-opt %s --split-input-file -o %t.before
// Without @main, without a body and without sublayers nothing changes, to the byte.
// RUN: cmp %t.before %t.after

func.func @other(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w = ffn.weight dense<3.0> : tensor<4x4xf32>
  %a = ffn.sublayer [#ffn.addend<ffn "a">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %f = ffn.linear %h, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  return %a : tensor<?x4xf32>
}

// -----

func.func private @main(tensor<?x4xf32>) -> tensor<?x4xf32>

// -----

func.func @main(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %y = ffn.norm rms %x eps 1.0e-5 : tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
