// RUN: ffn-opt %s | ffn-opt | FileCheck %s
// RUN: ffn-opt %s --mlir-print-op-generic | ffn-opt | FileCheck %s
// RUN: ffn-opt %s --ffn-decompose | FileCheck %s --check-prefix=NODES
// RUN: ffn-interpret %s --print | FileCheck %s --check-prefix=VALUES
// RUN: ffn-opt %s --ffn-decompose -o %t.mlir && ffn-interpret %t.mlir --print | FileCheck %s --check-prefix=VALUES

module attributes {onnx.model = {opset_imports = {ai.onnx = 17 : i64}}} {
  // CHECK-LABEL: func.func @main
  // NODES-LABEL: func.func @main
  func.func @main() -> (tensor<3x2xf32>, tensor<3x2xf32>, tensor<3x2xf32>) {
    %x = ffn.weight dense<[[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]> : tensor<3x2xf32>
    // One shared neuron, x0 + x1; experts of one neuron each.
    %up = ffn.weight dense<[[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]> : tensor<4x2xf32>
    %down = ffn.weight dense<[[1.0, 0.0, 0.0, 0.0], [0.0, 10.0, 20.0, 30.0]]> : tensor<2x4xf32>
    %db = ffn.weight dense<[0.5, 0.0]> : tensor<2xf32>
    %r = ffn.weight dense<[[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]> : tensor<3x2xf32>
    %s = ffn.weight dense<[0.0, 0.0, 1.0]> : tensor<3xf32>
    // Scores [1, 0, -1], [0, 2, -2], [1, 1, -2]: a tie goes to the first.
    // CHECK: ffn.moe relu %{{.*}} up %{{.*}} down %{{.*}} down_bias %{{.*}} router linear %{{.*}} shared 1 experts 3 top_k 1 gating identity : (tensor<3x2xf32>, tensor<4x2xf32>, tensor<2x4xf32>, tensor<2xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
    // NODES: "Greater"
    // NODES: "Equal"
    // NODES: "Less"
    // NODES: "Where"
    // NODES-NOT: ffn.moe
    // VALUES: 0 'result0' f32 [3, 2] : 1.5 10 2.5 40 2.5 10
    %one = ffn.moe relu %x up %up down %down down_bias %db router linear %r shared 1 experts 3 top_k 1 gating identity : (tensor<3x2xf32>, tensor<4x2xf32>, tensor<2x4xf32>, tensor<2xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
    // Magnitudes of the scores: [1, 0, 1], [0, 2, 2], [1, 1, 2]; the first and
    // the third, the second and the third, the third and the first. Weights are
    // shares of them: 1/2, 1/2; 2/4, 2/4; 1/3, 2/3; times 4.
    // CHECK: ffn.moe identity {{.*}} router neuron %{{.*}} shared 1 experts 3 top_k 2 gating identity weighted normalize scale 4.000000e+00
    // VALUES: 1 'result1' f32 [3, 2] : 1 80 2 200 2 173.333333
    %two = ffn.moe identity %x up %up down %down router neuron %r shared 1 experts 3 top_k 2 gating identity weighted normalize scale 4.0 : (tensor<3x2xf32>, tensor<4x2xf32>, tensor<2x4xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
    // The bias moves the choice to the third, not its weight: sigmoid(0), sigmoid(-1).
    // CHECK: router linear %{{.*}} router_bias %{{.*}} selection_bias %{{.*}} shared 1 experts 3 top_k 1 gating sigmoid weighted :
    // VALUES: 2 'result2' f32 [3, 2] : 1 15 2 16.1364853 2 16.1364853
    %three = ffn.moe relu %x up %up down %down router linear %r router_bias %s selection_bias %s shared 1 experts 3 top_k 1 gating sigmoid weighted : (tensor<3x2xf32>, tensor<4x2xf32>, tensor<2x4xf32>, tensor<3x2xf32>, tensor<3xf32>, tensor<3xf32>) -> tensor<3x2xf32>
    return %one, %two, %three : tensor<3x2xf32>, tensor<3x2xf32>, tensor<3x2xf32>
  }
}
