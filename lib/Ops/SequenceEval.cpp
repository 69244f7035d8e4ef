//===- SequenceEval.cpp - Sequences and optionals -------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Interpreter/TensorOps.h"
#include "ffn-mlir/Ops/OpTable.h"

using namespace mlir;
using namespace mlir::ffn;

static FailureOr<EvalValue> requireSequence(EvalContext &ctx) {
  EvalValue value = ctx.inputValue(0);
  if (value.kind == EvalValue::Optional && value.elements.size() == 1)
    value = EvalValue(value.elements[0]);
  if (value.kind != EvalValue::Sequence)
    return ctx.error("input 0 must be a sequence");
  return value;
}

/// Input `i` as a position among `count`, which may equal `count` if `end`.
static FailureOr<int64_t> position(EvalContext &ctx, unsigned i, int64_t count,
                                   int64_t otherwise, bool end) {
  FailureOr<int64_t> at = ctx.intScalar(i, otherwise);
  if (failed(at))
    return failure();
  if (*at < -count || *at >= count + end)
    return ctx.error("position " + Twine(*at) + " is out of range for " +
                         Twine(count) + " elements",
                     "E103");
  return *at < 0 ? *at + count : *at;
}

static LogicalResult evalSequenceEmpty(EvalContext &ctx) {
  EvalValue sequence;
  sequence.kind = EvalValue::Sequence;
  ctx.setOutputValue(0, sequence);
  return success();
}

static LogicalResult evalSequenceConstruct(EvalContext &ctx) {
  EvalValue sequence;
  sequence.kind = EvalValue::Sequence;
  for (unsigned i = 0; i < ctx.numInputs(); ++i)
    sequence.elements.push_back(ctx.inputValue(i));
  ctx.setOutputValue(0, sequence);
  return success();
}

static LogicalResult evalSequenceInsert(EvalContext &ctx) {
  FailureOr<EvalValue> sequence = requireSequence(ctx);
  if (failed(sequence))
    return failure();
  int64_t count = sequence->elements.size();
  FailureOr<int64_t> at = position(ctx, 2, count, count, /*end=*/true);
  if (failed(at))
    return failure();
  sequence->elements.insert(sequence->elements.begin() + *at,
                            ctx.inputValue(1));
  ctx.setOutputValue(0, *sequence);
  return success();
}

static LogicalResult evalSequenceErase(EvalContext &ctx) {
  FailureOr<EvalValue> sequence = requireSequence(ctx);
  if (failed(sequence))
    return failure();
  int64_t count = sequence->elements.size();
  FailureOr<int64_t> at = position(ctx, 1, count, count - 1, /*end=*/false);
  if (failed(at))
    return failure();
  sequence->elements.erase(sequence->elements.begin() + *at);
  ctx.setOutputValue(0, *sequence);
  return success();
}

static LogicalResult evalSequenceAt(EvalContext &ctx) {
  FailureOr<EvalValue> sequence = requireSequence(ctx);
  if (failed(sequence))
    return failure();
  FailureOr<int64_t> at =
      position(ctx, 1, sequence->elements.size(), 0, /*end=*/false);
  if (failed(at))
    return failure();
  ctx.setOutputValue(0, sequence->elements[*at]);
  return success();
}

static LogicalResult evalSequenceLength(EvalContext &ctx) {
  FailureOr<EvalValue> sequence = requireSequence(ctx);
  if (failed(sequence))
    return failure();
  ctx.setOutput(0, EvalTensor::scalarInt(ctx.i64(), sequence->elements.size()));
  return success();
}

static LogicalResult evalConcatFromSequence(EvalContext &ctx) {
  FailureOr<EvalValue> sequence = requireSequence(ctx);
  if (failed(sequence))
    return failure();
  SmallVector<EvalTensor> tensors;
  for (const EvalValue &element : sequence->elements) {
    if (!element.isTensor())
      return ctx.error("an element is not a tensor");
    tensors.push_back(element.tensor);
  }
  if (tensors.empty())
    return ctx.error("the sequence is empty");
  bool isNew = ctx.getInt("new_axis", 0) != 0;
  FailureOr<int64_t> axis = ctx.normalizeAxis(
      ctx.getInt("axis", 0), tensors[0].getRank() + (isNew ? 1 : 0));
  if (failed(axis))
    return failure();
  if (isNew)
    for (EvalTensor &tensor : tensors) {
      if (*axis > tensor.getRank())
        return ctx.error("the elements differ in rank");
      SmallVector<int64_t> shape(tensor.getShape());
      shape.insert(shape.begin() + *axis, 1);
      tensor = tensor.reshaped(shape);
    }
  FailureOr<EvalTensor> result =
      concatTensors(ctx.node, ctx.state, tensors, *axis);
  if (failed(result))
    return failure();
  ctx.setOutput(0, *result);
  return success();
}

