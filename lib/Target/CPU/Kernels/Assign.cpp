//===- Assign.cpp - Operations of the ffn dialect to kernel calls ---------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "AssignDetail.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNProbes.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

/// Levels of expressions that are looked through.
static constexpr unsigned kMaxDepth = 64;

/// Whether the packer can evaluate the value: weights and nothing else.
static bool isConstantWeight(Value value, unsigned depth = 0) {
  Operation *op = value.getDefiningOp();
  if (!op || depth > kMaxDepth)
    return false;
  if (llvm::isa<WeightOp>(op))
    return true;
  auto expression = llvm::dyn_cast<WeightExprInterface>(op);
  return expression &&
         llvm::all_of(expression.getWeightSources(), [&](Value source) {
           return isConstantWeight(source, depth + 1);
         });
}

static bool isFloatWeight(Type type) {
  return type.isF16() || type.isBF16() || type.isF32() || type.isF64();
}

/// Type of the codes to keep for a weight that the kernels dequantize, i8 or
/// i4; null for any other weight.
static Type getPackedCodes(Value weight) {
  auto op = weight.getDefiningOp<DequantizeOp>();
  if (!op || !getElementTypeOrSelf(op.getType()).isF32())
    return {};
  int64_t bits = op.getBits() <= 4 ? 4 : 8,
          k = llvm::cast<RankedTensorType>(op.getType()).getDimSize(1);
  if (!GemmAttr::canServeGroup(k, bits, op.getGroup()))
    return {};
  return IntegerType::get(weight.getContext(), bits);
}

/// Whether `ffn-quantize` allows products with the weight to round the rows of
/// their input to 8 bits.
static bool mayRoundInput(DequantizeOp weight) {
  auto bits = weight->getAttrOfType<IntegerAttr>(kInputBitsAttr);
  return bits && bits.getType().isInteger(64) && bits.getInt() == 8;
}

/// Type to keep the weight in: the narrow one that it is stored in where the
/// expression only widens it (the kernel widens in registers), else f32.
static Type getPackedElement(Value weight) {
  for (unsigned depth = 0; depth < kMaxDepth; ++depth) {
    Type element = getElementTypeOrSelf(weight.getType());
    if (element.isF16() || element.isBF16())
      return element;
    if (auto transpose = weight.getDefiningOp<TransposeOp>())
      weight = transpose.getSource();
    else if (auto cast = weight.getDefiningOp<CastOp>())
      weight = cast.getSource();
    else
      break;
  }
  return Float32Type::get(weight.getContext());
}

static bool isF32Tensor(Type type) {
  auto ranked = llvm::dyn_cast<RankedTensorType>(type);
  return ranked && ranked.getRank() >= 1 && ranked.getElementType().isF32();
}

Value cpu::zeroVector(OpBuilder &builder, Location loc, int64_t size) {
  auto type = RankedTensorType::get({size}, builder.getF32Type());
  return WeightOp::create(
      builder, loc, type,
      DenseElementsAttr::get(type, builder.getF32FloatAttr(0.0)));
}

Storage cpu::findStorage(ArrayRef<Value> weights) {
  Storage storage;
  auto first = weights[0].getDefiningOp<DequantizeOp>();
  if (Type element = getPackedCodes(weights[0]);
      element && llvm::all_of(weights, [&](Value weight) {
        return getPackedCodes(weight) == element &&
               weight.getDefiningOp<DequantizeOp>().getGroup() ==
                   first.getGroup();
      })) {
    auto type = llvm::cast<RankedTensorType>(first.getType());
    storage.element = element;
    storage.group = first.getGroup();
    storage.int8Rows =
        type.getDimSize(1) <= GemmAttr::kMaxInt8Depth &&
        llvm::all_of(weights, [](Value weight) {
          return mayRoundInput(weight.getDefiningOp<DequantizeOp>());
        });
    return storage;
  }
  storage.element = getPackedElement(weights[0]);
  for (Value weight : weights)
    if (getPackedElement(weight) != storage.element)
      storage.element = Float32Type::get(weight.getContext());
  return storage;
}

