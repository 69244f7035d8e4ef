// RUN: ffn-opt %s --ffn-quantize --split-input-file --verify-diagnostics | FileCheck %s --check-prefixes=CHECK,INT8
// RUN: ffn-opt %s --ffn-quantize="type=int4 group=16" --split-input-file -o - 2>/dev/null | FileCheck %s --check-prefixes=CHECK,INT4
// RUN: ffn-opt %s --ffn-quantize="activations=int8" --split-input-file -o - 2>/dev/null | FileCheck %s --check-prefixes=CHECK,ROWS
// RUN: ffn-opt %s --ffn-quantize="type=bf16" --split-input-file -o - 2>/dev/null | FileCheck %s --check-prefix=BF16

// The largest magnitude is code 127 of int8 and code -8 of int4.
// CHECK-LABEL: func.func @linear(
// INT8-DAG: %[[C:.*]] = ffn.weight dense<{{\[\[}}127, -64, 32, 0]]> : tensor<1x4xi8>
// INT8-DAG: %[[S:.*]] = ffn.weight dense<1.000000e+00> : tensor<1x1xf32>
// INT8: %[[D:.*]] = ffn.dequantize %[[C]], %[[S]] bits 8 group 4 :
// ROWS: ffn.dequantize %{{.*}} bits 8 group 4 {ffn.input_bits = 8 : i64} :
// INT4-DAG: ffn.weight dense<{{\[\[}}-8, 4, -2, 0]]> : tensor<1x4xi8>
// INT4-DAG: ffn.weight dense<-1.587500e+01> : tensor<1x1xf32>
// INT4: ffn.dequantize %{{.*}} bits 4 group 4
// CHECK: ffn.linear %arg0, %{{.*}}
// BF16-LABEL: func.func @linear(
// BF16: %[[N:.*]] = ffn.cast %{{.*}} : tensor<1x4xf32> to tensor<1x4xbf16>
// BF16: ffn.cast %[[N]] : tensor<1x4xbf16> to tensor<1x4xf32>
func.func @linear(%x: tensor<?x4xf32>) -> tensor<?x1xf32> {
  %w = ffn.weight dense<[[127.0, -64.0, 32.0, 0.25]]> : tensor<1x4xf32>
  // expected-remark@+1 {{weight quantized to int8 in groups of 4: 16 to 8 bytes, relative error 1.7e-03}}
  %y = ffn.linear %x, %w : tensor<?x4xf32>, tensor<1x4xf32> -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

// -----

// A weight that two products read is quantized once; zeros stay zeros.
// CHECK-LABEL: func.func @network(
// CHECK: ffn.weight dense<0> : tensor<8x4xi8>
// CHECK: ffn.weight dense<0.000000e+00> : tensor<8x1xf32>
// CHECK: %[[U:.*]] = ffn.dequantize
// CHECK: %[[D:.*]] = ffn.dequantize
// CHECK: ffn.feed_forward silu %arg0 up %[[U]] gate %[[U]] down %[[D]]
func.func @network(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %u = ffn.weight dense<0.0> : tensor<8x4xf32>
  %d = ffn.weight dense<1.0> : tensor<4x8xf32>
  // expected-remark@+2 {{weight quantized to int8 in groups of 4}}
  // expected-remark@+1 {{weight quantized to int8 in groups of 8}}
  %y = ffn.feed_forward silu %x up %u gate %u down %d : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
