//===- AssignExperts.cpp - Networks of experts to kernel calls ------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Shared neurons become groups of the width of an expert, which every row
// passes; then they need no kernels of their own, and their tasks stand beside
// those of experts. Groups are filled up with neurons of zeros where a panel
// does not end with them.
//
//===----------------------------------------------------------------------===//

#include "AssignDetail.h"
#include "ffn-mlir/Dialect/FFN/Transforms/NeuronView.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

/// Neurons of all groups, filled up, that are still worth an index.
static constexpr int64_t kMaxNeurons = int64_t(1) << 24;

static RankedTensorType typeOf(Value value) {
  return llvm::cast<RankedTensorType>(value.getType());
}

static NeuronView viewOf(MoEOp op) {
  NeuronView view;
  view.up = op.getUp();
  view.gate = op.getGate();
  view.down = op.getDown();
  view.upBias = op.getUpBias();
  view.gateBias = op.getGateBias();
  return view;
}

bool cpu::canServeExperts(MoEOp op) {
  auto type = llvm::dyn_cast<RankedTensorType>(op.getType());
  if (!type || !type.getElementType().isF32() ||
      !canServe(op.getInput(), op.getWeightOperands()))
    return false;
  // Codes have groups of their own.
  for (Value weight : {op.getUp(), op.getGate(), op.getDown()})
    if (weight && weight.getDefiningOp<DequantizeOp>())
      return false;
  NeuronView view = viewOf(op);
  return op.getExperts() + op.getShared() <= (1 << 16) &&
         static_cast<int64_t>(op.getExperts() + op.getShared()) *
                 (op.getExpertWidth() + 128) <
             kMaxNeurons &&
         findConcatObstacle({view, view}).empty();
}

namespace {
struct Groups {
  /// Groups that every row passes, groups in all, neurons of a group.
  int64_t always, count, width;
  NeuronView view;
};
} // namespace

/// A product of all neurons with the input.
static GemmAttr getHiddenKey(MoEOp op, Level level, Type element, int64_t n) {
  int64_t k = op.getInputWidth();
  return GemmAttr::get(op.getContext(), level, n, k, k, element,
                       op.getActivation(), op.isGated(), /*residual=*/false,
                       /*group=*/0, /*int8_rows=*/false);
}

static NeuronView createZeros(OpBuilder &builder, Location loc,
                              const NeuronView &like, int64_t count) {
  auto zeros = [&](Value value, ArrayRef<int64_t> shape) -> Value {
    if (!value)
      return {};
    Type element = typeOf(value).getElementType();
    auto type = RankedTensorType::get(shape, element);
    return WeightOp::create(
        builder, loc, type,
        DenseElementsAttr::get(type, builder.getFloatAttr(element, 0.0)));
  };
  NeuronView view;
  view.up = zeros(like.up, {count, typeOf(like.up).getDimSize(1)});
  view.gate = zeros(like.gate, {count, typeOf(like.up).getDimSize(1)});
  view.down = zeros(like.down, {typeOf(like.down).getDimSize(0), count});
  view.upBias = zeros(like.upBias, {count});
  view.gateBias = zeros(like.gateBias, {count});
  return view;
}

static Groups buildGroups(OpBuilder &builder, MoEOp op, Level level,
                          Type element) {
  int64_t shared = op.getSharedAttr().getInt(),
          experts = op.getExpertsAttr().getInt(), part = op.getExpertWidth();
  Groups groups;
  groups.always = llvm::divideCeil(shared, part);
  groups.count = groups.always + experts;
  groups.width = part;
  // More neurons may make wider panels.
  while (true) {
    int64_t columns =
        getHiddenKey(op, level, element, groups.count * groups.width)
            .getPanels()
            .getColumns();
    if (groups.width % columns == 0)
      break;
    groups.width = llvm::alignTo(groups.width, columns);
  }
  NeuronView all = viewOf(op);
  if (groups.width == part && groups.always * part == shared) {
    groups.view = all;
    return groups;
  }
  SmallVector<NeuronView> pieces;
  auto add = [&](int64_t begin, int64_t count) {
    pieces.push_back(sliceNeurons(builder, all, begin, count));
    if (count < groups.width)
      pieces.push_back(
          createZeros(builder, op.getLoc(), all, groups.width - count));
  };
  for (int64_t i = 0; i < groups.always; ++i)
    add(i * part, std::min(part, shared - i * part));
  for (int64_t i = 0; i < experts; ++i)
    add(shared + i * part, part);
  groups.view = concatNeurons(builder, op.getLoc(), pieces);
  return groups;
}

/// Scores of the experts, a column for each, before `magnitude`.
static Value buildScores(Rows &rows, MoEOp op, Level level) {
  Projection router;
  bool isNeuron = op.getRouterKind() == RouterKind::Neuron;
  if (isNeuron)
    router.activation = op.getActivation();
  SmallVector<Value> biases;
  if (op.getRouterGate()) {
    router.weights.push_back(op.getRouterGate());
    biases.push_back(op.getRouterGateBias());
  }
  router.weights.push_back(op.getRouter());
  biases.push_back(op.getRouterBias());
  if (llvm::any_of(biases, [](Value bias) { return static_cast<bool>(bias); }))
    for (Value bias : biases)
      router.biases.push_back(bias ? bias
                                   : zeroVector(rows.builder, rows.loc,
                                                op.getExpertsAttr().getInt()));
  return buildGemm(rows, level, rows.matrix, router, Value());
}

