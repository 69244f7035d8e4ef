//===- Npy.h - NumPy array files --------------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A strict reader: the header is matched against a tiny grammar and never
// evaluated, object and structured types are refused, and nothing is allocated
// by a declared size before that many bytes are seen. Errors are FFN-D101.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_NPY_H
#define FFN_MLIR_SUPPORT_NPY_H

#include "ffn-mlir/Support/CodedError.h"
#include "llvm/ADT/ArrayRef.h"
#include <cstdint>
#include <string>
#include <vector>

namespace mlir::ffn {

/// An array in row-major order and little-endian bytes.
struct NpyArray {
  /// 'b' boolean, 'i' signed, 'u' unsigned, 'f' floating.
  char kind = 'f';
  /// Bytes of an element: 1, 2, 4 or 8.
  unsigned itemSize = 8;
  llvm::SmallVector<int64_t> shape;
  std::vector<char> data;

  int64_t getNumElements() const {
    return static_cast<int64_t>(data.size() / itemSize);
  }
  /// "f4", "i8", "b1".
  std::string getTypeName() const;
};

/// Reads the bytes of a file. `where` names it in diagnostics.
llvm::FailureOr<NpyArray> parseNpy(llvm::ArrayRef<uint8_t> bytes,
                                   llvm::StringRef where, CodedErrors &errors);
/// Reads the file at `path`, which the user named.
llvm::FailureOr<NpyArray> readNpy(llvm::StringRef path, CodedErrors &errors);

/// The bytes of a file of format 1.0.
std::string encodeNpy(const NpyArray &array);
/// Writes to a temporary file in the same folder and renames it.
llvm::LogicalResult writeNpy(llvm::StringRef path, const NpyArray &array,
                             std::string &error);

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_NPY_H
