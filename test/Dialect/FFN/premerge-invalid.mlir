// RUN: not ffn-opt %s --ffn-premerge=max-ratio=-1 2>&1 | FileCheck %s
// CHECK: max-ratio is negative [FFN-P133]

// Nothing here is merged, and nothing changes, to the byte.
// RUN: ffn-opt %s --ffn-premerge=max-ratio=100 --verify-diagnostics -o %t.after
// RUN: ffn-opt %s -o %t.before
// RUN: cmp %t.before %t.after
func.func @main(%x: tensor<?x4xf32>, %w: tensor<4x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %a = ffn.weight dense<1.0> : tensor<4x4xf32>
  %c = ffn.weight dense<1> : tensor<4x4xi8>
  %s = ffn.weight dense<1.0> : tensor<4x1xf32>
  %q = ffn.dequantize %c, %s bits 8 group 4 : tensor<4x4xi8>, tensor<4x1xf32>
  %h = ffn.linear %x, %a : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
  // expected-remark@+1 {{the value between them is read elsewhere}}
  %y = ffn.linear %h, %a : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
  // expected-remark@+1 {{a weight is not constant}}
  %z = ffn.linear %y, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
  %t = onnx.node "Tanh" v13 (%z) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %u = ffn.linear %t, %a : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
  // expected-remark@+1 {{a weight is quantized; run ffn-quantize afterwards}}
  %v = ffn.linear %u, %q : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
  return %h, %t, %v : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}
