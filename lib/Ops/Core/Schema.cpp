//===- Schema.cpp - Arity, attributes and types of operators --------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/OpTable.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"
#include <limits>
#include <tuple>

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// The data: one file read several times, once for each array
//===----------------------------------------------------------------------===//

namespace {
enum ArityLimit { Variadic = std::numeric_limits<int>::max() };
enum Flags { Single = 0, Optional = 1, Repeated = 2, Mixed = 4, Required = 8 };
enum SchemaFlags { Deprecated = 1, Habit = 2 };

/// One line of the data files. The kind decides which fields count.
struct Row {
  enum Kind : uint8_t { Op, Attr, Input, Output } kind;
  const char *text;
  const char *text2;
  uint64_t number; // op: since-version; parameter: mask; attribute: kind
  int arity[4];
  int flags;
  OpEffect effect;
};

constexpr const char *None = nullptr;

const Row rows[] = {
#define DOMAIN(name, newest)
#define OP(domain, name, since, minIn, maxIn, minOut, maxOut, flags, effect)   \
  {Row::Op, domain,          name, since, {minIn, maxIn, minOut, maxOut},      \
   flags,   OpEffect::effect},
#define A(name, kind, need, otherwise)                                         \
  {Row::Attr, name, otherwise,     static_cast<uint64_t>(AttrKind::kind),      \
   {},        need, OpEffect::Pure},
#define I(type, mask, flags)                                                   \
  {Row::Input, type, nullptr, mask, {}, flags, OpEffect::Pure},
#define O(type, mask, flags)                                                   \
  {Row::Output, type, nullptr, mask, {}, flags, OpEffect::Pure},
#include "../OpSchema.inc"
#include "../OpSchemaContrib.inc"
#include "../OpSchemaExtra.inc"
#undef DOMAIN
#undef OP
};

constexpr std::pair<const char *, int> domains[] = {
#define DOMAIN(name, newest) {name, newest},
#define OP(...)
#undef A
#undef I
#undef O
#define A(...)
#define I(...)
#define O(...)
#include "../OpSchema.inc"
#include "../OpSchemaContrib.inc"
#include "../OpSchemaExtra.inc"
#undef DOMAIN
#undef OP
#undef A
#undef I
#undef O
};

/// All schemas in lookup order, and the arrays that they refer to.
struct SchemaData {
  std::vector<Schema> schemas;
  std::vector<AttrSchema> attrs;
  std::vector<ParamSchema> params;
  /// "domain::name" -> index of the first version and number of versions.
  llvm::StringMap<std::pair<unsigned, unsigned>> index;

  SchemaData();
};
} // namespace

static std::string makeKey(StringRef domain, StringRef name) {
  return (domain + "::" + name).str();
}

static StringRef normalizeDomainName(StringRef domain) {
  return domain == "ai.onnx" ? StringRef() : domain;
}

SchemaData::SchemaData() {
  // References are made when the arrays have stopped growing.
  attrs.reserve(std::size(rows));
  params.reserve(std::size(rows));
  for (const Row *row = std::begin(rows); row != std::end(rows);) {
    const Row &op = *row++;
    size_t firstAttr = attrs.size(), firstParam = params.size();
    size_t numInputs = 0;
    for (; row != std::end(rows) && row->kind != Row::Op; ++row) {
      if (row->kind == Row::Attr) {
        attrs.push_back({row->text, static_cast<AttrKind>(row->number),
                         (row->flags & Required) != 0,
                         row->text2 ? StringRef(row->text2) : StringRef(),
                         row->text2 != nullptr});
        continue;
      }
      numInputs += row->kind == Row::Input;
      params.push_back({row->text, row->number, (row->flags & Optional) != 0,
                        (row->flags & Repeated) != 0,
                        (row->flags & Mixed) != 0});
    }
    Schema schema;
    schema.domain = op.text;
    schema.name = op.text2;
    schema.sinceVersion = static_cast<int>(op.number);
    schema.minInputs = op.arity[0];
    schema.maxInputs = op.arity[1];
    schema.minOutputs = op.arity[2];
    schema.maxOutputs = op.arity[3];
    schema.deprecated = (op.flags & Deprecated) != 0;
    schema.habit = (op.flags & Habit) != 0;
    schema.effect = op.effect;
    schema.attrs = ArrayRef(attrs).drop_front(firstAttr);
    ArrayRef<ParamSchema> all = ArrayRef(params).drop_front(firstParam);
    schema.inputs = all.take_front(numInputs);
    schema.outputs = all.drop_front(numInputs);
    schemas.push_back(schema);
  }
  llvm::sort(schemas, [](const Schema &a, const Schema &b) {
    return std::tie(a.domain, a.name, a.sinceVersion) <
           std::tie(b.domain, b.name, b.sinceVersion);
  });
  for (auto [i, schema] : llvm::enumerate(schemas))
    ++index
          .try_emplace(makeKey(schema.domain, schema.name),
                       std::pair<unsigned, unsigned>(i, 0))
          .first->second.second;
}

