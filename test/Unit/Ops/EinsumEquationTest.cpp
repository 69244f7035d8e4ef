//===- EinsumEquationTest.cpp - The equation of Einsum --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/EinsumEquation.h"
#include "gtest/gtest.h"

using namespace mlir::ffn;

TEST(EinsumEquation, LabelsDims) {
  std::string why;
  auto equation = EinsumEquation::parse("a...b, bc -> ...ac", why);
  ASSERT_TRUE(equation);
  ASSERT_EQ(equation->inputs.size(), 2u);
  const EinsumTerm &first = equation->inputs[0];
  EXPECT_EQ(first.getHidden(4), 2);
  EXPECT_EQ(first.getHidden(2), 0);
  EXPECT_EQ(first.getHidden(1), std::nullopt);
  EXPECT_EQ(equation->inputs[1].getHidden(3), std::nullopt);
  EXPECT_EQ(first.getLabels(2), (EinsumLabels{'a', -2, -1, 'b'}));
  EXPECT_EQ(equation->output.getLabels(1), (EinsumLabels{-1, 'a', 'c'}));
}

TEST(EinsumEquation, FindsTheOutput) {
  std::string why;
  auto equation = EinsumEquation::parse("zb...,aZb", why);
  ASSERT_TRUE(equation);
  EXPECT_EQ(equation->output.getLabels(1), (EinsumLabels{-1, 'Z', 'a', 'z'}));
  equation = EinsumEquation::parse("ii", why);
  ASSERT_TRUE(equation);
  EXPECT_TRUE(equation->output.getLabels(0).empty());
}

TEST(EinsumEquation, SaysWhatIsWrong) {
  std::pair<const char *, const char *> cases[] = {
      {"i1->i", "not understood"},
      {"i->i->i", "not understood"},
      {"......i->i", "not understood"},
      {"ij->ik", "'k' is in no operand"},
      {"ij->jij", "in the output twice"}};
  for (auto [text, wanted] : cases) {
    std::string why;
    EXPECT_FALSE(EinsumEquation::parse(text, why)) << text;
    EXPECT_NE(why.find(wanted), std::string::npos) << text << ": " << why;
  }
}
