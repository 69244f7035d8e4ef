//===- TestModel.h - Small models for tests of the reader -------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_UNITTEST_IMPORT_TESTMODEL_H
#define FFN_MLIR_UNITTEST_IMPORT_TESTMODEL_H

#include "ffn-mlir/Export/WireWriter.h"
#include "ffn-mlir/Import/PhaseA.h"
#include "ffn-mlir/Import/TensorData.h"
#include "gtest/gtest.h"
#include <filesystem>
#include <fstream>
#include <functional>

namespace mlir::ffn::test {

using Bytes = std::vector<uint8_t>;
using Fill = std::function<void(WireWriter &)>;

inline Bytes build(const Fill &fill) {
  WireWriter w;
  fill(w);
  Bytes bytes;
  CodedErrors errors;
  EXPECT_TRUE(llvm::succeeded(w.writeTo(
      [&](llvm::ArrayRef<uint8_t> piece) {
        bytes.insert(bytes.end(), piece.begin(), piece.end());
        return llvm::success();
      },
      errors)));
  return bytes;
}

inline void message(WireWriter &w, uint32_t field, const Fill &fill) {
  auto scope = w.message(field);
  fill(w);
}

// Field numbers are those of onnx-ml.proto.
inline void opset(WireWriter &w, llvm::StringRef domain, int64_t version) {
  message(w, 8, [&](WireWriter &w) {
    w.writeString(1, domain);
    w.writeInt(2, version);
  });
}

inline void valueInfo(WireWriter &w, uint32_t field, llvm::StringRef name,
                      llvm::ArrayRef<int64_t> dims, int32_t type = 1) {
  message(w, field, [&](WireWriter &w) {
    w.writeString(1, name);
    message(w, 2, [&](WireWriter &w) {
      message(w, 1, [&](WireWriter &w) {
        w.writeInt(1, type);
        message(w, 2, [&](WireWriter &w) {
          for (int64_t d : dims)
            message(w, 1, [&](WireWriter &w) { w.writeInt(1, d); });
        });
      });
    });
  });
}

inline void node(WireWriter &w, llvm::StringRef op,
                 llvm::ArrayRef<llvm::StringRef> inputs,
                 llvm::ArrayRef<llvm::StringRef> outputs,
                 const Fill &more = nullptr, uint32_t field = 1) {
  message(w, field, [&](WireWriter &w) {
    for (llvm::StringRef s : inputs)
      w.writeString(1, s);
    for (llvm::StringRef s : outputs)
      w.writeString(2, s);
    w.writeString(4, op);
    if (more)
      more(w);
  });
}

/// The fields of a TensorProto without payload.
inline void tensorHead(WireWriter &w, llvm::StringRef name, int32_t type,
                       llvm::ArrayRef<int64_t> dims) {
  w.writeRepeatedInts(1, dims);
  w.writeInt(2, type);
  w.writeString(8, name);
}

inline void rawTensor(WireWriter &w, uint32_t field, llvm::StringRef name,
                      int32_t type, llvm::ArrayRef<int64_t> dims,
                      const Bytes &raw) {
  message(w, field, [&](WireWriter &w) {
    tensorHead(w, name, type, dims);
    w.writeBytes(9, raw);
  });
}

/// x[1,4] -> MatMul W[4,4] -> Add B[4] -> Relu -> y. `weight` and `extra`
/// replace W and add to the graph.
inline Bytes baseModel(const Fill &weight = nullptr,
                       const Fill &extra = nullptr,
                       const Fill &model = nullptr) {
  return build([&](WireWriter &w) {
    w.writeInt(1, 8);
    message(w, 7, [&](WireWriter &w) {
      w.writeString(2, "main");
      node(w, "MatMul", {"x", "W"}, {"h"});
      node(w, "Add", {"h", "B"}, {"s"});
      node(w, "Relu", {"s"}, {"y"});
      if (weight)
        weight(w);
      else
        rawTensor(w, 5, "W", 1, {4, 4}, Bytes(64, 0));
      rawTensor(w, 5, "B", 1, {4}, Bytes(16, 0));
      valueInfo(w, 11, "x", {1, 4});
      valueInfo(w, 12, "y", {1, 4});
      if (extra)
        extra(w);
    });
    opset(w, "", 17);
    if (model)
      model(w);
  });
}

/// A model whose main graph is filled by the test.
inline Bytes graphModel(const Fill &graph, const Fill &model = nullptr) {
  return build([&](WireWriter &w) {
    w.writeInt(1, 10);
    message(w, 7, [&](WireWriter &w) {
      w.writeString(2, "main");
      graph(w);
    });
    opset(w, "", 21);
    if (model)
      model(w);
  });
}

/// The codes of all diagnostics, "I203" or "I302W", separated by spaces.
inline std::string codes(const CodedErrors &errors) {
  std::string text;
  for (const CodedError &e : errors.get())
    text += (text.empty() ? "" : " ") + e.code.substr(4);
  return text;
}

inline std::string shown(const CodedErrors &errors) {
  std::string text;
  llvm::raw_string_ostream os(text);
  errors.print(os, "model.onnx");
  return text;
}

/// Codes of parsing and Phase A.
inline std::string checkCodes(const Bytes &bytes,
                              const ReadOptions &options = {},
                              std::string *text = nullptr,
                              llvm::StringRef name = "model.onnx") {
  CodedErrors errors;
  std::unique_ptr<ModelFile> file =
      ModelFile::parse(bytes, name, options, errors);
  if (file) {
    std::unique_ptr<CheckedModel> checked = checkModel(*file, errors);
    EXPECT_EQ(checked == nullptr, errors.hasErrors());
  } else {
    EXPECT_TRUE(errors.hasErrors());
  }
  if (text)
    *text = shown(errors);
  return codes(errors);
}

/// A folder that is removed with its contents.
class TestFolder {
public:
  TestFolder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "ffn-test-XXXXXX").string();
    path = mkdtemp(pattern.data());
  }
  ~TestFolder() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string &name) const {
    return (path / name).string();
  }
  std::string write(const std::string &name, const Bytes &bytes) const {
    std::ofstream out(path / name, std::ios::binary);
    out.write(reinterpret_cast<const char *>(bytes.data()),
              static_cast<std::streamsize>(bytes.size()));
    return *this / name;
  }
  std::filesystem::path path;
};

} // namespace mlir::ffn::test

#endif // FFN_MLIR_UNITTEST_IMPORT_TESTMODEL_H
