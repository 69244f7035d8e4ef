/* Runs a compiled model on zeros; every dynamic dimension gets the size SIZE.
 *   cc -Iinclude examples/c/run.c -ldl -o run && ./run model.so SIZE */
#define _GNU_SOURCE /* under -std=c11 the headers of the system hide much */
#include "ffn-mlir-c/Runtime.h"
#include <stdlib.h>
#define CHECK(call)                                                            \
  if ((call) != FFN_OK)                                                        \
  return fprintf(stderr, "%s\n", model.api->last_error()), 1

static ffn_tensor zeros(const ffn_value_info *value, int64_t *shape) {
  size_t bytes = value->dtype.bits / 8;
  for (int d = 0; d < value->ndim; ++d)
    bytes *= (size_t)shape[d];
  void *data = calloc(bytes + 1, 1); /* null is refused, so one byte at least */
  return (ffn_tensor){data, {1, 0}, value->ndim, value->dtype, shape, NULL, 0};
}

int main(int argc, char **argv) {
  ffn_model model;
  if (argc != 3 || ffn_load(argv[1], &model) != FFN_OK)
    return fprintf(stderr, "%s\n", argc == 3 ? ffn_load_error() : "usage"), 1;
  const ffn_api *api = model.api;
  ffn_model_info info = {.struct_size = sizeof info};
  ffn_value_info value = {.struct_size = sizeof value};
  CHECK(api->model_info(&info));
  ffn_tensor in[info.num_inputs + 1], out[info.num_outputs + 1];
  for (uint32_t i = 0; i < info.num_inputs; ++i) {
    CHECK(api->input_info(i, &value));
    int64_t *shape = calloc(value.ndim + 1, sizeof *shape);
    for (int d = 0; d < value.ndim; ++d)
      shape[d] = value.shape[d] < 0 ? atoll(argv[2]) : value.shape[d];
    in[i] = zeros(&value, shape);
  }
  for (uint32_t i = 0; i < info.num_outputs; ++i) {
    CHECK(api->output_info(i, &value));
    int64_t *shape = calloc(value.ndim + 1, sizeof *shape);
    CHECK(api->output_shape(in, info.num_inputs, i, shape, value.ndim));
    out[i] = zeros(&value, shape);
    printf("%s: %d dimensions\n", value.name, value.ndim);
  }
  ffn_session *session;
  CHECK(api->session_create(NULL, &session));
  CHECK(api->session_run(session, in, info.num_inputs, out, info.num_outputs));
  api->session_destroy(session); /* the tensors go with the process */
  ffn_unload(&model);
  return 0;
}
