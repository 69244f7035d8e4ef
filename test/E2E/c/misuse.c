/* Gives a model with one int64 input [batch, sequence], or two float32 inputs,
 * wrong arguments one by one; every call must fail with its code and a text,
 * and a right call after all of them must succeed.
 *
 *   misuse model.so ids    input_ids int64 [batch, sequence] -> float32, rank 3
 *   misuse model.so pair   float32 [batch, 4] twice -> float32 [batch, 4]
 */
#include "ffn-mlir-c/Runtime.h"
#include <stdlib.h>
#include <string.h>

static const ffn_api *api;
static ffn_session *session;
static int failures;
static ffn_tensor in[2], out[1];
static uint32_t inputs;
static int64_t in_shape[2][3], out_shape[3];
static _Alignas(64) char in_data[2][4096];
static char *out_data;
static size_t out_bytes;
static uint32_t out_rank;

/* A right call. */
static void reset(int pair) {
  inputs = pair ? 2 : 1;
  for (uint32_t i = 0; i < inputs; ++i) {
    in_shape[i][0] = 2;
    in_shape[i][1] = 4;
    in[i] = (ffn_tensor){.data = in_data[i],
                         .device = {1, 0},
                         .ndim = 2,
                         .dtype = {pair ? 2 : 0, pair ? 32 : 64, 1},
                         .shape = in_shape[i]};
  }
  out[0] = (ffn_tensor){.data = out_data,
                        .device = {1, 0},
                        .ndim = out_rank,
                        .dtype = {2, 32, 1},
                        .shape = out_shape};
}

static void expect(const char *what, ffn_status wanted, ffn_status found) {
  int right = wanted == found &&
              (wanted == FFN_OK || strstr(api->last_error(), "[FFN-R"));
  /* -1 is how the signature says "any size": no size to ask for. */
  right =
      right && (wanted == FFN_OK || !strstr(api->last_error(), "expected -1"));
  printf("%s %s: status %d, %s\n", right ? "ok  " : "FAIL", what, found,
         found ? api->last_error() : "no error");
  failures += !right;
}

static ffn_status run(void) {
  return api->session_run(session, in, inputs, out, 1);
}

