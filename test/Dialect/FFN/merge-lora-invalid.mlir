// Nothing here is merged, and nothing changes, to the byte.
// RUN: ffn-opt %s --ffn-merge-lora --split-input-file --verify-diagnostics -o %t.after
// RUN: ffn-opt %s --split-input-file -o %t.before
// RUN: cmp %t.before %t.after

// A sum of two linears, of which none is thin: no adapter, no remark.
func.func @none(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %w = ffn.weight dense<1.0> : tensor<4x4xf32>
  %y = ffn.linear %x, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
  %z = onnx.node "Add" v14 (%y, %x) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %z : tensor<?x4xf32>
}

// -----

func.func @half(%x: tensor<?x4xf32>) -> tensor<?x3xf32> {
  %h = ffn.weight dense<1.0> : tensor<3x4xf16>
  %w = ffn.cast %h : tensor<3x4xf16> to tensor<3x4xf32>
  %a = ffn.weight dense<2.0> : tensor<2x4xf32>
  %b = ffn.weight dense<3.0> : tensor<3x2xf32>
  %y = ffn.linear %x, %w : tensor<?x4xf32>, tensor<3x4xf32> -> tensor<?x3xf32>
  %p = ffn.linear %x, %a : tensor<?x4xf32>, tensor<2x4xf32> -> tensor<?x2xf32>
  %q = ffn.linear %p, %b : tensor<?x2xf32>, tensor<3x2xf32> -> tensor<?x3xf32>
  // expected-remark@+1 {{adapter of a weight not merged: the sum would not be in f16, the type of that weight; with widen=true it is kept in f32}}
  %z = onnx.node "Add" v14 (%y, %q) : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  return %z : tensor<?x3xf32>
}

// -----

func.func @read(%x: tensor<?x4xf32>, %v: tensor<3x4xf32>) -> (tensor<?x3xf32>, tensor<?x2xf32>, tensor<?x3xf32>) {
  %w = ffn.weight dense<1.0> : tensor<3x4xf32>
  %a = ffn.weight dense<2.0> : tensor<2x4xf32>
  %b = ffn.weight dense<3.0> : tensor<3x2xf32>
  %y = ffn.linear %x, %w : tensor<?x4xf32>, tensor<3x4xf32> -> tensor<?x3xf32>
  %p = ffn.linear %x, %a : tensor<?x4xf32>, tensor<2x4xf32> -> tensor<?x2xf32>
  %q = ffn.linear %p, %b : tensor<?x2xf32>, tensor<3x2xf32> -> tensor<?x3xf32>
  // expected-remark@+1 {{not merged: a value inside of it is read elsewhere}}
  %z = onnx.node "Add" v14 (%y, %q) : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %t = ffn.linear %x, %v : tensor<?x4xf32>, tensor<3x4xf32> -> tensor<?x3xf32>
  %r = ffn.linear %x, %a : tensor<?x4xf32>, tensor<2x4xf32> -> tensor<?x2xf32>
  %s = ffn.linear %r, %b : tensor<?x2xf32>, tensor<3x2xf32> -> tensor<?x3xf32>
  // expected-remark@+1 {{not merged: a weight is not constant}}
  %o = onnx.node "Add" v14 (%t, %s) : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  return %z, %p, %o : tensor<?x3xf32>, tensor<?x2xf32>, tensor<?x3xf32>
}
