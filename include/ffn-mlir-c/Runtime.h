/*===- Runtime.h - C ABI of a compiled model ----------------------*- C -*-===*\
|*
|* Part of ffn-mlir, under the Apache License v2.0.
|*
|*===----------------------------------------------------------------------===*|
|*
|* A compiled model is a shared library that exports one function,
|* `ffn_get_api`. `ffn_load` below finds it. Loading a library runs its code:
|* load only what you trust.
|*
|*   ffn_model model;
|*   if (ffn_load("model.so", &model)) { puts(ffn_load_error()); return 1; }
|*   ffn_session *session;
|*   model.api->session_create(NULL, &session);
|*   model.api->session_run(session, inputs, 1, outputs, 1);
|*
|* All functions may be called from several threads. A session serves one call
|* at a time; concurrent calls on one session wait for each other, so threads
|* that want to run in parallel take a session each. No function throws, aborts
|* or keeps a pointer of the caller beyond the call.
|*
\*===----------------------------------------------------------------------===*/

#ifndef FFN_MLIR_C_RUNTIME_H
#define FFN_MLIR_C_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FFN_ABI_VERSION 1u

typedef enum ffn_status {
  FFN_OK = 0,
  FFN_E_ARGUMENT = 1, /* null pointer, wrong count, bad option */
  FFN_E_DTYPE = 2,    /* element type differs from the signature */
  FFN_E_RANK = 3,     /* number of dimensions differs */
  FFN_E_SHAPE = 4,    /* a static dimension or an equal symbol differs */
  FFN_E_LAYOUT = 5,   /* not row-major contiguous, or misaligned */
  FFN_E_SIZE = 6,     /* a buffer is too short, or sizes overflow */
  FFN_E_OVERLAP = 7,  /* an output overlaps an input or another output */
  FFN_E_DEVICE = 8,   /* tensor is not in host memory */
  FFN_E_NOMEM = 9,    /* allocation failed; the session stays usable */
  FFN_E_FEATURE = 10, /* this machine lacks an instruction set; text names it */
  FFN_E_ARTEFACT = 11, /* the library or its weights file is damaged */
  FFN_E_ABI = 12,      /* caller and library disagree on the version */
  FFN_E_INDEX = 13     /* a value of an input is no valid index */
} ffn_status;

/* The same layout as DLPack's DLDevice, DLDataType and DLTensor. */
typedef struct ffn_device {
  int32_t device_type; /* 1: host */
  int32_t device_id;
} ffn_device;

typedef struct ffn_dtype {
  uint8_t code; /* 0 int, 1 unsigned, 2 float, 4 bfloat, 6 bool */
  uint8_t bits;
  uint16_t lanes; /* 1 */
} ffn_dtype;

typedef struct ffn_tensor {
  void *data;
  ffn_device device;
  int32_t ndim;
  ffn_dtype dtype;
  int64_t *shape;
  int64_t *strides; /* in elements; null: row-major */
  uint64_t byte_offset;
} ffn_tensor;

/* One input or output of the model. Strings live as long as the library. */
typedef struct ffn_value_info {
  size_t struct_size; /* set by the caller: sizeof(ffn_value_info) */
  const char *name;
  ffn_dtype dtype;
  int32_t ndim;
  const int64_t *shape;         /* -1 where the size is not static */
  const char *const *dim_names; /* "batch", "past + seq"; "" where static */
} ffn_value_info;

typedef struct ffn_model_info {
  size_t struct_size; /* set by the caller */
  const char *producer;
  const char *level;    /* instruction set level in use, such as "avx512" */
  const char *features; /* needed CPU features, separated by commas */
  const char *numerics; /* what the results promise, for people */
  uint64_t weight_bytes;
  uint32_t num_inputs, num_outputs;
} ffn_model_info;

typedef struct ffn_session_options {
  size_t struct_size; /* set by the caller */
  /* Threads of a run, the caller included: 1 to 256; 0: as many as the CPUs
   * this process may use. */
  uint32_t threads;
} ffn_session_options;

/* Time of one kernel, summed over its launches. */
typedef struct ffn_kernel_time {
  size_t struct_size; /* set by the caller */
  const char *name;   /* lives as long as the library */
  uint64_t launches;
  uint64_t nanoseconds; /* wall clock, from the first task to the last */
} ffn_kernel_time;

/* An output that is an input and what follows it along an axis: keys and
 * values of a text. The caller may give the same memory for both: output and
 * input then have the same strides, and only what is new is written. Tensors of
 * such a pair may have room between their rows: any strides that fall from
 * dimension to dimension, the last one 1. */
typedef struct ffn_append_info {
  size_t struct_size; /* set by the caller */
  uint32_t input, output, axis;
} ffn_append_info;

typedef struct ffn_session ffn_session;

