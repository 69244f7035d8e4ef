//===- IndexLower.cpp - Lowering of indexing operators --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/LowerHelpers.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace mlir::ffn;

/// An index element made a position: negative ones count from the end.
static Value position(OpBuilder &b, Location loc, Value element, Value size) {
  Value index = arith::IndexCastOp::create(b, loc, b.getIndexType(), element);
  Value zero = arith::ConstantIndexOp::create(b, loc, 0);
  Value negative =
      arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, index, zero);
  Value wrapped = arith::AddIOp::create(b, loc, index, size);
  return arith::SelectOp::create(b, loc, negative, wrapped, index);
}

/// Ends the run unless every index along the last dim of `indices` is within
/// the sizes: element j of the last dim against limits[j] (or limits[0] if
/// `flat`).
static void checkAll(LowerContext &ctx, Value indices, ArrayRef<Value> limits,
                     bool flat) {
  OpBuilder &b = ctx.builder;
  Value ok = elementwise(
      ctx, indices, b.getI8Type(),
      [&](OpBuilder &b, Location loc, ValueRange args) -> Value {
        Value index =
            arith::IndexCastOp::create(b, loc, b.getIndexType(), args[0]);
        Value limit = limits[0];
        if (!flat) {
          Value at = linalg::IndexOp::create(b, loc, rankOf(indices) - 1);
          for (size_t j = 1; j < limits.size(); ++j) {
            Value is = arith::CmpIOp::create(
                b, loc, arith::CmpIPredicate::eq, at,
                arith::ConstantIndexOp::create(b, loc, j));
            limit = arith::SelectOp::create(b, loc, is, limits[j], limit);
          }
        }
        Value zero = arith::ConstantIndexOp::create(b, loc, 0);
        Value low = arith::SubIOp::create(b, loc, zero, limit);
        return arith::AndIOp::create(
            b, loc,
            arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sge, index,
                                  low),
            arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, index,
                                  limit));
      });
  SmallVector<int64_t> dims =
      llvm::to_vector(llvm::seq<int64_t>(0, rankOf(indices)));
  Value yes = arith::ConstantOp::create(b, ctx.loc, b.getI8IntegerAttr(1));
  Value all = reduce(ctx, ok, dims, false, yes, nullptr,
                     [](OpBuilder &b, Location loc, Value e, Value acc) {
                       return arith::AndIOp::create(b, loc, acc, e);
                     });
  Value flag = tensor::ExtractOp::create(b, ctx.loc, all, ValueRange{});
  ctx.check(toCondition(b, ctx.loc, flag), LowerScope::CheckKind::Index);
}

static LogicalResult lowerGather(LowerContext &ctx) {
  std::optional<int64_t> axis =
      positiveAxis(ctx.node.getInt("axis", 0), rankOf(ctx.input(0)));
  if (!axis)
    return ctx.unsupported("its axis is out of range");
  // One constant index is a slice: no copy, no check at run time.
  std::optional<SmallVector<int64_t>> constant = ctx.constantInts(1);
  Value data = refineType(ctx, ctx.input(0));
  Sizes sizes = ctx.sizes(data);
  std::optional<int64_t> extent = getConstantIntValue(sizes[*axis]);
  if (constant && constant->size() == 1 && extent) {
    int64_t index =
        (*constant)[0] < 0 ? (*constant)[0] + *extent : (*constant)[0];
    if (index < 0 || index >= *extent)
      return ctx.unsupported("its constant index is out of range");
    Sizes offsets(sizes.size(), staticSize(ctx, 0));
    Sizes strides(sizes.size(), staticSize(ctx, 1)), part = sizes;
    offsets[*axis] = staticSize(ctx, index);
    part[*axis] = staticSize(ctx, 1);
    Value slice = tensor::ExtractSliceOp::create(ctx.builder, ctx.loc, data,
                                                 offsets, part, strides);
    ctx.setSizes(slice, part);
    Sizes result(ArrayRef(sizes).take_front(*axis));
    llvm::append_range(result, ctx.sizes(ctx.input(1)));
    llvm::append_range(result, ArrayRef(sizes).drop_front(*axis + 1));
    ctx.results[0] = reshapeTo(ctx, slice, result);
    return success();
  }
  ctx.results[0] = gatherRows(ctx, data, ctx.input(1), *axis);
  return success();
}

