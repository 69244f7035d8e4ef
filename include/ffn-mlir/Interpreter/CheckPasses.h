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
// sums to answer for: 2^-40 of the largest value of the output, 2^13 roundings.
//
// A pass that stores bytes of weight expressions moves each of their elements
// w by at most u |w|, u the unit roundoff of the type; raise and decompose do
// the same to the constants of operators (sqrt(2), eps, a scale), which files
// have in their type and the ffn dialect exactly. To first order output j moves
// by the sum over these n sites i of g_ji w_i d_i, |d_i| <= u. Bounding the
// derivatives g layer by layer in norms, as for a single product, is correct
// but empty: the norms of the layers multiply, and a network of ten layers may
// change by more than its values. They are measured instead: some runs move all
// sites by +u or -u, drawn independently, and a run moves output j by a sum
// whose mean square is s_j^2 = u^2 sum_i (g_ji w_i)^2. Then the pass moves it
//
// - by at most sqrt(n) s_j, whatever d is (Cauchy-Schwarz);
// - by at most t s_j but for a chance of 2 exp(-t^2 / 2), where roundings are
//   independent of each other with mean zero (Hoeffding; the model of Higham
//   and Mary, A new approach to probabilistic rounding error analysis, SIAM
//   Journal on Scientific Computing 41, 2019). t is that of a chance of 1e-9
//   over all elements of the output.
//
// The bound is 2^-40 of the largest value, plus the smaller of both factors
// times twice the largest movement that was seen: the s_j of the element that
// moves most is more than twice that only where all runs fall short together.
// A file whose constants are coarser than their type, which raise accepts,
// breaks the bound: the function does change there.
//
// For approximate passes nothing is compared: what follows is measured against
// their result. A broken bound is an error (FFN-E110) and ends ffn-opt with
// exit code 4, comparison failed; what cannot be checked is FFN-E105 and 1.
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
/// Whether a pass broke its bound in this process.
bool hasBrokenPassBound();

} // namespace mlir::ffn

#endif // FFN_MLIR_INTERPRETER_CHECKPASSES_H
