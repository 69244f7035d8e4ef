// RUN: ffn-opt %s --ffn-cpu-assign-products=level=avx512 --canonicalize --split-input-file | FileCheck %s

#a = affine_map<(b, m, n, k) -> (b, m, k)>
#w = affine_map<(b, m, n, k) -> (b, k, n)>
#y = affine_map<(b, m, n, k) -> (b, m, n)>

// The transposition is read where it is, and goes.
// CHECK-LABEL: func.func @transposed
// CHECK-SAME: (%[[Q:.*]]: tensor<?x?x4xf32>, %[[K:.*]]: tensor<?x?x4xf32>, %[[E:.*]]: tensor<?x?x?xf32>)
// CHECK-NOT: linalg
// CHECK: %[[R:.*]] = ffn_cpu.kernel_call #ffn_cpu.product<level = avx512, rank = 3, a = [0, 1, 3], b = [0, 2, 3]> ins(%[[Q]], %[[K]] : tensor<?x?x4xf32>, tensor<?x?x4xf32>) outs(%[[E]] : tensor<?x?x?xf32>)
// CHECK-NEXT: return %[[R]]
func.func @transposed(%q: tensor<?x?x4xf32>, %k: tensor<?x?x4xf32>, %e: tensor<?x?x?xf32>) -> tensor<?x?x?xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %b = tensor.dim %k, %c0 : tensor<?x?x4xf32>
  %t = tensor.dim %k, %c1 : tensor<?x?x4xf32>
  %room = tensor.empty(%b, %t) : tensor<?x4x?xf32>
  %kt = linalg.transpose ins(%k : tensor<?x?x4xf32>) outs(%room : tensor<?x4x?xf32>) permutation = [0, 2, 1]
  %zero = arith.constant 0.0 : f32
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x?x?xf32>) -> tensor<?x?x?xf32>
  %y = linalg.generic {indexing_maps = [#a, #w, #y], iterator_types = ["parallel", "parallel", "parallel", "reduction"]}
      ins(%q, %kt : tensor<?x?x4xf32>, tensor<?x4x?xf32>) outs(%f : tensor<?x?x?xf32>) {
  ^bb0(%l: f32, %r: f32, %s: f32):
    %v = math.fma %l, %r, %s : f32
    linalg.yield %v : f32
  } -> tensor<?x?x?xf32>
  return %y : tensor<?x?x?xf32>
}

// -----

#a = affine_map<(m, n, k) -> (k, n)>
#w = affine_map<(m, n, k) -> (m, k)>
#y = affine_map<(m, n, k) -> (m, n)>

// What holds the columns is b, whichever comes first.
// CHECK-LABEL: func.func @swapped
// CHECK-SAME: (%[[B:.*]]: tensor<5x?xf32>, %[[A:.*]]: tensor<?x5xf32>,
// CHECK: ffn_cpu.kernel_call #ffn_cpu.product<level = avx512, rank = 2, a = [0, 2], b = [2, 1]> ins(%[[A]], %[[B]] :
func.func @swapped(%b: tensor<5x?xf32>, %a: tensor<?x5xf32>, %e: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %zero = arith.constant 0.0 : f32
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x?xf32>) -> tensor<?x?xf32>
  %y = linalg.generic {indexing_maps = [#a, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%b, %a : tensor<5x?xf32>, tensor<?x5xf32>) outs(%f : tensor<?x?xf32>) {
  ^bb0(%l: f32, %r: f32, %s: f32):
    %v = math.fma %l, %r, %s : f32
    linalg.yield %v : f32
  } -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}

// -----

#a = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>

// A sum that begins elsewhere, other elements: loops.
// CHECK-LABEL: func.func @others
// CHECK-NOT: kernel_call
// CHECK: return
func.func @others(%a: tensor<3x5xf32>, %b: tensor<5x4xf32>, %e: tensor<3x4xf32>, %i: tensor<3x5xf64>, %j: tensor<5x4xf64>,
                  %g: tensor<3x4xf64>) -> (tensor<3x4xf32>, tensor<3x4xf32>, tensor<3x4xf64>) {
  %one = arith.constant 1.0 : f32
  %zero = arith.constant 0.0 : f64
  %f = linalg.fill ins(%one : f32) outs(%e : tensor<3x4xf32>) -> tensor<3x4xf32>
  %x = linalg.generic {indexing_maps = [#a, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%a, %b : tensor<3x5xf32>, tensor<5x4xf32>) outs(%e : tensor<3x4xf32>) {
  ^bb0(%l: f32, %r: f32, %s: f32):
    %v = math.fma %l, %r, %s : f32
    linalg.yield %v : f32
  } -> tensor<3x4xf32>
  %y = linalg.generic {indexing_maps = [#a, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%a, %b : tensor<3x5xf32>, tensor<5x4xf32>) outs(%f : tensor<3x4xf32>) {
  ^bb0(%l: f32, %r: f32, %s: f32):
    %v = math.fma %l, %r, %s : f32
    linalg.yield %v : f32
  } -> tensor<3x4xf32>
  %h = linalg.fill ins(%zero : f64) outs(%g : tensor<3x4xf64>) -> tensor<3x4xf64>
  %z = linalg.generic {indexing_maps = [#a, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%i, %j : tensor<3x5xf64>, tensor<5x4xf64>) outs(%h : tensor<3x4xf64>) {
  ^bb0(%l: f64, %r: f64, %s: f64):
    %v = math.fma %l, %r, %s : f64
    linalg.yield %v : f64
  } -> tensor<3x4xf64>
  return %x, %y, %z : tensor<3x4xf32>, tensor<3x4xf32>, tensor<3x4xf64>
}
