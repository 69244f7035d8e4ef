//===- ScanRunner.cpp - Loop, Scan and SequenceMap ------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ScanRunner.h"
#include "ffn-mlir/Interpreter/TensorOps.h"

using namespace mlir;
using namespace mlir::ffn;

namespace {
class IterationRunner : public RegionRunner {
public:
  IterationRunner(onnx::NodeOp node, EvalState &state,
                  const InterpreterOptions &options)
      : ctx(node, state), options(options), body(getGraph(node, "body")) {}

protected:
  /// Stacks what iterations yielded for one scan output along a new axis; with
  /// no iteration, a tensor of the declared type with 0 along it.
  FailureOr<EvalTensor> stack(ArrayRef<EvalTensor> slices, Value yielded,
                              int64_t axis) {
    if (slices.empty()) {
      auto type = llvm::dyn_cast<RankedTensorType>(yielded.getType());
      SmallVector<int64_t> shape;
      if (type)
        for (int64_t dim : type.getShape())
          shape.push_back(ShapedType::isDynamic(dim) ? 0 : dim);
      int64_t rank = shape.size() + 1;
      FailureOr<int64_t> position = ctx.normalizeAxis(axis, rank);
      if (failed(position))
        return failure();
      shape.insert(shape.begin() + *position, 0);
      return ctx.allocate(type ? type.getElementType() : ctx.f32(), shape);
    }
    FailureOr<int64_t> position =
        ctx.normalizeAxis(axis, slices[0].getRank() + 1);
    if (failed(position))
      return failure();
    SmallVector<EvalTensor> unsqueezed;
    for (const EvalTensor &slice : slices) {
      if (slice.getShape() != slices[0].getShape())
        return ctx.error("iterations give scan outputs of different shapes");
      SmallVector<int64_t> shape(slice.getShape());
      shape.insert(shape.begin() + *position, 1);
      unsqueezed.push_back(slice.reshaped(shape));
    }
    return concatTensors(ctx.node, ctx.state, unsqueezed, *position);
  }

  LogicalResult countIteration() {
    if (++iterations > options.maxLoopIterations)
      return ctx.error("runs for more than " +
                           Twine(options.maxLoopIterations) + " iterations",
                       "E104");
    return success();
  }

  EvalContext ctx;
  const InterpreterOptions &options;
  Region *body;
  uint64_t iterations = 0;
};

//===----------------------------------------------------------------------===//
// Loop
//===----------------------------------------------------------------------===//

class LoopRunner : public IterationRunner {
public:
  using IterationRunner::IterationRunner;

  LogicalResult step(MutableArrayRef<EvalValue> results, Next &next) override {
    if (!started) {
      started = true;
      if (failed(start()))
        return failure();
    } else {
      if (results.size() != 1 + carried.size() + scans.size())
        return ctx.error("the body gives another count of values");
      if (!results[0].isTensor() || results[0].tensor.ints().size() != 1)
        return ctx.error("the body's condition must be one boolean");
      condition = results[0].tensor.ints()[0] != 0;
      for (auto [i, value] : llvm::enumerate(results.drop_front())) {
        if (i < carried.size())
          carried[i] = std::move(value);
        else if (!value.isTensor())
          return ctx.error("a scan output is not a tensor");
        else
          scans[i - carried.size()].push_back(std::move(value.tensor));
      }
      ++iteration;
    }
    if (!condition || (limit && iteration >= *limit))
      return finish();
    if (failed(countIteration()))
      return failure();
    next.region = body;
    next.arguments.push_back(EvalTensor::scalarInt(ctx.i64(), iteration));
    next.arguments.push_back(EvalTensor::scalarInt(ctx.i1(), 1));
    next.arguments.append(carried.begin(), carried.end());
    return success();
  }

private:
  LogicalResult start() {
    if (!body || body->empty())
      return ctx.error("has no body");
    unsigned count = std::max(2u, ctx.numInputs()) - 2;
    if (ctx.node->getNumResults() < count)
      return ctx.error("has fewer outputs than loop-carried values");
    if (ctx.hasInput(0)) {
      FailureOr<int64_t> trips = ctx.intScalar(0, 0);
      if (failed(trips))
        return failure();
      limit = *trips;
    }
    FailureOr<int64_t> initial = ctx.intScalar(1, 1);
    if (failed(initial))
      return failure();
    condition = *initial != 0;
    for (unsigned i = 0; i < count; ++i)
      carried.push_back(ctx.inputValue(2 + i));
    scans.resize(ctx.node->getNumResults() - count);
    return success();
  }

