//===- Decode.cpp - Text generation by a compiled model -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/Decode.h"
#include "ffn-mlir/Driver/Metrics.h"
#include "llvm/ADT/STLExtras.h"
#include <chrono>
#include <cmath>
#include <cstring>

using namespace mlir::ffn;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;

static bool isIntMatrix(const Artefact::Value &value) {
  return value.dtype.code <= 1 && value.shape.size() == 2;
}

static Error notALanguageModel(const llvm::Twine &what) {
  return driverError("no language model: " + what + " [FFN-D205]");
}

/// "past_key_values.0.key" and "present.0.key" have the rest ".0.key".
static StringRef restOfCacheName(StringRef name) {
  for (StringRef prefix :
       {"past_key_values", "present_key_values", "past", "present"})
    if (name.consume_front(prefix))
      break;
  return name;
}

Expected<LanguageSignature>
LanguageSignature::find(llvm::ArrayRef<Artefact::Value> inputs,
                        llvm::ArrayRef<Artefact::Value> outputs) {
  LanguageSignature found;
  llvm::SmallVector<int64_t> presents, pastInputs;
  for (auto [i, value] : llvm::enumerate(outputs)) {
    if (StringRef(value.name).starts_with("present"))
      presents.push_back(i);
    else if (value.name == "logits" && value.shape.size() == 3)
      found.logits = i;
  }
  for (auto [i, value] : llvm::enumerate(outputs))
    if (found.logits < 0 && value.dtype.code == 2 && value.shape.size() == 3)
      found.logits = i;
  if (found.logits < 0)
    return notALanguageModel("no output has logits [batch, sequence, vocab]");
  found.vocabulary = outputs[found.logits].shape[2];
  for (auto [i, value] : llvm::enumerate(inputs)) {
    if (isIntMatrix(value) && value.name == "attention_mask")
      found.mask = i;
    else if (isIntMatrix(value) && value.name == "position_ids")
      found.positionIds = i;
    else if (StringRef(value.name).starts_with("past"))
      pastInputs.push_back(i);
    else if (isIntMatrix(value) && (found.ids < 0 || value.name == "input_ids"))
      found.ids = i;
    else
      return notALanguageModel("input '" + value.name + "' is none of ids, " +
                               "mask, positions, past");
  }
  if (found.ids < 0)
    return notALanguageModel("no input has token ids [batch, sequence]");
  for (auto [number, input] : llvm::enumerate(pastInputs)) {
    const Artefact::Value &value = inputs[input];
    int64_t axis = -1;
    for (size_t d = 1; d < value.shape.size() && axis < 0; ++d)
      if (value.shape[d] < 0)
        axis = d;
    if (axis < 0)
      return notALanguageModel("input '" + value.name +
                               "' has no dynamic length");
    int64_t output = -1;
    for (int64_t present : presents)
      if (restOfCacheName(outputs[present].name) == restOfCacheName(value.name))
        output = present;
    if (output < 0 && presents.size() == pastInputs.size())
      output = presents[number];
    if (output < 0)
      return notALanguageModel("input '" + value.name +
                               "' has no output that is its next value");
    if (outputs[output].shape.size() != value.shape.size() ||
        outputs[output].dtype.code != value.dtype.code ||
        outputs[output].dtype.bits != value.dtype.bits)
      return notALanguageModel("input '" + value.name + "' and output '" +
                               outputs[output].name + "' differ in type");
    found.pasts.push_back({input, output, axis});
  }
  return std::move(found);
}

Error LanguageSignature::clearPasts(
    llvm::ArrayRef<Artefact::Value> types, int64_t rows,
    llvm::MutableArrayRef<HostTensor> inputs) const {
  for (const Past &past : pasts) {
    const Artefact::Value &value = types[past.input];
    llvm::SmallVector<int64_t, 4> shape = value.shape;
    shape[past.axis] = 0;
    for (int64_t &dim : shape)
      if (dim < 0)
        dim = rows;
    if (Error error = inputs[past.input].reset(value.dtype, shape))
      return error;
  }
  return Error::success();
}

