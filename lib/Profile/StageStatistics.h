//===- StageStatistics.h - What one stage measures --------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_PROFILE_STAGESTATISTICS_H
#define FFN_MLIR_LIB_PROFILE_STAGESTATISTICS_H

#include "ffn-mlir/Profile/Instrument.h"
#include "ffn-mlir/Profile/Statistics.h"
#include <optional>

namespace mlir::ffn {

/// Where the measured values are among inputs and results of a stage.
struct StageTaps {
  /// Full name of a site, and the result that it is.
  SmallVector<std::pair<std::string, unsigned>> sites;
  /// The input that is the residual, and the result that is the hidden state.
  std::optional<unsigned> residual, hidden;
  /// Results of the model, with their names.
  SmallVector<std::pair<std::string, unsigned>> results;
};

/// An input or a result of a stage.
struct TapRef {
  bool isInput;
  unsigned index;
  bool operator==(const TapRef &other) const {
    return isInput == other.isInput && index == other.index;
  }
};

/// Statistics that run over the samples together.
class StatisticPass {
public:
  llvm::Error add(ArrayRef<HostTensor *> inputs, ArrayRef<HostTensor> results,
                  unsigned threads);
  uint64_t getNumTokens() const { return tokens; }
  llvm::Expected<std::vector<SafetensorsSource>> finish();

private:
  friend class StageStatistics;
  std::vector<std::unique_ptr<Statistic>> statistics;
  /// Width that each statistic counts on; 0: any.
  std::vector<size_t> widths;
  std::vector<TapRef> taps;
  uint64_t tokens = 0;
};

/// Everything that the request wants of one stage, in as many passes over the
/// samples as memory demands.
class StageStatistics {
public:
  StageStatistics(const ProbedLayer &layer, const ProbeRequest &request,
                  const StageTaps &taps);

  std::string getLayer() const { return "'" + layer.names.front() + "'"; }
  /// Forms passes that need at most `limit` bytes each. False where a part of a
  /// statistic that cannot be smaller needs `smallest` bytes.
  bool split(uint64_t limit, size_t samples, uint64_t &smallest);
  unsigned getNumPasses() const { return passes.size(); }
  /// Files that a pass needs are called `spool` and something.
  StatisticPass begin(unsigned pass, const std::string &spool) const;

private:
  struct Plan {
    Plan(std::string prefix, ArrayRef<TapRef> taps, size_t width = 0)
        : prefix(std::move(prefix)), taps(taps), width(width) {}
    std::string prefix;
    SmallVector<TapRef, 2> taps;
    size_t width;
    std::function<std::unique_ptr<Statistic>(size_t begin, size_t end,
                                             const std::string &spool)>
        make;
    /// Rows that may be made apart; 0: it is made as a whole.
    size_t rows = 0;
    uint64_t bytes = 0, bytesPerRow = 0;
    /// For each sample, where it grows with them.
    uint64_t bytesPerSample = 0;
  };
  struct Part {
    unsigned plan;
    size_t begin, end;
  };
  void addInputSite(const std::string &site, TapRef tap, size_t width);
  void addHiddenSite(const std::string &site, TapRef tap, size_t width);
  void addGram(const std::string &site, TapRef tap, size_t width);
  void add(Plan plan) { plans.push_back(std::move(plan)); }
  bool wants(Probe probe) const { return request.probes.count(probe) != 0; }

  const ProbedLayer &layer;
  const ProbeRequest &request;
  std::vector<Plan> plans;
  std::vector<std::vector<Part>> passes;
};

/// The tensors of several files, "name.<row>" parts of one tensor put together
/// again. The files are read when the tensors are written.
llvm::Expected<std::vector<SafetensorsSource>>
mergeTensors(ArrayRef<std::string> paths);

/// Larger elements first, so that all are aligned; else the order is kept.
void orderTensors(std::vector<SafetensorsSource> &tensors);

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_PROFILE_STAGESTATISTICS_H
