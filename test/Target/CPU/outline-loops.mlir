// RUN: ffn-opt %s --ffn-cpu-outline-loops | FileCheck %s
// RUN: ffn-opt %s --ffn-cpu-lower-to-llvm | FileCheck %s --check-prefix=LLVM

// Loops over all elements are one loop over a range of tasks. A buffer that
// is read in place is passed once: two arguments would be said not to alias.
// CHECK-LABEL: func.func @ffn_model_entry
// CHECK-SAME: %[[X:arg1]]: memref<?x4xf32>, %[[Y:arg2]]: memref<?x4xf32>
// CHECK: ffn_cpu.launch @loop_0 tasks(%{{.*}}) grain(%{{.*}}) (%[[X]], %[[Y]], %{{.*}})
// CHECK: ffn_cpu.launch @loop_1 tasks(%{{.*}}) grain(%{{.*}}) (%[[Y]], %{{.*}})
// CHECK-NOT: linalg
// CHECK-LABEL: func.func private @loop_0
// CHECK-SAME: %[[BEGIN:arg3]]: index, %[[END:arg4]]: index
// CHECK: scf.for %{{.*}} = %[[BEGIN]] to %[[END]]
// CHECK-LABEL: func.func private @loop_1

// One function is seen from outside; the launch goes to the pool.
// LLVM: llvm.func @ffn_model_entry
// LLVM: llvm.call @ffn_parallel_for
// LLVM: llvm.func internal @loop_0
#id = affine_map<(i, j) -> (i, j)>
func.func @ffn_model_entry(%args: !llvm.ptr, %x: memref<?x4xf32>, %y: memref<?x4xf32>) {
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x : memref<?x4xf32>) outs(%y : memref<?x4xf32>) {
  ^bb0(%a: f32, %b: f32):
    %s = arith.addf %a, %a : f32
    linalg.yield %s : f32
  }
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%y : memref<?x4xf32>) outs(%y : memref<?x4xf32>) {
  ^bb0(%a: f32, %b: f32):
    %s = arith.addf %a, %a : f32
    linalg.yield %s : f32
  }
  return
}
