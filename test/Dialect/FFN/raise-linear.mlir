// RUN: ffn-opt %s --ffn-raise --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func.func @matmul
func.func @matmul(%x: tensor<?x?x4xf32>) -> (tensor<?x?x8xf32>, tensor<?x?x8xf32>) {
  %w = ffn.weight dense<1.0> : tensor<4x8xf32>
  %b = ffn.weight dense<2.0> : tensor<8xf32>
  %s = ffn.weight dense<3.0> : tensor<1xf32>
  // CHECK: %[[T:.*]] = ffn.transpose %{{.*}} : tensor<4x8xf32>
  // CHECK: %[[A:.*]] = ffn.linear %arg0, %[[T]] bias %{{.*}} : tensor<8xf32> : tensor<?x?x4xf32>, tensor<8x4xf32> -> tensor<?x?x8xf32>
  // CHECK: %[[B:.*]] = ffn.linear %arg0, %[[T]] bias %{{.*}} : tensor<8xf32>
  // CHECK: return %[[A]], %[[B]]
  %p = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x?x4xf32>, tensor<4x8xf32>) -> tensor<?x?x8xf32>
  %y = onnx.node "Add" v14 (%b, %p) : (tensor<8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %q = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x?x4xf32>, tensor<4x8xf32>) -> tensor<?x?x8xf32>
  %z = onnx.node "Add" v14 (%q, %s) : (tensor<?x?x8xf32>, tensor<1xf32>) -> tensor<?x?x8xf32>
  return %y, %z : tensor<?x?x8xf32>, tensor<?x?x8xf32>
}

// -----

// The table of the embedding is the head's matrix: one weight.
// CHECK-LABEL: func.func @tied
func.func @tied(%ids: tensor<?x?xi64>) -> tensor<?x?x8xf32> {
  // CHECK: %[[W:.*]] = ffn.weight
  %w = ffn.weight dense<1.0> : tensor<8x4xf16>
  // CHECK: %[[C:.*]] = ffn.cast %[[W]] : tensor<8x4xf16> to tensor<8x4xf32>
  %c = onnx.node "Cast" v13 (%w) {to = 1 : si64} : (tensor<8x4xf16>) -> tensor<8x4xf32>
  %t = onnx.node "Transpose" v13 (%c) {perm = array<i64: 1, 0>} : (tensor<8x4xf32>) -> tensor<4x8xf32>
  // CHECK-NEXT: %[[E:.*]] = ffn.embedding %arg0, %[[C]]
  %e = onnx.node "Gather" v13 (%c, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  // CHECK-NEXT: ffn.linear %[[E]], %[[C]] :
  %y = onnx.node "MatMul" v13 (%e, %t) : (tensor<?x?x4xf32>, tensor<4x8xf32>) -> tensor<?x?x8xf32>
  return %y : tensor<?x?x8xf32>
}

// -----

// CHECK-LABEL: func.func @gemm
func.func @gemm(%x: tensor<?x4xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %w = ffn.weight dense<1.0> : tensor<8x4xf32>
  %b = ffn.weight dense<2.0> : tensor<1x8xf32>
  // CHECK: %[[W:.*]] = ffn.weight dense<1.0{{.*}}> : tensor<8x4xf32>
  // CHECK: ffn.scale_rows %[[W]], %{{.*}} : tensor<8x4xf32>, tensor<8xf32>
  // CHECK: ffn.linear %arg0, %[[W]] bias
  %y = onnx.node "Gemm" v13 (%x, %w, %b) {transB = 1 : si64} : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<1x8xf32>) -> tensor<?x8xf32>
  // CHECK: ffn.linear %arg0, %{{.*}} bias
  %z = onnx.node "Gemm" v13 (%x, %w, %b) {transB = 1 : si64, alpha = 0.5 : f32, beta = 2.0 : f32} : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<1x8xf32>) -> tensor<?x8xf32>
  return %y, %z : tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

