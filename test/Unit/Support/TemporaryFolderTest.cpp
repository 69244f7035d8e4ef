//===- TemporaryFolderTest.cpp --------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/TemporaryFolder.h"
#include "llvm/Support/FileSystem.h"
#include "gtest/gtest.h"
#include <csignal>
#include <fstream>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace mlir::ffn;
using llvm::sys::fs::exists;

static void write(const std::string &path) { std::ofstream(path) << "x"; }

TEST(TemporaryFolder, EndsWithItsScope) {
  std::string path;
  {
    TemporaryFolder folder;
    ASSERT_FALSE(folder.create("ffn-test"));
    path = folder.get();
    ASSERT_TRUE(llvm::sys::fs::is_directory(path));
    ASSERT_FALSE(llvm::sys::fs::create_directory(folder.file("inner")));
    write(folder.file("inner") + "/file");
    EXPECT_EQ(folder.file(""), path + "/");
  }
  EXPECT_FALSE(exists(path));
}

TEST(TemporaryFolder, LiesBesideAFileOfAnyName) {
  TemporaryFolder outer;
  ASSERT_FALSE(outer.create("ffn-test"));
  TemporaryFolder inner;
  ASSERT_FALSE(inner.createBeside(outer.file("a b")));
  EXPECT_TRUE(llvm::StringRef(inner.get()).starts_with(outer.file("a b.tmp-")));
  TemporaryFolder none;
  EXPECT_EQ(none.createBeside(outer.file("missing/x")),
            std::errc::no_such_file_or_directory);
  EXPECT_TRUE(none.get().empty());
}

TEST(TemporaryFolder, ReleasedFilesStay) {
  TemporaryFolder folder;
  ASSERT_FALSE(folder.create("ffn-test"));
  std::string kept = folder.file("kept"), gone = folder.file("gone");
  {
    TemporaryPath a(kept), b(gone), never(folder.file("never"));
    write(kept);
    write(gone);
    a.release();
    EXPECT_TRUE(a.empty());
  }
  EXPECT_TRUE(exists(kept));
  EXPECT_FALSE(exists(gone));
}

/// Claims many names in several threads, then dies by `signal`, while one name
/// is released and one is there no more.
static int dieBy(int signal, const std::string &folder) {
  pid_t child = fork();
  if (child == 0) {
    for (int number : {SIGHUP, SIGINT, SIGTERM})
      ::signal(number, SIG_DFL);
    installInterruptHandlers();
    TemporaryFolder inner;
    if (inner.createBeside(folder + "/inner"))
      _exit(1);
    write(inner.file("file"));
    TemporaryPath released(folder + "/released"), lost(folder + "/lost");
    write(folder + "/released");
    released.release();
    std::vector<std::thread> threads;
    std::vector<TemporaryPath> paths(400);
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (int i = t; i < 400; i += 4) {
          paths[i].claim(folder + "/" + std::to_string(i));
          write(folder + "/" + std::to_string(i));
        }
      });
    for (std::thread &thread : threads)
      thread.join();
    if (chdir("/") != 0)
      _exit(1);
    raise(signal);
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(TemporaryFolder, AnInterruptRemovesWhatIsClaimed) {
  for (int signal : {SIGHUP, SIGINT, SIGTERM}) {
    TemporaryFolder folder;
    ASSERT_FALSE(folder.create("ffn-test"));
    EXPECT_EQ(dieBy(signal, folder.get()), 128 + signal);
    std::vector<std::string> left;
    std::error_code code;
    for (llvm::sys::fs::directory_iterator it(folder.get(), code), end;
         it != end && !code; it.increment(code))
      left.push_back(it->path());
    EXPECT_EQ(left, std::vector{folder.file("released")});
  }
}

TEST(TemporaryFolder, WhatIsIgnoredStaysIgnored) {
  pid_t child = fork();
  if (child == 0) {
    for (int number : {SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGUSR2})
      ::signal(number, SIG_IGN);
    installInterruptHandlers();
    for (int number : {SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGUSR2})
      raise(number);
    _exit(7);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
}
