//===- WeightStore.h - Bytes behind spans -----------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A span names (file symbol, offset, size). This class finds the bytes. Files
// are mapped read-only by default; derived weights are appended to an unlinked
// scratch file of the context, so that a pass that creates weights needs no
// memory of their size.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_WEIGHTSTORE_H
#define FFN_MLIR_SUPPORT_WEIGHTSTORE_H

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "mlir/IR/BuiltinOps.h"
#include <memory>
#include <string>

namespace mlir::ffn {

class SafeFile;

/// Symbol of the file that derived weights live in; every importer creates it.
inline constexpr llvm::StringLiteral kDerivedFile = "derived";
/// A weight up to this many bytes is stored inline as `dense<>`.
inline constexpr uint64_t kInlineWeightLimit = 4096;

/// Thread-safe. One instance per MLIRContext, `WeightStore::get(ctx)`.
class WeightStore {
public:
  WeightStore();
  ~WeightStore();
  WeightStore(const WeightStore &) = delete;
  WeightStore &operator=(const WeightStore &) = delete;

  /// The store of the context; loads the ffn dialect.
  static WeightStore &get(MLIRContext *ctx);

  /// Folder that relative `ffn.file` paths resolve against; set by whoever
  /// reads the module from disk (one model in one context). Default: the
  /// current folder.
  void setBaseDirectory(StringRef directory);
  std::string getBaseDirectory();

  /// Hands over an open descriptor for `path` (as an `ffn.file` spells it):
  /// later reads use it, so that what was checked is what is read.
  void registerFile(StringRef path, int fd);
  /// The same for a file that the importer checked: a change of the file, a
  /// truncation while mapped and a wrong checksum end in a diagnostic.
  void registerFile(StringRef path, std::shared_ptr<SafeFile> file);
  /// Moves what is registered for path `from` to path `to`.
  void renameFile(StringRef from, StringRef to);

  /// Read `size` bytes at `offset` of the span's file into `buffer`.
  /// `user` is the op that refers to the span (locates file and diagnostics).
  LogicalResult read(Operation *user, SpanAttr span, uint64_t offset,
                     MutableArrayRef<char> buffer);

  /// A view of all bytes of the span; valid while the context lives. Fails
  /// with a diagnostic at `user` where the file is missing or shorter. The
  /// view may be unaligned.
  FailureOr<ArrayRef<char>> map(Operation *user, SpanAttr span);

  /// Tell the system that the mapped bytes are no longer needed in memory.
  void drop(Operation *user, SpanAttr span);

  /// Appends `bytes` to @derived at the next multiple of 64 bytes.
  SpanAttr appendDerived(StringRef key, ShapedType type, ArrayRef<char> bytes);
  /// For a module read from disk: the first `size` bytes of @derived are the
  /// file at `path`, and what is appended comes after them.
  void adoptDerived(StringRef path, uint64_t size);
  /// True if something was appended: @derived must be written anew.
  bool hasNewDerived();
  /// Size of @derived so far.
  uint64_t getDerivedSize();
  /// Writes @derived to `path` (a temporary in the same folder, then renamed).
  LogicalResult writeDerived(StringRef path, std::string &error);

private:
  struct Impl;
  std::unique_ptr<Impl> impl;
};

/// The weight attribute for `bytes` of `type`: `dense<>` up to the inline
/// limit, else a span of @derived. Used by every pass that makes weights.
TypedAttr makeWeightAttr(MLIRContext *ctx, StringRef key, RankedTensorType type,
                         ArrayRef<char> bytes);

/// Number of bytes of a packed tensor of `type` (sub-byte types packed);
/// failure on dynamic shapes, unknown element types and overflow.
FailureOr<uint64_t> getPackedByteSize(ShapedType type);

/// The raw little-endian packed bytes of the value of an `ffn.weight`: spans
/// are read, dense elements copied, splats expanded, i1 as one byte each.
LogicalResult readWeightBytes(Operation *user, TypedAttr value,
                              SmallVectorImpl<char> &bytes);

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_WEIGHTSTORE_H
