//===- RaiseDetail.h - Shared parts of ffn-raise ----------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// ffn-raise works in steps over each block: no-ops, norms, linears, networks,
// attention, sublayers. A step looks at the nodes of the block in order and
// replaces the last node of a pattern; what only fed the pattern is erased.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_RAISEDETAIL_H
#define FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_RAISEDETAIL_H

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "ffn-mlir/Ops/OpTable.h"
#include "ffn-mlir/Support/CandidateLog.h"
#include "ffn-mlir/Support/DimExpr.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/PatternMatch.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

namespace mlir::ffn::raise {

//===----------------------------------------------------------------------===//
// Questions about values
//===----------------------------------------------------------------------===//

/// The node that defines `value`, if it is the default-domain operator `op`.
onnx::NodeOp definedBy(Value value, StringRef op);

/// Ranked tensor type of a floating element type, or null.
RankedTensorType floatTensor(Value value);

/// Contents of a small constant of any shape (at most 64 elements), also of
/// integer arithmetic on sizes that the types fix (`Shape`, `Gather`, ...).
struct SmallConstant {
  SmallVector<int64_t> shape;
  SmallVector<double> values;
};
std::optional<SmallConstant> getSmallConstant(Value value);
/// Value of a constant with one element.
std::optional<double> getScalarConstant(Value value);
/// Values of a constant integer list.
std::optional<SmallVector<int64_t>> getIntConstants(Value value);
/// Relative difference within what rounding to the element type explains.
bool isClose(double value, double wanted, Type elementType);

/// Whether the value is a constant tensor that a weight expression can name.
bool isConstant(Value value);
/// The ops of one pattern, root first.
using OpSet = llvm::SmallSetVector<Operation *, 8>;
/// First use of an inner value of the pattern by an op outside of it; null if
/// only the root's results leave the pattern.
Operation *findOutsideUse(const OpSet &ops);

/// Location of what replaces the node: its name is kept in it.
Location locationOf(onnx::NodeOp node);
/// `node 'fc1' (Gemm)` or `linear 'fc1'`, for messages.
std::string describe(Operation *op);
std::string describe(Value value);

/// Replaces nodes that ONNX Runtime's optimizer has made of several (Attention,
/// MultiHeadAttention, EmbedLayerNormalization, GemmFastGelu of com.microsoft)
/// by their parts, then infers shapes. A form without such parts stays; all
/// stay, with a warning, where shapes that the file declares contradict the
/// parts.
LogicalResult expandFusedNodes(ModuleOp module);

//===----------------------------------------------------------------------===//
// State of one run
//===----------------------------------------------------------------------===//

class Raiser {
public:
  Raiser(ModuleOp module, bool remarks);

  /// All steps over every block of the function.
  void run(func::FuncOp func);

private:
  ModuleOp module;
  MLIRContext *ctx;
  bool remarks;
  int64_t opset;
  /// Symbolic sizes of the values there were before the first step, kept up
  /// to date when a value is replaced.
  llvm::DenseMap<Value, SmallVector<DimExpr>> dims;

  /// Forgets what is known of erased ops, whose memory is used again.
  struct EraseListener : RewriterBase::Listener {
    explicit EraseListener(Raiser &raiser) : raiser(raiser) {}
    Raiser &raiser;
    llvm::DenseSet<Operation *> erased;
    void notifyOperationErased(Operation *op) override {
      erased.insert(op);
      for (Value result : op->getResults())
        raiser.dims.erase(result);
    }
    void notifyOperationReplaced(Operation *op,
                                 ValueRange replacement) override;
  };
  EraseListener listener;
  IRRewriter rewriter;
  llvm::DenseSet<std::pair<Operation *, StringRef>> reported;
  CandidateLog log{"ffn-raise", NumericalClass::Exact};
  llvm::DenseMap<std::tuple<void *, unsigned, Type>, Value> expressions;
  llvm::StringSet<> names;
  unsigned layerIndex = 0;
  std::optional<SublayerKind> lastGenerated;

  //===--- Helpers --------------------------------------------------------===//

