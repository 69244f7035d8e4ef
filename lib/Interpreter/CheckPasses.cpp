//===- CheckPasses.cpp - The oracle after every pass ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/CheckPasses.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Interpreter/Interpreter.h"
#include "ffn-mlir/Interpreter/NpyTensor.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "ffn-mlir/Support/DimExpr.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/OperationSupport.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassInstrumentation.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/ManagedStatic.h"
#include <atomic>
#include <cmath>
#include <map>
#include <random>

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Classes
//===----------------------------------------------------------------------===//

static llvm::StringMap<NumericalClass> &getClasses() {
  static llvm::StringMap<NumericalClass> classes = [] {
    llvm::StringMap<NumericalClass> known;
    known["ffn-materialize-weights"] = NumericalClass::RoundsWeights;
    known["ffn-raise"] = NumericalClass::RoundsConstants;
    known["ffn-decompose"] = NumericalClass::RoundsConstants;
    known["ffn-prune-sublayers"] = NumericalClass::Approximate;
    known["ffn-carve-moe"] = NumericalClass::Approximate;
    return known;
  }();
  return classes;
}

NumericalClass mlir::ffn::getNumericalClass(StringRef passArgument) {
  auto found = getClasses().find(passArgument);
  return found == getClasses().end() ? NumericalClass::Exact : found->second;
}

void mlir::ffn::setNumericalClass(StringRef passArgument, NumericalClass kind) {
  getClasses()[passArgument] = kind;
}

//===----------------------------------------------------------------------===//
// Inputs
//===----------------------------------------------------------------------===//

/// The least number of rows of a table that a value indexes, through
/// operations that only move or convert elements; none where it indexes none.
static std::optional<int64_t> findIndexLimit(Value value) {
  std::optional<int64_t> limit;
  auto take = [&](Value table, int64_t axis) {
    auto type = llvm::dyn_cast<RankedTensorType>(table.getType());
    if (!type || type.getRank() == 0)
      return;
    if (axis < 0)
      axis += type.getRank();
    if (axis >= 0 && axis < type.getRank() && !type.isDynamicDim(axis))
      limit = std::min(limit.value_or(type.getDimSize(axis)),
                       type.getDimSize(axis));
  };
  SmallVector<Value> worklist{value};
  llvm::SmallPtrSet<Operation *, 16> seen;
  while (!worklist.empty()) {
    Value current = worklist.pop_back_val();
    for (Operation *user : current.getUsers()) {
      if (auto embedding = llvm::dyn_cast<EmbeddingOp>(user)) {
        take(embedding.getTable(), 0);
        continue;
      }
      auto node = llvm::dyn_cast<onnx::NodeOp>(user);
      if (!node)
        continue;
      if (node.is("Gather") && node.getInput(1) == current) {
        take(node.getInput(0), node.getInt("axis", 0));
      } else if ((node.is("Cast") || node.is("Reshape") ||
                  node.is("Identity") || node.is("Unsqueeze") ||
                  node.is("Squeeze") || node.is("Transpose") ||
                  node.is("Flatten")) &&
                 seen.insert(user).second) {
        llvm::append_range(worklist, user->getResults());
      }
    }
  }
  return limit;
}

