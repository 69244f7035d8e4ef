//===- Stages.cpp - A model cut at its residual sublayers -----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/Stages.h"
#include "ffn-mlir/Ops/OpTable.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace mlir::ffn;

namespace {
class Cutter {
public:
  Cutter(ModuleOp module, func::FuncOp main, SymbolicShapeAnalysis analysis)
      : module(module), main(main), body(main.getBody().front()),
        analysis(std::move(analysis)) {}

  FailureOr<StagedModule> run();

private:
  struct Piece {
    SmallVector<Operation *> ops;
    SublayerOp sublayer;
    /// Copied operations in program order, and values from outside.
    llvm::SetVector<Operation *> copies;
    llvm::SetVector<Value> inputs;
  };

  bool isCopied(Operation *op);
  void partition();
  void collect(Piece &piece);
  void describeSublayers(StagedModule &result);
  Stage build(Piece &piece, const llvm::DenseSet<Value> &wanted);
  unsigned number(Value value) {
    return numbers.insert({value, numbers.size()}).first->second;
  }
  ArrayAttr dimsOf(Value value);

  ModuleOp module;
  func::FuncOp main;
  Block &body;
  SymbolicShapeAnalysis analysis;
  std::vector<Piece> pieces;
  llvm::DenseMap<Operation *, bool> copied;
  llvm::DenseMap<Value, unsigned> numbers;
};
} // namespace

/// Weights, and integers of rank 1 at most: sizes of tensors, which the shape
/// analysis of a piece can follow only where it sees how they are made.
bool Cutter::isCopied(Operation *op) {
  auto known = copied.find(op);
  if (known != copied.end())
    return known->second;
  bool result = llvm::isa<WeightExprInterface>(op);
  if (!result && !llvm::isa<SublayerOp>(op) && op->getNumRegions() == 0 &&
      op->getNumResults() > 0 && isMemoryEffectFree(op))
    result = llvm::all_of(op->getResults(), [](Value value) {
      auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
      return type && type.getRank() <= 1 && type.hasStaticShape() &&
             type.getElementType().isInteger(64);
    });
  copied[op] = result;
  return result;
}

void Cutter::partition() {
  llvm::DenseSet<Value> behind;
  Piece first, current;
  std::vector<Piece> later;
  auto close = [&] {
    if (!current.ops.empty())
      later.push_back(std::move(current));
    current = Piece();
  };
  for (Operation &op : body.without_terminator()) {
    if (isCopied(&op))
      continue;
    bool dependent = llvm::isa<SublayerOp>(op);
    op.walk([&](Operation *inner) {
      SmallVector<Value> worklist(inner->getOperands());
      llvm::SmallPtrSet<Operation *, 8> seen;
      while (!worklist.empty() && !dependent) {
        Value value = worklist.pop_back_val();
        dependent = behind.contains(value);
        Operation *def = value.getDefiningOp();
        if (def && def->getBlock() == &body && isCopied(def) &&
            seen.insert(def).second)
          llvm::append_range(worklist, def->getOperands());
      }
    });
    if (!dependent) {
      first.ops.push_back(&op);
      continue;
    }
    behind.insert(op.getResults().begin(), op.getResults().end());
    if (auto sublayer = llvm::dyn_cast<SublayerOp>(op)) {
      close();
      current.sublayer = sublayer;
      current.ops.push_back(&op);
      close();
    } else {
      current.ops.push_back(&op);
    }
  }
  close();
  if (!first.ops.empty())
    pieces.push_back(std::move(first));
  for (Piece &piece : later)
    pieces.push_back(std::move(piece));
}

