//===- SafetensorsTest.cpp - The safetensors container --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/Safetensors.h"
#include "ffn-mlir/Support/Sha256.h"
#include "llvm/Support/Endian.h"
#include "gtest/gtest.h"

using namespace mlir::ffn;

namespace {
std::string frame(const std::string &header, const std::string &data) {
  char prefix[8];
  llvm::support::endian::write64le(prefix, header.size());
  return std::string(prefix, 8) + header + data;
}

llvm::Expected<std::unique_ptr<SafetensorsFile>>
parse(const std::string &text) {
  return SafetensorsFile::fromMemory(
      {reinterpret_cast<const uint8_t *>(text.data()), text.size()}, "x");
}

/// Empty where the file is accepted.
std::string errorOf(const std::string &text) {
  auto file = parse(text);
  return file ? "" : llvm::toString(file.takeError());
}

/// A file with these members of the header over `size` bytes.
std::string errorOf(const std::string &members, size_t size) {
  return errorOf(frame("{" + members + "}", std::string(size, '\1')));
}
} // namespace

TEST(Safetensors, WritesWhatItReads) {
  std::string text;
  auto sink = [&](llvm::ArrayRef<char> bytes) {
    text.append(bytes.begin(), bytes.end());
    return llvm::Error::success();
  };
  std::vector<SafetensorsSource> tensors;
  tensors.push_back(SafetensorsSource::ofVector("a/\"b\"\n", "F64", {2, 1},
                                                std::vector<double>{1.5, -2}));
  tensors.push_back(SafetensorsSource::ofVector("empty", "F32", {0, 7},
                                                std::vector<float>()));
  tensors.push_back(SafetensorsSource::ofVector("bits", "U8", {3},
                                                std::vector<uint8_t>{7, 8, 9}));
  ASSERT_FALSE(
      bool(writeSafetensors(tensors, {{"key", "v\xc3\xa4lue"}}, sink)));
  auto file = parse(text);
  ASSERT_TRUE(bool(file)) << llvm::toString(file.takeError());
  EXPECT_EQ((*file)->getMetadata().at("key"), "v\xc3\xa4lue");
  const SafetensorsEntry *entry = (*file)->find("a/\"b\"\n");
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->offset % 8, 0u);
  auto array = (*file)->readArray(*entry);
  ASSERT_TRUE(bool(array));
  EXPECT_EQ(reinterpret_cast<const double *>(array->data.data())[1], -2);
  EXPECT_EQ(array->shape.size(), 2u);
  EXPECT_EQ((*file)->find("empty")->size, 0u);
  EXPECT_FALSE((*file)->find("none"));
  // Every cut and every flipped byte of the header ends in an answer.
  for (size_t i = 0; i < text.size(); ++i)
    EXPECT_NE(errorOf(text.substr(0, i)), "");
  for (size_t i = 0; i + 3 < text.size(); ++i)
    for (unsigned bit : {0, 3, 7}) {
      std::string damaged = text;
      damaged[i] ^= static_cast<char>(1 << bit);
      (void)errorOf(damaged);
    }
}

TEST(Safetensors, WidensBFloat16) {
  std::string text =
      frame(R"({"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}})",
            std::string("\x80\x3f\x00\xc0", 4));
  auto file = parse(text);
  ASSERT_TRUE(bool(file));
  auto array = (*file)->readArray((*file)->getEntries()[0]);
  ASSERT_TRUE(bool(array));
  EXPECT_EQ(array->itemSize, 4u);
  EXPECT_EQ(reinterpret_cast<const float *>(array->data.data())[0], 1.0f);
  EXPECT_EQ(reinterpret_cast<const float *>(array->data.data())[1], -2.0f);
}

