//===- PhaseATest.cpp -----------------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "TestModel.h"

using namespace llvm;
using namespace mlir::ffn;
using namespace mlir::ffn::test;

namespace {

TEST(PhaseA, BaseModel) { EXPECT_EQ(checkCodes(baseModel()), ""); }

TEST(PhaseA, MessageForm) {
  std::string text;
  checkCodes(baseModel([](WireWriter &w) {
               rawTensor(w, 5, "W\x1b[31m'\xff", 1, {4, 4}, Bytes(60, 0));
             }),
             {}, &text);
  EXPECT_NE(text.find("model.onnx: error: graph 'main', initializer 0 "
                      "'W\\x1B[31m\\'\\xFF': raw_data has 60 bytes, shape "
                      "[4,4] float32 needs 64 [FFN-I203]\n"),
            std::string::npos)
      << text;
  EXPECT_EQ(escapeName(std::string(100, 'a')), std::string(77, 'a') + "...");
  EXPECT_EQ(escapeName(std::string(80, 'a')), std::string(80, 'a'));
  EXPECT_LE(escapeName(std::string(100, '\xff')).size(), 80u);
}

TEST(PhaseA, Versions) {
  auto model = [](int64_t ir, int64_t version, bool graph = true) {
    return build([&](WireWriter &w) {
      if (ir)
        w.writeInt(1, ir);
      if (graph)
        message(w, 7, [](WireWriter &w) {
          node(w, "Relu", {"x"}, {"y"});
          valueInfo(w, 11, "x", {1});
          valueInfo(w, 12, "y", {1});
        });
      if (version)
        opset(w, "ai.onnx", version);
    });
  };
  EXPECT_EQ(checkCodes(model(8, 17)), "");
  EXPECT_EQ(checkCodes(model(kNewestIrVersion, kNewestOpset)), "");
  EXPECT_EQ(checkCodes(model(8, 17, false)), "I001");
  EXPECT_EQ(checkCodes(model(0, 17)), "I402");
  EXPECT_EQ(checkCodes(model(-1, 17)), "I402");
  EXPECT_EQ(checkCodes(model(kNewestIrVersion + 1, 17)), "I402");
  EXPECT_EQ(checkCodes(model(INT32_MAX, 17)), "I402");
  EXPECT_EQ(checkCodes(model(8, kNewestOpset + 1)), "I401");
  EXPECT_EQ(checkCodes(model(8, -1)), "I401");
  EXPECT_EQ(checkCodes(model(8, 0)), "I401");
}

TEST(PhaseA, OpsetAliases) {
  auto withOpset = [](StringRef domain, int64_t version) {
    return baseModel(nullptr, nullptr,
                     [&](WireWriter &w) { opset(w, domain, version); });
  };
  EXPECT_EQ(checkCodes(withOpset("ai.onnx", 17)), "");
  EXPECT_EQ(checkCodes(withOpset("", 17)), "");
  EXPECT_EQ(checkCodes(withOpset("ai.onnx", 9)), "I401");
  EXPECT_EQ(checkCodes(withOpset("", 18)), "I401");
  EXPECT_EQ(checkCodes(withOpset("ai.onnx.ml", 5)), "");
  EXPECT_EQ(checkCodes(withOpset("ai.onnx.ml", 6)), "I401");
  EXPECT_EQ(checkCodes(withOpset("com.acme", 1234)), "");
}

TEST(PhaseA, DomainsWithoutImport) {
  auto withNode = [](StringRef domain) {
    return baseModel(nullptr, [&](WireWriter &w) {
      for (StringRef out : {"a", "b"})
        node(w, "Gelu", {"x"}, {out},
             [&](WireWriter &w) { w.writeString(7, domain); });
    });
  };
  EXPECT_EQ(checkCodes(withNode("com.microsoft")), "I401W");
  EXPECT_EQ(checkCodes(withNode("evil")), "I401");
  EXPECT_EQ(checkCodes(withNode("ai.onnx")), "");
  ReadOptions strict;
  strict.strict = true;
  EXPECT_EQ(checkCodes(withNode("com.microsoft"), strict), "I401");

  Bytes bytes = withNode("com.microsoft");
  CodedErrors errors;
  auto file = ModelFile::parse(bytes, "m", {}, errors);
  auto checked = checkModel(*file, errors);
  ASSERT_TRUE(checked);
  EXPECT_EQ(checked->getOpsets().lookup("com.microsoft"), 1);
  EXPECT_EQ(checked->getOpsets().lookup(""), 17);
  EXPECT_EQ(checked->getAssumedDomains(),
            ArrayRef<StringRef>({"com.microsoft"}));
}

TEST(PhaseA, Names) {
  auto extra = [](const Fill &fill) {
    return checkCodes(baseModel(nullptr, fill));
  };
  EXPECT_EQ(extra([](WireWriter &w) { node(w, "Relu", {"x"}, {"h"}); }),
            "I301");
  EXPECT_EQ(extra([](WireWriter &w) { node(w, "Relu", {"x"}, {"x"}); }),
            "I301");
  EXPECT_EQ(extra([](WireWriter &w) { node(w, "Relu", {"x"}, {"W"}); }),
            "I301");
  EXPECT_EQ(extra([](WireWriter &w) { node(w, "Split", {"x"}, {"a", "a"}); }),
            "I301");
  EXPECT_EQ(extra([](WireWriter &w) { valueInfo(w, 11, "x", {1}); }), "I301");
  EXPECT_EQ(extra([](WireWriter &w) { valueInfo(w, 11, "", {1}); }), "I301");
  EXPECT_EQ(
      extra([](WireWriter &w) { rawTensor(w, 5, "W", 1, {1}, Bytes(4, 0)); }),
      "I301");
  EXPECT_EQ(
      extra([](WireWriter &w) { rawTensor(w, 5, "", 1, {1}, Bytes(4, 0)); }),
      "I301");
  // Initializers listed as inputs are defaults, once.
  EXPECT_EQ(extra([](WireWriter &w) { valueInfo(w, 11, "W", {4, 4}); }), "");
  EXPECT_EQ(extra([](WireWriter &w) {
              valueInfo(w, 11, "W", {4, 4});
              rawTensor(w, 5, "W", 1, {1}, Bytes(4, 0));
            }),
            "I301");
  EXPECT_EQ(extra([](WireWriter &w) { node(w, "", {"x"}, {"a"}); }), "I301");
  // Optional inputs and outputs are empty.
  EXPECT_EQ(extra([](WireWriter &w) { node(w, "Clip", {"x", "", "B"}, {""}); }),
            "");
  EXPECT_EQ(extra([](WireWriter &w) {
              node(w, "Relu", {"x"}, {StringRef("a\0b", 3)});
            }),
            "I301");
  EXPECT_EQ(extra([](WireWriter &w) { node(w, "Relu", {"x"}, {"a\xff"}); }),
            "I301");
  EXPECT_EQ(extra([](WireWriter &w) { node(w, "Relu", {"x"}, {"\xc3\xa4"}); }),
            "");
  EXPECT_EQ(extra([](WireWriter &w) {
              node(w, "Relu", {"x"}, {std::string(65537, 'a')});
            }),
            "I301");
  EXPECT_EQ(extra([](WireWriter &w) {
              node(w, "Relu", {"x"}, {std::string(65536, 'a')});
            }),
            "");
}

TEST(PhaseA, Outputs) {
  auto graph = [](const Fill &outputs) {
    return checkCodes(graphModel([&](WireWriter &w) {
      valueInfo(w, 11, "x", {1});
      node(w, "Relu", {"x"}, {"y"});
      outputs(w);
    }));
  };
  EXPECT_EQ(graph([](WireWriter &w) { valueInfo(w, 12, "y", {1}); }), "");
  EXPECT_EQ(graph([](WireWriter &w) { valueInfo(w, 12, "x", {1}); }), "");
  EXPECT_EQ(graph([](WireWriter &) {}), "I301");
  EXPECT_EQ(graph([](WireWriter &w) { valueInfo(w, 12, "z", {1}); }), "I302");
  EXPECT_EQ(graph([](WireWriter &w) { valueInfo(w, 12, "", {1}); }), "I302");
}

TEST(PhaseA, Order) {
  auto order = [](const Fill &nodes, std::string *text = nullptr,
                  bool strict = false) {
    ReadOptions options;
    options.strict = strict;
    return checkCodes(graphModel([&](WireWriter &w) {
                        valueInfo(w, 11, "x", {1});
                        node(w, "Relu", {"x"}, {"y"});
                        nodes(w);
                        valueInfo(w, 12, "y", {1});
                      }),
                      options, text);
  };
  auto late = [](WireWriter &w) {
    node(w, "Relu", {"b"}, {"c"});
    node(w, "Relu", {"a"}, {"b"});
    node(w, "Relu", {"x"}, {"a"});
  };
  EXPECT_EQ(order(late), "I302W");
  EXPECT_EQ(order(late, nullptr, true), "I302");
  // Dead code counts.
  EXPECT_EQ(order([](WireWriter &w) { node(w, "Relu", {"nope"}, {"c"}); }),
            "I302");
  std::string text;
  EXPECT_EQ(order(
                [](WireWriter &w) {
                  node(w, "Add", {"x", "c"}, {"a"});
                  node(w, "Relu", {"a"}, {"b"});
                  node(w, "Relu", {"b"}, {"c"});
                  node(w, "Relu", {"c"}, {"d"});
                },
                &text),
            "I302");
  EXPECT_NE(text.find("cycle 'a' -> 'b' -> 'c' -> 'a'"), std::string::npos)
      << text;
  EXPECT_EQ(order([](WireWriter &w) { node(w, "Add", {"a", "x"}, {"a"}); }),
            "I302");
}

TEST(PhaseA, SortIsStable) {
  Bytes bytes = graphModel([&](WireWriter &w) {
    valueInfo(w, 11, "x", {1});
    node(w, "Relu", {"x"}, {"n0"});
    node(w, "Relu", {"n3"}, {"n1"});
    node(w, "Relu", {"x"}, {"n2"});
    node(w, "Relu", {"n2"}, {"n3"});
    node(w, "Relu", {"x"}, {"n4"});
    valueInfo(w, 12, "n1", {1});
  });
  CodedErrors errors;
  auto file = ModelFile::parse(bytes, "m", {}, errors);
  auto checked = checkModel(*file, errors);
  ASSERT_TRUE(checked);
  EXPECT_EQ(checked->getNodeOrder(*file->getModel().graph),
            ArrayRef<uint32_t>({0, 2, 3, 1, 4}));
  Bytes sorted = baseModel();
  auto second = ModelFile::parse(sorted, "m", {}, errors);
  auto secondChecked = checkModel(*second, errors);
  EXPECT_TRUE(secondChecked->getNodeOrder(*second->getModel().graph).empty());
}

void ifNode(WireWriter &w, StringRef output, const Fill &thenGraph) {
  node(w, "If", {"cond"}, {output}, [&](WireWriter &w) {
    message(w, 5, [&](WireWriter &w) {
      w.writeString(1, "then_branch");
      message(w, 6, thenGraph);
      w.writeInt(20, 5);
    });
  });
}

TEST(PhaseA, Subgraphs) {
  auto check = [](const Fill &inner, const Fill &after = nullptr) {
    return checkCodes(graphModel([&](WireWriter &w) {
      valueInfo(w, 11, "cond", {1}, 9);
      valueInfo(w, 11, "x", {1});
      ifNode(w, "y", inner);
      if (after)
        after(w);
      valueInfo(w, 12, "y", {1});
    }));
  };
  auto output = [](StringRef name) {
    return [=](WireWriter &w) {
      message(w, 12, [=](WireWriter &w) { w.writeString(1, name); });
    };
  };
  EXPECT_EQ(check([&](WireWriter &w) {
              node(w, "Relu", {"x"}, {"r"});
              output("r")(w);
            }),
            "");
  // A value of the outer graph itself.
  EXPECT_EQ(check(output("x")), "");
  // No outputs, undefined uses, values of the inner graph outside.
  EXPECT_EQ(check([](WireWriter &w) { node(w, "Relu", {"x"}, {"r"}); }),
            "I301");
  EXPECT_EQ(check([&](WireWriter &w) {
              node(w, "Relu", {"nope"}, {"r"});
              output("r")(w);
            }),
            "I302");
  auto relu = [&](WireWriter &w) {
    node(w, "Relu", {"x"}, {"r"});
    output("r")(w);
  };
  EXPECT_EQ(check(relu, [](WireWriter &w) { node(w, "Relu", {"r"}, {"z"}); }),
            "I302");
  // Shadowing by a node, and by an input as some exporters write it.
  EXPECT_EQ(check([&](WireWriter &w) {
              node(w, "Relu", {"cond"}, {"x"});
              output("x")(w);
            }),
            "I301");
  EXPECT_EQ(check([&](WireWriter &w) {
              valueInfo(w, 11, "x", {1});
              output("x")(w);
            }),
            "I301W");
  // A captured value that is made later: sorted; a capture of the own result
  // is a cycle.
  EXPECT_EQ(check(
                [&](WireWriter &w) {
                  node(w, "Relu", {"later"}, {"r"});
                  output("r")(w);
                },
                [](WireWriter &w) { node(w, "Relu", {"x"}, {"later"}); }),
            "I302W");
  EXPECT_EQ(check(output("later"),
                  [](WireWriter &w) { node(w, "Relu", {"x"}, {"later"}); }),
            "I302W");
  EXPECT_EQ(check([&](WireWriter &w) {
              node(w, "Relu", {"y"}, {"r"});
              output("r")(w);
            }),
            "I302");
  // Tensors in nested attributes are checked.
  EXPECT_EQ(check([&](WireWriter &w) {
              node(w, "Constant", {}, {"r"}, [](WireWriter &w) {
                message(w, 5, [](WireWriter &w) {
                  w.writeString(1, "value");
                  rawTensor(w, 5, "", 1, {4}, Bytes(15, 0));
                  w.writeInt(20, 4);
                });
              });
              output("r")(w);
            }),
            "I203");
}

TEST(PhaseA, SubgraphDepth) {
  auto nested = [](unsigned depth) {
    Fill inner = [](WireWriter &w) { valueInfo(w, 12, "x", {1}); };
    for (unsigned i = 0; i < depth; ++i) {
      std::string name = "y" + std::to_string(i);
      Fill body = inner;
      inner = [=](WireWriter &w) {
        ifNode(w, name, body);
        valueInfo(w, 12, name, {1});
      };
    }
    return graphModel([=](WireWriter &w) {
      valueInfo(w, 11, "cond", {1}, 9);
      valueInfo(w, 11, "x", {1});
      inner(w);
    });
  };
  EXPECT_EQ(checkCodes(nested(16)), "");
  EXPECT_EQ(checkCodes(nested(17)), "I304");
  ReadOptions options;
  options.limits.maxSubgraphDepth = 20;
  EXPECT_EQ(checkCodes(nested(20), options), "");
}

void attribute(WireWriter &w, StringRef name, const Fill &fill) {
  message(w, 5, [&](WireWriter &w) {
    if (!name.empty())
      w.writeString(1, name);
    fill(w);
  });
}

TEST(PhaseA, Attributes) {
  auto check = [](const Fill &attributes) {
    return checkCodes(baseModel(nullptr, [&](WireWriter &w) {
      node(w, "Op", {"x"}, {"z"}, attributes);
    }));
  };
  auto integer = [](WireWriter &w) {
    w.writeInt(3, 1);
    w.writeInt(20, 2);
  };
  EXPECT_EQ(check([&](WireWriter &w) { attribute(w, "a", integer); }), "");
  EXPECT_EQ(check([&](WireWriter &w) {
              attribute(w, "a", integer);
              attribute(w, "a", integer);
            }),
            "I501");
  EXPECT_EQ(check([&](WireWriter &w) { attribute(w, "", integer); }), "I501");
  EXPECT_EQ(
      check([](WireWriter &w) { attribute(w, "a", [](WireWriter &) {}); }),
      "I501");
  // Declared as another kind than the value; two values; unknown kind.
  EXPECT_EQ(check([](WireWriter &w) {
              attribute(w, "a", [](WireWriter &w) {
                w.writeString(4, "1");
                w.writeInt(20, 2);
              });
            }),
            "I501");
  EXPECT_EQ(check([](WireWriter &w) {
              attribute(w, "a", [](WireWriter &w) {
                w.writeString(4, "1");
                w.writeInt(3, 2);
              });
            }),
            "I501");
  EXPECT_EQ(check([](WireWriter &w) {
              attribute(w, "a", [](WireWriter &w) { w.writeInt(20, 99); });
            }),
            "I501");
  // Empty lists need no value, messages do.
  EXPECT_EQ(check([](WireWriter &w) {
              attribute(w, "a", [](WireWriter &w) { w.writeInt(20, 7); });
            }),
            "");
  for (int kind : {4, 5, 11, 13})
    EXPECT_EQ(check([&](WireWriter &w) {
                attribute(w, "a", [&](WireWriter &w) { w.writeInt(20, kind); });
              }),
              "I501");
  EXPECT_EQ(check([](WireWriter &w) {
              attribute(w, "a", [](WireWriter &w) {
                w.writeInt(20, 2);
                w.writeString(21, "alpha");
              });
            }),
            "I501");
}

TEST(PhaseA, AttributeReader) {
  Bytes bytes = graphModel([](WireWriter &w) {
    node(w, "Op", {}, {"y"}, [](WireWriter &w) {
      attribute(w, "n", [](WireWriter &w) { w.writeInt(3, 5); });
      attribute(w, "s", [](WireWriter &w) { w.writeString(4, "text"); });
    });
  });
  CodedErrors errors;
  auto file = ModelFile::parse(bytes, "m", {}, errors);
  AttributeReader reader(file->getModel().graph->node[0].attribute, "here",
                         errors);
  EXPECT_EQ(reader.getInt("n"), 5);
  EXPECT_EQ(reader.getInt("absent", 7), 7);
  EXPECT_EQ(reader.getString("s"), "text");
  EXPECT_FALSE(reader.failed());
  EXPECT_EQ(reader.getInt("s", 3), 3);
  EXPECT_TRUE(reader.failed());
  EXPECT_EQ(codes(errors), "I501");
}

struct FunctionSpec {
  std::string name;
  std::vector<std::string> calls;
};

Bytes functionModel(ArrayRef<FunctionSpec> functions, StringRef called) {
  return graphModel(
      [&](WireWriter &w) {
        valueInfo(w, 11, "x", {1});
        node(w, called, {"x"}, {"y"},
             [](WireWriter &w) { w.writeString(7, "loc"); });
        valueInfo(w, 12, "y", {1});
      },
      [&](WireWriter &w) {
        opset(w, "loc", 1);
        for (const FunctionSpec &f : functions)
          message(w, 25, [&](WireWriter &w) {
            w.writeString(1, f.name);
            w.writeString(4, "in");
            w.writeString(5, "v" + std::to_string(f.calls.size()));
            w.writeString(10, "loc");
            node(w, "Relu", {"in"}, {"v0"}, nullptr, 7);
            for (size_t i = 0; i < f.calls.size(); ++i)
              node(
                  w, f.calls[i], {"v" + std::to_string(i)},
                  {"v" + std::to_string(i + 1)},
                  [](WireWriter &w) { w.writeString(7, "loc"); }, 7);
            message(w, 9, [](WireWriter &w) {
              w.writeString(1, "");
              w.writeInt(2, 21);
            });
          });
      });
}

TEST(PhaseA, Functions) {
  EXPECT_EQ(checkCodes(functionModel({{"F", {}}}, "F")), "");
  EXPECT_EQ(checkCodes(functionModel({{"F", {"G"}}, {"G", {}}}, "F")), "");
  std::string text;
  EXPECT_EQ(checkCodes(functionModel({{"F", {"F"}}}, "F"), {}, &text), "I303");
  EXPECT_NE(text.find("function cycle loc:F -> loc:F"), std::string::npos);
  EXPECT_EQ(
      checkCodes(functionModel({{"F", {"G"}}, {"G", {"F"}}}, "F"), {}, &text),
      "I303");
  EXPECT_NE(text.find("loc:F -> loc:G -> loc:F"), std::string::npos) << text;
  // A cycle that the main graph does not reach.
  EXPECT_EQ(checkCodes(functionModel({{"F", {}}, {"G", {"G"}}}, "F")), "I303");
  EXPECT_EQ(checkCodes(functionModel({{"F", {}}, {"F", {}}}, "F")), "I301");
}

TEST(PhaseA, FunctionOrderAndCount) {
  Bytes bytes =
      functionModel({{"A", {"B", "C"}}, {"B", {"C"}}, {"C", {}}}, "A");
  CodedErrors errors;
  auto file = ModelFile::parse(bytes, "m", {}, errors);
  auto checked = checkModel(*file, errors);
  ASSERT_TRUE(checked) << shown(errors);
  std::string order;
  for (const proto::FunctionProto *f : checked->getFunctionOrder())
    order += f->name;
  EXPECT_EQ(order, "CBA");
  // A has 3 nodes, B 2, C 1; the call in main 1; calls count as nodes.
  EXPECT_EQ(checked->getExpandedNodeCount(), 1u + 3 + (2 + 1) + 1);
  EXPECT_EQ(checked->lookupFunction(file->getModel().graph->node[0]),
            &file->getModel().functions[0]);
}

TEST(PhaseA, FunctionBudgets) {
  std::vector<FunctionSpec> bomb, chain;
  for (int i = 0; i < 64; ++i) {
    std::string next = "F" + std::to_string(i + 1);
    bomb.push_back({"F" + std::to_string(i), {next, next}});
  }
  bomb.push_back({"F64", {}});
  EXPECT_EQ(checkCodes(functionModel(bomb, "F0")), "I303");
  for (int i = 0; i < 100; ++i)
    chain.push_back({"F" + std::to_string(i), {"F" + std::to_string(i + 1)}});
  chain.push_back({"F100", {}});
  EXPECT_EQ(checkCodes(functionModel(chain, "F0")), "I303");
  chain.erase(chain.begin());
  EXPECT_EQ(checkCodes(functionModel(chain, "F1")), "");
  ReadOptions options;
  options.limits.maxFunctions = 10;
  EXPECT_EQ(checkCodes(functionModel(chain, "F1"), options), "I303");
  options = {};
  options.limits.maxNodes = 2;
  EXPECT_EQ(checkCodes(baseModel(), options), "I303");
}

TEST(PhaseA, StringTensors) {
  auto strings = [](WireWriter &w) {
    message(w, 5, [](WireWriter &w) {
      tensorHead(w, "S", 8, {2});
      w.writeString(6, "a");
      w.writeString(6, "b");
    });
  };
  auto used = [&](StringRef op, StringRef domain) {
    return checkCodes(baseModel(
        nullptr,
        [&](WireWriter &w) {
          strings(w);
          node(w, op, {"S"}, {"z"},
               [&](WireWriter &w) { w.writeString(7, domain); });
        },
        [](WireWriter &w) { opset(w, "d", 1); }));
  };
  EXPECT_EQ(used("Identity", ""), "");
  EXPECT_EQ(used("MatMul", ""), "I207");
  EXPECT_EQ(used("MatMul", "ai.onnx"), "I207");
  EXPECT_EQ(used("Custom", "d"), "");
}

TEST(PhaseA, DeclaredTypes) {
  auto check = [](ArrayRef<int64_t> dims, int32_t type) {
    return checkCodes(baseModel(
        nullptr, [&](WireWriter &w) { valueInfo(w, 11, "z", dims, type); }));
  };
  EXPECT_EQ(check({1, 2}, 1), "");
  EXPECT_EQ(check({-1, 2}, 1), "I202W");
  EXPECT_EQ(check({1}, 0), "I207");
  EXPECT_EQ(check({1}, 99), "I207");
  EXPECT_EQ(check({INT64_MAX, INT64_MAX}, 1), "I201");
  EXPECT_EQ(check({0, INT64_MAX, INT64_MAX}, 1), "I201");
  EXPECT_EQ(check({1 << 20, 1 << 20}, 1), "I201");
  EXPECT_EQ(check(std::vector<int64_t>(33, 1), 1), "I202");
  EXPECT_EQ(check(std::vector<int64_t>(32, 1), 1), "");
  // No type at all, for an input and for an inner value.
  auto untyped = [](uint32_t field) {
    return checkCodes(baseModel(nullptr, [&](WireWriter &w) {
      message(w, field, [](WireWriter &w) { w.writeString(1, "z"); });
    }));
  };
  EXPECT_EQ(untyped(11), "I207");
  EXPECT_EQ(untyped(13), "");
}

TEST(PhaseA, TrainingInfoIsChecked) {
  auto training = [](const Bytes &raw) {
    return checkCodes(baseModel(nullptr, nullptr, [&](WireWriter &w) {
      message(w, 20, [&](WireWriter &w) {
        message(w, 2, [&](WireWriter &w) {
          w.writeString(2, "step");
          rawTensor(w, 5, "lr", 1, {1}, raw);
          node(w, "Mul", {"lr", "W"}, {"W2"});
          valueInfo(w, 12, "W2", {4, 4});
        });
      });
    }));
  };
  EXPECT_EQ(training(Bytes(4, 0)), "");
  EXPECT_EQ(training(Bytes(3, 0)), "I203");
}

TEST(PhaseA, ErrorsAreBounded) {
  Bytes bytes = graphModel([](WireWriter &w) {
    for (int i = 0; i < 1000; ++i)
      node(w, "Relu", {"nope"}, {"v" + std::to_string(i)});
    valueInfo(w, 12, "v1", {1});
  });
  CodedErrors errors;
  auto file = ModelFile::parse(bytes, "m", {}, errors);
  EXPECT_FALSE(checkModel(*file, errors));
  EXPECT_EQ(errors.get().size(), 20u);
}

} // namespace
