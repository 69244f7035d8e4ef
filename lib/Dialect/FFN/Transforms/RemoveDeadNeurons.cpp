//===- RemoveDeadNeurons.cpp - Hidden units that compute nothing ----------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "NodeUtils.h"
#include "WeightForms.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/NeuronView.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Support/CandidateLog.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/xxhash.h"
#include <cmath>

using namespace mlir;
using namespace mlir::ffn;

namespace mlir::ffn {
#define GEN_PASS_DEF_FFNREMOVEDEADNEURONS
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h.inc"
} // namespace mlir::ffn

namespace {
/// What becomes of a neuron.
enum class Fate {
  Keep,
  /// Its activation is zero for every input, by the bound of the norm.
  Dead,
  /// Nothing leaves it: a zero column of down, or a factor that is zero.
  Idle,
  /// Its activation does not depend on the input.
  Constant,
  /// Another neuron computes the same.
  Duplicate,
  /// It is above zero for every input, so the activation passes it on.
  Linear
};

/// Numbers of one neuron.
struct Neuron {
  Fate fate = Fate::Keep;
  /// The neuron that a duplicate is one of.
  int64_t twin = -1;
  /// Euclidean norm of the row that decides, scaled by the norm's scale; its
  /// product with the norm's shift, and that of the magnitudes.
  double length = 0, shift = 0, shiftMagnitude = 0;
  bool zeroUp = true, zeroGate = true, zeroDown = true;
  uint64_t hash = 0;
};

/// gamma_n = n u / (1 - n u): the relative error of n roundings.
double gamma(int64_t n, double unit) { return n * unit / (1 - n * unit); }

double activate(Activation activation, double z) {
  switch (activation) {
  case Activation::Identity:
    return z;
  case Activation::Relu:
    return std::max(z, 0.0);
  case Activation::GeluErf:
    return z / 2 * (1 + std::erf(z * M_SQRT1_2));
  case Activation::GeluTanh:
    return z / 2 *
           (1 + std::tanh(M_2_SQRTPI * M_SQRT1_2 * (z + 0.044715 * z * z * z)));
  case Activation::GeluSigmoid:
    return z / (1 + std::exp(-1.702 * z));
  case Activation::Silu:
    return z / (1 + std::exp(-z));
  case Activation::Sigmoid:
    return 1 / (1 + std::exp(-z));
  case Activation::Tanh:
    return std::tanh(z);
  case Activation::SquaredRelu:
    return std::max(z, 0.0) * std::max(z, 0.0);
  }
  return z;
}

struct RemoveDeadNeurons
    : mlir::ffn::impl::FFNRemoveDeadNeuronsBase<RemoveDeadNeurons> {
  using FFNRemoveDeadNeuronsBase::FFNRemoveDeadNeuronsBase;

  void runOnOperation() override {
    if (multiple < 1) {
      getOperation().emitError("multiple is less than 1 [FFN-P131]");
      return signalPassFailure();
    }
    if (!dead && !zero && !duplicates && !linear)
      return;
    SmallVector<FeedForwardOp> networks;
    log.clear();
    getOperation().walk([&](FeedForwardOp op) {
      networks.push_back(op);
      log.add(op, op);
    });
    for (FeedForwardOp network : networks)
      if (failed(visit(network)))
        return signalPassFailure();
    log.finish();
  }

private:
  /// One network, while it is looked at.
  FeedForwardOp op;
  NeuronView view;
  SmallVector<Neuron, 0> neurons;
  SmallVector<double> upBias, gateBias;
  /// Why no bound is known; empty if one is.
  std::string unbounded;
  /// Why duplicates cannot be added up.
  std::string unmerged;

  CandidateLog log{"ffn-remove-dead-neurons", NumericalClass::Exact};

  void stay(FeedForwardOp network, const llvm::Twine &why) {
    log.kept(network, network) << "no neuron removed: " << why;
  }

  LogicalResult visit(FeedForwardOp network) {
    op = network;
    if (std::string why = findViewObstacle(network); !why.empty()) {
      stay(network, why);
      return success();
    }
    if (!llvm::isa<FloatType>(getElementTypeOrSelf(network.getDown()))) {
      stay(network, "its elements are no floats");
      return success();
    }
    view = NeuronView::of(network);
    neurons.assign(view.getNumNeurons(), Neuron());
    unbounded = findBoundObstacle();
    unmerged.clear();
    if (failed(read()))
      return failure();
    classify();
    if (failed(findDuplicates()))
      return failure();
    return rewrite();
  }

  //===--- Numbers --------------------------------------------------------===//

  NormOp getNorm() { return op.getInput().getDefiningOp<NormOp>(); }

  /// The pre-activation that decides whether a neuron fires.
  Value getDeciding() { return view.gate ? view.gate : view.up; }

  std::string findBoundObstacle() {
    if (op.getActivation() != Activation::Relu &&
        op.getActivation() != Activation::SquaredRelu)
      return ("no bound makes " + stringifyActivation(op.getActivation()) +
              " zero")
          .str();
    NormOp norm = getNorm();
    if (!norm)
      return "no norm bounds its input";
    for (Value vector : norm.getWeightOperands())
      if (!isWeightExpression(vector))
        return "the parameters of the norm before it are not constant";
    Type element = getElementTypeOrSelf(norm.getInput());
    if (!element.isF32() && !element.isF64())
      return "it is computed in less than f32, for which no bound is proved";
    return {};
  }

  LogicalResult readOptional(Value vector, SmallVector<double> &values) {
    values.clear();
    if (!vector)
      return success();
    FailureOr<SmallVector<double>> read = readVector(vector);
    if (failed(read))
      return failure();
    values = std::move(*read);
    return success();
  }

  static double entry(ArrayRef<double> vector, int64_t i) {
    return vector.empty() ? 0 : vector[i];
  }

  LogicalResult read() {
    SmallVector<double> scale, shift;
    NormOp norm = getNorm();
    if (unbounded.empty() && (failed(readOptional(norm.getScale(), scale)) ||
                              failed(readOptional(norm.getBias(), shift))))
      return failure();
    if (failed(readOptional(view.upBias, upBias)) ||
        failed(readOptional(view.gateBias, gateBias)))
      return failure();
    auto visitRow = [&](bool isGate, int64_t j, ArrayRef<double> row) {
      Neuron &neuron = neurons[j];
      bool isZero = llvm::all_of(row, [](double w) { return w == 0; });
      (isGate ? neuron.zeroGate : neuron.zeroUp) = isZero;
      neuron.hash = llvm::xxh3_64bits(ArrayRef<uint8_t>(
                        reinterpret_cast<const uint8_t *>(row.data()),
                        row.size() * sizeof(double))) +
                    neuron.hash * 31;
      if (!unbounded.empty() || isGate != static_cast<bool>(view.gate))
        return;
      double sum = 0;
      for (auto [i, w] : llvm::enumerate(row)) {
        double scaled = scale.empty() ? w : w * scale[i];
        sum += scaled * scaled;
        if (!shift.empty()) {
          neuron.shift += w * shift[i];
          neuron.shiftMagnitude += std::abs(w * shift[i]);
        }
      }
      neuron.length = std::sqrt(sum);
    };
    if (failed(forEachRow(view.up, [&](int64_t j, ArrayRef<double> row) {
          visitRow(false, j, row);
        })))
      return failure();
    if (view.gate &&
        failed(forEachRow(view.gate, [&](int64_t j, ArrayRef<double> row) {
          visitRow(true, j, row);
        })))
      return failure();
    return forEachRow(view.down, [&](int64_t, ArrayRef<double> row) {
      for (auto [neuron, w] : llvm::zip_equal(neurons, row))
        neuron.zeroDown &= w == 0;
    });
  }

  /// Whether the pre-activation is at most zero (or, with `above`, at least
  /// zero) for every input, as any order of roundings computes it.
  ///
  /// A normalised row has a Euclidean norm of at most sqrt(d), also when it is
  /// computed: what is divided is what the root is taken of. So the product
  /// with a row of length l is at most sqrt(d) l, and d + 8 roundings of its
  /// factors and d + 2 of the sum with the bias move it by no more than their
  /// gammas. Layer norms are treated alike, without taking the mean off the
  /// row: computed rows of large mean are not centred.
  bool isBeyondZero(const Neuron &neuron, double bias, bool above) {
    int64_t d = op.getInputWidth();
    bool isDouble = getElementTypeOrSelf(getNorm().getInput()).isF64();
    double unit = isDouble ? 0x1p-53 : 0x1p-24;
    double reach = std::sqrt(double(d)) * neuron.length;
    double centre = neuron.shift + bias;
    double slack = gamma(d + 8, unit) * reach +
                   gamma(d + 2, unit) * (reach + std::abs(bias)) +
                   gamma(d + 3, unit) * neuron.shiftMagnitude;
    // The numbers here are roundings of f64 themselves.
    slack += gamma(4 * d + 16, 0x1p-53) *
             (reach + std::abs(bias) + neuron.shiftMagnitude);
    return above ? centre - reach - slack >= 0 : centre + reach + slack <= 0;
  }

  void classify() {
    Activation activation = op.getActivation();
    bool passesZero = activate(activation, 0) == 0;
    for (auto [j, neuron] : llvm::enumerate(neurons)) {
      double up = entry(upBias, j), gate = entry(gateBias, j);
      if (zero) {
        bool idle = neuron.zeroDown;
        if (view.gate)
          idle |= (neuron.zeroUp && up == 0) ||
                  (neuron.zeroGate && gate == 0 && passesZero);
        if (idle) {
          neuron.fate = Fate::Idle;
          continue;
        }
        if (!view.gate && neuron.zeroUp) {
          neuron.fate =
              activate(activation, up) == 0 ? Fate::Idle : Fate::Constant;
          continue;
        }
      }
      if (!unbounded.empty())
        continue;
      double bias = view.gate ? gate : up;
      if (dead && isBeyondZero(neuron, bias, /*above=*/false))
        neuron.fate = Fate::Dead;
      else if (linear && !view.gate && activation == Activation::Relu &&
               isBeyondZero(neuron, bias, /*above=*/true))
        neuron.fate = Fate::Linear;
    }
  }

  /// Whether two neurons compute the same, bit by bit.
  FailureOr<bool> areEqual(int64_t a, int64_t b) {
    if (entry(upBias, a) != entry(upBias, b) ||
        entry(gateBias, a) != entry(gateBias, b))
      return false;
    WeightEvaluator evaluator;
    for (Value matrix : {view.up, view.gate}) {
      if (!matrix)
        continue;
      auto type = llvm::cast<RankedTensorType>(matrix.getType());
      int64_t width = type.getDimSize(1),
              size = width * type.getElementTypeBitWidth() / 8;
      SmallVector<char> first(size), second(size);
      if (failed(evaluator.read(matrix, a * width, width, first)) ||
          failed(evaluator.read(matrix, b * width, width, second)))
        return failure();
      if (first != second)
        return false;
    }
    return true;
  }

  LogicalResult findDuplicates() {
    if (!duplicates)
      return success();
    llvm::DenseMap<uint64_t, SmallVector<int64_t, 1>> byHash;
    for (auto [j, neuron] : llvm::enumerate(neurons)) {
      if (neuron.fate != Fate::Keep)
        continue;
      // The top bit keeps clear of the keys that the map reserves.
      SmallVector<int64_t, 1> &same = byHash[neuron.hash >> 1];
      for (int64_t other : same) {
        FailureOr<bool> equal = areEqual(other, j);
        if (failed(equal))
          return failure();
        if (!*equal)
          continue;
        neuron.fate = Fate::Duplicate;
        neuron.twin = other;
        break;
      }
      if (neuron.fate == Fate::Keep)
        same.push_back(j);
    }
    if (getStoredType(view.down) != getElementTypeOrSelf(view.down))
      unmerged = "its down is stored in fewer bits than sums need";
    else if (view.down.getDefiningOp<DequantizeOp>())
      unmerged = "its down is quantized; run ffn-quantize afterwards";
    return success();
  }

  //===--- Rewriting ------------------------------------------------------===//

  SmallVector<int64_t> collect(Fate fate) {
    SmallVector<int64_t> found;
    for (auto [j, neuron] : llvm::enumerate(neurons))
      if (neuron.fate == fate)
        found.push_back(j);
    return found;
  }

  void keepAll(Fate fate) {
    for (Neuron &neuron : neurons)
      if (neuron.fate == fate)
        neuron.fate = Fate::Keep;
  }

  /// Bytes of a linear in place of always-on neurons, against theirs.
  bool isLinearSmaller(int64_t count) {
    auto down = llvm::cast<RankedTensorType>(view.down.getType());
    int64_t d = op.getInputWidth(), out = down.getDimSize(0);
    return count * (d * getStoredType(view.up).getIntOrFloatBitWidth() +
                    out * getStoredType(view.down).getIntOrFloatBitWidth()) >
           d * out * down.getElementTypeBitWidth();
  }

  LogicalResult rewrite() {
    std::string kept;
    if (int64_t count = collect(Fate::Linear).size();
        count > 0 && !isLinearSmaller(count)) {
      kept += "; " + std::to_string(count) +
              " that are always on stay, because a linear path would be larger";
      keepAll(Fate::Linear);
    }
    if (int64_t count = collect(Fate::Duplicate).size();
        count > 0 && !unmerged.empty()) {
      kept += "; " + std::to_string(count) + " duplicates stay: " + unmerged;
      keepAll(Fate::Duplicate);
    }
    roundUp();
    SmallVector<int64_t> left = collect(Fate::Keep);
    SmallVector<int64_t> linearNeurons = collect(Fate::Linear);
    if (left.empty() && linearNeurons.empty()) {
      // A network has at least one neuron.
      neurons.front().fate = Fate::Keep;
      left.push_back(0);
    }
    if (left.size() == neurons.size()) {
      std::string why = "each of " + std::to_string(neurons.size()) +
                        " can fire and differs from the others";
      if (!unbounded.empty())
        why = unbounded + ", and none is idle or comes twice";
      stay(op, why + kept);
      return success();
    }
    SmallVector<int64_t> constants = collect(Fate::Constant);
    for (ArrayRef<int64_t> part :
         {ArrayRef(left), ArrayRef(linearNeurons), ArrayRef(constants)})
      if (!part.empty())
        if (std::string why = findSelectObstacle(view, part); !why.empty()) {
          stay(op, why);
          return success();
        }
    InFlightDiagnostic remark = log.rewritten(op, op)
                                << "removed " << neurons.size() - left.size()
                                << " of " << neurons.size() << " neurons:";
    StringRef comma = " ";
    auto tell = [&](Fate fate, StringRef what) {
      if (size_t count = collect(fate).size()) {
        remark << comma << count << " " << what;
        comma = ", ";
      }
    };
    tell(Fate::Dead, "that no input makes fire");
    tell(Fate::Idle, "without effect");
    tell(Fate::Constant, "constant");
    tell(Fate::Duplicate, "duplicates");
    tell(Fate::Linear, "always on, now a linear path");
    remark << kept;
    remark.report();
    return replace(left, constants, linearNeurons);
  }

  /// Takes dropped neurons back until the width is a multiple.
  void roundUp() {
    int64_t width = collect(Fate::Keep).size();
    for (Neuron &neuron : neurons) {
      if (width % multiple == 0)
        return;
      if (neuron.fate == Fate::Dead || neuron.fate == Fate::Idle) {
        neuron.fate = Fate::Keep;
        ++width;
      }
    }
  }

  LogicalResult replace(ArrayRef<int64_t> left, ArrayRef<int64_t> constants,
                        ArrayRef<int64_t> linearNeurons) {
    IRRewriter rewriter(&getContext());
    SmallVector<Value> weights = op.getWeightOperands();
    rewriter.setInsertionPoint(getExpressionAnchor(op, weights));
    Location loc = op.getLoc();
    Value bias = op.getDownBias();
    if (!constants.empty()) {
      SmallVector<double> values;
      for (int64_t j : constants)
        values.push_back(activate(op.getActivation(), entry(upBias, j)));
      bias = MatVecOp::create(
          rewriter, loc, createGatherCols(rewriter, view.down, constants),
          createVector(rewriter, loc,
                       llvm::cast<FloatType>(getElementTypeOrSelf(view.down)),
                       values),
          bias);
    }
    Value straight, straightBias;
    if (!linearNeurons.empty()) {
      NeuronView on = selectNeurons(rewriter, view, linearNeurons);
      straight = LowRankOp::create(rewriter, loc, on.down, on.up);
      if (on.upBias)
        straightBias = MatVecOp::create(rewriter, loc, on.down, on.upBias,
                                        left.empty() ? bias : Value());
      else if (left.empty())
        straightBias = bias;
    }
    NeuronView rest;
    if (!left.empty()) {
      rest = selectNeurons(rewriter, view, left);
      rest.down = addDuplicates(rewriter, loc, rest.down, left);
    }
    rewriter.setInsertionPoint(op);
    Value result;
    if (!left.empty())
      result = createNetwork(rewriter, loc, op.getType(), op.getInput(), rest,
                             bias, op.getActivation());
    if (straight) {
      Value path = LinearOp::create(rewriter, loc, op.getType(), op.getInput(),
                                    straight, straightBias);
      int64_t version = getSinceVersion("Add", getDefaultOpset(getOperation()));
      result = result ? onnx::NodeOp::create(
                            rewriter, loc, "", "Add", version, op.getType(),
                            ValueRange{result, path}, {}, 0, onnx::NameHints())
                            .getResult(0)
                      : path;
    }
    rewriter.replaceAllUsesWith(op.getResult(), result);
    eraseDead(rewriter, op.getOperation());
    return success();
  }

  /// Columns of duplicates added to those of their twins, one of each at a
  /// time; a twin that has no more of them gets a column of zeros.
  Value addDuplicates(OpBuilder &builder, Location loc, Value down,
                      ArrayRef<int64_t> left) {
    llvm::DenseMap<int64_t, SmallVector<int64_t>> duplicatesOf;
    size_t most = 0;
    for (auto [j, neuron] : llvm::enumerate(neurons))
      if (neuron.fate == Fate::Duplicate) {
        SmallVector<int64_t> &list = duplicatesOf[neuron.twin];
        list.push_back(j);
        most = std::max(most, list.size());
      }
    if (most == 0)
      return down;
    auto type = llvm::cast<RankedTensorType>(view.down.getType());
    auto zeroType =
        RankedTensorType::get({1, type.getDimSize(0)}, type.getElementType());
    Value zeros = createSplat(builder, loc, zeroType, 0);
    Value columns = builder.createOrFold<TransposeOp>(loc, view.down);
    Value extended =
        ConcatRowsOp::create(builder, loc, ValueRange{columns, zeros});
    for (size_t k = 0; k < most; ++k) {
      SmallVector<int64_t> rows;
      for (int64_t j : left) {
        auto found = duplicatesOf.find(j);
        rows.push_back(found != duplicatesOf.end() && k < found->second.size()
                           ? found->second[k]
                           : static_cast<int64_t>(neurons.size()));
      }
      Value more = createGatherRows(builder, extended, rows);
      down = ffn::AddOp::create(builder, loc, down,
                                builder.createOrFold<TransposeOp>(loc, more));
    }
    return down;
  }
};
} // namespace
