// RUN: ffn-opt %s --ffn-reparam-idle --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func.func @where(
// CHECK: %[[W:.*]] = ffn.low_rank
// CHECK: %[[B:.*]] = ffn.matvec
// CHECK: %[[L:.*]] = ffn.linear %arg0, %[[W]] bias %[[B]]
// CHECK: %[[F:.*]] = ffn.feed_forward relu %arg0 up %{{.*}} : (tensor<?x2xf32>, tensor<1x2xf32>, tensor<2x1xf32>, tensor<1xf32>, tensor<2xf32>)
// CHECK: %[[Y:.*]] = onnx.node "Add" v14 (%[[F]], %[[L]])
// CHECK: return %[[Y]]
func.func @where(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {
  %u = ffn.weight dense<1.0> : tensor<4x2xf32>
  %b = ffn.weight dense<3.0> : tensor<4xf32>
  %d = ffn.weight dense<2.0> : tensor<2x4xf32>
  %c = ffn.weight dense<4.0> : tensor<2xf32>
  %m = ffn.weight dense<[false, true, false, false]> : tensor<4xi1>
  %z = ffn.linear %x, %u bias %b : tensor<4xf32> : tensor<?x2xf32>, tensor<4x2xf32> -> tensor<?x4xf32>
  %a = onnx.node "Relu" v14 (%z) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %h = onnx.node "Where" v16 (%m, %a, %z) : (tensor<4xi1>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  // expected-remark@+1 {{folded 3 idle channels of 4 into a linear of 2x2}}
  %y = ffn.linear %h, %d bias %c : tensor<2xf32> : tensor<?x4xf32>, tensor<2x4xf32> -> tensor<?x2xf32>
  return %y : tensor<?x2xf32>
}
