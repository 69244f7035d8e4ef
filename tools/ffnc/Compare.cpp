//===- Compare.cpp - ffnc compare -----------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "CompareData.h"
#include "Native.h"
#include "ffn-mlir/Driver/Npz.h"
#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/Interpreter/Interpreter.h"
#include "ffn-mlir/Interpreter/NpyTensor.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::driver;
namespace cl = llvm::cl;

static int compare();
static Verb verb("compare", "compares the outputs of two models", compare,
                 R"(
EXAMPLES:
  ffnc compare model.onnx model.so --dim batch=1,2,5 --dim sequence=1,7,33
  ffnc compare original.so pruned.so --dim batch=1 --dim sequence=64 --tolerance 0.1
  ffnc compare model.onnx model.so --reference onnxruntime.npz
  ffnc compare model.onnx pruned.onnx --data heldout.txt --layers --max-kl 0.02
  ffnc compare model.onnx changed.onnx --data heldout.txt --samples 4 --bisect 1e-3

A dimension without --dim is 2. A model file as the first is evaluated in float64 (--native: compiled), as the
second it is compiled. For each output e(y) = max|y - yA| / max|yA|; integers
and booleans must be equal. With --reference, an archive with outputs of another
runtime ("out:NAME" or "NAME") and the inputs that gave them ("in:NAME"), the
limit for the second model is 4 max(e(reference), 2^-22), and e(reference)
must be below 1e-3. Exit code 4: beyond the limit.

With --data both are compiled and run on a text, token lists or an archive, as
'ffnc eval' reads them: divergence of the logits, same greatest logit, quality
of both, distance of every output. Intervals hold 95 %, from the variance over
samples. Without a limit (--max-..., --min-...) the exit code is 0.
)");
static cl::opt<std::string> first(cl::Positional, cl::Required,
                                  cl::desc("A.so|A.onnx|A.mlir"),
                                  cl::sub(verb.command));
static cl::opt<std::string> second(cl::Positional, cl::Required,
                                   cl::desc("B.so|B.onnx|B.mlir"),
                                   cl::sub(verb.command));
static InputOptions source(verb,
                           "sizes of a symbolic dimension; several sizes of "
                           "several dimensions: every combination",
                           "name=size[,size...]");
static JSONOption asJson(verb);
static ThreadsOption threads(verb);
static cl::list<std::string>
    references("reference",
               cl::desc("inputs and outputs of another runtime; may be "
                        "repeated"),
               cl::value_desc("file.npz"), cl::sub(verb.command));
static cl::opt<double> tolerance("tolerance", cl::init(1e-5),
                                 cl::desc("limit of e(y) (default: 1e-5)"),
                                 cl::sub(verb.command));
static cl::opt<bool> native("native", cl::desc("compile A too"),
                            cl::sub(verb.command));

static DataOptions onData(verb);

namespace {
/// An output as numbers, wherever it comes from.
struct Numbers {
  llvm::SmallVector<int64_t> shape;
  std::vector<double> values;
  bool isFloat = true;
};
using Outputs = std::map<std::string, Numbers>;

struct Difference {
  double error = 0;
  bool sameShape = true;
};

/// The first model.
class Reference {
public:
  /// False after a message.
  bool open(llvm::StringRef path, bool compiled, unsigned threads);
  std::optional<Outputs> run(const Artefact &other,
                             llvm::MutableArrayRef<HostTensor> inputs);

private:
  std::optional<Outputs> interpretAll(const Artefact &other,
                                      llvm::ArrayRef<HostTensor> inputs);
  std::string path;
  std::unique_ptr<Artefact> artefact;
  std::unique_ptr<MLIRContext> context;
  OwningOpRef<ModuleOp> module;
};
} // namespace

static Numbers toNumbers(const HostTensor &tensor) {
  Numbers numbers;
  numbers.shape.assign(tensor.getShape().begin(), tensor.getShape().end());
  numbers.isFloat = tensor.isFloat();
  for (size_t i = 0; i < tensor.getNumElements(); ++i)
    numbers.values.push_back(tensor.getDouble(i));
  return numbers;
}

static std::optional<Outputs>
runNative(Artefact &artefact, llvm::MutableArrayRef<HostTensor> inputs) {
  std::vector<HostTensor> results;
  if (llvm::Error error = artefact.run(inputs, results)) {
    fail(std::move(error));
    return std::nullopt;
  }
  Outputs outputs;
  for (auto [value, tensor] : llvm::zip_equal(artefact.getOutputs(), results))
    outputs[value.name] = toNumbers(tensor);
  return outputs;
}

bool Reference::open(llvm::StringRef file, bool compiled, unsigned threads) {
  path = file.str();
  if (compiled || isArtefact(file)) {
    artefact = openNative(file, threads);
    return artefact != nullptr;
  }
  context = makeContext();
  DiagnosticPrinter printer(context.get(), path, &llvm::errs(),
                            /*showRemarks=*/false);
  module = loadModule(path, context.get(), getImportOptions());
  return static_cast<bool>(module);
}

