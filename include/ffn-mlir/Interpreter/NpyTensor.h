//===- NpyTensor.h - Values from and to .npy files --------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_INTERPRETER_NPYTENSOR_H
#define FFN_MLIR_INTERPRETER_NPYTENSOR_H

#include "ffn-mlir/Interpreter/EvalTensor.h"
#include "ffn-mlir/Support/Npy.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/ArrayRef.h"

namespace mlir::ffn {

/// The array as a tensor of `elementType`. Floats of any width are accepted
/// for a float type and rounded to it, integers must be in the range of an
/// integer type; anything else is D101.
FailureOr<EvalTensor> tensorFromNpy(const NpyArray &array, Type elementType,
                                    StringRef where, CodedErrors &errors);

/// Floats as f8, integers as i8 or u8, booleans as b1. Failure for strings.
FailureOr<NpyArray> tensorToNpy(const EvalTensor &tensor);

/// Name of argument (result) i of a function: its `onnx.name`, else "argN"
/// ("resultN").
std::string getArgumentName(Operation *function, unsigned i);
std::string getResultName(Operation *function, unsigned i);

/// Reads the inputs of `function` from "name=file" pairs, one for each
/// argument; diagnostics go to `errors`.
FailureOr<std::vector<EvalValue>> readNpyInputs(Operation *function,
                                                ArrayRef<std::string> pairs,
                                                CodedErrors &errors);

} // namespace mlir::ffn

#endif // FFN_MLIR_INTERPRETER_NPYTENSOR_H
