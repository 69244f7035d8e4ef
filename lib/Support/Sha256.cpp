//===- Sha256.cpp - SHA-256 of files of any size --------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/Sha256.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/Endian.h"
#include <algorithm>
#include <cstring>

using namespace llvm;

// Fractions of the cube roots of the first 64 primes (FIPS 180-4).
static constexpr uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
    0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
    0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

namespace mlir::ffn {

void Sha256::block(const uint8_t *bytes) {
  uint32_t w[64];
  for (int i = 0; i < 16; ++i)
    w[i] = support::endian::read32be(bytes + 4 * i);
  for (int i = 16; i < 64; ++i) {
    uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + (rotr(a, 7) ^ rotr(a, 18) ^ (a >> 3)) + w[i - 7] +
           (rotr(b, 17) ^ rotr(b, 19) ^ (b >> 10));
  }
  uint32_t s[8];
  std::copy(state, state + 8, s);
  for (int i = 0; i < 64; ++i) {
    uint32_t sum = rotr(s[4], 6) ^ rotr(s[4], 11) ^ rotr(s[4], 25);
    uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
    uint32_t first = s[7] + sum + choice + kRound[i] + w[i];
    uint32_t other = rotr(s[0], 2) ^ rotr(s[0], 13) ^ rotr(s[0], 22);
    uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
    std::copy_backward(s, s + 7, s + 8);
    s[4] += first;
    s[0] = first + other + majority;
  }
  for (int i = 0; i < 8; ++i)
    state[i] += s[i];
}

void Sha256::update(ArrayRef<uint8_t> bytes) {
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

std::array<uint8_t, 32> Sha256::finish() {
  uint64_t bits = total * 8;
  uint8_t tail[72] = {0x80};
  size_t zeros = (119 - total % 64) % 64;
  support::endian::write64be(tail + 1 + zeros, bits);
  update(ArrayRef<uint8_t>(tail, 1 + zeros + 8));
  std::array<uint8_t, 32> digest;
  for (int i = 0; i < 8; ++i)
    support::endian::write32be(digest.data() + 4 * i, state[i]);
  return digest;
}

std::string Sha256::finishHex() { return toHex(finish(), /*LowerCase=*/true); }

} // namespace mlir::ffn
