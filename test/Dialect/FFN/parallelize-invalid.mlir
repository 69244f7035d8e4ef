// RUN: not ffn-opt %s --ffn-parallelize=mode=diagonal 2>&1 | FileCheck %s --check-prefix=MODE
// RUN: not ffn-opt %s --ffn-parallelize=max-distance=0.5 2>&1 | FileCheck %s --check-prefix=CALIB
// RUN: not ffn-opt %s --ffn-parallelize=max-distance=nan 2>&1 | FileCheck %s --check-prefix=NAN
// RUN: not ffn-opt %s --ffn-parallelize=mode=blocks 2>&1 | FileCheck %s --check-prefix=BLOCKS
// RUN: not ffn-opt %s --ffn-parallelize="mode=blocks window=1 only=a" 2>&1 | FileCheck %s --check-prefix=WINDOW
// RUN: not ffn-opt %s --ffn-parallelize=only=z 2>&1 | FileCheck %s --check-prefix=NAME
// MODE: mode 'diagonal' is none of ffn, blocks, attention [FFN-P130]
// CALIB: distances need calibration data: calib=FILE{{.*}} [FFN-P130]
// NAN: max-distance is not a number from 0 to 2 [FFN-P130]
// BLOCKS: mode 'blocks' needs calibration data (calib=FILE), or names (only=) [FFN-P130]
// WINDOW: a window has two blocks or more [FFN-P130]
// NAME: no sublayer is named 'z' [FFN-P102]

// Nothing here can be parallelized, and nothing changes, to the byte.
// RUN: ffn-opt %s --ffn-parallelize=keep-last=false --verify-diagnostics -o %t.after
// RUN: ffn-opt %s -o %t.before
// RUN: cmp %t.before %t.after

func.func @main(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %w = ffn.weight dense<1.0> : tensor<4x4xf32>
  // expected-remark@+1 {{'a' not parallelized: another operation reads the residual between them (post-norm)}}
  %a = ffn.sublayer [#ffn.addend<ffn "a">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %f = ffn.feed_forward relu %h up %w down %w : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  %n = ffn.norm rms %a eps 1.0e-5 : tensor<?x4xf32>
  // expected-remark@+1 {{'b' not parallelized: the hidden state between them is read elsewhere}}
  %b = ffn.sublayer [#ffn.addend<ffn "b">] (%n) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %f = ffn.feed_forward relu %h up %w down %w : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  // expected-remark@+1 {{'c' not parallelized: an extra result of 'c' is read before the next one}}
  %c:2 = ffn.sublayer [#ffn.addend<ffn "c">] (%b) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  ^bb0(%h: tensor<?x4xf32>):
    %f = ffn.feed_forward relu %h up %w down %w : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    ffn.yield %f, %f : tensor<?x4xf32>, tensor<?x4xf32>
  }
  // expected-remark@+1 {{'d' not parallelized: no network follows it}}
  %d = ffn.sublayer [#ffn.addend<ffn "d">] (%c#0) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%h: tensor<?x4xf32>):
    %f = ffn.feed_forward relu %c#1 up %w down %w : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    ffn.yield %f : tensor<?x4xf32>
  }
  return %d, %b : tensor<?x4xf32>, tensor<?x4xf32>
}
