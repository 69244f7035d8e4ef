//===- ValidateTypes.cpp - Phase A: declared types, attributes ------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Validate.h"
#include "ffn-mlir/Import/TensorData.h"
#include "llvm/ADT/STLExtras.h"

using namespace llvm;
using namespace mlir::ffn::proto;

namespace mlir::ffn {

bool takesStrings(StringRef op) {
  // From the schemas of onnx 1.23: an input type that includes tensor(string).
  static constexpr StringRef ops[] = {"Cast",
                                      "CastLike",
                                      "CenterCropPad",
                                      "Col2Im",
                                      "Compress",
                                      "Concat",
                                      "ConcatFromSequence",
                                      "DepthToSpace",
                                      "Equal",
                                      "Expand",
                                      "Flatten",
                                      "Gather",
                                      "GatherElements",
                                      "GatherND",
                                      "GridSample",
                                      "Identity",
                                      "Loop",
                                      "NonZero",
                                      "OneHot",
                                      "Optional",
                                      "OptionalGetElement",
                                      "OptionalHasElement",
                                      "Pad",
                                      "RandomNormalLike",
                                      "RandomUniformLike",
                                      "RegexFullMatch",
                                      "Reshape",
                                      "Resize",
                                      "ReverseSequence",
                                      "Scan",
                                      "Scatter",
                                      "ScatterElements",
                                      "ScatterND",
                                      "SequenceAt",
                                      "SequenceConstruct",
                                      "SequenceErase",
                                      "SequenceInsert",
                                      "SequenceLength",
                                      "SequenceMap",
                                      "Shape",
                                      "Size",
                                      "Slice",
                                      "SpaceToDepth",
                                      "Split",
                                      "SplitToSequence",
                                      "Squeeze",
                                      "StringConcat",
                                      "StringNormalizer",
                                      "StringSplit",
                                      "TensorScatter",
                                      "TfIdfVectorizer",
                                      "Tile",
                                      "Transpose",
                                      "Trilu",
                                      "Unique",
                                      "Unsqueeze",
                                      "Upsample",
                                      "Where"};
  return binary_search(ops, op);
}

void PhaseA::checkType(const TypeProto *type, bool needed,
                       function_ref<std::string()> where) {
  if (!type) {
    if (needed)
      (void)errors.error("I207", where(), "no type is given");
    return;
  }
  // A loop, as types nest in types.
  for (const TypeProto *t = type; t; t = t->element) {
    switch (t->kind) {
    case TypeProto::Kind::Unset:
      if (needed)
        (void)errors.error("I207", where(), "no type is given");
      return;
    case TypeProto::Kind::Opaque:
      return;
    case TypeProto::Kind::Sequence:
    case TypeProto::Kind::Optional:
    case TypeProto::Kind::Map:
      if (t->kind == TypeProto::Kind::Map && !isKnownDataType(t->elemType)) {
        (void)errors.error("I207", where(),
                           "data type " + Twine(t->elemType) +
                               " of the keys of a map is not known");
        return;
      }
      if (!t->element) {
        (void)errors.error("I207", where(),
                           "a sequence, optional or map has no element type");
        return;
      }
      continue;
    case TypeProto::Kind::Tensor:
    case TypeProto::Kind::SparseTensor:
      break;
    }
    // Undefined is what exporters write for "not inferred".
    if (!isKnownDataType(t->elemType) && (needed || t->elemType != 0)) {
      (void)errors.error("I207", where(),
                         "data type " + Twine(t->elemType) + " is not known");
      return;
    }
    SmallVector<int64_t> fixed;
    for (auto [i, dim] : enumerate(t->shape)) {
      if (dim.kind == DimensionProto::Kind::Param)
        checkName(dim.param, "dimension", where);
      if (dim.kind != DimensionProto::Kind::Value)
        continue;
      if (dim.value < 0)
        habit("I202", where(),
              "dimension " + Twine(i) + " is declared as " + Twine(dim.value) +
                  "; it is taken as dynamic");
      else
        fixed.push_back(dim.value);
    }
    if (t->shape.size() > limits.maxRank) {
      (void)errors.error("I202", where(),
                         "rank " + Twine(t->shape.size()) +
                             " is more than the limit " + Twine(limits.maxRank),
                         {"the limit can be set by --max-rank"});
      return;
    }
    uint64_t elements, bytes;
    int32_t elemType = t->elemType ? t->elemType : 1;
    CodedErrors found(1);
    if (failed(getTensorSize(elemType, fixed, limits, "", elements, bytes,
                             found))) {
      const CodedError &e = found.get().front();
      (void)errors.error(StringRef(e.code).drop_front(4), where(), e.what,
                         e.notes);
    }
    return;
  }
}

void PhaseA::checkAttributes(ArrayRef<AttributeProto> attributes,
                             const NameSet *functionAttributes,
                             function_ref<std::string()> where) {
  SmallNameSet names;
  for (const AttributeProto &a : attributes) {
    auto at = [&] { return where() + ", attribute " + quoteName(a.name); };
    checkName(a.name, "attribute name", where);
    if (a.name.empty()) {
      (void)errors.error("I501", where(), "an attribute has no name");
      continue;
    }
    if (!names.insert(a.name).second)
      (void)errors.error("I501", where(),
                         "attribute " + quoteName(a.name) + " is given twice");
    auto kind = static_cast<int32_t>(a.kind);
    if (kind < 0 || kind > kMaxAttributeKind) {
      (void)errors.error("I501", at(),
                         "attribute type " + Twine(kind) + " is not known");
      continue;
    }
    if (popcount(a.valueFields) > 1) {
      (void)errors.error("I501", at(), "more than one value is given");
      continue;
    }
    if (a.isReference()) {
      checkName(a.getRefAttrName(), "attribute name", at);
      if (!functionAttributes) {
        (void)errors.error("I501", at(),
                           "it refers to an attribute of a function, but is "
                           "not in one");
      } else if (!functionAttributes->contains(a.getRefAttrName())) {
        (void)errors.error("I501", at(),
                           "the function has no attribute " +
                               quoteName(a.getRefAttrName()));
      }
      if (a.valueFields)
        (void)errors.error("I501", at(), "it is both a reference and a value");
      if (a.kind == AttributeKind::Undefined)
        (void)errors.error("I501", at(), "the reference has no type");
      continue;
    }
    if (a.kind == AttributeKind::Undefined) {
      (void)errors.error("I501", at(), "it has neither type nor value");
      continue;
    }
    if (a.storedKind != AttributeKind::Undefined && a.storedKind != a.kind) {
      (void)errors.error("I501", at(),
                         "it is declared as " + getAttributeKindName(a.kind) +
                             ", its value is " +
                             getAttributeKindName(a.storedKind));
      continue;
    }
    bool single = a.kind == AttributeKind::Tensor ||
                  a.kind == AttributeKind::Graph ||
                  a.kind == AttributeKind::SparseTensor ||
                  a.kind == AttributeKind::TypeProto;
    if (single && a.storedKind == AttributeKind::Undefined) {
      (void)errors.error("I501", at(), "it has no value");
      continue;
    }
    for (const TensorProto &t : a.getAnyTensors())
      (void)checkTensor(file, t, at(), errors);
    for (const SparseTensorProto &s : a.getAnySparseTensors())
      (void)checkSparse(file, s, at(), errors);
    if (const TypeProto *t = a.getTypeProto())
      checkType(t, /*needed=*/false, at);
    for (const TypeProto &t : a.getTypeProtos())
      checkType(&t, /*needed=*/false, at);
  }
}

const AttributeProto *AttributeReader::find(StringRef name) const {
  for (const AttributeProto &a : attributes)
    if (a.name == name)
      return &a;
  return nullptr;
}

const AttributeProto *AttributeReader::get(StringRef name, AttributeKind kind) {
  const AttributeProto *a = find(name);
  if (!a || a->kind == kind)
    return a;
  bad = true;
  (void)errors.error("I501", where,
                     "attribute " + quoteName(name) + " is " +
                         getAttributeKindName(a->kind) + ", " +
                         getAttributeKindName(kind) + " is needed");
  return nullptr;
}

int64_t AttributeReader::getInt(StringRef name, int64_t fallback) {
  const AttributeProto *a = get(name, AttributeKind::Int);
  return a ? a->getInt() : fallback;
}
float AttributeReader::getFloat(StringRef name, float fallback) {
  const AttributeProto *a = get(name, AttributeKind::Float);
  return a ? a->getFloat() : fallback;
}
StringRef AttributeReader::getString(StringRef name, StringRef fallback) {
  const AttributeProto *a = get(name, AttributeKind::String);
  return a ? a->getString() : fallback;
}
ArrayRef<int64_t> AttributeReader::getInts(StringRef name,
                                           ArrayRef<int64_t> fallback) {
  const AttributeProto *a = get(name, AttributeKind::Ints);
  return a ? a->getInts() : fallback;
}
ArrayRef<float> AttributeReader::getFloats(StringRef name) {
  const AttributeProto *a = get(name, AttributeKind::Floats);
  return a ? a->getFloats() : ArrayRef<float>();
}
ArrayRef<StringRef> AttributeReader::getStrings(StringRef name) {
  const AttributeProto *a = get(name, AttributeKind::Strings);
  return a ? a->getStrings() : ArrayRef<StringRef>();
}
const TensorProto *AttributeReader::getTensor(StringRef name) {
  const AttributeProto *a = get(name, AttributeKind::Tensor);
  return a ? a->getTensor() : nullptr;
}
const GraphProto *AttributeReader::getGraph(StringRef name) {
  const AttributeProto *a = get(name, AttributeKind::Graph);
  return a ? a->getGraph() : nullptr;
}

} // namespace mlir::ffn
