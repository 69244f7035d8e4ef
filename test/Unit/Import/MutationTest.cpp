//===- MutationTest.cpp - Deterministic mutations of a rich model ---------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Whatever the bytes are, reading ends with a result or a coded error. What
// goes wrong silently is found by the sanitizers of the asan preset.
//
//===----------------------------------------------------------------------===//

#include "TestModel.h"
#include <map>
#include <random>

using namespace llvm;
using namespace mlir::ffn;
using namespace mlir::ffn::test;

namespace {

/// Where the model lies, with its external data.
const TestFolder &folder() {
  static const TestFolder folder;
  static const std::string data = folder.write("w.bin", Bytes(20, 1));
  return folder;
}

/// Something of everything in the schema.
Bytes richModel() {
  auto attribute = [](WireWriter &w, StringRef name, int type,
                      const Fill &fill) {
    message(w, 5, [&](WireWriter &w) {
      w.writeString(1, name);
      w.writeInt(20, type);
      fill(w);
    });
  };
  auto smallTensor = [](WireWriter &w) {
    tensorHead(w, "t", 7, {2});
    w.writePackedInts(7, {1, -1});
  };
  auto sparseTensor = [](WireWriter &w) {
    message(w, 1, [](WireWriter &w) {
      tensorHead(w, "sparse", 1, {2});
      w.writePackedFloats(4, {1.0f, 2.0f});
    });
    message(w, 2, [](WireWriter &w) {
      tensorHead(w, "", 7, {2, 2});
      w.writePackedInts(7, {0, 1, 1, 0});
    });
    w.writeRepeatedInts(3, {2, 2});
  };
  auto sequenceType = [](WireWriter &w) {
    message(w, 4, [](WireWriter &w) {
      message(w, 1, [](WireWriter &w) {
        message(w, 9, [](WireWriter &w) {
          message(w, 1, [](WireWriter &w) {
            message(w, 1, [](WireWriter &w) { w.writeInt(1, 1); });
          });
        });
      });
    });
  };
  return build([&](WireWriter &w) {
    w.writeInt(1, 10);
    w.writeString(2, "producer");
    opset(w, "", 21);
    opset(w, "loc", 1);
    w.writeEntry(14, "key", "value");
    message(w, 7, [&](WireWriter &w) {
      w.writeString(2, "main");
      w.writeString(10, "doc");
      valueInfo(w, 11, "x", {1, 4});
      valueInfo(w, 11, "c", {1}, 9);
      valueInfo(w, 12, "y", {1, 4});
      message(w, 13, [&](WireWriter &w) {
        w.writeString(1, "seq");
        message(w, 2, sequenceType);
      });
      node(w, "MatMul", {"x", "W"}, {"h"});
      node(w, "F", {"h"}, {"f"},
           [](WireWriter &w) { w.writeString(7, "loc"); });
      node(w, "If", {"c"}, {"i"}, [&](WireWriter &w) {
        for (StringRef branch : {"then_branch", "else_branch"})
          attribute(w, branch, 5, [&](WireWriter &w) {
            message(w, 6, [&](WireWriter &w) {
              node(w, "Relu", {"f"}, {"r"});
              valueInfo(w, 12, "r", {1, 4});
            });
          });
      });
      node(w, "Everything", {"i", ""}, {"y", "", "seq"}, [&](WireWriter &w) {
        w.writeString(7, "loc");
        attribute(w, "f", 1, [](WireWriter &w) { w.writeFloat(2, 1.5f); });
        attribute(w, "i", 2, [](WireWriter &w) { w.writeInt(3, -7); });
        attribute(w, "s", 3, [](WireWriter &w) { w.writeString(4, "txt"); });
        attribute(w, "t", 4,
                  [&](WireWriter &w) { message(w, 5, smallTensor); });
        attribute(w, "fs", 6,
                  [](WireWriter &w) { w.writePackedFloats(7, {1, 2, 3}); });
        attribute(w, "is", 7,
                  [](WireWriter &w) { w.writePackedInts(8, {1, 300, -1}); });
        attribute(w, "ss", 8, [](WireWriter &w) {
          w.writeString(9, "a");
          w.writeString(9, "b");
        });
        attribute(w, "ts", 9, [&](WireWriter &w) {
          message(w, 10, smallTensor);
          message(w, 10, smallTensor);
        });
        attribute(w, "st", 11,
                  [&](WireWriter &w) { message(w, 22, sparseTensor); });
        attribute(w, "tp", 13,
                  [&](WireWriter &w) { message(w, 14, sequenceType); });
        w.writeString(8, "overload");
        w.writeEntry(9, "meta", "data");
        message(w, 10, [](WireWriter &w) { w.writeString(1, "device"); });
      });
      rawTensor(w, 5, "W", 1, {4, 4}, Bytes(64, 1));
      message(w, 5, [](WireWriter &w) {
        tensorHead(w, "half", 10, {3});
        w.writePackedInts(5, {0, 15360, 65535});
      });
      message(w, 5, [](WireWriter &w) {
        tensorHead(w, "packed", 21, {5});
        w.writePackedInts(5, {16, 255, 3});
      });
      message(w, 5, [](WireWriter &w) {
        tensorHead(w, "strings", 8, {2});
        w.writeString(6, "a");
        w.writeString(6, "bc");
      });
      message(w, 5, [](WireWriter &w) {
        tensorHead(w, "outside", 1, {1});
        w.writeEntry(13, "location", "w.bin");
        w.writeEntry(13, "offset", "16");
        w.writeInt(14, 1);
      });
      message(w, 15, sparseTensor);
      message(w, 14, [](WireWriter &w) {
        w.writeString(1, "W");
        w.writeEntry(2, "SCALE_TENSOR", "half");
      });
    });
    message(w, 20, [](WireWriter &w) {
      message(w, 2, [](WireWriter &w) {
        node(w, "Neg", {"W"}, {"n"});
        valueInfo(w, 12, "n", {4, 4});
      });
      w.writeEntry(4, "W", "n");
    });
    message(w, 25, [&](WireWriter &w) {
      w.writeString(1, "F");
      w.writeString(10, "loc");
      w.writeString(4, "in");
      w.writeString(5, "out");
      w.writeString(6, "alpha");
      node(
          w, "Elu", {"in"}, {"out"},
          [&](WireWriter &w) {
            attribute(w, "alpha", 1,
                      [](WireWriter &w) { w.writeString(21, "alpha"); });
          },
          7);
      message(w, 9, [](WireWriter &w) { w.writeInt(2, 21); });
    });
  });
}

/// Reads everything that the structs offer.
void readAll(const ModelFile &file) {
  const proto::GraphProto *g = file.getModel().graph;
  if (!g)
    return;
  CodedErrors errors;
  std::vector<uint8_t> bytes;
  std::vector<int64_t> values;
  for (const proto::TensorProto &t : g->initializer) {
    TensorData data;
    bool resolved = succeeded(resolveTensor(file, t, "t", data, errors));
    if (resolved && data.byteSize < (1 << 20)) {
      (void)readTensor(file, t, "t", bytes, errors);
      (void)readIntegers(file, t, "t", values, errors);
    }
  }
  for (const proto::SparseTensorProto &s : g->sparseInitializer)
    if (succeeded(checkSparse(file, s, "s", errors)))
      (void)densifySparse(file, s, "s", bytes, errors);
}

/// True if the model passed.
bool tryModel(const Bytes &bytes, const ReadOptions &options,
              std::map<std::string, unsigned> &seen) {
  CodedErrors errors;
  auto file = ModelFile::parse(bytes, folder() / "m.onnx", options, errors);
  std::unique_ptr<CheckedModel> checked;
  if (file) {
    checked = checkModel(*file, errors);
    readAll(*file);
  }
  EXPECT_NE(checked == nullptr, !errors.hasErrors());
  for (const CodedError &e : errors.get())
    ++seen[e.code];
  if (!checked)
    return false;
  const proto::GraphProto &g = *file->getModel().graph;
  ArrayRef<uint32_t> order = checked->getNodeOrder(g);
  EXPECT_TRUE(order.empty() || order.size() == g.node.size());
  return true;
}

TEST(Mutation, RichModelIsValid) {
  std::string text;
  EXPECT_EQ(checkCodes(richModel(), {}, &text, folder() / "m.onnx"), "")
      << text;
}

TEST(Mutation, TwentyThousand) {
  const Bytes model = richModel();
  std::mt19937_64 random(20240607);
  auto below = [&](uint64_t n) { return random() % n; };
  static const Bytes splices[] = {
      {0xff, 0xff, 0xff, 0xff, 0x07},
      {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
      {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01},
      {0x00},
      {0x3a, 0x00},
      {0x0a, 0x00},
      {0x80}};
  ReadOptions options;
  std::map<std::string, unsigned> seen;
  unsigned passed = 0, total = 20000;
  for (unsigned i = 0; i < total && !testing::Test::HasFailure(); ++i) {
    Bytes bytes = model;
    for (uint64_t edits = 1 + below(3); edits > 0 && !bytes.empty(); --edits) {
      uint64_t at = below(bytes.size());
      switch (below(8)) {
      case 0:
        bytes[at] ^= 1u << below(8);
        break;
      case 1:
        bytes[at] = static_cast<uint8_t>(random());
        break;
      case 2:
        // Small changes of lengths, counts and dims.
        bytes[at] += below(2) ? 1 : -1;
        break;
      case 3:
        bytes.erase(bytes.begin() + at);
        break;
      case 4: {
        const Bytes &s = splices[below(std::size(splices))];
        bytes.insert(bytes.begin() + at, s.begin(), s.end());
        break;
      }
      case 5: {
        const Bytes &s = splices[below(std::size(splices))];
        for (size_t k = 0; k < s.size() && at + k < bytes.size(); ++k)
          bytes[at + k] = s[k];
        break;
      }
      case 6: {
        uint64_t from = below(bytes.size());
        uint64_t n = std::min<uint64_t>(below(40), bytes.size() - from);
        Bytes piece(bytes.begin() + from, bytes.begin() + from + n);
        bytes.insert(bytes.begin() + at, piece.begin(), piece.end());
        break;
      }
      default:
        if (below(4) == 0)
          bytes.resize(at);
        else
          bytes[at] = 0;
      }
    }
    bytes.shrink_to_fit();
    options.strict = i % 7 == 0;
    passed += tryModel(bytes, options, seen);
    if (testing::Test::HasFailure())
      ADD_FAILURE() << "mutation " << i;
  }
  // The mutations reach behind the parser, and some change nothing that counts.
  EXPECT_GT(passed, total / 20);
  EXPECT_LT(passed, total);
  for (const char *code :
       {"FFN-I001", "FFN-I203", "FFN-I204", "FFN-I205", "FFN-I206", "FFN-I207",
        "FFN-I208", "FFN-I301", "FFN-I302", "FFN-I401", "FFN-I402", "FFN-I501"})
    EXPECT_GT(seen[code], 0u) << code;
}

/// A message as a tree: edits keep all lengths right, so that they reach what
/// lies behind the parser.
struct Field {
  uint32_t number;
  WireType type;
  uint64_t value = 0;
  Bytes bytes;
  bool isMessage = false;
  std::vector<Field> fields;
};

bool readTree(ArrayRef<uint8_t> bytes, std::vector<Field> &fields) {
  FieldCursor c(bytes.begin(), bytes.end());
  while (c.next()) {
    Field &f = fields.emplace_back();
    f.number = c.number;
    f.type = c.type;
    f.value = c.value;
    if (c.type != WireType::Bytes)
      continue;
    f.bytes.assign(c.bytes.begin(), c.bytes.end());
    // Text that happens to parse is edited as a message, which is fine.
    f.isMessage = !c.bytes.empty() && readTree(c.bytes, f.fields);
  }
  return !c.failed();
}

void writeTree(WireWriter &w, ArrayRef<Field> fields) {
  for (const Field &f : fields) {
    if (f.isMessage)
      message(w, f.number, [&](WireWriter &w) { writeTree(w, f.fields); });
    else if (f.type == WireType::Bytes)
      w.writeBytes(f.number, f.bytes);
    else if (f.type == WireType::Varint)
      w.writeUInt(f.number, f.value);
    else if (f.type == WireType::Fixed32)
      w.writeFloat(f.number, static_cast<float>(f.value));
    else
      w.writeDouble(f.number, static_cast<double>(f.value));
  }
}

TEST(Mutation, TwentyThousandOfTheTree) {
  Bytes model = richModel();
  std::vector<Field> tree;
  ASSERT_TRUE(readTree(model, tree));
  ASSERT_EQ(build([&](WireWriter &w) { writeTree(w, tree); }).size(),
            model.size());
  std::mt19937_64 random(7);
  auto below = [&](uint64_t n) { return random() % n; };
  static const uint64_t numbers[] = {0,          1,
                                     2,          3,
                                     5,          8,
                                     10,         17,
                                     99,         uint64_t(-1),
                                     16,         21,
                                     22,         64,
                                     26,         28,
                                     1ull << 31, 1ull << 32,
                                     1ull << 40, 1ull << 62,
                                     INT64_MAX,  uint64_t(INT64_MIN)};
  std::map<std::string, unsigned> seen;
  unsigned passed = 0, total = 20000;
  for (unsigned i = 0; i < total && !testing::Test::HasFailure(); ++i) {
    std::vector<Field> copy = tree;
    for (uint64_t edits = 1 + below(3); edits > 0; --edits) {
      std::vector<Field> *at = &copy;
      while (!at->empty()) {
        Field &f = (*at)[below(at->size())];
        if (f.isMessage && below(8) != 0) {
          at = &f.fields;
          continue;
        }
        size_t index = &f - at->data();
        switch (below(8)) {
        case 0:
          at->erase(at->begin() + index);
          break;
        case 1: {
          Field twin = f;
          at->insert(at->begin() + below(at->size() + 1), twin);
          break;
        }
        case 2:
          std::swap((*at)[below(at->size())], f);
          break;
        case 3:
          f.number = 1 + below(26);
          break;
        default:
          f.value = numbers[below(std::size(numbers))];
          if (f.type == WireType::Bytes && !f.isMessage) {
            if (below(2) && !f.bytes.empty())
              f.bytes[below(f.bytes.size())] = random();
            else
              f.bytes.resize(below(20), 'x');
          }
        }
        break;
      }
    }
    Bytes bytes = build([&](WireWriter &w) { writeTree(w, copy); });
    bytes.shrink_to_fit();
    passed += tryModel(bytes, {}, seen);
    if (testing::Test::HasFailure())
      ADD_FAILURE() << "mutation " << i;
  }
  EXPECT_GT(passed, total / 20);
  EXPECT_LT(passed, total);
  for (const char *code :
       {"FFN-I001", "FFN-I101", "FFN-I105", "FFN-I106", "FFN-I107W", "FFN-I201",
        "FFN-I202", "FFN-I203", "FFN-I204", "FFN-I205", "FFN-I206", "FFN-I207",
        "FFN-I208", "FFN-I301", "FFN-I302", "FFN-I401", "FFN-I402", "FFN-I501"})
    EXPECT_GT(seen[code], 0u) << code;
}

TEST(Mutation, EveryByteDeleted) {
  const Bytes model = richModel();
  std::map<std::string, unsigned> seen;
  for (size_t i = 0; i < model.size(); ++i) {
    Bytes bytes = model;
    bytes.erase(bytes.begin() + i);
    bytes.shrink_to_fit();
    tryModel(bytes, {}, seen);
    bytes.assign(model.begin(), model.begin() + i);
    bytes.shrink_to_fit();
    tryModel(bytes, {}, seen);
  }
}

} // namespace
