//===- SelectSublayers.h - A search as a pass runs it -----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SEARCH_SELECTSUBLAYERS_H
#define FFN_MLIR_SEARCH_SELECTSUBLAYERS_H

#include "ffn-mlir/Driver/Calibration.h"
#include "ffn-mlir/Search/LayerSearch.h"

namespace mlir::ffn {

/// What a user says, as text.
struct SelectOptions {
  std::string method, metric = "js", cpu = "native";
  /// Sublayers to leave out; 0: `ratio` of all candidates, rounded half up.
  unsigned count = 0;
  double ratio = 0, protect = 0.4;
  SmallVector<std::string> kinds;
  unsigned maxEvaluations = 0;
  CalibrationOptions calibration;
};

/// Names of the addends of the sublayers that the search leaves out of
/// `module`. A remark at each of them has order and score, one at every other
/// candidate says why it stays; rounds of a longer search go to stderr where
/// that is a terminal. Fails after a diagnostic: options (FFN-P111, P112),
/// calibration data (FFN-D...), a model that cannot be compiled (FFN-C...).
FailureOr<SmallVector<std::string>>
selectSublayers(ModuleOp module, const SelectOptions &options);

} // namespace mlir::ffn

#endif // FFN_MLIR_SEARCH_SELECTSUBLAYERS_H