// Rows flattened for a Gemm and put back: one linear on the whole.
// CHECK-LABEL: func.func @reshaped
func.func @reshaped(%x: tensor<?x7x4xf32>, %s: tensor<2xi64>, %t: tensor<3xi64>) -> tensor<?x7x8xf32> {
  %w = ffn.weight dense<1.0> : tensor<4x8xf32>
  %b = ffn.weight dense<2.0> : tensor<8xf32>
  %r = onnx.node "Reshape" v14 (%x, %s) : (tensor<?x7x4xf32>, tensor<2xi64>) -> tensor<?x4xf32>
  %g = onnx.node "Gemm" v13 (%r, %w, %b) : (tensor<?x4xf32>, tensor<4x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  // CHECK-NOT: Reshape
  // CHECK: ffn.linear %arg0, %{{.*}} bias %{{.*}} -> tensor<?x7x8xf32>
  %y = onnx.node "Reshape" v14 (%g, %t) : (tensor<?x8xf32>, tensor<3xi64>) -> tensor<?x7x8xf32>
  return %y : tensor<?x7x8xf32>
}

// -----

// CHECK-LABEL: func.func @fused
func.func @fused(%x: tensor<?x4xf32>) -> tensor<?x8xf32> {
  %w = ffn.weight dense<1.0> : tensor<8x4xf32>
  // CHECK: ffn.linear %arg0, %{{.*}} : tensor<?x4xf32>, tensor<8x4xf32>
  %y = onnx.node "com.microsoft::FusedMatMul" v1 (%x, %w) {transB = 1 : si64} : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// A bias that another node needs without, a bias that varies along the rows,
// an outer product: the first is a linear without bias, the last is none.
// CHECK-LABEL: func.func @partly
func.func @partly(%x: tensor<?x7x4xf32>, %p: tensor<?x1xf32>) -> (tensor<?x7x8xf32>, tensor<?x7x8xf32>, tensor<?x7x8xf32>, tensor<?x8xf32>) {
  %w = ffn.weight dense<1.0> : tensor<4x8xf32>
  %o = ffn.weight dense<1.0> : tensor<1x8xf32>
  %b = ffn.weight dense<2.0> : tensor<8xf32>
  %r = ffn.weight dense<2.0> : tensor<7x8xf32>
  // CHECK: ffn.linear %arg0, %{{[0-9]*}} : tensor
  // CHECK: onnx.node "Add"
  %m = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x7x4xf32>, tensor<4x8xf32>) -> tensor<?x7x8xf32>
  %a = onnx.node "Add" v14 (%m, %b) : (tensor<?x7x8xf32>, tensor<8xf32>) -> tensor<?x7x8xf32>
  // CHECK: ffn.linear %arg0, %{{[0-9]*}} : tensor
  // CHECK: onnx.node "Add"
  %n = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x7x4xf32>, tensor<4x8xf32>) -> tensor<?x7x8xf32>
  %c = onnx.node "Add" v14 (%n, %r) : (tensor<?x7x8xf32>, tensor<7x8xf32>) -> tensor<?x7x8xf32>
  // CHECK: onnx.node "MatMul"
  %q = onnx.node "MatMul" v13 (%p, %o) : (tensor<?x1xf32>, tensor<1x8xf32>) -> tensor<?x8xf32>
  return %m, %a, %c, %q : tensor<?x7x8xf32>, tensor<?x7x8xf32>, tensor<?x7x8xf32>, tensor<?x8xf32>
}

// -----

func.func @transposed(%x: tensor<4x?xf32>) -> tensor<?x8xf32> {
  %w = ffn.weight dense<1.0> : tensor<4x8xf32>
  // expected-remark@+1 {{near miss: linear at node 'g' (Gemm): its input is transposed}}
  %y = onnx.node "Gemm" v13 (%x, %w) {transA = 1 : si64} : (tensor<4x?xf32>, tensor<4x8xf32>) -> tensor<?x8xf32> names ["g", "y"]
  return %y : tensor<?x8xf32>
}

// -----

