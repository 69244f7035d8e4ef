//===- TwoStage.h - The first stage of 2SSP ---------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SEARCH_TWOSTAGE_H
#define FFN_MLIR_SEARCH_TWOSTAGE_H

#include "ffn-mlir/Driver/Calibration.h"
#include "ffn-mlir/Support/CandidateLog.h"
#include "mlir/IR/BuiltinOps.h"

namespace mlir::ffn {

/// How 2SSP (arXiv 2501.17771) shares a sparsity between its stages.
struct TwoStagePlan {
  /// Attentions that the second stage removes.
  unsigned attentions = 0;
  /// Share of the neurons of each network that the first stage keeps.
  double kept = 1;
};

/// Of `layers` blocks with `attention` and `network` parameters each, the share
/// `sparsity` goes: round(layers s^((network / attention) / 1.5)) attentions,
/// the rest in neurons, of every network as many. None where the networks have
/// fewer parameters than that, or the attentions more.
std::optional<TwoStagePlan> planTwoStage(unsigned layers, double attention,
                                         double network, double sparsity);

struct TwoStageOptions {
  /// Share of the parameters of all sublayers that goes.
  double sparsity = 0;
  std::string cpu = "native";
  /// 0: one for each CPU that the process may use.
  unsigned threads = 0;
  CalibrationOptions calibration;
};

/// The first stage: of every network in a sublayer of @main as many neurons go
/// as `planTwoStage` says, those with the least mean over samples of the norm
/// over tokens of what they hand to the down projection; of equal ones the
/// last. The networks are candidates of `log`, whose remark at each of them
/// says how many, or why none. Returns the number of attentions for the second
/// stage. Fails after a diagnostic: a sparsity that is not reachable
/// (FFN-P112), calibration data, a model that cannot be compiled.
FailureOr<unsigned> pruneNeurons(ModuleOp module,
                                 const TwoStageOptions &options,
                                 CandidateLog &log);

} // namespace mlir::ffn

#endif // FFN_MLIR_SEARCH_TWOSTAGE_H
