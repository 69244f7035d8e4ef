// Nothing here is folded, and nothing changes, to the byte.
// RUN: ffn-opt %s --ffn-reparam-idle --verify-diagnostics -o %t.after
// RUN: ffn-opt %s -o %t.before
// RUN: cmp %t.before %t.after
func.func @main(%x: tensor<?x4xf32>, %k: tensor<4xi1>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %u = ffn.weight dense<1.0> : tensor<4x4xf32>
  %m = ffn.weight dense<[false, true, true, true]> : tensor<4xi1>
  %z = ffn.linear %x, %u : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
  %a = onnx.node "Relu" v14 (%z) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %h = onnx.node "Where" v16 (%m, %a, %z) : (tensor<4xi1>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  // expected-remark@+1 {{idle channels not folded: 1 channels are smaller than the linear of 4x4 that they would become}}
  %y = ffn.linear %h, %u : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
  %z1 = ffn.linear %x, %u : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
  %a1 = onnx.node "Relu" v14 (%z1) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %h1 = onnx.node "Where" v16 (%k, %a1, %z1) : (tensor<4xi1>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  // expected-remark@+1 {{idle channels not folded: the mask is not constant, or not one of channels}}
  %y1 = ffn.linear %h1, %u : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
  %n = ffn.weight dense<false> : tensor<4xi1>
  %z2 = ffn.linear %x, %u : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
  %a2 = onnx.node "Relu" v14 (%z2) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %h2 = onnx.node "Where" v16 (%n, %a2, %z2) : (tensor<4xi1>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  // expected-remark@+1 {{idle channels not folded: a hidden value is also read by func.return}}
  %y2 = ffn.linear %h2, %u : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
  return %y, %y1, %a2 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}
