// RUN: ffn-opt %s --ffn-prune-sublayers="only=a keep-signature" --verify-diagnostics

// expected-error@+1 {{argument 1 of a removed state differs in type from its result 1 and cannot take its place [FFN-P105]}}
func.func @types(%x: tensor<?x4xf32>, %p: tensor<2x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %a:2 = ffn.sublayer [#ffn.addend<attention "a">] state [#ffn.state<1 -> 0>] (%x) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  ^bb0(%h: tensor<?x4xf32>):
    %n = onnx.node "Concat" v13 (%p, %h) {axis = 0 : si64} : (tensor<2x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    ffn.yield %h, %n : tensor<?x4xf32>, tensor<?x4xf32>
  }
  return %a#0, %a#1 : tensor<?x4xf32>, tensor<?x4xf32>
}
