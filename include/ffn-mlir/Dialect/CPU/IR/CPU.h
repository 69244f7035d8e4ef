//===- CPU.h - The ffn_cpu dialect ------------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_CPU_IR_CPU_H
#define FFN_MLIR_DIALECT_CPU_IR_CPU_H

#include "ffn-mlir/Dialect/FFN/IR/FFNExperts.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"

#include "ffn-mlir/Dialect/CPU/IR/CPUDialect.h.inc"
#include "ffn-mlir/Dialect/CPU/IR/CPUEnums.h.inc"

namespace mlir::ffn::cpu {
/// f32 elements of a vector register of the level.
inline int64_t getLanes(Level level) { return level >= Level::Avx512 ? 16 : 8; }
/// Whether the level has the instruction that adds four products of bytes.
inline bool hasVnni(Level level) {
  return level == Level::Avx2Vnni || level == Level::Avx512Vnni;
}
} // namespace mlir::ffn::cpu

#define GET_ATTRDEF_CLASSES
#include "ffn-mlir/Dialect/CPU/IR/CPUAttrs.h.inc"

#define GET_OP_CLASSES
#include "ffn-mlir/Dialect/CPU/IR/CPUOps.h.inc"

namespace mlir::ffn::cpu {

/// Types of the buffers that the kernel of `key` takes: inputs, then outputs.
/// A dynamic size or stride accepts any. Empty for an unknown key.
SmallVector<MemRefType> getKernelArgumentTypes(Attribute key);
/// How many of them are outputs (the last ones).
unsigned getNumKernelOutputs(Attribute key);

/// Registers how kernel calls bufferize.
void registerBufferizableOpInterface(DialectRegistry &registry);

} // namespace mlir::ffn::cpu

#endif // FFN_MLIR_DIALECT_CPU_IR_CPU_H
