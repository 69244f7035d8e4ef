//===- Analysis.h - Figures that tell which pass pays -----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

//
// An analysis reads a raised model, and data where it has to run it, and gives
// one JSON object; what people see of it is made of that object alone, so that
// a report can be put together from files. The formulas and the papers behind
// them are in docs/reference/analyze.md.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_ANALYSIS_ANALYSIS_H
#define FFN_MLIR_ANALYSIS_ANALYSIS_H

#include "ffn-mlir/Analysis/View.h"
#include "ffn-mlir/Driver/Calibration.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/JSON.h"
#include <functional>

namespace mlir::ffn {

struct AnalysisOptions {
  /// Samples to run the model on; no data where `data` is empty.
  CalibrationOptions calibration;
  /// A profile of the model to read instead of making one; empty: none.
  std::string profile;
  /// Sequences of a call, and tokens of one (cost).
  int64_t batch = 1, length = 128;
  /// Parts whose dependency is measured: "ffn", "attention", "all" (sublayers)
  /// or "block".
  std::string parts = "ffn";
  /// Neurons of a network, and tokens of a neuron, that are listed.
  unsigned top = 10;
  /// A hidden value fires above this multiple of the network's root mean
  /// square; networks of ReLU without gate fire above zero.
  double threshold = 0.1;
  /// "native", "avx2" or "avx512".
  std::string cpu = "native";
  /// Samples that are run at the same time; 0: as many as there are CPUs.
  unsigned threads = 0;
  /// A folder for temporary files.
  std::string folder;
  /// Told what is being done.
  std::function<void(const Twine &)> progress;
};

struct Analysis {
  llvm::StringLiteral name, summary;
  /// Whether it runs the model, and what it compares it with.
  bool needsData, needsOther;
  /// Fails after a diagnostic at the module: no feed-forward network
  /// (FFN-A101), no data (A102), no vocabulary (A103), models that are not
  /// alike (A104), options (A105), weights that are not finite (A106),
  /// calibration data (D...), a profile (D...), a model that cannot be compiled
  /// (C...).
  FailureOr<llvm::json::Object> (*run)(ModuleOp module, ModuleOp other,
                                       const AnalysisOptions &options);
  /// Shows any object, also one that another program has spoiled.
  View (*show)(const llvm::json::Object &result);
};

/// All, by name.
ArrayRef<Analysis> getAnalyses();
/// Null if there is none.
const Analysis *findAnalysis(StringRef name);

} // namespace mlir::ffn

#endif // FFN_MLIR_ANALYSIS_ANALYSIS_H
