//===- ParsePipeline.h - Pipelines that people write ------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_PIPELINES_PARSEPIPELINE_H
#define FFN_MLIR_PIPELINES_PARSEPIPELINE_H

#include "mlir/Pass/PassManager.h"
#include <string>

namespace mlir::ffn {

/// Parses "builtin.module(...)". On failure `error` is one message with the
/// code FFN-P100, the line of `text` where it is wrong, and a caret under it:
/// MLIR shows what stands between the outer parentheses only, and nothing where
/// options or anchors are wrong. Used by all tools and Python.
FailureOr<OpPassManager> parsePipeline(llvm::StringRef text,
                                       std::string &error);
/// The same, with the message on stderr.
FailureOr<OpPassManager> parsePipeline(llvm::StringRef text);

} // namespace mlir::ffn

#endif // FFN_MLIR_PIPELINES_PARSEPIPELINE_H
