//===- Npz.h - NumPy archives -----------------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DRIVER_NPZ_H
#define FFN_MLIR_DRIVER_NPZ_H

#include "ffn-mlir/Support/Npy.h"
#include "llvm/Support/Error.h"
#include <map>
#include <string>

namespace mlir::ffn {

/// Reads the arrays of a .npz file (stored or deflated) by name: up to 4096, of
/// up to 1 GiB each. Anything that does not fit the format, headers that
/// contradict the directory and zip bombs are errors with FFN-D102; nothing is
/// allocated by a declared size that the compressed bytes cannot fill.
llvm::Expected<std::map<std::string, NpyArray>> readNpz(llvm::StringRef path);
/// The same from the bytes of a file that `where` names.
llvm::Expected<std::map<std::string, NpyArray>>
parseNpz(llvm::ArrayRef<uint8_t> bytes, llvm::StringRef where);

} // namespace mlir::ffn

#endif // FFN_MLIR_DRIVER_NPZ_H
