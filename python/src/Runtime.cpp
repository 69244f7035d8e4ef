//===- Runtime.cpp - Python binding of compiled models --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Tensors are exchanged where they lie: what a caller hands over through
// DLPack or the buffer protocol goes to the artefact as it is, and what does
// not fit is refused there with a code. Nothing here copies a tensor.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir-c/Runtime.h"
#include "Binding.h"
#include <cstring>
#include <memory>
#include <mutex>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <optional>
#include <tuple>

namespace nb = nanobind;

namespace {

/// A library that stays open as long as somebody can run it.
struct Library {
  ffn_model model{};
  std::vector<ffn_value_info> inputs, outputs;

  Library() = default;
  Library(const Library &) = delete;
  ~Library() { ffn_unload(&model); }

  const ffn_api *api() const { return model.api; }
  void check(ffn_status status) const {
    if (status != FFN_OK)
      throw CompilerError(api()->last_error());
  }
};

using LibraryRef = std::shared_ptr<Library>;

std::string dtypeName(ffn_dtype type) {
  static const char *const names[] = {"int", "uint", "float", "", "bfloat"};
  if (type.code == 6)
    return "bool";
  if (type.code < 5 && *names[type.code])
    return names[type.code] + std::to_string(type.bits);
  return "dtype(" + std::to_string(type.code) + "," +
         std::to_string(type.bits) + ")";
}

std::string typeName(nb::handle object) {
  return nb::cast<std::string>(object.type().attr("__name__"));
}

/// One tensor of the caller, held for the time of a run.
class Argument {
public:
  Argument(const char *kind, const ffn_value_info &info, nb::handle object,
           bool writable) {
    nb::object source = nb::borrow(object);
    // NumPy has no bfloat16 of its own and hands out none through DLPack.
    bool brain = info.dtype.code == 4 && isNumPyBrainFloat(object);
    if (brain)
      source = object.attr("view")("uint16");
    if (writable) {
      nb::ndarray<> array;
      if (!nb::try_cast(source, array, /*convert=*/false))
        refuse(kind, info, source, writable);
      take(array, brain);
      holder = nb::ndarray<nb::ro>(array);
      return;
    }
    nb::ndarray<nb::ro> array;
    if (!nb::try_cast(source, array, /*convert=*/false))
      refuse(kind, info, source, writable);
    take(array, brain);
    holder = array;
  }
  Argument(Argument &&) = default;

  const ffn_tensor &get() const { return tensor; }

private:
  static bool isNumPyBrainFloat(nb::handle object) {
    if (!nb::hasattr(object, "dtype") || !nb::hasattr(object, "view"))
      return false;
    nb::object type = object.attr("dtype");
    return nb::cast<std::string>(nb::str(type)) == "bfloat16";
  }

  [[noreturn]] static void refuse(const char *kind, const ffn_value_info &info,
                                  nb::handle object, bool writable) {
    std::string text = std::string(kind) + " '" + info.name + "': ";
    if (!nb::hasattr(object, "__dlpack__") &&
        !PyObject_CheckBuffer(object.ptr()))
      throw CompilerError(text + "a " + typeName(object) +
                          " is no tensor: it has neither __dlpack__ nor the "
                          "buffer protocol [FFN-R400]");
    std::string why = writable ? "it is not writable" : "it was refused";
    try {
      if (nb::hasattr(object, "__dlpack__"))
        object.attr("__dlpack__")();
    } catch (nb::python_error &error) {
      why = nb::cast<std::string>(nb::str(error.value()));
    }
    throw CompilerError(text + "the " + typeName(object) +
                        " cannot be used where it lies: " + why +
                        " [FFN-R406]");
  }

  template <typename Array> void take(const Array &array, bool brain) {
    shape.assign(array.shape_ptr(), array.shape_ptr() + array.ndim());
    strides.assign(array.stride_ptr(), array.stride_ptr() + array.ndim());
    tensor.data = const_cast<void *>(static_cast<const void *>(array.data()));
    tensor.device = {array.device_type(), array.device_id()};
    tensor.ndim = static_cast<int32_t>(array.ndim());
    tensor.dtype = {array.dtype().code, array.dtype().bits,
                    array.dtype().lanes};
    if (brain)
      tensor.dtype = {4, 16, 1};
    tensor.shape = shape.data();
    tensor.strides = strides.data();
  }