void Cutter::collect(Piece &piece) {
  llvm::SmallPtrSet<Operation *, 16> own(piece.ops.begin(), piece.ops.end());
  llvm::SmallPtrSet<Operation *, 32> copies;
  SmallVector<Value> worklist;
  auto read = [&](Operation *op) {
    op->walk([&](Operation *inner) {
      llvm::append_range(worklist, inner->getOperands());
    });
  };
  for (Operation *op : piece.ops)
    read(op);
  while (!worklist.empty()) {
    Value value = worklist.pop_back_val();
    Operation *def = value.getDefiningOp();
    if (!def) {
      if (llvm::cast<BlockArgument>(value).getOwner() == &body)
        piece.inputs.insert(value);
      continue;
    }
    if (def->getBlock() != &body || own.contains(def))
      continue;
    if (!isCopied(def))
      piece.inputs.insert(value);
    else if (copies.insert(def).second)
      read(def);
  }
  SmallVector<Operation *> ordered(copies.begin(), copies.end());
  llvm::sort(ordered,
             [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  piece.copies.insert(ordered.begin(), ordered.end());
}

ArrayAttr Cutter::dimsOf(Value value) {
  Builder builder(module.getContext());
  auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
  const SymValue &known = analysis.lookup(value);
  if (!type || !known.hasRank())
    return {};
  SmallVector<Attribute> dims;
  for (auto [dim, size] : llvm::zip_equal(*known.dims, type.getShape())) {
    if (!ShapedType::isDynamic(size))
      dims.push_back(builder.getI64IntegerAttr(size));
    else
      dims.push_back(builder.getStringAttr(dim.str()));
  }
  return builder.getArrayAttr(dims);
}

Stage Cutter::build(Piece &piece, const llvm::DenseSet<Value> &wanted) {
  Stage stage;
  MLIRContext *ctx = module.getContext();
  OpBuilder builder(ctx);
  stage.module = ModuleOp::create(module.getLoc());
  (*stage.module)->setAttrs(module->getAttrDictionary());
  builder.setInsertionPointToStart(stage.module->getBody());
  for (Operation &op : module.getBody()->getOperations())
    if (&op != main.getOperation())
      builder.clone(op);
  SmallVector<Value> outputs;
  for (Operation *op : piece.ops)
    for (Value result : op->getResults())
      if (wanted.contains(result))
        outputs.push_back(result);
  SmallVector<Type> inputTypes, outputTypes;
  for (Value value : piece.inputs)
    inputTypes.push_back(value.getType());
  for (Value value : outputs)
    outputTypes.push_back(value.getType());
  auto func =
      func::FuncOp::create(builder, main.getLoc(), "main",
                           builder.getFunctionType(inputTypes, outputTypes));
  Block *block = func.addEntryBlock();
  IRMapping mapping;
  auto name = [&](Value value) {
    return builder.getStringAttr("value" + llvm::Twine(number(value)));
  };
  for (auto [i, value] : llvm::enumerate(piece.inputs)) {
    mapping.map(value, block->getArgument(i));
    stage.inputs.push_back(number(value));
    func.setArgAttr(i, "onnx.name", name(value));
    if (ArrayAttr dims = dimsOf(value))
      func.setArgAttr(i, "ffn.dims", dims);
  }
  builder.setInsertionPointToStart(block);
  for (Operation *op : piece.copies)
    builder.clone(*op, mapping);
  for (Operation *op : piece.ops) {
    Operation *copy = builder.clone(*op, mapping);
    // State pairs name arguments of the whole model.
    if (auto sublayer = llvm::dyn_cast<SublayerOp>(copy))
      sublayer.removeStateAttr();
  }
  SmallVector<Value> returned;
  for (auto [i, value] : llvm::enumerate(outputs)) {
    returned.push_back(mapping.lookup(value));
    stage.outputs.push_back(number(value));
    func.setResultAttr(i, "onnx.name", name(value));
    if (ArrayAttr dims = dimsOf(value))
      func.setResultAttr(i, "ffn.dims", dims);
  }
  func::ReturnOp::create(builder, main.getLoc(), returned);
  return stage;
}

void Cutter::describeSublayers(StagedModule &result) {
  llvm::SmallDenseSet<unsigned> kinds;
  unsigned block = 0;
  for (auto [i, piece] : llvm::enumerate(pieces)) {
    SublayerOp op = piece.sublayer;
    if (!op)
      continue;
    StagedSublayer sublayer;
    for (unsigned k = 0; k < op.getNumAddends(); ++k) {
      sublayer.names.push_back(op.getAddend(k).getName().str());
      sublayer.kinds.push_back(op.getAddend(k).getKind());
    }
    auto first = static_cast<unsigned>(sublayer.kinds.front());
    if (!kinds.insert(first).second) {
      kinds.clear();
      kinds.insert(first);
      ++block;
    }
    sublayer.block = block;
    sublayer.stage = i;
    sublayer.residual = number(op.getResidual());
    sublayer.hidden = number(op.getHidden());
    for (Value extra : op.getExtras())
      for (Operation *user : extra.getUsers())
        if (!llvm::isa<func::ReturnOp>(user))
          sublayer.fixed = "its extra results are read by other operations";
    result.sublayers.push_back(std::move(sublayer));
  }
}

FailureOr<StagedModule> Cutter::run() {
  partition();
  llvm::DenseSet<Value> wanted;
  for (Piece &piece : pieces) {
    collect(piece);
    wanted.insert(piece.inputs.begin(), piece.inputs.end());
  }
  Operation *terminator = body.getTerminator();
  wanted.insert(terminator->operand_begin(), terminator->operand_end());
  for (Piece &piece : pieces)
    if (piece.sublayer)
      wanted.insert(piece.sublayer.getHidden());
  StagedModule result;
  for (BlockArgument argument : body.getArguments())
    result.arguments.push_back(number(argument));
  describeSublayers(result);
  if (result.sublayers.empty())
    return module.emitError("the model has no residual sublayer; run "
                            "ffn-raise first [FFN-P110]");
  unsigned index = 0;
  for (Piece &piece : pieces) {
    result.stages.push_back(build(piece, wanted));
    if (piece.sublayer)
      result.stages.back().sublayer = index++;
  }
  for (Value value : terminator->getOperands()) {
    Operation *def = value.getDefiningOp();
    if (def && isCopied(def))
      result.results.push_back(std::nullopt);
    else
      result.results.push_back(number(value));
  }
  result.numValues = numbers.size();
  return std::move(result);
}

FailureOr<StagedModule> mlir::ffn::cutIntoStages(ModuleOp module) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main || main.isExternal() || !llvm::hasSingleElement(main.getBody()))
    return module.emitError("module has no function @main with one block "
                            "[FFN-P110]");
  FailureOr<SymbolicShapeAnalysis> analysis =
      SymbolicShapeAnalysis::run(module, /*refine=*/false);
  if (failed(analysis))
    return failure();
  return Cutter(module, main, std::move(*analysis)).run();
}
