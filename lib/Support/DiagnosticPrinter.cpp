//===- DiagnosticPrinter.cpp - One form for all messages ------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Location.h"

using namespace mlir;
using namespace mlir::ffn;

StringRef mlir::ffn::findCode(StringRef message) {
  if (!message.consume_back("]"))
    return {};
  size_t open = message.rfind('[');
  if (open == StringRef::npos)
    return {};
  StringRef code = message.drop_front(open + 1);
  return code.starts_with("FFN-") ? code : StringRef();
}

static const char *getSeverityText(DiagnosticSeverity severity) {
  switch (severity) {
  case DiagnosticSeverity::Note:
    return ": note: ";
  case DiagnosticSeverity::Warning:
    return ": warning: ";
  case DiagnosticSeverity::Error:
    return ": error: ";
  case DiagnosticSeverity::Remark:
    return ": remark: ";
  }
  return ": ";
}

/// "name:line:column" for a place in a text file, else `otherwise`.
static std::string getPlace(Location loc, StringRef otherwise) {
  if (auto place = loc->findInstanceOf<FileLineColLoc>())
    return (place.getFilename().getValue() + ":" + Twine(place.getLine()) +
            ":" + Twine(place.getColumn()))
        .str();
  return otherwise.str();
}

DiagnosticPrinter::DiagnosticPrinter(MLIRContext *ctx, StringRef file,
                                     llvm::raw_ostream *os, bool showRemarks)
    : ScopedDiagnosticHandler(ctx), file(file.str()), os(os),
      showRemarks(showRemarks) {
  setHandler([this](Diagnostic &diagnostic) {
    handle(diagnostic);
    return success();
  });
}

void DiagnosticPrinter::handle(Diagnostic &diagnostic) {
  CollectedDiagnostic entry;
  entry.severity = diagnostic.getSeverity();
  entry.message = diagnostic.str();
  entry.code = findCode(entry.message).str();
  entry.candidates = readCandidates(diagnostic);
  if (entry.severity == DiagnosticSeverity::Error)
    ++numErrors;
  bool shown =
      os && (showRemarks || entry.severity != DiagnosticSeverity::Remark);
  auto print = [&](Diagnostic &d, StringRef text) {
    if (shown)
      *os << getPlace(d.getLocation(), file) << getSeverityText(d.getSeverity())
          << text << '\n';
  };
  print(diagnostic, entry.message);
  for (Diagnostic &note : diagnostic.getNotes()) {
    std::string text = note.str();
    // The printed operation can be as long as the model.
    if (StringRef(text).starts_with("see current operation"))
      continue;
    print(note, text);
    entry.notes.push_back(std::move(text));
  }
  collected.push_back(std::move(entry));
}

LogicalResult mlir::ffn::emitCodedErrors(Location loc,
                                         const CodedErrors &errors) {
  uint64_t shownErrors = 0, shownWarnings = 0;
  for (const CodedError &e : errors.get()) {
    bool isError = e.severity == CodedError::Severity::Error;
    ++(isError ? shownErrors : shownWarnings);
    InFlightDiagnostic diagnostic = isError ? emitError(loc) : emitWarning(loc);
    diagnostic << e.getMessage();
    for (const std::string &note : e.notes)
      diagnostic.attachNote(loc) << note;
  }
  if (errors.getNumErrors() > shownErrors)
    emitRemark(loc) << errors.getNumErrors() - shownErrors
                    << " more errors are not shown";
  if (errors.getNumWarnings() > shownWarnings)
    emitRemark(loc) << errors.getNumWarnings() - shownWarnings
                    << " more warnings are not shown";
  return failure(errors.hasErrors());
}
