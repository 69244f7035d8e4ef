//===- LatencyGate.h - Is a rewritten model slower? -------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DRIVER_LATENCYGATE_H
#define FFN_MLIR_DRIVER_LATENCYGATE_H

#include "ffn-mlir/Driver/Artefact.h"
#include "llvm/Support/JSON.h"

namespace mlir::ffn {

/// Times of repeated runs, in seconds.
struct Timing {
  std::vector<double> seconds;
  double median() const;
  double minimum() const;
  /// Distance of the quartiles as a part of the median.
  double spread() const;
};
/// Seconds of a steady clock.
double now();

struct LatencyGateOptions {
  /// Rows, and tokens of a text; of other models every dimension that is not
  /// static is the batch where it is the first of an input, else the length.
  int64_t batch = 1, length = 128;
  /// Pairs of runs: decisions are made after the first number of them, after
  /// twice as many, and so on, at most at the second.
  unsigned minPairs = 11, maxPairs = 88;
  /// No further pairs after these seconds.
  double maxSeconds = 10;
  /// A slowdown up to this part is none.
  double slack = 0.02;
};

/// What was measured of one kind of call.
struct LatencyWorkload {
  /// "run"; of language models "prefill", and "decode" where both have a cache.
  std::string name;
  Timing original, rewritten;
  /// Of the pairs rewritten / original: the median, and its 95 % interval from
  /// order statistics, which assumes nothing about the noise.
  double ratio = 1, low = 1, high = 1;

  /// Computes the ratio from the times.
  void summarize();
  bool isSlower(double slack) const { return low > 1 + slack; }
  bool isDecided(double slack) const {
    return low > 1 + slack || high < 1 + slack;
  }
};

struct LatencyVerdict {
  LatencyGateOptions options;
  std::vector<LatencyWorkload> workloads;

  /// Whether a workload is slower beyond doubt. Where the noise leaves doubt
  /// the rewrite has the benefit of it.
  bool isSlower() const;
  /// "prefill of 1 x 128: 8.41 ms, original 8.02 ms, ratio 1.049 (1.03 to
  /// 1.07)" for each workload.
  std::string describe() const;
  llvm::json::Object toJSON() const;
};

/// Measures two models in turns, in this process: a pair is a run of each, the
/// order changes from pair to pair. Inputs are drawn. Fails where a model does
/// not run.
llvm::Expected<LatencyVerdict>
compareLatency(Artefact &original, Artefact &rewritten,
               const LatencyGateOptions &options);

} // namespace mlir::ffn

#endif // FFN_MLIR_DRIVER_LATENCYGATE_H