static LogicalResult lowerGatherElements(LowerContext &ctx) {
  Value data = ctx.input(0), indices = refineType(ctx, ctx.input(1));
  std::optional<int64_t> axis =
      positiveAxis(ctx.node.getInt("axis", 0), rankOf(data));
  if (!axis || rankOf(indices) != rankOf(data))
    return ctx.unsupported("its axis or rank is not valid");
  Sizes dataSizes = ctx.sizes(data), sizes = ctx.sizes(indices);
  Value limit = sizeValue(ctx, dataSizes[*axis]);
  checkAll(ctx, indices, limit, true);
  for (int64_t i = 0; i < rankOf(data); ++i)
    if (i != *axis && sizes[i] != dataSizes[i]) {
      Value ok = arith::CmpIOp::create(
          ctx.builder, ctx.loc, arith::CmpIPredicate::sle,
          sizeValue(ctx, sizes[i]), sizeValue(ctx, dataSizes[i]));
      ctx.check(ok, LowerScope::CheckKind::Shape);
    }
  ctx.results[0] =
      generate(ctx, sizes, elementOf(data),
               [&](OpBuilder &b, Location loc, ValueRange at) -> Value {
                 Value index = tensor::ExtractOp::create(b, loc, indices, at);
                 SmallVector<Value> from(at);
                 from[*axis] = position(b, loc, index, limit);
                 return tensor::ExtractOp::create(b, loc, data, from);
               });
  return success();
}

static LogicalResult lowerGatherND(LowerContext &ctx) {
  Value data = ctx.input(0), indices = refineType(ctx, ctx.input(1));
  int64_t batch = ctx.node.getInt("batch_dims", 0);
  Sizes dataSizes = ctx.sizes(data), indexSizes = ctx.sizes(indices);
  int64_t rank = dataSizes.size(), indexRank = indexSizes.size();
  std::optional<int64_t> depth =
      indexRank ? getConstantIntValue(indexSizes.back()) : std::nullopt;
  if (!depth || *depth < 1 || batch < 0 || batch + *depth > rank ||
      batch >= indexRank)
    return ctx.unsupported("the last size of its indices is not known");
  SmallVector<Value> limits;
  for (int64_t j = 0; j < *depth; ++j)
    limits.push_back(sizeValue(ctx, dataSizes[batch + j]));
  checkAll(ctx, indices, limits, false);
  Sizes sizes(ArrayRef(indexSizes).drop_back());
  llvm::append_range(sizes, ArrayRef(dataSizes).drop_front(batch + *depth));
  ctx.results[0] =
      generate(ctx, sizes, elementOf(data),
               [&](OpBuilder &b, Location loc, ValueRange at) -> Value {
                 SmallVector<Value> from(at.take_front(batch));
                 for (int64_t j = 0; j < *depth; ++j) {
                   SmallVector<Value> where(at.take_front(indexRank - 1));
                   where.push_back(arith::ConstantIndexOp::create(b, loc, j));
                   Value index =
                       tensor::ExtractOp::create(b, loc, indices, where);
                   from.push_back(position(b, loc, index, limits[j]));
                 }
                 llvm::append_range(from, at.drop_front(indexRank - 1));
                 return tensor::ExtractOp::create(b, loc, data, from);
               });
  return success();
}

