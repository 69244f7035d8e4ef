//===- Tokenizer.h - Text to token ids and back -----------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DRIVER_TOKENIZER_H
#define FFN_MLIR_DRIVER_TOKENIZER_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace mlir::ffn {

/// Two forms: raw bytes (token = byte value, no BOS), and the JSON form of a
/// llama2.c tokenizer: `pieces_hex`, `scores`, `byte_fallback`, `space`,
/// `collapse_whitespace`, `bos`, `eos`, `unk`; pieces are merged greedily by
/// score.
class Tokenizer {
public:
  /// Token ids are the bytes of the text.
  static Tokenizer bytes();
  /// Reads the JSON form; the error names what is wrong with the file.
  static llvm::Expected<Tokenizer> load(llvm::StringRef path);

  /// Ids of `text`, after BOS where the tokenizer has one and `bos` is set.
  std::vector<int64_t> encode(llvm::StringRef text, bool bos = true) const;
  /// Bytes of one token; empty for ids outside the vocabulary.
  std::string piece(int64_t id) const;
  std::string decode(llvm::ArrayRef<int64_t> ids) const;

  int64_t getVocabularySize() const { return vocabularySize; }
  /// -1 where there is none.
  int64_t getBos() const { return bosId; }
  int64_t getEos() const { return eosId; }

private:
  bool byteLevel = false, byteFallback = false, collapseWhitespace = false;
  std::string space = " ";
  std::vector<std::string> pieces;
  std::vector<double> scores;
  llvm::StringMap<int64_t> index;
  int64_t vocabularySize = 256, bosId = -1, eosId = -1, unknownId = 0;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_DRIVER_TOKENIZER_H
