//===- RegionRunner.h - Operations that run regions -------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Control flow as state machines, so that the nesting of a file costs heap
// and not stack: the engine asks for the next region to run until there is
// none.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_INTERPRETER_REGIONRUNNER_H
#define FFN_MLIR_LIB_INTERPRETER_REGIONRUNNER_H

#include "ffn-mlir/Interpreter/Interpreter.h"
#include "ffn-mlir/Ops/LocalFunctions.h"
#include "mlir/IR/Region.h"

namespace mlir::ffn {

class RegionRunner {
public:
  virtual ~RegionRunner();

  struct Next {
    /// Region to run; null when the op is done and its results are set.
    Region *region = nullptr;
    SmallVector<EvalValue> arguments;
    /// A call: the region sees no value of the caller, and these attributes.
    bool newScope = false;
    DictionaryAttr attributes;
  };
  /// `results` are those of the region run last; empty on the first call.
  virtual LogicalResult step(MutableArrayRef<EvalValue> results,
                             Next &next) = 0;
};

/// The runner of an operation with regions or a callee; null for any other
/// operation.
std::unique_ptr<RegionRunner>
makeRegionRunner(Operation *op, EvalState &state, const FunctionMap &functions,
                 const InterpreterOptions &options);
/// Whether `makeRegionRunner` knows the operation.
bool hasRegionRunner(Operation *op, const FunctionMap &functions);

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_INTERPRETER_REGIONRUNNER_H
