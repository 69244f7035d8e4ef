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
    `Loop` and `Scan` are raised too. Expanded first are calls of local functions
    and what ONNX Runtime's optimizer makes one node of: `Attention`,
    `MultiHeadAttention`, `EmbedLayerNormalization` and `GemmFastGelu` of
    `com.microsoft`, in the forms that have parts (no rotation of their own, no
    shared buffer, masks by length, by key, or by query and key) and from opset
    11 on.

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
    `ffn.moe` computes all experts and masks those that a token did not choose.
    A weight that is stored in f16 or bf16 stays so behind a `Cast`, codes of
    `ffn.dequantize` stay codes (one in a byte) behind a `DequantizeLinear`.

    **Pre-conditions.** Opset 7 or later; 9 for the exact GELU and masks, 11
    for causal attention and experts. Ranks are known. Codes need opset 13, or 21 where
    groups do not divide the row; before, they are written as floats after a
    remark.

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

def FFNMaterializeWeights : Pass<"ffn-materialize-weights", "::mlir::ModuleOp"> {
  let summary = "Compute weight expressions and leave plain weights";
  let description = [{
    **What.** Every weight expression that something other than a weight
    expression uses becomes one `ffn.weight`: inline up to 4 KiB, else appended
    to `@derived`. Bytes are computed in blocks, once for each expression.

    **Pre-conditions.** The files of the spans can be read.

    **Post-conditions.** No weight expression but `ffn.weight` is left, and no
    weight that only fed one.

    **Before and after.**
    ```mlir
    %t = ffn.transpose %w : tensor<8x4xf32>
    ```
    ```mlir
    %t = ffn.weight #ffn.span<"w" in @derived, 0, 128> : tensor<4x8xf32>
    ```

    **Numerical class.** exact for selections and layouts; products and sums
    are computed in float64 and rounded once.
  }];
  let dependentDialects = ["::mlir::ffn::FFNDialect"];
}

def FFNFoldCausalMask : Pass<"ffn-fold-causal-mask", "::mlir::ModuleOp"> {
  let summary = "Turn masks that hide later keys into the attribute `causal`";
  let description = [{
    **What.** Where the mask of an attention compares ranges of positions so
    that query s sees exactly the keys up to `s + T - S`, the mask goes and the
    attention is `causal`: kernels then skip the keys that no query sees and
    read no mask of size S x T. Followed are ranges with step 1, sums, casts of
    integers, dimensions of size 1, comparisons, `Not` and `Where` of two
    constants of which one is 0 and the other at most -1e30.

    **Pre-conditions.** None. A mask of any other form stays, with a remark.

    **Post-conditions.** The nodes that made a folded mask are left to CSE and
    canonicalization.

    **Before and after.**
    ```mlir
    %a = ffn.attention %q, %k, %v mask %m : tensor<?x?xf32> scale 0.125 : ...
    ```
    ```mlir
    %a = ffn.attention %q, %k, %v scale 0.125 causal : ...
    ```

    **Numerical class.** exact: every query sees a key, next to which a score
    of -1e30 or less is 0 under the softmax.
  }];
  let dependentDialects = ["::mlir::ffn::FFNDialect"];
}

def FFNLastTokenLogits : Pass<"ffn-last-token-logits", "::mlir::ModuleOp"> {
  let summary = "Compute the logits of the last position only";
  let description = [{
    **What.** The output of that name, else the first float output of rank 3
    that is no cache, becomes `[batch, 1, vocabulary]`: hidden states of the last
    position are taken before the final norm and the head. Writing a text needs
    no others, and the head is a fifth to a third of the work of reading one.

    **Pre-conditions.** `ffn-raise`. The logits are a linear, behind norms and
    casts at most, of hidden states that nothing else reads through these; else
    an error (a remark unless `required`) says what is missing.

    **Post-conditions.** A text of no tokens has no last one: running on it is an
    error.

    **Before and after.**
    ```mlir
    %n = ffn.norm rms %h ... : tensor<?x?x64xf32>
    %l = ffn.linear %n, %w : tensor<?x?x64xf32>, tensor<512x64xf32> -> tensor<?x?x512xf32>
    ```
    ```mlir
    %x = onnx.node "Gather" v13 (%h, %last) {axis = 1 : si64} : ... -> tensor<?x1x64xf32>
    %n = ffn.norm rms %x ... : tensor<?x1x64xf32>
    %l = ffn.linear %n, %w : tensor<?x1x64xf32>, tensor<512x64xf32> -> tensor<?x1x512xf32>
    ```

    **Numerical class.** exact: the logits that are left keep their bits.
  }];
  let options = [
    Option<"required", "required", "bool", "true", "An error where it is not possible, else a remark">
  ];
  let dependentDialects = ["::mlir::ffn::FFNDialect", "::mlir::onnx::ONNXDialect"];
}

