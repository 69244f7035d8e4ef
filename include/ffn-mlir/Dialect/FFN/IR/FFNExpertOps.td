//===- FFNExpertOps.td - Networks of experts ---------------*- tablegen -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_FFN_IR_FFNEXPERTOPS_TD
#define FFN_MLIR_DIALECT_FFN_IR_FFNEXPERTOPS_TD

include "ffn-mlir/Dialect/FFN/IR/FFN.td"
include "ffn-mlir/Dialect/FFN/IR/FFNExpertEnums.td"

def FFN_MoEOp : FFN_ComputeOp<"moe", [AttrSizedOperandSegments]> {
  let summary = "A feed-forward network of which a token uses the shared neurons and those of some experts";
  let description = [{
    The operands `up`, `gate`, `down` and their biases are those of one
    `ffn.feed_forward` of m neurons. The first `shared` neurons serve every
    token; the others are `experts` experts of `(m - shared) / experts` neurons
    each, one after the other. A token's result is that of the shared neurons
    and the neurons of `top_k` experts alone, plus `down_bias` once.

    **Scores**, one for each expert: `linear` is `x R^T + rb` with `router` R of
    `[experts, d]`; `neuron` has one hidden unit for each expert and takes the
    magnitude of its activation, `|a(x R^T + rb)|`, or in a gated network
    `|a(x G^T + gb) * (x R^T + rb)|` with `router_gate` G.

    **Gate values** p are the scores, their softmax over the experts or their
    sigmoid (`gating`). Chosen are the `top_k` experts with the largest p, or
    the largest `p + selection_bias` where that is given; of equal ones the
    first. An order that `gating` keeps is taken from the scores themselves, so
    that rounding makes no ties.

    **Weights**: the activations of a chosen expert are multiplied by 1, or with
    `weighted` by its p, divided by the sum of p over the chosen ones with
    `normalize`; and by `scale`. A softmax over the chosen scores is `softmax
    weighted normalize`. The weight meets the neurons, not the bias of down.

    ```mlir
    %y = ffn.moe silu %n up %u gate %g down %d router neuron %r router_gate %rg
           shared 344 experts 6 top_k 2 gating softmax
           : (tensor<?x?x512xf32>, ...) -> tensor<?x?x512xf32>
    ```
  }];
  let arguments = (ins AnyTensor:$input, AnyStaticShapeTensor:$up, Optional<AnyStaticShapeTensor>:$gate,
                       AnyStaticShapeTensor:$down, Optional<AnyStaticShapeTensor>:$up_bias,
                       Optional<AnyStaticShapeTensor>:$gate_bias, Optional<AnyStaticShapeTensor>:$down_bias,
                       AnyStaticShapeTensor:$router, Optional<AnyStaticShapeTensor>:$router_gate,
                       Optional<AnyStaticShapeTensor>:$router_bias,
                       Optional<AnyStaticShapeTensor>:$router_gate_bias,
                       Optional<AnyStaticShapeTensor>:$selection_bias, FFN_ActivationAttr:$activation,
                       FFN_RouterKind:$router_kind, FFN_Gating:$gating, I64Attr:$shared, I64Attr:$experts,
                       I64Attr:$top_k, UnitAttr:$weighted, UnitAttr:$normalize,
                       DefaultValuedAttr<F64Attr, "1.0">:$scale);
  let results = (outs AnyTensor:$result);
  let assemblyFormat = [{
    $activation $input `up` $up (`gate` $gate^)? `down` $down (`up_bias` $up_bias^)? (`gate_bias` $gate_bias^)?
    (`down_bias` $down_bias^)? `router` $router_kind $router (`router_gate` $router_gate^)?
    (`router_bias` $router_bias^)? (`router_gate_bias` $router_gate_bias^)? (`selection_bias` $selection_bias^)?
    `shared` $shared `experts` $experts `top_k` $top_k `gating` $gating (`weighted` $weighted^)?
    (`normalize` $normalize^)? (`scale` $scale^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    bool isGated() { return static_cast<bool>(getGate()); }
    /// Neurons of all experts and the shared ones, m.
    int64_t getHiddenWidth();
    /// Width of the input, d.
    int64_t getInputWidth();
    /// Neurons of one expert.
    int64_t getExpertWidth() {
      return (getHiddenWidth() - static_cast<int64_t>(getShared())) / static_cast<int64_t>(getExperts());
    }
    /// Neurons that serve one token.
    int64_t getActiveWidth() {
      return static_cast<int64_t>(getShared()) + static_cast<int64_t>(getTopK()) * getExpertWidth();
    }
  }];
}

#endif // FFN_MLIR_DIALECT_FFN_IR_FFNEXPERTOPS_TD
