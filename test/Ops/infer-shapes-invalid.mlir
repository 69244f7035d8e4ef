// RUN: ffn-opt %s --no-shape-inference --ffn-infer-shapes --split-input-file --verify-diagnostics
// The tool itself would find the first conflict before the pass does.

func.func @conflict(%x: tensor<?x?xf32> {ffn.dims = ["batch", "k"]}) -> (tensor<?x?xf32>, tensor<?x?xf32>) {
  %w = ffn.weight dense<0.0> : tensor<48x16xf32>
  %v = ffn.weight dense<0.0> : tensor<32x16xf32>
  %0 = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x?xf32>, tensor<48x16xf32>) -> tensor<?x?xf32> names ["first"]
  // expected-error @below {{size 'k' has to be 32 here, and 48 at}}
  %1 = onnx.node "MatMul" v13 (%x, %v) : (tensor<?x?xf32>, tensor<32x16xf32>) -> tensor<?x?xf32>
  return %0, %1 : tensor<?x?xf32>, tensor<?x?xf32>
}

// -----

// The conflict shows once the size is known.
func.func @derived(%x: tensor<?x?xf32> {ffn.dims = ["batch", "k"]}) -> (tensor<?x?xf32>, tensor<?x?xf32>) {
  %w = ffn.weight dense<0.0> : tensor<48x16xf32>
  %v = ffn.weight dense<0.0> : tensor<90x16xf32>
  %0 = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x?xf32>, tensor<48x16xf32>) -> tensor<?x?xf32>
  %1 = onnx.node "Concat" v13 (%x, %x) {axis = 1 : si64} : (tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32>
  // expected-error @below {{inner dimensions of the product: 96 and 90 differ [FFN-I504]}}
  %2 = onnx.node "MatMul" v13 (%1, %v) : (tensor<?x?xf32>, tensor<90x16xf32>) -> tensor<?x?xf32>
  return %0, %2 : tensor<?x?xf32>, tensor<?x?xf32>
}

// -----

// expected-error @below {{input 1 has dimension 0 of size -2 [FFN-I202]}}
func.func @negative(%x: tensor<?x?xf32> {ffn.dims = ["batch", "k"]}, %y: tensor<?xf32> {ffn.dims = ["k - 50"]}) -> tensor<?x?xf32> {
  %w = ffn.weight dense<0.0> : tensor<48x16xf32>
  %0 = onnx.node "MatMul" v13 (%x, %w) : (tensor<?x?xf32>, tensor<48x16xf32>) -> tensor<?x?xf32>
  return %0 : tensor<?x?xf32>
}
