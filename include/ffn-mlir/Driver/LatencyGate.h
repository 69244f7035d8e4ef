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
  /// Turns, each a run of both models: looked at after the first number of
  /// them, after twice as many, and so on, at most after the second.
  unsigned minPairs = 11, maxPairs = 88;
  /// A look after these seconds is the last one.
  double maxSeconds = 10;
  /// A slowdown up to this part is none.
  double slack = 0.02;
};

/// Of paired times rewritten / original: the median, and its 95 % interval from
/// order statistics, which assumes nothing about the noise.
struct RatioInterval {
  double middle = 1, low = 1, high = 1;
};
RatioInterval estimateRatio(llvm::ArrayRef<double> original,
                            llvm::ArrayRef<double> rewritten);

/// What was measured of one kind of call.
struct LatencyWorkload {
  /// "run"; of language models "prefill", and "decode" where both have a cache.
  std::string name;
  Timing original, rewritten;
  /// Over all turns, and over those since the last look.
  RatioInterval ratio, fresh;

  /// Computes the ratios from the times; `known` turns had been looked at.
  void summarize(size_t known);
  /// Whether the interval over all turns and the ratio of the fastest runs,
  /// which a busy machine disturbs least, are beyond the slack.
  bool seemsSlower(double slack) const;
  /// Whether turns that were made after it had seemed so say so again. A first
  /// look never does.
  bool isSlower(double slack) const;
  bool isDecided(double slack) const {
    return isSlower(slack) || ratio.high < 1 + slack;
  }
};

struct LatencyVerdict {
  LatencyGateOptions options;
  std::vector<LatencyWorkload> workloads;

  /// Whether a workload is slower beyond doubt. Where the noise leaves doubt
  /// the rewrite has the benefit of it.
  bool isSlower() const;
  /// "prefill at 1 x 128: 8.41 ms, original 8.02 ms, ratio 1.049 (1.03 to 1.07)
  /// in 22 turns, spread 2 % and 3 %" for each workload.
  std::string describe() const;
  llvm::json::Object toJSON() const;
};

/// Takes turns until every workload is decided, one is slower, or turns or
/// seconds are spent. `run` gets 0 (the original) or 1 and fills in seconds,
/// one for each workload; the order changes from turn to turn. Fails where
/// `run` does.
llvm::Expected<LatencyVerdict> measureInTurns(
    llvm::ArrayRef<std::string> names, const LatencyGateOptions &options,
    llvm::function_ref<llvm::Error(unsigned, llvm::MutableArrayRef<double>)>
        run,
    llvm::function_ref<double()> clock = now);

/// Measures two models in turns, in this process, on inputs that are drawn.
/// Fails where a model does not run.
llvm::Expected<LatencyVerdict>
compareLatency(Artefact &original, Artefact &rewritten,
               const LatencyGateOptions &options);

} // namespace mlir::ffn

#endif // FFN_MLIR_DRIVER_LATENCYGATE_H
