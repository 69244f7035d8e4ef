// RUN: ffn-opt %s --ffn-infer-shapes | FileCheck %s

// A size that only one constant fits is that constant, wherever its name
// stands: here in two inputs, an expression and the result. The name is kept
// for a model that is written again.
// CHECK-LABEL: @product
// CHECK-SAME: (%{{.*}}: tensor<?x?x48xf32> {ffn.dims = ["batch", "seq", 48], onnx.dims = ["batch", "seq", "k"]},
// CHECK-SAME: %{{.*}}: tensor<49xf32> {ffn.dims = [49], onnx.dims = ["k + 1"]})
// CHECK-SAME: -> (tensor<?x?x48xf32> {ffn.dims = ["batch", "seq", 48], onnx.dims = ["batch", "seq", "k"]}, tensor<?x?x16xf32>
func.func @product(%x: tensor<?x?x?xf32> {ffn.dims = ["batch", "seq", "k"]},
                   %y: tensor<?xf32> {ffn.dims = ["k + 1"]})
    -> (tensor<?x?x?xf32> {ffn.dims = ["batch", "seq", "k"]}, tensor<?x?x16xf32>) {
  %w = ffn.weight dense<0.0> : tensor<48x16xf32>
  %0 = onnx.node "Relu" v14 (%x) : (tensor<?x?x?xf32>) -> tensor<?x?x?xf32>
  %1 = onnx.node "MatMul" v13 (%0, %w) : (tensor<?x?x?xf32>, tensor<48x16xf32>) -> tensor<?x?x16xf32>
  return %0, %1 : tensor<?x?x?xf32>, tensor<?x?x16xf32>
}

// The size that the first product fixes decides what the second one asks for.
// CHECK-LABEL: @twice
// CHECK-SAME: tensor<?x6xf32> {ffn.dims = ["", 6], onnx.dims = ["", "k"]}, %{{.*}}: tensor<6x12xf32> {ffn.dims = [6, 12], onnx.dims = ["k", "2 * k"]}
func.func @twice(%x: tensor<?x?xf32> {ffn.dims = ["", "k"]},
                 %y: tensor<?x?xf32> {ffn.dims = ["k", "2 * k"]}) -> tensor<?x?xf32> {
  %w = ffn.weight dense<0.0> : tensor<12x3xf32>
  %v = ffn.weight dense<0.0> : tensor<6xf32>
  %0 = onnx.node "MatMul" v13 (%x, %v) : (tensor<?x?xf32>, tensor<6xf32>) -> tensor<?xf32>
  %1 = onnx.node "MatMul" v13 (%y, %w) : (tensor<?x?xf32>, tensor<12x3xf32>) -> tensor<?x?xf32>
  return %1 : tensor<?x?xf32>
}

// A dim without a name. Gemm with both operands transposed; its addend is
// never larger than the product.
// CHECK-LABEL: @gemm
// CHECK-SAME: (%{{.*}}: tensor<8x5xf32>)
func.func @gemm(%x: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %w = ffn.weight dense<0.0> : tensor<4x8xf32>
  %b = ffn.weight dense<0.0> : tensor<5x1xf32>
  %0 = onnx.node "Gemm" v13 (%x, %w, %b) {transA = 1 : si64, transB = 1 : si64} : (tensor<?x?xf32>, tensor<4x8xf32>, tensor<5x1xf32>) -> tensor<?x?xf32>
  return %0 : tensor<?x?xf32>
}

// CHECK-LABEL: @blocks
// CHECK-SAME: (%{{.*}}: tensor<?x32xf32>,
func.func @blocks(%x: tensor<?x?xf32>, %q: tensor<8x1x16xui8>, %s: tensor<8xf32>) -> tensor<?x?xf32> {
  %0 = onnx.node "com.microsoft::MatMulNBits" v1 (%x, %q, %s) {K = 32 : si64, N = 8 : si64, bits = 4 : si64, block_size = 32 : si64} : (tensor<?x?xf32>, tensor<8x1x16xui8>, tensor<8xf32>) -> tensor<?x?xf32>
  return %0 : tensor<?x?xf32>
}

// CHECK-LABEL: @norm
// CHECK-SAME: (%{{.*}}: tensor<?x48xf32>)
func.func @norm(%x: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %s = ffn.weight dense<1.0> : tensor<48xf32>
  %0 = onnx.node "LayerNormalization" v17 (%x, %s) : (tensor<?x?xf32>, tensor<48xf32>) -> tensor<?x?xf32>
  return %0 : tensor<?x?xf32>
}

// A size of 1 broadcasts to the 48, and a Concat may skip an empty input.
// CHECK-LABEL: @broadcast
// CHECK-SAME: (%{{.*}}: tensor<?x?xf32> {ffn.dims = ["seq", "k"]})
func.func @broadcast(%x: tensor<?x?xf32> {ffn.dims = ["seq", "k"]}) -> (tensor<?x48xf32>, tensor<?x?xf32>) {
  %b = ffn.weight dense<1.0> : tensor<48xf32>
  %m = ffn.weight dense<1.0> : tensor<2x48xf32>
  %0 = onnx.node "Add" v14 (%x, %b) : (tensor<?x?xf32>, tensor<48xf32>) -> tensor<?x48xf32>
  %1 = onnx.node "Concat" v13 (%x, %m) {axis = 0 : si64} : (tensor<?x?xf32>, tensor<2x48xf32>) -> tensor<?x?xf32>
  return %0, %1 : tensor<?x48xf32>, tensor<?x?xf32>
}

// The other branch runs with any width.
// CHECK-LABEL: @branch
// CHECK-SAME: %{{.*}}: tensor<?x?xf32>)
func.func @branch(%c: tensor<i1>, %x: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %0 = onnx.node "If" v16 (%c) {then_branch = #onnx.graph<0, "t">, else_branch = #onnx.graph<1, "e">} : (tensor<i1>) -> tensor<?x?xf32> {
    %w = ffn.weight dense<0.0> : tensor<48x16xf32>
    %1 = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x?xf32>, tensor<48x16xf32>) -> tensor<?x16xf32>
    onnx.yield %1 : tensor<?x16xf32>
  } {
    onnx.yield %x : tensor<?x?xf32>
  }
  return %0 : tensor<?x?xf32>
}

// Callers hold the types of the arguments.
// CHECK-LABEL: @called
// CHECK-SAME: (%{{.*}}: tensor<?x?xf32>) -> tensor<?x?xf32>
func.func @called(%x: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %w = ffn.weight dense<0.0> : tensor<48x16xf32>
  %0 = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x?xf32>, tensor<48x16xf32>) -> tensor<?x?xf32>
  return %0 : tensor<?x?xf32>
}
func.func @caller(%x: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %0 = func.call @called(%x) : (tensor<?x?xf32>) -> tensor<?x?xf32>
  return %0 : tensor<?x?xf32>
}
