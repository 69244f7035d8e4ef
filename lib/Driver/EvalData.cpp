//===- EvalData.cpp - What models are measured on -------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/EvalData.h"
#include "ffn-mlir/Driver/Npz.h"
#include "ffn-mlir/Driver/Tokenizer.h"

using namespace mlir::ffn;
using llvm::Error;
using llvm::Expected;

/// An index of `count` that are spread evenly over `size`.
static std::vector<size_t> spread(size_t size, uint64_t count) {
  std::vector<size_t> order;
  if (!count || count > size)
    count = size;
  for (uint64_t i = 0; i < count; ++i)
    order.push_back(i * size / count);
  return order;
}

static Error loadText(const EvalOptions &options, TokenData &data,
                      int64_t &first) {
  auto tokenizer = options.tokenizer.empty()
                       ? Expected<Tokenizer>(Tokenizer::bytes())
                       : Tokenizer::load(options.tokenizer);
  if (!tokenizer)
    return tokenizer.takeError();
  auto loaded = options.wholeFile ? loadWholeFile(options.data, *tokenizer)
                                  : loadTokenData(options.data, *tokenizer,
                                                  options.maxDocuments);
  if (!loaded)
    return loaded.takeError();
  data = std::move(*loaded);
  first = tokenizer->getBos();
  if (first < 0 && options.bos >= 0) {
    first = options.bos;
    for (std::vector<int64_t> &ids : data.documents)
      ids.insert(ids.begin(), first);
  }
  return Error::success();
}

static Error refuse(const EvalOptions &options, const llvm::Twine &what) {
  return driverError(options.data + ": " + what + " [FFN-D208]");
}

Expected<EvalData> EvalData::load(const EvalOptions &options) {
  EvalData result;
  result.options = options;
  if (!options.window || !options.batch || options.stride > options.window)
    return driverError("window and batch are at least 1, the stride is at most "
                       "the window [FFN-D209]");
  result.text = !llvm::StringRef(options.data).ends_with(".npz");
  if (result.text) {
    TokenData data;
    int64_t first = -1;
    if (Error error = loadText(options, data, first))
      return std::move(error);
    unsigned step = options.stride ? options.stride : options.window;
    result.windows = step == options.window && first >= 0
                         ? makeWindows(data, options.window, first)
                         : makeSlidingWindows(data, options.window, step);
    if (result.windows.empty())
      return driverError(options.data + ": holds no token to score [FFN-D204]");
    result.documents = data.documents.size();
    result.order = spread(result.windows.size(), options.maxSamples);
    if (result.order.size() == result.windows.size()) {
      result.bytes = data.bytes;
      result.characters = data.characters;
    }
    return std::move(result);
  }
  auto arrays = readNpz(options.data);
  if (!arrays)
    return arrays.takeError();
  result.arrays = std::move(*arrays);
  auto found = result.arrays.find(options.labels);
  if (found != result.arrays.end()) {
    if (Error error =
            result.labels.assign(found->second, {0, 64, 1}, options.labels))
      return std::move(error);
    if (result.labels.getShape().size() != 1)
      return refuse(options, "labels of shape " +
                                 shapeName(result.labels.getShape()) +
                                 ", one number for each row is needed");
  }
  // Rows of what is no label: inputs, whatever their names.
  result.numRows = -1;
  for (auto &[name, array] : result.arrays)
    if (!array.shape.empty() && (name == options.labels || result.numRows < 0))
      result.numRows = array.shape[0];
  if (result.numRows <= 0)
    return refuse(options, "no row");
  result.order = spread((result.numRows + options.batch - 1) / options.batch,
                        options.maxSamples);
  return std::move(result);
}

std::pair<int64_t, int64_t> EvalData::rowRange(size_t i) const {
  int64_t begin = static_cast<int64_t>(order[i]) * options.batch;
  return {begin, std::min<int64_t>(options.batch, numRows - begin)};
}

