//===- Calibration.cpp - Samples that a search measures on ----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/Calibration.h"
#include "ffn-mlir/Driver/Decode.h"
#include "ffn-mlir/Driver/Npz.h"
#include "ffn-mlir/Driver/TokenData.h"
#include <numeric>

using namespace mlir::ffn;
using llvm::Error;
using llvm::Expected;

using Samples = std::vector<std::vector<HostTensor>>;

/// The first `count` of `order` become a random choice of it, in its order.
static void draw(std::vector<size_t> &order, size_t count, uint64_t seed) {
  SeededRandom random(seed);
  count = std::min(count, order.size());
  for (size_t i = 0; i < count; ++i)
    std::swap(order[i], order[i + random.next() % (order.size() - i)]);
  order.resize(count);
  llvm::sort(order);
}

static Expected<Samples> loadRows(llvm::ArrayRef<Artefact::Value> inputs,
                                  const CalibrationOptions &options) {
  auto arrays = readNpz(options.data);
  if (!arrays)
    return arrays.takeError();
  auto refuse = [&](const llvm::Twine &what) {
    return driverError(options.data + ": " + what + " [FFN-D208]");
  };
  std::vector<HostTensor> whole(inputs.size());
  int64_t rows = -1;
  for (auto [i, value] : llvm::enumerate(inputs)) {
    auto found = arrays->find(value.name);
    if (found == arrays->end())
      return refuse("no array for input '" + value.name + "'");
    if (Error error = whole[i].assign(found->second, value.dtype, value.name))
      return std::move(error);
    llvm::ArrayRef<int64_t> shape = whole[i].getShape();
    if (shape.empty() || (rows >= 0 && shape[0] != rows))
      return refuse(
          "input '" + value.name + "' has shape " + shapeName(shape) +
          (rows < 0 ? ", not one row for each sample"
                    : " where others have " + std::to_string(rows) + " rows"));
    rows = shape[0];
  }
  if (rows <= 0)
    return refuse("no sample");
  std::vector<size_t> order(rows);
  std::iota(order.begin(), order.end(), 0);
  draw(order, options.samples, options.seed);
  Samples samples;
  for (size_t row : order) {
    std::vector<HostTensor> sample(inputs.size());
    for (auto [i, tensor] : llvm::enumerate(sample)) {
      llvm::SmallVector<int64_t, 4> shape(whole[i].getShape());
      size_t bytes = whole[i].getNumBytes() / rows;
      shape[0] = 1;
      if (Error error = tensor.reset(whole[i].getDtype(), shape))
        return std::move(error);
      std::memcpy(tensor.data(), whole[i].data() + row * bytes, bytes);
    }
    samples.push_back(std::move(sample));
  }
  return std::move(samples);
}

Expected<Samples>
mlir::ffn::loadCalibration(llvm::ArrayRef<Artefact::Value> inputs,
                           llvm::ArrayRef<Artefact::Value> outputs,
                           const CalibrationOptions &options) {
  if (!options.samples || !options.length)
    return driverError("calibration needs one sample of one token or more "
                       "[FFN-D209]");
  if (llvm::StringRef(options.data).ends_with(".npz"))
    return loadRows(inputs, options);
  auto signature = LanguageSignature::find(inputs, outputs);
  if (!signature)
    return signature.takeError();
  Expected<Tokenizer> tokenizer = options.tokenizer.empty()
                                      ? Expected<Tokenizer>(Tokenizer::bytes())
                                      : Tokenizer::load(options.tokenizer);
  if (!tokenizer)
    return tokenizer.takeError();
  auto data = loadTokenData(options.data, *tokenizer);
  if (!data)
    return data.takeError();
  std::vector<llvm::ArrayRef<int64_t>> whole, shorter;
  for (llvm::ArrayRef<int64_t> rest : data->documents)
    while (!rest.empty()) {
      llvm::ArrayRef<int64_t> window = rest.take_front(options.length);
      (window.size() == options.length ? whole : shorter).push_back(window);
      rest = rest.drop_front(window.size());
    }
  std::vector<llvm::ArrayRef<int64_t>> &from = whole.empty() ? shorter : whole;
  std::vector<size_t> order(from.size());
  std::iota(order.begin(), order.end(), 0);
  draw(order, options.samples, options.seed);
  Samples samples;
  for (size_t index : order) {
    std::vector<HostTensor> sample(inputs.size());
    if (Error error = signature->clearPasts(inputs, 1, sample))
      return std::move(error);
    if (Error error = signature->fill(inputs, from[index], 1, 0, sample))
      return std::move(error);
    samples.push_back(std::move(sample));
  }
  return std::move(samples);
}