def FFNPruneSublayers : Pass<"ffn-prune-sublayers", "::mlir::ModuleOp"> {
  let summary = "Remove residual addends by name, or those that matter least";
  let description = [{
    **What.** Takes addends out of their sublayers: those named by `only`, or
    all of the sublayers that a `method` chooses. A sublayer whose last addend
    goes is replaced by its residual. Of a pre-norm sublayer nothing remains;
    behind a post-norm one the norm stays, `y = norm(x)`, unless `only` names it
    and `with-norm` is given.

    **Pre-conditions.** `ffn-raise` ran; every name is known, else an error
    lists the known ones.

    **Post-conditions.** A state (past argument, present result) that only the
    removed addends computed leaves the signature; with `keep-signature` the
    past argument is returned unchanged. Remarks say which. An extra result
    that is used otherwise refuses the removal.

    **Methods.** The model is compiled once in pieces and run on samples from
    `calib`, without the candidates. A left out piece is not called; a run
    restarts from the last value that it shares with a run before. The choice is
    the same for any number of threads.
    - `finercut` (arXiv 2405.18218): greedily, round by round, the sublayer
      without which the logits move least from those of the original, by
      `metric` (js). Labels are never looked at. Of n candidates those of the
      first floor(n protect / 2) + 1 blocks are open only when floor(n protect)
      + 1 are gone. `protect=0` opens all.
    - `block-influence` (ShortGPT, arXiv 2403.03853): least 1 - cos between the
      residual before and behind the sublayer, or, with `whole-blocks`, before
      and behind the block, all of whose candidates go then. With `profile` in
      place of `calib` the figures are those of a file of `ffnc profile` (probe
      `influence`), and nothing is compiled or run.
    - `2ssp` (arXiv 2501.17771): `ratio` s of the parameters of all sublayers
      goes. First of every network as many neurons, those with the least mean
      over samples of the norm over tokens of what they hand to the down
      projection; then round(L s^((P_ffn / P_attn) / 1.5)) of L attentions,
      greedily those without which the likelihood of the first sample's tokens
      is greatest. With another budget the second stage alone.
    - `evopress` (arXiv 2410.14649): evolution of the whole set at a fixed
      budget by `metric` (kl). The best of 64 draws is the first parent; 32
      children with 1 to 3 swaps within a kind; two of them, chosen on a
      sixteenth of the samples, are compared with the parent on all; k (n - k) /
      1.5 generations, or as many as fit into `evaluations`.
    - `random`: a seeded draw, to compare with.

    **Budget.** One of `count`; `ratio` of the candidates, rounded half up; and
    `parameters`, `flops` (for one token, attention's products of a length that
    the model leaves open not counted) and `latency` (median time of the first
    sample on one thread, which another run of the search may measure
    otherwise), the share of the whole model that is saved at least.

    A remark at every sublayer that goes says its place and score, exactly one
    at every other why it stays.

    **Before and after.** `{only=layers.0.mlp}`:
    ```mlir
    %y = ffn.sublayer [#ffn.addend<ffn "layers.0.mlp">](%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> { ... }
    %n = ffn.norm rms %y ...
    ```
    ```mlir
    %n = ffn.norm rms %x ...
    ```

    **Numerical class.** approximate: measure it with `ffnc compare`. Without
    names and with a count of 0 the module is unchanged.
  }];
  let options = [
    ListOption<"only", "only", "std::string", "Names of the addends to remove">,
    Option<"withNorm", "with-norm", "bool", "false", "Also remove the norm behind a post-norm sublayer">,
    Option<"keepSignature", "keep-signature", "bool", "false", "Return past arguments unchanged instead of removing them">,
    Option<"method", "method", "std::string", [{""}], "finercut, block-influence, 2ssp, evopress or random">,
    Option<"count", "count", "unsigned", "0", "Sublayers that the method removes (default: none; a method needs one budget)">,
    Option<"ratio", "ratio", "double", "0.0", "The same as a share of the candidates, rounded half up (default: none)">,
    Option<"parameters", "parameters", "double", "0.0", "Share of the model's parameters to save instead (default: none)">,
    Option<"flops", "flops", "double", "0.0", "Share of its floating-point operations to save instead (default: none)">,
    Option<"latency", "latency", "double", "0.0", "Share of its measured time to save instead (default: none)">,
    ListOption<"kinds", "kinds", "std::string", "Kinds that the method may remove (attention, ffn, ...); all by default">,
    Option<"metric", "metric", "std::string", [{""}], "What is least for the best choice: js, js-reverse, angular, norm, kl, nll or error; empty: as the method was published">,
    Option<"protect", "protect", "double", "0.4", "finercut: exclusion rate of early blocks; 0 protects none">,
    Option<"wholeBlocks", "whole-blocks", "bool", "false", "block-influence: blocks go as a whole">,
    Option<"calib", "calib", "std::string", [{""}], "Samples: text, token lists (.json), a folder of them, or an .npz archive of inputs">,
    Option<"tokenizer", "tokenizer", "std::string", [{""}], "Tokenizer in JSON form; without: bytes">,
    Option<"samples", "samples", "unsigned", "10", "Number of samples">,
    Option<"length", "length", "unsigned", "256", "Tokens of a sample">,
    Option<"seed", "seed", "uint64_t", "0", "Of the choice of samples and of random draws">,
    Option<"profile", "profile", "std::string", [{""}], "block-influence: a profile of the model, in place of calib">,
    Option<"evaluations", "evaluations", "unsigned", "0", "evopress: at most so many runs over all samples; 0: generations as published">,
    Option<"threads", "threads", "unsigned", "0", "Of the search; 0: one for each CPU that the process may use">,
    Option<"cpu", "cpu", "std::string", [{"native"}], "Instruction set level of the model that is run">
  ];
  let dependentDialects = ["::mlir::ffn::FFNDialect", "::mlir::onnx::ONNXDialect"];
}

