//===- ImportFlags.cpp - Command-line flags of the importer ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Import/ImportFlags.h"
#include "llvm/Support/CommandLine.h"
#include <memory>

using namespace mlir;
using namespace mlir::ffn;
namespace cl = llvm::cl;

namespace {
struct Flags {
  cl::OptionCategory category{"ONNX import options"};

  cl::opt<bool> strict{
      "strict", cl::cat(category),
      cl::desc("What exporters habitually get wrong is an error")};
  cl::opt<bool> noShapes{
      "no-shape-inference", cl::cat(category),
      cl::desc("Keep declared types; do not infer or check shapes")};
  cl::opt<bool> allowHardlinks{
      "allow-hardlinks", cl::cat(category),
      cl::desc("External data may have more than one name")};
  cl::opt<bool> noSymlinks{
      "no-symlinks", cl::cat(category),
      cl::desc("No symbolic link at all in the path of external data")};
  cl::opt<bool> allowSymlinks{
      "allow-symlinks", cl::cat(category),
      cl::desc("Links may end under --external-data-root")};
  cl::opt<std::string> externalDataRoot{
      "external-data-root", cl::cat(category), cl::value_desc("folder"),
      cl::desc("Folder that links may lead into")};
  cl::opt<bool> noMmap{
      "no-mmap", cl::cat(category),
      cl::desc("Read files when bytes are needed, map nothing")};
  cl::opt<bool> verifyChecksums{
      "verify-checksums", cl::cat(category),
      cl::desc("Check the SHA-1 of external files at import")};

  struct Limit {
    Limit(cl::OptionCategory &category, const char *name, const char *text,
          uint64_t ImportLimits::*member)
        : flag(StringRef(name), cl::desc(text),
               cl::init(ImportLimits().*member), cl::cat(category)),
          member(member) {}
    cl::opt<uint64_t> flag;
    uint64_t ImportLimits::*member;
  };
  std::vector<std::unique_ptr<Limit>> limits;

  Flags() {
    auto add = [&](const char *name, const char *text,
                   uint64_t ImportLimits::*member) {
      limits.push_back(std::make_unique<Limit>(category, name, text, member));
    };
    add("max-protobuf-bytes", "Largest ONNX file",
        &ImportLimits::maxProtobufBytes);
    add("max-message-nesting", "Deepest nesting of messages",
        &ImportLimits::maxMessageNesting);
    add("max-subgraph-depth", "Deepest nesting of graphs",
        &ImportLimits::maxSubgraphDepth);
    add("max-functions", "Most local functions", &ImportLimits::maxFunctions);
    add("max-call-depth", "Longest chain of local function calls",
        &ImportLimits::maxCallDepth);
    add("max-nodes", "Most nodes after expansion of local functions",
        &ImportLimits::maxNodes);
    add("max-rank", "Highest rank of a tensor", &ImportLimits::maxRank);
    add("max-tensor-bytes", "Largest tensor, declared or computed",
        &ImportLimits::maxTensorBytes);
    add("max-fold-bytes", "Largest constant that folding may make",
        &ImportLimits::maxFoldBytes);
    add("max-total-fold-bytes", "Bytes that folding may make in all",
        &ImportLimits::maxTotalFoldBytes);
    add("max-name-bytes", "Longest name", &ImportLimits::maxNameBytes);
    add("max-unknown-field-bytes", "Longest unknown field that is kept",
        &ImportLimits::maxUnknownFieldBytes);
    add("max-parse-memory", "Memory for parsing beside the size of the file",
        &ImportLimits::maxParseMemory);
  }
};
} // namespace

// Made on request, so that a program that merely links the library has no
// flags of ours; never destroyed, as LLVM's registry refers to it until exit.
static Flags *flags = nullptr;

void mlir::ffn::registerImportFlags() {
  if (!flags)
    flags = new Flags;
}

cl::OptionCategory &mlir::ffn::getImportFlagCategory() {
  registerImportFlags();
  return flags->category;
}

ImportOptions mlir::ffn::getImportOptionsFromFlags() {
  ImportOptions options;
  if (!flags)
    return options;
  options.strict = flags->strict;
  options.inferShapes = !flags->noShapes;
  options.verifyChecksums = flags->verifyChecksums;
  options.files.allowHardlinks = flags->allowHardlinks;
  options.files.noSymlinks = flags->noSymlinks;
  options.files.allowSymlinks = flags->allowSymlinks;
  options.files.externalDataRoot = flags->externalDataRoot;
  options.files.noMmap = flags->noMmap;
  for (const auto &limit : flags->limits)
    options.limits.*(limit->member) = limit->flag;
  return options;
}
