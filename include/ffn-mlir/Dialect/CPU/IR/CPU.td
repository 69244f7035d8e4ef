//===- CPU.td - The ffn_cpu dialect ------------------------*- tablegen -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_CPU_IR_CPU_TD
#define FFN_MLIR_DIALECT_CPU_IR_CPU_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/DestinationStyleOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def CPU_Dialect : Dialect {
  let name = "ffn_cpu";
  let cppNamespace = "::mlir::ffn::cpu";
  let summary = "Hot kernels and packed weights of the CPU target";
  let description = [{
    Internal to the CPU pipeline, between the ffn dialect and LLVM. A
    `kernel_call` says which kernel (its attribute is the key by which kernels
    are shared) and lives through bufferization; then `ffn-cpu-emit-kernels`
    turns each distinct key into one function and each call into a `launch`,
    which becomes a call of the runtime's `ffn_parallel_for`.
  }];
  let useDefaultAttributePrinterParser = 1;
}

//===----------------------------------------------------------------------===//
// Enums and attributes
//===----------------------------------------------------------------------===//

// In ascending order of speed; VNNI is the instruction that adds four products
// of bytes.
def CPU_Level : I32EnumAttr<"Level", "instruction set that a kernel is emitted for", [
  I32EnumAttrCase<"Avx2", 0, "avx2">,
  I32EnumAttrCase<"Avx2Vnni", 1, "avx2_vnni">,
  I32EnumAttrCase<"Avx512", 2, "avx512">,
  I32EnumAttrCase<"Avx512Vnni", 3, "avx512_vnni">]> {
  let cppNamespace = "::mlir::ffn::cpu";
  let genSpecializedAttr = 0;
}

def CPU_MaskKind : I32EnumAttr<"MaskKind", "how an attention mask is given", [
  I32EnumAttrCase<"None", 0, "none">,
  I32EnumAttrCase<"Additive", 1, "additive">,
  I32EnumAttrCase<"Boolean", 2, "boolean">]> {
  let cppNamespace = "::mlir::ffn::cpu";
  let genSpecializedAttr = 0;
}