static const SchemaData &getData() {
  static const SchemaData data;
  return data;
}

//===----------------------------------------------------------------------===//
// Queries
//===----------------------------------------------------------------------===//

const AttrSchema *Schema::findAttr(StringRef attrName) const {
  for (const AttrSchema &attr : attrs)
    if (attr.name == attrName)
      return &attr;
  return nullptr;
}

const Schema *ffn::lookupSchema(StringRef domain, StringRef name, int opset) {
  const SchemaData &data = getData();
  auto it = data.index.find(makeKey(normalizeDomainName(domain), name));
  if (it == data.index.end())
    return nullptr;
  const Schema *best = nullptr;
  for (const Schema &schema :
       ArrayRef(data.schemas).slice(it->second.first, it->second.second))
    if (schema.sinceVersion <= opset)
      best = &schema;
  return best;
}

bool ffn::isKnownOperator(StringRef domain, StringRef name) {
  return getData().index.contains(makeKey(normalizeDomainName(domain), name));
}

int ffn::getNewestOpset(StringRef domain) {
  for (auto [name, newest] : domains)
    if (normalizeDomainName(domain) == name)
      return newest;
  return 0;
}

ArrayRef<Schema> ffn::getAllSchemas() { return getData().schemas; }

//===----------------------------------------------------------------------===//
// Element types
//===----------------------------------------------------------------------===//

Type ffn::getONNXElementType(MLIRContext *ctx, int number) {
  auto integer = [&](unsigned width, bool isUnsigned = false) -> Type {
    return IntegerType::get(
        ctx, width, isUnsigned ? IntegerType::Unsigned : IntegerType::Signless);
  };
  switch (number) {
  case 1:
    return Float32Type::get(ctx);
  case 2:
    return integer(8, true);
  case 3:
    return integer(8);
  case 4:
    return integer(16, true);
  case 5:
    return integer(16);
  case 6:
    return integer(32);
  case 7:
    return integer(64);
  case 8:
    ctx->loadDialect<onnx::ONNXDialect>();
    return onnx::StringType::get(ctx);
  case 9:
    return integer(1);
  case 10:
    return Float16Type::get(ctx);
  case 11:
    return Float64Type::get(ctx);
  case 12:
    return integer(32, true);
  case 13:
    return integer(64, true);
  case 14:
    return ComplexType::get(Float32Type::get(ctx));
  case 15:
    return ComplexType::get(Float64Type::get(ctx));
  case 16:
    return BFloat16Type::get(ctx);
  case 17:
    return Float8E4M3FNType::get(ctx);
  case 18:
    return Float8E4M3FNUZType::get(ctx);
  case 19:
    return Float8E5M2Type::get(ctx);
  case 20:
    return Float8E5M2FNUZType::get(ctx);
  case 21:
    return integer(4, true);
  case 22:
    return integer(4);
  case 23:
    return Float4E2M1FNType::get(ctx);
  case 24:
    return Float8E8M0FNUType::get(ctx);
  case 25:
    return integer(2, true);
  case 26:
    return integer(2);
  case 27:
    return Float6E2M3FNType::get(ctx);
  case 28:
    return Float6E3M2FNType::get(ctx);
  default:
    return {};
  }
}

int ffn::getONNXTypeNumber(Type type) {
  if (!type)
    return 0;
  for (int number = 1; number <= 28; ++number)
    if (getONNXElementType(type.getContext(), number) == type)
      return number;
  return 0;
}
