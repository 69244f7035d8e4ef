//===- EvalContext.cpp - What evaluation functions see --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/Interpreter.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace mlir::ffn;

LogicalResult mlir::ffn::evalError(Operation *op, StringRef code,
                                   const Twine &what) {
  InFlightDiagnostic diag = op->emitError();
  if (auto node = llvm::dyn_cast<onnx::NodeOp>(op))
    diag << node.describe();
  else
    diag << "'" << op->getName().getStringRef() << "'";
  return diag << ": " << what << " [FFN-" << code << "]";
}

std::string mlir::ffn::shapeText(ArrayRef<int64_t> shape) {
  std::string text = "[";
  llvm::raw_string_ostream os(text);
  llvm::interleaveComma(shape, os);
  os << ']';
  return text;
}

//===----------------------------------------------------------------------===//
// Operands
//===----------------------------------------------------------------------===//

bool EvalContext::hasOutput(unsigned i) {
  return i < node->getNumResults() &&
         !llvm::isa<NoneType>(node->getResult(i).getType());
}

EvalValue EvalContext::inputValue(unsigned i) {
  Value value = node.getInput(i);
  return value ? state.get(value) : EvalValue();
}

EvalTensor EvalContext::input(unsigned i) {
  Value value = node.getInput(i);
  if (!value)
    return {};
  const EvalValue &v = state.get(value);
  return v.kind == EvalValue::Tensor ? v.tensor : EvalTensor();
}

FailureOr<EvalTensor> EvalContext::require(unsigned i) {
  EvalTensor tensor = input(i);
  if (tensor.isNull())
    return error("input " + Twine(i) + " is not a tensor");
  return tensor;
}

FailureOr<EvalTensor> EvalContext::requireFloat(unsigned i) {
  FailureOr<EvalTensor> tensor = require(i);
  if (succeeded(tensor) && !tensor->isFloat())
    return error("input " + Twine(i) + " must be floating");
  return tensor;
}

FailureOr<EvalTensor> EvalContext::requireInt(unsigned i) {
  FailureOr<EvalTensor> tensor = require(i);
  if (succeeded(tensor) && !tensor->isInteger())
    return error("input " + Twine(i) + " must be of integers");
  return tensor;
}

FailureOr<std::optional<SmallVector<int64_t>>>
EvalContext::optionalInts(unsigned i) {
  if (input(i).isNull())
    return std::optional<SmallVector<int64_t>>();
  FailureOr<EvalTensor> tensor = requireInt(i);
  if (failed(tensor))
    return failure();
  return std::optional(SmallVector<int64_t>(tensor->ints()));
}

FailureOr<int64_t> EvalContext::intScalar(unsigned i, int64_t otherwise) {
  EvalTensor tensor = input(i);
  if (tensor.isNull())
    return otherwise;
  if (!tensor.isInteger() || tensor.getNumElements() != 1)
    return error("input " + Twine(i) + " must be one integer");
  return tensor.ints()[0];
}

FailureOr<double> EvalContext::floatScalar(unsigned i, double otherwise) {
  EvalTensor tensor = input(i);
  if (tensor.isNull())
    return otherwise;
  if (tensor.isString() || tensor.getNumElements() != 1)
    return error("input " + Twine(i) + " must be one number");
  return tensor.asDouble(0);
}

void EvalContext::setOutput(unsigned i, EvalTensor tensor) {
  setOutputValue(i, EvalValue(std::move(tensor)));
}

void EvalContext::setOutputValue(unsigned i, EvalValue value) {
  if (hasOutput(i))
    state.set(node->getResult(i), std::move(value));
}

