//===- Pool.cpp - Process-wide worker threads -----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// One pool in a process, however many artefacts are loaded: the first one that
// needs threads provides it under a versioned symbol, later ones find it among
// the loaded libraries. One parallel region runs at a time; a caller that
// finds the pool busy runs its region alone, which gives the same bits.
//
//===----------------------------------------------------------------------===//

#include "Runtime.h"
#include <dlfcn.h>
#include <immintrin.h>
#include <link.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

using namespace ffn::rt;

using Body = void (*)(void *args, int64_t begin, int64_t end);

namespace {
/// About 50 us and 1 ms: inside a run the next region is near, and waking a
/// sleeper costs as much as the shorter of the two. Where there are more
/// threads than CPUs nobody spins: it would be on the CPU of a thread with
/// work.
constexpr int kSpinsOutside = 1000, kSpinsInside = 20000;
/// After this many looks the caller offers its CPU to whoever it waits for.
constexpr int kSpinsForOthers = 1000;
constexpr uint32_t kMaxThreads = 256;
/// Parts for each thread: a thread that comes late, because others use its
/// CPU too, leaves its parts to those that are there.
constexpr uint32_t kPartsPerThread = 4;

/// The region in progress.
struct Pool {
  uint32_t generation = 0; // futex word
  uint32_t sleepers = 0;
  uint32_t activeRuns = 0;
  uint32_t runThreads = 0; // of the run that began last
  uint32_t cpus = 1;       // that it may use
  uint32_t numWorkers = 0;
  uint32_t threads = 0;    // that may take part
  uint32_t unfinished = 0; // futex word
  uint32_t callerSleeps = 0;
  /// Generation in the upper half, parts that nobody has taken in the lower.
  /// Who takes one may read the members below: the region cannot end before.
  uint64_t ticket = 0;
  Body body = nullptr;
  void *args = nullptr;
  int64_t tasks = 0;
  uint32_t parts = 0;
  pid_t owner = 0;
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; // one region at a time
  pthread_mutex_t growth = PTHREAD_MUTEX_INITIALIZER;
};

/// What the provider exports; later versions get another symbol.
struct PoolTable {
  uint32_t version;
  void (*parallelFor)(Body, void *, int64_t, uint32_t);
  void (*begin)(uint32_t threads);
  void (*end)();
};
} // namespace

static Pool pool;
static thread_local uint32_t runThreads = 1;
static thread_local KernelTime *runProfile = nullptr;
static thread_local bool insideRegion = false;

template <typename T> static T load(T &value) {
  return __atomic_load_n(&value, __ATOMIC_ACQUIRE);
}

/// Sleeps until `wake` with one of the bits in `mask`, if the word has `value`.
static void sleepWhile(uint32_t &word, uint32_t value, uint32_t mask = ~0u) {
  syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, value, nullptr, nullptr,
          mask);
}

static void wake(uint32_t &word, uint32_t count, uint32_t mask = ~0u) {
  syscall(SYS_futex, &word, FUTEX_WAKE_BITSET_PRIVATE, count, nullptr, nullptr,
          mask);
}

/// Bits of the workers below `index`; the last bit is of all that have none of
/// their own.
static uint32_t workersBelow(uint32_t index) {
  return index > 32 ? ~0u : (uint32_t(1) << (index - 1)) - 1;
}
static uint32_t workerBit(uint32_t index) {
  return uint32_t(1) << (index > 32 ? 31 : index - 1);
}

/// Whether the runs in progress have more threads than CPUs.
static bool isCrowded() {
  return load(pool.runThreads) + load(pool.activeRuns) > load(pool.cpus) + 1;
}

/// Contiguous share of part `part`; the split decides who computes a task,
/// never how.
static void runPart(Body body, void *args, int64_t tasks, uint32_t part,
                    uint32_t parts) {
  int64_t base = tasks / parts, extra = tasks % parts;
  int64_t begin = base * part + (part < extra ? part : extra);
  int64_t end = begin + base + (part < extra);
  if (begin < end)
    body(args, begin, end);
}

