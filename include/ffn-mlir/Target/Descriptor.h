//===- Descriptor.h - What an artefact says of itself -----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// The compiler writes a descriptor into every artefact; the runtime, which
// links neither LLVM nor this library, reads it (runtime/Descriptor.cpp).
//
// Format, little-endian, no padding: u32 magic, u32 version, then the fields
// of ModelDescriptor in order. A string is u32 length and bytes followed by a
// NUL (not counted); a list is u32 count and elements; an expression is a list
// of (u8 operation, i64 operand) for a stack machine.
//
// The generated object defines:
//   const unsigned char ffn_model_descriptor[]
//   const uint64_t      ffn_model_descriptor_size
//   const unsigned char ffn_model_weights[]   64-byte aligned
//   void ffn_model_entry(void **args)
// args[i] points to the memref descriptor (as for C interfaces) of input i,
// then of output i, then of the weights as memref<?xi8>.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_TARGET_DESCRIPTOR_H
#define FFN_MLIR_TARGET_DESCRIPTOR_H

#include "ffn-mlir/Support/DimExpr.h"
#include "mlir/IR/Types.h"
#include <cstdint>
#include <string>
#include <vector>

namespace mlir::ffn {

inline constexpr uint32_t kDescriptorMagic = 0x444e4646; // "FFND"
inline constexpr uint32_t kDescriptorVersion = 1;

/// DLPack's type code and bits.
struct DescriptorType {
  uint8_t code = 0, bits = 0;
};

/// The type for tensors of `elementType`; none for types that a compiled model
/// cannot exchange (strings, complex, sub-byte).
std::optional<DescriptorType> getDescriptorType(Type elementType);

struct DescriptorValue {
  std::string name;
  DescriptorType type;
  std::vector<DimExpr> dims;
};

/// A symbol and the input dimension whose size it is.
struct DescriptorSymbol {
  std::string name;
  uint32_t input = 0, dim = 0;
};

/// Output `output` is input `input` and what follows it along `axis`; a caller
/// may give the same memory for both, with equal strides.
struct DescriptorAppend {
  uint32_t input = 0, output = 0, axis = 0;
};

struct ModelDescriptor {
  std::string producer, level, numerics;
  /// Needed CPU features by LLVM's names, such as "avx2", "avx512vnni".
  std::vector<std::string> features;
  std::vector<DescriptorSymbol> symbols;
  std::vector<DescriptorValue> inputs, outputs;
  /// Bytes of the weights; empty `weightsFile`: inside the artefact.
  uint64_t weightBytes = 0;
  std::string weightsFile;
  /// CRC-32C of the weights.
  uint32_t weightsChecksum = 0;
  std::vector<DescriptorAppend> appends;

  /// Fails (with `error`) where a dimension is unknown or uses a symbol that
  /// no input dimension gives.
  LogicalResult serialize(std::vector<uint8_t> &bytes,
                          std::string &error) const;
};

/// CRC-32C (Castagnoli) of `bytes`, continuing from `crc`.
uint32_t crc32c(ArrayRef<char> bytes, uint32_t crc = 0);

} // namespace mlir::ffn

#endif // FFN_MLIR_TARGET_DESCRIPTOR_H
