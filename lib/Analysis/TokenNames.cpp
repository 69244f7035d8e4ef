//===- TokenNames.cpp - Token ids as text ---------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "TokenNames.h"
#include "ffn-mlir/Driver/Decode.h"
#include "ffn-mlir/Support/CodedError.h"

using namespace mlir::ffn;
using namespace mlir::ffn::analysis;

llvm::Expected<TokenNames> TokenNames::load(const ModelSignature &signature,
                                            const AnalysisOptions &options) {
  TokenNames names;
  if (!options.calibration.tokenizer.empty()) {
    auto loaded = Tokenizer::load(options.calibration.tokenizer);
    if (!loaded)
      return loaded.takeError();
    names.tokenizer = std::move(*loaded);
    return names;
  }
  auto language = LanguageSignature::find(signature.inputs, signature.outputs);
  if (!language) {
    llvm::consumeError(language.takeError());
    return names;
  }
  constexpr int64_t kBytes = 256;
  if (language->vocabulary == kBytes)
    names.tokenizer = Tokenizer::bytes();
  return names;
}

std::string TokenNames::join(llvm::ArrayRef<int64_t> ids) const {
  std::string text;
  for (int64_t id : ids) {
    std::string piece = tokenizer ? tokenizer->piece(id) : "";
    if (piece.empty()) {
      text.clear();
      for (int64_t each : ids)
        text += (text.empty() ? "#" : " #") + std::to_string(each);
      return text;
    }
    text += piece;
  }
  return quoteName(text);
}

std::string TokenNames::get(int64_t id) const { return join(id); }
