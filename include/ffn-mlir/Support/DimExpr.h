//===- DimExpr.h - Symbolic sizes -------------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A size is an integer polynomial of named symbols, with floor divisions and
// other non-polynomial terms as opaque atoms: `batch`, `past + seq`,
// `8 * seq`, `(seq + 1) floordiv 2`. Canonical: equal sizes of this form
// compare equal. Overflow, and growth beyond fixed limits (a name in a file can
// ask for any size), make the expression unknown. Symbols are sizes: never
// negative.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_DIMEXPR_H
#define FFN_MLIR_SUPPORT_DIMEXPR_H

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mlir::ffn {

class DimExpr {
public:
  /// Default: an unknown size, equal to nothing, not even itself.
  DimExpr() = default;
  DimExpr(int64_t constant);
  static DimExpr symbol(llvm::StringRef name);
  /// Identifier, integer, or sums, differences, products, `floordiv`/`//`,
  /// `max(a, b)` and `min(a, b)` of these, with parentheses. Any other text is
  /// one opaque symbol of that very spelling, `batch-size` too: a minus between
  /// two names needs spaces. Inside an expression such a symbol is spelt in
  /// backquotes. Linear; nesting limit 64. Never unknown.
  static DimExpr parse(llvm::StringRef text);

  bool isKnown() const { return known; }
  std::optional<int64_t> getConstant() const;
  bool isConstant(int64_t value) const { return getConstant() == value; }
  /// The name, if the expression is one bare symbol.
  std::optional<std::string> getSymbol() const;

  DimExpr operator+(const DimExpr &rhs) const;
  DimExpr operator-(const DimExpr &rhs) const;
  DimExpr operator*(const DimExpr &rhs) const;
  /// Exact quotient of polynomials where there is one, else an opaque atom;
  /// unknown for a zero divisor.
  DimExpr floorDiv(const DimExpr &rhs) const;
  DimExpr ceilDiv(const DimExpr &rhs) const;
  static DimExpr max(const DimExpr &a, const DimExpr &b);
  static DimExpr min(const DimExpr &a, const DimExpr &b);

  /// True when the value is at least zero for all values of the symbols; false
  /// says nothing.
  bool isNonNegative() const;
  /// True when the value is at least one as soon as every symbol is.
  bool isPositiveForPositiveSymbols() const;

  /// Known equal.
  bool operator==(const DimExpr &rhs) const;
  bool operator!=(const DimExpr &rhs) const { return !(*this == rhs); }

  /// Value under `values`; none when a symbol is missing, on overflow and on
  /// division by zero.
  std::optional<int64_t> evaluate(
      llvm::function_ref<std::optional<int64_t>(llvm::StringRef)> values) const;
  void forEachSymbol(llvm::function_ref<void(llvm::StringRef)> visit) const;
  /// The expression with every symbol for which `values` has one replaced.
  DimExpr substitute(
      llvm::function_ref<std::optional<DimExpr>(llvm::StringRef)> values) const;
  /// Text that `parse` reads back as this expression; "?" when unknown.
  std::string str() const;

  /// Product of atoms with powers -> coefficient. Public for the lowering,
  /// which turns an expression into arithmetic. An atom is the name of a symbol
  /// or a key for `getOpaque`; the empty monomial is the constant.
  using Monomial = std::map<std::string, unsigned>;
  const std::map<Monomial, int64_t> &terms() const { return polynomial; }
  /// For an atom key that is not a plain symbol: its kind and operands.
  struct Opaque {
    enum Kind { FloorDiv, Max, Min } kind;
    std::vector<DimExpr> operands;
  };
  const Opaque *getOpaque(llvm::StringRef key) const;

private:
  static DimExpr makeOpaque(Opaque::Kind kind, std::vector<DimExpr> operands);
  static DimExpr extremum(const DimExpr &a, const DimExpr &b,
                          Opaque::Kind kind);
  void addTerm(const Monomial &monomial, int64_t coefficient);
  void takeOpaques(const DimExpr &other);
  void checkLimits();
  std::optional<DimExpr> divideExactly(const DimExpr &divisor) const;
  DimExpr floorDivByConstant(int64_t divisor) const;
  bool hasNonNegativeTerms() const;

  bool known = false;
  std::map<Monomial, int64_t> polynomial;
  std::map<std::string, std::shared_ptr<const Opaque>> opaques;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_DIMEXPR_H
