//===- FFN.td - The ffn dialect ----------------------------*- tablegen -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_FFN_IR_FFN_TD
#define FFN_MLIR_DIALECT_FFN_IR_FFN_TD

include "ffn-mlir/Dialect/FFN/IR/FFNInterfaces.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def FFN_Dialect : Dialect {
  let name = "ffn";
  let cppNamespace = "::mlir::ffn";
  let summary = "Structure of transformer models around their feed-forward networks";
  let description = [{
    Residual sublayers are regions, weights are expressions, and the compute
    operations name what compression passes reason about. All FFN weights are
    stored `[out, in]`.

    Discardable attributes on function arguments and results: `ffn.dims`, an
    array with an integer or a dim expression for each dimension.
  }];
  let hasConstantMaterializer = 1;
  let useDefaultAttributePrinterParser = 1;
  let extraClassDeclaration = [{
    /// Storage of the bytes that spans name; owned by the context.
    ::mlir::ffn::WeightStore &getWeightStore() { return *weightStore; }
    /// For a second context over the same files: a module that moves from one
    /// context to another (as bytecode) keeps its bytes.
    ::std::shared_ptr<::mlir::ffn::WeightStore> shareWeightStore() { return weightStore; }
    void setWeightStore(::std::shared_ptr<::mlir::ffn::WeightStore> store) {
      weightStore = ::std::move(store);
    }

  private:
    ::std::shared_ptr<::mlir::ffn::WeightStore> weightStore;

  public:
  }];
}

//===----------------------------------------------------------------------===//
// Enums and attributes
//===----------------------------------------------------------------------===//

class FFN_Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::mlir::ffn";
  let genSpecializedAttr = 0;
}

def FFN_Activation : FFN_Enum<"Activation", "activation function", [
  I32EnumAttrCase<"Identity", 0, "identity">,
  I32EnumAttrCase<"Relu", 1, "relu">,
  I32EnumAttrCase<"GeluErf", 2, "gelu_erf">,
  I32EnumAttrCase<"GeluTanh", 3, "gelu_tanh">,
  I32EnumAttrCase<"GeluSigmoid", 4, "gelu_sigmoid">,
  I32EnumAttrCase<"Silu", 5, "silu">,
  I32EnumAttrCase<"Sigmoid", 6, "sigmoid">,
  I32EnumAttrCase<"Tanh", 7, "tanh">,
  I32EnumAttrCase<"SquaredRelu", 8, "squared_relu">]>;
def FFN_ActivationAttr : EnumAttr<FFN_Dialect, FFN_Activation, "activation">;

def FFN_NormKind : FFN_Enum<"NormKind", "kind of normalisation", [
  I32EnumAttrCase<"Layer", 0, "layer">,
  I32EnumAttrCase<"Rms", 1, "rms">]>;
def FFN_NormKindAttr : EnumAttr<FFN_Dialect, FFN_NormKind, "norm_kind">;

def FFN_SublayerKind : FFN_Enum<"SublayerKind", "kind of a residual addend", [
  I32EnumAttrCase<"Attention", 0, "attention">,
  I32EnumAttrCase<"Ffn", 1, "ffn">,
  I32EnumAttrCase<"Moe", 2, "moe">,
  I32EnumAttrCase<"Other", 3, "other">]>;
def FFN_SublayerKindAttr : EnumAttr<FFN_Dialect, FFN_SublayerKind, "sublayer_kind">;

def FFN_SpanAttr : AttrDef<FFN_Dialect, "Span", [TypedAttrInterface]> {
  let mnemonic = "span";
  let summary = "A byte range of a file that holds a tensor";
  let description = [{
    Deliberately not an `ElementsAttr`: no folder can touch its bytes. `key` is
    the name the tensor has in the model; `file` is the symbol of an `ffn.file`
    (or `@derived`); elements are little-endian, row-major, sub-byte types
    packed low bits first. `size` is in bytes.

    ```mlir
    #ffn.span<"layers.0.mlp.up.weight" in @model, 4096, 9437184>
    ```
  }];
  let parameters = (ins "::mlir::FlatSymbolRefAttr":$file, "uint64_t":$offset, "uint64_t":$size,
                        "::mlir::StringAttr":$key, AttributeSelfTypeParameter<"">:$type);
  let assemblyFormat = "`<` $key `in` $file `,` $offset `,` $size `>`";
}

