// RUN: not ffn-opt %s --split-input-file --pass-pipeline='builtin.module(ffn-insert-early-exit{threshold=-1})' 2>&1 | FileCheck %s --check-prefix=SIGN
// RUN: not ffn-opt %s --split-input-file --pass-pipeline='builtin.module(ffn-insert-early-exit{step=0})' 2>&1 | FileCheck %s --check-prefix=STEP
// RUN: not ffn-opt %s --split-input-file --pass-pipeline='builtin.module(ffn-insert-early-exit{prefill=all})' 2>&1 | FileCheck %s --check-prefix=PREFILL
// RUN: ffn-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(ffn-insert-early-exit{threshold=0.9})' | FileCheck %s --check-prefix=SAME

// SIGN: threshold is a positive number, or 0 for none [FFN-P160]
// STEP: step is at least 1 [FFN-P160]
// PREFILL: prefill is run or decide [FFN-P160]
// SAME-NOT: ffn.skip

func.func @main(%x: tensor<?x4xf32> {onnx.name = "x"}) -> (tensor<?x4xf32> {onnx.name = "y"}) {
  %w = ffn.weight dense<0.25> : tensor<4x4xf32>
  // expected-remark @below {{the model has no logits}}
  %0 = ffn.sublayer [#ffn.addend<ffn "f0">](%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    %f = ffn.linear %r, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  return %0 : tensor<?x4xf32>
}

// -----

func.func @main(%x: tensor<?x4xf32> {onnx.name = "x"}) -> (tensor<?x4xf32> {onnx.name = "logits"}) {
  %w = ffn.weight dense<0.25> : tensor<4x4xf32>
  // expected-remark @below {{the logits are not a linear of the state behind the last sublayer}}
  %0 = ffn.sublayer [#ffn.addend<ffn "f0">](%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    %f = ffn.linear %r, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  %n = ffn.norm rms %0 eps 1.0e-6 : tensor<?x4xf32>
  return %n : tensor<?x4xf32>
}

// -----

// expected-error @below {{conditions on rows need opset 11, the model has 10 [FFN-P161]}}
module attributes {onnx.model = {opset_imports = {ai.onnx = 10 : i64}}} {
  func.func @main(%x: tensor<?x4xf32> {onnx.name = "x"}) -> (tensor<?x4xf32> {onnx.name = "logits"}) {
    %w = ffn.weight dense<0.25> : tensor<4x4xf32>
    %0 = ffn.sublayer [#ffn.addend<ffn "f0">](%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
    ^bb0(%r: tensor<?x4xf32>):
      %f = ffn.linear %r, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
      ffn.yield %f : tensor<?x4xf32>
    }
    %l = ffn.linear %0, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
    return %l : tensor<?x4xf32>
  }
}
