//===- Calibration.cpp - Samples to measure on ----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/Calibration.h"
#include "ffn-mlir/Driver/Decode.h"
#include "ffn-mlir/Driver/Npz.h"
#include "ffn-mlir/Driver/TokenData.h"
#include "ffn-mlir/Support/SafeFile.h"
#include "ffn-mlir/Support/Safetensors.h"
#include "ffn-mlir/Support/Sha256.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <cmath>
#include <numeric>
#include <unordered_map>

using namespace mlir::ffn;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;

using Values = llvm::ArrayRef<Artefact::Value>;
using Arrays = std::map<std::string, NpyArray>;

//===----------------------------------------------------------------------===//
// Files
//===----------------------------------------------------------------------===//

namespace {
enum class Sort { Tokens, Rows };
struct DataFile {
  std::string path;
  Sort sort;
};
/// Everything that samples can be drawn from.
struct Data {
  TokenData tokens;
  /// For each file of rows, one tensor for each input.
  std::vector<std::vector<HostTensor>> files;
  std::vector<CalibrationSet::Source> sources;
};
} // namespace

static Error refuse(StringRef path, const llvm::Twine &what, StringRef code) {
  return driverError(path + ": " + what + " [FFN-" + code + "]");
}

static Error fromCoded(StringRef path, const CodedErrors &errors) {
  return driverError(path + ": " + errors.get().front().getMessage());
}

static Expected<std::vector<DataFile>> listFiles(StringRef path,
                                                 bool language) {
  auto sortOf = [&](StringRef file) {
    if (file.ends_with(".npz") || file.ends_with(".safetensors"))
      return Sort::Rows;
    return file.ends_with(".npy") && !language ? Sort::Rows : Sort::Tokens;
  };
  Expected<std::vector<std::string>> paths = listDataFiles(path);
  if (!paths)
    return paths.takeError();
  std::vector<DataFile> files;
  for (const std::string &file : *paths) {
    files.push_back({file, sortOf(file)});
    if (files.back().sort != files.front().sort)
      return refuse(
          path,
          "holds both arrays of inputs ('" +
              llvm::sys::path::filename(
                  files[files.front().sort == Sort::Rows ? 0 : files.size() - 1]
                      .path) +
              "') and tokens or text; give one of them",
          "D210");
  }
  if (files.empty())
    return refuse(path, "holds no file", "D209");
  return files;
}

static Expected<CalibrationSet::Source> describeFile(StringRef path) {
  CodedErrors errors;
  std::shared_ptr<SafeFile> file = SafeFile::open(path, FilePolicy(), errors);
  if (!file)
    return fromCoded(path, errors);
  Sha256 hash;
  std::vector<uint8_t> block;
  for (uint64_t at = 0; at < file->getSize(); at += block.size()) {
    block.resize(std::min<uint64_t>(1 << 20, file->getSize() - at));
    if (failed(file->read(at, block, errors)))
      return fromCoded(path, errors);
    hash.update(block);
  }
  return CalibrationSet::Source{llvm::sys::path::filename(path).str(),
                                file->getSize(), hash.finishHex()};
}

static Expected<Arrays> readArrays(StringRef path, Values inputs) {
  if (path.ends_with(".npz"))
    return readNpz(path);
  Arrays arrays;
  if (path.ends_with(".safetensors")) {
    auto file = SafetensorsFile::open(path);
    if (!file)
      return file.takeError();
    for (const SafetensorsEntry &entry : (*file)->getEntries()) {
      Expected<NpyArray> array = (*file)->readArray(entry);
      if (!array)
        return array.takeError();
      arrays.emplace(entry.name, std::move(*array));
    }
    return arrays;
  }
  if (inputs.size() != 1)
    return refuse(path,
                  "one array for a model of " + llvm::Twine(inputs.size()) +
                      " inputs; an .npz or .safetensors file names them",
                  "D208");
  CodedErrors errors;
  llvm::FailureOr<NpyArray> array = readNpy(path, errors);
  if (failed(array))
    return fromCoded(path, errors);
  arrays.emplace(inputs[0].name, std::move(*array));
  return arrays;
}

