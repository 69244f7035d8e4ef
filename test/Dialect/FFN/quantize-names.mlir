// RUN: ffn-opt %s --ffn-quantize="only=head shared" -o - 2>/dev/null | FileCheck %s --check-prefix=HEAD
// RUN: ffn-opt %s --ffn-quantize="except=head" -o - 2>/dev/null | FileCheck %s --check-prefix=EXCEPT
// RUN: not ffn-opt %s --ffn-quantize="only=layers.7" 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: not ffn-opt %s --ffn-quantize="except=lm_*" 2>&1 | FileCheck %s --check-prefix=STAR
// RUN: not ffn-opt %s --ffn-quantize="only=a[" 2>&1 | FileCheck %s --check-prefix=PATTERN
// RUN: not ffn-opt %s --ffn-quantize="activations=int4" 2>&1 | FileCheck %s --check-prefix=ROWS

// NONE: 'layers.7' is the name of no weight of a product [FFN-P121]
// STAR: 'lm_*' is the name of no weight of a product [FFN-P121]
// PATTERN: name 'a[': {{.*}} [FFN-P120]
// ROWS: activations 'int4': expected f32 or int8 [FFN-P120]

// The head is known by its place; what else reads its weight keeps the old one.
// HEAD: ffn.linear %{{.*}}, %[[W:.*]] : tensor<?x4xf32>, tensor<4x4xf32>
// HEAD: ffn.dequantize
// HEAD: ffn.linear %{{.*}} : tensor<?x4xf32>, tensor<8x4xf32>
// HEAD-NOT: ffn.dequantize
// EXCEPT: ffn.dequantize
// EXCEPT: ffn.linear %{{.*}} : tensor<?x4xf32>, tensor<4x4xf32>
// EXCEPT-NOT: ffn.dequantize
func.func @main(%i: tensor<?xi64>) -> tensor<?x8xf32> {
  %e = ffn.weight dense<1.0> : tensor<8x4xf32>
  %w = ffn.weight dense<2.0> : tensor<4x4xf32>
  %x = ffn.embedding %i, %e : tensor<?xi64>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h = ffn.sublayer [#ffn.addend<ffn "layers.0.mlp">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    %f = ffn.linear %r, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  %y = ffn.linear %h, %e : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
