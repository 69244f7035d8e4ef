//===- FFNDialect.cpp - Dialect, attributes, enums ------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFNAdaptive.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNExperts.h"
#include "ffn-mlir/Dialect/FFN/IR/FFNProbes.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/Transforms/InliningUtils.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::ffn;

#include "ffn-mlir/Dialect/FFN/IR/FFNDialect.cpp.inc"
#include "ffn-mlir/Dialect/FFN/IR/FFNEnums.cpp.inc"
#include "ffn-mlir/Dialect/FFN/IR/FFNInterfaces.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "ffn-mlir/Dialect/FFN/IR/FFNAttrs.cpp.inc"

namespace {
struct FFNInlinerInterface : public DialectInlinerInterface {
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

void FFNDialect::initialize() {
  weightStore = std::make_shared<WeightStore>();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "ffn-mlir/Dialect/FFN/IR/FFNAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "ffn-mlir/Dialect/FFN/IR/FFNOps.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "ffn-mlir/Dialect/FFN/IR/FFNProbeOps.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "ffn-mlir/Dialect/FFN/IR/FFNExpertOps.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "ffn-mlir/Dialect/FFN/IR/FFNAdaptiveOps.cpp.inc"
      >();
  addInterfaces<FFNInlinerInterface>();
}

Operation *FFNDialect::materializeConstant(OpBuilder &builder, Attribute value,
                                           Type type, Location loc) {
  auto typed = llvm::dyn_cast<TypedAttr>(value);
  auto tensor = llvm::dyn_cast<RankedTensorType>(type);
  if (typed && tensor && typed.getType() == type && tensor.hasStaticShape())
    return WeightOp::create(builder, loc, type, typed);
  return nullptr;
}
