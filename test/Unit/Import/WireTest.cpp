//===- WireTest.cpp -------------------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "TestModel.h"
#include <chrono>
#include <cmath>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

using namespace llvm;
using namespace mlir::ffn;
using namespace mlir::ffn::test;

namespace {

std::unique_ptr<ModelFile> parse(const Bytes &bytes, CodedErrors &errors,
                                 const ReadOptions &options = {}) {
  return ModelFile::parse(bytes, "model.onnx", options, errors);
}

std::string parseCodes(const Bytes &bytes, const ReadOptions &options = {}) {
  CodedErrors errors;
  bool ok = parse(bytes, errors, options) != nullptr;
  EXPECT_NE(ok, errors.hasErrors());
  return codes(errors);
}

TEST(Varint, Limits) {
  auto read = [](Bytes bytes, uint64_t &value) {
    const uint8_t *p = bytes.data();
    bool ok = readVarint(p, bytes.data() + bytes.size(), value);
    EXPECT_TRUE(!ok || p == bytes.data() + bytes.size());
    return ok;
  };
  uint64_t v = 0;
  EXPECT_TRUE(read({0}, v) && v == 0);
  EXPECT_TRUE(read({0xac, 2}, v) && v == 300);
  EXPECT_TRUE(read(Bytes{255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, v));
  EXPECT_EQ(v, UINT64_MAX);
  EXPECT_FALSE(read({}, v));
  EXPECT_FALSE(read({0x80}, v));
  EXPECT_FALSE(read(Bytes{255, 255, 255, 255, 255, 255, 255, 255, 255, 2}, v));
  EXPECT_FALSE(read(Bytes(11, 0x80), v));
}

TEST(Wire, BaseModel) {
  Bytes bytes = baseModel();
  CodedErrors errors;
  auto file = parse(bytes, errors);
  ASSERT_TRUE(file) << shown(errors);
  const proto::ModelProto &m = file->getModel();
  EXPECT_EQ(m.irVersion, 8);
  ASSERT_TRUE(m.graph);
  ASSERT_EQ(m.graph->node.size(), 3u);
  EXPECT_EQ(m.graph->node[1].opType, "Add");
  EXPECT_EQ(m.graph->node[1].input, ArrayRef<StringRef>({"h", "B"}));
  ASSERT_EQ(m.graph->initializer.size(), 2u);
  const proto::TensorProto &w = m.graph->initializer[0];
  EXPECT_EQ(w.name, "W");
  EXPECT_EQ(w.dims, ArrayRef<int64_t>({4, 4}));
  EXPECT_TRUE(w.payloadIsOneChunk);
  EXPECT_EQ(w.payload.size, 64u);
  // Strings and payloads lie in the input, nothing was copied.
  EXPECT_GE(w.name.bytes_begin(), bytes.data());
  EXPECT_LT(w.name.bytes_end(), bytes.data() + bytes.size());
  EXPECT_EQ(m.graph->input[0].type->shape[1].value, 4);
  EXPECT_EQ(m.opsetImport[0].version, 17);
}

TEST(Wire, EveryTruncationIsAnErrorOrSmaller) {
  Bytes bytes = baseModel();
  unsigned malformed = 0;
  for (size_t n = 0; n < bytes.size(); ++n) {
    // A copy of exact size, so that ASan sees a read beyond the end.
    Bytes cut(bytes.begin(), bytes.begin() + n);
    CodedErrors errors;
    if (!parse(cut, errors)) {
      ++malformed;
      EXPECT_EQ(codes(errors), "I001") << n;
      EXPECT_NE(shown(errors).find("of " + std::to_string(n) + ")"),
                std::string::npos)
          << shown(errors);
    }
  }
  // Only the boundaries between the four top-level fields are valid ends.
  EXPECT_GE(malformed, bytes.size() - 4);
}

TEST(Wire, Malformed) {
  EXPECT_EQ(parseCodes({}), "I001");
  EXPECT_EQ(parseCodes({0x00}), "I001");             // field number 0
  EXPECT_EQ(parseCodes({0x3b}), "I001");             // start of a group
  EXPECT_EQ(parseCodes({0x3c}), "I001");             // end of a group
  EXPECT_EQ(parseCodes({0x3e}), "I001");             // wire type 6
  EXPECT_EQ(parseCodes({0x3f}), "I001");             // wire type 7
  EXPECT_EQ(parseCodes({0x08}), "I001");             // varint without bytes
  EXPECT_EQ(parseCodes({0x3a, 0x05, 0x0a}), "I001"); // length beyond the end
  EXPECT_EQ(parseCodes({0x3a, 0xff, 0xff, 0xff, 0xff, 0x07}), "I001");
  EXPECT_EQ(parseCodes({0x38, 0x01}), "I001"); // graph is not a number
  EXPECT_EQ(parseCodes({0x0a, 0x00}), "I001"); // ir_version is not bytes
  // A nested length that fits the file, but not its parent.
  EXPECT_EQ(parseCodes({0x3a, 0x02, 0x0a, 0x03, 0x0a, 0x01, 'x'}), "I001");
  // The tag has more than 32 bits.
  EXPECT_EQ(parseCodes({0x88, 0x80, 0x80, 0x80, 0x10, 0x01}), "I001");
}

TEST(Wire, DuplicateSubmessagesAreRefused) {
  EXPECT_EQ(parseCodes(build([](WireWriter &w) {
              message(w, 7, [](WireWriter &) {});
              message(w, 7, [](WireWriter &) {});
            })),
            "I001");
  // A type of two kinds.
  EXPECT_EQ(parseCodes(graphModel([](WireWriter &w) {
              message(w, 11, [](WireWriter &w) {
                message(w, 2, [](WireWriter &w) {
                  message(w, 1, [](WireWriter &) {});
                  message(w, 4, [](WireWriter &) {});
                });
              });
            })),
            "I001");
}

TEST(Wire, LastScalarWins) {
  Bytes bytes = build([](WireWriter &w) {
    w.writeInt(1, 3);
    w.writeInt(1, 8);
    w.writeString(2, "first");
    w.writeString(2, "second");
  });
  CodedErrors errors;
  auto file = parse(bytes, errors);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->getModel().irVersion, 8);
  EXPECT_EQ(file->getModel().producerName, "second");
}

/// Lists nested in lists: TypeProto.Sequence of TypeProto, two levels each.
Bytes nestedTypes(unsigned levels) {
  Bytes inner;
  for (unsigned i = 0; i < levels; ++i)
    inner = build([&](WireWriter &w) { w.writeBytes(i % 2 ? 4 : 1, inner); });
  return graphModel([&](WireWriter &w) {
    message(w, 11, [&](WireWriter &w) { w.writeBytes(2, inner); });
  });
}

TEST(Wire, NestingLimit) {
  // Model, graph and value info enclose the first type. The innermost bytes
  // are a field of TypeProto or of Sequence, whatever the count is.
  ReadOptions options;
  EXPECT_EQ(parseCodes(nestedTypes(96)), "");
  EXPECT_EQ(parseCodes(nestedTypes(98 + 2)), "I304");
  EXPECT_EQ(parseCodes(nestedTypes(20000)), "I304");
  options.limits.maxMessageNesting = 20;
  EXPECT_EQ(parseCodes(nestedTypes(30), options), "I304");
}

TEST(Wire, UnknownFields) {
  Bytes bytes = graphModel([](WireWriter &w) {
    w.writeString(99, "kept");
    node(w, "Relu", {"x"}, {"y"}, [](WireWriter &w) {
      w.writeInt(1000, 7);
      message(w, 10, [](WireWriter &w) { w.writeString(1, "device"); });
    });
    w.writeBytes(98, Bytes(5000, 'x'));
    message(w, 11, [](WireWriter &w) {
      message(w, 2, [](WireWriter &w) {
        message(w, 1, [](WireWriter &w) { w.writeInt(9, 1); });
      });
    });
  });
  CodedErrors errors;
  auto file = parse(bytes, errors);
  ASSERT_TRUE(file);
  // Too long, and without a place to keep it.
  EXPECT_EQ(codes(errors), "I001W I001W");
  const proto::GraphProto &g = *file->getModel().graph;
  ASSERT_EQ(g.getUnknown().size(), 1u);
  EXPECT_EQ(g.getUnknown()[0], StringRef("\x9a\x06\x04kept", 7));
  ASSERT_EQ(g.node[0].getUnknown().size(), 2u);
  // Written back, they parse to the same.
  Bytes again = graphModel([&](WireWriter &w) {
    node(w, "Relu", {"x"}, {"y"}, [&](WireWriter &w) {
      for (StringRef field : g.node[0].getUnknown())
        w.writeRaw(field);
    });
  });
  CodedErrors none;
  auto second = parse(again, none);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->getModel().graph->node[0].getUnknown(),
            g.node[0].getUnknown());
}

