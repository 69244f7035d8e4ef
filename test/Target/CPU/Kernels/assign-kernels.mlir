// RUN: ffn-opt %s --ffn-cpu-assign-kernels=level=avx512 | FileCheck %s
// RUN: ffn-opt %s --ffn-cpu-assign-kernels=level=avx2 | FileCheck %s --check-prefix=AVX2

// CHECK-LABEL: func.func @linear
// CHECK-SAME: %[[X:.*]]: tensor<?x?x5xf32>
// AVX2-LABEL: func.func @linear
func.func @linear(%x: tensor<?x?x5xf32>) -> tensor<?x?x7xf32> {
  // CHECK-DAG: %[[W:.*]] = ffn.weight dense<1.000000e+00> : tensor<7x5xf32>
  // CHECK-DAG: %[[B:.*]] = ffn.weight dense<2.000000e+00> : tensor<7xf32>
  %w = ffn.weight dense<1.0> : tensor<7x5xf32>
  %b = ffn.weight dense<2.0> : tensor<7xf32>
  // CHECK: %[[A:.*]] = tensor.collapse_shape %[[X]] {{\[\[}}0, 1], [2]]
  // CHECK: %[[P:.*]] = ffn_cpu.pack layout <n = 7, k = 5, lanes = 16, vectors = 1, element = f32> %[[W]] bias %[[B]]
  // CHECK: %[[M:.*]] = tensor.dim %[[A]]
  // CHECK: %[[E:.*]] = tensor.empty(%[[M]]) : tensor<?x7xf32>
  // CHECK: %[[Y:.*]] = ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx512, n = 7, k = 5, row_stride = 5, element = f32> ins(%[[A]], %[[P]] : {{.*}}) outs(%[[E]] : {{.*}})
  // CHECK: tensor.expand_shape %[[Y]] {{\[\[}}0, 1], [2]]
  // AVX2: ffn_cpu.pack layout <n = 7, k = 5, lanes = 8, vectors = 1, element = f32>
  %y = ffn.linear %x, %w bias %b : tensor<7xf32> : tensor<?x?x5xf32>, tensor<7x5xf32> -> tensor<?x?x7xf32>
  return %y : tensor<?x?x7xf32>
}

// A weight that is stored narrow stays narrow.
// CHECK-LABEL: func.func @narrow
func.func @narrow(%x: tensor<3x5xf32>) -> tensor<3x7xf32> {
  %h = ffn.weight dense<1.0> : tensor<5x7xf16>
  %t = ffn.transpose %h : tensor<5x7xf16>
  %w = ffn.cast %t : tensor<7x5xf16> to tensor<7x5xf32>
  // CHECK: ffn_cpu.pack layout <n = 7, k = 5, lanes = 16, vectors = 1, element = f16> %{{.*}} : tensor<7x5xf32> -> memref<256xi8>
  %y = ffn.linear %x, %w : tensor<3x5xf32>, tensor<7x5xf32> -> tensor<3x7xf32>
  return %y : tensor<3x7xf32>
}

// A weight that is only known at run time, and types that no kernel has.
// CHECK-LABEL: func.func @refused
func.func @refused(%x: tensor<3x5xf32>, %w: tensor<7x5xf32>, %d: tensor<3x5xf64>, %i: tensor<?x?xf32>) -> (tensor<3x7xf32>, tensor<3x7xf64>, tensor<?x?xf32>) {
  // CHECK-NOT: kernel_call
  // CHECK: ffn.linear
  %y = ffn.linear %x, %w : tensor<3x5xf32>, tensor<7x5xf32> -> tensor<3x7xf32>
  // CHECK: ffn.linear
  %v = ffn.weight dense<1.0> : tensor<7x5xf64>
  %z = ffn.linear %d, %v : tensor<3x5xf64>, tensor<7x5xf64> -> tensor<3x7xf64>
  // CHECK: ffn.norm
  %n = ffn.norm rms %i eps 1.0e-5 : tensor<?x?xf32>
  return %y, %z, %n : tensor<3x7xf32>, tensor<3x7xf64>, tensor<?x?xf32>
}

// The residual of a sublayer is added by the kernel, in the order of the addends.
// CHECK-LABEL: func.func @sublayer
// CHECK-SAME: %[[H:.*]]: tensor<?x8xf32>
func.func @sublayer(%h: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %w = ffn.weight dense<1.0> : tensor<8x8xf32>
  %up = ffn.weight dense<1.0> : tensor<24x8xf32>
  %down = ffn.weight dense<1.0> : tensor<8x24xf32>
  %bias = ffn.weight dense<0.5> : tensor<24xf32>
  %s = ffn.weight dense<1.0> : tensor<8xf32>
  // CHECK-NOT: ffn.sublayer
  // CHECK: %[[S:.*]] = ffn_cpu.pack %{{.*}} : tensor<8xf32> -> memref<8xf32>
  // CHECK: %[[N:.*]] = ffn_cpu.kernel_call #ffn_cpu.norm<level = avx512, kind = rms, width = 8, eps = 1.000000e-05 : f64, scale = true> ins(%[[H]], %[[S]]
  // CHECK: %[[A:.*]] = ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx512, n = 8, k = 8, row_stride = 8, element = f32, residual = true> ins(%[[N]], %{{.*}}, %[[H]]
  // CHECK: ffn_cpu.pack layout <n = 24, k = 8, lanes = 16, vectors = 2, element = f32, gated = true> %{{.*}}, %{{.*}} bias %{{.*}}, %{{.*}} : tensor<24x8xf32>, tensor<24x8xf32> bias
  // CHECK: %[[U:.*]] = ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx512, n = 24, k = 8, row_stride = 8, element = f32, activation = silu, gated = true> ins(%[[N]]
  // CHECK: %[[R:.*]] = ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx512, n = 8, k = 24, row_stride = 24, element = f32, residual = true> ins(%[[U]], %{{.*}}, %[[A]]
  // CHECK: return %[[R]]
  %r = ffn.sublayer [#ffn.addend<attention "a">, #ffn.addend<ffn "f">] (%h) : (tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: tensor<?x8xf32>):
    %n = ffn.norm rms %x scale %s : tensor<8xf32> eps 1.0e-5 : tensor<?x8xf32>
    %a = ffn.linear %n, %w : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
    %f = ffn.feed_forward silu %n up %up gate %up down %down up_bias %bias : (tensor<?x8xf32>, tensor<24x8xf32>, tensor<24x8xf32>, tensor<8x24xf32>, tensor<24xf32>) -> tensor<?x8xf32>
    ffn.yield %a, %f : tensor<?x8xf32>, tensor<?x8xf32>
  }
  return %r : tensor<?x8xf32>
}

