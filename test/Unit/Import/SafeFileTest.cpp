//===- SafeFileTest.cpp ---------------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "TestModel.h"
#include "ffn-mlir/Support/Sha1.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/SHA1.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace llvm;
using namespace mlir::ffn;
using namespace mlir::ffn::test;
namespace fs = std::filesystem;

namespace {

std::string sha1(ArrayRef<uint8_t> bytes) {
  Sha1 hash;
  hash.update(bytes);
  return toHex(hash.finish(), /*LowerCase=*/true);
}

TEST(Sha1, KnownAnswersAndLLVM) {
  EXPECT_EQ(sha1({}), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT_EQ(sha1(arrayRefFromStringRef("abc")),
            "a9993e364706816aba3e25717850c26c9cd0d89d");
  Bytes bytes;
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(sha1(bytes), toHex(SHA1::hash(bytes), true)) << i;
    // The same in pieces.
    Sha1 pieces;
    ArrayRef<uint8_t> rest(bytes);
    for (size_t n = 1; !rest.empty(); n = n * 3 % 70 + 1) {
      pieces.update(rest.take_front(n));
      rest = rest.drop_front(std::min(n, rest.size()));
    }
    EXPECT_EQ(toHex(pieces.finish(), true), sha1(bytes)) << i;
    bytes.push_back(static_cast<uint8_t>(i * 7));
  }
}

TEST(Location, Textual) {
  for (StringRef good : {"w.bin", "a/b", "./w", "a//b", "..w", "w..", "a/..b",
                         "-", "~", "a b", "C"})
    EXPECT_TRUE(isLocationInsideFolder(good)) << good.str();
  for (StringRef bad :
       {StringRef(""), StringRef("/w"), StringRef("../w"), StringRef("a/../b"),
        StringRef(".."), StringRef("a/.."), StringRef("a\\b"), StringRef("C:w"),
        StringRef("c:/w"), StringRef("\\\\host\\w"), StringRef("//host/w"),
        StringRef("a\0b", 3)})
    EXPECT_FALSE(isLocationInsideFolder(bad)) << bad.str();
}

/// Code of opening `location` for a model in the folder, "" if it opens.
std::string opened(const std::string &model, StringRef location,
                   FilePolicy policy = {}) {
  std::string result;
  // Both ways of walking must agree.
  for (bool noOpenat2 : {false, true}) {
    policy.noOpenat2 = noOpenat2;
    CodedErrors errors;
    auto own = SafeFile::open(model, policy, errors);
    EXPECT_TRUE(own) << shown(errors);
    ExternalFiles files(model, own.get(), policy);
    auto file = files.get(location, "tensor", errors);
    EXPECT_NE(file == nullptr, !errors.hasErrors());
    if (noOpenat2) {
      EXPECT_EQ(codes(errors), result);
    }
    result = codes(errors);
    // The second answer is the first one.
    CodedErrors again;
    EXPECT_EQ(files.get(location, "tensor", again), file);
    EXPECT_EQ(codes(again), result);
  }
  return result;
}

struct Files : testing::Test {
  void SetUp() override {
    fs::create_directories(folder.path / "model" / "sub");
    fs::create_directories(folder.path / "out");
    model = folder.write("model/m.onnx", {1, 2, 3});
    folder.write("model/w.bin", Bytes(64, 7));
    folder.write("model/sub/w.bin", Bytes(64, 7));
    folder.write("out/secret.bin", Bytes(64, 9));
  }
  TestFolder folder;
  std::string model;
};

TEST_F(Files, Plain) {
  EXPECT_EQ(opened(model, "w.bin"), "");
  EXPECT_EQ(opened(model, "sub/w.bin"), "");
  EXPECT_EQ(opened(model, "./sub//w.bin"), "");
  EXPECT_EQ(opened(model, "../out/secret.bin"), "I101");
  EXPECT_EQ(opened(model, folder / "out/secret.bin"), "I101");
  EXPECT_EQ(opened(model, ""), "I101");
  EXPECT_EQ(opened(model, "none.bin"), "I105");
  EXPECT_EQ(opened(model, "none/w.bin"), "I105");
  EXPECT_EQ(opened(model, "w.bin/x"), "I105");
  EXPECT_EQ(opened(model, "sub"), "I105");
  EXPECT_EQ(opened(model, "."), "I105");
  EXPECT_EQ(opened(model, std::string(5000, 'a')), "I105");
}

TEST_F(Files, SymbolicLinks) {
  fs::create_symlink("../out/secret.bin", folder.path / "model/outside");
  fs::create_symlink("sub/w.bin", folder.path / "model/inside");
  fs::create_directory_symlink("../out", folder.path / "model/dir");
  fs::create_directory_symlink("sub", folder.path / "model/insidedir");
  fs::create_symlink("loop", folder.path / "model/loop");
  fs::create_symlink("nowhere", folder.path / "model/dangling");
  fs::create_symlink("/dev/zero", folder.path / "model/device");
  EXPECT_EQ(opened(model, "outside"), "I102");
  EXPECT_EQ(opened(model, "dir/secret.bin"), "I102");
  EXPECT_EQ(opened(model, "device"), "I102");
  EXPECT_EQ(opened(model, "inside"), "");
  EXPECT_EQ(opened(model, "insidedir/w.bin"), "");
  EXPECT_EQ(opened(model, "loop"), "I105");
  EXPECT_EQ(opened(model, "dangling"), "I105");
  FilePolicy none;
  none.noSymlinks = true;
  EXPECT_EQ(opened(model, "inside", none), "I102");
  EXPECT_EQ(opened(model, "insidedir/w.bin", none), "I102");
  EXPECT_EQ(opened(model, "w.bin", none), "");
  FilePolicy root;
  root.externalDataRoot = folder / "out";
  EXPECT_EQ(opened(model, "outside", root), "I102");
  root.allowSymlinks = true;
  EXPECT_EQ(opened(model, "outside", root), "");
  EXPECT_EQ(opened(model, "dir/secret.bin", root), "");
  EXPECT_EQ(opened(model, "device", root), "I102");
  // A prefix of the name is not the folder.
  fs::create_directories(folder.path / "outer");
  folder.write("outer/secret.bin", Bytes(1, 0));
  fs::create_symlink("../outer/secret.bin", folder.path / "model/outer");
  EXPECT_EQ(opened(model, "outer", root), "I102");
}

TEST_F(Files, HubCache) {
  // snapshots/m.onnx and snapshots/w.data are links to blobs/*.
  fs::create_directories(folder.path / "snapshots");
  fs::create_directories(folder.path / "blobs");
  folder.write("blobs/aa", {1});
  folder.write("blobs/bb", Bytes(64, 1));
  fs::create_symlink("../blobs/aa", folder.path / "snapshots/m.onnx");
  fs::create_symlink("../blobs/bb", folder.path / "snapshots/w.data");
  fs::create_symlink("../out/secret.bin", folder.path / "snapshots/evil");
  std::string linked = folder / "snapshots/m.onnx";
  EXPECT_EQ(opened(linked, "w.data"), "");
  EXPECT_EQ(opened(linked, "evil"), "I102");
}

TEST_F(Files, HardLinks) {
  fs::create_hard_link(folder.path / "out/secret.bin",
                       folder.path / "model/hard");
  EXPECT_EQ(opened(model, "hard"), "I103");
  FilePolicy policy;
  policy.allowHardlinks = true;
  EXPECT_EQ(opened(model, "hard", policy), "");
}

TEST_F(Files, PipesDoNotBlock) {
  ASSERT_EQ(mkfifo((folder / "model/pipe").c_str(), 0600), 0);
  EXPECT_EQ(opened(model, "pipe"), "I105");
  CodedErrors errors;
  EXPECT_FALSE(SafeFile::open(folder / "model/pipe", {}, errors));
  EXPECT_FALSE(SafeFile::open(folder / "model", {}, errors));
  EXPECT_FALSE(SafeFile::open(folder / "none", {}, errors));
  EXPECT_FALSE(SafeFile::open(StringRef("a\0b", 3), {}, errors));
  EXPECT_FALSE(SafeFile::open("", {}, errors));
  EXPECT_EQ(codes(errors), "I105 I105 I105 I105 I105");
}

TEST_F(Files, RelativeModelPath) {
  fs::path before = fs::current_path();
  fs::current_path(folder.path / "model");
  EXPECT_EQ(opened("m.onnx", "w.bin"), "");
  EXPECT_EQ(opened("./m.onnx", "sub/w.bin"), "");
  EXPECT_EQ(opened("../model/m.onnx", "w.bin"), "");
  fs::current_path(before);
}

TEST_F(Files, ReadAndRange) {
  for (bool noMmap : {false, true}) {
    FilePolicy policy;
    policy.noMmap = noMmap;
    Bytes bytes(200000);
    for (size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<uint8_t>(i * 31 >> 3);
    std::string path = folder.write("big", bytes);
    CodedErrors errors;
    auto file = SafeFile::open(path, policy, errors);
    ASSERT_TRUE(file);
    EXPECT_EQ(file->isMapped(), !noMmap);
    Bytes buffer(1000);
    ASSERT_TRUE(succeeded(file->read(150000, buffer, errors)));
    EXPECT_EQ(buffer, Bytes(bytes.begin() + 150000, bytes.begin() + 151000));
    std::vector<uint8_t> storage;
    auto view = file->viewOrRead(65530, 100, storage, errors);
    ASSERT_TRUE(succeeded(view));
    EXPECT_EQ(Bytes(view->begin(), view->end()),
              Bytes(bytes.begin() + 65530, bytes.begin() + 65630));
    ASSERT_TRUE(succeeded(file->ensure(131000, 200, errors)));
    EXPECT_EQ(file->getBase()[131100], bytes[131100]);
    file->drop(0, bytes.size());
    EXPECT_EQ(codes(errors), "");
    EXPECT_TRUE(failed(file->read(199999, {buffer.data(), 2}, errors)));
    EXPECT_TRUE(failed(file->read(UINT64_MAX, {buffer.data(), 2}, errors)));
    EXPECT_TRUE(failed(file->ensure(200000, 1, errors)));
    EXPECT_TRUE(failed(file->viewOrRead(1, UINT64_MAX, storage, errors)));
    EXPECT_EQ(file->view(200001, 0), std::nullopt);
    EXPECT_EQ(codes(errors), "I106 I106 I106 I106");
  }
}

TEST_F(Files, ChangesAreSeen) {
  std::string path = folder.write("big", Bytes(100000, 5));
  CodedErrors errors;
  auto mapped = SafeFile::open(path, {}, errors);
  FilePolicy policy;
  policy.noMmap = true;
  auto read = SafeFile::open(path, policy, errors);
  ASSERT_TRUE(mapped && read);
  EXPECT_TRUE(succeeded(mapped->checkUnchanged(errors)));
  EXPECT_TRUE(succeeded(read->checkUnchanged(errors)));
  ASSERT_EQ(truncate(path.c_str(), 4096), 0);
  // Lost pages read as zero in place of a fault.
  auto view = mapped->view(0, 100000);
  ASSERT_TRUE(view);
  EXPECT_EQ((*view)[10], 5);
  EXPECT_EQ((*view)[99999], 0);
  EXPECT_EQ((*view)[50000], 0);
  Bytes buffer(10);
  EXPECT_TRUE(failed(read->read(50000, buffer, errors)));
  EXPECT_TRUE(failed(mapped->checkUnchanged(errors)));
  EXPECT_TRUE(failed(read->checkUnchanged(errors)));
  EXPECT_EQ(codes(errors), "I104 I104 I104");
}

TEST_F(Files, TimeIsChecked) {
  CodedErrors errors;
  auto file = SafeFile::open(folder / "model/w.bin", {}, errors);
  fs::last_write_time(folder.path / "model/w.bin",
                      fs::last_write_time(folder.path / "model/w.bin") -
                          std::chrono::hours(1));
  EXPECT_TRUE(failed(file->checkUnchanged(errors)));
  EXPECT_EQ(codes(errors), "I104");
}

TEST_F(Files, Checksums) {
  std::string good = sha1(Bytes(64, 7)), bad = sha1({});
  auto open = [&](CodedErrors &errors) {
    return SafeFile::open(folder / "model/w.bin", {}, errors);
  };
  CodedErrors errors;
  auto file = open(errors);
  EXPECT_TRUE(succeeded(file->requireSha1(good, 1000, "t", errors)));
  EXPECT_TRUE(
      succeeded(file->requireSha1(StringRef(good).upper(), 1000, "t", errors)));
  EXPECT_TRUE(failed(file->requireSha1(bad, 1000, "t", errors)));
  EXPECT_TRUE(failed(file->requireSha1("sha1:x", 1000, "t", errors)));
  EXPECT_TRUE(failed(open(errors)->requireSha1(bad, 1000, "t", errors)));
  EXPECT_EQ(codes(errors), "I107 I107 I107");
  // Too large for the import: the first read finds out.
  CodedErrors later;
  file = open(later);
  EXPECT_TRUE(succeeded(file->requireSha1(bad, 10, "t", later)));
  Bytes buffer(4);
  EXPECT_FALSE(file->view(0, 4));
  EXPECT_TRUE(failed(file->read(0, buffer, later)));
  EXPECT_TRUE(failed(file->read(0, buffer, later)));
  EXPECT_EQ(codes(later), "I107 I107");
  file = open(later);
  EXPECT_TRUE(succeeded(file->requireSha1(good, 10, "t", later)));
  EXPECT_FALSE(file->view(0, 4));
  EXPECT_TRUE(succeeded(file->verifySha1(later)));
  EXPECT_TRUE(file->view(0, 4));
}

TEST_F(Files, ManyFilesBeyondTheGuards) {
  // More mappings than guards: the rest is read instead of mapped.
  CodedErrors errors;
  std::vector<std::shared_ptr<SafeFile>> files;
  for (int i = 0; i < 300; ++i)
    files.push_back(SafeFile::open(folder / "model/w.bin", {}, errors));
  Bytes buffer(64);
  EXPECT_TRUE(succeeded(files.back()->read(0, buffer, errors)));
  EXPECT_EQ(buffer, Bytes(64, 7));
  EXPECT_FALSE(files.back()->isMapped());
  files.clear();
  EXPECT_TRUE(SafeFile::open(folder / "model/w.bin", {}, errors)->isMapped());
}

} // namespace