/// Takes parts of the region in progress, if there is one, until none is left.
static void takeParts() {
  uint64_t ticket = load(pool.ticket);
  while (uint32_t left = static_cast<uint32_t>(ticket)) {
    if (!__atomic_compare_exchange_n(&pool.ticket, &ticket, ticket - 1, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
      continue;
    runPart(pool.body, pool.args, pool.tasks, pool.parts - left, pool.parts);
    if (__atomic_sub_fetch(&pool.unfinished, 1, __ATOMIC_SEQ_CST) == 0 &&
        __atomic_load_n(&pool.callerSleeps, __ATOMIC_SEQ_CST))
      wake(pool.unfinished, 1);
    ticket = load(pool.ticket);
  }
}

static void *work(void *argument) {
  // Index and the generation at creation: a worker that is scheduled late
  // must still see the first region after its creation as a new one.
  uint64_t start = reinterpret_cast<uintptr_t>(argument);
  uint32_t index = static_cast<uint32_t>(start >> 32);
  uint32_t seen = static_cast<uint32_t>(start);
  _mm_setcsr(0x1f80);
  insideRegion = true;
  while (true) {
    uint32_t now;
    int spins = 0;
    while ((now = load(pool.generation)) == seen) {
      int limit = index >= load(pool.runThreads) || isCrowded() ? 0
                  : load(pool.activeRuns)                       ? kSpinsInside
                                                                : kSpinsOutside;
      if (++spins < limit) {
        _mm_pause();
        continue;
      }
      __atomic_add_fetch(&pool.sleepers, 1, __ATOMIC_SEQ_CST);
      if (__atomic_load_n(&pool.generation, __ATOMIC_SEQ_CST) == seen)
        sleepWhile(pool.generation, seen, workerBit(index));
      __atomic_sub_fetch(&pool.sleepers, 1, __ATOMIC_SEQ_CST);
      spins = 0;
    }
    seen = now;
    if (index < load(pool.threads))
      takeParts();
  }
  return nullptr;
}

/// Makes the number of workers at least `wanted`; fewer where the system
/// refuses threads. Called with `pool.mutex` held: no region is in progress.
static void growWorkers(uint32_t wanted) {
  if (wanted > kMaxThreads - 1)
    wanted = kMaxThreads - 1;
  // A forked child has none of the parent's threads.
  if (pool.owner != getpid()) {
    pool.owner = getpid();
    pool.numWorkers = 0;
    pool.sleepers = 0;
    pool.generation = 0;
  }
  while (pool.numWorkers < wanted) {
    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes) != 0)
      return;
    pthread_attr_setstacksize(&attributes, 1 << 20);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    uint64_t start = uint64_t(pool.numWorkers + 1) << 32 | pool.generation;
    int code = pthread_create(&thread, &attributes, work,
                              reinterpret_cast<void *>(uintptr_t(start)));
    pthread_attr_destroy(&attributes);
    if (code != 0)
      return;
    ++pool.numWorkers;
  }
}

static void providerParallelFor(Body body, void *args, int64_t tasks,
                                uint32_t threads) {
  if (threads < 2 || tasks < 2 || pthread_mutex_trylock(&pool.mutex) != 0) {
    if (tasks > 0)
      body(args, 0, tasks);
    return;
  }
  uint32_t available = pool.numWorkers + 1;
  if (threads > available)
    threads = available;
  if (threads < 2 || pool.owner != getpid()) {
    pthread_mutex_unlock(&pool.mutex);
    body(args, 0, tasks);
    return;
  }
  int64_t parts = int64_t(threads) * kPartsPerThread;
  if (parts > tasks)
    parts = tasks;
  pool.body = body;
  pool.args = args;
  pool.tasks = tasks;
  pool.parts = static_cast<uint32_t>(parts);
  __atomic_store_n(&pool.threads, threads, __ATOMIC_RELEASE);
  __atomic_store_n(&pool.unfinished, pool.parts, __ATOMIC_RELAXED);
  uint64_t next = pool.generation + 1;
  __atomic_store_n(&pool.ticket, next << 32 | pool.parts, __ATOMIC_RELEASE);
  __atomic_add_fetch(&pool.generation, 1, __ATOMIC_SEQ_CST);
  bool crowded = isCrowded();
  uint32_t cpus = load(pool.cpus);
  // No more than can run: parts are for whoever comes.
  uint32_t helpers = threads < cpus ? threads - 1 : cpus - 1;
  if (helpers && __atomic_load_n(&pool.sleepers, __ATOMIC_SEQ_CST))
    wake(pool.generation, helpers, workersBelow(threads));
  insideRegion = true;
  takeParts();
  insideRegion = false;
  while (crowded) {
    __atomic_store_n(&pool.callerSleeps, 1, __ATOMIC_SEQ_CST);
    uint32_t left = __atomic_load_n(&pool.unfinished, __ATOMIC_SEQ_CST);
    if (left == 0)
      break;
    sleepWhile(pool.unfinished, left);
  }
  __atomic_store_n(&pool.callerSleeps, 0, __ATOMIC_RELAXED);
  for (int spins = 0; load(pool.unfinished) != 0; ++spins) {
    _mm_pause();
    // On an overcommitted machine the worker may be waiting for this CPU.
    if (spins > kSpinsForOthers)
      sched_yield();
  }
  pthread_mutex_unlock(&pool.mutex);
}

