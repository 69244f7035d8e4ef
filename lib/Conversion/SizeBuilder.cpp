//===- SizeBuilder.cpp - Symbolic sizes as SSA values ---------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Conversion/SizeBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace mlir::ffn;

/// Expressions come from a file; deeper ones stay unknown.
static constexpr unsigned kMaxDepth = 64;

void SizeBuilder::defineEntrySymbol(StringRef name, Value value) {
  entrySymbols[name] = value;
  exprs[value] = DimExpr::symbol(name);
}

void SizeBuilder::defineLateSymbol(StringRef name, OpFoldResult size) {
  if (entrySymbols.contains(name) ||
      !lateSymbols.try_emplace(name, size).second)
    return;
  if (auto value = llvm::dyn_cast_if_present<Value>(size))
    exprs.try_emplace(value, DimExpr::symbol(name));
}

bool SizeBuilder::isEntryExpr(const DimExpr &expr) const {
  bool all = true;
  expr.forEachSymbol(
      [&](StringRef name) { all &= entrySymbols.contains(name); });
  return all;
}

OpFoldResult SizeBuilder::get(OpBuilder &builder, const DimExpr &expr) {
  if (!expr.isKnown())
    return {};
  if (std::optional<int64_t> constant = expr.getConstant())
    return builder.getIndexAttr(*constant);
  if (std::optional<std::string> symbol = expr.getSymbol()) {
    if (auto it = entrySymbols.find(*symbol); it != entrySymbols.end())
      return it->second;
    if (auto it = lateSymbols.find(*symbol); it != lateSymbols.end())
      return it->second;
    return {};
  }
  if (!isEntryExpr(expr))
    return build(builder, expr, 0);
  std::string key = expr.str();
  if (auto it = built.find(key); it != built.end())
    return it->second;
  OpBuilder entry(anchor);
  OpFoldResult result = build(entry, expr, 0);
  if (auto value = llvm::dyn_cast_if_present<Value>(result))
    exprs[value] = expr;
  built[key] = result;
  return result;
}

OpFoldResult SizeBuilder::build(OpBuilder &builder, const DimExpr &expr,
                                unsigned depth) {
  if (depth > kMaxDepth || !expr.isKnown())
    return {};
  Location loc = anchor->getLoc();
  Value sum;
  for (const auto &[monomial, coefficient] : expr.terms()) {
    Value term;
    auto times = [&](Value factor) {
      term = term ? arith::MulIOp::create(builder, loc, term, factor) : factor;
    };
    for (const auto &[atom, power] : monomial) {
      Value base;
      if (const DimExpr::Opaque *opaque = expr.getOpaque(atom)) {
        if (opaque->operands.size() != 2)
          return {};
        OpFoldResult lhs = build(builder, opaque->operands[0], depth + 1);
        OpFoldResult rhs = build(builder, opaque->operands[1], depth + 1);
        if (!lhs || !rhs)
          return {};
        Value l = getValue(builder, loc, lhs), r = getValue(builder, loc, rhs);
        switch (opaque->kind) {
        case DimExpr::Opaque::FloorDiv: {
          // A zero divisor is no crash: the size becomes that of divisor 1.
          Value one = arith::ConstantIndexOp::create(builder, loc, 1);
          Value zero = arith::ConstantIndexOp::create(builder, loc, 0);
          Value isZero = arith::CmpIOp::create(
              builder, loc, arith::CmpIPredicate::eq, r, zero);
          Value divisor = arith::SelectOp::create(builder, loc, isZero, one, r);
          base = arith::FloorDivSIOp::create(builder, loc, l, divisor);
          break;
        }
        case DimExpr::Opaque::Max:
          base = arith::MaxSIOp::create(builder, loc, l, r);
          break;
        case DimExpr::Opaque::Min:
          base = arith::MinSIOp::create(builder, loc, l, r);
          break;
        }
      } else {
        OpFoldResult symbol = get(builder, DimExpr::symbol(atom));
        if (!symbol)
          return {};
        base = getValue(builder, loc, symbol);
      }
      for (unsigned i = 0; i < power; ++i)
        times(base);
    }
    if (coefficient != 1 || !term)
      times(arith::ConstantIndexOp::create(builder, loc, coefficient));
    sum = sum ? arith::AddIOp::create(builder, loc, sum, term) : term;
  }
  if (!sum)
    return builder.getIndexAttr(0);
  return sum;
}

Value SizeBuilder::getValue(OpBuilder &builder, Location loc,
                            OpFoldResult size) {
  return getValueOrCreateConstantIndexOp(builder, loc, size);
}

DimExpr SizeBuilder::getExpr(OpFoldResult size) const {
  if (std::optional<int64_t> constant = getConstantIntValue(size))
    return DimExpr(*constant);
  auto value = llvm::dyn_cast_if_present<Value>(size);
  auto it = value ? exprs.find(value) : exprs.end();
  return it == exprs.end() ? DimExpr() : it->second;
}
