// RUN: ffn-opt %s --ffn-fold-norm --split-input-file --verify-diagnostics | FileCheck %s

// Scale into columns of up and gate, shift into their biases.
// CHECK-LABEL: func.func @network(
// CHECK-DAG: %[[G:.*]] = ffn.weight dense<2.000000e+00> : tensor<4xf32>
// CHECK-DAG: %[[B:.*]] = ffn.weight dense<3.000000e+00> : tensor<4xf32>
// CHECK-DAG: %[[U:.*]] = ffn.weight dense<1.000000e+00> : tensor<8x4xf32>
// CHECK-DAG: %[[V:.*]] = ffn.weight dense<5.000000e+00> : tensor<8x4xf32>
// CHECK-DAG: %[[C:.*]] = ffn.weight dense<6.000000e+00> : tensor<8xf32>
// CHECK: %[[UB:.*]] = ffn.matvec %[[U]], %[[B]] plus %[[C]]
// CHECK: %[[SU:.*]] = ffn.scale_cols %[[U]], %[[G]]
// CHECK: %[[GB:.*]] = ffn.matvec %[[V]], %[[B]] :
// CHECK: %[[SG:.*]] = ffn.scale_cols %[[V]], %[[G]]
// CHECK: ffn.sublayer
// CHECK: %[[N:.*]] = ffn.norm layer %{{.*}} eps
// CHECK: ffn.feed_forward silu %[[N]] up %[[SU]] gate %[[SG]] down %{{.*}} up_bias %[[UB]] gate_bias %[[GB]]
func.func @network(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %g = ffn.weight dense<2.0> : tensor<4xf32>
  %b = ffn.weight dense<3.0> : tensor<4xf32>
  %u = ffn.weight dense<1.0> : tensor<8x4xf32>
  %v = ffn.weight dense<5.0> : tensor<8x4xf32>
  %d = ffn.weight dense<4.0> : tensor<4x8xf32>
  %c = ffn.weight dense<6.0> : tensor<8xf32>
  %y = ffn.sublayer [#ffn.addend<ffn "m">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    // expected-remark@+1 {{norm folded into 2 weights}}
    %n = ffn.norm layer %h scale %g : tensor<4xf32> bias %b : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
    %f = ffn.feed_forward silu %n up %u gate %v down %d up_bias %c : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<8xf32>) -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  return %y : tensor<?x4xf32>
}

// -----

// Three linears behind one norm; asking for the size is no obstacle.
// CHECK-LABEL: func.func @linears(
// CHECK: ffn.norm rms %arg0 eps
// CHECK: onnx.node "Shape"
// CHECK-COUNT-2: ffn.scale_cols
func.func @linears(%x: tensor<?x4xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<2xi64>) {
  %g = ffn.weight dense<2.0> : tensor<4xf32>
  %u = ffn.weight dense<1.0> : tensor<8x4xf32>
  %v = ffn.weight dense<5.0> : tensor<8x4xf32>
  // expected-remark@+1 {{norm folded into 2 weights}}
  %n = ffn.norm rms %x scale %g : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
  %s = onnx.node "Shape" v15 (%n) : (tensor<?x4xf32>) -> tensor<2xi64>
  %a = ffn.linear %n, %u : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  %b = ffn.linear %n, %v : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  return %a, %b, %s : tensor<?x8xf32>, tensor<?x8xf32>, tensor<2xi64>
}
