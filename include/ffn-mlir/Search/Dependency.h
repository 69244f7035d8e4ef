//===- Dependency.h - How much parts of a model need one another -*- C++
//-*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// FFN Fusion (arXiv 2503.18908) asks of every pair of parts how far the
// contribution of the later one turns when the earlier one is left out. Parts
// that hardly turn may read the same input. One run of the model without part i
// answers for all j > i.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SEARCH_DEPENDENCY_H
#define FFN_MLIR_SEARCH_DEPENDENCY_H

#include "ffn-mlir/Driver/Calibration.h"
#include "ffn-mlir/Search/StagedModel.h"

namespace mlir::ffn {

/// Neighbouring sublayers of a staged model that are left out together, by
/// index: a network, or the attention and the network of a block.
using DependencyPart = SmallVector<unsigned, 2>;

/// Upper triangular matrix of cosine distances.
class DependencyMatrix {
public:
  explicit DependencyMatrix(unsigned size);
  unsigned size() const { return count; }
  /// 1 - cos between the contributions of part j (what it adds to the residual)
  /// in the whole model and in the one without part i < j: mean over tokens, 0
  /// where nothing changes, 2 where it is reversed. NaN where i >= j, and in
  /// the row of a part that cannot be left out.
  double at(unsigned i, unsigned j) const { return values[i * count + j]; }
  void set(unsigned i, unsigned j, double value) {
    values[i * count + j] = value;
  }

private:
  unsigned count;
  std::vector<double> values;
};

/// Runs the model once, and once without each part, on all samples.
llvm::Expected<DependencyMatrix>
measureDependency(StagedModel &model, llvm::ArrayRef<DependencyPart> parts,
                  std::vector<std::vector<HostTensor>> samples);

/// The same for @main of a raised module, whose sublayers count in program
/// order. Fails after a diagnostic: calibration data (FFN-D...), a model that
/// cannot be compiled (FFN-C...).
FailureOr<DependencyMatrix>
measureDependency(ModuleOp module, llvm::ArrayRef<DependencyPart> parts,
                  const CalibrationOptions &calibration, llvm::StringRef cpu);

} // namespace mlir::ffn

#endif // FFN_MLIR_SEARCH_DEPENDENCY_H
