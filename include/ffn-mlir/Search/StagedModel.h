//===- StagedModel.h - A compiled model with a run-time mask ----*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SEARCH_STAGEDMODEL_H
#define FFN_MLIR_SEARCH_STAGEDMODEL_H

#include "ffn-mlir/Driver/Artefact.h"
#include "ffn-mlir/Search/Stages.h"
#include "llvm/ADT/BitVector.h"

namespace mlir::ffn {

/// Arguments and results of @main, as an artefact would describe them.
struct ModelSignature {
  std::vector<Artefact::Value> inputs, outputs;
};
/// Empty where there is no @main.
ModelSignature getModelSignature(ModuleOp module);

struct StagedModelOptions {
  /// "native", "avx2" or "avx512".
  std::string cpu = "native";
  /// Evaluations that may run at the same time, each on one thread; 0: as many
  /// as the CPUs that the process may use.
  unsigned workers = 0;
  /// Of LLVM, 0 to 3. A compiled model of another level may round otherwise.
  unsigned optLevel = 3;
};

/// A model compiled once, whose residual sublayers can be left out at run time.
/// Leaving one out is a branch: its code does not run and its result is the
/// residual, so the logits have the bits of the model from which
/// `ffn-prune-sublayers` removed it. A norm behind a sublayer stays, as there.
class StagedModel {
public:
  /// Everything computed for one sample; values are shared between copies, so a
  /// copy is cheap and an evaluation may restart from any of its stages.
  class State {
    std::vector<std::shared_ptr<HostTensor>> values;
    friend class StagedModel;
  };

  /// Compiles the stages of a raised module into a temporary folder that is
  /// gone afterwards. Null after diagnostics.
  static std::unique_ptr<StagedModel>
  compile(ModuleOp module, const StagedModelOptions &options);

  llvm::ArrayRef<StagedSublayer> getSublayers() const { return sublayers; }
  /// Says that sublayer `i` is none to leave out.
  void fix(unsigned i, std::string why) { sublayers[i].fixed = std::move(why); }
  unsigned getNumStages() const { return pieces.size(); }
  unsigned getNumWorkers() const { return sessions.size(); }
  /// State before the first stage; takes the tensors.
  State begin(std::vector<HostTensor> arguments) const;
  /// Runs the stages from `firstStage` on without the sublayers in `mask` (one
  /// bit each). The stages before it must have run in `state`. One call at a
  /// time for each worker.
  llvm::Error run(State &state, const llvm::BitVector &mask,
                  unsigned firstStage, unsigned worker);
  /// Runs one stage, or leaves it out.
  llvm::Error runStage(State &state, unsigned stage, bool leaveOut,
                       unsigned worker);
  /// Result `i` of @main; null where it is a constant.
  const HostTensor *getResult(const State &state, unsigned i) const;
  /// What sublayer `i` read as the residual, and what it made of it.
  const HostTensor *getResidual(const State &state, unsigned i) const;
  const HostTensor *getHidden(const State &state, unsigned i) const;
  /// The same to change, right after its stage ran in `state`, and before the
  /// state is copied.
  HostTensor *getFreshHidden(State &state, unsigned i) {
    return state.values[sublayers[i].hidden].get();
  }
  /// What sublayer `i` made becomes what sublayer `j` of another model made.
  void setHidden(State &state, unsigned i, const State &otherState,
                 const StagedModel &other, unsigned j) const {
    state.values[sublayers[i].hidden] =
        otherState.values[other.sublayers[j].hidden];
  }
  unsigned getNumResults() const { return results.size(); }
  /// Name of result `i` of @main.
  const std::string &getResultName(unsigned i) const { return resultNames[i]; }

private:
  struct Piece {
    SmallVector<unsigned> inputs, outputs;
    int64_t sublayer;
  };
  std::vector<StagedSublayer> sublayers;
  std::vector<Piece> pieces;
  SmallVector<unsigned> arguments;
  SmallVector<std::optional<unsigned>> results;
  std::vector<std::string> resultNames;
  unsigned numValues = 0;
  /// One session for each worker and stage.
  std::vector<std::vector<std::unique_ptr<Artefact>>> sessions;
};

/// Calls `task(index, worker)` for every index below `count`, on all workers;
/// the first error ends it. The order of calls is not fixed.
llvm::Error
forEachOnWorkers(unsigned workers, size_t count,
                 llvm::function_ref<llvm::Error(size_t, unsigned)> task);

} // namespace mlir::ffn

#endif // FFN_MLIR_SEARCH_STAGEDMODEL_H
