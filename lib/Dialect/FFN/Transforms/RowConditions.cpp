//===- RowConditions.cpp - What rows may leave out ------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "RowConditions.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace mlir;
using namespace mlir::ffn;

func::FuncOp mlir::ffn::getMainOfOneBlock(ModuleOp module) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  return main && !main.isExternal() && llvm::hasSingleElement(main.getBody())
             ? main
             : func::FuncOp();
}

RankedTensorType mlir::ffn::getRowType(Value tensor, Type element) {
  auto type = llvm::cast<RankedTensorType>(tensor.getType());
  return RankedTensorType::get(type.getShape().drop_back(), element);
}

//===----------------------------------------------------------------------===//
// Conditions
//===----------------------------------------------------------------------===//

Value RowConditions::node(StringRef op, Type type, ValueRange inputs,
                          ArrayRef<NamedAttribute> attrs) {
  return onnx::NodeOp::create(builder, loc, "", op, getSinceVersion(op, opset),
                              type, inputs, attrs)
      .getResult(0);
}

static RankedTensorType typeOf(Value value) {
  return llvm::cast<RankedTensorType>(value.getType());
}

/// The type of booleans in the broadcast shape of rows and of what has the same
/// last dimensions, or fewer.
static RankedTensorType broadcastFlags(Value a, Value b) {
  RankedTensorType type =
      typeOf(a).getRank() >= typeOf(b).getRank() ? typeOf(a) : typeOf(b);
  return type.clone(IntegerType::get(type.getContext(), 1));
}

Value RowConditions::above(Value numbers, double threshold) {
  auto scalar = RankedTensorType::get({}, typeOf(numbers).getElementType());
  DenseElementsAttr value =
      DenseElementsAttr::get(scalar, llvm::cast<Attribute>(builder.getFloatAttr(
                                         scalar.getElementType(), threshold)));
  Value limit = WeightOp::create(builder, loc, scalar,
                                 llvm::cast<TypedAttr>(Attribute(value)));
  return node("Greater", broadcastFlags(numbers, limit), {numbers, limit});
}

Value RowConditions::both(Value a, Value b) {
  return a && b ? node("And", broadcastFlags(a, b), {a, b}) : a ? a : b;
}

Value RowConditions::either(Value a, Value b) {
  return a && b ? node("Or", broadcastFlags(a, b), {a, b}) : a ? a : b;
}

Value RowConditions::negate(Value a) { return node("Not", a.getType(), a); }

Value RowConditions::equal(Value a, Value b) {
  return node("Equal", broadcastFlags(a, b), {a, b});
}

Value RowConditions::intScalar(int64_t value) {
  auto type = RankedTensorType::get({}, builder.getI64Type());
  DenseElementsAttr attr = DenseElementsAttr::get(type, ArrayRef(value));
  return WeightOp::create(builder, loc, type,
                          llvm::cast<TypedAttr>(Attribute(attr)));
}

Value RowConditions::expandToRows(Value condition, Value hidden) {
  auto sizes = [&](int64_t rank) {
    return RankedTensorType::get({rank}, builder.getI64Type());
  };
  int64_t rank = typeOf(hidden).getRank();
  Value shape = node("Shape", sizes(rank), hidden);
  SmallVector<int64_t> leading = llvm::to_vector(llvm::seq(rank - 1));
  DenseElementsAttr attr =
      DenseElementsAttr::get(sizes(rank - 1), ArrayRef(leading));
  Value indices = WeightOp::create(builder, loc, sizes(rank - 1),
                                   llvm::cast<TypedAttr>(Attribute(attr)));
  shape = node("Gather", sizes(rank - 1), {shape, indices},
               intAttr(builder, "axis", 0));
  return node("Expand", getRowType(hidden, builder.getI1Type()),
              {condition, shape});
}

Value RowConditions::sizeOf(Value tensor, int64_t axis) {
  auto integer = builder.getI64Type();
  Value shape =
      node("Shape", RankedTensorType::get({typeOf(tensor).getRank()}, integer),
           tensor);
  return node("Gather", RankedTensorType::get({}, integer),
              {shape, intScalar(axis)}, intAttr(builder, "axis", 0));
}

/// A past argument and the axis along which the present extends it; null for a
/// state of another form.
static std::pair<Value, int64_t> findPast(SublayerOp sublayer,
                                          func::FuncOp main) {
  for (auto pair : sublayer.getStateAttr().getAsRange<StatePairAttr>()) {
    if (pair.getArgument() >= main.getNumArguments() ||
        pair.getExtra() >= sublayer.getExtras().size())
      continue;
    Value past = main.getArgument(pair.getArgument());
    auto concat = sublayer.getYieldedExtras()[pair.getExtra()]
                      .getDefiningOp<onnx::NodeOp>();
    auto type = llvm::dyn_cast<RankedTensorType>(past.getType());
    if (!type || !concat || !concat.is("Concat") || concat.getInput(0) != past)
      continue;
    int64_t axis = concat.getInt("axis", 0);
    if (axis < 0)
      axis += type.getRank();
    if (axis >= 0 && axis < type.getRank())
      return {past, axis};
  }
  return {};
}

