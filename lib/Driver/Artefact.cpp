//===- Artefact.cpp - A compiled model and a session of it ----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

// Before the header, which leaves the loader out.
#include "ffn-mlir-c/Runtime.h"

#include "ffn-mlir/Driver/Artefact.h"
#include "ffn-mlir/Support/DimExpr.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir::ffn;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;

/// Whether the table of an older artefact reaches as far as `member`.
#define FFN_HAS(api, member)                                                   \
  ((api).struct_size >= offsetof(ffn_api, member) + sizeof((api).member))

struct Artefact::Library {
  ffn_model model = {nullptr, -1, nullptr};
  ~Library() { ffn_unload(&model); }
  Error lastError() const { return driverError(model.api->last_error()); }
};

std::string Artefact::Value::describe() const {
  std::string text = dtypeName(dtype) + " [";
  for (auto [i, dim] : llvm::enumerate(shape)) {
    text += i ? ", " : "";
    text += dim < 0 ? dimNames[i] : std::to_string(dim);
  }
  return text + "]";
}

Expected<llvm::SmallVector<int64_t, 4>>
Artefact::Value::resolve(const DimSizes &sizes) const {
  llvm::SmallVector<int64_t, 4> result;
  for (auto [dim, text] : llvm::zip_equal(shape, dimNames)) {
    if (dim >= 0) {
      result.push_back(dim);
      continue;
    }
    std::string missing;
    std::optional<int64_t> size = DimExpr::parse(text).evaluate(
        [&](StringRef symbol) -> std::optional<int64_t> {
          auto it = sizes.find(symbol.str());
          if (it != sizes.end())
            return it->second;
          missing = symbol.str();
          return std::nullopt;
        });
    if (!missing.empty())
      return driverError("input '" + name + "': dimension '" + missing +
                         "' has no size; give --dim " + missing +
                         "=N [FFN-R400]");
    if (!size || *size < 0)
      return driverError("input '" + name + "': dimension '" + text +
                         "' has no size of zero or more here [FFN-R403]");
    result.push_back(*size);
  }
  return result;
}

Expected<std::unique_ptr<Artefact>> Artefact::load(StringRef path,
                                                   unsigned threads) {
  std::unique_ptr<Artefact> result(new Artefact);
  result->library = std::make_unique<Library>();
  ffn_model &model = result->library->model;
  if (ffn_load(path.str().c_str(), &model) != FFN_OK)
    return driverError(ffn_load_error());
  if (Error error = result->readSignature())
    return std::move(error);
  ffn_session_options options{sizeof options, threads};
  if (model.api->session_create(&options, &result->session) != FFN_OK)
    return driverError(path + ": " + model.api->last_error());
  return std::move(result);
}

Artefact::~Artefact() {
  if (session)
    library->model.api->session_destroy(session);
}

Error Artefact::readSignature() {
  const ffn_api &api = *library->model.api;
  ffn_model_info about{};
  about.struct_size = sizeof about;
  if (api.model_info(&about) != FFN_OK)
    return library->lastError();
  info = {about.producer, about.level, about.features, about.numerics,
          about.weight_bytes};
  auto read = [&](auto query, uint32_t count,
                  std::vector<Value> &values) -> Error {
    for (uint32_t i = 0; i < count; ++i) {
      ffn_value_info entry{};
      entry.struct_size = sizeof entry;
      if (query(i, &entry) != FFN_OK)
        return library->lastError();
      Value value{entry.name, entry.dtype, {}, {}};
      value.shape.assign(entry.shape, entry.shape + entry.ndim);
      for (int32_t d = 0; d < entry.ndim; ++d)
        value.dimNames.push_back(entry.dim_names[d]);
      values.push_back(std::move(value));
    }
    return Error::success();
  };
  if (Error error = read(api.input_info, about.num_inputs, inputs))
    return error;
  if (Error error = read(api.output_info, about.num_outputs, outputs))
    return error;
  ffn_append_info pair{};
  pair.struct_size = sizeof pair;
  for (uint32_t i = 0; FFN_HAS(api, session_appended_bytes) &&
                       api.append_info(i, &pair) == FFN_OK;
       ++i)
    appends.push_back({pair.input, pair.output, pair.axis});
  return Error::success();
}

static int64_t findValue(llvm::ArrayRef<Artefact::Value> values,
                         StringRef name) {
  for (auto [i, value] : llvm::enumerate(values))
    if (value.name == name)
      return i;
  return -1;
}
int64_t Artefact::findInput(StringRef name) const {
  return findValue(inputs, name);
}
int64_t Artefact::findOutput(StringRef name) const {
  return findValue(outputs, name);
}

