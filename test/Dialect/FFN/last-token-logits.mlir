// RUN: ffn-opt %s --ffn-last-token-logits | FileCheck %s
// RUN: ffn-opt %s --ffn-last-token-logits | ffn-opt --ffn-last-token-logits | FileCheck %s

// CHECK-LABEL: func.func @main
// CHECK-SAME: -> (tensor<?x?x8xf32> {onnx.name = "present.0.key"}, tensor<?x1x5xf32> {ffn.dims = ["batch", 1, 5], onnx.name = "logits"})
func.func @main(%h: tensor<?x?x8xf32> {ffn.dims = ["batch", "seq", 8]})
    -> (tensor<?x?x8xf32> {onnx.name = "present.0.key"}, tensor<?x?x5xf32> {ffn.dims = ["batch", "seq", 5], onnx.name = "logits"}) {
  %w = ffn.weight dense<1.0> : tensor<5x8xf32>
  %k = onnx.node "Relu" v14 (%h) : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  // CHECK: %[[K:.*]] = onnx.node "Relu"
  // CHECK: %[[LAST:.*]] = ffn.weight dense<-1> : tensor<1xi64>
  // CHECK: %[[X:.*]] = onnx.node "Gather" v13 (%[[K]], %[[LAST]]) {axis = 1 : si64} : {{.*}} -> tensor<?x1x8xf32>
  // CHECK-NOT: Gather
  // CHECK: %[[N:.*]] = ffn.norm rms %[[X]] eps 1.000000e-05 : tensor<?x1x8xf32>
  // CHECK: %[[L:.*]] = ffn.linear %[[N]], {{.*}} -> tensor<?x1x5xf32>
  // CHECK: return %[[K]], %[[L]]
  %n = ffn.norm rms %k eps 1.0e-5 : tensor<?x?x8xf32>
  %l = ffn.linear %n, %w : tensor<?x?x8xf32>, tensor<5x8xf32> -> tensor<?x?x5xf32>
  return %k, %l : tensor<?x?x8xf32>, tensor<?x?x5xf32>
}
