//===- Api.cpp - The C ABI of an artefact ---------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Runtime.h"
#include <immintrin.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

using namespace ffn::rt;

extern "C" void ffn_model_entry(void **args);

struct ffn_session {
  pthread_mutex_t mutex;
  uint32_t threads;
  Scratch scratch;
  /// One entry for each kernel of the model; null until asked for.
  KernelTime *profile;
  bool profiling;
  uint64_t appended; // bytes, of the last run
  /// Memref descriptors of the arguments and pointers to them.
  int64_t *descriptors;
  void **args;
};

/// Words of a memref descriptor of rank `rank`: two pointers, an offset,
/// sizes, strides.
static uint64_t descriptorWords(int32_t rank) {
  return 3 + 2 * static_cast<uint64_t>(rank);
}

static ffn_status usable() {
  const Model &model = getModel();
  return model.status == FFN_OK ? FFN_OK
                                : fail(model.status, "%s", model.error);
}

static bool isBool(ffn_dtype type) { return type.code == 6; }

static const char *typeName(ffn_dtype type, char (&buffer)[16]) {
  const char *names[] = {"int", "uint", "float", "?", "bfloat", "?", "bool"};
  const char *name = type.code < 7 ? names[type.code] : "?";
  size_t length = strlen(name);
  memcpy(buffer, name, length);
  if (!isBool(type)) {
    unsigned bits = type.bits;
    char digits[4];
    int count = 0;
    do
      digits[count++] = static_cast<char>('0' + bits % 10);
    while (bits /= 10);
    while (count)
      buffer[length++] = digits[--count];
  }
  buffer[length] = 0;
  return buffer;
}

/// Checks dtype, rank and static dimensions of tensor `t` against `value`.
static ffn_status checkForm(const char *kind, const Value &value,
                            const ffn_tensor &t) {
  const char *name = value.info.name;
  char want[16], have[16];
  if (t.dtype.lanes != 1)
    return fail(FFN_E_DTYPE, "%s '%.80s': lanes are %u, expected 1 [FFN-R401]",
                kind, name, static_cast<unsigned>(t.dtype.lanes));
  if (t.dtype.code != value.info.dtype.code ||
      t.dtype.bits != value.info.dtype.bits)
    return fail(FFN_E_DTYPE, "%s '%.80s': dtype is %s, expected %s [FFN-R401]",
                kind, name, typeName(t.dtype, have),
                typeName(value.info.dtype, want));
  if (t.ndim != value.info.ndim)
    return fail(FFN_E_RANK, "%s '%.80s': rank is %d, expected %d [FFN-R402]",
                kind, name, t.ndim, value.info.ndim);
  if (t.ndim > 0 && !t.shape)
    return fail(FFN_E_ARGUMENT, "%s '%.80s': shape is null [FFN-R400]", kind,
                name);
  for (int32_t d = 0; d < t.ndim; ++d) {
    if (t.shape[d] < 0)
      return fail(FFN_E_SHAPE,
                  "%s '%.80s': dimension %d is %lld, which is negative "
                  "[FFN-R403]",
                  kind, name, d, static_cast<long long>(t.shape[d]));
    if (value.info.shape[d] >= 0 && t.shape[d] != value.info.shape[d])
      return fail(FFN_E_SHAPE,
                  "%s '%.80s': dimension %d is %lld, expected %lld [FFN-R403]",
                  kind, name, d, static_cast<long long>(t.shape[d]),
                  static_cast<long long>(value.info.shape[d]));
  }
  return FFN_OK;
}

/// Checks that every dimension of `t` is what the symbols say.
static ffn_status checkSymbols(const char *kind, const Value &value,
                               const ffn_tensor &t, const int64_t *symbols) {
  for (int32_t d = 0; d < t.ndim; ++d) {
    int64_t expected;
    if (!evaluate(value.dims[d], symbols, expected))
      return fail(FFN_E_SIZE,
                  "%s '%.80s': dimension %d, %.80s, is negative or too large "
                  "for these inputs [FFN-R404]",
                  kind, value.info.name, d, value.dims[d].name);
    if (t.shape[d] != expected)
      return fail(FFN_E_SHAPE,
                  "%s '%.80s': dimension %d is %lld, but %.80s is %lld for "
                  "these inputs [FFN-R403]",
                  kind, value.info.name, d, static_cast<long long>(t.shape[d]),
                  *value.dims[d].name ? value.dims[d].name : "it",
                  static_cast<long long>(expected));
  }
  return FFN_OK;
}

