//===- SizeBuilder.h - Symbolic sizes as SSA values -------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_CONVERSION_SIZEBUILDER_H
#define FFN_MLIR_CONVERSION_SIZEBUILDER_H

#include "ffn-mlir/Support/DimExpr.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

namespace mlir::ffn {

/// Turns dim expressions into index arithmetic. Expressions over symbols known
/// at the entry are built once, at the entry, so that equal sizes are one SSA
/// value in the whole function; that is what upstream passes understand.
class SizeBuilder {
public:
  /// Values are made before `anchor`, which stays in the entry block.
  SizeBuilder(Operation *anchor) : anchor(anchor) {}

  /// The value of a symbol that exists at the anchor.
  void defineEntrySymbol(StringRef name, Value value);
  /// The size of something that came to exist at run time; usable from where
  /// it is defined. Ignored for a symbol that is known already.
  void defineLateSymbol(StringRef name, OpFoldResult size);
  /// What was defined so far, to go back to behind a region.
  llvm::StringMap<OpFoldResult> getLateSymbols() const { return lateSymbols; }
  void setLateSymbols(llvm::StringMap<OpFoldResult> symbols) {
    lateSymbols = std::move(symbols);
  }

  /// Attribute for a constant, value otherwise; null where a symbol is not
  /// known. Arithmetic over late symbols is made at `builder`.
  OpFoldResult get(OpBuilder &builder, const DimExpr &expr);
  /// The value for an expression that was built before, or the size itself.
  Value getValue(OpBuilder &builder, Location loc, OpFoldResult size);
  /// Expression of a size that this builder made; unknown for others.
  DimExpr getExpr(OpFoldResult size) const;

private:
  OpFoldResult build(OpBuilder &builder, const DimExpr &expr, unsigned depth);
  bool isEntryExpr(const DimExpr &expr) const;

  Operation *anchor;
  llvm::StringMap<Value> entrySymbols;
  llvm::StringMap<OpFoldResult> lateSymbols;
  llvm::StringMap<OpFoldResult> built;
  llvm::DenseMap<Value, DimExpr> exprs;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_CONVERSION_SIZEBUILDER_H