/// Statistics of numbers that are none would be none, and say nothing of why.
static Error checkFinite(StringRef where, const Artefact::Value &value,
                         const HostTensor &tensor) {
  if (!tensor.isFloat())
    return Error::success();
  for (size_t i = 0; i < tensor.getNumElements(); ++i)
    if (!std::isfinite(tensor.getDouble(i)))
      return refuse(where,
                    "input '" + value.name + "': element " + llvm::Twine(i) +
                        " is not a finite number",
                    "D212");
  return Error::success();
}

static Expected<std::vector<HostTensor>> readRows(StringRef path,
                                                  Values inputs) {
  Expected<Arrays> arrays = readArrays(path, inputs);
  if (!arrays)
    return arrays.takeError();
  std::vector<HostTensor> whole(inputs.size());
  int64_t rows = -1;
  for (auto [i, value] : llvm::enumerate(inputs)) {
    auto found = arrays->find(value.name);
    if (found == arrays->end())
      return refuse(path, "no array for input '" + value.name + "'", "D208");
    if (Error error = whole[i].assign(found->second, value.dtype, value.name))
      return std::move(error);
    llvm::ArrayRef<int64_t> shape = whole[i].getShape();
    if (shape.empty() || (rows >= 0 && shape[0] != rows))
      return refuse(path,
                    "input '" + value.name + "' has shape " + shapeName(shape) +
                        (rows < 0 ? ", not one row for each sample"
                                  : " where others have " +
                                        std::to_string(rows) + " rows"),
                    "D208");
    rows = shape[0];
    if (Error error = checkFinite(path, value, whole[i]))
      return std::move(error);
  }
  return whole;
}

static Expected<Data> readData(Values inputs, Values outputs,
                               const CalibrationOptions &options) {
  auto signature = LanguageSignature::find(inputs, outputs);
  bool language = static_cast<bool>(signature);
  auto files = listFiles(options.data, language);
  if (!files) {
    llvm::consumeError(signature.takeError());
    return files.takeError();
  }
  Data data;
  if (files->front().sort == Sort::Tokens) {
    if (!signature)
      return signature.takeError();
    Expected<Tokenizer> tokenizer =
        options.tokenizer.empty() ? Expected<Tokenizer>(Tokenizer::bytes())
                                  : Tokenizer::load(options.tokenizer);
    if (!tokenizer)
      return tokenizer.takeError();
    auto tokens = loadTokenData(options.data, *tokenizer);
    if (!tokens)
      return tokens.takeError();
    data.tokens = std::move(*tokens);
  } else {
    llvm::consumeError(signature.takeError());
    for (const DataFile &file : *files) {
      auto rows = readRows(file.path, inputs);
      if (!rows)
        return rows.takeError();
      data.files.push_back(std::move(*rows));
    }
  }
  for (const DataFile &file : *files) {
    auto source = describeFile(file.path);
    if (!source)
      return source.takeError();
    data.sources.push_back(std::move(*source));
  }
  return data;
}

//===----------------------------------------------------------------------===//
// Samples
//===----------------------------------------------------------------------===//

static std::string hashTokens(llvm::ArrayRef<int64_t> ids) {
  return Sha256::hex({reinterpret_cast<const char *>(ids.data()),
                      ids.size() * sizeof(int64_t)});
}

static std::string hashInputs(llvm::ArrayRef<HostTensor> inputs) {
  Sha256 hash;
  for (const HostTensor &tensor : inputs) {
    hash.update(dtypeName(tensor.getDtype()) + shapeName(tensor.getShape()));
    hash.update(StringRef(tensor.data(), tensor.getNumBytes()));
  }
  return hash.finishHex();
}

static Expected<std::vector<HostTensor>>
takeRow(llvm::ArrayRef<HostTensor> whole, int64_t row) {
  std::vector<HostTensor> sample(whole.size());
  for (auto [tensor, from] : llvm::zip_equal(sample, whole)) {
    llvm::SmallVector<int64_t, 4> shape(from.getShape());
    size_t bytes = from.getNumBytes() / shape[0];
    shape[0] = 1;
    if (Error error = tensor.reset(from.getDtype(), shape))
      return std::move(error);
    std::memcpy(tensor.data(), from.data() + row * bytes, bytes);
  }
  return sample;
}