def FFNExposeHidden : Pass<"ffn-expose-hidden", "::mlir::ModuleOp"> {
  let summary = "Return the hidden state behind every residual sublayer";
  let description = [{
    **What.** Adds a result to @main for each `ffn.sublayer` of its body, with
    the value of the sublayer, named `hidden:` and the names of its addends
    joined by ` + `. `ffnc compare --layers` compares models at these outputs.

    **Pre-conditions.** `ffn-raise` ran. Without @main of one block nothing
    changes, nor without sublayers.

    **Post-conditions.** The other results are as they were. The pass applied
    twice is the pass applied once.

    **Before and after.**
    ```mlir
    %y = ffn.sublayer [#ffn.addend<ffn "layers.0.mlp">](%x) : (tensor<?x4xf32>) -> tensor<?x4xf32> { ... }
    return %z : tensor<?x4xf32>
    ```
    ```mlir
    return %z, %y : tensor<?x4xf32>, tensor<?x4xf32>
    ```

    **Numerical class.** exact.
  }];
  let dependentDialects = ["::mlir::ffn::FFNDialect"];
}

def FFNFoldNorm : Pass<"ffn-fold-norm", "::mlir::ModuleOp"> {
  let summary = "Move scale and shift of norms into the linears behind them";
  let description = [{
    **What.** For a norm that only linears read, `W (g x + b) + c` becomes
    `(W diag(g)) x + (W b + c)`: the scale is `ffn.scale_cols` of each weight,
    the shift a `ffn.matvec` in each bias, and the norm has neither.

    **Pre-conditions.** Every reader of the norm is an `ffn.linear` or the
    input of an `ffn.feed_forward` (or asks for the size); types agree.

    **Post-conditions.** The norm has no scale and no shift. A norm that is not
    folded leaves a remark with the reason. A weight that something other than
    a linear reads too (the table of an embedding) is left alone, unless
    `shared` says that a scaled copy may be made.

    A weight that is stored in f16 or bf16 stays in that type: its norm is
    folded if every product is a value of the type, as with a scale of ones or
    of powers of two, and is left alone otherwise. `widen` keeps such products
    in f32, which doubles the bytes of the weight; the remark tells how many.
    `round` rounds them once more, to the type of the weight. Quantized weights
    are left alone.

    **Before and after.**
    ```mlir
    %n = ffn.norm rms %x scale %g : tensor<4xf32> eps 1.0e-5 : tensor<?x4xf32>
    %y = ffn.linear %n, %w : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
    ```
    ```mlir
    %s = ffn.scale_cols %w, %g : tensor<8x4xf32>, tensor<4xf32>
    %n = ffn.norm rms %x eps 1.0e-5 : tensor<?x4xf32>
    %y = ffn.linear %n, %s : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
    ```

    **Numerical class.** exact up to rounding of f32 weights; with `round`
    approximate, by a relative 2^-11 (f16) or 2^-8 (bf16) of each weight.
  }];
  let options = [
    Option<"shared", "shared", "bool", "false", "Fold into weights that others read too, which copies them">,
    Option<"widen", "widen", "bool", "false", "Keep products that f16 or bf16 does not hold in f32">,
    Option<"round", "round", "bool", "false", "Round such products to the type of the weight instead (approximate)">
  ];
  let dependentDialects = ["::mlir::ffn::FFNDialect"];
}

def FFNParallelize : Pass<"ffn-parallelize", "::mlir::ModuleOp"> {
  let summary = "Let neighbouring sublayers read the same input";
  let description = [{
    **What.** Sublayers that follow one another become one with several addends:
    `h2 = h1 + f2(h1), h1 = h0 + f1(h0)` becomes `h0 + f1(h0) + f2(h0)` (FFN
    Fusion, arXiv 2503.18908). `ffn-merge-parallel` then makes one wide network
    of them; the pipeline `ffn-fusion` does both. Modes:
    - `ffn`: runs of networks with no attention between them. The last of a run
      stays behind the others unless `keep-last=false`: the rest of the model
      was trained to read what it makes. A run is cut, from the left, into
      pieces of nearly equal length within `max-length`, `max-width` and
      `max-distance`.
    - `blocks`: windows of `window` blocks, an attention and its network each.
      Blocks read one input; inside of a block the network still reads what its
      own attention added.
    - `attention`: pairs of an attention and the network behind it (parallel
      attention and FFN).
    `blocks` and `attention` take windows that do not overlap, those whose
    largest distance inside is least first, of equal ones the least sum.

    **Distances.** With `calib` the model is compiled once in pieces and run as a
    whole and without each part; the distance of parts i < j is the mean over
    tokens of 1 - cos between what j adds with and without i (0 to 2). `matrix`
    writes all of them as JSON: `names`, and `distance`, null where none is.

    **Pre-conditions.** `ffn-raise` ran. Each sublayer reads what the one before
    it made, and nothing else does (so no post-norm stands between them).
    `max-distance`, `count` and `matrix` need `calib`; `blocks` and `attention`
    need `calib` or `only`.

    **Post-conditions.** A remark for every sublayer that was parallelized, or
    was a candidate and was not, with the reason. States of a KV cache stay.

    **Before and after.**
    ```mlir
    %a = ffn.sublayer [#ffn.addend<ffn "a">] (%x) : ... { ... ffn.yield %f }
    %b = ffn.sublayer [#ffn.addend<ffn "b">] (%a) : ... { ... ffn.yield %g }
    ```
    ```mlir
    %b = ffn.sublayer [#ffn.addend<ffn "a">, #ffn.addend<ffn "b">] (%x) : ... { ... ffn.yield %f, %g }
    ```

    **Numerical class.** approximate: measure it with `ffnc compare`. With
    `max-length=1` the module is unchanged.
  }];
  let options = [
    Option<"mode", "mode", "std::string", [{"ffn"}], "ffn, blocks or attention">,
    ListOption<"only", "only", "std::string", "Names of the addends that may become parallel; all by default">,
    Option<"keepLast", "keep-last", "bool", "true", "Leave the last of a run behind the others">,
    Option<"maxLength", "max-length", "unsigned", "0", "Networks of a piece at most; 0, the default: no limit">,
    Option<"maxWidth", "max-width", "int64_t", "0", "Hidden width of a piece at most; 0, the default: no limit">,
    Option<"maxDistance", "max-distance", "double", "2.0", "Largest distance inside a piece or window; the default, 2, is no limit">,
    Option<"count", "count", "unsigned", "0", "blocks, attention: windows at most; 0, the default: all within max-distance">,
    Option<"window", "window", "unsigned", "4", "blocks: blocks of a window">,
    Option<"matrixFile", "matrix", "std::string", [{""}], "File for the distances, as JSON">,
    Option<"calib", "calib", "std::string", [{""}], "Samples: text, token lists (.json), a folder of them, or an .npz archive of inputs">,
    Option<"tokenizer", "tokenizer", "std::string", [{""}], "Tokenizer in JSON form; without: bytes">,
    Option<"samples", "samples", "unsigned", "10", "Number of samples">,
    Option<"length", "length", "unsigned", "256", "Tokens of a sample">,
    Option<"seed", "seed", "uint64_t", "0", "Of the choice of samples">,
    Option<"cpu", "cpu", "std::string", [{"native"}], "Instruction set level of the model that is run">
  ];
  let dependentDialects = ["::mlir::ffn::FFNDialect", "::mlir::onnx::ONNXDialect"];
}