Error LanguageSignature::fill(llvm::ArrayRef<Artefact::Value> types,
                              llvm::ArrayRef<int64_t> text, int64_t rows,
                              int64_t before,
                              llvm::MutableArrayRef<HostTensor> inputs) const {
  for (int64_t id : text)
    if (id < 0 || (vocabulary >= 0 && id >= vocabulary))
      return driverError("token id " + llvm::Twine(id) +
                         " is outside of the vocabulary of " +
                         llvm::Twine(vocabulary) + " [FFN-D206]");
  int64_t count = text.size() / rows;
  if (Error error = inputs[ids].reset(types[ids].dtype, {rows, count}))
    return error;
  for (auto [i, id] : llvm::enumerate(text))
    inputs[ids].setInt(i, id);
  if (mask >= 0) {
    if (Error error =
            inputs[mask].reset(types[mask].dtype, {rows, before + count}))
      return error;
    for (size_t i = 0; i < inputs[mask].getNumElements(); ++i)
      inputs[mask].setInt(i, 1);
  }
  if (positionIds < 0)
    return Error::success();
  if (Error error =
          inputs[positionIds].reset(types[positionIds].dtype, {rows, count}))
    return error;
  for (size_t i = 0; i < inputs[positionIds].getNumElements(); ++i)
    inputs[positionIds].setInt(i, before + static_cast<int64_t>(i) % count);
  return Error::success();
}

Expected<LanguageModel> LanguageModel::create(Artefact &artefact,
                                              int64_t batch) {
  LanguageModel model(artefact);
  model.batch = batch;
  auto signature =
      LanguageSignature::find(artefact.getInputs(), artefact.getOutputs());
  if (!signature)
    return signature.takeError();
  model.signature = std::move(*signature);
  model.inPlace =
      model.hasCache() &&
      llvm::all_of(model.signature.pasts, [&](const auto &past) {
        return llvm::any_of(artefact.getAppends(), [&](const auto &pair) {
          return pair.input == past.input && pair.output == past.output &&
                 pair.axis == past.axis;
        });
      });
  if (Error error = model.reset())
    return std::move(error);
  return std::move(model);
}

Error LanguageModel::reset() {
  inputs.resize(artefact->getInputs().size());
  length = positions = 0;
  history.assign(batch, {});
  return signature.clearPasts(artefact->getInputs(), batch, inputs);
}

Error LanguageModel::reserve(int64_t tokens) {
  if (!inPlace || tokens <= room)
    return Error::success();
  caches.resize(signature.pasts.size());
  for (auto [past, cache] : llvm::zip_equal(signature.pasts, caches)) {
    const Artefact::Value &value = artefact->getInputs()[past.input];
    llvm::SmallVector<int64_t, 4> shape = value.shape;
    shape[past.axis] = tokens;
    for (int64_t &dim : shape)
      if (dim < 0)
        dim = batch;
    HostTensor grown;
    if (Error error = grown.reset(value.dtype, shape))
      return error;
    // Blocks of the axis and what is inside of it.
    size_t outer = 1, row = value.dtype.bits / 8;
    for (auto [d, dim] : llvm::enumerate(shape))
      (static_cast<int64_t>(d) < past.axis ? outer : row) *=
          static_cast<int64_t>(d) == past.axis ? 1 : dim;
    if (length > 0)
      for (size_t i = 0; i < outer; ++i)
        std::memcpy(grown.data() + i * tokens * row,
                    cache.data() + i * room * row, length * row);
    cache = std::move(grown);
  }
  room = tokens;
  return Error::success();
}

Error LanguageModel::runInPlace(int64_t count) {
  if (length + count > room)
    if (Error error = reserve(std::max(length + count + 64, room + room / 2)))
      return error;
  llvm::SmallVector<ffn_tensor, 32> arguments, results;
  for (HostTensor &input : inputs)
    arguments.push_back(input.view());
  results.assign(artefact->getOutputs().size(), ffn_tensor{});
  // Shape and strides of each past, shape of each present.
  std::vector<llvm::SmallVector<int64_t, 4>> sizes;
  sizes.reserve(3 * signature.pasts.size());
  for (auto [past, cache] : llvm::zip_equal(signature.pasts, caches)) {
    llvm::SmallVector<int64_t, 4> shape(cache.getShape()), strides(shape);
    int64_t stride = 1;
    for (size_t d = shape.size(); d-- > 0; stride *= shape[d])
      strides[d] = stride;
    shape[past.axis] = length;
    sizes.push_back(shape);
    shape[past.axis] = length + count;
    sizes.push_back(shape);
    sizes.push_back(strides);
    size_t at = sizes.size() - 3;
    ffn_tensor &before = arguments[past.input] = cache.view();
    ffn_tensor &after = results[past.output] = before;
    before.shape = sizes[at].data();
    after.shape = sizes[at + 1].data();
    before.strides = after.strides = sizes[at + 2].data();
  }
  return artefact->run(arguments, results, outputs);
}

