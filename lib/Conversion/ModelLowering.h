//===- ModelLowering.h - State of lowering one model ------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_CONVERSION_MODELLOWERING_H
#define FFN_MLIR_LIB_CONVERSION_MODELLOWERING_H

#include "ffn-mlir/Conversion/ModelToLinalg.h"
#include "ffn-mlir/Conversion/SizeBuilder.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Ops/LowerHelpers.h"
#include "ffn-mlir/Ops/OpTable.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "llvm/ADT/MapVector.h"
#include <optional>

namespace mlir::ffn {

class NodeContext;
class SkipOp;

/// Sizes, checks and symbols of the function that is being made.
class ModelScope {
public:
  OpBuilder &builder;
  std::optional<SizeBuilder> sizeBuilder;
  llvm::DenseMap<Value, SmallVector<OpFoldResult>> known;

  /// "graph 'main'", in front of the nodes that messages name.
  std::string graph;

  explicit ModelScope(OpBuilder &builder) : builder(builder) {}

  /// "graph 'main', node 12 'fc1' (Gemm)": what `op` was made of, for messages.
  std::string locate(Operation *op) const { return locate(op->getLoc(), op); }
  std::string locate(Location loc, Operation *op = nullptr) const;

  SmallVector<OpFoldResult> sizes(Location loc, Value tensor);
  /// A call that ends the run, with the name of the node at `loc`, unless
  /// `condition` holds.
  void check(Location loc, Value condition, LowerScope::CheckKind kind,
             Operation *op = nullptr);

private:
  /// Texts in the module that is being made.
  llvm::StringMap<LLVM::GlobalOp> texts;
};

/// A scope at one location.
class LocatedScope : public LowerScope {
public:
  ModelScope &model;
  LocatedScope(ModelScope &model, Location loc)
      : LowerScope(model.builder, loc), model(model) {}
  SmallVector<OpFoldResult> sizes(Value tensor) override {
    return model.sizes(loc, tensor);
  }
  void setSizes(Value tensor, ArrayRef<OpFoldResult> sizes) override {
    model.known[tensor] = SmallVector<OpFoldResult>(sizes);
  }
  OpFoldResult materialize(const DimExpr &expr) override {
    return model.sizeBuilder->get(builder, expr);
  }
  void check(Value condition, CheckKind kind) override {
    model.check(loc, condition, kind);
  }
};

/// Lowers one compute operation of the ffn dialect whose operands are given in
/// lowered form; the lowered result, or failure after a diagnostic.
FailureOr<Value> lowerComputeOp(LowerScope &scope, Operation *op,
                                ArrayRef<Value> operands);

/// ffn.row_cosine and ffn.row_margin of lowered operands.
Value lowerRowCosine(LowerScope &scope, Value lhs, Value rhs);
Value lowerRowMargin(LowerScope &scope, Value input);

/// A branch, taken where a row is not left out. `skip` and `otherwise` (or
/// null) are lowered; `lowerBody` makes what the body yields at the builder.
FailureOr<Value> lowerSkip(LocatedScope &scope, SkipOp op, Value skip,
                           Value otherwise,
                           llvm::function_ref<FailureOr<Value>()> lowerBody);
/// Where the addend of a sublayer is an ffn.skip, puts the addition into the
/// branch: the sublayer in there is one that kernels serve as a whole, and the
/// other rows are the residual as it is.
void sinkResiduals(Operation *root);

/// Checks, where only the run knows, what an attention core relies on. `sizes`:
/// of query, key and value as [B, H, S, D], and of the mask if there is one,
/// whose dims may be 1.
void checkAttentionSizes(LowerScope &scope,
                         ArrayRef<SmallVector<OpFoldResult>> sizes);

/// Puts what kernels can serve into the ffn dialect: matrix products with
/// constant weights, and Transpose, Cast, Reshape of weights.
void exposeWeights(Operation *root);

/// Error [FFN-C101] at a node, in the form of LowerContext::unsupported.
LogicalResult reportUnsupported(onnx::NodeOp node, const llvm::Twine &why);

/// Whether no operation is needed for the node: the analysis knows what it
/// gives.
bool hasKnownContents(const SymbolicShapeAnalysis &analysis, onnx::NodeOp node);

/// Finds outputs of f32 that are an input and what is concatenated to it, where
/// nothing else reads the input: the caller may keep both in one place. Keys
/// are the concatenations, in the order of the outputs.
void findAppends(func::FuncOp main, const SymbolicShapeAnalysis &analysis,
                 llvm::MapVector<Operation *, DescriptorAppend> &appends);

/// Lowers such a concatenation to a call of the append kernel.
LogicalResult lowerAppend(NodeContext &context, const DescriptorAppend &pair,
                          cpu::Level level);

/// What a tensor is a view of, as long as dimensions are only split; `sizes`
/// become those of the source.
Value stripViews(LowerScope &scope, Value tensor,
                 SmallVectorImpl<OpFoldResult> &sizes);

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_CONVERSION_MODELLOWERING_H
