//===- NeuronViewTest.cpp - Hidden units taken apart and put together -----===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/Transforms/NeuronView.h"
#include "ffn-mlir/InitAll.h"
#include "ffn-mlir/Interpreter/Interpreter.h"
#include "ffn-mlir/Support/WeightEval.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/FormatVariadic.h"
#include "gtest/gtest.h"
#include <cmath>
#include <random>

using namespace mlir;
using namespace mlir::ffn;

namespace {
constexpr int64_t kWidth = 6, kNeurons = 12, kRows = 5;

/// A network, plain or gated, whose weights are kept in one of several forms.
class NeuronViewTest : public testing::TestWithParam<const char *> {
protected:
  void SetUp() override {
    DialectRegistry registry;
    registerAllDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
    module = parseSourceString<ModuleOp>(makeModule(), &context);
    ASSERT_TRUE(module);
    module->walk([&](FeedForwardOp op) { network = op; });
    ASSERT_TRUE(network);
    EXPECT_EQ(findViewObstacle(network), "");
  }

  std::string dense(ArrayRef<int64_t> shape, bool codes = false) {
    std::string text = "dense<[";
    int64_t rows = shape.size() == 2 ? shape[0] : 1, columns = shape.back();
    for (int64_t i = 0; i < rows; ++i) {
      text += std::string(i ? ", " : "") + (shape.size() == 2 ? "[" : "");
      for (int64_t j = 0; j < columns; ++j) {
        text += j ? ", " : "";
        if (codes)
          text += std::to_string(static_cast<int>(random() % 255) - 127);
        else
          text += llvm::formatv("{0:f4}",
                                std::normal_distribution<double>()(random) / 2);
      }
      text += shape.size() == 2 ? "]" : "";
    }
    return text + "]>";
  }

  /// Lines that define the matrix %name of [rows, columns] as the form says.
  std::string matrix(StringRef name, int64_t rows, int64_t columns) {
    StringRef form = GetParam();
    auto make = [&](const char *pattern, auto &&...values) {
      return llvm::formatv(pattern, values...).str();
    };
    if (form == "transposed")
      return make("%t{0} = ffn.weight {1} : tensor<{3}x{2}xf32>\n"
                  "%{0} = ffn.transpose %t{0} : tensor<{3}x{2}xf32>\n",
                  name, dense({columns, rows}), rows, columns);
    if (form == "half")
      return make("%t{0} = ffn.weight {1} : tensor<{3}x{2}xf16>\n"
                  "%u{0} = ffn.transpose %t{0} : tensor<{3}x{2}xf16>\n"
                  "%{0} = ffn.cast %u{0} : tensor<{2}x{3}xf16> to "
                  "tensor<{2}x{3}xf32>\n",
                  name, dense({columns, rows}), rows, columns);
    if (form == "scaled")
      return make("%t{0} = ffn.weight {1} : tensor<{4}x{5}xf32>\n"
                  "%r{0} = ffn.weight {2} : tensor<{4}xf32>\n"
                  "%c{0} = ffn.weight {3} : tensor<{5}xf32>\n"
                  "%u{0} = ffn.scale_rows %t{0}, %r{0} : "
                  "tensor<{4}x{5}xf32>, tensor<{4}xf32>\n"
                  "%{0} = ffn.scale_cols %u{0}, %c{0} : "
                  "tensor<{4}x{5}xf32>, tensor<{5}xf32>\n",
                  name, dense({rows, columns}), dense({rows}), dense({columns}),
                  rows, columns);
    if (form == "low-rank")
      return make("%b{0} = ffn.weight {1} : tensor<{3}x2xf32>\n"
                  "%a{0} = ffn.weight {2} : tensor<2x{4}xf32>\n"
                  "%p{0} = ffn.low_rank %b{0}, %a{0} : tensor<{3}x2xf32>, "
                  "tensor<2x{4}xf32>\n"
                  "%{0} = ffn.add %p{0}, %p{0} : tensor<{3}x{4}xf32>\n",
                  name, dense({rows, 2}), dense({2, columns}), rows, columns);
    if (form == "stacked")
      return make("%t{0} = ffn.weight {1} : tensor<2x{4}xf32>\n"
                  "%u{0} = ffn.weight {2} : tensor<{3}x{4}xf32>\n"
                  "%{0} = ffn.concat_rows %t{0}, %u{0} : tensor<2x{4}xf32>, "
                  "tensor<{3}x{4}xf32>\n",
                  name, dense({2, columns}), dense({rows - 2, columns}),
                  rows - 2, columns);
    if (form == "quantized")
      return make("%t{0} = ffn.weight {1} : tensor<{3}x{4}xi8>\n"
                  "%s{0} = ffn.weight {2} : tensor<{3}x{5}xf32>\n"
                  "%{0} = ffn.dequantize %t{0}, %s{0} bits 8 group 4 : "
                  "tensor<{3}x{4}xi8>, tensor<{3}x{5}xf32>\n",
                  name, dense({rows, columns}, /*codes=*/true),
                  dense({rows, (columns + 3) / 4}), rows, columns,
                  (columns + 3) / 4);
    return make("%{0} = ffn.weight {1} : tensor<{2}x{3}xf32>\n", name,
                dense({rows, columns}), rows, columns);
  }

