//===- ReadOptions.h - Limits and policies of reading ONNX ----*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_IMPORT_READOPTIONS_H
#define FFN_MLIR_IMPORT_READOPTIONS_H

#include "ffn-mlir/Support/SafeFile.h"
#include <cstdint>

namespace mlir::ffn {

/// Newest versions that this build knows. From onnx 1.23.
inline constexpr int64_t kNewestIrVersion = 14;
inline constexpr int64_t kNewestOpset = 28;

/// How much a file may ask of us. Every limit has a flag of the same name,
/// which the note of its error names.
struct ImportLimits {
  /// --max-protobuf-bytes: protobuf's own limit; larger weights are external.
  uint64_t maxProtobufBytes = (uint64_t(1) << 31) - 1;
  /// --max-message-nesting: protobuf's default recursion limit.
  uint64_t maxMessageNesting = 100;
  /// --max-subgraph-depth.
  uint64_t maxSubgraphDepth = 16;
  /// --max-functions.
  uint64_t maxFunctions = 10000;
  /// --max-call-depth: of local functions.
  uint64_t maxCallDepth = 100;
  /// --max-nodes: after expansion of local functions, counted before it.
  uint64_t maxNodes = 1000000;
  /// --max-rank.
  uint64_t maxRank = 32;
  /// --max-tensor-bytes: of any tensor, declared or computed.
  uint64_t maxTensorBytes = uint64_t(1) << 40;
  /// --max-fold-bytes, --max-total-fold-bytes: constant folding.
  uint64_t maxFoldBytes = uint64_t(64) << 20;
  uint64_t maxTotalFoldBytes = uint64_t(1) << 30;
  /// --max-name-bytes.
  uint64_t maxNameBytes = 64 << 10;
  /// --max-unknown-field-bytes: longer unknown fields are dropped.
  uint64_t maxUnknownFieldBytes = 4 << 10;
  /// --max-parse-memory: bytes of structs in memory beside twice the bytes of
  /// the file.
  uint64_t maxParseMemory = uint64_t(256) << 20;
};

struct ReadOptions {
  ImportLimits limits;
  FilePolicy files;
  /// --strict: what exporters habitually get wrong is an error.
  bool strict = false;
  /// --verify-checksums: external files with a checksum are hashed in full at
  /// import; otherwise files beyond 16 MiB at the first read of a weight.
  bool verifyChecksums = false;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_IMPORT_READOPTIONS_H
