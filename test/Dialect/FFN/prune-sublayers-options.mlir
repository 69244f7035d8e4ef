// RUN: ffn-opt %s --ffn-prune-sublayers="only=a with-norm" | FileCheck %s --check-prefix=NORM
// RUN: ffn-opt %s --ffn-prune-sublayers="only=a keep-signature" | FileCheck %s --check-prefix=KEEP
// Without names nothing changes, to the byte.
// RUN: ffn-opt %s -o %t.before
// RUN: ffn-opt %s --ffn-prune-sublayers -o %t.after
// RUN: cmp %t.before %t.after

// NORM-LABEL: func.func @main(
// NORM-SAME: %[[X:[a-z0-9]*]]: tensor<?x4xf32>) -> tensor<?x4xf32>
// NORM-NOT: ffn.norm
// NORM: return %[[X]]

// KEEP-LABEL: func.func @main(
// KEEP-SAME: %[[X:[a-z0-9]*]]: tensor<?x4xf32>, %[[P:[a-z0-9]*]]: tensor<?x4xf32>)
// KEEP: %[[N:.*]] = ffn.norm layer %[[X]]
// KEEP: return %[[N]], %[[P]]
func.func @main(%x: tensor<?x4xf32>, %p: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %s = ffn.weight dense<5.0> : tensor<4xf32>
  %a:2 = ffn.sublayer [#ffn.addend<attention "a">] state [#ffn.state<1 -> 0>] (%x) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  ^bb0(%h: tensor<?x4xf32>):
    %n = onnx.node "Add" v14 (%h, %p) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    ffn.yield %n, %n : tensor<?x4xf32>, tensor<?x4xf32>
  }
  %n = ffn.norm layer %a#0 scale %s : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
  return %n, %a#1 : tensor<?x4xf32>, tensor<?x4xf32>
}
