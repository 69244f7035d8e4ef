//===- WireWriterTest.cpp -------------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "TestModel.h"
#include "llvm/ADT/StringExtras.h"
#include <sys/stat.h>

using namespace llvm;
using namespace mlir::ffn;
using namespace mlir::ffn::test;
namespace fs = std::filesystem;

namespace {

TEST(WireWriter, Bytes) {
  EXPECT_EQ(build([](WireWriter &w) {
              w.writeInt(1, 150);
              w.writeString(2, "hi");
              w.writeInt(3, -1);
              w.writeFloat(4, 1.0f);
              w.writePackedInts(5, {3, 270});
              w.writePackedInts(6, {});
              w.writeStringIfSet(7, "");
              w.writeEntry(16, "k", "");
            }),
            Bytes({0x08, 0x96, 0x01, 0x12, 0x02, 'h',  'i',  0x18, 0xff,
                   0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
                   0x25, 0x00, 0x00, 0x80, 0x3f, 0x2a, 0x03, 0x03, 0x8e,
                   0x02, 0x82, 0x01, 0x05, 0x0a, 0x01, 'k',  0x12, 0x00}));
}

TEST(WireWriter, LengthsOfNestedMessagesAndPayloads) {
  // Inner lengths that need one, two and three bytes, with payloads inside.
  for (uint64_t size : {0u, 1u, 100u, 127u, 128u, 16383u, 16384u, 100000u}) {
    WireWriter w;
    {
      auto outer = w.message(1);
      {
        auto inner = w.message(2);
        w.writePayload(9, size, makeBytesProducer(Bytes(size, 0xab)));
        w.writeString(3, "after");
      }
      w.writeString(4, "tail");
    }
    std::string text;
    raw_string_ostream os(text);
    CodedErrors errors;
    ASSERT_TRUE(succeeded(w.writeTo(os, errors)));
    EXPECT_EQ(text.size(), w.getSize());
    auto bytesOf = [](StringRef s) { return s.bytes_begin(); };
    FieldCursor outer(bytesOf(text), bytesOf(text) + text.size());
    ASSERT_TRUE(outer.next());
    EXPECT_EQ(outer.number, 1u);
    FieldCursor inner(outer.bytes.begin(), outer.bytes.end());
    ASSERT_TRUE(inner.next());
    FieldCursor fields(inner.bytes.begin(), inner.bytes.end());
    ASSERT_TRUE(fields.next());
    EXPECT_EQ(fields.bytes.size(), size);
    EXPECT_TRUE(all_of(fields.bytes, [](uint8_t b) { return b == 0xab; }));
    ASSERT_TRUE(fields.next());
    EXPECT_EQ(toStringRef(fields.bytes), "after");
    EXPECT_FALSE(fields.next());
    ASSERT_TRUE(inner.next());
    EXPECT_EQ(toStringRef(inner.bytes), "tail");
    EXPECT_FALSE(outer.next());
    EXPECT_FALSE(outer.failed() || inner.failed() || fields.failed());
    EXPECT_LT(w.getBufferedSize(), 100u);
  }
}

TEST(WireWriter, ProducersAreHeldToTheirWord) {
  for (int makes : {0, 3, 5}) {
    WireWriter w;
    w.writePayload(9, 4, makeBytesProducer(Bytes(makes)));
    std::string text;
    raw_string_ostream os(text);
    CodedErrors errors;
    EXPECT_TRUE(failed(w.writeTo(os, errors)));
    EXPECT_EQ(codes(errors), "O102");
  }
}

size_t entries(const fs::path &p) {
  return std::distance(fs::directory_iterator(p), fs::directory_iterator());
}

TEST(OutputFile, AppearsOnlyWhenComplete) {
  TestFolder folder;
  CodedErrors errors;
  std::string path = folder.write("out", {1});
  {
    OutputFile file;
    ASSERT_TRUE(succeeded(file.create(path, errors)));
    ASSERT_TRUE(succeeded(file.write(Bytes(3 << 20, 2))));
    EXPECT_EQ(fs::file_size(path), 1u);
    EXPECT_EQ(entries(folder.path), 2u);
  }
  EXPECT_EQ(fs::file_size(path), 1u);
  EXPECT_EQ(entries(folder.path), 1u);
  OutputFile file;
  ASSERT_TRUE(succeeded(file.create(path, errors)));
  ASSERT_TRUE(succeeded(file.write(Bytes(10, 2))));
  ASSERT_TRUE(succeeded(file.alignTo(4096)));
  EXPECT_EQ(file.tell(), 4096u);
  ASSERT_TRUE(succeeded(file.write(Bytes(2 << 20, 3))));
  ASSERT_TRUE(succeeded(file.commit()));
  EXPECT_EQ(fs::file_size(path), 4096u + (2 << 20));
  EXPECT_EQ(entries(folder.path), 1u);
  EXPECT_FALSE(errors.hasErrors());
}

TEST(OutputFile, Errors) {
  TestFolder folder;
  CodedErrors errors;
  OutputFile file;
  EXPECT_TRUE(failed(file.create(folder / "none/out", errors)));
  EXPECT_TRUE(failed(file.create(folder.path.string(), errors)));
  EXPECT_TRUE(failed(file.create("", errors)));
  EXPECT_EQ(codes(errors), "O101 O101 O101");
  EXPECT_EQ(entries(folder.path), 0u);
  // A full disk.
  if (fs::exists("/dev/full")) {
    CodedErrors full;
    ASSERT_TRUE(succeeded(file.create("/dev/full", full)));
    (void)file.write(Bytes(100, 1));
    EXPECT_TRUE(failed(file.commit()));
    EXPECT_EQ(codes(full), "O101");
    EXPECT_TRUE(failed(file.write(Bytes(1, 1))));
  }
}

TEST(OutputFile, ModeFollowsTheMask) {
  TestFolder folder;
  CodedErrors errors;
  mode_t before = umask(027);
  OutputFile file;
  ASSERT_TRUE(succeeded(file.create(folder / "out", errors)));
  ASSERT_TRUE(succeeded(file.commit()));
  umask(before);
  struct stat st;
  ASSERT_EQ(stat((folder / "out").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0640u);
}

TEST(ExternalData, AlignedRanges) {
  TestFolder folder;
  CodedErrors errors;
  std::string source = folder.write("source", Bytes(3 << 20, 7));
  auto input = SafeFile::open(source, {}, errors);
  ExternalDataWriter writer;
  ASSERT_TRUE(succeeded(writer.create(folder / "data", errors)));
  auto a = writer.append(5, makeBytesProducer(Bytes(5, 1)), errors);
  auto b = writer.append(3 << 20, makeFileProducer(input, 0, 3 << 20, errors),
                         errors, 4096);
  ASSERT_TRUE(succeeded(a) && succeeded(b));
  EXPECT_EQ(a->offset, 0u);
  EXPECT_EQ(b->offset, 4096u);
  ASSERT_TRUE(succeeded(writer.commit()));
  auto output = SafeFile::open(folder / "data", {}, errors);
  EXPECT_EQ(output->getSize(), 4096u + (3 << 20));
  auto view = *output->view(0, output->getSize());
  EXPECT_EQ(view[4], 1);
  EXPECT_EQ(view[5], 0);
  EXPECT_EQ(view[4095], 0);
  EXPECT_EQ(view[4096], 7);
  EXPECT_EQ(view.back(), 7);
}

} // namespace
