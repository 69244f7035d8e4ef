//===- Parallelize.cpp - Neighbouring sublayers read the same input -------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Pipelines/Compile.h"
#include "ffn-mlir/Search/Dependency.h"
#include "ffn-mlir/Support/CandidateLog.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNPARALLELIZE
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

namespace {
/// Sublayers in a row that stay one after the other: a network, or the
/// attention and the network of a block.
struct Unit {
  SmallVector<SublayerOp, 2> sublayers;
  /// Place in the dependency matrix.
  unsigned index = 0;

  std::string getName() const {
    std::string name;
    for (SublayerOp sublayer : sublayers)
      for (unsigned i = 0; i < sublayer.getNumAddends(); ++i)
        name +=
            (name.empty() ? "" : "+") + sublayer.getAddend(i).getName().str();
    return name;
  }
  int64_t getWidth() const {
    int64_t width = 0;
    for (SublayerOp sublayer : sublayers)
      sublayer->walk([&](FeedForwardOp op) { width += op.getHiddenWidth(); });
    return width;
  }
  /// Stands for it among the candidates.
  const void *getSubject() const {
    return sublayers.front().getAsOpaquePointer();
  }
  bool isKind(SublayerKind kind) const {
    return llvm::all_of(sublayers, [&](SublayerOp sublayer) {
      return llvm::all_of(sublayer.getAddends(), [&](Attribute addend) {
        return llvm::cast<AddendAttr>(addend).getKind() == kind;
      });
    });
  }
};

std::string formatNumber(double number) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%.4g", number);
  return text;
}

struct Parallelize : mlir::ffn::impl::FFNParallelizeBase<Parallelize> {
  using FFNParallelizeBase::FFNParallelizeBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    FFNParallelizeBase::getDependentDialects(registry);
    if (!calib.empty())
      registerCompileDialects(registry);
  }

  void runOnOperation() override {
    if (failed(checkOptions()))
      return signalPassFailure();
    if (maxLength == 1)
      return;
    unitsOf.clear();
    chosen.clear();
    log.clear();
    SmallVector<Block *> blocks;
    getOperation().walk([&](SublayerOp sublayer) {
      if (!llvm::is_contained(blocks, sublayer->getBlock()))
        blocks.push_back(sublayer->getBlock());
    });
    // Everything is chosen before anything is changed.
    for (Block *block : blocks)
      collectUnits(*block);
    if (failed(measure()))
      return signalPassFailure();
    for (auto &[block, units] : unitsOf)
      for (const Unit &unit : units)
        if (isCandidate(unit))
          log.add(unit.getSubject(), unit.sublayers.front(), unit.getName());
    for (auto &[block, units] : unitsOf)
      choose(units);
    for (ArrayRef<Unit> group : chosen)
      merge(group);
    log.finish();
  }