uint64_t Artefact::getSessionMemory() const {
  return library->model.api->session_memory(session);
}

Error Artefact::setProfiling(bool on) {
  const ffn_api &api = *library->model.api;
  if (!FFN_HAS(api, session_kernel_time))
    return driverError("the model was compiled before kernels were measured: "
                       "compile it again [FFN-R102]");
  if (api.session_profile(session, on) != FFN_OK)
    return library->lastError();
  return Error::success();
}

std::vector<Artefact::KernelTime> Artefact::getKernelTimes() const {
  const ffn_api &api = *library->model.api;
  std::vector<KernelTime> times;
  for (uint32_t i = 0; FFN_HAS(api, session_kernel_time); ++i) {
    ffn_kernel_time time{};
    time.struct_size = sizeof time;
    if (api.session_kernel_time(session, i, &time) != FFN_OK || !time.name)
      break;
    if (time.launches)
      times.push_back({time.name, time.launches, 1e-9 * time.nanoseconds});
  }
  llvm::stable_sort(times, [](const KernelTime &a, const KernelTime &b) {
    return a.seconds > b.seconds;
  });
  return times;
}

Error Artefact::run(llvm::MutableArrayRef<HostTensor> arguments,
                    std::vector<HostTensor> &results) {
  llvm::SmallVector<HostTensor *, 32> pointers;
  for (HostTensor &tensor : arguments)
    pointers.push_back(&tensor);
  return run(pointers, results);
}

Error Artefact::run(llvm::ArrayRef<HostTensor *> arguments,
                    std::vector<HostTensor> &results) {
  llvm::SmallVector<ffn_tensor, 32> in;
  for (HostTensor *tensor : arguments)
    in.push_back(tensor->view());
  return run(in, {}, results);
}

uint64_t Artefact::getAppendedBytes() const {
  const ffn_api &api = *library->model.api;
  return FFN_HAS(api, session_appended_bytes)
             ? api.session_appended_bytes(session)
             : 0;
}

Error Artefact::run(llvm::ArrayRef<ffn_tensor> in,
                    llvm::ArrayRef<ffn_tensor> given,
                    std::vector<HostTensor> &results) {
  const ffn_api &api = *library->model.api;
  llvm::SmallVector<ffn_tensor, 32> out;
  results.resize(outputs.size());
  for (auto [i, value] : llvm::enumerate(outputs)) {
    if (i < given.size() && given[i].data) {
      out.push_back(given[i]);
      continue;
    }
    llvm::SmallVector<int64_t, 4> shape(value.shape.size());
    if (api.output_shape(in.data(), in.size(), i, shape.data(), shape.size()) !=
        FFN_OK)
      return library->lastError();
    if (Error error = results[i].reset(value.dtype, shape))
      return driverError("output '" + value.name +
                         "': " + llvm::toString(std::move(error)));
    out.push_back(results[i].view());
  }
  if (api.session_run(session, in.data(), in.size(), out.data(), out.size()) !=
      FFN_OK)
    return library->lastError();
  return Error::success();
}

static llvm::json::Array valuesToJSON(llvm::ArrayRef<Artefact::Value> values) {
  llvm::json::Array list;
  for (const Artefact::Value &value : values) {
    llvm::json::Array dims;
    for (auto [dim, name] : llvm::zip_equal(value.shape, value.dimNames)) {
      if (dim < 0)
        dims.push_back(name);
      else
        dims.push_back(dim);
    }
    list.push_back(llvm::json::Object{{"name", value.name},
                                      {"dtype", dtypeName(value.dtype)},
                                      {"dims", std::move(dims)}});
  }
  return list;
}

llvm::json::Object Artefact::toJSON() const {
  llvm::SmallVector<StringRef> parts;
  StringRef(info.features).split(parts, ',', -1, /*KeepEmpty=*/false);
  llvm::json::Array features;
  for (StringRef part : parts)
    features.push_back(part.str());
  return llvm::json::Object{
      {"producer", info.producer},
      {"level", info.level},
      {"features", std::move(features)},
      {"numerics", info.numerics},
      {"weight_bytes", static_cast<int64_t>(info.weightBytes)},
      {"inputs", valuesToJSON(inputs)},
      {"outputs", valuesToJSON(outputs)}};
}
