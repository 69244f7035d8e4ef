//===- NameMap.h - Tables keyed by names from a file ------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// DenseMap<StringRef> hashes without a seed: names can be chosen so that all
// of them fall into one bucket, and a linear phase becomes quadratic. These
// tables mix a number of the process into the hash. Never iterate over them:
// the order is different in each run.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_IMPORT_NAMEMAP_H
#define FFN_MLIR_LIB_IMPORT_NAMEMAP_H

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringRef.h"

namespace mlir::ffn {

/// A name with its hash, so that unequal names are rarely compared.
struct NameKey {
  NameKey(llvm::StringRef text);
  NameKey(llvm::StringRef text, uint64_t hash) : text(text), hash(hash) {}
  llvm::StringRef text;
  uint64_t hash;
};

struct NameKeyInfo {
  using Text = llvm::DenseMapInfo<llvm::StringRef>;
  static NameKey getEmptyKey() { return {Text::getEmptyKey(), 0}; }
  static NameKey getTombstoneKey() { return {Text::getTombstoneKey(), 0}; }
  static unsigned getHashValue(const NameKey &key) {
    return static_cast<unsigned>(key.hash);
  }
  static bool isEqual(const NameKey &a, const NameKey &b) {
    return a.hash == b.hash && Text::isEqual(a.text, b.text);
  }
};

template <typename T> using NameMap = llvm::DenseMap<NameKey, T, NameKeyInfo>;
using NameSet = llvm::DenseSet<NameKey, NameKeyInfo>;
using SmallNameSet = llvm::SmallDenseSet<NameKey, 8, NameKeyInfo>;

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_IMPORT_NAMEMAP_H
