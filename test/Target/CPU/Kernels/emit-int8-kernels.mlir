// RUN: ffn-opt %s --ffn-cpu-emit-kernels | FileCheck %s

// The instruction of the level.
// CHECK-LABEL: func.func @int8_rows
// CHECK: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// CHECK: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.256"
// CHECK: llvm.call_intrinsic "llvm.x86.avx512.pmaddw.d.512"
// CHECK: llvm.call_intrinsic "llvm.x86.avx2.pmadd.wd"
func.func @int8_rows(%q: memref<?x16xi32>, %y: memref<?x5xf32>) {
  %w = ffn_cpu.packed_weight 0 : memref<256xi8>
  %n = ffn_cpu.packed_weight 0 : memref<128xi8>
  ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx512_vnni, n = 5, k = 8, row_stride = 16, element = i8, group = 8, int8_rows = true>
    ins(%q, %w : memref<?x16xi32>, memref<256xi8>) outs(%y : memref<?x5xf32>)
  ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx2_vnni, n = 5, k = 8, row_stride = 16, element = i8, group = 8, int8_rows = true>
    ins(%q, %n : memref<?x16xi32>, memref<128xi8>) outs(%y : memref<?x5xf32>)
  ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx512, n = 5, k = 8, row_stride = 16, element = i8, group = 8, int8_rows = true>
    ins(%q, %w : memref<?x16xi32>, memref<256xi8>) outs(%y : memref<?x5xf32>)
  ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx2, n = 5, k = 8, row_stride = 16, element = i8, group = 8, int8_rows = true>
    ins(%q, %n : memref<?x16xi32>, memref<128xi8>) outs(%y : memref<?x5xf32>)
  return
}
