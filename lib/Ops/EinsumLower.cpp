//===- EinsumLower.cpp - Lowering of Einsum -------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/EinsumEquation.h"
#include "ffn-mlir/Ops/LowerHelpers.h"
#include <map>

using namespace mlir;
using namespace mlir::ffn;

using Labels = EinsumLabels;

namespace {
/// A tensor whose dims are labelled.
struct Term {
  Value tensor;
  Labels labels;
};
} // namespace

static bool hasDuplicates(Labels labels) {
  llvm::sort(labels);
  return std::adjacent_find(labels.begin(), labels.end()) != labels.end();
}

/// The product of two terms, summed over the labels that are not in `keep`.
static FailureOr<Term> multiply(LowerContext &ctx, Term a, Term b,
                                const Labels &keep) {
  std::map<int, OpFoldResult> sizes;
  for (Term *term : {&a, &b}) {
    for (auto [label, size] :
         llvm::zip(term->labels, ctx.sizes(term->tensor))) {
      auto [entry, isNew] = sizes.try_emplace(label, size);
      if (isNew)
        continue;
      FailureOr<Sizes> both =
          broadcastSizes(ctx, {Sizes{entry->second}, Sizes{size}});
      if (failed(both))
        return failure();
      entry->second = both->front();
    }
  }
  Labels loops;
  for (int label : keep)
    if (sizes.count(label))
      loops.push_back(label);
  size_t kept = loops.size();
  for (auto &entry : sizes)
    if (!llvm::is_contained(keep, entry.first))
      loops.push_back(entry.first);
  MLIRContext *mlir = ctx.builder.getContext();
  SmallVector<AffineMap> maps;
  for (Term *term : {&a, &b}) {
    Sizes target;
    for (int label : term->labels)
      target.push_back(sizes.at(label));
    term->tensor = broadcastOperand(ctx, term->tensor, target);
    SmallVector<AffineExpr> exprs;
    for (auto [label, size, dim] :
         llvm::zip(term->labels, target, tensorType(term->tensor).getShape()))
      exprs.push_back(
          dim == 1 && !isConstantIntValue(size, 1)
              ? getAffineConstantExpr(0, mlir)
              : getAffineDimExpr(llvm::find(loops, label) - loops.begin(),
                                 mlir));
    maps.push_back(AffineMap::get(loops.size(), 0, exprs, mlir));
  }
  Sizes result;
  SmallVector<AffineExpr> out;
  for (size_t i = 0; i < kept; ++i) {
    result.push_back(sizes.at(loops[i]));
    out.push_back(getAffineDimExpr(i, mlir));
  }
  maps.push_back(AffineMap::get(loops.size(), 0, out, mlir));
  SmallVector<utils::IteratorType> iterators(loops.size(),
                                             utils::IteratorType::reduction);
  std::fill_n(iterators.begin(), kept, utils::IteratorType::parallel);
  Value product = contract(ctx, a.tensor, b.tensor, maps, result, iterators);
  return Term{product, Labels(ArrayRef(loops).take_front(kept))};
}

static LogicalResult lowerEinsum(LowerContext &ctx) {
  std::string why;
  std::optional<EinsumEquation> equation =
      EinsumEquation::parse(ctx.node.getString("equation", ""), why);
  if (!equation)
    return ctx.unsupported(why);
  if (equation->inputs.size() != ctx.inputs.size())
    return ctx.unsupported("the equation does not fit the inputs");
  SmallVector<Term> terms;
  int64_t widest = 0;
  for (auto [term, tensor] : llvm::zip(equation->inputs, ctx.inputs)) {
    std::optional<int64_t> hidden = term.getHidden(rankOf(tensor));
    if (!hidden)
      return ctx.unsupported("the equation does not fit the inputs");
    widest = std::max(widest, *hidden);
    terms.push_back({tensor, term.getLabels(*hidden)});
    if (hasDuplicates(terms.back().labels))
      return ctx.unsupported("a label is repeated in one term");
  }
  Labels output = equation->output.getLabels(widest);
  if (terms.size() == 1) {
    Type type = elementOf(terms[0].tensor);
    Value one = constantOf(ctx.builder, ctx.loc, type, 1);
    terms.push_back({filledTensor(ctx, {}, one), {}});
  }
  Term product = terms[0];
  for (size_t i = 1; i < terms.size(); ++i) {
    // What a later term or the output mentions stays; the last product is in
    // the order of the output.
    Labels keep = output;
    for (const Term &later : ArrayRef(terms).drop_front(i + 1))
      for (int label : later.labels)
        if (!llvm::is_contained(keep, label))
          keep.push_back(label);
    FailureOr<Term> next = multiply(ctx, product, terms[i], keep);
    if (failed(next))
      return ctx.unsupported("sizes of one label differ");
    product = *next;
  }
  ctx.results[0] = product.tensor;
  return success();
}

FFN_REGISTER_OPS(EinsumLower) { table.addLower("", "Einsum", 12, lowerEinsum); }
