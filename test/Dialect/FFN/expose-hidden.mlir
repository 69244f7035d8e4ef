// RUN: ffn-opt %s --ffn-expose-hidden --split-input-file | FileCheck %s
// Twice is once, to the byte.
// RUN: ffn-opt %s --ffn-expose-hidden --split-input-file -o %t.once
// RUN: ffn-opt %s --ffn-expose-hidden --ffn-expose-hidden --split-input-file -o %t.twice
// RUN: cmp %t.once %t.twice

// One result for each sublayer, in program order, behind those there are; what
// several addends make has all their names.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: -> (tensor<?x4xf32> {onnx.name = "y"}, tensor<?x4xf32> {ffn.dims = ["n", 4], onnx.name = "hidden:a"}, tensor<?x4xf32> {ffn.dims = ["n", 4], onnx.name = "hidden:b + c"})
// CHECK: %[[A:.*]] = ffn.sublayer [#ffn.addend<ffn "a">]
// CHECK: %[[B:.*]] = ffn.sublayer [#ffn.addend<attention "b">, #ffn.addend<ffn "c">]
// CHECK: %[[Y:.*]] = ffn.norm
// CHECK: return %[[Y]], %[[A]], %[[B]] :
func.func @main(%x: tensor<?x4xf32> {onnx.name = "x", ffn.dims = ["n", 4]}) -> (tensor<?x4xf32> {onnx.name = "y"}) {
  %w = ffn.weight dense<3.0> : tensor<4x4xf32>
  %a = ffn.sublayer [#ffn.addend<ffn "a">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %f = ffn.linear %h, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  %b = ffn.sublayer [#ffn.addend<attention "b">, #ffn.addend<ffn "c">] (%a) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %f = ffn.linear %h, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
    ffn.yield %f, %f : tensor<?x4xf32>, tensor<?x4xf32>
  }
  %y = ffn.norm rms %b eps 1.0e-5 : tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