FailureOr<Value> RowConditions::findOpen(Value hidden, bool decodeOnly,
                                         unsigned warmup, func::FuncOp main) {
  constexpr int64_t kOpset = 11;
  if (opset < kOpset)
    return module.emitError("conditions on rows need opset ")
           << kOpset << ", the model has " << opset << " [FFN-P161]";
  Value open;
  Value one = intScalar(1);
  int64_t axis = typeOf(hidden).getRank() - 2;
  if (decodeOnly)
    open = equal(sizeOf(hidden, axis), one);
  if (warmup == 0)
    return open;
  Value begin;
  for (auto sublayer : main.getBody().front().getOps<SublayerOp>()) {
    if (!sublayer.getStateAttr() || begin)
      continue;
    auto [past, pastAxis] = findPast(sublayer, main);
    if (!past)
      return sublayer.emitError("how many positions came before a call is not "
                                "known: its state is none that grows; use "
                                "warmup=0 [FFN-P161]");
    begin = sizeOf(past, pastAxis);
  }
  Value size = sizeOf(hidden, axis), end = size;
  if (begin)
    end = node("Add", begin.getType(), {begin, size});
  else
    begin = intScalar(0);
  auto positions = RankedTensorType::get({typeOf(hidden).getDimSize(axis)},
                                         builder.getI64Type());
  Value position = node("Range", positions, {begin, end, one});
  Value warm = node("Greater", positions.clone(builder.getI1Type()),
                    {position, intScalar(int64_t(warmup) - 1)});
  return both(open, warm);
}

Value RowConditions::count(Value sum, Value condition) {
  // TensorProto.DataType INT64.
  Value number = node("Cast", typeOf(condition).clone(builder.getI64Type()),
                      condition, intAttr(builder, "to", 7));
  return sum ? node("Add", sum.getType(), {sum, number}) : number;
}

//===----------------------------------------------------------------------===//
// Sublayers
//===----------------------------------------------------------------------===//

/// Operations of the body that its extra results are made of.
static llvm::SmallPtrSet<Operation *, 32> collectBehindExtras(SublayerOp op) {
  Block &body = op.getBody().front();
  llvm::SmallPtrSet<Operation *, 32> seen;
  SmallVector<Value> worklist(op.getYieldedExtras());
  while (!worklist.empty()) {
    Operation *def = worklist.pop_back_val().getDefiningOp();
    def = def ? body.findAncestorOpInBlock(*def) : nullptr;
    if (!def || !seen.insert(def).second)
      continue;
    def->walk([&](Operation *inner) {
      llvm::append_range(worklist, inner->getOperands());
    });
  }
  return seen;
}

StringRef mlir::ffn::findObstacle(SublayerOp op) {
  if (op.getNumAddends() != 1)
    return "it has several addends";
  auto type = llvm::dyn_cast<RankedTensorType>(op.getResidual().getType());
  if (!type || type.getRank() < 2 ||
      !llvm::isa<FloatType>(type.getElementType()))
    return "its residual is no matrix of rows of floats";
  Operation *addend = op.getYieldedAddends()[0].getDefiningOp();
  if (!addend || addend->getBlock() != &op.getBody().front())
    return "it computes nothing";
  if (collectBehindExtras(op).contains(addend))
    return "an extra result needs its addend";
  return "";
}

SkipOp mlir::ffn::leaveOutAddend(SublayerOp op, Value skip) {
  if (!findObstacle(op).empty())
    return {};
  Block &body = op.getBody().front();
  auto kept = collectBehindExtras(op);
  SmallVector<Operation *> moved;
  for (Operation &inner : body.without_terminator())
    if (!kept.contains(&inner))
      moved.push_back(&inner);
  OpBuilder builder(body.getTerminator());
  Value addend = op.getYieldedAddends()[0];
  auto region =
      SkipOp::create(builder, addend.getLoc(), addend.getType(), skip, Value());
  Block *block = builder.createBlock(&region.getBody());
  for (Operation *inner : moved)
    inner->moveBefore(block, block->end());
  SkipYieldOp::create(builder, addend.getLoc(), addend);
  body.getTerminator()->setOperand(0, region.getResult());
  return region;
}

void mlir::ffn::appendResult(func::FuncOp main, Value value, StringRef name) {
  auto ret = llvm::cast<func::ReturnOp>(main.getBody().front().getTerminator());
  Builder builder(main.getContext());
  DictionaryAttr attrs = builder.getDictionaryAttr(
      builder.getNamedAttr("onnx.name", builder.getStringAttr(name)));
  (void)main.insertResult(main.getNumResults(), value.getType(), attrs);
  ret->insertOperands(ret.getNumOperands(), value);
}
