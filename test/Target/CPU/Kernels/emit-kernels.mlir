// RUN: ffn-opt %s --ffn-cpu-emit-kernels | FileCheck %s
// RUN: ffn-opt %s --ffn-cpu-emit-kernels | FileCheck %s --check-prefix=NO

// No flag that changes results; no math op that would be left to the C library.
// NO-NOT: fastmath
// NO-NOT: math.exp
// NO-NOT: math.erf
// NO-NOT: math.tanh

// Calls of one key share a kernel.
// CHECK-LABEL: func.func @main
// CHECK: ffn_cpu.launch @[[GEMM:.*]] tasks(%{{.*}}) grain(%{{.*}}) (
// CHECK: ffn_cpu.launch @[[GEMM]] tasks
// CHECK: ffn_cpu.launch @[[NORM:.*]] tasks
// CHECK: ffn_cpu.launch @[[ATTENTION:.*]] tasks
// CHECK-NOT: kernel_call
// CHECK: func.func private @[[GEMM]](%{{.*}}: memref<?x8xf32, strided<[8, 1], offset: ?>>, %{{.*}}: memref<320xi8>, %{{.*}}: memref<?x5xf32, strided<[?, 1], offset: ?>> {llvm.noalias}, %{{.*}}: index, %{{.*}}: index)
// CHECK: math.fma
// CHECK-NOT: func.func private @[[GEMM]](
// CHECK: func.func private @[[NORM]](
// CHECK: func.func private @[[ATTENTION]](
func.func @main(%x: memref<?x8xf32>, %q: memref<2x4x?x16xf32>, %k: memref<2x4x?x16xf32>, %z: memref<2x4x?x16xf32>,
                %y0: memref<?x5xf32>, %y1: memref<?x5xf32>, %y2: memref<?x8xf32>) {
  %p0 = ffn_cpu.packed_weight 0 : memref<320xi8>
  %p1 = ffn_cpu.packed_weight 320 : memref<320xi8>
  ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx2, n = 5, k = 8, row_stride = 8, element = f32, activation = gelu_erf>
    ins(%x, %p0 : memref<?x8xf32>, memref<320xi8>) outs(%y0 : memref<?x5xf32>)
  ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx2, n = 5, k = 8, row_stride = 8, element = f32, activation = gelu_erf>
    ins(%x, %p1 : memref<?x8xf32>, memref<320xi8>) outs(%y1 : memref<?x5xf32>)
  ffn_cpu.kernel_call #ffn_cpu.norm<level = avx2, kind = rms, width = 8, eps = 1.0e-5 : f64>
    ins(%x : memref<?x8xf32>) outs(%y2 : memref<?x8xf32>)
  ffn_cpu.kernel_call #ffn_cpu.attention<level = avx2, head_size = 16, value_size = 16, group = 1, scale = 2.5e-1 : f64, causal = true>
    ins(%q, %k, %k : memref<2x4x?x16xf32>, memref<2x4x?x16xf32>, memref<2x4x?x16xf32>) outs(%z : memref<2x4x?x16xf32>)
  return
}