/// The rows as an integer product of the key reads them. Calls for equal rows
/// are equal, and one of them stays.
static Value buildQuantize(Rows &rows, GemmAttr key, Value x) {
  QuantizeAttr quantize = key.getQuantize();
  auto type = RankedTensorType::get(
      {llvm::cast<RankedTensorType>(x.getType()).getDimSize(0),
       quantize.getWords()},
      rows.builder.getI32Type());
  SmallVector<Value> dynamic;
  if (type.isDynamicDim(0))
    dynamic.push_back(tensor::DimOp::create(rows.builder, rows.loc, x, 0));
  Value out = tensor::EmptyOp::create(rows.builder, rows.loc, type, dynamic);
  return KernelCallOp::create(rows.builder, rows.loc, type, quantize, x, out)
      .getResult(0);
}

Value cpu::buildGemm(Rows &rows, Level level, Value x,
                     const Projection &projection, Value residual) {
  OpBuilder &builder = rows.builder;
  auto weightType =
      llvm::cast<RankedTensorType>(projection.weights[0].getType());
  int64_t n = weightType.getDimSize(0), k = weightType.getDimSize(1);
  Storage storage = findStorage(projection.weights);
  bool gated = projection.weights.size() == 2;
  int64_t stride = k;
  if (storage.int8Rows)
    stride = QuantizeAttr::get(builder.getContext(), level, k, storage.group)
                 .getWords();
  auto key =
      GemmAttr::get(builder.getContext(), level, n, k, stride, storage.element,
                    projection.activation, gated, static_cast<bool>(residual),
                    storage.group, storage.int8Rows);
  if (storage.int8Rows)
    x = buildQuantize(rows, key, x);
  PanelsAttr panels = key.getPanels();
  Value packed = PackOp::create(
      builder, rows.loc,
      MemRefType::get({panels.getTotalBytes()}, builder.getI8Type()), panels,
      projection.weights, projection.biases);
  SmallVector<Value> inputs{x, packed};
  if (residual)
    inputs.push_back(residual);
  Value out = rows.empty(n);
  return KernelCallOp::create(builder, rows.loc, out.getType(), key, inputs,
                              out)
      .getResult(0);
}

bool cpu::canServe(Value x, ArrayRef<Value> weights) {
  auto type = llvm::dyn_cast<RankedTensorType>(x.getType());
  if (!isF32Tensor(x.getType()) || !type)
    return false;
  constexpr int64_t maxDim = int64_t(1) << 28;
  return llvm::all_of(weights, [&](Value weight) {
    auto weightType = llvm::cast<RankedTensorType>(weight.getType());
    return isFloatWeight(weightType.getElementType()) &&
           weightType.getNumElements() > 0 &&
           llvm::all_of(weightType.getShape(),
                        [&](int64_t dim) { return dim <= maxDim; }) &&
           isConstantWeight(weight);
  });
}

Value cpu::withWidth(OpBuilder &builder, Location loc, Value x, int64_t width) {
  auto type = llvm::cast<RankedTensorType>(x.getType());
  if (!type.isDynamicDim(type.getRank() - 1))
    return x;
  SmallVector<int64_t> shape(type.getShape());
  shape.back() = width;
  return tensor::CastOp::create(builder, loc, type.clone(shape), x);
}

Value cpu::castTo(OpBuilder &builder, Location loc, Value value, Type type) {
  if (value.getType() == type)
    return value;
  return tensor::CastOp::create(builder, loc, type, value);
}

//===----------------------------------------------------------------------===//
// Patterns
//===----------------------------------------------------------------------===//