/// Checks shapes of all inputs and reads the symbols off them.
static ffn_status bindSymbols(const ffn_tensor *inputs, uint32_t numInputs,
                              int64_t *symbols) {
  const Model &model = getModel();
  if (numInputs != model.info.num_inputs)
    return fail(FFN_E_ARGUMENT, "%u inputs given, the model has %u [FFN-R400]",
                numInputs, model.info.num_inputs);
  if (numInputs && !inputs)
    return fail(FFN_E_ARGUMENT, "inputs are null [FFN-R400]");
  for (uint32_t i = 0; i < numInputs; ++i)
    if (ffn_status status = checkForm("input", model.inputs[i], inputs[i]))
      return status;
  for (uint32_t i = 0; i < model.numSymbols; ++i)
    symbols[i] = inputs[model.symbols[i].input].shape[model.symbols[i].dim];
  for (uint32_t i = 0; i < numInputs; ++i)
    if (ffn_status status =
            checkSymbols("input", model.inputs[i], inputs[i], symbols))
      return status;
  return FFN_OK;
}

struct Range {
  const char *begin, *end;
};

/// Checks memory of a tensor whose shape is right; gives its bytes. Where
/// `padded`, the strides may leave room between rows.
static ffn_status checkMemory(const char *kind, const Value &value,
                              const ffn_tensor &t, bool padded, Range &range) {
  const char *name = value.info.name;
  if (t.device.device_type != 1)
    return fail(FFN_E_DEVICE, "%s '%.80s': not in host memory [FFN-R405]", kind,
                name);
  uint64_t elementBytes = (t.dtype.bits + 7u) / 8u, bytes = elementBytes;
  bool empty = false;
  for (int32_t d = 0; d < t.ndim; ++d)
    empty = empty || t.shape[d] == 0;
  for (int32_t d = 0; !empty && d < t.ndim; ++d)
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(t.shape[d]),
                               &bytes) ||
        bytes > uint64_t(1) << 46)
      return fail(FFN_E_SIZE, "%s '%.80s': size overflows [FFN-R404]", kind,
                  name);
  range = {nullptr, nullptr};
  if (empty)
    return FFN_OK;
  if (!t.data)
    return fail(FFN_E_ARGUMENT, "%s '%.80s': data is null [FFN-R400]", kind,
                name);
  if (t.strides) {
    int64_t stride = 1;
    for (int32_t d = t.ndim - 1; d >= 0; --d) {
      bool last = d == t.ndim - 1;
      if (t.shape[d] != 1 &&
          (padded && !last ? t.strides[d] < stride : t.strides[d] != stride))
        return fail(FFN_E_LAYOUT,
                    "%s '%.80s': not row-major contiguous (stride of dimension "
                    "%d is %lld, expected %lld%s) [FFN-R406]",
                    kind, name, d, static_cast<long long>(t.strides[d]),
                    static_cast<long long>(stride),
                    padded && !last ? " or more" : "");
      if (padded && t.shape[d] != 1)
        stride = t.strides[d];
      if (__builtin_mul_overflow(stride, t.shape[d], &stride) ||
          stride > int64_t(1) << 46)
        return fail(FFN_E_SIZE, "%s '%.80s': size overflows [FFN-R404]", kind,
                    name);
    }
    bytes = static_cast<uint64_t>(stride) * elementBytes;
  }
  uintptr_t first = reinterpret_cast<uintptr_t>(t.data), last;
  if (__builtin_add_overflow(first, t.byte_offset, &first) ||
      __builtin_add_overflow(first, bytes, &last))
    return fail(FFN_E_SIZE,
                "%s '%.80s': %llu bytes at offset %llu end beyond the last "
                "address [FFN-R404]",
                kind, name, static_cast<unsigned long long>(bytes),
                static_cast<unsigned long long>(t.byte_offset));
  if (first % elementBytes != 0)
    return fail(FFN_E_LAYOUT,
                "%s '%.80s': data is not aligned to %llu bytes [FFN-R406]",
                kind, name, static_cast<unsigned long long>(elementBytes));
  range = {reinterpret_cast<const char *>(first),
           reinterpret_cast<const char *>(last)};
  return FFN_OK;
}

/// The pair that the value belongs to; null for most.
static const Append *findAppend(bool isInput, uint32_t index) {
  const Model &model = getModel();
  for (uint32_t i = 0; i < model.numAppends; ++i)
    if ((isInput ? model.appends[i].input : model.appends[i].output) == index)
      return model.appends + i;
  return nullptr;
}

