// RUN: ffn-opt %s --ffn-cpu-outline-loops --split-input-file --verify-diagnostics

func.func @on_tensors(%x: tensor<4xf32>, %c: f32) -> tensor<4xf32> {
  // expected-error@+1 {{loop of this form is not supported [FFN-C199]}}
  %y = linalg.fill ins(%c : f32) outs(%x : tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

func.func @diagonal(%x: memref<4x4xf32>, %y: memref<4xf32>) {
  // expected-error@+1 {{loop of this form is not supported [FFN-C199]}}
  linalg.generic {indexing_maps = [affine_map<(i) -> (i, i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]}
      ins(%x : memref<4x4xf32>) outs(%y : memref<4xf32>) {
  ^bb0(%a: f32, %b: f32):
    linalg.yield %a : f32
  }
  return
}
