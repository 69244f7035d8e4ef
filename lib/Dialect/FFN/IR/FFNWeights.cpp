//===- FFNWeights.cpp - Weight expressions --------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace mlir::ffn;

static RankedTensorType ranked(Value value) {
  return llvm::dyn_cast<RankedTensorType>(value.getType());
}

//===----------------------------------------------------------------------===//
// WeightOp
//===----------------------------------------------------------------------===//

OpFoldResult WeightOp::fold(FoldAdaptor) { return getValueAttr(); }

SmallVector<Value> WeightOp::getWeightSources() { return {}; }

LogicalResult WeightOp::verify() {
  if (!llvm::isa<SpanAttr, DenseElementsAttr>(getValue()))
    return emitOpError("value must be a span or dense elements");
  return success();
}

//===----------------------------------------------------------------------===//
// Sources
//===----------------------------------------------------------------------===//

SmallVector<Value> GatherRowsOp::getWeightSources() { return {getSource()}; }
SmallVector<Value> ConcatRowsOp::getWeightSources() {
  return llvm::to_vector(getSources());
}
SmallVector<Value> TransposeOp::getWeightSources() { return {getSource()}; }
SmallVector<Value> ReshapeOp::getWeightSources() { return {getSource()}; }
SmallVector<Value> CastOp::getWeightSources() { return {getSource()}; }
SmallVector<Value> ScaleRowsOp::getWeightSources() {
  return {getSource(), getScale()};
}
SmallVector<Value> ScaleColsOp::getWeightSources() {
  return {getSource(), getScale()};
}
SmallVector<Value> MatVecOp::getWeightSources() {
  return llvm::to_vector(getOperands());
}
SmallVector<Value> AddOp::getWeightSources() { return {getLhs(), getRhs()}; }
SmallVector<Value> LowRankOp::getWeightSources() { return {getB(), getA()}; }
SmallVector<Value> DequantizeOp::getWeightSources() {
  return {getCodes(), getScales()};
}

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

LogicalResult GatherRowsOp::inferReturnTypes(MLIRContext *,
                                             std::optional<Location> loc,
                                             Adaptor adaptor,
                                             SmallVectorImpl<Type> &types) {
  RankedTensorType source = ranked(adaptor.getSource()),
                   indices = ranked(adaptor.getIndices());
  if (!source || source.getRank() < 1 || !indices || indices.getRank() != 1 ||
      !indices.hasStaticShape())
    return emitOptionalError(
        loc, "gather_rows needs a weight with rows and a static index vector");
  SmallVector<int64_t> shape(source.getShape());
  shape[0] = indices.getDimSize(0);
  types.push_back(RankedTensorType::get(shape, source.getElementType()));
  return success();
}

LogicalResult ConcatRowsOp::inferReturnTypes(MLIRContext *,
                                             std::optional<Location> loc,
                                             Adaptor adaptor,
                                             SmallVectorImpl<Type> &types) {
  if (adaptor.getSources().empty())
    return emitOptionalError(loc, "concat_rows needs at least one weight");
  RankedTensorType first = ranked(adaptor.getSources().front());
  int64_t rows = 0;
  for (Value source : adaptor.getSources()) {
    RankedTensorType type = ranked(source);
    if (!first || !type || type.getRank() < 1 ||
        type.getRank() != first.getRank() ||
        type.getElementType() != first.getElementType() ||
        type.getShape().drop_front() != first.getShape().drop_front())
      return emitOptionalError(
          loc, "concat_rows needs weights that differ only in their rows");
    if (llvm::AddOverflow(rows, type.getDimSize(0), rows))
      return emitOptionalError(loc, "concat_rows has too many rows");
  }
  SmallVector<int64_t> shape(first.getShape());
  shape[0] = rows;
  types.push_back(RankedTensorType::get(shape, first.getElementType()));
  return success();
}

LogicalResult TransposeOp::inferReturnTypes(MLIRContext *,
                                            std::optional<Location> loc,
                                            Adaptor adaptor,
                                            SmallVectorImpl<Type> &types) {
  RankedTensorType source = ranked(adaptor.getSource());
  if (!source || source.getRank() != 2)
    return emitOptionalError(loc, "transpose needs a matrix");
  types.push_back(RankedTensorType::get(
      {source.getDimSize(1), source.getDimSize(0)}, source.getElementType()));
  return success();
}

LogicalResult MatVecOp::inferReturnTypes(MLIRContext *,
                                         std::optional<Location> loc,
                                         Adaptor adaptor,
                                         SmallVectorImpl<Type> &types) {
  RankedTensorType matrix = ranked(adaptor.getMatrix()),
                   vector = ranked(adaptor.getVector());
  if (!matrix || !vector || matrix.getRank() != 2 || vector.getRank() != 1 ||
      matrix.getDimSize(1) != vector.getDimSize(0) ||
      matrix.getElementType() != vector.getElementType())
    return emitOptionalError(
        loc, "matvec needs a matrix and a vector of its columns");
  auto result =
      RankedTensorType::get({matrix.getDimSize(0)}, matrix.getElementType());
  if (adaptor.getBias() && adaptor.getBias().getType() != result)
    return emitOptionalError(loc, "matvec bias must be of type ", result);
  types.push_back(result);
  return success();
}

LogicalResult LowRankOp::inferReturnTypes(MLIRContext *,
                                          std::optional<Location> loc,
                                          Adaptor adaptor,
                                          SmallVectorImpl<Type> &types) {
  RankedTensorType b = ranked(adaptor.getB()), a = ranked(adaptor.getA());
  if (!a || !b || a.getRank() != 2 || b.getRank() != 2 ||
      b.getDimSize(1) != a.getDimSize(0) ||
      a.getElementType() != b.getElementType())
    return emitOptionalError(
        loc,
        "low_rank needs matrices [out, r] and [r, in] of one element type");
  types.push_back(RankedTensorType::get({b.getDimSize(0), a.getDimSize(1)},
                                        a.getElementType()));
  return success();
}

