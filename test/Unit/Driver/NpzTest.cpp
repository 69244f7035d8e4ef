//===- NpzTest.cpp - NumPy archives ---------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/Npz.h"
#include "gtest/gtest.h"
#include <zlib.h>

using namespace mlir::ffn;

namespace {
void put(std::string &out, uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; ++i)
    out += static_cast<char>(i < 8 ? value >> (8 * i) : 0);
}

/// What a test changes in an archive of one array "a".
struct Form {
  uint32_t method = 0;
  int64_t sizeChange = 0;
  uint32_t crcChange = 0, flags = 0, offsetChange = 0, entries = 1;
  /// Of the header in front of the data alone.
  uint32_t localMethod = 0, localCrc = 0;
  char localName = 'a';
  /// Elements of the array.
  int64_t elements = 1000;
};

std::string deflated(const std::string &data) {
  std::string out(compressBound(data.size()), 0);
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef *>(const_cast<char *>(data.data()));
  stream.avail_in = data.size();
  stream.next_out = reinterpret_cast<Bytef *>(out.data());
  stream.avail_out = out.size();
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string archive(const Form &form) {
  NpyArray array;
  array.itemSize = 4;
  array.shape = {form.elements};
  array.data.assign(4 * form.elements, 0);
  std::string data = encodeNpy(array);
  std::string packed = form.method == 8 ? deflated(data) : data;
  uint32_t crc =
      crc32(0, reinterpret_cast<const Bytef *>(data.data()), data.size()) ^
      form.crcChange;
  std::string name = "a.npy", out;
  put(out, 0x04034b50, 4);
  put(out, 0, 2);
  put(out, form.flags, 2);
  put(out, form.method + form.localMethod, 2);
  put(out, 0, 4);
  put(out, crc + form.localCrc, 4);
  put(out, packed.size(), 4);
  put(out, data.size() + form.sizeChange, 4);
  put(out, name.size(), 2);
  put(out, 0, 2);
  out += form.localName + name.substr(1) + packed;
  size_t directory = out.size();
  for (uint32_t i = 0; i < form.entries; ++i) {
    put(out, 0x02014b50, 4);
    put(out, 0, 4);
    put(out, form.flags, 2);
    put(out, form.method, 2);
    put(out, 0, 4);
    put(out, crc, 4);
    put(out, packed.size(), 4);
    put(out, data.size() + form.sizeChange, 4);
    put(out, name.size(), 2);
    put(out, 0, 12);
    put(out, form.offsetChange, 4);
    out += name;
  }
  size_t size = out.size() - directory;
  put(out, 0x06054b50, 4);
  put(out, 0, 4);
  put(out, form.entries, 2);
  put(out, form.entries, 2);
  put(out, size, 4);
  put(out, directory, 4);
  put(out, 0, 2);
  return out;
}

llvm::Expected<std::map<std::string, NpyArray>> parse(llvm::StringRef text) {
  return parseNpz({text.bytes_begin(), text.size()}, "x.npz");
}

std::string errorOf(llvm::StringRef text) {
  auto arrays = parse(text);
  if (arrays)
    return "";
  return llvm::toString(arrays.takeError());
}
} // namespace

TEST(Npz, ReadsStoredAndDeflated) {
  for (uint32_t method : {0u, 8u}) {
    Form form;
    form.method = method;
    auto arrays = parse(archive(form));
    ASSERT_TRUE(static_cast<bool>(arrays))
        << llvm::toString(arrays.takeError());
    ASSERT_EQ(arrays->size(), 1u);
    EXPECT_EQ(arrays->at("a").data.size(), 4000u);
  }
}

TEST(Npz, RefusesDamage) {
  auto refuses = [](Form form, llvm::StringRef what) {
    std::string error = errorOf(archive(form));
    EXPECT_TRUE(llvm::StringRef(error).contains(what)) << error;
    EXPECT_TRUE(llvm::StringRef(error).contains("[FFN-D10")) << error;
  };
  Form form;
  form.method = 1;
  refuses(form, "method 1");
  form = {};
  form.crcChange = 1;
  refuses(form, "checksum");
  form = {};
  form.flags = 1;
  refuses(form, "encrypted");
  form = {};
  form.offsetChange = 5;
  refuses(form, "header");
  form = {};
  form.entries = 2;
  refuses(form, "twice");
  form = {};
  form.sizeChange = -1;
  refuses(form, "two sizes");
  form.method = 8;
  for (int64_t change : {-1, 1, 100000000}) {
    form.sizeChange = change;
    refuses(form, change > 1000 ? "as large" : "inflate");
  }
}

TEST(Npz, HeadersAndDirectoryAgree) {
  auto refuses = [](const Form &form) {
    std::string error = errorOf(archive(form));
    EXPECT_NE(error.find("directory says"), std::string::npos) << error;
  };
  Form form;
  form.localMethod = 8;
  refuses(form);
  form = {};
  form.localCrc = 1;
  refuses(form);
  form = {};
  form.localName = 'b';
  refuses(form);
}

TEST(Npz, RefusesBombs) {
  // Deflate makes a thousand bytes of one: legal for 60 MB, not for 80.
  Form form;
  form.method = 8;
  form.elements = 15'000'000;
  EXPECT_EQ(errorOf(archive(form)), "");
  form.elements = 20'000'000;
  EXPECT_NE(errorOf(archive(form)).find("200-fold"), std::string::npos);
  form.elements = 1000;
  form.method = 0;
  form.sizeChange = (int64_t(1) << 30) + 1;
  EXPECT_NE(errorOf(archive(form)).find("beyond 1 GiB"), std::string::npos);
  form = {};
  form.entries = 4097;
  EXPECT_NE(errorOf(archive(form)).find("4097 members"), std::string::npos);
}

TEST(Npz, EveryPrefixAndEveryFlippedByteEnds) {
  Form form;
  form.method = 8;
  std::string good = archive(form);
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_NE(errorOf(llvm::StringRef(good).take_front(size)), "") << size;
  for (size_t i = 0; i < good.size(); ++i)
    for (char mask : {1, -128, -1}) {
      std::string bad = good;
      bad[i] ^= mask;
      // Some bytes mean nothing; no other may crash.
      auto arrays = parse(bad);
      if (!arrays)
        llvm::consumeError(arrays.takeError());
    }
}
