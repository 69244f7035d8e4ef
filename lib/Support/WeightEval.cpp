//===- WeightEval.cpp - Bytes of weight expressions -----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/WeightEval.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Interpreter/EvalTensor.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/SmallPtrSet.h"
#include <cstring>

using namespace mlir;
using namespace mlir::ffn;

namespace {
/// Elements of a block; bounds what the evaluation of an expression keeps.
constexpr int64_t blockElements = 1 << 18;
/// Bytes of a block of a whole matrix, large enough that few passes over the
/// source of a transposition are needed.
constexpr int64_t blockBytes = int64_t(64) << 20;
constexpr unsigned maxDepth = 200;
} // namespace

static RankedTensorType typeOf(Value value) {
  return llvm::cast<RankedTensorType>(value.getType());
}

/// Bytes of one element; 0 for types that share bytes or have none.
static int64_t elementBytes(Type type) {
  if (!type.isIntOrFloat())
    return 0;
  unsigned bits = type.getIntOrFloatBitWidth();
  return bits == 1 ? 1 : bits % 8 == 0 ? bits / 8 : 0;
}

/// Elements of one row: the product of all dimensions but the first.
static int64_t rowElements(RankedTensorType type) {
  int64_t count = 1;
  for (int64_t size : type.getShape().drop_front())
    count *= size;
  return count;
}

bool mlir::ffn::isWeightExpression(Value value) {
  SmallVector<Value> worklist{value};
  llvm::SmallPtrSet<Operation *, 8> seen;
  while (!worklist.empty()) {
    Value next = worklist.pop_back_val();
    Operation *op = next.getDefiningOp();
    auto type = llvm::dyn_cast<RankedTensorType>(next.getType());
    if (!op || !type || !type.hasStaticShape() ||
        !elementBytes(type.getElementType()) || type.getRank() == 0)
      if (!llvm::isa_and_present<WeightOp>(op) || !type ||
          !elementBytes(type.getElementType()))
        return false;
    if (!seen.insert(op).second)
      continue;
    if (llvm::isa<WeightOp>(op))
      continue;
    auto expression = llvm::dyn_cast<WeightExprInterface>(op);
    if (!expression)
      return false;
    llvm::append_range(worklist, op->getOperands());
  }
  return true;
}

StringRef mlir::ffn::getWeightKey(Value value) {
  SmallVector<Value> worklist{value};
  llvm::SmallPtrSet<Operation *, 8> seen;
  while (!worklist.empty()) {
    Operation *op = worklist.pop_back_val().getDefiningOp();
    if (!op || !seen.insert(op).second)
      continue;
    if (auto weight = llvm::dyn_cast<WeightOp>(op)) {
      if (auto span = llvm::dyn_cast<SpanAttr>(weight.getValue()))
        return span.getKey().getValue();
      continue;
    }
    if (auto expression = llvm::dyn_cast<WeightExprInterface>(op)) {
      SmallVector<Value> sources = expression.getWeightSources();
      worklist.append(sources.rbegin(), sources.rend());
    }
  }
  return {};
}

//===----------------------------------------------------------------------===//
// Doubles
//===----------------------------------------------------------------------===//

LogicalResult WeightEvaluator::readDoubles(Value value, int64_t begin,
                                           int64_t count,
                                           SmallVectorImpl<double> &values) {
  Type element = typeOf(value).getElementType();
  SmallVector<char, 0> bytes;
  bytes.resize_for_overwrite(count * elementBytes(element));
  if (failed(read(value, begin, count, bytes)))
    return failure();
  FailureOr<EvalTensor> tensor = EvalTensor::fromBytes(element, {count}, bytes);
  if (failed(tensor))
    return value.getDefiningOp()->emitError("weight of type ")
           << value.getType() << " has no numeric form [FFN-W111]";
  values.resize_for_overwrite(count);
  if (tensor->isFloat())
    llvm::copy(tensor->floats(), values.begin());
  else
    for (int64_t i = 0; i < count; ++i)
      values[i] = tensor->asDouble(i);
  return success();
}

FailureOr<ArrayRef<double>> WeightEvaluator::readDoubles(Value value) {
  auto known = vectors.find(value);
  if (known != vectors.end())
    return ArrayRef<double>(known->second);
  SmallVector<double, 0> values;
  if (failed(readDoubles(value, 0, typeOf(value).getNumElements(), values)))
    return failure();
  return ArrayRef<double>(vectors[value] = std::move(values));
}

