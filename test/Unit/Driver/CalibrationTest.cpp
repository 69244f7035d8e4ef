//===- CalibrationTest.cpp - Samples to measure on ------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/Calibration.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include "gtest/gtest.h"
#include <cmath>
#include <set>

using namespace mlir::ffn;

namespace {
class CalibrationTest : public testing::Test {
protected:
  void SetUp() override {
    ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("calibration", folder));
  }
  void TearDown() override { llvm::sys::fs::remove_directories(folder); }
  std::string write(llvm::StringRef name, llvm::StringRef text) {
    std::string path = (folder.str() + "/" + name).str();
    std::error_code code;
    llvm::raw_fd_ostream(path, code) << text;
    return path;
  }
  llvm::Expected<CalibrationSet> load(const CalibrationOptions &options) {
    return loadCalibrationSet(inputs, outputs, options);
  }
  std::string errorOf(const CalibrationOptions &options) {
    auto set = load(options);
    return set ? "" : llvm::toString(set.takeError());
  }

  llvm::SmallString<128> folder;
  std::vector<Artefact::Value> inputs = {
      {"input_ids", {0, 64, 1}, {-1, -1}, {"batch", "sequence"}}};
  std::vector<Artefact::Value> outputs = {
      {"logits", {2, 32, 1}, {-1, -1, 256}, {"batch", "sequence", ""}}};
};
} // namespace

TEST_F(CalibrationTest, HeldOutSamplesAreOthers) {
  std::string text;
  for (int i = 0; i < 400; ++i)
    text += static_cast<char>('!' + i * 7 % 90);
  CalibrationOptions options;
  options.data = write("a.txt", text);
  options.samples = 6;
  options.length = 16;
  options.seed = 3;
  options.holdOut = 4;
  auto kept = load(options);
  ASSERT_TRUE(bool(kept)) << llvm::toString(kept.takeError());
  options.takeHeldOut = true;
  auto heldOut = load(options);
  ASSERT_TRUE(bool(heldOut));
  EXPECT_EQ(kept->samples.size(), 6u);
  EXPECT_EQ(heldOut->samples.size(), 4u);
  EXPECT_EQ(kept->available, 25u);
  std::set<std::string> all(kept->hashes.begin(), kept->hashes.end());
  all.insert(heldOut->hashes.begin(), heldOut->hashes.end());
  EXPECT_EQ(all.size(), 10u);
  // What is held out does not change what is drawn.
  options.takeHeldOut = false;
  options.holdOut = 0;
  auto without = load(options);
  ASSERT_TRUE(bool(without));
  EXPECT_EQ(without->hashes, kept->hashes);
  options.seed = 4;
  EXPECT_NE(load(options)->hashes, kept->hashes);
  options.holdOut = 25;
  EXPECT_NE(errorOf(options).find("[FFN-D209]"), std::string::npos);
}

TEST_F(CalibrationTest, OverlapAtAnyOffsetIsFound) {
  std::string text;
  for (int i = 0; i < 300; ++i)
    text += static_cast<char>('!' + (i * i + i / 7) % 90);
  CalibrationOptions options;
  options.data = write("a.txt", text.substr(0, 100));
  options.length = 20;
  auto set = load(options);
  ASSERT_TRUE(bool(set));
  auto check = [&](llvm::StringRef evaluation) {
    CalibrationOptions other = options;
    other.data = write("b.txt", evaluation);
    return llvm::toString(checkDisjoint(*set, inputs, outputs, other));
  };
  EXPECT_EQ(check(text.substr(100)), "");
  EXPECT_NE(check("xyz" + text.substr(40, 20)).find("[FFN-D211]"),
            std::string::npos);
  // One token less than a sample is none.
  EXPECT_EQ(check("xyz" + text.substr(40, 19) + "~~"), "");
}

TEST_F(CalibrationTest, NumbersMustBeFinite) {
  inputs = {{"x", {2, 32, 1}, {-1, 2}, {"batch", ""}}};
  NpyArray array;
  array.itemSize = 4;
  array.shape = {1, 2};
  array.data.resize(8);
  reinterpret_cast<float *>(array.data.data())[1] = NAN;
  auto set = makeCalibrationSet(inputs, {{{"x", array}}});
  ASSERT_FALSE(bool(set));
  EXPECT_NE(llvm::toString(set.takeError()).find("[FFN-D212]"),
            std::string::npos);
  for (auto &[name, code] :
       {std::pair<std::string, const char *>{"y", "[FFN-D208]"}}) {
    auto wrong = makeCalibrationSet(inputs, {{{name, array}}});
    ASSERT_FALSE(bool(wrong));
    EXPECT_NE(llvm::toString(wrong.takeError()).find(code), std::string::npos);
  }
  reinterpret_cast<float *>(array.data.data())[1] = 1;
  EXPECT_TRUE(bool(makeCalibrationSet(inputs, {{{"x", array}}})));
  array.shape = {2};
  auto rank = makeCalibrationSet(inputs, {{{"x", array}}});
  ASSERT_FALSE(bool(rank));
  EXPECT_NE(llvm::toString(rank.takeError()).find("[FFN-D208]"),
            std::string::npos);
  auto none = makeCalibrationSet(inputs, {});
  ASSERT_FALSE(bool(none));
  EXPECT_NE(llvm::toString(none.takeError()).find("[FFN-D209]"),
            std::string::npos);
}
