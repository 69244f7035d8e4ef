//===- SelectSublayers.h - A search as a pass runs it -----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SEARCH_SELECTSUBLAYERS_H
#define FFN_MLIR_SEARCH_SELECTSUBLAYERS_H

#include "ffn-mlir/Driver/Calibration.h"
#include "ffn-mlir/Search/LayerSearch.h"
#include "ffn-mlir/Support/CandidateLog.h"

namespace mlir::ffn {

/// What a user says, as text.
struct SelectOptions {
  /// An empty metric is that of the method: kl for evopress, else js.
  std::string method, metric, cpu = "native";
  /// The budget, one of these; all 0: nothing goes. A number of sublayers, a
  /// share of the candidates rounded half up, or the share of the model's
  /// parameters, of its floating-point operations for one token, or of the
  /// measured time of a sample that goes at least.
  unsigned count = 0;
  double ratio = 0, parameters = 0, flops = 0, latency = 0;
  double protect = 0.4;
  SmallVector<std::string> kinds;
  bool wholeBlocks = false;
  unsigned maxEvaluations = 0;
  /// Threads of the search; 0: one for each CPU that the process may use.
  unsigned threads = 0;
  CalibrationOptions calibration;
  /// A file of `ffnc profile` that has measured this model, in place of
  /// `calibration`; for block-influence.
  std::string profile;
  /// Takes an answer about the addends of each sublayer that stays; not null.
  CandidateLog *log = nullptr;
};

/// What stands for an addend in a CandidateLog: its operand of the yield.
inline const void *getAddendOperand(SublayerOp op, unsigned addend) {
  return &op.getBody().front().getTerminator()->getOpOperand(addend);
}

/// Names of the addends of the sublayers that the search leaves out of
/// `module`. `whyFixed` says why a sublayer cannot be removed, empty where it
/// can. A remark at each chosen sublayer has order and score, exactly one at
/// every other says why it stays; rounds of a longer search go to stderr where
/// that is a terminal. Fails after a diagnostic: options (FFN-P111, P112),
/// calibration data or profile (FFN-D...), a model that cannot be compiled
/// (FFN-C...).
FailureOr<SmallVector<std::string>>
selectSublayers(ModuleOp module, const SelectOptions &options,
                llvm::function_ref<std::string(SublayerOp)> whyFixed);

/// The result that a search looks at: "logits", else the first of floats.
std::optional<unsigned> findLogits(ArrayRef<Artefact::Value> outputs);

/// The next token of every token of each sample, for `Evaluator::setTargets`;
/// empty where the signature is none of a language model.
std::vector<std::vector<int64_t>>
listNextTokens(const ModelSignature &signature,
               ArrayRef<std::vector<HostTensor>> samples);

} // namespace mlir::ffn

#endif // FFN_MLIR_SEARCH_SELECTSUBLAYERS_H
