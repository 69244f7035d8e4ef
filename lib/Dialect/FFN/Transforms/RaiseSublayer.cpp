//===- RaiseSublayer.cpp - Residual additions become regions --------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// An addition whose one operand is computed from the other is a residual
// sublayer. Its body is what lies between: nodes that depend on the residual
// and that an addend depends on. What does not depend on the residual (masks,
// positions, sizes) stays outside and is captured.
//
//===----------------------------------------------------------------------===//

#include "RaiseDetail.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::raise;
using onnx::NodeOp;

static constexpr llvm::StringLiteral sublayerName = "residual sublayer";

namespace {
/// More ops than any transformer sublayer has; bounds the search.
constexpr unsigned maxBodyOps = 8192;
} // namespace

/// Nodes that ask for a size alone.
static bool readsSizeOnly(Operation *op) {
  auto node = llvm::dyn_cast<NodeOp>(op);
  return node && (node.is("Shape") || node.is("Size"));
}

/// All operands of an op, those that its regions capture included, as ops of
/// `block` or block arguments.
static void forEachOperand(Operation *op, function_ref<void(Value)> visit) {
  for (Value operand : op->getOperands())
    visit(operand);
  if (op->getNumRegions() == 0)
    return;
  op->walk([&](Operation *inner) {
    if (inner == op)
      return;
    for (Value operand : inner->getOperands())
      if (!op->isAncestor(operand.getParentBlock()->getParentOp()))
        visit(operand);
  });
}

/// The addends of a residual sum and what is between.
struct Raiser::Candidate {
  NodeOp root;
  Value residual;
  SmallVector<Value> addends;
  SmallVector<NodeOp> sums;      // the additions, which the sublayer replaces
  SmallVector<Operation *> body; // in block order
};

/// Ops of the block that `start` is computed from, back to the definition of
/// `residual`; empty when there are too many. With `dataOnly`, what is only
/// asked for its size is left out. `reached` says whether the residual is
/// among the operands.
static SmallVector<Operation *> collectBehind(Value start, Value residual,
                                              Block *block, bool dataOnly,
                                              bool &reached) {
  Operation *limit = residual.getDefiningOp();
  if (limit && limit->getBlock() != block)
    limit = nullptr;
  llvm::SmallPtrSet<Operation *, 32> seen;
  SmallVector<Operation *> ops;
  SmallVector<Value> worklist{start};
  reached = false;
  while (!worklist.empty()) {
    Value value = worklist.pop_back_val();
    if (value == residual) {
      reached = true;
      continue;
    }
    Operation *op = value.getDefiningOp();
    if (!op || op->getBlock() != block || llvm::isa<WeightOp>(op) ||
        op == limit || (limit && op->isBeforeInBlock(limit)) ||
        !seen.insert(op).second)
      continue;
    ops.push_back(op);
    if (ops.size() > maxBodyOps) {
      reached = false;
      return {};
    }
    if (!dataOnly || !readsSizeOnly(op))
      forEachOperand(op, [&](Value operand) { worklist.push_back(operand); });
  }
  return ops;
}

static bool isComputedFrom(Value value, Value residual, Block *block) {
  bool reached = false;
  if (value != residual)
    collectBehind(value, residual, block, /*dataOnly=*/true, reached);
  return reached;
}

