//===- GeneratorsLower.cpp - Lowering of operators that make tensors ------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Ops/LowerHelpers.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace mlir::ffn;

static Value indexToInt(OpBuilder &b, Location loc, Value index, Type type) {
  return arith::IndexCastOp::create(b, loc, type, index);
}

/// Elements of a tensor attribute in lowered form; null where too large.
static Value attributeTensor(LowerContext &ctx, Attribute attr) {
  OpBuilder &b = ctx.builder;
  if (auto typed = llvm::dyn_cast<TypedAttr>(attr)) {
    RankedTensorType from = llvm::dyn_cast<RankedTensorType>(typed.getType());
    Type element = ctx.resultElementType(0);
    if (!from || !element)
      return {};
    SmallVector<char> bytes;
    FailureOr<uint64_t> size = getPackedByteSize(from);
    if (failed(size) || *size > kInlineWeightLimit ||
        failed(readWeightBytes(ctx.node, typed, bytes)))
      return {};
    auto type = RankedTensorType::get(from.getShape(), element);
    bool splat = false;
    if (!DenseElementsAttr::isValidRawBuffer(type, bytes, splat))
      return {};
    return arith::ConstantOp::create(
        b, ctx.loc, DenseElementsAttr::getFromRawBuffer(type, bytes));
  }
  return {};
}

static LogicalResult lowerConstant(LowerContext &ctx) {
  OpBuilder &b = ctx.builder;
  Type element = ctx.resultElementType(0);
  if (!element)
    return ctx.unsupported("its type has no native form");
  if (Attribute value = ctx.node.getNodeAttr("value")) {
    ctx.results[0] = attributeTensor(ctx, value);
    if (!ctx.results[0])
      return ctx.unsupported("its value is too large to be part of the code");
    return success();
  }
  if (Attribute value = ctx.node.getNodeAttr("value_int")) {
    (void)value;
    ctx.results[0] =
        constantTensor(ctx, {ctx.node.getInt("value_int", 0)}, element, {});
    return success();
  }
  if (std::optional<ArrayRef<int64_t>> values =
          ctx.node.getInts("value_ints")) {
    ctx.results[0] = constantTensor(ctx, *values, element,
                                    {static_cast<int64_t>(values->size())});
    return success();
  }
  if (ctx.node.getNodeAttr("value_float")) {
    auto type = RankedTensorType::get({}, element);
    ctx.results[0] = arith::ConstantOp::create(
        b, ctx.loc,
        DenseElementsAttr::get(type, ctx.node.getFloat("value_float", 0)));
    return success();
  }
  if (auto values = llvm::dyn_cast_if_present<DenseF32ArrayAttr>(
          ctx.node.getNodeAttr("value_floats"))) {
    auto type = RankedTensorType::get({values.size()}, element);
    ctx.results[0] = arith::ConstantOp::create(
        b, ctx.loc, DenseElementsAttr::get(type, values.asArrayRef()));
    return success();
  }
  return ctx.unsupported("its value is not a number");
}

static LogicalResult lowerConstantOfShape(LowerContext &ctx) {
  std::optional<Sizes> sizes = ctx.outputSizes(0);
  if (!sizes)
    sizes = ctx.intList(0);
  Type element = ctx.resultElementType(0);
  if (!sizes || !element)
    return ctx.unsupported("the rank of its result is not known");
  OpBuilder &b = ctx.builder;
  Value fill = zeroOf(b, ctx.loc, element);
  if (Attribute value = ctx.node.getNodeAttr("value")) {
    Value tensor = attributeTensor(ctx, value);
    if (!tensor || tensorType(tensor).getNumElements() != 1)
      return ctx.unsupported("its value is not one element");
    tensor = reshapeTo(ctx, tensor, {});
    fill = tensor::ExtractOp::create(b, ctx.loc, tensor, ValueRange{});
  }
  ctx.results[0] = filledTensor(ctx, *sizes, fill);
  return success();
}

