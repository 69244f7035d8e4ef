//===- Detail.h - What the analyses share -----------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_ANALYSIS_DETAIL_H
#define FFN_MLIR_LIB_ANALYSIS_DETAIL_H

#include "ffn-mlir/Analysis/Analysis.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Profile/Profile.h"
#include "ffn-mlir/Search/StagedModel.h"
#include "ffn-mlir/Support/WeightEval.h"
#include <limits>

namespace mlir::ffn::analysis {

namespace json = llvm::json;

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

//===----------------------------------------------------------------------===//
// Models
//===----------------------------------------------------------------------===//

struct NamedSublayer {
  SublayerOp op;
  /// Names of the addends, joined by " + "; kind of the first one.
  std::string name, kind;
  /// Feed-forward networks of the body, in program order.
  SmallVector<FeedForwardOp> networks;
};
/// The same name of a sublayer of a staged model.
std::string getName(const StagedSublayer &sublayer);
/// Name of the `index`-th network of a sublayer: that of the sublayer where it
/// is the first.
std::string getNetworkName(StringRef sublayer, unsigned index);
/// Operations of @main outside of sublayers that are no weight expressions.
SmallVector<Operation *> listOutside(ModuleOp module);
/// Those of @main, in program order.
std::vector<NamedSublayer> listSublayers(ModuleOp module);
/// The same; fails (FFN-A101) where none of them has a network.
FailureOr<std::vector<NamedSublayer>> listNetworks(ModuleOp module);

/// Rows of a weight expression one after the other (a vector has one), so that
/// no more than some of them are in memory.
class WeightRows {
public:
  explicit WeightRows(Value weight);
  /// The next row; empty behind the last. Fails after a diagnostic, also
  /// (FFN-A106) where an element is not finite.
  LogicalResult next(std::vector<double> &row);

private:
  Value weight;
  WeightEvaluator evaluator;
  int64_t width, rows, done = 0, first = 0;
  std::vector<double> block;
};
/// Calls `visit` with every row.
LogicalResult forEachRow(Value weight,
                         llvm::function_ref<void(ArrayRef<double>)> visit);
/// All elements, row-major.
FailureOr<std::vector<double>> readMatrix(Value weight);

//===----------------------------------------------------------------------===//
// Data
//===----------------------------------------------------------------------===//

struct Samples {
  ModelSignature signature;
  CalibrationSet set;
  /// Says what was run on, for the result.
  json::Object describe(const AnalysisOptions &options) const;
};
FailureOr<Samples> loadSamples(ModuleOp module, const AnalysisOptions &options);
std::unique_ptr<StagedModel> compileStages(ModuleOp module,
                                           const AnalysisOptions &options);
/// The profile that the options name, or one that is made for `probes`.
FailureOr<std::unique_ptr<Profile>>
getProfile(ModuleOp module, const AnalysisOptions &options, StringRef probes);
/// What is said of a profile in a result.
json::Object describe(const Profile &profile);
/// Emits the error at the module.
LogicalResult refuse(ModuleOp module, llvm::Error error);

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

/// `count` elements of `values`, evenly spread, the first and the last among
/// them; all where there are not more.
json::Array pickEvenly(ArrayRef<double> values, size_t count);

/// NaN where there is no number.
double getNumber(const json::Object &object, StringRef key);
/// Empty where there is no text.
std::string getText(const json::Object &object, StringRef key);
/// Empty where there is none.
const json::Object &getObject(const json::Object &object, StringRef key);
/// The objects among the elements of an array.
std::vector<const json::Object *> getObjects(const json::Object &object,
                                             StringRef key);
/// The numbers of an array; NaN for what is none.
std::vector<double> getNumbers(const json::Object &object, StringRef key);
/// "on 8 samples with 1024 tokens of train.txt".
std::string describeData(const json::Object &result);

/// A series with one number of each of the objects.
Series makeSeries(StringRef name, ArrayRef<const json::Object *> objects,
                  StringRef key, double factor = 1);
/// Texts of each of the objects.
std::vector<std::string> getTexts(ArrayRef<const json::Object *> objects,
                                  StringRef key);
std::string formatPercent(double share);

//===----------------------------------------------------------------------===//
// The analyses
//===----------------------------------------------------------------------===//

using Result = FailureOr<json::Object>;
using Options = const AnalysisOptions &;
#define FFN_ANALYSIS(NAME)                                                     \
  Result analyze##NAME(ModuleOp module, ModuleOp other, Options options);      \
  View show##NAME(const json::Object &result);
FFN_ANALYSIS(Cost)
FFN_ANALYSIS(Dependency)
FFN_ANALYSIS(Diff)
FFN_ANALYSIS(Isotropy)
FFN_ANALYSIS(Neurons)
FFN_ANALYSIS(Rank)
FFN_ANALYSIS(Sensitivity)
FFN_ANALYSIS(Sparsity)
FFN_ANALYSIS(Spectral)
FFN_ANALYSIS(VocabProjection)
#undef FFN_ANALYSIS

} // namespace mlir::ffn::analysis

#endif // FFN_MLIR_LIB_ANALYSIS_DETAIL_H
