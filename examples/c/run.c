/* Runs a compiled model on zeros; every dynamic dimension gets the size SIZE.
 *   cc -Iinclude examples/c/run.c -ldl -o run && ./run model.so SIZE */
#define _GNU_SOURCE /* under -std=c11 the headers of the system hide much */
#include "ffn-mlir-c/Runtime.h"
#include <stdlib.h>
#define CHECK(call)                                                            \
  if ((call) != FFN_OK)                                                        \
  return fprintf(stderr, "%s\n", model.api->last_error()), 1

int main(int argc, char **argv) {
  ffn_model model;
  if (argc != 3 || ffn_load(argv[1], &model) != FFN_OK)
    return fprintf(stderr, "%s\n", argc == 3 ? ffn_load_error() : "usage"), 1;
  const ffn_api *api = model.api;
  ffn_model_info info = {.struct_size = sizeof info};
  ffn_value_info value = {.struct_size = sizeof value};
  CHECK(api->model_info(&info));
  uint32_t n = info.num_inputs, all = n + info.num_outputs;
  ffn_tensor t[all + 1];       /* inputs, then outputs */
  int64_t shapes[all + 1][16]; /* no rank is larger */
  for (uint32_t i = 0; i < all; ++i) {
    int64_t *shape = shapes[i], count = 1;
    CHECK(i < n ? api->input_info(i, &value) : api->output_info(i - n, &value));
    for (int d = 0; d < value.ndim; ++d)
      shape[d] = value.shape[d] < 0 ? atoll(argv[2]) : value.shape[d];
    if (i >= n)
      CHECK(api->output_shape(t, n, i - n, shape, 16));
    for (int d = 0; d < value.ndim; ++d)
      count *= shape[d];
    void *data = calloc(count + 1, value.dtype.bits / 8); /* never null */
    t[i] = (ffn_tensor){data, {1, 0}, value.ndim, value.dtype, shape, NULL, 0};
    printf("%s: %d dimensions\n", value.name, value.ndim);
  }
  ffn_session *session;
  CHECK(api->session_create(NULL, &session));
  CHECK(api->session_run(session, t, n, t + n, info.num_outputs));
  api->session_destroy(session); /* the tensors go with the process */
  ffn_unload(&model);
  return 0;
}
