//===- ONNXDialect.cpp - Dialect, types, attributes, name hints -----------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/Transforms/InliningUtils.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::onnx;

#include "ffn-mlir/Dialect/ONNX/IR/ONNXDialect.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "ffn-mlir/Dialect/ONNX/IR/ONNXTypes.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "ffn-mlir/Dialect/ONNX/IR/ONNXAttrs.cpp.inc"

namespace {
/// Every node may be inlined: subgraphs capture by SSA value, so a move to
/// another function keeps the meaning.
struct ONNXInlinerInterface : public DialectInlinerInterface {
  using DialectInlinerInterface::DialectInlinerInterface;
  bool isLegalToInline(Operation *, Operation *, bool) const override {
    return true;
  }
  bool isLegalToInline(Operation *, Region *, bool,
                       IRMapping &) const override {
    return true;
  }
  bool isLegalToInline(Region *, Region *, bool, IRMapping &) const override {
    return true;
  }
};
} // namespace

void ONNXDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "ffn-mlir/Dialect/ONNX/IR/ONNXTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "ffn-mlir/Dialect/ONNX/IR/ONNXAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "ffn-mlir/Dialect/ONNX/IR/ONNXOps.cpp.inc"
      >();
  addInterfaces<ONNXInlinerInterface>();
}

Attribute mlir::onnx::convertToAttribute(MLIRContext *ctx,
                                         const NameHints &names) {
  SmallVector<Attribute> values{StringAttr::get(ctx, names.node)};
  for (const std::string &output : names.outputs)
    values.push_back(StringAttr::get(ctx, output));
  if (names.comments)
    values.push_back(names.comments);
  return ArrayAttr::get(ctx, values);
}

LogicalResult mlir::onnx::convertFromAttribute(
    NameHints &names, Attribute attr,
    llvm::function_ref<InFlightDiagnostic()> emitError) {
  auto list = llvm::dyn_cast_if_present<ArrayAttr>(attr);
  auto wrong = [&] {
    return emitError() << "names must be a list of strings, then perhaps a "
                          "dictionary";
  };
  if (!list)
    return wrong();
  names = {};
  for (auto [i, value] : llvm::enumerate(list)) {
    auto text = llvm::dyn_cast<StringAttr>(value);
    if (text && i == 0) {
      names.node = text.getValue().str();
    } else if (text) {
      names.outputs.push_back(text.getValue().str());
    } else {
      names.comments = llvm::dyn_cast<DictionaryAttr>(value);
      if (!names.comments || i + 1 != list.size())
        return wrong();
    }
  }
  return success();
}

LogicalResult mlir::onnx::readFromMlirBytecode(DialectBytecodeReader &reader,
                                               NameHints &names) {
  uint64_t count = 0;
  if (failed(reader.readVarInt(count)))
    return failure();
  names = {};
  for (uint64_t i = 0; i < count; ++i) {
    StringRef value;
    if (failed(reader.readString(value)))
      return failure();
    if (i == 0)
      names.node = value.str();
    else
      names.outputs.push_back(value.str());
  }
  return reader.readOptionalAttribute(names.comments);
}

void mlir::onnx::writeToMlirBytecode(DialectBytecodeWriter &writer,
                                     const NameHints &names) {
  if (names.node.empty() && names.outputs.empty()) {
    writer.writeVarInt(0);
  } else {
    writer.writeVarInt(names.outputs.size() + 1);
    writer.writeOwnedString(names.node);
    for (const std::string &output : names.outputs)
      writer.writeOwnedString(output);
  }
  writer.writeOptionalAttribute(names.comments);
}
