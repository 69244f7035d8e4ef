//===- PruneSublayers.cpp - Remove residual addends by name ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Pipelines/Compile.h"
#include "ffn-mlir/Search/SelectSublayers.h"
#include "ffn-mlir/Search/TwoStage.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNPRUNESUBLAYERS
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

namespace {
struct PruneSublayers : mlir::ffn::impl::FFNPruneSublayersBase<PruneSublayers> {
  using FFNPruneSublayersBase::FFNPruneSublayersBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    FFNPruneSublayersBase::getDependentDialects(registry);
    if (!method.empty())
      registerCompileDialects(registry);
  }

  void runOnOperation() override {
    // All are candidates of a search, else those that are named.
    log.clear();
    getOperation().walk([&](SublayerOp sublayer) {
      for (unsigned i = 0; i < sublayer.getNumAddends(); ++i) {
        StringRef name = sublayer.getAddend(i).getName().getValue();
        if (!method.empty() || llvm::is_contained(only, name))
          log.add(getAddendOperand(sublayer, i), sublayer, name);
      }
    });
    if (failed(method.empty() ? checkNames() : search()))
      return signalPassFailure();
    if (selected.empty())
      return;
    // Everything is checked before anything is changed.
    SmallVector<Plan> plans;
    bool ok = true;
    getOperation().walk([&](SublayerOp sublayer) {
      Plan plan;
      plan.sublayer = sublayer;
      for (unsigned i = 0; i < sublayer.getNumAddends(); ++i)
        if (selected.contains(sublayer.getAddend(i).getName().getValue()))
          plan.addends.push_back(i);
      if (plan.addends.empty())
        return;
      ok &= succeeded(makePlan(plan));
      plans.push_back(std::move(plan));
    });
    if (!ok || failed(planSignatures(plans)))
      return signalPassFailure();
    for (Plan &plan : plans)
      apply(plan);
    for (auto func : getOperation().getOps<func::FuncOp>())
      shrinkSignature(func);
    log.finish();
  }

private:
  /// What goes from one sublayer.
  struct Plan {
    SublayerOp sublayer;
    SmallVector<unsigned> addends;
    /// Extra results that only these addends compute.
    SmallVector<unsigned> extras;
  };
  /// A past argument and the position of its present result.
  struct State {
    unsigned argument;
    unsigned result;
  };

  CandidateLog log{"ffn-prune-sublayers", NumericalClass::Approximate};
  llvm::StringSet<> selected;
  llvm::MapVector<func::FuncOp, SmallVector<State>> removedStates;

  LogicalResult search() {
    if (!only.empty())
      return emitError(getOperation().getLoc(),
                       "options 'only' and 'method' exclude each other "
                       "[FFN-P111]");
    if (withNorm)
      return emitError(getOperation().getLoc(),
                       "a search measures models whose norms stay: 'with-norm' "
                       "goes with 'only' [FFN-P111]");
    SelectOptions options;
    options.method = method;
    options.metric = metric;
    options.cpu = cpu;
    options.count = count;
    options.ratio = ratio;
    options.parameters = parameters;
    options.flops = flops;
    options.latency = latency;
    options.protect = protect;
    options.kinds.assign(kinds.begin(), kinds.end());
    options.wholeBlocks = wholeBlocks;
    options.maxEvaluations = evaluations;
    options.threads = threads;
    options.calibration = {calib, tokenizer, samples, length, seed};
    options.profile = profile;
    options.log = &log;
    if (method == "2ssp" && ratio > 0) {
      if (!(ratio < 1) || count || parameters || flops || latency)
        return emitError(getOperation().getLoc(),
                         "2ssp takes a ratio below 1 and no other budget, or "
                         "another budget for its second stage [FFN-P111]");
      FailureOr<unsigned> attentions = pruneNeurons(
          getOperation(), {ratio, cpu, threads, options.calibration}, log);
      if (failed(attentions))
        return failure();
      options.count = *attentions;
      options.ratio = 0;
    }
    FailureOr<SmallVector<std::string>> names =
        selectSublayers(getOperation(), options, [&](SublayerOp sublayer) {
          return explainFixed(sublayer);
        });
    if (failed(names))
      return failure();
    for (const std::string &name : *names)
      selected.insert(name);
    return success();
  }