std::optional<Outputs>
Reference::run(const Artefact &other,
               llvm::MutableArrayRef<HostTensor> inputs) {
  if (!artefact)
    return interpretAll(other, inputs);
  if (artefact->getInputs().size() != inputs.size()) {
    fail("the models have " + llvm::Twine(artefact->getInputs().size()) +
         " and " + llvm::Twine(inputs.size()) + " inputs [FFN-R400]");
    return std::nullopt;
  }
  std::vector<HostTensor> ordered(inputs.size());
  for (auto [i, value] : llvm::enumerate(artefact->getInputs())) {
    int64_t from = other.findInput(value.name);
    if (from < 0) {
      fail("only the first model has an input '" + value.name + "' [FFN-R400]");
      return std::nullopt;
    }
    if (llvm::Error error =
            ordered[i].assign(inputs[from].toNpy(), value.dtype, value.name)) {
      fail(std::move(error));
      return std::nullopt;
    }
  }
  return runNative(*artefact, ordered);
}

std::optional<Outputs>
Reference::interpretAll(const Artefact &other,
                        llvm::ArrayRef<HostTensor> inputs) {
  DiagnosticPrinter printer(context.get(), path, &llvm::errs(),
                            /*showRemarks=*/false);
  auto function = module->lookupSymbol<func::FuncOp>("main");
  if (!function) {
    fail(path + ": no function @main [FFN-E105]");
    return std::nullopt;
  }
  if (function.getNumArguments() != inputs.size()) {
    fail("the models have " + llvm::Twine(function.getNumArguments()) +
         " and " + llvm::Twine(inputs.size()) + " inputs [FFN-R400]");
    return std::nullopt;
  }
  std::vector<EvalValue> arguments;
  CodedErrors errors;
  for (unsigned i = 0; i < inputs.size(); ++i) {
    std::string name = getArgumentName(function, i);
    int64_t from = other.findInput(name);
    auto type = llvm::dyn_cast<ShapedType>(function.getArgument(i).getType());
    if (from < 0 || !type) {
      fail("only the first model has a tensor '" + name + "' [FFN-R400]");
      return std::nullopt;
    }
    FailureOr<EvalTensor> tensor = tensorFromNpy(
        inputs[from].toNpy(), type.getElementType(), name, errors);
    if (failed(tensor)) {
      errors.print(llvm::errs(), path);
      return std::nullopt;
    }
    arguments.push_back(*tensor);
  }
  FailureOr<std::vector<EvalValue>> results = interpret(*module, arguments);
  if (failed(results))
    return std::nullopt;
  Outputs outputs;
  for (auto [i, result] : llvm::enumerate(*results)) {
    if (!result.isTensor() || result.tensor.isString())
      continue;
    Numbers numbers;
    numbers.shape.assign(result.tensor.getShape().begin(),
                         result.tensor.getShape().end());
    numbers.isFloat = result.tensor.isFloat();
    for (int64_t k = 0; k < result.tensor.getNumElements(); ++k)
      numbers.values.push_back(result.tensor.asDouble(k));
    outputs[getResultName(function, i)] = std::move(numbers);
  }
  return outputs;
}

/// e(y); infinite where one value is no number and the other is another.
static Difference difference(const Numbers &reference, const Numbers &other) {
  Difference result;
  result.sameShape = reference.shape == other.shape;
  if (!result.sameShape) {
    result.error = INFINITY;
    return result;
  }
  double largest = 0, top = 0;
  for (auto [a, b] : llvm::zip_equal(reference.values, other.values)) {
    if (std::isfinite(a))
      top = std::max(top, std::fabs(a));
    if (a == b || (std::isnan(a) && std::isnan(b)))
      continue;
    double distance = std::fabs(a - b);
    largest = std::isnan(distance) ? INFINITY : std::max(largest, distance);
  }
  // Integers are equal or not.
  if (!reference.isFloat)
    result.error = largest > 0 ? INFINITY : 0;
  else
    result.error = top > 0 ? largest / top : largest;
  return result;
}

static std::optional<Outputs> readReference(llvm::StringRef file,
                                            const Artefact &artefact) {
  auto arrays = readNpz(file);
  if (!arrays) {
    fail(arrays.takeError());
    return std::nullopt;
  }
  Outputs outputs;
  for (auto &[name, array] : *arrays) {
    llvm::StringRef output = name;
    if (!output.consume_front("out:") && artefact.findOutput(output) < 0)
      continue;
    HostTensor tensor;
    uint8_t code = array.kind == 'f'   ? 2
                   : array.kind == 'i' ? 0
                   : array.kind == 'u' ? 1
                                       : 6;
    uint8_t bits = 8 * array.itemSize;
    if (llvm::Error error = tensor.assign(array, {code, bits, 1}, file)) {
      fail(std::move(error));
      return std::nullopt;
    }
    outputs[output.str()] = toNumbers(tensor);
  }
  return outputs;
}