TEST(Wire, PackedAndUnpackedListsAreEqual) {
  for (bool packed : {false, true}) {
    Bytes bytes = graphModel([&](WireWriter &w) {
      node(w, "Op", {}, {"y"}, [&](WireWriter &w) {
        message(w, 5, [&](WireWriter &w) {
          w.writeString(1, "ints");
          int64_t ints[] = {1, -1, INT64_MAX, INT64_MIN, 300};
          if (packed)
            w.writePackedInts(8, ints);
          else
            w.writeRepeatedInts(8, ints);
          w.writeInt(20, 7);
        });
        message(w, 5, [&](WireWriter &w) {
          w.writeString(1, "floats");
          float floats[] = {1.5f, -0.0f, 3e38f};
          if (packed)
            w.writePackedFloats(7, floats);
          else
            w.writeRepeatedFloats(7, floats);
        });
      });
    });
    CodedErrors errors;
    auto file = parse(bytes, errors);
    ASSERT_TRUE(file);
    ArrayRef<proto::AttributeProto> a =
        file->getModel().graph->node[0].attribute;
    ASSERT_EQ(a.size(), 2u);
    EXPECT_EQ(a[0].getInts(),
              ArrayRef<int64_t>({1, -1, INT64_MAX, INT64_MIN, 300}));
    // No type given: the value tells it.
    EXPECT_EQ(a[1].kind, proto::AttributeKind::Floats);
    EXPECT_EQ(a[1].getFloats(), ArrayRef<float>({1.5f, -0.0f, 3e38f}));
    EXPECT_TRUE(std::signbit(a[1].getFloats()[1]));
    // Getters of other kinds are empty, not wrong.
    EXPECT_EQ(a[0].getInt(), 0);
    EXPECT_TRUE(a[0].getFloats().empty());
    EXPECT_EQ(a[0].getTensor(), nullptr);
    EXPECT_TRUE(a[0].getString().empty());
  }
}

