//===- Common.cpp - What all verbs share ----------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Interrupt.h"
#include "Native.h"
#include "ffn-mlir/Support/Json.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>
#include <csignal>
#include <cstring>
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
static cl::opt<std::string>
    externalDataRoot("external-data-root", cl::cat(fileOptions),
                     cl::desc("folder that links may lead into"),
                     cl::value_desc("folder"),
                     cl::sub(cl::SubCommand::getAll()));
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
// Temporary files
//===----------------------------------------------------------------------===//

/// The one temporary folder, for the signal handler.
static char temporaryFolder[4096];
volatile int mlir::ffn::driver::childProcess = 0;
static const char *volatile interruptMessage = nullptr;

/// Calls only what a signal handler may call.
static void onInterrupt(int signal) {
  // Who closed the pipe reads no message.
  if (const char *text = signal == SIGPIPE ? nullptr : interruptMessage)
    (void)!write(STDERR_FILENO, text, strlen(text));
  if (childProcess) {
    kill(childProcess, SIGKILL);
    waitpid(childProcess, nullptr, 0);
  }
  // Another thread may make a file behind the back of the first try.
  for (int tries = 0;
       tries < 3 && temporaryFolder[0] && access(temporaryFolder, F_OK) == 0;
       ++tries) {
    // fork would wait for locks of malloc that this thread may hold.
    pid_t cleaner = _Fork();
    if (cleaner == 0) {
      execl("/bin/rm", "rm", "-rf", "--", temporaryFolder, nullptr);
      _exit(1);
    }
    if (cleaner > 0)
      waitpid(cleaner, nullptr, 0);
  }
  _exit(128 + signal);
}

void mlir::ffn::driver::installInterruptHandlers() {
  struct sigaction action{}, old{};
  action.sa_handler = onInterrupt;
  // The other signals must not interrupt the cleaning.
  for (int number : {SIGINT, SIGTERM, SIGPIPE})
    sigaddset(&action.sa_mask, number);
  for (int number : {SIGINT, SIGTERM, SIGPIPE})
    // What was started to be deaf to a signal, as under nohup, stays so.
    if (sigaction(number, nullptr, &old) == 0 && old.sa_handler != SIG_IGN)
      sigaction(number, &action, nullptr);
}

void mlir::ffn::driver::setInterruptMessage(const char *text) {
  interruptMessage = text;
}

void mlir::ffn::driver::setTemporaryFolder(StringRef path) {
  temporaryFolder[0] = 0;
  if (path.size() >= sizeof temporaryFolder)
    return;
  // The first byte last: the handler must never see a part of the name.
  for (size_t i = path.size(); i-- > 0;) {
    if (i == path.size() - 1)
      temporaryFolder[i + 1] = 0;
    static_cast<volatile char *>(temporaryFolder)[i] = path[i];
  }
}

std::error_code TemporaryFolder::create() {
  std::error_code code = llvm::sys::fs::createUniqueDirectory("ffnc", folder);
  if (!code)
    setTemporaryFolder(folder);
  return code;
}

TemporaryFolder::~TemporaryFolder() {
  if (folder.empty())
    return;
  llvm::sys::fs::remove_directories(folder);
  setTemporaryFolder("");
}

std::string TemporaryFolder::file(StringRef name) const {
  llvm::SmallString<128> path = folder;
  llvm::sys::path::append(path, name);
  return path.str().str();
}
