// RUN: ffn-opt %s --ffn-merge-parallel --split-input-file --verify-diagnostics | FileCheck %s

// Rows of up, columns of down; a bias that one network lacks is zeros.
// CHECK-LABEL: func.func @plain(
// CHECK-DAG: %[[U0:.*]] = ffn.weight dense<1.000000e+00> : tensor<8x4xf32>
// CHECK-DAG: %[[D0:.*]] = ffn.weight dense<2.000000e+00> : tensor<4x8xf32>
// CHECK-DAG: %[[U1:.*]] = ffn.weight dense<3.000000e+00> : tensor<6x4xf32>
// CHECK-DAG: %[[D1:.*]] = ffn.weight dense<4.000000e+00> : tensor<4x6xf32>
// CHECK-DAG: %[[B:.*]] = ffn.weight dense<5.000000e+00> : tensor<6xf32>
// CHECK-DAG: %[[T0:.*]] = ffn.transpose %[[D0]]
// CHECK-DAG: %[[T1:.*]] = ffn.transpose %[[D1]]
// CHECK-DAG: %[[U:.*]] = ffn.concat_rows %[[U0]], %[[U1]]
// CHECK-DAG: %[[T:.*]] = ffn.concat_rows %[[T0]], %[[T1]]
// CHECK-DAG: %[[D:.*]] = ffn.transpose %[[T]]
// CHECK-DAG: %[[Z:.*]] = ffn.weight dense<0.000000e+00> : tensor<8xf32>
// CHECK-DAG: %[[UB:.*]] = ffn.concat_rows %[[Z]], %[[B]]
// CHECK: ffn.sublayer [#ffn.addend<ffn "a+b">, #ffn.addend<other "c">](%arg0)
// CHECK: %[[F:.*]] = ffn.feed_forward relu %{{.*}} up %[[U]] down %[[D]] up_bias %[[UB]]
// CHECK: ffn.yield %[[F]], %{{.*}}
func.func @plain(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %u0 = ffn.weight dense<1.0> : tensor<8x4xf32>
  %d0 = ffn.weight dense<2.0> : tensor<4x8xf32>
  %u1 = ffn.weight dense<3.0> : tensor<6x4xf32>
  %d1 = ffn.weight dense<4.0> : tensor<4x6xf32>
  %b1 = ffn.weight dense<5.0> : tensor<6xf32>
  %y = ffn.sublayer [#ffn.addend<ffn "a">, #ffn.addend<other "c">, #ffn.addend<ffn "b">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %b = ffn.feed_forward relu %h up %u1 down %d1 up_bias %b1 : (tensor<?x4xf32>, tensor<6x4xf32>, tensor<4x6xf32>, tensor<6xf32>) -> tensor<?x4xf32>
    %c = onnx.node "Relu" v14 (%h) : (tensor<?x4xf32>) -> tensor<?x4xf32>
    // expected-remark@+1 {{merged 2 networks into 'a+b' of width 14}}
    %a = ffn.feed_forward relu %h up %u0 down %d0 : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %a, %c, %b : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
  }
  return %y : tensor<?x4xf32>
}

// -----

// Gated, biases of down are added, norms with equal parameters are one input.
// CHECK-LABEL: func.func @gated(
// CHECK: %[[DB:.*]] = ffn.add
// CHECK: ffn.feed_forward silu %{{.*}} up %{{.*}} gate %{{.*}} down %{{.*}} down_bias %[[DB]]
func.func @gated(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %u = ffn.weight dense<1.0> : tensor<8x4xf32>
  %d = ffn.weight dense<2.0> : tensor<4x8xf32>
  %b0 = ffn.weight dense<3.0> : tensor<4xf32>
  %b1 = ffn.weight dense<5.0> : tensor<4xf32>
  %y = ffn.sublayer [#ffn.addend<ffn "a">, #ffn.addend<ffn "b">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %n0 = ffn.norm rms %h eps 1.0e-5 : tensor<?x4xf32>
    // expected-remark@+1 {{merged 2 networks into 'a+b' of width 16}}
    %a = ffn.feed_forward silu %n0 up %u gate %u down %d down_bias %b0 : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4xf32>) -> tensor<?x4xf32>
    %n1 = ffn.norm rms %h eps 1.0e-5 : tensor<?x4xf32>
    %b = ffn.feed_forward silu %n1 up %u gate %u down %d down_bias %b1 : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4xf32>) -> tensor<?x4xf32>
    ffn.yield %a, %b : tensor<?x4xf32>, tensor<?x4xf32>
  }
  return %y : tensor<?x4xf32>
}

// -----

// Codes stay codes: rows of up, and columns of down where a group ends with
// each network.
// CHECK-LABEL: func.func @quantized(
// CHECK: %[[UC:.*]] = ffn.concat_rows %{{.*}} : tensor<8x4xi8>, tensor<6x4xi8>
// CHECK: %[[US:.*]] = ffn.concat_rows %{{.*}} : tensor<8x1xf32>, tensor<6x1xf32>
// CHECK: %[[U:.*]] = ffn.dequantize %[[UC]], %[[US]] bits 8 group 4
// CHECK: %[[D:.*]] = ffn.dequantize %{{.*}}, %{{.*}} bits 8 group 4 : tensor<4x14xi8>, tensor<4x4xf32>
// CHECK: ffn.feed_forward relu %{{.*}} up %[[U]] down %[[D]]
func.func @quantized(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %c = ffn.weight dense<1> : tensor<8x4xi8>
  %s = ffn.weight dense<1.0> : tensor<8x1xf32>
  %e = ffn.weight dense<1> : tensor<4x8xi8>
  %t = ffn.weight dense<1.0> : tensor<4x2xf32>
  %c6 = ffn.weight dense<1> : tensor<6x4xi8>
  %s6 = ffn.weight dense<1.0> : tensor<6x1xf32>
  %e6 = ffn.weight dense<1> : tensor<4x6xi8>
  %u = ffn.dequantize %c, %s bits 8 group 4 : tensor<8x4xi8>, tensor<8x1xf32>
  %d = ffn.dequantize %e, %t bits 8 group 4 : tensor<4x8xi8>, tensor<4x2xf32>
  %u6 = ffn.dequantize %c6, %s6 bits 8 group 4 : tensor<6x4xi8>, tensor<6x1xf32>
  %d6 = ffn.dequantize %e6, %t bits 8 group 4 : tensor<4x6xi8>, tensor<4x2xf32>
  %y = ffn.sublayer [#ffn.addend<ffn "a">, #ffn.addend<ffn "b">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    // expected-remark@+2 {{merged 2 networks into 'a+b' of width 14}}
    %b = ffn.feed_forward relu %h up %u6 down %d6 : (tensor<?x4xf32>, tensor<6x4xf32>, tensor<4x6xf32>) -> tensor<?x4xf32>
    %a = ffn.feed_forward relu %h up %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ffn.yield %a, %b : tensor<?x4xf32>, tensor<?x4xf32>
  }
  return %y : tensor<?x4xf32>
}
