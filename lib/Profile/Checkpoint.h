//===- Checkpoint.h - What a profile run has finished -----------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A folder beside the output with a journal, a shard of statistics for each
// group of finished stages, and the values that later stages read. A line of
// the journal says that everything it names is on disk; whatever no line names
// is rubbish of a run that was killed.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_LIB_PROFILE_CHECKPOINT_H
#define FFN_MLIR_LIB_PROFILE_CHECKPOINT_H

#include "ffn-mlir/Driver/HostTensor.h"
#include "ffn-mlir/Support/DurableFile.h"
#include "llvm/Support/JSON.h"
#include <map>
#include <optional>
#include <set>

namespace mlir::ffn {

/// The tensors of one value, one for each sample, in memory, in a file or in
/// both.
class StoredValue {
public:
  StoredValue() = default;
  StoredValue(StoredValue &&other);
  StoredValue &operator=(StoredValue &&other);
  ~StoredValue();

  /// Takes the tensor of the next sample: to the file where there is one, else
  /// into memory.
  llvm::Error append(HostTensor tensor);
  bool hasFile() const { return fd >= 0; }
  /// Begins the file with everything that memory holds, which stays there until
  /// `release`. Fault point "value.write", once for each tensor.
  llvm::Error writeFile(std::string path);
  /// Frees what the file has too.
  void release() { held.clear(); }
  /// The file is on disk afterwards. Fault point "value.sync".
  llvm::Error sync();
  /// The tensor of a sample, in `storage` unless memory holds it.
  llvm::Expected<HostTensor *> read(size_t sample, HostTensor &storage);
  uint64_t getBytes() const { return size; }
  uint64_t getHeldBytes() const { return held.empty() ? 0 : size; }

  llvm::json::Object toJSON() const;
  /// Opens the file in `folder` and checks size and checksum.
  static std::optional<StoredValue> fromJSON(const llvm::json::Object &object,
                                             const std::string &folder);
  const std::string &getPath() const { return path; }

private:
  llvm::Error write(const HostTensor &tensor);

  std::vector<HostTensor> held;
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
  /// Stages, one behind the other, that one line of the journal stands for.
  struct Group {
    unsigned stages = 0;
    /// Name of their shard in the folder; empty if they have none.
    std::string shard;
    uint64_t checksum = 0;
    /// Tokens that their statistics saw.
    uint64_t tokens = 0;
  };

  /// Opens or begins the folder. Fails where it belongs to a run with another
  /// fingerprint (FFN-J101, the parts that differ are named) unless `restart`,
  /// is in use (J102) or damaged (J103).
  static llvm::Expected<std::unique_ptr<Checkpoint>>
  open(std::string folder, const llvm::json::Object &fingerprint, bool restart);

  llvm::ArrayRef<Group> getGroups() const { return groups; }
  /// Stages of all groups.
  unsigned getNumStages() const;
  std::string getPath(const llvm::Twine &name) const {
    return (folder + "/" + name).str();
  }
  /// Takes the next sample of a value that no finished stage has made. What
  /// memory holds together stays within `limit` bytes; files have the rest.
  llvm::Error append(unsigned number, HostTensor tensor, uint64_t limit);
  /// The value of this number; null if there is none.
  StoredValue *find(unsigned number);
  uint64_t getHeldBytes() const { return heldBytes; }
  /// A value that no stage reads any more. A file that the journal names stays
  /// until the next `commit`, since a run that begins again needs it.
  void drop(unsigned number);
  /// Makes the stages finished ones: the shard, which is on disk, and all
  /// values.
  llvm::Error commit(Group group);
  /// Checks that the shards are as they were written.
  llvm::Error verifyShards() const;
  /// Takes the folder away, after the output is in its place.
  void remove();

private:
  Checkpoint() = default;
  llvm::Error replay(llvm::ArrayRef<std::string> lines);
  void sweep();
  llvm::Error damaged(const llvm::Twine &what) const;
  llvm::Error writeFile(unsigned number, StoredValue &value);

  std::string folder;
  std::unique_ptr<Journal> journal;
  std::vector<Group> groups;
  std::map<unsigned, StoredValue> values;
  /// Values that the journal names, and files of it that nothing reads.
  std::set<unsigned> journaled;
  std::vector<std::string> unread;
  uint64_t heldBytes = 0;
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
