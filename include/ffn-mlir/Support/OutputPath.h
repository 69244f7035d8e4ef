//===- OutputPath.h - Where results may be written --------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_OUTPUTPATH_H
#define FFN_MLIR_SUPPORT_OUTPUTPATH_H

#include "mlir/IR/BuiltinOps.h"

namespace mlir::ffn {

/// Refuses a path under which a file lies that weights of the module are read
/// from [FFN-O101]: a rename would put the result in its place, and the model
/// could not be read again. Other names of the file (links) are seen.
LogicalResult checkOutputPath(ModuleOp module, StringRef path);

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_OUTPUTPATH_H