def FFNMergeParallel : Pass<"ffn-merge-parallel", "::mlir::ModuleOp"> {
  let summary = "Make one wide network of the parallel networks of a sublayer";
  let description = [{
    **What.** Networks that are addends of one sublayer and read the same value
    are concatenated along the hidden width: rows of up and gate, columns of
    down; the biases of down are added. With `linears`, linears of one block
    that read the same value (query, key and value) become one linear over the
    concatenated rows, and a `Split` of its result.

    **Pre-conditions.** Same activation, same form (gated or plain), same
    types, same input, or norms of one value with the same kind, eps and
    parameters. Widths may differ. Quantized weights stay codes: their bits and
    groups agree, and a group of down ends with each network but the last. The
    result of a network is its addend and nothing else. Weights of linears are
    constant and stored in one type.

    **Post-conditions.** One addend, in the place of the first, is named after
    all, joined by `+`. Networks and linears that differ leave a remark with
    the reason. Weights keep the type that they are stored in.

    **Before and after.**
    ```mlir
    %a = ffn.feed_forward relu %n up %u0 down %d0 : ...
    %b = ffn.feed_forward relu %n up %u1 down %d1 : ...
    ffn.yield %a, %b : ...
    ```
    ```mlir
    %u = ffn.concat_rows %u0, %u1 : ...
    %f = ffn.feed_forward relu %n up %u down %d : ...
    ffn.yield %f : ...
    ```

    **Numerical class.** exact up to re-association of the sum over the hidden
    width and of the addends.
  }];
  let options = [
    Option<"linears", "linears", "bool", "false", "Merge linears that read the same value, too">
  ];
  let dependentDialects = ["::mlir::ffn::FFNDialect", "::mlir::onnx::ONNXDialect"];
}

def FFNQuantize : Pass<"ffn-quantize", "::mlir::ModuleOp"> {
  let summary = "Keep weights of products in bf16, int8 or int4";
  let description = [{
    **What.** Round to nearest, without data. The matrices of linears and
    networks become codes and scales (`ffn.dequantize`), symmetric in each
    group of a row: for int8 the largest magnitude is code 127, for int4 it is
    code -8. `bf16` rounds the elements. With `activations=f32` kernels read the
    codes and compute in f32, so the compiled model has the bits of its
    dequantized weights. With `activations=int8` products with codes may round
    each row of their input to 8 bits as well, by the largest magnitude of the
    row, and add products of codes exactly (dynamic quantization as in
    LLM.int8(), Dettmers et al. 2022, without its outliers); `ffn.input_bits`
    on the weight says so. The interpreter and ONNX keep the rows as they are.

    A name in `only` and `except` is a part of the name of the weight, with `*`
    and `?` as in file names; `head` is the last linear behind all sublayers.

    **Pre-conditions.** The product is computed in f32; the weight is constant,
    finite and stored in more bits than asked for. Rows of int4 are even. A
    weight that something else reads too (a tied embedding) is left alone,
    unless `shared` says that a copy may be made.

    **Post-conditions.** Every weight leaves a remark: bytes before and after
    and the relative error in the Frobenius norm, or why it stays.

    **Before and after.**
    ```mlir
    %y = ffn.linear %x, %w : tensor<?x64xf32>, tensor<32x64xf32> -> tensor<?x32xf32>
    ```
    ```mlir
    %d = ffn.dequantize %codes, %scales bits 4 group 32 : tensor<32x64xi8>, tensor<32x2xf32>
    %y = ffn.linear %x, %d : tensor<?x64xf32>, tensor<32x64xf32> -> tensor<?x32xf32>
    ```

    **Numerical class.** approximate.
  }];
  let options = [
    Option<"type", "type", "std::string", "\"int8\"", "bf16, int8 or int4">,
    Option<"group", "group", "int64_t", "-1", "Elements of a row that share a scale, 0: all of them; default: 0 for int8, 128 for int4">,
    Option<"activations", "activations", "std::string", "\"f32\"", "f32 or int8: what inputs of products with integer weights may be rounded to">,
    ListOption<"only", "only", "std::string", "Weights whose names contain one of these">,
    ListOption<"except", "except", "std::string", "No weights whose names contain one of these">,
    Option<"shared", "shared", "bool", "false", "Quantize weights that others read too, which copies them">
  ];
  let dependentDialects = ["::mlir::ffn::FFNDialect"];
}

