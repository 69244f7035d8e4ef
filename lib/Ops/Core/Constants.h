//===- Constants.h - Elements of small constants ----------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_OPS_CORE_CONSTANTS_H
#define FFN_MLIR_LIB_OPS_CORE_CONSTANTS_H

#include "ffn-mlir/Ops/OpTable.h"

namespace mlir::ffn {

/// Elements of a constant of integer or floating type, at most kMaxContents;
/// none for other types, more elements, or bytes that cannot be read (whoever
/// needs them will say so: this reader is silent). `user` locates the file.
struct ConstantElements {
  SmallVector<double> floats; // for floating types
  SmallVector<DimExpr> ints;  // for integer types; unknown beyond int64
  bool isFloat = false;
};
std::optional<ConstantElements> readSmallConstant(Operation *user,
                                                  Attribute value);

/// What is known of a constant: type, dims, contents.
SymValue getConstantValue(Operation *user, Attribute value);

/// The value attribute of the `ffn.weight` or Constant node that defines
/// `value`; null for others.
Attribute getConstantAttr(Value value);

/// SymValue of a type alone; dynamic dims are unknown.
SymValue getTypeValue(Type type);

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_OPS_CORE_CONSTANTS_H
