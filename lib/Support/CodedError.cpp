//===- CodedError.cpp - Diagnostics with stable codes ---------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/CodedError.h"
#include "llvm/ADT/StringExtras.h"

using namespace llvm;

namespace mlir::ffn {

std::string CodedError::getMessage() const {
  std::string text;
  if (!where.empty())
    text = where + ": ";
  return text + what + " [" + code + "]";
}

void CodedError::print(raw_ostream &os, StringRef file) const {
  os << file << (severity == Severity::Error ? ": error: " : ": warning: ")
     << getMessage() << '\n';
  for (const std::string &note : notes)
    os << file << ": note: " << note << '\n';
}

LogicalResult CodedErrors::error(StringRef code, const Twine &where,
                                 const Twine &what,
                                 ArrayRef<std::string> notes) {
  if (numErrors++ < maxErrors) {
    CodedError &e = list.emplace_back();
    e.code = ("FFN-" + code).str();
    e.where = where.str();
    e.what = what.str();
    e.notes.assign(notes.begin(), notes.end());
  }
  return failure();
}

void CodedErrors::warning(StringRef code, const Twine &where, const Twine &what,
                          ArrayRef<std::string> notes) {
  if (numWarnings++ < maxWarnings) {
    CodedError &e = list.emplace_back();
    e.code = ("FFN-" + code + "W").str();
    e.where = where.str();
    e.what = what.str();
    e.notes.assign(notes.begin(), notes.end());
    e.severity = CodedError::Severity::Warning;
  }
}

void CodedErrors::print(raw_ostream &os, StringRef file) const {
  for (const CodedError &e : list)
    e.print(os, file);
  if (numErrors > maxErrors)
    os << file << ": note: " << numErrors - maxErrors
       << " more errors are not shown\n";
  if (numWarnings > maxWarnings)
    os << file << ": note: " << numWarnings - maxWarnings
       << " more warnings are not shown\n";
}

std::string escapeName(StringRef name) {
  constexpr size_t limit = 80;
  std::string text;
  for (unsigned char c : name) {
    char piece[5];
    size_t n = 0;
    if (c < 0x20 || c >= 0x7f) {
      piece[n++] = '\\';
      piece[n++] = 'x';
      piece[n++] = hexdigit(c >> 4);
      piece[n++] = hexdigit(c & 15);
    } else {
      if (c == '\\' || c == '\'' || c == '"')
        piece[n++] = '\\';
      piece[n++] = static_cast<char>(c);
    }
    if (text.size() + n > limit) {
      // Room for the dots, without cutting an escape in half where it is ours.
      text.resize(std::min(text.size(), limit - 3));
      return text + "...";
    }
    text.append(piece, n);
  }
  return text;
}

std::string quoteName(StringRef name) { return "'" + escapeName(name) + "'"; }

} // namespace mlir::ffn