/// Keeps of `ops` those that depend on `residual`, in block order.
static SmallVector<Operation *> keepDependent(ArrayRef<Operation *> ops,
                                              Value residual) {
  SmallVector<Operation *> ordered(ops.begin(), ops.end());
  llvm::sort(ordered,
             [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  llvm::SmallPtrSet<Operation *, 32> dependent;
  SmallVector<Operation *> body;
  for (Operation *op : ordered) {
    bool depends = false;
    forEachOperand(op, [&](Value operand) {
      if (operand == residual)
        depends |= !readsSizeOnly(op);
      else if (Operation *def = operand.getDefiningOp())
        depends |= dependent.contains(def);
    });
    if (depends) {
      dependent.insert(op);
      body.push_back(op);
    }
  }
  return body;
}

/// What lies between the residual and `addends`, in block order.
static SmallVector<Operation *> collectBody(ArrayRef<Value> addends,
                                            Value residual, Block *block) {
  llvm::SetVector<Operation *> behind;
  for (Value addend : addends) {
    bool reached = false;
    behind.insert_range(
        collectBehind(addend, residual, block, /*dataOnly=*/false, reached));
  }
  return keepDependent(behind.getArrayRef(), residual);
}

//===----------------------------------------------------------------------===//
// Kind and name
//===----------------------------------------------------------------------===//

static bool isAttentionNode(NodeOp node) {
  return llvm::StringSwitch<bool>(node.getOp())
      .Cases({"Attention", "MultiHeadAttention", "GroupQueryAttention"}, true)
      .Cases({"DecoderMaskedMultiHeadAttention", "PackedAttention"}, true)
      .Cases({"DecoderMaskedSelfAttention", "PackedMultiHeadAttention"}, true)
      .Cases({"QAttention", "SparseAttention", "PagedAttention"}, true)
      .Case("DecoderAttention", true)
      .Default(false);
}

/// Whether a softmax weighs values: probabilities times a product that is not
/// a constant.
static bool feedsProduct(Operation *softmax) {
  SmallVector<Operation *> worklist(softmax->getUsers());
  for (unsigned i = 0; i < worklist.size() && i < 8; ++i) {
    auto node = llvm::dyn_cast<NodeOp>(worklist[i]);
    if (!node)
      continue;
    if (node.is("MatMul") || node.is("Einsum"))
      return true;
    if (node.is("Cast") || node.is("Where") || node.is("Dropout") ||
        node.is("Mul") || node.is("Transpose") || node.is("Reshape"))
      worklist.append(node->user_begin(), node->user_end());
  }
  return false;
}

static SublayerKind classifyBody(ArrayRef<Operation *> body) {
  bool attention = false, network = false, topK = false;
  unsigned networks = 0;
  auto inspect = [&](Operation *op) {
    if (llvm::isa<AttentionOp>(op))
      attention = true;
    else if (llvm::isa<FeedForwardOp>(op)) {
      network = true;
      ++networks;
    } else if (auto node = llvm::dyn_cast<NodeOp>(op)) {
      attention |=
          isAttentionNode(node) || (node.is("Softmax") && feedsProduct(node));
      topK |= node.is("TopK") || node.is("com.microsoft", "MoE") ||
              node.is("com.microsoft", "QMoE");
    }
  };
  for (Operation *op : body)
    op->walk(inspect);
  if (attention)
    return SublayerKind::Attention;
  if (topK)
    return SublayerKind::Moe;
  return network ? SublayerKind::Ffn : SublayerKind::Other;
}

/// Whether the body computes with weights at all: `x + c x^3` inside a GELU
/// is a sum of the same form.
static bool hasProduct(ArrayRef<Operation *> body) {
  for (Operation *op : body) {
    bool found = false;
    op->walk([&](Operation *inner) {
      if (llvm::isa<LinearOp, FeedForwardOp, AttentionOp>(inner))
        found = true;
      else if (auto node = llvm::dyn_cast<NodeOp>(inner))
        found |= isAttentionNode(node) ||
                 llvm::StringSwitch<bool>(node.getOp())
                     .Cases({"MatMul", "Gemm", "Conv", "Einsum"}, true)
                     .Cases({"MatMulNBits", "MatMulInteger", "MoE"}, true)
                     .Cases({"QLinearMatMul", "FusedMatMul", "Loop"}, true)
                     .Default(false);
    });
    if (found)
      return true;
  }
  return false;
}

/// Names that a tool made up, or that are no path, say nothing.
static bool isAnonymous(StringRef name) {
  return name.starts_with("onnx::") || name.starts_with("val_") ||
         name.find_first_of("./") == StringRef::npos;
}

/// Path components of a name of the file; both '.' and '/' separate them, and
/// a tool's prefix or suffix ("onnx::", ":0") is none.
static SmallVector<StringRef> splitName(StringRef name) {
  SmallVector<StringRef> parts;
  while (!name.empty()) {
    size_t end = name.find_first_of("./");
    StringRef part = name.substr(0, end);
    if (!part.empty())
      parts.push_back(part);
    name = end == StringRef::npos ? StringRef() : name.drop_front(end + 1);
  }
  return parts;
}

static StringRef getSourceKey(Value weight) {
  for (unsigned depth = 0; weight && depth < 8; ++depth) {
    if (auto op = weight.getDefiningOp<WeightOp>()) {
      if (auto span = llvm::dyn_cast<SpanAttr>(op.getValue()))
        return span.getKey().getValue();
      // An inline weight has its name beside it.
      auto name = op->getAttrOfType<StringAttr>("onnx.name");
      return name ? name.getValue() : StringRef();
    }
    auto expr = weight.getDefiningOp<WeightExprInterface>();
    SmallVector<Value> sources =
        expr ? expr.getWeightSources() : SmallVector<Value>();
    weight = sources.empty() ? Value() : sources.front();
  }
  return {};
}

/// Names of the nodes that the op was made of.
static void collectNodeNames(Location loc, SmallVectorImpl<StringRef> &names) {
  if (auto name = llvm::dyn_cast<NameLoc>(loc))
    names.push_back(name.getName().getValue());
  else if (auto fused = llvm::dyn_cast<FusedLoc>(loc))
    for (Location part : fused.getLocations())
      if (auto name = llvm::dyn_cast<NameLoc>(part))
        names.push_back(name.getName().getValue());
}

/// The module that all named weights or nodes are part of: their longest
/// common path, above the module of a single linear.
static SmallVector<StringRef> commonPath(ArrayRef<StringRef> names) {
  SmallVector<StringRef> common;
  bool first = true, severalModules = false;
  for (StringRef name : names) {
    SmallVector<StringRef> parts = splitName(name);
    if (parts.size() < 2)
      return {};
    parts.pop_back();
    if (first) {
      common = parts;
      first = false;
      continue;
    }
    severalModules |= parts != common;
    size_t n = 0;
    while (n < common.size() && n < parts.size() && common[n] == parts[n])
      ++n;
    common.truncate(n);
  }
  if (!severalModules && !common.empty())
    common.pop_back();
  return common;
}

static StringRef suffixFor(SublayerKind kind) {
  switch (kind) {
  case SublayerKind::Attention:
    return "attn";
  case SublayerKind::Ffn:
    return "mlp";
  case SublayerKind::Moe:
    return "moe";
  case SublayerKind::Other:
    break;
  }
  return "body";
}

std::string Raiser::makeName(SublayerKind kind, ArrayRef<Operation *> body) {
  SmallVector<StringRef> keys, nodes;
  for (Operation *op : body)
    op->walk([&](Operation *inner) {
      if (!llvm::isa<LinearOp, FeedForwardOp>(inner))
        return;
      for (Value weight :
           llvm::cast<ComputeOpInterface>(inner).getWeightOperands())
        if (StringRef key = getSourceKey(weight); !isAnonymous(key))
          keys.push_back(key);
      collectNodeNames(inner->getLoc(), nodes);
    });
  llvm::erase_if(nodes, isAnonymous);
  SmallVector<StringRef> path = commonPath(keys);
  if (path.empty())
    path = commonPath(nodes);

  std::string name = llvm::join(path, ".");
  StringRef suffix = suffixFor(kind);
  if (name.empty()) {
    // Layers are counted by their sublayers: a kind that does not come after
    // the last one begins a new layer.
    if (lastGenerated &&
        static_cast<unsigned>(*lastGenerated) >= static_cast<unsigned>(kind))
      ++layerIndex;
    lastGenerated = kind;
    name = ("layers." + Twine(layerIndex) + "." + suffix).str();
  } else if (llvm::isDigit(name.back())) {
    // The name of a whole block, whose other sublayer has the same.
    name += ("." + suffix).str();
  }
  if (names.insert(name).second)
    return name;
  std::string base = name;
  if (!StringRef(base).ends_with(suffix)) {
    base += ("." + suffix).str();
    if (names.insert(base).second)
      return base;
  }
  for (unsigned i = 1;; ++i) {
    name = (base + "." + Twine(i)).str();
    if (names.insert(name).second)
      return name;
  }
}

//===----------------------------------------------------------------------===//
// State
//===----------------------------------------------------------------------===//

ArrayAttr
Raiser::findStatePairs(ArrayRef<Value> extras,
                       const llvm::SmallPtrSetImpl<Operation *> &body) {
  // A present result is made from a past argument by moving elements alone.
  auto moves = [](Operation *op) {
    auto node = llvm::dyn_cast<NodeOp>(op);
    return node &&
           llvm::StringSwitch<bool>(node.getOp())
               .Cases({"Concat", "Transpose", "Identity", "Cast"}, true)
               .Cases({"Reshape", "Unsqueeze", "Squeeze", "Split"}, true)
               .Cases({"Slice", "Gather", "ScatterElements"}, true)
               .Cases({"ScatterND", "TensorScatter", "Where"}, true)
               .Default(isAttentionNode(node));
  };
  SmallVector<Attribute> pairs;
  for (auto [index, extra] : llvm::enumerate(extras)) {
    bool returned = llvm::any_of(extra.getUsers(), [](Operation *user) {
      return llvm::isa<func::ReturnOp>(user);
    });
    if (!returned)
      continue;
    llvm::SmallSetVector<BlockArgument, 2> pasts;
    SmallVector<Value> worklist{extra};
    llvm::SmallPtrSet<Operation *, 8> seen;
    while (!worklist.empty() && seen.size() < 32) {
      Value value = worklist.pop_back_val();
      if (auto argument = llvm::dyn_cast<BlockArgument>(value)) {
        auto from = llvm::dyn_cast<RankedTensorType>(argument.getType()),
             to = llvm::dyn_cast<RankedTensorType>(extra.getType());
        if (llvm::isa<func::FuncOp>(argument.getOwner()->getParentOp()) &&
            from && to && from.getRank() == to.getRank() &&
            from.getElementType() == to.getElementType())
          pasts.insert(argument);
        continue;
      }
      Operation *op = value.getDefiningOp();
      if (op && body.contains(op) && moves(op) && seen.insert(op).second)
        worklist.append(op->operand_begin(), op->operand_end());
    }
    if (pasts.size() == 2) {
      // A fused attention has both pasts: the k-th result takes the k-th.
      Operation *op = extra.getDefiningOp();
      auto node = llvm::dyn_cast<NodeOp>(op);
      auto result = llvm::dyn_cast<OpResult>(extra);
      if (node && isAttentionNode(node) && result.getResultNumber() >= 1 &&
          result.getResultNumber() <= 2) {
        SmallVector<BlockArgument> sorted(pasts.begin(), pasts.end());
        llvm::sort(sorted, [](BlockArgument a, BlockArgument b) {
          return a.getArgNumber() < b.getArgNumber();
        });
        pairs.push_back(StatePairAttr::get(
            ctx, sorted[result.getResultNumber() - 1].getArgNumber(), index));
      }
      continue;
    }
    if (pasts.size() == 1)
      pairs.push_back(
          StatePairAttr::get(ctx, pasts.front().getArgNumber(), index));
  }
  return pairs.empty() ? ArrayAttr() : rewriter.getArrayAttr(pairs);
}

//===----------------------------------------------------------------------===//
// Matching
//===----------------------------------------------------------------------===//

/// The operands of a chain of additions whose inner sums nothing else uses.
static void flattenSum(NodeOp add, SmallVectorImpl<Value> &leaves,
                       SmallVectorImpl<NodeOp> &sums) {
  sums.push_back(add);
  for (unsigned i : {0u, 1u}) {
    Value operand = add.getInput(i);
    NodeOp inner = definedBy(operand, "Add");
    if (inner && operand.hasOneUse() && inner->getBlock() == add->getBlock() &&
        operand.getType() == add.getResult(0).getType() && sums.size() < 8 &&
        inner.getInputs().size() == 2)
      flattenSum(inner, leaves, sums);
    else
      leaves.push_back(operand);
  }
}

/// The one leaf that all others are computed from; -1 if there is none.
static int findResidual(ArrayRef<Value> leaves, Block *block) {
  for (unsigned i = 0; i < leaves.size(); ++i) {
    bool all = true;
    for (unsigned j = 0; j < leaves.size() && all; ++j)
      all = i == j || isComputedFrom(leaves[j], leaves[i], block);
    if (all)
      return i;
  }
  return -1;
}

/// Whether the sum is built as ((residual + a) + b) + ...
static bool isLeftToRight(NodeOp root, Value residual,
                          ArrayRef<Value> addends) {
  Value spine = root.getResult(0);
  for (Value addend : llvm::reverse(addends)) {
    NodeOp sum = definedBy(spine, "Add");
    if (!sum || sum.getInput(1) != addend)
      return false;
    spine = sum.getInput(0);
  }
  return spine == residual;
}

/// Whether each addend is a sublayer of its own, sharing norms at most.
static bool areDistinct(Value residual, ArrayRef<Value> addends, Block *block) {
  llvm::SmallPtrSet<Operation *, 32> shared;
  for (Value addend : addends) {
    SmallVector<Operation *> part = collectBody(addend, residual, block);
    if (classifyBody(part) == SublayerKind::Other)
      return false;
    for (Operation *op : part)
      if (!llvm::isa<NormOp>(op) && !shared.insert(op).second)
        return false;
  }
  return true;
}

bool Raiser::raiseSublayer(NodeOp add) {
  RankedTensorType type = floatTensor(add.getResult(0));
  if (!type || type.getRank() < 2 || add.getInputs().size() != 2 ||
      !add.getInput(0) || !add.getInput(1))
    return false;
  Block *block = add->getBlock();
  // The inner sum of a longer residual sum is part of that.
  if (add->hasOneUse())
    if (auto outer = llvm::dyn_cast<NodeOp>(*add->user_begin());
        outer && outer.is("Add") && outer->getBlock() == block &&
        outer.getInputs().size() == 2 && outer.getResult(0).getType() == type) {
      SmallVector<Value> leaves;
      SmallVector<NodeOp> sums;
      flattenSum(outer, leaves, sums);
      if (findResidual(leaves, block) >= 0)
        return false;
    }

  Candidate candidate;
  candidate.root = add;
  SmallVector<Value> leaves;
  flattenSum(add, leaves, candidate.sums);
  int index = findResidual(leaves, block);
  if (index >= 0) {
    candidate.residual = leaves[index];
    candidate.addends = leaves;
    candidate.addends.erase(candidate.addends.begin() + index);
  }
  // Several addends: f32 addition is not associative, so another order than
  // (residual + a) + b is taken only where the addends are sublayers.
  if (index < 0 ||
      (candidate.addends.size() > 1 &&
       !isLeftToRight(add, candidate.residual, candidate.addends) &&
       !areDistinct(candidate.residual, candidate.addends, block))) {
    SmallVector<Value> operands{add.getInput(0), add.getInput(1)};
    index = findResidual(operands, block);
    if (index < 0)
      return false;
    candidate.sums.resize(1);
    candidate.residual = operands[index];
    candidate.addends = {operands[1 - index]};
  }
  candidate.body = collectBody(candidate.addends, candidate.residual, block);
  if (!hasProduct(candidate.body))
    return false;

  // Scores plus a mask look the same from the second layer on, where scores
  // depend on the mask; so do connections across many layers.
  for (Operation *op : candidate.body) {
    WalkResult nested =
        op->walk([](SublayerOp) { return WalkResult::interrupt(); });
    if (nested.wasInterrupted())
      return false;
  }
  bool sameTypes = candidate.residual.getType() == type;
  for (Value addend : candidate.addends)
    sameTypes &= addend.getType() == type;
  if (!sameTypes) {
    nearMiss(add, sublayerName,
             "the types of the residual, the addends and the sum differ");
    return false;
  }
  createSublayer(candidate);
  return true;
}

void Raiser::createSublayer(Candidate &candidate) {
  NodeOp root = candidate.root;
  Block *block = root->getBlock();
  llvm::SmallPtrSet<Operation *, 32> body(candidate.body.begin(),
                                          candidate.body.end());
  llvm::SmallPtrSet<Operation *, 4> sums(candidate.sums.begin(),
                                         candidate.sums.end());

  // Values of the body that others use.
  SmallVector<Value> extras;
  SmallVector<Operation *> later;
  for (Operation *op : candidate.body)
    for (Value result : op->getResults()) {
      bool outside = false;
      for (Operation *user : result.getUsers()) {
        Operation *ancestor = block->findAncestorOpInBlock(*user);
        if (ancestor && !body.contains(ancestor) && !sums.contains(ancestor))
          outside = true;
      }
      if (outside)
        extras.push_back(result);
    }
  // Users of extras that stand before the root move behind the sublayer.
  // None of them feeds the body, or it would be part of it.
  if (!extras.empty()) {
    llvm::SmallPtrSet<Operation *, 16> delayed;
    for (Operation *op = candidate.body.front(); op != root;
         op = op->getNextNode()) {
      if (body.contains(op) || sums.contains(op))
        continue;
      bool depends = false;
      forEachOperand(op, [&](Value operand) {
        if (Operation *def = operand.getDefiningOp())
          depends |= body.contains(def) || delayed.contains(def);
      });
      if (depends) {
        delayed.insert(op);
        later.push_back(op);
      }
    }
  }

  SmallVector<Attribute> addends;
  for (Value addend : candidate.addends) {
    SmallVector<Operation *> part =
        collectBody(addend, candidate.residual, block);
    SublayerKind kind = classifyBody(part);
    addends.push_back(AddendAttr::get(
        ctx, kind, rewriter.getStringAttr(makeName(kind, part))));
  }
  ArrayAttr state = findStatePairs(extras, body);

  rewriter.setInsertionPoint(root);
  Type type = candidate.residual.getType();
  SmallVector<Type> extraTypes;
  for (Value extra : extras)
    extraTypes.push_back(extra.getType());
  auto sublayer = SublayerOp::create(rewriter, locationOf(root), type,
                                     extraTypes, candidate.residual,
                                     rewriter.getArrayAttr(addends), state);
  Block *inner =
      rewriter.createBlock(&sublayer.getBody(), {}, type, sublayer.getLoc());
  Operation *position = sublayer;
  for (Operation *op : later) {
    rewriter.moveOpAfter(op, position);
    position = op;
  }
  for (Operation *op : candidate.body)
    rewriter.moveOpBefore(op, inner, inner->end());
  rewriter.setInsertionPointToEnd(inner);
  SmallVector<Value> yielded(candidate.addends);
  yielded.append(extras);
  YieldOp::create(rewriter, sublayer.getLoc(), yielded);

  // The body reads its argument, others the residual; extras are results.
  auto isInside = [&](OpOperand &use) {
    return sublayer->isProperAncestor(use.getOwner());
  };
  rewriter.replaceUsesWithIf(candidate.residual, inner->getArgument(0),
                             isInside);
  for (auto [extra, result] : llvm::zip(extras, sublayer.getExtras()))
    rewriter.replaceUsesWithIf(extra, result,
                               [&](OpOperand &use) { return !isInside(use); });
  rewriter.replaceOp(root, sublayer.getHidden());
  for (NodeOp sum : llvm::drop_begin(candidate.sums))
    if (sum->use_empty())
      rewriter.eraseOp(sum);
}

void Raiser::raiseSublayers(Block &block) {
  forEachNode(block, [&](NodeOp node) {
    if (node.is("Add"))
      raiseSublayer(node);
  });
}