int main(int argc, char **argv) {
  ffn_model model;
  if (argc != 3 || ffn_load(argv[1], &model) != FFN_OK)
    return fprintf(stderr, "%s\n",
                   argc == 3 ? ffn_load_error()
                             : "usage: misuse model.so ids|pair"),
           2;
  int pair = !strcmp(argv[2], "pair");
  api = model.api;
  if (api->session_create(NULL, &session) != FFN_OK)
    return 2;
  ffn_value_info value = {.struct_size = sizeof value};
  if (api->output_info(0, &value) != FFN_OK || value.ndim > 3)
    return 2;
  out_rank = value.ndim;
  reset(pair);
  expect("output shape", FFN_OK,
         api->output_shape(in, inputs, 0, out_shape, 3));
  out_bytes = 4;
  for (uint32_t d = 0; d < out_rank; ++d)
    out_bytes *= out_shape[d];
  out_data = aligned_alloc(64, (out_bytes + 127) / 64 * 64);

  reset(pair), in[0].dtype.bits = 16, expect("wrong dtype", FFN_E_DTYPE, run());
  reset(pair), out[0].dtype.code = 0,
               expect("wrong dtype of an output", FFN_E_DTYPE, run());
  reset(pair), in[0].ndim = 1, expect("wrong rank", FFN_E_RANK, run());
  reset(pair), out[0].ndim = 1,
               expect("wrong rank of an output", FFN_E_RANK, run());
  if (pair) {
    reset(pair), in_shape[0][1] = 3,
                 expect("wrong static dimension", FFN_E_SHAPE, run());
    reset(pair), in_shape[1][0] = 3,
                 expect("unequal symbolic dimensions", FFN_E_SHAPE, run());
  }
  reset(pair), out_shape[0]++,
      expect("wrong shape of an output", FFN_E_SHAPE, run());
  out_shape[0]--;
  reset(pair), in_shape[0][0] = -1,
               expect("negative dimension", FFN_E_SHAPE, run());
  reset(pair), out_shape[0] = -out_shape[0],
               expect("negative dimension of an output", FFN_E_SHAPE, run());
  out_shape[0] = -out_shape[0];
  reset(pair), in[0].ndim = -1, expect("negative rank", FFN_E_RANK, run());
  reset(pair), in[0].dtype.lanes = 0, expect("no lanes", FFN_E_DTYPE, run());
  reset(pair), in[0].dtype.code = 255,
               expect("unknown dtype", FFN_E_DTYPE, run());
  reset(pair), in[0].data = NULL, expect("null data", FFN_E_ARGUMENT, run());
  reset(pair), out[0].data = NULL,
               expect("null data of an output", FFN_E_ARGUMENT, run());
  reset(pair), in[0].shape = NULL, expect("null shape", FFN_E_ARGUMENT, run());
  reset(pair), inputs = 0, expect("too few inputs", FFN_E_ARGUMENT, run());
  reset(pair), expect("null inputs", FFN_E_ARGUMENT,
                      api->session_run(session, NULL, inputs, out, 1));
  reset(pair), expect("null outputs", FFN_E_ARGUMENT,
                      api->session_run(session, in, inputs, NULL, 1));
  reset(pair), expect("null session", FFN_E_ARGUMENT,
                      api->session_run(NULL, in, inputs, out, 1));
  reset(pair), in[0].data = in_data[0] + 1,
               expect("misaligned", FFN_E_LAYOUT, run());
  reset(pair), out[0].byte_offset = 2,
               expect("misaligned output", FFN_E_LAYOUT, run());
  int64_t strides[2] = {1, 4};
  reset(pair), in[0].strides = strides,
               expect("not row-major", FFN_E_LAYOUT, run());
  reset(pair), out[0].data = in_data[0],
               expect("overlap", FFN_E_OVERLAP, run());
  reset(pair), out[0].data = in_data[0] + 8,
               expect("overlap in part", FFN_E_OVERLAP, run());
  reset(pair), in[0].device.device_type = 2,
               expect("not in host memory", FFN_E_DEVICE, run());
  /* A shape whose bytes do not fit an address: shorter than any buffer. */
  reset(pair), in_shape[0][0] = in_shape[1][0] = INT64_MAX / 2,
               expect("too large for any buffer", FFN_E_SIZE, run());
  reset(pair), in[0].byte_offset = UINT64_MAX - 7,
               expect("offset beyond the last address", FFN_E_SIZE, run());
  reset(pair), out[0].data = (void *)(UINTPTR_MAX - 7),
               expect("memory beyond the last address", FFN_E_SIZE, run());
  reset(pair), expect("no outputs", FFN_E_ARGUMENT,
                      api->session_run(session, in, inputs, out, 0));
  reset(pair), expect("too many inputs", FFN_E_ARGUMENT,
                      api->session_run(session, in, inputs + 1, out, 1));
  reset(pair), out[0].strides = strides, out[0].ndim = 2,
               expect("wrong output of any kind",
                      out_rank == 2 ? FFN_E_LAYOUT : FFN_E_RANK, run());
  int64_t room, shape[3];
  ffn_session *none;
  ffn_session_options options = {.struct_size = 1, .threads = 1};
  expect("null session result", FFN_E_ARGUMENT,
         api->session_create(NULL, NULL));
  expect("options without size", FFN_E_ARGUMENT,
         api->session_create(&options, &none));
  options.struct_size = sizeof options, options.threads = 257;
  expect("too many threads", FFN_E_ARGUMENT,
         api->session_create(&options, &none));
  expect("null info", FFN_E_ARGUMENT, api->model_info(NULL));
  expect("null value info", FFN_E_ARGUMENT, api->input_info(0, NULL));
  value.struct_size = 0, expect("value info without size", FFN_E_ARGUMENT,
                                api->output_info(0, &value));
  value.struct_size = sizeof value,
  expect("value beyond the last", FFN_E_ARGUMENT,
         api->input_info(inputs, &value));
  reset(pair), expect("shape of no output", FFN_E_ARGUMENT,
                      api->output_shape(in, inputs, 7, shape, 3));
  reset(pair), expect("null shape result", FFN_E_ARGUMENT,
                      api->output_shape(in, inputs, 0, NULL, 3));
  reset(pair), expect("null inputs of a shape", FFN_E_ARGUMENT,
                      api->output_shape(NULL, inputs, 0, shape, 3));
  api->session_destroy(NULL);
  if (pair) {
    /* Inputs are read only: they may share memory. */
    reset(pair), in[1].data = in[0].data,
                 expect("one buffer for two inputs", FFN_OK, run());
  }
  reset(pair), expect("short buffer for a shape", FFN_E_ARGUMENT,
                      api->output_shape(in, inputs, 0, &room, 1));
  reset(pair), expect("a right call", FFN_OK, run());
  free(out_data);
  api->session_destroy(session);
  ffn_unload(&model);
  return failures != 0;
}
