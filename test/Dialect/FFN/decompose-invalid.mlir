// RUN: ffn-opt %s --ffn-decompose --split-input-file --verify-diagnostics

module attributes {onnx.model = {opset_imports = {ai.onnx = 8 : i64}}} {
  func.func @old_gelu(%x: tensor<?x4xf32>, %up: tensor<8x4xf32>, %down: tensor<4x8xf32>) -> tensor<?x4xf32> {
    // expected-error@+1 {{cannot be decomposed: the exact GELU needs opset 9, the model has 8 [FFN-E203]}}
    %f = ffn.feed_forward gelu_erf %x up %up down %down : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    return %f : tensor<?x4xf32>
  }
}

// -----

func.func @unranked(%x: tensor<*xf32>) -> tensor<*xf32> {
  // expected-error@+1 {{cannot be decomposed: the rank of 'tensor<*xf32>' is not known [FFN-E202]}}
  %n = ffn.norm rms %x eps 1.0e-5 : tensor<*xf32>
  return %n : tensor<*xf32>
}

// -----

// Codes of an opset that has no form for them become floats, and a remark says so.
module attributes {onnx.model = {opset_imports = {ai.onnx = 17 : i64}}} {
  func.func @short_group(%x: tensor<?x6xf32>) -> tensor<?x3xf32> {
    %c = ffn.weight dense<5> : tensor<3x6xi8>
    %s = ffn.weight dense<0.5> : tensor<3x2xf32>
    // expected-remark@+1 {{written as floats: opset 17 has no form of codes in groups that do not divide the row (the first is 21)}}
    %w = ffn.dequantize %c, %s bits 8 group 4 : tensor<3x6xi8>, tensor<3x2xf32>
    %y = ffn.linear %x, %w : tensor<?x6xf32>, tensor<3x6xf32> -> tensor<?x3xf32>
    return %y : tensor<?x3xf32>
  }
}