static void providerBegin(uint32_t threads) {
  if (threads > 1) {
    __atomic_store_n(&pool.runThreads, threads, __ATOMIC_RELEASE);
    __atomic_store_n(&pool.cpus, countCpus(), __ATOMIC_RELEASE);
    pthread_mutex_lock(&pool.mutex);
    growWorkers(threads - 1);
    pthread_mutex_unlock(&pool.mutex);
  }
  __atomic_add_fetch(&pool.activeRuns, 1, __ATOMIC_RELEASE);
}

static void providerEnd() {
  __atomic_sub_fetch(&pool.activeRuns, 1, __ATOMIC_RELEASE);
}

extern "C" __attribute__((visibility("default")))
const PoolTable ffn_rt_pool_v1;
extern "C" const PoolTable ffn_rt_pool_v1 = {1, providerParallelFor,
                                             providerBegin, providerEnd};

//===----------------------------------------------------------------------===//
// Finding the provider
//===----------------------------------------------------------------------===//

static const PoolTable *provider;
static pthread_once_t providerOnce = PTHREAD_ONCE_INIT;

namespace {
/// Names of the loaded libraries. Collected first and opened afterwards: the
/// walk holds a lock that opening takes in the other order.
struct Names {
  char *text = nullptr; // each ends with a NUL
  size_t size = 0;
};
} // namespace

static int collectName(dl_phdr_info *info, size_t, void *result) {
  auto *names = static_cast<Names *>(result);
  if (!info->dlpi_name || !*info->dlpi_name)
    return 0;
  size_t length = strlen(info->dlpi_name) + 1;
  auto *text = static_cast<char *>(realloc(names->text, names->size + length));
  if (!text)
    return 1;
  memcpy(text + names->size, info->dlpi_name, length);
  names->text = text;
  names->size += length;
  return 0;
}

static void findProvider() {
  Names names;
  dl_iterate_phdr(collectName, &names);
  for (size_t at = 0; at < names.size && !provider;
       at += strlen(names.text + at) + 1) {
    const char *name = names.text + at;
    void *handle = dlopen(name, RTLD_NOLOAD | RTLD_LAZY);
    if (!handle)
      continue;
    provider = static_cast<const PoolTable *>(dlsym(handle, "ffn_rt_pool_v1"));
    // Workers run its code until the process ends, so it must stay loaded.
    if (provider && !dlopen(name, RTLD_NOLOAD | RTLD_LAZY | RTLD_NODELETE))
      provider = nullptr;
    dlclose(handle);
  }
  free(names.text);
  if (!provider)
    provider = &ffn_rt_pool_v1;
}

void ffn::rt::beginRun(uint32_t threads, KernelTime *profile) {
  pthread_once(&providerOnce, findProvider);
  runThreads = threads;
  runProfile = profile;
  provider->begin(threads);
}

void ffn::rt::endRun() {
  provider->end();
  runThreads = 1;
  runProfile = nullptr;
}

static void launch(Body body, void *args, int64_t tasks, int64_t grain) {
  // A region inside a region would wait for itself.
  uint32_t threads = insideRegion ? 1 : runThreads;
  // `grain` tasks are worth one thread; less than that is run alone.
  if (grain > 0 && tasks / grain < int64_t(threads))
    threads = static_cast<uint32_t>(tasks / grain);
  if (threads < 2) {
    if (tasks > 0)
      body(args, 0, tasks);
    return;
  }
  provider->parallelFor(body, args, tasks, threads);
}

static uint64_t nanoseconds() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return uint64_t(time.tv_sec) * 1000000000u + uint64_t(time.tv_nsec);
}

extern "C" __attribute__((visibility("hidden"))) void
ffn_parallel_for(Body body, void *args, int64_t tasks, int64_t grain) {
  if (!runProfile || insideRegion)
    return launch(body, args, tasks, grain);
  uint64_t begin = nanoseconds();
  launch(body, args, tasks, grain);
  uint64_t end = nanoseconds();
  for (uint64_t i = 0; i < ffn_model_num_kernels; ++i)
    if (ffn_model_kernels[i].body == body) {
      ++runProfile[i].launches;
      runProfile[i].nanoseconds += end - begin;
      return;
    }
}
