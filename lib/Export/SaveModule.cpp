//===- SaveModule.cpp - Modules with weights to disk ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Export/SaveModule.h"
#include "ffn-mlir/Export/WireWriter.h"
#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "mlir/Bytecode/BytecodeWriter.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::ffn;
namespace path = llvm::sys::path;

/// Replaces the spans of @derived by dense elements.
static LogicalResult inlineDerived(ModuleOp module) {
  WeightStore &store = WeightStore::get(module.getContext());
  bool isBad = false;
  AttrTypeReplacer replacer;
  replacer.addReplacement([&](SpanAttr span) -> Attribute {
    auto type = dyn_cast<RankedTensorType>(span.getType());
    if (span.getFile().getValue() != kDerivedFile || !type)
      return span;
    std::vector<uint8_t> bytes(span.getSize());
    MutableArrayRef<char> buffer(reinterpret_cast<char *>(bytes.data()),
                                 bytes.size());
    DenseElementsAttr dense;
    if (succeeded(store.read(module, span, 0, buffer)))
      dense = makeDenseElements(type, bytes);
    isBad |= !dense;
    return dense ? Attribute(dense) : span;
  });
  module.walk([&](Operation *op) {
    if (auto weight = dyn_cast<WeightOp>(op)) {
      auto span = dyn_cast<SpanAttr>(weight.getValue());
      if (span && span.getFile().getValue() == kDerivedFile &&
          !span.getKey().getValue().empty())
        weight->setAttr("onnx.name", span.getKey());
    }
    replacer.replaceElementsIn(op);
  });
  return failure(isBad);
}

LogicalResult mlir::ffn::prepareToSave(ModuleOp module, StringRef output,
                                       const SaveOptions &options) {
  WeightStore &store = WeightStore::get(module.getContext());
  bool isStdout = output == "-";
  std::string base = store.getBaseDirectory();
  StringRef folder = options.keepPaths ? StringRef(base)
                     : isStdout        ? StringRef()
                                       : path::parent_path(output);
  auto derived = module.lookupSymbol<FileOp>(kDerivedFile);
  if (store.hasNewDerived()) {
    if (!derived)
      return module.emitError("derived weights need 'ffn.file @derived' in the "
                              "module [FFN-W106]");
    std::string weights = options.weightsOut;
    if (weights.empty() && isStdout) {
      if (store.getDerivedSize() > kStdoutWeightLimit)
        return module.emitError("cannot print ")
               << store.getDerivedSize()
               << " bytes of derived weights; --weights-out=<file> says where "
                  "to write them [FFN-W106]";
      if (failed(inlineDerived(module)))
        return module.emitError("a derived weight has no inline form; "
                                "--weights-out=<file> says where to write it "
                                "[FFN-W106]");
    } else {
      if (weights.empty())
        weights = (output + ".weights").str();
      std::string error;
      if (failed(store.writeDerived(weights, error)))
        return module.emitError("cannot write '")
               << weights << "': " << error << " [FFN-O101]";
      rebaseFilePaths(module, base, folder);
      SmallString<256> relative(
          getRelativePath(folder, path::parent_path(weights)));
      path::append(relative, path::filename(weights));
      derived.setPath(relative);
      derived.setSize(store.getDerivedSize());
      return success();
    }
  }
  rebaseFilePaths(module, base, folder);
  return success();
}

LogicalResult mlir::ffn::saveModule(ModuleOp module, StringRef output,
                                    const SaveOptions &options) {
  OwningOpRef<ModuleOp> copy = module.clone();
  if (failed(prepareToSave(*copy, output, options)))
    return failure();
  std::string text;
  llvm::raw_string_ostream os(text);
  if (options.bytecode) {
    if (failed(writeBytecodeToFile(*copy, os)))
      return module.emitError("cannot be written as bytecode [FFN-O101]");
  } else {
    copy->print(os);
    os << '\n';
  }
  if (output == "-") {
    llvm::outs() << text;
    llvm::outs().flush();
    // What went wrong is told by `guardStandardStreams` of the tools.
    return success(!llvm::outs().has_error());
  }
  CodedErrors errors;
  OutputFile file;
  ArrayRef<uint8_t> bytes(reinterpret_cast<const uint8_t *>(text.data()),
                          text.size());
  if (failed(file.create(output, errors)) || failed(file.write(bytes)) ||
      failed(file.commit()))
    return emitCodedErrors(module.getLoc(), errors);
  return success();
}