TEST(Wire, MemoryIsBounded) {
  // Two bytes for each node, some hundred in memory.
  Bytes bytes = graphModel([](WireWriter &w) {
    for (int i = 0; i < 100000; ++i)
      message(w, 1, [](WireWriter &) {});
  });
  ReadOptions options;
  EXPECT_EQ(parseCodes(bytes, options), "");
  options.limits.maxParseMemory = 1 << 20;
  EXPECT_EQ(parseCodes(bytes, options), "I002");
  options = {};
  options.limits.maxProtobufBytes = 1000;
  EXPECT_EQ(parseCodes(bytes, options), "I001");
}

TEST(Wire, PayloadIsNotTouched) {
  // The pages of the payload are unreadable during the parse.
  uint64_t page = sysconf(_SC_PAGESIZE), payload = 64 * page;
  Bytes bytes = baseModel([&](WireWriter &w) {
    rawTensor(w, 5, "W", 1, {int64_t(payload / 4)}, Bytes(payload, 1));
  });
  size_t mapped = alignTo(bytes.size(), page);
  void *memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  std::memcpy(memory, bytes.data(), bytes.size());
  auto *base = static_cast<uint8_t *>(memory);
  // From the second full page of the payload to its last but one.
  ASSERT_EQ(mprotect(base + 2 * page, payload - 4 * page, PROT_NONE), 0);
  CodedErrors errors;
  auto file = ModelFile::parse(ArrayRef<uint8_t>(base, bytes.size()),
                               "model.onnx", {}, errors);
  ASSERT_TRUE(file) << shown(errors);
  EXPECT_TRUE(checkModel(*file, errors)) << shown(errors);
  munmap(memory, mapped);
}

TEST(Wire, NoMmapReadsTheSameAndLittle) {
  TestFolder folder;
  Bytes bytes = baseModel([&](WireWriter &w) {
    rawTensor(w, 5, "W", 1, {1 << 20}, Bytes(4 << 20, 1));
  });
  std::string path = folder.write("m.onnx", bytes);
  ReadOptions options;
  options.files.noMmap = true;
  CodedErrors errors;
  auto file = ModelFile::read(path, options, errors);
  ASSERT_TRUE(file) << shown(errors);
  EXPECT_FALSE(file->getFile().isMapped());
  auto checked = checkModel(*file, errors);
  ASSERT_TRUE(checked) << shown(errors);
  EXPECT_EQ(file->getModel().graph->node[2].output[0], "y");
  std::vector<unsigned char> resident(bytes.size() / 4096 + 1);
  ASSERT_EQ(mincore(const_cast<uint8_t *>(file->getFile().getBase()),
                    bytes.size(), resident.data()),
            0);
  EXPECT_LT(llvm::count_if(resident, [](unsigned char c) { return c & 1; }),
            100);
  std::vector<uint8_t> data;
  ASSERT_TRUE(succeeded(readTensor(
      *file, file->getModel().graph->initializer[0], "W", data, errors)));
  EXPECT_EQ(data, Bytes(4 << 20, 1));
  EXPECT_TRUE(succeeded(file->checkUnchanged(errors)));
}

TEST(Wire, HundredThousandNodesAreFast) {
  Bytes bytes = graphModel([](WireWriter &w) {
    valueInfo(w, 11, "v0", {1});
    for (int i = 0; i < 100000; ++i) {
      std::string from = "v" + std::to_string(i);
      std::string to = "v" + std::to_string(i + 1);
      node(w, "LeakyRelu", {from}, {to}, [](WireWriter &w) {
        message(w, 5, [](WireWriter &w) {
          w.writeString(1, "alpha");
          w.writeFloat(2, 0.1f);
          w.writeInt(20, 1);
        });
      });
    }
    valueInfo(w, 12, "v100000", {1});
  });
  auto begin = std::chrono::steady_clock::now();
  CodedErrors errors;
  auto file = parse(bytes, errors);
  ASSERT_TRUE(file);
  auto checked = checkModel(*file, errors);
  ASSERT_TRUE(checked) << shown(errors);
  EXPECT_EQ(checked->getExpandedNodeCount(), 100000u);
  double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
          .count();
  // About 0.1 s in release; the bound must hold under sanitizers, too.
  EXPECT_LT(seconds, 5.0);
  RecordProperty("milliseconds", static_cast<int>(seconds * 1000));
}

} // namespace