namespace {
template <typename Op> struct AssignPattern : OpRewritePattern<Op> {
  Level level;
  AssignPattern(MLIRContext *ctx, Level level)
      : OpRewritePattern<Op>(ctx), level(level) {}
};

/// The last product of an op that ends in one, with a residual if given; null
/// where the kernels do not serve the op.
Value assignLinear(OpBuilder &builder, LinearOp op, Level level,
                   Value residual) {
  SmallVector<Value> weights{op.getWeight()}, all = weights;
  if (op.getBias())
    all.push_back(op.getBias());
  if (!canServe(op.getInput(), all) || !isF32Tensor(op.getType()))
    return {};
  auto weightType = llvm::cast<RankedTensorType>(op.getWeight().getType());
  Value x =
      withWidth(builder, op.getLoc(), op.getInput(), weightType.getDimSize(1));
  Rows rows(builder, op.getLoc(), x);
  Projection projection{weights, {}};
  if (op.getBias())
    projection.biases.push_back(op.getBias());
  if (residual)
    residual = Rows(builder, op.getLoc(), residual).matrix;
  return rows.restore(
      buildGemm(rows, level, rows.matrix, projection, residual));
}

/// The rows of the hidden layer that `rows` gives, as a matrix.
template <typename Op> Value buildHidden(Rows &rows, Op op, Level level) {
  Projection up;
  up.activation = op.getActivation();
  if (op.isGated()) {
    up.weights = {op.getGate(), op.getUp()};
    if (op.getGateBias() || op.getUpBias()) {
      for (Value bias : {op.getGateBias(), op.getUpBias()})
        up.biases.push_back(
            bias ? bias
                 : zeroVector(rows.builder, rows.loc, op.getHiddenWidth()));
    }
  } else {
    up.weights = {op.getUp()};
    if (op.getUpBias())
      up.biases = {op.getUpBias()};
  }
  return buildGemm(rows, level, rows.matrix, up, Value());
}

Value assignFeedForward(OpBuilder &builder, FeedForwardOp op, Level level,
                        Value residual) {
  if (!canServe(op.getInput(), op.getWeightOperands()) ||
      !isF32Tensor(op.getType()))
    return {};
  Location loc = op.getLoc();
  Value x = withWidth(builder, loc, op.getInput(), op.getInputWidth());
  Rows rows(builder, loc, x);
  Projection down;
  down.weights = {op.getDown()};
  if (op.getDownBias())
    down.biases = {op.getDownBias()};
  if (residual)
    residual = Rows(builder, loc, residual).matrix;
  Value hidden = buildHidden(rows, op, level);
  return rows.restore(buildGemm(rows, level, hidden, down, residual));
}

/// Whether each addend is a product that only the yield uses. All or nothing:
/// sums in between would need an operation of their own.
bool canInline(SublayerOp op) {
  Type type = op.getResidual().getType();
  if (op.getHidden().getType() != type ||
      op.getBodyArgument().getType() != type || !isF32Tensor(type))
    return false;
  return llvm::all_of(op.getYieldedAddends(), [&](Value addend) {
    Operation *producer = addend.getDefiningOp();
    if (!llvm::isa_and_nonnull<LinearOp, FeedForwardOp, MoEOp>(producer) ||
        producer->getParentOp() != op || !addend.hasOneUse() ||
        addend.getType() != type)
      return false;
    if (auto moe = llvm::dyn_cast<MoEOp>(producer))
      return canServeExperts(moe);
    auto compute = llvm::cast<ComputeOpInterface>(producer);
    return canServe(producer->getOperand(0), compute.getWeightOperands());
  });
}

/// Whether the product waits for its sublayer, which gives it the residual.
bool isPendingAddend(Operation *op) {
  auto sublayer = llvm::dyn_cast<SublayerOp>(op->getParentOp());
  return sublayer &&
         llvm::is_contained(sublayer.getYieldedAddends(), op->getResult(0)) &&
         canInline(sublayer);
}

struct LinearPattern : AssignPattern<LinearOp> {
  using AssignPattern::AssignPattern;
  LogicalResult matchAndRewrite(LinearOp op,
                                PatternRewriter &rewriter) const override {
    if (isPendingAddend(op))
      return failure();
    Value value = assignLinear(rewriter, op, level, Value());
    if (!value)
      return rewriter.notifyMatchFailure(op, "types or runtime weights");
    rewriter.replaceOp(op, castTo(rewriter, op.getLoc(), value, op.getType()));
    return success();
  }
};

struct FeedForwardPattern : AssignPattern<FeedForwardOp> {
  using AssignPattern::AssignPattern;
  LogicalResult matchAndRewrite(FeedForwardOp op,
                                PatternRewriter &rewriter) const override {
    if (isPendingAddend(op))
      return failure();
    Value value = assignFeedForward(rewriter, op, level, Value());
    if (!value)
      return rewriter.notifyMatchFailure(op, "types or runtime weights");
    rewriter.replaceOp(op, castTo(rewriter, op.getLoc(), value, op.getType()));
    return success();
  }
};

struct MoEPattern : AssignPattern<MoEOp> {
  using AssignPattern::AssignPattern;
  LogicalResult matchAndRewrite(MoEOp op,
                                PatternRewriter &rewriter) const override {
    if (isPendingAddend(op))
      return failure();
    if (!canServeExperts(op))
      return rewriter.notifyMatchFailure(op, "types or runtime weights");
    Value value = assignExperts(rewriter, op, level, Value());
    rewriter.replaceOp(op, castTo(rewriter, op.getLoc(), value, op.getType()));
    return success();
  }
};

struct HiddenPattern : AssignPattern<HiddenOp> {
  using AssignPattern::AssignPattern;
  LogicalResult matchAndRewrite(HiddenOp op,
                                PatternRewriter &rewriter) const override {
    if (!canServe(op.getInput(), op.getWeightOperands()) ||
        !isF32Tensor(op.getType()))
      return rewriter.notifyMatchFailure(op, "types or runtime weights");
    Location loc = op.getLoc();
    Rows rows(rewriter, loc,
              withWidth(rewriter, loc, op.getInput(), op.getInputWidth()));
    Value value = rows.restore(buildHidden(rows, op, level));
    rewriter.replaceOp(op, castTo(rewriter, loc, value, op.getType()));
    return success();
  }
};

/// An addend that is a product gets the sum so far as its residual, which
/// makes it the hidden state itself: hidden = (residual + a0) + a1 ...
struct SublayerPattern : AssignPattern<SublayerOp> {
  using AssignPattern::AssignPattern;