/// How a scatter combines: "none" replaces.
static Value combine(OpBuilder &b, Location loc, StringRef how, Value old,
                     Value update) {
  bool isFloat = llvm::isa<FloatType>(old.getType());
  if (how == "add")
    return isFloat ? Value(arith::AddFOp::create(b, loc, old, update))
                   : Value(arith::AddIOp::create(b, loc, old, update));
  if (how == "mul")
    return isFloat ? Value(arith::MulFOp::create(b, loc, old, update))
                   : Value(arith::MulIOp::create(b, loc, old, update));
  if (how == "max")
    return isFloat ? Value(arith::MaximumFOp::create(b, loc, old, update))
                   : Value(arith::MaxSIOp::create(b, loc, old, update));
  if (how == "min")
    return isFloat ? Value(arith::MinimumFOp::create(b, loc, old, update))
                   : Value(arith::MinSIOp::create(b, loc, old, update));
  return update;
}

/// A serial nest over `sizes` that carries one tensor: updates happen in the
/// order of the indices, so equal targets give the same result on every run.
static Value serialNest(
    LowerContext &ctx, ArrayRef<OpFoldResult> sizes, Value init,
    llvm::function_ref<Value(OpBuilder &, Location, ValueRange, Value)> body) {
  Value zero = constantIndex(ctx, 0), one = constantIndex(ctx, 1);
  SmallVector<Value> lower(sizes.size(), zero), step(sizes.size(), one), upper;
  for (OpFoldResult size : sizes)
    upper.push_back(sizeValue(ctx, size));
  if (sizes.empty())
    return body(ctx.builder, ctx.loc, {}, init);
  scf::LoopNest nest = scf::buildLoopNest(
      ctx.builder, ctx.loc, lower, upper, step, ValueRange{init},
      [&](OpBuilder &b, Location loc, ValueRange at, ValueRange carried) {
        return scf::ValueVector{body(b, loc, at, carried[0])};
      });
  Value result = nest.results[0];
  ctx.setSizes(result, ctx.sizes(init));
  return result;
}

static LogicalResult lowerScatterElements(LowerContext &ctx) {
  Value data = ctx.input(0), indices = ctx.input(1), updates = ctx.input(2);
  std::optional<int64_t> axis =
      positiveAxis(ctx.node.getInt("axis", 0), rankOf(data));
  if (!axis || rankOf(indices) != rankOf(data) ||
      rankOf(updates) != rankOf(data))
    return ctx.unsupported("its axis or ranks are not valid");
  StringRef how = ctx.node.getString("reduction", "none");
  Sizes dataSizes = ctx.sizes(data), sizes = ctx.sizes(indices),
        updateSizes = ctx.sizes(updates);
  Value limit = sizeValue(ctx, dataSizes[*axis]);
  checkAll(ctx, refineType(ctx, indices), limit, true);
  for (auto [i, size] : llvm::enumerate(sizes)) {
    auto within = [&](OpFoldResult bound) {
      if (bound != size)
        ctx.check(arith::CmpIOp::create(
                      ctx.builder, ctx.loc, arith::CmpIPredicate::sle,
                      sizeValue(ctx, size), sizeValue(ctx, bound)),
                  LowerScope::CheckKind::Shape);
    };
    within(updateSizes[i]);
    if (static_cast<int64_t>(i) != *axis)
      within(dataSizes[i]);
  }
  ctx.results[0] = serialNest(
      ctx, sizes, data,
      [&](OpBuilder &b, Location loc, ValueRange at, Value acc) -> Value {
        Value index = tensor::ExtractOp::create(b, loc, indices, at);
        SmallVector<Value> to(at);
        to[*axis] = position(b, loc, index, limit);
        Value update = tensor::ExtractOp::create(b, loc, updates, at);
        if (how != "none")
          update = combine(b, loc, how,
                           tensor::ExtractOp::create(b, loc, acc, to), update);
        return tensor::InsertOp::create(b, loc, update, acc, to);
      });
  return success();
}

