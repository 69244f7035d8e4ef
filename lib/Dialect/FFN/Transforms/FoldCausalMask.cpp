//===- FoldCausalMask.cpp - Masks that hide the future become `causal` ----===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Exporters write a causal mask as a comparison of ranges of positions. The
// pass follows integers that are linear in the index of the element (ranges,
// their shifts, the dimensions that are put around them), then the comparison
// of two of them, and compares what is left with the meaning of `causal`.
//
//===----------------------------------------------------------------------===//

#include "RaiseDetail.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Ops/OpTable.h"

using namespace mlir;
using namespace mlir::ffn;
using onnx::NodeOp;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNFOLDCAUSALMASK
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

namespace {
constexpr unsigned maxDepth = 32;

/// Added to the score of a visible key this leaves nothing of it under the
/// softmax, in f32 and f64, as long as another key is seen.
constexpr double vanishing = -1e30;

/// sum over d of coefficients[d] * index[d] + constant.
struct Linear {
  SmallVector<int64_t> coefficients;
  DimExpr constant;
};

/// An element is `hidden` where `distance` is at least zero, else `seen`.
struct Choice {
  Linear distance;
  double hidden, seen;
};

class MaskReader {
public:
  explicit MaskReader(const SymbolicShapeAnalysis &analysis)
      : analysis(analysis) {}

  /// A mask as a function of its index; booleans are 1 and 0.
  std::optional<Choice> readMask(Value value, unsigned depth = 0);

private:
  std::optional<Linear> readInteger(Value value, unsigned depth);
  std::optional<Linear> readComparison(NodeOp node, unsigned depth);
  /// Coefficients of an operand as those of the result of a node that only
  /// adds, removes or widens dimensions of size 1.
  std::optional<Linear> moveDims(NodeOp node, Linear linear);
  int64_t rankOf(Value value) const { return analysis.lookup(value).rank(); }
  std::optional<int64_t> integerOf(Value value) const {
    std::optional<SmallVector<int64_t>> known =
        value ? analysis.lookup(value).constants() : std::nullopt;
    return known && known->size() == 1 ? std::optional((*known)[0])
                                       : std::nullopt;
  }

  const SymbolicShapeAnalysis &analysis;
};
} // namespace

/// a + factor * b; dimensions are aligned at the last one, as they broadcast.
static Linear combine(const Linear &a, const Linear &b, int64_t factor) {
  size_t rank = std::max(a.coefficients.size(), b.coefficients.size());
  Linear sum{SmallVector<int64_t>(rank, 0),
             a.constant + DimExpr(factor) * b.constant};
  for (auto [term, scale] : {std::pair(&a, int64_t(1)), std::pair(&b, factor)})
    for (auto [i, coefficient] :
         llvm::enumerate(llvm::reverse(term->coefficients)))
      sum.coefficients[rank - 1 - i] += scale * coefficient;
  return sum;
}

static bool isMove(NodeOp node) {
  return node.is("Unsqueeze") || node.is("Squeeze") || node.is("Reshape") ||
         node.is("Expand");
}

std::optional<Linear> MaskReader::moveDims(NodeOp node, Linear linear) {
  const SymValue &from = analysis.lookup(node.getInput(0)),
                 &to = analysis.lookup(node.getResult(0));
  if (!from.hasRank() || !to.hasRank() ||
      from.dims->size() != linear.coefficients.size())
    return std::nullopt;
  Linear result{SmallVector<int64_t>(to.dims->size(), 0), linear.constant};
  if (node.is("Expand")) {
    // A dimension that is widened had the index 0.
    size_t added = result.coefficients.size() - linear.coefficients.size();
    for (auto [i, dim] : llvm::enumerate(*from.dims))
      if ((*to.dims)[added + i] == dim)
        result.coefficients[added + i] = linear.coefficients[i];
      else if (!dim.isConstant(1))
        return std::nullopt;
    return result;
  }
  // All others keep the sizes that are not 1, in order.
  size_t next = 0;
  auto skip = [&] {
    while (next < from.dims->size() && (*from.dims)[next].isConstant(1))
      ++next;
  };
  for (auto [i, dim] : llvm::enumerate(*to.dims)) {
    if (dim.isConstant(1))
      continue;
    skip();
    if (next == from.dims->size() || (*from.dims)[next] != dim)
      return std::nullopt;
    result.coefficients[i] = linear.coefficients[next++];
  }
  skip();
  if (next != from.dims->size())
    return std::nullopt;
  return result;
}

