//===- FFNAdaptive.td - Depth chosen at run time -----------*- tablegen -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_FFN_IR_FFNADAPTIVE_TD
#define FFN_MLIR_DIALECT_FFN_IR_FFNADAPTIVE_TD

include "ffn-mlir/Dialect/FFN/IR/FFN.td"

def FFN_SkipOp : FFN_Op<"skip", [RecursiveMemoryEffects, RecursivelySpeculatable, SingleBlock]> {
  let summary = "A computation that rows may leave out, decided at run time";
  let description = [{
    A row is what the last dimension of the result holds: one token. `skip`
    (i1, the shape of the result without its last dimension) says of each row
    whether it is left out. A row that is not is that of the body; one that is,
    is that of `else`, or without it -0.0 throughout, the number that no
    addition notices: as an addend of an `ffn.sublayer` it leaves the residual
    to the bit.

    The body has no arguments and captures what it reads. It does not run where
    all rows are left out, so one token at a time its weights are not touched.
    Where only some are left out it runs on all rows.

    ```mlir
    %f = ffn.skip %saturated : (tensor<?x?xi1>) -> tensor<?x?x64xf32> {
      %n = ffn.norm rms %x ... : tensor<?x?x64xf32>
      %y = ffn.feed_forward silu %n up %u gate %g down %d : ...
      ffn.skip_yield %y : tensor<?x?x64xf32>
    }
    ```
  }];
  let arguments = (ins RankedTensorOf<[I1]>:$skip, Optional<AnyRankedTensor>:$otherwise);
  let results = (outs AnyRankedTensor:$result);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $skip (`else` $otherwise^)? attr-dict `:` functional-type(operands, results) $body
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// What the body gives.
    ::mlir::Value getYielded() { return getBody().front().getTerminator()->getOperand(0); }
  }];
}

def FFN_SkipYieldOp : FFN_Op<"skip_yield", [Pure, Terminator, ReturnLike, HasParent<"SkipOp">]> {
  let summary = "The rows of an ffn.skip that are not left out";
  let arguments = (ins AnyRankedTensor:$value);
  let assemblyFormat = "$value attr-dict `:` type($value)";
}

def FFN_RowCosineOp : FFN_ComputeOp<"row_cosine"> {
  let summary = "Cosine of the angle between the rows of two tensors";
  let description = [{
    `sum(a b) / (sqrt(sum(a a)) sqrt(sum(b b)))` over the last dimension, in f32
    or wider; sums of more than 256 elements are in f64. Not a number where a
    row is zero. The similarity by which FFN-SkipLLM (arXiv 2404.03865) tells
    that a network has become idle: that of the states before and behind it.

    ```mlir
    %c = ffn.row_cosine %x, %y : (tensor<?x?x64xf32>, tensor<?x?x64xf32>) -> tensor<?x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$lhs, AnyRankedTensor:$rhs);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def FFN_RowMarginOp : FFN_ComputeOp<"row_margin"> {
  let summary = "How much more probable the first class is than the second";
  let description = [{
    Over the last dimension, the largest less the second largest element of the
    softmax: from 0 (two classes share the lead) to 1. Of one class it is 1.

    ```mlir
    %m = ffn.row_margin %logits : tensor<?x?x512xf32> -> tensor<?x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

#endif // FFN_MLIR_DIALECT_FFN_IR_FFNADAPTIVE_TD
