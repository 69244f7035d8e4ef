//===- FFNExpertEnums.td - How experts are chosen ----------*- tablegen -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_FFN_IR_FFNEXPERTENUMS_TD
#define FFN_MLIR_DIALECT_FFN_IR_FFNEXPERTENUMS_TD

include "mlir/IR/EnumAttr.td"

def FFN_RouterKind : I32EnumAttr<"RouterKind", "what the score of an expert is", [
  I32EnumAttrCase<"Linear", 0, "linear">,
  I32EnumAttrCase<"Neuron", 1, "neuron">]> {
  let cppNamespace = "::mlir::ffn";
}

def FFN_Gating : I32EnumAttr<"Gating", "how scores become gate values", [
  I32EnumAttrCase<"Identity", 0, "identity">,
  I32EnumAttrCase<"Softmax", 1, "softmax">,
  I32EnumAttrCase<"Sigmoid", 2, "sigmoid">]> {
  let cppNamespace = "::mlir::ffn";
}

#endif // FFN_MLIR_DIALECT_FFN_IR_FFNEXPERTENUMS_TD
