//===- PackedImage.cpp - All packed weights of a module -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/WeightStore.h"
#include "ffn-mlir/Target/CPU/Packing.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/ThreadPool.h"
#include <map>
#include <tuple>

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

static uint64_t getByteSize(MemRefType type) {
  // i1 is stored as one byte each, like all of ffn's boolean weights.
  uint64_t bits = std::max(8u, type.getElementTypeBitWidth());
  return llvm::divideCeil(type.getNumElements() * bits, 8);
}

LogicalResult PackedImage::collect(ModuleOp module) {
  // Equal requests: the same layout of the same values.
  std::map<std::tuple<const void *, const void *, std::vector<const void *>>,
           uint64_t>
      known;
  LogicalResult result = success();
  module.walk([&](PackOp op) {
    auto type = llvm::cast<MemRefType>(op.getResult().getType());
    if (!type.getElementType().isIntOrFloat()) {
      op.emitOpError() << "cannot store elements of " << type.getElementType();
      result = failure();
      return;
    }
    std::vector<const void *> operands;
    for (Value operand : op->getOperands())
      operands.push_back(operand.getAsOpaquePointer());
    Attribute layout = op.getPanelsAttr();
    auto [it, isNew] =
        known.try_emplace({layout ? layout.getAsOpaquePointer() : nullptr,
                           type.getAsOpaquePointer(), operands},
                          0);
    if (isNew) {
      uint64_t bytes = getByteSize(type);
      it->second = llvm::alignTo(size, 64);
      entries.push_back({op, it->second, bytes});
      size = it->second + bytes;
    }
    requests.push_back({op, it->second});
  });
  size = llvm::alignTo(size, 64);
  return result;
}

namespace {
/// A matrix and whoever owns its bytes.
struct Source {
  MatrixView view;
  SmallVector<char> storage;
  Operation *user = nullptr;
  SpanAttr span;
};
} // namespace

/// Whether every value of `from` is one of `to`: the cast changes no value.
static bool isWidening(Type from, Type to) {
  return from == to || to.isF64() ||
         (to.isF32() && (from.isF16() || from.isBF16()));
}

/// Finds the bytes behind transposes and widening casts of a plain weight; a
/// vector counts as one column. Everything else is evaluated.
static LogicalResult resolve(Value value, PackedImage::Evaluate evaluate,
                             Source &source) {
  auto type = llvm::cast<RankedTensorType>(value.getType());
  auto isMatrix = [](Type type) {
    auto ranked = llvm::dyn_cast<RankedTensorType>(type);
    return ranked && (ranked.getRank() == 1 || ranked.getRank() == 2);
  };
  bool transposed = false;
  Value root = value;
  while (Operation *op = root.getDefiningOp()) {
    Value next;
    if (auto transpose = llvm::dyn_cast<TransposeOp>(op)) {
      transposed = !transposed;
      next = transpose.getSource();
    } else if (auto cast = llvm::dyn_cast<CastOp>(op)) {
      if (isWidening(getElementTypeOrSelf(cast.getSource().getType()),
                     getElementTypeOrSelf(cast.getType())))
        next = cast.getSource();
    }
    if (!next || !isMatrix(next.getType()))
      break;
    root = next;
  }
  auto weight = root.getDefiningOp<WeightOp>();
  ArrayRef<char> bytes;
  if (!weight) {
    root = value;
    transposed = false;
    if (failed(evaluate(value, source.storage)))
      return failure();
    bytes = source.storage;
  } else if (auto span = llvm::dyn_cast<SpanAttr>(weight.getValue())) {
    FailureOr<ArrayRef<char>> mapped =
        WeightStore::get(weight.getContext()).map(weight, span);
    if (failed(mapped))
      return failure();
    bytes = *mapped;
    source.user = weight;
    source.span = span;
  } else {
    if (failed(readWeightBytes(weight, weight.getValue(), source.storage)))
      return failure();
    bytes = source.storage;
  }
  auto rootType = llvm::cast<RankedTensorType>(root.getType());
  int64_t element = rootType.getElementTypeBitWidth() / 8;
  if (static_cast<int64_t>(bytes.size()) != rootType.getNumElements() * element)
    return emitError(root.getLoc()) << "weight of " << rootType << " has "
                                    << bytes.size() << " bytes [FFN-I203]";
  int64_t columns = rootType.getRank() == 2 ? rootType.getDimSize(1) : 1;
  MatrixView &view = source.view;
  view.data = bytes.data();
  view.elementType = rootType.getElementType();
  view.rows = type.getDimSize(0);
  view.columns = type.getRank() == 2 ? type.getDimSize(1) : 1;
  view.rowBytes = columns * element;
  view.columnBytes = element;
  if (transposed)
    std::swap(view.rowBytes, view.columnBytes);
  return success();
}