static std::string pointText(const DimSizes &sizes) {
  std::string text;
  for (auto &[name, size] : sizes)
    text += (text.empty() ? "" : " ") + name + "=" + std::to_string(size);
  return text;
}

static int compare() {
  handleInterrupts();
  if (!(tolerance >= 0))
    return fail("--tolerance is zero or above", Usage);
  if (std::string wrong = onData.check(); !wrong.empty())
    return fail(wrong, Usage);
  if (onData.given()) {
    if (!source.dims.empty() || !source.files.empty() || !references.empty())
      return fail("--data takes the place of --dim, --input and --reference",
                  Usage);
    return onData.run(first, second, threads, asJson);
  }
  auto grid = parseDimGrid(source.dims);
  if (!grid)
    return fail(grid.takeError(), Usage);
  Reference reference;
  if (!reference.open(first, native, threads))
    return Diagnosed;
  std::unique_ptr<Artefact> candidate = openNative(second, threads);
  if (!candidate)
    return Diagnosed;

  if (llvm::Error error = checkDimNames(candidate.get(), grid->front()))
    return fail(std::move(error), Usage);

  bool equal = true;
  size_t points = references.empty() ? grid->size() : references.size();
  llvm::json::Array list;
  for (size_t point = 0; point < points; ++point) {
    DimSizes &sizes = (*grid)[references.empty() ? point : 0];
    size_t count = candidate->getInputs().size();
    std::vector<HostTensor> inputs(count);
    llvm::SmallVector<bool> given(count, false);
    std::vector<std::string> files(source.files.begin(), source.files.end());
    if (!references.empty())
      files.push_back(references[point]);
    if (llvm::Error error = readInputs(*candidate, files, given, inputs))
      return fail(std::move(error));
    if (point == 0)
      for (DimSizes &others : *grid)
        if (&others == &sizes)
          addDefaultSizes(*candidate, given, /*size=*/2, others);
        else
          for (auto &[name, size] : sizes)
            others.try_emplace(name, size);
    std::string label =
        references.empty() ? pointText(sizes) : references[point];
    if (points > 1)
      progress(llvm::Twine(point + 1) + "/" + llvm::Twine(points) + " " +
               label);
    if (llvm::Error error = fillInputs(*candidate, sizes, source.seed + point,
                                       source.intBound, given, inputs))
      return fail(std::move(error));
    std::optional<Outputs> expected = reference.run(*candidate, inputs);
    if (!expected)
      return Diagnosed;
    std::optional<Outputs> found = runNative(*candidate, inputs);
    if (!found)
      return Diagnosed;
    std::optional<Outputs> others;
    if (!references.empty()) {
      others = readReference(references[point], *candidate);
      if (!others)
        return Diagnosed;
    }
    for (const Artefact::Value &value : candidate->getOutputs()) {
      auto wanted = expected->find(value.name);
      if (wanted == expected->end())
        return fail("only the second model has an output '" + value.name +
                    "' [FFN-R400]");
      Difference ours = difference(wanted->second, (*found)[value.name]);
      double limit = tolerance;
      std::optional<double> theirs;
      bool oracleFits = true;
      if (others) {
        auto other = others->find(value.name);
        if (other == others->end())
          return fail(label + ": no output '" + value.name + "' [FFN-D102]");
        theirs = difference(wanted->second, other->second).error;
        limit = 4 * std::max(*theirs, 0x1p-22);
        oracleFits = *theirs < 1e-3;
      }
      bool within = ours.error <= limit && oracleFits;
      equal &= within;
      if (asJson) {
        llvm::json::Object entry{{"output", value.name},
                                 {"error", ours.error},
                                 {"limit", limit},
                                 {"within", within},
                                 {"same_shape", ours.sameShape}};
        llvm::json::Object at;
        for (auto &[name, size] : sizes)
          at[name] = size;
        if (theirs) {
          entry["reference"] = llvm::json::fixUTF8(references[point]);
          entry["reference_error"] = *theirs;
        } else {
          entry["dims"] = std::move(at);
        }
        list.push_back(std::move(entry));
        continue;
      }
      llvm::outs() << (within ? "ok    " : "BEYOND ")
                   << llvm::format("%-10.3g limit %-10.3g ", ours.error, limit)
                   << value.name;
      if (!label.empty())
        llvm::outs() << "  (" << label << ')';
      if (theirs)
        llvm::outs() << llvm::format("  reference %.3g", *theirs);
      if (!ours.sameShape)
        llvm::outs() << "  shapes differ";
      llvm::outs() << '\n';
    }
  }
  if (asJson)
    printJSON(
        llvm::json::Object{{"outputs", std::move(list)}, {"equal", equal}});
  return equal ? Done : Unequal;
}