/// Whether tensor `y` begins where `x` does and goes on with the same strides,
/// so that x is the first part of y.
static bool isInPlace(const ffn_tensor &x, const ffn_tensor &y, const Range &a,
                      const Range &b) {
  if (a.begin != b.begin)
    return false;
  int64_t stride = 1, other = 1;
  for (int32_t d = x.ndim - 1; d >= 0; --d) {
    if (x.strides && x.shape[d] > 1)
      stride = x.strides[d];
    if (y.strides && y.shape[d] > 1)
      other = y.strides[d];
    if (x.shape[d] > 1 && stride != other)
      return false;
    stride *= x.shape[d];
    other *= y.shape[d];
  }
  return true;
}

static bool overlap(const Range &a, const Range &b) {
  return a.begin < b.end && b.begin < a.end;
}

/// `strides`: null where contiguous.
static int64_t *fillDescriptor(int64_t *words, const void *data, int32_t rank,
                               const int64_t *shape, const int64_t *strides) {
  words[0] = words[1] = reinterpret_cast<intptr_t>(data);
  words[2] = 0;
  int64_t stride = 1;
  for (int32_t d = rank - 1; d >= 0; --d) {
    if (strides && shape[d] > 1)
      stride = strides[d];
    words[3 + d] = shape[d];
    words[3 + rank + d] = stride;
    stride *= shape[d] ? shape[d] : 1;
  }
  return words + descriptorWords(rank);
}

//===----------------------------------------------------------------------===//
// The table
//===----------------------------------------------------------------------===//

static const char *apiLastError() { return lastError(); }

static ffn_status apiModelInfo(ffn_model_info *info) {
  if (!info || info->struct_size < sizeof(ffn_model_info))
    return fail(FFN_E_ARGUMENT, "info is null or struct_size is not set "
                                "[FFN-R400]");
  // A model that cannot run here can still say what it is.
  const Model &model = getModel();
  if (model.status != FFN_OK && model.status != FFN_E_FEATURE)
    return usable();
  size_t size = info->struct_size;
  *info = model.info;
  info->struct_size = size;
  return FFN_OK;
}

static ffn_status valueInfo(const Value *values, uint32_t count, uint32_t index,
                            ffn_value_info *info) {
  if (!info || info->struct_size < sizeof(ffn_value_info))
    return fail(FFN_E_ARGUMENT, "info is null or struct_size is not set "
                                "[FFN-R400]");
  if (index >= count)
    return fail(FFN_E_ARGUMENT, "index %u is beyond the %u values [FFN-R400]",
                index, count);
  size_t size = info->struct_size;
  *info = values[index].info;
  info->struct_size = size;
  return FFN_OK;
}

static ffn_status apiInputInfo(uint32_t index, ffn_value_info *info) {
  const Model &model = getModel();
  return valueInfo(model.inputs, model.info.num_inputs, index, info);
}

static ffn_status apiOutputInfo(uint32_t index, ffn_value_info *info) {
  const Model &model = getModel();
  return valueInfo(model.outputs, model.info.num_outputs, index, info);
}

static ffn_status apiOutputShape(const ffn_tensor *inputs, uint32_t numInputs,
                                 uint32_t index, int64_t *shape,
                                 uint32_t capacity) {
  const Model &model = getModel();
  int64_t symbols[kMaxSymbols];
  if (ffn_status status = usable())
    return status;
  if (ffn_status status = bindSymbols(inputs, numInputs, symbols))
    return status;
  if (index >= model.info.num_outputs)
    return fail(FFN_E_ARGUMENT, "index %u is beyond the %u outputs [FFN-R400]",
                index, model.info.num_outputs);
  const Value &value = model.outputs[index];
  if (value.info.ndim && !shape)
    return fail(FFN_E_ARGUMENT, "output '%.80s': shape is null [FFN-R400]",
                value.info.name);
  if (static_cast<uint32_t>(value.info.ndim) > capacity)
    return fail(FFN_E_ARGUMENT,
                "output '%.80s': rank %d does not fit a capacity of %u "
                "[FFN-R400]",
                value.info.name, value.info.ndim, capacity);
  for (int32_t d = 0; d < value.info.ndim; ++d)
    if (!evaluate(value.dims[d], symbols, shape[d]))
      return fail(FFN_E_SIZE,
                  "output '%.80s': dimension %d is negative or too large for "
                  "these inputs [FFN-R404]",
                  value.info.name, d);
  return FFN_OK;
}

