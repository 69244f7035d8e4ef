//===- ffn-wire-dump.cpp - What the wire reader sees ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// For tests and bug reports. `--tensors` lists every tensor with the SHA-1 of
// its elements, `--check` runs Phase A, and `--rewrite=OUT` writes all that
// was read again, so that another protobuf reader can compare the two files.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Export/WireWriter.h"
#include "ffn-mlir/Import/PhaseA.h"
#include "ffn-mlir/Import/TensorData.h"
#include "ffn-mlir/Support/Sha1.h"
#include "ffn-mlir/Support/StandardStreams.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/JSON.h"

using namespace llvm;
using namespace mlir::ffn;
using namespace mlir::ffn::proto;

static cl::OptionCategory category("ffn-wire-dump options");
static cl::opt<std::string> input(cl::Positional, cl::Required,
                                  cl::desc("model.onnx"), cl::cat(category));
static cl::opt<std::string> rewritePath("rewrite",
                                        cl::desc("write the model again"),
                                        cl::cat(category));
static cl::opt<bool> listTensors("tensors", cl::desc("list all tensors"),
                                 cl::cat(category));
static cl::opt<bool> check("check", cl::desc("run the checks of Phase A"),
                           cl::cat(category));
static cl::opt<bool> strict("strict", cl::desc("habits are errors"),
                            cl::cat(category));
static cl::opt<bool> noMmap("no-mmap", cl::desc("read instead of mapping"),
                            cl::cat(category));

namespace {

/// Writes the structs of the reader. Nested graphs recurse: this is a tool for
/// files that passed the depth limit.
struct Rewriter {
  WireWriter w;
  const uint8_t *base;

