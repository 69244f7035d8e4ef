//===- StructureShapes.cpp - Shapes of all that is no node ----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "StructureShapes.h"
#include "Constants.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNAdaptive.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNExperts.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNProbes.h"
#include "ffn-mlir/Ops/ShapeHelpers.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::ffn;

namespace {
using Lookup = function_ref<const SymValue &(Value)>;

/// Sizes of an upstream operation: constants or scalar values.
DimExpr getSize(OpFoldResult size, Lookup lookup) {
  if (auto attr = dyn_cast<Attribute>(size)) {
    auto integer = dyn_cast<IntegerAttr>(attr);
    return integer ? DimExpr(integer.getInt()) : DimExpr();
  }
  const SymValue &value = lookup(cast<Value>(size));
  return value.contents && value.contents->size() == 1 ? value.contents->front()
                                                       : DimExpr();
}

std::optional<Dims> getSizes(ArrayRef<OpFoldResult> sizes, Lookup lookup) {
  Dims dims;
  for (OpFoldResult size : sizes)
    dims.push_back(getSize(size, lookup));
  return dims;
}

/// `dims` with the last one replaced.
std::optional<Dims> withLast(std::optional<Dims> dims, Value weight,
                             unsigned weightDim) {
  auto type = dyn_cast<RankedTensorType>(weight.getType());
  if (!dims || dims->empty() || !type || type.getRank() <= weightDim)
    return std::nullopt;
  dims->back() = ShapedType::isDynamic(type.getDimSize(weightDim))
                     ? DimExpr()
                     : DimExpr(type.getDimSize(weightDim));
  return dims;
}

LogicalResult computeSublayer(
    SublayerOp op, Lookup lookup,
    function_ref<LogicalResult(Region &, ArrayRef<SymValue>)> runBody,
    MutableArrayRef<SymValue> results) {
  SymValue residual = lookup(op.getResidual());
  if (failed(runBody(op.getBody(), residual)))
    return failure();
  results[0].dims = residual.dims;
  for (auto [result, extra] :
       llvm::zip(results.drop_front(), op.getYieldedExtras()))
    result = lookup(extra);
  return success();
}

void computeAttention(AttentionOp op, Lookup lookup, SymValue &result) {
  const SymValue &query = lookup(op.getQuery());
  const SymValue &value = lookup(op.getValue());
  if (!query.dims || !value.dims || query.dims->empty() || value.dims->empty())
    return;
  result.dims = query.dims;
  result.dims->back() = value.dims->back();
}

void computeEmbedding(EmbeddingOp op, Lookup lookup, SymValue &result) {
  result.dims = lookup(op.getIds()).dims;
  if (!result.dims)
    return;
  result.dims->push_back(DimExpr());
  result.dims = withLast(result.dims, op.getTable(), 1);
}

/// One element for each row of `value`.
std::optional<Dims> dropLast(const SymValue &value) {
  std::optional<Dims> dims = value.dims;
  if (dims && !dims->empty())
    dims->pop_back();
  return dims;
}

/// Scalars and tensors of index arithmetic.
bool computeArith(Operation *op, Lookup lookup, SymValue &result) {
  if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
    if (auto integer = dyn_cast<IntegerAttr>(constant.getValue())) {
      result = getTypeValue(constant.getType());
      if (integer.getValue().getSignificantBits() <= 64)
        result.contents = Dims{DimExpr(integer.getValue().getSExtValue())};
    } else {
      result = getConstantValue(op, constant.getValue());
    }
    return true;
  }
  auto binary = [&](auto combine) {
    const SymValue &a = lookup(op->getOperand(0));
    const SymValue &b = lookup(op->getOperand(1));
    result.dims = a.dims;
    if (!a.contents || !b.contents || a.contents->size() != b.contents->size())
      return true;
    result.contents.emplace();
    for (auto [x, y] : llvm::zip(*a.contents, *b.contents))
      result.contents->push_back(combine(x, y));
    return true;
  };
  if (isa<arith::AddIOp>(op))
    return binary([](const DimExpr &a, const DimExpr &b) { return a + b; });
  if (isa<arith::SubIOp>(op))
    return binary([](const DimExpr &a, const DimExpr &b) { return a - b; });
  if (isa<arith::MulIOp>(op))
    return binary([](const DimExpr &a, const DimExpr &b) { return a * b; });
  if (isa<arith::FloorDivSIOp>(op))
    return binary(
        [](const DimExpr &a, const DimExpr &b) { return a.floorDiv(b); });
  if (isa<arith::IndexCastOp>(op)) {
    const SymValue &a = lookup(op->getOperand(0));
    result.dims = a.dims;
    result.contents = a.contents;
    return true;
  }
  return false;
}

