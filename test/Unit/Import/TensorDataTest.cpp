//===- TensorDataTest.cpp -------------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "TestModel.h"
#include <cstring>

using namespace llvm;
using namespace mlir::ffn;
using namespace mlir::ffn::test;
using DT = proto::DataType;

namespace {

constexpr uint32_t kFloat = 4, kInt32 = 5, kString = 6, kInt64 = 7, kRaw = 9,
                   kDouble = 10, kUInt64 = 11;

/// Resolves one tensor of a model; checks that all entry points agree.
struct Resolved {
  Resolved(DT type, ArrayRef<int64_t> dims, const Fill &payload,
           const std::string &path = "model.onnx", ReadOptions options = {}) {
    bytes = graphModel([&](WireWriter &w) {
      message(w, 5, [&](WireWriter &w) {
        tensorHead(w, "t", static_cast<int32_t>(type), dims);
        payload(w);
      });
    });
    CodedErrors errors;
    file = ModelFile::parse(bytes, path, options, errors);
    EXPECT_TRUE(file) << shown(errors);
    if (!file)
      return;
    const proto::TensorProto &t = file->getModel().graph->initializer[0];
    ok = succeeded(resolveTensor(*file, t, "t", data, errors));
    code = codes(errors);
    text = shown(errors);
    CodedErrors second;
    EXPECT_EQ(succeeded(checkTensor(*file, t, "t", second)), ok);
    EXPECT_EQ(codes(second), code);
    if (ok && type != DT::String) {
      CodedErrors third;
      EXPECT_TRUE(succeeded(readTensor(*file, t, "t", packed, third)));
      EXPECT_EQ(packed.size(), data.byteSize);
    }
  }
  Bytes bytes;
  std::unique_ptr<ModelFile> file;
  TensorData data;
  std::vector<uint8_t> packed;
  std::string code, text;
  bool ok = false;
};

Fill raw(const Bytes &b) {
  return [=](WireWriter &w) { w.writeBytes(kRaw, b); };
}
Fill ints(uint32_t field, std::vector<int64_t> values, bool packed = true) {
  return [=](WireWriter &w) {
    if (packed)
      w.writePackedInts(field, values);
    else
      w.writeRepeatedInts(field, values);
  };
}

TEST(TensorData, RawIsASpan) {
  Resolved r(DT::Float, {2}, raw({1, 2, 3, 4, 5, 6, 7, 8}));
  ASSERT_TRUE(r.ok) << r.text;
  EXPECT_EQ(r.data.kind, TensorData::Kind::Span);
  EXPECT_EQ(r.data.location, "");
  EXPECT_EQ(r.bytes[r.data.offset], 1);
  EXPECT_EQ(r.packed, Bytes({1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST(TensorData, Sizes) {
  EXPECT_EQ(Resolved(DT::Float, {4, 4}, raw(Bytes(63))).code, "I203");
  EXPECT_EQ(Resolved(DT::Float, {4, 4}, raw(Bytes(68))).code, "I203");
  EXPECT_EQ(Resolved(DT::Float, {4, 4}, raw(Bytes(64))).code, "");
  EXPECT_EQ(Resolved(DT::Float, {}, raw(Bytes(4))).code, "");
  EXPECT_EQ(Resolved(DT::Float, {0, 3}, raw({})).code, "");
  EXPECT_EQ(Resolved(DT::Float, {0, 3}, [](WireWriter &) {}).code, "");
  EXPECT_EQ(Resolved(DT::Float, {0, 3}, raw(Bytes(4))).code, "I203");
  EXPECT_EQ(Resolved(DT::Float, {3}, [](WireWriter &) {}).code, "I203");
  EXPECT_EQ(Resolved(DT::Float, {-1}, raw(Bytes(4))).code, "I202");
  EXPECT_EQ(Resolved(DT::Float, {INT64_MIN}, raw(Bytes(4))).code, "I202");
  int64_t big = int64_t(1) << 32;
  EXPECT_EQ(Resolved(DT::Float, {big, big, big}, raw({})).code, "I201");
  EXPECT_EQ(Resolved(DT::Float, {0, big, big}, raw({})).code, "I201");
  EXPECT_EQ(Resolved(DT::Float, {big, big}, raw({})).code, "I201");
  EXPECT_EQ(Resolved(DT::Float, {int64_t(1) << 62}, raw({})).code, "I201");
  EXPECT_EQ(Resolved(DT::Float, {int64_t(1) << 38}, raw({})).code, "I203");
  EXPECT_EQ(Resolved(DT::Float, {(int64_t(1) << 38) + 1}, raw({})).code,
            "I201");
  EXPECT_EQ(Resolved(DT::Float, std::vector<int64_t>(33, 1), raw({})).code,
            "I202");
  // Huge rank does not make a huge message.
  EXPECT_LT(Resolved(DT::Float, std::vector<int64_t>(30, 1 << 30), raw({}))
                .text.size(),
            200u);
}

TEST(TensorData, Types) {
  for (int bad : {0, -1, 29, 99, INT32_MAX, INT32_MIN})
    EXPECT_EQ(Resolved(static_cast<DT>(bad), {1}, raw({0})).code, "I207");
  EXPECT_EQ(Resolved(DT::Complex128, {1}, raw(Bytes(16))).code, "");
  EXPECT_EQ(Resolved(DT::Float8E8M0, {3}, raw(Bytes(3))).code, "");
}

TEST(TensorData, OneFieldOnly) {
  EXPECT_EQ(Resolved(DT::Float, {1},
                     [](WireWriter &w) {
                       w.writeBytes(kRaw, Bytes(4));
                       w.writePackedFloats(kFloat, {1.0f});
                     })
                .code,
            "I204");
  EXPECT_EQ(Resolved(DT::Float, {1},
                     [](WireWriter &w) {
                       w.writeBytes(kRaw, Bytes(4));
                       w.writeBytes(kRaw, Bytes(4));
                     })
                .code,
            "I204");
  // An empty list beside a payload is no payload.
  EXPECT_EQ(Resolved(DT::Float, {1},
                     [](WireWriter &w) {
                       w.writeBytes(kFloat, {});
                       w.writeBytes(kRaw, Bytes(4));
                     })
                .code,
            "");
  EXPECT_EQ(Resolved(DT::Float, {1}, ints(kInt64, {1})).code, "I204");
  EXPECT_EQ(Resolved(DT::Int64, {1}, ints(kInt32, {1})).code, "I204");
  EXPECT_EQ(Resolved(DT::UInt8, {1}, ints(kUInt64, {1})).code, "I204");
  EXPECT_EQ(Resolved(DT::String, {1}, raw({1})).code, "I204");
  // A segment.
  EXPECT_EQ(Resolved(DT::Float, {1},
                     [](WireWriter &w) {
                       w.writeBytes(kRaw, Bytes(4));
                       message(w, 3, [](WireWriter &) {});
                     })
                .code,
            "I204");
  EXPECT_EQ(Resolved(DT::Float, {1},
                     [](WireWriter &w) {
                       w.writeBytes(kRaw, Bytes(4));
                       w.writeInt(14, 2);
                     })
                .code,
            "I204");
}

TEST(TensorData, Floats) {
  float values[] = {1.0f, -2.5f, 1e-45f};
  Bytes expected(12);
  std::memcpy(expected.data(), values, 12);
  Resolved one(DT::Float, {3},
               [&](WireWriter &w) { w.writePackedFloats(kFloat, values); });
  EXPECT_EQ(one.data.kind, TensorData::Kind::Span);
  EXPECT_EQ(one.packed, expected);
  Resolved apart(DT::Float, {3},
                 [&](WireWriter &w) { w.writeRepeatedFloats(kFloat, values); });
  EXPECT_EQ(apart.data.kind, TensorData::Kind::Bytes);
  EXPECT_EQ(apart.packed, expected);
  Resolved mixed(DT::Float, {3}, [&](WireWriter &w) {
    w.writePackedFloats(kFloat, ArrayRef(values).take_front(2));
    w.writeFloat(kFloat, values[2]);
  });
  EXPECT_EQ(mixed.packed, expected);
  EXPECT_EQ(
      Resolved(DT::Float, {4},
               [&](WireWriter &w) { w.writePackedFloats(kFloat, values); })
          .code,
      "I203");
  EXPECT_EQ(Resolved(DT::Float, {1},
                     [&](WireWriter &w) { w.writeBytes(kFloat, Bytes(5)); })
                .code,
            "I203");
  // Complex: two floats an element.
  Resolved complex(DT::Complex64, {2}, [](WireWriter &w) {
    w.writePackedFloats(kFloat, {1, 2, 3, 4});
  });
  EXPECT_EQ(complex.data.numElements, 2u);
  EXPECT_EQ(complex.data.byteSize, 16u);
  EXPECT_EQ(Resolved(DT::Complex64, {2},
                     [](WireWriter &w) { w.writePackedFloats(kFloat, {1, 2}); })
                .code,
            "I203");
  double d = 0.1;
  Bytes expectedDouble(8);
  std::memcpy(expectedDouble.data(), &d, 8);
  EXPECT_EQ(Resolved(DT::Double, {1},
                     [&](WireWriter &w) { w.writeDouble(kDouble, d); })
                .packed,
            expectedDouble);
}

TEST(TensorData, Integers) {
  EXPECT_EQ(Resolved(DT::Int8, {3}, ints(kInt32, {-128, 127, -1})).packed,
            Bytes({0x80, 0x7f, 0xff}));
  EXPECT_EQ(Resolved(DT::Int16, {2}, ints(kInt32, {-2, 258}, false)).packed,
            Bytes({0xfe, 0xff, 2, 1}));
  EXPECT_EQ(Resolved(DT::Int32, {1}, ints(kInt32, {INT32_MIN})).packed,
            Bytes({0, 0, 0, 0x80}));
  EXPECT_EQ(Resolved(DT::Int64, {1}, ints(kInt64, {-2})).packed,
            Bytes({0xfe, 255, 255, 255, 255, 255, 255, 255}));
  EXPECT_EQ(Resolved(DT::UInt32, {1}, ints(kUInt64, {0xffffffff})).packed,
            Bytes({255, 255, 255, 255}));
  EXPECT_EQ(Resolved(DT::UInt64, {1}, ints(kUInt64, {-1})).packed,
            Bytes(8, 255));
  EXPECT_EQ(Resolved(DT::Float16, {2}, ints(kInt32, {0x3c00, 0xffff})).packed,
            Bytes({0, 0x3c, 255, 255}));
  EXPECT_EQ(Resolved(DT::BFloat16, {1}, ints(kInt32, {0x3f80})).packed,
            Bytes({0x80, 0x3f}));
  EXPECT_EQ(Resolved(DT::Float8E4M3FN, {2}, ints(kInt32, {0, 255})).packed,
            Bytes({0, 255}));
  EXPECT_EQ(Resolved(DT::Bool, {2}, ints(kInt32, {1, 0})).packed,
            Bytes({1, 0}));
  EXPECT_EQ(Resolved(DT::Int8, {2}, ints(kInt32, {1})).code, "I203");
}

TEST(TensorData, Ranges) {
  auto bad = [](DT type, int64_t value, uint32_t field = kInt32) {
    return Resolved(type, {1}, ints(field, {value})).code;
  };
  EXPECT_EQ(bad(DT::UInt16, 70000), "I205");
  EXPECT_EQ(bad(DT::UInt16, -1), "I205");
  EXPECT_EQ(bad(DT::Int16, 32768), "I205");
  EXPECT_EQ(bad(DT::Int16, -32769), "I205");
  EXPECT_EQ(bad(DT::Int8, 128), "I205");
  EXPECT_EQ(bad(DT::UInt8, 256), "I205");
  EXPECT_EQ(bad(DT::Bool, 2), "I205");
  EXPECT_EQ(bad(DT::Float16, 65536), "I205");
  EXPECT_EQ(bad(DT::Float8E5M2, -1), "I205");
  EXPECT_EQ(bad(DT::Int32, int64_t(1) << 31), "I205");
  EXPECT_EQ(bad(DT::Int32, INT64_MIN), "I205");
  EXPECT_EQ(bad(DT::UInt32, int64_t(1) << 32, kUInt64), "I205");
  EXPECT_EQ(bad(DT::UInt32, -1, kUInt64), "I205");
  EXPECT_EQ(bad(DT::Float6E2M3, 64), "I205");
  EXPECT_EQ(Resolved(DT::Bool, {2}, raw({1, 2})).code, "I205");
  EXPECT_NE(Resolved(DT::UInt16, {1}, ints(kInt32, {70000}))
                .text.find("value 70000 at index 0 is not a uint16"),
            std::string::npos);
}

TEST(TensorData, SubByte) {
  EXPECT_EQ(Resolved(DT::UInt4, {9}, raw(Bytes(4))).code, "I206");
  EXPECT_EQ(Resolved(DT::UInt4, {9}, raw(Bytes(9))).code, "I206");
  EXPECT_EQ(Resolved(DT::UInt4, {9}, raw(Bytes(5))).code, "");
  EXPECT_EQ(Resolved(DT::Int2, {9}, raw(Bytes(3))).code, "");
  EXPECT_EQ(Resolved(DT::Int2, {9}, raw(Bytes(2))).code, "I206");
  EXPECT_EQ(Resolved(DT::Float6E3M2, {5}, raw(Bytes(4))).code, "");
  // Typed entries hold packed bytes; spare bits become zero.
  EXPECT_EQ(Resolved(DT::UInt4, {3}, ints(kInt32, {0x21, 0xf3})).packed,
            Bytes({0x21, 0x03}));
  EXPECT_EQ(Resolved(DT::Int4, {3}, ints(kInt32, {1, 2, 3})).code, "I206");
  EXPECT_EQ(Resolved(DT::Float4E2M1, {2}, ints(kInt32, {0x7a})).packed,
            Bytes({0x7a}));
  EXPECT_EQ(Resolved(DT::UInt2, {5}, ints(kInt32, {0xe4, 0xff})).packed,
            Bytes({0xe4, 0x03}));
  EXPECT_EQ(Resolved(DT::UInt4, {1}, ints(kInt32, {256})).code, "I205");
  // Six bits: one element an entry, packed little end first.
  EXPECT_EQ(
      Resolved(DT::Float6E2M3, {5}, ints(kInt32, {1, 2, 3, 63, 32})).packed,
      Bytes({1 | (2 & 3) << 6, 2 >> 2 | (3 & 15) << 4, 3 >> 4 | 63 << 2, 32}));
}

TEST(TensorData, Strings) {
  auto strings = [](WireWriter &w) {
    w.writeString(kString, "a");
    w.writeString(kString, "");
    w.writeString(kString, "c\xff");
  };
  Resolved r(DT::String, {3}, strings);
  ASSERT_TRUE(r.ok) << r.text;
  EXPECT_EQ(r.data.strings, std::vector<StringRef>({"a", "", "c\xff"}));
  EXPECT_EQ(Resolved(DT::String, {2}, strings).code, "I203");
  CodedErrors errors;
  EXPECT_TRUE(
      failed(readTensor(*r.file, r.file->getModel().graph->initializer[0], "t",
                        r.packed, errors)));
  EXPECT_EQ(codes(errors), "I207");
}

TEST(TensorData, MalformedTypedPayload) {
  // A list that ends inside a number.
  EXPECT_EQ(
      Resolved(DT::Int64, {1},
               [](WireWriter &w) { w.writeBytes(kInt64, Bytes{1, 0x80}); })
          .code,
      "I001");
  EXPECT_EQ(Resolved(DT::Int64, {1},
                     [](WireWriter &w) {
                       w.writeBytes(kInt64, Bytes{255, 255, 255, 255, 255, 255,
                                                  255, 255, 255, 255, 1});
                     })
                .code,
            "I001");
}

struct External : testing::Test {
  Resolved resolve(std::vector<std::pair<std::string, std::string>> entries,
                   ReadOptions options = {}) {
    return Resolved(
        DT::Float, {4, 4},
        [&](WireWriter &w) {
          for (auto &[key, value] : entries)
            w.writeEntry(13, key, value);
          w.writeInt(14, 1);
        },
        folder / "m.onnx", options);
  }
  std::string code(std::vector<std::pair<std::string, std::string>> entries) {
    return resolve(std::move(entries)).code;
  }
  void SetUp() override {
    Bytes bytes(100);
    for (int i = 0; i < 100; ++i)
      bytes[i] = static_cast<uint8_t>(i);
    folder.write("w.bin", bytes);
  }
  TestFolder folder;
};

TEST_F(External, Span) {
  for (bool noMmap : {false, true}) {
    ReadOptions options;
    options.files.noMmap = noMmap;
    Resolved r = resolve({{"location", "w.bin"}, {"offset", "36"}}, options);
    ASSERT_TRUE(r.ok) << r.text;
    EXPECT_EQ(r.data.kind, TensorData::Kind::Span);
    EXPECT_EQ(r.data.location, "w.bin");
    EXPECT_EQ(r.data.offset, 36u);
    EXPECT_EQ(r.packed[0], 36);
    EXPECT_EQ(r.packed[63], 99);
  }
}

TEST_F(External, Ranges) {
  using P = std::pair<std::string, std::string>;
  P file{"location", "w.bin"};
  EXPECT_EQ(code({file}), "");
  EXPECT_EQ(code({file, {"offset", "36"}, {"length", "64"}}), "");
  EXPECT_EQ(code({file, {"offset", "37"}}), "I106");
  EXPECT_EQ(code({file, {"offset", "101"}}), "I106");
  EXPECT_EQ(code({file, {"length", "60"}}), "I106");
  EXPECT_EQ(code({file, {"length", "-1"}}), "I106");
  EXPECT_EQ(code({file, {"offset", "-1"}}), "I106");
  for (std::string bad : {"", " 1", "1 ", "0x10", "+1", "1e1", "1.0", "1\n",
                          "18446744073709551616", "\xd9\xa1"})
    EXPECT_EQ(code({file, {"offset", bad}}), "I106") << bad;
  EXPECT_EQ(code({file, {"offset", "18446744073709551615"}}), "I106");
  EXPECT_EQ(code({file, {"offset", "18446744073709551552"}}), "I106");
}

TEST_F(External, Keys) {
  using P = std::pair<std::string, std::string>;
  P file{"location", "w.bin"};
  EXPECT_EQ(code({file, {"location", "../secret.bin"}}), "I107");
  EXPECT_EQ(code({file, {"offset", "0"}, {"offset", "0"}}), "I107");
  EXPECT_EQ(code({file, {"__class__", "x"}}), "I107W");
  EXPECT_EQ(code({file, {"basepath", "/"}}), "I107W");
  EXPECT_EQ(code({}), "I101");
  EXPECT_EQ(code({{"location", ""}}), "I101");
  EXPECT_EQ(code({{"location", "/etc/hostname"}}), "I101");
  EXPECT_EQ(code({{"location", "*/_ORT_MEM_ADDR_/*"}}), "I105");
  EXPECT_EQ(code({file, {"checksum", "nonsense"}}), "I107");
  EXPECT_EQ(code({file, {"checksum", std::string(40, '0')}}), "I107");
}

TEST_F(External, NotBesideAPayload) {
  auto both = [&](uint32_t location) {
    return Resolved(
               DT::Float, {1},
               [&](WireWriter &w) {
                 w.writeEntry(13, "location", "w.bin");
                 w.writeBytes(kRaw, Bytes(4));
                 w.writeInt(14, location);
               },
               folder / "m.onnx")
        .code;
  };
  EXPECT_EQ(both(1), "I204");
  EXPECT_EQ(both(0), "I204W");
}

std::string sparse(ArrayRef<int64_t> dims, const std::vector<int64_t> &indices,
                   ArrayRef<int64_t> indexDims, int64_t count,
                   std::vector<uint8_t> *dense = nullptr) {
  Bytes bytes = graphModel([&](WireWriter &w) {
    message(w, 15, [&](WireWriter &w) {
      message(w, 1, [&](WireWriter &w) {
        tensorHead(w, "S", 2, {count});
        Bytes values(count);
        for (int64_t i = 0; i < count; ++i)
          values[i] = static_cast<uint8_t>(i + 1);
        w.writeBytes(kRaw, values);
      });
      message(w, 2, [&](WireWriter &w) {
        tensorHead(w, "", 7, indexDims);
        w.writePackedInts(kInt64, indices);
      });
      w.writeRepeatedInts(3, dims);
    });
  });
  CodedErrors errors;
  auto file = ModelFile::parse(bytes, "m", {}, errors);
  EXPECT_TRUE(file);
  const proto::SparseTensorProto &s =
      file->getModel().graph->sparseInitializer[0];
  std::vector<uint8_t> out;
  bool ok = succeeded(densifySparse(*file, s, "s", out, errors));
  CodedErrors second;
  EXPECT_EQ(succeeded(checkSparse(*file, s, "s", second)), ok);
  if (dense)
    *dense = out;
  return codes(errors);
}

TEST(Sparse, All) {
  std::vector<uint8_t> dense;
  EXPECT_EQ(sparse({2, 3}, {1, 5}, {2}, 2, &dense), "");
  EXPECT_EQ(dense, Bytes({0, 1, 0, 0, 0, 2}));
  EXPECT_EQ(sparse({2, 3}, {0, 1, 1, 2}, {2, 2}, 2, &dense), "");
  EXPECT_EQ(dense, Bytes({0, 1, 0, 0, 0, 2}));
  EXPECT_EQ(sparse({4, 4}, {17}, {1}, 1), "I208");
  EXPECT_EQ(sparse({4, 4}, {-1}, {1}, 1), "I208");
  EXPECT_EQ(sparse({4, 4}, {1, 4}, {1, 2}, 1), "I208");
  EXPECT_EQ(sparse({4, 4}, {2, 1}, {2}, 2), "I208");
  EXPECT_EQ(sparse({4, 4}, {1, 1}, {2}, 2), "I208");
  EXPECT_EQ(sparse({4, 4}, {1, 2, 3}, {3}, 2), "I208");
  EXPECT_EQ(sparse({4, 4}, {1, 2, 3}, {1, 3}, 1), "I208");
  EXPECT_EQ(sparse({1}, {0, 0}, {2}, 2), "I208");
  EXPECT_EQ(sparse({}, {0}, {1}, 1), "I208");
  EXPECT_EQ(sparse({INT64_MAX, 4}, {0}, {1}, 1), "I201");
  EXPECT_EQ(sparse({0}, {}, {0}, 0), "");
}

TEST(Sparse, BombIsNotAllocated) {
  // One value, a terabyte when dense: legal to carry, not to expand.
  Bytes bytes = graphModel([&](WireWriter &w) {
    message(w, 15, [&](WireWriter &w) {
      message(w, 1, [&](WireWriter &w) {
        tensorHead(w, "S", 2, {1});
        w.writeBytes(kRaw, Bytes{1});
      });
      message(w, 2, [&](WireWriter &w) {
        tensorHead(w, "", 7, {1});
        w.writePackedInts(kInt64, {5});
      });
      w.writeRepeatedInts(3, {int64_t(1) << 40});
    });
  });
  CodedErrors errors;
  auto file = ModelFile::parse(bytes, "m", {}, errors);
  const auto &s = file->getModel().graph->sparseInitializer[0];
  EXPECT_TRUE(succeeded(checkSparse(*file, s, "s", errors)));
  std::vector<uint8_t> out;
  EXPECT_TRUE(failed(densifySparse(*file, s, "s", out, errors)));
  EXPECT_EQ(codes(errors), "I201");
}

TEST(TensorData, ReadIntegers) {
  auto values = [](DT type, const Bytes &b, int64_t n) {
    Resolved r(type, {n}, raw(b));
    CodedErrors errors;
    std::vector<int64_t> out;
    (void)readIntegers(*r.file, r.file->getModel().graph->initializer[0], "t",
                       out, errors);
    return errors.hasErrors() ? std::vector<int64_t>({-99}) : out;
  };
  EXPECT_EQ(values(DT::Int8, {0xff, 1}, 2), std::vector<int64_t>({-1, 1}));
  EXPECT_EQ(values(DT::UInt8, {0xff}, 1), std::vector<int64_t>({255}));
  EXPECT_EQ(values(DT::Int32, {0xfe, 255, 255, 255}, 1),
            std::vector<int64_t>({-2}));
  EXPECT_EQ(values(DT::Float, Bytes(4), 1), std::vector<int64_t>({-99}));
}

} // namespace
