//===- Sha256.h - SHA-256 of files of any size ------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Names models and calibration data in profiles. LLVM's class counts bytes in
// 32 bits and is wrong from 4 GiB on, where weights of real models lie.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_SHA256_H
#define FFN_MLIR_SUPPORT_SHA256_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include <array>
#include <cstdint>
#include <string>

namespace mlir::ffn {

class Sha256 {
public:
  void update(llvm::ArrayRef<uint8_t> bytes);
  void update(llvm::StringRef text) {
    update(llvm::ArrayRef<uint8_t>(
        reinterpret_cast<const uint8_t *>(text.data()), text.size()));
  }
  /// The digest; the object must not be used afterwards.
  std::array<uint8_t, 32> finish();
  /// The digest as 64 lower-case hexadecimal digits.
  std::string finishHex();
  static std::string hex(llvm::StringRef text) {
    Sha256 hash;
    hash.update(text);
    return hash.finishHex();
  }

private:
  void block(const uint8_t *bytes);

  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint64_t total = 0;
  uint8_t pending[64];
};

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_SHA256_H
