//===- TokenData.h - Evaluation and calibration text ------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DRIVER_TOKENDATA_H
#define FFN_MLIR_DRIVER_TOKENDATA_H

#include "ffn-mlir/Driver/Tokenizer.h"

namespace mlir::ffn {

/// Documents as token ids.
struct TokenData {
  std::vector<std::vector<int64_t>> documents;
  /// Characters (code points) and bytes of the text; 0 for token files.
  uint64_t characters = 0, bytes = 0;
};

/// The regular files of a folder in name order, or `path` itself where it is no
/// folder. The error is FFN-D203.
llvm::Expected<std::vector<std::string>> listDataFiles(llvm::StringRef path);

/// Reads `path`: a `.json` file is a list of token-id lists, `.u16`, `.bin` and
/// `.u32` are raw little-endian ids, an `.npy` holds integers (a row is a
/// document), anything else is text with documents separated by
/// `<|endoftext|>`. A folder is read file by file in name order. `maxDocuments`
/// 0 means all.
llvm::Expected<TokenData> loadTokenData(llvm::StringRef path,
                                        const Tokenizer &tokenizer,
                                        uint64_t maxDocuments = 0);

/// The file as one document, not a byte left out.
llvm::Expected<TokenData> loadWholeFile(llvm::StringRef path,
                                        const Tokenizer &tokenizer);

/// A scored piece of a document: the model reads `ids` without the last and
/// predicts `ids` without the first. Predictions before `firstScored` are those
/// of windows before.
struct TokenWindow {
  std::vector<int64_t> ids;
  size_t firstScored = 0;
};

/// Windows of `length` predictions that begin `stride` apart and see what
/// stands before; each token but the first of a document is scored exactly
/// once.
std::vector<TokenWindow> makeSlidingWindows(const TokenData &data,
                                            size_t length, size_t stride);

/// Windows of `length` predictions. Every window after the first of a document
/// starts again from BOS (where there is one), as at the document's start;
/// each token but the first of a document is predicted exactly once.
std::vector<TokenWindow> makeWindows(const TokenData &data, size_t length,
                                     int64_t bos);

} // namespace mlir::ffn

#endif // FFN_MLIR_DRIVER_TOKENDATA_H
