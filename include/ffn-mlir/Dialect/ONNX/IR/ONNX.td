//===- ONNX.td - The onnx carrier dialect ------------------*- tablegen -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_ONNX_IR_ONNX_TD
#define FFN_MLIR_DIALECT_ONNX_IR_ONNX_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/Properties.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def ONNX_Dialect : Dialect {
  let name = "onnx";
  let cppNamespace = "::mlir::onnx";
  let summary = "Carries every operator of an ONNX model without interpreting it";
  let description = [{
    One carrier operation, `onnx.node`, represents any ONNX node: operator,
    domain, version, attributes, subgraphs. What an operator means (shapes,
    effects, lowering, evaluation) lives in the op table of `lib/Ops`, keyed by
    (domain, name, since-version), and reaches the dialect through hooks, so
    that the dialect library depends on neither lowering nor interpreter.

    Types: `int8..int64` are signless, unsigned types are `ui8..ui64`, `bool`
    is `i1`. A value whose type nobody declared or inferred is `!onnx.unknown`.
  }];
  let hasConstantMaterializer = 1;
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let extraClassDeclaration = [{
    /// What the op table tells the dialect about a node.
    struct Hooks {
      /// Fills `effects` for `op`; null means "unknown: reads and writes".
      void (*effects)(::mlir::Operation *op,
                      ::llvm::SmallVectorImpl<::mlir::MemoryEffects::EffectInstance> &effects) = nullptr;
    };
    void setHooks(Hooks h) { hooks = h; }
    const Hooks &getHooks() const { return hooks; }

  private:
    Hooks hooks;

  public:
  }];
}

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

class ONNX_Type<string name, string typeMnemonic, list<Trait> traits = []>
    : TypeDef<ONNX_Dialect, name, traits> {
  let mnemonic = typeMnemonic;
}

def ONNX_UnknownType : ONNX_Type<"Unknown", "unknown"> {
  let summary = "A value whose rank and element type are not known";
}
def ONNX_StringType : ONNX_Type<"String", "string"> {
  let summary = "Element type of string tensors";
}
def ONNX_SeqType : ONNX_Type<"Seq", "seq"> {
  let summary = "ONNX sequence";
  let parameters = (ins "::mlir::Type":$element);
  let assemblyFormat = "`<` $element `>`";
}
def ONNX_OptionalType : ONNX_Type<"Optional", "optional"> {
  let summary = "ONNX optional";
  let parameters = (ins "::mlir::Type":$element);
  let assemblyFormat = "`<` $element `>`";
}
def ONNX_MapType : ONNX_Type<"Map", "map"> {
  let summary = "ONNX map";
  let parameters = (ins "::mlir::Type":$key, "::mlir::Type":$value);
  let assemblyFormat = "`<` $key `,` $value `>`";
}
def ONNX_SparseType : ONNX_Type<"Sparse", "sparse"> {
  let summary = "ONNX sparse tensor of the given dense type";
  let parameters = (ins "::mlir::Type":$dense);
  let assemblyFormat = "`<` $dense `>`";
}

def ONNX_Value : AnyTypeOf<[AnyTensor, NoneType,
                            Type<CPred<"::llvm::isa<::mlir::onnx::UnknownType, ::mlir::onnx::SeqType, "
                                       "::mlir::onnx::OptionalType, ::mlir::onnx::MapType, "
                                       "::mlir::onnx::SparseType>($_self)">, "ONNX value type">]>;

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

class ONNX_Attr<string name, string attrMnemonic> : AttrDef<ONNX_Dialect, name> {
  let mnemonic = attrMnemonic;
}

