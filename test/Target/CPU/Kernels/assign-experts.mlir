// RUN: ffn-opt %s --ffn-cpu-assign-kernels=level=avx512 | FileCheck %s

// CHECK-LABEL: func.func @shared
// CHECK-SAME: %[[X:.*]]: tensor<?x8xf32>
func.func @shared(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %up = ffn.weight dense<1.0> : tensor<64x8xf32>
  %down = ffn.weight dense<2.0> : tensor<8x64xf32>
  %r = ffn.weight dense<3.0> : tensor<3x8xf32>
  // Shared neurons are a group as wide as an expert.
  // CHECK: %[[S:.*]] = ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx512, n = 3, k = 8, row_stride = 8, element = f32, activation = silu, gated = true>
  // CHECK: %[[M:.*]] = tensor.dim %[[X]]
  // CHECK: tensor.empty(%[[M]]) : tensor<?x2xi32>
  // CHECK: tensor.empty(%[[M]]) : tensor<?x3xi32>
  // CHECK: %[[M1:.*]] = arith.addi %[[M]]
  // CHECK: tensor.empty(%[[M1]]) : tensor<?x4xi32>
  // CHECK: %[[R:.*]]:3 = ffn_cpu.kernel_call #ffn_cpu.route<level = avx512, experts = 3, always = 1, top_k = 2, gating = softmax, magnitude = true> ins(%[[S]] : tensor<?x3xf32>)
  // CHECK: %[[H:.*]] = ffn_cpu.kernel_call #ffn_cpu.grouped<product = <level = avx512, n = 64, k = 8, row_stride = 8, element = f32, activation = silu, gated = true>, groups = 4, active = 3> ins(%[[X]], %{{.*}}, %[[R]]#1, %[[R]]#2 :
  // CHECK: ffn_cpu.kernel_call #ffn_cpu.grouped<product = <level = avx512, n = 8, k = 64, row_stride = 64, element = f32>, groups = 4, active = 3, by_depth = true> ins(%[[H]], %{{.*}}, %[[R]]#1, %[[R]]#2 :
  // CHECK-NOT: ffn.moe
  %y = ffn.moe silu %x up %up gate %up down %down router neuron %r router_gate %r shared 16 experts 3 top_k 2 gating softmax : (tensor<?x8xf32>, tensor<64x8xf32>, tensor<64x8xf32>, tensor<8x64xf32>, tensor<3x8xf32>, tensor<3x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// A panel does not end with a group of 5: zeros fill it up. Weights are a
// fourth result, the residual joins the last product.
// CHECK-LABEL: func.func @padded
func.func @padded(%x: tensor<3x8xf32>) -> tensor<3x8xf32> {
  %up = ffn.weight dense<1.0> : tensor<20x8xf32>
  %down = ffn.weight dense<2.0> : tensor<8x20xf32>
  %r = ffn.weight dense<3.0> : tensor<4x8xf32>
  %b = ffn.weight dense<4.0> : tensor<4xf32>
  // CHECK: %[[R:.*]]:4 = ffn_cpu.kernel_call #ffn_cpu.route<level = avx512, experts = 4, always = 0, top_k = 1, gating = sigmoid, selection = true, weighted = true>
  // CHECK-SAME: outs({{.*}} : tensor<3x1xi32>, tensor<3x1xi32>, tensor<4x4xi32>, tensor<3x1xf32>)
  // CHECK: ffn_cpu.kernel_call #ffn_cpu.grouped<product = <level = avx512, n = 192, k = 8, row_stride = 8, element = f32, activation = relu>, groups = 4, active = 1, weighted = true>
  // CHECK: ffn_cpu.kernel_call #ffn_cpu.grouped<product = <level = avx512, n = 8, k = 192, row_stride = 192, element = f32, residual = true>, groups = 4, active = 1, by_depth = true>
  %h = ffn.sublayer [#ffn.addend<moe "mlp">] (%x) : (tensor<3x8xf32>) -> tensor<3x8xf32> {
  ^bb0(%a: tensor<3x8xf32>):
    %y = ffn.moe relu %a up %up down %down router linear %r selection_bias %b shared 0 experts 4 top_k 1 gating sigmoid weighted : (tensor<3x8xf32>, tensor<20x8xf32>, tensor<8x20xf32>, tensor<4x8xf32>, tensor<4xf32>) -> tensor<3x8xf32>
    ffn.yield %y : tensor<3x8xf32>
  }
  return %h : tensor<3x8xf32>
}

// CHECK-LABEL: func.func @refused
func.func @refused(%x: tensor<3x8xf64>) -> tensor<3x8xf64> {
  %up = ffn.weight dense<1.0> : tensor<20x8xf64>
  %down = ffn.weight dense<2.0> : tensor<8x20xf64>
  %r = ffn.weight dense<3.0> : tensor<4x8xf64>
  // CHECK-NOT: kernel_call
  // CHECK: ffn.moe
  %y = ffn.moe relu %x up %up down %down router linear %r shared 0 experts 4 top_k 1 gating identity : (tensor<3x8xf64>, tensor<20x8xf64>, tensor<8x20xf64>, tensor<4x8xf64>) -> tensor<3x8xf64>
  return %y : tensor<3x8xf64>
}
