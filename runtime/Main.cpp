//===- Main.cpp - A compiled model as a program ---------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Linked into what `ffnc compile --emit=exe` makes: reads .npy files, one for
// each input in order, runs the model, writes one .npy file for each output.
// No start files are linked, so the entry point is here too.
//
//===----------------------------------------------------------------------===//

#define FFN_NO_LOADER
#include "ffn-mlir-c/Runtime.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

extern "C" const ffn_api *ffn_get_api(uint32_t abiVersion);

namespace {
constexpr int kMaxRank = 32;
constexpr uint32_t kMaxValues = 1024;

struct Array {
  ffn_tensor tensor;
  int64_t shape[kMaxRank];
  uint64_t bytes;
};
} // namespace

static int complain(const char *what, const char *why) {
  fprintf(stderr, "error: %s: %s [FFN-R601]\n", what, why);
  return 1;
}

static uint64_t elementBytes(ffn_dtype type) { return type.bits / 8; }

static char kindOf(ffn_dtype type) {
  return type.code == 0   ? 'i'
         : type.code == 1 ? 'u'
         : type.code == 6 ? 'b'
                          : 'f';
}

/// Bytes of a tensor; false where they overflow.
static bool sizeOf(const ffn_tensor &tensor, uint64_t &bytes) {
  bytes = elementBytes(tensor.dtype);
  for (int i = 0; i < tensor.ndim; ++i)
    if (tensor.shape[i] < 0 ||
        __builtin_mul_overflow(bytes, (uint64_t)tensor.shape[i], &bytes))
      return false;
  return bytes < (uint64_t(1) << 46);
}

static bool allocate(Array &array) {
  // The size of an aligned block is a multiple of its alignment.
  uint64_t rounded = (array.bytes + 63) / 64 * 64;
  array.tensor.data = aligned_alloc(64, rounded ? rounded : 64);
  return array.tensor.data != nullptr;
}

/// Value of a key in the header of an .npy file, or null.
static const char *findKey(const char *header, const char *key) {
  const char *at = strstr(header, key);
  if (!at || !(at = strchr(at, ':')))
    return nullptr;
  do
    ++at;
  while (*at == ' ');
  return at;
}

/// Reads a file into `array`, whose data type the model says.
static const char *readArray(FILE *file, Array &array) {
  unsigned char head[12];
  if (fread(head, 1, 8, file) != 8 || memcmp(head, "\x93NUMPY", 6) != 0)
    return "not an .npy file";
  size_t lengthBytes = head[6] == 1 ? 2 : 4;
  if (fread(head + 8, 1, lengthBytes, file) != lengthBytes)
    return "truncated";
  uint32_t length = head[8] | head[9] << 8;
  if (lengthBytes == 4)
    length |= uint32_t(head[10]) << 16 | uint32_t(head[11]) << 24;
  char header[4096];
  if (length >= sizeof header)
    return "its header is too long";
  if (fread(header, 1, length, file) != length)
    return "truncated";
  header[length] = 0;
  const char *descr = findKey(header, "'descr'");
  const char *fortran = findKey(header, "'fortran_order'");
  const char *shape = findKey(header, "'shape'");
  if (!descr || !fortran || !shape || *shape != '(')
    return "its header is malformed";
  if (strncmp(fortran, "False", 5) != 0)
    return "it is stored column by column";
  ffn_dtype type = array.tensor.dtype;
  char wanted[16];
  snprintf(wanted, sizeof wanted, "%c%d", kindOf(type),
           (int)elementBytes(type));
  if (type.code == 4)
    snprintf(wanted, sizeof wanted, "u2"); // .npy has no bfloat16: its bits.
  if (descr[0] != '\'' || (descr[1] != '<' && descr[1] != '|') ||
      strncmp(descr + 2, wanted, strlen(wanted)) != 0 ||
      descr[2 + strlen(wanted)] != '\'')
    return "its element type is not that of the input";
  array.tensor.ndim = 0;
  array.tensor.shape = array.shape;
  for (const char *at = shape + 1; *at && *at != ')';) {
    if (*at == ',' || *at == ' ') {
      ++at;
      continue;
    }
    char *end;
    errno = 0;
    long long size = strtoll(at, &end, 10);
    if (end == at || errno || size < 0 || array.tensor.ndim == kMaxRank)
      return "its shape is malformed";
    array.shape[array.tensor.ndim++] = size;
    at = end;
  }
  if (!sizeOf(array.tensor, array.bytes))
    return "its shape is too large";
  struct stat status;
  long position = ftell(file);
  if (position < 0 || fstat(fileno(file), &status) != 0 ||
      (uint64_t)status.st_size - position != array.bytes)
    return "its size does not fit its shape";
  if (!allocate(array))
    return "no memory";
  if (fread(array.tensor.data, 1, array.bytes, file) != array.bytes)
    return "truncated";
  return nullptr;
}

