// RUN: ffn-opt %s --ffn-quantize --split-input-file --verify-diagnostics -o %t.after
// RUN: ffn-opt %s --split-input-file -o %t.before
// Nothing here can be quantized, and nothing changes, to the byte.
// RUN: cmp %t.before %t.after
// RUN: not ffn-opt %s --ffn-quantize="type=int5" --split-input-file 2>&1 | FileCheck %s --check-prefix=TYPE
// TYPE: type 'int5': expected bf16, int8 or int4 [FFN-P120]
// RUN: not ffn-opt %s --ffn-quantize="type=int4 group=24" --split-input-file 2>&1 | FileCheck %s --check-prefix=GROUP
// GROUP: group 24: expected 0 for whole rows or, for integers, a power of two from 16 to 1024 [FFN-P120]

func.func @tied(%x: tensor<?x4xf32>, %i: tensor<?xi64>) -> (tensor<?x8xf32>, tensor<?x4xf32>) {
  %w = ffn.weight dense<1.0> : tensor<8x4xf32>
  // expected-remark@+1 {{weight not quantized: it is also read by ffn.embedding; with shared=true a quantized copy is made}}
  %y = ffn.linear %x, %w : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  %e = ffn.embedding %i, %w : tensor<?xi64>, tensor<8x4xf32> -> tensor<?x4xf32>
  return %y, %e : tensor<?x8xf32>, tensor<?x4xf32>
}

// -----

func.func @argument(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>) -> tensor<?x8xf32> {
  // expected-remark@+1 {{weight not quantized: it is not constant}}
  %y = ffn.linear %x, %w : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

func.func @infinite(%x: tensor<?x2xf32>) -> tensor<?x1xf32> {
  %w = ffn.weight dense<[[1.0, 0x7F800000]]> : tensor<1x2xf32>
  // expected-remark@+1 {{weight not quantized: it has values that are not finite}}
  %y = ffn.linear %x, %w : tensor<?x2xf32>, tensor<1x2xf32> -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

// -----

func.func @twice(%x: tensor<?x2xf32>) -> tensor<?x1xf32> {
  %c = ffn.weight dense<1> : tensor<1x2xi8>
  %s = ffn.weight dense<0.5> : tensor<1x1xf32>
  %w = ffn.dequantize %c, %s bits 8 group 2 : tensor<1x2xi8>, tensor<1x1xf32>
  // expected-remark@+1 {{weight not quantized: it is quantized already}}
  %y = ffn.linear %x, %w : tensor<?x2xf32>, tensor<1x2xf32> -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}
