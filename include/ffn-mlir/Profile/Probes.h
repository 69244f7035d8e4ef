//===- Probes.h - What a pass wants measured --------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A pass that reads a profile says here what it needs of it, so that
// `ffnc profile --for=PASS{options}` measures that and nothing else.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_PROFILE_PROBES_H
#define FFN_MLIR_PROFILE_PROBES_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"
#include <map>
#include <set>
#include <string>

namespace mlir::ffn {

/// Kinds of statistics; the names are what --probes takes.
enum class Probe {
  Moments,     // n, sum, sum_sq, abs_sum of every input of a linear
  Hidden,      // mean, variance, E[h^2], firing counts of hidden vectors
  Influence,   // norm ratio and cosine of every sublayer
  Gram,        // x x^T of every input of a linear, hidden vectors included
  HiddenGram,  // of hidden vectors alone
  Histogram,   // |x| of every input of a linear
  TopK,        // hit bitsets of hidden vectors
  CMoETopK,    // the same of CMoE's normalised form of them
  CoFire,      // clamped co-firing counts of hidden vectors
  Cross,       // input x output of feed-forward networks
  CrossHidden, // their input x hidden vector
  Raw,         // inputs of sublayers
  Logits       // outputs of the model
};

/// What is to be measured.
struct ProbeRequest {
  std::set<Probe> probes;
  /// Per token, of TopK and CMoETopK.
  unsigned topK = 10;
  /// Tokens whose co-firing counts once.
  unsigned group = 8;
  /// A hidden unit fires where its value, or its magnitude, is above this.
  double threshold = 0;
  bool magnitude = false;
  /// The method's authors measure layer by layer, behind layers that are
  /// rewritten already.
  bool sequential = false;

  /// Adds what `other` asks for; fails (FFN-P142) where both ask for the same
  /// probe in different form.
  llvm::Error merge(const ProbeRequest &other);
  llvm::json::Object toJSON() const;
};

/// The probes that cost little and that most methods read: Moments, Hidden,
/// Influence.
ProbeRequest getDefaultProbes();

/// Comma-separated names of probes with options, as in
/// "gram,topk{k=10},cofire{group=8}". Errors: FFN-P143.
llvm::Expected<ProbeRequest> parseProbes(llvm::StringRef text);
llvm::StringRef getProbeName(Probe probe);

/// Options of a pass as the text of a pipeline gives them.
using PassOptions = std::map<std::string, std::string>;
/// What a pass with these options reads; the text of an error says which option
/// does not fit. An empty set of probes: with these options it needs none.
using ProbeFunction = llvm::Expected<ProbeRequest> (*)(const PassOptions &);

/// Called once for each pass that reads a profile, when passes are registered.
void registerProbes(llvm::StringRef pass, ProbeFunction function);

/// The request behind "ffn-carve-moe{topk=10}". Errors: FFN-P140 (no such
/// pass), FFN-P141 (the pass needs no profile), FFN-P142 (options).
llvm::Expected<ProbeRequest> parseProbesFor(llvm::StringRef text);

} // namespace mlir::ffn

#endif // FFN_MLIR_PROFILE_PROBES_H
