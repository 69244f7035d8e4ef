//===- Descriptor.cpp - Reads what the compiler said of the model ---------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Runtime.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

extern "C" {
extern const unsigned char ffn_model_descriptor[];
extern const uint64_t ffn_model_descriptor_size;
extern const unsigned char ffn_model_weights[];
}

using namespace ffn::rt;

static constexpr uint32_t kMagic = 0x444e4646;
static constexpr uint32_t kVersion = 1;

static thread_local char errorText[1024];

ffn_status ffn::rt::fail(ffn_status status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(errorText, sizeof errorText, format, arguments);
  va_end(arguments);
  return status;
}

const char *ffn::rt::lastError() { return errorText; }

namespace {
/// Reads the format of ffn-mlir/Target/Descriptor.h; `ok` is false once a
/// field lies beyond the end.
struct Reader {
  const unsigned char *position, *end;
  bool ok = true;

  const unsigned char *take(uint64_t size) {
    if (!ok || size > static_cast<uint64_t>(end - position)) {
      ok = false;
      return nullptr;
    }
    const unsigned char *at = position;
    position += size;
    return at;
  }
  template <typename T> T number() {
    T value = 0;
    if (const unsigned char *at = take(sizeof(T)))
      memcpy(&value, at, sizeof(T));
    return value;
  }
  const char *string() {
    uint64_t size = number<uint32_t>();
    const unsigned char *at = take(size + 1);
    if (!at || at[size] != 0) {
      ok = false;
      return "";
    }
    return reinterpret_cast<const char *>(at);
  }
  /// Zeroed storage for `count` elements, each of which needs at least one
  /// byte of the rest of the descriptor.
  template <typename T> T *list(uint32_t count) {
    if (count > static_cast<uint64_t>(end - position)) {
      ok = false;
      return nullptr;
    }
    T *memory = static_cast<T *>(calloc(count ? count : 1, sizeof(T)));
    ok = ok && memory;
    return memory;
  }
};
} // namespace

static bool readValues(Reader &in, Value *&values, uint32_t &count) {
  count = in.number<uint32_t>();
  values = in.list<Value>(count);
  for (uint32_t i = 0; in.ok && i < count; ++i) {
    Value &value = values[i];
    value.info.struct_size = sizeof(ffn_value_info);
    value.info.name = in.string();
    value.info.dtype.code = in.number<uint8_t>();
    value.info.dtype.bits = in.number<uint8_t>();
    value.info.dtype.lanes = 1;
    uint32_t rank = in.number<uint32_t>();
    if (rank > kMaxRank)
      return in.ok = false;
    value.info.ndim = static_cast<int32_t>(rank);
    value.dims = in.list<Dim>(rank);
    auto *shape = in.list<int64_t>(rank);
    auto *names = in.list<const char *>(rank);
    for (uint32_t d = 0; in.ok && d < rank; ++d) {
      Dim &dim = value.dims[d];
      dim.name = names[d] = in.string();
      dim.length = in.number<uint32_t>();
      dim.program = in.take(uint64_t(dim.length) * 9);
      shape[d] = -1;
      if (in.ok && !*dim.name && !evaluate(dim, nullptr, shape[d]))
        in.ok = false;
    }
    value.info.shape = shape;
    value.info.dim_names = names;
  }
  return in.ok;
}

bool ffn::rt::evaluate(const Dim &dim, const int64_t *symbols,
                       int64_t &result) {
  int64_t stack[64];
  unsigned depth = 0;
  for (uint32_t i = 0; i < dim.length; ++i) {
    const unsigned char *at = dim.program + 9 * i;
    int64_t operand;
    memcpy(&operand, at + 1, sizeof operand);
    if (*at <= 1) {
      if (depth == 64 || (*at == 1 && (!symbols || operand < 0 ||
                                       operand >= int64_t(kMaxSymbols))))
        return false;
      stack[depth++] = *at == 0 ? operand : symbols[operand];
      continue;
    }
    if (depth < 2)
      return false;
    int64_t b = stack[--depth], a = stack[depth - 1], value;
    switch (*at) {
    case 2:
      if (__builtin_add_overflow(a, b, &value))
        return false;
      break;
    case 3:
      if (__builtin_mul_overflow(a, b, &value))
        return false;
      break;
    case 4:
      if (b == 0 || (a == INT64_MIN && b == -1))
        return false;
      value = a / b - (a % b != 0 && (a < 0) != (b < 0));
      break;
    case 5:
      value = a > b ? a : b;
      break;
    case 6:
      value = a < b ? a : b;
      break;
    default:
      return false;
    }
    stack[depth - 1] = value;
  }
  if (depth != 1 || stack[0] < 0)
    return false;
  result = stack[0];
  return true;
}

__attribute__((target("sse4.2"))) static uint32_t
crc32cHardware(const unsigned char *data, uint64_t size) {
  uint64_t crc = 0xffffffffu;
  for (; size >= 8; size -= 8, data += 8) {
    uint64_t word;
    memcpy(&word, data, 8);
    crc = __builtin_ia32_crc32di(crc, word);
  }
  for (; size; --size, ++data)
    crc = __builtin_ia32_crc32qi(static_cast<uint32_t>(crc), *data);
  return ~static_cast<uint32_t>(crc);
}