private:
  enum class Mode { Networks, Blocks, Attention };
  Mode shape = Mode::Networks;
  llvm::StringSet<> selected;
  llvm::MapVector<Block *, SmallVector<Unit>> unitsOf;
  SmallVector<SmallVector<Unit>> chosen;
  std::optional<DependencyMatrix> matrix;
  CandidateLog log{"ffn-parallelize", NumericalClass::Approximate};

  /// Whether there is an answer about it: in the other modes an attention
  /// speaks for the network that joins it.
  bool isCandidate(const Unit &unit) const {
    return shape == Mode::Blocks ||
           unit.isKind(shape == Mode::Networks ? SublayerKind::Ffn
                                               : SublayerKind::Attention);
  }

  InFlightDiagnostic refuse(const llvm::Twine &why) {
    return getOperation().emitError(why + " [FFN-P130]");
  }

  LogicalResult checkOptions() {
    if (mode == "blocks")
      shape = Mode::Blocks;
    else if (mode == "attention")
      shape = Mode::Attention;
    else if (mode != "ffn")
      return refuse("mode '" + mode + "' is none of ffn, blocks, attention");
    if (!(maxDistance >= 0))
      return refuse("max-distance is not a number from 0 to 2");
    if (window < 2)
      return refuse("a window has two blocks or more");
    bool measured = maxDistance < 2 || !matrixFile.empty() || count > 0;
    if (measured && calib.empty())
      return refuse("distances need calibration data: calib=FILE, a text, "
                    "token lists (.json), a folder of them, or an .npz archive "
                    "of inputs");
    if (shape != Mode::Networks && calib.empty() && only.empty())
      return refuse("mode '" + mode +
                    "' needs calibration data (calib=FILE), or names (only=)");
    llvm::StringSet<> known;
    getOperation().walk([&](SublayerOp sublayer) {
      for (unsigned i = 0; i < sublayer.getNumAddends(); ++i)
        known.insert(sublayer.getAddend(i).getName().getValue());
    });
    for (const std::string &name : only) {
      if (!known.contains(name))
        return getOperation().emitError("no sublayer is named '")
               << name << "' [FFN-P102]";
      selected.insert(name);
    }
    return success();
  }

  //===--- Finding --------------------------------------------------------===//

  bool isSelected(SublayerOp sublayer) {
    return selected.empty() ||
           llvm::all_of(sublayer.getAddends(), [&](Attribute addend) {
             return selected.contains(
                 llvm::cast<AddendAttr>(addend).getName().getValue());
           });
  }

  /// Why `next` does not follow `sublayer` directly; empty if it does.
  static std::string findGap(SublayerOp sublayer, SublayerOp next) {
    if (next.getResidual() != sublayer.getHidden())
      return "another operation reads the residual between them (post-norm)";
    if (!sublayer.getHidden().hasOneUse())
      return "the hidden state between them is read elsewhere";
    // Joined, they stand where the last of them does.
    for (Value extra : sublayer.getExtras())
      for (Operation *user : extra.getUsers()) {
        Operation *here = next->getBlock()->findAncestorOpInBlock(*user);
        if (here && (here == next || here->isBeforeInBlock(next)))
          return "an extra result of '" +
                 sublayer.getAddend(0).getName().str() +
                 "' is read before the next one";
      }
    return {};
  }

  /// Units of a block in program order, each one sublayer, or all of a block of
  /// the model, which begins with the first sublayer and wherever a kind comes
  /// again.
  void collectUnits(Block &block) {
    SmallVector<Unit> &units = unitsOf[&block];
    llvm::SmallDenseSet<unsigned> kinds;
    for (auto sublayer : block.getOps<SublayerOp>()) {
      auto kind = static_cast<unsigned>(sublayer.getAddend(0).getKind());
      bool begins =
          shape != Mode::Blocks || units.empty() || !kinds.insert(kind).second;
      if (begins) {
        units.emplace_back();
        kinds.clear();
        kinds.insert(kind);
      }
      units.back().sublayers.push_back(sublayer);
    }
    for (auto [i, unit] : llvm::enumerate(units))
      unit.index = i;
  }

  LogicalResult measure() {
    if (calib.empty())
      return success();
    auto main = getOperation().lookupSymbol<func::FuncOp>("main");
    auto found = main && !main.isExternal()
                     ? unitsOf.find(&main.getBody().front())
                     : unitsOf.end();
    if (found == unitsOf.end() || found->second.size() < 2)
      return success();
    SmallVector<DependencyPart> parts;
    unsigned next = 0;
    for (const Unit &unit : found->second) {
      parts.emplace_back();
      for (size_t i = 0; i < unit.sublayers.size(); ++i)
        parts.back().push_back(next++);
    }
    FailureOr<DependencyMatrix> measured = measureDependency(
        getOperation(), parts, {calib, tokenizer, samples, length, seed}, cpu);
    if (failed(measured))
      return failure();
    matrix = std::move(*measured);
    return matrixFile.empty() ? success() : writeMatrix(found->second);
  }

  LogicalResult writeMatrix(ArrayRef<Unit> units) {
    auto write = [&](llvm::raw_ostream &os) {
      llvm::json::OStream json(os);
      json.object([&] {
        json.attributeArray("names", [&] {
          for (const Unit &unit : units)
            json.value(unit.getName());
        });
        json.attributeArray("distance", [&] {
          for (unsigned i = 0; i < units.size(); ++i)
            json.array([&] {
              for (unsigned j = 0; j < units.size(); ++j)
                if (double value = matrix->at(i, j); std::isnan(value))
                  json.value(nullptr);
                else
                  json.value(value);
            });
        });
      });
      os << '\n';
      return llvm::Error::success();
    };
    if (llvm::Error error = llvm::writeToOutput(matrixFile, write))
      return getOperation().emitError("cannot write '")
             << matrixFile << "': " << llvm::toString(std::move(error))
             << " [FFN-O101]";
    return success();
  }

  /// Distance of the later from what it is without the earlier; 0 where nothing
  /// was measured because no limit asks for it.
  double getDistance(const Unit &a, const Unit &b) {
    return matrix && a.index < b.index ? matrix->at(a.index, b.index) : 0;
  }
  bool isNear(double distance) {
    // NaN: a part that cannot be left out was not measured.
    return maxDistance >= 2 || distance <= maxDistance;
  }

  //===--- Choosing -------------------------------------------------------===//

  void stay(const Unit &unit, const llvm::Twine &why) {
    log.kept(unit.getSubject(), SublayerOp(unit.sublayers.back()))
        << "'" << unit.getName() << "' not parallelized: " << why;
  }

  void choose(SmallVector<Unit> &units) {
    if (shape == Mode::Networks)
      return chooseNetworks(units);
    chooseWindows(units);
  }

  void chooseNetworks(SmallVector<Unit> &units) {
    for (size_t i = 0; i < units.size();) {
      if (!units[i].isKind(SublayerKind::Ffn)) {
        ++i;
        continue;
      }
      if (!isSelected(units[i].sublayers.front())) {
        stay(units[i], "it is not among those asked for");
        ++i;
        continue;
      }
      size_t end = i + 1;
      std::string gap = "no network follows it";
      for (; end < units.size(); ++end) {
        SublayerOp next = units[end].sublayers.front();
        if (!units[end].isKind(SublayerKind::Ffn)) {
          gap = "'" + units[end].getName() +
                "' follows it and is no network; ffn-prune-sublayers removes "
                "attentions that matter little";
          break;
        }
        if (!isSelected(next)) {
          gap =
              "'" + units[end].getName() + "' follows it and is not asked for";
          break;
        }
        if (std::string why = findGap(units[end - 1].sublayers.front(), next);
            !why.empty()) {
          gap = why;
          break;
        }
      }
      ArrayRef<Unit> run = ArrayRef(units).slice(i, end - i);
      i = end;
      if (run.size() == 1) {
        stay(run.front(), gap);
        continue;
      }
      if (keepLast) {
        stay(run.back(), "the last of a run stays behind it; keep-last=false "
                         "takes it in");
        run = run.drop_back();
      }
      split(run);
    }
  }

  /// Pieces of nearly equal length within the limits, from the left.
  void split(ArrayRef<Unit> run) {
    size_t limit = run.size();
    if (maxLength > 0)
      limit = llvm::divideCeil(run.size(),
                               llvm::divideCeil(run.size(), size_t(maxLength)));
    while (!run.empty()) {
      size_t size = 1;
      int64_t width = run.front().getWidth();
      std::string why = "it is the only one left of its run; keep-last=false "
                        "takes the last one in";
      if (limit < 2)
        why = "max-length allows no more than one";
      for (; size < std::min(limit, run.size()); ++size) {
        width += run[size].getWidth();
        if (maxWidth > 0 && width > maxWidth) {
          why = "with the next one it would be wider than max-width=" +
                std::to_string(maxWidth);
          break;
        }
        double worst = 0;
        for (size_t k = 0; k < size; ++k) {
          double distance = getDistance(run[k], run[size]);
          worst = distance <= worst ? worst : distance;
        }
        if (!isNear(worst)) {
          why = "the next one depends on it: distance " + formatNumber(worst) +
                " is above max-distance";
          break;
        }
      }
      if (size == 1)
        stay(run.front(), why);
      else
        chosen.emplace_back(run.take_front(size));
      run = run.drop_front(size);
    }
  }

  /// Windows of blocks, or pairs of an attention and a network, by what was
  /// measured: the largest distance inside decides, then their sum.
  void chooseWindows(SmallVector<Unit> &units) {
    struct Window {
      size_t begin;
      double largest, sum;
    };
    size_t size = shape == Mode::Blocks ? size_t(window) : 2;
    std::vector<Window> windows;
    SmallVector<std::string> reasons(units.size());
    for (size_t i = 0; i < units.size(); ++i) {
      std::string &why = reasons[i];
      if (i + size > units.size()) {
        why = "too few sublayers follow it";
        continue;
      }
      ArrayRef<Unit> inside = ArrayRef(units).slice(i, size);
      if (shape == Mode::Attention &&
          (!inside[0].isKind(SublayerKind::Attention) ||
           !inside[1].isKind(SublayerKind::Ffn))) {
        why = "it is no attention in front of a network";
        continue;
      }
      SmallVector<SublayerOp> flat;
      for (const Unit &unit : inside)
        llvm::append_range(flat, unit.sublayers);
      for (size_t k = 0; k < flat.size() && why.empty(); ++k) {
        if (!isSelected(flat[k]))
          why = "it is not among those asked for";
        else if (k + 1 < flat.size())
          why = findGap(flat[k], flat[k + 1]);
      }
      if (!why.empty())
        continue;
      Window candidate{i, 0, 0};
      for (size_t a = 0; a < size; ++a)
        for (size_t b = a + 1; b < size; ++b) {
          double distance = getDistance(inside[a], inside[b]);
          candidate.sum += distance;
          candidate.largest =
              distance <= candidate.largest ? candidate.largest : distance;
        }
      if (isNear(candidate.largest))
        windows.push_back(candidate);
      else
        why = "distance " + formatNumber(candidate.largest) +
              " is above max-distance";
    }
    auto before = [](const Window &a, const Window &b) {
      return std::tie(a.largest, a.sum, a.begin) <
             std::tie(b.largest, b.sum, b.begin);
    };
    // What was not measured comes last.
    auto middle = std::stable_partition(
        windows.begin(), windows.end(),
        [](const Window &w) { return !std::isnan(w.largest); });
    std::stable_sort(windows.begin(), middle, before);
    llvm::BitVector taken(units.size());
    SmallVector<size_t> begins;
    for (const Window &candidate : windows) {
      bool free = true;
      for (size_t i = 0; i < size; ++i)
        free &= !taken.test(candidate.begin + i);
      bool enough = count > 0 && begins.size() >= count;
      if (!free || enough) {
        reasons[candidate.begin] = enough ? "others depend less on one another"
                                          : "it overlaps with "
                                            "one that depends "
                                            "less";
        continue;
      }
      taken.set(candidate.begin, candidate.begin + size);
      begins.push_back(candidate.begin);
    }
    llvm::sort(begins);
    for (size_t begin : begins)
      chosen.emplace_back(ArrayRef(units).slice(begin, size));
    for (auto [i, unit] : llvm::enumerate(units))
      if (!taken.test(i) && isCandidate(unit))
        stay(unit, reasons[i]);
  }

  //===--- Rewriting ------------------------------------------------------===//

  void merge(ArrayRef<Unit> group) {
    IRRewriter rewriter(&getContext());
    SmallVector<SublayerOp> sublayers;
    SmallVector<const void *> subjects;
    std::string names;
    double largest = 0;
    for (const Unit &unit : group) {
      if (isCandidate(unit))
        subjects.push_back(unit.getSubject());
      names += (names.empty() ? "'" : ", '") + unit.getName() + "'";
      for (const Unit &other : group)
        if (double distance = getDistance(other, unit); distance > largest)
          largest = distance;
      llvm::append_range(sublayers, unit.sublayers);
    }
    SublayerOp first = sublayers.front(), last = sublayers.back();
    SmallVector<Attribute> addends, state;
    SmallVector<Type> extraTypes;
    SmallVector<Value> extras;
    SmallVector<Location> locations;
    for (SublayerOp sublayer : sublayers) {
      llvm::append_range(addends, sublayer.getAddends());
      if (ArrayAttr pairs = sublayer.getStateAttr())
        for (auto pair : pairs.getAsRange<StatePairAttr>())
          state.push_back(
              StatePairAttr::get(&getContext(), pair.getArgument(),
                                 pair.getExtra() + extraTypes.size()));
      for (Value extra : sublayer.getExtras()) {
        extraTypes.push_back(extra.getType());
        extras.push_back(extra);
      }
      locations.push_back(sublayer.getLoc());
    }
    rewriter.setInsertionPoint(last);
    auto wide = SublayerOp::create(
        rewriter, rewriter.getFusedLoc(locations), last.getHidden().getType(),
        extraTypes, first.getResidual(), rewriter.getArrayAttr(addends),
        state.empty() ? ArrayAttr() : rewriter.getArrayAttr(state));
    Block *body = rewriter.createBlock(
        &wide.getBody(), {}, first.getResidual().getType(), wide.getLoc());
    SmallVector<Value> yieldedAddends, yieldedExtras;
    for (const Unit &unit : group) {
      Value input = body->getArgument(0);
      for (SublayerOp sublayer : unit.sublayers) {
        Block &old = sublayer.getBody().front();
        SmallVector<Value> added(sublayer.getYieldedAddends()),
            more(sublayer.getYieldedExtras());
        Operation *yield = old.getTerminator();
        rewriter.eraseOp(yield);
        // A body that yields its own argument yields the input.
        for (Value &value : added)
          if (value == old.getArgument(0))
            value = input;
        for (Value &value : more)
          if (value == old.getArgument(0))
            value = input;
        rewriter.inlineBlockBefore(&old, body, body->end(), input);
        llvm::append_range(yieldedAddends, added);
        llvm::append_range(yieldedExtras, more);
        if (sublayer == unit.sublayers.back())
          continue;
        // The network of a block reads what its own attention added.
        rewriter.setInsertionPointToEnd(body);
        int64_t version =
            getSinceVersion("Add", getDefaultOpset(getOperation()));
        for (Value value : added)
          input = onnx::NodeOp::create(rewriter, sublayer.getLoc(), "", "Add",
                                       version, input.getType(),
                                       ValueRange{input, value}, {}, 0,
                                       onnx::NameHints())
                      .getResult(0);
      }
    }
    rewriter.setInsertionPointToEnd(body);
    llvm::append_range(yieldedAddends, yieldedExtras);
    YieldOp::create(rewriter, wide.getLoc(), yieldedAddends);
    rewriter.replaceAllUsesWith(last.getHidden(), wide.getHidden());
    for (auto [old, extra] : llvm::zip_equal(extras, wide.getExtras()))
      rewriter.replaceAllUsesWith(old, extra);
    for (SublayerOp sublayer : llvm::reverse(sublayers))
      rewriter.eraseOp(sublayer);
    InFlightDiagnostic remark = log.rewritten(subjects, wide)
                                << "parallelized " << names;
    if (matrix)
      remark << ", largest distance inside " << formatNumber(largest);
  }
};
} // namespace
