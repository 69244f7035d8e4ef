//===- FFNInterfaces.td - What analyses ask of an operation *- tablegen -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_FFN_IR_FFNINTERFACES_TD
#define FFN_MLIR_DIALECT_FFN_IR_FFNINTERFACES_TD

include "mlir/IR/OpBase.td"

def FFN_ComputeOpInterface : OpInterface<"ComputeOpInterface"> {
  let cppNamespace = "::mlir::ffn";
  let description = [{
    Cost of a compute operation, so that analyses never switch on op names. A
    token is one row of the hidden tensor.
  }];
  let methods = [
    InterfaceMethod<"Floating-point operations for one token; a multiply-add counts as two.",
                    "uint64_t", "getFlopsPerToken">,
    InterfaceMethod<"The weight operands, in operand order.",
                    "::llvm::SmallVector<::mlir::Value>", "getWeightOperands">
  ];
}

def FFN_WeightExprInterface : OpInterface<"WeightExprInterface"> {
  let cppNamespace = "::mlir::ffn";
  let description = [{
    An operation that defines a weight by structure. Its result *is* a dense
    tensor of the declared type: any consumer may ignore the structure.
  }];
  let methods = [
    InterfaceMethod<"The weight expressions this one is made of.",
                    "::llvm::SmallVector<::mlir::Value>", "getWeightSources">
  ];
}

def FFN_EvaluableOpInterface : OpInterface<"EvaluableOpInterface"> {
  let cppNamespace = "::mlir::ffn";
  let description = [{
    The meaning of the operation in float64: the reference interpreter calls
    this with the values of the operands and sets the values of the results.
    Attached as an external model by the interpreter library.
  }];
  let methods = [
    InterfaceMethod<"Evaluates the operation.", "::llvm::LogicalResult", "evaluate",
                    (ins "::mlir::ffn::EvalState &":$state)>
  ];
}

#endif // FFN_MLIR_DIALECT_FFN_IR_FFNINTERFACES_TD
