//===- Verb.h - Verbs of the driver -----------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_TOOLS_FFNC_VERB_H
#define FFN_MLIR_TOOLS_FFNC_VERB_H

#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/CommandLine.h"
#include <memory>

namespace mlir::ffn::driver {

/// Exit codes of all tools (docs/reference/exit-codes.md).
enum ExitCode : int { Done = 0, Diagnosed = 1, Usage = 2, Unequal = 4 };

/// A verb: a subcommand with its options, and what it does. Defined once for
/// each verb at namespace scope; construction registers it.
class Verb {
public:
  using Action = int (*)();
  /// `examples` ends the help text of the verb.
  Verb(llvm::StringRef name, llvm::StringRef summary, Action action,
       llvm::StringRef examples = "");

  llvm::cl::SubCommand command;
  Action action;
  llvm::StringRef examples;
  Verb *next;

  static Verb *first();
};

/// A context with all dialects.
std::unique_ptr<MLIRContext> makeContext();

/// Prints `error: <text>` to stderr and returns the exit code.
int fail(const llvm::Twine &text, int code = Diagnosed);

} // namespace mlir::ffn::driver

#endif // FFN_MLIR_TOOLS_FFNC_VERB_H