  ffn_tensor tensor{};
  std::vector<int64_t> shape, strides;
  nb::ndarray<nb::ro> holder;
};

nb::object allocate(const ffn_value_info &info,
                    const std::vector<int64_t> &shape) {
  nb::object type;
  if (info.dtype.code == 4) {
    try {
      type = nb::module_::import_("ml_dtypes").attr("bfloat16");
    } catch (nb::python_error &) {
      throw CompilerError(std::string("output '") + info.name +
                          "': bfloat16 needs the package ml_dtypes, or a "
                          "tensor of yours in `out` [FFN-R400]");
    }
  } else {
    type = nb::cast(dtypeName(info.dtype));
  }
  nb::list sizes;
  for (int64_t size : shape)
    sizes.append(size);
  return nb::module_::import_("numpy").attr("empty")(nb::tuple(sizes), type);
}

/// Runs inputs through `session`; `outputs` has a tensor or None for each
/// output, and gets new arrays in place of None.
void run(const Library &library, ffn_session *session, const nb::list &inputs,
         nb::list &outputs) {
  if (inputs.size() != library.inputs.size() ||
      outputs.size() != library.outputs.size())
    throw CompilerError(std::to_string(inputs.size()) + " inputs and " +
                        std::to_string(outputs.size()) +
                        " outputs given, the model has " +
                        std::to_string(library.inputs.size()) + " and " +
                        std::to_string(library.outputs.size()) + " [FFN-R400]");
  std::vector<Argument> arguments;
  arguments.reserve(inputs.size() + outputs.size());
  std::vector<ffn_tensor> in, out;
  for (size_t i = 0; i < inputs.size(); ++i) {
    arguments.emplace_back("input", library.inputs[i], inputs[i], false);
    in.push_back(arguments.back().get());
  }
  for (uint32_t i = 0; i < library.outputs.size(); ++i) {
    const ffn_value_info &info = library.outputs[i];
    nb::object output = outputs[i];
    if (output.is_none()) {
      std::vector<int64_t> shape(static_cast<size_t>(info.ndim));
      library.check(library.api()->output_shape(
          in.data(), static_cast<uint32_t>(in.size()), i, shape.data(),
          static_cast<uint32_t>(shape.size())));
      output = allocate(info, shape);
      outputs[i] = output;
    }
    arguments.emplace_back("output", info, output, true);
    out.push_back(arguments.back().get());
  }
  ffn_status status;
  std::string error;
  {
    nb::gil_scoped_release release;
    status = library.api()->session_run(
        session, in.data(), static_cast<uint32_t>(in.size()), out.data(),
        static_cast<uint32_t>(out.size()));
    // The text is this thread's, and only until its next failure.
    if (status != FFN_OK)
      error = library.api()->last_error();
  }
  if (status != FFN_OK)
    throw CompilerError(error);
}

class Session {
public:
  Session(LibraryRef library, uint32_t threads) : library(std::move(library)) {
    ffn_session_options options{sizeof(ffn_session_options), threads};
    this->library->check(
        this->library->api()->session_create(&options, &session));
  }
  Session(const Session &) = delete;
  ~Session() { library->api()->session_destroy(session); }

  nb::list run(const nb::list &inputs, nb::list outputs) {
    ::run(*library, session, inputs, outputs);
    return outputs;
  }
  uint64_t getMemory() const { return library->api()->session_memory(session); }

private:
  LibraryRef library;
  ffn_session *session = nullptr;
};

/// A loaded model. Calls that overlap get a session each, which is kept for
/// later calls.
class Model {
public:
  Model(const std::string &path, uint32_t threads)
      : library(std::make_shared<Library>()), threads(threads) {
    if (ffn_load(path.c_str(), &library->model) != FFN_OK)
      throw CompilerError(ffn_load_error());
    ffn_model_info info{};
    info.struct_size = sizeof info;
    library->check(library->api()->model_info(&info));
    readValues(info.num_inputs, library->api()->input_info, library->inputs);
    readValues(info.num_outputs, library->api()->output_info, library->outputs);
    // A machine that cannot run the model, or weights that are not there, are
    // told now rather than at the first call.
    giveBack(takeSession());
  }

  nb::dict getInfo() const {
    ffn_model_info info{};
    info.struct_size = sizeof info;
    library->check(library->api()->model_info(&info));
    nb::dict result;
    result["producer"] = toText(info.producer);
    result["level"] = toText(info.level);
    result["features"] = toText(info.features);
    result["numerics"] = toText(info.numerics);
    result["weight_bytes"] = info.weight_bytes;
    return result;
  }

  nb::list getValues(bool output) const {
    nb::list result;
    for (const ffn_value_info &info :
         output ? library->outputs : library->inputs) {
      nb::list dims;
      for (int32_t d = 0; d < info.ndim; ++d)
        if (info.shape[d] >= 0)
          dims.append(info.shape[d]);
        else
          dims.append(toText(info.dim_names[d]));
      result.append(nb::make_tuple(toText(info.name), dtypeName(info.dtype),
                                   nb::tuple(dims)));
    }
    return result;
  }

  std::shared_ptr<Session> makeSession(uint32_t count) const {
    return std::make_shared<Session>(library, count);
  }

  nb::list run(const nb::list &inputs, const nb::list &outputs) {
    std::shared_ptr<Session> session = takeSession();
    // A session whose run failed is as good as before.
    struct Return {
      Model &model;
      std::shared_ptr<Session> &session;
      ~Return() { model.giveBack(std::move(session)); }
    } atEnd{*this, session};
    return session->run(inputs, outputs);
  }

private:
  void readValues(uint32_t count,
                  ffn_status (*query)(uint32_t, ffn_value_info *),
                  std::vector<ffn_value_info> &values) {
    for (uint32_t i = 0; i < count; ++i) {
      ffn_value_info info{};
      info.struct_size = sizeof info;
      library->check(query(i, &info));
      values.push_back(info);
    }
  }

  std::shared_ptr<Session> takeSession() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      if (!idle.empty()) {
        std::shared_ptr<Session> session = std::move(idle.back());
        idle.pop_back();
        return session;
      }
    }
    return makeSession(threads);
  }
  void giveBack(std::shared_ptr<Session> session) {
    std::lock_guard<std::mutex> lock(mutex);
    idle.push_back(std::move(session));
  }

  LibraryRef library;
  uint32_t threads;
  std::mutex mutex;
  std::vector<std::shared_ptr<Session>> idle;
};

} // namespace

void bindRuntime(nb::module_ &m) {
  nb::class_<Session>(m, "Session")
      .def("run", &Session::run, nb::arg("inputs"), nb::arg("outputs"))
      .def("memory", &Session::getMemory);
  nb::class_<Model>(m, "Model")
      .def(nb::init<const std::string &, uint32_t>(), nb::arg("path"),
           nb::arg("threads"))
      .def("info", &Model::getInfo)
      .def("values", &Model::getValues, nb::arg("output"))
      .def("session", &Model::makeSession, nb::arg("threads"))
      .def("run", &Model::run, nb::arg("inputs"), nb::arg("outputs"));
}
