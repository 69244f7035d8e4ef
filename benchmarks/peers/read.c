// Sums a buffer with several threads: how fast this machine reads memory.
//
// Part of ffn-mlir, under the Apache License v2.0.

#include <immintrin.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

enum { Line = 64, Ahead = 2048, MaxThreads = 64, Spins = 20000 };

static char *buffer;
static size_t lines;
static int threads;
static atomic_uint generation, done;
static float sums[MaxThreads * 16];

static void sum(int thread) {
  size_t begin = lines * thread / threads, end = lines * (thread + 1) / threads;
  __m512 a = _mm512_setzero_ps(), b = a, c = a, d = a;
  const char *at = buffer + begin * Line, *last = buffer + end * Line;
  for (; at + 4 * Line <= last; at += 4 * Line) {
    for (int i = 0; i < 4; ++i)
      _mm_prefetch(at + Ahead + i * Line, _MM_HINT_T0);
    a = _mm512_add_ps(a, _mm512_load_ps(at));
    b = _mm512_add_ps(b, _mm512_load_ps(at + Line));
    c = _mm512_add_ps(c, _mm512_load_ps(at + 2 * Line));
    d = _mm512_add_ps(d, _mm512_load_ps(at + 3 * Line));
  }
  for (; at < last; at += Line)
    a = _mm512_add_ps(a, _mm512_load_ps(at));
  sums[thread * 16] = _mm512_reduce_add_ps(
      _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)));
}

static void *work(void *argument) {
  int thread = (int)(size_t)argument;
  for (unsigned seen = 0;;) {
    // Spin like the pools that this is compared with, then leave the CPU.
    for (int spins = 0; atomic_load(&generation) == seen; ++spins) {
      if (spins < Spins)
        _mm_pause();
      else
        usleep(50);
    }
    ++seen;
    sum(thread);
    atomic_fetch_add(&done, 1);
  }
  return NULL;
}

int read_open(size_t bytes, int count) {
  if (buffer || count < 1 || count > MaxThreads)
    return 1;
  lines = bytes / Line;
  threads = count;
  buffer = aligned_alloc(1 << 21, (bytes / (1 << 21) + 1) << 21);
  if (!buffer)
    return 2;
  for (size_t i = 0; i < lines * (Line / sizeof(float)); ++i)
    ((float *)buffer)[i] = (float)(i % 7 + 1);
  for (int i = 1; i < count; ++i) {
    pthread_t made;
    if (pthread_create(&made, NULL, work, (void *)(size_t)i))
      return 3;
  }
  return 0;
}

float read_run(void) {
  atomic_store(&done, 0);
  atomic_fetch_add(&generation, 1);
  sum(0);
  while (atomic_load(&done) + 1 < (unsigned)threads)
    _mm_pause();
  float total = 0;
  for (int i = 0; i < threads; ++i)
    total += sums[i * 16];
  return total;
}
