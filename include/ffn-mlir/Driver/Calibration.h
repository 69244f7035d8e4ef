//===- Calibration.h - Samples that a search measures on --------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DRIVER_CALIBRATION_H
#define FFN_MLIR_DRIVER_CALIBRATION_H

#include "ffn-mlir/Driver/Artefact.h"

namespace mlir::ffn {

struct CalibrationOptions {
  /// Text, token lists (.json), a folder of such files, or an .npz archive that
  /// holds the inputs by name, one sample a row.
  std::string data;
  /// Tokenizer in JSON form; empty: bytes.
  std::string tokenizer;
  /// Number of samples, and tokens of one.
  unsigned samples = 10, length = 256;
  /// Which windows or rows are drawn.
  uint64_t seed = 0;
};

/// Inputs of a model, one vector in the order of its signature for each sample
/// of batch 1. Windows do not overlap; those of the full length are drawn
/// first. The same options and data give the same samples everywhere.
llvm::Expected<std::vector<std::vector<HostTensor>>>
loadCalibration(llvm::ArrayRef<Artefact::Value> inputs,
                llvm::ArrayRef<Artefact::Value> outputs,
                const CalibrationOptions &options);

} // namespace mlir::ffn

#endif // FFN_MLIR_DRIVER_CALIBRATION_H
