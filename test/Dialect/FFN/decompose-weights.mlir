// RUN: ffn-opt %s --ffn-decompose --split-input-file | FileCheck %s
// RUN: ffn-opt %s --ffn-decompose --ffn-raise=remarks=false --split-input-file | FileCheck %s --check-prefix=AGAIN

// Half precision that is only moved and widened stays half as wide.
module attributes {onnx.model = {opset_imports = {ai.onnx = 17 : i64}}} {
  // CHECK-LABEL: func.func @half
  // CHECK: %[[W:.*]] = ffn.weight dense<{{.*}}> : tensor<3x4xf16>
  // CHECK: %[[T:.*]] = ffn.transpose %[[W]] : tensor<3x4xf16>
  // CHECK: %[[C:.*]] = onnx.node "Cast" v13 (%[[T]]) {to = 1 : si64} : (tensor<4x3xf16>) -> tensor<4x3xf32>
  // CHECK: onnx.node "MatMul" v13 (%{{.*}}, %[[C]])
  // AGAIN-LABEL: func.func @half
  // AGAIN: ffn.cast
  // AGAIN: ffn.linear
  func.func @half(%x: tensor<?x4xf32>) -> tensor<?x3xf32> {
    %w = ffn.weight dense<1.5> : tensor<3x4xf16>
    %c = ffn.cast %w : tensor<3x4xf16> to tensor<3x4xf32>
    %y = ffn.linear %x, %c : tensor<?x4xf32>, tensor<3x4xf32> -> tensor<?x3xf32>
    return %y : tensor<?x3xf32>
  }
}

// -----

// One scale a row: axis 1 of the transposed codes.
module attributes {onnx.model = {opset_imports = {ai.onnx = 13 : i64}}} {
  // CHECK-LABEL: func.func @rows
  // CHECK: %[[S:.*]] = ffn.reshape %{{.*}} : tensor<3x1xf32> to tensor<3xf32>
  // CHECK: %[[T:.*]] = ffn.transpose %{{.*}} : tensor<3x4xi8>
  // CHECK: %[[D:.*]] = onnx.node "DequantizeLinear" v13 (%[[T]], %[[S]]) {axis = 1 : si64} : (tensor<4x3xi8>, tensor<3xf32>) -> tensor<4x3xf32>
  // CHECK: onnx.node "MatMul" v13 (%{{.*}}, %[[D]])
  func.func @rows(%x: tensor<?x4xf32>) -> tensor<?x3xf32> {
    %c = ffn.weight dense<5> : tensor<3x4xi8>
    %s = ffn.weight dense<0.5> : tensor<3x1xf32>
    %w = ffn.dequantize %c, %s bits 8 group 4 : tensor<3x4xi8>, tensor<3x1xf32>
    %y = ffn.linear %x, %w : tensor<?x4xf32>, tensor<3x4xf32> -> tensor<?x3xf32>
    return %y : tensor<?x3xf32>
  }
}

// -----

// Groups before opset 21: rows of a taller matrix.
module attributes {onnx.model = {opset_imports = {ai.onnx = 17 : i64}}} {
  // CHECK-LABEL: func.func @groups
  // CHECK: %[[D:.*]] = onnx.node "DequantizeLinear" v13 (%{{.*}}, %{{.*}}) {axis = 0 : si64} : (tensor<6x2xi8>, tensor<6xf32>) -> tensor<6x2xf32>
  // CHECK: %[[R:.*]] = onnx.node "Reshape" {{.*}} (%[[D]], %{{.*}}) : (tensor<6x2xf32>, tensor<2xi64>) -> tensor<3x4xf32>
  // CHECK: onnx.node "Transpose" {{.*}} (%[[R]])
  func.func @groups(%x: tensor<?x4xf32>) -> tensor<?x3xf32> {
    %c = ffn.weight dense<5> : tensor<3x4xi8>
    %s = ffn.weight dense<0.5> : tensor<3x2xf32>
    %w = ffn.dequantize %c, %s bits 4 group 2 : tensor<3x4xi8>, tensor<3x2xf32>
    %y = ffn.linear %x, %w : tensor<?x4xf32>, tensor<3x4xf32> -> tensor<?x3xf32>
    return %y : tensor<?x3xf32>
  }
}

// -----

// From opset 21 on, with a last group that is shorter.
module attributes {onnx.model = {opset_imports = {ai.onnx = 21 : i64}}} {
  // CHECK-LABEL: func.func @blocks
  // CHECK: onnx.node "DequantizeLinear" v21 (%{{.*}}, %{{.*}}) {axis = 0 : si64, block_size = 4 : si64} : (tensor<6x3xi8>, tensor<2x3xf32>) -> tensor<6x3xf32>
  func.func @blocks(%x: tensor<?x6xf32>) -> tensor<?x3xf32> {
    %c = ffn.weight dense<5> : tensor<3x6xi8>
    %s = ffn.weight dense<0.5> : tensor<3x2xf32>
    %w = ffn.dequantize %c, %s bits 8 group 4 : tensor<3x6xi8>, tensor<3x2xf32>
    %y = ffn.linear %x, %w : tensor<?x6xf32>, tensor<3x6xf32> -> tensor<?x3xf32>
    return %y : tensor<?x3xf32>
  }
}
