// RUN: ffn-opt %s --pass-pipeline='builtin.module(ffn-insert-skip{threshold=0.9 warmup=0 prefill=decide count=true})' 2>%t | FileCheck %s
// RUN: FileCheck %s --check-prefix=SAID < %t
// RUN: ffn-opt %s --pass-pipeline='builtin.module(ffn-insert-skip{threshold=0.9 run=1 warmup=3})' 2>/dev/null | FileCheck %s --check-prefix=RUN1
// RUN: ffn-opt %s --pass-pipeline='builtin.module(ffn-insert-skip)' | FileCheck %s --check-prefix=SAME
// RUN: ffn-opt %s -o %t.original && ffn-opt %s --ffn-insert-skip -o %t.neutral && cmp %t.original %t.neutral

// SAME-NOT: ffn.skip

// SAID-COUNT-2: remark: the first 1 and the last 1 networks always run
// SAID: remark: it always runs: it is the first that is looked at
// SAID: remark: left out where one of the 1 networks before it changed a row by a cosine above 0.9
// SAID: remark: left out where one of the 2 networks before it changed a row by a cosine above 0.9
module attributes {onnx.model = {opset_imports = {ai.onnx = 17 : i64}}} {
  // CHECK: func.func @main({{.*}}) -> (tensor<?x?x4xf32> {onnx.name = "y"}, tensor<?x?xi64> {onnx.name = "left_out"})
  func.func @main(%x: tensor<?x?x4xf32> {onnx.name = "x", ffn.dims = ["b", "s", 4]}) -> (tensor<?x?x4xf32> {onnx.name = "y"}) {
    %w = ffn.weight dense<0.25> : tensor<4x4xf32>
    // CHECK: ffn.sublayer [#ffn.addend<ffn "f0">]
    // RUN1: %[[ONE:.*]] = ffn.weight dense<1> : tensor<i64>
    // A call with one position, of which three came before.
    // RUN1: onnx.node "Equal" v13 ({{.*}}, %[[ONE]])
    // RUN1: %[[AT:.*]] = onnx.node "Range"
    // RUN1: %[[TWO:.*]] = ffn.weight dense<2> : tensor<i64>
    // RUN1: %[[WARM:.*]] = onnx.node "Greater" v13 (%[[AT]], %[[TWO]])
    // RUN1: %[[OPEN:.*]] = onnx.node "And" v7 ({{.*}}, %[[WARM]])
    %0 = ffn.sublayer [#ffn.addend<ffn "f0">](%x) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
    ^bb0(%r: tensor<?x?x4xf32>):
      %f = ffn.feed_forward relu %r up %w down %w : (tensor<?x?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x?x4xf32>
      ffn.yield %f : tensor<?x?x4xf32>
    }
    // CHECK: %[[H:.*]] = ffn.sublayer [#ffn.addend<ffn "f1">](%[[X:.*]]) :
    // CHECK-NOT: ffn.skip
    // CHECK: %[[C:.*]] = ffn.row_cosine %[[X]], %[[H]]
    // CHECK: %[[S:.*]] = onnx.node "Greater" v13 (%[[C]],
    %1 = ffn.sublayer [#ffn.addend<ffn "f1">](%0) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
    ^bb0(%r: tensor<?x?x4xf32>):
      %f = ffn.feed_forward relu %r up %w down %w : (tensor<?x?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x?x4xf32>
      ffn.yield %f : tensor<?x?x4xf32>
    }
    // CHECK: %[[N:.*]] = onnx.node "Cast" v13 (%[[S]])
    // CHECK: ffn.sublayer [#ffn.addend<ffn "f2">]
    // CHECK: %[[K:.*]] = ffn.skip %[[S]] :
    // CHECK: %[[F:.*]] = ffn.feed_forward
    // CHECK: ffn.skip_yield %[[F]]
    // CHECK: ffn.yield %[[K]]
    // CHECK: ffn.row_cosine
    // CHECK: %[[NOT:.*]] = onnx.node "Not" v1 (%[[S]])
    // CHECK: %[[T:.*]] = onnx.node "And" v7 ({{.*}}, %[[NOT]])
    // RUN1: %[[S1:.*]] = onnx.node "And" v7 ({{.*}}, %[[OPEN]])
    // RUN1: ffn.sublayer [#ffn.addend<ffn "f2">]
    // RUN1: ffn.skip %[[S1]]
    // RUN1: %[[NOT1:.*]] = onnx.node "Not" v1 (%[[S1]])
    // RUN1: %[[S2:.*]] = onnx.node "And" v7 ({{.*}}, %[[NOT1]])
    %2 = ffn.sublayer [#ffn.addend<ffn "f2">](%1) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
    ^bb0(%r: tensor<?x?x4xf32>):
      %f = ffn.feed_forward relu %r up %w down %w : (tensor<?x?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x?x4xf32>
      ffn.yield %f : tensor<?x?x4xf32>
    }
    // CHECK: %[[OR:.*]] = onnx.node "Or" v7 (%[[S]], %[[T]])
    // CHECK: %[[M:.*]] = onnx.node "Cast" v13 (%[[OR]])
    // CHECK: %[[SUM:.*]] = onnx.node "Add" v14 (%[[N]], %[[M]])
    // CHECK: ffn.sublayer [#ffn.addend<ffn "f3">]
    // CHECK: ffn.skip %[[OR]]
    // RUN1: ffn.sublayer [#ffn.addend<ffn "f3">]
    // RUN1: ffn.skip %[[S2]]
    %3 = ffn.sublayer [#ffn.addend<ffn "f3">](%2) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
    ^bb0(%r: tensor<?x?x4xf32>):
      %f = ffn.feed_forward relu %r up %w down %w : (tensor<?x?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x?x4xf32>
      ffn.yield %f : tensor<?x?x4xf32>
    }
    // CHECK: ffn.sublayer [#ffn.addend<ffn "f4">]
    // CHECK-NOT: ffn.skip
    %4 = ffn.sublayer [#ffn.addend<ffn "f4">](%3) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
    ^bb0(%r: tensor<?x?x4xf32>):
      %f = ffn.feed_forward relu %r up %w down %w : (tensor<?x?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x?x4xf32>
      ffn.yield %f : tensor<?x?x4xf32>
    }
    // CHECK: return %{{.*}}, %[[SUM]]
    return %4 : tensor<?x?x4xf32>
  }
}