def FFNRemoveDeadNeurons : Pass<"ffn-remove-dead-neurons", "::mlir::ModuleOp"> {
  let summary = "Remove hidden units that provably compute nothing of their own";
  let description = [{
    **What.** Looks at the weights of every network and takes out
    - `dead`: neurons that no input makes fire. A normalised row has a Euclidean
      norm of at most sqrt(d), so with l the norm of the neuron's row of up (of
      gate in a gated network), times the scale of the norm, its pre-activation
      is at most sqrt(d) l + b. It is dead if that is not above zero with the
      margin of all roundings that f32 can make (gamma_n = n u / (1 - n u)):
      `R + b + gamma_(d+8) R + gamma_(d+2) (R + |b|) <= 0`, R = sqrt(d) l; the
      shift of a norm moves b and adds its own margin. ReLU and its square only.
    - `zero`: neurons with a zero column of down, or a factor that is zero for
      every input; one whose row of up is zero becomes a part of the bias.
    - `duplicates`: neurons with the bits of another one; their columns of down
      are added up.
    - `linear`: ReLU neurons that are provably on for every input. Where that is
      smaller they become a linear path beside the network.

    Data are not looked at: a neuron that only never fired on samples stays.

    **Pre-conditions.** Weights are constant. For the bound: a norm in front,
    computed in f32 or f64. `multiple` keeps some of what could go, so that the
    width is a multiple of it.

    **Post-conditions.** One remark for each network: how many neurons went and
    why, or why all stay. Quantized and narrow weights keep their form; what
    would change it is left alone, and the remark says so.

    **Before and after.**
    ```mlir
    %f = ffn.feed_forward relu %n up %u down %d up_bias %b : ... 8x4 ... 4x8 ...
    ```
    ```mlir
    %v = ffn.gather_rows %u[%live] : tensor<8x4xf32>, tensor<5xi32>
    ...
    %f = ffn.feed_forward relu %n up %v down %e up_bias %c : ... 5x4 ... 4x5 ...
    ```

    **Numerical class.** exact. `dead` and `zero` keep every bit in f32 while
    values are finite; the others re-associate sums. With all of them off the
    module is unchanged.
  }];
  let options = [
    Option<"dead", "dead", "bool", "true", "Remove neurons that no input makes fire">,
    Option<"zero", "zero", "bool", "true", "Remove neurons without effect, fold constant ones into the bias">,
    Option<"duplicates", "duplicates", "bool", "true", "Make one neuron of equal ones">,
    Option<"linear", "linear", "bool", "true", "Make a linear path of neurons that are always on, where it is smaller">,
    Option<"multiple", "multiple", "int64_t", "1", "Keep the width a multiple of this">
  ];
  let dependentDialects = ["::mlir::ffn::FFNDialect", "::mlir::onnx::ONNXDialect"];
}

def FFNSliceNested : Pass<"ffn-slice-nested", "::mlir::ModuleOp"> {
  let summary = "Cut networks that were trained nested to one of their widths";
  let description = [{
    **What.** Keeps the first neurons of each network: row and column prefixes,
    as MatFormer (arXiv 2310.07707) trains them. `widths` gives single networks
    their own width (Mix'n'Match), the others take `width` or `share`.

    One width for each network and compilation: an artefact has static widths.
    Compile once for each size that is to be chosen from; the library of a size
    is loaded beside the others.

    **Pre-conditions.** `ffn-raise` ran. Names of `widths` are those of addends.

    **Post-conditions.** A remark for each network: cut, or why not.

    **Before and after.** `{width=4}`:
    ```mlir
    %f = ffn.feed_forward relu %n up %u down %d : ... tensor<8x4xf32>, tensor<4x8xf32> ...
    ```
    ```mlir
    %v = ffn.gather_rows %u[%first] : tensor<8x4xf32>, tensor<4xi32>
    %f = ffn.feed_forward relu %n up %v down %e : ... tensor<4x4xf32>, tensor<4x4xf32> ...
    ```

    **Numerical class.** exact for the widths that the model was trained at, in
    that it is the smaller trained model; for all others approximate. Needs
    training. At full width the module is unchanged.
  }];
  let options = [
    Option<"width", "width", "int64_t", "0", "Neurons of every network; 0: share decides">,
    Option<"share", "share", "double", "1.0", "Share of the neurons of every network, rounded half up">,
    ListOption<"widths", "widths", "std::string", "NAME=WIDTH for single networks">
  ];
  let dependentDialects = ["::mlir::ffn::FFNDialect"];
}

