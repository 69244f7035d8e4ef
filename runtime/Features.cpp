//===- Features.cpp - What this machine can do ----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Feature bits decide, never the name of the CPU: hypervisors and compilers
// misname it.
//
//===----------------------------------------------------------------------===//

#include "Runtime.h"
#include <cpuid.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace ffn::rt;

namespace {
enum Register { EAX, EBX, ECX, EDX };
/// Parts of the register state that the system must save.
enum State : uint64_t {
  None = 0,
  Avx = 0x6,
  Avx512 = 0xe6,
  Amx = 0x60000,
};
struct Feature {
  const char *name;
  unsigned leaf, subleaf;
  Register reg;
  unsigned bit;
  uint64_t state;
};
} // namespace

static constexpr Feature features[] = {
    {"sse3", 1, 0, ECX, 0, None},
    {"ssse3", 1, 0, ECX, 9, None},
    {"sse4.1", 1, 0, ECX, 19, None},
    {"popcnt", 1, 0, ECX, 23, None},
    {"cx16", 1, 0, ECX, 13, None},
    {"movbe", 1, 0, ECX, 22, None},
    {"lzcnt", 0x80000001, 0, ECX, 5, None},
    {"sse4.2", 1, 0, ECX, 20, None},
    {"fma", 1, 0, ECX, 12, Avx},
    {"f16c", 1, 0, ECX, 29, Avx},
    {"avx", 1, 0, ECX, 28, Avx},
    {"avx2", 7, 0, EBX, 5, Avx},
    {"bmi", 7, 0, EBX, 3, None},
    {"bmi2", 7, 0, EBX, 8, None},
    {"avx512f", 7, 0, EBX, 16, Avx512},
    {"avx512dq", 7, 0, EBX, 17, Avx512},
    {"avx512bw", 7, 0, EBX, 30, Avx512},
    {"avx512vl", 7, 0, EBX, 31, Avx512},
    {"avx512cd", 7, 0, EBX, 28, Avx512},
    {"avx512vnni", 7, 0, ECX, 11, Avx512},
    {"avx512bf16", 7, 1, EAX, 5, Avx512},
    {"avx512fp16", 7, 0, EDX, 23, Avx512},
    {"avxvnni", 7, 1, EAX, 4, Avx},
    {"amx-tile", 7, 0, EDX, 24, Amx},
    {"amx-bf16", 7, 0, EDX, 22, Amx},
    {"amx-int8", 7, 0, EDX, 25, Amx},
};

static uint64_t savedState() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27)))
    return 0;
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t(high) << 32) | low;
}

/// The system grants the tile registers to a process on request only; the
/// first use would trap otherwise.
static bool requestTiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

static bool isHidden(const char *name) {
  const char *list = getenv("FFN_CPU_FEATURES");
  if (!list || !*list)
    return false;
  size_t length = strlen(name);
  for (const char *at = list; *at;) {
    size_t word = strcspn(at, ",");
    if (word == length && memcmp(at, name, length) == 0)
      return false;
    at += word + (at[word] == ',');
  }
  return true;
}

bool ffn::rt::hasFeature(const char *name) {
  for (const Feature &feature : features) {
    if (strcmp(feature.name, name) != 0)
      continue;
    unsigned regs[4] = {0, 0, 0, 0};
    if (!__get_cpuid_count(feature.leaf, feature.subleaf, &regs[EAX],
                           &regs[EBX], &regs[ECX], &regs[EDX]))
      return false;
    if (!(regs[feature.reg] & (1u << feature.bit)) ||
        (savedState() & feature.state) != feature.state || isHidden(name))
      return false;
    return feature.state != Amx || requestTiles();
  }
  return false;
}

//===----------------------------------------------------------------------===//
// CPUs
//===----------------------------------------------------------------------===//

/// The text of a file, cut to the buffer; false where there is none.
template <size_t N> static bool readText(const char *path, char (&text)[N]) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return false;
  size_t size = 0;
  for (ssize_t got;
       size < N - 1 && (got = read(file, text + size, N - 1 - size)) > 0;)
    size += static_cast<size_t>(got);
  close(file);
  text[size] = 0;
  return size != 0;
}

/// Microseconds of CPU time in a period; false where `folder` sets no limit.
static bool readQuota(const char *folder, long &quota, long &period) {
  char path[4096 + 32], text[64];
  char *end = text;
  snprintf(path, sizeof path, "%s/cpu.max", folder);
  if (readText(path, text)) {
    quota = strtol(text, &end, 10); // 0 for "max"
    period = strtol(end, nullptr, 10);
    return quota > 0 && period > 0;
  }
  snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
  if (!readText(path, text))
    return false;
  quota = strtol(text, nullptr, 10); // -1 for none
  snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
  if (!readText(path, text))
    return false;
  period = strtol(text, nullptr, 10);
  return quota > 0 && period > 0;
}

/// Whether the list of controllers, up to a colon, is that of version 2, which
/// is empty, or has the CPU controller of version 1.
static bool controlsCpu(const char *list) {
  if (*list == ':')
    return true;
  while (true) {
    size_t word = strcspn(list, ",:\n");
    if (word == 3 && memcmp(list, "cpu", 3) == 0)
      return true;
    if (list[word] != ',')
      return false;
    list += word + 1;
  }
}

uint32_t ffn::rt::countQuotaCpus(const char *groups, const char *mount) {
  char text[4096], folder[4096];
  if (!readText(groups, text))
    return 0;
  uint32_t cpus = 0;
  for (char *line = text, *next; line && *line; line = next) {
    // number ':' controllers ':' path
    if ((next = strchr(line, '\n')))
      *next++ = 0;
    char *list = strchr(line, ':');
    char *path = list ? strchr(list + 1, ':') : nullptr;
    if (!path || !controlsCpu(++list))
      continue;
    *path++ = 0;
    int root =
        snprintf(folder, sizeof folder, "%s%s", mount, *list ? "/cpu" : "");
    int length = snprintf(folder, sizeof folder, "%s%s%s", mount,
                          *list ? "/cpu" : "", path);
    if (length >= static_cast<int>(sizeof folder))
      continue;
    // A limit of any group around this one holds too.
    while (true) {
      long quota, period;
      if (readQuota(folder, quota, period)) {
        uint32_t allowed = static_cast<uint32_t>((quota - 1) / period + 1);
        cpus = cpus && cpus < allowed ? cpus : allowed;
      }
      char *slash = strrchr(folder, '/');
      if (length <= root || !slash)
        break;
      length = static_cast<int>(slash - folder);
      if (length < root)
        length = root;
      folder[length] = 0;
    }
  }
  return cpus;
}

static uint32_t quotaCpus;
static pthread_once_t quotaOnce = PTHREAD_ONCE_INIT;

uint32_t ffn::rt::countCpus() {
  pthread_once(&quotaOnce, [] {
    quotaCpus = countQuotaCpus("/proc/self/cgroup", "/sys/fs/cgroup");
  });
  cpu_set_t set;
  int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
  uint32_t cpus = count < 1 ? 1 : static_cast<uint32_t>(count);
  return quotaCpus && quotaCpus < cpus ? quotaCpus : cpus;
}