  /// Calls `visit` for each node of the block that is still there when its
  /// turn comes; nodes made meanwhile are not visited.
  void forEachNode(Block &block, llvm::function_ref<void(onnx::NodeOp)> visit);
  /// A remark at `op`: "near miss: <what> at <op>: <why>"; once for each op
  /// and `what`.
  void nearMiss(Operation *op, StringRef what, const Twine &why);
  /// Replaces the results and erases what has become dead.
  void replace(Operation *op, ValueRange values);
  /// Erases those of `ops` that have no uses and no effect, and what only fed
  /// them.
  void eraseIfDead(ArrayRef<Operation *> ops);
  /// The node `op` of the default domain in its version for the model's opset.
  onnx::NodeOp createNode(Location loc, StringRef op, Type result,
                          ValueRange inputs,
                          ArrayRef<NamedAttribute> attrs = {});
  /// The weight expression that `value` (see isConstant) is.
  Value getWeight(Value value);
  /// Unary expressions, made beside their operand, one for each operand.
  Value getTranspose(Value weight);
  Value getReshape(Value weight, ArrayRef<int64_t> shape);
  Value getCast(Value weight, Type elementType);
  Value getAdd(Value lhs, Value rhs);
  Value getDequantized(onnx::NodeOp node);
  Value getGatherRows(Value weight, int64_t begin, int64_t size);
  Value getBroadcastVector(Value weight, int64_t size);
  Value getScaled(Value weight, double factor);
  Value createSplat(Type elementType, int64_t size, double value,
                    Operation *beside);
  void setInsertionAfterValue(Value value);
  /// `value` as a vector of `size` elements when it is a constant that
  /// broadcasts along all but the last dimension; null otherwise.
  bool isVectorConstant(Value value, int64_t size, bool orScalar = false);
  Value getVector(Value value, int64_t size);

  /// Whether two sizes are known to be equal.
  bool haveSameDim(Value a, unsigned dimA, Value b, unsigned dimB);
  /// Whether all dims but the last are known to be equal.
  bool haveSameLeadingDims(Value a, Value b);
  void recordShapes(func::FuncOp func);

  //===--- Steps ----------------------------------------------------------===//

  void runOnBlock(Block &block);
  void removeNoOps(Block &block);
  void raiseNorms(Block &block);
  void raiseLinears(Block &block);
  void raiseEmbeddings(Block &block);
  void raiseFeedForwards(Block &block);
  void raiseAttention(Block &block);
  void raiseSublayers(Block &block);

  // RaiseNorm.cpp
  void raiseNormOp(onnx::NodeOp node, NormKind kind);
  void raiseSkipNorm(onnx::NodeOp node, NormKind kind);
  bool raiseDecomposedNorm(onnx::NodeOp node);
  bool raiseFoldedLayerNorm(onnx::NodeOp node);
  struct NormCore;
  bool createNorm(NormCore &core, OpSet &ops);

  // RaiseLinear.cpp
  void expandBiasActivation(onnx::NodeOp node);
  bool raiseMatMul(onnx::NodeOp node);
  bool raiseGemm(onnx::NodeOp node);
  bool absorbBias(LinearOp linear);
  void absorbReshapes(LinearOp linear);

  // RaiseFeedForward.cpp
  bool raiseFeedForward(LinearOp down, std::string &why);
  void explainMissedFeedForward(Operation *down, Value hidden, std::string why);

  // RaiseAttention.cpp
  bool raiseAttentionCore(onnx::NodeOp matmul);
  void raiseAttentionOp(onnx::NodeOp node);
  Value stripRepeatedHeads(Value value);
  /// `op` (Unsqueeze or Squeeze) of dim 1, the one for heads.
  onnx::NodeOp createHeadsNode(Location loc, StringRef op, Type type,
                               Value value);
  /// [B, S, D] as [B, 1, S, D].
  Value insertHeads(Location loc, Value value);

  // RaiseSublayer.cpp
  struct Candidate;
  bool raiseSublayer(onnx::NodeOp add);
  void createSublayer(Candidate &candidate);
  std::string makeName(SublayerKind kind, ArrayRef<Operation *> body);
  ArrayAttr findStatePairs(ArrayRef<Value> extras,
                           const llvm::SmallPtrSetImpl<Operation *> &body);
};

//===----------------------------------------------------------------------===//
// Activations
//===----------------------------------------------------------------------===//

/// An activation function found behind a value.
struct ActivationMatch {
  Activation kind;
  Value input;
  OpSet ops;
};
/// Matches `value = a(input)`. On failure `why` may say what differs.
std::optional<ActivationMatch> matchActivation(Value value, std::string &why);

} // namespace mlir::ffn::raise

#endif // FFN_MLIR_LIB_DIALECT_FFN_TRANSFORMS_RAISEDETAIL_H