TEST(Safetensors, RefusesWhatDoesNotFit) {
  auto tensor = [](const char *name, const char *dtype, const char *shape,
                   const char *offsets) {
    return std::string("\"") + name + "\":{\"dtype\":\"" + dtype +
           "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
  };
  std::string good = tensor("a", "F32", "[1]", "[0,4]");
  EXPECT_EQ(errorOf(good, 4), "");
  EXPECT_EQ(errorOf(good + "," + tensor("b", "U8", "[2]", "[4,6]"), 6), "");
  // Tensors without bytes may share an offset.
  EXPECT_EQ(errorOf(good + "," + tensor("b", "U8", "[0]", "[4,4]"), 4), "");
  struct Case {
    std::string members;
    size_t size;
    const char *what;
  };
  const Case cases[] = {
      {good, 5, "tensors end at 4 of 5"},
      {good, 3, "tensors end at 4 of 3"},
      {good + "," + good, 4, "twice"},
      {tensor("w", "F32", "[1000000]", "[0,4]"), 4,
       "shape needs 4000000 bytes"},
      {tensor("w", "F32", "[4294967296,4294967296]", "[0,4]"), 4, "overflow"},
      {tensor("w", "F32", "[0,4294967296,4294967296]", "[0,0]"), 0, "overflow"},
      {good + "," + tensor("b", "U8", "[2]", "[3,5]"), 6, "overlaps"},
      {good + "," + tensor("b", "U8", "[2]", "[5,7]"), 7, "hole"},
      {tensor("w", "F99", "[1]", "[0,4]"), 4, "not known"},
      {tensor("w", "F32", "[-1]", "[0,4]"), 4, "description"},
      {tensor("w", "F32", "[1.0]", "[0,4]"), 4, "description"},
      {tensor("w", "F32", "[[1]]", "[0,4]"), 4, "description"},
      {tensor("w", "F32", "[1]", "[4,0]"), 4, "description"},
      {tensor("w", "F32", "[1]", "[0,4,8]"), 8, "description"},
      {tensor("w", "F32", "[18446744073709551615]", "[0,4]"), 4, "description"},
      {"\"a\":{\"dtype\":\"F32\",\"shape\":[1]}", 4, "description"},
      {"\"a\":{\"dtype\":\"F32\",\"x\":1}", 4, "description"},
      {"\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}", 0, "twice"},
      {"\"__metadata__\":{\"a\":1}", 0, "JSON"},
      {"\"__metadata__\":{\"a\":{}}", 0, "JSON"},
      {"\"a\\ud800\":1", 0, "JSON"},
      {"a", 0, "JSON"}};
  for (const Case &c : cases) {
    std::string error = errorOf(c.members, c.size);
    EXPECT_TRUE(llvm::StringRef(error).contains(c.what)) << error;
    EXPECT_TRUE(llvm::StringRef(error).ends_with("[FFN-D103]")) << error;
  }
  EXPECT_TRUE(llvm::StringRef(errorOf("")).contains("not a safetensors file"));
  std::string huge("\xff\xff\xff\xff\xff\xff\xff\x7f", 8);
  EXPECT_TRUE(llvm::StringRef(errorOf(huge + "{}")).contains("beyond"));
  EXPECT_TRUE(llvm::StringRef(errorOf(frame("{}x", ""))).contains("JSON"));
  EXPECT_TRUE(
      llvm::StringRef(errorOf(frame("{\"\xff\":1}", ""))).contains("UTF-8"));
  // Linear in the header: half a million braces are no problem.
  EXPECT_NE(errorOf(frame(std::string(500000, '{'), "")), "");
}

TEST(Sha256, KnownDigests) {
  EXPECT_EQ(Sha256::hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca"
                             "495991b7852b855");
  EXPECT_EQ(Sha256::hex("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9"
            "cb410ff61f20015ad");
  // The same bytes in pieces of any size, around the edges of a block.
  std::string text(200, 'x');
  for (size_t length : {55, 56, 63, 64, 65, 119, 120, 128, 200})
    for (size_t cut : {0, 1, 31, 55}) {
      Sha256 hash;
      hash.update(llvm::StringRef(text).take_front(cut));
      hash.update(llvm::StringRef(text).slice(cut, length));
      EXPECT_EQ(hash.finishHex(), Sha256::hex(text.substr(0, length)));
    }
}