  LogicalResult finish() {
    for (auto [i, value] : llvm::enumerate(carried))
      ctx.setOutputValue(i, value);
    Operation *yield = &body->front().back();
    for (auto [i, slices] : llvm::enumerate(scans)) {
      unsigned operand = 1 + carried.size() + i;
      if (operand >= yield->getNumOperands())
        return ctx.error("the body gives another count of values");
      FailureOr<EvalTensor> stacked =
          stack(slices, yield->getOperand(operand), 0);
      if (failed(stacked))
        return failure();
      ctx.setOutput(carried.size() + i, *stacked);
    }
    return success();
  }

  bool started = false, condition = true;
  int64_t iteration = 0;
  std::optional<int64_t> limit;
  std::vector<EvalValue> carried;
  std::vector<SmallVector<EvalTensor, 0>> scans;
};

//===----------------------------------------------------------------------===//
// Scan, from version 9 (version 8 has a batch axis)
//===----------------------------------------------------------------------===//

class ScanRunner : public IterationRunner {
public:
  using IterationRunner::IterationRunner;

  LogicalResult step(MutableArrayRef<EvalValue> results, Next &next) override {
    if (!started) {
      started = true;
      if (failed(start()))
        return failure();
    } else {
      if (results.size() != state.size() + scans.size())
        return ctx.error("the body gives another count of values");
      for (auto [i, value] : llvm::enumerate(results)) {
        if (i < state.size())
          state[i] = std::move(value);
        else if (!value.isTensor())
          return ctx.error("a scan output is not a tensor");
        else
          scans[i - state.size()].push_back(std::move(value.tensor));
      }
      ++iteration;
    }
    if (iteration >= length)
      return finish();
    if (failed(countIteration()))
      return failure();
    next.region = body;
    next.arguments.append(state.begin(), state.end());
    for (auto [i, input] : llvm::enumerate(inputs)) {
      int64_t at =
          reversed(inputDirections, i) ? length - 1 - iteration : iteration;
      FailureOr<EvalTensor> slice =
          sliceAlongAxis(ctx.node, ctx.state, input, inputAxes[i], at, 1);
      if (failed(slice))
        return failure();
      SmallVector<int64_t> shape(slice->getShape());
      shape.erase(shape.begin() + inputAxes[i]);
      next.arguments.push_back(slice->reshaped(shape));
    }
    return success();
  }

private:
  static bool reversed(const std::optional<SmallVector<int64_t>> &directions,
                       size_t i) {
    return directions && i < directions->size() && (*directions)[i] != 0;
  }

  LogicalResult start() {
    if (ctx.version() < 9)
      return ctx.error("version 8 of Scan is not evaluated", "E101");
    if (!body || body->empty())
      return ctx.error("has no body");
    int64_t count = ctx.getInt("num_scan_inputs", 0);
    if (count < 1 || count > ctx.numInputs())
      return ctx.error("num_scan_inputs does not fit the inputs");
    unsigned states = ctx.numInputs() - count;
    if (ctx.node->getNumResults() < states)
      return ctx.error("has fewer outputs than state variables");
    auto axes = ctx.getInts("scan_input_axes");
    inputDirections = ctx.getInts("scan_input_directions");
    outputAxes = ctx.getInts("scan_output_axes");
    outputDirections = ctx.getInts("scan_output_directions");
    for (unsigned i = 0; i < ctx.numInputs(); ++i) {
      if (i < states) {
        state.push_back(ctx.inputValue(i));
        continue;
      }
      FailureOr<EvalTensor> input = ctx.require(i);
      if (failed(input))
        return failure();
      size_t at = i - states;
      FailureOr<int64_t> axis = ctx.normalizeAxis(
          axes && at < axes->size() ? (*axes)[at] : 0, input->getRank());
      if (failed(axis))
        return failure();
      if (at > 0 && input->getDim(*axis) != length)
        return ctx.error("scan inputs differ in length");
      length = input->getDim(*axis);
      inputs.push_back(*input);
      inputAxes.push_back(*axis);
    }
    scans.resize(ctx.node->getNumResults() - states);
    return success();
  }

