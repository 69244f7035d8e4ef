//===- OutputErrors.cpp - Why an output cannot be compiled ----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "OutputErrors.h"
#include "ffn-mlir/Support/CodedError.h"

using namespace mlir;
using namespace mlir::ffn;

LogicalResult mlir::ffn::reportUnsupported(onnx::NodeOp node,
                                           const llvm::Twine &why) {
  InFlightDiagnostic diag = node.emitError()
                            << node.describe() << ": operator "
                            << node.getQualifiedName() << " version "
                            << node.getVersion() << " with inputs (";
  llvm::interleaveComma(node.getInputs(), diag,
                        [&](Value value) { diag << value.getType(); });
  diag << ") cannot be compiled: " << why << " [FFN-C101]";
  diag.attachNote() << "ffn-opt and --emit=onnx still carry this node; replace "
                       "it in the model, or split the model around it";
  return diag;
}

LogicalResult
OutputErrors::reportLate(unsigned i, StringRef name, const Twine &what,
                         llvm::function_ref<bool(const SymValue &)> isLate) {
  Value at = getOutput(i);
  while (true) {
    if (auto arg = llvm::dyn_cast<BlockArgument>(at)) {
      auto sublayer = llvm::dyn_cast<SublayerOp>(arg.getOwner()->getParentOp());
      if (!sublayer)
        break;
      at = sublayer.getResidual();
      continue;
    }
    Operation *op = at.getDefiningOp();
    SmallVector<Value> sources(op->getOperands());
    if (llvm::isa<SublayerOp>(op))
      llvm::append_range(
          sources, op->getRegion(0).front().getTerminator()->getOperands());
    auto source = llvm::find_if(sources, [&](Value operand) {
      return isLate(analysis.lookup(operand));
    });
    if (source == sources.end())
      break;
    at = *source;
  }
  Operation *origin = at.getDefiningOp();
  // What the analysis cannot follow need not be late at all.
  if (auto node = llvm::dyn_cast_if_present<onnx::NodeOp>(origin);
      node && !OpTable::get().lookup(node).shape)
    return reportUnsupported(
        node, what + " of output " + Twine(i) + " " + quoteName(name) +
                  " cannot be computed from those of the inputs of this "
                  "operator, and the model does not declare it");
  InFlightDiagnostic diag =
      emitError(origin ? origin->getLoc() : main.getLoc());
  diag << (origin ? scope.locate(origin) : scope.graph) << ": because of ";
  if (origin)
    diag << "result " << llvm::cast<OpResult>(at).getResultNumber();
  else
    diag << "input " << llvm::cast<BlockArgument>(at).getArgNumber();
  diag << ", output " << i << " " << quoteName(name)
       << " cannot be compiled: " << what
       << " is known only after the run, not from the sizes of the inputs "
          "[FFN-C103]";
  diag.attachNote() << "make what this node computes its result's size from a "
                       "constant or a size of an input (Shape), declare the "
                       "size in the model, or end the model before the node";
  return diag;
}

LogicalResult OutputErrors::reportType(unsigned i, StringRef name,
                                       Type element) {
  Value at = getOutput(i);
  auto hasType = [&](Value value) {
    return analysis.lookup(value).elementType == element;
  };
  onnx::NodeOp origin;
  while (auto node = at.getDefiningOp<onnx::NodeOp>()) {
    origin = node;
    auto source = llvm::find_if(node.getInputs(), hasType);
    if (source == node.getInputs().end())
      break;
    at = *source;
  }
  std::string why;
  llvm::raw_string_ostream(why)
      << "output " << i << " " << quoteName(name) << " has elements of type "
      << element
      << ", which have no native form: only bool, integers, f16, bf16, f32 and "
         "f64 have";
  if (origin)
    return reportUnsupported(origin, why);
  return main.emitError() << scope.graph << ": " << why << " [FFN-C102]";
}

// kMaxRank and kMaxSymbols of runtime/Runtime.h, which stands alone.
static constexpr size_t kMaxRuntimeRank = 16;
static constexpr size_t kMaxRuntimeSymbols = 64;

LogicalResult mlir::ffn::checkRuntimeLimits(func::FuncOp main,
                                            const ModelDescriptor &descriptor) {
  for (auto [kind, values] : {std::pair("input", &descriptor.inputs),
                              std::pair("output", &descriptor.outputs)})
    for (const DescriptorValue &value : *values)
      if (value.dims.size() > kMaxRuntimeRank)
        return main.emitError(kind)
               << ' ' << quoteName(value.name) << " is of rank "
               << value.dims.size()
               << ", which cannot be compiled: a library takes ranks up to "
               << kMaxRuntimeRank << " [FFN-C102]";
  if (descriptor.symbols.size() > kMaxRuntimeSymbols)
    return main.emitError("the inputs have ")
           << descriptor.symbols.size()
           << " symbolic dimensions, which cannot be compiled: a library takes "
           << kMaxRuntimeSymbols
           << "; fix some of them in the model [FFN-C102]";
  return success();
}