  std::string makeModule() {
    bool gated = GetParam() != StringRef("half");
    std::string text = matrix("up", kNeurons, kWidth) +
                       (gated ? matrix("gate", kNeurons, kWidth) : "") +
                       matrix("down", kWidth, kNeurons);
    text += "%ub = ffn.weight " + dense({kNeurons}) + " : tensor<12xf32>\n";
    std::string m = "tensor<12x6xf32>", n = "tensor<6x12xf32>";
    return "func.func @main(%x: tensor<?x6xf32>) -> tensor<?x6xf32> {\n" +
           text + "%y = ffn.feed_forward relu %x up %up " +
           (gated ? "gate %gate " : "") +
           "down %down up_bias %ub : (tensor<?x6xf32>, " + m + ", " +
           (gated ? m + ", " : "") + n +
           ", tensor<12xf32>) -> tensor<?x6xf32>\n"
           "return %y : tensor<?x6xf32>\n}\n";
  }

  std::vector<double> run() {
    EXPECT_TRUE(succeeded(verify(*module)));
    EvalTensor x(Float32Type::get(&context), {kRows, kWidth});
    std::mt19937 source(3);
    for (double &value : x.mutableFloats())
      value = std::normal_distribution<double>()(source);
    auto results = interpret(*module, {EvalValue(x)});
    EXPECT_TRUE(succeeded(results));
    return failed(results) ? std::vector<double>()
                           : results->front().tensor.floats().vec();
  }

  std::vector<double> read(Value weight) {
    SmallVector<char> bytes;
    EXPECT_TRUE(succeeded(WeightEvaluator().readAll(weight, bytes)));
    auto type = llvm::cast<RankedTensorType>(weight.getType());
    auto tensor =
        EvalTensor::fromBytes(type.getElementType(), type.getShape(), bytes);
    return tensor->floats().vec();
  }

  /// Sum of the magnitudes that each output is a sum of.
  double getMagnitude() {
    double bound = 0;
    for (Value weight : network.getWeightOperands())
      for (double value : read(weight))
        bound = std::max(bound, std::abs(value));
    bound = std::max(bound, 4.0);
    return std::pow(bound, 5) * kNeurons * kWidth * kWidth;
  }

  void expectWithinGamma(ArrayRef<double> a, ArrayRef<double> b) {
    ASSERT_EQ(a.size(), b.size());
    constexpr double unit = 0x1p-53, terms = 2 * (kNeurons + kWidth + 8);
    double bound = terms * unit / (1 - terms * unit) * getMagnitude();
    for (auto [x, y] : llvm::zip(a, b))
      EXPECT_LE(std::abs(x - y), bound);
    EXPECT_GT(*llvm::max_element(a), 0.1);
  }

  std::string print() {
    std::string text;
    llvm::raw_string_ostream(text) << *module;
    return text;
  }

  OpBuilder builderFor() {
    OpBuilder builder(&context);
    setNeuronInsertionPoint(builder, network, NeuronView::of(network));
    return builder;
  }

  std::mt19937 random{17};
  MLIRContext context;
  OwningOpRef<ModuleOp> module;
  FeedForwardOp network;
};

/// Permutes groups of four, and inside of them: what scales allow.
const SmallVector<int64_t> kPermutation = {10, 8, 11, 9, 1, 3,
                                           0,  2, 7,  6, 5, 4};
} // namespace

TEST_P(NeuronViewTest, AllInOrderIsTheSameToTheByte) {
  std::string before = print();
  NeuronView view = NeuronView::of(network);
  OpBuilder builder = builderFor();
  SmallVector<int64_t> all = llvm::to_vector(llvm::seq<int64_t>(0, kNeurons));
  ASSERT_EQ(findSelectObstacle(view, all), "");
  setNeurons(network, selectNeurons(builder, view, all));
  setNeurons(network, sliceNeurons(builder, view, 0, kNeurons));
  setNeurons(network, concatNeurons(builder, network.getLoc(), view));
  EXPECT_EQ(print(), before);
}

TEST_P(NeuronViewTest, APermutationIsWithinGamma) {
  std::vector<double> before = run();
  NeuronView view = NeuronView::of(network);
  ASSERT_EQ(findPermuteObstacle(view, kPermutation), "");
  std::vector<double> up = read(view.up), down = read(view.down);
  OpBuilder builder = builderFor();
  setNeurons(network, selectNeurons(builder, view, kPermutation));
  expectWithinGamma(before, run());
  // Row j and column j are those of the neuron that is asked for.
  std::vector<double> rows = read(network.getUp()),
                      columns = read(network.getDown());
  for (int64_t j = 0; j < kNeurons; ++j)
    for (int64_t i = 0; i < kWidth; ++i) {
      EXPECT_EQ(rows[j * kWidth + i], up[kPermutation[j] * kWidth + i]);
      EXPECT_EQ(columns[i * kNeurons + j],
                down[i * kNeurons + kPermutation[j]]);
    }
}