def ONNX_StringsAttr : ONNX_Attr<"Strings", "strings"> {
  let summary = "STRINGS attribute; a kind of its own so that an empty list keeps its kind";
  let parameters = (ins "::mlir::ArrayAttr":$values);
  let assemblyFormat = "`<` $values `>`";
}
def ONNX_TensorsAttr : ONNX_Attr<"Tensors", "tensors"> {
  let summary = "TENSORS attribute: elements or spans";
  let parameters = (ins "::mlir::ArrayAttr":$values);
  let assemblyFormat = "`<` $values `>`";
}
def ONNX_GraphAttr : ONNX_Attr<"Graph", "graph"> {
  let summary = "GRAPH attribute: the index of the node's region that holds it, and its name";
  let parameters = (ins "unsigned":$region, "::mlir::StringAttr":$name);
  let assemblyFormat = "`<` $region `,` $name `>`";
}
def ONNX_GraphsAttr : ONNX_Attr<"Graphs", "graphs"> {
  let summary = "GRAPHS attribute";
  let parameters = (ins "::mlir::ArrayAttr":$values);
  let assemblyFormat = "`<` $values `>`";
}
def ONNX_TypesAttr : ONNX_Attr<"Types", "types"> {
  let summary = "TYPE_PROTOS attribute";
  let parameters = (ins "::mlir::ArrayAttr":$values);
  let assemblyFormat = "`<` $values `>`";
}
def ONNX_RefAttr : ONNX_Attr<"Ref", "ref"> {
  let summary = "Reference to an attribute of the enclosing function, with its ONNX attribute type number";
  let parameters = (ins "::mlir::StringAttr":$name, "unsigned":$kind);
  let assemblyFormat = "`<` $name `,` $kind `>`";
}
def ONNX_SparseAttr : ONNX_Attr<"Sparse", "sparse_value"> {
  let summary = "Sparse tensor: values, indices (linear or coordinates), dense dims";
  let parameters = (ins "::mlir::Attribute":$values, "::mlir::Attribute":$indices,
                        "::mlir::DenseI64ArrayAttr":$dims);
  let assemblyFormat = "`<` $values `,` $indices `,` $dims `>`";
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

class ONNX_Op<string name, list<Trait> traits = []> : Op<ONNX_Dialect, name, traits>;

def ONNX_NameHints : Property<"::mlir::onnx::NameHints"> {
  let summary = "names of a node and its outputs; all hints compare equal, so that CSE is not blocked";
  let hashProperty = "::llvm::hash_value(0)";
  let defaultValue = "::mlir::onnx::NameHints{}";
  let convertToAttribute = "return convertToAttribute($_ctxt, $_storage);";
  let convertFromAttribute = "return convertFromAttribute($_storage, $_attr, $_diag);";
  let readFromMlirBytecode = "return readFromMlirBytecode($_reader, $_storage);";
  let writeToMlirBytecode = "writeToMlirBytecode($_writer, $_storage);";
}

def ONNX_NodeOp : ONNX_Op<"node", [DeclareOpInterfaceMethods<MemoryEffectsOpInterface>,
                                   DeclareOpInterfaceMethods<ConditionallySpeculatable>]> {
  let summary = "Any ONNX node";
  let description = [{
    Operand i is ONNX input i; an input that the node leaves out is an
    `onnx.absent` value, an output it leaves out has type `none`. Attributes
    keep their ONNX kind: FLOAT is an `f32` attribute, INT an `si64` one, INTS
    `array<i64>`, FLOATS `array<f32>`, STRINGS `#onnx.strings`, a tensor is
    `dense` or a `#ffn.span`, a graph names one of the node's regions.

    ```mlir
    %y = onnx.node "Softmax" v13 (%x) {axis = -1 : si64}
         : (tensor<?x4xf32>) -> tensor<?x4xf32> names ["sm", "y"]
    %z = onnx.node "com.microsoft::Gelu" v1 (%y) : (tensor<?x4xf32>) -> tensor<?x4xf32>
    ```
    The version is the since-version of the operator's schema.
  }];
  let arguments = (ins StrAttr:$op, StrAttr:$domain, I64Attr:$version,
                       Variadic<ONNX_Value>:$inputs,
                       DictionaryAttr:$attrs, ONNX_NameHints:$names);
  let results = (outs Variadic<ONNX_Value>:$outputs);
  let regions = (region VariadicRegion<SizedRegion<1>>:$graphs);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let skipDefaultBuilders = 1;
  let builders = [
    OpBuilder<(ins "::llvm::StringRef":$domain, "::llvm::StringRef":$op, "int64_t":$version,
                   "::mlir::TypeRange":$outputs, "::mlir::ValueRange":$inputs,
                   CArg<"::llvm::ArrayRef<::mlir::NamedAttribute>", "{}">:$attrs,
                   CArg<"unsigned", "0">:$numGraphs,
                   CArg<"::mlir::onnx::NameHints", "{}">:$names)>];
  let extraClassDeclaration = [{
    /// True for operator `op` of domain `domain` ("" is ai.onnx).
    bool is(::llvm::StringRef domain, ::llvm::StringRef op) {
      return getOp() == op && getDomain() == domain;
    }
    /// True for default-domain operator `op`.
    bool is(::llvm::StringRef op) { return is("", op); }
    /// Node attribute `name`, or null.
    ::mlir::Attribute getNodeAttr(::llvm::StringRef name) { return getAttrs().get(name); }
    /// Typed getters: the default when absent or of another kind.
    int64_t getInt(::llvm::StringRef name, int64_t otherwise);
    float getFloat(::llvm::StringRef name, float otherwise);
    ::llvm::StringRef getString(::llvm::StringRef name, ::llvm::StringRef otherwise);
    ::std::optional<::llvm::ArrayRef<int64_t>> getInts(::llvm::StringRef name);
    /// Input i, or null when it is beyond the list or absent.
    ::mlir::Value getInput(unsigned i);
    /// "Gemm" or "com.microsoft::Gelu".
    ::std::string getQualifiedName();
    /// For messages: `node 'fc1' (Gemm)`.
    ::std::string describe();
  }];
}

def ONNX_AbsentOp : ONNX_Op<"absent", [Pure, ConstantLike]> {
  let summary = "An optional input that a node leaves out";
  let results = (outs NoneType:$result);
  let assemblyFormat = "attr-dict";
  let hasFolder = 1;
}

def ONNX_YieldOp : ONNX_Op<"yield", [Pure, Terminator, ReturnLike]> {
  let summary = "Outputs of a subgraph or a local function";
  let arguments = (ins Variadic<ONNX_Value>:$operands);
  let assemblyFormat = "attr-dict ($operands^ `:` type($operands))?";
  let builders = [OpBuilder<(ins), [{ }]>];
}

def ONNX_FunctionOp : ONNX_Op<"function", [IsolatedFromAbove]> {
  let summary = "A model-local function";
  let description = [{
    Named by (domain, name, overload), which nodes refer to as their operator;
    no symbol is made from a name of the file. `formals` are the names of
    its attributes, `defaults` those with a default value.
  }];
  let arguments = (ins StrAttr:$name, StrAttr:$domain, StrAttr:$overload,
                       DictionaryAttr:$opsets, ArrayAttr:$formals, DictionaryAttr:$defaults);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $domain `,` $name `overload` $overload `opsets` $opsets `formals` $formals
    `defaults` $defaults attr-dict-with-keyword $body
  }];
}

#endif // FFN_MLIR_DIALECT_ONNX_IR_ONNX_TD