  LogicalResult matchAndRewrite(SublayerOp op,
                                PatternRewriter &rewriter) const override {
    SmallVector<Value> addends(op.getYieldedAddends());
    if (!canInline(op))
      return rewriter.notifyMatchFailure(op, "addends are not products");
    SmallVector<Value> results{op.getResidual()};
    results.append(op.getYieldedExtras().begin(), op.getYieldedExtras().end());
    Operation *yield = op.getBody().front().getTerminator();
    rewriter.inlineBlockBefore(&op.getBody().front(), op, op.getResidual());
    // The block argument was possibly yielded as an extra.
    for (auto [i, extra] :
         llvm::enumerate(yield->getOperands().drop_front(addends.size())))
      results[1 + i] = extra;
    rewriter.setInsertionPoint(op);
    for (Value addend : addends) {
      Operation *producer = addend.getDefiningOp();
      Value sum;
      if (auto linear = llvm::dyn_cast<LinearOp>(producer))
        sum = assignLinear(rewriter, linear, level, results[0]);
      else if (auto moe = llvm::dyn_cast<MoEOp>(producer))
        sum = assignExperts(rewriter, moe, level, results[0]);
      else
        sum = assignFeedForward(rewriter, llvm::cast<FeedForwardOp>(producer),
                                level, results[0]);
      results[0] = castTo(rewriter, op.getLoc(), sum, op.getHidden().getType());
    }
    rewriter.eraseOp(yield);
    for (Value addend : addends)
      if (addend.use_empty())
        rewriter.eraseOp(addend.getDefiningOp());
    rewriter.replaceOp(op, results);
    return success();
  }
};

struct NormPattern : AssignPattern<NormOp> {
  using AssignPattern::AssignPattern;
  LogicalResult matchAndRewrite(NormOp op,
                                PatternRewriter &rewriter) const override {
    if (!isF32Tensor(op.getType()))
      return rewriter.notifyMatchFailure(op, "not f32");
    int64_t width =
        llvm::cast<RankedTensorType>(op.getType()).getShape().back();
    SmallVector<Value> vectors;
    for (Value vector : {op.getScale(), op.getBias()}) {
      if (!vector)
        continue;
      auto type = llvm::cast<RankedTensorType>(vector.getType());
      if (!isConstantWeight(vector) || type.getRank() != 1 ||
          !isFloatWeight(type.getElementType()))
        return rewriter.notifyMatchFailure(op, "scale or bias at run time");
      width = type.getDimSize(0);
      vectors.push_back(vector);
    }
    if (ShapedType::isDynamic(width) || width < 1 || width > (1 << 28))
      return rewriter.notifyMatchFailure(op, "width is not static");
    Location loc = op.getLoc();
    Rows rows(rewriter, loc, withWidth(rewriter, loc, op.getInput(), width));
    SmallVector<Value> inputs{rows.matrix};
    auto vectorType = RankedTensorType::get({width}, rewriter.getF32Type());
    for (Value vector : vectors) {
      if (vector.getType() != vectorType)
        vector = CastOp::create(rewriter, loc, vectorType, vector);
      inputs.push_back(PackOp::create(
          rewriter, loc, MemRefType::get({width}, rewriter.getF32Type()),
          PanelsAttr(), vector, ValueRange()));
    }
    auto key =
        NormAttr::get(getContext(), level, op.getKind(), width,
                      rewriter.getF64FloatAttr(op.getEps().convertToDouble()),
                      op.getOuterEps(), static_cast<bool>(op.getScale()),
                      static_cast<bool>(op.getBias()));
    Value out = rows.empty(width);
    auto call =
        KernelCallOp::create(rewriter, loc, out.getType(), key, inputs, out);
    Value result = rows.restore(call.getResult(0));
    rewriter.replaceOp(op, castTo(rewriter, loc, result, op.getType()));
    return success();
  }
};

/// The operand of a transposition that exchanges dimensions 1 and 2 of 4.
Value getSwappedSource(Value value) {
  Operation *op = value.getDefiningOp();
  ArrayRef<int64_t> perm;
  Value source;
  if (auto transpose = llvm::dyn_cast_if_present<linalg::TransposeOp>(op)) {
    perm = transpose.getPermutation();
    source = transpose.getInput();
  } else if (auto node = llvm::dyn_cast_if_present<onnx::NodeOp>(op)) {
    if (!node.is("Transpose") || node.getInputs().size() != 1)
      return {};
    perm = node.getInts("perm").value_or(ArrayRef<int64_t>());
    source = node.getInput(0);
  } else {
    return {};
  }
  auto type = llvm::dyn_cast<RankedTensorType>(source.getType());
  bool swapped =
      type && type.getRank() == 4 && perm == ArrayRef<int64_t>{0, 2, 1, 3};
  return swapped ? source : Value();
}

struct AttentionPattern : AssignPattern<AttentionOp> {
  using AssignPattern::AssignPattern;

