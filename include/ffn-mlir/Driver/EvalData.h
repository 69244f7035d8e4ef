//===- EvalData.h - What models are measured on -----------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DRIVER_EVALDATA_H
#define FFN_MLIR_DRIVER_EVALDATA_H

#include "ffn-mlir/Driver/Decode.h"
#include "ffn-mlir/Driver/TokenData.h"
#include "ffn-mlir/Support/Npy.h"

namespace mlir::ffn {

struct EvalOptions {
  /// Text, token lists (.json), a folder of such files, or an .npz archive with
  /// the inputs by name, a row each.
  std::string data;
  /// Tokenizer in JSON form; empty: bytes.
  std::string tokenizer;
  /// Id before a text where the tokenizer names none; -1: none.
  int64_t bos = -1;
  /// Text: tokens that the model reads at once, and from one window to the
  /// next; 0: the window.
  unsigned window = 512, stride = 0;
  /// Text: the file is one document, as it is.
  bool wholeFile = false;
  /// Text: use the first so many; 0: all.
  uint64_t maxDocuments = 0;
  /// Use so many samples, spread evenly; 0: all.
  uint64_t maxSamples = 0;
  /// Archive: array of the right classes; rows of a sample.
  std::string labels = "label";
  unsigned batch = 32;
};

/// How the inputs of one model are made from the data.
struct EvalBinding {
  std::vector<Artefact::Value> inputs;
  std::optional<LanguageSignature> language;
  /// Index of the output that has a row of logits for each target; -1: none.
  int64_t logits = -1;
  std::string logitsName;
};

/// Samples for any model with the right signature: two models with other
/// inputs, say with a KV cache and without, read the same text.
class EvalData {
public:
  /// Errors name the file (FFN-D...).
  static llvm::Expected<EvalData> load(const EvalOptions &options);

  bool isText() const { return text; }
  /// Whether the rows of logits have targets.
  bool hasTargets() const { return text || labels.getNumElements(); }
  size_t size() const { return order.size(); }
  uint64_t getNumDocuments() const { return documents; }
  /// Of the whole text; 0 for token files, and where not all of it is used.
  uint64_t getCharacters() const { return characters; }
  uint64_t getBytes() const { return bytes; }

  /// Errors say what the model lacks (FFN-D205, FFN-D208).
  llvm::Expected<EvalBinding>
  bind(llvm::ArrayRef<Artefact::Value> inputs,
       llvm::ArrayRef<Artefact::Value> outputs) const;
  /// Makes all inputs for sample `i`.
  llvm::Error fill(const EvalBinding &binding, size_t i,
                   std::vector<HostTensor> &inputs) const;
  /// Right classes of the rows of logits of sample `i`, for all of them: -1
  /// where a row is not scored. Empty where there are none.
  std::vector<int64_t> getTargets(size_t i) const;
  /// The first row that is scored; those before it belong to other samples.
  size_t getFirstScored(size_t i) const;
  /// Error unless `logits` has a row for each target of sample `i` (FFN-D205,
  /// FFN-D208).
  llvm::Error checkRows(size_t i, const HostTensor &logits) const;

private:
  std::pair<int64_t, int64_t> rowRange(size_t i) const;

  EvalOptions options;
  bool text = false;
  std::vector<TokenWindow> windows;
  std::map<std::string, NpyArray> arrays;
  HostTensor labels;
  int64_t numRows = 0;
  uint64_t documents = 0, characters = 0, bytes = 0;
  std::vector<size_t> order;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_DRIVER_EVALDATA_H
