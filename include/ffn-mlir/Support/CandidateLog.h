//===- CandidateLog.h - What a pass did with each candidate -----*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A pass names everything that it could rewrite, and says of each, once, that
// it did or why not. Each answer is a remark for people; what a program needs
// of it travels as metadata of the diagnostic, so that it reaches whoever
// collects diagnostics without another channel.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_CANDIDATELOG_H
#define FFN_MLIR_SUPPORT_CANDIDATELOG_H

#include "ffn-mlir/Support/NumericalClass.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Operation.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/JSON.h"
#include <string>

namespace mlir::ffn {

/// An answer, as it is read from a diagnostic.
struct CandidateEntry {
  std::string pass, candidate;
  /// Number among the candidates of the run of the pass, from 0.
  int64_t index = 0;
  bool rewritten = false;
  /// Whether the class of the rewrite is "approximate".
  bool approximate = false;

  llvm::json::Object toJSON() const;
};

/// Empty where the diagnostic is no answer about candidates.
SmallVector<CandidateEntry, 0> readCandidates(Diagnostic &diagnostic);

/// The candidates of one run of a pass.
class CandidateLog {
public:
  CandidateLog(StringRef pass, NumericalClass numericalClass)
      : pass(pass), approximate(numericalClass == NumericalClass::Approximate) {
  }

  /// Forgets all of an earlier run.
  void clear() { candidates.clear(); }
  /// A candidate; `subject` stands for it: an operation, or the impl of a
  /// value or attribute. `name` is for reports: "weight 'fc1'"; the name of
  /// the operation's place, or its kind, where it is empty. A second call for
  /// one subject changes nothing.
  void add(const void *subject, Operation *at, const Twine &name = "");
  bool isOpen(const void *subject) const;

  /// The remark about a candidate that was rewritten, at the operation `at`;
  /// the text is streamed into it. Once for each candidate, while `at` lives.
  InFlightDiagnostic rewritten(const void *subject, Operation *at) {
    return answer(subject, at, /*isRewritten=*/true);
  }
  /// One remark about several that were rewritten together.
  InFlightDiagnostic rewritten(ArrayRef<const void *> subjects, Operation *at) {
    return answer(subjects, at, /*isRewritten=*/true);
  }
  /// The same for what stays: the text says why, and what would help.
  InFlightDiagnostic kept(const void *subject, Operation *at) {
    return answer(subject, at, /*isRewritten=*/false);
  }
  InFlightDiagnostic kept(ArrayRef<const void *> subjects, Operation *at) {
    return answer(subjects, at, /*isRewritten=*/false);
  }

  /// Checks that there is an answer about every candidate; at the end of a run
  /// that did not fail.
  void finish() const;

private:
  InFlightDiagnostic answer(ArrayRef<const void *> subjects, Operation *at,
                            bool isRewritten);
  struct Candidate {
    std::string name;
    bool open = true;
  };
  std::string pass;
  bool approximate;
  llvm::MapVector<const void *, Candidate> candidates;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_CANDIDATELOG_H
