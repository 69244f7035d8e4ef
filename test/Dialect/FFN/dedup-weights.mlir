// RUN: printf 'ABCDABCDEFGHABCD' > %t.weights
// RUN: sed 's|@PATH@|%t.weights|' %s > %t.mlir
// RUN: ffn-opt %t.mlir --ffn-dedup-weights 2> %t.err | FileCheck %s
// RUN: FileCheck %s --check-prefix=REMARK < %t.err
// What is unique stays as it is, to the byte.
// RUN: ffn-opt %t.mlir --ffn-dedup-weights 2>/dev/null -o %t.once
// RUN: ffn-opt %t.once --ffn-dedup-weights -o %t.twice
// RUN: cmp %t.once %t.twice

// The bytes decide and the type must agree: "c" has other bytes, "e" another
// type, "s" is inline and has the bytes of "a".
// CHECK-LABEL: func.func @main(
// CHECK-DAG: %[[A:.*]] = ffn.weight #ffn.span<"a" in @model, 0, 4> : tensor<1xf32>
// CHECK-DAG: %[[C:.*]] = ffn.weight #ffn.span<"c" in @model, 8, 4> : tensor<1xf32>
// CHECK-DAG: %[[E:.*]] = ffn.weight #ffn.span<"e" in @model, 12, 4> : tensor<1xi32>
// CHECK-NOT: ffn.weight
// CHECK: return %[[A]], %[[A]], %[[C]], %[[A]], %[[E]], %[[A]]
// REMARK: remark: weight 'b' has the bytes of 'a': 4 bytes less
// REMARK: remark: weight 'd' has the bytes of 'a': 4 bytes less
// REMARK: remark: weight inline has the bytes of 'a': 4 bytes less
ffn.file @model "@PATH@" {size = 16 : i64}
func.func @main() -> (tensor<1xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xi32>, tensor<1xf32>) {
  %a = ffn.weight #ffn.span<"a" in @model, 0, 4> : tensor<1xf32>
  %b = ffn.weight #ffn.span<"b" in @model, 4, 4> : tensor<1xf32>
  %c = ffn.weight #ffn.span<"c" in @model, 8, 4> : tensor<1xf32>
  %d = ffn.weight #ffn.span<"d" in @model, 12, 4> : tensor<1xf32>
  %e = ffn.weight #ffn.span<"e" in @model, 12, 4> : tensor<1xi32>
  %s = ffn.weight dense<0x44434241> : tensor<1xf32>
  return %a, %b, %c, %d, %e, %s : tensor<1xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xi32>, tensor<1xf32>
}
