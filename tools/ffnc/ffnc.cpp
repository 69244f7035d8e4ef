//===- ffnc.cpp - The driver for people -----------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Verb.h"
#include "ffn-mlir/InitAll.h"
#include "ffn-mlir/Support/StandardStreams.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::ffn::driver;
namespace cl = llvm::cl;

static Verb *verbs = nullptr;

Verb::Verb(llvm::StringRef name, llvm::StringRef summary, Action action,
           llvm::StringRef examples)
    : command(name, summary), action(action), examples(examples), next(verbs) {
  verbs = this;
}

Verb *Verb::first() { return verbs; }

std::unique_ptr<MLIRContext> mlir::ffn::driver::makeContext() {
  DialectRegistry registry;
  registerAllDialects(registry);
  auto context = std::make_unique<MLIRContext>(registry);
  context->loadAllAvailableDialects();
  return context;
}

/// Ends every help text.
static constexpr llvm::StringLiteral kExitCodes = R"(
EXIT CODES:
  0    done
  1    bad file, model or data: a message with a code on stderr
  2    wrong use
  3    compile: a budget that cannot be reached
  4    compare: beyond the limit
  5    --max-memory cannot be kept
  6    compile --require: the rewritten model is slower
  129, 130, 143  interrupted; temporary files are gone
)";

static std::vector<Verb *> sortedVerbs() {
  std::vector<Verb *> list;
  for (Verb *verb = Verb::first(); verb; verb = verb->next)
    list.push_back(verb);
  llvm::sort(list, [](Verb *a, Verb *b) {
    return a->command.getName() < b->command.getName();
  });
  return list;
}

static void printUsage(llvm::raw_ostream &os) {
  os << "usage: ffnc VERB [options]\n\nverbs\n";
  for (Verb *verb : sortedVerbs())
    os << "  " << llvm::left_justify(verb->command.getName(), 10)
       << verb->command.getDescription() << '\n';
  os << "\n'ffnc VERB --help' lists the options of a verb.\n" << kExitCodes;
}

int main(int argc, char **argv) {
  ffn::guardStandardStreams();
  llvm::StringRef word = argc > 1 ? argv[1] : "";
  // "ffnc help run" is "ffnc run --help".
  static char helpFlag[] = "--help";
  if (word == "help" && argc == 3) {
    std::swap(argv[1], argv[2]);
    argv[2] = helpFlag;
    word = argv[1];
  }
  if (word.empty() || word == "--help" || word == "-h" || word == "help") {
    printUsage(word.empty() ? llvm::errs() : llvm::outs());
    return word.empty() ? Usage : Done;
  }
  if (word == "--version") {
    llvm::outs() << "ffnc 0.1.0\n";
    return Done;
  }
  Verb *chosen = nullptr;
  for (Verb *verb : sortedVerbs())
    if (verb->command.getName() == word)
      chosen = verb;
  if (!chosen) {
    llvm::errs() << "error: unknown verb '" << word << "'\n";
    Verb *nearest = nullptr;
    unsigned best = 3;
    for (Verb *verb : sortedVerbs()) {
      unsigned distance = word.edit_distance(verb->command.getName(), true, 3);
      if (distance < best) {
        best = distance;
        nearest = verb;
      }
    }
    if (nearest)
      llvm::errs() << "did you mean '" << nearest->command.getName() << "'?\n";
    printUsage(llvm::errs());
    return Usage;
  }
  ffn::registerAllPasses();
  std::string ending = (chosen->examples + kExitCodes).str();
  cl::extrahelp help(ending);
  std::string message;
  llvm::raw_string_ostream os(message);
  if (!cl::ParseCommandLineOptions(argc, argv, "", &os)) {
    // LLVM names the help of the program, which lists no option of a verb.
    std::string ours = ("ffnc " + word + " --help").str();
    std::string theirs = std::string(argv[0]) + " --help";
    for (size_t at = 0; (at = message.find(theirs, at)) != message.npos;
         at += ours.size())
      message.replace(at, theirs.size(), ours);
    llvm::errs() << message;
    return Usage;
  }
  return chosen->action();
}