class CPU_Attr<string name, string attrMnemonic> : AttrDef<CPU_Dialect, name> {
  let mnemonic = attrMnemonic;
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

def CPU_PanelsAttr : CPU_Attr<"Panels", "panels"> {
  let summary = "Packed layout of the weight of a matrix product";
  let description = [{
    `n` output columns in panels of `width` columns (`vectors` registers of
    `lanes`); each panel is its bias row in f32, then `k` rows of `width`
    elements of type `element`, and its size is rounded up to 64 bytes. A gated
    panel holds as many registers of gate as of up columns, gate first. What
    lies beyond `n` is zero.

    Elements of type i8 and i4 are codes: in front of every `group` rows stands
    a row of f32 scales. Two rows of i4 share a row of bytes, the first one in
    the low halves.

    With `quads`, codes are laid out for sums of four products of bytes: four
    rows of a column stand side by side, so that a row of bytes is `width` words
    of four. For i4 such a row holds eight rows of codes, the first four in the
    low halves. Codes are stored unsigned, plus half of their range; a group
    ends with a whole row of bytes.
  }];
  let parameters = (ins "int64_t":$n, "int64_t":$k, "int64_t":$lanes, "int64_t":$vectors, "Type":$element,
                        DefaultValuedParameter<"bool", "false">:$gated,
                        DefaultValuedParameter<"int64_t", "0">:$group,
                        DefaultValuedParameter<"bool", "false">:$quads);
  let extraClassDeclaration = [{
    /// Stored columns of a panel, gate and up together.
    int64_t getWidth() const { return getLanes() * getVectors(); }
    /// Output columns of a panel.
    int64_t getColumns() const { return getGated() ? getWidth() / 2 : getWidth(); }
    int64_t getNumPanels() const { return (getN() + getColumns() - 1) / getColumns(); }
    int64_t getElementBits() const { return getElement().getIntOrFloatBitWidth(); }
    bool isQuantized() const { return getGroup() > 0; }
    /// Rows of scales of a panel.
    int64_t getNumGroups() const { return isQuantized() ? (getK() + getGroup() - 1) / getGroup() : 0; }
    /// Bytes of a row of scales.
    int64_t getScaleBytes() const { return isQuantized() ? getWidth() * 4 : 0; }
    /// Rows of codes that cannot be told apart by bytes.
    int64_t getRowStep() const { return getQuads() ? 32 / getElementBits() : 1; }
    /// Bytes of `rows` rows of weights, without scales.
    int64_t getRowBytes(int64_t rows) const {
      return (rows + getRowStep() - 1) / getRowStep() * getRowStep() * getWidth() * getElementBits() / 8;
    }
    /// Bytes of a whole group, its scales included.
    int64_t getGroupBytes() const { return getScaleBytes() + getRowBytes(getGroup()); }
    /// What is added to codes to store them.
    int64_t getZeroPoint() const { return getQuads() ? int64_t(1) << (getElementBits() - 1) : 0; }
    /// Bytes of the bias row, where the first row of weights starts.
    int64_t getBiasBytes() const { return getWidth() * 4; }
    int64_t getPanelBytes() const {
      return (getBiasBytes() + getNumGroups() * getScaleBytes() + getRowBytes(getK()) + 63) / 64 * 64;
    }
    int64_t getTotalBytes() const { return getNumPanels() * getPanelBytes(); }
  }];
}

def CPU_GemmAttr : CPU_Attr<"Gemm", "gemm"> {
  let summary = "y = act(x W^T + b) (+ residual), or act(x G^T + bg) * (x U^T + bu) if gated";
  let description = [{
    Operands: ins(x `[m, k]` f32, weight packed bytes, residual `[m, n]` if any),
    outs(y `[m, n]`). m is dynamic. `row_stride` is the static distance of rows
    of x in elements. Each element is one chain of fused multiply-adds over
    ascending k that starts at the bias, whatever m, the threads and the tile.
    Codes in groups are multiplied by their scale, in f32, before they enter the
    chain, so that the result has the bits of the same product of dequantized
    weights. Where one scale serves the row, the chain is over the codes and
    starts at 0; one more fused multiply-add brings scale and bias.

    With `int8_rows`, x is `[m, words]` i32 that the `quantize` kernel made for
    the same group. Products of codes are summed exactly in i32 over a group;
    one chain of fused multiply-adds over ascending groups brings their scales,
    and a last one the scale of the row and the bias.
  }];
  let parameters = (ins "::mlir::ffn::cpu::Level":$level, "int64_t":$n, "int64_t":$k, "int64_t":$row_stride,
                        "Type":$element,
                        DefaultValuedParameter<"::mlir::ffn::Activation", "::mlir::ffn::Activation::Identity">:$activation,
                        DefaultValuedParameter<"bool", "false">:$gated,
                        DefaultValuedParameter<"bool", "false">:$residual,
                        DefaultValuedParameter<"int64_t", "0">:$group,
                        DefaultValuedParameter<"bool", "false">:$int8_rows);
  let extraClassDeclaration = [{
    /// Longest row of which a sum of products of codes fits i32.
    static constexpr int64_t kMaxInt8Depth = 1 << 16;
    /// Whether the kernel serves codes of such groups of a row of `k`: the
    /// whole row, or a power of two from 16 to 1024. Rows of i4 come in pairs.
    static bool canServeGroup(int64_t k, int64_t bits, int64_t group);
    /// The layout that the kernel expects of its weight.
    ::mlir::ffn::cpu::PanelsAttr getPanels() const;
    /// The kernel that makes x, if `int8_rows`.
    ::mlir::ffn::cpu::QuantizeAttr getQuantize() const;
  }];
}

def CPU_RouteAttr : CPU_Attr<"Route", "route"> {
  let summary = "Which rows go through which experts, of the scores of an ffn.moe";
  let description = [{
    There are `always + experts` groups of neurons, of which a row passes the
    first `always` and those of `top_k` experts: `active` together, in ascending
    order its entries. Entry i of row t has the number `t * active + i`.

    Operands: ins(scores `[m, experts]` f32, selection bias `[experts]` f32 if
    any), outs(chosen `[m, top_k]` i32, the experts of a row in ascending order;
    order `[m, active]` i32, read as one list: the entries of the first group by
    ascending number, then those of the second, and so on; starts
    `[m + 1, groups]` i32; weights `[m, active]` f32 if `weighted` or `scaled`).
    `starts[b, g]` is the place in the list of the first entry of group g in
    block b of `kRowBlock` rows; one more row ends the last block.

    Gating and weights are those of `ffn.moe`; `magnitude` takes that of the
    scores first.
  }];
  let parameters = (ins "::mlir::ffn::cpu::Level":$level, "int64_t":$experts, "int64_t":$always, "int64_t":$top_k,
                        DefaultValuedParameter<"::mlir::ffn::Gating", "::mlir::ffn::Gating::Identity">:$gating,
                        DefaultValuedParameter<"bool", "false">:$magnitude,
                        DefaultValuedParameter<"bool", "false">:$selection,
                        DefaultValuedParameter<"bool", "false">:$weighted,
                        DefaultValuedParameter<"bool", "false">:$normalize,
                        DefaultValuedParameter<"::mlir::FloatAttr", "::mlir::FloatAttr()">:$scale);
  let extraClassDeclaration = [{
    /// Rows that the product of all groups with down takes at a time.
    static constexpr int64_t kRowBlock = 256;
    int64_t getGroups() const { return getAlways() + getExperts(); }
    int64_t getActive() const { return getAlways() + getTopK(); }
    /// Whether there are weights.
    bool getScaled() const { return getWeighted() || getScale(); }
  }];
}

def CPU_GroupedAttr : CPU_Attr<"Grouped", "grouped"> {
  let summary = "A product of rows with those groups of the neurons of a network that each row passes";
  let description = [{
    `product` is the product with all neurons; the groups are equal parts of its
    columns, or with `by_depth` of its depth. Order, starts and weights are what
    the `route` kernel gives.

    By columns: ins(x `[m, k]`, packed weight, order, starts, weights if
    `weighted`), outs(y `[m, active * n / groups]`: entry i of a row from column
    `i * n / groups` on). `n / groups` is a multiple of the columns of a panel.
    With `weighted` an entry is multiplied by its weight, last.

    By depth: ins(x `[m, active * k / groups]`, packed weight, order, starts,
    residual if any), outs(y `[m, n]`). Each element is one chain of fused
    multiply-adds over the entries of the row in ascending order.

    What no row passes is not read.
  }];
  let parameters = (ins "::mlir::ffn::cpu::GemmAttr":$product, "int64_t":$groups, "int64_t":$active,
                        DefaultValuedParameter<"bool", "false">:$by_depth,
                        DefaultValuedParameter<"bool", "false">:$weighted);
  let extraClassDeclaration = [{
    ::mlir::ffn::cpu::Level getLevel() const { return getProduct().getLevel(); }
    /// Neurons of a group.
    int64_t getWidth() const {
      return (getByDepth() ? getProduct().getK() : getProduct().getN()) / getGroups();
    }
  }];
}

def CPU_QuantizeAttr : CPU_Attr<"Quantize", "quantize"> {
  let summary = "Rows rounded to codes of 8 bits, for integer products";
  let description = [{
    Operands: ins(x `[m, width]` f32), outs(q `[m, words]` i32). A row becomes
    codes `c` from -127 to 127 with `x` about `scale * c`, where `scale` is the
    largest magnitude of the row over 127, by round to nearest even. The row of
    q is: the codes, four in a word, zeros up to a multiple of 16; the scale as
    f32; the sum of the codes of each `group` elements; unused words up to a
    multiple of 16. A row with a value that is not finite has a scale that is
    not finite.
  }];
  let parameters = (ins "::mlir::ffn::cpu::Level":$level, "int64_t":$width, "int64_t":$group);
  let extraClassDeclaration = [{
    int64_t getNumGroups() const { return (getWidth() + getGroup() - 1) / getGroup(); }
    /// Word of the scale, behind the codes.
    int64_t getScaleWord() const { return (getWidth() + 15) / 16 * 4; }
    /// Word of the sum of the first group.
    int64_t getSumWord() const { return getScaleWord() + 1; }
    int64_t getWords() const { return (getSumWord() + getNumGroups() + 15) / 16 * 16; }
  }];
}

def CPU_NormAttr : CPU_Attr<"Norm", "norm"> {
  let summary = "ffn.norm over rows of a static width";
  let description = [{
    Operands: ins(x `[m, width]` f32, scale `[width]` if any, bias `[width]` if any), outs(y `[m, width]`).
    Sums run in 16 partial sums in a fixed order on every level.
  }];
  let parameters = (ins "::mlir::ffn::cpu::Level":$level, "::mlir::ffn::NormKind":$kind, "int64_t":$width,
                        "::mlir::FloatAttr":$eps,
                        DefaultValuedParameter<"bool", "false">:$outer_eps,
                        DefaultValuedParameter<"bool", "false">:$scale,
                        DefaultValuedParameter<"bool", "false">:$bias);
}

def CPU_SoftmaxAttr : CPU_Attr<"Softmax", "softmax"> {
  let summary = "Softmax of each row; rows and width are dynamic";
  let description = [{ Operands: ins(x `[m, w]` f32), outs(y `[m, w]`). }];
  let parameters = (ins "::mlir::ffn::cpu::Level":$level);
}

def CPU_AttentionAttr : CPU_Attr<"Attention", "attention"> {
  let summary = "ffn.attention in f32, softmax computed online over blocks of keys";
  let description = [{
    Operands: ins(query, key, value, mask if any), outs(result), all of rank 4 with unit inner stride
    (except the mask, of which any dimension may be 1). `[B, H, S, D]`, or `[B, S, H, D]` for an operand
    whose `*_seq_first` is set. Query head h reads key head h / group.
  }];
  let parameters = (ins "::mlir::ffn::cpu::Level":$level, "int64_t":$head_size, "int64_t":$value_size,
                        "int64_t":$group, "::mlir::FloatAttr":$scale,
                        DefaultValuedParameter<"bool", "false">:$causal,
                        DefaultValuedParameter<"::mlir::ffn::cpu::MaskKind", "::mlir::ffn::cpu::MaskKind::None">:$mask,
                        DefaultValuedParameter<"bool", "false">:$query_seq_first,
                        DefaultValuedParameter<"bool", "false">:$key_seq_first,
                        DefaultValuedParameter<"bool", "false">:$value_seq_first,
                        DefaultValuedParameter<"bool", "false">:$result_seq_first);
}

def CPU_AppendAttr : CPU_Attr<"Append", "append"> {
  let summary = "y = x along `axis`, then the rows of `added`: a cache that grows";
  let description = [{
    Operands: ins(x, added), outs(y), f32 of rank `rank`, all sizes dynamic. If x
    and y begin at the same address they have the same strides, and x is not
    copied: only the added part is written. With `swapped`, dimensions 1 and 2
    of `added` are exchanged. The runtime counts the bytes that were written.
  }];
  let parameters = (ins "::mlir::ffn::cpu::Level":$level, "int64_t":$rank, "int64_t":$axis,
                        DefaultValuedParameter<"bool", "false">:$swapped);
}

def CPU_ProductAttr : CPU_Attr<"Product", "product"> {
  let summary = "Batched product of two computed matrices: y = sum over k of a * b";
  let description = [{
    Operands: ins(a, b), outs(y), f32, all sizes dynamic. Loops 0 to
    `rank - 1` are the dimensions of y, the last one the columns; loop `rank` is
    the sum. `a` and `b` name the loop of each dimension of the operand, or -1
    for a dimension that is read at 0. The sum is in both, the columns are in b
    alone, some other loop (the rows) in a alone; the rest is batch. The last
    dimension of b is the columns or the sum. Blocks of b are packed into
    panels on the way. Each element is one chain of fused multiply-adds over
    ascending k that starts at 0.
  }];
  let parameters = (ins "::mlir::ffn::cpu::Level":$level, "int64_t":$rank, "::mlir::DenseI64ArrayAttr":$a,
                        "::mlir::DenseI64ArrayAttr":$b);
  let extraClassDeclaration = [{
    int64_t getColumnLoop() const { return getRank() - 1; }
    int64_t getSumLoop() const { return getRank(); }
    /// Why the kernel does not serve such operands; "" if it does.
    static ::llvm::StringRef findProblem(int64_t rank, ::llvm::ArrayRef<int64_t> a, ::llvm::ArrayRef<int64_t> b);
    /// The last loop that only a has, which makes tiles with the columns.
    int64_t getRowLoop() const;
  }];
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

class CPU_Op<string name, list<Trait> traits = []> : Op<CPU_Dialect, name, traits>;

def CPU_PackOp : CPU_Op<"pack", [Pure, AttrSizedOperandSegments]> {
  let summary = "Bytes of a weight expression in the layout that a kernel reads";
  let description = [{
    A request to the packer, evaluated at compile time: before bufferization it
    becomes a `packed_weight`. With `panels`, `weights` are `[n, k]` matrices
    (gate, then up, if gated), `biases` none or as many vectors of n, and the
    result is bytes. Without, the one weight is stored row-major and the result
    is a memref of its type.

    ```mlir
    %p = ffn_cpu.pack layout <n = 3072, ...> %w bias %b : tensor<3072x768xf32> bias tensor<3072xf32> -> memref<9449472xi8>
    %s = ffn_cpu.pack %scale : tensor<768xf32> -> memref<768xf32>
    ```
  }];
  let arguments = (ins OptionalAttr<CPU_PanelsAttr>:$panels, Variadic<AnyStaticShapeTensor>:$weights,
                       Variadic<AnyStaticShapeTensor>:$biases);
  let results = (outs AnyStaticShapeMemRef:$result);
  let assemblyFormat = [{
    (`layout` $panels^)? $weights (`bias` $biases^)? attr-dict `:` type($weights) (`bias` type($biases)^)? `->` type($result)
  }];
  let hasVerifier = 1;
}

def CPU_PackedWeightOp : CPU_Op<"packed_weight", [Pure]> {
  let summary = "A view of the weight image of the artefact";
  let description = [{
    The code generator lowers this to the base of the image plus `offset`, which is a multiple of 64.
  }];
  let arguments = (ins I64Attr:$offset);
  let results = (outs AnyStaticShapeMemRef:$result);
  let assemblyFormat = "$offset attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def CPU_KernelCallOp : CPU_Op<"kernel_call", [DestinationStyleOpInterface, AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "Computes outs from ins with the kernel that the key names";
  let description = [{
    Outs are overwritten and never read. Tensors become memrefs whose rows may
    be strided; packed weights are memrefs from the start.

    ```mlir
    %y = ffn_cpu.kernel_call #ffn_cpu.gemm<...> ins(%x, %p : tensor<?x768xf32>, memref<9449472xi8>)
           outs(%e : tensor<?x3072xf32>) -> tensor<?x3072xf32>
    ```
  }];
  let arguments = (ins AnyAttr:$kernel, Variadic<AnyType>:$inputs, Variadic<AnyShaped>:$outputs);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let assemblyFormat = [{
    $kernel `ins` `(` $inputs `:` type($inputs) `)` `outs` `(` $outputs `:` type($outputs) `)` attr-dict
    (`->` type($results)^)?
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getOutputsMutable(); }
  }];
}

def CPU_LaunchOp : CPU_Op<"launch"> {
  let summary = "Runs an emitted kernel over its tasks on the thread pool";
  let description = [{
    The callee takes the operands and then the range of tasks `[begin, end)`.
    Tasks are independent; any split gives the same bits. `grain` is the number
    of tasks that are worth a thread.

    ```mlir
    ffn_cpu.launch @k tasks(%n) grain(%g) (%a, %w, %c) : memref<?x768xf32>, ...
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, Index:$tasks, Index:$grain, Variadic<AnyType>:$arguments);
  let assemblyFormat = [{
    $callee `tasks` `(` $tasks `)` `grain` `(` $grain `)` `(` $arguments `)` attr-dict `:` type($arguments)
  }];
}

#endif // FFN_MLIR_DIALECT_CPU_IR_CPU_TD