LogicalResult DequantizeOp::inferReturnTypes(MLIRContext *,
                                             std::optional<Location> loc,
                                             Adaptor adaptor,
                                             SmallVectorImpl<Type> &types) {
  RankedTensorType codes = ranked(adaptor.getCodes()),
                   scales = ranked(adaptor.getScales());
  int64_t group = adaptor.getGroup(), bits = adaptor.getBits();
  if (!codes || !scales || codes.getRank() != 2 || scales.getRank() != 2 ||
      !codes.getElementType().isSignlessInteger(8) ||
      !llvm::isa<FloatType>(scales.getElementType()))
    return emitOptionalError(
        loc, "dequantize needs a matrix of i8 codes and a matrix of scales");
  if (bits < 2 || bits > 8 || group < 1)
    return emitOptionalError(
        loc, "dequantize needs 2 to 8 bits and a group of one or more");
  if (scales.getDimSize(0) != codes.getDimSize(0) ||
      scales.getDimSize(1) !=
          static_cast<int64_t>(llvm::divideCeil(codes.getDimSize(1), group)))
    return emitOptionalError(loc, "groups of ", group, " of ", codes,
                             " have other scales than ", scales);
  types.push_back(
      RankedTensorType::get(codes.getShape(), scales.getElementType()));
  return success();
}

//===----------------------------------------------------------------------===//
// Verifiers and folders. A folder never reads a span.
//===----------------------------------------------------------------------===//

OpFoldResult GatherRowsOp::fold(FoldAdaptor adaptor) {
  auto indices =
      llvm::dyn_cast_if_present<DenseIntElementsAttr>(adaptor.getIndices());
  if (!indices || getSource().getType() != getType())
    return {};
  int64_t row = 0;
  for (const APInt &index : indices.getValues<APInt>())
    if (index != static_cast<uint64_t>(row++))
      return {};
  return getSource();
}

namespace {
/// gather(gather(w, p), q) -> gather(w, p[q]), for inline index vectors.
struct ComposeGathers : OpRewritePattern<GatherRowsOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GatherRowsOp op,
                                PatternRewriter &rewriter) const override {
    auto inner = op.getSource().getDefiningOp<GatherRowsOp>();
    DenseIntElementsAttr first, second;
    if (!inner || !matchPattern(inner.getIndices(), m_Constant(&first)) ||
        !matchPattern(op.getIndices(), m_Constant(&second)))
      return failure();
    SmallVector<int32_t> composed;
    auto values = first.getValues<int32_t>();
    for (int32_t index : second.getValues<int32_t>()) {
      if (index < 0 || index >= first.getNumElements())
        return failure();
      composed.push_back(values[index]);
    }
    auto attr = DenseIntElementsAttr::get(second.getType(), composed);
    auto indices =
        WeightOp::create(rewriter, op.getLoc(), attr.getType(), attr);
    rewriter.replaceOpWithNewOp<GatherRowsOp>(op, inner.getSource(), indices);
    return success();
  }
};
} // namespace

void GatherRowsOp::getCanonicalizationPatterns(RewritePatternSet &results,
                                               MLIRContext *context) {
  results.add<ComposeGathers>(context);
}

OpFoldResult ConcatRowsOp::fold(FoldAdaptor) {
  return getSources().size() == 1 ? OpFoldResult(getSources().front())
                                  : OpFoldResult();
}

OpFoldResult TransposeOp::fold(FoldAdaptor) {
  if (auto inner = getSource().getDefiningOp<TransposeOp>())
    return inner.getSource();
  return {};
}

OpFoldResult ReshapeOp::fold(FoldAdaptor) {
  if (getSource().getType() == getType())
    return getSource();
  if (auto inner = getSource().getDefiningOp<ReshapeOp>()) {
    getSourceMutable().assign(inner.getSource());
    return getResult();
  }
  return {};
}

LogicalResult ReshapeOp::verify() {
  RankedTensorType from = ranked(getSource()), to = ranked(getResult());
  if (from.getElementType() != to.getElementType() ||
      from.getNumElements() != to.getNumElements())
    return emitOpError("cannot view ") << from << " as " << to;
  return success();
}

OpFoldResult CastOp::fold(FoldAdaptor) {
  return getSource().getType() == getType() ? OpFoldResult(getSource())
                                            : OpFoldResult();
}

LogicalResult CastOp::verify() {
  if (ranked(getSource()).getShape() != ranked(getResult()).getShape())
    return emitOpError("must keep the shape");
  return success();
}

static LogicalResult checkScale(Operation *op, Value source, Value scale,
                                unsigned dim) {
  RankedTensorType matrix = ranked(source), vector = ranked(scale);
  if (matrix.getRank() != 2 || vector.getRank() != 1 ||
      vector.getDimSize(0) != matrix.getDimSize(dim) ||
      vector.getElementType() != matrix.getElementType())
    return op->emitOpError("scale must be a vector of ")
           << (matrix.getRank() == 2 ? matrix.getDimSize(dim) : 0) << " x "
           << matrix.getElementType() << ", is " << vector;
  return success();
}

LogicalResult ScaleRowsOp::verify() {
  return checkScale(*this, getSource(), getScale(), 0);
}

LogicalResult ScaleColsOp::verify() {
  return checkScale(*this, getSource(), getScale(), 1);
}
