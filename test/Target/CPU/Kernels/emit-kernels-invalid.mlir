// RUN: ffn-opt %s --ffn-cpu-emit-kernels --split-input-file --verify-diagnostics

func.func @tensors(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // expected-error @+1 {{needs a buffer of 'memref<?x8xf32}}
  %y = ffn_cpu.kernel_call #ffn_cpu.norm<level = avx2, kind = rms, width = 8, eps = 1.0e-5 : f64>
    ins(%x : tensor<?x8xf32>) outs(%x : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

func.func @strided(%x: memref<?x8xf32, strided<[16, 2]>>, %y: memref<?x8xf32>) {
  // expected-error @+1 {{needs a buffer of 'memref<?x8xf32}}
  ffn_cpu.kernel_call #ffn_cpu.norm<level = avx2, kind = rms, width = 8, eps = 1.0e-5 : f64>
    ins(%x : memref<?x8xf32, strided<[16, 2]>>) outs(%y : memref<?x8xf32>)
  return
}
