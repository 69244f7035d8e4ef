// RUN: ffn-opt %s --pass-pipeline='builtin.module(ffn-insert-early-exit{threshold=0.9 from=1 warmup=0 prefill=decide count=true})' 2>%t | FileCheck %s
// RUN: FileCheck %s --check-prefix=SAID < %t
// RUN: ffn-opt %s -o %t.original && ffn-opt %s --ffn-insert-early-exit -o %t.neutral && cmp %t.original %t.neutral

// SAID-COUNT-4: remark: no token has left in front of it
// SAID-COUNT-2: remark: left out for tokens that leave behind an earlier layer
module attributes {onnx.model = {opset_imports = {ai.onnx = 17 : i64}}} {
  // CHECK: func.func @main({{.*}}) -> ({{.*}}, {{.*}}, tensor<?x?xi64> {onnx.name = "left_out"})
  func.func @main(%x: tensor<?x?x4xf32> {onnx.name = "x", ffn.dims = ["b", "s", 4]}, %past: tensor<?x?x4xf32> {onnx.name = "past", ffn.dims = ["b", "p", 4]}) -> (tensor<?x?x8xf32> {onnx.name = "logits"}, tensor<?x?x4xf32> {onnx.name = "present"}) {
    %w = ffn.weight dense<0.25> : tensor<4x4xf32>
    %0 = ffn.sublayer [#ffn.addend<attention "a0">](%x) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
    ^bb0(%r: tensor<?x?x4xf32>):
      %f = ffn.linear %r, %w : tensor<?x?x4xf32>, tensor<4x4xf32> -> tensor<?x?x4xf32>
      ffn.yield %f : tensor<?x?x4xf32>
    }
    // CHECK: %[[H0:.*]] = ffn.sublayer [#ffn.addend<ffn "f0">]
    // CHECK: %[[N0:.*]] = ffn.norm rms %[[H0]]
    // CHECK: %[[L0:.*]] = ffn.linear %[[N0]]
    // CHECK: %[[B0:.*]] = onnx.node "ArgMax" v13 (%[[L0]]) {axis = 2 : si64, keepdims = 0 : si64}
    %1 = ffn.sublayer [#ffn.addend<ffn "f0">](%0) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
    ^bb0(%r: tensor<?x?x4xf32>):
      %f = ffn.feed_forward relu %r up %w down %w : (tensor<?x?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x?x4xf32>
      ffn.yield %f : tensor<?x?x4xf32>
    }
    %2 = ffn.sublayer [#ffn.addend<attention "a1">](%1) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
    ^bb0(%r: tensor<?x?x4xf32>):
      %f = ffn.linear %r, %w : tensor<?x?x4xf32>, tensor<4x4xf32> -> tensor<?x?x4xf32>
      ffn.yield %f : tensor<?x?x4xf32>
    }
    // CHECK: %[[H1:.*]] = ffn.sublayer [#ffn.addend<ffn "f1">]
    // CHECK: %[[N1:.*]] = ffn.norm rms %[[H1]]
    // CHECK: %[[L1:.*]] = ffn.linear %[[N1]]
    // CHECK: %[[B1:.*]] = onnx.node "ArgMax" v13 (%[[L1]])
    // CHECK: %[[M:.*]] = ffn.row_margin %[[L1]]
    // CHECK: %[[SAME:.*]] = onnx.node "Equal" v13 (%[[B1]], %[[B0]])
    // CHECK: %[[CLEAR:.*]] = onnx.node "Greater" v13 (%[[M]],
    // CHECK: %[[GONE:.*]] = onnx.node "And" v7 (%[[SAME]], %[[CLEAR]])
    %3 = ffn.sublayer [#ffn.addend<ffn "f1">](%2) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
    ^bb0(%r: tensor<?x?x4xf32>):
      %f = ffn.feed_forward relu %r up %w down %w : (tensor<?x?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x?x4xf32>
      ffn.yield %f : tensor<?x?x4xf32>
    }
    // The state is of all rows, the addend of those that stay.
    // CHECK: ffn.sublayer [#ffn.addend<attention "a2">] state [#ffn.state<1 -> 0>]
    // CHECK: %[[KEY:.*]] = ffn.linear
    // CHECK: %[[PRESENT:.*]] = onnx.node "Concat" v13 (%{{.*}}, %[[KEY]])
    // CHECK: %[[K:.*]] = ffn.skip %[[GONE]] :
    // CHECK: ffn.linear
    // CHECK: ffn.skip_yield
    // CHECK: ffn.yield %[[K]], %[[PRESENT]]
    %4:2 = ffn.sublayer [#ffn.addend<attention "a2">] state [#ffn.state<1 -> 0>](%3) : (tensor<?x?x4xf32>) -> (tensor<?x?x4xf32>, tensor<?x?x4xf32>) {
    ^bb0(%r: tensor<?x?x4xf32>):
      %k = ffn.linear %r, %w : tensor<?x?x4xf32>, tensor<4x4xf32> -> tensor<?x?x4xf32>
      %p = onnx.node "Concat" v13 (%past, %k) {axis = 1 : si64} : (tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
      %f = ffn.linear %r, %w : tensor<?x?x4xf32>, tensor<4x4xf32> -> tensor<?x?x4xf32>
      ffn.yield %f, %p : tensor<?x?x4xf32>, tensor<?x?x4xf32>
    }
    // CHECK: ffn.sublayer [#ffn.addend<ffn "f2">]
    // CHECK: ffn.skip %[[GONE]] :
    %5 = ffn.sublayer [#ffn.addend<ffn "f2">](%4#0) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
    ^bb0(%r: tensor<?x?x4xf32>):
      %f = ffn.feed_forward relu %r up %w down %w : (tensor<?x?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x?x4xf32>
      ffn.yield %f : tensor<?x?x4xf32>
    }
    // CHECK: %[[LOGITS:.*]] = ffn.skip %[[GONE]] else %[[L1]]
    // CHECK: ffn.norm
    // CHECK: ffn.linear
    // CHECK: return %[[LOGITS]]
    %head = ffn.weight dense<0.5> : tensor<8x4xf32>
    %n = ffn.norm rms %5 eps 1.0e-6 : tensor<?x?x4xf32>
    %l = ffn.linear %n, %head : tensor<?x?x4xf32>, tensor<8x4xf32> -> tensor<?x?x8xf32>
    return %l, %4#1 : tensor<?x?x8xf32>, tensor<?x?x4xf32>
  }
}