def FFNCarveMoE : Pass<"ffn-carve-moe", "::mlir::ModuleOp"> {
  let summary = "Carve experts out of dense networks, without training";
  let description = [{
    **What.** CMoE (arXiv 2502.04416). With `config=SxAyEz` the m neurons of a
    network become z groups of m / z: the x m / z neurons that are most often
    among the strongest of a token are shared, the others form z - x experts of
    neurons that fire together, and a token uses y of them. Neurons are compared
    by their marks: token t marks the K neurons with the largest activation in a
    network whose input and whose rows of up and gate have length one. The first
    centroids are the marks of the z - x most marked neurons left; one balanced
    assignment of least total L1 distance follows, solved as a transportation
    problem. The neuron nearest to the mean of an expert's marks is its router:
    its activation, with rows of length one, is the score. Chosen experts count
    with weight 1.

    Networks without a gate are carved by the marks of `a(w x + b)` in the same
    way, which is our generalisation, not part of the paper.

    **Pre-conditions.** `ffn-raise` ran. `profile` names what
    `ffnc profile --for=ffn-carve-moe` measured on this model; CMoE measures a
    layer behind carved ones (`--prefix=rewritten`). z divides m, or `pad` is
    set: then neurons of zeros are added.

    **Post-conditions.** A carved network is an `ffn.moe` with each neuron of
    the dense one in exactly one place, and its addend is of kind `moe`. Every
    other network stays and leaves a remark with the reason.

    **Before and after.**
    ```mlir
    %f = ffn.feed_forward silu %n up %u gate %g down %d : ...
    ```
    ```mlir
    %f = ffn.moe silu %n up %pu gate %pg down %pd router neuron %r router_gate %rg shared 128 experts 14 top_k 2 gating softmax : ...
    ```

    **Numerical class.** approximate; exact up to re-association if all experts
    run, which is the neutral setting y = z - x and leaves the module unchanged.
    `partition=random` is the baseline that shows what the marks are worth: the
    same sizes and the same way to choose routers.
  }];
  let options = [
    Option<"config", "config", "std::string", "\"S2A2E16\"", "SxAyEz: x of z groups are shared, y of the others run">,
    Option<"profile", "profile", "std::string", "\"\"", "Profile of the model, with cmoe_topk">,
    Option<"topk", "topk", "unsigned", "10", "Neurons that a token marks; read by ffnc profile --for">,
    Option<"pad", "pad", "bool", "false", "Fill widths up that z does not divide, with neurons of zeros">,
    Option<"partition", "partition", "std::string", "\"cmoe\"", "cmoe, or random (a baseline)">,
    Option<"seed", "seed", "uint64_t", "0", "Of partition=random">
  ];
  let dependentDialects = ["::mlir::ffn::FFNDialect"];
}

def FFNMergeLora : Pass<"ffn-merge-lora", "::mlir::ModuleOp"> {
  let summary = "Add low-rank adapters to the weights that they adapt";
  let description = [{
    **What.** `W x + f B (A x)`, with `f` a product of constant factors, becomes
    one linear of `W + f B A`; biases of the adapter join its bias. Several
    adapters of one linear are merged one after the other.

    **Pre-conditions.** `ffn-raise` made linears of the products. A network with
    adapters inside is no pattern of `ffn-raise` before they are merged: run
    `ffn-raise,ffn-merge-lora,ffn-raise`. Values inside of the adapter are read
    by nothing else, and the weight by no other operation.

    **Post-conditions.** Every adapter leaves a remark: its rank, or why it
    stays. A weight that is stored in f16 or bf16 is left alone unless `widen`
    says that the sum may be kept in the type of the computation.

    **Before and after.**
    ```mlir
    %y = ffn.linear %x, %w : ...
    %p = ffn.linear %x, %a : ...
    %q = ffn.linear %p, %b : ...
    %z = onnx.node "Add" v14 (%y, %q) : ...
    ```
    ```mlir
    %m = ffn.low_rank %b, %a : ...
    %v = ffn.add %w, %m : ...
    %z = ffn.linear %x, %v : ...
    ```

    **Numerical class.** exact up to re-association and one rounding of each
    weight. Without adapters the module is unchanged.
  }];
  let options = [
    Option<"widen", "widen", "bool", "false", "Merge into f16 and bf16 weights, which are then kept in f32">
  ];
  let dependentDialects = ["::mlir::ffn::FFNDialect", "::mlir::onnx::ONNXDialect"];
}

def FFNPremerge : Pass<"ffn-premerge", "::mlir::ModuleOp"> {
  let summary = "Multiply linears that follow one another where the product is smaller";
  let description = [{
    **What.** `B (A x + a) + b` becomes one linear of `B A`, where the bytes of
    the product are at most `max-ratio` times those of the factors. Few tokens
    read every weight once, so there the fewer bytes are the less time; with
    many tokens one dense product of up to twice the bytes can still be faster
    than two thin ones, which a larger `max-ratio` allows after measuring.

    **Pre-conditions.** `ffn-raise` ran; nothing else reads the value between
    the two. Weights are constant, of one type and not quantized.

    **Post-conditions.** One remark for every pair: merged, or why not.

    **Before and after.**
    ```mlir
    %h = ffn.linear %x, %a : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
    %y = ffn.linear %h, %b : tensor<?x8xf32>, tensor<4x8xf32> -> tensor<?x4xf32>
    ```
    ```mlir
    %w = ffn.low_rank %b, %a : tensor<4x8xf32>, tensor<8x4xf32>
    %y = ffn.linear %x, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
    ```

    **Numerical class.** exact up to re-association and one rounding of each
    weight. With `max-ratio=0` the module is unchanged.
  }];
  let options = [
    Option<"maxRatio", "max-ratio", "double", "1.0", "Bytes of the product at most, as a multiple of those of its factors">
  ];
  let dependentDialects = ["::mlir::ffn::FFNDialect"];
}

