//===- Saturation.h - Where networks have become idle -----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SEARCH_SATURATION_H
#define FFN_MLIR_SEARCH_SATURATION_H

#include "ffn-mlir/Driver/Calibration.h"
#include "mlir/IR/BuiltinOps.h"
#include <optional>

namespace mlir::ffn {

/// Below this share of networks the conditions cost what is saved: at 3 % the
/// time measured is that of the original (docs/results/adaptive-depth.md).
inline constexpr double kLeastShare = 0.05;

/// The rule of `ffn-insert-skip` without its threshold.
struct SaturationRule {
  /// Numbers of the networks of the region among the sublayers of @main.
  SmallVector<unsigned> networks;
  unsigned run = 0, warmup = 0;
};

struct SaturationOptions {
  std::string cpu = "native";
  unsigned threads = 0;
  CalibrationOptions calibration;
  double share = 1, maxDivergence = 0;
};

struct SaturationFigures {
  /// Of the cosine between the states before and behind a network of the
  /// region, over tokens and networks of the original.
  double median = 0, high = 0; // 90 %
  struct Point {
    double threshold = 0;
    /// Share of the region's networks that tokens left out.
    double share = 0;
    /// KL(original || model that leaves out), nats for each token.
    double divergence = 0;
  };
  /// By ascending share.
  SmallVector<Point> points;
  /// The point of the largest share within the limits, if it is worth it.
  std::optional<unsigned> chosen;
};

/// Runs the model on the samples with networks left out row by row as the
/// rule says, at several thresholds. Fails after a diagnostic: FFN-P111 (no
/// samples, no logits), FFN-D... (data), FFN-C... (a model without native
/// code).
FailureOr<SaturationFigures>
calibrateSaturation(ModuleOp module, const SaturationRule &rule,
                    const SaturationOptions &options);

} // namespace mlir::ffn

#endif // FFN_MLIR_SEARCH_SATURATION_H