void computeTensor(Operation *op, Lookup lookup,
                   MutableArrayRef<SymValue> results) {
  if (results.size() == 1 && computeArith(op, lookup, results[0]))
    return;
  TypeSwitch<Operation *>(op)
      .Case([&](tensor::CastOp cast) {
        results[0].dims = lookup(cast.getSource()).dims;
        results[0].contents = lookup(cast.getSource()).contents;
      })
      .Case([&](tensor::DimOp dim) {
        const SymValue &source = lookup(dim.getSource());
        std::optional<int64_t> index = dim.getConstantIndex();
        if (source.dims && index && *index >= 0 && *index < source.rank())
          results[0].contents = Dims{(*source.dims)[*index]};
      })
      .Case([&](tensor::EmptyOp empty) {
        results[0].dims = getSizes(empty.getMixedSizes(), lookup);
      })
      .Case([&](tensor::ExpandShapeOp expand) {
        results[0].dims = getSizes(expand.getMixedOutputShape(), lookup);
      })
      .Case([&](tensor::CollapseShapeOp collapse) {
        const SymValue &source = lookup(collapse.getSrc());
        if (!source.dims)
          return;
        results[0].dims.emplace();
        for (const ReassociationIndices &group :
             collapse.getReassociationIndices()) {
          DimExpr size(1);
          for (int64_t i : group)
            size = size * (*source.dims)[i];
          results[0].dims->push_back(size);
        }
      })
      .Case([&](tensor::ExtractSliceOp slice) {
        if (slice.getType().getRank() == slice.getSourceType().getRank())
          results[0].dims = getSizes(slice.getMixedSizes(), lookup);
      })
      .Case([&](tensor::InsertSliceOp insert) {
        results[0].dims = lookup(insert.getDest()).dims;
      })
      .Default([&](Operation *) {
        auto style = dyn_cast<DestinationStyleOpInterface>(op);
        if (!style)
          return;
        for (auto [result, value] : llvm::zip(results, op->getResults()))
          if (isa<RankedTensorType>(value.getType()))
            result.dims =
                lookup(style.getTiedOpOperand(cast<OpResult>(value))->get())
                    .dims;
      });
}
} // namespace

LogicalResult ffn::computeStructureShapes(
    Operation *op, Lookup lookup,
    function_ref<LogicalResult(Region &, ArrayRef<SymValue>)> runBody,
    MutableArrayRef<SymValue> results) {
  if (auto weight = dyn_cast<WeightOp>(op)) {
    results[0] = getConstantValue(op, weight.getValueAttr());
    return success();
  }
  if (auto sublayer = dyn_cast<SublayerOp>(op))
    return computeSublayer(sublayer, lookup, runBody, results);
  for (Region &region : op->getRegions())
    if (failed(runBody(region, {})))
      return failure();
  if (isa_and_present<FFNDialect>(op->getDialect())) {
    TypeSwitch<Operation *>(op)
        .Case([&](NormOp norm) {
          results[0].dims = lookup(norm.getInput()).dims;
        })
        .Case([&](LinearOp linear) {
          results[0].dims =
              withLast(lookup(linear.getInput()).dims, linear.getWeight(), 0);
        })
        .Case([&](FeedForwardOp ffn) {
          results[0].dims =
              withLast(lookup(ffn.getInput()).dims, ffn.getDown(), 0);
        })
        .Case([&](MoEOp moe) {
          results[0].dims =
              withLast(lookup(moe.getInput()).dims, moe.getDown(), 0);
        })
        .Case([&](HiddenOp hidden) {
          results[0].dims =
              withLast(lookup(hidden.getInput()).dims, hidden.getUp(), 0);
        })
        .Case([&](AttentionOp attention) {
          computeAttention(attention, lookup, results[0]);
        })
        .Case([&](EmbeddingOp embedding) {
          computeEmbedding(embedding, lookup, results[0]);
        })
        .Case([&](SkipOp skip) {
          results[0].dims = lookup(skip.getYielded()).dims;
        })
        .Case([&](RowCosineOp cosine) {
          results[0].dims = dropLast(lookup(cosine.getLhs()));
        })
        .Case([&](RowMarginOp margin) {
          results[0].dims = dropLast(lookup(margin.getInput()));
        });
    return success();
  }
  computeTensor(op, lookup, results);
  return success();
}
