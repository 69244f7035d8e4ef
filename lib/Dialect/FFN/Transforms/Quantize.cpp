//===- Quantize.cpp - Weights in fewer bits -------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "WeightForms.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Interpreter/EvalTensor.h"
#include "ffn-mlir/Support/CandidateLog.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/GlobPattern.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNQUANTIZE
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

namespace {
/// Elements of a matrix that are in memory at a time.
constexpr int64_t kBlockElements = 1 << 20;

/// Rounds the elements of one group to the nearest code. Seven and fewer bits
/// spend the one code that has no negative on the largest magnitude.
void quantizeGroup(ArrayRef<double> values, int64_t bits, float &scale,
                   MutableArrayRef<char> codes) {
  int64_t limit = int64_t(1) << (bits - 1);
  double extreme = 0;
  for (double value : values)
    if (std::abs(value) > std::abs(extreme))
      extreme = value;
  // Adding 0 makes the scale of a group of zeros a positive one.
  scale = static_cast<float>(bits < 8 ? -extreme / limit + 0.0
                                      : std::abs(extreme) / (limit - 1));
  for (auto [code, value] : llvm::zip(codes, values)) {
    // A scale that underflows makes zeros of the group.
    double rounded = scale == 0 ? 0 : std::nearbyint(value / scale);
    code = static_cast<char>(std::clamp<double>(
        rounded, static_cast<double>(-limit), static_cast<double>(limit - 1)));
  }
}

struct Quantize : mlir::ffn::impl::FFNQuantizeBase<Quantize> {
  using FFNQuantizeBase::FFNQuantizeBase;

  void runOnOperation() override {
    if (failed(readOptions()))
      return signalPassFailure();
    head = findHead();
    bool done = true;
    log.clear();
    obstacles.clear();
    getOperation().walk([&](Operation *op) {
      SmallVector<OpOperand *> matrices;
      if (auto linear = llvm::dyn_cast<LinearOp>(op))
        matrices = {&linear.getWeightMutable()};
      else if (auto network = llvm::dyn_cast<FeedForwardOp>(op)) {
        matrices = {&network.getUpMutable(), &network.getDownMutable()};
        for (OpOperand &gate : network.getGateMutable())
          matrices.push_back(&gate);
      }
      for (OpOperand *matrix : matrices)
        done &= succeeded(quantize(op, *matrix));
    });
    for (auto [name, matches] : llvm::zip(names, seen))
      if (!matches) {
        getOperation().emitError("'")
            << name.text
            << "' is the name of no weight of a product [FFN-P121]";
        done = false;
      }
    if (!done)
      return signalPassFailure();
    for (auto &[subject, obstacle] : obstacles)
      if (log.isOpen(subject))
        log.kept(subject, obstacle.first) << obstacle.second;
    log.finish();
    IRRewriter rewriter(&getContext());
    eraseDead(rewriter, replaced.getArrayRef());
  }

private:
  /// A part of the names of weights, as `only` and `except` give it.
  struct Name {
    std::string text;
    llvm::GlobPattern pattern;
    bool excepts;
  };
  SmallVector<Name, 0> names;
  SmallVector<bool> seen; // by name: whether a weight has it
  Operation *head = nullptr;
  CandidateLog log{"ffn-quantize", NumericalClass::Approximate};
  /// By weight: the first product that could not have it quantized, and why.
  llvm::MapVector<const void *, std::pair<Operation *, std::string>> obstacles;
  int64_t bits = 8, width = 0;
  llvm::DenseMap<Value, Value> known;
  llvm::SetVector<Operation *> replaced;