/// Indices below `available` that the options draw, in ascending order.
static Expected<std::vector<size_t>>
drawIndices(size_t available, const CalibrationOptions &options) {
  if (available == 0)
    return refuse(options.data, "holds no sample", "D209");
  if (available <= options.holdOut)
    return refuse(options.data,
                  "holds " + llvm::Twine(available) + " samples, of which " +
                      llvm::Twine(options.holdOut) + " are held out",
                  "D209");
  std::vector<size_t> order(available);
  std::iota(order.begin(), order.end(), 0);
  size_t kept = std::min<size_t>(options.samples, available - options.holdOut);
  SeededRandom random(options.seed);
  for (size_t i = 0; i < kept + options.holdOut; ++i)
    std::swap(order[i], order[i + random.next() % (available - i)]);
  std::vector<size_t> chosen(order.begin(), order.begin() + kept);
  if (options.takeHeldOut)
    chosen.assign(order.begin() + kept, order.begin() + kept + options.holdOut);
  llvm::sort(chosen);
  return chosen;
}

static Error addTokens(Values inputs, Values outputs, const Data &data,
                       const CalibrationOptions &options, CalibrationSet &set) {
  auto signature = LanguageSignature::find(inputs, outputs);
  if (!signature)
    return signature.takeError();
  std::vector<llvm::ArrayRef<int64_t>> whole, shorter;
  for (llvm::ArrayRef<int64_t> rest : data.tokens.documents)
    while (!rest.empty()) {
      llvm::ArrayRef<int64_t> window = rest.take_front(options.length);
      (window.size() == options.length ? whole : shorter).push_back(window);
      rest = rest.drop_front(window.size());
    }
  std::vector<llvm::ArrayRef<int64_t>> &from = whole.empty() ? shorter : whole;
  set.available = from.size();
  auto chosen = drawIndices(from.size(), options);
  if (!chosen)
    return chosen.takeError();
  for (size_t index : *chosen) {
    std::vector<HostTensor> sample(inputs.size());
    if (Error error = signature->clearPasts(inputs, 1, sample))
      return error;
    if (Error error = signature->fill(inputs, from[index], 1, 0, sample))
      return error;
    set.samples.push_back(std::move(sample));
    set.tokens.emplace_back(from[index].begin(), from[index].end());
    set.hashes.push_back(hashTokens(from[index]));
  }
  return Error::success();
}

static Error addRows(const Data &data, const CalibrationOptions &options,
                     CalibrationSet &set) {
  std::vector<std::pair<size_t, int64_t>> rows;
  for (auto [i, file] : llvm::enumerate(data.files))
    for (int64_t row = 0; row < file[0].getShape()[0]; ++row)
      rows.emplace_back(i, row);
  set.available = rows.size();
  auto chosen = drawIndices(rows.size(), options);
  if (!chosen)
    return chosen.takeError();
  for (size_t index : *chosen) {
    auto [file, row] = rows[index];
    auto sample = takeRow(data.files[file], row);
    if (!sample)
      return sample.takeError();
    set.hashes.push_back(hashInputs(*sample));
    set.samples.push_back(std::move(*sample));
  }
  return Error::success();
}

Expected<CalibrationSet>
mlir::ffn::loadCalibrationSet(Values inputs, Values outputs,
                              const CalibrationOptions &options) {
  if (!options.samples || !options.length)
    return driverError("calibration needs one sample of one token or more "
                       "[FFN-D209]");
  if (inputs.empty())
    return driverError("the model has no input to calibrate [FFN-D208]");
  auto data = readData(inputs, outputs, options);
  if (!data)
    return data.takeError();
  CalibrationSet set;
  set.sources = std::move(data->sources);
  if (Error error = data->files.empty()
                        ? addTokens(inputs, outputs, *data, options, set)
                        : addRows(*data, options, set))
    return std::move(error);
  return set;
}

Expected<std::vector<std::vector<HostTensor>>>
mlir::ffn::loadCalibration(Values inputs, Values outputs,
                           const CalibrationOptions &options) {
  auto set = loadCalibrationSet(inputs, outputs, options);
  if (!set)
    return set.takeError();
  return std::move(set->samples);
}

