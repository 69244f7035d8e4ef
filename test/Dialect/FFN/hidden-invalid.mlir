// RUN: ffn-opt %s --split-input-file --verify-diagnostics

func.func @gate(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %gate = ffn.weight dense<1.0> : tensor<7x4xf32>
  // expected-error @below {{gate must be of shape [8, 4], is 'tensor<7x4xf32>'}}
  %h = ffn.hidden relu %x up %up gate %gate : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<7x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @width(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  // expected-error @below {{result has width 9, the hidden layer 8}}
  %h = ffn.hidden relu %x up %up : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x9xf32>
  return
}

// -----

func.func @bias(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %b = ffn.weight dense<1.0> : tensor<4xf32>
  // expected-error @below {{up_bias must be a vector of 8 elements, is 'tensor<4xf32>'}}
  %h = ffn.hidden relu %x up %up up_bias %b : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @vector(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8xf32>
  // expected-error @below {{up must be a matrix, is 'tensor<8xf32>'}}
  %h = ffn.hidden relu %x up %up : (tensor<?x4xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return
}
