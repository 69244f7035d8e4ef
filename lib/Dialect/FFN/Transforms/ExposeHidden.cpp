//===- ExposeHidden.cpp - Hidden states as outputs ------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Driver/Quality.h"
#include "ffn-mlir/Ops/OpTable.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNEXPOSEHIDDEN
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

namespace {
struct ExposeHidden : mlir::ffn::impl::FFNExposeHiddenBase<ExposeHidden> {
  void runOnOperation() override {
    auto main = getOperation().lookupSymbol<func::FuncOp>("main");
    if (!main || main.isExternal() || !llvm::hasSingleElement(main.getBody()))
      return;
    llvm::StringSet<> known;
    for (unsigned i = 0; i < main.getNumResults(); ++i)
      if (auto name = main.getResultAttrOfType<StringAttr>(i, "onnx.name"))
        known.insert(name.getValue());
    FailureOr<SymbolicShapeAnalysis> shapes =
        SymbolicShapeAnalysis::run(getOperation(), /*refine=*/false);
    if (failed(shapes))
      return signalPassFailure();
    Builder builder(&getContext());
    Block &body = main.getBody().front();
    Operation *terminator = body.getTerminator();
    for (SublayerOp sublayer : body.getOps<SublayerOp>()) {
      std::string name = (kHiddenPrefix + sublayerName(sublayer)).str();
      if (!known.insert(name).second)
        continue;
      Value hidden = sublayer.getHidden();
      SmallVector<NamedAttribute> attrs{
          builder.getNamedAttr("onnx.name", builder.getStringAttr(name))};
      if (ArrayAttr dims = dimsOf(builder, hidden, *shapes))
        attrs.push_back(builder.getNamedAttr("ffn.dims", dims));
      terminator->insertOperands(terminator->getNumOperands(), hidden);
      (void)main.insertResult(main.getNumResults(), hidden.getType(),
                              builder.getDictionaryAttr(attrs));
    }
  }

private:
  static std::string sublayerName(SublayerOp sublayer) {
    SmallVector<std::string> names;
    for (unsigned i = 0; i < sublayer.getNumAddends(); ++i)
      names.push_back(sublayer.getAddend(i).getName().getValue().str());
    return llvm::join(names, " + ");
  }

  /// Null where a size is not known.
  static ArrayAttr dimsOf(Builder &builder, Value value,
                          const SymbolicShapeAnalysis &shapes) {
    auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
    const SymValue &known = shapes.lookup(value);
    if (!type || !known.hasRank())
      return {};
    SmallVector<Attribute> dims;
    for (auto [dim, size] : llvm::zip_equal(*known.dims, type.getShape()))
      dims.push_back(ShapedType::isDynamic(size)
                         ? Attribute(builder.getStringAttr(dim.str()))
                         : builder.getI64IntegerAttr(size));
    return builder.getArrayAttr(dims);
  }
};
} // namespace