TEST_P(NeuronViewTest, PartsAddUpToTheWhole) {
  std::vector<double> before = run();
  NeuronView view = NeuronView::of(network);
  OpBuilder builder = builderFor();
  SmallVector<int64_t> first(kPermutation.begin(), kPermutation.begin() + 8),
      second(kPermutation.begin() + 8, kPermutation.end());
  SmallVector<NeuronView> parts = splitNeurons(builder, view, {first, second});
  setNeurons(network, parts[0]);
  std::vector<double> sum = run();
  setNeurons(network, parts[1]);
  for (auto [total, value] : llvm::zip(sum, run()))
    total += value;
  expectWithinGamma(before, sum);
}

TEST_P(NeuronViewTest, SplitPartsJoin) {
  std::vector<double> before = run();
  NeuronView view = NeuronView::of(network);
  OpBuilder builder = builderFor();
  SmallVector<NeuronView> parts = {sliceNeurons(builder, view, 0, 8),
                                   sliceNeurons(builder, view, 8, 4)};
  ASSERT_EQ(findConcatObstacle(parts), "");
  std::vector<double> up = read(view.up), down = read(view.down);
  setNeurons(network, concatNeurons(builder, network.getLoc(), parts));
  EXPECT_EQ(run(), before);
  EXPECT_EQ(read(network.getUp()), up);
  EXPECT_EQ(read(network.getDown()), down);
}

TEST_P(NeuronViewTest, ABiasThatOneLacksIsZeros) {
  NeuronView view = NeuronView::of(network), bare = view;
  bare.upBias = Value();
  OpBuilder builder = builderFor();
  NeuronView joined = concatNeurons(builder, network.getLoc(), {view, bare});
  EXPECT_EQ(joined.getNumNeurons(), 2 * kNeurons);
  std::vector<double> bias = read(joined.upBias), own = read(view.upBias);
  own.resize(2 * kNeurons, 0);
  EXPECT_EQ(bias, own);
  setNeurons(network, joined);
  EXPECT_TRUE(succeeded(verify(*module)));
}

TEST_P(NeuronViewTest, TheFormOfTheBytesStaysOutermost) {
  StringRef form = GetParam();
  NeuronView view = NeuronView::of(network);
  OpBuilder builder = builderFor();
  for (NeuronView changed :
       {sliceNeurons(builder, view, 4, 4),
        concatNeurons(builder, network.getLoc(), {view, view})})
    for (Value matrix : {changed.up, changed.down}) {
      if (form == "quantized")
        EXPECT_TRUE(matrix.getDefiningOp<DequantizeOp>());
      if (form != "half")
        continue;
      if (auto transpose = matrix.getDefiningOp<TransposeOp>())
        matrix = transpose.getSource();
      auto cast = matrix.getDefiningOp<CastOp>();
      ASSERT_TRUE(cast);
      EXPECT_TRUE(llvm::cast<ShapedType>(cast.getSource().getType())
                      .getElementType()
                      .isF16());
    }
}

TEST_P(NeuronViewTest, RefusesWithAReason) {
  NeuronView view = NeuronView::of(network);
  EXPECT_EQ(findSelectObstacle(view, {}), "no neuron would be left");
  EXPECT_EQ(findSelectObstacle(view, {3, 12}), "there is no neuron 12 of 12");
  EXPECT_EQ(findSelectObstacle(view, {-1}), "there is no neuron -1 of 12");
  EXPECT_EQ(findPermuteObstacle(view, {0, 1, 2, 3}),
            "the indices are no permutation of the neurons");
  NeuronView other = view;
  other.gate = view.gate ? Value() : view.up;
  EXPECT_EQ(findConcatObstacle({view, other}),
            "one is gated, the other is not");
  bool quantized = GetParam() == StringRef("quantized");
  std::string torn = findSelectObstacle(view, {0, 4, 5});
  EXPECT_EQ(StringRef(torn).starts_with(
                "columns of down share scales in groups of 4; "),
            quantized)
      << torn;
  if (!quantized)
    return;
  // A network whose neurons end inside of a group cannot be followed by one.
  OpBuilder builder = builderFor();
  NeuronView odd = sliceNeurons(builder, view, 4, 3);
  EXPECT_EQ(findConcatObstacle({view, odd}), "");
  EXPECT_TRUE(StringRef(findConcatObstacle({odd, view}))
                  .starts_with("columns of down share scales"));
}

INSTANTIATE_TEST_SUITE_P(Forms, NeuronViewTest,
                         testing::Values("plain", "transposed", "half",
                                         "scaled", "low-rank", "stacked",
                                         "quantized"),
                         [](const auto &info) {
                           std::string name = info.param;
                           llvm::erase(name, '-');
                           return name;
                         });