static LogicalResult lowerScatterND(LowerContext &ctx) {
  Value data = ctx.input(0), indices = refineType(ctx, ctx.input(1)),
        updates = ctx.input(2);
  StringRef how = ctx.node.getString("reduction", "none");
  Sizes dataSizes = ctx.sizes(data), indexSizes = ctx.sizes(indices),
        sizes = ctx.sizes(updates);
  int64_t rank = dataSizes.size(), indexRank = indexSizes.size();
  std::optional<int64_t> depth =
      indexRank ? getConstantIntValue(indexSizes.back()) : std::nullopt;
  if (!depth || *depth < 1 || *depth > rank ||
      static_cast<int64_t>(sizes.size()) != indexRank - 1 + rank - *depth)
    return ctx.unsupported("the last size of its indices is not known");
  SmallVector<Value> limits;
  for (int64_t j = 0; j < *depth; ++j)
    limits.push_back(sizeValue(ctx, dataSizes[j]));
  checkAll(ctx, indices, limits, false);
  for (auto [i, size] : llvm::enumerate(sizes)) {
    OpFoldResult bound = static_cast<int64_t>(i) < indexRank - 1
                             ? indexSizes[i]
                             : dataSizes[i - (indexRank - 1) + *depth];
    if (bound != size)
      ctx.check(
          arith::CmpIOp::create(ctx.builder, ctx.loc, arith::CmpIPredicate::eq,
                                sizeValue(ctx, size), sizeValue(ctx, bound)),
          LowerScope::CheckKind::Shape);
  }
  ctx.results[0] = serialNest(
      ctx, sizes, data,
      [&](OpBuilder &b, Location loc, ValueRange at, Value acc) -> Value {
        SmallVector<Value> to;
        for (int64_t j = 0; j < *depth; ++j) {
          SmallVector<Value> where(at.take_front(indexRank - 1));
          where.push_back(arith::ConstantIndexOp::create(b, loc, j));
          Value index = tensor::ExtractOp::create(b, loc, indices, where);
          to.push_back(position(b, loc, index, limits[j]));
        }
        llvm::append_range(to, at.drop_front(indexRank - 1));
        Value update = tensor::ExtractOp::create(b, loc, updates, at);
        if (how != "none")
          update = combine(b, loc, how,
                           tensor::ExtractOp::create(b, loc, acc, to), update);
        return tensor::InsertOp::create(b, loc, update, acc, to);
      });
  return success();
}

static LogicalResult lowerCumSum(LowerContext &ctx) {
  Value x = refineType(ctx, ctx.input(0));
  std::optional<SmallVector<int64_t>> given = ctx.constantInts(1);
  std::optional<int64_t> axis = given && given->size() == 1
                                    ? positiveAxis((*given)[0], rankOf(x))
                                    : std::nullopt;
  if (!axis)
    return ctx.unsupported("its axis is not constant");
  bool exclusive = ctx.node.getInt("exclusive", 0) != 0;
  bool reverse = ctx.node.getInt("reverse", 0) != 0;
  Sizes sizes = ctx.sizes(x);
  Type type = elementOf(x);
  Value n = sizeValue(ctx, sizes[*axis]);
  Value init = emptyTensor(ctx, sizes, type);
  Value zero = constantIndex(ctx, 0);
  // The running sum of a line is its previous result.
  ctx.results[0] = serialNest(
      ctx, sizes, init,
      [&](OpBuilder &b, Location loc, ValueRange at, Value acc) -> Value {
        Value one = arith::ConstantIndexOp::create(b, loc, 1);
        SmallVector<Value> here(at), before(at);
        Value i = at[*axis];
        auto mirrored = [&](Value k) -> Value {
          if (!reverse)
            return k;
          Value last = arith::SubIOp::create(b, loc, n, one);
          return arith::SubIOp::create(b, loc, last, k);
        };
        Value previous = arith::SubIOp::create(b, loc, i, one);
        here[*axis] = mirrored(i);
        before[*axis] = mirrored(previous);
        Value isFirst =
            arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, i, zero);
        auto sum = scf::IfOp::create(
            b, loc, isFirst,
            [&](OpBuilder &b, Location loc) {
              Value v = exclusive
                            ? zeroOf(b, loc, type)
                            : Value(tensor::ExtractOp::create(b, loc, x, here));
              scf::YieldOp::create(b, loc, v);
            },
            [&](OpBuilder &b, Location loc) {
              Value old = tensor::ExtractOp::create(b, loc, acc, before);
              Value e = tensor::ExtractOp::create(b, loc, x,
                                                  exclusive ? before : here);
              scf::YieldOp::create(b, loc, combine(b, loc, "add", old, e));
            });
        return tensor::InsertOp::create(b, loc, sum.getResult(0), acc, here);
      });
  return success();
}