  LogicalResult matchAndRewrite(AttentionOp op,
                                PatternRewriter &rewriter) const override {
    for (Type type : {op.getQuery().getType(), op.getKey().getType(),
                      op.getValue().getType(), op.getType()})
      if (!isF32Tensor(type))
        return rewriter.notifyMatchFailure(op, "not f32");
    auto queryType = llvm::cast<RankedTensorType>(op.getQuery().getType());
    auto keyType = llvm::cast<RankedTensorType>(op.getKey().getType());
    auto valueType = llvm::cast<RankedTensorType>(op.getValue().getType());
    int64_t head = queryType.getDimSize(3), value = valueType.getDimSize(3);
    int64_t heads = queryType.getDimSize(1), groups = keyType.getDimSize(1);
    for (int64_t size : {head, value})
      if (ShapedType::isDynamic(size) || size < 1 || size > 512)
        return rewriter.notifyMatchFailure(op, "head size");
    if (ShapedType::isDynamic(heads) || ShapedType::isDynamic(groups) ||
        groups < 1 || heads % groups != 0 || heads < 1)
      return rewriter.notifyMatchFailure(op, "head counts");

    Location loc = op.getLoc();
    MaskKind kind = MaskKind::None;
    Value mask = op.getMask();
    if (mask) {
      auto type = llvm::dyn_cast<RankedTensorType>(mask.getType());
      if (!type || type.getRank() > 4)
        return rewriter.notifyMatchFailure(op, "rank of the mask");
      if (type.getElementType().isF32())
        kind = MaskKind::Additive;
      else if (type.getElementType().isInteger(1))
        kind = MaskKind::Boolean;
      else
        return rewriter.notifyMatchFailure(op, "type of the mask");
    }

    SmallVector<Value> inputs;
    SmallVector<bool> seqFirst;
    for (Value operand : {op.getQuery(), op.getKey(), op.getValue()}) {
      Value source = getSwappedSource(operand);
      seqFirst.push_back(static_cast<bool>(source));
      inputs.push_back(source ? source : operand);
    }
    if (mask)
      inputs.push_back(padRank(rewriter, loc, mask));

    // [B, H, S, E], or [B, S, H, E] where the only user wants that.
    Operation *user = op->hasOneUse() ? *op->user_begin() : nullptr;
    bool swapResult = user && user->getNumResults() == 1 &&
                      getSwappedSource(user->getResult(0)) == op.getResult() &&
                      llvm::isa<onnx::NodeOp>(user);
    auto sizeOf = [&](Value tensor, int64_t i) -> OpFoldResult {
      auto type = llvm::cast<RankedTensorType>(tensor.getType());
      if (!type.isDynamicDim(i))
        return rewriter.getIndexAttr(type.getDimSize(i));
      return tensor::DimOp::create(rewriter, loc, tensor, i).getResult();
    };
    SmallVector<OpFoldResult> sizes{
        sizeOf(inputs[0], 0), rewriter.getIndexAttr(heads),
        sizeOf(inputs[0], seqFirst[0] ? 1 : 2), rewriter.getIndexAttr(value)};
    if (swapResult)
      std::swap(sizes[1], sizes[2]);
    Value out =
        tensor::EmptyOp::create(rewriter, loc, sizes, rewriter.getF32Type());
    auto key = AttentionAttr::get(
        getContext(), level, head, value, heads / groups,
        rewriter.getF64FloatAttr(op.getScale().convertToDouble()),
        op.getCausal(), kind, seqFirst[0], seqFirst[1], seqFirst[2],
        swapResult);
    auto call =
        KernelCallOp::create(rewriter, loc, out.getType(), key, inputs, out);
    if (swapResult) {
      rewriter.replaceOp(user, castTo(rewriter, loc, call.getResult(0),
                                      user->getResult(0).getType()));
      rewriter.eraseOp(op);
    } else {
      rewriter.replaceOp(
          op, castTo(rewriter, loc, call.getResult(0), op.getType()));
    }
    return success();
  }