static bool writeArray(const char *path, const Array &array) {
  ffn_dtype type = array.tensor.dtype;
  char header[1024];
  int length =
      snprintf(header, sizeof header,
               "{'descr': '%c%c%d', 'fortran_order': False, 'shape': (",
               elementBytes(type) == 1 ? '|' : '<',
               type.code == 4 ? 'u' : kindOf(type), (int)elementBytes(type));
  for (int i = 0; i < array.tensor.ndim; ++i)
    length += snprintf(header + length, sizeof header - length, "%lld,",
                       (long long)array.shape[i]);
  length += snprintf(header + length, sizeof header - length, "), }");
  while ((10 + length + 1) % 64)
    header[length++] = ' ';
  header[length++] = '\n';
  FILE *file = fopen(path, "wb");
  if (!file)
    return false;
  unsigned char head[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
  head[8] = length & 255;
  head[9] = length >> 8;
  bool ok = fwrite(head, 1, 10, file) == 10 &&
            fwrite(header, 1, length, file) == (size_t)length &&
            fwrite(array.tensor.data, 1, array.bytes, file) == array.bytes;
  return fclose(file) == 0 && ok;
}

static void printValue(const char *what, uint32_t i,
                       const ffn_value_info &info) {
  printf("%s %u %s %c%u (", what, i, info.name, kindOf(info.dtype),
         (unsigned)info.dtype.bits);
  for (int d = 0; d < info.ndim; ++d) {
    if (info.shape[d] >= 0)
      printf(d ? ", %lld" : "%lld", (long long)info.shape[d]);
    else
      printf(d ? ", %s" : "%s", info.dim_names[d]);
  }
  printf(")\n");
}

static int usage(const char *program) {
  fprintf(stderr,
          "usage: %s [--threads=N] [--output-dir=DIR] INPUT.npy...\n"
          "       %s --info\n"
          "Runs the model on one .npy file for each input, in order, and "
          "writes output0.npy and so on.\n"
          "N is 1 to 256; all CPUs where it is not given.\n",
          program, program);
  return 2;
}

/// The number that `text` is; 0 where it is none from 1 to 256.
static uint32_t parseThreads(const char *text) {
  uint32_t count = 0;
  for (; *text >= '0' && *text <= '9' && count <= 256; ++text)
    count = 10 * count + (uint32_t)(*text - '0');
  return *text || count > 256 ? 0 : count;
}

extern "C" int main(int argc, char **argv) {
  const ffn_api *api = ffn_get_api(FFN_ABI_VERSION);
  ffn_model_info model = {};
  model.struct_size = sizeof model;
  if (!api || api->model_info(&model) != FFN_OK)
    return complain(argv[0], api ? api->last_error() : "wrong version");
  if (model.num_inputs > kMaxValues || model.num_outputs > kMaxValues)
    return complain(argv[0], "too many inputs or outputs");
  const char *folder = ".";
  ffn_session_options options = {sizeof options, 0};
  int first = 1;
  for (; first < argc && argv[first][0] == '-'; ++first) {
    const char *arg = argv[first];
    if (strcmp(arg, "--info") == 0) {
      ffn_value_info info = {};
      info.struct_size = sizeof info;
      for (uint32_t i = 0; i < model.num_inputs; ++i)
        if (api->input_info(i, &info) == FFN_OK)
          printValue("input", i, info);
      for (uint32_t i = 0; i < model.num_outputs; ++i)
        if (api->output_info(i, &info) == FFN_OK)
          printValue("output", i, info);
      return 0;
    }
    if (strncmp(arg, "--output-dir=", 13) == 0) {
      folder = arg + 13;
    } else if (strncmp(arg, "--threads=", 10) == 0) {
      if (!(options.threads = parseThreads(arg + 10))) {
        fprintf(stderr, "error: %s: expected 1 to 256\n", arg);
        return usage(argv[0]);
      }
    } else {
      return usage(argv[0]);
    }
  }
  if (argc - first != (int)model.num_inputs)
    return usage(argv[0]);
  auto *inputs = (Array *)calloc(kMaxValues * 2, sizeof(Array));
  auto *tensors = (ffn_tensor *)calloc(kMaxValues * 2, sizeof(ffn_tensor));
  if (!inputs || !tensors)
    return complain(argv[0], "no memory");
  Array *outputs = inputs + kMaxValues;
  for (uint32_t i = 0; i < model.num_inputs; ++i) {
    ffn_value_info info = {};
    info.struct_size = sizeof info;
    if (api->input_info(i, &info) != FFN_OK)
      return complain(argv[0], api->last_error());
    inputs[i].tensor.device.device_type = 1;
    inputs[i].tensor.dtype = info.dtype;
    const char *path = argv[first + i];
    FILE *file = fopen(path, "rb");
    if (!file)
      return complain(path, strerror(errno));
    const char *why = readArray(file, inputs[i]);
    fclose(file);
    if (why)
      return complain(path, why);
    tensors[i] = inputs[i].tensor;
  }
  for (uint32_t i = 0; i < model.num_outputs; ++i) {
    ffn_value_info info = {};
    info.struct_size = sizeof info;
    Array &output = outputs[i];
    if (api->output_info(i, &info) != FFN_OK || info.ndim > kMaxRank ||
        api->output_shape(tensors, model.num_inputs, i, output.shape,
                          kMaxRank) != FFN_OK)
      return complain(info.name ? info.name : argv[0], api->last_error());
    output.tensor.device.device_type = 1;
    output.tensor.dtype = info.dtype;
    output.tensor.ndim = info.ndim;
    output.tensor.shape = output.shape;
    if (!sizeOf(output.tensor, output.bytes) || !allocate(output))
      return complain(info.name, "no memory");
    tensors[kMaxValues + i] = output.tensor;
  }
  ffn_session *session = nullptr;
  if (api->session_create(&options, &session) != FFN_OK ||
      api->session_run(session, tensors, model.num_inputs, tensors + kMaxValues,
                       model.num_outputs) != FFN_OK)
    return complain(argv[0], api->last_error());
  api->session_destroy(session);
  for (uint32_t i = 0; i < model.num_outputs; ++i) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/output%u.npy", folder, i) >=
            (int)sizeof path ||
        !writeArray(path, outputs[i]))
      return complain(folder, "an output cannot be written");
  }
  return 0;
}

extern "C" int __libc_start_main(int (*main)(int, char **), int argc,
                                 char **argv, void (*init)(), void (*fini)(),
                                 void (*loaderFini)(), void *stackEnd);

/// What the kernel left on the stack, and the loader's function in rdx.
extern "C" __attribute__((used, noreturn)) void
ffn_rt_start(long *stack, void (*loaderFini)()) {
  __libc_start_main(main, (int)stack[0], (char **)(stack + 1), nullptr, nullptr,
                    loaderFini, stack);
  __builtin_trap();
}

asm(".globl _start\n"
    ".hidden _start\n"
    ".type _start,@function\n"
    "_start:\n"
    "  xor %ebp, %ebp\n"
    "  mov %rsp, %rdi\n"
    "  mov %rdx, %rsi\n"
    "  and $-16, %rsp\n"
    "  call ffn_rt_start\n");