  template <typename T, typename F>
  void list(uint32_t field, ArrayRef<T> items, F write) {
    for (const T &item : items) {
      auto scope = w.message(field);
      write(item);
    }
  }
  void strings(uint32_t field, ArrayRef<StringRef> items) {
    for (StringRef s : items)
      w.writeString(field, s);
  }
  void entries(uint32_t field, ArrayRef<StringStringEntryProto> items) {
    for (const StringStringEntryProto &e : items)
      w.writeEntry(field, e.key, e.value);
  }
  void rare(const MessageBase &m, uint32_t doc, uint32_t metadata) {
    if (doc)
      w.writeStringIfSet(doc, m.getDocString());
    if (metadata)
      entries(metadata, m.getMetadata());
    for (StringRef bytes : m.getUnknown())
      w.writeRaw(bytes);
  }
  void tensor(const TensorProto &t) {
    w.writeRepeatedInts(1, t.dims);
    w.writeInt(2, t.dataType);
    w.writeStringIfSet(8, t.name);
    // Payloads and their fields as they are; `segment` among them.
    for (FieldCursor c(base + t.offset, base + t.offset + t.size); c.next();) {
      uint32_t n = c.number;
      if (n != 3 && n != 4 && n != 5 && n != 6 && n != 7 && n != 9 && n != 10 &&
          n != 11)
        continue;
      if (c.type == WireType::Bytes)
        w.writeBytes(n, c.bytes);
      else if (c.type == WireType::Varint)
        w.writeUInt(n, c.value);
      else if (c.type == WireType::Fixed32)
        w.writeFloat(n, bit_cast<float>(static_cast<uint32_t>(c.value)));
      else
        w.writeDouble(n, bit_cast<double>(c.value));
    }
    entries(13, t.externalData);
    if (t.dataLocation)
      w.writeInt(14, t.dataLocation);
    rare(t, 12, 16);
  }
  void sparse(const SparseTensorProto &s) {
    if (s.values) {
      auto scope = w.message(1);
      tensor(*s.values);
    }
    if (s.indices) {
      auto scope = w.message(2);
      tensor(*s.indices);
    }
    w.writeRepeatedInts(3, s.dims);
    rare(s, 0, 0);
  }
  void type(const TypeProto &t) {
    using K = TypeProto::Kind;
    auto shape = [&] {
      if (!t.hasShape)
        return;
      auto scope = w.message(2);
      list(1, t.shape, [&](const DimensionProto &d) {
        if (d.kind == DimensionProto::Kind::Value)
          w.writeInt(1, d.value);
        if (d.kind == DimensionProto::Kind::Param)
          w.writeString(2, d.param);
        w.writeStringIfSet(3, d.denotation);
      });
    };
    auto element = [&](uint32_t field) {
      if (!t.element)
        return;
      auto scope = w.message(field);
      type(*t.element);
    };
    static constexpr uint32_t fields[] = {0, 1, 8, 4, 9, 5, 7};
    if (t.kind != K::Unset) {
      auto scope = w.message(fields[static_cast<unsigned>(t.kind)]);
      if (t.kind == K::Tensor || t.kind == K::SparseTensor) {
        if (t.elemType)
          w.writeInt(1, t.elemType);
        shape();
      } else if (t.kind == K::Map) {
        w.writeInt(1, t.elemType);
        element(2);
      } else if (t.kind == K::Opaque) {
        w.writeStringIfSet(1, t.opaqueDomain);
        w.writeStringIfSet(2, t.opaqueName);
      } else {
        element(1);
      }
    }
    w.writeStringIfSet(6, t.getDenotation());
    rare(t, 0, 0);
  }
  void valueInfo(const ValueInfoProto &v) {
    w.writeStringIfSet(1, v.name);
    if (v.type) {
      auto scope = w.message(2);
      type(*v.type);
    }
    rare(v, 3, 4);
  }
  void attribute(const AttributeProto &a) {
    w.writeStringIfSet(1, a.name);
    if (a.hasType)
      w.writeInt(20, static_cast<int64_t>(a.kind));
    w.writeStringIfSet(21, a.getRefAttrName());
    switch (a.storedKind) {
    case AttributeKind::Float:
      w.writeFloat(2, a.getFloat());
      break;
    case AttributeKind::Int:
      w.writeInt(3, a.getInt());
      break;
    case AttributeKind::String:
      w.writeString(4, a.getString());
      break;
    default:
      break;
    }
    bool one = a.kind == AttributeKind::Tensor;
    list(one ? 5 : 10, a.getAnyTensors(),
         [&](const TensorProto &t) { tensor(t); });
    one = a.kind == AttributeKind::Graph;
    list(one ? 6 : 11, a.getAnyGraphs(),
         [&](const GraphProto &g) { graph(g); });
    one = a.kind == AttributeKind::SparseTensor;
    list(one ? 22 : 23, a.getAnySparseTensors(),
         [&](const SparseTensorProto &s) { sparse(s); });
    w.writeRepeatedFloats(7, a.getFloats());
    w.writeRepeatedInts(8, a.getInts());
    strings(9, a.getStrings());
    if (const TypeProto *t = a.getTypeProto()) {
      auto scope = w.message(14);
      type(*t);
    }
    list(15, a.getTypeProtos(), [&](const TypeProto &t) { type(t); });
    rare(a, 13, 0);
  }
  void node(const NodeProto &n) {
    strings(1, n.input);
    strings(2, n.output);
    w.writeStringIfSet(3, n.name);
    w.writeStringIfSet(4, n.opType);
    w.writeStringIfSet(7, n.domain);
    w.writeStringIfSet(8, n.getOverload());
    list(5, n.attribute, [&](const AttributeProto &a) { attribute(a); });
    rare(n, 6, 9);
  }
  void graph(const GraphProto &g) {
    list(1, g.node, [&](const NodeProto &n) { node(n); });
    w.writeStringIfSet(2, g.name);
    list(5, g.initializer, [&](const TensorProto &t) { tensor(t); });
    list(15, g.sparseInitializer,
         [&](const SparseTensorProto &s) { sparse(s); });
    auto value = [&](const ValueInfoProto &v) { valueInfo(v); };
    list(11, g.input, value);
    list(12, g.output, value);
    list(13, g.valueInfo, value);
    list(14, g.quantizationAnnotation, [&](const TensorAnnotation &a) {
      w.writeStringIfSet(1, a.tensorName);
      entries(2, a.quantParameterTensorNames);
      rare(a, 0, 0);
    });
    rare(g, 10, 16);
  }
  void opsets(uint32_t field, ArrayRef<OperatorSetIdProto> ids) {
    list(field, ids, [&](const OperatorSetIdProto &o) {
      w.writeString(1, o.domain);
      if (o.hasVersion)
        w.writeInt(2, o.version);
    });
  }
  void function(const FunctionProto &f) {
    w.writeStringIfSet(1, f.name);
    strings(4, f.input);
    strings(5, f.output);
    strings(6, f.attribute);
    list(11, f.attributeProto, [&](const AttributeProto &a) { attribute(a); });
    list(7, f.node, [&](const NodeProto &n) { node(n); });
    opsets(9, f.opsetImport);
    w.writeStringIfSet(10, f.domain);
    w.writeStringIfSet(13, f.getOverload());
    list(12, f.valueInfo, [&](const ValueInfoProto &v) { valueInfo(v); });
    rare(f, 8, 14);
  }
  void model(const ModelProto &m) {
    if (m.hasIrVersion)
      w.writeInt(1, m.irVersion);
    w.writeStringIfSet(2, m.producerName);
    w.writeStringIfSet(3, m.producerVersion);
    w.writeStringIfSet(4, m.domain);
    if (m.hasModelVersion)
      w.writeInt(5, m.modelVersion);
    if (m.graph) {
      auto scope = w.message(7);
      graph(*m.graph);
    }
    opsets(8, m.opsetImport);
    list(20, m.trainingInfo, [&](const TrainingInfoProto &t) {
      if (t.initialization) {
        auto scope = w.message(1);
        graph(*t.initialization);
      }
      if (t.algorithm) {
        auto scope = w.message(2);
        graph(*t.algorithm);
      }
      entries(3, t.initializationBinding);
      entries(4, t.updateBinding);
      rare(t, 0, 0);
    });
    list(25, m.functions, [&](const FunctionProto &f) { function(f); });
    rare(m, 6, 14);
  }
};

/// Every tensor of the model, in the order of the file.
struct Lister {
  const ModelFile &file;
  CodedErrors &errors;
  json::OStream &out;