Type EvalContext::outputElementType(unsigned i, Type otherwise) {
  if (i < node->getNumResults())
    if (auto type = llvm::dyn_cast<TensorType>(node->getResult(i).getType()))
      return type.getElementType();
  return otherwise;
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

Attribute EvalContext::attr(StringRef name) {
  return state.resolve(node.getNodeAttr(name));
}

int64_t EvalContext::getInt(StringRef name, int64_t otherwise) {
  auto value = llvm::dyn_cast_if_present<IntegerAttr>(attr(name));
  return value && value.getValue().getSignificantBits() <= 64
             ? value.getValue().getSExtValue()
             : otherwise;
}

double EvalContext::getFloat(StringRef name, double otherwise) {
  auto value = llvm::dyn_cast_if_present<FloatAttr>(attr(name));
  return value ? value.getValueAsDouble() : otherwise;
}

StringRef EvalContext::getString(StringRef name, StringRef otherwise) {
  auto value = llvm::dyn_cast_if_present<StringAttr>(attr(name));
  return value ? value.getValue() : otherwise;
}

std::optional<SmallVector<int64_t>> EvalContext::getInts(StringRef name) {
  if (auto list = llvm::dyn_cast_if_present<DenseI64ArrayAttr>(attr(name)))
    return SmallVector<int64_t>(list.asArrayRef());
  return std::nullopt;
}

std::optional<SmallVector<double>> EvalContext::getFloats(StringRef name) {
  if (auto list = llvm::dyn_cast_if_present<DenseF32ArrayAttr>(attr(name)))
    return SmallVector<double>(list.asArrayRef().begin(),
                               list.asArrayRef().end());
  return std::nullopt;
}

std::optional<SmallVector<std::string>>
EvalContext::getStrings(StringRef name) {
  auto list = llvm::dyn_cast_if_present<onnx::StringsAttr>(attr(name));
  if (!list)
    return std::nullopt;
  SmallVector<std::string> result;
  for (Attribute value : list.getValues()) {
    auto text = llvm::dyn_cast<StringAttr>(value);
    result.push_back(text ? text.getValue().str() : std::string());
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

LogicalResult EvalContext::error(const Twine &what, StringRef code) {
  return evalError(node, code, what);
}

FailureOr<int64_t> EvalContext::normalizeAxis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank)
    return error("axis " + Twine(axis) + " is out of range for rank " +
                     Twine(rank),
                 "E103");
  return axis < 0 ? axis + rank : axis;
}

FailureOr<SmallVector<int64_t>>
EvalContext::normalizeAxes(ArrayRef<int64_t> axes, int64_t rank) {
  SmallVector<int64_t> result;
  for (int64_t axis : axes) {
    FailureOr<int64_t> normalized = normalizeAxis(axis, rank);
    if (failed(normalized))
      return failure();
    if (llvm::is_contained(result, *normalized))
      return error("axis " + Twine(axis) + " is given twice");
    result.push_back(*normalized);
  }
  return result;
}

FailureOr<SmallVector<int64_t>> EvalContext::broadcast(ArrayRef<int64_t> a,
                                                       ArrayRef<int64_t> b) {
  size_t rank = std::max(a.size(), b.size());
  SmallVector<int64_t> result(rank);
  for (size_t i = 0; i < rank; ++i) {
    int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1;
    int64_t y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1)
      return error("shapes " + shapeText(a) + " and " + shapeText(b) +
                   " do not broadcast");
    result[rank - 1 - i] = x == 1 ? y : x;
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Constants
//===----------------------------------------------------------------------===//

FailureOr<EvalTensor> mlir::ffn::evaluateConstant(Operation *user,
                                                  Attribute value) {
  auto typed = llvm::dyn_cast_if_present<TypedAttr>(value);
  auto type =
      typed ? llvm::dyn_cast<ShapedType>(typed.getType()) : ShapedType();
  if (!type || !type.hasStaticShape())
    return evalError(user, "E102", "the constant is not a tensor");
  if (auto strings = llvm::dyn_cast<DenseStringElementsAttr>(value)) {
    EvalTensor tensor(type.getElementType(), type.getShape());
    ArrayRef<StringRef> raw = strings.getRawStringData();
    MutableArrayRef<std::string> out = tensor.mutableStrings();
    for (size_t i = 0; i < out.size() && !raw.empty(); ++i)
      out[i] = raw[raw.size() == 1 ? 0 : i].str();
    return tensor;
  }
  SmallVector<char> bytes;
  if (failed(readWeightBytes(user, typed, bytes)))
    return failure();
  FailureOr<EvalTensor> tensor =
      EvalTensor::fromBytes(type.getElementType(), type.getShape(), bytes);
  if (failed(tensor))
    return evalError(user, "E101",
                     "tensors of this element type are not evaluated");
  return tensor;
}