  /// Why all of a sublayer cannot be removed; empty where it can. Nothing
  /// changes.
  std::string explainFixed(SublayerOp sublayer) {
    std::string why;
    ScopedDiagnosticHandler handler(&getContext(), [&](Diagnostic &diagnostic) {
      if (why.empty())
        why = diagnostic.str();
      return success();
    });
    Plan plan;
    plan.sublayer = sublayer;
    llvm::append_range(plan.addends, llvm::seq(sublayer.getNumAddends()));
    if (succeeded(makePlan(plan)))
      (void)planSignatures(plan, /*dryRun=*/true);
    removedStates.clear();
    return why;
  }

  LogicalResult checkNames() {
    llvm::SetVector<StringRef> known;
    getOperation().walk([&](SublayerOp sublayer) {
      for (unsigned i = 0; i < sublayer.getNumAddends(); ++i)
        known.insert(sublayer.getAddend(i).getName().getValue());
    });
    for (const std::string &name : only) {
      if (known.contains(name)) {
        selected.insert(name);
        continue;
      }
      InFlightDiagnostic diag =
          emitError(getOperation().getLoc(), "no sublayer is named '");
      diag << name << "' [FFN-P102]";
      std::string names;
      for (StringRef other : known)
        names += (names.empty() ? "" : ", ") + other.str();
      diag.attachNote() << (known.empty()
                                ? "the module has none: run ffn-raise first"
                                : "known: " + names);
      return failure();
    }
    return success();
  }

  /// Ops of the body that `values` are computed from.
  static llvm::SmallPtrSet<Operation *, 16> collectBehind(ValueRange values,
                                                          Block &body) {
    llvm::SmallPtrSet<Operation *, 16> seen;
    SmallVector<Value> worklist(values);
    while (!worklist.empty()) {
      Operation *op = worklist.pop_back_val().getDefiningOp();
      if (op)
        op = body.findAncestorOpInBlock(*op);
      if (!op || !seen.insert(op).second)
        continue;
      op->walk([&](Operation *inner) {
        llvm::append_range(worklist, inner->getOperands());
      });
    }
    return seen;
  }

  LogicalResult makePlan(Plan &plan) {
    SublayerOp sublayer = plan.sublayer;
    Block &body = sublayer.getBody().front();
    SmallVector<Value> kept, removed;
    for (auto [i, value] : llvm::enumerate(sublayer.getYieldedAddends()))
      (llvm::is_contained(plan.addends, i) ? removed : kept).push_back(value);
    auto behindKept = collectBehind(kept, body),
         behindRemoved = collectBehind(removed, body);
    for (auto [i, value] : llvm::enumerate(sublayer.getYieldedExtras())) {
      // What a remaining addend computes too stays an extra result; so does
      // what belongs to no addend while the sublayer stays.
      Operation *op = value.getDefiningOp();
      if (op && (behindKept.contains(op) ||
                 (!kept.empty() && !behindRemoved.contains(op))))
        continue;
      plan.extras.push_back(i);
      if (sublayer.getExtras()[i].use_empty())
        continue;
      if (failed(planExtra(plan, i)))
        return failure();
    }
    return success();
  }

  LogicalResult planExtra(Plan &plan, unsigned extra) {
    SublayerOp sublayer = plan.sublayer;
    StringRef name = sublayer.getAddend(plan.addends.front()).getName();
    Value value = sublayer.getExtras()[extra];
    std::optional<unsigned> argument;
    if (ArrayAttr state = sublayer.getStateAttr())
      for (auto pair : state.getAsRange<StatePairAttr>())
        if (pair.getExtra() == extra)
          argument = pair.getArgument();
    auto func = sublayer->getParentOfType<func::FuncOp>();
    for (OpOperand &use : value.getUses()) {
      if (argument && func && llvm::isa<func::ReturnOp>(use.getOwner()) &&
          *argument < func.getNumArguments()) {
        removedStates[func].push_back({*argument, use.getOperandNumber()});
        continue;
      }
      return sublayer.emitError("'")
             << name << "' cannot be removed: its extra result " << extra
             << " is used by " << use.getOwner()->getName()
             << " and is no state [FFN-P103]";
    }
    return success();
  }