Error LanguageModel::feed(llvm::ArrayRef<int64_t> text) {
  if (text.empty() || text.size() % batch)
    return driverError("a step needs one token or more for each row "
                       "[FFN-D206]");
  int64_t count = text.size() / batch;
  positions = count;
  std::vector<int64_t> whole;
  if (!hasCache()) {
    for (auto [row, words] : llvm::enumerate(history)) {
      llvm::append_range(words, text.slice(row * count, count));
      llvm::append_range(whole, words);
    }
    text = whole;
    positions = count = text.size() / batch;
  }
  if (Error error = signature.fill(artefact->getInputs(), text, batch,
                                   hasCache() ? length : 0, inputs))
    return error;
  if (Error error =
          inPlace ? runInPlace(count) : artefact->run(inputs, outputs))
    return error;
  length = hasCache() ? length + count : count;
  // The old past is the memory of the next present.
  if (!inPlace)
    for (const LanguageSignature::Past &past : signature.pasts)
      std::swap(inputs[past.input], outputs[past.output]);
  const HostTensor &logits = outputs[signature.logits];
  // Compiled for the last token only, a model gives one position.
  if (logits.getShape()[0] == batch && logits.getShape()[1] == 1)
    positions = 1;
  else if (logits.getShape()[0] != batch || logits.getShape()[1] != count)
    return notALanguageModel("logits of shape " + shapeName(logits.getShape()) +
                             " for " + llvm::Twine(count) + " tokens");
  converted.clear();
  if (logits.getDtype().bits != 32) {
    converted.resize(logits.getNumElements());
    for (auto [i, value] : llvm::enumerate(converted))
      value = static_cast<float>(logits.getDouble(i));
  }
  return Error::success();
}

llvm::ArrayRef<float> LanguageModel::logits(int64_t position, int64_t row) {
  const HostTensor &tensor = outputs[signature.logits];
  llvm::ArrayRef<float> all = tensor.as<float>();
  if (tensor.getDtype().bits != 32)
    all = converted;
  if (position < 0)
    position += positions;
  size_t width = tensor.getShape()[2];
  return all.slice((row * positions + position) * width, width);
}

//===----------------------------------------------------------------------===//
// Sampling
//===----------------------------------------------------------------------===//

int64_t Sampler::next(llvm::ArrayRef<float> logits) {
  int64_t best = argmax(logits);
  if (best < 0 || !(options.temperature > 0))
    return best;
  std::vector<size_t> order(logits.size());
  for (auto [i, index] : llvm::enumerate(order))
    index = i;
  size_t kept = logits.size();
  if (options.topK && options.topK < kept) {
    kept = options.topK;
    llvm::stable_sort(
        order, [&](size_t a, size_t b) { return logits[a] > logits[b]; });
    order.resize(kept);
  }
  double top = logits[best], sum = 0;
  std::vector<double> weights(kept);
  for (size_t i = 0; i < kept; ++i)
    sum += weights[i] =
        std::exp((logits[order[i]] - top) / options.temperature);
  double drawn = random.uniform() * sum;
  for (size_t i = 0; i < kept; ++i) {
    drawn -= weights[i];
    if (drawn < 0)
      return order[i];
  }
  return best;
}

static double secondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
      .count();
}

Expected<Generation>
mlir::ffn::generateTokens(LanguageModel &model, llvm::ArrayRef<int64_t> prompt,
                          uint64_t maxTokens, const SamplingOptions &sampling,
                          llvm::ArrayRef<int64_t> stop,
                          llvm::function_ref<bool(int64_t)> onToken) {
  Generation result;
  Sampler sampler(sampling);
  // Room for the usual length; the text of a longer one moves a few times.
  if (Error error =
          model.reserve(prompt.size() + std::min<uint64_t>(maxTokens, 4096)))
    return std::move(error);
  auto begin = std::chrono::steady_clock::now();
  if (Error error = model.feed(prompt))
    return std::move(error);
  result.prefillSeconds = secondsSince(begin);
  begin = std::chrono::steady_clock::now();
  while (result.ids.size() < maxTokens) {
    int64_t id = sampler.next(model.logits());
    if (id < 0)
      return driverError("the model's logits are no numbers [FFN-D207]");
    if (llvm::is_contained(stop, id))
      break;
    result.ids.push_back(id);
    if (!onToken(id) || result.ids.size() == maxTokens)
      break;
    if (Error error = model.feed(id))
      return std::move(error);
    ++result.decodeSteps;
  }
  result.decodeSeconds = secondsSince(begin);
  return result;
}
