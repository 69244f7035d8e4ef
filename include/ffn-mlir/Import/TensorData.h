//===- TensorData.h - Where the elements of a tensor are --------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// One function resolves every TensorProto, whoever carries it: initializers,
// attributes, both halves of a sparse tensor, in graphs, subgraphs, functions
// and training info. So no carrier can escape a check.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_IMPORT_TENSORDATA_H
#define FFN_MLIR_IMPORT_TENSORDATA_H

#include "ffn-mlir/Import/Wire.h"

namespace mlir::ffn {

/// Result of `resolveTensor`.
struct TensorData {
  enum class Kind {
    /// Bytes [offset, offset + byteSize) of `file` are the packed little-endian
    /// elements. `location` is empty for the model file itself, else the
    /// external location as the model wrote it. Any alignment.
    Span,
    /// `bytes` are the packed little-endian elements, decoded from typed
    /// fields.
    Bytes,
    /// `strings` are the elements.
    Strings,
  };
  Kind kind = Kind::Bytes;
  uint64_t numElements = 0;
  /// Packed bytes; 0 for strings.
  uint64_t byteSize = 0;
  std::shared_ptr<SafeFile> file;
  llvm::StringRef location;
  uint64_t offset = 0;
  std::vector<uint8_t> bytes;
  std::vector<llvm::StringRef> strings;
};

/// Number of elements and of packed bytes of a tensor of this type and shape.
/// An error for unknown types (I207), too high a rank or a negative dimension
/// (I202), overflow or excess of the tensor limit (I201). A zero dimension
/// does not excuse an overflow of the others. Strings have 0 bytes.
llvm::LogicalResult
getTensorSize(int32_t dataType, llvm::ArrayRef<int64_t> dims,
              const ImportLimits &limits, const llvm::Twine &where,
              uint64_t &numElements, uint64_t &byteSize, CodedErrors &errors);

/// Finds or decodes the elements of `tensor`, checking everything on the way
/// (codes I101 to I107 and I201 to I207). `where` names the tensor for
/// messages. Nothing is allocated before the payload is seen to exist. Bytes
/// in files are not read, except that bool elements are checked to be 0 or 1.
llvm::LogicalResult resolveTensor(const ModelFile &model,
                                  const proto::TensorProto &tensor,
                                  const llvm::Twine &where, TensorData &data,
                                  CodedErrors &errors);

/// The same checks without decoding into memory.
llvm::LogicalResult checkTensor(const ModelFile &model,
                                const proto::TensorProto &tensor,
                                const llvm::Twine &where, CodedErrors &errors);

/// Resolves and, for spans, reads: the packed bytes whatever the kind. Not
/// for strings (I207).
llvm::LogicalResult readTensor(const ModelFile &model,
                               const proto::TensorProto &tensor,
                               const llvm::Twine &where,
                               std::vector<uint8_t> &bytes,
                               CodedErrors &errors);

/// Dense packed bytes of a sparse tensor, after all checks of its parts
/// (I208). The dense size is bounded by the fold limit of the options (I201).
llvm::LogicalResult densifySparse(const ModelFile &model,
                                  const proto::SparseTensorProto &sparse,
                                  const llvm::Twine &where,
                                  std::vector<uint8_t> &bytes,
                                  CodedErrors &errors);
/// The checks of `densifySparse` only.
llvm::LogicalResult checkSparse(const ModelFile &model,
                                const proto::SparseTensorProto &sparse,
                                const llvm::Twine &where, CodedErrors &errors);

/// The elements of an integer tensor (any integer type or bool), for shapes
/// and indices; I207 for other types.
llvm::LogicalResult readIntegers(const ModelFile &model,
                                 const proto::TensorProto &tensor,
                                 const llvm::Twine &where,
                                 std::vector<int64_t> &values,
                                 CodedErrors &errors);

} // namespace mlir::ffn

#endif // FFN_MLIR_IMPORT_TENSORDATA_H
