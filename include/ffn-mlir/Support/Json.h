//===- Json.h - JSON that every reader takes --------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_JSON_H
#define FFN_MLIR_SUPPORT_JSON_H

#include "llvm/Support/JSON.h"
#include <string>

namespace mlir::ffn {

/// Indented text. JSON has no number that is not finite: null stands for it.
std::string printFiniteJSON(llvm::json::Value value);

/// Whether lists and objects of a JSON text nest deeper than `limit`. LLVM's
/// parser recurses: it must not see a file of others that does.
bool nestsDeeper(llvm::StringRef text, unsigned limit);

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_JSON_H