Expected<CalibrationSet>
mlir::ffn::makeCalibrationSet(Values inputs, llvm::ArrayRef<Arrays> samples) {
  CalibrationSet set;
  if (samples.empty())
    return driverError("calibration needs one sample or more [FFN-D209]");
  for (auto [k, arrays] : llvm::enumerate(samples)) {
    std::string where = "sample " + std::to_string(k);
    std::vector<HostTensor> sample(inputs.size());
    for (auto [i, value] : llvm::enumerate(inputs)) {
      auto found = arrays.find(value.name);
      if (found == arrays.end())
        return refuse(where, "no array for input '" + value.name + "'", "D208");
      if (Error error =
              sample[i].assign(found->second, value.dtype,
                               where + ", input '" + value.name + "'"))
        return std::move(error);
      if (sample[i].getShape().size() != value.shape.size())
        return refuse(where,
                      "input '" + value.name + "' has shape " +
                          shapeName(sample[i].getShape()) +
                          ", the model takes " + value.describe(),
                      "D208");
      if (Error error = checkFinite(where, value, sample[i]))
        return std::move(error);
    }
    for (auto &entry : arrays)
      if (llvm::none_of(inputs, [&](const Artefact::Value &value) {
            return value.name == entry.first;
          }))
        return refuse(where, "the model has no input '" + entry.first + "'",
                      "D208");
    set.hashes.push_back(hashInputs(sample));
    set.samples.push_back(std::move(sample));
  }
  set.available = set.samples.size();
  return set;
}

//===----------------------------------------------------------------------===//
// Overlap
//===----------------------------------------------------------------------===//

static Error overlaps(StringRef path, size_t sample) {
  return refuse(path,
                "holds sample " + llvm::Twine(sample) +
                    " of the calibration data: figures measured on it would "
                    "say little; give other data, or --holdout",
                "D211");
}

/// A sample shorter than this says nothing about where it comes from.
static constexpr size_t kShortestOverlap = 8;

/// Looks for the beginnings of the samples in every document by a hash that
/// rolls over it; what it finds is compared.
static Error findTokens(const CalibrationSet &calibration,
                        const TokenData &tokens, StringRef path) {
  size_t length = SIZE_MAX;
  for (const std::vector<int64_t> &ids : calibration.tokens)
    if (ids.size() >= kShortestOverlap)
      length = std::min(length, ids.size());
  if (length == SIZE_MAX)
    return Error::success();
  constexpr uint64_t base = 0x9e3779b97f4a7c15u;
  uint64_t power = 1;
  for (size_t i = 0; i < length; ++i)
    power *= base;
  std::unordered_multimap<uint64_t, size_t> begins;
  for (auto [k, ids] : llvm::enumerate(calibration.tokens)) {
    if (ids.size() < length)
      continue;
    uint64_t hash = 0;
    for (size_t i = 0; i < length; ++i)
      hash = hash * base + static_cast<uint64_t>(ids[i]) + 1;
    begins.emplace(hash, k);
  }
  for (const std::vector<int64_t> &ids : tokens.documents) {
    uint64_t hash = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      hash = hash * base + static_cast<uint64_t>(ids[i]) + 1;
      if (i >= length)
        hash -= power * (static_cast<uint64_t>(ids[i - length]) + 1);
      if (i + 1 < length)
        continue;
      auto [begin, end] = begins.equal_range(hash);
      for (auto it = begin; it != end; ++it)
        if (std::equal(ids.begin() + (i + 1 - length), ids.begin() + (i + 1),
                       calibration.tokens[it->second].begin()))
          return overlaps(path, it->second);
    }
  }
  return Error::success();
}

Error mlir::ffn::checkDisjoint(const CalibrationSet &calibration, Values inputs,
                               Values outputs,
                               const CalibrationOptions &options) {
  auto data = readData(inputs, outputs, options);
  if (!data)
    return data.takeError();
  if (Error error = findTokens(calibration, data->tokens, options.data))
    return error;
  llvm::StringMap<size_t> known;
  for (auto [k, hash] : llvm::enumerate(calibration.hashes))
    known[hash] = k;
  for (llvm::ArrayRef<HostTensor> file : data->files)
    for (int64_t row = 0; row < file[0].getShape()[0]; ++row) {
      auto sample = takeRow(file, row);
      if (!sample)
        return sample.takeError();
      if (auto found = known.find(hashInputs(*sample)); found != known.end())
        return overlaps(options.data, found->second);
    }
  return Error::success();
}