  LogicalResult finish() {
    for (auto [i, value] : llvm::enumerate(state))
      ctx.setOutputValue(i, value);
    Operation *yield = &body->front().back();
    for (auto [i, slices] : llvm::enumerate(scans)) {
      unsigned operand = state.size() + i;
      if (operand >= yield->getNumOperands())
        return ctx.error("the body gives another count of values");
      if (reversed(outputDirections, i))
        std::reverse(slices.begin(), slices.end());
      int64_t axis =
          outputAxes && i < outputAxes->size() ? (*outputAxes)[i] : 0;
      FailureOr<EvalTensor> stacked =
          stack(slices, yield->getOperand(operand), axis);
      if (failed(stacked))
        return failure();
      ctx.setOutput(operand, *stacked);
    }
    return success();
  }

  bool started = false;
  int64_t iteration = 0, length = 0;
  std::vector<EvalValue> state;
  SmallVector<EvalTensor> inputs;
  SmallVector<int64_t> inputAxes;
  std::optional<SmallVector<int64_t>> inputDirections, outputAxes,
      outputDirections;
  std::vector<SmallVector<EvalTensor, 0>> scans;
};

//===----------------------------------------------------------------------===//
// SequenceMap
//===----------------------------------------------------------------------===//

class SequenceMapRunner : public IterationRunner {
public:
  using IterationRunner::IterationRunner;

  LogicalResult step(MutableArrayRef<EvalValue> results, Next &next) override {
    if (!started) {
      started = true;
      if (!body || body->empty())
        return ctx.error("has no body");
      for (unsigned i = 0; i < ctx.numInputs(); ++i) {
        inputs.push_back(ctx.inputValue(i));
        bool isSequence = inputs[i].kind == EvalValue::Sequence;
        if (i == 0 && !isSequence)
          return ctx.error("input 0 must be a sequence");
        if (isSequence &&
            inputs[i].elements.size() != inputs[0].elements.size())
          return ctx.error("input sequences differ in length");
      }
      outputs.resize(ctx.node->getNumResults());
      for (EvalValue &output : outputs)
        output.kind = EvalValue::Sequence;
    } else {
      if (results.size() != outputs.size())
        return ctx.error("the body gives another count of values");
      for (auto [output, value] : llvm::zip(outputs, results))
        output.elements.push_back(std::move(value));
      ++iteration;
    }
    if (iteration >= inputs[0].elements.size()) {
      for (auto [i, output] : llvm::enumerate(outputs))
        ctx.setOutputValue(i, std::move(output));
      return success();
    }
    next.region = body;
    for (const EvalValue &input : inputs)
      next.arguments.push_back(input.kind == EvalValue::Sequence
                                   ? input.elements[iteration]
                                   : input);
    return success();
  }

private:
  bool started = false;
  size_t iteration = 0;
  std::vector<EvalValue> inputs, outputs;
};
} // namespace

std::unique_ptr<RegionRunner>
mlir::ffn::makeIterationRunner(onnx::NodeOp node, EvalState &state,
                               const InterpreterOptions &options) {
  if (node.getOp() == "Loop")
    return std::make_unique<LoopRunner>(node, state, options);
  if (node.getOp() == "Scan")
    return std::make_unique<ScanRunner>(node, state, options);
  return std::make_unique<SequenceMapRunner>(node, state, options);
}
