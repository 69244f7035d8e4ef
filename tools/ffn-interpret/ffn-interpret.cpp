//===- ffn-interpret.cpp - Runs the reference interpreter -----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A driver for tests. Result i is written to i.npy (floats as float64), parts
// of a sequence to i.j.npy; stdout has one line for each result. No file is
// named after a name in the model.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/InitAll.h"
#include "ffn-mlir/Interpreter/Interpreter.h"
#include "ffn-mlir/Interpreter/NpyTensor.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "ffn-mlir/Support/StandardStreams.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/DialectRegistry.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace mlir::ffn;

namespace cl = llvm::cl;

static cl::OptionCategory category("Interpreter options");
static cl::opt<std::string> modelPath(cl::Positional, cl::Required,
                                      cl::desc("model.onnx|model.mlir"),
                                      cl::cat(category));
static cl::list<std::string> inputs("input", cl::desc("an input"),
                                    cl::value_desc("name=file.npy"),
                                    cl::cat(category));
static cl::opt<std::string>
    outputDir("output-dir", cl::desc("folder of the results, as N.npy"),
              cl::value_desc("folder"), cl::cat(category));
static cl::opt<std::string>
    functionName("function", cl::init("main"),
                 cl::desc("function to run (default: main)"),
                 cl::value_desc("name"), cl::cat(category));
static cl::opt<std::string>
    weightsDir("weights-dir",
               cl::desc("folder of the weights of an .mlir model "
                        "(default: that of the model)"),
               cl::value_desc("folder"), cl::cat(category));
static cl::opt<unsigned long long>
    maxElements("max-elements", cl::init(1ull << 31),
                cl::desc("most elements of live tensors (default: 2^31)"),
                cl::value_desc("count"), cl::cat(category));
static cl::opt<bool> printValues("print", cl::desc("print the elements"),
                                 cl::cat(category));

static void printElements(const EvalTensor &tensor) {
  llvm::outs() << " :";
  for (int64_t i = 0; i < tensor.getNumElements(); ++i) {
    if (tensor.isFloat())
      llvm::outs() << llvm::format(" %.9g", tensor.floats()[i]);
    else if (tensor.isString())
      llvm::outs() << ' ' << quoteName(tensor.strings()[i]);
    else if (tensor.isUnsigned())
      llvm::outs() << ' ' << static_cast<uint64_t>(tensor.ints()[i]);
    else
      llvm::outs() << ' ' << tensor.ints()[i];
  }
}

static LogicalResult writeResult(const EvalValue &value,
                                 const std::string &stem) {
  if (value.kind == EvalValue::Sequence || value.kind == EvalValue::Optional) {
    for (auto [i, element] : llvm::enumerate(value.elements))
      if (failed(writeResult(element, stem + "." + std::to_string(i))))
        return failure();
    return success();
  }
  if (!value.isTensor())
    return success();
  FailureOr<NpyArray> array = tensorToNpy(value.tensor);
  if (failed(array)) {
    llvm::errs() << "ffn-interpret: error: result " << stem
                 << " has no numbers [FFN-E105]\n";
    return failure();
  }
  SmallString<128> path(outputDir.getValue());
  llvm::sys::path::append(path, stem + ".npy");
  std::string error;
  if (succeeded(writeNpy(path, *array, error)))
    return success();
  llvm::errs() << "ffn-interpret: error: cannot write '" << path
               << "': " << error << "\n";
  return failure();
}

static int run() {
  DialectRegistry registry;
  registerAllDialects(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.printOpOnDiagnostic(false);
  DiagnosticPrinter printer(&context, llvm::sys::path::filename(modelPath),
                            &llvm::errs());
  OwningOpRef<ModuleOp> module =
      loadModule(modelPath, &context, ImportOptions(), weightsDir);
  if (!module)
    return 1;
  auto function = module->lookupSymbol<func::FuncOp>(functionName);
  if (!function) {
    module->emitError("has no function @") << functionName << " [FFN-E105]";
    return 1;
  }
  CodedErrors errors;
  FailureOr<std::vector<EvalValue>> values =
      readNpyInputs(function, inputs, errors);
  errors.print(llvm::errs(), modelPath);
  if (failed(values))
    return 1;
  InterpreterOptions options;
  options.maxElements = maxElements;
  FailureOr<std::vector<EvalValue>> results =
      interpret(*module, *values, options, functionName);
  if (failed(results))
    return 1;
  for (auto [i, result] : llvm::enumerate(*results)) {
    llvm::outs() << i << ' ' << quoteName(getResultName(function, i));
    if (result.isTensor())
      llvm::outs() << ' ' << result.tensor.getElementType() << ' '
                   << shapeText(result.tensor.getShape());
    else
      llvm::outs() << " of " << result.elements.size();
    if (printValues && result.isTensor())
      printElements(result.tensor);
    llvm::outs() << '\n';
    if (!outputDir.empty() && failed(writeResult(result, std::to_string(i))))
      return 1;
  }
  return 0;
}

int main(int argc, char **argv) {
  guardStandardStreams();
  llvm::InitLLVM init(argc, argv);
  exitOnBrokenPipe();
  cl::HideUnrelatedOptions(category);
  if (!cl::ParseCommandLineOptions(
          argc, argv, "Runs a model on the float64 reference interpreter\n",
          &llvm::errs()))
    return 2;
  return run();
}
