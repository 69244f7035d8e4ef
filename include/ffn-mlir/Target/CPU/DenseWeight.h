//===- DenseWeight.h - Bytes of weight expressions --------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Weight expressions become bytes once, when an artefact is written. This is
// their row-major form.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_TARGET_CPU_DENSEWEIGHT_H
#define FFN_MLIR_TARGET_CPU_DENSEWEIGHT_H

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Value.h"
#include "mlir/Support/LLVM.h"
#include <vector>

namespace mlir::ffn {

/// The elements of a weight expression, row-major and packed: a view of a
/// mapped file where the expression is a plain weight, else bytes of its own.
class DenseWeight {
public:
  RankedTensorType type;
  ArrayRef<char> bytes() const { return view.data() ? view : ArrayRef(owned); }
  /// Element `i` of a floating-point or integer weight.
  double getDouble(int64_t i) const;
  int64_t getInt(int64_t i) const;

  ArrayRef<char> view;
  std::vector<char> owned;
};

/// Evaluates a weight expression (`ffn.weight` and the WeightExpr ops over it).
/// Sums are made in float64 and rounded once to the declared type. Fails after
/// a diagnostic.
FailureOr<DenseWeight> evaluateWeight(Value expression);
/// Tells the system that the mapped bytes behind the expression may leave
/// memory.
void dropWeight(Value expression);

} // namespace mlir::ffn

#endif // FFN_MLIR_TARGET_CPU_DENSEWEIGHT_H
