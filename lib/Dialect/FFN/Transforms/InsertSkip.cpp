//===- InsertSkip.cpp - Leave out networks that have become idle ----------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "RowConditions.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Pipelines/Compile.h"
#include "ffn-mlir/Search/Saturation.h"
#include "ffn-mlir/Support/CandidateLog.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNINSERTSKIP
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

static std::string text(double number, const char *format = "%.4g") {
  std::string result;
  llvm::raw_string_ostream(result) << llvm::format(format, number);
  return result;
}

namespace {
struct InsertSkip : mlir::ffn::impl::FFNInsertSkipBase<InsertSkip> {
  using FFNInsertSkipBase::FFNInsertSkipBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    FFNInsertSkipBase::getDependentDialects(registry);
    if (!calib.empty())
      registerCompileDialects(registry);
  }

  void runOnOperation() override {
    if (failed(checkOptions()))
      return signalPassFailure();
    func::FuncOp main = getMainOfOneBlock(getOperation());
    if (!main || (threshold == 0 && calib.empty()))
      return;
    log.clear();
    SmallVector<SublayerOp> networks;
    unsigned position = 0;
    for (auto sublayer : main.getBody().front().getOps<SublayerOp>()) {
      if (sublayer.getAddend(0).getKind() == SublayerKind::Ffn) {
        networks.push_back(sublayer);
        log.add(sublayer, sublayer, sublayer.getAddend(0).getName().getValue());
        places.push_back(position);
      }
      ++position;
    }
    double limit = threshold;
    SmallVector<SublayerOp> region = chooseRegion(networks);
    if (region.size() < 2) {
      for (SublayerOp sublayer : region)
        log.kept(sublayer, sublayer)
            << "it is the only network between the protected ones";
      return log.finish();
    }
    if (threshold == 0) {
      FailureOr<std::optional<double>> found = calibrate(region);
      if (failed(found))
        return signalPassFailure();
      if (!*found)
        return log.finish();
      limit = **found;
    }
    if (failed(insert(main, region, limit)))
      return signalPassFailure();
    log.finish();
  }

private:
  CandidateLog log{"ffn-insert-skip", NumericalClass::Approximate};
  /// Number of each network among the sublayers.
  SmallVector<unsigned> places;

  LogicalResult refuse(const Twine &what) {
    return getOperation().emitError(what + " [FFN-P160]");
  }

  LogicalResult checkOptions() {
    places.clear();
    if (prefill != "run" && prefill != "decide")
      return refuse("prefill is run or decide, not '" + prefill + "'");
    if (!(threshold >= 0) || !std::isfinite(threshold))
      return refuse("threshold is a positive number, or 0 for none");
    if (threshold != 0 && !calib.empty())
      return refuse("threshold and calib exclude each other");
    if (!(share > 0 && share <= 1))
      return refuse("share is above 0 and at most 1");
    if (!(maxDivergence >= 0))
      return refuse("max-divergence is no positive number of nats");
    return success();
  }

  /// Networks that may be left out, and the one before the first of them; says
  /// of the others why not.
  SmallVector<SublayerOp> chooseRegion(MutableArrayRef<SublayerOp> networks) {
    SmallVector<SublayerOp> region;
    SmallVector<unsigned> chosen;
    for (auto [i, sublayer] : llvm::enumerate(networks)) {
      if (i < first || i + last >= networks.size()) {
        log.kept(sublayer, sublayer)
            << "the first " << unsigned(first) << " and the last "
            << unsigned(last) << " networks always run";
        continue;
      }
      if (StringRef obstacle = findObstacle(sublayer); !obstacle.empty()) {
        log.kept(sublayer, sublayer) << obstacle;
        continue;
      }
      region.push_back(sublayer);
      chosen.push_back(places[i]);
    }
    places = std::move(chosen);
    return region;
  }

  SaturationRule getRule() {
    SaturationRule rule;
    rule.networks = places;
    rule.run = run;
    rule.warmup = warmup;
    return rule;
  }

  /// A threshold that keeps the limits on the calibration data; none after
  /// remarks with what was measured.
  FailureOr<std::optional<double>>
  calibrate(MutableArrayRef<SublayerOp> region) {
    SaturationOptions options;
    options.cpu = cpu;
    options.threads = threads;
    options.calibration = {calib, tokenizer, samples, length, seed};
    options.share = share;
    options.maxDivergence = maxDivergence;
    FailureOr<SaturationFigures> found =
        calibrateSaturation(getOperation(), getRule(), options);
    if (failed(found))
      return failure();
    std::string figures = "cos(x, x + F(x)) has a median of " +
                          text(found->median) + " and a 90 % quantile of " +
                          text(found->high);
    for (const SaturationFigures::Point &point : found->points)
      figures += "; above " + text(point.threshold, "%.5g") + ", " +
                 text(100 * point.share, "%.3g") +
                 " % of networks left out at " + text(point.divergence) +
                 " nats";
    if (!found->chosen) {
      for (SublayerOp sublayer : region)
        log.kept(sublayer, sublayer)
            << "no threshold leaves out "
            << text(100 * kLeastShare, "%.3g") + " % of networks within "
            << text(maxDivergence) << " nats of the original: " << figures
            << "; a larger max-divergence, or a threshold, inserts it "
               "nevertheless";
      return std::optional<double>();
    }
    const SaturationFigures::Point &point = found->points[*found->chosen];
    getOperation().emitRemark("ffn-insert-skip: threshold ")
        << text(point.threshold, "%.7g") << " chosen, " << figures;
    return std::optional<double>(point.threshold);
  }

  LogicalResult insert(func::FuncOp main, MutableArrayRef<SublayerOp> region,
                       double limit) {
    OpBuilder builder(region.front());
    RowConditions conditions(getOperation(), builder);
    FailureOr<Value> open = conditions.findOpen(region.front().getResidual(),
                                                prefill == "run", warmup, main);
    if (failed(open))
      return failure();
    // Of each network, rows in which it ran and was found idle.
    SmallVector<Value> idle;
    Value left;
    for (auto [i, sublayer] : llvm::enumerate(region)) {
      builder.setInsertionPoint(sublayer);
      Value skip;
      size_t begin = run == 0 || i < run ? 0 : i - run;
      for (Value earlier : ArrayRef(idle).drop_front(begin))
        skip = conditions.either(skip, earlier);
      if (skip) {
        leaveOutAddend(sublayer, skip);
        left = conditions.count(left, skip);
        log.rewritten(sublayer, sublayer)
            << "left out where one of the " << static_cast<unsigned>(i - begin)
            << " networks before it changed a row by a cosine above "
            << text(limit, "%.7g");
      } else {
        log.kept(sublayer, sublayer)
            << "it always runs: it is the first that is looked at";
      }
      if (i + 1 == region.size())
        break;
      builder.setInsertionPointAfter(sublayer);
      Value hidden = sublayer.getHidden();
      Type element = llvm::cast<ShapedType>(hidden.getType()).getElementType();
      Value cosine = RowCosineOp::create(builder, builder.getUnknownLoc(),
                                         getRowType(hidden, element),
                                         sublayer.getResidual(), hidden);
      Value found = conditions.both(conditions.above(cosine, limit), *open);
      if (skip)
        found = conditions.both(found, conditions.negate(skip));
      idle.push_back(found);
    }
    if (count)
      appendResult(main, left, "left_out");
    return success();
  }
};
} // namespace
