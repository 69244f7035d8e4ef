// RUN: ffn-opt %s --ffn-fold-norm=widen --split-input-file --verify-diagnostics | FileCheck %s
// RUN: ffn-opt %s --ffn-fold-norm --split-input-file -o %t 2>%t.remarks
// RUN: FileCheck %s --check-prefix=NARROW --input-file=%t
// RUN: FileCheck %s --check-prefix=REMARK --input-file=%t.remarks

// A product that f16 does not hold: 1.0009765625 * 3 needs twelve bits.
// REMARK: norm not folded: products of its scale and a weight are not in f16, the type of that weight; with widen=true they are kept in f32, 64 bytes more
// NARROW-LABEL: func.func @widened(
// NARROW: ffn.norm rms %{{.*}} scale
// CHECK-LABEL: func.func @widened(
// CHECK: %[[U:.*]] = ffn.cast %{{.*}} : tensor<8x4xf16> to tensor<8x4xf32>
// CHECK: %[[N:.*]] = ffn.norm rms %arg0 eps
// CHECK: %[[S:.*]] = ffn.scale_cols %[[U]], %{{.*}} : tensor<8x4xf32>
// CHECK: ffn.linear %[[N]], %[[S]]
func.func @widened(%x: tensor<?x4xf32>) -> tensor<?x8xf32> {
  %g = ffn.weight dense<3.0> : tensor<4xf32>
  %h = ffn.weight dense<1.0009765625> : tensor<8x4xf16>
  %u = ffn.cast %h : tensor<8x4xf16> to tensor<8x4xf32>
  // expected-remark@+1 {{norm folded into 1 weight, 64 bytes more}}
  %n = ffn.norm rms %x scale %g : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
  %a = ffn.linear %n, %u : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}

// -----

// Powers of two are exact: the weight stays f16.
// REMARK: norm folded into 1 weight{{$}}
// NARROW-LABEL: func.func @exact(
// CHECK-LABEL: func.func @exact(
// CHECK: %[[H:.*]] = ffn.weight dense<1.000980e+00> : tensor<8x4xf16>
// CHECK: %[[N:.*]] = ffn.norm rms %arg0 eps
// CHECK: %[[G:.*]] = ffn.cast %{{.*}} : tensor<4xf32> to tensor<4xf16>
// CHECK: %[[S:.*]] = ffn.scale_cols %[[H]], %[[G]] : tensor<8x4xf16>, tensor<4xf16>
// CHECK: %[[U:.*]] = ffn.cast %[[S]] : tensor<8x4xf16> to tensor<8x4xf32>
// CHECK: ffn.linear %[[N]], %[[U]]
func.func @exact(%x: tensor<?x4xf32>) -> tensor<?x8xf32> {
  %g = ffn.weight dense<[2.0, 0.5, 1.0, 4.0]> : tensor<4xf32>
  %h = ffn.weight dense<1.0009765625> : tensor<8x4xf16>
  %u = ffn.cast %h : tensor<8x4xf16> to tensor<8x4xf32>
  // expected-remark@+1 {{norm folded into 1 weight}}
  %n = ffn.norm rms %x scale %g : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
  %a = ffn.linear %n, %u : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}

// -----

// The largest f16 times two, and the smallest by half, leave the type.
// REMARK: norm not folded: products of its scale
// NARROW-LABEL: func.func @range(
// CHECK-LABEL: func.func @range(
// CHECK: ffn.scale_cols %{{.*}} : tensor<1x2xf32>
func.func @range(%x: tensor<?x2xf32>) -> tensor<?x1xf32> {
  %g = ffn.weight dense<[2.0, 0.5]> : tensor<2xf32>
  %h = ffn.weight dense<[[6.550400e+04, 5.9604645e-08]]> : tensor<1x2xf16>
  %u = ffn.cast %h : tensor<1x2xf16> to tensor<1x2xf32>
  // expected-remark@+1 {{norm folded into 1 weight, 4 bytes more}}
  %n = ffn.norm rms %x scale %g : tensor<2xf32> eps 1.0e-5 : tensor<?x2xf32>
  %a = ffn.linear %n, %u : tensor<?x2xf32>, tensor<1x2xf32> -> tensor<?x1xf32>
  return %a : tensor<?x1xf32>
}

// -----

// A scale of ones and a shift of zeros leave no trace.
// REMARK: norm folded into 1 weight{{$}}
// NARROW-LABEL: func.func @neutral(
// CHECK-LABEL: func.func @neutral(
// CHECK-NOT: ffn.scale_cols
// CHECK-NOT: ffn.matvec
// CHECK: ffn.norm layer %arg0 eps
// CHECK: ffn.linear
func.func @neutral(%x: tensor<?x4xf32>) -> tensor<?x8xf32> {
  %g = ffn.weight dense<1.0> : tensor<4xf32>
  %b = ffn.weight dense<0.0> : tensor<4xf32>
  %h = ffn.weight dense<1.0009765625> : tensor<8x4xbf16>
  %u = ffn.cast %h : tensor<8x4xbf16> to tensor<8x4xf32>
  // expected-remark@+1 {{norm folded into 1 weight}}
  %n = ffn.norm layer %x scale %g : tensor<4xf32> bias %b : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
  %a = ffn.linear %n, %u : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}

// -----

// A computation in f16 rounds where it stands; nothing is widened for it.
// REMARK: norm not folded: its shift makes biases that f16 does not hold
// NARROW-LABEL: func.func @half(
// CHECK-LABEL: func.func @half(
// CHECK: ffn.norm layer %arg0 scale
func.func @half(%x: tensor<?x4xf16>) -> tensor<?x8xf16> {
  %g = ffn.weight dense<1.0> : tensor<4xf16>
  %b = ffn.weight dense<0.5> : tensor<4xf16>
  %u = ffn.weight dense<1.0009765625> : tensor<8x4xf16>
  // expected-remark@+1 {{norm not folded: its shift makes biases that f16 does not hold}}
  %n = ffn.norm layer %x scale %g : tensor<4xf16> bias %b : tensor<4xf16> eps 1.0e-5 : tensor<?x4xf16>
  %a = ffn.linear %n, %u : tensor<?x4xf16>, tensor<8x4xf16> -> tensor<?x8xf16>
  return %a : tensor<?x8xf16>
}
