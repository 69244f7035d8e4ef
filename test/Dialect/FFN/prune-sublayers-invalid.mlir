// RUN: ffn-opt %s --ffn-prune-sublayers="only=gone" --split-input-file --verify-diagnostics
// RUN: not ffn-opt %s --ffn-prune-sublayers="only=gone nope=1" 2>&1 | FileCheck %s --check-prefix=OPTION
// OPTION: no such option nope

// expected-error@+2 {{no sublayer is named 'gone' [FFN-P102]}}
// expected-note@+1 {{known: a, b}}
module {
  func.func @names(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
    %a = ffn.sublayer [#ffn.addend<ffn "a">, #ffn.addend<other "b">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
    ^bb0(%h: tensor<?x4xf32>):
      ffn.yield %h, %h : tensor<?x4xf32>, tensor<?x4xf32>
    }
    return %a : tensor<?x4xf32>
  }
}

// -----

// expected-error@+2 {{no sublayer is named 'gone' [FFN-P102]}}
// expected-note@+1 {{the module has none: run ffn-raise first}}
module {
}

// -----

func.func @used(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // expected-error@+1 {{'gone' cannot be removed: its extra result 0 is used by onnx.node and is no state [FFN-P103]}}
  %a:2 = ffn.sublayer [#ffn.addend<ffn "gone">] (%x) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  ^bb0(%h: tensor<?x4xf32>):
    %n = onnx.node "Relu" v14 (%h) : (tensor<?x4xf32>) -> tensor<?x4xf32>
    ffn.yield %n, %n : tensor<?x4xf32>, tensor<?x4xf32>
  }
  %b = onnx.node "Add" v14 (%a#0, %a#1) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %b : tensor<?x4xf32>
}

// -----

func.func @past(%x: tensor<?x4xf32>, %p: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %a:2 = ffn.sublayer [#ffn.addend<attention "gone">] state [#ffn.state<1 -> 0>] (%x) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  ^bb0(%h: tensor<?x4xf32>):
    %n = onnx.node "Add" v14 (%h, %p) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    ffn.yield %n, %n : tensor<?x4xf32>, tensor<?x4xf32>
  }
  // expected-error@+1 {{argument 1 of a removed state is also used here; with keep-signature it stays [FFN-P104]}}
  %b = onnx.node "Add" v14 (%a#0, %p) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %b, %a#1 : tensor<?x4xf32>, tensor<?x4xf32>
}
