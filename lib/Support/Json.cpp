//===- Json.cpp - JSON that every reader takes ----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/Json.h"
#include "llvm/Support/FormatVariadic.h"
#include <cmath>

namespace json = llvm::json;

static void replaceNonFinite(json::Value &value) {
  if (json::Object *object = value.getAsObject()) {
    for (auto &entry : *object)
      replaceNonFinite(entry.second);
  } else if (json::Array *array = value.getAsArray()) {
    for (json::Value &element : *array)
      replaceNonFinite(element);
  } else if (value.kind() == json::Value::Number) {
    std::optional<double> number = value.getAsNumber();
    if (number && !std::isfinite(*number))
      value = nullptr;
  }
}

std::string mlir::ffn::printFiniteJSON(json::Value value) {
  replaceNonFinite(value);
  return llvm::formatv("{0:2}", value).str();
}

bool mlir::ffn::nestsDeeper(llvm::StringRef text, unsigned limit) {
  unsigned depth = 0;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString) {
      i += c == '\\';
      inString = c != '"';
    } else if (c == '"') {
      inString = true;
    } else if (c == '[' || c == '{') {
      if (++depth > limit)
        return true;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return false;
}
