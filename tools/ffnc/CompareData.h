//===- CompareData.h - ffnc compare --data ----------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_TOOLS_FFNC_COMPAREDATA_H
#define FFN_MLIR_TOOLS_FFNC_COMPAREDATA_H

#include "Native.h"
#include "ffn-mlir/Driver/EvalData.h"
#include "ffn-mlir/Driver/Quality.h"

namespace mlir::ffn::driver {

/// What `ffnc compare` takes for a comparison on data.
class DataOptions {
public:
  explicit DataOptions(Verb &verb);

  bool given() const { return !data.empty(); }
  /// Says what is wrong with the options; empty where nothing is.
  std::string check() const;
  int run(llvm::StringRef first, llvm::StringRef second, unsigned threads,
          bool asJson);

private:
  EvalOptions getEvalOptions() const;
  std::map<std::string, double> getLimits() const;
  int bisectModels(llvm::StringRef first, llvm::StringRef second, bool asJson);

  llvm::cl::opt<std::string> data;
  TokenOptions tokens;
  llvm::cl::opt<unsigned> window, stride;
  llvm::cl::opt<bool> wholeFile;
  llvm::cl::opt<uint64_t> maxDocuments, samples;
  llvm::cl::opt<std::string> labels;
  llvm::cl::opt<unsigned> batch;
  llvm::cl::opt<double> floor, bound;
  llvm::cl::opt<bool> layers;
  llvm::cl::opt<double> bisect;
  std::vector<std::unique_ptr<llvm::cl::opt<double>>> limits;
  /// Names and texts of the limits, which LLVM does not copy.
  std::vector<std::pair<std::string, std::string>> flags;
};

} // namespace mlir::ffn::driver

#endif // FFN_MLIR_TOOLS_FFNC_COMPAREDATA_H