/// Codes are bytes, of which a narrower layout would keep the low bits only.
static LogicalResult checkCodes(DequantizeOp op, const MatrixView &codes) {
  int64_t limit = int64_t(1) << (op.getBits() - 1);
  for (int64_t row = 0; row < codes.rows; ++row)
    for (int64_t column = 0; column < codes.columns; ++column) {
      auto code = static_cast<signed char>(
          codes.data[row * codes.rowBytes + column * codes.columnBytes]);
      if (code < -limit || code >= limit)
        return op.emitError("code ") << int(code) << " does not fit "
                                     << op.getBits() << " bits [FFN-W115]";
    }
  return success();
}

LogicalResult PackedImage::writeEntry(const Entry &entry, Evaluate evaluate,
                                      Sink sink, unsigned threads) {
  PackOp op = entry.op;
  PanelsAttr layout = op.getPanelsAttr();
  if (!layout) {
    Value value = op.getWeights()[0];
    SmallVector<char> bytes;
    auto weight = value.getDefiningOp<WeightOp>();
    if (weight && llvm::isa<SpanAttr>(weight.getValue())) {
      auto span = llvm::cast<SpanAttr>(weight.getValue());
      WeightStore &store = WeightStore::get(op.getContext());
      FailureOr<ArrayRef<char>> mapped = store.map(weight, span);
      if (failed(mapped))
        return failure();
      if (mapped->size() == entry.bytes) {
        LogicalResult result = sink(*mapped);
        store.drop(weight, span);
        return result;
      }
    }
    if (weight ? failed(readWeightBytes(weight, weight.getValue(), bytes))
               : failed(evaluate(value, bytes)))
      return failure();
    if (bytes.size() != entry.bytes)
      return op.emitOpError() << "weight has " << bytes.size() << " bytes, not "
                              << entry.bytes << " [FFN-I203]";
    return sink(bytes);
  }

  std::deque<Source> sources;
  SmallVector<MatrixView> weights, biases, scales;
  auto add = [&](Value value, SmallVectorImpl<MatrixView> &list) {
    if (failed(resolve(value, evaluate, sources.emplace_back())))
      return failure();
    list.push_back(sources.back().view);
    return success();
  };
  for (Value value : op.getWeights()) {
    if (!layout.isQuantized()) {
      if (failed(add(value, weights)))
        return failure();
      continue;
    }
    auto dequantize = value.getDefiningOp<DequantizeOp>();
    if (failed(add(dequantize.getCodes(), weights)) ||
        failed(checkCodes(dequantize, weights.back())) ||
        failed(add(dequantize.getScales(), scales)))
      return failure();
  }
  for (Value value : op.getBiases())
    if (failed(add(value, biases)))
      return failure();

  // Pieces of some MiB: enough for all threads, little to keep.
  constexpr int64_t pieceBytes = 8 << 20;
  llvm::ThreadPoolStrategy strategy = llvm::hardware_concurrency(threads);
  int64_t numThreads = strategy.compute_thread_count();
  int64_t perPiece =
      std::max<int64_t>(numThreads, pieceBytes / layout.getPanelBytes());
  perPiece = std::min(perPiece, layout.getNumPanels());
  std::optional<llvm::DefaultThreadPool> pool;
  if (numThreads > 1 && layout.getTotalBytes() > (1 << 20))
    pool.emplace(strategy);
  SmallVector<char> buffer;
  for (int64_t first = 0; first < layout.getNumPanels(); first += perPiece) {
    int64_t last = std::min(first + perPiece, layout.getNumPanels());
    buffer.resize_for_overwrite((last - first) * layout.getPanelBytes());
    int64_t share =
        pool ? llvm::divideCeil(last - first, numThreads) : last - first;
    for (int64_t from = first; from < last; from += share) {
      int64_t to = std::min(from + share, last);
      MutableArrayRef<char> part = MutableArrayRef<char>(buffer).slice(
          (from - first) * layout.getPanelBytes(),
          (to - from) * layout.getPanelBytes());
      auto work = [=] {
        packPanels(layout, weights, biases, from, to, part, scales);
      };
      if (pool)
        pool->async(work);
      else
        work();
    }
    if (pool)
      pool->wait();
    if (failed(sink(buffer)))
      return failure();
  }
  for (Source &source : sources)
    if (source.span)
      WeightStore::get(op.getContext()).drop(source.user, source.span);
  return success();
}

LogicalResult PackedImage::write(Evaluate evaluate, Sink sink,
                                 unsigned threads) {
  static constexpr char zeros[64] = {};
  uint64_t at = 0;
  auto pad = [&](uint64_t to) -> LogicalResult {
    uint64_t count = to - at;
    at = to;
    return count ? sink(ArrayRef<char>(zeros, count)) : success();
  };
  for (const Entry &entry : entries) {
    if (failed(pad(entry.offset)) ||
        failed(writeEntry(entry, evaluate, sink, threads)))
      return failure();
    at += entry.bytes;
  }
  return pad(size);
}

void PackedImage::replaceRequests() {
  for (auto [op, offset] : requests) {
    OpBuilder builder(op);
    auto view =
        PackedWeightOp::create(builder, op.getLoc(), op.getResult().getType(),
                               builder.getI64IntegerAttr(offset));
    op.replaceAllUsesWith(view.getResult());
    op.erase();
  }
  requests.clear();
  entries.clear();
}
