/* Eight threads call one model, linked in, CALLS times each: some share a
 * session, some have their own, all with thread counts of their own. Every
 * result must have the bits of a serial run.
 *
 *   threads CALLS    a model of input_ids int64 [batch, sequence] -> float32
 */
#define FFN_NO_LOADER
#include "ffn-mlir-c/Runtime.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 8, CASES = 4, VOCABULARY = 256 };

const ffn_api *ffn_get_api(uint32_t version);

static const ffn_api *api;
static ffn_session *shared;
static int calls;
static atomic_int failures;
static int64_t ids[CASES][8];
static int64_t shapes[CASES][3] = {{1, 1, VOCABULARY},
                                   {1, 5, VOCABULARY},
                                   {2, 3, VOCABULARY},
                                   {3, 1, VOCABULARY}};
static float *wanted[CASES];

static size_t size_of(int which) {
  return sizeof(float) * shapes[which][0] * shapes[which][1] * VOCABULARY;
}

static ffn_status run(ffn_session *session, int which, float *result) {
  ffn_tensor in = {.data = ids[which],
                   .device = {1, 0},
                   .ndim = 2,
                   .dtype = {0, 64, 1},
                   .shape = shapes[which]};
  ffn_tensor out = {.data = result,
                    .device = {1, 0},
                    .ndim = 3,
                    .dtype = {2, 32, 1},
                    .shape = shapes[which]};
  return api->session_run(session, &in, 1, &out, 1);
}

static void *work(void *argument) {
  int index = (int)(size_t)argument;
  ffn_session *own = NULL;
  ffn_session_options options = {.struct_size = sizeof options,
                                 .threads = 1 + index % 3};
  float *result = aligned_alloc(64, 65536);
  if (api->session_create(&options, &own) != FFN_OK)
    ++failures;
  for (int i = 0; i < calls; ++i) {
    int which = (index + i) % CASES;
    memset(result, 0xff, size_of(which));
    if (run(i % 4 ? own : shared, which, result) != FFN_OK ||
        memcmp(result, wanted[which], size_of(which)))
      ++failures;
  }
  api->session_destroy(own);
  free(result);
  return NULL;
}

int main(int argc, char **argv) {
  pthread_t threads[THREADS];
  api = ffn_get_api(FFN_ABI_VERSION);
  ffn_session_options serial = {.struct_size = sizeof serial, .threads = 1};
  ffn_session *session;
  calls = argc > 1 ? atoi(argv[1]) : 1000;
  if (!api || api->session_create(&serial, &session) != FFN_OK ||
      api->session_create(NULL, &shared) != FFN_OK)
    return puts("no session"), 2;
  for (int which = 0; which < CASES; ++which) {
    for (int i = 0; i < 8; ++i)
      ids[which][i] = 32 + (which * 31 + i * 7) % 90;
    wanted[which] = aligned_alloc(64, 65536);
    if (run(session, which, wanted[which]) != FFN_OK)
      return puts(api->last_error()), 2;
  }
  for (size_t i = 0; i < THREADS; ++i)
    pthread_create(&threads[i], NULL, work, (void *)i);
  for (int i = 0; i < THREADS; ++i)
    pthread_join(threads[i], NULL);
  printf("%d failures in %d calls\n", failures, THREADS * calls);
  return failures != 0;
}