static ffn_status mapWeights(Model &model) {
  if (!*model.weightsFile) {
    model.weights = ffn_model_weights;
    return FFN_OK;
  }
  // The file lies beside the library; the library may have been opened through
  // a descriptor, so its own path is asked from the kernel.
  Dl_info self;
  char path[4096], name[4096];
  if (strchr(model.weightsFile, '/') ||
      !dladdr(const_cast<unsigned char *>(ffn_model_descriptor), &self))
    return fail(FFN_E_ARTEFACT, "cannot tell the folder of the library "
                                "[FFN-R201]");
  ssize_t length = readlink(self.dli_fname, name, sizeof name - 1);
  if (length < 0)
    snprintf(name, sizeof name, "%s", self.dli_fname);
  else
    name[length] = 0;
  char *slash = strrchr(name, '/');
  int written =
      snprintf(path, sizeof path, "%.*s%s", slash ? int(slash + 1 - name) : 0,
               name, model.weightsFile);
  if (written < 0 || written >= int(sizeof path))
    return fail(FFN_E_ARTEFACT, "path of the weights file is too long "
                                "[FFN-R201]");
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat info;
  if (fd < 0 || fstat(fd, &info) != 0 ||
      uint64_t(info.st_size) != model.info.weight_bytes) {
    ffn_status status = fail(
        FFN_E_ARTEFACT, "weights file %s: %s [FFN-R201]", model.weightsFile,
        fd < 0 ? strerror(errno) : "size differs from what the library needs");
    if (fd >= 0)
      close(fd);
    return status;
  }
  void *base =
      model.info.weight_bytes
          ? mmap(nullptr, model.info.weight_bytes, PROT_READ, MAP_SHARED, fd, 0)
          : const_cast<unsigned char *>(ffn_model_weights);
  close(fd);
  if (base == MAP_FAILED)
    return fail(FFN_E_NOMEM, "weights file %s cannot be mapped [FFN-R201]",
                model.weightsFile);
  model.weights = static_cast<const unsigned char *>(base);
  if (hasFeature("sse4.2") &&
      crc32cHardware(model.weights, model.info.weight_bytes) !=
          model.weightsChecksum)
    return fail(FFN_E_ARTEFACT, "weights file %s: checksum differs [FFN-R201]",
                model.weightsFile);
  return FFN_OK;
}

static ffn_status loadModel(Model &model) {
  Reader in{ffn_model_descriptor,
            ffn_model_descriptor + ffn_model_descriptor_size};
  if (in.number<uint32_t>() != kMagic || in.number<uint32_t>() != kVersion)
    return fail(FFN_E_ABI, "descriptor of another version [FFN-R102]");
  model.info.struct_size = sizeof(ffn_model_info);
  model.info.producer = in.string();
  model.info.level = in.string();
  model.info.numerics = in.string();
  model.numFeatures = in.number<uint32_t>();
  model.features = in.list<const char *>(model.numFeatures);
  uint64_t length = 1;
  for (uint32_t i = 0; in.ok && i < model.numFeatures; ++i) {
    model.features[i] = in.string();
    length += strlen(model.features[i]) + 1;
  }
  char *features = static_cast<char *>(calloc(1, length));
  for (uint32_t i = 0; features && in.ok && i < model.numFeatures; ++i) {
    if (i)
      strcat(features, ",");
    strcat(features, model.features[i]);
  }
  model.info.features = features ? features : "";
  model.numSymbols = in.number<uint32_t>();
  model.symbols = in.list<Symbol>(model.numSymbols);
  for (uint32_t i = 0; in.ok && i < model.numSymbols; ++i)
    model.symbols[i] = {in.string(), in.number<uint32_t>(),
                        in.number<uint32_t>()};
  readValues(in, model.inputs, model.info.num_inputs);
  readValues(in, model.outputs, model.info.num_outputs);
  model.info.weight_bytes = in.number<uint64_t>();
  model.weightsFile = in.string();
  model.weightsChecksum = in.number<uint32_t>();
  model.numAppends = in.number<uint32_t>();
  model.appends = in.list<Append>(model.numAppends);
  for (uint32_t i = 0; in.ok && i < model.numAppends; ++i) {
    Append &append = model.appends[i];
    append = {in.number<uint32_t>(), in.number<uint32_t>(),
              in.number<uint32_t>()};
    in.ok = append.input < model.info.num_inputs &&
            append.output < model.info.num_outputs &&
            append.axis < uint32_t(model.inputs[append.input].info.ndim) &&
            model.inputs[append.input].info.ndim ==
                model.outputs[append.output].info.ndim;
  }
  if (!in.ok || !features || model.numSymbols > kMaxSymbols)
    return fail(FFN_E_ARTEFACT, "descriptor is damaged [FFN-R103]");
  for (uint32_t i = 0; i < model.numSymbols; ++i)
    if (model.symbols[i].input >= model.info.num_inputs ||
        model.symbols[i].dim >=
            uint32_t(model.inputs[model.symbols[i].input].info.ndim))
      return fail(FFN_E_ARTEFACT, "descriptor is damaged [FFN-R103]");
  for (uint32_t i = 0; i < model.numFeatures; ++i)
    if (!hasFeature(model.features[i]))
      return fail(FFN_E_FEATURE,
                  "this model was compiled for level %s and needs the CPU "
                  "feature %s, which this machine lacks or FFN_CPU_FEATURES "
                  "hides; compile with --cpu=... for this machine [FFN-R301]",
                  model.info.level, model.features[i]);
  return mapWeights(model);
}

static Model theModel;
static pthread_once_t modelOnce = PTHREAD_ONCE_INIT;

static void loadOnce() {
  theModel.status = loadModel(theModel);
  if (theModel.status != FFN_OK)
    snprintf(theModel.error, sizeof theModel.error, "%s", lastError());
}

const Model &ffn::rt::getModel() {
  pthread_once(&modelOnce, loadOnce);
  return theModel;
}
