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

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_JSON_H
