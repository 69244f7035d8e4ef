// RUN: ffn-opt %s | ffn-opt | FileCheck %s
// RUN: ffn-opt %s --mlir-print-op-generic | ffn-opt | FileCheck %s
// RUN: ffn-opt %s --emit-bytecode | ffn-opt | FileCheck %s

ffn.file @model "model.onnx" {size = 4096 : i64}

// CHECK-LABEL: func.func @block
func.func @block(%h: tensor<?x?x4xf32> {ffn.dims = ["batch", "seq", 4]}) -> tensor<?x?x4xf32> {
  // CHECK: ffn.weight #ffn.span<"up" in @model, 64, 128> : tensor<8x4xf32>
  %up = ffn.weight #ffn.span<"up" in @model, 64, 128> : tensor<8x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x8xf32>
  %s = ffn.weight dense<1.0> : tensor<4xf32>
  // CHECK: ffn.sublayer [#ffn.addend<ffn "layers.0.mlp">]
  %y = ffn.sublayer [#ffn.addend<ffn "layers.0.mlp">] (%h) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
  ^bb0(%x: tensor<?x?x4xf32>):
    // CHECK: ffn.norm rms %{{.*}} scale %{{.*}} : tensor<4xf32> eps 1.000000e-05
    %n = ffn.norm rms %x scale %s : tensor<4xf32> eps 1.0e-5 : tensor<?x?x4xf32>
    // CHECK: ffn.feed_forward silu %{{.*}} up %{{.*}} gate %{{.*}} down
    %f = ffn.feed_forward silu %n up %up gate %up down %down : (tensor<?x?x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x?x4xf32>
    ffn.yield %f : tensor<?x?x4xf32>
  }
  return %y : tensor<?x?x4xf32>
}