/// Inputs by the signature alone: one size for each symbol, normal floats, ids
/// within their table, ones for masks.
static FailureOr<std::vector<EvalValue>> drawInputs(func::FuncOp function,
                                                    uint64_t seed) {
  std::mt19937_64 random(seed);
  // Sums of uniform numbers: std::normal_distribution differs by library.
  auto uniform = [&] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  auto normal = [&] {
    double sum = -6;
    for (int i = 0; i < 12; ++i)
      sum += uniform();
    return sum;
  };
  std::map<std::string, int64_t> sizes;
  auto sizeOf = [&](StringRef symbol) -> std::optional<int64_t> {
    auto [entry, isNew] = sizes.try_emplace(symbol.str(), 0);
    if (isNew)
      entry->second = 2 + static_cast<int64_t>(sizes.size());
    return entry->second;
  };
  std::vector<EvalValue> values;
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    std::string name = getArgumentName(function, i);
    auto type =
        llvm::dyn_cast<RankedTensorType>(function.getArgument(i).getType());
    if (!type) {
      function.emitError("input ")
          << quoteName(name)
          << " is no tensor of known rank: give inputs with "
             "--ffn-check-input [FFN-E105]";
      return failure();
    }
    auto dims = function.getArgAttrOfType<ArrayAttr>(i, "ffn.dims");
    SmallVector<int64_t> shape;
    for (int64_t d = 0; d < type.getRank(); ++d) {
      if (!type.isDynamicDim(d)) {
        shape.push_back(type.getDimSize(d));
        continue;
      }
      auto text = dims && d < static_cast<int64_t>(dims.size())
                      ? llvm::dyn_cast<StringAttr>(dims[d])
                      : StringAttr();
      // A size without a name is one of its own, the same for every argument:
      // most models want equal batches.
      std::string spelling =
          text ? text.getValue().str() : "dim " + std::to_string(d);
      shape.push_back(DimExpr::parse(spelling).evaluate(sizeOf).value_or(2));
    }
    std::optional<int64_t> count = countElements(shape);
    if (!count || *count > (int64_t(1) << 28)) {
      function.emitError("input ")
          << quoteName(name) << " of shape " << shapeText(shape)
          << " is too large to draw [FFN-E104]";
      return failure();
    }
    EvalTensor tensor(type.getElementType(), shape);
    if (tensor.isFloat()) {
      auto element = llvm::cast<FloatType>(type.getElementType());
      for (double &value : tensor.mutableFloats())
        value = roundToFloatType(element, normal());
    } else if (tensor.isInteger() || tensor.isBool()) {
      std::optional<int64_t> limit = findIndexLimit(function.getArgument(i));
      bool mask = StringRef(name).contains("mask") || tensor.isBool();
      for (int64_t &value : tensor.mutableInts())
        value = mask ? 1
                     : static_cast<int64_t>(
                           random() % std::max<int64_t>(limit.value_or(8), 1));
    }
    values.push_back(std::move(tensor));
  }
  return values;
}

//===----------------------------------------------------------------------===//
// Checking
//===----------------------------------------------------------------------===//