  void tensor(const TensorProto &t) {
    TensorData data;
    std::string text;
    Sha1 hash;
    if (failed(resolveTensor(file, t, quoteName(t.name), data, errors)))
      return;
    if (data.kind == TensorData::Kind::Strings) {
      for (StringRef s : data.strings) {
        hash.update(arrayRefFromStringRef(s));
        hash.update(uint8_t(0));
      }
    } else {
      std::vector<uint8_t> bytes;
      if (failed(readTensor(file, t, quoteName(t.name), bytes, errors)))
        return;
      hash.update(bytes);
    }
    out.object([&] {
      out.attribute("name", json::fixUTF8(t.name));
      out.attribute("type", t.dataType);
      out.attributeArray("dims", [&] {
        for (int64_t d : t.dims)
          out.value(d);
      });
      out.attribute("place",
                    data.kind == TensorData::Kind::Span
                        ? (data.location.empty() ? "model" : "external")
                        : "decoded");
      out.attribute("sha1", toHex(hash.finish(), /*LowerCase=*/true));
    });
  }
  void graph(const GraphProto &g) {
    for (const TensorProto &t : g.initializer)
      tensor(t);
    for (const NodeProto &n : g.node)
      node(n);
  }
  void node(const NodeProto &n) {
    for (const AttributeProto &a : n.attribute) {
      for (const TensorProto &t : a.getAnyTensors())
        tensor(t);
      for (const GraphProto &g : a.getAnyGraphs())
        graph(g);
    }
  }
};

} // namespace

int main(int argc, char **argv) {
  guardStandardStreams();
  cl::HideUnrelatedOptions(category);
  if (!cl::ParseCommandLineOptions(
          argc, argv, "Shows what the wire reader sees\n", &errs()))
    return 2;
  ReadOptions options;
  options.strict = strict;
  options.files.noMmap = noMmap;
  CodedErrors errors;
  std::unique_ptr<ModelFile> file = ModelFile::read(input, options, errors);
  if (file) {
    const ModelProto &model = file->getModel();
    if (check)
      (void)checkModel(*file, errors);
    if (!errors.hasErrors()) {
      json::OStream out(outs(), 1);
      out.object([&] {
        out.attribute("memory", static_cast<int64_t>(file->getMemoryUse()));
        if (model.graph) {
          out.attribute("nodes", model.graph->node.size());
          out.attribute("initializers", model.graph->initializer.size());
        }
        if (listTensors)
          out.attributeArray("tensors", [&] {
            Lister lister{*file, errors, out};
            if (model.graph)
              lister.graph(*model.graph);
            for (const FunctionProto &f : model.functions)
              for (const NodeProto &n : f.node)
                lister.node(n);
          });
      });
    }
    outs() << '\n';
    if (!rewritePath.empty()) {
      if (succeeded(
              file->getFile().ensure(0, file->getFile().getSize(), errors))) {
        Rewriter rewriter{{}, file->getFile().getBase()};
        rewriter.model(model);
        OutputFile target;
        if (succeeded(target.create(rewritePath, errors)) &&
            succeeded(rewriter.w.writeTo(target, errors)))
          (void)target.commit();
      }
    }
    (void)file->checkUnchanged(errors);
  }
  errors.print(llvm::errs(), input);
  return errors.hasErrors() ? 1 : 0;
}