  LogicalResult readOptions() {
    if (type == "bf16")
      bits = 16;
    else if (type == "int4")
      bits = 4;
    else if (type != "int8")
      return getOperation().emitError("type '")
             << type << "': expected bf16, int8 or int4 [FFN-P120]";
    width = group >= 0 ? int64_t(group) : bits == 4 ? 128 : 0;
    if (width != 0 && (bits == 16 || width < 16 || width > 1024 ||
                       !llvm::isPowerOf2_64(width)))
      return getOperation().emitError("group ")
             << width
             << ": expected 0 for whole rows or, for integers, a power "
             << "of two from 16 to 1024 [FFN-P120]";
    if (activations != "f32" && activations != "int8")
      return getOperation().emitError("activations '")
             << activations << "': expected f32 or int8 [FFN-P120]";
    for (auto [list, excepts] : {std::pair(&only, false), {&except, true}})
      for (const std::string &text : *list) {
        llvm::Expected<llvm::GlobPattern> pattern =
            llvm::GlobPattern::create("*" + text + "*");
        if (!pattern)
          return getOperation().emitError("name '")
                 << text << "': " << llvm::toString(pattern.takeError())
                 << " [FFN-P120]";
        names.push_back({text, std::move(*pattern), excepts});
      }
    seen.assign(names.size(), false);
    return success();
  }

  /// The last linear behind all sublayers, null if there is none.
  Operation *findHead() {
    Operation *result = nullptr;
    getOperation().walk([&](Operation *op) {
      if (llvm::isa<SublayerOp>(op))
        result = nullptr;
      else if (llvm::isa<LinearOp>(op) && !op->getParentOfType<SublayerOp>())
        result = op;
    });
    return result;
  }

  /// Whether one of the names of the list is the weight's.
  bool isNamed(Operation *op, StringRef key, bool excepts) {
    bool found = false;
    for (auto [name, matches] : llvm::zip(names, seen)) {
      if (name.excepts != excepts ||
          !(name.text == "head" ? op == head : name.pattern.match(key)))
        continue;
      matches = found = true;
    }
    return found;
  }

  /// Why the weight stays as it is, or empty.
  std::string findObstacle(Operation *op, Value weight, StringRef key) {
    bool excepted = isNamed(op, key, /*excepts=*/true);
    bool wanted = isNamed(op, key, /*excepts=*/false) || only.empty();
    if (!isWeightExpression(weight))
      return "it is not constant";
    if (weight.getDefiningOp<DequantizeOp>())
      return "it is quantized already";
    auto type = llvm::cast<RankedTensorType>(weight.getType());
    if (!type.getElementType().isF32() || type.getRank() != 2 ||
        type.getNumElements() == 0)
      return "it is not a matrix that is computed in f32";
    if (!wanted)
      return "it is not among those asked for";
    if (excepted)
      return "it is excepted";
    if (bits == 4 && type.getDimSize(1) % 2 != 0)
      return "codes of 4 bits come in pairs, and its rows have " +
             std::to_string(type.getDimSize(1)) + " elements";
    unsigned stored = getStoredType(weight).getIntOrFloatBitWidth();
    if (stored <= bits)
      return "it is stored in " + std::to_string(stored) + " bits";
    if (!shared)
      if (Operation *reader =
              findOtherReader(weight, llvm::IsaPred<LinearOp, FeedForwardOp>))
        return "it is also read by " + reader->getName().getStringRef().str() +
               "; with shared=true a quantized copy is made";
    return {};
  }

  LogicalResult quantize(Operation *op, OpOperand &matrix) {
    Value weight = matrix.get();
    if (Value done = known.lookup(weight)) {
      matrix.set(done);
      return success();
    }
    StringRef key = getWeightKey(weight);
    std::string name = key.empty() ? "weight" : "weight '" + key.str() + "'";
    const void *subject = weight.getImpl();
    log.add(subject, op, name);
    std::string why = findObstacle(op, weight, key);
    if (!why.empty()) {
      // Another product that reads it may not mind.
      obstacles.insert({subject, {op, name + " not quantized: " + why}});
      return success();
    }
    OpBuilder builder(getExpressionAnchor(op, weight));
    Value result;
    if (bits == 16) {
      Value narrow = createCast(builder, weight, builder.getBF16Type());
      result = createCast(builder, narrow, builder.getF32Type());
      log.rewritten(subject, op) << name << " rounded to bf16";
    } else {
      FailureOr<Value> codes = createCodes(builder, op, weight, key, name);
      if (failed(codes))
        return failure();
      result = *codes;
      if (!result)
        return success();
    }
    if (Operation *source = weight.getDefiningOp(); bits != 16)
      replaced.insert(source);
    known[weight] = result;
    matrix.set(result);
    return success();
  }

