//===- Collect.h - Running calibration data through a model -----*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_PROFILE_COLLECT_H
#define FFN_MLIR_PROFILE_COLLECT_H

#include "ffn-mlir/Driver/Calibration.h"
#include "ffn-mlir/Profile/Probes.h"
#include "mlir/IR/BuiltinOps.h"
#include <functional>

namespace mlir::ffn {

struct CollectOptions {
  ProbeRequest request;
  /// What is said of the data in the header; the samples come separately.
  CalibrationOptions calibration;
  /// The file to write; what is finished lies in "<output>.parts" meanwhile.
  std::string output;
  /// As `cpu::CpuTarget::parse` takes it.
  std::string cpu = "native";
  /// Of LLVM, 0 to 3: with less, a stage is compiled faster and runs slower.
  unsigned optLevel = 3;
  /// Threads; 0: as many as the CPUs that the process may use.
  unsigned threads = 0;
  /// Bytes that may be resident at any time; 0: no limit.
  uint64_t maxMemory = 0;
  /// A pass pipeline that rewrites each stage after it was measured; what comes
  /// behind is measured on its results. Empty: on those of the original. "%p"
  /// in it is the file with the statistics of the stage.
  std::string rewrite;
  /// What is finished goes to disk behind the first stage that ends so many
  /// seconds after the last time; what a kill loses is at most that and a
  /// stage. Behind every stage where there is a `rewrite`.
  double commitSeconds = 10;
  /// Discard what another run has left.
  bool restart = false;

  struct Progress {
    unsigned done, total;
    std::string layer;
    /// Until the end, estimated; negative before there is an estimate.
    double secondsLeft;
    uint64_t peakMemory;
  };
  /// Told of every finished stage.
  std::function<void(const Progress &)> onProgress;
  /// Asked between samples: true ends the run. What is finished stays.
  std::function<bool()> isCancelled;
};

enum class CollectStatus {
  Done,
  /// A diagnostic was emitted.
  Failed,
  /// So was one: the memory limit cannot be kept (FFN-M101).
  MemoryLimit,
  /// `isCancelled` said so.
  Cancelled
};

struct CollectReport {
  /// Of them, stages that an earlier run had finished.
  unsigned stages = 0, resumed = 0;
  uint64_t samples = 0, tokens = 0, bytes = 0;
  /// Wall time of the compiler, of the compiled program, of adding up, and of
  /// reading and writing values, shards, the journal and the profile.
  double compileSeconds = 0, runSeconds = 0, addSeconds = 0, storeSeconds = 0;
  /// Largest resident size of the process so far.
  uint64_t peakMemory = 0;
};

/// Compiles the raised module stage by stage with probes in it, runs the
/// samples through each, and writes the profile. The file depends on module,
/// samples, `request`, `rewrite`, `cpu`, `optLevel` and seed alone: not on
/// threads, on the memory limit, or on whether the run was interrupted and run
/// again.
CollectStatus collectProfile(ModuleOp module, CalibrationSet &samples,
                             const CollectOptions &options,
                             CollectReport &report);

} // namespace mlir::ffn

#endif // FFN_MLIR_PROFILE_COLLECT_H
