//===- Checkpoint.h - What a profile run has finished -----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A folder beside the output with a journal, one shard of statistics for each
// finished stage, and the values that later stages read. A line of the journal
// says that everything it names is on disk; whatever no line names is rubbish
// of a run that was killed.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_PROFILE_CHECKPOINT_H
#define FFN_MLIR_LIB_PROFILE_CHECKPOINT_H

#include "ffn-mlir/Driver/HostTensor.h"
#include "ffn-mlir/Support/DurableFile.h"
#include "llvm/Support/JSON.h"
#include <map>
#include <optional>

namespace mlir::ffn {

/// The tensors of one value, one for each sample, in a file.
class StoredValue {
public:
  StoredValue() = default;
  StoredValue(StoredValue &&other);
  StoredValue &operator=(StoredValue &&other);
  ~StoredValue();

  llvm::Error create(std::string path);
  /// Fault point "value.write".
  llvm::Error append(const HostTensor &tensor);
  /// Everything is on disk afterwards. Fault point "value.sync".
  llvm::Error sync();
  llvm::Error read(size_t sample, HostTensor &tensor) const;

  llvm::json::Object toJSON() const;
  /// Opens the file in `folder` and checks size and checksum.
  static std::optional<StoredValue> fromJSON(const llvm::json::Object &object,
                                             const std::string &folder);
  const std::string &getPath() const { return path; }

private:
  std::string path;
  int fd = -1;
  ffn_dtype dtype = {2, 32, 1};
  std::vector<llvm::SmallVector<int64_t, 4>> shapes;
  std::vector<uint64_t> offsets;
  uint64_t size = 0;
  uint32_t checksum = 0;
};

class Checkpoint {
public:
  struct Stage {
    /// Name of its shard in the folder; empty if it has none.
    std::string shard;
    uint64_t checksum = 0;
    /// Tokens that its statistics saw.
    uint64_t tokens = 0;
  };

  /// Opens or begins the folder. Fails where it belongs to a run with another
  /// fingerprint (FFN-J101, the parts that differ are named) unless `restart`,
  /// is in use (J102) or damaged (J103).
  static llvm::Expected<std::unique_ptr<Checkpoint>>
  open(std::string folder, const llvm::json::Object &fingerprint, bool restart);

  llvm::ArrayRef<Stage> getStages() const { return stages; }
  std::string getPath(const llvm::Twine &name) const {
    return (folder + "/" + name).str();
  }
  /// Takes the values over and makes the stage a finished one.
  llvm::Error commit(Stage stage, std::map<unsigned, StoredValue> made);
  /// The value of this number; null if it is not stored.
  const StoredValue *find(unsigned number) const;
  /// A value that no stage reads any more.
  void drop(unsigned number);
  /// Checks that the shards are as they were written.
  llvm::Error verifyShards() const;
  /// Takes the folder away, after the output is in its place.
  void remove();

private:
  Checkpoint() = default;
  llvm::Error replay(llvm::ArrayRef<std::string> lines);
  void sweep();
  llvm::Error damaged(const llvm::Twine &what) const;

  std::string folder;
  std::unique_ptr<Journal> journal;
  std::vector<Stage> stages;
  std::map<unsigned, StoredValue> values;
};

/// A sink that sums up what passes through it.
class ChecksumSink {
public:
  explicit ChecksumSink(
      llvm::function_ref<llvm::Error(llvm::ArrayRef<char>)> next)
      : next(next) {}
  llvm::Error operator()(llvm::ArrayRef<char> bytes);
  uint32_t checksum = 0;

private:
  llvm::function_ref<llvm::Error(llvm::ArrayRef<char>)> next;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_LIB_PROFILE_CHECKPOINT_H