def FFN_AddendAttr : AttrDef<FFN_Dialect, "Addend"> {
  let mnemonic = "addend";
  let summary = "Kind and name of one residual addend of a sublayer";
  let parameters = (ins "::mlir::ffn::SublayerKind":$kind, "::mlir::StringAttr":$name);
  let assemblyFormat = "`<` $kind $name `>`";
}

def FFN_StatePairAttr : AttrDef<FFN_Dialect, "StatePair"> {
  let mnemonic = "state";
  let summary = "A past argument of the function and the extra result that replaces it";
  let parameters = (ins "unsigned":$argument, "unsigned":$extra);
  let assemblyFormat = "`<` $argument `->` $extra `>`";
}

//===----------------------------------------------------------------------===//
// Files and weights
//===----------------------------------------------------------------------===//

class FFN_Op<string name, list<Trait> traits = []> : Op<FFN_Dialect, name, traits>;
class FFN_WeightExpr<string name, list<Trait> traits = []>
    : FFN_Op<name, !listconcat([Pure, DeclareOpInterfaceMethods<FFN_WeightExprInterface>], traits)>;

def FFN_FileOp : FFN_Op<"file", [Symbol]> {
  let summary = "A file that spans refer to";
  let description = [{
    `path` is relative to the folder of the module's own file, or to
    `--weights-dir`. `size` is the size in bytes when the module was written.

    ```mlir
    ffn.file @model "model.onnx" {size = 15102976 : i64}
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$path, OptionalAttr<I64Attr>:$size,
                       OptionalAttr<StrAttr>:$id);
  let assemblyFormat = "$sym_name $path attr-dict";
}

def FFN_WeightOp : FFN_Op<"weight", [Pure, ConstantLike, AllTypesMatch<["value", "result"]>,
                                     DeclareOpInterfaceMethods<FFN_WeightExprInterface>]> {
  let summary = "A constant tensor: a span of a file, or small inline elements";
  let description = [{
    Everything that matters about a weight is in `value`: canonicalization
    re-creates constants and drops all else.

    ```mlir
    %w = ffn.weight #ffn.span<"up.weight" in @model, 4096, 9437184> : tensor<3072x768xf32>
    %s = ffn.weight dense<1.0> : tensor<768xf32>
    ```
  }];
  let arguments = (ins TypedAttrInterface:$value);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "attr-dict $value";
  let hasFolder = 1;
  let hasVerifier = 1;
}

def FFN_GatherRowsOp : FFN_WeightExpr<"gather_rows", [InferTypeOpAdaptor]> {
  let summary = "Rows of a weight in the order of an index vector (permute, prune, carve)";
  let arguments = (ins AnyStaticShapeTensor:$source, RankedTensorOf<[I32]>:$indices);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$source `[` $indices `]` attr-dict `:` type($source) `,` type($indices)";
  let hasFolder = 1;
  let hasCanonicalizer = 1;
}

def FFN_ConcatRowsOp : FFN_WeightExpr<"concat_rows", [InferTypeOpAdaptor]> {
  let summary = "Weights stacked along the first dimension";
  let arguments = (ins Variadic<AnyStaticShapeTensor>:$sources);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$sources attr-dict `:` type($sources)";
  let hasFolder = 1;
}

def FFN_TransposeOp : FFN_WeightExpr<"transpose", [InferTypeOpAdaptor]> {
  let summary = "A matrix with its two dimensions exchanged";
  let arguments = (ins AnyStaticShapeTensor:$source);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$source attr-dict `:` type($source)";
  let hasFolder = 1;
}

def FFN_ReshapeOp : FFN_WeightExpr<"reshape"> {
  let summary = "The same elements in row-major order under another static shape";
  let arguments = (ins AnyStaticShapeTensor:$source);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$source attr-dict `:` type($source) `to` type($result)";
  let hasFolder = 1;
  let hasVerifier = 1;
}

def FFN_CastOp : FFN_WeightExpr<"cast"> {
  let summary = "A weight converted to another element type, round to nearest even";
  let arguments = (ins AnyStaticShapeTensor:$source);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$source attr-dict `:` type($source) `to` type($result)";
  let hasFolder = 1;
  let hasVerifier = 1;
}

def FFN_ScaleRowsOp : FFN_WeightExpr<"scale_rows", [AllTypesMatch<["source", "result"]>]> {
  let summary = "diag(v) W: row i multiplied by v[i]";
  let arguments = (ins AnyStaticShapeTensor:$source, AnyStaticShapeTensor:$scale);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$source `,` $scale attr-dict `:` type($source) `,` type($scale)";
  let hasVerifier = 1;
}

def FFN_ScaleColsOp : FFN_WeightExpr<"scale_cols", [AllTypesMatch<["source", "result"]>]> {
  let summary = "W diag(v): column j multiplied by v[j]";
  let arguments = (ins AnyStaticShapeTensor:$source, AnyStaticShapeTensor:$scale);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$source `,` $scale attr-dict `:` type($source) `,` type($scale)";
  let hasVerifier = 1;
}

def FFN_MatVecOp : FFN_WeightExpr<"matvec", [InferTypeOpAdaptor]> {
  let summary = "W v, optionally plus a bias: how a folded norm shift reaches the bias of the next linear";
  let arguments = (ins AnyStaticShapeTensor:$matrix, AnyStaticShapeTensor:$vector,
                       Optional<AnyStaticShapeTensor>:$bias);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$matrix `,` $vector (`plus` $bias^)? attr-dict `:` type($matrix) `,` type($vector) (`,` type($bias)^)?";
}

def FFN_AddOp : FFN_WeightExpr<"add", [SameOperandsAndResultType]> {
  let summary = "Sum of two weights of one type (merged biases, merged low-rank adapters)";
  let arguments = (ins AnyStaticShapeTensor:$lhs, AnyStaticShapeTensor:$rhs);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($result)";
}

def FFN_LowRankOp : FFN_WeightExpr<"low_rank", [InferTypeOpAdaptor]> {
  let summary = "B A, not multiplied out";
  let arguments = (ins AnyStaticShapeTensor:$b, AnyStaticShapeTensor:$a);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$b `,` $a attr-dict `:` type($b) `,` type($a)";
}

def FFN_DequantizeOp : FFN_WeightExpr<"dequantize", [InferTypeOpAdaptor]> {
  let summary = "Integer codes times scales of their groups";
  let description = [{
    Element (n, k) is `codes[n, k] * scales[n, k / group]`, rounded once to the
    type of the scales. Codes are signed integers of `bits` bits, one in a byte;
    a code beyond them is an error where the bytes are read. `group` elements of
    a row share a scale; the last group may be shorter.

    ```mlir
    %w = ffn.dequantize %c, %s bits 4 group 128 : tensor<3072x768xi8>, tensor<3072x6xf32>
    ```
  }];
  let arguments = (ins AnyStaticShapeTensor:$codes, AnyStaticShapeTensor:$scales, I64Attr:$bits, I64Attr:$group);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$codes `,` $scales `bits` $bits `group` $group attr-dict `:` type($codes) `,` type($scales)";
}

//===----------------------------------------------------------------------===//
// Structure
//===----------------------------------------------------------------------===//

def FFN_SublayerOp : FFN_Op<"sublayer", [RecursiveMemoryEffects, SingleBlock,
    RecursivelySpeculatable, DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmBlockArgumentNames"]>]> {
  let summary = "A residual sublayer: hidden = residual + addend 0 + addend 1 ...";
  let description = [{
    The body gets the residual as its one block argument and yields one or more
    addends, added to the residual from left to right (the order is part of the
    meaning: f32 addition is not associative), then extra results such as the
    KV cache. The body captures weights, masks and positions. Post-norm is an
    `ffn.norm` of the result.

    `addends` gives each addend its kind and its stable name; `state` lists
    pairs of a function argument (past) and an extra result (present).

    ```mlir
    %h1 = ffn.sublayer [#ffn.addend<ffn "layers.0.mlp">] (%h0) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%x: tensor<?x?x64xf32>):
      ...
      ffn.yield %f : tensor<?x?x64xf32>
    }
    ```
  }];
  let arguments = (ins AnyTensor:$residual, TypedArrayAttrBase<FFN_AddendAttr, "addends">:$addends,
                       OptionalAttr<TypedArrayAttrBase<FFN_StatePairAttr, "state pairs">>:$state);
  let results = (outs AnyTensor:$hidden, Variadic<AnyType>:$extras);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $addends (`state` $state^)? `(` $residual `)` attr-dict `:` functional-type(operands, results) $body
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    unsigned getNumAddends() { return getAddends().size(); }
    ::mlir::ffn::AddendAttr getAddend(unsigned i) {
      return ::llvm::cast<::mlir::ffn::AddendAttr>(getAddends()[i]);
    }
    ::mlir::BlockArgument getBodyArgument() { return getBody().getArgument(0); }
    /// Operands of the yield that are addends, then those that are extras.
    ::mlir::OperandRange getYieldedAddends();
    ::mlir::OperandRange getYieldedExtras();
  }];
}

def FFN_YieldOp : FFN_Op<"yield", [Pure, Terminator, ReturnLike, ParentOneOf<["SublayerOp"]>]> {
  let summary = "Addends, then extra results, of a sublayer";
  let arguments = (ins Variadic<AnyType>:$operands);
  let assemblyFormat = "attr-dict ($operands^ `:` type($operands))?";
  let builders = [OpBuilder<(ins), [{ }]>];
}

//===----------------------------------------------------------------------===//
// Compute
//===----------------------------------------------------------------------===//

class FFN_ComputeOp<string name, list<Trait> traits = []>
    : FFN_Op<name, !listconcat([Pure, DeclareOpInterfaceMethods<FFN_ComputeOpInterface>], traits)>;

def FFN_NormOp : FFN_ComputeOp<"norm", [AllTypesMatch<["input", "result"]>, AttrSizedOperandSegments]> {
  let summary = "Layer or RMS normalisation over the last dimension";
  let description = [{
    layer: `(x - mean) / sqrt(var + eps) * scale + bias`, biased variance;
    rms: `x / sqrt(mean(x^2) + eps) * scale`. Statistics are in f32 or wider.
    `scale` and `bias` are vectors of the last dimension; absent means 1 and 0.
    With `outer_eps`, eps is added to the root instead: `x / (sqrt(mean) + eps)`.
  }];
  let arguments = (ins AnyTensor:$input, Optional<AnyStaticShapeTensor>:$scale,
                       Optional<AnyStaticShapeTensor>:$bias, FFN_NormKindAttr:$kind, F64Attr:$eps,
                       UnitAttr:$outer_eps);
  let results = (outs AnyTensor:$result);
  let assemblyFormat = [{
    $kind $input (`scale` $scale^ `:` type($scale))? (`bias` $bias^ `:` type($bias))? `eps` $eps
    (`outer` $outer_eps^)? attr-dict `:` type($input)
  }];
  let hasVerifier = 1;
}

def FFN_LinearOp : FFN_ComputeOp<"linear"> {
  let summary = "x W^T + b with W of shape [out, in]";
  let arguments = (ins AnyTensor:$input, AnyStaticShapeTensor:$weight, Optional<AnyStaticShapeTensor>:$bias);
  let results = (outs AnyTensor:$result);
  let assemblyFormat = [{
    $input `,` $weight (`bias` $bias^ `:` type($bias))? attr-dict `:` type($input) `,` type($weight) `->` type($result)
  }];
  let hasVerifier = 1;
}

def FFN_FeedForwardOp : FFN_ComputeOp<"feed_forward", [AttrSizedOperandSegments]> {
  let summary = "A feed-forward network, plain or gated";
  let description = [{
    plain: `down(a(up(x)))`; gated: `down(a(gate(x)) * up(x))`, where each
    linear is `x W^T + b`. `up` and `gate` are `[m, d]`, `down` is `[out, m]`.
    Neuron j is row j of up and gate, entry j of their biases, column j of down.
  }];
  let arguments = (ins AnyTensor:$input, AnyStaticShapeTensor:$up, Optional<AnyStaticShapeTensor>:$gate,
                       AnyStaticShapeTensor:$down, Optional<AnyStaticShapeTensor>:$up_bias,
                       Optional<AnyStaticShapeTensor>:$gate_bias, Optional<AnyStaticShapeTensor>:$down_bias,
                       FFN_ActivationAttr:$activation);
  let results = (outs AnyTensor:$result);
  let assemblyFormat = [{
    $activation $input `up` $up (`gate` $gate^)? `down` $down (`up_bias` $up_bias^)? (`gate_bias` $gate_bias^)?
    (`down_bias` $down_bias^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    bool isGated() { return static_cast<bool>(getGate()); }
    /// Width of the hidden layer, m.
    int64_t getHiddenWidth();
    /// Width of the input, d.
    int64_t getInputWidth();
  }];
}

def FFN_HiddenOp : FFN_ComputeOp<"hidden", [AttrSizedOperandSegments]> {
  let summary = "The hidden layer of a feed-forward network";
  let description = [{
    plain: `a(up(x))`; gated: `a(gate(x)) * up(x)`, operands as those of
    `ffn.feed_forward`. An `ffn.linear` of it by `down` is the whole network, to
    the bit, so that a program that shows the hidden vector computes what the
    network computes.

    ```mlir
    %h = ffn.hidden silu %n up %u gate %g : (tensor<?x?x64xf32>, tensor<172x64xf32>, tensor<172x64xf32>) -> tensor<?x?x172xf32>
    ```
  }];
  let arguments = (ins AnyTensor:$input, AnyStaticShapeTensor:$up, Optional<AnyStaticShapeTensor>:$gate,
                       Optional<AnyStaticShapeTensor>:$up_bias, Optional<AnyStaticShapeTensor>:$gate_bias,
                       FFN_ActivationAttr:$activation);
  let results = (outs AnyTensor:$result);
  let assemblyFormat = [{
    $activation $input `up` $up (`gate` $gate^)? (`up_bias` $up_bias^)? (`gate_bias` $gate_bias^)?
    attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    bool isGated() { return static_cast<bool>(getGate()); }
    /// Width of the hidden layer, m.
    int64_t getHiddenWidth();
    /// Width of the input, d.
    int64_t getInputWidth();
  }];
}

def FFN_AttentionOp : FFN_ComputeOp<"attention"> {
  let summary = "Scaled dot-product attention over projected heads";
  let description = [{
    `query` is `[B, H, S, D]`, `key` `[B, G, T, D]`, `value` `[B, G, T, E]` with G dividing H: query head h
    reads key head `h / (H / G)` (multi-head G = H, multi-query G = 1). The
    result is `[B, H, S, E]`: softmax(scale * q k^T + mask) v. `mask` broadcasts to
    `[B, H, S, T]`; i1 keeps where true, floating is added. With `causal`,
    position s sees keys up to `s + T - S`. A row that sees nothing is zero. Positions (RoPE) and
    the concatenation with the KV cache happen before this op.
  }];
  let arguments = (ins AnyTensor:$query, AnyTensor:$key, AnyTensor:$value, Optional<AnyTensor>:$mask,
                       F64Attr:$scale, UnitAttr:$causal);
  let results = (outs AnyTensor:$result);
  let assemblyFormat = [{
    $query `,` $key `,` $value (`mask` $mask^ `:` type($mask))? `scale` $scale (`causal` $causal^)? attr-dict
    `:` type($query) `,` type($key) `,` type($value) `->` type($result)
  }];
  let hasVerifier = 1;
}

def FFN_EmbeddingOp : FFN_ComputeOp<"embedding"> {
  let summary = "Rows of a table by index; negative indices count from the end";
  let arguments = (ins AnyTensor:$ids, AnyStaticShapeTensor:$table);
  let results = (outs AnyTensor:$result);
  let assemblyFormat = "$ids `,` $table attr-dict `:` type($ids) `,` type($table) `->` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Probes
//===----------------------------------------------------------------------===//

def FFN_ObserveOp : FFN_Op<"observe", [MemoryEffects<[MemWrite]>]> {
  let summary = "A probe: the value is one that a profile measures";
  let description = [{
    `site` names what is measured: the sublayer, a slash, and the place in it.
    `ffnc profile` turns probes into results of the program that it compiles;
    any other compiler, the interpreter and `ffn-decompose` pass them by.

    ```mlir
    ffn.observe "model.layers.0.mlp/ffn.hidden" %h : tensor<?x?x172xf32>
    ```
  }];
  let arguments = (ins StrAttr:$site, AnyTensor:$value);
  let assemblyFormat = "$site $value attr-dict `:` type($value)";
}

#endif // FFN_MLIR_DIALECT_FFN_IR_FFN_TD