LogicalResult WeightEvaluator::writeDoubles(Operation *op, Type elementType,
                                            ArrayRef<double> values,
                                            MutableArrayRef<char> bytes) {
  EvalTensor tensor(elementType, {static_cast<int64_t>(values.size())});
  if (tensor.isFloat()) {
    llvm::copy(values, tensor.mutableFloats().begin());
  } else if (tensor.isInteger()) {
    for (auto [slot, value] : llvm::zip(tensor.mutableInts(), values))
      slot = floatToIntType(elementType, value);
  }
  SmallVector<char> packed;
  if (failed(tensor.toBytes(packed)) || packed.size() != bytes.size())
    return op->emitError("elements of type ")
           << elementType << " cannot be computed [FFN-W111]";
  std::memcpy(bytes.data(), packed.data(), packed.size());
  return success();
}

//===----------------------------------------------------------------------===//
// Expressions
//===----------------------------------------------------------------------===//

static LogicalResult readWeight(WeightOp op, int64_t begin,
                                MutableArrayRef<char> bytes) {
  auto type = llvm::cast<RankedTensorType>(op.getType());
  int64_t size = elementBytes(type.getElementType());
  if (auto span = llvm::dyn_cast<SpanAttr>(op.getValue())) {
    FailureOr<uint64_t> whole = getPackedByteSize(type);
    if (failed(whole) || *whole != span.getSize())
      return op.emitError("weight '")
             << span.getKey().getValue() << "': span of " << span.getSize()
             << " bytes does not hold " << type << " [FFN-W105]";
    return WeightStore::get(op.getContext())
        .read(op, span, begin * size, bytes);
  }
  auto dense = llvm::dyn_cast<DenseElementsAttr>(op.getValue());
  if (!dense)
    return op.emitError("weight value is neither a span nor dense elements "
                        "[FFN-W105]");
  bool isBool = type.getElementType().isInteger(1);
  if (dense.isSplat()) {
    char boolean = isBool && dense.getSplatValue<bool>();
    ArrayRef<char> element =
        isBool ? ArrayRef<char>(boolean) : dense.getRawData();
    for (size_t i = 0; i < bytes.size(); i += element.size())
      std::memcpy(bytes.data() + i, element.data(), element.size());
    return success();
  }
  if (isBool) {
    auto values = dense.getValues<bool>();
    for (size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = values[begin + i];
    return success();
  }
  std::memcpy(bytes.data(), dense.getRawData().data() + begin * size,
              bytes.size());
  return success();
}

/// Calls `visit(row, first, count)` for the part of each row that the flat
/// range [begin, begin + count) covers.
static LogicalResult
forEachRow(int64_t begin, int64_t count, int64_t width,
           function_ref<LogicalResult(int64_t, int64_t, int64_t)> visit) {
  while (count > 0) {
    int64_t row = begin / width, first = begin % width;
    int64_t part = std::min(count, width - first);
    if (failed(visit(row, first, part)))
      return failure();
    begin += part;
    count -= part;
  }
  return success();
}

static LogicalResult checkIndices(GatherRowsOp gather,
                                  ArrayRef<double> indices) {
  int64_t rows = typeOf(gather.getSource()).getDimSize(0);
  for (double index : indices)
    if (!(index >= 0 && index < rows))
      return gather.emitError("row ")
             << static_cast<int64_t>(index) << " of a weight with " << rows
             << " rows [FFN-W112]";
  return success();
}

LogicalResult WeightEvaluator::readColumns(Value matrix, int64_t first,
                                           int64_t count,
                                           MutableArrayRef<char> bytes) {
  Operation *op = matrix.getDefiningOp();
  RankedTensorType type = typeOf(matrix);
  int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
  int64_t size = elementBytes(type.getElementType());
  if (!op)
    return mlir::emitError(matrix.getLoc(), "is not a weight [FFN-W110]");
  if (depth >= maxDepth)
    return op->emitError("weight expressions are nested more than ")
           << maxDepth << " deep [FFN-W114]";
  if (auto transpose = llvm::dyn_cast<TransposeOp>(op))
    return read(transpose.getSource(), first * rows, count * rows, bytes);
  ++depth;
  llvm::scope_exit restore([&] { --depth; });
  // Columns of stacked or selected rows are pieces of columns, and each source
  // is read once for all of them.
  SmallVector<char, 0> part;
  if (auto concat = llvm::dyn_cast<ConcatRowsOp>(op)) {
    int64_t offset = 0;
    for (Value source : concat.getSources()) {
      int64_t height = typeOf(source).getDimSize(0);
      part.resize_for_overwrite(count * height * size);
      if (failed(readColumns(source, first, count, part)))
        return failure();
      for (int64_t i = 0; i < count && height > 0; ++i)
        std::memcpy(bytes.data() + (i * rows + offset) * size,
                    part.data() + i * height * size, height * size);
      offset += height;
    }
    return success();
  }
  if (auto gather = llvm::dyn_cast<GatherRowsOp>(op)) {
    FailureOr<ArrayRef<double>> indices = readDoubles(gather.getIndices());
    if (failed(indices) || failed(checkIndices(gather, *indices)))
      return failure();
    int64_t height = typeOf(gather.getSource()).getDimSize(0);
    part.resize_for_overwrite(count * height * size);
    if (failed(readColumns(gather.getSource(), first, count, part)))
      return failure();
    for (int64_t i = 0; i < count; ++i)
      for (auto [row, index] : llvm::enumerate(*indices))
        std::memcpy(bytes.data() + (i * rows + row) * size,
                    part.data() +
                        (i * height + static_cast<int64_t>(index)) * size,
                    size);
    return success();
  }
  part.resize_for_overwrite(count * size);
  for (int64_t row = 0; row < rows; ++row) {
    if (failed(read(matrix, row * columns + first, count, part)))
      return failure();
    for (int64_t i = 0; i < count; ++i)
      std::memcpy(bytes.data() + (i * rows + row) * size,
                  part.data() + i * size, size);
  }
  return success();
}

LogicalResult WeightEvaluator::readImpl(Value value, int64_t begin,
                                        int64_t count,
                                        MutableArrayRef<char> bytes) {
  Operation *op = value.getDefiningOp();
  RankedTensorType type = typeOf(value);
  Type element = type.getElementType();
  int64_t size = elementBytes(element);
  auto at = [&](int64_t index, int64_t elements) {
    return bytes.slice(index * size, elements * size);
  };

  if (auto weight = llvm::dyn_cast<WeightOp>(op))
    return readWeight(weight, begin, bytes);
  if (auto reshape = llvm::dyn_cast<ReshapeOp>(op))
    return read(reshape.getSource(), begin, count, bytes);

  if (auto concat = llvm::dyn_cast<ConcatRowsOp>(op)) {
    int64_t offset = 0, done = 0;
    for (Value source : concat.getSources()) {
      int64_t elements = typeOf(source).getNumElements();
      int64_t from = std::max(begin, offset),
              to = std::min(begin + count, offset + elements);
      if (from < to) {
        if (failed(read(source, from - offset, to - from, at(done, to - from))))
          return failure();
        done += to - from;
      }
      offset += elements;
    }
    return success();
  }

  if (auto transpose = llvm::dyn_cast<TransposeOp>(op)) {
    int64_t rows = typeOf(transpose.getSource()).getDimSize(0);
    int64_t firstColumn = begin / rows, lastColumn = (begin + count - 1) / rows;
    if (begin % rows == 0 && count % rows == 0)
      return readColumns(transpose.getSource(), firstColumn,
                         lastColumn - firstColumn + 1, bytes);
    SmallVector<char, 0> columns;
    columns.resize_for_overwrite((lastColumn - firstColumn + 1) * rows * size);
    if (failed(readColumns(transpose.getSource(), firstColumn,
                           lastColumn - firstColumn + 1, columns)))
      return failure();
    std::memcpy(bytes.data(),
                columns.data() + (begin - firstColumn * rows) * size,
                count * size);
    return success();
  }

  if (auto gather = llvm::dyn_cast<GatherRowsOp>(op)) {
    FailureOr<ArrayRef<double>> indices = readDoubles(gather.getIndices());
    if (failed(indices))
      return failure();
    int64_t width = rowElements(typeOf(gather.getSource()));
    if (failed(checkIndices(gather, *indices)))
      return failure();
    if (count == 0 || width == 0)
      return success();
    int64_t firstRow = begin / width, lastRow = (begin + count - 1) / width;
    if (auto transpose = gather.getSource().getDefiningOp<TransposeOp>()) {
      // Rows in any order are columns in any order: one pass over the source.
      Value inner = transpose.getSource();
      int64_t columns = typeOf(inner).getDimSize(1);
      SmallVector<char, 0> line;
      line.resize_for_overwrite(columns * size);
      for (int64_t i = 0; i < width; ++i) {
        if (failed(read(inner, i * columns, columns, line)))
          return failure();
        for (int64_t row = firstRow; row <= lastRow; ++row) {
          int64_t target = row * width + i - begin;
          if (target >= 0 && target < count)
            std::memcpy(bytes.data() + target * size,
                        line.data() +
                            static_cast<int64_t>((*indices)[row]) * size,
                        size);
        }
      }
      return success();
    }
    // Runs of neighbouring rows are one read.
    int64_t done = 0;
    while (done < count) {
      int64_t row = (begin + done) / width, first = (begin + done) % width;
      auto index = static_cast<int64_t>((*indices)[row]);
      int64_t run = std::min(count - done, width - first);
      for (int64_t next = row + 1;
           next <= lastRow && done + run < count &&
           (*indices)[next] == static_cast<double>(index + next - row);
           ++next)
        run += std::min(count - done - run, width);
      if (failed(read(gather.getSource(), index * width + first, run,
                      at(done, run))))
        return failure();
      done += run;
    }
    return success();
  }

  SmallVector<double> values, other;
  if (auto cast = llvm::dyn_cast<ffn::CastOp>(op)) {
    if (failed(readDoubles(cast.getSource(), begin, count, values)))
      return failure();
    return writeDoubles(op, element, values, bytes);
  }
  if (auto add = llvm::dyn_cast<ffn::AddOp>(op)) {
    if (failed(readDoubles(add.getLhs(), begin, count, values)) ||
        failed(readDoubles(add.getRhs(), begin, count, other)))
      return failure();
    for (auto [a, b] : llvm::zip(values, other))
      a += b;
    return writeDoubles(op, element, values, bytes);
  }
  if (llvm::isa<ScaleRowsOp, ScaleColsOp>(op)) {
    bool byRow = llvm::isa<ScaleRowsOp>(op);
    FailureOr<ArrayRef<double>> scale = readDoubles(op->getOperand(1));
    if (failed(scale) ||
        failed(readDoubles(op->getOperand(0), begin, count, values)))
      return failure();
    int64_t width = type.getDimSize(1);
    for (int64_t i = 0; i < count; ++i)
      values[i] *= (*scale)[byRow ? (begin + i) / width : (begin + i) % width];
    return writeDoubles(op, element, values, bytes);
  }
  if (auto matvec = llvm::dyn_cast<MatVecOp>(op)) {
    FailureOr<ArrayRef<double>> vector = readDoubles(matvec.getVector());
    if (failed(vector))
      return failure();
    if (matvec.getBias()) {
      if (failed(readDoubles(matvec.getBias(), begin, count, values)))
        return failure();
    } else {
      values.assign(count, 0.0);
    }
    int64_t width = typeOf(matvec.getMatrix()).getDimSize(1);
    for (int64_t i = 0; i < count; ++i) {
      if (failed(readDoubles(matvec.getMatrix(), (begin + i) * width, width,
                             other)))
        return failure();
      double sum = 0;
      for (auto [w, v] : llvm::zip(other, *vector))
        sum += w * v;
      values[i] += sum;
    }
    return writeDoubles(op, element, values, bytes);
  }
  if (auto product = llvm::dyn_cast<LowRankOp>(op)) {
    int64_t width = type.getDimSize(1),
            rank = typeOf(product.getA()).getDimSize(0);
    values.assign(count, 0.0);
    SmallVector<double> left;
    if (count == 0 || width == 0)
      return success();
    int64_t firstRow = begin / width, lastRow = (begin + count - 1) / width;
    if (failed(readDoubles(product.getB(), firstRow * rank,
                           (lastRow - firstRow + 1) * rank, left)))
      return failure();
    for (int64_t k = 0; k < rank; ++k) {
      if (failed(readDoubles(product.getA(), k * width, width, other)))
        return failure();
      LogicalResult walked = forEachRow(
          begin, count, width, [&](int64_t row, int64_t first, int64_t part) {
            double factor = left[(row - firstRow) * rank + k];
            double *target = values.data() + (row * width + first - begin);
            for (int64_t i = 0; i < part; ++i)
              target[i] += factor * other[first + i];
            return success();
          });
      if (failed(walked))
        return failure();
    }
    return writeDoubles(op, element, values, bytes);
  }
  if (auto dequantize = llvm::dyn_cast<DequantizeOp>(op)) {
    int64_t width = type.getDimSize(1), group = dequantize.getGroup(),
            limit = int64_t(1) << (dequantize.getBits() - 1);
    int64_t groups = typeOf(dequantize.getScales()).getDimSize(1);
    int64_t firstRow = begin / width, lastRow = (begin + count - 1) / width;
    if (failed(readDoubles(dequantize.getCodes(), begin, count, values)) ||
        failed(readDoubles(dequantize.getScales(), firstRow * groups,
                           (lastRow - firstRow + 1) * groups, other)))
      return failure();
    for (int64_t i = 0; i < count; ++i) {
      if (values[i] < -limit || values[i] >= limit)
        return op->emitError("code ")
               << static_cast<int64_t>(values[i]) << " does not fit "
               << dequantize.getBits() << " bits [FFN-W115]";
      int64_t row = (begin + i) / width, column = (begin + i) % width;
      values[i] *= other[(row - firstRow) * groups + column / group];
    }
    return writeDoubles(op, element, values, bytes);
  }
  return op->emitError("is not a weight expression that can be computed "
                       "[FFN-W110]");
}

LogicalResult WeightEvaluator::read(Value value, int64_t begin, int64_t count,
                                    MutableArrayRef<char> bytes) {
  Operation *op = value.getDefiningOp();
  auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
  if (!op || !type || !type.hasStaticShape())
    return mlir::emitError(value.getLoc(), "is not a weight [FFN-W110]");
  int64_t size = elementBytes(type.getElementType());
  if (!size)
    return op->emitError("elements of type ")
           << type.getElementType() << " cannot be computed [FFN-W111]";
  if (begin < 0 || count < 0 || begin + count > type.getNumElements() ||
      static_cast<int64_t>(bytes.size()) != count * size)
    return op->emitError("range beyond the weight [FFN-W113]");
  if (count == 0)
    return success();
  if (depth >= maxDepth)
    return op->emitError("weight expressions are nested more than ")
           << maxDepth << " deep [FFN-W114]";
  ++depth;
  llvm::scope_exit restore([&] { --depth; });
  return readImpl(value, begin, count, bytes);
}

LogicalResult WeightEvaluator::readAll(Value value,
                                       SmallVectorImpl<char> &bytes) {
  auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
  if (!type || !type.hasStaticShape() || !elementBytes(type.getElementType())) {
    // Sub-byte weights have bytes too, only not one by one.
    if (auto weight = value.getDefiningOp<WeightOp>())
      return readWeightBytes(weight, weight.getValue(), bytes);
    return mlir::emitError(value.getLoc(), "is not a weight [FFN-W110]");
  }
  FailureOr<uint64_t> whole = getPackedByteSize(type);
  if (failed(whole))
    return mlir::emitError(value.getLoc(), "is too large [FFN-W105]");
  bytes.resize_for_overwrite(*whole);
  int64_t size = elementBytes(type.getElementType()),
          total = type.getNumElements();
  // A block holds whole rows, and arithmetic works on small ones.
  bool moves =
      llvm::isa_and_present<WeightOp, TransposeOp, GatherRowsOp, ConcatRowsOp,
                            ReshapeOp>(value.getDefiningOp());
  int64_t block =
      moves ? std::max<int64_t>(blockBytes / size, 1) : blockElements;
  if (type.getRank() > 1 && rowElements(type) > 0) {
    int64_t row = rowElements(type);
    block = std::max(block / row, int64_t(1)) * row;
  }
  for (int64_t begin = 0; begin < total; begin += block) {
    int64_t count = std::min(block, total - begin);
    if (failed(read(
            value, begin, count,
            MutableArrayRef<char>(bytes).slice(begin * size, count * size))))
      return failure();
  }
  return success();
}

FailureOr<TypedAttr> WeightEvaluator::materialize(Value value, StringRef key) {
  if (auto weight = value.getDefiningOp<WeightOp>())
    return weight.getValue();
  if (TypedAttr known = materialized.lookup(value))
    return known;
  SmallVector<char, 0> bytes;
  if (failed(readAll(value, bytes)))
    return failure();
  TypedAttr attr = makeWeightAttr(value.getContext(),
                                  key.empty() ? getWeightKey(value) : key,
                                  typeOf(value), bytes);
  if (!attr)
    return mlir::emitError(value.getLoc(),
                           "the derived weight cannot be stored [FFN-W104]");
  materialized[value] = attr;
  return attr;
}
