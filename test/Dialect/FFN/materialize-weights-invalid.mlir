// RUN: ffn-opt %s --ffn-materialize-weights -verify-diagnostics

ffn.file @gone "no-such-file.bin" {size = 32 : i64}

func.func @missing(%x: tensor<?x4xf32>) -> tensor<?x2xf32> {
  // expected-error@+1 {{cannot read weights file 'no-such-file.bin'}}
  %w = ffn.weight #ffn.span<"w" in @gone, 0, 32> : tensor<4x2xf32>
  %t = ffn.transpose %w : tensor<4x2xf32>
  %y = ffn.linear %x, %t : tensor<?x4xf32>, tensor<2x4xf32> -> tensor<?x2xf32>
  return %y : tensor<?x2xf32>
}
