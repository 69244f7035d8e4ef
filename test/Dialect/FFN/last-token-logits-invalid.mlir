// RUN: ffn-opt %s --ffn-last-token-logits --split-input-file --verify-diagnostics
// RUN: ffn-opt %s --ffn-last-token-logits=required=false --split-input-file 2>&1 | FileCheck %s
// CHECK: remark: logits of all positions kept

// expected-error@+1 {{no output has logits [batch, sequence, vocabulary] [FFN-P106]}}
func.func @main(%h: tensor<?x8xf32>) -> tensor<?x8xf32> {
  return %h : tensor<?x8xf32>
}

// -----

// expected-error@+1 {{the logits are not a linear of hidden states, or these are used elsewhere, too [FFN-P106]}}
func.func @main(%h: tensor<?x?x8xf32>) -> tensor<?x?x8xf32> {
  %r = onnx.node "Relu" v14 (%h) : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  return %r : tensor<?x?x8xf32>
}

// -----

// expected-error@+1 {{used elsewhere, too [FFN-P106]}}
func.func @main(%h: tensor<?x?x8xf32>) -> (tensor<?x?x5xf32>, tensor<?x?x5xf32>) {
  %w = ffn.weight dense<1.0> : tensor<5x8xf32>
  %l = ffn.linear %h, %w : tensor<?x?x8xf32>, tensor<5x8xf32> -> tensor<?x?x5xf32>
  return %l, %l : tensor<?x?x5xf32>, tensor<?x?x5xf32>
}