  /// Leading dimensions of size 1 up to rank 4.
  static Value padRank(OpBuilder &builder, Location loc, Value mask) {
    auto type = llvm::cast<RankedTensorType>(mask.getType());
    int64_t rank = type.getRank();
    if (rank == 4)
      return mask;
    SmallVector<OpFoldResult> sizes(4 - rank, builder.getIndexAttr(1));
    SmallVector<int64_t> shape(4 - rank, 1);
    llvm::append_range(sizes, tensor::getMixedSizes(builder, loc, mask));
    llvm::append_range(shape, type.getShape());
    SmallVector<ReassociationIndices> groups(rank);
    for (int64_t i = 0; i < 4 && rank > 0; ++i)
      groups[std::max<int64_t>(0, i - (4 - rank))].push_back(i);
    return tensor::ExpandShapeOp::create(
        builder, loc, RankedTensorType::get(shape, type.getElementType()), mask,
        groups, sizes);
  }
};

class AssignKernelsPass
    : public PassWrapper<AssignKernelsPass, OperationPass<>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(AssignKernelsPass)

  AssignKernelsPass(Level level) { this->level = stringifyLevel(level).str(); }
  AssignKernelsPass(const AssignKernelsPass &other) : PassWrapper(other) {
    level = other.level.getValue();
  }

  StringRef getArgument() const override { return "ffn-cpu-assign-kernels"; }
  StringRef getDescription() const override {
    return "Turn operations of the ffn dialect on f32 tensors with constant "
           "weights into calls of kernels";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, CPUDialect, tensor::TensorDialect>();
  }

  void runOnOperation() override {
    FailureOr<CpuTarget> target = CpuTarget::parse(level);
    if (failed(target)) {
      getOperation()->emitError("no level of the CPU target is called '")
          << level << "': " << CpuTarget::getChoices() << " [FFN-C110]";
      return signalPassFailure();
    }
    RewritePatternSet patterns(&getContext());
    populateAssignKernelsPatterns(patterns, target->level);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
  }

private:
  Option<std::string> level{
      *this, "level", llvm::cl::desc("instruction set level of the kernels"),
      llvm::cl::init("avx2")};
};
} // namespace

void cpu::populateAssignKernelsPatterns(RewritePatternSet &patterns,
                                        Level level) {
  MLIRContext *ctx = patterns.getContext();
  patterns.add<SublayerPattern, LinearPattern, FeedForwardPattern, MoEPattern,
               HiddenPattern, NormPattern, AttentionPattern>(ctx, level);
}

std::unique_ptr<Pass> cpu::createAssignKernelsPass(Level level) {
  return std::make_unique<AssignKernelsPass>(level);
}
