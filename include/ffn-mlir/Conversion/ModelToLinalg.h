//===- ModelToLinalg.h - A model as linalg on tensors -----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_CONVERSION_MODELTOLINALG_H
#define FFN_MLIR_CONVERSION_MODELTOLINALG_H

#include "ffn-mlir/Dialect/CPU/IR/CPU.h"
#include "ffn-mlir/Target/Descriptor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include <memory>

namespace mlir::ffn {

/// Name of the generated entry function.
inline constexpr llvm::StringLiteral kModelEntry = "ffn_model_entry";

struct LowerOptions {
  /// Level of the kernels of the CPU target; none: every op is plain linalg.
  std::optional<cpu::Level> kernels;
};

/// A module of upstream dialects with one public function
///
///   func.func @ffn_model_entry(%args: !llvm.ptr)
///
/// whose argument is what Target/Descriptor.h says. Weights are `ffn_cpu.pack`
/// requests over copies of the model's weight expressions.
struct LoweredModel {
  OwningOpRef<ModuleOp> module;
  /// Symbols, inputs and outputs; the rest is left to the target.
  ModelDescriptor descriptor;
};

/// Lowers @main of a model module; the module itself is left as it is. Null
/// after coded diagnostics [FFN-C1xx].
std::unique_ptr<LoweredModel> lowerModelToLinalg(ModuleOp model,
                                                 const LowerOptions &options);

/// Word `word` of the memref descriptor that argument `index` of the entry
/// function points to; 1 is the data pointer, 3 the first size.
Value descriptorWord(OpBuilder &builder, Location loc, Value arguments,
                     int64_t index, int64_t word, Type type);
/// A memref over a raw pointer: its descriptor is spelled out here and meets
/// the conversion of memrefs at the end of the pipeline. `strides` (i64): of
/// all dimensions; empty where contiguous.
Value wrapPointer(OpBuilder &builder, Location loc, Value pointer,
                  MemRefType type, ArrayRef<OpFoldResult> sizes,
                  ValueRange strides = {});

/// The type a value of `type` has after lowering: signless integers, bool as
/// i8; null for what cannot be lowered.
RankedTensorType convertTensorType(Type type);
Type convertElementType(Type type);

} // namespace mlir::ffn

#endif // FFN_MLIR_CONVERSION_MODELTOLINALG_H
