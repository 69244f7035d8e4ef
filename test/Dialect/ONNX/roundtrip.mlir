// RUN: ffn-opt %s | ffn-opt | FileCheck %s
// RUN: ffn-opt %s --mlir-print-op-generic | ffn-opt | FileCheck %s
// RUN: ffn-opt %s --emit-bytecode | ffn-opt | FileCheck %s

// CHECK-LABEL: func.func @node
func.func @node(%x: tensor<?x4xf32>, %c: tensor<i1>) -> tensor<?x4xf32> {
  // CHECK: %[[NONE:.*]] = onnx.absent
  %none = onnx.absent
  // CHECK: onnx.node "com.acme::Thing" v1 (%{{.*}}, %[[NONE]])
  // CHECK-SAME: {alpha = 1.500000e+00 : f32, l = array<i64: 1, 2>, s = #onnx.strings<[]>, str = "by\FFte\00s", t = dense<[1, 2]> : tensor<2xi64>}
  // CHECK-SAME: : (tensor<?x4xf32>, none) -> (tensor<?x4xf32>, none) names ["u \22q\22", "", "b"]
  %u:2 = onnx.node "com.acme::Thing" v1 (%x, %none) {alpha = 1.5 : f32, l = array<i64: 1, 2>, s = #onnx.strings<[]>, str = "by\FFte\00s", t = dense<[1, 2]> : tensor<2xi64>}
       : (tensor<?x4xf32>, none) -> (tensor<?x4xf32>, none) names ["u \22q\22", "", "b"]
  // CHECK: onnx.node "If" v16
  // CHECK-SAME: {else_branch = #onnx.graph<1, "e">, then_branch = #onnx.graph<0, "t">}
  %y = onnx.node "If" v16 (%c) {then_branch = #onnx.graph<0, "t">, else_branch = #onnx.graph<1, "e">} : (tensor<i1>) -> tensor<?x4xf32> {
    onnx.yield %u#0 : tensor<?x4xf32>
  } {
    %z = onnx.node "Relu" v14 (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32>
    onnx.yield %z : tensor<?x4xf32>
  }
  return %y : tensor<?x4xf32>
}