typedef struct ffn_api {
  size_t struct_size;
  uint32_t abi_version;
  /* Text of the last failure on this thread; "" if there was none. */
  const char *(*last_error)(void);
  ffn_status (*model_info)(ffn_model_info *info);
  ffn_status (*input_info)(uint32_t index, ffn_value_info *info);
  ffn_status (*output_info)(uint32_t index, ffn_value_info *info);
  /* Shape of output `index` for inputs of the given shapes; only shape, ndim
   * and dtype of `inputs` are looked at. `shape` has room for `capacity`
   * dimensions. */
  ffn_status (*output_shape)(const ffn_tensor *inputs, uint32_t num_inputs,
                             uint32_t index, int64_t *shape, uint32_t capacity);
  /* `options` may be null. */
  ffn_status (*session_create)(const ffn_session_options *options,
                               ffn_session **session);
  /* Waits for a running call. Null is allowed. */
  void (*session_destroy)(ffn_session *session);
  /* Runs the model. Inputs are never written. Every output has the shape that
   * output_shape gives and memory of the caller. Data must be aligned to the
   * element. */
  ffn_status (*session_run)(ffn_session *session, const ffn_tensor *inputs,
                            uint32_t num_inputs, ffn_tensor *outputs,
                            uint32_t num_outputs);
  /* Bytes of scratch memory that the session holds. */
  uint64_t (*session_memory)(ffn_session *session);
  /* From here on only where struct_size reaches so far. */
  /* Starts (`on`) or stops to measure the kernels of the session's runs; to
   * start sets all times to zero. */
  ffn_status (*session_profile)(ffn_session *session, int on);
  /* Times so far of kernel `index`; kernels are numbered from 0, and beyond
   * the last one the name is null. */
  ffn_status (*session_kernel_time)(ffn_session *session, uint32_t index,
                                    ffn_kernel_time *time);
  /* Pair `index` of an input and the output that continues it; beyond the last
   * one FFN_E_ARGUMENT. */
  ffn_status (*append_info)(uint32_t index, ffn_append_info *info);
  /* Bytes that the last run wrote to outputs of such pairs. */
  uint64_t (*session_appended_bytes)(ffn_session *session);
} ffn_api;

/* The one exported function; null if the library does not know the version. */
typedef const ffn_api *(*ffn_get_api_fn)(uint32_t abi_version);

#ifndef FFN_NO_LOADER

typedef struct ffn_model {
  void *handle;
  int descriptor;
  const ffn_api *api;
} ffn_model;

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static inline char *ffn_load_error_buffer(void) {
  static __thread char text[512];
  return text;
}
static inline const char *ffn_load_error(void) {
  return ffn_load_error_buffer();
}

/* Closes the library. Sessions must have been destroyed. */
static inline void ffn_unload(ffn_model *model) {
  char link[64];
  void *still = NULL;
  if (model->handle) {
    dlclose(model->handle);
    /* The loader knows a library by the name it was opened with. One that
     * stays in memory keeps its descriptor, or the next library with that
     * number would be taken for it. */
    snprintf(link, sizeof link, "/proc/self/fd/%d", model->descriptor);
    still = dlopen(link, RTLD_NOW | RTLD_NOLOAD);
    if (still)
      dlclose(still);
  }
  if (model->descriptor >= 0 && !still)
    close(model->descriptor);
  model->handle = NULL;
  model->api = NULL;
  model->descriptor = -1;
}

/* Whether all segments of a 64-bit library lie within its file. The loader maps
 * what a file that was cut off lacks, and the process dies on the first touch.
 * What is no such library at all is left to the loader, which says so. */
static inline int ffn_is_whole(int descriptor) {
  Elf64_Ehdr header;
  Elf64_Phdr segment;
  struct stat status;
  unsigned i;
  if (fstat(descriptor, &status) != 0 ||
      pread(descriptor, &header, sizeof header, 0) != (ssize_t)sizeof header ||
      memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_phentsize != sizeof segment)
    return 1;
  for (i = 0; i < header.e_phnum; ++i) {
    if (pread(descriptor, &segment, sizeof segment,
              (off_t)(header.e_phoff + i * sizeof segment)) !=
        (ssize_t)sizeof segment)
      return 0;
    if (segment.p_filesz > (uint64_t)status.st_size ||
        segment.p_offset > (uint64_t)status.st_size - segment.p_filesz)
      return 0;
  }
  return 1;
}

/* Loads a compiled model; FFN_OK, or a status with text in ffn_load_error.
 * The library is opened through a descriptor that stays open: a file that was
 * compiled again under the same name gives the new code, which a plain dlopen
 * of the path would not. */
static inline ffn_status ffn_load(const char *path, ffn_model *model) {
  char link[64];
  ffn_get_api_fn get;
  model->handle = NULL;
  model->api = NULL;
  model->descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (model->descriptor < 0) {
    snprintf(ffn_load_error_buffer(), 512, "%s: cannot be opened [FFN-R101]",
             path);
    return FFN_E_ARGUMENT;
  }
  if (!ffn_is_whole(model->descriptor)) {
    snprintf(ffn_load_error_buffer(), 512,
             "%s: the file is cut off; copy or compile it again [FFN-R101]",
             path);
    ffn_unload(model);
    return FFN_E_ARTEFACT;
  }
  snprintf(link, sizeof link, "/proc/self/fd/%d", model->descriptor);
  model->handle = dlopen(link, RTLD_NOW | RTLD_LOCAL);
  if (!model->handle) {
    const char *why = dlerror();
    snprintf(ffn_load_error_buffer(), 512, "%s: %s [FFN-R101]", path,
             why ? why : "not a shared library");
    ffn_unload(model);
    return FFN_E_ARTEFACT;
  }
  *(void **)&get = dlsym(model->handle, "ffn_get_api");
  model->api = get ? get(FFN_ABI_VERSION) : NULL;
  if (!model->api) {
    snprintf(ffn_load_error_buffer(), 512, "%s: %s [FFN-R102]", path,
             get ? "made for another version of the runtime ABI"
                 : "not a compiled model (no ffn_get_api)");
    ffn_unload(model);
    return FFN_E_ABI;
  }
  return FFN_OK;
}

#endif /* FFN_NO_LOADER */

#ifdef __cplusplus
}
#endif

#endif /* FFN_MLIR_C_RUNTIME_H */