// A sublayer that ends in something else keeps its form; what is in it is served.
// CHECK-LABEL: func.func @other_end
func.func @other_end(%h: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK: ffn.sublayer
  // CHECK: ffn_cpu.kernel_call #ffn_cpu.norm
  %r = ffn.sublayer [#ffn.addend<other "n">] (%h) : (tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: tensor<?x8xf32>):
    %n = ffn.norm layer %x eps 1.0e-5 : tensor<?x8xf32>
    ffn.yield %n : tensor<?x8xf32>
  }
  return %r : tensor<?x8xf32>
}

// Heads are read in place where the model transposes them; the result too.
// CHECK-LABEL: func.func @attention
// CHECK-SAME: %[[Q:.*]]: tensor<?x?x4x16xf32>, %[[K:.*]]: tensor<?x2x?x16xf32>, %[[V:.*]]: tensor<?x2x?x16xf32>, %[[MASK:.*]]: tensor<?x?xf32>
func.func @attention(%q: tensor<?x?x4x16xf32>, %k: tensor<?x2x?x16xf32>, %v: tensor<?x2x?x16xf32>, %m: tensor<?x?xf32>) -> tensor<?x?x4x16xf32> {
  // CHECK-NOT: onnx.node
  // CHECK: %[[M4:.*]] = tensor.expand_shape %[[MASK]] {{\[\[}}0, 1, 2], [3]]
  // CHECK: %[[Y:.*]] = ffn_cpu.kernel_call #ffn_cpu.attention<level = avx512, head_size = 16, value_size = 16, group = 2, scale = 2.500000e-01 : f64, causal = true, mask = additive, query_seq_first = true, result_seq_first = true> ins(%[[Q]], %[[K]], %[[V]], %[[M4]]
  // CHECK: return %[[Y]]
  %t = onnx.node "Transpose" v13 (%q) {perm = array<i64: 0, 2, 1, 3>} : (tensor<?x?x4x16xf32>) -> tensor<?x4x?x16xf32>
  %a = ffn.attention %t, %k, %v mask %m : tensor<?x?xf32> scale 2.5e-1 causal : tensor<?x4x?x16xf32>, tensor<?x2x?x16xf32>, tensor<?x2x?x16xf32> -> tensor<?x4x?x16xf32>
  %r = onnx.node "Transpose" v13 (%a) {perm = array<i64: 0, 2, 1, 3>} : (tensor<?x4x?x16xf32>) -> tensor<?x?x4x16xf32>
  return %r : tensor<?x?x4x16xf32>
}

// Where codes allow it, rows are rounded once for each group size, and integer
// products read them.
// CHECK-LABEL: func.func @int8_rows
func.func @int8_rows(%x: tensor<?x32xf32>) -> (tensor<?x7xf32>, tensor<?x7xf32>) {
  %c = ffn.weight dense<1> : tensor<7x32xi8>
  %s = ffn.weight dense<2.0> : tensor<7x1xf32>
  %t = ffn.weight dense<2.0> : tensor<7x2xf32>
  // CHECK: %[[Q:.*]] = ffn_cpu.kernel_call #ffn_cpu.quantize<level = avx512, width = 32, group = 32> ins(%arg0 : {{.*}}) outs(%{{.*}} : tensor<?x16xi32>)
  // CHECK: %[[P:.*]] = ffn_cpu.pack layout <n = 7, k = 32, lanes = 16, vectors = 1, element = i8, group = 32, quads = true> %{{.*}} : tensor<7x32xf32> -> memref<640xi8>
  // CHECK: ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx512, n = 7, k = 32, row_stride = 16, element = i8, group = 32, int8_rows = true> ins(%[[Q]], %[[P]] :
  %w = ffn.dequantize %c, %s bits 8 group 32 {ffn.input_bits = 8 : i64} : tensor<7x32xi8>, tensor<7x1xf32>
  %y = ffn.linear %x, %w : tensor<?x32xf32>, tensor<7x32xf32> -> tensor<?x7xf32>
  // CHECK: ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx512, n = 7, k = 32, row_stride = 32, element = i4, group = 16> ins(%arg0,
  %v = ffn.dequantize %c, %t bits 4 group 16 : tensor<7x32xi8>, tensor<7x2xf32>
  %z = ffn.linear %x, %v : tensor<?x32xf32>, tensor<7x32xf32> -> tensor<?x7xf32>
  return %y, %z : tensor<?x7xf32>, tensor<?x7xf32>
}
