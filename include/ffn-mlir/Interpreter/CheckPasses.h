//===- CheckPasses.h - The oracle after every pass --------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Translation validation by execution: the interpreter runs @main on the same
// inputs before the first pass and after each one. The first pass whose outputs
// leave its bound is named and fails the pipeline.
//
// What a pass may change is its numerical class. Results are float64 values of
// the exact weights, so an exact pass has only the re-association of float64
// sums to answer for: 2^-40 of the largest value of the output. A pass that
// stores bytes of n weight expressions rounds their elements with a unit
// roundoff u: gamma(16 n) = 16 n u / (1 - 16 n u) is added. Raise and decompose
// exchange constants that a file has in f32 (sqrt(2), eps, a scale) for their
// exact values and back: the same bound, with n the norms, networks and
// attentions and u that of f32. For approximate passes nothing is compared:
// what follows is measured against their result.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_INTERPRETER_CHECKPASSES_H
#define FFN_MLIR_INTERPRETER_CHECKPASSES_H

#include "ffn-mlir/Support/NumericalClass.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Support/LLVM.h"
#include <cstdint>
#include <string>
#include <vector>

namespace mlir::ffn {

/// Class of a pass by its argument; exact where none was set.
NumericalClass getNumericalClass(llvm::StringRef passArgument);
void setNumericalClass(llvm::StringRef passArgument, NumericalClass kind);

struct CheckPassesOptions {
  /// Seed of inputs that no file gives.
  uint64_t seed = 0;
  /// "name=file.npy" for every argument; empty: seeded inputs, with small
  /// sizes for symbolic dimensions.
  std::vector<std::string> inputs;
};

/// Checks every pass of `pm`, which must be complete, when it runs on a module
/// with a function @main. Turns multithreading of its context off.
void addPassChecks(PassManager &pm, const CheckPassesOptions &options = {});

/// Command line flags --ffn-check-passes, --ffn-check-seed, --ffn-check-input.
void registerCheckPassesFlags();
/// `addPassChecks` where the flags ask for it.
void addPassChecksFromFlags(PassManager &pm);

} // namespace mlir::ffn

#endif // FFN_MLIR_INTERPRETER_CHECKPASSES_H
