//===- Proto.cpp - Names and sizes of ONNX enumerations -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Import/Proto.h"
#include <iterator>

namespace mlir::ffn::proto {

namespace {
struct TypeInfo {
  const char *name;
  unsigned bits;
};
} // namespace

static constexpr TypeInfo kTypes[] = {
    {"undefined", 0},      {"float32", 32},   {"uint8", 8},
    {"int8", 8},           {"uint16", 16},    {"int16", 16},
    {"int32", 32},         {"int64", 64},     {"string", 0},
    {"bool", 8},           {"float16", 16},   {"float64", 64},
    {"uint32", 32},        {"uint64", 64},    {"complex64", 64},
    {"complex128", 128},   {"bfloat16", 16},  {"float8e4m3fn", 8},
    {"float8e4m3fnuz", 8}, {"float8e5m2", 8}, {"float8e5m2fnuz", 8},
    {"uint4", 4},          {"int4", 4},       {"float4e2m1", 4},
    {"float8e8m0", 8},     {"uint2", 2},      {"int2", 2},
    {"float6e2m3", 6},     {"float6e3m2", 6},
};
static_assert(std::size(kTypes) == kMaxDataType + 1);

bool isKnownDataType(int32_t type) { return type > 0 && type <= kMaxDataType; }

StringRef getDataTypeName(int32_t type) {
  return type >= 0 && type <= kMaxDataType ? kTypes[type].name : "unknown";
}

unsigned getBitWidth(int32_t type) {
  return isKnownDataType(type) ? kTypes[type].bits : 0;
}

StringRef getAttributeKindName(AttributeKind kind) {
  static constexpr const char *names[] = {"undefined",
                                          "a float",
                                          "an integer",
                                          "a string",
                                          "a tensor",
                                          "a graph",
                                          "a list of floats",
                                          "a list of integers",
                                          "a list of strings",
                                          "a list of tensors",
                                          "a list of graphs",
                                          "a sparse tensor",
                                          "a list of sparse tensors",
                                          "a type",
                                          "a list of types"};
  static_assert(std::size(names) == kMaxAttributeKind + 1);
  auto index = static_cast<int32_t>(kind);
  return index >= 0 && index <= kMaxAttributeKind ? names[index] : "unknown";
}

} // namespace mlir::ffn::proto
