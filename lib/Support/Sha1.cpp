//===- Sha1.cpp - SHA-1 of files of any size ------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/Sha1.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/Endian.h"
#include <algorithm>
#include <cstring>

using namespace llvm;

namespace mlir::ffn {

void Sha1::block(const uint8_t *bytes) {
  uint32_t w[80];
  for (int i = 0; i < 16; ++i)
    w[i] = support::endian::read32be(bytes + 4 * i);
  for (int i = 16; i < 80; ++i)
    w[i] = rotl(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
  for (int i = 0; i < 80; ++i) {
    uint32_t f, k;
    if (i < 20) {
      f = (b & c) | (~b & d);
      k = 0x5a827999;
    } else if (i < 40) {
      f = b ^ c ^ d;
      k = 0x6ed9eba1;
    } else if (i < 60) {
      f = (b & c) | (b & d) | (c & d);
      k = 0x8f1bbcdc;
    } else {
      f = b ^ c ^ d;
      k = 0xca62c1d6;
    }
    uint32_t next = rotl(a, 5) + f + e + k + w[i];
    e = d;
    d = c;
    c = rotl(b, 30);
    b = a;
    a = next;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
}

void Sha1::update(ArrayRef<uint8_t> bytes) {
  if (bytes.empty())
    return;
  size_t have = total % 64;
  total += bytes.size();
  if (have) {
    size_t n = std::min<size_t>(64 - have, bytes.size());
    std::memcpy(pending + have, bytes.data(), n);
    bytes = bytes.drop_front(n);
    if (have + n < 64)
      return;
    block(pending);
  }
  for (; bytes.size() >= 64; bytes = bytes.drop_front(64))
    block(bytes.data());
  if (!bytes.empty())
    std::memcpy(pending, bytes.data(), bytes.size());
}

std::array<uint8_t, 20> Sha1::finish() {
  uint64_t bits = total * 8;
  uint8_t tail[72] = {0x80};
  size_t have = total % 64;
  size_t padding = (have < 56 ? 56 : 120) - have;
  support::endian::write64be(tail + padding, bits);
  update(ArrayRef<uint8_t>(tail, padding + 8));
  std::array<uint8_t, 20> digest;
  for (int i = 0; i < 5; ++i)
    support::endian::write32be(digest.data() + 4 * i, state[i]);
  return digest;
}

} // namespace mlir::ffn