static LogicalResult lowerRange(LowerContext &ctx) {
  OpBuilder &b = ctx.builder;
  Type type = elementOf(ctx.input(0));
  SmallVector<Value> scalars;
  for (unsigned i = 0; i < 3; ++i) {
    Value scalar = reshapeTo(ctx, ctx.input(i), {});
    scalars.push_back(
        tensor::ExtractOp::create(b, ctx.loc, scalar, ValueRange{}));
  }
  OpFoldResult size;
  if (std::optional<Sizes> known = ctx.outputSizes(0)) {
    size = (*known)[0];
  } else if (llvm::isa<IntegerType>(type)) {
    // ceil((limit - start) / delta), at least 0; delta 0 ends the run.
    auto wide = [&](Value v) -> Value {
      v = castElement(b, ctx.loc, v, b.getI64Type(), false, false);
      return arith::IndexCastOp::create(b, ctx.loc, b.getIndexType(), v);
    };
    Value start = wide(scalars[0]), limit = wide(scalars[1]),
          delta = wide(scalars[2]);
    Value zero = constantIndex(ctx, 0), one = constantIndex(ctx, 1);
    Value valid = arith::CmpIOp::create(b, ctx.loc, arith::CmpIPredicate::ne,
                                        delta, zero);
    ctx.check(valid, LowerScope::CheckKind::Shape);
    delta = arith::SelectOp::create(b, ctx.loc, valid, delta, one);
    Value length = arith::CeilDivSIOp::create(
        b, ctx.loc, arith::SubIOp::create(b, ctx.loc, limit, start), delta);
    size = arith::MaxSIOp::create(b, ctx.loc, length, zero).getResult();
  } else {
    return ctx.unsupported("a range of floats of unknown length");
  }
  ctx.results[0] = generate(
      ctx, {size}, type,
      [&](OpBuilder &b, Location loc, ValueRange at) -> Value {
        Value i = indexToInt(b, loc, at[0], b.getI64Type());
        Value k = castElement(b, loc, i, type, false, false);
        if (llvm::isa<FloatType>(type))
          return arith::AddFOp::create(
              b, loc, scalars[0], arith::MulFOp::create(b, loc, k, scalars[2]));
        return arith::AddIOp::create(
            b, loc, scalars[0], arith::MulIOp::create(b, loc, k, scalars[2]));
      });
  return success();
}

static LogicalResult lowerTrilu(LowerContext &ctx) {
  Value input = ctx.input(0);
  bool upper = ctx.node.getInt("upper", 1) != 0;
  OpBuilder &b = ctx.builder;
  Value shift = constantIndex(ctx, 0);
  if (ctx.input(1)) {
    std::optional<Sizes> k = ctx.intList(1);
    if (!k || k->size() != 1)
      return ctx.unsupported("its diagonal is not a scalar");
    // Beyond the largest size it says all or nothing, and must not wrap.
    constexpr int64_t most = int64_t(1) << 40;
    shift = arith::MinSIOp::create(b, ctx.loc, sizeValue(ctx, (*k)[0]),
                                   constantIndex(ctx, most));
    shift =
        arith::MaxSIOp::create(b, ctx.loc, shift, constantIndex(ctx, -most));
  }
  int64_t rank = rankOf(input);
  if (rank < 2)
    return ctx.unsupported("its input has less than two dims");
  ctx.results[0] = elementwise(
      ctx, input, elementOf(input),
      [&](OpBuilder &b, Location loc, ValueRange args) -> Value {
        Value row = linalg::IndexOp::create(b, loc, rank - 2);
        Value column = linalg::IndexOp::create(b, loc, rank - 1);
        Value edge = arith::AddIOp::create(b, loc, row, shift);
        Value keep = arith::CmpIOp::create(b, loc,
                                           upper ? arith::CmpIPredicate::sge
                                                 : arith::CmpIPredicate::sle,
                                           column, edge);
        // Bool bodies compute on stored bytes.
        return arith::SelectOp::create(b, loc, keep, args[0],
                                       zeroOf(b, loc, args[0].getType()));
      });
  (void)b;
  return success();
}

static LogicalResult lowerEyeLike(LowerContext &ctx) {
  Sizes sizes = ctx.sizes(ctx.input(0));
  Type element = ctx.resultElementType(0);
  int64_t k = ctx.node.getInt("k", 0);
  if (!element || sizes.size() != 2)
    return ctx.unsupported("its input is not a matrix");
  ctx.results[0] =
      generate(ctx, sizes, element,
               [&](OpBuilder &b, Location loc, ValueRange at) -> Value {
                 Value shift = arith::ConstantIndexOp::create(b, loc, k);
                 Value edge = arith::AddIOp::create(b, loc, at[0], shift);
                 Value on = arith::CmpIOp::create(
                     b, loc, arith::CmpIPredicate::eq, at[1], edge);
                 return arith::SelectOp::create(b, loc, on,
                                                constantOf(b, loc, element, 1),
                                                zeroOf(b, loc, element));
               });
  return success();
}

FFN_REGISTER_OPS(GeneratorsLower) {
  auto add = [&](StringRef name, LowerFn fn) {
    table.addLower("", name, 1, fn);
  };
  add("Constant", lowerConstant);
  add("ConstantOfShape", lowerConstantOfShape);
  add("Range", lowerRange);
  add("Trilu", lowerTrilu);
  add("EyeLike", lowerEyeLike);
}
