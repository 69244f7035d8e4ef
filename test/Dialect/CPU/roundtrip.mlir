// RUN: ffn-opt %s | ffn-opt | FileCheck %s
// RUN: ffn-opt %s --mlir-print-op-generic | ffn-opt | FileCheck %s
// RUN: ffn-opt %s --emit-bytecode | ffn-opt | FileCheck %s

// CHECK-LABEL: func.func @tensors
func.func @tensors(%x: tensor<?x5xf32>, %w: tensor<7x5xf32>, %b: tensor<7xf32>, %e: tensor<?x7xf32>) -> tensor<?x7xf32> {
  // CHECK: ffn_cpu.pack layout <n = 7, k = 5, lanes = 8, vectors = 1, element = f32> %{{.*}} bias %{{.*}} : tensor<7x5xf32> bias tensor<7xf32> -> memref<192xi8>
  %p = ffn_cpu.pack layout <n = 7, k = 5, lanes = 8, vectors = 1, element = f32> %w bias %b : tensor<7x5xf32> bias tensor<7xf32> -> memref<192xi8>
  // CHECK: ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx2, n = 7, k = 5, row_stride = 5, element = f32, activation = relu> ins
  %y = ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx2, n = 7, k = 5, row_stride = 5, element = f32, activation = relu>
    ins(%x, %p : tensor<?x5xf32>, memref<192xi8>) outs(%e : tensor<?x7xf32>) -> tensor<?x7xf32>
  return %y : tensor<?x7xf32>
}

// CHECK-LABEL: func.func @buffers
func.func @buffers(%x: memref<?x8xf32>, %y: memref<?x8xf32>, %n: index, %g: index) {
  // CHECK: ffn_cpu.packed_weight 64 : memref<8xf32>
  %s = ffn_cpu.packed_weight 64 : memref<8xf32>
  // CHECK: ffn_cpu.kernel_call #ffn_cpu.norm<level = avx512, kind = rms, width = 8, eps = 1.000000e-05 : f64, scale = true>
  ffn_cpu.kernel_call #ffn_cpu.norm<level = avx512, kind = rms, width = 8, eps = 1.0e-5 : f64, scale = true>
    ins(%x, %s : memref<?x8xf32>, memref<8xf32>) outs(%y : memref<?x8xf32>)
  // CHECK: ffn_cpu.launch @kernel tasks(%{{.*}}) grain(%{{.*}}) (%{{.*}}, %{{.*}}) : memref<?x8xf32>, memref<?x8xf32>
  ffn_cpu.launch @kernel tasks(%n) grain(%g) (%x, %y) : memref<?x8xf32>, memref<?x8xf32>
  return
}

// CHECK-LABEL: func.func @attention
func.func @attention(%q: tensor<?x4x?x8xf32>, %k: tensor<?x2x?x8xf32>, %m: tensor<?x1x?x?xi1>, %e: tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32> {
  // CHECK: #ffn_cpu.attention<level = avx512, head_size = 8, value_size = 8, group = 2, scale = 5.000000e-01 : f64, causal = true, mask = boolean>
  %r = ffn_cpu.kernel_call #ffn_cpu.attention<level = avx512, head_size = 8, value_size = 8, group = 2, scale = 5.0e-1 : f64, causal = true, mask = boolean>
    ins(%q, %k, %k, %m : tensor<?x4x?x8xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>, tensor<?x1x?x?xi1>)
    outs(%e : tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %r : tensor<?x4x?x8xf32>
}

// CHECK-LABEL: func.func @int8_rows
func.func @int8_rows(%x: tensor<?x5xf32>, %r: tensor<?x16xi32>, %p: memref<128xi8>, %e: tensor<?x7xf32>) -> tensor<?x7xf32> {
  // CHECK: ffn_cpu.kernel_call #ffn_cpu.quantize<level = avx512_vnni, width = 5, group = 5> ins
  %q = ffn_cpu.kernel_call #ffn_cpu.quantize<level = avx512_vnni, width = 5, group = 5>
    ins(%x : tensor<?x5xf32>) outs(%r : tensor<?x16xi32>) -> tensor<?x16xi32>
  // CHECK: ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx2_vnni, n = 7, k = 5, row_stride = 16, element = i8, group = 5, int8_rows = true> ins
  %y = ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx2_vnni, n = 7, k = 5, row_stride = 16, element = i8, group = 5, int8_rows = true>
    ins(%q, %p : tensor<?x16xi32>, memref<128xi8>) outs(%e : tensor<?x7xf32>) -> tensor<?x7xf32>
  return %y : tensor<?x7xf32>
}
