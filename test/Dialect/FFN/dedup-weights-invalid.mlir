// RUN: not ffn-opt %s --ffn-dedup-weights 2>&1 | FileCheck %s
// CHECK: error: {{.*}}[FFN-

ffn.file @model "does/not/exist.bin" {size = 16 : i64}
func.func @main() -> (tensor<1xf32>, tensor<1xf32>) {
  %a = ffn.weight #ffn.span<"a" in @model, 0, 4> : tensor<1xf32>
  %b = ffn.weight #ffn.span<"b" in @model, 4, 4> : tensor<1xf32>
  return %a, %b : tensor<1xf32>, tensor<1xf32>
}
