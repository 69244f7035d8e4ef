// RUN: ffn-opt %s --ffn-fold-norm --split-input-file --verify-diagnostics -o %t.after
// RUN: ffn-opt %s --split-input-file -o %t.before
// Nothing here can be folded, and nothing changes, to the byte.
// RUN: cmp %t.before %t.after
// RUN: not ffn-opt %s --ffn-fold-norm="shared=perhaps" 2>&1 | FileCheck %s --check-prefix=OPTION
// OPTION: invalid value for boolean

func.func @read_elsewhere(%x: tensor<?x4xf32>) -> (tensor<?x8xf32>, tensor<?x4xf32>) {
  %g = ffn.weight dense<2.0> : tensor<4xf32>
  %u = ffn.weight dense<1.0> : tensor<8x4xf32>
  // expected-remark@+1 {{norm not folded: its result is also read by node (Relu)}}
  %n = ffn.norm rms %x scale %g : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
  %a = ffn.linear %n, %u : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  %r = onnx.node "Relu" v14 (%n) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %a, %r : tensor<?x8xf32>, tensor<?x4xf32>
}

// -----

func.func @post_norm(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %g = ffn.weight dense<2.0> : tensor<4xf32>
  // expected-remark@+1 {{norm not folded: its result is also read by func.return}}
  %n = ffn.norm rms %x scale %g : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
  return %n : tensor<?x4xf32>
}

// -----

func.func @tied(%x: tensor<?x4xf32>, %i: tensor<?xi64>) -> (tensor<?x8xf32>, tensor<?x4xf32>) {
  %g = ffn.weight dense<2.0> : tensor<4xf32>
  %u = ffn.weight dense<1.0> : tensor<8x4xf32>
  // expected-remark@+1 {{norm not folded: a weight behind it is also read by ffn.embedding; with shared=true a scaled copy is made}}
  %n = ffn.norm rms %x scale %g : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
  %a = ffn.linear %n, %u : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  %e = ffn.embedding %i, %u : tensor<?xi64>, tensor<8x4xf32> -> tensor<?x4xf32>
  return %a, %e : tensor<?x8xf32>, tensor<?x4xf32>
}

// -----

// No scale, no shift: nothing to do and nothing to say.
func.func @bare(%x: tensor<?x4xf32>) -> tensor<?x8xf32> {
  %u = ffn.weight dense<1.0> : tensor<8x4xf32>
  %n = ffn.norm rms %x eps 1.0e-5 : tensor<?x4xf32>
  %a = ffn.linear %n, %u : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}

// -----

func.func @not_constant(%x: tensor<?x4xf32>, %u: tensor<8x4xf32>) -> tensor<?x8xf32> {
  %g = ffn.weight dense<2.0> : tensor<4xf32>
  // expected-remark@+1 {{norm not folded: a weight behind it is not constant}}
  %n = ffn.norm rms %x scale %g : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
  %a = ffn.linear %n, %u : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}

// -----

func.func @argument(%x: tensor<?x4xf32>, %g: tensor<4xf32>) -> tensor<?x8xf32> {
  %u = ffn.weight dense<2.0> : tensor<8x4xf32>
  // expected-remark@+1 {{norm not folded: its parameters are not constant}}
  %n = ffn.norm rms %x scale %g : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
  %a = ffn.linear %n, %u : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}
