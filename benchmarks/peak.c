/* What one core can do at most: rates of multiply-adds in registers, and of
 * reading memory. Built and called by kernels.py. */
#include <immintrin.h>
#include <stdint.h>
#include <time.h>

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec * 1e-9;
}

/* Twelve chains hide the latency; memory plays no part. */
#define REPEAT12(M)                                                            \
  M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#if defined(__AVX512F__)
#define REGISTER(i) "%%zmm" #i
#define LANES 16
#else
#define REGISTER(i) "%%ymm" #i
#define LANES 8
#endif
#define ZERO(i) "vpxor %%xmm" #i ", %%xmm" #i ", %%xmm" #i "\n"
#define LOOP(M)                                                                \
  __asm__ volatile(                                                            \
      REPEAT12(ZERO) ZERO(14) ZERO(15) "1:\n" REPEAT12(M) "dec %0\njnz 1b\n"   \
      : "+r"(steps)                                                            \
      :                                                                        \
      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",        \
        "xmm8", "xmm9", "xmm10", "xmm11", "xmm14", "xmm15", "cc")

/* Multiply-adds of f32 in a second. */
double peak_f32(long steps) {
  double begin = seconds(), count = 12.0 * LANES * steps;
#define FMA(i)                                                                 \
  "vfmadd231ps " REGISTER(14) ", " REGISTER(15) ", " REGISTER(i) "\n"
  LOOP(FMA);
  return count / (seconds() - begin);
}

/* Multiply-adds of bytes in a second; 0 without the instruction. */
double peak_int8(long steps) {
#if (defined(__AVX512VNNI__) && LANES == 16) || defined(__AVXVNNI__)
  double begin = seconds(), count = 12.0 * 4 * LANES * steps;
#if LANES == 16
#define DOT(i) "vpdpbusd " REGISTER(14) ", " REGISTER(15) ", " REGISTER(i) "\n"
#else
#define DOT(i)                                                                 \
  "{vex} vpdpbusd " REGISTER(14) ", " REGISTER(15) ", " REGISTER(i) "\n"
#endif
  LOOP(DOT);
  return count / (seconds() - begin);
#else
  (void)steps;
  return 0;
#endif
}

/* Bytes read in a second: four sums, prefetched 2 KiB ahead. */
double read_rate(const char *data, int64_t bytes) {
  double begin = seconds();
#if LANES == 16
  __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(),
                    _mm512_setzero_si512(), _mm512_setzero_si512()};
  for (int64_t i = 0; i + 256 <= bytes; i += 256)
    for (int j = 0; j < 4; ++j) {
      _mm_prefetch(data + i + 64 * j + 2048, _MM_HINT_T0);
      sum[j] = _mm512_add_epi32(sum[j], _mm512_loadu_si512(data + i + 64 * j));
    }
  volatile int keep = _mm512_reduce_add_epi32(_mm512_add_epi32(
      _mm512_add_epi32(sum[0], sum[1]), _mm512_add_epi32(sum[2], sum[3])));
#else
  __m256i sum[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(),
                    _mm256_setzero_si256(), _mm256_setzero_si256()};
  for (int64_t i = 0; i + 128 <= bytes; i += 128)
    for (int j = 0; j < 4; ++j) {
      _mm_prefetch(data + i + 32 * j + 2048, _MM_HINT_T0);
      sum[j] = _mm256_add_epi32(
          sum[j], _mm256_loadu_si256((const __m256i *)(data + i + 32 * j)));
    }
  volatile int keep =
      _mm256_extract_epi32(_mm256_add_epi32(_mm256_add_epi32(sum[0], sum[1]),
                                            _mm256_add_epi32(sum[2], sum[3])),
                           0);
#endif
  (void)keep;
  return bytes / (seconds() - begin);
}
