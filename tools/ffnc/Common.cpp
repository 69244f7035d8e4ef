//===- Common.cpp - What all verbs share ----------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Interrupt.h"
#include "Native.h"
#include "ffn-mlir/Support/Json.h"
#include "ffn-mlir/Support/TemporaryFolder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>
#include <csignal>
#include <cstring>
#include <ctime>
#include <sys/wait.h>
#include <unistd.h>

using namespace mlir::ffn;
using namespace mlir::ffn::driver;
using llvm::StringRef;
namespace cl = llvm::cl;
namespace json = llvm::json;

//===----------------------------------------------------------------------===//
// Options
//===----------------------------------------------------------------------===//

static cl::OptionCategory fileOptions("External data of ONNX models");
static cl::opt<bool>
    allowSymlinks("allow-symlinks", cl::cat(fileOptions),
                  cl::desc("links may end under --external-data-root"),
                  cl::sub(cl::SubCommand::getAll()));
static cl::opt<bool> noSymlinks("no-symlinks", cl::cat(fileOptions),
                                cl::desc("no symbolic link at all"),
                                cl::sub(cl::SubCommand::getAll()));
static cl::opt<std::string> externalDataRoot(
    "external-data-root", cl::cat(fileOptions),
    cl::desc("folder that links may lead into (default: none)"),
    cl::value_desc("folder"), cl::sub(cl::SubCommand::getAll()));
static cl::opt<bool> allowHardlinks("allow-hardlinks", cl::cat(fileOptions),
                                    cl::desc("files may have several names"),
                                    cl::sub(cl::SubCommand::getAll()));

ImportOptions driver::getImportOptions() {
  ImportOptions options;
  options.files.allowSymlinks = allowSymlinks;
  options.files.noSymlinks = noSymlinks;
  options.files.externalDataRoot = externalDataRoot;
  options.files.allowHardlinks = allowHardlinks;
  return options;
}

JSONOption::JSONOption(Verb &verb)
    : cl::opt<bool>("json", cl::desc("one JSON object instead of text"),
                    cl::sub(verb.command)) {}

ThreadsOption::ThreadsOption(Verb &verb)
    : opt("threads", cl::init(0),
          cl::desc("threads, 1 to 256 (default: all CPUs)"),
          cl::value_desc("count"), cl::sub(verb.command)) {}

NativeOptions::NativeOptions(Verb &verb)
    : model(cl::Positional, cl::Required,
            cl::desc("model.so|model.onnx|model.mlir"), cl::sub(verb.command)),
      threads(verb) {}

InputOptions::InputOptions(Verb &verb, StringRef dimsText, StringRef dimsForm)
    : files("input",
            cl::desc("an input, or an archive with several; of an archive "
                     "what has the name of no input is passed over"),
            cl::value_desc("name=file.npy|file.npz"), cl::sub(verb.command)),
      dims("dim", cl::desc(dimsText), cl::value_desc(dimsForm),
           cl::sub(verb.command)),
      seed("seed", cl::init(0), cl::desc("of the random inputs (default: 0)"),
           cl::value_desc("number"), cl::sub(verb.command)),
      intBound("int-bound", cl::init(2),
               cl::desc("random integers are 0 to this less one (default: 2)"),
               cl::value_desc("number"), cl::sub(verb.command)) {}

TokenOptions::TokenOptions(Verb &verb)
    : tokenizer("tokenizer",
                cl::desc("tokenizer in JSON form (default: a token is a byte)"),
                cl::value_desc("file"), cl::sub(verb.command)),
      bos("bos", cl::init(-1),
          cl::desc("id before a text, where the tokenizer names none "
                   "(default: none)"),
          cl::value_desc("id"), cl::sub(verb.command)) {}

llvm::Expected<Tokenizer> TokenOptions::load() const {
  if (tokenizer.empty())
    return Tokenizer::bytes();
  return Tokenizer::load(tokenizer);
}

//===----------------------------------------------------------------------===//
// Output
//===----------------------------------------------------------------------===//

void mlir::ffn::driver::printJSON(json::Value value) {
  llvm::outs() << printFiniteJSON(std::move(value)) << '\n';
}

void mlir::ffn::driver::progress(const llvm::Twine &text) {
  if (llvm::errs().is_displayed())
    llvm::errs() << text << '\n';
}

int mlir::ffn::driver::getExitCode(const DiagnosticPrinter &printer) {
  for (const CollectedDiagnostic &entry : printer.getCollected()) {
    if (entry.severity != DiagnosticSeverity::Error)
      continue;
    if (entry.code == "FFN-P112")
      return Unreachable;
    if (entry.code == "FFN-M101")
      return MemoryLimit;
  }
  return Diagnosed;
}

int mlir::ffn::driver::fail(const llvm::Twine &text, int code) {
  llvm::errs() << "error: " << text << '\n';
  return code;
}

int mlir::ffn::driver::fail(llvm::Error error, int code) {
  return fail(llvm::toString(std::move(error)), code);
}

//===----------------------------------------------------------------------===//
// Interrupts
//===----------------------------------------------------------------------===//

volatile int mlir::ffn::driver::childProcess = 0;
static const char *volatile interruptMessage = nullptr;

/// The child cleans up behind itself; who does not come to an end is killed.
static void endChild(pid_t child) {
  kill(child, SIGTERM);
  for (int tries = 0; tries < 200; ++tries) {
    if (waitpid(child, nullptr, WNOHANG) != 0)
      return;
    struct timespec pause = {0, 10'000'000};
    nanosleep(&pause, nullptr);
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

/// Calls only what a signal handler may call.
static void beforeRemoval(int signal) {
  // Who closed the pipe reads no message.
  if (const char *text = signal == SIGPIPE ? nullptr : interruptMessage)
    (void)!write(STDERR_FILENO, text, strlen(text));
  if (childProcess)
    endChild(childProcess);
}

void mlir::ffn::driver::handleInterrupts() {
  installInterruptHandlers(beforeRemoval);
}

void mlir::ffn::driver::setInterruptMessage(const char *text) {
  interruptMessage = text;
}
