//===- DiagnosticPrinter.h - One form for all messages ----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Everything that is wrong with a model reaches the user as
//   model.onnx: error: <where>: <what> [FFN-I203]
//   model.onnx: note: <hint>
// whether a reader of bytes, a verifier or a pass found it.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_DIAGNOSTICPRINTER_H
#define FFN_MLIR_SUPPORT_DIAGNOSTICPRINTER_H

#include "ffn-mlir/Support/CandidateLog.h"
#include "ffn-mlir/Support/CodedError.h"
#include "mlir/IR/Diagnostics.h"
#include <string>
#include <vector>

namespace mlir::ffn {

/// A diagnostic as text, for callers that show it themselves.
struct CollectedDiagnostic {
  DiagnosticSeverity severity;
  /// "FFN-I203"; empty if the message has none.
  std::string code;
  std::string message;
  std::vector<std::string> notes;
  /// What a pass answers about its candidates.
  SmallVector<CandidateEntry, 0> candidates;
};

/// "FFN-I203" out of "... [FFN-I203]"; empty if there is none at the end.
llvm::StringRef findCode(llvm::StringRef message);

/// Takes all diagnostics of a context while it lives: prints them to a stream,
/// or only collects them.
class DiagnosticPrinter : public ScopedDiagnosticHandler {
public:
  /// `file` starts each line, unless the location names another file. A null
  /// stream collects only, and so it is with remarks unless they are shown.
  DiagnosticPrinter(MLIRContext *ctx, llvm::StringRef file,
                    llvm::raw_ostream *os, bool showRemarks = true);

  void setFile(llvm::StringRef name) { file = name.str(); }
  llvm::ArrayRef<CollectedDiagnostic> getCollected() const { return collected; }
  unsigned getNumErrors() const { return numErrors; }

private:
  void handle(Diagnostic &diagnostic);

  std::string file;
  llvm::raw_ostream *os;
  bool showRemarks;
  unsigned numErrors = 0;
  std::vector<CollectedDiagnostic> collected;
};

/// Hands over to the diagnostic engine of the location's context, in order.
/// Success if there is no error among them.
LogicalResult emitCodedErrors(Location loc, const CodedErrors &errors);

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_DIAGNOSTICPRINTER_H
