//===- Interpret.cpp - Python binding of the reference interpreter --------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// The oracle is no fast path: arrays are copied in and out.
//
//===----------------------------------------------------------------------===//

#include "Binding.h"
#include "ffn-mlir/Interpreter/Interpreter.h"
#include "ffn-mlir/Interpreter/NpyTensor.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <cstring>
#include <nanobind/stl/string.h>

namespace nb = nanobind;
using namespace mlir;
using namespace mlir::ffn;

namespace {

func::FuncOp findMain(Module &module) {
  auto function = module.op->lookupSymbol<func::FuncOp>("main");
  if (!function)
    throw CompilerError("the module has no function @main [FFN-E105]");
  return function;
}

nb::list argumentNames(Module &module) {
  func::FuncOp function = findMain(module);
  nb::list names;
  for (unsigned i = 0; i < function.getNumArguments(); ++i)
    names.append(toText(getArgumentName(function, i)));
  return names;
}

nb::dict runInterpreter(Module &module, const nb::list &arrays) {
  DiagnosticPrinter collector(module.context.get(), "", nullptr);
  func::FuncOp function = findMain(module);
  if (arrays.size() != function.getNumArguments())
    throw CompilerError(
        std::to_string(arrays.size()) + " inputs given, the model has " +
        std::to_string(function.getNumArguments()) + " [FFN-E105]");
  CodedErrors errors;
  std::vector<EvalValue> values;
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    std::string where = "input '" + getArgumentName(function, i) + "'";
    auto type = dyn_cast<TensorType>(function.getArgument(i).getType());
    HostArray array;
    if (!type || !nb::try_cast(arrays[i], array))
      throw CompilerError(where + " is no tensor [FFN-E105]");
    FailureOr<EvalTensor> tensor = tensorFromNpy(
        toArray(array, where), type.getElementType(), where, errors);
    if (failed(tensor)) {
      (void)emitCodedErrors(function.getLoc(), errors);
      raise(collector, where + " cannot be used");
    }
    values.push_back(*tensor);
  }
  FailureOr<std::vector<EvalValue>> results = failure();
  {
    nb::gil_scoped_release release;
    results = interpret(*module.op, values);
  }
  if (failed(results))
    raise(collector, "the interpreter failed");
  nb::dict outputs;
  for (auto [i, result] : llvm::enumerate(*results)) {
    FailureOr<NpyArray> array = failure();
    if (result.isTensor())
      array = tensorToNpy(result.tensor);
    std::string name = getResultName(function, i);
    if (failed(array))
      throw CompilerError("output '" + name +
                          "' is no tensor of numbers [FFN-E105]");
    outputs[toText(name)] = fromArray(*array);
  }
  return outputs;
}

} // namespace

NpyArray toArray(const HostArray &source, const std::string &where) {
  NpyArray array;
  nb::dlpack::dtype type = source.dtype();
  using Code = nb::dlpack::dtype_code;
  if (type == nb::dlpack::dtype{static_cast<uint8_t>(Code::Bool), 8, 1})
    array.kind = 'b';
  else if (type.code == static_cast<uint8_t>(Code::Int))
    array.kind = 'i';
  else if (type.code == static_cast<uint8_t>(Code::UInt))
    array.kind = 'u';
  else if (type.code == static_cast<uint8_t>(Code::Float))
    array.kind = 'f';
  else
    throw CompilerError(where + ": numbers of this type are not supported "
                                "[FFN-E105]");
  array.itemSize = type.bits / 8;
  for (size_t d = 0; d < source.ndim(); ++d)
    array.shape.push_back(static_cast<int64_t>(source.shape(d)));
  array.data.resize(source.nbytes());
  if (!array.data.empty())
    std::memcpy(array.data.data(), source.data(), array.data.size());
  return array;
}

nb::object fromArray(const NpyArray &array) {
  nb::object bytes = nb::steal(PyByteArray_FromStringAndSize(
      array.data.data(), static_cast<Py_ssize_t>(array.data.size())));
  if (!bytes.is_valid())
    nb::raise_python_error();
  nb::list shape;
  for (int64_t size : array.shape)
    shape.append(size);
  return nb::module_::import_("numpy")
      .attr("frombuffer")(bytes, array.getTypeName())
      .attr("reshape")(nb::tuple(shape));
}

void bindInterpreter(nb::module_ &m) {
  m.def("argument_names", &argumentNames, nb::arg("module"));
  m.def("interpret", &runInterpreter, nb::arg("module"), nb::arg("inputs"));
}