/// ArgMax and ArgMin: the value and the index are reduced together.
static LogicalResult lowerArg(LowerContext &ctx) {
  Value x = refineType(ctx, ctx.input(0));
  OpBuilder &b = ctx.builder;
  std::optional<int64_t> axis =
      positiveAxis(ctx.node.getInt("axis", 0), rankOf(x));
  if (!axis)
    return ctx.unsupported("its axis is out of range");
  bool keep = ctx.node.getInt("keepdims", 1) != 0;
  bool last = ctx.node.getInt("select_last_index", 0) != 0;
  bool isMax = ctx.node.getOp() == "ArgMax";
  bool isUnsigned = ctx.isUnsigned(0);
  Type type = elementOf(x), i64 = b.getI64Type();
  Sizes sizes = ctx.sizes(x), lines = sizes;
  lines[*axis] = staticSize(ctx, 1);
  Value n = sizeValue(ctx, sizes[*axis]);
  Value one = constantIndex(ctx, 1);
  Value result = generate(
      ctx, lines, i64, [&](OpBuilder &b, Location loc, ValueRange at) -> Value {
        SmallVector<Value> from(at);
        from[*axis] = arith::ConstantIndexOp::create(b, loc, 0);
        Value zero = from[*axis];
        Value first = tensor::ExtractOp::create(b, loc, x, from);
        auto loop = scf::ForOp::create(
            b, loc, one, n, one, ValueRange{first, zero},
            [&](OpBuilder &b, Location loc, Value i, ValueRange carried) {
              from[*axis] = i;
              Value v = tensor::ExtractOp::create(b, loc, x, from);
              Value better;
              if (llvm::isa<FloatType>(type)) {
                // The first NaN wins, as in numpy.
                auto p = isMax ? (last ? arith::CmpFPredicate::UGE
                                       : arith::CmpFPredicate::UGT)
                               : (last ? arith::CmpFPredicate::ULE
                                       : arith::CmpFPredicate::ULT);
                Value beats = arith::CmpFOp::create(b, loc, p, v, carried[0]);
                Value holds = arith::CmpFOp::create(
                    b, loc, arith::CmpFPredicate::ORD, carried[0], carried[0]);
                better = arith::AndIOp::create(b, loc, beats, holds);
              } else {
                using P = arith::CmpIPredicate;
                P p = isMax ? (isUnsigned ? (last ? P::uge : P::ugt)
                                          : (last ? P::sge : P::sgt))
                            : (isUnsigned ? (last ? P::ule : P::ult)
                                          : (last ? P::sle : P::slt));
                better = arith::CmpIOp::create(b, loc, p, v, carried[0]);
              }
              Value bestValue =
                  arith::SelectOp::create(b, loc, better, v, carried[0]);
              Value bestIndex =
                  arith::SelectOp::create(b, loc, better, i, carried[1]);
              scf::YieldOp::create(b, loc, ValueRange{bestValue, bestIndex});
            });
        return arith::IndexCastOp::create(b, loc, i64, loop.getResult(1));
      });
  if (!keep) {
    Sizes squeezed = lines;
    squeezed.erase(squeezed.begin() + *axis);
    result = reshapeTo(ctx, result, squeezed);
  }
  // An empty axis has no largest element.
  Value some =
      arith::CmpIOp::create(b, ctx.loc, arith::CmpIPredicate::sge, n, one);
  if (!getConstantIntValue(sizes[*axis]))
    ctx.check(some, LowerScope::CheckKind::Shape);
  ctx.results[0] = result;
  return success();
}

