// RUN: %python -c "import numpy as np; np.save(r'%t.npy', np.random.default_rng(0).standard_normal((2, 8, 4)).astype('f4'))"
// RUN: rm -rf %t.profile*
// RUN: ffnc profile %s --calib %t.npy --samples=2 --opt-level=0 --for='ffn-carve-moe{topk=2}' -o %t.profile 2>/dev/null
// RUN: ffn-opt %s --pass-pipeline='builtin.module(ffn-carve-moe{profile=%t.profile config=S1A1E4})' --mlir-print-op-on-diagnostic=false 2>&1 | FileCheck %s
// RUN: ffn-opt %s --pass-pipeline='builtin.module(ffn-carve-moe{profile=%t.profile config=S1A3E4})' 2>/dev/null | FileCheck %s --check-prefix=NEUTRAL

// CHECK: remark: network carved into 3 experts of 2 neurons, of which a token uses 1, and 2 shared neurons: 4 of 8 run
// CHECK: ffn.gather_rows %{{.*}}[%{{.*}}] : tensor<8x4xf32>, tensor<8xi32>
// CHECK: ffn.scale_rows %{{.*}}, %{{.*}} : tensor<3x4xf32>, tensor<3xf32>
// CHECK: ffn.sublayer [#ffn.addend<moe "layers.0.mlp">]
// CHECK: ffn.moe relu %{{.*}} up %{{.*}} down %{{.*}} up_bias %{{.*}} router neuron %{{.*}} router_bias %{{.*}} shared 2 experts 3 top_k 1 gating softmax
// CHECK-NOT: ffn.feed_forward
// NEUTRAL-NOT: ffn.gather_rows
// NEUTRAL: ffn.sublayer [#ffn.addend<ffn "layers.0.mlp">]
// NEUTRAL: ffn.feed_forward relu
module attributes {onnx.model = {opset_imports = {ai.onnx = 17 : i64}}} {
  func.func @main(%x: tensor<?x?x4xf32> {onnx.name = "x", ffn.dims = ["b", "s", 4]}) -> (tensor<?x?x4xf32> {onnx.name = "y"}) {
    %up = ffn.weight dense<[[1.0, 0.5, 0.0, 0.0], [0.0, 1.0, 0.5, 0.0], [0.0, 0.0, 1.0, 0.5], [0.5, 0.0, 0.0, 1.0], [-1.0, 0.0, 0.5, 0.0], [0.0, -1.0, 0.0, 0.5], [0.5, 0.0, -1.0, 0.0], [0.0, 0.5, 0.0, -1.0]]> : tensor<8x4xf32>
    %b = ffn.weight dense<[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]> : tensor<8xf32>
    %down = ffn.weight dense<0.5> : tensor<4x8xf32>
    %h = ffn.sublayer [#ffn.addend<ffn "layers.0.mlp">] (%x) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
    ^bb0(%r: tensor<?x?x4xf32>):
      %f = ffn.feed_forward relu %r up %up down %down up_bias %b : (tensor<?x?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<8xf32>) -> tensor<?x?x4xf32>
      ffn.yield %f : tensor<?x?x4xf32>
    }
    return %h : tensor<?x?x4xf32>
  }
}