static void apiSessionDestroy(ffn_session *session) {
  if (!session)
    return;
  pthread_mutex_lock(&session->mutex);
  session->scratch.destroy();
  pthread_mutex_unlock(&session->mutex);
  pthread_mutex_destroy(&session->mutex);
  free(session->descriptors);
  free(session->args);
  free(session->profile);
  free(session);
}

static ffn_status apiSessionCreate(const ffn_session_options *options,
                                   ffn_session **result) {
  if (!result)
    return fail(FFN_E_ARGUMENT, "session is null [FFN-R400]");
  *result = nullptr;
  if (options && options->struct_size < sizeof(ffn_session_options))
    return fail(FFN_E_ARGUMENT, "struct_size of the options is not set "
                                "[FFN-R400]");
  if (options && options->threads > 256)
    return fail(FFN_E_ARGUMENT, "threads must be 1 to 256, is %u [FFN-R400]",
                options->threads);
  if (ffn_status status = usable())
    return status;
  const Model &model = getModel();
  uint64_t words = descriptorWords(1);
  uint64_t count = model.info.num_inputs + model.info.num_outputs + 1;
  for (uint32_t i = 0; i < model.info.num_inputs; ++i)
    words += descriptorWords(model.inputs[i].info.ndim);
  for (uint32_t i = 0; i < model.info.num_outputs; ++i)
    words += descriptorWords(model.outputs[i].info.ndim);
  auto *session = static_cast<ffn_session *>(calloc(1, sizeof(ffn_session)));
  if (session) {
    session->descriptors = static_cast<int64_t *>(calloc(words, 8));
    session->args = static_cast<void **>(calloc(count, sizeof(void *)));
  }
  if (!session || !session->descriptors || !session->args ||
      pthread_mutex_init(&session->mutex, nullptr) != 0) {
    if (session) {
      free(session->descriptors);
      free(session->args);
    }
    free(session);
    return fail(FFN_E_NOMEM, "no memory for a session [FFN-R501]");
  }
  session->threads =
      options && options->threads ? options->threads : countCpus();
  *result = session;
  return FFN_OK;
}

static ffn_status runLocked(ffn_session *session, const ffn_tensor *inputs,
                            uint32_t numInputs, ffn_tensor *outputs,
                            uint32_t numOutputs) {
  const Model &model = getModel();
  int64_t symbols[kMaxSymbols];
  if (ffn_status status = bindSymbols(inputs, numInputs, symbols))
    return status;
  if (numOutputs != model.info.num_outputs)
    return fail(FFN_E_ARGUMENT, "%u outputs given, the model has %u [FFN-R400]",
                numOutputs, model.info.num_outputs);
  if (numOutputs && !outputs)
    return fail(FFN_E_ARGUMENT, "outputs are null [FFN-R400]");
  int64_t *words = session->descriptors;
  void **args = session->args;
  for (uint32_t i = 0; i < numInputs; ++i) {
    Range range;
    if (ffn_status status = checkMemory("input", model.inputs[i], inputs[i],
                                        findAppend(/*isInput=*/true, i), range))
      return status;
    *args++ = words;
    words = fillDescriptor(words, range.begin, inputs[i].ndim, inputs[i].shape,
                           inputs[i].strides);
  }
  for (uint32_t i = 0; i < numOutputs; ++i) {
    Range range, other;
    const Append *append = findAppend(/*isInput=*/false, i);
    if (ffn_status status = checkForm("output", model.outputs[i], outputs[i]))
      return status;
    if (ffn_status status =
            checkSymbols("output", model.outputs[i], outputs[i], symbols))
      return status;
    if (ffn_status status =
            checkMemory("output", model.outputs[i], outputs[i], append, range))
      return status;
    for (uint32_t j = 0; j < numInputs + i; ++j) {
      bool isInput = j < numInputs;
      const ffn_tensor &tensor = isInput ? inputs[j] : outputs[j - numInputs];
      const Value &value =
          isInput ? model.inputs[j] : model.outputs[j - numInputs];
      if (ffn_status status = checkMemory(
              "tensor", value, tensor,
              findAppend(isInput, isInput ? j : j - numInputs), other))
        return status;
      if (isInput && append && append->input == j &&
          isInPlace(tensor, outputs[i], other, range))
        continue;
      if (overlap(range, other))
        return fail(FFN_E_OVERLAP,
                    "output '%.80s' overlaps %s '%.80s' [FFN-R407]",
                    model.outputs[i].info.name, isInput ? "input" : "output",
                    value.info.name);
    }
    *args++ = words;
    words = fillDescriptor(words, range.begin, outputs[i].ndim,
                           outputs[i].shape, outputs[i].strides);
  }
  int64_t weightBytes = static_cast<int64_t>(model.info.weight_bytes);
  *args = words;
  fillDescriptor(words, model.weights, 1, &weightBytes, nullptr);

  // The host's rounding and denormal modes must not change results, nor ours
  // the host's.
  unsigned modes = _mm_getcsr();
  _mm_setcsr(0x1f80);
  beginRun(session->threads, session->profiling ? session->profile : nullptr);
  ffn_status status = runWithScratch(session->scratch, ffn_model_entry,
                                     session->args, session->appended);
  endRun();
  _mm_setcsr(modes);
  return status;
}