  /// The codes of the weight as an expression; null after a remark where it
  /// has none.
  FailureOr<Value> createCodes(OpBuilder &builder, Operation *op, Value weight,
                               StringRef key, StringRef name) {
    auto type = llvm::cast<RankedTensorType>(weight.getType());
    int64_t n = type.getDimSize(0), k = type.getDimSize(1);
    int64_t each = width == 0 ? k : std::min(width, k);
    int64_t groups = llvm::divideCeil(k, each);
    SmallVector<char, 0> codes(n * k), bytes;
    std::vector<float> scales(n * groups);
    double error = 0, magnitude = 0;
    WeightEvaluator evaluator;
    int64_t rows = std::max<int64_t>(1, kBlockElements / k);
    for (int64_t row = 0; row < n; row += rows) {
      int64_t count = std::min(rows, n - row) * k;
      bytes.resize_for_overwrite(count * sizeof(float));
      if (failed(evaluator.read(weight, row * k, count, bytes)))
        return failure();
      FailureOr<EvalTensor> block =
          EvalTensor::fromBytes(type.getElementType(), {count}, bytes);
      if (failed(block))
        return op->emitError(name) << " has no numeric form [FFN-W111]";
      ArrayRef<double> values = block->floats();
      if (!llvm::all_of(values, [](double v) { return std::isfinite(v); })) {
        obstacles.insert(
            {weight.getImpl(),
             {op, (name + " not quantized: it has values that are not finite")
                      .str()}});
        return Value();
      }
      for (int64_t at = 0; at < count; at += k)
        for (int64_t g = 0; g < groups; ++g) {
          int64_t from = at + g * each, size = std::min(each, k - g * each);
          float &scale = scales[(row + at / k) * groups + g];
          auto out = MutableArrayRef<char>(codes).slice(row * k + from, size);
          quantizeGroup(values.slice(from, size), bits, scale, out);
          for (auto [value, code] : llvm::zip(values.slice(from, size), out)) {
            double rest = value - double(scale) * code;
            error += rest * rest;
            magnitude += value * value;
          }
        }
    }
    auto codesType = RankedTensorType::get({n, k}, builder.getI8Type());
    auto scalesType = RankedTensorType::get({n, groups}, builder.getF32Type());
    TypedAttr codesAttr = makeWeightAttr(&getContext(), key, codesType, codes);
    TypedAttr scalesAttr = makeWeightAttr(
        &getContext(), (key + ".scales").str(), scalesType,
        ArrayRef<char>(reinterpret_cast<const char *>(scales.data()),
                       scales.size() * sizeof(float)));
    if (!codesAttr || !scalesAttr)
      return op->emitError(name) << " cannot be stored [FFN-W104]";
    Location loc = weight.getLoc();
    Value codesValue = WeightOp::create(builder, loc, codesType, codesAttr);
    Value scalesValue = WeightOp::create(builder, loc, scalesType, scalesAttr);
    uint64_t before = llvm::divideCeil(
        n * k * getStoredType(weight).getIntOrFloatBitWidth(), 8);
    uint64_t after = llvm::divideCeil(n * k * bits, 8) + scales.size() * 4;
    log.rewritten(weight.getImpl(), op)
        << name << " quantized to int" << bits << " in groups of " << each
        << ": " << before << " to " << after << " bytes, relative error "
        << llvm::formatv("{0:e1}",
                         magnitude > 0 ? std::sqrt(error / magnitude) : 0.0)
               .str();
    auto result =
        DequantizeOp::create(builder, loc, codesValue, scalesValue, bits, each);
    if (activations == "int8")
      result->setAttr(kInputBitsAttr, builder.getI64IntegerAttr(8));
    return result.getResult();
  }
};
} // namespace
