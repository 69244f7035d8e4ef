//===- NumericalClass.h - What a rewrite does to results --------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_NUMERICALCLASS_H
#define FFN_MLIR_SUPPORT_NUMERICALCLASS_H

namespace mlir::ffn {

/// All but the last keep results within a bound of rounding that is known
/// (CheckPasses.h).
enum class NumericalClass {
  Exact,
  RoundsWeights,
  RoundsConstants,
  Approximate
};

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_NUMERICALCLASS_H
