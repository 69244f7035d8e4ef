//===- SchemaTest.cpp - Schema data and the table of behaviour ------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/OpTable.h"
#include "gtest/gtest.h"
#include <climits>

using namespace mlir;
using namespace mlir::ffn;

TEST(Schema, GreatestVersionNotAboveTheOpset) {
  ASSERT_NE(lookupSchema("", "Softmax", 12), nullptr);
  EXPECT_EQ(lookupSchema("", "Softmax", 12)->sinceVersion, 11);
  EXPECT_EQ(lookupSchema("", "Softmax", 13)->sinceVersion, 13);
  EXPECT_EQ(lookupSchema("ai.onnx", "Softmax", 17)->sinceVersion, 13);
  EXPECT_EQ(lookupSchema("", "Softmax", 0), nullptr);
  EXPECT_EQ(lookupSchema("", "Gelu", 17), nullptr);
  EXPECT_TRUE(isKnownOperator("", "Gelu"));
  EXPECT_FALSE(isKnownOperator("", "Gelux"));
  EXPECT_FALSE(isKnownOperator("com.acme", "Gelu"));
  EXPECT_GE(getNewestOpset("ai.onnx"), 24);
  EXPECT_EQ(getNewestOpset("com.microsoft"), 1);
  EXPECT_EQ(getNewestOpset("com.acme"), 0);
}

TEST(Schema, ArityAttributesAndTypes) {
  const Schema *gemm = lookupSchema("", "Gemm", 17);
  ASSERT_NE(gemm, nullptr);
  EXPECT_EQ(gemm->minInputs, 2);
  EXPECT_EQ(gemm->maxInputs, 3);
  ASSERT_NE(gemm->findAttr("transB"), nullptr);
  EXPECT_EQ(gemm->findAttr("transB")->kind, AttrKind::Int);
  EXPECT_EQ(gemm->findAttr("transB")->defaultValue, "0");
  EXPECT_EQ(gemm->findAttr("alpha")->defaultValue, "1.0");
  EXPECT_EQ(gemm->findAttr("axis"), nullptr);
  EXPECT_EQ(gemm->getInput(3), nullptr);
  EXPECT_TRUE(gemm->getInput(2)->optional);
  EXPECT_TRUE(gemm->getInput(0)->allowed & (1u << 1));
  EXPECT_FALSE(gemm->getInput(0)->allowed & (1u << 8));

  const Schema *concat = lookupSchema("", "Concat", 13);
  ASSERT_NE(concat, nullptr);
  EXPECT_EQ(concat->maxInputs, INT_MAX);
  EXPECT_TRUE(concat->findAttr("axis")->required);
  EXPECT_FALSE(concat->findAttr("axis")->hasDefault);
  ASSERT_NE(concat->getInput(1000), nullptr);
  EXPECT_TRUE(concat->getInput(1000)->repeated);
}

TEST(Schema, ContribAndHabits) {
  for (StringRef name : {"FusedMatMul",
                         "MatMulNBits",
                         "MoE",
                         "QMoE",
                         "FastGelu",
                         "BiasGelu",
                         "QuickGelu",
                         "Gelu",
                         "SkipLayerNormalization",
                         "Attention",
                         "SkipSimplifiedLayerNormalization",
                         "EmbedLayerNormalization",
                         "MultiHeadAttention",
                         "GroupQueryAttention",
                         "RotaryEmbedding",
                         "GatherBlockQuantized",
                         "DynamicQuantizeMatMul",
                         "QAttention",
                         "QLinearAdd",
                         "BeamSearch",
                         "GreedySearch",
                         "PackedAttention",
                         "YieldOp",
                         "SliceGrad"})
    EXPECT_TRUE(isKnownOperator("com.microsoft", name)) << name.str();
  const Schema *old = lookupSchema("", "LayerNormalization", 12);
  ASSERT_NE(old, nullptr);
  EXPECT_TRUE(old->habit);
  EXPECT_FALSE(lookupSchema("", "LayerNormalization", 17)->habit);
  EXPECT_EQ(lookupSchema("", "RandomNormal", 17)->effect, OpEffect::Random);
  EXPECT_EQ(lookupSchema("com.microsoft", "YieldOp", 1)->effect,
            OpEffect::Impure);
}

TEST(Schema, DataIsWellFormed) {
  for (const Schema &schema : getAllSchemas()) {
    SCOPED_TRACE(schema.domain.str() + "::" + schema.name.str());
    EXPECT_GT(schema.sinceVersion, 0);
    EXPECT_LE(schema.minInputs, schema.maxInputs);
    EXPECT_LE(schema.minOutputs, schema.maxOutputs);
    if (schema.maxInputs != INT_MAX) {
      EXPECT_EQ(static_cast<size_t>(schema.maxInputs), schema.inputs.size());
    }
    for (const ParamSchema &param : schema.inputs)
      EXPECT_NE(param.allowed, 0u);
    for (const AttrSchema &attr : schema.attrs)
      EXPECT_FALSE(attr.required && attr.hasDefault);
    // A version in force is found under its own number.
    EXPECT_EQ(lookupSchema(schema.domain, schema.name, schema.sinceVersion),
              &schema);
  }
  EXPECT_GT(getAllSchemas().size(), 800u);
}

TEST(Schema, ElementTypesAndNumbers) {
  MLIRContext ctx;
  for (int number = 1; number <= 28; ++number) {
    Type type = getONNXElementType(&ctx, number);
    ASSERT_TRUE(type) << number;
    EXPECT_EQ(getONNXTypeNumber(type), number);
  }
  EXPECT_FALSE(getONNXElementType(&ctx, 0));
  EXPECT_FALSE(getONNXElementType(&ctx, 99));
  EXPECT_EQ(getONNXTypeNumber(IndexType::get(&ctx)), 0);
}

static LogicalResult shapeOne(ShapeContext &) { return success(); }
static LogicalResult shapeTwo(ShapeContext &) { return failure(); }
static LogicalResult evalOne(EvalContext &) { return success(); }

TEST(OpTable, EachFacetIsLookedUpOnItsOwn) {
  OpTable table;
  table.addShape("", "Foo", 1, shapeOne);
  table.addShape("", "Foo", 13, shapeTwo);
  table.addEval("", "Foo", 7, evalOne);
  EXPECT_EQ(table.lookup("", "Foo", 12).shape, shapeOne);
  EXPECT_EQ(table.lookup("", "Foo", 13).shape, shapeTwo);
  EXPECT_EQ(table.lookup("ai.onnx", "Foo", 99).shape, shapeTwo);
  EXPECT_EQ(table.lookup("", "Foo", 6).eval, nullptr);
  EXPECT_EQ(table.lookup("", "Foo", 13).eval, evalOne);
  EXPECT_EQ(table.lookup("", "Foo", 13).lower, nullptr);
  EXPECT_EQ(table.lookup("com.acme", "Foo", 13).shape, nullptr);
  EXPECT_EQ(table.lookup("", "Foo", 0).shape, nullptr);
}