static LogicalResult evalSplitToSequence(EvalContext &ctx) {
  FailureOr<EvalTensor> x = ctx.require(0);
  auto split = ctx.optionalInts(1);
  if (failed(x) || failed(split))
    return failure();
  FailureOr<int64_t> axis =
      ctx.normalizeAxis(ctx.getInt("axis", 0), x->getRank());
  if (failed(axis))
    return failure();
  int64_t length = x->getDim(*axis);
  SmallVector<int64_t> sizes;
  bool keep = *split || ctx.getInt("keepdims", 1) != 0;
  if (*split && ctx.input(1).getRank() == 1) {
    sizes = **split;
  } else {
    // One size for all parts but perhaps the last.
    int64_t size = *split && !(*split)->empty() ? (**split)[0] : 1;
    if (size < 1)
      return ctx.error("a part size of " + Twine(size), "E103");
    for (int64_t start = 0; start < length; start += size)
      sizes.push_back(std::min(size, length - start));
  }
  EvalValue sequence;
  sequence.kind = EvalValue::Sequence;
  int64_t start = 0;
  for (int64_t size : sizes) {
    if (size < 0 || size > length - start)
      return ctx.error("the parts do not fit a dimension of " + Twine(length),
                       "E103");
    FailureOr<EvalTensor> part =
        sliceAlongAxis(ctx.node, ctx.state, *x, *axis, start, size);
    if (failed(part))
      return failure();
    start += size;
    if (!keep) {
      SmallVector<int64_t> shape(part->getShape());
      shape.erase(shape.begin() + *axis);
      *part = part->reshaped(shape);
    }
    sequence.elements.push_back(EvalValue(*part));
  }
  if (start != length)
    return ctx.error("the parts do not fill a dimension of " + Twine(length));
  ctx.setOutputValue(0, sequence);
  return success();
}

//===----------------------------------------------------------------------===//
// Optionals
//===----------------------------------------------------------------------===//

static LogicalResult evalOptional(EvalContext &ctx) {
  EvalValue optional;
  optional.kind = EvalValue::Optional;
  if (ctx.hasInput(0))
    optional.elements.push_back(ctx.inputValue(0));
  ctx.setOutputValue(0, optional);
  return success();
}

static LogicalResult evalOptionalHasElement(EvalContext &ctx) {
  EvalValue value = ctx.inputValue(0);
  bool has = value.kind == EvalValue::Optional ? !value.elements.empty()
                                               : value.kind != EvalValue::None;
  ctx.setOutput(0, EvalTensor::scalarInt(ctx.i1(), has));
  return success();
}

static LogicalResult evalOptionalGetElement(EvalContext &ctx) {
  EvalValue value = ctx.inputValue(0);
  if (value.kind == EvalValue::None ||
      (value.kind == EvalValue::Optional && value.elements.empty()))
    return ctx.error("the optional is empty", "E103");
  if (value.kind == EvalValue::Optional)
    value = EvalValue(value.elements[0]);
  ctx.setOutputValue(0, value);
  return success();
}

FFN_REGISTER_OPS(SequenceEval) {
  table.addEval("", "SequenceEmpty", 1, evalSequenceEmpty);
  table.addEval("", "SequenceConstruct", 1, evalSequenceConstruct);
  table.addEval("", "SequenceInsert", 1, evalSequenceInsert);
  table.addEval("", "SequenceErase", 1, evalSequenceErase);
  table.addEval("", "SequenceAt", 1, evalSequenceAt);
  table.addEval("", "SequenceLength", 1, evalSequenceLength);
  table.addEval("", "ConcatFromSequence", 1, evalConcatFromSequence);
  table.addEval("", "SplitToSequence", 1, evalSplitToSequence);
  table.addEval("", "Optional", 1, evalOptional);
  table.addEval("", "OptionalHasElement", 1, evalOptionalHasElement);
  table.addEval("", "OptionalGetElement", 1, evalOptionalGetElement);
}
