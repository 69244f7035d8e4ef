//===- Report.cpp - ffnc report -------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Analysis/Report.h"
#include "Native.h"
#include "ffn-mlir/Support/DurableFile.h"

using namespace mlir;
using namespace mlir::ffn::driver;
namespace cl = llvm::cl;

static int report();
static Verb verb("report",
                 "puts what the other verbs have printed with --json into one "
                 "HTML file",
                 report, R"(
Reads every .json file of DIR: 'ffnc analyze' of any kind, 'ffnc compile' (what
passes did and the latency gate), 'ffnc compare --data' (quality) and 'ffnc
bench' (latency). The page is below 3 MB, needs no network and has no scripts.

EXAMPLES:
  mkdir run
  ffnc compile model.onnx -o run/pruned.so --json --pass-pipeline='...' > run/compile.json
  ffnc compare model.onnx run/pruned.so --data heldout.txt --json > run/compare.json
  ffnc bench model.so run/pruned.so --json > run/bench.json
  ffnc analyze cost model.onnx --json > run/cost.json
  ffnc report run -o report.html
)");
static cl::opt<std::string> folder(cl::Positional, cl::Required,
                                   cl::desc("DIR"), cl::sub(verb.command));
static cl::opt<std::string> output("o", cl::Required,
                                   cl::desc("HTML file (required)"),
                                   cl::value_desc("file.html"),
                                   cl::sub(verb.command));
static cl::opt<std::string>
    title("title", cl::init("ffn-mlir report"),
          cl::desc("heading of the page (default: ffn-mlir report)"),
          cl::value_desc("text"), cl::sub(verb.command));

static int report() {
  std::vector<std::string> skipped;
  auto parts = ffn::readReportFolder(folder, skipped);
  if (!parts)
    return fail(parts.takeError());
  for (const std::string &file : skipped)
    llvm::errs() << "warning: " << file
                 << ": no tool of ffn-mlir prints this; it is left out "
                    "[FFN-A107]\n";
  auto page = ffn::writeReport(title, *parts);
  if (!page)
    return fail(page.takeError());
  if (llvm::Error error =
          ffn::writeFileDurably(output, "report", [&](auto sink) {
            return sink({page->data(), page->size()});
          }))
    return fail(std::move(error));
  return Done;
}