namespace {
/// Where an output left its bound.
struct Deviation {
  double error = 0;
  double bound = 0;
  std::string what;
};

/// What the checks of one pipeline know; shared by the instrumentation and the
/// pass that ends it.
struct CheckState {
  CheckPassesOptions options;
  /// Inputs and outputs by name, so that a pass may drop some.
  std::map<std::string, EvalValue> inputs;
  std::map<std::string, EvalValue> outputs;
  bool started = false;
  bool stopped = false;
  bool failed = false;
};

/// Whether a pass of the class may round the result of `op`.
bool isRounded(Operation *op, NumericalClass kind) {
  if (op->getNumResults() != 1)
    return false;
  auto type = llvm::dyn_cast<RankedTensorType>(op->getResult(0).getType());
  if (!type || !llvm::isa<FloatType>(type.getElementType()))
    return false;
  if (kind == NumericalClass::RoundsWeights)
    return llvm::isa<WeightExprInterface>(op) && !llvm::isa<WeightOp>(op);
  // Constants of operators, such as sqrt(2), eps or the scale of scores.
  auto node = llvm::dyn_cast<onnx::NodeOp>(op);
  return (llvm::isa<WeightOp>(op) || (node && node.is("Constant"))) &&
         type.hasStaticShape() && type.getNumElements() == 1;
}

/// Largest difference of finite elements.
double findDistance(const EvalValue &a, const EvalValue &b) {
  double distance = 0;
  for (auto [x, y] : llvm::zip(a.elements, b.elements))
    distance = std::max(distance, findDistance(x, y));
  if (!a.isTensor() || !b.isTensor() || !a.tensor.isFloat() ||
      !b.tensor.isFloat() || a.tensor.getShape() != b.tensor.getShape())
    return distance;
  for (auto [x, y] : llvm::zip(a.tensor.floats(), b.tensor.floats()))
    if (std::isfinite(x) && std::isfinite(y))
      distance = std::max(distance, std::fabs(x - y));
  return distance;
}

/// Runs that move every element that a pass may round.
constexpr unsigned kDraws = 4;
/// Of a false alarm at one of the elements of an output.
constexpr double kFalseAlarm = 1e-9;

/// How far each of `outputs`, which @main gives for `inputs`, may move when
/// roundings move, as CheckPasses.h derives it.
FailureOr<SmallVector<double>> measureAllowance(ModuleOp module,
                                                ArrayRef<EvalValue> inputs,
                                                ArrayRef<EvalValue> outputs,
                                                NumericalClass kind) {
  SmallVector<double> moved(outputs.size(), 0);
  uint64_t sites = 0;
  for (unsigned draw = 0; draw < kDraws; ++draw) {
    std::mt19937_64 random(draw);
    sites = 0;
    InterpreterOptions options;
    options.observeAll = true;
    options.observer = [&](Operation *op, EvalState &state) {
      if (!isRounded(op, kind))
        return;
      Value result = op->getResult(0);
      EvalValue value = state.get(result);
      if (!value.isTensor() || !value.tensor.isFloat())
        return;
      auto type = llvm::cast<FloatType>(getElementTypeOrSelf(result));
      double unit =
          std::ldexp(1.0, -static_cast<int>(type.getFPMantissaWidth()));
      // Halves and whole numbers are what they are in any type; a square would
      // be none of negative numbers under another exponent.
      auto isShort = [](double v) {
        return std::nearbyint(v * 1024) == v * 1024;
      };
      uint64_t before = sites;
      for (double &element : value.tensor.mutableFloats()) {
        if (kind == NumericalClass::RoundsConstants && isShort(element))
          continue;
        element *= random() >> 63 ? 1 + unit : 1 - unit;
        ++sites;
      }
      if (sites != before)
        state.set(result, std::move(value));
    };
    FailureOr<std::vector<EvalValue>> results =
        interpret(module, inputs, options);
    if (failed(results) || results->size() != outputs.size())
      return failure();
    if (sites == 0)
      break;
    for (auto [most, a, b] : llvm::zip(moved, *results, outputs))
      most = std::max(most, findDistance(a, b));
  }
  for (auto [most, output] : llvm::zip(moved, outputs)) {
    double elements = output.isTensor()
                          ? std::max<int64_t>(output.tensor.getNumElements(), 1)
                          : 1;
    double likely = std::sqrt(2 * std::log(2 * elements / kFalseAlarm));
    most *= 2 * std::min(std::sqrt(static_cast<double>(sites)), likely);
  }
  return moved;
}

/// Largest difference of two values against 2^-40 of the largest value and what
/// is allowed besides.
void compareValues(const EvalValue &before, const EvalValue &after,
                   double allowance, Deviation &worst) {
  auto broken = [&](const Twine &what) {
    worst.what = what.str();
    worst.error = std::numeric_limits<double>::infinity();
  };
  if (before.kind != after.kind ||
      before.elements.size() != after.elements.size())
    return broken("is another kind of value");
  for (auto [a, b] : llvm::zip(before.elements, after.elements)) {
    compareValues(a, b, allowance, worst);
    if (!worst.what.empty())
      return;
  }
  if (!before.isTensor() || !after.isTensor())
    return;
  const EvalTensor &a = before.tensor, &b = after.tensor;
  if (a.getShape() != b.getShape())
    return broken("has shape " + shapeText(b.getShape()) + ", before " +
                  shapeText(a.getShape()));
  if (a.isString() || b.isString()) {
    if (a.isString() != b.isString() || a.strings() != b.strings())
      broken("has other strings");
    return;
  }
  if (a.isFloat() != b.isFloat())
    return broken("is of another kind of number");
  if (!a.isFloat()) {
    if (a.ints() != b.ints())
      broken("has other integers");
    return;
  }
  double largest = 0;
  for (double value : a.floats())
    if (std::isfinite(value))
      largest = std::max(largest, std::fabs(value));
  double bound = 0x1p-40 * largest + allowance;
  for (auto [x, y] : llvm::zip(a.floats(), b.floats())) {
    if (x == y || (std::isnan(x) && std::isnan(y)))
      continue;
    double error = std::isfinite(x) && std::isfinite(y)
                       ? std::fabs(x - y)
                       : std::numeric_limits<double>::infinity();
    if (error > bound && error >= worst.error) {
      worst.error = error;
      worst.bound = bound;
      worst.what = "deviates";
    }
  }
}

std::atomic<bool> anyBroken = false;

class CheckInstrumentation : public PassInstrumentation {
public:
  explicit CheckInstrumentation(std::shared_ptr<CheckState> state)
      : state(std::move(state)) {}

  void runBeforePass(Pass *pass, Operation *op) override {
    if (state->stopped || isExempt(pass))
      return;
    ModuleOp module = getModule(op);
    if (!state->started) {
      state->started = true;
      if (!module || failed(start(module)))
        return stop();
    }
    prints.push_back(OperationFingerPrint(module));
    allowances.clear();
    NumericalClass kind = getNumericalClass(pass->getArgument());
    auto function = module.lookupSymbol<func::FuncOp>("main");
    std::vector<EvalValue> values, outputs;
    for (unsigned i = 0; function && i < function.getNumArguments(); ++i)
      values.push_back(state->inputs[getArgumentName(function, i)]);
    for (unsigned i = 0; function && i < function.getNumResults(); ++i)
      outputs.push_back(state->outputs[getResultName(function, i)]);
    if (function && failed(allow(module, function, values, outputs, kind)))
      return stop();
  }