std::optional<Linear> MaskReader::readInteger(Value value, unsigned depth) {
  if (!value || depth > maxDepth)
    return std::nullopt;
  const SymValue &known = analysis.lookup(value);
  if (!known.hasRank())
    return std::nullopt;
  if (known.contents && known.contents->size() == 1 &&
      (*known.contents)[0].isKnown())
    return Linear{SmallVector<int64_t>(known.rank(), 0), (*known.contents)[0]};
  auto node = value.getDefiningOp<NodeOp>();
  if (!node || !node.getDomain().empty())
    return std::nullopt;
  if (node.is("Range")) {
    std::optional<Linear> start = readInteger(node.getInput(0), depth + 1);
    std::optional<int64_t> step = integerOf(node.getInput(2));
    if (!start || !step || *step != 1 || !start->coefficients.empty())
      return std::nullopt;
    return Linear{{*step}, start->constant};
  }
  if (node.is("Add") || node.is("Sub")) {
    std::optional<Linear> a = readInteger(node.getInput(0), depth + 1);
    std::optional<Linear> b =
        a ? readInteger(node.getInput(1), depth + 1) : std::nullopt;
    return b ? std::optional(combine(*a, *b, node.is("Add") ? 1 : -1))
             : std::nullopt;
  }
  bool integer = known.elementType && (known.elementType.isInteger(64) ||
                                       known.elementType.isInteger(32));
  if (node.is("Identity") || (node.is("Cast") && integer)) {
    Type from = analysis.lookup(node.getInput(0)).elementType;
    return from && (from.isInteger(64) || from.isInteger(32))
               ? readInteger(node.getInput(0), depth + 1)
               : std::nullopt;
  }
  if (!isMove(node))
    return std::nullopt;
  std::optional<Linear> source = readInteger(node.getInput(0), depth + 1);
  return source ? moveDims(node, *source) : std::nullopt;
}

/// What is at least zero where the comparison holds.
std::optional<Linear> MaskReader::readComparison(NodeOp node, unsigned depth) {
  bool greater = node.is("Greater") || node.is("GreaterOrEqual");
  bool strict = node.is("Greater") || node.is("Less");
  if (!greater && !node.is("Less") && !node.is("LessOrEqual"))
    return std::nullopt;
  std::optional<Linear> a = readInteger(node.getInput(0), depth + 1);
  std::optional<Linear> b =
      a ? readInteger(node.getInput(1), depth + 1) : std::nullopt;
  if (!b)
    return std::nullopt;
  Linear distance = greater ? combine(*a, *b, -1) : combine(*b, *a, -1);
  if (strict)
    distance.constant = distance.constant - DimExpr(1);
  return distance;
}

