// RUN: ffn-opt %s --split-input-file --verify-diagnostics

func.func @last(%x: memref<?x?xf32>) {
  // expected-error @+1 {{append along axis 1 of rank 2 is not supported (any but the last)}}
  ffn_cpu.kernel_call #ffn_cpu.append<level = avx2, rank = 2, axis = 1> ins(%x, %x : memref<?x?xf32>, memref<?x?xf32>) outs(%x : memref<?x?xf32>)
  return
}

// -----

func.func @swapped(%x: memref<?x?x?xf32>) {
  // expected-error @+1 {{dimensions 1 and 2 are exchanged in rank 4 and more}}
  ffn_cpu.kernel_call #ffn_cpu.append<level = avx2, rank = 3, axis = 1, swapped = true> ins(%x, %x : memref<?x?x?xf32>, memref<?x?x?xf32>) outs(%x : memref<?x?x?xf32>)
  return
}