  void runAfterPass(Pass *pass, Operation *op) override {
    if (state->stopped || isExempt(pass) || prints.empty())
      return;
    OperationFingerPrint before = prints.pop_back_val();
    ModuleOp module = getModule(op);
    if (!module || before == OperationFingerPrint(module))
      return;
    check(pass, module);
  }

  void runAfterPassFailed(Pass *pass, Operation *op) override {
    // Its own diagnostic says why.
    state->stopped = true;
  }

private:
  std::shared_ptr<CheckState> state;
  SmallVector<OperationFingerPrint> prints;
  /// How far outputs may move under the pass that runs, by name.
  llvm::StringMap<double> allowances;

  /// What runs a nested pipeline, whose passes are checked themselves, and what
  /// names the weight files for where the module is going to lie.
  static bool isExempt(Pass *pass) {
    return pass->getName().ends_with("OpToOpPassAdaptor") ||
           pass->getArgument() == "ffn-save-weights";
  }
  static ModuleOp getModule(Operation *op) {
    while (op->getParentOp())
      op = op->getParentOp();
    return llvm::dyn_cast<ModuleOp>(op);
  }
  void stop() {
    state->failed = true;
    state->stopped = true;
  }
  InFlightDiagnostic breakBound(ModuleOp module, StringRef pass) {
    anyBroken = true;
    return emitError(module.getLoc(), "pass '")
           << pass << "' breaks its bound: ";
  }

  LogicalResult start(ModuleOp module) {
    auto function = module.lookupSymbol<func::FuncOp>("main");
    if (!function || function.isExternal())
      return emitError(module.getLoc(),
                       "nothing to check passes on: no function @main "
                       "with a body [FFN-E105]");
    FailureOr<std::vector<EvalValue>> values = failure();
    if (state->options.inputs.empty()) {
      values = drawInputs(function, state->options.seed);
    } else {
      CodedErrors errors;
      values = readNpyInputs(function, state->options.inputs, errors);
      if (failed(values))
        errors.print(llvm::errs(), "--ffn-check-input");
    }
    if (failed(values))
      return failure();
    for (unsigned i = 0; i < function.getNumArguments(); ++i)
      state->inputs[getArgumentName(function, i)] = (*values)[i];
    FailureOr<std::vector<EvalValue>> results = interpret(module, *values);
    if (failed(results))
      return emitError(module.getLoc(),
                       "passes cannot be checked: @main cannot be "
                       "interpreted on the inputs; give others with "
                       "--ffn-check-input [FFN-E105]");
    remember(function, *results);
    return success();
  }

  /// Adds how far the outputs of the module may move under a pass that rounds.
  LogicalResult allow(ModuleOp module, func::FuncOp function,
                      ArrayRef<EvalValue> inputs, ArrayRef<EvalValue> outputs,
                      NumericalClass kind) {
    if (kind != NumericalClass::RoundsWeights &&
        kind != NumericalClass::RoundsConstants)
      return success();
    FailureOr<SmallVector<double>> moved =
        measureAllowance(module, inputs, outputs, kind);
    if (failed(moved))
      return emitError(module.getLoc(),
                       "passes cannot be checked: @main cannot be interpreted "
                       "with other roundings [FFN-E105]");
    for (auto [i, most] : llvm::enumerate(*moved)) {
      double &known = allowances[getResultName(function, i)];
      known = std::max(known, most);
    }
    return success();
  }

  void remember(func::FuncOp function, std::vector<EvalValue> &results) {
    state->outputs.clear();
    for (auto [i, result] : llvm::enumerate(results))
      state->outputs[getResultName(function, i)] = std::move(result);
  }

  static std::string describe(Pass *pass) {
    StringRef argument = pass->getArgument();
    return (argument.empty() ? pass->getName() : argument).str();
  }

