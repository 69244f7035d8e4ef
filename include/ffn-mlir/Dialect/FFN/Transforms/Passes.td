//===- Passes.td - Passes over the ffn dialect -------------*- tablegen -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_FFN_TRANSFORMS_PASSES_TD
#define FFN_MLIR_DIALECT_FFN_TRANSFORMS_PASSES_TD

include "mlir/Pass/PassBase.td"

def FFNRaise : Pass<"ffn-raise", "::mlir::ModuleOp"> {
  let summary = "Recognise norms, linears, feed-forward networks, attention and residual sublayers";
  let description = [{
    **What.** Replaces groups of `onnx.node` by the operation of the ffn dialect
    that means the same, by structure alone: no name of a model or of a node is
    looked at, except to name a sublayer. Constants are looked through, also
    those behind `Identity`, `Cast`, `Transpose` and `Reshape`. Bodies of `If`,
    `Loop` and `Scan` are raised too.

    **Pre-conditions.** Shapes are inferred: a value of unknown type is never
    part of a match.

    **Post-conditions.** What was not recognised is unchanged, apart from
    no-ops (`Identity`, casts to the same type, inactive `Dropout`), which are
    removed. Every near miss leaves a remark with the node and the reason: a
    value of the pattern that is used elsewhere, a weight that is not constant,
    an activation that is not known, and so on. Addends have unique names, made
    from the names of weights, else of nodes, else `layers.N.kind`.

    **Before and after.**
    ```mlir
    %u = onnx.node "MatMul" v13 (%n, %w1) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
    %a = onnx.node "Relu" v14 (%u) : (tensor<?x8xf32>) -> tensor<?x8xf32>
    %f = onnx.node "MatMul" v13 (%a, %w2) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
    %y = onnx.node "Add" v14 (%x, %f) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    ```
    ```mlir
    %up = ffn.transpose %w1 : tensor<4x8xf32>
    %down = ffn.transpose %w2 : tensor<8x4xf32>
    %y = ffn.sublayer [#ffn.addend<ffn "layers.0.mlp">] (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> {
    ^bb0(%h: tensor<?x4xf32>):
      %f = ffn.feed_forward relu %n up %up down %down : ...
      ffn.yield %f : tensor<?x4xf32>
    }
    ```

    **Numerical class.** exact: the same operations in the same order; a few
    forms (scale factors of `Gemm`, attention scales) are re-associated.
  }];
  let options = [
    Option<"remarks", "remarks", "bool", "true", "Emit a remark for every near miss">
  ];
  let dependentDialects = ["::mlir::ffn::FFNDialect", "::mlir::onnx::ONNXDialect"];
}

def FFNListFFNs : Pass<"ffn-list-ffns", "::mlir::ModuleOp"> {
  let summary = "Say what every feed-forward network and sublayer is, as remarks";
  let description = [{
    **What.** One remark for each addend of a sublayer and each feed-forward
    network outside of one: kind, name, and for feed-forward networks gated,
    activation, d, m, bias, norm and residual form.

    **Pre-conditions.** None; nothing is listed before `ffn-raise`.

    **Post-conditions.** The IR is unchanged.

    **Before and after.** The remark of a SwiGLU network is
    `ffn 'model.layers.0.mlp': gated silu d=64 m=172 bias=none norm=rms residual=pre`.

    **Numerical class.** exact: nothing changes.
  }];
}

def FFNDecompose : Pass<"ffn-decompose", "::mlir::ModuleOp"> {
  let summary = "Write every operation of the ffn dialect as standard onnx nodes";
  let description = [{
    **What.** The inverse of `ffn-raise`: sublayers are inlined, norms, linears,
    networks and attention become nodes of the model's opset (from 17 on a
    layer norm is one `LayerNormalization`, from 20 on a GELU is one `Gelu`).

    **Pre-conditions.** Opset 7 or later; 9 for the exact GELU and masks, 11
    for causal attention. Ranks are known.

    **Post-conditions.** Of the ffn dialect only `ffn.file`, `ffn.weight` and
    weight expressions remain; `ffn-materialize-weights` or the exporter turns
    the latter into bytes. Nodes have the names that locations kept.

    **Before and after.**
    ```mlir
    %y = ffn.linear %x, %w bias %b : tensor<8xf32> : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
    ```
    ```mlir
    %t = ffn.transpose %w : tensor<8x4xf32>
    %p = onnx.node "MatMul" v13 (%x, %t) : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
    %y = onnx.node "Add" v14 (%p, %b) : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
    ```

    **Numerical class.** exact, up to re-association. A row of attention whose
    additive mask is -inf throughout is NaN in ONNX and zero in `ffn.attention`.
  }];
  let dependentDialects = ["::mlir::ffn::FFNDialect", "::mlir::onnx::ONNXDialect"];
}

#endif // FFN_MLIR_DIALECT_FFN_TRANSFORMS_PASSES_TD
