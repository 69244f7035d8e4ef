// Constants as f32 has them: raise may write sqrt(2) in their place, which
// moves the outputs by less than what roundings of the constants do.
// RUN: sed 's/SQRT/1.41421354/' %s > %t.fine.mlir
// RUN: ffn-opt %t.fine.mlir --ffn-check-passes --pass-pipeline='builtin.module(ffn-raise,ffn-decompose)' -o %t.out
// Raise takes this one for sqrt(2), too, but the function changes: exit code 4.
// RUN: sed 's/SQRT/1.4142/' %s > %t.coarse.mlir
// RUN: ffn-opt %t.coarse.mlir --pass-pipeline='builtin.module(ffn-raise)' | FileCheck %s
// RUN: not ffn-opt %t.coarse.mlir --ffn-check-passes --pass-pipeline='builtin.module(ffn-raise)' 2>&1 | FileCheck %s --check-prefix=COARSE --implicit-check-not=func.func
// RUN: bash -c 'ffn-opt %t.coarse.mlir --ffn-check-passes --ffn-raise > /dev/null 2>&1; test $? = 4'
// What cannot be checked is another error: exit code 1.
// RUN: bash -c 'ffn-opt %t.fine.mlir --ffn-check-passes --ffn-check-input=x=%t.none.npy --ffn-raise > /dev/null 2>&1; test $? = 1'

// CHECK: ffn.feed_forward {{.*}}gelu_erf
// COARSE: error: pass 'ffn-raise' breaks its bound: output 'y' deviates by {{[0-9.]+e-0[67]}}, its bound is {{[0-9.]+e-0[78]}} [FFN-E110]

module attributes {onnx.model = {opset_imports = {"ai.onnx" = 17 : i64}}} {
  func.func @main(%x: tensor<?x4xf32> {onnx.name = "x"}) -> (tensor<?x4xf32> {onnx.name = "y"}) {
    %w1 = ffn.weight dense<[[0.5, -1.25, 0.75, 2.0], [1.0, 0.3, -0.5, 0.125], [0.0, 1.5, 1.0, -2.0], [0.75, 0.5, 0.25, 1.0]]> : tensor<4x4xf32>
    %w2 = ffn.weight dense<[[0.25, 1.25, 0.5, -1.0], [-1.0, 0.1, 0.5, 1.125], [0.5, 1.5, -1.0, 2.0], [0.75, -0.5, 0.25, 0.5]]> : tensor<4x4xf32>
    %c = ffn.weight dense<SQRT> : tensor<f32>
    %half = ffn.weight dense<0.5> : tensor<f32>
    %one = ffn.weight dense<1.0> : tensor<f32>
    %u = onnx.node "MatMul" v13 (%x, %w1) : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    %d = onnx.node "Div" v14 (%u, %c) : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
    %e = onnx.node "Erf" v13 (%d) : (tensor<?x4xf32>) -> tensor<?x4xf32>
    %p = onnx.node "Add" v14 (%e, %one) : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
    %m = onnx.node "Mul" v14 (%u, %p) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    %g = onnx.node "Mul" v14 (%m, %half) : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
    %y = onnx.node "MatMul" v13 (%g, %w2) : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    return %y : tensor<?x4xf32>
  }
}
