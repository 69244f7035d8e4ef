// RUN: ffn-test-opt %s --ffn-check-passes --pass-pipeline='builtin.module(ffn-raise,ffn-fold-norm,ffn-materialize-weights,ffn-decompose,canonicalize)' -o %t
// The third pass breaks the weights; it alone is named, and nothing is written.
// RUN: not ffn-test-opt %s --ffn-check-passes --pass-pipeline='builtin.module(ffn-raise,canonicalize,test-ffn-break-weights,test-ffn-break-weights{amount=0.5},ffn-decompose)' 2>&1 | FileCheck %s --check-prefix=BROKEN --implicit-check-not=func.func
// BROKEN: error: pass 'test-ffn-break-weights' breaks its bound: output 'y' deviates by {{[0-9.e-]+}}, its bound is {{[0-9.e-]+}} [FFN-E110]
// BROKEN-NOT: error: pass
// A change below the rounding of f32 is none that an exact pass may make.
// RUN: not ffn-test-opt %s --ffn-check-passes --test-ffn-break-weights=amount=1e-6 2>&1 | FileCheck %s --check-prefix=SMALL
// SMALL: error: pass 'test-ffn-break-weights' breaks its bound: output 'y' deviates
// A pass on functions is named too.
// RUN: not ffn-test-opt %s --ffn-check-passes --pass-pipeline='builtin.module(func.func(canonicalize,test-ffn-drop-result))' 2>&1 | FileCheck %s --check-prefix=DROP
// DROP: error: pass 'test-ffn-drop-result' breaks its bound: @main has 0 outputs, before 1 [FFN-E110]
// Removing a sublayer has no bound; what follows is measured against it.
// RUN: ffn-test-opt %s --ffn-check-passes --pass-pipeline='builtin.module(ffn-raise,ffn-prune-sublayers{only=layers.0.mlp},canonicalize)' -o %t
// RUN: not ffn-test-opt %s --ffn-check-passes --pass-pipeline='builtin.module(ffn-raise,ffn-prune-sublayers{only=layers.0.mlp},test-ffn-break-weights)' 2>&1 | FileCheck %s --check-prefix=AFTER
// AFTER: error: pass 'test-ffn-break-weights' breaks its bound
// The check is in ffn-opt; without the flag it costs nothing and says nothing.
// RUN: ffn-opt %s --ffn-check-passes --pass-pipeline='builtin.module(ffn-raise)' -o %t.checked
// RUN: ffn-opt %s --pass-pipeline='builtin.module(ffn-raise)' -o %t.plain
// RUN: cmp %t.checked %t.plain

module attributes {onnx.model = {opset_imports = {"ai.onnx" = 17 : i64}}} {
  func.func @main(%x: tensor<?x4xf32> {onnx.name = "x"}) -> (tensor<?x4xf32> {onnx.name = "y"}) {
    %h = ffn.weight dense<[[0.5, -1.25, 0.75, 2.0], [1.0, 0.25, -0.5, 0.125], [0.0, 1.5, 1.0, -2.0], [0.75, 0.5, 0.25, 1.0]]> : tensor<4x4xf32>
    %s = ffn.weight dense<[1.5, 0.5, 2.0, 1.0]> : tensor<4xf32>
    %w1 = ffn.weight dense<[[0.5, -1.25, 0.75, 2.0], [1.0, 0.3, -0.5, 0.125], [0.0, 1.5, 1.0, -2.0], [0.75, 0.5, 0.25, 1.0]]> : tensor<4x4xf32>
    %w2 = ffn.weight dense<[[0.25, 1.25, 0.5, -1.0], [-1.0, 0.1, 0.5, 1.125], [0.5, 1.5, -1.0, 2.0], [0.75, -0.5, 0.25, 0.5]]> : tensor<4x4xf32>
    %e = onnx.node "MatMul" v13 (%x, %h) : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    %n = onnx.node "SimplifiedLayerNormalization" v1 (%e, %s) : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
    %u = onnx.node "MatMul" v13 (%n, %w1) : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    %a = onnx.node "Relu" v14 (%u) : (tensor<?x4xf32>) -> tensor<?x4xf32>
    %f = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    %y = onnx.node "Add" v14 (%e, %f) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    return %y : tensor<?x4xf32>
  }
}
