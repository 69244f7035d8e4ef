// RUN: ffnc compile %s --pass-pipeline='builtin.module()' --emit=linalg --no-kernels -o %t && FileCheck %s < %t
// RUN: ffnc compile %s --emit=linalg --cpu=avx2 -o %t && FileCheck %s --check-prefix=KERNELS < %t

// The entry takes memref descriptors: input 0, output 1, then the weights. The
// size n is read from the first, and inputs are not writable.
// CHECK: func.func @ffn_model_entry(%[[ARGS:.*]]: !llvm.ptr)
// CHECK: llvm.getelementptr %[[ARGS]][0]
// CHECK: ffn_cpu.pack
// CHECK: bufferization.to_tensor %{{.*}} restrict : memref<?x4xf32>
// CHECK: linalg.generic
// CHECK-SAME: iterator_types = ["parallel", "parallel", "reduction"]
// CHECK: math.fma
// CHECK: arith.maximumf
// CHECK: bufferization.materialize_in_destination
// CHECK-SAME: restrict writable

// The product is a kernel over packed panels of the weight.
// KERNELS: ffn_cpu.pack
// KERNELS: ffn_cpu.kernel_call #ffn_cpu.gemm<level = avx2, n = 8, k = 4,
// KERNELS-NOT: math.fma
func.func @main(%x: tensor<?x4xf32> {onnx.name = "x", ffn.dims = ["n", 4]}) -> (tensor<?x8xf32> {onnx.name = "y"}) {
  %w = ffn.weight dense<[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0]]> : tensor<4x8xf32>
  %p = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "Relu" v14 (%p) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
