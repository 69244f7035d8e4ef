//===- Instrument.h - Probes in a model -------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_PROFILE_INSTRUMENT_H
#define FFN_MLIR_PROFILE_INSTRUMENT_H

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Profile/Probes.h"
#include "mlir/IR/BuiltinOps.h"

namespace mlir::ffn {

/// Name of the layer of operations outside of sublayers.
inline constexpr llvm::StringLiteral kMainLayer = "@main";

/// What a profile measures of a sublayer, or of @main outside of sublayers.
/// A site is a value, called "<layer>/<site>" in full.
struct ProbedLayer {
  /// A linear, in program order; `index` counts those of the layer.
  struct Linear {
    unsigned index;
    std::string site, weight;
    int64_t width, out;
  };
  /// A feed-forward network, in program order. Sites that no probe asks for are
  /// empty, but for the first two.
  struct Network {
    unsigned index;
    std::string input, hidden, output, normalised;
    int64_t width, hiddenWidth, outputWidth;
    std::string activation;
    bool gated;
  };

  /// Of its addends; the first one names the layer.
  SmallVector<std::string> names;
  /// "attention", "ffn", ...; "none" outside.
  std::string kind;
  std::vector<Linear> linears;
  std::vector<Network> networks;

  std::string getSite(StringRef site) const {
    return (names.front() + "/" + site).str();
  }
};

/// Puts an `ffn.observe` at every value of @main that the request needs.
/// Networks whose hidden vector is observed become `ffn.hidden` and
/// `ffn.linear`, which compute the same bits. Fails after a diagnostic where
/// there is no @main of one block (FFN-P110) or a weight cannot be read.
FailureOr<std::vector<ProbedLayer>> instrument(ModuleOp module,
                                               const ProbeRequest &request);

/// Makes every observed value a further result of @main, behind those that are
/// there, and takes the probes away. The sites, in the order of the results.
SmallVector<std::string> exposeProbes(ModuleOp module);

} // namespace mlir::ffn

#endif // FFN_MLIR_PROFILE_INSTRUMENT_H
