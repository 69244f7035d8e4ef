//===- TokenNames.h - Token ids as text -------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_ANALYSIS_TOKENNAMES_H
#define FFN_MLIR_LIB_ANALYSIS_TOKENNAMES_H

#include "ffn-mlir/Analysis/Analysis.h"
#include "ffn-mlir/Driver/Tokenizer.h"
#include "ffn-mlir/Search/StagedModel.h"
#include <optional>

namespace mlir::ffn::analysis {

/// The text of tokens where a tokenizer is named or tokens are bytes, else
/// their ids.
class TokenNames {
public:
  /// Errors: FFN-D201.
  static llvm::Expected<TokenNames> load(const ModelSignature &signature,
                                         const AnalysisOptions &options);
  /// "'the'", with bytes that do not print as \xNN; "#17".
  std::string get(int64_t id) const;
  /// The same of several in a row.
  std::string join(ArrayRef<int64_t> ids) const;

private:
  std::optional<Tokenizer> tokenizer;
};

} // namespace mlir::ffn::analysis

#endif // FFN_MLIR_LIB_ANALYSIS_TOKENNAMES_H
