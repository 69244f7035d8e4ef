//===- Verb.h - Verbs of the driver -----------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_TOOLS_FFNC_VERB_H
#define FFN_MLIR_TOOLS_FFNC_VERB_H

#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/JSON.h"
#include <limits>
#include <memory>

namespace mlir::ffn::driver {

/// Exit codes of all tools (docs/reference/exit-codes.md).
enum ExitCode : int {
  Done = 0,
  Diagnosed = 1,
  Usage = 2,
  Unreachable = 3,
  Unequal = 4,
  MemoryLimit = 5,
  Slower = 6
};

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

/// What --allow-symlinks and the like of every verb say.
ImportOptions getImportOptions();

/// --json of every verb.
struct JSONOption : llvm::cl::opt<bool> {
  explicit JSONOption(Verb &verb);
};
/// Values of an option from `Low` to `High`, anything else is wrong use. The
/// default may lie outside, where it cannot be asked for by number. LLVM's
/// parser of `long` cannot be derived from: `long long` stands for int64_t.
template <typename T, T Low, T High = std::numeric_limits<T>::max()>
struct RangeParser : llvm::cl::parser<T> {
  using llvm::cl::parser<T>::parser;
  bool parse(llvm::cl::Option &option, llvm::StringRef, llvm::StringRef text,
             T &value) {
    if (!text.getAsInteger(10, value) && value >= Low && value <= High)
      return false;
    return option.error("'" + text + "': expected " + llvm::Twine(Low) +
                        (High == std::numeric_limits<T>::max()
                             ? llvm::Twine(" or above")
                             : " to " + llvm::Twine(High)));
  }
};
/// --threads of every verb that runs a model: the range of a session of the
/// runtime. The default, 0, stands for all CPUs.
struct ThreadsOption
    : llvm::cl::opt<unsigned, false, RangeParser<unsigned, 1, 256>> {
  explicit ThreadsOption(Verb &verb);
};
/// Prints to stdout, with a line end. JSON has no number that is not finite:
/// null stands for it.
void printJSON(llvm::json::Value value);

/// A line about work that goes on; nothing where stderr is no terminal.
void progress(const llvm::Twine &text);

/// Temporary files go, and the exit code is 129, 130, 143 or 141, when SIGHUP,
/// SIGINT, SIGTERM or SIGPIPE arrives. Call before the first temporary file.
void handleInterrupts();
/// A process that an interrupt ends too; 0: none.
extern volatile int childProcess;

/// A context with all dialects.
std::unique_ptr<MLIRContext> makeContext();

/// The exit code after errors that a printer has shown.
int getExitCode(const DiagnosticPrinter &printer);

/// Prints `error: <text>` to stderr and returns the exit code.
int fail(const llvm::Twine &text, int code = Diagnosed);

} // namespace mlir::ffn::driver

#endif // FFN_MLIR_TOOLS_FFNC_VERB_H
