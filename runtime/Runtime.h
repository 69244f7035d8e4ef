//===- Runtime.h - Parts of the artefact's runtime --------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// C++ without exceptions, RTTI and library: memory comes from malloc and every
// failure is a status with text.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_RUNTIME_RUNTIME_H
#define FFN_MLIR_RUNTIME_RUNTIME_H

#define FFN_NO_LOADER
#include "ffn-mlir-c/Runtime.h"

namespace ffn::rt {

/// Sets the text of this thread and returns `status`.
ffn_status fail(ffn_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
const char *lastError();

//===----------------------------------------------------------------------===//
// Descriptor
//===----------------------------------------------------------------------===//

/// A size: a program for a stack machine.
struct Dim {
  const char *name; // "" where static
  const unsigned char *program;
  uint32_t length;
};

struct Value {
  ffn_value_info info;
  Dim *dims;
};

struct Symbol {
  const char *name;
  uint32_t input, dim;
};

/// Output `output` continues input `input` along `axis`.
struct Append {
  uint32_t input, output, axis;
};

struct Model {
  ffn_model_info info;
  const char **features;
  uint32_t numFeatures;
  Symbol *symbols;
  uint32_t numSymbols;
  Value *inputs, *outputs;
  const char *weightsFile;
  uint32_t weightsChecksum;
  Append *appends;
  uint32_t numAppends;
  const unsigned char *weights;
  ffn_status status; // of loading
  char error[256];
};

inline constexpr uint32_t kMaxSymbols = 64;
inline constexpr uint32_t kMaxRank = 16;

/// The model of this artefact, parsed and checked on first use.
const Model &getModel();

/// Value of `dim` for the given symbols; false on overflow, a negative size or
/// a division by zero.
bool evaluate(const Dim &dim, const int64_t *symbols, int64_t &value);

//===----------------------------------------------------------------------===//
// Machine
//===----------------------------------------------------------------------===//

/// Whether the CPU and the system support a feature by LLVM's name and
/// FFN_CPU_FEATURES (a comma-separated list; only what it names exists) does
/// not hide it. Unknown names are missing.
bool hasFeature(const char *name);
/// CPUs that this thread may run on at the same time, at least 1: those of its
/// affinity mask, or fewer where a control group limits the time.
uint32_t countCpus();
/// CPUs whose time the control groups of a process allow, rounded up; 0 for no
/// limit. `groups`: file of its groups, as /proc/self/cgroup; `mount`: where
/// their files are, as /sys/fs/cgroup. Versions 1 and 2 are understood.
uint32_t countQuotaCpus(const char *groups, const char *mount);

//===----------------------------------------------------------------------===//
// Memory of a run
//===----------------------------------------------------------------------===//

/// Blocks of a session: kept between runs, handed out again by size.
class Scratch {
public:
  void *allocate(int64_t bytes);
  void release(void *pointer);
  /// Everything is free again; drops what the last run did not use.
  void endRun();
  void destroy();
  uint64_t getBytes() const { return bytes; }

private:
  struct Block;
  Block *used = nullptr, *unused = nullptr;
  uint64_t bytes = 0;
};

/// Runs `entry(args)` with allocations from `scratch`. Where an allocation or
/// a check of the generated code fails, the run is abandoned, its memory is
/// free again, and the status and the text say why.
/// `appended` gets the bytes that append kernels wrote.
ffn_status runWithScratch(Scratch &scratch, void (*entry)(void **), void **args,
                          uint64_t &appended);

//===----------------------------------------------------------------------===//
// Threads
//===----------------------------------------------------------------------===//

/// A kernel of the model, from the table that the compiler writes.
struct Kernel {
  void (*body)(void *args, int64_t begin, int64_t end);
  const char *name;
};

/// Sums of one kernel; a profile has one entry for each of the table.
struct KernelTime {
  uint64_t launches, nanoseconds;
};

/// Brackets a run: workers keep spinning inside, and sleep between runs. Where
/// `profile` is not null the launches of this thread are added to it.
void beginRun(uint32_t threads, KernelTime *profile);
void endRun();

} // namespace ffn::rt

extern "C" {
/// Part of every artefact.
extern const ffn::rt::Kernel ffn_model_kernels[];
extern const uint64_t ffn_model_num_kernels;
}

#endif // FFN_MLIR_RUNTIME_RUNTIME_H
