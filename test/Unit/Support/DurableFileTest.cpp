//===- DurableFileTest.cpp - Files that survive a crash -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/DurableFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include "gtest/gtest.h"

using namespace mlir::ffn;

namespace {
class DurableFileTest : public testing::Test {
protected:
  void SetUp() override {
    ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("durable", folder));
  }
  void TearDown() override { llvm::sys::fs::remove_directories(folder); }
  std::string path(llvm::StringRef name) {
    return (folder.str() + "/" + name).str();
  }
  std::string contents(llvm::StringRef name) {
    auto buffer = llvm::MemoryBuffer::getFile(path(name));
    return buffer ? (*buffer)->getBuffer().str() : "none";
  }
  std::vector<std::string> openJournal() {
    std::vector<std::string> lines;
    journal.reset();
    auto opened = Journal::open(path("journal"), lines);
    EXPECT_TRUE(bool(opened));
    journal = std::move(*opened);
    return lines;
  }
  llvm::SmallString<128> folder;
  std::unique_ptr<Journal> journal;
};
} // namespace

TEST_F(DurableFileTest, FailureLeavesTheOldFile) {
  auto write = [&](llvm::StringRef text, bool good) {
    return writeFileDurably(
        path("file"), "test",
        [&](llvm::function_ref<llvm::Error(llvm::ArrayRef<char>)> sink)
            -> llvm::Error {
          if (llvm::Error error = sink({text.data(), text.size()}))
            return error;
          return good ? llvm::Error::success()
                      : llvm::createStringError("no more");
        });
  };
  ASSERT_FALSE(bool(write("first", true)));
  EXPECT_EQ(llvm::toString(write("second", false)), "no more");
  EXPECT_EQ(contents("file"), "first");
  EXPECT_EQ(contents("file.tmp"), "none");
  ASSERT_FALSE(bool(write("third", true)));
  EXPECT_EQ(contents("file"), "third");
  std::string error = llvm::toString(writeFileDurably(
      path("no/such/folder"), "test",
      [](llvm::function_ref<llvm::Error(llvm::ArrayRef<char>)>) {
        return llvm::Error::success();
      }));
  EXPECT_NE(error.find("[FFN-O101]"), std::string::npos) << error;
}

TEST_F(DurableFileTest, JournalLosesACutLineAndNothingElse) {
  EXPECT_TRUE(openJournal().empty());
  ASSERT_FALSE(bool(journal->append("one")));
  ASSERT_FALSE(bool(journal->append("")));
  std::vector<std::string> both{"one", ""};
  EXPECT_EQ(openJournal(), both);
  // Another descriptor is another process to the lock.
  std::vector<std::string> lines;
  auto second = Journal::open(path("journal"), lines);
  ASSERT_FALSE(bool(second));
  EXPECT_NE(llvm::toString(second.takeError()).find("[FFN-J102]"),
            std::string::npos);
  {
    std::error_code code;
    llvm::raw_fd_ostream os(path("journal"), code, llvm::sys::fs::OF_Append);
    os << "half of a li";
  }
  EXPECT_EQ(openJournal(), both);
  ASSERT_FALSE(bool(journal->append("three")));
  both.push_back("three");
  EXPECT_EQ(openJournal(), both);
}