Value cpu::assignExperts(OpBuilder &builder, MoEOp op, Level level,
                         Value residual) {
  Location loc = op.getLoc();
  MLIRContext *ctx = op.getContext();
  Rows rows(builder, loc,
            withWidth(builder, loc, op.getInput(), op.getInputWidth()));
  SmallVector<Value> ups;
  if (op.isGated())
    ups.push_back(op.getGate());
  ups.push_back(op.getUp());
  Type element = findStorage(ups).element;
  Groups groups = buildGroups(builder, op, level, element);
  const NeuronView &view = groups.view;

  // The route.
  int64_t topK = op.getTopKAttr().getInt(),
          experts = op.getExpertsAttr().getInt();
  double scale = op.getScale().convertToDouble();
  auto route =
      RouteAttr::get(ctx, level, experts, groups.always, topK, op.getGating(),
                     op.getRouterKind() == RouterKind::Neuron,
                     static_cast<bool>(op.getSelectionBias()), op.getWeighted(),
                     op.getNormalize(),
                     scale == 1 ? FloatAttr() : builder.getF64FloatAttr(scale));
  int64_t active = route.getActive();
  SmallVector<Value> inputs{buildScores(rows, op, level)};
  if (Value bias = op.getSelectionBias()) {
    auto type = RankedTensorType::get({experts}, builder.getF32Type());
    if (bias.getType() != type)
      bias = CastOp::create(builder, loc, type, bias);
    inputs.push_back(PackOp::create(
        builder, loc, MemRefType::get({experts}, builder.getF32Type()),
        PanelsAttr(), bias, ValueRange()));
  }
  auto matrixType = typeOf(rows.matrix);
  Value count = matrixType.isDynamicDim(0)
                    ? tensor::DimOp::create(builder, loc, rows.matrix, 0)
                    : Value();
  auto empty = [&](int64_t more, int64_t columns, Type type) -> Value {
    int64_t size =
        count ? ShapedType::kDynamic : matrixType.getDimSize(0) + more;
    Value dynamic = count;
    if (count && more)
      dynamic = arith::AddIOp::create(
          builder, loc, count,
          arith::ConstantIndexOp::create(builder, loc, more));
    return tensor::EmptyOp::create(
        builder, loc, RankedTensorType::get({size, columns}, type),
        dynamic ? ValueRange(dynamic) : ValueRange());
  };
  Type f32 = builder.getF32Type(), i32 = builder.getI32Type();
  SmallVector<Value> outs{empty(0, topK, i32), empty(0, active, i32),
                          empty(1, groups.count, i32)};
  if (route.getScaled())
    outs.push_back(empty(0, active, f32));
  auto routed = KernelCallOp::create(builder, loc, ValueRange(outs).getTypes(),
                                     route, inputs, outs);
  Value order = routed.getResult(1), starts = routed.getResult(2);

  // Up, gate and activation.
  GemmAttr up = getHiddenKey(op, level, element, groups.count * groups.width);
  SmallVector<Value> weights, biases;
  if (view.gate)
    weights.push_back(view.gate);
  weights.push_back(view.up);
  if (view.upBias || view.gateBias) {
    SmallVector<Value> given;
    if (view.gate)
      given.push_back(view.gateBias);
    given.push_back(view.upBias);
    for (Value bias : given)
      biases.push_back(bias ? bias : zeroVector(builder, loc, up.getN()));
  }
  auto pack = [&](GemmAttr key, ValueRange weights,
                  ValueRange biases) -> Value {
    PanelsAttr panels = key.getPanels();
    return PackOp::create(
        builder, loc,
        MemRefType::get({panels.getTotalBytes()}, builder.getI8Type()), panels,
        weights, biases);
  };
  inputs = {rows.matrix, pack(up, weights, biases), order, starts};
  if (route.getScaled())
    inputs.push_back(routed.getResult(3));
  Value out = empty(0, active * groups.width, f32);
  Value hidden = KernelCallOp::create(
                     builder, loc, out.getType(),
                     GroupedAttr::get(ctx, up, groups.count, active,
                                      /*by_depth=*/false, route.getScaled()),
                     inputs, out)
                     .getResult(0);

  // Down.
  int64_t n = typeOf(view.down).getDimSize(0), k = up.getN();
  auto down = GemmAttr::get(ctx, level, n, k, k, findStorage(view.down).element,
                            Activation::Identity, /*gated=*/false,
                            static_cast<bool>(residual), /*group=*/0,
                            /*int8_rows=*/false);
  biases.clear();
  if (op.getDownBias())
    biases.push_back(op.getDownBias());
  inputs = {hidden, pack(down, view.down, biases), order, starts};
  if (residual)
    inputs.push_back(Rows(builder, loc, residual).matrix);
  out = empty(0, n, f32);
  Value result =
      KernelCallOp::create(builder, loc, out.getType(),
                           GroupedAttr::get(ctx, down, groups.count, active,
                                            /*by_depth=*/true,
                                            /*weighted=*/false),
                           inputs, out)
          .getResult(0);
  return rows.restore(result);
}
