//===- Calibration.h - Samples to measure on --------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DRIVER_CALIBRATION_H
#define FFN_MLIR_DRIVER_CALIBRATION_H

#include "ffn-mlir/Driver/Artefact.h"

namespace mlir::ffn {

/// Where samples come from. Tokens: text, `.json` lists of token-id lists, raw
/// ids (`.u16`, `.u32`, `.bin` as `.u16`, little-endian), and for a language
/// model integers in a `.npy` of rank 1 or 2 (a row is a document). Rows:
/// `.npz` and `.safetensors` files that hold the inputs by name, one sample a
/// row, and `.npy` for a model of one input. A folder holds files of one sort.
struct CalibrationOptions {
  std::string data;
  /// Tokenizer in JSON form; empty: bytes.
  std::string tokenizer;
  /// Number of samples, and tokens of one.
  unsigned samples = 10, length = 256;
  /// Which windows or rows are drawn.
  uint64_t seed = 0;
  /// So many further ones are drawn and not given, so that something is left
  /// to measure the result on; with `takeHeldOut` these are given instead.
  unsigned holdOut = 0;
  bool takeHeldOut = false;
};

/// Samples and where they come from.
struct CalibrationSet {
  /// Inputs of the model, one vector in the order of its signature for each
  /// sample.
  std::vector<std::vector<HostTensor>> samples;
  /// Token ids of each sample; empty for rows.
  std::vector<std::vector<int64_t>> tokens;
  /// SHA-256 of each sample: of its token ids as int64, or of dtype, shape and
  /// bytes of every input.
  std::vector<std::string> hashes;
  struct Source {
    /// Without its folder.
    std::string name;
    uint64_t bytes = 0;
    std::string sha256;
  };
  std::vector<Source> sources;
  /// Windows or rows that were drawn from.
  uint64_t available = 0;
};

/// Draws samples. Windows do not overlap; those of the full length are drawn
/// first. The same options and data give the same samples everywhere. Errors:
/// FFN-D101 to D103 (arrays), D201 to D206 (text and tokens), D208 (rows that
/// do not fit the model), D209 (nothing to draw), D210 (files of two sorts),
/// D212 (a number that is not finite).
llvm::Expected<CalibrationSet>
loadCalibrationSet(llvm::ArrayRef<Artefact::Value> inputs,
                   llvm::ArrayRef<Artefact::Value> outputs,
                   const CalibrationOptions &options);

/// The samples alone.
llvm::Expected<std::vector<std::vector<HostTensor>>>
loadCalibration(llvm::ArrayRef<Artefact::Value> inputs,
                llvm::ArrayRef<Artefact::Value> outputs,
                const CalibrationOptions &options);

/// Samples that the caller has as arrays by name of the input, in the shape
/// that the model takes.
llvm::Expected<CalibrationSet>
makeCalibrationSet(llvm::ArrayRef<Artefact::Value> inputs,
                   llvm::ArrayRef<std::map<std::string, NpyArray>> samples);

/// Refuses (FFN-D211) where a calibration sample is among the evaluation data
/// at `options.data`, all of which is read: a row with the same hash, or the
/// tokens of a sample, at least eight, at any place of a document.
llvm::Error checkDisjoint(const CalibrationSet &calibration,
                          llvm::ArrayRef<Artefact::Value> inputs,
                          llvm::ArrayRef<Artefact::Value> outputs,
                          const CalibrationOptions &options);

} // namespace mlir::ffn

#endif // FFN_MLIR_DRIVER_CALIBRATION_H
