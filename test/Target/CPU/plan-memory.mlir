// RUN: ffn-opt %s --ffn-cpu-plan-memory --split-input-file --verify-diagnostics | FileCheck %s

// One block; buffers whose lives do not meet share bytes.
// CHECK-LABEL: func.func @ffn_model_entry
// CHECK-NOT: memref.alloc
// CHECK: call @ffn_rt_alloc(
// CHECK-NOT: @ffn_rt_alloc
// CHECK: %[[A:.*]] = memref.view %[[BLOCK:.*]][%[[AT:.*]]]
// CHECK-NEXT: call @use(%[[A]])
// CHECK-NEXT: %[[B:.*]] = memref.view %[[BLOCK]][%[[AT]]]
// CHECK-NEXT: call @use(%[[B]])
func.func private @use(memref<?xf32>)
func.func @ffn_model_entry(%n: index) {
  %a = memref.alloc(%n) {alignment = 64 : i64} : memref<?xf32>
  call @use(%a) : (memref<?xf32>) -> ()
  %b = memref.alloc(%n) {alignment = 64 : i64} : memref<?xf32>
  call @use(%b) : (memref<?xf32>) -> ()
  return
}

// -----

func.func private @use(memref<2xf32, 3>)
func.func @ffn_model_entry(%n: index) {
  // expected-error@+1 {{cannot be planned [FFN-C199]}}
  %a = memref.alloc() : memref<2xf32, 3>
  call @use(%a) : (memref<2xf32, 3>) -> ()
  return
}
