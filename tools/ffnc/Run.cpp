//===- Run.cpp - ffnc run -------------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Native.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <cctype>
#include <cmath>

using namespace mlir::ffn;
using namespace mlir::ffn::driver;
namespace cl = llvm::cl;

static int run();
static Verb verb("run", "runs a model once on .npy files or random inputs", run,
                 R"(
EXAMPLES:
  ffnc run model.so --input input_ids=ids.npy --output-dir out
  ffnc run model.onnx --random --dim batch=2 --dim sequence=16 --json

Every output is written to the folder as NAME.npy, or as output-N.npy where its
name does not do as a file name.
)");
static NativeOptions options(verb);
static InputOptions
    source(verb, "size of a symbolic dimension of random inputs", "name=size");
static JSONOption asJson(verb);
static cl::opt<std::string>
    outputDir("output-dir",
              cl::desc("folder of the outputs (default: "
                       "they are not written)"),
              cl::value_desc("folder"), cl::sub(verb.command));
static cl::opt<bool> random_("random",
                             cl::desc("random numbers for inputs that are not "
                                      "given; ones for masks"),
                             cl::sub(verb.command));

/// A name of the model as a file name, or the number of the output.
static std::string fileName(llvm::StringRef name, size_t index,
                            llvm::StringSet<> &taken) {
  bool plain = !name.empty() && name.size() <= 100 && name.front() != '.' &&
               name.front() != '-' && llvm::all_of(name, [](char c) {
                 return isalnum(static_cast<unsigned char>(c)) || c == '.' ||
                        c == '_' || c == '-';
               });
  std::string stem = plain ? name.str() : "output-" + std::to_string(index);
  while (!taken.insert(stem).second)
    stem = "output-" + stem;
  return stem + ".npy";
}

static int run() {
  handleInterrupts();
  auto sizes = parseDims(source.dims);
  if (!sizes)
    return fail(sizes.takeError(), Usage);
  std::unique_ptr<Artefact> artefact =
      openNative(options.model, options.threads);
  if (!artefact)
    return Diagnosed;
  if (llvm::Error error = checkDimNames(artefact.get(), *sizes))
    return fail(std::move(error), Usage);
  size_t count = artefact->getInputs().size();
  std::vector<HostTensor> inputs(count), outputs;
  llvm::SmallVector<bool> given(count, false);
  if (llvm::Error error = readInputs(*artefact, source.files, given, inputs))
    return fail(std::move(error));
  if (!random_)
    for (auto [i, value] : llvm::enumerate(artefact->getInputs()))
      if (!given[i])
        return fail("input '" + value.name + "' (" + value.describe() +
                    ") is not given; --random fills it [FFN-R400]");
  if (llvm::Error error = fillInputs(*artefact, *sizes, source.seed,
                                     source.intBound, given, inputs))
    return fail(std::move(error));
  double begin = now();
  if (llvm::Error error = artefact->run(inputs, outputs))
    return fail(std::move(error));
  double seconds = now() - begin;

  if (!outputDir.empty())
    if (std::error_code code = llvm::sys::fs::create_directories(outputDir))
      return fail(outputDir + ": " + code.message() + " [FFN-O101]");
  llvm::json::Array list;
  llvm::StringSet<> taken;
  for (auto [i, tensor] : llvm::enumerate(outputs)) {
    const Artefact::Value &value = artefact->getOutputs()[i];
    llvm::SmallString<128> path;
    if (!outputDir.empty()) {
      path = outputDir;
      llvm::sys::path::append(path, fileName(value.name, i, taken));
      std::string error;
      if (failed(writeNpy(path, tensor.toNpy(), error)))
        return fail(path.str() + ": " + error + " [FFN-O101]");
    }
    double largest = 0;
    uint64_t nonFinite = 0;
    for (size_t k = 0; k < tensor.getNumElements(); ++k) {
      double number = tensor.getDouble(k);
      if (!std::isfinite(number))
        ++nonFinite;
      else
        largest = std::max(largest, std::fabs(number));
    }
    if (asJson) {
      llvm::json::Object entry{{"name", value.name},
                               {"dtype", dtypeName(tensor.getDtype())},
                               {"shape", llvm::json::Array(tensor.getShape())},
                               {"max_abs", largest},
                               {"non_finite", nonFinite}};
      if (!path.empty())
        entry["file"] = llvm::json::fixUTF8(path);
      list.push_back(std::move(entry));
      continue;
    }
    llvm::outs() << value.name << ' ' << dtypeName(tensor.getDtype()) << ' '
                 << shapeName(tensor.getShape())
                 << llvm::format(" max|y| %.6g", largest);
    if (nonFinite)
      llvm::outs() << ", " << nonFinite << " not finite";
    if (!path.empty())
      llvm::outs() << " -> " << path;
    llvm::outs() << '\n';
  }
  if (asJson)
    printJSON(
        llvm::json::Object{{"outputs", std::move(list)}, {"seconds", seconds}});
  return Done;
}