func.func @matrix_bias(%x: tensor<3x4xf32>) -> tensor<3x8xf32> {
  %w = ffn.weight dense<1.0> : tensor<4x8xf32>
  %b = ffn.weight dense<1.0> : tensor<3x8xf32>
  // expected-remark@+1 {{near miss: linear at node 'g' (Gemm): its C is not a constant vector of the columns}}
  %y = onnx.node "Gemm" v13 (%x, %w, %b) : (tensor<3x4xf32>, tensor<4x8xf32>, tensor<3x8xf32>) -> tensor<3x8xf32> names ["g", "y"]
  return %y : tensor<3x8xf32>
}

// -----

// Tensordot of TensorFlow: the bias comes behind the reshapes.
// CHECK-LABEL: func.func @tensordot
func.func @tensordot(%x: tensor<?x7x4xf32>, %s: tensor<2xi64>, %t: tensor<3xi64>) -> tensor<?x7x8xf32> {
  %w = ffn.weight dense<1.0> : tensor<4x8xf32>
  %b = ffn.weight dense<2.0> : tensor<8xf32>
  %r = onnx.node "Reshape" v14 (%x, %s) : (tensor<?x7x4xf32>, tensor<2xi64>) -> tensor<?x4xf32>
  %g = onnx.node "MatMul" v13 (%r, %w) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  // CHECK-NOT: onnx.node
  // CHECK: ffn.linear %arg0, %{{.*}} bias %{{.*}} -> tensor<?x7x8xf32>
  %y = onnx.node "Reshape" v14 (%g, %t) : (tensor<?x8xf32>, tensor<3xi64>) -> tensor<?x7x8xf32>
  %z = onnx.node "Add" v14 (%b, %y) : (tensor<8xf32>, tensor<?x7x8xf32>) -> tensor<?x7x8xf32>
  return %z : tensor<?x7x8xf32>
}

// -----

// Reshapes that mix the width with the rows, on either side of the product,
// and rows that are not those there were before it.
// CHECK-LABEL: func.func @tensordot_misses
func.func @tensordot_misses(%x: tensor<6x8xf32>, %y: tensor<3x2x4xf32>, %s: tensor<2xi64>, %t: tensor<3xi64>)
    -> (tensor<6x2x8xf32>, tensor<6x2x4xf32>, tensor<2x3x8xf32>) {
  %w = ffn.weight dense<1.0> : tensor<4x8xf32>
  // CHECK-COUNT-2: Reshape
  // CHECK: Reshape
  // CHECK: Reshape
  %0 = onnx.node "Reshape" v14 (%x, %s) : (tensor<6x8xf32>, tensor<2xi64>) -> tensor<12x4xf32>
  %1 = onnx.node "MatMul" v13 (%0, %w) : (tensor<12x4xf32>, tensor<4x8xf32>) -> tensor<12x8xf32>
  %2 = onnx.node "Reshape" v14 (%1, %t) : (tensor<12x8xf32>, tensor<3xi64>) -> tensor<6x2x8xf32>
  %3 = onnx.node "Reshape" v14 (%y, %s) : (tensor<3x2x4xf32>, tensor<2xi64>) -> tensor<6x4xf32>
  %4 = onnx.node "MatMul" v13 (%3, %w) : (tensor<6x4xf32>, tensor<4x8xf32>) -> tensor<6x8xf32>
  %5 = onnx.node "Reshape" v14 (%4, %t) : (tensor<6x8xf32>, tensor<3xi64>) -> tensor<6x2x4xf32>
  %6 = onnx.node "Reshape" v14 (%y, %s) : (tensor<3x2x4xf32>, tensor<2xi64>) -> tensor<6x4xf32>
  %7 = onnx.node "MatMul" v13 (%6, %w) : (tensor<6x4xf32>, tensor<4x8xf32>) -> tensor<6x8xf32>
  // expected-remark @below {{near miss: linear at node (Reshape): it is not known that the reshape restores the shape before the product}}
  %8 = onnx.node "Reshape" v14 (%7, %t) : (tensor<6x8xf32>, tensor<3xi64>) -> tensor<2x3x8xf32>
  return %2, %5, %8 : tensor<6x2x8xf32>, tensor<6x2x4xf32>, tensor<2x3x8xf32>
}