static ffn_status apiSessionRun(ffn_session *session, const ffn_tensor *inputs,
                                uint32_t numInputs, ffn_tensor *outputs,
                                uint32_t numOutputs) {
  if (!session)
    return fail(FFN_E_ARGUMENT, "session is null [FFN-R400]");
  pthread_mutex_lock(&session->mutex);
  ffn_status status =
      runLocked(session, inputs, numInputs, outputs, numOutputs);
  pthread_mutex_unlock(&session->mutex);
  return status;
}

static uint64_t apiSessionMemory(ffn_session *session) {
  if (!session)
    return 0;
  pthread_mutex_lock(&session->mutex);
  uint64_t bytes = session->scratch.getBytes();
  pthread_mutex_unlock(&session->mutex);
  return bytes;
}

static ffn_status apiSessionProfile(ffn_session *session, int on) {
  if (!session)
    return fail(FFN_E_ARGUMENT, "session is null [FFN-R400]");
  pthread_mutex_lock(&session->mutex);
  ffn_status status = FFN_OK;
  session->profiling = false;
  if (on) {
    auto *fresh = static_cast<KernelTime *>(
        calloc(ffn_model_num_kernels + 1, sizeof(KernelTime)));
    if (fresh) {
      free(session->profile);
      session->profile = fresh;
      session->profiling = true;
    } else {
      status = fail(FFN_E_NOMEM, "no memory for a profile [FFN-R501]");
    }
  }
  pthread_mutex_unlock(&session->mutex);
  return status;
}

static ffn_status apiSessionKernelTime(ffn_session *session, uint32_t index,
                                       ffn_kernel_time *time) {
  if (!session)
    return fail(FFN_E_ARGUMENT, "session is null [FFN-R400]");
  if (!time || time->struct_size < sizeof(ffn_kernel_time))
    return fail(FFN_E_ARGUMENT, "time is null or struct_size is not set "
                                "[FFN-R400]");
  time->name = nullptr;
  time->launches = time->nanoseconds = 0;
  if (index >= ffn_model_num_kernels)
    return FFN_OK;
  time->name = ffn_model_kernels[index].name;
  pthread_mutex_lock(&session->mutex);
  if (session->profile) {
    time->launches = session->profile[index].launches;
    time->nanoseconds = session->profile[index].nanoseconds;
  }
  pthread_mutex_unlock(&session->mutex);
  return FFN_OK;
}

static ffn_status apiAppendInfo(uint32_t index, ffn_append_info *info) {
  if (!info || info->struct_size < sizeof(ffn_append_info))
    return fail(FFN_E_ARGUMENT, "info is null or struct_size is not set "
                                "[FFN-R400]");
  const Model &model = getModel();
  if (index >= model.numAppends)
    return fail(FFN_E_ARGUMENT, "index %u is beyond the %u pairs [FFN-R400]",
                index, model.numAppends);
  info->input = model.appends[index].input;
  info->output = model.appends[index].output;
  info->axis = model.appends[index].axis;
  return FFN_OK;
}

static uint64_t apiSessionAppendedBytes(ffn_session *session) {
  if (!session)
    return 0;
  pthread_mutex_lock(&session->mutex);
  uint64_t bytes = session->appended;
  pthread_mutex_unlock(&session->mutex);
  return bytes;
}

static const ffn_api api = {
    sizeof(ffn_api),      FFN_ABI_VERSION,  apiLastError,
    apiModelInfo,         apiInputInfo,     apiOutputInfo,
    apiOutputShape,       apiSessionCreate, apiSessionDestroy,
    apiSessionRun,        apiSessionMemory, apiSessionProfile,
    apiSessionKernelTime, apiAppendInfo,    apiSessionAppendedBytes,
};

extern "C" __attribute__((visibility("default"))) const ffn_api *
ffn_get_api(uint32_t abiVersion) {
  return abiVersion == FFN_ABI_VERSION ? &api : nullptr;
}
