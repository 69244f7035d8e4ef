//===- Memory.cpp - Scratch memory of a run -------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Runtime.h"
#include <setjmp.h>
#include <stdlib.h>

using namespace ffn::rt;

/// Lies in front of the memory that it stands for; 64 bytes, so that the
/// memory keeps the alignment.
struct alignas(64) Scratch::Block {
  Block *next, *previous;
  uint64_t capacity;
  bool idle; // not used in the current run
};

void *Scratch::allocate(int64_t wanted) {
  if (wanted < 0 || wanted > int64_t(1) << 46)
    return nullptr;
  uint64_t capacity = (uint64_t(wanted) + 63) / 64 * 64;
  // The tightest block: shapes repeat from layer to layer, so an exact fit is
  // usual after the first layer.
  Block *best = nullptr;
  for (Block *block = unused; block; block = block->next)
    if (block->capacity >= capacity && block->capacity <= 2 * capacity + 4096 &&
        (!best || block->capacity < best->capacity))
      best = block;
  if (best) {
    (best->previous ? best->previous->next : unused) = best->next;
    if (best->next)
      best->next->previous = best->previous;
  } else {
    // A text grows token by token, and so do its sizes: leave room for some.
    capacity += capacity / 4 / 64 * 64;
    void *memory = nullptr;
    // Kernels may read a vector beyond the end of a tensor.
    if (posix_memalign(&memory, 64, sizeof(Block) + capacity + 64) != 0)
      return nullptr;
    best = static_cast<Block *>(memory);
    best->capacity = capacity;
    bytes += capacity;
  }
  best->idle = false;
  best->previous = nullptr;
  best->next = used;
  if (used)
    used->previous = best;
  used = best;
  return best + 1;
}

void Scratch::release(void *pointer) {
  if (!pointer)
    return;
  Block *block = static_cast<Block *>(pointer) - 1;
  (block->previous ? block->previous->next : used) = block->next;
  if (block->next)
    block->next->previous = block->previous;
  block->previous = nullptr;
  block->next = unused;
  if (unused)
    unused->previous = block;
  unused = block;
}

void Scratch::endRun() {
  while (used)
    release(used + 1);
  for (Block *block = unused; block;) {
    Block *next = block->next;
    if (block->idle) {
      (block->previous ? block->previous->next : unused) = next;
      if (next)
        next->previous = block->previous;
      bytes -= block->capacity;
      free(block);
    } else {
      block->idle = true;
    }
    block = next;
  }
}

void Scratch::destroy() {
  endRun();
  endRun();
}

namespace {
struct Run {
  Scratch *scratch;
  jmp_buf abandoned;
  ffn_status status;
  uint64_t appended;
};
} // namespace

static thread_local Run *currentRun;

ffn_status ffn::rt::runWithScratch(Scratch &scratch, void (*entry)(void **),
                                   void **args, uint64_t &appended) {
  Run run;
  run.appended = 0;
  run.scratch = &scratch;
  run.status = FFN_OK;
  Run *outer = currentRun;
  // Generated code holds nothing but scratch memory, so leaving it by a jump
  // loses nothing.
  if (_setjmp(run.abandoned) != 0) {
    ffn_status status = currentRun->status;
    currentRun = outer;
    scratch.endRun();
    return status;
  }
  currentRun = &run;
  entry(args);
  currentRun = outer;
  appended = run.appended;
  scratch.endRun();
  return FFN_OK;
}

[[noreturn]] static void abandon(ffn_status status) {
  currentRun->status = status;
  _longjmp(currentRun->abandoned, 1);
}

extern "C" {
/// Called by generated code, on the thread that runs the model.
__attribute__((visibility("hidden"))) void *ffn_rt_alloc(int64_t bytes) {
  void *memory = currentRun ? currentRun->scratch->allocate(bytes) : nullptr;
  if (!memory && currentRun)
    abandon(fail(FFN_E_NOMEM, "no memory for intermediate results "
                              "[FFN-R501]"));
  return memory;
}

__attribute__((visibility("hidden"))) void ffn_rt_free(void *pointer) {
  if (currentRun)
    currentRun->scratch->release(pointer);
}

__attribute__((visibility("hidden"))) void ffn_rt_appended(int64_t bytes) {
  if (currentRun)
    currentRun->appended += static_cast<uint64_t>(bytes);
}

/// A condition on the data that generated code relies on from here on. The
/// kinds are those of LowerScope::CheckKind; `where` names a node of the model.
__attribute__((visibility("hidden"))) void
ffn_rt_check(bool holds, int32_t kind, const char *where) {
  if (holds || !currentRun)
    return;
  if (kind == 0)
    abandon(fail(FFN_E_INDEX,
                 "%s: an index in the inputs is out of range [FFN-R408]",
                 where));
  abandon(fail(FFN_E_SHAPE,
               "%s: sizes that only the run knows do not fit together "
               "[FFN-R403]",
               where));
}
}
