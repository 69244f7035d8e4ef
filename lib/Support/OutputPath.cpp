//===- OutputPath.cpp - Where results may be written ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/OutputPath.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace mlir::ffn;

LogicalResult mlir::ffn::checkOutputPath(ModuleOp module, StringRef path) {
  std::string folder = WeightStore::get(module.getContext()).getBaseDirectory();
  for (auto file : module.getOps<FileOp>()) {
    SmallString<256> source;
    if (!llvm::sys::path::is_absolute(file.getPath()))
      source = folder;
    llvm::sys::path::append(source, file.getPath());
    if (llvm::sys::fs::equivalent(source, path))
      return module.emitError("cannot write '")
             << path
             << "': weights of the model are read from it; give another name "
                "[FFN-O101]";
  }
  return success();
}
