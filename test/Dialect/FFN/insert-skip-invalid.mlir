// RUN: not ffn-opt %s --pass-pipeline='builtin.module(ffn-insert-skip{threshold=-1})' 2>&1 | FileCheck %s --check-prefix=SIGN
// RUN: not ffn-opt %s --pass-pipeline='builtin.module(ffn-insert-skip{threshold=0.9 calib=x})' 2>&1 | FileCheck %s --check-prefix=BOTH
// RUN: not ffn-opt %s --pass-pipeline='builtin.module(ffn-insert-skip{threshold=0.9 prefill=never})' 2>&1 | FileCheck %s --check-prefix=PREFILL
// RUN: not ffn-opt %s --pass-pipeline='builtin.module(ffn-insert-skip{share=0})' 2>&1 | FileCheck %s --check-prefix=SHARE
// RUN: not ffn-opt %s --pass-pipeline='builtin.module(ffn-insert-skip{threshold=0.9 first=0 last=0})' 2>&1 | FileCheck %s --check-prefix=STATE
// RUN: ffn-opt %s --pass-pipeline='builtin.module(ffn-insert-skip{threshold=0.9 warmup=0})' 2>&1 | FileCheck %s --check-prefix=FEW
// RUN: not ffn-opt %s --pass-pipeline='builtin.module(ffn-insert-skip{calib=%t.none first=0 last=0})' 2>&1 | FileCheck %s --check-prefix=NONE

// SIGN: threshold is a positive number, or 0 for none [FFN-P160]
// BOTH: threshold and calib exclude each other [FFN-P160]
// PREFILL: prefill is run or decide, not 'never' [FFN-P160]
// SHARE: share is above 0 and at most 1 [FFN-P160]
// STATE: how many positions came before a call is not known: its state is none that grows; use warmup=0 [FFN-P161]
// FEW: it is the only network between the protected ones
// FEW-NOT: ffn.skip
// NONE: [FFN-D
module attributes {onnx.model = {opset_imports = {ai.onnx = 17 : i64}}} {
  func.func @main(%x: tensor<?x4xf32> {onnx.name = "x"}, %past: tensor<4xf32> {onnx.name = "past"}) -> (tensor<?x4xf32> {onnx.name = "y"}, tensor<4xf32> {onnx.name = "present"}) {
    %w = ffn.weight dense<0.25> : tensor<4x4xf32>
    %0 = ffn.sublayer [#ffn.addend<ffn "f0">](%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
    ^bb0(%r: tensor<?x4xf32>):
      %f = ffn.feed_forward relu %r up %w down %w : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
      ffn.yield %f : tensor<?x4xf32>
    }
    %1:2 = ffn.sublayer [#ffn.addend<ffn "f1">] state [#ffn.state<1 -> 0>](%0) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<4xf32>) {
    ^bb0(%r: tensor<?x4xf32>):
      %f = ffn.feed_forward relu %r up %w down %w : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
      ffn.yield %f, %past : tensor<?x4xf32>, tensor<4xf32>
    }
    %2 = ffn.sublayer [#ffn.addend<ffn "f2">](%1#0) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
    ^bb0(%r: tensor<?x4xf32>):
      %f = ffn.feed_forward relu %r up %w down %w : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
      ffn.yield %f : tensor<?x4xf32>
    }
    return %2, %1#1 : tensor<?x4xf32>, tensor<4xf32>
  }
}
