//===- NameMap.cpp - Tables keyed by names from a file --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NameMap.h"
#include "llvm/Support/xxhash.h"
#include <random>

namespace mlir::ffn {

static uint64_t makeSeed() {
  std::random_device device;
  return uint64_t(device()) << 32 | device();
}

NameKey::NameKey(llvm::StringRef text) : text(text) {
  static const uint64_t seed = makeSeed();
  // The seed goes in before the multiplication and the low bits, which choose
  // the bucket, are taken from the high half of the product.
  uint64_t mixed = (llvm::xxh3_64bits(text) ^ seed) * 0x9e3779b97f4a7c15;
  hash = mixed ^ mixed >> 32;
}

} // namespace mlir::ffn
