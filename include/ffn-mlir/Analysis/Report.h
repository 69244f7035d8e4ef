//===- Report.h - One page about a model ------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_ANALYSIS_REPORT_H
#define FFN_MLIR_ANALYSIS_REPORT_H

#include "ffn-mlir/Analysis/View.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"
#include <optional>

namespace mlir::ffn {

/// Bytes that a report has at most.
inline constexpr size_t kMaxReportBytes = 3'000'000;

/// What the tools print with --json, told apart by what is in it.
struct ReportPart {
  /// Name of the file that it comes from.
  std::string file;
  View view;
  /// Decisions come first, then quality, latency, and the analyses.
  unsigned order = 0;
};
/// None for an object that none of our tools prints.
std::optional<ReportPart> readReportPart(llvm::StringRef file,
                                         const llvm::json::Value &value);

/// Reads every `*.json` of a folder. `skipped` gets the names of those that no
/// tool of ours has printed. Fails (FFN-A107) where the folder cannot be read,
/// a file is no JSON or beyond 64 MiB, or nothing is left.
llvm::Expected<std::vector<ReportPart>>
readReportFolder(llvm::StringRef folder, std::vector<std::string> &skipped);

/// An HTML file that needs nothing else: styles and SVG inline, no scripts.
/// Long tables are cut, and say so. Fails (FFN-A107) beyond kMaxReportBytes.
llvm::Expected<std::string> writeReport(llvm::StringRef title,
                                        llvm::ArrayRef<ReportPart> parts);

} // namespace mlir::ffn

#endif // FFN_MLIR_ANALYSIS_REPORT_H