def FFNReparamIdle : Pass<"ffn-reparam-idle", "::mlir::ModuleOp"> {
  let summary = "Fold hidden channels without activation into one small linear";
  let description = [{
    **What.** RePaViT (arXiv 2505.21847): of the hidden channels some pass the
    activation, the others do not. The others are linear from end to end:
    `down_I (up_I x + b_I)` becomes one linear of `down_I up_I` beside a network
    of the active channels. The mask is a `Where` of constant channels, or a
    `Split` and a `Concat`. Batch norms of constant statistics before up and
    before down are scales and shifts of the linears; a layer norm stays in
    front of both paths. The residual stays apart: with it the sublayer would
    be no residual sublayer any more, and it costs one addition.

    **Pre-conditions.** `ffn-raise` made the linears. Hidden values are read by
    nothing else. The linear is smaller than what it replaces: more than
    d out / (d + out) channels are idle.

    **Post-conditions.** Every such place leaves a remark: folded, or why not.

    **Before and after.**
    ```mlir
    %z = ffn.linear %x, %up : ...
    %a = onnx.node "Relu" v14 (%z) : ...
    %h = onnx.node "Where" v16 (%mask, %a, %z) : ...
    %y = ffn.linear %h, %down : ...
    ```
    ```mlir
    %f = ffn.feed_forward relu %x up %up_active down %down_active : ...
    %w = ffn.low_rank %down_idle, %up_idle : ...
    %l = ffn.linear %x, %w : ...
    %y = onnx.node "Add" v14 (%f, %l) : ...
    ```

    **Numerical class.** exact up to re-association and one rounding of each
    weight. Needs a model that was trained with idle channels; without any the
    module is unchanged.
  }];
  let dependentDialects = ["::mlir::ffn::FFNDialect", "::mlir::onnx::ONNXDialect"];
}

def FFNInsertSkip : Pass<"ffn-insert-skip", "::mlir::ModuleOp"> {
  let summary = "Leave out networks at run time where those before them have become idle";
  let description = [{
    **What.** FFN-SkipLLM (arXiv 2404.03865). Where a network changes the
    direction of a token's state x by little, cos(x, x + F(x)) > `threshold`,
    the networks of the following layers are left out for this token: those of
    the next `run` layers, then one is looked at again; with `run=0` all to the
    end of the region. Attention always runs, so the KV cache is that of a full
    run. The cosine costs a network that runs, so savings come from those
    behind it. Nothing is kept from token to token.

    The first `first` and the last `last` networks always run, and the
    first `warmup` positions of a text run in full. The published rule counts
    generated tokens; where the prompt ends the model cannot know, and that
    first positions matter (attention sinks) is the reason given for it. A call
    with more than one position (a prompt) runs in full, unless
    `prefill=decide` says that each of its rows decides as it would alone:
    nothing is saved then, but a text that is read at once has the values of
    one that is written token by token, which is how the quality is measured.

    **Pre-conditions.** `ffn-raise`. Apply it last: networks that are left out
    stand in an `ffn.skip`, which searches and profiles do not look into.

    **Calibration.** With `calib` instead of `threshold` the model is run on
    samples. Of thresholds that leave out up to `share` of the networks of the
    region, the one that leaves out most at a Kullback-Leibler divergence from
    the original of at most `max-divergence` (nats a token) is taken. If none
    leaves out 5 %, nothing is inserted, and remarks give what was measured:
    shallow models have no idle networks.

    **Post-conditions.** A remark for every network. With `count` @main has
    another result, `left_out`: how many networks each row left out.

    **Before and after.**
    ```mlir
    %h1 = ffn.sublayer [#ffn.addend<ffn "layers.1.mlp">](%h0) : ... { ... ffn.yield %f }
    %h2 = ffn.sublayer [#ffn.addend<ffn "layers.2.mlp">](%h1) : ... { ... ffn.yield %g }
    ```
    ```mlir
    %h1 = ffn.sublayer [#ffn.addend<ffn "layers.1.mlp">](%h0) : ... { ... ffn.yield %f }
    %c = ffn.row_cosine %h0, %h1 : ...
    %s = onnx.node "Greater" v13 (%c, %threshold) : ...
    %h2 = ffn.sublayer [#ffn.addend<ffn "layers.2.mlp">](%h1) : ... {
    ^bb0(%x: ...):
      %k = ffn.skip %s : ... { ... ffn.skip_yield %g }
      ffn.yield %k
    }
    ```

    **Numerical class.** approximate. With a threshold of 1 or more no network
    is ever left out and the results have the bits of the original; without
    threshold and calibration the module is unchanged.
  }];
  let options = [
    Option<"threshold", "threshold", "double", "0.0", "Cosine above which a network is idle; 0: none is left out, nothing is inserted">,
    Option<"run", "run", "unsigned", "0", "Networks that are left out behind an idle one before one is looked at again; 0: all of the region">,
    Option<"first", "first", "unsigned", "1", "Networks at the beginning that always run and are not looked at">,
    Option<"last", "last", "unsigned", "1", "Networks at the end that always run">,
    Option<"warmup", "warmup", "unsigned", "4", "Positions of a text that run in full">,
    Option<"prefill", "prefill", "std::string", "\"run\"", "Calls with several positions: run (in full) or decide (row by row)">,
    Option<"count", "count", "bool", "false", "Return how many networks each row left out">,
    Option<"share", "share", "double", "1.0", "Calibration: share of the region's networks that may be left out">,
    Option<"maxDivergence", "max-divergence", "double", "0.02", "Calibration: largest divergence from the original, in nats for each token">,
    Option<"calib", "calib", "std::string", [{""}], "Samples: text, token lists (.json), or a folder of them">,
    Option<"tokenizer", "tokenizer", "std::string", [{""}], "Tokenizer in JSON form; without: bytes">,
    Option<"samples", "samples", "unsigned", "10", "Number of samples">,
    Option<"length", "length", "unsigned", "256", "Tokens of a sample">,
    Option<"seed", "seed", "uint64_t", "0", "Of the choice of samples">,
    Option<"threads", "threads", "unsigned", "0", "Of the calibration; 0: one for each CPU that the process may use">,
    Option<"cpu", "cpu", "std::string", [{"native"}], "Instruction set level of the model that is run">
  ];
  let dependentDialects = ["::mlir::ffn::FFNDialect", "::mlir::onnx::ONNXDialect"];
}