  /// Checks that the arguments of removed states can go. A past argument that
  /// others ask for its size is replaced there by one of the same dims.
  LogicalResult planSignatures(ArrayRef<Plan> plans, bool dryRun = false) {
    if (keepSignature)
      return checkKept();
    for (auto &[func, states] : removedStates) {
      llvm::SmallDenseSet<unsigned> gone;
      for (State state : states)
        gone.insert(state.argument);
      for (State state : states) {
        BlockArgument past = func.getArgument(state.argument);
        for (OpOperand &use : llvm::make_early_inc_range(past.getUses())) {
          Operation *user = use.getOwner();
          bool inside = llvm::any_of(plans, [&](const Plan &plan) {
            return plan.addends.size() ==
                       plan.sublayer->getAttrOfType<ArrayAttr>("addends")
                           .size() &&
                   plan.sublayer->isProperAncestor(user);
          });
          if (inside)
            continue;
          auto node = llvm::dyn_cast<onnx::NodeOp>(user);
          Value other =
              node && node.is("Shape") ? findTwin(func, past, gone) : Value();
          if (!other)
            return user->emitError("argument ")
                   << state.argument
                   << " of a removed state is also used here; with "
                      "keep-signature it stays [FFN-P104]";
          if (!dryRun)
            use.set(other);
        }
      }
    }
    return success();
  }

  LogicalResult checkKept() {
    for (auto &[func, states] : removedStates)
      for (State state : states)
        if (func.getArgument(state.argument).getType() !=
            func.getResultTypes()[state.result])
          return func.emitError("argument ")
                 << state.argument << " of a removed state differs in type "
                 << "from its result " << state.result
                 << " and cannot take its place [FFN-P105]";
    return success();
  }

  /// Another argument with the same type and the same names of sizes.
  static Value findTwin(func::FuncOp func, BlockArgument argument,
                        const llvm::SmallDenseSet<unsigned> &gone) {
    Attribute dims = func.getArgAttr(argument.getArgNumber(), "ffn.dims");
    if (!dims)
      return {};
    for (BlockArgument other : func.getArguments())
      if (!gone.contains(other.getArgNumber()) &&
          other.getType() == argument.getType() &&
          func.getArgAttr(other.getArgNumber(), "ffn.dims") == dims)
        return other;
    return {};
  }

  //===--- Rewriting ------------------------------------------------------===//

  /// Operands of the body's ops from outside, whose ops may die with it.
  static SmallVector<Operation *> collectCaptured(SublayerOp sublayer) {
    llvm::SetVector<Operation *> captured;
    sublayer->walk([&](Operation *op) {
      for (Value operand : op->getOperands())
        if (Operation *def = operand.getDefiningOp();
            def && !sublayer->isAncestor(def))
          captured.insert(def);
    });
    return captured.takeVector();
  }

  void apply(Plan &plan) {
    SublayerOp sublayer = plan.sublayer;
    for (unsigned i : plan.addends)
      log.rewritten(getAddendOperand(sublayer, i), sublayer)
          << "removed '" << sublayer.getAddend(i).getName().getValue() << "' ("
          << stringifySublayerKind(sublayer.getAddend(i).getKind()) << ")";
    SmallVector<Operation *> captured = collectCaptured(sublayer);
    dropReturned(plan);
    IRRewriter rewriter(&getContext());
    if (plan.addends.size() == sublayer.getNumAddends()) {
      removeWhole(rewriter, sublayer);
      eraseDead(rewriter, captured);
      return;
    }
    // Some addends stay: a sublayer with fewer yields and results.
    Operation *yield = sublayer.getBody().front().getTerminator();
    SmallVector<Value> yielded;
    SmallVector<Attribute> addends, state;
    SmallVector<Type> extraTypes;
    SmallVector<unsigned> keptExtras;
    for (unsigned i = 0; i < sublayer.getNumAddends(); ++i)
      if (!llvm::is_contained(plan.addends, i)) {
        addends.push_back(sublayer.getAddend(i));
        yielded.push_back(yield->getOperand(i));
      }
    for (auto [i, value] : llvm::enumerate(sublayer.getYieldedExtras()))
      if (!llvm::is_contained(plan.extras, i)) {
        keptExtras.push_back(i);
        yielded.push_back(value);
        extraTypes.push_back(value.getType());
      }
    if (ArrayAttr pairs = sublayer.getStateAttr())
      for (auto pair : pairs.getAsRange<StatePairAttr>()) {
        auto position = llvm::find(keptExtras, pair.getExtra());
        if (position != keptExtras.end())
          state.push_back(StatePairAttr::get(&getContext(), pair.getArgument(),
                                             position - keptExtras.begin()));
      }
    rewriter.setInsertionPoint(sublayer);
    auto smaller = SublayerOp::create(
        rewriter, sublayer.getLoc(), sublayer.getHidden().getType(), extraTypes,
        sublayer.getResidual(), rewriter.getArrayAttr(addends),
        state.empty() ? ArrayAttr() : rewriter.getArrayAttr(state));
    smaller.getBody().takeBody(sublayer.getBody());
    SmallVector<Operation *> dropped;
    for (Value value : yield->getOperands())
      if (Operation *def = value.getDefiningOp())
        dropped.push_back(def);
    yield->setOperands(yielded);
    rewriter.replaceAllUsesWith(sublayer.getHidden(), smaller.getHidden());
    for (auto [i, kept] : llvm::enumerate(keptExtras))
      rewriter.replaceAllUsesWith(sublayer.getExtras()[kept],
                                  smaller.getExtras()[i]);
    rewriter.eraseOp(sublayer);
    eraseDead(rewriter, dropped);
    eraseDead(rewriter, captured);
  }

