//===- TokenizerTest.cpp --------------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/TokenData.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include "gtest/gtest.h"

using namespace mlir::ffn;

namespace {
/// A file that is gone when the test ends.
struct ScratchFile {
  llvm::SmallString<128> path;
  ScratchFile(llvm::StringRef text, llvm::StringRef suffix = "json") {
    int fd = -1;
    EXPECT_FALSE(
        llvm::sys::fs::createTemporaryFile("ffn-test", suffix, fd, path));
    llvm::raw_fd_ostream(fd, true) << text;
  }
  ~ScratchFile() { llvm::sys::fs::remove(path); }
};

std::string json(llvm::ArrayRef<std::pair<std::string, double>> pieces,
                 llvm::StringRef flags) {
  std::string hex, scores;
  for (auto &[piece, score] : pieces) {
    hex += (hex.empty() ? "\"" : ",\"") + llvm::toHex(piece, true) + "\"";
    scores += (scores.empty() ? "" : ",") + std::to_string(score);
  }
  return "{\"pieces_hex\":[" + hex + "],\"scores\":[" + scores + "]," +
         flags.str() + "}";
}

std::string error(llvm::Error e) { return llvm::toString(std::move(e)); }
} // namespace

TEST(Tokenizer, BytesAreTheirOwnTokens) {
  Tokenizer bytes = Tokenizer::bytes();
  EXPECT_EQ(bytes.encode("a\xff"), (std::vector<int64_t>{97, 255}));
  EXPECT_EQ(bytes.decode({97, 255}), "a\xff");
  EXPECT_EQ(bytes.getBos(), -1);
  EXPECT_EQ(bytes.piece(256), "");
}

TEST(Tokenizer, MergesByScoreThenLeftmost) {
  // "ab" beats "bc"; among the two "aa" of "aaa" the left one merges.
  ScratchFile file(json({{"<unk>", 0},
                         {"<s>", 0},
                         {"</s>", 0},
                         {" ", -9},
                         {"a", -9},
                         {"b", -9},
                         {"c", -9},
                         {"ab", -1},
                         {"bc", -2},
                         {"aa", -3}},
                        "\"bos\":1,\"eos\":2,\"unk\":0"));
  llvm::Expected<Tokenizer> tokenizer = Tokenizer::load(file.path);
  ASSERT_TRUE(bool(tokenizer)) << error(tokenizer.takeError());
  EXPECT_EQ(tokenizer->encode("abc"), (std::vector<int64_t>{1, 3, 7, 6}));
  EXPECT_EQ(tokenizer->encode("aaa", false), (std::vector<int64_t>{3, 9, 4}));
  EXPECT_EQ(tokenizer->encode("azzb", false),
            (std::vector<int64_t>{3, 4, 0, 5}));
  EXPECT_EQ(tokenizer->encode(""), (std::vector<int64_t>{1}));
  EXPECT_EQ(tokenizer->decode({1, 3, 7, 6}), "abc");
}

TEST(Tokenizer, CollapsesBlanksWhereTheFileSaysSo) {
  ScratchFile file(json(
      {{"<unk>", 0}, {"<s>", 0}, {"</s>", 0}, {"\xe2\x96\x81", -1}, {"a", -2}},
      "\"bos\":1,\"space\":\"\xe2\x96\x81\","
      "\"collapse_whitespace\":true"));
  llvm::Expected<Tokenizer> tokenizer = Tokenizer::load(file.path);
  ASSERT_TRUE(bool(tokenizer)) << error(tokenizer.takeError());
  EXPECT_EQ(tokenizer->encode("  a   a ", false),
            (std::vector<int64_t>{3, 4, 3, 4}));
  EXPECT_EQ(tokenizer->decode({3, 4, 3, 4}), "a a");
}

TEST(Tokenizer, RefusesBadFiles) {
  for (llvm::StringRef text :
       {"", "[]", "{\"pieces_hex\":[\"zz\"],\"scores\":[0]}",
        "{\"pieces_hex\":[\"61\"],\"scores\":[]}",
        "{\"pieces_hex\":[\"61\"],\"scores\":[0],\"byte_fallback\":true}"}) {
    ScratchFile file(text);
    llvm::Expected<Tokenizer> tokenizer = Tokenizer::load(file.path);
    ASSERT_FALSE(bool(tokenizer)) << text.str();
    EXPECT_NE(error(tokenizer.takeError()).find("FFN-D201"), std::string::npos);
  }
}

TEST(TokenData, WindowsPredictEveryTokenOnce) {
  TokenData data;
  data.documents = {{1, 10, 11, 12, 13, 14}, {1}, {1, 20}};
  std::vector<TokenWindow> windows = makeWindows(data, 2, 1);
  ASSERT_EQ(windows.size(), 4u);
  EXPECT_EQ(windows[0].ids, (std::vector<int64_t>{1, 10, 11}));
  EXPECT_EQ(windows[1].ids, (std::vector<int64_t>{1, 12, 13}));
  EXPECT_EQ(windows[2].ids, (std::vector<int64_t>{1, 14}));
  EXPECT_EQ(windows[3].ids, (std::vector<int64_t>{1, 20}));
}

TEST(TokenData, ReadsTextAndTokenLists) {
  ScratchFile text("ab\n<|endoftext|>\n\xc3\xa9z\n", "txt");
  llvm::Expected<TokenData> data = loadTokenData(text.path, Tokenizer::bytes());
  ASSERT_TRUE(bool(data)) << error(data.takeError());
  EXPECT_EQ(data->documents.size(), 2u);
  EXPECT_EQ(data->bytes, 5u);
  EXPECT_EQ(data->characters, 4u);
  ScratchFile bad("[[1, -2]]");
  llvm::Expected<TokenData> refused =
      loadTokenData(bad.path, Tokenizer::bytes());
  ASSERT_FALSE(bool(refused));
  EXPECT_NE(error(refused.takeError()).find("FFN-D202"), std::string::npos);
}
