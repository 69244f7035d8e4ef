// RUN: ffn-opt %s --ffn-cpu-emit-kernels | FileCheck %s

// The bytes that were written are told to the runtime: those of the old part
// count only where it lies elsewhere.
// CHECK: func.func private @ffn_rt_appended(i64)
// CHECK-LABEL: func.func @main
// CHECK: ffn_cpu.launch @[[APPEND:.*]] tasks
// CHECK-DAG: memref.extract_aligned_pointer_as_index
// CHECK: %[[SAME:.*]] = arith.cmpi eq
// CHECK: arith.select %[[SAME]], %{{.*}}, %{{.*}} : index
// CHECK: call @ffn_rt_appended
// CHECK: ffn_cpu.launch @[[APPEND]] tasks
// CHECK: call @ffn_rt_appended
// CHECK: func.func private @[[APPEND]](%[[X:.*]]: memref<?x?x?x?xf32, strided<[?, ?, ?, 1], offset: ?>>, %{{.*}}: memref<{{.*}}>, %[[Y:.*]]: memref<{{.*}}> {llvm.noalias}
// CHECK: memref.extract_aligned_pointer_as_index %[[X]]
// CHECK: memref.extract_aligned_pointer_as_index %[[Y]]
func.func @main(%x: memref<1x4x?x16xf32, strided<[?, ?, ?, 1]>>, %a: memref<1x?x4x16xf32>, %y: memref<1x4x?x16xf32, strided<[?, ?, ?, 1]>>) {
  ffn_cpu.kernel_call #ffn_cpu.append<level = avx2, rank = 4, axis = 2, swapped = true>
    ins(%x, %a : memref<1x4x?x16xf32, strided<[?, ?, ?, 1]>>, memref<1x?x4x16xf32>) outs(%y : memref<1x4x?x16xf32, strided<[?, ?, ?, 1]>>)
  ffn_cpu.kernel_call #ffn_cpu.append<level = avx2, rank = 4, axis = 2, swapped = true>
    ins(%x, %a : memref<1x4x?x16xf32, strided<[?, ?, ?, 1]>>, memref<1x?x4x16xf32>) outs(%y : memref<1x4x?x16xf32, strided<[?, ?, ?, 1]>>)
  return
}