  /// The residual takes the place of the result; a post-norm goes too when
  /// that is asked for.
  void removeWhole(RewriterBase &rewriter, SublayerOp sublayer) {
    NormOp post;
    bool preNorm =
        llvm::any_of(sublayer.getBodyArgument().getUsers(),
                     [](Operation *user) { return llvm::isa<NormOp>(user); });
    if (withNorm && !preNorm && sublayer.getHidden().hasOneUse())
      post = llvm::dyn_cast<NormOp>(*sublayer.getHidden().user_begin());
    rewriter.replaceAllUsesWith(sublayer.getHidden(), sublayer.getResidual());
    rewriter.eraseOp(sublayer);
    if (!post)
      return;
    SmallVector<Operation *> parameters;
    for (Value value : post.getWeightOperands())
      if (Operation *def = value.getDefiningOp())
        parameters.push_back(def);
    post.emitRemark("removed the norm behind it");
    rewriter.replaceOp(post, post.getInput());
    eraseDead(rewriter, parameters);
  }

  /// Present results that go: the return hands back the past instead, which
  /// stays so with keep-signature and is erased otherwise.
  void dropReturned(Plan &plan) {
    auto func = plan.sublayer->getParentOfType<func::FuncOp>();
    auto found = removedStates.find(func);
    if (found == removedStates.end())
      return;
    for (unsigned extra : plan.extras)
      for (OpOperand &use : llvm::make_early_inc_range(
               plan.sublayer.getExtras()[extra].getUses()))
        for (State state : found->second)
          if (llvm::isa<func::ReturnOp>(use.getOwner()) &&
              use.getOperandNumber() == state.result) {
            use.set(func.getArgument(state.argument));
            break;
          }
  }

  void shrinkSignature(func::FuncOp func) {
    auto found = removedStates.find(func);
    if (found == removedStates.end())
      return;
    llvm::BitVector arguments(func.getNumArguments()),
        results(func.getNumResults());
    for (State state : found->second) {
      std::string name;
      if (auto text =
              func.getArgAttrOfType<StringAttr>(state.argument, "onnx.name"))
        name = " '" + text.getValue().str() + "'";
      if (keepSignature) {
        func.emitRemark("argument ")
            << state.argument << name << " is returned as result "
            << state.result << " unchanged";
        if (Attribute dims = func.getArgAttr(state.argument, "ffn.dims"))
          func.setResultAttr(state.result, "ffn.dims", dims);
        continue;
      }
      func.emitRemark("removed argument ")
          << state.argument << name << " and result " << state.result;
      arguments.set(state.argument);
      results.set(state.result);
    }
    if (keepSignature)
      return;
    func.walk([&](func::ReturnOp op) {
      SmallVector<Value> kept;
      for (auto [i, value] : llvm::enumerate(op.getOperands()))
        if (!results.test(i))
          kept.push_back(value);
      op->setOperands(kept);
    });
    // State pairs name arguments by position.
    SmallVector<unsigned> moved(func.getNumArguments());
    unsigned next = 0;
    for (unsigned i = 0; i < moved.size(); ++i)
      moved[i] = arguments.test(i) ? next : next++;
    func.walk([&](SublayerOp sublayer) {
      ArrayAttr state = sublayer.getStateAttr();
      if (!state)
        return;
      SmallVector<Attribute> pairs;
      for (auto pair : state.getAsRange<StatePairAttr>())
        if (pair.getArgument() < moved.size() &&
            !arguments.test(pair.getArgument()))
          pairs.push_back(StatePairAttr::get(
              &getContext(), moved[pair.getArgument()], pair.getExtra()));
      sublayer.setStateAttr(
          pairs.empty() ? ArrayAttr() : ArrayAttr::get(&getContext(), pairs));
    });
    (void)func.eraseArguments(arguments);
    (void)func.eraseResults(results);
  }
};
} // namespace
