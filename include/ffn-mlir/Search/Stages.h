//===- Stages.h - A model cut at its residual sublayers ---------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A search evaluates a model hundreds of times with other sublayers left out.
// Cut before and behind every sublayer, the model is compiled once; leaving a
// sublayer out is not calling its piece, and an evaluation restarts from any
// value that was kept.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SEARCH_STAGES_H
#define FFN_MLIR_SEARCH_STAGES_H

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "mlir/IR/OwningOpRef.h"

namespace mlir::ffn {

/// One piece: a model module of its own. Its argument i is the value numbered
/// `inputs[i]`, its result i the value numbered `outputs[i]`.
struct Stage {
  static constexpr int64_t kPlain = -1;

  OwningOpRef<ModuleOp> module;
  SmallVector<unsigned> inputs, outputs;
  /// Index of the sublayer that this piece is, or kPlain.
  int64_t sublayer = kPlain;
};

/// A residual sublayer of the model, in program order.
struct StagedSublayer {
  /// Names and kinds of its addends.
  SmallVector<std::string> names;
  SmallVector<SublayerKind> kinds;
  /// Number of the block that it is in: a block begins with the first sublayer
  /// and wherever a kind comes again.
  unsigned block = 0;
  /// Number of the piece.
  unsigned stage = 0;
  /// Values that it reads as the residual and makes of it.
  unsigned residual = 0, hidden = 0;
  /// Why it cannot be left out; empty where it can.
  std::string fixed;
};

struct StagedModule {
  std::vector<Stage> stages;
  std::vector<StagedSublayer> sublayers;
  unsigned numValues = 0;
  /// Value numbers of the arguments of @main, and of what it returns; a
  /// returned constant has none.
  SmallVector<unsigned> arguments;
  SmallVector<std::optional<unsigned>> results;
};

/// Cuts @main of a raised module, which is left as it is. What no sublayer
/// feeds comes first; weights and size arithmetic are copied into every piece
/// that reads them. Fails after a diagnostic where there is no @main of one
/// block or no sublayer (FFN-P110).
FailureOr<StagedModule> cutIntoStages(ModuleOp module);

} // namespace mlir::ffn

#endif // FFN_MLIR_SEARCH_STAGES_H