Expected<EvalBinding>
EvalData::bind(llvm::ArrayRef<Artefact::Value> inputs,
               llvm::ArrayRef<Artefact::Value> outputs) const {
  EvalBinding binding;
  binding.inputs.assign(inputs.begin(), inputs.end());
  if (text) {
    auto signature = LanguageSignature::find(inputs, outputs);
    if (!signature)
      return signature.takeError();
    binding.language = std::move(*signature);
    binding.logits = binding.language->logits;
    binding.logitsName = outputs[binding.logits].name;
    return std::move(binding);
  }
  for (const Artefact::Value &value : inputs) {
    auto found = arrays.find(value.name);
    if (found == arrays.end())
      return refuse(options, "no array for input '" + value.name + "'");
    llvm::ArrayRef<int64_t> shape = found->second.shape;
    if (shape.empty() || shape[0] != numRows)
      return refuse(options, "input '" + value.name + "' has shape " +
                                 shapeName(shape) + " for " +
                                 llvm::Twine(numRows) + " rows");
  }
  for (auto [i, value] : llvm::enumerate(outputs))
    if (binding.logits < 0 && value.shape.size() == 2 &&
        (value.dtype.code == 2 || value.dtype.code == 4) &&
        (hasTargets() ? i == 0 : value.name == "logits")) {
      binding.logits = i;
      binding.logitsName = value.name;
    }
  if (hasTargets() && binding.logits < 0)
    return refuse(options, "the first output is not [rows, classes]");
  return std::move(binding);
}

Error EvalData::fill(const EvalBinding &binding, size_t i,
                     std::vector<HostTensor> &inputs) const {
  inputs.resize(binding.inputs.size());
  if (text) {
    if (Error error = binding.language->clearPasts(binding.inputs, 1, inputs))
      return error;
    llvm::ArrayRef<int64_t> ids = windows[order[i]].ids;
    return binding.language->fill(binding.inputs, ids.drop_back(), 1, 0,
                                  inputs);
  }
  auto [begin, count] = rowRange(i);
  for (auto [value, tensor] : llvm::zip_equal(binding.inputs, inputs)) {
    const NpyArray &whole = arrays.find(value.name)->second;
    NpyArray rows;
    rows.kind = whole.kind;
    rows.itemSize = whole.itemSize;
    rows.shape = whole.shape;
    rows.shape[0] = count;
    size_t rowBytes = whole.data.size() / numRows;
    rows.data.assign(whole.data.begin() + begin * rowBytes,
                     whole.data.begin() + (begin + count) * rowBytes);
    if (Error error = tensor.assign(rows, value.dtype, value.name))
      return error;
  }
  return Error::success();
}

std::vector<int64_t> EvalData::getTargets(size_t i) const {
  std::vector<int64_t> targets;
  if (text) {
    const TokenWindow &window = windows[order[i]];
    targets.assign(window.ids.begin() + 1, window.ids.end());
    std::fill_n(targets.begin(), std::min(window.firstScored, targets.size()),
                -1);
    return targets;
  }
  if (!hasTargets())
    return targets;
  auto [begin, count] = rowRange(i);
  for (int64_t row = begin; row < begin + count; ++row)
    targets.push_back(labels.getInt(row));
  return targets;
}

size_t EvalData::getFirstScored(size_t i) const {
  return text ? windows[order[i]].firstScored : 0;
}

Error EvalData::checkRows(size_t i, const HostTensor &logits) const {
  llvm::ArrayRef<int64_t> shape = logits.getShape();
  if (text) {
    int64_t count = windows[order[i]].ids.size() - 1;
    if (shape.size() == 3 && shape[0] == 1 && shape[1] == count && shape[2])
      return Error::success();
    return driverError("no language model: logits of shape " +
                       shapeName(shape) + " for " + llvm::Twine(count) +
                       " tokens [FFN-D205]");
  }
  if (shape.size() == 2 && shape[0] == rowRange(i).second && shape[1])
    return Error::success();
  return refuse(options, "the logits have shape " + shapeName(shape) + " for " +
                             llvm::Twine(rowRange(i).second) + " rows");
}
