//===- FFNExperts.cpp - Networks of experts -------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFNExperts.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/TypeUtilities.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

#include "ffn-mlir/Dialect/FFN/IR/FFNExpertEnums.cpp.inc"

#define GET_OP_CLASSES
#include "ffn-mlir/Dialect/FFN/IR/FFNExpertOps.cpp.inc"

static RankedTensorType typeOf(Value value) {
  return llvm::cast<RankedTensorType>(value.getType());
}

/// The last dimension; dynamic where the type does not say.
static int64_t lastDim(Value value) {
  auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() > 0 ? type.getShape().back()
                                    : ShapedType::kDynamic;
}

int64_t MoEOp::getHiddenWidth() { return typeOf(getUp()).getDimSize(0); }

int64_t MoEOp::getInputWidth() { return typeOf(getUp()).getDimSize(1); }

/// Refuses an operand (null is none) of another shape; a dynamic dimension is
/// any.
static LogicalResult checkShape(MoEOp op, Value value, StringRef name,
                                ArrayRef<int64_t> shape) {
  if (!value)
    return success();
  RankedTensorType type = typeOf(value);
  if (succeeded(verifyCompatibleShape(type.getShape(), shape)))
    return success();
  InFlightDiagnostic diag = op.emitOpError() << name << " must be of shape [";
  llvm::interleaveComma(shape, diag, [&](int64_t size) {
    if (ShapedType::isDynamic(size))
      diag << "?";
    else
      diag << size;
  });
  return diag << "], is " << type;
}

LogicalResult MoEOp::verify() {
  if (typeOf(getUp()).getRank() != 2)
    return emitOpError("up must be a matrix, is ") << getUp().getType();
  int64_t m = getHiddenWidth(), d = getInputWidth(), out = lastDim(getResult());
  int64_t shared = getSharedAttr().getInt(),
          experts = getExpertsAttr().getInt(), topK = getTopKAttr().getInt();
  if (experts < 1 || shared < 0 || shared >= m || (m - shared) % experts != 0)
    return emitOpError() << m << " neurons are not " << shared
                         << " shared ones and " << experts
                         << " experts of one width";
  if (topK < 1 || topK > experts)
    return emitOpError() << "top_k is " << topK << " of " << experts
                         << " experts";
  if (failed(checkShape(*this, getUp(), "up", {m, lastDim(getInput())})) ||
      failed(checkShape(*this, getGate(), "gate", {m, d})) ||
      failed(checkShape(*this, getDown(), "down", {out, m})) ||
      failed(checkShape(*this, getUpBias(), "up_bias", m)) ||
      failed(checkShape(*this, getGateBias(), "gate_bias", m)) ||
      failed(checkShape(*this, getDownBias(), "down_bias",
                        typeOf(getDown()).getDimSize(0))) ||
      failed(checkShape(*this, getRouter(), "router", {experts, d})) ||
      failed(checkShape(*this, getRouterGate(), "router_gate", {experts, d})))
    return failure();
  for (auto [value, name] : {std::pair(getRouterBias(), "router_bias"),
                             std::pair(getRouterGateBias(), "router_gate_bias"),
                             std::pair(getSelectionBias(), "selection_bias")})
    if (failed(checkShape(*this, value, name, experts)))
      return failure();
  if (getGateBias() && !getGate())
    return emitOpError("has a gate_bias but no gate");
  bool wantsGate = getRouterKind() == RouterKind::Neuron && isGated();
  if (static_cast<bool>(getRouterGate()) != wantsGate)
    return emitOpError(wantsGate ? "needs a router_gate: its router is a "
                                   "neuron of a gated network"
                                 : "has a router_gate, which only the neuron "
                                   "router of a gated network has");
  if (getRouterGateBias() && !getRouterGate())
    return emitOpError("has a router_gate_bias but no router_gate");
  if (getNormalize() && !getWeighted())
    return emitOpError("normalize divides weights, but it is not weighted");
  if (!std::isfinite(getScale().convertToDouble()))
    return emitOpError("scale must be finite");
  return success();
}

uint64_t MoEOp::getFlopsPerToken() {
  uint64_t matrices = isGated() ? 2 : 1, d = getInputWidth();
  uint64_t router = getExperts() * d * (getRouterGate() ? 2 : 1);
  return 2 * (router + static_cast<uint64_t>(getActiveWidth()) *
                           (matrices * d + typeOf(getDown()).getDimSize(0)));
}

SmallVector<Value> MoEOp::getWeightOperands() {
  return llvm::to_vector(getOperands().drop_front());
}