  void check(Pass *pass, ModuleOp module) {
    std::string name = describe(pass);
    auto function = module.lookupSymbol<func::FuncOp>("main");
    Operation *unknown = nullptr;
    if (!function || !canInterpret(module, &unknown)) {
      // From here on the module is in dialects of the code generator.
      InFlightDiagnostic diag =
          emitRemark(module.getLoc(), "passes are not checked from '");
      diag << name << "' on: ";
      if (unknown)
        diag << unknown->getName() << " has no meaning to the interpreter";
      else
        diag << "there is no function @main";
      state->stopped = true;
      return;
    }
    NumericalClass kind = getNumericalClass(pass->getArgument());
    std::vector<EvalValue> values;
    for (unsigned i = 0; i < function.getNumArguments(); ++i) {
      auto found = state->inputs.find(getArgumentName(function, i));
      if (found == state->inputs.end()) {
        breakBound(module, name)
            << "there is a new input "
            << quoteName(getArgumentName(function, i)) << " [FFN-E110]";
        return stop();
      }
      values.push_back(found->second);
    }
    FailureOr<std::vector<EvalValue>> results = interpret(module, values);
    if (failed(results)) {
      breakBound(module, name) << "@main cannot be run after it [FFN-E110]";
      return stop();
    }
    // Decompose writes constants that were not there before.
    if (kind == NumericalClass::RoundsConstants &&
        failed(allow(module, function, values, *results, kind)))
      return stop();
    if (kind != NumericalClass::Approximate &&
        !compare(name, module, function, *results))
      return stop();
    remember(function, *results);
  }

  bool compare(StringRef name, ModuleOp module, func::FuncOp function,
               ArrayRef<EvalValue> results) {
    if (results.size() != state->outputs.size()) {
      breakBound(module, name)
          << "@main has " << results.size() << " outputs, before "
          << state->outputs.size() << " [FFN-E110]";
      return false;
    }
    for (auto [i, result] : llvm::enumerate(results)) {
      std::string output = getResultName(function, i);
      auto found = state->outputs.find(output);
      Deviation worst;
      if (found == state->outputs.end())
        worst.what = "is new";
      else
        compareValues(found->second, result, allowances.lookup(output), worst);
      if (worst.what.empty())
        continue;
      std::string numbers;
      llvm::raw_string_ostream os(numbers);
      if (worst.what == "deviates")
        os << " by " << llvm::format("%.3g", worst.error) << ", its bound is "
           << llvm::format("%.3g", worst.bound);
      breakBound(module, name) << "output " << quoteName(output) << ' '
                               << worst.what << numbers << " [FFN-E110]";
      return false;
    }
    return true;
  }
};

/// An instrumentation cannot fail a pipeline; this pass, its last, does.
struct CheckVerdictPass
    : public PassWrapper<CheckVerdictPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(CheckVerdictPass)

  explicit CheckVerdictPass(std::shared_ptr<CheckState> state)
      : state(std::move(state)) {}
  StringRef getArgument() const override { return "ffn-check-verdict"; }
  StringRef getDescription() const override {
    return "Fails if a pass before it broke its bound";
  }
  void runOnOperation() override {
    if (state->failed)
      signalPassFailure();
  }

  std::shared_ptr<CheckState> state;
};

struct CheckFlags {
  llvm::cl::opt<bool> enabled{
      "ffn-check-passes",
      llvm::cl::desc("Run the float64 interpreter after each pass and name "
                     "the first that breaks its bound"),
      llvm::cl::init(false)};
  llvm::cl::opt<unsigned long long> seed{
      "ffn-check-seed",
      llvm::cl::desc("Seed of the inputs of the check (default: 0)"),
      llvm::cl::init(0)};
  llvm::cl::list<std::string> inputs{
      "ffn-check-input",
      llvm::cl::desc("name=file.npy, for each input (default: drawn)")};
};
} // namespace

static llvm::ManagedStatic<CheckFlags> flags;

void mlir::ffn::addPassChecks(PassManager &pm,
                              const CheckPassesOptions &options) {
  // Other anchors see no function @main; the driver's own error says so.
  if (pm.getOpAnchorName() != ModuleOp::getOperationName())
    return;
  auto state = std::make_shared<CheckState>();
  state->options = options;
  pm.getContext()->disableMultithreading();
  pm.addInstrumentation(std::make_unique<CheckInstrumentation>(state));
  pm.addPass(std::make_unique<CheckVerdictPass>(state));
}

bool mlir::ffn::hasBrokenPassBound() { return anyBroken; }

void mlir::ffn::registerCheckPassesFlags() { *flags; }

void mlir::ffn::addPassChecksFromFlags(PassManager &pm) {
  if (!flags.isConstructed() || !flags->enabled)
    return;
  CheckPassesOptions options;
  options.seed = flags->seed;
  options.inputs.assign(flags->inputs.begin(), flags->inputs.end());
  addPassChecks(pm, options);
}
