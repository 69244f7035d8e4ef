//===- AssignProducts.cpp - Contractions to calls of the product kernel ---===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Target/CPU/Kernels.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

namespace {
/// A tensor and the loop that walks each of its dimensions, -1 for none.
struct Operand {
  Value tensor;
  SmallVector<int64_t> loops;
  bool has(int64_t loop) const { return llvm::is_contained(loops, loop); }
};
} // namespace

static bool isF32(Value value) {
  auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
  return type && type.getElementType().isF32();
}

/// The loops of a map in the numbers of `loopOf`.
static FailureOr<Operand> readOperand(Value tensor, AffineMap map,
                                      ArrayRef<int64_t> loopOf) {
  Operand result{tensor, {}};
  for (AffineExpr expr : map.getResults()) {
    if (auto dim = llvm::dyn_cast<AffineDimExpr>(expr))
      result.loops.push_back(loopOf[dim.getPosition()]);
    else if (auto constant = llvm::dyn_cast<AffineConstantExpr>(expr);
             constant && constant.getValue() == 0)
      result.loops.push_back(-1);
    else
      return failure();
  }
  return result;
}

/// Reads what a transposition reads. Casts stay where nothing is transposed:
/// they may know a size.
static void foldTransposes(Operand &operand) {
  Value tensor = operand.tensor;
  SmallVector<int64_t> loops = operand.loops;
  while (true) {
    if (auto cast = tensor.getDefiningOp<tensor::CastOp>();
        cast && llvm::isa<RankedTensorType>(cast.getSource().getType())) {
      tensor = cast.getSource();
      continue;
    }
    auto transpose = tensor.getDefiningOp<linalg::TransposeOp>();
    if (!transpose)
      return;
    SmallVector<int64_t> source(loops.size());
    for (auto [i, from] : llvm::enumerate(transpose.getPermutation()))
      source[from] = loops[i];
    loops = source;
    tensor = transpose.getInput();
    operand = {tensor, loops};
  }
}

/// Whether the body adds the product of both inputs to the result.
static bool addsProduct(linalg::GenericOp op) {
  Block &body = op.getRegion().front();
  auto fma = body.getTerminator()->getOperand(0).getDefiningOp<math::FmaOp>();
  if (!fma || &body.front() != fma ||
      fma->getNextNode() != body.getTerminator())
    return false;
  Value first = body.getArgument(0), second = body.getArgument(1);
  return fma.getC() == body.getArgument(2) &&
         ((fma.getA() == first && fma.getB() == second) ||
          (fma.getA() == second && fma.getB() == first));
}

namespace {
struct ProductPattern : OpRewritePattern<linalg::GenericOp> {
  Level level;
  ProductPattern(MLIRContext *ctx, Level level)
      : OpRewritePattern(ctx), level(level) {}

  LogicalResult matchAndRewrite(linalg::GenericOp op,
                                PatternRewriter &rewriter) const override {
    if (!op.hasPureTensorSemantics() || op.getNumDpsInputs() != 2 ||
        op.getNumDpsInits() != 1 || !llvm::all_of(op->getOperands(), isF32) ||
        !addsProduct(op))
      return rewriter.notifyMatchFailure(op, "no sum of products in f32");
    auto fill = op.getDpsInitOperand(0)->get().getDefiningOp<linalg::FillOp>();
    if (!fill || !matchPattern(fill.getInputs()[0], m_PosZeroFloat()))
      return rewriter.notifyMatchFailure(op, "does not begin at zero");

    // Loops are numbered as the result has them; the one sum comes last.
    SmallVector<utils::IteratorType> types = op.getIteratorTypesArray();
    AffineMap out = op.getIndexingMapsArray()[2];
    int64_t rank = out.getNumResults();
    if (rank < 2 || rank > 16 || out.getNumDims() != rank + 1 ||
        llvm::count(types, utils::IteratorType::parallel) != rank ||
        llvm::count(types, utils::IteratorType::reduction) != 1 ||
        !out.isProjectedPermutation())
      return rewriter.notifyMatchFailure(op, "not one sum for each element");
    SmallVector<int64_t> loopOf(rank + 1, rank);
    for (auto [i, expr] : llvm::enumerate(out.getResults()))
      loopOf[llvm::cast<AffineDimExpr>(expr).getPosition()] = i;

    SmallVector<Operand> operands;
    for (int64_t i = 0; i < 2; ++i) {
      FailureOr<Operand> operand =
          readOperand(op.getDpsInputOperand(i)->get(),
                      op.getIndexingMapsArray()[i], loopOf);
      if (failed(operand))
        return rewriter.notifyMatchFailure(op, "an operand is not walked");
      foldTransposes(*operand);
      operands.push_back(*operand);
    }
    if (operands[0].has(rank - 1))
      std::swap(operands[0], operands[1]);
    StringRef problem =
        ProductAttr::findProblem(rank, operands[0].loops, operands[1].loops);
    if (!problem.empty())
      return rewriter.notifyMatchFailure(op, problem);
    auto key =
        ProductAttr::get(getContext(), level, rank,
                         rewriter.getDenseI64ArrayAttr(operands[0].loops),
                         rewriter.getDenseI64ArrayAttr(operands[1].loops));
    Value init = fill.getOutputs()[0];
    auto call = KernelCallOp::create(
        rewriter, op.getLoc(), init.getType(), key,
        ValueRange{operands[0].tensor, operands[1].tensor}, init);
    rewriter.replaceOp(op, call.getResults());
    return success();
  }
};

class AssignProductsPass
    : public PassWrapper<AssignProductsPass, OperationPass<>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(AssignProductsPass)

  AssignProductsPass(Level level) { this->level = stringifyLevel(level).str(); }
  AssignProductsPass(const AssignProductsPass &other) : PassWrapper(other) {
    level = other.level.getValue();
  }

  StringRef getArgument() const override { return "ffn-cpu-assign-products"; }
  StringRef getDescription() const override {
    return "Turn contractions of two f32 tensors into calls of the product "
           "kernel";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<CPUDialect, linalg::LinalgDialect, tensor::TensorDialect>();
  }

  void runOnOperation() override {
    FailureOr<CpuTarget> target = CpuTarget::parse(level);
    if (failed(target)) {
      getOperation()->emitError("no level of the CPU target is called '")
          << level << "': " << CpuTarget::getChoices() << " [FFN-C110]";
      return signalPassFailure();
    }
    RewritePatternSet patterns(&getContext());
    patterns.add<ProductPattern>(&getContext(), target->level);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
  }

private:
  Option<std::string> level{
      *this, "level", llvm::cl::desc("instruction set level of the kernels"),
      llvm::cl::init("avx2")};
};
} // namespace

std::unique_ptr<Pass> cpu::createAssignProductsPass(Level level) {
  return std::make_unique<AssignProductsPass>(level);
}
