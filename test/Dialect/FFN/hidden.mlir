// RUN: ffn-opt %s | ffn-opt | FileCheck %s
// RUN: ffn-opt %s --mlir-print-op-generic | ffn-opt | FileCheck %s
// RUN: ffn-opt %s --ffn-decompose | FileCheck %s --check-prefix=NODES
// RUN: ffn-opt %s --ffn-cpu-assign-kernels | FileCheck %s --check-prefix=KERNELS

module attributes {onnx.model = {opset_imports = {ai.onnx = 17 : i64}}} {
  // CHECK-LABEL: func.func @main
  // NODES-LABEL: func.func @main
  // KERNELS-LABEL: func.func @main
  func.func @main(%x: tensor<2x2xf32> {onnx.name = "x"}) -> (tensor<2x3xf32>, tensor<2x2xf32>) {
    %up = ffn.weight dense<[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]> : tensor<3x2xf32>
    %gate = ffn.weight dense<[[1.0, 1.0], [-1.0, -1.0], [0.0, 1.0]]> : tensor<3x2xf32>
    %b = ffn.weight dense<[0.0, 0.0, 1.0]> : tensor<3xf32>
    %down = ffn.weight dense<[[1.0, 1.0, 1.0], [0.0, 0.0, 2.0]]> : tensor<2x3xf32>
    // CHECK: %[[H:.*]] = ffn.hidden relu %{{.*}} up %{{.*}} gate %{{.*}} up_bias %{{.*}} : (tensor<2x2xf32>, tensor<3x2xf32>, tensor<3x2xf32>, tensor<3xf32>) -> tensor<2x3xf32>
    // NODES: %[[U:.*]] = onnx.node "Add"
    // NODES: %[[G:.*]] = onnx.node "MatMul"
    // NODES: %[[A:.*]] = onnx.node "Relu" v14 (%[[G]])
    // NODES: onnx.node "Mul" v14 (%[[A]], %[[U]])
    // KERNELS: ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx2, n = 3, k = 2, row_stride = 2, element = f32, activation = relu, gated = true>
    // Rows [3, 4] and [0, 1]: relu([7, -7, 4]) * [3, 4, 8] and relu([1, -1, 1]) * [0, 1, 2].
    %h = ffn.hidden relu %x up %up gate %gate up_bias %b : (tensor<2x2xf32>, tensor<3x2xf32>, tensor<3x2xf32>, tensor<3xf32>) -> tensor<2x3xf32>
    // CHECK: ffn.observe "mlp/ffn.hidden" %[[H]] : tensor<2x3xf32>
    // NODES-NOT: ffn.observe
    ffn.observe "mlp/ffn.hidden" %h : tensor<2x3xf32>
    %y = ffn.linear %h, %down : tensor<2x3xf32>, tensor<2x3xf32> -> tensor<2x2xf32>
    return %h, %y : tensor<2x3xf32>, tensor<2x2xf32>
  }
}
