//===- CodedError.h - Diagnostics with stable codes -------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// What is wrong with a file is said in one form everywhere:
//   model.onnx: error: <where>: <what> [FFN-I203]
//   model.onnx: note: <hint>
// The code is stable and documented, the prose is not. This header needs no
// MLIR, so that readers of bytes can use it before a context exists.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_CODEDERROR_H
#define FFN_MLIR_SUPPORT_CODEDERROR_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/LogicalResult.h"
#include "llvm/Support/raw_ostream.h"
#include <string>
#include <vector>

namespace mlir::ffn {

/// One diagnostic about a file.
struct CodedError {
  enum class Severity { Error, Warning };

  /// "FFN-I203"; the code of a warning ends in W ("FFN-I302W").
  std::string code;
  /// "graph 'main', node 12 'fc1' (Gemm), input 1"; empty if the whole file.
  std::string where;
  std::string what;
  /// Hints, such as the flag of the limit that was reached.
  llvm::SmallVector<std::string, 1> notes;
  Severity severity = Severity::Error;

  /// "<where>: <what> [<code>]".
  std::string getMessage() const;
  /// The message and its notes, each on a line that starts with `file`.
  void print(llvm::raw_ostream &os, llvm::StringRef file) const;
};

/// Collects diagnostics. Errors beyond `maxErrors` are counted, not kept, so
/// that a hostile file cannot fill memory with messages; warnings likewise.
class CodedErrors {
public:
  explicit CodedErrors(unsigned maxErrors = 20, unsigned maxWarnings = 20)
      : maxErrors(maxErrors), maxWarnings(maxWarnings) {}

  /// `code` without prefix and brackets: "I203". Always returns failure.
  llvm::LogicalResult error(llvm::StringRef code, const llvm::Twine &where,
                            const llvm::Twine &what,
                            llvm::ArrayRef<std::string> notes = {});
  /// `code` without the final W: warning("I302", ...) has code FFN-I302W.
  void warning(llvm::StringRef code, const llvm::Twine &where,
               const llvm::Twine &what, llvm::ArrayRef<std::string> notes = {});

  bool hasErrors() const { return numErrors != 0; }
  uint64_t getNumErrors() const { return numErrors; }
  uint64_t getNumWarnings() const { return numWarnings; }
  /// True once further errors would only be counted: checkers stop here.
  bool isFull() const { return numErrors >= maxErrors; }
  /// In the order of their discovery, errors and warnings mixed.
  llvm::ArrayRef<CodedError> get() const { return list; }
  /// Prints all of them and, where some were not kept, how many.
  void print(llvm::raw_ostream &os, llvm::StringRef file) const;

private:
  std::vector<CodedError> list;
  uint64_t numErrors = 0, numWarnings = 0;
  unsigned maxErrors, maxWarnings;
};

/// Text from a file for a message: bytes that do not print are escaped as
/// \xNN, quotes and backslashes too, and the whole is cut at 80 characters.
std::string escapeName(llvm::StringRef name);
/// The same between single quotes.
std::string quoteName(llvm::StringRef name);

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_CODEDERROR_H
