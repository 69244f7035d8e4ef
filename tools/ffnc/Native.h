//===- Native.h - What the verbs on compiled models share -------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_TOOLS_FFNC_NATIVE_H
#define FFN_MLIR_TOOLS_FFNC_NATIVE_H

#include "Verb.h"
#include "ffn-mlir/Driver/Artefact.h"
#include "ffn-mlir/Driver/LatencyGate.h"
#include "ffn-mlir/Driver/Tokenizer.h"
#include "llvm/Support/JSON.h"

namespace mlir::ffn::driver {

/// Whether the file begins as a shared library does.
bool isArtefact(llvm::StringRef path);

/// Loads an artefact; a model file is compiled into a temporary folder first,
/// by a process of its own so that its memory is gone when the model runs,
/// after `pipeline` where one is given. Null after a message on stderr.
std::unique_ptr<Artefact> openNative(llvm::StringRef path, unsigned threads,
                                     llvm::StringRef pipeline = "");

/// What every verb that runs a model takes.
struct NativeOptions {
  explicit NativeOptions(Verb &verb);

  llvm::cl::opt<std::string> model;
  ThreadsOption threads;
};

/// Where inputs come from, for verbs that run a model on any.
struct InputOptions {
  /// `dimsText` says what --dim takes.
  InputOptions(Verb &verb, llvm::StringRef dimsText, llvm::StringRef dimsForm);

  llvm::cl::list<std::string> files;
  llvm::cl::list<std::string> dims;
  llvm::cl::opt<uint64_t> seed;
  llvm::cl::opt<long long, false, RangeParser<long long, 1>> intBound;
};

/// How a text becomes tokens.
struct TokenOptions {
  explicit TokenOptions(Verb &verb);

  /// The named tokenizer; bytes where none is named.
  llvm::Expected<Tokenizer> load() const;

  llvm::cl::opt<std::string> tokenizer;
  /// -1 where none is given.
  llvm::cl::opt<long long, false, RangeParser<long long, 0>> bos;
};

/// "name=value" pairs with sizes; the error is one of usage.
llvm::Expected<DimSizes> parseDims(llvm::ArrayRef<std::string> pairs);
/// The same where a value is a list: every combination, the first name
/// slowest.
llvm::Expected<std::vector<DimSizes>>
parseDimGrid(llvm::ArrayRef<std::string> pairs);

/// Error about a size whose name is no dimension of any input of any of the
/// models.
llvm::Error checkDimNames(llvm::ArrayRef<const Artefact *> models,
                          const DimSizes &sizes);
/// Gives every dimension of the inputs without entry in `given` that has no
/// size yet the size `size`, and says so on stderr.
void addDefaultSizes(const Artefact &artefact, llvm::ArrayRef<bool> given,
                     int64_t size, DimSizes &sizes);

/// Fills tensors for the inputs that `given` has no entry for (null data):
/// seeded by position; ones for a name that ends in "mask".
llvm::Error fillInputs(const Artefact &artefact, const DimSizes &sizes,
                       uint64_t seed, int64_t intBound,
                       llvm::ArrayRef<bool> given,
                       llvm::MutableArrayRef<HostTensor> inputs);

/// Reads "name=file.npy" pairs and "file.npz" archives, whose arrays are named
/// as inputs or "in:" and the input.
llvm::Error readInputs(const Artefact &artefact,
                       llvm::ArrayRef<std::string> items,
                       llvm::MutableArrayRef<bool> given,
                       llvm::MutableArrayRef<HostTensor> inputs);

/// `error` as the message of `fail`.
int fail(llvm::Error error, int code = Diagnosed);

} // namespace mlir::ffn::driver

#endif // FFN_MLIR_TOOLS_FFNC_NATIVE_H
