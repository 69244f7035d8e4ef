//===- Assert.h - Checks of our own invariants ------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_ASSERT_H
#define FFN_MLIR_SUPPORT_ASSERT_H

#include <cstdio>
#include <cstdlib>

/// States an invariant of our own code; active in the dev and asan presets.
/// Nothing that a file or a caller can contain may reach it: such a case is a
/// diagnostic.
#ifdef FFN_ENABLE_ASSERTS
#define FFN_ASSERT(condition, text)                                            \
  do {                                                                         \
    if (!(condition)) {                                                        \
      std::fprintf(stderr, "%s:%d: FFN_ASSERT(%s): %s\n", __FILE__, __LINE__,  \
                   #condition, text);                                          \
      std::abort();                                                            \
    }                                                                          \
  } while (false)
#else
#define FFN_ASSERT(condition, text)                                            \
  do {                                                                         \
  } while (false)
#endif

#endif // FFN_MLIR_SUPPORT_ASSERT_H
