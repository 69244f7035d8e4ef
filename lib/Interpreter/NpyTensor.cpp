//===- NpyTensor.cpp - Values from and to .npy files ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/NpyTensor.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringMap.h"
#include <cstring>

using namespace mlir;
using namespace mlir::ffn;

/// The MLIR type that the array's own bytes have.
static Type typeOf(MLIRContext *ctx, const NpyArray &array) {
  unsigned bits = 8 * array.itemSize;
  switch (array.kind) {
  case 'b':
    return IntegerType::get(ctx, 1);
  case 'i':
    return IntegerType::get(ctx, bits);
  case 'u':
    return IntegerType::get(ctx, bits, IntegerType::Unsigned);
  default:
    if (bits == 16)
      return Float16Type::get(ctx);
    return bits == 32 ? Type(Float32Type::get(ctx))
                      : Type(Float64Type::get(ctx));
  }
}

FailureOr<EvalTensor> mlir::ffn::tensorFromNpy(const NpyArray &array,
                                               Type elementType,
                                               StringRef where,
                                               CodedErrors &errors) {
  auto mismatch = [&]() -> FailureOr<EvalTensor> {
    std::string text;
    llvm::raw_string_ostream(text) << "an array of " << array.getTypeName()
                                   << " does not fit the type " << elementType;
    return errors.error("D101", where, text);
  };
  FailureOr<EvalTensor> raw = EvalTensor::fromBytes(
      typeOf(elementType.getContext(), array), array.shape, array.data);
  if (failed(raw))
    return mismatch();
  EvalTensor result = *raw;
  if (auto floating = llvm::dyn_cast<FloatType>(elementType)) {
    if (!raw->isFloat())
      return mismatch();
    if (raw->getElementType() != elementType)
      for (double &x : result.mutableFloats())
        x = roundToFloatType(floating, x, Overflow::ToInfinity);
    return result.retyped(elementType);
  }
  if (!raw->isInteger() || !elementType.isIntOrIndex() ||
      raw->isBool() != elementType.isInteger(1))
    return mismatch();
  for (int64_t value : raw->ints()) {
    bool negative = value < 0 && !raw->isUnsigned();
    bool fits = wrapToIntType(elementType, value) == value;
    // Unsigned bits with the top one set are large and not negative.
    if (value < 0)
      fits &= negative == !elementType.isUnsignedInteger();
    if (!fits) {
      std::string text;
      llvm::raw_string_ostream(text)
          << "value " << value << " is outside of the type " << elementType;
      return errors.error("D101", where, text);
    }
  }
  return result.retyped(elementType);
}

FailureOr<NpyArray> mlir::ffn::tensorToNpy(const EvalTensor &tensor) {
  if (tensor.isNull() || tensor.isString())
    return failure();
  NpyArray array;
  array.shape.assign(tensor.getShape().begin(), tensor.getShape().end());
  auto copy = [&](const auto &values) {
    array.data.resize(values.size() * sizeof(values[0]));
    if (!values.empty())
      std::memcpy(array.data.data(), values.data(), array.data.size());
  };
  if (tensor.isFloat()) {
    copy(tensor.floats());
  } else if (tensor.isBool()) {
    array.kind = 'b';
    array.itemSize = 1;
    for (int64_t value : tensor.ints())
      array.data.push_back(value != 0);
  } else {
    array.kind = tensor.isUnsigned() ? 'u' : 'i';
    copy(tensor.ints());
  }
  return array;
}

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

std::string mlir::ffn::getArgumentName(Operation *function, unsigned i) {
  auto op = llvm::cast<func::FuncOp>(function);
  if (auto name = op.getArgAttrOfType<StringAttr>(i, "onnx.name"))
    return name.getValue().str();
  return "arg" + std::to_string(i);
}

std::string mlir::ffn::getResultName(Operation *function, unsigned i) {
  auto op = llvm::cast<func::FuncOp>(function);
  if (auto name = op.getResultAttrOfType<StringAttr>(i, "onnx.name"))
    return name.getValue().str();
  return "result" + std::to_string(i);
}

FailureOr<std::vector<EvalValue>>
mlir::ffn::readNpyInputs(Operation *function, ArrayRef<std::string> pairs,
                         CodedErrors &errors) {
  auto op = llvm::cast<func::FuncOp>(function);
  llvm::StringMap<StringRef> paths;
  llvm::StringMap<unsigned> arguments;
  for (unsigned i = 0; i < op.getNumArguments(); ++i)
    arguments.try_emplace(getArgumentName(function, i), i);
  for (StringRef pair : pairs) {
    // Names may contain '=', file names of tests do not.
    auto [name, path] = pair.rsplit('=');
    if (!arguments.count(name))
      return errors.error("E105", "",
                          "the model has no input " + quoteName(name));
    if (!paths.try_emplace(name, path).second)
      return errors.error("E105", "",
                          "input " + quoteName(name) + " is given twice");
  }
  std::vector<EvalValue> values;
  for (unsigned i = 0; i < op.getNumArguments(); ++i) {
    std::string name = getArgumentName(function, i);
    auto type = llvm::dyn_cast<TensorType>(op.getArgument(i).getType());
    auto path = paths.find(name);
    if (!type)
      return errors.error("E105", "",
                          "input " + quoteName(name) + " is not a tensor");
    if (path == paths.end())
      return errors.error("E105", "",
                          "no file is given for input " + quoteName(name));
    FailureOr<NpyArray> array = readNpy(path->second, errors);
    if (failed(array))
      return failure();
    FailureOr<EvalTensor> tensor =
        tensorFromNpy(*array, type.getElementType(), path->second, errors);
    if (failed(tensor))
      return failure();
    values.push_back(*tensor);
  }
  return values;
}
