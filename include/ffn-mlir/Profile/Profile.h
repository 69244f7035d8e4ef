//===- Profile.h - What a model does on calibration data --------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A profile is a safetensors file that `ffnc profile` writes. Its tensors are
// called "<layer>/<site>/<statistic>", or "<layer>/<statistic>" where they
// belong to the sublayer as a whole; what there is stands in
// docs/guides/profile.md. The JSON under the key "ffn.profile" of the metadata
// says what was measured on what.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_PROFILE_PROFILE_H
#define FFN_MLIR_PROFILE_PROFILE_H

#include "ffn-mlir/Profile/Instrument.h"
#include "ffn-mlir/Support/Safetensors.h"
#include "llvm/Support/JSON.h"

namespace mlir::ffn {

/// Key of the metadata, and version of what is under it.
inline constexpr llvm::StringLiteral kProfileKey = "ffn.profile";
inline constexpr int64_t kProfileFormat = 1;

/// SHA-256 over the bytes of all files that the module's weights lie in, the
/// derived ones left out: the same before and after a pass, different for
/// another model. Fails after a diagnostic where a file cannot be read.
FailureOr<std::string> hashModel(ModuleOp module);

/// Requests of the passes of this project, for `parseProbesFor`.
void registerPassProbes();

/// A profile that is open. Reads of tensors are views of the file where that is
/// aligned, and are valid as long as the object.
class Profile {
public:
  /// Errors: FFN-D103 (the container), FFN-D104 (no profile, or one of another
  /// version).
  static llvm::Expected<std::unique_ptr<Profile>> open(StringRef path);

  /// Refuses (FFN-D106) a module of another model. Fails after a diagnostic at
  /// the module.
  LogicalResult checkModel(ModuleOp module) const;

  StringRef getModelHash() const { return modelHash; }
  /// Over all samples.
  uint64_t getNumTokens() const { return numTokens; }
  uint64_t getNumSamples() const { return numSamples; }
  uint64_t getSeed() const { return seed; }
  /// Whether layers were measured behind rewritten ones.
  bool isSequential() const { return sequential; }
  /// SHA-256 of the calibration samples.
  ArrayRef<std::string> getSampleHashes() const { return sampleHashes; }
  const llvm::json::Object &getHeader() const { return header; }
  ArrayRef<ProbedLayer> getLayers() const { return layers; }
  /// The layer that has an addend of this name; null if there is none.
  const ProbedLayer *findLayer(StringRef name) const;
  const SafetensorsFile &getFile() const { return *file; }

  /// Whether there is such a tensor; `site` empty: of the layer as a whole.
  bool has(const ProbedLayer &layer, StringRef site, StringRef statistic) const;
  /// Its elements, T one of double, float, int64_t, uint8_t. The error
  /// (FFN-D105) says that the profile lacks it, or has it in another type or
  /// shape; an empty `shape` is any.
  template <typename T>
  llvm::Expected<ArrayRef<T>> get(const ProbedLayer &layer, StringRef site,
                                  StringRef statistic,
                                  ArrayRef<int64_t> shape = {}) const;

  /// What it is and what is in it, for people.
  void print(raw_ostream &os) const;

private:
  Profile() = default;
  llvm::Error readHeader();
  llvm::Expected<ArrayRef<char>>
  getBytes(const ProbedLayer &layer, StringRef site, StringRef statistic,
           StringRef dtype, ArrayRef<int64_t> shape, size_t alignment) const;
  std::string path, modelHash;
  std::unique_ptr<SafetensorsFile> file;
  llvm::json::Object header;
  uint64_t numTokens = 0, numSamples = 0, seed = 0;
  bool sequential = false;
  std::vector<std::string> sampleHashes;
  std::vector<ProbedLayer> layers;
  /// Copies of tensors that are not aligned or not mapped.
  mutable std::map<std::string, std::vector<double>> copies;
};

/// The header's form of the layers, and back; the error is without code.
llvm::json::Array layersToJSON(ArrayRef<ProbedLayer> layers);
llvm::Expected<std::vector<ProbedLayer>>
layersFromJSON(const llvm::json::Array &array);

namespace detail {
template <typename T> constexpr StringRef getSafetensorsType();
template <> constexpr StringRef getSafetensorsType<double>() { return "F64"; }
template <> constexpr StringRef getSafetensorsType<float>() { return "F32"; }
template <> constexpr StringRef getSafetensorsType<int64_t>() { return "I64"; }
template <> constexpr StringRef getSafetensorsType<uint8_t>() { return "U8"; }
} // namespace detail

template <typename T>
llvm::Expected<ArrayRef<T>> Profile::get(const ProbedLayer &layer,
                                         StringRef site, StringRef statistic,
                                         ArrayRef<int64_t> shape) const {
  auto bytes = getBytes(layer, site, statistic, detail::getSafetensorsType<T>(),
                        shape, alignof(T));
  if (!bytes)
    return bytes.takeError();
  return ArrayRef<T>(reinterpret_cast<const T *>(bytes->data()),
                     bytes->size() / sizeof(T));
}

} // namespace mlir::ffn

#endif // FFN_MLIR_PROFILE_PROFILE_H
