// RUN: ffn-opt %s --split-input-file --verify-diagnostics

func.func @widths(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x8xf32>
  %r = ffn.weight dense<1.0> : tensor<4x4xf32>
  // expected-error @below {{8 neurons are not 1 shared ones and 4 experts of one width}}
  %y = ffn.moe relu %x up %up down %down router linear %r shared 1 experts 4 top_k 1 gating identity : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @all_shared(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x8xf32>
  %r = ffn.weight dense<1.0> : tensor<4x4xf32>
  // expected-error @below {{8 neurons are not 8 shared ones and 4 experts of one width}}
  %y = ffn.moe relu %x up %up down %down router linear %r shared 8 experts 4 top_k 1 gating identity : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @negative(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x8xf32>
  %r = ffn.weight dense<1.0> : tensor<4x4xf32>
  // expected-error @below {{8 neurons are not -4 shared ones and 4 experts of one width}}
  %y = ffn.moe relu %x up %up down %down router linear %r shared -4 experts 4 top_k 1 gating identity : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @none(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x8xf32>
  %r = ffn.weight dense<1.0> : tensor<4x4xf32>
  // expected-error @below {{8 neurons are not 0 shared ones and 0 experts of one width}}
  %y = ffn.moe relu %x up %up down %down router linear %r shared 0 experts 0 top_k 1 gating identity : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @top_k(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x8xf32>
  %r = ffn.weight dense<1.0> : tensor<4x4xf32>
  // expected-error @below {{top_k is 5 of 4 experts}}
  %y = ffn.moe relu %x up %up down %down router linear %r shared 0 experts 4 top_k 5 gating identity : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @no_top_k(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x8xf32>
  %r = ffn.weight dense<1.0> : tensor<4x4xf32>
  // expected-error @below {{top_k is 0 of 4 experts}}
  %y = ffn.moe relu %x up %up down %down router linear %r shared 0 experts 4 top_k 0 gating identity : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @router(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x8xf32>
  %r = ffn.weight dense<1.0> : tensor<3x4xf32>
  // expected-error @below {{router must be of shape [4, 4], is 'tensor<3x4xf32>'}}
  %y = ffn.moe relu %x up %up down %down router linear %r shared 0 experts 4 top_k 1 gating identity : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<3x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @down(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x7xf32>
  %r = ffn.weight dense<1.0> : tensor<4x4xf32>
  // expected-error @below {{down must be of shape [4, 8], is 'tensor<4x7xf32>'}}
  %y = ffn.moe relu %x up %up down %down router linear %r shared 0 experts 4 top_k 1 gating identity : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x7xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @vector(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8xf32>
  %down = ffn.weight dense<1.0> : tensor<4x8xf32>
  %r = ffn.weight dense<1.0> : tensor<4x4xf32>
  // expected-error @below {{up must be a matrix, is 'tensor<8xf32>'}}
  %y = ffn.moe relu %x up %up down %down router linear %r shared 0 experts 4 top_k 1 gating identity : (tensor<?x4xf32>, tensor<8xf32>, tensor<4x8xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @bias(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x8xf32>
  %r = ffn.weight dense<1.0> : tensor<4x4xf32>
  %b = ffn.weight dense<1.0> : tensor<3xf32>
  // expected-error @below {{selection_bias must be of shape [4], is 'tensor<3xf32>'}}
  %y = ffn.moe relu %x up %up down %down router linear %r selection_bias %b shared 0 experts 4 top_k 1 gating identity : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4x4xf32>, tensor<3xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @missing_gate(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x8xf32>
  %r = ffn.weight dense<1.0> : tensor<4x4xf32>
  // expected-error @below {{needs a router_gate: its router is a neuron of a gated network}}
  %y = ffn.moe relu %x up %up gate %up down %down router neuron %r shared 0 experts 4 top_k 1 gating identity : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @extra_gate(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x8xf32>
  %r = ffn.weight dense<1.0> : tensor<4x4xf32>
  // expected-error @below {{has a router_gate, which only the neuron router of a gated network has}}
  %y = ffn.moe relu %x up %up down %down router linear %r router_gate %r shared 0 experts 4 top_k 1 gating identity : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @gate_bias(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x8xf32>
  %r = ffn.weight dense<1.0> : tensor<4x4xf32>
  %b = ffn.weight dense<1.0> : tensor<4xf32>
  // expected-error @below {{has a router_gate_bias but no router_gate}}
  %y = ffn.moe relu %x up %up down %down router linear %r router_gate_bias %b shared 0 experts 4 top_k 1 gating identity : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @normalize(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x8xf32>
  %r = ffn.weight dense<1.0> : tensor<4x4xf32>
  // expected-error @below {{normalize divides weights, but it is not weighted}}
  %y = ffn.moe relu %x up %up down %down router linear %r shared 0 experts 4 top_k 1 gating softmax normalize : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @scale(%x: tensor<?x4xf32>) {
  %up = ffn.weight dense<1.0> : tensor<8x4xf32>
  %down = ffn.weight dense<1.0> : tensor<4x8xf32>
  %r = ffn.weight dense<1.0> : tensor<4x4xf32>
  // expected-error @below {{scale must be finite}}
  %y = ffn.moe relu %x up %up down %down router linear %r shared 0 experts 4 top_k 1 gating softmax scale 0x7FF0000000000000 : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<4x8xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return
}
