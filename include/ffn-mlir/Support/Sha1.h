//===- Sha1.h - SHA-1 of files of any size ----------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// ONNX checksums of external data are SHA-1. LLVM's class counts bytes in 32
// bits and is wrong from 4 GiB on, where weights of real models lie.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_SHA1_H
#define FFN_MLIR_SUPPORT_SHA1_H

#include "llvm/ADT/ArrayRef.h"
#include <array>
#include <cstdint>

namespace mlir::ffn {

class Sha1 {
public:
  void update(llvm::ArrayRef<uint8_t> bytes);
  /// The digest; the object must not be used afterwards.
  std::array<uint8_t, 20> finish();

private:
  void block(const uint8_t *bytes);

  uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476,
                       0xc3d2e1f0};
  uint64_t total = 0;
  uint8_t pending[64];
};

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_SHA1_H