def FFNInsertEarlyExit : Pass<"ffn-insert-early-exit", "::mlir::ModuleOp"> {
  let summary = "Leave the stack of layers at run time where the prediction has settled";
  let description = [{
    **What.** Behind layers `from`, `from + step`, ... the head is applied to
    the state as it is (Geva et al., arXiv 2203.14680, observe that predictions
    settle before the last layer). A token whose first class is that of the
    check before, with a lead over the second (difference of probabilities)
    above `threshold`, leaves the stack: its state stays what it is, its
    logits are those of the check. Later checks and the head are left out too.

    Keys and values of the layers that a token does not run are made of the
    state that it left with, as every later token reads them: only queries,
    attention, output projection and networks are left out. So an exit saves
    less than the layers weigh, and a cache never has holes.

    The first `warmup` positions, and calls with more than one unless
    `prefill=decide`, run in full; see `ffn-insert-skip`.

    **Pre-conditions.** `ffn-raise`; the logits are a linear, behind norms and
    casts at most, of the state behind the last sublayer, which nothing else
    reads. Apply it last.

    **Post-conditions.** A remark for every sublayer. With `count` @main has
    another result, `left_out`: how many sublayers each row left out.

    **Before and after.**
    ```mlir
    %h2 = ffn.sublayer [#ffn.addend<ffn "layers.1.mlp">](%h1) : ... { ... ffn.yield %f }
    %n = ffn.norm rms %h2 ...
    %logits = ffn.linear %n, %w : ...
    ```
    ```mlir
    %n0 = ffn.norm rms %h1 ...
    %l0 = ffn.linear %n0, %w : ...
    %lead = ffn.row_margin %l0 : ...
    %exit = onnx.node "Greater" v13 (%lead, %threshold) : ...
    %h2 = ffn.sublayer [#ffn.addend<ffn "layers.1.mlp">](%h1) : ... {
    ^bb0(%x: ...):
      %k = ffn.skip %exit : ... { ... ffn.skip_yield %f }
      ffn.yield %k
    }
    %logits = ffn.skip %exit else %l0 : ... { ... ffn.skip_yield %l }
    ```

    **Numerical class.** approximate. With a threshold of 1 or more no token
    leaves and the results have the bits of the original; with 0 the module is
    unchanged. A check costs a head: measure before use.
  }];
  let options = [
    Option<"threshold", "threshold", "double", "0.0", "Lead in probability above which a token leaves; 0: nothing is inserted">,
    Option<"from", "from", "unsigned", "0", "Layers in front of the first check, which only remembers its class; 0: half of them">,
    Option<"step", "step", "unsigned", "1", "Layers from check to check">,
    Option<"warmup", "warmup", "unsigned", "4", "Positions of a text that run in full">,
    Option<"prefill", "prefill", "std::string", "\"run\"", "Calls with several positions: run (in full) or decide (row by row)">,
    Option<"count", "count", "bool", "false", "Return how many sublayers each row left out">
  ];
  let dependentDialects = ["::mlir::ffn::FFNDialect", "::mlir::onnx::ONNXDialect"];
}

def FFNDedupWeights : Pass<"ffn-dedup-weights", "::mlir::ModuleOp"> {
  let summary = "Make one weight of weights with equal bytes";
  let description = [{
    **What.** Weights of one type whose bytes are equal become one SSA value, so
    that passes see that they are tied and bytes are stored once. Bytes are
    compared by their SHA-256, read in blocks.

    **Pre-conditions.** The files that spans name can be read; weights that
    have no fellow of their type are not read.

    **Post-conditions.** No two weights of one block have equal bytes and type.
    The first one is kept. A remark names each one that went.

    **Before and after.**
    ```mlir
    %a = ffn.weight #ffn.span<"wte" in @model, 0, 64> : tensor<4x4xf32>
    %b = ffn.weight #ffn.span<"lm_head" in @model, 64, 64> : tensor<4x4xf32>
    ```
    ```mlir
    %a = ffn.weight #ffn.span<"wte" in @model, 0, 64> : tensor<4x4xf32>
    ```

    **Numerical class.** exact (bits).
  }];
  let dependentDialects = ["::mlir::ffn::FFNDialect"];
}

#endif // FFN_MLIR_DIALECT_FFN_TRANSFORMS_PASSES_TD
