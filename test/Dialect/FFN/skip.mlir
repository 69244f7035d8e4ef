// RUN: ffn-opt %s | ffn-opt | FileCheck %s
// RUN: ffn-opt %s --mlir-print-op-generic | ffn-opt | FileCheck %s
// RUN: ffn-opt %s --ffn-decompose | FileCheck %s --check-prefix=NODES
// RUN: ffn-interpret %s --print | FileCheck %s --check-prefix=MEANS
// RUN: ffn-opt %s --ffn-decompose -o %t.mlir && ffn-interpret %t.mlir --print | FileCheck %s --check-prefix=MEANS

module attributes {onnx.model = {opset_imports = {ai.onnx = 17 : i64}}} {
  // CHECK-LABEL: func.func @main
  // NODES-LABEL: func.func @main
  func.func @main() -> (tensor<2x2xf32>, tensor<2x2xf32>, tensor<2x2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>) {
    %x = ffn.weight dense<[[3.0, 4.0], [-1.0, 2.0]]> : tensor<2x2xf32>
    %w = ffn.weight dense<[[0.0, 1.0], [2.0, 0.0]]> : tensor<2x2xf32>
    %s = ffn.weight dense<[false, true]> : tensor<2xi1>
    %all = ffn.weight dense<true> : tensor<2xi1>
    // The rows [4, 6] and [2, -2], of which the second is left out.
    // CHECK: %[[A:.*]] = ffn.skip %{{.*}} : (tensor<2xi1>) -> tensor<2x2xf32> {
    // CHECK-NEXT: %[[L:.*]] = ffn.linear
    // CHECK-NEXT: ffn.skip_yield %[[L]] : tensor<2x2xf32>
    // NODES: %[[RUNS:.*]] = onnx.node "ReduceSum"
    // NODES: %[[ANY:.*]] = onnx.node "Greater" v13 (%[[RUNS]]
    // NODES: onnx.node "If" v16 (%[[ANY]]) {else_branch = #onnx.graph<1, "else_branch">, then_branch = #onnx.graph<0, "then_branch">}
    // NODES: onnx.node "MatMul"
    // NODES: dense<-0.000000e+00> : tensor<f32>
    // NODES: onnx.node "Where"
    // NODES: onnx.node "Expand"
    // MEANS: 0 'result0' f32 [2, 2] : 4 6 -0 -0
    %a = ffn.skip %s : (tensor<2xi1>) -> tensor<2x2xf32> {
      %l = ffn.linear %x, %w : tensor<2x2xf32>, tensor<2x2xf32> -> tensor<2x2xf32>
      ffn.skip_yield %l : tensor<2x2xf32>
    }
    // CHECK: ffn.skip %{{.*}} else %{{.*}} : (tensor<2xi1>, tensor<2x2xf32>) -> tensor<2x2xf32> {
    // NODES: onnx.node "If"
    // NODES: onnx.node "Identity"
    // MEANS: 1 'result1' f32 [2, 2] : 4 6 -1 2
    %b = ffn.skip %s else %x : (tensor<2xi1>, tensor<2x2xf32>) -> tensor<2x2xf32> {
      %l = ffn.linear %x, %w : tensor<2x2xf32>, tensor<2x2xf32> -> tensor<2x2xf32>
      ffn.skip_yield %l : tensor<2x2xf32>
    }
    // MEANS: 2 'result2' f32 [2, 2] : 3 4 -1 2
    %c = ffn.skip %all else %x : (tensor<2xi1>, tensor<2x2xf32>) -> tensor<2x2xf32> {
      %l = ffn.linear %x, %w : tensor<2x2xf32>, tensor<2x2xf32> -> tensor<2x2xf32>
      ffn.skip_yield %l : tensor<2x2xf32>
    }
    // (12 + 24) / (5 sqrt(52)), and a row with itself.
    // CHECK: ffn.row_cosine %{{.*}}, %{{.*}} : (tensor<2x2xf32>, tensor<2x2xf32>) -> tensor<2xf32>
    // MEANS: 3 'result3' f32 [2] : 0.998460353 1
    %cos = ffn.row_cosine %x, %b : (tensor<2x2xf32>, tensor<2x2xf32>) -> tensor<2xf32>
    // tanh of half the difference: 1 and 3.
    // CHECK: ffn.row_margin %{{.*}} : tensor<2x2xf32> -> tensor<2xf32>
    // NODES: onnx.node "TopK"
    // MEANS: 4 'result4' f32 [2] : 0.462117{{[0-9]*}} 0.905148{{[0-9]*}}
    %m = ffn.row_margin %x : tensor<2x2xf32> -> tensor<2xf32>
    %one = ffn.weight dense<[[3.0], [-1.0]]> : tensor<2x1xf32>
    // MEANS: 5 'result5' f32 [2] : 1 1
    %single = ffn.row_margin %one : tensor<2x1xf32> -> tensor<2xf32>
    return %a, %b, %c, %cos, %m, %single : tensor<2x2xf32>, tensor<2x2xf32>, tensor<2x2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>
  }
}
