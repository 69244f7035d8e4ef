// RUN: not ffn-opt %s --pass-pipeline='builtin.module(ffn-carve-moe)' 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: not ffn-opt %s --pass-pipeline='builtin.module(ffn-carve-moe{config=S2A15E16 profile=x})' 2>&1 | FileCheck %s --check-prefix=MANY
// RUN: not ffn-opt %s --pass-pipeline='builtin.module(ffn-carve-moe{config=S2A0E16 profile=x})' 2>&1 | FileCheck %s --check-prefix=FEW
// RUN: not ffn-opt %s --pass-pipeline='builtin.module(ffn-carve-moe{config=16 profile=x})' 2>&1 | FileCheck %s --check-prefix=TEXT
// RUN: not ffn-opt %s --pass-pipeline='builtin.module(ffn-carve-moe{config=S1A1E99999999999999999999 profile=x})' 2>&1 | FileCheck %s --check-prefix=HUGE
// RUN: not ffn-opt %s --pass-pipeline='builtin.module(ffn-carve-moe{partition=kmeans profile=x})' 2>&1 | FileCheck %s --check-prefix=KIND
// RUN: not ffn-opt %s --pass-pipeline='builtin.module(ffn-carve-moe{profile=%t.missing})' 2>&1 | FileCheck %s --check-prefix=MISSING
// RUN: not ffn-opt %s --pass-pipeline='builtin.module(ffn-carve-moe{profile=%s})' 2>&1 | FileCheck %s --check-prefix=OTHER

// NONE: error: needs profile=FILE, which 'ffnc profile MODEL --for=ffn-carve-moe -o FILE' makes [FFN-P134]
// MANY: error: config 'S2A15E16' is not SxAyEz with y from 1 to z - x, as in S2A2E16 [FFN-P134]
// FEW: error: config 'S2A0E16' is not SxAyEz
// TEXT: error: config '16' is not SxAyEz
// HUGE: error: config 'S1A1E99999999999999999999' is not SxAyEz
// KIND: error: partition 'kmeans' is neither cmoe nor random [FFN-P134]
// MISSING: error: {{.*}}.tmp.missing: file {{.*}} does not exist [FFN-I105]
// OTHER: error: {{.*}}[FFN-D103]
func.func @main(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %up = ffn.weight dense<1.0> : tensor<32x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x32xf32>
  %y = ffn.feed_forward relu %x up %up down %down : (tensor<2x4xf32>, tensor<32x4xf32>, tensor<4x32xf32>) -> tensor<2x4xf32>
  return %y : tensor<2x4xf32>
}
