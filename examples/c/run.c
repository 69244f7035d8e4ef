/* Opens a compiled model, prints its signature and runs it on zeros.
 *   cc -std=c11 -Iinclude examples/c/run.c -ldl -o run && ./run model.so 4
 * Every dynamic dimension gets the size of the second argument. */
#define _GNU_SOURCE
#include "ffn-mlir-c/Runtime.h"
#include <stdlib.h>

static void *zeros(ffn_tensor *tensor) {
  size_t bytes = tensor->dtype.bits / 8;
  for (int d = 0; d < tensor->ndim; ++d)
    bytes *= (size_t)tensor->shape[d];
  return tensor->data = calloc(bytes ? bytes : 1, 1);
}

int main(int argc, char **argv) {
  enum { MaxValues = 64, MaxRank = 16 };
  static ffn_tensor in[MaxValues], out[MaxValues];
  static int64_t shapes[2 * MaxValues][MaxRank];
  ffn_model model;
  if (argc != 3 || ffn_load(argv[1], &model) != FFN_OK)
    return fprintf(stderr, "%s\n",
                   argc == 3 ? ffn_load_error() : "usage: run model.so SIZE"),
           1;
  const ffn_api *api = model.api;
  ffn_model_info info = {.struct_size = sizeof info};
  ffn_value_info value = {.struct_size = sizeof value};
  ffn_session *session = NULL;
  ffn_status status = api->model_info(&info);
  if (info.num_inputs > MaxValues || info.num_outputs > MaxValues)
    return fprintf(stderr, "too many values\n"), 1;
  for (uint32_t i = 0; status == FFN_OK && i < info.num_inputs; ++i) {
    if ((status = api->input_info(i, &value)) != FFN_OK || value.ndim > MaxRank)
      break;
    for (int d = 0; d < value.ndim; ++d)
      shapes[i][d] = value.shape[d] < 0 ? atoll(argv[2]) : value.shape[d];
    in[i] =
        (ffn_tensor){NULL, {1, 0}, value.ndim, value.dtype, shapes[i], NULL, 0};
    status = zeros(&in[i]) ? FFN_OK : FFN_E_NOMEM;
  }
  for (uint32_t i = 0; status == FFN_OK && i < info.num_outputs; ++i) {
    int64_t *shape = shapes[MaxValues + i];
    if ((status = api->output_info(i, &value)) != FFN_OK ||
        (status = api->output_shape(in, info.num_inputs, i, shape, MaxRank)) !=
            FFN_OK)
      break;
    out[i] =
        (ffn_tensor){NULL, {1, 0}, value.ndim, value.dtype, shape, NULL, 0};
    status = zeros(&out[i]) ? FFN_OK : FFN_E_NOMEM;
    printf("%s: %d dimensions\n", value.name, value.ndim);
  }
  if (status == FFN_OK &&
      (status = api->session_create(NULL, &session)) == FFN_OK)
    status =
        api->session_run(session, in, info.num_inputs, out, info.num_outputs);
  if (status != FFN_OK)
    fprintf(stderr, "status %d: %s\n", status, api->last_error());
  api->session_destroy(session);
  for (uint32_t i = 0; i < MaxValues; ++i)
    free(in[i].data), free(out[i].data);
  ffn_unload(&model);
  return status != FFN_OK;
}
