//===- ProbesTest.cpp - What a pass wants measured ------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Profile/Probes.h"
#include "ffn-mlir/InitAll.h"
#include "gtest/gtest.h"
#include <mutex>

using namespace mlir::ffn;

namespace {
class ProbesTest : public testing::Test {
protected:
  void SetUp() override {
    static std::once_flag once;
    std::call_once(once, [] { registerAllPasses(); });
  }
};

std::string codeOf(llvm::Expected<ProbeRequest> request) {
  if (request)
    return "";
  std::string text = llvm::toString(request.takeError());
  return text.substr(text.rfind('[') + 1, 8);
}
} // namespace

TEST_F(ProbesTest, NamesAndOptions) {
  auto request = parseProbes("moments, topk{k=3},cofire{group=5},"
                             "hidden{threshold=0.5 magnitude=true}");
  ASSERT_TRUE(bool(request));
  EXPECT_EQ(request->probes, (std::set<Probe>{Probe::Moments, Probe::TopK,
                                              Probe::CoFire, Probe::Hidden}));
  EXPECT_EQ(request->topK, 3u);
  EXPECT_EQ(request->group, 5u);
  EXPECT_EQ(request->threshold, 0.5);
  EXPECT_TRUE(request->magnitude);
  for (const char *bad :
       {"", "momentum", "topk{k=0}", "topk{k=x}", "topk{m=1}", "topk{k=1",
        "topk{k=1 k=2}", "gram{k=1}", "moments,", "hidden{threshold=-1}"})
    EXPECT_EQ(codeOf(parseProbes(bad)), "FFN-P143") << bad;
  EXPECT_EQ(codeOf(parseProbes("topk{k=1},cmoe-topk{k=2}")), "FFN-P142");
}

TEST_F(ProbesTest, PassesAskForWhatTheyRead) {
  auto request = parseProbesFor("ffn-carve-moe{topk=7 shared=2}");
  ASSERT_TRUE(bool(request));
  EXPECT_EQ(request->probes, (std::set<Probe>{Probe::CMoETopK}));
  EXPECT_EQ(request->topK, 7u);
  EXPECT_TRUE(request->sequential);
  request = parseProbesFor("ffn-low-rank{method=asvd}");
  ASSERT_TRUE(bool(request));
  EXPECT_EQ(request->probes, (std::set<Probe>{Probe::Moments}));
  EXPECT_FALSE(request->sequential);
  EXPECT_EQ(codeOf(parseProbesFor("ffn-carve-mow")), "FFN-P140");
  EXPECT_EQ(codeOf(parseProbesFor("ffn-fold-norm")), "FFN-P141");
  EXPECT_EQ(codeOf(parseProbesFor("ffn-low-rank{method=svd}")), "FFN-P141");
  EXPECT_EQ(codeOf(parseProbesFor("ffn-low-rank{method=best}")), "FFN-P142");
  EXPECT_EQ(codeOf(parseProbesFor("ffn-carve-moe{topk=none}")), "FFN-P142");
  EXPECT_EQ(codeOf(parseProbesFor("ffn-carve-moe{")), "FFN-P142");
}

TEST_F(ProbesTest, RequestsOfSeveralPassesAddUp) {
  ProbeRequest request;
  for (const char *pass : {"ffn-low-rank", "ffn-prune-channels"}) {
    auto one = parseProbesFor(pass);
    ASSERT_TRUE(bool(one));
    ASSERT_FALSE(bool(request.merge(*one)));
  }
  EXPECT_EQ(request.probes, (std::set<Probe>{Probe::Gram, Probe::Hidden}));
}
