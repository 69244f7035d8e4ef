//===- Decode.h - Text generation by a compiled model -----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DRIVER_DECODE_H
#define FFN_MLIR_DRIVER_DECODE_H

#include "ffn-mlir/Driver/Artefact.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace mlir::ffn {

/// What the inputs and outputs of a language model are, recognised by form:
///   token ids       an integer input of rank 2, "input_ids" where there are
///                   several
///   attention_mask  integers [batch, all], filled with ones
///   position_ids    integers [batch, new], filled with the positions
///   past*           keys and values; the output "present*" of the same rest of
///                   the name, else of the same number, is the next past
///   logits          the output of that name, else the first float output of
///                   rank 3
struct LanguageSignature {
  struct Past {
    int64_t input, output, axis;
  };
  /// -1 where there is none.
  int64_t ids = -1, mask = -1, positionIds = -1, logits = -1;
  /// -1 where the size of the logits is not static.
  int64_t vocabulary = -1;
  std::vector<Past> pasts;

  /// The error says what is missing (FFN-D205).
  static llvm::Expected<LanguageSignature>
  find(llvm::ArrayRef<Artefact::Value> inputs,
       llvm::ArrayRef<Artefact::Value> outputs);
  /// Makes all inputs but the pasts for `ids`, rows of equal length one after
  /// another, that follow `before` positions. Ids outside of the vocabulary are
  /// refused (FFN-D206).
  llvm::Error fill(llvm::ArrayRef<Artefact::Value> types,
                   llvm::ArrayRef<int64_t> ids, int64_t rows, int64_t before,
                   llvm::MutableArrayRef<HostTensor> inputs) const;
  /// Makes the pasts empty.
  llvm::Error clearPasts(llvm::ArrayRef<Artefact::Value> types, int64_t rows,
                         llvm::MutableArrayRef<HostTensor> inputs) const;
};

/// A compiled language model and the text that it has read. Without past inputs
/// the whole text is read again in each step.
class LanguageModel {
public:
  /// The error says what the signature lacks (FFN-D205).
  static llvm::Expected<LanguageModel> create(Artefact &artefact,
                                              int64_t batch = 1);

  bool hasCache() const { return !signature.pasts.empty(); }
  /// -1 where the size of the logits is not static.
  int64_t getVocabularySize() const { return signature.vocabulary; }
  /// Whether steps leave the keys and values of the text so far where they are.
  bool appendsInPlace() const { return inPlace; }
  /// Makes room for the keys and values of a text of so many tokens, which
  /// otherwise grows by half when it is used up.
  llvm::Error reserve(int64_t tokens);
  /// Forgets the text.
  llvm::Error reset();
  /// Reads the ids, `batch` rows of equal length; the logits are those of
  /// `getNumPositions` last positions of the text then. Ids outside of the
  /// vocabulary are refused (FFN-D206).
  llvm::Error feed(llvm::ArrayRef<int64_t> ids);
  int64_t getNumPositions() const { return positions; }
  /// Position counts from the first of the last call's, or from the end where
  /// negative. Valid until the next call.
  llvm::ArrayRef<float> logits(int64_t position = -1, int64_t row = 0);

private:
  explicit LanguageModel(Artefact &artefact) : artefact(&artefact) {}
  Artefact *artefact;
  LanguageSignature signature;
  int64_t batch = 1, positions = 0, length = 0;
  /// Runs on `inputs`; the keys and values of `count` more tokens go behind
  /// those that are there.
  llvm::Error runInPlace(int64_t count);
  std::vector<HostTensor> inputs, outputs;
  /// Keys and values of each past, where the artefact can append to them:
  /// memory for `room` tokens, of which `length` are there.
  bool inPlace = false;
  int64_t room = 0;
  std::vector<HostTensor> caches;
  /// The rows read so far, where there is no cache.
  std::vector<std::vector<int64_t>> history;
  std::vector<float> converted;
};

struct SamplingOptions {
  /// 0: the greatest logit, the lowest id among equals.
  double temperature = 0;
  /// The number of greatest logits to draw from; 0: all.
  uint64_t topK = 0;
  uint64_t seed = 0;
};

/// Draws tokens; the same seed and logits give the same tokens everywhere.
class Sampler {
public:
  explicit Sampler(const SamplingOptions &options)
      : options(options), random(options.seed) {}
  /// -1 where no logit is a number.
  int64_t next(llvm::ArrayRef<float> logits);

private:
  SamplingOptions options;
  SeededRandom random;
};

struct Generation {
  /// Without the prompt, and without a stop token.
  std::vector<int64_t> ids;
  double prefillSeconds = 0, decodeSeconds = 0;
  /// Steps after the prompt; the first token needs none.
  uint64_t decodeSteps = 0;
};

/// Continues `prompt`, which holds at least one id, by up to `maxTokens` ids,
/// until `onToken`, called with each of them, returns false.
llvm::Expected<Generation>
generateTokens(LanguageModel &model, llvm::ArrayRef<int64_t> prompt,
               uint64_t maxTokens, const SamplingOptions &sampling,
               llvm::ArrayRef<int64_t> stop,
               llvm::function_ref<bool(int64_t)> onToken);

} // namespace mlir::ffn

#endif // FFN_MLIR_DRIVER_DECODE_H
