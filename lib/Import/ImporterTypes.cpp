//===- ImporterTypes.cpp - Types and declarations of values ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ImporterInternal.h"
#include "ffn-mlir/Ops/OpTable.h"

using namespace mlir;
using namespace mlir::ffn;

/// Size of a declared dimension; dynamic where the file gives a name, nothing,
/// or the -1 that some exporters write.
static int64_t getDim(const proto::DimensionProto &dim) {
  return dim.kind == proto::DimensionProto::Kind::Value && dim.value >= 0
             ? dim.value
             : ShapedType::kDynamic;
}

Type ModelImporter::importType(const proto::TypeProto *type) {
  using Kind = proto::TypeProto::Kind;
  // Wrappers nest as deep as messages may; the innermost type comes first.
  SmallVector<const proto::TypeProto *> wrappers;
  while (type && (type->kind == Kind::Sequence ||
                  type->kind == Kind::Optional || type->kind == Kind::Map)) {
    wrappers.push_back(type);
    type = type->element;
  }
  Type result = unknownType;
  if (type &&
      (type->kind == Kind::Tensor || type->kind == Kind::SparseTensor)) {
    if (Type element = getONNXElementType(ctx, type->elemType)) {
      if (type->hasShape) {
        SmallVector<int64_t> dims;
        for (const proto::DimensionProto &dim : type->shape)
          dims.push_back(getDim(dim));
        result = RankedTensorType::get(dims, element);
      } else {
        result = UnrankedTensorType::get(element);
      }
      if (type->kind == Kind::SparseTensor)
        result = onnx::SparseType::get(ctx, result);
    }
  }
  for (const proto::TypeProto *wrapper : llvm::reverse(wrappers)) {
    if (wrapper->kind == Kind::Sequence) {
      result = onnx::SeqType::get(ctx, result);
    } else if (wrapper->kind == Kind::Optional) {
      result = onnx::OptionalType::get(ctx, result);
    } else {
      Type key = getONNXElementType(ctx, wrapper->elemType);
      result = onnx::MapType::get(ctx, key ? key : unknownType, result);
    }
  }
  return result;
}

Type ModelImporter::getDeclaredType(const Scope &scope, StringRef name) {
  auto it = scope.declared.find(name);
  return it == scope.declared.end() ? unknownType : importType(it->second);
}

DictionaryAttr ModelImporter::getValueInfo(const proto::ValueInfoProto &info) {
  NamedAttrList attrs;
  attrs.set("onnx.name", builder.getStringAttr(info.name));
  addRareFields(info, "onnx.", attrs);
  if (info.type)
    addTypeInfo(*info.type, attrs);
  return attrs.getDictionary(ctx);
}

void ModelImporter::addTypeInfo(const proto::TypeProto &outer,
                                NamedAttrList &attrs) {
  using Kind = proto::TypeProto::Kind;
  if (!outer.getDenotation().empty())
    attrs.set("onnx.denotation", builder.getStringAttr(outer.getDenotation()));
  // A type has one tensor at most, below its sequences, optionals and maps.
  const proto::TypeProto *type = &outer;
  while (type && (type->kind == Kind::Sequence ||
                  type->kind == Kind::Optional || type->kind == Kind::Map))
    type = type->element;
  if (!type)
    return;
  if (type->kind == Kind::Opaque)
    attrs.set("onnx.opaque",
              builder.getStrArrayAttr({type->opaqueDomain, type->opaqueName}));
  if ((type->kind != Kind::Tensor && type->kind != Kind::SparseTensor) ||
      !type->hasShape)
    return;
  SmallVector<Attribute> dims, denotations;
  bool isDynamic = false, isDenoted = false;
  for (const proto::DimensionProto &dim : type->shape) {
    int64_t size = getDim(dim);
    if (ShapedType::isDynamic(size)) {
      isDynamic = true;
      bool isNamed = dim.kind == proto::DimensionProto::Kind::Param;
      dims.push_back(builder.getStringAttr(isNamed ? dim.param : ""));
    } else {
      dims.push_back(builder.getI64IntegerAttr(size));
    }
    isDenoted |= !dim.denotation.empty();
    denotations.push_back(builder.getStringAttr(dim.denotation));
  }
  if (isDynamic)
    attrs.set("ffn.dims", builder.getArrayAttr(dims));
  if (isDenoted)
    attrs.set("onnx.dim_denotations", builder.getArrayAttr(denotations));
}

FailureOr<RankedTensorType>
ModelImporter::getTensorType(const proto::TensorProto &tensor,
                             const Twine &where) {
  Type element = getONNXElementType(ctx, tensor.dataType);
  if (!element)
    return errors.error(
        "I207", where, "data type " + Twine(tensor.dataType) + " is not known");
  return RankedTensorType::get(tensor.dims, element);
}