/// Floating-point indices are truncated towards zero.
static Value integral(LowerContext &ctx, Value tensor) {
  if (!llvm::isa<FloatType>(elementOf(tensor)))
    return tensor;
  Type i64 = ctx.builder.getI64Type();
  return elementwise(ctx, tensor, i64,
                     [&](OpBuilder &b, Location loc, ValueRange a) {
                       return castElement(b, loc, a[0], i64, false, false);
                     });
}

static LogicalResult lowerOneHot(LowerContext &ctx) {
  Value indices = ctx.input(0);
  OpBuilder &b = ctx.builder;
  std::optional<Sizes> depth;
  if (llvm::isa<IntegerType>(elementOf(ctx.input(1)))) {
    depth = ctx.intList(1);
  } else if (auto constant = ctx.constantFloats(1)) {
    if (constant->size() == 1 && constant->front() >= 0 &&
        constant->front() < 1e15)
      depth = Sizes{staticSize(ctx, static_cast<int64_t>(constant->front()))};
  }
  indices = integral(ctx, indices);
  Sizes from = ctx.sizes(indices);
  int64_t rank = from.size() + 1;
  std::optional<int64_t> axis = positiveAxis(ctx.node.getInt("axis", -1), rank);
  if (!axis)
    return ctx.unsupported("its axis is out of range");
  if (!depth) {
    Value scalar = reshapeTo(ctx, integral(ctx, ctx.input(1)), {});
    Value value = tensor::ExtractOp::create(b, ctx.loc, scalar, ValueRange{});
    value = arith::IndexCastOp::create(b, ctx.loc, b.getIndexType(), value);
    Value zero = constantIndex(ctx, 0);
    ctx.check(arith::CmpIOp::create(b, ctx.loc, arith::CmpIPredicate::sge,
                                    value, zero),
              LowerScope::CheckKind::Shape);
    depth =
        Sizes{OpFoldResult(arith::MaxSIOp::create(b, ctx.loc, value, zero))};
  }
  if (depth->size() != 1)
    return ctx.unsupported("its depth is no scalar");
  Type element = elementOf(ctx.input(2));
  auto valueAt = [&](int64_t i) -> Value {
    return tensor::ExtractOp::create(b, ctx.loc, ctx.input(2),
                                     ValueRange{constantIndex(ctx, i)});
  };
  Value off = valueAt(0), on = valueAt(1);
  Sizes sizes = from;
  sizes.insert(sizes.begin() + *axis, (*depth)[0]);
  Value limit = sizeValue(ctx, (*depth)[0]);
  ctx.results[0] = generate(
      ctx, sizes, element,
      [&](OpBuilder &b, Location loc, ValueRange at) -> Value {
        SmallVector<Value> where(at);
        where.erase(where.begin() + *axis);
        Value index = tensor::ExtractOp::create(b, loc, indices, where);
        Value hit =
            arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq,
                                  position(b, loc, index, limit), at[*axis]);
        return arith::SelectOp::create(b, loc, hit, on, off);
      });
  return success();
}

FFN_REGISTER_OPS(IndexLower) {
  auto add = [&](StringRef name, LowerFn fn) {
    table.addLower("", name, 1, fn);
  };
  add("Gather", lowerGather);
  add("GatherElements", lowerGatherElements);
  add("GatherND", lowerGatherND);
  add("ScatterElements", lowerScatterElements);
  add("Scatter", lowerScatterElements);
  add("ScatterND", lowerScatterND);
  add("CumSum", lowerCumSum);
  add("ArgMax", lowerArg);
  add("ArgMin", lowerArg);
  add("OneHot", lowerOneHot);
}