std::optional<Choice> MaskReader::readMask(Value value, unsigned depth) {
  auto node = value ? value.getDefiningOp<NodeOp>() : NodeOp();
  if (!node || !node.getDomain().empty() || depth > maxDepth)
    return std::nullopt;
  if (std::optional<Linear> distance = readComparison(node, depth))
    return Choice{*distance, 1, 0};
  auto source = [&](unsigned i) {
    return readMask(node.getInput(i), depth + 1);
  };
  if (node.is("Identity"))
    return source(0);
  if (node.is("Not")) {
    std::optional<Choice> choice = source(0);
    if (choice)
      for (double *x : {&choice->hidden, &choice->seen})
        *x = *x == 0;
    return choice;
  }
  if (node.is("Where")) {
    std::optional<Choice> choice = source(0);
    std::optional<double> yes = raise::getScalarConstant(node.getInput(1)),
                          no = raise::getScalarConstant(node.getInput(2));
    if (!choice || !yes || !no || rankOf(node.getInput(1)) > 1 ||
        rankOf(node.getInput(2)) > 1)
      return std::nullopt;
    for (double *x : {&choice->hidden, &choice->seen})
      *x = *x != 0 ? *yes : *no;
    return choice;
  }
  if (!isMove(node))
    return std::nullopt;
  std::optional<Choice> choice = source(0);
  std::optional<Linear> moved =
      choice ? moveDims(node, choice->distance) : std::nullopt;
  if (!moved)
    return std::nullopt;
  choice->distance = *moved;
  return choice;
}

/// Whether the mask of the op hides key t from query s exactly where
/// t > s + T - S.
static bool hidesTheFuture(AttentionOp op,
                           const SymbolicShapeAnalysis &analysis) {
  std::optional<Choice> choice = MaskReader(analysis).readMask(op.getMask());
  const SymValue &query = analysis.lookup(op.getQuery()),
                 &key = analysis.lookup(op.getKey()),
                 &mask = analysis.lookup(op.getMask());
  if (!choice || query.rank() != 4 || key.rank() != 4 || mask.rank() < 2)
    return false;
  DimExpr queries = (*query.dims)[2], keys = (*key.dims)[2];
  DimExpr past = keys - queries;
  SmallVector<int64_t> &coefficients = choice->distance.coefficients;
  size_t rank = coefficients.size();
  if (static_cast<int64_t>(rank) != mask.rank() ||
      (*mask.dims)[rank - 2] != queries || (*mask.dims)[rank - 1] != keys)
    return false;
  // A comparison the other way round is hidden where it does not hold.
  bool boolean = getElementTypeOrSelf(op.getMask().getType()).isInteger(1);
  auto isHidden = [&](double x) { return boolean ? x == 0 : x <= vanishing; };
  auto isSeen = [&](double x) { return boolean ? x != 0 : x == 0; };
  Linear distance = choice->distance;
  if (isHidden(choice->seen) && isSeen(choice->hidden)) {
    // not (d >= 0) is -d - 1 >= 0.
    distance = combine(Linear{SmallVector<int64_t>(rank, 0), DimExpr(-1)},
                       distance, -1);
  } else if (!isHidden(choice->hidden) || !isSeen(choice->seen)) {
    return false;
  }
  for (auto [i, coefficient] : llvm::enumerate(distance.coefficients))
    if (coefficient != (i + 1 == rank ? 1 : i + 2 == rank ? -1 : 0))
      return false;
  // Where there are more queries than keys some see nothing at all, and what
  // is added to all scores alike hides none.
  return distance.constant == DimExpr(0) - past - DimExpr(1) &&
         past.isNonNegative();
}

namespace {
struct FoldCausalMask : mlir::ffn::impl::FFNFoldCausalMaskBase<FoldCausalMask> {
  void runOnOperation() override {
    SmallVector<AttentionOp> candidates;
    getOperation().walk([&](AttentionOp op) {
      if (op.getMask())
        candidates.push_back(op);
    });
    if (candidates.empty())
      return;
    FailureOr<SymbolicShapeAnalysis> analysis =
        SymbolicShapeAnalysis::run(getOperation(), /*refine=*/false);
    if (failed(analysis))
      return signalPassFailure();
    for (AttentionOp op : candidates) {
      if (!hidesTheFuture(op, *analysis)) {
        op.emitRemark("mask kept: it is not known to hide exactly the keys "
                      "behind the query");
        continue;
      }
      op.setCausal(true);
      op.getMaskMutable().clear();
    }
  }
};
} // namespace
